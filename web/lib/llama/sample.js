import { mulberry32 } from '../random.js';
import { finite, integer, wrongKind, wrongSize } from '../status.js';

// readSampling({ temperature, topP, seed, random }) -> { temperature, topP, random }
export function readSampling({ temperature, topP, seed, random }) {
  finite(temperature, 'temperature', 0);
  finite(topP, 'topP', 0);
  if (topP === 0 || topP > 1) throw wrongSize('topP', 'a number above 0, at most 1', topP);
  integer(seed, 'seed', 0, 2 ** 32 - 1);
  if (random !== null && typeof random !== 'function') throw wrongKind('random', 'a function', random);
  return { temperature, topP, random: random ?? mulberry32(seed) };
}

const largest = (numbers) => numbers.reduce((best, x, i) => (x > numbers[best] ? i : best), 0);

// The first token with which the sum of probabilities is above `coin` times all of theirs.
function draw(probabilities, order, coin) {
  const total = order.reduce((sum, token) => sum + probabilities[token], 0);
  let sum = 0;
  return order.find((token) => (sum += probabilities[token]) > coin * total) ?? order.at(-1);
}

// The next token, given its logits [vocabSize]. topP below 1 is nucleus sampling (Holtzman et al. 2020, "The Curious Case
// of Neural Text Degeneration", section 3.1): the fewest tokens with more than that probability together.
export function sample(attn, logits, { temperature, topP, random }) {
  const best = largest(logits);
  if (!logits.every(Number.isFinite)) throw new RangeError('logits: expected finite numbers: the model\'s weights are too large for float32');
  if (temperature === 0) return best;
  // Less the largest, so that no temperature makes them infinite.
  const { data } = attn.softmax(logits.map((x) => (x - logits[best]) / temperature));
  const order = Array.from(data.keys());
  if (topP < 1) {
    order.sort((a, b) => data[b] - data[a] || a - b);
    let sum = 0;
    const last = order.findIndex((token) => (sum += data[token]) > topP);
    if (last >= 0) order.length = last + 1;
  }
  const coin = random();
  if (!(coin >= 0 && coin < 1)) throw wrongSize('random', 'numbers from 0 to less than 1', coin);
  return draw(data, order, coin);
}
