// What threads can gain at most here: the register-only loop on several threads at once over the same on one. Cores that are two halves
// of one, or that other programs use, give less than their number. This file is also the thread.

import { peak } from './peak.mjs';
import { spread } from './timing.mjs';

const SAMPLE = 40; // milliseconds
const ROUNDS = 9;

const isNode = globalThis.process?.versions?.node !== undefined;
const { Worker, parentPort = null } = isNode ? await import('node:worker_threads') : globalThis;

// Rounds of the loop for a while: operations a second, with those of the threads beside it.
async function serve(receive, send) {
  let loop = null;
  receive(async (variant) => {
    loop ??= await peak(variant);
    const start = performance.now();
    let operations = 0;
    for (; performance.now() - start < SAMPLE; operations += loop.flops) loop.run();
    send(operations / (performance.now() - start));
  });
}

if (parentPort) serve((listener) => parentPort.on('message', listener), (rate) => parentPort.postMessage(rate));
else if (globalThis.WorkerGlobalScope) serve((listener) => globalThis.addEventListener('message', ({ data }) => listener(data)), globalThis.postMessage);

function startThread() {
  const worker = new Worker(new URL(import.meta.url), { type: 'module' });
  let settle; // of the round that is under way
  const receive = isNode ? (event, listener) => worker.on(event, listener) : (event, listener) => worker.addEventListener(event, listener);
  receive('message', (message) => settle.resolve(isNode ? message : message.data));
  receive('error', (error) => settle.reject(error));
  return {
    rate: (variant) => new Promise((resolve, reject) => {
      settle = { resolve, reject };
      worker.postMessage(variant);
    }),
    end: () => worker.terminate(),
  };
}

/** { median, low, high } of the rate of `count` threads over that of one. */
export async function parallelGain(variant, count) {
  const threads = Array.from({ length: count }, startThread);
  const rates = (some) => Promise.all(some.map(({ rate }) => rate(variant)));
  try {
    await rates(threads); // starts, and is optimised
    const gains = [];
    for (let round = 0; round < ROUNDS; round++) {
      const [one] = await rates(threads.slice(0, 1));
      const all = await rates(threads);
      gains.push(all.reduce((sum, rate) => sum + rate) / one);
    }
    return spread(gains);
  } finally {
    for (const { end } of threads) await end();
  }
}
