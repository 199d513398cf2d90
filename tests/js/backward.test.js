// Gradients against differences of the module's own float64 forward call, and float32 against float64.

import assert from 'node:assert/strict';

import { AttentionError } from '../../web/lib/index.js';
import { eachVariant, random, tensor, works } from './each_variant.js';

const count = (shape) => shape.reduce((a, b) => a * b, 1);
const inner = (a, b) => a.data.reduce((sum, x, i) => sum + x * b.data[i], 0);
const floats = ({ data, shape }) => ({ data: data instanceof Uint8Array ? data : Float32Array.from(data), shape });
const doubles = ({ data, shape }) => ({ data: data instanceof Uint8Array ? data : Float64Array.from(data), shape });

// How loss() changes with element i of data, by five points: the error is some 1e-11.
function slope(data, i, loss) {
  const h = 2 ** -9;
  const at = data[i];
  const f = [-2, -1, 1, 2].map((steps) => { data[i] = at + steps * h; return loss(); });
  data[i] = at;
  return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
}

function checkSlopes(name, gradient, { data, shape }, loss) {
  assert.deepEqual(gradient.shape, shape, `shape of ${name}`);
  assert.ok(gradient.data instanceof Float64Array, name);
  for (let i = 0; i < data.length; i++) {
    // What is masked stays masked.
    const want = data[i] === -Infinity ? 0 : slope(data, i, loss);
    assert.ok(Math.abs(gradient.data[i] - want) <= 1e-8 * (1 + Math.abs(want)), `${name}[${i}]: ${gradient.data[i]}, not ${want}`);
  }
}

// Rounding to float32 at every step costs some tens of units of the largest element; the C tests hold it to the last one.
function checkFloats(name, got, want) {
  assert.ok(got.data instanceof Float32Array, name);
  assert.deepEqual(got.shape, want.shape, name);
  const largest = want.data.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
  got.data.forEach((x, i) => assert.ok(Math.abs(x - want.data[i]) <= 100 * 2 ** -24 * (largest + 1), `${name}[${i}]: ${x}, not ${want.data[i]}`));
}

const bools = (shape, next) => ({ data: Uint8Array.from({ length: count(shape) }, () => +(next() > -0.4)), shape });
const additive = (shape, next) => tensor(shape, () => (next() < -0.6 ? -Infinity : next()), Float64Array);

// shapes: query, key, value; the options of sdpa, those that are functions made from a generator
const SDPA = [
  { name: 'plain', shapes: [[2, 2, 3, 4], [2, 2, 5, 4], [2, 2, 5, 3]] },
  { name: 'rank 3', shapes: [[2, 3, 4], [2, 5, 4], [2, 5, 3]], attnMask: (next) => additive([3, 5], next) },
  { name: 'rank 2', shapes: [[3, 4], [5, 4], [5, 3]], scale: 0.3 },
  { name: 'grouped heads', shapes: [[2, 4, 3, 2], [2, 2, 4, 2], [2, 2, 4, 2]], isCausal: true },
  { name: 'one key and value for the batch', shapes: [[2, 2, 3, 2], [1, 2, 4, 2], [1, 2, 4, 2]] },
  { name: 'one query for all heads and the batch', shapes: [[1, 1, 3, 2], [2, 3, 4, 2], [2, 3, 4, 2]] },
  { name: 'one value head', shapes: [[2, 2, 3, 2], [2, 2, 4, 2], [2, 1, 4, 2]] },
  { name: 'a mask for each', shapes: [[2, 2, 3, 2], [2, 2, 4, 2], [2, 2, 4, 2]], attnMask: (next) => additive([2, 2, 3, 4], next) },
  { name: 'a mask for all', shapes: [[2, 2, 3, 2], [2, 2, 4, 2], [2, 2, 4, 2]], attnMask: (next) => additive([3, 4], next) },
  { name: 'a mask of keys', shapes: [[2, 2, 3, 2], [2, 2, 4, 2], [2, 2, 4, 2]], attnMask: (next) => additive([2, 1, 1, 4], next) },
  { name: 'a mask of rows', shapes: [[2, 2, 3, 2], [2, 2, 4, 2], [2, 2, 4, 2]], attnMask: (next) => tensor([2, 3, 1], next, Float64Array) },
  { name: 'a boolean mask', shapes: [[2, 2, 3, 2], [2, 2, 4, 2], [2, 2, 4, 2]], attnMask: (next) => bools([2, 1, 3, 4], next) },
  { name: 'causal to the right', shapes: [[1, 2, 3, 2], [1, 2, 5, 2], [1, 2, 5, 2]], isCausal: true, causalAlign: 'bottom-right' },
  { name: 'rows that see nothing', shapes: [[1, 2, 5, 2], [1, 2, 3, 2], [1, 2, 3, 2]], isCausal: true, causalAlign: 'bottom-right' },
  { name: 'window', shapes: [[1, 2, 4, 2], [1, 2, 6, 2], [1, 2, 6, 2]], window: { left: 1, right: 2 } },
  { name: 'softcap', shapes: [[1, 2, 3, 4], [1, 2, 5, 4], [1, 2, 5, 4]], softcap: 0.7 },
  { name: 'ALiBi', shapes: [[2, 2, 3, 2], [2, 2, 5, 2], [2, 2, 5, 2]], alibiSlopes: () => [0.5, 0.1] },
  { name: 'lengths', shapes: [[3, 2, 3, 2], [3, 2, 4, 2], [3, 2, 4, 2]], kvLengths: () => [2, 4, 0] },
  {
    name: 'everything at once', shapes: [[2, 4, 3, 3], [2, 2, 5, 3], [1, 2, 5, 2]], attnMask: (next) => additive([4, 1, 5], next), isCausal: true,
    causalAlign: 'bottom-right', scale: 0.8, softcap: 2, window: { left: 3 }, alibiSlopes: (next) => tensor([2, 4], next, Float64Array), kvLengths: () => [5, 4],
  },
];

