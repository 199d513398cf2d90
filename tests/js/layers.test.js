// MultiHeadAttention against the oracle, its parameters under PyTorch's names, and how they begin.

import assert from 'node:assert/strict';

import { eachVariant, random, tensor } from './each_variant.js';
import { mha, near } from './oracle.js';

// The oracle's parameters from a state dict.
function split(state, E, kvDim) {
  const get = (name) => state[name] && Array.from(state[name].data);
  const packed = get('in_proj_weight');
  const bias = get('in_proj_bias');
  return {
    q_weight: packed?.slice(0, E * E) ?? get('q_proj_weight'),
    k_weight: packed?.slice(E * E, 2 * E * E) ?? get('k_proj_weight'),
    v_weight: packed?.slice(2 * E * E) ?? get('v_proj_weight'),
    q_bias: bias?.slice(0, E),
    k_bias: bias?.slice(E, E + kvDim),
    v_bias: bias?.slice(E + kvDim),
    bias_k: get('bias_k'),
    bias_v: get('bias_v'),
    out_weight: get('out_proj.weight'),
    out_bias: get('out_proj.bias'),
  };
}

// Every parameter random, biases too, so that none can be forgotten.
const randomState = (layer, next, Type) =>
  Object.fromEntries(Object.entries(layer.stateDict()).map(([name, { shape }]) => [name, tensor(shape, () => next() / Math.sqrt(shape.at(-1)), Type)]));

const average = (weights, batch, heads, area) => {
  const result = new Array(batch * area).fill(0);
  weights.forEach((w, i) => { result[Math.floor(i / (heads * area)) * area + (i % area)] += w / heads; });
  return result;
};

// [batch, seq, dim] <-> [seq, batch, dim]
const swap = ({ data, shape: [a, b, d] }) => ({
  data: data.map((_, i) => data[((Math.floor(i / d) % a) * b + Math.floor(i / (d * a))) * d + (i % d)]),
  shape: [b, a, d],
});

const CASES = [
  { name: 'plain' },
  { name: 'one head', numHeads: 1 },
  { name: 'without bias', options: { bias: false } },
  { name: 'causal', forward: { isCausal: true } },
  { name: 'kdim and vdim', options: { kdim: 7, vdim: 5 } },
  { name: 'grouped heads', options: { numKvHeads: 2 } },
  { name: 'one key and value head', options: { numKvHeads: 1, kdim: 7 } },
  { name: 'bias_k and bias_v', options: { addBiasKv: true } },
  { name: 'a zero key', options: { addZeroAttn: true } },
  { name: 'both, causal', options: { addBiasKv: true, addZeroAttn: true }, forward: { isCausal: true } },
  { name: 'padding', padding: 'bool' },
  { name: 'additive padding', padding: 'add' },
  { name: 'a mask for all', mask: 'bool' },
  { name: 'a mask per head', mask: 'heads' },
  { name: 'an additive mask', mask: 'add' },
  { name: 'everything at once', options: { numKvHeads: 2, kdim: 7, vdim: 5, addBiasKv: true, addZeroAttn: true }, forward: { isCausal: true }, mask: 'heads', padding: 'bool' },
];

