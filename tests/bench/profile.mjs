// Where the time of our calls goes, by V8's sampling profiler, and what that leaves to be gained: `./build.sh bench --profile`.

import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { Attention } from '../../web/lib/index.js';
import { openLab } from './lab.mjs';
import { SETTINGS, measureRow } from './measure.mjs';
import { ours } from './ours.mjs';
import { pose } from './problems.mjs';
import { interleave, spread } from './timing.mjs';

const SAMPLE = 200; // microseconds
const SECONDS = { warm: 0.7, profiled: 2.5, tile: 1, row: 6 };

// The first that fits: kind, pattern of the function's name, whether it is WebAssembly's. What products read is counted with them.
const KINDS = [
  ['products', /^(tile_|product_(packed|add|set)_|dot_rows_|sum_rows_)/, true],
  ['softmax', /softmax|move_maximum/, true],
  ['storing', /^(unpack_|store_|fill_row)/, true],
  ['packing', /^(pack_|has_tiny_|open_task)/, true],
  ['the rest', /^/, true],
  ['results out', /^copy$/, false],
  ['arrays in', /^set$/, false],
  ['JavaScript', /^/, false],
];
export const COLUMNS = ['products', 'softmax', 'packing', 'storing', 'arrays in', 'results out', 'JavaScript', 'the rest'];

// The modules as they were linked, before optimizing took away their names: as fast as those that ship (0.99 to 1.01).
// Beside them lies tile-<variant>.wasm, made of tile.c.
const LINKED = new URL('../../build/wasm/', import.meta.url);
const NAMED = new URL('../../build/bench/named/', import.meta.url);

function kindOf({ functionName: name, url }) {
  if (name === '(idle)') return null;
  if (name === '(program)') return 'the rest';
  const isWasm = url.startsWith('wasm:');
  return KINDS.find(([, pattern, wasm]) => wasm === isWasm && pattern.test(name))[0];
}

/** Shares of the time, by kind, of a V8 CPU profile { nodes, samples, timeDeltas }. */
export function shares({ nodes, samples, timeDeltas }) {
  const kinds = new Map(nodes.map(({ id, callFrame }) => [id, kindOf(callFrame)]));
  const time = Object.fromEntries(COLUMNS.map((kind) => [kind, 0]));
  let all = 0;
  samples.forEach((id, i) => {
    const kind = kinds.get(id);
    if (kind === null) return;
    time[kind] += timeDeltas[i];
    all += timeDeltas[i];
  });
  return Object.fromEntries(COLUMNS.map((kind) => [kind, time[kind] / all]));
}

/**
 * How many times as fast as the peer a call would be whose products took `least` of its time, and all else as long as it does.
 * ratio: how many times as fast it is; products: their share of its time.
 */
export const bound = ({ ratio, products, least }) => ratio / (1 - products + least);

// A contender: the tile loop alone, on data in the first-level cache.
function tileLoop(variant) {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(new URL(`tile-${variant}.wasm`, LINKED))));
  const blocks = 20;
  const calls = 20; // engines change to optimised code only where a function is entered
  exports.tile_fill();
  return {
    name: 'tile',
    flops: calls * blocks * exports.tile_flops(),
    run() {
      for (let i = 0; i < calls; i++) exports.tile_loop(blocks);
    },
  };
}

// Its share of the register-only peak, now.
async function tileShare(tile, peak, clock) {
  const times = await interleave([tile, peak], { ...SETTINGS.full, budget: SECONDS.tile, clock });
  const [mine, most] = [times.get(tile.name), times.get(peak.name)];
  return spread(mine.map((seconds, round) => (tile.flops / seconds) / (peak.flops / most[round]))).median;
}

const runFor = async (seconds, run) => {
  const end = performance.now() + seconds * 1e3;
  while (performance.now() < end) {
    for (let i = 0; i < 5; i++) run();
    await new Promise((resolve) => setImmediate(resolve)); // optimised code arrives as an event
  }
};

async function profileOf(run) {
  const session = new Session();
  session.connect();
  try {
    await runFor(SECONDS.warm, run);
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: SAMPLE });
    await session.post('Profiler.start');
    await runFor(SECONDS.profiled, run);
    const { profile } = await session.post('Profiler.stop');
    return shares(profile);
  } finally {
    session.disconnect();
  }
}

const percent = (share) => `${Math.round(100 * share)}`.padStart(3);
const times = (x) => x.toFixed(2).padStart(5);

/**
 * Rows as plain data: { name, title, variant, shares, ratio, wanted, share (of the register-only peak, or of the speed of a plain read), tile
 * (the tile loop's own share of the peak), atPeak, atTile (what they would make of the ratio) }.
 */
export async function profile({ rows, variants, clock, say }) {
  mkdirSync(NAMED, { recursive: true });
  const lab = await openLab({ variants, say });
  const engines = new Map();
  const tiles = new Map();
  for (const variant of variants) {
    copyFileSync(new URL(`${variant}.linked.wasm`, LINKED), new URL(`${variant}.wasm`, NAMED));
    engines.set(variant, await Attention.create({ variant, wasmUrl: NAMED.href }));
    tiles.set(variant, tileLoop(variant));
  }
  say(`percent of the time in: ${COLUMNS.join(', ')}\n` +
    'then: share of the peak, the tile loop\'s own; how many times as fast as the peer, wanted, with products at the peak, with products at the tile loop\'s own speed\n');
  const results = [];
  for (const row of rows.filter(({ kind, atLeast }) => !['threads', 'causal-cost'].includes(kind) && atLeast?.peer)) {
    const { comparisons } = await measureRow(row, lab, { ...SETTINGS.full, scalar: false, budget: SECONDS.row, clock });
    for (const variant of variants) {
      const { run, dispose } = ours(engines.get(variant), pose(row));
      const parts = await profileOf(run);
      dispose?.();
      const ratio = comparisons[variant].peer.value.median;
      // One query reads its keys while they are copied in, and is compared with a plain read.
      const reads = row.seqLenQ === 1;
      const tile = reads ? 1 : await tileShare(tiles.get(variant), lab.peaks.get(variant), clock);
      const share = ratio / comparisons[variant].ceiling.value.median;
      const products = parts.products + (reads ? parts['arrays in'] : 0);
      const result = {
        name: row.name, title: row.title, variant, shares: parts, ratio, wanted: row.atLeast.peer[variant], share, tile,
        atPeak: bound({ ratio, products, least: share }), atTile: bound({ ratio, products, least: share / tile }),
      };
      results.push(result);
      say(`${row.title.padEnd(64)} ${variant.padEnd(8)} ${COLUMNS.map((kind) => percent(parts[kind])).join(' ')}   ` +
        `${percent(share)} ${percent(tile)}   ${[ratio, result.wanted, result.atPeak, result.atTile].map(times).join(' ')}`);
    }
  }
  return { columns: COLUMNS, results };
}
