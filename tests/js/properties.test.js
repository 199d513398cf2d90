// What must hold for every input: the float32 paths against the float64 reference, extremes included, and what may be done
// to a call without changing its result. Seeded; SPOTLIGHT_SEED draws others. What once failed is in FOUND below.
//
// How far float32 may be off, u = 2^-24: a score by d = u ((headDim + 8) |scale| sum |q k| + 8 (softcap + |slope| distance +
// |mask| + |score|)), so a weight by a factor of e^(2 max d) and (seqLenKv + 32) u from summing and exp, and an output by
// the sum of its weights' errors. Weights below 2^-99 of the largest may be 0, and values below 2^-86 of it, too.

import assert from 'node:assert/strict';
import fc from 'fast-check';

import { eachVariant as each, random } from './each_variant.js';

// Calls this small would never see a second thread.
const eachVariant = (name, spec) => each(name, spec, { sharing: true });

const RUNS = 400;
const SEED = Number(process.env.SPOTLIGHT_SEED ?? 20140901); // the day of "Neural Machine Translation by Jointly Learning to Align and Translate"
const U = 2 ** -24;
const TINY = 2 ** -99;
// Tiny values are worked on in scaled copies; there what is below 2^-86 of a head's largest is cut.
const floor = ({ data }) => 2 ** -84 * data.reduce((max, x) => (Number.isFinite(x) ? Math.max(max, Math.abs(x)) : max), 0) + 2 ** -126;

const check = (property, numRuns = RUNS) => fc.assert(property, { numRuns, seed: SEED, includeErrorInReport: true });
const maybe = (arbitrary, freq = 2) => fc.option(arbitrary, { nil: null, freq });

// Calls, as plain objects that can be pasted into FOUND

const length = (max) => fc.oneof(fc.constantFrom(1, 2, 7, 8, 9), fc.integer({ min: 1, max }));
const VALUES = ['ordinary', 'huge', 'subnormal', 'nan', 'infinite', 'zero', 'mixed'];
const calls = fc.record({
  seed: fc.nat(1e6),
  batch: fc.integer({ min: 1, max: 2 }),
  numKvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  seqLenQ: fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, { weight: 30, arbitrary: length(40) }),
  seqLenKv: fc.oneof(fc.constant(0), length(130)),
  headDim: length(40),
  headDimV: length(20),
  query: fc.constantFrom(...VALUES),
  key: fc.constantFrom(...VALUES),
  value: fc.constantFrom(...VALUES),
  scale: maybe(fc.constantFrom(0, 1, -0.5)),
  softcap: fc.constantFrom(0, 0, 3),
  isCausal: fc.boolean(),
  causalAlign: fc.constantFrom('top-left', 'bottom-right'),
  window: maybe(fc.record({ left: maybe(fc.nat(20)), right: maybe(fc.nat(20)) }), 3),
  mask: fc.constantFrom('none', 'none', 'bool', 'add', 'hides all', 'hides rows'),
  alibi: fc.boolean(),
  kvLengths: fc.boolean(),
});

const some = { ordinary: (next) => next(), huge: (next) => 100 * next(), subnormal: (next) => next() * 2 ** -130, zero: () => 0 };
const rare = { nan: () => NaN, infinite: (next) => (next() > 0 ? Infinity : -Infinity) };
const SPECIALS = [0, -0, 1, -1e4, 100, 2 ** -100, -(2 ** -110), 2 ** -70, 1e-20];

// Numbers of float32, in a Float64Array.
function numbers(kind, shape, next) {
  const draw = some[kind] ?? (kind === 'mixed' ? () => SPECIALS[Math.floor((next() + 1) / 2 * SPECIALS.length)] : null);
  const data = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
    Math.fround(draw ? draw(next) : next() > 0.97 ? rare[kind](next) : next()));
  return { data, shape };
}

