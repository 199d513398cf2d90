// What a page has to load: bytes as a server sends them.

import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIBRARY = new URL('../../web/lib/', import.meta.url);
const LIMITS = { wasm: 40_000, scripts: 12_000 };

const gzipped = (file) => gzipSync(readFileSync(new URL(file, LIBRARY)), { level: 9 }).length;

/** Per build: its .wasm, and all scripts of the module with the build's glue. { title, bytes, atMost } */
export function sizes() {
  const scripts = readdirSync(LIBRARY).filter((file) => file.endsWith('.js')).reduce((sum, file) => sum + gzipped(file), 0);
  return readdirSync(new URL('wasm/', LIBRARY))
    .filter((file) => file.endsWith('.wasm'))
    .map((file) => file.replace(/\.wasm$/, ''))
    .flatMap((variant) => [
      { title: `${variant}.wasm, gzipped`, bytes: gzipped(`wasm/${variant}.wasm`), atMost: LIMITS.wasm },
      { title: `web/lib/*.js and ${variant}.mjs, each gzipped`, bytes: scripts + gzipped(`wasm/${variant}.mjs`), atMost: LIMITS.scripts },
    ]);
}
