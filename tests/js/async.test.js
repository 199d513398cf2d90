// sdpaAsync: the numbers of sdpa, progress that rises to 1, and an end at any moment that leaves nothing behind.

import assert from 'node:assert/strict';

import { AttentionError } from '../../web/lib/index.js';
import { eachVariant, random, tensor, works } from './each_variant.js';

// Some hundred tasks, so that there is more than one slice even on a fast machine.
const large = (next) => [0, 1, 2].map(() => tensor([1, 4, 1500, 64], next));

eachVariant('slices give the same bits as one call, and say how far they are', async (attn) => {
  const inputs = large(random(1));
  const heard = [];
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const options = { isCausal: true, returnLogsumexp: true };
  const sliced = await attn.sdpaAsync(...inputs, { ...options, onProgress: (done) => heard.push(done) });
  clearInterval(timer);
  const whole = attn.sdpa(...inputs, options);
  assert.deepEqual(sliced.output.data, whole.output.data);
  assert.deepEqual(sliced.logsumexp.data, whole.logsumexp.data);
  assert.ok(heard.length > 1 && heard.every((done, i) => done > (heard[i - 1] ?? 0)), `${heard}`);
  assert.equal(heard.at(-1), 1);
  assert.ok(turns > 0, 'the event loop ran in between');
});

eachVariant('a signal ends it between two slices; the engine and its memory are as before', async (attn) => {
  const inputs = large(random(2));
  await attn.sdpaAsync(...inputs);
  const before = attn.memoryBytes;
  for (let round = 0; round < 5; round++) {
    const control = new AbortController();
    const reason = new Error('enough');
    let slices = 0;
    await assert.rejects(attn.sdpaAsync(...inputs, { signal: control.signal, onProgress: () => { slices++; control.abort(reason); } }), reason);
    assert.equal(slices, 1);
  }
  await assert.rejects(attn.sdpaAsync(...inputs, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  assert.equal(attn.memoryBytes, before);
  works(attn);
});

eachVariant('other calls may run in between; a tensor or engine given back ends it with a clear error', async (attn) => {
  const [q, k, v] = large(random(3));
  const held = attn.tensor(q.shape).set(q);
  await assert.rejects(attn.sdpaAsync(held, k, v, { onProgress: () => { works(attn); held.free(); } }),
    (error) => error instanceof AttentionError && error.code === 'disposed');
  works(attn);
  await assert.rejects(attn.sdpaAsync(q, k, v, { onProgress: 3 }), { name: 'TypeError', message: /onProgress/ });
  await assert.rejects(attn.sdpaAsync(q, k, v, { signal: {} }), { name: 'TypeError', message: /signal/ });
  await assert.rejects(attn.sdpaAsync(q, k), { name: 'TypeError', message: /value/ });
  await assert.rejects(attn.sdpaAsync(q, k, v, { onProgress: () => attn.dispose() }),
    (error) => error instanceof AttentionError && error.code === 'disposed');
});
