import { ROTARY_DESC } from './abi.js';
import { LOCATE, bytesOf, count, newArray } from './heap.js';
import { readOut, takeExec } from './sdpa.js';
import { argument, commonType, isList, rank, size, sizes } from './shapes.js';
import { finite, flag, integer, readOptions, wrongKind, wrongSize } from './status.js';
import { Tensor } from './tensor.js';

// result(heap, shape, type, call, given): call(scope, out) puts its inputs and returns [function of attn.h, ...arguments],
// which writes a tensor of this shape to out: memory of its own, or the tensor that was given for it.
function result(heap, shape, type, call, given = null, inputs = []) {
  const place = given === null ? null : readOut(heap, given, type, shape, inputs);
  return heap.scope((scope) => {
    const out = place ?? scope.takeTensor(shape, type, 'output');
    const [name, ...args] = call(scope, out);
    scope.fill();
    heap.call(name, ...args);
    return given ?? new Tensor(heap.copy(type, out, count(shape)), shape);
  });
}

// The struct attn_exec for attn_linear_f32 or attn_linear_backward_f32.
function linearExec(heap, scope, name, sizes) {
  const bytes = scope.take(4);
  heap.call(`${name}_workspace`, ...sizes, heap.threads, bytes);
  return takeExec(heap, scope, heap.word(bytes));
}

export function linear(heap, x, weight, bias, options) {
  const { out } = readOptions(options, 'options', { out: null });
  const input = argument(heap, x, 'x');
  const w = argument(heap, weight, 'weight');
  const b = bias == null ? null : argument(heap, bias, 'bias');
  const type = commonType(...[input, w, b].filter(Boolean));
  rank(w, [2], '[outDim, inDim]');
  const inDim = size(w, 1);
  const outDim = size(w, 2);
  if (input.shape.length < 1) throw wrongSize('x', 'rank 1 or more ([..., inDim])', 'shape []');
  size(input, 1, inDim, 'inDim of weight');
  if (b) {
    rank(b, [1], '[outDim]');
    size(b, 1, outDim, 'outDim of weight');
  }
  const shape = [...input.shape.slice(0, -1), outDim];
  const sizes = [count(shape) / outDim, inDim, outDim];
  return result(heap, shape, type, (scope, y) => {
    const args = [...sizes, scope.put(input, type), inDim, scope.put(w, type), b ? scope.put(b, type) : 0, y, outDim];
    if (type === 'f32') args.push(linearExec(heap, scope, 'attn_linear_f32', sizes));
    return [`attn_linear_${type}`, ...args];
  }, out, [input, w, b]);
}

// linearBackward(heap, gradY, x, weight) -> { gradX, gradWeight }, for tensors of one type that fit.
export function linearBackward(heap, gradY, x, weight) {
  const [g, input, w] = [gradY, x, weight].map((tensor) => argument(heap, tensor, 'x'));
  const { type } = g;
  const [outDim, inDim] = w.shape;
  const sizes = [count(input.shape) / inDim, inDim, outDim];
  return heap.scope((scope) => {
    const [gradX, gradW] = [input, w].map(({ shape }) => scope.takeTensor(shape, type, 'x'));
    const args = [...sizes, scope.put(input, type), inDim, scope.put(w, type), scope.put(g, type), outDim, gradX, inDim, gradW, 0, 0];
    if (type === 'f32') args.push(linearExec(heap, scope, 'attn_linear_backward_f32', sizes));
    scope.fill();
    heap.call(`attn_linear_backward_${type}`, ...args);
    const copy = (pointer, { shape }) => new Tensor(heap.copy(type, pointer, count(shape)), [...shape]);
    return { gradX: copy(gradX, input), gradWeight: copy(gradW, w) };
  });
}

