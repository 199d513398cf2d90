// The decoder of llama2.c's checkpoints: against float64 loops, and against what llama2.c's own program says of a real model.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Attention } from '../../web/lib/index.js';
import { Llama, LlamaSequence, Tokenizer } from '../../web/lib/llama/index.js';
import { eachVariant, random } from './each_variant.js';
import { dequantised, forward, randomModel, shapesOf, tokenizerFile, vocabulary, write } from './llama_model.js';
import { near } from './oracle.js';

const SHARED = new URL('../../../shared/models/', import.meta.url);
const HAVE_SHARED = existsSync(SHARED);
const shared = (name) => readFileSync(new URL(name, SHARED));

// Logits of random models lie within +-3; some hundred roundings of 2^-24 each.
const TOLERANCE = 2e-5;

const SMALL = { dim: 16, hiddenDim: 20, numLayers: 2, numHeads: 4, numKvHeads: 2, vocabSize: 24, seqLen: 32 };
const TOKENS = [1, 5, 23, 0, 5, 7, 7, 12, 19, 3];
const small = (seed = 1, isShared = true) => randomModel(SMALL, random(seed), isShared);

async function collect(steps) {
  const result = [];
  for await (const step of steps) result.push(step);
  return result;
}

const CONFIGS = [
  SMALL,
  { ...SMALL, numKvHeads: 4, numLayers: 1 },
  { ...SMALL, numHeads: 8, numKvHeads: 1, hiddenDim: 4 },
  { dim: 12, hiddenDim: 28, numLayers: 3, numHeads: 1, numKvHeads: 1, vocabSize: 24, seqLen: 12 },
];

eachVariant('every form of a checkpoint gives the logits and weights of float64 loops', async (attn) => {
  for (const [i, config] of CONFIGS.entries())
    for (const isShared of [true, false])
      for (const version of [0, 1, 2]) {
        const model = randomModel(config, random(10 * i + version + Number(isShared)), isShared);
        const want = forward(version === 2 ? dequantised(model, 4) : model, TOKENS);
        const llama = await Llama.create(attn, write(model, version));
        assert.deepEqual(llama.config, { version, ...config, headDim: config.dim / config.numHeads, sharedOutput: isShared, groupSize: version === 2 ? 4 : null });
        const sequence = llama.sequence();
        const { logits, weights, scores } = sequence.forward(TOKENS, { logits: 'all', returnWeights: true });
        const name = `version ${version} of model ${i}`;
        assert.deepEqual(logits.shape, [TOKENS.length, config.vocabSize]);
        near(logits.data, want.logits.flat(), TOLERANCE, `${name}: logits`);
        assert.equal(weights.length, config.numLayers);
        weights.forEach(({ data, shape }, layer) => {
          assert.deepEqual(shape, [config.numHeads, TOKENS.length, TOKENS.length]);
          near(data, want.weights[layer].flat(2), TOLERANCE, `${name}: weights of layer ${layer}`);
        });
        assert.equal(scores, null);
        llama.free();
      }
});

eachVariant('other angles and another epsilon', async (attn) => {
  const model = small(3);
  const options = { theta: 50, epsilon: 0.1 };
  const llama = await Llama.create(attn, write(model, 1), options);
  near(llama.sequence().forward(TOKENS, { logits: 'all' }).logits.data, forward(model, TOKENS, options).logits.flat(), TOLERANCE, 'logits');
});

eachVariant('token by token, in pieces and after taking some back: as all at once', async (attn) => {
  const model = small();
  const want = forward(model, TOKENS);
  const llama = await Llama.create(attn, write(model, 0));
  const sequence = llama.sequence({ capacity: TOKENS.length });
  TOKENS.forEach((token, i) => {
    const { logits, weights } = sequence.forward([token], { returnWeights: true });
    assert.deepEqual(logits.shape, [SMALL.vocabSize]);
    near(logits.data, want.logits[i], TOLERANCE, `logits of token ${i}`);
    weights.forEach(({ data, shape }, layer) => {
      assert.deepEqual(shape, [4, 1, i + 1]);
      near(data, want.weights[layer].flatMap((head) => head[i].slice(0, i + 1)), TOLERANCE, `weights of token ${i}`);
    });
  });
  assert.deepEqual([sequence.tokens, sequence.length, sequence.capacity], [TOKENS, TOKENS.length, TOKENS.length]);
  assert.throws(() => sequence.forward([1]), { name: 'RangeError', message: 'tokens: expected at most 0 more (capacity 10, 10 held), got 1' });
  assert.equal(sequence.truncate(4), sequence);
  assert.deepEqual(sequence.tokens, TOKENS.slice(0, 4));
  assert.equal(sequence.forward(TOKENS.slice(4, 6), { logits: 'none' }).logits, null);
  const { logits, weights } = sequence.forward(TOKENS.slice(6), { returnWeights: true });
  near(logits.data, want.logits.at(-1), TOLERANCE, 'logits of the last');
  near(weights[1].data, want.weights[1].flatMap((head) => head.slice(6).flat()), TOLERANCE, 'weights of the last four');
  near(sequence.reset().forward(TOKENS).logits.data, want.logits.at(-1), TOLERANCE, 'anew');
  sequence.truncate(99);
  assert.equal(sequence.length, TOKENS.length);
});

eachVariant('sequences of one model do not meet', async (attn) => {
  const model = small();
  const llama = await Llama.create(attn, write(model, 0));
  const [a, b] = [llama.sequence(), llama.sequence()];
  a.forward([1, 2, 3]);
  b.forward([4]);
  near(a.forward([9]).logits.data, forward(model, [1, 2, 3, 9]).logits[3], TOLERANCE, 'a');
  near(b.forward([9]).logits.data, forward(model, [4, 9]).logits[1], TOLERANCE, 'b');
});

