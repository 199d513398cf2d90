// Runs the rows in a page of Chromium, which calls back here with each result.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { startServer } from '../../tools/serve.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const EXECUTABLE = process.env.SPOTLIGHT_CHROMIUM ?? '/usr/bin/chromium';
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run', '--disable-sync'];

export async function measureInChromium({ rows, variants, mode, onResult, say }) {
  if (!existsSync(EXECUTABLE)) throw new Error(`there is no ${EXECUTABLE}: name a Chromium in SPOTLIGHT_CHROMIUM`);
  const server = await startServer({ root: ROOT, port: 0 });
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS });
  try {
    const page = await browser.newPage();
    page.on('pageerror', (error) => say(`the page: ${error.message}`));
    await page.exposeFunction('benchSay', say);
    await page.exposeFunction('benchResult', onResult);
    await page.goto(`${server.url}tests/bench/page.html`);
    await page.evaluate((options) => globalThis.bench(options), { rows, variants, mode });
    return `Chromium ${browser.version()}`;
  } finally {
    await browser.close();
    await server.close();
  }
}
