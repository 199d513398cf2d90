// What is measured: the table of targets as data. Everything is batch 1 and float32.
//
//   kind     how it is computed; see problems.mjs (what), ours.mjs and peers/ (by whom)
//   computes how, where `kind` says that it is compared with ourselves
//   quick    part of --quick
//   atLeast  targets: `peer` is how many times as fast as the better peer, `peak` the share of the register-only
//            peak, `threads` how many times as fast as one thread, each by variant or for all
//   atMost   `cost`: time over the time of the same without the causal mask
//   scale    also run a plain JavaScript loop and tfjs

const sdpa = (heads, headDim, seqLen, more = {}) =>
  ({ kind: 'sdpa', heads, kvHeads: heads, headDim, seqLenQ: seqLen, seqLenKv: seqLen, causal: false, ...more });
const decode = (seqLenKv, more) => ({ ...sdpa(8, 64, seqLenKv), seqLenQ: 1, quick: true, ...more });
const threads = (row, target) => ({ ...row, kind: 'threads', computes: row.kind, atLeast: { threads: target } });

const peer = (relaxed, simd, more) => ({ peer: { relaxed, simd }, ...more });

export const ROWS = [
  { name: 'full-16', title: 'full, 8 × 64, seq 16', ...sdpa(8, 64, 16), quick: true, atLeast: peer(1.8, 1.4) },
  { name: 'full-128', title: 'full, 8 × 64, seq 128', ...sdpa(8, 64, 128), quick: true, atLeast: peer(1.8, 1.4) },
  { name: 'full-512', title: 'full, 8 × 64, seq 512', ...sdpa(8, 64, 512), quick: true, atLeast: peer(2.3, 1.7) },
  { name: 'full-1024', title: 'full, 8 × 64, seq 1024', ...sdpa(8, 64, 1024), quick: true, atLeast: peer(2.3, 1.7, { peak: 0.8 }) },
  { name: 'full-2048', title: 'full, 8 × 64, seq 2048', ...sdpa(8, 64, 2048), quick: true, atLeast: peer(2.3, 1.7, { peak: 0.8 }) },
  { name: 'full-4096', title: 'full, 8 × 64, seq 4096', ...sdpa(8, 64, 4096), atLeast: { peak: 0.8 } },

  { name: 'causal-16', title: 'causal, 8 × 64, seq 16', ...sdpa(8, 64, 16, { causal: true }), quick: true, atLeast: peer(2.7, 2.1) },
  { name: 'causal-128', title: 'causal, 8 × 64, seq 128', ...sdpa(8, 64, 128, { causal: true }), quick: true, atLeast: peer(2.7, 2.1) },
  { name: 'causal-512', title: 'causal, 8 × 64, seq 512', ...sdpa(8, 64, 512, { causal: true }), quick: true, atLeast: peer(4.5, 3.3) },
  { name: 'causal-1024', title: 'causal, 8 × 64, seq 1024', ...sdpa(8, 64, 1024, { causal: true }), quick: true, atLeast: peer(4.5, 3.3) },
  { name: 'causal-2048', title: 'causal, 8 × 64, seq 2048', ...sdpa(8, 64, 2048, { causal: true }), quick: true, atLeast: peer(4.5, 3.3) },
  { name: 'causal-cost', title: 'causal over full, 8 × 64, seq 2048', ...sdpa(8, 64, 2048, { causal: true }), kind: 'causal-cost', atMost: { cost: 0.55 } },

  { name: 'vit', title: 'full, 12 × 80, seq 197 (a vision transformer)', ...sdpa(12, 80, 197), quick: true, atLeast: peer(2, 1.5) },
  { name: 'llama', title: 'causal, 32 query / 8 kv heads × 128, seq 512 (a small Llama)', ...sdpa(32, 128, 512, { kvHeads: 8, causal: true }), quick: true, atLeast: peer(4.5, 3.3) },

  { name: 'decode-held-1024', title: 'one query, 8 × 64, 1,024 cached keys, cache held', ...decode(1024, { kind: 'held', atLeast: peer(6, 6) }) },
  { name: 'decode-held-8192', title: 'one query, 8 × 64, 8,192 cached keys, cache held', ...decode(8192, { kind: 'held', atLeast: peer(10, 10) }) },
  { name: 'decode-copied-1024', title: 'one query, 8 × 64, 1,024 keys, copied in', ...decode(1024, { atLeast: peer(2.5, 2.5) }) },
  { name: 'decode-copied-8192', title: 'one query, 8 × 64, 8,192 keys, copied in', ...decode(8192, { atLeast: peer(2.5, 2.5) }) },

  { name: 'weights', title: 'weights returned, 8 × 64, seq 512', ...sdpa(8, 64, 512), kind: 'weights', quick: true, atLeast: peer(2, 1.5) },
  { name: 'layer-128', title: 'whole layer, embed 512, 8 heads, seq 128', ...sdpa(8, 64, 128), kind: 'layer', quick: true, atLeast: peer(1.7, 1.25) },
  { name: 'layer-512', title: 'whole layer, embed 512, 8 heads, seq 512', ...sdpa(8, 64, 512), kind: 'layer', quick: true, atLeast: peer(1.7, 1.25) },

  { name: 'scale', title: 'for scale: full, 8 × 64, seq 256', ...sdpa(8, 64, 256), scale: true, quick: true },

  // Small work has to stay on one thread; large work has to gain.
  { name: 'threads-1', title: 'two threads: one query, 1,024 keys', ...threads(decode(1024), 1) },
  { name: 'threads-16', title: 'two threads: full, 8 × 64, seq 16', ...threads(sdpa(8, 64, 16), 1) },
  { name: 'threads-64', title: 'two threads: full, 8 × 64, seq 64', ...threads(sdpa(8, 64, 64), 1) },
  { name: 'threads-128', title: 'two threads: full, 8 × 64, seq 128', ...threads(sdpa(8, 64, 128), 1) },
  { name: 'threads-512', title: 'two threads: full, 8 × 64, seq 512', ...threads(sdpa(8, 64, 512), 1.8), quick: true },
  { name: 'threads-2048', title: 'two threads: full, 8 × 64, seq 2048', ...threads(sdpa(8, 64, 2048), 1.8) },
  { name: 'threads-held', title: 'two threads: one query, 8,192 cached keys, cache held', ...threads(decode(8192, { kind: 'held', quick: false }), 1.8) },
  { name: 'threads-causal', title: 'two threads: causal, 8 × 64, seq 1024', ...threads(sdpa(8, 64, 1024, { causal: true }), 1.8) },
  { name: 'threads-one-head', title: 'two threads: full, one head × 64, seq 2048', ...threads(sdpa(1, 64, 2048), 1.8) },
];

/** The rows whose names begin with one of the words of a list such as 'full,decode-held'; all without a list. */
export function chooseRows({ only, quick }) {
  const words = only?.split(',') ?? [];
  for (const word of words)
    if (!ROWS.some(({ name }) => name.startsWith(word)))
      throw new Error(`no row begins with '${word}'; there are ${ROWS.map(({ name }) => name).join(', ')}`);
  return ROWS.filter((row) => (only ? words.some((word) => row.name.startsWith(word)) : !quick || row.quick));
}
