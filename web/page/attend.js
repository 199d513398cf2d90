// One request to the engine: from tokens and settings to everything that the page draws. Runs in the worker and
// in Node's tests. All arithmetic on vectors and matrices is the engine's; this file moves numbers about.

import { buildModel, headKinds, normals } from './model.js';

/** Above this many weights in all, heads are computed one at a time, when they are asked for. */
export const ALL_HEADS_LIMIT = 1 << 22;

/** y [n, out] = x [n, in] . weight [out, in]^T. */
export function project(attn, x, weight) {
  return attn.linear(x, weight);
}

/** [n, heads * d] to [1, heads, n, d]. */
export function splitHeads(tensor, heads) {
  const [n, width] = tensor.shape;
  const d = width / heads;
  const data = new Float32Array(tensor.data.length);
  for (let h = 0; h < heads; h += 1) {
    for (let i = 0; i < n; i += 1) {
      data.set(tensor.data.subarray(i * width + h * d, i * width + (h + 1) * d), (h * n + i) * d);
    }
  }
  return { data, shape: [1, heads, n, d] };
}

/** sdpa's options for a setting of the page. */
function sdpaOptions({ mask, scaled, temperature }, n, m, d) {
  const options = { scale: (scaled ? 1 / Math.sqrt(d) : 1) / temperature, causalAlign: mask.align ?? 'top-left' };
  if (mask.kind === 'causal') options.isCausal = true;
  else if (mask.kind === 'window') options.window = { left: mask.left, right: mask.right };
  else if (mask.kind === 'length') options.kvLengths = [Math.min(mask.length, m)];
  else if (mask.kind === 'drawn') {
    const data = new Uint8Array(n * m).fill(1);
    for (const [i, j] of mask.blocked) if (i < n && j < m) data[i * m + j] = 0;
    options.attnMask = { data, shape: [n, m] };
  }
  return options;
}

/** { tensor name: { row * columns + column: value } } written over the numbers of the model. */
function applyEdits(tensor, edits) {
  if (!edits) return tensor;
  for (const [at, value] of Object.entries(edits)) {
    if (Number(at) < tensor.data.length) tensor.data[at] = value;
  }
  return tensor;
}

/** The W of the multiplicative score: one for each head, the identity with a little noise. */
function generalMatrices({ heads, headDim: d, seed }) {
  const normal = normals(seed + 104729);
  const data = new Float32Array(heads * d * d);
  for (let at = 0; at < data.length; at += 1) {
    const diagonal = Math.floor(at / d) % d === at % d;
    data[at] = (diagonal ? 1 : 0) + (0.5 * normal()) / Math.sqrt(d);
  }
  return { data, shape: [heads * d, d] };
}

/** Attention over a sentence by the hand-built model. */
export function attendText(attn, job) {
  const kinds = job.kind === 'random' ? new Array(job.heads).fill('random') : headKinds.slice(0, job.heads);
  const model = buildModel(job.tokens, { kinds, headDim: job.headDim, gain: job.gain, seed: job.seed });
  const edits = job.edits ?? {};
  for (const name of ['x', 'wq', 'wk', 'wv']) applyEdits(model[name], edits[name]);
  const q = applyEdits(splitHeads(project(attn, model.x, model.wq), job.heads), edits.q);
  const k = applyEdits(splitHeads(project(attn, model.x, model.wk), job.heads), edits.k);
  const v = applyEdits(splitHeads(project(attn, model.x, model.wv), job.heads), edits.v);
  const general = applyEdits(generalMatrices(job), edits.general);
  const result = attendTensors(attn, { q, k, v, general }, job);
  const words = model.words.length;
  // A word's code times an output: how much of that word the output carries. Codes have length 1.
  const decoded = project(attn, { data: result.output.data, shape: [job.heads * q.shape[2], job.headDim] }, model.codes);
  return {
    ...result, kinds, tokens: job.tokens, keyTokens: job.tokens,
    x: model.x, wq: model.wq, wk: model.wk, wv: model.wv, general,
    keys: k,
    words: model.words, ids: model.ids,
    decoded: { data: decoded.data, shape: [job.heads, q.shape[2], words] },
    stats: statistics(result, model.ids),
  };
}

/**
 * Attention over tensors [1, heads, n, d]. Gives every stage: scores before scaling, what softmax sees, weights,
 * output. job.score: 'dot'; 'multiplicative', q . W k, where `general` [heads * d, d] holds each head's W; 'additive'.
 */
