// PyTorch: torch.nn.functional.scaled_dot_product_attention and torch.nn.MultiheadAttention, with gradients.
// https://pytorch.org/docs/2.6/

import { need, refuse } from './features.mjs';
import { broadcastTo, isBoolean, reshape, sizeOf } from './tensors.mjs';

export const operators = { scaled_dot_product_attention: sdpa, MultiheadAttention: multiheadAttention };

function sdpa({ inputs, attributes }, attn) {
  refuse(attributes.dropout_p, 'dropout');
  const { attn_mask: mask, grad_output: gradOutput } = inputs;
  const { query, key, value, toCase, toModule } = layout(inputs);
  // A bias object of torch.nn.attention.bias stands in the attributes by its name; a tensor among the inputs.
  const bias = typeof attributes.attn_mask === 'string' ? attributes.attn_mask : '';
  const options = {
    attnMask: mask && alignMask(mask, inputs.query),
    isCausal: attributes.is_causal || bias !== '',
    causalAlign: bias.includes('causal_lower_right') ? 'bottom-right' : 'top-left',
    scale: attributes.scale,
  };
  const result = { output: toCase(attn.sdpa(query, key, value, options).output) };
  if (gradOutput) {
    const gradients = need(attn, 'sdpaBackward')(toModule(gradOutput), query, key, value, options);
    result.grad_query = toCase(gradients.gradQuery);
    result.grad_key = toCase(gradients.gradKey);
    result.grad_value = toCase(gradients.gradValue);
    if (gradients.gradAttnMask) result.grad_attn_mask = reshape(gradients.gradAttnMask, mask.shape);
  }
  return result;
}

/**
 * PyTorch takes any number of leading axes and broadcasts them both ways. The module takes up to [batch, heads, seq,
 * dim] and broadcasts keys and values. Here the rest is unfolded: further axes join the batch.
 */
function layout({ query, key, value }) {
  const lead = query.shape.slice(0, -2).map((_, axis) => Math.max(query.shape[axis], key.shape[axis], value.shape[axis]));
  if (lead.length <= 2) {
    const same = (x) => x;
    return { query: broadcastTo(query, [...lead, ...query.shape.slice(-2)]), key, value, toCase: same, toModule: same };
  }
  const batches = lead.slice(0, -1);
  const fold = (x) => {
    const inner = x.shape.slice(-3);
    return reshape(broadcastTo(x, [...batches, ...inner]), [sizeOf(batches), ...inner]);
  };
  const unfold = (x) => reshape(x, [...batches, ...x.shape.slice(-3)]);
  return { query: fold(query), key: fold(key), value: fold(value), toCase: unfold, toModule: fold };
}

/** PyTorch's masks broadcast to [...leading axes of the query, L, S]; ours to [batch, heads, L, S]. */
function alignMask(mask, query) {
  const [rank, maskRank] = [query.shape.length, mask.shape.length];
  if (rank === 3 && maskRank === 3) return reshape(mask, [mask.shape[0], 1, mask.shape[1], mask.shape[2]]);
  if (rank <= 4 || maskRank <= 3) return mask;
  const lead = query.shape.slice(0, -3);
  const inner = mask.shape.slice(-3);
  return reshape(broadcastTo(mask, [...lead, ...inner]), [sizeOf(lead), ...inner]);
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
function spoilBlindRows({ output, attn_weights: weights }, { query, key, attn_mask: attnMask, key_padding_mask: padding }, attributes) {
  const heads = attributes.num_heads;
  const averaged = attributes.average_attn_weights ?? true;
  const seqFirst = query.shape.length === 3 && !attributes.batch_first;
  const [batch, seqLenQ] = query.shape.length === 2 ? [1, query.shape[0]] : seqFirst ? [query.shape[1], query.shape[0]] : query.shape;
  const seqLenKv = seqFirst ? key.shape[0] : key.shape.at(-2);
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
