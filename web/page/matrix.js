// The matrix on the stage: heat map, labels, outlines, pointer, keyboard, zoom. The picture itself is silent for
// a screen reader; over it lies a grid of which exactly one cell exists: the one that has the focus.

import { h, tokenText } from './dom.js';
import { paint } from './heatmap.js';
import { placeAfter } from './tokens.js';

const MAX_ZOOM_CELL = 48;
/** A pointer that moves further than this many CSS pixels between down and up was dragging. */
const DRAG = 5;
/** Rows that Page Up and Page Down move. */
const PAGE = 10;

export class MatrixView {
  #heat = h('canvas', { class: 'matrix-heat', 'aria-hidden': 'true' });
  #over = h('canvas', { class: 'matrix-over', 'aria-hidden': 'true' });
  #rowLabels = h('div', { class: 'matrix-rows', 'aria-hidden': 'true' });
  #colLabels = h('div', { class: 'matrix-cols', 'aria-hidden': 'true' });
  #plot = h('div', { class: 'matrix-plot' });
  #grid = h('div', { class: 'matrix-grid', role: 'grid', 'aria-readonly': 'true' });
  #slots = [];
  #slot = 0;
  #spec = null;
  #cell = 1;
  #fit = 1;
  #x = 0;
  #y = 0;
  #width = 0;
  #height = 0;
  #ratio = 1;
  #pointers = new Map();
  #drag = null;
  #handlers;
  #frame = 0;
  #paintFrame = 0;
  #measured = false;

