// The generator of sentences: what it says of them is true, and rules of thumb do not do.
import assert from 'node:assert/strict';
import test from 'node:test';

import { mulberry32 } from '../../web/lib/random.js';
import { SKILLS, VOCABULARY, isHeldOut, row, sentence, tokensOf } from '../../web/model/sentences.js';

const KINDS = ['agreement', 'pronoun', 'neighbour', 'meeting', 'distant'];

function sentences(count, seed, options) {
  const random = mulberry32(seed);
  return Array.from({ length: count }, () => sentence(random, options));
}

// What a word is, told from outside the generator: by spelling and by lists made by hand.
const MALE = new Set(['Tom', 'Ben', 'Sam', 'Max', 'Jack', 'Paul', 'Leo', 'Karl']);
const FEMALE = new Set(['Lily', 'Anna', 'Mia', 'Eva', 'Rose', 'Jane', 'Lucy', 'Nora']);
const isPlural = (word) => word.endsWith('s') || word === 'children';
const PLURAL_VERBS = new Set(['are', 'were', 'have', 'look', 'stand']);
const SINGULAR_VERBS = new Set(['is', 'was', 'has', 'looks', 'stands']);
const pronounKind = (word) =>
  ({ he: 'male', his: 'male', she: 'female', her: 'female', they: 'plural', their: 'plural' })[word.toLowerCase()];
const personKind = (word) => (MALE.has(word) ? 'male' : FEMALE.has(word) ? 'female' : 'plural');

test('the same seed gives the same sentences, another seed others', () => {
  assert.deepEqual(sentences(200, 5), sentences(200, 5));
  assert.notDeepEqual(sentences(20, 5), sentences(20, 6));
  assert.deepEqual(row(mulberry32(5), 64), row(mulberry32(5), 64));
});

test('the vocabulary has no word twice, and every word that is said', () => {
  assert.equal(new Set(VOCABULARY).size, VOCABULARY.length);
  assert.ok(VOCABULARY.length >= 150 && VOCABULARY.length <= 300, `${VOCABULARY.length} words`);
  const said = new Set(sentences(20_000, 1).flatMap(({ words }) => words));
  assert.deepEqual([...said].filter((word) => !VOCABULARY.includes(word)), []);
  assert.deepEqual(VOCABULARY.slice(1).filter((word) => !said.has(word)), [], 'words that no sentence holds');
  assert.deepEqual(tokensOf(['<bos>', 'xylophone', '.']), [0, undefined, 1]);
});

test('sentences are whole and short enough', () => {
  for (const kind of KINDS)
    for (const { words } of sentences(500, 2, { kind })) {
      assert.ok(words.length <= 47, words.join(' '));
      assert.equal(words.at(-1), '.');
      assert.match(words[0], /^[A-Z]/);
    }
  assert.throws(() => sentence(mulberry32(1), { kind: 'riddle' }), RangeError);
  assert.throws(() => sentence(mulberry32(1), { kind: 'constructor' }), RangeError);
});

test('each use is where it says, its source and distractors stand before it', () => {
  const seen = new Set();
  for (const { words, uses } of sentences(5000, 3))
    for (const { skill, position, source, distractors, right, wrong } of uses) {
      seen.add(skill);
      const text = words.join(' ');
      assert.equal(words[position], right, text);
      assert.ok(source < position && distractors.every((other) => other.position < position && other.position !== source), text);
      assert.ok(wrong.length > 0 && !wrong.includes(right), text);
      assert.ok([right, ...wrong, ...distractors.map(({ word }) => word)].every((word) => VOCABULARY.includes(word)), text);
      assert.ok(distractors.every(({ word }) => word === right || wrong.includes(word)), text);
    }
  assert.deepEqual([...seen].sort(), [...SKILLS].sort());
});

test('verbs have the number of their source, and distractors that of theirs', () => {
  for (const { words, uses } of sentences(3000, 4, { kind: 'agreement' })) {
    const [use] = uses;
    assert.equal(uses.length, 1);
    const verbs = (position) => (isPlural(words[position]) ? PLURAL_VERBS : SINGULAR_VERBS);
    assert.ok(verbs(use.source).has(use.right), words.join(' '));
    for (const { position, word } of use.distractors) assert.ok(verbs(position).has(word), words.join(' '));
    // The subject is the first noun after "that" of an intro, after its comma, or of the sentence.
    const starts = Math.max(words.indexOf(','), ['said', 'thought'].includes(words[isPlural(words[1]) ? 2 : 1]) ? words.indexOf('that') : -1);
    const articles = words.slice(starts + 1, use.source);
    assert.ok(articles.length <= 2 && articles[0].toLowerCase() === 'the', words.join(' '));
  }
});

const GIVES = new Set(['gave', 'showed', 'sent', 'lent']);
const TAKES = new Set(['took', 'borrowed', 'stole', 'got']);
const OBJECT_IS = new Set(['praised', 'admired', 'trusted', 'rewarded']);
const SUBJECT_IS = new Set(['pleased', 'amused', 'surprised', 'annoyed']);
const GROUPS = new Set(['twins', 'boys', 'girls', 'children', 'neighbours', 'guests']);

