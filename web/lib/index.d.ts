/// <reference lib="esnext.disposable" />

/**
 * Attention for browsers and Node: PyTorch's names and semantics, computed by a C core in WebAssembly.
 *
 * ```js
 * import { Attention } from 'spotlight-attention';
 * const attn = await Attention.create();
 * console.log(attn.attention([0.5, 0.5], [[0.1, 0.2], [0.2, 0.3]], [[0.6, 0.8], [0.7, 0.9]])); // [0.6524979187478941, 0.852497918747894]
 * ```
 *
 * Tensors are row-major. Wherever one is taken, anything with `data` and `shape` (or `dims`) will do, and so do nested
 * arrays, a bare typed array (rank 1) and memory of the engine ({@link EngineTensor}).
 *
 * All tensors of one call have one element type, and so have the results: with `Float32Array` data the call computes in
 * float32 on the fast path, with `Float64Array` data in float64 by the reference. Plain arrays of numbers become
 * whatever the other tensors are, and float32 if there is no other. Masks and slopes are converted to the call's type.
 * Half precision becomes float32 on the way in: Float16Array, or its bits in a Uint16Array where the tensor also says
 * `dtype: 'float16'` (or `type`).
 * The textbook functions ({@link Attention.attention}) compute in float64 whatever they are given.
 *
 * Errors: `TypeError` for a wrong kind of value (an unknown option, booleans for numbers, mixed element types),
 * `RangeError` for a wrong size or number (ragged arrays, shapes that do not fit, NaN, more than 2 GiB in one tensor);
 * the message begins with the argument's name, then what was expected and what came. {@link AttentionError} for what the
 * engine itself cannot do. After any error the engine works on, nothing has been written and no memory is lost.
 *
 * `undefined` and `null` mean an option's default.
 */

/** What tensors hold: all of one call have the same. */
export type FloatArray = Float32Array | Float64Array;
/** Sizes of the axes, outermost first. `[]` has one element. */
export type Shape = readonly number[];
/** Arrays of arrays, all of one length on each level. */
export type NestedArray = readonly number[] | readonly FloatArray[] | readonly NestedArray[];

/** onnxruntime's and transformers.js's tensors (`dims`) fit as they are. */
export type TensorLike =
  | { readonly data: FloatArray | readonly number[]; readonly shape: Shape }
  | { readonly data: FloatArray | readonly number[]; readonly dims: Shape };
/** Half precision, as Float16Array or as its bits (onnxruntime's and transformers.js's say `type`): becomes float32. */
export type HalfTensor =
  | { readonly data: Uint16Array | HalfArray; readonly shape: Shape; readonly dtype?: 'float16' }
  | { readonly data: Uint16Array | HalfArray; readonly dims: Shape; readonly type: 'float16' };
/** Float16Array, of which this version of TypeScript may not know. */
export interface HalfArray extends ArrayBufferView, ArrayLike<number> {
  readonly [Symbol.toStringTag]: 'Float16Array';
}
/** Whole numbers: positions. */
export type IntegerArray = Int32Array | BigInt64Array | readonly number[];
/** Positions and the like: integers as a tensor, or as rows. */
export type IntegerInput =
  | { readonly data: IntegerArray; readonly shape: Shape }
  | { readonly data: IntegerArray; readonly dims: Shape }
  | readonly (readonly number[] | Int32Array)[];
/** Whatever is taken where a tensor of numbers is wanted. */
export type TensorInput = HalfTensor | HalfArray | TensorLike | EngineTensor | FloatArray | NestedArray;

/** Booleans, or one byte per element, nonzero for true. */
export type BooleanArray = Uint8Array | Int8Array | Uint8ClampedArray | readonly boolean[];
/** Booleans in nested arrays, as deep as the shape is long. */
export type NestedBooleans = BooleanArray | readonly NestedBooleans[];

/** Numbers are additive; booleans (or one byte per element, nonzero for true) are boolean. */
export type MaskInput =
  | TensorInput
  | { readonly data: BooleanArray; readonly shape: Shape }
  | { readonly data: BooleanArray; readonly dims: Shape }
  | NestedBooleans;

/** A result: its own memory, never a view of the engine's. */
export interface Tensor<T extends FloatArray = FloatArray> {
  /** The elements, row by row. */
  readonly data: T;
  /** The size of each axis. */
  readonly shape: Shape;
  /** Nested plain arrays of numbers, as deep as the shape is long: for reading and printing. */
  toNested(): any;
}

/** Memory of the engine, float32: no copy on the way in or out. Give it back with `free()`. */
export interface EngineTensor extends Tensor<Float32Array> {
  /** The size of each axis, none 0. */
  readonly shape: Shape;
  /** A view of the engine's memory, made anew at each access; it dies when memory grows. Do not keep it. */
  readonly data: Float32Array;
  /** Copies `values` in: the same number of elements, in any shape. */
  set(values: TensorInput): this;
  /** A copy. */
  toTensor(): Tensor<Float32Array>;
  /**
   * Gives the memory back. Again: nothing. Afterwards, and after the engine was disposed of, every use of the tensor
   * throws an {@link AttentionError} of code `'disposed'`. A call of another engine refuses the tensor (`TypeError`).
   */
  free(): void;
  /** Whether `free()` was called, or the engine disposed of. */
  readonly freed: boolean;
  /** As `free()`, for `using`. */
  [Symbol.dispose](): void;
}

