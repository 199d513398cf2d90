// JSON: an object of nested arrays by name, with "tokens" if there are any; or a list of such objects, as BertViz
// takes them. Pure; also runs in Node.

import { FileProblem, MAX_AXES, quoted } from './numbers.js';

/** { tensors: [{ name, shape, dtype, read() }], tokens, keyTokens, object } */
export function readJson(bytes, name = 'file') {
  let value;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new FileProblem(`${name} is not JSON: ${error.message}`);
  }
  let object = value;
  if (Array.isArray(value)) {
    // A bare list is either one tensor or BertViz's list of attentions.
    object = typeof value[0] === 'object' && !Array.isArray(value[0]) ? value[0] : { weights: value };
  }
  if (typeof object !== 'object' || object === null) throw new FileProblem(`${name} holds no tensors.`);
  const tensors = [];
  for (const [key, entry] of Object.entries(object)) {
    if (!Array.isArray(entry) || !deepNumber(entry)) continue;
    const shape = shapeOf(entry);
    const where = `${name}: ${quoted(key)}`;
    if (shape.length > MAX_AXES) throw new FileProblem(`${where} has ${shape.length} axes; up to ${MAX_AXES} can be read.`);
    const numbers = [];
    flatten(entry, shape, 0, numbers, where);
    const data = Float32Array.from(numbers);
    tensors.push({ name: key, shape, dtype: 'json', read: () => data });
  }
  const words = (list) => (Array.isArray(list) && list.every((token) => typeof token === 'string') ? list : null);
  return {
    tensors, object,
    tokens: words(object.tokens) ?? words(object.left_text) ?? words(object.queryTokens),
    keyTokens: words(object.keyTokens) ?? words(object.right_text),
  };
}

function deepNumber(entry) {
  let first = entry;
  while (Array.isArray(first)) [first] = first;
  return typeof first === 'number';
}

function shapeOf(entry) {
  const shape = [];
  for (let part = entry; Array.isArray(part); [part] = part) shape.push(part.length);
  return shape;
}

function flatten(entry, shape, axis, out, where) {
  if (axis === shape.length) {
    if (typeof entry !== 'number') throw new FileProblem(`${where} holds something that is not a number.`);
    out.push(entry);
    return;
  }
  if (!Array.isArray(entry) || entry.length !== shape[axis]) throw new FileProblem(`${where} is ragged: its rows differ in length.`);
  for (const part of entry) flatten(part, shape, axis + 1, out, where);
}
