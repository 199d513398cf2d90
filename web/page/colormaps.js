// Colour tables: 256 entries of red, green, blue, as one base64 string each.
// cividis (Nuñez, Anderton and Renslow 2018) is the default: it keeps its order for every kind of colour vision.
// viridis is even in grey as well; diverging (RdBu, blue negative, red positive) is for signed values, its middle is 0.

const cividis =
  'ACBRACFTACJVACNWACNYACRZACVaACVcACZdACdeACdfAChgAClhACliACpjACtkAStlAixlAy1mBC1nBS5nBS9oBjBpBzBpCDFqCTJqCzJqDD' +
  'NrDTRrDjRrDzVsEDZsEjdsEzdtFDhtFTltFzltGDptGTttGjttHDxuHT1uHj5uID5uIT9uI0BuJEBuJUFuJ0JuKENuKUNuK0RuLEVuLkVuL0Zu' +
  'MEduMkhuM0huNEluNkpuN0puOUtuOkxuO01uPU1uPk5uP09uQU9uQlBuQ1FtRFJtRlJtR1NtSFRtSlRtS1VtTFZtTVdtTlduUFhuUVluUlluU1' +
  'puVFtuVlxuV1xuWF1uWV5uWl5uW19uXGBuXWFuXmFuYGJuYWNvYmRvY2RvZGVvZWZvZmZvZ2dvaGhwaWlwamlwa2pwbGtwbWxwbWxxbm1xb25x' +
  'cG9xcW9xcnBxc3FydHFydXJydnNydnRyd3RzeHVzeXZzendze3d0e3h0fHl0fXp0fnp0f3t1gHx1gH11gX11gn51g392hIB2hYB2hYF2hoJ2h4' +
  'N2iIR3iYR3iYV3ioZ3i4d3jId3jYh3jol4jop4j4p4kIt4kYx4ko14k454k454lI94lZB4lpF4l5J4mJJ4mZN4mpR4m5V4m5Z4nJZ4nZd4nph4' +
  'n5l4oJp4oZp4opt4o5x4pJ14pZ53pp53p593qKB3qaF3qqJ2q6N2rKN2raR2rqV1r6Z1sKd1sqh0s6h0tKl0tapztqtzt6xyuK1yuq5yu65xvK' +
  '9xvbBwvrFwv7JvwbNvwrRuw7VtxLVtxbZsx7dsyLhryblqyrpqzLtpzbxozrxoz71n0b5m0r9m08Bl1MFk1sJj18Nj2MRi2cVh28Zg3MZg3cdf' +
  '3she4Mld4cpc4stc48xb5M1a5s5Z589Y6NBY6dFX6tJW69NV7NRU7dRT7tVT8NZS8ddR8dhQ8tlQ89pP9NtO9dxN9t1N995M+N9L+OBL+eFK+u' +
  'JJ+uNJ++RI++VI/OZH/OdG/ehG/elG/epF';

const viridis =
  'RAFURAJWRQRXRQVZRgdaRghcRgpdRgteRw1gRw5hRxBjRxFkRxNlSBRnSBZoSBdpSBhqSBpsSBttSBxuSB1vSB9wSCBxSCFzSCN0SCR1SCV2SC' +
  'Z3SCh4SCl5Ryp6Ryx6Ry17Ry58Ry99RjB+RjJ+RjN/RjSARTWBRTeBRTiCRDmDRDqDRDuEQz2EQz6FQj+FQkCGQkGGQUKHQUSHQEWIQEaIP0eI' +
  'P0iJPkmJPkqJPkyKPU2KPU6KPE+KPFCLO1GLO1KLOlOLOlSMOVWMOVaMOFiMOFmMN1qMN1uNNlyNNl2NNV6NNV+NNGCNNGGNM2KNM2ONMmSOMm' +
  'WOMWaOMWeOMWiOMGmOMGqOL2uOL2yOLm2OLm6OLm+OLXCOLXGOLHGOLHKOLHOOK3SOK3WOKnaOKneOKniOKXmOKXqOKXuOKHyOKH2OJ36OJ3+O' +
  'J4COJoGOJoKOJoKOJYOOJYSOJYWOJIaOJIeOI4iOI4mOI4qNIouNIoyNIo2NIY6NIY+NIZCNIZGMIJKMIJKMIJOMH5SMH5WLH5aLH5eLH5iLH5' +
  'mKH5qKHpuKHpyJHp2JH56JH5+IH6CIH6GIH6GHH6KHIKOGIKSGIaWFIaaFIqeFIqiEI6mDJKqDJauCJayCJq2BJ62BKK6AKa9/KrB/LLF+LbJ9' +
  'LrN8L7R8MbV7MrZ6NLZ5Nbd5N7h4OLl3Orp2O7t1Pbx0P7xzQL1yQr5xRL9wRsBvSMFuSsFtTMJsTsNrUMRqUsVpVMVoVsZnWMdlWshkXMhjXs' +
  'liYMpgY8tfZcteZ8xcac1bbM1abs5YcM9Xc9BWddBUd9FTetFRfNJQf9NOgdNNhNRLhtVJidVIi9ZGjtZFkNdDk9dBldhAmNg+m9k8ndk7oNo5' +
  'oto3pds2qNs0qtwyrdwwsN0vst0ttd4ruN4put4ovd8mwN8lwt8jxeAhyOAgyuEfzeEd0OEc0uIb1eIa2OIZ2uMZ3eMY3+MY4uQY5eQZ5+QZ6u' +
  'Ua7OUb7+Uc8eUd9OYe9uYg+OYh++cj/ecl';

