// What attention is made of besides sdpa, and what is read off its weights, each against plain loops in float64.

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

// Along one axis, seen as [outer, length, inner].
function softmaxOf({ data, shape }, axis) {
  const length = shape[axis];
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  return Array.from(data, (x, at) => {
    const first = at - (Math.floor(at / inner) % length) * inner;
    const all = Array.from({ length }, (_, l) => data[first + l * inner]);
    const max = Math.max(...all);
    return Math.exp(x - max) / all.reduce((sum, y) => sum + Math.exp(y - max), 0);
  });
}

eachVariant('softmax along every axis', (attn) => {
  const next = random(2);
  for (const Type of [Float32Array, Float64Array])
    for (const shape of [[6], [1], [3, 5], [2, 3, 4], [2, 1, 5, 3]]) {
      const x = tensor(shape, () => 3 * next(), Type);
      for (let axis = -shape.length; axis < shape.length; axis++) {
        const y = attn.softmax(x, { axis });
        assert.deepEqual(y.shape, shape);
        assert.ok(y.data instanceof Type);
        near(y.data, softmaxOf(x, axis < 0 ? axis + shape.length : axis), Type === Float32Array ? 3e-7 : 1e-15, `axis ${axis} of [${shape}]`);
      }
      assert.deepEqual(attn.softmax(x), attn.softmax(x, { axis: -1 }));
    }
});

eachVariant('softmax where nothing can be chosen is 0, of NaN is NaN', (attn) => {
  assert.deepEqual(attn.softmax([[-Infinity, -Infinity], [0, -Infinity], [1e4, 1e4]]).toNested(), [[0, 0], [1, 0], [0.5, 0.5]]);
  assert.deepEqual(attn.softmax([[NaN, 1], [2, 2]]).toNested(), [[NaN, NaN], [0.5, 0.5]]);
  assert.deepEqual(attn.softmax(tensor([0, 3], () => 0)).shape, [0, 3]);
  assert.deepEqual(attn.softmax(tensor([3, 0], () => 0)).shape, [3, 0]);
});

// x as [batch, heads, seq, dim] and what place(b, h, s, d) says where that is.
function rotate({ data, shape }, { cos, sin, ids, interleaved, rotaryDim }) {
  const [batch, heads, seq, dim] = shape;
  const half = rotaryDim / 2;
  return Float64Array.from(data, (x, at) => {
    const d = at % dim;
    if (d >= rotaryDim) return x;
    const s = Math.floor(at / dim) % seq;
    const b = Math.floor(at / (dim * seq * heads));
    const p = ids ? ids[b * seq + s] : s;
    const k = interleaved ? Math.floor(d / 2) : d % half;
    const second = interleaved ? d % 2 : Number(d >= half);
    const other = interleaved ? (second ? -1 : 1) : second ? -half : half;
    return cos[p * half + k] * x + (second ? 1 : -1) * sin[p * half + k] * data[at + other];
  });
}

// [batch, heads, seq, dim] -> [batch, seq, heads * dim]
function joined({ data, shape: [batch, heads, seq, dim] }) {
  const result = new data.constructor(data.length);
  for (let at = 0; at < data.length; at++) {
    const [d, s, h, b] = [at % dim, Math.floor(at / dim) % seq, Math.floor(at / dim / seq) % heads, Math.floor(at / dim / seq / heads)];
    result[((b * seq + s) * heads + h) * dim + d] = data[at];
  }
  return { data: result, shape: [batch, seq, heads * dim] };
}

