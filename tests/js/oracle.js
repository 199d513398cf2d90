// Attention written again, in plain loops and float64, to compare the module with; and how far float arithmetic
// with unit roundoff u may be from it.
//
// Each score s_j carries an error d_j: a sum of headDim products is off by at most headDim u sum|q||k|, and every
// further step (scale, softcap, slope, mask, minus the maximum, times log2 e) by a few u of what it handles. To first
// order a weight is then off by w_j (d_j + sum_k w_k d_k), and summing seqLenKv terms adds seqLenKv u. SLACK covers the
// second order, and the few roundings of exp.

const SLACK = 2;
const EXP = 16;
// Weights below this may be 0: subnormal numbers are slow.
const TINY = 1e-30;

// sdpa({ q, k, v, batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim, headDimV, ...options })
//   q, k, v: flat arrays; mask(b, h, i, j) -> boolean or number; alibi(b, h) -> slope; kvLengths
// -> { out, weights, scores: { raw, softcapped, masked }, logsumexp, tolerance: { the same names } }, flat arrays
export function sdpa(call, u = 2 ** -24) {
  const { q, k, v, batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim, headDimV } = call;
  const { scale = 1 / Math.sqrt(headDim), softcap = 0, isCausal, causalAlign = 'top-left', window, mask, alibi, kvLengths } = call;
  const result = () => ({ out: [], weights: [], raw: [], softcapped: [], masked: [], logsumexp: [] });
  const want = result();
  const tolerance = result();
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < numHeads; h++)
      for (let i = 0; i < seqLenQ; i++) {
        const kvHead = b * numKvHeads + Math.floor(h / (numHeads / numKvHeads));
        const keys = kvLengths ? kvLengths[b] : seqLenKv;
        const at = i + (causalAlign === 'bottom-right' ? keys - seqLenQ : 0);
        const scores = [];
        const errors = [];
        for (let j = 0; j < seqLenKv; j++) {
          let dot = 0;
          let magnitude = 0;
          for (let d = 0; d < headDim; d++) {
            const product = q[((b * numHeads + h) * seqLenQ + i) * headDim + d] * k[(kvHead * seqLenKv + j) * headDim + d];
            dot += product;
            magnitude += Math.abs(product);
          }
          const inside = j < keys;
          let score = scale * dot;
          let error = (headDim + 4) * u * Math.abs(scale) * magnitude;
          want.raw.push(inside ? score : -Infinity);
          tolerance.raw.push(inside ? SLACK * error : 0);
          if (softcap > 0) {
            score = softcap * Math.tanh(score / softcap);
            error += 8 * u * softcap;
          }
          want.softcapped.push(inside ? score : -Infinity);
          tolerance.softcapped.push(inside ? SLACK * error : 0);
          const distance = alibi ? alibi(b, h) * Math.abs(at - j) : 0;
          score -= distance;
          const m = mask ? mask(b, h, i, j) : 0;
          if (m === false) score = -Infinity;
          else if (m !== true) score += m;
          const visible = inside && (!isCausal || j <= at) && (window?.left == null || j >= at - window.left) && (window?.right == null || j <= at + window.right);
          if (!visible) score = -Infinity;
          error += 4 * u * (Math.abs(distance) + (Number.isFinite(m) ? Math.abs(m) : 0) + (Number.isFinite(score) ? Math.abs(score) : 0));
          want.masked.push(score);
          tolerance.masked.push(Number.isFinite(score) ? SLACK * error : 0);
          scores.push(score);
          errors.push(error);
        }
        const max = scores.reduce((a, s) => Math.max(a, s), -Infinity);
        const exps = scores.map((s) => (s === -Infinity ? 0 : Math.exp(s - max)));
        const sum = exps.reduce((a, e) => a + e, 0);
        const weights = exps.map((e) => (sum > 0 ? e / sum : 0));
        const own = errors.map((error, j) => error + 4 * u * (scores[j] === -Infinity ? 0 : Math.abs(scores[j] - max)));
        const mean = weights.reduce((a, w, j) => a + w * own[j], 0);
        const off = own.map((error) => SLACK * (error + mean + (seqLenKv + EXP) * u));
        for (let j = 0; j < seqLenKv; j++) {
          want.weights.push(weights[j]);
          tolerance.weights.push(weights[j] === 0 ? 0 : weights[j] * off[j] + TINY);
        }
        want.logsumexp.push(sum > 0 ? max + Math.log(sum) : -Infinity);
        tolerance.logsumexp.push(sum > 0 ? SLACK * (mean + (seqLenKv + EXP) * u + 4 * u * Math.abs(max + Math.log(sum))) : 0);
        for (let d = 0; d < headDimV; d++) {
          let out = 0;
          let error = 0;
          for (let j = 0; j < seqLenKv; j++) {
            const value = v[(kvHead * seqLenKv + j) * headDimV + d];
            out += weights[j] * value;
            error += (weights[j] * off[j] + TINY) * Math.abs(value);
          }
          want.out.push(out);
          tolerance.out.push(error);
        }
      }
  return { ...want, tolerance };
}

