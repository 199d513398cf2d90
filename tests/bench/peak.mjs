// What this engine can do at most: multiply-adds that touch nothing but registers, and reads that do nothing with what they read.

import { assemble, op } from './wasm.mjs';

const UNROLL = 8;
const ITERATIONS = 500; // a few microseconds: engines change to optimised code only where a function is entered
const CALLS = 200;
const OPERAND = 0.5; // no sum or product of it leaves the ordinary numbers
const LANES = 4;
const READ_UNROLL = 8;
const PAGE = 65536;

// x86-64 has 16 vector registers, of which the engine keeps one. Operands come in as parameters: of constants it makes new copies in
// the loop.

// a = a * x + y in one instruction of four cycles, two a cycle: twelve in flight are more than enough.
const FUSED = { accumulators: 12, operands: 2 };

function fusedMultiplyAdds() {
  const [x, y, first] = [2, 3, 4];
  const steps = Array.from({ length: FUSED.accumulators }, (_, i) => [
    ...op.get(first + i), ...op.get(x), ...op.get(y), ...op.f32x4RelaxedMadd, ...op.set(first + i),
  ]);
  return loopOver(FUSED, () => steps.flat());
}

// a = a + x * y, where the product must not wait for a: as a * x + y the two instructions are one chain, 11 % slower. Nor may it
// stay the same, or it is computed once. So every fourth product's x is read from the first cache, which takes no vector unit.
const SEPARATE = { accumulators: 8, operands: 5 };

function separateMultiplyAdds() {
  const [x, y, first] = [2, 3, 7]; // one x, four y
  const steps = (unrolled) => Array.from({ length: SEPARATE.accumulators }, (_, i) => [
    ...(i % 4 === 0 ? [...op.get(0), ...op.i32(4), ...op.i32ShiftLeft, ...op.v128Load(16 * (2 * unrolled + i / 4)), ...op.set(x)] : []),
    ...op.get(first + i), ...op.get(x), ...op.get(y + (i % 4)), ...op.f32x4Mul, ...op.f32x4Add, ...op.set(first + i),
  ]);
  return loopOver(SEPARATE, (unrolled) => steps(unrolled).flat());
}

// run(count, x): the operands are x, 2 x, 3 x and so on (equal ones would be one to the engine), the accumulators start as x. Reads
// begin at 16 * count, so that they move.
function loopOver({ accumulators, operands }, steps) {
  const [count, x, firstOperand] = [0, 1, 2];
  const first = firstOperand + operands;
  const all = Array.from({ length: accumulators }, (_, i) => first + i);
  return assemble({
    parameters: ['i32', 'f32'],
    result: 'f32',
    vectors: operands + accumulators,
    pages: 1,
    body: [
      ...Array.from({ length: operands }, (_, i) => [
        ...op.get(x), ...op.f32x4Splat, ...(i > 0 ? [...op.get(firstOperand + i - 1), ...op.f32x4Add] : []), ...op.set(firstOperand + i),
      ]),
      ...all.map((a) => [...op.get(firstOperand), ...op.set(a)]),
      op.loop(
        ...Array.from({ length: UNROLL }, (_, unrolled) => steps(unrolled)),
        op.get(count), op.i32(1), op.i32Sub, op.tee(count),
      ),
      op.get(first), ...all.slice(1).map((a) => [...op.get(a), ...op.f32x4Add]), op.f32x4Lane(0),
    ],
  });
}

function reads(bytes) {
  const [pointer, count] = [0, 1];
  const first = 2;
  const accumulators = Array.from({ length: READ_UNROLL }, (_, i) => first + i);
  return assemble({
    parameters: ['i32', 'i32'],
    result: 'i32',
    vectors: READ_UNROLL,
    pages: Math.ceil(bytes / PAGE),
    body: [
      op.loop(
        ...accumulators.map((a, i) => [...op.get(pointer), ...op.v128Load(16 * i), ...op.get(a), ...op.v128Xor, ...op.set(a)]),
        op.get(pointer), [0x41, 0x80, 0x01], op.i32Add, op.set(pointer), // 128 bytes on
        op.get(count), op.i32(1), op.i32Sub, op.tee(count),
      ),
      op.get(first), ...accumulators.slice(1).map((a) => [...op.get(a), ...op.v128Xor]), op.i32x4Lane(0),
    ],
  });
}

async function instantiate(bytes) {
  return (await WebAssembly.instantiate(bytes)).instance.exports;
}

/** The register-only peak of a variant: { name, flops, run }. */
export async function peak(variant) {
  const relaxed = variant === 'relaxed';
  const { run, memory } = await instantiate(relaxed ? fusedMultiplyAdds() : separateMultiplyAdds());
  new Float32Array(memory.buffer).fill(OPERAND);
  return {
    name: `peak-${variant}`,
    flops: CALLS * ITERATIONS * UNROLL * (relaxed ? FUSED : SEPARATE).accumulators * LANES * 2,
    run() {
      for (let i = 0; i < CALLS; i++) run(ITERATIONS, OPERAND); // from 0.5 on, 0.5 a + 1 tends to 2
    },
  };
}

/** A plain read of so many bytes, again and again the same: { name, bytes, run }. */
export async function read(bytes) {
  const { run, memory } = await instantiate(reads(bytes));
  new Float32Array(memory.buffer).fill(1); // pages that were never written are all one page of zeros
  const chunk = 16 * READ_UNROLL;
  const part = 256 * 1024; // small calls, for the same reason as above
  return {
    name: 'read',
    bytes,
    run() {
      for (let at = 0; at < bytes; at += part) run(at, Math.min(part, bytes - at) / chunk);
    },
  };
}
