// One thread of an engine: its module once more, on its memory, with a stack of its own. See src/wasm/threads.c.

// Node's workers have no global postMessage; all others do.
const port = globalThis.postMessage ? globalThis : process.getBuiltinModule('node:worker_threads').parentPort;

port.onmessage = ({ data: { module, memory, stack, index } }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory, may_sleep: () => 1 } });
  exports.__stack_pointer.value = stack;
  port.postMessage('ready');
  exports.wasm_thread_run(index);
};
