// What goes into shared memory in pieces arrives as it would at once: every bit, at every size and offset, and nothing beside it. And
// what need not go there does not.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PIECE, bridgeTo } from '../../web/lib/bridge.js';
import { Heap } from '../../web/lib/heap.js';
import { Attention } from '../../web/lib/index.js';
import { prepare } from '../../web/lib/sdpa.js';
import { argument } from '../../web/lib/shapes.js';
import { load } from '../../web/lib/variants.js';
import { sharingEngine } from '../sharing.mjs';
import { UNTHREADED, VARIANTS, engineOf, eachOf, random, tensor } from './each_variant.js';

const THREADED = VARIANTS.filter((name) => !UNTHREADED.includes(name));
const eachThreaded = eachOf(THREADED);

// (module (memory 1) (memory 1))
const hasTwoMemories = () => WebAssembly.validate(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 5, 2, 0, 1, 0, 1));

const SIZES = (elements) => [0, 1, 3, elements - 1, elements, elements + 1, 2 * elements, 3 * elements + 5];
const bits = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength).slice();

// Signalling and quiet NaNs of many payloads, both zeros, subnormals, infinities, and whatever else 32 bits are.
function anyBits(length) {
  const next = random(length + 1);
  const words = Uint32Array.from({ length }, () => (next() + 1) * 2 ** 31);
  [0x7fa00001, 0xffc12345, 0x80000000, 0x7f800000, 0x00000001, 0xff800001].forEach((word, i) => { if (i < length) words[length - 1 - i] = word; });
  return words;
}

// withHeap(variant, use): use(heap, module)
async function withHeap(variant, use) {
  const { threads, module } = await load({ wasmUrl: null, ...engineOf(variant) });
  const heap = new Heap(module);
  try {
    if (threads > 1) heap.startThreads(threads);
    await use(heap, module);
  } finally {
    heap.dispose();
  }
}

test('engines with shared memory have a bridge where modules may have two memories; no others do', async () => {
  for (const variant of VARIANTS)
    await withHeap(variant, (_, module) => assert.equal(module.bridge !== null, THREADED.includes(variant) && hasTwoMemories(), variant));
  assert.equal(await bridgeTo(new WebAssembly.Memory({ initial: 1 })), null); // it is for shared memory alone
});

for (const variant of THREADED)
  test(`all types, sizes around the pieces, odd offsets; nothing beside is touched (${variant})`, () => withHeap(variant, (heap) => {
    const block = heap.alloc(8 * PIECE);
    for (const [type, Type] of [['f32', Float32Array], ['f64', Float64Array], ['i32', Int32Array], ['u16', Uint16Array], ['bool', Uint8Array]])
      for (const length of SIZES(PIECE / Type.BYTES_PER_ELEMENT))
        for (const skip of [0, 1, 3]) {
          const bytes = length * Type.BYTES_PER_ELEMENT;
          const pointer = block + 64 + skip * Type.BYTES_PER_ELEMENT;
          const source = new Type(anyBits(Math.ceil((bytes + 8 * skip) / 4) + 2).buffer, skip * Type.BYTES_PER_ELEMENT, length);
          heap.view('bool', block, 8 * PIECE).fill(0xa5);
          heap.set(type, pointer, source);
          const memory = heap.view('bool', block, 8 * PIECE).slice();
          const want = new Uint8Array(8 * PIECE).fill(0xa5);
          want.set(bits(source), pointer - block);
          assert.ok(memory.every((byte, i) => byte === want[i]), `${type}, ${length} elements at ${skip}`);
        }
  }));

for (const variant of THREADED)
  test(`elements of another type are converted, arrays and shared memory taken as ever (${variant})`, () => withHeap(variant, (heap) => {
    const length = PIECE / 4 + 9;
    const pointer = heap.alloc(4 * length);
    const numbers = Array.from({ length }, (_, i) => (i % 7 ? Math.sin(i) * 10 ** ((i % 90) - 45) : [NaN, -0, Infinity, -1e300][i % 4]));
    const want = Float32Array.from(numbers);
    const shared = new Float32Array(new SharedArrayBuffer(4 * length));
    shared.set(want);
    for (const [name, source] of Object.entries({ numbers, doubles: Float64Array.from(numbers), shared, floats: want })) {
      heap.view('f32', pointer, length).fill(0);
      heap.set('f32', pointer, source);
      assert.ok(heap.view('f32', pointer, length).every((x, i) => Object.is(x, want[i])), name);
    }
  }));

eachThreaded('tensors and caches keep every bit, before memory grows and afterwards', (attn) => {
  for (let round = 0; round < 2; round++) {
    for (const length of SIZES(PIECE / 4).slice(1)) {
      const source = new Float32Array(anyBits(length).buffer);
      const held = attn.tensor([length]).set(source);
      assert.deepEqual(bits(held.data), bits(source), `${length} elements`);
      assert.deepEqual(bits(held.toTensor().data), bits(source), `${length} elements, copied out`);
      held.free();
    }
    attn.tensor([10, 2 ** 20]).free();
  }
  // Rows of 3 elements: no two heads begin at the same offset from 16 bytes.
  const keys = Math.floor(PIECE / 12) + 7;
  const cache = attn.kvCache({ numKvHeads: 3, headDim: 3, capacity: keys + 1 });
  const next = random(3);
  const [first, second] = [keys, 1].map((rows) => tensor([1, 3, rows, 3], next));
  cache.append(first, first).append(second, second);
  const head = ({ data, shape: [, , rows] }, h) => [...data.subarray(h * rows * 3, (h + 1) * rows * 3)];
  const all = { data: Float32Array.from([0, 1, 2].flatMap((h) => [...head(first, h), ...head(second, h)])), shape: [1, 3, keys + 1, 3] };
  const query = tensor([1, 3, 1, 3], next);
  assert.deepEqual(bits(cache.attend(query).output.data), bits(attn.sdpa(query, all, all).output.data));
  cache.free();
});

