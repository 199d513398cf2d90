// Keras 3: keras.layers.Attention (score_mode "dot" and "concat") and keras.layers.AdditiveAttention, with Dense
// layers without bias before them where the case has query_kernel and key_kernel.
// https://keras.io/api/layers/attention_layers/

import { need, refuse } from './features.mjs';
import { additive, limits } from './masks.mjs';
import { add, full, generate, map, reshape, transpose } from './tensors.mjs';

export const operators = { 'keras.layers.Attention': layer, 'keras.layers.AdditiveAttention': layer };

/** What Keras subtracts from a hidden score. A row that hides every key is an ordinary softmax row, not 0. */
const MASKED = -1e9;

function layer(kase, attn) {
  const { inputs, attributes, Float } = kase;
  refuse(attributes.dropout, 'dropout');
  const { query, value, key = value, query_mask: queryMask, grad_output: gradOutput } = inputs;
  const options = { ...scoreOptions(kase), ...maskOptions(inputs, attributes, Float) };
  const { output, weights } = attend(attn, query, key, value, { ...options, returnWeights: true });
  // query_mask is no part of the attention: it blanks rows of the finished output.
  const shown = (b, i) => !queryMask || queryMask.data[b * queryMask.shape[1] + i];
  const blank = (x) => generate(Float, x.shape, ([b, i], at) => (shown(b, i) ? x.data[at] : 0));
  const result = { output: blank(output), attention_scores: weights };
  if (gradOutput) {
    const gradients = need(attn, 'scoreAttentionBackward')(blank(gradOutput), query, key, value, options);
    Object.assign(result, gradientsOf(kase, gradients));
  }
  return result;
}

/** Keras's plain dot product is what sdpa computes; everything else has its score named. */
function attend(attn, query, key, value, options) {
  const { score, wQuery, wKey, ...rest } = options;
  if (score === 'dot' && !wQuery && !wKey) return attn.sdpa(query, key, value, rest);
  return need(attn, 'scoreAttention')(query, key, value, options);
}

/**
 *   dot       scale * (q . k), not divided by sqrt(dim)
 *   additive  sum(scale * tanh(q + k)), scale a vector
 *   concat    weight * sum(tanh(scale * (q + k))), scale and weight (concat_score_weight) scalars: our additive score with
 *             scale in both projections and the weight in v
 * scale and weight are 1 where absent; q and k are query and key times their kernels, where there are any.
 */
function scoreOptions({ inputs, attributes, Float }) {
  const { scale, query_kernel: queryKernel, key_kernel: keyKernel, concat_score_weight: weight } = inputs;
  const wQuery = queryKernel && transpose(queryKernel);
  const wKey = keyKernel && transpose(keyKernel);
  switch (scoreOf(attributes)) {
    case 'additive':
      return { score: 'additive', wQuery, wKey, v: scale };
    case 'concat': {
      const scaled = (w) => (scale ? map(w ?? identity(inputs, Float), (x) => x * scale.data[0]) : w);
      const v = weight && full(Float, [scoreDim(inputs)], weight.data[0]);
      return { score: 'additive', wQuery: scaled(wQuery), wKey: scaled(wKey), v };
    }
    default:
      return { score: 'dot', wQuery, wKey, scale: scale ? scale.data[0] : 1 };
  }
}

const scoreOf = ({ layer, score_mode: mode }) => (layer === 'AdditiveAttention' ? 'additive' : mode ?? 'dot');

const scoreDim = ({ query, query_kernel: queryKernel }) => (queryKernel ?? query).shape.at(-1);

function identity(inputs, Float) {
  const dim = scoreDim(inputs);
  return generate(Float, [dim, dim], ([row, column]) => (row === column ? 1 : 0));
}

function maskOptions({ query, value, value_mask: valueMask }, { use_causal_mask: isCausal }, Float) {
  if (!valueMask) return { isCausal };
  const [batch, seqLenQ] = query.shape;
  const seqLenKv = value.shape[1];
  const { attnMask } = limits({
    shape: [batch, 1, seqLenQ, seqLenKv],
    mask: reshape(valueMask, [batch, 1, 1, seqLenKv]),
    offsets: new Array(batch).fill(0),
    causal: isCausal,
    asMask: true,
  });
  return { attnMask: additive(reshape(attnMask, [batch, seqLenQ, seqLenKv]), Float, MASKED) };
}

function gradientsOf({ inputs, attributes, Float }, gradients) {
  const { key, scale, query_kernel: queryKernel, key_kernel: keyKernel } = inputs;
  const { gradQuery, gradKey, gradValue, gradWQuery, gradWKey, gradV, gradScale } = gradients;
  const score = scoreOf(attributes);
  // Concat's scale multiplies both projections, see scoreOptions; so the chain rule puts it, or its opposite, here.
  const scaled = score === 'concat' && scale;
  const kernelGradient = (gradient) => map(transpose(gradient), (x) => (scaled ? x * scale.data[0] : x));
  const along = (gradient, kernel) => innerProduct(gradient, kernel ? transpose(kernel) : identity(inputs, Float));
  return {
    grad_query: gradQuery,
    grad_key: gradKey,
    // Without a key of its own the value has two roles.
    grad_value: key ? gradValue : add(gradValue, gradKey),
    grad_query_kernel: queryKernel && kernelGradient(gradWQuery),
    grad_key_kernel: keyKernel && kernelGradient(gradWKey),
    grad_scale:
      score === 'additive' ? gradV
      : score === 'dot' ? scalar(gradScale, Float)
      : scaled && scalar(along(gradWQuery, queryKernel) + along(gradWKey, keyKernel), Float),
    grad_concat_score_weight: gradV && scalar(gradV.data.reduce((sum, x) => sum + x, 0), Float),
  };
}

const scalar = (x, Float) => ({ data: Float.of(x), shape: [] });

const innerProduct = (x, y) => x.data.reduce((sum, element, i) => sum + element * y.data[i], 0);
