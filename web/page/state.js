// What the page is showing, what the worker must be asked for it, and its short form in a link. Pure.

import { colorMaps } from './colormaps.js';
import { HEAD_SIZES, headKinds } from './model.js';
import { domains, transfers } from './scales.js';
import { tokenize } from './tokens.js';

const DEFAULT_TEXT = 'The cat sat on the mat because the cat was tired .';
const MAX_TEXT = 20000;
export const maskKinds = ['causal', 'none', 'window', 'length', 'drawn'];
export const scoreKinds = ['dot', 'multiplicative', 'additive'];
export const stageNames = ['dots', 'scores', 'weights', 'gradient', 'difference'];
export const panels = ['none', 'lesson', 'sqrtd', 'compare', 'decode', 'textbook'];
const sources = ['named', 'random', 'textbook', 'long', 'trained', 'file', 'checkpoint'];
/** Sources that a link cannot bring along. */
const fromFiles = ['file', 'checkpoint'];
const editable = ['x', 'wq', 'wk', 'wv', 'q', 'k', 'v', 'general'];

/** What a visitor can set. Everything else in the state follows from it. */
export const defaults = Object.freeze({
  preset: 'heads',
  source: 'named',
  text: DEFAULT_TEXT,
  heads: 4,
  headDim: 16,
  gain: 4,
  seed: 1,
  mask: Object.freeze({ kind: 'causal' }),
  score: 'dot',
  scaled: true,
  temperature: 1,
  head: 1,
  query: 8,
  key: 1,
  byColumn: false,
  stage: 'weights',
  transfer: 'linear',
  domain: 'unit',
  palette: 'cividis',
  edits: Object.freeze({}),
  untrained: false,
  silenced: Object.freeze([]),
  compare: null,
  panel: 'none',
  step: 0,
});

export function initialState(settings = {}) {
  const all = { ...defaults, ...settings };
  return {
    ...all, ...tokenize(all.text),
    hover: null, result: null, other: null, terms: null, gradient: null,
    engine: { state: 'loading' }, problem: null, textProblem: null, progress: null, file: null,
    // Of models: tokens where the text alone does not say which, and what trained/ keeps.
    ids: null, checkpoint: null, example: null, facts: null, prediction: null, writing: null, wrote: null,
  };
}

/** The settings that the weights depend on. */
export const computing = ['tokens', 'source', 'heads', 'headDim', 'gain', 'seed', 'mask', 'score', 'scaled', 'temperature', 'edits', 'file', 'untrained', 'silenced', 'ids', 'checkpoint'];

export function jobOf(state) {
  const { tokens, source, heads, headDim, gain, seed, mask, score, scaled, temperature, edits, head } = state;
  const { text, ids, untrained, silenced } = state;
  return { tokens, kind: source, heads, headDim, gain, seed, mask, score, scaled, temperature, edits, head, text, ids, untrained, silenced };
}

/** The settings of the other pane: those of the first, where it has none of its own. */
export function otherJob(state) {
  const { fresh, over, text, trained, ...settings } = state.compare;
  const job = { ...jobOf(state), ...settings };
  // A model is compared with all its heads at work.
  if (trained) Object.assign(job, { untrained: trained === 'before', silenced: [] });
  const { tokens } = tokenize(text ?? '');
  const { wq, wk, wv, general } = job.edits;
  if (tokens.length) job.tokens = tokens;
  // Changed numbers belong to the words and the sizes that they were changed at.
  if (fresh || job.headDim !== state.headDim) job.edits = {};
  else if (tokens.length) job.edits = Object.fromEntries(Object.entries({ wq, wk, wv, general }).filter(([, cells]) => cells));
  return job;
}

/** Whether the averages over all heads are needed, too. */
export function comparesMeans({ compare, heads }) {
  return compare.over === 'mean' || (compare.heads ?? heads) !== heads;
}

// The link: every field says how it is printed, and parses only what it could have printed.

const VERSION = '1';
const whole = (low, high) => ({
  print: String,
  parse: (text) => (/^\d{1,9}$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : undefined),
});
const real = (low, high) => ({
  print: String,
  parse: (text) => (/^-?\d{0,6}(\.\d{0,9})?$/.test(text) && text !== '' && Number(text) >= low && Number(text) <= high ? Number(text) : undefined),
});
const oneOf = (names) => ({ print: String, parse: (text) => (names.includes(text) ? text : undefined) });
const headDimField = { print: String, parse: (text) => HEAD_SIZES.find((size) => String(size) === text) };
const textField = { print: String, parse: (text) => (text.length <= MAX_TEXT ? text : undefined) };
const flag = { print: (value) => (value ? '1' : '0'), parse: (text) => ({ 0: false, 1: true }[text]) };

const maskField = {
  print(mask) {
    if (mask.kind === 'window') return `window.${mask.left}.${mask.right}`;
    if (mask.kind === 'length') return `length.${mask.length}`;
    if (mask.kind === 'drawn') return `drawn.${mask.blocked.map(([i, j]) => `${i}-${j}`).join('.')}`;
    return mask.kind;
  },
  parse(text) {
    const [kind, ...rest] = text.split('.');
    const numbers = rest.map(whole(0, 99999).parse);
    if (kind === 'causal' || kind === 'none') return rest.length ? undefined : { kind };
    if (kind === 'window' && rest.length === 2 && !numbers.includes(undefined)) return { kind, left: numbers[0], right: numbers[1] };
    if (kind === 'length' && rest.length === 1 && numbers[0] !== undefined) return { kind, length: numbers[0] };
    if (kind === 'drawn' && rest.length <= 4096) {
      const blocked = rest.filter(Boolean).map((pair) => pair.split('-').map(whole(0, 511).parse));
      if (blocked.every((pair) => pair.length === 2 && !pair.includes(undefined))) return { kind, blocked };
    }
    return undefined;
  },
};

