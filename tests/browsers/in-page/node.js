// What the module's tests import from Node for tests that do not run in a page, or for nothing that matters there.

const absent = (name) => () => { throw new Error(`${name} is not for a page`); };

export const readFileSync = absent('readFileSync');
export const readdirSync = absent('readdirSync');
export const basename = absent('basename');
export const dirname = absent('dirname');
export const extname = absent('extname');
export const join = absent('join');
export const relative = absent('relative');

export default { setFlagsFromString() {}, runInNewContext: () => absent('collecting garbage') };
