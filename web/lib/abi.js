// The structs of attn.h as they lie in wasm32 memory: doubles first, then 4-byte words, in order. src/wasm/exports.c
// pins every offset and number on the C side; tests/js/abi.test.js compares the two.

// layout(doubles, words) -> { fields: { name: offset, outer: { inner: offset } }, doubles: their bytes, size }
function layout(doubles, words) {
  const fields = {};
  let size = 0;
  const add = (name, bytes) => {
    const [outer, inner] = name.split('.');
    if (inner) (fields[outer] ??= {})[inner] = size;
    else fields[outer] = size;
    size += bytes;
  };
  for (const name of doubles) add(name, 8);
  for (const name of words) add(name, 4);
  return { fields, doubles: doubles.length * 8, size };
}

const join = (prefixes, names) => prefixes.flatMap((prefix) => names.map((name) => `${prefix}.${name}`));

const TENSORS = [
  ...join(['query', 'key', 'value', 'out'], ['batch', 'head', 'row']),
  ...join(['masks[0]', 'masks[1]'], ['data', 'kind', 'seq_len_kv', 'batch', 'head', 'query', 'key']),
];
const LIMITS = ['is_causal', 'align', 'window_left', 'window_right'];

export const SDPA_DESC = layout(['scale', 'softcap'], ['batch', 'num_heads', 'num_kv_heads', 'seq_len_q', 'seq_len_kv',
  'head_dim', 'head_dim_v', ...LIMITS, 'scores_stage', ...TENSORS, 'kv_lengths', 'alibi_batch_stride']);
export const SDPA_DATA = layout([], ['query', 'key', 'value', 'alibi_slopes', 'out', 'weights', 'scores', 'logsumexp']);
// The library fills in attn_sdpa_backward_desc from attn_sdpa_desc: only its size is needed here.
export const SDPA_BACKWARD_DESC = { fields: {}, doubles: 16, size: 256 };
export const SDPA_BACKWARD_DATA = layout([], ['query', 'key', 'value', 'alibi_slopes', 'out', 'logsumexp', 'grad_out',
  'grad_query', 'grad_key', 'grad_value', 'grad_masks[0]', 'grad_masks[1]']);
export const MHA_DESC = layout(['scale'], ['batch', 'num_heads', 'num_kv_heads', 'seq_len_q', 'seq_len_kv', 'embed_dim',
  'kdim', 'vdim', ...LIMITS, 'add_zero_attn', 'average_weights', ...TENSORS, 'rotary_dim', 'rotary_interleaved']);
const MHA_TENSORS = ['query', 'key', 'value', 'q_weight', 'k_weight', 'v_weight', 'out_weight', 'q_bias', 'k_bias', 'v_bias',
  'out_bias', 'bias_k', 'bias_v'];
const MHA_FORWARD = [...MHA_TENSORS, 'rotary_cos', 'rotary_sin', 'out', 'weights', 'packed_weights'];
export const MHA_DATA = layout([], MHA_FORWARD);
export const MHA_BACKWARD_DATA = layout([], [...join(['forward'], MHA_FORWARD), 'grad_out', ...MHA_TENSORS.map((name) => `grad_${name}`),
  'grad_masks[0]', 'grad_masks[1]']);
export const ROTARY_DESC = layout([], ['batch', 'num_heads', 'seq_len', 'head_dim', 'rotary_dim', 'interleaved',
  'num_positions', 'table_batch', ...join(['x', 'out'], ['batch', 'head', 'row']), 'position_ids']);
export const EXPLAIN_F64_TERMS = layout([], ['products', 'dots', 'scaled', 'softcapped', 'scores', 'shifted', 'exponentials',
  'weights', 'weighted', 'out', 'visible']);
export const EXPLAIN_F64_TOTALS = layout(['max', 'shift', 'sum', 'logsumexp'], []);
export const HEAD_STATISTICS = layout(['entropy', 'distance', 'diagonal', 'previous', 'first', 'max'], ['rows']);
export const EXEC = layout([], ['threads', 'workspace', 'workspace_bytes', 'first_task', 'num_tasks', 'first_key', 'num_keys']);

export const STATUS = { OK: 0, ERR_SIZE: 5, ERR_MEMORY: 8, ERR_UNSUPPORTED: 9 };
export const MASK = { NONE: 0, BOOL: 1, ADD: 2 };
export const ALIGN = { 'top-left': 0, 'bottom-right': 1 };
export const SCORES = { raw: 0, softcapped: 1, masked: 2 };
export const FUSION = { mean: 0, max: 1, min: 2 };
