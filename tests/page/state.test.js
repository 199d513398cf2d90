// Links and saved settings: they restore what they say, and refuse what they cannot have said. And colour scales.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { colorTable, isLight } from '../../web/page/colormaps.js';
import { presetNames, presetSettings } from '../../web/page/presets.js';
import { format, makeScale, percent, scientific } from '../../web/page/scales.js';
import { defaults, fromHash, fromSettings, settingsOf, toHash } from '../../web/page/state.js';
import { t } from '../../web/page/strings.js';

test('the default needs no link; every preset survives its link and its file', () => {
  assert.equal(toHash(defaults), '');
  for (const name of presetNames) {
    const settings = presetSettings(name);
    const { settings: found, refused } = fromHash(toHash(settings));
    assert.deepEqual(refused, [], name);
    assert.deepEqual({ ...defaults, ...found }, settings, name);
    const saved = fromSettings(JSON.parse(JSON.stringify(settingsOf(settings))));
    assert.deepEqual({ ...defaults, ...saved.settings }, settings, name);
  }
});

test('a link carries texts of any script, masks, edits and the other pane', () => {
  const settings = {
    ...defaults, text: '<b>שלום & 👩‍👩‍👧 #=% +\n', mask: { kind: 'drawn', blocked: [[1, 2], [0, 0]] },
    edits: { q: { 3: -0.5, 17: 1e-7 }, wq: { 0: 2 } },
    compare: { mask: { kind: 'window', left: 1, right: 0 }, scaled: false, temperature: 0.5, gain: 2.25, score: 'additive', fresh: true },
  };
  const { settings: found, refused } = fromHash(toHash(settings));
  assert.deepEqual(refused, []);
  assert.deepEqual({ ...defaults, ...found }, settings);
});

test('a hostile link is refused part by part, and never more than it says', () => {
  const hostile = [
    '#v=1&heads=1000000000', '#v=1&heads=-1', '#v=1&heads=1e9', '#v=1&headDim=3', '#v=1&mask=<script>', '#v=1&mask=window.1', '#v=1&mask=drawn.1-99999',
    '#v=1&gain=NaN', '#v=1&gain=Infinity', '#v=1&temperature=0', '#v=1&stage=constructor', '#v=1&source=file', '#v=1&__proto__=1', '#v=1&toString=1',
    '#v=1&edits=q.1:abc', '#v=1&edits=__proto__.1:2', '#v=1&edits=q.99999999999:1', '#v=1&compare=causal', '#v=1&palette=../x', `#v=1&text=${'x'.repeat(20001)}`, '#v=2&heads=3', '#%%%',
  ];
  for (const hash of hostile) {
    const { settings, refused } = fromHash(hash);
    assert.deepEqual(settings, {}, hash.slice(0, 60));
    assert.equal(refused.length, 1, hash.slice(0, 60));
  }
  assert.equal({}.polluted, undefined);
  assert.deepEqual(fromSettings({ mask: 7, edits: 'x', heads: {} }).settings, {});
});

test('a link without words keeps the default sentence', () => {
  assert.deepEqual(fromHash('#v=1&text=+++').settings, {});
});

test('scales: ends, middle, per row, signed, square root, logarithm', () => {
  const linear = makeScale({ transfer: 'linear', highs: 1, signed: false, palette: 'cividis' });
  assert.deepEqual([0, 0.5, 1, 7, -1].map((x) => linear.index(x, 0)), [0, 128, 255, 255, 0]);
  const root = makeScale({ transfer: 'sqrt', highs: 1, signed: false, palette: 'cividis' });
  assert.equal(root.index(0.25, 0), 128);
  const log = makeScale({ transfer: 'log', highs: 1, signed: false, palette: 'cividis' });
  assert.deepEqual([1, 0.01, 1e-4, 0].map((x) => log.index(x, 0)), [255, 128, 0, 0]);
  const rows = makeScale({ transfer: 'linear', highs: [0.5, 0], signed: false, palette: 'cividis' });
  assert.deepEqual([rows.index(0.5, 0), rows.index(0, 1)], [255, 0]);
  const signed = makeScale({ transfer: 'linear', highs: 4, signed: true, palette: 'cividis' });
  assert.deepEqual([-4, 0, 4, 2].map((x) => signed.index(x, 0)), [0, 128, 255, 191]);
  assert.equal(signed.palette, 'diverging');
});

test('colour tables: 256 colours; cividis only grows lighter, grey only darker', () => {
  const sum = (table, i) => 0.2126 * table[3 * i] + 0.7152 * table[3 * i + 1] + 0.0722 * table[3 * i + 2];
  for (const name of ['cividis', 'viridis', 'grey', 'diverging']) assert.equal(colorTable(name).length, 768, name);
  for (let i = 1; i < 256; i += 1) {
    assert.ok(sum(colorTable('cividis'), i) >= sum(colorTable('cividis'), i - 1) - 0.9, `cividis ${i}`);
    assert.ok(sum(colorTable('grey'), i) < sum(colorTable('grey'), i - 1) + 1e-9, `grey ${i}`);
  }
  assert.equal(isLight('cividis', 255), true);
  assert.equal(isLight('cividis', 0), false);
});

test('numbers for people', () => {
  assert.deepEqual([format(0.47, 3), format(-0.0001, 2), format(-1.5, 1), format(-Infinity), format(NaN), format(123456, 1)], ['0.470', '0.00', '−1.5', '−∞', 'NaN', '1.23·10⁵']);
  assert.deepEqual([percent(0.4699), percent(0.001), percent(0), percent(1)], ['47 %', '<1 %', '0 %', '100 %']);
  assert.deepEqual([scientific(5.58e-9), scientific(-1e-12, 2), scientific(0), scientific(12345), scientific(NaN), scientific(-Infinity)], ['5.6·10⁻⁹', '−1.00·10⁻¹²', '0', '1.2·10⁴', 'NaN', '−∞']);
});

test('every preset, stage and lesson step has its words', () => {
  for (const name of presetNames) assert.ok(t.presets[name].name && t.presets[name].title && t.presets[name].text, name);
  assert.equal(t.lesson.steps.length, 7);
});
