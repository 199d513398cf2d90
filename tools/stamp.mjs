#!/usr/bin/env node
// What the WebAssembly modules were built from, so that an old build is not packed.
//
//   node tools/stamp.mjs sources      prints the hash of what they are built from
//   node tools/stamp.mjs write HASH   says beside the modules that these, as they are, come from there
//   node tools/stamp.mjs check        fails unless the sources and the modules are still those

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const below = (folder) => readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
  .sort();

function hashOf(folder, files) {
  const hash = createHash('sha256');
  for (const file of files) {
    const bytes = readFileSync(path.join(folder, file));
    hash.update(`${file.replaceAll(path.sep, '/')} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest('hex');
}

export const sources = (root = ROOT) => hashOf(root, [
  'CMakeLists.txt', 'tools/cmake/wasm.cmake', ...['include', 'src'].flatMap((folder) => below(path.join(root, folder)).map((file) => path.join(folder, file))),
]);

const modulesOf = (root) => path.join(root, 'web/lib/wasm');
const stampOf = (root) => path.join(modulesOf(root), 'built-from.json');
const builtModules = (root) => hashOf(modulesOf(root), below(modulesOf(root)).filter((file) => file.endsWith('.wasm')));

export function write(hash, root = ROOT) {
  writeFileSync(stampOf(root), JSON.stringify({ sources: hash, modules: builtModules(root) }));
}

/** What is wrong with the build, or nothing. */
export function complaint(root = ROOT) {
  if (!existsSync(stampOf(root))) return 'the WebAssembly modules have not been built';
  const stamp = JSON.parse(readFileSync(stampOf(root), 'utf8'));
  if (stamp.sources !== sources(root)) return 'the sources have changed since the WebAssembly modules were built';
  if (stamp.modules !== builtModules(root)) return 'the WebAssembly modules are not those that were built';
  return undefined;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [command, hash] = process.argv.slice(2);
  if (command === 'sources') console.log(sources());
  else if (command === 'write' && /^[0-9a-f]{64}$/.test(hash)) write(hash);
  else if (command === 'check') {
    const wrong = complaint();
    if (wrong) {
      console.error(`${wrong}: run  ./build.sh build`);
      process.exitCode = 1;
    }
  } else {
    console.error('usage: stamp.mjs sources | write HASH | check');
    process.exitCode = 2;
  }
}