eachVariant('weights and scores of the layers and heads asked for', async (attn) => {
  const llama = await Llama.create(attn, write(small(), 1));
  const run = (options) => llama.sequence().forward(TOKENS, options);
  const all = run({ returnWeights: true, returnScores: 'masked' });
  const part = run({ returnWeights: true, returnScores: 'masked', layers: [1], heads: [3, 0] });
  const [rows, size] = [TOKENS.length, TOKENS.length ** 2];
  for (const name of ['weights', 'scores']) {
    assert.deepEqual([part[name].length, part[name][0], part[name][1].shape], [2, null, [2, rows, rows]]);
    const head = (h) => all[name][1].data.subarray(h * size, (h + 1) * size);
    near(part[name][1].data, [...head(3), ...head(0)], 1e-6, name);
  }
  near(attn.softmax(all.scores[0]).data, all.weights[0].data, 1e-6, 'softmax of the scores');
  const raw = run({ returnScores: 'raw' });
  assert.equal(raw.weights, null);
  assert.ok(raw.scores[0].data.every(Number.isFinite));
});

eachVariant('the projections of a layer are what its weights come from', async (attn) => {
  const llama = await Llama.create(attn, write(small(), 1));
  const all = llama.sequence().forward(TOKENS, { returnWeights: true, returnProjections: true, heads: [2] });
  const batched = ({ data, shape }) => ({ data, shape: [1, ...shape] });
  const [rows, size] = [TOKENS.length, TOKENS.length ** 2];
  all.projections.forEach(({ query, key, value }, layer) => {
    assert.deepEqual([query, key, value].map(({ shape }) => shape), [[4, rows, 4], [2, rows, 4], [2, rows, 4]]);
    const { weights } = attn.sdpa(batched(query), batched(key), batched(value), { isCausal: true, returnWeights: true });
    near(weights.data.subarray(2 * size, 3 * size), all.weights[layer].data, 1e-6, `layer ${layer}`);
  });
  // A token at a time they are the same rows, and nothing of a later call changes them.
  const sequence = llama.sequence();
  const single = TOKENS.map((token) => sequence.forward([token], { logits: 'none', returnProjections: true, layers: [1] }).projections);
  single.forEach(([none, { query, value }], row) => {
    assert.equal(none, null);
    const at = (tensor, head) => tensor.data.subarray((head * rows + row) * 4, (head * rows + row + 1) * 4);
    for (const head of [0, 3]) near(query.data.subarray(head * 4, head * 4 + 4), at(all.projections[1].query, head), 1e-5, `query ${row}`);
    near(value.data.subarray(4, 8), at(all.projections[1].value, 1), 1e-5, `value ${row}`);
  });
  assert.equal(sequence.forward([1]).projections, null);
});

eachVariant('a silenced head is one whose columns of wo are 0', async (attn) => {
  const model = small(5);
  const silenced = [{ layer: 0, head: 2 }, { layer: 1, head: 0 }];
  const without = structuredClone(model);
  for (const { layer, head } of silenced)
    without.layers[layer].wo.forEach((_, i, wo) => { if (Math.floor((i % 16) / 4) === head) wo[i] = 0; });
  const [whole, zeroed] = [await Llama.create(attn, write(model, 1)), await Llama.create(attn, write(without, 1))];
  const want = zeroed.sequence().forward(TOKENS, { logits: 'all', returnWeights: true });
  const got = whole.sequence().forward(TOKENS, { logits: 'all', returnWeights: true, silenced });
  near(got.logits.data, want.logits.data, 1e-6, 'logits');
  near(got.weights[1].data, want.weights[1].data, 1e-6, 'weights of the layer behind it');
  near(got.logits.data, forward(model, TOKENS, { silenced }).logits.flat(), TOLERANCE, 'float64 loops');
  const steps = await collect(whole.generate(TOKENS, { maxTokens: 8, silenced }));
  assert.deepEqual(steps.map(({ token }) => token), (await collect(zeroed.generate(TOKENS, { maxTokens: 8 }))).map(({ token }) => token));
});

// What generate is to choose, by the rules of index.d.ts, in float64.
function chosen(logits, { temperature, topP }, coin) {
  const max = Math.max(...logits);
  const exps = Array.from(logits, (x) => Math.exp((x - max) / temperature));
  const sum = exps.reduce((a, b) => a + b);
  let order = exps.map((e, token) => ({ token, p: e / sum }));
  if (topP < 1) {
    order.sort((a, b) => b.p - a.p);
    let total = 0;
    const last = order.findIndex(({ p }) => (total += p) > topP);
    if (last >= 0) order = order.slice(0, last + 1);
  }
  const total = order.reduce((a, { p }) => a + p, 0);
  let reached = 0;
  return order.find(({ p }) => (reached += p) > coin * total).token;
}

