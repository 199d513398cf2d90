/* What both sdpa paths must agree on: which calls are refused, which keys a row may read and where
 * a mask's elements lie. Nothing here depends on the element type. */
#ifndef SDPA_COMMON_H
#define SDPA_COMMON_H

#include <stdbool.h>

#include "attn.h"

/* attn_sdpa_f32_data or attn_sdpa_f64_data without its element type. */
typedef struct sdpa_tensors {
    const void *query, *key, *value, *alibi_slopes;
    const void *out, *weights, *scores, *logsumexp;
} sdpa_tensors;

static inline sdpa_tensors sdpa_tensors_f32(const attn_sdpa_f32_data *data) {
    return (sdpa_tensors){data->query, data->key,     data->value,  data->alibi_slopes,
                          data->out,   data->weights, data->scores, data->logsumexp};
}

static inline sdpa_tensors sdpa_tensors_f64(const attn_sdpa_f64_data *data) {
    return (sdpa_tensors){data->query, data->key,     data->value,  data->alibi_slopes,
                          data->out,   data->weights, data->scores, data->logsumexp};
}

/* ATTN_OK where desc and tensors are a call that may run: sizes, heads and options have a meaning,
 * every tensor's extent fits the address space, and no pointer is missing. After it, no index or
 * product of the call can overflow ptrdiff_t. desc and tensors are not NULL; element_bytes is 4
 * or 8. */
attn_status sdpa_check(const attn_sdpa_desc *desc, const sdpa_tensors *tensors,
                       size_t element_bytes);

/* Checks exec (NULL: all zero) against what the call needs, and writes the half-open range of tasks
 * to run. */
attn_status exec_check(const attn_exec *exec, size_t workspace_bytes, int32_t num_tasks,
                       int32_t *first_task, int32_t *end_task);

/* A strided tensor of the caller, [batch, heads, rows, dim] with a contiguous last axis:
 * ATTN_ERR_SIZE where its extent is above limit elements, ATTN_ERR_NULL where it has an element and
 * data is NULL. */
attn_status check_tensor(const void *data, int32_t batch, int32_t heads, int32_t rows, int32_t dim,
                         const attn_strides *strides, uint64_t limit);

/* Whether an output axis of `count` rows puts two of them closer than a row is long, so that they
 * overlap. */
bool rows_overlap(int32_t count, ptrdiff_t stride, int32_t row_length);

/* How many elements lie between the lowest and the highest element of a tensor in memory, both
 * counted: 0 for a tensor without elements, UINT64_MAX for more than limit, also for rows without
 * elements that lie so far apart. sizes and strides have
 * `axes` entries; limit >= 1. */
uint64_t tensor_extent(int axes, const int32_t *sizes, const ptrdiff_t *strides, uint64_t limit);

/* count * size + sum in *sum, or false where the result would exceed limit. *sum <= limit. */
static inline bool add_product(uint64_t *sum, uint64_t count, uint64_t size, uint64_t limit) {
    if (count != 0 && size > (limit - *sum) / count)
        return false;
    *sum += count * size;
    return true;
}

/* Bytes of one piece of a workspace, so that the next piece is 16-byte aligned, too. */
static inline size_t workspace_piece(size_t bytes) {
    return (bytes + 15) & ~(size_t)15;
}

/* The number of keys that batch element b has. */
static inline int32_t sdpa_kv_length(const attn_sdpa_desc *desc, int32_t b) {
    return desc->kv_lengths ? desc->kv_lengths[b] : desc->seq_len_kv;
}

/* Query row i of batch element b stands at key i + offset. 64 bits, so that i + offset - j and the
 * window's ends cannot overflow. */
static inline int64_t sdpa_offset(const attn_sdpa_desc *desc, int32_t b) {
    return desc->align == ATTN_ALIGN_BOTTOM_RIGHT
               ? (int64_t)sdpa_kv_length(desc, b) - desc->seq_len_q
               : 0;
}

/* The keys lo <= j < hi that row i of batch element b may read by its causal, window and length
 * limits. Mask tensors are not asked. 0 <= lo <= hi <= seq_len_kv; lo == hi: none. Neither end ever
 * decreases with i, so the rows i0..i1 together read from lo of i0 to hi of i1. */
static inline void sdpa_visible(const attn_sdpa_desc *desc, int32_t b, int32_t i, int32_t *lo,
                                int32_t *hi) {
    const int64_t position = i + sdpa_offset(desc, b);
    int64_t first = 0;
    int64_t end = sdpa_kv_length(desc, b);
    if (desc->is_causal && end > position + 1)
        end = position + 1;
    if (desc->window_right >= 0 && end > position + desc->window_right + 1)
        end = position + desc->window_right + 1;
    if (desc->window_left >= 0 && first < position - desc->window_left)
        first = position - desc->window_left;
    if (end < 0)
        end = 0;
    if (first > end)
        first = end;
    *lo = (int32_t)first;
    *hi = (int32_t)end;
}

/* The number of keys that a mask covers; those behind them are left as they are. */
static inline int32_t sdpa_mask_keys(const attn_sdpa_desc *desc, const attn_mask *mask) {
    if (mask->kind == ATTN_MASK_NONE)
        return 0;
    return mask->seq_len_kv > 0 ? mask->seq_len_kv : desc->seq_len_kv;
}

/* The mask's element [b, h, i, 0], counted from mask->data; key j lies j * mask->key behind it. */
static inline ptrdiff_t sdpa_mask_row(const attn_mask *mask, int32_t b, int32_t h, int32_t i) {
    return b * mask->batch + h * mask->head + i * mask->query;
}

#endif
