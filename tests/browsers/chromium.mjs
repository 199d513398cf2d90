// Chromium, by Playwright, as in tests/page.

import { chromium } from 'playwright-core';

export async function launchChromium(executablePath, env) {
  const browser = await chromium.launch({
    executablePath, env: { ...process.env, ...env }, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run', '--disable-sync'],
  });
  return {
    version: browser.version(),
    async open({ url, width, height }) {
      const context = await browser.newContext({ viewport: { width, height } });
      const page = await context.newPage();
      const complaints = [];
      page.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) complaints.push(`${message.text()} (${message.location().url})`);
      });
      page.on('pageerror', (error) => complaints.push(error.message));
      await page.goto(url);
      return {
        complaints,
        run: (fn, ...args) => page.evaluate(`(${fn})(...${JSON.stringify(args)})`),
        resize: (toWidth, toHeight) => page.setViewportSize({ width: toWidth, height: toHeight }),
        go: (address) => page.goto(address),
        clickAt: (x, y) => page.mouse.click(x, y),
        press: async (...keys) => { for (const key of keys) await page.keyboard.press(key); },
        screenshot: () => page.screenshot(),
        close: () => context.close(),
      };
    },
    close: () => browser.close(),
  };
}
