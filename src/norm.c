/* What stands between the layers of a Llama: RMSNorm and the gate of its feed-forward part. Every element is read
 * before its place is written, so that out may be an input. */
#include <math.h>

#include "kernels/exp_f32.h"
#include "sdpa_common.h"

static attn_status check_norm(int32_t rows, int32_t dim, const void *x, const void *weight,
                              double epsilon, const void *out, size_t element_bytes) {
    if (rows < 0 || dim < 1)
        return ATTN_ERR_SHAPE;
    if (!(epsilon >= 0.0 && epsilon < INFINITY))
        return ATTN_ERR_OPTION;
    if ((uint64_t)rows * (uint64_t)dim > PTRDIFF_MAX / element_bytes)
        return ATTN_ERR_SIZE;
    return rows > 0 && (!x || !weight || !out) ? ATTN_ERR_NULL : ATTN_OK;
}

/* 1 / sqrt(mean + epsilon), and 0 for a row of zeros without epsilon, which stays one. */
static double inverse_root(double mean_square, double epsilon) {
    return mean_square + epsilon == 0.0 ? 0.0 : 1.0 / sqrt(mean_square + epsilon);
}

static float sum_of_squares(int32_t dim, const float *x) {
    f32x4 sum = f32x4_zero();
    int32_t d = 0;
    for (; d + 4 <= dim; d += 4) {
        const f32x4 x4 = f32x4_load(x + d);
        sum = f32x4_madd(x4, x4, sum);
    }
    const f32x4 rest = f32x4_load_n(x + d, dim - d);
    return f32x4_sum(f32x4_madd(rest, rest, sum));
}

attn_status attn_rms_norm_f32(int32_t rows, int32_t dim, const float *x, const float *weight,
                              double epsilon, float *out) {
    const attn_status status = check_norm(rows, dim, x, weight, epsilon, out, sizeof(float));
    if (status != ATTN_OK)
        return status;
    for (int32_t row = 0; row < rows; row++, x += dim, out += dim) {
        double sum = sum_of_squares(dim, x);
        /* Squares of some ordinary floats are none. */
        if (!(sum > 0x1p-60 && sum < 0x1p120)) {
            sum = 0.0;
            for (int32_t d = 0; d < dim; d++)
                sum += (double)x[d] * x[d];
        }
        const double factor = inverse_root(sum / dim, epsilon);
        for (int32_t d = 0; d < dim; d++)
            out[d] = (float)(x[d] * factor) * weight[d];
    }
    return ATTN_OK;
}

attn_status attn_rms_norm_f64(int32_t rows, int32_t dim, const double *x, const double *weight,
                              double epsilon, double *out) {
    const attn_status status = check_norm(rows, dim, x, weight, epsilon, out, sizeof(double));
    if (status != ATTN_OK)
        return status;
    for (int32_t row = 0; row < rows; row++, x += dim, out += dim) {
        double sum = 0.0;
        for (int32_t d = 0; d < dim; d++)
            sum += x[d] * x[d];
        const double factor = inverse_root(sum / dim, epsilon);
        for (int32_t d = 0; d < dim; d++)
            out[d] = x[d] * factor * weight[d];
    }
    return ATTN_OK;
}

static attn_status check_swiglu(ptrdiff_t count, const void *gate, const void *up, const void *out,
                                size_t element_bytes) {
    if (count < 0)
        return ATTN_ERR_SHAPE;
    if ((size_t)count > PTRDIFF_MAX / element_bytes)
        return ATTN_ERR_SIZE;
    return count > 0 && (!gate || !up || !out) ? ATTN_ERR_NULL : ATTN_OK;
}

/* sigmoid(x) = 1 / (1 + e^-|x|), times e^-|x| for x below 0: no power is above 1. */
SIMD_INLINE f32x4 swiglu4(f32x4 gate, f32x4 up) {
    const f32x4 one = f32x4_splat(1.0f);
    const f32x4 e = exp2_f32(f32x4_mul(f32x4_abs(gate), f32x4_splat((float)-LOG2_E)));
    const f32x4 above = f32x4_select(f32x4_less(gate, f32x4_zero()), e, one);
    return f32x4_mul(f32x4_mul(gate, f32x4_div(above, f32x4_add(one, e))), up);
}

attn_status attn_swiglu_f32(ptrdiff_t count, const float *gate, const float *up, float *out) {
    const attn_status status = check_swiglu(count, gate, up, out, sizeof(float));
    if (status != ATTN_OK)
        return status;
    ptrdiff_t i = 0;
    for (; i + 4 <= count; i += 4)
        f32x4_store(out + i, swiglu4(f32x4_load(gate + i), f32x4_load(up + i)));
    const int rest = (int)(count - i);
    f32x4_store_n(out + i, swiglu4(f32x4_load_n(gate + i, rest), f32x4_load_n(up + i, rest)), rest);
    return ATTN_OK;
}

attn_status attn_swiglu_f64(ptrdiff_t count, const double *gate, const double *up, double *out) {
    const attn_status status = check_swiglu(count, gate, up, out, sizeof(double));
    for (ptrdiff_t i = 0; i < count && status == ATTN_OK; i++)
        out[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
    return status;
}
