// Every English word on the page. Functions where a sentence has numbers or tokens in it.

import { format, percent, scientific } from './scales.js';
import { placed } from './tokens.js';
import { words as trained } from './trained/strings.js';

const plural = (count, one, many) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

export const t = {
  title: 'Spotlight',
  strap: 'attention, computed exactly, in your browser',
  textLabel: 'Your sentence',
  textHint: 'Type anything. Everything is computed again at each keystroke.',
  emptyText: 'Type at least one word. Until then the last sentence stays.',
  droppedTokens: (kept, dropped) => `The first ${kept} words and marks are used; ${plural(dropped, 'more is', 'more are')} left out. Longer sequences can be loaded as files.`,
  sentenceLabel: { row: 'The word that looks (query)', column: 'The word that is looked at (key)' },
  tokenName: (token, index) => `${token}, word ${index + 1}`,

  captionLooks: 'looks at',
  captionLookedAt: 'is looked at by',
  captionNobody: 'is looked at by nobody with more than 5 %.',
  captionNothingRest: 'sees nothing: every key is hidden from it.',
  and: 'and',
  captionEven: (count) => `${plural(count, 'word', 'words')}, at none of them with more than 5 %`,

  headsTitle: 'Heads',
  headsLede: 'Each head looks for something else.',
  headName: (number) => `Head ${number}`,
  kinds: {
    previous: { name: 'Previous word', what: 'looks at the word just before', otherwise: 'would look at the word just before' },
    same: { name: 'Same word', what: 'looks wherever its own word stands', otherwise: 'would look wherever its own word stands' },
    followed: { name: 'What came next', what: 'looks at what followed its word last time', otherwise: 'would look at what followed its word' },
    first: { name: 'First word', what: 'always looks at the start', otherwise: 'would look at the start' },
    next: { name: 'Next word', what: 'looks at the word just after', otherwise: 'would look at the word just after' },
    itself: { name: 'Itself', what: 'looks at its own place', otherwise: 'would look at its own place' },
    even: { name: 'Everything alike', what: 'has no preference: a plain average' },
    random: { name: 'Random', what: 'random numbers, as before any training' },
    data: { name: 'From the file', what: '' },
    rollout: { name: 'Rollout', what: 'how much of each input reaches each output, through all layers: heads averaged, half of each layer going straight through' },
    textbook: { name: 'The example', what: 'two keys to choose from' },
    ...trained.kinds,
  },
  patterns: {
    previous: 'previous', itself: 'itself', next: 'next', first: 'first', same: 'same word', followed: 'what followed',
  },
  headStats: ({ pattern, share, largest, entropy }) => `${share >= 0.1 ? `${t.patterns[pattern]} ${percent(share)}` : `largest ${percent(largest)}`} · ${format(entropy, 2)} bits`,
  headStatsLong: ({ pattern, share, largest, entropy }) =>
    `On average over the rows: ${pattern ? `${percent(share)} goes to: ${t.patterns[pattern]}. ` : ''}The largest weight is ${percent(largest)}. Entropy ${format(entropy, 2)} bits: 0 is one word only, more is spread wider.`,

  settingsTitle: 'Settings',
  layer: 'Layer (or batch element)',
  layerName: (number, of) => `${number} of ${of}`,
  rollout: 'all of them: attention rollout',
  heads: 'Heads',
  headDim: 'Head size d',
  gain: 'Gain',
  gainHint: 'how strongly a match scores',
  temperature: 'Temperature',
  temperatureHint: 'high spreads, low sharpens',
  maskLegend: 'Who may look where',
  masks: {
    causal: { name: 'like GPT', what: 'only backwards (causal mask)' },
    none: { name: 'like BERT', what: 'everywhere (no mask)' },
    window: { name: 'window', what: 'only near by' },
    length: { name: 'length', what: 'only the first keys' },
    drawn: { name: 'by hand', what: 'draw it yourself' },
  },
  masksOff: {
    decode: 'A word that is being written can only look back.',
    drawn: (most) => `A mask is drawn by hand for up to ${most} words: beyond that a cell is too small to hit.`,
  },
  windowLeft: 'words to the left',
  windowRight: 'words to the right',
  maskLength: 'visible keys',
  drawnHint: 'Click a cell of the large matrix (or press Space on it) to hide or show it.',
  score: 'Score',
  scores: { dot: 'dot product', multiplicative: 'multiplicative q·Wk', additive: 'additive u·tanh(q+k)' },
  seed: 'Seed',
  scale: 'Divide scores by √d',
  reset: 'Reset',

  stages: {
    dots: { name: 'Scores', short: 'score', what: 'Query · key: how well they match. Any number.' },
    scores: { name: 'Scaled, masked', short: 'score', what: 'Divided by √d, hidden keys removed: what softmax sees.' },
    weights: { name: 'Weights', short: 'weight', what: 'Softmax turned each row of scores into shares that sum to 1.' },
    gradient: {
      name: 'Gradient', short: 'change', what: 'For the chosen query: if the score of the row’s key grows a little, how much does the weight of the column’s key change? a(1 − a) on the diagonal, −a·a′ elsewhere. Where all is white the row is saturated: learning stands still.',
      read: ['Each ', { query: 'row' }, ' is a score that is pushed, each ', { key: 'column' }, ' a weight that answers. Red grows, blue shrinks.'],
    },
    difference: {
      name: 'Difference', short: 'difference', what: 'Weights of the first setting minus those of the second.',
      read: ['Each ', { query: 'row' }, ' is a query, each ', { key: 'column' }, ' a key. Red: the first setting looks more; blue: the second.'],
    },
  },
  stagesOff: 'Ready-made weights come without the queries and keys they were made of: there are no scores or gradients to show.',
  stageTabs: 'Step shown',
  howToRead: ['Each ', { query: 'row' }, ' is a word that looks (query), each ', { key: 'column' }, ' a word looked at (key). Brighter means more. Each row sums to 1.'],
  howToReadOthers: (least, most) => ['Each ', { query: 'row' }, ' is a word that looks (query), each ', { key: 'column' }, ` a word looked at (key). Brighter means more. The rows of this file sum to ${least} to ${most}, not to 1.`],
  howToReadScores: ['Each ', { query: 'row' }, ' is a word that looks (query), each ', { key: 'column' }, ' a word looked at (key). Red is a match, blue the opposite, white neither.'],
  corner: { row: 'looks ↓', col: 'at →' },
  cornerGradient: { row: 'pushed ↓', col: 'answers →' },
  matrixLabel: (stage, head) => `${stage}, ${head}: rows are queries, columns are keys`,
  cellName: ({ query, row, key, col, weight, score, hidden }) => hidden
    ? `query ${placed(query, row)}, key ${placed(key, col)}: hidden by the mask`
    : `query ${placed(query, row)}, key ${placed(key, col)}: weight ${format(weight)}${score === undefined ? '' : `, score ${format(score, 2)}`}`,
  cellNameOther: ({ query, row, key, col, value, stage }) => `${stage}: ${placed(query, row)}, ${placed(key, col)}: ${format(value)}`,
  waiting: 'Being computed …',
  colours: 'Colours',
  transfer: 'Scale',
  transfers: { linear: 'linear', sqrt: 'square root', log: 'logarithmic' },
  domain: 'Range',
  domains: { unit: '0 to 1', matrix: 'shared, to the largest', row: 'each row by itself' },
  palette: 'Map',
  palettes: { cividis: 'cividis', viridis: 'viridis', grey: 'grey' },
  readout: { outside: 'The other setting has no such cell.', query: 'query', key: 'key', weight: 'weight', score: 'score', hidden: 'hidden by the mask' },
  masked: 'hidden',
  colorBar: 'Colour scale',
  brighter: 'Brighten each row',
  rowLargest: 'row’s largest',
  zoom: 'Zoom',
  zoomIn: 'Zoom in',
  zoomOut: 'Zoom out',
  zoomFit: 'Fit',

  presetsLabel: 'Examples',
  presets: {
    heads: {
      name: 'Four heads', title: 'Where does each word look?',
      text: 'To understand a word, a language model lets it look at the other words and take something from them. That is attention. Choose a word: the light falls where it looks.',
    },
    gptbert: {
      name: 'GPT or BERT', title: 'GPT looks back, BERT looks everywhere',
      text: 'The same words, the same heads, and one difference: the causal mask. With it a word sees only what came before, so that a model can write the next one. Without it a word sees both sides.',
    },
    sqrtd: {
      name: 'Why √d', title: 'Why divide by √d?',
      text: 'A dot product adds up d products, so it grows with d: its variance is about d. Softmax turns large scores into all or nothing, and then learning stands still. Dividing by √d keeps the variance at 1, whatever d is. Everything here is random on purpose, and computed as you look.',
    },
    textbook: {
      name: 'Textbook', title: 'One query, two keys, by hand',
      text: 'The smallest example there is, in double precision to the last digit. Change the numbers in the tables at the end of the page and everything follows.',
    },
    trained: {
      name: 'A model that learned', title: 'Heads that really learned something',
      text: 'A small transformer, trained on simple sentences by the kernels that compute this page. Nobody told its heads where to look. Silence one, and see what the model no longer knows.',
    },
    random: {
      name: 'Random', title: 'Before any training: random heads',
      text: 'The projections are random numbers from a seed. Nobody looks anywhere in particular: this is what attention is like on its first day.',
    },
    decode: {
      name: 'Decoding', title: 'Writing one word at a time',
      text: 'A model that writes computes one new row for each new word. Keys and values of the earlier words are kept in a cache, so nothing is computed twice.',
    },
    long: {
      name: '4,096 words', title: 'Sixteen million weights a head',
      text: 'An invented language: a passage of 512 words, eight times over, every tenth word changed. Head 3 finds the earlier copies: they are the stripes. Zoom with + and −, with Ctrl and the wheel, or with two fingers; drag to move. Where several cells share a pixel, the largest is shown.',
    },
    checkpoint: { name: 'Your model', title: 'Your model, head by head', text: 'Every layer and head of the checkpoint that you opened, computed here. Type, or let it write. Nothing has left this machine.' },
    file: { name: 'Your file', title: 'Attention of your own tensors', text: 'Computed here from the file that you opened. Nothing has left this machine.' },
  },
  lessonStart: 'Lesson in seven steps',
  sqrtd: {
    plain: 'not divided', scaled: 'divided by √d',
    largest: 'Largest weight (1 = all or nothing)', entropy: (keys, most) => `Entropy in bits (${keys} keys, at most ${format(most, 2)})`, variance: 'Variance of the scores',
    short: { largest: 'largest weight', entropy: 'entropy', variance: 'variance' },
    axis: 'head size d', table: 'The numbers as a table',
    caption: (trials, keys) => `Means of ${trials} random queries against ${keys} random keys`,
  },
  compare: {
    first: 'First setting', second: 'Second setting', difference: 'First minus second', settings: 'The second setting',
    open: 'Compare with another setting', close: 'Close the comparison',
    over: 'Compared', overs: { head: 'the chosen head', mean: 'the average of all heads' },
    text: 'Its sentence', sameText: 'the same sentence',
    large: 'Two settings are compared for pictures of up to 4 million weights in all heads together; this one is larger.',
    titles: (state, { first, second }) => ({
      first: `First: ${settingWords(first, second)}`,
      second: state.compare.fresh ? 'Second: without your changes' : `Second: ${settingWords(second, first)}`,
      difference: t.compare.difference,
    }),
    same: 'They do not differ anywhere.',
    facts({ means, missing, lengths, words, first, second, difference }, { result, other, head }) {
      const which = missing
        ? `Only one of the two has a head ${head + 1}: the averages over all heads are compared (${result.heads} and ${other.heads}).`
        : means ? `The averages over all heads are compared: ${result.heads} in the first setting, ${other.heads} in the second.`
          : `${result.perLayer ? trained.headName(Math.floor(head / result.perLayer) + 1, (head % result.perLayer) + 1) : `Head ${head + 1}`} of both is compared${result.heads === other.heads ? '' : `; the first setting has ${plural(result.heads, 'head', 'heads')}, the second ${other.heads}`}.`;
      const size = lengths ? ` The sentences have ${first.rows} and ${second.rows} words: the difference is over the first ${difference.rows} of each, place by place.` : '';
      return which + size + (words ? ' The words differ: each place is compared with the same place of the other sentence.' : '');
    },
  },
  decode: {
    play: 'Play', pause: 'Pause', next: 'Next word', back: 'Back', restart: 'From the start',
    words: (token, step, n) => `Word ${step + 1} of ${n}: “${token}” arrives. One new row; the ${plural(step, 'row', 'rows')} above stay as they were.`,
    row: 'work for this word', cached: 'so far, with the cache', again: 'so far, if all were computed again', bytes: 'the cache holds',
    gap: 'largest difference from computing everything at once', saved: 'work saved',
    products: (count) => `${count.toLocaleString('en')} multiply-adds`, byteCount: (bytes) => `${bytes.toLocaleString('en')} bytes`,
  },
  textbook: {
    given: 'Given', scores: '1 · Scores', weights: '2 · Weights', output: '3 · Output',
  },
  lesson: {
    place: (step, of) => `Step ${step} of ${of}`, next: 'Next', back: 'Back', leave: 'Leave the lesson', tryIt: 'Try:', if: 'if',
    steps: [
      {
        name: 'A question and many labels',
        text: ['Think of a stage with a spotlight. Every word asks a question: its query. Every word also wears a label that says what it has to offer: its key.',
          'Both are lists of numbers, made from the word by multiplication with a matrix. In a real model the matrices are learned; here they are built by hand, so that each head asks something you can name.'],
        tries: ['ask as “cat” (2)', 'ask as “mat” (6)'],
      },
      {
        name: 'Compare',
        text: ['To see how well a label answers a question, multiply the two lists number by number and add up: the dot product. A large score is a good match.',
          'Row “cat”: this head asks “who is the same word as I?”, and the two cats score 16, all others 0. The terms are listed further down.'],
        tries: ['a match: “cat” and “cat”', 'no match: “cat” and “on”'],
      },
      {
        name: 'Scale',
        text: ['Longer lists give larger sums. Dividing by √d, the square root of their length, keeps scores in a range where softmax still has shades between all and nothing.',
          'Without it, 16 against 0 is all or nothing. With it, 4 against 0 leaves a little light for the others.'],
        tries: ['without dividing', 'dividing by √d'],
      },
      {
        name: 'Mask',
        text: ['A model that writes must not peek at words that are not written yet. So their scores are set to minus infinity: the hatched cells.',
          'With the mask a word sees itself and what came before. Without it, everything.'],
        tries: ['no mask', 'causal mask'],
      },
      {
        name: 'Softmax',
        text: ['Scores become shares of attention: take e to the power of each score, so that all are positive, and divide by the sum of the row. Now every row sums to 1: one spotlight, spread over the words.',
          'The temperature makes the light wide or narrow.'],
        tries: ['hot: wide', 'cold: narrow', 'temperature 1'],
      },
      {
        name: 'Sum',
        text: ['Last, each word takes what it looks at: the values of the other words, times their shares, added up. That is the output.',
          'This head asks “what came after my word last time?”. So “cat” (9) carries away “sat”: below, under “The output, read as words”.'],
        tries: ['what came next', 'same word'],
      },
      {
        name: 'Heads',
        text: ['One question is not enough, so a model asks several at once, each in a head of its own with its own matrices. The outputs are laid side by side and mixed by one last matrix.',
          'Here are four heads. Look at each, then type your own sentence: they keep asking.'],
        tries: ['previous word', 'same word', 'what came next', 'first word'],
      },
    ],
  },
  tables: {
    title: 'The numbers', lede: 'Change any of them: choose a cell, type, Enter. Everything is computed again.', ledeFixed: 'What the model computed, to be read.',
    label: 'Table', x: 'X: inputs', wq: 'W_Q: query projection', wk: 'W_K: key projection', wv: 'W_V: value projection', q: 'Q: queries', k: 'K: keys', v: 'V: values',
    general: 'W: of the multiplicative score', o: 'O: outputs (computed)', undo: 'Undo all changes', moved: 'Show what moved', edited: (count) => `${plural(count, 'number', 'numbers')} changed`,
    notNumber: (text) => `“${text.slice(0, 40)}” is not a number; the last one stays.`, part: ({ row, col, rows, cols, of }) => `Rows ${row + 1} – ${row + rows} of ${of[0].toLocaleString('en')}, columns ${col + 1} – ${col + cols} of ${of[1].toLocaleString('en')}.`,
    window: 'Part shown', up: 'Rows before', down: 'Rows after', left: 'Columns before', right: 'Columns after', rowsFrom: 'from row', colsFrom: 'from column',
    cell: (row, col, value) => `${row}, ${col}: ${value}`, row: 'row',
    keys: 'Arrows move, Enter or a digit edits, Esc gives up, Ctrl+V pastes a block.',
    fixed: 'These are the numbers that the model computed, after its rotary embedding: they are to be read, not changed. Arrows move.',
  },
  files: {
    open: 'Open your tensors', title: 'Open your own tensors', choose: 'Choose files',
    intro: 'Drop .npy, .npz, .safetensors or .json here or anywhere on the page: query, key and value as the model computed them, or x with its projections, or ready-made weights. Fused kernels return no weights; here they come back, exactly. Or a whole model that llama2.c runs: its checkpoint and its tokenizer, two .bin files. Nothing leaves this machine.',
    python: 'import numpy as np\nnp.savez("qkv.npz", q=q.float().cpu().numpy(), k=k.float().cpu().numpy(), v=v.float().cpu().numpy())',
    pythonLabel: 'In PyTorch', found: 'Found in', show: 'Show', cancel: 'Cancel', name: 'name', shape: 'shape', type: 'type',
    mode: 'What they are', modes: { qkv: 'query, key, value', x: 'x and projections', weights: 'ready-made weights' },
    parts: { q: 'query', k: 'key', v: 'value', o: 'output to check (optional)', weights: 'weights', x: 'x', inProj: 'in_proj_weight (or the three below)', inBias: 'in_proj_bias (optional)', wq: 'W_Q', wk: 'W_K', wv: 'W_V' },
    noTensor: '(none)', order: 'Order of axes', orders: { 'heads-first': 'heads, tokens, size', 'tokens-first': 'tokens, heads, size' },
    reads: ({ name, tokens, heads, d }) => `${name} is read as ${plural(tokens, 'token', 'tokens')} in ${plural(heads, 'head', 'heads')} of size ${d}.`, heads: 'Heads (if not an axis)', index: 'Batch or layer, from 0',
    failed: (message) => `${message}`, agreement: ({ largest, of }) => `Your output agrees to ${scientific(largest)} at the worst number; its largest is ${format(of, 3)}.`,
    disagreement: ({ largest, of }) => `Your output does not agree: the worst number differs by ${format(largest, 4)}, where the largest is ${format(of, 3)}. Another mask or scale may have been used.`,
    tooLarge: (bytes) => `Together these files are larger than ${(bytes / 2 ** 20).toLocaleString('en')} MB, more than fits in the memory of a page. Save fewer layers or heads: array[:1].`,
    settingsRead: 'Settings restored from the file.',
  },
  save: {
    title: 'Save and share', png: 'PNG', svg: 'SVG', csv: 'CSV', npy: '.npy', json: 'JSON', link: 'Copy link', print: 'Print', size: 'PNG size',
    copied: 'The link is on the clipboard.', copyByHand: 'Copy this link:', tooLong: 'This state does not fit in a link (over 2,000 characters). Save it as JSON instead; opening that file restores it.', fileNotInLink: 'The link holds the settings, not your file.',
    tooLarge: (n) => `Over ${n.toLocaleString('en')} numbers would make a file that few programs open; take .npy.`,
  },
  asTable: 'Show as table', topOf: (count) => `The ${count} largest cells`,
  keysTitle: 'Keys',
  keys: [['arrows', 'move the cell'], ['Home, End', 'first and last key (Ctrl: corner)'], ['Page Up, Page Down', 'ten rows'], ['+ − 0', 'zoom in, out, fit'], ['[ ]', 'previous, next head'], ['1 – 5', 'scores, scaled, weights, gradient, difference'], ['M', 'causal mask on or off'], ['S', 'divide by √d or not'], ['/', 'to the sentence'], ['Esc', 'whole matrix']],
  announceResult: ({ head, name, entropy, byColumn, query, key, weight }) => `${head}, ${name}: entropy ${format(entropy, 2)} bits. ${byColumn ? `${key} is looked at most by ${query}` : `${query} looks most at ${key}`}: ${percent(weight)}.`,
  refused: (names) => (names.includes('v') ? 'This link was not made by this page, or by a newer version of it: it is not followed.' : `Parts of the link could not be understood and are left at their defaults: ${names.join(', ')}.`),
  progress: (share) => `Being computed: ${Math.round(100 * share)} %`,
  cancel: 'Cancel', cancelled: 'Cancelled.', lastStays: 'The last good picture stays.',
  additiveTooLong: (most) => `The additive score computes 2d numbers for each pair of words in each head; with these heads it is offered for up to ${most} words. Shorten the text, take fewer or smaller heads, or choose another score.`,
  manual: 'Manual',
  footer: 'Nothing you type or open leaves this machine. The weights are computed in float32 by the engine at each keystroke; the page only draws them. The “previous word” part of X stands for what an earlier layer would have written.',

  inspector: {
    mode: 'Direction',
    row: 'Row: what it looks at',
    column: 'Column: who looks at it',
    rowTitle: (query, key) => ['How much ', query, ' looks at ', key],
    columnTitle: (key) => ['Who looks at ', key],
    match: {
      dot: { name: '1 · Match', what: 'Multiply query and key number by number, and add up.' },
      multiplicative: { name: '1 · Match', what: 'Turn the key by a matrix W, multiply by the query number by number, and add up.' },
      additive: { name: '1 · Match', what: 'Mix query and key, take tanh of each of the 2d sums, weigh each by u, and add up.' },
    },
    scale: { name: '2 · Scale', what: 'Divide, so that long vectors do not shout.' },
    cool: { name: '2 · Scale', what: 'This score does not grow with d: only the temperature divides it.' },
    scaleOff: '(not divided)',
    scaleHidden: 'The mask removes this score.',
    mask: { name: '3 · Mask', what: 'May this word be seen at all?' },
    maskNone: 'There is no mask: every key is visible.',
    maskVisible: 'This key is visible: the score stays.',
    maskHidden: 'This key is hidden: its score becomes −∞.',
    softmax: { name: '4 · Softmax', what: 'Exponentials make scores positive; dividing by their sum makes shares.' },
    softmaxHidden: 'e to the power −∞ is 0: no weight.',
    shifted: 'The largest score of the row is taken from all of them first. The shares stay the same, and e to such powers can be computed.',
    sum: { name: '5 · Sum', what: 'Take that share of the value, and add up over all keys.' },
    words: { name: 'The output, read as words', what: 'How much of each word the output carries.' },
    wordsOverlap: (words, d) => `${words} different words share codes of ${d} numbers, so their codes overlap: these are likenesses, not shares.`,
    noWords: 'No word stands out: the output carries nothing that the word codes can name.',
    vectorQ: 'q', vectorK: { dot: 'k', multiplicative: 'W k', additive: 'k' }, vectorProduct: { dot: 'q × k', multiplicative: 'q × W k', additive: 'u × tanh' }, vectorV: 'v', vectorPart: (weight) => `${weight} × v`, vectorO: 'output o',
    tableLabel: 'All terms',
    tableCaption: (token, index, shown, all) => shown < all
      ? `The row of ${placed(token, index)}: the ${shown} largest of ${all.toLocaleString('en')} weights`
      : `The whole row of ${placed(token, index)}`,
    columns: (score, shift) => ['key', { dot: 'q · k', multiplicative: 'q · W k', additive: 'score e' }[score], 'scaled, masked', shift ? 'e^(s − max)' : 'e^s', 'weight', 'share'],
    sumOfRow: 'sum of the row',
    sumOfColumn: 'sum of the column',
    columnSum: (sum, n) => `Together ${plural(n, 'query gives', 'queries give')} this key ${sum}. A column need not sum to 1: some words are looked at by many, some by nobody.`,
    columnCaption: (shown, all) => (shown < all ? `The ${shown} that look at it most, of ${all.toLocaleString('en')}` : 'All queries'),
  },

  engineFailed: (message) => `The engine could not start${message ? `: ${message}` : '; its files could not be loaded'}. Reload the page, or try a newer browser.`,
  engineLoading: 'The engine is loading …',
  timing: ({ milliseconds, heads, n, m, variant, threads }) =>
    `${plural(heads, 'head', 'heads')} × ${n} × ${m} weights in ${duration(milliseconds)} · ${variant}, ${plural(threads, 'thread', 'threads')}`,
  computeFailed: (message) => `This could not be computed: ${message}${/[.?!]$/.test(message) ? '' : '.'}`,

  trained,

  theme: 'Theme',
  themes: { auto: 'Auto', light: 'Light', dark: 'Dark' },
  skip: 'Skip to the matrix',
};

/** Timers in browsers are coarse: below their step only the bound is known. */
function duration(milliseconds) {
  if (milliseconds < 0.1) return 'under 0.1 ms';
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 10000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** A setting in a few words: its mask, and what else it does not share with the other. */
function settingWords(job, other) {
  if (job.kind === 'trained' || job.kind === 'checkpoint') return trained.setting(job);
  const words = [job.mask.kind === 'window' ? `window −${job.mask.left} … +${job.mask.right}` : job.mask.kind === 'length' ? plural(job.mask.length, 'key', 'keys') : t.masks[job.mask.kind].name];
  const differs = (name) => job[name] !== other[name];
  if (differs('heads')) words.push(plural(job.heads, 'head', 'heads'));
  if (differs('headDim')) words.push(`d = ${job.headDim}`);
  if (differs('score')) words.push(t.scores[job.score]);
  if (differs('scaled')) words.push(job.scaled ? 'divided by √d' : 'not divided');
  if (differs('temperature')) words.push(`temperature ${format(job.temperature, 1)}`);
  if (differs('gain')) words.push(`gain ${format(job.gain, 2)}`);
  return words.join(', ');
}