export function attendTensors(attn, { q, k, v, general }, job) {
  const [, heads, n, d] = q.shape;
  const m = k.shape[2];
  const additive = job.score === 'additive';
  const scored = job.score === 'multiplicative' ? throughGeneral(attn, k, general) : k;
  let options = sdpaOptions(job, n, m, d);
  let started = performance.now();
  let dots;
  let found;
  if (additive) {
    dots = additiveScores(attn, q, k, job);
    const cooled = project(attn, { data: dots.data, shape: [dots.data.length, 1] },
      { data: Float32Array.of(1 / job.temperature), shape: [1, 1] }).data;
    // The scores are added as a mask to products of 0; a drawn mask is part of it.
    if (options.attnMask) {
      for (let at = 0; at < cooled.length; at += 1) if (!options.attnMask.data[at % (n * m)]) cooled[at] = -Infinity;
    }
    options = { ...options, scale: 0, attnMask: { data: cooled, shape: [1, heads, n, m] } };
    found = attn.sdpa(q, k, v, { ...options, returnWeights: true, returnScores: 'masked' });
  } else {
    dots = attn.sdpa(q, scored, v, { scale: 1, returnScores: 'raw' }).scores;
    started = performance.now();
    found = attn.sdpa(q, scored, v, { ...options, returnWeights: true, returnScores: 'masked' });
  }
  const milliseconds = performance.now() - started;
  const { output, weights, scores } = found;
  return {
    q, k: scored, v, heads, n, m, d, dv: v.shape[3], scale: additive ? 1 / job.temperature : options.scale, milliseconds,
    variant: attn.variant, threads: attn.threads, additive,
    dots, scores, weights, output,
  };
}

/** Keys seen through each head's W: q . (W k) is then an ordinary dot product. */
function throughGeneral(attn, k, general) {
  const [, heads, m, d] = k.shape;
  const data = new Float32Array(k.data.length);
  for (let h = 0; h < heads; h += 1) {
    const size = m * d;
    const seen = project(attn, { data: k.data.subarray(h * size, (h + 1) * size), shape: [m, d] },
      { data: general.data.subarray(h * d * d, (h + 1) * d * d), shape: [d, d] });
    data.set(seen.data, h * size);
  }
  return { data, shape: k.shape };
}

/**
 * Additive scores (Bahdanau, Cho and Bengio 2014): u . tanh(W1 q + W2 k + b) with 2d hidden units: for each f,
 * tanh(q_f + k_f - 1) and tanh(-q_f - k_f - 1). Together they are largest where q_f and k_f have the same sign, so
 * that equal vectors still match; u makes a match score about `gain` more than no match.
 * Each unit is one head of three numbers, [q_f 1 -1] . [1 k_f 1], capped at 1: the cap is the tanh.
 */
function additiveScores(attn, q, k, { gain }) {
  const [, heads, n, d] = q.shape;
  const m = k.shape[2];
  const units = 2 * d;
  // tanh(1) - tanh(3) + 2 tanh(1): what a feature of size 1 gains by agreeing.
  const u = (2 * gain) / (d * (3 * Math.tanh(1) - Math.tanh(3)));
  const all = new Float32Array(heads * n * m);
  for (let h = 0; h < heads; h += 1) {
    const queries = new Float32Array(units * n * 3);
    const keys = new Float32Array(units * m * 3);
    for (let f = 0; f < units; f += 1) {
      const sign = f < d ? 1 : -1;
      for (let i = 0; i < n; i += 1) queries.set([sign * q.data[(h * n + i) * d + (f % d)], 1, -1], (f * n + i) * 3);
      for (let j = 0; j < m; j += 1) keys.set([1, sign * k.data[(h * m + j) * d + (f % d)], 1], (f * m + j) * 3);
    }
    const { data } = attn.sdpa({ data: queries, shape: [1, units, n, 3] }, { data: keys, shape: [1, units, m, 3] },
      { data: new Float32Array(units * m), shape: [1, units, m, 1] }, { scale: 1, softcap: 1, returnScores: 'softcapped' }).scores;
    const hidden = new Float32Array(n * m * units);
    for (let f = 0; f < units; f += 1) {
      for (let at = 0; at < n * m; at += 1) hidden[at * units + f] = data[f * n * m + at];
    }
    all.set(project(attn, { data: hidden, shape: [n * m, units] }, { data: new Float32Array(units).fill(u), shape: [1, units] }).data, h * n * m);
  }
  return { data: all, shape: [1, heads, n, m] };
}

/** Ready-made weights [1, heads, n, m]: nothing to compute but their statistics; cells of weight 0 may be masked or not. */
export function attendWeights(attn, { weights, tokens, keyTokens }) {
  const [, heads, n, m] = weights.shape;
  const result = {
    heads, n, m, d: null, dv: null, scale: null, milliseconds: 0, ready: true, variant: attn.variant, threads: attn.threads,
    weights, scores: { data: new Float32Array(weights.data.length) }, dots: null, output: null,
    tokens, keyTokens, kinds: new Array(heads).fill('data'),
  };
  result.stats = statistics(result, null);
  return result;
}

