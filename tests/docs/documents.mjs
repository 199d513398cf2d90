// The documents, their fenced blocks and their links, read without a library: what is written must be simple enough for that.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export const DOCUMENTS = [
  'README.md', '.github/CONTRIBUTING.md', '.github/SECURITY.md', 'CHANGELOG.md',
  ...readdirSync(`${ROOT}web/docs`).filter((name) => name.endsWith('.md')).sort().map((name) => `web/docs/${name}`),
].filter((file) => existsSync(ROOT + file));
const TYPES = readdirSync(`${ROOT}web/lib`).filter((name) => name.endsWith('.d.ts')).map((name) => `web/lib/${name}`);

export const textOf = (file) => readFileSync(ROOT + file, 'utf8');

/** The doc comments of a .d.ts, each line where it stands, everything else empty. */
const comments = (source) => {
  let inside = false;
  return source.split('\n').map((line) => {
    if (/^\s*\/\*\*/.test(line)) inside = true;
    const text = inside ? line.replace(/^\s*(\/\*\*| \*(?!\/)) ?/, '').replace(/\*\/\s*$/, '') : '';
    if (line.includes('*/')) inside = false;
    return text;
  }).join('\n');
};

/** [{ file, line (of the fence), language, code }] of Markdown. A fence that is not closed is an error. */
export function blocksIn(file, text) {
  const blocks = [];
  let open;
  text.split('\n').forEach((line, index) => {
    const fence = /^(\s*)(`{3,})(.*)$/.exec(line);
    if (!open && fence) open = { file, line: index + 1, language: fence[3].trim(), indent: fence[1], ticks: fence[2], lines: [] };
    else if (open && fence?.[2] === open.ticks && fence[3] === '') {
      const { lines, indent, ticks, ...block } = open;
      blocks.push({ ...block, code: lines.join('\n') + '\n' });
      open = undefined;
    } else if (open) open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line.trimStart());
  });
  if (open) throw new Error(`${file}:${open.line}: a fence that is not closed`);
  return blocks;
}

export const allBlocks = () => [
  ...DOCUMENTS.flatMap((file) => blocksIn(file, textOf(file))),
  ...TYPES.flatMap((file) => blocksIn(file, comments(textOf(file)))),
];

/** Markdown with its blocks and `code` blanked out, line by line. */
export function prose(text) {
  let ticks = null;
  return text.split('\n').map((line) => {
    const fence = /^\s*(`{3,})/.exec(line);
    if (fence && (ticks === null || fence[1] === ticks)) {
      ticks = ticks === null ? fence[1] : null;
      return '';
    }
    return ticks === null ? line.replace(/`[^`]*`/g, (code) => ' '.repeat(code.length)) : '';
  });
}

/** [{ line, target }] of [text](target), ![text](target) and <https://...>. */
export const linksIn = (text) =>
  prose(text).flatMap((line, index) => [
    ...Array.from(line.matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => ({ line: index + 1, target })),
    ...Array.from(line.matchAll(/<(https?:[^>]+)>/g), ([, target]) => ({ line: index + 1, target })),
  ]);

/** The names under which GitHub, and the manual, make headings targets. */
export function anchorsOf(text) {
  const seen = new Map();
  let inBlock = false;
  return text.split('\n').flatMap((line) => {
    if (/^\s*```/.test(line)) inBlock = !inBlock;
    const heading = inBlock ? null : /^#{1,6} (.+)$/.exec(line);
    if (!heading) return [];
    const slug = heading[1].toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-');
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    return [count ? `${slug}-${count}` : slug];
  });
}
