export { Llama, LlamaSequence } from './decoder.js';
export { Tokenizer } from './tokenizer.js';
