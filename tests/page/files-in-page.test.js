// What goes into the page and out of it: files, exports, links.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after as atEnd, before, test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { colorTable } from '../../web/page/colormaps.js';
import { readNpy } from '../../web/page/files/npy.js';
import { normals } from '../../web/page/model.js';
import { after, cellPixel, ready, startBrowser } from './browser.mjs';
import { json, npy, npz, safetensors } from './make.mjs';
import { causal, DEFAULT_TOKENS, headScores, softmaxRows } from './reference.mjs';

let browser;
before(async () => { browser = await startBrowser(); });
atEnd(() => browser?.close());

const N = DEFAULT_TOKENS.length;
const closed = async (page) => {
  assert.deepEqual(page.complaints, []);
  assert.deepEqual(page.strangers, []);
  await page.context().close();
};
const press = (page, name) => after(page, () => page.getByRole('button', { name, exact: true }).click());
const open = async (page, summary) => page.locator('summary', { hasText: summary }).click();
const near = (a, b, tolerance, what) => assert.ok(Math.abs(a - b) <= tolerance, `${what}: ${a} is not ${b}`);

/** q, k, v [heads, n, d] of normal numbers, and their weights in float64. */
function tensors(heads, n, d, seed) {
  const normal = normals(seed);
  const make = () => Array.from({ length: heads * n * d }, () => Math.fround(normal()));
  const [q, k, v] = [make(), make(), make()];
  const weights = Array.from({ length: heads }, (_, h) => softmaxRows(Array.from({ length: n }, (__, i) => Array.from({ length: n }, (___, j) => {
    let s = 0;
    for (let f = 0; f < d; f += 1) s += q[(h * n + i) * d + f] * k[(h * n + j) * d + f];
    return s / Math.sqrt(d);
  }))));
  const output = weights.flatMap((rows, h) => rows.flatMap((row) => Array.from({ length: d }, (_, f) => row.reduce((sum, a, j) => sum + a * v[(h * n + j) * d + f], 0))));
  return { q, k, v, weights, output };
}

async function give(page, files) {
  if (!(await page.locator('dialog').isVisible())) await page.getByRole('button', { name: 'Open your tensors' }).click();
  await page.setInputFiles('#files', Object.entries(files).map(([name, bytes]) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(bytes) })));
}

for (const [kind, make] of [
  ['.npz', ({ q, k, v, output }) => ({ 'a.npz': npz({ q: npy(q, [3, 7, 4]), k: npy(k, [3, 7, 4]), v: npy(v, [3, 7, 4]), o: npy(output, [3, 7, 4]) }) })],
  ['.npy', ({ q, k, v, output }) => ({ 'q.npy': npy(q, [1, 3, 7, 4], { descr: '<f8' }), 'k.npy': npy(k, [3, 7, 4]), 'v.npy': npy(v, [3, 7, 4]), 'o.npy': npy(output, [3, 7, 4]) })],
  ['.safetensors', ({ q, k, v, output }) => ({ 'a.safetensors': safetensors({ 'layers.0.q': ['F32', [3, 7, 4], q], 'layers.0.k': ['F32', [3, 7, 4], k], 'layers.0.v': ['F32', [3, 7, 4], v], 'layers.0.out': ['F32', [3, 7, 4], output] }) })],
]) {
  test(`own tensors from ${kind}: every head's weights, and the given output agrees`, async () => {
    const page = await browser.open();
    const made = tensors(3, 7, 4, 11);
    await give(page, make(made));
    await press(page, 'Show');
    assert.equal(await page.locator('.head').count(), 3);
    for (let head = 0; head < 3; head += 1) {
      await after(page, () => page.locator('.head').nth(head).click());
      for (const [row, col] of [[0, 0], [3, 5], [6, 2]]) {
        const at = 3 * Math.round(255 * made.weights[head][row][col]);
        const pixel = await cellPixel(page, '.stage .matrix-heat', { rows: 7, cols: 7, row, col });
        pixel.forEach((x, c) => near(x, colorTable('cividis')[at + c], 4, `head ${head}, ${row} ${col}`));
      }
    }
    assert.match(await page.locator('.agreement').innerText(), /Your output agrees/);
    await after(page, () => page.getByLabel('like GPT').check());
    assert.match(await page.locator('.agreement').innerText(), /does not agree/);
    await closed(page);
  });
}

test('ready-made weights with tokens, as BertViz takes them', async () => {
  const page = await browser.open();
  const { weights } = tensors(2, 3, 4, 5);
  await give(page, { 'w.json': json({ attention: [weights], tokens: ['<b>one</b>', 'two', 'three'] }) });
  await press(page, 'Show');
  assert.deepEqual(await page.locator('.word .word-text').allInnerTexts(), ['<b>one</b>', 'two', 'three']);
  const pixel = await cellPixel(page, '.stage .matrix-heat', { rows: 3, cols: 3, row: 2, col: 1 });
  pixel.forEach((x, c) => near(x, colorTable('cividis')[3 * Math.round(255 * weights[0][2][1]) + c], 4, 'cell'));
  assert.deepEqual(await page.locator('[role=tab][aria-disabled=true]').allInnerTexts(), ['Scores', 'Scaled, masked', 'Gradient']);
  assert.match(await page.locator('#stage-off').innerText(), /come without the queries and keys/);
  assert.match(await page.locator('.stage').innerText(), /Each row sums to 1\./);
  await page.getByRole('tab', { name: 'Scores' }).click({ force: true });
  assert.equal(await page.getByRole('tab', { name: 'Weights' }).getAttribute('aria-selected'), 'true');
  await closed(page);
});