eachVariant('rotary embedding: both layouts, every form of x, positions and tables', (attn) => {
  const next = random(3);
  const x = tensor([2, 3, 5, 8], next, Float64Array);
  for (const rotaryDim of [8, 6, 2])
    for (const interleaved of [false, true])
      for (const ids of [null, Int32Array.of(0, 1, 2, 3, 4, 9, 8, 7, 7, 0)]) {
        const { cos, sin } = attn.rotaryTables({ seqLen: 10, dim: rotaryDim });
        const want = { data: rotate(x, { cos: cos.data, sin: sin.data, ids, interleaved, rotaryDim }), shape: x.shape };
        const positionIds = ids && { data: ids, shape: [2, 5] };
        const options = { cos, sin, positionIds, interleaved, rotaryDim };
        const got = attn.rotaryEmbedding(x, options);
        assert.deepEqual(got.shape, x.shape);
        near(got.data, want.data, 1e-15, 'float64');
        const flat = attn.rotaryEmbedding(joined(x), { ...options, numHeads: 3 });
        assert.deepEqual(flat.shape, [2, 5, 24]);
        near(flat.data, joined(want).data, 1e-15, 'flat');
        const single = attn.rotaryEmbedding({ data: Float32Array.from(x.data), shape: x.shape }, options);
        assert.ok(single.data instanceof Float32Array);
        near(single.data, want.data, 4e-7, 'float32');
        if (ids) {
          const nested = [Array.from(ids.slice(0, 5)), Array.from(ids.slice(5))];
          assert.deepEqual(attn.rotaryEmbedding(x, { ...options, positionIds: nested }), got);
          assert.deepEqual(attn.rotaryEmbedding(x, { ...options, positionIds: { data: BigInt64Array.from(ids, BigInt), dims: [2, 5] } }), got);
          const gathered = ({ data }) => ({ data: Float64Array.from({ length: 5 * rotaryDim }, (_, i) => data[ids[Math.floor(i / (rotaryDim / 2))] * (rotaryDim / 2) + (i % (rotaryDim / 2))]), shape: [2, 5, rotaryDim / 2] });
          assert.deepEqual(attn.rotaryEmbedding(x, { ...options, cos: gathered(cos), sin: gathered(sin), positionIds: null }), got);
        }
      }
  const { cos, sin } = attn.rotaryTables({ seqLen: 3, dim: 2, theta: 5 });
  assert.deepEqual(cos.toNested(), [0, 1, 2].map((p) => [Math.cos(p)]));
  assert.deepEqual(attn.rotaryEmbedding([[3, 4], [3, 4]], { cos, sin }).shape, [2, 2]);
});

eachVariant('a layer with rotary embedding is linear, rotary, sdpa, linear', (attn) => {
  const next = random(4);
  const [batch, seq, embedDim, numHeads, numKvHeads] = [2, 7, 24, 4, 2];
  for (const rotary of [{}, { dim: 4, interleaved: true, theta: 500 }])
    for (const batchFirst of [true, false])
      for (const Type of [Float32Array, Float64Array]) {
        const layer = attn.multiHeadAttention({ embedDim, numHeads, numKvHeads, bias: false, rotary, batchFirst });
        const x = tensor([batch, seq, embedDim], next, Type);
        const swap = ({ data, shape: [a, b, c] }) => ({ data: Type.from(data, (_, at) => data[((Math.floor(at / c) % a) * b + Math.floor(at / c / a)) * c + (at % c)]), shape: [b, a, c] });
        const given = batchFirst ? x : swap(x);
        const state = layer.stateDict();
        const typed = (name) => ({ data: Type.from(state[name].data), shape: state[name].shape });
        const heads = (name, count) => {
          const flat = attn.linear(x, typed(name));
          return tensor([batch, count, seq, 6], (_, at) => {
            const [d, s, h, b] = [at % 6, Math.floor(at / 6) % seq, Math.floor(at / 6 / seq) % count, Math.floor(at / 6 / seq / count)];
            return flat.data[((b * seq + s) * count + h) * 6 + d];
          }, Type);
        };
        const { cos, sin } = attn.rotaryTables({ seqLen: seq, dim: rotary.dim ?? 6, theta: rotary.theta });
        const turn = (t) => attn.rotaryEmbedding(t, { cos, sin, interleaved: rotary.interleaved, rotaryDim: rotary.dim });
        const attended = attn.sdpa(turn(heads('q_proj_weight', numHeads)), turn(heads('k_proj_weight', numKvHeads)), heads('v_proj_weight', numKvHeads), { isCausal: true, returnWeights: true });
        const want = attn.linear(joined(attended.output), typed('out_proj.weight'));
        const got = layer.forward(given, null, null, { isCausal: true, averageAttnWeights: false });
        const tolerance = Type === Float32Array ? 2e-6 : 1e-14;
        near(got.output.data, (batchFirst ? want : swap(want)).data, tolerance, 'output');
        near(got.weights.data, attended.weights.data, tolerance, 'weights');
        // A longer sequence later, and a shorter one again.
        const longer = tensor([30, embedDim], next, Type);
        const fresh = attn.multiHeadAttention({ embedDim, numHeads, numKvHeads, bias: false, rotary, state });
        assert.deepEqual(layer.forward(longer), fresh.forward(longer));
        fresh.free();
        assert.deepEqual(layer.forward(given, null, null, { isCausal: true, averageAttnWeights: false }), got);
        layer.free();
      }
});