// build(call) -> { q, k, v, options }, float64, with attnMask and lengths as plain values.
function build(call) {
  const next = random(call.seed);
  for (let i = 0; i < 10; i++) next();
  const { batch, numKvHeads, group, seqLenQ, seqLenKv, headDim, headDimV } = call;
  const heads = numKvHeads * group;
  // Half of the smallest float32 is 0, and 0 times infinity NaN: the one thing that float32 cannot do as float64 does.
  const other = (kind, partner) => (kind === 'subnormal' && partner === 'infinite' ? 'ordinary' : kind);
  const q = numbers(other(call.query, call.key), [batch, heads, seqLenQ, headDim], next);
  const k = numbers(other(call.key, call.query), [batch, numKvHeads, seqLenKv, headDim], next);
  const v = numbers(call.value, [batch, numKvHeads, seqLenKv, headDimV], next);
  const options = { scale: call.scale, softcap: call.softcap, isCausal: call.isCausal, causalAlign: call.causalAlign, window: call.window };
  const shape = [batch, heads, seqLenQ, seqLenKv];
  const area = { length: shape.reduce((a, b) => a * b, 1) };
  if (call.mask === 'bool') options.attnMask = { data: Uint8Array.from(area, () => next() > -0.3), shape };
  if (call.mask === 'add') options.attnMask = { data: Float64Array.from(area, () => (next() > 0.6 ? -Infinity : Math.fround(next() > 0.8 ? 1e4 * next() : next()))), shape };
  if (call.mask === 'hides all') options.attnMask = { data: new Uint8Array(area.length), shape };
  if (call.mask === 'hides rows') options.attnMask = { data: Float64Array.from(area, (_, at) => (Math.floor(at / seqLenKv) % 2 ? -Infinity : 0)), shape };
  if (call.alibi) options.alibiSlopes = Array.from({ length: heads }, (_, h) => 2 ** -(h + 1));
  if (call.kvLengths) options.kvLengths = Array.from({ length: batch }, () => Math.floor(((next() + 1) / 2) * (seqLenKv + 1)));
  return { q, k, v, options };
}

const single = ({ data, shape }) => ({ data: data instanceof Float64Array ? Float32Array.from(data) : data, shape });
const ALL = { returnWeights: true, returnLogsumexp: true };
const REFERENCE = { ...ALL, returnScores: 'masked' };
// run(attn, { q, k, v, options }, more): in float32.
const run = (attn, { q, k, v, options }, more) =>
  attn.sdpa(single(q), single(k), single(v), { ...options, ...(options.attnMask && { attnMask: single(options.attnMask) }), ...more });
const exact = (attn, { q, k, v, options }, more) => attn.sdpa(q, k, v, { ...options, ...more });

// Comparing with the reference

// tolerances(inputs, reference) -> { output, weights, logsumexp }: how far each float32 result may be from the reference's.
function tolerances({ q, k, v, options }, want, lost = floor(v)) {
  const [batch, heads, seqLenQ, headDim] = q.shape;
  const [, numKvHeads, seqLenKv, headDimV] = v.shape;
  const scale = Math.abs(options.scale ?? 1 / Math.sqrt(headDim));
  const result = { output: [], weights: [], logsumexp: [] };
  for (let row = 0; row < batch * heads * seqLenQ; row++) {
    const kvHead = Math.floor(row / seqLenQ / heads) * numKvHeads + Math.floor((Math.floor(row / seqLenQ) % heads) / (heads / numKvHeads));
    const slope = options.alibiSlopes?.[Math.floor(row / seqLenQ) % heads] ?? 0;
    const lse = want.logsumexp.data[row];
    let off = 0;
    for (let j = 0; j < seqLenKv; j++) {
      const at = row * seqLenKv + j;
      const score = Math.abs(want.scores.data[at]);
      if (!Number.isFinite(score)) continue;
      let size = 0;
      for (let d = 0; d < headDim; d++) size += Math.abs(q.data[row * headDim + d] * k.data[(kvHead * seqLenKv + j) * headDim + d]);
      // Of a sum that is infinite and capped the sign is all that counts.
      const product = size === Infinity ? 0 : U * (headDim + 8) * scale * size;
      const mask = options.attnMask?.data instanceof Float64Array ? Math.abs(options.attnMask.data[at]) : 0;
      const steps = 8 * U * (options.softcap + slope * (seqLenQ + seqLenKv) + mask + score + Math.abs(lse));
      off = Math.max(off, (options.softcap > 0 ? Math.min(product, 2 * options.softcap) : product) + steps);
    }
    // Where scores are so large that their last digit decides, any key may win.
    const relative = Math.expm1(2 * off) + (seqLenKv + 32) * U;
    const share = (w) => (relative < 1e6 ? Math.min(1, w * relative) : 1) + TINY;
    const weight = Array.from({ length: seqLenKv }, (_, j) => (want.scores.data[row * seqLenKv + j] === -Infinity ? 0 : share(want.weights.data[row * seqLenKv + j])));
    result.weights.push(...weight);
    result.logsumexp.push(off + (seqLenKv + 32 + 4 * Math.abs(lse)) * U);
    for (let d = 0; d < headDimV; d++) {
      let sum = lost;
      for (let j = 0; j < seqLenKv; j++)
        if (weight[j] > 0) sum += weight[j] * Math.abs(v.data[(kvHead * seqLenKv + j) * headDimV + d]);
      result.output.push(sum);
    }
  }
  return result;
}

