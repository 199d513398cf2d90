// Ready-made views. Each is a set of settings over the defaults; its words are in strings.js. Pure.

import { defaults } from './state.js';
import { mulberry32 } from './model.js';

const settings = {
  heads: {},
  sqrtd: { panel: 'sqrtd', source: 'random', mask: { kind: 'none' }, heads: 2, headDim: 64, gain: 1, scaled: false, head: 0, query: 3, key: 3 },
  gptbert: {
    panel: 'compare', stage: 'difference', query: 1, key: 8,
    text: 'The bank by the river raised its rates , said the bank .',
    compare: { mask: { kind: 'none' }, scaled: true, temperature: 1, gain: 4, score: 'dot' },
  },
  textbook: { panel: 'textbook', source: 'textbook', heads: 1, head: 0, headDim: 4, mask: { kind: 'none' }, scaled: false, query: 0, key: 1 },
  random: { source: 'random', mask: { kind: 'none' }, gain: 4, head: 0, query: 3, key: 3, domain: 'matrix' },
  decode: { panel: 'decode', text: 'one potato two potato three potato four , five potato six potato seven potato more', head: 2, query: 9, key: 2 },
  long: { source: 'long', heads: 4, headDim: 32, gain: 12, head: 2, query: 4000, key: 0, transfer: 'sqrt' },
};

export const presetNames = Object.keys(settings);

/** The whole settings of a preset. */
export function presetSettings(name) {
  return { ...defaults, preset: name, ...settings[name] };
}

/** `count` words of plain repeated sentences, always the same: something for 4,096 tokens to find. */
export function longTokens(count) {
  const uniform = mulberry32(4096);
  const choose = (words) => words[Math.floor(uniform() * words.length)];
  const tokens = [];
  while (tokens.length < count) {
    tokens.push('the', choose(animals), choose(verbs), choose(places), 'the', choose(things));
    if (uniform() < 0.5) tokens.push('because', 'the', choose(animals), 'was', choose(moods));
    tokens.push('.');
  }
  return tokens.slice(0, count);
}

const animals = ['cat', 'dog', 'fox', 'owl', 'hare', 'mouse', 'horse', 'crow'];
const verbs = ['sat', 'slept', 'waited', 'sang', 'jumped', 'looked'];
const places = ['on', 'under', 'behind', 'near', 'over'];
const things = ['mat', 'table', 'hill', 'river', 'house', 'tree', 'wall'];
const moods = ['tired', 'happy', 'hungry', 'late', 'cold'];
