// The module's tests of tests/js, and a few of what only browsers have, in a page of a browser: on every build that it can have,
// with cross-origin isolation and without.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startServer } from '../../tools/serve.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const golden = readdirSync(`${ROOT}/tests/golden/torch`).filter((name) => name.endsWith('.json'));

const own = (...names) => names.map((name) => `/tests/browsers/in-page/${name}.js`);
const ofNode = (...names) => names.map((name) => `/tests/js/${name}.test.js`);
// The builds without threads do not know whether the page is isolated: there, what depends on it is enough.
const FILES = {
  true: [...own('builds', 'in-worker', 'golden'), ...ofNode('textbook', 'core', 'errors', 'sdpa', 'cache', 'operators', 'layers', 'backward', 'scores', 'async', 'memory', 'bridge')],
  false: [...own('builds', 'in-worker', 'golden'), ...ofNode('textbook', 'core', 'async')],
};
// Pages cannot have the garbage collected, so that what is left can be measured.
const LEFT_OUT = ['a thousand engines that come and go leave nothing behind', '... nor do engines with threads'];

/** In a page: what there is to choose from. */
async function survey() {
  const probes = await import('/web/lib/probes.js');
  const { Attention } = await import('/web/lib/index.js');
  const has = { simd: probes.simd(), relaxed: probes.relaxed(), threads: probes.threads() };
  const [one, all] = await Promise.all([Attention.create(), Attention.create({ threads: 'auto' })]);
  const taken = [one, all].map(({ variant, threads }) => `${variant} x ${threads}`);
  one.dispose();
  all.dispose();
  return { isolated: crossOriginIsolated, has, taken };
}

/** In a page: the results of one file's tests. */
async function runFile(file, given, leftOut) {
  Object.assign(globalThis, given);
  const { results } = await import('/tests/browsers/in-page/test.js');
  return results([file], leftOut);
}

const list = (words) => (words.length ? words.join(', ') : 'nothing');

export function moduleTests({ title, program, launch, settings }, skip) {
  for (const { title: setting, env, isolations, passedBefore } of settings)
    test(`the module in ${title}${setting}`, { skip }, async (t) => {
      const browser = await launch(program, env);
      try {
        for (const isolation of isolations) {
          const server = await startServer({ root: ROOT, port: 0, isolation });
          const url = `${server.url}tests/browsers/in-page/index.html`;
          try {
            const tab = await browser.open({ url, width: 800, height: 600 });
            const where = `${title}${setting}, ${isolation ? 'isolated' : 'not isolated'}`;
            await t.test(`${where}: what it has`, async () => {
              const { isolated, has, taken } = await tab.run(survey);
              assert.equal(isolated, isolation);
              const features = Object.keys(has);
              console.log(`${where}, version ${browser.version}: has ${list(features.filter((name) => has[name]))}, lacks ${list(features.filter((name) => !has[name]))}; takes ${taken[0]}, or ${taken[1]} where it may use all threads`);
              assert.ok(has.simd);
              if (env.JSC_useSharedArrayBuffer) assert.ok(has.relaxed && has.threads);
            });
            for (const file of FILES[isolation])
              await t.test(`${where}: ${file.slice(1)}`, async () => {
                await tab.go(url);
                const results = await tab.run(runFile, file, { golden, passedBefore }, LEFT_OUT);
                const failed = results.filter(({ error }) => error);
                assert.ok(results.length > 0);
                assert.equal(failed.length, 0, failed.map(({ name, error }) => `${name}\n${error}`).join('\n\n'));
              });
            await t.test(`${where}: nothing was complained about, and complaints are heard`, async () => {
              assert.deepEqual(tab.complaints, []);
              await tab.run(() => { console.error('an error'); console.warn('a warning'); });
              for (let tries = 0; tab.complaints.length < 2 && tries < 100; tries += 1) await new Promise((resolve) => { setTimeout(resolve, 50); });
              assert.deepEqual(tab.complaints.map((text) => text.replace(/ \(.*/, '')).sort(), ['a warning', 'an error']);
            });
            await tab.close();
          } finally {
            await server.close();
          }
        }
      } finally {
        await browser.close();
      }
    });
}
