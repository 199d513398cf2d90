import { STATUS } from './abi.js';

export class AttentionError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.code = code;
  }
}
Object.defineProperty(AttentionError.prototype, 'name', { value: 'AttentionError' });

// check(status, what, phrase): throws unless status is ATTN_OK. Arguments were checked before the call, so that
// anything but these three is this library's own mistake. phrase(status) says the status in words.
export function check(status, what, phrase) {
  if (status === STATUS.OK) return;
  const text = `${what}: ${phrase(status)}`;
  if (status === STATUS.ERR_SIZE) throw new RangeError(text);
  const codes = { [STATUS.ERR_MEMORY]: 'memory', [STATUS.ERR_UNSUPPORTED]: 'unsupported' };
  throw new AttentionError(codes[status] ?? 'internal', text);
}

function describe(value) {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value === null || typeof value !== 'object') return typeof value === 'function' ? 'a function' : String(value);
  try {
    return String(value.constructor?.name ?? 'an object');
  } catch {
    return 'an object';
  }
}

export const wrongKind = (name, expected, got) => new TypeError(`${name}: expected ${expected}, got ${describe(got)}`);
export const wrongSize = (name, expected, got) => new RangeError(`${name}: expected ${expected}, got ${got}`);

// The method that `using` calls, in engines that know it.
export const DISPOSE = Symbol.dispose ?? '@@dispose';

export const MAX_INT = 2 ** 31 - 1;

export function integer(value, name, min = 1, max = MAX_INT) {
  if (typeof value !== 'number') throw wrongKind(name, 'an integer', value);
  if (!Number.isInteger(value) || value < min || value > max) throw wrongSize(name, `an integer from ${min} to ${max}`, value);
  return value;
}

export function finite(value, name, min = -Infinity) {
  if (typeof value !== 'number') throw wrongKind(name, 'a number', value);
  if (!Number.isFinite(value) || value < min)
    throw wrongSize(name, min === 0 ? 'a finite number of at least 0' : 'a finite number', value);
  return value;
}

// A scale or softcap: attn.h says what float32 calls take.
export function factor(value, name, type, min) {
  const size = Math.abs(finite(value, name, min));
  if (type === 'f32' && size !== 0 && (size < 2 ** -100 || size > 2 ** 100)) throw wrongSize(name, 'a number from 2^-100 to 2^100, or 0, in a float32 call', value);
  return value;
}

export function flag(value, name) {
  if (typeof value !== 'boolean') throw wrongKind(name, 'a boolean', value);
  return value;
}

// choice(value, name, { word: number, ... }) -> the word's number
export function choice(value, name, words) {
  if (typeof value !== 'string' || !Object.hasOwn(words, value))
    throw wrongKind(name, Object.keys(words).map((word) => `'${word}'`).join(', '), value);
  return words[value];
}

// readOptions(given, name, defaults) -> every option of defaults, as given unless undefined or null. An option that
// does not exist is an error: silently ignored, it would give a wrong result.
export function readOptions(given, name, defaults) {
  if (given == null) return defaults;
  if (typeof given !== 'object' || Array.isArray(given)) throw wrongKind(name, 'an object', given);
  const result = { ...defaults };
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(defaults, key)) throw new TypeError(`${name}.${key}: no such option; there are ${Object.keys(defaults).join(', ')}`);
    result[key] = given[key] ?? defaults[key];
  }
  return result;
}
