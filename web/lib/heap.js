// The memory of one engine. Only this file touches memory.buffer. Memory may grow in alloc(), and then every view
// made before is dead: views are made after the last allocation, used and dropped. (Those of all memory are kept, and made anew
// where they no longer reach.)

import { STATUS } from './abi.js';
import { AttentionError, MAX_INT, check, wrongSize } from './status.js';

const VIEWS = { f32: Float32Array, f64: Float64Array, i32: Int32Array, u32: Uint32Array, u16: Uint16Array, bool: Uint8Array };

// Tensors of the engine have a method of this name: (heap, argument's name) -> pointer, or an error.
export const LOCATE = Symbol('locate');

export const count = (shape) => shape.reduce((product, size) => product * size, 1);

// bytesOf(shape, type, name): no tensor is larger than what C's ptrdiff_t can count.
export function bytesOf(shape, type, name) {
  const bytes = count(shape) * VIEWS[type].BYTES_PER_ELEMENT;
  if (bytes > MAX_INT) throw wrongSize(name, `at most ${MAX_INT} bytes`, `shape [${shape.join(', ')}], which takes ${bytes}`);
  return bytes;
}

const noMemory = (bytes, cause) => new AttentionError('memory', `${bytes} bytes more than there is memory for`, { cause });

// newArray(type, length): the caller's memory, not the engine's.
export function newArray(type, length) {
  try {
    return new VIEWS[type](length);
  } catch (cause) {
    throw noMemory(length * VIEWS[type].BYTES_PER_ELEMENT, cause);
  }
}

// What the scopes of synchronous calls take first, in bytes: enough for attention of 8 heads x 64 with 16 tokens. (By the allocator
// the dozen pieces of a call were a tenth of the time of one query and 16 keys.)
export const BRIEF = 1 << 18;
const ALIGNMENT = 64; // of wasm_alloc, too: a cache line

export class Heap {
  #module;
  threads = 0; // attn_threads *

  constructor(module) {
    this.#module = module;
  }

  get disposed() {
    return this.#module === null;
  }

  get bytes() {
    return this.disposed ? 0 : this.#module.memory.buffer.byteLength + (this.#unshared?.bytes ?? 0);
  }

  // For whoever wants to use it: throws if the engine is gone.
  get module() {
    if (this.disposed) throw new AttentionError('disposed', 'the engine was disposed of');
    return this.#module;
  }

  // Where calls run that stay on one thread and have plain arrays alone: in unshared memory, which is faster to copy into and out of
  // (one query, 1,024 keys: 1.2 times, 16 tokens: 1.03), made when first wanted by makeUnshared: () -> module. Else here.
  makeUnshared = null;
  #unshared = null;

  get forSmall() {
    if (this.module && this.makeUnshared && !this.#unshared) {
      try {
        this.#unshared = new Heap(this.makeUnshared());
      } catch {
        this.makeUnshared = null; // no room for another memory
      }
    }
    return this.#unshared ?? this;
  }

  dispose() {
    const module = this.#module;
    if (!module) return;
    this.#module = this.#unshared = null;
    this.#whole = {};
    this.#functions.clear();
    // First they wake up: Deno cannot end a worker that sleeps.
    if (this.threads) module.exports.attn_threads_destroy(this.threads);
    for (const worker of module.workers) worker.terminate();
  }

  // startThreads(threads): attn_threads_create
  startThreads(threads) {
    this.scope((scope) => {
      const pool = scope.take(4);
      this.call('attn_threads_create', threads, pool);
      this.threads = this.word(pool);
    });
  }

  // Functions that give up what was taken by tryAlloc(), for when memory runs out.
  spares = new Set();

  // 0 where there is no room.
  tryAlloc(bytes) {
    return bytes < 2 ** 32 ? this.#invoke('wasm_alloc', bytes) >>> 0 : 0;
  }

  alloc(bytes) {
    let pointer = this.tryAlloc(bytes);
    for (const spare of this.spares) {
      if (pointer !== 0) break;
      spare();
      pointer = this.tryAlloc(bytes);
    }
    if (pointer === 0) throw noMemory(bytes);
    return pointer;
  }

  free(pointer) {
    if (!this.disposed) this.#invoke('wasm_free', pointer);
  }

  // Synchronous scopes end in the reverse order of their beginnings: what they take in here is given back by lowering #top.
  #brief = 0;
  #top = 0;
  #end = 0;

  // Where so many bytes of them are, or 0 where they do not fit.
  takeBrief(bytes) {
    const pointer = this.#top;
    const next = pointer + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    if (next > this.#end) return 0;
    this.#top = next;
    return pointer;
  }

  #openBrief() {
    this.#brief = this.tryAlloc(BRIEF);
    this.#top = this.#brief;
    this.#end = this.#brief && this.#brief + BRIEF;
  }

