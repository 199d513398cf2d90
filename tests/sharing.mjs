// An engine whose threads share every call, however small: small calls otherwise stay on one thread.

/**
 * sharingEngine(lib, { variant, threads }) -> { attn, sharedTasks() }, lib being the URL of web/lib/index.js: an Attention like that of
 * Attention.create(), but with attn_threads_set_grain(0) of attn.h, and how many tasks its other threads have run so far.
 */
export async function sharingEngine(lib, { variant, threads }) {
  const [{ Attention }, { Heap }, { load }] = await Promise.all(['index', 'heap', 'variants'].map((name) => import(new URL(`${name}.js`, lib))));
  const { name, module } = await load({ variant, threads, wasmUrl: null });
  const heap = new Heap(module);
  if (threads > 1) {
    heap.startThreads(threads);
    heap.call('attn_threads_set_grain', heap.threads, 0);
  }
  return { attn: new Attention(heap, name, threads), sharedTasks: () => module.exports.attn_threads_shared_tasks(heap.threads) >>> 0 };
}
