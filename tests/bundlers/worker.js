import { run } from './program.js';

onmessage = ({ data }) => run(data).then(postMessage, (error) => postMessage(`failed: ${error.stack}`));
