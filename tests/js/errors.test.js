// Every wrong argument: the class of the error, the argument's name in its message, and an engine that works on.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Attention, AttentionError, MultiHeadAttention, SimpleAttention } from '../../web/lib/index.js';
import { eachVariant, works } from './each_variant.js';

const zeros = (shape, Type = Float32Array) => ({ data: new Type(shape.reduce((a, b) => a * b, 1)), shape });
const row = [1, 2];
const rows = [[1, 2], [3, 4]];
const q = zeros([2, 4, 3, 8]);
const k = zeros([2, 4, 5, 8]);
const v = zeros([2, 4, 5, 6]);
const MAX = 2 ** 31 - 1;

// [the call, the class, the message]
const ATTENTION = [
  [(a) => a.attention('hello', rows, rows), TypeError, /^query: .*"hello"/],
  [(a) => a.attention(null, rows, rows), TypeError, /^query: /],
  [(a) => a.attention(undefined, rows, rows), TypeError, /^query: .*undefined/],
  [(a) => a.attention(1, rows, rows), TypeError, /^query: /],
  [(a) => a.attention(rows, rows, rows), RangeError, /^query: .*rank 1.*\[2, 2\]/],
  [(a) => a.attention([], rows, rows), RangeError, /^query.shape\[0\]: .*at least 1.*0/],
  [(a) => a.attention([1, '2'], rows, rows), TypeError, /^query\[1\]: .*"2"/],
  [(a) => a.attention([true, false], rows, rows), TypeError, /^query: .*booleans/],
  [(a) => a.attention([1, [2]], rows, rows), TypeError, /^query\[1\]: .*Array/],
  [(a) => a.attention(row, [[1, 2], [3]], rows), RangeError, /^keys\[1\]: .*2.*1/],
  [(a) => a.attention(row, [[1, 2], 3], rows), TypeError, /^keys\[1\]: .*3/],
  [(a) => a.attention(row, [[1, 2], [3, undefined]], rows), TypeError, /^keys\[1\]\[1\]: .*undefined/],
  [(a) => a.attention(row, [[1, 2, 3], [4, 5, 6]], rows), RangeError, /^keys.shape\[1\]: expected 2 .*got 3/],
  [(a) => a.attention(row, [], []), RangeError, /^keys: /],
  [(a) => a.attention(row, row, rows), RangeError, /^keys: .*rank 2/],
  [(a) => a.attention(row, rows, [[1, 2]]), RangeError, /^values.shape\[0\]: expected 2 .*got 1/],
  [(a) => a.attention(row, rows, [[], []]), RangeError, /^values.shape\[1\]: /],
  [(a) => a.attention(row, rows, new BigInt64Array(2)), TypeError, /^values/],
  [(a) => a.attention(row, rows, rows, { scale: NaN }), RangeError, /^scale: .*NaN/],
  [(a) => a.attention(row, rows, rows, { scale: '1' }), TypeError, /^scale: .*"1"/],
  [(a) => a.attention(row, rows, rows, { scaled: 1 }), TypeError, /scaled: no such option/],
  [(a) => a.attention(row, rows, rows, 1), TypeError, /^options: /],
  [(a) => a.attentionSteps(row, rows, rows, { scale: Infinity }), RangeError, /^scale: /],
];

const CAUSAL_MASK = [
  ...[0, -1, 1.5, NaN, Infinity, 2 ** 31].map((n) => [(a) => a.causalMask(n), RangeError, /^seqLen: expected an integer/]),
  ...['4', null, undefined, 4n, [4]].map((n) => [(a) => a.causalMask(n), TypeError, /^seqLen: /]),
  [(a) => a.causalMask(40000), RangeError, /^seqLen: .*bytes/],
];

const TENSOR = [
  ...[0, -1, 1.5, NaN, 2 ** 31].map((n) => [(a) => a.tensor([2, n]), RangeError, /^shape\[1\]: /]),
  [(a) => a.tensor(['2']), TypeError, /^shape\[0\]: /],
  [(a) => a.tensor(4), TypeError, /^shape: /],
  [(a) => a.tensor(), TypeError, /^shape: /],
  [(a) => a.tensor([2 ** 16, 2 ** 16]), RangeError, /^shape: .*17179869184/],
  [(a) => a.tensor([MAX, MAX, MAX]), RangeError, /^shape: /],
  [(a) => a.tensor([2]).set([1, 2, 3]), RangeError, /^values: expected 2 elements, got 3/],
  [(a) => a.tensor([2]).set(['1', 2]), TypeError, /^values\[0\]: /],
  [(a) => a.tensor([2]).set([true, false]), TypeError, /^values: /],
  [(a) => a.tensor([2]).set(null), TypeError, /^values: /],
];

