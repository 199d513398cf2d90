import { ENGINES, lacking } from './engines.mjs';
import { moduleTests } from './module.mjs';

moduleTests(ENGINES.webkit, lacking(ENGINES.webkit));
