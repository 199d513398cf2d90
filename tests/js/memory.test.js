// Memory of the engine: who owns it, when it ends, what happens when it grows or runs out.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';

import { Attention, AttentionError, SimpleAttention } from '../../web/lib/index.js';
import { UNTHREADED, VARIANTS, eachVariant, engineOf, random, tensor, works } from './each_variant.js';

v8.setFlagsFromString('--expose-gc');
const collectGarbage = vm.runInNewContext('gc');

const disposed = (error) => error instanceof AttentionError && error.code === 'disposed';

eachVariant('a tensor of the engine: zeros, set, copies, a view made anew', (attn) => {
  const t = attn.tensor([2, 3]);
  assert.deepEqual(t.shape, [2, 3]);
  assert.deepEqual(t.toNested(), [[0, 0, 0], [0, 0, 0]]);
  assert.equal(t.set([1, 2, 3, 4, 5, 6]), t);
  assert.deepEqual(t.toNested(), [[1, 2, 3], [4, 5, 6]]);
  const copy = t.toTensor();
  assert.deepEqual(copy.shape, [2, 3]);
  t.data[0] = 9;
  assert.equal(t.data[0], 9);
  assert.equal(copy.data[0], 1);
  for (const values of [[[1, 2, 3], [4, 5, 6]], { data: Float64Array.of(1, 2, 3, 4, 5, 6), shape: [3, 2] }, Float32Array.of(1, 2, 3, 4, 5, 6), copy]) {
    t.data.fill(0);
    assert.deepEqual(t.set(values).toNested(), [[1, 2, 3], [4, 5, 6]]);
  }
  const other = attn.tensor([6]).set(t);
  assert.deepEqual(other.toNested(), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(other.set(t.data).toNested(), [1, 2, 3, 4, 5, 6]);
  assert.ok(Object.isFrozen(t.shape));
});

eachVariant('memory that was used before comes as zeros, too', (attn) => {
  attn.tensor([1000]).set(new Float32Array(1000).fill(7)).free();
  assert.ok(attn.tensor([1000]).data.every((x) => x === 0));
});

eachVariant('calls read and write tensors of the engine', (attn) => {
  const next = random(1);
  const arrays = [[1, 2, 9, 8], [1, 2, 11, 8], [1, 2, 11, 4]].map((shape) => tensor(shape, next));
  const [q, k, v] = arrays.map(({ data, shape }) => attn.tensor(shape).set(data));
  const want = attn.sdpa(...arrays, { returnWeights: true });
  const out = attn.tensor([1, 2, 9, 4]);
  const got = attn.sdpa(q, k, v, { out, returnWeights: true });
  assert.equal(got.output, out);
  assert.deepEqual(out.toTensor(), want.output);
  assert.deepEqual(got.weights, want.weights);
  assert.deepEqual(q.toTensor().data, arrays[0].data);
  const layer = attn.multiHeadAttention({ embedDim: 8, numHeads: 2 });
  const x = tensor([3, 8], next);
  assert.deepEqual(layer.forward(attn.tensor([3, 8]).set(x)), layer.forward(x));
});

eachVariant('use after free, and free again', (attn) => {
  const t = attn.tensor([2, 2]);
  const other = attn.tensor([2, 2]);
  assert.equal(t.freed, false);
  t.free();
  t.free();
  t[Symbol.dispose]();
  assert.equal(t.freed, true);
  assert.deepEqual(t.shape, [2, 2]);
  for (const use of [
    () => t.data, () => t.set([1, 2, 3, 4]), () => t.toTensor(), () => t.toNested(),
    () => attn.sdpa(t, other, other), () => attn.sdpa(other, t, other), () => attn.sdpa(other, other, t),
    () => attn.sdpa([[1, 2]], [[1, 2]], [[1, 2]], { out: t }), () => attn.sdpa(other, other, other, { attnMask: t }),
    () => other.set(t), () => attn.multiHeadAttention({ embedDim: 2, numHeads: 1 }).forward(t),
  ]) {
    assert.throws(use, disposed, String(use));
    works(attn);
  }
  assert.throws(() => attn.sdpa(other, t, other), /^AttentionError: key: /);
  // A double free would hand out the same memory twice.
  const [a, b] = [attn.tensor([2, 2]), attn.tensor([2, 2])];
  a.data.fill(1);
  b.data.fill(2);
  assert.deepEqual([a.data[0], b.data[0], other.data[0]], [1, 2, 0]);
});

eachVariant('a layer is freed once, and not used afterwards', (attn) => {
  for (const layer of [attn.multiHeadAttention({ embedDim: 4, numHeads: 2 }), new SimpleAttention({ embedDim: 4, numHeads: 2, engine: attn })]) {
    const state = layer.stateDict();
    assert.equal(layer.freed, false);
    layer.free();
    layer.free();
    layer[Symbol.dispose]();
    assert.equal(layer.freed, true);
    for (const use of [() => layer.forward([[1, 2, 3, 4]]), () => layer.stateDict(), () => layer.loadStateDict(state)]) assert.throws(use, disposed);
  }
});

eachVariant('after dispose() everything says so', (attn) => {
  const t = attn.tensor([2, 2]);
  const layer = attn.multiHeadAttention({ embedDim: 2, numHeads: 1 });
  assert.equal(attn.disposed, false);
  attn.dispose();
  attn.dispose();
  attn[Symbol.dispose]();
  assert.equal(attn.disposed, true);
  assert.equal(t.freed, true);
  assert.equal(layer.freed, true);
  assert.equal(attn.memoryBytes, 0);
  t.free();
  layer.free();
  const rows = [[1, 2]];
  for (const use of [
    () => attn.attention([1, 2], rows, rows), () => attn.attentionSteps([1, 2], rows, rows), () => attn.causalMask(2),
    () => attn.sdpa(rows, rows, rows), () => attn.sdpa(t, t, t), () => attn.tensor([2]), () => t.data, () => t.set([1, 2, 3, 4]), () => t.toTensor(),
    () => attn.multiHeadAttention({ embedDim: 2, numHeads: 1 }), () => layer.forward(rows), () => layer.stateDict(),
    () => new SimpleAttention({ embedDim: 2, numHeads: 1, engine: attn }),
  ])
    assert.throws(use, disposed, String(use));
});

test("another engine's tensor is refused, and engines do not disturb each other", async () => {
  for (const variant of VARIANTS) {
    const [a, b] = await Promise.all([Attention.create(engineOf(variant)), Attention.create(engineOf(variant))]);
    try {
      const next = random(2);
      const [x, y] = [tensor([2, 5, 8], next), tensor([2, 5, 8], next)];
      const wantX = a.sdpa(x, x, x).output;
      const wantY = a.sdpa(y, y, y).output;
      const tx = a.tensor(x.shape).set(x);
      const ty = b.tensor(y.shape).set(y);
      for (let i = 0; i < 20; i++) {
        assert.deepEqual(a.sdpa(tx, tx, tx).output, wantX);
        assert.deepEqual(b.sdpa(ty, ty, ty).output, wantY);
        a.tensor([1000 * i + 1]);
      }
      for (const use of [() => b.sdpa(tx, ty, ty), () => b.sdpa(ty, ty, ty, { attnMask: tx }), () => b.sdpa(ty, ty, ty, { out: tx }), () => ty.set(tx)])
        assert.throws(use, { name: 'TypeError', message: /another engine's/ });
      a.dispose();
      assert.deepEqual(b.sdpa(ty, ty, ty).output, wantY);
      works(b);
    } finally {
      a.dispose();
      b.dispose();
    }
  }
});

eachVariant('memory grows in the middle of a call, and everything stays right', (attn) => {
  const next = random(3);
  const arrays = [[1, 1, 700, 8], [1, 1, 700, 8], [1, 1, 700, 8]].map((shape) => tensor(shape, next));
  const want = attn.sdpa(...arrays).output;
  const [q, k, v] = arrays.map(({ data, shape }) => attn.tensor(shape).set(data));
  const out = attn.tensor([1, 1, 700, 8]);
  const view = q.data;
  const before = attn.memoryBytes;
  const { weights } = attn.sdpa(q, k, v, { out, returnWeights: true });
  assert.ok(attn.memoryBytes > before, 'memory was meant to grow');
  // Shared memory grows without killing views: they just end where it ended.
  if (view.buffer instanceof ArrayBuffer) assert.equal(view.length, 0, 'a view that was kept is dead');
  assert.deepEqual(q.data, arrays[0].data);
  for (let i = 0; i < want.data.length; i++) assert.ok(Math.abs(out.data[i] - want.data[i]) < 1e-6);
  for (let i = 0; i < 700; i++) assert.ok(Math.abs(weights.data.subarray(i * 700, (i + 1) * 700).reduce((a, b) => a + b) - 1) < 1e-5);
});

eachVariant('results outlive growth and the engine', (attn) => {
  const rows = [[1, 2], [3, 4]];
  const { output } = attn.sdpa(rows, rows, rows);
  const copy = output.data.slice();
  attn.tensor([2 ** 20]);
  attn.dispose();
  assert.deepEqual(output.data, copy);
});

eachVariant('more memory than there is: an error, nothing lost, and work goes on', (attn) => {
  // Two results of almost 2 GiB each fit no 32-bit address space. Nothing of them is ever touched.
  const x = tensor([23170, 1], random(4));
  const options = { returnWeights: true, returnScores: 'raw' };
  const tooLarge = (error) => error instanceof AttentionError && error.code === 'memory' && /bytes/.test(error.message);
  assert.throws(() => attn.sdpa(x, x, x, options), tooLarge);
  works(attn);
  const reserved = attn.memoryBytes;
  for (let i = 0; i < 5; i++) assert.throws(() => attn.sdpa(x, x, x, options), tooLarge);
  assert.equal(attn.memoryBytes, reserved);
  attn.sdpa(x.data.slice(0, 50).reduce((rows, value) => [...rows, [value]], []), [[1]], [[2]]);
  works(attn);
});

eachVariant('blocks of every size, taken and given back in any order, keep their contents apart', (attn) => {
  const next = random(6);
  const held = [];
  const pick = (n) => Math.min(n - 1, Math.floor(((next() + 1) / 2) * n));
  let most = 0;
  for (let i = 1; i <= 4000; i++) {
    if (held.length > 0 && (held.length > 60 || next() < -0.1)) {
      const [{ t, number }] = held.splice(pick(held.length), 1);
      assert.ok(t.data.every((x) => x === number), `block ${number} after ${i} steps`);
      t.free();
    } else {
      const t = attn.tensor([1 + Math.floor(2 ** (4 + 8 * Math.abs(next() + next()) / 2))]);
      assert.equal(t.data.byteOffset % 64, 0);
      t.data.fill(i);
      held.push({ t, number: i });
    }
    most = Math.max(most, held.reduce((sum, { t }) => sum + t.data.byteLength, 0));
  }
  for (const { t, number } of held) {
    assert.ok(t.data.every((x) => x === number));
    t.free();
  }
  // All is one block again, so that what was taken in pieces can be had whole.
  const before = attn.memoryBytes;
  attn.tensor([Math.floor(most / 4)]).free();
  assert.equal(attn.memoryBytes, before);
});

eachVariant('4 GiB, less a little, can be had, given back and had again', (attn) => {
  // A cache takes its memory without touching it: two blocks of 2.1 GB.
  const all = () => attn.kvCache({ numKvHeads: 1, headDim: 1, capacity: 530e6 });
  for (let round = 0; round < 3; round++) {
    const cache = all();
    for (let i = 0; i < 3; i++) assert.throws(all, { name: 'AttentionError', code: 'memory' });
    works(attn);
    cache.free();
  }
});

eachVariant('tensors, layers and calls that come and go do not make memory grow', (attn) => {
  const x = tensor([1, 2, 33, 16], random(5));
  const round = () => {
    const t = attn.tensor([64, 64]);
    const layer = attn.multiHeadAttention({ embedDim: 32, numHeads: 4 });
    layer.forward(t.data.slice(0, 32) && [Array.from(t.data.slice(0, 32))]);
    layer.forward({ data: new Float64Array(64), shape: [2, 32] });
    layer.loadStateDict(layer.stateDict());
    attn.sdpa(x, x, x, { returnWeights: true, isCausal: true });
    attn.attention([1, 2], [[1, 2]], [[1, 2]]);
    layer.free();
    t.free();
  };
  for (let i = 0; i < 10; i++) round();
  const before = attn.memoryBytes;
  for (let i = 0; i < 1000; i++) round();
  assert.equal(attn.memoryBytes, before);
});

// What is left after rounds of create and dispose. Collecting takes several passes: finalizers free what others hold.
async function comeAndGo(variants, rounds) {
  // Something to wait for: with an empty event loop Node waits for V8's tasks instead, and hangs if one of these waits for
  // a garbage collection (nodejs/node#54918).
  const busy = setInterval(() => {}, 1000);
  for (let i = 0; i < rounds; i++) {
    const attn = await Attention.create(engineOf(variants[i % variants.length]));
    attn.tensor([1000]);
    attn.sdpa([[1]], [[1]], [[1]]); // makes the second memory of an engine with threads
    works(attn);
    attn.dispose();
  }
  let least = Infinity;
  for (let pass = 0; pass < 10; pass++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    collectGarbage();
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    least = Math.min(least, heapUsed + external + arrayBuffers);
  }
  clearInterval(busy);
  return least;
}

test('a thousand engines that come and go leave nothing behind', { timeout: 120_000 }, async () => {
  const before = await comeAndGo(UNTHREADED, 30);
  const grown = (await comeAndGo(UNTHREADED, 1000)) - before;
  assert.ok(grown < 4e6, `${grown} bytes more after 1,000 engines`);
});

test('... nor do engines with threads', { timeout: 240_000 }, async () => {
  const threaded = VARIANTS.filter((variant) => !UNTHREADED.includes(variant));
  const before = await comeAndGo(threaded, 6);
  const grown = (await comeAndGo(threaded, 40)) - before;
  assert.ok(grown < 8e6, `${grown} bytes more after 40 engines`);
});
