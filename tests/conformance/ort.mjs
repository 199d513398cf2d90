// onnxruntime's contrib operators (com.microsoft): Attention, MultiHeadAttention, GroupQueryAttention, RotaryEmbedding; AttnLSTM
// is in ort-attnlstm.mjs. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
//
// Where onnxruntime's rules differ from ours:
//   padding   Attention and MultiHeadAttention add a finite mask_filter_value (-10000) to the score of a padded key, so a row
//             with nothing but padding is an ordinary softmax row, not 0. These masks reach the engine as additive masks.
//             Causality hides for good there, too, and is the engine's own.
//   scale     0 means the default, 1/sqrt(headDim).
//   weights   are [in, out] and multiply from the right; attn.linear takes PyTorch's [out, in].

import { attnLstm } from './ort-attnlstm.mjs';
import { need, refuse } from './features.mjs';
import { limits, withFirstColumn } from './masks.mjs';
import { broadcastTo, concat, full, generate, joinHeads, map, reshape, slice, splitHeads, transpose } from './tensors.mjs';

export const operators = {
  'com.microsoft.Attention': attention,
  'com.microsoft.MultiHeadAttention': multiHeadAttention,
  'com.microsoft.GroupQueryAttention': groupQueryAttention,
  'com.microsoft.RotaryEmbedding': rotaryEmbedding,
  'com.microsoft.AttnLSTM': attnLstm,
};

const DEFAULT_FILTER = -10000;

// Attention

/** Input projections, heads, attention; no output projection. */
function attention({ inputs, attributes, Float }, attn) {
  const { input, weights, bias, past, past_sequence_length: pastLength } = inputs;
  const { mask_index: maskIndex, attention_bias: attentionBias } = inputs;
  const heads = attributes.num_heads;
  const third = weights.shape[1] / 3;
  const widths = attributes.qkv_hidden_sizes ?? [third, third, third];
  const projected = need(attn, 'linear')(input, transpose(weights), bias);
  const [query, newKey, newValue] = split(projected, widths).map((x) => splitHeads(x, heads));

  const sharesBuffer = Boolean(past && attributes.past_present_share_buffer);
  const start = sharesBuffer ? pastLength.data[0] : past?.shape[3] ?? 0;
  const rotate = attributes.do_rotary ? rotation(attn, query, start, attributes.rotary_embedding_dim, Float) : (x) => x;
  const seqLenKv = start + newKey.shape[2];
  const capacity = sharesBuffer ? past.shape[3] : seqLenKv;
  const half = (index) => past && reshape(slice(past, 0, index, index + 1), past.shape.slice(1));
  const starts = new Array(input.shape[0]).fill(start);
  const presentKey = append(half(0), rotate(newKey), starts, capacity, sharesBuffer);
  const presentValue = append(half(1), newValue, starts, capacity, sharesBuffer);

  const { output } = attn.sdpa(rotate(query), slice(presentKey, 2, 0, seqLenKv), slice(presentValue, 2, 0, seqLenKv), {
    ...maskOptions({ query, seqLenKv, start, maskIndex, attentionBias, attributes, Float }),
    scale: attributes.scale || null,
  });
  const pair = [presentKey, presentValue].map((x) => reshape(x, [1, ...x.shape]));
  return { output: joinHeads(output), present: concatIfAlike(pair) };
}

/** x in columns of these widths. */
function split(x, widths) {
  let start = 0;
  return widths.map((width) => slice(x, x.shape.length - 1, start, (start += width)));
}

/** `present` is one tensor, which there can only be where keys and values are of one width. */
const concatIfAlike = ([key, value]) => (key.shape.at(-1) === value.shape.at(-1) ? concat([key, value], 0) : undefined);

/** do_rotary has no caches among its inputs: angles are position * 10000^(-2i/dim), halves rotate against each other. */
function rotation(attn, query, start, rotaryDim, Float) {
  const dim = rotaryDim || query.shape[3];
  const angles = [start + query.shape[2], dim / 2];
  const cache = (wave) => generate(Float, angles, ([position, i]) => wave(position * 10000 ** ((-2 * i) / dim)));
  const [cos, sin] = [cache(Math.cos), cache(Math.sin)];
  const positionIds = positions(query.shape[0], query.shape[2], () => start);
  return (x) => need(attn, 'rotaryEmbedding')(x, { cos, sin, positionIds, rotaryDim: dim });
}

