// Masks that other projects state in words of their own, as the module's options or as mask tensors.

import { broadcastTo, generate, isBoolean } from './tensors.mjs';

/** A boolean mask (nonzero = may attend) as one to be added: 0, and `hidden` where it hides. */
export const additive = (mask, Float, hidden = -Infinity) =>
  isBoolean(mask) ? { data: Float.from(mask.data, (seen) => (seen ? 0 : hidden)), shape: mask.shape } : mask;

/** `mask`, or none, spread over `shape`, with the places hidden of which `hides(b, i, j)` is true. */
export function hide(mask, shape, hides) {
  const whole = mask && broadcastTo(mask, shape);
  const [Store, shown, hidden] = whole && !isBoolean(whole) ? [whole.data.constructor, 0, -Infinity] : [Uint8Array, 1, 0];
  return generate(Store, shape, ([b, , i, j], at) => (hides(b, i, j) ? hidden : whole ? whole.data[at] : shown));
}

/**
 * The options of attn.sdpa for: row i of batch element b stands at key i + offsets[b]; with `causal` it sees no key
 * right of that; `left` and `right` (negative: no limit) say how far it sees; keys from lengths[b] on do not exist.
 * The module names two kinds of offset (0, and "the last row stands at the last key"). Where neither fits, or where
 * `asMask` is true, the same limits come as a mask tensor.
 *
 *   shape [batch, heads, seqLenQ, seqLenKv]    mask  boolean or additive, broadcast from the right, or undefined
 */
export function limits({ shape, mask, offsets, lengths, causal = false, left = -1, right = -1, asMask = false }) {
  const [batch, , seqLenQ, seqLenKv] = shape;
  const ends = lengths ?? new Array(batch).fill(seqLenKv);
  const placed = causal || left >= 0 || right >= 0;
  const causalAlign =
    !placed || offsets.every((offset) => offset === 0) ? 'top-left'
    : offsets.every((offset, b) => offset === ends[b] - seqLenQ) ? 'bottom-right'
    : null;
  if (causalAlign && !asMask) {
    return {
      attnMask: mask,
      isCausal: causal,
      causalAlign,
      window: left >= 0 || right >= 0 ? { left: left >= 0 ? left : null, right: right >= 0 ? right : null } : null,
      kvLengths: lengths,
    };
  }
  const hides = (b, i, j) => {
    const place = i + offsets[b];
    return j >= ends[b] || (causal && j > place) || (left >= 0 && j < place - left) || (right >= 0 && j > place + right);
  };
  return { attnMask: hide(mask, shape, hides) };
}

/** The mask of `limits` as one to be added, with a first column before it: `column(head)`. */
export function withFirstColumn(mask, Float, column) {
  const [batch, heads, seqLenQ, seqLenKv] = mask.shape;
  const rest = additive(mask, Float);
  return generate(Float, [batch, heads, seqLenQ, seqLenKv + 1], ([b, h, i, j]) =>
    j === 0 ? column(h) : rest.data[((b * heads + h) * seqLenQ + i) * seqLenKv + j - 1]);
}
