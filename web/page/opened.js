// Opened files: which tensors they hold, which of them are probably meant, and those chosen as the engine takes
// them. Runs in the worker and in Node's tests.

import { project } from './arithmetic.js';
import { splitHeads } from './attend.js';
import { readJson } from './files/json.js';
import { FileProblem } from './files/numbers.js';
import { readNpy } from './files/npy.js';
import { readNpz } from './files/npz.js';
import { readSafetensors } from './files/safetensors.js';
import { MAX_FILE_BYTES, MAX_ROLLOUT, MAX_SEQUENCE, ROLLOUT } from './limits.js';

/** files: [{ name, buffer }]. { list: [{ name, shape, dtype }], tensors: Map, guess, tokens, keyTokens }. */
export async function openFiles(files) {
  const tensors = new Map();
  let tokens = null;
  let keyTokens = null;
  const add = (tensor) => {
    if (tensor.strings) tokens = tensor.strings;
    else tensors.set(tensor.name, tensor);
  };
  for (const { name, buffer } of files) {
    const bytes = new Uint8Array(buffer);
    if (bytes.length > MAX_FILE_BYTES) throw new FileProblem(`${name} is larger than ${MAX_FILE_BYTES / 2 ** 20} MB.`);
    const [, stem, ending] = name.toLowerCase().match(/^(.*)\.([a-z]+)$/) ?? [null, name, ''];
    if (ending === 'npy') add({ ...readNpy(bytes, name), name: stem });
    else if (ending === 'npz') {
      for (const member of await readNpz(bytes, name)) add({ ...readNpy(member.bytes, `${name}: ${member.name}`), name: member.name });
    } else if (ending === 'safetensors') readSafetensors(bytes, name).forEach(add);
    else if (ending === 'json') {
      const found = readJson(bytes, name);
      found.tensors.forEach(add);
      tokens = found.tokens ?? tokens;
      keyTokens = found.keyTokens ?? keyTokens;
    } else throw new FileProblem(`${name}: only .npy, .npz, .safetensors and .json can be read.`);
  }
  const list = [...tensors.values()].map(({ name, shape, dtype }) => ({ name, shape, dtype }));
  if (list.length === 0) throw new FileProblem(`There are no tensors in ${files.map(({ name }) => name).join(', ')}.`);
  return { list, tensors, tokens, keyTokens, guess: guess(list, tokens) };
}

/** Weights of half precision, averaged or added up, may be a little over 1. */
const LARGEST_WEIGHT = 1.01;

/** More of something are hardly heads. */
const MAX_HEADS = 64;

const names = {
  q: /(^|[._/ ])(q|query|queries|q_states|query_states)$/i,
  k: /(^|[._/ ])(k|key|keys|key_states)$/i,
  v: /(^|[._/ ])(v|value|values|value_states)$/i,
  o: /(^|[._/ ])(o|out|output|attn_output|expected)$/i,
  weights: /(attn|attention|weights|attentions|probs)$/i,
  x: /(^|[._/ ])(x|hidden|hidden_states|input|inputs)$/i,
  inProj: /in_proj_weight$/i,
  inBias: /in_proj_bias$/i,
  wq: /(wq|w_q|q_proj(_weight|\.weight)?|query\.weight)$/i,
  wk: /(wk|w_k|k_proj(_weight|\.weight)?|key\.weight)$/i,
  wv: /(wv|w_v|v_proj(_weight|\.weight)?|value\.weight)$/i,
};

/** { mode, q, k, ... }: the first tensor whose name and rank fit each part. */
function guess(list, tokens) {
  const find = (part, ranks) => list.find(({ name, shape }) => names[part].test(name) && ranks.includes(shape.length))?.name ?? '';
  const found = {
    q: find('q', [2, 3, 4]), k: find('k', [2, 3, 4]), v: find('v', [2, 3, 4]), o: find('o', [2, 3, 4]),
    weights: find('weights', [2, 3, 4, 5]), x: find('x', [2, 3]), inProj: find('inProj', [2]), inBias: find('inBias', [1]),
    wq: find('wq', [2]), wk: find('wk', [2]), wv: find('wv', [2]), heads: 1, order: 'heads-first', index: 0,
  };
  let mode = 'qkv';
  if (!(found.q && found.k && found.v)) {
    if (found.x && (found.inProj || (found.wq && found.wk && found.wv))) mode = 'x';
    else if (found.weights || (list.length === 1 && list[0].shape.length >= 2)) {
      mode = 'weights';
      found.weights ||= list[0].name;
    }
  }
  // PyTorch's own kernels take [batch, heads, tokens, size]; others, [batch, tokens, heads, size]. The number of tokens tells
  // them apart where it is known; else more than 64 of something are tokens.
  const shape = list.find(({ name }) => name === found.q)?.shape ?? [];
  const [first, second] = shape.slice(-3);
  const known = tokens && (first === tokens.length) !== (second === tokens.length);
  if (shape.length > 2 && (known ? first === tokens.length : first > second && first > MAX_HEADS)) found.order = 'tokens-first';
  return { mode, ...found };
}

