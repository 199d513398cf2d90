// Makes the manual, build/docs: the guides of web/docs, the module's reference from its types, the C core's from its header.
//
//   node tools/docs/build.mjs

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, Converter, PageEvent, ReflectionKind } from 'typedoc';
import { cManual } from './cmanual.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
process.chdir(root);

const C_MANUAL = 'build/c-manual.md';
// In the order in which web/docs/README.md lists them.
const GUIDES = Array.from(readFileSync('web/docs/README.md', 'utf8').matchAll(/\]\((\w+\.md)\)/g), ([, name]) => `web/docs/${name}`);
const OUT = 'build/docs';
// What is imported, and what it is called then instead of by its file.
const ENTRIES = ['web/lib/index.d.ts', 'web/lib/core.d.ts', 'web/lib/llama/index.d.ts'];
const NAMES = { index: 'spotlight-attention', core: 'spotlight-attention/core', llama: 'spotlight-attention/llama' };

mkdirSync('build', { recursive: true });
writeFileSync(C_MANUAL, cManual(readFileSync('include/attn.h', 'utf8')));

const app = await Application.bootstrap({
  name: 'Spotlight',
  entryPoints: ENTRIES,
  tsconfig: 'tools/docs/tsconfig.json',
  readme: 'web/docs/README.md',
  projectDocuments: [...GUIDES, C_MANUAL],
  includeVersion: true,
  out: OUT,
  cleanOutputDir: true,
  disableSources: true,
  githubPages: false,
  hideGenerator: true,
  favicon: 'web/page/icon.svg',
  customCss: 'tools/docs/manual.css',
  navigationLinks: { 'The page': 'the-page' },
  sort: ['source-order'],
  kindSortOrder: ['Document', 'Class', 'Interface', 'TypeAlias', 'Function', 'Variable', 'Constructor', 'Property', 'Accessor', 'Method'],
  navigation: { includeGroups: true },
  searchInComments: true,
  searchInDocuments: true,
  highlightLanguages: ['bash', 'c', 'cmake', 'html', 'javascript', 'json', 'python', 'typescript'],
  suppressCommentWarningsInDeclarationFiles: true,
  treatWarningsAsErrors: true,
});

app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
  if (reflection.kindOf(ReflectionKind.Module)) reflection.name = NAMES[reflection.name];
});

// A guide is called what its heading says.
app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (context, document) => {
  const [first] = document.content;
  const heading = first?.kind === 'text' ? /^\s*# (.+)\n/.exec(first.text) : null;
  if (heading) document.name = heading[1];
});

// What the guides link to as a file is a page here. The manual is the folder docs/ beside the page, wherever that is.
app.renderer.on(PageEvent.END, (page) => {
  const up = '../'.repeat(page.url.split('/').length - 1);
  page.contents = page.contents
    .replace(/(?:\.\.\/)*media\/attn\.h(?=")/g, `${up}documents/The_C_manual.html`)
    .replaceAll('href="the-page"', `href="${up}../index.html"`);
  // The first page has a heading of its own.
  if (page.url === 'index.html') page.contents = page.contents.replace(/<div class="tsd-page-title">.*?<\/div>/s, '');
});

const project = await app.convert();
if (!project) process.exit(1);
app.validate(project);
await app.generateOutputs(project);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
console.log(path.join(OUT, 'index.html'));
