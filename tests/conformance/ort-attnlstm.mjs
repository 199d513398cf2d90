// com.microsoft.AttnLSTM: an LSTM that attends, at every step, to a memory with Bahdanau's additive score.
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftattnlstm
//
// The attention and every matrix product are the engine's. The LSTM cell's gates, which are no attention, are here.

import { need, refuse } from './features.mjs';
import { concat, full, generate, reshape, slice, transpose } from './tensors.mjs';

const DEFAULT_ACTIVATIONS = ['sigmoid', 'tanh', 'tanh'];

export function attnLstm(kase, attn) {
  const { inputs, attributes } = kase;
  const activations = (attributes.activations ?? []).map((name) => name.toLowerCase());
  refuse(activations.some((name, i) => name !== DEFAULT_ACTIVATIONS[i % 3]), `activations ${activations}`);
  const { direction = 'forward' } = attributes;
  const directions = direction === 'bidirectional' ? ['forward', 'reverse'] : [direction];
  const share = (x, d) => x && reshape(slice(x, 0, d, d + 1), x.shape.slice(1));
  const runs = directions.map((one, d) => runDirection(kase, attn, (name) => share(inputs[name], d), one));
  const stack = (name, axis) => concat(runs.map((run) => reshape(run[name], run[name].shape.toSpliced(axis, 0, 1))), axis);
  return { Y: stack('states', 1), Y_h: stack('h', 0), Y_c: stack('c', 0) };
}

/** One direction over X [seq, batch, dim]; `parameter` gives its own share of a parameter by the operator's name. */
function runDirection({ inputs, attributes, concat_order: concatOrder = 'h, context', Float }, attn, parameter, direction) {
  const { X, sequence_lens: sequenceLens } = inputs;
  const [seqLen, batch] = X.shape;
  const hidden = attributes.hidden_size;
  const lengths = sequenceLens ? sequenceLens.data : new Int32Array(batch).fill(seqLen);
  const linear = need(attn, 'linear');
  const attend = memoryAttention(inputs, parameter, attn);
  const attentionLayer = parameter('AW') && transpose(parameter('AW'));

  const biases = parameter('B') ?? full(Float, [8 * hidden], 0);
  const [inputBias, recurrentBias] = [slice(biases, 0, 0, 4 * hidden), slice(biases, 0, 4 * hidden, 8 * hidden)];
  const [W, R] = [parameter('W'), parameter('R')];
  let h = parameter('initial_h') ?? full(Float, [batch, hidden], 0);
  let c = parameter('initial_c') ?? full(Float, [batch, hidden], 0);
  let attention = full(Float, [batch, W.shape[1] - X.shape[2]], 0);
  const states = full(Float, [seqLen, batch, hidden], 0);

  for (let step = 0; step < seqLen; step++) {
    // Each sequence runs over its own length, from its own end if reversed; a finished one keeps its last state.
    const at = (b) => (direction === 'reverse' ? lengths[b] - 1 - step : step);
    const running = (b) => step < lengths[b];
    const x = generate(Float, [batch, X.shape[2]], ([b, i]) => (running(b) ? X.data[(at(b) * batch + b) * X.shape[2] + i] : 0));
    const fromInput = linear(concat([x, attention], 1), W, inputBias);
    const fromState = linear(h, R, recurrentBias);
    const next = cell(fromInput, fromState, c, parameter('P'), attributes, Float);
    h = generate(Float, h.shape, ([b], i) => (running(b) ? next.h.data[i] : h.data[i]));
    c = generate(Float, c.shape, ([b], i) => (running(b) ? next.c.data[i] : c.data[i]));
    for (let b = 0; b < batch; b++) {
      if (running(b)) states.data.set(h.data.subarray(b * hidden, (b + 1) * hidden), (at(b) * batch + b) * hidden);
    }
    const context = attend(h);
    const both = concatOrder.startsWith('context') ? [context, h] : [h, context];
    attention = attentionLayer ? linear(concat(both, 1), attentionLayer) : context;
  }
  return { states, h, c };
}

/** softmax over the memory's rows m of V . tanh(MW m + QW h), applied to the memory; the memory is projected once. */
function memoryAttention({ M: memory, memory_seq_lens: lengths }, parameter, attn) {
  const scoreAttention = need(attn, 'scoreAttention');
  const keys = need(attn, 'linear')(memory, transpose(parameter('MW')));
  const options = {
    score: 'additive',
    wQuery: transpose(parameter('QW')),
    v: parameter('V'),
    kvLengths: lengths && [...lengths.data],
  };
  return (h) => {
    const [batch, hidden] = h.shape;
    const { output } = scoreAttention(reshape(h, [batch, 1, hidden]), keys, memory, options);
    return reshape(output, [batch, memory.shape[2]]);
  };
}

/** The gates, in the operator's order: input, output, forget, cell. P holds the peepholes of the first three. */
function cell(fromInput, fromState, c, P, { hidden_size: hidden, clip = Infinity, input_forget: coupled }, Float) {
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const clipped = (x) => Math.min(Math.max(x, -clip), clip);
  const next = { h: full(Float, c.shape, 0), c: full(Float, c.shape, 0) };
  for (let i = 0; i < c.data.length; i++) {
    const unit = i % hidden;
    const row = 4 * (i - unit);
    const gate = (g) => fromInput.data[row + g * hidden + unit] + fromState.data[row + g * hidden + unit];
    const peep = (g, state) => (P ? P.data[g * hidden + unit] * state : 0);
    const input = sigmoid(clipped(gate(0) + peep(0, c.data[i])));
    const forget = coupled ? 1 - input : sigmoid(clipped(gate(2) + peep(2, c.data[i])));
    const state = forget * c.data[i] + input * Math.tanh(clipped(gate(3)));
    next.c.data[i] = state;
    next.h.data[i] = sigmoid(clipped(gate(1) + peep(1, state))) * Math.tanh(state);
  }
  return next;
}
