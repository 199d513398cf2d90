// NumPy's .npz: a ZIP of .npy files, stored or deflated. Pure; also runs in Node.

import { FileProblem, quoted } from './numbers.js';
import { MAX_FILE_BYTES } from '../limits.js';

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
/** A comment may stand behind the end record, of so many bytes. */
const LONGEST_COMMENT = 0xffff;
/** Deflate's best: a bit and a little for 258 bytes. */
const MOST_PER_BYTE = 1032;

/** [{ name, bytes }], names without ".npy". */
export async function readNpz(bytes, name = 'file') {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  const least = Math.max(end - LONGEST_COMMENT, 0);
  while (end >= least && view.getUint32(end, true) !== END) end -= 1;
  if (end < least) throw new FileProblem(`${name} is not a .npz file, or it is cut off.`);
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const members = [];
  let total = 0;
  for (let i = 0; i < count; i += 1) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== ENTRY) throw new FileProblem(`${name}: its list of arrays cannot be read.`);
    const method = view.getUint16(at + 10, true);
    let packed = view.getUint32(at + 20, true);
    let size = view.getUint32(at + 24, true);
    let local = view.getUint32(at + 42, true);
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const full = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const member = quoted(full);
    // ZIP64 keeps sizes that do not fit in an extra field, in this order, only those that are 0xffffffff above.
    for (let extra = at + 46 + nameLength, stop = extra + extraLength; extra + 4 <= stop && stop <= bytes.length;) {
      const id = view.getUint16(extra, true);
      const length = view.getUint16(extra + 2, true);
      let field = extra + 4;
      const stopOfField = field + length;
      const next = () => {
        field += 8;
        if (field > stopOfField || field > stop) throw new FileProblem(`${name}: its list of arrays cannot be read.`);
        return Number(view.getBigUint64(field - 8, true));
      };
      if (id === 1) {
        if (size === 0xffffffff) size = next();
        if (packed === 0xffffffff) packed = next();
        if (local === 0xffffffff) local = next();
      }
      extra += 4 + length;
    }
    at += 46 + nameLength + extraLength + view.getUint16(at + 32, true);
    if (local + 30 > bytes.length || view.getUint32(local, true) !== LOCAL) throw new FileProblem(`${name}: ${member} is not where the list says.`);
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    total += size;
    if (from + packed > bytes.length) throw new FileProblem(`${name} is cut off inside ${member}.`);
    if (total > MAX_FILE_BYTES) throw new FileProblem(`${name} would unpack to more than fits in memory.`);
    if (method !== 0 && size > packed * MOST_PER_BYTE + MOST_PER_BYTE) throw new FileProblem(`${name}: ${member} is damaged: it is shorter than it says.`);
    members.push({ name: full.replace(/\.npy$/, ''), shown: member, method, body: bytes.subarray(from, from + packed), size });
  }
  // One after the other: thousands of streams at once would take more memory than what they unpack.
  const unpacked = [];
  for (const member of members) unpacked.push({ name: member.name, bytes: await unpack(member, name) });
  return unpacked;
}

async function unpack({ shown: member, method, body, size }, name) {
  if (method === 0) return body;
  if (method !== 8) throw new FileProblem(`${name}: ${member} is packed in a way that cannot be read here.`);
  const out = new Uint8Array(size);
  let at = 0;
  try {
    const stream = new Blob([body]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
    for (const reader = stream.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      // A packed bomb says a small size and unpacks to a large one.
      if (at + value.length > size) throw new Error('longer than it says');
      out.set(value, at);
      at += value.length;
    }
  } catch {
    throw new FileProblem(`${name}: ${member} is damaged and cannot be unpacked.`);
  }
  if (at !== size) throw new FileProblem(`${name}: ${member} is damaged: it is shorter than it says.`);
  return out;
}
