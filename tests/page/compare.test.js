// Two settings of different sizes side by side: what is compared is said in words, and is never a wrong matrix.

import assert from 'node:assert/strict';
import { after as atEnd, before, test } from 'node:test';
import { colorTable } from '../../web/page/colormaps.js';
import { headKinds } from '../../web/page/model.js';
import { presetSettings } from '../../web/page/presets.js';
import { defaults, toHash } from '../../web/page/state.js';
import { after, cellPixel, startBrowser } from './browser.mjs';
import { json } from './make.mjs';
import { causal, DEFAULT_TOKENS, headScores, softmaxRows } from './reference.mjs';

let browser;
before(async () => { browser = await startBrowser(); });
atEnd(() => browser?.close());

const N = DEFAULT_TOKENS.length;
const other = { mask: { kind: 'none' }, scaled: true, temperature: 1, gain: 4, score: 'dot' };
const open = (settings) => browser.open({ hash: toHash({ ...defaults, panel: 'compare', stage: 'difference', ...settings }) });
const closed = async (page) => {
  assert.deepEqual(page.complaints, []);
  await page.context().close();
};
const weightsOf = (kind, tokens, visible) => softmaxRows(headScores(kind, tokens, 4), visible);
const mean = (matrices) => matrices[0].map((row, i) => row.map((_, j) => matrices.reduce((sum, matrix) => sum + matrix[i][j], 0) / matrices.length));
/** Each cell of a pane against expected weights, or of the difference against its own colour scale. */
async function compareCells(page, pane, expected, { map = 'cividis', at = (x) => Math.round(255 * x), cells }) {
  for (const [row, col] of cells) {
    const found = await cellPixel(page, `.pane:nth-child(${pane}) .matrix-heat`, { rows: expected.length, cols: expected[0].length, row, col, dx: 0.3, dy: 0.3 });
    const wanted = [...colorTable(map).subarray(3 * at(expected[row][col]), 3 * at(expected[row][col]) + 3)];
    assert.ok(found.every((x, c) => Math.abs(x - wanted[c]) <= 6), `pane ${pane}, ${row} ${col}: ${found}, not ${wanted}`);
  }
}

test('8 heads against 2: a head that both have is compared; of others, the averages', async () => {
  const page = await open({ heads: 8, head: 1, compare: { ...other, heads: 2, headDim: 32 } });
  const facts = page.locator('.compare-facts');
  assert.equal(await facts.innerText(), 'Head 2 of both is compared; the first setting has 8 heads, the second 2.');
  assert.deepEqual(await page.locator('.pane h2').allInnerTexts(), ['First: like GPT, 8 heads, d = 16', 'Second: like BERT, 2 heads, d = 32', 'First minus second']);
  const cells = [[0, 0], [4, 0], [8, 1], [8, 8], [11, 11]];
  await compareCells(page, 1, weightsOf('same', DEFAULT_TOKENS, causal), { cells });
  await compareCells(page, 2, weightsOf('same', DEFAULT_TOKENS), { cells });
  // Only where a cell is hidden from both the difference has to say how that looks.
  assert.deepEqual(await page.locator('.pane .colorbar-masked').evaluateAll((legends) => legends.map(({ hidden }) => hidden)), [false, true, true]);
  await after(page, () => page.locator('.head').nth(6).click());
  assert.equal(await facts.innerText(), 'Only one of the two has a head 7: the averages over all heads are compared (8 and 2).');
  await compareCells(page, 2, mean(['previous', 'same'].map((kind) => weightsOf(kind, DEFAULT_TOKENS))), { cells });
  await closed(page);
});

test('two settings alike: it is said that nothing differs', async () => {
  const page = await open({ head: 1, compare: { ...other, mask: { kind: 'causal' } } });
  assert.match(await page.locator('.compare-facts').innerText(), /They do not differ anywhere\.$/);
  await closed(page);

  const overflowing = Object.fromEntries(Array.from({ length: 600 }, (_, i) => [i, 3e38]));
  const nowhere = await open({ head: 1, compare: { ...other, mask: { kind: 'causal' } }, edits: { q: overflowing, k: overflowing } });
  assert.match(await nowhere.locator('.compare-facts').innerText(), /compared\.$/);
  await nowhere.getByRole('tab', { name: 'Weights', exact: true }).click();
  assert.match(await nowhere.locator('.readout').innerText(), /weight NaN/);
  await closed(nowhere);
});

