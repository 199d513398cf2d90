/* RMSNorm and SwiGLU: float64 against the textbook, float32 against float64. */
#include "check.h"

enum { FILL = 0x5A };

TEST(a_row_is_divided_by_its_root_mean_square) {
    const double x[2][2] = {{3.0, 4.0}, {-1e100, 0.0}}, weight[2] = {1.0, 10.0};
    double out[2][2];
    CHECK_STATUS(attn_rms_norm_f64(2, 2, *x, weight, 0.0, *out), ATTN_OK);
    CHECK_NEAR(out[0][0], 3.0 / sqrt(12.5), 1e-15);
    CHECK_NEAR(out[0][1], 40.0 / sqrt(12.5), 1e-14);
    CHECK_NEAR(out[1][0], -sqrt(2.0), 1e-15);
    CHECK_EXACT(out[1][1], 0.0);
    CHECK_STATUS(attn_rms_norm_f64(1, 2, *x, weight, 3.5, *out), ATTN_OK);
    CHECK_NEAR(out[0][0], 0.75, 1e-15);
}

/* What the row is worth is in doubt by dim + 4 roundings of the sum, half of which the root keeps, and four more. */
static void run_norm(int32_t rows, int32_t dim, double size, double epsilon, uint64_t seed) {
    check_case("run_norm(%d, %d, %g, %g, %" PRIu64 ");", (int)rows, (int)dim, size, epsilon, seed);
    rng r = {seed};
    const size_t count = (size_t)rows * (size_t)dim;
    guarded x32 = guarded_alloc(count * sizeof(float), FILL),
            w32 = guarded_alloc((size_t)dim * sizeof(float), FILL),
            y32 = guarded_alloc(count * sizeof(float), FILL);
    double *x = malloc(count * sizeof *x + 1), *y = malloc(count * sizeof *y + 1);
    double *w = malloc((size_t)dim * sizeof *w);
    for (size_t e = 0; e < count; e++)
        x[e] = (double)(((float *)x32.data)[e] = (float)(size * rng_unit(&r)));
    for (int32_t d = 0; d < dim; d++)
        w[d] = (double)(((float *)w32.data)[d] = (float)rng_unit(&r));
    CHECK_STATUS(attn_rms_norm_f64(rows, dim, x, w, epsilon, y), ATTN_OK);
    CHECK_STATUS(attn_rms_norm_f32(rows, dim, x32.data, w32.data, epsilon, y32.data), ATTN_OK);
    for (size_t e = 0; e < count; e++)
        CHECK_NEAR((double)((float *)y32.data)[e], y[e],
                   (0.5 * dim + 6) * 0x1p-24 * fabs(y[e]) + 0x1p-149);
    CHECK(guarded_intact(&y32));
    /* In place. */
    CHECK_STATUS(attn_rms_norm_f32(rows, dim, x32.data, w32.data, epsilon, x32.data), ATTN_OK);
    CHECK(count == 0 || memcmp(x32.data, y32.data, count * sizeof(float)) == 0);
    CHECK(guarded_intact(&x32));
    guarded_free(&x32);
    guarded_free(&w32);
    guarded_free(&y32);
    free(x);
    free(y);
    free(w);
}

TEST(float32_follows_float64_for_every_size) {
    for (int32_t dim = 1; dim <= 21; dim++)
        for (int32_t rows = 0; rows <= 3; rows++)
            run_norm(rows, dim, 2.0, 1e-5, (uint64_t)(dim * 4 + rows));
    run_norm(2, 1000, 1.0, 1e-6, 9);
}

TEST(squares_that_float32_cannot_hold_do_no_harm) {
    const double sizes[] = {1e38, 1e25, 1e18, 1e-10, 1e-25, 1e-37};
    for (int s = 0; s < 6; s++)
        for (int32_t dim = 1; dim <= 9; dim++) {
            run_norm(2, dim, sizes[s], 0.0, (uint64_t)(s * 10 + dim));
            run_norm(2, dim, sizes[s], 1e-5, (uint64_t)(s * 10 + dim));
        }
}

