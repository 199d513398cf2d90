// The shipped model in the module's own decoder: it does what its table says was measured, and before training nothing of it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { Llama } from '../../web/lib/llama/index.js';
import { Attention } from '../../web/lib/index.js';
import { mulberry32 } from '../../web/lib/random.js';
import { SKILLS, sentence, tokensOf } from '../../web/model/sentences.js';
import { checkpointOf, initialParameters } from '../../web/model/untrained.js';

const read = (name) => readFileSync(new URL(`../../web/model/${name}`, import.meta.url));
const table = JSON.parse(read('heads.json'));
const { config, seed } = JSON.parse(read('training.json'));

// { right, mass[layer][head] } of uses of one skill in held-out sentences.
function look(model, skill, count, silenced = []) {
  const random = mulberry32(77);
  const found = [];
  while (found.length < count) {
    const { words, uses } = sentence(random, { heldOut: true });
    for (const { position, source, right, wrong } of uses.filter((use) => use.skill === skill)) {
      const sequence = model.sequence();
      const { logits, weights } = sequence.forward([0, ...tokensOf(words.slice(0, position))], { returnWeights: true, silenced });
      sequence.free();
      const [expected, ...others] = tokensOf([right, ...wrong]).map((token) => logits.data[token]);
      const mass = weights.map(({ data, shape: [heads, rows, keys] }) => Array.from({ length: heads }, (_, head) => data[(head * rows + rows - 1) * keys + source + 1]));
      found.push({ right: others.every((other) => other < expected), mass });
    }
  }
  return found;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const accuracy = (found) => mean(found.map(({ right }) => (right ? 1 : 0)));

// 80 uses against the 500 of the table: a share is within 0.25 of the recorded one with four standard deviations.
const NEAR = 0.25;

test('the decoder of the module finds what the table of the shipped model says', async () => {
  const attn = await Attention.create({ threads: 1 });
  const model = await Llama.create(attn, read('model.bin'));
  for (const [s, skill] of SKILLS.entries()) {
    const recorded = table.skills[s];
    const found = look(model, skill, 80);
    assert.ok(accuracy(found) >= 0.95, `${skill}: right ${accuracy(found)}`);
    for (const { layer, head, mass, lost } of recorded.heads) {
      const now = mean(found.map((use) => use.mass[layer][head]));
      assert.ok(Math.abs(now - mass) < NEAR, `${skill} ${layer}.${head}: ${now}, recorded ${mass}`);
      if (lost < 0.3) continue;
      const without = accuracy(found) - accuracy(look(model, skill, 80, [{ layer, head }]));
      assert.ok(Math.abs(without - lost) < NEAR, `${skill} without ${layer}.${head}: lost ${without}, recorded ${lost}`);
    }
  }
  attn.dispose();
});

test('before training the same decoder knows nothing', async () => {
  const attn = await Attention.create({ threads: 1 });
  const model = await Llama.create(attn, checkpointOf(config, initialParameters(config, mulberry32(seed))));
  for (const skill of SKILLS) assert.ok(accuracy(look(model, skill, 80)) < 0.75, skill);
  attn.dispose();
});