eachVariant('what is read off heads', (attn) => {
  const n = 8;
  const eye = tensor([n, n], (_, at) => Number(at % (n + 1) === 0));
  const even = tensor([n, n], () => 1 / n);
  const both = { data: Float32Array.of(...eye.data, ...even.data), shape: [1, 2, n, n] };
  const s = attn.headStatistics(both);
  assert.deepEqual(s.entropy.toNested(), [[0, 3]]);
  assert.deepEqual(s.diagonal.toNested(), [[1, 1 / 8]]);
  assert.deepEqual(s.previous.toNested(), [[0, 7 / 64]]);
  assert.deepEqual(s.first.toNested(), [[1 / 8, 1 / 8]]);
  assert.deepEqual(s.max.toNested(), [[1, 1 / 8]]);
  assert.deepEqual(s.distance.toNested(), [[0, 168 / 64]]);
  // Plain arrays, float64, memory of the engine, one matrix alone.
  assert.deepEqual(attn.headStatistics([[0.5, 0.5], [0.5, 0.5]]).entropy.toNested(), 1);
  assert.deepEqual(attn.headStatistics(attn.tensor(both.shape).set(both)), s);
  assert.deepEqual(attn.headStatistics({ data: Float64Array.from(both.data), dims: both.shape }), s);
  const last = [[0, 0, 0, 1]];
  assert.equal(attn.headStatistics(last).diagonal.toNested(), 0);
  assert.equal(attn.headStatistics(last, { causalAlign: 'bottom-right' }).diagonal.toNested(), 1);
});

eachVariant('rollout is the product of what the layers pass on', (attn) => {
  const next = random(5);
  const [batch, n] = [2, 6];
  const layers = [3, 2, 4].map((heads) => attn.softmax(tensor([batch, heads, n, n], () => 3 * next(), Float64Array)));
  for (const residual of [0.5, 0, 0.9])
    for (const headFusion of ['mean', 'max', 'min']) {
      const got = attn.rollout(layers, { residual, headFusion });
      assert.deepEqual(got.shape, [batch, n, n]);
      for (let b = 0; b < batch; b++) {
        let want = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Number(i === j)));
        for (const { data, shape: [, heads] } of layers) {
          const a = want.map((_, i) => want.map((_, j) => {
            const all = Array.from({ length: heads }, (_, h) => data[((b * heads + h) * n + i) * n + j]);
            const fused = headFusion === 'mean' ? all.reduce((x, y) => x + y) / heads : Math[headFusion](...all);
            return (1 - residual) * fused + residual * Number(i === j);
          }));
          const share = a.map((row) => row.map((x) => x / row.reduce((p, q) => p + q)));
          want = share.map((row) => want.map((_, d) => row.reduce((sum, x, j) => sum + x * want[j][d], 0)));
        }
        near(got.data.slice(b * n * n, (b + 1) * n * n), want.flat(), 1e-15, `${headFusion} ${residual}`);
        const alone = layers.map(({ data, shape: [, heads] }) => ({ data: Float32Array.from(data.slice(b * heads * n * n, (b + 1) * heads * n * n)), shape: [heads, n, n] }));
        near(attn.rollout(alone, { residual, headFusion }).data, want.flat(), 1e-7, 'one of the batch, from float32');
      }
    }
  assert.deepEqual(attn.rollout([layers[0]]), attn.rollout([layers[0]], { residual: 0.5, headFusion: 'mean' }));
});

// 1.5, the smallest subnormal, -infinity, 65504 and NaN
const BITS = Uint16Array.of(0x3e00, 0x0001, 0xfc00, 0x7bff, 0x7e00, 0x8000);
const VALUES = Float32Array.of(1.5, 2 ** -24, -Infinity, 65504, NaN, -0);

