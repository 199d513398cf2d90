/* The linear layer in float32 against float64, and both against sums done on paper.
 *
 * The float32 tolerance is made as in test_sdpa_f32.c: at most twice the error of a naive loop,
 * plus the floor: with u = 2^-24, each product and the result rounded once, so u (sum_k |x[k] w[k]|
 * + |y|), and half of the smallest subnormal for each. */
#include "check.h"

enum { FILL = 0x5A };

TEST(small_products_are_exact) {
    const double x[6] = {1, 2, 3, 4, 5, 6}, w[8] = {1, 0, 0, 1, 1, 1, 2, -1},
                 bias[4] = {0, 10, 100, 0.5};
    const double expected[12] = {1, 12, 103, 0.5, 3, 14, 107, 2.5, 5, 16, 111, 4.5};
    double y[12];
    CHECK_STATUS(attn_linear_f64(3, 2, 4, x, 2, w, bias, y, 4), ATTN_OK);
    for (int e = 0; e < 12; e++)
        CHECK_EXACT(y[e], expected[e]);
    CHECK_STATUS(attn_linear_f64(3, 2, 4, x, 2, w, NULL, y, 4), ATTN_OK);
    for (int e = 0; e < 12; e++)
        CHECK_EXACT(y[e], expected[e] - bias[e % 4]);
}

TEST(no_rows_are_no_work) {
    const attn_exec exec = {0};
    size_t bytes = 1;
    const float w32 = 1;
    const double w64 = 1;
    CHECK_STATUS(attn_linear_f32_workspace(0, 1, 1, NULL, &bytes), ATTN_OK);
    CHECK(bytes == 0);
    CHECK_STATUS(attn_linear_f32(0, 1, 1, NULL, 0, &w32, NULL, NULL, 0, &exec), ATTN_OK);
    CHECK_STATUS(attn_linear_f64(0, 1, 1, NULL, 0, &w64, NULL, NULL, 0), ATTN_OK);
}

/* Row strides are wider than the rows; `special` puts an infinity or NaN into x and w now and then.
 */
