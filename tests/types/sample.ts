// Compiled by tsc --strict: what users write must type-check, and what must not, does not.

import { Attention, AttentionError, MultiHeadAttention, SimpleAttention } from 'spotlight-attention';
import type {
  CreateOptions, EngineTensor, MaskInput, MultiHeadAttentionGradients, MultiHeadAttentionResult, SdpaGradients, SdpaOptions, SdpaResult, StateDict, Tensor, TensorInput, TensorLike, Variant,
} from 'spotlight-attention';
import { Llama, LlamaSequence, Tokenizer } from 'spotlight-attention/llama';
import type { ForwardResult, GenerateStep, LlamaConfig } from 'spotlight-attention/llama';

// Shapes of other libraries' tensors: onnxruntime's and transformers.js's.
interface OtherTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
  readonly type: 'float32';
}
declare const other: OtherTensor;

export async function sample(): Promise<void> {
  const options: CreateOptions = { variant: 'auto', threads: 'auto', wasmUrl: (file) => new URL(file, 'https://example.org/') };
  const attn: Attention = await Attention.create(options);
  await Attention.create();
  await Attention.create({ variant: 'simd', threads: 2, wasmUrl: 'https://example.org/wasm/' });
  const variant: Variant = attn.variant;
  const numbers: number = attn.threads + attn.memoryBytes;

  const output: number[] = attn.attention([0.5, 0.5], [[0.1, 0.2], [0.2, 0.3]], [[0.6, 0.8], [0.7, 0.9]], { scale: 1 });
  attn.attention(Float64Array.of(1, 2), [Float64Array.of(1, 2)], { data: [1, 2], shape: [1, 2] });
  const { scores, weights } = attn.attentionSteps([1], [[1]], [[1]]);
  const all: number[] = [...scores, ...weights, ...output, numbers];

  const x: TensorLike = { data: new Float32Array(32), shape: [1, 2, 4, 4] };
  const mask: Tensor<Float32Array> = attn.causalMask(4);
  const sdpaOptions: SdpaOptions = {
    attnMask: mask, isCausal: true, causalAlign: 'bottom-right', scale: 0.5, softcap: 30, window: { left: 4, right: null }, alibiSlopes: [1, 0.5],
    kvLengths: Int32Array.of(4), returnWeights: true, returnScores: 'masked', returnLogsumexp: true,
  };
  const result: SdpaResult = attn.sdpa(x, x, other, sdpaOptions);
  result.weights?.toNested();
  const masks: MaskInput[] = [
    [[true, false]], [true], new Uint8Array(4), { data: [true, false], shape: [2] }, { data: new Int8Array(2), dims: [2] }, [[0, -1]], other, mask, [new Uint8Array(2)],
  ];
  for (const attnMask of masks) attn.sdpa(x, x, x, { attnMask });
  attn.sdpa([[1, 2]], [[1, 2]], [[1, 2]], null);
  const gradients: SdpaGradients = attn.sdpaBackward(result.output, x, x, other, { isCausal: true, output: result.output, logsumexp: result.logsumexp });
  const ofMask: Tensor | null = gradients.gradAttnMask;
  ofMask?.toNested();
  // @ts-expect-error: gradients have no weights
  attn.sdpaBackward(x, x, x, x, { returnWeights: true });
  attn.sdpa({ data: new Uint16Array(4), dims: [2, 2], type: 'float16' }, x, x);

  const { cos, sin } = attn.rotaryTables({ seqLen: 4, dim: 2, theta: 500 });
  const turned: Tensor = attn.rotaryEmbedding(x, { cos, sin, positionIds: { data: new BigInt64Array(4), dims: [1, 4] }, interleaved: true, rotaryDim: 2, numHeads: 2 });
  attn.rotaryEmbedding(attn.linear(turned, [[1]], [1]), { cos, sin, positionIds: [[0, 1, 2, 3]] });
  attn.swiglu(attn.rmsNorm(turned, [1], { epsilon: 1e-6, out: attn.tensor([1]) }), [[1]], { out: null });
  attn.linear(x, [[1]], null, { out: attn.tensor([1, 1]) });
  const scored: SdpaResult = attn.scoreAttention(x, attn.softmax(other, { axis: 0 }), x, { score: 'concat', w: [[1, 2]], v: [1], wQuery: [[1]], isCausal: true, returnWeights: true });
  const slopes: number = attn.scoreAttentionBackward(scored.output, x, x, x, { score: 'dot', wKey: x }).gradScale;
  const exponential: number | undefined = attn.explain(x, x, x, { row: 0, head: 1, batch: 0, products: true, isCausal: true }).exponentials[0];
  const entropies: Float64Array = attn.headStatistics(scored.weights!, { causalAlign: 'bottom-right' }).entropy.data;
  attn.rollout([scored.weights!, [[[1]]]], { residual: 0.5, headFusion: 'max' });
  attn.sdpa({ data: new Uint16Array(4), shape: [2, 2], dtype: 'float16' }, { data: new Uint16Array(4), dims: [2, 2], type: 'float16' }, [[1, 2]]);
  attn.multiHeadAttention({ embedDim: 8, numHeads: 2, rotary: { theta: 10000, dim: 2, interleaved: true } });
  void [slopes, exponential, entropies];

  const held: EngineTensor = attn.tensor([2, 3]).set([1, 2, 3, 4, 5, 6]);
  const input: TensorInput = held;
  attn.sdpa(held, input, held, { out: attn.tensor([2, 3]) }).output.toNested();
  held.data.fill(0);
  if (!held.freed) held.free();
  held[Symbol.dispose]();

  const layer: MultiHeadAttention = attn.multiHeadAttention({ embedDim: 8, numHeads: 2, numKvHeads: 1, kdim: 4, vdim: 4, addBiasKv: true, addZeroAttn: true, batchFirst: false, bias: false });
  const both: MultiHeadAttentionResult = layer.forward(x, other, null, { keyPaddingMask: [true, false], attnMask: mask, isCausal: true, needWeights: true, averageAttnWeights: false });
  layer.forward(x, null, null, { needGrad: true });
  const { gradKey, gradState }: MultiHeadAttentionGradients = layer.backward(both.output);
  gradKey?.data.fill(0);
  gradState['out_proj.bias']?.toNested();
  const state: StateDict = layer.stateDict();
  layer.loadStateDict(state).loadStateDict({ in_proj_weight: [[1]], 'out_proj.weight': other }).free();

  const simple = new SimpleAttention({ embedDim: 64, numHeads: 4, engine: attn, seed: 1 });
  const y: Tensor = simple.selfAttention(x, { causal: true });
  const forward = simple.forward(y, { causal: true, returnWeights: true });
  const data: Float32Array | Float64Array | undefined = forward.weights?.data;

  try {
    attn.dispose();
  } catch (error) {
    if (error instanceof AttentionError && error.code === 'disposed') throw new Error(error.name, { cause: error });
  }
  use(variant, all, result, both, data);

  // @ts-expect-error there is no such variant
  await Attention.create({ variant: 'avx' });
  // @ts-expect-error nor such an option
  await Attention.create({ thread: 1 });
  // @ts-expect-error engines are created, not constructed
  new Attention();
  // @ts-expect-error so are layers
  new MultiHeadAttention({ embedDim: 8, numHeads: 2 });
  // @ts-expect-error Python's names are not JavaScript's
  attn.sdpa(x, x, x, { is_causal: true });
  // @ts-expect-error one of three words
  attn.sdpa(x, x, x, { returnScores: 'all' });
  // @ts-expect-error booleans are no numbers
  attn.sdpa([[true]], x, x);
  // @ts-expect-error a tensor needs a shape
  attn.sdpa({ data: new Float32Array(4) }, x, x);
  // @ts-expect-error integers are no element type
  attn.sdpa({ data: new Int32Array(4), shape: [2, 2] }, x, x);
  // @ts-expect-error a result of arrays is no memory of the engine
  attn.sdpa(x, x, x, { out: result.output });
  // @ts-expect-error required
  attn.multiHeadAttention({ embedDim: 8 });
  // @ts-expect-error read-only
  attn.variant = 'simd';
  // @ts-expect-error weights may be missing
  forward.weights.data;
}

