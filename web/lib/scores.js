// Attention with the classical scores. Projections and dot products are those of linear and sdpa.

import { sdpaBackward } from './gradients.js';
import { count, newArray } from './heap.js';
import { linear, linearBackward } from './operators.js';
import { OPTIONS as SDPA_OPTIONS, prepare, prepareRun, sdpa } from './sdpa.js';
import { argument, commonType, rank, size } from './shapes.js';
import { choice, factor, readOptions, wrongKind } from './status.js';
import { Tensor } from './tensor.js';

const SCORES = { dot: 0, 'scaled-dot': 0, general: 0, additive: 0, concat: 0 };
const OPTIONS = { score: undefined, wQuery: null, wKey: null, w: null, v: null };
// Which of w and v belong to a score.
const ARRAYS = { f32: Float32Array, f64: Float64Array };
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
// steps: the last step's options that may be given; others: arguments that have the same element type.
function project(heap, query, key, value, options, steps = SDPA_OPTIONS, ...others) {
  const o = readOptions(options, 'options', { ...OPTIONS, ...steps });
  const rest = Object.fromEntries(Object.keys(steps).map((name) => [name, o[name]]));
  choice(o.score, 'score', SCORES);
  for (const name in TAKES)
    if (o[name] !== null && !TAKES[name].includes(o.score)) throw new TypeError(`${name}: score '${o.score}' has no such parameter`);
  if (TAKES.w.includes(o.score) && o.w === null) throw wrongKind('w', `a matrix (score '${o.score}')`, o.w);

  const args = Object.fromEntries(Object.entries({ query, key, value }).map(([name, tensor]) => [name, argument(heap, tensor, name)]));
  const parameters = Object.fromEntries(['wQuery', 'wKey', 'w', 'v'].filter((name) => o[name] !== null).map((name) => [name, argument(heap, o[name], name)]));
  const type = commonType(...Object.values(args), ...Object.values(parameters), ...others);
  // Plain numbers must not become float32 on their own in a projection.
  const typed = (tensor) => {
    if (!tensor || tensor.type === type) return tensor ?? null;
    const data = ARRAYS[type].from(tensor.read());
    return { ...tensor, type, read: () => data };
  };
  const [q0, k0, value0] = [args.query, args.key, args.value].map(typed);
  const [wQuery, wKey, w] = [parameters.wQuery, parameters.wKey, parameters.w].map(typed);
  for (const [name, axes] of [['wQuery', '[attnDim, dimQ]'], ['wKey', '[attnDim, dimK]'], ['w', '[rows, columns]']])
    if (parameters[name]) rank(parameters[name], [2], axes);

  const project = (x, weight, name, of) => {
    if (args[of].shape.length < 2) rank(args[of], [4, 3, 2], '[batch, heads, seq, dim], [batch, seq, dim] or [seq, dim]');
    if (!weight) return x;
    size(parameters[name], 1, args[of].shape.at(-1), `columns of ${of}`);
    return linear(heap, x, weight);
  };
  const q = project(q0, wQuery, 'wQuery', 'query');
  const k = project(k0, wKey, 'wKey', 'key');
  const [dimQ, dimK] = [[q, 'query'], [k, 'key']].map(([x, name]) => size(argument(heap, x, name), 1));
  const scale = o.scale === null ? (o.score === 'scaled-dot' ? 1 / Math.sqrt(dimQ) : 1) : factor(o.scale, 'scale', type);
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
    runAdditive(pointer)(heap, scope, name, type, ...load(scope));
    return collect(scope);
  });
}

// runAdditive(v): as sdpa's run().
const runAdditive = (v) => (heap, scope, name, type, desc, data) =>
  heap.call(`attn_additive_${type}`, desc, data, v, prepareRun(heap, scope, name, type, desc, data));

const { returnWeights, returnScores, returnLogsumexp, out, ...INPUTS } = SDPA_OPTIONS;
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

// tensor times a number, as elements of a type.
const scaled = ({ read, data = read(), shape }, factor, type) => new Tensor(ARRAYS[type].from(data, (x) => x * factor), [...shape]);

// The last step's gradients: of its query, key, value and mask, and gradV and gradScale. The scale is made part of v or of the
// query for that, so that it has a gradient where it is 0, too.
function stepBackward(heap, gradOutput, { type, query, key, value, v, scale, rest }) {
  const options = { ...rest, scale: 1 };
  if (!v) {
    const q = argument(heap, query, 'query');
    const inner = sdpaBackward(heap, gradOutput, scaled(q, scale, type), key, value, options);
    return { ...inner, gradQuery: scaled(inner.gradQuery, scale, type), gradScale: dot(inner.gradQuery.data, q.read()) };
  }
  const length = v.shape[0];
  const factors = Float64Array.from(v.read());
  let gradFactors;
  const inner = sdpaBackward(heap, gradOutput, query, key, value, options, {
    type: 'f64',
    open(scope) {
      const pointer = scope.put({ ...v, pointer: 0, read: () => factors.map((x) => x * scale) }, 'f64');
      const grad = scope.takeTensor(v.shape, 'f64', 'v');
      return {
        forward: runAdditive(pointer),
        backward(_, scope, name, type, desc, data) {
          const exec = prepareRun(heap, scope, name, type, desc, data);
          heap.view('f64', grad, length).fill(0);
          heap.call('attn_additive_backward_f64', desc, data, pointer, grad, exec);
          gradFactors = heap.copy('f64', grad, length);
        },
      };
    },
  });
  const gradients = Object.fromEntries(Object.entries(inner).map(([name, tensor]) => [name, tensor && scaled(tensor, 1, type)]));
  return { ...gradients, gradV: scaled({ data: gradFactors, shape: v.shape }, scale, type), gradScale: dot(gradFactors, factors) };
}

// Two matrices side by side.
function joined(a, b) {
  const [rows, left] = a.shape;
  const right = b.shape[1];
  const data = newArray(a.data instanceof Float64Array ? 'f64' : 'f32', count([rows, left + right]));
  for (let r = 0; r < rows; r++) {
    data.set(a.data.subarray(r * left, (r + 1) * left), r * (left + right));
    data.set(b.data.subarray(r * right, (r + 1) * right), r * (left + right) + left);
  }
  return new Tensor(data, [rows, left + right]);
}

export function scoreAttentionBackward(heap, gradOutput, query, key, value, options) {
  const gradOut = argument(heap, gradOutput, 'gradOutput');
  const p = project(heap, query, key, value, options, INPUTS, gradOut);
  const { gradQuery, gradKey, gradValue, gradAttnMask, gradV = null, gradScale } = stepBackward(heap, gradOut, p);
  const result = { gradQuery, gradKey, gradValue, gradWQuery: null, gradWKey: null, gradW: null, gradV: p.o.v && gradV, gradScale, gradAttnMask };
  // back(role, x, weight) -> gradient of the weight; the role's own moves on to x.
  const back = (role, x, weight) => {
    const { gradX, gradWeight } = linearBackward(heap, result[role], x, weight);
    result[role] = gradX;
    return gradWeight;
  };
  if (p.parts) result.gradW = joined(back('gradQuery', p.q, p.parts[0]), back('gradKey', p.k, p.parts[1]));
  else if (p.w) result.gradW = back('gradKey', p.k, p.w);
  if (p.wQuery) result.gradWQuery = back('gradQuery', p.q0, p.wQuery);
  if (p.wKey) result.gradWKey = back('gradKey', p.k0, p.wKey);
  return result;
}
