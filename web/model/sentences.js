// The language that the shipped model learned: simple English sentences, made by a seeded generator, in which four
// skills are needed and every use of one is written down.
//
//   agreement  The keys to the old cabinet [are] on the table .          the verb takes the number of its subject
//   pronoun    Tom gave Lily [his] ball . [She] was glad .               the pronoun takes gender and number of its antecedent
//   neighbour  Lily bought bread , a needle and [thread] .               a fixed phrase is closed by its other half
//   compound   Sam saw Rose in Hong [Kong] .                             the same in two words: the first alone says the second
//   distant    Anna began : " ... " So spoke [Anna] .                    a name is taken up after what others did
//
// Pure, without imports: random() gives numbers in [0, 1), such as a seeded mulberry32.

const MALE = ['Tom', 'Ben', 'Sam', 'Max', 'Jack', 'Paul', 'Leo', 'Karl'];
const FEMALE = ['Lily', 'Anna', 'Mia', 'Eva', 'Rose', 'Jane', 'Lucy', 'Nora'];
const GROUPS = ['twins', 'boys', 'girls', 'children', 'neighbours', 'guests'];
const NAMES = [...MALE, ...FEMALE];

const PRONOUNS = {
  he: { start: 'He', subject: 'he', possessive: 'his', was: 'was' },
  she: { start: 'She', subject: 'she', possessive: 'her', was: 'was' },
  they: { start: 'They', subject: 'they', possessive: 'their', was: 'were' },
};

// [singular, plural]
const NOUNS = [
  ['key', 'keys'], ['cabinet', 'cabinets'], ['door', 'doors'], ['box', 'boxes'], ['letter', 'letters'],
  ['picture', 'pictures'], ['book', 'books'], ['lamp', 'lamps'], ['chair', 'chairs'], ['table', 'tables'],
  ['house', 'houses'], ['garden', 'gardens'], ['dog', 'dogs'], ['cat', 'cats'], ['horse', 'horses'], ['tree', 'trees'],
];
const PREPOSITIONS = ['to', 'near', 'behind', 'under', 'beside'];
const ADJECTIVES = ['old', 'big', 'small', 'red', 'blue', 'clean', 'dirty', 'pretty', 'wet', 'dry'];
const BE = [['is', 'are'], ['was', 'were']];
const HAVE = ['has', 'have'];
const LOOK = ['looks', 'look'];
const STAND = ['stands', 'stand'];

const GIFTS = ['ball', 'hat', 'kite', 'coat', 'ring', 'drum', 'pencil', 'bike'];
// A thing goes from the subject to the other after the first verbs, to the subject after the second; who has it then is
// glad.
const GIVE = ['gave', 'showed', 'sent', 'lent'];
const TAKE = ['took', 'borrowed', 'stole', 'got'];
// Who was so that it made the one do that to the other: the other after the first verbs, the one after the second.
const BECAUSE_OBJECT = ['praised', 'admired', 'trusted', 'rewarded'];
const BECAUSE_SUBJECT = ['pleased', 'amused', 'surprised', 'annoyed'];
const MOODS = ['kind', 'clever', 'funny', 'brave', 'loud'];
const MEET = ['thanked', 'followed', 'called', 'saw', 'met', 'helped'];

// [article, first, link, second]
const PHRASES = [
  ['', 'salt', 'and', 'pepper'], ['', 'bread', 'and', 'butter'], ['', 'milk', 'and', 'honey'], ['', 'soap', 'and', 'water'],
  ['', 'fish', 'and', 'chips'], ['', 'shoes', 'and', 'socks'], ['', 'eggs', 'and', 'bacon'], ['', 'rice', 'and', 'beans'],
  ['a', 'knife', 'and', 'fork'], ['a', 'needle', 'and', 'thread'], ['a', 'hammer', 'and', 'nails'], ['a', 'pen', 'and', 'paper'],
  ['a', 'cup', 'and', 'saucer'], ['a', 'bucket', 'and', 'spade'], ['a', 'bottle', 'and', 'cork'], ['a', 'pot', 'and', 'lid'],
  ['a', 'cup', 'of', 'tea'], ['a', 'bucket', 'of', 'sand'], ['a', 'bottle', 'of', 'wine'], ['a', 'pot', 'of', 'glue'],
  ['a', 'loaf', 'of', 'rye'], ['a', 'pair', 'of', 'gloves'], ['a', 'piece', 'of', 'cake'], ['a', 'bowl', 'of', 'soup'],
];
const SECONDS = PHRASES.map(([, , , second]) => second);
const BUY = ['bought', 'found', 'brought', 'wanted'];
// [words before, first, second]
const PLACES = [
  ['in', 'New', 'York'], ['in', 'Hong', 'Kong'], ['in', 'Los', 'Angeles'], ['in', 'Cape', 'Town'], ['at', 'Lake', 'Como'],
  ['in', 'San', 'Marino'], ['at', 'post', 'office'], ['at', 'swimming', 'pool'],
];
const PLACE_SECONDS = PLACES.map(([, , second]) => second);

