import { ALIGN, EXEC, MASK, SCORES, SDPA_DATA, SDPA_DESC } from './abi.js';
import { LOCATE, count } from './heap.js';
import { argument, commonType, integers, rank, size } from './shapes.js';
import { choice, factor, flag, integer, readOptions, wrongKind, wrongSize } from './status.js';
import { Tensor } from './tensor.js';

export const OPTIONS = {
  attnMask: null, isCausal: false, causalAlign: 'top-left', scale: null, softcap: 0, window: null, alibiSlopes: null,
  kvLengths: null, returnWeights: false, returnScores: false, returnLogsumexp: false, out: null,
};

// run(heap, scope, name, type, desc, data): the call itself, with the workspace that it asks for.
export function run(heap, scope, name, type, desc, data) {
  heap.call(name, desc, data, prepareRun(heap, scope, name, type, desc, data));
}

// The struct attn_exec: a workspace of so many bytes, every thread, all tasks and keys.
export function takeExec(heap, scope, workspace_bytes) {
  const exec = scope.take(EXEC.size);
  const workspace = workspace_bytes && scope.take(workspace_bytes);
  heap.write(exec, EXEC, { threads: heap.threads, workspace, workspace_bytes, first_task: 0, num_tasks: 0, first_key: 0, num_keys: 0 });
  return exec;
}

// A name that is put together anew has to be looked up by its letters: 4 % of the smallest call.
const SDPA = { f32: 'attn_sdpa_f32', f64: 'attn_sdpa_f64' };
const WORKSPACE = { [SDPA.f32]: 'attn_sdpa_f32_workspace', [SDPA.f64]: 'attn_sdpa_f64_workspace' };

// The same for a call, and where its number of tasks is to be written, if anywhere.
export function prepareRun(heap, scope, name, type, desc, data, tasks = 0) {
  const bytes = scope.take(4);
  const sizes = WORKSPACE[name] ?? `${name}_workspace`;
  if (type === 'f32') heap.call(sizes, desc, data, heap.threads, bytes, tasks);
  else heap.call(sizes, desc, data, bytes, tasks);
  return takeExec(heap, scope, heap.word(bytes));
}

// maskFields(scope, mask, type, fields): a struct attn_mask; fields are its strides.
export function maskFields(scope, mask, type, fields) {
  if (!mask || count(mask.shape) === 0) return { kind: MASK.NONE };
  const isBool = mask.type === 'bool';
  return { data: scope.put(mask, isBool ? 'bool' : type), kind: isBool ? MASK.BOOL : MASK.ADD, ...fields };
}

// The strides of a mask over axes [[name, size], ...], aligned from the right; an axis of size 1 broadcasts.
function maskStrides({ name, shape }, axes) {
  const strides = { batch: 0, head: 0, query: 0, key: 0 };
  let stride = 1;
  for (let i = 1; i <= shape.length; i++) {
    const [axis, expected] = axes.at(-i) ?? [];
    const got = shape.at(-i);
    if (got !== 1) {
      if (i > axes.length || got !== expected)
        throw wrongSize(name, `a shape that broadcasts to [${axes.map((a) => a[1]).join(', ')}]`, `[${shape.join(', ')}]`);
      strides[axis] = stride;
    }
    stride *= got;
  }
  return strides;
}

// The common size of one leading axis, where 1 goes with any.
function broadcast(tensors, leading, index) {
  let common = 1;
  leading.forEach((sizes, i) => {
    const n = sizes[index];
    if (common === 1) common = n;
    if (n !== 1 && n !== common)
      throw wrongSize(`${tensors[i].name}.shape[${index}]`, `1 or ${common} as ${tensors[0].name}`, `${n} (shape [${tensors[i].shape.join(', ')}])`);
  });
  return common;
}

function readLengths(list, batch, seqLenKv) {
  const lengths = integers(list, 'kvLengths', batch, 'batch', 0, () => seqLenKv);
  return { name: 'kvLengths', shape: [batch], pointer: 0, read: () => lengths };
}

function readWindow(window) {
  const { left, right } = readOptions(window, 'window', { left: null, right: null });
  const limit = (side, name) => (side === null ? -1 : integer(side, name, 0));
  return { window_left: limit(left, 'window.left'), window_right: limit(right, 'window.right') };
}

