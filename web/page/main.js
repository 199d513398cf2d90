// Wires the page: one store, one worker, and views that read the one and are fed by the other.

import { Announcer } from './announce.js';
import { ComparePanel } from './compare.js';
import { Controls, maskOf } from './controls.js';
import { DecodePanel } from './decode.js';
import { h, tokenText } from './dom.js';
import { Engine } from './engine.js';
import { HeadsView } from './heads.js';
import { Inspector } from './inspector.js';
import { LessonPanel, lessonState } from './lesson.js';
import { additiveWords } from './limits.js';
import { headTitle, headWords } from './names.js';
import { OpenDialog } from './open.js';
import { presetNames, presetSettings } from './presets.js';
import { SaveMenu } from './save.js';
import { SentenceView } from './sentence.js';
import { percent } from './scales.js';
import { heldMatrix, hiddenOf, slice, stagesOf, thumbMatrix, weightsOf } from './slices.js';
import { SquareRootPanel } from './sqrtd.js';
import { selection, StageView } from './stage.js';
import { comparesMeans, computing, defaults, fromHash, fromSettings, initialState, jobOf, otherJob, stageNames, toHash } from './state.js';
import { createStore } from './store.js';
import { t } from './strings.js';
import { TableView } from './tableview.js';
import { Tables } from './tables.js';
import { TextbookPanel } from './textbook.js';
import { createTheme } from './theme.js';
import { MAX_TOKENS, placeAfter, placed, tokenize } from './tokens.js';
import { exampleOf, isModel, ModelSession } from './trained/session.js';
import { ModelView } from './trained/view.js';

/** Longer links are not put in the address bar; some browsers cut them. */
const MAX_LINK = 2000;
const HASH_DELAY = 300;

const linked = fromHash(location.hash);
const store = createStore(initialState(linked.settings));
store.set({ example: exampleOf(store.get()) });
if (linked.refused.length) store.set({ notice: t.refused(linked.refused) });
const theme = createTheme({ changed: () => render(store.get(), new Set(['theme'])) });
const engine = new Engine((status) => store.set({ engine: status }));
const announcer = new Announcer();
const root = document.documentElement;

// views

const hero = { title: h('h1', { id: 'heading' }), text: h('p', { class: 'lede' }) };
const heroBox = h('div', { class: 'hero' }, hero.title, hero.text);
const text = h('textarea', {
  id: 'text', rows: 1, spellcheck: 'false', autocomplete: 'off', 'aria-describedby': 'text-hint text-problem',
  oninput: () => typed(text.value),
});
const textHint = h('p', { class: 'hint', id: 'text-hint' });
const textBox = h('div', { class: 'text-box' },
  h('label', { class: 'text-label', for: 'text' }, t.textLabel), text, textHint);
const textProblem = h('p', { class: 'problem', id: 'text-problem', role: 'status' });
const problem = h('p', { class: 'problem', role: 'alert' });
/** The same while there is no picture yet: then it must stand where the picture would. */
const failure = h('p', { class: 'problem failure', role: 'alert' });
const notice = h('p', { class: 'notice', role: 'status' });
const caption = h('p', { class: 'caption' });
const timing = h('p', { class: 'timing' });
const agreement = h('p', { class: 'agreement' });
const bar = h('progress', { max: 1, 'aria-label': t.waiting });
const progress = h('div', { class: 'progress', hidden: true }, h('span', {}), bar,
  h('button', { type: 'button', class: 'small', onclick: () => cancelWork() }, t.cancel));

const choose = ({ row, col }) => {
  const { stage, byColumn } = drawable(store.get());
  // Rows of the gradient are scores of the chosen query: choosing there changes the key alone.
  store.set(stage === 'gradient' && !byColumn ? { key: col, hover: null } : { query: row, key: col, hover: null });
};
const point = (hover) => {
  const last = store.get().hover;
  if (hover?.row !== last?.row || hover?.col !== last?.col) store.set({ hover });
};
const current = () => {
  const { result, head } = store.get();
  return { n: result?.n, m: result?.m, hidden: result ? hiddenOf(result, head) : () => false };
};

