// Where one number comes from: every term of the chosen row with its number, from the dot product to the weighted
// sum. Or the other way round: who looks at the chosen key.

import { cssColor } from './colormaps.js';
import { h, tokenText } from './dom.js';
import { block, chain, frac, k, mi, mn, mo, mtext, q, row, sqrt, sub, sum, sup, v } from './math.js';
import { format } from './scales.js';
import { t } from './strings.js';
import { placeAfter } from './tokens.js';

export class Inspector {
  #body = h('div', { class: 'inspector-body' });
  #title = h('h2', { id: 'inspector-title' });
  #modes = {};
  #onCell;

  constructor({ set, chooseCell }) {
    this.#onCell = chooseCell;
    const modes = h('div', { class: 'toggle', role: 'group', 'aria-label': t.inspector.mode }, [false, true].map((byColumn) => {
      const button = h('button', { type: 'button', onclick: () => set({ byColumn }) }, byColumn ? t.inspector.column : t.inspector.row);
      this.#modes[byColumn] = button;
      return button;
    }));
    this.element = h('section', { class: 'inspector wide', 'aria-labelledby': 'inspector-title' },
      h('div', { class: 'section-head' }, this.#title, modes), this.#body);
  }

  update(state) {
    const { result, terms, columnTerms, byColumn } = state;
    for (const [mode, button] of Object.entries(this.#modes)) button.setAttribute('aria-pressed', String(byColumn) === mode);
    this.element.hidden = !result || (result.ready ?? false);
    // The terms may still be those of what was shown before.
    if (this.element.hidden) return;
    if (byColumn && columnTerms) this.#column(state, columnTerms);
    else if (!byColumn && terms) this.#row(state, terms);
  }

  #row({ result, mask }, terms) {
    const { temperature } = result.job;
    const additive = result.score === 'additive';
    const { row: i, col: j, at } = terms;
    const query = named(result.tokens[i], i, 'query');
    const key = named(result.keyTokens[j], j, 'key');
    this.#title.replaceChildren(...t.inspector.rowTitle(query.cloneNode(true), key.cloneNode(true)));
    const hidden = at.score === -Infinity;
    const digits = Math.abs(at.dot) < 1 ? 4 : 3;
    const steps = h('ol', { class: 'terms' },
      term(t.inspector.match[result.score], matchFormula(result, i, j, format(at.dot, digits)), [
        vector(t.inspector.vectorQ, terms.query, 'is-query'), vector(t.inspector.vectorK[result.score], terms.key, 'is-key'),
        vector(t.inspector.vectorProduct[result.score], terms.products)]),
      term(additive ? t.inspector.cool : t.inspector.scale, scaleFormula(result, at, temperature, digits)),
      term(t.inspector.mask, h('p', {}, hidden ? t.inspector.maskHidden : mask.kind === 'none' ? t.inspector.maskNone : t.inspector.maskVisible)),
      term(t.inspector.softmax, hidden
        ? h('p', {}, t.inspector.softmaxHidden)
        : chain([sub(mi('a'), row(mn(i + 1), mo(','), mn(j + 1)))], [frac(
          sup(mi('e'), shifted(mn(format(at.score, 2)), terms.shift)),
          row(sum(mi('m')), sup(mi('e'), shifted(sub(mi('s'), mi('m')), terms.shift))))],
        [frac(mn(format(at.power, 4)), mn(format(terms.sum, 4)))], [mn(format(at.weight, 4))]),
      terms.shift !== 0 && h('p', { class: 'term-what' }, t.inspector.shifted)),
      term(t.inspector.sum, [
        block(sub(mi('o'), mn(i + 1)), mo('='), sum(mi('j')), sub(mi('a'), row(mn(i + 1), mi('j'))), v(mi('j'))),
        vector(t.inspector.vectorV, terms.value, 'is-value'),
        vector(t.inspector.vectorPart(format(at.weight, 3)), terms.part),
        vector(t.inspector.vectorO, terms.output)]),
      result.decoded && term(t.inspector.words, [this.#words(result, terms),
        result.words.length > result.dv && h('p', { class: 'term-what' }, t.inspector.wordsOverlap(result.words.length, result.dv))]));
    const table = h('div', { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': t.inspector.tableLabel },
      h('table', { class: 'terms-table' },
        h('caption', {}, t.inspector.tableCaption(result.tokens[i], i, terms.keys.length, result.m)),
        h('thead', {}, h('tr', {}, t.inspector.columns(result.score, terms.shift !== 0).map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, terms.keys.map((col, at) => this.#line({ result, terms, i, col, at, j }))),
        h('tfoot', {}, h('tr', {}, h('th', { scope: 'row' }, t.inspector.sumOfRow), h('td', {}), h('td', {}),
          h('td', {}, format(terms.sum, 4)), h('td', {}, format(terms.rowSum, 4)), h('td', {})))));
    this.#body.replaceChildren(steps, table);
  }

  #line({ result, terms, i, col, at, j }) {
    const hidden = terms.scores[at] === -Infinity;
    const weight = terms.weights[at];
    return h('tr', { class: col === j ? 'is-chosen' : hidden ? 'is-hidden' : '', onclick: () => this.#onCell({ row: i, col }) },
      h('th', { scope: 'row' }, named(result.keyTokens[col], col, 'key')),
      h('td', {}, format(terms.dots[at], 3)),
      h('td', {}, hidden ? '−∞' : format(terms.scores[at], 3)),
      h('td', {}, format(terms.powers[at], 4)),
      h('td', {}, format(weight, 4)),
      h('td', { class: 'bar-cell' }, bar(weight)));
  }

  #words(result, { head, row: i }) {
    const count = result.words.length;
    const from = (head * result.n + i) * count;
    const shares = result.decoded.data.subarray(from, from + count);
    const order = [...shares.keys()].filter((w) => Math.abs(shares[w]) >= 0.005).sort((a, b) => shares[b] - shares[a]).slice(0, 6);
    if (order.length === 0) return h('p', {}, t.inspector.noWords);
    return h('ul', { class: 'word-bars' }, order.map((w) => h('li', {},
      tokenText(result.words[w]), bar(Math.max(0, shares[w])), h('span', {}, format(shares[w], 3)))));
  }

  #column({ result }, terms) {
    const { col } = terms;
    const key = named(result.keyTokens[col], col, 'key');
    this.#title.replaceChildren(...t.inspector.columnTitle(key));
    this.#body.replaceChildren(
      h('p', { class: 'column-words' }, t.inspector.columnSum(format(terms.sum, 3), result.n)),
      h('div', { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': t.inspector.tableLabel },
        h('table', { class: 'terms-table' },
          h('caption', {}, t.inspector.columnCaption(terms.queries.length, result.n)),
          h('thead', {}, h('tr', {}, [t.readout.query, t.readout.weight, ''].map((name) => h('th', { scope: 'col' }, name || h('span', { class: 'away' }, t.readout.weight))))),
          h('tbody', {}, terms.queries.map((i, at) => h('tr', { onclick: () => this.#onCell({ row: i, col }) },
            h('th', { scope: 'row' }, named(result.tokens[i], i, 'query')),
            h('td', {}, format(terms.weights[at], 4)),
            h('td', { class: 'bar-cell' }, bar(terms.weights[at]))))),
          h('tfoot', {}, h('tr', {}, h('th', { scope: 'row' }, t.inspector.sumOfColumn), h('td', {}, format(terms.sum, 4)), h('td', {}))))));
  }
}

export function named(token, index, role) {
  return h('b', { class: `nowrap is-${role}` }, tokenText(token ?? ''), h('sub', {}, placeAfter(token ?? '', index).trim()));
}

function term(words, ...content) {
  return h('li', { class: 'term' }, h('h3', {}, words.name), h('p', { class: 'term-what' }, words.what), content);
}

function matchFormula({ score }, i, j, number) {
  const [query, key] = [q(mn(i + 1)), k(mn(j + 1))];
  if (score === 'additive') return chain([sub(mi('e'), row(mn(i + 1), mo(','), mn(j + 1)))], [mi('u'), mo('·'), mi('tanh'), mo('('), mi('W'), mo('['), query, mo(';'), key, mo(']'), mo('+'), mi('b'), mo(')')], [mn(number)]);
  if (score === 'multiplicative') return chain([query, mo('·'), mi('W'), key], [mn(number)]);
  return chain([query, mo('·'), key], [sum(mi('f')), sub(mi('q'), mi('f')), sub(mi('k'), mi('f'))], [mn(number)]);
}

/** An exponent, less what the engine took from it: the row's largest score, where e to its power would overflow. */
function shifted(score, shift) {
  return shift === 0 ? score : row(score, mo('−'), mn(format(shift, 2)));
}

function scaleFormula(result, at, temperature, digits) {
  if (at.score === -Infinity) return h('p', {}, t.inspector.scaleHidden);
  const divided = result.score !== 'additive' && result.job.scaled;
  if (!divided && temperature === 1) return block(mi('s'), mo('='), mn(format(at.dot, digits)), mtext(`\u00a0 ${t.inspector.scaleOff}`));
  const below = [];
  if (divided) below.push(sqrt(mn(result.d)));
  if (temperature !== 1) below.push(...(divided ? [mo('·')] : []), mn(format(temperature, 1)));
  return chain([mi('s')], [frac(mn(format(at.dot, digits)), row(...below))], [mn(format(at.score, digits))]);
}

function bar(share) {
  const inner = h('i', {});
  inner.style.width = `${Math.min(100, 100 * share)}%`;
  return h('span', { class: 'bar', 'aria-hidden': 'true' }, inner);
}

/** A vector as a strip of cells, its largest size the end of the scale; the numbers are in each cell's title. */
function vector(name, numbers, className = '') {
  const end = numbers.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
  const shown = [...numbers];
  return h('figure', { class: 'vector' },
    h('figcaption', { class: className }, name),
    h('div', { class: 'vector-cells', role: 'img', 'aria-label': `${name}: ${shown.map((x) => format(x, 2)).join(', ')}` }, shown.map((x) => {
      const cell = h('i', { title: format(x, 4) });
      cell.style.background = cssColor('diverging', Math.round(127.5 + (end > 0 ? 127.5 * (x / end) : 0)));
      return cell;
    })),
    h('span', { class: 'vector-end' }, `±${format(end, 2)}`));
}

