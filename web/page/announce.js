// Says the result of a change to a screen reader, once typing or sliding has come to rest.

import { h } from './dom.js';

const DELAY = 400;

export class Announcer {
  #timer = 0;
  element = h('output', { class: 'away', 'aria-live': 'polite' });

  say(words) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { this.element.textContent = words; }, DELAY);
  }
}
