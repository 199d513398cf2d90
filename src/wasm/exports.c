/* The binary interface of the WebAssembly modules. JavaScript (web/lib) writes these structs
 * straight into memory and calls the public functions as they are (exports.txt lists them), so no
 * code is needed here: only the promise that a struct looks the way web/lib/abi.js believes.
 * tests/js/abi.test.js reads this file and compares. */
#include <stddef.h>

#include "attn.h"

#define FIELD(type, member, offset)                                                                \
    _Static_assert(offsetof(type, member) == (offset), "web/lib/abi.js: " #type "." #member)
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "web/lib/abi.js: " #type)
#define VALUE(name, number) _Static_assert((name) == (number), "web/lib/abi.js: " #name)

FIELD(attn_exec, threads, 0);
FIELD(attn_exec, workspace, 4);
FIELD(attn_exec, workspace_bytes, 8);
FIELD(attn_exec, first_task, 12);
FIELD(attn_exec, num_tasks, 16);
SIZE(attn_exec, 20);

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

FIELD(attn_sdpa_f32_data, query, 0);
FIELD(attn_sdpa_f32_data, key, 4);
FIELD(attn_sdpa_f32_data, value, 8);
FIELD(attn_sdpa_f32_data, alibi_slopes, 12);
FIELD(attn_sdpa_f32_data, out, 16);
FIELD(attn_sdpa_f32_data, weights, 20);
FIELD(attn_sdpa_f32_data, scores, 24);
FIELD(attn_sdpa_f32_data, logsumexp, 28);
SIZE(attn_sdpa_f32_data, 32);

FIELD(attn_sdpa_f64_data, query, 0);
FIELD(attn_sdpa_f64_data, key, 4);
FIELD(attn_sdpa_f64_data, value, 8);
FIELD(attn_sdpa_f64_data, alibi_slopes, 12);
FIELD(attn_sdpa_f64_data, out, 16);
FIELD(attn_sdpa_f64_data, weights, 20);
FIELD(attn_sdpa_f64_data, scores, 24);
FIELD(attn_sdpa_f64_data, logsumexp, 28);
SIZE(attn_sdpa_f64_data, 32);

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

FIELD(attn_mha_f32_data, query, 0);
FIELD(attn_mha_f32_data, key, 4);
FIELD(attn_mha_f32_data, value, 8);
FIELD(attn_mha_f32_data, q_weight, 12);
FIELD(attn_mha_f32_data, k_weight, 16);
FIELD(attn_mha_f32_data, v_weight, 20);
FIELD(attn_mha_f32_data, out_weight, 24);
FIELD(attn_mha_f32_data, q_bias, 28);
FIELD(attn_mha_f32_data, k_bias, 32);
FIELD(attn_mha_f32_data, v_bias, 36);
FIELD(attn_mha_f32_data, out_bias, 40);
FIELD(attn_mha_f32_data, bias_k, 44);
FIELD(attn_mha_f32_data, bias_v, 48);
FIELD(attn_mha_f32_data, rotary_cos, 52);
FIELD(attn_mha_f32_data, rotary_sin, 56);
FIELD(attn_mha_f32_data, out, 60);
FIELD(attn_mha_f32_data, weights, 64);
SIZE(attn_mha_f32_data, 68);

FIELD(attn_mha_f64_data, query, 0);
FIELD(attn_mha_f64_data, key, 4);
FIELD(attn_mha_f64_data, value, 8);
FIELD(attn_mha_f64_data, q_weight, 12);
FIELD(attn_mha_f64_data, k_weight, 16);
FIELD(attn_mha_f64_data, v_weight, 20);
FIELD(attn_mha_f64_data, out_weight, 24);
FIELD(attn_mha_f64_data, q_bias, 28);
FIELD(attn_mha_f64_data, k_bias, 32);
FIELD(attn_mha_f64_data, v_bias, 36);
FIELD(attn_mha_f64_data, out_bias, 40);
FIELD(attn_mha_f64_data, bias_k, 44);
FIELD(attn_mha_f64_data, bias_v, 48);
FIELD(attn_mha_f64_data, rotary_cos, 52);
FIELD(attn_mha_f64_data, rotary_sin, 56);
FIELD(attn_mha_f64_data, out, 60);
FIELD(attn_mha_f64_data, weights, 64);
SIZE(attn_mha_f64_data, 68);

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
