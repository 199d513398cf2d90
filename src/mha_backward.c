#include "mha_backward.h"

#include <string.h>

/* The rows of the gradient of a tensor of the caller, from those of the tensor. false where rows
 * overlap, so that they cannot be added to in one run; those of different runs may. */
static bool gradient_rows(mha_rows *rows, const attn_strides *strides, int32_t batch,
                          int32_t seq_len, int32_t dim) {
    if (seq_len == 1 && rows_overlap(rows->rows, rows->row_stride, dim))
        *rows = (mha_rows){batch, 1, strides->batch, strides->row, rows->packed};
    const bool is_summed = strides->batch == 0 || seq_len == 0;
    return !rows_overlap(seq_len, strides->row, dim) &&
           !rows_overlap(rows->rows, rows->row_stride, dim) &&
           (is_summed || !rows_overlap(batch, strides->batch, dim));
}

attn_status mha_backward_plan_init(mha_backward_plan *plan, const attn_mha_desc *desc,
                                   const void *const gradients[MHA_OUT], bool has_bias_kv,
                                   size_t element_bytes) {
    for (int p = 0; p < MHA_OUT; p++) {
        const mha_projection *part = &plan->forward.projections[p];
        plan->rows[p] = part->rows;
        if (gradients[p] &&
            !gradient_rows(&plan->rows[p], part->strides, desc->batch, part->seq_len, part->in_dim))
            return ATTN_ERR_OPTION;
    }
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

static void clear(void *gradient, size_t count, size_t element_bytes) {
    if (gradient)
        memset(gradient, 0, count * element_bytes);
}

void mha_gradients_clear(const mha_plan *plan, int32_t batch, void *const tensors[MHA_OUT],
                         void *const weights[MHA_TENSORS], void *const biases[MHA_TENSORS],
                         void *const bias_kv[2], size_t element_bytes) {
    for (int p = 0; p < MHA_TENSORS; p++) {
        const mha_projection *part = &plan->projections[p];
        const size_t in_dim = (size_t)part->in_dim, out_dim = (size_t)part->out_dim;
        clear(weights[p], in_dim * out_dim, element_bytes);
        clear(biases[p], out_dim, element_bytes);
        if (p == MHA_OUT || !tensors[p])
            continue;
        const attn_strides *strides = part->strides;
        const gradient g = {tensors[p],
                            {batch, 1, part->seq_len, part->in_dim},
                            {strides->batch, strides->head, strides->row, 1}};
        const backward_box all = {{0, 0, 0, 0}, {batch, 1, part->seq_len, part->in_dim}};
        gradient_clear(&g, &all, element_bytes);
    }
    for (int p = 0; p < 2; p++)
        clear(bias_kv[p], (size_t)plan->kv_dim, element_bytes);
}
