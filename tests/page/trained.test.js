// The page with models: the shipped one, which learned, and any llama2.c checkpoint that is opened.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after as atEnd, before, test } from 'node:test';
import { readFloat, readInt8 } from '../../tools/train/checkpoint.mjs';
import { isHeldOut, SKILLS, tokensOf, VOCABULARY } from '../../web/model/sentences.js';
import { mulberry32 } from '../../web/lib/random.js';
import { initialParameters, tensors } from '../../web/model/untrained.js';
import { readNpy } from '../../web/page/files/npy.js';
import { presetSettings } from '../../web/page/presets.js';
import { encode, example, suggestions, TextProblem } from '../../web/page/trained/language.js';
import { offerModel } from '../../web/page/trained/files.js';
import { MAX_MODEL_BYTES, modelBytes } from '../../web/page/trained/limits.js';
import { words } from '../../web/page/trained/strings.js';
import { forward, randomModel, tokenizerFile, vocabulary, write } from '../js/llama_model.js';
import { after, ready, startBrowser, violations } from './browser.mjs';

const shipped = (name) => readFileSync(new URL(`../../web/model/${name}`, import.meta.url));
const table = JSON.parse(shipped('heads.json'));
const { config, seed } = JSON.parse(shipped('training.json'));
const SHARED = new URL('../../../shared/models/', import.meta.url);
const SHARED_MISSING = existsSync(SHARED) ? false : 'needs ../shared/models';

/** Weights and probabilities are float32 of some hundred roundings. */
const TOLERANCE = 2e-5;
const FIRST = 'The key to the cabinets is on the chair .';

let browser;
before(async () => { browser = await startBrowser(); });
atEnd(() => browser?.close());

/** Keeps the last answer about a model that the worker gave to the page, and how many there were. */
function spy() {
  const Real = window.Worker;
  window.answers = 0;
  window.Worker = class extends Real {
    constructor(...given) {
      super(...given);
      this.addEventListener('message', ({ data }) => {
        if (!data.result?.perLayer) return;
        window.answers += 1;
        window.answer = data.result;
      });
    }
  };
}

const openPage = (options = {}) => browser.open({ init: spy, ...options });

async function openOwn(options = {}) {
  const page = await openPage(options);
  await after(page, () => page.getByRole('button', { name: 'A model that learned' }).click());
  await page.waitForSelector('.model-heads tfoot');
  await ready(page);
  return page;
}

const closed = async (page) => {
  assert.deepEqual(page.complaints, []);
  assert.deepEqual(page.strangers, []);
  await page.context().close();
};
const press = (page, name) => after(page, () => page.getByRole('button', { name, exact: true }).click());
const type = (page, value) => after(page, () => page.locator('#text').fill(value));
const picture = (page) => page.evaluate(() => ({ weights: [...window.answer.weights.data], tokens: window.answer.tokens, heads: window.answer.heads }));
const near = (found, expected, tolerance, what) => {
  assert.equal(found.length, expected.length, `${what}: how many`);
  found.forEach((x, i) => assert.ok(Math.abs(x - expected[i]) <= tolerance, `${what} [${i}]: ${x}, not ${expected[i]}`));
};
const shortName = ({ layer, head }) => `${layer + 1}.${head + 1}`;
const textOf = (page, selector) => page.locator(selector).innerText();

/** { config, embedding, layers ... } of llama_model.js out of one list of parameters. */
function modelOf({ config: sizes, parameters }) {
  const rename = { ffnNorm: 'feedForwardNorm' };
  const model = { config: { ...sizes, headDim: sizes.dim / sizes.numHeads }, layers: Array.from({ length: sizes.numLayers }, () => ({})) };
  let at = 0;
  for (const [name, matrices, out, columns] of tensors(sizes)) {
    for (let layer = 0; layer < matrices; layer += 1) {
      const values = parameters.subarray(at, (at += out * columns));
      if (name === 'embedding' || name === 'finalNorm') model[name] = values;
      else model.layers[layer][rename[name] ?? name] = values;
    }
  }
  return { ...model, output: model.embedding };
}

const after64 = () => modelOf(readInt8(shipped('model.bin')));
const before64 = () => modelOf({ config, parameters: initialParameters(config, mulberry32(seed)) });
const softmax = (logits) => {
  const top = Math.max(...logits);
  const powers = logits.map((x) => Math.exp(x - top));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
};
const idsOf = (text) => [0, ...tokensOf(text.split(' '))];

