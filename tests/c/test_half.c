/* Half precision becomes float32 exactly, all 65,536 numbers of it. */
#include "check.h"

enum { COUNT = 1 << 16, FILL = 0x5A };

static double half_value(uint32_t bits) {
    const double sign = bits & 0x8000 ? -1.0 : 1.0;
    const int exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
    if (exponent == 0x1f)
        return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static void check_all(const float *y) {
    for (uint32_t bits = 0; bits < COUNT; bits++) {
        const double want = half_value(bits);
        CHECK_EXACT((double)y[bits], want);
        check_that(isnan(want) || !signbit(y[bits]) == !(bits & 0x8000), __FILE__, __LINE__,
                   "the sign of 0x%04x", (unsigned)bits);
    }
}

TEST(every_number_keeps_its_value) {
    static uint16_t x[COUNT];
    for (uint32_t bits = 0; bits < COUNT; bits++)
        x[bits] = (uint16_t)bits;
    guarded y = guarded_alloc(COUNT * sizeof(float), FILL);
    CHECK_STATUS(attn_f16_to_f32(COUNT, x, y.data), ATTN_OK);
    CHECK(guarded_intact(&y));
    check_all(y.data);

    /* The halves in the last half of the floats' memory. */
    memset(y.data, FILL, y.bytes);
    uint16_t *tail = (uint16_t *)y.data + COUNT;
    memcpy(tail, x, sizeof x);
    CHECK_STATUS(attn_f16_to_f32(COUNT, tail, y.data), ATTN_OK);
    check_all(y.data);
    guarded_free(&y);
}

TEST(a_refused_call_writes_nothing) {
    guarded y = guarded_alloc(8, FILL);
    const uint16_t x[2] = {0};
    CHECK_STATUS(attn_f16_to_f32(2, NULL, y.data), ATTN_ERR_NULL);
    CHECK_STATUS(attn_f16_to_f32(2, x, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_f16_to_f32(SIZE_MAX / 4, x, y.data), ATTN_ERR_SIZE);
    CHECK_STATUS(attn_f16_to_f32(0, NULL, NULL), ATTN_OK);
    CHECK(guarded_untouched(&y, FILL));
    guarded_free(&y);
}

int main(void) {
    RUN(every_number_keeps_its_value);
    RUN(a_refused_call_writes_nothing);
    return check_summary();
}
