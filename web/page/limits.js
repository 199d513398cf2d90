// Sizes that the page promises, in one place.

/** Tokens of the long preset, and the longest sequence of a file. */
export const DEFAULT_LONG = 4096;
export const MAX_SEQUENCE = 4096;
/** Cells of a table that can be typed into, a side. */
export const MAX_TABLE = 64;
/** In place of a layer's number: attention rollout, through all layers. */
export const ROLLOUT = 'rollout';
/** Rollout multiplies matrices of this many rows and columns at most, one for each layer. */
export const MAX_ROLLOUT = 512;
/** Side of a pooled thumbnail of a large head. */
export const THUMB = 128;
/** Hidden units that the additive score may compute for one picture, twice: more would not be done in a third of a second. */
const MAX_ADDITIVE = 1 << 25;
/** The most words that the additive score is offered for: it computes 2 d numbers for each pair of words in each head. */
export function additiveWords({ heads, headDim }) {
  return Math.floor(Math.sqrt(MAX_ADDITIVE / (heads * 2 * headDim)));
}
/** Bytes of one opened file. */
export const MAX_FILE_BYTES = 2 ** 30;