const sentence = new SentenceView({ choose: (index) => store.set({ [store.get().byColumn ? 'key' : 'query']: index, hover: null }) });
const heads = new HeadsView({ choose: (head) => store.set({ head }), style: theme.style });
const saveMenu = new SaveMenu({ stage: () => stage.matrix.spec, state: store.get, style: theme.style });
const tableView = new TableView();
const compareButton = h('button', { type: 'button', class: 'small', onclick: () => toggleCompare() }, t.compare.open);
const stage = new StageView({
  set: store.set, style: theme.style, choose, point, shortcut,
  toggle: ({ row, col }) => toggleDrawn(row, col),
  actions: h('div', { class: 'stage-actions' }, compareButton, saveMenu.element, tableView.element,
    h('details', { class: 'keys' }, h('summary', {}, t.keysTitle), h('dl', {}, t.keys.map(([key, what]) => h('div', {}, h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)))))),
});
const controls = new Controls({
  set: store.set, current,
  setLayer: (index) => openDialog.layer(store.get().file, index).then(
    (file) => { if (file) store.set({ file, edits: {} }); },
    // The choice goes back to the layer that is shown.
    (error) => store.set({ problem: withLast(t.computeFailed(error.message)), file: { ...store.get().file } })),
});
const inspector = new Inspector({ set: store.set, chooseCell: choose });
const tables = new Tables({
  set: store.set,
  showMoved: () => {
    const { mask, scaled, temperature, gain, score } = store.get();
    store.set({ panel: 'compare', stage: 'difference', compare: { mask, scaled, temperature, gain, score, fresh: true } });
    window.scrollTo({ top: 0 });
  },
});
const panels = {
  sqrtd: new SquareRootPanel(),
  compare: new ComparePanel({ set: store.set, choose, point, style: theme.style, selection }),
  decode: new DecodePanel({ set: store.set }),
  textbook: new TextbookPanel(),
};
const lesson = new LessonPanel({
  set: store.set,
  go: (step) => apply(lessonState(step)),
  leave: () => apply(presetSettings('heads')),
});
/** What an example leaves as it is. */
const kept = ({ untrained, silenced, compare, panel }) => ({ untrained, silenced, compare, panel });
const session = new ModelSession({ store, engine, ask, pending, announce: (words) => announcer.say(words) });
const modelView = new ModelView({
  set: store.set,
  example: async (skill) => apply({ ...presetSettings('trained'), ...kept(store.get()), ...(await pending(session.example(skill))) }),
  write: (options) => session.write(jobOf(store.get()), options, wrote).catch(failed),
  stop: () => session.stop(),
  compare: () => store.set({ panel: 'compare', stage: 'weights', compare: session.otherSetting(store.get()) }),
});
const openDialog = new OpenDialog({
  request: (message, options) => pending(engine.request('file', message, options)),
  opened: (file) => {
    store.set({ file });
    apply(fileSettings());
  },
  model: (checkpoint) => {
    store.set({ checkpoint });
    apply(checkpointSettings());
  },
  settings: (saved) => {
    const { settings, refused } = fromSettings(saved);
    apply({ ...defaults, ...settings });
    store.set({ notice: refused.length ? t.refused(refused) : t.files.settingsRead });
  },
});

const presetButtons = Object.fromEntries(presetNames.map((name) => [name, h('button', {
  type: 'button', class: 'chip', onclick: () => apply({ ...presetSettings(name), ...session.enter(name) }),
}, t.presets[name].name)]));
const fileButton = h('button', { type: 'button', class: 'chip', hidden: true, onclick: () => apply(fileSettings()) }, t.presets.file.name);
const checkpointButton = h('button', { type: 'button', class: 'chip', hidden: true, onclick: () => apply(checkpointSettings()) }, t.presets.checkpoint.name);
const lessonButton = h('button', { type: 'button', class: 'chip chip-lesson', onclick: () => apply(lessonState(0)) }, t.lessonStart);
const headsLede = h('small', {});
const settingsTitle = h('h2', { id: 'settings-title' }, t.settingsTitle);
const settingsBox = h('section', { class: 'settings', 'aria-labelledby': 'settings-title' },
  settingsTitle, controls.element, problem, progress, modelView.measured, timing, agreement);
