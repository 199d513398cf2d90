// ENGINE command.mjs: one thread, two threads, and both again in a worker.
import { run } from './program.js';

const { Worker } = globalThis.Worker ? globalThis : await import('node:worker_threads');
const inWorker = (threads) => new Promise((resolve, reject) => {
  const worker = new Worker(new URL('./worker-command.mjs', import.meta.url), { type: 'module' });
  const done = (report) => {
    worker.terminate();
    resolve(report);
  };
  if (globalThis.Worker) {
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = (event) => reject(event.error ?? new Error(event.message));
  } else {
    worker.on('message', done).on('error', reject);
  }
  worker.postMessage({ threads });
});

const reports = [];
for (const threads of [1, 2]) reports.push(await run({ threads }), await inWorker(threads));
console.log(reports.join(', '));
