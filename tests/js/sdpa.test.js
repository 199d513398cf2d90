// attn.sdpa against the oracle: random shapes and options, then each way of giving a tensor, a mask, a layout.

import assert from 'node:assert/strict';
import fc from 'fast-check';

import { eachVariant, random, tensor } from './each_variant.js';
import * as oracle from './oracle.js';

const RUNS = 120;
const SEED = Number(process.env.SPOTLIGHT_SEED ?? 20170612); // the day of "Attention Is All You Need"

const maybe = (arbitrary) => fc.option(arbitrary, { nil: null, freq: 3 });

const calls = fc.record({
  seed: fc.nat(1e6),
  float64: fc.boolean(),
  batch: fc.integer({ min: 1, max: 3 }),
  numKvHeads: fc.integer({ min: 1, max: 3 }),
  group: fc.integer({ min: 1, max: 3 }),
  seqLenQ: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 70 })),
  seqLenKv: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 1, max: 140 })),
  headDim: fc.oneof(fc.constantFrom(1, 3, 4, 8, 16), fc.integer({ min: 1, max: 70 })),
  headDimV: fc.oneof(fc.constantFrom(1, 3, 4, 8, 16), fc.integer({ min: 1, max: 70 })),
  magnitude: fc.constantFrom(0.1, 1, 1, 10),
  isCausal: fc.boolean(),
  causalAlign: fc.constantFrom('top-left', 'bottom-right'),
  scale: maybe(fc.constantFrom(0, 1, 0.3, -0.5)),
  softcap: fc.constantFrom(0, 0, 0, 2, 30),
  window: maybe(fc.record({ left: maybe(fc.nat(20)), right: maybe(fc.nat(20)) })),
  mask: maybe(fc.record({ isBool: fc.boolean(), axes: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()), rank: fc.integer({ min: 1, max: 4 }) })),
  alibi: fc.constantFrom(0, 0, 1, 2),
  kvLengths: fc.boolean(),
  weights: fc.boolean(),
  scores: fc.constantFrom(false, false, 'raw', 'softcapped', 'masked'),
  logsumexp: fc.boolean(),
});

function run(attn, c) {
  const next = random(c.seed + 1);
  const Type = c.float64 ? Float64Array : Float32Array;
  const numHeads = c.numKvHeads * c.group;
  const scaled = () => next() * c.magnitude;
  const q = tensor([c.batch, numHeads, c.seqLenQ, c.headDim], scaled, Type);
  const k = tensor([c.batch, c.numKvHeads, c.seqLenKv, c.headDim], scaled, Type);
  const v = tensor([c.batch, c.numKvHeads, c.seqLenKv, c.headDimV], next, Type);
  const options = {
    isCausal: c.isCausal, causalAlign: c.causalAlign, scale: c.scale, softcap: c.softcap, window: c.window,
    returnWeights: c.weights, returnScores: c.scores, returnLogsumexp: c.logsumexp,
  };
  const reference = {
    ...c, numHeads, q: q.data, k: k.data, v: v.data, mask: null, alibi: null, kvLengths: null,
    scale: c.scale ?? 1 / Math.sqrt(c.headDim),
  };
  if (c.mask) {
    const full = [c.batch, numHeads, c.seqLenQ, c.seqLenKv].map((size, axis) => (c.mask.axes[axis] ? size : 1));
    const shape = full.slice(4 - c.mask.rank);
    const count = shape.reduce((a, b) => a * b, 1);
    const data = c.mask.isBool
      ? Uint8Array.from({ length: count }, () => (next() > -0.4 ? 1 + Math.abs(next() * 200) : 0))
      : Type.from({ length: count }, () => (next() > 0.7 ? -Infinity : next() * 3));
    options.attnMask = { data, shape };
    const sizes = [...new Array(4 - shape.length).fill(1), ...shape];
    reference.mask = (...at) => {
      const index = at.reduce((sum, n, axis) => sum * sizes[axis] + (sizes[axis] === 1 ? 0 : n), 0);
      return c.mask.isBool ? data[index] !== 0 : data[index];
    };
  }
  if (c.alibi) {
    options.alibiSlopes = tensor(c.alibi === 1 ? [numHeads] : [c.batch, numHeads], () => Math.abs(next()), Type);
    reference.alibi = (b, h) => options.alibiSlopes.data[c.alibi === 1 ? h : b * numHeads + h];
  }
  if (c.kvLengths) options.kvLengths = reference.kvLengths = Array.from({ length: c.batch }, () => Math.floor(Math.abs(next()) * (c.seqLenKv + 1)));

  const got = attn.sdpa(q, k, v, options);
  const want = oracle.sdpa(reference, c.float64 ? 2 ** -53 : 2 ** -24);
  const rows = [c.batch, numHeads, c.seqLenQ];
  const compare = (tensorGot, name, shape, stage = name) => {
    assert.deepEqual(tensorGot.shape, shape, name);
    assert.ok(tensorGot.data instanceof Type, name);
    oracle.near(tensorGot.data, want[stage], want.tolerance[stage], name);
  };
  compare(got.output, 'out', [...rows, c.headDimV]);
  for (const [name, given, shape, stage] of [
    ['weights', c.weights, [...rows, c.seqLenKv], 'weights'],
    ['logsumexp', c.logsumexp, rows, 'logsumexp'],
    ['scores', c.scores, [...rows, c.seqLenKv], c.scores],
  ])
    if (given) compare(got[name], name, shape, stage);
    else assert.equal(got[name], null);
}

