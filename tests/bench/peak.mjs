// What this engine can do at most: multiply-adds that touch nothing but registers, and reads that do nothing with what they read.

import { assemble, op } from './wasm.mjs';

const ACCUMULATORS = 12; // x86-64 has 16 vector registers; the engine keeps one, the two operands and a product take three
const UNROLL = 8;
const ITERATIONS = 500; // a few microseconds: engines change to optimised code only where a function is entered
const CALLS = 200;
const LANES = 4;
const READ_UNROLL = 8;
const PAGE = 65536;

function multiplyAdds(relaxed) {
  const [count, x, y] = [0, 1, 2]; // operands come in as parameters: of constants the engine makes new copies in the loop
  const [vectorX, vectorY, first] = [3, 4, 5];
  const accumulators = Array.from({ length: ACCUMULATORS }, (_, i) => first + i);
  const step = relaxed
    ? (a) => [op.get(a), op.get(vectorX), op.get(vectorY), op.f32x4RelaxedMadd, op.set(a)]
    : (a) => [op.get(a), op.get(vectorX), op.f32x4Mul, op.get(vectorY), op.f32x4Add, op.set(a)];
  return assemble({
    parameters: ['i32', 'f32', 'f32'],
    result: 'f32',
    vectors: 2 + ACCUMULATORS,
    body: [
      op.get(x), op.f32x4Splat, op.set(vectorX),
      op.get(y), op.f32x4Splat, op.set(vectorY),
      ...accumulators.flatMap((a) => [op.get(vectorX), op.set(a)]),
      op.loop(
        ...Array.from({ length: UNROLL }, () => accumulators.flatMap(step).flat()),
        op.get(count), op.i32(1), op.i32Sub, op.tee(count),
      ),
      op.get(first), ...accumulators.slice(1).flatMap((a) => [op.get(a), op.f32x4Add]), op.f32x4Lane(0),
    ].map((part) => part.flat()),
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
        ...accumulators.map((a, i) => [op.get(pointer), op.v128Load(16 * i), op.get(a), op.v128Xor, op.set(a)].flat()),
        op.get(pointer), [0x41, 0x80, 0x01], op.i32Add, op.set(pointer), // 128 bytes on
        op.get(count), op.i32(1), op.i32Sub, op.tee(count),
      ),
      op.get(first), ...accumulators.slice(1).flatMap((a) => [op.get(a), op.v128Xor]), op.i32x4Lane(0),
    ].map((part) => part.flat()),
  });
}

async function instantiate(bytes) {
  return (await WebAssembly.instantiate(bytes)).instance.exports;
}

/** The register-only peak of a variant: { name, flops, run }. */
export async function peak(variant) {
  const { run } = await instantiate(multiplyAdds(variant === 'relaxed'));
  return {
    name: `peak-${variant}`,
    flops: CALLS * ITERATIONS * UNROLL * ACCUMULATORS * LANES * 2,
    run() {
      // 0.999 x + 0.001: stays an ordinary number however often it is done.
      for (let i = 0; i < CALLS; i++) run(ITERATIONS, 0.999, 0.001);
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
