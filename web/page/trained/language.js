// The words of the shipped model: from text to tokens and back, and example sentences. Pure; also runs in Node.

import { VOCABULARY, sentence, tokensOf } from '../../model/sentences.js';
import { mulberry32 } from '../model.js';
import { tokenize } from '../tokens.js';
import { words as t } from './strings.js';

/** A text that a model cannot read: its message stands beside the text. */
export class TextProblem extends Error {
  name = 'TextProblem';
}

const BOS = 0;
const MAX_SUGGESTIONS = 3;
/** Which sentences of the generator use a skill. */
const KINDS = { agreement: 'agreement', pronoun: 'pronoun', neighbour: 'neighbour', compound: 'meeting', distant: 'distant' };
/** The generator makes sentences of up to 47 words; shorter ones are easier to look at. */
const EASY = 34;

/** The words that a visitor may type. */
export const knownWords = VOCABULARY.slice(1);

/** Token 0, which starts each text, and the tokens of the words. */
export function encode(text) {
  const { tokens: written } = tokenize(text);
  const ids = tokensOf(written);
  const unknown = [...new Set(written.filter((_, i) => ids[i] === undefined))];
  if (unknown.length > 0) throw new TextProblem(t.unknown(unknown, suggestions(unknown[0])));
  return [BOS, ...ids];
}

export function label(id) {
  return VOCABULARY[id];
}

export function decode(ids) {
  return ids.filter((id) => id !== BOS).map(label).join(' ');
}

/** Known words that are written much like this one, the likest first. */
export function suggestions(word) {
  const near = Math.max(1, Math.floor(word.length / 3));
  return knownWords
    .map((known) => ({ known, steps: distance(word.toLowerCase(), known.toLowerCase()) }))
    .filter(({ steps }) => steps <= near)
    .sort((a, b) => a.steps - b.steps)
    .slice(0, MAX_SUGGESTIONS).map(({ known }) => known);
}

/** How many letters must be put in, taken out or changed (Levenshtein 1966). */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}

/** A sentence that training never saw, in which `skill` is needed and something misleads, where the skill knows that: { text, use }. */
export function example(skill, seed) {
  const random = mulberry32(seed);
  for (;;) {
    const { words, uses } = sentence(random, { heldOut: true, kind: KINDS[skill] });
    const use = uses.find((one) => one.skill === skill && (skill === 'compound' || one.distractors.some(({ word }) => word !== one.right)));
    if (use && words.length <= EASY) return { text: words.join(' '), use };
  }
}