eachVariant('random shapes and options agree with the oracle', (attn) => {
  fc.assert(fc.property(calls, (call) => run(attn, call)), { numRuns: RUNS, seed: SEED });
});

const nested = ({ data, shape }, at = 0) => {
  if (shape.length === 1) return Array.from(data.slice(at, at + shape[0]));
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  return Array.from({ length: shape[0] }, (_, i) => nested({ data, shape: shape.slice(1) }, at + i * size));
};

eachVariant('every way of giving a tensor gives the same', (attn) => {
  const next = random(7);
  const [q, k, v] = [[2, 3, 5, 4], [2, 3, 6, 4], [2, 3, 6, 2]].map((shape) => tensor(shape, next));
  const want = attn.sdpa(q, k, v).output;
  const dims = ({ data, shape }) => ({ data, dims: shape });
  const plain = ({ data, shape }) => ({ data: Array.from(data), shape });
  const inEngine = ({ data, shape }) => attn.tensor(shape).set(data);
  for (const form of [dims, plain, nested, inEngine]) {
    assert.deepEqual(attn.sdpa(form(q), form(k), form(v)).output, want);
    assert.deepEqual(attn.sdpa(q, form(k), v).output, want);
  }
  assert.deepEqual(want.toNested(), nested(want));
});

eachVariant('plain numbers take the type of the other tensors', (attn) => {
  const rows = [[0.1, 0.2], [0.3, 0.4]];
  const f64 = { data: Float64Array.from(rows.flat()), shape: [2, 2] };
  assert.ok(attn.sdpa(rows, rows, rows).output.data instanceof Float32Array);
  const { output } = attn.sdpa(rows, f64, rows, { attnMask: [[0, -1], [0.5, 0]], alibiSlopes: [0.1] });
  assert.ok(output.data instanceof Float64Array);
  assert.deepEqual(output, attn.sdpa(f64, f64, f64, { attnMask: { data: Float32Array.of(0, -1, 0.5, 0), shape: [2, 2] }, alibiSlopes: Float64Array.of(0.1) }).output);
  const typedRows = rows.map((row) => Float64Array.from(row));
  assert.deepEqual(attn.sdpa(typedRows, typedRows, typedRows).output, attn.sdpa(f64, f64, f64).output);
});

eachVariant('ranks 3 and 2 are one head', (attn) => {
  const next = random(8);
  const [q, k, v] = [[2, 1, 5, 4], [2, 1, 6, 4], [2, 1, 6, 3]].map((shape) => tensor(shape, next));
  const options = { isCausal: true, returnWeights: true, returnScores: 'masked', returnLogsumexp: true };
  const want = attn.sdpa(q, k, v, options);
  const three = ({ data, shape: [b, , s, d] }) => ({ data, shape: [b, s, d] });
  const got = attn.sdpa(three(q), three(k), three(v), options);
  for (const name in want) {
    assert.deepEqual(got[name].data, want[name].data);
    assert.deepEqual(got[name].shape, want[name].shape.filter((_, axis) => axis !== 1));
  }
  const first = ({ data, shape: [, , s, d] }) => ({ data: data.slice(0, s * d), shape: [s, d] });
  const one = attn.sdpa(first(q), first(k), first(v), options);
  assert.deepEqual(one.output.shape, [5, 3]);
  assert.deepEqual(one.logsumexp.shape, [5]);
  assert.deepEqual(one.output.data, want.output.data.slice(0, 15));
});

