// What the caller's own code may do in the middle of a call, by a getter or between two slices: free what was given, take memory
// away, end the engine, call the engine again. And memory that moves, and sharing, and growth under a call.

import assert from 'node:assert/strict';

import { Attention, AttentionError } from '../../web/lib/index.js';
import { eachVariant, engineOf, random, tensor, works } from './each_variant.js';

const disposed = (error) => error instanceof AttentionError && error.code === 'disposed';
const takenAway = { name: 'TypeError', message: /^[\w[\]]+: .*taken away/ };
const next = random(21);
const T = (...shape) => tensor(shape, next);

// tensor whose data is read only after `does` ran
const once = ({ data, shape }, does) => ({ shape, get data() { does(); return data; } });
const detach = ({ data }) => structuredClone(data.buffer, { transfer: [data.buffer] });

// name: { inputs: shapes, call(attn, tensors) }; the last input's getter runs when the others have been read.
const CALLS = {
  sdpa: { shapes: [[2, 3, 4], [2, 5, 4], [2, 5, 4]], call: (attn, [q, k, v]) => attn.sdpa(q, k, v).output },
  'sdpa, mask': { shapes: [[2, 3, 4], [2, 5, 4], [2, 5, 4], [3, 5]], call: (attn, [q, k, v, attnMask]) => attn.sdpa(q, k, v, { attnMask }).output },
  'sdpa, slopes': { shapes: [[2, 3, 4, 4], [2, 3, 5, 4], [2, 3, 5, 4], [3]], call: (attn, [q, k, v, alibiSlopes]) => attn.sdpa(q, k, v, { alibiSlopes }).output },
  sdpaBackward: { shapes: [[2, 3, 4], [2, 5, 4], [2, 5, 4], [3, 5]], call: (attn, [q, k, v, attnMask]) => attn.sdpaBackward(q, q, k, v, { attnMask }).gradQuery },
  linear: { shapes: [[3, 4], [5, 4], [5]], call: (attn, [x, w, b]) => attn.linear(x, w, b) },
  rotaryEmbedding: { shapes: [[3, 4], [3, 2], [3, 2]], call: (attn, [x, cos, sin]) => attn.rotaryEmbedding(x, { cos, sin }) },
  rmsNorm: { shapes: [[3, 4], [4]], call: (attn, [x, w]) => attn.rmsNorm(x, w) },
  swiglu: { shapes: [[3, 4], [3, 4]], call: (attn, [gate, up]) => attn.swiglu(gate, up) },
  scoreAttention: { shapes: [[3, 4], [5, 4], [5, 4], [4]], call: (attn, [q, k, value, v]) => attn.scoreAttention(q, k, value, { score: 'additive', v }).output },
  explain: { shapes: [[3, 4], [5, 4], [5, 4], [3, 5]], call: (attn, [q, k, v, attnMask]) => attn.explain(q, k, v, { row: 1, attnMask }).output },
  rollout: { shapes: [[2, 3, 3], [2, 3, 3]], call: (attn, layers) => attn.rollout(layers) },
  forward: { shapes: [[2, 3, 4], [2, 5, 4], [2, 5, 4], [3, 5]], call: (attn, [q, k, v, attnMask]) => attn.multiHeadAttention({ embedDim: 4, numHeads: 2 }).forward(q, k, v, { attnMask }).output },
  append: { shapes: [[1, 2, 3, 4], [1, 2, 3, 4]], call: (attn, [k, v]) => attn.kvCache({ numKvHeads: 2, headDim: 4, capacity: 9 }).append(k, v).length },
};

eachVariant('a tensor that a getter frees is used no more', (attn) => {
  for (const [name, { shapes, call }] of Object.entries(CALLS)) {
    const inputs = shapes.map((shape) => T(...shape));
    const held = attn.tensor(shapes[0]).set(inputs[0]);
    const last = once(inputs.at(-1), () => { held.free(); attn.tensor(shapes[0]).data.fill(NaN); });
    assert.throws(() => call(attn, [held, ...inputs.slice(1, -1), last]), disposed, name);
    works(attn);
  }
});

eachVariant('memory that a getter takes away is missed, not read as nothing', (attn) => {
  for (const [name, { shapes, call }] of Object.entries(CALLS)) {
    const inputs = shapes.map((shape) => T(...shape));
    const last = once(inputs.at(-1), () => detach(inputs[0]));
    assert.throws(() => call(attn, [inputs[0], ...inputs.slice(1, -1), last]), takenAway, name);
    const shrinking = T(...shapes[0]);
    const buffer = new ArrayBuffer(shrinking.data.byteLength, { maxByteLength: 4096 });
    const whole = { shape: shapes[0], data: new Float32Array(buffer) };
    whole.data.set(shrinking.data);
    const others = shapes.slice(1).map((shape) => T(...shape));
    assert.throws(() => call(attn, [whole, ...others.slice(0, -1), once(others.at(-1), () => buffer.resize(4))]), takenAway, name);
    works(attn);
  }
});