for (const { name, options = {}, forward = {}, padding, mask, numHeads = 4 } of CASES)
  eachVariant(`MultiHeadAttention: ${name}`, (attn) => {
    const [E, batch, seqLenQ, seqLenKv] = [12, 2, 9, 9];
    const next = random(name.length);
    const { numKvHeads = numHeads, kdim = E, vdim = E, addBiasKv, addZeroAttn } = options;
    const extra = (addBiasKv ? 1 : 0) + (addZeroAttn ? 1 : 0);
    const blockedKeys = Array.from({ length: batch * seqLenKv }, (_, i) => i % 5 === 2);
    const paddingNumbers = Float32Array.from(blockedKeys, (b, i) => (b ? -Infinity : i / 10));
    const maskShape = mask === 'heads' ? [batch * numHeads, seqLenQ, seqLenKv] : [seqLenQ, seqLenKv];
    const maskLength = maskShape.reduce((a, b) => a * b);
    const maskBlocked = Array.from({ length: maskLength }, (_, i) => i % 7 === 3);
    const maskNumbers = Float32Array.from(maskBlocked, (b, i) => (b ? -Infinity : (i % 4) / 4));
    const settings = { ...forward };
    if (padding) settings.keyPaddingMask = { data: padding === 'bool' ? blockedKeys : paddingNumbers, shape: [batch, seqLenKv] };
    if (mask) settings.attnMask = { data: mask === 'add' ? maskNumbers : Uint8Array.from(maskBlocked), shape: maskShape };
    const layer = attn.multiHeadAttention({ embedDim: E, numHeads, ...options });

    for (const Type of [Float32Array, Float64Array]) {
      const state = randomState(layer, next, Type);
      layer.loadStateDict(state);
      const query = tensor([batch, seqLenQ, E], next, Type);
      const key = tensor([batch, seqLenKv, kdim], next, Type);
      const value = tensor([batch, seqLenKv, vdim], next, Type);
      const want = mha({
        query: query.data, key: key.data, value: value.data, batch, seqLenQ, seqLenKv, embedDim: E, numHeads, numKvHeads, kdim, vdim,
        p: split(state, E, (numKvHeads * E) / numHeads), addZeroAttn, isCausal: forward.isCausal,
        blocked: (b, h, i, j) => {
          let sum = 0;
          if (padding === 'bool' && blockedKeys[b * seqLenKv + j]) return true;
          if (padding === 'add') sum += paddingNumbers[b * seqLenKv + j];
          const at = ((mask === 'heads' ? b * numHeads + h : 0) * seqLenQ + i) * seqLenKv + j;
          if (mask && mask !== 'add' && maskBlocked[at]) return true;
          if (mask === 'add') sum += maskNumbers[at];
          return sum;
        },
      });
      // Three products of at most E terms each, and a softmax, on numbers of about 1.
      const tolerance = 16 * (3 * E + seqLenKv) * (Type === Float32Array ? 2 ** -24 : 2 ** -53);
      const area = seqLenQ * (seqLenKv + extra);
      const perHead = layer.forward(query, key, value, { ...settings, averageAttnWeights: false });
      near(perHead.output.data, want.output, tolerance, 'output');
      near(perHead.weights.data, want.weights, tolerance, 'weights');
      assert.ok(perHead.output.data instanceof Type);
      assert.deepEqual(perHead.output.shape, [batch, seqLenQ, E]);
      assert.deepEqual(perHead.weights.shape, [batch, numHeads, seqLenQ, seqLenKv + extra]);
      const averaged = layer.forward(query, key, value, settings);
      near(averaged.output.data, want.output, tolerance, 'output');
      near(averaged.weights.data, average(want.weights, batch, numHeads, area), tolerance, 'averaged weights');
      assert.deepEqual(averaged.weights.shape, [batch, seqLenQ, seqLenKv + extra]);
      const without = layer.forward(query, key, value, { ...settings, needWeights: false });
      near(without.output.data, want.output, tolerance, 'output');
      assert.equal(without.weights, null);

      const seqFirst = attn.multiHeadAttention({ embedDim: E, numHeads, ...options, batchFirst: false, state });
      const swapped = seqFirst.forward(swap(query), swap(key), swap(value), settings);
      assert.deepEqual(swapped.output.shape, [seqLenQ, batch, E]);
      near(swap(swapped.output).data, want.output, tolerance, 'output, sequence first');
      near(swapped.weights.data, averaged.weights.data, tolerance, 'weights, sequence first');
      seqFirst.free();
    }
  });

eachVariant('unbatched tensors are a batch of one', (attn) => {
  const layer = attn.multiHeadAttention({ embedDim: 8, numHeads: 2 });
  const next = random(20);
  const [x, y] = [tensor([3, 8], next), tensor([5, 8], next)];
  const options = { keyPaddingMask: [false, true, false, false, false], attnMask: { data: new Uint8Array(30).fill(1, 4, 5), shape: [2, 3, 5] } };
  const batched = (t) => ({ data: t.data, shape: [1, ...t.shape] });
  const want = layer.forward(batched(x), batched(y), batched(y), options);
  const got = layer.forward(x, y, y, options);
  assert.deepEqual(got.output.shape, [3, 8]);
  assert.deepEqual(got.weights.shape, [3, 5]);
  assert.deepEqual(got.output.data, want.output.data);
  assert.deepEqual(got.weights.data, want.weights.data);
  assert.deepEqual(layer.forward(x, y, y, { ...options, averageAttnWeights: false }).weights.shape, [2, 3, 5]);
});