eachVariant('half precision becomes float32, exactly', (attn) => {
  for (const half of [
    { data: BITS, shape: [6], dtype: 'float16' },
    { data: BITS, dims: [6], type: 'float16' },
    { data: Uint16Array.of(0, ...BITS, 0).subarray(1, 7), dims: [6], type: 'float16' },
  ])
    assert.deepEqual(attn.tensor([6]).set(half).toTensor().data, VALUES);
  const x = { data: Uint16Array.of(0x3c00, 0x4000, 0x4200, 0x4400), shape: [2, 2], dtype: 'float16' };
  const floats = [[1, 2], [3, 4]];
  assert.deepEqual(attn.sdpa(x, x, x), attn.sdpa(floats, floats, floats));
  assert.deepEqual(attn.sdpa(x, floats, x, { attnMask: x }), attn.sdpa(floats, floats, floats, { attnMask: floats }));
  assert.deepEqual(attn.linear(x, x), attn.linear(floats, floats));
  assert.deepEqual(attn.attention({ ...x, data: x.data.subarray(0, 2), shape: [2] }, x, x), attn.attention([1, 2], floats, floats));
  assert.deepEqual(attn.softmax({ data: new Uint16Array(0), shape: [0], dtype: 'float16' }).shape, [0]);
  assert.throws(() => attn.sdpa(x, { data: new Float64Array(4), shape: [2, 2] }, x), { name: 'TypeError', message: /^key: expected float32 as query, got float64/ });
  assert.throws(() => attn.sdpa({ data: new Uint16Array(4), shape: [2, 2] }, x, x), { name: 'TypeError', message: /^query\.data: / });
  if (globalThis.Float16Array) {
    const native = Float16Array.from(VALUES);
    assert.deepEqual(attn.tensor([6]).set(native).toTensor().data, VALUES);
    assert.deepEqual(attn.softmax([Float16Array.of(1, 2), Float16Array.of(3, 4)]), attn.softmax(floats));
  }
});

eachVariant('rmsNorm divides each row by its root mean square, for any rank of x', (attn) => {
  const next = random(6);
  for (const Type of [Float32Array, Float64Array])
    for (const [lead, dim] of [[[], 1], [[1], 4], [[3], 7], [[2, 3, 2], 16], [[0, 2], 5]])
      for (const epsilon of [null, 0, 2]) {
        const [x, weight] = [tensor([...lead, dim], next, Type), tensor([dim], next, Type)];
        const want = Array.from(x.data, (value, at) => {
          const row = x.data.subarray(at - (at % dim), at - (at % dim) + dim);
          return (value / Math.sqrt(row.reduce((sum, e) => sum + e * e, 0) / dim + (epsilon ?? 1e-5))) * weight.data[at % dim];
        });
        const y = attn.rmsNorm(x, weight, { epsilon });
        assert.deepEqual(y.shape, x.shape);
        assert.ok(y.data instanceof Type);
        near(y.data, want, Type === Float32Array ? 2e-6 : 1e-14, `[${lead}] of ${dim}`);
      }
  assert.deepEqual(attn.rmsNorm([[0, 0], [3, -3]], [1, 2], { epsilon: 0 }).toNested(), [[0, 0], [1, -2]]);
});

eachVariant('swiglu is gate sigmoid(gate) up', (attn) => {
  const next = random(7);
  for (const Type of [Float32Array, Float64Array])
    for (const shape of [[], [1], [7], [2, 3, 4], [0, 3]]) {
      const [gate, up] = [tensor(shape, () => 20 * next(), Type), tensor(shape, next, Type)];
      const y = attn.swiglu(gate, up);
      assert.deepEqual(y.shape, shape);
      assert.ok(y.data instanceof Type);
      near(y.data, Array.from(gate.data, (g, i) => (g / (1 + Math.exp(-g))) * up.data[i]), Type === Float32Array ? 2e-5 : 1e-14, `swiglu of [${shape}]`);
    }
});

