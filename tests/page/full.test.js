// What the page shows and how it is driven, in a real browser.

import assert from 'node:assert/strict';
import { after as atEnd, before, test } from 'node:test';
import { colorTable } from '../../web/page/colormaps.js';
import { after, cellPixel, ready, startBrowser } from './browser.mjs';
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
const number = (text) => Number(text.replace('−', '-'));

test('the row inspector lists every term of the row with its number', async () => {
  const page = await browser.open();
  const lines = await page.locator('.inspector tbody tr').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
  const scores = headScores('same', DEFAULT_TOKENS, 4)[8];
  const weights = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal)[8];
  assert.equal(lines.length, N);
  lines.forEach(([key, dot, score, power, weight], j) => {
    assert.equal(key, `${DEFAULT_TOKENS[j]}${j + 1}`);
    near(number(dot), scores[j] * 4, 6e-4, 'dot');
    if (j > 8) assert.equal(score, '−∞');
    else near(number(score), scores[j], 6e-4, 'score');
    near(number(power), j > 8 ? 0 : Math.exp(scores[j]), 6e-5, 'power');
    near(number(weight), weights[j], 6e-5, 'weight');
  });
  assert.match(await page.locator('.inspector tfoot').innerText(), /116\.1963\s+1\.0000/);
  assert.match(await page.locator('.word-bars').innerText(), /cat\s+0\.940/);
  await page.locator('.inspector tbody tr').nth(8).click();
  await ready(page);
  assert.match(await page.locator('.readout').innerText(), /key cat 9/);
  await closed(page);
});

test('the column view: who looks at this key, and the sum', async () => {
  const page = await browser.open();
  await press(page, 'Column: who looks at it');
  const column = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal).map((row) => row[1]);
  const shown = await page.locator('.inspector tbody td:nth-child(2)').allInnerTexts();
  shown.forEach((text, i) => near(number(text), column[i], 6e-5, `row ${i}`));
  near(number(await page.locator('.inspector tfoot td').first().innerText()), column.reduce((a, b) => a + b), 6e-5, 'sum');
  // Over the sentence, too: the words that look, their shares, and an arc from each.
  const shares = await page.locator('.word-share').allInnerTexts();
  assert.deepEqual(shares, column.map((weight) => (weight < 0.005 ? '' : `${Math.round(100 * weight)} %`)));
  assert.equal(await page.locator('.word.is-key').innerText().then((text) => text.split('\n')[0]), 'cat');
  await page.waitForTimeout(50);
  assert.equal(await page.locator('.sentence-arcs .arc').count(), column.filter((weight) => weight >= 0.02).length);
  assert.equal((await page.locator('.caption').innerText()).replace(/\s+/g, ' '), 'Head 2. cat2 is looked at by cat2 (98 %) and cat9 (47 %).');
  await after(page, () => page.locator('.word').nth(4).click());
  assert.match(await page.locator('.inspector h2').innerText(), /Who looks at the/);
  await page.waitForTimeout(700);
  assert.match(await page.locator('output[aria-live=polite]').first().innerText(), /the 5 is looked at most by the 5: 49 %/);
  await closed(page);
});

test('stage tabs: signed stages use the diverging map around 0, the gradient row sums to 0', async () => {
  const page = await browser.open();
  await after(page, () => page.getByRole('tab', { name: 'Scores' }).click());
  const table = colorTable('diverging');
  assert.deepEqual(await cellPixel(page, '.matrix-heat', { rows: N, cols: N, row: 8, col: 1 }), [...table.subarray(765)]);
  const zero = await cellPixel(page, '.matrix-heat', { rows: N, cols: N, row: 8, col: 2 });
  zero.forEach((x, c) => near(x, table[3 * 128 + c], 3, 'zero is the middle'));
  await after(page, () => page.getByRole('tab', { name: 'Gradient' }).click());
  await open(page, 'Show as table');
  const rows = await page.locator('.as-table tbody tr').evaluateAll((lines) => lines.map((line) => [...line.querySelectorAll('td')].map((cell) => Number(cell.textContent.replace('−', '-')))));
  const a = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal)[8];
  rows.forEach((row, i) => row.forEach((x, j) => near(x, a[i] * ((i === j ? 1 : 0) - a[j]), 6e-4, `${i} ${j}`)));
  await closed(page);
});

