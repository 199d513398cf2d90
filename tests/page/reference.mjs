// What the hand-built heads must give, in float64, from what their names say and not from X and W: a match scores
// `gain`, anything else 0. Shares no code with the page or the engine.

/** Scores of a head before the mask, [n][n]; scaled: a match is `gain`. */
export function headScores(kind, tokens, gain) {
  const same = (a, b) => tokens[a]?.toLowerCase() === tokens[b]?.toLowerCase();
  const rules = {
    previous: (i, j) => j === i - 1,
    same: (i, j) => same(i, j),
    followed: (i, j) => j > 0 && same(j - 1, i),
    first: (i, j) => j === 0,
    next: (i, j) => j === i + 1,
    itself: (i, j) => j === i,
    even: () => false,
  };
  return tokens.map((_, i) => tokens.map((__, j) => (rules[kind](i, j) ? gain : 0)));
}

/** softmax of each row over the visible keys; masked weights are 0. */
export function softmaxRows(scores, visible = () => true) {
  return scores.map((row, i) => {
    const seen = row.map((score, j) => (visible(i, j) ? score : -Infinity));
    const top = Math.max(...seen);
    if (top === -Infinity) return row.map(() => 0);
    const powers = seen.map((score) => Math.exp(score - top));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((power) => power / sum);
  });
}

export const causal = (i, j) => j <= i;

export const DEFAULT_TOKENS = 'The cat sat on the mat because the cat was tired .'.split(' ');

export function matrixProduct(a, b) {
  return a.map((row) => b[0].map((_, f) => row.reduce((sum, x, j) => sum + x * b[j][f], 0)));
}
