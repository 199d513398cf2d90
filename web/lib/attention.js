import { KvCache } from './cache.js';
import { sdpaBackward } from './gradients.js';
import { Engine, heapOf } from './engine.js';
import { bytesOf, count, newArray } from './heap.js';
import { MultiHeadAttention } from './layers.js';
import * as operators from './operators.js';
import { scoreAttention, scoreAttentionBackward } from './scores.js';
import { explain, headStatistics, rollout } from './weights.js';
import { argument, rank, size } from './shapes.js';
import { AttentionError, finite, integer, readOptions } from './status.js';
import { Tensor } from './tensor.js';

// For SimpleAttention, which may be made without naming an engine.
const living = new Set();

export function firstLiving() {
  for (const engine of living) return engine;
  throw new AttentionError('no-engine', 'there is no engine: await Attention.create() first, or give one as `engine`');
}

export class Attention extends Engine {
  constructor(heap, variant, threads) {
    super(heap, variant, threads);
    living.add(this);
  }

  attention(query, keys, values, options) {
    return this.attentionSteps(query, keys, values, options).output;
  }

  attentionSteps(query, keys, values, options) {
    const heap = heapOf(this);
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
    heapOf(this);
    const shape = [integer(seqLen, 'seqLen'), seqLen];
    bytesOf(shape, 'f32', 'seqLen');
    const data = newArray('f32', count(shape));
    for (let i = 0; i < seqLen; i++) data.fill(-Infinity, i * seqLen + i + 1, (i + 1) * seqLen);
    return new Tensor(data, shape);
  }

  linear(x, weight, bias, options) {
    return operators.linear(heapOf(this), x, weight, bias, options);
  }

  softmax(x, options) {
    return operators.softmax(heapOf(this), x, options);
  }

  rotaryEmbedding(x, options) {
    return operators.rotaryEmbedding(heapOf(this), x, options);
  }

  rmsNorm(x, weight, options) {
    return operators.rmsNorm(heapOf(this), x, weight, options);
  }

  swiglu(gate, up, options) {
    return operators.swiglu(heapOf(this), gate, up, options);
  }

  rotaryTables(options) {
    heapOf(this);
    return operators.rotaryTables(options);
  }

  scoreAttention(query, key, value, options) {
    return scoreAttention(heapOf(this), query, key, value, options);
  }

  scoreAttentionBackward(gradOutput, query, key, value, options) {
    return scoreAttentionBackward(heapOf(this), gradOutput, query, key, value, options);
  }

  explain(query, key, value, options) {
    return explain(heapOf(this), query, key, value, options);
  }

  headStatistics(weights, options) {
    return headStatistics(heapOf(this), weights, options);
  }

  rollout(weightsPerLayer, options) {
    return rollout(heapOf(this), weightsPerLayer, options);
  }

  sdpaBackward(gradOutput, query, key, value, options) {
    return sdpaBackward(heapOf(this), gradOutput, query, key, value, options);
  }

  kvCache(options) {
    return new KvCache(heapOf(this), options);
  }

  multiHeadAttention(options) {
    return new MultiHeadAttention(heapOf(this), options);
  }

  dispose() {
    super.dispose();
    living.delete(this);
  }
}
