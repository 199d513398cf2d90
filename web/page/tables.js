// Inputs, projections, queries, keys and values as tables to type into; the outputs to read.

import { h, tokenText } from './dom.js';
import { MAX_TABLE } from './limits.js';
import { format } from './scales.js';
import { t } from './strings.js';

/** Which part of an answer a table shows: { data, base, rows, cols, stride } so that cell (i, j) is data[base + i * stride + j]. */
function tableOf(result, name, head) {
  const { n, m, d, dv } = result;
  const cut = (tensor, base, rows, cols) => tensor && { data: tensor.data, base, rows, cols, stride: cols };
  const width = result.x?.shape[1];
  switch (name) {
    case 'x': return cut(result.x, 0, n, width);
    case 'wq': case 'wk': case 'wv': return cut(result[name], head * d * width, d, width);
    case 'q': return cut(result.q, head * n * d, n, d);
    case 'k': return cut(result.keys ?? result.k, head * m * d, m, d);
    case 'v': return cut(result.v, head * m * dv, m, dv);
    case 'general': return cut(result.general, head * d * d, d, d);
    default: return cut(result.output, head * n * dv, n, dv);
  }
}

const names = ['x', 'wq', 'wk', 'wv', 'q', 'k', 'v', 'general', 'o'];

export class Tables {
  #set;
  #choice;
  #table = h('table', { class: 'numbers', role: 'grid' });
  #note = h('p', { class: 'hint' });
  #problem = h('p', { class: 'problem', role: 'alert' });
  #edited = h('span', { class: 'edited-count' });
  #undo;
  #moved;
  #state = null;
  #name = 'q';
  #at = { row: 0, col: 0 };
  #view = null;
  #cells = [];