/**
 * Per head: mean entropy of the rows in bits, mean of the rows' largest weights, and which position or word gets
 * the most on average over the rows where it is visible: { entropy, largest, pattern, share }.
 */
export function statistics({ weights, scores, heads, n, m }, ids) {
  const found = [];
  for (let h = 0; h < heads; h += 1) {
    let entropy = 0;
    let largest = 0;
    const sums = { previous: 0, itself: 0, next: 0, first: 0, same: 0, followed: 0 };
    const rows = { previous: 0, itself: 0, next: 0, first: 0, same: 0, followed: 0 };
    for (let i = 0; i < n; i += 1) {
      const from = (h * n + i) * m;
      const row = weights.data.subarray(from, from + m);
      const visible = (j) => j >= 0 && j < m && scores.data[from + j] !== -Infinity;
      let top = 0;
      const add = { same: 0, followed: 0 };
      const could = { same: false, followed: false };
      for (let j = 0; j < m; j += 1) {
        const a = row[j];
        if (a > 0) entropy -= a * Math.log2(a);
        if (a > top) top = a;
        if (!ids || !visible(j)) continue;
        if (ids[j] === ids[i] && j !== i) { add.same += a; could.same = true; }
        if (j > 0 && ids[j - 1] === ids[i]) { add.followed += a; could.followed = true; }
      }
      largest += top;
      for (const [name, j] of [['previous', i - 1], ['itself', i], ['next', i + 1], ['first', 0]]) {
        if (!visible(j) || (name === 'first' && i === 0)) continue;
        sums[name] += row[j];
        rows[name] += 1;
      }
      for (const name of ['same', 'followed']) {
        if (!could[name]) continue;
        // "The same word" means its other places and this one together.
        sums[name] += add[name] + (name === 'same' && visible(i) ? row[i] : 0);
        rows[name] += 1;
      }
    }
    let pattern = null;
    let share = 0;
    for (const name of Object.keys(sums)) {
      const mean = rows[name] ? sums[name] / rows[name] : 0;
      if (mean > share) { pattern = name; share = mean; }
    }
    found.push({ entropy: entropy / n, largest: largest / n, pattern, share });
  }
  return found;
}

/** Sum of the numbers of a vector, by the engine: a product with ones. */
function sumOf(attn, values) {
  const shape = [1, values.length];
  return project(attn, { data: Float32Array.from(values), shape }, { data: new Float32Array(values.length).fill(1), shape }).data[0];
}

/** One row of one head, from what is held or, where that was too much to hold, computed again. */
function rowOf(attn, held, head, row) {
  const { n, m, d, q, k, v } = held;
  if (!held.large) {
    const cut = (tensor) => tensor.data.slice((head * n + row) * m, (head * n + row + 1) * m);
    const from = (head * n + row) * held.dv;
    return { dots: cut(held.dots), scores: cut(held.scores), weights: cut(held.weights), output: held.output.data.slice(from, from + held.dv) };
  }
  const tensors = headTensors(held, head, row, row + 1);
  const dots = attn.sdpa(tensors.q, tensors.k, tensors.v, { scale: 1, returnScores: 'raw' }).scores.data;
  const found = attn.sdpa(tensors.q, tensors.k, tensors.v, {
    ...rowOptions(held.job, row, row + 1, n, m, d), returnWeights: true, returnScores: 'masked',
  });
  return { dots, scores: found.scores.data, weights: found.weights.data, output: found.output.data };
}

/** Rows [from, to) of one head's query, and its keys and values, as tensors of rank 2. */
export function headTensors({ q, k, v }, head, from, to) {
  const [, heads, n, d] = q.shape;
  const [, kvHeads, m, dv] = v.shape;
  const kvHead = Math.floor((head * kvHeads) / heads);
  return {
    q: { data: q.data.subarray((head * n + from) * d, (head * n + to) * d), shape: [to - from, d] },
    k: { data: k.data.subarray(kvHead * m * d, (kvHead + 1) * m * d), shape: [m, d] },
    v: { data: v.data.subarray(kvHead * m * dv, (kvHead + 1) * m * dv), shape: [m, dv] },
  };
}

/** sdpa's options for rows [from, to) alone: the mask of those rows, written out where there is one. */
export function rowOptions(job, from, to, n, m, d) {
  const { scale } = sdpaOptions({ ...job, mask: { kind: 'none' } }, n, m, d);
  const { mask } = job;
  if (mask.kind === 'none') return { scale };
  if (mask.kind === 'length') return { scale, kvLengths: [Math.min(mask.length, m)] };
  const data = new Uint8Array((to - from) * m);
  for (let i = from; i < to; i += 1) {
    const left = mask.kind === 'window' ? Math.max(0, i - mask.left) : 0;
    const right = Math.min(m - 1, mask.kind === 'window' ? i + mask.right : i);
    if (left <= right) data.fill(1, (i - from) * m + left, (i - from) * m + right + 1);
  }
  return { scale, attnMask: { data, shape: [to - from, m] } };
}