  view(type, pointer, length) {
    return new VIEWS[type](this.module.memory.buffer, pointer, length);
  }

  #whole = {}; // views of all memory, by type

  // One that reaches so far.
  #reach(type, end) {
    const view = this.#whole[type];
    return view && end <= view.byteLength ? view : (this.#whole[type] = new VIEWS[type](this.module.memory.buffer));
  }

  // The 4 bytes there, as a whole number.
  word(pointer) {
    return this.#reach('u32', pointer + 4)[pointer / 4];
  }

  // set(type, pointer, elements): what a view there would do by its set(). Whatever copies a caller's arrays into memory calls this.
  set(type, pointer, elements) {
    const { bridge } = this.module;
    // Memory that is shared may be this memory, and then pieces might overlap.
    if (bridge && elements.buffer instanceof ArrayBuffer) bridge(VIEWS[type], pointer, elements);
    else {
      const size = VIEWS[type].BYTES_PER_ELEMENT;
      this.#reach(type, pointer + size * elements.length).set(elements, pointer / size);
    }
  }

  copy(type, pointer, length) {
    const view = this.view(type, pointer, length);
    try {
      return new VIEWS[type](view); // slice() fills the new memory with zeros first: 1.2 to 1.3 times as long
    } catch (cause) {
      throw noMemory(view.byteLength, cause);
    }
  }

  // write(pointer, struct, { field: number, outer: { inner: number } }); see abi.js
  write(pointer, { fields, doubles, size }, values) {
    const f64 = this.#reach('f64', pointer + size);
    const i32 = this.#reach('i32', pointer + size);
    (function put(offsets, from) {
      for (const name in from) {
        const offset = offsets[name];
        if (typeof offset === 'object') put(offset, from[name]);
        else if (offset < doubles) f64[(pointer + offset) / 8] = from[name];
        else i32[(pointer + offset) / 4] = from[name];
      }
    })(fields, values);
  }

  phrase(status) {
    const text = this.view('bool', this.module.exports.attn_status_name(status) >>> 0, 64);
    return String.fromCharCode(...text.subarray(0, text.indexOf(0)));
  }

  #functions = new Map(); // of the module, by name: making the names anew took 2 % of a small call

  #invoke(name, ...args) {
    const { module } = this;
    let f = this.#functions.get(name);
    if (!f) this.#functions.set(name, (f = module.exports[name]));
    try {
      return f(...args);
    } catch (cause) {
      throw new AttentionError('internal', `${name}: ${cause?.message ?? cause}`, { cause });
    }
  }

  // Whether a buffer is this engine's memory.
  holds(buffer) {
    return buffer === this.module.memory.buffer;
  }

  // call(name, ...args): a function of attn.h; its status becomes an error.
  call(name, ...args) {
    check(this.#invoke(name, ...args) ?? STATUS.OK, name, (status) => this.phrase(status));
  }

  // scope(run): what run(scope) takes is given back when it ends, however it ends.
  scope(run) {
    if (this.#brief === 0) this.#openBrief();
    const top = this.#top;
    const scope = new Scope(this, true);
    try {
      return run(scope);
    } finally {
      scope.end();
      this.#top = top;
    }
  }

  async scopeAsync(run) {
    const scope = new Scope(this, false);
    try {
      return await run(scope);
    } finally {
      scope.end();
    }
  }
}

// The memory of one call: take() and put() everything, then fill(), then call and copy out.
class Scope {
  #blocks = [];
  #inputs = [];
  #isBrief;

  constructor(heap, isBrief) {
    this.heap = heap;
    this.#isBrief = isBrief;
  }

  take(bytes) {
    const brief = this.#isBrief && this.heap.takeBrief(bytes);
    if (brief) return brief;
    const pointer = this.heap.alloc(bytes);
    this.#blocks.push(pointer);
    return pointer;
  }

  takeTensor(shape, type, name) {
    return this.take(bytesOf(shape, type, name));
  }

  // put(argument, type): where an argument of shapes.js is, as elements of this type.
  put(argument, type) {
    if (argument.locate && type === 'f32') return argument.locate();
    const known = this.#inputs.find((input) => input.argument === argument);
    if (known) return known.pointer;
    const pointer = this.takeTensor(argument.shape, type, argument.name);
    this.#inputs.push({ argument, pointer, type });
    return pointer;
  }

  fill() {
    for (const { argument, pointer, type } of this.#inputs) this.heap.set(type, pointer, argument.read());
  }

  end() {
    for (const pointer of this.#blocks) this.heap.free(pointer);
  }
}