/** The prediction as the page says it: [[word, percent now, percent before or undefined]]. */
async function predicted(page) {
  const lines = await page.locator('.model-bars li').evaluateAll((items) => items.map((item) => [item.firstElementChild.textContent, item.querySelector('.model-share').textContent]));
  return lines.map(([word, share]) => {
    const shares = [...share.matchAll(/(<?\d+) %/g)].map(([, number]) => (number === '<1' ? 0 : Number(number)));
    return shares.length > 1 ? [word, shares[1], shares[0]] : [word, shares[0]];
  });
}

function checkPredicted(lines, now, earlier) {
  assert.ok(lines.length >= 6);
  for (const [word, share, old] of lines) {
    const at = VOCABULARY.indexOf(word);
    assert.ok(Math.abs(share - 100 * now[at]) <= 1, `${word}: ${share} %, not ${100 * now[at]}`);
    if (earlier) assert.ok(Math.abs(old - 100 * earlier[at]) <= 1, `${word} before: ${old} %, not ${100 * earlier[at]}`);
  }
  const top = now.indexOf(Math.max(...now));
  assert.ok(lines.some(([word]) => word === VOCABULARY[top]), `the likeliest word, ${VOCABULARY[top]}, is shown`);
}

test('the first sight of the page downloads no model', async () => {
  const page = await browser.open({ wait: false, hash: '#' });
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  await page.reload();
  await ready(page);
  assert.deepEqual(asked.filter((path) => /\/(model|llama)\//.test(path)), []);
  await after(page, () => page.getByRole('button', { name: 'A model that learned' }).click());
  assert.ok(asked.some((path) => path.endsWith('/model/model.bin')));
  await closed(page);
});

test('the shipped model: weights of every layer and head, and predictions, are those of float64 loops', async () => {
  const page = await openOwn();
  const want = forward(after64(), idsOf(FIRST));
  const { weights, tokens } = await picture(page);
  assert.deepEqual(tokens, ['<bos>', ...FIRST.split(' ')]);
  near(weights, want.weights.flat(3), TOLERANCE, 'weights');
  checkPredicted(await predicted(page), softmax(want.logits[5]));
  // Another word looks, and another text.
  await after(page, () => page.locator('.word').nth(3).click());
  checkPredicted(await predicted(page), softmax(want.logits[3]));
  const text = 'Tom gave Lily his ball .';
  await type(page, text);
  const other = forward(after64(), idsOf(text));
  near((await picture(page)).weights, other.weights.flat(3), TOLERANCE, 'weights of another text');
  await closed(page);
});

test('a head is silenced with one click, and the prediction changes as in float64 loops', async () => {
  const page = await openOwn();
  const skill = table.skills.find(({ skill: name }) => name === 'agreement');
  const worst = skill.heads.reduce((a, b) => (b.lost > a.lost ? b : a));
  await press(page, `Silence head ${shortName(worst)}`);
  const whole = forward(after64(), idsOf(FIRST));
  const without = forward(after64(), idsOf(FIRST), { silenced: [worst] });
  near((await picture(page)).weights, without.weights.flat(3), TOLERANCE, 'weights');
  const [now, earlier] = [softmax(without.logits[5]), softmax(whole.logits[5])];
  checkPredicted(await predicted(page), now, earlier);
  const choice = (all) => Math.round((100 * all[VOCABULARY.indexOf('is')]) / (all[VOCABULARY.indexOf('are')] + all[VOCABULARY.indexOf('is')]));
  const said = await textOf(page, '.model-choice');
  const [was, is] = [...said.matchAll(/(\d+) %/g)].map(([, number]) => Number(number));
  assert.ok(Math.abs(was - choice(earlier)) <= 1 && Math.abs(is - choice(now)) <= 1, said);
  assert.equal(await page.getByRole('button', { name: `Silence head ${shortName(worst)}`, exact: true }).getAttribute('aria-pressed'), 'true');
  await page.waitForFunction(() => /^Without Layer/.test(document.querySelector('output[aria-live]').textContent));
  await press(page, 'All heads at work');
  near((await picture(page)).weights, whole.weights.flat(3), TOLERANCE, 'weights with all heads again');
  checkPredicted(await predicted(page), earlier);
  await closed(page);
});

test('before training: the parameters that the seed gives, next to what was learned', async () => {
  const page = await openOwn();
  await press(page, 'before training');
  const untrained = forward(before64(), idsOf(FIRST));
  near((await picture(page)).weights, untrained.weights.flat(3), TOLERANCE, 'weights');
  checkPredicted(await predicted(page), softmax(untrained.logits[5]), softmax(forward(after64(), idsOf(FIRST)).logits[5]));
  assert.match(await page.locator('.head').first().getAttribute('aria-label'), /Before training/);
  await press(page, 'Compare the heads with those before training');
  assert.deepEqual(await page.locator('.pane h2').allInnerTexts(), ['First: before training', 'Second: after training', 'First minus second']);
  assert.match(await textOf(page, '.compare-facts'), /^Layer 2, head \d of both is compared/);
  await press(page, 'Close the comparison');
  await press(page, 'after training');
  near((await picture(page)).weights, forward(after64(), idsOf(FIRST)).weights.flat(3), TOLERANCE, 'weights after training');
  await closed(page);
});

for (const skill of SKILLS) {
  test(`an example of ${skill}: a held-out sentence, the head that was measured to carry it, and its weight against chance`, async () => {
    const page = await openOwn();
    await press(page, words.skills[skill].name);
    const { text, use } = example(skill, 1);
    assert.ok(isHeldOut(text.split(' ')));
    assert.equal(await page.locator('#text').inputValue(), text);
    const { readers } = table.roles.find((role) => role.skill === skill);
    const row = table.skills.find((one) => one.skill === skill);
    const main = readers[0] ?? row.heads.reduce((a, b) => (b.mass > a.mass ? b : a));
    assert.ok((await textOf(page, '.stage-title')).startsWith(`Layer ${main.layer + 1}, head ${main.head + 1}: `));
    assert.ok((await textOf(page, '#expects-title + p')).includes(`“${use.right}”`));
    const want = forward(after64(), idsOf(text)).weights[main.layer][main.head][use.position][use.source + 1];
    const line = page.locator('.model-heads tbody tr').nth(main.layer * config.numHeads + main.head);
    const cells = (await line.locator('td').allInnerTexts()).filter((cell) => /^<?[\d−]/.test(cell));
    assert.deepEqual(cells.map((cell) => cell.replace('−', '-')), [
      want < 0.005 ? '<1 %' : `${Math.round(100 * want)} %`, main.mass < 0.005 ? '<1 %' : `${Math.round(100 * row.heads[main.layer * config.numHeads + main.head].mass)} %`,
      words.points(row.heads[main.layer * config.numHeads + main.head].lost).replace('−', '-')]);
    const chances = (await page.locator('.model-heads tfoot td').allInnerTexts()).filter(Boolean);
    assert.deepEqual(chances, [`${Math.round(100 / (use.position + 1))} %`, `${Math.round(100 * row.chance)} %`]);
    // The next press brings another sentence.
    await press(page, words.skills[skill].name);
    assert.equal(await page.locator('#text').inputValue(), example(skill, 2).text);
    await closed(page);
  });
}

test('the whole table is the measured one, and the words say who carries what', async () => {
  const page = await openOwn();
  await page.locator('summary', { hasText: 'The whole table' }).click();
  const lines = await page.locator('.model-facts tbody tr').evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.equal(lines.length, config.numLayers * config.numHeads);
  const percent = (x) => (x > 0 && x < 0.005 ? '<1 %' : `${Math.round(100 * x)} %`);
  lines.forEach(([name, ...cells], at) => {
    assert.equal(name, shortName(table.skills[0].heads[at]));
    assert.deepEqual(cells, table.skills.map(({ heads }) => `${percent(heads[at].mass)}, ${percent(heads[at].distractors)}; ${words.points(heads[at].lost)}`));
  });
  const honest = await page.locator('.model-honest li').allInnerTexts();
  table.roles.forEach(({ skill, readers, helpers, watchers }, at) => {
    assert.ok(honest[at].startsWith(words.skills[skill].name));
    for (const head of [...readers, ...helpers, ...watchers]) assert.ok(honest[at].includes(shortName(head)), `${honest[at]}: ${shortName(head)}`);
    if (readers.length === 0) assert.match(honest[at], /No head carries it alone/);
    if (readers.length > 1) assert.match(honest[at], /spread over/);
  });
  for (const { reads, index } of table.roles.flatMap(({ skill, readers }) => readers.map((head) => ({ reads: skill, index: head.layer * config.numHeads + head.head })))) {
    assert.ok((await page.locator('.head .head-name').nth(index).innerText()).includes(words.skills[reads].name));
  }
  await closed(page);
});

test('the first example is a sentence that training never saw', () => {
  assert.equal(presetSettings('trained').text, FIRST);
  assert.ok(isHeldOut(FIRST.split(' ')));
});

test('roles in words: one head, several, none, shared', () => {
  const head = (layer, number, also = []) => ({ layer, head: number, mass: 0.9, lost: 0.5, also });
  const honest = (readers, helpers = [], watchers = []) => words.honest({ skill: 'pronoun', readers, helpers, watchers }, { accuracy: 0.97, together: { heads: [...readers, ...watchers], lost: 0.7 } }).join('');
  assert.match(honest([head(1, 0)]), /^Pronoun: right in 97\.0 %\. One head looks .*: 2\.1\.$/);
  assert.match(honest([head(1, 0, ['agreement'])]), /2\.1 \(which also serves agreement\)/);
  assert.match(honest([head(0, 2), head(1, 3)]), /spread over 2 heads: 1\.3 and 2\.4/);
  assert.match(honest([], [head(0, 0)]), /No head carries it alone.*Needed, but looking elsewhere: 1\.1/);
  assert.match(honest([head(1, 0)], [], [head(1, 3, ['agreement'])]), /Looking there, but not missed: 2\.4; with all that look there silent, 70 points are lost\.$/);
  assert.match(honest([]), /No head carries it alone: silencing any one of them costs little/);
  assert.equal(words.role({ reads: [], helps: [], watches: [] }), null);
  assert.equal(words.role({ reads: ['agreement', 'pronoun'], helps: [], watches: ['distant'] }).name, 'Agreement, Pronoun');
  assert.equal(words.role({ reads: [], helps: [], watches: ['distant'] }).name, 'Watches far back');
});

test('words that the model does not know are told at once, with others; the last picture stays', async () => {
  assert.deepEqual(suggestions('keis'), ['keys']);
  assert.deepEqual(suggestions('zzzz'), []);
  assert.deepEqual(suggestions('tom'), ['Tom', 'to']);
  assert.deepEqual(encode('The keys'), [0, ...tokensOf(['The', 'keys'])]);
  assert.throws(() => encode('The zebra and the zebra'), (error) => error instanceof TextProblem && error.message.match(/zebra/g).length === 1);
  const page = await openOwn();
  const shown = await page.locator('.word-text').allInnerTexts();
  await type(page, 'The keis to the <img src=x onerror=alert(1)> cabinet');
  assert.match(await textOf(page, '#text-problem'), /^The model does not know “keis”, .*“img”.*Instead of “keis” it knows “keys”\. The last good picture stays\.$/);
  assert.deepEqual(await page.locator('.word-text').allInnerTexts(), shown);
  await type(page, 'The keys to the cabinet');
  assert.equal(await textOf(page, '#text-problem'), '');
  assert.deepEqual(await page.locator('.word-text').allInnerTexts(), ['<bos>', 'The', 'keys', 'to', 'the', 'cabinet']);
  // More than it can see.
  await type(page, 'the keys '.repeat(40));
  assert.match(await textOf(page, '#text-problem'), /^The first 64 tokens are shown; 17 more are beyond/);
  assert.equal(await page.locator('.word').count(), 64);
  // Nothing at all is its beginning alone.
  await type(page, '');
  assert.deepEqual(await page.locator('.word-text').allInnerTexts(), ['<bos>']);
  await closed(page);
});

test('it writes: the likeliest word each time, and drawn ones repeat with their seed', async () => {
  const page = await openOwn();
  await type(page, 'The keys to the cabinet');
  await press(page, 'Next word');
  const greedy = (ids) => { const { logits } = forward(after64(), ids); return logits.at(-1).indexOf(Math.max(...logits.at(-1))); };
  const one = idsOf('The keys to the cabinet');
  assert.equal(await page.locator('#text').inputValue(), `The keys to the cabinet ${VOCABULARY[greedy(one)]}`);
  const write = page.locator('.model-write');
  await write.getByLabel('how many').fill('5');
  await press(page, 'Write on');
  const ids = [...one];
  for (let i = 0; i < 6; i += 1) ids.push(greedy(ids));
  assert.deepEqual(await page.locator('.word-text').allInnerTexts(), ids.map((id) => VOCABULARY[id]));
  assert.match(await textOf(page, '.model-below [role=status]'), /^5 tokens written, [\d,.]+ tokens a second\.$/);
  const drawn = [];
  for (const given of ['3', '3', '4']) {
    await type(page, 'Tom');
    await write.getByLabel('Temperature').fill('1.5');
    await write.getByLabel('Seed').fill(given);
    await write.getByLabel('how many').fill('20');
    await press(page, 'Write on');
    drawn.push(await page.locator('#text').inputValue());
  }
  assert.equal(drawn[0], drawn[1]);
  assert.notEqual(drawn[0], drawn[2]);
  // No room is said, not tried.
  await type(page, 'the keys '.repeat(32));
  await press(page, 'Write on');
  assert.match(await textOf(page, '#text-problem'), /65 tokens and the model can see 64/);
  await closed(page);
});

test('a link and the keys: what was silenced comes back, what a model was trained with stays', async () => {
  const page = await openOwn();
  await press(page, 'Silence head 1.2');
  await press(page, 'before training');
  await page.waitForTimeout(500);
  const hash = new URL(page.url()).hash;
  await closed(page);
  const again = await openPage({ hash });
  await again.waitForSelector('.model-mute');
  assert.equal(await again.getByRole('button', { name: 'Silence head 1.2', exact: true }).getAttribute('aria-pressed'), 'true');
  assert.equal(await again.getByRole('button', { name: 'before training', exact: true }).getAttribute('aria-pressed'), 'true');
  near((await picture(again)).weights, forward(before64(), idsOf(FIRST), { silenced: [{ layer: 0, head: 1 }] }).weights.flat(3), TOLERANCE, 'weights');
  const answers = await again.evaluate(() => window.answers);
  await again.evaluate(() => document.querySelector('.skip').click());
  for (const key of ['m', 's', 'ArrowUp', ']']) await after(again, () => again.keyboard.press(key));
  assert.equal(await again.evaluate(() => window.answers), answers, 'nothing was computed anew');
  assert.equal(await again.locator('.head[aria-checked=true]').count(), 1);
  // Thumbnails by arrow: down is the next layer.
  await again.locator('.head').nth(1).click();
  await again.keyboard.press('ArrowDown');
  assert.match(await textOf(again, '.stage-title'), /^Layer 2, head 2:/);
  assert.equal(await again.locator('.controls').first().isVisible(), false);
  await again.locator('summary', { hasText: 'The numbers' }).click();
  assert.match(await textOf(again, '.tables'), /to be read, not changed/);
  await again.locator('.numbers td[data-row]').first().dblclick();
  assert.equal(await again.locator('.numbers input').count(), 0);
  await closed(again);
  const hostile = await openPage({ hash: '#v=1&preset=trained&source=trained&silenced=1.2.x' });
  assert.match(await textOf(hostile, '.notice'), /silenced/);
  await closed(hostile);
  // Heads that it has not are none.
  const beyond = await openPage({ hash: '#v=1&preset=trained&source=trained&text=Tom+slept&silenced=900&head=900&query=50' });
  await beyond.waitForSelector('.model-mute');
  assert.equal(await beyond.locator('.model-mute[aria-pressed=true]').count(), 0);
  await closed(beyond);
});

test('where the model cannot be loaded a sentence says so, and it is tried again', async () => {
  const page = await openPage();
  await page.context().route('**/model/heads.json', (route) => route.abort());
  await after(page, () => page.getByRole('button', { name: 'A model that learned' }).click());
  assert.match(await textOf(page, '.settings .problem'), /heads\.json, a file of the model, could not be loaded\. The last good picture stays\./);
  assert.equal(await page.locator('.word').count(), 12);
  await page.context().unroute('**/model/heads.json');
  await press(page, 'Four heads');
  await after(page, () => page.getByRole('button', { name: 'A model that learned' }).click());
  assert.equal(await page.locator('.head').count(), config.numLayers * config.numHeads);
  page.complaints = page.complaints.filter((text) => !/ERR_FAILED/.test(text));
  await closed(page);
});

// A checkpoint of random numbers and its tokenizer: letters, and a few pairs.
const PIECES = vocabulary([[-1, ' a'], [-2, 'th'], [-3, 'the'], [-4, ' the'], [-5, 'e'], [-6, ' '], [-7, 'a'], [-8, 't'], [-9, 'h']]);
const SMALL = { dim: 16, hiddenDim: 20, numLayers: 3, numHeads: 4, numKvHeads: 2, vocabSize: PIECES.length, seqLen: 300 };
const tokenizerBytes = () => tokenizerFile(PIECES);

function randomNumbers(start) {
  const uniform = mulberry32(start);
  return () => 2 * uniform() - 1;
}

async function give(page, files) {
  if (!(await page.locator('dialog').isVisible())) await page.getByRole('button', { name: 'Open your tensors' }).click();
  await page.setInputFiles('#files', Object.entries(files).map(([name, bytes]) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(bytes) })));
}