/** The builds of the engine, see {@link CreateOptions.variant}. */
export type Variant = 'scalar' | 'simd' | 'relaxed' | 'simd-threads' | 'relaxed-threads';

/** Options of {@link Attention.create}. */
export interface CreateOptions {
  /**
   * Which build to run. `'auto'` (default): the fastest that this engine can compile: relaxed SIMD, else SIMD,
   * else scalar; the threaded form where `threads` asks for more than one. A name forces that build; where the
   * engine cannot run it, `create` rejects with an {@link AttentionError} of code `'unsupported'`.
   */
  variant?: 'auto' | Variant | null;
  /**
   * How many threads compute, the caller's included. Default 1: the engine starts in some milliseconds and holds up
   * nothing else. `'auto'`: one for each core, at most 8, where there is shared memory (Node, or a page that is
   * `crossOriginIsolated`), else 1; starting them takes some tens of milliseconds, once, and small calls stay on one.
   * A number (at most 128) above 1 without shared memory, or with an unthreaded `variant`, rejects with code `'unsupported'`.
   */
  threads?: 'auto' | number | null;
  /**
   * Where the `.wasm` files are; default: beside the module. Otherwise a URL of a folder, or a function from file name
   * (`'simd.wasm'`) to URL. Relative URLs are relative to the page or worker, in Node to the module's folder.
   */
  wasmUrl?: string | URL | ((file: string) => string | URL) | null;
}

/** What the engine answers where arguments are not to blame. */
export class AttentionError extends Error {
  private constructor();
  /** `'AttentionError'`. */
  readonly name: 'AttentionError';
  /**
   * `'memory'`: more memory than there is; `'unsupported'`: this engine or page cannot run what was asked for;
   * `'load'`: the `.wasm` could not be fetched or compiled; `'disposed'`: the engine, tensor or layer was given back;
   * `'no-engine'`: no engine was created yet; `'no-forward'`: `backward()` without a `forward(..., { needGrad: true })`
   * before it; `'internal'`: a fault of this library.
   */
  readonly code: 'memory' | 'unsupported' | 'load' | 'disposed' | 'no-engine' | 'no-forward' | 'internal';
}

/** Options of {@link Attention.sdpa}. */
export interface SdpaOptions {
  /**
   * Boolean (true = attend, as in PyTorch's function; the opposite of {@link MultiHeadAttention}'s) or additive. Any
   * shape that broadcasts from the right to the scores': `[batch, numHeads, seqLenQ, seqLenKv]`, without the axes that
   * `query` does not have. Default: none.
   */
  attnMask?: MaskInput | null;
  /** Row i sees keys j <= i + offset. Default false. */
  isCausal?: boolean | null;
  /**
   * The offset where seqLenQ and seqLenKv differ: `'top-left'` (default) 0, as PyTorch; `'bottom-right'`
   * seqLenKv - seqLenQ (or kvLengths[b] - seqLenQ), as FlashAttention. Also used by `window` and `alibiSlopes`.
   * Causal, 2 queries and 4 keys:
   *
   *     top-left      bottom-right
   *     1 0 0 0       1 1 1 0
   *     1 1 0 0       1 1 1 1
   */
  causalAlign?: 'top-left' | 'bottom-right' | null;
  /** Multiplies query . key. Default 1 / sqrt(headDim). 0 is really 0. In float32 calls otherwise 2^-100 ... 2^100 in magnitude. */
  scale?: number | null;
  /** c > 0: scores become c * tanh(scores / c), after scale and before the mask. Default 0: off. In float32 calls otherwise 2^-100 ... 2^100. */
  softcap?: number | null;
  /** Row i sees keys i + offset - left <= j <= i + offset + right; a side that is missing or null: no limit. Default: none on either. */
  window?: { left?: number | null; right?: number | null } | null;
  /** [numHeads] or [batch, numHeads]: adds -slope * |i + offset - j| to the score. Default: none. */
  alibiSlopes?: TensorInput | null;
  /** [batch]: batch element b has only its first kvLengths[b] keys. Integers, 0 ... seqLenKv. Default: all keys. */
  kvLengths?: readonly number[] | Int32Array | null;
  /** Also give `weights`. Costs memory seqLenQ * seqLenKv per head. Default false. */
  returnWeights?: boolean | null;
  /** Also give `scores` of one stage: `'raw'` (scaled), `'softcapped'`, `'masked'` (what softmax sees). Default false. */
  returnScores?: false | 'raw' | 'softcapped' | 'masked' | null;
  /** Also give `logsumexp`, the natural logarithm of each row's sum of exponentials. Default false. */
  returnLogsumexp?: boolean | null;
  /** Write the output here instead of into a new array (the default): a float32 call's, with the output's shape, and no input of it. */
  out?: EngineTensor | null;
}