test('ready-made weights whose rows do not sum to 1 are said not to', async () => {
  const page = await browser.open();
  await give(page, { 'w.json': json({ attention: [[[[0.5, 0.25], [0.25, 0.9]]]], tokens: ['one', 'two'] }) });
  await press(page, 'Show');
  assert.match(await page.locator('.stage').innerText(), /The rows of this file sum to 0\.750 to 1\.150, not to 1\./);
  await closed(page);
});

test('layers of ready-made weights: any of them, and the rollout through all', async () => {
  const page = await browser.open();
  const layers = [tensors(2, 3, 4, 5).weights, tensors(2, 3, 4, 6).weights];
  await give(page, { 'w.json': json({ attention: layers, tokens: ['one', 'two', 'three'] }) });
  await press(page, 'Show');
  const layer = page.getByLabel('Layer (or batch element)');
  const cell = async (weight, what) => {
    const pixel = await cellPixel(page, '.stage .matrix-heat', { rows: 3, cols: 3, row: 2, col: 1 });
    pixel.forEach((x, c) => near(x, colorTable('cividis')[3 * Math.round(255 * weight) + c], 4, what));
  };
  await cell(layers[0][0][2][1], 'first layer');
  await after(page, () => layer.selectOption('1'));
  await cell(layers[1][0][2][1], 'second layer');
  await after(page, () => layer.selectOption({ label: 'all of them: attention rollout' }));
  const half = layers.map((heads) => heads[0].map((row, i) => row.map((a, j) => 0.25 * (a + heads[1][i][j]) + (i === j ? 0.5 : 0))));
  await cell([0, 1, 2].reduce((sum, k) => sum + half[1][2][k] * half[0][k][1], 0), 'rollout');
  assert.equal(await page.locator('.head').count(), 1);
  assert.match(await page.locator('.stage-title').innerText(), /Rollout/);
  await closed(page);
});

test('a batch of queries, keys and values: another element without opening the file again; numbers can be changed', async () => {
  const page = await browser.open();
  const [first, second] = [tensors(1, 3, 2, 1), tensors(1, 3, 2, 2)];
  const file = Object.fromEntries(['q', 'k', 'v'].map((name) => [name, npy([...first[name], ...second[name]], [2, 1, 3, 2])]));
  await give(page, { 'a.npz': npz(file) });
  await press(page, 'Show');
  const weight = async () => Number((await page.locator('.readout').innerText()).match(/weight ([\d.]+)/)[1]);
  near(await weight(), first.weights[0][0][0], 6e-4, 'first');
  await after(page, () => page.getByLabel('Layer (or batch element)').selectOption('1'));
  near(await weight(), second.weights[0][0][0], 6e-4, 'second');
  await open(page, 'The numbers');
  await page.locator('.numbers td[data-row="0"][data-col="0"]').click();
  await page.keyboard.type('9');
  await after(page, () => page.keyboard.press('Enter'));
  const scores = [0, 1, 2].map((j) => (9 * second.k[2 * j] + second.q[1] * second.k[2 * j + 1]) / Math.sqrt(2));
  near(await weight(), softmaxRows([scores])[0][0], 6e-4, 'changed');
  await press(page, 'Undo all changes');
  near(await weight(), second.weights[0][0][0], 6e-4, 'undone');
  await closed(page);
});

test('axes are read in words before they are shown: heads before tokens unless the file says otherwise', async () => {
  const page = await browser.open();
  const shape = [1, 6, 5, 2];
  const file = Object.fromEntries(['q', 'k', 'v'].map((name, at) => [name, npy(tensors(6, 5, 2, at + 1)[name], shape)]));
  await give(page, { 'a.npz': npz(file) });
  const reads = page.locator('dialog .hint[role=status]');
  assert.equal(await reads.innerText(), 'q is read as 5 tokens in 6 heads of size 2.');
  await page.getByLabel('Order of axes').selectOption('tokens-first');
  assert.equal(await reads.innerText(), 'q is read as 6 tokens in 5 heads of size 2.');
  await page.getByLabel('Order of axes').selectOption('heads-first');
  await press(page, 'Show');
  assert.equal(await page.locator('.head').count(), 6);
  assert.equal((await page.locator('.readout').innerText()).replace(/\s+/g, ' ').replace(/ weight.*/, ''), 'query 1 → key 1', 'a token without a name is its place');
  // With six tokens by name, the same shape is tokens first.
  await give(page, { 'a.npz': npz(file), 't.json': json({ tokens: ['a', 'b', 'c', 'd', 'e', 'f'] }) });
  assert.equal(await reads.innerText(), 'q is read as 6 tokens in 5 heads of size 2.');
  await closed(page);
});