const diverging =
  'BTBhBjJkBzRnCDZqCThtCjtwDD1zDT91DkF4D0N7EEV+EUeBEkmDE0uGFU2JFk+LF1KOGFSQGVaTGliVG1qYHVyaHl6cH2CeIGKgIWSiI2WkJG' +
  'emJWmoJmuqKG2rKW+tKnGuLHOwLXWxLnayMHi0MXq1M3y2NH63NoC5N4G6OYO7O4W8PYe9Pom+QIu/QozARI7BRpDCSJLDS5TETZbFT5jGUZnH' +
  'VJvIVp3JWZ/KW6HLXqPMYaXNZKfOZqjPaarQbKzRb67ScbDTdLLUd7PVerXWfbfXgLnXg7vYhbzZiL7ai8DbjsHckcPdk8TelsbfmcfgnMngns' +
  'rhoczio83jps/jqdDkq9HlrtPmsNTmstXntdfot9joutnpvNrqvtvqwNzrwt3sxd/sx+DtyeHty+LuzePuz+Tv0eXv0+bw1Obw1ufw2Ojx2unx' +
  '2+rx3ery3+vy4Ozy4uzy4+3y5e3y5u7y5+7y6e/y6u/y6+/x7O/x7fDx7vDw7/Dw8PDv8e/u8u/t8+/t9O/s9O7r9e7p9u3o9u3n9+zm9+vk+O' +
  'rj+Orh+eng+eje+efc+uba+uXY+uPX+uLV+uHT+uDR+t7P+93M+9vK+9rI+9jG+9fE+tXB+tO/+tK8+tC6+s64+sy1+sqz+cmw+ceu+cWr+MOp' +
  '+MGm+L+k972h97qf9ric9raa9bSX9bKV9K+S9K2Q86uN8qiL8qaI8aSG8KGD75+B7px/7pp87Zd67JV465J26pBz6Y1x6Itv54ht5oVr5YNp5I' +
  'Bn4n1l4Xtj4Hhh33Vf3nNd3XBb221Z2mtX2WhV2GVU1mJS1V9Q1F1O0lpN0VdL0FRKzlJIzU9GzExFyklDyUdCx0RBxkE/xD8+wzw9wTo7vzc6' +
  'vjU5vDI4ujA2uC41tys0tSkzsycysSUxryMwrSEvqh8uqB0tphwtpBosoRgrnxcqnBUpmhQplxIolBEnkhAnjw8mjA0migwlhwskhAokgQkjfg' +
  'gjewcieQYidgUhcwQhcAMgbQIgagEfZwAf';

function decode(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function greyTable() {
  // White to black, so that what prints dark is what matters.
  const table = new Uint8Array(768);
  for (let i = 0; i < 256; i += 1) table.fill(Math.round(250 - i * (230 / 255)), 3 * i, 3 * i + 3);
  return table;
}

const tables = {
  cividis: decode(cividis),
  viridis: decode(viridis),
  grey: greyTable(),
  diverging: decode(diverging),
};

export const colorMaps = ['cividis', 'viridis', 'grey'];

/** 768 bytes. */
export function colorTable(name) {
  return tables[name] ?? tables.cividis;
}

/** The same as 32-bit pixels, ready for a canvas's ImageData (byte order of this machine). */
const pixels = new Map();
export function pixelTable(name) {
  if (!pixels.has(name)) {
    const table = colorTable(name);
    const bytes = new Uint8ClampedArray(1024);
    for (let i = 0; i < 256; i += 1) {
      bytes.set(table.subarray(3 * i, 3 * i + 3), 4 * i);
      bytes[4 * i + 3] = 255;
    }
    pixels.set(name, new Uint32Array(bytes.buffer));
  }
  return pixels.get(name);
}

export function cssColor(name, index) {
  const table = colorTable(name);
  return `rgb(${table[3 * index]} ${table[3 * index + 1]} ${table[3 * index + 2]})`;
}

/** Whether dark text reads better than light on this entry (WCAG relative luminance). */
export function isLight(name, index) {
  const table = colorTable(name);
  const linear = (byte) => {
    const value = byte / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  const luminance = 0.2126 * linear(table[3 * index]) + 0.7152 * linear(table[3 * index + 1])
    + 0.0722 * linear(table[3 * index + 2]);
  return luminance > 0.18;
}
