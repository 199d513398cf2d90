/* Rounds once or twice, as the machine likes. The only relaxed instruction that is used: relaxed
 * max, min and conversions would make results on NaN and signed zero depend on the machine. */
#ifndef ATTN_SIMD_F32X4_MADD_H
#define ATTN_SIMD_F32X4_MADD_H

SIMD_INLINE f32x4 f32x4_madd(f32x4 a, f32x4 b, f32x4 c) {
    return wasm_f32x4_relaxed_madd(a, b, c);
}

#endif