eachVariant('key and value default to query, value to key', (attn) => {
  const layer = attn.multiHeadAttention({ embedDim: 8, numHeads: 2 });
  const next = random(21);
  const [x, y] = [tensor([2, 3, 8], next), tensor([2, 3, 8], next)];
  const copy = (t) => ({ data: t.data.slice(), shape: t.shape });
  assert.deepEqual(layer.forward(x), layer.forward(copy(x), copy(x), copy(x)));
  assert.deepEqual(layer.forward(x, null, undefined), layer.forward(x));
  assert.deepEqual(layer.forward(x, y), layer.forward(x, copy(y), copy(y)));
  assert.deepEqual(layer.forward(x, y, x), layer.forward(x, y, copy(x)));
});

eachVariant('a row with nothing visible gives weights 0 and the bias of the output', (attn) => {
  const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const { output, weights } = layer.forward([[1, 2, 3, 4], [5, 6, 7, 8]], null, null, { attnMask: [[true, true], [false, false]] });
  assert.deepEqual(weights.toNested()[0], [0, 0]);
  assert.deepEqual(output.toNested()[0], [0, 0, 0, 0]);
});

const NAMES = [
  [{}, { in_proj_weight: [36, 12], in_proj_bias: [36], 'out_proj.weight': [12, 12], 'out_proj.bias': [12] }],
  [{ bias: false }, { in_proj_weight: [36, 12], 'out_proj.weight': [12, 12] }],
  [{ kdim: 5 }, { q_proj_weight: [12, 12], k_proj_weight: [12, 5], v_proj_weight: [12, 12], in_proj_bias: [36], 'out_proj.weight': [12, 12], 'out_proj.bias': [12] }],
  [{ kdim: 12, vdim: 12, numKvHeads: 4 }, { in_proj_weight: [36, 12], in_proj_bias: [36], 'out_proj.weight': [12, 12], 'out_proj.bias': [12] }],
  [{ numKvHeads: 2 }, { q_proj_weight: [12, 12], k_proj_weight: [6, 12], v_proj_weight: [6, 12], in_proj_bias: [24], 'out_proj.weight': [12, 12], 'out_proj.bias': [12] }],
  [{ addBiasKv: true }, { in_proj_weight: [36, 12], in_proj_bias: [36], bias_k: [1, 1, 12], bias_v: [1, 1, 12], 'out_proj.weight': [12, 12], 'out_proj.bias': [12] }],
  [{ addBiasKv: true, numKvHeads: 1, vdim: 3 }, { q_proj_weight: [12, 12], k_proj_weight: [3, 12], v_proj_weight: [3, 3], in_proj_bias: [18], bias_k: [1, 1, 3], bias_v: [1, 1, 3], 'out_proj.weight': [12, 12], 'out_proj.bias': [12] }],
];

eachVariant('parameters have PyTorch\'s names, shapes and order', (attn) => {
  for (const [options, names] of NAMES) {
    const state = attn.multiHeadAttention({ embedDim: 12, numHeads: 4, ...options }).stateDict();
    assert.deepEqual(Object.entries(state).map(([name, { shape }]) => [name, [...shape]]), Object.entries(names));
  }
});

eachVariant('a state goes out and in again', (attn) => {
  const x = tensor([3, 12], random(22));
  for (const [options] of NAMES) {
    const make = (more) => attn.multiHeadAttention({ embedDim: 12, numHeads: 4, ...options, ...more });
    const from = make({ seed: 3 });
    const keys = tensor([3, options.kdim ?? 12], random(23));
    const values = tensor([3, options.vdim ?? 12], random(24));
    const state = from.stateDict();
    const to = make({ seed: 4 });
    assert.notDeepEqual(to.stateDict(), state);
    assert.equal(to.loadStateDict(state), to);
    assert.deepEqual(to.stateDict(), state);
    assert.deepEqual(make({ state }).forward(x, keys, values), from.forward(x, keys, values));
    const nested = Object.fromEntries(Object.entries(state).map(([name, t]) => [name, t.toNested()]));
    const inEngine = Object.fromEntries(Object.entries(state).map(([name, t]) => [name, attn.tensor(t.shape).set(t)]));
    assert.deepEqual(make({ state: nested }).stateDict(), state);
    assert.deepEqual(make({ state: inEngine }).stateDict(), state);
  }
});

