// Every fenced block of the documents does what it says. Its language says how that is found out:
//
//   js       runs in Node, where this checkout is the package; html: in Chromium, beside the page
//   c        is compiled against the native library, and run where it has a main
//   sh       names commands, folders and parts that there are
//   json, python   can be parsed;   text   is for the eye alone
//
// What follows // after a console.log, or after a printf that ends a line, is what it prints, but for spaces and the kind of
// quotes. "// such as ..." shows one of several possible results.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

import { startServer } from '../../tools/serve.mjs';
import { DOCUMENTS, ROOT, allBlocks, textOf } from './documents.mjs';

const NODE_FLAGS = process.versions.v8.startsWith('11.') ? ['--experimental-wasm-relaxed-simd'] : [];

let folder;
before(() => {
  mkdirSync(`${ROOT}build`, { recursive: true });
  folder = mkdtempSync(`${ROOT}build/documents-`);
  // A stranger's project: the package installed, and the checkout's folders where the README has them.
  mkdirSync(`${folder}/node_modules`);
  symlinkSync(ROOT, `${folder}/node_modules/spotlight-attention`);
  symlinkSync(`${ROOT}web`, `${folder}/web`);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const bare = (text) => text.replace(/\s+/g, '').replace(/["`]/g, "'");

// marked(code) -> { code, expected: Map }: each console.log as LOG(line, ...), and what its comment says.
export function marked(code) {
  const expected = new Map();
  let current = null;
  const lines = code.split('\n').map((line, index) => {
    let text = line;
    if (/\bconsole\.log\(/.test(line)) {
      current = index + 1;
      text = line.replace(/\bconsole\.log\(/g, `globalThis.LOG(${current}, `);
    }
    const comment = /\);?\s*\/\/ ?(.*)$/.exec(line)?.[1];
    if (comment !== undefined && current !== null) {
      if (!comment.startsWith('such as ')) expected.set(current, comment);
      current = null;
    }
    return text;
  });
  return { code: lines.join('\n'), expected };
}

function compare(expected, printed) {
  for (const [line, want] of expected) {
    const got = printed.filter((entry) => entry.line === line).map(({ text }) => text);
    assert.equal(got.length, 1, `line ${line} of the block promises "${want}" and prints ${got.length} times`);
    if (bare(got[0]) !== bare(want)) assert.fail(`line ${line} of the block promises\n    ${want}\nand prints\n    ${got[0]}`);
  }
}

const LOG = `
import { formatWithOptions } from 'node:util';
globalThis.LOG = (line, ...values) =>
  process.stdout.write('LOG' + JSON.stringify({ line, text: formatWithOptions({ breakLength: Infinity, maxArrayLength: 200 }, ...values) }) + '\\n');
`;

function js({ code: source }, name) {
  const { code, expected } = marked(source);
  writeFileSync(`${folder}/log.mjs`, LOG);
  writeFileSync(`${folder}/${name}.mjs`, code);
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...NODE_FLAGS, '--import', `${folder}/log.mjs`, `${name}.mjs`], {
    cwd: folder, encoding: 'utf8', timeout: 120_000,
  });
  assert.equal(status, 0, `ended with ${signal ?? status}:\n${stderr}`);
  compare(expected, stdout.split('\n').filter((line) => line.startsWith('LOG')).map((line) => JSON.parse(line.slice(3))));
}

const run = (command, args, options) => spawnSync(command, args, { cwd: ROOT, encoding: 'utf8', timeout: 120_000, ...options });

function c({ code }, name) {
  const library = `${ROOT}build/native/libattn_simd.a`;
  assert.ok(existsSync(library), `${library} is not built: ./build.sh test docs`);
  const source = `${folder}/${name}.c`;
  writeFileSync(source, code);
  const flags = ['-std=c11', '-Wall', '-Wextra', '-Werror', '-Iinclude', '-Isrc'];
  if (!/\bint main\b/.test(code)) {
    const checked = run('cc', [...flags, '-Wno-unused-function', '-fsyntax-only', source]);
    return assert.equal(checked.status, 0, checked.stderr);
  }
  const compiled = run('cc', [...flags, source, library, '-lm', '-o', `${folder}/${name}`]);
  assert.equal(compiled.status, 0, compiled.stderr);
  const { status, stdout, stderr } = run(`${folder}/${name}`, []);
  assert.equal(status, 0, stdout + stderr);
  const wanted = Array.from(code.matchAll(/printf\(.*\);\s*\/\/ ?(.*)$/gm), ([, want]) => want);
  assert.deepEqual(stdout.trim().split('\n').map(bare), wanted.map(bare));
}

// What build.sh prints of itself is what there is.
function sh({ code, file }) {
  const help = run('./build.sh', ['help']).stdout;
  const scripts = JSON.parse(textOf('package.json'));
  const parts = /all_parts="([^"]*)"/.exec(textOf('build.sh'))[1].split(' ');
  const known = {
    './build.sh': ([command, ...args]) => {
      assert.match(help, new RegExp(`^  ${command}\\b`, 'm'), `./build.sh has no command ${command}`);
      for (const arg of args)
        if (arg.startsWith('--')) assert.ok(help.includes(arg) || run('node', ['tests/bench/run.mjs', '--help']).stdout.includes(arg), `./build.sh ${command} has no ${arg}`);
        else if (command === 'test') assert.ok(parts.includes(arg), `./build.sh test has no part ${arg}`);
    },
    npm: ([command, ...args]) => {
      if (command === 'install') for (const name of args.filter((arg) => !arg.startsWith('-') && !arg.endsWith('.tgz'))) assert.ok([scripts.name, 'vite', 'webpack', 'webpack-cli', 'rollup', 'esbuild'].includes(name), `npm install ${name}`);
      else if (!['init'].includes(command)) assert.ok(scripts.scripts[command === 'run' ? args[0] : command], `npm ${command} is no script of package.json`);
    },
    node: (args) => {
      const script = args.find((arg) => !arg.startsWith('-'));
      // A name without a folder is a file that the text around the block has the reader save.
      if (script.includes('/')) assert.ok(existsSync(ROOT + script.replace(/^\.\//, '')), `${script} is not there`);
      else assert.ok(textOf(file).includes(`\`${script}\``), `${file} does not say what ${script} is`);
      for (const path of args.slice(args.indexOf(script) + 1)) if (/\.(js|mjs)$/.test(path)) assert.ok(existsSync(ROOT + path), `${path} is not there`);
    },
    cmake: () => {}, // run by the tests of the package
    ctest: () => {},
    cc: () => {},
    git: ([command]) => assert.ok(['clone', 'commit'].includes(command), `git ${command}`),
    cd: () => {},
    npx: ([tool]) => assert.ok(['vite', 'webpack', 'rollup', 'esbuild'].includes(tool), `npx ${tool}`),
  };
  for (const line of code.replace(/\\\n/g, ' ').split('\n')) {
    const [first, ...args] = line.replace(/(^|\s)#.*$/, '').trim().split(/\s+/);
    if (first === '' || first === undefined) continue;
    assert.ok(known[first], `${first} is no command that these tests know`);
    known[first](args);
  }
}

let browser;
let server;
after(async () => {
  await browser?.close();
  await server?.close();
});

async function html({ code: source }) {
  browser ??= await chromium.launch({ executablePath: process.env.SPOTLIGHT_CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  server ??= await startServer({ port: 0 });
  const { code, expected } = marked(source);
  const page = await browser.newPage();
  const problems = [];
  const printed = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    const text = message.text();
    if (text.startsWith('LOG')) printed.push(JSON.parse(text.slice(3)));
    else if (message.type() === 'error') problems.push(text);
  });
  const show = (value) => (value !== null && typeof value === 'object' ? `[${Array.from(value).join(',')}]` : String(value));
  await page.addInitScript(`globalThis.LOG = (line, ...values) => console.log('LOG' + JSON.stringify({ line, text: values.map(${show}).join(' ') }));`);
  const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
  await page.route(`${server.url}block.html`, (route) => route.fulfill({ contentType: 'text/html', headers: isolation, body: code }));
  await page.goto(`${server.url}block.html`);
  for (const started = Date.now(); printed.length < expected.size && problems.length === 0 && Date.now() - started < 60_000; ) await page.waitForTimeout(50);
  assert.deepEqual(problems, []);
  compare(expected, printed);
  await page.close();
}

const json = ({ code }) => void JSON.parse(code);

function python({ code }, name, t) {
  if (run('python3', ['--version']).status !== 0) return t.skip('needs python3');
  const { status, stderr } = run('python3', ['-c', 'import ast, sys; ast.parse(sys.stdin.read())'], { input: code });
  assert.equal(status, 0, stderr);
}

const RUNNERS = { js, c, sh, html, json, python, text: () => {} };

const blocks = allBlocks();
blocks.forEach((block, index) => {
  if (block.language === 'text') return;
  test(`${block.file}:${block.line} (${block.language})`, async (t) => {
    assert.ok(Object.hasOwn(RUNNERS, block.language), `a block of "${block.language}" cannot be tested; "text" is for the eye alone`);
    await RUNNERS[block.language](block, `block${index}`, t);
  });
});

test('there are blocks in every language that is promised to run', () => {
  for (const language of ['js', 'c', 'sh', 'html']) assert.ok(blocks.some((block) => block.language === language), language);
});

test('results are found where they are promised', () => {
  const promised = blocks.filter(({ language }) => ['js', 'html'].includes(language)).reduce((sum, { code }) => sum + marked(code).expected.size, 0);
  assert.ok(promised > 40, `only ${promised}`);
});

// Code that is only indented would escape these tests.
test('no code without a fence', () => {
  for (const file of DOCUMENTS) {
    let inBlock = false;
    textOf(file).split('\n').forEach((line, index, lines) => {
      if (/^\s*```/.test(line)) inBlock = !inBlock;
      else if (!inBlock && /^ {4}\S/.test(line) && lines[index - 1] === '') assert.fail(`${file}:${index + 1}: ${line.trim()}`);
    });
  }
});

test('a result that is wrong, or never printed, is found', () => {
  const { code, expected } = marked('console.log(1 + 1); // 3\nif (false) console.log(2); // 2\nconsole.log(5); // such as 4\n');
  assert.deepEqual([...expected], [[1, '3'], [2, '2']]);
  assert.throws(() => compare(expected, [{ line: 1, text: '2' }]), /promises\n {4}3\nand prints\n {4}2/);
  assert.throws(() => compare(new Map([[2, '2']]), []), /prints 0 times/);
  assert.match(code, /^globalThis\.LOG\(1, 1 \+ 1\)/);
});