/** { q, k, v, heads, n, m, tokens, keyTokens, expected } or { weights, ... }. */
export function useTensors(attn, opened, choice) {
  if (!opened) throw new FileProblem('No file is open any more.');
  const get = (name, part) => {
    const tensor = opened.tensors.get(name);
    if (!tensor) throw new FileProblem(`Choose a tensor for ${part}.`);
    const data = tensor.read();
    const bad = data.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0) throw new FileProblem(`${name} holds ${data[bad]} at position ${bad}: only finite numbers can be drawn.`);
    return { name, data, shape: tensor.shape };
  };
  let set;
  if (choice.mode === 'weights') {
    const { weights, count } = readyWeights(attn, get(choice.weights, 'the weights'), choice.index);
    set = { weights, sums: rowSums(weights), heads: weights.shape[1], n: weights.shape[2], m: weights.shape[3], count, rollout: choice.index === ROLLOUT };
    set.canRoll = count > 1 && set.n === set.m && set.n <= MAX_ROLLOUT;
  } else {
    const [q, k, v] = choice.mode === 'x' ? projected(attn, get, choice)
      : ['q', 'k', 'v'].map((part) => fourAxes(get(choice[part], part), choice));
    checkShapes(q, k, v);
    set = { q, k, v, heads: q.shape[1], n: q.shape[2], m: k.shape[2], expected: null, count: layersOf(opened, choice) };
    if (choice.o) {
      set.expected = fourAxes(get(choice.o, 'the output'), { ...choice, heads: set.heads });
      const want = [1, set.heads, set.n, v.shape[3]];
      if (String(set.expected.shape) !== String(want)) {
        throw new FileProblem(`The output ${choice.o} has the shape (${set.expected.shape.slice(1).join(', ')}), where (${want.slice(1).join(', ')}) was expected (heads, queries, size).`);
      }
    }
  }
  if (set.n > MAX_SEQUENCE || set.m > MAX_SEQUENCE) {
    throw new FileProblem(`${set.n} queries and ${set.m} keys: up to ${MAX_SEQUENCE} of each can be drawn. Cut the sequence: array[..., :${MAX_SEQUENCE}, :].`);
  }
  if (set.n * set.m * set.heads === 0) throw new FileProblem('A tensor without numbers has nothing to show.');
  const labels = (tokens, count) => Array.from({ length: count }, (_, i) => tokens?.[i] ?? String(i + 1));
  return { ...set, tokens: labels(opened.tokens, set.n), keyTokens: labels(opened.keyTokens ?? opened.tokens, set.m) };
}

/** How many batch elements or layers there are to choose from: the axes before (heads, tokens, size). */
function layersOf({ tensors }, { mode, x, q }) {
  const { shape } = tensors.get(mode === 'x' ? x : q);
  const own = mode === 'x' ? 2 : 3;
  return shape.length > own ? shape[0] : 1;
}

/** [..., heads, n, n] to [1, heads, n, n]; `index` chooses among what comes before the heads, or is ROLLOUT: through all of it. */
function readyWeights(attn, { name, data, shape }, index) {
  if (shape.length < 2) throw new FileProblem(`${name} has only one axis; weights have (heads, queries, keys).`);
  const bad = data.findIndex((x) => x < 0 || x > LARGEST_WEIGHT);
  if (bad >= 0) throw new FileProblem(`${name} holds ${data[bad]} at position ${bad}: weights are shares, from 0 to 1. Are these scores from before the softmax?`);
  const [n, m] = shape.slice(-2);
  const heads = shape.length > 2 ? shape.at(-3) : 1;
  const size = heads * n * m;
  const count = size ? data.length / size : 0;
  const layer = (at) => data.slice(at * size, (at + 1) * size);
  if (index === ROLLOUT) {
    const layers = Array.from({ length: count }, (_, at) => ({ data: layer(at), shape: [heads, n, n] }));
    return { weights: { data: Float32Array.from(attn.rollout(layers).data), shape: [1, 1, n, n] }, count };
  }
  if (index >= Math.max(count, 1)) throw new FileProblem(`${name} has ${count} layers; there is no number ${index + 1}.`);
  return { weights: { data: layer(index), shape: [1, heads, n, m] }, count };
}

