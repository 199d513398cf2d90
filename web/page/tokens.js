// Text to tokens: the words and marks of a sentence. Pure; also runs in Node.

/** More would be drawn but no longer read; longer sequences come in as files. */
export const MAX_TOKENS = 512;

/** { tokens, dropped }: at most MAX_TOKENS words and marks, and how many were left out. */
export function tokenize(text) {
  const tokens = [];
  let dropped = 0;
  for (const word of words(String(text).normalize('NFC'))) {
    if (tokens.length < MAX_TOKENS) tokens.push(word);
    else dropped += 1;
  }
  return { tokens, dropped };
}

function* words(text) {
  if (typeof Intl !== 'undefined' && Intl.Segmenter) {
    // One locale for everybody: the same text must give the same tokens on every machine.
    for (const { segment } of new Intl.Segmenter('en', { granularity: 'word' }).segment(text)) {
      const word = segment.replace(/[\s\p{Cc}]/gu, '');
      if (word) yield word;
    }
    return;
  }
  for (const [word] of text.matchAll(/[\p{L}\p{M}\p{N}'’]+|[^\s\p{Cc}]/gu)) yield word;
}

/** What counts as the same word: "The" and "the" are one. */
export function wordKey(token) {
  return token.toLowerCase();
}

/** A token with its place, from 1; a token without a name of its own is its place already. */
export function placed(token, index) {
  return token + placeAfter(token, index);
}

/** What follows a token that is written on its own. */
export function placeAfter(token, index) {
  return token === String(index + 1) ? '' : ` ${index + 1}`;
}
