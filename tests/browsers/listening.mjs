// WebDriver does not tell what a page writes to its console, and MiniBrowser prints it only where it is not driven. So the pages come
// through a server that passes everything on as it is and puts one script before theirs: it hands over what is complained about.

import { createServer, request } from 'node:http';

const ADDRESS = '/-complaints.js';

const script = () => {
  const tell = (...words) => navigator.sendBeacon('/-complaints.js', words.join(' '));
  for (const level of ['error', 'warn']) {
    const write = console[level];
    console[level] = (...words) => {
      tell(...words);
      write.apply(console, words);
    };
  }
  addEventListener('error', ({ message, target }) => tell(message ?? `${target.src ?? target.href} could not be loaded`), true);
  addEventListener('unhandledrejection', ({ reason }) => tell(reason));
  addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => tell(violatedDirective, 'forbids', blockedURI));
};

/** listenTo(origin, heard) -> { origin, close() }: the same site elsewhere; heard(text) is called for each complaint. */
export async function listenTo(origin, heard) {
  const server = createServer((incoming, outgoing) => {
    if (incoming.url === ADDRESS && incoming.method === 'POST') {
      let text = '';
      incoming.setEncoding('utf8').on('data', (chunk) => { text += chunk; }).on('end', () => {
        heard(text);
        outgoing.writeHead(204).end();
      });
      return;
    }
    if (incoming.url === ADDRESS) return outgoing.writeHead(200, { 'Content-Type': 'text/javascript', 'Cross-Origin-Resource-Policy': 'same-origin' }).end(`(${script})();`);
    request(new URL(incoming.url, origin), { method: incoming.method }, (answer) => {
      if (!/^text\/html/.test(answer.headers['content-type'])) {
        outgoing.writeHead(answer.statusCode, answer.headers);
        return answer.pipe(outgoing);
      }
      let html = '';
      answer.setEncoding('utf8').on('data', (chunk) => { html += chunk; }).on('end', () => {
        const { 'content-length': _, ...headers } = answer.headers;
        outgoing.writeHead(answer.statusCode, headers).end(html.replace(/<(script|title)/, `<script src="${ADDRESS}"></script><$1`));
      });
    }).on('error', () => outgoing.destroy()).end();
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}
