// The textbook example, every step to the last digit of float64.

import { h } from './dom.js';
import { block, frac, k, mi, mn, mo, q, row, sub, sum, sup, v } from './math.js';
import { t } from './strings.js';

export class TextbookPanel {
  #body = h('ol', { class: 'textbook' });
  #code = h('code', {});

  constructor() {
    this.element = h('div', { class: 'panel' }, this.#body, h('pre', { class: 'code', tabindex: '0' }, this.#code));
  }

  update(steps) {
    if (!steps) return;
    const { query, keys, values, scores, weights, output, scale } = steps;
    const numbers = (list) => `[${list.map(String).join(', ')}]`;
    const rows = (lists) => `[${lists.map(numbers).join(', ')}]`;
    this.#code.textContent = `attn.attention(${numbers(query)}, ${rows(keys)}, ${rows(values)}${scale === 1 ? '' : `, { scale: ${scale} }`})\n// ${numbers(output)}`;
    const step = (name, formula, lines) => h('li', {}, h('h2', {}, name), formula, lines.map((line) => h('p', { class: 'digits' }, line)));
    this.#body.replaceChildren(
      step(t.textbook.given, block(q(mi('')), mo(','), k(mi('j')), mo(','), v(mi('j'))),
        [`q = ${numbers(query)}`, ...keys.map((key, j) => `k${j + 1} = ${numbers(key)}   v${j + 1} = ${numbers(values[j])}`)]),
      step(t.textbook.scores, block(sub(mi('s'), mi('j')), mo('='), ...(scale === 1 ? [] : [mn(String(scale)), mo('·')]), q(mi('')), mo('·'), k(mi('j'))), scores.map((s, j) => `s${j + 1} = ${s}`)),
      step(t.textbook.weights, block(sub(mi('a'), mi('j')), mo('='), frac(sup(mi('e'), sub(mi('s'), mi('j'))), row(sum(mi('i')), sup(mi('e'), sub(mi('s'), mi('i')))))), weights.map((a, j) => `a${j + 1} = ${a}`)),
      step(t.textbook.output, block(mi('o'), mo('='), sum(mi('j')), sub(mi('a'), mi('j')), v(mi('j'))), output.map((o, f) => `o${f + 1} = ${o}`)));
  }
}
