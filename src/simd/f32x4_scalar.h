/* Four floats in plain C, so that the scalar build runs the same tiles and tails as the others. A vector
 * type of the compiler's: without such instructions it keeps the lanes in four variables, where a struct
 * of an array stays in memory (20 times as slow, and twice the code). */
#ifndef ATTN_SIMD_F32X4_SCALAR_H
#define ATTN_SIMD_F32X4_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define ROWS_AT_ONCE                                                                               \
    1 /* of a tile: fewer lanes fit into registers, and the code is a tenth smaller */

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t mask4 __attribute__((vector_size(16)));

SIMD_INLINE f32x4 f32x4_load(const float *p) {
    return (f32x4){p[0], p[1], p[2], p[3]};
}
SIMD_INLINE void f32x4_store(float *p, f32x4 a) {
    p[0] = a[0];
    p[1] = a[1];
    p[2] = a[2];
    p[3] = a[3];
}
SIMD_INLINE f32x4 f32x4_splat(float x) {
    return (f32x4){x, x, x, x};
}
SIMD_INLINE f32x4 f32x4_load_splat(const float *p) {
    return f32x4_splat(*p);
}
SIMD_INLINE f32x4 f32x4_zero(void) {
    return f32x4_splat(0.0f);
}
SIMD_INLINE f32x4 f32x4_add(f32x4 a, f32x4 b) {
    return a + b;
}
SIMD_INLINE f32x4 f32x4_sub(f32x4 a, f32x4 b) {
    return a - b;
}
SIMD_INLINE f32x4 f32x4_mul(f32x4 a, f32x4 b) {
    return a * b;
}
SIMD_INLINE f32x4 f32x4_div(f32x4 a, f32x4 b) {
    return a / b;
}
SIMD_INLINE f32x4 f32x4_madd(f32x4 a, f32x4 b, f32x4 c) {
    return a * b + c;
}
SIMD_INLINE f32x4 f32x4_abs(f32x4 a) {
    return (f32x4){fabsf(a[0]), fabsf(a[1]), fabsf(a[2]), fabsf(a[3])};
}

SIMD_INLINE float larger_lane(float a, float b) {
    return a < b ? b : a;
}
SIMD_INLINE f32x4 f32x4_pmax(f32x4 a, f32x4 b) {
    return (f32x4){larger_lane(a[0], b[0]), larger_lane(a[1], b[1]), larger_lane(a[2], b[2]),
                   larger_lane(a[3], b[3])};
}

SIMD_INLINE mask4 f32x4_less(f32x4 a, f32x4 b) {
    return a < b;
}
SIMD_INLINE mask4 f32x4_equal(f32x4 a, f32x4 b) {
    return a == b;
}
SIMD_INLINE f32x4 f32x4_select(mask4 m, f32x4 a, f32x4 b) {
    return (f32x4)(((mask4)a & m) | ((mask4)b & ~m));
}
SIMD_INLINE f32x4 f32x4_drop(f32x4 a, mask4 m) {
    return (f32x4)((mask4)a & ~m);
}
SIMD_INLINE int mask4_any(mask4 m) {
    return (m[0] | m[1] | m[2] | m[3]) != 0;
}
SIMD_INLINE mask4 mask4_and(mask4 a, mask4 b) {
    return a & b;
}
SIMD_INLINE mask4 mask4_or(mask4 a, mask4 b) {
    return a | b;
}

SIMD_INLINE f32x4 f32x4_shift_exponent(f32x4 a) {
    typedef uint32_t bits4 __attribute__((vector_size(16)));
    return (f32x4)((bits4)a << 23);
}
SIMD_INLINE mask4 f32x4_bits_below(f32x4 a, int32_t bound) {
    return (mask4)a < (mask4){bound, bound, bound, bound};
}
SIMD_INLINE int32_t lesser_lane(int32_t a, float b) {
    uint32_t bits;
    memcpy(&bits, &b, sizeof bits);
    const uint32_t size = 2 * bits - 1;
    return (int32_t)((uint32_t)a < size ? (uint32_t)a : size);
}
SIMD_INLINE mask4 f32x4_least_size(mask4 least, f32x4 a) {
    return (mask4){lesser_lane(least[0], a[0]), lesser_lane(least[1], a[1]),
                   lesser_lane(least[2], a[2]), lesser_lane(least[3], a[3])};
}
SIMD_INLINE int mask4_any_below(mask4 a, uint32_t bound) {
    return (uint32_t)a[0] < bound || (uint32_t)a[1] < bound || (uint32_t)a[2] < bound ||
           (uint32_t)a[3] < bound;
}
SIMD_INLINE f32x4 f32x4_from_bits(f32x4 a) {
    const mask4 bits = (mask4)a;
    return (f32x4){(float)bits[0], (float)bits[1], (float)bits[2], (float)bits[3]};
}
SIMD_INLINE f32x4 f32x4_with_sign(f32x4 a, f32x4 b) {
    const mask4 sign = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
    return f32x4_select(sign, b, a);
}

SIMD_INLINE f32x4 f32x4_load_n(const float *p, int n) {
    return (f32x4){n > 0 ? p[0] : 0.0f, n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, 0.0f};
}
SIMD_INLINE void f32x4_store_n(float *p, f32x4 a, int n) {
    if (n > 0)
        p[0] = a[0];
    if (n > 1)
        p[1] = a[1];
    if (n > 2)
        p[2] = a[2];
}

SIMD_INLINE void f32x4_transpose4(f32x4 r[4]) {
    const f32x4 a = r[0], b = r[1], c = r[2], d = r[3];
    r[0] = (f32x4){a[0], b[0], c[0], d[0]};
    r[1] = (f32x4){a[1], b[1], c[1], d[1]};
    r[2] = (f32x4){a[2], b[2], c[2], d[2]};
    r[3] = (f32x4){a[3], b[3], c[3], d[3]};
}

#endif
