// Very long sequences on one thread, in slices with progress: do they run, how long, in how much memory, how soon can they be stopped.

import { Attention } from '../../web/lib/index.js';

const HEADS = 8;
const HEAD_DIM = 64;
const SAY_EVERY = 10_000; // ms
const CHECKED = 4; // last queries, whose answers are compared with the reference

const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;

export async function long({ variants, lengths, say }) {
  const results = [];
  for (const seqLen of lengths)
    for (const variant of variants) {
      const attn = await Attention.create({ variant, threads: 1 });
      const inputs = [1, 2, 3].map((seed) => tensor(seqLen, seed));
      const result = { seqLen, variant };
      try {
        Object.assign(result, await measure(attn, inputs, say));
        await cancel(attn, inputs);
        say(`${seqLen} tokens, causal, ${HEADS} × ${HEAD_DIM}, ${variant}: ${result.seconds.toFixed(1)} s, ${result.gflops.toFixed(1)} GFLOP/s; ` +
          `engine memory ${gigabytes(result.engineBytes)}, of which inputs and output are ${gigabytes(16 * HEADS * seqLen * HEAD_DIM)}; ` +
          `process at most ${gigabytes(result.processBytes)}; error ${result.error.toExponential(1)}; ` +
          `${result.slices} slices, after each of which it can be cancelled, the longest ${(result.longestSlice * 1e3).toFixed(0)} ms`);
      } catch (error) {
        result.failed = error.message;
        say(`${seqLen} tokens, ${variant}: ${error.message}`);
      }
      attn.dispose();
      results.push(result);
    }
  return results;
}

// A Lehmer generator: any values will do, as long as softmax is not uniform.
function tensor(seqLen, seed) {
  let state = seed;
  const next = () => ((state = (state * 48271) % 2147483647) / 2147483647) * 4 - 2;
  return { data: Float32Array.from({ length: HEADS * seqLen * HEAD_DIM }, next), shape: [1, HEADS, seqLen, HEAD_DIM] };
}

async function measure(attn, inputs, say) {
  const seqLen = inputs[0].shape[2];
  const start = performance.now();
  let slices = 0;
  let longestSlice = 0;
  let last = start;
  let said = start;
  const onProgress = (done) => {
    const now = performance.now();
    slices++;
    longestSlice = Math.max(longestSlice, (now - last) / 1e3);
    last = now;
    if (now - said < SAY_EVERY) return;
    said = now;
    say(`  ${Math.round(done * 100)} %`);
  };
  const { output } = await attn.sdpaAsync(...inputs, { isCausal: true, onProgress });
  const seconds = (performance.now() - start) / 1e3;
  return {
    seconds,
    slices,
    longestSlice,
    gflops: (4 * HEADS * HEAD_DIM * ((seqLen * (seqLen + 1)) / 2)) / seconds / 1e9,
    engineBytes: attn.memoryBytes,
    processBytes: process.resourceUsage().maxRSS * 1024,
    error: lastRowsError(attn, ...inputs, output),
  };
}

// Throws unless the call gives up once it is aborted.
async function cancel(attn, inputs) {
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  const call = attn.sdpaAsync(...inputs, { isCausal: true, signal: controller.signal, onProgress });
  if ((await call.catch((error) => error)) !== controller.signal.reason) throw new Error('was not cancelled');
}

// In float64, of one head at a time: all heads' keys in float64 would be the larger part of the memory.
function lastRowsError(attn, query, key, value, output) {
  const [, heads, seqLen, dim] = query.shape;
  let worst = 0;
  for (let h = 0; h < heads; h++) {
    const of = ({ data }, rows) => ({
      data: Float64Array.from(data.subarray(((h + 1) * seqLen - rows) * dim, (h + 1) * seqLen * dim)),
      shape: [rows, dim],
    });
    const expected = attn.sdpa(of(query, CHECKED), of(key, seqLen), of(value, seqLen), { isCausal: true, causalAlign: 'bottom-right' }).output.data;
    of(output, CHECKED).data.forEach((x, i) => (worst = Math.max(worst, Math.abs(x - expected[i]))));
  }
  return worst;
}
