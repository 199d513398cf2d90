// Finding and reading the cases of a folder.

import { readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, extname, join, relative } from 'node:path';

import { decode } from './tensors.mjs';

/**
 * Every case below `folder`: `{ suite, name, file, json }`, or `{ suite, name, file, error }` where a .json file cannot
 * be read as JSON. A suite is a folder with cases in it. Files that are no cases (index.json, LICENSE) are passed over.
 */
export function findCases(folder) {
  const cases = [];
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || extname(entry.name) !== '.json') continue;
    const file = join(entry.parentPath ?? entry.path, entry.name);
    const suite = relative(folder, dirname(file)) || basename(folder);
    const name = basename(file, '.json');
    try {
      const json = JSON.parse(readFileSync(file, 'utf8'));
      if (isCase(json)) cases.push({ suite, name: json.name ?? name, file, json });
    } catch (error) {
      cases.push({ suite, name, file, error });
    }
  }
  return cases.sort((a, b) => (a.file < b.file ? -1 : 1));
}

const isCase = (json) => typeof json?.op === 'string' && Array.isArray(json.inputs) && Array.isArray(json.outputs);

/** The key under which an adapter lists an operator: ai.onnx's and PyTorch's names as they are, others with their domain. */
export const operatorOf = ({ op, domain }) => (domain && domain !== 'ai.onnx' ? `${domain}.${op}` : op);

/** What an adapter gets: the case with its inputs decoded, floating-point numbers as `Float`. */
export function readCase(json, Float) {
  const raw = new Map(json.inputs.map((tensor) => [tensor.name, tensor]));
  return {
    ...json,
    attributes: json.attributes ?? {},
    inputs: Object.fromEntries(json.inputs.map((tensor) => [tensor.name, decode(tensor, Float)])),
    Float,
    /** The names of the outputs to be compared. */
    wanted: new Set(json.outputs.map(({ name }) => name)),
    /** Whether two inputs are bit for bit the same. */
    sameInput: (a, b) => ['data', 'shape'].every((part) => String(raw.get(a)?.[part]) === String(raw.get(b)?.[part])),
  };
}

/** The expected tensors, by name, in double precision: those that `tolerance.against` names. */
export function readExpected({ tolerance, outputs, ...json }) {
  const against = tolerance.against === 'outputs' ? outputs : json[tolerance.against];
  if (!against) throw new Error(`tolerance.against names "${tolerance.against}", which the case does not have`);
  return new Map(against.map((tensor) => [tensor.name, decode(tensor, Float64Array)]));
}
