#include "kernels/tiny_f32.h"

#include <math.h>

#include "simd/f32x4.h"

bool has_tiny_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, float limit) {
    mask4 least = least_size_none();
    if (depth < 4) {
        for (int r = 0; r < rows; r++)
            least = f32x4_least_size(least, f32x4_load_n(a + r * a_stride, depth));
        return least_size_below(least, limit);
    }
    const int end = depth / 4 * 4;
    int at = 0;
    for (int r = 0; r < rows; r++) {
        least = f32x4_least_size(least, f32x4_load(a + at));
        at = at + 4 < end ? at + 4 : 0;
        a += a_stride;
    }
    return least_size_below(least, limit);
}

float largest_f32(int rows, int depth, const float *a, ptrdiff_t a_stride) {
    float largest = 0.0f;
    for (int r = 0; r < rows; r++) {
        const float *row = a + r * a_stride;
        f32x4 max = f32x4_zero(), check = f32x4_zero();
        for (int k = 0; k < depth; k += 4) {
            const f32x4 x =
                f32x4_abs(depth - k < 4 ? f32x4_load_n(row + k, depth - k) : f32x4_load(row + k));
            max = f32x4_pmax(max, x);
            check = f32x4_add(check, f32x4_sub(x, x)); /* NaN where x is infinite or NaN */
        }
        if (!(f32x4_sum(check) == 0.0f))
            return INFINITY;
        float lanes[4];
        f32x4_store(lanes, max);
        for (int l = 0; l < 4; l++)
            largest = largest < lanes[l] ? lanes[l] : largest;
    }
    return largest;
}

int rescale_exponent(float largest, int target) {
    if (largest == 0.0f || !isfinite(largest))
        return 0;
    const int exponent = target - ilogbf(largest);
    return exponent < -126 ? -126 : exponent > 126 ? 126 : exponent;
}

static f32x4 rescale(f32x4 x, f32x4 factor, f32x4 subnormal_factor, f32x4 cut) {
    const f32x4 size = f32x4_abs(x);
    /* A subnormal number is its bits, as a whole number, times 2^-149. */
    const mask4 subnormal = f32x4_bits_below(size, 0x00800000);
    const f32x4 large = f32x4_mul(f32x4_drop(size, subnormal), factor);
    const f32x4 small =
        f32x4_mul(f32x4_from_bits(f32x4_select(subnormal, size, f32x4_zero())), subnormal_factor);
    const f32x4 scaled = f32x4_select(subnormal, small, large);
    return f32x4_with_sign(f32x4_drop(scaled, f32x4_less(scaled, cut)), x);
}

void rescale_f32(int count, const float *from, int exponent, float cut, float *to) {
    const f32x4 factor = f32x4_splat(ldexpf(1.0f, exponent));
    /* 2^(exponent - 149) would itself be subnormal below -126: numbers that small are 0 then
     * anyway. */
    const f32x4 subnormal_factor = f32x4_splat(exponent < 23 ? 0.0f : ldexpf(1.0f, exponent - 149));
    const f32x4 bound = f32x4_splat(cut);
    int i = 0;
    for (; i + 4 <= count; i += 4)
        f32x4_store(to + i, rescale(f32x4_load(from + i), factor, subnormal_factor, bound));
    if (i < count)
        f32x4_store_n(to + i,
                      rescale(f32x4_load_n(from + i, count - i), factor, subnormal_factor, bound),
                      count - i);
}

void settle_panel_f32(int depth, float *panel, float largest_key) {
    const f32x4 least = f32x4_splat(0x1p-30f / ((float)depth * largest_key));
    for (int half = 0; half < PANEL; half += 4) {
        f32x4 max = f32x4_zero();
        for (int k = 0; k < depth; k++)
            max = f32x4_pmax(max, f32x4_abs(f32x4_load(panel + k * PANEL + half)));
        const f32x4 cut = f32x4_select(f32x4_less(max, least), f32x4_splat(INFINITY),
                                       f32x4_mul(max, f32x4_splat(TINY_CUT)));
        for (int k = 0; k < depth; k++) {
            float *x = panel + k * PANEL + half;
            f32x4_store(x, f32x4_drop(f32x4_load(x), f32x4_less(f32x4_abs(f32x4_load(x)), cut)));
        }
    }
}

void settle_row_f32(int depth, float *row, float largest_key) {
    const float largest = largest_f32(1, depth, row, depth);
    const bool counts = largest >= 0x1p-30f / ((float)depth * largest_key);
    if (largest < INFINITY)
        rescale_f32(depth, row, 0, counts ? largest * TINY_CUT : INFINITY, row);
}
