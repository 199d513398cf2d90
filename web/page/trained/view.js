// What the page shows of a model beside its heads: example sentences, predictions, writing, silencing, what was measured.

import { h, tokenText } from '../dom.js';
import { percent } from '../scales.js';
import { weightsOf } from '../slices.js';
import { placeAfter } from '../tokens.js';
import { MAX_BUTTONS, MAX_WRITTEN } from './limits.js';
import { words as t } from './strings.js';

export class ModelView {
  #set;
  #state = null;
  #now = {};
  #size = h('p', { class: 'hint' });
  #when = {};
  #whenBox;
  #skills = {};
  #skillsBox;
  #expects = h('h2', { id: 'expects-title' });
  #needs = h('p', { class: 'hint' });
  #choice = h('p', { class: 'model-choice' });
  #key = h('p', { class: 'model-key hint', 'aria-hidden': 'true' });
  #bars = h('ol', { class: 'model-bars' });
  #silence = h('div', { class: 'model-silence', role: 'group', 'aria-label': t.silence });
  #allSpeak;
  #buttons = [];
  #compare;
  #write = {};
  #progress;
  #bar = h('progress', { max: 1, 'aria-label': t.write });
  #wrote = h('p', { class: 'hint', role: 'status' });
  #table = h('table', { class: 'terms-table model-heads' });
  #title = h('h2', {});
  #mean = h('p', { class: 'hint' });
  #tableWhat = h('p', { class: 'hint' });
  #facts = h('div', { class: 'model-facts' });