/** What {@link Attention.sdpa} gives. What was not asked for is null. */
export interface SdpaResult<T extends FloatArray = FloatArray> {
  /** [..., seqLenQ, headDimV], with the rank of `query`. The tensor given as `out`, if one was. */
  output: Tensor<T>;
  /** [..., seqLenQ, seqLenKv], or null. Each row sums to 1, or is 0 where nothing is visible. */
  weights: Tensor<T> | null;
  /** [..., seqLenQ, seqLenKv], or null. -Infinity where masked (stage `'masked'`). */
  scores: Tensor<T> | null;
  /** [..., seqLenQ], or null; -Infinity where nothing is visible. */
  logsumexp: Tensor<T> | null;
}

/** Options of {@link Attention.sdpaBackward}. */
export interface SdpaBackwardOptions extends Omit<SdpaOptions, 'returnWeights' | 'returnScores' | 'returnLogsumexp' | 'out'> {
  /** What {@link Attention.sdpa} gave for these arguments, to save computing it once more: together with `logsumexp`, or neither (`TypeError`). Default: computed once more. */
  output?: TensorInput | null;
  /** What sdpa gave with `returnLogsumexp`, together with `output`. Default: computed once more. */
  logsumexp?: TensorInput | null;
}

/** What {@link Attention.sdpaBackward} gives. */
export interface SdpaGradients<T extends FloatArray = FloatArray> {
  /** Of the loss with respect to `query`, in its shape. */
  gradQuery: Tensor<T>;
  /** With respect to `key`, in its shape. */
  gradKey: Tensor<T>;
  /** With respect to `value`, in its shape. */
  gradValue: Tensor<T>;
  /** The shape of `attnMask`; null without one, and for a boolean one. */
  gradAttnMask: Tensor<T> | null;
}

/** What {@link Attention.attentionSteps} gives. */
export interface AttentionSteps {
  /** scale * query . key, one per key. */
  scores: number[];
  /** softmax(scores). */
  weights: number[];
  /** sum_j weights[j] * values[j]. */
  output: number[];
}

/** Where a result goes. */
export interface OutOptions {
  /** Write the result here instead of into a new array (the default), and return it: a float32 call's, with the result's shape, and no input of it. */
  out?: EngineTensor | null;
}

/** Options of {@link Attention.rotaryEmbedding}. */
export interface RotaryEmbeddingOptions extends OutOptions {
  /**
   * cos and sin of the angles (see {@link Attention.rotaryTables}): [maxPos, rotaryDim / 2], or, without `positionIds`, gathered
   * already: [batch, seq, rotaryDim / 2]. Converted to the type of x.
   */
  cos: TensorInput;
  /** The shape of `cos`. */
  sin: TensorInput;
  /** [batch, seq]: where each row stands, 0 ... maxPos - 1. Default: row s at position s. */
  positionIds?: IntegerInput | null;
  /**
   * Pairs are (x0, x1), (x2, x3), ... (true: the paper, GPT-J, Llama's own code), or x_i and x_(i + rotaryDim / 2) (default
   * false: GPT-NeoX, Llama in transformers).
   */
  interleaved?: boolean | null;
  /** How many of a head's columns are turned; the others are copied. Even. Default: all. */
  rotaryDim?: number | null;
  /** Heads in a row of x, where they have no axis of their own. Default 1. */
  numHeads?: number | null;
}

/** Options of {@link Attention.scoreAttention}. */
export interface ScoreAttentionOptions extends SdpaOptions {
  /** Which score; {@link Attention.scoreAttention} has the formulas. */
  score: 'dot' | 'scaled-dot' | 'general' | 'additive' | 'concat';
  /** [attnDim, dimQ]: applied to queries before any score. Default: none. */
  wQuery?: TensorInput | null;
  /** [attnDim, dimK]: applied to keys before any score. Default: none. */
  wKey?: TensorInput | null;
  /** [columns of q, columns of k] for 'general', [attnDim, columns of q + columns of k] for 'concat'; there required. Default: none. */
  w?: TensorInput | null;
  /** [attnDim], for 'additive' and 'concat'. Default: ones. */
  v?: TensorInput | null;
  /** Multiplies the score. Default 1, for 'scaled-dot' 1 / sqrt(columns of q). */
  scale?: number | null;
}

/** Each in the shape of what it belongs to, null where that was not given. */
export interface ScoreAttentionGradients<T extends FloatArray = FloatArray> {
  /** With respect to `query`. */
  gradQuery: Tensor<T>;
  /** With respect to `key`. */
  gradKey: Tensor<T>;
  /** With respect to `value`. */
  gradValue: Tensor<T>;
  /** With respect to `wQuery`. */
  gradWQuery: Tensor<T> | null;
  /** With respect to `wKey`. */
  gradWKey: Tensor<T> | null;
  /** With respect to `w`. */
  gradW: Tensor<T> | null;
  /** With respect to `v`. */
  gradV: Tensor<T> | null;
  /** Of `scale`, given or not. */
  gradScale: number;
  /** Null also for a boolean mask. */
  gradAttnMask: Tensor<T> | null;
}