const NAMES = ['gradQuery', 'gradKey', 'gradValue', 'gradAttnMask'];

eachVariant('sdpaBackward: the slopes of sdpa', (attn) => {
  for (const { name, shapes, ...given } of SDPA) {
    const next = random(shapes.flat().length + name.length);
    const inputs = shapes.map((shape) => tensor(shape, next, Float64Array));
    const options = Object.fromEntries(Object.entries(given).map(([key, value]) => [key, typeof value === 'function' ? value(next) : value]));
    const { output, logsumexp } = attn.sdpa(...inputs, { ...options, returnLogsumexp: true });
    const gradOutput = tensor(output.shape, next, Float64Array);
    const gradients = attn.sdpaBackward(gradOutput, ...inputs, options);
    assert.deepEqual(Object.keys(gradients), NAMES);
    const loss = () => inner(attn.sdpa(...inputs, options).output, gradOutput);
    inputs.forEach((input, i) => checkSlopes(`${name}: ${NAMES[i]}`, gradients[NAMES[i]], input, loss));
    const isAdditive = options.attnMask?.data instanceof Float64Array;
    if (isAdditive) checkSlopes(`${name}: gradAttnMask`, gradients.gradAttnMask, options.attnMask, loss);
    else assert.equal(gradients.gradAttnMask, null);

    assert.deepEqual(attn.sdpaBackward(gradOutput, ...inputs, { ...options, output, logsumexp }), gradients, `${name}: output and logsumexp given`);
    const slopes = options.alibiSlopes?.data ? floats(options.alibiSlopes) : options.alibiSlopes;
    const single = attn.sdpaBackward(floats(gradOutput), ...inputs.map(floats), { ...options, alibiSlopes: slopes, attnMask: options.attnMask && floats(options.attnMask) });
    for (const gradient of NAMES) if (gradients[gradient]) checkFloats(`${name}: ${gradient}`, single[gradient], gradients[gradient]);
  }
});

eachVariant('sdpaBackward: of a size that threads share', (attn) => {
  const next = random(7);
  const inputs = [[1, 2, 150, 32], [1, 1, 130, 32], [1, 1, 130, 24]].map((shape) => tensor(shape, next));
  const options = { isCausal: true, causalAlign: 'bottom-right', attnMask: tensor([150, 130], next) };
  const gradOutput = tensor([1, 2, 150, 24], next);
  const single = attn.sdpaBackward(gradOutput, ...inputs, options);
  const exact = attn.sdpaBackward(doubles(gradOutput), ...inputs.map(doubles), { ...options, attnMask: doubles(options.attnMask) });
  for (const name of NAMES) checkFloats(name, single[name], exact[name]);
});

