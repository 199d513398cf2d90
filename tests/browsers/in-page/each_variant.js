// tests/js/each_variant.js with the variants that this browser and page can have; builds.js sees to it that none is missing.

import { UNTHREADED as ALL_UNTHREADED, VARIANTS as ALL, eachOf } from '../../js/each_variant.js';
import * as probes from '../../../web/lib/probes.js';

export { eachOf, engineOf, random, tensor, works } from '../../js/each_variant.js';

const { passedBefore } = globalThis; // variants that need not run again
const can = (variant) =>
  !passedBefore.includes(variant) && (variant === 'scalar' || probes.simd()) && (!variant.startsWith('relaxed') || probes.relaxed()) && (!variant.endsWith('threads') || probes.threads());

export const UNTHREADED = ALL_UNTHREADED.filter(can);
export const VARIANTS = ALL.filter(can);
export const eachVariant = eachOf(VARIANTS);
