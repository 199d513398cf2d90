import { MHA_BACKWARD_DATA, MHA_DATA, MHA_DESC } from './abi.js';
import { Heap, bytesOf, count } from './heap.js';
import { rotaryTables } from './operators.js';
import { mulberry32, normal, uniform } from './random.js';
import { maskFields, prepareRun, run } from './sdpa.js';
import { argument, commonType, rank, size } from './shapes.js';
import { DISPOSE, AttentionError, flag, integer, readOptions, wrongKind, wrongSize } from './status.js';
import { Tensor } from './tensor.js';

const OPTIONS = {
  embedDim: undefined, numHeads: undefined, numKvHeads: null, bias: true, kdim: null, vdim: null, addBiasKv: false,
  addZeroAttn: false, batchFirst: true, rotary: null, state: null, seed: 0,
};
const ROTARY = { theta: 10000, dim: null, interleaved: false };
const FORWARD = { keyPaddingMask: null, attnMask: null, isCausal: false, needWeights: true, averageAttnWeights: true, needGrad: false };

// The parameters under PyTorch's names, in its order: { name: { shape, start, draw } }. start counts elements from the
// first parameter; `parts` says where the C fields begin.
function parameters({ embedDim, kvDim, kdim, vdim, bias, addBiasKv }) {
  const all = {};
  const parts = {};
  let start = 0;
  // add(name, shape, draw, [C field, elements], ...)
  const add = (name, shape, draw, ...fields) => {
    all[name] = { shape, start, draw };
    for (const [field, elements] of fields) { parts[field] = start; start += elements; }
  };
  const xavier = (fanOut, fanIn) => (random) => uniform(random, Math.sqrt(6 / (fanIn + fanOut)));
  const zeros = () => 0;
  const E = embedDim;
  if (kvDim === E && kdim === E && vdim === E) {
    add('in_proj_weight', [3 * E, E], xavier(3 * E, E), ['q_weight', E * E], ['k_weight', E * E], ['v_weight', E * E]);
  } else {
    add('q_proj_weight', [E, E], xavier(E, E), ['q_weight', E * E]);
    add('k_proj_weight', [kvDim, kdim], xavier(kvDim, kdim), ['k_weight', kvDim * kdim]);
    add('v_proj_weight', [kvDim, vdim], xavier(kvDim, vdim), ['v_weight', kvDim * vdim]);
  }
  if (bias) add('in_proj_bias', [E + 2 * kvDim], zeros, ['q_bias', E], ['k_bias', kvDim], ['v_bias', kvDim]);
  if (addBiasKv)
    for (const name of ['bias_k', 'bias_v']) add(name, [1, 1, kvDim], (random) => normal(random, Math.sqrt(1 / kvDim)), [name, kvDim]);
  add('out_proj.weight', [E, E], (random) => uniform(random, 1 / Math.sqrt(E)), ['out_weight', E * E]);
  if (bias) add('out_proj.bias', [E], zeros, ['out_bias', E]);
  return { all, parts, length: start };
}

// keep(call): the call with copies of its tensors, one for each, so that backward() sees what forward() saw.
function keep(call) {
  const copies = new Map();
  const copy = (tensor) => {
    if (tensor && !copies.has(tensor)) {
      const data = tensor.read().slice();
      copies.set(tensor, { ...tensor, pointer: 0, locate: null, read: () => data });
    }
    return tensor && copies.get(tensor);
  };
  const { q, k, v, attnMask, padding } = call;
  return { ...call, q: copy(q), k: copy(k), v: copy(v), attnMask: copy(attnMask), padding: copy(padding) };
}

export class MultiHeadAttention {
  #heap;
  #options;
  #parameters;
  #f32 = 0; // the parameters in float32, one after the other
  #f64 = 0; // ... in float64, from the first float64 call on
  #packed = 0; // a copy of the float32 weights as products read them
  #isUsed = false; // a call had a use for that copy
  #exact = null; // a state that was given in float64: { name: Float64Array }
  #graph = null; // the last forward call with needGrad, for backward()
  #angles = null; // of the rotary embedding, for the longest sequence so far: arguments [cos, sin]