async function opened(page, files) {
  await give(page, files);
  await page.locator('dialog').waitFor({ state: 'hidden' });
  await page.waitForSelector('.model-mute');
  await page.waitForTimeout(30);
  await ready(page);
}

test('a checkpoint and its tokenizer, in one drop or one after the other; in float32 and in int8', async () => {
  const model = randomModel(SMALL, randomNumbers(1), false);
  const page = await openPage();
  for (const [files, rounded] of [
    [[{ 'model.bin': write(model, 0), 'tokenizer.bin': tokenizerBytes() }], 0],
    [[{ 'tok512.bin': tokenizerBytes() }, { 'other.bin': write(model, 1) }], 0],
    [[{ 'q8.bin': write(model, 2) }, { 'tokenizer.bin': tokenizerBytes() }], 1],
  ]) {
    for (const [at, part] of files.entries()) {
      if (at === files.length - 1) await opened(page, part);
      else {
        await give(page, part);
        await page.waitForFunction(() => /Drop or choose|drop or choose/.test(document.querySelector('dialog [role=status]').textContent));
      }
    }
    const text = 'the a<b>é';
    await type(page, text);
    const { tokens, weights } = await picture(page);
    // Space and letters merge to " the"; what has no token is bytes.
    assert.deepEqual(tokens, ['<s>', '▁the', '▁a', '<', 'b', '>', '<0xC3>', '<0xA9>']);
    if (rounded === 0) {
      const bytes = (character) => 3 + character.charCodeAt(0);
      const ids = [1, 262, 259, bytes('<'), bytes('b'), bytes('>'), 3 + 0xc3, 3 + 0xa9];
      near(weights, forward(model, ids).weights.flat(3), TOLERANCE, 'weights');
    }
    assert.equal(await page.locator('.head').count(), 12);
    await press(page, 'Silence head 3.4');
    assert.match(await page.locator('.head').last().getAttribute('aria-label'), /silenced$/);
    await press(page, 'All heads at work');
  }
  // It stays when one looks at something else, and is not in the link.
  await press(page, 'Four heads');
  await press(page, 'Your model');
  assert.equal(await page.locator('.head').count(), 12);
  await page.waitForTimeout(500);
  assert.doesNotMatch(page.url(), /checkpoint/);
  await closed(page);
});