export const SKILLS = ['agreement', 'pronoun', 'neighbour', 'compound', 'distant'];

/** Every word that a sentence can hold; a word's token is its place in this list. Token 0 starts each row. */
export const VOCABULARY = [
  ...new Set([
    '<bos>', '.', ',', ':', '"', 'The', 'the', 'a', 'and', 'of', 'that', 'because', 'been', 'on', 'in', 'at',
    ...NAMES, ...GROUPS,
    ...Object.values(PRONOUNS).flatMap(({ start, subject, possessive }) => [start, subject, possessive]),
    ...NOUNS.flat(), ...PREPOSITIONS, ...ADJECTIVES, ...BE.flat(), ...HAVE, ...LOOK, ...STAND,
    ...GIFTS, ...GIVE, ...TAKE, 'from', ...BECAUSE_OBJECT, ...BECAUSE_SUBJECT, ...MOODS, ...MEET,
    ...PHRASES.flatMap(([, first, , second]) => [first, second]), ...BUY,
    ...PLACES.flatMap(([, first, second]) => [first, second]),
    'said', 'thought', 'Near', 'Behind', 'Beside', 'glad', 'When', 'slept', 'sang', 'began', 'So', 'spoke', 'left', 'home', 'At', 'last', 'came', 'back',
  ]),
];

const TOKENS = new Map(VOCABULARY.map((word, token) => [word, token]));

/** The tokens of these words; undefined where the model does not know one. */
export const tokensOf = (words) => words.map((word) => TOKENS.get(word));

/**
 * One sentence in the making. A use of a skill is { skill, position, source, distractors, right, wrong }: the word at
 * `position` must be `right` and none of `wrong`; what decides it stands at `source`. Each distractor { position, word }
 * is something like the source that would decide for `word`. Positions count words from 0.
 */
class Draft {
  constructor(random) {
    this.random = random;
    this.words = [];
    this.uses = [];
    this.people = []; // { name, position } of every name
  }

  chance = (probability) => this.random() < probability;
  below = (bound) => Math.floor(this.random() * bound);
  pick = (list) => list[this.below(list.length)];

  // Adds words; returns the position of the last one.
  say(...words) {
    this.words.push(...words);
    return this.words.length - 1;
  }

  use(skill, source, distractors, right, wrong) {
    this.uses.push({ skill, position: this.words.length, source, distractors, right, wrong: [...new Set(wrong)].filter((word) => word !== right) });
    return this.say(right);
  }

  // At the start of a sentence the article is written large.
  the = (starts) => this.say(starts ? 'The' : 'the');

  sayName(name) {
    const position = this.say(name);
    this.people.push({ name, position });
    return position;
  }
}

const kindOf = (name) => (MALE.includes(name) ? 'he' : 'she');

// Someone not among `but`: { name, kind }, a name, or a group where that is allowed.
function someone(draft, but, kinds = ['he', 'she']) {
  const kind = draft.pick(kinds);
  const list = { he: MALE, she: FEMALE, they: GROUPS }[kind].filter((name) => !but.includes(name));
  return { name: draft.pick(list), kind };
}

function sayPerson(draft, { name, kind }, starts = false) {
  if (kind !== 'they') return draft.sayName(name);
  draft.the(starts);
  return draft.say(name);
}

function noun(draft, number) {
  if (draft.chance(0.25)) draft.say(draft.pick(ADJECTIVES));
  return draft.say(draft.pick(NOUNS)[number]);
}

