// What keeps the page quick, counted and not timed: who asks the worker how often, and what is painted again.

import assert from 'node:assert/strict';
import { after as atEnd, before, test } from 'node:test';
import { after, ready, startBrowser } from './browser.mjs';

let browser;
before(async () => { browser = await startBrowser(); });
atEnd(() => browser?.close());

/** The page with counters: asked[type] messages to the worker, heat: how often the large picture was cleared to be painted anew. */
async function counted(options = {}) {
  const page = await browser.open({ wait: false, ...options });
  await page.addInitScript(() => {
    window.asked = {};
    window.heat = 0;
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function count(message, ...rest) {
      window.asked[message.type] = (window.asked[message.type] ?? 0) + 1;
      return post.call(this, message, ...rest);
    };
    const clear = CanvasRenderingContext2D.prototype.clearRect;
    CanvasRenderingContext2D.prototype.clearRect = function count(...box) {
      if (this.canvas.matches('.stage .matrix-heat')) window.heat += 1;
      return clear.apply(this, box);
    };
  });
  await page.reload();
  await ready(page);
  return page;
}
const zero = (page) => page.evaluate(() => { window.asked = {}; window.heat = 0; });
const counts = (page) => page.evaluate(() => ({ asked: window.asked, heat: window.heat }));

test('forty inputs at once: the worker computes the first and the newest, nothing between', async () => {
  const page = await counted();
  await zero(page);
  await after(page, () => page.evaluate(() => {
    const field = document.querySelector('#text');
    for (let count = 1; count <= 40; count += 1) {
      field.value = Array.from({ length: count }, (_, i) => `w${i}`).join(' ');
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }
  }));
  const { asked } = await counts(page);
  assert.equal(asked.attend, 2);
  assert.equal(await page.locator('.word').count(), 40);
  await page.context().close();
});

test('one input: one computation, and the large picture is painted once', async () => {
  const page = await counted();
  await zero(page);
  // No word is added, so that no size changes: layout has no reason of its own to paint.
  await after(page, () => page.evaluate(() => {
    const field = document.querySelector('#text');
    field.value = field.value.replace('tired', 'ill');
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }));
  const { asked, heat } = await counts(page);
  assert.equal(asked.attend, 1);
  assert.equal(heat, 1);
  await page.context().close();
});

test('pointing at cells computes no attention and paints no heat map again: only outlines and terms of the row', async () => {
  const page = await counted();
  const box = await page.locator('.stage .matrix-plot').boundingBox();
  await page.mouse.move(box.x + 5, box.y + 5);
  await ready(page);
  await zero(page);
  for (let step = 0; step < 30; step += 1) await page.mouse.move(box.x + 10 + step * 8, box.y + 10 + step * 9);
  await page.waitForTimeout(50);
  await ready(page);
  const { asked, heat } = await counts(page);
  assert.deepEqual([asked.attend ?? 0, heat], [0, 0]);
  assert.ok(asked.terms > 0);
  await page.context().close();
});

test('other colours and another head are drawn from what is held: nothing is computed', async () => {
  const page = await counted();
  await zero(page);
  await page.locator('summary', { hasText: 'Colours' }).click();
  await page.getByLabel('Map', { exact: true }).selectOption('viridis');
  await after(page, () => page.locator('.head').nth(2).click());
  const { asked } = await counts(page);
  assert.equal(asked.attend ?? 0, 0);
  await page.context().close();
});
