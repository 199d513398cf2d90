/* wasm_simd128.h, by the compiler or, natively, by SIMDe. */
#ifndef ATTN_SIMD_F32X4_WASM_H
#define ATTN_SIMD_F32X4_WASM_H

#ifdef ATTN_SIMD_SIMDE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/wasm/simd128.h>
#ifdef ATTN_SIMD_RELAXED
#include <simde/wasm/relaxed-simd.h>
#endif
#else
#include <wasm_simd128.h>
#endif

#define ROWS_AT_ONCE 6

typedef v128_t f32x4;
typedef v128_t mask4;

SIMD_INLINE f32x4 f32x4_load(const float *p) {
    return wasm_v128_load(p);
}
SIMD_INLINE void f32x4_store(float *p, f32x4 a) {
    wasm_v128_store(p, a);
}
SIMD_INLINE f32x4 f32x4_splat(float x) {
    return wasm_f32x4_splat(x);
}
SIMD_INLINE f32x4 f32x4_load_splat(const float *p) {
    return wasm_v128_load32_splat(p);
}
SIMD_INLINE f32x4 f32x4_zero(void) {
    return wasm_f32x4_splat(0.0f);
}
SIMD_INLINE f32x4 f32x4_add(f32x4 a, f32x4 b) {
    return wasm_f32x4_add(a, b);
}
SIMD_INLINE f32x4 f32x4_sub(f32x4 a, f32x4 b) {
    return wasm_f32x4_sub(a, b);
}
SIMD_INLINE f32x4 f32x4_mul(f32x4 a, f32x4 b) {
    return wasm_f32x4_mul(a, b);
}
SIMD_INLINE f32x4 f32x4_div(f32x4 a, f32x4 b) {
    return wasm_f32x4_div(a, b);
}
SIMD_INLINE f32x4 f32x4_abs(f32x4 a) {
    return wasm_f32x4_abs(a);
}
SIMD_INLINE f32x4 f32x4_pmax(f32x4 a, f32x4 b) {
    return wasm_f32x4_pmax(a, b);
}
SIMD_INLINE mask4 f32x4_less(f32x4 a, f32x4 b) {
    return wasm_f32x4_lt(a, b);
}
SIMD_INLINE mask4 f32x4_equal(f32x4 a, f32x4 b) {
    return wasm_f32x4_eq(a, b);
}
SIMD_INLINE f32x4 f32x4_select(mask4 m, f32x4 a, f32x4 b) {
    return wasm_v128_bitselect(a, b, m);
}
SIMD_INLINE f32x4 f32x4_drop(f32x4 a, mask4 m) {
    return wasm_v128_andnot(a, m);
}
SIMD_INLINE int mask4_any(mask4 m) {
    return wasm_v128_any_true(m);
}
SIMD_INLINE f32x4 f32x4_shift_exponent(f32x4 a) {
    return wasm_i32x4_shl(a, 23);
}

SIMD_INLINE f32x4 f32x4_load_n(const float *p, int n) {
    switch (n) {
    case 0:
        return f32x4_zero();
    case 1:
        return wasm_v128_load32_zero(p);
    case 2:
        return wasm_v128_load64_zero(p);
    default:
        return wasm_v128_load32_lane(p + 2, wasm_v128_load64_zero(p), 2);
    }
}
SIMD_INLINE void f32x4_store_n(float *p, f32x4 a, int n) {
    switch (n) {
    case 0:
        return;
    case 1:
        wasm_v128_store32_lane(p, a, 0);
        return;
    case 2:
        wasm_v128_store64_lane(p, a, 0);
        return;
    default:
        wasm_v128_store64_lane(p, a, 0);
        wasm_v128_store32_lane(p + 2, a, 2);
    }
}
SIMD_INLINE mask4 mask4_and(mask4 a, mask4 b) {
    return wasm_v128_and(a, b);
}
SIMD_INLINE mask4 mask4_or(mask4 a, mask4 b) {
    return wasm_v128_or(a, b);
}
SIMD_INLINE mask4 f32x4_bits_below(f32x4 a, int32_t bound) {
    return wasm_i32x4_lt(a, wasm_i32x4_splat(bound));
}
SIMD_INLINE mask4 f32x4_least_size(mask4 least, f32x4 a) {
    return wasm_u32x4_min(least, wasm_i32x4_add(wasm_i32x4_add(a, a), wasm_i32x4_splat(-1)));
}
SIMD_INLINE int mask4_any_below(mask4 a, uint32_t bound) {
    return wasm_v128_any_true(wasm_u32x4_lt(a, wasm_i32x4_splat((int32_t)bound)));
}
SIMD_INLINE f32x4 f32x4_from_bits(f32x4 a) {
    return wasm_f32x4_convert_i32x4(a);
}
SIMD_INLINE f32x4 f32x4_with_sign(f32x4 a, f32x4 b) {
    return wasm_v128_bitselect(b, a, wasm_i32x4_splat(INT32_MIN));
}

SIMD_INLINE void f32x4_transpose4(f32x4 r[4]) {
    f32x4 a = wasm_i32x4_shuffle(r[0], r[1], 0, 4, 1, 5),
          b = wasm_i32x4_shuffle(r[0], r[1], 2, 6, 3, 7);
    f32x4 c = wasm_i32x4_shuffle(r[2], r[3], 0, 4, 1, 5),
          d = wasm_i32x4_shuffle(r[2], r[3], 2, 6, 3, 7);
    r[0] = wasm_i64x2_shuffle(a, c, 0, 2);
    r[1] = wasm_i64x2_shuffle(a, c, 1, 3);
    r[2] = wasm_i64x2_shuffle(b, d, 0, 2);
    r[3] = wasm_i64x2_shuffle(b, d, 1, 3);
}

#endif
