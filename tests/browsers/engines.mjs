// The browsers, as one sees them from a test. Each starts with { version, open({ url, width, height }) -> tab, close() }, a tab being
// { complaints, run(fn, ...args), resize(width, height), go(url), clickAt(x, y), press(...keys), screenshot(), close() }:
// fn is sent as text, args and what it gives as JSON; complaints are the errors and warnings of the console.

import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { launchChromium } from './chromium.mjs';
import { launchFirefox } from './firefox.mjs';
import { launchWebKit } from './webkit.mjs';

const ALWAYS = [{ title: '', env: {}, isolations: [true, false], passedBefore: [] }];

// What WebKitGTK has, but hides until it is told to show it: with that the other builds run, too.
const HIDDEN_IN_WEBKIT = {
  title: ' with what it hides', env: { JSC_useSharedArrayBuffer: '1', JSC_useWasmRelaxedSIMD: '1' }, isolations: [true], passedBefore: ['scalar', 'simd'],
};

export const ENGINES = {
  chromium: { title: 'Chromium', program: process.env.SPOTLIGHT_CHROMIUM || '/usr/bin/chromium', launch: launchChromium, settings: ALWAYS },
  firefox: { title: 'Firefox', program: process.env.SPOTLIGHT_FIREFOX || '/usr/bin/firefox-esr', launch: launchFirefox, settings: ALWAYS },
  webkit: {
    title: 'WebKit', program: process.env.SPOTLIGHT_WEBKIT_DRIVER || '/usr/bin/WebKitWebDriver', launch: launchWebKit, needs: ['Xvfb'],
    settings: [...ALWAYS, HIDDEN_IN_WEBKIT],
  },
};

const isThere = (program) => (program.includes('/') ? [program] : process.env.PATH.split(':').map((folder) => path.join(folder, program))).some((file) => {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
});

/** Why this browser's tests cannot run here, or false. */
export function lacking({ program, needs = [] }) {
  const missing = [program, ...needs].find((one) => !isThere(one));
  return missing ? `needs ${missing}` : false;
}
