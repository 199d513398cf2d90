import { run } from './program.js';

const port = globalThis.postMessage ? globalThis : (await import('node:worker_threads')).parentPort;
port.onmessage = ({ data }) => run(data).then((report) => port.postMessage(report), (error) => port.postMessage(`failed: ${error.stack}`));
