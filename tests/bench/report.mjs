// Results as a table: for a terminal, and in Markdown for the README.

// `at peak`: the ratio if we ran at the register-only peak (one query: if we only read; threads: what two gain on that loop), softmax and
// copies for nothing. What is wanted beyond it cannot be had.
const HEAD = ['work (batch 1, float32)', 'build', 'ms', 'GFLOP/s', 'of peak', 'against', 'ms', 'ratio [quartiles]', 'wanted', 'at peak', ''];
const RIGHT = [false, false, true, true, true, false, true, true, true, true, false];

const BUSY = 1.6; // load average: of it the benchmark itself is 1, and sometimes an engine's compiler

const digits = (x, n = 3) => (Number.isFinite(x) ? (x >= 10 ** (n - 1) ? x.toFixed(0) : x.toPrecision(n)) : '–');
const milliseconds = (seconds) => digits(seconds * 1e3);
const times = ({ median, low, high }) => `${digits(median)} × [${digits(low)} – ${digits(high)}]`;
const percent = ({ median }) => `${Math.round(median * 100)} %`;

function wanted(comparison) {
  if (comparison?.atLeast !== undefined) return `≥ ${comparison.atLeast} ×`;
  return comparison?.atMost !== undefined ? `≤ ${comparison.atMost} ×` : '';
}

function verdict(comparisons) {
  const judged = comparisons.filter((comparison) => comparison?.met !== undefined);
  if (judged.length === 0) return '';
  return judged.every(({ met }) => met) ? 'met' : 'NOT MET';
}

const share = (peak) => (peak ? percent(peak.value) + (peak.atLeast ? ` (≥ ${peak.atLeast * 100})` : '') : '');

// The cells of one build of ours on one row.
function line(result, variant) {
  const { contenders, comparisons, bestPeer } = result;
  const { peer, peak, ceiling, cost, threads } = comparisons[variant];
  const other = peer ? bestPeer : cost ? `${variant} full` : threads ? variant : null;
  const mine = threads ? Object.keys(contenders).find((name) => name.startsWith(`${variant} × `)) : variant;
  const compared = peer ?? cost ?? threads;
  return [
    result.title, mine, milliseconds(contenders[mine].seconds.median), digits(contenders[mine].gflops), threads ? '' : share(peak),
    threads ? 'one thread' : cost ? 'the same, full' : (bestPeer ?? ''), other ? milliseconds(contenders[other].seconds.median) : '',
    compared ? times(compared.value) : '', wanted(compared), ceiling ? `${digits(ceiling.value.median)} ×` : '', verdict([peak, compared]),
  ];
}

function lines(result) {
  if (result.failed) return [[result.title, '', '', '', '', result.failed, '', '', '', '', 'NOT MET']];
  const own = Object.keys(result.comparisons).flatMap((variant) => {
    const { equals } = result.comparisons[variant];
    const control = equals && [result.title, `two equal engines of ${variant}, a thread each`, '', '', '', 'each other', '', times(equals.value), '', '', ''];
    return [line(result, variant), ...(control ? [control] : [])];
  });
  const others = Object.entries(result.contenders)
    .filter(([name, { peer }]) => peer && name !== result.bestPeer)
    .map(([name, { seconds, gflops }]) => [result.title, name, milliseconds(seconds.median), digits(gflops), '', '', '', '', '', '', '']);
  const refused = Object.entries(result.refused).map(([name, why]) => [result.title, name, '', '', '', why, '', '', '', '', '']);
  const read = result.read
    ? [[result.title, `a plain read of the same bytes: ${digits(result.read.gigabytes.median)} GB/s`, '', '', '', result.bestPeer ?? '', '',
        result.read.overPeer ? times(result.read.overPeer) : '', '', '', '']]
    : [];
  return [...own, ...others, ...refused, ...read];
}

function extraLines({ cold, sizes = [] }) {
  const rows = [];
  if (cold)
    rows.push([cold.title, cold.variant, milliseconds(cold.ours.median), '', '', 'onnxruntime-web', milliseconds(cold.peer.median),
      times(cold.comparison.value), wanted(cold.comparison), '', verdict([cold.comparison])]);
  for (const { title, build, bytes, atMost } of sizes)
    rows.push([title, build, '', '', '', '', '', `${digits(bytes / 1e3)} KB`, `≤ ${atMost / 1e3} KB`, '', bytes <= atMost ? 'met' : 'NOT MET']);
  return rows;
}

// Another program on the same core takes its vector units, which lowers the ceiling more than a peer that is far below it.
function busy(load) {
  const highest = Math.max(...load);
  return highest > BUSY ? `; the machine was busy (load up to ${highest.toFixed(1)}), which compresses shares and ratios` : '';
}

// One line of where and how.
function heading({ engine, clock, machine, load, rows, mode }) {
  const highest = {};
  for (const { peaks = {} } of rows)
    for (const [variant, { median }] of Object.entries(peaks)) highest[variant] = Math.max(median, highest[variant] ?? 0);
  const ceilings = Object.entries(highest).map(([variant, gflops]) => `${variant} ${digits(gflops)}`).join(', ');
  return `${engine}, ${machine.cpu}, ${machine.cores} cores, ${machine.date.slice(0, 10)}; ${mode}, warm, one thread, ` +
    `medians of interleaved rounds (${clock} clock); register-only peak: ${ceilings} GFLOP/s${busy(load)}`;
}

// Widths of the columns after the first, which has a line of its own in a terminal.
const WIDTHS = [46, 7, 7, 11, 46, 7, 23, 7, 7, 7];

const columns = (cells) =>
  `  ${cells.slice(1).map((cell, i) => (RIGHT[i + 1] ? cell.padStart(WIDTHS[i]) : cell.padEnd(WIDTHS[i]))).join('  ').trimEnd()}`;

/** For a terminal, row by row while they are measured. */
export const headText = () => columns(HEAD);
export const rowText = (result) => blocks(lines(result));
export const extraText = (measurement) => blocks(extraLines(measurement));

const blocks = (rows) => rows.flatMap((row, i) => [...(rows[i - 1]?.[0] === row[0] ? [] : [row[0]]), columns(row)]).join('\n');

const allLines = (measurement) => [...measurement.rows.flatMap(lines), ...extraLines(measurement)];

/** How it ended, and which targets were not met. */
export function summary(measurement) {
  const judged = allLines(measurement).filter((cells) => cells.at(-1));
  const unmet = judged.filter((cells) => cells.at(-1) !== 'met');
  const list = unmet.map(([title, build, , , peak, , , ratio, limit, ceiling]) =>
    `  ${[title, build, peak, ratio, limit, ceiling && `at peak ${ceiling}`].filter(Boolean).join(', ')}`);
  return [heading(measurement), `${judged.length - unmet.length} of ${judged.length} targets met${unmet.length ? '; not met:' : ''}`, ...list].join('\n');
}

/** The table of the README. */
export function markdown(measurement) {
  const row = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = RIGHT.map((right) => (right ? '---:' : '---'));
  return [heading(measurement), '', row(HEAD), row(rule), ...allLines(measurement).map(row)].join('\n');
}
