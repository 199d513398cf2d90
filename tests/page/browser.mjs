// A real Chromium on the repository's own server, for the page's tests.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

import { chromium } from 'playwright-core';
import { startServer } from '../../tools/serve.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run', '--disable-sync'];

/** { url, open(options) -> page, close() }. SPOTLIGHT_URL tests a server that already runs. */
export async function startBrowser() {
  const server = process.env.SPOTLIGHT_URL ? null : await startServer({ port: 0 });
  const url = process.env.SPOTLIGHT_URL ?? server.url;
  const browser = await chromium.launch({
    executablePath: process.env.SPOTLIGHT_CHROMIUM || '/usr/bin/chromium', args: FLAGS,
  });
  return {
    url,
    /** A page in a context of its own, in which init() ran first. Everything it complains about is collected in page.complaints. */
    async open({ hash = '', wait = true, init, ...options } = {}) {
      const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
      // Nothing but the page's own origin may be asked for anything.
      const strangers = [];
      await context.route((address) => !address.href.startsWith(url) && !/^(blob|data):/.test(address.protocol), (route) => {
        strangers.push(route.request().url());
        return route.abort();
      });
      const page = await context.newPage();
      page.complaints = [];
      page.strangers = strangers;
      page.on('console', (message) => {
        // Reading pixels is what the tests do, not the page.
        if (['error', 'warning'].includes(message.type()) && !message.text().includes('willReadFrequently')) page.complaints.push(message.text());
      });
      page.on('pageerror', (error) => page.complaints.push(error.message));
      if (init) await page.addInitScript(init);
      await page.goto(url + hash);
      if (wait) await ready(page);
      return page;
    },
    async close() {
      await browser.close();
      await server?.close();
    },
  };
}

/** Until the picture of the newest input is drawn. */
export async function ready(page) {
  await page.waitForSelector('html[data-picture="current"]', { timeout: 90000 });
}

/** Runs an action and waits until the page shows what follows from it. */
export async function after(page, action) {
  await action();
  await page.waitForTimeout(30);
  await ready(page);
}

/** What axe-core complains about, a line each. */
export async function violations(page) {
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.any[0]?.message ?? node.all[0]?.message ?? node.none[0]?.message ?? ''}`));
}

/** The pixel [r, g, b] of a canvas at fractions of a cell. */
export async function cellPixel(page, selector, { rows, cols, row, col, dx = 0.22, dy = 0.22 }) {
  return page.locator(selector).evaluate((canvas, at) => {
    const x = Math.floor(((at.col + at.dx) * canvas.width) / at.cols);
    const y = Math.floor(((at.row + at.dy) * canvas.height) / at.rows);
    return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data.slice(0, 3)];
  }, { rows, cols, row, col, dx, dy });
}
