// Elements from data. Text only ever becomes text nodes, so that a token cannot become markup.

/** h('button', { class: 'x', onclick: f, 'aria-label': 'y' }, 'text', child, ...) */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

export function math(tag, props = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/1998/Math/MathML', tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean' && name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A token as text that cannot disturb its surroundings: its own direction, its own line. */
export function tokenText(token, className = 'token-text') {
  return h('bdi', { class: className }, token);
}
