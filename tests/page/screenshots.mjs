// node tests/page/screenshots.mjs OUT_FOLDER
// Every preset and the lesson, wide and narrow, light and dark, as PNG files to look at.

import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { lessonState } from '../../web/page/lesson.js';
import { presetNames, presetSettings } from '../../web/page/presets.js';
import { toHash } from '../../web/page/state.js';
import { startBrowser } from './browser.mjs';

const [folder] = process.argv.slice(2);
if (!folder) {
  console.error('usage: node tests/page/screenshots.mjs OUT_FOLDER');
  process.exit(2);
}
mkdirSync(folder, { recursive: true });

const views = [
  ...presetNames.map((name) => [name, toHash(presetSettings(name))]),
  ...[0, 3, 6].map((step) => [`lesson-${step + 1}`, toHash(lessonState(step))]),
];
const sizes = [['wide', { viewport: { width: 1440, height: 900 } }], ['narrow', { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }]];

const browser = await startBrowser();
try {
  for (const [size, options] of sizes) {
    for (const colorScheme of ['light', 'dark']) {
      for (const [name, hash] of views) {
        const page = await browser.open({ hash, colorScheme, ...options });
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