/** Options of {@link Attention.explain}: which row of which call. */
export interface ExplainOptions extends Pick<SdpaOptions,
    'attnMask' | 'isCausal' | 'causalAlign' | 'scale' | 'softcap' | 'window' | 'alibiSlopes' | 'kvLengths'> {
  /** The query row, 0 ... seqLenQ - 1. */
  row: number;
  /** The query head, 0 ... numHeads - 1. Default 0. */
  head?: number | null;
  /** The batch element, 0 ... batch - 1. Default 0. */
  batch?: number | null;
  /** Also give `products`. Default false. */
  products?: boolean | null;
}

/** Per key j, of seqLenKv: */
export interface Explanation {
  /** query[d] * key[j][d], [seqLenKv, headDim], where asked for, else null. */
  readonly products: Tensor<Float64Array> | null;
  /** query . key[j] */
  readonly dots: Float64Array;
  /** scale * dots[j] */
  readonly scaled: Float64Array;
  /** softcap * tanh(scaled[j] / softcap); without softcap scaled[j]. */
  readonly softcapped: Float64Array;
  /** With ALiBi and masks: what softmax sees. -Infinity outside the causal, window and length limits. */
  readonly scores: Float64Array;
  /** 1 where the score is not -Infinity, else 0. */
  readonly visible: Uint8Array;
  /** scores[j] - shift */
  readonly shifted: Float64Array;
  /** exp(shifted[j]), 0 outside the limits. */
  readonly exponentials: Float64Array;
  /** exponentials[j] / sum */
  readonly weights: Float64Array;
  /** weights[j] * value[j], [seqLenKv, headDimV]. */
  readonly weighted: Tensor<Float64Array>;
  /** The sum of weighted over the keys, [headDimV]. */
  readonly output: Float64Array;
  /** The largest score; -Infinity for a row that sees nothing. */
  readonly max: number;
  /** What is subtracted before exp: max, or 0 where max is within +-300 and exp needs no help, as for sdpa's own digits. */
  readonly shift: number;
  /** Of the exponentials. */
  readonly sum: number;
  /** log(sum) + shift; -Infinity for a row that sees nothing. */
  readonly logsumexp: number;
}

/** Of each head, means over its rows; rows whose weights are all 0 (nothing visible) are left out. */
export interface HeadStatistics {
  /** -sum w log2 w, in bits: 0 where one key has it all, log2 n for n equal ones. */
  readonly entropy: Tensor<Float64Array>;
  /** sum w |i - j|, in keys. */
  readonly distance: Tensor<Float64Array>;
  /** The weight of the key where the row itself stands, */
  readonly diagonal: Tensor<Float64Array>;
  /** of the key before it (0 where there is none), */
  readonly previous: Tensor<Float64Array>;
  /** of key 0, */
  readonly first: Tensor<Float64Array>;
  /** and the largest weight. */
  readonly max: Tensor<Float64Array>;
}

/** An engine: one build of the C core with memory of its own. Made by {@link Attention.create}. */
export class Attention {
  private constructor();

  /**
   * Loads and starts an engine. Several can live side by side, each with memory of its own; a build is fetched and
   * compiled once. An engine lives until `dispose()`.
   * Rejects with {@link AttentionError}: `'load'`, `'unsupported'`, `'memory'`.
   */
  static create(options?: CreateOptions | null): Promise<Attention>;

  /** The build that runs. */
  readonly variant: Variant;
  /** How many threads compute. */
  readonly threads: number;
  /** Bytes of memory the engine has reserved: 1 MiB at first, as much as the largest calls needed, at most 4 GiB. With threads, the memory of small calls (1 MiB at first) is counted from the first of them on. It never shrinks before `dispose()`. */
  readonly memoryBytes: number;

  /**
   * The textbook's attention of one query: `softmax(scale * keys . query) . values`, in float64.
   * `query` [d], `keys` [n, d], `values` [n, dv]; no size may be 0. `scale` is 1 by default: the plain dot product.
   * Returns the output [dv].
   */
  attention(query: TensorInput, keys: TensorInput, values: TensorInput, options?: { scale?: number | null } | null): number[];
  /** The same, with the same `scale`, and every step: scores, weights, output. */
  attentionSteps(query: TensorInput, keys: TensorInput, values: TensorInput, options?: { scale?: number | null } | null): AttentionSteps;

  /** [seqLen, seqLen]: 0 on and below the diagonal, -Infinity above. An additive `attnMask`. seqLen >= 1. */
  causalMask(seqLen: number): Tensor<Float32Array>;

  /**
   * torch.nn.functional.scaled_dot_product_attention.
   * `query` [batch, numHeads, seqLenQ, headDim], `key` [batch, numKvHeads, seqLenKv, headDim], `value`
   * [batch, numKvHeads, seqLenKv, headDimV]; also all of rank 3 ([batch, seq, dim]: one head each) or 2 ([seq, dim]).
   * Batch and head axes of size 1 broadcast. numKvHeads divides numHeads: query head h reads key and value head
   * floor(h / (numHeads / numKvHeads)). batch, seqLenQ and seqLenKv may be 0 (no key: the output is 0).
   */
  sdpa(query: TensorInput, key: TensorInput, value: TensorInput, options?: SdpaOptions | null): SdpaResult;

