// From a cold import to the first result, in a process of its own each time: `node cold.mjs ours|peer` prints milliseconds.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { spread } from './timing.mjs';

const SHAPE = [1, 8, 16, 64];
const AT_LEAST = 10;
const SELF = fileURLToPath(import.meta.url);

const input = () => ({ data: new Float32Array(SHAPE.reduce((a, b) => a * b)).fill(0.5), shape: SHAPE });

const firstResult = {
  async ours() {
    const { Attention } = await import('../../web/lib/index.js');
    const attn = await Attention.create({ threads: 1 });
    const x = input();
    return attn.sdpa(x, x, x).output.data;
  },
  async peer() {
    const ort = await import('onnxruntime-web/wasm');
    ort.env.wasm.numThreads = 1;
    // The model would have been written beforehand, so encoding it does not count.
    const session = await ort.InferenceSession.create(Buffer.from(process.argv[3], 'base64'), { executionProviders: ['wasm'] });
    const { data, shape } = input();
    const x = new ort.Tensor('float32', data, shape);
    return (await session.run({ q: x, k: x, v: x })).y.data;
  },
};

async function measureHere(who) {
  const start = performance.now();
  const result = await firstResult[who]();
  const milliseconds = performance.now() - start;
  if (Math.abs(result[0] - 0.5) > 1e-6) throw new Error(`wrong result: ${result[0]}`);
  console.log(milliseconds);
}

/** { title, variant, ours, peer, comparison } in seconds, of alternating processes. */
export async function cold(rounds) {
  const { encodeModel } = await import('./onnx.mjs');
  const model = encodeModel({
    nodes: [{ op: 'Attention', inputs: ['q', 'k', 'v'], outputs: ['y'] }],
    inputs: { q: SHAPE, k: SHAPE, v: SHAPE },
    outputs: { y: SHAPE },
  });
  const run = (who) => {
    const child = spawnSync(process.execPath, [SELF, who, Buffer.from(model).toString('base64')], { encoding: 'utf8' });
    if (child.status !== 0) throw new Error(`cold start of ${who}: ${child.stderr}`);
    return Number(child.stdout) / 1e3;
  };
  const ours = [];
  const peer = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(run('ours'));
    peer.push(run('peer'));
  }
  const value = spread(peer.map((seconds, round) => seconds / ours[round]));
  return {
    title: 'cold import to first result, 8 × 64, seq 16 (wall clock)',
    variant: 'auto, one thread',
    ours: spread(ours),
    peer: spread(peer),
    comparison: { value, atLeast: AT_LEAST, met: value.median >= AT_LEAST },
  };
}

if (process.argv[1] === SELF) await measureHere(process.argv[2]);