// y = x w^T + bias; x [rows, inDim], w [outDim, inDim]
export function linear(x, rows, inDim, w, outDim, bias) {
  const y = [];
  for (let r = 0; r < rows; r++)
    for (let o = 0; o < outDim; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < inDim; i++) sum += x[r * inDim + i] * w[o * inDim + i];
      y.push(sum);
    }
  return y;
}

// [batch, rows, heads * dim] -> [batch, heads, rows, dim]
const split = (x, batch, rows, heads, dim) => {
  const y = [];
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++)
      for (let r = 0; r < rows; r++) for (let d = 0; d < dim; d++) y.push(x[((b * rows + r) * heads + h) * dim + d]);
  return y;
};

// mha({ query, key, value: flat, batch first; batch, seqLenQ, seqLenKv, embedDim, numHeads, numKvHeads, kdim, vdim,
//       p: { q_weight, k_weight, v_weight, q_bias, k_bias, v_bias, bias_k, bias_v, out_weight, out_bias }, addZeroAttn,
//       isCausal, blocked(b, h, i, j) -> boolean or number to add })
// -> { output [batch, seqLenQ, embedDim], weights [batch, numHeads, seqLenQ, seqLenKv + extra] }
export function mha(call) {
  const { batch, seqLenQ, seqLenKv, embedDim, numHeads, numKvHeads, kdim, vdim, p, addZeroAttn, isCausal, blocked } = call;
  const headDim = embedDim / numHeads;
  const kvDim = numKvHeads * headDim;
  const q = linear(call.query, batch * seqLenQ, embedDim, p.q_weight, embedDim, p.q_bias);
  const extend = (x, extra) => {
    const y = [];
    for (let b = 0; b < batch; b++) {
      y.push(...x.slice(b * seqLenKv * kvDim, (b + 1) * seqLenKv * kvDim));
      if (extra) y.push(...extra);
      if (addZeroAttn) y.push(...new Array(kvDim).fill(0));
    }
    return y;
  };
  const k = extend(linear(call.key, batch * seqLenKv, kdim, p.k_weight, kvDim, p.k_bias), p.bias_k);
  const v = extend(linear(call.value, batch * seqLenKv, vdim, p.v_weight, kvDim, p.v_bias), p.bias_v);
  const keys = seqLenKv + (p.bias_k ? 1 : 0) + (addZeroAttn ? 1 : 0);
  const { out, weights } = sdpa({
    q: split(q, batch, seqLenQ, numHeads, headDim),
    k: split(k, batch, keys, numKvHeads, headDim),
    v: split(v, batch, keys, numKvHeads, headDim),
    batch, numHeads, numKvHeads, seqLenQ, seqLenKv: keys, headDim, headDimV: headDim,
    mask: (b, h, i, j) => {
      if (j >= seqLenKv) return true;
      if (isCausal && j > i) return false;
      const m = blocked ? blocked(b, h, i, j) : false;
      return typeof m === 'boolean' ? !m : m;
    },
  });
  const concat = [];
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < seqLenQ; i++)
      for (let h = 0; h < numHeads; h++)
        for (let d = 0; d < headDim; d++) concat.push(out[((b * numHeads + h) * seqLenQ + i) * headDim + d]);
  return { output: linear(concat, batch * seqLenQ, embedDim, p.out_weight, embedDim, p.out_bias), weights };
}

// near(got, want, tolerance, what): every element, tolerance a number or one per element.
export function near(got, want, tolerance, what) {
  if (got.length !== want.length) throw new Error(`${what}: ${want.length} elements wanted, ${got.length} came`);
  for (let i = 0; i < want.length; i++) {
    const allowed = typeof tolerance === 'number' ? tolerance : tolerance[i];
    if (Object.is(got[i], want[i]) || Math.abs(got[i] - want[i]) <= allowed) continue;
    throw new Error(`${what}[${i}]: ${want[i]} wanted, ${got[i]} came, off by ${Math.abs(got[i] - want[i])}, allowed ${allowed}`);
  }
}
