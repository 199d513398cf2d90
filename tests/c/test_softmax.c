/* Softmax along an axis: float64 against the textbook, float32 against float64. */
#include "check.h"

enum { FILL = 0x5A };

static const double huge = 1e4;

TEST(equal_numbers_share_equally) {
    for (int32_t length = 1; length <= 33; length++) {
        double x[33], y[33];
        float x32[33], y32[33];
        for (int l = 0; l < length; l++) {
            x[l] = 7.25;
            x32[l] = 7.25f;
        }
        CHECK_STATUS(attn_softmax_f64(1, length, 1, x, y), ATTN_OK);
        CHECK_STATUS(attn_softmax_f32(1, length, 1, x32, y32), ATTN_OK);
        for (int l = 0; l < length; l++) {
            CHECK_EXACT(y[l], 1.0 / length);
            CHECK_EXACT((double)y32[l], (double)(1.0f / (float)length));
        }
    }
}

TEST(it_is_stable_far_from_zero) {
    const double shifts[] = {0.0, huge, -huge, 1e300, -1e300};
    for (int s = 0; s < 5; s++) {
        const double x[2] = {shifts[s], shifts[s]};
        double y[2];
        CHECK_STATUS(attn_softmax_f64(1, 2, 1, x, y), ATTN_OK);
        CHECK_EXACT(y[0], 0.5);
        CHECK_EXACT(y[1], 0.5);
    }
    /* The largest number is found wherever it lies: without it exp would overflow. */
    for (int length = 1; length <= 9; length++)
        for (int place = 0; place < length; place++) {
            float one[9] = {0}, share[9];
            one[place] = 1e4f;
            CHECK_STATUS(attn_softmax_f32(1, length, 1, one, share), ATTN_OK);
            for (int l = 0; l < length; l++)
                CHECK_EXACT((double)share[l], (double)(l == place));
        }
    const float x[3] = {1e4f, -1e4f, 1e4f};
    float y[3];
    CHECK_STATUS(attn_softmax_f32(1, 3, 1, x, y), ATTN_OK);
    CHECK_EXACT((double)y[0], 0.5);
    CHECK_EXACT((double)y[1], 0.0);
    CHECK_EXACT((double)y[2], 0.5);
}

/* [2, length, inner] with one special number in the first slice along the axis, for every place. */
static void one_special(int32_t length, int32_t inner, double special, double expected) {
    double x[2 * 9 * 6], y[2 * 9 * 6];
    float x32[2 * 9 * 6], y32[2 * 9 * 6];
    const int32_t count = 2 * length * inner;
    for (int32_t place = 0; place < length; place++) {
        check_case("one_special(%d, %d, %g, %g), place %d", (int)length, (int)inner, special,
                   expected, (int)place);
        for (int32_t e = 0; e < count; e++)
            x[e] = (double)(x32[e] = 0.5f);
        x[place * inner] = special;
        x32[place * inner] = (float)special;
        CHECK_STATUS(attn_softmax_f64(2, length, inner, x, y), ATTN_OK);
        CHECK_STATUS(attn_softmax_f32(2, length, inner, x32, y32), ATTN_OK);
        for (int32_t e = 0; e < count; e++) {
            const bool same_slice = e < length * inner && e % inner == 0;
            const double want = !same_slice          ? 1.0 / length
                                : isnan(expected)    ? NAN
                                : e == place * inner ? expected
                                                     : 1.0 / (length - 1);
            CHECK_NEAR(y[e], want, 1e-15);
            CHECK_NEAR((double)y32[e], want, 1e-7);
        }
    }
}

TEST(minus_infinity_gets_nothing_and_the_rest_all) {
    for (int32_t length = 2; length <= 9; length++)
        for (int32_t inner = 1; inner <= 6; inner++)
            one_special(length, inner, -INFINITY, 0.0);
}

TEST(nan_and_infinity_spoil_their_own_slice_only) {
    for (int32_t length = 1; length <= 9; length++)
        for (int32_t inner = 1; inner <= 6; inner++) {
            one_special(length, inner, NAN, NAN);
            one_special(length, inner, INFINITY, NAN);
        }
}

