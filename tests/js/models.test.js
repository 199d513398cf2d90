// Queries, keys and values of a real trained model (stories260K, layer 2: 8 query and 4 kv heads), with the weights and
// output that onnxruntime computed from them. Other people's data: read from ../shared, skipped by name without it.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { eachVariant } from './each_variant.js';

const FILE = new URL('../../../shared/models/stories260K_L2_qkv_ort.json', import.meta.url);
const TOLERANCE = 1e-5; // asked for by the project; the file's numbers have seven digits or more

const largestError = (got, want) => got.reduce((largest, x, i) => Math.max(largest, Math.abs(x - want[i])), 0);

if (!existsSync(FILE)) {
  test('a trained model attends as its own program says', { skip: 'needs ../shared/models' }, () => {});
} else {
  const { T, q, k, v, weights, output } = JSON.parse(readFileSync(FILE));
  for (const Type of [Float32Array, Float64Array])
    eachVariant(`a trained model attends as its own program says, ${Type.name}`, (attn) => {
      const tensor = (data, heads) => ({ data: Type.from(data), shape: [1, heads, T, 8] });
      const got = attn.sdpa(tensor(q, 8), tensor(k, 4), tensor(v, 4), { isCausal: true, returnWeights: true });
      assert.deepEqual(got.weights.shape, [1, 8, T, T]);
      assert.ok(largestError(got.weights.data, weights) <= TOLERANCE, `weights: ${largestError(got.weights.data, weights)}`);
      assert.ok(largestError(got.output.data, output) <= TOLERANCE, `output: ${largestError(got.output.data, output)}`);
    });
}
