// The tokenizer of karpathy/llama2.c: SentencePiece's byte-pair encoding with byte fallback, from its tokenizer.bin: the
// longest token's bytes as int32, then for each token a float32 score, its bytes' number as int32, and the bytes.
// Tokens 0, 1, 2 are unknown, beginning and end; 3 ... 258 are the bytes. Byte strings are kept as strings of one
// character for each byte.

import { isList } from '../shapes.js';
import { flag, integer, readOptions, wrongKind, wrongSize } from '../status.js';
import { bytesFrom } from './checkpoint.js';

const [BOS, EOS, FIRST_BYTE] = [1, 2, 3];
// run.c merges nothing below it.
const LOWEST_SCORE = -1e10;
// Above this it is no length of a token but another kind of file.
const LONGEST = 1 << 16;

const refuse = (expected, got) => { throw wrongSize('tokenizer', expected, got); };

function binary(bytes) {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

// Which merge comes first: the better score, then the one further left.
const isBefore = (a, b) => a.score > b.score || (a.score === b.score && a.left < b.left);

// A binary heap.
class Queue {
  #items = [];

  push(item) {
    const items = this.#items;
    let at = items.push(item) - 1;
    for (let up; at > 0 && isBefore(item, items[(up = (at - 1) >> 1)]); at = up) items[at] = items[up];
    items[at] = item;
  }

  pop() {
    const items = this.#items;
    const [first] = items;
    const last = items.pop();
    if (items.length === 0) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down + 1 < items.length && isBefore(items[down + 1], items[down])) down++;
      if (down >= items.length || !isBefore(items[down], last)) break;
      items[at] = items[down];
      at = down;
    }
    items[at] = last;
    return first;
  }
}

export class Tokenizer {
  #pieces = [];
  #scores = [];
  #ids = new Map();

  constructor(value) {
    const bytes = bytesFrom(value, 'tokenizer');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 4) refuse('at least 4 bytes', bytes.length);
    const longest = view.getInt32(0, true);
    if (longest < 1 || longest > LONGEST) refuse(`the length of its longest token, from 1 to ${LONGEST} (is this a llama2.c tokenizer?)`, longest);
    for (let at = 4; at < bytes.length;) {
      const token = this.#pieces.length;
      if (bytes.length < at + 8) refuse(`score and length of token ${token}`, `the end of the file after ${bytes.length} bytes`);
      const score = view.getFloat32(at, true);
      const length = view.getInt32(at + 4, true);
      if (!Number.isFinite(score)) refuse(`a finite score of token ${token}`, score);
      if (length < 0 || length > longest) refuse(`from 0 to ${longest} bytes in token ${token}, as the file says of its longest`, length);
      at += 8;
      if (bytes.length < at + length) refuse(`${length} bytes of token ${token}`, `the end of the file after ${bytes.length} bytes`);
      const piece = binary(bytes.subarray(at, at + length));
      this.#pieces.push(piece);
      this.#scores.push(score);
      if (!this.#ids.has(piece)) this.#ids.set(piece, token);
      at += length;
    }
    if (this.#pieces.length === 0) refuse('at least one token', 0);
    Object.freeze(this);
  }

  get vocabSize() {
    return this.#pieces.length;
  }

  encode(text, options) {
    if (typeof text !== 'string') throw wrongKind('text', 'a string', text);
    const { bos, eos } = readOptions(options, 'options', { bos: true, eos: false });
    flag(bos, 'bos');
    flag(eos, 'eos');
    for (const [wanted, id, name] of [[bos, BOS, 'bos'], [eos, EOS, 'eos']])
      if (wanted && id >= this.vocabSize) throw wrongSize(name, `false: the tokenizer has only ${this.vocabSize} tokens`, true);
    const ids = text === '' ? [] : this.#merge(this.#characters(binary(new TextEncoder().encode(` ${text}`))));
    return [...(bos ? [BOS] : []), ...ids, ...(eos ? [EOS] : [])];
  }

  // Every character that is a token, and the bytes of every other.
  #characters(text) {
    const ids = [];
    for (let at = 0; at < text.length;) {
      let end = at + 1;
      while (end < text.length && (text.charCodeAt(end) & 0xc0) === 0x80) end++;
      const character = text.slice(at, end);
      const id = this.#ids.get(character);
      if (id !== undefined) ids.push(id);
      else
        for (const byte of character) {
          const token = FIRST_BYTE + byte.charCodeAt(0);
          if (token >= this.vocabSize) throw wrongSize('text', 'characters of which the tokenizer has a token', `byte ${byte.charCodeAt(0)}`);
          ids.push(token);
        }
      at = end;
    }
    return ids;
  }

  // Two neighbours whose bytes together are a token become that token, the best score first.
  #merge(ids) {
    const next = ids.map((_, i) => i + 1);
    const previous = ids.map((_, i) => i - 1);
    const queue = new Queue();
    const offer = (left) => {
      const right = next[left];
      if (left < 0 || right >= ids.length) return;
      const id = this.#ids.get(this.#pieces[ids[left]] + this.#pieces[ids[right]]);
      const score = this.#scores[id];
      if (score > LOWEST_SCORE) queue.push({ left, right, parts: [ids[left], ids[right]], id, score });
    };
    for (let i = 0; i + 1 < ids.length; i++) offer(i);
    for (let best; (best = queue.pop());) {
      const { left, right, parts, id } = best;
      // Meanwhile either may have become part of another: then it is -1 or another, longer token.
      if (ids[left] !== parts[0] || ids[right] !== parts[1]) continue;
      ids[left] = id;
      ids[right] = -1;
      next[left] = next[right];
      if (next[left] < ids.length) previous[next[left]] = left;
      offer(left);
      offer(previous[left]);
    }
    return ids.filter((id) => id >= 0);
  }

  // The bytes of a token behind another (undefined: the first), as run.c prints it.
  #bytes(token, before) {
    if (token === BOS || token === EOS) return new Uint8Array(0);
    let piece = this.#pieces[token];
    if (before === BOS && piece.startsWith(' ')) piece = piece.slice(1);
    const [, hex] = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece) ?? [];
    return hex ? Uint8Array.of(Number.parseInt(hex, 16)) : Uint8Array.from(piece, (c) => c.charCodeAt(0));
  }

  decode(tokens) {
    if (!isList(tokens)) throw wrongKind('tokens', 'an array of tokens', tokens);
    const stream = this.stream();
    let text = '';
    for (const token of tokens) text += stream.push(token);
    return text + stream.end();
  }

  stream(before = undefined) {
    const check = (token) => integer(token, 'token', 0, this.vocabSize - 1);
    let last = before == null ? undefined : check(before);
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: (token) => {
        const bytes = this.#bytes(check(token), last);
        last = token;
        return decoder.decode(bytes, { stream: true });
      },
      end: () => decoder.decode(),
    };
  }
}
