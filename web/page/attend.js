// One request to the engine: from tokens and settings to everything that the page draws. Runs in the worker and
// in Node's tests. All arithmetic on vectors and matrices is the engine's; this file moves numbers about.

import { elementwise, project, sumOf } from './arithmetic.js';
import { buildModel, headKinds, normals } from './model.js';
import { Tally } from './statistics.js';

/** Above this many weights in all, heads are computed one at a time, when they are asked for. */
export const ALL_HEADS_LIMIT = 1 << 22;

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

function scaleOf({ scaled, temperature }, d) {
  return (scaled ? 1 / Math.sqrt(d) : 1) / temperature;
}

/** sdpa's options for the mask of a setting. */
function maskOptions({ mask }, n, m) {
  if (mask.kind === 'causal') return { isCausal: true };
  if (mask.kind === 'window') return { window: { left: mask.left, right: mask.right } };
  if (mask.kind === 'length') return { kvLengths: [Math.min(mask.length, m)] };
  if (mask.kind === 'drawn') return { attnMask: drawn(mask, 0, n, m) };
  return {};
}

/** Rows [from, to) of a mask drawn by hand: 1 where the key may be seen. */
function drawn({ blocked }, from, to, m) {
  const data = new Uint8Array((to - from) * m).fill(1);
  for (const [i, j] of blocked) if (i >= from && i < to && j < m) data[(i - from) * m + j] = 0;
  return { data, shape: [to - from, m] };
}

/** sdpa's options for rows [from, to) alone: the mask of those rows, written out where it is not the same for all. */
export function rowOptions(job, from, to, m, d) {
  const { mask } = job;
  const scale = scaleOf(job, d);
  if (mask.kind === 'none') return { scale };
  if (mask.kind === 'length') return { scale, kvLengths: [Math.min(mask.length, m)] };
  if (mask.kind === 'drawn') return { scale, attnMask: drawn(mask, from, to, m) };
  const data = new Uint8Array((to - from) * m);
  for (let i = from; i < to; i += 1) {
    const left = mask.kind === 'window' ? Math.max(0, i - mask.left) : 0;
    const right = Math.min(m - 1, mask.kind === 'window' ? i + mask.right : i);
    if (left <= right) data.fill(1, (i - from) * m + left, (i - from) * m + right + 1);
  }
  return { scale, attnMask: { data, shape: [to - from, m] } };
}

/** { tensor name: { row * columns + column: value } } written over the numbers of the model. */
function applyEdits(tensor, edits) {
  if (!edits) return tensor;
  for (const [at, value] of Object.entries(edits)) {
    if (Number(at) < tensor.data.length) tensor.data[at] = value;
  }
  return tensor;
}

/** Queries, keys and values with the visitor's changes; those that are opened stay as they are. */
export function edited({ q, k, v }, edits = {}) {
  const copy = (tensor, changes) => (changes ? applyEdits({ ...tensor, data: tensor.data.slice() }, changes) : tensor);
  return { q: copy(q, edits.q), k: copy(k, edits.k), v: copy(v, edits.v) };
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
  const result = attendTensors(attn, { q, k, v, general }, job, model.ids);
  const words = model.words.length;
  // A word's code times an output: how much of that word the output carries. Codes have length 1.
  const decoded = project(attn, { data: result.output.data, shape: [job.heads * q.shape[2], job.headDim] }, model.codes);
  return {
    ...result, kinds, tokens: job.tokens, keyTokens: job.tokens,
    x: model.x, wq: model.wq, wk: model.wk, wv: model.wv, general,
    keys: k,
    words: model.words, ids: model.ids,
    decoded: { data: decoded.data, shape: [job.heads, q.shape[2], words] },
  };
}

/**
 * Attention over tensors [1, heads, n, d]. Gives every stage: scores before scaling, what softmax sees, weights,
 * output. job.score: 'dot'; 'multiplicative', q . W k, where `general` [heads * d, d] holds each head's W; 'additive'.
 * ids: which tokens are the same word, where that is known.
 */
