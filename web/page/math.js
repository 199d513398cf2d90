// MathML, written short. Browsers draw it and screen readers read it; no library is needed.

import { h, math } from './dom.js';

export const mi = (name, props = {}) => math('mi', props, name);
export const mn = (number) => math('mn', {}, String(number));
export const mo = (sign) => math('mo', {}, sign);
export const mtext = (words) => math('mtext', {}, words);
export const row = (...children) => math('mrow', {}, ...children);
/** Two letters that stand for two numbers: <mi>ij</mi> would be a word, and upright. */
export const both = (first, second) => row(mi(first), mi(second));
export const sub = (base, index) => math('msub', {}, base, index);
export const sup = (base, power) => math('msup', {}, base, power);
export const frac = (top, bottom) => math('mfrac', {}, top, bottom);
// <msqrt> draws no sign where no font with mathematical tables is installed; the character is in every font.
export const sqrt = (inside) => row(math('mo', { stretchy: 'false', rspace: '0' }, '√'), inside);
export const sum = (under) => math('munder', {}, mo('∑'), under);
export const formula = (...children) => math('math', {}, ...children);
/** Equal things, each a list of elements: on one line where there is room for them. */
export const chain = (...equals) => h('div', { class: 'equation' },
  equals.map((part, i) => math('math', { displaystyle: 'true' }, ...(i > 0 ? [mo('=')] : []), ...part)));
export const block = (...children) => math('math', { display: 'block' }, ...children);
/** Query, key and value in their colours. */
export const q = (index) => sub(mi('q', { class: 'is-query' }), index);
export const k = (index) => sub(mi('k', { class: 'is-key' }), index);
export const v = (index) => sub(mi('v', { class: 'is-value' }), index);
