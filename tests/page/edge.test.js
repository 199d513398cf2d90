// Where pages usually break: no engine, large files, files dropped, print, many heads, odd sizes.

import assert from 'node:assert/strict';
import { after as atEnd, before, test } from 'node:test';
import { colorTable } from '../../web/page/colormaps.js';
import { normals } from '../../web/page/model.js';
import { after, cellPixel, ready, startBrowser } from './browser.mjs';
import { json, npy, npz } from './make.mjs';
import { softmaxRows } from './reference.mjs';

let browser;
before(async () => { browser = await startBrowser(); });
atEnd(() => browser?.close());

const random = (count, seed) => {
  const normal = normals(seed);
  return Array.from({ length: count }, () => Math.fround(normal()));
};
const give = async (page, files) => {
  await page.getByRole('button', { name: 'Open your tensors' }).click();
  await page.setInputFiles('#files', Object.entries(files).map(([name, bytes]) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(bytes) })));
  await after(page, () => page.getByRole('button', { name: 'Show', exact: true }).click());
};

test('no engine: one sentence says so, and what to do', async () => {
  const page = await browser.open({ wait: false });
  await page.context().route('**/*.wasm', (route) => route.abort());
  await page.reload();
  const problem = page.locator('.intro .problem', { hasText: 'The engine could not start' });
  await problem.waitFor();
  assert.match(await problem.innerText(), /Reload the page/);
  await page.context().close();
});

