export { Attention } from './attention.js';
export { KvCache } from './cache.js';
export { MultiHeadAttention } from './layers.js';
export { SimpleAttention } from './simple.js';
export { AttentionError } from './status.js';
