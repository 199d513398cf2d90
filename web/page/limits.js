// Sizes that the page promises, in one place.

/** Tokens of the long preset, and the longest sequence of a file. */
export const DEFAULT_LONG = 4096;
export const MAX_SEQUENCE = 4096;
/** Cells of a table that can be typed into, a side. */
export const MAX_TABLE = 64;
/** Side of a pooled thumbnail of a large head. */
export const THUMB = 128;
/** The additive score builds 2 d matrices; above this many weights (128 words) it would not be done between two frames. */
export const MAX_ADDITIVE = 1 << 14;
/** Bytes of one opened file. */
export const MAX_FILE_BYTES = 2 ** 30;
