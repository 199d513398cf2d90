// spotlight-attention/core: the same engine, with sdpa alone.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Attention, AttentionError } from '../../web/lib/core.js';
import * as whole from '../../web/lib/index.js';
import { VARIANTS, engineOf, random, tensor } from './each_variant.js';

test('it computes what the whole module computes, with every build', async () => {
  const next = random(7);
  const [q, k, v] = [[1, 2, 9, 8], [1, 2, 11, 8], [1, 2, 11, 4]].map((shape) => tensor(shape, next));
  for (const variant of VARIANTS) {
    const [core, full] = await Promise.all([Attention.create(engineOf(variant)), whole.Attention.create(engineOf(variant))]);
    assert.ok(full instanceof Attention && !(core instanceof whole.Attention));
    assert.equal(core.variant, variant);
    const want = full.sdpa(q, k, v, { isCausal: true, returnWeights: true });
    assert.deepEqual(core.sdpa(q, k, v, { isCausal: true, returnWeights: true }), want);
    assert.deepEqual((await core.sdpaAsync(core.tensor(q.shape).set(q), k, v, { isCausal: true })).output, want.output);
    assert.throws(() => new Attention(), { name: 'TypeError', message: /Attention\.create/ });
    core.dispose();
    assert.throws(() => core.sdpa(q, k, v), (error) => error instanceof AttentionError && error.code === 'disposed');
    full.dispose();
  }
});
