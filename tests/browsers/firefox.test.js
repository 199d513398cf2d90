import { ENGINES, lacking } from './engines.mjs';
import { moduleTests } from './module.mjs';

moduleTests(ENGINES.firefox, lacking(ENGINES.firefox));
