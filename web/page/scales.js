// From a value to one of the 256 colours. Pure; also runs in Node.

export const transfers = ['linear', 'sqrt', 'log'];
export const domains = ['unit', 'matrix', 'row'];

/** Decades that the logarithmic scale of weights shows below its upper end. */
const DECADES = 4;
/** The signed logarithmic scale is linear up to about 1 / SYMLOG of its upper end. */
const SYMLOG = 100;

/** 0..1 to 0..1. */
function transferUnsigned(transfer, t) {
  if (transfer === 'sqrt') return Math.sqrt(t);
  if (transfer === 'log') return t <= 0 ? 0 : Math.max(0, 1 + Math.log10(t) / DECADES);
  return t;
}

/** -1..1 to -1..1. */
function transferSigned(transfer, t) {
  const size = Math.abs(t);
  if (transfer === 'sqrt') return Math.sign(t) * Math.sqrt(size);
  if (transfer === 'log') return (Math.sign(t) * Math.log1p(SYMLOG * size)) / Math.log1p(SYMLOG);
  return t;
}

/**
 * { low, high, signed, palette, index(value, row), valueAt(index) }.
 * `highs`: the upper end, one number, or one per row.
 * Signed scales are centred at 0 and run from -high to high; the others from 0.
 */
export function makeScale({ transfer, highs, signed, palette }) {
  const perRow = typeof highs !== 'number';
  const high = perRow ? null : highs;
  const clamp = (t, low) => (t > 1 ? 1 : t > low ? t : low);
  return {
    low: signed ? (perRow ? null : -high) : 0,
    high, signed, perRow,
    palette: signed ? 'diverging' : palette,
    index(value, row) {
      const end = perRow ? highs[row] : highs;
      const t = end > 0 ? value / end : 0;
      if (signed) return Math.round(127.5 + 127.5 * transferSigned(transfer, clamp(t, -1)));
      return Math.round(255 * transferUnsigned(transfer, clamp(t, 0)));
    },
    /** The share of the upper end at which a colour stands, for ticks on the colour bar: 0..1 (or -1..1) to 0..1. */
    place(t) {
      return signed ? 0.5 + 0.5 * transferSigned(transfer, t) : transferUnsigned(transfer, t);
    },
  };
}

/** Largest value (largest size, where signed) of a matrix and of each of its rows; masked cells do not count. */
export function extents({ rows, cols, at, hidden, signed }) {
  const rowHighs = new Float64Array(rows);
  let high = 0;
  for (let i = 0; i < rows; i += 1) {
    let top = 0;
    for (let j = 0; j < cols; j += 1) {
      if (hidden(i, j)) continue;
      const value = signed ? Math.abs(at(i, j)) : at(i, j);
      if (value > top && value < Infinity) top = value;
    }
    rowHighs[i] = top;
    if (top > high) high = top;
  }
  return { high, rowHighs };
}

const RAISED = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];

/** A number for people: three decimals for weights, less where there is no room; a real minus sign; 1.23·10⁵. */
export function format(value, digits = 3) {
  if (!(Math.abs(value) < 1e5)) return scientific(value, 2);
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace('-', '') : text).replace('-', '−');
}

/** 5.6·10⁻⁹ */
export function scientific(value, digits = 1) {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Infinity) return '∞';
  if (value === -Infinity) return '−∞';
  if (value === 0) return '0';
  const [mantissa, exponent] = value.toExponential(digits).split('e');
  return `${mantissa.replace('-', '−')}·10${[...exponent.replace('+', '')].map((sign) => RAISED[sign] ?? '⁻').join('')}`;
}

/** 0.4717 to "47 %"; small but not zero to "<1 %". */
export function percent(value) {
  const rounded = Math.round(100 * value);
  if (rounded === 0 && value > 0) return '<1 %';
  return `${rounded} %`;
}
