// The readers and writers of tensor files: what is right is read to the last bit, what is wrong is refused in words.

import assert from 'node:assert/strict';
import { deflateRawSync } from 'node:zlib';
import { test } from 'node:test';
import { Attention } from '../../web/lib/index.js';
import { writeCsv } from '../../web/page/files/csv.js';
import { readJson } from '../../web/page/files/json.js';
import { FileProblem } from '../../web/page/files/numbers.js';
import { readNpy, writeNpy } from '../../web/page/files/npy.js';
import { readNpz } from '../../web/page/files/npz.js';
import { readSafetensors } from '../../web/page/files/safetensors.js';
import { openFiles, useTensors } from '../../web/page/opened.js';
import { damagedFile, readDamaged } from '../fuzz/files.mjs';
import { json, npy, npz, safetensors } from './make.mjs';

const problem = (pattern) => (error) => error instanceof FileProblem && pattern.test(error.message);

test('.npy: float32, float64, float16, integers, either byte order, Fortran order, scalars', () => {
  const wanted = [1, -2.5, 0.125, 1024];
  for (const descr of ['<f4', '>f4', '<f8', '>f8', '<f2', '>f2']) {
    const { shape, read } = readNpy(npy(wanted, [2, 2], { descr }));
    assert.deepEqual(shape, [2, 2]);
    assert.deepEqual([...read()], wanted, descr);
  }
  for (const descr of ['<i8', '<i4', '>i2', '|i1']) assert.deepEqual([...readNpy(npy([1, -2, 3], [3], { descr })).read()], [1, -2, 3], descr);
  assert.deepEqual([...readNpy(npy([1, 2, 3, 4, 5, 6], [2, 3], { fortran: true })).read()], [1, 3, 5, 2, 4, 6]);
  assert.deepEqual(readNpy(npy([7], [])).shape, []);
  assert.deepEqual([...readNpy(npy([0, 6e-8, 65504, -0.5], [4], { descr: '<f2' })).read()].map((x) => Math.fround(x)), [0, 2 ** -24, 65504, -0.5]);
});

test('.npy: what is written can be read back', () => {
  const data = Float32Array.of(1.5, -2, 3e-7, 4);
  const { shape, read } = readNpy(writeNpy(data, [2, 2]));
  assert.deepEqual(shape, [2, 2]);
  assert.deepEqual([...read()], [...data]);
  assert.equal((writeNpy(data, [4]).length - 16) % 64, 0);
});

test('.npy: cut off, lying, foreign and huge files are refused in words', () => {
  const good = npy([1, 2, 3, 4], [2, 2]);
  assert.throws(() => readNpy(good.subarray(0, 4)), problem(/not a \.npy file/));
  assert.throws(() => readNpy(good.subarray(0, 40)), problem(/ends inside its header/));
  assert.throws(() => readNpy(good.subarray(0, good.length - 1)), problem(/cut off/));
  assert.throws(() => readNpy(npy([1], [2 ** 31, 2 ** 31])), problem(/more numbers than fit/));
  assert.throws(() => readNpy(npy([1], [1], { descr: '<c8' })), problem(/cannot be read here/));
  assert.throws(() => readNpy(npy([1], [1], { descr: '|O' })), problem(/cannot be read/));
  assert.throws(() => readNpy(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)), problem(/not a \.npy/));
});

test('.npz: stored and deflated', async () => {
  for (const deflate of [null, deflateRawSync]) {
    const members = await readNpz(npz({ q: npy([1, 2], [1, 2]), k: npy([3, 4], [1, 2]) }, deflate));
    assert.deepEqual(members.map(({ name }) => name), ['q', 'k']);
    assert.deepEqual([...readNpy(members[1].bytes).read()], [3, 4]);
  }
});

test('.npz: cut off, damaged, and packed bombs are refused in words', async () => {
  const good = npz({ q: npy([1, 2], [1, 2]) }, deflateRawSync);
  await assert.rejects(readNpz(good.subarray(0, good.length - 30)), problem(/cut off|not a \.npz/));
  const damaged = Uint8Array.from(good);
  damaged.fill(255, 36, 46);
  await assert.rejects(readNpz(damaged), problem(/damaged/));
  const bomb = npz({ q: new Uint8Array(1 << 20) }, deflateRawSync, { size: 100 });
  await assert.rejects(readNpz(bomb), problem(/damaged/));
});

test('.safetensors: F32, F16, BF16, and metadata left alone', () => {
  const [a, b, c] = readSafetensors(safetensors({
    __metadata__: { format: 'pt' }, a: ['F32', [2], [1, 2]], b: ['F16', [1], [0.5]], c: ['BF16', [2], [1, -3]],
  }));
  assert.deepEqual([[...a.read()], [...b.read()], [...c.read()]], [[1, 2], [0.5], [1, -3]]);
});