test('scales and maps change the colours and the colour bar, not the numbers', async () => {
  const page = await browser.open();
  await open(page, 'Colours');
  const weights = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal);
  const check = async (map, index, what) => {
    for (const [row, col] of [[8, 1], [8, 0], [4, 4]]) {
      const at = 3 * Math.round(255 * index(weights[row][col], row));
      const pixel = await cellPixel(page, '.matrix-heat', { rows: N, cols: N, row, col });
      pixel.forEach((x, c) => near(x, colorTable(map)[at + c], 4, `${what} ${row} ${col}`));
    }
  };
  await page.getByLabel('Scale', { exact: true }).selectOption('sqrt');
  await check('cividis', Math.sqrt, 'square root');
  await page.getByLabel('Scale', { exact: true }).selectOption('log');
  await check('cividis', (x) => Math.max(0, 1 + Math.log10(x) / 4), 'logarithm');
  await page.getByLabel('Scale', { exact: true }).selectOption('linear');
  await page.getByLabel('Range', { exact: true }).selectOption('row');
  await check('cividis', (x, row) => x / Math.max(...weights[row]), 'row by row');
  assert.match(await page.locator('.colorbar').first().innerText(), /row’s largest/);
  await page.getByLabel('Range', { exact: true }).selectOption('unit');
  await page.getByLabel('Map', { exact: true }).selectOption('viridis');
  await check('viridis', (x) => x, 'viridis');
  await closed(page);
});

test('masks: window, length, and one drawn by hand', async () => {
  const page = await browser.open();
  await after(page, () => page.getByLabel('window only near by').check());
  await after(page, () => page.getByLabel('words to the left').fill('1'));
  await after(page, () => page.getByLabel('words to the right').fill('0'));
  await after(page, () => page.locator('.word').nth(8).click());
  assert.equal(await page.locator('.word.is-hidden').count(), N - 2);
  await after(page, () => page.getByLabel('length only the first keys').check());
  await after(page, () => page.getByLabel('visible keys').fill('3'));
  assert.equal(await page.locator('.word.is-hidden').count(), N - 3);
  await after(page, () => page.getByLabel('by hand draw it yourself').check());
  assert.equal(await page.locator('.word.is-hidden').count(), N - 3, 'it begins as the mask before it');
  const box = await page.locator('.stage .matrix-plot').boundingBox();
  await after(page, () => page.mouse.click(box.x + (5.5 * box.width) / N, box.y + (8.5 * box.height) / N));
  await page.mouse.move(2, 2);
  assert.equal(await page.locator('.word.is-hidden').count(), N - 4);
  await after(page, () => page.keyboard.press('Space'));
  assert.equal(await page.locator('.word.is-hidden').count(), N - 3);
  for (const row of [0, 1, 2]) await after(page, () => page.mouse.click(box.x + ((row + 0.5) * box.width) / N, box.y + (8.5 * box.height) / N));
  await page.mouse.move(2, 2);
  await ready(page);
  assert.match(await page.locator('.caption').innerText(), /sees nothing/);
  await closed(page);
});

