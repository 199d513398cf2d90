// node tests/page/screenshots.mjs OUT_FOLDER
// Every preset and the lesson, wide and narrow, light and dark, as PNG files to look at.

import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { lessonState } from '../../web/page/lesson.js';
import { presetNames, presetSettings } from '../../web/page/presets.js';
import { toHash } from '../../web/page/state.js';
import { after, startBrowser } from './browser.mjs';

const [folder] = process.argv.slice(2);
if (!folder) {
  console.error('usage: node tests/page/screenshots.mjs OUT_FOLDER');
  process.exit(2);
}
mkdirSync(folder, { recursive: true });

const views = [
  ...presetNames.map((name) => [name, toHash(presetSettings(name))]),
  ['trained-silenced', toHash({ ...presetSettings('trained'), head: 4, silenced: [4] })],
  ['trained-before', toHash({ ...presetSettings('trained'), head: 4, untrained: true })],
  ...[0, 3, 6].map((step) => [`lesson-${step + 1}`, toHash(lessonState(step))]),
];
// A real model that was opened, where there is one.
const SHARED = fileURLToPath(new URL('../../../shared/models/', import.meta.url));
if (existsSync(SHARED)) {
  views.push(['checkpoint', '', async (page) => {
    await page.getByRole('button', { name: 'Open your tensors' }).click();
    await page.setInputFiles('#files', ['stories260K.bin', 'tok512.bin'].map((name) => path.join(SHARED, name)));
    await page.waitForSelector('.model-mute');
  }]);
}
const sizes = [['wide', { viewport: { width: 1440, height: 900 } }], ['narrow', { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }]];

const browser = await startBrowser();
try {
  for (const [size, options] of sizes) {
    for (const colorScheme of ['light', 'dark']) {
      for (const [name, hash, act] of views) {
        const page = await browser.open({ hash, colorScheme, ...options });
        if (act) await after(page, () => act(page));
        await page.waitForTimeout(300);
        const file = (kind) => path.join(folder, `${name}-${size}-${colorScheme}${kind}.png`);
        await page.screenshot({ path: file('') });
        await page.screenshot({ path: file('-whole'), fullPage: true });
        if (page.complaints.length) console.error(`${name} ${size} ${colorScheme}: ${page.complaints.join('; ')}`);
        await page.context().close();
      }
      console.log(`${size}, ${colorScheme}: ${views.length} views`);
    }
  }
} finally {
  await browser.close();
}
