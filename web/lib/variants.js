// Which build runs, and loading it.

import { bridgeTo } from './bridge.js';
import * as probes from './probes.js';
import { AttentionError, choice, integer, wrongKind } from './status.js';

// Fastest first. The addresses are literal, so that bundlers can follow them.
const VARIANTS = [
  { name: 'relaxed-threads', needs: ['relaxed', 'threads'], url: () => new URL('./wasm/relaxed-threads.wasm', import.meta.url) },
  { name: 'simd-threads', needs: ['simd', 'threads'], url: () => new URL('./wasm/simd-threads.wasm', import.meta.url) },
  { name: 'relaxed', needs: ['relaxed'], url: () => new URL('./wasm/relaxed.wasm', import.meta.url) },
  { name: 'simd', needs: ['simd'], url: () => new URL('./wasm/simd.wasm', import.meta.url) },
  { name: 'scalar', needs: [], url: () => new URL('./wasm/scalar.wasm', import.meta.url) },
];

const MAX_AUTO_THREADS = 8;
const MAX_THREADS = 128; // each is a worker with megabytes of its own
const MISSING = {
  simd: 'this engine has no WebAssembly SIMD',
  relaxed: 'this engine has no WebAssembly relaxed SIMD',
  threads: globalThis.crossOriginIsolated
    ? 'there is no shared memory here, although the page is cross-origin isolated: this engine does not offer it'
    : 'there is no shared memory here: a page must be cross-origin isolated (serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp)',
};

const unsupported = (message) => new AttentionError('unsupported', message);
const isThreaded = ({ needs }) => needs.includes('threads');

function cores() {
  return globalThis.navigator?.hardwareConcurrency ?? globalThis.process?.getBuiltinModule?.('node:os').availableParallelism() ?? 1;
}

// select(options) -> [row of VARIANTS, number of threads]
function select({ variant, threads }) {
  if (typeof WebAssembly !== 'object') throw unsupported('this engine has no WebAssembly');
  if (variant !== 'auto') choice(variant, 'variant', { auto: 0, ...Object.fromEntries(VARIANTS.map(({ name }) => [name, 0])) });
  if (threads !== 'auto') integer(threads, 'threads', 1, MAX_THREADS);
  const missing = Object.keys(MISSING).filter((feature) => !probes[feature]());
  const lacks = ({ needs }) => needs.find((feature) => missing.includes(feature));
  const auto = missing.includes('threads') || missing.includes('simd') ? 1 : Math.min(cores(), MAX_AUTO_THREADS);
  const wanted = threads === 'auto' ? auto : threads;
  if (variant === 'auto') {
    const row = VARIANTS.find((candidate) => isThreaded(candidate) === wanted > 1 && !lacks(candidate));
    if (!row) throw unsupported(`threads: ${wanted} cannot be had: ${MISSING[missing.includes('threads') ? 'threads' : 'simd']}`);
    return [row, wanted];
  }
  const row = VARIANTS.find(({ name }) => name === variant);
  if (lacks(row)) throw unsupported(`variant '${variant}' cannot run: ${MISSING[lacks(row)]}`);
  if (isThreaded(row)) return [row, wanted];
  if (threads > 1) throw unsupported(`threads: ${threads} cannot be had from variant '${variant}', which has one`);
  return [row, 1];
}

