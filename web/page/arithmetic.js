// Sums, differences and products of whole arrays, by the engine. Runs in the worker and in Node's tests.

/** y [n, out] = x [n, in] . weight [out, in]^T. */
export function project(attn, x, weight) {
  return attn.linear(x, weight);
}

/** sum_i a_i b_i, in float64. */
export function dot(attn, a, b) {
  if (a.length === 0) return 0;
  const row = (values) => ({ data: Float64Array.from(values), shape: [1, values.length] });
  return project(attn, row(a), row(b)).data[0];
}

export function sumOf(attn, values) {
  return dot(attn, values, new Float64Array(values.length).fill(1));
}

export function meanOf(attn, values) {
  return dot(attn, values, new Float64Array(values.length).fill(1 / values.length));
}

/** a - b, in the type of a: [a b] . [1 -1]. */
export function subtract(attn, a, b) {
  const pairs = new a.constructor(2 * a.length);
  for (let i = 0; i < a.length; i += 1) {
    pairs[2 * i] = a[i];
    pairs[2 * i + 1] = b[i];
  }
  return project(attn, { data: pairs, shape: [a.length, 2] }, { data: a.constructor.of(1, -1), shape: [1, 2] }).data;
}

/** a_f b_f for every f: f one-dimensional queries and keys in one call. */
export function elementwise(attn, a, b) {
  const tensor = (values) => ({ data: Float32Array.from(values), shape: [1, values.length, 1, 1] });
  const zeros = { data: new Float32Array(a.length), shape: [1, a.length, 1, 1] };
  return attn.sdpa(tensor(a), tensor(b), zeros, { scale: 1, returnScores: 'raw' }).scores.data;
}

/** The average of `count` matrices that lie one behind the other, element by element. */
export function meanMatrix(attn, data, count) {
  const size = data.length / count;
  const columns = new Float32Array(data.length);
  for (let part = 0; part < count; part += 1) {
    for (let at = 0; at < size; at += 1) columns[at * count + part] = data[part * size + at];
  }
  return project(attn, { data: columns, shape: [size, count] }, { data: new Float32Array(count).fill(1 / count), shape: [1, count] }).data;
}

/** The largest size of a number; NaN where there is one. */
export function largestOf(values) {
  let top = 0;
  for (const x of values) top = Math.max(top, Math.abs(x));
  return top;
}
