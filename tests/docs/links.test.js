// Every link leads somewhere: those of the documents as they lie, those of the built manual, and the page's to it.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { chromium } from 'playwright-core';

import { startServer } from '../../tools/serve.mjs';
import { readJson } from '../../web/page/files/json.js';
import { DOCUMENTS, ROOT, anchorsOf, blocksIn, linksIn, textOf } from './documents.mjs';

const MANUAL = `${ROOT}build/docs`;

for (const file of DOCUMENTS)
  test(`links of ${file}`, () => {
    for (const { line, target } of linksIn(textOf(file))) {
      const at = `${file}:${line}: ${target}`;
      if (/^https?:/.test(target)) {
        assert.ok(URL.canParse(target) && target.startsWith('https:'), at);
        continue;
      }
      const [name, anchor] = target.split('#');
      const found = name === '' ? ROOT + file : path.join(path.dirname(ROOT + file), decodeURI(name));
      assert.ok(existsSync(found), `${at}: there is no such file`);
      assert.ok(!path.relative(ROOT, found).startsWith('..'), `${at}: leads out of the repository`);
      if (anchor !== undefined) assert.ok(anchorsOf(readFileSync(found, 'utf8')).includes(anchor), `${at}: there is no such heading`);
    }
  });

test("the manual of the C core has the header's sections", () => {
  const html = readFileSync(`${MANUAL}/documents/The_C_manual.html`, 'utf8');
  const titles = Array.from(textOf('include/attn.h').matchAll(/\n\n\/\* ([^.*\n]+) \*\/\n\n/g), ([, title]) => title);
  assert.ok(titles.length > 10, titles.join(', '));
  const sections = Array.from(html.matchAll(/<h2[^>]*>(.*?)<\/h2>/gs), ([, inner]) => inner.replace(/<[^>]*>/g, '').trim());
  assert.deepEqual(titles.filter((title) => !sections.includes(title)), []);
});

const unescape = (text) => text.replaceAll('&amp;', '&').replaceAll('&#39;', "'").replaceAll('&quot;', '"');
const attributes = (html, pattern) => Array.from(html.matchAll(pattern), ([, value]) => unescape(value));