test('broken, truncated and lying files get a sentence each; the model that was open stays', async () => {
  const model = randomModel(SMALL, randomNumbers(2), true);
  const whole = write(model, 0);
  const page = await openPage();
  await opened(page, { 'model.bin': whole, 'tokenizer.bin': tokenizerBytes() });
  await type(page, 'the');
  const shown = await page.locator('.word-text').allInnerTexts();
  const changed = (at, value) => { const bytes = Buffer.from(whole); bytes.writeInt32LE(value, at); return bytes; };
  const infinite = Buffer.from(whole);
  infinite.writeFloatLE(Infinity, 28);
  const other = randomModel({ ...SMALL, vocabSize: 100 }, randomNumbers(3), true);
  for (const [files, sentence] of [
    [{ 'cut.bin': whole.subarray(0, whole.length - 9), 'tokenizer.bin': tokenizerBytes() }, /^cut\.bin: checkpoint: .*9 are missing/],
    [{ 'long.bin': Buffer.concat([whole, Buffer.alloc(4)]), 'tokenizer.bin': tokenizerBytes() }, /4 too many/],
    [{ 'heads.bin': changed(12, 5), 'tokenizer.bin': tokenizerBytes() }, /checkpoint\.dim: expected a multiple of 5/],
    [{ 'layers.bin': changed(8, -3), 'tokenizer.bin': tokenizerBytes() }, /checkpoint\.numLayers: expected a whole number from 1/],
    [{ 'infinite.bin': infinite, 'tokenizer.bin': tokenizerBytes() }, /embedding has a number that is not finite/],
    [{ 'other.bin': write(other, 0), 'tokenizer.bin': tokenizerBytes() }, /^tokenizer\.bin has 268 tokens, but other\.bin was trained on 100: they do not belong together\.$/],
    // Said at once, before its tokenizer is there.
    [{ 'pytorch_model.bin': Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(3000, 200)]) }, /^pytorch_model\.bin: checkpoint\.\w+: .*is this a llama2\.c checkpoint/],
    [{ 'tokenizer.bin': tokenizerBytes().subarray(0, 40) }, /^tokenizer\.bin: tokenizer: expected/],
    [{ 'empty.bin': Buffer.alloc(0), 'tokenizer.bin': tokenizerBytes() }, /^empty\.bin: checkpoint/],
    [{ 'model.bin': whole, 'x.npy': Buffer.alloc(4) }, /apart from other files/],
  ]) {
    await give(page, files);
    await page.waitForFunction(() => document.querySelector('dialog .problem').textContent !== '');
    assert.match(await textOf(page, 'dialog .problem'), sentence);
    assert.equal(await page.locator('dialog').isVisible(), true);
  }
  await page.getByRole('button', { name: 'Cancel' }).last().click();
  assert.deepEqual(await page.locator('.word-text').allInnerTexts(), shown);
  await type(page, 'the a');
  assert.deepEqual(await page.locator('.word-text').allInnerTexts(), ['<s>', '▁the', '▁a']);
  await closed(page);
});

