// The first sight of the page, and its first controls: numbers and pixels against the float64 reference.

import assert from 'node:assert/strict';
import { after as atEnd, before, test } from 'node:test';
import { colorTable } from '../../web/page/colormaps.js';
import { headKinds } from '../../web/page/model.js';
import { after, cellPixel, ready, startBrowser } from './browser.mjs';
import { causal, DEFAULT_TOKENS, headScores, softmaxRows } from './reference.mjs';

let browser;
before(async () => { browser = await startBrowser(); });
atEnd(() => browser?.close());

const N = DEFAULT_TOKENS.length;
const expectedColor = (value) => {
  const index = Math.round(255 * value);
  return [...colorTable('cividis').subarray(3 * index, 3 * index + 3)];
};
const near = (a, b, tolerance, what) => assert.ok(a.every((x, i) => Math.abs(x - b[i]) <= tolerance), `${what}: ${a} is not ${b}`);

async function comparePixels(page, expected, visible) {
  for (let row = 0; row < N; row += 1) {
    for (let col = 0; col < N; col += 1) {
      if (!visible(row, col)) continue;
      const pixel = await cellPixel(page, '.matrix-heat', { rows: N, cols: N, row, col });
      // Two steps of the colour table: a weight on the edge of two colours may fall to either side.
      near(pixel, expectedColor(expected[row][col]), 4, `cell ${row}, ${col}`);
    }
  }
}

for (const deviceScaleFactor of [1, 2]) {
  test(`every cell of every head has the colour of its weight, at device ratio ${deviceScaleFactor}`, async () => {
    const page = await browser.open({ deviceScaleFactor });
    for (let head = 0; head < 4; head += 1) {
      await after(page, () => page.locator('.head').nth(head).click());
      await comparePixels(page, softmaxRows(headScores(headKinds[head], DEFAULT_TOKENS, 4), causal), causal);
    }
    await page.context().close();
  });
}

test('masked cells are hatched: two tones, neither of them a colour of the map', async () => {
  const page = await browser.open();
  const tones = await page.locator('.matrix-heat').evaluate((canvas, n) => {
    const size = canvas.width / n;
    const { data } = canvas.getContext('2d').getImageData(Math.ceil(5 * size) + 2, 2, Math.floor(size) - 5, Math.floor(size) - 5);
    const found = new Set();
    for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
    return [...found];
  }, N);
  assert.ok(tones.length >= 2, `only ${tones}`);
  const table = colorTable('cividis');
  for (let i = 0; i < 256; i += 1) assert.ok(!tones.includes([...table.subarray(3 * i, 3 * i + 3)].join()));
  await page.context().close();
});

test('pointing at a cell gives its words, weight and score; leaving returns to the chosen cell', async () => {
  const page = await browser.open();
  const readout = page.locator('.readout');
  assert.match(await readout.innerText(), /query cat 9\s+→\s+key cat 2\s+weight 0\.470 · score 4\.00/);
  const expected = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal);
  const box = await page.locator('.matrix-plot').boundingBox();
  for (const [row, col] of [[4, 0], [7, 4], [11, 3]]) {
    await page.mouse.move(box.x + ((col + 0.5) * box.width) / N, box.y + ((row + 0.5) * box.height) / N);
    const words = `query ${DEFAULT_TOKENS[row]} ${row + 1} → key ${DEFAULT_TOKENS[col]} ${col + 1} weight ${expected[row][col].toFixed(3)}`;
    assert.ok((await readout.innerText()).replace(/\s+/g, ' ').startsWith(words), `${await readout.innerText()} / ${words}`);
  }
  await page.mouse.move(box.x + (9.5 * box.width) / N, box.y + (0.5 * box.height) / N);
  assert.match(await readout.innerText(), /hidden by the mask/);
  await page.mouse.move(5, 5);
  assert.match(await readout.innerText(), /query cat 9/);
  await page.mouse.click(box.x + (0.5 * box.width) / N, box.y + (4.5 * box.height) / N);
  await page.mouse.move(5, 5);
  assert.match(await readout.innerText(), /query the 5\s+→\s+key The 1\s+weight 0\.487/);
  await page.context().close();
});

test('like BERT: nothing is hidden, and each row is shared over all keys', async () => {
  const page = await browser.open();
  await after(page, () => page.getByLabel('like BERT').check());
  await comparePixels(page, softmaxRows(headScores('same', DEFAULT_TOKENS, 4)), () => true);
  await page.context().close();
});

test('without the division by sqrt(d) the weights saturate', async () => {
  const page = await browser.open();
  await after(page, () => page.getByLabel('Divide scores by √d').uncheck());
  await comparePixels(page, softmaxRows(headScores('same', DEFAULT_TOKENS, 16), causal), causal);
  assert.match(await page.locator('.readout').innerText(), /weight 0\.500 · score 16\.00/);
  await page.context().close();
});