test('keyboard only: skip link, one tab stop into the matrix, arrows, Home, End, corners, heads, zoom', async () => {
  const page = await browser.open();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label'));
  assert.equal(await focused(), 'query cat 9, key cat 2: weight 0.470, score 4.00');
  const steps = [
    ['ArrowRight', 'query cat 9, key sat 3: weight 0.009, score 0.00'], ['ArrowDown', 'query was 10, key sat 3: weight 0.016, score 0.00'],
    ['Home', 'query was 10, key The 1: weight 0.016, score 0.00'], ['End', 'query was 10, key . 12: hidden by the mask'],
    ['Control+Home', 'query The 1, key The 1: weight 1.000, score 4.00'], ['Control+End', 'query . 12, key . 12: weight 0.832, score 4.00'],
    ['PageUp', 'query cat 2, key . 12: hidden by the mask'], ['ArrowLeft', 'query cat 2, key tired 11: hidden by the mask'],
  ];
  for (const [key, label] of steps) {
    await after(page, () => page.keyboard.press(key));
    assert.equal(await focused(), label, key);
  }
  assert.equal(await page.locator('.stage [role=gridcell]:visible').count(), 1);
  assert.equal(await page.locator('.stage [role=row]:not([hidden])').getAttribute('aria-rowindex'), '2');
  assert.equal(await page.locator('.stage [role=gridcell]:visible').getAttribute('aria-colindex'), '11');
  await after(page, () => page.keyboard.press(']'));
  assert.match(await page.locator('.stage-title').innerText(), /Head 3/);
  await after(page, () => page.keyboard.press('m'));
  assert.ok(await page.getByLabel('like BERT').isChecked());
  await after(page, () => page.keyboard.press('1'));
  assert.equal(await page.getByRole('tab', { name: 'Scores' }).getAttribute('aria-selected'), 'true');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Shift+Tab');
  assert.match(await focused(), /Scores: cat 2, tired 11/, 'Tab leaves the matrix and Shift+Tab comes back to the same cell');
  await closed(page);
});

test('the focus is visible: the focused cell looks different', async () => {
  const page = await browser.open();
  const shot = async () => (await page.locator('.stage .matrix-plot').screenshot()).toString('base64');
  const plain = await shot();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowLeft');
  await ready(page);
  assert.notEqual(await shot(), plain);
  await closed(page);
});

test('every control can be reached by Tab, in order, and nothing traps it', async () => {
  const page = await browser.open();
  const seen = [];
  for (let i = 0; i < 80; i += 1) {
    await page.keyboard.press('Tab');
    const name = await page.evaluate(() => {
      const { activeElement: e } = document;
      return e === document.body ? 'end' : `${e.tagName.toLowerCase()}${e.id ? `#${e.id}` : ''}.${e.className}`;
    });
    if (name === 'end') break;
    seen.push(name);
  }
  for (const wanted of ['textarea#text', 'button.word', 'button.head', 'div.matrix-cell', 'button#tab-weights', 'input', 'select', 'summary']) {
    assert.ok(seen.some((name) => name.startsWith(wanted)), `${wanted} in ${seen.join(' ')}`);
  }
  assert.equal(seen.filter((name) => name.startsWith('div.matrix-cell')).length, 1);
  assert.equal(seen.filter((name) => name.startsWith('button.word')).length, 1);
  await closed(page);
});

