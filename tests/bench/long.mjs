// Very long sequences on one thread: do they run, how long, in how much memory.

import { Attention } from '../../web/lib/index.js';

const HEADS = 8;
const HEAD_DIM = 64;
const CHECKED = 4; // last queries, whose answers are compared with the reference

const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;

export async function long({ variants, lengths, say }) {
  const results = [];
  for (const seqLen of lengths) {
    for (const variant of variants) {
      const attn = await Attention.create({ variant, threads: 1 });
      const shape = [1, HEADS, seqLen, HEAD_DIM];
      const elements = HEADS * seqLen * HEAD_DIM;
      const [query, key, value] = [1, 2, 3].map((seed) => {
        let state = seed;
        // A Lehmer generator: any values will do, as long as softmax is not uniform.
        return { data: Float32Array.from({ length: elements }, () => ((state = (state * 48271) % 2147483647) / 2147483647) * 4 - 2), shape };
      });
      const result = { seqLen, variant, inputs: 3 * 4 * elements };
      try {
        const start = performance.now();
        const { output } = attn.sdpa(query, key, value, { isCausal: true });
        result.seconds = (performance.now() - start) / 1e3;
        result.gflops = (4 * HEADS * HEAD_DIM * ((seqLen * (seqLen + 1)) / 2)) / result.seconds / 1e9;
        result.memory = attn.memoryBytes;
        result.error = lastRowsError(attn, query, key, value, output);
        say(`${seqLen} tokens, causal, ${HEADS} × ${HEAD_DIM}, ${variant}: ${result.seconds.toFixed(1)} s, ${result.gflops.toFixed(1)} GFLOP/s, ` +
          `engine memory ${gigabytes(result.memory)} (inputs and output are ${gigabytes(result.inputs * 4 / 3)}), error ${result.error.toExponential(1)}`);
      } catch (error) {
        result.failed = error.message;
        say(`${seqLen} tokens, ${variant}: ${error.message}`);
      }
      attn.dispose();
      results.push(result);
    }
  }
  return results;
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
