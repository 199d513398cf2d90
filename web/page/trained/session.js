// The page's side of the models: what is asked of the worker for them, and when.

import { presetSettings } from '../presets.js';
import { words as t } from './strings.js';

/** Settings of the two kinds of models; see state.js. */
export const isModel = (source) => source === 'trained' || source === 'checkpoint';

/** What the preset's own sentence needs: "is", behind "cabinets", which is not its subject. */
const FIRST = { skill: 'agreement', use: { skill: 'agreement', position: 5, source: 1, distractors: [{ position: 4, word: 'are' }], right: 'is', wrong: ['are'] } };

/** The words that prediction must show: those that matter at this place of an example. */
function focusOf({ example, query }) {
  return example && example.use.position === query ? [example.use.right, ...example.use.wrong] : [];
}

/** The example that a text is known to be, or null. */
export function exampleOf({ source, text }) {
  return source === 'trained' && text === presetSettings('trained').text ? FIRST : null;
}

export class ModelSession {
  #store;
  #ask;
  #engine;
  #pending;
  #seed = 0;
  #writing = null;
  /** Whether the head that carries the first example is to come on the stage once it is known. */
  #wantsHead = false;
  #announce;

  /** ask(channel, message, then): as in main.js; pending(promise): while it runs the picture is not the newest. */
  constructor({ store, ask, engine, pending, announce }) {
    this.#store = store;
    this.#ask = ask;
    this.#engine = engine;
    this.#pending = pending;
    this.#announce = announce;
  }

  /** What follows from a change of the state. */
  follow(state, has) {
    const { source, result, facts } = state;
    if (!isModel(source)) return;
    if (source === 'trained' && !facts && has('result')) this.#ask('facts', { type: 'model', ask: 'facts' }, (found) => this.#known(found));
    if (!result?.perLayer || !has('result', 'query', 'example')) return;
    const row = Math.min(state.query, result.n - 1);
    this.#ask('predict', { type: 'model', ask: 'predict', row, focus: focusOf(state), of: result.job.serial }, (prediction) => {
      if (this.#store.get().result?.job.serial !== result.job.serial) return;
      this.#store.set({ prediction });
      if (prediction.entries[0].before !== null) {
        const { perLayer, silenced } = this.#store.get().result;
        const silent = silenced.map((at) => t.headName(Math.floor(at / perLayer) + 1, (at % perLayer) + 1));
        this.#announce(t.announce({ entries: prediction.entries, silent }));
      }
    });
  }

  /** What a preset brings beside its settings. */
  enter(preset) {
    if (preset !== 'trained') return {};
    const { facts } = this.#store.get();
    this.#wantsHead = !facts;
    return facts ? { head: mainHead(facts, FIRST.skill) } : {};
  }

  #known(facts) {
    const wants = this.#wantsHead && this.#store.get().example === FIRST;
    this.#wantsHead = false;
    this.#store.set({ facts, ...(wants ? { head: mainHead(facts, FIRST.skill) } : {}) });
  }

  /** With what a model is compared: its other state of training, or all its heads at work. */
  otherSetting({ untrained, silenced, mask, scaled, temperature, gain, score }) {
    const trained = untrained || silenced.length > 0 ? 'after' : 'before';
    return { mask, scaled, temperature, gain, score, trained };
  }

  /** A new held-out sentence for a skill, with the head on the stage that matters most for it. */
  async example(skill) {
    this.#seed += 1;
    const { example } = await import('./language.js');
    const { text, use } = example(skill, this.#seed);
    const { facts } = this.#store.get();
    return { text, example: { skill, use }, query: use.position, key: use.source + 1, head: facts ? mainHead(facts, skill) : 0 };
  }

  /** Lets the model write `count` tokens behind the text. written({ text, ids, ... }) */
  async write(job, { count, temperature, seed }, written) {
    const set = this.#store.set;
    const mine = {};
    this.#writing = mine;
    const still = () => this.#writing === mine;
    set({ writing: { done: 0, total: count }, wrote: null, problem: null });
    try {
      const answer = await this.#pending(this.#engine.request('write', {
        type: 'model', ask: 'write', job, maxTokens: count, temperature, topP: 1, seed,
      }, { onProgress: (now) => { if (still()) set({ writing: now }); } }));
      if (answer && still()) written(answer);
    } catch (error) {
      if (still()) throw error;
    } finally {
      if (still()) set({ writing: null });
    }
  }

  stop() {
    this.#engine.cancel('write');
  }

  /** What is being written belongs to a text that is no longer there. */
  abandon() {
    if (!this.#store.get().writing) return;
    this.#writing = null;
    this.stop();
    this.#store.set({ writing: null });
  }
}

/** The head whose silence costs the skill most among those that look at what decides; else the one that looks there most. */
function mainHead({ table: { skills, roles } }, skill) {
  const { heads } = skills.find((row) => row.skill === skill);
  const found = roles.find((role) => role.skill === skill).readers[0] ?? heads.reduce((best, head) => (head.mass > best.mass ? head : best));
  return heads.findIndex(({ layer, head }) => layer === found.layer && head === found.head);
}
