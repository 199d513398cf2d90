// Every public function × every place of its arguments × every kind of wrong value: an error of the documented classes that names
// the argument, or, where the value may pass, a result without NaN; never a trap, never a hang, and the engine works on
// with all that it holds as it was. The wording of messages is errors.test.js's.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Attention, AttentionError, KvCache, MultiHeadAttention, SimpleAttention } from '../../web/lib/index.js';
import { engineOf, random, tensor, works } from './each_variant.js';

const next = random(77);
const T = (...shape) => tensor(shape, next);
const doubles = (...shape) => tensor(shape, next, Float64Array);

// Wrong values

const detached = (Type, n) => {
  const array = new Type(n);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
};
const resizable = (n, then) => {
  const buffer = new ArrayBuffer(4 * n, { maxByteLength: 8 * n + 8 });
  const array = new Float32Array(buffer);
  buffer.resize(then);
  return array;
};
const circular = [];
circular.push(circular);
let deep = 1;
for (let i = 0; i < 20_000; i++) deep = [deep];
const thrown = new RangeError('thrown by a getter of the caller');
const hostile = new Proxy({}, { get() { throw thrown; }, ownKeys() { throw thrown; } });

// name: make(engine, another engine, the value that belongs there). Lengths of typed arrays are those of no valid argument.
const WRONG = {
  undefined: () => undefined, null: () => null, false: () => false, true: () => true,
  0: () => 0, '-1': () => -1, 1.5: () => 1.5, NaN: () => NaN, Infinity: () => Infinity, '2^31': () => 2 ** 31, '2^53': () => 2 ** 53, '1e300': () => 1e300, '5e-324': () => 5e-324,
  'an empty string': () => '', 'a number in a string': () => '1', 'a word': () => 'constructor', 'a symbol': () => Symbol('wrong'), 'a bigint': () => 1n,
  'a function': () => () => 1, 'an object': () => ({}), 'an object without prototype': () => Object.create(null), 'a date': () => new Date(NaN), 'a map': () => new Map(), 'a promise': () => Promise.resolve(1),
  'an empty array': () => [], 'an array with a hole': () => [1, , 2], 'an array of undefined': () => [undefined, undefined], 'an array of symbols': () => [Symbol('wrong')], 'an array of bigints': () => [1n, 2n],
  'a ragged array': () => [[1, 2], [3]], 'an array that holds itself': () => circular, 'an array 20,000 deep': () => deep, 'a sparse array of the greatest length': () => new Array(2 ** 32 - 1),
  'NaN sizes': () => ({ data: new Float32Array(4), shape: [NaN, NaN] }), 'negative sizes': () => ({ data: new Float32Array(4), shape: [-2, -2] }), 'huge sizes': () => ({ data: new Float32Array(0), shape: [2 ** 31 - 1, 0, 2 ** 31 - 1, 2 ** 31 - 1] }),
  'no data': () => ({ shape: [2, 2] }), 'no shape': () => ({ data: new Float32Array(4) }), 'data of null': () => ({ data: null, shape: [2, 2] }), 'shape of a string': () => ({ data: new Float32Array(4), shape: '22' }),
  'too few elements': (a, b, right) => ({ data: new Float32Array(3), shape: right?.shape ?? [2, 2] }), 'too many elements': (a, b, right) => ({ data: new Float32Array(9999), shape: right?.shape ?? [2, 2] }),
  'another rank': () => T(1, 1, 1, 1, 1, 2), 'another length': () => T(7, 13), 'a scalar tensor': () => ({ data: new Float32Array(1), shape: [] }),
  'another element type': (a, b, right) => (right?.shape ? doubles(...right.shape) : new Float64Array(5)),
  'int32 data': (a, b, right) => ({ data: new Int32Array(right?.data?.length ?? 5), shape: right?.shape ?? [5] }), 'bigint data': (a, b, right) => ({ data: new BigInt64Array(right?.data?.length ?? 5), shape: right?.shape ?? [5] }),
  'half data that says float32': (a, b, right) => ({ data: new Uint16Array(right?.data?.length ?? 5), shape: right?.shape ?? [5], dtype: 'float32' }),
  'a data view': () => new DataView(new ArrayBuffer(16)), 'an array buffer': () => new ArrayBuffer(16),
  'detached memory': (a, b, right) => ({ data: detached(Float32Array, right?.data?.length ?? 5), shape: right?.shape ?? [5] }), 'a detached array': () => detached(Float32Array, 5),
  'resizable memory that shrank': (a, b, right) => ({ data: resizable(right?.data?.length ?? 5, 4), shape: right?.shape ?? [5] }), 'resizable memory that grew': (a, b, right) => ({ data: resizable(right?.data?.length ?? 5, 4 * (right?.data?.length ?? 5) + 4), shape: right?.shape ?? [5] }),
  'a length that lies': (a, b, right) => ({ data: Object.defineProperty(new Float32Array(1), 'length', { value: right?.data?.length ?? 5 }), shape: right?.shape ?? [5] }),
  'a type that lies': (a, b, right) => ({ data: Object.defineProperty(new Int32Array(right?.data?.length ?? 5), Symbol.toStringTag, { value: 'Float32Array' }), shape: right?.shape ?? [5] }),
  'a proxy of a typed array': (a, b, right) => ({ data: new Proxy(right?.data ?? new Float32Array(5), {}), shape: right?.shape ?? [5] }),
  'a getter that throws': () => hostile, 'data whose getter throws': () => ({ shape: [2, 2], get data() { throw thrown; } }),
  "another engine's tensor": (a, b, right) => b.tensor(right?.shape?.length ? right.shape : [2, 2]),
  'a freed tensor': (a, b, right) => { const t = a.tensor(right?.shape?.length ? right.shape : [2, 2]); t.free(); return t; },
  'a copy of a tensor of the engine': (a) => Object.create(a.tensor([2, 2])), 'a proxy of a tensor of the engine': (a) => new Proxy(a.tensor([2, 2]), {}),
  'an engine': (a) => a, 'a class': () => Attention,
};

