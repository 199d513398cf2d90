// index.js and index.d.ts declare the same names. (That the types mean what they say is tests/types/.)

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import * as lib from '../../web/lib/index.js';
import { engineOf } from './each_variant.js';

const types = readFileSync(new URL('../../web/lib/index.d.ts', import.meta.url), 'utf8')
  .replace(/\/\*.*?\*\//gs, '')
  .replace(/<[^<>]*>/g, '')
  .replace(/<[^<>]*>/g, '');

// The members of a class or interface: { instance: names, static: names }.
function declared(name) {
  const [, inherits, body] = new RegExp(`^export (?:class|interface) ${name}\\b[^{]*?(?:extends (\\w+)[^{]*)?\\{(.*?)^\\}`, 'ms').exec(types);
  const names = { instance: [], static: [] };
  for (const [, isStatic, member] of body.matchAll(/^ {2}(static )?(?:readonly )?(\w+|\[Symbol\.dispose\])\??[(:]/gm))
    if (member !== 'constructor') names[isStatic ? 'static' : 'instance'].push(member);
  if (inherits && inherits !== 'Error') names.instance.push(...declared(inherits).instance);
  return { instance: [...new Set(names.instance)].sort(), static: names.static.sort() };
}

// An object and what it inherits from, up to those that the language itself brings.
function chain(object) {
  const from = Object.getPrototypeOf(object);
  return [object, ...([null, Object.prototype, Function.prototype, Error, Error.prototype].includes(from) ? [] : chain(from))];
}

function actual(object) {
  const names = chain(object).flatMap((one) => Object.getOwnPropertyNames(one));
  if (Symbol.dispose in object) names.push('[Symbol.dispose]');
  return [...new Set(names)].filter((name) => !['constructor', 'stack', 'message', 'cause'].includes(name)).sort();
}

test('exported names', () => {
  const names = [...types.matchAll(/^export (?:declare )?(?:abstract )?(?:class|function|const|let|var|enum) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(lib).sort(), names.sort());
});

test('members of every class', async () => {
  const attn = await lib.Attention.create(engineOf('scalar'));
  const tensor = attn.tensor([1]);
  const objects = {
    Attention: attn,
    MultiHeadAttention: attn.multiHeadAttention({ embedDim: 2, numHeads: 1 }),
    SimpleAttention: new lib.SimpleAttention({ embedDim: 2, numHeads: 1, engine: attn }),
    AttentionError: new lib.AttentionError('internal', ''),
    EngineTensor: tensor,
    Tensor: tensor.toTensor(),
  };
  for (const [name, object] of Object.entries(objects)) {
    assert.deepEqual(actual(object), declared(name).instance, name);
    if (lib[name])
      assert.deepEqual(chain(lib[name]).flatMap((one) => Object.getOwnPropertyNames(one)).filter((n) => !['length', 'name', 'prototype'].includes(n)).sort(), declared(name).static, name);
  }
  const { sdpa: result } = { sdpa: attn.sdpa([[1]], [[1]], [[1]]) };
  assert.deepEqual(Object.keys(result).sort(), declared('SdpaResult').instance);
  assert.deepEqual(Object.keys(attn.sdpaBackward([[1]], [[1]], [[1]], [[1]])).sort(), declared('SdpaGradients').instance);
  assert.deepEqual(Object.keys(attn.attentionSteps([1], [[1]], [[1]])).sort(), declared('AttentionSteps').instance);
  assert.deepEqual(Object.keys(objects.MultiHeadAttention.forward([[1, 2]])).sort(), declared('MultiHeadAttentionResult').instance);
  assert.deepEqual(Object.keys(attn.headStatistics([[1]])).sort(), declared('HeadStatistics').instance);
  assert.deepEqual(Object.keys(attn.explain([[1]], [[1]], [[1]], { row: 0 })).sort(), declared('Explanation').instance);
  assert.deepEqual(Object.keys(attn.scoreAttentionBackward([[1]], [[1]], [[1]], [[1]], { score: 'dot' })).sort(), declared('ScoreAttentionGradients').instance);
  objects.MultiHeadAttention.forward([[1, 2]], null, null, { needGrad: true });
  assert.deepEqual(Object.keys(objects.MultiHeadAttention.backward([[1, 2]])).sort(), declared('MultiHeadAttentionGradients').instance);
  attn.dispose();
});

test('options of every function: those of the types are those that are taken', async () => {
  const attn = await lib.Attention.create(engineOf('scalar'));
  const layer = attn.multiHeadAttention({ embedDim: 2, numHeads: 1 });
  const taken = async (call) => {
    const error = await Promise.resolve().then(call).catch((e) => e);
    return /no such option; there are (.*)/.exec(error.message)[1].split(', ').sort();
  };
  const unknown = { '?': 1 };
  assert.deepEqual(await taken(() => lib.Attention.create(unknown)), declared('CreateOptions').instance);
  assert.deepEqual(await taken(() => attn.sdpa([[1]], [[1]], [[1]], unknown)), declared('SdpaOptions').instance);
  const inputs = declared('SdpaOptions').instance.filter((name) => !name.startsWith('return') && name !== 'out');
  assert.deepEqual(await taken(() => attn.sdpaBackward([[1]], [[1]], [[1]], [[1]], unknown)), [...inputs, 'logsumexp', 'output'].sort());
  assert.deepEqual(await taken(() => attn.rotaryEmbedding([[1, 2]], unknown)), declared('RotaryEmbeddingOptions').instance);
  assert.deepEqual(await taken(() => attn.scoreAttention([[1]], [[1]], [[1]], unknown)), declared('ScoreAttentionOptions').instance);
  assert.deepEqual(await taken(() => attn.multiHeadAttention(unknown)), declared('MultiHeadAttentionOptions').instance);
  assert.deepEqual(await taken(() => layer.forward([[1, 2]], null, null, unknown)), declared('MultiHeadAttentionForwardOptions').instance);
  attn.dispose();
});
