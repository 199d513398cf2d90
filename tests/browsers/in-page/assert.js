// node:assert/strict, as far as the module's tests use it, in a page. Same meaning: values are compared by Object.is,
// objects by prototype, keys and elements.

export class AssertionError extends Error {}
AssertionError.prototype.name = 'AssertionError';

const shown = (value) => {
  try {
    return String(JSON.stringify(value, (key, x) => (typeof x === 'number' && !Number.isFinite(x) ? String(x) : ArrayBuffer.isView(x) ? [...x] : x)) ?? value).slice(0, 300);
  } catch {
    return String(value);
  }
};
const fail = (message, what) => {
  if (message instanceof Error) throw message;
  throw new AssertionError([message, what].filter(Boolean).join(': '));
};

function isSame(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (ArrayBuffer.isView(a)) return a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
  if (a instanceof Map || a instanceof Set) return isSame([...a], [...b]);
  if (a instanceof Error && (a.name !== b.name || a.message !== b.message)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isSame(a[key], b[key]));
}

// error against what assert.throws and assert.rejects take: a class, a function, an expression, or an object of properties.
function checkError(error, expected, message) {
  if (expected === undefined || typeof expected === 'string') return;
  if (expected instanceof RegExp) {
    if (!expected.test(String(error))) fail(message, `${error} does not match ${expected}`);
  } else if (typeof expected === 'function') {
    if (expected.prototype !== undefined && error instanceof expected) return;
    if (expected === Error || Error.isPrototypeOf(expected)) fail(message, `${error} is no ${expected.name}`);
    if (expected(error) !== true) fail(message, `not the error that was expected: ${error}`);
  } else if (expected instanceof Error) {
    if (!isSame({ ...error, name: error.name, message: error.message }, { ...expected, name: expected.name, message: expected.message })) fail(message, `${error} is not ${expected}`);
  } else {
    for (const [key, want] of Object.entries(expected))
      if (!(want instanceof RegExp && typeof error[key] === 'string' ? want.test(error[key]) : isSame(error[key], want)))
        fail(message, `${key} of the error is ${shown(error[key])}, not ${want instanceof RegExp ? want : shown(want)}: ${error}`);
  }
}

const assert = {
  ok: (value, message) => value || fail(message, `${shown(value)} is not true`),
  equal: (a, b, message) => Object.is(a, b) || fail(message, `${shown(a)} is not ${shown(b)}`),
  notEqual: (a, b, message) => !Object.is(a, b) || fail(message, `${shown(a)} is the same`),
  deepEqual: (a, b, message) => isSame(a, b) || fail(message, `${shown(a)} is not ${shown(b)}`),
  notDeepEqual: (a, b, message) => !isSame(a, b) || fail(message, `${shown(a)} is the same`),
  match: (text, pattern, message) => (typeof text === 'string' && pattern.test(text)) || fail(message, `${shown(text)} does not match ${pattern}`),
  throws(run, expected, message) {
    let error;
    try {
      run();
    } catch (thrown) {
      error = { thrown };
    }
    if (!error) fail(message, `nothing was thrown by ${run}`);
    checkError(error.thrown, expected, message);
  },
  async rejects(promise, expected, message) {
    const error = await (typeof promise === 'function' ? promise() : promise).then(() => undefined, (thrown) => ({ thrown }));
    if (!error) fail(message, 'it was not rejected');
    checkError(error.thrown, expected, message);
  },
};

export default assert;
