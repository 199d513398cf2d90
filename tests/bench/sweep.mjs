// Looks for shapes that fall off a cliff: every head_dim at some lengths, every length at some head_dims. A point is one whose rate
// of useful operations is less than half of a neighbour's, where that is not just a fixed cost on less work.

import { Attention } from '../../web/lib/index.js';
import { quantile } from './timing.mjs';

const HEAD_DIMS = { all: 256, some: [1, 3, 16, 64, 80, 128, 256] };
const LENGTHS = { all: 300, some: [1, 7, 16, 64, 197, 300] };
const WORK = 2e6; // operations a call: enough heads that what a call costs by itself is small
const MOST_HEADS = 2048;
const REACH = 3; // neighbours on either side
const CLIFF = 2;
const SAMPLE = 0.0015; // seconds
const ROUNDS = { first: 3, again: 15 };

const range = (last) => Array.from({ length: last }, (_, i) => i + 1);

// Lines of points; along each only one size changes.
function lines(causal) {
  const point = (headDim, seqLen) => {
    const pairs = causal ? (seqLen * (seqLen + 1)) / 2 : seqLen ** 2;
    const heads = Math.max(1, Math.min(MOST_HEADS, Math.round(WORK / (4 * pairs * headDim))));
    return { headDim, seqLen, causal, heads, flops: 4 * heads * pairs * headDim };
  };
  return [
    ...LENGTHS.some.map((seqLen) => range(HEAD_DIMS.all).map((headDim) => point(headDim, seqLen))),
    ...HEAD_DIMS.some.map((headDim) => range(LENGTHS.all).map((seqLen) => point(headDim, seqLen))),
  ];
}

function timer(attn, clock) {
  const random = Float32Array.from({ length: 2 ** 20 }, () => Math.random() - 0.5);
  return ({ heads, headDim, seqLen, causal }, rounds) => {
    const length = heads * headDim * seqLen;
    const data = length <= random.length ? random.subarray(0, length) : new Float32Array(length).fill(0.5);
    const x = { data, shape: [1, heads, seqLen, headDim] };
    const call = () => attn.sdpa(x, x, x, { isCausal: causal });
    const sample = (calls) => {
      const start = clock();
      for (let i = 0; i < calls; i++) call();
      return (clock() - start) / calls;
    };
    const calls = Math.max(1, Math.ceil(SAMPLE / Math.max(sample(1), 1e-5)));
    return quantile(range(rounds).map(() => sample(calls)), 0.5);
  };
}

// Indices [low, high] of one line: the rate at low is less than half of that at high.
function cliffs(line, seconds) {
  const found = [];
  const rate = (i) => line[i].flops / seconds[i];
  const perHead = (i) => seconds[i] / line[i].heads;
  const bigger = (i, j) => line[i].headDim * line[i].seqLen > line[j].headDim * line[j].seqLen;
  for (let i = 0; i < line.length; i++)
    for (let j = Math.max(0, i - REACH); j <= Math.min(line.length - 1, i + REACH); j++)
      // Less work that also takes less time is no cliff: its fixed costs weigh more.
      if (rate(i) * CLIFF < rate(j) && (bigger(i, j) || perHead(i) > perHead(j))) found.push([i, j]);
  return found;
}

export async function sweep({ variants, clock, say }) {
  const results = [];
  for (const variant of variants) {
    const attn = await Attention.create({ variant, threads: 1 });
    const time = timer(attn, clock);
    // Until the engine has optimised what the first points would otherwise be slow with.
    for (const warm of lines(false).flat().filter((_, i) => i % 7 === 0)) time(warm, 1);
    for (const causal of [false, true]) {
      const points = [];
      for (const line of lines(causal)) {
        const seconds = line.map((point) => time(point, ROUNDS.first));
        // What looks like a cliff may have been the machine: the points concerned are timed again, longer.
        for (const i of new Set(cliffs(line, seconds).flat())) seconds[i] = time(line[i], ROUNDS.again);
        for (const [low, high] of cliffs(line, seconds)) points.push({ point: line[low], neighbour: line[high], gflops: [low, high].map((i) => line[i].flops / seconds[i] / 1e9) });
      }
      results.push({ variant, causal, points: lines(causal).flat().length, cliffs: points });
      say(`sweep, ${variant}, ${causal ? 'causal' : 'full'}: ${lines(causal).flat().length} points, ${points.length} more than ${CLIFF} × below a neighbour`);
      for (const { point, neighbour, gflops } of points)
        say(`  head_dim ${point.headDim}, seq ${point.seqLen}: ${gflops[0].toFixed(2)} GFLOP/s; head_dim ${neighbour.headDim}, seq ${neighbour.seqLen}: ${gflops[1].toFixed(2)}`);
    }
    attn.dispose();
  }
  return results;
}