test('presets: every one draws something true to its words', async () => {
  const page = await browser.open();
  await press(page, 'Why √d');
  assert.equal(await page.locator('.chart').count(), 3);
  await open(page, 'The numbers as a table');
  const last = await page.locator('.panel tbody tr').last().locator('td').allInnerTexts();
  assert.ok(Number(last[0]) > 0.9 && Number(last[1]) < 0.4 && Number(last[4]) > 700 && Number(last[5]) < 1.5, last.join());
  await press(page, 'Textbook');
  assert.match(await page.locator('.textbook').innerText(), /o1 = 0\.6524979187478941\s+o2 = 0\.852497918747894/);
  assert.match(await page.locator('.readout').innerText(), /query query 1\s+→\s+key key 2\s+weight 0\.525/);
  assert.match(await page.locator('.head-stat').innerText(), /^largest 52 % · 1\.00 bits$/, 'a query is at no place among two keys');
  await press(page, 'GPT or BERT');
  const tokens = 'The bank by the river raised its rates , said the bank .'.split(' ');
  const scores = headScores('same', tokens, 4);
  const gap = softmaxRows(scores, causal)[1][11] - softmaxRows(scores)[1][11];
  assert.match(await page.locator('.readout').innerText(), new RegExp(`difference −${Math.abs(gap).toFixed(3)}`));
  await press(page, 'Decoding');
  assert.match(await page.locator('.decode-words').innerText(), /Word 10 of 15/);
  await press(page, 'Next word');
  assert.match(await page.locator('.decode-words').innerText(), /Word 11 of 15: “six” arrives/);
  assert.match(await page.locator('.facts').innerText(), /5,632 bytes/);
  await press(page, 'Random');
  assert.match(await page.locator('.stage-title').innerText(), /Random/);
  const first = await page.locator('.readout').innerText();
  await after(page, () => page.getByRole('slider', { name: 'Seed' }).fill('2'));
  assert.notEqual(await page.locator('.readout').innerText(), first);
  await after(page, () => page.getByRole('slider', { name: 'Seed' }).fill('1'));
  assert.equal(await page.locator('.readout').innerText(), first);
  await press(page, 'Four heads');
  assert.match(await page.locator('.readout').innerText(), /weight 0\.470/);
  await closed(page);
});

test('4,096 words: progress with cancel, zoom by key, wheel and buttons keeps the point, pan, pooled pixels', async () => {
  const page = await browser.open();
  await page.getByRole('button', { name: '4,096 words' }).click();
  await page.locator('.settings > .progress').waitFor({ state: 'visible', timeout: 90000 });
  const bar = await page.locator('.settings > .progress').boundingBox();
  assert.ok(bar.y >= 0 && bar.y + bar.height <= 900, 'the progress is in sight');
  await page.getByRole('button', { name: 'Cancel', exact: true }).first().click();
  await ready(page);
  assert.match(await page.locator('.settings .problem').innerText(), /Cancelled/);
  assert.equal(await page.locator('.word').count(), N, 'the last good picture stays');
  await press(page, 'Four heads');
  await press(page, '4,096 words');
  assert.match(await page.locator('.timing').innerText(), /4 heads × 4096 × 4096/);
  const plot = page.locator('.stage .matrix-plot');
  const box = await plot.boundingBox();
  const at = { x: box.x + box.width * 0.3, y: box.y + box.height * 0.7 };
  await page.mouse.move(at.x, at.y);
  const cell = async () => (await page.locator('.readout').innerText()).match(/query \S+ (\d+)\s+→\s+key \S+ (\d+)/).slice(1).map(Number);
  const under = await cell();
  await page.keyboard.down('Control');
  for (let i = 0; i < 8; i += 1) await page.mouse.wheel(0, -300);
  await page.keyboard.up('Control');
  await page.mouse.move(at.x + 1, at.y);
  await ready(page);
  const zoomed = await cell();
  near(zoomed[0], under[0], 8, 'row under the pointer');
  near(zoomed[1], under[1], 8, 'key under the pointer');
  assert.ok((await page.locator('.stage .matrix-rows .matrix-label').count()) < 60);
  await page.mouse.down();
  await page.mouse.move(at.x + 120, at.y - 80, { steps: 6 });
  await page.mouse.up();
  await page.waitForTimeout(60);
  await page.mouse.move(at.x, at.y);
  await ready(page);
  const panned = await cell();
  assert.ok(panned[1] < zoomed[1] && panned[0] > zoomed[0], `${zoomed} then ${panned}`);
  await page.getByRole('button', { name: 'Fit' }).click();
  const picture = await page.locator('.stage .matrix-heat').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let i = 0; i < data.length; i += 4) colours.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
    return colours.size;
  });
  assert.ok(picture > 40, `${picture} colours`);
  await after(page, () => page.locator('.head').nth(0).click());
  assert.match(await page.locator('.stage-title').innerText(), /Head 1/);
  assert.match(await page.locator('.caption').innerText(), /looks at/);
  // Scores, computed when they are looked at: 3001's word before matches with gain 12, times sqrt(32) before the division.
  await after(page, () => page.getByRole('tab', { name: 'Scores' }).click());
  const line = async (column) => number((await page.locator('.inspector tbody tr').first().locator('td').nth(column).innerText()));
  const label = async () => page.locator('.stage [role=gridcell]:visible').getAttribute('aria-label');
  const chosen = async () => number((await label()).match(/: (−?[\d.]+)$/)[1]);
  const dot = await chosen();
  await after(page, () => page.getByRole('tab', { name: 'Scaled, masked' }).click());
  near(number((await label()).match(/score (−?[\d.]+)/)[1]), dot / Math.sqrt(32), 0.01, 'score');
  near(await line(0), 12 * Math.sqrt(32), 0.01, 'the row’s largest dot product stands first');
  await after(page, () => page.getByRole('tab', { name: 'Gradient' }).click());
  const a = number((await page.locator('.inspector tbody .is-chosen td').nth(3).innerText()));
  near(await chosen(), a * (1 - a), 2e-3, 'the diagonal of the gradient');
  await after(page, () => page.getByRole('tab', { name: 'Weights' }).click());
  await press(page, 'Column: who looks at it');
  assert.match(await page.locator('.inspector caption').innerText(), /64 that look at it most, of 4,096/);
  await closed(page);
});

