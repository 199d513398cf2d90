// Assembles WebAssembly modules of a single function: the few opcodes that peak.mjs measures the machine with.

const V128 = 0x7b;
const TYPES = { i32: 0x7f, f32: 0x7d, v128: V128 };

function leb(value) {
  const bytes = [];
  for (let rest = value >>> 0; ; rest >>>= 7) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest & 127) | 128);
  }
}

const simd = (opcode, ...immediates) => [0xfd, ...leb(opcode), ...immediates];

export const op = {
  get: (local) => [0x20, ...leb(local)],
  set: (local) => [0x21, ...leb(local)],
  tee: (local) => [0x22, ...leb(local)],
  i32: (value) => [0x41, value], // 0 ... 63
  i32Add: [0x6a],
  i32Sub: [0x6b],
  i32ShiftLeft: [0x74],
  /** Runs body and runs it again while it leaves a number other than 0. */
  loop: (...body) => [0x03, 0x40, ...body.flat(), 0x0d, 0x00, 0x0b],
  f32x4Splat: simd(0x13),
  f32x4Add: simd(0xe4),
  f32x4Mul: simd(0xe6),
  f32x4RelaxedMadd: simd(0x105),
  f32x4Lane: (lane) => simd(0x1f, lane),
  v128Load: (offset) => simd(0x00, 4, ...leb(offset)),
  v128Xor: simd(0x51),
  i32x4Lane: (lane) => simd(0x1b, lane),
};

const section = (id, ...content) => {
  const bytes = content.flat();
  return [id, ...leb(bytes.length), ...bytes];
};
const name = (text) => [...leb(text.length), ...new TextEncoder().encode(text)];

/** The bytes of a module that exports function `run` and, if `pages` says so, memory `memory`. */
export function assemble({ parameters, result, vectors, body, pages = 0 }) {
  const code = [1, ...leb(vectors), V128, ...body.flat(), 0x0b];
  return new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, parameters.length, ...parameters.map((type) => TYPES[type]), 1, TYPES[result]]),
    ...section(3, [1, 0]),
    ...(pages ? section(5, [1, 0], leb(pages)) : []),
    ...section(7, [pages ? 2 : 1], name('run'), [0, 0], pages ? [...name('memory'), 2, 0] : []),
    ...section(10, [1], leb(code.length), code),
  ]);
}
