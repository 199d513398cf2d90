import { run } from './program.js';

const threads = Number(new URLSearchParams(location.search).get('threads'));
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
const inWorker = new Promise((resolve, reject) => {
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = ({ message }) => reject(new Error(`worker: ${message}`));
});
worker.postMessage({ threads });
Promise.all([run({ threads }), inWorker]).then((reports) => { document.title = reports.join(', '); }, (error) => { document.title = `failed: ${error.stack}`; });
