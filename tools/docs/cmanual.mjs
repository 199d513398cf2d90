// include/attn.h as a page: each comment as text, each declaration as code, every name a target of links.

const escape = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

// Comments at the left margin, each with the code up to the next: [{ comment: lines, code }].
function entriesOf(header) {
  const entries = [];
  const lines = header.split('\n');
  for (let i = 0; i < lines.length; i++) {
    if (lines[i].startsWith('/*')) {
      const comment = [];
      for (; ; i++) {
        comment.push(lines[i].replace(/^(\/\*| \*(?!\/)) ?/, '').replace(/ ?\*\/$/, '').trimEnd());
        if (lines[i].endsWith('*/')) break;
      }
      entries.push({ comment, code: [] });
    } else entries.at(-1)?.code.push(lines[i]);
  }
  for (const entry of entries)
    entry.code = entry.code.join('\n')
      .replace(/^#ifdef __cplusplus\n.*\n#endif$/gm, '').replace(/^#.*$/gm, '').replace(/\n{3,}/g, '\n\n').trim();
  return entries;
}

const namesOf = (code) => [
  ...new Set(Array.from(code.matchAll(/^(?:\w+ )+\**(attn_\w+)\(|^} (attn_\w+);|^typedef struct (attn_\w+) \w+;/gm), ([, ...names]) => names.find(Boolean))),
];

// Text at column 0 is a paragraph, at 2 "name  what it is", continued further right; at 4, after a blank line, a formula.
function textOf(comment, known) {
  const inline = (text) =>
    escape(text).replace(/\b(attn_\w+)(?!\*)/g, (word) => (known.has(word) ? `<a href="#${word}"><code>${word}</code></a>` : word));
  const html = [];
  let open; // 'p', 'dl' or 'pre'
  const enter = (kind) => {
    if (open === kind) return;
    if (open) html.push(`</${open}>`);
    if (kind) html.push(`<${kind}>`);
    open = kind;
  };
  // A name that fills its column is parted from what it is by one space only.
  const ITEM = /^ {2}(\S.{0,35}?) {2,}(?=\S)/;
  const column = comment.map((line) => ITEM.exec(line)?.[0].length).find(Boolean);
  const isNames = (text) => /^[\w*]+(, [\w*]+)*$/.test(text);
  comment.forEach((line, i) => {
    const text = line.trim();
    const indent = line.length - line.trimStart().length;
    const afterGap = i > 0 && comment[i - 1] === '';
    if (text === '') return void (comment[i + 1]?.startsWith('    ') && open === 'pre' ? html.push('') : enter());
    if (open === 'pre' ? indent >= 4 : indent >= 4 && afterGap) {
      enter('pre');
      return void html.push(escape(line.slice(4)));
    }
    if (indent === 0) {
      enter('p');
      return void html.push(inline(text));
    }
    if (open === 'dl' && indent > 2) return void html.splice(-1, 1, html.at(-1).replace(/(<\/dd>)?$/, ` ${inline(text)}</dd>`).replace('</dt> ', '</dt><dd>'));
    enter('dl');
    const filled = line[column - 1] === ' ' && isNames(line.slice(2, column - 1));
    const [, name, what] = filled ? [null, line.slice(2, column - 1), line.slice(column)]
      : /^(.{1,36}?) {2,}(.*)$/.exec(text) ?? (isNames(text) ? [null, text] : [null, '', text]);
    const shown = isNames(name) ? `<code>${name}</code>` : escape(name);
    html.push(name ? `<dt>${shown}</dt>${what ? `<dd>${inline(what)}</dd>` : ''}` : `<dd>${inline(text)}</dd>`);
  });
  enter();
  // Markdown ends a block of HTML at an empty line; a formula's may stay.
  return html.join('\n').replace(/<pre>\n/g, '<pre>');
}

export function cManual(header) {
  const entries = entriesOf(header);
  const known = new Set(entries.flatMap(({ code }) => namesOf(code)));
  const parts = ['# The C manual', 'The header, `include/attn.h`, easier to read. The sections are those of the file.'];
  for (const { comment, code } of entries) {
    if (!code && comment.length === 1 && !comment[0].includes('.')) {
      parts.push(`## ${comment[0]}`);
      continue;
    }
    const names = namesOf(code);
    if (names.length > 0)
      parts.push(`<div class="declared">${names.map((name) => `<span id="${name}"><code>${name}</code></span>`).join(' ')}</div>`);
    const [first, ...rest] = comment;
    parts.push(textOf(names.length === 0 && first.startsWith('attn.h:') ? [first.slice(8).replace(/^./, (c) => c.toUpperCase()), ...rest] : comment, known));
    if (code) parts.push('```c\n' + code + '\n```');
  }
  return parts.join('\n\n') + '\n';
}
