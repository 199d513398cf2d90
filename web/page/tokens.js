// Text to tokens: the words and marks of a sentence. Pure; also runs in Node.

/** More would be drawn but no longer read; longer sequences come in as files. */
export const MAX_TOKENS = 512;

/** Signs that nobody sees and that make no other word of a word: spaces of no width, soft hyphens, changes of direction. */
const UNSEEN = /[\s\p{Cc}\p{Bidi_Control}\u00AD\u200B\u2060\uFEFF]/gu;
/** Joiners and selectors of a form belong to what they join; alone they are no word. */
const INVISIBLE = /^\p{Default_Ignorable_Code_Point}*$/u;

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
  for (const part of parts(text)) {
    const word = part.replace(UNSEEN, '');
    if (!INVISIBLE.test(word)) yield word;
  }
}

function* parts(text) {
  if (typeof Intl !== 'undefined' && Intl.Segmenter) {
    // One locale for everybody: the same text must give the same tokens on every machine.
    for (const { segment } of new Intl.Segmenter('en', { granularity: 'word' }).segment(text)) yield segment;
    return;
  }
  for (const [part] of text.matchAll(/[\p{L}\p{M}\p{N}'’]+|[^\s\p{Cc}]/gu)) yield part;
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
