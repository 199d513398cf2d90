// What the worker computes, in Node with the real engine, against float64 from the rules in words.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Attention } from '../../web/lib/index.js';
import { largestOf, subtract } from '../../web/page/arithmetic.js';
import { attendTensors, attendText, columnTerms, edited, rowTerms, softmaxGradient } from '../../web/page/attend.js';
import { Decoder, squareRootFigure, textbookSteps, textbookTensors } from '../../web/page/figures.js';
import { attendLarge, Cancelled, largeHead } from '../../web/page/large.js';
import { headKinds, normals } from '../../web/page/model.js';
import { pairOf } from '../../web/page/pair.js';
import { causal, DEFAULT_TOKENS, headScores, matrixProduct, softmaxRows } from './reference.mjs';

let attn;
before(async () => { attn = await Attention.create({ threads: 1 }); });
after(() => attn?.dispose());

const job = (change = {}) => ({
  tokens: DEFAULT_TOKENS, kind: 'named', heads: 4, headDim: 16, gain: 4, seed: 1, mask: { kind: 'causal' }, score: 'dot', scaled: true, temperature: 1, edits: {}, head: 0, ...change,
});
const n = DEFAULT_TOKENS.length;
const near = (a, b, tolerance, what) => assert.ok(Math.abs(a - b) <= tolerance, `${what}: ${a} is not ${b}`);
const visible = {
  causal, none: () => true, window: (i, j) => j >= i - 1 && j <= i + 2, length: (i, j) => j < 5, drawn: (i, j) => !(i === 3 && j !== 3) && !(i === 5),
};
const masks = {
  causal: { kind: 'causal' }, none: { kind: 'none' }, window: { kind: 'window', left: 1, right: 2 }, length: { kind: 'length', length: 5 },
  drawn: { kind: 'drawn', blocked: Array.from({ length: n }, (_, j) => [[3, j], [5, j]]).flat().filter(([i, j]) => i === 5 || j !== 3) },
};

for (const [name, mask] of Object.entries(masks)) {
  test(`weights, scores and outputs of every head under the mask "${name}"`, () => {
    const result = attendText(attn, job({ mask }));
    for (let head = 0; head < 4; head += 1) {
      const scores = headScores(headKinds[head], DEFAULT_TOKENS, 4);
      const weights = softmaxRows(scores, visible[name]);
      for (let i = 0; i < n; i += 1) {
        for (let j = 0; j < n; j += 1) {
          const at = (head * n + i) * n + j;
          near(result.weights.data[at], weights[i][j], 1e-5, `weight ${head} ${i} ${j}`);
          near(result.dots.data[at], scores[i][j] * 4, 2e-4, `dot ${head} ${i} ${j}`);
          if (visible[name](i, j)) near(result.scores.data[at], scores[i][j], 1e-4, `score ${head} ${i} ${j}`);
          else assert.equal(result.scores.data[at], -Infinity);
        }
      }
      // What is read back as words is the weight that each word got.
      const words = matrixProduct(weights, DEFAULT_TOKENS.map((token) => result.words.map((word) => (token.toLowerCase() === word ? 1 : 0))));
      words.forEach((row, i) => row.forEach((share, w) => near(result.decoded.data[(head * n + i) * result.words.length + w], share, 1e-5, `word ${w} of row ${i}`)));
    }
  });
}

test('temperature and the switch for the scale', () => {
  for (const [change, gain] of [[{ temperature: 2 }, 2], [{ scaled: false }, 16], [{ scaled: false, temperature: 4 }, 4]]) {
    const result = attendText(attn, job(change));
    const expected = softmaxRows(headScores('same', DEFAULT_TOKENS, gain), causal);
    expected.forEach((row, i) => row.forEach((weight, j) => near(result.weights.data[(n + i) * n + j], weight, 1e-5, `${i} ${j}`)));
  }
});

test('statistics: entropy and pattern of each head are those of its weights', () => {
  const { stats } = attendText(attn, job());
  assert.deepEqual(stats.map(({ pattern }) => pattern), ['previous', 'same', 'followed', 'first']);
  const weights = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal);
  const entropy = weights.reduce((sum, row) => sum - row.reduce((s, a) => s + (a > 0 ? a * Math.log2(a) : 0), 0), 0) / n;
  near(stats[1].entropy, entropy, 1e-5, 'entropy');
  near(stats[1].largest, weights.reduce((sum, row) => sum + Math.max(...row), 0) / n, 1e-5, 'largest');
  // Rows whose word also stands before them: "the" and "cat" once more; "The" once more before that.
  const rows = [4, 7, 8];
  const same = (i) => weights[i].reduce((sum, a, j) => sum + (DEFAULT_TOKENS[j].toLowerCase() === DEFAULT_TOKENS[i].toLowerCase() ? a : 0), 0);
  near(stats[1].share, rows.reduce((sum, i) => sum + same(i), 0) / 3, 1e-5, 'share');
});

