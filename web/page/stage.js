// The stage: one head large. Tabs choose the step of the computation, the colour bar and one sentence say how to
// read it, and a line below gives the numbers of the cell under the pointer.

import { h, tokenText } from './dom.js';
import { ColorBar } from './colorbar.js';
import { colorMaps } from './colormaps.js';
import { selectControl } from './controls.js';
import { MatrixView } from './matrix.js';
import { domains, format, transfers } from './scales.js';
import { cellNumbers, cellOf, compared, hidesAny, SIGNED, slice, stagesOf } from './slices.js';
import { stageNames } from './state.js';
import { headTitle, headWords } from './names.js';
import { t } from './strings.js';
import { placeAfter } from './tokens.js';

/** Where the largest weights of the rows are less than this on average, another scale is offered. */
const DARK = 0.15;

export class StageView {
  #bar = new ColorBar();
  #tabs = {};
  #title = h('h2', { class: 'stage-title', id: 'stage-title' });
  #what = h('p', { class: 'stage-what' });
  #legend = h('p', { class: 'stage-legend' });
  #readout = h('p', { class: 'readout' });
  #corner = { row: h('span', { class: 'corner-row' }), col: h('span', { class: 'corner-col' }) };
  #shown = null;
  #waiting = h('p', { class: 'stage-waiting', role: 'status' });
  #off = h('p', { class: 'hint', id: 'stage-off' });
  #brighter;
  #selects;
  #zoom;
  #zoomFit;
  #panel;
  #state = null;
  #available = [];

