// One head's matrix at one stage, cut out of an answer of the worker, with its colour scale. Pure.

import { extents, format, makeScale } from './scales.js';

/** Stages whose numbers have a sign and are drawn in the diverging map. */
export const SIGNED = new Set(['dots', 'scores', 'gradient', 'difference']);

/** Stages that a result has. */
export function stagesOf(result, other) {
  if (result.large || result.ready) return ['weights'];
  return ['dots', 'scores', 'weights', 'gradient', ...(other?.difference ? ['difference'] : [])];
}

/** Whether cell (i, j) of a head is removed by the mask. */
export function hiddenOf(result, head) {
  const { n, m } = result;
  if (result.large) {
    const { mask } = result.job;
    if (mask.kind === 'causal') return (i, j) => j > i;
    if (mask.kind === 'window') return (i, j) => j < i - mask.left || j > i + mask.right;
    if (mask.kind === 'length') return (i, j) => j >= mask.length;
    return () => false;
  }
  const seen = result.scores.data;
  const base = head * n * m;
  return (i, j) => seen[base + i * m + j] === -Infinity;
}

/** The weights of head `head`: (i, j) -> number; null while a large head is not here yet. */
export function weightsOf(result, head) {
  const { n, m, weights } = result;
  if (result.large && weights.head !== head) return null;
  const base = result.large ? 0 : head * n * m;
  return (i, j) => weights.data[base + i * m + j];
}

/** { rows, cols, at, hidden, scale, high } of head `head` at `stage`, or null where that is not here yet. */
export function slice({ result, other, gradient }, head, stage, { transfer, domain, palette }, upTo = Infinity) {
  const { n, m } = result;
  const base = head * n * m;
  const signed = SIGNED.has(stage);
  let matrix = { rows: n, cols: m };
  if (stage === 'gradient') {
    if (!gradient || gradient.m !== m) return null;
    matrix = { rows: m, cols: m, at: (i, j) => gradient.data[i * m + j], hidden: () => false };
  } else if (stage === 'weights') {
    matrix.at = weightsOf(result, head);
    if (!matrix.at) return null;
    matrix.hidden = hiddenOf(result, head);
  } else {
    const values = (stage === 'difference' ? other?.difference : result[stage])?.data;
    if (!values) return null;
    matrix.at = (i, j) => values[base + i * m + j];
    // Dot products exist for every pair, the mask comes after them; a difference, where either setting sees the key.
    if (stage === 'dots') matrix.hidden = () => false;
    else if (stage === 'difference') {
      const [first, second] = [hiddenOf(result, head), hiddenOf(other, head)];
      matrix.hidden = (i, j) => first(i, j) && second(i, j);
    } else matrix.hidden = hiddenOf(result, head);
  }
  if (upTo < n) {
    const { hidden } = matrix;
    matrix.hidden = (i, j) => i > upTo || hidden(i, j);
  }
  const wholeDomain = domain === 'unit' && !signed;
  const { high, rowHighs } = wholeDomain ? { high: 1 } : extents({ ...matrix, signed });
  const highs = domain === 'row' ? rowHighs : high;
  matrix.scale = makeScale({ transfer, highs, signed, palette });
  if (n * m > 1 << 18) matrix.pool = pyramid(matrix, result.large && stage === 'weights' ? result.weights.pooled : null);
  return matrix;
}

/** A pooled thumbnail of a large head as a matrix of its own. */
export function thumbMatrix(thumb, settings) {
  const { data, rows, cols } = thumb;
  const at = (i, j) => data[i * cols + j];
  return { rows, cols, at, hidden: (i, j) => at(i, j) < 0, scale: makeScale({ transfer: settings.transfer, highs: 1, signed: false, palette: settings.palette }) };
}

/**
 * Halvings of a large matrix that keep the largest value (by size, where signed): level l has cells of 2^l x 2^l.
 * Made when first needed: zoomed in, nobody asks.
 */
function pyramid(matrix, half) {
  const levels = [{ ...matrix, step: 1 }];
  if (half) levels.push(level(half, Math.ceil(matrix.rows / 2), Math.ceil(matrix.cols / 2), 2));
  return (wanted) => {
    while (levels.length <= wanted) {
      const below = levels.at(-1);
      const rows = Math.ceil(below.rows / 2);
      const cols = Math.ceil(below.cols / 2);
      const data = new Float32Array(rows * cols);
      for (let i = 0; i < rows; i += 1) {
        for (let j = 0; j < cols; j += 1) {
          let best = NaN;
          for (let a = 2 * i; a < Math.min(2 * i + 2, below.rows); a += 1) {
            for (let b = 2 * j; b < Math.min(2 * j + 2, below.cols); b += 1) {
              if (below.hidden(a, b)) continue;
              const value = below.at(a, b);
              if (!(Math.abs(value) <= Math.abs(best))) best = value;
            }
          }
          data[i * cols + j] = best;
        }
      }
      levels.push(level(data, rows, cols, below.step * 2));
    }
    return levels[wanted];
  };
}

/** NaN marks what is hidden altogether. */
function level(data, rows, cols, step) {
  const at = (i, j) => data[i * cols + j];
  return { rows, cols, at, hidden: (i, j) => Number.isNaN(at(i, j)), step };
}

/** The numbers printed in cells: short, and nothing where there is nothing to say. */
export const cellNumbers = {
  weights: (value) => (value < 0.005 ? '' : value >= 0.995 ? '1' : format(value, 2).slice(1)),
  signed: (value) => {
    if (Math.abs(value) < 0.005) return '0';
    if (Math.abs(value) < 0.995) return format(value, 2).replace('0.', '.');
    return format(value, Math.abs(value) < 10 ? 1 : 0);
  },
};

/** The numbers of one cell. */
export function cellOf(result, head, row, col) {
  const at = (head * result.n + row) * result.m + col;
  const weight = weightsOf(result, head)?.(row, col);
  return {
    query: result.tokens[row], row, key: result.keyTokens[col], col, weight,
    score: result.large || result.ready ? undefined : result.scores.data[at],
    hidden: hiddenOf(result, head)(row, col),
  };
}
