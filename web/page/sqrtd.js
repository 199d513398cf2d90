// Why the scores are divided by the square root of d: three small charts over d, without and with the division.

import { h, svg } from './dom.js';
import { format } from './scales.js';
import { t } from './strings.js';

const WIDTH = 380;
const HEIGHT = 220;
const PAD = { left: 46, right: 14, top: 14, bottom: 34 };

export class SquareRootPanel {
  #charts = h('div', { class: 'charts' });
  #table = h('div', { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': t.sqrtd.table });

  constructor() {
    this.element = h('div', { class: 'panel' },
      h('p', { class: 'chart-key' },
        h('span', { class: 'key-plain' }, svgKey('plain'), t.sqrtd.plain), h('span', { class: 'key-scaled' }, svgKey('scaled'), t.sqrtd.scaled)),
      this.#charts,
      h('details', {}, h('summary', {}, t.sqrtd.table), this.#table));
  }

  update(figure, d) {
    if (!figure) return;
    const { sizes, plain, scaled } = figure;
    this.#charts.replaceChildren(
      chart({ name: t.sqrtd.largest, sizes, d, plain: plain.map((p) => p.largest), scaled: scaled.map((p) => p.largest), ticks: [0, 0.25, 0.5, 0.75, 1], log: false }),
      chart({ name: t.sqrtd.entropy(figure.keys, figure.even), sizes, d, plain: plain.map((p) => p.entropy), scaled: scaled.map((p) => p.entropy), ticks: [0, 1, 2, 3, 4], log: false }),
      chart({ name: t.sqrtd.variance, sizes, d, plain: plain.map((p) => p.variance), scaled: scaled.map((p) => p.variance), ticks: [1, 10, 100, 1000], log: true }));
    const columns = ['largest', 'entropy', 'variance'];
    this.#table.replaceChildren(h('table', { class: 'terms-table' },
      h('caption', {}, t.sqrtd.caption(figure.trials, figure.keys)),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'd'),
        columns.flatMap((name) => [h('th', { scope: 'col' }, `${t.sqrtd.short[name]}, ${t.sqrtd.plain}`), h('th', { scope: 'col' }, `${t.sqrtd.short[name]}, ${t.sqrtd.scaled}`)]))),
      h('tbody', {}, sizes.map((size, at) => h('tr', {}, h('th', { scope: 'row' }, String(size)),
        columns.flatMap((name) => [h('td', {}, format(plain[at][name], 2)), h('td', {}, format(scaled[at][name], 2))]))))));
  }
}

function svgKey(name) {
  return svg('svg', { class: `line-key line-${name}`, viewBox: '0 0 34 10', 'aria-hidden': 'true' }, svg('path', { d: 'M1 5 H33' }), svg('circle', { cx: 17, cy: 5, r: 3 }));
}

function chart({ name, sizes, d, plain, scaled, ticks, log }) {
  const inner = { width: WIDTH - PAD.left - PAD.right, height: HEIGHT - PAD.top - PAD.bottom };
  const x = (size) => PAD.left + (Math.log2(size / sizes[0]) / Math.log2(sizes.at(-1) / sizes[0])) * inner.width;
  const low = log ? Math.log10(0.5) : ticks[0];
  const high = log ? Math.log10(2000) : ticks.at(-1);
  const y = (value) => PAD.top + inner.height * (1 - ((log ? Math.log10(Math.max(value, 0.5)) : value) - low) / (high - low));
  const line = (values, className) => svg('g', { class: `line-${className}` },
    svg('path', { d: values.map((value, at) => `${at ? 'L' : 'M'}${x(sizes[at]).toFixed(1)} ${y(value).toFixed(1)}`).join(' ') }),
    values.map((value, at) => svg('circle', { cx: x(sizes[at]).toFixed(1), cy: y(value).toFixed(1), r: 3 }, svg('title', {}, `d = ${sizes[at]}: ${format(value, 2)}`))));
  return h('figure', { class: 'chart' }, h('figcaption', {}, name),
    svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `${name}. ${t.sqrtd.plain}: ${format(plain[0], 2)} – ${format(plain.at(-1), 2)}. ${t.sqrtd.scaled}: ${format(scaled[0], 2)} – ${format(scaled.at(-1), 2)}.` },
      ticks.map((tick) => svg('g', { class: 'axis' },
        svg('path', { d: `M${PAD.left} ${y(tick)} H${WIDTH - PAD.right}` }),
        svg('text', { x: PAD.left - 7, y: y(tick) + 4, 'text-anchor': 'end' }, String(tick)))),
      sizes.filter((_, at) => at % 2 === 0).map((size) => svg('text', { class: 'axis-text', x: x(size), y: HEIGHT - 14, 'text-anchor': 'middle' }, String(size))),
      svg('text', { class: 'axis-text', x: WIDTH - PAD.right, y: HEIGHT - 1, 'text-anchor': 'end' }, t.sqrtd.axis),
      sizes.includes(d) ? svg('path', { class: 'chart-now', d: `M${x(d)} ${PAD.top} V${HEIGHT - PAD.bottom}` }) : null,
      line(scaled, 'scaled'), line(plain, 'plain')));
}