eachVariant('generation: greedy, and sampled by temperature, nucleus and seed', async (attn) => {
  const model = small(7, false);
  const llama = await Llama.create(attn, write(model, 0));
  const greedy = await collect(llama.generate(TOKENS, { returnWeights: true, layers: [1] }));
  assert.equal(greedy.length, 32 - TOKENS.length + 1);
  const tokens = [...TOKENS];
  for (const { token, text, position, logits, weights, scores } of greedy) {
    assert.deepEqual([text, scores, position, weights[0], weights[1].shape], [null, null, tokens.length, null, [4, 1, tokens.length]]);
    near(logits.data, forward(model, tokens).logits.at(-1), TOLERANCE, 'logits');
    assert.equal(token, logits.data.indexOf(Math.max(...logits.data)));
    tokens.push(token);
  }
  const ids = async (options) => (await collect(llama.generate([1], options))).map(({ token }) => token);
  for (const sampling of [{ temperature: 1, topP: 1 }, { temperature: 0.5, topP: 0.9 }, { temperature: 3, topP: 0.3 }, { temperature: 1e-9, topP: 0.5 }]) {
    const [next, same] = [random(11), random(11)];
    const coin = (generator) => () => (generator() + 1) / 2;
    const replay = coin(same);
    for (const { token, logits } of await collect(llama.generate([1], { ...sampling, random: coin(next) })))
      assert.equal(token, chosen(logits.data, sampling, replay()));
  }
  assert.deepEqual(await ids({ temperature: 1, seed: 5 }), await ids({ temperature: 1, seed: 5 }));
  assert.notDeepEqual(await ids({ temperature: 1, seed: 5 }), await ids({ temperature: 1, seed: 6 }));
  assert.deepEqual(await ids({ temperature: 1e-300 }), await ids({}));
  assert.deepEqual(await ids({ maxTokens: 0 }), []);
  const [first] = await ids({});
  assert.deepEqual(await ids({ stop: [first] }), [first]);
  const full = await collect(llama.generate(new Array(32).fill(1)));
  assert.equal(full.length, 1);
});

eachVariant('generation stops where it is told to, and gives back what it held', async (attn) => {
  const config = { ...SMALL, seqLen: 300 };
  const llama = await Llama.create(attn, write(randomModel(config, random(1), true), 0));
  const prompt = new Array(200).fill(3);
  const all = await collect(llama.generate(prompt, { maxTokens: 9 }));
  const before = attn.memoryBytes;
  for (let n = 0; n < 4; n++) {
    const controller = new AbortController();
    let steps = 0;
    await assert.rejects(async () => {
      for await (const { token } of llama.generate(prompt, { maxTokens: 9, signal: controller.signal })) {
        assert.equal(token, all[steps].token);
        if (++steps === 3) controller.abort(new Error('enough'));
      }
    }, /^Error: enough$/);
    assert.equal(steps, 3);
  }
  const during = new AbortController();
  const progress = [];
  await assert.rejects(collect(llama.generate(prompt, {
    signal: during.signal,
    onProgress: (done) => { progress.push(done); if (progress.length === 2) during.abort(); },
  })), { name: 'AbortError' });
  assert.deepEqual(progress, [64 / 200, 128 / 200]);
  await assert.rejects(collect(llama.generate(prompt, { signal: AbortSignal.abort() })), { name: 'AbortError' });
  // A leak of the smaller of the two, the activations of a prompt or keys and values, would soon fill the first MiB.
  for (let n = 0; n < 60; n++) for await (const step of llama.generate(prompt, { maxTokens: 5 })) { assert.ok(step); break; }
  assert.equal(attn.memoryBytes, before);
  const heard = [];
  await collect(llama.generate(prompt, { maxTokens: 1, onProgress: (done) => heard.push(done) }));
  assert.deepEqual(heard, [64 / 200, 128 / 200, 192 / 200, 199 / 200, 1]);
});

eachVariant('memory is given back: by free, by refused files, by failures, by dispose', async (attn) => {
  const file = write(small(), 1);
  const broken = Buffer.from(file);
  broken.writeFloatLE(NaN, file.length - 4);
  const once = async () => {
    const llama = await Llama.create(attn, file);
    const sequence = llama.sequence();
    sequence.forward(TOKENS);
    sequence.free();
    sequence.free();
    assert.ok(sequence.freed);
    assert.throws(() => sequence.forward([1]), { name: 'AttentionError', code: 'disposed' });
    await assert.rejects(Llama.create(attn, broken), { name: 'RangeError', message: 'checkpoint: w3 of layer 1 has a number that is not finite' });
    await assert.rejects(Llama.create(attn, file, { onProgress: () => { throw new Error('mine'); } }), /^Error: mine/);
    const stop = new AbortController();
    await assert.rejects(Llama.create(attn, file, { signal: stop.signal, onProgress: () => stop.abort() }), { name: 'AbortError' });
    llama.free();
    llama.free();
    assert.ok(llama.freed);
  };
  await once();
  const before = attn.memoryBytes;
  for (let n = 0; n < 100; n++) await once();
  assert.equal(attn.memoryBytes, before);

  const llama = await Llama.create(attn, file);
  const sequence = llama.sequence();
  llama.free();
  for (const use of [() => llama.sequence(), () => sequence.forward([1]), () => sequence.reset()]) assert.throws(use, { code: 'disposed', message: 'the model was freed' });
  await assert.rejects(collect(llama.generate([1])), { code: 'disposed' });
  sequence.free();
  const heard = [];
  const second = await Llama.create(attn, file, { onProgress: (done) => heard.push(done) });
  assert.equal(heard.at(-1), 1);
  const running = second.generate([1]);
  await running.next();
  second.free();
  await assert.rejects(running.next(), { code: 'disposed' });
  const third = await Llama.create(attn, file);
  attn.dispose();
  assert.ok(third.freed);
  await assert.rejects(Llama.create(attn, file), { code: 'disposed' });
});

test('a failure inside leaves the sequence as it was', async () => {
  const attn = await Attention.create({ variant: 'simd' });
  const model = small();
  model.layers[1].wv.fill(3e38);
  const llama = await Llama.create(attn, write(model, 1));
  const sequence = llama.sequence();
  await assert.rejects(collect(llama.generate([1])), { name: 'RangeError', message: /^logits: expected finite numbers/ });
  assert.equal(sequence.length, 0);
  // Weights of more than 2 GiB are refused when the first layer's keys are held already.
  const config = { ...SMALL, seqLen: 12000 };
  const long = randomModel(config, random(2), true);
  const held = (await Llama.create(attn, write(long, 1))).sequence();
  held.forward([1]);
  assert.throws(() => held.forward(new Array(11999).fill(1), { returnWeights: true }), { name: 'RangeError', message: /^weights: expected at most/ });
  assert.deepEqual(held.tokens, [1]);
  near(held.forward([2]).logits.data, forward(long, [1, 2]).logits[1], TOLERANCE, 'logits');
  attn.dispose();
});