TEST(a_row_of_zeros_stays_one_and_nan_and_infinity_spoil_their_own_row_only) {
    for (int32_t dim = 1; dim <= 9; dim++)
        for (int32_t at = 0; at < dim; at++) {
            const double specials[3] = {0.0, NAN, INFINITY};
            for (int s = 0; s < 3; s++) {
                float x[18], w[9], y[18];
                double x64[18], w64[9], y64[18];
                check_case("dim %d, %g at %d", (int)dim, specials[s], (int)at);
                for (int d = 0; d < dim; d++) {
                    w64[d] = w[d] = 2.0f;
                    x[d] = s == 0 ? 0.0f : 1.0f;
                    x[dim + d] = 1.0f;
                }
                x[at] = (float)specials[s];
                for (int e = 0; e < 2 * dim; e++)
                    x64[e] = (double)x[e];
                CHECK_STATUS(attn_rms_norm_f32(2, dim, x, w, 0.0, y), ATTN_OK);
                CHECK_STATUS(attn_rms_norm_f64(2, dim, x64, w64, 0.0, y64), ATTN_OK);
                for (int d = 0; d < dim; d++) {
                    const double want = s == 1 || (s == 2 && d == at) ? NAN : 0.0;
                    CHECK_EXACT((double)y[d], want);
                    CHECK_EXACT(y64[d], want);
                    CHECK_EXACT((double)y[dim + d], 2.0);
                    CHECK_EXACT(y64[dim + d], 2.0);
                }
            }
        }
}

TEST(swiglu_is_gate_times_sigmoid_times_up) {
    const double gate[4] = {0.0, 1.0, -1.0, 50.0}, up[4] = {3.0, 2.0, 2.0, -1.0};
    double out[4];
    CHECK_STATUS(attn_swiglu_f64(4, gate, up, out), ATTN_OK);
    CHECK_EXACT(out[0], 0.0);
    CHECK_NEAR(out[1], 2.0 * 0.73105857863000487925, 1e-15);
    CHECK_NEAR(out[2], -2.0 * 0.26894142136999512075, 1e-15);
    CHECK_NEAR(out[3], -50.0, 1e-12);
}

/* exp is off by some units in the last place and by its argument's own rounding, the other steps by one each; what is
 * below 2^-100 may be lost. */
static void run_swiglu(int32_t count, double size, uint64_t seed) {
    check_case("run_swiglu(%d, %g, %" PRIu64 ");", (int)count, size, seed);
    rng r = {seed};
    const size_t bytes = (size_t)count * sizeof(float);
    guarded gate32 = guarded_alloc(bytes, FILL), up32 = guarded_alloc(bytes, FILL),
            y32 = guarded_alloc(bytes, FILL);
    double gate[64], up[64], y[64];
    for (int32_t e = 0; e < count; e++) {
        gate[e] = (double)(((float *)gate32.data)[e] = (float)(size * rng_unit(&r)));
        up[e] = (double)(((float *)up32.data)[e] = (float)rng_unit(&r));
    }
    CHECK_STATUS(attn_swiglu_f64(count, gate, up, y), ATTN_OK);
    CHECK_STATUS(attn_swiglu_f32(count, gate32.data, up32.data, y32.data), ATTN_OK);
    for (int32_t e = 0; e < count; e++)
        CHECK_NEAR((double)((float *)y32.data)[e], y[e],
                   (12 + 2 * fabs(gate[e])) * 0x1p-24 * fabs(y[e]) + fabs(gate[e]) * 0x1p-99);
    CHECK(guarded_intact(&y32));
    CHECK_STATUS(attn_swiglu_f32(count, gate32.data, up32.data, up32.data), ATTN_OK);
    CHECK(memcmp(up32.data, y32.data, bytes) == 0 && guarded_intact(&up32));
    guarded_free(&gate32);
    guarded_free(&up32);
    guarded_free(&y32);
}

TEST(swiglu_in_float32_follows_float64) {
    for (int32_t count = 0; count <= 37; count++) {
        run_swiglu(count, 5.0, (uint64_t)count);
        run_swiglu(count, 200.0, (uint64_t)(100 + count));
    }
    run_swiglu(64, 1e30, 5);
}

