// The classical scores, each as its paper writes it, and every term of one row.

import assert from 'node:assert/strict';

import { eachVariant, random, tensor } from './each_variant.js';
import { near } from './oracle.js';

const row = ({ data, shape }, r) => Array.from(data.slice(r * shape.at(-1), (r + 1) * shape.at(-1)));
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const times = (w, x) => Array.from({ length: w.shape[0] }, (_, r) => dot(row(w, r), x));
const sum = (a, b) => a.map((x, i) => x + b[i]);

// score(q, k): of one query and one key, by the formulas of index.d.ts.
function scoreOf({ score, wQuery, wKey, w, v, scale }) {
  const inner = {
    dot: (q, k) => dot(q, k),
    'scaled-dot': (q, k) => dot(q, k) / (scale === undefined ? Math.sqrt(q.length) : 1),
    general: (q, k) => dot(q, times(w, k)),
    additive: (q, k) => dot(v ? v.data : q.map(() => 1), sum(q, k).map(Math.tanh)),
    concat: (q, k) => dot(v ? v.data : new Array(w.shape[0]).fill(1), times(w, [...q, ...k]).map(Math.tanh)),
  }[score];
  return (q, k) => (scale ?? 1) * inner(wQuery ? times(wQuery, q) : q, wKey ? times(wKey, k) : k);
}

// What sdpa's reference makes of these scores: as its mask, with scale 0.
function expected(attn, query, key, value, { score, wQuery, wKey, w, v, scale, attnMask, ...options }) {
  const [batch, seqLenQ] = query.shape;
  const seqLenKv = key.shape[1];
  const of = scoreOf({ score, wQuery, wKey, w, v, scale });
  const area = seqLenQ * seqLenKv;
  const scores = tensor([batch, seqLenQ, seqLenKv], (_, at) => {
    const [b, i, j] = [Math.floor(at / area), Math.floor(at / seqLenKv) % seqLenQ, at % seqLenKv];
    const m = attnMask ? attnMask.data[at % attnMask.data.length] : 0;
    return of(row(query, b * seqLenQ + i), row(key, b * seqLenKv + j)) + m;
  }, Float64Array);
  const zeros = (length) => tensor([batch, length, 1], () => 0, Float64Array);
  return attn.sdpa(zeros(seqLenQ), zeros(seqLenKv), { data: Float64Array.from(value.data), shape: value.shape },
    { ...options, scale: 0, attnMask: scores, returnWeights: true, returnScores: 'masked', returnLogsumexp: true });
}

const matrix = (rows, columns, next, Type) => tensor([rows, columns], next, Type);

eachVariant('every score is its formula, with and without projections, under every limit', (attn) => {
  const next = random(21);
  const [batch, dimV] = [2, 3];
  const all = { returnWeights: true, returnScores: 'masked', returnLogsumexp: true };
  for (const Type of [Float64Array, Float32Array])
    for (const score of ['dot', 'scaled-dot', 'general', 'additive', 'concat'])
      for (const projected of [false, true])
        for (const [seqLenQ, seqLenKv] of [[1, 5], [7, 4], [9, 70]]) {
          const alike = !projected && ['dot', 'scaled-dot', 'additive'].includes(score);
          const [dimQ, dimK] = alike ? [6, 6] : [6, 5];
          const query = tensor([batch, seqLenQ, dimQ], next, Type);
          const key = tensor([batch, seqLenKv, dimK], next, Type);
          const value = tensor([batch, seqLenKv, dimV], next, Type);
          const [cq, ck] = projected ? [9, ['general', 'concat'].includes(score) ? 8 : 9] : [dimQ, dimK];
          const parameters = { score, ...(projected && { wQuery: matrix(cq, dimQ, next, Type), wKey: matrix(ck, dimK, next, Type) }) };
          if (score === 'general') parameters.w = matrix(cq, ck, next, Type);
          if (score === 'concat') parameters.w = matrix(4, cq + ck, next, Type);
          for (const limits of [
            {}, { isCausal: true, causalAlign: 'bottom-right' }, { kvLengths: [seqLenKv - 1, 0] }, { window: { left: 2, right: 1 } },
            { attnMask: tensor([seqLenQ, seqLenKv], next, Type), scale: 0.5 },
            score === 'additive' || score === 'concat' ? { v: tensor([score === 'concat' ? 4 : cq], next, Type), scale: -2 } : { scale: 0 },
          ]) {
            const options = { ...parameters, ...limits };
            const want = expected(attn, query, key, value, options);
            const got = attn.scoreAttention(query, key, value, { ...options, ...all });
            const name = `${score} ${Type.name} ${seqLenQ} x ${seqLenKv} ${Object.keys(limits)}`;
            assert.ok(got.output.data instanceof Type, name);
            for (const result of ['output', 'weights', 'scores', 'logsumexp']) {
              assert.deepEqual(got[result].shape, want[result].shape, name);
              near(got[result].data, want[result].data, Type === Float64Array ? 1e-12 : 2e-5, `${result} of ${name}`);
            }
          }
        }
});