// near(got, want, allowed, what): NaN where NaN, infinities alike. A weight that is 0 in float32 and 1e-40 in float64 makes NaN of
// an infinite value in one and infinity in the other: where the reference is not finite, `loose` asks for no more.
function near(got, want, allowed, what, loose = false) {
  assert.equal(got.length, want.length, what);
  for (let i = 0; i < want.length; i++) {
    if (Object.is(got[i], want[i]) || Math.abs(got[i] - want[i]) <= allowed[i]) continue;
    if (loose && !Number.isFinite(want[i]) && !Number.isFinite(got[i])) continue;
    throw new Error(`${what}[${i}]: ${want[i]} wanted, ${got[i]} came, off by ${Math.abs(got[i] - want[i])}, allowed ${allowed[i]}`);
  }
}

const NAMES = ['output', 'weights', 'logsumexp'];

function agrees(attn, call) {
  const inputs = build(call);
  const want = exact(attn, inputs, REFERENCE);
  const allowed = tolerances(inputs, want);
  const got = run(attn, inputs, ALL);
  const fused = run(attn, inputs, { returnLogsumexp: true });
  for (const name of NAMES) near(got[name].data, want[name].data, allowed[name], name, name === 'output');
  near(fused.output.data, want.output.data, allowed.output, 'output without weights', true);
  near(fused.logsumexp.data, want.logsumexp.data, allowed.logsumexp, 'logsumexp without weights');
}

// Calls that failed once, as fast-check shrank them.
const plain = {
  seed: 0, batch: 1, numKvHeads: 1, group: 1, seqLenQ: 1, seqLenKv: 1, headDim: 1, headDimV: 1, query: 'ordinary', key: 'ordinary', value: 'ordinary',
  scale: null, softcap: 0, isCausal: false, causalAlign: 'top-left', window: null, mask: 'none', alibi: false, kvLengths: false,
};
const FOUND = {
  'the weight of a key that is not seen is 0 in a row of NaN, too': { ...plain, seqLenQ: 9, seqLenKv: 4, headDim: 17, query: 'infinite', isCausal: true },
  'an infinite query makes infinity of tiny keys, not NaN': { ...plain, seqLenQ: 27, headDim: 7, query: 'infinite', key: 'mixed' },
  'an infinite query makes infinity of tiny keys, not NaN, when there are few queries': { ...plain, seed: 40, seqLenQ: 2, headDim: 8, query: 'infinite', key: 'mixed' },
};

for (const [name, call] of Object.entries(FOUND)) eachVariant(`found: ${name}`, (attn) => agrees(attn, call));

eachVariant('float32 agrees with the float64 reference, whatever the numbers and options', (attn) => {
  check(fc.property(calls, (call) => agrees(attn, call)), 3 * RUNS);
});

// What many programs hide keys with. To the score it is as infinity, but a row of nothing else is an ordinary row.
const LEAST = -3.4028234663852886e38;

