// Attention with the classical scores. Projections and dot products are those of linear and sdpa.

import { newArray } from './heap.js';
import { linear } from './operators.js';
import { OPTIONS as SDPA_OPTIONS, prepare, prepareRun, sdpa } from './sdpa.js';
import { argument, commonType, rank, size } from './shapes.js';
import { choice, finite, readOptions, wrongKind } from './status.js';

const SCORES = { dot: 0, 'scaled-dot': 0, general: 0, additive: 0, concat: 0 };
const OPTIONS = { score: undefined, wQuery: null, wKey: null, w: null, v: null };
// Which of w and v belong to a score.
const TAKES = { w: ['general', 'concat'], v: ['additive', 'concat'] };

// columns(w, from, to): w[:, from:to] of a matrix, as a tensor.
function columns({ shape: [rows, all], read }, from, to) {
  const data = read();
  const part = newArray(data instanceof Float64Array ? 'f64' : 'f32', rows * (to - from));
  for (let r = 0; r < rows; r++) part.set(data.slice(r * all + from, r * all + to), r * (to - from));
  return { data: part, shape: [rows, to - from] };
}

// What goes into the last step, sdpa or additive: { o, type, query, key, v, scale, rest: its options }, and on the way, for the
// gradients, { q, k }: query and key after wQuery and wKey, { parts: w's columns in concat }.
export function project(heap, query, key, value, options) {
  const o = readOptions(options, 'options', { ...OPTIONS, ...SDPA_OPTIONS });
  const rest = Object.fromEntries(Object.keys(SDPA_OPTIONS).map((name) => [name, o[name]]));
  choice(o.score, 'score', SCORES);
  for (const name in TAKES)
    if (o[name] && !TAKES[name].includes(o.score)) throw new TypeError(`${name}: score '${o.score}' has no such parameter`);
  if (TAKES.w.includes(o.score) && !o.w) throw wrongKind('w', `a matrix (score '${o.score}')`, o.w);

  const given = { query, key, value };
  const parameters = Object.fromEntries(['wQuery', 'wKey', 'w', 'v'].filter((name) => o[name]).map((name) => [name, argument(heap, o[name], name)]));
  const args = Object.fromEntries(Object.entries(given).map(([name, tensor]) => [name, argument(heap, tensor, name)]));
  const type = commonType(...Object.values(args), ...Object.values(parameters));
  // Plain numbers must not become float32 on their own in a projection.
  const typed = ({ pointer, type: own, read, shape }, tensor) => (pointer || own === type ? tensor : { data: (type === 'f64' ? Float64Array : Float32Array).from(read()), shape });
  const [q0, k0, value0] = Object.entries(given).map(([name, tensor]) => typed(args[name], tensor));
  const [wQuery, wKey, w] = ['wQuery', 'wKey', 'w'].map((name) => o[name] && typed(parameters[name], o[name]));
  for (const [name, axes] of [['wQuery', '[attnDim, dimQ]'], ['wKey', '[attnDim, dimK]'], ['w', '[rows, columns]']])
    if (parameters[name]) rank(parameters[name], [2], axes);

  const project = (x, weight, name, of) => {
    if (!weight) return x;
    size(parameters[name], 1, args[of].shape.at(-1), `columns of ${of}`);
    return linear(heap, x, weight);
  };
  const q = project(q0, wQuery, 'wQuery', 'query');
  const k = project(k0, wKey, 'wKey', 'key');
  const [dimQ, dimK] = [[q, 'query'], [k, 'key']].map(([x, name]) => size(argument(heap, x, name), 1));
  const scale = o.scale === null ? (o.score === 'scaled-dot' ? 1 / Math.sqrt(dimQ) : 1) : finite(o.scale, 'scale');
  const result = { o, type, q0, k0, value: value0, q, k, wQuery, wKey, w, query: q, key: k, scale, rest, v: null, parts: null };
  if (o.score === 'general') {
    size(parameters.w, 2, dimQ, 'columns of query');
    size(parameters.w, 1, dimK, 'columns of key');
    result.key = linear(heap, k, w);
  }
  if (o.score === 'concat') {
    size(parameters.w, 1, dimQ + dimK, 'columns of query and key');
    result.parts = [columns(argument(heap, w, 'w'), 0, dimQ), columns(argument(heap, w, 'w'), dimQ, dimQ + dimK)];
    [result.query, result.key] = [linear(heap, q, result.parts[0]), linear(heap, k, result.parts[1])];
  }
  if (o.score === 'additive' || o.score === 'concat') {
    const dim = o.score === 'concat' ? size(parameters.w, 2) : dimQ;
    if (o.score === 'additive' && dimK !== dimQ) size(argument(heap, k, 'key'), 1, dimQ, 'columns of query');
    if (parameters.v) {
      rank(parameters.v, [1], '[attnDim]');
      size(parameters.v, 1, dim, 'attnDim');
    }
    result.v = parameters.v ?? { name: 'v', shape: [dim], type, pointer: 0, read: () => new Float64Array(dim).fill(1) };
  }
  return result;
}

export function scoreAttention(heap, query, key, value, options) {
  const { type, query: q, key: k, value: values, v, scale, rest } = project(heap, query, key, value, options);
  if (!v) return sdpa(heap, q, k, values, { ...rest, scale });
  const { name, load, collect } = prepare(heap, q, k, values, { ...rest, scale }, { type });
  return heap.scope((scope) => {
    const pointer = scope.put(v, type);
    const [desc, data] = load(scope);
    heap.call(`attn_additive_${type}`, desc, data, pointer, prepareRun(heap, scope, name, type, desc, data));
    return collect();
  });
}
