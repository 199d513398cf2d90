// A reporter for `node --test`: one JSON line per test that ran, for tests/run.mjs to count.
// A suite is no test, and neither is a file that only holds tests.

import path from 'node:path';

export default async function* reporter(source) {
  for await (const { type, data } of source) {
    // Some versions of Node name it relatively, some the whole way.
    const file = data.file && path.resolve(data.file);
    if (type === 'test:stderr' || type === 'test:stdout') {
      yield JSON.stringify({ output: data.message, file }) + '\n';
    } else if (type === 'test:pass' || type === 'test:fail') {
      if (data.details?.type === 'suite') continue;
      const error = data.details?.error;
      const cause = error?.cause ?? error;
      // Where tests inside it failed, they have been counted already.
      if (error?.failureType === 'subtestsFailed') continue;
      // A file that failed as a whole is reported as a test with the file's name.
      const wholeFile = file !== undefined && path.resolve(data.name) === file;
      // ... and one that passes as a whole held no test.
      const empty = wholeFile && type === 'test:pass';
      const outcome =
        data.skip !== undefined || data.todo !== undefined ? 'skipped' : type === 'test:pass' && !empty ? 'passed' : 'failed';
      yield JSON.stringify({
        outcome,
        name: data.name,
        wholeFile,
        file,
        reason: [data.skip, data.todo].find((reason) => typeof reason === 'string') ?? '',
        error: empty ? 'the file holds no test' : outcome === 'failed' ? (cause?.stack ?? String(cause)) : undefined,
      }) + '\n';
    }
  }
}
