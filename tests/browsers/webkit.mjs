// WebKitGTK's MiniBrowser over WebDriver (w3.org/TR/webdriver), on a display of its own that nobody sees.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clickAt, pressed } from './keys.mjs';
import { listenTo } from './listening.mjs';
import { start } from './program.mjs';

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

/** call(method, path, body) -> value, of the driver on this port. */
const caller = (port) => async (method, address, body) => {
  const response = await fetch(`http://127.0.0.1:${port}${address}`, { method, body: body && JSON.stringify(body) });
  const { value } = await response.json();
  if (!response.ok) throw new Error(`${address}: ${value.error}: ${value.message}`);
  return value;
};

export async function launchWebKit(executable, env) {
  const home = await mkdtemp(path.join(tmpdir(), 'spotlight-webkit-'));
  const programs = [];
  const sites = new Set();
  const stop = async () => {
    for (const site of sites) await site.close();
    for (const program of programs.reverse()) await program.stop();
    await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
  try {
    // It chooses a display that is free and tells which.
    const screen = start('Xvfb', ['-displayfd', '1', '-screen', '0', '1600x1200x24', '-nolisten', 'tcp']);
    programs.push(screen);
    const [, display] = await screen.said(/^(\d+)\n/m);
    const port = await freePort();
    const driver = start(executable, [`--port=${port}`, '--host=127.0.0.1'], {
      DISPLAY: `:${display}`, HOME: home, XDG_RUNTIME_DIR: home, GDK_BACKEND: 'x11', GTK_USE_PORTAL: '0', LIBGL_ALWAYS_SOFTWARE: '1',
      WEBKIT_DISABLE_DMABUF_RENDERER: '1', DBUS_SESSION_BUS_ADDRESS: 'disabled:', NO_AT_BRIDGE: '1', ...env,
    });
    programs.push(driver);
    const call = caller(port);
    for (let tries = 0; ; tries += 1) {
      try {
        await call('GET', '/status');
        break;
      } catch (error) {
        if (tries === 100) throw error;
        await new Promise((resolve) => { setTimeout(resolve, 100); });
      }
    }
    return {
      version: undefined, // known from the first tab on
      async open({ url, width, height }) {
        const { sessionId, capabilities } = await call('POST', '/session', { capabilities: {} });
        this.version = capabilities.browserVersion;
        const session = `/session/${sessionId}`;
        await call('POST', `${session}/timeouts`, { script: 600_000, pageLoad: 60_000 });
        const act = (actions) => call('POST', `${session}/actions`, { actions });
        const complaints = [];
        const { origin } = new URL(url);
        const site = await listenTo(origin, (text) => complaints.push(text));
        sites.add(site);
        const tab = {
          complaints,
          async run(fn, ...args) {
            const { value, error } = JSON.parse(await call('POST', `${session}/execute/async`, {
              script: `const [args, done] = arguments;
                (async () => (${fn})(...JSON.parse(args)))().then(
                  (value) => done(JSON.stringify({ value })), (error) => done(JSON.stringify({ error: \`\${error}\\n\${error?.stack}\` })));`,
              args: [JSON.stringify(args)],
            }));
            if (error) throw new Error(error);
            return value;
          },
          // Its window cannot be narrower than its tool bar: some 450 pixels.
          async resize(toWidth, toHeight) {
            const inner = () => tab.run(() => [innerWidth, innerHeight]);
            await call('POST', `${session}/window/rect`, { width: toWidth, height: toHeight });
            const [have, high] = await inner();
            if (have !== toWidth || high !== toHeight) {
              const { width: outer, height: tall } = await call('GET', `${session}/window/rect`);
              await call('POST', `${session}/window/rect`, { width: outer + toWidth - have, height: tall + toHeight - high });
            }
          },
          go: (address) => call('POST', `${session}/url`, { url: address.replace(origin, site.origin) }),
          clickAt: (x, y) => act(clickAt(x, y)),
          press: (...keys) => act(pressed(keys)),
          screenshot: async () => Buffer.from(await call('GET', `${session}/screenshot`), 'base64'),
          async close() {
            await call('DELETE', session);
            sites.delete(site);
            await site.close();
          },
        };
        await tab.resize(width, height);
        await tab.go(url);
        return tab;
      },
      close: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