/** The least and the largest sum of a row. */
function rowSums({ data, shape }) {
  const m = shape.at(-1);
  let [least, most] = [Infinity, -Infinity];
  for (let from = 0; from < data.length; from += m) {
    let sum = 0;
    for (let at = from; at < from + m; at++) sum += data[at];
    least = Math.min(least, sum);
    most = Math.max(most, sum);
  }
  return { least, most };
}

/** A tensor of rank 2, 3 or 4 as [1, heads, n, d]. */
function fourAxes({ name, data, shape }, { order, heads, index }) {
  if (shape.length < 2 || shape.length > 4) throw new FileProblem(`${name} has ${shape.length} axes; 2, 3 or 4 were expected.`);
  if (shape.length === 2) {
    if (shape[1] % heads) throw new FileProblem(`${name}: ${shape[1]} columns cannot be divided into ${heads} heads.`);
    return splitHeads({ data, shape }, heads);
  }
  let inner = data;
  const [a, b, d] = shape.slice(-3);
  if (shape.length === 4) {
    const size = a * b * d;
    if (index >= shape[0]) throw new FileProblem(`${name} has ${shape[0]} batch elements; there is no number ${index + 1}.`);
    inner = data.subarray(index * size, (index + 1) * size);
  }
  if (order === 'tokens-first') return splitHeads({ data: inner, shape: [a, b * d] }, b);
  return { data: inner.slice(), shape: [1, a, b, d] };
}

/** x and projections to q, k, v. A bias is one more column of the weight, met by a 1 in x. */
function projected(attn, get, choice) {
  let x = get(choice.x, 'x');
  if (x.shape.length === 3) {
    const size = x.shape[1] * x.shape[2];
    if (choice.index >= x.shape[0]) throw new FileProblem(`${x.name} has ${x.shape[0]} batch elements; there is no number ${choice.index + 1}.`);
    x = { ...x, data: x.data.slice(choice.index * size, (choice.index + 1) * size), shape: x.shape.slice(1) };
  }
  const [n, width] = x.shape;
  let parts;
  if (choice.inProj) {
    const all = get(choice.inProj, 'the projection');
    if (all.shape[0] % 3 || all.shape[1] !== width) throw new FileProblem(`${all.name} has the shape (${all.shape.join(', ')}), where (3 · ${width}, ${width}) was expected.`);
    const rows = all.shape[0] / 3;
    parts = [0, 1, 2].map((part) => ({ name: all.name, data: all.data.slice(part * rows * width, (part + 1) * rows * width), shape: [rows, width] }));
  } else parts = ['wq', 'wk', 'wv'].map((part) => get(choice[part], part));
  const bias = choice.inBias ? get(choice.inBias, 'the bias') : null;
  let from = 0;
  return parts.map((weight) => {
    const rows = weight.shape[0];
    if (weight.shape[1] !== width) throw new FileProblem(`${weight.name} takes ${weight.shape[1]} numbers for each token, x has ${width}.`);
    if (rows % choice.heads) throw new FileProblem(`${weight.name}: ${rows} rows cannot be divided into ${choice.heads} heads.`);
    let input = { data: x.data, shape: [n, width] };
    if (bias) {
      weight = { data: widen(weight.data, rows, width, (i) => bias.data[from + i]), shape: [rows, width + 1] };
      input = { data: widen(x.data, n, width, () => 1), shape: [n, width + 1] };
      from += rows;
    }
    return splitHeads(project(attn, input, weight), choice.heads);
  });
}

function widen(data, rows, width, last) {
  const out = new Float32Array(rows * (width + 1));
  for (let i = 0; i < rows; i += 1) {
    out.set(data.subarray(i * width, (i + 1) * width), i * (width + 1));
    out[i * (width + 1) + width] = last(i);
  }
  return out;
}

function checkShapes(q, k, v) {
  const print = ({ shape }) => `(${shape.slice(1).join(', ')})`;
  const all = `q ${print(q)}, k ${print(k)}, v ${print(v)} (heads, tokens, size)`;
  if (q.shape[3] !== k.shape[3]) throw new FileProblem(`q and k differ in their last axis: ${all}.`);
  if (k.shape[2] !== v.shape[2]) throw new FileProblem(`k and v differ in the number of tokens: ${all}.`);
  if (k.shape[1] !== v.shape[1] || q.shape[1] % k.shape[1]) throw new FileProblem(`The number of heads does not fit: ${all}.`);
}