// A file with its bytes changed, and what is said of it.
const at = (offset, value) => (file) => { file.writeInt32LE(value, offset); return file; };
const cut = (bytes) => (file) => file.subarray(0, bytes);
const HEADER = ['dim', 'hiddenDim', 'numLayers', 'numHeads', 'numKvHeads', 'vocabSize', 'seqLen'];
const refusals = [
  [0, cut(0), /^checkpoint: expected at least 28 bytes \(the header\), got 0/],
  [0, cut(27), /^checkpoint: expected at least 28 bytes/],
  [1, cut(255), /^checkpoint: expected at least 256 bytes/],
  [1, at(4, 3), /^checkpoint\.version: expected 1 \(float32\) or 2 \(int8\), got 3/],
  [1, at(4, 0), /^checkpoint\.version: /],
  [1, at(4, 2), /^checkpoint\.groupSize: expected a whole number/],
  [2, at(4, 1), /^checkpoint: expected zeros in the rest/],
  [2, at(37, 0), /^checkpoint\.groupSize: expected a whole number/],
  [2, at(37, -4), /^checkpoint\.groupSize: /],
  [2, at(37, 5), /^checkpoint\.groupSize: expected a divisor of 384, the elements of embedding, got 5/],
  [2, at(37, 8), /^checkpoint: expected \d+ bytes/],
  [1, (file) => { file[36] = 2; return file; }, /^checkpoint\.sharedOutput: expected 0 or 1, got 2/],
  [1, (file) => { file[36] = 0; return file; }, /^checkpoint: expected \d+ bytes, as its header says, got \d+: 1536 are missing/],
  [1, (file) => { file[255] = 1; return file; }, /^checkpoint: expected zeros/],
  [0, at(20, -24), /^checkpoint: expected .*: 1536 are missing/],
  [0, at(0, 0x616b3431), /^checkpoint\.dim: expected a whole number from 1 to 16777216 \(is this a llama2\.c checkpoint\?\)/],
  [0, at(12, 3), /^checkpoint\.dim: expected a multiple of 3 \(numHeads\), got 16/],
  [0, at(16, 3), /^checkpoint\.numHeads: expected a multiple of 3 \(numKvHeads\), got 4/],
  [0, at(16, 8), /^checkpoint\.numHeads: expected a multiple of 8/],
  [0, at(12, 16), /^checkpoint\.dim: expected an even number of columns for each head/],
  [0, (file) => Buffer.concat([file, Buffer.alloc(1)]), /^checkpoint: expected \d+ bytes, as its header says, got \d+: 1 too many/],
  ...[0, 1, 2].flatMap((version) => HEADER.flatMap((field, i) => [0, -1, 2 ** 31 - 1, -(2 ** 31)].filter((value) => field !== 'vocabSize' || version || value !== -1).map((value) =>
    [version, at((version ? 8 : 0) + 4 * i, value), new RegExp(`^checkpoint\\.${field}: expected a whole number from 1 to 16777216`)]))),
  // One more or less of anything: the sizes no longer fit. (In versions 1 and 2 no size depends on seqLen.)
  ...[0, 1, 2].flatMap((version) => ['hiddenDim', 'numLayers', 'vocabSize', ...(version ? [] : ['seqLen'])].flatMap((field) => [4, -1].map((by) =>
    [version, at((version ? 8 : 0) + 4 * HEADER.indexOf(field), SMALL[field] + by), /^checkpoint(: expected \d+ bytes, as its header says|\.groupSize: expected a divisor|\.numLayers)/]))),
];

test('broken, truncated and lying checkpoints are refused, each with its reason', async () => {
  const attn = await Attention.create({ variant: 'simd' });
  const model = small();
  const files = [0, 1, 2].map((version) => write(model, version));
  const before = attn.memoryBytes;
  for (const [version, change, message] of refusals)
    await assert.rejects(Llama.create(attn, change(Buffer.from(files[version]))), { name: 'RangeError', message }, `version ${version}, ${change}`);
  // Cut short at every byte of the small file's tables, and where each section begins.
  for (const file of files)
    for (let length = 28; length < file.length; length += length < 300 ? 1 : 97)
      await assert.rejects(Llama.create(attn, file.subarray(0, length)), { name: 'RangeError', message: /^checkpoint/ });
  // Every number of the file that is none.
  for (const version of [0, 1])
    for (const value of [NaN, Infinity, -Infinity]) {
      const file = Buffer.from(files[version]);
      const tables = version === 0 ? (SMALL.seqLen * SMALL.dim) / SMALL.numHeads : 0;
      const floats = (file.length - (version ? 256 : 28)) / 4 - tables;
      for (let i = 0; i < floats; i += 211) {
        const offset = (version ? 256 : 28) + 4 * i;
        const kept = file.readFloatLE(offset);
        file.writeFloatLE(value, offset);
        await assert.rejects(Llama.create(attn, file), { name: 'RangeError', message: /^checkpoint: \w+( of layer \d)? has a number that is not finite$/ });
        file.writeFloatLE(kept, offset);
      }
    }
  const scale = Buffer.from(files[2]);
  scale.writeFloatLE(Infinity, scale.length - 4);
  await assert.rejects(Llama.create(attn, scale), { name: 'RangeError', message: 'checkpoint: w3 of layer 1 has a number that is not finite' });
  scale.writeFloatLE(3e38, scale.length - 4);
  await assert.rejects(Llama.create(attn, scale), { name: 'RangeError', message: /not finite/ });
  assert.ok(attn.memoryBytes - before < 1 << 21);

  // The tables of a version 0 file are not read; files may begin at any byte; a length that lies costs nothing until it is asked for.
  const odd = Buffer.concat([Buffer.alloc(1), files[2]]).subarray(1);
  assert.equal(new Uint8Array(odd.buffer, odd.byteOffset).byteOffset % 2, 1);
  for (const bytes of [odd, new Uint8Array(files[2]).buffer, new DataView(new Uint8Array(files[2]).buffer)])
    assert.deepEqual((await Llama.create(attn, bytes)).sequence().forward([1]).logits, (await Llama.create(attn, files[2])).sequence().forward([1]).logits);
  const long = await Llama.create(attn, at(32, 1 << 24)(Buffer.from(files[1])));
  assert.equal(long.config.seqLen, 1 << 24);
  long.sequence({ capacity: 4 }).forward([1]);
  const wide = await Llama.create(attn, at(32, 1 << 24)(write(randomModel({ ...SMALL, dim: 64, numHeads: 1, numKvHeads: 1 }, random(1), true), 1)));
  assert.throws(() => wide.sequence(), { name: 'RangeError', message: /^capacity: expected at most 2147483647 bytes/ });
  const taken = new Uint8Array(files[0]).buffer;
  await assert.rejects(Llama.create(attn, taken, { onProgress: () => structuredClone(taken, { transfer: [taken] }) }), { name: 'TypeError', message: /^checkpoint: .*taken away/ });
  for (const value of [null, 'model.bin', [1, 2], {}, 5]) await assert.rejects(Llama.create(attn, value), { name: 'TypeError', message: /^checkpoint: expected bytes/ });
  attn.dispose();
});