test('a model that would not fit in memory is refused before it is read', async () => {
  const header = (version) => { const bytes = Buffer.alloc(8); bytes.writeUInt32LE(0x616b3432, 0); bytes.writeInt32LE(version, 4); return new DataView(bytes.buffer, bytes.byteOffset, 8); };
  assert.deepEqual([modelBytes(header(1), 1000), modelBytes(header(2), 1000), modelBytes(new DataView(new ArrayBuffer(8)), 1000), modelBytes(new DataView(new ArrayBuffer(0)), 0)], [1000, 4000, 1000, 0]);
  let read = 0;
  const file = (version, size) => ({ name: 'large.bin', size, slice: () => ({ arrayBuffer: async () => { const { buffer, byteOffset } = header(version); return buffer.slice(byteOffset, byteOffset + 8); } }), arrayBuffer: async () => { read += 1; return new ArrayBuffer(0); } });
  const asked = [];
  const request = async (message) => { asked.push(message); return { missing: 'tokenizer' }; };
  await assert.rejects(offerModel([file(2, MAX_MODEL_BYTES / 4 + 1)], { request, isFirst: true }), /large\.bin would take 1,024 MB .*up to 1,024 MB\. Nothing was read/);
  assert.deepEqual([read, asked.length], [0, 0]);
  await offerModel([file(1, MAX_MODEL_BYTES)], { request, isFirst: true });
  assert.deepEqual([read, asked.length], [1, 1]);
});