  /**
   * handlers: { point(cell or null), choose(cell), toggle(cell), describe(i, j) -> text, style() -> colours,
   * zoomed(whether), shortcut(key) -> whether it was one, maxSide() -> CSS pixels }
   * A cell is { row, col }.
   */
  constructor(handlers) {
    this.#handlers = handlers;
    for (let at = 0; at < 2; at += 1) {
      const cell = h('div', { class: 'matrix-cell', role: 'gridcell', tabindex: '-1' });
      const row = h('div', { role: 'row', hidden: true }, cell);
      this.#slots.push({ row, cell });
      this.#grid.append(row);
    }
    this.#plot.append(this.#heat, this.#over, this.#grid);
    this.corner = h('div', { class: 'matrix-corner', 'aria-hidden': 'true' });
    this.element = h('div', { class: 'matrix' }, this.corner, this.#colLabels, this.#rowLabels, this.#plot);
    this.#listen();
    new ResizeObserver(() => this.#schedule()).observe(this.element);
    // The side is also bounded by the height of the window.
    window.addEventListener('resize', () => this.#schedule());
  }

  /**
   * spec: { rows, cols, rowTokens, colTokens, at, hidden, scale, pool, numbers, label, selected, hover }
   * `selected` and `hover` are cells or null; `selected.col` may be null: only a row is chosen; `selected.outside`: the cell
   * that is chosen on the page is not in this matrix.
   */
  update(spec) {
    const sameSize = this.#spec && this.#spec.rows === spec.rows && this.#spec.cols === spec.cols;
    this.#spec = spec;
    if (!sameSize) this.#fit = 0;
    // Measuring makes the browser lay the whole page out: only where the size can have changed.
    if (sameSize && this.#measured && this.element.isConnected) {
      this.#grid.setAttribute('aria-label', spec.label);
      this.#paintAll();
    } else this.layout();
  }

  /** Only the outlines: what hovering needs. */
  mark(selected, hover) {
    if (!this.#spec) return;
    this.#spec.selected = selected;
    this.#spec.hover = hover;
    this.#paintOver();
    this.#markLabels();
    this.#placeCell(false);
  }

  focus() {
    this.#slots[this.#slot].cell.focus();
  }

  get zoomed() {
    return this.#cell > this.#fit * 1.001;
  }

  get spec() {
    return this.#spec;
  }

  /** CSS pixels per cell when the whole matrix is shown. */
  get fitSize() {
    return this.#fit;
  }

  /** CSS pixels per cell. */
  get cellSize() {
    return this.#cell;
  }

  /** Centre of a cell relative to the plot, in CSS pixels, for tests and exports. */
  centre(row, col) {
    return { x: (col + 0.5 - this.#x) * this.#cell, y: (row + 0.5 - this.#y) * this.#cell };
  }

  zoomBy(factor, at = { x: this.#width / 2, y: this.#height / 2 }) {
    const cell = Math.min(Math.max(MAX_ZOOM_CELL, this.#fit), Math.max(this.#fit, this.#cell * factor));
    const col = this.#x + at.x / this.#cell;
    const row = this.#y + at.y / this.#cell;
    this.#cell = cell;
    this.#x = col - at.x / cell;
    this.#y = row - at.y / cell;
    this.#clamp();
    this.#schedulePaint();
    this.#handlers.zoomed?.(this.zoomed);
  }

  zoomFit() {
    this.#cell = this.#fit;
    this.#x = 0;
    this.#y = 0;
    this.#paintAll();
    this.#handlers.zoomed?.(false);
  }

  panBy(dx, dy) {
    this.#x -= dx / this.#cell;
    this.#y -= dy / this.#cell;
    this.#clamp();
    this.#schedulePaint();
  }

  #schedule() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.layout());
  }

  #schedulePaint() {
    cancelAnimationFrame(this.#paintFrame);
    this.#paintFrame = requestAnimationFrame(() => this.#paintAll());
  }

  layout() {
    this.#measured = this.element.clientWidth > 0;
    if (!this.#spec || !this.#measured) return;
    const { rows, cols } = this.#spec;
    const measure = getComputedStyle(this.element);
    const labelWidth = parseFloat(measure.getPropertyValue('--row-label'));
    const room = this.element.clientWidth - labelWidth - parseFloat(measure.getPropertyValue('--overhang'));
    const limit = Math.max(160, Math.min(room, this.#handlers.maxSide?.() ?? 640));
    this.#ratio = window.devicePixelRatio || 1;
    let fit = Math.min(limit / Math.max(rows, cols), 72);
    // Whole device pixels per cell keep the gaps even.
    if (fit * this.#ratio > 6) fit = Math.floor(fit * this.#ratio) / this.#ratio;
    const wasFit = this.#cell === this.#fit || this.#fit === 0;
    this.#fit = fit;
    if (wasFit || this.#cell < fit) {
      this.#cell = fit;
      this.#x = 0;
      this.#y = 0;
    }
    this.#width = Math.max(1, Math.round(fit * cols));
    this.#height = Math.max(1, Math.round(fit * rows));
    this.#clamp();
    for (const canvas of [this.#heat, this.#over]) {
      canvas.width = Math.round(this.#width * this.#ratio);
      canvas.height = Math.round(this.#height * this.#ratio);
      canvas.style.width = `${this.#width}px`;
      canvas.style.height = `${this.#height}px`;
    }
    this.#plot.style.width = `${this.#width}px`;
    this.#plot.style.height = `${this.#height}px`;
    this.#rowLabels.style.height = `${this.#height}px`;
    this.#colLabels.style.width = `${this.#width}px`;
    this.#grid.setAttribute('aria-rowcount', rows);
    this.#grid.setAttribute('aria-colcount', cols);
    this.#grid.setAttribute('aria-label', this.#spec.label);
    this.#paintAll();
  }

  #clamp() {
    const { rows, cols } = this.#spec;
    this.#x = Math.max(0, Math.min(this.#x, cols - this.#width / this.#cell));
    this.#y = Math.max(0, Math.min(this.#y, rows - this.#height / this.#cell));
  }

  #paintAll() {
    if (!this.#spec) return;
    const style = this.#handlers.style();
    paint(this.#heat, this.#spec, {
      x: this.#x, y: this.#y, cell: this.#cell * this.#ratio, ratio: this.#ratio,
    }, { ...style, numbers: this.#spec.numbers });
    this.#paintLabels();
    this.#paintOver();
    this.#placeCell(false);
  }

  #paintLabels() {
    const { rowTokens, colTokens } = this.#spec;
    fillLabels(this.#rowLabels, rowTokens, this.#y, this.#cell, this.#height, 'top');
    fillLabels(this.#colLabels, colTokens, this.#x, this.#cell, this.#width, 'left');
    this.#markLabels();
  }

  #markLabels() {
    const cell = this.#outlined();
    for (const label of this.#rowLabels.children) label.classList.toggle('is-query', Number(label.dataset.at) === cell?.row);
    for (const label of this.#colLabels.children) label.classList.toggle('is-key', Number(label.dataset.at) === cell?.col);
  }

  /** The cell under the pointer, else the chosen one, where this matrix has it. */
  #outlined() {
    const { selected, hover } = this.#spec;
    return hover ?? (selected?.outside ? null : selected);
  }

  #paintOver() {
    const context = this.#over.getContext('2d');
    const { hover, cols, rows } = this.#spec;
    const style = this.#handlers.style();
    const size = this.#cell * this.#ratio;
    context.clearRect(0, 0, this.#over.width, this.#over.height);
    const frame = (row, col, high, wide, color, line) => {
      const left = Math.round((col - this.#x) * size);
      const top = Math.round((row - this.#y) * size);
      const gap = size >= 14 * this.#ratio ? Math.max(1, Math.round(this.#ratio)) : 0;
      const width = Math.max(Math.round(wide * size) - gap, 3 * this.#ratio);
      const height = Math.max(Math.round(high * size) - gap, 3 * this.#ratio);
      const thick = line * this.#ratio;
      // Two colours, so that the outline shows on every colour of the map.
      context.lineWidth = thick;
      context.strokeStyle = style.outlineInner;
      context.strokeRect(left + thick * 1.5, top + thick * 1.5, width - 3 * thick, height - 3 * thick);
      context.strokeStyle = color;
      context.strokeRect(left + thick / 2, top + thick / 2, width - thick, height - thick);
    };
    const cell = this.#outlined();
    if (!cell) return;
    frame(cell.row, 0, 1, cols, style.query, 2);
    if (cell.col !== null && cell.col !== undefined) {
      if (hover || this.#spec.showColumn) frame(0, cell.col, rows, 1, style.key, this.#spec.showColumn ? 2 : 1);
      frame(cell.row, cell.col, 1, 1, style.outlineOuter, 2);
    }
  }

  /** Puts the grid's one cell where the selection is; `move` gives it the focus, by way of the other element. */
  #placeCell(move) {
    const { selected } = this.#spec;
    const row = selected?.row ?? 0;
    const col = selected?.col ?? 0;
    if (move) {
      this.#slots[this.#slot].row.hidden = true;
      this.#slots[this.#slot].cell.tabIndex = -1;
      this.#slot = 1 - this.#slot;
    }
    const slot = this.#slots[this.#slot];
    slot.row.hidden = false;
    slot.row.setAttribute('aria-rowindex', row + 1);
    slot.cell.setAttribute('aria-colindex', col + 1);
    slot.cell.setAttribute('aria-selected', 'true');
    slot.cell.tabIndex = 0;
    slot.cell.setAttribute('aria-label', this.#handlers.describe(row, col));
    slot.cell.style.left = `${(col - this.#x) * this.#cell}px`;
    slot.cell.style.top = `${(row - this.#y) * this.#cell}px`;
    slot.cell.style.width = `${Math.max(4, this.#cell)}px`;
    slot.cell.style.height = `${Math.max(4, this.#cell)}px`;
    if (move) slot.cell.focus({ preventScroll: true });
  }

  #cellAt(event) {
    const box = this.#plot.getBoundingClientRect();
    const col = Math.floor(this.#x + (event.clientX - box.left) / this.#cell);
    const row = Math.floor(this.#y + (event.clientY - box.top) / this.#cell);
    if (row < 0 || col < 0 || row >= this.#spec.rows || col >= this.#spec.cols) return null;
    return { row, col };
  }

  #listen() {
    const plot = this.#plot;
    plot.addEventListener('pointerdown', (event) => {
      if (!this.#spec || event.button > 0) return;
      this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (this.#pointers.size === 1) {
        this.#drag = { x: event.clientX, y: event.clientY, moved: false };
      } else {
        this.#drag = { ...this.#drag, moved: true, spread: this.#spread() };
      }
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener('pointermove', (event) => {
      if (!this.#spec) return;
      const last = this.#pointers.get(event.pointerId);
      if (!last) {
        if (event.pointerType !== 'touch') this.#handlers.point(this.#cellAt(event));
        return;
      }
      const dx = event.clientX - last.x;
      const dy = event.clientY - last.y;
      this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (this.#pointers.size === 2) {
        const spread = this.#spread();
        const box = plot.getBoundingClientRect();
        this.zoomBy(spread.size / this.#drag.spread.size, { x: spread.x - box.left, y: spread.y - box.top });
        this.panBy(spread.x - this.#drag.spread.x, spread.y - this.#drag.spread.y);
        this.#drag.spread = spread;
        return;
      }
      if (Math.hypot(event.clientX - this.#drag.x, event.clientY - this.#drag.y) > DRAG) this.#drag.moved = true;
      if (this.#drag.moved && this.zoomed) this.panBy(dx, dy);
    });
    const release = (event) => {
      if (!this.#pointers.delete(event.pointerId) || !this.#drag) return;
      if (this.#pointers.size > 0) return;
      const { moved } = this.#drag;
      this.#drag = null;
      if (moved || event.type === 'pointercancel') return;
      const cell = this.#cellAt(event);
      if (!cell) return;
      this.#handlers.choose(cell);
      this.#handlers.toggle?.(cell);
      this.#placeCell(true);
    };
    plot.addEventListener('pointerup', release);
    plot.addEventListener('pointercancel', release);
    plot.addEventListener('pointerleave', () => this.#spec && this.#handlers.point(null));
    plot.addEventListener('wheel', (event) => {
      // Without Ctrl (or a pinch, which browsers report as Ctrl) the wheel belongs to the page.
      if (!event.ctrlKey || !this.#spec) return;
      event.preventDefault();
      const box = plot.getBoundingClientRect();
      this.zoomBy(Math.exp(-event.deltaY / 300), { x: event.clientX - box.left, y: event.clientY - box.top });
    }, { passive: false });
    this.#grid.addEventListener('keydown', (event) => this.#key(event));
  }

  #spread() {
    const [a, b] = [...this.#pointers.values()];
    return { size: Math.max(8, Math.hypot(a.x - b.x, a.y - b.y)), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  }

  #key(event) {
    const { rows, cols, selected } = this.#spec;
    let row = selected?.row ?? 0;
    let col = selected?.col ?? 0;
    const control = event.ctrlKey || event.metaKey;
    switch (event.key) {
      case 'ArrowLeft': col -= 1; break;
      case 'ArrowRight': col += 1; break;
      case 'ArrowUp': row -= 1; break;
      case 'ArrowDown': row += 1; break;
      case 'Home': col = 0; if (control) row = 0; break;
      case 'End': col = cols - 1; if (control) row = rows - 1; break;
      case 'PageUp': row -= PAGE; break;
      case 'PageDown': row += PAGE; break;
      case '+': case '=': this.zoomBy(1.5, this.#focusPoint()); event.preventDefault(); return;
      case '-': case '_': this.zoomBy(1 / 1.5, this.#focusPoint()); event.preventDefault(); return;
      case '0': this.zoomFit(); event.preventDefault(); return;
      case ' ': case 'Enter': event.preventDefault(); this.#handlers.toggle?.({ row, col }); return;
      case 'Escape': this.zoomFit(); this.#handlers.point(null); return;
      default:
        if (!control && !event.altKey && this.#handlers.shortcut?.(event.key)) event.preventDefault();
        return;
    }
    if (event.altKey) return;
    event.preventDefault();
    row = Math.max(0, Math.min(rows - 1, row));
    col = Math.max(0, Math.min(cols - 1, col));
    this.#handlers.choose({ row, col });
    this.#reveal(row, col);
    this.#placeCell(true);
  }

  #focusPoint() {
    return this.centre(this.#spec.selected?.row ?? 0, this.#spec.selected?.col ?? 0);
  }

  #reveal(row, col) {
    const wide = this.#width / this.#cell;
    const high = this.#height / this.#cell;
    const x = Math.min(col, Math.max(this.#x, col + 1 - wide));
    const y = Math.min(row, Math.max(this.#y, row + 1 - high));
    if (x === this.#x && y === this.#y) return;
    this.#x = x;
    this.#y = y;
    this.#clamp();
    this.#paintAll();
  }
}

/** Labels of the visible tokens; of every second, fifth, tenth ... where they would collide. */
function fillLabels(box, tokens, start, cell, extent, side) {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
  const step = steps.find((candidate) => candidate * cell >= 15) ?? 5000;
  const from = Math.max(0, Math.ceil((start - 0.5) / step) * step);
  const labels = [];
  for (let i = from; i < tokens.length; i += step) {
    const middle = (i + 0.5 - start) * cell;
    if (middle > extent) break;
    if (middle < 0) continue;
    const label = h('span', { class: 'matrix-label' }, tokenText(tokens[i]), h('span', { class: 'matrix-index' }, placeAfter(tokens[i], i)));
    label.dataset.at = i;
    label.style[side] = `${middle}px`;
    labels.push(label);
  }
  box.replaceChildren(...labels);
}