  /**
   * torch.nn.functional.linear: x weight^T + bias. `x` [..., inDim] of any rank, `weight` [outDim, inDim], `bias` [outDim];
   * returns [..., outDim]. Leading axes may be 0.
   */
  linear(x: TensorInput, weight: TensorInput, bias?: TensorInput | null, options?: OutOptions | null): Tensor;

  /**
   * RMSNorm (Zhang & Sennrich 2019, "Root Mean Square Layer Normalization"; ONNX RMSNormalization-23; torch.nn.functional.rms_norm)
   * over the last axis: x / sqrt(mean(x^2) + epsilon) * weight. `x` [..., dim] of any rank above 0, `weight` [dim]; a result
   * of x's shape. `epsilon` is 1e-5 by default; with 0 a row of zeros stays one. `out` may be x.
   */
  rmsNorm(x: TensorInput, weight: TensorInput, options?: OutOptions & { epsilon?: number | null } | null): Tensor;

  /**
   * SwiGLU (Shazeer 2020, "GLU Variants Improve Transformer") without its matrices, element by element:
   * gate * sigmoid(gate) * up, with sigmoid(x) = 1 / (1 + e^-x). Both of one shape, any; `out` may be either.
   */
  swiglu(gate: TensorInput, up: TensorInput, options?: OutOptions | null): Tensor;

  /**
   * Softmax of `x` along `axis` (default -1, the last), for any rank above 0: exp(x - max) / sum exp(x - max). Where
   * everything along the axis is -Infinity the result is 0; where something is NaN or Infinity, NaN.
   */
  softmax(x: TensorInput, options?: { axis?: number | null } | null): Tensor;

  /**
   * Rotary position embedding (Su et al. 2021, RoFormer, section 3.4.2), as ONNX's RotaryEmbedding-23: every row's columns are
   * turned in pairs, by the angles of the row's position, so that query . key depends on the difference of positions.
   * `x` is [batch, heads, seq, dim], or [batch, seq, heads * dim] or [seq, heads * dim] with `numHeads`; a result of the same
   * shape. Turn queries and keys, not values. `out` may be x.
   */
  rotaryEmbedding(x: TensorInput, options: RotaryEmbeddingOptions): Tensor;

  /**
   * The tables for {@link rotaryEmbedding}: cos and sin of p * theta^(-2 k / dim), [seqLen, dim / 2], for positions p and
   * pairs k. In float64; a call rounds them to its own type. `dim` is even; `theta` is 10000 by default, as in the paper.
   */
  rotaryTables(options: { seqLen: number; dim: number; theta?: number | null }): { cos: Tensor<Float64Array>; sin: Tensor<Float64Array> };

  /**
   * Attention with one of the classical scores, all else as {@link sdpa}: masks, limits, weights and scores out.
   * `query` [batch, seqLenQ, dimQ], `key` [batch, seqLenKv, dimK], `value` [batch, seqLenKv, dimV]; also ranks 2 and 4.
   * Where `wQuery` and `wKey` are given, q = wQuery query and k = wKey key; otherwise q = query, k = key. Then the score is
   *
   *     'dot'         q . k                             Luong, Pham & Manning 2015, equation 8
   *     'scaled-dot'  q . k / sqrt(dim of q)            Vaswani et al. 2017, equation 1: sdpa
   *     'general'     q . (w k)                         Luong et al. 2015, equation 8: multiplicative
   *     'additive'    v . tanh(q + k)                   Bahdanau, Cho & Bengio 2015, appendix A.1.2; wQuery and wKey are W_a and U_a
   *     'concat'      v . tanh(w [q; k])                Luong et al. 2015, equation 8
   *
   * times `scale`. Additive and concat take memory seqLenQ + seqLenKv, never their product times attnDim.
   */
  scoreAttention(query: TensorInput, key: TensorInput, value: TensorInput, options: ScoreAttentionOptions): SdpaResult;

  /**
   * How a loss changes with every input and parameter of {@link scoreAttention}, given how it changes with the output
   * (`gradOutput`, shaped like the output): the chain rule through projections, score, softmax and mean. Options as they were
   * for scoreAttention. The gradients of additive scores are computed in float64, whatever the tensors are.
   */
  scoreAttentionBackward(gradOutput: TensorInput, query: TensorInput, key: TensorInput, value: TensorInput,
                         options: Omit<ScoreAttentionOptions, 'returnWeights' | 'returnScores' | 'returnLogsumexp' | 'out'>): ScoreAttentionGradients;

  /**
   * Every term of one query row of {@link sdpa}, with true numbers: in float64 whatever the tensors are, and to the last bit
   * those of the float64 call. Options as sdpa's; `head` and `batch` default to 0.
   */
  explain(query: TensorInput, key: TensorInput, value: TensorInput, options: ExplainOptions): Explanation;

  /**
   * What a person reads off attention heads. `weights` [..., seqLenQ, seqLenKv], such as {@link SdpaResult.weights}; results
   * are float64, one number per head, with the axes that stand before. Row i stands at key i, with `causalAlign`
   * 'bottom-right' at key i + seqLenKv - seqLenQ. What is below 0 is no
   * weight and has no entropy.
   */
  headStatistics(weights: TensorInput, options?: { causalAlign?: 'top-left' | 'bottom-right' | null } | null): HeadStatistics;

