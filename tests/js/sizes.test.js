// What a page downloads stays small. The limits are those of tests/bench/sizes.mjs.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { sizes } from '../bench/sizes.mjs';
import { VARIANTS } from './each_variant.js';

test('each build and the scripts stay below what they may weigh, gzipped', async () => {
  const measured = await sizes();
  assert.deepEqual(measured.map(({ build }) => build).sort(), [...VARIANTS, 'all', 'all'].sort());
  for (const { title, build, bytes, atMost } of measured) assert.ok(bytes <= atMost && bytes > 1000, `${build}: ${title}: ${bytes} of ${atMost}`);
});