// readOut(...): where a tensor given as `out` lies; it must have this shape and not be one of these inputs.
export function readOut(heap, out, type, shape, inputs) {
  if (!out?.[LOCATE]) throw wrongKind('out', 'a tensor of this engine', out);
  const pointer = out[LOCATE](heap, 'out');
  if (type !== 'f32') throw new TypeError('out: expected no tensor in a float64 call, got a float32 one');
  if (out.shape.length !== shape.length || out.shape.some((size, axis) => size !== shape[axis])) throw wrongSize('out', `shape [${shape.join(', ')}]`, `[${out.shape.join(', ')}]`);
  for (const input of inputs)
    if (input?.pointer === pointer) throw new TypeError(`out: expected memory of its own, got the same tensor as ${input.name}`);
  return pointer;
}

// prepare(...) -> { home (the heap to run it on), name, type, shape, shapes (of the outputs), tensors (arguments), stream,
// load(scope) -> [desc, data], collect(scope) -> result }: everything but running it. The scope is of `home` or of `heap`.
// given: the element type, where the tensors do not decide it alone. isRead: whether options are what readOptions() made of them.
export function prepare(heap, query, key, value, options, { mayStream = false, type: given = null, isRead = false } = {}) {
  const o = isRead ? options : readOptions(options, 'options', OPTIONS);
  const tensors = [argument(heap, query, 'query'), argument(heap, key, 'key'), argument(heap, value, 'value')];
  const [q, k, v] = tensors;
  const type = given ?? commonType(...tensors);

  const axes = rank(q, [4, 3, 2], '[batch, heads, seq, dim], [batch, seq, dim] or [seq, dim]');
  rank(k, [axes], 'as query');
  rank(v, [axes], 'as query');
  const head_dim = size(q, 1);
  size(k, 1, head_dim, 'headDim of query');
  const head_dim_v = size(v, 1);
  const seq_len_q = q.shape.at(-2);
  const seq_len_kv = k.shape.at(-2);
  size(v, 2, seq_len_kv, 'seqLenKv of key');
  if (axes === 4) for (const tensor of tensors) size(tensor, 3);

  const leading = tensors.map(({ shape }) => (axes === 4 ? shape.slice(0, 2) : [axes === 3 ? shape[0] : 1, 1]));
  const batch = broadcast(tensors, leading, 0);
  const num_kv_heads = broadcast([k, v], leading.slice(1), 1);
  const num_heads = leading[0][1] === 1 ? num_kv_heads : leading[0][1];
  if (num_heads % num_kv_heads) throw wrongSize('query.shape[1]', `a multiple of ${num_kv_heads} (heads of key and value)`, num_heads);
  // Tensors with gaps (a KvCache's, a decoder's heads) have strides of their own.
  const strides = (tensor, [n, heads], rows, dim) =>
    tensor.strides ?? { batch: n === 1 ? 0 : heads * rows * dim, head: heads === 1 ? 0 : rows * dim, row: dim };

  const front = axes === 4 ? [batch, num_heads] : axes === 3 ? [batch] : [];
  const pairs = [...front, seq_len_q, seq_len_kv];
  const shapes = { out: [...front, seq_len_q, head_dim_v], weights: pairs, scores: pairs, logsumexp: [...front, seq_len_q] };
  const wanted = {
    weights: flag(o.returnWeights, 'returnWeights'),
    scores: o.returnScores !== false,
    logsumexp: flag(o.returnLogsumexp, 'returnLogsumexp'),
  };

  const mask = o.attnMask === null ? null : argument(heap, o.attnMask, 'attnMask', true);
  const maskFrom = mask && maskStrides(mask,
    [['batch', batch], ['head', num_heads], ['query', seq_len_q], ['key', seq_len_kv]].filter((_, i) => i > 1 || i < axes - 2));
  const slopes = o.alibiSlopes === null ? null : argument(heap, o.alibiSlopes, 'alibiSlopes');
  if (slopes) {
    rank(slopes, [1, 2], '[numHeads] or [batch, numHeads]');
    size(slopes, 1, num_heads, 'numHeads');
    if (slopes.shape.length === 2) size(slopes, 2, batch, 'batch');
  }
  const lengths = o.kvLengths === null ? null : readLengths(o.kvLengths, batch, seq_len_kv);
  const fields = {
    softcap: factor(o.softcap, 'softcap', type, 0),
    is_causal: +flag(o.isCausal, 'isCausal'),
    align: choice(o.causalAlign, 'causalAlign', ALIGN),
    scores_stage: wanted.scores ? choice(o.returnScores, 'returnScores', SCORES) : 0,
    ...readWindow(o.window),
    query: strides(q, leading[0], seq_len_q, head_dim),
    key: strides(k, leading[1], seq_len_kv, head_dim),
    value: strides(v, leading[2], seq_len_kv, head_dim_v),
    alibi_batch_stride: slopes?.shape.length === 2 ? num_heads : 0,
  };
  if (o.scale !== null) fields.scale = factor(o.scale, 'scale', type);
  const out = o.out === null ? null : readOut(heap, o.out, type, shapes.out, [...tensors, mask, slopes]);
  if (o.out?.strides) fields.out = o.out.strides;

  const work = batch * num_heads * seq_len_q * seq_len_kv * (head_dim + head_dim_v);
  const isPlain = !o.out && [...tensors, mask, slopes].every((input) => !input?.locate);
  // Without work (an empty axis) the other tensors may be of any size.
  const home = mayStream && isPlain && work > 0 && work < SHARED_FROM ? heap.forSmall : heap;
  const stream = mayStream && streams(home, type, k, v, {
    stacks: batch * num_kv_heads,
    rows: (seq_len_q * num_heads) / num_kv_heads,
    inParts: !wanted.weights && !wanted.scores,
  });
  const results = { out: 0, weights: 0, scores: 0, logsumexp: 0 };
  const load = (scope) => {
    const desc = scope.take(SDPA_DESC.size);
    const data = scope.take(SDPA_DATA.size);
    results.out = out ?? scope.takeTensor(shapes.out, type, 'output');
    for (const name in wanted) if (wanted[name]) results[name] = scope.takeTensor(shapes[name], type, name);
    const inputs = {
      query: scope.put(q, type),
      key: stream ? scope.take(4 * stream.keys * head_dim) : scope.put(k, type),
      value: stream ? scope.take(4 * stream.keys * head_dim_v) : scope.put(v, type),
      alibi_slopes: slopes ? scope.put(slopes, type) : 0,
    };
    if (mask) fields['masks[0]'] = maskFields(scope, mask, type, maskFrom);
    if (lengths) fields.kv_lengths = scope.put(lengths, 'i32');
    scope.fill();
    scope.heap.call('attn_sdpa_desc_init', desc, batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim, head_dim_v);
    scope.heap.write(desc, SDPA_DESC, fields);
    if (stream) scope.heap.write(desc, SDPA_DESC, { key: { batch: 0, head: 0 }, value: { batch: 0, head: 0 } });
    scope.heap.write(data, SDPA_DATA, inputs);
    scope.heap.write(data, SDPA_DATA, results);
    if (stream) stream.pointers = [inputs.key, inputs.value];
    return [desc, data];
  };
  const collect = (scope) => {
    const result = (name) => (results[name] ? new Tensor(scope.heap.copy(type, results[name], count(shapes[name])), shapes[name]) : null);
    return { output: o.out ?? result('out'), weights: result('weights'), scores: result('scores'), logsumexp: result('logsumexp') };
  };
  // Engine tensors may be freed while a call waits for its next slice.
  const recheck = () => [query, key, value, o.attnMask, o.alibiSlopes, o.out].forEach((tensor) => tensor?.[LOCATE]?.(heap, 'tensor in use'));
  const shape = { batch, num_heads, seq_len_q, seq_len_kv, head_dim, head_dim_v };
  return { home, name: SDPA[type], type, shape, shapes, tensors: { query: q, key: k, value: v, attnMask: mask }, stream, load, collect, recheck };
}

