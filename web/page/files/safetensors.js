// safetensors: length of a JSON header, the header, the numbers. Pure; also runs in Node.

import { decodeNumbers, elementCount, FileProblem, itemBytes, quoted } from './numbers.js';

const types = { F64: 'f8', F32: 'f4', F16: 'f2', BF16: 'bf2', I64: 'i8', U64: 'u8', I32: 'i4', U32: 'u4', I16: 'i2', U16: 'u2', I8: 'i1', U8: 'u1', BOOL: 'b1' };

/** [{ name, shape, dtype, read() }] */
export function readSafetensors(bytes, name = 'file') {
  if (bytes.length < 8) throw new FileProblem(`${name} is not a .safetensors file.`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (!(length <= bytes.length - 8)) throw new FileProblem(`${name} ends inside its header, or is not a .safetensors file.`);
  let header;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch {
    throw new FileProblem(`${name}: its header cannot be read.`);
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) throw new FileProblem(`${name}: its header cannot be read.`);
  const body = bytes.subarray(8 + length);
  return Object.entries(header).filter(([tensor]) => tensor !== '__metadata__').map(([tensor, entry]) => {
    const { dtype, shape, data_offsets: offsets } = entry ?? {};
    if (!Array.isArray(shape) || !Array.isArray(offsets) || offsets.length !== 2) throw new FileProblem(`${name}: the entry of ${quoted(tensor)} cannot be read.`);
    const count = elementCount(shape, tensor);
    const type = types[dtype];
    const [from, to] = offsets;
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to < from || to > body.length) {
      throw new FileProblem(`${name} is cut off, or the place of ${quoted(tensor)} in it is wrong.`);
    }
    if (type && to - from !== count * itemBytes[type]) throw new FileProblem(`${name}: the shape of ${quoted(tensor)} does not fit its ${to - from} bytes.`);
    return {
      name: tensor, shape, dtype: type ?? dtype,
      read() {
        if (!type) throw new FileProblem(`${quoted(tensor)} holds numbers of type ${quoted(JSON.stringify(dtype))}, which cannot be read here.`);
        return decodeNumbers(body.subarray(from, to), type, count);
      },
    };
  });
}
