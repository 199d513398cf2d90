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
    this.element = h('div', { class: 'colorbar', role: 'img' },
      h('div', { class: 'colorbar-scale' }, this.#canvas, this.#ticks), this.#hatch);
  }

  update(scale, anyHidden) {
    const context = this.#canvas.getContext('2d');
    const image = context.createImageData(256, 1);
    const table = colorTable(scale.palette);
    for (let i = 0; i < 256; i += 1) image.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
    context.putImageData(image, 0, 0);
    const shares = scale.signed ? [-1, 0, 1] : [0, 0.1, 0.5, 1];
    let last = -1;
    const words = [];
    this.#ticks.replaceChildren(...shares.map((share) => {
      const place = scale.place(share);
      // Ticks that would run into each other are left out; the ends always stay.
      if (share !== 1 && (place - last < 0.12 || place > 0.88)) return null;
      last = place;
      const text = tickText(scale, share);
      words.push(text);
      const tick = h('span', {}, text);
      tick.style.left = `${100 * place}%`;
      tick.classList.toggle('is-end', place > 0.99);
      tick.classList.toggle('is-start', place < 0.01);
      return tick;
    }).filter(Boolean));
    this.element.setAttribute('aria-label', `${t.colorBar}: ${words.join(', ')}`);
    this.#hatch.hidden = !anyHidden;
  }
}

function tickText(scale, share) {
  if (share === 0) return '0';
  if (scale.perRow) return share === 1 ? t.rowLargest : share === -1 ? `−${t.rowLargest}` : `${100 * share} %`;
  const value = share * scale.high;
  return format(value, Math.abs(value) >= 10 ? 1 : 2);
}