// Multiply-adds from which a call of plain arrays is computed where threads are: the default of attn_threads_set_grain(). (Few rows
// are shared from fewer on, but not here: most of their time is the copy.)
const SHARED_FROM = 2 ** 24;

// Heads whose keys and values take as much are copied in one at a time, while the last copy is still in the processor's
// cache, and into the memory of one: 1.02 times as fast at 512 tokens. Of smaller heads the calls themselves take longer
// (64 tokens: 0.94 times as fast). Where there are threads, they share all but few rows.
const STREAM_BYTES = 1 << 16;

// Few rows read a key once: they take their keys and values in parts of at most so many bytes each, which the cache still holds
// when they are read (one query, 8,192 keys: 1.5 times as fast as head by head). A part is at least KEYS_STEP keys, and a multiple,
// as attn_exec wants it.
const PART_BYTES = 1 << 18;
const KEYS_STEP = 64;
const DECODE_ROWS = 4;

// How keys and values are to be copied, head by head and in parts of so many `keys`, or null where they are not.
function streams(heap, type, k, v, { stacks, rows, inParts }) {
  const length = k.shape.at(-2);
  const dims = [k.shape.at(-1), v.shape.at(-1)];
  if (type !== 'f32' || rows === 0 || (heap.threads && rows > DECODE_ROWS) || 4 * length * (dims[0] + dims[1]) < STREAM_BYTES) return null;
  const heads = [k, v].map(({ shape }) => count(shape.slice(0, -2)));
  const part = Math.max(KEYS_STEP, Math.floor(PART_BYTES / (4 * Math.max(...dims) * KEYS_STEP)) * KEYS_STEP);
  const keys = inParts && rows <= DECODE_ROWS && part < length ? part : length;
  if ((stacks < 2 && keys === length) || heads.some((n) => n !== stacks)) return null;
  if (k.pointer || v.pointer || ![k, v].every((tensor) => tensor.read() instanceof Float32Array)) return null;
  return { tensors: [k, v], stacks, dims, length, keys };
}