test('the terms of a row add up to what the page shows', () => {
  const result = attendText(attn, job());
  const terms = rowTerms(attn, result, { head: 1, row: 8, col: 1 });
  near(terms.products.reduce((a, b) => a + b), terms.at.dot, 1e-5, 'products');
  near(terms.at.dot, 16, 1e-4, 'dot');
  near(terms.rowSum, 1, 1e-6, 'row sum');
  near(terms.sum, 2 * Math.exp(4) + 7, 1e-4, 'sum of exponentials');
  near(terms.powers[1], Math.exp(4), 1e-4, 'exponential');
  assert.deepEqual([terms.shift, terms.scores[9], terms.powers[9]], [0, -Infinity, 0]);
  terms.part.forEach((x, f) => near(x, terms.at.weight * terms.value[f], 1e-6, 'part'));
  const column = columnTerms(attn, result, { head: 1, col: 1 });
  near(column.sum, softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal).reduce((sum, row) => sum + row[1], 0), 1e-5, 'column sum');
});

test('the gradient of softmax, against differences of float64 softmax', () => {
  const result = attendText(attn, job());
  const data = softmaxGradient(attn, result.weights.data.slice((n + 8) * n, (n + 9) * n));
  const scores = headScores('same', DEFAULT_TOKENS, 4);
  const step = 1e-5;
  for (let s = 0; s <= 8; s += 1) {
    const moved = (by) => softmaxRows(scores.map((row, i) => row.map((x, j) => (i === 8 && j === s ? x + by : x))), causal)[8];
    const [up, down] = [moved(step), moved(-step)];
    for (let j = 0; j < n; j += 1) near(data[s * n + j], (up[j] - down[j]) / (2 * step), 1e-5, `d a${j} / d s${s}`);
  }
});

test('multiplicative: q . W k, and additive: u . tanh(...), against float64', () => {
  const result = attendText(attn, job({ score: 'multiplicative', heads: 1 }));
  const rows = (data, d) => Array.from({ length: data.length / d }, (_, i) => Array.from(data.slice(i * d, (i + 1) * d)));
  const [q, k, w] = [rows(result.q.data, 16), rows(result.keys.data, 16), rows(result.general.data, 16)];
  const dot = (a, b) => a.reduce((sum, x, f) => sum + x * b[f], 0);
  const scores = q.map((a) => k.map((b) => dot(a, w.map((line) => dot(line, b)))));
  scores.forEach((row, i) => row.forEach((x, j) => near(result.dots.data[i * n + j], x, 2e-3, `multiplicative ${i} ${j}`)));

  const additive = attendText(attn, job({ score: 'additive', heads: 2, temperature: 2 }));
  const u = (2 * 4) / (16 * (3 * Math.tanh(1) - Math.tanh(3)));
  const [q2, k2] = [rows(additive.q.data.slice(n * 16), 16), rows(additive.keys.data.slice(n * 16), 16)];
  const energies = q2.map((a) => k2.map((b) => u * a.reduce((sum, x, f) => sum + Math.tanh(x + b[f] - 1) + Math.tanh(-x - b[f] - 1), 0)));
  const weights = softmaxRows(energies.map((row) => row.map((x) => x / 2)), causal);
  energies.forEach((row, i) => row.forEach((x, j) => {
    near(additive.dots.data[(n + i) * n + j], x, 1e-4, `additive ${i} ${j}`);
    near(additive.weights.data[(n + i) * n + j], weights[i][j], 1e-5, `additive weight ${i} ${j}`);
  }));
  near(energies[8][1] - energies[8][2], 4, 1e-6, 'a match scores `gain` more');
  const terms = rowTerms(attn, additive, { head: 1, row: 8, col: 1 });
  assert.equal(terms.products.length, 32);
  near(terms.products.reduce((a, b) => a + b), energies[8][1], 1e-5, 'the terms of the score');
  terms.weights.forEach((a, j) => near(a, weights[8][j], 1e-5, `explained weight ${j}`));
});

test('an edited number changes exactly what follows from it', () => {
  const plain = attendText(attn, job());
  const edited = attendText(attn, job({ edits: { q: { [(1 * n + 8) * 16 + 1]: 3 } } }));
  const moved = subtract(attn, edited.weights.data, plain.weights.data);
  for (let at = 0; at < moved.length; at += 1) if (Math.floor(at / n) !== n + 8) assert.equal(moved[at], 0);
  assert.ok(moved.some((x) => Math.abs(x) > 1e-3));
});