  /**
   * Attention rollout (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3): how much of each output
   * comes from each input, through all layers. `weightsPerLayer`, first layer first, are [heads, seq, seq] or [batch, heads,
   * seq, seq]; the result is [seq, seq] or [batch, seq, seq], float64. Per layer:
   *
   *     a = residual * I + (1 - residual) * headFusion(weights), its rows divided by their sums;  rollout = a * rollout
   *
   * `residual` (0 ... 1, default 0.5 as in the paper) stands for what goes around the attention; `headFusion` is how heads
   * become one matrix: 'mean' (default), 'max' or 'min'.
   */
  rollout(weightsPerLayer: readonly TensorInput[],
          options?: { residual?: number | null; headFusion?: 'mean' | 'max' | 'min' | null } | null): Tensor<Float64Array>;

  /**
   * sdpa in slices of some 25 ms, so that a page stays responsive: `onProgress` hears the finished part (0 ... 1) after each,
   * and `signal` cancels between two (the promise rejects with the signal's reason; a tensor given as `out` then
   * holds part of the result). Tensors of the engine must not be freed before the promise settles.
   */
  sdpaAsync(query: TensorInput, key: TensorInput, value: TensorInput,
            options?: SdpaOptions & { signal?: AbortSignal | null; onProgress?: ((done: number) => void) | null }): Promise<SdpaResult>;

  /** Keys and values that the engine holds from one call to the next, for decoding token by token. float32. */
  kvCache(options: KvCacheOptions): KvCache;

  /**
   * The gradients of {@link sdpa}: how a number changes with query, key, value and the additive mask, given how it changes
   * with the output (`gradOutput`, shaped like the output). Options as they were for sdpa. With p the weights,
   *
   *     gradScores[i][j]   = p[i][j] * (gradOutput[i] . value[j] - gradOutput[i] . output[i])
   *     gradProducts[i][j] = gradScores[i][j] * scale                     with softcap also * (1 - tanh(scale * q . k / softcap)^2)
   *     gradQuery[i] = sum_j gradProducts[i][j] * key[j]                  gradValue[j] = sum_i p[i][j] * gradOutput[i]
   *     gradKey[j]   = sum_i gradProducts[i][j] * query[i]                gradAttnMask = gradScores
   *
   * each summed over the axes on which its input was broadcast. p is computed anew from logsumexp, block by block (Dao 2023,
   * FlashAttention-2, algorithm 2): memory grows with the sequence, not with its square, but for an attnMask of that size.
   * Rows with nothing visible and keys outside the causal, window and length limits have gradient 0. In float32 a logsumexp
   * of magnitude x is known to x * 6e-8: where a mask leaves a row nothing but scores of, say, -1e9, weights and gradients are
   * off by as many keys as it has. Hide keys by booleans or -Infinity, or take float64.
   */
  sdpaBackward(gradOutput: TensorInput, query: TensorInput, key: TensorInput, value: TensorInput,
               options?: SdpaBackwardOptions | null): SdpaGradients;

  /** torch.nn.MultiheadAttention's twin. */
  multiHeadAttention(options: MultiHeadAttentionOptions): MultiHeadAttention;

  /** Engine memory of this shape, float32, zeros. No size may be 0. */
  tensor(shape: Shape): EngineTensor;

  /** Stops the threads and gives everything back, its tensors and layers, too. Again: nothing. Afterwards everything throws code `'disposed'`. */
  dispose(): void;
  /** Whether `dispose()` was called. */
  readonly disposed: boolean;
  /** As `dispose()`, for `using`. */
  [Symbol.dispose](): void;
}

/** Options of {@link Attention.kvCache}. */
export interface KvCacheOptions {
  /** Sequences held side by side. Default 1. */
  batch?: number;
  /** Key and value heads; queries may have a multiple of them. */
  numKvHeads: number;
  /** Columns of queries and keys. */
  headDim: number;
  /** Columns of the values. Default headDim. */
  headDimV?: number;
  /** The most keys that a batch element can hold. Its memory, `bytes`, is taken at once. Needed unless there is a window, which is then the default. */
  capacity?: number;
  /**
   * Sliding window (default: none): each query sees itself and the window - 1 keys before it, and older keys are given up, so that
   * any number can be appended. The cache then has room for 2 * window keys (or capacity, if that is more), and one
   * call may append that less the window.
   */
  window?: number | null;
}