test('.safetensors: lying headers are refused in words', () => {
  const good = safetensors({ a: ['F32', [2], [1, 2]] });
  assert.throws(() => readSafetensors(good.subarray(0, good.length - 1)), problem(/cut off/));
  assert.throws(() => readSafetensors(good.subarray(0, 5)), problem(/not a \.safetensors/));
  const huge = Uint8Array.from(good);
  huge.fill(255, 0, 8);
  assert.throws(() => readSafetensors(huge), problem(/ends inside its header/));
  assert.throws(() => readSafetensors(safetensors({ a: ['F32', [3], [1, 2]] })), problem(/does not fit/));
  assert.throws(() => readSafetensors(safetensors({ a: ['F32', [-1], [1, 2]] })), problem(/not a size/));
  const strange = readSafetensors(safetensors({ a: ['F8_E4M3', [0], []] }));
  assert.throws(() => strange[0].read(), problem(/cannot be read here/));
});

test('.json: nested arrays, tokens; ragged and non-numbers are refused in words', () => {
  const found = readJson(json({ q: [[1, 2], [3, 4]], tokens: ['a', 'b'], note: 'x' }));
  assert.deepEqual(found.tensors.map(({ name, shape }) => [name, shape]), [['q', [2, 2]]]);
  assert.deepEqual(found.tokens, ['a', 'b']);
  assert.throws(() => readJson(json({ q: [[1, 2], [3]] })), problem(/ragged/));
  assert.throws(() => readJson(json({ q: [[1, 'x']] })), problem(/not a number/));
  assert.throws(() => readJson(new TextEncoder().encode('{')), problem(/not JSON/));
});

test('damaged and lying files: refused in words, or numbers that fit their shape', async () => {
  let taken = 0;
  for (let seed = 5_000_000; seed < 5_001_000; seed += 1) {
    const file = damagedFile(seed);
    if (file[1].length > 1e5) continue; // deep ones take seconds to parse
    try {
      taken += await readDamaged(file);
    } catch (error) {
      error.message += ` (node tests/fuzz/files.mjs --one ${seed})`;
      throw error;
    }
  }
  assert.ok(taken > 100 && taken < 700, `${taken} were taken`);
});

test('found by damaged files: deep nesting, strings of no width, thousands of axes, long names', async () => {
  const deep = `${'['.repeat(20_000)}1${']'.repeat(20_000)}`;
  assert.throws(() => readJson(new TextEncoder().encode(`{"q":${deep}}`)), problem(/20000 axes; up to 64/));
  const noWidth = npy([], [2 ** 29], { descr: '<U0' });
  assert.throws(() => readNpy(noWidth), problem(/type <U0, which cannot be read/));
  assert.throws(() => readNpy(npy([1], new Array(65).fill(1), { fortran: true })), problem(/65 axes/));
  const named = safetensors({ ['x'.repeat(5000)]: ['F32', [3], [1]] });
  assert.throws(() => readSafetensors(named), (error) => error instanceof FileProblem && error.message.length < 300);
});

test('.npz: what cannot come out of so few bytes is not made room for; a ZIP64 field must hold its numbers', async () => {
  const bomb = npz({ q: npy([1], [1]) }, deflateRawSync, { size: 2 ** 29 });
  const before = process.memoryUsage().arrayBuffers;
  await assert.rejects(readNpz(bomb), problem(/shorter than it says/));
  assert.ok(process.memoryUsage().arrayBuffers - before < 2 ** 28);

  // The size is in a ZIP64 field of no bytes, and the list ends with the file.
  const whole = npz({ q: npy([1], [1]) });
  const listAt = new DataView(whole.buffer).getUint32(whole.length - 6, true);
  const list = Uint8Array.from([...whole.subarray(listAt, whole.length - 22), 1, 0, 0, 0]);
  new DataView(list.buffer).setUint32(24, 0xffffffff, true);
  new DataView(list.buffer).setUint16(30, 4, true);
  const end = whole.slice(whole.length - 22);
  new DataView(end.buffer).setUint32(16, listAt + 22, true);
  await assert.rejects(readNpz(Uint8Array.from([...whole.subarray(0, listAt), ...end, ...list])), problem(/list of arrays cannot be read/));
});

test('CSV: quotes, commas and formulas in tokens are text', () => {
  assert.equal(writeCsv(['a,b'], ['=1+1', 'say "x"'], (i, j) => j / 2), 'query \\ key, =1+1,"say ""x"""\r\n"a,b",0,0.5\r\n');
});

