// Memory that cannot be had, at every place where it is asked for: an error, everything given back, nothing half written, and the
// same call works as soon as there is memory. And threads that die.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Attention, AttentionError } from '../../web/lib/index.js';
import { BRIEF, Heap } from '../../web/lib/heap.js';
import { load } from '../../web/lib/variants.js';
import { VARIANTS, UNTHREADED, engineOf, random, tensor, works } from './each_variant.js';

const next = random(31);
const T = (...shape) => tensor(shape, next);
const filled = (x, ...shape) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)).fill(x), shape });
const doubles = ({ data, shape }) => ({ data: Float64Array.from(data), shape });
const outOfMemory = (error) => error instanceof AttentionError && error.code === 'memory' && /bytes/.test(error.message);

// An engine whose allocator can refuse: { attn, state: { left: how many more it grants, asked: how often it was, live: what is out } }.
// It has no block for what calls take briefly, unless hasBrief: so everything is asked for.
async function engineWithAllocator(options, hasBrief = false) {
  const { name, threads, module } = await load({ wasmUrl: null, ...options });
  const { wasm_alloc: alloc, wasm_free: free } = module.exports;
  const state = { left: Infinity, asked: 0, live: new Map() };
  const allocator = {
    wasm_alloc(bytes) {
      if (bytes === BRIEF && !hasBrief) return 0;
      state.asked++;
      if (state.left-- <= 0) return 0;
      const pointer = alloc(bytes) >>> 0;
      if (pointer) state.live.set(pointer, bytes);
      return pointer;
    },
    wasm_free(pointer) {
      if (pointer) assert.ok(state.live.delete(pointer >>> 0), 'what is given back was taken, and once');
      free(pointer);
      state.onFree?.();
    },
  };
  const heap = new Heap({ ...module, exports: { ...module.exports, ...allocator } });
  if (threads > 1) heap.startThreads(threads);
  return { attn: new Attention(heap, name, threads), state };
}

const [q, k, v, masks] = [T(2, 4, 3, 8), T(2, 2, 5, 8), T(2, 2, 5, 6), T(3, 5)];
const big = [T(1, 8, 1, 64), T(1, 8, 300, 64), T(1, 8, 300, 64)];
const x = T(2, 3, 8);
const fourRows = T(1, 4, 8); // with more a layer makes a copy of its weights, which it can do without
const half = { data: Uint16Array.from({ length: 24 }, (_, i) => 0x3c00 + i), shape: [3, 8], dtype: 'float16' };
const token = { data: new Uint16Array(4), shape: [1, 1, 1, 4], dtype: 'float16' };
const concat = { score: 'concat', wQuery: T(5, 4), wKey: T(3, 6), w: T(7, 8), v: T(7) };
const scored = [T(3, 4), T(5, 6), T(5, 2)];
const weights = { data: T(2, 3, 3).data.map(Math.abs), shape: [2, 3, 3] };

function withLayer(attn, use) {
  const layer = attn.multiHeadAttention({ embedDim: 8, numHeads: 2 });
  try {
    return use(layer);
  } finally {
    layer.free();
  }
}

