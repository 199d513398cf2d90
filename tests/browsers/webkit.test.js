import { ENGINES, lacking } from './engines.mjs';
import { moduleTests } from './module.mjs';
import { pageTests } from './page.mjs';

moduleTests(ENGINES.webkit, lacking(ENGINES.webkit));
pageTests(ENGINES.webkit, lacking(ENGINES.webkit));