// Places

// What may stand in a place: mayPass(value) says that it need not be refused.
const isInteger = (min, max = 2 ** 31 - 1) => (x) => Number.isInteger(x) && x >= min && x <= max;
const finite = (x) => Number.isFinite(x);
const nothing = () => false; // whatever it is
const omitted = (mayPass = nothing) => (x) => x == null || mayPass(x);
const flag = omitted((x) => typeof x === 'boolean');
const word = omitted();
const isTensor = (x) => x !== null && typeof x === 'object';
// What is converted to the type that the call computes in.
const converted = (x) => x?.data instanceof Float64Array;
const mask = omitted((x) => converted(x) || x instanceof Float64Array || x?.shape?.length === 0);
const integers = (x) => x?.data instanceof Int32Array || x?.data instanceof BigInt64Array || x?.data instanceof Uint16Array;
const options = omitted((x) => typeof x === 'object' && !Array.isArray(x) && Object.keys(x).length === 0);

const MASKED = { attnMask: mask, isCausal: flag, causalAlign: word, scale: omitted(finite), softcap: omitted((x) => finite(x) && x >= 0), window: options, alibiSlopes: omitted(converted), kvLengths: omitted() };
const SDPA = { ...MASKED, returnWeights: flag, returnScores: omitted((x) => x === false), returnLogsumexp: flag, out: omitted() };
const SCORES = { score: nothing, wQuery: omitted(), wKey: omitted(), w: omitted(), v: omitted() };

const q = T(2, 4, 3, 8);
const k = T(2, 2, 5, 8);
const v = T(2, 2, 5, 6);
const masks = T(3, 5);
const slopes = T(4);
const outShape = [2, 4, 3, 6];
const [sq, sk, sv, sg] = [T(3, 4), T(5, 6), T(5, 2), T(3, 2)];
const scoreOptions = { score: 'concat', wQuery: T(5, 4), wKey: T(3, 6), w: T(7, 8), v: T(7) };
const positive = ({ data, shape }) => ({ data: data.map(Math.abs), shape });
const attended = { weights: positive(T(2, 3, 3)), more: positive(T(4, 3, 3)) };
const x3 = T(2, 3, 8);
const ones = { data: new Float32Array(16).fill(1), shape: [2, 2, 1, 4] };

