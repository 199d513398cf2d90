/// <reference lib="esnext.disposable" />

/**
 * A Llama (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models") from a checkpoint of karpathy/llama2.c,
 * computed by an engine of this library.
 *
 * ```js
 * import { Attention } from 'spotlight-attention';
 * import { Llama } from 'spotlight-attention/llama';
 * const attn = await Attention.create();
 * const llama = await Llama.create(attn, checkpointBytes, { tokenizer: tokenizerBytes });
 * for await (const { text } of llama.generate('Once upon a time', { maxTokens: 100 })) console.log(text);
 * ```
 *
 * With x a token's row of the embedding, every layer does, and the last row gives the logits:
 *
 *     h = rmsNorm(x) * attentionNorm
 *     x = x + wo concat over heads of attention(rotary(wq h), rotary(wk h), wv h)       causal; 1 / sqrt(headDim)
 *     h = rmsNorm(x) * feedForwardNorm
 *     x = x + w2 (silu(w1 h) * (w3 h))                                                  SwiGLU
 *     logits = output (rmsNorm(x) * finalNorm)
 *
 * Rotary embedding turns the pairs (x0, x1), (x2, x3), ... of a head; query head h reads key and value head
 * floor(h / (numHeads / numKvHeads)). Everything is float32.
 *
 * Errors are as everywhere in this library: `TypeError` and `RangeError` for arguments and files, with a sentence that begins
 * with the name (`checkpoint`, `checkpoint.dim`, `tokenizer`, `tokens` ...); {@link AttentionError} of code `'memory'` or
 * `'disposed'`. `undefined` and `null` mean an option's default.
 */

import type { Attention, AttentionError, SdpaOptions, Tensor } from '../index.js';

/** Bytes of a file. They are not kept. */
export type Bytes = ArrayBuffer | SharedArrayBuffer | ArrayBufferView;
/** Numbers of tokens, each 0 ... vocabSize - 1. */
export type Tokens = readonly number[] | Int32Array;

/** What the header of a checkpoint says. */
export interface LlamaConfig {
  /** 0: the first form, float32 without a magic number; 1: "ak42", float32; 2: "ak42", int8. */
  readonly version: 0 | 1 | 2;
  /** Numbers that stand for a token from layer to layer. */
  readonly dim: number;
  /** Rows of w1 and w3, columns of w2: the feed-forward part's width. */
  readonly hiddenDim: number;
  /** How many times attention and feed-forward part follow each other. */
  readonly numLayers: number;
  /** Query heads of each layer. */
  readonly numHeads: number;
  /** Key and value heads of each layer; a divisor of numHeads. */
  readonly numKvHeads: number;
  /** How many different tokens there are. */
  readonly vocabSize: number;
  /** The most tokens that the model can see: a sequence's largest capacity. */
  readonly seqLen: number;
  /** dim / numHeads; even. */
  readonly headDim: number;
  /** Whether the embedding is the output matrix, too. */
  readonly sharedOutput: boolean;
  /** Version 2: how many numbers share a scale; else null. */
  readonly groupSize: number | null;
}

/** Of {@link Llama.create}. */
export interface LlamaOptions {
  /** A tokenizer.bin or a {@link Tokenizer}, with as many tokens as the checkpoint has. Default: none; then all is in tokens. */
  tokenizer?: Bytes | Tokenizer | null;
  /** The base of the rotary embedding's angles, which no checkpoint tells. Default 10000. */
  theta?: number | null;
  /** What rmsNorm adds to the mean of the squares; no checkpoint tells it either. Default 1e-5. */
  epsilon?: number | null;
  /** Cancels loading between two matrices: the promise rejects with its reason. Default: none. */
  signal?: AbortSignal | null;
  /** Hears the loaded part, above 0 to 1. Default: nobody does. */
  onProgress?: ((done: number) => void) | null;
}

