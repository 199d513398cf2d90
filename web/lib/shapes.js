// What callers give, as arguments: { name, shape, type, pointer, read, locate }.
//   type     'f32' (half precision, too), 'f64', 'bool', or 'any': plain numbers, which become whatever the call computes in
//   pointer  where an EngineTensor lies in memory, else 0
//   locate   of an EngineTensor: () => pointer, or an error where it was freed since
//   strides  { batch, head, row } of a tensor with gaps, else undefined
//   read     () => the elements in order; a view of memory if it is an EngineTensor's
//
// A getter or proxy of the caller's may run any code, and answer differently each time. So everything is read once, here: plain
// numbers are copied, typed arrays are viewed anew, and what may have gone away since is looked at again when it is used.

import { LOCATE, bytesOf, count, newArray } from './heap.js';
import { MAX_INT, integer, wrongKind, wrongSize } from './status.js';

const TYPES = { Float32Array: 'f32', Float64Array: 'f64', Uint8Array: 'bool', Int8Array: 'bool', Uint8ClampedArray: 'bool', Float16Array: 'f16' };
const NAMES = { f32: 'float32', f64: 'float64' };
const VIEWS = { f32: Float32Array, f64: Float64Array, bool: Uint8Array, f16: Uint16Array };
const MAX_RANK = 32;

// What a typed array says of itself, of another realm's, too; a property of the same name may say anything.
const TYPED = Object.getPrototypeOf(Float32Array.prototype);
const [tagOf, typedLength, bufferOf, offsetOf] = [Symbol.toStringTag, 'length', 'buffer', 'byteOffset'].map((name) => {
  const { get } = Object.getOwnPropertyDescriptor(TYPED, name);
  return (array) => get.call(array);
});

export const isList = (value) => Array.isArray(value) || tagOf(value) !== undefined;
const lengthOf = (list) => (tagOf(list) === undefined ? list.length : typedLength(list));
const typeOfList = (list) => (Array.isArray(list) ? (typeof list[0] === 'boolean' ? 'bool' : 'any') : TYPES[tagOf(list)]);

export function sizes(shape, name, min = 0) {
  if (!isList(shape)) throw wrongKind(name, 'an array of sizes', shape);
  if (lengthOf(shape) > MAX_RANK) throw wrongSize(name, `at most ${MAX_RANK} axes`, lengthOf(shape));
  const result = [];
  let area = 1;
  for (let axis = 0, axes = lengthOf(shape); axis < axes; axis++) {
    const size = shape[axis];
    result.push(size); // Array.from() with a function took a twentieth of a small call
    if (!Number.isInteger(size) || size < min || size > MAX_INT) integer(size, `${name}[${axis}]`, min);
    area *= size || 1;
  }
  // C counts rows and heads of empty tensors, too.
  if (area > MAX_INT && result.includes(0)) throw wrongSize(name, `sizes whose product, but for zeros, is at most ${MAX_INT}`, `[${result.join(', ')}]`);
  return result;
}

// integers(list, name, length, why, min, max): whole numbers from min to max(index), as many as `length`.
export function integers(list, name, length, why, min, max) {
  if (!isList(list)) throw wrongKind(name, 'an array of integers', list);
  if (lengthOf(list) !== length) throw wrongSize(name, `${length} elements (${why})`, lengthOf(list));
  return Array.from({ length }, (_, i) => integer(list[i], `${name}[${i}]`, min, max(i)));
}

// putElements(list, data, from, length, path): an array's elements into data, each a number, or a boolean if data is of bytes.
function putElements(list, data, from, length, path) {
  const kind = data instanceof Uint8Array ? 'boolean' : 'number';
  for (let i = 0; i < length; i++) {
    const element = list[i];
    if (typeof element !== kind) throw wrongKind(`${path()}[${i}]`, `a ${kind}`, element);
    data[from + i] = element;
  }
}

// Memory for the elements of arrays, whose first is `first`: nothing is taken for what is no number.
function newElements(type, shape, first, name, path) {
  const length = count(shape);
  if (length > 0 && type === 'any' && typeof first !== 'number') throw wrongKind(`${path()}[0]`, 'a number', first);
  bytesOf(shape, type === 'bool' ? 'bool' : 'f64', name);
  return newArray(type === 'bool' ? 'bool' : 'f64', length);
}

// A view of a typed array's elements, or a copy where they lie in memory of the engine, which may move.
function viewOf(heap, array, type) {
  const View = VIEWS[type];
  const length = typedLength(array);
  if (length === 0) return new View(0);
  const view = new View(bufferOf(array), offsetOf(array), length);
  return heap.holds(view.buffer) ? view.slice() : view;
}