test('links of the built manual', () => {
  assert.ok(existsSync(`${MANUAL}/index.html`), 'the manual is not built: ./build.sh docs');
  const ids = new Map();
  const idsOf = (file) => {
    if (!ids.has(file)) ids.set(file, new Set(attributes(readFileSync(file, 'utf8'), /\bid="([^"]*)"/g)));
    return ids.get(file);
  };
  // The manual is the folder docs/ beside the page.
  const place = (file) => (file.startsWith(MANUAL + path.sep) ? file : path.join(ROOT, 'web', path.relative(path.dirname(MANUAL), file)));
  const wrong = [];
  let count = 0;
  for (const name of readdirSync(MANUAL, { recursive: true }).filter((entry) => entry.endsWith('.html'))) {
    const file = path.join(MANUAL, name);
    for (const target of attributes(readFileSync(file, 'utf8'), /\b(?:href|src)="([^"]*)"/g)) {
      if (/^(https?|data):/.test(target)) continue;
      count++;
      const [page, anchor = ''] = target.split('#');
      const joined = page === '' ? file : path.resolve(path.dirname(file), decodeURIComponent(page));
      const found = place(joined);
      const whole = existsSync(found) && statSync(found).isDirectory() ? path.join(found, 'index.html') : found;
      if (!existsSync(whole)) wrong.push(`${name}: ${target}`);
      else if (anchor !== '' && whole.endsWith('.html') && !idsOf(whole).has(decodeURIComponent(anchor))) wrong.push(`${name}: ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(count > 1000, `only ${count} links were found`);
});

test('the manual names everything that is public', async () => {
  const module = await import('../../web/lib/index.js');
  for (const name of Object.keys(module)) assert.ok(existsSync(`${MANUAL}/classes/spotlight-attention.${name}.html`), name);
  const attention = readFileSync(`${MANUAL}/classes/spotlight-attention.Attention.html`, 'utf8');
  for (const name of Object.getOwnPropertyNames(module.Attention.prototype))
    if (name !== 'constructor') assert.match(attention, new RegExp(`id="${name}"`, 'i'), name);
  const manual = readFileSync(`${MANUAL}/documents/The_C_manual.html`, 'utf8');
  const header = textOf('include/attn.h').replace(/\/\*.*?\*\//gs, '');
  const names = new Set(Array.from(header.matchAll(/\b(attn_\w+)\(|^} (attn_\w+);/gm), ([, f, t]) => f ?? t));
  assert.ok(names.size > 50);
  for (const name of names) assert.ok(manual.includes(`id="${name}"`), name);
});

test('what the documents call by name exists', async () => {
  const { Attention } = await import('../../web/lib/index.js');
  for (const file of DOCUMENTS)
    for (const [, name] of textOf(file).matchAll(/\battn\.(\w+)/g))
      if (name !== 'h') assert.ok(name in Attention.prototype || name in Attention || ['variant', 'threads'].includes(name), `${file}: attn.${name}`);
  const header = textOf('include/attn.h');
  for (const file of DOCUMENTS)
    for (const [name] of textOf(file).matchAll(/\battn_\w+\b/g)) assert.ok(header.includes(name) || ['attn_mask', 'attn_output'].includes(name), `${file}: ${name}`);
});

test('every guide is listed where guides are listed', () => {
  const guides = DOCUMENTS.filter((file) => /^web\/docs\/(?!README)/.test(file)).map((file) => file.slice('web/docs/'.length));
  const listed = linksIn(textOf('web/docs/README.md')).map(({ target }) => target).filter((target) => /^\w+\.md$/.test(target));
  assert.deepEqual(listed.toSorted(), guides.toSorted());
  assert.deepEqual(attributes(textOf('web/docs/index.html'), /href="(\w+\.md)"/g), listed);
});

test('the files that the documents name are there', () => {
  for (const file of DOCUMENTS)
    for (const [, name] of textOf(file).matchAll(/`((?:src|web|tests|include|tools|\.github)\/[\w./-]+)`/g))
      assert.ok(existsSync(ROOT + name), `${file}: ${name}`);
});

test('the constants of the kernel guide are those of the sources', () => {
  const rows = Array.from(textOf('web/docs/kernel.md').matchAll(/^\| `(\w+)` \| (.+?) \| (src\/\S+) \|$/gm));
  assert.ok(rows.length >= 9);
  for (const [, name, value, file] of rows)
    assert.equal(new RegExp(`^#define ${name} (.+?)(?: */\\*.*)?$`, 'm').exec(textOf(file))?.[1], value, `${name} in ${file}`);
});

test('the page reads what the guide for BertViz has one save', () => {
  const [block] = blocksIn('web/docs/bertviz.md', textOf('web/docs/bertviz.md')).filter(({ language }) => language === 'json');
  const { tensors, tokens, keyTokens } = readJson(new TextEncoder().encode(block.code));
  assert.deepEqual(tensors.map(({ name, shape }) => [name, shape]), [['attn', [1, 1, 2, 2]]]);
  assert.deepEqual([tokens, keyTokens], [['Hello', 'world'], ['Hello', 'world']]);
});

test('the page links to the manual, and the server has it', async () => {
  const server = await startServer({ port: 0 });
  const browser = await chromium.launch({ executablePath: process.env.SPOTLIGHT_CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const page = await browser.newPage();
    const missing = [];
    page.on('response', (response) => response.status() >= 400 && missing.push(response.url()));
    await page.goto(server.url);
    await page.getByRole('contentinfo').getByRole('link', { name: 'Manual' }).click();
    await page.getByRole('heading', { name: 'Spotlight: the manual' }).waitFor();
    await page.locator('.col-content').getByRole('link', { name: 'Threads', exact: true }).click();
    await page.waitForURL(/documents\//);
    await page.getByRole('link', { name: 'The page' }).click();
    await page.waitForURL(server.url + 'index.html');
    assert.deepEqual(missing, []);
  } finally {
    await browser.close();
    await server.close();
  }
});
