/* Softmax of PANEL rows at once, scores across the lanes: s[j][0..8) is key j's score for 8 rows,
 * in units of log 2 (the caller folds log2 e into the scale), so that weights are 2^(s - max). */
#ifndef KERNELS_SOFTMAX_F32_H
#define KERNELS_SOFTMAX_F32_H

#include "kernels/product_f32.h"

/* The running state of online softmax for 8 rows (Milakov & Gimelshein 2018, algorithm 3):
 *
 *     row_sum = sum_j 2^(s[j] - row_max)
 *     out     = sum_j 2^(s[j] - row_max) value[j], divided by row_sum at the end
 *
 * row_max is -inf before the first visible key. It follows the true maximum only when that is more
 * than 2^8 ahead: the state is right for any reference, and rescaling is then rare (1.5 % of the
 * time at 1,024 keys). */
typedef struct softmax_state {
    float row_max[PANEL];
    float row_sum[PANEL];
} softmax_state;

void softmax_init(softmax_state *state);

/* s [keys, PANEL] -> weights in place; out [depth, PANEL], the sums so far, is rescaled where
 * row_max moved. */
void softmax_block_f32(softmax_state *state, int keys, float *s, int depth, float *out);

/* 1 / row_sum, and 0 for a row that saw nothing. */
void softmax_factors(const softmax_state *state, float factor[PANEL]);

/* The same for one row whose scores lie side by side. s [keys] is padded with -inf to a multiple
 * of 4; out [depth]. */
typedef struct softmax_row {
    float max, sum;
} softmax_row;

void softmax_row_f32(softmax_row *state, int keys, float *s, int depth, float *out);
float softmax_row_factor(const softmax_row *state);

/* log_e sum_j e^score from a row's state; -inf where it saw nothing. */
float softmax_logsumexp(float row_max, float row_sum);

#endif