test('arguments and options that mean nothing are refused', async () => {
  const attn = await Attention.create({ variant: 'simd' });
  const file = write(small(), 1);
  const llama = await Llama.create(attn, file);
  const sequence = llama.sequence();
  const forwardRefused = [
    [[], {}, RangeError, /^tokens: expected at least one token, got 0/],
    ['text', {}, TypeError, /^tokens: expected an array of tokens/],
    [[24], {}, RangeError, /^tokens\[0\]: expected an integer from 0 to 23, got 24/],
    [[1, -1], {}, RangeError, /^tokens\[1\]: /],
    [[1.5], {}, RangeError, /^tokens\[0\]: /],
    [['1'], {}, TypeError, /^tokens\[0\]: /],
    [new Array(33).fill(1), {}, RangeError, /^tokens: expected at most 32 more/],
    [[1], { logits: true }, TypeError, /^logits: expected 'none', 'last', 'all'/],
    [[1], { returnWeights: 1 }, TypeError, /^returnWeights: /],
    [[1], { returnScores: true }, TypeError, /^returnScores: /],
    [[1], { returnProjections: 1 }, TypeError, /^returnProjections: /],
    [[1], { layers: [2] }, RangeError, /^layers\[0\]: expected an integer from 0 to 1/],
    [[1], { heads: 'all' }, TypeError, /^heads: expected an array/],
    [[1], { heads: [4] }, RangeError, /^heads\[0\]: /],
    [[1], { silenced: { layer: 0, head: 0 } }, TypeError, /^silenced: expected an array/],
    [[1], { silenced: [{ layer: 0 }] }, TypeError, /^silenced\[0\]\.head: /],
    [[1], { silenced: [{ layer: 2, head: 0 }] }, RangeError, /^silenced\[0\]\.layer: /],
    [[1], { silenced: [[0, 1]] }, TypeError, /^silenced\[0\]/],
    [[1], { weights: true }, TypeError, /weights: no such option/],
  ];
  for (const [tokens, options, error, message] of forwardRefused) assert.throws(() => sequence.forward(tokens, options), (thrown) => thrown instanceof error && message.test(thrown.message), `${message}`);
  assert.equal(sequence.length, 0);
  for (const [options, message] of [[{ capacity: 0 }, /^capacity: /], [{ capacity: 33 }, /^capacity: expected an integer from 1 to 32/], [{ length: 3 }, /no such option/]])
    assert.throws(() => llama.sequence(options), message.source.startsWith('no') ? { name: 'TypeError', message } : { name: 'RangeError', message });
  assert.throws(() => sequence.truncate(-1), { name: 'RangeError', message: /^length: / });
  const generateRefused = [
    ['Once', {}, TypeError, /^prompt: expected an array of tokens \(a string needs a tokenizer\)/],
    [5, {}, TypeError, /^prompt: /],
    [[], {}, RangeError, /^prompt: expected from 1 to 32 tokens/],
    [new Array(33).fill(1), {}, RangeError, /^prompt: /],
    [[24], {}, RangeError, /^tokens\[0\]: /],
    [[1], { temperature: -1 }, RangeError, /^temperature: /],
    [[1], { temperature: NaN }, RangeError, /^temperature: /],
    [[1], { topP: 0 }, RangeError, /^topP: expected a number above 0, at most 1/],
    [[1], { topP: 1.1 }, RangeError, /^topP: /],
    [[1], { seed: -1 }, RangeError, /^seed: /],
    [[1], { random: 5 }, TypeError, /^random: expected a function/],
    [[1], { temperature: 1, random: () => 1 }, RangeError, /^random: expected numbers from 0 to less than 1, got 1/],
    [[1], { maxTokens: -1 }, RangeError, /^maxTokens: /],
    [[1], { stop: 2 }, TypeError, /^stop: /],
    [[1], { stop: [24] }, RangeError, /^stop\[0\]: /],
    [[1], { signal: 5 }, TypeError, /^signal: expected an AbortSignal/],
    [[1], { onProgress: 5 }, TypeError, /^onProgress: expected a function/],
    [[1], { capacity: 5 }, TypeError, /capacity: no such option/],
  ];
  for (const [prompt, options, error, message] of generateRefused)
    await assert.rejects(collect(llama.generate(prompt, options)), (thrown) => thrown instanceof error && message.test(thrown.message), `${message}`);
  const createRefused = [
    [{ theta: 0 }, RangeError, /^theta: /], [{ theta: '1' }, TypeError, /^theta: /], [{ epsilon: -1 }, RangeError, /^epsilon: /],
    [{ signal: 1 }, TypeError, /^signal: /], [{ onProgress: 1 }, TypeError, /^onProgress: /], [{ tokenizer: 'tok.bin' }, TypeError, /^tokenizer: expected bytes/],
    [{ tokenizer: tokenizerFile(vocabulary([])) }, RangeError, /^tokenizer: expected 24 tokens, as many as the checkpoint has, got 259/],
    [{ vocab: 1 }, TypeError, /no such option/],
  ];
  for (const [options, error, message] of createRefused)
    await assert.rejects(Llama.create(attn, file, options), (thrown) => thrown instanceof error && message.test(thrown.message), `${message}`);
  await assert.rejects(Llama.create(null, file), { name: 'TypeError', message: /^attn: expected an engine/ });
  assert.throws(() => new Llama(), { name: 'TypeError', message: /use await Llama\.create/ });
  assert.throws(() => new LlamaSequence(), { name: 'TypeError', message: /use model\.sequence/ });
  attn.dispose();
});