const panelSlot = h('section', { class: 'panel-slot wide', hidden: true, 'aria-labelledby': 'heading' });
const intro = h('section', { class: 'intro', 'aria-label': t.textLabel });

// Where the page is published without its manual, its head names none.
const manual = document.querySelector('link[rel="help"]')?.href;

document.body.append(
  h('a', { class: 'skip', href: '#stage', onclick: (event) => { event.preventDefault(); stage.matrix.focus(); } }, t.skip),
  h('header', { class: 'top' },
    h('p', { class: 'brand' }, h('img', { src: 'page/icon.svg', alt: '', width: 26, height: 26 }), h('b', {}, t.title), h('span', {}, t.strap)),
    h('div', { class: 'top-tools' }, openDialog.button, theme.element)),
  h('nav', { class: 'presets', 'aria-label': t.presetsLabel }, lessonButton, ...Object.values(presetButtons), fileButton, checkpointButton),
  h('main', { class: 'page' },
    panelSlot,
    intro,
    h('section', { class: 'heads-section', 'aria-labelledby': 'heads-title' },
      h('h2', { id: 'heads-title' }, t.headsTitle, headsLede), heads.element),
    h('div', { class: 'stage-column' }, stage.element),
    settingsBox,
    inspector.element,
    tables.element),
  h('footer', { class: 'bottom' }, h('p', {}, t.footer, manual && [' ', h('a', { href: manual }, t.manual)])),
  openDialog.dialog, announcer.element);
intro.append(heroBox, failure, notice, lesson.element, modelView.top, textBox, textProblem, sentence.element, caption, modelView.below);
text.value = store.get().text;

// what the visitor does

function typed(value) {
  const { tokens, dropped } = tokenize(value);
  const model = isModel(store.get().source);
  session.abandon();
  // Nothing to attend to: the last sentence stays, with the reason beside the field.
  if (tokens.length === 0 && !model) {
    store.set({ text: value, textProblem: t.emptyText });
    return;
  }
  // Changed numbers of rows belong to the old words.
  const { x, q, k, v, ...edits } = store.get().edits;
  store.set({
    text: value, tokens, dropped, textProblem: dropped && !model ? t.droppedTokens(MAX_TOKENS, dropped) : null, ids: null, example: null, wrote: null,
    ...(x || q || k || v ? { edits } : {}),
  });
}

const fileSettings = () => ({ ...presetSettings('heads'), preset: 'file', source: 'file', mask: { kind: 'none' }, head: 0, query: 0, key: 0 });

const checkpointSettings = () => ({
  ...presetSettings('heads'), preset: 'checkpoint', source: 'checkpoint', head: 0, query: 99999, key: 0,
  text: 'Once upon a time, there was a little girl named Lily. She loved to play with her ball',
});

/** What a model wrote becomes the text; its last token is the one that looks. */
function wrote({ ids, text: written, ...how }) {
  const { tokens, dropped } = tokenize(written);
  store.set({ text: written, tokens, dropped, ids, wrote: how, example: null, textProblem: null, query: ids.length - 1, key: Math.max(0, ids.length - 2), hover: null });
  if (document.activeElement !== text) text.value = written;
}

/** Other settings as a whole: a preset, a step of the lesson, a link, a file. */
function apply(settings) {
  panels.decode.stop();
  session.abandon();
  const { tokens, dropped } = tokenize(settings.text);
  store.set({ ids: null, example: exampleOf(settings), wrote: null, writing: null, prediction: null, ...settings, tokens, dropped, other: null, gradient: null, hover: null, notice: null, textProblem: null, problem: null, decodeStep: settings.panel === 'decode' ? settings.query : undefined });
  if (document.activeElement !== text) text.value = settings.text;
}

function toggleCompare() {
  const { compare, panel, mask, scaled, temperature, gain, score, stage: shown } = store.get();
  if (compare) store.set({ compare: null, other: null, panel: panel === 'compare' ? 'none' : panel, stage: shown === 'difference' ? 'weights' : shown });
  else store.set({ panel: 'compare', stage: 'weights', compare: { mask: maskOf(mask.kind === 'none' ? 'causal' : 'none'), scaled, temperature, gain, score } });
}

