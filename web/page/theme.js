// Light, dark, or as the system says; and the few colours that canvases need as strings.

import { h } from './dom.js';
import { t } from './strings.js';

const KEY = 'spotlight-theme';

export function createTheme({ changed }) {
  const root = document.documentElement;
  let style = null;
  const refresh = () => { style = null; changed(); };
  for (const query of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)', '(forced-colors: active)', 'print']) {
    matchMedia(query).addEventListener('change', refresh);
  }
  const select = h('select', { onchange: () => apply(select.value) },
    Object.entries(t.themes).map(([value, name]) => h('option', { value }, name)));
  const apply = (name) => {
    if (name === 'auto') delete root.dataset.theme;
    else root.dataset.theme = name;
    try { localStorage.setItem(KEY, name); } catch { /* Private windows refuse; the choice then lasts for the visit. */ }
    refresh();
  };
  let stored = null;
  try { stored = localStorage.getItem(KEY); } catch { /* as above */ }
  if (stored in t.themes && stored !== 'auto') {
    select.value = stored;
    root.dataset.theme = stored;
  }
  return {
    element: h('label', { class: 'theme' }, h('span', {}, t.theme), select),
    style() {
      if (!style) {
        const computed = getComputedStyle(root);
        const color = (name) => computed.getPropertyValue(name).trim();
        style = {
          masked: color('--masked'), hatch: color('--hatch'), query: color('--query'), key: color('--key'),
          outlineOuter: color('--outline-outer'), outlineInner: color('--outline-inner'), font: color('--sans'),
          paper: color('--bg'), ink: color('--ink'),
        };
      }
      return style;
    },
  };
}
