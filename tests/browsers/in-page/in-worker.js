// An engine in a worker, each with each variant: the numbers of the reference, and threads that take part.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { near, sdpa } from '../../js/oracle.js';
import { VARIANTS, engineOf, random, tensor } from './each_variant.js';

for (const variant of VARIANTS)
  test(`an engine in a worker (${variant})`, async () => {
    const next = random(5);
    const [batch, numHeads, seqLenQ, seqLenKv, headDim] = [1, 4, 40, 40, 16];
    const inputs = [0, 1, 2].map(() => tensor([batch, numHeads, seqLenQ, headDim], next));
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    const answer = await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(`the worker: ${message}`));
      worker.postMessage({ ...engineOf(variant), inputs });
    });
    worker.terminate();
    assert.equal(answer.error, undefined);
    const want = sdpa({ q: inputs[0].data, k: inputs[1].data, v: inputs[2].data, batch, numHeads, numKvHeads: numHeads, seqLenQ, seqLenKv, headDim, headDimV: headDim, isCausal: true });
    near(answer.output, want.out, want.tolerance.out, 'output');
    assert.equal(answer.tasks > 0, variant.endsWith('threads'), `${answer.tasks} tasks`);
  });