function toggleDrawn(row, col) {
  const { mask, result, stage: shown } = store.get();
  if (mask.kind !== 'drawn' || result.large || shown === 'gradient') return;
  const without = mask.blocked.filter(([i, j]) => i !== row || j !== col);
  store.set({ mask: { kind: 'drawn', blocked: without.length < mask.blocked.length ? without : [...mask.blocked, [row, col]] } });
}

/** Single keys, only while the matrix has the focus. */
function shortcut(key) {
  const { head, result, other, mask, scaled } = store.get();
  // What a model was trained with is not ours to change.
  if (result.fixed && /^[ms]$/i.test(key)) return true;
  if (key === '[' || key === ']') store.set({ head: (head + (key === ']' ? 1 : -1) + result.heads) % result.heads });
  else if (/^[1-5]$/.test(key)) {
    const wanted = stageNames[Number(key) - 1];
    if (stagesOf(result, other).includes(wanted)) store.set({ stage: wanted });
  }
  else if (key === 'm' || key === 'M') store.set({ mask: { kind: mask.kind === 'causal' ? 'none' : 'causal' } });
  else if (key === 's' || key === 'S') store.set({ scaled: !scaled });
  else if (key === '/') text.focus();
  else return false;
  return true;
}

function cancelWork() {
  for (const channel of ['main', 'head']) engine.cancel(channel);
  const { result, head, query, stage: shown } = store.get();
  // A stage that was given up would be waited for in vain.
  const given = result?.large && !heldMatrix(result, head, shown, query) && heldMatrix(result, head, 'weights');
  store.set({ progress: null, problem: withLast(t.cancelled), ...(given ? { stage: 'weights' } : {}) });
}

// what the worker is asked

/** How many answers are awaited: data-picture on the root says "current" when nothing on the page is older than the input. */
let awaited = 0;

async function pending(answer) {
  awaited += 1;
  root.dataset.picture = 'old';
  try {
    return await answer;
  } finally {
    awaited -= 1;
    // What follows from the answer may ask for more before the next task.
    setTimeout(() => { if (awaited === 0) root.dataset.picture = 'current'; });
  }
}

async function ask(channel, message, then) {
  const started = performance.now();
  try {
    const result = await pending(engine.request(channel, message, {
      onProgress: ({ done, total }) => { if (performance.now() - started > 200) store.set({ progress: done / total }); },
    }));
    if (result) then(result);
  } catch (error) {
    failed(error);
  } finally {
    if (channel === 'main' || channel === 'head') store.set({ progress: null });
  }
}

const withLast = (message) => (store.get().result ? `${message} ${t.lastStays}` : message);

/** What is wrong with the text is said beside the text. */
function failed(error) {
  if (error.name === 'TextProblem') store.set({ textProblem: withLast(error.message) });
  else store.set({ problem: withLast(t.computeFailed(error.message)) });
}

/** Numbers the inputs: an answer about an older one is dropped, here or already in the worker. */
let serial = 0;
const still = (result) => store.get().result?.job.serial === result.job.serial;

/** The additive score is said to be too much before it is begun. */
function tooMuch(job) {
  const { score, kind, tokens } = job;
  const most = additiveWords(job);
  const long = score === 'additive' && (kind === 'named' || kind === 'random') && tokens.length > most;
  if (long) store.set({ problem: t.additiveTooLong(most) });
  return long;
}

function compute(state) {
  if (tooMuch(jobOf(state)) || (state.source === 'file' && !state.file) || (state.source === 'checkpoint' && !state.checkpoint)) return;
  serial += 1;
  ask('main', { type: 'attend', job: { ...jobOf(state), serial } }, (result) => {
    const { query, key, head, textProblem: said } = store.get();
    // An answer that is no longer the newest is drawn, but what is chosen belongs to the one that comes.
    const chosen = result.job.serial === serial ? { query: Math.min(query, result.n - 1), key: Math.min(key, result.m - 1), head: Math.min(head, result.heads - 1) } : {};
    store.set({
      textProblem: result.fixed ? (result.dropped ? t.trained.dropped(result.most, result.dropped) : null) : said,
      result, problem: null, hover: null, gradient: null,
      ...chosen,
    });
  });
}