eachThreaded('a source that is the same memory is read before it is written over', (attn) => {
  const length = PIECE / 4 * 3;
  const held = attn.tensor([length]);
  const { buffer, byteOffset } = held.data;
  attn.tensor([10, 2 ** 20]).free(); // memory grew: `buffer` is another object than that of held.data now, but the same memory
  for (const by of [-16, 16]) {
    held.set(new Float32Array(anyBits(length).buffer));
    const shifted = new Float32Array(buffer, byteOffset + by, length);
    const want = bits(shifted);
    assert.deepEqual(bits(held.set(shifted).data), want, `${by} bytes`);
  }
  const want = bits(held.data);
  for (const own of [held, held.data]) assert.deepEqual(bits(held.set(own).data), want);
});

for (const variant of THREADED)
  test(`attention over keys and values of one piece and more is that of the build without threads, bit for bit (${variant})`, async () => {
    const unthreaded = variant.replace('-threads', '');
    // The third engine takes small calls over the bridge, too.
    const engines = [await Attention.create({ variant: unthreaded }), await Attention.create(engineOf(variant)), (await sharingEngine(new URL('../../web/lib/index.js', import.meta.url), engineOf(variant))).attn];
    try {
      const next = random(5);
      for (const seqLen of [1, 63, 64, 65, 200, 300]) // a piece is 64 rows of 64 float32
        for (const rows of [1, 4, seqLen]) {
          const [q, k, v] = [rows, seqLen, seqLen].map((n) => tensor([2, n, 64], next));
          [q.data[0], k.data[1], v.data[2]] = [-0, -0, -0];
          const [want, ...results] = engines.map((attn) => attn.sdpa(q, k, v, { returnWeights: true, returnLogsumexp: true }));
          for (const got of results)
            for (const name of ['output', 'weights', 'logsumexp']) assert.deepEqual(bits(got[name].data), bits(want[name].data), `${name}, ${rows} x ${seqLen}`);
        }
    } finally {
      for (const attn of engines) attn.dispose();
    }
  });

eachThreaded('small calls of plain arrays run in memory that is not shared, which is made for the first of them', (attn) => {
  const next = random(6);
  const MIB = 2 ** 20;
  const [q, k, v] = [1, 50, 50].map((rows) => tensor([2, rows, 16], next));
  const held = [q, k, v].map((x) => attn.tensor(x.shape).set(x));
  const want = attn.sdpa(...held).output.data;
  assert.equal(attn.memoryBytes, MIB);
  assert.deepEqual(bits(attn.sdpa(held[0], k, v).output.data), bits(want));
  assert.deepEqual(bits(attn.sdpa(q, k, v, { out: attn.tensor([2, 1, 16]) }).output.data), bits(want));
  assert.equal(attn.memoryBytes, MIB);
  for (let i = 0; i < 3; i++) assert.deepEqual(bits(attn.sdpa(q, k, v).output.data), bits(want));
  assert.equal(attn.memoryBytes, 2 * MIB);
  assert.throws(() => attn.sdpa(q, k, [[1]]), RangeError);
  // What a getter does to the engine is noticed.
  assert.throws(() => attn.sdpa({ get data() { attn.dispose(); return q.data; }, shape: q.shape }, k, v), { code: 'disposed' });
  assert.equal(attn.memoryBytes, 0);
});

for (const variant of THREADED)
  test(`small is what C leaves on one thread, and no call without work (${variant})`, () => withHeap(variant, (heap, module) => {
    heap.makeUnshared = module.makeUnshared;
    // [query rows, keys, columns of key, of value]
    const isSmall = (rows, keys, dim, dimV) => {
      const inputs = [[rows, dim], [keys, dim], [keys, dimV]].map((shape) => argument(heap, { data: new Float32Array(shape[0] * shape[1]), shape }, 'x'));
      const { home } = prepare(heap, ...inputs, null, { mayStream: true });
      assert.equal(prepare(heap, ...inputs, null).home, heap);
      return [home !== heap, heap.scope((scope) => {
        const call = prepare(heap, ...inputs, null).load(scope);
        const bytes = scope.take(4);
        const workspace = (threads) => {
          heap.call('attn_sdpa_f32_workspace', ...call, threads, bytes, 0);
          return heap.view('u32', bytes, 1)[0];
        };
        assert.ok(rows === 0 || workspace(0) > 0);
        return workspace(heap.threads) === workspace(0); // each thread has its own
      })];
    };
    assert.equal(1365 * 4097 * 3, 2 ** 24 - 1);
    assert.deepEqual(isSmall(1365, 4097, 1, 2), [true, true]);
    assert.deepEqual(isSmall(1024, 4096, 2, 2), [false, false]);
    assert.deepEqual(isSmall(0, 2 ** 18, 2, 2), [false, true]);
  }));