test('writing can be stopped: progress, what was written stays, and the page answers meanwhile', async () => {
  // Large enough that 300 tokens take a while.
  const model = randomModel({ ...SMALL, dim: 320, hiddenDim: 800, numLayers: 4, numHeads: 8, numKvHeads: 8 }, randomNumbers(4), true);
  const page = await openPage();
  await opened(page, { 'model.bin': write(model, 1), 'tokenizer.bin': tokenizerBytes() });
  await type(page, 'the');
  await page.locator('.model-write').getByLabel('how many').fill('297');
  await page.locator('.model-write').getByLabel('Temperature').fill('1');
  await page.getByRole('button', { name: 'Write on' }).click();
  await page.waitForFunction(() => Number(document.querySelector('.model-below progress').value) > 0.01);
  assert.match(await textOf(page, '.model-below .progress'), /\d+ of 297 tokens/);
  assert.equal(await page.getByRole('button', { name: 'Write on' }).isDisabled(), true);
  await page.locator('.word').first().click();
  assert.equal(await page.locator('.word').first().getAttribute('aria-checked'), 'true');
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.waitForFunction(() => document.querySelector('.model-below .progress').hidden);
  await ready(page);
  const said = await textOf(page, '.model-below [role=status]');
  assert.match(said, /^\d+ tokens? written.* Stopped; what was written stays\.$/);
  const written = Number(/^\d+/.exec(said));
  assert.ok(written >= 1 && written < 297, said);
  assert.equal(await page.locator('.word').count(), 2 + written);
  await closed(page);
});

