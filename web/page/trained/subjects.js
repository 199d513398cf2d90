// The models that the page looks into: the shipped one, before and after its training, and a checkpoint that was opened.
// Runs in the worker.

import { Llama, Tokenizer } from '../../lib/llama/index.js';
import { checkpointOf, initialParameters } from '../../model/untrained.js';
import { ALL_HEADS_LIMIT, attendTensors } from '../attend.js';
import { attendLarge } from '../large.js';
import { mulberry32 } from '../model.js';
import { MAX_TOKENS } from '../tokens.js';
import * as language from './language.js';
import { isMarked, MAX_KEPT } from './limits.js';
import { shipped } from './shipped.js';
import { words as t } from './strings.js';

/** Multiply-adds of a part of a pass, between two looks at the event loop: some hundredths of a second. */
const PART = 2 ** 28;
/** Words of a prediction: alone, of each of two that are compared, and of those that matter. */
const SHOWN = 6;
const COMPARED = 4;
const MATTER = 3;
/** Milliseconds between two reports of what is being written. */
const TELL = 60;
const [UNKNOWN, BOS, EOS, FIRST_BYTE, LAST_BYTE] = [0, 1, 2, 3, 258];

/** The shipped model, once: { after, table, training, before() }. */
let own = null;

async function loadOwn(attn) {
  const [bytes, ...texts] = await Promise.all([shipped('model'), shipped('heads'), shipped('training')]);
  const [table, training] = texts.map((text) => JSON.parse(new TextDecoder().decode(text)));
  const after = await Llama.create(attn, bytes);
  let before = null;
  return {
    after, table, training, bytes: bytes.byteLength,
    before: () => (before ??= Llama.create(attn, checkpointOf(training.config, initialParameters(training.config, mulberry32(training.seed))))),
  };
}

function ownModel(attn) {
  own ??= loadOwn(attn);
  // What failed may succeed another time.
  own.catch(() => { own = null; });
  return own;
}

/** A checkpoint and its tokenizer, { llama, tokenizer, id }; and what has come of the next so far. */
let opened = null;
let offered = {};

function tokenLabel(tokenizer, id) {
  if (id === UNKNOWN) return '<unk>';
  if (id === BOS) return '<s>';
  if (id === EOS) return '</s>';
  const text = tokenizer.decode([id]);
  if (id >= FIRST_BYTE && id <= LAST_BYTE && !/^[!-~]$/.test(text)) return id === FIRST_BYTE + 10 ? '↵' : `<0x${(id - FIRST_BYTE).toString(16).toUpperCase().padStart(2, '0')}>`;
  return text.replaceAll(' ', '▁').replaceAll('\n', '↵');
}

/** The model that a job speaks of: { llama, reference, encode, decode, label, key }. reference: what it is compared with, or null. */
async function subjectOf(attn, { kind, untrained, silenced }) {
  if (kind === 'checkpoint') {
    if (!opened) throw new Error('no model is open any more.');
    const { llama, tokenizer, id } = opened;
    return {
      llama, reference: silenced.length > 0 ? llama : null, key: `checkpoint ${id}`,
      encode: (text) => tokenizer.encode(text), decode: (ids) => tokenizer.decode(ids), label: (token) => tokenLabel(tokenizer, token),
      stream: (before) => tokenizer.stream(before), stop: [BOS, EOS],
    };
  }
  const { after, before } = await ownModel(attn);
  return {
    ...language, stop: [], llama: untrained ? await before() : after, reference: untrained || silenced.length > 0 ? after : null, key: 'own',
  };
}

/** Tokens that one picture may have. */
function mostTokens({ numLayers, numHeads, numKvHeads, headDim, vocabSize, seqLen }) {
  const each = Math.max(numLayers * (numHeads + 2 * numKvHeads) * headDim, vocabSize);
  return Math.max(1, Math.min(seqLen, MAX_TOKENS, Math.floor(MAX_KEPT / each)));
}

/** Weights that are all finite may still lead beyond float32. */
function allFinite(numbers) {
  for (const x of numbers) if (!Number.isFinite(x)) return false;
  return true;
}

function pairs(silenced, { numLayers, numHeads }) {
  return silenced.filter((head) => head < numLayers * numHeads).map((head) => ({ layer: Math.floor(head / numHeads), head: head % numHeads }));
}

/** Tokens that are computed at once. */
function partOf({ dim, hiddenDim, numLayers, vocabSize }) {
  return Math.max(1, Math.min(64, Math.floor(PART / (numLayers * (4 * dim * dim + 3 * dim * hiddenDim) + vocabSize * dim))));
}