/** Which layers and heads are to be looked at, and which are to be silent. */
export interface LookOptions {
  /** Give `weights`. Default false. */
  returnWeights?: boolean | null;
  /** Give `scores` of one stage, as {@link SdpaOptions.returnScores}. Default false. */
  returnScores?: false | 'raw' | 'softcapped' | 'masked' | null;
  /** Of these layers. Default: all. */
  layers?: readonly number[] | null;
  /** Of these heads of each layer, in this order. Default: all. */
  heads?: readonly number[] | null;
  /**
   * Heads whose output is 0 before the output projection, as if their columns of wo were 0. Of the tokens of this call:
   * what a sequence holds already stays as it was computed. Default: none.
   */
  silenced?: readonly { readonly layer: number; readonly head: number }[] | null;
}

/** Of {@link LlamaSequence.forward}. */
export interface ForwardOptions extends LookOptions {
  /** Of the last token (default), of all tokens of this call, or of none, which is faster. */
  logits?: 'last' | 'all' | 'none' | null;
  /** Give `projections`: what the heads compute their scores from. Default false. */
  returnProjections?: boolean | null;
}

/** Of one layer, of the tokens of the call; query and key are turned by the rotary embedding. */
export interface LayerProjections {
  /** [numHeads, tokens, headDim]. */
  readonly query: Tensor<Float32Array>;
  /** [numKvHeads, tokens, headDim]. */
  readonly key: Tensor<Float32Array>;
  /** [numKvHeads, tokens, headDim]. */
  readonly value: Tensor<Float32Array>;
}

/** What was asked for by {@link LookOptions}. */
export interface Looks {
  /**
   * For each layer of the model [heads, tokens of this call, tokens held], or null where not asked for; null altogether
   * without `returnWeights`. Row i of n stands at key i + held - n and sees the keys up to itself. What
   * {@link Attention.rollout} and {@link Attention.headStatistics} take.
   */
  readonly weights: readonly (Tensor<Float32Array> | null)[] | null;
  /** Likewise the scores; null altogether without `returnScores`. */
  readonly scores: readonly (Tensor<Float32Array> | null)[] | null;
}

/** Of {@link LlamaSequence.forward}. */
export interface ForwardResult extends Looks {
  /** [vocabSize], with 'all' [tokens, vocabSize], with 'none' null. */
  readonly logits: Tensor<Float32Array> | null;
  /**
   * For each layer of the model, all of its heads, or null for those not in `layers`; null altogether without
   * `returnProjections`. weights = softmax(query . key / sqrt(headDim)), causal; query head h meets key and value head
   * floor(h / (numHeads / numKvHeads)).
   */
  readonly projections: readonly (LayerProjections | null)[] | null;
}

/** Of {@link Llama.generate}. */
export interface GenerateOptions extends LookOptions {
  /** At most so many tokens; fewer where the sequence is full (seqLen). Default: until it is. */
  maxTokens?: number | null;
  /** 0 (default): always the likeliest token (the first of equals). Else tokens are drawn from softmax(logits / temperature). */
  temperature?: number | null;
  /**
   * Draw only from the fewest likeliest tokens that have more than this probability together (Holtzman et al. 2020,
   * nucleus sampling). Above 0, at most 1. Default 1: from all.
   */
  topP?: number | null;
  /** Of the generator (mulberry32), 0 ... 2^32 - 1: the same tokens on every machine but for rounding. Default 0. */
  seed?: number | null;
  /** A generator of one's own, 0 <= number < 1; called once for each token drawn. Default: the one that `seed` starts. */
  random?: (() => number) | null;
  /** Tokens that end the text. Default 1 and 2 (beginning, end) where there is a tokenizer, else none. */
  stop?: Tokens | null;
  /** Stops between two tokens, and within a long prompt: the iteration throws its reason. Default: none. */
  signal?: AbortSignal | null;
  /** Hears which part of the prompt is processed, above 0 to 1. Default: nobody does. */
  onProgress?: ((done: number) => void) | null;
}

/** One generated token. */
export interface GenerateStep extends Looks {
  /** Its number. */
  readonly token: number;
  /** What is to be appended; '' while a character is incomplete, and for the beginning and the end. null without a tokenizer. */
  readonly text: string | null;
  /** Where the token stands: how many tokens were before it. */
  readonly position: number;
  /** [vocabSize], from which the token was chosen. */
  readonly logits: Tensor<Float32Array>;
  /** Weights of the token before, for each layer [heads, 1, position]: how the choice came about. */
  readonly weights: readonly (Tensor<Float32Array> | null)[] | null;
  /** Scores of the token before, likewise. */
  readonly scores: readonly (Tensor<Float32Array> | null)[] | null;
}