TEST(swiglu_of_infinity_and_nan) {
    const float gate[5] = {INFINITY, -INFINITY, NAN, 1.0f, -1e38f}, up[5] = {2, 2, 2, NAN, 2};
    const double want[5] = {INFINITY, NAN, NAN, NAN, 0.0};
    float y[5];
    double gate64[5], up64[5], y64[5];
    for (int e = 0; e < 5; e++) {
        gate64[e] = (double)gate[e];
        up64[e] = (double)up[e];
    }
    CHECK_STATUS(attn_swiglu_f32(5, gate, up, y), ATTN_OK);
    CHECK_STATUS(attn_swiglu_f64(5, gate64, up64, y64), ATTN_OK);
    for (int e = 0; e < 5; e++) {
        check_case("element %d", e);
        CHECK_EXACT((double)y[e], want[e]);
        CHECK_EXACT(y64[e], want[e]);
    }
}

TEST(a_refused_call_writes_nothing) {
    float x[4] = {1, 1, 1, 1}, y[4] = {7, 7, 7, 7};
    double x64[4] = {1, 1, 1, 1}, y64[4] = {7, 7, 7, 7};
    const struct {
        int32_t rows, dim;
        double epsilon;
        attn_status status;
    } cases[] = {{-1, 2, 0, ATTN_ERR_SHAPE},   {2, 0, 0, ATTN_ERR_SHAPE},
                 {2, -1, 0, ATTN_ERR_SHAPE},   {2, 2, -1e-9, ATTN_ERR_OPTION},
                 {2, 2, NAN, ATTN_ERR_OPTION}, {2, 2, INFINITY, ATTN_ERR_OPTION}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        check_case("case %d", (int)c);
        CHECK_STATUS(attn_rms_norm_f32(cases[c].rows, cases[c].dim, x, x, cases[c].epsilon, y),
                     cases[c].status);
        CHECK_STATUS(
            attn_rms_norm_f64(cases[c].rows, cases[c].dim, x64, x64, cases[c].epsilon, y64),
            cases[c].status);
    }
    CHECK_STATUS(attn_rms_norm_f32(INT32_MAX, INT32_MAX, x, x, 0, y), ATTN_ERR_SIZE);
    CHECK_STATUS(attn_rms_norm_f32(2, 2, NULL, x, 0, y), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rms_norm_f32(2, 2, x, NULL, 0, y), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rms_norm_f32(2, 2, x, x, 0, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rms_norm_f32(0, 2, NULL, NULL, 0, NULL), ATTN_OK);
    CHECK_STATUS(attn_rms_norm_f64(2, 2, NULL, x64, 0, y64), ATTN_ERR_NULL);
    CHECK_STATUS(attn_swiglu_f32(-1, x, x, y), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_swiglu_f32(PTRDIFF_MAX, x, x, y), ATTN_ERR_SIZE);
    CHECK_STATUS(attn_swiglu_f32(4, NULL, x, y), ATTN_ERR_NULL);
    CHECK_STATUS(attn_swiglu_f32(4, x, NULL, y), ATTN_ERR_NULL);
    CHECK_STATUS(attn_swiglu_f32(4, x, x, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_swiglu_f32(0, NULL, NULL, NULL), ATTN_OK);
    CHECK_STATUS(attn_swiglu_f64(-1, x64, x64, y64), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_swiglu_f64(PTRDIFF_MAX / 8 + 1, x64, x64, y64), ATTN_ERR_SIZE);
    CHECK_STATUS(attn_swiglu_f64(4, x64, NULL, y64), ATTN_ERR_NULL);
    for (int e = 0; e < 4; e++) {
        CHECK_EXACT((double)y[e], 7.0);
        CHECK_EXACT(y64[e], 7.0);
    }
}

int main(void) {
    RUN(a_row_is_divided_by_its_root_mean_square);
    RUN(float32_follows_float64_for_every_size);
    RUN(squares_that_float32_cannot_hold_do_no_harm);
    RUN(a_row_of_zeros_stays_one_and_nan_and_infinity_spoil_their_own_row_only);
    RUN(swiglu_is_gate_times_sigmoid_times_up);
    RUN(swiglu_in_float32_follows_float64);
    RUN(swiglu_of_infinity_and_nan);
    RUN(a_refused_call_writes_nothing);
    return check_summary();
}
