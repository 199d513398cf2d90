import type { Attention as Full, CreateOptions } from './index.js';

export { AttentionError } from './index.js';

/** The engine of the whole module, with scaled dot-product attention alone: half the scripts to download. */
export interface Attention
  extends Pick<Full, 'variant' | 'threads' | 'memoryBytes' | 'sdpa' | 'sdpaAsync' | 'tensor' | 'dispose' | 'disposed' | typeof Symbol.dispose> {}

export declare const Attention: {
  /** Loads and starts an engine; see the method of the same name in the whole module. */
  create(options?: CreateOptions | null): Promise<Attention>;
};