/** Keys and values that the engine holds, made by {@link Attention.kvCache}. */
export class KvCache {
  private constructor();
  /** As {@link KvCacheOptions.batch}. */
  readonly batch: number;
  /** As {@link KvCacheOptions.numKvHeads}. */
  readonly numKvHeads: number;
  /** As {@link KvCacheOptions.headDim}. */
  readonly headDim: number;
  /** As {@link KvCacheOptions.headDimV}. */
  readonly headDimV: number;
  /** The most keys that a batch element can hold; with a window, at least the window. */
  readonly capacity: number;
  /** As {@link KvCacheOptions.window}, or null. */
  readonly window: number | null;
  /** Keys held, of each batch element. */
  readonly lengths: number[];
  /** Keys held, of the longest batch element. */
  readonly length: number;
  /** Memory taken, in bytes. */
  readonly bytes: number;
  /**
   * Adds keys [batch, numKvHeads, n, headDim] and values [batch, numKvHeads, n, headDimV] behind those that are held.
   * `lengths` [batch]: of batch element b only the first lengths[b] of the n. More than there is room for: RangeError,
   * nothing added.
   */
  append(key: TensorInput, value: TensorInput, options?: { lengths?: readonly number[] | null }): this;
  /**
   * sdpa of `query` [batch, numHeads, n, headDim] against all that is held. Everything as there, but `causalAlign` is
   * `'bottom-right'` by default: with `isCausal` the last query is the last key's token. One query of a new token needs no
   * mask: append its key and value, then attend.
   */
  attend(query: TensorInput, options?: Omit<SdpaOptions, 'kvLengths'>): SdpaResult;
  /** Forgets all keys from `length` on (of each batch element; a list: its own). */
  truncate(length: number | readonly number[]): this;
  /** Forgets everything; the memory stays. */
  reset(): this;
  /** Gives the memory back. Again: nothing. */
  free(): void;
  /** Whether `free()` was called, or the engine disposed of. */
  readonly freed: boolean;
  /** As `free()`, for `using`. */
  [Symbol.dispose](): void;
}

/** Options of {@link Attention.multiHeadAttention}. */
export interface MultiHeadAttentionOptions {
  /** Columns of query and output. A multiple of numHeads. */
  embedDim: number;
  /** Query heads; each has embedDim / numHeads columns. */
  numHeads: number;
  /** Key and value heads; divides numHeads. Default numHeads. */
  numKvHeads?: number | null;
  /** Bias on the input projections and the output projection. Default true. */
  bias?: boolean | null;
  /** Columns of key. Default embedDim. */
  kdim?: number | null;
  /** Columns of value. Default embedDim. */
  vdim?: number | null;
  /** One learned key and value more (PyTorch's add_bias_kv). Default false. */
  addBiasKv?: boolean | null;
  /** One key and value of zeros more (PyTorch's add_zero_attn). Default false. */
  addZeroAttn?: boolean | null;
  /** Tensors are [batch, seq, dim] (default true) or [seq, batch, dim]. PyTorch's default is false. */
  batchFirst?: boolean | null;
  /**
   * Rotary position embedding of queries and keys after their projection, row s at position s, as in Llama: the first `dim`
   * columns of each head (default all), with angles from `theta` (default 10000), see {@link RotaryEmbeddingOptions.interleaved} and {@link Attention.rotaryTables}.
   * The keys of addBiasKv and addZeroAttn are not turned. Default: none; `{}` for all defaults.
   */
  rotary?: { theta?: number | null; dim?: number | null; interleaved?: boolean | null } | null;
  /** Parameters under PyTorch's names; as {@link MultiHeadAttention.loadStateDict}. Default: initialised from `seed`. */
  state?: StateDict | null;
  /** Of the initialisation, 0 ... 2^32 - 1. Default 0. */
  seed?: number | null;
}

/**
 * PyTorch's names, E = embedDim and kvDim = numKvHeads * headDim:
 *
 *     in_proj_weight    [3 E, E]                     where kdim, vdim and kvDim are all E; otherwise
 *     q_proj_weight     [E, E], k_proj_weight [kvDim, kdim], v_proj_weight [kvDim, vdim]
 *     in_proj_bias      [E + 2 kvDim]                with bias
 *     bias_k, bias_v    [1, 1, kvDim]                with addBiasKv
 *     out_proj.weight   [E, E]
 *     out_proj.bias     [E]                          with bias
 */
export type StateDict = Readonly<Record<string, TensorInput>>;

/** Options of {@link MultiHeadAttention.forward}. */
export interface MultiHeadAttentionForwardOptions {
  /**
   * [batch, seqLenKv] or [seqLenKv]. Boolean true = this key is BLOCKED (as in torch.nn.MultiheadAttention; the opposite
   * of {@link SdpaOptions.attnMask}). Or additive. Default: none.
   */
  keyPaddingMask?: MaskInput | null;
  /** [seqLenQ, seqLenKv] or [batch * numHeads, seqLenQ, seqLenKv]. Boolean true = BLOCKED. Or additive. Default: none. */
  attnMask?: MaskInput | null;
  /** Compute the causal mask instead of being given one; top-left aligned. Default false. (PyTorch takes is_causal as a hint beside attn_mask; here it is enough on its own.) */
  isCausal?: boolean | null;
  /** Give the weights. Default true, as in PyTorch; false is faster and takes less memory. */
  needWeights?: boolean | null;
  /** Weights as the mean over the heads. Default true, as in PyTorch. */
  averageAttnWeights?: boolean | null;
  /** Keep copies of what was given, for {@link MultiHeadAttention.backward}. Default false. */
  needGrad?: boolean | null;
}

