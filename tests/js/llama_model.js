// Random Llamas, the files they would be in, and what they compute, in plain loops and float64.

import { linear } from './oracle.js';

export const LAYER = ['attentionNorm', 'wq', 'wk', 'wv', 'wo', 'feedForwardNorm', 'w1', 'w2', 'w3'];

export function shapesOf({ dim, hiddenDim, numHeads, numKvHeads, vocabSize }) {
  const kvDim = (dim / numHeads) * numKvHeads;
  return {
    embedding: [vocabSize, dim], output: [vocabSize, dim], finalNorm: [dim], attentionNorm: [dim], feedForwardNorm: [dim],
    wq: [dim, dim], wk: [kvDim, dim], wv: [kvDim, dim], wo: [dim, dim], w1: [hiddenDim, dim], w2: [dim, hiddenDim], w3: [hiddenDim, dim],
  };
}

// randomModel(config, next, isShared) -> { config, embedding, output, finalNorm, layers: [{ ... }] }, float32 arrays
export function randomModel(config, next, isShared) {
  const shapes = shapesOf(config);
  const make = (name) => {
    const isNorm = shapes[name].length === 1;
    const size = isNorm ? 1 : 1.7 / Math.sqrt(shapes[name][1]);
    return Float32Array.from({ length: shapes[name].reduce((a, b) => a * b, 1) }, () => (isNorm ? 1 + next() / 4 : name === 'embedding' ? next() : size * next()));
  };
  const embedding = make('embedding');
  return {
    config, embedding, output: isShared ? embedding : make('output'), finalNorm: make('finalNorm'),
    layers: Array.from({ length: config.numLayers }, () => Object.fromEntries(LAYER.map((name) => [name, make(name)]))),
  };
}

const bytesOf = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
const floats = (...lists) => Buffer.concat(lists.map(bytesOf));
const numbers = (...list) => bytesOf(Int32Array.from(list));

// As export.py's quantize_q80: symmetric, the largest of a group becomes 127.
export function quantise(w, groupSize) {
  const scales = new Float32Array(w.length / groupSize);
  const int8 = new Int8Array(w.length);
  for (let g = 0; g < scales.length; g++) {
    const group = w.subarray(g * groupSize, (g + 1) * groupSize);
    scales[g] = group.reduce((max, x) => Math.max(max, Math.abs(x)), 0) / 127;
    group.forEach((x, i) => { int8[g * groupSize + i] = scales[g] === 0 ? 0 : Math.round(x / scales[g]); });
  }
  const expanded = Float32Array.from(int8, (q, i) => q * scales[Math.floor(i / groupSize)]);
  return { int8, scales, expanded };
}

// The model whose matrices are what the quantised ones stand for.
export function dequantised(model, groupSize) {
  const through = (w) => quantise(w, groupSize).expanded;
  const embedding = through(model.embedding);
  return {
    ...model, embedding, output: model.output === model.embedding ? embedding : through(model.output),
    layers: model.layers.map((layer) => Object.fromEntries(LAYER.map((name) => [name, name.endsWith('Norm') ? layer[name] : through(layer[name])]))),
  };
}

// write(model, version, groupSize) -> the file
export function write({ config, embedding, output, finalNorm, layers }, version, groupSize = 4) {
  const { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen } = config;
  const isShared = output === embedding;
  const each = (...names) => names.flatMap((name) => layers.map((layer) => layer[name]));
  if (version === 0)
    return Buffer.concat([
      numbers(dim, hiddenDim, numLayers, numHeads, numKvHeads, isShared ? vocabSize : -vocabSize, seqLen),
      floats(embedding, ...each(...LAYER), finalNorm, new Float32Array((seqLen * dim) / numHeads).fill(7), ...(isShared ? [] : [output])),
    ]);
  const header = Buffer.alloc(256);
  header.writeUint32LE(0x616b3432, 0);
  numbers(version, dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen).copy(header, 4);
  header[36] = Number(isShared);
  if (version === 2) header.writeInt32LE(groupSize, 37);
  const norms = floats(...each('attentionNorm', 'feedForwardNorm'), finalNorm);
  const matrices = [embedding, ...each('wq', 'wk', 'wv', 'wo', 'w1', 'w2', 'w3'), ...(isShared ? [] : [output])];
  const written = matrices.map((w) => {
    if (version === 1) return bytesOf(w);
    const { int8, scales } = quantise(w, groupSize);
    return floats(int8, scales);
  });
  return Buffer.concat([header, norms, ...written]);
}

