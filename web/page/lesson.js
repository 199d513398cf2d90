// Seven steps that drive the real controls: plain words first, the formula beside them, something to try.

import { h } from './dom.js';
import { block, both, frac, k, mi, mn, mo, mtext, q, row, sqrt, sub, sum, sup, v } from './math.js';
import { defaults } from './state.js';
import { t } from './strings.js';

const i = () => mi('i');
const j = () => mi('j');
const causal = { kind: 'causal' };
const none = { kind: 'none' };

/** formula(), what the step sets on the page, and what one may try there. */
const steps = [
  {
    formula: () => block(q(i()), mo('='), sub(mi('W'), mi('Q')), sub(mi('x'), i()), mo(','), mtext('\u00a0'), k(j()), mo('='), sub(mi('W'), mi('K')), sub(mi('x'), j())),
    state: { head: 1, stage: 'weights', mask: none, query: 8, key: 1 }, tries: [{ query: 1 }, { query: 5 }],
  },
  {
    formula: () => block(sub(mi('s'), both('i', 'j')), mo('='), q(i()), mo('·'), k(j()), mo('='), sum(mi('f')), sub(mi('q'), both('i', 'f')), sub(mi('k'), both('j', 'f'))),
    state: { head: 1, stage: 'dots', mask: none, query: 8, key: 1 }, tries: [{ key: 1 }, { key: 3 }],
  },
  {
    formula: () => block(sub(mi('s'), both('i', 'j')), mo('='), frac(row(q(i()), mo('·'), k(j())), sqrt(mi('d')))),
    state: { head: 1, stage: 'weights', mask: none, scaled: true, query: 8, key: 1 }, tries: [{ scaled: false, stage: 'weights' }, { scaled: true, stage: 'weights' }],
  },
  {
    formula: () => block(sub(mi('s'), both('i', 'j')), mo('='), mn('−∞'), mtext(`\u00a0${t.lesson.if}\u00a0`), mi('j'), mo('>'), mi('i')),
    state: { head: 1, stage: 'scores', mask: causal, query: 8, key: 1 }, tries: [{ mask: none }, { mask: causal }],
  },
  {
    formula: () => block(sub(mi('a'), both('i', 'j')), mo('='), frac(sup(mi('e'), sub(mi('s'), both('i', 'j'))), row(sum(mi('m')), sup(mi('e'), sub(mi('s'), both('i', 'm')))))),
    state: { head: 1, stage: 'weights', mask: causal, query: 8, key: 1 }, tries: [{ temperature: 3 }, { temperature: 0.3 }, { temperature: 1 }],
  },
  {
    formula: () => block(sub(mi('o'), i()), mo('='), sum(j()), sub(mi('a'), both('i', 'j')), v(j())),
    state: { head: 2, stage: 'weights', mask: causal, query: 8, key: 2, byColumn: false }, tries: [{ head: 2 }, { head: 1 }],
  },
  {
    formula: () => block(mi('y'), mo('='), sub(mi('W'), mi('O')), row(mo('['), sub(mi('o'), mn(1)), mo(';'), sub(mi('o'), mn(2)), mo(';'), mo('…'), mo(']'))),
    state: { head: 0, heads: 4, stage: 'weights', mask: causal, query: 8, key: 7 }, tries: [{ head: 0, key: 7 }, { head: 1, key: 1 }, { head: 2, key: 2 }, { head: 3, key: 0 }],
  },
];

/** What entering step `at` sets. */
export function lessonState(at) {
  return { ...defaults, preset: 'heads', panel: 'lesson', step: at, ...steps[at].state };
}

export class LessonPanel {
  #set;
  #shown = -1;

  constructor({ set, go, leave }) {
    this.#set = set;
    this.element = h('section', { class: 'lesson', 'aria-labelledby': 'lesson-title' });
    this.go = go;
    this.leave = leave;
  }

  update({ step }) {
    if (step === this.#shown) return;
    this.#shown = step;
    const words = t.lesson.steps[step];
    const { formula, tries } = steps[step];
    const title = h('h1', { id: 'lesson-title', tabindex: '-1' }, `${step + 1}. ${words.name}`);
    const hadFocus = this.element.contains(document.activeElement);
    const move = (by, label) => h('button', { type: 'button', class: 'small', disabled: step + by < 0 || step + by >= steps.length, onclick: () => this.go(step + by) }, label);
    this.element.replaceChildren(
      h('p', { class: 'lesson-place' }, t.lesson.place(step + 1, steps.length),
        h('span', { class: 'lesson-dots', 'aria-hidden': 'true' }, steps.map((_, at) => h('i', { class: at === step ? 'is-now' : at < step ? 'is-done' : '' })))),
      title,
      ...words.text.map((paragraph) => h('p', {}, paragraph)),
      h('div', { class: 'lesson-formula' }, formula()),
      h('div', { class: 'lesson-tries' }, h('span', {}, t.lesson.tryIt), tries.map((patch, at) => h('button', {
        type: 'button', class: 'small', onclick: () => this.#set({ ...patch, hover: null }),
      }, words.tries[at]))),
      h('div', { class: 'lesson-moves' }, move(-1, t.lesson.back), move(1, t.lesson.next), h('button', { type: 'button', class: 'quiet', onclick: () => this.leave() }, t.lesson.leave)));
    // The buttons are made anew: whoever pressed one continues at the new step's title.
    if (hadFocus) title.focus();
  }
}
