#include "mha_backward.h"

attn_status mha_backward_plan_init(mha_backward_plan *plan, const attn_mha_desc *desc,
                                   bool has_bias_kv, size_t element_bytes) {
    attn_sdpa_backward_desc_init(&plan->sdpa, &plan->forward.sdpa);
    const uint64_t embed_dim = (uint64_t)desc->embed_dim, kv_dim = (uint64_t)plan->forward.kv_dim;
    const uint64_t q_rows = (uint64_t)desc->batch * (uint64_t)desc->seq_len_q,
                   kv_rows = (uint64_t)desc->batch * (uint64_t)desc->seq_len_kv,
                   positions = (uint64_t)plan->forward.rotary_q.num_positions;
    uint64_t bytes = plan->forward.scratch;
    if (!mha_reserve(&bytes, &plan->logsumexp, q_rows, (uint64_t)desc->num_heads, element_bytes) ||
        !mha_reserve(&bytes, &plan->grad_q, q_rows, embed_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->grad_k, kv_rows, kv_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->grad_v, kv_rows, kv_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->grad_concat, q_rows, embed_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->negated_sin, positions, (uint64_t)desc->rotary_dim / 2,
                     element_bytes) ||
        !mha_reserve(&bytes, &plan->bias_sums, has_bias_kv ? 2 : 0, kv_dim, sizeof(double)))
        return ATTN_ERR_SIZE;
    plan->scratch = (size_t)bytes;
    return ATTN_OK;
}

bool mha_gradient_rows(mha_rows *rows, const attn_strides *strides, int32_t batch, int32_t seq_len,
                       int32_t dim) {
    if (seq_len == 1 && rows_overlap(rows->rows, rows->row_stride, dim))
        *rows = (mha_rows){batch, 1, strides->batch, strides->row, rows->packed};
    const bool is_summed = strides->batch == 0 || seq_len == 0;
    return !rows_overlap(seq_len, strides->row, dim) &&
           !rows_overlap(rows->rows, rows->row_stride, dim) &&
           (is_summed || !rows_overlap(batch, strides->batch, dim));
}

void mha_gradient_clear(void *data, const attn_strides *strides, int32_t batch, int32_t seq_len,
                        int32_t dim, size_t element_bytes) {
    const gradient g = {
        data, {batch, 1, seq_len, dim}, {strides->batch, strides->head, strides->row, 1}};
    const backward_box all = {{0, 0, 0, 0}, {batch, 1, seq_len, dim}};
    if (data)
        gradient_clear(&g, &all, element_bytes);
}