test('the average over all heads, on request, in every pane and on the stage', async () => {
  const page = await open({ head: 1, compare: other });
  await after(page, () => page.getByLabel('Compared').selectOption('mean'));
  const first = mean(headKinds.slice(0, 4).map((kind) => weightsOf(kind, DEFAULT_TOKENS, causal)));
  const second = mean(headKinds.slice(0, 4).map((kind) => weightsOf(kind, DEFAULT_TOKENS)));
  const cells = [[0, 0], [5, 0], [8, 1], [10, 2]];
  await compareCells(page, 1, first, { cells });
  await compareCells(page, 2, second, { cells });
  assert.match(await page.locator('.stage-what').innerText(), /averages over all heads are compared: 4 in the first setting, 4 in the second/);
  const [, shown] = (await page.locator('.readout').innerText()).match(/difference (\S+)/);
  assert.equal(shown.replace('−', '-'), (first[8][1] - second[8][1]).toFixed(3));
  await closed(page);
});

test('another sentence: the places that both have, no outline where there is no such cell', async () => {
  const page = await open({ compare: { ...other, text: 'the dog sat' } });
  assert.match(await page.locator('.compare-facts').innerText(), /have 12 and 3 words: the difference is over the first 3 of each, place by place\. The words differ/);
  assert.deepEqual(await page.locator('.pane:nth-child(2) .matrix-rows .token-text').allInnerTexts(), ['the', 'dog', 'sat']);
  await compareCells(page, 2, weightsOf('same', ['the', 'dog', 'sat']), { cells: [[0, 0], [1, 1], [2, 0]] });
  assert.equal(await page.locator('.pane:nth-child(2) .is-query').count(), 0, 'row 9 is not there');
  assert.match(await page.locator('.readout').innerText(), /no such cell/);
  await after(page, () => page.locator('.word').nth(1).click());
  assert.match(await page.locator('.pane:nth-child(2) .matrix-rows .is-query').innerText(), /dog/);
  const gap = weightsOf('same', DEFAULT_TOKENS, causal)[1][1] - weightsOf('same', ['the', 'dog', 'sat'])[1][1];
  assert.match(await page.locator('.readout').innerText(), new RegExp(`difference ${gap.toFixed(3)}`));
  await after(page, () => page.getByLabel('Its sentence').fill(''));
  assert.match(await page.locator('.compare-facts').innerText(), /^Head 2 of both is compared\.$/);
  await closed(page);
});

test('another score, and settings that a file does not have are not offered', async () => {
  const page = await open({ compare: { ...other, score: 'additive', heads: 3 } });
  assert.match(await page.locator('.pane h2').nth(1).innerText(), /3 heads, additive/);
  await page.getByRole('button', { name: 'Open your tensors' }).click();
  const tensor = [[1, 2], [3, 4]];
  await page.setInputFiles('#files', [{ name: 'a.json', mimeType: 'application/json', buffer: Buffer.from(json({ q: tensor, k: tensor, v: tensor })) }]);
  await after(page, () => page.getByRole('button', { name: 'Show', exact: true }).click());
  await after(page, () => page.getByRole('button', { name: 'Compare with another setting' }).click());
  assert.equal(await page.locator('.pane').count(), 3);
  for (const label of ['Its sentence', 'Gain']) assert.equal(await page.locator('.other-controls').getByLabel(label, { exact: true }).isVisible(), false, label);
  assert.equal(await page.locator('.other-controls').getByLabel('Divide scores by √d', { exact: true }).isVisible(), true);
  await closed(page);
});

test('links keep the other setting, whatever it has of its own', async () => {
  const compare = { ...other, heads: 6, headDim: 8, over: 'mean', text: 'a ~ b: c%7E' };
  const page = await open({ compare });
  assert.equal(await page.getByLabel('Its sentence').inputValue(), compare.text);
  assert.equal(await page.locator('.other-controls').getByRole('slider', { name: 'Heads' }).inputValue(), '6');
  assert.equal(await page.getByLabel('Compared').inputValue(), 'mean');
  await closed(page);
  const broken = await browser.open({ hash: `${toHash(presetSettings('gptbert'))}~heads:99` });
  assert.match(await broken.locator('.notice').innerText(), /could not be understood/);
  await broken.context().close();
});