// name: (attn, made) => result. made: { layer, cache, held, out }, which must be as before after an error.
const CALLS = {
  attention: (a) => a.attention([1, 2], [[1, 2]], [[3, 4]]),
  sdpa: (a, { out }) => a.sdpa(q, k, v, { attnMask: masks, alibiSlopes: [1, 2, 3, 4], kvLengths: [4, 5], returnWeights: true, returnScores: 'raw', returnLogsumexp: true, out }).weights,
  'sdpa in float64': (a) => a.sdpa(...[q, k, v].map(doubles), { returnWeights: true }),
  'sdpa of half precision': (a) => a.sdpa(half, half, half).output,
  'sdpa head by head': (a) => a.sdpa(...big).output,
  sdpaBackward: (a) => a.sdpaBackward(filled(1, 2, 4, 3, 6), q, k, v, { attnMask: masks }),
  linear: (a) => a.linear(x, filled(1, 5, 8)),
  'linear of many rows': (a) => a.linear(big[1], filled(1, 70, 64)),
  softmax: (a) => a.softmax(x),
  rmsNorm: (a) => a.rmsNorm(x, filled(1, 8)),
  swiglu: (a) => a.swiglu(x, x),
  rotaryEmbedding: (a) => a.rotaryEmbedding(q, { ...a.rotaryTables({ seqLen: 5, dim: 8 }), positionIds: [[0, 1, 2], [2, 3, 4]] }),
  scoreAttention: (a) => a.scoreAttention(...scored, concat).output,
  scoreAttentionBackward: (a) => a.scoreAttentionBackward(filled(1, 3, 2), ...scored, concat),
  explain: (a) => a.explain(q, k, v, { row: 1, products: true, attnMask: masks }).output,
  headStatistics: (a) => a.headStatistics(weights),
  rollout: (a) => a.rollout([weights, weights]),
  tensor: (a) => { const t = a.tensor([3]); const { data } = t.toTensor(); t.free(); return data; },
  kvCache: (a) => { const c = a.kvCache({ numKvHeads: 1, headDim: 4, capacity: 3 }); c.free(); return c.lengths; },
  'cache.attend': (a, { cache }) => cache.attend(filled(1, 1, 2, 1, 4)).output,
  'cache.append of half precision': (a, { cache }) => cache.append(token, token).truncate(2).length,
  multiHeadAttention: (a) => withLayer(a, (layer) => layer.stateDict()),
  'layer.forward': (a, { layer }) => layer.forward(fourRows, null, null, { isCausal: true }),
  'layer.forward in float64': (a) => withLayer(a, (layer) => layer.forward(doubles(x))),
  'layer.backward': (a, { graph }) => graph.backward(filled(1, 2, 3, 8)),
  'layer.loadStateDict': (a, { layer }) => layer.loadStateDict(layer.stateDict()).headDim,
};

for (const variant of ['simd', 'relaxed-threads'])
  for (const [name, call] of Object.entries(CALLS))
    test(`${name}: each allocation refused in turn (${variant})`, async () => {
      const { attn, state } = await engineWithAllocator(engineOf(variant));
      const made = {
        layer: attn.multiHeadAttention({ embedDim: 8, numHeads: 2 }), graph: attn.multiHeadAttention({ embedDim: 8, numHeads: 2, rotary: {} }),
        cache: attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 3 }).append(filled(2, 1, 1, 2, 4), filled(3, 1, 1, 2, 4)),
        out: attn.tensor([2, 4, 3, 6]),
      };
      made.graph.forward(x, null, null, { needGrad: true });
      const snapshot = () => structuredClone([made.layer.stateDict(), made.graph.stateDict(), made.cache.lengths, attn.disposed, made.out.toTensor().data]);

      state.asked = 0;
      const want = call(attn, made);
      const asked = state.asked;
      made.out.data.fill(42);
      const before = snapshot();
      const live = state.live.size;
      for (let i = 0; i < asked; i++) {
        state.left = i;
        assert.throws(() => call(attn, made), outOfMemory, `allocation ${i} of ${asked}`);
        state.left = Infinity;
        assert.deepEqual(snapshot(), before, `allocation ${i}: something changed`);
        assert.equal(state.live.size, live, `allocation ${i}: memory was not given back`);
        works(attn);
      }
      // A result's own memory, the caller's.
      const { slice } = Float32Array.prototype;
      Float32Array.prototype.slice = () => { throw new RangeError('Array buffer allocation failed'); };
      try {
        call(attn, made);
      } catch (error) {
        assert.ok(outOfMemory(error) || error.message === 'Array buffer allocation failed', error.stack);
      } finally {
        Float32Array.prototype.slice = slice;
      }
      assert.equal(state.live.size, live);
      assert.deepEqual(call(attn, made), want);
      for (const thing of Object.values(made)) thing.free();
      assert.equal(state.live.size, 0, 'all is given back');
      attn.dispose();
    });

