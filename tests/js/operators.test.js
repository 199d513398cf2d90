// attn.linear: what attention is made of besides sdpa, each against plain loops in float64.

import assert from 'node:assert/strict';

import { eachVariant, random, tensor } from './each_variant.js';
import { linear, near } from './oracle.js';

eachVariant('linear is x weight^T + bias, for any rank of x', (attn) => {
  const next = random(1);
  const weight = tensor([5, 7], next);
  const bias = tensor([5], next);
  for (const lead of [[], [1], [3], [2, 9], [2, 1, 3, 4]]) {
    const x = tensor([...lead, 7], next);
    for (const b of [bias, null]) {
      const y = attn.linear(x, weight, b);
      assert.deepEqual(y.shape, [...lead, 5]);
      near(y.data, linear(x.data, x.data.length / 7, 7, weight.data, 5, b?.data), 1e-6, `linear of [${lead}]`);
    }
  }
});

eachVariant('linear takes float64, plain arrays and memory of the engine', (attn) => {
  const y = attn.linear(Float64Array.of(1, 2), { data: Float64Array.of(1e-17, 0.5, 3, 4), shape: [2, 2] }, [0, 1]);
  assert.deepEqual(y.data, Float64Array.of(1 + 1e-17, 12));
  const inEngine = attn.tensor([2, 2]).set([[1, 2], [3, 4]]);
  assert.deepEqual(attn.linear(inEngine, [[1, 1]]).toNested(), [[3], [7]]);
  assert.deepEqual(attn.linear(attn.tensor([6, 2]), [[1, 1]], [2]).toNested(), [[2], [2], [2], [2], [2], [2]]);
});

eachVariant('linear of no rows is empty', (attn) => {
  assert.deepEqual(attn.linear(tensor([0, 3, 2], () => 0), [[1, 1]]).shape, [0, 3, 1]);
});

eachVariant('linear refuses what does not fit', (attn) => {
  const w = [[1, 2], [3, 4], [5, 6]];
  assert.throws(() => attn.linear([1, 2, 3], w), { name: 'RangeError', message: /^x\.shape\[0\]: expected 2 \(inDim of weight\), got 3/ });
  assert.throws(() => attn.linear([1, 2], [1, 2]), { name: 'RangeError', message: /^weight: expected rank 2/ });
  assert.throws(() => attn.linear([1, 2], w, [1, 2]), { name: 'RangeError', message: /^bias\.shape\[0\]: expected 3/ });
  assert.throws(() => attn.linear({ data: Float32Array.of(1), shape: [] }, w), { name: 'RangeError', message: /^x: expected rank 1 or more/ });
  assert.throws(() => attn.linear(Float64Array.of(1, 2), { data: new Float32Array(2), shape: [1, 2] }), { name: 'TypeError', message: /^weight: expected float64/ });
});
