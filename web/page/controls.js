// The settings: native inputs, each with its label.

import { h } from './dom.js';
import { MAX_TABLE, ROLLOUT } from './limits.js';
import { HEAD_SIZES, headKinds } from './model.js';
import { format } from './scales.js';
import { defaults, maskKinds, scoreKinds } from './state.js';
import { t } from './strings.js';

/** A mask of another kind, near to the one before. `hidden(i, j)` is what is masked now. */
export function maskOf(kind, { n = 0, m = 0, hidden } = {}) {
  if (kind === 'window') return { kind, left: 2, right: 2 };
  if (kind === 'length') return { kind, length: Math.max(1, Math.ceil(m * 0.6)) };
  if (kind === 'drawn') {
    const blocked = [];
    for (let i = 0; i < n; i += 1) for (let j = 0; j < m; j += 1) if (hidden(i, j)) blocked.push([i, j]);
    return { kind, blocked };
  }
  return { kind };
}

export class MaskControl {
  #inputs = {};
  #extra = h('div', { class: 'mask-extra' });
  #why = h('p', { class: 'hint' });
  #set;
  #mask = null;

  /** set(mask); current() -> { n, m, hidden } of the picture, for a drawn mask to begin with. */
  constructor({ name, set, current, kinds = maskKinds }) {
    this.#set = set;
    this.element = h('fieldset', { class: 'segments' }, h('legend', {}, t.maskLegend),
      h('div', { class: 'segment-row' }, kinds.map((kind) => {
        const input = h('input', { type: 'radio', name, value: kind, onchange: () => set(maskOf(kind, current())) });
        this.#inputs[kind] = input;
        const words = t.masks[kind];
        return h('label', { class: 'segment' }, input, h('span', {}, h('b', {}, words.name), ' ', h('small', {}, words.what)));
      })), this.#why, this.#extra);
  }

  /** only: the kinds that can be chosen now, and why: the reason for that, in words. */
  update(mask, { only, why = '' } = {}) {
    this.#why.textContent = why;
    for (const [kind, input] of Object.entries(this.#inputs)) {
      input.checked = mask.kind === kind;
      input.disabled = only ? !only.includes(kind) : false;
    }
    const sameKind = this.#mask?.kind === mask.kind;
    this.#mask = mask;
    if (!sameKind) this.#extra.replaceChildren(...this.#extras(mask));
    for (const input of this.#extra.querySelectorAll('input')) {
      if (document.activeElement !== input) input.value = mask[input.name];
    }
  }

  #extras(mask) {
    const number = (name, label, min) => h('label', { class: 'number' }, h('span', {}, label), h('input', {
      type: 'number', name, min: String(min), max: '4096', step: '1', value: String(mask[name]),
      oninput: (event) => {
        const value = Number(event.target.value);
        // While a number is being typed it may be nothing for a moment; the last good mask stays.
        if (event.target.value !== '' && Number.isInteger(value) && value >= min && value <= 4096) this.#set({ ...this.#mask, [name]: value });
      },
    }));
    if (mask.kind === 'window') return [number('left', t.windowLeft, 0), number('right', t.windowRight, 0)];
    if (mask.kind === 'length') return [number('length', t.maskLength, 1)];
    if (mask.kind === 'drawn') return [h('p', { class: 'hint' }, t.drawnHint)];
    return [];
  }
}

export function rangeControl({ name, label, min, max, step, digits, hint, set }) {
  const output = h('output', {});
  const input = h('input', {
    type: 'range', 'aria-label': label, min: String(min), max: String(max), step: String(step), 'aria-describedby': hint && `${name}-hint`,
    oninput: () => set(Number(input.value)),
  });
  return {
    element: h('label', { class: 'range', 'data-name': name }, h('span', {}, label, ' ', output), input, hint && h('small', { id: `${name}-hint` }, hint)),
    input,
    update(value) {
      if (Number(input.value) !== value) input.value = value;
      output.textContent = format(value, digits);
    },
  };
}

export function selectControl({ label, options, set, compact }) {
  const input = h('select', { 'aria-label': label, onchange: () => set(input.value) },
    options.map(([value, name]) => h('option', { value: String(value) }, name)));
  return {
    element: h('label', { class: compact ? 'compact' : 'range' }, h('span', {}, label), input),
    input,
    update(value) { input.value = String(value); },
  };
}

export function checkControl({ label, set }) {
  const input = h('input', { type: 'checkbox', onchange: () => set(input.checked) });
  return {
    element: h('label', { class: 'check' }, input, h('span', {}, label)),
    input,
    update(value) { input.checked = value; },
  };
}

export class Controls {
  #parts;
  #mask;
  #layer;
  #layerBox;
  #file = null;
  #reset;

