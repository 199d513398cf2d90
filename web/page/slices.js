// One head's matrix at one stage, cut out of an answer of the worker, with its colour scale. Pure.

import { extents, format, makeScale } from './scales.js';

/** Stages whose numbers have a sign and are drawn in the diverging map. */
export const SIGNED = new Set(['dots', 'scores', 'gradient', 'difference']);

/** Stages that a result has. */
export function stagesOf(result, other) {
  if (result.ready) return ['weights'];
  return ['dots', 'scores', 'weights', 'gradient', ...(other?.pair && !result.large ? ['difference'] : [])];
}

/** Whether cell (i, j) of a head is removed by the mask. */
export function hiddenOf(result, head) {
  const { n, m } = result;
  if (result.ready) return () => false;
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

// From the right: a causal mask hides the upper right.
function anyCell({ rows, cols }, test) {
  for (let i = 0; i < rows; i += 1) for (let j = cols - 1; j >= 0; j -= 1) if (test(i, j)) return true;
  return false;
}

/** Whether any cell of a matrix is hidden: only then the colour bar has to say how that looks. */
export const hidesAny = (matrix) => anyCell(matrix, matrix.hidden);

/** Whether a matrix is 0 all over; NaN is not 0. */
export const isZero = (matrix) => !anyCell(matrix, (i, j) => matrix.at(i, j) !== 0);

/** What is held of a large answer's head at a stage (the gradient: of its row `query`), or null. */
export function heldMatrix(result, head, stage, query) {
  const matrix = stage === 'weights' ? result.weights : result.inSight;
  const fits = matrix?.head === head && (stage === 'weights' || matrix.stage === stage) && (stage !== 'gradient' || matrix.row === query);
  return fits ? matrix : null;
}

/** The numbers of head `head` at 'dots', 'scores' or 'weights': (i, j) -> number; null while a large head is not here yet. */
function numbersOf(result, head, stage) {
  const { n, m } = result;
  const values = result.large ? heldMatrix(result, head, stage)?.data : result[stage]?.data;
  if (!values) return null;
  const base = result.large ? 0 : head * n * m;
  return (i, j) => values[base + i * m + j];
}

export function weightsOf(result, head) {
  return numbersOf(result, head, 'weights');
}

/** { rows, cols, at, hidden, scale, high } of head `head` at `stage`, or null where that is not here yet. */
export function slice({ result, other, compare, gradient, query }, head, stage, { transfer, domain, palette }, upTo = Infinity) {
  const { n, m } = result;
  const signed = SIGNED.has(stage);
  let matrix = { rows: n, cols: m };
  let ready = null;
  if (stage === 'gradient') {
    ready = result.large ? heldMatrix(result, head, stage, query) : null;
    const found = result.large ? ready : gradient?.m === m ? gradient : null;
    if (!found) return null;
    matrix = { rows: m, cols: m, at: (i, j) => found.data[i * m + j], hidden: () => false };
  } else if (stage === 'difference') {
    if (!other?.pair) return null;
    matrix = { ...compared({ result, other, compare }, head).difference };
  } else {
    matrix.at = numbersOf(result, head, stage);
    if (!matrix.at) return null;
    // Dot products exist for every pair, the mask comes after them.
    matrix.hidden = stage === 'dots' ? () => false : hiddenOf(result, head);
    if (result.large) ready = heldMatrix(result, head, stage);
  }
  if (upTo < n) {
    const { hidden } = matrix;
    matrix.hidden = (i, j) => i > upTo || hidden(i, j);
  }
  return withScale(matrix, { signed, transfer, domain, palette, ready });
}

/** A matrix with its colour scale; `ready`: what the worker found out about a large one, so that nobody walks over it again. */
function withScale(matrix, { signed, transfer, domain, palette, ready = null }) {
  const whole = domain === 'unit' && !signed;
  const { high, rowHighs } = whole ? { high: 1 } : ready ? { rowHighs: ready.rowHighs, high: ready.rowHighs.reduce((top, x) => Math.max(top, x), 0) } : extents({ ...matrix, signed });
  const scale = makeScale({ transfer, highs: domain === 'row' ? rowHighs : high, signed, palette });
  const large = matrix.rows * matrix.cols > 1 << 18;
  return { ...matrix, scale, rowHighs: ready?.rowHighs, pool: large ? pyramid(matrix, ready?.pooled) : undefined };
}

/**
 * What two settings have in common: of the chosen head, or of the average over all heads, where that was asked for or one
 * of them has no such head. { means, missing, lengths: whether the sizes differ, words: whether the tokens do, first,
 * second, difference: { rows, cols, at, hidden } }.
 */
export function compared({ result, other, compare }, head) {
  const { pair } = other;
  const missing = head >= pair.heads;
  const means = (compare.over === 'mean' || missing) && pair.means !== null;
  const whole = (answer, mean) => {
    const own = Math.min(head, answer.heads - 1);
    const { n: rows, m: cols } = answer;
    return means ? { rows, cols, at: (i, j) => mean.data[i * cols + j], hidden: hiddenOf(answer, 0) } : { rows, cols, at: weightsOf(answer, own), hidden: hiddenOf(answer, own) };
  };
  const first = whole(result, pair.means?.first);
  const second = whole(other, pair.means?.second);
  const values = means ? pair.means.difference.data : pair.difference.data;
  const base = means ? 0 : Math.min(head, pair.heads - 1) * pair.n * pair.m;
  return {
    means, missing, first, second,
    lengths: result.n !== other.n || result.m !== other.m,
    words: result.tokens.slice(0, pair.n).some((token, i) => token !== other.tokens[i]),
    difference: {
      rows: pair.n, cols: pair.m, at: (i, j) => values[base + i * pair.m + j],
      hidden: (i, j) => first.hidden(i, j) && second.hidden(i, j),
    },
  };
}

/** The two panes and their difference, with colour scales. */
export function panesOf(state, head) {
  const { first, second, difference, ...facts } = compared(state, head);
  return {
    ...facts,
    first: withScale(first, { ...state, signed: false }), second: withScale(second, { ...state, signed: false }),
    difference: withScale(difference, { ...state, domain: 'matrix', signed: true }),
  };
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
function pyramid(matrix, pooled = []) {
  const levels = [{ ...matrix, step: 1 }, ...pooled.map(({ data, rows, cols }, at) => level(data, rows, cols, 2 << at))];
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
  const hidden = hiddenOf(result, head)(row, col);
  return {
    query: result.tokens[row], row, key: result.keyTokens[col], col, hidden,
    weight: weightsOf(result, head)?.(row, col), score: numbersOf(result, head, 'scores')?.(row, col),
  };
}
