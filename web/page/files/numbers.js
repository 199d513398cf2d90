// Element types of tensor files, and their numbers as float32. Pure; also runs in Node.

/** A file that is not what it says: the message is for people. */
export class FileProblem extends Error {}

export const itemBytes = { f8: 8, f4: 4, f2: 2, bf2: 2, i8: 8, u8: 8, i4: 4, u4: 4, i2: 2, u2: 2, i1: 1, u1: 1, b1: 1 };

/** More elements than this cannot be held, whatever a header says. */
const MAX_ELEMENTS = 2 ** 29;
/** NumPy's own limit. */
export const MAX_AXES = 64;

/** What a file says, cut to what fits in a sentence. */
export function quoted(text) {
  const whole = String(text);
  return whole.length > 60 ? `${whole.slice(0, 60)}…` : whole;
}

/** Product of a shape; refuses what is no shape and what no machine could hold. */
export function elementCount(shape, name) {
  if (shape.length > MAX_AXES) throw new FileProblem(`${quoted(name)} has ${shape.length} axes; up to ${MAX_AXES} can be read.`);
  let count = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) throw new FileProblem(`${quoted(name)}: ${quoted(JSON.stringify(size))} is not a size.`);
    count *= size;
    if (count > MAX_ELEMENTS) throw new FileProblem(`${quoted(name)}: the shape (${quoted(shape.join(', '))}) asks for more numbers than fit in memory.`);
  }
  return count;
}

/** `bytes` as Float32Array. `little`: byte order. */
export function decodeNumbers(bytes, type, count, little = true) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (type === 'f4' && little && bytes.byteOffset % 4 === 0) return new Float32Array(bytes.buffer, bytes.byteOffset, count).slice();
  const out = new Float32Array(count);
  const read = readers[type];
  const size = itemBytes[type];
  for (let i = 0; i < count; i += 1) out[i] = read(view, i * size, little);
  return out;
}

const readers = {
  f8: (view, at, little) => view.getFloat64(at, little),
  f4: (view, at, little) => view.getFloat32(at, little),
  f2: (view, at, little) => half(view.getUint16(at, little)),
  bf2: (view, at, little) => brain(view.getUint16(at, little)),
  i8: (view, at, little) => Number(view.getBigInt64(at, little)),
  u8: (view, at, little) => Number(view.getBigUint64(at, little)),
  i4: (view, at, little) => view.getInt32(at, little),
  u4: (view, at, little) => view.getUint32(at, little),
  i2: (view, at, little) => view.getInt16(at, little),
  u2: (view, at, little) => view.getUint16(at, little),
  i1: (view, at) => view.getInt8(at),
  u1: (view, at) => view.getUint8(at),
  b1: (view, at) => view.getUint8(at),
};

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const scratch = new DataView(new ArrayBuffer(4));
function brain(bits) {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}