eachVariant('a state is copied, and a copy is given', (attn) => {
  const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const x = [[1, 2, 3, 4]];
  const want = layer.forward(x);
  layer.stateDict().in_proj_weight.data.fill(0);
  assert.deepEqual(layer.forward(x), want);
  const state = Object.fromEntries(Object.entries(layer.stateDict()).map(([name, { data, shape }]) => [name, { data: Float64Array.from(data), shape }]));
  layer.loadStateDict(state);
  state.in_proj_weight.data.fill(0);
  assert.deepEqual(layer.forward(x), want);
  assert.notEqual(layer.stateDict().in_proj_weight.data[0], 0);
});

eachVariant('a float64 state loses nothing', (attn) => {
  const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const state = randomState(layer, random(25), Float64Array);
  const x = tensor([3, 4], random(26), Float64Array);
  layer.loadStateDict(state);
  for (const [name, t] of Object.entries(layer.stateDict())) {
    assert.ok(t.data instanceof Float64Array);
    assert.deepEqual(t.data, state[name].data);
  }
  const exact = layer.forward(x).output.data;
  // One parameter in float64 is enough to keep them all.
  layer.loadStateDict({ ...state, 'out_proj.bias': { data: Float32Array.from(state['out_proj.bias'].data), shape: [4] } });
  assert.deepEqual(layer.stateDict().in_proj_weight.data, state.in_proj_weight.data);
  // And float32 parameters after it are float32 again, in float64 calls, too.
  const rounded = Object.fromEntries(Object.entries(state).map(([name, { data, shape }]) => [name, { data: Float32Array.from(data), shape }]));
  layer.loadStateDict(rounded);
  assert.ok(layer.stateDict().in_proj_weight.data instanceof Float32Array);
  const fromRounded = layer.forward(x).output.data;
  assert.notDeepEqual(fromRounded, exact);
  near(fromRounded, exact, 1e-5, 'output');
});

eachVariant('parameters begin as PyTorch\'s do', (attn) => {
  const E = 64;
  const spread = (data) => {
    const mean = data.reduce((a, b) => a + b, 0) / data.length;
    return { mean, deviation: Math.sqrt(data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length), largest: data.reduce((a, b) => Math.max(a, Math.abs(b)), 0) };
  };
  const isUniform = ({ data }, bound) => {
    const { mean, deviation, largest } = spread(data);
    const noise = 5 / Math.sqrt(data.length);
    assert.ok(largest <= Math.fround(bound) && largest > 0.99 * bound, `largest ${largest} of ${bound}`);
    assert.ok(Math.abs(mean) < noise * bound, `mean ${mean}`);
    assert.ok(Math.abs(deviation - bound / Math.sqrt(3)) < noise * bound, `deviation ${deviation}`);
  };
  const packed = attn.multiHeadAttention({ embedDim: E, numHeads: 4, addBiasKv: true }).stateDict();
  isUniform(packed.in_proj_weight, Math.sqrt(6 / (E + 3 * E)));
  isUniform(packed['out_proj.weight'], 1 / Math.sqrt(E));
  assert.ok(packed.in_proj_bias.data.every((b) => b === 0));
  assert.ok(packed['out_proj.bias'].data.every((b) => b === 0));
  const separate = attn.multiHeadAttention({ embedDim: E, numHeads: 4, numKvHeads: 2, kdim: 40, vdim: 24 }).stateDict();
  isUniform(separate.q_proj_weight, Math.sqrt(6 / (2 * E)));
  isUniform(separate.k_proj_weight, Math.sqrt(6 / (E / 2 + 40)));
  isUniform(separate.v_proj_weight, Math.sqrt(6 / (E / 2 + 24)));
  const { bias_k: biasK } = attn.multiHeadAttention({ embedDim: 4096, numHeads: 1, numKvHeads: 1, kdim: 1, vdim: 1, addBiasKv: true, bias: false }).stateDict();
  const { mean, deviation, largest } = spread(biasK.data);
  assert.ok(Math.abs(mean) < 5 / 64 / 64 && Math.abs(deviation * 64 - 1) < 0.06 && largest * 64 > 3, `normal: ${mean} ${deviation} ${largest}`);
});

eachVariant('the first numbers of seed 0 are these, on every machine', (attn) => {
  const { in_proj_weight: weight } = attn.multiHeadAttention({ embedDim: 2, numHeads: 1 }).stateDict();
  const bound = Math.sqrt(6 / 8);
  // mulberry32(0): 0.26642920868471265, 0.0003297457005828619, 0.2232720274478197
  const want = [0.26642920868471265, 0.0003297457005828619, 0.2232720274478197].map((u) => Math.fround((2 * u - 1) * bound));
  assert.deepEqual(Array.from(weight.data.slice(0, 3)), want);
});