/** All tokens through the model: logits [n, vocabSize] and, wanted, the queries, keys and values of all layers, head after head. */
async function pass(llama, ids, { silenced, wanted }, breathe) {
  const { config } = llama;
  const { numLayers, numHeads, numKvHeads, headDim, vocabSize } = config;
  const n = ids.length;
  const part = partOf(config);
  const logits = new Float32Array(n * vocabSize);
  const empty = (heads) => ({ data: new Float32Array(numLayers * heads * n * headDim), shape: [1, numLayers * heads, n, headDim] });
  const found = wanted ? { query: empty(numHeads), key: empty(numKvHeads), value: empty(numKvHeads) } : {};
  const sequence = llama.sequence({ capacity: n });
  try {
    for (let from = 0; from < n; from += part) {
      const now = ids.slice(from, from + part);
      const answer = sequence.forward(now, { logits: 'all', returnProjections: wanted, silenced: pairs(silenced, config) });
      logits.set(answer.logits.data, from * vocabSize);
      answer.projections?.forEach((layer, at) => {
        for (const name of ['query', 'key', 'value']) {
          const { data, shape: [heads] } = layer[name];
          const size = now.length * headDim;
          for (let head = 0; head < heads; head += 1) found[name].data.set(data.subarray(head * size, (head + 1) * size), ((at * heads + head) * n + from) * headDim);
        }
      });
      await breathe(from + now.length, n);
    }
  } finally {
    sequence.free();
  }
  return { logits, ...found };
}

/** The logits of the text on the page, and of what they are compared with. */
let said = null;
let lastReference = { key: '', logits: null };

/** As attendText: everything that the page draws of a text in a model. The heads of all layers are heads of one picture. */
export async function attend(attn, job, breathe, channel) {
  const subject = await subjectOf(attn, job);
  const { llama, reference } = subject;
  const { config } = llama;
  const all = job.ids ?? subject.encode(job.text);
  const ids = all.slice(0, mostTokens(config));
  const { logits, query: q, key: k, value: v } = await pass(llama, ids, { silenced: job.silenced, wanted: true }, breathe);
  const key = `${subject.key} ${ids}`;
  const isMain = channel === 'main';
  if (isMain && reference && lastReference.key !== key) lastReference = { key, logits: (await pass(reference, ids, { silenced: [], wanted: false }, breathe)).logits };
  if (!allFinite(logits)) throw new RangeError(t.infinite);
  const tokens = ids.map(subject.label);
  const [, heads, n] = q.shape;
  // A model's own settings: only it can change them.
  const fixed = { ...job, mask: { kind: 'causal' }, scaled: true, temperature: 1, score: 'dot', edits: {} };
  const result = heads * n * n > ALL_HEADS_LIMIT
    ? await attendLarge(attn, fixed, { q, k, v, heads, n, m: n, tokens, keyTokens: tokens }, breathe)
    : { ...attendTensors(attn, { q, k, v }, fixed, ids), tokens, keyTokens: tokens };
  const learned = job.kind === 'trained' && !job.untrained;
  const roles = learned ? rolesOf((await own).table, config) : null;
  if (isMain) said = { logits, reference: reference && lastReference.logits, vocabSize: config.vocabSize, label: subject.label };
  return {
    ...result, job: fixed, fixed: true, perLayer: config.numHeads, silenced: job.silenced.filter((head) => head < heads),
    kinds: new Array(heads).fill(job.kind === 'checkpoint' ? 'checkpoint' : learned ? 'learned' : 'untrained'),
    roles, dropped: all.length - n, most: n, ids,
  };
}

/** For each head the skills that it reads, helps and watches, as measured: see web/docs/training.md. */
function rolesOf({ roles }, { numLayers, numHeads }) {
  const of = (list, at) => roles.filter((role) => role[list].some(({ layer, head }) => layer * numHeads + head === at)).map(({ skill }) => skill);
  return Array.from({ length: numLayers * numHeads }, (_, at) => ({ reads: of('readers', at), helps: of('helpers', at), watches: of('watchers', at) }));
}

/**
 * What the model expects after token `row`: { row, entries: [{ token, label, now, before }], choice: { now, before } }. Entries are
 * the likeliest words and the first of `focus`, the right word and the wrong ones; choice is the right one's share of the
 * probability of all of `focus`. before: all heads of the trained model at work; null where that is what is shown.
 */
export function predict(attn, { row, focus = [] }) {
  const { logits, reference, vocabSize, label } = said;
  const probabilities = (all) => attn.softmax(all.slice(row * vocabSize, (row + 1) * vocabSize)).data;
  const now = probabilities(logits);
  const before = reference && probabilities(reference);
  const likeliest = (list) => [...list.keys()].sort((a, b) => list[b] - list[a]);
  const wanted = focus.map((word) => language.knownWords.indexOf(word) + 1).filter((token) => token > 0);
  const choiceOf = (all) => (wanted.length > 1 ? attn.softmax(Float32Array.from(wanted, (token) => all[row * vocabSize + token])).data[0] : null);
  const tokens = [...new Set([...likeliest(now).slice(0, before ? COMPARED : SHOWN), ...(before ? likeliest(before).slice(0, COMPARED) : []), ...wanted.slice(0, MATTER)])];
  const top = (token) => Math.max(now[token], before?.[token] ?? 0);
  return {
    row, entries: tokens.sort((a, b) => top(b) - top(a)).map((token) => ({ token, label: label(token), now: now[token], before: before ? before[token] : null })),
    choice: { now: choiceOf(logits), before: reference && choiceOf(reference) },
  };
}

