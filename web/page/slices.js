// One head's matrix at one stage, cut out of an answer of the worker, with its colour scale. Pure.

import { extents, format, makeScale } from './scales.js';

/** Stages whose numbers have a sign and are drawn in the diverging map. */
export const SIGNED = new Set(['dots', 'scores', 'gradient', 'difference']);

/** { rows, cols, at, hidden, scale, high } of head `head` at `stage`. */
export function slice(result, head, stage, { transfer, domain, palette }) {
  const { n, m } = result;
  const base = head * n * m;
  const values = result[stage].data;
  const seen = result.scores.data;
  const at = (i, j) => values[base + i * m + j];
  // Dot products exist for every pair; the mask comes after them.
  const hidden = stage === 'dots' ? () => false : (i, j) => seen[base + i * m + j] === -Infinity;
  const signed = SIGNED.has(stage);
  const matrix = { rows: n, cols: m, at, hidden };
  const { high, rowHighs } = extents({ ...matrix, signed });
  const highs = domain === 'row' ? rowHighs : domain === 'matrix' || signed ? high : 1;
  return { ...matrix, high, scale: makeScale({ transfer, highs, signed, palette }) };
}

/** The numbers printed in cells: short, and nothing where there is nothing to say. */
export const cellNumbers = {
  weights: (value) => (value < 0.005 ? '' : value >= 0.995 ? '1' : format(value, 2).slice(1)),
  signed: (value) => {
    if (Math.abs(value) < 0.05) return '0';
    return format(value, Math.abs(value) < 10 ? 1 : 0);
  },
};
