// Two answers of the worker, made comparable: the difference of their weights over the heads, queries and keys that both
// have, and, where it is asked for, their averages over all heads. Runs in the worker and in Node's tests.

import { meanMatrix, subtract } from './arithmetic.js';

/** { heads, n, m, difference: { data [heads, n, m] }, means: { first [n1, m1], second [n2, m2], difference [n, m] } or null }. */
export function pairOf(attn, first, second, { means }) {
  const [heads, n, m] = ['heads', 'n', 'm'].map((size) => Math.min(first[size], second[size]));
  const common = (answer) => corner(answer.weights.data, answer, { heads, n, m });
  const difference = { data: subtract(attn, common(first), common(second)) };
  if (!means) return { heads, n, m, difference, means: null };
  const [a, b] = [first, second].map((answer) => meanMatrix(attn, answer.weights.data, answer.heads));
  const part = (data, { n: rows, m: cols }) => corner(data, { heads: 1, n: rows, m: cols }, { heads: 1, n, m });
  return {
    heads, n, m, difference,
    means: { first: { data: a }, second: { data: b }, difference: { data: subtract(attn, part(a, first), part(b, second)) } },
  };
}

/** The first heads, rows and columns of matrices. */
function corner(data, from, to) {
  if (from.n === to.n && from.m === to.m) return data.subarray(0, to.heads * to.n * to.m);
  const out = new Float32Array(to.heads * to.n * to.m);
  for (let h = 0; h < to.heads; h += 1) {
    for (let i = 0; i < to.n; i += 1) {
      const start = (h * from.n + i) * from.m;
      out.set(data.subarray(start, start + to.m), (h * to.n + i) * to.m);
    }
  }
  return out;
}
