// Runs the fuzz targets that ./build.sh fuzz has built, each for a while, from the kept seeds and from what earlier
// runs on this machine have found worth keeping (build/fuzz-corpus). Stops at the first input that breaks one, and
// leaves it in build/fuzz-found.
//
//     ./build.sh fuzz [TARGET ...] [--seconds N] [--variant scalar|simd|relaxed] [--jobs N]
//     ./build.sh fuzz --valgrind        every C test of the native build under valgrind
//
// Targets: sdpa layers operators (C, by libFuzzer), files (the page's readers of files). Ten minutes each unless
// --seconds says otherwise. node tests/fuzz/run.mjs --keep TARGET picks anew what tests/fuzz/seeds keeps.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

process.chdir(fileURLToPath(new URL('../..', import.meta.url)));

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '600' },
    variant: { type: 'string', default: 'simd' },
    jobs: { type: 'string', default: '1' },
    keep: { type: 'boolean', default: false },
    valgrind: { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false }, // from the kept seeds alone, the same way each time: as a test
  },
});
const C_TARGETS = ['sdpa', 'layers', 'operators'];
const targets = positionals.length > 0 ? positionals : [...C_TARGETS, 'files'];
for (const target of targets)
  if (![...C_TARGETS, 'files'].includes(target)) {
    console.error(`there is no fuzz target ${target}: ${C_TARGETS.join(', ')}, files`);
    process.exit(2);
  }

const LONGEST_INPUT = 400; // bytes: more than any target reads
const corpusOf = (target) => path.join('build/fuzz-corpus', target);
const seedsOf = (target) => path.join('tests/fuzz/seeds', `${target}.txt`);

/** The kept seeds, one a line in hexadecimal, as files. */
function unpackSeeds(target, folder) {
  mkdirSync(folder, { recursive: true });
  const lines = existsSync(seedsOf(target)) ? readFileSync(seedsOf(target), 'utf8').split('\n').filter(Boolean) : [];
  lines.forEach((line, i) => writeFileSync(path.join(folder, `seed-${i}`), Buffer.from(line, 'hex')));
}

const program = (target) => path.join('build', `fuzz-${options.variant}`, `fuzz_${target}`);
const environment = { ...process.env, UBSAN_OPTIONS: 'print_stacktrace=1', ASAN_OPTIONS: 'detect_stack_use_after_return=1' };
const run = (command, args, stdio) => spawnSync(command, args, { stdio, env: environment, encoding: 'utf8', maxBuffer: 1 << 28 });

function fuzz(target) {
  if (target === 'files') return run(process.execPath, ['tests/fuzz/files.mjs', '--seconds', options.seconds], 'inherit').status === 0;
  const corpus = options.fresh ? mkdtempSync('build/fuzz-fresh-') : corpusOf(target);
  if (options.fresh) process.once('exit', () => rmSync(corpus, { recursive: true, force: true }));
  unpackSeeds(target, corpus);
  mkdirSync('build/fuzz-found', { recursive: true });
  const { status, stderr, stdout } = run(program(target), [
    corpus, `-max_total_time=${options.seconds}`, `-max_len=${LONGEST_INPUT}`, '-timeout=60', '-rss_limit_mb=2048', '-use_value_profile=1',
    ...(options.fresh ? ['-seed=1'] : []), ...(options.jobs === '1' ? [] : [`-fork=${options.jobs}`]), '-print_final_stats=1', '-verbosity=1', `-artifact_prefix=build/fuzz-found/${target}-`,
  ], 'pipe');
  const output = `${stdout}${stderr}`;
  if (status === 0) {
    const count = /stat::number_of_executed_units:\s*(\d+)/.exec(output)?.[1] ?? 'many';
    const covered = [...output.matchAll(/cov: (\d+)/g)].at(-1)?.[1];
    console.log(`${target}: ${count} inputs${covered ? `, ${covered} edges` : ''}, nothing found (${options.variant})`);
    return true;
  }
  console.log(output.split('\n').filter((line) => !/^(#\d|INFO|\s+NEW_FUNC)/.test(line)).slice(0, 60).join('\n'));
  console.log(`${target}: found something. Again with: ${program(target)} build/fuzz-found/${target}-...\nIts case belongs into tests/c.`);
  return false;
}

/** The fewest inputs of the corpus that reach every edge, written as the kept seeds. */
function keep(target) {
  const folder = mkdtempSync('build/fuzz-keep-');
  const { status, stderr } = run(program(target), ['-merge=1', '-use_counters=0', '-use_value_profile=0', folder, corpusOf(target)], 'pipe');
  if (status === 0) {
    const lines = readdirSync(folder).map((name) => readFileSync(path.join(folder, name)).toString('hex')).sort();
    mkdirSync(path.dirname(seedsOf(target)), { recursive: true });
    writeFileSync(seedsOf(target), `${lines.join('\n')}\n`);
    console.log(`${seedsOf(target)}: ${lines.length} seeds`);
  } else console.error(stderr);
  rmSync(folder, { recursive: true });
  return status === 0;
}

function valgrind() {
  const programs = readdirSync('build/native').filter((name) => /^test_.*_simd(-threads)?$/.test(name));
  if (programs.length === 0) throw new Error('build/native has no tests: ./build.sh fuzz --valgrind builds them');
  let good = true;
  for (const name of programs) {
    const started = Date.now();
    const { status, stdout, stderr } = run('valgrind', ['-q', '--error-exitcode=99', '--leak-check=full', path.join('build/native', name)], 'pipe');
    const right = status === 0 || status === 77;
    console.log(`${name}: ${right ? 'clean' : `FAILED (${status})\n${stdout}${stderr}`} (${Math.round((Date.now() - started) / 1000)} s)`);
    good &&= right;
  }
  return good;
}

let good = true;
if (options.valgrind) good = valgrind();
else for (const target of targets) good = (options.keep ? keep(target) : fuzz(target)) && good;
process.exitCode = good ? 0 : 1;
