// Long sequences: heads one after the other, in blocks of rows, so that no more than one n x m matrix is ever held
// and the page can follow and cancel. Runs in the worker and in Node's tests.

import { project } from './arithmetic.js';
import { edited, headTensors, rowOptions, softmaxGradient, splitHeads } from './attend.js';
import { THUMB } from './limits.js';
import { buildModel, headKinds } from './model.js';
import { Tally } from './statistics.js';

/** Rows per call of the engine: 256 x 4096 weights are 4 MB. */
const BLOCK = 256;

export class Cancelled extends Error {}

/** A sentence's model where `chosen` is null, else the tensors of a file or the weights that it holds ready-made. */
export async function attendLarge(attn, job, chosen, breathe) {
  const { base, extra } = chosen?.weights ? readyBase(job, chosen) : computedBase(attn, job, chosen);
  const { heads, n, m, d, dv, ids } = base;
  const { mask } = base.job;
  const stage = Math.min(job.head, heads - 1);
  const output = base.ready ? null : new Float32Array(heads * n * dv);
  const thumbs = [];
  const stats = [];
  let weights = null;
  let milliseconds = 0;
  for (let head = 0; head < heads; head += 1) {
    const tally = new Tally(attn, { n, m, ids });
    const thumb = { data: new Float32Array(THUMB * THUMB).fill(-1), rows: Math.min(THUMB, n), cols: Math.min(THUMB, m) };
    const matrix = head === stage ? new Matrix(n, m) : null;
    await headBlocks(attn, base, head, 'weights', (done) => breathe(head + done, heads), (block, found, from, to, took) => {
      milliseconds += took;
      output?.set(found.output.data, (head * n + from) * dv);
      const ranges = Array.from({ length: to - from }, (_, i) => visibleRange(mask, from + i, m));
      tally.add(block, from, to, {
        visible: (i, j) => j >= ranges[i - from][0] && j < ranges[i - from][1],
        seen: ranges.filter(([first, last]) => last > first).length,
        columns: [Math.min(...ranges.map(([first]) => first)), Math.max(...ranges.map(([, last]) => last))],
      });
      poolThumb(thumb, block, from, ranges, n, m);
      matrix?.add(block, from, ranges);
    });
    if (matrix) weights = { ...matrix.finish(), head };
    thumbs.push(thumb);
    stats.push(tally.finish());
  }
  return {
    ...base, ...extra, scale: base.ready ? null : rowOptions(job, 0, 1, m, d).scale, milliseconds,
    variant: attn.variant, threads: attn.threads, score: 'dot',
    weights, output: output && { data: output }, thumbs, stats,
  };
}

function computedBase(attn, job, chosen) {
  let tensors = chosen;
  let extra = { tokens: chosen?.tokens, keyTokens: chosen?.keyTokens, kinds: chosen && new Array(chosen.heads).fill('data') };
  let ids = null;
  if (!chosen) {
    const kinds = headKinds.slice(0, job.heads);
    const model = buildModel(job.tokens, { kinds, headDim: job.headDim, gain: job.gain, seed: job.seed });
    const [q, k, v] = [model.wq, model.wk, model.wv].map((weight) => splitHeads(project(attn, model.x, weight), job.heads));
    tensors = { q, k, v };
    extra = { tokens: job.tokens, keyTokens: job.tokens, kinds };
    ids = model.ids;
  }
  const { q, k, v } = edited(tensors, job.edits);
  const [, heads, n, d] = q.shape;
  return { base: { q, k, v, heads, n, m: k.shape[2], d, dv: v.shape[3], job, large: true, ids }, extra };
}

/** `all`: the weights of every head; they stay in the worker. */
function readyBase(job, { weights, sums, tokens, keyTokens, heads, n, m }) {
  return {
    base: { all: weights, heads, n, m, d: null, dv: null, job: { ...job, mask: { kind: 'none' } }, large: true, ready: true, ids: null },
    extra: { sums, tokens, keyTokens, kinds: new Array(heads).fill('data') },
  };
}

/**
 * One head's whole matrix for the stage: its 'weights', its 'scores' (scaled, masked), its 'dots', or the 'gradient' of
 * the row `row`: see softmaxGradient.
 */
export async function largeHead(attn, held, { head, stage, row }, breathe) {
  const { n, m, job } = held;
  if (stage === 'gradient') return { ...(await largeGradient(attn, held, head, row, breathe)), head, stage, row };
  const matrix = new Matrix(n, m);
  // Dot products exist for every pair: the mask comes after them.
  const mask = stage === 'dots' ? { kind: 'none' } : job.mask;
  await headBlocks(attn, held, head, stage, (done) => breathe(done, 1), (block, found, from, to) => {
    matrix.add(block, from, Array.from({ length: to - from }, (_, i) => visibleRange(mask, from + i, m)));
  });
  return { ...matrix.finish(), head, stage };
}

