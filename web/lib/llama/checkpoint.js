// The checkpoints of karpathy/llama2.c, as its export.py writes them and run.c and runq.c read them. Little-endian.
//
//   version 0  28 bytes: dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen as int32; a negative
//              vocabSize says that there is an output matrix of its own. Then float32, each kind for all layers:
//              embedding, attention norm, wq, wk, wv, wo, feed-forward norm, w1, w2, w3, final norm, two tables of
//              angles [seqLen, headDim / 2] that nothing reads any more, output
//   version 1  256 bytes: "ak42" as uint32, version, the seven numbers, one byte (output is the embedding), zeros. Then
//              float32: attention norms, feed-forward norms, final norm, embedding, wq, wk, wv, wo, w1, w2, w3, output
//   version 2  the same header with the group size as int32 behind the byte. Norms in float32; every other matrix as
//              int8 followed by one float32 scale for each group of elements, counted through the whole matrix

import { count } from '../heap.js';
import { wrongKind, wrongSize } from '../status.js';

const MAGIC = 0x616b3432;
const FIELDS = ['dim', 'hiddenDim', 'numLayers', 'numHeads', 'numKvHeads', 'vocabSize', 'seqLen'];
const LEGACY_HEADER = 28;
const HEADER = 256;
// Above this a number is no size of a model but another kind of file.
const LARGEST = 1 << 24;

const refuse = (field, expected, got) => { throw wrongSize(`checkpoint.${field}`, expected, got); };

// bytesFrom(value, name) -> Uint8Array
export function bytesFrom(value, name) {
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  const kind = Object.prototype.toString.call(value);
  if (kind === '[object ArrayBuffer]' || kind === '[object SharedArrayBuffer]') return new Uint8Array(value);
  throw wrongKind(name, 'bytes (an ArrayBuffer or a view of one)', value);
}