eachVariant('scoreAttention: ranks, plain numbers, memory of the engine', (attn) => {
  const next = random(22);
  const query = tensor([1, 3, 4], next);
  const key = tensor([1, 5, 4], next);
  const value = tensor([1, 5, 2], next);
  const flat = ({ data, shape }) => ({ data, shape: shape.slice(1) });
  const nested = (x) => Array.from({ length: x.shape.at(-2) }, (_, r) => row(x, r));
  for (const options of [{ score: 'dot' }, { score: 'additive', v: [1, -1, 2, 0.5], wQuery: nested(tensor([4, 4], next)) }]) {
    const want = attn.scoreAttention(query, key, value, options);
    assert.deepEqual(want.weights, null);
    const two = attn.scoreAttention(flat(query), flat(key), flat(value), options).output;
    assert.deepEqual(two.data, want.output.data);
    assert.deepEqual(two.shape, [3, 2]);
    const four = [query, key, value].map(({ data, shape: [b, s, d] }) => ({ data, shape: [b, 1, s, d] }));
    assert.deepEqual(attn.scoreAttention(...four, options).output.data, want.output.data);
    assert.deepEqual(attn.scoreAttention(nested(query), nested(key), nested(value), options).output, two);
    const inEngine = [query, key, value].map(({ data, shape }) => attn.tensor(shape).set(data));
    assert.deepEqual(attn.scoreAttention(...inEngine, options), want);
    const out = attn.tensor([1, 3, 2]);
    assert.equal(attn.scoreAttention(query, key, value, { ...options, out }).output, out);
    assert.deepEqual(out.toTensor().data, want.output.data);
    // Plain numbers become what the others are: float64 here, and nothing on the way is rounded to float32.
    const doubles = (x) => ({ data: Float64Array.from(x.data), shape: x.shape });
    const mixed = attn.scoreAttention(nested(query), flat(doubles(key)), nested(value), options).output;
    assert.deepEqual(mixed, attn.scoreAttention(...[query, key, value].map((x) => flat(doubles(x))), options).output);
  }
});

eachVariant('additive attention takes no memory for every query, key and column', (attn) => {
  const [seqLenQ, seqLenKv, dim] = [256, 512, 64];
  const next = random(23);
  const before = attn.memoryBytes;
  attn.scoreAttention(tensor([1, seqLenQ, dim], next), tensor([1, seqLenKv, dim], next), tensor([1, seqLenKv, dim], next), { score: 'additive' });
  assert.ok(attn.memoryBytes - before < 4 * seqLenQ * seqLenKv * dim / 4, `${attn.memoryBytes - before} bytes more`);
});

// The slope of the loss sum(gradOutput * output) along one element, by differences in float64.
function slope(attn, inputs, options, gradOutput, data, at) {
  const loss = () => dot(Array.from(attn.scoreAttention(...inputs, options).output.data), gradOutput.data);
  const h = 1e-5;
  const was = data[at];
  data[at] = was + h;
  const above = loss();
  data[at] = was - h;
  const below = loss();
  data[at] = was;
  return (above - below) / (2 * h);
}

