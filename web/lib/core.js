export { Engine as Attention } from './engine.js';
export { AttentionError } from './status.js';