eachVariant('sdpaBackward: nested arrays, dims and engine tensors; nothing that was given changes', (attn) => {
  const next = random(3);
  const [query, key, value, gradOutput] = [[2, 3], [4, 3], [4, 2], [2, 2]].map((shape) => tensor(shape, next));
  const want = attn.sdpaBackward(gradOutput, query, key, value);
  const nested = ({ data, shape: [, columns] }) => Array.from({ length: data.length / columns }, (_, i) => Array.from(data.slice(i * columns, (i + 1) * columns)));
  assert.deepEqual(attn.sdpaBackward(nested(gradOutput), nested(query), nested(key), nested(value)), want);
  assert.deepEqual(attn.sdpaBackward({ data: gradOutput.data, dims: gradOutput.shape }, query, key, value), want);
  const inside = [gradOutput, query, key, value].map((t) => attn.tensor(t.shape).set(t));
  assert.deepEqual(attn.sdpaBackward(...inside), want);
  inside.forEach((held, i) => { assert.deepEqual(held.data, [gradOutput, query, key, value][i].data); held.free(); });
  // Plain numbers are what the others are.
  const exact = attn.sdpaBackward(doubles(gradOutput), nested(query), nested(key), nested(value));
  assert.ok(exact.gradKey.data instanceof Float64Array);
  assert.deepEqual(exact, attn.sdpaBackward(doubles(gradOutput), doubles(query), doubles(key), doubles(value)));
});

eachVariant('sdpaBackward: where an axis is empty, the gradients are 0', (attn) => {
  const zeros = (shape, Type) => ({ data: new Type(count(shape)).fill(1), shape });
  for (const Type of [Float32Array, Float64Array])
    for (const [query, key, mask] of [[[2, 2, 0, 3], [2, 2, 4, 3], [1, 4]], [[2, 2, 3, 3], [2, 2, 0, 3], [3, 1]], [[1, 2, 3, 3], [0, 2, 4, 3], [3, 4]]]) {
      const out = [Math.min(query[0], key[0]), 2, query[2], 3];
      const gradients = attn.sdpaBackward(zeros(out, Type), zeros(query, Type), zeros(key, Type), zeros(key, Type), { attnMask: zeros(mask, Type) });
      [query, key, key, mask].forEach((shape, i) => {
        assert.deepEqual(gradients[NAMES[i]].shape, shape);
        assert.deepEqual(gradients[NAMES[i]].data, new Type(count(shape)), `${NAMES[i]} for query [${query}], key [${key}]`);
      });
    }
});

eachVariant('sdpaBackward: errors', (attn) => {
  const x = { data: new Float32Array(6), shape: [2, 3] };
  const lse = { data: new Float32Array(2), shape: [2] };
  const bad = (Type, message, ...args) => assert.throws(() => attn.sdpaBackward(...args), (error) => error instanceof Type && message.test(error.message));
  bad(TypeError, /^gradOutput: expected a tensor/, undefined, x, x, x);
  bad(TypeError, /^query: /, x, 'x', x, x);
  bad(RangeError, /^gradOutput: expected shape \[2, 3\], got \[3, 2\]$/, { data: new Float32Array(6), shape: [3, 2] }, x, x, x);
  bad(TypeError, /^gradOutput: expected float32 as query, got float64/, { data: new Float64Array(6), shape: [2, 3] }, x, x, x);
  bad(TypeError, /^options\.returnWeights: no such option/, x, x, x, x, { returnWeights: true });
  bad(TypeError, /^options\.out: no such option/, x, x, x, x, { out: null });
  bad(TypeError, /^logsumexp: /, x, x, x, x, { output: x });
  bad(TypeError, /^output: /, x, x, x, x, { logsumexp: lse });
  bad(RangeError, /^logsumexp: expected shape \[2\], got \[2, 3\]$/, x, x, x, x, { output: x, logsumexp: x });
  bad(RangeError, /^output: expected shape \[2, 3\], got \[2\]$/, x, x, x, x, { output: lse, logsumexp: lse });
  bad(RangeError, /^attnMask: /, x, x, x, x, { attnMask: { data: new Float32Array(3), shape: [3] } });
  bad(RangeError, /^scale: /, x, x, x, x, { scale: NaN });
  const freed = attn.tensor([2, 3]);
  freed.free();
  assert.throws(() => attn.sdpaBackward(freed, x, x, x), { name: 'AttentionError', code: 'disposed' });
  works(attn);
});

