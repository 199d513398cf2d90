// The page as it is given away: one file for a double click, and a folder for any host.

import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { chromium } from 'playwright-core';
import { startServer } from '../../tools/serve.mjs';
import { makeFile, makeSite } from '../../tools/pack.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let folder;
let browser;

before(async () => {
  mkdirSync(path.join(ROOT, 'build'), { recursive: true });
  folder = mkdtempSync(path.join(ROOT, 'build/given-'));
  await makeFile(path.join(folder, 'spotlight.html'));
  makeSite(path.join(folder, 'site'));
  browser = await chromium.launch({ executablePath: process.env.SPOTLIGHT_CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
});

after(async () => {
  await browser?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

async function open(context, url) {
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.complaints.push(message.text());
  });
  page.on('pageerror', (error) => page.complaints.push(error.message));
  await page.goto(url);
  await page.waitForSelector('html[data-picture="current"]', { timeout: 60_000 });
  return page;
}

const words = (page, text) => page.locator('textarea, input[type="text"]').first().fill(text);

test('one file: opened by its file: address with every request blocked, it computes and draws', async () => {
  const context = await browser.newContext({ offline: true });
  const asked = [];
  await context.route(/^(?!file:|data:|blob:)/, (route) => asked.push(route.request().url()) && route.abort());
  const address = pathToFileURL(path.join(folder, 'spotlight.html')).href;
  const page = await open(context, address);
  const all = [];
  page.on('request', (request) => all.push(request.url()));
  await words(page, 'one two three four five');
  await page.waitForTimeout(50);
  await page.waitForSelector('html[data-picture="current"]');
  assert.match(await page.locator('body').innerText(), /five/);
  await page.getByRole('button', { name: 'A model that learned' }).click();
  await page.waitForTimeout(500);
  await page.waitForSelector('html[data-picture="current"]', { timeout: 60_000 });
  assert.doesNotMatch(await page.locator('body').innerText(), /could not be loaded/);
  await page.reload();
  await page.waitForSelector('html[data-picture="current"]');
  assert.deepEqual(all.filter((url) => !url.startsWith(address) && !/^(data|blob):/.test(url)), []);
  assert.deepEqual([asked, page.complaints], [[], []]);
  await context.close();
});

test('one file: its policy allows its own script, style and worker by hash, and nothing else', async () => {
  const html = readFileSync(path.join(folder, 'spotlight.html'), 'utf8');
  const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html);
  assert.match(policy, /^default-src 'none'; script-src 'sha256-[\w+/=]+' 'wasm-unsafe-eval'; worker-src blob:; style-src 'sha256-/);
  assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval'.*'unsafe-eval|https?:/);
  const frame = html.replace(/<script>.*<\/script>|<style>.*<\/style>/gs, '');
  assert.deepEqual([...frame.matchAll(/(?:src|href)="(?!data:)[^"]*"/g)], []);
});

for (const isolation of [false, true])
  test(`folder: below any path, ${isolation ? 'with' : 'without'} the headers that threads need`, async () => {
    const host = path.join(folder, `host-${isolation}`);
    cpSync(path.join(folder, 'site'), path.join(host, 'some/where'), { recursive: true });
    const server = await startServer({ root: host, port: 0, isolation });
    const context = await browser.newContext();
    try {
      const page = await open(context, `${server.url}some/where/`);
      assert.equal(await page.evaluate(() => crossOriginIsolated), isolation);
      assert.deepEqual(page.complaints, []);
    } finally {
      await context.close();
      await server.close();
    }
  });

test('folder: offline after the first visit; a new version comes whole, when the old one is closed', async () => {
  const host = path.join(folder, 'host');
  cpSync(path.join(folder, 'site'), host, { recursive: true });
  const server = await startServer({ root: host, port: 0 });
  const context = await browser.newContext();
  const title = (page) => page.evaluate(async () => [document.title, await (await fetch('page/icon.svg')).text()]);
  try {
    let page = await open(context, server.url);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.close();
    await context.setOffline(true);
    page = await open(context, server.url);
    assert.deepEqual(page.complaints, []);
    const [before, icon] = await title(page);
    await context.setOffline(false);

    // Version two, uploaded file by file while version one is open.
    const next = path.join(folder, 'next');
    makeSite(next, { 'index.html': (html) => html.replace(/<title>.*<\/title>/, '<title>Second</title>'), 'page/icon.svg': (svg) => `${svg}<!-- second -->` });
    writeFileSync(path.join(host, 'page/icon.svg'), readFileSync(path.join(next, 'page/icon.svg')));
    await page.reload();
    await page.waitForSelector('html[data-picture="current"]');
    assert.deepEqual(await title(page), [before, icon], 'half a version is not seen');
    cpSync(next, host, { recursive: true });
    await page.evaluate(async () => {
      const registration = await navigator.serviceWorker.getRegistration();
      await registration.update();
      const worker = registration.installing ?? registration.waiting;
      if (worker.state !== 'installed') await new Promise((resolve) => worker.addEventListener('statechange', () => worker.state === 'installed' && resolve()));
    });
    assert.deepEqual(await title(page), [before, icon], 'the open window stays with its version');
    await page.close();
    await new Promise((resolve) => setTimeout(resolve, 500));
    page = await open(context, server.url);
    const [after, second] = await title(page);
    assert.equal(after, 'Second');
    assert.match(second, /second/);
    assert.equal((await page.evaluate(() => caches.keys())).length, 1);
  } finally {
    await context.close();
    await server.close();
  }
});