function askAbout(state, has) {
  const { result, head, hover, stage: asked, byColumn } = state;
  const row = hover?.row ?? state.query;
  const col = hover?.col ?? state.key;
  const fresh = has('result');
  const of = result.job.serial;
  const then = (name) => (found) => { if (still(result)) store.set({ [name]: found }); };
  if (state.compare && !result.large && (fresh || has('compare')) && !tooMuch(otherJob(state))) {
    ask('compare', { type: 'attend', job: otherJob(state), against: 'main', means: comparesMeans(state), of }, (other) => { if (store.get().compare && still(result)) store.set({ other }); });
  }
  // Of a large answer the page holds the weights of one head, and one more matrix while that is looked at.
  if (result.large && has('head', 'result', 'stage', 'query')) {
    const keep = (name) => ({ matrix }) => { if (still(result)) store.set({ result: { ...store.get().result, [name]: matrix } }); };
    if (!heldMatrix(result, head, 'weights')) ask('head', { type: 'head', head, stage: 'weights', of }, keep('weights'));
    else if (!heldMatrix(result, head, asked, state.query)) ask('head', { type: 'head', head, stage: asked, row: state.query, of }, keep('inSight'));
  }
  if (result.ready || !has('result', 'head', 'query', 'key', 'hover', 'byColumn', 'stage')) return;
  if (byColumn && col < result.m) {
    const at = weightsOf(result, head);
    const column = result.large && at ? Float32Array.from({ length: result.n }, (_, i) => at(i, col)) : undefined;
    if (at) ask('column', { type: 'column', head, col, column, of }, then('columnTerms'));
  }
  if (!byColumn && row < result.n && col < result.m) ask('terms', { type: 'terms', head, row: asked === 'gradient' ? state.query : row, col, of }, then('terms'));
  if (asked === 'gradient' && !result.large && has('result', 'head', 'query', 'stage')) ask('gradient', { type: 'gradient', head, row: state.query, of }, then('gradient'));
}

function askPanels(state, has) {
  if (state.panel === 'sqrtd' && (has('panel', 'seed') || !state.figure)) ask('figure', { type: 'squareRoot', seed: state.seed }, (figure) => store.set({ figure }));
  if (state.panel === 'textbook' && has('panel', 'edits', 'scaled', 'temperature')) ask('textbook', { type: 'textbook', job: { edits: state.edits, scaled: state.scaled, temperature: state.temperature } }, (steps) => store.set({ steps }));
  if (state.panel === 'decode' && has('result', 'decodeStep') && state.result && !state.result.large && state.decodeStep < state.result.n) {
    ask('decode', { type: 'decode', step: state.decodeStep, of: state.result.job.serial }, (decodeFacts) => store.set({ decodeFacts }));
  }
}

// what is drawn

/**
 * The state as it can be drawn now: a setting may already ask for a row, a head or a stage that the next answer has and
 * this one has not.
 */
function drawable(state) {
  const { result } = state;
  if (!result) return state;
  return {
    ...state, head: Math.min(state.head, result.heads - 1),
    stage: stagesOf(result, state.other).includes(state.stage) ? state.stage : 'weights',
    query: Math.min(state.query, result.n - 1), key: Math.min(state.key, result.m - 1),
  };
}

