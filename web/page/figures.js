// The computations behind three presets: why the scores are divided by sqrt(d), the textbook example, decoding with
// a cache. Runs in the worker and in Node's tests.

import { headTensors } from './attend.js';
import { normals } from './model.js';

const SIZES = [4, 8, 16, 32, 64, 128, 256, 512, 1024];
const TRIALS = 64;
const KEYS = 12;

/**
 * For each d: 64 random queries against 12 random keys, all numbers standard normal. Means of the largest weight and
 * of the entropy in bits, and the variance of the scores, without and with the division.
 */
export function squareRootFigure(attn, { seed }) {
  return {
    sizes: SIZES, keys: KEYS, trials: TRIALS,
    plain: SIZES.map((d) => measure(attn, d, seed, 1)),
    scaled: SIZES.map((d) => measure(attn, d, seed, 1 / Math.sqrt(d))),
  };
}

function measure(attn, d, seed, scale) {
  const normal = normals(seed * 4099 + d);
  const random = (count) => Float32Array.from({ length: count }, normal);
  const { weights, scores } = attn.sdpa(
    { data: random(TRIALS * d), shape: [1, TRIALS, 1, d] },
    { data: random(TRIALS * KEYS * d), shape: [1, TRIALS, KEYS, d] },
    { data: new Float32Array(TRIALS * KEYS), shape: [1, TRIALS, KEYS, 1] },
    { scale, returnWeights: true, returnScores: 'raw' },
  );
  let largest = 0;
  let entropy = 0;
  for (let trial = 0; trial < TRIALS; trial += 1) {
    let top = 0;
    for (const a of weights.data.subarray(trial * KEYS, (trial + 1) * KEYS)) {
      top = Math.max(top, a);
      if (a > 0) entropy -= a * Math.log2(a);
    }
    largest += top;
  }
  const count = scores.data.length;
  const mean = scores.data.reduce((sum, s) => sum + s, 0) / count;
  const variance = scores.data.reduce((sum, s) => sum + (s - mean) ** 2, 0) / count;
  return { largest: largest / TRIALS, entropy: entropy / TRIALS, variance };
}

const TEXTBOOK = { q: [0.5, 0.5], k: [0.1, 0.2, 0.2, 0.3], v: [0.6, 0.8, 0.7, 0.9] };

function textbookNumbers(edits) {
  return Object.fromEntries(Object.entries(TEXTBOOK).map(([name, numbers]) => {
    const data = Float64Array.from(numbers);
    for (const [at, value] of Object.entries(edits[name] ?? {})) if (at < data.length) data[at] = value;
    return [name, data];
  }));
}

/** The example as tensors of float64: the engine's reference computes them. */
export function textbookTensors({ edits }) {
  const { q, k, v } = textbookNumbers(edits);
  return {
    q: { data: q, shape: [1, 1, 1, 2] },
    k: { data: k, shape: [1, 1, 2, 2] },
    v: { data: v, shape: [1, 1, 2, 2] },
  };
}

/** Every step of the example in float64: { query, keys, values, scores, weights, output }. */
export function textbookSteps(attn, { edits, scaled }) {
  const { q, k, v } = textbookNumbers(edits);
  const query = [...q];
  const keys = [[k[0], k[1]], [k[2], k[3]]];
  const values = [[v[0], v[1]], [v[2], v[3]]];
  const scale = scaled ? 1 / Math.sqrt(2) : 1;
  return { query, keys, values, scale, ...attn.attentionSteps(query, keys, values, { scale }) };
}

/**
 * Token `step` (from 0) arrives: its query against the keys and values of the cache, which holds step + 1 tokens.
 * `gap`: the largest difference between the weights of this row and of the same row of the full computation.
 * `products`: multiply-adds of the attention with the cache, and of doing all rows again at each token so far.
 */
export function decodeStep(attn, held, step) {
  const { heads, d, dv, m } = held;
  const length = step + 1;
  let gap = 0;
  for (let head = 0; head < heads; head += 1) {
    const { q, k, v } = headTensors(held, head, step, step + 1);
    const { weights } = attn.sdpa(q, k, v, { scale: held.scale, kvLengths: [length], returnWeights: true });
    for (let j = 0; j < length; j += 1) {
      gap = Math.max(gap, Math.abs(weights.data[j] - held.weights.data[(head * held.n + step) * m + j]));
    }
  }
  const cost = heads * (d + dv);
  const pairs = (length * (length + 1)) / 2;
  // 1 + 3 + 6 + ...: without a cache every token computes all rows up to it.
  const again = (length * (length + 1) * (length + 2)) / 6;
  return { step, gap, bytes: heads * length * (d + dv) * 4, products: { row: cost * length, cached: cost * pairs, again: cost * again } };
}