const editsField = {
  print: (edits) => Object.entries(edits).map(([name, cells]) => `${name}.${Object.entries(cells).map(([at, value]) => `${at}:${value}`).join(';')}`).join('_'),
  parse(text) {
    const edits = {};
    for (const part of text.split('_')) {
      const at = part.indexOf('.');
      const name = part.slice(0, at);
      if (!editable.includes(name)) return undefined;
      edits[name] = {};
      for (const cell of part.slice(at + 1).split(';').slice(0, 4096)) {
        const [index, value] = cell.split(':');
        if (!/^\d{1,7}$/.test(index) || value === '' || !Number.isFinite(Math.fround(Number(value)))) return undefined;
        edits[name][index] = Number(value);
      }
    }
    return edits;
  },
};

const silencedField = {
  print: (heads) => heads.join('.'),
  parse(text) {
    const heads = text === '' ? [] : text.split('.').map(whole(0, 9999).parse);
    return heads.includes(undefined) ? undefined : [...new Set(heads)].sort((a, b) => a - b);
  },
};

// Five parts that are always there, then those that the other setting has of its own.
const ownParts = { heads: whole(1, headKinds.length), headDim: headDimField, over: oneOf(['mean']), fresh: oneOf(['fresh']), trained: oneOf(['after', 'before']), text: textField };

const compareField = {
  print: (compare) => [
    maskField.print(compare.mask), flag.print(compare.scaled), compare.temperature, compare.gain, compare.score,
    ...Object.entries(ownParts).filter(([name]) => compare[name]).map(([name, field]) => `${name}:${field.print(name === 'fresh' ? 'fresh' : compare[name])}`),
  ].map((part) => String(part).replaceAll('%', '%25').replaceAll('~', '%7E')).join('~'),
  parse(text) {
    const [mask, scaled, temperature, gain, score, ...own] = text.split('~').map((part) => part.replaceAll('%7E', '~').replaceAll('%25', '%'));
    const found = {
      mask: maskField.parse(mask ?? ''), scaled: flag.parse(scaled), temperature: fields.temperature.parse(temperature ?? ''),
      gain: fields.gain.parse(gain ?? ''), score: fields.score.parse(score ?? ''),
    };
    for (const part of own) {
      const at = part.indexOf(':');
      const name = part.slice(0, at);
      found[name] = Object.hasOwn(ownParts, name) ? ownParts[name].parse(part.slice(at + 1)) : undefined;
    }
    if (found.fresh) found.fresh = true;
    return Object.values(found).includes(undefined) ? undefined : found;
  },
};

const fields = {
  preset: { print: String, parse: (text) => (/^[a-z]{1,20}$/.test(text) ? text : undefined) },
  // A file is not in the link; whoever opens it sees the sentence instead.
  source: oneOf(sources.filter((source) => !fromFiles.includes(source))),
  text: textField,
  heads: whole(1, headKinds.length),
  headDim: headDimField,
  gain: real(0, 12),
  seed: whole(0, 999999999),
  mask: maskField,
  score: oneOf(scoreKinds),
  scaled: flag,
  temperature: real(0.1, 4),
  head: whole(0, 9999),
  query: whole(0, 99999),
  key: whole(0, 99999),
  byColumn: flag,
  stage: oneOf(stageNames),
  transfer: oneOf(transfers),
  domain: oneOf(domains),
  palette: oneOf(colorMaps),
  edits: editsField,
  untrained: flag,
  silenced: silencedField,
  compare: compareField,
  panel: oneOf(panels),
  step: whole(0, 6),
};

/** Only what differs from the default, as `#v=1&name=value...`; '' where nothing does. */
export function toHash(state) {
  const parts = new URLSearchParams();
  for (const [name, field] of Object.entries(fields)) {
    const [value, standard] = [state[name], defaults[name]];
    if (value === null || (fromFiles.includes(state.source) && ['source', 'preset', 'edits', 'silenced'].includes(name))) continue;
    const printed = field.print(value);
    if (standard === null || printed !== field.print(standard)) parts.set(name, printed);
  }
  return parts.size === 0 ? '' : `#v=${VERSION}&${parts}`;
}

/** { settings, refused: names whose values were not understood and are left at their defaults }. */
export function fromHash(hash) {
  const settings = {};
  const refused = [];
  if (hash.length < 2) return { settings, refused };
  const parts = new URLSearchParams(hash.slice(1));
  if (parts.get('v') !== VERSION) return { settings, refused: ['v'] };
  for (const [name, text] of parts) {
    if (name === 'v') continue;
    const value = Object.hasOwn(fields, name) ? fields[name].parse(text) : undefined;
    if (value === undefined) refused.push(name.slice(0, 20));
    else settings[name] = value;
  }
  if (settings.text !== undefined && tokenize(settings.text).tokens.length === 0) delete settings.text;
  return { settings, refused };
}

/** The settings alone, for a file: the same fields as the link. */
export function settingsOf(state) {
  return Object.fromEntries(Object.keys(fields).map((name) => [name, state[name]]));
}

export function fromSettings(object) {
  const parts = new URLSearchParams({ v: VERSION });
  for (const [name, field] of Object.entries(fields)) {
    if (object[name] === undefined || object[name] === null) continue;
    try {
      parts.set(name, field.print(object[name]));
    } catch {
      parts.set(name, 'unreadable');
    }
  }
  return fromHash(`#${parts}`);
}