test('numbers of an opened file change in a copy', () => {
  const tensor = { data: Float32Array.of(1, 2), shape: [1, 1, 1, 2] };
  const { q, k } = edited({ q: tensor, k: tensor, v: tensor }, { q: { 1: 7 } });
  assert.deepEqual([[...q.data], [...k.data], [...tensor.data]], [[1, 7], [1, 2], [1, 2]]);
});

test('two settings of different sizes: what both have, and the averages over all heads of each', () => {
  const first = attendText(attn, job());
  const second = attendText(attn, job({ heads: 2, headDim: 32, tokens: DEFAULT_TOKENS.slice(0, 7), mask: masks.none }));
  const pair = pairOf(attn, first, second, { means: true });
  assert.deepEqual([pair.heads, pair.n, pair.m], [2, 7, 7]);
  const weights = (answer, h, i, j) => answer.weights.data[(h * answer.n + i) * answer.m + j];
  const mean = (answer, i, j) => Array.from({ length: answer.heads }, (_, h) => weights(answer, h, i, j)).reduce((a, b) => a + b) / answer.heads;
  for (let i = 0; i < 7; i += 1) {
    for (let j = 0; j < 7; j += 1) {
      for (let h = 0; h < 2; h += 1) near(pair.difference.data[(h * 7 + i) * 7 + j], weights(first, h, i, j) - weights(second, h, i, j), 1e-7, `${h} ${i} ${j}`);
      near(pair.means.difference.data[i * 7 + j], mean(first, i, j) - mean(second, i, j), 1e-6, `mean ${i} ${j}`);
    }
  }
  near(pair.means.first.data[8 * n + 1], mean(first, 8, 1), 1e-6, 'the first keeps its size');
  assert.equal(pairOf(attn, first, first, { means: false }).means, null);
  assert.ok(pairOf(attn, first, first, { means: false }).difference.data.every((x) => x === 0));
});

test('random tensors with more queries than keys and grouped heads', () => {
  const normal = normals(7);
  const tensor = (...shape) => ({ data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, normal), shape });
  const [q, k, v] = [tensor(1, 4, 5, 8), tensor(1, 2, 3, 8), tensor(1, 2, 3, 6)];
  const result = attendTensors(attn, { q, k, v }, job({ mask: { kind: 'none' } }));
  for (let head = 0; head < 4; head += 1) {
    const from = Math.floor(head / 2) * 3;
    const scores = Array.from({ length: 5 }, (_, i) => Array.from({ length: 3 }, (__, j) => Array.from({ length: 8 }, (___, f) => q.data[(head * 5 + i) * 8 + f] * k.data[(from + j) * 8 + f]).reduce((a, b) => a + b) / Math.sqrt(8)));
    softmaxRows(scores).forEach((row, i) => row.forEach((weight, j) => near(result.weights.data[(head * 5 + i) * 3 + j], weight, 1e-5, `${head} ${i} ${j}`)));
  }
});

for (const mask of [masks.causal, masks.none, { kind: 'window', left: 30, right: 7 }, { kind: 'length', length: 200 }]) {
  test(`long sequences in blocks give the weights of one whole call: ${mask.kind}`, async () => {
    const tokens = Array.from({ length: 600 }, (_, i) => `w${(i * 7) % 83}`);
    const settings = job({ tokens, heads: 2, headDim: 16, gain: 6, mask, head: 1 });
    const whole = attendText(attn, settings);
    const large = await attendLarge(attn, settings, null, async () => {});
    const size = 600 * 600;
    assert.equal(large.weights.head, 1);
    large.weights.data.forEach((a, at) => { if (Math.abs(a - whole.weights.data[size + at]) > 1e-6) assert.fail(`weight ${at}`); });
    const other = await largeHead(attn, large, { head: 0, stage: 'weights' }, async () => {});
    other.data.forEach((a, at) => { if (Math.abs(a - whole.weights.data[at]) > 1e-6) assert.fail(`head 0, weight ${at}`); });
    large.stats.forEach((stat, h) => {
      near(stat.entropy, whole.stats[h].entropy, 1e-3, 'entropy');
      assert.equal(stat.pattern, whole.stats[h].pattern);
    });
    const row = rowTerms(attn, { ...large, weights: null }, { head: 0, row: 500, col: 3 });
    const same = rowTerms(attn, whole, { head: 0, row: 500, col: 3 });
    near(row.at.weight, same.at.weight, 1e-6, 'the row computed again');
    assert.equal(row.at.score === -Infinity, same.at.score === -Infinity);
    for (const stage of ['dots', 'scores']) {
      const matrix = await largeHead(attn, large, { head: 1, stage }, async () => {});
      matrix.data.forEach((x, at) => { if (!(x === whole[stage].data[size + at] || Math.abs(x - whole[stage].data[size + at]) <= 1e-4)) assert.fail(`${stage} ${at}: ${x}`); });
      matrix.rowHighs.forEach((high, i) => near(high, Math.max(...Array.from(whole[stage].data.slice(size + i * 600, size + (i + 1) * 600), (x) => (x === -Infinity ? 0 : Math.abs(x)))), 1e-4, `${stage}, row ${i}`));
    }
    const gradient = await largeHead(attn, large, { head: 1, stage: 'gradient', row: 500 }, async () => {});
    softmaxGradient(attn, whole.weights.data.slice(size + 500 * 600, size + 501 * 600)).forEach((x, at) => { if (Math.abs(x - gradient.data[at]) > 1e-6) assert.fail(`gradient ${at}`); });
    const seen = (i, j) => i < 600 && j < 600 && whole.scores.data[size + i * 600 + j] !== -Infinity;
    large.weights.pooled.forEach(({ data, rows, cols }, at) => {
      const step = 2 << at;
      assert.deepEqual([rows, cols], [600 / step, 600 / step]);
      for (const [i, j] of [[0, 0], [10, 9], [rows - 1, 0], [rows / 2, rows / 2]]) {
        const cells = Array.from({ length: step * step }, (_, c) => [step * i + Math.floor(c / step), step * j + (c % step)]).filter(([a, b]) => seen(a, b));
        const best = Math.max(...cells.map(([a, b]) => large.weights.data[a * 600 + b]));
        assert.equal(data[i * cols + j], cells.length ? best : NaN, `${step}: ${i} ${j}`);
      }
    });
    const column = Float32Array.from({ length: 600 }, (_, i) => large.weights.data[i * 600 + 3]);
    near(columnTerms(attn, large, { head: 1, col: 3, column }).sum, columnTerms(attn, whole, { head: 1, col: 3 }).sum, 1e-4, 'column sum');
  });
}