test('the lesson drives the real controls, step by step, and can be left', async () => {
  const page = await browser.open();
  await press(page, 'Lesson in seven steps');
  const names = [];
  for (let step = 0; step < 7; step += 1) {
    names.push(await page.locator('.lesson h1').innerText());
    assert.equal(await page.locator('.lesson math').count(), 1);
    // Two letters in one <mi> are a word, and drawn upright: "if".
    for (const letters of await page.locator('.lesson mi').allTextContents()) assert.equal([...letters].length, 1, letters);
    if (step === 2) {
      await press(page, 'without dividing');
      assert.equal(await page.getByLabel('Divide scores by √d').isChecked(), false);
      await press(page, 'dividing by √d');
      assert.equal(await page.getByLabel('Divide scores by √d').isChecked(), true);
    }
    if (step === 3) {
      assert.equal(await page.getByLabel('like GPT').isChecked(), true);
      await press(page, 'no mask');
      assert.equal(await page.getByLabel('like BERT').isChecked(), true);
    }
    if (step < 6) await press(page, 'Next');
  }
  assert.deepEqual(names.map((name) => name.slice(0, 2)), ['1.', '2.', '3.', '4.', '5.', '6.', '7.']);
  await press(page, 'Leave the lesson');
  assert.equal(await page.locator('.lesson').isVisible(), false);
  await closed(page);
});

test('comparison: two panes, one cursor, and their difference', async () => {
  const page = await browser.open();
  await press(page, 'Compare with another setting');
  assert.equal(await page.locator('.pane').count(), 3);
  assert.deepEqual(await page.locator('.pane h2').allInnerTexts(), ['First: like GPT', 'Second: like BERT', 'First minus second']);
  const scores = headScores('same', DEFAULT_TOKENS, 4);
  const [first, second] = [softmaxRows(scores, causal), softmaxRows(scores)];
  for (const [pane, weights] of [[0, first], [1, second]]) {
    const at = 3 * Math.round(255 * weights[8][1]);
    const pixel = await cellPixel(page, `.pane:nth-child(${pane + 1}) .matrix-heat`, { rows: N, cols: N, row: 8, col: 1, dx: 0.3, dy: 0.3 });
    pixel.forEach((x, c) => near(x, colorTable('cividis')[at + c], 4, `pane ${pane}`));
  }
  const box = await page.locator('.pane').nth(1).locator('.matrix-plot').boundingBox();
  await after(page, () => page.mouse.move(box.x + (11.5 * box.width) / N, box.y + (1.5 * box.height) / N));
  for (let pane = 0; pane < 3; pane += 1) assert.match(await page.locator('.pane').nth(pane).locator('.matrix-label.is-query').innerText(), /cat/);
  await after(page, () => page.getByRole('tab', { name: 'Difference' }).click());
  await page.mouse.move(2, 2);
  assert.match(await page.locator('.readout').innerText(), new RegExp(`difference ${(first[8][1] - second[8][1]).toFixed(3)}`));
  await press(page, 'Close the comparison');
  assert.equal(await page.locator('.pane').count(), 0);
  await closed(page);
});

