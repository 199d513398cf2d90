// Everything that rows are measured with, opened once per process or page.

import { Attention } from '../../web/lib/index.js';
import { parallelGain } from './parallel.mjs';
import { peak, read } from './peak.mjs';
import { loadOrt } from './peers/ort.mjs';
import { loadTfjs } from './peers/tfjs.mjs';

const THREADS = 2;

// Engines are made where they are first asked for. A build that cannot run here is null, once said why.
function engineRoom(say) {
  const engines = new Map();
  return async (variant, threads = 1, which = 'first') => {
    const key = `${variant} × ${threads} ${which}`;
    if (!engines.has(key)) {
      const engine = await Attention.create({ variant, threads }).catch((error) => {
        say(`no ${variant} × ${threads}: ${error.message}`);
        return null;
      });
      engines.set(key, engine);
    }
    return engines.get(key);
  };
}

/** { variants, engine(variant, threads, which: another of the same), threads, parallelGain(variant), reference, peaks, read(bytes), ort, tfjs() } */
export async function openLab({ variants, say }) {
  const engine = engineRoom(say);
  const fast = variants.filter((variant) => variant !== 'scalar');
  const peaks = new Map();
  for (const variant of fast) if (await engine(variant)) peaks.set(variant, await peak(variant));
  const reads = new Map();
  let tfjs;
  return {
    variants,
    engine,
    threads: THREADS,
    parallelGain: (variant) => parallelGain(variant, THREADS),
    reference: (await engine('simd')) ?? (await engine('scalar')),
    peaks,
    async read(bytes) {
      if (!reads.has(bytes)) reads.set(bytes, await read(bytes));
      return reads.get(bytes);
    },
    ort: await loadOrt(),
    tfjs: () => (tfjs ??= loadTfjs()),
  };
}
