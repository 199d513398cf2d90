// PyTorch: torch.nn.functional.scaled_dot_product_attention and torch.nn.MultiheadAttention, with gradients.
// https://pytorch.org/docs/2.6/

import { need, refuse } from './features.mjs';
import { broadcastTo, isBoolean, reshape, sizeOf } from './tensors.mjs';

export const operators = { scaled_dot_product_attention: sdpa, MultiheadAttention: multiheadAttention };

function sdpa({ inputs, attributes }, attn) {
  refuse(attributes.dropout_p, 'dropout');
  const { query, key, value, mask, fold, unfold } = layout(inputs);
  // A bias object of torch.nn.attention.bias stands in the attributes by its name; a tensor among the inputs.
  const bias = typeof attributes.attn_mask === 'string' ? attributes.attn_mask : '';
  const options = {
    attnMask: mask,
    isCausal: attributes.is_causal || bias !== '',
    causalAlign: bias.includes('causal_lower_right') ? 'bottom-right' : 'top-left',
    scale: attributes.scale,
  };
  const result = { output: unfold(attn.sdpa(query, key, value, options).output) };
  if (inputs.grad_output) {
    const gradients = need(attn, 'sdpaBackward')(fold(inputs.grad_output), query, key, value, options);
    result.grad_query = unfold(gradients.gradQuery);
    result.grad_key = unfold(gradients.gradKey);
    result.grad_value = unfold(gradients.gradValue);
    if (gradients.gradAttnMask) result.grad_attn_mask = reshape(gradients.gradAttnMask, inputs.attn_mask.shape);
  }
  return result;
}

/** PyTorch takes any number of leading axes, the module up to [batch, heads, seq, dim]: further ones join the batch here. */
function layout({ query, key, value, attn_mask: mask }) {
  if (query.shape.length <= 4) return { query, key, value, mask, fold: (x) => x, unfold: (x) => x };
  const batches = query.shape.slice(0, -3).map((_, axis) => Math.max(query.shape[axis], key.shape[axis], value.shape[axis]));
  const fold = (x) => {
    const inner = x.shape.slice(-3);
    return reshape(broadcastTo(x, [...batches, ...inner]), [sizeOf(batches), ...inner]);
  };
  const unfold = (x) => reshape(x, [...batches, ...x.shape.slice(-3)]);
  const varies = mask && sizeOf(mask.shape.slice(0, -3)) > 1;
  const foldedMask = varies ? fold(mask) : mask && reshape(mask, mask.shape.slice(-3));
  return { query: fold(query), key: fold(key), value: fold(value), mask: foldedMask, fold, unfold };
}

function multiheadAttention({ inputs, attributes, wanted, sameInput }, attn) {
  refuse(attributes.dropout, 'dropout');
  const { query, attn_mask: attnMask, key_padding_mask: keyPaddingMask, grad_output: gradOutput, ...rest } = inputs;
  const { key = query, value = key, ...state } = rest;
  const layer = attn.multiHeadAttention({
    embedDim: attributes.embed_dim,
    numHeads: attributes.num_heads,
    kdim: attributes.kdim ?? undefined,
    vdim: attributes.vdim ?? undefined,
    bias: attributes.bias ?? true,
    addBiasKv: attributes.add_bias_kv ?? false,
    addZeroAttn: attributes.add_zero_attn ?? false,
    batchFirst: attributes.batch_first ?? false,
    state,
  });
  if (gradOutput) need(layer, 'backward', 'MultiHeadAttention');

  // One tensor in two roles has one gradient, the sum over its roles; the module does so where a role is left out.
  const shares = (role, other) => gradOutput && !wanted.has(`grad_${role}`) && sameInput(role, other);
  const needWeights = attributes.need_weights ?? true;
  const { output, weights } = layer.forward(query, shares('key', 'query') ? null : key, shares('value', 'key') ? null : value, {
    attnMask,
    keyPaddingMask,
    isCausal: attributes.is_causal ?? false,
    needWeights,
    averageAttnWeights: attributes.average_attn_weights ?? true,
    ...(gradOutput && { needGrad: true }),
  });
  const result = { output };
  if (needWeights) result.attn_weights = weights;
  if (needWeights && !attributes.add_bias_kv && !attributes.add_zero_attn) spoilBlindRows(result, inputs, attributes);
  if (gradOutput) {
    const { gradState, ...gradients } = layer.backward(gradOutput);
    result.grad_query = gradients.gradQuery;
    if (gradients.gradKey) result.grad_key = gradients.gradKey;
    if (gradients.gradValue) result.grad_value = gradients.gradValue;
    for (const [name, gradient] of Object.entries(gradState)) result[`grad_${name}`] = gradient;
  }
  return result;
}

/**
 * PyTorch's layer computes a plain softmax where weights are asked for, and a row without any visible key is NaN there, in
 * the weights and, through the output projection, in the whole row of the output. Ours is 0 (and the output its bias).
 */
function spoilBlindRows({ output, attn_weights: weights }, inputs, attributes) {
  const { query, key, attn_mask: attnMask, key_padding_mask: padding } = inputs;
  const heads = attributes.num_heads;
  const averaged = attributes.average_attn_weights ?? true;
  const seqFirst = query.shape.length === 3 && !attributes.batch_first;
  const seqLen = (x) => (seqFirst ? x.shape[0] : x.shape.at(-2));
  const [seqLenQ, seqLenKv] = [seqLen(query), seqLen(key)];
  const batch = query.data.length / (seqLenQ * query.shape.at(-1));
  const blocks = (mask) => mask && Array.from(mask.data, isBoolean(mask) ? Boolean : (x) => x === -Infinity);
  const blockedKeys = blocks(padding);
  const blockedPairs = blocks(attnMask);
  const masksPerHead = attnMask?.shape.length === 3;

  for (let row = 0; row < batch * heads * seqLenQ; row++) {
    const b = Math.floor(row / (heads * seqLenQ));
    const i = row % seqLenQ;
    const maskRow = masksPerHead ? row : i;
    const blocked = (j) => blockedKeys?.[b * seqLenKv + j] || blockedPairs?.[maskRow * seqLenKv + j];
    if (!Array.from({ length: seqLenKv }, (_, j) => blocked(j)).every(Boolean)) continue;
    fillRow(output, seqFirst ? i * batch + b : b * seqLenQ + i, NaN);
    fillRow(weights, averaged ? b * seqLenQ + i : row, NaN);
  }
}

function fillRow(x, row, value) {
  const columns = x.shape.at(-1);
  x.data.fill(value, row * columns, (row + 1) * columns);
}