eachVariant('masks of the most negative float, and of any other, give what float64 gives', (attn) => {
  const numbersOf = [LEAST, -LEAST, LEAST / 1.1, LEAST / 2, -LEAST / 1.5, -1e30, 0, -Infinity];
  check(fc.property(calls, fc.nat(1e6), fc.nat(numbersOf.length), (call, seed, kinds) => {
    const inputs = build({ ...call, query: 'ordinary', key: 'ordinary', value: 'ordinary', mask: 'none', alibi: false });
    const next = random(seed);
    const shape = [call.seqLenQ, call.seqLenKv];
    // Rows of one number, rows of two, and rows of anything.
    const rows = Array.from({ length: call.seqLenQ }, () => Array.from({ length: 1 + Math.floor(((next() + 1) / 2) * 3) }, () => numbersOf[Math.floor(((next() + 1) / 2) * Math.max(1, kinds))]));
    const data = Float64Array.from({ length: shape[0] * shape[1] }, (_, at) => { const row = rows[Math.floor(at / shape[1])]; return row[Math.floor(((next() + 1) / 2) * row.length)]; });
    inputs.options.attnMask = { data, shape };
    const want = exact(attn, inputs, ALL);
    for (const more of [ALL, { returnLogsumexp: true }]) {
      const got = run(attn, inputs, more);
      for (const name of NAMES) if (got[name]) near(got[name].data, want[name].data, want[name].data.map((x) => 1e-5 + 1e-6 * Math.abs(x)), name);
    }
    const { gradQuery, gradKey, gradValue } = attn.sdpaBackward(single(want.output), single(inputs.q), single(inputs.k), single(inputs.v), { ...inputs.options, attnMask: single(inputs.options.attnMask) });
    for (const { data: gradient } of [gradQuery, gradKey, gradValue]) assert.ok(gradient.every(Number.isFinite), 'gradients are finite');
  }));
});

eachVariant('scores of every stage agree with float64, and asking for them changes nothing', (attn) => {
  check(fc.property(calls, fc.constantFrom('raw', 'softcapped', 'masked'), (call, returnScores) => {
    const inputs = build(call);
    const { q, k, options } = inputs;
    const want = exact(attn, inputs, { ...ALL, returnScores });
    const got = run(attn, inputs, { ...ALL, returnScores });
    const [heads, seqLenQ, headDim] = q.shape.slice(1);
    const [numKvHeads, seqLenKv] = k.shape.slice(1);
    const scale = Math.abs(options.scale ?? 1 / Math.sqrt(headDim));
    const allowed = want.scores.data.map((score, at) => {
      const row = Math.floor(at / seqLenKv);
      const [b, h] = [Math.floor(row / seqLenQ / heads), Math.floor(row / seqLenQ) % heads];
      const key = (b * numKvHeads + Math.floor((h * numKvHeads) / heads)) * seqLenKv + (at % seqLenKv);
      let size = 0;
      for (let d = 0; d < headDim; d++) size += Math.abs(q.data[row * headDim + d] * k.data[key * headDim + d]);
      const product = U * (headDim + 8) * scale * size;
      const capped = options.softcap > 0 && returnScores !== 'raw' ? Math.min(product, 2 * options.softcap) || 0 : product;
      const mask = returnScores === 'masked' && options.attnMask?.data instanceof Float64Array ? Math.abs(options.attnMask.data[at]) : 0;
      const distance = returnScores === 'masked' && options.alibiSlopes ? seqLenQ + seqLenKv : 0;
      return capped + 8 * U * (options.softcap + distance + (Number.isFinite(mask) ? mask : 0) + (Number.isFinite(score) ? Math.abs(score) : 0)) + 2 ** -126;
    });
    near(got.scores.data, want.scores.data, allowed, `${returnScores} scores`);
    const plain = run(attn, inputs, ALL);
    same(attn, inputs, got, plain, 'with scores');
  }));
});

// What may be done to a call without changing its result

const tame = fc.record({ ...Object.fromEntries(['query', 'key', 'value'].map((name) => [name, fc.constantFrom('ordinary', 'huge', 'zero', 'mixed')])) });
const tameCalls = fc.tuple(calls, tame).map(([call, kinds]) => ({ ...call, ...kinds }));

