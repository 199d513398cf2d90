/* The binary interface of the WebAssembly modules. JavaScript (web/lib) writes these structs
 * straight into memory and calls the public functions as they are (exports.txt lists them), so no
 * code is needed here: only the promise that a struct looks the way web/lib/abi.js believes.
 * tests/js/abi.test.js reads this file and compares. */
#include <stddef.h>

#include "attn.h"

#define FIELD(type, member, offset)                                                                \
    _Static_assert(offsetof(type, member) == (offset), "web/lib/abi.js: " #type "." #member)
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "web/lib/abi.js: " #type)
/* The structs of float32 and of float64 data are alike: all their fields are pointers. */
#define DATA_FIELD(call, member, offset)                                                           \
    FIELD(call##_f32_data, member, offset);                                                        \
    FIELD(call##_f64_data, member, offset)
#define DATA_SIZE(call, bytes)                                                                     \
    SIZE(call##_f32_data, bytes);                                                                  \
    SIZE(call##_f64_data, bytes)
#define VALUE(name, number) _Static_assert((name) == (number), "web/lib/abi.js: " #name)

FIELD(attn_exec, threads, 0);
FIELD(attn_exec, workspace, 4);
FIELD(attn_exec, workspace_bytes, 8);
FIELD(attn_exec, first_task, 12);
FIELD(attn_exec, num_tasks, 16);
FIELD(attn_exec, first_key, 20);
FIELD(attn_exec, num_keys, 24);
SIZE(attn_exec, 28);

FIELD(attn_sdpa_desc, scale, 0);
FIELD(attn_sdpa_desc, softcap, 8);
FIELD(attn_sdpa_desc, batch, 16);
FIELD(attn_sdpa_desc, num_heads, 20);
FIELD(attn_sdpa_desc, num_kv_heads, 24);
FIELD(attn_sdpa_desc, seq_len_q, 28);
FIELD(attn_sdpa_desc, seq_len_kv, 32);
FIELD(attn_sdpa_desc, head_dim, 36);
FIELD(attn_sdpa_desc, head_dim_v, 40);
FIELD(attn_sdpa_desc, is_causal, 44);
FIELD(attn_sdpa_desc, align, 48);
FIELD(attn_sdpa_desc, window_left, 52);
FIELD(attn_sdpa_desc, window_right, 56);
FIELD(attn_sdpa_desc, scores_stage, 60);
FIELD(attn_sdpa_desc, query.batch, 64);
FIELD(attn_sdpa_desc, query.head, 68);
FIELD(attn_sdpa_desc, query.row, 72);
FIELD(attn_sdpa_desc, key.batch, 76);
FIELD(attn_sdpa_desc, key.head, 80);
FIELD(attn_sdpa_desc, key.row, 84);
FIELD(attn_sdpa_desc, value.batch, 88);
FIELD(attn_sdpa_desc, value.head, 92);
FIELD(attn_sdpa_desc, value.row, 96);
FIELD(attn_sdpa_desc, out.batch, 100);
FIELD(attn_sdpa_desc, out.head, 104);
FIELD(attn_sdpa_desc, out.row, 108);
FIELD(attn_sdpa_desc, masks[0].data, 112);
FIELD(attn_sdpa_desc, masks[0].kind, 116);
FIELD(attn_sdpa_desc, masks[0].seq_len_kv, 120);
FIELD(attn_sdpa_desc, masks[0].batch, 124);
FIELD(attn_sdpa_desc, masks[0].head, 128);
FIELD(attn_sdpa_desc, masks[0].query, 132);
FIELD(attn_sdpa_desc, masks[0].key, 136);
FIELD(attn_sdpa_desc, masks[1].data, 140);
FIELD(attn_sdpa_desc, masks[1].kind, 144);
FIELD(attn_sdpa_desc, masks[1].seq_len_kv, 148);
FIELD(attn_sdpa_desc, masks[1].batch, 152);
FIELD(attn_sdpa_desc, masks[1].head, 156);
FIELD(attn_sdpa_desc, masks[1].query, 160);
FIELD(attn_sdpa_desc, masks[1].key, 164);
FIELD(attn_sdpa_desc, kv_lengths, 168);
FIELD(attn_sdpa_desc, alibi_batch_stride, 172);
SIZE(attn_sdpa_desc, 176);

DATA_FIELD(attn_sdpa, query, 0);
DATA_FIELD(attn_sdpa, key, 4);
DATA_FIELD(attn_sdpa, value, 8);
DATA_FIELD(attn_sdpa, alibi_slopes, 12);
DATA_FIELD(attn_sdpa, out, 16);
DATA_FIELD(attn_sdpa, weights, 20);
DATA_FIELD(attn_sdpa, scores, 24);
DATA_FIELD(attn_sdpa, logsumexp, 28);
DATA_SIZE(attn_sdpa, 32);

SIZE(attn_sdpa_backward_desc, 256);

DATA_FIELD(attn_sdpa_backward, query, 0);
DATA_FIELD(attn_sdpa_backward, key, 4);
DATA_FIELD(attn_sdpa_backward, value, 8);
DATA_FIELD(attn_sdpa_backward, alibi_slopes, 12);
DATA_FIELD(attn_sdpa_backward, out, 16);
DATA_FIELD(attn_sdpa_backward, logsumexp, 20);
DATA_FIELD(attn_sdpa_backward, grad_out, 24);
DATA_FIELD(attn_sdpa_backward, grad_query, 28);
DATA_FIELD(attn_sdpa_backward, grad_key, 32);
DATA_FIELD(attn_sdpa_backward, grad_value, 36);
DATA_FIELD(attn_sdpa_backward, grad_masks[0], 40);
DATA_FIELD(attn_sdpa_backward, grad_masks[1], 44);
DATA_SIZE(attn_sdpa_backward, 48);

FIELD(attn_mha_desc, scale, 0);
FIELD(attn_mha_desc, batch, 8);
FIELD(attn_mha_desc, num_heads, 12);
FIELD(attn_mha_desc, num_kv_heads, 16);
FIELD(attn_mha_desc, seq_len_q, 20);
FIELD(attn_mha_desc, seq_len_kv, 24);
FIELD(attn_mha_desc, embed_dim, 28);
FIELD(attn_mha_desc, kdim, 32);
FIELD(attn_mha_desc, vdim, 36);
FIELD(attn_mha_desc, is_causal, 40);
FIELD(attn_mha_desc, align, 44);
FIELD(attn_mha_desc, window_left, 48);
FIELD(attn_mha_desc, window_right, 52);
FIELD(attn_mha_desc, add_zero_attn, 56);
FIELD(attn_mha_desc, average_weights, 60);
FIELD(attn_mha_desc, query.batch, 64);
FIELD(attn_mha_desc, query.head, 68);
FIELD(attn_mha_desc, query.row, 72);
FIELD(attn_mha_desc, key.batch, 76);
FIELD(attn_mha_desc, key.head, 80);
FIELD(attn_mha_desc, key.row, 84);
FIELD(attn_mha_desc, value.batch, 88);
FIELD(attn_mha_desc, value.head, 92);
FIELD(attn_mha_desc, value.row, 96);
FIELD(attn_mha_desc, out.batch, 100);
FIELD(attn_mha_desc, out.head, 104);
FIELD(attn_mha_desc, out.row, 108);
FIELD(attn_mha_desc, masks[0].data, 112);
FIELD(attn_mha_desc, masks[0].kind, 116);
FIELD(attn_mha_desc, masks[0].seq_len_kv, 120);
FIELD(attn_mha_desc, masks[0].batch, 124);
FIELD(attn_mha_desc, masks[0].head, 128);
FIELD(attn_mha_desc, masks[0].query, 132);
FIELD(attn_mha_desc, masks[0].key, 136);
FIELD(attn_mha_desc, masks[1].data, 140);
FIELD(attn_mha_desc, masks[1].kind, 144);
FIELD(attn_mha_desc, masks[1].seq_len_kv, 148);
FIELD(attn_mha_desc, masks[1].batch, 152);
FIELD(attn_mha_desc, masks[1].head, 156);
FIELD(attn_mha_desc, masks[1].query, 160);
FIELD(attn_mha_desc, masks[1].key, 164);
FIELD(attn_mha_desc, rotary_dim, 168);
FIELD(attn_mha_desc, rotary_interleaved, 172);
SIZE(attn_mha_desc, 176);

DATA_FIELD(attn_mha, query, 0);
DATA_FIELD(attn_mha, key, 4);
DATA_FIELD(attn_mha, value, 8);
DATA_FIELD(attn_mha, q_weight, 12);
DATA_FIELD(attn_mha, k_weight, 16);
DATA_FIELD(attn_mha, v_weight, 20);
DATA_FIELD(attn_mha, out_weight, 24);
DATA_FIELD(attn_mha, q_bias, 28);
DATA_FIELD(attn_mha, k_bias, 32);
DATA_FIELD(attn_mha, v_bias, 36);
DATA_FIELD(attn_mha, out_bias, 40);
DATA_FIELD(attn_mha, bias_k, 44);
DATA_FIELD(attn_mha, bias_v, 48);
DATA_FIELD(attn_mha, rotary_cos, 52);
DATA_FIELD(attn_mha, rotary_sin, 56);
DATA_FIELD(attn_mha, out, 60);
DATA_FIELD(attn_mha, weights, 64);
DATA_FIELD(attn_mha, packed_weights, 68);
DATA_SIZE(attn_mha, 72);

DATA_FIELD(attn_mha_backward, forward.query, 0);
DATA_FIELD(attn_mha_backward, forward.key, 4);
DATA_FIELD(attn_mha_backward, forward.value, 8);
DATA_FIELD(attn_mha_backward, forward.q_weight, 12);
DATA_FIELD(attn_mha_backward, forward.k_weight, 16);
DATA_FIELD(attn_mha_backward, forward.v_weight, 20);
DATA_FIELD(attn_mha_backward, forward.out_weight, 24);
DATA_FIELD(attn_mha_backward, forward.q_bias, 28);
DATA_FIELD(attn_mha_backward, forward.k_bias, 32);
DATA_FIELD(attn_mha_backward, forward.v_bias, 36);
DATA_FIELD(attn_mha_backward, forward.out_bias, 40);
DATA_FIELD(attn_mha_backward, forward.bias_k, 44);
DATA_FIELD(attn_mha_backward, forward.bias_v, 48);
DATA_FIELD(attn_mha_backward, forward.rotary_cos, 52);
DATA_FIELD(attn_mha_backward, forward.rotary_sin, 56);
DATA_FIELD(attn_mha_backward, forward.out, 60);
DATA_FIELD(attn_mha_backward, forward.weights, 64);
DATA_FIELD(attn_mha_backward, forward.packed_weights, 68);
DATA_FIELD(attn_mha_backward, grad_out, 72);
DATA_FIELD(attn_mha_backward, grad_query, 76);
DATA_FIELD(attn_mha_backward, grad_key, 80);
DATA_FIELD(attn_mha_backward, grad_value, 84);
DATA_FIELD(attn_mha_backward, grad_q_weight, 88);
DATA_FIELD(attn_mha_backward, grad_k_weight, 92);
DATA_FIELD(attn_mha_backward, grad_v_weight, 96);
DATA_FIELD(attn_mha_backward, grad_out_weight, 100);
DATA_FIELD(attn_mha_backward, grad_q_bias, 104);
DATA_FIELD(attn_mha_backward, grad_k_bias, 108);
DATA_FIELD(attn_mha_backward, grad_v_bias, 112);
DATA_FIELD(attn_mha_backward, grad_out_bias, 116);
DATA_FIELD(attn_mha_backward, grad_bias_k, 120);
DATA_FIELD(attn_mha_backward, grad_bias_v, 124);
DATA_FIELD(attn_mha_backward, grad_masks[0], 128);
DATA_FIELD(attn_mha_backward, grad_masks[1], 132);
DATA_SIZE(attn_mha_backward, 136);

FIELD(attn_rotary_desc, batch, 0);
FIELD(attn_rotary_desc, num_heads, 4);
FIELD(attn_rotary_desc, seq_len, 8);
FIELD(attn_rotary_desc, head_dim, 12);
FIELD(attn_rotary_desc, rotary_dim, 16);
FIELD(attn_rotary_desc, interleaved, 20);
FIELD(attn_rotary_desc, num_positions, 24);
FIELD(attn_rotary_desc, table_batch, 28);
FIELD(attn_rotary_desc, x.batch, 32);
FIELD(attn_rotary_desc, x.head, 36);
FIELD(attn_rotary_desc, x.row, 40);
FIELD(attn_rotary_desc, out.batch, 44);
FIELD(attn_rotary_desc, out.head, 48);
FIELD(attn_rotary_desc, out.row, 52);
FIELD(attn_rotary_desc, position_ids, 56);
SIZE(attn_rotary_desc, 60);

FIELD(attn_explain_f64_terms, products, 0);
FIELD(attn_explain_f64_terms, dots, 4);
FIELD(attn_explain_f64_terms, scaled, 8);
FIELD(attn_explain_f64_terms, softcapped, 12);
FIELD(attn_explain_f64_terms, scores, 16);
FIELD(attn_explain_f64_terms, shifted, 20);
FIELD(attn_explain_f64_terms, exponentials, 24);
FIELD(attn_explain_f64_terms, weights, 28);
FIELD(attn_explain_f64_terms, weighted, 32);
FIELD(attn_explain_f64_terms, out, 36);
FIELD(attn_explain_f64_terms, visible, 40);
SIZE(attn_explain_f64_terms, 44);

FIELD(attn_explain_f64_totals, max, 0);
FIELD(attn_explain_f64_totals, shift, 8);
FIELD(attn_explain_f64_totals, sum, 16);
FIELD(attn_explain_f64_totals, logsumexp, 24);
SIZE(attn_explain_f64_totals, 32);

FIELD(attn_head_statistics, entropy, 0);
FIELD(attn_head_statistics, distance, 8);
FIELD(attn_head_statistics, diagonal, 16);
FIELD(attn_head_statistics, previous, 24);
FIELD(attn_head_statistics, first, 32);
FIELD(attn_head_statistics, max, 40);
FIELD(attn_head_statistics, rows, 48);
SIZE(attn_head_statistics, 56);

VALUE(ATTN_OK, 0);
VALUE(ATTN_ERR_SIZE, 5);
VALUE(ATTN_ERR_MEMORY, 8);
VALUE(ATTN_ERR_UNSUPPORTED, 9);
VALUE(ATTN_MASK_NONE, 0);
VALUE(ATTN_MASK_BOOL, 1);
VALUE(ATTN_MASK_ADD, 2);
VALUE(ATTN_ALIGN_TOP_LEFT, 0);
VALUE(ATTN_ALIGN_BOTTOM_RIGHT, 1);
VALUE(ATTN_SCORES_RAW, 0);
VALUE(ATTN_SCORES_SOFTCAPPED, 1);
VALUE(ATTN_SCORES_MASKED, 2);
VALUE(ATTN_FUSE_MEAN, 0);
VALUE(ATTN_FUSE_MAX, 1);
VALUE(ATTN_FUSE_MIN, 2);
