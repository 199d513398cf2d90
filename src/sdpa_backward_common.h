/* What both paths of the gradients must agree on: which calls are refused, where a gradient's
 * elements lie, and how the work can be divided so that no two tasks write one element. Nothing
 * here depends on the element type. */
#ifndef SDPA_BACKWARD_COMMON_H
#define SDPA_BACKWARD_COMMON_H

#include "sdpa_common.h"

/* attn_sdpa_backward_f32_data or attn_sdpa_backward_f64_data without its element type. */
typedef struct backward_tensors {
    const void *query, *key, *value, *alibi_slopes;
    const void *out, *logsumexp, *grad_out;
    void *grad_query, *grad_key, *grad_value, *grad_masks[2];
} backward_tensors;

/* One gradient of the call, over [batch, heads, rows, head_dim or head_dim_v] or, of a mask,
 * [batch, num_heads, seq_len_q, keys that it covers]. data NULL: not wanted. */
typedef struct gradient {
    void *data;
    int32_t sizes[4];
    ptrdiff_t strides[4];
} gradient;

enum { GRAD_QUERY, GRAD_KEY, GRAD_VALUE, GRAD_MASKS, NUM_GRADIENTS = GRAD_MASKS + 2 };

/* ATTN_OK, and the gradients, where desc and tensors are a call that may run; see sdpa_check. */
attn_status backward_check(const attn_sdpa_backward_desc *desc, const backward_tensors *tensors,
                           size_t element_bytes, gradient gradients[NUM_GRADIENTS]);

/* Whether two indices of an axis never share an element of the gradient, so that they may belong to
 * different tasks. True for a gradient that is not wanted. */
bool gradient_divides(const gradient *g, int axis);

/* A part of a call that shares no element of the gradients `which` (bits 1 << GRAD_...) with the
 * other parts: a run of batch elements and of key/value heads with the query heads that read them.
 */
typedef struct backward_part {
    int32_t first_batch, batches, first_kv_head, kv_heads;
} backward_part;

/* Into how many such parts a call with batch > 0 can be divided, and number `index` of them. */
int64_t backward_num_parts(const attn_sdpa_desc *desc, const gradient gradients[NUM_GRADIENTS],
                           unsigned which);
backward_part backward_part_at(const attn_sdpa_desc *desc, const gradient gradients[NUM_GRADIENTS],
                               unsigned which, int32_t index);

/* Elements [first, first + count) of every axis of a gradient. */
typedef struct backward_box {
    int32_t first[4], count[4];
} backward_box;

/* The box of number `g` of the gradients that belongs to a part. */
backward_box backward_box_of(const attn_sdpa_desc *desc, const gradient gradients[NUM_GRADIENTS],
                             int g, const backward_part *part);

/* Sets a box of a gradient to 0. */
void gradient_clear(const gradient *g, const backward_box *box, size_t element_bytes);

#endif
