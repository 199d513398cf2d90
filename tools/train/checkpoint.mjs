// The two llama2.c file versions that the training deals in: the trainer writes the first (float32), what ships is the
// int8 one ("ak42", version 2), as llama2.c's export.py makes it.

import { tensors } from '../../web/model/untrained.js';

const HEADER_BYTES = 256;
const MAGIC = 0x616b3432;
export const GROUP_SIZE = 64;

const isNorm = ([, , , columns]) => columns === 1;
const sizeOf = ([, matrices, out, columns]) => matrices * out * columns;

/** { config, parameters } of what the trainer wrote. */
export function readFloat(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen] = Array.from({ length: 7 }, (_, i) => view.getInt32(4 * i, true));
  const config = { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen };
  const parameters = new Float32Array(tensors(config).reduce((sum, tensor) => sum + sizeOf(tensor), 0));
  for (let i = 0; i < parameters.length; i++) parameters[i] = view.getFloat32(28 + 4 * i, true);
  return { config, parameters };
}

// Each matrix (of each layer) with its part of the parameters; the int8 file has the norms first, then the matrices.
function partsOf(config, parameters) {
  let at = 0;
  const single = tensors(config).flatMap(([name, matrices, ...sizes]) => Array.from({ length: matrices }, () => [name, 1, ...sizes]));
  const parts = single.map((tensor) => ({ tensor, values: parameters.subarray(at, (at += sizeOf(tensor))) }));
  return [...parts.filter(({ tensor }) => isNorm(tensor)), ...parts.filter(({ tensor }) => !isNorm(tensor))];
}

/** Why a model of these sizes has no int8 form, or undefined. */
export function faultOf(config) {
  const odd = tensors(config).find((tensor) => !(sizeOf(tensor) > 0) || (!isNorm(tensor) && sizeOf(tensor) % GROUP_SIZE !== 0));
  return odd && `with these sizes ${odd[0]} has ${sizeOf(odd)} values: no whole number of groups of ${GROUP_SIZE}`;
}

// torch.round: halves go to the even neighbour.
function roundToEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** The int8 file: groups of GROUP_SIZE values share a float32 scale, largest / 127. */
export function writeInt8(config, parameters) {
  const fault = faultOf(config);
  if (fault) throw new RangeError(fault);
  const parts = partsOf(config, parameters);
  const bytes = parts.reduce((sum, { tensor, values }) => sum + values.length * (isNorm(tensor) ? 4 : 1 + 4 / GROUP_SIZE), HEADER_BYTES);
  const file = new Uint8Array(bytes);
  const view = new DataView(file.buffer);
  const { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen } = config;
  [MAGIC, 2, dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen].forEach((size, i) => view.setInt32(4 * i, size, true));
  view.setUint8(36, 1); // the output matrix is the embedding
  view.setInt32(37, GROUP_SIZE, true);
  let at = HEADER_BYTES;
  for (const { tensor, values } of parts) {
    if (isNorm(tensor)) {
      for (const value of values) view.setFloat32((at += 4) - 4, value, true);
      continue;
    }
    const scales = [];
    for (let first = 0; first < values.length; first += GROUP_SIZE) {
      const group = values.subarray(first, first + GROUP_SIZE);
      const scale = Math.fround(group.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
      for (const value of group) view.setInt8(at++, scale === 0 ? 0 : roundToEven(Math.fround(value / scale)));
      scales.push(scale);
    }
    for (const scale of scales) view.setFloat32((at += 4) - 4, scale, true);
  }
  return file;
}

/** { config, parameters } of an int8 file: what a program computes with that expands it. */
export function readInt8(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || view.getInt32(0, true) !== MAGIC || view.getInt32(4, true) !== 2 || view.getUint8(36) !== 1)
    throw new RangeError('not an int8 llama2.c checkpoint with a shared output matrix');
  const [dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen] = Array.from({ length: 7 }, (_, i) => view.getInt32(8 + 4 * i, true));
  const config = { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen };
  const groupSize = view.getInt32(37, true);
  const parameters = new Float32Array(tensors(config).reduce((sum, tensor) => sum + sizeOf(tensor), 0));
  let at = HEADER_BYTES;
  for (const { tensor, values } of partsOf(config, parameters)) {
    if (isNorm(tensor)) {
      for (let i = 0; i < values.length; i++, at += 4) values[i] = view.getFloat32(at, true);
      continue;
    }
    const scales = at + values.length;
    for (let i = 0; i < values.length; i++) values[i] = view.getInt8(at + i) * view.getFloat32(scales + 4 * Math.floor(i / groupSize), true);
    at = scales + 4 * (values.length / groupSize);
  }
  return { config, parameters };
}
