// The worker: owns the engine, answers requests { id, type, ... } with { id, result } or { id, error }.

import { Attention } from '../lib/index.js';
import { attendText, rowTerms } from './attend.js';

// One thread: the page's sums are small, and a pool would cost more to start than it saves.
const engine = Attention.create({ threads: 1 });
engine.then(
  (attn) => postMessage({ type: 'ready', variant: attn.variant, threads: attn.threads }),
  (error) => postMessage({ type: 'failed', message: error.message }),
);

/** Tensors of the last answer on each channel, for questions about it. */
const held = new Map();

const handlers = {
  attend(attn, { job, channel }) {
    const result = attendText(attn, job);
    held.set(channel, result);
    return result;
  },
  terms(attn, { channel, head, row, keys }) {
    return rowTerms(attn, held.get(channel), head, row, keys);
  },
};

self.onmessage = async ({ data: message }) => {
  try {
    const attn = await engine;
    postMessage({ id: message.id, result: await handlers[message.type](attn, message) });
  } catch (error) {
    postMessage({ id: message.id, error: { name: error.name, message: error.message, code: error.code } });
  }
};