/** A reader follows at most this many lines of a row. */
const MAX_TERMS = 64;

/**
 * Everything behind one weight. Each product q_f k_f and each a_j v_f is a raw score of vectors of length one, so
 * that the engine has multiplied it. e^(s - max) is a weight over the row's largest, and their sum is 1 over that.
 */
export function rowTerms(attn, held, { head, row, col }) {
  const { q, k, v, n, m, d, dv } = held;
  const { dots, scores, weights, output } = rowOf(attn, held, head, row);
  const kvHead = Math.floor((head * k.shape[1]) / q.shape[1]);
  const query = q.data.slice((head * n + row) * d, (head * n + row + 1) * d);
  const key = k.data.slice((kvHead * m + col) * d, (kvHead * m + col + 1) * d);
  const value = v.data.slice((kvHead * m + col) * dv, (kvHead * m + col + 1) * dv);
  const largest = weights.reduce((top, a) => Math.max(top, a), 0);
  const order = [...weights.keys()];
  const keys = m <= MAX_TERMS ? order : topKeys(order, weights, col);
  return {
    head, row, col, query, key, value, keys, output, largest,
    products: held.additive ? null : elementwise(attn, query, key),
    part: elementwise(attn, new Float32Array(dv).fill(weights[col]), value),
    dots: pick(dots, keys), scores: pick(scores, keys), weights: pick(weights, keys),
    powers: pick(weights, keys).map((a) => (largest > 0 ? a / largest : 0)),
    powerSum: largest > 0 ? 1 / largest : 0,
    rowSum: sumOf(attn, weights),
    maxScore: scores.reduce((top, s) => Math.max(top, s), -Infinity),
    at: { dot: dots[col], score: scores[col], weight: weights[col], power: largest > 0 ? weights[col] / largest : 0 },
  };
}

function pick(values, keys) {
  return Array.from(keys, (j) => values[j]);
}

function topKeys(order, weights, col) {
  const top = new Set(order.sort((a, b) => weights[b] - weights[a]).slice(0, MAX_TERMS - 1));
  return [...top.add(col)].sort((a, b) => a - b);
}

/** Who looks at one key: its column and the sum of it. */
export function columnTerms(attn, held, { head, col }) {
  const { n, m } = held;
  const weights = Float32Array.from({ length: n }, (_, i) => held.weights.data[(head * n + i) * m + col]);
  const order = [...weights.keys()];
  const queries = n <= MAX_TERMS ? order : order.sort((a, b) => weights[b] - weights[a]).slice(0, MAX_TERMS).sort((a, b) => a - b);
  return { head, col, queries, weights: pick(weights, queries), sum: sumOf(attn, weights) };
}

/**
 * How the weights a of one row answer to its scores s: da_j / ds_i = a_i (1 if i = j) - a_i a_j.
 * The product is a raw score at scale -1, the diagonal an additive mask: [m, m], rows are scores.
 */
export function softmaxGradient(attn, held, { head, row }) {
  const { weights } = rowOf(attn, held, head, row);
  const m = weights.length;
  const column = { data: Float32Array.from(weights), shape: [m, 1] };
  const diagonal = new Float32Array(m * m);
  weights.forEach((a, j) => { diagonal[j * m + j] = a; });
  const { scores } = attn.sdpa(column, column, { data: new Float32Array(m), shape: [m, 1] }, {
    scale: -1, attnMask: { data: diagonal, shape: [m, m] }, returnScores: 'masked',
  });
  return { head, row, data: scores.data, m };
}

/** a - b, by the engine: [a b] . [1 -1]. */
export function subtract(attn, a, b) {
  const pairs = new Float32Array(2 * a.length);
  for (let i = 0; i < a.length; i += 1) {
    pairs[2 * i] = a[i];
    pairs[2 * i + 1] = b[i];
  }
  return project(attn, { data: pairs, shape: [a.length, 2] }, { data: Float32Array.of(1, -1), shape: [1, 2] }).data;
}

/** a_f b_f for every f: f one-dimensional queries and keys in one call. */
function elementwise(attn, a, b) {
  const tensor = (values) => ({ data: Float32Array.from(values), shape: [1, values.length, 1, 1] });
  const zeros = { data: new Float32Array(a.length), shape: [1, a.length, 1, 1] };
  return attn.sdpa(tensor(a), tensor(b), zeros, { scale: 1, returnScores: 'raw' }).scores.data;
}