test('tables: change one number by keyboard, see what moved, undo; nonsense is refused beside the table', async () => {
  const page = await browser.open();
  await open(page, 'The numbers');
  const cell = page.locator('.numbers td[data-row="8"][data-col="1"]');
  await cell.click();
  await page.keyboard.type('4');
  await after(page, () => page.keyboard.press('Enter'));
  assert.equal(await cell.innerText(), '4.00');
  assert.match(await page.locator('.edited-count').innerText(), /^1 number changed/);
  assert.doesNotMatch(await page.locator('.readout').innerText(), /weight 0\.470/);
  await page.keyboard.press('Enter');
  await page.keyboard.type('abc');
  await page.keyboard.press('Enter');
  assert.match(await page.locator('.tables .problem').innerText(), /“abc” is not a number/);
  assert.equal(await cell.innerText(), '4.00');
  await press(page, 'Show what moved');
  const rows = await page.locator('.pane').nth(2).locator('.matrix-heat').evaluate((canvas, n) => {
    const context = canvas.getContext('2d');
    return Array.from({ length: n }, (_, i) => new Set(Array.from({ length: i + 1 }, (__, j) => context.getImageData(Math.floor(((j + 0.4) * canvas.width) / n), Math.floor(((i + 0.4) * canvas.height) / n), 1, 1).data.join())).size);
  }, N);
  rows.forEach((colours, i) => assert.ok(i === 8 ? colours > 1 : colours === 1, `row ${i}: ${colours} colours`));
  await press(page, 'Undo all changes');
  await press(page, 'Close the comparison');
  assert.match(await page.locator('.readout').innerText(), /weight 0\.470/);
  await closed(page);
});

test('tables of any size: 64 x 64 are shown, and the part that is shown can be moved and edited', async () => {
  const page = await browser.open({ hash: '#v=1&headDim=32&heads=1&head=0' });
  await after(page, () => page.locator('#text').fill(Array.from({ length: 100 }, (_, i) => `w${i % 30}`).join(' ')));
  await open(page, 'The numbers');
  await page.getByLabel('Table', { exact: true }).selectOption('x');
  const note = page.locator('.tables [role=group] .hint');
  assert.equal(await note.innerText(), 'Rows 1 – 64 of 100, columns 1 – 64 of 128.');
  assert.equal(await page.locator('.numbers td[data-row]').count(), 64 * 64);
  await page.getByRole('button', { name: 'Rows after' }).click();
  assert.match(await note.innerText(), /^Rows 37 – 100 of 100/);
  assert.equal(await page.getByRole('button', { name: 'Rows after' }).isDisabled(), true);
  await page.getByLabel('from column').fill('60');
  await page.getByLabel('from column').press('Enter');
  assert.match(await note.innerText(), /columns 60 – 123 of 128/);
  assert.match(await page.locator('.numbers tbody th').first().innerText(), /w6\s+37/);
  // The column of ones: x = [position 32 | word 32 | previous word 32 | is first | one | zeros].
  const cell = (row, col) => page.locator(`.numbers td[data-row="${row}"][data-col="${col}"]`);
  assert.equal(await cell(99, 97).innerText(), '1.00');
  await cell(99, 97).click();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.type('2.5');
  await after(page, () => page.keyboard.press('Enter'));
  assert.equal(await cell(99, 98).innerText(), '2.50');
  await page.keyboard.press('End');
  assert.match(await note.innerText(), /columns 65 – 128 of 128/);
  assert.equal(await page.locator('.numbers td[tabindex="0"]').count(), 1);
  await page.keyboard.press('Home');
  assert.match(await note.innerText(), /columns 1 – 64 of 128/);
  assert.equal(await page.evaluate(() => document.activeElement.dataset.col), '0');
  await page.keyboard.press('Enter');
  await page.keyboard.type('1e39');
  await page.keyboard.press('Enter');
  assert.match(await page.locator('.tables .problem').innerText(), /“1e39” is not a number/);
  await closed(page);
});

