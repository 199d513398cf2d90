// Firefox over WebDriver BiDi (w3c.github.io/webdriver-bidi), which it speaks by itself.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { WebSocket } from 'ws';
import { clickAt, pressed } from './keys.mjs';
import { start } from './program.mjs';

// Nothing is asked of the network; a page that computes for long is not interrupted.
const PREFERENCES = {
  'app.update.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.ipc.processHangMonitor': false,
  'dom.max_script_run_time': 0,
  'extensions.getAddons.cache.enabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,',
  'toolkit.telemetry.enabled': false,
};

/** send(method, params) -> result; events are given to `listen`. */
async function connect(url, listen) {
  const socket = new WebSocket(url, { maxPayload: 1 << 28 });
  await new Promise((resolve, reject) => { socket.once('open', resolve).once('error', reject); });
  const waiting = new Map();
  let last = 0;
  socket.on('message', (data) => {
    const { id, type, method, params, result, error, message } = JSON.parse(data);
    if (type === 'event') return listen(method, params);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    return type === 'error' ? reject(new Error(`${error}: ${message}`)) : resolve(result);
  });
  socket.on('close', () => { for (const { reject } of waiting.values()) reject(new Error('Firefox has gone')); });
  return {
    send: (method, params = {}) => new Promise((resolve, reject) => {
      last += 1;
      waiting.set(last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params }));
    }),
    close: () => socket.close(),
  };
}

export async function launchFirefox(executable, env) {
  const profile = await mkdtemp(path.join(tmpdir(), 'spotlight-firefox-'));
  await writeFile(path.join(profile, 'user.js'), Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''));
  const program = start(executable, ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port=0'], { HOME: profile, MOZ_CRASHREPORTER_DISABLE: '1', ...env });
  const stop = async () => {
    await program.stop();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
  try {
    const [, address] = await program.said(/WebDriver BiDi listening on (ws:\S+)/);
    const complaints = new Map(); // of each tab
    const bidi = await connect(`${address}/session`, (method, { level, text, source, stackTrace }) => {
      if (method !== 'log.entryAdded' || !['error', 'warn'].includes(level)) return;
      const at = stackTrace?.callFrames?.[0]?.url;
      complaints.get(source.context)?.push(at ? `${text} (${at})` : text);
    });
    const { capabilities } = await bidi.send('session.new', { capabilities: {} });
    await bidi.send('session.subscribe', { events: ['log.entryAdded'] });
    return {
      version: capabilities.browserVersion,
      async open({ url, width, height }) {
        const { context } = await bidi.send('browsingContext.create', { type: 'tab' });
        const tab = {
          complaints: [],
          async run(fn, ...args) {
            const answer = await bidi.send('script.callFunction', {
              functionDeclaration: `async (args) => JSON.stringify(await (${fn})(...JSON.parse(args)))`,
              arguments: [{ type: 'string', value: JSON.stringify(args) }], awaitPromise: true, target: { context },
            });
            if (answer.type === 'exception') throw new Error(answer.exceptionDetails.text);
            return answer.result.value === undefined ? undefined : JSON.parse(answer.result.value);
          },
          resize: (toWidth, toHeight) => bidi.send('browsingContext.setViewport', { context, viewport: { width: toWidth, height: toHeight } }),
          go: (address) => bidi.send('browsingContext.navigate', { context, url: address, wait: 'complete' }),
          clickAt: (x, y) => bidi.send('input.performActions', { context, actions: clickAt(x, y) }),
          press: (...keys) => bidi.send('input.performActions', { context, actions: pressed(keys) }),
          screenshot: async () => Buffer.from((await bidi.send('browsingContext.captureScreenshot', { context })).data, 'base64'),
          close: () => bidi.send('browsingContext.close', { context }),
        };
        complaints.set(context, tab.complaints);
        await tab.resize(width, height);
        await tab.go(url);
        return tab;
      },
      async close() {
        bidi.close();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
