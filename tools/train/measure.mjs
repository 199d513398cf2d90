// What each head of a model does, measured on held-out sentences: where it looks at the places where a skill is needed,
// and what is lost without it. web/docs/training.md says how to read the figures.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { mulberry32 } from '../../web/lib/random.js';
import { SKILLS, sentence, tokensOf } from '../../web/model/sentences.js';
import { checkpointOf } from '../../web/model/untrained.js';

const LENGTH = 48; // <bos> and the longest sentence

/** Held-out sentences until each skill was used `uses` times; of the skills that had enough, further uses are left out. */
export function heldOutUses(seed, uses) {
  const random = mulberry32(seed);
  const left = new Map(SKILLS.map((skill) => [skill, uses]));
  const rows = [];
  const list = [];
  const seen = new Set();
  while ([...left.values()].some((count) => count > 0)) {
    const { words, uses: found } = sentence(random, { heldOut: true });
    const text = words.join(' ');
    if (seen.has(text)) continue;
    seen.add(text);
    const wanted = found.filter(({ skill }) => left.get(skill) > 0);
    if (wanted.length === 0) continue;
    for (const use of wanted) {
      left.set(use.skill, left.get(use.skill) - 1);
      list.push({ row: rows.length, ...use });
    }
    rows.push([0, ...tokensOf(words)]);
  }
  return { rows, uses: list };
}

