// The page's side of chromium.mjs.

import { openLab } from './lab.mjs';
import { measureRows } from './measure.mjs';

globalThis.bench = async ({ rows, variants, mode }) => {
  const lab = await openLab({ variants, say: globalThis.benchSay });
  await measureRows({ rows, lab, mode, clock: 'wall', onResult: globalThis.benchResult });
};