async function llama(attn: Attention, file: ArrayBuffer, signal: AbortSignal) {
  const tokenizer = new Tokenizer(new Uint8Array(file));
  using model = await Llama.create(attn, file, { tokenizer, theta: 10000, epsilon: 1e-5, signal, onProgress: (done) => use(done.toFixed()) });
  const config: LlamaConfig = model.config;
  const sequence: LlamaSequence = model.sequence({ capacity: config.seqLen });
  const ids: number[] = tokenizer.encode('Once', { bos: true, eos: false });
  const result: ForwardResult = sequence.forward(ids, { logits: 'all', returnWeights: true, returnScores: 'raw', returnProjections: true, layers: [0], heads: [1], silenced: [{ layer: 0, head: 1 }] });
  use(result.projections?.[0]?.query.shape, result.logits?.data, result.weights?.[0]?.shape, attn.rollout(result.weights!.map((weights) => weights!)), sequence.truncate(1).reset().tokens);
  for await (const step of model.generate('Once', { maxTokens: 3, temperature: 0.5, topP: 0.9, seed: 1, random: Math.random, stop: [2], signal })) {
    const { token, text, position, logits }: GenerateStep = step;
    use(token, text?.length, position, logits.data);
  }
  use(tokenizer.decode(ids), tokenizer.stream(1).push(2), tokenizer.stream().end());
  // @ts-expect-error not made by new
  new Llama();
  // @ts-expect-error the engine comes first
  await Llama.create(file);
  // @ts-expect-error read-only
  model.config.dim = 3;
  // @ts-expect-error one of three words
  sequence.forward(ids, { logits: true });
}

declare function use(...values: unknown[]): void;