  constructor({ set, showMoved }) {
    this.#set = set;
    this.#choice = h('select', { 'aria-label': t.tables.label, onchange: () => { this.#name = this.#choice.value; this.#at = { row: 0, col: 0 }; this.#draw(); } },
      names.map((name) => h('option', { value: name }, t.tables[name])));
    this.#choice.value = this.#name;
    this.#undo = h('button', { type: 'button', class: 'quiet', onclick: () => set({ edits: {} }) }, t.tables.undo);
    this.#moved = h('button', { type: 'button', class: 'quiet', onclick: showMoved }, t.tables.moved);
    this.#table.addEventListener('keydown', (event) => this.#key(event));
    this.#table.addEventListener('click', (event) => this.#click(event));
    this.#table.addEventListener('paste', (event) => this.#paste(event));
    this.details = h('details', { ontoggle: () => this.#draw() },
      h('summary', {}, h('h2', { id: 'tables-title' }, t.tables.title), h('span', {}, t.tables.lede)),
      h('div', { class: 'tables-head' }, this.#choice, this.#edited, this.#undo, this.#moved),
      h('p', { class: 'hint' }, t.tables.keys), this.#note, this.#problem,
      h('div', { class: 'table-scroll' }, this.#table));
    this.element = h('section', { class: 'tables wide', 'aria-labelledby': 'tables-title' }, this.details);
  }

  update(state) {
    this.#state = state;
    const { result, edits } = state;
    this.element.hidden = !result || result.ready || result.large || state.source === 'file';
    const count = Object.values(edits).reduce((sum, cells) => sum + Object.keys(cells).length, 0);
    this.#edited.textContent = count ? t.tables.edited(count) : '';
    this.#undo.hidden = count === 0;
    this.#moved.hidden = count === 0 || state.source === 'textbook';
    this.#draw();
  }

  #draw() {
    const { result, head, edits } = this.#state ?? {};
    if (!result || !this.details.open || this.element.hidden) return;
    for (const option of this.#choice.options) option.hidden = !tableOf(result, option.value, head) || (option.value === 'general' && this.#state.score !== 'multiplicative');
    if (this.#choice.selectedOptions[0].hidden) this.#choice.value = 'q';
    this.#name = this.#choice.value;
    const view = tableOf(result, this.#name, head);
    const rows = Math.min(view.rows, MAX_TABLE);
    // The widest projections have 256 columns; the first 64 of X hold position and word at d = 16.
    const cols = Math.min(view.cols, MAX_TABLE);
    this.#note.textContent = rows < view.rows || cols < view.cols ? t.tables.cut(rows, cols, [view.rows, view.cols]) : '';
    this.#at = { row: Math.min(this.#at.row, rows - 1), col: Math.min(this.#at.col, cols - 1) };
    let end = 0;
    for (let i = 0; i < rows; i += 1) for (let j = 0; j < cols; j += 1) end = Math.max(end, Math.abs(view.data[view.base + i * view.stride + j]));
    const rowTokens = { q: result.tokens, x: result.tokens, o: result.tokens, k: result.keyTokens, v: result.keyTokens }[this.#name];
    if (!this.#view || this.#view.rows !== rows || this.#view.cols !== cols) this.#build(rows, cols);
    this.#view = { ...view, rows, cols, rowTokens };
    this.#table.setAttribute('aria-label', t.tables[this.#name]);
    this.#table.setAttribute('aria-readonly', String(this.#name === 'o'));
    const changed = edits[this.#name] ?? {};
    for (let i = 0; i < rows; i += 1) {
      this.#cells[i].head.replaceChildren(rowTokens ? tokenText(rowTokens[i]) : '', ` ${i + 1}`);
      for (let j = 0; j < cols; j += 1) {
        const cell = this.#cells[i][j];
        if (cell.querySelector('input')) continue;
        const flat = view.base + i * view.stride + j;
        const value = view.data[flat];
        cell.textContent = short(value);
        cell.style.setProperty('--size', end > 0 ? (Math.abs(value) / end).toFixed(3) : '0');
        cell.classList.toggle('is-negative', value < 0);
        cell.classList.toggle('is-edited', flat in changed);
        cell.tabIndex = i === this.#at.row && j === this.#at.col ? 0 : -1;
      }
    }
  }

  #build(rows, cols) {
    this.#cells = Array.from({ length: rows }, (_, i) => {
      const line = Array.from({ length: cols }, (__, j) => {
        const cell = h('td', { role: 'gridcell', tabindex: '-1' });
        cell.dataset.row = i;
        cell.dataset.col = j;
        return cell;
      });
      line.head = h('th', { scope: 'row', role: 'rowheader' });
      return line;
    });
    this.#table.replaceChildren(
      h('thead', {}, h('tr', { role: 'row' }, h('td', { role: 'columnheader' }, h('span', { class: 'away' }, t.tables.row)),
        Array.from({ length: cols }, (_, j) => h('th', { scope: 'col', role: 'columnheader' }, String(j + 1))))),
      h('tbody', {}, this.#cells.map((line) => h('tr', { role: 'row' }, line.head, line))));
  }

  #click(event) {
    const cell = event.target.closest('td[data-row]');
    if (!cell || cell.querySelector('input')) return;
    const same = cell === document.activeElement && Number(cell.dataset.row) === this.#at.row && Number(cell.dataset.col) === this.#at.col;
    this.#move(Number(cell.dataset.row), Number(cell.dataset.col));
    if (same || event.detail > 1) this.#edit();
  }

  #move(row, col) {
    const at = { row: Math.max(0, Math.min(this.#view.rows - 1, row)), col: Math.max(0, Math.min(this.#view.cols - 1, col)) };
    this.#cells[this.#at.row][this.#at.col].tabIndex = -1;
    this.#at = at;
    const cell = this.#cells[at.row][at.col];
    cell.tabIndex = 0;
    cell.focus();
  }

  #key(event) {
    if (event.target.tagName === 'INPUT') return;
    const { row, col } = this.#at;
    const moves = { ArrowLeft: [row, col - 1], ArrowRight: [row, col + 1], ArrowUp: [row - 1, col], ArrowDown: [row + 1, col], Home: [row, 0], End: [row, Infinity], PageUp: [row - 10, col], PageDown: [row + 10, col] };
    if (event.key in moves && !event.altKey) {
      event.preventDefault();
      this.#move(...moves[event.key]);
    } else if (event.key === 'Enter' || event.key === 'F2') {
      event.preventDefault();
      this.#edit();
    } else if (/^[\d.\-]$/.test(event.key) && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.#edit(event.key);
    }
  }

  #edit(start) {
    if (this.#name === 'o') return;
    const { row, col } = this.#at;
    const cell = this.#cells[row][col];
    const value = this.#view.data[this.#view.base + row * this.#view.stride + col];
    const input = h('input', { type: 'text', inputmode: 'decimal', value: start ?? String(value), 'aria-label': t.tables.cell(row + 1, col + 1, '') });
    let open = true;
    const close = (commit) => {
      if (!open) return;
      open = false;
      const text = input.value.trim().replace('−', '-').replace(',', '.');
      const focus = document.activeElement === input;
      cell.replaceChildren(short(value));
      if (focus) cell.focus();
      if (commit) this.#commit([[row, col, text]]);
    };
    input.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' || event.key === 'Tab') close(true);
      else if (event.key === 'Escape') close(false);
      else return;
      event.stopPropagation();
      if (event.key === 'Enter') event.preventDefault();
    });
    input.addEventListener('blur', () => close(true));
    cell.replaceChildren(input);
    input.focus();
    if (start === undefined) input.select();
    else input.setSelectionRange(start.length, start.length);
  }

  #paste(event) {
    if (event.target.tagName === 'INPUT' || this.#name === 'o') return;
    event.preventDefault();
    const lines = event.clipboardData.getData('text').trim().split(/\r?\n/).slice(0, this.#view.rows - this.#at.row);
    this.#commit(lines.flatMap((line, i) => line.trim().split(/[\t;,\s]+/).slice(0, this.#view.cols - this.#at.col)
      .map((text, j) => [this.#at.row + i, this.#at.col + j, text])));
  }

  /** All of them, or none: [[row, col, text]]. */
  #commit(cells) {
    const { edits } = this.#state;
    const changed = { ...edits[this.#name] };
    for (const [row, col, text] of cells) {
      const value = Number(text);
      if (text === '' || !Number.isFinite(value)) {
        this.#problem.textContent = t.tables.notNumber(text);
        return;
      }
      const flat = this.#view.base + row * this.#view.stride + col;
      if (this.#view.data[flat] !== value) changed[flat] = value;
    }
    this.#problem.textContent = '';
    if (Object.keys(changed).length) this.#set({ edits: { ...edits, [this.#name]: changed } });
  }
}

function short(value) {
  if (value === 0) return '0';
  return format(value, Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}