// name: { args(engine), call(engine, ...args), places: [[index, name, mayPass] | [index, { option: mayPass }]], async }. Arguments are valid.
const FUNCTIONS = {
  attention: { args: () => [T(2), T(3, 2), T(3, 2), {}], places: [[0, 'query', converted], [1, 'keys', converted], [2, 'values', converted], [3, 'options', options], [3, { scale: omitted(finite) }]] },
  attentionSteps: { args: () => [T(2), T(3, 2), T(3, 2), {}], places: [[0, 'query', converted], [1, 'keys', converted], [2, 'values', converted], [3, 'options', options], [3, { scale: omitted(finite) }]] },
  causalMask: { args: () => [4], places: [[0, 'seqLen']] },
  tensor: { args: () => [[2, 3]], places: [[0, 'shape', (x) => x?.length === 0]] },
  sdpa: {
    args: (a) => [q, k, v, { attnMask: masks, alibiSlopes: slopes, out: a.tensor(outShape) }],
    places: [[0, 'query'], [1, 'key'], [2, 'value'], [3, 'options', options], [3, SDPA]],
  },
  sdpaAsync: {
    async: true,
    args: () => [q, k, v, {}],
    places: [[0, 'query'], [1, 'key'], [2, 'value'], [3, 'options', options], [3, { ...SDPA, signal: omitted(), onProgress: omitted((x) => typeof x === 'function') }]],
  },
  sdpaBackward: {
    args: () => [T(2, 4, 3, 6), q, k, v, { attnMask: masks }],
    places: [[0, 'gradOutput'], [1, 'query'], [2, 'key'], [3, 'value'], [4, 'options', options], [4, { ...MASKED, output: omitted(), logsumexp: omitted() }]],
  },
  linear: { args: () => [T(3, 4), T(5, 4), T(5), {}], places: [[0, 'x'], [1, 'weight'], [2, 'bias', omitted()], [3, 'options', options], [3, { out: omitted() }]] },
  rmsNorm: { args: () => [T(3, 4), T(4), {}], places: [[0, 'x'], [1, 'weight'], [2, 'options', options], [2, { epsilon: omitted((x) => finite(x) && x >= 0), out: omitted() }]] },
  swiglu: { args: () => [T(3, 4), T(3, 4), {}], places: [[0, 'gate'], [1, 'up'], [2, 'options', options], [2, { out: omitted() }]] },
  softmax: { args: () => [T(3, 4), {}], places: [[0, 'x', isTensor], [1, 'options', options], [1, { axis: omitted(isInteger(-2, 1)) }]] },
  rotaryEmbedding: {
    args: () => [T(2, 2, 3, 4), { cos: T(8, 2), sin: T(8, 2), positionIds: { data: Int32Array.of(0, 1, 2, 5, 6, 7), shape: [2, 3] } }],
    places: [[0, 'x', converted], [1, 'cos', nothing], [1, { cos: converted, sin: converted, positionIds: omitted(integers), interleaved: flag, rotaryDim: omitted(), numHeads: omitted(), out: omitted() }]],
  },
  rotaryTables: { args: () => [{ seqLen: 4, dim: 4 }], places: [[0, 'seqLen', nothing], [0, { seqLen: isInteger(1), dim: isInteger(2), theta: omitted((x) => finite(x) && x > 0) }]] },
  scoreAttention: {
    args: () => [sq, sk, sv, scoreOptions],
    places: [[0, 'query'], [1, 'key'], [2, 'value'], [3, 'score', nothing], [3, { ...SCORES, w: nothing, ...SDPA }]],
  },
  scoreAttentionBackward: {
    args: () => [sg, sq, sk, sv, scoreOptions],
    places: [[0, 'gradOutput'], [1, 'query'], [2, 'key'], [3, 'value'], [4, 'score', nothing], [4, { ...SCORES, w: nothing, ...MASKED }]],
  },
  explain: {
    args: () => [q, k, v, { row: 1 }],
    places: [[0, 'query', converted], [1, 'key', converted], [2, 'value', converted], [3, 'row', nothing], [3, { row: isInteger(0, 2), head: omitted(isInteger(0, 3)), batch: omitted(isInteger(0, 1)), products: flag, ...MASKED }]],
  },
  headStatistics: { args: () => [T(2, 3, 3), {}], places: [[0, 'weights', isTensor], [1, 'options', options], [1, { causalAlign: word }]] },
  rollout: {
    args: () => [[attended.weights, attended.more], {}],
    places: [[0, 'weightsPerLayer'], [1, 'options', options], [1, { residual: omitted((x) => finite(x) && x >= 0 && x <= 1), headFusion: word }]],
  },
  kvCache: {
    args: () => [{ numKvHeads: 2, headDim: 4, capacity: 8 }],
    places: [[0, 'numKvHeads', nothing], [0, {
      batch: omitted(isInteger(1)), numKvHeads: isInteger(1), headDim: isInteger(1), headDimV: omitted(isInteger(1)), capacity: isInteger(1), window: omitted(isInteger(1, 8)),
    }]],
  },
  multiHeadAttention: {
    args: () => [{ embedDim: 8, numHeads: 2 }],
    places: [[0, 'embedDim', nothing], [0, {
      embedDim: isInteger(1), numHeads: isInteger(1, 8), numKvHeads: omitted(isInteger(1, 2)), bias: flag, kdim: omitted(isInteger(1)), vdim: omitted(isInteger(1)), addBiasKv: flag, addZeroAttn: flag, batchFirst: flag,
      rotary: options, state: omitted(), seed: omitted(isInteger(0, 2 ** 32 - 1)),
    }]],
  },
};

