// The hand-built model: inputs X and projections W that make each head do one thing that has a name.
// Pure; also runs in Node. Nothing here computes attention: these are the engine's inputs.
//
// A token's vector, with d = head size (a power of two), is
//   x = [ position d | word d | previous word d | is first 1 | one 1 | zeros d-2 ]           4d numbers
// The "previous word" part is what an earlier layer of a real network would have written there.

import { wordKey } from './tokens.js';

export const HEAD_SIZES = [4, 8, 16, 32, 64];

/** In this order the first n become the n heads. */
export const headKinds = ['previous', 'same', 'followed', 'first', 'next', 'itself', 'even', 'random'];

/** A repeatable stream of numbers in [0, 1). */
export function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A repeatable stream of standard normal numbers (Box and Muller). */
export function normals(seed) {
  const uniform = mulberry32(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/**
 * The angular frequencies of the position code. With w_f = pi (f + 1/2) / (d/2) two positions are orthogonal
 * unless they are a multiple of d apart: at d with the opposite sign, which is harmless, at 2d with the same sign.
 * Longer texts get frequencies spread unevenly. The two constants are the best of a search for d = 16, 32, 64 and
 * 512 positions: no other position comes closer than 0.59, 0.41 and 0.27 of a match.
 */
function frequencies(d, length) {
  const count = d / 2;
  return Float64Array.from({ length: count }, (_, f) => {
    const jitter = length <= 2 * d ? 0 : ((f * (f / 2 + 1) * 0.0774) % 1) - 0.5;
    return (Math.PI * (f + 0.5 + 0.8 * jitter)) / count;
  });
}

/** Unit vectors: rows of the Walsh-Hadamard matrix, orthogonal for the first d words, then signs from a hash. */
function wordCode(word, index, d) {
  const code = new Float32Array(d);
  const unit = 1 / Math.sqrt(d);
  if (index < d) {
    for (let f = 0; f < d; f += 1) code[f] = parity(index & f) ? -unit : unit;
    return code;
  }
  let hash = 2166136261;
  for (const character of word) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  const uniform = mulberry32(hash);
  for (let f = 0; f < d; f += 1) code[f] = uniform() < 0.5 ? -unit : unit;
  return code;
}

function parity(bits) {
  let odd = 0;
  for (let rest = bits; rest; rest &= rest - 1) odd ^= 1;
  return odd;
}

/** Distinct words in order of appearance, and each token's index among them. */
function vocabulary(tokens) {
  const index = new Map();
  const ids = tokens.map((token) => {
    const key = wordKey(token);
    if (!index.has(key)) index.set(key, index.size);
    return index.get(key);
  });
  return { words: [...index.keys()], ids };
}

/**
 * { x [n, 4d], wq, wk, wv [heads * d, 4d], codes [words, d], words, ids, kinds }.
 * With s = sqrt(gain * sqrt(d)) on both sides, a match scores gain * sqrt(d), and gain after division by sqrt(d).
 */
export function buildModel(tokens, { kinds, headDim: d, gain, seed }) {
  const n = tokens.length;
  const width = 4 * d;
  const { words, ids } = vocabulary(tokens);
  const codes = new Float32Array(words.length * d);
  words.forEach((word, i) => codes.set(wordCode(word, i, d), i * d));

  const x = new Float32Array(n * width);
  const omega = frequencies(d, n);
  const amplitude = 1 / Math.sqrt(d / 2);
  for (let i = 0; i < n; i += 1) {
    const row = x.subarray(i * width, (i + 1) * width);
    omega.forEach((w, f) => {
      row[2 * f] = Math.cos(w * i) * amplitude;
      row[2 * f + 1] = Math.sin(w * i) * amplitude;
    });
    row.set(codes.subarray(ids[i] * d, (ids[i] + 1) * d), d);
    if (i > 0) row.set(codes.subarray(ids[i - 1] * d, (ids[i - 1] + 1) * d), 2 * d);
    row[3 * d] = i === 0 ? 1 : 0;
    row[3 * d + 1] = 1;
  }

  const wq = new Float32Array(kinds.length * d * width);
  const wk = new Float32Array(wq.length);
  const wv = new Float32Array(wq.length);
  const s = Math.sqrt(gain * Math.sqrt(d));
  kinds.forEach((kind, head) => {
    const from = head * d * width;
    const query = wq.subarray(from, from + d * width);
    const key = wk.subarray(from, from + d * width);
    copyPart(wv.subarray(from, from + d * width), width, d, 1);
    if (kind === 'previous') {
      rotate(query, width, omega, -1, s);
      copyPart(key, width, 0, s);
    } else if (kind === 'next') {
      rotate(query, width, omega, 1, s);
      copyPart(key, width, 0, s);
    } else if (kind === 'itself') {
      copyPart(query, width, 0, s);
      copyPart(key, width, 0, s);
    } else if (kind === 'same') {
      copyPart(query, width, d, s);
      copyPart(key, width, d, s);
    } else if (kind === 'followed') {
      copyPart(query, width, d, s);
      copyPart(key, width, 2 * d, s);
    } else if (kind === 'first') {
      query[3 * d + 1] = s;
      key[3 * d] = s;
    } else if (kind === 'random') {
      const normal = normals(seed + 7919 * head);
      // x has length sqrt(3) or 2: this makes queries and keys of about unit variance at gain 1.
      const scale = Math.sqrt(gain / 3.5);
      for (let i = 0; i < query.length; i += 1) query[i] = scale * normal();
      for (let i = 0; i < key.length; i += 1) key[i] = scale * normal();
    }
    // 'even' leaves zeros: every key scores 0, so that all weights are equal.
  });
  const shape = [kinds.length * d, width];
  return {
    x: { data: x, shape: [n, width] },
    wq: { data: wq, shape },
    wk: { data: wk, shape },
    wv: { data: wv, shape },
    codes: { data: codes, shape: [words.length, d] },
    words, ids, kinds,
  };
}

/** Rows f of the matrix read x[from + f], times `scale`. */
function copyPart(matrix, width, from, scale) {
  for (let f = 0; f < matrix.length / width; f += 1) matrix[f * width + from + f] = scale;
}

/** Turns the position code by `steps` positions: 2 x 2 rotations on the diagonal. */
function rotate(matrix, width, omega, steps, scale) {
  omega.forEach((w, f) => {
    const cos = Math.cos(w * steps) * scale;
    const sin = Math.sin(w * steps) * scale;
    matrix[2 * f * width + 2 * f] = cos;
    matrix[2 * f * width + 2 * f + 1] = -sin;
    matrix[(2 * f + 1) * width + 2 * f] = sin;
    matrix[(2 * f + 1) * width + 2 * f + 1] = cos;
  });
}
