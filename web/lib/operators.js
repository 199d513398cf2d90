import { EXEC } from './abi.js';
import { count } from './heap.js';
import { argument, commonType, rank, size } from './shapes.js';
import { wrongSize } from './status.js';
import { Tensor } from './tensor.js';

// atLeast1(tensor, axes): any rank but 0.
const atLeast1 = ({ name, shape }, axes) => {
  if (shape.length < 1) throw wrongSize(name, `rank 1 or more (${axes})`, 'shape []');
};

export function linear(heap, x, weight, bias) {
  const input = argument(heap, x, 'x');
  const w = argument(heap, weight, 'weight');
  const b = bias == null ? null : argument(heap, bias, 'bias');
  const type = commonType(...[input, w, b].filter(Boolean));
  rank(w, [2], '[outDim, inDim]');
  const inDim = size(w, 1);
  const outDim = size(w, 2);
  atLeast1(input, '[..., inDim]');
  size(input, 1, inDim, 'inDim of weight');
  if (b) {
    rank(b, [1], '[outDim]');
    size(b, 1, outDim, 'outDim of weight');
  }
  const shape = [...input.shape.slice(0, -1), outDim];
  const rows = count(shape) / outDim;
  return heap.scope((scope) => {
    const y = scope.takeTensor(shape, type, 'output');
    const args = [rows, inDim, outDim, scope.put(input, type), inDim, scope.put(w, type), b ? scope.put(b, type) : 0, y, outDim];
    if (type === 'f32') {
      const bytes = scope.take(4);
      heap.call('attn_linear_f32_workspace', rows, inDim, outDim, heap.threads, bytes);
      const workspace_bytes = heap.view('u32', bytes, 1)[0];
      const exec = scope.take(EXEC.size);
      args.push(exec);
      const workspace = workspace_bytes && scope.take(workspace_bytes);
      heap.write(exec, EXEC, { threads: heap.threads, workspace, workspace_bytes, first_task: 0, num_tasks: 0 });
    }
    scope.fill();
    heap.call(`attn_linear_${type}`, ...args);
    return new Tensor(heap.copy(type, y, count(shape)), shape);
  });
}
