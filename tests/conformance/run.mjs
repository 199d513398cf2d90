#!/usr/bin/env node
// Runs attention cases that other projects wrote (ONNX, PyTorch, onnxruntime, Keras) through the module's public surface, on
// every variant of the engine. What an adapter (torch.mjs, onnx.mjs, ort.mjs, keras.mjs) may do is translate: layouts, masks
// and names. Every score, softmax, projection, rotation and gradient is computed by the engine.

import { existsSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import v8 from 'node:v8';

import { findCases, operatorOf, readCase, readExpected } from './cases.mjs';
import { compare } from './compare.mjs';
import { NotSupported } from './features.mjs';
import { operators as keras } from './keras.mjs';
import { operators as onnx } from './onnx.mjs';
import { operators as ort } from './ort.mjs';
import { operators as torch } from './torch.mjs';
import { sharingEngine } from '../sharing.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const REPOSITORY = resolve(HERE, '../..');
const DEFAULT_FOLDER = join(REPOSITORY, '../shared/conformance');
const GOLDEN_FOLDER = join(REPOSITORY, 'tests/golden');
const OPERATORS = { ...onnx, ...torch, ...ort, ...keras };

/** Threaded builds run on one thread and on two; on two every call is shared, however small. */
const BUILDS = [
  { variant: 'scalar', threads: 1 },
  { variant: 'simd', threads: 1 },
  { variant: 'relaxed', threads: 1 },
  { variant: 'simd-threads', threads: 1 },
  { variant: 'simd-threads', threads: 2 },
  { variant: 'relaxed-threads', threads: 1 },
  { variant: 'relaxed-threads', threads: 2 },
].map((build) => ({ ...build, name: build.threads > 1 ? `${build.variant} x ${build.threads}` : build.variant }));
const VARIANTS = [...new Set(BUILDS.map(({ variant }) => variant))];

const HELP = `Usage: node tests/conformance/run.mjs [folder] [options]

Runs every case below the folder (default: ../shared/conformance beside the repository; without it, the few in
tests/golden) on every variant of the engine. The last line counts: N passed, N failed, N skipped.

  --strict         fail on cases that need something the module does not have, too
  --variant NAME   only this variant (may be repeated): ${VARIANTS.join(', ')}
  --case NAME      only this case (may be repeated)
  --float64        in double precision, by the reference path (scalar only)
  --lib FILE       the module to be tested (default: web/lib/index.js)
  --verbose        one line for every case, with its largest error as a share of what is allowed

Exit status: 0 nothing failed, 1 something did, 2 a wrong option.`;

async function main() {
  const options = readOptions();
  if (options.help) return say(HELP, 0);
  if (options.problem) return say(`${options.problem}\n\n${HELP}`, 2);

  const cases = chooseCases(options);
  if (typeof cases === 'string') return say(`${cases}\n${countLine(0, 0, 0)}`, 1);
  // Node 20's V8 has relaxed SIMD behind a flag, which must be set before anything is compiled.
  if (process.versions.v8.startsWith('11.')) v8.setFlagsFromString('--experimental-wasm-relaxed-simd');
  let library;
  try {
    library = await import(pathToFileURL(options.lib));
  } catch (error) {
    return say(`The module ${options.lib} cannot be loaded: ${error.message}\n${countLine(0, cases.length, 0)}`, 1);
  }

  const results = [];
  for (const build of options.builds) results.push(...(await runOnBuild(library, build, cases, options)));
  // A second thread that never had anything to do would prove nothing.
  const idle = options.case ? [] : options.builds.filter(({ name, threads }) => threads > 1 && !results.some((result) => result.build === name && result.shared));
  report(results, options);
  const count = (status) => results.filter((result) => result.status === status).length;
  const [passed, failed, unsupported] = ['passed', 'failed', 'unsupported'].map(count);
  for (const { name } of idle) console.log(`FAILED on ${name}: no case used its other thread`);
  return say(countLine(passed, failed + idle.length, unsupported), failed + idle.length > 0 || (options.strict && unsupported > 0) ? 1 : 0);
}

function say(text, exitCode) {
  console.log(text);
  return exitCode;
}

const countLine = (passed, failed, skipped) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

function readOptions() {
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: {
        strict: { type: 'boolean', default: false },
        variant: { type: 'string', multiple: true },
        case: { type: 'string', multiple: true },
        float64: { type: 'boolean', default: false },
        lib: { type: 'string' },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    return { problem: error.message };
  }
  const { values, positionals } = parsed;
  if (positionals.length > 1) return { problem: `One folder, please, not ${positionals.length}.` };
  const names = values.variant ?? (values.float64 ? ['scalar'] : VARIANTS);
  const unknown = names.find((name) => !VARIANTS.includes(name));
  if (unknown !== undefined) return { problem: `There is no variant "${unknown}".` };
  return {
    ...values,
    folder: positionals[0] && resolve(positionals[0]),
    lib: resolve(values.lib ?? join(REPOSITORY, 'web/lib/index.js')),
    builds: BUILDS.filter(({ variant }) => names.includes(variant)),
    Float: values.float64 ? Float64Array : Float32Array,
  };
}

/** The cases to run, or a sentence that says why there are none. */
function chooseCases({ folder, case: names }) {
  let place = folder ?? DEFAULT_FOLDER;
  if (!existsSync(place)) {
    if (folder) return `There is no folder ${folder}.`;
    const missing = `The cases of ${relative(REPOSITORY, DEFAULT_FOLDER)} are not there`;
    if (process.env.CI) return `${missing}.`;
    console.log(`${missing}: skipped; running the copies in tests/golden only.\n`);
    place = GOLDEN_FOLDER;
  }
  const all = findCases(place);
  if (all.length === 0) return `There are no cases in ${place}.`;
  const missing = names?.find((name) => !all.some((one) => one.name === name));
  if (missing !== undefined) return `There is no case "${missing}" in ${place}.`;
  return names ? all.filter(({ name }) => names.includes(name)) : all;
}

/** The results of one build, one per case; where it cannot be started, a single one for the build itself. */
async function runOnBuild(library, { name, variant, threads }, cases, { Float, lib }) {
  const whole = (status, reason) => [{ suite: 'builds', name, build: name, status, reason }];
  let attn;
  let sharedTasks;
  try {
    ({ attn, sharedTasks } = threads > 1
      ? await sharingEngine(pathToFileURL(lib), { variant, threads })
      : { attn: await library.Attention.create({ variant, threads }), sharedTasks: () => 0 });
  } catch (error) {
    return whole('failed', error.message);
  }
  try {
    if (attn.variant !== variant || attn.threads !== threads) {
      return whole('failed', `asked for ${variant} on ${threads} threads, got ${attn.variant} on ${attn.threads}`);
    }
    return cases.map((one) => {
      const before = sharedTasks();
      const result = runCase(one, attn, library, Float);
      return { suite: one.suite, name: one.name, build: name, ...result, shared: sharedTasks() - before };
    });
  } finally {
    attn.dispose();
  }
}

/** `{ status: 'passed' | 'failed' | 'unsupported', reason, worst }` */
function runCase({ json, error }, attn, library, Float) {
  if (error) return { status: 'failed', reason: error.message };
  const adapter = OPERATORS[operatorOf(json)];
  if (!adapter) return { status: 'unsupported', reason: `operator ${operatorOf(json)}` };
  try {
    const got = adapter(readCase(json, Float), attn);
    const missing = json.outputs.find(({ name }) => !got[name]);
    if (missing) throw new NotSupported(`output ${missing.name}`);
    const checks = Array.from(readExpected(json), ([name, want]) => compare(name, got[name], want, json.tolerance));
    const worst = Math.max(...checks.map((check) => check.worst));
    const problems = checks.map(({ problem }) => problem).filter(Boolean);
    return problems.length ? { status: 'failed', reason: problems.join('; '), worst } : { status: 'passed', worst };
  } catch (thrown) {
    if (thrown instanceof NotSupported) return { status: 'unsupported', reason: thrown.message };
    if (thrown instanceof library.AttentionError && thrown.code === 'unsupported') {
      return { status: 'unsupported', reason: thrown.message };
    }
    return { status: 'failed', reason: thrown.stack };
  }
}

function report(results, { verbose }) {
  for (const [suite, ofSuite] of groupBy(results, (result) => result.suite)) {
    console.log(suite);
    const builds = groupBy(ofSuite, (result) => result.build);
    for (const [build, ofBuild] of builds) {
      const count = (status) => String(ofBuild.filter((result) => result.status === status).length).padStart(4);
      const counts = `${count('passed')} passed ${count('failed')} failed ${count('unsupported')} not yet supported`;
      const shared = ofBuild.filter((result) => result.shared > 0).length;
      console.log(`  ${build.padEnd(20)}${counts}${shared ? `, ${shared} on both threads` : ''}`);
      if (verbose) ofBuild.forEach(printCase);
    }
    printFailures(ofSuite, builds.size);
    printUnsupported(ofSuite, builds.size);
    console.log();
  }
}

function printCase({ name, status, worst, shared }) {
  const error = worst === undefined ? '' : `  error ${worst.toPrecision(2)} of the tolerance`;
  console.log(`    ${status.padEnd(12)} ${name}${error}${shared ? `, ${shared} tasks on the other thread` : ''}`);
}

function printFailures(results, numBuilds) {
  const failures = results.filter(({ status }) => status === 'failed');
  for (const [what, same] of groupBy(failures, ({ name, reason }) => `${name}: ${reason}`)) {
    console.log(`  FAILED${onBuilds(same, numBuilds)} ${what}`);
  }
}

/** By missing feature. */
function printUnsupported(results, numBuilds) {
  const unsupported = results.filter(({ status }) => status === 'unsupported');
  for (const [reason, same] of groupBy(unsupported, (result) => result.reason)) {
    const names = [...new Set(same.map(({ name }) => name))];
    console.log(`  not yet supported${onBuilds(same, numBuilds)}, for want of ${reason}: ${names.join(', ')}`);
  }
}

/** The builds that results are of, where they are not of all. */
function onBuilds(results, numBuilds) {
  const builds = new Set(results.map(({ build }) => build));
  return builds.size === numBuilds ? '' : ` on ${[...builds].join(', ')}`;
}

function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}

process.exitCode = await main();