  constructor({ set, current, setLayer }) {
    const put = (name) => (value) => set({ [name]: value });
    this.#mask = new MaskControl({ name: 'mask', set: put('mask'), current });
    this.#parts = {
      scaled: checkControl({ label: t.scale, set: put('scaled') }),
      heads: rangeControl({ name: 'heads', label: t.heads, min: 1, max: headKinds.length, step: 1, digits: 0, set: put('heads') }),
      headDim: selectControl({ label: t.headDim, options: HEAD_SIZES.map((size) => [size, String(size)]), set: (value) => set({ headDim: Number(value), edits: {} }) }),
      gain: rangeControl({ name: 'gain', label: t.gain, min: 0, max: 12, step: 0.25, digits: 2, hint: t.gainHint, set: put('gain') }),
      temperature: rangeControl({ name: 'temperature', label: t.temperature, min: 0.1, max: 4, step: 0.1, digits: 1, hint: t.temperatureHint, set: put('temperature') }),
      score: selectControl({ label: t.score, options: scoreKinds.map((kind) => [kind, t.scores[kind]]), set: put('score') }),
      seed: rangeControl({ name: 'seed', label: t.seed, min: 1, max: 50, step: 1, digits: 0, set: put('seed') }),
    };
    const { scaled, heads, headDim, gain, temperature, score, seed } = this.#parts;
    this.#layer = h('select', { 'aria-label': t.layer, onchange: () => setLayer(this.#layer.value === ROLLOUT ? ROLLOUT : Number(this.#layer.value)) });
    this.#layerBox = h('label', { class: 'range', hidden: true }, h('span', {}, t.layer), this.#layer);
    this.element = h('form', { class: 'controls', 'aria-label': t.settingsTitle, onsubmit: (event) => event.preventDefault() },
      this.#layerBox,
      this.#mask.element,
      scaled.element,
      h('div', { class: 'control-row' }, heads.element, headDim.element, gain.element, temperature.element, score.element, seed.element),
      this.#reset = h('button', { type: 'button', class: 'quiet', onclick: () => set(standard()) }, t.reset));
  }

  update(state) {
    const { source, result } = state;
    this.element.hidden = Boolean(result?.perLayer);
    const modelled = source === 'named' || source === 'random';
    this.#mask.update(state.mask, possibleMasks(state));
    for (const [name, part] of Object.entries(this.#parts)) part.update(state[name]);
    // A setting that would change nothing is not offered.
    const shown = {
      scaled: state.score !== 'additive', heads: modelled || source === 'long', headDim: modelled || source === 'long', gain: modelled || source === 'long',
      temperature: true, score: modelled && state.panel !== 'decode', seed: source === 'random' || state.panel === 'sqrtd' || state.heads === headKinds.length,
    };
    for (const [name, visible] of Object.entries(shown)) this.#parts[name].element.hidden = !visible || Boolean(result?.ready);
    this.#mask.element.hidden = Boolean(result?.ready) || source === 'textbook';
    this.#reset.hidden = Boolean(result?.ready);
    this.#updateLayer(source === 'file' ? state.file : null);
  }

  /** Whether nothing is left to set: ready-made weights of one layer. */
  get empty() {
    return this.#reset.hidden && this.#layerBox.hidden;
  }

  #updateLayer(file) {
    this.#layerBox.hidden = !(file?.count > 1);
    if (file === this.#file) return;
    this.#file = file;
    if (!file) return;
    this.#layer.replaceChildren(
      ...Array.from({ length: file.count }, (_, at) => h('option', { value: String(at) }, t.layerName(at + 1, file.count))),
      ...(file.canRoll ? [h('option', { value: ROLLOUT }, t.rollout)] : []));
    this.#layer.value = String(file.choice.index);
  }
}

/** The masks that can be chosen now, where that is not all of them, and the reason. */
function possibleMasks({ panel, source, result }) {
  if (panel === 'decode') return { only: ['causal'], why: t.masksOff.decode };
  // Cells to click must be large enough to hit.
  if (source === 'long' || result?.large || result?.n > MAX_TABLE || result?.m > MAX_TABLE) return { only: ['causal', 'none', 'window', 'length'], why: t.masksOff.drawn(MAX_TABLE) };
  return {};
}

function standard() {
  const { mask, scaled, heads, headDim, gain, temperature, score, seed, edits } = defaults;
  return { mask, scaled, heads, headDim, gain, temperature, score, seed, edits };
}