eachVariant('an engine that a getter disposes of says so', async (attn, t) => {
  const variant = attn.variant;
  for (const [name, { shapes, call }] of Object.entries(CALLS)) {
    const own = await Attention.create(engineOf(variant));
    const inputs = shapes.map((shape) => T(...shape));
    assert.throws(() => call(own, [...inputs.slice(0, -1), once(inputs.at(-1), () => own.dispose())]), disposed, `${name} ${t.name}`);
    assert.equal(own.disposed, true);
  }
  works(attn);
});

eachVariant('calls inside of calls, by a getter, give what each gives alone', (attn) => {
  for (const [name, { shapes, call }] of Object.entries(CALLS)) {
    const inputs = shapes.map((shape) => T(...shape));
    const want = call(attn, inputs);
    let inner;
    const got = call(attn, [...inputs.slice(0, -1), once(inputs.at(-1), () => { inner = call(attn, inputs); })]);
    assert.deepEqual(got, want, name);
    assert.deepEqual(inner, want, name);
  }
});

eachVariant('numbers of an array that change are those that were read first', (attn) => {
  let reads = 0;
  const row = Object.defineProperty([1, 2], 0, { get: () => (reads++ === 0 ? 1 : 'text') });
  assert.throws(() => attn.sdpa([row], [[1, 2]], [[1, 2]]), { name: 'TypeError', message: /^query\[0\]\[0\]: expected a number, got "text"/ });
  const proxied = new Proxy([1, 2], { get: (target, name) => (name === 'length' ? 2 : target[name]) });
  assert.deepEqual(attn.sdpa([proxied], [[1, 2]], [[1, 2]]).output.toNested(), [[1, 2]]);
  const shape = new Proxy([1, 2], { get: (target, name) => (name === '1' ? ++reads : target[name]) });
  assert.throws(() => attn.sdpa({ data: [1, 2], shape }, [[1, 2]], [[1, 2]]), RangeError);
  works(attn);
});

eachVariant("views of the engine's own memory are read before it moves", async (attn) => {
  const reference = await Attention.create(engineOf(attn.variant));
  for (let round = 0; round < 3; round++) {
    const before = attn.memoryBytes;
    const seqLen = Math.ceil(Math.sqrt(before / 4));
    const inputs = [0, 1, 2].map(() => T(1, 1, seqLen, 4));
    const held = inputs.map((x) => attn.tensor(x.shape).set(x));
    const views = held.map(({ data, shape }) => ({ data, shape }));
    const got = attn.sdpa(...views, { returnWeights: true });
    assert.ok(attn.memoryBytes > before, 'the weights alone are larger than memory was');
    const want = reference.sdpa(...inputs, { returnWeights: true });
    assert.deepEqual(got.output, want.output);
    assert.deepEqual(got.weights, want.weights);
  }
  reference.dispose();
  const t = attn.tensor([4]).set([1, 2, 3, 4]);
  assert.deepEqual(attn.tensor([2]).set(t.data.subarray(1, 3)).toNested(), [2, 3]);
  assert.deepEqual(t.set(t.data.subarray(0, 4)).toNested(), [1, 2, 3, 4]);
});

eachVariant('shared, resizable and foreign memory is memory', async (attn) => {
  const inputs = [T(3, 4), T(5, 4), T(5, 4)];
  const want = attn.sdpa(...inputs).output;
  const { runInNewContext } = await import('node:vm');
  const forms = {
    shared: ({ data }) => { const x = new Float32Array(new SharedArrayBuffer(data.byteLength)); x.set(data); return x; },
    resizable: ({ data }) => { const x = new Float32Array(new ArrayBuffer(data.byteLength, { maxByteLength: 1 << 20 })); x.set(data); return x; },
    foreign: ({ data }) => runInNewContext('Float32Array').from(data),
    'at an odd place': ({ data }) => { const x = new Float32Array(new ArrayBuffer(data.byteLength + 12), 12, data.length); x.set(data); return x; },
    'a subclass': ({ data }) => (class extends Float32Array {}).from(data),
    'with a length of its own': ({ data }) => Object.defineProperty(data.slice(), 'length', { value: 3 }),
    'with methods of its own': ({ data }) => Object.assign(data.slice(), { subarray: null, slice: null, set: null }),
  };
  for (const [name, form] of Object.entries(forms)) {
    const given = inputs.map((x) => ({ data: form(x), shape: x.shape }));
    assert.deepEqual(attn.sdpa(...given).output, want, name);
    // ... also where keys and values are copied in head by head.
    const big = [[1, 8, 1, 64], [1, 8, 200, 64], [1, 8, 200, 64]].map((shape) => T(...shape));
    assert.deepEqual(attn.sdpa(...big.map((x) => ({ data: form(x), shape: x.shape }))).output, attn.sdpa(...big).output, name);
  }
});

