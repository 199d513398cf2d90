#include "sdpa_backward_common.h"

#include <string.h>

void attn_sdpa_backward_desc_init(attn_sdpa_backward_desc *desc, const attn_sdpa_desc *forward) {
    *desc = (attn_sdpa_backward_desc){
        .forward = *forward,
        .grad_out = forward->out,
        .grad_query = forward->query,
        .grad_key = forward->key,
        .grad_value = forward->value,
    };
    for (int m = 0; m < 2; m++) {
        const attn_mask *mask = &forward->masks[m];
        desc->grad_masks[m] = (attn_mask_strides){mask->batch, mask->head, mask->query, mask->key};
    }
}

static gradient kv_gradient(const attn_sdpa_desc *forward, void *data, int32_t dim,
                            const attn_strides *s) {
    return (gradient){data,
                      {forward->batch, forward->num_kv_heads, forward->seq_len_kv, dim},
                      {s->batch, s->head, s->row, 1}};
}

attn_status backward_check(const attn_sdpa_backward_desc *desc, const backward_tensors *tensors,
                           size_t element_bytes, gradient gradients[NUM_GRADIENTS]) {
    const sdpa_tensors inputs = {
        .query = tensors->query,
        .key = tensors->key,
        .value = tensors->value,
        .alibi_slopes = tensors->alibi_slopes,
        .logsumexp = tensors->logsumexp,
    };
    attn_sdpa_desc forward = desc->forward;
    forward.scores_stage = ATTN_SCORES_RAW;
    attn_status status = sdpa_check(&forward, &inputs, element_bytes);
    const uint64_t limit = PTRDIFF_MAX / element_bytes;
    if (status == ATTN_OK)
        status = check_tensor(tensors->out, forward.batch, forward.num_heads, forward.seq_len_q,
                              forward.head_dim_v, &forward.out, limit);
    if (status == ATTN_OK)
        status = check_tensor(tensors->grad_out, forward.batch, forward.num_heads,
                              forward.seq_len_q, forward.head_dim_v, &desc->grad_out, limit);
    if (status != ATTN_OK)
        return status;
    if (!tensors->logsumexp && forward.batch > 0 && forward.seq_len_q > 0)
        return ATTN_ERR_NULL;

    const attn_strides *query = &desc->grad_query;
    gradients[GRAD_QUERY] =
        (gradient){tensors->grad_query,
                   {forward.batch, forward.num_heads, forward.seq_len_q, forward.head_dim},
                   {query->batch, query->head, query->row, 1}};
    gradients[GRAD_KEY] =
        kv_gradient(&forward, tensors->grad_key, forward.head_dim, &desc->grad_key);
    gradients[GRAD_VALUE] =
        kv_gradient(&forward, tensors->grad_value, forward.head_dim_v, &desc->grad_value);
    for (int m = 0; m < 2; m++) {
        const attn_mask *mask = &forward.masks[m];
        if (tensors->grad_masks[m] && mask->kind != ATTN_MASK_ADD)
            return ATTN_ERR_OPTION;
        const attn_mask_strides *s = &desc->grad_masks[m];
        gradients[GRAD_MASKS + m] = (gradient){
            tensors->grad_masks[m],
            {forward.batch, forward.num_heads, forward.seq_len_q, sdpa_mask_keys(&forward, mask)},
            {s->batch, s->head, s->query, s->key}};
    }
    for (int g = 0; g < NUM_GRADIENTS; g++)
        if (gradients[g].data &&
            tensor_extent(4, gradients[g].sizes, gradients[g].strides, limit) == UINT64_MAX)
            return ATTN_ERR_SIZE;
    return ATTN_OK;
}

static ptrdiff_t magnitude(ptrdiff_t stride) {
    return stride < 0 ? -stride : stride;
}

/* True where every stride that is not 0 reaches beyond all that the smaller ones span: then each
 * place has one index on every such axis. Where it is not so, nothing is said to divide. */
bool gradient_divides(const gradient *g, int axis) {
    if (!g->data || g->sizes[axis] <= 1)
        return true;
    if (g->strides[axis] == 0)
        return false;
    ptrdiff_t span = 1; /* elements that the axes up to `reach` cover */
    for (ptrdiff_t reach = 0;;) {
        int next = -1;
        for (int a = 0; a < 4; a++)
            if (g->sizes[a] > 1 && magnitude(g->strides[a]) > reach &&
                (next < 0 || magnitude(g->strides[a]) < magnitude(g->strides[next])))
                next = a;
        if (next < 0)
            return true;
        reach = magnitude(g->strides[next]);
        if (reach < span)
            return false;
        for (int a = 0; a < 4; a++)
            if (a != next && g->sizes[a] > 1 && magnitude(g->strides[a]) == reach)
                return false;
        span += (g->sizes[next] - 1) * reach;
    }
}

static bool all_divide(const gradient gradients[NUM_GRADIENTS], unsigned which, int axis) {
    for (int g = 0; g < NUM_GRADIENTS; g++)
        if (which & (1u << g) && !gradient_divides(&gradients[g], axis))
            return false;
    return true;
}

int64_t backward_num_parts(const attn_sdpa_desc *desc, const gradient gradients[NUM_GRADIENTS],
                           unsigned which) {
    return (int64_t)(all_divide(gradients, which, 0) ? desc->batch : 1) *
           (all_divide(gradients, which, 1) ? desc->num_kv_heads : 1);
}

backward_part backward_part_at(const attn_sdpa_desc *desc, const gradient gradients[NUM_GRADIENTS],
                               unsigned which, int32_t index) {
    backward_part part = {0, desc->batch, 0, desc->num_kv_heads};
    int32_t parts_of_batch = 1;
    if (all_divide(gradients, which, 1)) {
        part.first_kv_head = index % desc->num_kv_heads;
        part.kv_heads = 1;
        parts_of_batch = desc->num_kv_heads;
    }
    if (all_divide(gradients, which, 0)) {
        part.first_batch = index / parts_of_batch;
        part.batches = 1;
    }
    return part;
}

backward_box backward_box_of(const attn_sdpa_desc *desc, const gradient gradients[NUM_GRADIENTS],
                             int g, const backward_part *part) {
    const int32_t heads =
        g == GRAD_KEY || g == GRAD_VALUE ? 1 : desc->num_heads / desc->num_kv_heads;
    return (backward_box){
        {part->first_batch, part->first_kv_head * heads, 0, 0},
        {part->batches, part->kv_heads * heads, gradients[g].sizes[2], gradients[g].sizes[3]}};
}

void gradient_clear(const gradient *g, const backward_box *box, size_t element_bytes) {
    /* An axis of stride 0 has one place for all its indices. */
    int32_t count[4];
    for (int axis = 0; axis < 4; axis++)
        count[axis] = g->strides[axis] == 0 && box->count[axis] > 1 ? 1 : box->count[axis];
    const ptrdiff_t bytes = (ptrdiff_t)element_bytes;
    for (int32_t b = 0; b < count[0]; b++)
        for (int32_t h = 0; h < count[1]; h++)
            for (int32_t r = 0; r < count[2]; r++) {
                const ptrdiff_t at =
                    (box->first[0] + b) * g->strides[0] + (box->first[1] + h) * g->strides[1] +
                    (box->first[2] + r) * g->strides[2] + box->first[3] * g->strides[3];
                char *row = (char *)g->data + at * bytes;
                if (g->strides[3] == 1)
                    memset(row, 0, (size_t)count[3] * element_bytes);
                else
                    for (int32_t e = 0; e < count[3]; e++)
                        memset(row + e * g->strides[3] * bytes, 0, element_bytes);
            }
}