const SDPA = [
  // tensors
  [(a) => a.sdpa(null, k, v), TypeError, /^query: /],
  [(a) => a.sdpa(q, undefined, v), TypeError, /^key: /],
  [(a) => a.sdpa(q, k, 'v'), TypeError, /^value: /],
  [(a) => a.sdpa({}, k, v), TypeError, /^query.shape: /],
  [(a) => a.sdpa({ data: q.data }, k, v), TypeError, /^query.shape: /],
  [(a) => a.sdpa({ shape: q.shape }, k, v), TypeError, /^query.data: /],
  [(a) => a.sdpa({ data: new Uint16Array(192), shape: q.shape }, k, v), TypeError, /^query.data: .*Float32Array.*Uint16Array/],
  [(a) => a.sdpa({ data: new Uint8Array(192), shape: q.shape }, k, v), TypeError, /^query: /],
  [(a) => a.sdpa({ data: new DataView(new ArrayBuffer(768)), shape: q.shape }, k, v), TypeError, /^query.data: /],
  [(a) => a.sdpa({ data: q.data, shape: [2, 4, 3, 9] }, k, v), RangeError, /^query.data: expected 216 .*\[2, 4, 3, 9\].*got 192/],
  [(a) => a.sdpa({ data: q.data, dims: [2, 4, 3, 7] }, k, v), RangeError, /^query.data: /],
  [(a) => a.sdpa({ data: q.data, shape: [2, 4, 3, NaN] }, k, v), RangeError, /^query.shape\[3\]: .*NaN/],
  [(a) => a.sdpa({ data: q.data, shape: [2, 4, -3, -8] }, k, v), RangeError, /^query.shape\[2\]: .*-3/],
  [(a) => a.sdpa({ data: q.data, shape: [2, 4, 1.5, 16] }, k, v), RangeError, /^query.shape\[2\]: .*1.5/],
  [(a) => a.sdpa({ data: q.data, shape: [2 ** 31, 4, 3, 8] }, k, v), RangeError, /^query.shape\[0\]: /],
  [(a) => a.sdpa({ data: q.data, shape: [MAX, MAX, MAX, MAX] }, k, v), RangeError, /^query.data: /],
  [(a) => a.sdpa({ data: q.data, shape: ['2', 4, 3, 8] }, k, v), TypeError, /^query.shape\[0\]: /],
  [(a) => a.sdpa({ data: [1, 2, '3'], shape: [1, 3] }, k, v), TypeError, /^query.data\[2\]: /],
  [(a) => a.sdpa([[1, 2], [3]], rows, rows), RangeError, /^query\[1\]: /],
  [(a) => a.sdpa([[[1], [2]], [[3]]], k, v), RangeError, /^query\[1\]: /],
  [(a) => a.sdpa([new Float32Array(2), new Float64Array(2)], rows, rows), TypeError, /^query\[1\]: /],
  // shapes
  [(a) => a.sdpa(row, k, v), RangeError, /^query: .*rank.*\[2\]/],
  [(a) => a.sdpa(zeros([1, 1, 1, 2, 2]), k, v), RangeError, /^query: .*rank/],
  [(a) => a.sdpa(q, zeros([4, 5, 8]), v), RangeError, /^key: .*rank 4/],
  [(a) => a.sdpa(q, k, zeros([5, 6])), RangeError, /^value: .*rank 4/],
  [(a) => a.sdpa(q, zeros([2, 4, 5, 7]), v), RangeError, /^key.shape\[3\]: expected 8 .*got 7 \(shape \[2, 4, 5, 7\]\)/],
  [(a) => a.sdpa(q, k, zeros([2, 4, 6, 6])), RangeError, /^value.shape\[2\]: expected 5 .*got 6/],
  [(a) => a.sdpa(q, zeros([3, 4, 5, 8]), v), RangeError, /^key.shape\[0\]: .*2.*got 3/],
  [(a) => a.sdpa(q, k, zeros([3, 4, 5, 6])), RangeError, /^value.shape\[0\]: .*2.*got 3/],
  [(a) => a.sdpa(q, zeros([2, 3, 5, 8]), zeros([2, 3, 5, 6])), RangeError, /^query.shape\[1\]: .*multiple of 3.*got 4/],
  [(a) => a.sdpa(q, zeros([2, 2, 5, 8]), v), RangeError, /^value.shape\[1\]: .*2.*got 4/],
  [(a) => a.sdpa(zeros([2, 0, 3, 8]), k, v), RangeError, /^query.shape\[1\]: /],
  [(a) => a.sdpa(q, zeros([2, 0, 5, 8]), v), RangeError, /^key.shape\[1\]: /],
  [(a) => a.sdpa(zeros([2, 4, 3, 0]), zeros([2, 4, 5, 0]), v), RangeError, /^query.shape\[3\]: /],
  [(a) => a.sdpa(q, k, zeros([2, 4, 5, 0])), RangeError, /^value.shape\[3\]: /],
  // element types
  [(a) => a.sdpa(q, zeros(k.shape, Float64Array), v), TypeError, /^key: .*float32.*float64/],
  [(a) => a.sdpa(zeros(q.shape, Float64Array), zeros(k.shape, Float64Array), v), TypeError, /^value: .*float64.*float32/],
  // options
  [(a) => a.sdpa(q, k, v, { is_causal: true }), TypeError, /is_causal: no such option.*isCausal/],
  [(a) => a.sdpa(q, k, v, true), TypeError, /^options: /],
  ...['isCausal', 'returnWeights', 'returnLogsumexp'].flatMap((name) =>
    [1, 0, 'yes', []].map((value) => [(a) => a.sdpa(q, k, v, { [name]: value }), TypeError, new RegExp(`^${name}: expected a boolean`)])),
  ...['left', true, 1].map((value) => [(a) => a.sdpa(q, k, v, { causalAlign: value }), TypeError, /^causalAlign: .*'top-left', 'bottom-right'/]),
  ...['all', true, 0].map((value) => [(a) => a.sdpa(q, k, v, { returnScores: value }), TypeError, /^returnScores: .*'masked'/]),
  [(a) => a.sdpa(q, k, v, { causalAlign: 'toString' }), TypeError, /^causalAlign: /],
  ...[NaN, Infinity].map((value) => [(a) => a.sdpa(q, k, v, { scale: value }), RangeError, /^scale: /]),
  [(a) => a.sdpa(q, k, v, { scale: '0.5' }), TypeError, /^scale: /],
  ...[NaN, Infinity, -1].map((value) => [(a) => a.sdpa(q, k, v, { softcap: value }), RangeError, /^softcap: .*at least 0/]),
  [(a) => a.sdpa(q, k, v, { softcap: true }), TypeError, /^softcap: /],
  ...[-1, 0.5, NaN, Infinity, 2 ** 31].map((left) => [(a) => a.sdpa(q, k, v, { window: { left } }), RangeError, /^window.left: /]),
  [(a) => a.sdpa(q, k, v, { window: { right: '1' } }), TypeError, /^window.right: /],
  [(a) => a.sdpa(q, k, v, { window: { lefft: 1 } }), TypeError, /window.lefft: no such option/],
  [(a) => a.sdpa(q, k, v, { window: 3 }), TypeError, /^window: /],
  [(a) => a.sdpa(q, k, v, { kvLengths: [1] }), RangeError, /^kvLengths: expected 2 .*got 1/],
  ...[6, -1, 1.5, NaN].map((n) => [(a) => a.sdpa(q, k, v, { kvLengths: [1, n] }), RangeError, /^kvLengths\[1\]: .*from 0 to 5/]),
  [(a) => a.sdpa(q, k, v, { kvLengths: ['1', 2] }), TypeError, /^kvLengths\[0\]: /],
  [(a) => a.sdpa(q, k, v, { kvLengths: 3 }), TypeError, /^kvLengths: /],
  [(a) => a.sdpa(q, k, v, { alibiSlopes: [1, 2] }), RangeError, /^alibiSlopes.shape\[0\]: expected 4 .*got 2/],
  [(a) => a.sdpa(q, k, v, { alibiSlopes: zeros([3, 4]) }), RangeError, /^alibiSlopes.shape\[0\]: expected 2 .*got 3/],
  [(a) => a.sdpa(q, k, v, { alibiSlopes: zeros([1, 1, 4]) }), RangeError, /^alibiSlopes: /],
  [(a) => a.sdpa(q, k, v, { alibiSlopes: [true, true, true, true] }), TypeError, /^alibiSlopes: /],
  ...[[5, 3], [4], [3, 3, 5], [3, 4, 3, 5], [2, 2, 4, 3, 5]].map((shape) =>
    [(a) => a.sdpa(q, k, v, { attnMask: zeros(shape) }), RangeError, /^attnMask: .*broadcasts to \[2, 4, 3, 5\]/]),
  [(a) => a.sdpa(q, k, v, { attnMask: true }), TypeError, /^attnMask: /],
  [(a) => a.sdpa(q, k, v, { attnMask: 'causal' }), TypeError, /^attnMask: /],
  [(a) => a.sdpa(q, k, v, { attnMask: [[true, 1, true, true, true]] }), TypeError, /^attnMask\[0\]\[1\]: expected a boolean, got 1/],
  [(a) => a.sdpa(q, k, v, { attnMask: [[0, 1, true, 0, 0]] }), TypeError, /^attnMask\[0\]\[2\]: expected a number, got true/],
  [(a) => a.sdpa(q, k, v, { attnMask: { data: new BigInt64Array(5), dims: [1, 5] } }), TypeError, /^attnMask.data: .*BigInt64Array/],
  [(a) => a.sdpa(q, k, v, { attnMask: { data: new Uint8Array(4), shape: [1, 5] } }), RangeError, /^attnMask.data: /],
  // out
  [(a) => a.sdpa(q, k, v, { out: zeros([2, 4, 3, 6]) }), TypeError, /^out: /],
  [(a) => a.sdpa(q, k, v, { out: true }), TypeError, /^out: /],
  [(a) => a.sdpa(q, k, v, { out: a.tensor([2, 4, 3, 8]) }), RangeError, /^out: expected shape \[2, 4, 3, 6\], got \[2, 4, 3, 8\]/],
  [(a) => { const t = a.tensor([2, 4]); a.sdpa(t, t, t, { out: t }); }, TypeError, /^out: .*query/],
  [(a) => { const t = a.tensor([2, 2]); a.sdpa(rows, rows, rows, { attnMask: t, out: t }); }, TypeError, /^out: .*attnMask/],
  [(a) => { const x = zeros([2, 2], Float64Array); a.sdpa(x, x, x, { out: a.tensor([2, 2]) }); }, TypeError, /^out: .*float64/],
  // results larger than any tensor can be
  [(a) => { const x = zeros([1, 1, 30000, 1]); a.sdpa(x, x, x, { returnWeights: true }); }, RangeError, /^weights: .*3600000000/],
  [(a) => { const x = zeros([30000, 1], Float64Array); a.sdpa(x, x, x, { returnScores: 'raw' }); }, RangeError, /^scores: /],
];

