// What callers give, as arguments: { name, shape, type, pointer, read }.
//   type     'f32' (half precision, too), 'f64', 'bool', or 'any': plain numbers, which become whatever the call computes in
//   pointer  where an EngineTensor lies in memory, else 0
//   strides  { batch, head, row } of a tensor with gaps, else undefined
//   read     () => the elements in order; a view of memory if it is an EngineTensor's

import { LOCATE, count } from './heap.js';
import { MAX_INT, integer, wrongKind, wrongSize } from './status.js';

const TYPES = { Float32Array: 'f32', Float64Array: 'f64', Uint8Array: 'bool', Int8Array: 'bool', Uint8ClampedArray: 'bool', Float16Array: 'f16' };
const NAMES = { f32: 'float32', f64: 'float64' };

export const isList = (value) => Array.isArray(value) || (ArrayBuffer.isView(value) && typeof value.length === 'number');

// By name: arrays from another realm are no instances of this one's classes.
const typeOfList = (list) => (Array.isArray(list) ? (typeof list[0] === 'boolean' ? 'bool' : 'any') : TYPES[list[Symbol.toStringTag]]);

export function sizes(shape, name, min = 0) {
  if (!isList(shape)) throw wrongKind(name, 'an array of sizes', shape);
  for (let axis = 0; axis < shape.length; axis++)
    if (!Number.isInteger(shape[axis]) || shape[axis] < min || shape[axis] > MAX_INT) integer(shape[axis], `${name}[${axis}]`, min);
  return Array.from(shape);
}

function checkElements(list, type, path) {
  const kind = type === 'bool' ? 'boolean' : 'number';
  for (let i = 0; i < list.length; i++)
    if (typeof list[i] !== kind) throw wrongKind(`${path()}[${i}]`, `a ${kind}`, list[i]);
}

// Nested arrays: the first elements say how deep and how long, all others must be alike.
function flatten(value, name) {
  const shape = [];
  let row = value;
  for (let list = value; isList(list); list = list[0]) shape.push((row = list).length);
  const type = typeOfList(row);
  const elements = [];
  const at = [];
  const path = () => name + at.map((i) => `[${i}]`).join('');
  (function walk(list) {
    const depth = at.length;
    if (!isList(list)) throw wrongKind(path(), 'an array', list);
    if (list.length !== shape[depth]) throw wrongSize(path(), `${shape[depth]} elements, as many as its neighbours have`, list.length);
    if (depth < shape.length - 1) {
      for (let i = 0; i < list.length; i++) { at.push(i); walk(list[i]); at.pop(); }
      return;
    }
    if (Array.isArray(list)) checkElements(list, type, path);
    else if (typeOfList(list) !== type) throw wrongKind(path(), 'an array like its neighbours', list);
    for (let i = 0; i < list.length; i++) elements.push(list[i]);
  })(value);
  return { shape, type, data: elements };
}

function fromTensor(value, name) {
  const { data } = value;
  const shape = sizes(value.shape ?? value.dims, `${name}.shape`);
  const isHalf = isList(data) && data[Symbol.toStringTag] === 'Uint16Array' && (value.dtype ?? value.type) === 'float16';
  const type = isHalf ? 'f16' : isList(data) ? typeOfList(data) : undefined;
  if (!type) throw wrongKind(`${name}.data`, 'a Float32Array or Float64Array', data);
  if (data.length !== count(shape)) throw wrongSize(`${name}.data`, `${count(shape)} elements for shape [${shape.join(', ')}]`, data.length);
  if (Array.isArray(data)) checkElements(data, type, () => `${name}.data`);
  return { shape, type, data };
}

// Half precision becomes float32 at the door. The halves lie in the last part of the memory that the floats then fill.
function floatsOf(heap, halves) {
  if (Array.isArray(halves)) return Float32Array.from(halves);
  const { buffer, byteOffset, length } = halves;
  return heap.scope((scope) => {
    const floats = scope.takeTensor([length], 'f32', 'float16 data');
    const bits = floats + 2 * length;
    heap.view('u16', bits, length).set(new Uint16Array(buffer, byteOffset, length));
    heap.call('attn_f16_to_f32', length, bits, floats);
    return heap.copy('f32', floats, length);
  });
}

export function argument(heap, value, name, mask = false) {
  if (value?.[LOCATE]) {
    const pointer = value[LOCATE](heap, name);
    const { shape, strides } = value;
    return { name, shape, strides, type: 'f32', pointer, read: () => heap.view('f32', pointer, count(shape)) };
  }
  if (value === null || typeof value !== 'object')
    throw wrongKind(name, 'a tensor ({ data, shape }) or nested arrays', value);
  const { shape, type, data } = isList(value) ? (ArrayBuffer.isView(value) ? fromTensor({ data: value, shape: [value.length] }, name) : flatten(value, name)) : fromTensor(value, name);
  if (!type) throw wrongKind(name, 'arrays of numbers', value);
  if (type === 'bool' && !mask) throw new TypeError(`${name}: expected numbers, got booleans or bytes`);
  if (type === 'f16') {
    const floats = floatsOf(heap, data);
    return { name, shape, type: 'f32', pointer: 0, read: () => floats };
  }
  return { name, shape, type, pointer: 0, read: () => data };
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
