// Plain JavaScript, as a careful reader of the paper would write it.

export function loopContender({ row, query, key, value }) {
  const { heads, headDim, seqLenQ, seqLenKv } = row;
  const scale = 1 / Math.sqrt(headDim);
  const attend = () => {
    const output = new Float32Array(query.data.length);
    const weights = new Float32Array(seqLenKv);
    for (let h = 0; h < heads; h++) {
      const keys = key.data.subarray(h * seqLenKv * headDim, (h + 1) * seqLenKv * headDim);
      const values = value.data.subarray(h * seqLenKv * headDim, (h + 1) * seqLenKv * headDim);
      for (let i = 0; i < seqLenQ; i++) {
        const start = (h * seqLenQ + i) * headDim;
        const q = query.data.subarray(start, start + headDim);
        const out = output.subarray(start, start + headDim);
        let max = -Infinity;
        for (let j = 0; j < seqLenKv; j++) {
          let sum = 0;
          for (let d = 0; d < headDim; d++) sum += q[d] * keys[j * headDim + d];
          weights[j] = sum * scale;
          max = Math.max(max, weights[j]);
        }
        let total = 0;
        for (let j = 0; j < seqLenKv; j++) total += weights[j] = Math.exp(weights[j] - max);
        for (let j = 0; j < seqLenKv; j++) {
          const weight = weights[j] / total;
          for (let d = 0; d < headDim; d++) out[d] += weight * values[j * headDim + d];
        }
      }
    }
    return output;
  };
  return { name: 'plain JavaScript', run: attend, result: (output) => ({ output }) };
}
