// Long sequences: heads one after the other, in blocks of rows, so that no more than one n x m matrix is ever held
// and the page can follow and cancel. Runs in the worker and in Node's tests.

import { headTensors, project, rowOptions, splitHeads } from './attend.js';
import { THUMB } from './limits.js';
import { buildModel, headKinds } from './model.js';

/** Rows per call of the engine: 256 x 4096 weights are 4 MB. */
const BLOCK = 256;

export class Cancelled extends Error {}

/** A sentence's model where `chosen` is null, else the tensors of a file. */
export async function attendLarge(attn, job, chosen, breathe) {
  let tensors = chosen;
  let extra = { tokens: chosen?.tokens, keyTokens: chosen?.keyTokens, kinds: null, ids: null };
  if (!chosen) {
    const kinds = headKinds.slice(0, job.heads);
    const model = buildModel(job.tokens, { kinds, headDim: job.headDim, gain: job.gain, seed: job.seed });
    const [q, k, v] = [model.wq, model.wk, model.wv].map((weight) => splitHeads(project(attn, model.x, weight), job.heads));
    tensors = { q, k, v };
    extra = { tokens: job.tokens, keyTokens: job.tokens, kinds, ids: model.ids };
  }
  const { q, k, v } = tensors;
  const [, heads, n, d] = q.shape;
  const m = k.shape[2];
  const dv = v.shape[3];
  const base = { q, k, v, heads, n, m, d, dv, job, large: true, ids: extra.ids };
  const stage = Math.min(job.head, heads - 1);
  const output = new Float32Array(heads * n * dv);
  const thumbs = [];
  const stats = [];
  let weights = null;
  let milliseconds = 0;
  for (let head = 0; head < heads; head += 1) {
    const found = await headBlocks(attn, base, head, async (done) => breathe(head + done, heads), {
      keep: head === stage, output: output.subarray(head * n * dv, (head + 1) * n * dv),
    });
    if (head === stage) weights = { data: found.weights, pooled: found.pooled, head };
    milliseconds += found.milliseconds;
    thumbs.push(found.thumb);
    stats.push(found.stat);
  }
  const { scale } = rowOptions(job, 0, 1, n, m, d);
  return {
    ...base, ...extra, kinds: extra.kinds ?? new Array(heads).fill('data'), scale, milliseconds,
    variant: attn.variant, threads: attn.threads,
    weights, output: { data: output }, thumbs, stats,
  };
}

/** One head's whole matrix, for the stage. */
export async function largeHead(attn, held, head, breathe) {
  const { weights, pooled } = await headBlocks(attn, held, head, (done) => breathe(done, 1), { keep: true });
  return { data: weights, pooled, head };
}

async function headBlocks(attn, held, head, breathe, { keep, output }) {
  const { n, m, d, dv, job, ids } = held;
  const weights = keep ? new Float32Array(n * m) : null;
  // Halved once here, so that the page never walks over all cells: the largest of 2 x 2, NaN where all are hidden.
  const half = Math.ceil(m / 2);
  const pooled = keep ? new Float32Array(Math.ceil(n / 2) * half).fill(NaN) : null;
  const thumb = { data: new Float32Array(THUMB * THUMB).fill(-1), rows: Math.min(THUMB, n), cols: Math.min(THUMB, m) };
  const tally = { entropy: 0, largest: 0, previous: 0, itself: 0, next: 0, first: 0, same: 0, followed: 0, rows: {} };
  let milliseconds = 0;
  for (let from = 0; from < n; from += BLOCK) {
    const to = Math.min(n, from + BLOCK);
    const tensors = headTensors(held, head, from, to);
    const options = rowOptions(job, from, to, n, m, d);
    const started = performance.now();
    const found = attn.sdpa(tensors.q, tensors.k, tensors.v, { ...options, returnWeights: true });
    milliseconds += performance.now() - started;
    const block = found.weights.data;
    weights?.set(block, from * m);
    output?.set(found.output.data, from * dv);
    for (let i = from; i < to; i += 1) {
      const row = block.subarray((i - from) * m, (i - from + 1) * m);
      const range = maskedRange(job.mask, i, m);
      tallyRow(tally, row, i, ids, thumb, n, m, range);
      if (pooled) poolRow(pooled.subarray((i >> 1) * half), row, range);
    }
    await breathe(to / n);
  }
  return { weights, pooled, milliseconds, thumb, stat: statOf(tally, n) };
}

function poolRow(pooled, row, [from, to]) {
  for (let j = from; j < to; j += 1) if (!(row[j] <= pooled[j >> 1])) pooled[j >> 1] = row[j];
}

/** Smaller weights add less than 1e-4 bits to the entropy of a row, and are most of a long one. */
const NEGLIGIBLE = 1e-9;

/** The visible keys of a row, [from, to). */
function maskedRange(mask, i, m) {
  if (mask.kind === 'causal') return [0, Math.min(m, i + 1)];
  if (mask.kind === 'window') return [Math.max(0, i - mask.left), Math.min(m, i + mask.right + 1)];
  if (mask.kind === 'length') return [0, Math.min(m, mask.length)];
  return [0, m];
}

function tallyRow(tally, row, i, ids, thumb, n, m, [from, to]) {
  let top = 0;
  const add = { same: 0, followed: 0 };
  const could = { same: false, followed: false };
  const thumbRow = Math.floor((i * thumb.rows) / n) * thumb.cols;
  for (let j = from; j < to; j += 1) {
    const a = row[j];
    const at = thumbRow + Math.floor((j * thumb.cols) / m);
    if (a > thumb.data[at]) thumb.data[at] = a;
    if (a > NEGLIGIBLE) tally.entropy -= a * Math.log2(a);
    if (a > top) top = a;
    if (!ids) continue;
    if (ids[j] === ids[i] && j !== i) { add.same += a; could.same = true; }
    if (j > 0 && ids[j - 1] === ids[i]) { add.followed += a; could.followed = true; }
  }
  tally.largest += top;
  const put = (name, share) => {
    tally[name] += share;
    tally.rows[name] = (tally.rows[name] ?? 0) + 1;
  };
  for (const [name, j] of [['previous', i - 1], ['itself', i], ['next', i + 1], ['first', i === 0 ? -1 : 0]]) {
    if (j >= from && j < to) put(name, row[j]);
  }
  if (could.same) put('same', add.same + (i >= from && i < to ? row[i] : 0));
  if (could.followed) put('followed', add.followed);
}

function statOf(tally, n) {
  let pattern = null;
  let share = 0;
  for (const [name, rows] of Object.entries(tally.rows)) {
    const mean = tally[name] / rows;
    if (mean > share) { pattern = name; share = mean; }
  }
  return { entropy: tally.entropy / n, largest: tally.largest / n, pattern, share };
}
