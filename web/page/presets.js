// Ready-made views. Each is a set of settings over the defaults; its words are in strings.js. Pure.

import { defaults } from './state.js';
import { mulberry32 } from './model.js';

const settings = {
  heads: {},
  sqrtd: { panel: 'sqrtd', source: 'random', mask: { kind: 'none' }, heads: 2, headDim: 64, gain: 1, scaled: false, head: 0, query: 3, key: 5 },
  gptbert: {
    panel: 'compare', stage: 'difference', query: 1, key: 11,
    text: 'The bank by the river raised its rates , said the bank .',
    compare: { mask: { kind: 'none' }, scaled: true, temperature: 1, gain: 4, score: 'dot' },
  },
  textbook: { panel: 'textbook', source: 'textbook', heads: 1, head: 0, headDim: 4, mask: { kind: 'none' }, scaled: false, query: 0, key: 1 },
  trained: { source: 'trained', head: 0, query: 5, key: 2, text: 'The key to the cabinets is on the chair .' },
  random: { source: 'random', mask: { kind: 'none' }, gain: 1, head: 0, query: 3, key: 2, domain: 'matrix' },
  decode: { panel: 'decode', text: 'one potato two potato three potato four , five potato six potato seven potato more', head: 2, query: 9, key: 2 },
  long: { source: 'long', heads: 4, headDim: 32, gain: 12, head: 2, query: 3000, key: 2489, transfer: 'sqrt' },
};

export const presetNames = Object.keys(settings);

/** The whole settings of a preset. */
export function presetSettings(name) {
  return { ...defaults, preset: name, ...settings[name] };
}

/** Words of the passage that the long text repeats, and how many different words there are. */
const PASSAGE = 512;
const ALPHABET = ['ba', 'de', 'fi', 'go', 'ku', 'la', 'me', 'ni', 'po', 'ru', 'sa', 'te', 'vi', 'wo', 'ya', 'zu'];

/**
 * `count` words of an invented language, always the same: one passage of 512 words over and over, each time with
 * every tenth word changed. Earlier copies are what "what came next" can find.
 */
export function longTokens(count) {
  const uniform = mulberry32(4096);
  const syllable = () => ALPHABET[Math.floor(uniform() * ALPHABET.length)];
  const word = () => syllable() + syllable() + syllable();
  const passage = Array.from({ length: PASSAGE }, word);
  return Array.from({ length: count }, (_, i) => (i >= PASSAGE && uniform() < 0.1 ? word() : passage[i % PASSAGE]));
}