function render(asked, changed) {
  const state = drawable(asked);
  const has = (...keys) => keys.some((key) => changed.has(key));
  if (has(...computing)) compute(asked);
  askPanels(state, has);
  frame(state);
  const { result } = state;
  if (!result) {
    timing.textContent = state.engine.state === 'loading' ? t.engineLoading : '';
    return;
  }
  askAbout(state, has);
  session.follow(state, has);
  timing.textContent = result.ready ? '' : t.timing(result);
  agreement.textContent = result.agreement ? (result.agreement.largest <= 1e-3 * Math.max(result.agreement.of, 1e-6) ? t.files.agreement(result.agreement) : t.files.disagreement(result.agreement)) : '';
  if (has('result', 'head', 'palette', 'transfer', 'theme')) {
    heads.update(result.kinds.map((kind, head) => ({
      kind, stat: result.stats[head], words: headWords(result, head), silent: result.silenced?.includes(head),
      ...(result.perLayer ? t.trained.card(result, head, headTitle(result, head), headWords(result, head)) : { name: `${head + 1}  ${headWords(result, head).name}` }),
      matrix: result.large ? thumbMatrix(result.thumbs[head], state)
        : slice({ result }, head, 'weights', { transfer: state.transfer, domain: 'unit', palette: state.palette }),
    })), state.head, result.perLayer);
  }
  if (has('result', 'other', 'compare', 'gradient', 'head', 'stage', 'transfer', 'domain', 'palette', 'theme', 'decodeStep', 'byColumn', 'panel')) {
    stage.update(state);
    tableView.update(stage.matrix.spec);
    panels.compare.update(state);
  } else if (has('query', 'key', 'hover')) {
    stage.mark(state);
    if (state.compare) panels.compare.mark(state);
  }
  if (has('result', 'head', 'query', 'key', 'hover', 'byColumn')) showRow(state);
  if (has('terms', 'columnTerms', 'byColumn', 'result')) inspector.update(state);
  if (has('result', 'head', 'edits', 'score')) tables.update(state);
  if ((has('result', 'head', 'query', 'byColumn', 'stage') || (state.byColumn && has('key'))) && !state.hover) announce(state);
}

/** Everything but the matrices. */
function frame(state) {
  controls.update(state);
  textProblem.textContent = state.textProblem ?? '';
  notice.textContent = state.notice ?? '';
  const message = state.engine.state === 'failed' ? t.engineFailed(state.engine.message) : state.problem ?? '';
  problem.textContent = state.result ? message : '';
  failure.textContent = state.result ? '' : message;
  progress.hidden = state.progress === null;
  bar.value = state.progress ?? 0;
  progress.firstElementChild.textContent = state.progress === null ? '' : t.progress(state.progress);
  modelView.update(state);
  const models = isModel(state.source);
  modelView.top.hidden = !models;
  stage.element.classList.toggle('is-sticky', models);
  textHint.textContent = state.source === 'trained' ? t.trained.hint : models ? t.trained.fileHint : t.textHint;
  headsLede.textContent = models ? t.trained.headsLede : state.result?.heads === 1 ? '' : t.headsLede;
  settingsTitle.hidden = Boolean(state.result?.perLayer) || controls.empty;
  // Without a picture, and with the reason said, there is nothing to read off, and to set only what could mend it.
  const blank = !state.result && Boolean(message || state.textProblem);
  root.classList.toggle('is-blank', blank);
  settingsBox.hidden = blank && !state.problem;
  const words = t.presets[state.preset] ?? t.presets.heads;
  hero.title.textContent = words.title;
  hero.text.textContent = words.text;
  const inLesson = state.panel === 'lesson';
  heroBox.hidden = inLesson;
  lesson.element.hidden = !inLesson;
  if (inLesson) lesson.update(state);
  for (const [name, button] of Object.entries(presetButtons)) button.setAttribute('aria-pressed', !inLesson && state.preset === name);
  fileButton.hidden = !state.file;
  checkpointButton.hidden = !state.checkpoint;
  checkpointButton.setAttribute('aria-pressed', !inLesson && state.preset === 'checkpoint');
  fileButton.setAttribute('aria-pressed', !inLesson && state.preset === 'file');
  lessonButton.setAttribute('aria-pressed', inLesson);
  const panel = panels[state.panel];
  panelSlot.hidden = !panel;
  if (panel && panelSlot.firstElementChild !== panel.element) panelSlot.replaceChildren(panel.element);
  if (panel) {
    // A panel stands under the heading that explains it, across the page.
    if (heroBox.parentElement !== panelSlot) panelSlot.prepend(heroBox);
  } else {
    if (heroBox.parentElement !== intro) intro.prepend(heroBox);
    panelSlot.replaceChildren();
  }
  if (state.panel === 'sqrtd') panels.sqrtd.update(state.figure, state.headDim);
  if (state.panel === 'decode') panels.decode.update(state);
  if (state.panel === 'textbook') panels.textbook.update(state.steps);
  const written = state.source === 'named' || state.source === 'random' || models;
  textBox.hidden = !written;
  compareButton.textContent = state.compare ? t.compare.close : t.compare.open;
  compareButton.hidden = Boolean(state.result?.large || state.result?.ready || state.source === 'textbook' || (models && !state.compare));
}