async function largeGradient(attn, held, head, row, breathe) {
  const { m, d, job } = held;
  const { q, k, v } = headTensors(held, head, row, row + 1);
  const weights = attn.sdpa(q, k, v, { ...rowOptions(job, row, row + 1, m, d), returnWeights: true }).weights.data;
  const matrix = new Matrix(m, m);
  for (let from = 0; from < m; from += BLOCK) {
    const to = Math.min(m, from + BLOCK);
    matrix.add(softmaxGradient(attn, weights, from, to), from, new Array(to - from).fill([0, m]));
    await breathe(to / m, 1);
  }
  return matrix.finish();
}

const wanted = {
  weights: (options) => ({ ...options, returnWeights: true }),
  scores: (options) => ({ ...options, returnScores: 'masked' }),
  dots: () => ({ scale: 1, returnScores: 'raw' }),
};

/** take(block [to - from, m], the engine's answer, from, to, milliseconds) for one block of rows after the other. */
async function headBlocks(attn, held, head, stage, breathe, take) {
  const { n, m, d, job, all } = held;
  for (let from = 0; from < n; from += BLOCK) {
    const to = Math.min(n, from + BLOCK);
    if (all) {
      take(all.data.subarray((head * n + from) * m, (head * n + to) * m), null, from, to, 0);
      await breathe(to / n);
      continue;
    }
    const { q, k, v } = headTensors(held, head, from, to);
    const options = wanted[stage](rowOptions(job, from, to, m, d));
    const started = performance.now();
    const found = attn.sdpa(q, k, v, options);
    const took = performance.now() - started;
    take((stage === 'weights' ? found.weights : found.scores).data, found, from, to, took);
    await breathe(to / n);
  }
}

/** The visible keys of a row, [from, to). */
function visibleRange(mask, i, m) {
  if (mask.kind === 'causal') return [0, Math.min(m, i + 1)];
  if (mask.kind === 'window') return [Math.min(m, Math.max(0, i - mask.left)), Math.min(m, i + mask.right + 1)];
  if (mask.kind === 'length') return [0, Math.min(m, mask.length)];
  return [0, m];
}

/**
 * A whole matrix with what the page would otherwise have to walk over all of it for: the largest size in each row, and
 * the numbers of largest size in each 2 x 2 and 4 x 4 cells, NaN where all are hidden.
 */
class Matrix {
  #n;
  #m;
  #data;
  #half;
  #rowHighs;

  constructor(n, m) {
    this.#n = n;
    this.#m = m;
    this.#data = new Float32Array(n * m);
    this.#half = { data: new Float32Array(Math.ceil(n / 2) * Math.ceil(m / 2)).fill(NaN), rows: Math.ceil(n / 2), cols: Math.ceil(m / 2) };
    this.#rowHighs = new Float32Array(n);
  }

  add(block, from, ranges) {
    const m = this.#m;
    this.#data.set(block, from * m);
    const { data, cols } = this.#half;
    ranges.forEach(([first, last], at) => {
      const row = block.subarray(at * m, (at + 1) * m);
      const base = ((from + at) >> 1) * cols;
      let high = 0;
      for (let j = first; j < last; j += 1) {
        const size = Math.abs(row[j]);
        if (size > high) high = size;
        if (!(size <= Math.abs(data[base + (j >> 1)]))) data[base + (j >> 1)] = row[j];
      }
      this.#rowHighs[from + at] = high;
    });
  }

  finish() {
    return { data: this.#data, rowHighs: this.#rowHighs, pooled: [this.#half, halved(this.#half)] };
  }
}

function halved({ data, rows, cols }) {
  const half = { data: new Float32Array(Math.ceil(rows / 2) * Math.ceil(cols / 2)).fill(NaN), rows: Math.ceil(rows / 2), cols: Math.ceil(cols / 2) };
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < cols; j += 1) {
      const at = (i >> 1) * half.cols + (j >> 1);
      const value = data[i * cols + j];
      if (!Number.isNaN(value) && !(Math.abs(value) <= Math.abs(half.data[at]))) half.data[at] = value;
    }
  }
  return half;
}

/** What has to be transferred of a matrix. */
export function buffersOf({ data, rowHighs, pooled }) {
  return [data.buffer, rowHighs.buffer, ...pooled.map((level) => level.data.buffer)];
}

/** The largest weights in a picture of at most THUMB x THUMB; -1 where all is hidden. */
function poolThumb(thumb, block, from, ranges, n, m) {
  ranges.forEach(([first, last], at) => {
    const base = Math.floor(((from + at) * thumb.rows) / n) * thumb.cols;
    for (let j = first; j < last; j += 1) {
      const cell = base + Math.floor((j * thumb.cols) / m);
      const weight = block[at * m + j];
      if (weight > thumb.data[cell]) thumb.data[cell] = weight;
    }
  });
}