eachVariant('operators write where they are told to, in place where that is possible', (attn) => {
  const next = random(8);
  const [x, up, weight, w] = [[6, 8], [6, 8], [8], [4, 8]].map((shape) => attn.tensor(shape).set(tensor(shape, next)));
  const tables = attn.rotaryTables({ seqLen: 6, dim: 4 });
  const rotary = { ...tables, numHeads: 2 };
  const [like, y] = [attn.tensor([6, 8]), attn.tensor([6, 4])];
  const calls = [
    [y, (options) => attn.linear(x, w, null, options)],
    [like, (options) => attn.rmsNorm(x, weight, options)],
    [like, (options) => attn.swiglu(x, up, options)],
    [like, (options) => attn.rotaryEmbedding(x, { ...rotary, ...options })],
  ];
  for (const [out, call] of calls) {
    const want = call({});
    assert.equal(call({ out }), out);
    assert.deepEqual(out.toTensor(), want);
  }
  const before = x.toTensor();
  for (const [, call] of calls.slice(1)) {
    const want = call({});
    assert.equal(call({ out: x }), x);
    assert.deepEqual(x.toTensor(), want);
    x.set(before);
  }
  assert.throws(() => attn.linear(x, w, null, { out: like }), { name: 'RangeError', message: /^out: expected shape \[6, 4\]/ });
  assert.throws(() => attn.linear(attn.tensor([2, 2]), w, null, { out: y }), { name: 'RangeError', message: /^x\.shape/ });
  const square = attn.tensor([8, 8]);
  assert.throws(() => attn.linear(square, square, null, { out: square }), { name: 'TypeError', message: /^out: expected memory of its own/ });
  assert.throws(() => attn.rmsNorm(weight, weight, { out: weight }), { name: 'TypeError', message: /^out: expected memory of its own/ });
  assert.throws(() => attn.swiglu(Float64Array.of(1), [1], { out: attn.tensor([1]) }), { name: 'TypeError', message: /^out: expected no tensor in a float64 call/ });
  assert.throws(() => attn.swiglu([1], [1], { out: [1] }), { name: 'TypeError', message: /^out: expected a tensor of this engine/ });
});

