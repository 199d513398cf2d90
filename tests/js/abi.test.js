// What JavaScript believes about the C structs, and what the C side asserts: the same table twice.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import * as abi from '../../web/lib/abi.js';
import { VARIANTS } from './each_variant.js';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
// DATA_FIELD and DATA_SIZE speak of two structs.
const source = read('src/wasm/exports.c').replace(/^#define(.*\\\n)*.*$/gm, '')
  .replace(/^DATA_(\w+)\((\w+),(.*)$/gm, '$1($2_f32_data,$3\n$1($2_f64_data,$3');

// By their names: SDPA_DESC is attn_sdpa_desc, SDPA_DATA both attn_sdpa_f32_data and attn_sdpa_f64_data.
const STRUCTS = Object.fromEntries(Object.entries(abi).filter(([, value]) => value.fields).flatMap(([name, struct]) =>
  (name.endsWith('_DATA') ? ['F32_DATA', 'F64_DATA'].map((type) => name.replace('DATA', type)) : [name]).map((full) => [`attn_${full.toLowerCase()}`, struct])));
const PREFIX = { STATUS: '', FUSION: 'FUSE_' };
const NUMBERS = Object.entries(abi).filter(([, value]) => !value.fields);

const flat = (fields) => Object.fromEntries(Object.entries(fields).flatMap(([name, offset]) =>
  typeof offset === 'object' ? Object.entries(offset).map(([inner, at]) => [`${name}.${inner}`, at]) : [[name, offset]]));

test('every struct has the fields, offsets and size that exports.c asserts', () => {
  const asserted = {};
  for (const [, struct, field, offset] of source.matchAll(/^FIELD\((\w+), ([^,]+), (\d+)\);/gm))
    (asserted[struct] ??= { fields: {} }).fields[field] = Number(offset);
  for (const [, struct, bytes] of source.matchAll(/^SIZE\((\w+), (\d+)\);/gm)) (asserted[struct] ??= { fields: {} }).size = Number(bytes);
  assert.deepEqual(Object.keys(asserted).sort(), Object.keys(STRUCTS).sort());
  for (const [name, { fields, size, doubles }] of Object.entries(STRUCTS)) {
    assert.deepEqual(flat(fields), asserted[name].fields, name);
    // A struct with doubles ends on a multiple of 8.
    assert.equal(doubles ? Math.ceil(size / 8) * 8 : size, asserted[name].size, name);
    assert.equal(asserted[name].size % (doubles ? 8 : 4), 0);
  }
});

test('every field of attn.h is in the table, of the type that is written', () => {
  const header = read('include/attn.h').replace(/\/\*.*?\*\//gs, '');
  // [[field, bytes]], with the fields of structs and the elements of arrays one by one.
  const fieldsOf = (struct) =>
    new RegExp(`typedef struct ${struct} \\{(.*?)\\} ${struct};`, 's').exec(header)[1].split(';').flatMap((line) => {
      const [, type, names] = /^\s*((?:const )?\w+)\s+(.*)$/s.exec(line) ?? [];
      return (names ?? '').split(',').filter((n) => n.trim()).flatMap((declarator) => {
        const [, pointer, name, count] = /^\s*(\*?)(\w+)(?:\[(\d+)\])?\s*$/.exec(declarator);
        const fields = count ? Array.from({ length: count }, (_, i) => `${name}[${i}]`) : [name];
        const inner = header.includes(`typedef struct ${type} {`) && !pointer ? fieldsOf(type) : null;
        return fields.flatMap((field) => inner?.map(([part, bytes]) => [`${field}.${part}`, bytes]) ?? [[field, type === 'double' && !pointer ? 8 : 4]]);
      });
    });
  for (const [name, { fields, doubles }] of Object.entries(STRUCTS)) {
    if (Object.keys(fields).length === 0) continue; // filled in by the library
    const declared = fieldsOf(name);
    assert.deepEqual(Object.keys(flat(fields)), declared.map(([field]) => field), name);
    for (const [field, bytes] of declared) assert.equal(flat(fields)[field] < doubles, bytes === 8, `${name}.${field}`);
  }
});

test('the numbers of statuses and options are those that exports.c asserts', () => {
  const asserted = Object.fromEntries([...source.matchAll(/^VALUE\(ATTN_(\w+), (\d+)\);/gm)].map(([, name, value]) => [name, Number(value)]));
  const known = NUMBERS.flatMap(([kind, words]) =>
    Object.entries(words).map(([word, value]) => [(PREFIX[kind] ?? `${kind}_`) + word.toUpperCase().replace('-', '_'), value]));
  assert.deepEqual(Object.fromEntries(known), asserted);
});

test('exports.txt lists functions of attn.h and wasm_alloc and wasm_free, and every variant has them', async () => {
  const names = read('src/wasm/exports.txt').trim().split('\n');
  const header = read('include/attn.h');
  assert.deepEqual(names.filter((name) => !new RegExp(`\\b${name}\\(`).test(header)), ['wasm_alloc', 'wasm_free']);
  for (const variant of VARIANTS) {
    const module = new WebAssembly.Module(readFileSync(new URL(`../../web/lib/wasm/${variant}.wasm`, import.meta.url)));
    // Each without our loader: whoever has another one needs to know no more than this.
    const isThreaded = variant.endsWith('-threads');
    const env = { may_sleep: () => 1 };
    if (isThreaded) env.memory = new WebAssembly.Memory({ initial: 16, maximum: 65535, shared: true });
    assert.deepEqual(WebAssembly.Module.imports(module).map(({ name }) => name).sort(), isThreaded ? ['may_sleep', 'memory'] : []);
    const { exports } = new WebAssembly.Instance(module, { env });
    const own = isThreaded ? ['__stack_pointer', 'wasm_thread_run', 'wasm_thread_stack'] : ['memory'];
    assert.deepEqual(Object.keys(exports).sort(), [...names, ...own].sort(), variant);
    const text = (pointer) => {
      const bytes = new Uint8Array((env.memory ?? exports.memory).buffer, pointer, 64);
      return String.fromCharCode(...bytes.slice(0, bytes.indexOf(0)));
    };
    assert.equal(text(exports.attn_variant()), variant.replace('-threads', ''));
  }
});
