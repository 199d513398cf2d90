// The settings: native inputs, each with its label.

import { h } from './dom.js';
import { HEAD_SIZES, headKinds } from './model.js';
import { format } from './scales.js';
import { defaults } from './state.js';
import { t } from './strings.js';

export class Controls {
  #set;
  #inputs = {};

  constructor({ set }) {
    this.#set = set;
    this.element = h('form', { class: 'controls', 'aria-label': t.settingsTitle, onsubmit: (event) => event.preventDefault() },
      this.#radios('mask', t.maskLegend, ['causal', 'none'], t.masks, (kind) => set({ mask: { kind } })),
      this.#check('scaled', t.scale),
      h('div', { class: 'control-row' },
        this.#range('heads', t.heads, 1, headKinds.length, 1, 0),
        this.#select('headDim', t.headDim, HEAD_SIZES),
        this.#range('gain', t.gain, 0, 12, 0.25, 2, t.gainHint),
        this.#range('temperature', t.temperature, 0.1, 4, 0.1, 1, t.temperatureHint)),
      h('button', { type: 'button', class: 'quiet', onclick: () => set(this.#defaults()) }, t.reset));
  }

  update(state) {
    for (const [kind, input] of Object.entries(this.#inputs.mask)) input.checked = state.mask.kind === kind;
    this.#inputs.scaled.checked = state.scaled;
    for (const name of ['heads', 'gain', 'temperature']) {
      const { input, output, digits } = this.#inputs[name];
      if (Number(input.value) !== state[name]) input.value = state[name];
      output.textContent = format(state[name], digits);
    }
    this.#inputs.headDim.value = String(state.headDim);
  }

  #defaults() {
    const { mask, scaled, heads, headDim, gain, temperature } = defaults;
    return { mask, scaled, heads, headDim, gain, temperature };
  }

  #radios(name, legend, kinds, words, choose) {
    this.#inputs[name] = {};
    return h('fieldset', { class: 'segments' }, h('legend', {}, legend),
      h('div', { class: 'segment-row' }, kinds.map((kind) => {
        const input = h('input', { type: 'radio', name, value: kind, onchange: () => choose(kind) });
        this.#inputs[name][kind] = input;
        return h('label', { class: 'segment' }, input, h('span', {}, h('b', {}, words[kind].name), h('small', {}, words[kind].what)));
      })));
  }

  #check(name, label) {
    const input = h('input', { type: 'checkbox', onchange: () => this.#set({ [name]: input.checked }) });
    this.#inputs[name] = input;
    return h('label', { class: 'check' }, input, h('span', {}, label));
  }

  #range(name, label, min, max, step, digits, hint) {
    const output = h('output', {});
    const input = h('input', {
      type: 'range', 'aria-label': label, min: String(min), max: String(max), step: String(step), title: hint,
      oninput: () => this.#set({ [name]: Number(input.value) }),
    });
    this.#inputs[name] = { input, output, digits };
    return h('label', { class: 'range' }, h('span', {}, label, ' ', output), input);
  }

  #select(name, label, values) {
    const input = h('select', { onchange: () => this.#set({ [name]: Number(input.value) }) },
      values.map((value) => h('option', { value: String(value) }, String(value))));
    this.#inputs[name] = input;
    return h('label', { class: 'range' }, h('span', {}, label), input);
  }
}