test('pronouns have gender and number of their source, which the verb tells', () => {
  for (const { words, uses } of sentences(3000, 5, { kind: 'pronoun' })) {
    const text = words.join(' ');
    const people = words.flatMap((word, position) => (MALE.has(word) || FEMALE.has(word) || GROUPS.has(word) ? [position] : []));
    assert.equal(people.length, 2, text);
    const [subject, other] = people;
    const verb = words[subject + 1];
    const expected = GIVES.has(verb) ? [subject, other] : TAKES.has(verb) || SUBJECT_IS.has(verb) ? [subject] : OBJECT_IS.has(verb) ? [other] : [];
    assert.deepEqual(uses.map(({ source }) => source), expected, text);
    for (const use of uses) {
      assert.equal(pronounKind(use.right), personKind(words[use.source]), text);
      assert.deepEqual(use.distractors.map(({ position }) => position), people.filter((position) => position !== use.source), text);
      assert.equal(pronounKind(use.distractors[0].word), personKind(words[use.distractors[0].position]), text);
    }
  }
});

test('a phrase is closed by the word that always closes it, two words after its first', () => {
  const seconds = new Map();
  for (const { words, uses } of sentences(5000, 6, { kind: 'neighbour' }))
    for (const { skill, position, source, right } of uses) {
      const first = words.slice(source, position).join(' ');
      assert.equal(position - source, skill === 'compound' ? 1 : 2, words.join(' '));
      assert.equal(seconds.get(first) ?? right, right, words.join(' '));
      seconds.set(first, right);
    }
  assert.equal(seconds.size, 32);
  const links = [...seconds.keys()].filter((first) => first.startsWith('cup '));
  assert.deepEqual(links.sort(), ['cup and', 'cup of'], 'the first word alone does not tell');
});

test('a distant name is the one who spoke or left, far away, and never named in between', () => {
  const distances = [];
  for (const { words, uses } of sentences(2000, 7, { kind: 'distant' })) {
    const use = uses.at(-1);
    const text = words.join(' ');
    assert.equal(use.skill, 'distant');
    assert.equal(words[use.source], use.right);
    assert.ok(['began', 'left'].includes(words[use.source + 1]), text);
    assert.equal(words.filter((word) => word === use.right).length, 2, text);
    const names = words.flatMap((word, position) => (word !== use.right && (MALE.has(word) || FEMALE.has(word)) ? [{ position, word }] : []));
    assert.deepEqual(use.distractors, names, text);
    assert.ok(new Set(names.map(({ word }) => word)).size >= 2, text);
    distances.push(use.position - use.source);
  }
  const mean = distances.reduce((sum, distance) => sum + distance, 0) / distances.length;
  assert.ok(mean > 20, `${mean} words on average`);
});

// A share of 3000 sentences is wrong by 0.02 with two standard deviations.
test('rules of thumb fail: the last candidate, the first, the most frequent word', () => {
  const share = (skill, kind, says) => {
    const uses = sentences(3000, 8, { kind }).flatMap((made) => made.uses.filter((use) => use.skill === skill).map((use) => ({ ...use, words: made.words })));
    return uses.filter((use) => says(use) === use.right).length / uses.length;
  };
  const candidates = ({ source, right, distractors }) => [{ position: source, word: right }, ...distractors].sort((a, b) => a.position - b.position);
  const last = (use) => candidates(use).at(-1).word;
  const first = (use) => candidates(use)[0].word;
  const below = (value, bound, what) => assert.ok(value < bound, `${what}: right ${Math.round(100 * value)} % of the time`);
  below(share('agreement', 'agreement', last), 0.55, 'the last noun decides the verb');
  below(share('agreement', 'agreement', first), 0.8, 'the first noun decides the verb');
  for (const verb of ['is', 'are', 'was', 'were']) below(share('agreement', 'agreement', () => verb), 0.3, `always ${verb}`);
  below(share('pronoun', 'pronoun', last), 0.65, 'the last person is meant');
  below(share('pronoun', 'pronoun', first), 0.65, 'the first person is meant');
  below(share('neighbour', 'neighbour', first), 0.5, 'the first half of the first phrase');
  below(share('distant', 'distant', last), 0.05, 'the last name comes back');
  below(share('distant', 'distant', first), 0.6, 'the first name comes back');
});

test('one sentence in 16 is held out, none is in both parts', () => {
  const all = sentences(4000, 9).map(({ words }) => words);
  const held = sentences(300, 9, { heldOut: true }).map(({ words }) => words);
  assert.ok(all.every((words) => !isHeldOut(words)));
  assert.ok(held.every((words) => isHeldOut(words)));
  const trained = new Set(all.map((words) => words.join(' ')));
  assert.ok(!held.some((words) => trained.has(words.join(' '))));
});

test('rows start with <bos>, are full, are sentences one after the other, and mark the words that need a skill', () => {
  const { tokens, used } = row(mulberry32(10), 200);
  assert.equal(tokens.length, 200);
  assert.equal(used.length, 200);
  const random = mulberry32(10);
  const words = ['<bos>'];
  const marked = [];
  while (words.length < 200) {
    const made = sentence(random);
    marked.push(...made.uses.map(({ position }) => words.length + position));
    words.push(...made.words);
  }
  assert.deepEqual(tokens, tokensOf(words).slice(0, 200));
  assert.deepEqual(used.flatMap((is, i) => (is ? [i] : [])), marked.filter((i) => i < 200).sort((a, b) => a - b));
});