  /** set(patch) of the store; example(skill); write({ count, temperature, seed }); stop(); compare(). */
  constructor({ set, example, write, stop, compare }) {
    this.#set = set;
    this.#whenBox = h('div', { class: 'toggle', role: 'group', 'aria-label': t.model }, ['after', 'before'].map((name) => {
      this.#when[name] = h('button', { type: 'button', onclick: () => set({ untrained: name === 'before' }) }, t.when[name]);
      return this.#when[name];
    }));
    this.#skillsBox = h('div', { class: 'model-skills', role: 'group', 'aria-label': t.skillsTitle },
      h('p', { class: 'hint' }, t.skillsTitle), Object.entries(t.skills).map(([skill, { name, of }]) => {
        this.#skills[skill] = h('button', { type: 'button', class: 'chip', title: `${of}. ${t.another}`, onclick: () => example(skill) }, name);
        return this.#skills[skill];
      }));
    this.top = h('div', { class: 'model-top' }, h('div', { class: 'model-when' }, this.#whenBox, this.#size), this.#skillsBox);

    this.#allSpeak = h('button', { type: 'button', class: 'small', onclick: () => set({ silenced: [] }) }, t.allSpeak);
    this.#compare = h('button', { type: 'button', class: 'small', onclick: compare });
    const number = (name, label, { min, max, step, value, title }) => {
      this.#write[name] = h('input', { type: 'number', min: String(min), max: String(max), step: String(step), value: String(value) });
      return h('label', { class: 'number', title }, h('span', {}, label), this.#write[name]);
    };
    const go = (count) => write({ count, temperature: this.#number('temperature'), seed: this.#number('seed') });
    this.#write.step = h('button', { type: 'button', class: 'small', onclick: () => go(1) });
    this.#write.go = h('button', { type: 'button', class: 'small', onclick: () => go(this.#number('count')) }, t.write);
    this.#progress = h('div', { class: 'progress', hidden: true }, h('span', {}), this.#bar, h('button', { type: 'button', class: 'small', onclick: stop }, t.stop));
    this.below = h('section', { class: 'model-below', 'aria-labelledby': 'expects-title' },
      this.#expects, this.#needs, this.#choice, this.#key, this.#bars,
      h('div', { class: 'model-silence-box' }, h('p', { class: 'hint', title: t.silenceHint }, t.silence), this.#silence, this.#allSpeak),
      h('div', { class: 'model-write' }, this.#write.step, this.#write.go,
        number('count', t.count, { min: 1, max: MAX_WRITTEN, step: 1, value: 32 }),
        number('temperature', t.temperature, { min: 0, max: 2, step: 0.1, value: 0, title: t.temperatureHint }),
        number('seed', t.seed, { min: 0, max: 999999999, step: 1, value: 1 })),
      this.#progress, this.#wrote);

    this.measured = h('div', { class: 'model-measured' }, this.#title, this.#tableWhat,
      h('div', { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': t.measured }, this.#table), this.#mean, this.#compare, this.#facts);
  }

  /** A number that was typed, held within its bounds. */
  #number(name) {
    const input = this.#write[name];
    const { min, max, step } = input;
    const value = Math.max(Number(min), Math.min(Number(max), Number(input.value) || 0));
    input.value = String(step === '1' ? Math.trunc(value) : value);
    return Number(input.value);
  }

  update(state) {
    const seen = ['result', 'head', 'query', 'key', 'prediction', 'writing', 'wrote', 'example', 'facts', 'checkpoint', 'source', 'untrained', 'silenced', 'compare'];
    if (seen.every((name) => this.#now[name] === state[name])) return;
    this.#now = state;
    const own = state.source === 'trained';
    this.#state = state;
    this.#whenBox.hidden = !own;
    this.#skillsBox.hidden = !own;
    this.#size.textContent = own ? (state.facts ? t.size(state.facts.training.config, state.facts.bytes) : '') : state.checkpoint ? `${state.checkpoint.name}: ${t.fileSize(state.checkpoint.config, state.checkpoint.bytes)}` : '';
    for (const [name, button] of Object.entries(this.#when)) button.setAttribute('aria-pressed', String((name === 'before') === state.untrained));
    for (const [skill, button] of Object.entries(this.#skills)) button.setAttribute('aria-pressed', String(state.example?.skill === skill));
    this.#write.step.textContent = own ? t.step : t.nextToken;
    this.#updateWriting(state);
    const { result } = state;
    const isModel = Boolean(result?.perLayer);
    this.below.hidden = !isModel;
    this.measured.hidden = !isModel;
    if (!isModel) return;
    this.#updatePrediction(state);
    this.#updateSilence(state);
    this.#updateHeads(state);
    this.#updateFacts(own ? state.facts : null);
    const changed = state.untrained || state.silenced.length > 0;
    this.#compare.hidden = Boolean(state.compare) || result.large || !(own || changed);
    this.#compare.textContent = state.silenced.length > 0 && !state.untrained ? t.compareSilent : t.compare;
  }

  #updateWriting({ writing, wrote }) {
    this.#progress.hidden = !writing;
    for (const name of ['step', 'go']) this.#write[name].disabled = Boolean(writing);
    this.#bar.value = writing ? writing.done / writing.total : 0;
    this.#progress.firstElementChild.textContent = !writing ? '' : writing.done === 0 ? t.prompt : t.writing(writing);
    this.#wrote.textContent = wrote ? t.wrote(wrote) : '';
  }

  #updatePrediction({ result, query, prediction, example, untrained, silenced }) {
    const at = Math.min(query, result.n - 1);
    this.#expects.replaceChildren(...t.expects(h('b', { class: 'is-query' }, tokenText(result.tokens[at]), h('sub', {}, placeAfter(result.tokens[at], at).trim()))));
    const use = useAt(example, at);
    this.#needs.textContent = use ? t.needs({ ...use, skill: example.skill, source: result.tokens[use.source + 1] }) : '';
    if (!use) this.#choice.replaceChildren();
    if (!prediction || prediction.row !== at) return;
    const { entries, choice } = prediction;
    const compared = entries[0].before !== null;
    this.#choice.replaceChildren(...(use && choice.now !== null ? t.choice(use, choice).map((part) => (part.strong ? h('b', {}, part.strong) : part)) : []));
    const wasBefore = t.before[untrained ? 'untrained' : 'silenced'];
    this.#key.replaceChildren(...(compared ? [h('i', { class: 'model-before' }), `${wasBefore} `, h('i', { class: 'model-now' }), untrained ? `${t.when.before}${silenced.length ? `, ${t.silent}` : ''}` : t.silent] : []));
    const bar = (share, className) => {
      const inner = h('i', { class: className });
      inner.style.width = `${100 * share}%`;
      return h('span', { class: 'bar', 'aria-hidden': 'true' }, inner);
    };
    this.#bars.replaceChildren(...entries.map(({ label, now, before }) => h('li', { class: use && label === use.right ? 'is-right' : use?.wrong.includes(label) ? 'is-wrong' : '' },
      tokenText(label),
      h('span', { class: 'model-pair' }, compared && bar(before, 'model-before'), bar(now, 'model-now')),
      h('span', { class: 'model-share' }, compared
        ? [h('span', { class: 'away' }, `${wasBefore} `), percent(before), h('span', { 'aria-hidden': 'true' }, ' → '), h('span', { class: 'away' }, ` ${t.now} `), h('b', {}, percent(now))]
        : percent(now)))));
  }

  #updateSilence({ result, head, silenced }) {
    const shown = result.heads <= MAX_BUTTONS ? Array.from({ length: result.heads }, (_, at) => at) : [...new Set([...silenced, head])].filter((at) => at < result.heads).sort((a, b) => a - b);
    if (shown.length !== this.#buttons.length || shown.some((at, i) => this.#buttons[i].at !== at) || this.#silence.dataset.per !== String(result.perLayer)) {
      this.#silence.dataset.per = String(result.perLayer);
      this.#buttons = shown.map((at) => {
        const name = this.#name(at);
        const button = h('button', { type: 'button', class: 'model-mute', 'aria-label': t.silenceOne(name, false), onclick: () => this.#toggle(at) }, name);
        return { at, button };
      });
      const rows = [];
      for (const { at, button } of this.#buttons) (rows[result.heads <= MAX_BUTTONS ? Math.floor(at / result.perLayer) : 0] ??= h('div', { class: 'model-row' })).append(button);
      this.#silence.replaceChildren(...rows);
    }
    for (const { at, button } of this.#buttons) {
      button.setAttribute('aria-pressed', String(silenced.includes(at)));
      button.classList.toggle('is-stage', at === head);
      button.title = t.silenceOne(this.#name(at), silenced.includes(at));
    }
    this.#allSpeak.hidden = silenced.length === 0;
  }

  #name(at) {
    const per = this.#state.result.perLayer;
    return t.shortName({ layer: Math.floor(at / per), head: at % per });
  }

  #toggle(at) {
    const { silenced } = this.#state;
    this.#set({ silenced: silenced.includes(at) ? silenced.filter((other) => other !== at) : [...silenced, at].sort((a, b) => a - b) });
  }

  /** One line for each head: what it gives from the chosen query to the chosen key here, and what was measured. */
  #updateHeads({ result, query, key, head, example, facts, source, silenced, untrained }) {
    const [row, col] = [Math.min(query, result.n - 1), Math.min(key, result.n - 1)];
    this.#title.textContent = source === 'trained' ? t.measured : t.everyHead;
    const tableHidden = Boolean(result.large);
    this.#table.hidden = tableHidden;
    this.#title.hidden = tableHidden && source !== 'trained';
    this.#tableWhat.hidden = tableHidden;
    if (tableHidden) { this.#mean.textContent = ''; return; }
    const measured = source === 'trained' && facts && example ? facts.table.skills.find(({ skill }) => skill === example.skill) : null;
    const named = (token, index, role) => h('b', { class: `is-${role}` }, tokenText(token), h('sub', {}, placeAfter(token, index).trim()));
    this.#tableWhat.replaceChildren(...t.hereWhat(named(result.tokens[row], row, 'query'), named(result.tokens[col], col, 'key')));
    let heads = Array.from({ length: result.heads }, (_, at) => ({ at, weight: weightsOf(result, at)(row, col) }));
    // Where nothing is known of the heads, those come first that look most.
    if (source === 'checkpoint') heads = heads.sort((a, b) => b.weight - a.weight).slice(0, MAX_BUTTONS);
    const column = (name, className) => h('th', { scope: 'col', class: className }, name);
    const share = (weight) => {
      const inner = h('i', {});
      inner.style.width = `${100 * weight}%`;
      return h('span', { class: 'bar', 'aria-hidden': 'true' }, inner);
    };
    this.#table.replaceChildren(
      h('thead', {}, h('tr', {}, column(t.head), result.roles && column(t.roleColumn, 'model-role'), column(t.here), h('td', { class: 'bar-cell' }), measured && [column(t.mean), column(t.lost)])),
      h('tbody', {}, heads.map(({ at, weight }) => {
        const found = measured?.heads[at];
        const strong = found && found.lost >= 0.1;
        return h('tr', { class: at === head ? 'is-chosen' : '', onclick: () => this.#set({ head: at }) },
          h('th', { scope: 'row' }, this.#name(at), silenced.includes(at) ? ` (${t.silent})` : ''),
          result.roles && h('td', { class: 'model-role' }, t.role(result.roles[at])?.name ?? ''),
          h('td', {}, percent(weight)), h('td', { class: 'bar-cell' }, share(weight)),
          measured && [h('td', {}, strong ? h('b', {}, percent(found.mass)) : percent(found.mass)), h('td', {}, strong ? h('b', {}, t.points(found.lost)) : t.points(found.lost))]);
      })),
      measured ? h('tfoot', {}, h('tr', {}, h('th', { scope: 'row' }, t.chance), result.roles && h('td', {}), h('td', {}, percent(1 / (row + 1))), h('td', { class: 'bar-cell' }), h('td', {}, percent(measured.chance)), h('td', {}))) : '');
    this.#mean.textContent = measured ? `${t.meanWhat(measured)}${untrained ? ` ${t.untrainedNote}` : ''}` : '';
  }

  #updateFacts(facts) {
    this.#facts.hidden = !facts;
    if (!facts || this.#facts.childElementCount > 0) return;
    const { table: { skills, roles }, training, words } = facts;
    const points = ({ mass, distractors, lost }) => `${percent(mass)}, ${percent(distractors)}; ${t.points(lost)}`;
    const row = (name, cells, tag = 'tr') => h(tag, {}, h('th', { scope: 'row' }, name), cells.map((cell) => h('td', {}, cell)));
    this.#facts.replaceChildren(
      h('ul', { class: 'model-honest' }, roles.map((role, at) => {
        const [name, rest] = t.honest(role, skills[at]);
        return h('li', {}, h('b', {}, name), rest);
      })),
      h('p', { class: 'hint' }, t.limits),
      h('details', {}, h('summary', {}, t.table), h('p', { class: 'hint' }, t.tableCaption(skills[0].uses)),
        h('div', { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': t.table }, h('table', { class: 'terms-table' },
          h('thead', {}, h('tr', {}, [t.head, ...skills.map(({ skill }) => t.skills[skill].name)].map((name) => h('th', { scope: 'col' }, name)))),
          h('tbody', {}, skills[0].heads.map((head, at) => row(t.shortName(head), skills.map(({ heads }) => points(heads[at]))))),
          h('tfoot', {}, row(t.chance, skills.map(({ chance, chanceDistractors }) => `${percent(chance)}, ${percent(chanceDistractors)}`)),
            row(t.right, skills.map(({ accuracy }) => t.exact(accuracy))),
            row(t.misled, skills.map(({ accuracyMisled }) => (accuracyMisled === null ? '' : t.exact(accuracyMisled)))))))),
      h('details', {}, h('summary', {}, t.vocabulary), h('p', { class: 'model-words' }, words.join(' '))),
      h('p', { class: 'hint' }, t.trained(training)));
  }
}

/** The example's use of its skill, if it is decided after token `at`: token 0 stands before the words. */
function useAt(example, at) {
  return example?.use.position === at ? example.use : null;
}
