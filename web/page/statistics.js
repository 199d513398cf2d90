// What one head does on average. The numbers are the engine's; here it is only chosen which weights belong to which
// pattern. Runs in the worker and in Node's tests.

import { dot, sumOf } from './arithmetic.js';

/** For each token, where its word stands. */
function placesOf(ids) {
  const places = new Map();
  ids.forEach((id, at) => (places.get(id) ?? places.set(id, []).get(id)).push(at));
  return ids.map((id) => places.get(id));
}

/** Shares that differ by less are taken for the same. */
export const ALIKE = 0.05;

export class Tally {
  #attn;
  #m;
  #square;
  #places;
  #blocks = [];
  #shares = { previous: [], itself: [], next: [], first: [], same: [], followed: [] };
  #rows = { previous: 0, itself: 0, next: 0, first: 0, same: 0, followed: 0 };

  /** ids: which tokens are the same word, or null. */
  constructor(attn, { n, m, ids }) {
    this.#attn = attn;
    this.#m = m;
    // Query i stands at key i only where they are the same words.
    this.#square = n === m;
    this.#places = ids && placesOf(ids);
  }

  /**
   * Weights of rows [from, to), [to - from, m]. visible(i, j): whether a key is not masked; seen: how many of these rows
   * see a key at all; columns: the columns [first, last) outside of which all are masked.
   */
  add(weights, from, to, { visible, seen = to - from, columns: [first, last] = [0, this.#m] }) {
    const m = this.#m;
    this.#measure(weights, to - from, seen, first, last);
    if (!this.#square) return;
    for (let i = from; i < to; i += 1) {
      const take = (name, keys) => {
        if (keys.length === 0) return;
        this.#rows[name] += 1;
        for (const j of keys) this.#shares[name].push(weights[(i - from) * m + j]);
      };
      const only = (j) => (j >= 0 && j < m && visible(i, j) ? [j] : []);
      take('previous', only(i - 1));
      take('itself', only(i));
      take('next', only(i + 1));
      if (i > 0) take('first', only(0));
      const places = this.#places?.[i];
      if (!places) continue;
      // "The same word" means its other places and this one together.
      const same = places.filter((j) => j < m && visible(i, j));
      if (same.some((j) => j !== i)) take('same', same);
      take('followed', places.map((j) => j + 1).filter((j) => j < m && visible(i, j)));
    }
  }

  #measure(weights, rows, seen, first, last) {
    if (last <= first || seen === 0) return;
    let data = weights;
    // Masked columns change neither the entropy nor the largest weight, and are half of a causal matrix.
    if (last - first < this.#m) {
      data = new Float32Array(rows * (last - first));
      for (let i = 0; i < rows; i += 1) data.set(weights.subarray(i * this.#m + first, i * this.#m + last), i * (last - first));
    }
    const { entropy, max } = this.#attn.headStatistics({ data, shape: [rows, last - first] });
    this.#blocks.push({ entropy: entropy.data[0], largest: max.data[0], seen });
  }

  /**
   * Means over the rows: { entropy in bits, largest weight, shares: how much each place or word gets in the rows where it
   * can be seen, pattern: the one that gets the most, share: how much that is }.
   */
  finish() {
    const seen = sumOf(this.#attn, this.#blocks.map((block) => block.seen));
    const parts = this.#blocks.map((block) => block.seen / seen);
    const mean = (name) => dot(this.#attn, this.#blocks.map((block) => block[name]), parts);
    const shares = {};
    let pattern = null;
    for (const [name, weights] of Object.entries(this.#shares)) {
      if (this.#rows[name] === 0) continue;
      shares[name] = dot(this.#attn, weights, new Float64Array(weights.length).fill(1 / this.#rows[name]));
      // The next word is also what followed its word, and itself the same word: the plain name counts where it says as much.
      const ahead = name === 'same' || name === 'followed' ? ALIKE : 0;
      if (shares[name] > (pattern ? shares[pattern] + ahead : 0)) pattern = name;
    }
    return { entropy: mean('entropy'), largest: mean('largest'), pattern, share: pattern ? shares[pattern] : 0, shares };
  }
}
