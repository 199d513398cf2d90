// Makes tensor files byte by byte, right and wrong ones, without the page's own writers.

const encoder = new TextEncoder();

const writers = {
  f8: ['setFloat64', 8], f4: ['setFloat32', 4], i4: ['setInt32', 4], i2: ['setInt16', 2], i1: ['setInt8', 1], i8: ['setBigInt64', 8], f2: [null, 2], c8: [null, 8],
};

export function npy(values, shape, { descr = '<f4', fortran = false } = {}) {
  const type = descr.slice(1);
  const little = descr[0] !== '>';
  const [method, size] = writers[type] ?? [null, 8];
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const header = encoder.encode(`{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': (${dims}), }`.padEnd(117) + '\n');
  const bytes = new Uint8Array(10 + header.length + values.length * size);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  bytes.set(header, 10);
  const view = new DataView(bytes.buffer, 10 + header.length);
  values.forEach((value, i) => {
    if (method === 'setBigInt64') view.setBigInt64(i * 8, BigInt(value), little);
    else if (method) view[method](i * size, value, little);
    else if (type === 'f2') view.setUint16(i * 2, toHalf(value), little);
  });
  return bytes;
}

/** Only for numbers that float16 holds exactly, or that round to its smallest. */
function toHalf(value) {
  if (value === 0) return 0;
  const sign = value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size < 2 ** -14) return sign | Math.round(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign | ((exponent + 15) << 10) | Math.round((size / 2 ** exponent - 1) * 1024);
}

/** members: { name: bytes }. `deflate` packs; `size` lies about the unpacked size. */
export function npz(members, deflate, { size } = {}) {
  const parts = [];
  const list = [];
  let at = 0;
  for (const [name, bytes] of Object.entries(members)) {
    const file = encoder.encode(`${name}.npy`);
    const body = deflate ? deflate(bytes) : bytes;
    const common = (view, from) => {
      view.setUint16(from, deflate ? 8 : 0, true);
      view.setUint32(from + 10, body.length, true);
      view.setUint32(from + 14, size ?? bytes.length, true);
      view.setUint16(from + 18, file.length, true);
    };
    const local = new DataView(new ArrayBuffer(30));
    local.setUint32(0, 0x04034b50, true);
    common(local, 8);
    const entry = new DataView(new ArrayBuffer(46));
    entry.setUint32(0, 0x02014b50, true);
    common(entry, 10);
    entry.setUint32(42, at, true);
    parts.push(new Uint8Array(local.buffer), file, body);
    list.push(new Uint8Array(entry.buffer), file);
    at += 30 + file.length + body.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(10, Object.keys(members).length, true);
  end.setUint32(16, at, true);
  return Uint8Array.from(Buffer.concat([...parts, ...list, new Uint8Array(end.buffer)]));
}

/** tensors: { name: [dtype, shape, values] }. */
export function safetensors(tensors) {
  const header = {};
  const bodies = [];
  let at = 0;
  for (const [name, entry] of Object.entries(tensors)) {
    if (name === '__metadata__') { header[name] = entry; continue; }
    const [dtype, shape, values] = entry;
    const size = { F32: 4, F16: 2, BF16: 2 }[dtype] ?? 1;
    const view = new DataView(new ArrayBuffer(values.length * size));
    values.forEach((value, i) => {
      if (dtype === 'F32') view.setFloat32(i * 4, value, true);
      else if (dtype === 'F16') view.setUint16(i * 2, toHalf(value), true);
      else if (dtype === 'BF16') {
        const four = new DataView(new ArrayBuffer(4));
        four.setFloat32(0, value);
        view.setUint16(i * 2, four.getUint16(0), true);
      }
    });
    bodies.push(new Uint8Array(view.buffer));
    header[name] = { dtype, shape, data_offsets: [at, at + view.byteLength] };
    at += view.byteLength;
  }
  const text = encoder.encode(JSON.stringify(header));
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(text.length), true);
  return Uint8Array.from(Buffer.concat([new Uint8Array(length.buffer), text, ...bodies]));
}

export function json(object) {
  return encoder.encode(JSON.stringify(object));
}