test('what is being written is given up when the text changes, another model is opened or something else is looked at', async () => {
  const large = write(randomModel({ ...SMALL, dim: 320, hiddenDim: 800, numLayers: 4, numHeads: 8, numKvHeads: 8 }, randomNumbers(4), true), 1);
  const page = await openPage();
  const begin = async () => {
    await page.locator('.model-write').getByLabel('how many').fill('297');
    await page.locator('.model-write').getByLabel('Temperature').fill('1');
    await page.getByRole('button', { name: 'Write on' }).click();
    await page.waitForFunction(() => Number(document.querySelector('.model-below progress').value) > 0.01);
  };
  await opened(page, { 'model.bin': large, 'tokenizer.bin': tokenizerBytes() });
  await begin();
  await type(page, 'the a');
  assert.deepEqual(await page.locator('.word-text').allInnerTexts(), ['<s>', '▁the', '▁a']);
  assert.equal(await page.locator('.model-below .progress').isVisible(), false);
  await begin();
  await opened(page, { 'model.bin': write(randomModel(SMALL, randomNumbers(8), true), 0), 'tokenizer.bin': tokenizerBytes() });
  assert.match(await textOf(page, '.model-top'), /3 layers of 4 heads/);
  await opened(page, { 'model.bin': large, 'tokenizer.bin': tokenizerBytes() });
  await begin();
  await press(page, 'Four heads');
  assert.equal(await page.locator('#text').inputValue(), 'The cat sat on the mat because the cat was tired .');
  assert.equal(await page.locator('.word').count(), 12);
  await closed(page);
});