const MHA = [
  { name: 'self', options: {}, inputs: [[2, 3, 4]] },
  { name: 'unbatched, without bias', options: { bias: false }, inputs: [[3, 4]], forward: { isCausal: true } },
  { name: 'key and value', options: {}, inputs: [[2, 3, 4], [2, 5, 4], [2, 5, 4]] },
  { name: 'a key that is the value', options: { kdim: 3, vdim: 3 }, inputs: [[2, 3, 4], [2, 5, 3]] },
  { name: 'a value of its own', options: { vdim: 3 }, inputs: [[2, 3, 4], null, [2, 3, 3]] },
  { name: 'kdim and vdim, sequence first', options: { kdim: 3, vdim: 5, batchFirst: false }, inputs: [[3, 2, 4], [5, 2, 3], [5, 2, 5]] },
  { name: 'bias_k, bias_v and a zero key', options: { addBiasKv: true, addZeroAttn: true }, inputs: [[2, 3, 4]], forward: { needWeights: false } },
  { name: 'grouped heads', options: { numKvHeads: 1 }, inputs: [[2, 3, 4], [2, 4, 4], [2, 4, 4]], forward: { averageAttnWeights: false } },
  { name: 'positions', options: { rotary: { dim: 2, theta: 10 } }, inputs: [[2, 3, 4], [2, 4, 4], [2, 4, 4]] },
  {
    name: 'masks', options: { addBiasKv: true }, inputs: [[2, 3, 4], [2, 4, 4], [2, 4, 4]],
    forward: { attnMask: (next) => bools([4, 3, 4], next), keyPaddingMask: (next) => additive([2, 4], next) },
  },
  {
    name: 'an additive mask for each head, and one for keys', options: { addZeroAttn: true }, inputs: [[2, 3, 4], [2, 4, 4], [2, 4, 4]],
    forward: { attnMask: (next) => additive([4, 3, 4], next), keyPaddingMask: (next) => additive([4], next), isCausal: true },
  },
  { name: 'an additive mask for all, sequence first', options: { batchFirst: false, numKvHeads: 1 }, inputs: [[3, 2, 4]], forward: { attnMask: (next) => additive([3, 3], next) } },
  { name: 'rows that see nothing', options: {}, inputs: [[1, 2, 4]], forward: { keyPaddingMask: () => ({ data: Uint8Array.of(1, 1), shape: [1, 2] }) } },
];

eachVariant('backward: the slopes of forward, with respect to the inputs and every parameter', (attn) => {
  for (const { name, options, inputs: shapes, forward = {} } of MHA) {
    const next = random(name.length);
    const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2, ...options });
    const state = Object.fromEntries(Object.entries(layer.stateDict()).map(([key, { shape }]) => [key, tensor(shape, next, Float64Array)]));
    layer.loadStateDict(state);
    const inputs = shapes.map((shape) => shape && tensor(shape, next, Float64Array));
    const given = Object.fromEntries(Object.entries(forward).map(([key, value]) => [key, typeof value === 'function' ? value(next) : value]));
    const call = (extra = {}) => layer.forward(inputs[0], inputs[1], inputs[2], { ...given, ...extra });
    const before = call();
    const after = call({ needGrad: true });
    assert.deepEqual(after, before, 'needGrad changes no result');
    const gradOutput = tensor(before.output.shape, next, Float64Array);
    const gradients = layer.backward(gradOutput);
    const { gradQuery, gradKey, gradValue, gradState } = gradients;
    assert.deepEqual(layer.backward(gradOutput), gradients, 'again');

    const loss = () => inner(call({ needWeights: false }).output, gradOutput);
    [gradQuery, gradKey, gradValue].forEach((gradient, i) => {
      if (inputs[i]) checkSlopes(`${name}: ${NAMES[i]}`, gradient, inputs[i], loss);
      else assert.equal(gradient, null, `${name}: ${NAMES[i]}`);
    });
    for (const mask of ['attnMask', 'keyPaddingMask']) {
      const gradient = gradients[`grad${mask[0].toUpperCase()}${mask.slice(1)}`];
      if (given[mask]?.data instanceof Float64Array) checkSlopes(`${name}: ${mask}`, gradient, given[mask], loss);
      else assert.equal(gradient, null);
    }
    assert.deepEqual(Object.keys(gradState), Object.keys(state));
    for (const parameter in state)
      checkSlopes(`${name}: ${parameter}`, gradState[parameter], state[parameter], () => inner(layer.loadStateDict(state).forward(...inputs.concat(null, null).slice(0, 3), given).output, gradOutput));

    layer.loadStateDict(Object.fromEntries(Object.entries(state).map(([key, value]) => [key, floats(value)])));
    const single = Object.fromEntries(Object.entries(given).map(([key, value]) => [key, value?.data ? floats(value) : value]));
    layer.forward(...inputs.concat(null, null).slice(0, 3).map((x) => x && floats(x)), { ...single, needGrad: true });
    const got = layer.backward(floats(gradOutput));
    for (const [key, want] of Object.entries({ ...gradients, gradState: null })) if (want) checkFloats(`${name}: ${key}`, got[key], want);
    for (const parameter in gradState) checkFloats(`${name}: ${parameter}`, got.gradState[parameter], gradState[parameter]);
    layer.free();
  }
});