// same(attn, inputs, got, want, what): two float32 results of what is the same in exact arithmetic. `all` has the larger values.
function same(attn, inputs, got, want, what, all = inputs) {
  const reference = exact(attn, inputs, REFERENCE);
  const allowed = tolerances(inputs, reference, floor(all.v));
  for (const name of NAMES) if (got[name] && want[name]) near(got[name].data, want[name].data, allowed[name].map((x) => 2 * x), `${name} ${what}`);
}

// rows(tensor, pick): of the last but one axis, in another order or fewer.
function rows({ data, shape }, pick) {
  const [length, width] = shape.slice(-2);
  const blocks = data.length / (length * width) || 0;
  const result = new data.constructor(blocks * pick.length * width);
  for (let b = 0; b < blocks; b++)
    pick.forEach((from, to) => result.set(data.subarray((b * length + from) * width, (b * length + from + 1) * width), (b * pick.length + to) * width));
  return { data: result, shape: [...shape.slice(0, -2), pick.length, width] };
}

function columns({ data, shape }, pick) {
  const width = shape.at(-1);
  return { data: data.constructor.from({ length: (data.length / width || 0) * pick.length }, (_, at) => data[Math.floor(at / pick.length) * width + pick[at % pick.length]]), shape: [...shape.slice(0, -1), pick.length] };
}

const range = (n) => Array.from({ length: n }, (_, i) => i);

eachVariant('keys and values in another order give the same', (attn) => {
  check(fc.property(tameCalls, fc.nat(1e6), (call, seed) => {
    const inputs = build({ ...call, isCausal: false, window: null, alibi: false, kvLengths: false });
    const next = random(seed);
    const order = range(call.seqLenKv).map((j) => [next(), j]).sort(([a], [b]) => a - b).map(([, j]) => j);
    const mixed = { ...inputs, k: rows(inputs.k, order), v: rows(inputs.v, order), options: { ...inputs.options } };
    if (inputs.options.attnMask) mixed.options.attnMask = columns(inputs.options.attnMask, order);
    const want = run(attn, inputs, ALL);
    same(attn, inputs, run(attn, mixed, { returnLogsumexp: true }), want, 'in another order');
    const { weights } = run(attn, mixed, ALL);
    same(attn, mixed, { weights }, { weights: columns(want.weights, order) }, 'in another order');
  }));
});

eachVariant('the first rows of a causal sequence are those of the shorter sequence', (attn) => {
  check(fc.property(tameCalls, fc.nat(), (call, n) => {
    const seqLen = Math.max(call.seqLenQ, 1);
    const inputs = build({ ...call, seqLenQ: seqLen, seqLenKv: seqLen, isCausal: true, kvLengths: false, window: call.window && { left: call.window.left, right: null } });
    const first = range(1 + (n % seqLen));
    const short = { q: rows(inputs.q, first), k: rows(inputs.k, first), v: rows(inputs.v, first), options: { ...inputs.options } };
    if (inputs.options.attnMask) short.options.attnMask = columns(rows(inputs.options.attnMask, first), first);
    const want = run(attn, inputs, ALL);
    const cut = { output: rows(want.output, first), weights: columns(rows(want.weights, first), first), logsumexp: columns(want.logsumexp, first) };
    same(attn, short, run(attn, short, ALL), cut, 'of the shorter sequence', inputs);
    same(attn, short, run(attn, short), { output: cut.output }, 'of the shorter sequence, fused', inputs);
  }));
});

eachVariant('heads together and one by one, and batch elements, give the same', (attn) => {
  check(fc.property(tameCalls, (call) => {
    const inputs = build(call);
    const together = run(attn, inputs, ALL);
    const heads = call.numKvHeads * call.group;
    const part = ({ data, shape }, index, count) => ({ data: data.slice((index * data.length) / count, ((index + 1) * data.length) / count), shape: [1, 1, ...shape.slice(2)] });
    for (let at = 0; at < call.batch * heads; at++) {
      const [b, h] = [Math.floor(at / heads), at % heads];
      const kv = b * call.numKvHeads + Math.floor(h / call.group);
      const options = { ...inputs.options };
      if (options.attnMask) options.attnMask = part(options.attnMask, at, call.batch * heads);
      if (options.alibiSlopes) options.alibiSlopes = [options.alibiSlopes[h]];
      if (options.kvLengths) options.kvLengths = [options.kvLengths[b]];
      const alone = { q: part(inputs.q, at, call.batch * heads), k: part(inputs.k, kv, call.batch * call.numKvHeads), v: part(inputs.v, kv, call.batch * call.numKvHeads), options };
      const want = Object.fromEntries(NAMES.map((name) => [name, part(together[name], at, call.batch * heads)]));
      same(attn, alone, run(attn, alone, ALL), want, `of head ${h}`, inputs);
    }
  }));
});

