export { Attention } from './attention.js';
export { MultiHeadAttention } from './layers.js';
export { SimpleAttention } from './simple.js';
export { AttentionError } from './status.js';
