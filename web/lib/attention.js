import { KvCache } from './cache.js';
import { sdpaBackward } from './gradients.js';
import { Heap, bytesOf, count, newArray } from './heap.js';
import { MultiHeadAttention } from './layers.js';
import * as operators from './operators.js';
import { scoreAttention, scoreAttentionBackward } from './scores.js';
import { explain, headStatistics, rollout } from './weights.js';
import { sdpa, sdpaAsync } from './sdpa.js';
import { argument, rank, size } from './shapes.js';
import { DISPOSE, AttentionError, finite, integer, readOptions } from './status.js';
import { EngineTensor, Tensor } from './tensor.js';
import { load } from './variants.js';

// For SimpleAttention, which may be made without naming an engine.
const living = new Set();

export function firstLiving() {
  for (const engine of living) return engine;
  throw new AttentionError('no-engine', 'there is no engine: await Attention.create() first, or give one as `engine`');
}

export class Attention {
  #heap;

  static async create(options) {
    const { name, threads, module } = await load(readOptions(options, 'options', { variant: 'auto', threads: 1, wasmUrl: null }));
    const heap = new Heap(module);
    try {
      if (threads > 1) heap.startThreads(threads);
      return new Attention(heap, name, threads);
    } catch (error) {
      heap.dispose();
      throw error;
    }
  }

  constructor(heap, variant, threads) {
    if (!(heap instanceof Heap)) throw new TypeError('new Attention(): use await Attention.create()');
    this.#heap = heap;
    this.variant = variant;
    this.threads = threads;
    Object.freeze(this);
    living.add(this);
  }

  get memoryBytes() {
    return this.#heap.bytes;
  }

  get #living() {
    return this.#heap.module && this.#heap;
  }

  attention(query, keys, values, options) {
    return this.attentionSteps(query, keys, values, options).output;
  }

  attentionSteps(query, keys, values, options) {
    const heap = this.#living;
    const { scale } = readOptions(options, 'options', { scale: 1 });
    finite(scale, 'scale');
    const [q, k, v] = [[query, 'query'], [keys, 'keys'], [values, 'values']].map(([value, name]) => argument(heap, value, name));
    rank(q, [1], '[headDim]');
    rank(k, [2], '[seqLenKv, headDim]');
    rank(v, [2], '[seqLenKv, headDimV]');
    const seqLen = size(k, 2);
    const headDim = size(q, 1);
    size(k, 1, headDim, 'headDim of query');
    size(v, 2, seqLen, 'seqLenKv of keys');
    const headDimV = size(v, 1);
    return heap.scope((scope) => {
      const inputs = [q, k, v].map((tensor) => scope.put(tensor, 'f64'));
      const results = [[seqLen], [seqLen], [headDimV]].map((shape) => scope.takeTensor(shape, 'f64', 'output'));
      scope.fill();
      heap.call('attn_attention_f64', seqLen, headDim, headDimV, scale, ...inputs, ...results);
      const list = (pointer, length) => Array.from(heap.view('f64', pointer, length));
      return { scores: list(results[0], seqLen), weights: list(results[1], seqLen), output: list(results[2], headDimV) };
    });
  }

  causalMask(seqLen) {
    this.#living;
    const shape = [integer(seqLen, 'seqLen'), seqLen];
    bytesOf(shape, 'f32', 'seqLen');
    const data = newArray('f32', count(shape));
    for (let i = 0; i < seqLen; i++) data.fill(-Infinity, i * seqLen + i + 1, (i + 1) * seqLen);
    return new Tensor(data, shape);
  }

  sdpa(query, key, value, options) {
    return sdpa(this.#living, query, key, value, options);
  }

  linear(x, weight, bias, options) {
    return operators.linear(this.#living, x, weight, bias, options);
  }

  softmax(x, options) {
    return operators.softmax(this.#living, x, options);
  }

  rotaryEmbedding(x, options) {
    return operators.rotaryEmbedding(this.#living, x, options);
  }

  rmsNorm(x, weight, options) {
    return operators.rmsNorm(this.#living, x, weight, options);
  }

  swiglu(gate, up, options) {
    return operators.swiglu(this.#living, gate, up, options);
  }

  rotaryTables(options) {
    this.#living;
    return operators.rotaryTables(options);
  }

  scoreAttention(query, key, value, options) {
    return scoreAttention(this.#living, query, key, value, options);
  }

  scoreAttentionBackward(gradOutput, query, key, value, options) {
    return scoreAttentionBackward(this.#living, gradOutput, query, key, value, options);
  }

  explain(query, key, value, options) {
    return explain(this.#living, query, key, value, options);
  }

  headStatistics(weights, options) {
    return headStatistics(this.#living, weights, options);
  }

  rollout(weightsPerLayer, options) {
    return rollout(this.#living, weightsPerLayer, options);
  }

  sdpaBackward(gradOutput, query, key, value, options) {
    return sdpaBackward(this.#living, gradOutput, query, key, value, options);
  }

  async sdpaAsync(query, key, value, options) {
    return sdpaAsync(this.#living, query, key, value, options);
  }

  kvCache(options) {
    return new KvCache(this.#living, options);
  }

  multiHeadAttention(options) {
    return new MultiHeadAttention(this.#living, options);
  }

  tensor(shape) {
    return new EngineTensor(this.#living, shape);
  }

  dispose() {
    this.#heap.dispose();
    living.delete(this);
  }

  get disposed() {
    return this.#heap.disposed;
  }

  [DISPOSE]() {
    this.dispose();
  }
}
