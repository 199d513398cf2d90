// A whole decoder: how many tokens a second it reads and writes, what share of the register-only peak that is, and how many plain
// JavaScript does. The sizes are those of llama2.c's stories260K and stories15M, the weights are random.

import { Attention } from '../../web/lib/index.js';
import { Llama } from '../../web/lib/llama/index.js';
import { openClock } from './clocks.mjs';
import { peak } from './peak.mjs';
import { plainLlama } from './peers/llama.mjs';
import { interleave, spread } from './timing.mjs';

const MODELS = [
  { name: '260K', dim: 64, hiddenDim: 172, numLayers: 5, numHeads: 8, numKvHeads: 4, vocabSize: 512, seqLen: 512 },
  { name: '15M', dim: 288, hiddenDim: 768, numLayers: 6, numHeads: 6, numKvHeads: 6, vocabSize: 32000, seqLen: 256 },
];
const PROMPT = 128;
const SETTINGS = { warm: 0.3, sample: 0.02, budget: 6, rounds: [5, 25], rareRounds: 5 };
const CHECKED = 6; // tokens
const TOLERANCE = 1e-3;

// A Lehmer generator; the sizes of trained weights.
function randomNumbers() {
  let state = 7;
  return (length, size) => Float32Array.from({ length }, () => ((state = (state * 48271) % 2147483647) / 2147483647 - 0.5) * size);
}

// -> { config, weights: for plain JavaScript, file: a checkpoint of version 1 }
function make({ name, ...sizes }) {
  const headDim = sizes.dim / sizes.numHeads;
  const { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen } = sizes;
  const kvDim = numKvHeads * headDim;
  const numbers = randomNumbers();
  const matrix = (rows, columns) => numbers(rows * columns, 4 / Math.sqrt(columns));
  const ones = () => new Float32Array(dim).fill(1);
  const embedding = numbers(vocabSize * dim, 1);
  const layers = Array.from({ length: numLayers }, () => ({
    attentionNorm: ones(), wq: matrix(dim, dim), wk: matrix(kvDim, dim), wv: matrix(kvDim, dim), wo: matrix(dim, dim),
    feedForwardNorm: ones(), w1: matrix(hiddenDim, dim), w2: matrix(dim, hiddenDim), w3: matrix(hiddenDim, dim),
  }));
  const weights = { embedding, output: embedding, finalNorm: ones(), layers };
  const header = new Uint8Array(256);
  header.set(new Uint8Array(Int32Array.of(0x616b3432, 1, dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen).buffer));
  header[36] = 1; // the embedding is the output
  const each = (...names) => names.flatMap((kind) => layers.map((layer) => layer[kind]));
  const arrays = [...each('attentionNorm', 'feedForwardNorm'), weights.finalNorm, embedding, ...each('wq', 'wk', 'wv', 'wo', 'w1', 'w2', 'w3')];
  return { config: { ...sizes, headDim }, weights, file: new Blob([header, ...arrays]) };
}

// Multiplications and additions of a prompt: the matrices of the layers for each token, the output for the last, and what is seen.
function promptFlops({ dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize }) {
  const layer = 2 * dim * dim + 2 * dim * dim * (numKvHeads / numHeads) + 3 * dim * hiddenDim;
  const seen = (PROMPT * (PROMPT + 1)) / 2;
  return 2 * (PROMPT * numLayers * layer + dim * vocabSize) + 4 * numLayers * dim * seen;
}

export async function llama({ variants, clock, say }) {
  const seconds = await openClock(clock);
  const results = [];
  for (const model of MODELS) {
    const { config, weights, file } = make(model);
    const bytes = await file.arrayBuffer();
    const tokens = Array.from({ length: PROMPT }, (_, i) => (i * 37 + 1) % config.vocabSize);
    const plain = plainLlama(config, weights);
    const expected = tokens.map((token) => plain.forward(token).slice());
    const contenders = [{
      name: 'plain JavaScript', rare: config.dim > 100,
      run() { plain.truncate(PROMPT - 1); plain.forward(tokens.at(-1)); },
    }];
    const engines = [];
    for (const variant of variants) {
      const attn = await Attention.create({ variant, threads: 1 });
      engines.push(attn);
      const sequence = (await Llama.create(attn, bytes)).sequence();
      for (let i = 0; i < CHECKED; i++) {
        const { data } = sequence.forward([tokens[i]]).logits;
        const error = data.reduce((worst, x, j) => Math.max(worst, Math.abs(x - expected[i][j])), 0);
        if (!(error <= TOLERANCE)) throw new Error(`${variant}: logits of token ${i} are off by ${error}`);
      }
      const fill = () => sequence.reset().forward(tokens);
      fill();
      contenders.push(
        { name: `${variant}, a token`, run() { sequence.truncate(PROMPT - 1); sequence.forward([tokens.at(-1)]); } },
        { name: `${variant}, a prompt`, run: fill },
        await peak(variant),
      );
    }
    const times = await interleave(contenders, { clock: seconds, ...SETTINGS });
    const median = (name) => spread(times.get(name)).median;
    const rate = (name, count) => count / median(name);
    const plainRate = rate('plain JavaScript', 1);
    say(`${model.name}: plain JavaScript ${plainRate.toFixed(0)} tokens/s`);
    for (const variant of variants) {
      const gflops = promptFlops(config) / median(`${variant}, a prompt`) / 1e9;
      const result = {
        model: model.name, variant, plain: plainRate, decode: rate(`${variant}, a token`, 1), prompt: rate(`${variant}, a prompt`, PROMPT), gflops,
        share: (gflops * 1e9) / rate(`peak-${variant}`, contenders.find(({ name }) => name === `peak-${variant}`).flops),
      };
      results.push(result);
      say(`${model.name}, ${variant}: writes ${result.decode.toFixed(0)} tokens/s (${(result.decode / plainRate).toFixed(1)} × plain JavaScript) after ${PROMPT - 1}; ` +
        `reads a prompt of ${PROMPT} at ${result.prompt.toFixed(0)} tokens/s (${(result.prompt / plainRate).toFixed(1)} ×), ` +
        `${gflops.toFixed(1)} GFLOP/s, ${(100 * result.share).toFixed(0)} % of the register-only peak`);
    }
    engines.forEach((attn) => attn.dispose());
  }
  return results;
}