const layer = (options) => (a) => a.multiHeadAttention({ embedDim: 8, numHeads: 2, ...options });
const forward = (options, ...args) => (a) => {
  const l = layer(options)(a);
  try {
    l.forward(...args);
  } finally {
    l.free();
  }
};
const x = zeros([2, 3, 8]);
const LAYERS = [
  [(a) => a.multiHeadAttention(), TypeError, /^embedDim: /],
  [(a) => a.multiHeadAttention({ numHeads: 2 }), TypeError, /^embedDim: .*undefined/],
  [(a) => a.multiHeadAttention({ embedDim: 8 }), TypeError, /^numHeads: .*undefined/],
  ...[0, -8, 1.5, NaN, 2 ** 31].map((n) => [layer({ embedDim: n }), RangeError, /^embedDim: /]),
  ...[0, -2, 1.5, NaN].map((n) => [layer({ numHeads: n }), RangeError, /^numHeads: /]),
  [layer({ numHeads: 3 }), RangeError, /^embedDim: expected a multiple of numHeads \(3\), got 8/],
  [layer({ embedDim: 16384 }), RangeError, /^embedDim: .*bytes/],
  [layer({ numHeads: 4, numKvHeads: 3 }), RangeError, /^numKvHeads: .*4.*3/],
  [layer({ numKvHeads: 0 }), RangeError, /^numKvHeads: /],
  [layer({ kdim: 0 }), RangeError, /^kdim: /],
  [layer({ vdim: NaN }), RangeError, /^vdim: /],
  [layer({ dropout: 0.1 }), TypeError, /dropout: no such option/],
  ...['bias', 'addBiasKv', 'addZeroAttn', 'batchFirst'].map((name) => [layer({ [name]: 1 }), TypeError, new RegExp(`^${name}: `)]),
  ...[-1, 0.5, NaN, 2 ** 32].map((seed) => [layer({ seed }), RangeError, /^seed: /]),
  [layer({ seed: 'x' }), TypeError, /^seed: /],
  [layer({ state: {} }), TypeError, /^state\['in_proj_weight'\]: missing/],
  [layer({ state: 'x' }), TypeError, /^state: /],
  [(a) => { const state = layer()(a).stateDict(); layer({ state: { ...state, extra: row } })(a); }, TypeError, /^state\['extra'\]: no such parameter.*out_proj.weight/],
  [(a) => { const state = layer()(a).stateDict(); layer({ state: { ...state, in_proj_bias: row } })(a); }, RangeError, /^state\['in_proj_bias'\]: expected shape \[24\], got \[2\]/],
  [(a) => { const state = layer()(a).stateDict(); layer({ state: { ...state, 'out_proj.bias': null } })(a); }, TypeError, /^state\['out_proj.bias'\]: /],
  [(a) => layer()(a).loadStateDict(null), TypeError, /^state: /],
  [forward({}, null), TypeError, /^query: /],
  [forward({}, row), RangeError, /^query: .*rank 3 or 2/],
  [forward({}, zeros([1, 2, 3, 8])), RangeError, /^query: .*rank/],
  [forward({}, zeros([2, 3, 7])), RangeError, /^query.shape\[2\]: expected 8 \(embedDim\), got 7/],
  [forward({}, zeros([0, 3, 8])), RangeError, /^query.shape\[0\]: /],
  [forward({}, zeros([2, 0, 8])), RangeError, /^query.shape\[1\]: /],
  [forward({}, x, zeros([2, 4, 7])), RangeError, /^key.shape\[2\]: expected 8 \(kdim\), got 7/],
  [forward({ kdim: 5 }, x), RangeError, /^query.shape\[2\]: expected 5 \(kdim\), got 8/],
  [forward({}, x, zeros([3, 4, 8])), RangeError, /^key.shape\[0\]: expected 2 .*got 3/],
  [forward({}, x, zeros([4, 8])), RangeError, /^key: .*rank 3/],
  [forward({}, x, x, zeros([2, 4, 8])), RangeError, /^value.shape\[1\]: expected 3 .*got 4/],
  [forward({ batchFirst: false }, x, x, zeros([4, 3, 8])), RangeError, /^value.shape\[0\]: expected 2 .*got 4/],
  [forward({}, x, zeros([2, 3, 8], Float64Array)), TypeError, /^key: .*float64/],
  [forward({}, x, null, null, { causal: true }), TypeError, /causal: no such option/],
  [forward({}, x, null, null, { isCausal: 1 }), TypeError, /^isCausal: /],
  [forward({}, x, null, null, { needWeights: 'no' }), TypeError, /^needWeights: /],
  [forward({}, x, null, null, { averageAttnWeights: 0 }), TypeError, /^averageAttnWeights: /],
  [forward({}, x, null, null, { attnMask: zeros([3, 4]) }), RangeError, /^attnMask.shape\[1\]: expected 3/],
  [forward({}, x, null, null, { attnMask: zeros([2, 3, 3]) }), RangeError, /^attnMask.shape\[0\]: expected 4 \(batch \* numHeads\), got 2/],
  [forward({}, x, null, null, { attnMask: zeros([3]) }), RangeError, /^attnMask: .*rank/],
  [forward({}, x, null, null, { keyPaddingMask: zeros([2, 4]) }), RangeError, /^keyPaddingMask.shape\[1\]: expected 3/],
  [forward({}, x, null, null, { keyPaddingMask: zeros([3, 3]) }), RangeError, /^keyPaddingMask.shape\[0\]: expected 2/],
  [forward({}, x, null, null, { keyPaddingMask: zeros([1, 1, 3]) }), RangeError, /^keyPaddingMask: .*rank 1 or 2/],
  [forward({}, zeros([3, 8]), null, null, { keyPaddingMask: zeros([2, 3]) }), RangeError, /^keyPaddingMask.shape\[0\]: expected 1/],
  [forward({}, x, null, null, { keyPaddingMask: true }), TypeError, /^keyPaddingMask: /],
  [() => new MultiHeadAttention({ embedDim: 8, numHeads: 2 }), TypeError, /multiHeadAttention/],
];