  constructor(heap, options) {
    if (!(heap instanceof Heap)) throw new TypeError('new MultiHeadAttention(): use attn.multiHeadAttention(options)');
    const o = { ...readOptions(options, 'options', OPTIONS) };
    integer(o.embedDim, 'embedDim');
    integer(o.numHeads, 'numHeads');
    if (o.embedDim % o.numHeads) throw wrongSize('embedDim', `a multiple of numHeads (${o.numHeads})`, o.embedDim);
    o.numKvHeads = integer(o.numKvHeads ?? o.numHeads, 'numKvHeads');
    if (o.numHeads % o.numKvHeads) throw wrongSize('numKvHeads', `a divisor of numHeads (${o.numHeads})`, o.numKvHeads);
    o.headDim = o.embedDim / o.numHeads;
    o.kvDim = o.numKvHeads * o.headDim;
    o.kdim = integer(o.kdim ?? o.embedDim, 'kdim');
    o.vdim = integer(o.vdim ?? o.embedDim, 'vdim');
    for (const name of ['bias', 'addBiasKv', 'addZeroAttn', 'batchFirst']) flag(o[name], name);
    if (o.rotary !== null) {
      const { theta, dim, interleaved } = readOptions(o.rotary, 'rotary', ROTARY);
      o.rotary = { theta, dim: integer(dim ?? o.headDim, 'rotary.dim', 2, o.headDim), interleaved: flag(interleaved, 'rotary.interleaved') };
      if (o.rotary.dim % 2) throw wrongSize('rotary.dim', 'an even number', o.rotary.dim);
      rotaryTables({ seqLen: 1, dim: o.rotary.dim, theta });
    }
    const random = mulberry32(integer(o.seed, 'seed', 0, 2 ** 32 - 1));
    this.#heap = heap;
    this.#options = o;
    for (const name of ['embedDim', 'numHeads', 'numKvHeads', 'headDim']) this[name] = o[name];
    Object.freeze(this);

    const { all, length } = (this.#parameters = parameters(o));
    this.#f32 = heap.alloc(bytesOf([length], 'f32', 'embedDim'));
    try {
      if (o.state !== null) this.loadStateDict(o.state);
      else
        for (const name in all) {
          const view = this.#view(name);
          for (let i = 0; i < view.length; i++) view[i] = all[name].draw(random);
        }
    } catch (error) {
      this.free();
      throw error;
    }
  }

  get freed() {
    return this.#f32 === 0 || this.#heap.disposed;
  }

  #living() {
    const heap = this.#heap;
    if (heap.module && this.freed) throw new AttentionError('disposed', 'the layer was freed');
    return heap;
  }

