import { ENGINES, lacking } from './engines.mjs';
import { moduleTests } from './module.mjs';
import { pageTests } from './page.mjs';

moduleTests(ENGINES.chromium, lacking(ENGINES.chromium));
pageTests(ENGINES.chromium, lacking(ENGINES.chromium));