test('long work stops when it is cancelled', async () => {
  const tokens = Array.from({ length: 600 }, (_, i) => `w${i % 83}`);
  let calls = 0;
  await assert.rejects(attendLarge(attn, job({ tokens }), null, async () => { calls += 1; if (calls === 2) throw new Cancelled(); }), Cancelled);
  assert.equal(calls, 2);
});

test('decoding with the cache gives the rows of the whole computation, at any step, in any order', () => {
  const result = attendText(attn, job());
  const decoder = new Decoder(attn, result);
  for (const step of [0, 1, 2, 7, 3, 11, 0]) {
    const { gap, products, bytes } = decoder.step(step);
    assert.ok(gap <= 1e-6, `step ${step}: ${gap}`);
    assert.equal(bytes, 4 * (step + 1) * 32 * 4);
    assert.equal(products.row, 4 * 32 * (step + 1));
    let again = 0;
    for (let t = 0; t <= step; t += 1) for (let i = 0; i <= t; i += 1) again += (i + 1) * 4 * 32;
    assert.equal(products.again, again);
    near(products.saved, 1 - products.cached / again, 1e-12, 'saved');
  }
  decoder.free();
});

test('the textbook example, to the last digit', () => {
  const steps = textbookSteps(attn, { edits: {}, scaled: false });
  assert.deepEqual(steps.output, [0.6524979187478941, 0.852497918747894]);
  assert.equal(steps.weights[0].toFixed(4), '0.4750');
  const { weights } = attendTensors(attn, textbookTensors({ edits: {} }), job({ mask: { kind: 'none' }, scaled: false }));
  assert.deepEqual([...weights.data], steps.weights);
  // The panel and the matrix beside it follow the same settings.
  const warm = textbookSteps(attn, { edits: { q: { 0: 3 } }, scaled: true, temperature: 2.5 });
  const drawn = attendTensors(attn, textbookTensors({ edits: { q: { 0: 3 } } }), job({ mask: { kind: 'none' }, scaled: true, temperature: 2.5 }));
  warm.weights.forEach((weight, j) => assert.ok(Math.abs(weight - drawn.weights.data[j]) < 1e-12, `${weight}, not ${drawn.weights.data[j]}`));
});

test('the largest size of a number', () => {
  assert.deepEqual([[], [0], [1, -3, 2], [-Infinity, 1], [2, NaN, 1]].map(largestOf), [0, 0, 3, Infinity, NaN]);
});

test('why the division by sqrt(d): without it the largest weight grows with d, with it nothing does', () => {
  const { sizes, plain, scaled } = squareRootFigure(attn, { seed: 1 });
  const at = (d) => sizes.indexOf(d);
  assert.ok(plain[at(1024)].largest > 0.9 && plain[at(4)].largest < 0.6);
  for (const { largest, variance } of scaled) {
    assert.ok(largest > 0.2 && largest < 0.4, `largest ${largest}`);
    assert.ok(variance > 0.7 && variance < 1.4, `variance ${variance}`);
  }
  near(plain[at(1024)].variance / 1024, scaled[at(1024)].variance, 1e-3, 'variance grows as d');
});
