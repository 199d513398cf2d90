// Paints a matrix on a canvas: what is visible of it, no more. Knows nothing of pointers, focus or labels.

import { cssColor, isLight, pixelTable } from './colormaps.js';

/** Cells at least this many device pixels wide are drawn one by one, with gaps; smaller ones pixel by pixel. */
const SEPARATE = 9;
/** Distance of the hatch lines on masked cells, in CSS pixels. */
const HATCH = 6;

/**
 * matrix: { rows, cols, at(i, j), hidden(i, j), scale, pool(level) or undefined }
 * view: { x, y: cell at the upper left corner, cell: device pixels per cell, ratio: device pixels per CSS pixel }
 * style: { masked, hatch: CSS colours, numbers: format function or null, font }
 */
export function paint(canvas, matrix, view, style) {
  const context = canvas.getContext('2d', { alpha: true });
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (view.cell >= SEPARATE) paintCells(context, canvas, matrix, view, style);
  else paintPixels(context, canvas, matrix, view, style);
}

function visibleRange(start, cell, extent, count) {
  return [Math.max(0, Math.floor(start)), Math.min(count, Math.ceil(start + extent / cell))];
}

function paintCells(context, canvas, matrix, view, style) {
  const { x, y, cell, ratio } = view;
  const [fromRow, toRow] = visibleRange(y, cell, canvas.height, matrix.rows);
  const [fromCol, toCol] = visibleRange(x, cell, canvas.width, matrix.cols);
  const gap = cell >= 14 * ratio ? Math.max(1, Math.round(ratio)) : cell >= SEPARATE * ratio ? 1 : 0;
  const hatch = hatchPattern(context, ratio, style);
  const { index, palette } = matrix.scale;
  const numbers = style.numbers && cell >= 30 * ratio ? style.numbers : null;
  if (numbers) {
    context.font = `${Math.round(Math.min(13, cell / ratio / 3.1) * ratio)}px ${style.font}`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
  }
  for (let i = fromRow; i < toRow; i += 1) {
    const top = Math.round((i - y) * cell);
    const height = Math.round((i + 1 - y) * cell) - top - gap;
    for (let j = fromCol; j < toCol; j += 1) {
      const left = Math.round((j - x) * cell);
      const width = Math.round((j + 1 - x) * cell) - left - gap;
      if (matrix.hidden(i, j)) {
        context.fillStyle = hatch;
        context.fillRect(left, top, width, height);
        continue;
      }
      const value = matrix.at(i, j);
      const color = index(value, i);
      context.fillStyle = cssColor(palette, color);
      context.fillRect(left, top, width, height);
      if (numbers) {
        const text = numbers(value);
        if (text) {
          context.fillStyle = isLight(palette, color) ? 'rgb(0 0 0 / 0.85)' : 'rgb(255 255 255 / 0.8)';
          context.fillText(text, left + width / 2, top + height / 2 + ratio / 2);
        }
      }
    }
  }
}

function paintPixels(context, canvas, matrix, view, style) {
  const { x, y, cell, ratio } = view;
  const width = Math.min(canvas.width, Math.max(1, Math.round((matrix.cols - x) * cell)));
  const height = Math.min(canvas.height, Math.max(1, Math.round((matrix.rows - y) * cell)));
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const { index, palette } = matrix.scale;
  const table = pixelTable(palette);
  const masked = pixelOf(style.masked);
  const hatch = pixelOf(style.hatch);
  const period = Math.round(HATCH * ratio);
  const line = Math.max(1, Math.round(ratio));
  // Where several cells share a pixel the largest is shown, so that no lone bright cell is lost.
  const source = cell < 1 && matrix.pool ? matrix.pool(Math.floor(Math.log2(1 / cell))) : { ...matrix, step: 1 };
  const colFrom = new Int32Array(width);
  const colTo = new Int32Array(width);
  for (let px = 0; px < width; px += 1) {
    [colFrom[px], colTo[px]] = span(x, px, cell, source.step, source.cols);
  }
  for (let py = 0; py < height; py += 1) {
    const [rowFrom, rowTo] = span(y, py, cell, source.step, source.rows);
    for (let px = 0; px < width; px += 1) {
      let best = -Infinity;
      let size = -1;
      let seen = false;
      let row = rowFrom;
      for (let i = rowFrom; i < rowTo; i += 1) {
        for (let j = colFrom[px]; j < colTo[px]; j += 1) {
          if (source.hidden(i, j)) continue;
          seen = true;
          const value = source.at(i, j);
          const strength = matrix.scale.signed ? Math.abs(value) : value;
          if (strength > size) { size = strength; best = value; row = i; }
        }
      }
      pixels[py * width + px] = seen
        ? table[index(best, Math.min(matrix.rows - 1, row * source.step))]
        : (px + py) % period < line ? hatch : masked;
    }
  }
  context.putImageData(image, 0, 0);
}

/** The cells of a level that device pixel p covers. */
function span(start, p, cell, step, count) {
  const from = Math.min(count - 1, Math.floor((start + p / cell) / step));
  const to = Math.max(from + 1, Math.min(count, Math.floor((start + (p + 1) / cell - 1e-9) / step) + 1));
  // One cell or less per pixel: its centre decides, so that no cell is drawn over its neighbour.
  if (cell >= step) {
    const centre = Math.min(count - 1, Math.floor((start + (p + 0.5) / cell) / step));
    return [centre, centre + 1];
  }
  return [from, to];
}

let hatchCache = null;
function hatchPattern(context, ratio, { masked, hatch }) {
  const size = Math.round(HATCH * ratio);
  const name = `${size} ${masked} ${hatch}`;
  if (hatchCache?.name === name) return hatchCache.pattern;
  const tile = document.createElement('canvas');
  tile.width = size;
  tile.height = size;
  const paintTile = tile.getContext('2d');
  paintTile.fillStyle = masked;
  paintTile.fillRect(0, 0, size, size);
  paintTile.strokeStyle = hatch;
  paintTile.lineWidth = Math.max(1, ratio);
  paintTile.beginPath();
  for (const shift of [-size, 0, size]) {
    paintTile.moveTo(shift - 1, size + 1);
    paintTile.lineTo(shift + size + 1, -1);
  }
  paintTile.stroke();
  hatchCache = { name, pattern: context.createPattern(tile, 'repeat') };
  return hatchCache.pattern;
}

const pixelCache = new Map();
function pixelOf(color) {
  if (!pixelCache.has(color)) {
    const dot = document.createElement('canvas');
    dot.width = 1;
    dot.height = 1;
    const context = dot.getContext('2d');
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    pixelCache.set(color, new Uint32Array(context.getImageData(0, 0, 1, 1).data.buffer)[0]);
  }
  return pixelCache.get(color);
}
