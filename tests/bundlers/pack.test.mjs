// The package as strangers get it: packed, installed into an empty project, run by every engine and through every bundler.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { nodeResolve } from '@rollup/plugin-node-resolve';
import * as esbuild from 'esbuild';
import { chromium } from 'playwright-core';
import { rollup } from 'rollup';
import { build as viteBuild, createServer as createViteServer } from 'vite';
import webpack from 'webpack';
import { startServer } from '../../tools/serve.mjs';
import { complaint } from '../../tools/stamp.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = path.join(HERE, '../..');
const DIST = path.join(ROOT, 'dist');
const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
const TARBALL = path.join(DIST, `spotlight-attention-${version}.tgz`);
const LIB = 'node_modules/spotlight-attention/web/lib';

let project; // an empty project with the package
let browser;

// run(command, args, options) -> what it printed; anything but success is an error with all of it.
function run(command, args, { cwd = project, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 });
    const out = [];
    const all = [];
    child.stdout.on('data', (chunk) => out.push(chunk) && all.push(chunk));
    child.stderr.on('data', (chunk) => all.push(chunk));
    child.on('error', reject);
    child.on('close', (status, signal) => {
      if (status === 0) resolve({ out: `${Buffer.concat(out)}`.trim(), all: `${Buffer.concat(all)}` });
      else reject(new Error(`${command} ${args.join(' ')}: ${status ?? signal}\n${Buffer.concat(all)}`));
    });
  });
}

before(async () => {
  await run(process.execPath, ['tools/pack.mjs'], { cwd: ROOT });
  mkdirSync(path.join(ROOT, 'build'), { recursive: true });
  project = mkdtempSync(path.join(ROOT, 'build/packed-'));
  writeFileSync(path.join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }));
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', TARBALL]);
  for (const file of readdirSync(HERE)) if (/^(program|page|worker|command|worker-command)\.m?js$/.test(file)) cpSync(path.join(HERE, file), path.join(project, file));
  browser = await chromium.launch({ executablePath: process.env.SPOTLIGHT_CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
});

after(async () => {
  await browser?.close();
  if (project) rmSync(project, { recursive: true, force: true });
});

test('the tarball holds the module, its types, every build, the core, the licence, and nothing else', async () => {
  const { out } = await run('tar', ['tzf', TARBALL]);
  const files = out.split('\n').map((line) => line.replace(/^package\//, ''));
  const allowed = [
    /^(LICENSE|README\.md|CHANGELOG\.md|package\.json|CMakeLists\.txt)$/, /^tools\/cmake\/\w+\.cmake$/, /^include\/attn\.h$/, /^src\/([\w-]+\/)?\w+\.(c|h|txt)$/,
    /^web\/lib\/(llama\/)?[\w-]+(\.d\.ts|\.js)$/, /^web\/lib\/wasm\/[\w-]+\.wasm$/,
  ];
  assert.deepEqual(files.filter((file) => !allowed.some((pattern) => pattern.test(file))), []);
  const builds = ['relaxed', 'relaxed-threads', 'scalar', 'simd', 'simd-threads'].map((name) => `web/lib/wasm/${name}.wasm`);
  const { exports } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const entries = Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [entry] : Object.values(entry))).filter((entry) => !entry.includes('*'));
  const wanted = [...builds, ...entries.map((entry) => entry.slice(2)), 'LICENSE', 'include/attn.h', 'src/sdpa.c', 'web/lib/thread.js'];
  assert.deepEqual(wanted.filter((file) => !files.includes(file)), []);
});