eachVariant('batch and head axes of size 1 broadcast', (attn) => {
  const next = random(9);
  const repeat = ({ data, shape: [b, h, s, d] }, batch, heads) => {
    const result = [];
    for (let i = 0; i < batch; i++)
      for (let j = 0; j < heads; j++) {
        const at = ((b === 1 ? 0 : i) * h + (h === 1 ? 0 : j)) * s * d;
        result.push(...data.slice(at, at + s * d));
      }
    return { data: Float32Array.from(result), shape: [batch, heads, s, d] };
  };
  for (const [qLead, kLead, vLead] of [
    [[2, 4], [1, 4], [2, 4]], [[2, 4], [2, 1], [2, 4]], [[2, 4], [1, 1], [2, 4]], [[2, 4], [2, 4], [1, 1]],
    [[1, 4], [2, 4], [1, 4]], [[1, 1], [2, 4], [2, 4]], [[2, 4], [1, 1], [1, 1]],
  ]) {
    const q = tensor([...qLead, 3, 5], next);
    const k = tensor([...kLead, 6, 5], next);
    const v = tensor([...vLead, 6, 2], next);
    const want = attn.sdpa(repeat(q, 2, 4), repeat(k, 2, 4), repeat(v, 2, 4)).output;
    const got = attn.sdpa(q, k, v).output;
    assert.deepEqual(got.shape, [2, 4, 3, 2]);
    oracle.near(got.data, want.data, 1e-6, `${qLead} ${kLead} ${vLead}`);
  }
});

eachVariant('masks: every form, and rank by rank', (attn) => {
  const next = random(10);
  const [q, k, v] = [[2, 2, 3, 4], [2, 2, 5, 4], [2, 2, 5, 4]].map((shape) => tensor(shape, next));
  const attend = Array.from({ length: 15 }, (_, i) => i % 3 !== 1);
  const additive = Float32Array.from(attend, (a) => (a ? 0 : -Infinity));
  const shape = [3, 5];
  const want = attn.sdpa(q, k, v, { attnMask: { data: additive, shape } }).output;
  for (const attnMask of [
    { data: attend, shape },
    { data: Uint8Array.from(attend), shape },
    { data: Uint8Array.from(attend, (a) => a * 255), dims: shape },
    { data: Int8Array.from(attend, (a) => -a), shape },
    { data: new Uint8ClampedArray(attend), shape },
    nested({ data: attend, shape }),
    nested({ data: Uint8Array.from(attend), shape }).map((row) => Uint8Array.from(row)),
    nested({ data: additive, shape }),
    { data: Float64Array.from(additive), shape },
    attn.tensor(shape).set(additive),
    { data: attend, shape: [1, 1, ...shape] },
    { data: attend, shape: [1, 1, 1, ...shape] },
    attn.tensor([1, ...shape]).set(additive),
  ])
    assert.deepEqual(attn.sdpa(q, k, v, { attnMask }).output, want);
  // In a call of rank 3 the first axis of the mask is the batch.
  const three = ({ data, shape: [b, h, s, d] }) => ({ data, shape: [b * h, s, d] });
  const perBatch = { data: Float32Array.from({ length: 60 }, (_, i) => (Math.floor(i / 15) % 2 ? 0 : -i)), shape: [4, 3, 5] };
  const got = attn.sdpa(three(q), three(k), three(v), { attnMask: perBatch }).output;
  assert.deepEqual(got.data, attn.sdpa(q, k, v, { attnMask: { ...perBatch, shape: [2, 2, 3, 5] } }).output.data);
});

eachVariant('what lies beyond the limits is never read', (attn) => {
  const next = random(11);
  const [q, k, v] = [[1, 1, 4, 8], [1, 1, 40, 8], [1, 1, 40, 8]].map((shape) => tensor(shape, next));
  const options = { kvLengths: [23] };
  const want = attn.sdpa(q, k, v, options).output;
  k.data.fill(NaN, 23 * 8);
  v.data.fill(Infinity, 23 * 8);
  assert.deepEqual(attn.sdpa(q, k, v, options).output, want);
  assert.ok(attn.sdpa(q, k, v).output.data.every(Number.isNaN));
});

eachVariant('a row with nothing visible is 0, and its logsumexp -Infinity', (attn) => {
  const rows = [[1, 2], [3, 4]];
  const { output, weights, logsumexp } = attn.sdpa(rows, rows, rows, { attnMask: [[false, false], [true, false]], returnWeights: true, returnLogsumexp: true });
  assert.deepEqual(output.toNested(), [[0, 0], [1, 2]]);
  assert.deepEqual(weights.toNested(), [[0, 0], [1, 0]]);
  assert.equal(logsumexp.data[0], -Infinity);
});

