/* 2^t in float32, lane by lane, for t <= 127.
 *
 * t = n + f with n the nearest whole number: 2^f by a polynomial of degree 5 (Remez exchange for
 * the relative error on [-1/2, 1/2]; 7.5e-8, and 1.5e-7 with the constant term set to 1 so that 2^0
 * is exactly 1), 2^n by writing n + 127 into the exponent. Below EXP2_CUT the result is exactly 0:
 * what is lost is at most 2^-100 of a row's largest weight, and neither it nor its product with an
 * ordinary value is subnormal (one subnormal operand costs more than a hundred cycles). NaN stays
 * NaN. */
#ifndef KERNELS_EXP_F32_H
#define KERNELS_EXP_F32_H

#include "simd/f32x4.h"

#define EXP2_CUT (-100.0f)
#define LOG2_E 1.44269504088896340736
#define LN_2 0.69314718055994530942

/* Scores in units of log 2 must not overflow where the scores do not: the most negative float is a
 * mask that many use, and a row of it an ordinary row. So beyond 2^127 the scale bends. Neighbours
 * there are 2^104 apart: which of two scores is larger, and that its weight is 1, stays true. */
#define LOG2_BEND 0x1p127f
#define LOG2_SLOPE 0.5f

static inline double log2_from_score(double s) {
    const double bounded = s > LOG2_BEND ? LOG2_BEND : s < -LOG2_BEND ? -LOG2_BEND : s;
    return bounded * LOG2_E + (s == bounded ? 0.0 : (s - bounded) * LOG2_SLOPE);
}

static inline double score_from_log2(double s) {
    const double bend = LOG2_BEND * LOG2_E;
    const double bounded = s > bend ? bend : s < -bend ? -bend : s;
    return bounded * LN_2 + (s == bounded ? 0.0 : (s - bounded) / LOG2_SLOPE);
}

/* { magic, the coefficients of f^5 .. f^0, EXP2_CUT }. In memory, where the compiler cannot see them:
 * V8 builds a vector constant anew at each use, in five instructions, and a load takes one (all of
 * attention: 1.10 times as fast). */
extern const float exp2_table[8];

SIMD_INLINE f32x4 exp2_f32(f32x4 t) {
    /* Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits; 127 is the
     * exponent's bias. */
    const f32x4 magic = f32x4_load_splat(exp2_table);
    const f32x4 z = f32x4_add(t, magic);
    const f32x4 f = f32x4_sub(t, f32x4_sub(z, magic));
    f32x4 p = f32x4_load_splat(exp2_table + 1);
    for (int c = 2; c < 7; c++)
        p = f32x4_madd(p, f, f32x4_load_splat(exp2_table + c));
    return f32x4_drop(f32x4_mul(p, f32x4_shift_exponent(z)),
                      f32x4_less(t, f32x4_load_splat(exp2_table + 7)));
}

/* tanh: an odd polynomial below 0.625 (Cephes, tanhf), 1 - 2 / (e^2x + 1) above. Below 2^-60 the
 * square would be subnormal, or its products; tanh is x there. */
SIMD_INLINE f32x4 tanh_f32(f32x4 x) {
    const f32x4 one = f32x4_splat(1.0f);
    const f32x4 size = f32x4_abs(x);
    const f32x4 root = f32x4_drop(x, f32x4_less(size, f32x4_splat(0x1p-60f)));
    const f32x4 z = f32x4_mul(root, root);
    f32x4 p = f32x4_splat(-5.70498872745e-3f);
    p = f32x4_madd(p, z, f32x4_splat(2.06390887954e-2f));
    p = f32x4_madd(p, z, f32x4_splat(-5.37397155531e-2f));
    p = f32x4_madd(p, z, f32x4_splat(1.33314422036e-1f));
    p = f32x4_madd(p, z, f32x4_splat(-3.33332819422e-1f));
    p = f32x4_madd(f32x4_mul(p, z), x, x);
    /* From 10 on tanh is 1 in float32; the bound keeps 2^t finite and lets NaN through. */
    const f32x4 ten = f32x4_splat(10.0f);
    const f32x4 bounded = f32x4_select(f32x4_less(ten, size), ten, size);
    const f32x4 e = exp2_f32(f32x4_mul(bounded, f32x4_splat((float)(2 * LOG2_E))));
    const f32x4 large = f32x4_sub(one, f32x4_div(f32x4_splat(2.0f), f32x4_add(e, one)));
    const f32x4 signed_large =
        f32x4_select(f32x4_less(x, f32x4_zero()), f32x4_sub(f32x4_zero(), large), large);
    return f32x4_select(f32x4_less(size, f32x4_splat(0.625f)), p, signed_large);
}

#endif
