// The computations behind three presets: why the scores are divided by sqrt(d), the textbook example, decoding with
// a cache. Runs in the worker and in Node's tests.

import { normals } from './model.js';

const SIZES = [4, 8, 16, 32, 64, 128, 256, 512, 1024];
const TRIALS = 64;
const KEYS = 12;

/**
 * For each d: 64 random queries against 12 random keys, all numbers standard normal. Means of the largest weight and
 * of the entropy in bits, and the variance of the scores, without and with the division.
 */
export function squareRootFigure(attn, { seed }) {
  const found = SIZES.map((d) => measure(attn, d, seed));
  return { sizes: SIZES, keys: KEYS, trials: TRIALS, plain: found.map(([plain]) => plain), scaled: found.map(([, scaled]) => scaled) };
}

/** [without, with] the division, of the same queries and keys. */
function measure(attn, d, seed) {
  const normal = normals(seed * 4099 + d);
  const random = (...shape) => ({ data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, normal), shape });
  const q = random(1, TRIALS, 1, d);
  const k = random(1, TRIALS, KEYS, d);
  const v = { data: new Float32Array(TRIALS * KEYS), shape: [1, TRIALS, KEYS, 1] };
  return [1, 1 / Math.sqrt(d)].map((scale) => summary(attn.sdpa(q, k, v, { scale, returnWeights: true, returnScores: 'raw' })));
}

function summary({ weights, scores }) {
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

/** The cache of one answer; it is filled as far as the furthest step that was asked for. */
export class Decoder {
  #attn;
  #held;
  #cache;

  constructor(attn, held) {
    const { heads, d, dv, n } = held;
    this.#attn = attn;
    this.#held = held;
    this.#cache = attn.kvCache({ numKvHeads: heads, headDim: d, headDimV: dv, capacity: n });
  }

  of(held) {
    return this.#held === held;
  }

  /**
   * Token `step` (from 0) arrives: its key and value join the cache, its query attends to what is held.
   * `gap`: the largest difference between the weights of this row and of the same row of the full computation.
   * `products`: multiply-adds for this token, for all so far, and for all rows again at each token so far.
   */
  step(step) {
    const { heads, d, dv, n, m, q, k, v, scale, weights } = this.#held;
    if (this.#cache.length > step) this.#cache.truncate(step);
    for (let token = this.#cache.length; token <= step; token += 1) {
      this.#cache.append(tokenOf(k, heads, n, d, token), tokenOf(v, heads, n, dv, token));
    }
    const row = this.#cache.attend(tokenOf(q, heads, n, d, step), { scale, returnWeights: true }).weights.data;
    const length = step + 1;
    let gap = 0;
    for (let head = 0; head < heads; head += 1) {
      for (let j = 0; j < length; j += 1) gap = Math.max(gap, Math.abs(row[head * length + j] - weights.data[(head * n + step) * m + j]));
    }
    const cost = heads * (d + dv);
    const pairs = (length * (length + 1)) / 2;
    // 1 + 3 + 6 + ...: without a cache every token computes all rows up to it.
    const again = (length * (length + 1) * (length + 2)) / 6;
    return { step, gap, bytes: heads * length * (d + dv) * 4, products: { row: cost * length, cached: cost * pairs, again: cost * again } };
  }

  free() {
    this.#cache.free();
  }
}

/** [1, heads, n, d] to the one token's [1, heads, 1, d]. */
function tokenOf({ data }, heads, n, d, token) {
  const out = new Float32Array(heads * d);
  for (let head = 0; head < heads; head += 1) out.set(data.subarray((head * n + token) * d, (head * n + token + 1) * d), head * d);
  return { data: out, shape: [1, heads, 1, d] };
}