const use = async (attn, files, change = {}) => {
  const opened = await openFiles(Object.entries(files).map(([name, bytes]) => ({ name, buffer: bytes.slice().buffer })));
  return useTensors(attn, opened, { ...opened.guess, ...change });
};

test('opened tensors: named q, k, v of two, three and four axes, and heads folded into columns', async () => {
  const attn = await Attention.create();
  const numbers = (count) => Array.from({ length: count }, (_, i) => i / 8);
  const three = await use(attn, { 'q.npy': npy(numbers(12), [2, 3, 2]), 'k.npy': npy(numbers(12), [2, 3, 2]), 'v.npy': npy(numbers(12), [2, 3, 2]) });
  assert.deepEqual(three.q.shape, [1, 2, 3, 2]);
  const two = await use(attn, { 'a.json': json({ q: [[1, 2, 3, 4]], k: [[1, 2, 3, 4], [5, 6, 7, 8]], v: [[1, 2], [3, 4]], tokens: ['x', 'y'] }) }, { heads: 2 });
  assert.deepEqual([two.q.shape, two.k.shape, two.v.shape], [[1, 2, 1, 2], [1, 2, 2, 2], [1, 2, 2, 1]]);
  assert.deepEqual([...two.k.data], [1, 2, 5, 6, 3, 4, 7, 8]);
  assert.deepEqual(two.keyTokens, ['x', 'y']);
  const file = (...shape) => Object.fromEntries(['q', 'k', 'v'].map((name) => [`${name}.npy`, npy(numbers(shape.reduce((a, b) => a * b)), shape)]));
  const four = await use(attn, file(2, 4, 1, 2), { index: 1 });
  assert.deepEqual(four.q.shape, [1, 4, 1, 2], 'heads first, as PyTorch has them');
  const named = await use(attn, { ...file(2, 4, 1, 2), 't.json': json({ tokens: ['a', 'b', 'c', 'd'] }) });
  assert.deepEqual(named.q.shape, [1, 1, 4, 2], 'four tokens are known by name');
  const many = await use(attn, file(1, 65, 2, 1));
  assert.deepEqual(many.q.shape, [1, 2, 65, 1], 'no model has 65 heads of two tokens');
  assert.deepEqual([...four.q.data], numbers(16).slice(8));
  attn.dispose();
});

test('opened tensors: x with in_proj_weight and bias gives the projections of PyTorch', async () => {
  const attn = await Attention.create();
  const set = await use(attn, {
    'm.safetensors': safetensors({ x: ['F32', [2, 2], [1, 2, 3, 4]], in_proj_weight: ['F32', [6, 2], [1, 0, 0, 1, 2, 0, 0, 2, 1, 1, 1, -1]], in_proj_bias: ['F32', [6], [0, 0, 1, 1, 0, 10]] }),
  });
  assert.deepEqual([[...set.q.data], [...set.k.data], [...set.v.data]], [[1, 2, 3, 4], [3, 5, 7, 9], [3, 9, 7, 9]]);
  attn.dispose();
});

test('opened tensors: shapes that do not fit, numbers that are not finite, too long sequences: refused in words', async () => {
  const attn = await Attention.create();
  const q = npy([1, 2, 3, 4], [2, 2]);
  const with3 = npy([1, 2, 3, 4, 5, 6], [2, 3]);
  await assert.rejects(use(attn, { 'q.npy': q, 'k.npy': with3, 'v.npy': q }), problem(/differ in their last axis/));
  await assert.rejects(use(attn, { 'q.npy': q, 'k.npy': q, 'v.npy': npy([1, 2], [1, 2]) }), problem(/number of tokens/));
  await assert.rejects(use(attn, { 'q.npy': npy([1, NaN, 3, 4], [2, 2]), 'k.npy': q, 'v.npy': q }), problem(/q holds NaN at position 1/));
  await assert.rejects(use(attn, { 'q.npy': q, 'k.npy': q, 'v.npy': q, 'o.npy': with3 }), problem(/output o has the shape/));
  const long = npy(new Array(5000).fill(0), [5000, 1]);
  await assert.rejects(use(attn, { 'q.npy': long, 'k.npy': long, 'v.npy': long }), problem(/up to 4096/));
  await assert.rejects(use(attn, { 'q.npy': q, 'k.npy': q, 'v.npy': q }, { k: '' }), problem(/Choose a tensor for k/));
  await assert.rejects(openFiles([{ name: 'a.txt', buffer: new ArrayBuffer(4) }]), problem(/only \.npy/));
  attn.dispose();
});
