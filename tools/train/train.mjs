#!/usr/bin/env node
// ./build.sh train: makes the sentences, trains on them, brings the model into the form that ships and measures its heads.
//
//   node tools/train/train.mjs [--out FOLDER] [--work FOLDER] [--measure] [--again] [--seed N] [--steps N] [--batch N]
//                              [--rate X] [--decay X] [--emphasis X] [--dim N] [--hidden-dim N] [--layers N] [--heads N] [--threads N]
//                              [--uses N]
//
// What is half done lies in the work folder: a run that was stopped goes on from there, unless it is to begin --again.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { mulberry32 } from '../../web/lib/random.js';
import { VOCABULARY, row } from '../../web/model/sentences.js';
import { faultOf, readFloat, readInt8, writeInt8 } from './checkpoint.mjs';
import { measure, report, roles } from './measure.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAMS = path.join(ROOT, 'build/native/tools/train');
const WORK = path.join(ROOT, 'build/train');
const GRAMMAR = path.join(ROOT, 'web/model/sentences.js');
const SEQ_LEN = 64;
const HELD_OUT_ROWS = 96;
// What shipped was made with these.
const DEFAULTS = {
  seed: 7, steps: 1600, batch: 16, rate: 3e-3, decay: 1, emphasis: 5,
  dim: 64, 'hidden-dim': 128, layers: 2, heads: 4,
};
// What does not change the model.
const OTHERS = { threads: 2, uses: 500 };

const NUMBERS = { ...DEFAULTS, ...OTHERS };
const WHOLE = new Set(Object.keys(NUMBERS).filter((name) => !['rate', 'decay', 'emphasis'].includes(name)));

function fail(sentence) {
  console.error(`train: ${sentence}`);
  process.exit(2);
}

function readOptions() {
  let values;
  try {
    const options = { out: { type: 'string', default: WORK }, work: { type: 'string', default: WORK }, measure: { type: 'boolean' }, again: { type: 'boolean' } };
    for (const name of Object.keys(NUMBERS)) options[name] = { type: 'string' };
    ({ values } = parseArgs({ options }));
  } catch (error) {
    fail(error.message);
  }
  for (const [name, normal] of Object.entries(NUMBERS)) {
    const text = values[name];
    values[name] = text === undefined ? normal : Number(text);
    if (!(values[name] >= 0) || (WHOLE.has(name) && !Number.isInteger(values[name])))
      fail(`--${name} must be a${WHOLE.has(name) ? ' whole' : ''} number, not "${text}"`);
  }
  if (values.uses < 1) fail('--uses must be at least 1');
  if (values.measure) return values;
  const { dim, 'hidden-dim': hiddenDim, layers: numLayers, heads, batch, steps } = values;
  if (batch < 2 || batch % 2 !== 0 || steps < 1) fail('--batch must be even, and --steps at least 1');
  if (heads < 1 || dim % (2 * heads) !== 0) fail('--dim must be an even multiple of --heads');
  const fault = faultOf({ dim, hiddenDim, numLayers, numHeads: heads, numKvHeads: heads, vocabSize: VOCABULARY.length, seqLen: SEQ_LEN });
  if (fault) fail(fault);
  return values;
}

// Whole or not there.
function write(file, data) {
  writeFileSync(`${file}.new`, data);
  renameSync(`${file}.new`, file);
}

const MARK = 0x8000; // of the words whose loss counts for more

/** `count` rows of SEQ_LEN + 1 tokens, each followed by its target, from one seed; marked where a skill was needed. */
export function rowsOf(count, seed, options) {
  const random = mulberry32(seed);
  const tokens = new Uint16Array(count * (SEQ_LEN + 1));
  for (let r = 0; r < count; r++) {
    const made = row(random, SEQ_LEN + 1, options);
    tokens.set(made.tokens.map((token, i) => (made.used[i] ? token | MARK : token)), r * (SEQ_LEN + 1));
  }
  return tokens;
}

function runProgram(name, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(path.join(PROGRAMS, name), args, { stdio: 'inherit' });
    // The program saves its checkpoint first.
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
    child.on('error', reject);
    child.on('close', resolve);
  });
}

const SETTINGS = Object.keys(DEFAULTS);

async function train(o) {
  mkdirSync(o.work, { recursive: true });
  const file = (name) => path.join(o.work, name);
  const settings = Object.fromEntries(SETTINGS.map((name) => [name, o[name]]));
  const run = JSON.stringify({ ...settings, seqLen: SEQ_LEN, grammar: readFileSync(GRAMMAR, 'utf8') });
  const begun = existsSync(file('run.json'));
  if (o.again || !begun || readFileSync(file('run.json'), 'utf8') !== run) {
    if (begun && !o.again) console.log(`train: the run in ${o.work} had other settings or sentences; this one begins anew`);
    console.log(`train: making ${o.steps * o.batch} rows of sentences`);
    for (const name of ['run.json', 'checkpoint']) rmSync(file(name), { force: true });
    write(file('rows'), rowsOf(o.steps * o.batch, o.seed));
    write(file('held-out'), rowsOf(HELD_OUT_ROWS, o.seed, { heldOut: true }));
    write(file('run.json'), run);
  }
  const status = await runProgram('train', [
    '--rows', file('rows'), '--held-out', file('held-out'), '--checkpoint', file('checkpoint'), '--model', file('float.bin'), '--log', file('log.tsv'),
    '--vocabulary', String(VOCABULARY.length), '--seq-len', String(SEQ_LEN), '--kv-heads', String(o.heads),
    ...[...SETTINGS, 'threads'].flatMap((name) => [`--${name}`, String(o[name])]),
  ]);
  if (status !== 0) process.exit(status ?? 1);

  mkdirSync(o.out, { recursive: true });
  const { config, parameters } = readFloat(readFileSync(file('float.bin')));
  write(path.join(o.out, 'model.bin'), writeInt8(config, parameters));
  write(path.join(o.out, 'vocabulary.json'), `${JSON.stringify(VOCABULARY)}\n`);
  write(path.join(o.out, 'training.tsv'), readFileSync(file('log.tsv')));
  const given = SETTINGS.filter((name) => o[name] !== DEFAULTS[name]).map((name) => ` --${name} ${o[name]}`);
  const { seed, steps, batch, rate, decay, emphasis } = o;
  const about = { command: `./build.sh train${given.join('')}`, seed, steps, batch, rate, decay, emphasis, config };
  write(path.join(o.out, 'training.json'), `${JSON.stringify(about, null, 2)}\n`);
}

function measureIn(folder, uses) {
  const file = path.join(folder, 'model.bin');
  if (!existsSync(file)) fail(`there is no ${file} to measure: train one first`);
  const { config, parameters } = readInt8(readFileSync(file));
  if (config.vocabSize !== VOCABULARY.length) fail(`${file} was trained on other words than the generator has now`);
  const program = path.join(PROGRAMS, 'probe');
  const table = measure({ program, config, parameters, uses, progress: (done, all) => console.log(`train: measuring without head ${done + 1} of ${all}`) });
  write(path.join(folder, 'heads.json'), `${JSON.stringify({ ...table, roles: roles(table) }, null, 1)}\n`);
  console.log(report(table));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = readOptions();
  if (!options.measure) await train(options);
  measureIn(options.out, options.uses);
}
