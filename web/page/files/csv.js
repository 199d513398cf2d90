// A matrix with its labels as CSV (RFC 4180). Pure; also runs in Node.

export function writeCsv(rowNames, colNames, at) {
  const quoted = (text) => {
    // A leading sign would make a formula of a token in a spreadsheet; a space before it does not.
    const safe = /^[=+\-@\t\r]/.test(text) ? ` ${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = [['query \\ key', ...colNames].map(quoted).join(',')];
  rowNames.forEach((name, i) => lines.push([quoted(name), ...colNames.map((_, j) => String(at(i, j)))].join(',')));
  return `${lines.join('\r\n')}\r\n`;
}