  #place(type, base, name) {
    return base + this.#parameters.all[name].start * (type === 'f64' ? 8 : 4);
  }

  #view(name) {
    return this.#heap.view('f32', this.#place('f32', this.#f32, name), count(this.#parameters.all[name].shape));
  }

  // The parameters in float64, made where they are wanted first.
  #doubles() {
    if (!this.#f64) {
      this.#f64 = this.#heap.alloc(bytesOf([this.#parameters.length], 'f64', 'embedDim'));
      for (const name in this.#parameters.all)
        this.#heap.set('f64', this.#place('f64', this.#f64, name), this.#exact?.[name] ?? this.#view(name));
    }
    return this.#f64;
  }

  #tables(seqLen) {
    if (!this.#angles || this.#angles[0].shape[0] < seqLen) {
      const { dim, theta } = this.#options.rotary;
      this.#angles = Object.values(rotaryTables({ seqLen, dim, theta })).map((table) => argument(this.#heap, table, 'rotary'));
    }
    return this.#angles;
  }

  stateDict() {
    this.#living();
    return Object.fromEntries(Object.entries(this.#parameters.all).map(([name, { shape }]) =>
      [name, new Tensor((this.#exact?.[name] ?? this.#view(name)).slice(), [...shape])]));
  }

  loadStateDict(state) {
    const heap = this.#living();
    const { all } = this.#parameters;
    if (state === null || typeof state !== 'object') throw wrongKind('state', 'an object of parameters', state);
    for (const name of Object.keys(state))
      if (!Object.hasOwn(all, name)) throw new TypeError(`state['${name}']: no such parameter; there are ${Object.keys(all).join(', ')}`);
    const given = Object.keys(all).map((name) => {
      if (!Object.hasOwn(state, name)) throw new TypeError(`state['${name}']: missing`);
      const tensor = argument(heap, state[name], `state['${name}']`);
      if (`${tensor.shape}` !== `${all[name].shape}`)
        throw wrongSize(tensor.name, `shape [${all[name].shape.join(', ')}]`, `[${tensor.shape.join(', ')}]`);
      return [name, tensor];
    });
    this.#living(); // still: what was read above may have been a getter
    const values = given.map(([name, tensor]) => [name, tensor.read()]); // all, before the first is written
    const exact = given.some(([, { type }]) => type === 'f64')
      ? Object.fromEntries(values.map(([name, data]) => [name, Float64Array.from(data)])) : null;
    for (const [name, data] of values) heap.set('f32', this.#place('f32', this.#f32, name), data);
    this.#exact = exact;
    this.#graph = null;
    this.#freeCopies();
    return this;
  }

  // What forward() is given, checked.
  #read(query, key, value, o) {
    const heap = this.#heap;
    const { embedDim, numHeads, numKvHeads, kdim, vdim, batchFirst, addBiasKv, addZeroAttn, rotary } = this.#options;
    const q = argument(heap, query, 'query');
    const k = key == null || key === query ? q : argument(heap, key, 'key');
    const v = value == null || value === key ? k : value === query ? q : argument(heap, value, 'value');
    const type = commonType(q, k, v);

    const batched = rank(q, [3, 2], batchFirst ? '[batch, seq, dim] or [seq, dim]' : '[seq, batch, dim] or [seq, dim]') === 3;
    const [seqAxis, batchAxis] = batchFirst ? [2, 3] : [3, 2];
    const length = (tensor, expected, why) => size(tensor, batched ? seqAxis : 2, expected, why);
    const batch = batched ? size(q, batchAxis) : 1;
    for (const [tensor, name, dim] of [[q, 'embedDim', embedDim], [k, 'kdim', kdim], [v, 'vdim', vdim]]) {
      rank(tensor, [q.shape.length], 'as query');
      size(tensor, 1, dim, name);
      if (batched) size(tensor, batchAxis, batch, 'batch of query');
    }
    const seq_len_q = length(q);
    const seq_len_kv = length(k);
    length(v, seq_len_kv, 'seqLenKv of key');
    const strides = (rows, dim) => (batchFirst ? { batch: rows * dim, row: dim } : { batch: dim, row: batch * dim });

    // PyTorch's layer means "blocked" where the core means "attend".
    const readMask = (given, name) => {
      if (given === null) return null;
      const mask = argument(heap, given, name, true);
      return mask.type === 'bool' ? { ...mask, read: () => Uint8Array.from(mask.read(), (blocked) => +!blocked) } : mask;
    };
    const attnMask = readMask(o.attnMask, 'attnMask');
    const padding = readMask(o.keyPaddingMask, 'keyPaddingMask');
    if (attnMask) {
      const perHead = rank(attnMask, [2, 3], '[seqLenQ, seqLenKv] or [batch * numHeads, seqLenQ, seqLenKv]') === 3;
      if (perHead) size(attnMask, 3, batch * numHeads, 'batch * numHeads');
      size(attnMask, 2, seq_len_q, 'seqLenQ');
      size(attnMask, 1, seq_len_kv, 'seqLenKv');
      const area = perHead ? seq_len_q * seq_len_kv : 0;
      attnMask.fields = { seq_len_kv, batch: numHeads * area, head: area, query: seq_len_kv, key: 1 };
    }
    if (padding) {
      const perBatch = rank(padding, [1, 2], '[seqLenKv] or [batch, seqLenKv]') === 2;
      if (perBatch) size(padding, 2, batch, 'batch');
      size(padding, 1, seq_len_kv, 'seqLenKv');
      padding.fields = { seq_len_kv, batch: perBatch ? seq_len_kv : 0, head: 0, query: 0, key: 1 };
    }
    const fields = {
      num_kv_heads: numKvHeads,
      kdim,
      vdim,
      is_causal: +flag(o.isCausal, 'isCausal'),
      add_zero_attn: +addZeroAttn,
      average_weights: +flag(o.averageAttnWeights, 'averageAttnWeights'),
      query: strides(seq_len_q, embedDim),
      key: strides(seq_len_kv, kdim),
      value: strides(seq_len_kv, vdim),
      out: strides(seq_len_q, embedDim),
      rotary_dim: rotary?.dim ?? 0,
      rotary_interleaved: +(rotary?.interleaved ?? false),
    };
    const angles = rotary ? this.#tables(Math.max(seq_len_q, seq_len_kv)) : [];
    const weightsShape = [...(batched ? [batch] : []), ...(o.averageAttnWeights ? [] : [numHeads]), seq_len_q, seq_len_kv + addBiasKv + addZeroAttn];
    const roles = { query: 'query', key: key == null ? 'query' : 'key' };
    roles.value = value == null ? roles.key : 'value';
    return { q, k, v, type, attnMask, padding, angles, fields, sizes: [batch, numHeads, seq_len_q, seq_len_kv, embedDim], weightsShape, roles };
  }

  // load(scope, call) -> [desc, the fields of MHA_DATA that are inputs]
  #load(scope, { q, k, v, type, attnMask, padding, angles, fields, sizes }) {
    const heap = this.#living(); // still: what forward() read may have been a getter
    const desc = scope.take(MHA_DESC.size);
    const inputs = Object.fromEntries(Object.keys(MHA_DATA.fields).map((name) => [name, 0]));
    Object.assign(inputs, this.#partsFrom(type, type === 'f64' ? this.#doubles() : this.#f32));
    angles.forEach((table, i) => { inputs[['rotary_cos', 'rotary_sin'][i]] = scope.put(table, type); });
    Object.assign(inputs, { query: scope.put(q, type), key: scope.put(k, type), value: scope.put(v, type) });
    const masks = { 'masks[0]': maskFields(scope, attnMask, type, attnMask?.fields), 'masks[1]': maskFields(scope, padding, type, padding?.fields) };
    scope.fill();
    heap.call('attn_mha_desc_init', desc, ...sizes);
    heap.write(desc, MHA_DESC, { ...fields, ...masks });
    return [desc, inputs];
  }

  // The parameters' C fields, where the first one is at base.
  #partsFrom(type, base) {
    return Object.fromEntries(Object.entries(this.#parameters.parts).map(([field, start]) => [field, base + start * (type === 'f64' ? 8 : 4)]));
  }

  // Makes the copy of the weights, if a call has a use for it and there is room. Not for the first such call: it may be the only
  // one with these weights, as in training.
  #pack(scope, desc, data) {
    const heap = this.#heap;
    const size = scope.take(4);
    heap.call('attn_mha_pack_f32', desc, data, 0, size);
    const bytes = heap.word(size);
    if (bytes === 0) return;
    const packed = this.#isUsed ? heap.tryAlloc(bytes) : 0;
    this.#isUsed = true;
    if (packed === 0) return;
    heap.call('attn_mha_pack_f32', desc, data, packed, size);
    this.#packed = packed;
    heap.spares.add(this.#spare);
  }

  // Gives the copy up: when the weights change, and when memory runs out.
  #spare = () => {
    this.#heap.free(this.#packed);
    this.#heap.spares.delete(this.#spare);
    this.#packed = 0;
    this.#isUsed = false;
  };

  forward(query, key, value, options) {
    const heap = this.#living();
    const o = readOptions(options, 'options', FORWARD);
    const call = this.#read(query, key, value, o);
    const { q, type, weightsShape } = call;
    const needWeights = flag(o.needWeights, 'needWeights');
    const needGrad = flag(o.needGrad, 'needGrad');
    const result = heap.scope((scope) => {
      const data = scope.take(MHA_DATA.size);
      const out = scope.takeTensor(q.shape, type, 'output');
      const weights = needWeights ? scope.takeTensor(weightsShape, type, 'weights') : 0;
      const [desc, inputs] = this.#load(scope, call);
      heap.write(data, MHA_DATA, { ...inputs, out, weights });
      const exec = prepareRun(heap, scope, `attn_mha_${type}`, type, desc, data);
      if (type === 'f32' && !this.#packed) this.#pack(scope, desc, data);
      // Only now: what was taken above may have needed the copy's memory.
      heap.write(data, MHA_DATA, { packed_weights: type === 'f32' ? this.#packed : 0 });
      heap.call(`attn_mha_${type}`, desc, data, exec);
      return {
        output: new Tensor(heap.copy(type, out, count(q.shape)), [...q.shape]),
        weights: weights ? new Tensor(heap.copy(type, weights, count(weightsShape)), weightsShape) : null,
      };
    });
    if (needGrad) this.#graph = keep(call);
    return result;
  }

  backward(gradOutput) {
    const heap = this.#living();
    const call = this.#graph;
    if (!call) throw new AttentionError('no-forward', 'backward(): call forward(..., { needGrad: true }) first');
    const { q, k, v, attnMask, padding, type, roles } = call;
    const gradOut = argument(heap, gradOutput, 'gradOutput');
    commonType({ name: 'the tensors of forward()', type }, gradOut);
    if (`${gradOut.shape}` !== `${q.shape}`) throw wrongSize('gradOutput', `shape [${q.shape.join(', ')}]`, `[${gradOut.shape.join(', ')}]`);
    const { all, length } = this.#parameters;

    return heap.scope((scope) => {
      const data = scope.take(MHA_BACKWARD_DATA.size);
      const grad_out = scope.put(gradOut, type);
      const base = scope.takeTensor([length], type, 'gradState');
      const places = {};
      for (const [role, tensor] of Object.entries({ query: q, key: k, value: v }))
        places[role] = roles[role] === role ? scope.takeTensor(tensor.shape, type, role) : places[roles[role]];
      const masks = [attnMask, padding].map((mask) => (mask && mask.type !== 'bool' ? { shape: mask.shape, pointer: scope.takeTensor(mask.shape, type, mask.name) } : null));
      const [desc, forward] = this.#load(scope, call);
      const gradients = { ...places, ...this.#partsFrom(type, base) };
      const zeros = Object.fromEntries(Object.keys(MHA_BACKWARD_DATA.fields).map((field) => [field, 0]));
      heap.write(data, MHA_BACKWARD_DATA, {
        ...zeros, forward, grad_out,
        ...Object.fromEntries(masks.map((mask, i) => [`grad_masks[${i}]`, mask?.pointer ?? 0])),
        ...Object.fromEntries(Object.entries(gradients).map(([name, pointer]) => [`grad_${name}`, pointer])),
      });
      run(heap, scope, `attn_mha_backward_${type}`, type, desc, data);

      const result = (role, { shape }) => (roles[role] === role ? new Tensor(heap.copy(type, places[role], count(shape)), [...shape]) : null);
      const ofMask = (mask) => mask && new Tensor(heap.copy(type, mask.pointer, count(mask.shape)), [...mask.shape]);
      const parameter = ({ shape, start }) => new Tensor(heap.copy(type, base + start * (type === 'f64' ? 8 : 4), count(shape)), [...shape]);
      return {
        gradQuery: result('query', q),
        gradKey: result('key', k),
        gradValue: result('value', v),
        gradAttnMask: ofMask(masks[0]),
        gradKeyPaddingMask: ofMask(masks[1]),
        gradState: Object.fromEntries(Object.entries(all).map(([name, tensor]) => [name, parameter(tensor)])),
      };
    });
  }

  #freeCopies() {
    this.#heap.free(this.#f64);
    this.#f64 = 0;
    this.#spare();
  }

  free() {
    this.#heap.free(this.#f32);
    this.#f32 = 0;
    this.#freeCopies();
    this.#exact = this.#graph = null;
  }

  [DISPOSE]() {
    this.free();
  }
}