const positions = (batch, seqLen, start) => generate(Int32Array, [batch, seqLen], ([b, s]) => start(b) + s);

/**
 * The cache [batch, heads, capacity, dim] after a call: the first starts[b] rows of `past`, the new rows, and then, where the
 * buffer is shared, what it held before, else zeros.
 */
function append(past, fresh, starts, capacity, sharesBuffer = false) {
  const [, heads, seqLen, dim] = fresh.shape;
  return generate(fresh.data.constructor, fresh.shape.with(2, capacity), ([b, h, row, d]) => {
    const s = row - starts[b];
    if (s >= 0 && s < seqLen) return fresh.data[((b * heads + h) * seqLen + s) * dim + d];
    return s < 0 || sharesBuffer ? past.data[((b * heads + h) * past.shape[2] + row) * dim + d] : 0;
  });
}

/** The masks of Attention and MultiHeadAttention, as options of attn.sdpa. The new queries stand behind `start` cached keys. */
function maskOptions({ query, seqLenKv, start, maskIndex, attentionBias, attributes, Float }) {
  const [batch, heads, seqLenQ] = query.shape;
  const shape = [batch, heads, seqLenQ, seqLenKv];
  const offsets = new Array(batch).fill(start);
  const causal = Boolean(attributes.unidirectional);
  if (!maskIndex) return limits({ shape, mask: attentionBias, offsets, causal });
  const shows = padding(maskIndex, batch, seqLenQ, seqLenKv);
  const bias = attentionBias && broadcastTo(attentionBias, shape);
  const filter = attributes.mask_filter_value ?? DEFAULT_FILTER;
  const mask = generate(Float, shape, ([b, , i, j], at) => (bias ? bias.data[at] : 0) + (shows(b, i, j) ? 0 : filter));
  return limits({ shape, mask, offsets, causal });
}

/** Which keys mask_index (key_padding_mask) shows, in each of the forms that it comes in. */
function padding({ data, shape }, batch, seqLenQ, seqLenKv) {
  if (shape.length === 1) {
    // Ends; ends and starts; or ends and two kinds of cumulated lengths, which say nothing more.
    const starts = shape[0] === 2 * batch ? data.subarray(batch) : null;
    return (b, i, j) => j < data[b] && (!starts || j >= starts[b]);
  }
  const columns = shape.at(-1);
  if (shape.length === 2) {
    // A single column for several keys is a dummy; fewer columns than keys cover the newest ones.
    if (columns === 1 && seqLenKv > 1) return () => true;
    const unmasked = seqLenKv - columns;
    return (b, i, j) => j < unmasked || data[b * columns + j - unmasked] > 0;
  }
  if (shape.length === 3) return (b, i, j) => data[(b * seqLenQ + i) * columns + j] > 0;
  // Megatron's square mask over all positions: the queries are the last rows in use.
  return (b, i, j) => data[(b * shape[2] + seqLenKv - seqLenQ + i) * columns + j] > 0;
}

// MultiHeadAttention

/** Attention of inputs that are projected already, but for the bias. */
function multiHeadAttention({ inputs, attributes, wanted, Float }, attn) {
  const { key_padding_mask: maskIndex, attention_bias: attentionBias, past_key: pastKey, past_value: pastValue } = inputs;
  refuse(inputs.cache_indirection, 'cache_indirection (beam search)');
  const { query, newKey, newValue } = headsOf(inputs, attributes.num_heads);
  const sharesBuffer = inputs.past_sequence_length !== undefined;
  const start = sharesBuffer ? inputs.past_sequence_length.data[0] : pastKey?.shape[2] ?? 0;
  const seqLenKv = start + newKey.shape[2];
  const capacity = sharesBuffer ? pastKey.shape[2] : seqLenKv;
  const starts = new Array(query.shape[0]).fill(start);
  const presentKey = append(pastKey, newKey, starts, capacity, sharesBuffer);
  const presentValue = append(pastValue, newValue, starts, capacity, sharesBuffer);
  const { output, scores } = attn.sdpa(query, slice(presentKey, 2, 0, seqLenKv), slice(presentValue, 2, 0, seqLenKv), {
    ...maskOptions({ query, seqLenKv, start, maskIndex, attentionBias, attributes, Float }),
    scale: attributes.scale || null,
    returnScores: wanted.has('qk') ? 'masked' : false,
  });
  return { output: joinHeads(output), present_key: presentKey, present_value: presentValue, qk: scores };
}