// Where the caller said that the .wasm files are, or beside this module. Relative to the page, or in Node to this module.
function locate(wasmUrl, { name, url }) {
  if (wasmUrl === null) return url();
  const file = `${name}.wasm`;
  const base = globalThis.location?.href ?? import.meta.url;
  const isFunction = typeof wasmUrl === 'function';
  if (!isFunction && typeof wasmUrl !== 'string' && !(wasmUrl instanceof URL)) throw wrongKind('wasmUrl', 'a URL or a function', wasmUrl);
  try {
    return isFunction ? new URL(wasmUrl(file), base) : new URL(file, new URL(`${wasmUrl}`.replace(/\/*$/, '/'), base));
  } catch (cause) {
    throw new TypeError(`wasmUrl: ${cause?.message ?? cause}`, { cause });
  }
}

// The same build for memory that is not shared, or null where that cannot be: in the import "memory" 3 becomes 1. Atomics are for both.
async function compileUnshared(bytes) {
  const copy = Uint8Array.from(bytes);
  const limits = [6, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 2, 3];
  const at = copy.findIndex((_, start) => limits.every((byte, i) => copy[start + i] === byte));
  if (at < 0) return null;
  copy[at + limits.length - 1] = 1;
  return WebAssembly.compile(copy).catch(() => null);
}

// [module, the same for memory that is not shared, or null where there is none or it is the same]
const compileBytes = (bytes, isShared) => Promise.all([WebAssembly.compile(bytes), isShared ? compileUnshared(bytes) : null]);

async function read(url, isShared) {
  const fs = url.protocol === 'file:' && globalThis.process?.getBuiltinModule?.('node:fs');
  if (fs) return compileBytes(await fs.promises.readFile(url), isShared);
  // Not by fetch(), which a page's policy may forbid.
  const inlined = /^data:application\/wasm;base64,(.*)/.exec(url.href);
  if (inlined) return compileBytes(Uint8Array.from(atob(inlined[1]), (char) => char.charCodeAt(0)), isShared);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const type = response.headers.get('Content-Type');
  if (type === 'application/wasm' && WebAssembly.compileStreaming && !isShared) return [await WebAssembly.compileStreaming(response), null];
  try {
    return await compileBytes(new Uint8Array(await response.arrayBuffer()), isShared);
  } catch (error) {
    throw new Error(`${error.message} (it was served as ${type})`, { cause: error });
  }
}

// compile(url, isShared) -> what compileBytes() gives. Compiled once per URL, however many engines there are; a failure is tried again.
const compiled = new Map();

function compile(url, isShared) {
  const { href } = url;
  if (!compiled.has(href)) {
    const promise = read(url, isShared);
    compiled.set(href, promise);
    promise.catch(() => compiled.delete(href));
  }
  return compiled.get(href);
}

// A browser's main thread may not sleep: it asks again and again instead.
function maySleep() {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return 1;
  } catch {
    return 0;
  }
}

// One worker per thread beside the caller's, each asleep in wasm_thread_run() of src/wasm/threads.c. Once they are
// there, none keeps a process alive.
async function startWorkers(count, module, memory, { wasm_thread_stack }) {
  const { Worker } = globalThis.Worker ? globalThis : process.getBuiltinModule('node:worker_threads');
  const workers = [];
  try {
    await Promise.all(Array.from({ length: count }, (_, index) => new Promise((resolve, reject) => {
      const stack = wasm_thread_stack() >>> 0;
      if (stack === 0) throw new RangeError('no room for the stack of a thread');
      const worker = new Worker(new URL('./thread.js', import.meta.url), { type: 'module' });
      workers.push(worker);
      const failed = (event) => reject(event.error ?? (event instanceof Error ? event : new Error(event.message ?? 'thread.js could not be loaded')));
      if (worker.on) worker.on('message', resolve).on('error', failed);
      else [worker.onmessage, worker.onerror] = [resolve, failed];
      worker.postMessage({ module, memory, stack, index });
    })));
  } catch (error) {
    for (const worker of workers) worker.terminate();
    throw error;
  }
  for (const worker of workers) worker.unref?.();
  return workers;
}

// Pages, as the builds say it.
const LIMITS = { initial: 16, maximum: 65535 };
const LEAST_MAXIMUM = 8191;

// Addresses for all that shared memory may become are reserved at once. Where there are none for 4 GiB (telephones), half will do, and so on.
function sharedMemory() {
  for (let { maximum } = LIMITS; ; maximum >>= 1)
    try {
      return new WebAssembly.Memory({ ...LIMITS, maximum, shared: true });
    } catch (error) {
      if (maximum <= LEAST_MAXIMUM) throw error;
    }
}

// instantiate([module, unshared], threads, isShared) -> { exports, memory, workers, bridge, makeUnshared }
//   bridge        the faster way into shared memory, or null
//   makeUnshared  () -> the same on memory of its own that is not shared, or null
async function instantiate([module, unshared], threads, isShared) {
  if (!isShared) {
    const { exports } = await WebAssembly.instantiate(module);
    return { exports, memory: exports.memory, workers: [], bridge: null, makeUnshared: null };
  }
  const makeUnshared = unshared && (() => {
    const memory = new WebAssembly.Memory(LIMITS);
    const { exports } = new WebAssembly.Instance(unshared, { env: { memory, may_sleep: () => 0 } });
    return { exports, memory, workers: [], bridge: null };
  });
  const memory = sharedMemory();
  const sleeps = maySleep();
  const { exports } = await WebAssembly.instantiate(module, { env: { memory, may_sleep: () => sleeps } });
  const bridge = await bridgeTo(memory);
  return { exports, memory, workers: await startWorkers(threads - 1, module, memory, exports), bridge, makeUnshared };
}

// load({ variant, threads, wasmUrl }) -> { name, threads, module }
export async function load(options) {
  const [row, threads] = select(options);
  const url = locate(options.wasmUrl, row);
  try {
    return { name: row.name, threads, module: await instantiate(await compile(url, isThreaded(row)), threads, isThreaded(row)) };
  } catch (cause) {
    if (cause instanceof RangeError) throw new AttentionError('memory', `no memory for an engine: ${cause.message}`, { cause });
    throw new AttentionError('load', `variant '${row.name}' could not be loaded from ${url.href.slice(0, 200)}: ${cause.message}. Serve ${row.name}.wasm there, as application/wasm${isThreaded(row) ? ', and thread.js beside the module' : ''} (or say where: wasmUrl)`, { cause });
  }
}
