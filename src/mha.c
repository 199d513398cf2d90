#include "mha.h"

#include <math.h>

#include "linear.h"

void attn_mha_desc_init(attn_mha_desc *desc, int32_t batch, int32_t num_heads, int32_t seq_len_q,
                        int32_t seq_len_kv, int32_t embed_dim) {
    /* The layer's tensors are sdpa's with one head as wide as the embedding. */
    attn_sdpa_desc rows;
    attn_sdpa_desc_init(&rows, batch, 1, 1, seq_len_q, seq_len_kv, embed_dim, embed_dim);
    const int32_t head_dim = num_heads > 0 ? embed_dim / num_heads : 0;
    *desc = (attn_mha_desc){
        .scale = head_dim > 0 ? 1.0 / sqrt((double)head_dim) : 1.0,
        .batch = batch,
        .num_heads = num_heads,
        .num_kv_heads = num_heads,
        .seq_len_q = seq_len_q,
        .seq_len_kv = seq_len_kv,
        .embed_dim = embed_dim,
        .kdim = embed_dim,
        .vdim = embed_dim,
        .window_left = -1,
        .window_right = -1,
        .query = rows.query,
        .key = rows.key,
        .value = rows.value,
        .out = rows.out,
    };
}

/* a == b * c, without overflow; b > 0 */
static bool is_product(ptrdiff_t a, int32_t b, ptrdiff_t c) {
    return a % b == 0 && a / b == c;
}

static mha_rows plan_rows(const attn_strides *strides, int32_t batch, int32_t seq_len,
                          int32_t dim) {
    const attn_strides batch_first = {(ptrdiff_t)seq_len * dim, 0, dim};
    const attn_strides seq_first = {dim, 0, (ptrdiff_t)batch * dim};
    const int64_t all = (int64_t)batch * seq_len;
    if (all == 0)
        return (mha_rows){0, 0, 0, 0, batch_first};
    if (all <= INT32_MAX && (batch == 1 || is_product(strides->batch, seq_len, strides->row)))
        return (mha_rows){1, (int32_t)all, 0, strides->row, batch_first};
    if (all <= INT32_MAX && (seq_len == 1 || is_product(strides->row, batch, strides->batch)))
        return (mha_rows){1, (int32_t)all, 0, strides->batch, seq_first};
    return (mha_rows){batch, seq_len, strides->batch, strides->row, batch_first};
}

bool mha_reserve(uint64_t *bytes, size_t *piece, uint64_t rows, uint64_t columns,
                 size_t element_bytes) {
    const uint64_t limit = PTRDIFF_MAX - 15;
    uint64_t end = *bytes;
    if (!add_product(&end, rows, columns * element_bytes, limit))
        return false;
    *piece = (size_t)*bytes;
    *bytes = workspace_piece((size_t)end);
    return true;
}

