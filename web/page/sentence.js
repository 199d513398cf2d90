// The sentence as words to choose from, lit by how much the chosen one looks at them, with arcs to the brightest.

import { h, svg, tokenText } from './dom.js';
import { percent } from './scales.js';
import { t } from './strings.js';

const MAX_ARCS = 16;
const SMALLEST_ARC = 0.02;
const SHARE_HEIGHT = 14;

export class SentenceView {
  #arcs = svg('svg', { class: 'sentence-arcs', 'aria-hidden': 'true' });
  #words = h('div', { class: 'sentence-words', role: 'radiogroup', 'aria-label': t.sentenceLabel.row });
  #tokens = null;
  #buttons = [];
  #weights = null;
  #chosen = 0;
  #frame = 0;
  #revealed = null;
  #onChoose;

  constructor({ choose }) {
    this.#onChoose = choose;
    this.element = h('div', { class: 'sentence' }, this.#arcs, this.#words);
    this.#words.addEventListener('keydown', (event) => this.#key(event));
    new ResizeObserver(() => this.#schedule()).observe(this.#words);
  }

  /**
   * weights: of all words, seen from the chosen one: how much it looks at each or, byColumn, how much each looks at it.
   * hidden(j): where the mask is between them.
   */
  update(tokens, chosen, weights, hidden, byColumn) {
    if (tokens !== this.#tokens) {
      const hadFocus = this.#words.contains(document.activeElement);
      this.#tokens = tokens;
      this.#buttons = tokens.map((token, index) => h('button', {
        type: 'button', class: 'word', role: 'radio', 'aria-label': t.tokenName(token, index),
        onclick: () => { this.#onChoose(index); this.#buttons[index]?.focus(); },
      }, tokenText(token, 'word-text'), h('span', { class: 'word-share', 'aria-hidden': 'true' })));
      this.#words.replaceChildren(...this.#buttons);
      this.#words.classList.toggle('is-long', tokens.length > 40);
      if (hadFocus) this.#buttons[chosen]?.focus();
    }
    this.#chosen = chosen;
    this.#weights = weights;
    this.#words.setAttribute('aria-label', byColumn ? t.sentenceLabel.column : t.sentenceLabel.row);
    this.element.classList.toggle('by-column', byColumn);
    this.#buttons.forEach((button, index) => {
      const isChosen = index === chosen;
      button.classList.toggle('is-query', isChosen && !byColumn);
      button.classList.toggle('is-key', isChosen && byColumn);
      button.setAttribute('aria-checked', isChosen);
      button.tabIndex = isChosen ? 0 : -1;
      const weight = weights[index];
      button.classList.toggle('is-hidden', hidden(index));
      button.style.setProperty('--light', weight.toFixed(4));
      button.lastElementChild.textContent = hidden(index) || weight < 0.005 ? '' : percent(weight);
    });
    this.#schedule();
  }

  /** Arcs need the words' places: measured once per frame, after everything else is written. */
  #schedule() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const arcs = [];
    this.#reveal();
    const box = this.#words.getBoundingClientRect();
    if (this.#weights && box.width > 0) {
      const bright = [...this.#weights.entries()]
        .filter(([, weight]) => weight >= SMALLEST_ARC)
        .sort((a, b) => b[1] - a[1]).slice(0, MAX_ARCS);
      const from = this.#top(this.#chosen, box);
      for (const [index, weight] of bright.reverse()) {
        const to = this.#top(index, box);
        if (!from || !to) continue;
        arcs.push(svg('path', {
          d: index === this.#chosen ? loop(from) : curve(from, to),
          class: 'arc', 'stroke-width': String(1 + 5 * weight), 'stroke-opacity': String(0.25 + 0.75 * weight),
        }));
      }
    }
    this.#arcs.replaceChildren(...arcs);
  }

  /** Where a long sentence scrolls, the chosen word comes into sight. */
  #reveal() {
    const word = this.#buttons[this.#chosen];
    if (!word || this.#revealed === word || !this.#words.classList.contains('is-long')) return;
    this.#revealed = word;
    const [inner, outer] = [word.getBoundingClientRect(), this.#words.getBoundingClientRect()];
    if (inner.top < outer.top || inner.bottom > outer.bottom) this.#words.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  }

  #top(index, box) {
    const word = this.#buttons[index]?.getBoundingClientRect();
    return word ? { x: word.left + word.width / 2 - box.left, y: word.top - box.top, height: word.height } : null;
  }

  #key(event) {
    const last = this.#buttons.length - 1;
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    let index = this.#chosen;
    if (event.key in steps) index += steps[event.key];
    else if (event.key === 'Home') index = 0;
    else if (event.key === 'End') index = last;
    else return;
    event.preventDefault();
    index = (index + last + 1) % (last + 1);
    this.#onChoose(index);
    this.#buttons[index].focus();
  }
}

/** From the top of one word to the top of another, higher where they are further apart; or between two lines. */
function curve(from, to) {
  if (Math.abs(to.y - from.y) > 8) {
    const [up, down] = to.y < from.y ? [to, from] : [from, to];
    // Below the share that is written under the word.
    const start = up.y + up.height + SHARE_HEIGHT;
    const middle = (start + down.y) / 2;
    return `M ${down.x} ${down.y} C ${down.x} ${middle}, ${up.x} ${middle + 8}, ${up.x} ${start}`;
  }
  const lift = 14 + Math.min(46, Math.abs(to.x - from.x) * 0.2);
  const peak = Math.min(from.y, to.y) - lift;
  return `M ${from.x} ${from.y} C ${from.x} ${peak}, ${to.x} ${peak}, ${to.x} ${to.y}`;
}

function loop({ x, y }) {
  return `M ${x - 5} ${y} C ${x - 16} ${y - 26}, ${x + 16} ${y - 26}, ${x + 5} ${y}`;
}
