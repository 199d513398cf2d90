#include "kernels/softmax_f32.h"

#include <math.h>

#include "kernels/exp_f32.h"

/* How far, in log 2, the true maximum may be ahead of row_max. */
#define MAX_SLACK 8.0f

void softmax_init(softmax_state *state) {
    for (int r = 0; r < PANEL; r++) {
        state->row_max[r] = -INFINITY;
        state->row_sum[r] = 0.0f;
    }
}

/* max <- the block's, out and sum times 2^(old - new) */
static void move_maximum(softmax_state *state, const f32x4 block_max[2], int depth, float *out) {
    for (int half = 0; half < 2; half++) {
        const f32x4 old = f32x4_load(state->row_max + 4 * half);
        const f32x4 new = f32x4_pmax(old, block_max[half]);
        /* Where both are -inf the difference is NaN, and so would be 0 * NaN: the factor of an
         * empty row is 1. */
        const f32x4 factor =
            f32x4_select(f32x4_equal(old, new), f32x4_splat(1.0f), exp2_f32(f32x4_sub(old, new)));
        f32x4_store(state->row_max + 4 * half, new);
        f32x4_store(state->row_sum + 4 * half,
                    f32x4_mul(f32x4_load(state->row_sum + 4 * half), factor));
        for (int k = 0; k < depth; k++) {
            float *o = out + k * PANEL + 4 * half;
            f32x4_store(o, f32x4_mul(f32x4_load(o), factor));
        }
    }
}

void softmax_block_f32(softmax_state *state, int keys, float *s, int depth, float *out) {
    const f32x4 lowest = f32x4_splat(-INFINITY);
    f32x4 max[2] = {lowest, lowest}, odd_max[2] = {lowest, lowest};
    int j = 0;
    for (; j + 2 <= keys; j += 2) {
        const float *row = s + j * PANEL;
        max[0] = f32x4_pmax(max[0], f32x4_load(row));
        max[1] = f32x4_pmax(max[1], f32x4_load(row + 4));
        odd_max[0] = f32x4_pmax(odd_max[0], f32x4_load(row + 8));
        odd_max[1] = f32x4_pmax(odd_max[1], f32x4_load(row + 12));
    }
    if (j < keys) {
        max[0] = f32x4_pmax(max[0], f32x4_load(s + j * PANEL));
        max[1] = f32x4_pmax(max[1], f32x4_load(s + j * PANEL + 4));
    }
    max[0] = f32x4_pmax(max[0], odd_max[0]);
    max[1] = f32x4_pmax(max[1], odd_max[1]);

    const f32x4 slack = f32x4_splat(MAX_SLACK);
    f32x4 reference[2] = {f32x4_load(state->row_max), f32x4_load(state->row_max + 4)};
    if (mask4_any(f32x4_less(f32x4_add(reference[0], slack), max[0])) ||
        mask4_any(f32x4_less(f32x4_add(reference[1], slack), max[1]))) {
        move_maximum(state, max, depth, out);
        reference[0] = f32x4_load(state->row_max);
        reference[1] = f32x4_load(state->row_max + 4);
    }
    /* -inf - -inf would be NaN: a row that has seen nothing subtracts 0, and 2^-inf is 0. */
    reference[0] = f32x4_select(f32x4_equal(reference[0], lowest), f32x4_zero(), reference[0]);
    reference[1] = f32x4_select(f32x4_equal(reference[1], lowest), f32x4_zero(), reference[1]);

    f32x4 sum[2] = {f32x4_load(state->row_sum), f32x4_load(state->row_sum + 4)};
    for (j = 0; j < keys; j++) {
        float *row = s + j * PANEL;
        const f32x4 w0 = exp2_f32(f32x4_sub(f32x4_load(row), reference[0]));
        const f32x4 w1 = exp2_f32(f32x4_sub(f32x4_load(row + 4), reference[1]));
        f32x4_store(row, w0);
        f32x4_store(row + 4, w1);
        sum[0] = f32x4_add(sum[0], w0);
        sum[1] = f32x4_add(sum[1], w1);
    }
    f32x4_store(state->row_sum, sum[0]);
    f32x4_store(state->row_sum + 4, sum[1]);
}

void softmax_factors(const softmax_state *state, float factor[PANEL]) {
    for (int r = 0; r < PANEL; r++)
        factor[r] = state->row_sum[r] == 0.0f ? 0.0f : 1.0f / state->row_sum[r];
}

void softmax_row_f32(softmax_row *state, int keys, float *s, int depth, float *out) {
    f32x4 max4 = f32x4_splat(-INFINITY);
    for (int j = 0; j < keys; j += 4)
        max4 = f32x4_pmax(max4, f32x4_load(s + j));
    float lanes[4];
    f32x4_store(lanes, max4);
    float max = lanes[0];
    for (int l = 1; l < 4; l++)
        max = max < lanes[l] ? lanes[l] : max;

    if (state->max + MAX_SLACK < max) {
        f32x4_store(lanes, exp2_f32(f32x4_splat(state->max - max)));
        state->max = max;
        state->sum *= lanes[0];
        for (int d = 0; d < depth; d++)
            out[d] *= lanes[0];
    }
    const f32x4 reference = f32x4_splat(state->max == -INFINITY ? 0.0f : state->max);
    f32x4 sum = f32x4_zero();
    for (int j = 0; j < keys; j += 4) {
        const f32x4 w = exp2_f32(f32x4_sub(f32x4_load(s + j), reference));
        f32x4_store(s + j, w);
        sum = f32x4_add(sum, w);
    }
    state->sum += f32x4_sum(sum);
}

float softmax_row_factor(const softmax_row *state) {
    return state->sum == 0.0f ? 0.0f : 1.0f / state->sum;
}

float softmax_logsumexp(float row_max, float row_sum) {
    return row_sum == 0.0f ? -INFINITY : (float)(score_from_log2(row_max) + log(row_sum));
}
