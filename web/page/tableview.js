// The stage as a real table, up to 64 x 64; its largest cells as a list beyond.

import { h, tokenText } from './dom.js';
import { MAX_TABLE } from './limits.js';
import { format } from './scales.js';
import { t } from './strings.js';
import { placeAfter } from './tokens.js';

const TOP = 50;

export class TableView {
  #spec = null;
  #body = h('div', { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': t.asTable });

  constructor() {
    this.element = h('details', { class: 'as-table', ontoggle: () => this.#draw() }, h('summary', {}, t.asTable), this.#body);
  }

  update(spec) {
    this.#spec = spec;
    this.#draw();
  }

  #draw() {
    if (!this.element.open || !this.#spec) return;
    const { rows, cols } = this.#spec;
    this.#body.replaceChildren(rows <= MAX_TABLE && cols <= MAX_TABLE ? whole(this.#spec) : largest(this.#spec));
  }
}

function whole({ rows, cols, at, hidden, rowTokens, colTokens, label }) {
  return h('table', { class: 'terms-table' }, h('caption', {}, label),
    h('thead', {}, h('tr', {}, h('td', {}), Array.from({ length: cols }, (_, j) => h('th', { scope: 'col' }, tokenText(colTokens[j]), placeAfter(colTokens[j], j))))),
    h('tbody', {}, Array.from({ length: rows }, (_, i) => h('tr', {}, h('th', { scope: 'row' }, tokenText(rowTokens[i]), placeAfter(rowTokens[i], i)),
      Array.from({ length: cols }, (__, j) => h('td', {}, hidden(i, j) ? t.masked : format(at(i, j))))))));
}

function largest({ rows, cols, at, hidden, rowHighs, rowTokens, colTokens }) {
  const top = [];
  let least = -Infinity;
  for (let i = 0; i < rows; i += 1) {
    if (rowHighs?.[i] <= least) continue;
    for (let j = 0; j < cols; j += 1) {
      const value = at(i, j);
      if (value <= least || hidden(i, j)) continue;
      top.push([value, i, j]);
      if (top.length >= 2 * TOP) {
        top.sort((a, b) => b[0] - a[0]).length = TOP;
        least = top[TOP - 1][0];
      }
    }
  }
  top.sort((a, b) => b[0] - a[0]);
  return h('table', { class: 'terms-table' }, h('caption', {}, t.topOf(Math.min(TOP, top.length))),
    h('thead', {}, h('tr', {}, [t.readout.query, t.readout.key, t.readout.weight].map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, top.slice(0, TOP).map(([value, i, j]) => h('tr', {}, h('th', { scope: 'row' }, tokenText(rowTokens[i]), placeAfter(rowTokens[i], i)), h('td', {}, tokenText(colTokens[j]), placeAfter(colTokens[j], j)), h('td', {}, format(value))))));
}