test('a large file: more weights than are held at once, head by head, rows computed when asked about', async () => {
  const page = await browser.open();
  const [heads, n, d] = [4, 1100, 4];
  const [q, k, v] = [random(heads * n * d, 1), random(heads * n * d, 2), random(heads * n * d, 3)];
  await give(page, { 'a.npz': npz({ q: npy(q, [heads, n, d]), k: npy(k, [heads, n, d]), v: npy(v, [heads, n, d]) }) });
  assert.match(await page.locator('.timing').innerText(), /4 heads × 1100 × 1100/);
  for (const head of [0, 3]) {
    await after(page, () => page.locator('.head').nth(head).click());
    const row = Array.from({ length: n }, (_, j) => {
      let s = 0;
      for (let f = 0; f < d; f += 1) s += q[head * n * d + f] * k[(head * n + j) * d + f];
      return s / Math.sqrt(d);
    });
    const weights = softmaxRows([row])[0];
    const shown = await page.locator('.inspector tbody tr').evaluateAll((lines) => lines.map((line) => [Number(line.querySelector('th').textContent), line.children[4].textContent]));
    assert.equal(shown.length, 64);
    for (const [key, weight] of shown) assert.ok(Math.abs(Number(weight) - weights[key - 1]) < 6e-5, `head ${head}, key ${key}: ${weight}, not ${weights[key - 1]}`);
  }
  await after(page, () => page.getByLabel('window').check());
  const tones = await page.locator('.stage .matrix-heat').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(canvas.width - 40, 4, 30, 30);
    return new Set(Array.from({ length: 900 }, (_, i) => data.slice(4 * i, 4 * i + 3).join())).size;
  });
  assert.equal(tones, 2, 'far from the diagonal all is hatched');
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('small ready-made weights after the sentence: nothing is computed from what was shown before', async () => {
  const page = await browser.open();
  await give(page, { 'attention.json': json({ attention: [[[0.25, 0.75], [1, 0]]] }) });
  assert.match(await page.locator('.readout').innerText(), /query 1\s+→\s+key 1\s+weight 0\.250/);
  await page.waitForTimeout(100);
  for (const part of ['.problem:not(:empty)', '.inspector', '.tables', '#settings-title']) assert.equal(await page.locator(part).filter({ visible: true }).count(), 0, part);
  await page.getByRole('button', { name: 'Open your tensors' }).click();
  await page.setInputFiles('#files', [{ name: 'scores.json', mimeType: 'application/json', buffer: Buffer.from(json({ attention: [[0, 2]] })) }]);
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await page.locator('dialog .problem', { hasText: 'holds 2 at position 1: weights are shares, from 0 to 1.' }).waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('a link to a model with words that it does not know: the reason, and no frame without a picture', async () => {
  const page = await browser.open({ hash: '#v=1&preset=trained&source=trained&text=qwerty' });
  const problem = page.locator('#text-problem', { hasText: 'The model does not know “qwerty”' });
  await problem.waitFor();
  assert.doesNotMatch(await problem.innerText(), /last good picture/);
  for (const part of ['.stage', '.settings', '.heads-section']) assert.equal(await page.locator(part).isVisible(), false, part);
  await after(page, () => page.locator('#text').fill('The key is on the chair .'));
  for (const part of ['.stage', '.settings', '.heads-section']) assert.equal(await page.locator(part).isVisible(), true, part);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('a link to what is too much: what could mend it is there; and work that is given up before the first picture', async () => {
  const page = await browser.open({ hash: `#v=1&score=additive&headDim=64&text=${'so+many+words+'.repeat(100)}`, wait: false });
  await page.locator('.failure', { hasText: 'choose another score.' }).waitFor();
  for (const part of ['.stage', '.inspector', '.heads-section']) assert.equal(await page.locator(part).isVisible(), false, part);
  await after(page, () => page.getByLabel('Score', { exact: true }).selectOption('dot'));
  assert.equal(await page.locator('.stage').isVisible(), true);
  assert.equal(await page.locator('.problem:not(:empty)').count(), 0);
  assert.deepEqual(page.complaints, []);
  await page.context().close();

  const long = await browser.open({ hash: '#v=1&preset=long&source=long', wait: false });
  await long.locator('.settings > .progress button').click({ timeout: 90000 });
  await long.locator('.failure', { hasText: /^Cancelled\.$/ }).waitFor();
  assert.equal(await long.locator('.settings').isVisible(), true);
  assert.deepEqual(long.complaints, []);
  await long.context().close();
});

test('the head of a model stays in sight beside its column, and ends with it', async () => {
  const page = await browser.open({ hash: '#v=1&preset=trained&source=trained&text=The+key+to+the+cabinets+is+on+the+chair+.' });
  const boxes = () => page.evaluate(() => Object.fromEntries(['stage', 'inspector'].map((name) => [name, document.querySelector(`.${name}`).getBoundingClientRect().toJSON()])));
  await page.evaluate(() => window.scrollTo(0, 900));
  assert.ok(Math.abs((await boxes()).stage.top - 8) <= 1, 'beside the column');
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  const { stage, inspector } = await boxes();
  assert.ok(stage.bottom <= inspector.top, `the stage ends at ${stage.bottom}, what follows begins at ${inspector.top}`);
  await page.context().close();
});

test('on a phone the chosen one of five tabs is in sight, and a word stays with its number', async () => {
  const page = await browser.open({ hash: '#v=1&preset=gptbert&panel=compare&stage=difference&compare=none~1~1~4~dot', viewport: { width: 390, height: 844 } });
  const tab = await page.getByRole('tab', { name: 'Difference' }).boundingBox();
  assert.ok(tab.x >= 0 && tab.x + tab.width <= 390, `from ${tab.x} to ${tab.x + tab.width}`);
  assert.equal(await page.evaluate(() => window.scrollY), 0);
  const parts = await page.locator('#inspector-title b, .caption b').evaluateAll((words) => words.map((word) => word.querySelector('bdi').getBoundingClientRect().right - word.querySelector('sub').getBoundingClientRect().left));
  assert.ok(parts.length >= 4);
  for (const gap of parts) assert.ok(Math.abs(gap) < 4, `${gap}`);
  await page.context().close();
});

test('large ready-made weights: one head at a time, no scores, no queries', async () => {
  const page = await browser.open();
  const [heads, n] = [3, 1300];
  const weights = new Float32Array(heads * n * n);
  for (let h = 0; h < heads; h += 1) for (let i = 0; i < n; i += 1) weights[(h * n + i) * n + Math.max(0, i - h)] = 1;
  await give(page, { 'attention.npy': npy(weights, [heads, n, n]) });
  assert.deepEqual(await page.locator('.head-stat').allInnerTexts(), ['itself 100 % · 0.00 bits', 'previous 100 % · 0.00 bits', 'largest 100 % · 0.00 bits']);
  const bright = () => page.locator('.stage .matrix-heat').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, at) => data[4 * at]).filter((red) => red > 200).length;
  });
  for (const head of [0, 2]) {
    await after(page, () => page.locator('.head').nth(head).click());
    assert.ok(await bright() > 300, `head ${head}`);
    assert.match(await page.locator('.caption').innerText(), /looks at 1 \(100 %\)/);
  }
  assert.equal(await page.locator('[role=tab][aria-disabled=true]').count(), 3);
  assert.equal(await page.locator('.tables').isVisible(), false);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('odd but possible links: something is drawn, nothing is complained about', async () => {
  const links = [
    '#v=1&panel=compare', '#v=1&stage=difference', '#v=1&panel=compare&compare=none~1~1~4~dot&source=textbook', '#v=1&panel=decode&stage=gradient&mask=none&query=900',
    '#v=1&head=200&query=99999&key=99999', '#v=1&mask=window.0.0&byColumn=1&stage=gradient', '#v=1&mask=drawn.500-500.0-0', '#v=1&edits=q.9999999:1_general.0:5&score=multiplicative',
    '#v=1&text=x&compare=none~1~1~4~additive~heads:8~headDim:64~over:mean~text:a+b+c&stage=difference&panel=compare', '#v=1&panel=lesson&step=6&source=random&compare=causal~0~4~0~dot', '#v=1&heads=1&gain=0&panel=sqrtd',
  ];
  const page = await browser.open();
  for (const link of links) {
    await after(page, () => page.evaluate((hash) => { location.hash = hash; }, link));
    await page.waitForTimeout(60);
    await ready(page);
    const tones = await page.locator('.stage .matrix-heat').evaluate((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return new Set(Array.from({ length: data.length / 4 }, (_, i) => data.slice(4 * i, 4 * i + 4).join())).size;
    });
    assert.ok(tones >= 1, link);
    assert.match(await page.locator('.readout').innerText(), /weight|difference|change|score|hidden|no such cell/, link);
    assert.deepEqual(page.complaints, [], link);
  }
  await page.context().close();
});

test('files dropped on the page open the dialog', async () => {
  const page = await browser.open();
  await page.evaluate((text) => {
    const data = new DataTransfer();
    data.items.add(new File([text], 'a.json'));
    for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
  }, Buffer.from(json({ q: [[1, 0]], k: [[1, 0], [0, 1]], v: [[1], [2]] })).toString());
  await page.getByRole('button', { name: 'Show', exact: true }).waitFor();
  await after(page, () => page.getByRole('button', { name: 'Show', exact: true }).click());
  const expected = softmaxRows([[1 / Math.sqrt(2), 0]])[0];
  const pixel = await cellPixel(page, '.stage .matrix-heat', { rows: 1, cols: 2, row: 0, col: 0 });
  const at = 3 * Math.round(255 * expected[0]);
  pixel.forEach((x, c) => assert.ok(Math.abs(x - colorTable('cividis')[at + c]) <= 4));
  assert.equal(await page.locator('.sentence').isVisible(), false, 'queries and keys are not the same words');
  await page.context().close();
});

test('a choice that does not fit is refused beside the choice, and the open picture stays', async () => {
  const page = await browser.open();
  await page.getByRole('button', { name: 'Open your tensors' }).click();
  await page.setInputFiles('#files', [{ name: 'a.json', mimeType: 'application/json', buffer: Buffer.from(json({ q: [[1, 2, 3]], k: [[1, 2]], v: [[1, 2]] })) }]);
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await page.locator('dialog .problem:not(:empty)').waitFor();
  assert.match(await page.locator('dialog .problem').innerText(), /q and k differ in their last axis: q \(1, 1, 3\), k \(1, 1, 2\)/);
  await page.keyboard.press('Escape');
  assert.match(await page.locator('.readout').innerText(), /weight 0\.470/);
  await page.context().close();
});

test('print: controls away, pictures and tables stay', async () => {
  const page = await browser.open();
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(255, 255, 255)');
  assert.equal(await page.locator('.settings').isVisible(), false);
  assert.equal(await page.locator('.stage .matrix-heat').isVisible(), true);
  assert.equal(await page.locator('.inspector .terms-table').first().isVisible(), true);
  // The canvas of the outlines is a group of its own: else what it clears is white paper over the picture.
  assert.ok(Number(await page.locator('.stage .matrix-over').evaluate((canvas) => getComputedStyle(canvas).opacity)) < 1);
  for (const part of ['.vector-cells i', '.hatch', '.stage .matrix-heat']) assert.equal(await page.locator(part).first().evaluate((element) => getComputedStyle(element).printColorAdjust), 'exact', part);
  await page.waitForTimeout(100);
  const hatch = await page.locator('.stage .matrix-heat').evaluate((canvas) => canvas.getContext('2d').getImageData(canvas.width - 20, 8, 1, 1).data[0]);
  assert.ok(hatch > 150, 'the picture is that of light paper');
  assert.ok((await page.pdf()).length > 20000);
  await page.context().close();
});

test('one word; the same word 300 times; 512 words and more', async () => {
  const page = await browser.open();
  await after(page, () => page.locator('#text').fill('word'));
  assert.match(await page.locator('.readout').innerText(), /weight 1\.000/);
  await after(page, () => page.locator('#text').fill('again '.repeat(300)));
  assert.equal(await page.locator('.word').count(), 300);
  await after(page, () => page.locator('#text').fill('so many words '.repeat(200)));
  assert.equal(await page.locator('.word').count(), 512);
  // Shares of 512 keys are dark on the scale from 0 to 1: another is offered, and only then.
  const brighten = page.getByRole('button', { name: 'Brighten each row' });
  await after(page, () => brighten.click());
  assert.equal(await page.getByLabel('Range').inputValue(), 'row');
  assert.equal(await brighten.isVisible(), false);
  assert.match(await page.locator('#text-problem').innerText(), /first 512 .* 88 more are left out/);
  await ready(page);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test('the additive score for a long text is refused in words, and the last picture stays', async () => {
  const page = await browser.open({ hash: '#v=1&heads=8&headDim=64' });
  await after(page, () => page.locator('#text').fill('word '.repeat(300)));
  await page.getByLabel('Score', { exact: true }).selectOption('additive');
  await page.locator('.problem', { hasText: 'additive' }).waitFor();
  assert.match(await page.locator('.problem', { hasText: 'additive' }).innerText(), /up to 181 words/);
  assert.equal(await page.locator('.word').count(), 300);
  await after(page, () => page.locator('#text').fill('two words'));
  assert.equal(await page.locator('.word').count(), 2);
  assert.equal(await page.locator('.problem', { hasText: 'additive' }).count(), 0);
  await page.context().close();
});

test('a pinch zooms the long matrix by touch', async () => {
  const page = await browser.open({ hash: '#v=1&source=long&heads=1&headDim=16&head=0&preset=long', viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const plot = page.locator('.stage .matrix-plot');
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  const client = await page.context().newCDPSession(page);
  const middle = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  const fingers = (apart) => [{ x: middle.x - apart, y: middle.y, id: 0 }, { x: middle.x + apart, y: middle.y, id: 1 }];
  await client.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: fingers(20) });
  for (const apart of [40, 60, 90, 120]) await client.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: fingers(apart) });
  await client.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
  await page.waitForTimeout(200);
  assert.equal(await page.getByRole('button', { name: 'Fit' }).isEnabled(), true);
  await page.context().close();
});
