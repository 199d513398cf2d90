// Opening files: dropped anywhere or chosen; which tensors are meant is asked where it is not obvious.

import { h } from './dom.js';
import { MAX_FILE_BYTES } from './limits.js';
import { t } from './strings.js';
import { isModelFile, offerModel } from './trained/files.js';

const parts = { qkv: ['q', 'k', 'v', 'o'], x: ['x', 'inProj', 'inBias', 'wq', 'wk', 'wv', 'o'], weights: ['weights'] };

export class OpenDialog {
  #request;
  #opened;
  #settings;
  #model;
  /** Whether nothing of a model has come since the dialog was opened. */
  #isFirst = true;
  #body = h('div', { class: 'open-body' });
  #intro = h('div', { class: 'open-body' }, h('p', {}, t.files.intro),
    h('p', { class: 'hint' }, t.files.pythonLabel), h('pre', { class: 'code', tabindex: '0' }, h('code', {}, t.files.python)));
  #problem = h('p', { class: 'problem', role: 'alert' });
  #status = h('p', { class: 'open-status', role: 'status' });
  #use = h('button', { type: 'button', class: 'main-button', hidden: true }, t.files.show);
  #input = h('input', { type: 'file', multiple: true, accept: '.npy,.npz,.safetensors,.json,.bin', class: 'away', id: 'files', autofocus: true, 'aria-label': t.files.choose, onchange: () => this.take(this.#input.files) });

  /** request(message, options) asks the worker; opened({ id, name, n, m, heads }): tensors were chosen; settings(object): the file held a saved state; model({ id, name, ... }): a model was opened. */
  constructor({ request, opened, settings, model }) {
    this.#model = model;
    this.#request = request;
    this.#opened = opened;
    this.#settings = settings;
    this.button = h('button', { type: 'button', class: 'small', onclick: () => this.show() }, t.files.open);
    this.dialog = h('dialog', { class: 'open', 'aria-labelledby': 'open-title' },
      h('h2', { id: 'open-title' }, t.files.title),
      this.#intro,
      h('label', { class: 'file-choice small', for: 'files' }, t.files.choose), this.#input,
      this.#problem, this.#status, this.#body,
      h('div', { class: 'dialog-end' }, this.#use, h('button', { type: 'button', class: 'quiet', onclick: () => this.dialog.close() }, t.files.cancel)));
    const over = (event) => {
      if (![...event.dataTransfer.types].includes('Files')) return;
      event.preventDefault();
      document.documentElement.classList.add('is-dropping');
    };
    const leave = () => document.documentElement.classList.remove('is-dropping');
    window.addEventListener('dragover', over);
    window.addEventListener('dragleave', (event) => event.relatedTarget ?? leave());
    window.addEventListener('drop', (event) => {
      if (![...event.dataTransfer.types].includes('Files')) return;
      event.preventDefault();
      leave();
      this.show();
      this.take(event.dataTransfer.files);
    });
  }

  show() {
    if (this.dialog.open) return;
    this.#isFirst = true;
    this.#problem.textContent = '';
    this.#status.textContent = '';
    this.#body.replaceChildren();
    this.#use.hidden = true;
    this.#intro.hidden = false;
    this.dialog.showModal();
  }

  async take(list) {
    this.#problem.textContent = '';
    this.#body.replaceChildren();
    const chosen = [...list];
    if (chosen.length === 0) return;
    this.#status.textContent = '';
    if (chosen.some(isModelFile)) {
      await this.#takeModel(chosen);
      return;
    }
    const names = chosen.map(({ name }) => name).join(', ');
    // Before anything is read: what does not fit in memory would end the page.
    if (chosen.reduce((sum, { size }) => sum + size, 0) > MAX_FILE_BYTES) {
      this.#problem.textContent = t.files.tooLarge(MAX_FILE_BYTES);
      return;
    }
    try {
      if (chosen.length === 1 && chosen[0].name.endsWith('.json') && chosen[0].size < 2 ** 24) {
        const saved = savedState(await chosen[0].text());
        if (saved) {
          this.#settings(saved);
          this.dialog.close();
          return;
        }
      }
      const files = await Promise.all(chosen.map(async (file) => ({ name: file.name, buffer: await file.arrayBuffer() })));
      const found = await this.#request({ type: 'open', files }, { transfer: files.map(({ buffer }) => buffer) });
      if (!found) return;
      // What was found takes the place of the explanation: the button that shows it must be in sight.
      this.#intro.hidden = true;
      this.#body.replaceChildren(...this.#form(found, names));
      this.#body.querySelector('select, input')?.focus();
    } catch (error) {
      this.#problem.textContent = t.files.failed(error.message);
    } finally {
      this.#input.value = '';
    }
  }

  /** A checkpoint and its tokenizer, together or one after the other. */
  async #takeModel(chosen) {
    try {
      if (!chosen.every(isModelFile)) throw new Error(t.trained.file.mixed);
      const found = await offerModel(chosen, {
        request: this.#request, onProgress: ({ done }) => { this.#status.textContent = t.trained.file.loading(done); }, isFirst: this.#isFirst,
      });
      this.#isFirst = false;
      this.#status.textContent = found?.missing ? t.trained.file.missing[found.missing](found.name) : '';
      if (!found?.opened) return;
      this.#model(found.opened);
      this.dialog.close();
    } catch (error) {
      this.#status.textContent = '';
      this.#problem.textContent = t.files.failed(error.message);
    } finally {
      this.#input.value = '';
    }
  }

  #form({ tensors, guess }, names) {
    const choice = { ...guess };
    const holder = h('div', { class: 'open-parts' });
    const reads = h('p', { class: 'hint', role: 'status' });
    const tell = () => { reads.textContent = choice.mode === 'qkv' ? readAs(tensors.find((tensor) => tensor.name === choice.q), choice) : ''; };
    const select = (name) => {
      const input = h('select', { onchange: () => { choice[name] = input.value; tell(); } },
        h('option', { value: '' }, t.files.noTensor), tensors.map((tensor) => h('option', { value: tensor.name }, `${tensor.name} (${tensor.shape.join(', ')})`)));
      input.value = choice[name];
      return h('label', { class: 'range' }, h('span', {}, t.files.parts[name]), input);
    };
    const number = (name, label, min) => h('label', { class: 'range' }, h('span', {}, label), h('input', {
      type: 'number', min: String(min), max: '9999', step: '1', value: String(choice[name]), oninput: (event) => { choice[name] = Math.max(min, Math.trunc(Number(event.target.value)) || min); tell(); },
    }));
    const fill = () => holder.replaceChildren(
      ...parts[choice.mode].map(select),
      ...(choice.mode === 'weights' ? [] : [
        order(), number('heads', t.files.heads, 1)]),
      number('index', t.files.index, 0));
    const order = () => {
      const input = h('select', { onchange: () => { choice.order = input.value; tell(); } }, Object.entries(t.files.orders).map(([value, name]) => h('option', { value }, name)));
      input.value = choice.order;
      return h('label', { class: 'range' }, h('span', {}, t.files.order), input);
    };
    fill();
    tell();
    this.#use.onclick = () => this.#useChoice(choice, names);
    this.#use.hidden = false;
    return [
      h('h3', {}, `${t.files.found} ${names}`),
      h('div', { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': t.files.found }, h('table', { class: 'terms-table' },
        h('thead', {}, h('tr', {}, [t.files.name, t.files.shape, t.files.type].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, tensors.slice(0, 200).map(({ name, shape, dtype }) => h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, `(${shape.join(', ')})`), h('td', {}, dtype)))))),
      h('fieldset', { class: 'segments' }, h('legend', {}, t.files.mode), h('div', { class: 'segment-row' }, Object.entries(t.files.modes).map(([mode, name]) => h('label', { class: 'segment' },
        h('input', { type: 'radio', name: 'file-mode', value: mode, checked: mode === choice.mode, onchange: () => { choice.mode = mode; fill(); tell(); } }), h('span', {}, name))))),
      holder, reads,
    ];
  }

  async #useChoice(choice, name) {
    this.#problem.textContent = '';
    try {
      const found = await this.#request({ type: 'use', choice });
      if (!found) return;
      this.#opened({ ...found, name, choice, id: Date.now(), ready: choice.mode === 'weights' });
      this.dialog.close();
    } catch (error) {
      this.#problem.textContent = t.files.failed(error.message);
    }
  }

  /** Another layer or batch element of the file that is open; resolves with the file as it is then, rejects with a reason. */
  async layer(file, index) {
    const choice = { ...file.choice, index };
    const found = await this.#request({ type: 'use', choice });
    return found && { ...file, ...found, choice };
  }
}

/** What a choice makes of a tensor's axes, in words; '' where there is nothing to say yet. */
function readAs(tensor, { order, heads }) {
  if (!tensor) return '';
  const { name, shape } = tensor;
  if (shape.length === 2) return t.files.reads({ name, tokens: shape[0], heads, d: shape[1] / heads });
  const [a, b, d] = shape.slice(-3);
  return t.files.reads({ name, d, ...(order === 'tokens-first' ? { tokens: a, heads: b } : { heads: a, tokens: b }) });
}

/** The settings in a file that this page saved, or null. */
function savedState(text) {
  try {
    const object = JSON.parse(text);
    return object?.format === 'spotlight' && typeof object.settings === 'object' ? object.settings : null;
  } catch {
    return null;
  }
}
