import { ENGINES, lacking } from './engines.mjs';
import { moduleTests } from './module.mjs';
import { pageTests } from './page.mjs';

moduleTests(ENGINES.firefox, lacking(ENGINES.firefox));
pageTests(ENGINES.firefox, lacking(ENGINES.firefox));
