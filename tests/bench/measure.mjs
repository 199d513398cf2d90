// Measures one row: makes its contenders, checks what each gives, times them in turns, compares.

import { openClock, wall } from './clocks.mjs';
import { ours } from './ours.mjs';
import { loopContender } from './peers/loop.mjs';
import { ortContenders } from './peers/ort.mjs';
import { tfjsContender } from './peers/tfjs.mjs';
import { checker, pose } from './problems.mjs';
import { interleave, quantile, spread } from './timing.mjs';

/** Seconds: `warm` before timing, `sample` and `budget` of each contender and row; `rounds` least and most; `scalar`: in every row. */
export const SETTINGS = {
  full: { warm: 0.3, sample: 0.015, budget: 15, rounds: [15, 60], rareRounds: 3, scalar: true },
  quick: { warm: 0.1, sample: 0.008, budget: 1.2, rounds: [5, 30], rareRounds: 3, scalar: false },
};

// Ours as contenders { name, variant, problem, run, result, dispose }.
async function ourContenders(row, problem, lab, { scalar }) {
  const contenders = [];
  const enter = (name, variant, engine, posed, more) => {
    if (engine) contenders.push({ name, variant, problem: posed, ...ours(engine, posed), ...more });
  };
  const full = row.kind === 'causal-cost' && pose({ ...row, causal: false });
  const compared = row.kind === 'threads' || row.kind === 'causal-cost'; // with ourselves
  for (const variant of lab.variants) {
    if (variant === 'scalar' && (compared || !(scalar || row.scale))) continue;
    const engine = await lab.engine(variant);
    if (compared) {
      enter(variant, variant, engine, problem);
      if (row.kind === 'threads') {
        enter(`${variant} × ${lab.threads}`, variant, await lab.engine(`${variant}-threads`, lab.threads), problem);
        // Where threads are only not to be slower: how far apart two equal engines are.
        if (row.atLeast.threads === 1) enter(`${variant} again`, variant, await lab.engine(variant, 1, 'again'), problem);
      } else {
        enter(`${variant} full`, variant, engine, full);
      }
    } else {
      enter(variant, variant, engine, problem, { rare: variant === 'scalar' && !row.scale });
    }
  }
  return contenders;
}

async function peerContenders(row, problem, lab) {
  if (row.kind === 'threads' || row.kind === 'causal-cost') return [];
  const contenders = await ortContenders(lab.ort, problem);
  if (row.scale) contenders.push(tfjsContender(await lab.tfjs(), problem), loopContender(problem));
  return contenders.map((contender) => ({ ...contender, problem, peer: true }));
}

// The contenders that give the right answer, and why the others are out.
async function admit(contenders, reference) {
  const admitted = [];
  const refused = {};
  const checks = new Map();
  for (const contender of contenders) {
    const { problem } = contender;
    if (!checks.has(problem)) checks.set(problem, checker(problem, reference));
    try {
      admitted.push({ ...contender, error: checks.get(problem)(contender.result(await contender.run())) });
    } catch (error) {
      refused[contender.name] = String(error?.message ?? error);
      contender.dispose?.();
    }
  }
  return { admitted, refused };
}

const perRound = (numerator, denominator) => spread(numerator.map((x, round) => x / denominator[round]));

// A comparison with its target: { value: { median, low, high }, atLeast or atMost, met }.
function judge(value, { atLeast, atMost }) {
  const met = atLeast !== undefined ? value.median >= atLeast : atMost !== undefined ? value.median <= atMost : undefined;
  return { value, atLeast, atMost, met };
}

async function compare(row, times, { variant, flops, bestPeer, lab }) {
  const mine = times.get(variant);
  const target = (what, limits) => (typeof limits?.[what] === 'object' ? limits[what][variant] : limits?.[what]);
  const comparisons = {};
  const against = (what, value) => {
    comparisons[what] = judge(value, { atLeast: target(what, row.atLeast), atMost: target(what, row.atMost) });
  };
  if (bestPeer) against('peer', perRound(times.get(bestPeer), mine));
  const peak = lab.peaks.get(variant);
  if (peak) {
    const least = times.get(peak.name).map((seconds) => (seconds * flops) / peak.flops); // what the useful operations take at the peak
    against('peak', perRound(least, mine));
    // With one query it is not arithmetic that limits but reading the keys and values.
    if (bestPeer) against('ceiling', perRound(times.get(bestPeer), times.get('read') ?? least));
  }
  if (times.has(`${variant} full`)) against('cost', perRound(mine, times.get(`${variant} full`)));
  const threaded = times.get(`${variant} × ${lab.threads}`);
  if (threaded) {
    against('threads', perRound(mine, threaded));
    against('ceiling', await lab.parallelGain(variant));
  }
  // "Not slower" is met by whatever is as near to 1 as two equal engines are in half of the rounds.
  const again = times.get(`${variant} again`);
  if (threaded && again) {
    against('equals', perRound(mine, again));
    comparisons.threads.met = comparisons.threads.value.median >= Math.min(1, comparisons.equals.value.low);
  }
  return comparisons;
}

/** A row's result, all of it plain data. */
export async function measureRow(row, lab, settings) {
  const problem = pose(row);
  const entered = [...(await ourContenders(row, problem, lab, settings)), ...(await peerContenders(row, problem, lab))];
  const { admitted, refused } = await admit(entered, lab.reference);
  const read = row.seqLenQ === 1 && row.kind !== 'threads' ? await lab.read(problem.bytes) : null;
  try {
    const times = await interleave([...admitted, ...lab.peaks.values(), ...(read ? [read] : [])], settings);
    const { flops } = problem;
    const contenders = {};
    for (const { name, error, peer = false, problem: { flops: work } } of admitted) {
      const seconds = spread(times.get(name));
      contenders[name] = { peer, seconds, best: quantile(times.get(name), 0), gflops: work / seconds.median / 1e9, error };
    }
    const onnx = admitted.filter(({ peer, name }) => peer && !['tfjs-backend-wasm', 'plain JavaScript'].includes(name)).map(({ name }) => name);
    const bestPeer = onnx.sort((a, b) => contenders[a].seconds.median - contenders[b].seconds.median)[0] ?? null;
    const comparisons = {};
    for (const { name, variant } of admitted)
      if (name === variant) comparisons[variant] = await compare(row, times, { variant, flops, bestPeer, lab });
    return {
      name: row.name,
      title: row.title,
      flops,
      contenders,
      refused,
      bestPeer,
      comparisons,
      peaks: Object.fromEntries([...lab.peaks].map(([variant, { name, flops: work }]) => [variant, spread(times.get(name).map((s) => work / s / 1e9))])),
      read: read && {
        gigabytes: spread(times.get('read').map((seconds) => read.bytes / seconds / 1e9)),
        overPeer: bestPeer && perRound(times.get(bestPeer), times.get('read')),
      },
      rounds: Math.max(...[...times.values()].map((seconds) => seconds.length)),
    };
  } finally {
    for (const { dispose } of admitted) await dispose?.();
  }
}

/** Measures rows, and hands on each result; a row that cannot be measured has `failed`. */
export async function measureRows({ rows, lab, mode, clock: name, onResult }) {
  const clock = await openClock(name);
  for (const row of rows) {
    // The thread's clock sees no other threads.
    const settings = { ...SETTINGS[mode], clock: row.kind === 'threads' ? wall : clock };
    await onResult(await measureRow(row, lab, settings).catch((error) => ({ name: row.name, title: row.title, failed: String(error?.message ?? error) })));
  }
}
