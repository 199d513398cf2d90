import { ENGINES, lacking } from './engines.mjs';
import { moduleTests } from './module.mjs';

moduleTests(ENGINES.chromium, lacking(ENGINES.chromium));
