// In a worker, which unlike the page's main thread may sleep: does the engine compute, and do its threads take part?

import { sharingEngine } from '../../sharing.mjs';

onmessage = async ({ data: { variant, threads, inputs } }) => {
  try {
    const { attn, sharedTasks } = await sharingEngine(new URL('../../../web/lib/index.js', import.meta.url), { variant, threads });
    const { output } = await attn.sdpaAsync(...inputs, { isCausal: true });
    const tasks = sharedTasks();
    attn.dispose();
    postMessage({ output: output.data, tasks });
  } catch (error) {
    postMessage({ error: `${error}` });
  }
};