test('a model whose numbers leave float32 is said to, and nothing is drawn from it', async () => {
  const model = randomModel(SMALL, randomNumbers(9), true);
  for (const layer of model.layers) layer.wo.fill(3e38);
  const page = await openPage();
  await give(page, { 'model.bin': write(model, 0), 'tokenizer.bin': tokenizerBytes() });
  await page.waitForFunction(() => /grow beyond what float32 can hold/.test(document.querySelector('.settings .problem').textContent));
  await page.waitForTimeout(50);
  assert.equal(await page.locator('.word').count(), 12);
  await closed(page);
});

test('many heads of a long text: one at a time, with the numbers of float64 loops', async () => {
  const sizes = { ...SMALL, numLayers: 9, numHeads: 8, numKvHeads: 4 };
  const model = randomModel(sizes, randomNumbers(5), true);
  const page = await openPage();
  await opened(page, { 'model.bin': write(model, 0), 'tokenizer.bin': tokenizerBytes() });
  await type(page, ' a'.repeat(260).trim());
  assert.equal(await page.locator('.head').count(), 72);
  assert.equal(await page.locator('.model-mute').count(), 1);
  const want = forward(model, [1, ...new Array(260).fill(259)]).weights;
  for (const at of [0, 53]) {
    await after(page, () => page.locator('.head').nth(at).click());
    await page.locator('summary', { hasText: 'Save and share' }).click();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: '.npy' }).click()]);
    await page.locator('summary', { hasText: 'Save and share' }).click();
    const file = readNpy(new Uint8Array(await readFile(await download.path())));
    assert.deepEqual(file.shape, [261, 261]);
    near([...file.read()], want[Math.floor(at / 8)][at % 8].flat(), TOLERANCE, `head ${at}`);
  }
  await after(page, () => page.getByRole('button', { name: 'Silence head 7.6' }).click());
  assert.match(await page.locator('.head').nth(53).getAttribute('aria-label'), /^Layer 7, head 6: .*silenced$/);
  await closed(page);
});

test('stories260K: every layer and head of its sentences, on the page', { skip: SHARED_MISSING }, async () => {
  const file = (name) => readFileSync(new URL(name, SHARED));
  const { sentences } = JSON.parse(file('stories260K_runc_attention.json'));
  const page = await openPage();
  await opened(page, { 'stories260K.bin': file('stories260K.bin'), 'tok512.bin': file('tok512.bin') });
  for (const { text, ids, attention_rows: rows } of sentences) {
    await type(page, text);
    const { weights, heads } = await picture(page);
    assert.deepEqual(await page.evaluate(() => window.answer.ids), ids);
    assert.equal(heads, 40);
    near(weights, rows.flat(2).flatMap((row) => [...row, ...new Array(ids.length - row.length).fill(0)]), TOLERANCE, text);
  }
  const { parameters, config: sizes } = readFloat(file('stories260K.bin'));
  const ids = await page.evaluate(() => window.answer.ids);
  const expected = softmax(forward(modelOf({ config: sizes, parameters }), ids).logits.at(-1));
  await after(page, () => page.locator('.word').last().click());
  const [[, share]] = await predicted(page);
  assert.ok(Math.abs(share - 100 * Math.max(...expected)) <= 1);
  await closed(page);
});

for (const colorScheme of ['light', 'dark']) {
  test(`models have no barrier that axe finds, ${colorScheme}, wide and at 390 pixels`, async () => {
    const page = await openOwn({ colorScheme });
    assert.deepEqual(await violations(page), []);
    await press(page, 'Silence head 1.1');
    await page.locator('summary', { hasText: 'The whole table' }).click();
    assert.deepEqual(await violations(page), []);
    await closed(page);
    const narrow = await openOwn({ colorScheme, viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    assert.equal(await narrow.evaluate(() => document.documentElement.scrollWidth), 390);
    assert.deepEqual(await violations(narrow), []);
    await opened(narrow, { 'model.bin': write(randomModel({ ...SMALL, numHeads: 8 }, randomNumbers(6), true), 0), 'tokenizer.bin': tokenizerBytes() });
    assert.equal(await narrow.evaluate(() => document.documentElement.scrollWidth), 390);
    assert.deepEqual(await violations(narrow), []);
    await closed(narrow);
  });
}
