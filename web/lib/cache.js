import { LOCATE, bytesOf } from './heap.js';
import { OPTIONS as SDPA_OPTIONS, sdpa } from './sdpa.js';
import { argument, integers, isList, rank, size } from './shapes.js';
import { DISPOSE, AttentionError, integer, readOptions, wrongKind, wrongSize } from './status.js';

// The first `length` keys (or values) of a cache, for sdpa: an engine tensor with gaps.
class Held {
  #pointer;

  constructor(cache, pointer, shape, dim) {
    this.#pointer = pointer;
    this.cache = cache;
    this.shape = shape;
    this.strides = { batch: shape[1] * cache.room * dim, head: cache.room * dim, row: dim };
  }

  [LOCATE](heap) {
    this.cache.alive(heap);
    return this.#pointer;
  }
}

export class KvCache {
  #heap;
  #key;
  #value;
  #lengths;
  #defaults; // of attend()

  constructor(heap, options) {
    const o = readOptions(options, 'options', { batch: 1, numKvHeads: undefined, headDim: undefined, headDimV: null, capacity: null, window: null });
    this.#heap = heap;
    this.batch = integer(o.batch, 'batch', 1);
    this.numKvHeads = integer(o.numKvHeads, 'numKvHeads', 1);
    this.headDim = integer(o.headDim, 'headDim', 1);
    this.headDimV = o.headDimV === null ? this.headDim : integer(o.headDimV, 'headDimV', 1);
    this.window = o.window === null ? null : integer(o.window, 'window', 1);
    if (this.window === null && o.capacity === null) throw wrongKind('capacity', 'a number of keys (or a window)', o.capacity);
    this.capacity = o.capacity === null ? this.window : integer(o.capacity, 'capacity', this.window ?? 1);
    // With a window, keys move down by whole windows, so that each is moved once at most on average.
    this.room = this.window === null ? this.capacity : Math.max(2 * this.window, this.capacity);
    const shape = (dim) => [this.batch, this.numKvHeads, this.room, dim];
    const bytes = [this.headDim, this.headDimV].map((dim) => bytesOf(shape(dim), 'f32', 'capacity'));
    this.#key = heap.alloc(bytes[0]);
    try {
      this.#value = heap.alloc(bytes[1]);
    } catch (error) {
      heap.free(this.#key);
      throw error;
    }
    this.#lengths = new Array(this.batch).fill(0);
    this.#defaults = { ...SDPA_OPTIONS, causalAlign: 'bottom-right', window: this.window === null ? null : { left: this.window - 1 } };
    Object.freeze(this);
  }

  // heap: of the engine that wants to use it.
  alive(heap) {
    if (heap !== this.#heap) throw new TypeError('cache: expected a cache of this engine, got another engine\'s');
    if (this.freed) throw new AttentionError('disposed', 'the cache was freed');
  }

  get freed() {
    return this.#key === 0 || this.#heap.disposed;
  }

  get lengths() {
    return [...this.#lengths];
  }

  get length() {
    return Math.max(...this.#lengths);
  }

  get bytes() {
    return 4 * this.batch * this.numKvHeads * this.room * (this.headDim + this.headDimV);
  }

  // Places of the rows of one batch element and head, in elements.
  #row(b, h, index, dim) {
    return ((b * this.numKvHeads + h) * this.room + index) * dim;
  }

  #view(pointer, dim) {
    return this.#heap.view('f32', pointer, this.batch * this.numKvHeads * this.room * dim);
  }

  append(key, value, options) {
    this.alive(this.#heap);
    const o = readOptions(options, 'options', { lengths: null });
    const k = argument(this.#heap, key, 'key');
    const v = argument(this.#heap, value, 'value');
    for (const [tensor, dim, name] of [[k, this.headDim, 'headDim'], [v, this.headDimV, 'headDimV']]) {
      if (tensor.type !== 'f32' && tensor.type !== 'any') throw new TypeError(`${tensor.name}: expected float32, got float64`);
      rank(tensor, [4], '[batch, numKvHeads, newKeys, headDim]');
      size(tensor, 4, this.batch, 'batch of the cache');
      size(tensor, 3, this.numKvHeads, 'numKvHeads of the cache');
      size(tensor, 1, dim, `${name} of the cache`);
    }
    const rows = k.shape[2];
    size(v, 2, rows, 'new keys');
    const added = o.lengths === null ? this.#lengths.map(() => rows) : integers(o.lengths, 'lengths', this.batch, 'batch', 0, () => rows);
    // What was read above may have been a getter that freed the cache.
    this.alive(this.#heap);
    // A window keeps its last keys for the first of the new queries, so there must be room for both.
    this.#lengths.forEach((length, b) => {
      const held = this.window === null ? length : Math.min(length, this.window);
      if (held + added[b] > this.room)
        throw wrongSize('key', `at most ${this.room - held} new keys (capacity ${this.room}, ${held} held)`, added[b]);
    });
    const parts = [[k.read(), this.#key, this.headDim], [v.read(), this.#value, this.headDimV]];
    this.#lengths = this.#lengths.map((length, b) => {
      const kept = length + added[b] > this.room ? this.window : length;
      for (const [source, pointer, dim] of parts) {
        for (let h = 0; h < this.numKvHeads; h++) {
          const start = this.#row(b, h, 0, dim);
          if (kept < length) this.#view(pointer, dim).copyWithin(start, start + (length - kept) * dim, start + length * dim);
          const from = (b * this.numKvHeads + h) * rows * dim;
          this.#heap.set('f32', pointer + 4 * (start + kept * dim), source.subarray(from, from + added[b] * dim));
        }
      }
      return kept + added[b];
    });
    return this;
  }

  attend(query, options) {
    this.alive(this.#heap);
    const given = readOptions(options, 'options', this.#defaults);
    if (given.kvLengths !== null) throw wrongKind('kvLengths', 'nothing: a cache knows its lengths', given.kvLengths);
    const longest = this.length;
    const even = this.#lengths.every((length) => length === longest);
    const held = (pointer, dim) => new Held(this, pointer, [this.batch, this.numKvHeads, longest, dim], dim);
    return sdpa(this.#heap, query, held(this.#key, this.headDim), held(this.#value, this.headDimV),
      even ? given : { ...given, kvLengths: this.lengths }, true);
  }

  truncate(length) {
    this.alive(this.#heap);
    this.#lengths = isList(length)
      ? integers(length, 'length', this.batch, 'batch', 0, (b) => this.#lengths[b])
      : this.#lengths.map((held) => Math.min(held, integer(length, 'length', 0)));
    return this;
  }

  reset() {
    return this.truncate(0);
  }

  free() {
    if (this.#key === 0) return;
    this.#heap.free(this.#key);
    this.#heap.free(this.#value);
    this.#key = this.#value = 0;
  }

  [DISPOSE]() {
    this.free();
  }
}
