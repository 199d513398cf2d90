// Inputs, projections, queries, keys and values as tables to type into; the outputs to read.

import { h, tokenText } from './dom.js';
import { MAX_TABLE } from './limits.js';
import { format } from './scales.js';
import { t } from './strings.js';
import { placeAfter } from './tokens.js';

/** Which part of an answer a table shows: { data, base, rows, cols, stride } so that cell (i, j) is data[base + i * stride + j]. */
function tableOf(result, name, head) {
  const { n, m, d, dv } = result;
  const cut = (tensor, base, rows, cols) => tensor && { data: tensor.data, base, rows, cols, stride: cols };
  const width = result.x?.shape[1];
  const keys = result.keys ?? result.k;
  // Grouped heads share keys and values.
  const kvHead = Math.floor((head * keys.shape[1]) / result.heads);
  switch (name) {
    case 'x': return cut(result.x, 0, n, width);
    case 'wq': case 'wk': case 'wv': return cut(result[name], head * d * width, d, width);
    case 'q': return cut(result.q, head * n * d, n, d);
    case 'k': return cut(keys, kvHead * m * d, m, d);
    case 'v': return cut(result.v, kvHead * m * dv, m, dv);
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
  #lede = h('span', {});
  #hint = h('p', { class: 'hint' });
  #problem = h('p', { class: 'problem', role: 'alert' });
  #edited = h('span', { class: 'edited-count' });
  #undo;
  #part;
  #places = {};
  #moves = {};
  #moved;
  #state = null;
  #name = 'q';
  /** The cell that has the focus, and the first cell that is shown: of the whole table. */
  #at = { row: 0, col: 0 };
  #from = { row: 0, col: 0 };
  #view = null;
  #cells = [];
  #columns = [];

  constructor({ set, showMoved }) {
    this.#set = set;
    this.#choice = h('select', { 'aria-label': t.tables.label, onchange: () => { this.#problem.textContent = ''; this.#name = this.#choice.value; this.#at = { row: 0, col: 0 }; this.#from = { row: 0, col: 0 }; this.#draw(); } },
      names.map((name) => h('option', { value: name }, t.tables[name])));
    this.#choice.value = this.#name;
    this.#undo = h('button', { type: 'button', class: 'quiet', onclick: () => set({ edits: {} }) }, t.tables.undo);
    this.#moved = h('button', { type: 'button', class: 'quiet', onclick: showMoved }, t.tables.moved);
    const place = (name, label) => h('label', { class: 'number' }, h('span', {}, label), this.#places[name] = h('input', {
      type: 'number', min: '1', step: '1', onchange: () => this.#show({ [name]: Math.trunc(Number(this.#places[name].value)) - 1 || 0 }),
    }));
    const move = (label, sign, patch) => this.#moves[label] = h('button', { type: 'button', class: 'small', 'aria-label': t.tables[label], title: t.tables[label], onclick: () => this.#show(patch(this.#from)) }, sign);
    this.#part = h('div', { class: 'tables-head', role: 'group', 'aria-label': t.tables.window },
      this.#note, place('row', t.tables.rowsFrom), move('up', '↑', ({ row }) => ({ row: row - MAX_TABLE })), move('down', '↓', ({ row }) => ({ row: row + MAX_TABLE })),
      place('col', t.tables.colsFrom), move('left', '←', ({ col }) => ({ col: col - MAX_TABLE })), move('right', '→', ({ col }) => ({ col: col + MAX_TABLE })));
    this.#table.addEventListener('keydown', (event) => this.#key(event));
    this.#table.addEventListener('click', (event) => this.#click(event));
    this.#table.addEventListener('paste', (event) => this.#paste(event));
    this.details = h('details', { ontoggle: () => this.#draw() },
      h('summary', {}, h('h2', { id: 'tables-title' }, t.tables.title), this.#lede),
      h('div', { class: 'tables-head' }, this.#choice, this.#edited, this.#undo, this.#moved),
      this.#hint, this.#part, this.#problem,
      h('div', { class: 'table-scroll' }, this.#table));
    this.element = h('section', { class: 'tables wide', 'aria-labelledby': 'tables-title' }, this.details);
  }

  update(state) {
    this.#state = state;
    const { result, edits } = state;
    this.element.hidden = !result || Boolean(result.ready);
    const count = Object.values(edits).reduce((sum, cells) => sum + Object.keys(cells).length, 0);
    this.#edited.textContent = count ? t.tables.edited(count) : '';
    this.#undo.hidden = count === 0;
    this.#lede.textContent = result?.fixed ? t.tables.ledeFixed : t.tables.lede;
    this.#hint.textContent = result?.fixed ? t.tables.fixed : t.tables.keys;
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
    const cols = Math.min(view.cols, MAX_TABLE);
    const inside = ({ row, col }, [high, wide]) => ({ row: Math.max(0, Math.min(row, high)), col: Math.max(0, Math.min(col, wide)) });
    const from = inside(this.#from, [view.rows - rows, view.cols - cols]);
    this.#from = from;
    this.#at = inside(this.#at, [view.rows - 1, view.cols - 1]);
    this.#part.hidden = rows === view.rows && cols === view.cols;
    this.#note.textContent = t.tables.part({ ...from, rows, cols, of: [view.rows, view.cols] });
    for (const name of ['row', 'col']) if (document.activeElement !== this.#places[name]) this.#places[name].value = from[name] + 1;
    const ends = { up: from.row === 0, down: from.row === view.rows - rows, left: from.col === 0, right: from.col === view.cols - cols };
    for (const [name, end] of Object.entries(ends)) this.#moves[name].disabled = end;
    const flatOf = (i, j) => view.base + (from.row + i) * view.stride + from.col + j;
    let end = 0;
    for (let i = 0; i < rows; i += 1) for (let j = 0; j < cols; j += 1) end = Math.max(end, Math.abs(view.data[flatOf(i, j)]));
    const rowTokens = { q: result.tokens, x: result.tokens, o: result.tokens, k: result.keyTokens, v: result.keyTokens }[this.#name];
    if (this.#cells.length !== rows || this.#cells[0].length !== cols) this.#build(rows, cols);
    this.#view = view;
    this.#table.setAttribute('aria-label', t.tables[this.#name]);
    this.#table.setAttribute('aria-readonly', String(this.#isFixed()));
    this.#table.setAttribute('aria-rowcount', view.rows + 1);
    this.#table.setAttribute('aria-colcount', view.cols + 1);
    const changed = edits[this.#name] ?? {};
    this.#columns.forEach((cell, j) => {
      cell.textContent = String(from.col + j + 1);
      cell.setAttribute('aria-colindex', from.col + j + 2);
    });
    let focusable = false;
    for (let i = 0; i < rows; i += 1) {
      const row = from.row + i;
      this.#cells[i].head.replaceChildren(...(rowTokens ? [tokenText(rowTokens[row]), placeAfter(rowTokens[row], row)] : [String(row + 1)]));
      this.#cells[i].line.setAttribute('aria-rowindex', row + 2);
      for (let j = 0; j < cols; j += 1) {
        const cell = this.#cells[i][j];
        const flat = flatOf(i, j);
        const value = view.data[flat];
        cell.dataset.row = row;
        cell.dataset.col = from.col + j;
        cell.setAttribute('aria-colindex', from.col + j + 2);
        cell.style.setProperty('--size', end > 0 ? (Math.abs(value) / end).toFixed(3) : '0');
        cell.classList.toggle('is-negative', value < 0);
        cell.classList.toggle('is-edited', flat in changed);
        const here = row === this.#at.row && from.col + j === this.#at.col;
        cell.tabIndex = here ? 0 : -1;
        focusable ||= here;
        if (!cell.querySelector('input')) cell.textContent = short(value);
      }
    }
    // The cell of the last focus is out of sight: Tab then leads to the first one in sight.
    if (!focusable) {
      this.#at = { ...from };
      this.#cells[0][0].tabIndex = 0;
    }
  }

  /** Another part of a table that is larger than what is shown. */
  #show(place) {
    this.#from = { ...this.#from, ...place };
    this.#draw();
  }

  #cellAt({ row, col }) {
    return this.#cells[row - this.#from.row][col - this.#from.col];
  }

  #build(rows, cols) {
    this.#cells = Array.from({ length: rows }, () => Object.assign(
      Array.from({ length: cols }, () => h('td', { role: 'gridcell', tabindex: '-1' })),
      { head: h('th', { scope: 'row', role: 'rowheader', 'aria-colindex': '1' }), line: h('tr', { role: 'row' }) }));
    this.#columns = Array.from({ length: cols }, () => h('th', { scope: 'col', role: 'columnheader' }));
    for (const cells of this.#cells) cells.line.append(cells.head, ...cells);
    this.#table.replaceChildren(
      h('thead', {}, h('tr', { role: 'row', 'aria-rowindex': '1' }, h('td', { role: 'columnheader', 'aria-colindex': '1' }, h('span', { class: 'away' }, t.tables.row)), this.#columns)),
      h('tbody', {}, this.#cells.map(({ line }) => line)));
  }

  #click(event) {
    const cell = event.target.closest('td[data-row]');
    if (!cell || cell.querySelector('input')) return;
    const same = cell === document.activeElement && Number(cell.dataset.row) === this.#at.row && Number(cell.dataset.col) === this.#at.col;
    this.#move(Number(cell.dataset.row), Number(cell.dataset.col));
    if (same || event.detail > 1) this.#edit();
  }

  /** The focus to a cell; the part that is shown follows it. */
  #move(row, col) {
    const at = { row: Math.max(0, Math.min(this.#view.rows - 1, row)), col: Math.max(0, Math.min(this.#view.cols - 1, col)) };
    this.#at = at;
    const near = (from, place, count) => Math.min(place, Math.max(from, place - count + 1));
    const from = { row: near(this.#from.row, at.row, this.#cells.length), col: near(this.#from.col, at.col, this.#columns.length) };
    if (from.row !== this.#from.row || from.col !== this.#from.col) this.#show(from);
    else {
      for (const line of this.#cells) for (const cell of line) cell.tabIndex = -1;
      this.#cellAt(at).tabIndex = 0;
    }
    this.#cellAt(at).focus();
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

  /** Outputs are computed; so are all numbers of a model that was trained or opened. */
  #isFixed() {
    return this.#name === 'o' || Boolean(this.#state.result.fixed);
  }

  #edit(start) {
    if (this.#isFixed()) return;
    this.#problem.textContent = '';
    const { row, col } = this.#at;
    const cell = this.#cellAt(this.#at);
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
    if (event.target.tagName === 'INPUT' || this.#isFixed()) return;
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
      // The engine computes in float32, which ends at 3.4e38.
      if (text === '' || !Number.isFinite(Math.fround(value))) {
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

