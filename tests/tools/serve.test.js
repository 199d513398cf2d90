import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { startServer } from '../../tools/serve.mjs';

const script = fileURLToPath(new URL('../../tools/serve.mjs', import.meta.url));

let folder;
let server;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'serve-test-'));
  const web = path.join(folder, 'web');
  await mkdir(path.join(web, 'lib', 'wasm'), { recursive: true });
  await mkdir(path.join(web, 'empty'));
  await writeFile(path.join(folder, 'secret.txt'), 'secret');
  await writeFile(path.join(folder, 'web-secret.txt'), 'secret');
  await writeFile(path.join(web, 'index.html'), '<p>page');
  await writeFile(path.join(web, 'a b.txt'), 'blank');
  for (const name of ['x.js', 'x.mjs', 'x.css', 'x.json', 'x.svg', 'x.png', 'x.webmanifest', 'x.unknown'])
    await writeFile(path.join(web, name), 'x');
  await writeFile(path.join(web, 'lib', 'index.html'), 'lib');
  await writeFile(path.join(web, 'lib', 'wasm', 'simd.wasm'), new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
  await symlink(path.join(folder, 'secret.txt'), path.join(web, 'out.txt'));
  await symlink(folder, path.join(web, 'outfolder'));
  await symlink(path.join(web, 'x.js'), path.join(web, 'inside.js'));
  server = await startServer({ root: web, port: 0 });
});

after(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

// raw(path) -> the whole answer, sent as it is: fetch would tidy the path up first.
async function raw(target, method = 'GET') {
  const socket = net.connect(server.port, '127.0.0.1');
  socket.write(`${method} ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  let text = '';
  for await (const chunk of socket) text += chunk;
  return { status: Number(text.split(' ')[1]), text };
}

test('listens on loopback only and says where', () => {
  assert.equal(server.url, `http://127.0.0.1:${server.port}/`);
});

test('a folder is its index.html, reached with a slash', async () => {
  assert.equal(await (await fetch(server.url)).text(), '<p>page');
  const moved = await fetch(server.url + 'lib?a=1', { redirect: 'manual' });
  assert.equal(moved.status, 301);
  assert.equal(moved.headers.get('location'), '/lib/?a=1');
  assert.equal(await (await fetch(server.url + 'lib/')).text(), 'lib');
  assert.equal((await fetch(server.url + 'empty/')).status, 404);
});

test('a redirect never leads to another host', async () => {
  for (const target of ['//lib', '///lib']) {
    const location = /location: (.*)\r/i.exec((await raw(target)).text)?.[1] ?? '/';
    assert.match(location, /^\/(?!\/)/);
  }
});

test('types, by the ending of the name', async () => {
  const types = {
    '': 'text/html; charset=utf-8',
    'x.js': 'text/javascript; charset=utf-8',
    'x.mjs': 'text/javascript; charset=utf-8',
    'x.css': 'text/css; charset=utf-8',
    'x.json': 'application/json; charset=utf-8',
    'x.svg': 'image/svg+xml',
    'x.png': 'image/png',
    'x.webmanifest': 'application/manifest+json; charset=utf-8',
    'x.unknown': 'application/octet-stream',
    'lib/wasm/simd.wasm': 'application/wasm',
    'a%20b.txt': 'text/plain; charset=utf-8',
  };
  for (const [name, type] of Object.entries(types)) {
    const response = await fetch(server.url + name);
    assert.equal(response.status, 200, name);
    assert.equal(response.headers.get('content-type'), type, name);
  }
});

test('a .wasm streams into the compiler', async () => {
  assert.ok((await WebAssembly.compileStreaming(fetch(server.url + 'lib/wasm/simd.wasm'))) instanceof WebAssembly.Module);
});

test('isolation headers on every answer, 404 included', async () => {
  for (const name of ['', 'missing']) {
    const { headers } = await fetch(server.url + name);
    assert.equal(headers.get('cross-origin-opener-policy'), 'same-origin');
    assert.equal(headers.get('cross-origin-embedder-policy'), 'require-corp');
    assert.equal(headers.get('cross-origin-resource-policy'), 'same-origin');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.equal(headers.get('cache-control'), 'no-cache');
  }
});

test('isolation: false leaves the two out that isolate', async () => {
  const plain = await startServer({ root: path.join(folder, 'web'), port: 0, isolation: false });
  try {
    const { headers } = await fetch(plain.url);
    assert.equal(headers.get('cross-origin-opener-policy'), null);
    assert.equal(headers.get('cross-origin-embedder-policy'), null);
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
  } finally {
    await plain.close();
  }
});

test('nothing outside the folder, however it is spelt', async () => {
  const paths = [
    '/../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/%2e%2e%2fsecret.txt', '/lib/../../secret.txt', '/..%5csecret.txt',
    '/lib/..%2f..%2fsecret.txt', '/%252e%252e/secret.txt', '//secret.txt', '/out.txt', '/outfolder/secret.txt', '/outfolder/',
    '/x.js%00.png', '/%00', '/%', '/%ff', '/../web-secret.txt', '/x.js/', 'secret.txt', 'http://localhost/../secret.txt', '/missing',
  ];
  for (const target of paths) {
    const { status, text } = await raw(target);
    assert.ok(status === 404 || status === 400, `${target}: ${status}`);
    assert.doesNotMatch(text, /\r\n\r\nsecret/, target);
  }
  assert.equal((await fetch(server.url + 'inside.js')).status, 200, 'a link that stays inside is followed');
});

test('GET and HEAD only', async () => {
  const head = await fetch(server.url, { method: 'HEAD' });
  assert.equal(head.headers.get('content-length'), '7');
  assert.equal(await head.text(), '');
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const response = await fetch(server.url, { method });
    assert.equal(response.status, 405, method);
    assert.equal(response.headers.get('allow'), 'GET, HEAD');
  }
});