TEST(nothing_but_minus_infinity_gives_zero_and_with_a_nan_among_them_nan) {
    for (int32_t length = 1; length <= 9; length++)
        for (int nan_at = -1; nan_at < length; nan_at++) {
            double x[9], y[9];
            float x32[9], y32[9];
            for (int l = 0; l < length; l++) {
                x[l] = l == nan_at ? NAN : -INFINITY;
                x32[l] = (float)x[l];
            }
            CHECK_STATUS(attn_softmax_f64(1, length, 1, x, y), ATTN_OK);
            CHECK_STATUS(attn_softmax_f32(1, length, 1, x32, y32), ATTN_OK);
            for (int l = 0; l < length; l++) {
                CHECK_EXACT(y[l], nan_at < 0 ? 0.0 : NAN);
                CHECK_EXACT((double)y32[l], nan_at < 0 ? 0.0 : NAN);
            }
        }
}

/* e^-t is off by about t u for an argument rounded once, the sum by length u, u = 2^-24. */
static void run_case(int32_t outer, int32_t length, int32_t inner, double factor, uint64_t seed) {
    check_case("run_case(%d, %d, %d, %g, %" PRIu64 ");", (int)outer, (int)length, (int)inner,
               factor, seed);
    rng r = {seed};
    const size_t count = (size_t)outer * (size_t)length * (size_t)inner;
    guarded x32 = guarded_alloc(count * sizeof(float), FILL),
            y32 = guarded_alloc(count * sizeof(float), FILL);
    double *x = malloc(count * sizeof *x + 1), *y = malloc(count * sizeof *y + 1);
    float *in = x32.data, *out = y32.data;
    for (size_t e = 0; e < count; e++)
        x[e] = (double)(in[e] = (float)(factor * rng_unit(&r)));
    CHECK_STATUS(attn_softmax_f32(outer, length, inner, in, out), ATTN_OK);
    CHECK_STATUS(attn_softmax_f64(outer, length, inner, x, y), ATTN_OK);
    CHECK(guarded_intact(&x32) && guarded_intact(&y32));
    for (size_t e = 0; e < count; e++) {
        const double distance = y[e] > 0 ? fmin(-log(y[e]), 100.0) : 100.0;
        CHECK_NEAR((double)out[e], y[e], y[e] * (2 * distance + length + 8) * 0x1p-24 + 1e-30);
    }
    /* In place. */
    CHECK_STATUS(attn_softmax_f32(outer, length, inner, in, in), ATTN_OK);
    CHECK_STATUS(attn_softmax_f64(outer, length, inner, x, x), ATTN_OK);
    CHECK(memcmp(in, out, count * sizeof *in) == 0);
    CHECK(memcmp(x, y, count * sizeof *x) == 0);
    CHECK(guarded_intact(&x32));
    guarded_free(&x32), guarded_free(&y32);
    free(x), free(y);
}

TEST(float32_agrees_with_float64_for_every_axis) {
    static const int32_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 13, 64, 65};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    const double factors[] = {1.0, 30.0, huge, 0.0};
    for (int n = 0; n < COUNT * COUNT; n++)
        run_case(n % 4, sizes[n % COUNT], sizes[n / COUNT], factors[n % 4], (uint64_t)n + 1);
    run_case(2, 5000, 1, 10.0, 999);
}

TEST(a_refused_call_writes_nothing) {
    guarded y = guarded_alloc(64, FILL);
    const float x[4] = {0};
    const double x64[4] = {0};
    float *y32 = y.data;
    double *y64 = y.data;
    CHECK_STATUS(attn_softmax_f32(-1, 2, 2, x, y32), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_softmax_f32(2, -1, 2, x, y32), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_softmax_f64(2, 2, -1, x64, y64), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_softmax_f32(INT32_MAX, INT32_MAX, INT32_MAX, x, y32), ATTN_ERR_SIZE);
    CHECK_STATUS(attn_softmax_f64(INT32_MAX, INT32_MAX, INT32_MAX, x64, y64), ATTN_ERR_SIZE);
    CHECK_STATUS(attn_softmax_f32(1, 2, 2, NULL, y32), ATTN_ERR_NULL);
    CHECK_STATUS(attn_softmax_f64(1, 2, 2, x64, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_softmax_f32(1, 0, 2, NULL, NULL), ATTN_OK);
    CHECK(guarded_untouched(&y, FILL));
    guarded_free(&y);
}

int main(void) {
    RUN(equal_numbers_share_equally);
    RUN(it_is_stable_far_from_zero);
    RUN(minus_infinity_gets_nothing_and_the_rest_all);
    RUN(nan_and_infinity_spoil_their_own_slice_only);
    RUN(nothing_but_minus_infinity_gives_zero_and_with_a_nan_among_them_nan);
    RUN(float32_agrees_with_float64_for_every_axis);
    RUN(a_refused_call_writes_nothing);
    return check_summary();
}
