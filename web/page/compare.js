// Two settings side by side, and the difference of their weights. One cursor for all three.

import { checkControl, MaskControl, rangeControl, selectControl } from './controls.js';
import { ColorBar } from './colorbar.js';
import { h } from './dom.js';
import { MatrixView } from './matrix.js';
import { HEAD_SIZES, headKinds } from './model.js';
import { headTitle } from './names.js';
import { cellNumbers, cellOf, hiddenOf, hidesAny, isZero, panesOf } from './slices.js';
import { within } from './stage.js';
import { scoreKinds } from './state.js';
import { t } from './strings.js';

export class ComparePanel {
  #views = {};
  #titles = {};
  #bars = {};
  #parts;
  #mask;
  #over;
  #form;
  #text;
  #facts = h('p', { class: 'compare-facts', role: 'status' });
  #state = null;
  #panes = null;
  #selected;

  constructor({ set, choose, point, style, selection }) {
    this.#selected = selection;
    const change = (patch) => set({ compare: { ...this.#state.compare, ...patch } });
    const panes = ['first', 'second', 'difference'].map((name) => {
      this.#views[name] = new MatrixView({
        choose, point, style, maxSide: () => 420,
        describe: (row, col) => this.#describe(name, row, col),
      });
      this.#titles[name] = h('h2', {}, t.compare[name]);
      this.#bars[name] = new ColorBar();
      return h('div', { class: 'pane' }, this.#titles[name], this.#views[name].element, this.#bars[name].element);
    });
    this.#mask = new MaskControl({
      name: 'other-mask', set: (mask) => change({ mask }), kinds: ['causal', 'none', 'window', 'length'],
      current: () => ({ n: this.#state.other.n, m: this.#state.other.m, hidden: hiddenOf(this.#state.other, 0) }),
    });
    this.#parts = {
      heads: rangeControl({ name: 'heads', label: t.heads, min: 1, max: headKinds.length, step: 1, digits: 0, set: (heads) => change({ heads }) }),
      headDim: selectControl({ label: t.headDim, options: HEAD_SIZES.map((size) => [size, String(size)]), set: (value) => change({ headDim: Number(value) }) }),
      scaled: checkControl({ label: t.scale, set: (scaled) => change({ scaled }) }),
      gain: rangeControl({ name: 'gain', label: t.gain, min: 0, max: 12, step: 0.25, digits: 2, set: (gain) => change({ gain }) }),
      temperature: rangeControl({ name: 'temperature', label: t.temperature, min: 0.1, max: 4, step: 0.1, digits: 1, set: (temperature) => change({ temperature }) }),
      score: selectControl({ label: t.score, options: scoreKinds.map((kind) => [kind, t.scores[kind]]), set: (score) => change({ score }) }),
    };
    this.#over = selectControl({ label: t.compare.over, options: Object.entries(t.compare.overs), set: (over) => change({ over: over === 'mean' ? 'mean' : undefined }) });
    this.#text = h('input', { type: 'text', placeholder: t.compare.sameText, autocomplete: 'off', spellcheck: 'false', oninput: () => change({ text: this.#text.value || undefined }) });
    const { heads, headDim, scaled, gain, temperature, score } = this.#parts;
    this.textBox = h('label', { class: 'range compare-text' }, h('span', {}, t.compare.text), this.#text);
    this.element = h('div', { class: 'panel' },
      h('div', { class: 'panes' }, panes), this.#facts,
      this.#form = h('form', { class: 'controls other-controls', 'aria-label': t.compare.settings, onsubmit: (event) => event.preventDefault() },
        h('h2', {}, t.compare.settings), this.#mask.element, scaled.element,
        h('div', { class: 'control-row' }, heads.element, headDim.element, gain.element, temperature.element, score.element, this.#over.element), this.textBox));
  }

  update(state) {
    this.#state = state;
    const { result, other, head, compare } = state;
    if (!compare) return;
    this.#mask.update(compare.mask);
    for (const [name, part] of Object.entries(this.#parts)) part.update(compare[name] ?? state[name]);
    this.#over.update(compare.over ?? 'head');
    if (document.activeElement !== this.#text) this.#text.value = compare.text ?? '';
    // A setting that would change nothing is not offered.
    this.#form.hidden = Boolean(result?.perLayer);
    const modelled = state.source === 'named' || state.source === 'random';
    for (const name of ['heads', 'headDim', 'gain', 'score']) this.#parts[name].element.hidden = !modelled;
    this.#parts.scaled.element.hidden = compare.score === 'additive';
    this.textBox.hidden = !modelled;
    this.#facts.textContent = result?.large ? t.compare.large : '';
    this.#panes = null;
    if (!other?.pair || !result || result.large) return;
    this.#panes = panesOf(state, head);
    this.#facts.textContent = t.compare.facts(this.#panes, state) + (isZero(this.#panes.difference) ? ` ${t.compare.same}` : '');
    const words = t.compare.titles(state, { first: result.job, second: other.job });
    for (const [name, matrix] of Object.entries({ first: this.#panes.first, second: this.#panes.second, difference: this.#panes.difference })) {
      const { tokens, keyTokens } = name === 'second' ? other : result;
      this.#titles[name].textContent = words[name];
      this.#bars[name].update(matrix.scale, hidesAny(matrix));
      this.#views[name].update({
        ...matrix, rowTokens: tokens.slice(0, matrix.rows), colTokens: keyTokens.slice(0, matrix.cols),
        numbers: name === 'difference' ? cellNumbers.signed : cellNumbers.weights,
        label: t.matrixLabel(t.compare[name], this.#panes.means ? t.compare.overs.mean : headTitle(result, head)),
        selected: within(this.#selected(state), matrix), hover: state.hover,
      });
    }
  }

  mark(state) {
    this.#state = state;
    if (!this.#panes) return;
    for (const [name, view] of Object.entries(this.#views)) view.mark(within(this.#selected(state), this.#panes[name]), state.hover);
  }

  #describe(name, row, col) {
    const { result, other, head } = this.#state;
    if (!this.#panes) return '';
    const answer = name === 'second' ? other : result;
    const matrix = this.#panes[name];
    if (name !== 'difference' && !this.#panes.means) return t.cellName(cellOf(answer, Math.min(head, answer.heads - 1), row, col));
    const [query, key] = [answer.tokens[row], answer.keyTokens[col]];
    if (matrix.hidden(row, col)) return t.cellName({ query, row, key, col, hidden: true });
    return t.cellNameOther({ query, row, key, col, value: matrix.at(row, col), stage: name === 'difference' ? t.compare.difference : t.compare.overs.mean });
  }
}