eachVariant('a state that cannot be read to its end changes nothing', (attn) => {
  const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const x = T(5, 4);
  const before = layer.stateDict();
  const want = [layer.forward(x), layer.forward(x)][1];
  const state = attn.multiHeadAttention({ embedDim: 4, numHeads: 2, seed: 1 }).stateDict();
  const bias = { data: state.in_proj_bias.data.slice(), shape: state.in_proj_bias.shape };
  const given = { ...state, in_proj_bias: bias, 'out_proj.bias': once(state['out_proj.bias'], () => detach(bias)) };
  assert.throws(() => layer.loadStateDict(given), { name: 'TypeError', message: /in_proj_bias.*taken away/ });
  assert.deepEqual(layer.stateDict(), before);
  assert.deepEqual(layer.forward(x), want);
});

eachVariant('a layer or cache that a getter frees is used no more', (attn) => {
  const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const x = T(3, 4);
  assert.throws(() => layer.forward(once(x, () => layer.free())), disposed);
  const other = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const state = other.stateDict();
  const last = Object.keys(state).at(-1);
  assert.throws(() => other.loadStateDict({ ...state, [last]: once(state[last], () => other.free()) }), disposed);
  const third = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  third.forward(x, null, null, { needGrad: true });
  assert.throws(() => third.backward(once(x, () => third.free())), disposed);

  const cache = attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 4 });
  const [key, value] = [T(1, 1, 1, 4), T(1, 1, 1, 4)];
  assert.throws(() => cache.append(key, once(value, () => cache.free())), disposed);
  const second = attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 4 }).append(key, value);
  assert.throws(() => second.attend(once(key, () => second.free())), disposed);
  // What was appended inside of an append comes before it.
  const twice = attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 2 });
  twice.append(key, once(value, () => twice.append(value, key)));
  assert.equal(twice.length, 2);
  assert.throws(() => twice.append(key, value), RangeError);
  const full = attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 1 });
  assert.throws(() => full.append(key, once(value, () => full.append(value, key))), RangeError);
  works(attn);
});

eachVariant('an array whose getters grow the engine, thousands of times', (attn) => {
  const inputs = [T(3, 4), T(5, 4), T(5, 4)];
  const want = attn.sdpa(...inputs).output;
  for (let i = 0; i < 200; i++) {
    let grown;
    assert.deepEqual(attn.sdpa(inputs[0], inputs[1], once(inputs[2], () => { grown = attn.tensor([1 + i * 500]); })).output, want);
    grown.free();
  }
});

eachVariant('sdpaAsync: what slices leave room for', async (attn) => {
  const big = [0, 1, 2].map(() => T(1, 4, 1100, 32));
  const want = (await attn.sdpaAsync(...big)).output;
  // The caller's arrays were read before the first slice.
  const given = big.map(({ data, shape }) => ({ data: data.slice(), shape }));
  let slices = 0;
  const got = await attn.sdpaAsync(...given, { onProgress: () => { if (slices++ === 0) given.forEach(detach); } });
  assert.deepEqual(got.output, want);
  // Memory grows and other calls run between slices; two run at once.
  const several = await Promise.all([0, 1, 2].map(() => attn.sdpaAsync(...big, { onProgress: () => { attn.tensor([50_000]).free(); works(attn); } })));
  for (const { output } of several) assert.deepEqual(output, want);
  // Thrown inside onProgress: the promise rejects, and all memory is given back.
  const before = attn.memoryBytes;
  for (let i = 0; i < 5; i++) await assert.rejects(attn.sdpaAsync(...big, { onProgress: () => { throw new Error('mine'); } }), /mine/);
  assert.equal(attn.memoryBytes, before);
  for (const option of ['query', 'out', 'attnMask']) {
    const own = await Attention.create(engineOf(attn.variant));
    const [q, k, v] = big;
    const t = own.tensor(option === 'attnMask' ? [1100, 1100] : q.shape);
    const call = own.sdpaAsync(option === 'query' ? t : q, k, v, { ...(option !== 'query' && { [option]: t }), onProgress: () => { if (!t.freed) t.free(); } });
    await assert.rejects(call, disposed, option);
    works(own);
    // In the middle of another, from outside.
    const pending = own.sdpaAsync(q, k, v);
    setImmediate(() => own.dispose());
    await assert.rejects(pending, disposed);
  }
});