// run.c's way: look at all pairs, merge the best, look again.
function encodeAsRunC(entries, text) {
  const pieces = entries.map(([, piece]) => Buffer.from(piece).toString('latin1'));
  let ids = [];
  for (const character of text === '' ? [] : ` ${text}`) {
    const bytes = Buffer.from(character);
    const id = pieces.indexOf(bytes.toString('latin1'));
    ids.push(...(id >= 0 ? [id] : Array.from(bytes, (byte) => byte + 3)));
  }
  for (;;) {
    let best = null;
    for (let i = 0; i + 1 < ids.length; i++) {
      const id = pieces.indexOf(pieces[ids[i]] + pieces[ids[i + 1]]);
      const score = id >= 0 ? Math.fround(entries[id][0]) : -Infinity;
      if (score > (best?.score ?? -1e10)) best = { score, id, i };
    }
    if (!best) return [1, ...ids];
    ids = [...ids.slice(0, best.i), best.id, ...ids.slice(best.i + 2)];
  }
}

const PIECES = [' ', 'a', 'b', 'c', 'é', '漢', 'ab', 'ba', 'aa', ' a', 'abc', 'aab', 'bc', ' ab', 'cé', 'abab'].map((piece, i) => [-((i * 7) % 5), piece]);

test('the tokenizer merges as run.c does', () => {
  const entries = vocabulary(PIECES);
  const tokenizer = new Tokenizer(tokenizerFile(entries));
  assert.equal(tokenizer.vocabSize, 259 + PIECES.length);
  const next = random(21);
  const letters = ['a', 'b', 'c', ' ', 'é', '漢', '\n', '😀', 'z', '\0'];
  for (let n = 0; n < 400; n++) {
    const text = Array.from({ length: n % 23 }, () => letters[Math.floor(((next() + 1) / 2) * (n % 2 ? 4 : letters.length))]).join('');
    const ids = tokenizer.encode(text);
    assert.deepEqual(ids, encodeAsRunC(entries, text), JSON.stringify(text));
    assert.equal(tokenizer.decode(ids), text);
    assert.deepEqual(tokenizer.encode(text, { bos: false, eos: true }), [...ids.slice(1), 2]);
  }
  // Never below -1e10.
  const unwilling = new Tokenizer(tokenizerFile(vocabulary([[0, 'a'], [-2e10, 'aa'], [-1e10, ' a'], [0, ' ']])));
  assert.deepEqual(unwilling.encode('aa'), [1, 262, 259, 259]);
  // The first of two that are alike.
  assert.deepEqual(new Tokenizer(tokenizerFile(vocabulary([[0, ' '], [0, 'a'], [0, 'a']]))).encode('a'), [1, 259, 260]);
  const long = 'ab'.repeat(50000);
  assert.equal(tokenizer.decode(tokenizer.encode(long)), long);
  assert.equal(tokenizer.decode(tokenizer.encode('\ud800')), '\ufffd');
});

test('tokens become text as they come', () => {
  const tokenizer = new Tokenizer(tokenizerFile(vocabulary(PIECES)));
  const stream = tokenizer.stream();
  const bytes = Array.from(Buffer.from('😀'), (byte) => byte + 3);
  assert.deepEqual([...bytes, 260].map((token) => stream.push(token)), ['', '', '', '😀', 'a']);
  assert.equal(stream.push(bytes[0]), '');
  assert.equal(stream.end(), '\ufffd');
  // The space behind the beginning is the one that encode put there.
  assert.deepEqual([tokenizer.decode([1, 268, 268]), tokenizer.decode([268]), tokenizer.stream(1).push(268)], ['a a', ' a', 'a']);
  assert.equal(tokenizer.decode([1, 2, 260, 2]), 'a');
  assert.equal(tokenizer.decode([]), '');
  assert.throws(() => tokenizer.decode([999]), { name: 'RangeError', message: /^token: expected an integer from 0 to 274/ });
  assert.throws(() => tokenizer.decode('a'), { name: 'TypeError', message: /^tokens: / });
  assert.throws(() => tokenizer.encode(5), { name: 'TypeError', message: /^text: expected a string/ });
  assert.throws(() => tokenizer.encode('a', { bos: 1 }), { name: 'TypeError', message: /^bos: / });
  assert.throws(() => tokenizer.encode('a', { add: 1 }), { name: 'TypeError', message: /no such option/ });
  const few = new Tokenizer(tokenizerFile([[0, ' '], [0, 'a']]));
  assert.deepEqual(few.encode('a', { bos: false }), [0, 1]);
  assert.throws(() => few.encode('b', { bos: false }), { name: 'RangeError', message: /^text: expected characters of which the tokenizer has a token, got byte 98/ });
  assert.throws(() => few.encode('a', { eos: true }), { name: 'RangeError', message: /^eos: expected false: the tokenizer has only 2 tokens/ });
});