attn_status mha_plan_init(mha_plan *plan, const attn_mha_desc *desc,
                          const void *const tensors[MHA_TENSORS],
                          const void *const weights[MHA_TENSORS], bool has_bias_kv,
                          bool wants_weights, size_t element_bytes) {
    if (desc->batch < 0 || desc->seq_len_q < 0 || desc->seq_len_kv < 0)
        return ATTN_ERR_SHAPE;
    if (desc->num_heads < 1 || desc->num_kv_heads < 1 || desc->embed_dim < 1 || desc->kdim < 1 ||
        desc->vdim < 1)
        return ATTN_ERR_SHAPE;
    if (desc->embed_dim % desc->num_heads != 0 || desc->num_heads % desc->num_kv_heads != 0)
        return ATTN_ERR_HEADS;
    if (desc->batch > 0 && desc->seq_len_q > 0 &&
        (rows_overlap(desc->batch, desc->out.batch, desc->embed_dim) ||
         rows_overlap(desc->seq_len_q, desc->out.row, desc->embed_dim)))
        return ATTN_ERR_OPTION;
    if (desc->rotary_dim < 0 || desc->rotary_dim % 2 != 0 ||
        desc->rotary_dim > desc->embed_dim / desc->num_heads)
        return ATTN_ERR_SHAPE;

    const bool average = wants_weights && desc->average_weights && desc->num_heads > 1;
    const int32_t head_dim = desc->embed_dim / desc->num_heads,
                  kv_dim = desc->num_kv_heads * head_dim;
    *plan = (mha_plan){
        .head_dim = head_dim,
        .kv_dim = kv_dim,
        .extra = (has_bias_kv ? 1 : 0) + (desc->add_zero_attn ? 1 : 0),
        .heads_per_call = average ? 1 : desc->num_heads,
        .projections =
            {
                [MHA_QUERY] = {.strides = &desc->query,
                               .seq_len = desc->seq_len_q,
                               .in_dim = desc->embed_dim,
                               .out_dim = desc->embed_dim},
                [MHA_KEY] = {.strides = &desc->key,
                             .seq_len = desc->seq_len_kv,
                             .in_dim = desc->kdim,
                             .out_dim = kv_dim},
                [MHA_VALUE] = {.strides = &desc->value,
                               .seq_len = desc->seq_len_kv,
                               .in_dim = desc->vdim,
                               .out_dim = kv_dim},
                [MHA_OUT] = {.strides = &desc->out,
                             .seq_len = desc->seq_len_q,
                             .in_dim = desc->embed_dim,
                             .out_dim = desc->embed_dim},
            },
    };

    /* The projections' weights [out, in] and the weights of the attention have to fit, too. */
    const uint64_t limit = PTRDIFF_MAX / element_bytes;
    for (int p = 0; p < MHA_TENSORS; p++) {
        const mha_projection *part = &plan->projections[p];
        uint64_t elements = 0;
        if (!add_product(&elements, (uint64_t)part->out_dim, (uint64_t)part->in_dim, limit))
            return ATTN_ERR_SIZE;
    }
    const uint64_t weight_rows = (uint64_t)desc->batch * (uint64_t)desc->seq_len_q;
    const uint64_t num_keys = (uint64_t)desc->seq_len_kv + (uint64_t)plan->extra;
    if (wants_weights) {
        uint64_t rows = 0, elements = 0;
        if (!add_product(&rows, weight_rows, average ? 1 : (uint64_t)desc->num_heads, limit) ||
            !add_product(&elements, rows, num_keys, limit))
            return ATTN_ERR_SIZE;
    }

    /* Where every projected tensor fits, so do the strides that are computed from the same sizes.
     */
    const uint64_t q_rows = weight_rows,
                   kv_rows = (uint64_t)desc->batch * (uint64_t)desc->seq_len_kv;
    const uint64_t lse_columns = plan->extra > 0 ? (uint64_t)plan->heads_per_call : 0;
    uint64_t bytes = 0;
    if (!mha_reserve(&bytes, &plan->q, q_rows, (uint64_t)desc->embed_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->k, kv_rows, (uint64_t)kv_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->v, kv_rows, (uint64_t)kv_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->concat, q_rows, (uint64_t)desc->embed_dim, element_bytes) ||
        !mha_reserve(&bytes, &plan->logsumexp, q_rows, lse_columns, element_bytes) ||
        !mha_reserve(&bytes, &plan->weights, q_rows, average ? num_keys : 0, element_bytes))
        return ATTN_ERR_SIZE;
    plan->scratch = (size_t)bytes;

    for (int p = 0; p < MHA_TENSORS; p++) {
        mha_projection *part = &plan->projections[p];
        const attn_status status = !weights[p]
                                       ? ATTN_ERR_NULL
                                       : check_tensor(tensors[p], desc->batch, 1, part->seq_len,
                                                      part->in_dim, part->strides, limit);
        if (status != ATTN_OK)
            return status;
        part->rows = plan_rows(part->strides, desc->batch, part->seq_len, part->out_dim);
        part->panels = plan->panels_end;
        plan->panels_end += linear_panels_size(part->in_dim, part->out_dim);
    }
    const attn_strides *q = &plan->projections[MHA_QUERY].rows.packed,
                       *k = &plan->projections[MHA_KEY].rows.packed,
                       *v = &plan->projections[MHA_VALUE].rows.packed,
                       *out = &plan->projections[MHA_OUT].rows.packed;

    const int32_t longest = desc->seq_len_q > desc->seq_len_kv ? desc->seq_len_q : desc->seq_len_kv;
    plan->rotary_q = (attn_rotary_desc){
        .batch = desc->batch,
        .num_heads = desc->num_heads,
        .seq_len = desc->seq_len_q,
        .head_dim = head_dim,
        .rotary_dim = desc->rotary_dim,
        .interleaved = desc->rotary_interleaved,
        .num_positions = longest,
        .x = *q,
        .out = *q,
    };
    plan->rotary_k = plan->rotary_q;
    plan->rotary_k.num_heads = desc->num_kv_heads;
    plan->rotary_k.seq_len = desc->seq_len_kv;
    plan->rotary_k.x = plan->rotary_k.out = *k;
    plan->rotary_q.x.head = plan->rotary_q.out.head = head_dim;
    plan->rotary_k.x.head = plan->rotary_k.out.head = head_dim;

    attn_sdpa_desc *sdpa = &plan->sdpa;
    attn_sdpa_desc_init(sdpa, desc->batch, plan->heads_per_call, average ? 1 : desc->num_kv_heads,
                        desc->seq_len_q, desc->seq_len_kv, head_dim, head_dim);
    sdpa->scale = desc->scale;
    sdpa->is_causal = desc->is_causal;
    sdpa->align = desc->align;
    sdpa->window_left = desc->window_left;
    sdpa->window_right = desc->window_right;
    sdpa->masks[0] = desc->masks[0];
    sdpa->masks[1] = desc->masks[1];
    sdpa->query = *q;
    sdpa->key = *k;
    sdpa->value = *v;
    sdpa->out = *out;
    sdpa->query.head = sdpa->key.head = sdpa->value.head = sdpa->out.head = head_dim;
    return ATTN_OK;
}