// The tasks of a call head by head (as attn.h orders them), each with its own keys and values in the place of all, or part by part.
function runStreamed(heap, scope, name, desc, data, { tensors, stacks, dims, length, keys, pointers }) {
  const tasks = scope.take(4);
  const exec = prepareRun(heap, scope, name, 'f32', desc, data, tasks);
  const num_tasks = heap.word(tasks) / stacks;
  const sources = tensors.map((tensor) => tensor.read());
  const runStack = (stack) => {
    for (let first = 0; first < length; first += keys) {
      const num_keys = Math.min(keys, length - first);
      const from = stack * length + first;
      for (let i = 0; i < sources.length; i++)
        heap.set('f32', pointers[i], sources[i].subarray(from * dims[i], (from + num_keys) * dims[i]));
      heap.write(exec, EXEC, { first_task: stack * num_tasks, num_tasks, first_key: first, num_keys: keys < length ? num_keys : 0 });
      heap.call(name, desc, data, exec);
    }
  };
  for (let stack = 0; stack < stacks; stack++)
    try {
      runStack(stack);
    } catch (error) {
      if (error.code !== 'unsupported' || keys === length) throw error;
      // Tiny numbers: this head's keys and values have to be seen as a whole, and the next ones' probably, too.
      keys = length;
      pointers = dims.map((dim) => scope.take(4 * length * dim));
      heap.write(data, SDPA_DATA, { key: pointers[0], value: pointers[1] });
      runStack(stack);
    }
}

export function sdpa(heap, query, key, value, options, isRead = false) {
  const { home, name, type, stream, load, collect } = prepare(heap, query, key, value, options, { mayStream: true, isRead });
  const runOn = (where) => where.scope((scope) => {
    const [desc, data] = load(scope);
    if (stream) runStreamed(where, scope, name, desc, data, stream);
    else run(where, scope, name, type, desc, data);
    return collect(scope);
  });
  try {
    return runOn(home);
  } catch (error) {
    // What the memory of small calls cannot get, the other may have.
    if (home === heap || error.code !== 'memory') throw error;
    return runOn(heap);
  }
}

// Milliseconds of work between two looks at the event loop.
const SLICE = 25;

// A turn of the event loop. Nested timers of browsers wait 4 ms; messages do not.
export const pause = () => new Promise((resolve) => {
  if (globalThis.setImmediate) return setImmediate(resolve);
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { port1.close(); resolve(); };
  port2.postMessage(0);
});

export async function sdpaAsync(heap, query, key, value, options) {
  const { signal, onProgress, ...rest } = readOptions(options, 'options', { ...OPTIONS, signal: null, onProgress: null });
  if (signal !== null && typeof signal?.throwIfAborted !== 'function') throw wrongKind('signal', 'an AbortSignal', signal);
  if (onProgress !== null && typeof onProgress !== 'function') throw wrongKind('onProgress', 'a function', onProgress);
  const { name, type, load, collect, recheck } = prepare(heap, query, key, value, rest);
  signal?.throwIfAborted();
  return heap.scopeAsync(async (scope) => {
    const [desc, data] = load(scope);
    const tasks = scope.take(4);
    const exec = prepareRun(heap, scope, name, type, desc, data, tasks);
    const total = heap.word(tasks);
    let step = 1;
    for (let done = 0; done < total;) {
      const from = performance.now();
      const num_tasks = Math.min(step, total - done);
      heap.write(exec, EXEC, { first_task: done, num_tasks });
      heap.call(name, desc, data, exec);
      done += num_tasks;
      step = Math.max(1, Math.min(step * 2, Math.floor((step * SLICE) / Math.max(performance.now() - from, 0.1))));
      onProgress?.(done / total);
      await pause();
      signal?.throwIfAborted();
      recheck();
    }
    return collect(scope);
  });
}