// Nested arrays: the first elements say how deep and how long, all others must be alike.
function flatten(value, name) {
  const shape = [];
  let row = value;
  for (let list = value; isList(list); list = list[0]) {
    if (shape.length === MAX_RANK) throw wrongSize(name, `arrays at most ${MAX_RANK} deep`, 'deeper ones');
    row = list;
    shape.push(lengthOf(list));
  }
  const type = typeOfList(row);
  if (!type) throw wrongKind(name, 'arrays of numbers', value);
  const last = shape.length - 1;
  const at = new Array(last).fill(0);
  let depth = 0;
  const path = () => name + at.slice(0, depth).map((i) => `[${i}]`).join('');
  depth = last;
  const data = newElements(type, shape, row[0], name, path);
  let filled = 0;
  (function walk(list, level) {
    depth = level;
    if (!isList(list)) throw wrongKind(path(), 'an array', list);
    const length = lengthOf(list);
    if (length !== shape[level]) throw wrongSize(path(), `${shape[level]} elements, as many as its neighbours have`, length);
    if (level < last) {
      for (let i = 0; i < length; i++) {
        at[level] = i;
        walk(list[i], level + 1);
      }
      return;
    }
    if (Array.isArray(list)) putElements(list, data, filled, length, path);
    else if (typeOfList(list) === type) data.set(list, filled);
    else throw wrongKind(path(), 'an array like its neighbours', list);
    filled += length;
  })(value, 0);
  return { shape, type, data };
}

function fromTensor(heap, value, name) {
  const { data } = value;
  const shape = sizes(value.shape ?? value.dims, `${name}.shape`);
  const isHalf = tagOf(data) === 'Uint16Array' && (value.dtype ?? value.type) === 'float16';
  const type = isHalf ? 'f16' : isList(data) ? typeOfList(data) : undefined;
  if (!type) throw wrongKind(`${name}.data`, 'a Float32Array or Float64Array', data);
  if (lengthOf(data) !== count(shape)) throw wrongSize(`${name}.data`, `${count(shape)} elements for shape [${shape.join(', ')}]`, lengthOf(data));
  if (!Array.isArray(data)) return { shape, type, data: viewOf(heap, data, type) };
  const path = () => `${name}.data`;
  const elements = newElements(type, shape, data[0], path(), path);
  putElements(data, elements, 0, elements.length, path);
  return { shape, type, data: elements };
}

// Half precision becomes float32 at the door. The halves lie in the last part of the memory that the floats then fill.
function floatsOf(heap, halves) {
  if (halves instanceof Float64Array) return Float32Array.from(halves);
  const { length } = halves;
  return heap.scope((scope) => {
    const floats = scope.takeTensor([length], 'f32', 'float16 data');
    const bits = floats + 2 * length;
    heap.set('u16', bits, halves);
    heap.call('attn_f16_to_f32', length, bits, floats);
    return heap.copy('f32', floats, length);
  });
}

// Marks arguments, so that a function can hand them on to another.
const ARGUMENT = Symbol('argument');

export function argument(heap, value, name, mask = false) {
  if (value?.[ARGUMENT]) return value;
  if (value?.[LOCATE]) {
    const locate = () => value[LOCATE](heap, name);
    const pointer = locate();
    const { shape, strides } = value;
    return { [ARGUMENT]: true, name, shape, strides, type: 'f32', pointer, locate, read: () => heap.view('f32', locate(), count(shape)) };
  }
  if (value === null || typeof value !== 'object')
    throw wrongKind(name, 'a tensor ({ data, shape }) or nested arrays', value);
  const isTyped = tagOf(value) !== undefined;
  const { shape, type, data } = isTyped ? fromTensor(heap, { data: value, shape: [typedLength(value)] }, name) : Array.isArray(value) ? flatten(value, name) : fromTensor(heap, value, name);
  if (type === 'bool' && !mask) throw new TypeError(`${name}: expected numbers, got booleans or bytes`);
  if (type === 'f16') {
    const floats = floatsOf(heap, data);
    return { [ARGUMENT]: true, name, shape, type: 'f32', pointer: 0, read: () => floats };
  }
  const elements = count(shape);
  const read = () => {
    if (data.length !== elements) throw new TypeError(`${name}: expected ${elements} elements to the end of the call, but its memory was taken away`);
    return data;
  };
  return { [ARGUMENT]: true, name, shape, type, pointer: 0, read };
}

// The one element type of a call.
export function commonType(...args) {
  const given = args.filter(({ type }) => type !== 'any');
  for (const { name, type } of given)
    if (type !== given[0].type)
      throw new TypeError(`${name}: expected ${NAMES[given[0].type]} as ${given[0].name}, got ${NAMES[type]}; all tensors of a call have one element type`);
  return given[0]?.type ?? 'f32';
}

export function rank({ name, shape }, allowed, axes) {
  if (!allowed.includes(shape.length)) throw wrongSize(name, `rank ${allowed.join(' or ')} (${axes})`, `shape [${shape.join(', ')}]`);
  return shape.length;
}

// size(tensor, axis, expected, why): axis counts from the end; expected undefined: any size but 0.
export function size({ name, shape }, axis, expected, why) {
  const index = shape.length - axis;
  const got = shape[index];
  if (expected === undefined ? got < 1 : got !== expected)
    throw wrongSize(`${name}.shape[${index}]`, expected === undefined ? 'at least 1' : `${expected} (${why})`, `${got} (shape [${shape.join(', ')}])`);
  return got;
}
