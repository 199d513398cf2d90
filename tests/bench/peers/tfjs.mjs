// @tensorflow/tfjs-backend-wasm: two products and a softmax, as its users write it.

/** In a page the scripts of the page have set `tf`; in Node the packages are imported. */
export async function loadTfjs() {
  const tf = globalThis.tf ?? (await import('@tensorflow/tfjs-core'));
  const { setThreadsCount, setWasmPaths } = globalThis.tf?.wasm ?? (await import('@tensorflow/tfjs-backend-wasm')).default;
  if (globalThis.tf) setWasmPaths('/tests/bench/node_modules/@tensorflow/tfjs-backend-wasm/dist/');
  setThreadsCount(1);
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs has no WebAssembly backend here');
  await tf.ready();
  return { tf, version: tf.version_core };
}

export function tfjsContender({ tf }, { row, query, key, value }) {
  const scale = 1 / Math.sqrt(row.headDim);
  return {
    name: 'tfjs-backend-wasm',
    run: () =>
      tf.tidy(() => {
        const [q, k, v] = [query, key, value].map(({ data, shape }) => tf.tensor4d(data, shape));
        return tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), scale)), v).dataSync();
      }),
    result: (output) => ({ output }),
  };
}
