// A cache that is filled and asked token by token gives what one call over everything gives, and refuses what it
// cannot hold without losing what it has.

import assert from 'node:assert/strict';

import { AttentionError } from '../../web/lib/index.js';
import { eachVariant, random, tensor, works } from './each_variant.js';

// tokens first .. end - 1 of a tensor [batch, heads, tokens, dim]
function tokens({ data, shape: [batch, heads, rows, dim] }, first, end) {
  const part = [];
  for (let bh = 0; bh < batch * heads; bh++) part.push(...data.subarray((bh * rows + first) * dim, (bh * rows + end) * dim));
  return { data: Float32Array.from(part), shape: [batch, heads, end - first, dim] };
}

// Both sides are float32 sums of the same terms in another order: seqLenKv + headDim roundings of values up to 1.
const close = (got, want, terms, message) => {
  assert.deepEqual(got.shape, want.shape, message);
  got.data.forEach((x, i) => assert.ok(Math.abs(x - want.data[i]) <= 8 * terms * 2 ** -24, `${message}: element ${i}: ${x} for ${want.data[i]}`));
};

eachVariant('a cache decodes as a full recompute does, grouped heads included', (attn) => {
  const next = random(7);
  const [batch, numHeads, numKvHeads, total, headDim, headDimV] = [2, 6, 2, 90, 16, 12];
  const q = tensor([batch, numHeads, total, headDim], next);
  const k = tensor([batch, numKvHeads, total, headDim], next);
  const v = tensor([batch, numKvHeads, total, headDimV], next);
  const full = attn.sdpa(q, k, v, { isCausal: true }).output;
  const cache = attn.kvCache({ batch, numKvHeads, headDim, headDimV, capacity: 100 });
  for (let at = 0; at < total;) {
    const end = Math.min(total, at + [30, 1, 1, 2, 7][at % 5]);
    cache.append(tokens(k, at, end), tokens(v, at, end));
    assert.equal(cache.length, end);
    const { output, weights } = cache.attend(tokens(q, at, end), { isCausal: true, returnWeights: at % 2 === 0 });
    close(output, tokens(full, at, end), total + headDim, `tokens ${at} to ${end}`);
    if (weights) assert.deepEqual(weights.shape, [batch, numHeads, end - at, end]);
    at = end;
  }
  cache.free();
});

eachVariant('each batch element has a length of its own; truncating forgets the rest', (attn) => {
  const next = random(8);
  const k = tensor([2, 1, 6, 4], next);
  const v = tensor([2, 1, 6, 4], next);
  const q = tensor([2, 1, 1, 4], next);
  const cache = attn.kvCache({ batch: 2, numKvHeads: 1, headDim: 4, capacity: 6 });
  cache.append(k, v, { lengths: [6, 2] });
  assert.deepEqual(cache.lengths, [6, 2]);
  close(cache.attend(q).output, attn.sdpa(q, k, v, { kvLengths: [6, 2] }).output, 10, 'own lengths');
  cache.truncate([3, 2]);
  assert.deepEqual(cache.lengths, [3, 2]);
  close(cache.attend(q).output, attn.sdpa(q, k, v, { kvLengths: [3, 2] }).output, 10, 'truncated');
  assert.throws(() => cache.truncate([4, 2]), RangeError);
  cache.reset();
  assert.deepEqual(cache.lengths, [0, 0]);
  assert.ok(cache.attend(q).output.data.every((x) => x === 0));
});

eachVariant('a window takes any number of tokens and shows each the last of them', (attn) => {
  const next = random(9);
  const [total, window] = [200, 13];
  const [q, k, v] = [0, 1, 2].map(() => tensor([1, 2, total, 8], next));
  const full = attn.sdpa(q, k, v, { isCausal: true, window: { left: window - 1 } }).output;
  const cache = attn.kvCache({ numKvHeads: 2, headDim: 8, window });
  for (let at = 0; at < total;) {
    const end = Math.min(total, at + 1 + (at * 7) % window);
    cache.append(tokens(k, at, end), tokens(v, at, end));
    assert.ok(cache.length <= 2 * window);
    close(cache.attend(tokens(q, at, end), { isCausal: true }).output, tokens(full, at, end), window + 8, `tokens ${at} to ${end}`);
    at = end;
  }
});

eachVariant('what a cache cannot hold or do is refused, and nothing is lost', async (attn) => {
  const next = random(10);
  const one = tensor([1, 1, 1, 4], next);
  const cache = attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 2 });
  cache.append(one, one).append(one, one);
  const before = cache.attend(one).output.data;
  assert.throws(() => cache.append(one, one), { name: 'RangeError', message: /key: .*capacity 2, 2 held/ });
  assert.throws(() => cache.append(one, tensor([1, 1, 1, 3], next)), { name: 'RangeError', message: /value/ });
  assert.throws(() => cache.append(tensor([1, 1, 1, 4], next, Float64Array), one), { name: 'TypeError', message: /key/ });
  assert.throws(() => cache.append(one, one, { lengths: [2] }), { name: 'RangeError', message: /lengths\[0\]/ });
  assert.throws(() => cache.attend(one, { kvLengths: [1] }), { name: 'TypeError', message: /kvLengths/ });
  assert.throws(() => cache.attend(tensor([1, 1, 1, 5], next)), RangeError);
  assert.throws(() => attn.kvCache({ numKvHeads: 1, headDim: 4 }), { name: 'TypeError', message: /capacity/ });
  assert.throws(() => attn.kvCache({ numKvHeads: 1, headDim: 4, capacity: 2 ** 30 }), RangeError);
  assert.throws(() => attn.kvCache({ numKvHeads: 0, headDim: 4, capacity: 1 }), { name: 'RangeError', message: /numKvHeads/ });
  assert.deepEqual(cache.attend(one).output.data, before);
  cache.free();
  cache.free();
  assert.throws(() => cache.attend(one), (error) => error instanceof AttentionError && error.code === 'disposed');
  works(attn);
});
