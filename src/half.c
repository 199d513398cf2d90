#include <string.h>

#include "attn.h"

/* IEEE 754 binary16 has 1 sign, 5 exponent and 10 fraction bits. Every number of it is one of
 * binary32 with the exponent's bias raised from 15 to 127. */
static float float_of_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
    uint32_t bits = sign | (exponent + 112) << 23 | fraction << 13;
    if (exponent == 0x1f)
        bits = sign | 0x7f800000u | fraction << 13; /* infinity, or a NaN with the same fraction */
    float result;
    memcpy(&result, &bits, sizeof result);
    if (exponent == 0) {
        /* Subnormal: fraction * 2^-24, an ordinary number in binary32. */
        result = (float)fraction * 0x1p-24f;
        return sign ? -result : result;
    }
    return result;
}

attn_status attn_f16_to_f32(size_t count, const uint16_t *x, float *y) {
    if (count > PTRDIFF_MAX / sizeof(float))
        return ATTN_ERR_SIZE;
    if (count > 0 && (!x || !y))
        return ATTN_ERR_NULL;
    for (size_t i = 0; i < count; i++)
        y[i] = float_of_half(x[i]);
    return ATTN_OK;
}
