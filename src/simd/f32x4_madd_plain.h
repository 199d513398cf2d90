/* Rounds twice: after the product and after the sum. */
#ifndef ATTN_SIMD_F32X4_MADD_H
#define ATTN_SIMD_F32X4_MADD_H

#define MADD_NEEDS_REGISTER 1 /* for the product */

SIMD_INLINE f32x4 f32x4_madd(f32x4 a, f32x4 b, f32x4 c) {
    return wasm_f32x4_add(wasm_f32x4_mul(a, b), c);
}

#endif