export function softmax(heap, x, options) {
  const { axis } = readOptions(options, 'options', { axis: -1 });
  const input = argument(heap, x, 'x');
  const type = commonType(input);
  const { shape } = input;
  if (shape.length < 1) throw wrongSize('x', 'rank 1 or more', 'shape []');
  const at = integer(axis, 'axis', -shape.length, shape.length - 1);
  const index = at < 0 ? at + shape.length : at;
  return result(heap, [...shape], type, (scope, y) =>
    [`attn_softmax_${type}`, count(shape.slice(0, index)), shape[index], count(shape.slice(index + 1)), scope.put(input, type), y]);
}

// [batch, seq] of whole numbers below `positions`: { data, shape | dims } or nested arrays. int64 counts, too.
function readPositions(ids, batch, seqLen, positions) {
  const position = (id, name) => integer(typeof id === 'bigint' ? Number(id) : id, name, 0, positions - 1);
  const whole = (list, name, length, why, element) => {
    if (!isList(list)) throw wrongKind(name, 'an array of integers', list);
    if (list.length !== length) throw wrongSize(name, `${length} elements (${why})`, list.length);
    return Array.from({ length }, (_, i) => element(list[i], `${name}[${i}]`));
  };
  const tensor = { name: 'positionIds', shape: [batch, seqLen], pointer: 0 };
  if (isList(ids)) {
    const rows = whole(ids, 'positionIds', batch, 'batch of x', (row, name) => whole(row, name, seqLen, 'seq of x', position));
    return { ...tensor, read: () => rows.flat() };
  }
  if (ids === null || typeof ids !== 'object' || ids[LOCATE]) throw wrongKind('positionIds', 'integers, { data, shape } or nested arrays', ids);
  const { data } = ids;
  const given = { name: 'positionIds', shape: sizes(ids.shape ?? ids.dims, 'positionIds.shape') };
  rank(given, [2], '[batch, seq]');
  size(given, 2, batch, 'batch of x');
  size(given, 1, seqLen, 'seq of x');
  const list = whole(data, 'positionIds.data', batch * seqLen, 'batch * seq of x', position);
  return { ...tensor, read: () => list };
}

const ROTARY = { cos: undefined, sin: undefined, positionIds: null, interleaved: false, rotaryDim: null, numHeads: null, out: null };

export function rotaryEmbedding(heap, x, options) {
  const o = readOptions(options, 'options', ROTARY);
  const input = argument(heap, x, 'x');
  const type = commonType(input);
  const { shape } = input;
  const axes = rank(input, [4, 3, 2], '[batch, heads, seq, dim], [batch, seq, heads * dim] or [seq, heads * dim]');
  const batch = axes === 2 ? 1 : shape[0];
  const seq_len = shape.at(-2);
  const num_heads = integer(o.numHeads ?? (axes === 4 ? shape[1] : 1), 'numHeads');
  if (axes === 4) size(input, 3, num_heads, 'numHeads');
  if (size(input, 1) % num_heads && axes < 4) throw wrongSize('x', `a multiple of ${num_heads} columns (numHeads)`, `shape [${shape.join(', ')}]`);
  const head_dim = axes === 4 ? shape[3] : shape.at(-1) / num_heads;
  const rotary_dim = integer(o.rotaryDim ?? head_dim, 'rotaryDim', 2, head_dim);
  if (rotary_dim % 2) throw wrongSize('rotaryDim', 'an even number', rotary_dim);

  const tables = ['cos', 'sin'].map((name) => argument(heap, o[name], name));
  const [cos] = tables;
  for (const table of tables) {
    rank(table, [cos.shape.length], 'as cos');
    rank(table, o.positionIds === null ? [2, 3] : [2], o.positionIds !== null ? '[maxPos, rotaryDim / 2]' : '[maxPos, rotaryDim / 2] or [batch, seq, rotaryDim / 2]');
    size(table, 1, rotary_dim / 2, 'rotaryDim / 2');
    size(table, 2, cos.shape.at(-2), 'positions of cos');
    if (table.shape.length === 3) {
      size(table, 3, batch, 'batch of x');
      size(table, 2, seq_len, 'seq of x');
    }
  }
  const num_positions = cos.shape.at(-2);
  const ids = o.positionIds === null ? null : readPositions(o.positionIds, batch, seq_len, num_positions);
  if (!ids && num_positions < seq_len) throw wrongSize('cos', `at least ${seq_len} positions (seq of x)`, `shape [${cos.shape.join(', ')}]`);
  const [head, row] = axes === 4 ? [seq_len * head_dim, head_dim] : [head_dim, num_heads * head_dim];
  const strides = input.strides ?? { batch: num_heads * seq_len * head_dim, head, row };
  const fields = {
    batch, num_heads, seq_len, head_dim, rotary_dim, num_positions,
    interleaved: +flag(o.interleaved, 'interleaved'),
    table_batch: cos.shape.length === 3 ? num_positions * (rotary_dim / 2) : 0,
    x: strides,
    out: strides,
  };
  return result(heap, [...shape], type, (scope, y) => {
    const desc = scope.take(ROTARY_DESC.size);
    const args = [scope.put(input, type), ...tables.map((table) => scope.put(table, type)), y];
    heap.write(desc, ROTARY_DESC, { ...fields, position_ids: ids ? scope.put(ids, 'i32') : 0 });
    return [`attn_rotary_${type}`, desc, ...args];
  }, o.out, tables);
}

