#!/usr/bin/env node
// Serves the folder web/ on this machine only, with the headers that let a page share memory between threads, and the
// manual, where it is built, as its docs/.
//
//   node tools/serve.mjs [--port N] [--no-isolation]
//
// The page tests import startServer and stop it again.

import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.gif': 'image/gif',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.ts': 'text/plain; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json; charset=utf-8',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
};

const FIRST_PORT = 8080;
const WEB = fileURLToPath(new URL('../web', import.meta.url));
const MANUAL = fileURLToPath(new URL('../build/docs', import.meta.url)); // ./build.sh docs

// What the address names below root: { file, size }, { redirect } or nothing.
async function lookUp(root, url) {
  const [pathname, search = ''] = url.split(/(?=\?)/);
  let decoded;
  try {
    decoded = decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
  if (!decoded.startsWith('/') || decoded.includes('\0') || decoded.includes('\\') || decoded.split('/').includes('..'))
    return undefined;
  let file = path.join(root, decoded);
  try {
    let found = await stat(file);
    if (found.isDirectory()) {
      // Without its slash a folder's relative links would start one folder too high. Repeated slashes at the
      // start would name another host.
      if (!pathname.endsWith('/')) return { redirect: pathname.replace(/^\/+/, '/') + '/' + search };
      file = path.join(file, 'index.html');
      found = await stat(file);
    } else if (decoded.endsWith('/')) {
      return undefined;
    }
    const real = await realpath(file); // a link may not lead out of the folder
    if (!found.isFile() || !real.startsWith(root + path.sep)) return undefined;
    return { file: real, size: found.size };
  } catch {
    return undefined; // not there, or not readable
  }
}

function answerWith(response, status, headers, text) {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', ...headers });
  response.end(text + '\n');
}

// The manual lies over the folder docs/, whose own index.html says how it is built.
async function lookUpBoth({ root, manual }, url) {
  const inManual = manual && url.startsWith('/docs/') && (await realpath(manual).catch(() => undefined));
  const found = inManual && (await lookUp(inManual, url.slice('/docs'.length)));
  if (found?.redirect) return { redirect: `/docs${found.redirect}` };
  return found || lookUp(root, url);
}

async function answer(folders, headers, request, response) {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return answerWith(response, 405, { Allow: 'GET, HEAD' }, 'Only GET and HEAD');
  const found = await lookUpBoth(folders, request.url);
  if (!found) return answerWith(response, 404, {}, 'Not found');
  if (found.redirect) return answerWith(response, 301, { Location: found.redirect }, found.redirect);
  response.writeHead(200, {
    'Content-Type': TYPES[path.extname(found.file).toLowerCase()] ?? 'application/octet-stream',
    'Content-Length': found.size,
  });
  if (request.method === 'HEAD') return response.end();
  createReadStream(found.file)
    .on('error', () => response.destroy())
    .pipe(response);
}

function listen(server, port) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve(server.address().port);
    });
  });
}

// startServer({ root, manual, port, isolation }) -> { url, port, close() }
// Port 0 takes any free one. A port that is taken makes it try the next ones. Without isolation the page gets
// no SharedArrayBuffer, as on a host that cannot set headers.
export async function startServer({ root = WEB, manual = root === WEB ? MANUAL : null, port = FIRST_PORT, isolation = true } = {}) {
  const headers = {
    'Cache-Control': 'no-cache',
    'X-Content-Type-Options': 'nosniff',
    'Cross-Origin-Resource-Policy': 'same-origin',
    ...(isolation && {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    }),
  };
  const realRoot = await realpath(root);
  const server = createServer((request, response) => {
    answer({ root: realRoot, manual }, headers, request, response).catch(() => response.destroy());
  });
  const last = port === 0 ? 0 : Math.min(port + 99, 65535);
  let taken;
  for (let candidate = port; ; candidate++) {
    try {
      taken = await listen(server, candidate);
      break;
    } catch (error) {
      if (error.code !== 'EADDRINUSE' || candidate >= last) throw error;
    }
  }
  return {
    port: taken,
    url: `http://127.0.0.1:${taken}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function main() {
  let options;
  try {
    options = parseArgs({
      options: { port: { type: 'string', default: String(FIRST_PORT) }, 'no-isolation': { type: 'boolean', default: false } },
    }).values;
    if (!/^\d+$/.test(options.port) || Number(options.port) > 65535) throw new Error(`--port ${options.port} is not a port number`);
  } catch (error) {
    console.error(`serve: ${error.message}\nusage: serve [--port N] [--no-isolation]`);
    process.exit(2);
  }
  const asked = Number(options.port);
  let server;
  try {
    server = await startServer({ port: asked, isolation: !options['no-isolation'] });
  } catch (error) {
    const why = {
      EACCES: `port ${asked} is not open to this user: give another with --port`,
      EADDRINUSE: `the ports from ${asked} on are all taken: give another with --port`,
      ENOENT: 'there is no folder web/ to serve',
    };
    console.error(`serve: ${why[error.code] ?? error.message}`);
    process.exit(1);
  }
  const stop = () => server.close().then(() => process.exit(0));
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  if (asked !== 0 && server.port !== asked) console.log(`serve: port ${asked} is taken, using ${server.port}`);
  console.log(`serve: ${server.url}   (Ctrl-C stops)`);
}

if (process.argv[1] && (await realpath(process.argv[1])) === fileURLToPath(import.meta.url)) await main();
