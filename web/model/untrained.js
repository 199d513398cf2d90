// The model before its training. Pure, without imports: random() gives numbers in [0, 1); from a mulberry32 of the
// training's seed they are, bit for bit, the parameters that tools/train/decoder.c starts from.

/** [name, matrices, out_dim, in_dim] of each tensor, in the order of llama2.c's first file version. in_dim 1: a norm. */
export function tensors({ dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize }) {
  const kvDim = (dim / numHeads) * numKvHeads;
  return [
    ['embedding', 1, vocabSize, dim],
    ['attentionNorm', numLayers, dim, 1],
    ['wq', numLayers, dim, dim],
    ['wk', numLayers, kvDim, dim],
    ['wv', numLayers, kvDim, dim],
    ['wo', numLayers, dim, dim],
    ['ffnNorm', numLayers, dim, 1],
    ['w1', numLayers, hiddenDim, dim],
    ['w2', numLayers, dim, hiddenDim],
    ['w3', numLayers, hiddenDim, dim],
    ['finalNorm', 1, dim, 1],
  ];
}

/** The initial parameters, one Float32Array: norms 1, matrices uniform in +-1 / sqrt(in_dim), wo and w2 smaller. */
export function initialParameters(config, random) {
  const parts = tensors(config);
  const parameters = new Float32Array(parts.reduce((sum, [, matrices, out, columns]) => sum + matrices * out * columns, 0));
  let at = 0;
  for (const [name, matrices, out, columns] of parts) {
    let bound = 1 / Math.sqrt(columns);
    if (name === 'wo' || name === 'w2') bound /= Math.sqrt(2 * config.numLayers);
    for (const end = at + matrices * out * columns; at < end; at++)
      parameters[at] = columns === 1 ? 1 : (2 * random() - 1) * bound;
  }
  return parameters;
}

/** A llama2.c checkpoint (first file version, float32, output matrix shared) of these parameters: Uint8Array. */
export function checkpointOf(config, parameters) {
  const { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen } = config;
  const header = [dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen];
  // The tables of angles at the end, which no program reads any more, are zeros.
  const bytes = new Uint8Array(4 * (header.length + parameters.length + seqLen * (dim / numHeads)));
  const view = new DataView(bytes.buffer);
  header.forEach((size, i) => view.setInt32(4 * i, size, true));
  parameters.forEach((value, i) => view.setFloat32(4 * (header.length + i), value, true));
  return bytes;
}
