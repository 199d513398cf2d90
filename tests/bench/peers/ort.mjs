// onnxruntime-web (and, in the separate native run, onnxruntime-node): models of one operator, or of one layer.

import { encodeModel } from '../onnx.mjs';
import { headsFirst, tokensFirst } from '../problems.mjs';

const MICROSOFT = 'com.microsoft';

// A model over inputs { name: { data, shape } }: each shape of the graph is known when it is built, as with a user's static model.
const model = (inputs, outputs, nodes, constants) => ({
  inputs,
  bytes: encodeModel({ nodes, outputs, constants, inputs: Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape])) }),
});

const matMul = (a, b, y) => ({ op: 'MatMul', inputs: [a, b], outputs: [y] });
const add = (a, b, y) => ({ op: 'Add', inputs: [a, b], outputs: [y] });

// Models by what the row computes. Each: { name, inputs, bytes, result } with result from outputs { name: data } to { output, weights }.
const MODELS = {
  sdpa({ row, query, key, value }) {
    const { heads, kvHeads, headDim, seqLenQ, causal } = row;
    const repeat = heads / kvHeads;
    const flat = { q: tokensFirst(query), k: tokensFirst(key, repeat), v: tokensFirst(value, repeat) };
    return [
      {
        name: 'MultiHeadAttention',
        ...model(flat, { y: flat.q.shape }, [{
          op: 'MultiHeadAttention', domain: MICROSOFT, inputs: ['q', 'k', 'v'], outputs: ['y'],
          attributes: { num_heads: heads, unidirectional: +causal },
        }]),
        result: ({ y }) => ({ output: headsFirst(y, heads, seqLenQ, headDim) }),
      },
      {
        name: 'Attention-23',
        ...model({ q: query, k: key, v: value }, { y: query.shape },
          [{ op: 'Attention', inputs: ['q', 'k', 'v'], outputs: ['y'], attributes: { is_causal: +causal } }]),
        result: ({ y }) => ({ output: y }),
      },
    ];
  },

  weights({ row, query, key, value }) {
    const { heads, headDim, seqLenQ, seqLenKv } = row;
    const inputs = { q: query, k: key, v: value };
    const outputs = { y: query.shape, weights: [1, heads, seqLenQ, seqLenKv] };
    const result = ({ y, weights }) => ({ output: y, weights });
    return [
      {
        name: 'MatMul, Softmax, MatMul',
        ...model(inputs, outputs, [
          { op: 'Transpose', inputs: ['k'], outputs: ['kt'], attributes: { perm: [0, 1, 3, 2] } }, // which onnxruntime fuses into the product
          matMul('q', 'kt', 'products'),
          { op: 'Mul', inputs: ['products', 'scale'], outputs: ['scores'] },
          { op: 'Softmax', inputs: ['scores'], outputs: ['weights'], attributes: { axis: -1 } },
          matMul('weights', 'v', 'y'),
        ], { scale: { data: Float32Array.of(1 / Math.sqrt(headDim)), shape: [1] } }),
        result,
      },
      {
        name: 'Attention-23 with weights',
        ...model(inputs, outputs,
          [{ op: 'Attention', inputs: ['q', 'k', 'v'], outputs: ['y', '', '', 'weights'], attributes: { qk_matmul_output_mode: 3 } }]),
        result,
      },
    ];
  },

  layer({ row, x, state }) {
    const { heads } = row;
    const embed = x.shape[2];
    const stored = state.in_proj_weight.data; // [3 embed, embed]: q, k, v below each other, each to be multiplied from the right
    const transposed = (from) => ({
      data: Float32Array.from({ length: embed * embed }, (_, at) => from[(at % embed) * embed + Math.floor(at / embed)]),
      shape: [embed, embed],
    });
    const parts = [0, 1, 2].map((i) => transposed(stored.subarray(i * embed * embed, (i + 1) * embed * embed)));
    const output = {
      constants: { wo: transposed(state['out_proj.weight'].data), bo: state['out_proj.bias'] },
      nodes: [matMul('attended', 'wo', 'projected'), add('projected', 'bo', 'y')],
    };
    const bias = state.in_proj_bias;
    const result = ({ y }) => ({ output: y });
    const projections = ['q', 'k', 'v'].flatMap((name) => [matMul('x', `w${name}`, `x${name}`), add(`x${name}`, `b${name}`, name)]);
    const separate = Object.fromEntries(['q', 'k', 'v'].flatMap((name, i) => [
      [`w${name}`, parts[i]],
      [`b${name}`, { data: bias.data.slice(i * embed, (i + 1) * embed), shape: [embed] }],
    ]));
    const columns = new Float32Array(3 * embed * embed);
    parts.forEach(({ data }, i) => {
      for (let r = 0; r < embed; r++) columns.set(data.subarray(r * embed, (r + 1) * embed), r * 3 * embed + i * embed);
    });
    return [
      {
        name: 'MatMul + Add, MultiHeadAttention, MatMul + Add',
        ...model({ x }, { y: x.shape }, [
          ...projections,
          { op: 'MultiHeadAttention', domain: MICROSOFT, inputs: ['q', 'k', 'v'], outputs: ['attended'], attributes: { num_heads: heads } },
          ...output.nodes,
        ], { ...separate, ...output.constants }),
        result,
      },
      {
        name: 'com.microsoft.Attention, MatMul + Add',
        ...model({ x }, { y: x.shape }, [
          { op: 'Attention', domain: MICROSOFT, inputs: ['x', 'w', 'b'], outputs: ['attended'], attributes: { num_heads: heads } },
          ...output.nodes,
        ], { w: { data: columns, shape: [embed, 3 * embed] }, b: bias, ...output.constants }),
        result,
      },
    ];
  },
};
MODELS.held = MODELS.sdpa; // its operators take keys and values as inputs at every call

export async function loadOrt() {
  const ort = await import('onnxruntime-web/wasm');
  ort.env.wasm.numThreads = 1;
  return { ort, version: ort.env.versions.web, options: { executionProviders: ['wasm'] } };
}

/** Contenders of a row: { name, run, result, dispose }. Both copy in and out, as the interface does. */
export function ortContenders({ ort, options }, problem) {
  return Promise.all(MODELS[problem.row.kind](problem).map(async ({ name, inputs, bytes, result }) => {
    const session = await ort.InferenceSession.create(bytes, options);
    return {
      name,
      run: () => session.run(Object.fromEntries(Object.entries(inputs).map(([input, { data, shape }]) => [input, new ort.Tensor('float32', data, shape)]))),
      result: (outputs) => result(Object.fromEntries(Object.entries(outputs).map(([output, { data }]) => [output, data]))),
      dispose: () => session.release(),
    };
  }));
}