function readHeader(bytes) {
  if (bytes.length < LEGACY_HEADER) throw wrongSize('checkpoint', `at least ${LEGACY_HEADER} bytes (the header)`, bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const marked = view.getUint32(0, true) === MAGIC;
  if (marked && bytes.length < HEADER) throw wrongSize('checkpoint', `at least ${HEADER} bytes (the header)`, bytes.length);
  const version = marked ? view.getInt32(4, true) : 0;
  if (marked && version !== 1 && version !== 2) refuse('version', '1 (float32) or 2 (int8)', version);
  const header = Object.fromEntries(FIELDS.map((field, i) => [field, view.getInt32((marked ? 8 : 0) + 4 * i, true)]));
  let sharedOutput = header.vocabSize > 0;
  if (!marked) header.vocabSize = Math.abs(header.vocabSize);
  for (const field of FIELDS) {
    const value = header[field];
    if (value < 1 || value > LARGEST) refuse(field, `a whole number from 1 to ${LARGEST} (is this a llama2.c checkpoint?)`, value);
  }
  if (header.dim % header.numHeads) refuse('dim', `a multiple of ${header.numHeads} (numHeads)`, header.dim);
  if (header.numHeads % header.numKvHeads) refuse('numHeads', `a multiple of ${header.numKvHeads} (numKvHeads)`, header.numHeads);
  const headDim = header.dim / header.numHeads;
  if (headDim % 2) refuse('dim', 'an even number of columns for each head, which the rotary embedding turns in pairs', `${header.dim} for ${header.numHeads} heads`);
  let groupSize = null;
  if (marked) {
    const shared = bytes[36];
    if (shared > 1) refuse('sharedOutput', '0 or 1', shared);
    sharedOutput = shared === 1;
    if (version === 2) {
      groupSize = view.getInt32(37, true);
      if (groupSize < 1 || groupSize > LARGEST) refuse('groupSize', `a whole number from 1 to ${LARGEST}`, groupSize);
    }
    const rest = bytes.subarray(version === 2 ? 41 : 37, HEADER).findIndex((byte) => byte !== 0);
    if (rest >= 0) throw new RangeError(`checkpoint: expected zeros in the rest of the ${HEADER}-byte header`);
  }
  return { version, ...header, headDim, sharedOutput, groupSize };
}

// [name, shape, how many of it], in the order of the file. Names without a meaning to the decoder are skipped.
function sections({ version, dim, hiddenDim, numLayers, numKvHeads, headDim, vocabSize, seqLen, sharedOutput }) {
  const kvDim = numKvHeads * headDim;
  const embedding = [['embedding', [vocabSize, dim], 1]];
  const output = sharedOutput ? [] : [['output', [vocabSize, dim], 1]];
  const attention = [['wq', [dim, dim]], ['wk', [kvDim, dim]], ['wv', [kvDim, dim]], ['wo', [dim, dim]]];
  const feedForward = [['w1', [hiddenDim, dim]], ['w2', [dim, hiddenDim]], ['w3', [hiddenDim, dim]]];
  const each = (list) => list.map(([name, shape]) => [name, shape, numLayers]);
  const [attentionNorm, feedForwardNorm] = each([['attentionNorm', [dim]], ['feedForwardNorm', [dim]]]);
  const finalNorm = ['finalNorm', [dim], 1];
  if (version > 0) return [attentionNorm, feedForwardNorm, finalNorm, ...embedding, ...each(attention), ...each(feedForward), ...output];
  const angles = ['angles', [seqLen, headDim / 2], 2];
  return [...embedding, attentionNorm, ...each(attention), feedForwardNorm, ...each(feedForward), finalNorm, angles, ...output];
}

// Copied, so that it begins where a Float32Array may.
const floatsAt = (bytes, at, length) => new Float32Array(bytes.slice(at, at + 4 * length).buffer);

function expand(bytes, at, length, groupSize) {
  const scales = floatsAt(bytes, at + length, length / groupSize);
  const quantised = new Int8Array(bytes.buffer, bytes.byteOffset + at, length);
  const result = new Float32Array(length);
  for (let g = 0, i = 0; g < scales.length; g++) {
    const scale = scales[g];
    for (const end = i + groupSize; i < end; i++) result[i] = quantised[i] * scale;
  }
  return result;
}

// readCheckpoint(value) -> { config, tensors: [{ name, layer (0 where there is one for all), shape, read() }] }. read() gives
// float32 and refuses numbers that are not finite. Everything that can be said without looking at the weights is said here.
export function readCheckpoint(value) {
  const bytes = bytesFrom(value, 'checkpoint');
  const config = readHeader(bytes);
  const { version, groupSize } = config;
  const tensors = [];
  let at = version === 0 ? LEGACY_HEADER : HEADER;
  let size = at;
  for (const [name, shape, layers] of sections(config)) {
    const length = count(shape);
    const isQuantised = version === 2 && shape.length > 1;
    if (isQuantised && length % groupSize) refuse('groupSize', `a divisor of ${length}, the elements of ${name}`, groupSize);
    size += layers * (isQuantised ? length + (4 * length) / groupSize : 4 * length);
  }
  if (bytes.length !== size) {
    const difference = bytes.length < size ? `${size - bytes.length} are missing` : `${bytes.length - size} too many`;
    throw wrongSize('checkpoint', `${size} bytes, as its header says`, `${bytes.length}: ${difference}`);
  }
  for (const [name, shape, layers] of sections(config)) {
    const length = count(shape);
    const isQuantised = version === 2 && shape.length > 1;
    for (let layer = 0; layer < layers; layer++) {
      const from = at;
      at += isQuantised ? length + (4 * length) / groupSize : 4 * length;
      if (name === 'angles') continue;
      const read = () => {
        // Loading takes turns with other programs of the page, which may give the file's memory away.
        if (bytes.length !== size) throw new TypeError(`checkpoint: expected ${size} bytes until it is loaded, but its memory was taken away`);
        const floats = isQuantised ? expand(bytes, from, length, groupSize) : floatsAt(bytes, from, length);
        for (let i = 0; i < length; i++)
          if (!Number.isFinite(floats[i])) throw new RangeError(`checkpoint: ${name}${layers > 1 ? ` of layer ${layer}` : ''} has a number that is not finite`);
        return floats;
      };
      tensors.push({ name, layer, shape, read });
    }
  }
  return { config, tensors };
}
