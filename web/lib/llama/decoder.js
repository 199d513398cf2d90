// A Llama (Touvron et al. 2023) out of the module's own operators. Activations are [tokens, columns] tensors of the engine,
// which every step overwrites; the heads of one are its columns, seen through strides.

import { Attention } from '../attention.js';
import { LOCATE } from '../heap.js';
import { pause } from '../sdpa.js';
import { isList } from '../shapes.js';
import { DISPOSE, AttentionError, choice, finite, flag, integer, readOptions, wrongKind, wrongSize } from '../status.js';
import { Tensor } from '../tensor.js';
import { SCORES } from '../abi.js';
import { readCheckpoint } from './checkpoint.js';
import { readSampling, sample } from './sample.js';
import { Tokenizer } from './tokenizer.js';

// Milliseconds of work between two looks at the event loop.
const SLICE = 25;
// Tokens of a prompt between two such looks.
const CHUNK = 64;
const STOP = [1, 2];
// The tensors of a checkpoint that no layer has of its own.
const ONCE = ['embedding', 'finalNorm', 'output'];

// Some columns of a tensor [tokens, columns] as heads: [1, heads, tokens, headDim].
class Heads {
  #tensor;
  #from;

  constructor(tensor, headDim, first, heads) {
    const [tokens, columns] = tensor.shape;
    this.#tensor = tensor;
    this.#from = first * headDim;
    this.shape = [1, heads, tokens, headDim];
    this.strides = { batch: 0, head: headDim, row: columns };
  }

  [LOCATE](heap, name) {
    return this.#tensor[LOCATE](heap, name) + 4 * this.#from;
  }

  // Head after head: for one token as they lie, else a copy.
  split() {
    return this.shape[2] === 1 ? this : this.copy();
  }

  copy() {
    const { shape, strides } = this;
    const [, heads, tokens, headDim] = shape;
    const from = this.#tensor.data;
    const data = new Float32Array(heads * tokens * headDim);
    for (let h = 0, to = 0; h < heads; h++)
      for (let t = 0; t < tokens; t++)
        for (let at = t * strides.row + this.#from + h * headDim, end = at + headDim; at < end;) data[to++] = from[at++];
    return { data, shape };
  }
}

function add(x, y) {
  const [to, from] = [x.data, y.data];
  for (let i = 0; i < to.length; i++) to[i] += from[i];
}

const freeAll = (tensors) => tensors.forEach((tensor) => tensor.free());

// What one forward pass over so many tokens writes to.
class Scratch {
  constructor(attn, { dim, hiddenDim, numHeads, numKvHeads, headDim }, tokens) {
    const columns = { x: dim, y: dim, projected: (numHeads + 2 * numKvHeads) * headDim, attended: dim, gate: hiddenDim, up: hiddenDim };
    const made = [];
    try {
      for (const name in columns) made.push(this[name] = attn.tensor([tokens, columns[name]]));
      for (const name of ['cos', 'sin']) made.push(this[name] = attn.tensor([1, tokens, headDim / 2]));
    } catch (error) {
      freeAll(made);
      throw error;
    }
    this.free = () => freeAll(made);
    const heads = (first, count) => new Heads(this.projected, headDim, first, count);
    this.query = heads(0, numHeads);
    this.key = heads(numHeads, numKvHeads);
    this.value = heads(numHeads + numKvHeads, numKvHeads);
    this.turned = heads(0, numHeads + numKvHeads);
    this.heads = new Heads(this.attended, headDim, 0, numHeads);
  }
}

// readList(value, name, end, fallback) -> the numbers from 0 to end - 1 in it
function readList(value, name, end, fallback) {
  if (value === null) return fallback;
  if (!isList(value)) throw wrongKind(name, 'an array of numbers', value);
  return Array.from(value, (number, i) => integer(number, `${name}[${i}]`, 0, end - 1));
}

// readSilenced(value, config) -> for each layer its silent heads
function readSilenced(value, { numLayers, numHeads }) {
  const result = Array.from({ length: numLayers }, () => []);
  if (!Array.isArray(value)) throw wrongKind('silenced', 'an array of { layer, head }', value);
  value.forEach((pair, i) => {
    const { layer, head } = readOptions(pair, `silenced[${i}]`, { layer: undefined, head: undefined });
    result[integer(layer, `silenced[${i}].layer`, 0, numLayers - 1)].push(integer(head, `silenced[${i}].head`, 0, numHeads - 1));
  });
  return result;
}

// [1, heads, tokens, keys] -> [the heads wanted, tokens, keys]
function pick({ data, shape: [, , tokens, keys] }, heads, all) {
  const shape = [heads.length, tokens, keys];
  if (heads === all) return new Tensor(data, shape);
  const size = tokens * keys;
  const result = new Float32Array(heads.length * size);
  heads.forEach((head, i) => result.set(data.subarray(head * size, (head + 1) * size), i * size));
  return new Tensor(result, shape);
}

// { query, key, value } of a layer, each [heads, tokens, headDim]
function projectionsOf(scratch) {
  const tensor = (name) => {
    const { data, shape } = scratch[name].copy();
    return [name, new Tensor(data, shape.slice(1))];
  };
  return Object.fromEntries(['query', 'key', 'value'].map(tensor));
}

const FORWARD = { logits: 'last', returnWeights: false, returnScores: false, returnProjections: false, layers: null, heads: null, silenced: [] };
const LOGITS = { none: 0, last: 1, all: 2 };

export class LlamaSequence {
  #model;
  #attn;
  #caches = [];
  #tables;
  #tokens = [];