// probe(silenced) -> for each query { logits, mass(layer, head, position) }
function prober(program, config, parameters, rows, queries) {
  const folder = mkdtempSync(path.join(tmpdir(), 'spotlight-measure-'));
  const file = (name) => path.join(folder, name);
  const tokens = new Uint16Array(rows.length * LENGTH);
  rows.forEach((row, r) => tokens.set(row, r * LENGTH));
  writeFileSync(file('model'), checkpointOf(config, parameters));
  writeFileSync(file('rows'), tokens);
  writeFileSync(file('queries'), Int32Array.from(queries.flatMap(({ row, position }) => [row, position])));
  const { numLayers, numHeads, vocabSize } = config;
  const size = vocabSize + numLayers * numHeads * LENGTH;
  const probe = (silenced = []) => {
    const heads = silenced.flatMap(({ layer, head }) => [String(layer), String(head)]);
    execFileSync(program, [file('model'), file('rows'), String(LENGTH), file('queries'), file('out'), ...heads]);
    const out = new Float32Array(readFileSync(file('out')).buffer);
    return queries.map((_, q) => {
      const answer = out.subarray(q * size, (q + 1) * size);
      return {
        logits: answer.subarray(0, vocabSize),
        mass: (layer, head, position) => answer[vocabSize + (layer * numHeads + head) * LENGTH + position],
      };
    });
  };
  return { probe, close: () => rmSync(folder, { recursive: true, force: true }) };
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const round = (value) => Math.round(value * 1e4) / 1e4;

// Whether the right word is likelier than each wrong one, and its share of the probability of all of these.
function score({ logits }, { right, wrong }) {
  const best = logits[right];
  const rest = wrong.map((token) => Math.exp(logits[token] - best));
  return { right: Math.max(...rest) < 1, share: 1 / (1 + rest.reduce((sum, odds) => sum + odds, 0)) };
}

// What rules of thumb would say: the candidate that stands last, first.
function thumb(use, which) {
  const candidates = [{ position: use.source, word: use.right }, ...use.distractors].sort((a, b) => a.position - b.position);
  return candidates.at(which).word === use.right;
}

const NEEDED = 0.1; // of accuracy lost
const LOOKS = 0.3; // of the weight on the source, if it is also three times chance
const looksAt = (chance) => ({ mass }) => mass >= LOOKS && mass >= 3 * chance;

/**
 * The table, { seed, sentences, skills }. For each skill:
 *   uses, misled          how many were looked at; in how many a distractor would decide otherwise
 *   accuracy              share of the uses where the right word is likelier than each wrong one; accuracyMisled: of those misled
 *   share                 mean of p(right) / (p(right) + p(wrong words))
 *   lastCandidate, firstCandidate
 *                         how often the rule of thumb is right that the last, or first, candidate decides
 *   chance                mean weight of one token if all that are visible had the same; chanceDistractors: of the distractors together
 *   heads                 layer and head count from 0.
 *     mass                mean weight on the source, from the token whose output predicts the word
 *     distractors         ... on all distractors together
 *     massFromWord        mean weight on the source from the word itself, one token later
 *     accuracySilenced, lost, shareLost
 *                         accuracy without this head, what that loses, and what share loses; left out with heads: false
 *   together              { heads, accuracySilenced, lost } without all heads that look at the source; left out with heads: false
 */
export function measure({ program, config, parameters, seed = 2, uses: perSkill = 500, heads: silence = true, progress = () => {} }) {
  const { rows, uses } = heldOutUses(seed, perSkill);
  const token = (word) => tokensOf([word])[0];
  const tokenised = uses.map(({ right, wrong }) => ({ right: token(right), wrong: wrong.map(token) }));
  // In a row <bos> stands before the words, so that the word at `position` is predicted at the token of that number.
  const queries = uses.flatMap(({ row, position }) => [{ row, position }, { row, position: position + 1 }]);
  const { probe, close } = prober(program, config, parameters, rows, queries);
  try {
    const heads = [];
    for (let layer = 0; layer < config.numLayers; layer++) for (let head = 0; head < config.numHeads; head++) heads.push({ layer, head });
    const answers = probe();
    const scores = uses.map((_, u) => score(answers[2 * u], tokenised[u]));
    const without = !silence ? [] : heads.map((head, h) => {
      progress(h, heads.length);
      const silenced = probe([head]);
      return uses.map((_, u) => score(silenced[2 * u], tokenised[u]));
    });
    const skills = SKILLS.map((skill) => {
      const of = uses.map((use, u) => ({ use, u })).filter(({ use }) => use.skill === skill);
      const misled = of.filter(({ use }) => use.distractors.some(({ word }) => word !== use.right));
      const accuracy = (list, from) => mean(list.map(({ u }) => (from[u].right ? 1 : 0)));
      const all = accuracy(of, scores);
      const share = mean(of.map(({ u }) => scores[u].share));
      return {
        skill,
        uses: of.length,
        accuracy: round(all),
        misled: misled.length,
        accuracyMisled: misled.length > 0 ? round(accuracy(misled, scores)) : null,
        share: round(share),
        lastCandidate: round(mean(of.map(({ use }) => (thumb(use, -1) ? 1 : 0)))),
        firstCandidate: round(mean(of.map(({ use }) => (thumb(use, 0) ? 1 : 0)))),
        chance: round(mean(of.map(({ use }) => 1 / (use.position + 1)))),
        chanceDistractors: round(mean(of.map(({ use }) => use.distractors.length / (use.position + 1)))),
        heads: heads.map(({ layer, head }, h) => {
          const silencedAccuracy = silence && accuracy(of, without[h]);
          return {
            layer,
            head,
            mass: round(mean(of.map(({ use, u }) => answers[2 * u].mass(layer, head, use.source + 1)))),
            distractors: round(mean(of.map(({ use, u }) => use.distractors.reduce((sum, { position }) => sum + answers[2 * u].mass(layer, head, position + 1), 0)))),
            massFromWord: round(mean(of.map(({ use, u }) => answers[2 * u + 1].mass(layer, head, use.source + 1)))),
            ...(silence && {
              accuracySilenced: round(silencedAccuracy),
              lost: round(all - silencedAccuracy),
              shareLost: round(share - mean(of.map(({ u }) => without[h][u].share))),
            }),
          };
        }),
      };
    });
    if (silence)
      for (const skill of skills) {
        const looking = skill.heads.filter(looksAt(skill.chance)).map(({ layer, head }) => ({ layer, head }));
        const answered = probe(looking);
        const right = uses.flatMap((use, u) => (use.skill === skill.skill ? [score(answered[2 * u], tokenised[u]).right ? 1 : 0] : []));
        skill.together = { heads: looking, accuracySilenced: round(mean(right)), lost: round(skill.accuracy - mean(right)) };
      }
    return { seed, sentences: rows.length, skills };
  } finally {
    close();
  }
}

/**
 * Who carries each skill, read off the table: [{ skill, readers, helpers, watchers }]. Readers are the heads that look
 * at the source and without which accuracy falls by a tenth or more; helpers are as necessary, but look elsewhere;
 * watchers look there, but the others do without them. Those that cost most come first; { layer, head, mass, lost, also } says which
 * other skills need the head. A skill with one reader and no watcher is carried by one head alone; several readers
 * share it; where there is none, no single head carries it.
 */
export function roles({ skills }) {
  const needed = ({ lost }) => lost >= NEEDED;
  const also = (skill, { layer, head }) =>
    skills.filter((other) => other.skill !== skill && other.heads.some((row) => row.layer === layer && row.head === head && needed(row))).map((other) => other.skill);
  return skills.map(({ skill, chance, heads }) => {
    const found = heads.filter(needed).sort((a, b) => b.lost - a.lost);
    const looks = looksAt(chance);
    const told = (list) => list.map(({ layer, head, mass, lost }) => ({ layer, head, mass, lost, also: also(skill, { layer, head }) }));
    const watchers = heads.filter((head) => looks(head) && !needed(head)).sort((a, b) => b.mass - a.mass);
    return { skill, readers: told(found.filter(looks)), helpers: told(found.filter((head) => !looks(head))), watchers: told(watchers) };
  });
}

/** The table as lines of text, for the eye. */
export function report(table) {
  const percent = (value) => `${Math.round(value * 100)}`.padStart(4);
  const lines = [];
  for (const { skill, uses, accuracy, accuracyMisled, share, lastCandidate, firstCandidate, chance, chanceDistractors, heads } of table.skills) {
    lines.push(
      `${skill}: ${uses} uses, right ${percent(accuracy)} %, with misleading words ${accuracyMisled === null ? '   -' : percent(accuracyMisled)} %, share ${percent(share)} %` +
        ` (last candidate ${percent(lastCandidate)} %, first ${percent(firstCandidate)} %); chance ${percent(chance)} %, of distractors ${percent(chanceDistractors)} %`,
    );
    for (const head of heads)
      lines.push(
        `  layer ${head.layer + 1} head ${head.head + 1}  to source ${percent(head.mass)} %  to distractors ${percent(head.distractors)} %` +
          `  from the word ${percent(head.massFromWord)} %  silenced: lost ${percent(head.lost)} points (share ${percent(head.shareLost)})`,
      );
  }
  for (const { skill, readers, helpers, watchers } of roles(table)) {
    const list = (heads) => heads.map(({ layer, head, also }) => `layer ${layer + 1} head ${head + 1}${also.length > 0 ? ` (also ${also.join(', ')})` : ''}`).join(', ') || 'no head';
    lines.push(`${skill} is read by ${list(readers)}; helped by ${list(helpers)}; watched by ${list(watchers)}`);
  }
  return lines.join('\n');
}

/** The table as Markdown, as web/docs/training.md shows it. */
export function markdown(table) {
  const percent = (value) => (value === null ? '' : `${Math.round(value * 100)} %`);
  const row = (cells) => `| ${cells.join(' | ')} |`;
  const { skills } = table;
  const head = (first, cells) => [row([first, ...cells]), row(['---', ...cells.map(() => '---')])];
  const lines = [
    ...head('skill', ['right', 'right when misled', 'rule "last candidate"', 'rule "first candidate"', 'read by', 'helped by', 'also looked at by', 'lost without all that look']),
    ...roles(table).map(({ skill, readers, helpers, watchers }, s) => {
      const { accuracy, accuracyMisled, lastCandidate, firstCandidate, together } = skills[s];
      const list = (heads) => heads.map(({ layer, head: number }) => `${layer + 1}.${number + 1}`).join(', ') || 'none';
      return row([skill, percent(accuracy), percent(accuracyMisled), percent(lastCandidate), percent(firstCandidate), list(readers), list(helpers), list(watchers), together.heads.length > 0 ? `${Math.round(together.lost * 100)}` : '']);
    }),
    '',
    ...head('layer.head', skills.map(({ skill }) => skill)),
    row(['chance', ...skills.map(({ chance }) => percent(chance))]),
    ...skills[0].heads.map(({ layer, head: number }, h) =>
      row([`${layer + 1}.${number + 1}`, ...skills.map(({ heads }) => `${percent(heads[h].mass)}, ${percent(heads[h].distractors)}; ${Math.round(heads[h].lost * 100)}`)]),
    ),
  ];
  return lines.join('\n');
}
