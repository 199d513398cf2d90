import { Attention, AttentionError } from '../../web/lib/core.js';

export async function run(): Promise<Float32Array | Float64Array> {
  const attn: Attention = await Attention.create({ threads: 'auto' });
  try {
    return attn.sdpa([[1]], [[1]], [[1]], { isCausal: true }).output.data;
  } catch (error) {
    throw error instanceof AttentionError ? new Error(error.code) : error;
  } finally {
    attn.dispose();
  }
}

// @ts-expect-error core has no layers
export const layers = (attn: Attention): unknown => attn.multiHeadAttention({ embedDim: 2, numHeads: 1 });
