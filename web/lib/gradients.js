// Gradients of sdpa.

import { SDPA_BACKWARD_DATA, SDPA_BACKWARD_DESC, SDPA_DATA } from './abi.js';
import { count } from './heap.js';
import { OPTIONS as FORWARD, prepare, run } from './sdpa.js';
import { argument, commonType } from './shapes.js';
import { readOptions, wrongKind, wrongSize } from './status.js';
import { Tensor } from './tensor.js';

const { returnWeights, returnScores, returnLogsumexp, out, ...INPUTS } = FORWARD;
const OPTIONS = { ...INPUTS, output: null, logsumexp: null };

// special: of another score, see scores.js. { type, open(scope) -> { forward, backward }, both called like run() }.
export function sdpaBackward(heap, gradOutput, query, key, value, options, special = { type: null, open: () => ({ forward: run, backward: run }) }) {
  const { output, logsumexp, ...forward } = readOptions(options, 'options', OPTIONS);
  if ((output === null) !== (logsumexp === null)) throw wrongKind(output === null ? 'output' : 'logsumexp', 'both output and logsumexp, or neither', null);
  const given = { gradOutput, ...(output !== null && { output, logsumexp }) };
  const args = Object.fromEntries(Object.entries(given).map(([name, tensor]) => [name, argument(heap, tensor, name)]));
  const inputs = [argument(heap, query, 'query'), argument(heap, key, 'key'), argument(heap, value, 'value')];
  const type = special.type ?? commonType(...inputs, ...Object.values(args));
  const { name, shape, shapes, tensors, load } = prepare(heap, ...inputs, { ...forward, returnLogsumexp: true }, { type });
  const expected = { gradOutput: shapes.out, output: shapes.out, logsumexp: shapes.logsumexp };
  for (const [argName, tensor] of Object.entries(args))
    if (`${tensor.shape}` !== `${expected[argName]}`)
      throw wrongSize(argName, `shape [${expected[argName].join(', ')}]`, `[${tensor.shape.join(', ')}]`);
  const { query: q, key: k, value: v, attnMask } = tensors;

  return heap.scope((scope) => {
    const pointers = Object.fromEntries(Object.entries(args).map(([argName, tensor]) => [argName, scope.put(tensor, type)]));
    const { forward: attend, backward } = special.open(scope);
    const gradients = {};
    const take = (field, tensor) => {
      if (tensor && tensor.type !== 'bool' && count(tensor.shape)) gradients[field] = [scope.takeTensor(tensor.shape, type, tensor.name), tensor];
    };
    take('grad_query', q);
    take('grad_key', k);
    take('grad_value', v);
    take('grad_masks[0]', attnMask);
    const [desc, data] = load(scope);
    if (output === null) attend(heap, scope, name, type, desc, data);

    const backwardDesc = scope.take(SDPA_BACKWARD_DESC.size);
    const backwardData = scope.take(SDPA_BACKWARD_DATA.size);
    const results = Object.fromEntries(Object.keys(SDPA_BACKWARD_DATA.fields).map((field) => [field, gradients[field]?.[0] ?? 0]));
    const pointersOf = heap.view('u32', data, SDPA_DATA.size / 4);
    for (const field of ['query', 'key', 'value', 'alibi_slopes', 'out', 'logsumexp']) results[field] = pointersOf[SDPA_DATA.fields[field] / 4];
    results.grad_out = pointers.gradOutput;
    if (output !== null) [results.out, results.logsumexp] = [pointers.output, pointers.logsumexp];
    // Where an axis is empty, there is no index for C to write a gradient of a broadcast tensor at.
    if (!(shape.batch && shape.seq_len_q && shape.seq_len_kv))
      for (const [pointer, tensor] of Object.values(gradients)) heap.view(type, pointer, count(tensor.shape)).fill(0);
    heap.call('attn_sdpa_backward_desc_init', backwardDesc, desc);
    heap.write(backwardData, SDPA_BACKWARD_DATA, results);
    backward(heap, scope, `attn_sdpa_backward_${type}`, type, backwardDesc, backwardData);

    const result = (field, tensor) => new Tensor(heap.copy(type, gradients[field]?.[0] ?? 0, count(tensor.shape)), [...tensor.shape]);
    return {
      gradQuery: result('grad_query', q),
      gradKey: result('grad_key', k),
      gradValue: result('grad_value', v),
      gradAttnMask: attnMask && attnMask.type !== 'bool' ? result('grad_masks[0]', attnMask) : null,
    };
  });
}