eachVariant('the same number added to every score changes nothing', (attn) => {
  check(fc.property(tameCalls, fc.constantFrom(-300, -1, 0.5, 1e3, 1e4), (call, shift) => {
    const inputs = build({ ...call, mask: 'none' });
    const shape = [call.seqLenQ, call.seqLenKv];
    const shifted = { ...inputs, options: { ...inputs.options, attnMask: { data: new Float64Array(call.batch * call.numKvHeads * call.group * shape[0] * shape[1]).fill(shift), shape: [call.batch, call.numKvHeads * call.group, ...shape] } } };
    const { output, weights } = run(attn, inputs, ALL);
    same(attn, shifted, run(attn, shifted, ALL), { output, weights }, 'shifted');
  }));
});

eachVariant('kvLengths is the same as fewer keys, and what lies behind is never read', (attn) => {
  check(fc.property(tameCalls, fc.nat(), (call, n) => {
    const inputs = build({ ...call, kvLengths: false, mask: 'none' });
    const keys = call.seqLenKv ? n % (call.seqLenKv + 1) : 0;
    const short = { ...inputs, k: rows(inputs.k, range(keys)), v: rows(inputs.v, range(keys)) };
    const poison = (x) => {
      const [length, width] = x.shape.slice(-2);
      return { ...x, data: x.data.map((y, at) => (Math.floor(at / width) % length < keys ? y : NaN)) };
    };
    const limited = { ...inputs, k: poison(inputs.k), v: poison(inputs.v), options: { ...inputs.options, kvLengths: new Array(call.batch).fill(keys) } };
    const { output, logsumexp, weights } = run(attn, limited, ALL);
    same(attn, short, run(attn, short, ALL), { output, logsumexp, weights: columns(weights, range(keys)) }, 'of fewer keys');
  }));
});

eachVariant('weights are a share of one, and the output a mean of values', (attn) => {
  check(fc.property(tameCalls, (call) => {
    const inputs = build(call);
    const { output, weights } = run(attn, inputs, ALL);
    const { seqLenKv, headDimV } = call;
    const largest = inputs.v.data.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    for (let row = 0; row < weights.data.length / Math.max(seqLenKv, 1); row++) {
      const of = weights.data.slice(row * seqLenKv, (row + 1) * seqLenKv);
      assert.ok(of.every((w) => w >= 0 && w <= 1), 'between 0 and 1');
      const sum = of.reduce((a, b) => a + b, 0);
      assert.ok(sum === 0 || Math.abs(sum - 1) <= (seqLenKv + 32) * U, `a sum of ${sum}`);
      const out = output.data.slice(row * headDimV, (row + 1) * headDimV);
      assert.ok(out.every((x) => Math.abs(x) <= largest * sum * (1 + (2 * seqLenKv + 64) * U)), 'within the values');
    }
  }));
});

// The other functions: float32 against float64

