/* Softmax along one axis of a tensor [outer, length, inner]. Where the axis is the last one, a
 * row's elements lie side by side and go across the lanes; otherwise neighbouring columns do. */
#include <math.h>

#include "kernels/exp_f32.h"
#include "sdpa_common.h"

static attn_status check_softmax(int32_t outer, int32_t length, int32_t inner, const void *x,
                                 const void *y, size_t element_bytes) {
    if (outer < 0 || length < 0 || inner < 0)
        return ATTN_ERR_SHAPE;
    uint64_t rows = 0, elements = 0;
    const uint64_t limit = PTRDIFF_MAX / element_bytes;
    if (!add_product(&rows, (uint64_t)outer, (uint64_t)length, limit) ||
        !add_product(&elements, rows, (uint64_t)inner, limit))
        return ATTN_ERR_SIZE;
    return elements > 0 && (!x || !y) ? ATTN_ERR_NULL : ATTN_OK;
}

/* The first `lanes` of four floats; the others are `rest`. */
SIMD_INLINE f32x4 load_some(const float *p, ptrdiff_t lanes, float rest) {
    if (lanes >= 4)
        return f32x4_load(p);
    float padded[4] = {rest, rest, rest, rest};
    for (ptrdiff_t l = 0; l < lanes; l++)
        padded[l] = p[l];
    return f32x4_load(padded);
}

SIMD_INLINE void store_some(float *p, ptrdiff_t lanes, f32x4 a) {
    if (lanes >= 4)
        f32x4_store(p, a);
    else
        f32x4_store_n(p, a, (int)lanes);
}

/* e^(x - max). Where every x is -inf so is max, and -inf - -inf would be NaN: 0 is subtracted
 * instead. A NaN that max has dropped comes back here. */
SIMD_INLINE f32x4 exp_below(f32x4 x, f32x4 max) {
    const f32x4 lowest = f32x4_splat(-INFINITY);
    const f32x4 shift = f32x4_select(f32x4_equal(max, lowest), f32x4_zero(), max);
    return exp2_f32(f32x4_mul(f32x4_sub(x, shift), f32x4_splat((float)LOG2_E)));
}

/* 0 where nothing was summed. */
SIMD_INLINE f32x4 share(f32x4 e, f32x4 sum) {
    return f32x4_drop(f32x4_div(e, sum), f32x4_equal(sum, f32x4_zero()));
}

static void softmax_row(int32_t length, const float *x, float *y) {
    f32x4 max4 = f32x4_splat(-INFINITY);
    for (int32_t l = 0; l < length; l += 4)
        max4 = f32x4_pmax(max4, load_some(x + l, length - l, -INFINITY));
    float max[4];
    f32x4_store(max, max4);
    for (int l = 1; l < 4; l++)
        max[0] = max[0] < max[l] ? max[l] : max[0];
    max4 = f32x4_splat(max[0]);

    f32x4 sum = f32x4_zero();
    for (int32_t l = 0; l < length; l += 4) {
        const f32x4 e = exp_below(load_some(x + l, length - l, -INFINITY), max4);
        store_some(y + l, length - l, e);
        sum = f32x4_add(sum, e);
    }
    sum = f32x4_splat(f32x4_sum(sum));
    for (int32_t l = 0; l < length; l += 4)
        store_some(y + l, length - l, share(load_some(y + l, length - l, 0.0f), sum));
}

/* Up to four columns of [length, inner]. */
static void softmax_columns(int32_t length, int32_t inner, ptrdiff_t lanes, const float *x,
                            float *y) {
    f32x4 max = f32x4_splat(-INFINITY), sum = f32x4_zero();
    for (int32_t l = 0; l < length; l++)
        max = f32x4_pmax(max, load_some(x + (ptrdiff_t)l * inner, lanes, -INFINITY));
    for (int32_t l = 0; l < length; l++) {
        const ptrdiff_t at = (ptrdiff_t)l * inner;
        const f32x4 e = exp_below(load_some(x + at, lanes, -INFINITY), max);
        store_some(y + at, lanes, e);
        sum = f32x4_add(sum, e);
    }
    for (int32_t l = 0; l < length; l++) {
        const ptrdiff_t at = (ptrdiff_t)l * inner;
        store_some(y + at, lanes, share(load_some(y + at, lanes, 0.0f), sum));
    }
}

attn_status attn_softmax_f32(int32_t outer, int32_t length, int32_t inner, const float *x,
                             float *y) {
    const attn_status status = check_softmax(outer, length, inner, x, y, sizeof(float));
    if (status != ATTN_OK)
        return status;
    for (int32_t o = 0; o < outer; o++) {
        const ptrdiff_t at = (ptrdiff_t)o * length * inner;
        if (inner == 1)
            softmax_row(length, x + at, y + at);
        else
            for (int32_t i = 0; i < inner; i += 4)
                softmax_columns(length, inner, inner - i, x + at + i, y + at + i);
    }
    return ATTN_OK;
}

attn_status attn_softmax_f64(int32_t outer, int32_t length, int32_t inner, const double *x,
                             double *y) {
    const attn_status status = check_softmax(outer, length, inner, x, y, sizeof(double));
    if (status != ATTN_OK)
        return status;
    for (int32_t o = 0; o < outer; o++)
        for (int32_t i = 0; i < inner; i++) {
            const ptrdiff_t at = (ptrdiff_t)o * length * inner + i;
            double max = -INFINITY, sum = 0.0;
            for (int32_t l = 0; l < length; l++)
                if (x[at + (ptrdiff_t)l * inner] > max)
                    max = x[at + (ptrdiff_t)l * inner];
            const double shift = max == -INFINITY ? 0.0 : max;
            for (int32_t l = 0; l < length; l++)
                sum += y[at + (ptrdiff_t)l * inner] = exp(x[at + (ptrdiff_t)l * inner] - shift);
            for (int32_t l = 0; l < length; l++)
                y[at + (ptrdiff_t)l * inner] =
                    sum == 0.0 ? 0.0 : y[at + (ptrdiff_t)l * inner] / sum;
        }
    return ATTN_OK;
}
