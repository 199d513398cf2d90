#include "sdpa_common.h"

#include <math.h>

/* What float32 paths take for scale and softcap, unless it is 0. */
#define FLOAT32_FACTOR_LEAST 0x1p-100
#define FLOAT32_FACTOR_MOST 0x1p100

/* Elements between neighbours of an axis whose inner axes hold `inner` blocks of `size` elements.
 * Saturates, so that sizes which do not fit the address space stay too large for every check. */
static ptrdiff_t contiguous_stride(ptrdiff_t size, int32_t inner) {
    if (inner <= 0 || size <= 0)
        return 0;
    return size > PTRDIFF_MAX / inner ? PTRDIFF_MAX : size * inner;
}

static attn_strides contiguous_strides(int32_t heads, int32_t rows, int32_t dim) {
    const ptrdiff_t row = dim;
    const ptrdiff_t head = contiguous_stride(row, rows);
    return (attn_strides){.batch = contiguous_stride(head, heads), .head = head, .row = row};
}

void attn_sdpa_desc_init(attn_sdpa_desc *desc, int32_t batch, int32_t num_heads,
                         int32_t num_kv_heads, int32_t seq_len_q, int32_t seq_len_kv,
                         int32_t head_dim, int32_t head_dim_v) {
    *desc = (attn_sdpa_desc){
        .scale = head_dim > 0 ? 1.0 / sqrt((double)head_dim) : 1.0,
        .batch = batch,
        .num_heads = num_heads,
        .num_kv_heads = num_kv_heads,
        .seq_len_q = seq_len_q,
        .seq_len_kv = seq_len_kv,
        .head_dim = head_dim,
        .head_dim_v = head_dim_v,
        .window_left = -1,
        .window_right = -1,
        .query = contiguous_strides(num_heads, seq_len_q, head_dim),
        .key = contiguous_strides(num_kv_heads, seq_len_kv, head_dim),
        .value = contiguous_strides(num_kv_heads, seq_len_kv, head_dim_v),
        .out = contiguous_strides(num_heads, seq_len_q, head_dim_v),
    };
}

