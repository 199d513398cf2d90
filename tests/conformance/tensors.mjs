// Tensors of the cases: `{ data, shape }`, row-major, as the module takes them, and the moves that the adapters need.
// Nothing here multiplies, adds up or normalises: that is the engine's work.

export const sizeOf = (shape) => shape.reduce((product, extent) => product * extent, 1);

/** The tensor of a case's file. Half precision becomes `Float`, too: the module takes float32 and float64. */
export function decode({ name, dtype, shape, data }, Float) {
  const bytes = new DataView(Uint8Array.from(atob(data), (char) => char.charCodeAt(0)).buffer);
  const read = READERS[dtype];
  if (!read) throw new Error(`tensor ${name}: unknown dtype ${dtype}`);
  const { width, at, Store = Float } = read;
  const count = sizeOf(shape);
  if (bytes.byteLength !== count * width) {
    throw new Error(`tensor ${name}: ${bytes.byteLength} bytes, but ${dtype}[${shape}] has ${count * width}`);
  }
  return { data: Store.from({ length: count }, (_, i) => at(bytes, i * width)), shape: [...shape] };
}

const READERS = {
  float64: { width: 8, at: (bytes, offset) => bytes.getFloat64(offset, true) },
  float32: { width: 4, at: (bytes, offset) => bytes.getFloat32(offset, true) },
  float16: { width: 2, at: (bytes, offset) => halfToNumber(bytes.getUint16(offset, true)) },
  int64: { width: 8, at: (bytes, offset) => Number(bytes.getBigInt64(offset, true)), Store: Int32Array },
  int32: { width: 4, at: (bytes, offset) => bytes.getInt32(offset, true), Store: Int32Array },
  bool: { width: 1, at: (bytes, offset) => bytes.getUint8(offset), Store: Uint8Array },
};

/** IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits. */
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

export const isBoolean = (x) => x.data instanceof Uint8Array;

export function full(Store, shape, value) {
  return { data: new Store(sizeOf(shape)).fill(value), shape: [...shape] };
}

/** Element by element, in row-major order: `value(indices, position)`. */
export function generate(Store, shape, value) {
  const data = new Store(sizeOf(shape));
  const index = shape.map(() => 0);
  for (let position = 0; position < data.length; position++) {
    data[position] = value(index, position);
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
  }
  return { data, shape: [...shape] };
}

export function map(x, value) {
  return { data: x.data.map((element) => value(element)), shape: x.shape };
}

/** Element-wise sum of tensors of one shape. */
export function add(x, y) {
  return { data: x.data.map((element, i) => element + y.data[i]), shape: x.shape };
}

export function reshape(x, shape) {
  if (sizeOf(shape) !== x.data.length) throw new Error(`cannot reshape [${x.shape}] to [${shape}]`);
  return { data: x.data, shape: [...shape] };
}

/** Axis a of the result is axis `axes[a]` of x. */
export function permute(x, axes) {
  const strides = stridesOf(x.shape);
  const moved = axes.map((axis) => strides[axis]);
  return generate(x.data.constructor, axes.map((axis) => x.shape[axis]), (index) => x.data[dot(index, moved)]);
}

export const transpose = (x) => permute(x, [1, 0]);

/** Repeats axes of size 1, and missing leading ones, as NumPy broadcasts. */
export function broadcastTo(x, shape) {
  const lead = shape.length - x.shape.length;
  const strides = stridesOf(x.shape);
  const repeated = shape.map((extent, axis) => {
    if (axis < lead || x.shape[axis - lead] === 1) return 0;
    if (x.shape[axis - lead] !== extent) throw new Error(`[${x.shape}] does not broadcast to [${shape}]`);
    return strides[axis - lead];
  });
  return generate(x.data.constructor, shape, (index) => x.data[dot(index, repeated)]);
}

/** x[..., start:end, ...] on `axis`. */
export function slice(x, axis, start, end) {
  const strides = stridesOf(x.shape);
  const shape = x.shape.with(axis, end - start);
  return generate(x.data.constructor, shape, (index) => x.data[dot(index, strides) + start * strides[axis]]);
}

export function concat(parts, axis) {
  const [{ data, shape }] = parts;
  const extents = parts.map((part) => part.shape[axis]);
  const inner = sizeOf(shape.slice(axis + 1));
  const outer = sizeOf(shape.slice(0, axis));
  const total = extents.reduce((sum, extent) => sum + extent, 0);
  const result = new data.constructor(outer * total * inner);
  let position = 0;
  for (let o = 0; o < outer; o++) {
    parts.forEach((part, p) => {
      const run = extents[p] * inner;
      result.set(part.data.subarray(o * run, (o + 1) * run), position);
      position += run;
    });
  }
  return { data: result, shape: shape.with(axis, total) };
}

/** [batch, seq, heads * dim] to [batch, heads, seq, dim]. */
export function splitHeads(x, heads) {
  const [batch, seq, columns] = x.shape;
  return permute(reshape(x, [batch, seq, heads, columns / heads]), [0, 2, 1, 3]);
}

/** [batch, heads, seq, dim] to [batch, seq, heads * dim]. */
export function joinHeads(x) {
  const [batch, heads, seq, dim] = x.shape;
  return reshape(permute(x, [0, 2, 1, 3]), [batch, seq, heads * dim]);
}

function stridesOf(shape) {
  const strides = new Array(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

function dot(index, strides) {
  let sum = 0;
  for (let axis = 0; axis < index.length; axis++) sum += index[axis] * strides[axis];
  return sum;
}
