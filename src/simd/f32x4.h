/* Four floats at once: the only vocabulary the kernels speak, and the only place that asks which
 * instruction set there is. A leaf defines type f32x4, type mask4 (all bits of a lane set or clear)
 * and the functions below. The leaves agree lane by lane and reduce in the same order; only madd
 * may round once or twice.
 *
 *   load store splat load_splat zero
 *   add sub mul div madd (a * b + c)
 *   pmax(a, b)      b where a < b, else a: a NaN in a stays, a NaN in b is dropped (one instruction
 *                   on x86; f32x4.max costs seven)
 *   less(a, b), select(m, a, b), drop(a, m): a, with 0 where m; any(m)
 *   mask4_and, mask4_or
 *   bits_below(a, bound)  the lanes' bits, as signed numbers, are below bound
 *   least_size(m, a)  the smaller, as unsigned numbers, of m and 2 bits(a) - 1: the smallest size so
 *                   far, where 0 counts as the largest;  mask4_any_below(m, bound)
 *   from_bits       each lane's bits as a whole number, converted
 *   with_sign(a, b)  a with b's sign
 *   shift_exponent  bits of each lane << 23: turns the low bits of a number into an exponent
 *   transpose4      4 x 4 in place
 *   ROWS_AT_ONCE    of a tile of the matrix products: as many as the registers hold, or 1
 *   MADD_NEEDS_REGISTER  defined where madd is two instructions, with a product between them
 *   load_n store_n  the first n (0 to 3) lanes, never touching what lies beyond; other lanes load
 *                   as 0
 */
#ifndef ATTN_SIMD_F32X4_H
#define ATTN_SIMD_F32X4_H

#include <stdint.h>
#include <string.h>

#define SIMD_INLINE static inline __attribute__((always_inline))

#if defined(__wasm_simd128__) || defined(ATTN_SIMD_SIMDE)
#include "simd/f32x4_wasm.h"
#if defined(__wasm_relaxed_simd__) || defined(ATTN_SIMD_RELAXED)
#include "simd/f32x4_madd_relaxed.h"
#define ATTN_VARIANT "relaxed"
#else
#include "simd/f32x4_madd_plain.h"
#define ATTN_VARIANT "simd"
#endif
#else
#include "simd/f32x4_scalar.h"
#define ATTN_VARIANT "scalar"
#endif

/* Whether least, gathered by f32x4_least_size from all bits set, has met an a with 0 < |a| < limit.
 * (Four instructions a vector; comparing with 0 and limit took nine, and an eighth of the time at 16
 * tokens.) */
SIMD_INLINE int least_size_below(mask4 least, float limit) {
    uint32_t bits;
    memcpy(&bits, &limit, sizeof bits);
    return mask4_any_below(least, 2 * bits - 1);
}
SIMD_INLINE mask4 least_size_none(void) {
    return f32x4_equal(f32x4_zero(), f32x4_zero());
}

/* (a0 + a2) + (a1 + a3) */
SIMD_INLINE float f32x4_sum(f32x4 a) {
    float lanes[4];
    f32x4_store(lanes, a);
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

#endif
