import { LOCATE, bytesOf, count } from './heap.js';
import { argument, sizes } from './shapes.js';
import { DISPOSE, AttentionError, wrongKind, wrongSize } from './status.js';

function nested(data, shape) {
  if (shape.length === 0) return data[0];
  if (shape.length === 1) return Array.from(data);
  const inner = shape.slice(1);
  const size = count(inner);
  return Array.from({ length: shape[0] }, (_, i) => nested(data.subarray(i * size, (i + 1) * size), inner));
}

// A result: memory of its own.
export class Tensor {
  constructor(data, shape) {
    this.data = data;
    this.shape = Object.freeze(shape);
    Object.freeze(this);
  }

  toNested() {
    return nested(this.data, this.shape);
  }
}

// Memory of the engine.
export class EngineTensor {
  #heap;
  #pointer;

  constructor(heap, shape) {
    this.shape = Object.freeze(sizes(shape, 'shape', 1));
    const bytes = bytesOf(this.shape, 'f32', 'shape');
    this.#heap = heap;
    this.#pointer = heap.alloc(bytes);
    this.data.fill(0);
    Object.freeze(this);
  }

  // The pointer, for a call of this heap's engine.
  [LOCATE](heap, name) {
    if (!(#heap in this)) throw wrongKind(name, 'a tensor of the engine', this);
    if (heap !== this.#heap) throw new TypeError(`${name}: expected a tensor of this engine, got another engine's`);
    if (this.freed) throw new AttentionError('disposed', `${name}: the tensor was freed`);
    return this.#pointer;
  }

  get freed() {
    return this.#pointer === 0 || this.#heap.disposed;
  }

  get data() {
    return this.#heap.view('f32', this[LOCATE](this.#heap, 'data'), count(this.shape));
  }

  set(values) {
    const { shape, read } = argument(this.#heap, values, 'values');
    const pointer = this[LOCATE](this.#heap, 'data');
    const length = count(this.shape);
    if (count(shape) !== length) throw wrongSize('values', `${length} elements`, count(shape));
    this.#heap.set('f32', pointer, read());
    return this;
  }

  toTensor() {
    return new Tensor(this.#heap.copy('f32', this[LOCATE](this.#heap, 'tensor'), count(this.shape)), [...this.shape]);
  }

  toNested() {
    return nested(this.data, this.shape);
  }

  free() {
    this.#heap.free(this.#pointer);
    this.#pointer = 0;
  }

  [DISPOSE]() {
    this.free();
  }
}
