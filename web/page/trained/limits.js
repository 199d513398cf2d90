// Sizes that the page promises of models, in one place.

/** Bytes of a checkpoint's weights as float32: with the file itself and room to load, well within the memory of a page. */
export const MAX_MODEL_BYTES = 2 ** 30;
/** Numbers of queries, keys and values of all layers, and of logits, that are kept for one text. */
export const MAX_KEPT = 2 ** 24;
/** Tokens that may be written in one go. */
export const MAX_WRITTEN = 512;
/** Heads that have a button of their own to silence them; of more, the one on the stage has. */
export const MAX_BUTTONS = 64;

const MAGIC = 0x616b3432;

/** Whether a file (a DataView of its beginning) is a checkpoint of the second form, which begins with "ak42". */
export function isMarked(view) {
  return view.byteLength >= 8 && view.getUint32(0, true) === MAGIC;
}

/** What a checkpoint's weights take in memory, from its first eight bytes and its size: int8 is expanded to float32. */
export function modelBytes(view, size) {
  return isMarked(view) && view.getInt32(4, true) === 2 ? 4 * size : size;
}
