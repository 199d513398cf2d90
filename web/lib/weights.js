// What a person reads off attention: in float64 whatever the tensors are.

import { ALIGN, EXPLAIN_F64_TERMS, EXPLAIN_F64_TOTALS, FUSION, HEAD_STATISTICS } from './abi.js';
import { bytesOf, count, newArray } from './heap.js';
import { OPTIONS as SDPA_OPTIONS, prepare } from './sdpa.js';
import { argument, rank, size } from './shapes.js';
import { choice, finite, flag, integer, readOptions, wrongKind, wrongSize } from './status.js';
import { Tensor } from './tensor.js';

const WANTED = { row: undefined, head: 0, batch: 0, products: false };
const { returnWeights, returnScores, returnLogsumexp, out, ...INPUTS } = SDPA_OPTIONS;

export function explain(heap, query, key, value, options) {
  const o = readOptions(options, 'options', { ...WANTED, ...INPUTS });
  const inputs = Object.fromEntries(Object.keys(INPUTS).map((name) => [name, o[name]]));
  const { shape, load } = prepare(heap, query, key, value, inputs, { type: 'f64' });
  const place = [['batch', shape.batch], ['head', shape.num_heads], ['row', shape.seq_len_q]].map(([name, end]) => integer(o[name], name, 0, end - 1));
  const keys = shape.seq_len_kv;
  const shapes = Object.fromEntries(Object.keys(EXPLAIN_F64_TERMS.fields).map((name) => [name, [keys]]));
  shapes.products = [keys, shape.head_dim];
  shapes.weighted = [keys, shape.head_dim_v];
  shapes.out = [shape.head_dim_v];
  if (!flag(o.products, 'products')) delete shapes.products;
  const typeOf = (name) => (name === 'visible' ? 'bool' : 'f64');
  return heap.scope((scope) => {
    const pointers = { products: 0 };
    for (const name in shapes) pointers[name] = scope.takeTensor(shapes[name], typeOf(name), name);
    const terms = scope.take(EXPLAIN_F64_TERMS.size);
    const totals = scope.take(EXPLAIN_F64_TOTALS.size);
    const call = load(scope);
    heap.write(terms, EXPLAIN_F64_TERMS, pointers);
    heap.call('attn_explain_f64', ...call, ...place, terms, totals);
    const { out: output, ...result } = Object.fromEntries(Object.entries(shapes).map(([name, size]) => {
      const data = heap.copy(typeOf(name), pointers[name], count(size));
      return [name, size.length > 1 ? new Tensor(data, size) : data];
    }));
    const values = heap.view('f64', totals, 4);
    Object.keys(EXPLAIN_F64_TOTALS.fields).forEach((name, i) => { result[name] = values[i]; });
    return { products: null, ...result, output };
  });
}

// part(tensor, index, length): some of its elements; to be used before memory can grow.
function part({ read }, index, length) {
  const data = read();
  const [from, to] = [index * length, (index + 1) * length];
  return data.subarray(from, to);
}

// One matrix in the engine's memory at a time.
export function headStatistics(heap, weights, options) {
  const align = choice(readOptions(options, 'options', { causalAlign: 'top-left' }).causalAlign, 'causalAlign', ALIGN);
  const tensor = argument(heap, weights, 'weights');
  const { shape } = tensor;
  if (shape.length < 2) throw wrongSize('weights', 'rank 2 or more ([..., seqLenQ, seqLenKv])', `shape [${shape.join(', ')}]`);
  const [seqLenQ, seqLenKv] = shape.slice(-2);
  const heads = count(shape.slice(0, -2));
  const names = Object.keys(HEAD_STATISTICS.fields).filter((name) => name !== 'rows');
  const result = Object.fromEntries(names.map((name) => [name, new Tensor(newArray('f64', heads), shape.slice(0, -2))]));
  return heap.scope((scope) => {
    const area = seqLenQ * seqLenKv;
    const matrix = scope.takeTensor([area], 'f64', 'weights');
    const statistics = scope.take(HEAD_STATISTICS.size);
    for (let h = 0; h < heads; h++) {
      heap.set('f64', matrix, part(tensor, h, area));
      heap.call('attn_head_statistics_f64', seqLenQ, seqLenKv, align ? seqLenKv - seqLenQ : 0, matrix, statistics);
      const values = heap.view('f64', statistics, names.length);
      names.forEach((name, i) => { result[name].data[h] = values[i]; });
    }
    return result;
  });
}

export function rollout(heap, weightsPerLayer, options) {
  const o = readOptions(options, 'options', { residual: 0.5, headFusion: 'mean' });
  if (finite(o.residual, 'residual', 0) > 1) throw wrongSize('residual', 'a number from 0 to 1', o.residual);
  const fusion = choice(o.headFusion, 'headFusion', FUSION);
  if (!Array.isArray(weightsPerLayer)) throw wrongKind('weightsPerLayer', 'an array of tensors, one per layer', weightsPerLayer);
  if (weightsPerLayer.length < 1) throw wrongSize('weightsPerLayer', 'at least one layer', 0);
  const layers = [];
  for (let i = 0; i < weightsPerLayer.length; i++) layers.push(argument(heap, weightsPerLayer[i], `weightsPerLayer[${i}]`));
  const first = layers[0].shape;
  for (const layer of layers) {
    rank(layer, layer === layers[0] ? [4, 3] : [first.length], '[batch, heads, seq, seq] or [heads, seq, seq]');
    size(layer, 3);
    size(layer, 2, size(layers[0], 1), 'seq');
    size(layer, 1, first.at(-1), 'seq');
    if (first.length === 4) size(layer, 4, first[0], 'batch');
  }
  const seq = first.at(-1);
  const area = seq * seq;
  const shape = first.length === 4 ? [first[0], seq, seq] : [seq, seq];
  bytesOf(shape, 'f64', 'weightsPerLayer');
  const data = newArray('f64', count(shape));
  return heap.scope((scope) => {
    const heads = Math.max(...layers.map((layer) => layer.shape.at(-3)));
    const matrix = scope.takeTensor([heads, seq, seq], 'f64', 'weightsPerLayer');
    let [current, previous] = [0, 0].map(() => scope.takeTensor([seq, seq], 'f64', 'weightsPerLayer'));
    for (let b = 0; b < data.length / area; b++) {
      layers.forEach((layer, i) => {
        const size = layer.shape.at(-3) * area;
        heap.set('f64', matrix, part(layer, b, size));
        heap.call('attn_rollout_f64', layer.shape.at(-3), seq, matrix, o.residual, fusion, i ? previous : 0, current);
        [current, previous] = [previous, current];
      });
      data.set(heap.view('f64', previous, area), b * area);
    }
    return new Tensor(data, shape);
  });
}
