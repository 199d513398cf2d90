// Runs the parts of the test suite that are named on the command line, and closes with one summary.
// build.sh has built what they need. A part stays short where it passes and shows its output where it fails.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const PART_MINUTES = 30; // one part may take this long before it counts as hung
const SHARED = '../shared'; // the conformance data, which ordinary clones do not have

const haveShared = existsSync(path.join(SHARED, 'conformance'));
// Where everything can run, a skip hides something.
const strict = haveShared || process.env.CI === 'true';
// ... but for tests that say they need what is not here.
const mayBeSkipped = ({ reason }) => !strict || (!haveShared && reason.includes(SHARED));

// Node 20 hides relaxed SIMD behind a flag that Node 22 no longer takes.
const nodeFlags = process.versions.v8.startsWith('11.') ? ['--experimental-wasm-relaxed-simd'] : [];

mkdirSync('build', { recursive: true });
const scratch = mkdtempSync('build/test-');
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

let running; // the process group of the part that runs
function endRunning() {
  try {
    if (running?.pid) process.kill(-running.pid, 'SIGKILL');
  } catch {
    // it has ended by itself
  }
}
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143]])
  process.on(signal, () => {
    endRunning();
    process.exit(status);
  });

// run(command, args) -> { status, output, timedOut }: what it printed on either stream, in order.
function run(command, args) {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    running = child;
    const chunks = [];
    let timedOut = false;
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.stderr.on('data', (chunk) => chunks.push(chunk));
    const watchdog = setTimeout(() => {
      timedOut = true;
      endRunning();
    }, PART_MINUTES * 60_000);
    const pulse = setInterval(() => console.log(`  ... ${Math.round((Date.now() - started) / 1000)} s`), 30_000);
    const finish = (status, extra = '') => {
      clearTimeout(watchdog);
      clearInterval(pulse);
      running = undefined;
      if (timedOut) extra += `stopped after ${PART_MINUTES} minutes\n`;
      resolve({ status, output: Buffer.concat(chunks).toString() + extra });
    };
    child.on('error', (error) => finish(-1, `${command}: ${error.message}\n`));
    child.on('close', (code, signal) => finish(code ?? -1, signal ? `${command} was ended by ${signal}\n` : ''));
  });
}

function filesBelow(folder, endings) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map((name) => path.join(folder, name))
    .filter((name) => endings.some((ending) => name.endsWith(ending)) && !name.includes('node_modules'))
    .sort();
}

// Every part returns its tests, { outcome: 'passed' | 'failed' | 'skipped', name, reason, error }; and lines for
// the eye, if it has any.

