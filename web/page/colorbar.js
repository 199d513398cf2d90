// The colour bar: which colour means which number, with its ends and middle written out.

import { h } from './dom.js';
import { colorTable } from './colormaps.js';
import { format } from './scales.js';
import { t } from './strings.js';

export class ColorBar {
  #canvas = h('canvas', { class: 'colorbar-ramp', width: 256, height: 1, 'aria-hidden': 'true' });
  #ticks = h('div', { class: 'colorbar-ticks', 'aria-hidden': 'true' });
  #hatch = h('span', { class: 'colorbar-masked' }, h('i', { class: 'hatch' }), t.masked);

  constructor() {
    this.element = h('div', { class: 'colorbar' },
      this.scaleElement = h('div', { class: 'colorbar-scale', role: 'img' }, this.#canvas, this.#ticks), this.#hatch);
  }

  update(scale, anyHidden) {
    const context = this.#canvas.getContext('2d');
    const image = context.createImageData(256, 1);
    const table = colorTable(scale.palette);
    for (let i = 0; i < 256; i += 1) image.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
    context.putImageData(image, 0, 0);
    const ticks = ticksOf(scale);
    this.#ticks.replaceChildren(...ticks.map(({ place, text }) => {
      const tick = h('span', {}, text);
      tick.style.left = `${100 * place}%`;
      tick.classList.toggle('is-end', place > 0.99);
      tick.classList.toggle('is-start', place < 0.01);
      return tick;
    }));
    this.scaleElement.setAttribute('aria-label', `${t.colorBar}: ${ticks.map(({ text }) => text).join(', ')}`);
    this.#hatch.hidden = !anyHidden;
  }
}

/** [{ place: 0..1, text }]; those that would run into each other are left out, the ends always stay. */
function ticksOf(scale) {
  const shares = scale.signed ? [-1, 0, 1] : [0, 0.01, 0.1, 0.5, 1];
  const ticks = [];
  for (const share of shares) {
    const place = scale.place(share);
    const crowded = ticks.length > 0 && place - ticks.at(-1).place < 0.12;
    if (share !== 1 && (crowded || place > 0.88)) continue;
    ticks.push({ place, text: tickText(scale, share) });
  }
  return ticks;
}

function tickText(scale, share) {
  if (share === 0) return '0';
  if (scale.perRow) return share === 1 ? t.rowLargest : share === -1 ? `−${t.rowLargest}` : `${100 * share} %`;
  const value = share * scale.high;
  return format(value, Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.095 || value === 0 ? 2 : 3);
}
