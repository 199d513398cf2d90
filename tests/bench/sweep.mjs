// Looks for shapes that fall off a cliff: every head_dim at some lengths, every length at some head_dims. A point is one whose rate
// of useful operations is less than half of a neighbour's, where that is not just a fixed cost on less work.

import { Attention } from '../../web/lib/index.js';
import { openClock } from './clocks.mjs';
import { quantile } from './timing.mjs';

const HEAD_DIMS = { all: 256, some: [1, 3, 16, 64, 80, 128, 256] };
const LENGTHS = { all: 300, some: [1, 7, 16, 64, 197, 300] };
const WORK = 2e6; // operations a call: enough heads that what a call costs by itself is small
const MOST_HEADS = 2048;
const REACH = (size) => Math.max(1, Math.min(3, Math.floor(size / 8))); // how far on either side a neighbour is
const CLIFF = 2;
const SAMPLE = 0.0015; // seconds
const ROUNDS = { first: 3, again: 11 };

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

// A function that prepares a point: it returns a function that takes a sample, in seconds of a call.
function sampler(attn, clock) {
  const random = Float32Array.from({ length: 2 ** 20 }, () => Math.random() - 0.5);
  return ({ heads, headDim, seqLen, causal }) => {
    const length = heads * headDim * seqLen;
    const data = length <= random.length ? random.subarray(0, length) : new Float32Array(length).fill(0.5);
    const x = { data, shape: [1, heads, seqLen, headDim] };
    const sample = (calls) => {
      const start = clock();
      for (let i = 0; i < calls; i++) attn.sdpa(x, x, x, { isCausal: causal });
      return (clock() - start) / calls;
    };
    const calls = Math.ceil(SAMPLE / Math.max(sample(1), SAMPLE / 100));
    return () => sample(calls);
  };
}

const median = (sample, rounds) => quantile(range(rounds).map(sample), 0.5);

// Indices [low, high] of one line, neighbours, of which the rate at low may be less than half of that at high.
function suspects(line, seconds) {
  const found = [];
  const rate = (i) => line[i].flops / seconds[i];
  const perHead = (i) => seconds[i] / line[i].heads;
  const size = ({ headDim, seqLen }) => headDim * seqLen;
  for (let low = 0; low < line.length; low++)
    for (let high = Math.max(0, low - REACH(low + 1)); high <= Math.min(line.length - 1, low + REACH(low + 1)); high++)
      // Less work that also takes less time is no cliff: its fixed costs weigh more.
      if (rate(low) * CLIFF < rate(high) && (size(line[low]) > size(line[high]) || perHead(low) > perHead(high))) found.push([low, high]);
  return found;
}

// The worst suspect of each point, where the two timed by turns still differ so much; else it was the machine.
function cliffs(line, prepare) {
  const seconds = line.map((point) => median(prepare(point), ROUNDS.first));
  const confirmed = new Map();
  for (const [low, high] of suspects(line, seconds)) {
    const samples = [prepare(line[low]), prepare(line[high])];
    const rates = range(ROUNDS.again).map(() => samples.map((sample, i) => line[[low, high][i]].flops / sample() / 1e9));
    const ratio = quantile(rates.map(([slow, fast]) => fast / slow), 0.5);
    if (ratio > CLIFF && ratio > (confirmed.get(low)?.ratio ?? 0))
      confirmed.set(low, { point: line[low], neighbour: line[high], ratio, gflops: [0, 1].map((i) => quantile(rates.map((pair) => pair[i]), 0.5)) });
  }
  return [...confirmed.values()];
}

export async function sweep({ variants, clock: name, say }) {
  const clock = await openClock(name);
  const results = [];
  for (const variant of variants) {
    const attn = await Attention.create({ variant, threads: 1 });
    const prepare = sampler(attn, clock);
    // Until the engine has optimised what the first points would otherwise be slow with.
    lines(false).flat().filter((_, i) => i % 7 === 0).forEach((point) => prepare(point)());
    for (const causal of [false, true]) {
      const all = lines(causal);
      const found = all.flatMap((line) => cliffs(line, prepare));
      const points = all.flat().length;
      results.push({ variant, causal, points, cliffs: found });
      say(`sweep, ${variant}, ${causal ? 'causal' : 'full'}: ${points} points, ${found.length} more than ${CLIFF} × below a neighbour`);
      for (const { point, neighbour, gflops, ratio } of found)
        say(`  head_dim ${point.headDim}, seq ${point.seqLen}: ${gflops[0].toPrecision(3)} GFLOP/s; ` +
          `head_dim ${neighbour.headDim}, seq ${neighbour.seqLen}: ${gflops[1].toPrecision(3)} (${ratio.toPrecision(3)} ×)`);
    }
    attn.dispose();
  }
  return results;
}