/**
 * Queries, keys and values as [batch, heads, seq, dim], the bias added. They come side by side in [batch, seq, heads *
 * dim]; all in one as [batch, seq, heads, 3, dim]; keys and values in one as [batch, seq, heads, 2, dim]; or, for cross
 * attention to a cache, keys and values as [batch, heads, seq, dim], which then have their bias already.
 */
function headsOf({ query, key, value, bias }, heads) {
  const part = (packed, index) => {
    const one = slice(packed, 3, index, index + 1);
    return reshape(one, [one.shape[0], one.shape[1], heads * one.shape[4]]);
  };
  const [q, k, v] =
    query.shape.length === 5 ? [part(query, 0), part(query, 1), part(query, 2)]
    : key.shape.length === 5 ? [query, part(key, 0), part(key, 1)]
    : [query, key, value];
  const cached = k.shape.length === 4;
  const width = q.shape[2];
  const [qBias, kBias, vBias] = bias ? split(bias, [width, width, bias.shape[0] - 2 * width]) : [];
  return {
    query: splitHeads(addToRows(q, qBias), heads),
    newKey: cached ? k : splitHeads(addToRows(k, kBias), heads),
    newValue: cached ? v : splitHeads(addToRows(v, vBias), heads),
  };
}

const addToRows = (x, bias) =>
  bias ? generate(x.data.constructor, x.shape, (index, at) => x.data[at] + bias.data[index.at(-1)]) : x;

// GroupQueryAttention

/** Grouped heads over a key/value cache; causal with the newest query at the newest key. Hidden keys have weight 0, as ours. */
function groupQueryAttention(kase, attn) {
  const { inputs, attributes, Float, wanted } = kase;
  refuse(inputs.q_norm_weight, 'q_norm_weight, k_norm_weight (RMS norm)');
  refuse(inputs.k_scale || inputs.v_scale, 'quantized key/value cache');
  refuse(attributes.sliding_window_cache, 'sliding_window_cache');
  const { num_heads: heads, kv_num_heads: kvHeads } = attributes;
  const { past_key: pastKey, past_value: pastValue, attention_bias: attentionBias, head_sink: headSink } = inputs;
  const headDim = inputs.key ? inputs.query.shape[2] / heads : inputs.query.shape[2] / (heads + 2 * kvHeads);
  const [flatQuery, flatKey, flatValue] = inputs.key
    ? [inputs.query, inputs.key, inputs.value]
    : split(inputs.query, [heads * headDim, kvHeads * headDim, kvHeads * headDim]);

  const { totals, seqLenKv, starts, prompt } = cacheLengths(kase);
  const rotate = attributes.do_rotary ? cachedRotation(kase, attn, starts, prompt) : (x) => x;
  const query = rotate(splitHeads(flatQuery, heads));
  const capacity = Math.max(seqLenKv, pastKey?.shape[2] ?? 0);
  const presentKey = append(pastKey, rotate(splitHeads(flatKey, kvHeads)), starts, capacity);
  const presentValue = append(pastValue, splitHeads(flatValue, kvHeads), starts, capacity);

  const [batch, , seqLenQ] = query.shape;
  const hasSink = Boolean(attributes.smooth_softmax) || headSink !== undefined;
  const options = limits({
    shape: [batch, heads, seqLenQ, seqLenKv],
    mask: attentionBias && slice(attentionBias, attentionBias.shape.length - 1, 0, seqLenKv),
    offsets: starts,
    lengths: totals,
    causal: (attributes.causal ?? 1) !== 0,
    left: windowLeft(kase),
    asMask: hasSink,
  });
  let key = slice(presentKey, 2, 0, seqLenKv);
  let value = slice(presentValue, 2, 0, seqLenKv);
  if (hasSink) {
    // smooth_softmax and head_sink add exp(sink) (1 for smooth_softmax) to the denominator: one key and value of zeros
    // more, with the sink as its mask.
    options.attnMask = withFirstColumn(options.attnMask, Float, (head) => headSink?.data[head] ?? 0);
    const zeros = full(Float, key.shape.with(2, 1), 0);
    key = concat([zeros, key], 2);
    value = concat([zeros, value], 2);
  }
  const afterSoftmax = attributes.qk_output === 2;
  const { output, scores, weights } = attn.sdpa(query, key, value, {
    ...options,
    scale: attributes.scale || null,
    softcap: attributes.softcap ?? 0,
    returnScores: wanted.has('output_qk') && !afterSoftmax ? 'masked' : false,
    returnWeights: wanted.has('output_qk') && afterSoftmax,
  });
  return {
    output: joinHeads(output),
    present_key: presentKey,
    present_value: presentValue,
    output_qk: wanted.has('output_qk') ? scoresOf(afterSoftmax ? weights : scores, hasSink) : undefined,
  };
}