test('an old build is refused', () => {
  const copy = path.join(project, 'copy');
  for (const name of ['include', 'src', 'CMakeLists.txt', 'tools/cmake/wasm.cmake', 'web/lib/wasm']) cpSync(path.join(ROOT, name), path.join(copy, name), { recursive: true });
  assert.equal(complaint(copy), undefined);
  const changed = (file, message) => {
    const full = path.join(copy, file);
    const bytes = readFileSync(full);
    writeFileSync(full, Buffer.concat([bytes, Buffer.from('\n')]));
    assert.match(complaint(copy), message);
    writeFileSync(full, bytes);
    assert.equal(complaint(copy), undefined);
  };
  changed('src/sdpa.c', /sources have changed/);
  changed('src/wasm/exports.txt', /sources have changed/);
  changed('web/lib/wasm/simd.wasm', /not those that were built/);
  rmSync(path.join(copy, 'web/lib/wasm/scalar.wasm'));
  assert.match(complaint(copy), /not those that were built/);
  rmSync(path.join(copy, 'web/lib/wasm'), { recursive: true });
  assert.match(complaint(copy), /have not been built/);
});

test('npm would publish it without a remark', async () => {
  const { all } = await run('npm', ['publish', '--dry-run', '--ignore-scripts', TARBALL]);
  const remarks = all.split('\n').filter((line) => /^npm (warn|error)/i.test(line) && !/Unknown user config|requires you to be logged in/.test(line));
  assert.deepEqual(remarks, []);
});

const bin = (name) => path.join(HERE, 'node_modules', name);
const ENGINES = {
  'Node 20': [bin('node20/bin/node'), 'command.mjs'],
  'Node 22': [bin('node22/bin/node'), 'command.mjs'],
  'Node 24': [bin('node24/bin/node'), 'command.mjs'],
  'Node 26': [bin('node26/bin/node'), 'command.mjs'],
  Deno: [bin('@deno/linux-x64-glibc/deno'), 'run', '--no-remote', '--allow-read', '--allow-env', '--allow-sys', 'command.mjs'],
  Bun: [bin('@oven/bun-linux-x64/bin/bun'), 'command.mjs'],
};

for (const [name, [command, ...args]] of Object.entries(ENGINES))
  test(`${name}: one thread and two, there and in a worker`, async () => {
    const { out } = await run(command, args, { env: { NODE_OPTIONS: '' } });
    assert.match(out, /^(simd|relaxed) 1 right, \1 1 right, \1-threads 2 right, \1-threads 2 right$/);
  });

// What a page with the bundle in `folder` says in Chromium.
async function inChromium(url, threads) {
  const page = await browser.newPage();
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(`${url}?threads=${threads}`);
  await page.waitForFunction(() => document.title !== '', null, { timeout: 60_000 }).catch(() => {});
  const title = await page.title();
  await page.close();
  assert.deepEqual(complaints.filter((text) => !text.includes('favicon')), [], title);
  return title;
}

async function pageWorks(url) {
  assert.match(await inChromium(url, 1), /^(\w+) 1 right, \1 1 right$/);
  assert.match(await inChromium(url, 2), /^(\w+)-threads 2 right, \1-threads 2 right$/);
}

const html = (script) => `<!doctype html><link rel="icon" href="data:,"><script type="module" src="${script}"></script>`;

async function bundleWorks(folder, script = 'page.js') {
  if (script) writeFileSync(path.join(folder, 'index.html'), html(script));
  const server = await startServer({ root: folder, port: 0 });
  try {
    await pageWorks(server.url);
  } finally {
    await server.close();
  }
}

const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
const viteConfig = () => ({
  root: project, configFile: false, logLevel: 'error', optimizeDeps: { exclude: ['spotlight-attention'] },
  worker: { format: 'es' },
});

test('Vite, its development server', async () => {
  writeFileSync(path.join(project, 'index.html'), html('/page.js'));
  const server = await createViteServer({ ...viteConfig(), server: { host: '127.0.0.1', port: 0, headers: isolation, hmr: false } });
  try {
    await server.listen();
    await pageWorks(`http://127.0.0.1:${server.httpServer.address().port}/`);
  } finally {
    await server.close();
  }
});

test('Vite, its build', async () => {
  writeFileSync(path.join(project, 'index.html'), html('/page.js'));
  const outDir = path.join(project, 'out-vite');
  await viteBuild({ ...viteConfig(), build: { outDir } });
  await bundleWorks(outDir, null);
});

