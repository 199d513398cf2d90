// One request to the engine: from tokens and settings to everything that the page draws. Runs in the worker and
// in Node's tests. All arithmetic on vectors and matrices is the engine's; this file moves numbers about.

import { buildModel, headKinds } from './model.js';

/** Above this many weights in all, heads are computed one at a time, when they are asked for. */
export const ALL_HEADS_LIMIT = 1 << 22;

/** y [n, out] = x [n, in] . weight [out, in]^T. */
export function project(attn, x, weight) {
  if (typeof attn.linear === 'function') return attn.linear(x, weight);
  // A raw score at scale 1 is a row of x times a row of weight: the same product.
  const zeros = { data: new Float32Array(weight.shape[0]), shape: [weight.shape[0], 1] };
  return attn.sdpa(x, weight, zeros, { scale: 1, returnScores: 'raw' }).scores;
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
export function sdpaOptions({ mask, scaled, temperature }, n, m, d) {
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

/** Attention over a sentence by the hand-built model. */
export function attendText(attn, job) {
  const kinds = headKinds.slice(0, job.heads);
  const model = buildModel(job.tokens, { kinds, headDim: job.headDim, gain: job.gain, seed: job.seed });
  const edits = job.edits ?? {};
  for (const name of ['x', 'wq', 'wk', 'wv']) applyEdits(model[name], edits[name]);
  const q = applyEdits(splitHeads(project(attn, model.x, model.wq), job.heads), edits.q);
  const k = applyEdits(splitHeads(project(attn, model.x, model.wk), job.heads), edits.k);
  const v = applyEdits(splitHeads(project(attn, model.x, model.wv), job.heads), edits.v);
  const result = attendTensors(attn, { q, k, v }, job);
  const words = model.words.length;
  // A word's code times an output: how much of that word the output carries. Codes have length 1.
  const decoded = project(attn, { data: result.output.data, shape: [job.heads * q.shape[2], job.headDim] }, model.codes);
  return {
    ...result, kinds, tokens: job.tokens, keyTokens: job.tokens,
    x: model.x, wq: model.wq, wk: model.wk, wv: model.wv,
    words: model.words, ids: model.ids,
    decoded: { data: decoded.data, shape: [job.heads, q.shape[2], words] },
    stats: statistics(result, model.ids),
  };
}

/** Attention over tensors [1, heads, n, d]. Gives every stage: dot products, what softmax sees, weights, output. */
export function attendTensors(attn, { q, k, v }, job) {
  const [, heads, n, d] = q.shape;
  const m = k.shape[2];
  const options = sdpaOptions(job, n, m, d);
  const dots = attn.sdpa(q, k, v, { scale: 1, returnScores: 'raw' }).scores;
  const started = performance.now();
  const { output, weights, scores, logsumexp } = attn.sdpa(q, k, v, {
    ...options, returnWeights: true, returnScores: 'masked', returnLogsumexp: true,
  });
  const milliseconds = performance.now() - started;
  return {
    q, k, v, heads, n, m, d, dv: v.shape[3], scale: options.scale, milliseconds,
    variant: attn.variant, threads: attn.threads,
    dots, scores, weights, output, logsumexp,
  };
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

/**
 * Every term behind one row. Each product q_f k_f and a_j v_f is a raw score of vectors of length one, so that
 * the engine, not the page, has multiplied it.
 * { products [keys, d], parts [keys, dv] } for the listed keys.
 */
export function rowTerms(attn, { q, k, v, weights }, head, row, keys) {
  const [, , n, d] = q.shape;
  const [, kvHeads, m, dv] = v.shape;
  const kvHead = Math.floor((head * kvHeads) / q.shape[1]);
  const count = keys.length;
  const products = new Float32Array(count * d);
  const parts = new Float32Array(count * dv);
  const queryAt = (head * n + row) * d;
  const one = (value) => ({ data: Float32Array.of(value), shape: [1, 1] });
  keys.forEach((j, at) => {
    const keyAt = (kvHead * m + j) * d;
    const valueAt = (kvHead * m + j) * dv;
    products.set(elementwise(attn, q.data.subarray(queryAt, queryAt + d), k.data.subarray(keyAt, keyAt + d)), at * d);
    const value = { data: v.data.slice(valueAt, valueAt + dv), shape: [dv, 1] };
    const zeros = { data: new Float32Array(dv), shape: [dv, 1] };
    const weight = weights.data[(head * n + row) * m + j];
    parts.set(attn.sdpa(one(weight), value, zeros, { scale: 1, returnScores: 'raw' }).scores.data, at * dv);
  });
  return { products, parts };
}

/** a_f b_f for every f: f one-dimensional queries and keys in one call. */
function elementwise(attn, a, b) {
  const tensor = (values) => ({ data: Float32Array.from(values), shape: [1, values.length, 1, 1] });
  const zeros = { data: new Float32Array(a.length), shape: [1, a.length, 1, 1] };
  return attn.sdpa(tensor(a), tensor(b), zeros, { scale: 1, returnScores: 'raw' }).scores.data;
}