test('a mask by hand is offered for up to 64 words, and where it is not the reason stands there', async () => {
  const page = await browser.open();
  const drawn = page.getByLabel('by hand draw it yourself');
  assert.equal(await drawn.isEnabled(), true);
  await after(page, () => page.locator('#text').fill('word '.repeat(65)));
  assert.equal(await drawn.isDisabled(), true);
  assert.match(await page.locator('.settings .segments').innerText(), /drawn by hand for up to 64 words/);
  await press(page, 'Decoding');
  assert.match(await page.locator('.settings .segments').innerText(), /can only look back/);
  await closed(page);
});

test('a head is not said to do what its mask keeps it from', async () => {
  const page = await browser.open({ hash: '#v=1&heads=5' });
  const next = page.locator('.head').nth(4);
  assert.match(await next.innerText(), /would look at the word just after/);
  await after(page, () => page.getByLabel('like BERT').check());
  assert.match(await next.innerText(), /\slooks at the word just after/);
  await closed(page);
});

test('tables: a pasted block', async () => {
  const page = await browser.open();
  await open(page, 'The numbers');
  await page.locator('.numbers td[data-row="2"][data-col="3"]').click();
  await after(page, () => page.evaluate(() => {
    const data = new DataTransfer();
    data.setData('text', '1.5\t2.5\n-3\t4');
    document.activeElement.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  }));
  const shown = await Promise.all([[2, 3], [2, 4], [3, 3], [3, 4]].map(([r, c]) => page.locator(`.numbers td[data-row="${r}"][data-col="${c}"]`).innerText()));
  assert.deepEqual(shown, ['1.50', '2.50', '−3.00', '4.00']);
  await closed(page);
});

test('typing fast: 60 characters, and the picture is that of the last one', async () => {
  const page = await browser.open();
  await page.locator('#text').fill('');
  const sentence = 'one two three one two three one two three one two three four';
  await after(page, () => page.locator('#text').pressSequentially(sentence, { delay: 5 }));
  const tokens = sentence.split(' ');
  assert.deepEqual(await page.locator('.word .word-text').allInnerTexts(), tokens);
  const expected = softmaxRows(headScores('same', tokens, 4), causal);
  const readout = await page.locator('.readout').innerText();
  const [, row, col, weight] = readout.match(/query \S+ (\d+)\s+→\s+key \S+ (\d+)\s+weight ([\d.]+)/);
  near(Number(weight), expected[row - 1][col - 1], 6e-4, readout);
  await closed(page);
});

test('touch at 390 pixels: tap a word, a head, a cell', async () => {
  const page = await browser.open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await after(page, () => page.locator('.word').nth(4).tap());
  assert.match(await page.locator('.caption').innerText(), /the\s*5 looks at/);
  await after(page, () => page.locator('.head').nth(0).tap());
  assert.match(await page.locator('.stage-title').innerText(), /Head 1/);
  const plot = page.locator('.stage .matrix-plot');
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  await after(page, () => page.touchscreen.tap(box.x + (7.5 * box.width) / N, box.y + (8.5 * box.height) / N));
  assert.match(await page.locator('.readout').innerText(), /query cat 9\s+→\s+key the 8\s+weight 0\.872/);
  await closed(page);
});