test('small calls take one block, once, however they end', async () => {
  for (const variant of ['simd', 'relaxed-threads']) {
    const { attn, state } = await engineWithAllocator(engineOf(variant), true);
    const askedBy = (calls) => {
      state.asked = 0;
      for (const call of calls) call();
      return state.asked;
    };
    const inputs = [T(1, 8, 16, 64), T(1, 8, 16, 64), T(1, 8, 16, 64)];
    const cache = attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 3 }).append(filled(2, 1, 1, 2, 4), filled(3, 1, 1, 2, 4));
    const want = attn.sdpa(...inputs);
    assert.equal([...state.live.values()].filter((bytes) => bytes === BRIEF).length, 1);
    const failing = [
      () => assert.throws(() => attn.sdpa(...inputs, { attnMask: T(3, 3) }), RangeError),
      () => {
        const first = { ...inputs[0], data: inputs[0].data.slice() };
        const last = { get data() { structuredClone(0, { transfer: [first.data.buffer] }); return inputs[2].data; }, shape: inputs[2].shape };
        assert.throws(() => attn.sdpa(first, inputs[1], last), TypeError); // when it is read, within the scope
      },
    ];
    const calls = [() => assert.deepEqual(attn.sdpa(...inputs), want), () => cache.attend(filled(1, 1, 1, 1, 4)), () => attn.sdpa(half, half, half), ...failing];
    for (let i = 0; i < 200; i++) assert.equal(askedBy(calls), 0, `round ${i}`);
    const large = [big[1], big[1], big[1]];
    const live = state.live.size;
    const wide = attn.sdpa(...large, { returnWeights: true });
    for (let i = 0; i < 3; i++) {
      assert.ok(askedBy([() => assert.deepEqual(attn.sdpa(...large, { returnWeights: true }), wide)]) > 0, 'what does not fit is asked for');
      assert.equal(state.live.size, live);
    }
    state.left = 0;
    assert.deepEqual(attn.sdpa(...inputs), want, 'and small calls need no more');
    assert.throws(() => attn.sdpa(...large), outOfMemory);
    state.left = Infinity;
    assert.deepEqual(attn.sdpa(...large, { returnWeights: true }), wide);
    attn.dispose();
  }
});

test('a layer that gets no memory for the copy of its weights does without, and gives it up for what cannot', async () => {
  for (const variant of ['scalar', 'simd', 'relaxed-threads']) {
    const { attn, state } = await engineWithAllocator(engineOf(variant));
    const layer = attn.multiHeadAttention({ embedDim: 8, numHeads: 2 });
    const parameters = state.live.size;
    const copies = () => state.live.size - parameters;
    const rows = (n) => ({ data: x.data.subarray(0, 8 * n), shape: [n, 8] });
    for (let i = 0; i < 3; i++) layer.forward(rows(4));
    assert.equal(copies(), 0, 'four rows have no use for it');
    const want = layer.forward(rows(5));
    assert.equal(copies(), 0, 'the first call that has may be the only one');
    state.asked = 0;
    assert.deepEqual(layer.forward(rows(5)), want);
    const { asked } = state;
    assert.equal(copies(), 1);
    assert.equal([...state.live.values()].at(-1), 4 * 4 * 8 * 8);
    assert.deepEqual(layer.forward(rows(5)), want);

    layer.loadStateDict(layer.stateDict());
    assert.equal(copies(), 0, 'it was of the last parameters');
    layer.forward(rows(5));
    state.left = asked - 1; // it is asked for last
    assert.deepEqual(layer.forward(rows(5)), want);
    assert.equal(copies(), 0);
    state.left = Infinity;
    assert.deepEqual(layer.forward(rows(5)), want);
    assert.equal(copies(), 1);

    state.left = 0;
    assert.throws(() => attn.tensor([4]), outOfMemory);
    assert.equal(copies(), 0, 'it was not enough');
    state.left = Infinity;
    for (let i = 0; i < 2; i++) layer.forward(rows(5));
    assert.equal(copies(), 1);
    state.left = 0;
    state.onFree = () => { state.left = Infinity; };
    assert.deepEqual(layer.forward(rows(5)), want, "a call that needs its own copy's memory");
    assert.equal(copies(), 0);

    layer.forward(rows(5));
    const { in_proj_weight: weight, ...rest } = layer.stateDict();
    layer.loadStateDict({ ...rest, in_proj_weight: { data: weight.data.map((w) => -w), shape: weight.shape } });
    const turned = want.output.data.map((y) => -y); // queries and keys both change sign, and so do values
    for (let i = 0; i < 3; i++) assert.deepEqual(layer.forward(rows(5)).output.data, turned);
    layer.free();
    assert.equal(copies(), -1);
    attn.dispose();
  }
});

