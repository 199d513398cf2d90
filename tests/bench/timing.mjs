// Interleaved timing. The machine's speed wanders by tens of percent (its clock, other programs), so contenders take turns in
// short samples, and what is compared are the samples of one round.

/** The q-th quantile of numbers; NaN of none. */
export function quantile(numbers, q) {
  const sorted = numbers.filter((x) => !Number.isNaN(x)).sort((a, b) => a - b);
  if (sorted.length === 0) return NaN;
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.ceil(at);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/** { median, low, high }: the middle and the quartiles. */
export const spread = (numbers) => ({ median: quantile(numbers, 0.5), low: quantile(numbers, 0.25), high: quantile(numbers, 0.75) });

async function sample({ run }, calls, clock) {
  const start = clock();
  for (let i = 0; i < calls; i++) {
    const pending = run();
    // Awaiting what is no promise would cost the synchronous ones a turn of the queue.
    if (pending instanceof Promise) await pending;
  }
  return (clock() - start) / calls;
}

// Runs a contender until engines have optimised it. Seconds of a call then.
async function warmUp(contender, seconds, clock) {
  const start = clock();
  let last;
  let calls = 1;
  do {
    last = await sample(contender, calls, clock);
    calls = last * calls < 0.001 ? calls * 2 : calls;
    await new Promise((resolve) => setTimeout(resolve)); // optimised code arrives as an event
  } while (clock() - start < seconds);
  return last;
}

/**
 * Times contenders { name, run, rare }. settings: { clock, warm, sample, budget: seconds, rounds: [least, most], rareRounds }.
 * Returns a map from name to seconds per call, one number a round; NaN in the rounds that a rare contender sat out.
 */
export async function interleave(contenders, { clock, warm, sample: wanted, budget, rounds: [least, most], rareRounds }) {
  const entries = [];
  for (const contender of contenders) {
    const seconds = await warmUp(contender, warm, clock);
    entries.push({ contender, calls: Math.max(1, Math.min(1e5, Math.round(wanted / seconds))), seconds: [] });
  }
  const start = performance.now();
  for (let round = 0; round < most; round++) {
    if (round >= least && performance.now() - start > budget * 1e3) break;
    // Back and forth, so that nobody always follows the same one.
    for (const { contender, calls, seconds } of round % 2 ? entries.toReversed() : entries)
      seconds.push(contender.rare && round >= rareRounds ? NaN : await sample(contender, calls, clock));
  }
  return new Map(entries.map(({ contender, seconds }) => [contender.name, seconds]));
}
