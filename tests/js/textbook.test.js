// What the textbook and the cheat-sheet promise, to the last digit.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Attention, SimpleAttention } from '../../web/lib/index.js';
import { eachVariant, random, tensor } from './each_variant.js';
import { near } from './oracle.js';

const query = [0.5, 0.5];
const keys = [[0.1, 0.2], [0.2, 0.3]];
const values = [[0.6, 0.8], [0.7, 0.9]];

eachVariant('the textbook example is exact', (attn) => {
  assert.deepEqual(attn.attention(query, keys, values), [0.6524979187478941, 0.852497918747894]);
});

eachVariant('... and step by step', (attn) => {
  const { scores, weights, output } = attn.attentionSteps(query, keys, values);
  assert.deepEqual(scores, [0.15000000000000002, 0.25]);
  assert.deepEqual(weights.map((w) => w.toFixed(4)), ['0.4750', '0.5250']);
  assert.deepEqual(output, [0.6524979187478941, 0.852497918747894]);
  const z = Math.exp(scores[0]) + Math.exp(scores[1]);
  for (const j of [0, 1]) assert.ok(Math.abs(weights[j] - Math.exp(scores[j]) / z) < 1e-15);
});

eachVariant('attention takes typed arrays, tensors and a scale', (attn) => {
  const expected = attn.attention(query, keys, values, { scale: 0.5 });
  assert.notDeepEqual(expected, attn.attention(query, keys, values));
  assert.deepEqual(attn.attention(query, keys, values, { scale: 0 }).map((x) => x.toFixed(12)), ['0.650000000000', '0.850000000000']);
  const f64 = (rows) => rows.map((row) => Float64Array.from(row));
  assert.deepEqual(attn.attention(Float64Array.from(query), f64(keys), f64(values), { scale: 0.5 }), expected);
  assert.deepEqual(
    attn.attention({ data: query, shape: [2] }, { data: keys.flat(), shape: [2, 2] }, { data: Float64Array.from(values.flat()), dims: [2, 2] }, { scale: 0.5 }),
    expected);
});

eachVariant('causalMask is 0 on and below the diagonal, -Infinity above', (attn) => {
  const mask = attn.causalMask(4);
  const N = -Infinity;
  assert.deepEqual(mask.toNested(), [[0, N, N, N], [0, 0, N, N], [0, 0, 0, N], [0, 0, 0, 0]]);
  assert.deepEqual(mask.shape, [4, 4]);
  assert.ok(mask.data instanceof Float32Array);
  assert.deepEqual(attn.causalMask(1).toNested(), [[0]]);
});

eachVariant('SimpleAttention: a [10, 64] input gives [10, 64], weights sum to 1, causal ones are 0 above the diagonal', (attn) => {
  const layer = new SimpleAttention({ embedDim: 64, numHeads: 4, engine: attn });
  assert.deepEqual([layer.embedDim, layer.numHeads, layer.headDim], [64, 4, 16]);
  const x = tensor([10, 64], random(1));
  for (const causal of [false, true]) {
    const output = layer.selfAttention(x, { causal });
    assert.deepEqual(output.shape, [10, 64]);
    assert.ok(output.data.every(Number.isFinite));
    const both = layer.forward(x, { causal, returnWeights: true });
    assert.deepEqual(both.output.shape, [10, 64]);
    near(both.output.data, output.data, 1e-6, 'output');
    assert.deepEqual(both.weights.shape, [4, 10, 10]);
    for (const head of both.weights.toNested())
      head.forEach((row, i) => {
        assert.ok(Math.abs(row.reduce((a, b) => a + b) - 1) < 1e-6);
        row.forEach((w, j) => (causal && j > i ? assert.equal(w, 0) : assert.ok(w > 0)));
      });
  }
  assert.equal(layer.forward(x).weights, null);
  assert.notDeepEqual(layer.selfAttention(x), layer.selfAttention(x, { causal: true }));
});

eachVariant('SimpleAttention: batched is the same as one by one', (attn) => {
  const layer = new SimpleAttention({ embedDim: 12, numHeads: 3, engine: attn });
  const x = tensor([2, 5, 12], random(2));
  const { output, weights } = layer.forward(x, { causal: true, returnWeights: true });
  assert.deepEqual(output.shape, [2, 5, 12]);
  assert.deepEqual(weights.shape, [2, 3, 5, 5]);
  for (const b of [0, 1]) {
    const one = layer.forward({ data: x.data.slice(b * 60, (b + 1) * 60), shape: [5, 12] }, { causal: true, returnWeights: true });
    near(one.output.data, output.data.slice(b * 60, (b + 1) * 60), 1e-6, 'output');
    near(one.weights.data, weights.data.slice(b * 75, (b + 1) * 75), 1e-6, 'weights');
  }
});

eachVariant('SimpleAttention: the seed decides, and results repeat', (attn) => {
  const x = tensor([3, 8], random(3));
  const run = (seed) => Array.from(new SimpleAttention({ embedDim: 8, numHeads: 2, seed, engine: attn }).selfAttention(x).data);
  assert.deepEqual(run(undefined), run(0));
  assert.deepEqual(run(5), run(5));
  assert.notDeepEqual(run(5), run(6));
  assert.deepEqual(
    new SimpleAttention({ embedDim: 8, numHeads: 2, seed: 5, engine: attn }).stateDict(),
    attn.multiHeadAttention({ embedDim: 8, numHeads: 2, seed: 5 }).stateDict());
});

test('SimpleAttention runs on the first living engine', async () => {
  const options = { embedDim: 4, numHeads: 2 };
  assert.throws(() => new SimpleAttention(options), { name: 'AttentionError', code: 'no-engine' });
  const first = await Attention.create({ variant: 'scalar' });
  const second = await Attention.create({ variant: 'simd' });
  try {
    const layer = new SimpleAttention(options);
    first.dispose();
    assert.throws(() => layer.selfAttention([[1, 2, 3, 4]]), { code: 'disposed' });
    new SimpleAttention(options).selfAttention([[1, 2, 3, 4]]);
  } finally {
    first.dispose();
    second.dispose();
  }
  assert.throws(() => new SimpleAttention(options), { code: 'no-engine' });
});