static void run_case(int32_t rows, int32_t in_dim, int32_t out_dim, bool has_bias, double factor,
                     bool special, uint64_t seed) {
    static const double specials[] = {INFINITY, -INFINITY, NAN};
    rng r = {seed};
    const ptrdiff_t x_stride = in_dim + rng_int(&r, 0, 3), y_stride = out_dim + rng_int(&r, 0, 3);
    check_case("run_case(%d, %d, %d, %d, %.17g, %d, %" PRIu64 ");", (int)rows, (int)in_dim,
               (int)out_dim, has_bias, factor, special, seed);

    /* The last row ends where its elements do, not where the stride does. */
    const size_t x_count = rows ? (size_t)((rows - 1) * x_stride + in_dim) : 0;
    const size_t y_count = rows ? (size_t)((rows - 1) * y_stride + out_dim) : 0;
    const size_t counts[3] = {x_count, (size_t)in_dim * (size_t)out_dim, (size_t)out_dim};
    float *in32[3];
    double *in64[3];
    for (int t = 0; t < 3; t++) {
        in32[t] = malloc(counts[t] * sizeof(float) + 1);
        in64[t] = malloc(counts[t] * sizeof(double) + 1);
        for (size_t e = 0; e < counts[t]; e++) {
            in32[t][e] = (float)((t == 0 ? factor : 1.0) * rng_unit(&r));
            if (special && t < 2 && rng_once_in(&r, 300))
                in32[t][e] = (float)specials[rng_int(&r, 0, 2)];
            in64[t][e] = (double)in32[t][e];
        }
    }
    float *before = malloc(x_count * sizeof(float) + 1);
    memcpy(before, in32[0], x_count * sizeof(float));
    guarded y32 = guarded_alloc(y_count * sizeof(float), FILL),
            y64 = guarded_alloc(y_count * sizeof(double), FILL);
    attn_exec exec = {0};
    CHECK_STATUS(attn_linear_f32_workspace(rows, in_dim, out_dim, NULL, &exec.workspace_bytes),
                 ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_linear_f32(rows, in_dim, out_dim, in32[0], x_stride, in32[1],
                                 has_bias ? in32[2] : NULL, y32.data, y_stride, &exec),
                 ATTN_OK);
    CHECK_STATUS(attn_linear_f64(rows, in_dim, out_dim, in64[0], x_stride, in64[1],
                                 has_bias ? in64[2] : NULL, y64.data, y_stride),
                 ATTN_OK);
    CHECK(guarded_intact(&y32) && guarded_intact(&y64) && guarded_intact(&workspace));
    CHECK(memcmp(before, in32[0], x_count * sizeof(float)) == 0);

    double fast_error = 0.0, naive_error = 0.0;
    float fill;
    memset(&fill, FILL, sizeof fill);
    for (int32_t i = 0; i < rows; i++)
        for (ptrdiff_t o = 0; o < y_stride && i * y_stride + o < (ptrdiff_t)y_count; o++) {
            const float *fast = (const float *)y32.data + i * y_stride + o;
            const double exact = ((const double *)y64.data)[i * y_stride + o];
            if (o >= out_dim) {
                check_that(memcmp(fast, &fill, sizeof fill) == 0, __FILE__, __LINE__,
                           "written behind row %d", (int)i);
                continue;
            }
            float naive = 0.0f;
            double products = has_bias ? fabs(in64[2][o]) : 0.0;
            for (int32_t k = 0; k < in_dim; k++) {
                naive += in32[0][i * x_stride + k] * in32[1][o * in_dim + k];
                products += fabs(in64[0][i * x_stride + k] * in64[1][o * in_dim + k]);
            }
            if (has_bias)
                naive += in32[2][o];
            if (!isfinite(exact)) {
                check_that(isnan(exact) ? isnan(*fast) : (double)*fast == exact, __FILE__, __LINE__,
                           "y[%d][%td] is %.9g, not %.9g", (int)i, o, (double)*fast, exact);
                continue;
            }
            const double floor = 0x1p-24 * (products + fabs(exact)) + (in_dim + 1) * 0x1p-150;
            check_that(isfinite(*fast), __FILE__, __LINE__, "y[%d][%td] is %.9g, not %.9g", (int)i,
                       o, (double)*fast, exact);
            fast_error = fmax(fast_error, fabs((double)*fast - exact) / floor);
            naive_error = fmax(naive_error, fabs((double)naive - exact) / floor);
        }
    check_that(naive_error <= in_dim + 2, __FILE__, __LINE__, "the naive loop's own error is %.3g",
               naive_error);
    check_that(fast_error <= 2 * naive_error + 1, __FILE__, __LINE__,
               "error %.3g, naive loop %.3g (in units of the floor)", fast_error, naive_error);

    guarded_free(&y32), guarded_free(&y64), guarded_free(&workspace);
    free(before);
    for (int t = 0; t < 3; t++)
        free(in32[t]), free(in64[t]);
}

TEST(agrees_with_float64_around_every_edge_of_the_tiles) {
    static const int32_t sizes[] = {1,  2,  3,  4,  5,  6,  7,  8,   9,  11,
                                    12, 13, 31, 33, 63, 64, 65, 127, 129};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    /* Every pair of rows and out_dim, in_dim walking along. */
    for (uint32_t n = 0; n < COUNT * COUNT; n++)
        run_case(sizes[n % COUNT], sizes[(n * 7 + n / COUNT) % COUNT], sizes[n / COUNT], n % 3 != 0,
                 1.0, n % 5 == 0, n + 1);
}

TEST(agrees_with_float64_for_odd_magnitudes) {
    const double factors[] = {0.0, 0x1p-140, 0x1p-60, 1e4, 0x1p100};
    for (uint32_t f = 0; f < sizeof factors / sizeof *factors; f++)
        run_case(37, 70, 41, f % 2 == 0, factors[f], false, 1000 + f);
}

TEST(a_projection_of_a_real_size_agrees) {
    run_case(50, 512, 192, true, 1.0, false, 7);
    run_case(1, 768, 768, true, 1.0, false, 8);
}

int main(void) {
    RUN(small_products_are_exact);
    RUN(no_rows_are_no_work);
    RUN(agrees_with_float64_around_every_edge_of_the_tiles);
    RUN(agrees_with_float64_for_odd_magnitudes);
    RUN(a_projection_of_a_real_size_agrees);
    return check_summary();
}
