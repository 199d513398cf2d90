// Every exported name has a comment that says what it is: those of the module in its .d.ts files, those of the core in attn.h.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import * as lib from '../../web/lib/index.js';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const types = read('web/lib/index.d.ts');
const header = read('include/attn.h');

// index.d.ts: one declaration after the other, members indented by two spaces

// [{ name, doc, text, owner }] of every export and every member: doc is the comment right above, text the declaration.
function declarations(source) {
  const found = [];
  const lines = source.split('\n');
  let owner = null;
  let doc = null;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    if (/^\s*\/\*\*/.test(line)) {
      const from = i;
      while (!lines[i].includes('*/')) i++;
      doc = lines.slice(from, i + 1).join('\n').replace(/^\s*\/?\*+\/?|\*\/$/gm, '').trim();
      continue;
    }
    const exported = /^export (?:declare )?(?:abstract )?(class|interface|type|const|function) (\w+)/.exec(line);
    const member = owner && /^ {2}(?! )(?:static |readonly |get )*(\w+|\[Symbol\.dispose\])(\??)[:(<]/.exec(line);
    if (exported || member) {
      let end = i;
      // To the end of the statement: its brackets are closed and it ends with a semicolon or opens a body.
      const open = (text) => (text.match(/[({[]/g) ?? []).length - (text.match(/[)}\]]/g) ?? []).length;
      let text = line;
      while (!(/;\s*$/.test(text) && open(text) === 0) && !(exported && /\{\s*$/.test(text))) text += `\n${lines[++end]}`;
      if (exported) {
        found.push({ name: exported[2], kind: exported[1], doc, text, owner: null });
        owner = /\{\s*$/.test(text) && exported[1] !== 'type' ? exported[2] : null;
      } else {
        found.push({ name: member[1], optional: member[2] === '?', doc, text, owner });
      }
      i = end;
    }
    if (/^\}/.test(line)) owner = null;
    doc = null;
  }
  return found;
}

const all = declarations(types);
const place = ({ owner, name }) => (owner ? `${owner}.${name}` : name);

test('index.d.ts is read to its end', () => {
  const exported = [...types.matchAll(/^export \w+ (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(all.filter(({ owner }) => !owner).map(({ name }) => name), exported);
  for (const name of Object.keys(lib)) assert.ok(exported.includes(name), name);
  assert.ok(all.length > 200, `${all.length} names`);
  for (const [owner, count] of [['Attention', 24], ['SdpaOptions', 12], ['KvCache', 14], ['MultiHeadAttentionOptions', 12], ['Explanation', 15]])
    assert.ok(all.filter((one) => one.owner === owner).length >= count, owner);
});

for (const file of ['index.d.ts', 'core.d.ts', 'llama/index.d.ts'])
  test(`every name of ${file} has a comment`, () => {
    const bare = declarations(read(`web/lib/${file}`)).filter(({ doc, name }) => name !== 'constructor' && !(doc && doc.length > 4));
    assert.deepEqual(bare.map(place), []);
  });

test('every option says its default, where it may be left out', () => {
  const options = all.filter(({ owner, optional }) => optional && /Options$/.test(owner));
  assert.ok(options.length >= 50, `${options.length} options`);
  assert.deepEqual(options.filter(({ doc }) => !/\bdefault/i.test(doc ?? '')).map(place), []);
});

test('an option inside of a declaration is named in its comment', () => {
  const missing = [];
  for (const one of all)
    for (const [, name] of one.text.matchAll(/[{;] *(\w+)\??:/g))
      if (!new RegExp(`\\b${name}\\b`).test(one.doc ?? '') && !['data', 'shape', 'dims', 'dtype', 'type'].includes(name)) missing.push(`${place(one)}: ${name}`);
  assert.deepEqual(missing, []);
});

// attn.h: paragraphs, each a comment and what it is about

const paragraphs = header.replace(/^#.*(?:\\\n.*)*$/gm, '').replace(/extern "C" \{\n*|^\}\s*$/gm, '').split(/\n\s*\n(?=\S)/)
  .reduce((list, part) => {
    // A blank line inside of a comment ends no paragraph.
    const open = list.length > 0 && (list.at(-1).match(/\/\*/g) ?? []).length > (list.at(-1).match(/\*\//g) ?? []).length;
    return open ? [...list.slice(0, -1), `${list.at(-1)}\n\n${part}`] : [...list, part];
  }, []);
const withoutComments = (text) => text.replace(/\/\*.*?\*\//gs, '');
const commentsOf = (text) => (text.match(/\/\*.*?\*\//gs) ?? []).join('\n');
const NAMES = /\b(attn_\w+)\s*\(|^typedef (?:struct|enum) (attn_\w+)/gm;
const namesOf = (text) => [...withoutComments(text).matchAll(NAMES)].map(([, fn, type]) => fn ?? type);

test('attn.h is read to its end', () => {
  const exported = read('src/wasm/exports.txt').split('\n').filter((name) => name.startsWith('attn_'));
  const declared = new Set(paragraphs.flatMap(namesOf));
  assert.deepEqual(exported.filter((name) => !declared.has(name)), []);
  assert.ok(declared.size > 60, `${declared.size} names`);
});

test('every declaration of attn.h has a comment above it, in its own paragraph', () => {
  const bare = paragraphs.filter((text) => namesOf(text).length > 0 && !/^\s*\/\*/.test(text));
  assert.deepEqual(bare.flatMap(namesOf), []);
});

test('every field of a struct and every value of an enum of attn.h is explained', () => {
  const missing = [];
  for (const text of paragraphs)
    for (const [, kind, name, body] of text.matchAll(/^typedef (struct|enum) (attn_\w+) \{(.*?)^\}/gms)) {
      const comments = commentsOf(text);
      if (/\b[Aa]s attn_\w+_f32_data\b/.test(comments)) continue;
      const plain = withoutComments(body);
      const names = kind === 'enum'
        ? [...plain.matchAll(/^\s*(ATTN_\w+)/gm)].map(([, value]) => value)
        : plain.split(';').flatMap((field) => field.split(',').map((part) => /(\w+)(?:\[\d+\])?\s*$/.exec(part.trim())?.[1]).filter(Boolean));
      // grad_*_weight stands for each of them.
      const stars = [...comments.matchAll(/\b(\w*)\*(\w*)/g)].map(([, a, b]) => new RegExp(`^${a}\\w+${b}$`));
      for (const field of names)
        if (!new RegExp(`\\b${field}\\b[^;,]*[;,]?\\s*/\\*`).test(body) && !new RegExp(`\\b${field}\\b`).test(comments) && !stars.some((star) => star.test(field))) missing.push(`${name}.${field}`);
    }
  assert.deepEqual(missing, []);
});
