// Where and when a measurement was made.

import { spawnSync } from 'node:child_process';
import os from 'node:os';
import { readFileSync } from 'node:fs';

const HERE = new URL('.', import.meta.url);

const versionOf = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, HERE))).version;

export function machine() {
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: HERE, encoding: 'utf8' });
  return {
    cpu: os.cpus()[0]?.model.trim() ?? os.arch(),
    cores: os.availableParallelism(),
    memoryGigabytes: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.arch()}`,
    date: new Date().toISOString(),
    commit: commit.status === 0 ? commit.stdout.trim() : null,
    peers: Object.fromEntries(['onnxruntime-web', '@tensorflow/tfjs-backend-wasm'].map((name) => [name, versionOf(name)])),
  };
}

/** How many programs wanted to run, on average over the last minute. */
export const load = () => os.loadavg()[0];

export const nodeEngine = () => `Node ${process.versions.node} (V8 ${process.versions.v8})`;
