/* Plain C, four lanes wide, so that the scalar build runs the same tiles and tails as the others.
 */
#ifndef ATTN_SIMD_F32X4_SCALAR_H
#define ATTN_SIMD_F32X4_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct f32x4 {
    float lane[4];
} f32x4;
typedef struct mask4 {
    uint32_t lane[4];
} mask4;

SIMD_INLINE f32x4 f32x4_load(const float *p) {
    return (f32x4){{p[0], p[1], p[2], p[3]}};
}
SIMD_INLINE void f32x4_store(float *p, f32x4 a) {
    memcpy(p, a.lane, sizeof a.lane);
}
SIMD_INLINE f32x4 f32x4_splat(float x) {
    return (f32x4){{x, x, x, x}};
}
SIMD_INLINE f32x4 f32x4_load_splat(const float *p) {
    return f32x4_splat(*p);
}
SIMD_INLINE f32x4 f32x4_zero(void) {
    return f32x4_splat(0.0f);
}

SIMD_INLINE f32x4 f32x4_add(f32x4 a, f32x4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] += b.lane[l];
    return a;
}

SIMD_INLINE f32x4 f32x4_sub(f32x4 a, f32x4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] -= b.lane[l];
    return a;
}

SIMD_INLINE f32x4 f32x4_mul(f32x4 a, f32x4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] *= b.lane[l];
    return a;
}

SIMD_INLINE f32x4 f32x4_div(f32x4 a, f32x4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] /= b.lane[l];
    return a;
}

SIMD_INLINE f32x4 f32x4_madd(f32x4 a, f32x4 b, f32x4 c) {
    return f32x4_add(f32x4_mul(a, b), c);
}

SIMD_INLINE f32x4 f32x4_abs(f32x4 a) {
    for (int l = 0; l < 4; l++)
        a.lane[l] = fabsf(a.lane[l]);
    return a;
}

SIMD_INLINE f32x4 f32x4_pmax(f32x4 a, f32x4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] = a.lane[l] < b.lane[l] ? b.lane[l] : a.lane[l];
    return a;
}

SIMD_INLINE mask4 f32x4_less(f32x4 a, f32x4 b) {
    mask4 m;
    for (int l = 0; l < 4; l++)
        m.lane[l] = a.lane[l] < b.lane[l] ? UINT32_MAX : 0;
    return m;
}

SIMD_INLINE mask4 f32x4_equal(f32x4 a, f32x4 b) {
    mask4 m;
    for (int l = 0; l < 4; l++)
        m.lane[l] = a.lane[l] == b.lane[l] ? UINT32_MAX : 0;
    return m;
}

SIMD_INLINE f32x4 f32x4_select(mask4 m, f32x4 a, f32x4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] = m.lane[l] ? a.lane[l] : b.lane[l];
    return a;
}

SIMD_INLINE f32x4 f32x4_drop(f32x4 a, mask4 m) {
    return f32x4_select(m, f32x4_zero(), a);
}

SIMD_INLINE int mask4_any(mask4 m) {
    return (m.lane[0] | m.lane[1] | m.lane[2] | m.lane[3]) != 0;
}

SIMD_INLINE f32x4 f32x4_shift_exponent(f32x4 a) {
    uint32_t bits[4];
    memcpy(bits, a.lane, sizeof bits);
    for (int l = 0; l < 4; l++)
        bits[l] <<= 23;
    memcpy(a.lane, bits, sizeof bits);
    return a;
}

SIMD_INLINE f32x4 f32x4_load_n(const float *p, int n) {
    float lanes[4] = {0, 0, 0, 0};
    for (int l = 0; l < n; l++)
        lanes[l] = p[l];
    return f32x4_load(lanes);
}

SIMD_INLINE void f32x4_store_n(float *p, f32x4 a, int n) {
    float lanes[4];
    f32x4_store(lanes, a);
    for (int l = 0; l < n; l++)
        p[l] = lanes[l];
}

SIMD_INLINE mask4 mask4_and(mask4 a, mask4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] &= b.lane[l];
    return a;
}

SIMD_INLINE mask4 mask4_or(mask4 a, mask4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] |= b.lane[l];
    return a;
}

SIMD_INLINE mask4 f32x4_bits_below(f32x4 a, int32_t bound) {
    int32_t bits[4];
    memcpy(bits, a.lane, sizeof bits);
    mask4 m;
    for (int l = 0; l < 4; l++)
        m.lane[l] = bits[l] < bound ? UINT32_MAX : 0;
    return m;
}

SIMD_INLINE f32x4 f32x4_from_bits(f32x4 a) {
    int32_t bits[4];
    memcpy(bits, a.lane, sizeof bits);
    for (int l = 0; l < 4; l++)
        a.lane[l] = (float)bits[l];
    return a;
}

SIMD_INLINE f32x4 f32x4_with_sign(f32x4 a, f32x4 b) {
    for (int l = 0; l < 4; l++)
        a.lane[l] = copysignf(a.lane[l], b.lane[l]);
    return a;
}

SIMD_INLINE void f32x4_transpose4(f32x4 r[4]) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++) {
            float t = r[i].lane[j];
            r[i].lane[j] = r[j].lane[i];
            r[j].lane[i] = t;
        }
}

#endif