eachVariant('gradients of every score are the slopes of the loss', (attn) => {
  const next = random(25);
  for (const score of ['dot', 'scaled-dot', 'general', 'additive', 'concat'])
    for (const projected of [false, true]) {
      const f64 = (...shape) => tensor(shape, next, Float64Array);
      const [query, key, value] = [f64(2, 3, 4), f64(2, 5, 4), f64(2, 5, 2)];
      const options = { score, attnMask: f64(3, 5), kvLengths: [5, 3], softcap: projected ? 2 : 0, scale: -0.75 };
      const [cq, ck] = projected ? [3, score === 'general' || score === 'concat' ? 2 : 3] : [4, 4];
      if (projected) Object.assign(options, { wQuery: f64(cq, 4), wKey: f64(ck, 4) });
      if (score === 'general') options.w = f64(cq, ck);
      if (score === 'concat') options.w = f64(6, cq + ck);
      if (score === 'concat' || (score === 'additive' && projected)) options.v = f64(score === 'concat' ? 6 : cq);
      const inputs = [query, key, value];
      const gradOutput = f64(2, 3, 2);
      const gradients = attn.scoreAttentionBackward(gradOutput, ...inputs, options);
      const named = { gradQuery: query, gradKey: key, gradValue: value, gradWQuery: options.wQuery, gradWKey: options.wKey, gradW: options.w, gradV: options.v, gradAttnMask: options.attnMask };
      assert.deepEqual(Object.keys(gradients).sort(), [...Object.keys(named), 'gradScale'].sort());
      for (const [name, tensor] of Object.entries(named)) {
        if (!tensor) { assert.equal(gradients[name], null, `${name} of ${score}`); continue; }
        assert.deepEqual(gradients[name].shape, tensor.shape);
        const slopes = Array.from(tensor.data, (_, at) => slope(attn, inputs, options, gradOutput, tensor.data, at));
        near(gradients[name].data, slopes, 1e-8, `${name} of ${score}`);
      }
      const scale = { get 0() { return options.scale; }, set 0(x) { options.scale = x; } };
      near([gradients.gradScale], [slope(attn, inputs, options, gradOutput, scale, 0)], 1e-8, `gradScale of ${score}`);
      // float32, with the same numbers; and where the scale is 0 it still has a slope.
      const single = (x) => x?.data ? { data: Float32Array.from(x.data), shape: x.shape } : x;
      const singles = Object.fromEntries(Object.entries(options).map(([name, x]) => [name, single(x)]));
      const rounded = attn.scoreAttentionBackward(single(gradOutput), ...inputs.map(single), singles);
      for (const [name, tensor] of Object.entries(named))
        if (tensor) {
          assert.ok(rounded[name].data instanceof Float32Array, name);
          near(rounded[name].data, gradients[name].data, 1e-5, `float32 ${name} of ${score}`);
        }
      const none = { ...options, scale: 0 };
      const zero = { get 0() { return none.scale; }, set 0(x) { none.scale = x; } };
      near([attn.scoreAttentionBackward(gradOutput, ...inputs, none).gradScale], [slope(attn, inputs, none, gradOutput, zero, 0)], 1e-8, `gradScale of ${score} at 0`);
    }
});

const rows = [[1, 2], [3, 4]];
const REFUSED = [
  [(a) => a.scoreAttention(rows, rows, rows), TypeError, /^score: expected 'dot', 'scaled-dot'/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'cosine' }), TypeError, /^score: .*"cosine"/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'dot', wquery: rows }), TypeError, /wquery: no such option; there are score, wQuery/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'dot', w: rows }), TypeError, /^w: score 'dot' has no such parameter/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'general', v: [1, 2] }), TypeError, /^v: score 'general' has no/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'general' }), TypeError, /^w: expected a matrix/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'general', w: [[1, 2]] }), RangeError, /^w\.shape\[0\]: expected 2 \(columns of query\), got 1/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'concat', w: rows }), RangeError, /^w\.shape\[1\]: expected 4 /],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'additive', v: [1] }), RangeError, /^v\.shape\[0\]: expected 2 \(attnDim\), got 1/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'additive', wKey: [[1, 2]] }), RangeError, /^key\.shape\[1\]: expected 2/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'dot', wQuery: [[1]] }), RangeError, /^wQuery\.shape\[1\]: expected 2 \(columns of query\), got 1/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'dot', wQuery: [1] }), RangeError, /^wQuery: expected rank 2/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'dot', scale: NaN }), RangeError, /^scale: /],
  [(a) => a.scoreAttention(rows, rows, [[1]], { score: 'additive' }), RangeError, /^value\.shape\[0\]: /],
  [(a) => a.scoreAttention([1, 2], rows, rows, { score: 'additive' }), RangeError, /^query: expected rank 4/],
  [(a) => a.scoreAttention(rows, rows, rows, { score: 'additive', v: { data: new Float64Array(2), shape: [2] }, wQuery: { data: new Float32Array(4), shape: [2, 2] } }), TypeError, /^v: expected float32 as wQuery/],
  [(a) => a.scoreAttentionBackward(rows, rows, rows, rows, { score: 'dot', returnWeights: true }), TypeError, /returnWeights: no such option/],
  [(a) => a.scoreAttentionBackward([[1]], rows, rows, rows, { score: 'dot' }), RangeError, /^gradOutput: expected shape \[2, 2\]/],
  [(a) => a.scoreAttentionBackward([[1]], rows, rows, rows, { score: 'additive' }), RangeError, /^gradOutput: expected shape \[2, 2\]/],
  [(a) => a.explain(rows, rows, rows), TypeError, /^row: expected an integer, got undefined/],
  [(a) => a.explain(rows, rows, rows, { row: 2 }), RangeError, /^row: expected an integer from 0 to 1, got 2/],
  [(a) => a.explain(rows, rows, rows, { row: 0, head: 1 }), RangeError, /^head: /],
  [(a) => a.explain(rows, rows, rows, { row: 0, batch: -1 }), RangeError, /^batch: /],
  [(a) => a.explain(rows, rows, rows, { row: 0, returnWeights: true }), TypeError, /returnWeights: no such option/],
  [(a) => a.explain(rows, rows, rows, { row: 0, products: 1 }), TypeError, /^products: /],
];

