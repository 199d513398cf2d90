// ai.onnx: Attention (23, 24 and 25, with the semantics of ONNX 1.23), RotaryEmbedding (23), Softmax (13).
// https://onnx.ai/onnx/operators/

import { need } from './features.mjs';
import { limits } from './masks.mjs';
import { concat, full, isBoolean, joinHeads, splitHeads } from './tensors.mjs';

export const operators = { Attention: attention, RotaryEmbedding: rotaryEmbedding, Softmax: softmax };

/** qk_matmul_output_mode 0, 1 and 2; mode 3 asks for the weights. */
const SCORES_OF_MODE = ['raw', 'softcapped', 'masked'];

/**
 * Y = softmax(softcap(scale Q K^T) + bias) V. Where ONNX says it differently from us:
 *   is_causal    row i sees keys j <= i + offset, where offset is the past's length with past_key, nonpad_kv_seqlen - seqLenQ
 *                with nonpad_kv_seqlen, else 0. Windows (opset 25) hang on the same offset.
 *   attn_mask    a last axis shorter than the keys means: the other keys are hidden.
 *   softmax_precision  names the type that softmax computes in. The engine's own (float32, or float64 in the
 *                reference path) is at least as wide as what the cases' tolerances resolve.
 */
function attention({ inputs, attributes, wanted }, attn) {
  const { Q, K, V, attn_mask: mask, past_key: pastKey, past_value: pastValue, nonpad_kv_seqlen: nonpad } = inputs;
  const flat = Q.shape.length === 3;
  const query = flat ? splitHeads(Q, attributes.q_num_heads) : Q;
  const newKey = flat ? splitHeads(K, attributes.kv_num_heads) : K;
  const newValue = flat ? splitHeads(V, attributes.kv_num_heads) : V;
  const key = pastKey ? concat([pastKey, newKey], 2) : newKey;
  const value = pastValue ? concat([pastValue, newValue], 2) : newValue;

  const [batch, heads, seqLenQ] = query.shape;
  const lengths = nonpad && [...nonpad.data];
  const offsets = Array.from({ length: batch }, (_, b) => (pastKey ? pastKey.shape[2] : lengths ? lengths[b] - seqLenQ : 0));
  const mode = wanted.has('qk_matmul_output') ? attributes.qk_matmul_output_mode ?? 0 : null;
  const { output, scores, weights } = attn.sdpa(query, key, value, {
    ...limits({
      shape: [batch, heads, seqLenQ, key.shape[2]],
      mask: mask && padKeys(mask, key.shape[2]),
      offsets,
      lengths,
      causal: Boolean(attributes.is_causal),
      left: attributes.left_window_size,
      right: attributes.right_window_size,
      // Before the mask is applied ONNX has scores of every key; ours stop at kvLengths.
      asMask: lengths !== undefined && (mode === 0 || mode === 1),
    }),
    scale: attributes.scale,
    softcap: attributes.softcap ?? 0,
    returnScores: SCORES_OF_MODE[mode] ?? false,
    returnWeights: mode === 3,
  });
  return {
    Y: flat ? joinHeads(output) : output,
    present_key: key,
    present_value: value,
    qk_matmul_output: mode === 3 ? weights : scores,
  };
}

function padKeys(mask, seqLenKv) {
  const missing = seqLenKv - mask.shape.at(-1);
  if (missing <= 0) return mask;
  const hidden = full(mask.data.constructor, mask.shape.with(-1, missing), isBoolean(mask) ? 0 : -Infinity);
  return concat([mask, hidden], mask.shape.length - 1);
}

function rotaryEmbedding({ inputs, attributes }, attn) {
  const { X, cos_cache: cos, sin_cache: sin, position_ids: positionIds } = inputs;
  const Y = need(attn, 'rotaryEmbedding')(X, {
    cos,
    sin,
    positionIds,
    interleaved: Boolean(attributes.interleaved),
    rotaryDim: attributes.rotary_embedding_dim || undefined,
    numHeads: attributes.num_heads || undefined,
  });
  return { Y };
}

function softmax({ inputs, attributes }, attn) {
  return { output: need(attn, 'softmax')(inputs.input, { axis: attributes.axis ?? -1 }) };
}