// The angles of Su et al. 2021, in float64; a call rounds them to its own type.
export function rotaryTables(options) {
  const { seqLen, dim, theta } = readOptions(options, 'options', { seqLen: undefined, dim: undefined, theta: 10000 });
  const shape = [integer(seqLen, 'seqLen'), integer(dim, 'dim', 2) / 2];
  if (dim % 2) throw wrongSize('dim', 'an even number', dim);
  if (finite(theta, 'theta') <= 0) throw wrongSize('theta', 'a number above 0', theta);
  bytesOf(shape, 'f64', 'seqLen');
  if (!Number.isFinite((seqLen - 1) * theta ** (2 / dim - 1))) throw wrongSize('theta', 'a number that leaves every angle finite', theta);
  const [cos, sin] = [newArray('f64', count(shape)), newArray('f64', count(shape))];
  for (let k = 0; k < shape[1]; k++) {
    const frequency = theta ** ((-2 * k) / dim);
    for (let p = 0, at = k; p < seqLen; p++, at += shape[1]) {
      cos[at] = Math.cos(p * frequency);
      sin[at] = Math.sin(p * frequency);
    }
  }
  return { cos: new Tensor(cos, shape), sin: new Tensor(sin, [...shape]) };
}

export function rmsNorm(heap, x, weight, options) {
  const { epsilon, out } = readOptions(options, 'options', { epsilon: 1e-5, out: null });
  const input = argument(heap, x, 'x');
  const w = argument(heap, weight, 'weight');
  const type = commonType(input, w);
  rank(w, [1], '[dim]');
  const dim = size(w, 1);
  if (input.shape.length < 1) throw wrongSize('x', 'rank 1 or more ([..., dim])', 'shape []');
  size(input, 1, dim, 'dim of weight');
  const rows = count(input.shape) / dim;
  finite(epsilon, 'epsilon', 0);
  return result(heap, [...input.shape], type, (scope, y) =>
    [`attn_rms_norm_${type}`, rows, dim, scope.put(input, type), scope.put(w, type), epsilon, y], out, [w]);
}

export function swiglu(heap, gate, up, options) {
  const { out } = readOptions(options, 'options', { out: null });
  const [g, u] = [argument(heap, gate, 'gate'), argument(heap, up, 'up')];
  const type = commonType(g, u);
  if (`${u.shape}` !== `${g.shape}`) throw wrongSize('up', `shape [${g.shape.join(', ')}] as gate`, `[${u.shape.join(', ')}]`);
  return result(heap, [...g.shape], type, (scope, y) =>
    [`attn_swiglu_${type}`, count(g.shape), scope.put(g, type), scope.put(u, type), y], out);
}
