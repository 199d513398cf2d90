// Wires the page: one store, one worker, and views that read the one and are fed by the other.

import { Controls } from './controls.js';
import { h, tokenText } from './dom.js';
import { Engine } from './engine.js';
import { HeadsView } from './heads.js';
import { SentenceView } from './sentence.js';
import { percent } from './scales.js';
import { slice } from './slices.js';
import { StageView } from './stage.js';
import { computing, initialState, jobOf } from './state.js';
import { createStore } from './store.js';
import { t } from './strings.js';
import { createTheme } from './theme.js';
import { tokenize } from './tokens.js';

const store = createStore(initialState());
const theme = createTheme({ changed: () => render(store.get(), new Set(['theme'])) });
const engine = new Engine((status) => store.set({ engine: status }));

const text = h('textarea', {
  id: 'text', rows: 1, spellcheck: 'false', autocomplete: 'off', 'aria-describedby': 'text-hint text-problem',
  oninput: () => typed(text.value),
});
const textProblem = h('p', { class: 'problem', id: 'text-problem', role: 'status' });
const problem = h('p', { class: 'problem', role: 'alert' });
const caption = h('p', { class: 'caption' });
const timing = h('p', { class: 'timing' });

const sentence = new SentenceView({ choose: (query) => store.set({ query, hover: null }) });
const heads = new HeadsView({ choose: (head) => store.set({ head }), style: theme.style });
const stage = new StageView({
  set: store.set,
  style: theme.style,
  choose: ({ row, col }) => store.set({ query: row, key: col, hover: null }),
  point: (hover) => {
    const last = store.get().hover;
    if (hover?.row !== last?.row || hover?.col !== last?.col) store.set({ hover });
  },
});
const controls = new Controls({ set: store.set });

document.body.append(
  h('a', { class: 'skip', href: '#stage', onclick: (event) => { event.preventDefault(); stage.matrix.focus(); } }, t.skip),
  h('header', { class: 'top' },
    h('p', { class: 'brand' }, h('img', { src: 'page/icon.svg', alt: '', width: 26, height: 26 }), h('b', {}, t.title), h('span', {}, t.strap)),
    theme.element),
  h('main', { class: 'page' },
    h('section', { class: 'intro', 'aria-labelledby': 'heading' },
      h('h1', { id: 'heading' }, t.heading),
      h('p', { class: 'lede' }, t.lede),
      h('label', { class: 'text-label', for: 'text' }, t.textLabel),
      text,
      h('p', { class: 'hint', id: 'text-hint' }, t.textHint),
      textProblem,
      sentence.element,
      caption),
    h('section', { class: 'heads-section', 'aria-labelledby': 'heads-title' },
      h('h2', { id: 'heads-title' }, t.headsTitle, h('small', {}, t.headsLede)), heads.element),
    stage.element,
    h('section', { class: 'settings', 'aria-labelledby': 'settings-title' },
      h('h2', { id: 'settings-title' }, t.settingsTitle), controls.element, problem, timing)));
text.value = store.get().text;

function typed(value) {
  const { tokens, dropped } = tokenize(value);
  // Nothing to attend to: the last sentence stays, with the reason beside the field.
  if (tokens.length === 0) store.set({ text: value, textProblem: t.emptyText });
  else store.set({ text: value, tokens, dropped, textProblem: dropped ? t.droppedTokens(tokens.length, dropped) : null });
}

/** How many answers are awaited: data-picture on the root says "current" when the picture is that of the newest input. */
let awaited = 0;

async function compute(state) {
  awaited += 1;
  document.documentElement.dataset.picture = 'old';
  try {
    const result = await engine.request('main', { type: 'attend', job: jobOf(state) });
    if (!result) return;
    const { query, key, head } = store.get();
    store.set({
      result, problem: null, hover: null,
      query: Math.min(query, result.n - 1), key: Math.min(key, result.m - 1), head: Math.min(head, result.heads - 1),
    });
  } catch (error) {
    store.set({ problem: t.computeFailed(error.message) });
  } finally {
    awaited -= 1;
    if (awaited === 0) document.documentElement.dataset.picture = 'current';
  }
}

function render(state, changed) {
  const has = (...keys) => keys.some((key) => changed.has(key));
  if (has(...computing)) compute(state);
  controls.update(state);
  textProblem.textContent = state.textProblem ?? '';
  problem.textContent = state.engine.state === 'failed' ? t.engineFailed(state.engine.message) : state.problem ?? '';
  const { result } = state;
  if (!result) {
    timing.textContent = state.engine.state === 'loading' ? t.engineLoading : '';
    return;
  }
  timing.textContent = t.timing(result);
  if (has('result', 'head', 'palette', 'theme')) {
    heads.update(result.kinds.map((kind, head) => ({
      kind, stat: result.stats[head],
      matrix: slice(result, head, 'weights', { transfer: 'linear', domain: 'unit', palette: state.palette }),
    })), state.head);
  }
  if (has('result', 'head', 'stage', 'transfer', 'domain', 'palette', 'theme')) stage.update(state);
  else if (has('query', 'key', 'hover')) stage.mark(state);
  if (has('result', 'head', 'query', 'hover')) showRow(state);
}

function showRow(state) {
  const { result, head } = state;
  const query = state.hover?.row ?? state.query;
  const from = (head * result.n + query) * result.m;
  const weights = result.weights.data.subarray(from, from + result.m);
  const hidden = (j) => result.scores.data[from + j] === -Infinity;
  sentence.update(result.tokens, query, { weights, hidden });
  caption.replaceChildren(...captionOf(result, query, weights, head));
}

function captionOf(result, query, weights, head) {
  const word = (index, role) => h('b', { class: `is-${role}` }, tokenText(result.keyTokens[index] ?? ''), h('sub', {}, String(index + 1)));
  const asking = h('b', { class: 'is-query' }, tokenText(result.tokens[query]), h('sub', {}, String(query + 1)));
  const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a]);
  const lead = [h('span', { class: 'caption-head' }, `${t.headName(head + 1)}. `), asking];
  if (!(weights[order[0]] > 0)) return [...lead, ` ${t.captionNothingRest}`];
  const named = order.filter((index) => weights[index] >= 0.05).slice(0, 3);
  if (named.length === 0) return [...lead, ` ${t.captionLooks} ${t.captionEven(order.length)}.`];
  return [...lead, ` ${t.captionLooks} `, ...named.flatMap((index, at) => [
    at === 0 ? '' : at === named.length - 1 ? ` ${t.and} ` : ', ', word(index, 'key'), ` (${percent(weights[index])})`,
  ]), '.'];
}

store.subscribe(render);
render(store.get(), new Set(Object.keys(store.get())));
