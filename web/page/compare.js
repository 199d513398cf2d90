// Two settings side by side, and the difference of their weights. One cursor for all three.

import { checkControl, MaskControl, rangeControl, selectControl } from './controls.js';
import { ColorBar } from './colorbar.js';
import { h } from './dom.js';
import { MatrixView } from './matrix.js';
import { cellNumbers, cellOf, hiddenOf, slice } from './slices.js';
import { scoreKinds } from './state.js';
import { t } from './strings.js';

export class ComparePanel {
  #views = {};
  #titles = {};
  #bars = {};
  #parts;
  #mask;
  #state = null;
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
      current: () => ({ n: this.#state.other.n, m: this.#state.other.m, hidden: hiddenOf(this.#state.other, this.#state.head) }),
    });
    this.#parts = {
      scaled: checkControl({ label: t.scale, set: (scaled) => change({ scaled }) }),
      gain: rangeControl({ name: 'gain', label: t.gain, min: 0, max: 12, step: 0.25, digits: 2, set: (gain) => change({ gain }) }),
      temperature: rangeControl({ name: 'temperature', label: t.temperature, min: 0.1, max: 4, step: 0.1, digits: 1, set: (temperature) => change({ temperature }) }),
      score: selectControl({ label: t.score, options: scoreKinds.map((kind) => [kind, t.scores[kind]]), set: (score) => change({ score }) }),
    };
    const { scaled, gain, temperature, score } = this.#parts;
    this.element = h('div', { class: 'panel' },
      h('div', { class: 'panes' }, panes),
      h('form', { class: 'controls other-controls', 'aria-label': t.compare.settings, onsubmit: (event) => event.preventDefault() },
        h('h2', {}, t.compare.settings), this.#mask.element, scaled.element,
        h('div', { class: 'control-row' }, gain.element, temperature.element, score.element)));
  }

  update(state) {
    this.#state = state;
    const { result, other, head, compare } = state;
    if (!compare) return;
    this.#mask.update(compare.mask);
    for (const [name, part] of Object.entries(this.#parts)) part.update(compare[name]);
    this.#titles.second.textContent = compare.fresh ? t.compare.unedited : t.compare.second;
    if (!other || !result || result.large || !other.difference) return;
    const all = {
      first: slice({ result }, head, 'weights', state),
      second: slice({ result: other }, head, 'weights', state),
      difference: slice({ result, other }, head, 'difference', { ...state, domain: 'matrix' }),
    };
    for (const [name, matrix] of Object.entries(all)) {
      this.#bars[name].update(matrix.scale, true);
      this.#views[name].update({
        ...matrix, rowTokens: result.tokens, colTokens: result.keyTokens,
        numbers: name === 'difference' ? cellNumbers.signed : cellNumbers.weights,
        label: t.matrixLabel(t.compare[name], t.headName(head + 1)),
        selected: this.#selected(state), hover: state.hover,
      });
    }
  }

  mark(state) {
    this.#state = state;
    for (const view of Object.values(this.#views)) view.mark(this.#selected(state), state.hover);
  }

  #describe(name, row, col) {
    const { result, other, head } = this.#state;
    if (!result || !other?.difference) return '';
    if (name === 'difference') {
      return t.cellNameOther({
        query: result.tokens[row], row, key: result.keyTokens[col], col,
        value: other.difference.data[(head * result.n + row) * result.m + col], stage: t.compare.difference,
      });
    }
    return t.cellName(cellOf(name === 'first' ? result : other, head, row, col));
  }
}
