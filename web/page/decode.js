// Decoding: one token after the other, its query against the cache of keys and values so far.

import { h } from './dom.js';
import { percent, scientific } from './scales.js';
import { t } from './strings.js';

const STEP_MS = 700;

export class DecodePanel {
  #words = h('p', { class: 'decode-words', 'aria-live': 'off' });
  #facts = h('dl', { class: 'facts' });
  #play;
  #back;
  #next;
  #timer = 0;
  #set;
  #state = null;

  constructor({ set }) {
    this.#set = set;
    const button = (label, act) => h('button', { type: 'button', class: 'small', onclick: act }, label);
    this.#play = button(t.decode.play, () => (this.#timer ? this.stop() : this.#start()));
    this.#back = button(t.decode.back, () => { this.stop(); this.#go(this.#state.decodeStep - 1); });
    this.#next = button(t.decode.next, () => { this.stop(); this.#go(this.#state.decodeStep + 1); });
    this.element = h('div', { class: 'panel' },
      h('div', { class: 'decode-buttons' }, button(t.decode.restart, () => { this.stop(); this.#go(0); }), this.#back, this.#play, this.#next),
      this.#words, this.#facts);
  }

  /** facts: the worker's answer for this step, or null. */
  update(state) {
    this.#state = state;
    const { result, decodeStep: step, decodeFacts: facts } = state;
    if (!result || result.large || step === undefined) return;
    const last = step >= result.n - 1;
    this.#back.disabled = step <= 0;
    this.#next.disabled = last;
    this.#play.textContent = this.#timer ? t.decode.pause : t.decode.play;
    if (last) this.stop();
    this.#words.textContent = t.decode.words(result.tokens[step], step, result.n);
    if (!facts || facts.step !== step) return;
    const entry = ([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
    this.#facts.replaceChildren(...[
      [t.decode.row, t.decode.products(facts.products.row)],
      [t.decode.cached, t.decode.products(facts.products.cached)],
      [t.decode.again, t.decode.products(facts.products.again)],
      [t.decode.bytes, t.decode.byteCount(facts.bytes)],
      [t.decode.gap, scientific(facts.gap)],
      [t.decode.saved, percent(facts.products.saved)],
    ].map(entry));
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#play.textContent = t.decode.play;
  }

  #start() {
    if (this.#state.decodeStep >= this.#state.result.n - 1) this.#go(0);
    this.#timer = setInterval(() => this.#go(this.#state.decodeStep + 1), STEP_MS);
    this.#play.textContent = t.decode.pause;
  }

  #go(step) {
    const at = Math.max(0, Math.min(this.#state.result.n - 1, step));
    this.#set({ decodeStep: at, query: at, key: Math.min(this.#state.key, at), hover: null });
  }
}
