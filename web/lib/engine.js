import { Heap } from './heap.js';
import { sdpa, sdpaAsync } from './sdpa.js';
import { DISPOSE, readOptions } from './status.js';
import { EngineTensor } from './tensor.js';
import { load } from './variants.js';

// heapOf(engine): its memory; throws if the engine is gone.
export let heapOf;

// What every engine can do, and all that core.js brings.
export class Engine {
  #heap;

  static {
    heapOf = (engine) => engine.#heap.module && engine.#heap;
  }

  static async create(options) {
    const { name, threads, module } = await load(readOptions(options, 'options', { variant: 'auto', threads: 1, wasmUrl: null }));
    const heap = new Heap(module);
    try {
      if (threads > 1) heap.startThreads(threads);
      heap.makeUnshared = module.makeUnshared;
      return new this(heap, name, threads);
    } catch (error) {
      heap.dispose();
      throw error;
    }
  }

  constructor(heap, variant, threads) {
    if (!(heap instanceof Heap)) throw new TypeError('new Attention(): use await Attention.create()');
    this.#heap = heap;
    this.variant = variant;
    this.threads = threads;
    Object.freeze(this);
  }

  get memoryBytes() {
    return this.#heap.bytes;
  }

  sdpa(query, key, value, options) {
    return sdpa(heapOf(this), query, key, value, options);
  }

  async sdpaAsync(query, key, value, options) {
    return sdpaAsync(heapOf(this), query, key, value, options);
  }

  tensor(shape) {
    return new EngineTensor(heapOf(this), shape);
  }

  dispose() {
    this.#heap.dispose();
  }

  get disposed() {
    return this.#heap.disposed;
  }

  [DISPOSE]() {
    this.dispose();
  }
}
