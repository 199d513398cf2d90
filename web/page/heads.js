// All heads at once: a small heat map each, its name, and what it really does on average.

import { h } from './dom.js';
import { paint } from './heatmap.js';
import { ALIKE } from './statistics.js';
import { t } from './strings.js';

const SIDE = 64;

export class HeadsView {
  #cards = [];
  #onChoose;
  #style;
  #perLayer;

  constructor({ choose, style }) {
    this.#onChoose = choose;
    this.#style = style;
    this.element = h('div', { class: 'heads', role: 'radiogroup', 'aria-label': t.headsTitle });
    this.element.addEventListener('keydown', (event) => this.#key(event));
  }

  /** heads: [{ name, title, words, kind, stat, matrix, silent }], one per head; perLayer: how many make a row of pictures, where a model has layers. */
  update(heads, chosen, perLayer) {
    this.#perLayer = perLayer;
    this.element.classList.toggle('by-layer', Boolean(perLayer));
    this.element.classList.toggle('is-dense', perLayer > 4);
    if (perLayer) this.element.style.setProperty('--per-layer', perLayer);
    if (heads.length !== this.#cards.length) {
      const hadFocus = this.element.contains(document.activeElement);
      this.#cards = heads.map((_, index) => {
        const canvas = h('canvas', { class: 'head-picture', 'aria-hidden': 'true' });
        const name = h('span', { class: 'head-name' });
        const what = h('span', { class: 'head-what' });
        const stat = h('span', { class: 'head-stat' });
        const card = h('button', {
          type: 'button', class: 'head', role: 'radio',
          onclick: () => { this.#onChoose(index); card.focus(); },
        }, canvas, h('span', { class: 'head-words' }, name, what, stat));
        return { card, canvas, name, what, stat };
      });
      this.element.replaceChildren(...this.#cards.map(({ card }) => card));
      if (hadFocus) this.#cards[chosen]?.card.focus();
    }
    heads.forEach(({ name, title, words, kind, stat, matrix, silent }, index) => {
      const parts = this.#cards[index];
      parts.card.setAttribute('aria-checked', index === chosen);
      parts.card.tabIndex = index === chosen ? 0 : -1;
      parts.name.textContent = name;
      parts.card.classList.toggle('is-silent', Boolean(silent));
      if (title) parts.card.setAttribute('aria-label', title);
      else parts.card.removeAttribute('aria-label');
      // A mask or a score may keep a head from what it was built for; its name must not claim otherwise.
      parts.what.textContent = words.otherwise && stat && prevented(kind, stat) ? words.otherwise : words.what;
      parts.stat.textContent = stat ? t.headStats(stat) : '';
      parts.card.title = [title, stat && t.headStatsLong(stat)].filter(Boolean).join('. ');
      this.#paint(parts.canvas, matrix);
    });
  }

  #paint(canvas, matrix) {
    const ratio = window.devicePixelRatio || 1;
    const size = Math.round(SIDE * ratio);
    if (canvas.width !== size) {
      canvas.width = size;
      canvas.height = size;
    }
    // Small heat maps carry no gaps and no numbers: only the pattern counts.
    const cell = size / Math.max(matrix.rows, matrix.cols);
    paint(canvas, matrix, { x: 0, y: 0, cell, ratio }, { ...this.#style(), numbers: null });
  }

  #key(event) {
    const line = this.#perLayer ?? 1;
    const steps = { ArrowLeft: -1, ArrowUp: -line, ArrowRight: 1, ArrowDown: line };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const count = this.#cards.length;
    const at = this.#cards.findIndex(({ card }) => card === document.activeElement);
    const index = (at + steps[event.key] + count) % count;
    this.#onChoose(index);
    this.#cards[index].card.focus();
  }
}

/** Whether a head gives more to something else. A place that no row can see gets nothing; a word that is not repeated is no failure. */
function prevented(kind, { shares, share }) {
  const own = shares[kind] ?? (kind === 'same' || kind === 'followed' ? share : 0);
  return own < share - ALIKE;
}
