// PyTorch's own numbers, as kept in tests/golden, by every variant.

import assert from 'node:assert/strict';
import { operatorOf, readCase, readExpected } from '../../conformance/cases.mjs';
import { compare } from '../../conformance/compare.mjs';
import { operators } from '../../conformance/torch.mjs';
import { eachVariant } from './each_variant.js';

const { golden } = globalThis; // the names of the files
assert.ok(golden.length > 0);
for (const file of golden) {
  const json = await (await fetch(new URL(`../../golden/torch/${file}`, import.meta.url))).json();
  eachVariant(json.name ?? file, (attn) => {
    const got = operators[operatorOf(json)](readCase(json, Float32Array), attn);
    for (const [name, want] of readExpected(json)) assert.equal(compare(name, got[name], want, json.tolerance).problem, null);
  }, { sharing: true });
}