eachVariant('backward: the same tensor in two roles has two gradients where both are named, and their sum where one is left out', (attn) => {
  const next = random(5);
  const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const x = tensor([3, 4], next, Float64Array);
  const gradOutput = tensor([3, 4], next, Float64Array);
  layer.forward(x, x, x, { needGrad: true });
  const apart = layer.backward(gradOutput);
  layer.forward(x, null, null, { needGrad: true });
  const together = layer.backward(gradOutput);
  assert.deepEqual([together.gradKey, together.gradValue], [null, null]);
  together.gradQuery.data.forEach((sum, i) => {
    const parts = apart.gradQuery.data[i] + apart.gradKey.data[i] + apart.gradValue.data[i];
    assert.ok(Math.abs(sum - parts) < 1e-14, `${sum}, not ${parts}`);
  });
  assert.deepEqual(together.gradState, apart.gradState);
});

eachVariant('backward: belongs to the last forward with needGrad, as it was', (attn) => {
  const next = random(9);
  const layer = attn.multiHeadAttention({ embedDim: 4, numHeads: 2 });
  const x = tensor([3, 4], next);
  const gradOutput = tensor([3, 4], next);
  const none = { name: 'AttentionError', code: 'no-forward', message: /needGrad: true/ };
  assert.throws(() => layer.backward(gradOutput), none);
  layer.forward(x);
  assert.throws(() => layer.backward(gradOutput), none);
  layer.forward(x, null, null, { needGrad: true });
  const want = layer.backward(gradOutput);
  // Later calls without it, and what becomes of the arguments, change nothing.
  layer.forward(tensor([2, 4], next));
  const kept = x.data.slice();
  x.data.fill(NaN);
  assert.deepEqual(layer.backward(gradOutput), want);
  const held = attn.tensor([3, 4]).set({ data: kept, shape: [3, 4] });
  layer.forward(held, null, null, { needGrad: true });
  held.free();
  assert.deepEqual(layer.backward(gradOutput), want);

  const bad = (Type, message, value) => assert.throws(() => layer.backward(value), (error) => error instanceof Type && message.test(error.message));
  bad(TypeError, /^gradOutput: expected a tensor/, null);
  bad(RangeError, /^gradOutput: expected shape \[3, 4\], got \[4, 3\]$/, { data: new Float32Array(12), shape: [4, 3] });
  bad(TypeError, /^gradOutput: expected float32 as the tensors of forward/, { data: new Float64Array(12), shape: [3, 4] });
  assert.throws(() => layer.forward(x, null, null, { needGrad: 1 }), /^TypeError: needGrad: expected a boolean/);
  assert.deepEqual(layer.backward(gradOutput), want, 'after the errors');

  layer.loadStateDict(layer.stateDict());
  assert.throws(() => layer.backward(gradOutput), none);
  layer.forward(held.freed ? { data: kept, shape: [3, 4] } : held, null, null, { needGrad: true });
  layer.free();
  assert.throws(() => layer.backward(gradOutput), (error) => error instanceof AttentionError && error.code === 'disposed');
  works(attn);
});

eachVariant('gradients give back what they took', (attn) => {
  const next = random(1);
  const layer = attn.multiHeadAttention({ embedDim: 32, numHeads: 2 });
  const x = tensor([1, 2, 100, 32], next);
  const y = tensor([2, 100, 32], next);
  const once = () => {
    attn.sdpaBackward(x, x, x, x, { attnMask: tensor([100, 100], next) });
    layer.forward(y, null, null, { needGrad: true });
    layer.backward(y);
    return attn.memoryBytes;
  };
  once();
  const bytes = once();
  for (let n = 0; n < 20; n++) once();
  assert.equal(attn.memoryBytes, bytes);
});
