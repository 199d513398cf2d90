// Inputs of a row, the operations that count as useful, and the right answer in float64.

const CHECKED_ROWS = 64; // of each head's queries, evenly chosen, where checking all would take longer than timing
const TOLERANCE = 1e-4; // of the largest element; a wrong kernel misses by far more, float32 by far less

export const FORMULA =
  '4 · heads · visible pairs of query and key · headDim (causal: pairs that the mask leaves); whole layer: + 8 · seq · embed²; softmax not counted';

// mulberry32, then Box and Muller: normal numbers that repeat on every machine.
function generator(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

const count = (shape) => shape.reduce((product, size) => product * size, 1);

const normal = (shape, seed) => {
  const next = generator(seed);
  return { data: Float32Array.from({ length: count(shape) }, next), shape };
};

/** [1, heads, seq, dim] as [1, seq, heads * dim], heads repeated `repeat` times each. */
export function tokensFirst({ data, shape: [, heads, seq, dim] }, repeat = 1) {
  const width = heads * repeat * dim;
  const result = new Float32Array(seq * width);
  for (let h = 0; h < heads * repeat; h++)
    for (let i = 0; i < seq; i++) {
      const from = (Math.floor(h / repeat) * seq + i) * dim;
      result.set(data.subarray(from, from + dim), i * width + h * dim);
    }
  return { data: result, shape: [1, seq, width] };
}

/** The other way: data of [1, seq, heads * dim] as data of [1, heads, seq, dim]. */
export function headsFirst(data, heads, seq, dim) {
  const result = new Float32Array(data.length);
  for (let h = 0; h < heads; h++)
    for (let i = 0; i < seq; i++) result.set(data.subarray((i * heads + h) * dim, (i * heads + h + 1) * dim), (h * seq + i) * dim);
  return result;
}

const doubles = ({ data, shape }) => ({ data: Float64Array.from(data), shape });

function rowsOf({ data, shape: [, heads, seq, dim] }, rows) {
  const result = new Float32Array(heads * rows.length * dim);
  for (let h = 0; h < heads; h++)
    rows.forEach((row, i) => result.set(data.subarray((h * seq + row) * dim, (h * seq + row + 1) * dim), (h * rows.length + i) * dim));
  return { data: result, shape: [1, heads, rows.length, dim] };
}

/** What to compute: { row, query, key, value, flops, bytes }, or { row, x, layer, flops } of a whole layer. */
export function pose(row) {
  const { kind, heads, kvHeads, headDim, seqLenQ, seqLenKv, causal } = row;
  const pairs = causal ? (seqLenQ * (seqLenQ + 1)) / 2 : seqLenQ * seqLenKv;
  const flops = 4 * heads * pairs * headDim;
  const embed = heads * headDim;
  if (kind === 'layer') {
    const spread = 1 / Math.sqrt(embed);
    const parameter = (shape, seed, scale) => ({ data: normal(shape, seed).data.map((x) => x * scale), shape });
    return {
      row,
      x: normal([1, seqLenQ, embed], 1),
      state: {
        in_proj_weight: parameter([3 * embed, embed], 2, spread),
        in_proj_bias: parameter([3 * embed], 3, 0.1),
        'out_proj.weight': parameter([embed, embed], 4, spread),
        'out_proj.bias': parameter([embed], 5, 0.1),
      },
      flops: flops + 8 * seqLenQ * embed ** 2,
    };
  }
  return {
    row,
    query: normal([1, heads, seqLenQ, headDim], 1),
    key: normal([1, kvHeads, seqLenKv, headDim], 2),
    value: normal([1, kvHeads, seqLenKv, headDim], 3),
    flops,
    bytes: 2 * 4 * kvHeads * seqLenKv * headDim,
  };
}

// The largest difference, over the largest element. A NaN is an error of NaN.
function difference(got, expected) {
  if (got.length !== expected.length) throw new Error(`wrong result: ${got.length} elements instead of ${expected.length}`);
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
  return got.reduce((max, x, i) => Math.max(max, Math.abs(x - expected[i])), 0) / largest;
}

function layerOutput({ row, x, state }, reference) {
  const layer = reference.multiHeadAttention({ embedDim: row.heads * row.headDim, numHeads: row.heads, state });
  return layer.forward(doubles(x), null, null, { needWeights: false }).output.data;
}

function sdpaResult({ row, query, key, value }, rows, reference) {
  const { seqLenKv, causal, kind } = row;
  const mask = () => ({
    data: Uint8Array.from({ length: rows.length * seqLenKv }, (_, at) => +(at % seqLenKv <= rows[Math.floor(at / seqLenKv)])),
    shape: [rows.length, seqLenKv],
  });
  return reference.sdpa(doubles(rowsOf(query, rows)), doubles(key), doubles(value),
    { attnMask: causal ? mask() : null, returnWeights: kind === 'weights' });
}

/**
 * A function from a result { output, weights } (data of [1, heads, seq, ...], of a layer of [1, seq, embed]) to its error
 * against float64; it throws where that is too large.
 */
export function checker(problem, reference) {
  const { kind, heads, seqLenQ, seqLenKv, headDim } = problem.row;
  let error;
  if (kind === 'layer') {
    const expected = layerOutput(problem, reference);
    error = ({ output }) => difference(output, expected);
  } else {
    const checked = Math.min(seqLenQ, CHECKED_ROWS);
    const rows = Array.from({ length: checked }, (_, i) => Math.round((i * (seqLenQ - 1)) / Math.max(1, checked - 1)));
    const expected = sdpaResult(problem, rows, reference);
    const compare = (data, dim, { data: wanted }) => difference(rowsOf({ data, shape: [1, heads, seqLenQ, dim] }, rows).data, wanted);
    error = ({ output, weights }) =>
      Math.max(compare(output, headDim, expected.output), expected.weights ? compare(weights, seqLenKv, expected.weights) : 0);
  }
  return (result) => {
    const found = error(result);
    if (!(found <= TOLERANCE)) throw new Error(`wrong result: off by ${found} of the largest element`);
    return found;
  };
}