const simple = (options, ...args) => (a) => {
  const l = new SimpleAttention({ embedDim: 8, numHeads: 2, engine: a, ...options });
  try {
    l.forward(...args);
  } finally {
    l.free();
  }
};
const SIMPLE = [
  [simple({ embedDim: 63, numHeads: 4 }, x), RangeError, /^embedDim: expected a multiple of numHeads \(4\), got 63/],
  [simple({ embedDim: NaN }, x), RangeError, /^embedDim: /],
  [simple({ numHeads: 0 }, x), RangeError, /^numHeads: /],
  [simple({ heads: 2 }, x), TypeError, /heads: no such option/],
  [simple({ seed: -1 }, x), RangeError, /^seed: /],
  [simple({ engine: {} }, x), TypeError, /^engine: /],
  [simple({}, zeros([3, 7])), RangeError, /^query.shape\[1\]: expected 8/],
  [simple({}, [[1, 2], [3]]), RangeError, /^query\[1\]: /],
  [simple({}, x, { causal: 1 }), TypeError, /^causal: /],
  [simple({}, x, { isCausal: true }), TypeError, /isCausal: no such option/],
  [simple({}, x, { returnWeights: 1 }), TypeError, /^returnWeights: /],
  [(a) => new SimpleAttention({ embedDim: 8, numHeads: 2, engine: a }).selfAttention(x, { returnWeights: true }), TypeError, /returnWeights: no such option/],
];

