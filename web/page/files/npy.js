// NumPy's .npy: magic, version, a Python dict as header, then the numbers. Pure; also runs in Node.

import { decodeNumbers, elementCount, FileProblem, itemBytes, quoted } from './numbers.js';

const MAGIC = '\x93NUMPY';

/** { shape, dtype, read() -> Float32Array } or, for arrays of strings, { shape, dtype, strings }. */
export function readNpy(bytes, name = 'file') {
  if (bytes.length < 10 || String.fromCharCode(...bytes.subarray(0, 6)) !== MAGIC) throw new FileProblem(`${name} is not a .npy file.`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const long = bytes[6] >= 2;
  if (long && bytes.length < 12) throw new FileProblem(`${name} ends inside its header.`);
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  if (start + length > bytes.length) throw new FileProblem(`${name} ends inside its header.`);
  const header = new TextDecoder('latin1').decode(bytes.subarray(start, start + length));
  const descr = header.match(/'descr':\s*'([^']+)'/)?.[1];
  const fortran = header.match(/'fortran_order':\s*(True|False)/)?.[1];
  const dims = header.match(/'shape':\s*\(([\d,\s]*)\)/)?.[1];
  if (!descr || !fortran || dims === undefined) throw new FileProblem(`${name}: its header cannot be read.`);
  const shape = dims.split(',').map((part) => part.trim()).filter(Boolean).map(Number);
  const count = elementCount(shape, name);
  const body = bytes.subarray(start + length);
  const [, order, kind, width] = descr.match(/^([<>|=])([a-zA-Z])(\d+)$/) ?? [];
  const little = order !== '>';
  if (kind === 'U' && Number(width) > 0) return { shape, dtype: descr, strings: readStrings(body, Number(width), count, little, name) };
  const type = `${kind}${width}`;
  if (!(type in itemBytes)) throw new FileProblem(`${name} holds numbers of type ${quoted(descr)}, which cannot be read here. Use float32: array.astype("float32").`);
  if (body.length < count * itemBytes[type]) {
    throw new FileProblem(`${name} is cut off: its shape (${quoted(shape.join(', '))}) needs ${count * itemBytes[type]} bytes, it has ${body.length}.`);
  }
  return {
    shape, dtype: type,
    read() {
      const numbers = decodeNumbers(body, type, count, little);
      return fortran === 'True' ? fromFortran(numbers, shape) : numbers;
    },
  };
}

function readStrings(body, width, count, little, name) {
  if (body.length < count * width * 4) throw new FileProblem(`${name} is cut off.`);
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  return Array.from({ length: count }, (_, i) => {
    let text = '';
    for (let c = 0; c < width; c += 1) {
      const code = view.getUint32((i * width + c) * 4, little);
      if (code > 0x10ffff) throw new FileProblem(`${name} holds something that is not text.`);
      if (code) text += String.fromCodePoint(code);
    }
    return text;
  });
}

/** First index fastest, to last index fastest. */
function fromFortran(numbers, shape) {
  const out = new Float32Array(numbers.length);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((a, b) => a * b, 1));
  const index = new Array(shape.length).fill(0);
  for (let at = 0; at < out.length; at += 1) {
    out[at] = numbers[index.reduce((sum, i, axis) => sum + i * strides[axis], 0)];
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      index[axis] += 1;
      if (index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
  return out;
}

/** A .npy of float32, or float64 for a Float64Array, as numpy.save writes it. */
export function writeNpy(data, shape) {
  const descr = data instanceof Float64Array ? '<f8' : '<f4';
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
  const bytes = new Uint8Array(10 + header.length + data.byteLength);
  bytes.set([...MAGIC].map((c) => c.charCodeAt(0)));
  bytes.set([1, 0, header.length & 255, header.length >> 8], 6);
  bytes.set([...header].map((c) => c.charCodeAt(0)), 10);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + header.length);
  return bytes;
}
