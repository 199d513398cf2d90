// The hand-built heads, without a browser: the model's vectors multiplied out in float64.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildModel, headKinds } from '../../web/page/model.js';
import { tokenize, MAX_TOKENS } from '../../web/page/tokens.js';
import { causal, DEFAULT_TOKENS, headScores, softmaxRows } from './reference.mjs';

const rows = ({ data, shape: [n, width] }) => Array.from({ length: n }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)));
const dot = (a, b) => a.reduce((sum, x, f) => sum + x * b[f], 0);

/** Weights of every head, [head][query][key], from X and W alone. */
function weightsOf(tokens, { headDim = 16, gain = 4, scaled = true, visible = causal, kinds = headKinds.slice(0, 4) } = {}) {
  const model = buildModel(tokens, { kinds, headDim, gain, seed: 1 });
  const [x, wq, wk] = [model.x, model.wq, model.wk].map(rows);
  return kinds.map((_, h) => {
    const part = (w) => x.map((row) => w.slice(h * headDim, (h + 1) * headDim).map((weights) => dot(row, weights)));
    const [q, k] = [part(wq), part(wk)];
    const scale = scaled ? 1 / Math.sqrt(headDim) : 1;
    return softmaxRows(q.map((a) => k.map((b) => scale * dot(a, b))), visible);
  });
}

test('each head does what its name says: its weights are those of the rule in words', () => {
  for (const headDim of [16, 32]) {
    const kinds = headKinds.filter((kind) => kind !== 'random');
    const found = weightsOf(DEFAULT_TOKENS, { headDim, kinds, visible: () => true });
    kinds.forEach((kind, h) => {
      const expected = softmaxRows(headScores(kind, DEFAULT_TOKENS, 4));
      expected.forEach((row, i) => row.forEach((weight, j) => {
        assert.ok(Math.abs(found[h][i][j] - weight) < 1e-6, `${kind} d=${headDim} [${i}][${j}]: ${found[h][i][j]}, not ${weight}`);
      }));
    });
  }
});

test('the numbers that the design quotes for row 9, "cat"', () => {
  const [previous, same, followed, first] = weightsOf(DEFAULT_TOKENS);
  const row = 8;
  assert.equal(previous[row][7].toFixed(2), '0.87');
  assert.equal(same[row][1].toFixed(2), '0.47');
  assert.equal(same[row][8].toFixed(2), '0.47');
  assert.equal(followed[row][2].toFixed(2), '0.87');
  assert.equal(first[row][0].toFixed(2), '0.87');
});

test('without the division by sqrt(d) the rows saturate', () => {
  const [previous, same, followed, first] = weightsOf(DEFAULT_TOKENS, { scaled: false });
  assert.equal(previous[8][7].toFixed(3), '1.000');
  assert.equal(same[8][1].toFixed(3), '0.500');
  assert.equal(followed[8][2].toFixed(3), '1.000');
  assert.equal(first[8][0].toFixed(3), '1.000');
});

test('in a text of 300 words the previous word still gets more than any other', () => {
  const tokens = Array.from({ length: 300 }, (_, i) => `w${i % 90}`);
  const [previous] = weightsOf(tokens, { gain: 8, kinds: ['previous'] });
  for (let i = 1; i < tokens.length; i += 1) {
    assert.equal(previous[0]?.length, 300);
    assert.equal(previous[i].indexOf(Math.max(...previous[i])), i - 1, `row ${i}`);
  }
});

test('the value map keeps words apart: up to d words have orthogonal codes of length 1', () => {
  const { codes } = buildModel(DEFAULT_TOKENS, { kinds: ['same'], headDim: 16, gain: 4, seed: 1 });
  const words = rows(codes);
  assert.equal(words.length, 9);
  words.forEach((a, i) => words.forEach((b, j) => assert.ok(Math.abs(dot(a, b) - (i === j ? 1 : 0)) < 1e-6)));
});

test('tokens: words and marks, any script, nothing lost and nothing invented', () => {
  assert.deepEqual(tokenize('The cat sat.').tokens, ['The', 'cat', 'sat', '.']);
  assert.deepEqual(tokenize('').tokens, []);
  assert.deepEqual(tokenize('  \n\t ').tokens, []);
  assert.deepEqual(tokenize('<img onerror=x>').tokens, ['<', 'img', 'onerror', '=', 'x', '>']);
  assert.deepEqual(tokenize('שלום עולם').tokens, ['שלום', 'עולם']);
  assert.deepEqual(tokenize('👩‍👩‍👧 ok').tokens, ['👩‍👩‍👧', 'ok']);
  assert.equal(tokenize('cafe\u0301').tokens.join('|'), 'café');
  const long = tokenize('a '.repeat(MAX_TOKENS + 3));
  assert.equal(long.tokens.length, MAX_TOKENS);
  assert.equal(long.dropped, 3);
});

test('what nobody sees is no word: zero-width spaces, changes of direction, lone joiners', () => {
  assert.deepEqual(tokenize('a\u200B \u202Eb\u202C \u2066 \uFE0F \u200D c').tokens, ['a', 'b', 'c']);
  assert.deepEqual(tokenize('\u{1F469}\u200D\u{1F469} n\u00ADo').tokens, ['\u{1F469}\u200D\u{1F469}', 'no']);
  assert.deepEqual(tokenize('\u200B\u2060').tokens, []);
});
