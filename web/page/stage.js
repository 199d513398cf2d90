// The stage: one head large. Tabs choose the step of the computation, the colour bar and one sentence say how to
// read it, and a line below gives the numbers of the cell under the pointer.

import { h, tokenText } from './dom.js';
import { ColorBar } from './colorbar.js';
import { MatrixView } from './matrix.js';
import { format } from './scales.js';
import { cellNumbers, SIGNED, slice } from './slices.js';
import { t } from './strings.js';

export const stages = ['dots', 'scores', 'weights'];

export class StageView {
  #bar = new ColorBar();
  #tabs = {};
  #title = h('h2', { class: 'stage-title', id: 'stage-title' });
  #what = h('p', { class: 'stage-what' });
  #legend = h('p', { class: 'stage-legend' });
  #readout = h('p', { class: 'readout' });
  #zoom;
  #zoomFit;
  #shown = null;
  #result = null;

  constructor({ set, choose, point, style }) {
    this.matrix = new MatrixView({
      point, choose, style,
      maxSide: () => Math.min(640, Math.max(300, window.innerHeight * 0.66)),
      describe: (row, col) => (this.#result ? t.cellName(cellOf(this.#result, this.#shown.head, row, col)) : ''),
      zoomed: (zoomed) => { this.#zoomFit.disabled = !zoomed; },
    });
    this.#zoomFit = h('button', { type: 'button', class: 'small', disabled: true, 'aria-label': t.zoomFit, title: t.zoomFit, onclick: () => this.matrix.zoomFit() }, '⤢');
    const tabs = h('div', { class: 'tabs', role: 'tablist', 'aria-label': t.stageTabs }, stages.map((stage) => {
      const tab = h('button', {
        type: 'button', role: 'tab', id: `tab-${stage}`, 'aria-controls': 'stage-panel',
        onclick: () => set({ stage }),
      }, t.stages[stage].name);
      this.#tabs[stage] = tab;
      return tab;
    }));
    tabs.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const names = Object.keys(this.#tabs);
      const next = names[(names.indexOf(this.#shown.stage) + step + names.length) % names.length];
      set({ stage: next });
      this.#tabs[next].focus();
    });
    this.element = h('section', { class: 'stage', 'aria-labelledby': 'stage-title' },
      h('div', { class: 'stage-head' }, this.#title, tabs),
      h('div', { id: 'stage-panel', role: 'tabpanel' },
        this.#legend,
        this.matrix.element,
        h('div', { class: 'stage-foot' }, this.#bar.element,
          this.#zoom = h('div', { class: 'zoom', role: 'group', 'aria-label': t.zoom },
            h('button', { type: 'button', class: 'small', 'aria-label': t.zoomOut, title: t.zoomOut, onclick: () => this.matrix.zoomBy(1 / 1.5) }, '−'),
            h('button', { type: 'button', class: 'small', 'aria-label': t.zoomIn, title: t.zoomIn, onclick: () => this.matrix.zoomBy(1.5) }, '+'),
            this.#zoomFit)),
        this.#readout,
        this.#what));
    this.matrix.corner.append(h('span', { class: 'corner-row' }, t.corner.row), h('span', { class: 'corner-col' }, t.corner.col));
  }

  update(state) {
    const { result, head, stage } = state;
    this.#result = result;
    this.#shown = { head, stage };
    for (const [name, tab] of Object.entries(this.#tabs)) {
      tab.setAttribute('aria-selected', name === stage);
      tab.tabIndex = name === stage ? 0 : -1;
      if (name === stage) this.element.querySelector('#stage-panel').setAttribute('aria-labelledby', tab.id);
    }
    const matrix = slice(result, head, stage, state);
    const kind = t.kinds[result.kinds[head]];
    this.#title.textContent = `${t.headName(head + 1)}: ${kind.name}`;
    this.#what.textContent = t.stages[stage].what;
    this.#legend.replaceChildren(...coloured(stage === 'weights' ? t.howToRead : t.howToReadScores));
    this.#bar.update(matrix.scale, stage !== 'dots' && state.mask.kind !== 'none');
    this.matrix.update({
      ...matrix,
      rowTokens: result.tokens, colTokens: result.keyTokens,
      numbers: SIGNED.has(stage) ? cellNumbers.signed : cellNumbers[stage],
      label: t.matrixLabel(t.stages[stage].name, t.headName(head + 1)),
      selected: selection(state), hover: state.hover,
    });
    // Cells that are large already need no enlarging.
    this.#zoom.hidden = this.matrix.fitSize > 24;
    this.#read(state);
  }

  mark(state) {
    this.matrix.mark(selection(state), state.hover);
    this.#read(state);
  }

  #read({ hover, query, key, result, head }) {
    const cell = cellOf(result, head, hover?.row ?? query, hover?.col ?? key);
    const words = t.readout;
    this.#readout.replaceChildren(
      h('span', { class: 'readout-query' }, `${words.query} `, tokenText(cell.query), ` ${cell.row + 1}`),
      h('span', { class: 'readout-arrow', 'aria-hidden': 'true' }, '→'),
      h('span', { class: 'readout-key' }, `${words.key} `, tokenText(cell.key), ` ${cell.col + 1}`),
      cell.hidden
        ? h('span', {}, words.hidden)
        : h('span', { class: 'readout-numbers' }, `${words.weight} `, h('b', {}, format(cell.weight)), ` · ${words.score} `, h('b', {}, format(cell.score, 2))));
  }
}

export function selection({ query, key }) {
  return { row: query, col: key };
}

/** The numbers of one cell. */
export function cellOf(result, head, row, col) {
  const at = (head * result.n + row) * result.m + col;
  const score = result.scores.data[at];
  return {
    query: result.tokens[row], row, key: result.keyTokens[col], col,
    weight: result.weights.data[at], score, dot: result.dots.data[at], hidden: score === -Infinity,
  };
}

/** A sentence with its words "row" and "column" in the colours of query and key. */
export function coloured(parts) {
  return parts.map((part) => {
    if (typeof part === 'string') return part;
    const [[role, word]] = Object.entries(part);
    return h('b', { class: `is-${role}` }, word);
  });
}
