// Every spec runs on every variant. There is no skipping: a variant that cannot be had fails.

import { test } from 'node:test';
import v8 from 'node:v8';

import { Attention } from '../../web/lib/index.js';
import { sharingEngine } from '../sharing.mjs';

// Node 20 hides relaxed SIMD behind a flag that Node 22 no longer takes.
if (process.versions.v8.startsWith('11.')) v8.setFlagsFromString('--experimental-wasm-relaxed-simd');

export const UNTHREADED = ['scalar', 'simd', 'relaxed'];
export const VARIANTS = [...UNTHREADED, 'simd-threads', 'relaxed-threads'];

// What create() is asked for.
export const engineOf = (variant) => ({ variant, threads: UNTHREADED.includes(variant) ? 1 : 2 });

const LIB = new URL('../../web/lib/index.js', import.meta.url);

// eachOf(variants) -> eachVariant(name, spec): spec(attn, t) with an engine of its own, which is disposed of afterwards. With
// `sharing`, small calls run on all of its threads, too.
export const eachOf = (variants) => (name, spec, { sharing = false } = {}) => {
  for (const variant of variants)
    test(`${name} (${variant})`, async (t) => {
      const attn = sharing ? (await sharingEngine(LIB, engineOf(variant))).attn : await Attention.create(engineOf(variant));
      try {
        await spec(attn, t);
      } finally {
        attn.dispose();
      }
    });
};
export const eachVariant = eachOf(VARIANTS);

// random(seed) -> numbers around 0, the same on every machine; not the library's generator.
export function random(seed) {
  let state = (seed * 2654435761 + 1) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 31 - 1;
  };
}

// tensor(shape, next, Type): filled from a generator.
export function tensor(shape, next, Type = Float32Array) {
  return { data: Type.from({ length: shape.reduce((a, b) => a * b, 1) }, next), shape };
}

// The textbook's example to its last digit: does this engine still work?
export function works(attn) {
  const output = attn.attention([0.5, 0.5], [[0.1, 0.2], [0.2, 0.3]], [[0.6, 0.8], [0.7, 0.9]]);
  if (output[0] !== 0.6524979187478941 || output[1] !== 0.852497918747894) throw new Error(`the engine is broken: ${output}`);
}