test('broken, truncated and lying tokenizers are refused, each with its reason', () => {
  const file = tokenizerFile(vocabulary(PIECES));
  const starts = new Set([4]);
  for (let offset = 4; offset < file.length;) starts.add(offset += 8 + file.readInt32LE(offset + 4));
  for (let length = 0; length < file.length; length++) {
    const make = () => new Tokenizer(file.subarray(0, length));
    if (starts.has(length) && length > 4) assert.ok(make().vocabSize < 275);
    else assert.throws(make, { name: 'RangeError', message: /^tokenizer: expected / }, `${length} bytes`);
  }
  const changed = (offset, value) => at(offset, value)(Buffer.from(file));
  for (const [bytes, message] of [
    [changed(0, 0), /^tokenizer: expected the length of its longest token, from 1 to 65536 \(is this a llama2\.c tokenizer\?\), got 0/],
    [changed(0, 1 << 30), /longest token/],
    [changed(0, 4), /^tokenizer: expected from 0 to 4 bytes in token 0, as the file says of its longest, got 5/],
    [changed(8, -1), /^tokenizer: expected from 0 to 6 bytes in token 0/],
    [changed(8, 2 ** 31 - 1), /^tokenizer: expected from 0 to 6 bytes in token 0/],
    [changed(4, 0x7fc00000), /^tokenizer: expected a finite score of token 0, got NaN/],
    [changed(4, 0x7f800000), /^tokenizer: expected a finite score of token 0, got Infinity/],
    [write(small(), 0), /^tokenizer: /],
  ]) assert.throws(() => new Tokenizer(bytes), { name: 'RangeError', message });
  assert.throws(() => new Tokenizer('tok512.bin'), { name: 'TypeError', message: /^tokenizer: expected bytes/ });
});

eachVariant('text in, text out', async (attn) => {
  const entries = vocabulary(PIECES);
  const model = randomModel({ ...SMALL, vocabSize: entries.length }, random(31), true);
  const llama = await Llama.create(attn, write(model, 0), { tokenizer: tokenizerFile(entries) });
  const { tokenizer } = llama;
  const steps = await collect(llama.generate('abc é', { temperature: 2, seed: 3, maxTokens: 12 }));
  const tokens = steps.map(({ token }) => token);
  const again = await collect(llama.generate(tokenizer.encode('abc é'), { temperature: 2, seed: 3, maxTokens: 12 }));
  assert.deepEqual(again.map(({ token }) => token), tokens);
  assert.equal(steps.map(({ text }) => text).join(''), tokenizer.decode(tokens));
  const same = await Llama.create(attn, write(model, 0), { tokenizer });
  assert.equal(same.tokenizer, tokenizer);
  // Where nothing is held back, the beginning or the end of a text ends it.
  model.output = model.embedding.slice();
  model.output.fill(0);
  model.output.set(model.finalNorm, 2 * 16);
  model.layers.forEach((layer) => { layer.wo.fill(0); layer.w2.fill(0); });
  model.embedding.fill(1);
  const ending = await Llama.create(attn, write(model, 0), { tokenizer });
  assert.deepEqual((await collect(ending.generate(''))).map(({ token, text }) => [token, text]), [[2, '']]);
  assert.equal((await collect(ending.generate('', { stop: [] }))).length, 32);
  // Of equals the first.
  model.output.fill(0);
  const equal = await Llama.create(attn, write(model, 0), { tokenizer });
  assert.deepEqual((await collect(equal.generate('', { maxTokens: 3 }))).map(({ token }) => token), [0, 0, 0]);
});