// forward(model, tokens, { silenced }) -> { logits: [[...]] of every token, weights[layer][head][row][key] }
export function forward({ config, embedding, output, finalNorm, layers }, tokens, { silenced = [], epsilon = 1e-5, theta = 10000 } = {}) {
  const { dim, hiddenDim, numHeads, numKvHeads, vocabSize } = config;
  const headDim = dim / numHeads;
  const kvDim = headDim * numKvHeads;
  const norm = (x, weight) => {
    const root = Math.sqrt(x.reduce((sum, e) => sum + e * e, 0) / dim + epsilon);
    return x.map((e, i) => (e / root) * weight[i]);
  };
  const turn = (x, position) => x.map((e, i) => {
    const angle = position * theta ** (-(i % headDim - (i % 2)) / headDim);
    return i % 2 ? Math.sin(angle) * x[i - 1] + Math.cos(angle) * e : Math.cos(angle) * e - Math.sin(angle) * x[i + 1];
  });
  let rows = tokens.map((token) => Array.from(embedding.subarray(token * dim, (token + 1) * dim)));
  const weights = layers.map((layer, l) => {
    const input = rows.map((x) => norm(x, layer.attentionNorm));
    const q = input.map((x, p) => turn(linear(x, 1, dim, layer.wq, dim), p));
    const k = input.map((x, p) => turn(linear(x, 1, dim, layer.wk, kvDim), p));
    const v = input.map((x) => linear(x, 1, dim, layer.wv, kvDim));
    const heads = rows.map(() => new Array(dim).fill(0));
    const maps = Array.from({ length: numHeads }, (_, h) => q.map((query, i) => {
      const at = Math.floor(h / (numHeads / numKvHeads)) * headDim;
      const scores = k.slice(0, i + 1).map((key) => {
        let dot = 0;
        for (let d = 0; d < headDim; d++) dot += query[h * headDim + d] * key[at + d];
        return dot / Math.sqrt(headDim);
      });
      const max = Math.max(...scores);
      const exps = scores.map((s) => Math.exp(s - max));
      const sum = exps.reduce((a, b) => a + b);
      const isSilent = silenced.some((s) => s.layer === l && s.head === h);
      return rows.map((_, j) => {
        const weight = j <= i ? exps[j] / sum : 0;
        if (!isSilent) for (let d = 0; d < headDim; d++) heads[i][h * headDim + d] += weight * v[j][at + d];
        return weight;
      });
    }));
    rows = rows.map((x, i) => {
      const out = linear(heads[i], 1, dim, layer.wo, dim);
      return x.map((e, d) => e + out[d]);
    });
    rows = rows.map((x) => {
      const normed = norm(x, layer.feedForwardNorm);
      const up = linear(normed, 1, dim, layer.w3, hiddenDim);
      const hidden = linear(normed, 1, dim, layer.w1, hiddenDim).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
      const out = linear(hidden, 1, hiddenDim, layer.w2, dim);
      return x.map((e, d) => e + out[d]);
    });
    return maps;
  });
  return { logits: rows.map((x) => linear(norm(x, finalNorm), 1, dim, output, vocabSize)), weights };
}

// tokenizerFile([[score, bytes or text]], longest) -> the file
export function tokenizerFile(entries, longest = Math.max(...entries.map(([, piece]) => Buffer.from(piece).length))) {
  return Buffer.concat([numbers(longest), ...entries.flatMap(([score, piece]) => {
    const bytes = Buffer.from(piece);
    return [floats(Float32Array.of(score)), numbers(bytes.length), bytes];
  })]);
}

// <unk>, <s>, </s>, the 256 bytes, and then these.
export const vocabulary = (pieces) => [[0, '<unk>'], [0, '\n<s>\n'], [0, '\n</s>\n'],
  ...Array.from({ length: 256 }, (_, byte) => [0, `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`]), ...pieces];