  constructor({ set, choose, point, style, actions, toggle, shortcut }) {
    this.matrix = new MatrixView({
      point, choose, style, toggle, shortcut,
      maxSide: () => Math.min(640, Math.max(300, window.innerHeight * 0.56)),
      describe: (row, col) => this.#describe(row, col),
      zoomed: (zoomed) => { this.#zoomFit.disabled = !zoomed; },
    });
    const button = (label, sign, act) => h('button', { type: 'button', class: 'small', 'aria-label': label, title: label, onclick: act }, sign);
    this.#zoomFit = button(t.zoomFit, '⤢', () => this.matrix.zoomFit());
    this.#zoomFit.disabled = true;
    this.#zoom = h('div', { class: 'zoom', role: 'group', 'aria-label': t.zoom },
      button(t.zoomOut, '−', () => this.matrix.zoomBy(1 / 1.5)), button(t.zoomIn, '+', () => this.matrix.zoomBy(1.5)), this.#zoomFit);
    const tabs = h('div', { class: 'tabs', role: 'tablist', 'aria-label': t.stageTabs }, stageNames.map((stage) => {
      const tab = h('button', {
        type: 'button', role: 'tab', id: `tab-${stage}`, 'aria-controls': 'stage-panel', onclick: () => { if (this.#available.includes(stage)) set({ stage }); },
      }, t.stages[stage].name);
      this.#tabs[stage] = tab;
      return tab;
    }));
    tabs.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const names = stageNames.filter((name) => this.#available.includes(name));
      const next = names[(names.indexOf(this.#state.stage) + step + names.length) % names.length];
      set({ stage: next });
      this.#tabs[next].focus();
    });
    const choice = (name, label, values, words) => selectControl({
      label, options: values.map((value) => [value, words[value]]), set: (value) => set({ [name]: value }), compact: true,
    });
    this.#selects = {
      transfer: choice('transfer', t.transfer, transfers, t.transfers),
      domain: choice('domain', t.domain, domains, t.domains),
      palette: choice('palette', t.palette, colorMaps, t.palettes),
    };
    this.#brighter = h('button', { type: 'button', class: 'small', hidden: true, onclick: () => { set({ domain: 'row' }); this.matrix.focus(); } }, t.brighter);
    this.#panel = h('div', { id: 'stage-panel', role: 'tabpanel' },
      this.#legend,
      this.#off,
      this.#waiting,
      this.matrix.element,
      h('div', { class: 'stage-foot' }, this.#bar.element, this.#brighter, this.#zoom),
      this.#readout,
      this.#what,
      h('details', { class: 'colours' }, h('summary', {}, t.colours),
        h('div', { class: 'compact-row' }, Object.values(this.#selects).map(({ element }) => element))),
      actions);
    this.element = h('section', { class: 'stage', id: 'stage', 'aria-labelledby': 'stage-title' },
      h('div', { class: 'stage-head' }, this.#title, tabs), this.#panel);
    this.matrix.corner.append(this.#corner.row, this.#corner.col);
  }

  update(state) {
    this.#state = state;
    const { result, other, head, stage } = state;
    this.#available = stagesOf(result, other);
    for (const [name, tab] of Object.entries(this.#tabs)) {
      const off = !this.#available.includes(name);
      tab.hidden = off && name === 'difference';
      if (off && !tab.hidden) tab.setAttribute('aria-disabled', 'true');
      else tab.removeAttribute('aria-disabled');
      tab.setAttribute('aria-selected', name === stage);
      tab.tabIndex = name === stage ? 0 : -1;
      if (name === stage) this.#panel.setAttribute('aria-labelledby', tab.id);
    }
    if (stage !== this.#shown) this.#revealTab(stage);
    this.#off.textContent = result.ready ? t.stagesOff : '';
    for (const [name, select] of Object.entries(this.#selects)) select.update(state[name]);
    this.#selects.domain.input.options[0].disabled = SIGNED.has(stage);
    const matrix = slice(state, head, stage, state, upTo(state));
    this.#waiting.textContent = matrix ? '' : t.waiting;
    this.#title.textContent = `${headTitle(result, head)}: ${headWords(result, head).name}`;
    const words = t.stages[stage];
    this.#what.textContent = stage === 'difference' ? `${words.what} ${t.compare.facts(compared(state, head), state)}` : words.what;
    this.#legend.replaceChildren(...coloured(words.read ?? (stage === 'weights' ? howToRead(result) : t.howToReadScores)));
    const corner = stage === 'gradient' ? t.cornerGradient : t.corner;
    for (const [side, element] of Object.entries(this.#corner)) element.textContent = corner[side];
    if (!matrix) return;
    this.#bar.update(matrix.scale, stage === 'difference' ? hidesAny(matrix) : stage !== 'dots' && stage !== 'gradient' && (state.mask.kind !== 'none' || upTo(state) < result.n));
    this.matrix.update({
      ...matrix,
      rowTokens: stage === 'gradient' ? result.keyTokens : result.tokens, colTokens: result.keyTokens,
      numbers: SIGNED.has(stage) ? cellNumbers.signed : cellNumbers.weights,
      label: t.matrixLabel(words.name, headTitle(result, head)),
      selected: within(stage === 'gradient' ? { row: state.key, col: state.key } : selection(state), matrix),
      hover: state.hover, showColumn: state.byColumn, value: matrix.at, stage,
    });
    // Among many keys every share is small: on the scale from 0 to 1 a long sentence is dark all over.
    this.#brighter.hidden = stage !== 'weights' || state.domain !== 'unit' || state.transfer !== 'linear' || !(result.stats[head]?.largest < DARK);
    // Cells that are large already need no enlarging.
    this.#zoom.hidden = this.matrix.fitSize > 24;
    this.#read();
  }

  mark(state) {
    this.#state = state;
    const { spec } = this.matrix;
    if (spec) this.matrix.mark(within(spec.stage === 'gradient' ? { row: state.key, col: state.key } : selection(state), spec), state.hover);
    this.#read();
  }

  /** Where the tabs do not fit side by side, the chosen one comes into sight; the page itself does not scroll. */
  #revealTab(stage) {
    this.#shown = stage;
    const tab = this.#tabs[stage];
    const [own, all] = [tab.getBoundingClientRect(), tab.parentElement.getBoundingClientRect()];
    if (own.right > all.right) tab.parentElement.scrollLeft += own.right - all.right;
    else if (own.left < all.left) tab.parentElement.scrollLeft -= all.left - own.left;
  }

  #describe(row, col) {
    const { result, head } = this.#state ?? {};
    const spec = this.matrix.spec;
    if (!result || !spec) return '';
    if (spec.stage === 'weights' || spec.stage === 'scores') return t.cellName(cellOf(result, head, row, col));
    return t.cellNameOther({ query: spec.rowTokens[row], row, key: spec.colTokens[col], col, value: spec.at(row, col), stage: t.stages[spec.stage].name });
  }

  #read() {
    const { hover, query, key, result, head } = this.#state;
    const spec = this.matrix.spec;
    const words = t.readout;
    const role = (name) => h('span', { class: 'readout-role' }, `${name} `);
    const arrow = h('span', { class: 'readout-arrow', 'aria-hidden': 'true' }, '→');
    if (!spec) return;
    const special = spec.stage === 'gradient' || spec.stage === 'difference' || spec.stage === 'dots';
    const row = hover?.row ?? (spec.stage === 'gradient' ? key : query);
    const col = hover?.col ?? key;
    if (row >= spec.rows || col >= spec.cols) { this.#readout.replaceChildren(words.outside); return; }
    const left = h('span', { class: 'readout-query' }, role(spec.stage === 'gradient' ? words.score : words.query), tokenText(spec.rowTokens[row]), placeAfter(spec.rowTokens[row], row));
    const right = h('span', { class: 'readout-key' }, role(spec.stage === 'gradient' ? words.weight : words.key), tokenText(spec.colTokens[col]), placeAfter(spec.colTokens[col], col));
    let numbers;
    if (spec.hidden(row, col)) numbers = h('span', {}, words.hidden);
    else if (special) numbers = h('span', { class: 'readout-numbers' }, `${t.stages[spec.stage].short} `, h('b', {}, format(spec.at(row, col))));
    else {
      const cell = cellOf(result, head, row, col);
      numbers = h('span', { class: 'readout-numbers' }, `${words.weight} `, h('b', {}, format(cell.weight)),
        cell.score === undefined ? '' : [` · ${words.score} `, h('b', {}, format(cell.score, 2))]);
    }
    this.#readout.replaceChildren(left, arrow, right, numbers);
  }
}

/** The last row that is shown: decoding uncovers one after the other. */
export function upTo(state) {
  return state.panel === 'decode' ? state.decodeStep ?? Infinity : Infinity;
}

export function selection({ query, key }) {
  return { row: query, col: key };
}

/** The cell, or the nearest one of a smaller matrix, where nothing is outlined then. */
export function within({ row, col }, { rows, cols }) {
  return { row: Math.min(row, rows - 1), col: Math.min(col, cols - 1), outside: row >= rows || col >= cols };
}

/** Of weights; those of a file need not sum to 1. Those of bfloat16 are off by up to 0.002. */
function howToRead({ sums }) {
  return !sums || (sums.least > 0.995 && sums.most < 1.005) ? t.howToRead : t.howToReadOthers(format(sums.least), format(sums.most));
}

/** A sentence with its words "row" and "column" in the colours of query and key. */
function coloured(parts) {
  return parts.map((part) => {
    if (typeof part === 'string') return part;
    const [[role, word]] = Object.entries(part);
    return h('b', { class: `is-${role}` }, word);
  });
}