/** The chosen row or, byColumn, column over the sentence and in words. */
function showRow(state) {
  const { result, head, byColumn } = state;
  const hover = state.stage === 'gradient' ? null : state.hover;
  const chosen = byColumn ? hover?.col ?? state.key : hover?.row ?? state.query;
  const at = weightsOf(result, head);
  const square = result.n === result.m && result.n <= MAX_TOKENS;
  sentence.element.hidden = !square || !at;
  caption.hidden = !at;
  if (!at) return;
  const isHidden = hiddenOf(result, head);
  const weights = Float32Array.from({ length: byColumn ? result.n : result.m }, (_, index) => (byColumn ? at(index, chosen) : at(chosen, index)));
  if (square) sentence.update(result.tokens, chosen, weights, (index) => (byColumn ? isHidden(index, chosen) : isHidden(chosen, index)), byColumn);
  caption.replaceChildren(...captionOf(result, chosen, weights, head, byColumn));
}

function captionOf(result, chosen, weights, head, byColumn) {
  const word = (token, index, role) => h('b', { class: `nowrap is-${role}` }, tokenText(token), h('sub', {}, placeAfter(token, index).trim()));
  const [own, others] = byColumn ? [result.keyTokens, result.tokens] : [result.tokens, result.keyTokens];
  const lead = [h('span', { class: 'caption-head' }, `${headTitle(result, head)}. `), word(own[chosen], chosen, byColumn ? 'key' : 'query')];
  // No more than 20 weights can be this large: only they are sorted.
  const named = [...weights.keys()].filter((index) => weights[index] >= 0.05).sort((a, b) => weights[b] - weights[a]).slice(0, 3);
  const seen = weights.reduce((count, weight) => count + (weight > 0 ? 1 : 0), 0);
  if (byColumn && named.length === 0) return [...lead, ` ${t.captionNobody}`];
  if (seen === 0) return [...lead, ` ${t.captionNothingRest}`];
  if (named.length === 0) return [...lead, ` ${t.captionLooks} ${t.captionEven(seen)}.`];
  return [...lead, ` ${byColumn ? t.captionLookedAt : t.captionLooks} `, ...named.flatMap((index, at) => [
    at === 0 ? '' : at === named.length - 1 ? ` ${t.and} ` : ', ', word(others[index], index, byColumn ? 'query' : 'key'), ' ', h('span', { class: 'nowrap' }, `(${percent(weights[index])})`),
  ]), '.'];
}

function announce({ result, head, query, key, byColumn }) {
  const at = weightsOf(result, head);
  if (!at) return;
  const [count, weight] = byColumn ? [result.n, (i) => at(i, key)] : [result.m, (j) => at(query, j)];
  let best = 0;
  for (let i = 1; i < count; i += 1) if (weight(i) > weight(best)) best = i;
  const [row, col] = byColumn ? [best, key] : [query, best];
  announcer.say(t.announceResult({
    head: headTitle(result, head), name: headWords(result, head).name, entropy: result.stats[head].entropy, byColumn,
    query: placed(result.tokens[row], row), key: placed(result.keyTokens[col], col), weight: weight(best),
  }));
}

// the address

let hashTimer = 0;
store.subscribe((state) => {
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    const hash = toHash(state);
    const link = `${location.pathname}${hash}`;
    if (link.length <= MAX_LINK && hash !== location.hash) history.replaceState(null, '', link);
  }, HASH_DELAY);
});
window.addEventListener('hashchange', () => {
  const { settings, refused } = fromHash(location.hash);
  apply({ ...defaults, ...settings });
  if (refused.length) store.set({ notice: t.refused(refused) });
});

store.subscribe(render);
if (store.get().panel === 'decode') store.set({ decodeStep: store.get().query });
render(store.get(), new Set(Object.keys(store.get())));
