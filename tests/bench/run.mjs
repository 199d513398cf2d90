#!/usr/bin/env node
// The benchmark. `./build.sh bench` builds the module, installs the peers and calls this.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { extraText, headText, markdown, rowText, summary } from './report.mjs';
import { chooseRows } from './rows.mjs';

const USAGE = `bench: our attention against other engines; results also go to build/bench/*.json

  --node --chromium  only there (default: both)
  --quick            Node only, the more telling rows, in less than two minutes
  --rows A,B         only rows whose names begin so
  --variant A,B      only these builds: relaxed, simd, scalar
  --clock cpu        count the time that this thread ran, not the wall's (Node; for machines that others use too)
  --sweep            every head_dim to 256 and length to 300: which are more than 2 × below their neighbours?
  --long             32,768 and 65,536 tokens, causal
  --llama            a decoder of 260 thousand and of 15 million parameters, against plain JavaScript
  --profile          where the time of our calls goes, and what products at the peak would make of it (Node)
  --native           against onnxruntime-node, in processes of its own
  --markdown         print the tables of the last run of all rows, for the README`;

const NODE_AT_LEAST = 24;
const OUT = new URL('../../build/bench/', import.meta.url);
const LONG = [32768, 65536]; // tokens
const COLD_ROUNDS = { full: 15, quick: 3 };

const say = (text) => console.log(text);

function save(name, value) {
  mkdirSync(OUT, { recursive: true });
  writeFileSync(new URL(`${name}.json`, OUT), `${JSON.stringify(value, null, 1)}\n`);
}

// Targets hold from Node 24 on: an older one hands over to that of node24/, and ends as it ends.
async function handOver() {
  const newer = fileURLToPath(new URL(`node24/node_modules/node-${process.platform}-${process.arch}/bin/node`, import.meta.url));
  if (!existsSync(newer)) throw new Error(`needs Node ${NODE_AT_LEAST} or newer, and ${newer} is not there: ./build.sh bench installs it`);
  const child = spawn(newer, process.argv.slice(1), { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  process.exitCode = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status) => resolve(status ?? 1));
  });
}

function options() {
  const flag = { type: 'boolean', default: false };
  const { values } = parseArgs({
    options: {
      node: flag, chromium: flag, quick: flag, sweep: flag, long: flag, llama: flag, profile: flag, native: flag, markdown: flag, help: flag,
      rows: { type: 'string' }, variant: { type: 'string' }, clock: { type: 'string', default: 'wall' },
    },
  });
  const quick = values.quick;
  const variants = values.variant?.split(',') ?? ['relaxed', 'simd', 'scalar'];
  for (const variant of variants)
    if (!['relaxed', 'simd', 'scalar'].includes(variant)) throw new Error(`--variant ${variant}: there are relaxed, simd, scalar`);
  if (!['wall', 'cpu'].includes(values.clock)) throw new Error(`--clock ${values.clock}: there are wall and cpu`);
  return {
    ...values,
    mode: quick ? 'quick' : 'full',
    places: values.node || values.chromium ? ['node', 'chromium'].filter((place) => values[place]) : quick ? ['node'] : ['node', 'chromium'],
    rows: chooseRows({ only: values.rows, quick }),
    everyRow: values.rows === undefined,
    variants,
  };
}

async function measureNode({ rows, variants, mode, clock, onResult }) {
  const { openLab } = await import('./lab.mjs');
  const { measureRows } = await import('./measure.mjs');
  const lab = await openLab({ variants, say });
  await measureRows({ rows, lab, mode, clock, onResult });
}

async function measureIn(place, { rows, everyRow, variants, mode, clock }) {
  const { load, machine, nodeEngine } = await import('./machine.mjs');
  const { FORMULA } = await import('./problems.mjs');
  const measurement = {
    engine: nodeEngine(), clock: place === 'node' ? clock : 'wall', mode, machine: machine(), load: [load()], flopFormula: FORMULA, rows: [],
  };
  const file = everyRow ? place : `${place}-rows`; // what --markdown prints is not overwritten by a glance at some rows
  say(`\n${place}: ${rows.length} rows\n${headText()}`);
  const onResult = (result) => {
    measurement.rows.push(result);
    measurement.load.push(load());
    say(rowText(result));
    save(file, measurement); // what is measured stays, whatever happens next
  };
  if (place === 'chromium') {
    const { measureInChromium } = await import('./chromium.mjs');
    measurement.engine = await measureInChromium({ rows, variants, mode, onResult, say });
  } else {
    await measureNode({ rows, variants, mode, clock, onResult });
    if (everyRow) {
      measurement.sizes = await (await import('./sizes.mjs')).sizes();
      measurement.cold = await (await import('./cold.mjs')).cold(COLD_ROUNDS[mode]);
      say(extraText(measurement));
    }
  }
  save(file, measurement);
  say(`\n${summary(measurement)}`);
}

function printMarkdown() {
  const found = ['node', 'chromium'].map((place) => new URL(`${place}.json`, OUT)).filter((file) => existsSync(file));
  if (found.length === 0) throw new Error('nothing was measured yet: run it without --markdown first');
  say(found.map((file) => markdown(JSON.parse(readFileSync(file)))).join('\n\n'));
}

async function main() {
  const chosen = options();
  if (chosen.help) say(USAGE);
  else if (chosen.markdown) printMarkdown();
  else if (Number(process.versions.node.split('.')[0]) < NODE_AT_LEAST) await handOver();
  else {
    const { rows } = chosen;
    const variants = chosen.variants.filter((variant) => variant !== 'scalar');
    if (chosen.sweep) save('sweep', await (await import('./sweep.mjs')).sweep({ variants, clock: chosen.clock, say }));
    else if (chosen.long) save('long', await (await import('./long.mjs')).long({ variants, lengths: LONG, say }));
    else if (chosen.llama) save('llama', await (await import('./llama.mjs')).llama({ variants, clock: chosen.clock, say }));
    else if (chosen.profile) {
      const clock = await (await import('./clocks.mjs')).openClock(chosen.clock);
      save('profile', await (await import('./profile.mjs')).profile({ rows, variants, clock, say }));
    } else if (chosen.native) save('native', await (await import('./native.mjs')).native({ rows, variants, say }));
    else for (const place of chosen.places) await measureIn(place, chosen);
  }
}

try {
  await main();
  process.exit(); // the peers' workers would keep the process
} catch (error) {
  console.error(`bench: ${error.message}`);
  process.exit(1);
}
