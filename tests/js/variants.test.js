// Choosing a build, and loading it: what runs where, and what is said when something is missing.

import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { Attention } from '../../web/lib/index.js';
import * as probes from '../../web/lib/probes.js';
import { UNTHREADED, VARIANTS, eachVariant, engineOf, works } from './each_variant.js';

const LIB = new URL('../../web/lib/', import.meta.url);
const wasm = (variant) => readFileSync(new URL(`wasm/${variant}.wasm`, LIB));

// inNode(code): what a fresh Node prints. It must end by itself.
function inNode(code) {
  const script = `(async () => { const { Attention } = await import('${LIB}index.js');\n${code}\n})()`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 60_000 });
  assert.equal(stderr, '');
  assert.equal(status, 0);
  return stdout.trim();
}

eachVariant('a named variant is the one that runs', (attn, t) => {
  const variant = VARIANTS.find((name) => t.name.endsWith(`(${name})`));
  assert.equal(attn.variant, variant);
  assert.equal(attn.threads, engineOf(variant).threads);
  assert.equal(attn.memoryBytes, 2 ** 20);
  works(attn);
});

test('the fastest that runs is taken; one thread, unless all or some are asked for', async () => {
  for (const options of [undefined, null, {}, { variant: 'auto' }, { variant: null, threads: null }, { threads: 1 }]) {
    const attn = await Attention.create(options);
    assert.deepEqual([attn.variant, attn.threads], ['relaxed', 1]);
    attn.dispose();
  }
  const all = await Attention.create({ threads: 'auto' });
  assert.equal(all.threads, Math.min(8, availableParallelism()));
  all.dispose();
  const attn = await Attention.create({ threads: 3 });
  assert.deepEqual([attn.variant, attn.threads], ['relaxed-threads', 3]);
  works(attn);
  attn.dispose();
});

test('a probe says yes where the build compiles, and only there', () => {
  assert.equal(probes.simd(), WebAssembly.validate(wasm('simd')));
  assert.equal(probes.relaxed(), WebAssembly.validate(wasm('relaxed')));
  assert.equal(probes.threads(), WebAssembly.validate(wasm('simd-threads')));
  const report = inNode(`
    const probes = await import('${LIB}probes.js');
    const { readFileSync } = await import('node:fs');
    console.log(probes.relaxed() === WebAssembly.validate(readFileSync(new URL('${LIB}wasm/relaxed.wasm'))));`);
  assert.equal(report, 'true');
});

test('without relaxed SIMD, auto is simd, and relaxed is refused with a reason', () => {
  // Node 20 without its flag is such an engine; newer ones cannot be made to be.
  const lacks = process.versions.v8.startsWith('11.');
  const [auto, threaded, refusal] = inNode(`
    console.log((await Attention.create()).variant);
    console.log((await Attention.create({ threads: 2 })).variant);
    await Attention.create({ variant: 'relaxed' }).then((a) => console.log(a.variant), (e) => console.log(e.code, e.message));`).split('\n');
  assert.equal(auto, lacks ? 'simd' : 'relaxed');
  assert.equal(threaded, lacks ? 'simd-threads' : 'relaxed-threads');
  assert.match(refusal, lacks ? /^unsupported variant 'relaxed' cannot run: .*relaxed SIMD/ : /^relaxed$/);
});

test('without shared memory there is one thread, and more are refused with what to serve', () => {
  const out = inNode(`
    globalThis.structuredClone = () => { throw new Error('not here'); };
    console.log((await Attention.create()).threads);
    for (const options of [{ threads: 2 }, { variant: 'simd-threads' }])
      await Attention.create(options).catch((e) => console.log(e.code, e.message));`).split('\n');
  assert.equal(out[0], '1');
  assert.match(out[1], /^unsupported threads: 2 .*Cross-Origin-Opener-Policy: same-origin.*Cross-Origin-Embedder-Policy: require-corp/);
  assert.match(out[2], /^unsupported variant 'simd-threads' .*Cross-Origin-Opener-Policy/);
});

test('no room for memory beside that of an engine with threads: it does without', () => {
  assert.equal(inNode(`
    const { Memory } = WebAssembly;
    let refused = 0;
    WebAssembly.Memory = function (options) {
      if (options.shared) return new Memory(options);
      refused++;
      throw new RangeError('no memory');
    };
    const attn = await Attention.create({ threads: 2 });
    for (const rows of [200, 20, 20]) {
      const x = { data: new Float32Array(8 * rows * 64).fill(2), shape: [8, rows, 64] };
      console.log(refused, attn.threads, attn.sdpa(x, x, x).output.data.every((y) => y === 2));
    }`), '1 2 true\n1 2 true\n2 2 true');
});

test('no room for 4 GiB of shared memory: an engine with less, whose end is an error like any other', () => {
  assert.equal(inNode(`
    const { Memory } = WebAssembly;
    let most = 20000;
    const asked = [];
    WebAssembly.Memory = function (options) {
      if (options.shared) asked.push(options.maximum);
      if (options.shared && options.maximum > most) throw new RangeError('no memory');
      return new Memory(options);
    };
    const attn = await Attention.create({ threads: 2 });
    const x = { data: new Float32Array(8 * 200 * 64).fill(2), shape: [8, 200, 64] };
    const check = () => attn.sdpa(x, x, x).output.data.every((y) => y === 2);
    console.log(asked.join(), check());
    for (const mib of [900, 200]) try {
      attn.tensor([mib, 2 ** 18]);
      console.log(mib, check());
    } catch ({ code }) {
      console.log(code, check());
    }
    attn.dispose();
    most = 4000;
    await Attention.create({ threads: 2 }).catch(({ code }) => console.log(code));`), '65535,32767,16383 true\n900 true\nmemory true\nmemory');
});