const FORWARD = { keyPaddingMask: omitted(), attnMask: omitted(), isCausal: flag, needWeights: flag, averageAttnWeights: flag, needGrad: flag };
// The methods of what an engine makes: of(engine) makes it, state(object) is what an error must leave as it was.
const METHODS = {
  'tensor.set': { of: (a) => a.tensor([2, 3]).set(T(2, 3)), state: (t) => t.toTensor().data, args: () => [T(6)], places: [[0, 'values', converted]] },
  'cache.append': {
    of: (a) => a.kvCache({ batch: 2, numKvHeads: 2, headDim: 4, capacity: 100 }).append(T(2, 2, 3, 4), T(2, 2, 3, 4)),
    state: (c) => [c.lengths, c.attend(ones, { returnScores: 'raw' })],
    args: () => [T(2, 2, 2, 4), T(2, 2, 2, 4), { lengths: [1, 2] }],
    places: [[0, 'key'], [1, 'value'], [2, 'options', options], [2, { lengths: omitted() }]],
  },
  'cache.attend': {
    of: (a) => a.kvCache({ batch: 2, numKvHeads: 2, headDim: 4, capacity: 8 }).append(T(2, 2, 3, 4), T(2, 2, 3, 4)), state: (c) => c.lengths,
    args: () => [T(2, 2, 1, 4), {}],
    places: [[0, 'query'], [1, 'options', options], [1, SDPA]],
  },
  'cache.truncate': {
    of: (a) => a.kvCache({ batch: 2, numKvHeads: 2, headDim: 4, capacity: 8 }).append(T(2, 2, 3, 4), T(2, 2, 3, 4)), state: (c) => c.lengths,
    args: () => [3], places: [[0, 'length', isInteger(0)]],
  },
  'layer.forward': {
    of: (a) => a.multiHeadAttention({ embedDim: 8, numHeads: 2 }), state: (l) => l.stateDict(),
    args: () => [x3, T(2, 4, 8), T(2, 4, 8), {}],
    places: [[0, 'query'], [1, 'key', omitted()], [2, 'value', omitted()], [3, 'options', options], [3, FORWARD]],
  },
  'layer.backward': {
    of: (a) => { const layer = a.multiHeadAttention({ embedDim: 8, numHeads: 2 }); layer.forward(x3, null, null, { needGrad: true }); return layer; },
    state: (l) => l.stateDict(), args: () => [T(2, 3, 8)], places: [[0, 'gradOutput']],
  },
  'layer.loadStateDict': {
    of: (a) => a.multiHeadAttention({ embedDim: 8, numHeads: 2 }), state: (l) => l.stateDict(),
    args: (a) => [a.multiHeadAttention({ embedDim: 8, numHeads: 2, seed: 1 }).stateDict()],
    places: [[0, 'state'], [0, { in_proj_weight: converted, 'out_proj.bias': converted }]],
  },
  'simple.forward': {
    of: (a) => new SimpleAttention({ embedDim: 8, numHeads: 2, engine: a }), state: (l) => l.stateDict(),
    args: () => [x3, {}], places: [[0, 'query', converted], [1, 'options', options], [1, { causal: flag, returnWeights: flag }]],
  },
  'simple.selfAttention': {
    of: (a) => new SimpleAttention({ embedDim: 8, numHeads: 2, engine: a }), state: (l) => l.stateDict(),
    args: () => [x3, {}], places: [[0, 'query', converted], [1, 'options', options], [1, { causal: flag }]],
  },
  'simple.loadStateDict': {
    of: (a) => new SimpleAttention({ embedDim: 8, numHeads: 2, engine: a }), state: (l) => l.stateDict(),
    args: (a) => [new SimpleAttention({ embedDim: 8, numHeads: 2, seed: 1, engine: a }).stateDict()],
    places: [[0, 'state'], [0, { in_proj_weight: converted }]],
  },
};
// Those that take nothing.
const WITHOUT_ARGUMENTS = ['attn.dispose', 'tensor.toTensor', 'tensor.toNested', 'tensor.free', 'cache.reset', 'cache.free', 'layer.stateDict', 'layer.free', 'simple.stateDict', 'simple.free'];