test('webpack', async () => {
  const folder = path.join(project, 'out-webpack');
  const stats = await new Promise((resolve, reject) => {
    webpack({ context: project, mode: 'production', entry: './page.js', output: { path: folder, filename: 'page.js' } },
      (error, result) => (error ? reject(error) : resolve(result)));
  });
  assert.equal(stats.hasErrors(), false, stats.toString());
  await bundleWorks(folder);
});

// These two leave import.meta.url as it is: what the module fetches goes beside the bundle.
function copyFetched(folder) {
  cpSync(path.join(project, LIB, 'wasm'), path.join(folder, 'wasm'), { recursive: true });
  cpSync(path.join(project, LIB, 'thread.js'), path.join(folder, 'thread.js'));
}

test('Rollup', async () => {
  const folder = path.join(project, 'out-rollup');
  const bundle = await rollup({ input: ['page.js', 'worker.js'].map((file) => path.join(project, file)), plugins: [nodeResolve()] });
  await bundle.write({ dir: folder, format: 'es' });
  await bundle.close();
  copyFetched(folder);
  await bundleWorks(folder);
});

test('esbuild', async () => {
  const folder = path.join(project, 'out-esbuild');
  await esbuild.build({ absWorkingDir: project, entryPoints: ['page.js', 'worker.js'], bundle: true, format: 'esm', outdir: folder, logLevel: 'silent' });
  copyFetched(folder);
  await bundleWorks(folder);
});

test('no bundler: an import map', async () => {
  const folder = path.join(project, 'out-plain');
  cpSync(path.join(project, LIB), path.join(folder, 'lib'), { recursive: true });
  writeFileSync(path.join(folder, 'program.js'), readFileSync(path.join(project, 'program.js'), 'utf8').replace("'spotlight-attention'", "'./lib/index.js'"));
  for (const file of ['page.js', 'worker.js']) cpSync(path.join(project, file), path.join(folder, file));
  await bundleWorks(folder);
});

test('import alone does nothing: a bundler drops it', async () => {
  for (const entry of ['', '/core', '/llama']) {
    const { outputFiles } = await esbuild.build({
      stdin: { contents: `import 'spotlight-attention${entry}';`, resolveDir: project }, bundle: true, format: 'esm', write: false, logLevel: 'silent',
    });
    assert.equal(outputFiles[0].text.replace(/^\/\/.*$/gm, '').trim(), '');
  }
});

test('C: cmake --install, find_package, and a program of ten lines', async () => {
  const source = path.join(project, 'node_modules/spotlight-attention');
  const [built, prefix, example] = ['c-build', 'c-prefix', 'c-example'].map((name) => path.join(project, name));
  await run('cmake', ['-S', source, '-B', built, `-DCMAKE_INSTALL_PREFIX=${prefix}`]);
  await run('cmake', ['--build', built, '--parallel', '2']);
  await run('cmake', ['--install', built]);
  rmSync(built, { recursive: true });
  await run('cmake', ['-S', path.join(HERE, 'c'), '-B', example, `-DCMAKE_PREFIX_PATH=${prefix}`]);
  await run('cmake', ['--build', example]);
  const { out } = await run(path.join(example, 'example'), []);
  assert.equal(out, 'simd 15.3788 25.3788'); // 10 + 20 / (1 + e), 20 + 20 / (1 + e)
  const wrong = path.join(project, 'c-wrong');
  mkdirSync(wrong);
  cpSync(path.join(HERE, 'c/example.c'), path.join(wrong, 'example.c'));
  writeFileSync(path.join(wrong, 'CMakeLists.txt'), readFileSync(path.join(HERE, 'c/CMakeLists.txt'), 'utf8').replace('0.1 REQUIRED', '99.0 REQUIRED'));
  await assert.rejects(run('cmake', ['-S', wrong, '-B', path.join(wrong, 'build'), `-DCMAKE_PREFIX_PATH=${prefix}`]), new RegExp(`version: ${version.replaceAll('.', '\\.')}`));
});