eachVariant('additive scores agree with float64', (attn) => {
  check(fc.property(tameCalls, fc.nat(1e6), (call, seed) => {
    const { batch, seqLenQ, seqLenKv, headDim, headDimV } = call;
    const next = random(seed);
    const [query, key, value, v] = [[batch, seqLenQ, headDim], [batch, seqLenKv, headDim], [batch, seqLenKv, headDimV], [headDim]].map((shape, i) =>
      numbers(i === 3 ? 'ordinary' : [call.query, call.key, call.value][i], shape, next));
    const options = { score: 'additive', isCausal: call.isCausal, causalAlign: call.causalAlign, window: call.window, ...ALL };
    const want = attn.scoreAttention(query, key, value, { ...options, v });
    const got = attn.scoreAttention(single(query), single(key), single(value), { ...options, v: single(v) });
    // tanh is off by a few u, and by u times what its argument lost.
    const reach = v.data.reduce((sum, x) => sum + Math.abs(x), 0);
    const relative = Math.expm1(2 * U * (headDim + 16) * reach + 16 * U * reach) + (seqLenKv + 32) * U;
    near(got.weights.data, want.weights.data, want.weights.data.map((w) => w * relative + TINY), 'weights');
    const largest = value.data.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    near(got.output.data, want.output.data, want.output.data.map(() => largest * (relative + seqLenKv * TINY) + floor(value)), 'output');
  }));
});

eachVariant('softmax agrees with float64 on every axis and does not mind a shift', (attn) => {
  check(fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }), fc.nat(3), fc.constantFrom(...VALUES), fc.nat(1e6), (shape, at, kind, seed) => {
    const x = numbers(kind, shape, random(seed));
    const axis = at % shape.length;
    const want = attn.softmax(x, { axis });
    const allowed = want.data.map((y) => y * ((shape[axis] + 16) * U + 4 * U * Math.abs(Math.log(y || 1))) + TINY);
    near(attn.softmax(single(x), { axis }).data, want.data, allowed, 'softmax');
    const moved = attn.softmax({ data: x.data.map((y) => y + 64), shape }, { axis });
    near(moved.data, want.data, want.data.map((y) => y * 1e-12 + 1e-300), 'shifted');
  }));
});

eachVariant('rotary embedding keeps the length of every pair, and turning back undoes it', (attn) => {
  check(fc.property(fc.integer({ min: 1, max: 20 }), length(30), fc.boolean(), fc.nat(1e6), (pairs, seqLen, interleaved, seed) => {
    const x = numbers('ordinary', [1, 2, seqLen, 2 * pairs], random(seed));
    const { cos, sin } = attn.rotaryTables({ seqLen, dim: 2 * pairs });
    const turned = attn.rotaryEmbedding(single(x), { cos, sin, interleaved });
    const back = { data: sin.data.map((s) => -s), shape: sin.shape };
    near(attn.rotaryEmbedding(turned, { cos, sin: back, interleaved }).data, x.data, x.data.map(() => 16 * U), 'turned back');
    const norms = ({ data }) => range(data.length / (2 * pairs)).map((r) => Math.hypot(...data.slice(r * 2 * pairs, (r + 1) * 2 * pairs)));
    near(norms(turned), norms(x), norms(x).map((n) => (n + 1) * 8 * U), 'lengths');
  }));
});

eachVariant('gradients agree with float64, whatever the options', (attn) => {
  const ordinary = Object.fromEntries(['query', 'key', 'value'].map((name) => [name, fc.constantFrom('ordinary', 'zero')]));
  check(fc.property(calls, fc.record(ordinary), (call, kinds) => {
    const inputs = build({ ...call, ...kinds });
    const { q, k, v, options } = inputs;
    const gradOutput = numbers('ordinary', [...q.shape.slice(0, 3), v.shape[3]], random(call.seed + 1));
    const want = attn.sdpaBackward(gradOutput, q, k, v, options);
    const alone = { ...options, ...(options.attnMask && { attnMask: single(options.attnMask) }) };
    const got = attn.sdpaBackward(single(gradOutput), single(q), single(k), single(v), alone);
    for (const [name, { data } = {}] of Object.entries(want).filter(([, tensor]) => tensor)) {
      // A score is off by some u times its size and the mask's; a weight by that share of itself; a gradient is a sum of such.
      const mask = options.attnMask?.data instanceof Float64Array ? options.attnMask.data.reduce((max, x) => (Number.isFinite(x) ? Math.max(max, Math.abs(x)) : max), 0) : 0;
      const share = U * (64 + 16 * call.headDim + 4 * mask + call.seqLenQ + call.seqLenKv);
      const largest = data.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
      near(got[name].data, data, data.map(() => share * (largest + 1)), name);
    }
  }));
});