static uint64_t magnitude(ptrdiff_t stride) {
    return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

uint64_t tensor_extent(int axes, const int32_t *sizes, const ptrdiff_t *strides, uint64_t limit) {
    uint64_t extent = 1;
    bool is_empty = false;
    for (int axis = 0; axis < axes; axis++) {
        is_empty |= sizes[axis] == 0;
        /* Rows without elements are counted through, too: their offsets must not overflow. */
        if (sizes[axis] > 0 &&
            !add_product(&extent, (uint64_t)sizes[axis] - 1, magnitude(strides[axis]), limit))
            return UINT64_MAX;
    }
    return is_empty ? 0 : extent;
}

attn_status check_tensor(const void *data, int32_t batch, int32_t heads, int32_t rows, int32_t dim,
                         const attn_strides *strides, uint64_t limit) {
    const int32_t sizes[4] = {batch, heads, rows, dim};
    const ptrdiff_t steps[4] = {strides->batch, strides->head, strides->row, 1};
    const uint64_t extent = tensor_extent(4, sizes, steps, limit);
    if (extent == UINT64_MAX)
        return ATTN_ERR_SIZE;
    return extent != 0 && !data ? ATTN_ERR_NULL : ATTN_OK;
}

bool rows_overlap(int32_t count, ptrdiff_t stride, int32_t row_length) {
    return count > 1 && magnitude(stride) < (uint64_t)row_length;
}

static attn_status check_mask(const attn_sdpa_desc *desc, const attn_mask *mask,
                              uint64_t limit_bytes, size_t element_bytes) {
    if (mask->kind == ATTN_MASK_NONE)
        return ATTN_OK;
    if (mask->kind != ATTN_MASK_BOOL && mask->kind != ATTN_MASK_ADD)
        return ATTN_ERR_OPTION;
    if (mask->seq_len_kv < 0 || mask->seq_len_kv > desc->seq_len_kv)
        return ATTN_ERR_SHAPE;
    const int32_t sizes[4] = {desc->batch, desc->num_heads, desc->seq_len_q,
                              sdpa_mask_keys(desc, mask)};
    const ptrdiff_t steps[4] = {mask->batch, mask->head, mask->query, mask->key};
    const uint64_t limit = mask->kind == ATTN_MASK_BOOL ? limit_bytes : limit_bytes / element_bytes;
    const uint64_t extent = tensor_extent(4, sizes, steps, limit);
    if (extent == UINT64_MAX)
        return ATTN_ERR_SIZE;
    return extent != 0 && !mask->data ? ATTN_ERR_NULL : ATTN_OK;
}

/* Whether float32 arithmetic can multiply and divide by the number: products with ordinary numbers are
 * neither infinite nor without digits. An infinite one propagates. */
static bool is_float32_factor(double number) {
    return number == 0.0 || isinf(number) ||
           (fabs(number) >= FLOAT32_FACTOR_LEAST && fabs(number) <= FLOAT32_FACTOR_MOST);
}

attn_status sdpa_check(const attn_sdpa_desc *desc, const sdpa_tensors *tensors,
                       size_t element_bytes) {
    if (desc->batch < 0 || desc->seq_len_q < 0 || desc->seq_len_kv < 0)
        return ATTN_ERR_SHAPE;
    if (desc->num_heads < 1 || desc->num_kv_heads < 1 || desc->head_dim < 1 || desc->head_dim_v < 1)
        return ATTN_ERR_SHAPE;
    if (desc->num_heads % desc->num_kv_heads != 0)
        return ATTN_ERR_HEADS;

    if (isnan(desc->scale) || !isfinite(desc->softcap) || desc->softcap < 0)
        return ATTN_ERR_OPTION;
    if (element_bytes == sizeof(float) &&
        !(is_float32_factor(desc->scale) && is_float32_factor(desc->softcap)))
        return ATTN_ERR_OPTION;
    if (desc->align != ATTN_ALIGN_TOP_LEFT && desc->align != ATTN_ALIGN_BOTTOM_RIGHT)
        return ATTN_ERR_OPTION;
    if (desc->scores_stage < ATTN_SCORES_RAW || desc->scores_stage > ATTN_SCORES_MASKED)
        return ATTN_ERR_OPTION;
    const bool writes = tensors->out && desc->batch > 0 && desc->seq_len_q > 0;
    if (writes && (rows_overlap(desc->batch, desc->out.batch, desc->head_dim_v) ||
                   rows_overlap(desc->num_heads, desc->out.head, desc->head_dim_v) ||
                   rows_overlap(desc->seq_len_q, desc->out.row, desc->head_dim_v)))
        return ATTN_ERR_OPTION;

    /* Every offset must be countable in bytes by a ptrdiff_t, whose largest value is half the
     * address space. */
    const uint64_t limit = PTRDIFF_MAX / element_bytes;
    attn_status status = check_tensor(tensors->query, desc->batch, desc->num_heads, desc->seq_len_q,
                                      desc->head_dim, &desc->query, limit);
    if (status == ATTN_OK)
        status = check_tensor(tensors->key, desc->batch, desc->num_kv_heads, desc->seq_len_kv,
                              desc->head_dim, &desc->key, limit);
    if (status == ATTN_OK)
        status = check_tensor(tensors->value, desc->batch, desc->num_kv_heads, desc->seq_len_kv,
                              desc->head_dim_v, &desc->value, limit);
    if (status == ATTN_OK && tensors->out)
        status = check_tensor(tensors->out, desc->batch, desc->num_heads, desc->seq_len_q,
                              desc->head_dim_v, &desc->out, limit);
    for (int m = 0; m < 2 && status == ATTN_OK; m++)
        status = check_mask(desc, &desc->masks[m], PTRDIFF_MAX, element_bytes);
    if (status != ATTN_OK)
        return status;

    if (tensors->alibi_slopes) {
        const int32_t sizes[2] = {desc->batch, desc->num_heads};
        const ptrdiff_t steps[2] = {desc->alibi_batch_stride, 1};
        if (tensor_extent(2, sizes, steps, limit) == UINT64_MAX)
            return ATTN_ERR_SIZE;
    }

    /* The contiguous outputs: [batch, num_heads, seq_len_q] and the same times seq_len_kv. */
    uint64_t heads = 0, rows = 0, elements = 0;
    const bool rows_fit =
        add_product(&heads, (uint64_t)desc->batch, (uint64_t)desc->num_heads, limit) &&
        add_product(&rows, heads, (uint64_t)desc->seq_len_q, limit);
    if (tensors->logsumexp && !rows_fit)
        return ATTN_ERR_SIZE;
    if ((tensors->weights || tensors->scores) &&
        !(rows_fit && add_product(&elements, rows, (uint64_t)desc->seq_len_kv, limit)))
        return ATTN_ERR_SIZE;

    if (desc->kv_lengths)
        for (int32_t b = 0; b < desc->batch; b++)
            if (desc->kv_lengths[b] < 0 || desc->kv_lengths[b] > desc->seq_len_kv)
                return ATTN_ERR_LENGTH;
    return ATTN_OK;
}

attn_status exec_check(const attn_exec *exec, size_t workspace_bytes, int32_t num_tasks,
                       int32_t *first_task, int32_t *end_task) {
    const attn_exec none = {0};
    if (!exec)
        exec = &none;
    if (exec->first_key != 0 || exec->num_keys != 0)
        return ATTN_ERR_UNSUPPORTED;
    if (exec->first_task < 0 || exec->num_tasks < 0 || exec->first_task > num_tasks ||
        exec->num_tasks > num_tasks - exec->first_task)
        return ATTN_ERR_OPTION;
    if (workspace_bytes > 0 && (!exec->workspace || (uintptr_t)exec->workspace % 16 != 0 ||
                                exec->workspace_bytes < workspace_bytes))
        return ATTN_ERR_WORKSPACE;
    const bool all = exec->first_task == 0 && exec->num_tasks == 0;
    *first_task = exec->first_task;
    *end_task = all ? num_tasks : exec->first_task + exec->num_tasks;
    return ATTN_OK;
}
