// Which builds this browser and this page can have: what the probes say is what happens.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attention } from '../../../web/lib/index.js';
import * as probes from '../../../web/lib/probes.js';
import { VARIANTS, engineOf, works } from '../../js/each_variant.js';

const LIB = new URL('../../../web/lib/', import.meta.url);
const compiles = async (variant) => WebAssembly.validate(await (await fetch(new URL(`wasm/${variant}.wasm`, LIB))).arrayBuffer());
const isShared = () => {
  try {
    return structuredClone(new SharedArrayBuffer(8)).byteLength === 8;
  } catch {
    return false;
  }
};
// Who only has to serve the page otherwise is told so; who cannot do anything about it, too.
const noThreads = crossOriginIsolated ? /no shared memory here, although the page is cross-origin isolated/ : /no shared memory here: .*Cross-Origin-Opener-Policy: same-origin/;
const lacks = (variant) => [
  variant !== 'scalar' && !probes.simd() && 'simd', variant.startsWith('relaxed') && !probes.relaxed() && 'relaxed',
  variant.endsWith('threads') && !probes.threads() && 'threads',
].find(Boolean);

test('a probe says yes where the build compiles and memory can be shared, and only there', async () => {
  assert.equal(probes.simd(), await compiles('simd'));
  assert.equal(probes.relaxed(), await compiles('relaxed'));
  assert.equal(probes.threads(), await compiles('simd-threads') && isShared());
});

for (const variant of VARIANTS)
  test(`${variant}: it works, or says what is lacking`, async () => {
    const want = lacks(variant);
    if (want) {
      const message = { simd: /has no WebAssembly SIMD/, relaxed: /has no WebAssembly relaxed SIMD/, threads: noThreads }[want];
      await assert.rejects(Attention.create(engineOf(variant)), { name: 'AttentionError', code: 'unsupported', message });
      return;
    }
    const attn = await Attention.create(engineOf(variant));
    assert.equal(attn.variant, variant);
    works(attn);
    attn.dispose();
  });

test('left to itself it takes the fastest: one thread, unless all or some are asked for', async () => {
  const best = (ending) => VARIANTS.filter((variant) => !lacks(variant) && variant.endsWith('threads') === ending).at(-1);
  const attn = await Attention.create();
  assert.deepEqual([attn.variant, attn.threads], [best(false), 1]);
  works(attn);
  attn.dispose();
  const all = await Attention.create({ threads: 'auto' });
  assert.equal(all.threads, probes.threads() ? Math.min(8, navigator.hardwareConcurrency) : 1);
  works(all);
  all.dispose();
  if (!probes.threads()) return assert.rejects(Attention.create({ threads: 2 }), { code: 'unsupported', message: noThreads });
  const two = await Attention.create({ threads: 2 });
  assert.deepEqual([two.variant, two.threads], [best(true), 2]);
  works(two);
  two.dispose();
});