const unescape = (text) =>
  text.replace(/&(lt|gt|quot|apos|amp|#x?[0-9a-f]+);/gi, (entity, name) =>
    name[0] === '#'
      ? String.fromCodePoint(name[1].toLowerCase() === 'x' ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10))
      : { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' }[name.toLowerCase()]);

async function ctest(folder) {
  const file = path.resolve(scratch, path.basename(folder) + '.xml');
  const { status, output } = await run('ctest', ['--test-dir', folder, '--output-junit', file, '--output-on-failure', '-j2']);
  const tests = [];
  const report = existsSync(file) ? readFileSync(file, 'utf8') : '';
  for (const [, attributes, body] of report.matchAll(/<testcase\b([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)) {
    const name = unescape(/\bname="([^"]*)"/.exec(attributes)[1]);
    const printed = unescape(/<system-out>(.*?)<\/system-out>/s.exec(body ?? '')?.[1] ?? '').trim();
    const result = /\bstatus="([^"]*)"/.exec(attributes)[1];
    if (result === 'run') tests.push({ outcome: 'passed', name });
    else if (/<skipped message="SKIP_/.test(body ?? '')) tests.push({ outcome: 'skipped', name, reason: printed.split('\n').at(-1) });
    else tests.push({ outcome: 'failed', name, error: printed || `it did not run (${result})` });
  }
  if (status !== 0 && !tests.some(({ outcome }) => outcome === 'failed'))
    tests.push({ outcome: 'failed', name: `ctest in ${folder}`, error: output });
  return { tests };
}

async function nodeTest(folder) {
  const files = filesBelow(folder, ['.test.js', '.test.mjs']);
  if (files.length === 0) return { tests: [] };
  const file = path.join(scratch, path.basename(folder) + '.jsonl');
  const { status, output } = await run(process.execPath, [
    ...nodeFlags,
    '--test',
    '--test-timeout=600000',
    '--test-concurrency=2',
    '--test-reporter=./tests/reporter.mjs',
    `--test-reporter-destination=${file}`,
    ...files,
  ]);
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').filter(Boolean).map((line) => JSON.parse(line)) : [];
  const tests = lines.filter(({ outcome }) => outcome);
  for (const test of tests) {
    const where = path.relative('.', test.file ?? folder);
    // What a file printed belongs to no test in particular; it helps where the whole file failed.
    if (test.outcome === 'failed' && test.wholeFile)
      test.error = lines.filter((line) => line.output && line.file === test.file).map((line) => line.output).join('') + test.error;
    test.name = test.wholeFile ? where : `${where}: ${test.name}`;
  }
  if (status !== 0 && !tests.some(({ outcome }) => outcome === 'failed'))
    tests.push({ outcome: 'failed', name: `node --test ${folder}`, error: output });
  return { tests, printed: lines.flatMap((line) => line.output?.split('\n') ?? []) };
}

// What each browser has is told as well.
async function browsers() {
  const { tests, printed } = await nodeTest('tests/browsers');
  return { tests, lines: printed.filter((line) => line.includes('; takes ')).join('\n') };
}

async function oneCommand(name, command, args) {
  const { status, output } = await run(command, args);
  const outcome = status === 0 ? 'passed' : 'failed';
  return { tests: [{ outcome, name, error: output }], lines: output };
}

async function format() {
  const version = (command) => /version (\d+)/.exec(spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1];
  const name = 'clang-format';
  const command = ['clang-format-14', 'clang-format'].find((candidate) => version(candidate) === '14');
  if (!command) return { tests: [{ outcome: 'skipped', name, reason: 'needs clang-format 14: other versions lay out differently' }] };
  const files = ['include', 'src', 'tests', 'tools'].flatMap((folder) => filesBelow(folder, ['.c', '.h']));
  const { status, output } = await run(command, ['--dry-run', '-Werror', ...files]);
  const wrong = [...new Set(Array.from(output.matchAll(/^(.+?):\d+:\d+: error: /gm), ([, file]) => file))];
  const error = wrong.length > 0 ? `to be laid out anew: ${command} -i ${wrong.join(' ')}` : output;
  return { tests: [{ outcome: status === 0 ? 'passed' : 'failed', name: `${name} of ${files.length} files`, error }] };
}

async function types() {
  const files = [...filesBelow('web/lib', ['.d.ts']), ...filesBelow('tests/types', ['.ts'])];
  if (files.length === 0) return { tests: [] };
  return oneCommand(`tsc --strict of ${files.length} files`, 'node_modules/.bin/tsc', [
    '--strict', '--noEmit', '--target', 'es2022', '--lib', 'es2022,dom,esnext.disposable', '--module', 'nodenext', ...files,
  ]);
}

// The runner's cases are summed up in its own last line; here it is one test.
async function conformance() {
  const name = 'tests/conformance/run.mjs';
  if (!haveShared) {
    const golden = await oneCommand(`${name} tests/golden`, process.execPath, [...nodeFlags, name, 'tests/golden', '--strict']);
    const skipped = { outcome: 'skipped', name, reason: `needs ${SHARED}/conformance` };
    return { tests: [...golden.tests, skipped], lines: golden.lines?.replace(/^(\d+ passed, \d+ failed.*)\s*$/m, 'cases: $1') };
  }
  const { tests, lines } = await oneCommand(name, process.execPath, [...nodeFlags, name, '--strict']);
  if (tests[0].outcome === 'failed') return { tests };
  return { tests, lines: lines.replace(/^(\d+ passed, \d+ failed.*)\s*$/m, 'cases: $1') };
}

// The programs that valgrind, some fifty times slower, ends in seconds. The others: ./build.sh fuzz --valgrind.
const SHORT_PROGRAMS = ['errors', 'explain', 'half', 'linear', 'norm', 'reference', 'rotary', 'sdpa_common', 'softmax', 'statistics', 'status', 'threads'];

async function everyCommand(commands) {
  const tests = [];
  for (const [name, command, ...args] of commands) tests.push(...(await oneCommand(name, command, args)).tests);
  return { tests };
}

const memcheck = () =>
  everyCommand(SHORT_PROGRAMS.map((test) => [`test_${test}`, 'valgrind', '-q', '--error-exitcode=99', '--leak-check=full', `build/native/test_${test}_simd${test === 'threads' ? '-threads' : ''}`]));

const fuzz = () => everyCommand(['sdpa', 'layers', 'operators'].map((target) => [target, process.execPath, 'tests/fuzz/run.mjs', target, '--seconds', '5', '--fresh']));

const PARTS = {
  native: { title: 'C, native', run: () => ctest('build/native') },
  asan: { title: 'C, native, address and undefined-behaviour sanitizers', run: () => ctest('build/asan') },
  tsan: { title: 'C, the threads, thread sanitizer', run: () => everyCommand([['test_threads', 'build/tsan/test_threads_simd-threads']]) },
  memcheck: { title: 'C, native, valgrind', run: memcheck },
  fuzz: { title: 'C, native, libFuzzer for five seconds a target', run: fuzz },
  wasm: { title: 'C, every WebAssembly variant in Node', run: () => ctest('build/wasm') },
  format: { title: 'Layout of the C sources', run: format },
  types: { title: 'Types', run: types },
  tools: { title: 'The tools', run: () => nodeTest('tests/tools') },
  js: { title: 'The module in Node', run: () => nodeTest('tests/js') },
  page: { title: 'The page in Chromium', run: () => nodeTest('tests/page') },
  browsers: { title: 'The module and the page in Chromium, Firefox and WebKit', run: browsers },
  conformance: { title: 'Conformance', run: conformance },
  docs: { title: 'The documents', run: () => nodeTest('tests/docs') },
  pack: { title: 'The package, packed', run: () => nodeTest('tests/bundlers') },
};

const rows = [];
const failed = [];
const skipped = [];
for (const part of process.argv.slice(2)) {
  const { title, run: runPart } = PARTS[part];
  console.log(`\n${title}`);
  const started = Date.now();
  const { tests, lines } = await runPart();
  if (tests.length === 0) tests.push({ outcome: 'failed', name: title, error: 'no test ran' });
  for (const test of tests) {
    if (test.outcome === 'skipped' && !mayBeSkipped(test)) {
      test.outcome = 'failed';
      test.error = `skipped, which may not be here${test.reason ? `: ${test.reason}` : ''}`;
    }
    if (test.outcome === 'failed') {
      failed.push(`${part}: ${test.name}`);
      console.log(`FAILED ${test.name}\n${(test.error ?? '').trimEnd().replace(/^/gm, '    ')}`);
    }
    if (test.outcome === 'skipped') skipped.push(`${part}: ${test.name}${test.reason ? ` (${test.reason})` : ''}`);
  }
  if (['conformance', 'browsers'].includes(part) && lines) console.log(lines.trimEnd().replace(/^/gm, '  '));
  const count = (outcome) => tests.filter((test) => test.outcome === outcome).length;
  const row = { title, passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
  row.seconds = (Date.now() - started) / 1000;
  rows.push(row);
  console.log(`  ${row.passed} passed, ${row.failed} failed, ${row.skipped} skipped (${row.seconds.toFixed(1)} s)`);
}

const width = Math.max(...rows.map(({ title }) => title.length));
const column = (value, size) => String(value).padStart(size);
console.log('\nSummary');
for (const row of rows)
  console.log(
    `  ${row.title.padEnd(width)} ${column(row.passed, 5)} passed ${column(row.failed, 3)} failed` +
      ` ${column(row.skipped, 3)} skipped ${column(row.seconds.toFixed(1), 7)} s`,
  );
for (const name of skipped) console.log(`  skipped ${name}`);
for (const name of failed) console.log(`  FAILED  ${name}`);
const total = (key) => rows.reduce((sum, row) => sum + row[key], 0);
console.log(`\n${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
process.exitCode = total('failed') > 0 || total('passed') === 0 ? 1 : 0;
