// The page's English words about models. Functions where a sentence has numbers or tokens in it.

import { format, percent } from '../scales.js';

const plural = (count, one, many) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
const list = (words) => (words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`);
const quoted = (word) => `“${word}”`;
/** A share that must not be rounded up to all. */
const exact = (share) => (share === 1 ? '100 %' : `${format(100 * share, 1)} %`);
/** Heads are named by layer and head, both from 1. */
const short = ({ layer, head }) => `${layer + 1}.${head + 1}`;

const skills = {
  agreement: { name: 'Agreement', of: 'subject and verb', verb: 'reads the subject', short: 'subject', source: 'the subject' },
  pronoun: { name: 'Pronoun', of: 'pronoun and person', verb: 'reads who is meant', short: 'person meant', source: 'the person meant' },
  neighbour: { name: 'Neighbour', of: 'fixed phrases', verb: 'reads the phrase’s first half', short: 'phrase', source: 'the first half of the phrase' },
  compound: { name: 'Compound', of: 'names of two words', verb: 'reads the name’s first half', short: 'name', source: 'the first half of the name', note: ' The word that decides is the one being read: no head need look anywhere.' },
  distant: { name: 'Far back', of: 'a name taken up much later', verb: 'reads the name far back', short: 'name far back', source: 'the name far back' },
};

export const words = {
  skills,
  kinds: {
    learned: { name: 'No role found', what: 'no skill depends on it alone' },
    untrained: { name: 'Before training', what: 'random numbers' },
    checkpoint: { name: 'From the file', what: '' },
  },
  /** A head's name and what it does, from what was measured: the skills that it reads, helps and watches. */
  role: ({ reads, helps, watches }) => {
    if (reads.length > 0) return { name: reads.map((skill) => skills[skill].name).join(', '), what: list(reads.map((skill) => skills[skill].verb)) + (helps.length > 0 ? `; helps ${list(helps.map((skill) => skills[skill].name.toLowerCase()))}` : '') };
    if (helps.length > 0) return { name: `Helps ${list(helps.map((skill) => skills[skill].name.toLowerCase()))}`, what: 'looks elsewhere, but is needed' };
    if (watches.length > 0) return { name: `Watches ${list(watches.map((skill) => skills[skill].name.toLowerCase()))}`, what: 'looks there, but is not missed' };
    return null;
  },
  headName: (layer, head) => `Layer ${layer}, head ${head}`,
  shortName: short,
  silent: 'silenced',
  /** A picture of a head: its short name, and all of it for a screen reader. */
  card: (result, head, title, { name, what }) => ({
    name: `${short({ layer: Math.floor(head / result.perLayer), head: head % result.perLayer })}${result.roles || result.perLayer <= 4 ? `  ${name}` : ''}`,
    title: `${title}: ${name}${what ? `, ${what}` : ''}${result.silenced.includes(head) ? ', silenced' : ''}`,
  }),
  headsLede: 'A row of pictures is a layer.',

  model: 'Model',
  when: { after: 'after training', before: 'before training' },
  whenWhat: { after: 'as shipped', before: 'from the seed' },
  compare: 'Compare the heads with those before training',
  compareSilent: 'Compare with all heads at work',
  /** A setting of a comparison. */
  setting: ({ kind, untrained, silenced }) => [kind === 'checkpoint' ? 'your model' : untrained ? words.when.before : words.when.after, silenced.length > 0 ? `${plural(silenced.length, 'head', 'heads')} silenced` : null].filter(Boolean).join(', ') + (silenced.length > 0 || kind !== 'checkpoint' ? '' : ', all heads at work'),
  skillsTitle: 'Sentences it has never seen:',
  another: 'Press again for another one.',
  hint: 'Type with the words that it knows; they are listed under “Its words”.',
  fileHint: 'The text becomes tokens as the model was trained on them: ▁ is a space, ↵ a new line.',
  unknown: (unknown, suggestions) =>
    `The model does not know ${list(unknown.slice(0, 4).map(quoted))}${unknown.length > 4 ? ` and ${plural(unknown.length - 4, 'other word', 'other words')}` : ''}.${suggestions.length > 0 ? ` Instead of ${quoted(unknown[0])} it knows ${list(suggestions.map(quoted))}.` : ' All its words are listed under “Its words”.'}`,
  dropped: (most, dropped) => `The first ${plural(most, 'token', 'tokens')} are shown; ${plural(dropped, 'more is', 'more are')} beyond what the model or the picture can hold.`,

  full: (tokens, seqLen) => `The text has ${tokens.toLocaleString('en')} tokens and the model can see ${seqLen.toLocaleString('en')}: there is no room to write on.`,
  infinite: 'the numbers of this model grow beyond what float32 can hold.',

  expects: (word) => ['After ', word, ' the model expects'],
  needs: ({ right, wrong, source, skill }) => `Needed here: ${quoted(right)}${wrong.length > 0 && wrong.length <= 3 ? `, not ${list(wrong.map(quoted)).replace(' and ', ' or ')}` : ''}. What decides it is ${skills[skill].source}, ${quoted(source)}.`,
  /** The right word's share among the words that the skill chooses from. */
  choice: ({ right, wrong }, { now, before }) => [
    `${wrong.length > 1 ? 'Among the words that would fit in kind' : `Of ${quoted(right)} and ${quoted(wrong[0])}`}, ${quoted(right)} gets `,
    ...(before === null ? [] : [`${percent(before)}, now `]), { strong: percent(now) }, '.',
  ],
  now: 'now', before: { silenced: 'all heads at work', untrained: 'after training' },
  change: ({ word, before, now }) => `${quoted(word)} ${percent(before)} → ${percent(now)}`,
  announce: ({ entries, silent }) => `${silent.length > 0 ? `Without ${list(silent)}: ` : ''}${entries.slice(0, 3).map(({ label, now, before }) => `${label} ${percent(now)}${before === null ? '' : `, before ${percent(before)}`}`).join('; ')}.`,
  silence: 'Silence a head', silenceHint: 'Its output becomes 0, here and for all later layers.',
  silenceOne: (name, silent) => (silent ? `Let head ${name} speak` : `Silence head ${name}`),
  allSpeak: 'All heads at work',

  write: 'Write on', step: 'Next word', nextToken: 'Next token', stop: 'Stop', count: 'how many', temperature: 'Temperature', temperatureHint: '0: always the likeliest; above: drawn at random from the seed', seed: 'Seed',
  writing: ({ done, total }) => `${done} of ${plural(total, 'token', 'tokens')}`,
  prompt: 'reading the text so far',
  wrote: ({ written, limit, rate, stopped }) => `${plural(written, 'token', 'tokens')} written${rate === null ? '' : `, ${format(rate, rate < 10 ? 1 : 0)} tokens a second`}.${stopped ? ' Stopped; what was written stays.' : written < limit ? ' The text came to its end.' : ''}`,

  measured: 'What each head does',
  everyHead: 'The same pair in every head',
  here: 'here', mean: 'on average', lost: 'lost without it', roleColumn: 'measured role', head: 'head',
  hereWhat: (query, key) => ['Here: the weight from ', query, ' to ', key, '.'],
  meanWhat: ({ skill, uses, chance }) => `On average: the weight on ${skills[skill].source} in ${plural(uses, 'held-out use', 'held-out uses')}; by chance it would be ${percent(chance)}. Lost: points of accuracy when the head is silenced.`,
  points: (lost) => (Math.abs(lost) < 0.005 ? '0' : `${Math.round(100 * lost)}`.replace('-', '−')),
  untrainedNote: 'Measured after training; what is shown now is the model before it.',
  chance: 'by chance',
  table: 'The whole table', tableCaption: (uses) => `Weight on what decides, weight on what misleads; points of accuracy lost when silenced. ${uses} uses of each skill, in sentences kept from the training.`,
  exact,
  right: 'right', misled: 'right where something misleads',
  honest({ skill, readers, helpers, watchers }, { accuracy, together }) {
    const name = skills[skill].name;
    const own = (head) => `${short(head)}${head.also.length > 0 ? ` (which also serves ${list(head.also.map((other) => skills[other].name.toLowerCase()))})` : ''}`;
    const carried = readers.length === 0 ? `No head carries it alone${helpers.length > 0 ? ': none of those that it needs looks at what decides' : ': silencing any one of them costs little'}`
      : readers.length === 1 ? `One head looks at what decides, and is missed when it is silent: ${own(readers[0])}` : `It is spread over ${readers.length} heads: ${list(readers.map(own))}`;
    return [name, `: right in ${exact(accuracy)}. ${carried}.${helpers.length > 0 ? ` ${helpers.length === 1 ? 'Needed, but looking elsewhere' : 'Also needed, but looking elsewhere'}: ${list(helpers.map(own))}.` : ''}${watchers.length > 0 ? ` Looking there, but not missed: ${list(watchers.map(short))}; with all that look there silent, ${words.points(together.lost)} points are lost.` : ''}${readers.length === 0 ? skills[skill].note ?? '' : ''}`];
  },
  limits: 'Weight is not use, which is why the damage stands beside it. Silencing one head misses what two can do for each other. The sentences are a toy: heads of large models mostly share their roles.',
  size: ({ numLayers, numHeads, dim, vocabSize }, bytes) => `${plural(numLayers, 'layer', 'layers')} of ${plural(numHeads, 'head', 'heads')}, ${dim} numbers a word, ${vocabSize.toLocaleString('en')} words, ${Math.round(bytes / 1000).toLocaleString('en')} kB.`,
  trained: ({ command, seed, steps, batch }) => `Trained by this project’s own kernels on ${(steps * batch).toLocaleString('en')} rows of generated sentences, seed ${seed}: ${command}`,
  vocabulary: 'Its words',
  fileSize: ({ numLayers, numHeads, numKvHeads, dim, vocabSize, seqLen }, bytes) => `${plural(numLayers, 'layer', 'layers')} of ${plural(numHeads, 'head', 'heads')} (${plural(numKvHeads, 'key and value head', 'key and value heads')}), ${dim} numbers a token, ${vocabSize.toLocaleString('en')} tokens, up to ${seqLen.toLocaleString('en')} of them at once; ${(bytes / 2 ** 20).toFixed(1)} MB.`,

  file: {
    missing: { tokenizer: (name) => `${name} was read. It needs its tokenizer, too: drop or choose that file (such as tokenizer.bin).`, checkpoint: (name) => `${name} is a tokenizer. Drop or choose its checkpoint, too (such as stories15M.bin).` },
    mismatch: (name, has, checkpoint, wants) => `${name} has ${plural(has, 'token', 'tokens')}, but ${checkpoint} was trained on ${wants.toLocaleString('en')}: they do not belong together.`,
    mixed: 'Open a model (its checkpoint and its tokenizer, both .bin) apart from other files.',
    tooLarge: (name, bytes, most) => `${name} would take ${(bytes / 2 ** 20).toLocaleString('en', { maximumFractionDigits: 0 })} MB of memory as float32; this page takes models up to ${(most / 2 ** 20).toLocaleString('en')} MB. Nothing was read.`,
    loading: (share) => `Loading the model: ${percent(share)}`,
  },
};
