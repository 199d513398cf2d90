// A model's two files, from the dialog: measured before they are read, and handed to the worker.

import { MAX_MODEL_BYTES, modelBytes } from './limits.js';
import { words as t } from './strings.js';

export const isModelFile = ({ name }) => /\.bin$/i.test(name);

/** { opened } or { missing, name }, as offer() of subjects.js gives it; null if another choice took its place. Throws what is wrong in a sentence. */
export async function offerModel(list, { request, onProgress, isFirst }) {
  for (const file of list) {
    const bytes = modelBytes(new DataView(await file.slice(0, 8).arrayBuffer()), file.size);
    if (bytes > MAX_MODEL_BYTES) throw new RangeError(t.file.tooLarge(file.name, bytes, MAX_MODEL_BYTES));
  }
  const files = await Promise.all(list.map(async (file) => ({ name: file.name, buffer: await file.arrayBuffer() })));
  return request({ type: 'model', ask: 'offer', files, isFirst }, { transfer: files.map(({ buffer }) => buffer), onProgress });
}
