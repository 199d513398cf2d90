// Damaged and lying tensor files, made from whole ones by a seeded random: what the page's readers do with them.
// Each must be refused with a FileProblem, or give tensors whose numbers are as many as their shape says.
//
//     node tests/fuzz/files.mjs [--seconds N] [--seed N]     for as long; prints the seed of a file that breaks it
//     node tests/fuzz/files.mjs --one SEED [--save FILE]     that file again

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { deflateRawSync } from 'node:zlib';
import { readJson } from '../../web/page/files/json.js';
import { FileProblem } from '../../web/page/files/numbers.js';
import { readNpy, writeNpy } from '../../web/page/files/npy.js';
import { readNpz } from '../../web/page/files/npz.js';
import { readSafetensors } from '../../web/page/files/safetensors.js';
import { openFiles } from '../../web/page/opened.js';
import { json, npy, npz, safetensors } from '../page/make.mjs';

/** Mulberry32: a function that gives the next whole number below n. */
export function random(seed) {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return Math.floor((((z ^ (z >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

const text = (words) => new TextEncoder().encode(words);
const joined = (...parts) => Uint8Array.from(Buffer.concat(parts));
const pick = (below, list) => list[below(list.length)];

/** A .npy whose header says anything. */
function npyOf(header, body = new Uint8Array(16), version = 1) {
  const length = version === 1 ? [header.length & 255, header.length >> 8] : [header.length & 255, (header.length >> 8) & 255, header.length >> 16, 0];
  return joined(Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...length), text(header), body);
}

/** A .safetensors whose header says anything. */
function safetensorsOf(header, body = new Uint8Array(16)) {
  const bytes = text(header);
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(bytes.length), true);
  return joined(new Uint8Array(length.buffer), bytes, body);
}

const numbers = (count) => Array.from({ length: count }, (_, i) => (i - 3) / 4);
const words = (list, width) => {
  const body = new DataView(new ArrayBuffer(list.length * width * 4));
  list.forEach((word, i) => [...word].forEach((c, at) => body.setUint32((i * width + at) * 4, c.codePointAt(0), true)));
  return npyOf(`{'descr': '<U${width}', 'fortran_order': False, 'shape': (${list.length},), }`, new Uint8Array(body.buffer));
};

/** Whole files of every kind: [ending, bytes]. */
const WHOLE = [
  ...['<f4', '>f4', '<f8', '<f2', '<i8', '<i4', '>i2', '|i1'].map((descr) => ['npy', npy(descr === '<f2' ? [1, 2, 3, 4, 5, 6] : numbers(6).map(Math.round), [2, 3], { descr })]),
  ['npy', npy(numbers(12), [2, 3, 2], { fortran: true })],
  ['npy', npy([7], [])],
  ['npy', writeNpy(Float64Array.from(numbers(6)), [6])],
  ['npy', words(['the', 'cat', 'sat'], 4)],
  ['npz', npz({ q: npy(numbers(6), [2, 3]), k: npy(numbers(6), [2, 3]), tokens: words(['a', 'b'], 2) })],
  ['npz', npz({ q: npy(numbers(600), [20, 30]), k: npy(numbers(60), [2, 30]) }, deflateRawSync)],
  ['safetensors', safetensors({ __metadata__: { format: 'pt' }, a: ['F32', [2, 2], [1, 2, 3, 4]], b: ['F16', [2], [0.5, 1]], c: ['BF16', [2], [1, -3]] })],
  ['json', json({ q: [[1, 2], [3, 4]], tokens: ['a', 'b'], note: 'x', deep: [[[[1]]]] })],
  ['json', json([{ attn: [[[[0.5, 0.5], [1, 0]]]], left_text: ['a', 'b'], right_text: ['a', 'b'] }])],
  ['json', json([[1, 2], [3, 4]])],
];

const SIZES = ['0', '1', '2', '-1', '1.5', '65536', '4294967295', '9007199254740991', '9007199254740992', '1e3', 'NaN', '', ' ', '007', '"2"', 'null', '[1]', '18446744073709551616'];
const TYPES = ['<f4', '<f8', '>f2', '|b1', '|O', '<c8', '<U0', '<U1', '<U99999999999999999999', '=i8', 'f4', '<V4', '<M8[ns]', '|S3', 'F32', 'F64', 'BF16', 'I64', 'U64', 'BOOL', 'F8_E4M3', 'constructor', '__proto__', ''];

const shapeOf = (below) => Array.from({ length: below(5) }, () => pick(below, SIZES)).join(',');
const nested = (below, open, close) => { const depth = 10 ** (1 + below(6)); return open.repeat(depth) + (below(2) ? '1' : '') + close.repeat(below(3) ? depth : below(depth)); };
const anyValue = (below) => pick(below, ['1', 'null', '"x"', '[]', '{}', 'NaN', '1e999', '-0', '[[1],[2,3]]', '[[],[1]]', '[1,"x"]', '[null]', nested(below, '[', ']'), nested(below, '{"a":', '}')]);

/** Files made to lie: [ending, bytes]. */
const LIARS = [
  (below) => ['npy', npyOf(`{'descr': '${pick(below, TYPES)}', 'fortran_order': ${pick(below, ['True', 'False', 'true'])}, 'shape': (${shapeOf(below)}), }`, new Uint8Array(below(64)), 1 + below(3))],
  (below) => ['npy', npyOf(`{'descr': '<f4', 'fortran_order': True, 'shape': (${'1,'.repeat(below(20000))}), }`, new Uint8Array(4), 2)],
  (below) => ['npy', npyOf(`{'descr': '<U0', 'fortran_order': False, 'shape': (${2 ** below(31)},), }`)],
  (below) => {
    const entry = () => pick(below, [anyValue(below), `{"dtype":"${pick(below, TYPES)}","shape":[${shapeOf(below)}],"data_offsets":[${pick(below, SIZES)},${pick(below, SIZES)}]}`]);
    return ['safetensors', safetensorsOf(`{"__metadata__":${anyValue(below)},"a":${entry()},"__proto__":${entry()},"b":${entry()}}`, new Uint8Array(below(64)))];
  },
  (below) => ['json', text(anyValue(below))],
  (below) => ['json', text(`{"q":${anyValue(below)},"tokens":${anyValue(below)},"__proto__":${anyValue(below)},"length":${anyValue(below)}}`)],
  (below) => ['json', text(`[${anyValue(below)},${anyValue(below)}]`)],
  // Bombs: what they say they unpack to, and what they do.
  (below) => ['npz', npz({ q: new Uint8Array(2 ** (10 + below(11))) }, deflateRawSync, { size: pick(below, [0, 1, 100, 2 ** 20, 2 ** 29, 2 ** 30, 0xffffffff]) })],
  (below) => {
    const members = {};
    for (let i = 0, count = 2 ** below(12); i < count; i += 1) members[`m${i}`] = new Uint8Array(below(3));
    return ['npz', npz(members, below(2) ? deflateRawSync : null)];
  },
];

const INTERESTING = [0, 1, 0x20, 0x7f, 0x80, 0xfe, 0xff];

/** One wound. */
function wounded(below, bytes) {
  const at = below(bytes.length + 1);
  const length = below(2) ? below(8) : below(bytes.length - at + 1);
  const copy = Uint8Array.from(bytes);
  switch (below(9)) {
    case 0: if (at < copy.length) copy[at] ^= 1 << below(8); return copy;
    case 1: if (at < copy.length) copy[at] = pick(below, INTERESTING); return copy;
    case 2: return copy.subarray(0, at);
    case 3: return joined(copy.subarray(0, at), copy.subarray(Math.min(copy.length, at + length)));
    case 4: return joined(copy.subarray(0, at), copy.subarray(at, at + length), copy.subarray(at));
    case 5: return joined(copy.subarray(0, at), Uint8Array.from({ length: below(40) }, () => below(256)), copy.subarray(at));
    case 6: copy.fill(pick(below, INTERESTING), at, at + pick(below, [1, 2, 4, 8])); return copy;
    case 7: {
      const other = pick(below, WHOLE)[1];
      return joined(copy.subarray(0, at), other.subarray(below(other.length)));
    }
    default: {
      // A number or a word of the header is another.
      const written = Buffer.from(copy).toString('latin1');
      const found = [...written.matchAll(/\d+|'[^']*'|"[^"]*"|True|False/g)];
      if (found.length === 0) return copy;
      const { 0: old, index } = pick(below, found);
      const quote = /^['"]/.exec(old)?.[0] ?? '';
      const put = pick(below, quote ? [...TYPES, 'shape', 'dtype', 'data_offsets'] : SIZES);
      return joined(copy.subarray(0, index), text(quote + put + quote), copy.subarray(index + old.length));
    }
  }
}

/** [ending, bytes] of a seed. */
export function damagedFile(seed) {
  const below = random(seed);
  let [ending, bytes] = below(3) ? pick(below, WHOLE) : pick(below, LIARS)(below);
  for (let wounds = below(4); wounds > 0 && bytes.length < 1e6; wounds -= 1) bytes = wounded(below, bytes);
  return [ending, bytes];
}

function whole({ name, shape, strings, read }) {
  assert.ok(Array.isArray(shape), `${name}: no shape`);
  for (const size of shape) assert.ok(Number.isSafeInteger(size) && size >= 0, `${name}: size ${size}`);
  const count = shape.reduce((product, size) => product * size, 1);
  if (strings) {
    assert.equal(strings.length, count);
    assert.ok(strings.every((string) => typeof string === 'string'));
    return;
  }
  let data;
  try {
    data = read();
  } catch (error) {
    refused(error);
    return;
  }
  assert.ok(data instanceof Float32Array);
  assert.equal(data.length, count, `${name}: the numbers of (${shape})`);
}

/** A refusal is a sentence for people. */
function refused(error) {
  if (!(error instanceof FileProblem)) throw error;
  assert.match(error.message, /^\S.*[.!?]?$/s);
  assert.ok(error.message.length < 2000, `a message of ${error.message.length} characters`);
}

/** Whether the file was taken; throws where a reader does what it must not. */
export async function readDamaged([ending, bytes]) {
  try {
    if (ending === 'npy') whole(readNpy(bytes));
    else if (ending === 'npz') {
      for (const { name, bytes: member } of await readNpz(bytes)) {
        assert.ok(member instanceof Uint8Array, name);
        try {
          whole(readNpy(member));
        } catch (error) {
          refused(error);
        }
      }
    } else if (ending === 'safetensors') readSafetensors(bytes).forEach(whole);
    else {
      const { tensors, tokens } = readJson(bytes);
      tensors.forEach(whole);
      assert.ok(tokens === null || tokens.every((token) => typeof token === 'string'));
    }
  } catch (error) {
    refused(error);
    return false;
  }
  try {
    await openFiles([{ name: `q.${ending}`, buffer: bytes.slice().buffer }]);
  } catch (error) {
    refused(error);
  }
  return true;
}

async function main() {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '600' }, seed: { type: 'string', default: '1' }, one: { type: 'string' }, save: { type: 'string' } } });
  if (values.one !== undefined) {
    const file = damagedFile(Number(values.one));
    if (values.save) writeFileSync(values.save, file[1]);
    console.log(`${file[0]}, ${file[1].length} bytes: ${(await readDamaged(file)) ? 'taken' : 'refused'}`);
    return;
  }
  const end = Date.now() + Number(values.seconds) * 1000;
  let seed = Number(values.seed);
  let files = 0;
  let taken = 0;
  let slowest = 0;
  for (; Date.now() < end; seed += 1, files += 1) {
    const started = Date.now();
    const file = damagedFile(seed);
    const made = Date.now();
    try {
      taken += await readDamaged(file);
    } catch (error) {
      console.error(`${error.stack.slice(0, 1500)}\n\nagain with: node tests/fuzz/files.mjs --one ${seed}`);
      process.exitCode = 1;
      return;
    }
    if (Date.now() - made > slowest) {
      slowest = Date.now() - made;
      if (slowest > 1000) console.log(`seed ${seed}: ${slowest} ms for ${file[0]} of ${file[1].length} bytes (made in ${made - started} ms)`);
    }
  }
  console.log(`${files} files, ${taken} taken, the others refused; the slowest took ${slowest} ms; at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
