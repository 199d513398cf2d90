// Out of the page: pictures, numbers, a link. What is saved is what the stage shows.

import { colorTable } from './colormaps.js';
import { h, svg } from './dom.js';
import { writeCsv } from './files/csv.js';
import { writeNpy } from './files/npy.js';
import { paint } from './heatmap.js';
import { settingsOf, toHash } from './state.js';
import { t } from './strings.js';
import { placed } from './tokens.js';

const MAX_LINK = 2000;
const MAX_TEXT_CELLS = 1 << 20;
const MAX_SVG_RECTS = 64;
const PICTURE = 640;
const LABEL = 96;

export class SaveMenu {
  #message = h('p', { class: 'save-message', role: 'status' });
  #size;
  #stage;
  #state;
  #style;

  /** stage() -> the matrix view's spec; state() -> the store's. */
  constructor({ stage, state, style }) {
    this.#stage = stage;
    this.#state = state;
    this.#style = style;
    this.#size = h('select', { 'aria-label': t.save.size }, [1, 2, 4].map((scale) => h('option', { value: String(scale) }, `${scale}×`)));
    this.#size.value = '2';
    const button = (name, act) => h('button', { type: 'button', class: 'small', onclick: () => this.#guard(act) }, t.save[name]);
    this.element = h('details', { class: 'save' }, h('summary', {}, t.save.title),
      h('div', { class: 'save-row' },
        button('png', () => this.#png()), this.#size, button('svg', () => this.#svg()), button('csv', () => this.#csv()), button('npy', () => this.#npy()),
        button('json', () => this.#json()), button('link', () => this.#link()), button('print', () => window.print())),
      this.#message);
  }

  async #guard(act) {
    this.#message.replaceChildren();
    try {
      await act();
    } catch (error) {
      this.#message.textContent = error.message;
    }
  }

  #name(ending) {
    const { head, preset } = this.#state();
    return `attention-${preset}-head${head + 1}-${this.#stage().stage}.${ending}`;
  }

  async #png() {
    const canvas = drawPicture(this.#stage(), Number(this.#size.value), this.#style());
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve, 'image/png'); });
    download(this.#name('png'), blob);
  }

  #svg() {
    const text = new XMLSerializer().serializeToString(drawSvg(this.#stage(), this.#style()));
    download(this.#name('svg'), new Blob([text], { type: 'image/svg+xml' }));
  }

  #csv() {
    const spec = this.#stage();
    tooLarge(spec);
    download(this.#name('csv'), new Blob([writeCsv(spec.rowTokens, spec.colTokens, (i, j) => (spec.hidden(i, j) ? '' : spec.at(i, j)))], { type: 'text/csv' }));
  }

  #npy() {
    const spec = this.#stage();
    download(this.#name('npy'), new Blob([writeNpy(numbersOf(spec), [spec.rows, spec.cols])], { type: 'application/octet-stream' }));
  }

  #json() {
    const spec = this.#stage();
    tooLarge(spec);
    const state = this.#state();
    const numbers = numbersOf(spec);
    const matrix = Array.from({ length: spec.rows }, (_, i) => Array.from(numbers.subarray(i * spec.cols, (i + 1) * spec.cols), (x) => (Number.isFinite(x) ? x : null)));
    const object = {
      format: 'spotlight', version: 1, settings: settingsOf(state), head: state.head, stage: spec.stage,
      queryTokens: spec.rowTokens, keyTokens: spec.colTokens, matrix,
    };
    download(this.#name('json'), new Blob([JSON.stringify(object)], { type: 'application/json' }));
  }

  async #link() {
    const state = this.#state();
    const link = `${location.origin}${location.pathname}${toHash(state)}`;
    if (link.length > MAX_LINK) throw new Error(t.save.tooLong);
    const note = state.source === 'file' ? ` ${t.save.fileNotInLink}` : '';
    try {
      await navigator.clipboard.writeText(link);
      this.#message.textContent = t.save.copied + note;
    } catch {
      const field = h('input', { type: 'text', readonly: true, value: link, 'aria-label': t.save.copyByHand });
      this.#message.replaceChildren(t.save.copyByHand + note, field);
      field.select();
    }
  }
}

function tooLarge({ rows, cols }) {
  if (rows * cols > MAX_TEXT_CELLS) throw new Error(t.save.tooLarge(MAX_TEXT_CELLS));
}

/** The stage's numbers; hidden cells of weights are 0, of scores minus infinity. */
function numbersOf({ rows, cols, at }) {
  const data = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i += 1) for (let j = 0; j < cols; j += 1) data[i * cols + j] = at(i, j);
  return data;
}

function download(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = h('a', { href: url, download: name });
  link.click();
  // The click only starts the download; the browser still needs the address for a moment.
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Labels are drawn where they fit. */
function labelStep(cell) {
  return Math.max(1, Math.ceil(14 / cell));
}

function drawPicture(spec, scale, style) {
  const cell = Math.max(PICTURE / Math.max(spec.rows, spec.cols), 1 / scale);
  const canvas = document.createElement('canvas');
  const picture = document.createElement('canvas');
  picture.width = Math.round(cell * spec.cols * scale);
  picture.height = Math.round(cell * spec.rows * scale);
  paint(picture, spec, { x: 0, y: 0, cell: cell * scale, ratio: scale }, { ...style, numbers: spec.numbers });
  canvas.width = picture.width + (LABEL + 24) * scale;
  canvas.height = picture.height + (LABEL + 12) * scale;
  const context = canvas.getContext('2d');
  context.fillStyle = style.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, LABEL * scale, LABEL * scale);
  context.fillStyle = style.ink;
  context.font = `${13 * scale}px ${style.font}`;
  context.textBaseline = 'middle';
  const step = labelStep(cell);
  for (let i = 0; i < spec.rows; i += step) {
    context.textAlign = 'right';
    context.fillText(spec.rowTokens[i], (LABEL - 8) * scale, (LABEL + (i + 0.5) * cell) * scale, (LABEL - 10) * scale);
  }
  context.textAlign = 'left';
  for (let j = 0; j < spec.cols; j += step) {
    context.save();
    context.translate((LABEL + (j + 0.5) * cell) * scale, (LABEL - 6) * scale);
    context.rotate(-Math.PI / 4);
    context.fillText(spec.colTokens[j], 0, 0, (LABEL + 10) * scale);
    context.restore();
  }
  return canvas;
}

/** Vector text; cells as rectangles up to 64 x 64, as an embedded picture beyond. */
function drawSvg(spec, style) {
  const cell = PICTURE / Math.max(spec.rows, spec.cols);
  const width = cell * spec.cols + LABEL + 24;
  const height = cell * spec.rows + LABEL + 12;
  const root = svg('svg', { xmlns: 'http://www.w3.org/2000/svg', viewBox: `0 0 ${width} ${height}`, width, height, 'font-family': 'sans-serif', 'font-size': '13' },
    svg('title', {}, spec.label), svg('rect', { width, height, fill: style.paper }));
  if (Math.max(spec.rows, spec.cols) <= MAX_SVG_RECTS) {
    const hatch = svg('pattern', { id: 'hatch', width: 6, height: 6, patternUnits: 'userSpaceOnUse' },
      svg('rect', { width: 6, height: 6, fill: style.masked }), svg('path', { d: 'M-1 7 L7 -1', stroke: style.hatch }));
    root.append(svg('defs', {}, hatch));
    const table = colorTable(spec.scale.palette);
    for (let i = 0; i < spec.rows; i += 1) {
      for (let j = 0; j < spec.cols; j += 1) {
        const hidden = spec.hidden(i, j);
        const index = hidden ? 0 : spec.scale.index(spec.at(i, j), i);
        const fill = hidden ? 'url(#hatch)' : `#${[0, 1, 2].map((c) => table[3 * index + c].toString(16).padStart(2, '0')).join('')}`;
        root.append(svg('rect', { x: round(LABEL + j * cell), y: round(LABEL + i * cell), width: round(cell - 1), height: round(cell - 1), fill },
          svg('title', {}, `${placed(spec.rowTokens[i], i)}, ${placed(spec.colTokens[j], j)}: ${hidden ? t.masked : spec.at(i, j)}`)));
      }
    }
  } else {
    const picture = document.createElement('canvas');
    picture.width = Math.round(cell * spec.cols * 2);
    picture.height = Math.round(cell * spec.rows * 2);
    paint(picture, spec, { x: 0, y: 0, cell: cell * 2, ratio: 2 }, { ...style, numbers: null });
    root.append(svg('image', { x: LABEL, y: LABEL, width: cell * spec.cols, height: cell * spec.rows, href: picture.toDataURL('image/png') }));
  }
  const step = labelStep(cell);
  const text = (props, words) => svg('text', { fill: style.ink, 'dominant-baseline': 'middle', ...props }, words);
  for (let i = 0; i < spec.rows; i += step) root.append(text({ x: LABEL - 8, y: round(LABEL + (i + 0.5) * cell), 'text-anchor': 'end' }, spec.rowTokens[i].slice(0, 14)));
  for (let j = 0; j < spec.cols; j += step) {
    root.append(text({ transform: `translate(${round(LABEL + (j + 0.5) * cell)} ${LABEL - 6}) rotate(-45)` }, spec.colTokens[j].slice(0, 14)));
  }
  return root;
}

function round(x) {
  return String(Math.round(x * 100) / 100);
}