test('memory for small calls that cannot grow: they take the other', () => {
  assert.equal(inNode(`
    const { Memory } = WebAssembly;
    WebAssembly.Memory = function (options) {
      return new Memory(options.shared ? options : { ...options, maximum: options.initial });
    };
    const engines = [await Attention.create({ threads: 2 }), await Attention.create()];
    for (const keys of [30, 3000, 1500]) {
      const [q, k, v] = [5, keys, keys].map((rows) => ({ data: Float32Array.from({ length: 2 * rows * 64 }, (_, i) => Math.sin(i)), shape: [2, rows, 64] }));
      const [got, want] = engines.map((attn) => attn.sdpa(q, k, v).output.data);
      console.log(engines[0].memoryBytes > 2 ** 21, got.every((x, i) => x === want[i]));
    }`), 'false true\ntrue true\ntrue true');
});

test('Node ends although an engine lives, with threads, too', () => {
  assert.equal(inNode(`const attn = await Attention.create(); console.log(attn.threads);`), '1');
  assert.equal(inNode(`
    const attn = await Attention.create({ threads: 3 });
    const x = { data: new Float32Array(8 * 200 * 16), shape: [8, 200, 16] };
    console.log(attn.sdpa(x, x, x).output.shape.join(), attn.threads);`), '8,200,16 3');
});

test('import does nothing', () => {
  const out = inNode(`
    const before = Object.keys(globalThis).join();
    await import('${LIB}index.js?again');
    console.log(Object.keys(globalThis).join() === before, process.getActiveResourcesInfo().filter((r) => !/Pipe|TTY|Immediate|FSReq|Close/.test(r)).join());`);
  assert.equal(out, 'true');
});

// A server whose answers a test decides: respond(name) -> { status, type, body }.
async function withServer(respond, run) {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    const { status = 200, type = 'application/wasm', body = '' } = respond(request.url.split('/').at(-1).replace('.wasm', ''));
    response.writeHead(status, type ? { 'Content-Type': type } : {});
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await run(`http://127.0.0.1:${server.address().port}`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('wasmUrl: a folder with and without slash, a URL, a function; fetched once', async () => {
  await withServer((name) => ({ body: wasm(name) }), async (base, asked) => {
    for (const wasmUrl of [`${base}/a/b`, `${base}/a/b/`, new URL(`${base}/a/b/`), (file) => `${base}/a/b/${file}`, (file) => new URL(`${base}/a/b/${file}`)])
      for (const variant of VARIANTS) {
        const attn = await Attention.create({ ...engineOf(variant), wasmUrl });
        works(attn);
        attn.dispose();
      }
    assert.deepEqual(asked, VARIANTS.map((variant) => `/a/b/${variant}.wasm`));
  });
  const file = await Attention.create({ variant: 'scalar', wasmUrl: './wasm' });
  works(file);
  file.dispose();
});

test('engines that start at once fetch and compile once', async () => {
  await withServer((name) => ({ body: wasm(name) }), async (base, asked) => {
    const { compileStreaming } = WebAssembly;
    let compiled = 0;
    WebAssembly.compileStreaming = (...args) => {
      compiled++;
      return compileStreaming(...args);
    };
    try {
      const engines = await Promise.all(Array.from({ length: 5 }, () => Attention.create({ variant: 'scalar', wasmUrl: base })));
      for (const attn of engines) {
        works(attn);
        attn.dispose();
      }
    } finally {
      WebAssembly.compileStreaming = compileStreaming;
    }
    assert.deepEqual([asked, compiled], [['/scalar.wasm'], 1]);
  });
});

test('a server that does not know .wasm will do', async () => {
  for (const type of ['application/octet-stream', 'text/plain', ''])
    await withServer((name) => ({ type, body: wasm(name) }), async (base) => {
      const attn = await Attention.create({ variant: 'simd', wasmUrl: base });
      works(attn);
      attn.dispose();
    });
});

test('what cannot be loaded says which variant, from where, and what to serve; the next try may succeed', async () => {
  let broken;
  await withServer((name) => broken ?? { body: wasm(name) }, async (base, asked) => {
    for (const [answer, message] of [
      [{ status: 404 }, /HTTP 404/],
      [{ type: 'text/html', body: '<html>' }, /served as text\/html/],
      [{ body: 'not wasm' }, /./],
      [{ body: wasm('simd').subarray(0, 5000) }, /./],
    ]) {
      broken = answer;
      for (const variant of UNTHREADED)
        await assert.rejects(Attention.create({ variant, wasmUrl: base }), (error) => {
          assert.deepEqual([error.name, error.code], ['AttentionError', 'load']);
          assert.match(error.message, new RegExp(`^variant '${variant}' could not be loaded from ${base}/${variant}.wasm: .*application/wasm`));
          assert.match(error.message, message);
          assert.ok(error.cause instanceof Error);
          return true;
        });
    }
    broken = undefined;
    asked.length = 0;
    const attn = await Attention.create({ variant: 'simd', wasmUrl: base });
    works(attn);
    attn.dispose();
    assert.deepEqual(asked, ['/simd.wasm']);
  });
  await assert.rejects(Attention.create({ variant: 'simd', wasmUrl: 'http://127.0.0.1:1/' }), { code: 'load', message: /127\.0\.0\.1:1\/simd\.wasm/ });
  await assert.rejects(Attention.create({ variant: 'simd', wasmUrl: './nowhere/' }), { code: 'load', message: /nowhere\/simd\.wasm/ });
  await assert.rejects(Attention.create({ variant: 'simd', wasmUrl: 'http://[' }), { name: 'TypeError', message: /^wasmUrl: / });
});
