// The computations behind three presets: why the scores are divided by sqrt(d), the textbook example, decoding with
// a cache. Runs in the worker and in Node's tests.

import { dot, largestOf, meanOf, subtract, sumOf } from './arithmetic.js';
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
  // A row that looks at every key alike has the largest entropy there is.
  const [even] = attn.headStatistics({ data: new Float64Array(KEYS).fill(1 / KEYS), shape: [1, KEYS] }).entropy.data;
  return { sizes: SIZES, keys: KEYS, even, trials: TRIALS, plain: found.map(([plain]) => plain), scaled: found.map(([, scaled]) => scaled) };
}

/** [without, with] the division, of the same queries and keys. */
function measure(attn, d, seed) {
  const normal = normals(seed * 4099 + d);
  const random = (...shape) => ({ data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, normal), shape });
  const q = random(1, TRIALS, 1, d);
  const k = random(1, TRIALS, KEYS, d);
  const v = { data: new Float32Array(TRIALS * KEYS), shape: [1, TRIALS, KEYS, 1] };
  return [1, 1 / Math.sqrt(d)].map((scale) => summary(attn, attn.sdpa(q, k, v, { scale, returnWeights: true, returnScores: 'raw' })));
}

function summary(attn, { weights, scores }) {
  const { max, entropy } = attn.headStatistics({ data: weights.data, shape: [TRIALS, KEYS] });
  return { largest: max.data[0], entropy: entropy.data[0], variance: variance(attn, Float64Array.from(scores.data)) };
}

function variance(attn, values) {
  const away = subtract(attn, values, new Float64Array(values.length).fill(meanOf(attn, values)));
  return dot(attn, away, away.map((x) => x / values.length));
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
export function textbookSteps(attn, { edits, scaled, temperature = 1 }) {
  const { q, k, v } = textbookNumbers(edits);
  const query = [...q];
  const keys = [[k[0], k[1]], [k[2], k[3]]];
  const values = [[v[0], v[1]], [v[2], v[3]]];
  const scale = (scaled ? 1 / Math.sqrt(2) : 1) / temperature;
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
   * `products`: multiply-adds for this token, for all so far, for all rows again at each token so far, and the saved share.
   */
  step(step) {
    const { heads, d, dv, n, m, q, k, v, scale, weights } = this.#held;
    if (this.#cache.length > step) this.#cache.truncate(step);
    for (let token = this.#cache.length; token <= step; token += 1) {
      this.#cache.append(tokenOf(k, heads, n, d, token), tokenOf(v, heads, n, dv, token));
    }
    const row = this.#cache.attend(tokenOf(q, heads, n, d, step), { scale, returnWeights: true }).weights.data;
    const length = step + 1;
    const whole = new Float32Array(row.length);
    for (let head = 0; head < heads; head += 1) whole.set(weights.data.subarray((head * n + step) * m, (head * n + step) * m + length), head * length);
    return {
      step, gap: largestOf(subtract(this.#attn, row, whole)), bytes: heads * length * (d + dv) * Float32Array.BYTES_PER_ELEMENT,
      products: this.#products(length, heads * (d + dv)),
    };
  }

  /** Token t (from 0) sees t + 1 keys, at `cost` multiply-adds each; without a cache it is computed again for every later token. */
  #products(length, cost) {
    const seen = Float64Array.from({ length }, (_, t) => t + 1);
    const cached = dot(this.#attn, seen, seen.map(() => cost));
    const again = dot(this.#attn, seen, seen.map((_, t) => cost * (length - t)));
    return { row: sumOf(this.#attn, new Float64Array(length).fill(cost)), cached, again, saved: dot(this.#attn, [again, cached], [1 / again, -1 / again]) };
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