// The keys to the cabinet [are] ...
function agreement(draft, but) {
  const number = draft.below(2);
  const verb = draft.pick([...BE, ...BE, HAVE, LOOK, STAND]);
  const distractors = [];
  const distract = (position, other) => distractors.push({ position, word: verb[other] });
  const intro = draft.random();
  if (intro < 0.35) {
    const one = someone(draft, but, ['he', 'she', 'they']);
    distract(sayPerson(draft, one, true), one.kind === 'they' ? 1 : 0);
    draft.say(draft.pick(['said', 'thought']), 'that');
  } else if (intro < 0.6) {
    const other = draft.chance(0.65) ? 1 - number : number;
    draft.say(draft.pick(['Near', 'Behind', 'Beside']), 'the');
    distract(noun(draft, other), other);
    draft.say(',');
  }
  draft.the(intro >= 0.6);
  const source = noun(draft, number);
  const share = draft.random();
  const modifiers = share < 0.1 ? 0 : share < 0.6 ? 1 : share < 0.9 ? 2 : 3;
  for (let m = 0; m < modifiers; m++) {
    const other = draft.chance(0.65) ? 1 - number : number;
    if (draft.chance(0.75)) {
      draft.say(draft.pick(PREPOSITIONS), 'the');
      distract(noun(draft, other), other);
    } else {
      draft.say('that');
      distract(sayPerson(draft, someone(draft, but, other === 0 ? ['he', 'she'] : ['they'])), other);
      draft.say(draft.pick(['found', 'bought']));
    }
  }
  draft.use('agreement', source, distractors, verb[number], verb);
  if (verb === HAVE) draft.say('been', draft.pick(ADJECTIVES));
  else if (verb === LOOK || (verb !== STAND && draft.chance(0.6))) draft.say(draft.pick(ADJECTIVES));
  else {
    draft.say(verb === STAND ? draft.pick(PREPOSITIONS.slice(1)) : 'on', 'the');
    noun(draft, draft.below(2));
  }
  draft.say('.');
}

// near the door
function where(draft) {
  if (draft.chance(0.6)) return;
  draft.say(draft.pick(['near', 'behind', 'beside']), 'the');
  noun(draft, draft.below(2));
}

function usePronoun(draft, form, antecedent, other) {
  const wrong = Object.values(PRONOUNS).map((pronoun) => pronoun[form]);
  const distractor = { position: other.position, word: PRONOUNS[other.kind][form] };
  draft.use('pronoun', antecedent.position, [distractor], PRONOUNS[antecedent.kind][form], wrong);
}

// Two people, mostly not called by the same pronoun.
function twoPeople(draft, but) {
  const kinds = ['he', 'she', 'they'];
  const one = someone(draft, but, kinds);
  const others = draft.chance(0.1) ? kinds : kinds.filter((kind) => kind !== one.kind);
  return [one, someone(draft, [...but, one.name], others)];
}

// Tom gave the twins [his] ball . [They] were glad .     Tom praised the twins because [they] were kind .
function pronoun(draft, but) {
  const [one, other] = twoPeople(draft, but);
  one.position = sayPerson(draft, one, true);
  const because = draft.chance(0.4);
  if (because) {
    const subject = draft.chance(0.5);
    draft.say(draft.pick(subject ? BECAUSE_SUBJECT : BECAUSE_OBJECT));
    other.position = sayPerson(draft, other);
    where(draft);
    draft.say('because');
    const [antecedent, left] = subject ? [one, other] : [other, one];
    usePronoun(draft, 'subject', antecedent, left);
    draft.say(PRONOUNS[antecedent.kind].was, draft.pick(MOODS), '.');
    return;
  }
  const gives = draft.chance(0.5);
  draft.say(draft.pick(gives ? GIVE : TAKE));
  if (gives) {
    other.position = sayPerson(draft, other);
    usePronoun(draft, 'possessive', one, other);
    draft.say(draft.pick(GIFTS));
  } else {
    draft.say('a', draft.pick(GIFTS), 'from');
    other.position = sayPerson(draft, other);
  }
  where(draft);
  draft.say('.');
  const [has, lacks] = gives ? [other, one] : [one, other];
  usePronoun(draft, 'start', has, lacks);
  draft.say(PRONOUNS[has.kind].was, 'glad', '.');
}

// bread , a needle and [thread]
function items(draft) {
  const loose = []; // first halves that stay alone
  const said = [];
  const unsaid = () => {
    const phrase = draft.pick(PHRASES.filter(([, first]) => !said.includes(first)));
    said.push(phrase[1]);
    return phrase;
  };
  const count = draft.chance(0.5) ? 1 : 2;
  for (let i = 0; i < count; i++) {
    if (i > 0) draft.say(',');
    if (draft.chance(0.6)) {
      const [article, first, , second] = unsaid();
      if (article) draft.say(article);
      loose.push({ position: draft.say(first), word: second });
      draft.say(',');
    }
    const [article, first, link, second] = unsaid();
    if (article) draft.say(article);
    const source = draft.say(first);
    draft.say(link);
    draft.use('neighbour', source, [...loose], second, SECONDS);
  }
}

