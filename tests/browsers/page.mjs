// The main paths through the page, with real clicks and keys, in a browser: its numbers are those of the float64 reference.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { startServer } from '../../tools/serve.mjs';
import { npy } from '../page/make.mjs';
import { causal, DEFAULT_TOKENS, headScores, softmaxRows } from '../page/reference.mjs';

const KINDS = ['previous', 'same', 'followed', 'first'];
const everything = () => true;

/** What the page is asked, in the page. */
const inPage = {
  /** Until the picture of the newest input is drawn. */
  async ready() {
    const end = Date.now() + 120_000;
    await new Promise((resolve) => { setTimeout(resolve, 40); });
    while (document.documentElement.dataset.picture !== 'current') {
      if (Date.now() > end) throw new Error('the page does not get ready');
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
  },
  /** The middle of the first visible element that the selector names and whose text has `text`, scrolled into sight. */
  middleOf(selector, text) {
    const element = [...document.querySelectorAll(selector)].find((one) => one.textContent.includes(text) && one.getClientRects().length > 0);
    if (!element) throw new Error(`no ${selector} with "${text}"`);
    element.scrollIntoView({ block: 'center', behavior: 'instant' });
    const { x, y, width, height } = element.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  },
  text: (selector) => document.querySelector(selector).innerText.replace(/\s+/g, ' ').trim(),
  count: (selector) => document.querySelectorAll(selector).length,
  value: (selector) => document.querySelector(selector).value,
  set(selector, value) {
    const element = document.querySelector(selector);
    element.value = value;
    for (const type of ['input', 'change']) element.dispatchEvent(new Event(type, { bubbles: true }));
  },
  focused: () => document.activeElement.getAttribute('aria-label') ?? document.activeElement.className,
  fits: () => document.documentElement.scrollWidth <= innerWidth,
  hash: () => location.hash,
  /** What the page saves is kept here instead: the blob and its name. */
  catchSaved() {
    globalThis.saved = [];
    const create = URL.createObjectURL;
    let blob;
    URL.createObjectURL = (made) => {
      blob = made;
      return create.call(URL, made);
    };
    HTMLAnchorElement.prototype.click = function click() {
      globalThis.saved.push({ name: this.download, blob });
    };
  },
  async lastSaved() {
    for (let tries = 0; tries < 200 && globalThis.saved.length === 0; tries += 1) await new Promise((resolve) => { setTimeout(resolve, 20); });
    const { name, blob } = globalThis.saved.pop();
    if (blob.type !== 'image/png') return { name, type: blob.type, text: await blob.text() };
    const picture = await createImageBitmap(blob);
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    const context = canvas.getContext('2d');
    context.drawImage(picture, 0, 0);
    const { data } = context.getImageData(0, 0, picture.width, picture.height);
    const colors = new Set();
    for (let i = 0; i < data.length; i += 4 * 97) colors.add(data[i] | (data[i + 1] << 8) | (data[i + 2] << 16));
    return { name, type: blob.type, width: picture.width, height: picture.height, colors: colors.size };
  },
  drop(name, base64) {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], name));
    for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
  },
  async visible(selector, text = '') {
    for (let tries = 0; tries < 3000; tries += 1) {
      if ([...document.querySelectorAll(selector)].some((one) => one.textContent.includes(text) && one.getClientRects().length > 0)) return;
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
    throw new Error(`${selector} does not come in sight`);
  },
  /** The weights as the table of the page shows them: rows of numbers, null where hidden. */
  table: () => [...document.querySelectorAll('.as-table tbody tr')].map((row) => [...row.querySelectorAll('td')].map((cell) => (/\d/.test(cell.textContent) ? Number(cell.textContent.replace('−', '-')) : null))),
};