// The table

// Where NaN is in a result, if anywhere.
function nanIn(result, path = 'result', depth = 0) {
  if (typeof result === 'number') return Number.isNaN(result) ? path : null;
  if (ArrayBuffer.isView(result)) return result.some(Number.isNaN) ? path : null;
  if (result === null || typeof result !== 'object' || depth > 3 || result instanceof KvCache || result instanceof Attention) return null;
  for (const name of Object.keys(result)) {
    const found = nanIn(result[name], `${path}.${name}`, depth + 1);
    if (found) return found;
  }
  return null;
}

// The number in it, if a wrong value has NaN or infinity for a number.
const holdsNoNumber = (value) => (typeof value === 'number' && !Number.isFinite(value)) || value instanceof Date;

// mayPass(value), where looking at the value may itself throw.
function may(mayPass, value) {
  try {
    return mayPass(value);
  } catch {
    return false;
  }
}

async function attempt(what, { call, args, place, name, option, mayPass, isAsync, isMaker }, value) {
  const given = [...args];
  given[place] = option ? { ...args[place], [option]: value } : value;
  const label = option ?? name;
  const passes = may(mayPass, value);
  let result;
  try {
    result = call(...given);
    if (isAsync) result = await result;
  } catch (error) {
    if (error === thrown) return;
    assert.ok([TypeError, RangeError, AttentionError].includes(error?.constructor), `${what}: threw ${error?.stack ?? String(error)}`);
    assert.notEqual(error.code, 'internal', `${what}: ${error.stack}`);
    assert.ok(passes || error.message.includes(label) || error.message.includes('options'), `${what}: the message does not name ${label}: ${error.stack}`);
    return;
  }
  assert.ok(passes, `${what}: was taken`);
  const bad = holdsNoNumber(value) ? null : nanIn(result);
  assert.equal(bad, null, `${what}: NaN in ${bad}`);
  // What a call made is given back, so that the next does not find memory full.
  if (isMaker && result?.free) result.free();
}

// cases(fn) -> every { place, name, option, mayPass } of a function
const cases = ({ places }) => places.flatMap(([place, which, mayPass = nothing]) =>
  (typeof which === 'string' ? [{ place, name: which, mayPass }] : Object.entries(which).map(([option, may]) => ({ place, option, mayPass: may }))));

async function run(attn, other, name, fn) {
  const object = fn.of ? fn.of(attn) : attn;
  const method = name.split('.').at(-1);
  const call = (...args) => object[method](...args);
  const args = fn.args(attn);
  if (!fn.of) {
    const ok = await call(...args);
    if (ok?.free) ok.free();
  }
  const stateOf = () => (fn.state ? structuredClone(fn.state(object)) : null);
  let state = stateOf();
  const out = args.find((arg) => arg?.out)?.out;
  const wrong = [];
  for (const one of cases(fn)) {
    const right = one.option ? args[one.place]?.[one.option] : args[one.place];
    for (const [kind, make] of Object.entries(WRONG)) {
      out?.data.fill(42);
      const what = `${name}, ${one.option ?? one.name}: ${kind}`;
      let threw = true;
      const once = (...given) => { const result = call(...given); threw = false; return result; };
      await attempt(what, { ...one, args, call: once, isAsync: fn.async, isMaker: !fn.of }, make(attn, other, right)).catch((error) => wrong.push(error.message));
      if (threw && out) assert.ok(out.data.every((x) => x === 42), `${what}: wrote to out`);
      works(attn);
      // A value that passes may change things: a state, or a cache.
      if (threw) assert.deepEqual(stateOf(), state, `${what}: changed the ${name.split('.')[0]}`);
      else state = stateOf();
    }
  }
  assert.deepEqual(wrong, []);
}