  constructor(model, attn, parts, options) {
    if (!(model instanceof Llama)) throw new TypeError('new LlamaSequence(): use model.sequence()');
    const { capacity } = readOptions(options, 'options', { capacity: null });
    const { numLayers, numKvHeads, headDim, seqLen } = model.config;
    this.#model = parts;
    this.#attn = attn;
    this.model = model;
    this.capacity = integer(capacity ?? seqLen, 'capacity', 1, seqLen);
    try {
      for (let layer = 0; layer < numLayers; layer++) this.#caches.push(attn.kvCache({ numKvHeads, headDim, capacity: this.capacity }));
      this.#tables = attn.rotaryTables({ seqLen: this.capacity, dim: headDim, theta: parts.theta });
    } catch (error) {
      this.free();
      throw error;
    }
    Object.freeze(this);
  }

  get tokens() {
    return [...this.#tokens];
  }

  get length() {
    return this.#tokens.length;
  }

  get bytes() {
    return this.#caches.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get freed() {
    return this.#caches.length === 0 || this.#caches[0].freed;
  }

  #alive() {
    this.#model.alive();
    if (this.freed) throw new AttentionError('disposed', 'the sequence was freed');
  }

  forward(tokens, options) {
    this.#alive();
    const { config } = this.model;
    const o = readOptions(options, 'options', FORWARD);
    const logits = choice(o.logits, 'logits', LOGITS);
    const allHeads = Array.from({ length: config.numHeads }, (_, head) => head);
    const wanted = {
      weights: flag(o.returnWeights, 'returnWeights'),
      scores: o.returnScores,
      projections: flag(o.returnProjections, 'returnProjections'),
      layers: readList(o.layers, 'layers', config.numLayers, Array.from({ length: config.numLayers }, (_, layer) => layer)),
      heads: readList(o.heads, 'heads', config.numHeads, allHeads),
      allHeads,
    };
    if (wanted.scores !== false) choice(wanted.scores, 'returnScores', SCORES);
    const silenced = readSilenced(o.silenced, config);
    if (!isList(tokens)) throw wrongKind('tokens', 'an array of tokens', tokens);
    if (tokens.length < 1) throw wrongSize('tokens', 'at least one token', 0);
    const ids = Array.from(tokens, (token, i) => integer(token, `tokens[${i}]`, 0, config.vocabSize - 1));
    if (this.length + ids.length > this.capacity)
      throw wrongSize('tokens', `at most ${this.capacity - this.length} more (capacity ${this.capacity}, ${this.length} held)`, ids.length);
    try {
      const result = this.#run(ids, logits, wanted, silenced);
      for (const id of ids) this.#tokens.push(id);
      return result;
    } catch (error) {
      if (!this.freed) this.#caches.forEach((cache) => cache.truncate(this.length));
      throw error;
    }
  }

  #run(ids, logits, wanted, silenced) {
    const { single, layers, finalNorm, epsilon } = this.#model;
    const attn = this.#attn;
    const scratch = ids.length === 1 ? single : new Scratch(attn, this.model.config, ids.length);
    try {
      this.#embed(ids, scratch);
      const result = { logits: null, weights: null, scores: null, projections: null };
      if (wanted.weights) result.weights = layers.map(() => null);
      if (wanted.scores !== false) result.scores = layers.map(() => null);
      if (wanted.projections) result.projections = layers.map(() => null);
      layers.forEach((layer, index) => {
        const isWanted = wanted.layers.includes(index);
        const { weights, scores } = this.#attend(layer, index, scratch, isWanted ? wanted : null, silenced[index]);
        if (isWanted && wanted.projections) result.projections[index] = projectionsOf(scratch);
        if (weights) result.weights[index] = pick(weights, wanted.heads, wanted.allHeads);
        if (scores) result.scores[index] = pick(scores, wanted.heads, wanted.allHeads);
        this.#feedForward(layer, scratch);
      });
      if (logits === LOGITS.none) return result;
      const { x, y } = logits === LOGITS.all ? scratch : single;
      if (x !== scratch.x) x.data.set(scratch.x.data.subarray(-x.shape[1]));
      attn.rmsNorm(x, finalNorm, { epsilon, out: y });
      const { data, shape } = attn.linear(y, this.#model.output);
      result.logits = new Tensor(data, logits === LOGITS.all ? shape : shape.slice(1));
      return result;
    } finally {
      if (scratch !== single) scratch.free();
    }
  }

