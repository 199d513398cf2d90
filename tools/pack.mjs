#!/usr/bin/env node
// Makes the folder dist out of what ./build.sh build has built:
//
//   spotlight-attention-VERSION.tgz   the npm package
//   spotlight.html                    the page as one file, for a double click
//   site/                             the page as a folder for any host
//   sbom.spdx.json                    what the package is made of, and under which licences

import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { complaint } from './stamp.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const WEB = path.join(ROOT, 'web');
const DIST = path.join(ROOT, 'dist');

const read = (file) => readFileSync(file, 'utf8');
const base64 = (file) => readFileSync(file).toString('base64');

// replaceOnce(text, from, to): a source that no longer says what is replaced here stops the packing.
function replaceOnce(text, from, to) {
  const parts = text.split(from);
  if (parts.length !== 2) throw new Error(`found ${parts.length - 1} times, not once: ${from}`);
  return parts.join(to);
}

function npm(...args) {
  const { status, stdout, stderr } = spawnSync('npm', args, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`npm ${args.join(' ')}: ${stderr}`);
  return stdout;
}

// edits: { file below web: (source) => source }
const editing = (edits) => ({
  name: 'editing',
  setup({ onLoad }) {
    for (const [file, edit] of Object.entries(edits)) {
      const full = path.join(WEB, file);
      onLoad({ filter: new RegExp(`${file.replace(/[.]/g, '[.]')}$`) }, (args) =>
        args.path === full ? { contents: edit(read(full)), loader: 'js' } : undefined);
    }
  },
});

async function bundle(file, edits, { banner = '', fetch = 'fetch' } = {}) {
  const { outputFiles, warnings } = await build({
    entryPoints: [path.join(WEB, file)], bundle: true, ignoreAnnotations: true, minify: true, format: 'iife', target: 'es2022', charset: 'utf8', write: false,
    banner: { js: banner }, define: { fetch, 'import.meta.url': '"inlined:/page/folder/file.js"' }, plugins: [editing(edits)],
  });
  if (warnings.length > 0) throw new Error(warnings.map(({ text }) => text).join('\n'));
  return outputFiles[0].text;
}

const sha256 = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Writes the page as one file. */
export async function makeFile(file) {
  // A file: page has no shared memory: the builds with threads stay out.
  const inlineModules = (source) =>
    ['relaxed', 'simd', 'scalar'].reduce((text, name) =>
      replaceOnce(text, `new URL('./wasm/${name}.wasm', import.meta.url)`,
        `new URL('data:application/wasm;base64,${base64(path.join(WEB, `lib/wasm/${name}.wasm`))}')`), source);
  // What the worker would fetch lies in it by name.
  const folder = path.join(WEB, 'model');
  const files = readdirSync(folder).filter((name) => !name.endsWith('.js')).map((name) => [name, base64(path.join(folder, name))]);
  const fetching = `const FILES = ${JSON.stringify(Object.fromEntries(files))};
    const inlined = async (url) => new Response(Uint8Array.from(atob(FILES[new URL(url).pathname.split('/').at(-1)]), (char) => char.charCodeAt(0)));`;
  const worker = await bundle('page/worker.js', { 'lib/variants.js': inlineModules }, { banner: fetching, fetch: 'inlined' });
  const icon = `data:image/svg+xml;base64,${base64(path.join(WEB, 'page/icon.svg'))}`;
  const script = (await bundle('page/main.js', {
    'page/engine.js': (source) => replaceOnce(source, "new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })",
      `new Worker(URL.createObjectURL(new Blob([${JSON.stringify(worker)}], { type: 'text/javascript' })))`),
    'page/main.js': (source) => replaceOnce(source, "'page/icon.svg'", `'${icon}'`),
  })).replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');
  let style = '';
  let html = read(path.join(WEB, 'index.html')).replace(/ *<link rel="stylesheet" href="([^"]+)">\n/g, (_, file) => {
    style += read(path.join(WEB, file));
    return '';
  });
  html = html.replace(/<meta http-equiv="Content-Security-Policy" content="[^"]*">/,
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src ${sha256(script)} 'wasm-unsafe-eval'; worker-src blob:; ` +
    `style-src ${sha256(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'">`);
  html = replaceOnce(html, '<link rel="icon" href="page/icon.svg" type="image/svg+xml">', `<link rel="icon" href="${icon}" type="image/svg+xml">`);
  html = html.replace(/ *<link rel="help"[^>]*>\n/, '');
  html = replaceOnce(html, '</head>', `  <style>${style}</style>\n</head>`);
  html = replaceOnce(html, '  <script type="module" src="page/main.js"></script>\n', '');
  html = replaceOnce(html, '</body>', `<script>${script}</script>\n</body>`);
  writeFileSync(file, html);
}

const filesBelow = (folder) => readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
  .sort();

/** Makes the folder with the page. changes: { file: (text) => text }, for the tests. */
export function makeSite(folder, changes = {}) {
  mkdirSync(folder);
  const wanted = (file) => !/\.d\.ts$|built-from\.json$|^docs\b|screenshot/.test(path.relative(WEB, file).replaceAll(path.sep, '/'));
  cpSync(WEB, folder, { recursive: true, filter: (file) => wanted(file) });
  const manual = path.join(ROOT, 'build/docs');
  if (existsSync(manual)) cpSync(manual, path.join(folder, 'docs'), { recursive: true });
  const source = (name) => path.join(ROOT, 'tools/site', name);
  cpSync(source('manifest.webmanifest'), path.join(folder, 'manifest.webmanifest'));
  cpSync(source('offline.js'), path.join(folder, 'page/offline.js'));
  let html = read(path.join(folder, 'index.html'));
  html = replaceOnce(html, "base-uri 'none'", "manifest-src 'self'; base-uri 'none'");
  html = replaceOnce(html, '</head>', '  <link rel="manifest" href="manifest.webmanifest">\n  <script type="module" src="page/offline.js"></script>\n</head>');
  writeFileSync(path.join(folder, 'index.html'), html);
  for (const [file, change] of Object.entries(changes)) writeFileSync(path.join(folder, file), change(read(path.join(folder, file))));
  // One hash of all files names the cache: the worker answers from one version or from none.
  const files = filesBelow(folder).filter((file) => !file.startsWith('docs/'));
  const hash = createHash('sha256');
  for (const file of files) hash.update(file).update(readFileSync(path.join(folder, file)));
  const addresses = files.map((file) => (file === 'index.html' ? './' : `./${file}`));
  const worker = replaceOnce(replaceOnce(read(source('service-worker.js')), "'VERSION'", JSON.stringify(hash.digest('hex').slice(0, 16))),
    '[] /* FILES */', JSON.stringify(addresses));
  writeFileSync(path.join(folder, 'service-worker.js'), worker);
  writeFileSync(path.join(folder, '.nojekyll'), '');
}

async function main() {
  const wrong = complaint();
  if (wrong) {
    console.error(`pack: ${wrong}: run  ./build.sh build`);
    process.exit(1);
  }
  rmSync(DIST, { recursive: true, force: true });
  mkdirSync(DIST);
  npm('pack', '--pack-destination', DIST);
  writeFileSync(path.join(DIST, 'sbom.spdx.json'), npm('sbom', '--sbom-format', 'spdx', '--package-lock-only', '--omit', 'dev'));
  await makeFile(path.join(DIST, 'spotlight.html'));
  makeSite(path.join(DIST, 'site'));
  for (const file of readdirSync(DIST)) console.log(`dist/${file}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
