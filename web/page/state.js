// What the page is showing, and what the worker must be asked for it. Pure.

import { tokenize } from './tokens.js';

export const DEFAULT_TEXT = 'The cat sat on the mat because the cat was tired .';

/** What a visitor can set. Everything else in the state follows from it. */
export const defaults = Object.freeze({
  text: DEFAULT_TEXT,
  heads: 4,
  headDim: 16,
  gain: 4,
  seed: 1,
  mask: Object.freeze({ kind: 'causal' }),
  scaled: true,
  temperature: 1,
  head: 1,
  query: 8,
  key: 1,
  stage: 'weights',
  transfer: 'linear',
  domain: 'unit',
  palette: 'cividis',
});

export function initialState() {
  return {
    ...defaults,
    ...tokenize(defaults.text),
    hover: null,
    result: null,
    engine: { state: 'loading' },
    problem: null,
    theme: 'auto',
  };
}

/** The settings that the weights depend on. */
export const computing = ['tokens', 'heads', 'headDim', 'gain', 'seed', 'mask', 'scaled', 'temperature'];

export function jobOf(state) {
  const { tokens, heads, headDim, gain, seed, mask, scaled, temperature } = state;
  return { tokens, heads, headDim, gain, seed, mask, scaled, temperature };
}
