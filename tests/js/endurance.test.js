// Long runs: engines that come and go, a hundred thousand calls, and workers under load. No memory more, no digit less.
// SPOTLIGHT_LOAD_SECONDS (default 10) is how long the workers work.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { Attention } from '../../web/lib/index.js';
import { UNTHREADED, VARIANTS, engineOf, random, tensor, works } from './each_variant.js';

v8.setFlagsFromString('--expose-gc');
const collectGarbage = vm.runInNewContext('gc');
const SECONDS = Number(process.env.SPOTLIGHT_LOAD_SECONDS ?? 10);
const MB = 2 ** 20;

// What the process holds when all that can be collected is.
async function resident() {
  for (let pass = 0; pass < 5; pass++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return process.memoryUsage().rss;
}

// Calls of every kind, small; each gives the same in every round.
function workload(attn) {
  const next = random(41);
  const T = (...shape) => tensor(shape, next);
  const [q, k, v, x] = [T(2, 4, 3, 8), T(2, 2, 5, 8), T(2, 2, 5, 6), T(2, 5, 8)];
  const weights = { data: T(2, 5, 5).data.map(Math.abs), shape: [2, 5, 5] };
  const layer = attn.multiHeadAttention({ embedDim: 8, numHeads: 2, rotary: {} });
  const cache = attn.kvCache({ batch: 2, numKvHeads: 2, headDim: 8, headDimV: 6, window: 7 });
  const held = attn.tensor(q.shape).set(q);
  return [
    () => attn.sdpa(q, k, v, { isCausal: true, returnWeights: true, softcap: 5 }),
    () => attn.sdpa(held, k, v, { alibiSlopes: [1, 2, 3, 4], kvLengths: [2, 5] }).output,
    () => attn.attentionSteps([1, 2], [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    () => cache.reset().append(k, v).append(k, v).attend(q, { isCausal: true }).output,
    () => layer.forward(x, null, null, { isCausal: true }),
    () => attn.sdpaBackward(attn.sdpa(q, k, v).output, q, k, v),
    () => attn.scoreAttention(x, x, x, { score: 'additive' }).output,
    () => attn.explain(q, k, v, { row: 1 }).output,
    () => attn.rollout([weights, weights]),
    () => { const t = attn.tensor([40, 40]).set(new Float32Array(1600).fill(3)); const { data } = t.toTensor(); t.free(); return data; },
    () => assert.throws(() => attn.sdpa(q, k, [[1]]), RangeError),
  ];
}

if (!isMainThread && workerData?.variant) {
  // One of the workers under load: works until it is told to stop, compares every result with the first, and says what it found.
  const attn = await Attention.create(engineOf(workerData.variant));
  const calls = workload(attn);
  const first = calls.map((call) => structuredClone(call()));
  const bytes = attn.memoryBytes;
  let rounds = 0;
  let stops = false;
  parentPort.on('message', () => { stops = true; });
  while (!stops) {
    for (let i = 0; i < 200; i++, rounds++) assert.deepEqual(structuredClone(calls[rounds % calls.length]()), first[rounds % calls.length]);
    await new Promise((resolve) => setImmediate(resolve));
  }
  parentPort.postMessage({ rounds, first, grown: attn.memoryBytes - bytes });
  attn.dispose();
  parentPort.close();
} else {
  test('a hundred thousand calls: the same results, no memory more', { timeout: 120_000 }, async () => {
    for (const [variant, count] of [['relaxed', 100_000], ['simd-threads', 20_000]]) {
      const attn = await Attention.create(engineOf(variant));
      const calls = workload(attn);
      const first = calls.map((call) => structuredClone(call()));
      for (let i = 0; i < count / 10; i++) calls[i % calls.length]();
      const [bytes, before] = [attn.memoryBytes, await resident()];
      for (let i = 0; i < count; i++) calls[i % calls.length]();
      assert.equal(attn.memoryBytes, bytes);
      const grown = (await resident()) - before;
      assert.ok(grown < 32 * MB, `${grown} bytes more after ${count} calls (${variant})`);
      assert.deepEqual(calls.map((call) => structuredClone(call())), first);
      attn.dispose();
    }
  });

  // Ten engines at a time, as one alone mostly waits.
  async function comeAndGo(variants, rounds) {
    // Node must not find its event loop empty: see memory.test.js.
    const busy = setInterval(() => {}, 1000);
    for (let i = 0; i < rounds; i += 10)
      await Promise.all(Array.from({ length: 10 }, async (_, j) => {
        const attn = await Attention.create(engineOf(variants[(i + j) % variants.length]));
        attn.tensor([1000]);
        works(attn);
        attn.dispose();
      }));
    clearInterval(busy);
  }

  test('ten thousand engines come and go', { timeout: 240_000 }, async () => {
    await comeAndGo(UNTHREADED, 1000);
    const before = await resident();
    await comeAndGo(UNTHREADED, 10_000);
    const grown = (await resident()) - before;
    assert.ok(grown < 64 * MB, `${grown} bytes more after 10,000 engines`);
  });

  test('... and a hundred with threads', { timeout: 240_000 }, async () => {
    const threaded = VARIANTS.filter((variant) => !UNTHREADED.includes(variant));
    await comeAndGo(threaded, 20);
    const before = await resident();
    await comeAndGo(threaded, 100);
    const grown = (await resident()) - before;
    assert.ok(grown < 64 * MB, `${grown} bytes more after 100 engines with threads`);
  });

  test(`eight workers, each with an engine, for ${SECONDS} s`, { timeout: SECONDS * 1000 + 120_000 }, async () => {
    const workers = Array.from({ length: 8 }, (_, i) => new Worker(new URL(import.meta.url), { workerData: { variant: UNTHREADED[i % UNTHREADED.length] } }));
    const reports = workers.map((worker) => new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject)));
    const pause = (seconds) => Promise.race([new Promise((resolve) => setTimeout(resolve, seconds * 1000)), ...reports]);
    await pause(SECONDS / 2);
    const half = process.memoryUsage().rss;
    await pause(SECONDS / 2);
    const grown = process.memoryUsage().rss - half;
    workers.forEach((worker) => worker.postMessage('stop'));
    const found = await Promise.all(reports);
    for (const [i, { rounds, grown: bytes, first }] of found.entries()) {
      assert.ok(rounds > 0);
      assert.equal(bytes, 0, 'the engine took no memory more');
      assert.deepEqual(first, found[i % UNTHREADED.length].first, 'engines of one variant give the same bits');
    }
    // Eight heaps that are not collected at the same moment.
    assert.ok(grown < 256 * MB, `${grown} bytes more in the second half`);
  });
}