test('takes the next port when one is taken', async () => {
  const second = await startServer({ root: path.join(folder, 'web'), port: server.port });
  try {
    assert.ok(second.port > server.port);
  } finally {
    await second.close();
  }
});

test('as a program: prints its address, ends cleanly on Ctrl-C', async () => {
  const child = spawn(process.execPath, [script, '--port', '0']);
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  assert.match(line, /http:\/\/127\.0\.0\.1:\d+\//);
  child.kill('SIGINT');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('as a program: wrong options are refused', async () => {
  for (const options of [['--port', '70000'], ['--port', 'x'], ['--prot', '1'], ['extra']]) {
    const child = spawn(process.execPath, [script, ...options], { stdio: 'ignore' });
    assert.deepEqual(await once(child, 'exit'), [2, null], options.join(' '));
  }
});

test('the manual lies over docs/, where it is built', async () => {
  const manual = path.join(folder, 'manual');
  await mkdir(path.join(folder, 'web', 'docs'));
  await writeFile(path.join(folder, 'web', 'docs', 'index.html'), 'not built');
  await writeFile(path.join(folder, 'web', 'docs', 'kernel.svg'), 'figure');
  const withManual = await startServer({ root: path.join(folder, 'web'), manual, port: 0 });
  const text = async (target) => (await fetch(withManual.url + target)).text();
  try {
    assert.equal(await text('docs/'), 'not built');
    await mkdir(path.join(manual, 'classes'), { recursive: true });
    await writeFile(path.join(manual, 'index.html'), 'manual');
    await writeFile(path.join(manual, 'classes', 'index.html'), 'classes');
    await symlink(path.join(folder, 'secret.txt'), path.join(manual, 'out.txt'));
    assert.equal(await text('docs/'), 'manual');
    assert.equal(await text('docs'), 'manual');
    assert.equal(await text('docs/classes'), 'classes');
    assert.equal(await text('docs/kernel.svg'), 'figure');
    assert.equal((await fetch(withManual.url + 'docs/out.txt')).status, 404);
    assert.equal((await fetch(withManual.url + 'docs/%2e%2e/secret.txt')).status, 404);
    assert.equal(await text(''), '<p>page');
  } finally {
    await withManual.close();
  }
});