/** A tab whose page is asked and driven by name. */
function pageOf(tab) {
  const ask = Object.fromEntries(Object.entries(inPage).map(([name, fn]) => [name, (...args) => tab.run(fn.toString().replace(/^(async )?(\w+)\(/, '$1function $2('), ...args)]));
  const click = async (selector, text = '') => tab.clickAt(...(await ask.middleOf(selector, text)));
  return {
    ...ask,
    click,
    async after(action) {
      await action();
      await ask.ready();
    },
    /** A key of the page, then the new picture. */
    async key(...keys) {
      await tab.press(...keys);
      await ask.ready();
    },
    async unfold(summary) {
      await click('summary', summary);
      await ask.ready();
    },
    tab,
  };
}

/** Weights of the default head, or of another, that the page's table shows against those of the reference. */
function compare(shown, expected, visible) {
  assert.equal(shown.length, expected.length);
  shown.forEach((row, i) => {
    assert.equal(row.length, expected[i].length);
    row.forEach((weight, j) => {
      if (!visible(i, j)) assert.ok(weight === null || weight === 0, `${i}, ${j} is hidden`);
      else assert.ok(Math.abs(weight - expected[i][j]) <= 6e-4, `weight ${i}, ${j}: ${weight} is not ${expected[i][j]}`);
    });
  });
}

const PATHS = {
  async 'the default sentence: every weight of every head'(page) {
    await page.unfold('Show as table');
    for (const [head, kind] of KINDS.entries()) {
      await page.after(() => page.click(`.head:nth-child(${head + 1})`));
      compare(await page.table(), softmaxRows(headScores(kind, DEFAULT_TOKENS, 4), causal), causal);
    }
    assert.match(await page.text('.timing'), /^4 heads × 12 × 12 weights in (under )?[\d.]+ ms · (scalar|simd|relaxed), 1 thread$/);
  },

  async 'typing changes the words and their weights'(page) {
    await page.unfold('Show as table');
    await page.after(() => page.click('#text'));
    await page.key('End');
    await page.key(...' cat');
    const words = [...DEFAULT_TOKENS, 'cat'];
    assert.equal(await page.count('.word'), words.length);
    compare(await page.table(), softmaxRows(headScores('same', words, 4), causal), causal);
  },

  async 'another mask: everything is seen'(page) {
    await page.unfold('Show as table');
    await page.after(() => page.click('.segment', 'like BERT'));
    compare(await page.table(), softmaxRows(headScores('same', DEFAULT_TOKENS, 4)), everything);
  },

  async 'the keyboard in the matrix'(page) {
    await page.key('Tab');
    assert.equal(await page.focused(), 'skip');
    await page.key('Enter');
    assert.equal(await page.focused(), 'query cat 9, key cat 2: weight 0.470, score 4.00');
    for (const [key, label] of [
      ['ArrowRight', 'query cat 9, key sat 3: weight 0.009, score 0.00'], ['ArrowDown', 'query was 10, key sat 3: weight 0.016, score 0.00'],
      ['Home', 'query was 10, key The 1: weight 0.016, score 0.00'], ['End', 'query was 10, key . 12: hidden by the mask'],
    ]) {
      await page.key(key);
      assert.equal(await page.focused(), label, key);
    }
    await page.key(']');
    assert.match(await page.text('.stage-title'), /Head 3/);
    await page.key('m');
    await page.key('1');
    assert.match(await page.text('[role=tab][aria-selected=true]'), /Scores/);
  },

  async 'a .npy file that is dropped'(page) {
    await page.unfold('Show as table');
    const n = 5;
    const weights = softmaxRows(Array.from({ length: n }, (_, i) => Array.from({ length: n }, (__, j) => ((i * 7 + j * 3) % 5) / 2)));
    const bytes = npy(weights.flat(), [n, n]);
    await page.drop('weights.npy', Buffer.from(bytes).toString('base64'));
    await page.visible('dialog button', 'Show');
    await page.after(() => page.click('dialog button', 'Show'));
    compare(await page.table(), weights, everything);
  },

  async 'CSV and PNG'(page) {
    await page.catchSaved();
    await page.unfold('Save and share');
    await page.click('.save button', 'CSV');
    const { name, text } = await page.lastSaved();
    assert.match(name, /\.csv$/);
    const lines = text.trim().split(/\r?\n/).map((line) => line.split(','));
    const expected = softmaxRows(headScores('same', DEFAULT_TOKENS, 4), causal);
    assert.equal(lines.length, DEFAULT_TOKENS.length + 1);
    lines.slice(1).forEach((line, i) => line.slice(1).forEach((cell, j) => {
      if (!causal(i, j)) assert.equal(cell, '');
      else assert.ok(Math.abs(Number(cell) - expected[i][j]) < 1e-5, `${i}, ${j}: ${cell}`);
    }));
    await page.click('.save button', 'PNG');
    const picture = await page.lastSaved();
    assert.equal(picture.type, 'image/png');
    assert.ok(picture.width > 1000 && picture.height > 1000 && picture.colors > 20, JSON.stringify(picture));
  },

  async 'a link restores what was chosen'(page) {
    await page.after(() => page.click('.head:nth-child(4)'));
    await page.after(() => page.click('.segment', 'like BERT'));
    await page.after(() => page.set('#text', 'a link & its <words>'));
    await new Promise((resolve) => { setTimeout(resolve, 600); });
    const hash = await page.hash();
    assert.match(hash, /^#/);
    await page.tab.go('about:blank');
    await page.tab.go(page.url + hash);
    await page.ready();
    assert.equal(await page.value('#text'), 'a link & its <words>');
    assert.match(await page.text('.stage-title'), /Head 4/);
    await page.unfold('Show as table');
    const words = 'a link & its <words>'.match(/\w+|[^\w\s]/g);
    assert.equal(await page.count('.word'), words.length);
    compare(await page.table(), softmaxRows(headScores('first', words, 4)), everything);
  },

  async '4,096 words: cancelled, then computed'(page) {
    await page.click('.chip', '4,096');
    await page.visible('.settings > .progress');
    await page.after(() => page.click('button', 'Cancel'));
    assert.match(await page.text('.settings .problem'), /Cancelled/);
    assert.equal(await page.count('.word'), DEFAULT_TOKENS.length);
    await page.after(() => page.click('.chip', 'Four heads'));
    await page.after(() => page.click('.chip', '4,096'));
    assert.match(await page.text('.timing'), /^4 heads × 4096 × 4096/);
  },

  async 'dark, on a desktop and on a phone'(page, title) {
    const look = async (name) => {
      assert.ok(await page.fits(), name);
      const folder = process.env.SPOTLIGHT_SCREENSHOTS;
      const picture = await page.tab.screenshot();
      assert.ok(picture.length > 10_000, name);
      if (!folder) return;
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, `${title}-${name}.png`), picture);
    };
    const background = () => page.tab.run(() => getComputedStyle(document.body).backgroundColor);
    await look('desktop');
    const light = await background();
    await page.after(() => page.set('.theme select', 'dark'));
    assert.notEqual(await background(), light);
    await look('desktop-dark');
    await page.tab.resize(390, 844);
    await page.ready();
    await look('phone-dark');
    await page.unfold('Show as table');
    assert.equal(await page.tab.run(() => [...document.querySelectorAll('.as-table thead th')].filter((head) => head.getClientRects().length).length), DEFAULT_TOKENS.length);
    await page.tab.run(() => scrollTo(0, 0));
    await page.after(() => page.set('.theme select', 'light'));
    await look('phone');
  },
};

export function pageTests({ title, program, launch }, skip) {
  test(`the page in ${title}`, { skip }, async (t) => {
    const browser = await launch(program, {});
    try {
      for (const isolation of [true, false]) {
        const server = await startServer({ port: 0, isolation });
        try {
          for (const [name, path] of Object.entries(PATHS).slice(0, isolation ? undefined : 1))
            await t.test(`${title}, ${isolation ? 'isolated' : 'not isolated'}: ${name}`, async () => {
              const tab = await browser.open({ url: server.url, width: 1440, height: 900 });
              try {
                const page = { ...pageOf(tab), url: server.url };
                await page.ready();
                await path(page, title);
                assert.deepEqual(tab.complaints, []);
              } finally {
                await tab.close();
              }
            });
        } finally {
          await server.close();
        }
      }
    } finally {
      await browser.close();
    }
  });
}