test('reduced motion: nothing moves by itself', async () => {
  const page = await browser.open({ reducedMotion: 'reduce' });
  await press(page, 'Decoding');
  await after(page, () => page.locator('.head').nth(1).click());
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  await closed(page);
});

test('the theme switch holds over a reload, and changes the picture', async () => {
  const page = await browser.open();
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await page.getByLabel('Theme').selectOption('dark');
  assert.notEqual(await paper(), light);
  await page.reload();
  await ready(page);
  assert.notEqual(await paper(), light);
  assert.equal(await page.getByLabel('Theme').inputValue(), 'dark');
  await closed(page);
});

test('changes are announced, once things have come to rest', async () => {
  const page = await browser.open();
  await after(page, () => page.locator('.head').nth(3).click());
  await page.waitForTimeout(700);
  assert.equal(await page.locator('output[aria-live=polite]').first().innerText(), 'Head 4, First word: entropy 0.65 bits. cat 9 looks most at The 1: 87 %.');
  await closed(page);
});

for (const deviceScaleFactor of [1, 2]) {
  for (const count of [40, 200]) {
    test(`pixels at several zooms: ${count} words, device ratio ${deviceScaleFactor}: each has the colour of the cell that the readout names`, async () => {
      const page = await browser.open({ deviceScaleFactor });
      const tokens = Array.from({ length: count }, (_, i) => `w${(i * 5) % 11}`);
      await after(page, () => page.locator('#text').fill(tokens.join(' ')));
      const weights = softmaxRows(headScores('same', tokens, 4), causal);
      const box = await page.locator('.stage .matrix-plot').boundingBox();
      let compared = 0;
      for (let zoom = 0; zoom < 3; zoom += 1) {
        for (const [u, v] of [[0.11, 0.13], [0.2, 0.9], [0.51, 0.77], [0.33, 0.62], [0.05, 0.97], [0.7, 0.2]]) {
          const at = { x: Math.round(box.x + u * box.width), y: Math.round(box.y + v * box.height) };
          await after(page, () => page.mouse.move(at.x, at.y));
          const [, row, col, rest] = (await page.locator('.readout').innerText()).replace(/\s+/g, ' ').match(/query \S+ (\d+) → key \S+ (\d+) (.*)/);
          assert.equal(/hidden/.test(rest), Number(col) > Number(row), `${row} ${col}: ${rest}`);
          if (/hidden/.test(rest)) continue;
          const weight = weights[row - 1][col - 1];
          // The pixel or, where the pointer is on a gap or an edge between cells, one of those around it.
          const found = await page.locator('.stage .matrix-heat').evaluate((canvas, { x, y, ratio }) => {
            const place = canvas.getBoundingClientRect();
            const { data } = canvas.getContext('2d').getImageData(Math.floor((x - place.x) * ratio) - 1, Math.floor((y - place.y) * ratio) - 1, 3, 3);
            return Array.from({ length: 9 }, (_, i) => [...data.slice(4 * i, 4 * i + 3)]);
          }, { ...at, ratio: deviceScaleFactor });
          const wanted = [...colorTable('cividis').subarray(3 * Math.round(255 * weight), 3 * Math.round(255 * weight) + 3)];
          assert.ok(found.some((pixel) => pixel.every((x, c) => Math.abs(x - wanted[c]) <= 4)), `zoom ${zoom}, query ${row}, key ${col}, weight ${weight}: ${wanted} is not among ${found.join(' | ')}`);
          compared += 1;
        }
        await page.mouse.move(box.x + 0.3 * box.width, box.y + 0.8 * box.height);
        await page.keyboard.down('Control');
        await page.mouse.wheel(0, -150);
        await page.keyboard.up('Control');
        await page.waitForTimeout(80);
      }
      assert.ok(compared >= 12, `${compared} cells compared`);
      await closed(page);
    });
  }
}