test('index.d.ts declares what there is', async () => {
  const types = readFileSync(new URL('../../web/lib/llama/index.d.ts', import.meta.url), 'utf8').replace(/\/\*.*?\*\//gs, '');
  const attn = await Attention.create({ variant: 'scalar' });
  const tokenizer = new Tokenizer(tokenizerFile(vocabulary(PIECES)));
  const model = await Llama.create(attn, write(small(), 0));
  const objects = { Llama: model, LlamaSequence: model.sequence(), Tokenizer: tokenizer };
  const lib = await import('../../web/lib/llama/index.js');
  assert.deepEqual(Object.keys(lib).sort(), [...types.matchAll(/^export class (\w+)/gm)].map(([, name]) => name).sort());
  for (const [name, object] of Object.entries(objects)) {
    const body = new RegExp(`^export class ${name} \\{(.*?)^\\}`, 'ms').exec(types)[1];
    const declared = [...body.matchAll(/^ {2}(?:readonly )?(\w+|\[Symbol\.dispose\])[(:]/gm)].map(([, member]) => member);
    const members = [...Object.keys(object), ...Object.getOwnPropertyNames(Object.getPrototypeOf(object))];
    const known = (member) => member !== 'constructor' && member !== '[Symbol.dispose]' && member !== '@@dispose';
    assert.deepEqual(members.filter(known).sort(), declared.filter(known).sort(), name);
    if (declared.includes('[Symbol.dispose]')) assert.equal(typeof object[Symbol.dispose ?? '@@dispose'], 'function', name);
  }
  attn.dispose();
});

test('random damage is refused or harmless, never a crash', async () => {
  const attn = await Attention.create({ variant: 'simd' });
  const next = random(41);
  const below = (end) => Math.floor(((next() + 1) / 2) * end);
  const files = [0, 1, 2].map((version) => write(small(), version));
  const words = tokenizerFile(vocabulary(PIECES));
  for (let n = 0; n < 600; n++) {
    const file = Buffer.from(files[n % 3]);
    for (let i = below(3); i >= 0; i--) file[n % 2 ? below(64) : below(file.length)] = below(256);
    try {
      const llama = await Llama.create(attn, file);
      llama.sequence({ capacity: 4 }).forward([1, 2]);
      llama.free();
    } catch (error) {
      assert.ok((error instanceof RangeError && /^checkpoint/.test(error.message)), `${error.stack}`);
    }
    const bytes = Buffer.from(words);
    for (let i = below(3); i >= 0; i--) bytes[below(bytes.length)] = below(256);
    try {
      const tokenizer = new Tokenizer(bytes);
      tokenizer.decode(tokenizer.encode('ab cé'));
    } catch (error) {
      assert.ok(error instanceof RangeError && /^(tokenizer|text)/.test(error.message), `${error.stack}`);
    }
  }
  attn.dispose();
});

// Other people's model: read from ../shared, skipped by name without it.
const STORIES = [
  ['greedy', {}, `Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she said, "I'm sorry, mom. I didn't know what to do." Her mom said, "Don't worry, Lily. We can help you.`],
  ['-t 1.0 -p 0.9 -s 133742', { temperature: 1, topP: 0.9 }, `Once upon a time, there was a little boy named Timmy. Timmy loved to play with his toys and eat sandwiches. One day, Timmy's mom told him it was time to rest for a while. Timmy's friend Billy came over and took him a down.
Timmy's mom saw that Timmy was sad, but Timmy said, "I didn't understand what is it! We need to find some leafs." Timmy thought about it and took a deep breath on a spoon. He hoped it was important to be kind and continued to find its image next time.
After they finished getting, Timmy's dad came up to his house and promised to help Timmy.`],
];

// run.c's generator: xorshift64*.
function xorshift(seed) {
  let state = BigInt(seed);
  const wrap = (x) => BigInt.asUintN(64, x);
  return () => {
    state ^= state >> 12n;
    state ^= wrap(state << 25n);
    state ^= state >> 27n;
    return Number(wrap(state * 0x2545f4914f6cdd1dn) >> 40n) / 2 ** 24;
  };
}

const realNames = ['a real model attends as its own program says', 'a real model tells the stories of its documentation', 'a real model in int8 is the model it stands for'];
if (!HAVE_SHARED) for (const name of realNames) test(name, { skip: 'needs ../shared/models' }, () => {});
else {
  const load = (attn) => Llama.create(attn, shared('stories260K.bin'), { tokenizer: shared('tok512.bin') });
  const { sentences } = JSON.parse(shared('stories260K_runc_attention.json'));

  eachVariant(realNames[0], async (attn) => {
    const llama = await load(attn);
    for (const { text, ids, tokens, attention_rows: rows, logits_last: last } of sentences) {
      assert.deepEqual(llama.tokenizer.encode(text), ids);
      assert.equal(tokens.length, ids.length);
      assert.equal(llama.tokenizer.decode(ids), text);
      const sequence = llama.sequence();
      const { weights, logits } = sequence.forward(ids, { returnWeights: true });
      weights.forEach(({ data }, layer) => near(data, rows[layer].flatMap((head) => head.flatMap((row) => [...row, ...new Array(ids.length - row.length).fill(0)])), 2e-5, `layer ${layer}`));
      near(logits.data, last, 1e-4, 'logits');
      // The same token by token.
      sequence.reset();
      const ended = ids.map((id) => sequence.forward([id], { returnWeights: true })).at(-1);
      ended.weights.forEach(({ data }, layer) => near(data, rows[layer].flatMap((head) => head.at(-1)), 2e-5, `decoded, layer ${layer}`));
      near(ended.logits.data, logits.data, 5e-5, 'decoded logits');
      sequence.free();
    }
  });

  eachVariant(realNames[1], async (attn) => {
    const llama = await load(attn);
    for (const [name, options, story] of STORIES) {
      const steps = await collect(llama.generate('', { maxTokens: 256, ...options, random: xorshift(133742) }));
      assert.equal(steps.map(({ text }) => text).join(''), story, name);
    }
  });

  test(realNames[2], async () => {
    const attn = await Attention.create({ variant: 'simd' });
    const file = shared('stories260K.bin');
    const names = HEADER.map((name, i) => [name, file.readInt32LE(4 * i)]);
    const config = Object.fromEntries(names);
    const shapes = shapesOf(config);
    let offset = 28;
    const take = (name) => {
      const from = offset;
      offset += 4 * shapes[name].reduce((a, b) => a * b);
      return new Float32Array(Uint8Array.from(file.subarray(from, offset)).buffer);
    };
    const embedding = take('embedding');
    const layers = Array.from({ length: config.numLayers }, () => ({}));
    for (const name of ['attentionNorm', 'wq', 'wk', 'wv', 'wo', 'feedForwardNorm', 'w1', 'w2', 'w3']) for (const layer of layers) layer[name] = take(name);
    const model = { config, embedding, output: embedding, finalNorm: take('finalNorm'), layers };
    const { ids } = sentences[0];
    const want = forward(dequantised(model, 64), ids);
    const llama = await Llama.create(attn, write(model, 2, 64));
    const { logits, weights } = llama.sequence().forward(ids, { logits: 'all', returnWeights: true });
    near(logits.data, want.logits.flat(), 1e-4, 'logits');
    weights.forEach(({ data }, layer) => near(data, want.weights[layer].flat(2), 2e-5, `layer ${layer}`));
    attn.dispose();
  });
}
