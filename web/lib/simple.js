import { Attention, firstLiving } from './attention.js';
import { DISPOSE, flag, readOptions, wrongKind } from './status.js';

// The cheat-sheet's class: self-attention with parameters of its own.
export class SimpleAttention {
  #layer;

  constructor(options) {
    const { embedDim, numHeads, seed, engine } = readOptions(options, 'options', { embedDim: undefined, numHeads: undefined, seed: 0, engine: null });
    if (engine !== null && !(engine instanceof Attention)) throw wrongKind('engine', 'an Attention', engine);
    this.#layer = (engine ?? firstLiving()).multiHeadAttention({ embedDim, numHeads, seed });
    for (const name of ['embedDim', 'numHeads', 'headDim']) this[name] = this.#layer[name];
    Object.freeze(this);
  }

  selfAttention(x, options) {
    return this.#run(x, readOptions(options, 'options', { causal: false })).output;
  }

  forward(x, options) {
    return this.#run(x, readOptions(options, 'options', { causal: false, returnWeights: false }));
  }

  #run(x, { causal, returnWeights = false }) {
    return this.#layer.forward(x, null, null, {
      isCausal: flag(causal, 'causal'),
      needWeights: flag(returnWeights, 'returnWeights'),
      averageAttnWeights: false,
    });
  }

  stateDict() {
    return this.#layer.stateDict();
  }

  loadStateDict(state) {
    this.#layer.loadStateDict(state);
    return this;
  }

  get freed() {
    return this.#layer.freed;
  }

  free() {
    this.#layer.free();
  }

  [DISPOSE]() {
    this.free();
  }
}