const w = [[1, 2], [3, 4], [5, 6]];
const angles = { cos: [[1], [1]], sin: [[0], [0]] };
const REFUSED = [
  [(a) => a.linear([1, 2, 3], w), RangeError, /^x\.shape\[0\]: expected 2 \(inDim of weight\), got 3/],
  [(a) => a.linear([1, 2], [1, 2]), RangeError, /^weight: expected rank 2/],
  [(a) => a.linear([1, 2], w, [1, 2]), RangeError, /^bias\.shape\[0\]: expected 3/],
  [(a) => a.linear({ data: Float32Array.of(1), shape: [] }, w), RangeError, /^x: expected rank 1 or more/],
  [(a) => a.linear(Float64Array.of(1, 2), { data: new Float32Array(2), shape: [1, 2] }), TypeError, /^weight: expected float64/],
  [(a) => a.softmax([1, 2], { axis: 1 }), RangeError, /^axis: expected an integer from -1 to 0, got 1/],
  [(a) => a.softmax([1, 2], { axis: '0' }), TypeError, /^axis: /],
  [(a) => a.softmax([1, 2], { dim: 0 }), TypeError, /dim: no such option/],
  [(a) => a.softmax({ data: Float32Array.of(1), shape: [] }), RangeError, /^x: expected rank 1/],
  [(a) => a.softmax([true]), TypeError, /^x: expected numbers/],
  [(a) => a.rmsNorm([1, 2, 3], [1, 2]), RangeError, /^x\.shape\[0\]: expected 2 \(dim of weight\), got 3/],
  [(a) => a.rmsNorm([1, 2], w), RangeError, /^weight: expected rank 1/],
  [(a) => a.rmsNorm({ data: Float32Array.of(1), shape: [] }, [1]), RangeError, /^x: expected rank 1 or more/],
  [(a) => a.rmsNorm([], []), RangeError, /^weight\.shape\[0\]: expected at least 1/],
  [(a) => a.rmsNorm([1], [1], { epsilon: -1 }), RangeError, /^epsilon: /],
  [(a) => a.rmsNorm([1], [1], { epsilon: NaN }), RangeError, /^epsilon: /],
  [(a) => a.rmsNorm([1], [1], { eps: 1 }), TypeError, /eps: no such option/],
  [(a) => a.rmsNorm(Float64Array.of(1), Float32Array.of(1)), TypeError, /^weight: expected float64/],
  [(a) => a.swiglu([1, 2], [[1, 2]]), RangeError, /^up: expected shape \[2\] as gate, got \[1, 2\]/],
  [(a) => a.swiglu([1], 'up'), TypeError, /^up: /],
  [(a) => a.rotaryEmbedding(w, {}), TypeError, /^cos: /],
  [(a) => a.rotaryEmbedding(w, angles), RangeError, /^cos: expected at least 3 positions/],
  [(a) => a.rotaryEmbedding([1, 2], angles), RangeError, /^x: expected rank 4 or 3 or 2/],
  [(a) => a.rotaryEmbedding([[1, 2, 3]], angles), RangeError, /^rotaryDim: expected an even number, got 3/],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, rotaryDim: 4 }), RangeError, /^rotaryDim: expected an integer from 2 to 2, got 4/],
  [(a) => a.rotaryEmbedding([[1, 2, 3, 4]], angles), RangeError, /^cos\.shape\[1\]: expected 2 \(rotaryDim \/ 2\), got 1/],
  [(a) => a.rotaryEmbedding([[1, 2]], { cos: [[1], [1]], sin: [[0]] }), RangeError, /^sin\.shape\[0\]: expected 2/],
  [(a) => a.rotaryEmbedding([[1, 2, 3]], { ...angles, numHeads: 2 }), RangeError, /^x: expected a multiple of 2 columns/],
  [(a) => a.rotaryEmbedding([[[[1, 2]]]], { ...angles, numHeads: 2 }), RangeError, /^x\.shape\[1\]: expected 2/],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, positionIds: [[2]] }), RangeError, /^positionIds\[0\]\[0\]: expected an integer from 0 to 1, got 2/],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, positionIds: [[0, 1]] }), RangeError, /^positionIds\[0\]: expected 1 elements \(seq of x\), got 2/],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, positionIds: [[0], [1]] }), RangeError, /^positionIds: expected 1 elements \(batch of x\), got 2/],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, positionIds: { data: [0, 1], shape: [1, 1] } }), RangeError, /^positionIds\.data: /],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, positionIds: 'all' }), TypeError, /^positionIds: /],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, positionIds: [0] }), TypeError, /^positionIds\[0\]: expected an array of integers/],
  [(a) => a.rotaryEmbedding([[1, 2]], { ...angles, interleaved: 1 }), TypeError, /^interleaved: /],
  [(a) => a.rotaryTables({ seqLen: 2, dim: 3 }), RangeError, /^dim: expected an even number/],
  [(a) => a.rotaryTables({ seqLen: 0, dim: 2 }), RangeError, /^seqLen: /],
  [(a) => a.rotaryTables({ seqLen: 2, dim: 2, theta: 0 }), RangeError, /^theta: /],
  [(a) => a.rotaryTables({ seqLen: 2, dim: 2, theta: '1' }), TypeError, /^theta: /],
  [(a) => a.multiHeadAttention({ embedDim: 8, numHeads: 2, rotary: { dim: 6 } }), RangeError, /^rotary\.dim: expected an integer from 2 to 4, got 6/],
  [(a) => a.multiHeadAttention({ embedDim: 8, numHeads: 2, rotary: { dim: 3 } }), RangeError, /^rotary\.dim: expected an even number/],
  [(a) => a.multiHeadAttention({ embedDim: 8, numHeads: 2, rotary: { theta: -1 } }), RangeError, /theta: /],
  [(a) => a.multiHeadAttention({ embedDim: 8, numHeads: 2, rotary: { base: 1 } }), TypeError, /^rotary\.base: no such option/],
  [(a) => a.headStatistics([1, 2]), RangeError, /^weights: expected rank 2 or more/],
  [(a) => a.headStatistics(w, { causalAlign: 'left' }), TypeError, /^causalAlign: /],
  [(a) => a.rollout([]), RangeError, /^weightsPerLayer: expected at least one layer/],
  [(a) => a.rollout(w[0]), TypeError, /^weightsPerLayer\[0\]: /],
  [(a) => a.rollout([w]), RangeError, /^weightsPerLayer\[0\]: expected rank 4 or 3/],
  [(a) => a.rollout([[[[1, 0], [0, 1]]], [[[1]]]]), RangeError, /^weightsPerLayer\[1\]\.shape\[\d\]: /],
  [(a) => a.rollout([[[[1]]]], { residual: 2 }), RangeError, /^residual: expected a number from 0 to 1, got 2/],
  [(a) => a.rollout([[[[1]]]], { headFusion: 'sum' }), TypeError, /^headFusion: /],
];

eachVariant('what does not fit is refused by name', (attn) => {
  const before = attn.linear([1, 2], w);
  for (const [call, { name }, message] of REFUSED) assert.throws(() => call(attn), { name, message }, `${call}`);
  assert.deepEqual(attn.linear([1, 2], w), before);
});
