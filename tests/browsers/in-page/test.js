// node:test, as far as the module's tests use it, in a page.

const tests = [];

export function test(name, ...rest) {
  tests.push({ name, run: rest.at(-1) });
}

/** The results of the files' tests, one after the other: [{ name, error }], error null where the test passed. `leaveOut` tells which. */
export async function results(files, leaveOut) {
  // What the tests, not the module, ask of Node.
  globalThis.process = { env: {}, versions: { v8: '' } };
  // WebKit does not have it yet; whoever uses it there brings it.
  Symbol.dispose ??= Symbol('Symbol.dispose');
  for (const file of files) await import(file);
  const found = [];
  for (const { name, run } of tests.filter((one) => !leaveOut.includes(one.name.replace(/ \([^)]*\)$/, '')))) {
    let error = null;
    try {
      await run({ name });
    } catch (thrown) {
      error = `${thrown}\n${thrown?.stack ?? ''}`;
    }
    found.push({ name, error });
    await new Promise((resolve) => { setTimeout(resolve); }); // the browser may draw, collect and listen
  }
  return found;
}