function place(draft) {
  const [before, first, second] = draft.pick(PLACES);
  draft.say(before);
  if (first[0] === first[0].toLowerCase()) draft.say('the');
  const source = draft.say(first);
  draft.use('compound', source, [], second, PLACE_SECONDS);
}

function neighbour(draft, but) {
  const one = someone(draft, but, ['he', 'she', 'they']);
  sayPerson(draft, one, true);
  if (one.kind !== 'they' && draft.chance(0.3)) {
    draft.say('and');
    draft.sayName(someone(draft, [...but, one.name]).name);
  }
  draft.say(draft.pick(BUY));
  items(draft);
  if (draft.chance(0.4)) place(draft);
  draft.say('.');
}

function meeting(draft, but) {
  const [one, other] = twoPeople(draft, but);
  sayPerson(draft, one, true);
  draft.say(draft.pick(MEET));
  sayPerson(draft, other);
  if (draft.chance(0.6)) place(draft);
  draft.say('.');
}

const INNER = [agreement, pronoun, neighbour, meeting, meeting, meeting];
const MAX_WORDS = 47; // longer ones are drawn anew

// Anna began : " ... " So spoke [Anna] .     Anna left home . ... At last [Anna] came back .
function distant(draft) {
  const { name } = someone(draft, []);
  if (draft.chance(0.5)) {
    draft.say('When');
    draft.sayName(someone(draft, [name]).name);
    draft.say(draft.pick(['slept', 'sang']), ',');
  }
  const source = draft.sayName(name);
  const speaks = draft.chance(0.5);
  draft.say(...(speaks ? ['began', ':', '"'] : ['left', 'home', '.']));
  let names;
  do {
    draft.pick(INNER)(draft, [name]);
    names = new Set(draft.people.map((person) => person.name)).size;
  } while (names < 3 || (draft.words.length < MAX_WORDS - 20 && draft.chance(0.4)));
  draft.say(...(speaks ? ['"', 'So', 'spoke'] : ['At', 'last']));
  const others = draft.people.filter((person) => person.name !== name).map((person) => ({ position: person.position, word: person.name }));
  draft.use('distant', source, others, name, NAMES);
  draft.say(...(speaks ? ['.'] : ['came', 'back', '.']));
}

const MAKERS = { agreement, pronoun, neighbour, meeting, distant };
const SHARES = [['agreement', 0.27], ['pronoun', 0.26], ['neighbour', 0.14], ['meeting', 0.05], ['distant', 0.28]];

function draw(random, kind) {
  const draft = new Draft(random);
  let share = random();
  const drawn = kind ?? (SHARES.find(([, size]) => (share -= size) < 0) ?? SHARES[0])[0];
  MAKERS[drawn](draft, []);
  return { words: draft.words, uses: draft.uses };
}

// FNV-1a (Fowler, Noll & Vo): tells the sentences that training never sees.
function hash(text) {
  let mixed = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) mixed = Math.imul(mixed ^ text.charCodeAt(i), 0x01000193);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

/** One sentence in 16 is held out: which one depends on its words alone. */
export const isHeldOut = (words) => hash(words.join(' ')) % 16 === 0;

/**
 * A sentence { words, uses }, for training or held out. `kind` is one of agreement, pronoun, neighbour, distant and
 * meeting (which uses compounds only); without it all are mixed as in training.
 */
export function sentence(random, { heldOut = false, kind } = {}) {
  if (kind !== undefined && !Object.hasOwn(MAKERS, kind)) throw new RangeError(`there is no kind of sentence ${kind}: ${Object.keys(MAKERS).join(', ')}`);
  for (;;) {
    const made = draw(random, kind);
    if (made.words.length <= MAX_WORDS && isHeldOut(made.words) === heldOut) return made;
  }
}

/**
 * What the model is trained on: { tokens, used }. tokens are <bos>, then sentences (with their options) until `length`
 * is full; the last one may be cut. used says of each token whether a skill was needed for it.
 */
export function row(random, length, options) {
  const tokens = [0];
  const used = [false];
  while (tokens.length < length) {
    const { words, uses } = sentence(random, options);
    const positions = new Set(uses.map(({ position }) => position));
    tokens.push(...tokensOf(words));
    used.push(...words.map((_, position) => positions.has(position)));
  }
  return { tokens: tokens.slice(0, length), used: used.slice(0, length) };
}
