// A Llama's forward pass in plain JavaScript, one token at a time, as a careful reader of llama2.c would write it.

// product(out, w, x): out = w x, for w [out.length, x.length]
function product(out, w, x) {
  for (let o = 0, at = 0; o < out.length; o++) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += w[at++] * x[i];
    out[o] = sum;
  }
}

function norm(out, x, weight) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  const factor = 1 / Math.sqrt(sum / x.length + 1e-5);
  for (let i = 0; i < x.length; i++) out[i] = x[i] * factor * weight[i];
}

function rotate(x, headDim, position) {
  for (let i = 0; i < x.length; i += 2) {
    const angle = position * 10000 ** (-(i % headDim) / headDim);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [a, b] = [x[i], x[i + 1]];
    x[i] = cos * a - sin * b;
    x[i + 1] = sin * a + cos * b;
  }
}

// weights: { embedding, output, finalNorm, layers: [{ attentionNorm, wq, wk, wv, wo, feedForwardNorm, w1, w2, w3 }] }, flat.
// -> { forward(token): logits, with the keys and values of the tokens before, truncate(length): forget all later ones }
export function plainLlama(config, weights) {
  const { dim, hiddenDim, numHeads, numKvHeads, headDim, vocabSize, seqLen } = config;
  const kvDim = numKvHeads * headDim;
  const caches = weights.layers.map(() => ({ keys: new Float32Array(seqLen * kvDim), values: new Float32Array(seqLen * kvDim) }));
  const [x, y, q, heads] = [dim, dim, dim, dim].map((n) => new Float32Array(n));
  const [gate, up] = [hiddenDim, hiddenDim].map((n) => new Float32Array(n));
  const [scores, logits] = [new Float32Array(seqLen), new Float32Array(vocabSize)];
  let position = 0;

  function attend({ keys, values }) {
    heads.fill(0);
    for (let h = 0; h < numHeads; h++) {
      const kv = Math.floor(h / (numHeads / numKvHeads)) * headDim;
      let max = -Infinity;
      for (let j = 0; j <= position; j++) {
        let sum = 0;
        for (let d = 0; d < headDim; d++) sum += q[h * headDim + d] * keys[j * kvDim + kv + d];
        scores[j] = sum / Math.sqrt(headDim);
        max = Math.max(max, scores[j]);
      }
      let total = 0;
      for (let j = 0; j <= position; j++) total += scores[j] = Math.exp(scores[j] - max);
      for (let j = 0; j <= position; j++)
        for (let d = 0; d < headDim; d++) heads[h * headDim + d] += (scores[j] / total) * values[j * kvDim + kv + d];
    }
  }

  return {
    truncate(length) {
      position = length;
    },
    forward(token) {
      x.set(weights.embedding.subarray(token * dim, (token + 1) * dim));
      weights.layers.forEach((layer, l) => {
        const [key, value] = ['keys', 'values'].map((name) => caches[l][name].subarray(position * kvDim, (position + 1) * kvDim));
        norm(y, x, layer.attentionNorm);
        product(q, layer.wq, y);
        product(key, layer.wk, y);
        product(value, layer.wv, y);
        rotate(q, headDim, position);
        rotate(key, headDim, position);
        attend(caches[l]);
        product(y, layer.wo, heads);
        for (let i = 0; i < dim; i++) x[i] += y[i];
        norm(y, x, layer.feedForwardNorm);
        product(gate, layer.w1, y);
        product(up, layer.w3, y);
        for (let i = 0; i < hiddenDim; i++) gate[i] *= up[i] / (1 + Math.exp(-gate[i]));
        product(y, layer.w2, gate);
        for (let i = 0; i < dim; i++) x[i] += y[i];
      });
      norm(y, x, weights.finalNorm);
      product(logits, weights.output, y);
      position++;
      return logits;
    },
  };
}
