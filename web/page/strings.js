// Every English word on the page. Functions where a sentence has numbers or tokens in it.

import { format, percent } from './scales.js';

const plural = (count, one, many) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

export const t = {
  title: 'Spotlight',
  strap: 'attention, computed exactly, in your browser',
  heading: 'Where does each word look?',
  lede: 'To understand a word, a language model lets it look at the other words and take something from them. That is attention. Choose a word: the light falls where it looks.',
  textLabel: 'Your sentence',
  textHint: 'Type anything. Everything is computed again at each keystroke.',
  emptyText: 'Type at least one word. Until then the last sentence stays.',
  droppedTokens: (kept, dropped) => `The first ${kept} words and marks are used; ${plural(dropped, 'more is', 'more are')} left out. Longer sequences can be loaded as files.`,
  sentenceLabel: 'The word that looks (query)',
  tokenName: (token, index) => `${token}, word ${index + 1}`,

  captionLooks: 'looks at',
  captionNothingRest: 'sees nothing: every key is hidden from it.',
  and: 'and',
  captionEven: (count) => `${plural(count, 'word', 'words')}, at none of them with more than 5 %`,

  headsTitle: 'Heads',
  headsLede: 'Each head looks for something else.',
  headName: (number) => `Head ${number}`,
  kinds: {
    previous: { name: 'Previous word', what: 'looks at the word just before' },
    same: { name: 'Same word', what: 'looks wherever its own word stands' },
    followed: { name: 'What came next', what: 'looks at what followed its word last time' },
    first: { name: 'First word', what: 'always looks at the start' },
    next: { name: 'Next word', what: 'looks at the word just after' },
    itself: { name: 'Itself', what: 'looks at its own place' },
    even: { name: 'Everything alike', what: 'has no preference: a plain average' },
    random: { name: 'Random', what: 'random numbers, as before any training' },
    data: { name: 'From the file', what: '' },
  },
  patterns: {
    previous: 'previous', itself: 'itself', next: 'next', first: 'first', same: 'same word', followed: 'what followed',
  },
  headStats: (stat) => `${t.patterns[stat.pattern] ?? 'mixed'} ${percent(stat.share)} · ${format(stat.entropy, 2)} bits`,
  headStatsLong: (stat) => `On average ${percent(stat.share)} goes to: ${t.patterns[stat.pattern] ?? 'mixed'}. Entropy ${format(stat.entropy, 2)} bits: 0 is one word only, more is spread wider.`,

  settingsTitle: 'Settings',
  heads: 'Heads',
  headDim: 'Head size d',
  gain: 'Gain',
  gainHint: 'how strongly a match scores',
  temperature: 'Temperature',
  temperatureHint: 'above 1 spreads, below 1 sharpens',
  maskLegend: 'Who may look where',
  masks: {
    causal: { name: 'like GPT', what: 'only backwards (causal mask)' },
    none: { name: 'like BERT', what: 'everywhere (no mask)' },
  },
  scale: 'Divide scores by √d',
  reset: 'Reset',

  stages: {
    dots: { name: 'Scores', what: 'query · key: how well they match. Any number.' },
    scores: { name: 'Scaled and masked', what: 'divided by √d, hidden keys removed: what softmax sees.' },
    weights: { name: 'Weights', what: 'softmax turns each row into shares that sum to 1.' },
  },
  stageTabs: 'Step shown',
  howToRead: ['Each ', { query: 'row' }, ' is a word that looks (query), each ', { key: 'column' }, ' a word looked at (key). Brighter means more. Each row sums to 1.'],
  howToReadScores: ['Each ', { query: 'row' }, ' is a word that looks (query), each ', { key: 'column' }, ' a word looked at (key). Red is a match, blue the opposite, white neither.'],
  corner: { row: 'looks ↓', col: 'at →' },
  matrixLabel: (stage, head) => `${stage}, ${head}: rows are queries, columns are keys`,
  cellName: ({ query, row, key, col, weight, score, hidden }) => hidden
    ? `query ${query} ${row + 1}, key ${key} ${col + 1}: hidden by the mask`
    : `query ${query} ${row + 1}, key ${key} ${col + 1}: weight ${format(weight)}, score ${format(score, 2)}`,
  readout: { query: 'query', key: 'key', weight: 'weight', score: 'score', hidden: 'hidden by the mask' },
  masked: 'hidden',
  colorBar: 'Colour scale',
  rowLargest: 'row’s largest',
  zoom: 'Zoom',
  zoomIn: 'Zoom in',
  zoomOut: 'Zoom out',
  zoomFit: 'Fit',

  engineReady: ({ variant, threads }) => `Engine: ${variant}, ${plural(threads, 'thread', 'threads')}`,
  engineFailed: (message) => `The engine could not start${message ? `: ${message}` : '; its files could not be loaded'}. Reload the page, or try a newer browser.`,
  engineLoading: 'The engine is loading …',
  timing: ({ milliseconds, heads, n, m, variant, threads }) =>
    `${plural(heads, 'head', 'heads')} × ${n} × ${m} weights in ${duration(milliseconds)} · ${variant}, ${plural(threads, 'thread', 'threads')}`,
  computeFailed: (message) => `This could not be computed: ${message} The last good picture stays.`,

  theme: 'Theme',
  themes: { auto: 'Auto', light: 'Light', dark: 'Dark' },
  skip: 'Skip to the matrix',
};

/** Timers in browsers are coarse: below their step only the bound is known. */
export function duration(milliseconds) {
  if (milliseconds < 0.1) return 'under 0.1 ms';
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 10000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