/**
 * How many keys each batch element has, at which row of the cache the new ones start, and how many there are at most.
 * A first prompt (seqLenQ equal to the total) starts at 0 and may be padded on the right.
 */
function cacheLengths({ inputs, variant }) {
  const { query, past_key: pastKey, seqlens_k: lastKeys, total_sequence_length: total } = inputs;
  const [batch, seqLenQ] = query.shape;
  if (variant === 'jsweb-seqlens') {
    // These fixtures carry placeholders in seqlens_k and total_sequence_length; the shapes are right.
    const past = pastKey?.shape[2] ?? 0;
    const every = (x) => new Array(batch).fill(x);
    return { totals: every(past + seqLenQ), seqLenKv: past + seqLenQ, starts: every(past), prompt: past === 0 };
  }
  const totals = Array.from(lastKeys.data, (last) => last + 1);
  const seqLenKv = total.data[0];
  const prompt = seqLenKv === seqLenQ;
  return { totals, seqLenKv, starts: totals.map((keys) => (prompt ? 0 : keys - seqLenQ)), prompt };
}

/** local_window_size w shows w keys, the query's own included; but onnxruntime 1.21's own CPU results showed w + 1. */
function windowLeft({ attributes, source }) {
  const size = attributes.local_window_size ?? -1;
  if (size < 0) return -1;
  return /running onnxruntime 1\.21/.test(source) ? size : size - 1;
}

function cachedRotation({ inputs, attributes }, attn, starts, prompt) {
  const { query, cos_cache: cos, sin_cache: sin, position_ids: ids } = inputs;
  const [batch, seqLen] = query.shape;
  // Of a first prompt's position_ids only the first one counts.
  const start = (b) => (ids ? ids.data[0] : starts[b]);
  const positionIds = ids && !prompt ? reshape(ids, [batch, seqLen]) : positions(batch, seqLen, start);
  const interleaved = Boolean(attributes.rotary_interleaved);
  return (x) => need(attn, 'rotaryEmbedding')(x, { cos, sin, positionIds, interleaved, rotaryDim: 2 * cos.shape[1] });
}

/** output_qk shows 0 where a key is hidden, before softmax, too; and no sink. */
function scoresOf(scores, hasSink) {
  const shown = hasSink ? slice(scores, 3, 1, scores.shape[3]) : scores;
  return map(shown, (x) => (x === -Infinity ? 0 : x));
}

// RotaryEmbedding

/** `input` is [batch, seq, heads * dim] or [batch, heads, seq, dim]; position_ids may be one number, the first position. */
function rotaryEmbedding({ inputs, attributes }, attn) {
  const { input, position_ids: ids, cos_cache: cos, sin_cache: sin } = inputs;
  refuse((attributes.scale ?? 1) !== 1, 'scale of com.microsoft.RotaryEmbedding');
  const rotaryDim = attributes.rotary_embedding_dim || 2 * cos.shape[1];
  const flat = input.shape.length === 3;
  const numHeads = flat ? attributes.num_heads || input.shape[2] / rotaryDim : undefined;
  const seqLen = input.shape[flat ? 1 : 2];
  const positionIds = ids.shape.length === 2 ? ids : positions(input.shape[0], seqLen, () => ids.data[0]);
  const interleaved = Boolean(attributes.interleaved);
  return { output: need(attn, 'rotaryEmbedding')(input, { cos, sin, positionIds, interleaved, rotaryDim, numHeads }) };
}