eachVariant('scores and explanations that do not fit are refused by name', (attn) => {
  const before = attn.sdpa(rows, rows, rows);
  for (const [call, { name }, message] of REFUSED) assert.throws(() => call(attn), { name, message }, `${call}`);
  assert.deepEqual(attn.sdpa(rows, rows, rows), before);
});

eachVariant('explain tells the numbers of the float64 call, to the last bit', (attn) => {
  const next = random(24);
  const [batch, heads, kvHeads, seqLenQ, seqLenKv, dim, dimV] = [2, 4, 2, 3, 9, 5, 6];
  const query = tensor([batch, heads, seqLenQ, dim], next, Float64Array);
  const key = tensor([batch, kvHeads, seqLenKv, dim], next, Float64Array);
  const value = tensor([batch, kvHeads, seqLenKv, dimV], next, Float64Array);
  for (const options of [
    {}, { isCausal: true, causalAlign: 'bottom-right', softcap: 2 }, { kvLengths: [0, 7], alibiSlopes: [1, 0.5, 0.25, 2] },
    { attnMask: tensor([seqLenQ, seqLenKv], () => (next() > 0 ? -Infinity : next())), scale: 400, window: { left: 1 } },
  ]) {
    const wanted = { returnWeights: true, returnLogsumexp: true };
    const stages = ['raw', 'softcapped', 'masked'].map((returnScores) => attn.sdpa(query, key, value, { ...options, ...wanted, returnScores }));
    for (let place = 0; place < batch * heads * seqLenQ; place++) {
      const [b, head, i] = [Math.floor(place / seqLenQ / heads), Math.floor(place / seqLenQ) % heads, place % seqLenQ];
      const told = attn.explain(query, key, value, { ...options, batch: b, head, row: i, products: place % 2 === 0 });
      assert.deepEqual([told.scaled, told.softcapped, told.scores].map((x) => Array.from(x)), stages.map(({ scores }) => row(scores, place)));
      assert.deepEqual(Array.from(told.weights), row(stages[0].weights, place));
      assert.deepEqual(Array.from(told.output), row(stages[0].output, place));
      assert.equal(told.logsumexp, stages[0].logsumexp.data[place]);
      assert.deepEqual(Array.from(told.visible), Array.from(told.scores, (s) => Number(s !== -Infinity)));
      assert.equal(told.max, Math.max(...told.scores));
      assert.deepEqual(told.weighted.shape, [seqLenKv, dimV]);
      if (place % 2) assert.equal(told.products, null);
      else assert.deepEqual(told.products.shape, [seqLenKv, dim]);
      told.exponentials.forEach((e, j) => assert.equal(told.weights[j], told.sum ? e / told.sum : 0));
    }
  }
});

eachVariant('explain takes what sdpa takes', (attn) => {
  const single = { data: Float32Array.of(1, 2, 3, 4), shape: [2, 2] };
  const told = attn.explain(single, [[1, 0], [0, 1]], attn.tensor([2, 3]).set([[1, 2, 3], [4, 5, 6]]), { row: 1, scale: 1, products: true });
  assert.deepEqual(told.products.toNested(), [[3, 0], [0, 4]]);
  assert.deepEqual(told.dots, Float64Array.of(3, 4));
  assert.equal(told.shift, 0);
  assert.equal(told.weights[1], Math.exp(4) / (Math.exp(3) + Math.exp(4)));
  const none = attn.explain(single, tensor([0, 2], () => 0), tensor([0, 3], () => 0), { row: 0 });
  assert.deepEqual([none.dots.length, none.max, none.sum, none.logsumexp], [0, -Infinity, 0, -Infinity]);
  assert.deepEqual(none.output, new Float64Array(3));
});
