// axe-core finds nothing to complain about, in any theme and state; the matrix is a grid, and forced colours keep it.

import assert from 'node:assert/strict';
import { after as atEnd, before, test } from 'node:test';
import { after, startBrowser, violations } from './browser.mjs';

let browser;
before(async () => { browser = await startBrowser(); });
atEnd(() => browser?.close());

const openAll = (page) => page.evaluate(() => document.querySelectorAll('details').forEach((details) => { details.open = true; }));
const states = {
  'first sight': async () => {},
  'everything unfolded': openAll,
  'the lesson': (page) => page.getByRole('button', { name: 'Lesson in seven steps' }).click(),
  'the charts': async (page) => { await page.getByRole('button', { name: 'Why √d' }).click(); await openAll(page); },
  'the comparison': (page) => page.getByRole('button', { name: 'GPT or BERT' }).click(),
  'the textbook': (page) => page.getByRole('button', { name: 'Textbook' }).click(),
  'decoding': (page) => page.getByRole('button', { name: 'Decoding' }).click(),
  'the column view': (page) => page.getByRole('button', { name: 'Column: who looks at it' }).click(),
  'a drawn mask': (page) => page.getByLabel('by hand').check(),
  'no text': (page) => page.locator('#text').fill(''),
  'ready-made weights': async (page) => {
    await page.getByRole('button', { name: 'Open your tensors' }).click();
    await page.setInputFiles('#files', [{ name: 'w.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify({ attention: [[[[1, 0], [0.5, 0.5]]], [[[0, 1], [1, 0]]]] })) }]);
    await page.getByRole('button', { name: 'Show', exact: true }).click();
  },
  'a part of a table, another sentence compared': async (page) => {
    await page.locator('#text').fill('word '.repeat(80));
    await page.getByRole('button', { name: 'Compare with another setting' }).click();
    await page.getByLabel('Its sentence').fill('another sentence');
    await openAll(page);
  },
  'the dialog': (page) => page.getByRole('button', { name: 'Open your tensors' }).click(),
};

for (const colorScheme of ['light', 'dark']) {
  for (const [name, reach] of Object.entries(states)) {
    test(`axe, ${colorScheme}: ${name}`, async () => {
      const page = await browser.open({ colorScheme, reducedMotion: 'reduce' });
      await after(page, () => reach(page));
      assert.deepEqual(await violations(page), []);
      assert.deepEqual(page.complaints, []);
      await page.context().close();
    });
  }
}

for (const [name, options] of [['forced colours', { forcedColors: 'active' }], ['more contrast', { contrast: 'more' }], ['320 pixels', { viewport: { width: 320, height: 640 } }]]) {
  test(`axe: ${name}`, async () => {
    const page = await browser.open(options);
    assert.deepEqual(await violations(page), []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    const colours = await page.locator('.stage .matrix-heat').evaluate((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return new Set(Array.from({ length: data.length / 4 }, (_, i) => data.slice(4 * i, 4 * i + 3).join())).size;
    });
    assert.ok(colours > 8, 'the picture is there');
    await page.context().close();
  });
}

test('text at 200 %: nothing is cut off sideways', async () => {
  const page = await browser.open({ viewport: { width: 720, height: 900 } });
  await page.evaluate(() => { document.documentElement.style.fontSize = '200%'; });
  await page.waitForTimeout(200);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await page.context().close();
});

test('what a screen reader hears of the stage', async () => {
  const page = await browser.open();
  const heard = await page.locator('.stage').ariaSnapshot();
  for (const part of [
    'heading "Head 2: Same word" [level=2]', 'tab "Weights" [selected]',
    'grid "Weights, Head 2: rows are queries, columns are keys"', 'gridcell "query cat 9, key cat 2: weight 0.470, score 4.00" [selected]',
    'img "Colour scale: 0, 0.50, 1.00"',
  ]) assert.ok(heard.includes(part), `${part} is not in\n${heard}`);
  assert.ok(!heard.includes('canvas'));
  await page.context().close();
});