test('the number of heads: as many small heat maps, none of them blank', async () => {
  const page = await browser.open();
  for (const heads of [1, 8]) {
    await after(page, () => page.getByRole('slider', { name: 'Heads' }).fill(String(heads)));
    assert.equal(await page.locator('.head').count(), heads);
    const variances = await page.locator('.head canvas').evaluateAll((canvases) => canvases.map((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let sum = 0;
      let squares = 0;
      for (let i = 0; i < data.length; i += 4) {
        sum += data[i];
        squares += data[i] ** 2;
      }
      const count = data.length / 4;
      return squares / count - (sum / count) ** 2;
    }));
    for (const variance of variances) assert.ok(variance > 50, `variances ${variances}`);
  }
  await page.context().close();
});

test('typing changes everything at once, and the newest text wins', async () => {
  const page = await browser.open();
  await page.locator('#text').fill('');
  await after(page, () => page.locator('#text').pressSequentially('a rose is a rose is a rose', { delay: 0 }));
  assert.deepEqual(await page.locator('.word .word-text').allInnerTexts(), 'a rose is a rose is a rose'.split(' '));
  const tokens = 'a rose is a rose is a rose'.split(' ');
  await after(page, () => page.locator('.word').nth(7).click());
  const expected = softmaxRows(headScores('same', tokens, 4), causal)[7];
  const shares = await page.locator('.word-share').allInnerTexts();
  assert.deepEqual(shares, expected.map((weight) => `${Math.round(100 * weight)} %`));
  await page.context().close();
});

test('many inputs before the first answer: only the newest is drawn, and it is drawn', async () => {
  const page = await browser.open();
  await after(page, () => page.evaluate(() => {
    const field = document.querySelector('#text');
    for (let count = 1; count <= 40; count += 1) {
      field.value = Array.from({ length: count }, (_, i) => `w${i}`).join(' ');
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }
  }));
  assert.equal(await page.locator('.word').count(), 40);
  assert.match(await page.locator('.timing').innerText(), /^4 heads × 40 × 40/);
  await page.context().close();
});

test('no text: a sentence beside the field says so, and the last picture stays', async () => {
  const page = await browser.open();
  await page.locator('#text').fill('   ');
  assert.match(await page.locator('#text-problem').innerText(), /at least one word/);
  assert.equal(await page.locator('.word').count(), N);
  await after(page, () => page.locator('#text').fill('one'));
  assert.equal(await page.locator('#text-problem').innerText(), '');
  assert.equal(await page.locator('.word').count(), 1);
  assert.match(await page.locator('.readout').innerText(), /query one 1\s+→\s+key one 1\s+weight 1\.000/);
  await page.context().close();
});

test('hostile tokens are text, and nothing else', async () => {
  const page = await browser.open();
  const words = ['<img/src=x/onerror=window.hit=1>', 'x'.repeat(4000), 'שלום', 'مرحبا', '👩‍👩‍👧', 'Z̸̡̢̛̗̘̙', '</script>', '\u202Eevil'];
  await after(page, () => page.locator('#text').fill(words.join(' ')));
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(await page.locator('main img, main script').count(), 0);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('it says which variant ran and how long it took', async () => {
  const page = await browser.open();
  assert.match(await page.locator('.timing').innerText(), /^4 heads × 12 × 12 weights in (under )?[\d.]+ ms · (scalar|simd|relaxed), 1 thread$/);
  await page.context().close();
});

for (const [width, height] of [[1440, 900], [390, 844], [320, 640]]) {
  test(`at ${width} pixels nothing is cut off sideways`, async () => {
    const page = await browser.open({ viewport: { width, height } });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await page.context().close();
  });
}

for (const width of [1440, 768, 390]) {
  test(`at ${width} pixels every example fits, with everything unfolded`, async () => {
    const page = await browser.open({ viewport: { width, height: 900 } });
    const chips = page.locator('.presets .chip:visible');
    for (let at = 0; at < await chips.count(); at += 1) {
      const name = await chips.nth(at).innerText();
      if (/4,096/.test(name)) continue;
      await after(page, () => chips.nth(at).click());
      await page.evaluate(() => document.querySelectorAll('details').forEach((details) => { details.open = true; }));
      await page.waitForTimeout(50);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), name);
    }
    await page.context().close();
  });
}

test('hundreds of tokens', async () => {
  const page = await browser.open();
  const text = Array.from({ length: 300 }, (_, i) => `w${i % 90}`).join(' ');
  await after(page, () => page.locator('#text').fill(text));
  assert.equal(await page.locator('.word').count(), 300);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await ready(page);
  await page.context().close();
});

test('nothing but the page\'s own origin is asked, nothing is complained about', async () => {
  const page = await browser.open();
  assert.deepEqual(page.strangers, []);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});
