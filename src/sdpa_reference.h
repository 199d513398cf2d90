/* What the float64 references share: the forward call in sdpa_reference.c and its gradients in
 * sdpa_backward_reference.c. */
#ifndef SDPA_REFERENCE_H
#define SDPA_REFERENCE_H

#include <math.h>

#include "sdpa_common.h"

/* sum_d a[d] * b[d] */
static inline double dot(const double *a, const double *b, int32_t length) {
    double sum = 0.0;
    for (int32_t d = 0; d < length; d++)
        sum += a[d] * b[d];
    return sum;
}

/* sum_d v[d] * tanh(a[d] + b[d]) */
static inline double additive_score(const double *v, const double *a, const double *b,
                                    int32_t length) {
    double sum = 0.0;
    for (int32_t d = 0; d < length; d++)
        sum += v[d] * tanh(a[d] + b[d]);
    return sum;
}

/* One query row of the call: batch element b, query head h, row i. */
typedef struct row_position {
    int32_t b, h, i;
} row_position;

/* How far that row lies behind the first element of a tensor [batch, num_heads, seq_len_q, ...]. */
static inline ptrdiff_t row_offset(const attn_strides *strides, row_position at) {
    return at.b * strides->batch + at.h * strides->head + at.i * strides->row;
}

/* The same for row j of what the query row's head reads, in [batch, num_kv_heads, seq_len_kv, ...].
 */
static inline ptrdiff_t kv_row_offset(const attn_strides *strides, const attn_sdpa_desc *desc,
                                      row_position at, int32_t j) {
    const int32_t kv_head = at.h / (desc->num_heads / desc->num_kv_heads);
    return at.b * strides->batch + kv_head * strides->head + j * strides->row;
}

/* scores[i][j] as far as `stage`:
 *
 *     scale * query[i] . key[j]                   ATTN_SCORES_RAW; with v the additive score:
 *     scale * v . tanh(query[i] + key[j])
 *     softcap * tanh(scores / softcap)            ATTN_SCORES_SOFTCAPPED
 *     - slope * |i + offset - j|, then the masks  ATTN_SCORES_MASKED
 *
 * Of data only the inputs are looked at. */
double reference_score(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data, const double *v,
                       row_position at, int32_t j, int32_t stage);

/* The largest of some scores, -inf for none. A NaN among them must not be lost by the comparisons: it
 * becomes the maximum, and with it all that follows. */
double reference_max(const double *row, int32_t length);

/* What softmax subtracts from scores whose maximum is `max`. */
double reference_shift(double max);

/* attn_sdpa_f64, or with v attn_additive_f64. */
attn_status reference_run(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                          const double *v, const attn_exec *exec);

#endif