  // The rows of the tokens, and the angles of their positions.
  #embed(ids, { x, ...tables }) {
    const { dim, headDim } = this.model.config;
    const [data, rows] = [x.data, this.#model.embedding.data];
    ids.forEach((id, i) => data.set(rows.subarray(id * dim, (id + 1) * dim), i * dim));
    const from = this.length * (headDim / 2);
    for (const name of ['cos', 'sin']) tables[name].data.set(this.#tables[name].data.subarray(from, from + tables[name].data.length));
  }

  // x += wo (heads of attention(rotated wq norm(x), rotated wk norm(x), wv norm(x)))
  #attend(layer, index, scratch, wanted, silent) {
    const { x, y, projected, query, key, value, turned, attended, heads, cos, sin } = scratch;
    const { headDim, dim } = this.model.config;
    const { epsilon } = this.#model;
    const attn = this.#attn;
    attn.rmsNorm(x, layer.attentionNorm, { epsilon, out: y });
    attn.linear(y, layer.wqkv, null, { out: projected });
    attn.rotaryEmbedding(turned, { cos, sin, interleaved: true, out: turned });
    const cache = this.#caches[index].append(key.split(), value.split());
    const result = cache.attend(query, {
      isCausal: x.shape[0] > 1, out: heads, returnWeights: wanted?.weights, returnScores: wanted?.scores,
    });
    for (const head of silent)
      for (let data = attended.data, row = head * headDim; row < data.length; row += dim) data.fill(0, row, row + headDim);
    attn.linear(attended, layer.wo, null, { out: y });
    add(x, y);
    return result;
  }