for (const [what, table] of Object.entries({ attention: ATTENTION, causalMask: CAUSAL_MASK, tensor: TENSOR, sdpa: SDPA, layers: LAYERS, SimpleAttention: SIMPLE }))
  eachVariant(`${what}: ${table.length} wrong arguments`, (attn) => {
    for (const [call, type, message] of table) {
      const name = `${call} should throw ${type.name} ${message}`;
      assert.throws(() => call(attn), (error) => {
        assert.equal(error.constructor, type, `${name}: ${error.stack}`);
        assert.match(error.message, message, name);
        return true;
      }, name);
      works(attn);
    }
  });

eachVariant('errors lose no memory', (attn) => {
  const all = [...ATTENTION, ...TENSOR.slice(0, 10), ...SDPA.filter(([call]) => !/tensor\(/.test(call)), ...LAYERS.filter(([call]) => !/stateDict|loadState/.test(call)), ...SIMPLE];
  const round = () => { for (const [call] of all) assert.throws(() => call(attn)); };
  round();
  const before = attn.memoryBytes;
  for (let i = 0; i < 30; i++) round();
  assert.equal(attn.memoryBytes, before);
});

eachVariant('a layer whose new state is refused keeps the old one', (attn) => {
  const l = attn.multiHeadAttention({ embedDim: 8, numHeads: 2 });
  const before = l.stateDict();
  const other = attn.multiHeadAttention({ embedDim: 8, numHeads: 2, seed: 1 }).stateDict();
  for (const wrong of [{ ...other, 'out_proj.bias': row }, { ...other, more: row }, { ...other, 'out_proj.bias': ['a'] }])
    assert.throws(() => l.loadStateDict(wrong));
  assert.deepEqual(l.stateDict(), before);
});

test('Attention.create refuses what it does not know', async () => {
  for (const [options, type, message] of [
    ['simd', TypeError, /^options: /],
    [{ varient: 'simd' }, TypeError, /varient: no such option.*variant/],
    [{ variant: 'avx' }, TypeError, /^variant: .*'relaxed-threads'.*"avx"/],
    [{ variant: 1 }, TypeError, /^variant: /],
    ...[0, -1, 1.5, NaN].map((threads) => [{ threads }, RangeError, /^threads: /]),
    [{ threads: 'many' }, TypeError, /^threads: /],
    [{ wasmUrl: 3 }, TypeError, /^wasmUrl: /],
  ])
    await assert.rejects(Attention.create(options), (error) => {
      assert.equal(error.constructor, type, error.stack);
      assert.match(error.message, message);
      return true;
    });
  await assert.rejects(Attention.create({ variant: 'simd', threads: 2 }), { name: 'AttentionError', code: 'unsupported', message: /threads/ });
  assert.throws(() => new Attention(), TypeError);
});

test('AttentionError is an Error with a name and a code', async () => {
  const error = await Attention.create({ variant: 'simd', threads: 2 }).catch((e) => e);
  assert.ok(error instanceof AttentionError && error instanceof Error);
  assert.equal(error.name, 'AttentionError');
  assert.match(String(error), /^AttentionError: threads/);
  assert.deepEqual(Object.keys(error), ['code']);
});