/** What is known of the shipped model. */
export async function facts(attn) {
  const { table, training, bytes } = await ownModel(attn);
  return { table, training, bytes, words: language.knownWords };
}

/**
 * Writes on: { ids, text, written, limit, rate (tokens a second), stopped }. tell(...) hears of the text as it grows;
 * isCancelled() ends it after a token, and what was written stays.
 */
export async function write(attn, { job, maxTokens, temperature, topP, seed }, { tell, isCancelled }) {
  const subject = await subjectOf(attn, job);
  const { llama } = subject;
  const prompt = job.ids ?? subject.encode(job.text);
  const { seqLen } = llama.config;
  if (prompt.length >= seqLen) throw new language.TextProblem(t.full(prompt.length, seqLen));
  const stop = new AbortController();
  const check = () => { if (isCancelled()) stop.abort(); };
  const ids = [...prompt];
  const limit = Math.min(maxTokens, seqLen - prompt.length);
  let text = job.kind === 'trained' || job.ids ? subject.decode(prompt) : job.text;
  let first = 0;
  let last = 0;
  let told = 0;
  const report = (isDue) => {
    const now = performance.now();
    if (!isDue && now - told < TELL) return;
    told = now;
    tell({ done: ids.length - prompt.length, total: limit, text, rate: rate() });
  };
  // Between the first token and the last: the prompt before it is another kind of work.
  const rate = () => (last > first ? (1000 * (ids.length - prompt.length - 1)) / (last - first) : null);
  try {
    const options = {
      maxTokens: limit, temperature, topP, seed, stop: subject.stop, silenced: pairs(job.silenced, llama.config), signal: stop.signal,
      onProgress: () => { report(); check(); },
    };
    const stream = subject.stream?.(prompt.at(-1));
    for await (const { token } of llama.generate(prompt, options)) {
      ids.push(token);
      last = performance.now();
      if (first === 0) first = last;
      text = stream ? text + stream.push(token) : subject.decode(ids);
      report(ids.length === prompt.length + limit);
      check();
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
  return { ids, text, written: ids.length - prompt.length, limit, rate: rate(), stopped: stop.signal.aborted };
}

/**
 * Files that may be a checkpoint and its tokenizer, together or one after the other; isFirst forgets what was offered before.
 * Each is read at once. The model that is open stays until another is complete.
 */
export async function offer(attn, { files, isFirst }, { tell, isCancelled }) {
  if (isFirst) forget();
  for (const { name, buffer } of files) {
    const { tokenizer, reason } = tokenizerOf(buffer);
    if (tokenizer) offered.tokenizer = { name, tokenizer };
    else if (/tok/i.test(name) && !isMarked(new DataView(buffer))) throw named(name, reason);
    else {
      forget('checkpoint');
      const llama = await loadCheckpoint(attn, name, buffer, { tell, isCancelled });
      offered.checkpoint = { name, llama, bytes: buffer.byteLength };
    }
  }
  const { checkpoint, tokenizer } = offered;
  if (!checkpoint || !tokenizer) return { missing: checkpoint ? 'tokenizer' : 'checkpoint', name: (checkpoint ?? tokenizer).name };
  const { config } = checkpoint.llama;
  if (tokenizer.tokenizer.vocabSize !== config.vocabSize) {
    delete offered.tokenizer;
    throw new RangeError(t.file.mismatch(tokenizer.name, tokenizer.tokenizer.vocabSize, checkpoint.name, config.vocabSize));
  }
  opened?.llama.free();
  opened = { llama: checkpoint.llama, tokenizer: tokenizer.tokenizer, id: (opened?.id ?? 0) + 1 };
  lastReference = { key: '', logits: null };
  offered = {};
  return { opened: { id: opened.id, name: checkpoint.name, bytes: checkpoint.bytes, config } };
}

function forget(...names) {
  for (const name of names.length > 0 ? names : Object.keys(offered)) {
    offered[name]?.llama?.free();
    delete offered[name];
  }
}

function tokenizerOf(buffer) {
  try {
    return { tokenizer: new Tokenizer(buffer) };
  } catch (reason) {
    return { reason };
  }
}

async function loadCheckpoint(attn, name, buffer, { tell, isCancelled }) {
  const stop = new AbortController();
  try {
    return await Llama.create(attn, buffer, {
      signal: stop.signal, onProgress: (done) => { tell({ done, total: 1 }); if (isCancelled()) stop.abort(); },
    });
  } catch (error) {
    throw named(name, error);
  }
}

/** An error with the name of its file before what it says. */
function named(name, error) {
  return Object.assign(new Error(`${name}: ${error.message}`), { name: error.name, code: error.code });
}
