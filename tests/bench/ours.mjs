// The module under test, through its public interface: from Float32Array in to Float32Array out.

/** { run, result }: one call, and what it gave as { output, weights }. */
export function ours(attn, { row, query, key, value, x, state }) {
  const { kind, computes = kind, causal: isCausal, heads, kvHeads, headDim, seqLenKv } = row;
  const result = ({ output, weights }) => ({ output: output.data, weights: weights?.data });
  switch (computes) {
    case 'layer': {
      const layer = attn.multiHeadAttention({ embedDim: heads * headDim, numHeads: heads, state });
      return { run: () => layer.forward(x, null, null, { needWeights: false }), result, dispose: () => layer.free() };
    }
    case 'held': {
      const cache = attn.kvCache({ batch: 1, numKvHeads: kvHeads, headDim, capacity: seqLenKv });
      cache.append(key, value);
      return { run: () => cache.attend(query), result, dispose: () => cache.free() };
    }
    case 'weights':
      return { run: () => attn.sdpa(query, key, value, { returnWeights: true }), result };
    default:
      return { run: () => attn.sdpa(query, key, value, { isCausal }), result };
  }
}
