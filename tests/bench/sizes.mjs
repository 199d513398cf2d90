// What a page has to load: bytes as a server sends them.

import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIBRARY = new URL('../../web/lib/', import.meta.url);
const LIMITS = { wasm: 40_000, scripts: 12_000 };

const gzipped = (file) => gzipSync(readFileSync(new URL(file, LIBRARY)), { level: 9 }).length;

/** { title, build, bytes, atMost }: of each build its .wasm, and all scripts of the module with the build's glue. */
export function sizes() {
  const scripts = readdirSync(LIBRARY).filter((file) => file.endsWith('.js')).reduce((sum, file) => sum + gzipped(file), 0);
  const builds = readdirSync(new URL('wasm/', LIBRARY)).filter((file) => file.endsWith('.wasm')).map((file) => file.replace(/\.wasm$/, ''));
  return [
    ...builds.map((build) => ({ title: 'the .wasm, gzipped', build, bytes: gzipped(`wasm/${build}.wasm`), atMost: LIMITS.wasm })),
    ...builds.map((build) => (
      { title: 'web/lib/*.js and the build\'s .mjs, each gzipped', build, bytes: scripts + gzipped(`wasm/${build}.mjs`), atMost: LIMITS.scripts })),
  ];
}
