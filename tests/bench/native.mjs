// The far reference: onnxruntime-node, native code with AVX-512 where the processor has it. It runs in processes of its own, by turns
// with ours: wide vectors lower the clock of everything beside them. `node native.mjs ROWS WHO` prints seconds per call as JSON.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Attention } from '../../web/lib/index.js';
import { wall } from './clocks.mjs';
import { ours } from './ours.mjs';
import { ortContenders } from './peers/ort.mjs';
import { checker, pose } from './problems.mjs';
import { chooseRows } from './rows.mjs';
import { interleave, quantile, spread } from './timing.mjs';

const SELF = fileURLToPath(import.meta.url);
const FOLDER = new URL('native/', import.meta.url);
const TURNS = 5;
const SETTINGS = { clock: wall, warm: 0.2, sample: 0.015, budget: 0.5, rounds: [3, 20], rareRounds: 0 };

const comparable = ({ kind }) => ['sdpa', 'weights', 'layer', 'held'].includes(kind);

async function measureHere(names, who) {
  const variant = who === 'native' ? 'simd' : who;
  const attn = await Attention.create({ variant, threads: 1 });
  const ort = who === 'native' && createRequire(FOLDER)('onnxruntime-node');
  const seconds = {};
  for (const row of chooseRows({ only: names })) {
    const problem = pose(row);
    const contenders = ort
      ? await ortContenders({ ort, options: { executionProviders: ['cpu'], intraOpNumThreads: 1, interOpNumThreads: 1 } }, problem)
      : [{ name: who, ...ours(attn, problem) }];
    const check = checker(problem, attn);
    for (const { run, result } of contenders) check(result(await run()));
    const times = await interleave(contenders, SETTINGS);
    seconds[row.name] = Math.min(...[...times.values()].map((samples) => quantile(samples, 0.5)));
    for (const { dispose } of contenders) await dispose?.();
  }
  console.log(JSON.stringify(seconds));
}

/** Per row and variant: seconds, and how many times as fast as native we are. */
export async function native({ rows, variants, say }) {
  if (!existsSync(new URL('node_modules/onnxruntime-node/package.json', FOLDER)))
    throw new Error('onnxruntime-node is not there: ./build.sh bench --native installs it');
  const chosen = rows.filter(comparable);
  const samples = Object.fromEntries(chosen.map(({ name }) => [name, Object.fromEntries(['native', ...variants].map((who) => [who, []]))]));
  for (let turn = 0; turn < TURNS; turn++)
    for (const who of ['native', ...variants]) {
      const child = spawnSync(process.execPath, [SELF, chosen.map(({ name }) => name).join(), who], { encoding: 'utf8' });
      if (child.status !== 0) throw new Error(`${who}: ${child.stderr}`);
      for (const [name, seconds] of Object.entries(JSON.parse(child.stdout.trim().split('\n').at(-1)))) samples[name]?.[who].push(seconds);
    }
  return chosen.map(({ name, title }) => {
    const far = samples[name].native;
    const result = { name, title, native: spread(far), variants: {} };
    for (const variant of variants) {
      const own = samples[name][variant];
      result.variants[variant] = { seconds: spread(own), ratio: spread(far.map((seconds, turn) => seconds / own[turn])) };
      const { seconds, ratio } = result.variants[variant];
      say(`${title}, ${variant}: ${(seconds.median * 1e3).toPrecision(3)} ms; native ${(result.native.median * 1e3).toPrecision(3)} ms: ` +
        `${ratio.median.toFixed(2)} × [${ratio.low.toFixed(2)} – ${ratio.high.toFixed(2)}]`);
    }
    return result;
  });
}

if (process.argv[1] === SELF) await measureHere(process.argv[2], process.argv[3]);