eachVariant('batch, seqLenQ and seqLenKv may be 0', (attn) => {
  const empty = (...shape) => tensor(shape, () => 1);
  const none = attn.sdpa(empty(1, 2, 3, 4), empty(1, 2, 0, 4), empty(1, 2, 0, 5), { returnWeights: true, attnMask: empty(3, 0) });
  assert.deepEqual(none.output.shape, [1, 2, 3, 5]);
  assert.ok(none.output.data.every((x) => x === 0));
  assert.deepEqual(none.weights.shape, [1, 2, 3, 0]);
  assert.deepEqual(attn.sdpa(empty(0, 2, 3, 4), empty(0, 2, 3, 4), empty(0, 2, 3, 4)).output.shape, [0, 2, 3, 4]);
  assert.deepEqual(attn.sdpa(empty(1, 2, 0, 4), empty(1, 2, 3, 4), empty(1, 2, 3, 4)).output.shape, [1, 2, 0, 4]);
});

eachVariant('undefined and null are the default', (attn) => {
  const rows = [[1, 2], [3, 4]];
  const want = attn.sdpa(rows, rows, rows);
  const names = ['attnMask', 'isCausal', 'causalAlign', 'scale', 'softcap', 'window', 'alibiSlopes', 'kvLengths', 'returnWeights', 'returnScores', 'returnLogsumexp', 'out'];
  for (const value of [undefined, null]) {
    assert.deepEqual(attn.sdpa(rows, rows, rows, value), want);
    assert.deepEqual(attn.sdpa(rows, rows, rows, Object.fromEntries(names.map((name) => [name, value]))), want);
    assert.deepEqual(attn.sdpa(rows, rows, rows, { window: { left: value, right: value } }), want);
  }
});

eachVariant('inputs stay as they are', (attn) => {
  const [q, k, v] = [12, 13, 14].map((seed) => tensor([1, 2, 9, 8], random(seed)));
  const copies = [q, k, v].map(({ data }) => data.slice());
  const mask = Uint8Array.from({ length: 81 }, (_, i) => i % 2);
  attn.sdpa(q, k, v, { attnMask: { data: mask, shape: [9, 9] }, returnWeights: true });
  assert.deepEqual([q, k, v].map(({ data }) => data), copies);
  assert.deepEqual(mask, Uint8Array.from({ length: 81 }, (_, i) => i % 2));
});

eachVariant('keys and values that are copied in head by head give the bits of those that lie in the engine', (attn) => {
  const next = random(31);
  for (const [seqLenQ, seqLenKv, options] of [
    [1, 3000, {}], [2, 3000, { kvLengths: [3000, 17], isCausal: true, causalAlign: 'bottom-right' }],
    [40, 1500, { returnWeights: true, returnLogsumexp: true }], [3, 9000, { returnScores: 'masked', returnWeights: true }],
    [5, 2000, { attnMask: tensor([2, 4, 5, 2000], next) }], [1, 2500, { alibiSlopes: tensor([2, 4], next) }],
    [300, 400, { isCausal: true }], // several tasks a head
  ]) {
    const q = tensor([2, 4, seqLenQ, 32], next);
    const k = tensor([2, 2, seqLenKv, 32], next);
    const v = tensor([2, 2, seqLenKv, 24], next);
    const held = [k, v].map((x) => attn.tensor(x.shape).set(x));
    const copied = attn.sdpa(q, k, v, options);
    const whole = attn.sdpa(q, ...held, options);
    for (const name of ['output', 'weights', 'scores', 'logsumexp']) assert.deepEqual(copied[name]?.data, whole[name]?.data, `${seqLenQ} ${name}`);
    held.forEach((x) => x.free());
  }
});

eachVariant('a query takes its keys in parts, but for tiny numbers, which change nothing', (attn) => {
  const next = random(32);
  for (const [batch, heads, seqLenKv, dim] of [[1, 1, 2100, 64], [2, 1, 1100, 200], [1, 3, 600, 1100]])
    for (const tiny of [null, 'query', 'key', 'value']) {
      const inputs = { query: tensor([batch, heads, 1, dim], next), key: tensor([batch, heads, seqLenKv, dim], next), value: tensor([batch, heads, seqLenKv, dim], next) };
      // In the last part: what came before was computed by then.
      if (tiny) inputs[tiny].data.fill(1e-30, tiny === 'query' ? 0 : inputs[tiny].data.length - 64 * dim);
      const held = Object.values(inputs).map((x) => attn.tensor(x.shape).set(x));
      const options = { returnLogsumexp: true };
      const [copied, whole] = [attn.sdpa(...Object.values(inputs), options), attn.sdpa(...held, options)];
      for (const name of ['output', 'logsumexp']) assert.deepEqual(copied[name], whole[name], `${dim} ${tiny} ${name}`);
      held.forEach((x) => x.free());
    }
});