// Looking at arguments is the same on every variant; memory is not: shared memory is no ArrayBuffer.
for (const variant of ['simd', 'relaxed-threads'])
  for (const [name, fn] of Object.entries({ ...FUNCTIONS, ...METHODS }))
    test(`${name}: no wrong argument breaks anything (${variant})`, async () => {
      const [attn, other] = await Promise.all([engineOf(variant), engineOf('scalar')].map((options) => Attention.create(options)));
      try {
        await run(attn, other, name, fn);
      } finally {
        attn.dispose();
        other.dispose();
      }
    });

test('the table has every public function', async () => {
  const attn = await Attention.create(engineOf('scalar'));
  const objects = { attn, tensor: attn.tensor([1]), cache: attn.kvCache({ numKvHeads: 1, headDim: 1, capacity: 1 }), layer: attn.multiHeadAttention({ embedDim: 1, numHeads: 1 }), simple: new SimpleAttention({ embedDim: 1, numHeads: 1, engine: attn }) };
  const names = Object.entries(objects).flatMap(([owner, object]) => {
    const descriptors = [];
    for (let from = Object.getPrototypeOf(object); from !== Object.prototype; from = Object.getPrototypeOf(from)) descriptors.push(...Object.entries(Object.getOwnPropertyDescriptors(from)));
    return descriptors.filter(([name, { value }]) => typeof value === 'function' && name !== 'constructor' && !name.startsWith('@@')).map(([name]) => `${owner}.${name}`);
  });
  // For this library's own modules.
  const internal = ['cache.alive'];
  const tested = [...Object.keys(FUNCTIONS).map((name) => `attn.${name}`), ...Object.keys(METHODS), ...WITHOUT_ARGUMENTS, ...internal];
  assert.deepEqual([...new Set(names)].sort(), tested.sort());
  attn.dispose();
});

test('every option of the table is one, and every option is in the table', async () => {
  const attn = await Attention.create(engineOf('scalar'));
  for (const [name, fn] of Object.entries({ ...FUNCTIONS, ...METHODS })) {
    const place = fn.places.find(([, which]) => typeof which === 'object')?.[0];
    if (place === undefined || name.endsWith('loadStateDict')) continue;
    const object = fn.of ? fn.of(attn) : attn;
    const args = [...fn.args(attn)];
    args[place] = { ...args[place], '?': 1 };
    const error = await Promise.resolve().then(() => object[name.split('.').at(-1)](...args)).catch((e) => e);
    const taken = /no such option; there are (.*)/.exec(error.message)[1].split(', ');
    assert.deepEqual(taken.sort(), fn.places.flatMap(([, which]) => (typeof which === 'object' ? Object.keys(which) : [])).sort(), name);
  }
  attn.dispose();
});

test('Attention.create and the constructors: no wrong argument breaks anything', async () => {
  const attn = await Attention.create(engineOf('scalar'));
  const other = await Attention.create(engineOf('scalar'));
  const create = { args: [{ variant: 'scalar' }], isAsync: true, call: async (o) => (await Attention.create(o)).dispose() };
  const made = { args: [{ embedDim: 4, numHeads: 2, engine: attn }], call: (o) => new SimpleAttention(o) };
  for (const [kind, make] of Object.entries(WRONG)) {
    for (const [option, mayPass] of Object.entries({ variant: word, threads: omitted(isInteger(1, 1)), wasmUrl: omitted((x) => x === '') }))
      await attempt(`create, ${option}: ${kind}`, { ...create, place: 0, option, mayPass }, make(attn, other));
    await attempt(`create: ${kind}`, { ...create, place: 0, name: 'options', mayPass: (x) => x instanceof Attention || options(x) }, make(attn, other));
    for (const [option, mayPass] of Object.entries({ embedDim: isInteger(2), numHeads: isInteger(1, 4), seed: omitted(isInteger(0, 2 ** 32 - 1)), engine: omitted((x) => x instanceof Attention) }))
      await attempt(`SimpleAttention, ${option}: ${kind}`, { ...made, place: 0, option, mayPass }, make(attn, other));
    for (const Type of [Attention, KvCache, MultiHeadAttention]) assert.throws(() => new Type(make(attn, other)), TypeError);
    works(attn);
  }
  for (const threads of [129, 1e6, 2 ** 31 - 1]) await assert.rejects(Attention.create({ threads }), { name: 'RangeError', message: /^threads: expected an integer from 1 to 128/ });
  attn.dispose();
  other.dispose();
});