  // x += w2 (silu(w1 norm(x)) * w3 norm(x))
  #feedForward(layer, { x, y, gate, up }) {
    const attn = this.#attn;
    attn.rmsNorm(x, layer.feedForwardNorm, { epsilon: this.#model.epsilon, out: y });
    attn.linear(y, layer.w1, null, { out: gate });
    attn.linear(y, layer.w3, null, { out: up });
    attn.linear(attn.swiglu(gate, up, { out: gate }), layer.w2, null, { out: y });
    add(x, y);
  }

  truncate(length) {
    this.#alive();
    const held = Math.min(this.length, integer(length, 'length', 0));
    this.#caches.forEach((cache) => cache.truncate(held));
    this.#tokens.length = held;
    return this;
  }

  reset() {
    return this.truncate(0);
  }

  free() {
    freeAll(this.#caches);
    this.#caches = [];
  }

  [DISPOSE]() {
    this.free();
  }
}

function readSignal(signal) {
  if (signal !== null && typeof signal?.throwIfAborted !== 'function') throw wrongKind('signal', 'an AbortSignal', signal);
  return signal;
}

function readProgress(onProgress) {
  if (onProgress !== null && typeof onProgress !== 'function') throw wrongKind('onProgress', 'a function', onProgress);
  return onProgress;
}

// breather(signal) -> async () => ..., to be called between steps of work: lets the event loop turn every 25 ms
function breather(signal) {
  let from = performance.now();
  signal?.throwIfAborted();
  return async () => {
    if (performance.now() - from >= SLICE) {
      await pause();
      from = performance.now();
    }
    signal?.throwIfAborted();
  };
}

const CREATE = { tokenizer: null, theta: 10000, epsilon: 1e-5, signal: null, onProgress: null };
const GENERATE = {
  maxTokens: null, temperature: 0, topP: 1, seed: 0, random: null, stop: null, signal: null, onProgress: null,
  returnWeights: false, returnScores: false, layers: null, heads: null, silenced: [],
};

export class Llama {
  #attn;
  #parts;
  #tensors;

  static async create(attn, checkpoint, options) {
    if (!(attn instanceof Attention)) throw wrongKind('attn', 'an engine (await Attention.create())', attn);
    const o = readOptions(options, 'options', CREATE);
    if (finite(o.theta, 'theta') <= 0) throw wrongSize('theta', 'a number above 0', o.theta);
    finite(o.epsilon, 'epsilon', 0);
    readProgress(o.onProgress);
    const breathe = breather(readSignal(o.signal));
    const { config, tensors } = readCheckpoint(checkpoint);
    const tokenizer = o.tokenizer === null || o.tokenizer instanceof Tokenizer ? o.tokenizer : new Tokenizer(o.tokenizer);
    if (tokenizer && tokenizer.vocabSize !== config.vocabSize)
      throw wrongSize('tokenizer', `${config.vocabSize} tokens, as many as the checkpoint has`, tokenizer.vocabSize);
    const made = [];
    try {
      const parts = { theta: o.theta, epsilon: o.epsilon, layers: Array.from({ length: config.numLayers }, () => ({})) };
      const make = (shape) => {
        const tensor = attn.tensor(shape);
        made.push(tensor);
        return tensor;
      };
      // One product gives queries, keys and values.
      const { dim, numHeads, numKvHeads, headDim } = config;
      const parted = { wq: 0, wk: numHeads * headDim, wv: (numHeads + numKvHeads) * headDim };
      for (const [i, { name, layer, shape, read }] of tensors.entries()) {
        const floats = read();
        const place = ONCE.includes(name) ? parts : parts.layers[layer];
        if (Object.hasOwn(parted, name)) {
          place.wqkv ??= make([(numHeads + 2 * numKvHeads) * headDim, dim]);
          place.wqkv.data.set(floats, parted[name] * dim);
        } else {
          place[name] = make(shape);
          place[name].data.set(floats);
        }
        o.onProgress?.((i + 1) / tensors.length);
        await breathe();
      }
      parts.output ??= parts.embedding;
      parts.single = new Scratch(attn, config, 1);
      made.push(parts.single);
      return new Llama(attn, config, tokenizer, parts, made);
    } catch (error) {
      freeAll(made);
      throw error;
    }
  }

  constructor(attn, config, tokenizer, parts, made) {
    if (!(attn instanceof Attention)) throw new TypeError('new Llama(): use await Llama.create()');
    this.#attn = attn;
    this.#parts = { ...parts, alive: () => this.#alive() };
    this.#tensors = made;
    this.config = Object.freeze(config);
    this.tokenizer = tokenizer;
    Object.freeze(this);
  }

  get freed() {
    return this.#tensors.length === 0 || this.#attn.disposed;
  }

  #alive() {
    if (this.freed) throw new AttentionError('disposed', 'the model was freed');
  }

  sequence(options) {
    this.#alive();
    return new LlamaSequence(this, this.#attn, this.#parts, options);
  }

  async *generate(prompt, options) {
    this.#alive();
    const o = readOptions(options, 'options', GENERATE);
    const { signal, onProgress, maxTokens, stop, temperature, topP, seed, random, ...looks } = o;
    const sampling = readSampling(o);
    readProgress(onProgress);
    const breathe = breather(readSignal(signal));
    const { config, tokenizer } = this;
    if (typeof prompt === 'string' && !tokenizer) throw wrongKind('prompt', 'an array of tokens (a string needs a tokenizer)', prompt);
    const given = typeof prompt === 'string' ? tokenizer.encode(prompt) : prompt;
    if (!isList(given)) throw wrongKind('prompt', 'a string or an array of tokens', prompt);
    const tokens = Array.from(given);
    if (tokens.length < 1 || tokens.length > config.seqLen) throw wrongSize('prompt', `from 1 to ${config.seqLen} tokens (seqLen of the checkpoint)`, tokens.length);
    const stops = new Set(readList(stop, 'stop', config.vocabSize, tokenizer ? STOP : []));
    // The last token may be given out without being held.
    const most = config.seqLen - tokens.length + 1;
    const limit = Math.min(integer(maxTokens ?? most, 'maxTokens', 0), most);
    const sequence = this.sequence({ capacity: Math.min(config.seqLen, Math.max(1, tokens.length + limit - 1)) });
    try {
      const text = tokenizer?.stream(tokens.at(-1));
      const body = tokens.length - 1;
      for (let done = 0; done < body; done += CHUNK) {
        sequence.forward(tokens.slice(done, Math.min(done + CHUNK, body)), { logits: 'none', silenced: o.silenced });
        onProgress?.(sequence.length / tokens.length);
        await breathe();
      }
      let token = tokens[body];
      for (let made = 0; made < limit; made++) {
        const { logits, weights, scores } = sequence.forward([token], looks);
        if (made === 0) onProgress?.(1);
        token = sample(this.#attn, logits.data, sampling);
        const isLast = stops.has(token) || made + 1 === limit;
        yield { token, text: text ? text.push(token) + (isLast ? text.end() : '') : null, position: sequence.length, logits, weights, scores };
        if (isLast) break;
        await breathe();
      }
    } finally {
      sequence.free();
    }
  }

  free() {
    freeAll(this.#tensors);
    this.#tensors = [];
  }

  [DISPOSE]() {
    this.free();
  }
}
