// The worker: owns the engine, answers requests { id, type, channel, ... } with { id, result }, { id, error } or
// { id, cancelled }. Long work yields between its parts, so that a cancel can come in, and tells how far it is.

import { Attention } from '../lib/index.js';
import { largestOf, subtract } from './arithmetic.js';
import { ALL_HEADS_LIMIT, attendTensors, attendText, attendWeights, columnTerms, edited, rowTerms, softmaxGradient } from './attend.js';
import { attendLarge, buffersOf, Cancelled, largeHead } from './large.js';
import { Decoder, squareRootFigure, textbookSteps, textbookTensors } from './figures.js';
import { openFiles, useTensors } from './opened.js';
import { DEFAULT_LONG } from './limits.js';
import { pairOf } from './pair.js';
import { longTokens } from './presets.js';

// One thread: the page's sums are small, and a pool would cost more to start than it saves.
const engine = Attention.create({ threads: 1 });
engine.then(
  (attn) => postMessage({ type: 'ready', variant: attn.variant, threads: attn.threads }),
  (error) => postMessage({ type: 'failed', message: error.message }),
);

/** Models are only loaded when one is asked for. */
let models = null;
function modelsOf() {
  models ??= import('./trained/subjects.js');
  models.catch(() => { models = null; });
  return models;
}

/** The last answer on each channel, for questions about it. */
const held = new Map();
/** Tensors of the opened files, by name, and the set that was chosen from them. */
let opened = null;
let chosen = null;
let decoder = null;
const cancelled = new Set();

/** Hands the thread back for a moment; throws if the request was given up meanwhile. */
function breather(id) {
  let last = performance.now();
  return async (done, total) => {
    if (performance.now() - last < 40) return;
    postMessage({ type: 'progress', id, done, total });
    await new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = resolve;
      port2.postMessage(0);
    });
    last = performance.now();
    if (cancelled.has(id)) throw new Cancelled();
  };
}

async function attend(attn, { id, job, channel, against, means }) {
  let result;
  if (job.kind === 'textbook') {
    result = { ...attendTensors(attn, textbookTensors(job), { ...job, score: 'dot' }), tokens: ['query'], keyTokens: ['key', 'key'], kinds: ['textbook'] };
  } else if (job.kind === 'long') {
    result = await attendLarge(attn, { ...job, tokens: longTokens(DEFAULT_LONG), score: 'dot' }, null, breather(id));
  } else if (job.kind === 'trained' || job.kind === 'checkpoint') {
    result = await (await modelsOf()).attend(attn, job, breather(id), channel);
  } else if (job.kind === 'file') {
    if (!chosen) throw new Error('no file is open any more.');
    if (chosen.heads * chosen.n * chosen.m > ALL_HEADS_LIMIT) result = await attendLarge(attn, job, chosen, breather(id));
    else if (chosen.weights) result = attendWeights(attn, chosen);
    else {
      result = { ...attendTensors(attn, edited(chosen, job.edits), { ...job, score: 'dot' }), tokens: chosen.tokens, keyTokens: chosen.keyTokens };
      result.kinds = new Array(result.heads).fill('data');
    }
    result.agreement = chosen.expected && result.output ? agreement(attn, result, chosen) : null;
  } else {
    result = attendText(attn, job);
  }
  result.job = result.ready ? { ...job, mask: { kind: 'none' } } : result.job ?? job;
  const first = held.get(against);
  if (first && !first.large && !result.large) result.pair = pairOf(attn, first, result, { means });
  held.set(channel, result);
  if (!result.large) return result;
  const { weights, all, ...rest } = result;
  // The matrix of the head on the stage goes to the page for good; rows are computed again when asked about.
  held.set(channel, { ...result, weights: null });
  return { ...rest, weights, transfer: buffersOf(weights) };
}

function agreement(attn, { output }, { expected }) {
  return { largest: largestOf(subtract(attn, output.data, expected.data)), of: largestOf(expected.data) };
}

const handlers = {
  attend,
  terms: (attn, message) => rowTerms(attn, held.get('main'), message),
  column: (attn, message) => columnTerms(attn, held.get('main'), message),
  gradient(attn, { head, row }) {
    const { n, m, weights } = held.get('main');
    return { head, row, m, data: softmaxGradient(attn, weights.data.slice((head * n + row) * m, (head * n + row + 1) * m)) };
  },
  async head(attn, { id, head, stage, row }) {
    const matrix = await largeHead(attn, held.get('main'), { head, stage, row }, breather(id));
    return { matrix, transfer: buffersOf(matrix) };
  },
  squareRoot: (attn, message) => squareRootFigure(attn, message),
  textbook: (attn, { job }) => textbookSteps(attn, job),
  decode(attn, { step }) {
    const main = held.get('main');
    if (!decoder?.of(main)) {
      decoder?.free();
      decoder = new Decoder(attn, main);
    }
    return decoder.step(step);
  },
  async open(attn, { files }) {
    opened = await openFiles(files);
    return { tensors: opened.list, guess: opened.guess, tokens: opened.tokens };
  },
  async model(attn, { id, ask, ...message }) {
    const tell = (report) => postMessage({ type: 'progress', id, ...report });
    return (await modelsOf())[ask](attn, message, { tell, isCancelled: () => cancelled.has(id) });
  },
  use(attn, { choice }) {
    chosen = useTensors(attn, opened, choice);
    return { n: chosen.n, m: chosen.m, heads: chosen.heads, count: chosen.count, canRoll: Boolean(chosen.canRoll) };
  },
};

self.onmessage = async ({ data: message }) => {
  if (message.type === 'cancel') {
    cancelled.add(message.cancels);
    return;
  }
  try {
    const attn = await engine;
    // A question about an answer that a newer one has replaced: nobody waits for it any more.
    if (message.of !== undefined && message.of !== held.get('main')?.job.serial) {
      postMessage({ id: message.id, cancelled: true });
      return;
    }
    const { transfer = [], ...result } = await handlers[message.type](attn, message);
    postMessage({ id: message.id, result }, transfer);
  } catch (error) {
    if (error instanceof Cancelled) postMessage({ id: message.id, cancelled: true });
    else postMessage({ id: message.id, error: { name: error.name, message: error.message, code: error.code } });
  } finally {
    cancelled.delete(message.id);
  }
};
