// What a page has to load: bytes as a server sends them.

import { build } from 'esbuild';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const LIBRARY = new URL('../../web/lib/', import.meta.url);
export const LIMITS = { wasm: 40_000, core: 12_000, scripts: 24_000 };

const gzipped = (bytes) => gzipSync(bytes, { level: 9 }).length;

/** The bytes of all scripts that a page loads for this entry point: one bundle, minified, gzipped. */
async function scripts(entry) {
  const { outputFiles } = await build({
    stdin: { contents: `export { Attention } from './${entry}';`, resolveDir: fileURLToPath(LIBRARY) },
    bundle: true, minify: true, format: 'esm', write: false,
  });
  return gzipped(outputFiles[0].contents);
}

/** { title, build, bytes, atMost }: of each build its .wasm, and the module's scripts. */
export async function sizes() {
  const builds = readdirSync(new URL('wasm/', LIBRARY)).filter((file) => file.endsWith('.wasm')).map((file) => file.replace(/\.wasm$/, ''));
  return [
    ...builds.map((name) => (
      { title: 'the .wasm, gzipped', build: name, bytes: gzipped(readFileSync(new URL(`wasm/${name}.wasm`, LIBRARY))), atMost: LIMITS.wasm })),
    { title: 'scripts of spotlight-attention/core: loader, glue and sdpa; bundled, minified, gzipped', build: 'all', bytes: await scripts('core.js'), atMost: LIMITS.core },
    { title: 'scripts of spotlight-attention, the same way', build: 'all', bytes: await scripts('index.js'), atMost: LIMITS.scripts },
  ];
}