/** A model in an engine's memory. */
export class Llama {
  private constructor();

  /**
   * Reads a checkpoint as llama2.c's export.py writes it: version 0, 1 (float32) or 2 (int8, matrix by matrix followed by its
   * scales, as runq.c reads it). The weights are copied into the engine's memory, as float32: int8 is expanded, to four times
   * its size. A file whose header, length or numbers cannot be right rejects with a `RangeError` that says what is wrong.
   * Loading gives way to the event loop every 25 ms; the file's memory must stay until the promise settles.
   */
  static create(attn: Attention, checkpoint: Bytes, options?: LlamaOptions | null): Promise<Llama>;

  /** What the checkpoint's header said. */
  readonly config: LlamaConfig;
  /** The tokenizer it was given, or null. */
  readonly tokenizer: Tokenizer | null;

  /**
   * A text with its keys and values, which the engine holds. Several may live side by side. `capacity`: the most tokens it
   * can hold, 1 ... seqLen (default); its memory, `bytes`, is taken at once.
   */
  sequence(options?: { capacity?: number | null } | null): LlamaSequence;

  /**
   * Writes on: yields a token at a time, in a sequence of its own that ends with the iteration (break out of the loop to
   * stop). A string begins with token 1 (the beginning) and '' is that alone; an array is taken as it is. Gives way to the
   * event loop every 25 ms. `RangeError` for no or more than seqLen tokens.
   */
  generate(prompt: string | Tokens, options?: GenerateOptions | null): AsyncGenerator<GenerateStep, void, undefined>;

  /** Gives the memory of the weights back. Again: nothing. Afterwards the model and its sequences throw code `'disposed'`. */
  free(): void;
  /** Whether {@link free} was called. */
  readonly freed: boolean;
  /** {@link free}, for `using`. */
  [Symbol.dispose](): void;
}

/** Made by {@link Llama.sequence}. */
export class LlamaSequence {
  private constructor();
  /** Whose sequence it is. */
  readonly model: Llama;
  /** The most tokens it can hold. */
  readonly capacity: number;
  /** The tokens held: a copy. */
  readonly tokens: number[];
  /** How many tokens are held. */
  readonly length: number;
  /** Memory of keys and values, in bytes. */
  readonly bytes: number;
  /**
   * Appends tokens and computes what the model says after them, all in one pass. More than there is room for: RangeError, and
   * nothing is appended.
   */
  forward(tokens: Tokens, options?: ForwardOptions | null): ForwardResult;
  /** Forgets all tokens from `length` on. */
  truncate(length: number): this;
  /** Forgets everything; the memory stays. */
  reset(): this;
  /** Gives the memory back. Again: nothing. */
  free(): void;
  /** Whether {@link free} was called. */
  readonly freed: boolean;
  /** {@link free}, for `using`. */
  [Symbol.dispose](): void;
}

/**
 * llama2.c's tokenizer, from a tokenizer.bin: SentencePiece's byte-pair encoding (Sennrich, Haddow & Birch 2016; Kudo &
 * Richardson 2018). Token 1 is the beginning, 2 the end, 3 ... 258 are bytes. Encodes as run.c does, in
 * time n log n.
 */
export class Tokenizer {
  /** `RangeError` with a sentence for a file that is broken, cut short or of another kind. */
  constructor(bytes: Bytes);
  /** How many tokens there are. */
  readonly vocabSize: number;
  /**
   * A space is put before the text (unless it is ''), every character becomes its token or, where it has none, the tokens of
   * its UTF-8 bytes; then two neighbours that together are a token become that token, the best score first, the
   * leftmost of equals. `bos` (default true) puts token 1 before, `eos` (default false) token 2 behind it.
   */
  encode(text: string, options?: { bos?: boolean | null; eos?: boolean | null } | null): number[];
  /** The text: bytes that are no UTF-8 become U+FFFD; 1 and 2 are nothing, and a space right behind 1 is dropped. */
  decode(tokens: Tokens): string;
  /** The same token by token: push gives what is complete, end what remains. `before`: the token before the first. */
  stream(before?: number | null): { push(token: number): string; end(): string };
}
