// What every engine and bundler is given: it imports the package by its name, computes, and says what came out.
import { Attention } from 'spotlight-attention';

export async function run(options) {
  const attn = await Attention.create(options);
  const x = { data: new Float32Array(8 * 300 * 16).map((_, i) => Math.sin(i)), shape: [8, 300, 16] };
  const { data } = attn.sdpa(x, x, x, { isCausal: true }).output;
  const finite = data.every(Number.isFinite);
  const first = [...data.subarray(0, 16)].every((value, i) => Math.abs(value - x.data[i]) < 1e-6); // the first row sees itself alone
  const report = `${attn.variant} ${attn.threads} ${finite && first ? 'right' : 'WRONG'}`;
  attn.dispose();
  return report;
}