/** What {@link MultiHeadAttention.backward} gives. */
export interface MultiHeadAttentionGradients {
  /** The shape of `query`. */
  gradQuery: Tensor;
  /** The shape of `key`; null where `key` was left out: its share is part of `gradQuery`. */
  gradKey: Tensor | null;
  /** The shape of `value`; null where `value` was left out: its share is part of what it defaulted to. */
  gradValue: Tensor | null;
  /** The shape of `attnMask`; null without one, and for a boolean one. */
  gradAttnMask: Tensor | null;
  /** The shape of `keyPaddingMask`; null without one, and for a boolean one. */
  gradKeyPaddingMask: Tensor | null;
  /** Of every parameter, under the names and with the shapes of {@link MultiHeadAttention.stateDict}. */
  gradState: Record<string, Tensor>;
}

/** What {@link MultiHeadAttention.forward} gives. */
export interface MultiHeadAttentionResult {
  /** The shape of `query`. */
  output: Tensor;
  /**
   * [batch, seqLenQ, seqLenKv + extra], or [batch, numHeads, ...] when not averaged, or null; without batch for
   * unbatched tensors. `extra` counts the learned and the zero key. A row with nothing visible is 0 (PyTorch: NaN).
   */
  weights: Tensor | null;
}

/**
 * Made by {@link Attention.multiHeadAttention}. Parameters live in the engine's memory until `free()`; from the second float32 call
 * with more than four rows on, a copy of the weights too, in the order in which products read them. They are
 * initialised as PyTorch does it: input projections Xavier uniform, output projection uniform in +-1/sqrt(embedDim),
 * biases 0, bias_k and bias_v Xavier normal, with numbers from mulberry32, so that results repeat on every machine.
 */
export class MultiHeadAttention {
  private constructor();
  /** As {@link MultiHeadAttentionOptions.embedDim}. */
  readonly embedDim: number;
  /** As {@link MultiHeadAttentionOptions.numHeads}. */
  readonly numHeads: number;
  /** As {@link MultiHeadAttentionOptions.numKvHeads}. */
  readonly numKvHeads: number;
  /** Columns of one head: embedDim / numHeads. */
  readonly headDim: number;
  /**
   * [batch, seq, dim] each (or [seq, batch, dim], see `batchFirst`), or unbatched [seq, dim]; no size may be 0.
   * key and value default to query (self-attention); value to key. Float64 tensors are computed in float64.
   */
  forward(query: TensorInput, key?: TensorInput | null, value?: TensorInput | null,
          options?: MultiHeadAttentionForwardOptions | null): MultiHeadAttentionResult;
  /**
   * The gradients of the last `forward(..., { needGrad: true })`, given that of its output (`gradOutput`, shaped like it):
   * with respect to query, key, value, additive masks and every parameter. May be called again, with another `gradOutput`. What forward
   * computed on its way is computed once more, so that a forward call with `needGrad` keeps nothing but its arguments;
   * weights that were asked for have no gradient of their own. AttentionError `'no-forward'` where there was no such
   * call, or other parameters were loaded since.
   */
  backward(gradOutput: TensorInput): MultiHeadAttentionGradients;
  /** Copies of the parameters; float64 if the state that was loaded last had float64 in it. */
  stateDict(): Record<string, Tensor>;
  /**
   * Takes parameters; a missing or unknown (`TypeError`) or misshapen one (`RangeError`) changes nothing. Float64 ones
   * are kept: float64 calls lose nothing.
   */
  loadStateDict(state: StateDict): this;
  /** Gives the memory of the parameters and their copies back. Again: nothing. Afterwards everything throws code `'disposed'`. */
  free(): void;
  /** Whether `free()` was called, or the engine disposed of. */
  readonly freed: boolean;
  /** As `free()`, for `using`. */
  [Symbol.dispose](): void;
}

/**
 * The cheat-sheet's class: self-attention with parameters of its own, those of a {@link MultiHeadAttention} with the
 * same `seed` (default 0).
 */
export class SimpleAttention {
  /**
   * `embedDim`, `numHeads` and `seed` (default 0) as in {@link MultiHeadAttentionOptions}. `engine` defaults to the first living engine that {@link Attention.create} made; AttentionError `'no-engine'` if there is none.
   */
  constructor(options: { embedDim: number; numHeads: number; seed?: number | null; engine?: Attention | null });
  /** Columns of x. */
  readonly embedDim: number;
  /** Heads, each of embedDim / numHeads columns. */
  readonly numHeads: number;
  /** Columns of one head. */
  readonly headDim: number;
  /** x [seqLen, embedDim] or [batch, seqLen, embedDim]; a result of the same shape. With `causal` (default false) row i sees rows up to i. */
  selfAttention(x: TensorInput, options?: { causal?: boolean | null } | null): Tensor;
  /** The same as `output`, with `causal` as there; `weights` [(batch,) numHeads, seqLen, seqLen] where `returnWeights` asks for them, else null. */
  forward(x: TensorInput, options?: { causal?: boolean | null; returnWeights?: boolean | null } | null): { output: Tensor; weights: Tensor | null };
  /** As {@link MultiHeadAttention.stateDict}. */
  stateDict(): Record<string, Tensor>;
  /** As {@link MultiHeadAttention.loadStateDict}. */
  loadStateDict(state: StateDict): this;
  /** As {@link MultiHeadAttention.free}. */
  free(): void;
  /** Whether `free()` was called, or the engine disposed of. */
  readonly freed: boolean;
  /** As `free()`, for `using`. */
  [Symbol.dispose](): void;
}