test('broken files: a plain message, and the page goes on as it was', async () => {
  const page = await browser.open();
  const good = npy([1, 2, 3, 4], [2, 2]);
  const bad = [
    [{ 'q.npy': good.subarray(0, good.length - 3) }, /cut off/],
    [{ 'q.npz': good }, /not a \.npz/],
    [{ 'q.safetensors': good }, /ends inside its header|not a/],
    [{ 'q.json': new TextEncoder().encode('{"q": [[1], [2, 3]]}') }, /ragged/],
    [{ 'q.npy': npy([1], [2 ** 30, 2 ** 30]) }, /more numbers than fit/],
    [{ 'notes.txt': new TextEncoder().encode('hello') }, /only \.npy/],
  ];
  for (const [files, message] of bad) {
    await give(page, files);
    await page.locator('dialog .problem:not(:empty)').waitFor();
    assert.match(await page.locator('dialog .problem').innerText(), message);
  }
  await give(page, { 'q.npy': npy([1, NaN, 3, 4], [2, 2]), 'k.npy': good, 'v.npy': good });
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await page.locator('dialog .problem:not(:empty)').waitFor();
  assert.match(await page.locator('dialog .problem').innerText(), /q holds NaN/);
  await page.keyboard.press('Escape');
  assert.match(await page.locator('.readout').innerText(), /weight 0\.470/);
  await closed(page);
});

test('out: .npy, CSV, JSON, SVG and PNG hold what is shown', async () => {
  const page = await browser.open();
  await open(page, 'Save and share');
  const take = async (name) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.locator('.save').getByRole('button', { name, exact: true }).click()]);
    return readFile(await download.path());
  };
  const weights = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal);
  const { shape, read } = readNpy(new Uint8Array(await take('.npy')));
  assert.deepEqual(shape, [N, N]);
  read().forEach((a, at) => near(a, weights[Math.floor(at / N)][at % N], 1e-5, '.npy'));
  const csv = (await take('CSV')).toString().trim().split('\r\n').map((line) => line.split(','));
  assert.equal(csv[0][2], 'cat');
  near(Number(csv[9][2]), weights[8][1], 1e-5, 'CSV');
  assert.equal(csv[1][2], '', 'a hidden cell has no number');
  const saved = JSON.parse(await take('JSON'));
  near(saved.matrix[8][1], weights[8][1], 1e-5, 'JSON');
  const svg = (await take('SVG')).toString();
  assert.equal((svg.match(/<rect/g) ?? []).length, N * N + 2);
  assert.match(svg, /cat 9, cat 2: 0\.4698/);
  const png = await take('PNG');
  assert.equal(png.readUInt32BE(16), (Math.round((640 / N) * N * 2) + (96 + 24) * 2));
  assert.ok(inflateSync(pngData(png)).some((byte) => byte !== 0));
  await closed(page);
});

function pngData(png) {
  const parts = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  return Buffer.concat(parts);
}

test('a saved JSON opens again as the same state', async () => {
  const page = await browser.open();
  await after(page, () => page.locator('#text').fill('to be or not to be'));
  await after(page, () => page.getByLabel('like BERT').check());
  await open(page, 'Save and share');
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('.save').getByRole('button', { name: 'JSON', exact: true }).click()]);
  const bytes = await readFile(await download.path());
  const other = await browser.open();
  await after(other, () => give(other, { 'saved.json': bytes }));
  await other.locator('dialog').waitFor({ state: 'hidden' });
  await ready(other);
  assert.equal(await other.locator('#text').inputValue(), 'to be or not to be');
  assert.ok(await other.getByLabel('like BERT').isChecked());
  await other.context().close();
  await closed(page);
});

test('the link restores the state; a hostile one is refused in words', async () => {
  const page = await browser.open();
  await after(page, () => page.locator('#text').fill('<img/src=x/onerror=window.hit=1> & "co"'));
  await after(page, () => page.locator('.head').nth(2).click());
  await after(page, () => page.getByRole('tab', { name: 'Scores' }).click());
  await page.waitForTimeout(500);
  const hash = await page.evaluate(() => location.hash);
  const other = await browser.open({ hash });
  assert.equal(await other.locator('#text').inputValue(), '<img/src=x/onerror=window.hit=1> & "co"');
  assert.match(await other.locator('.stage-title').innerText(), /Head 3/);
  assert.equal(await other.getByRole('tab', { name: 'Scores' }).getAttribute('aria-selected'), 'true');
  assert.equal(await other.evaluate(() => window.hit), undefined);
  await other.context().close();
  const hostile = await browser.open({ hash: '#v=1&heads=1000000000&mask=<script>alert(1)</script>&text=a%20b' });
  assert.match(await hostile.locator('.notice').innerText(), /could not be understood.*heads, mask/);
  assert.equal(await hostile.locator('.head').count(), 4);
  assert.equal(await hostile.locator('.word').count(), 2);
  await hostile.context().close();
  await closed(page);
});