test('an engine that gets no memory for its threads is not made', async () => {
  for (const variant of VARIANTS.filter((name) => !UNTHREADED.includes(name))) {
    const { module } = await load({ wasmUrl: null, ...engineOf(variant) });
    const heap = new Heap({ ...module, exports: { ...module.exports, wasm_alloc: () => 0 } });
    assert.throws(() => heap.startThreads(2), outOfMemory);
    heap.dispose();
    assert.throws(() => heap.module, { code: 'disposed' });
  }
});

test('memory taken to its limit in steps can be given back in any order, and the engine works at every step', async () => {
  for (const variant of ['relaxed', 'simd-threads']) {
    const attn = await Attention.create(engineOf(variant));
    const want = attn.sdpa(q, k, v).output;
    const step = () => attn.kvCache({ numKvHeads: 1, headDim: 1, capacity: 2 ** 24 }); // 128 MiB, never touched
    const fill = () => {
      const caches = [];
      assert.throws(() => { for (;;) caches.push(step()); }, outOfMemory);
      return caches;
    };
    let caches = fill();
    assert.ok(caches.length >= 30 && attn.memoryBytes <= 2 ** 32, `${caches.length} steps, ${attn.memoryBytes} bytes`);
    for (let round = 0; round < 3; round++) {
      assert.deepEqual(attn.sdpa(q, k, v).output, want);
      const count = caches.length;
      while (caches.length > 0) caches.splice((caches.length * 7 + round) % caches.length, 1)[0].free();
      assert.deepEqual(attn.sdpa(q, k, v).output, want);
      caches = fill();
      assert.equal(caches.length, count);
    }
    attn.dispose();
  }
});

test('a thread that dies: right answers, and an end', { timeout: 60_000 }, async () => {
  for (const variant of VARIANTS.filter((name) => !UNTHREADED.includes(name)))
    for (const dead of [1, 2]) {
      const { name, threads, module } = await load({ wasmUrl: null, variant, threads: 3 });
      const heap = new Heap(module);
      heap.startThreads(threads);
      const attn = new Attention(heap, name, threads);
      const inputs = [0, 1, 2].map(() => T(1, 8, 300, 64)); // shared among threads
      const want = attn.sdpa(...inputs).output;
      const before = module.exports.attn_threads_shared_tasks(heap.threads);
      await Promise.all(module.workers.slice(0, dead).map((worker) => worker.terminate()));
      for (let i = 0; i < 10; i++) assert.deepEqual(attn.sdpa(...inputs).output, want);
      assert.deepEqual((await attn.sdpaAsync(...inputs)).output, want);
      if (dead === 1) assert.ok(module.exports.attn_threads_shared_tasks(heap.threads) !== before, 'the thread that lives still helps');
      attn.dispose();
      assert.throws(() => attn.sdpa(...inputs), { code: 'disposed' });
    }
});