export function attendTensors(attn, { q, k, v, general }, job, ids = null) {
  const [, heads, n, d] = q.shape;
  const m = k.shape[2];
  const additive = job.score === 'additive';
  const scored = job.score === 'multiplicative' ? throughGeneral(attn, k, general) : k;
  const limits = maskOptions(job, n, m);
  const scale = additive ? 1 / job.temperature : scaleOf(job, d);
  const layer = additive ? additiveLayer(q, job) : null;
  const attend = (options) => (additive ? attn.scoreAttention(layer.query, k, v, { ...layer.options, ...options }) : attn.sdpa(q, scored, v, options));
  const dots = attend({ scale: 1, returnScores: 'raw' }).scores;
  const started = performance.now();
  const { output, weights, scores } = attend({ ...limits, scale, returnWeights: true, returnScores: 'masked' });
  const milliseconds = performance.now() - started;
  const result = {
    q, k: scored, v, heads, n, m, d, dv: v.shape[3], scale, milliseconds,
    variant: attn.variant, threads: attn.threads, score: job.score ?? 'dot', job,
    dots, scores, weights, output,
  };
  return { ...result, stats: statistics(attn, result, ids) };
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
 * The parameters of the additive score u . tanh(W [q; k] + b), with 2d hidden units: for each f, tanh(q_f + k_f - 1) and
 * tanh(-q_f - k_f - 1). Together they are largest where q_f and k_f have the same sign, so that equal vectors still
 * match; u makes a match score about `gain` more than no match. b is a column of W that meets a 1 behind the query.
 */
function additiveLayer(q, { gain }) {
  const [, heads, n, d] = q.shape;
  const query = new Float32Array(heads * n * (d + 1)).fill(1);
  for (let row = 0; row < heads * n; row += 1) query.set(q.data.subarray(row * d, (row + 1) * d), row * (d + 1));
  const width = 2 * d + 1;
  const w = new Float32Array(2 * d * width);
  for (let unit = 0; unit < 2 * d; unit += 1) {
    const sign = unit < d ? 1 : -1;
    w[unit * width + (unit % d)] = sign;
    w[unit * width + d] = -1;
    w[unit * width + d + 1 + (unit % d)] = sign;
  }
  // tanh(1) - tanh(3) + 2 tanh(1): what a feature of size 1 gains by agreeing.
  const u = (2 * gain) / (d * (3 * Math.tanh(1) - Math.tanh(3)));
  return {
    query: { data: query, shape: [1, heads, n, d + 1] },
    options: { score: 'concat', w: { data: w, shape: [2 * d, width] }, v: { data: new Float32Array(2 * d).fill(u), shape: [2 * d] } },
  };
}

/** Ready-made weights [1, heads, n, m]: nothing to compute but their statistics; cells of weight 0 may be masked or not. */
export function attendWeights(attn, { weights, sums, tokens, keyTokens, rollout }) {
  const [, heads, n, m] = weights.shape;
  const result = {
    heads, n, m, d: null, dv: null, scale: null, milliseconds: 0, ready: true, variant: attn.variant, threads: attn.threads,
    weights, sums, scores: null, dots: null, output: null,
    tokens, keyTokens, kinds: new Array(heads).fill(rollout ? 'rollout' : 'data'),
  };
  return { ...result, stats: statistics(attn, result, null) };
}

/** Per head: { entropy, largest, pattern, share }, see Tally. */
function statistics(attn, { weights, scores, heads, n, m }, ids) {
  return Array.from({ length: heads }, (_, head) => {
    const base = head * n * m;
    const tally = new Tally(attn, { n, m, ids });
    tally.add(weights.data.subarray(base, base + n * m), 0, n, { visible: (i, j) => !scores || scores.data[base + i * m + j] !== -Infinity });
    return tally.finish();
  });
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

/** A reader follows at most this many lines of a row. */
const MAX_TERMS = 64;

/** Everything behind one weight and its row, in float64: what the engine's explain() says of it. */
export function rowTerms(attn, held, { head, row, col }) {
  const { n, m, d, dv, job } = held;
  const { q, k, v } = headTensors(held, head, row, row + 1);
  const additive = held.score === 'additive';
  let found;
  let { data: dots } = held.dots ?? {};
  if (additive) {
    // explain() knows dot products alone; the additive scores, masked, come in as a mask upon products of 0.
    const from = (head * n + row) * m;
    dots = dots.subarray(from, from + m);
    const zeros = (count) => ({ data: new Float32Array(count), shape: [count, 1] });
    found = attn.explain(zeros(1), zeros(m), v, { row: 0, scale: 0, attnMask: { data: held.scores.data.slice(from, from + m), shape: [1, m] } });
  } else {
    found = attn.explain(q, k, v, { row: 0, products: true, ...rowOptions(job, row, row + 1, m, d) });
    dots = found.dots;
  }
  const { scores, exponentials, weights, weighted, output, max, shift, sum } = found;
  const key = k.data.slice(col * d, (col + 1) * d);
  const order = [...weights.keys()];
  const keys = m <= MAX_TERMS ? order : topKeys(order, weights, col);
  return {
    head, row, col, keys, max, shift, sum, output,
    query: q.data.slice(), key, value: v.data.slice(col * dv, (col + 1) * dv),
    products: additive ? unitTerms(attn, held.job, q.data, key) : found.products.data.slice(col * d, (col + 1) * d),
    part: weighted.data.slice(col * dv, (col + 1) * dv),
    dots: pick(dots, keys), scores: pick(scores, keys), weights: pick(weights, keys), powers: pick(exponentials, keys),
    rowSum: sumOf(attn, weights),
    at: { dot: dots[col], score: scores[col], weight: weights[col], power: exponentials[col] },
  };
}

/** u_f tanh(...) for each of the 2d hidden units of the additive score of one query and key. */
function unitTerms(attn, job, query, key) {
  const d = query.length;
  const { query: wide, options: { w, v } } = additiveLayer({ data: query, shape: [1, 1, 1, d] }, job);
  const left = project(attn, { data: Float32Array.of(...wide.data, ...key), shape: [1, 2 * d + 1] }, w);
  // tanh(left) alone: one head of one number for each unit, whose key is 0.
  const heads = [1, 2 * d, 1, 1];
  const zeros = { data: new Float32Array(2 * d), shape: heads };
  const { scores } = attn.scoreAttention({ data: left.data, shape: heads }, zeros, zeros, { score: 'additive', returnScores: 'raw' });
  return elementwise(attn, scores.data, v.data);
}

function pick(values, keys) {
  return Array.from(keys, (j) => values[j]);
}

/** The largest first, the chosen one among them. */
function topKeys(order, weights, col) {
  const top = order.sort((a, b) => weights[b] - weights[a]).slice(0, MAX_TERMS);
  if (!top.includes(col)) top[MAX_TERMS - 1] = col;
  return top;
}

/** Who looks at one key: its column and the sum of it. A large head's column is the page's: only it holds that matrix. */
export function columnTerms(attn, held, { head, col, column }) {
  const { n, m } = held;
  const weights = column ?? Float32Array.from({ length: n }, (_, i) => held.weights.data[(head * n + i) * m + col]);
  const order = [...weights.keys()];
  const queries = n <= MAX_TERMS ? order : order.sort((a, b) => weights[b] - weights[a]).slice(0, MAX_TERMS);
  return { head, col, queries, weights: pick(weights, queries), sum: sumOf(attn, weights) };
}

/**
 * How the weights a [m] of one row answer to its scores s: da_j / ds_i = a_i (1 if i = j) - a_i a_j, for the scores i of
 * [from, to): [to - from, m]. The product is a raw score at scale -1, the diagonal an additive mask.
 */
export function softmaxGradient(attn, weights, from = 0, to = weights.length) {
  const m = weights.length;
  const column = (data) => ({ data, shape: [data.length, 1] });
  const diagonal = new Float32Array((to - from) * m);
  for (let i = from; i < to; i += 1) diagonal[(i - from) * m + i] = weights[i];
  return attn.sdpa(column(weights.subarray(from, to)), column(weights), column(new Float32Array(m)), {
    scale: -1, attnMask: { data: diagonal, shape: [to - from, m] }, returnScores: 'masked',
  }).scores.data;
}
