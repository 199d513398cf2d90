/* Gradients of the linear layer, in float32 against float64, and float64 against sums done on
 * paper.
 *
 * The float32 tolerance is made as in test_sdpa_f32.c: at most twice the error of a naive loop,
 * plus the floor: with u = 2^-24, each product and the result rounded once, so u (sum |products| +
 * |result|), and half of the smallest subnormal for each. */
#include "check.h"

enum { FILL = 0x5A };

TEST(small_gradients_are_exact) {
    /* 3 rows, in_dim 2, out_dim 2 */
    const double x[6] = {1, 2, 3, 4, 5, 6}, w[4] = {1, 10, 100, 1000},
                 grad_y[6] = {1, 2, 0, 1, -1, 3};
    const double x_expected[6] = {201, 2010, 100, 1000, 299, 2990};
    const double w_expected[4] = {-4, -4, 20, 26}, bias_expected[2] = {0, 6};
    double grad_x[6], grad_w[4], grad_bias[2];
    for (int32_t accumulate = 0; accumulate < 2; accumulate++) {
        check_case("accumulate %d", (int)accumulate);
        CHECK_STATUS(attn_linear_backward_f64(3, 2, 2, x, 2, w, grad_y, 2, grad_x, 2, grad_w,
                                              grad_bias, accumulate),
                     ATTN_OK);
        for (int e = 0; e < 6; e++)
            CHECK_EXACT(grad_x[e], (1 + accumulate) * x_expected[e]);
        for (int e = 0; e < 4; e++)
            CHECK_EXACT(grad_w[e], (1 + accumulate) * w_expected[e]);
        for (int e = 0; e < 2; e++)
            CHECK_EXACT(grad_bias[e], (1 + accumulate) * bias_expected[e]);
    }
}

TEST(no_rows_give_gradients_of_zero) {
    float w32[6], bias32[3];
    double w64[6], bias64[3];
    for (int32_t accumulate = 1; accumulate >= 0; accumulate--) {
        for (int e = 0; e < 6; e++)
            w32[e] = 7, w64[e] = 7, bias32[e / 2] = 7, bias64[e / 2] = 7;
        check_case("accumulate %d", (int)accumulate);
        CHECK_STATUS(attn_linear_backward_f32(0, 2, 3, NULL, 0, NULL, NULL, 0, NULL, 0, w32, bias32,
                                              accumulate, NULL),
                     ATTN_OK);
        CHECK_STATUS(attn_linear_backward_f64(0, 2, 3, NULL, 0, NULL, NULL, 0, NULL, 0, w64, bias64,
                                              accumulate),
                     ATTN_OK);
        for (int e = 0; e < 6; e++) {
            CHECK(w32[e] == 7.0f * (float)accumulate && bias32[e / 2] == 7.0f * (float)accumulate);
            CHECK(w64[e] == 7.0 * accumulate && bias64[e / 2] == 7.0 * accumulate);
        }
    }
}

/* The same numbers twice. */
typedef struct numbers {
    guarded f32, f64;
    size_t count;
} numbers;

static numbers numbers_alloc(size_t count, double factor, bool special, rng *r) {
    static const double specials[] = {INFINITY, -INFINITY, NAN};
    numbers n = {guarded_alloc(count * sizeof(float), FILL),
                 guarded_alloc(count * sizeof(double), FILL), count};
    for (size_t e = 0; e < count; e++) {
        float *at = (float *)n.f32.data + e;
        *at = (float)(factor * rng_unit(r));
        if (special && rng_once_in(r, 500))
            *at = (float)specials[rng_int(r, 0, 2)];
        ((double *)n.f64.data)[e] = (double)*at;
    }
    return n;
}

static void numbers_free(numbers *n) {
    guarded_free(&n->f32), guarded_free(&n->f64);
}

/* The largest errors, in units of the floor. */
typedef struct errors {
    double fast, naive;
} errors;

static void compare(errors *worst, const char *name, size_t e, const numbers *n, float naive,
                    double products, int32_t terms) {
    const float fast = ((const float *)n->f32.data)[e];
    const double exact = ((const double *)n->f64.data)[e];
    if (!isfinite(exact)) {
        check_that(isnan(exact) ? isnan(fast) : (double)fast == exact, __FILE__, __LINE__,
                   "%s[%zu] is %.9g, not %.9g", name, e, (double)fast, exact);
        return;
    }
    const double floor = 0x1p-24 * (products + fabs(exact)) + (terms + 1) * 0x1p-150;
    check_that(isfinite(fast), __FILE__, __LINE__, "%s[%zu] is %.9g, not %.9g", name, e,
               (double)fast, exact);
    worst->fast = fmax(worst->fast, fabs((double)fast - exact) / floor);
    worst->naive = fmax(worst->naive, fabs((double)naive - exact) / floor);
}

static void judge(const char *name, const errors *worst, int32_t terms) {
    check_that(worst->naive <= terms + 2, __FILE__, __LINE__,
               "%s: the naive loop's own error is %.3g", name, worst->naive);
    check_that(worst->fast <= 2 * worst->naive + 1, __FILE__, __LINE__,
               "%s: error %.3g, naive loop %.3g (in units of the floor)", name, worst->fast,
               worst->naive);
}

static attn_threads *pool; /* NULL in builds without threads */

/* unwanted: bits of grad_x, grad_w, grad_bias. */
static void run_case(int32_t rows, int32_t in_dim, int32_t out_dim, int32_t unwanted,
                     bool accumulate, bool special, uint64_t seed) {
    rng r = {seed};
    const ptrdiff_t x_stride = in_dim + rng_int(&r, 0, 3), y_stride = out_dim + rng_int(&r, 0, 3),
                    to_stride = in_dim + rng_int(&r, 0, 3);
    check_case("run_case(%d, %d, %d, %d, %d, %d, %" PRIu64 ");", (int)rows, (int)in_dim,
               (int)out_dim, (int)unwanted, accumulate, special, seed);
    /* The last row ends where its elements do, not where the stride does. */
    numbers x = numbers_alloc((size_t)((rows - 1) * x_stride + in_dim), 1.0, special, &r);
    numbers w = numbers_alloc((size_t)in_dim * (size_t)out_dim, 1.0, special, &r);
    numbers y = numbers_alloc((size_t)((rows - 1) * y_stride + out_dim), 1.0, special, &r);
    const size_t counts[3] = {(size_t)((rows - 1) * to_stride + in_dim), w.count, (size_t)out_dim};
    numbers grads[3], before[3];
    for (int g = 0; g < 3; g++) {
        rng again = r;
        grads[g] = numbers_alloc(counts[g], 4.0, false, &again);
        before[g] = numbers_alloc(counts[g], 4.0, false, &r);
    }
    float *to32[3];
    double *to64[3];
    for (int g = 0; g < 3; g++) {
        to32[g] = unwanted & 1 << g ? NULL : grads[g].f32.data;
        to64[g] = unwanted & 1 << g ? NULL : grads[g].f64.data;
    }
    /* Inputs that end where their last element does, so that a sanitizer sees what reads on. */
    const numbers *inputs[3] = {&x, &w, &y};
    float *exact[3];
    for (int t = 0; t < 3; t++) {
        exact[t] = malloc(inputs[t]->f32.bytes);
        memcpy(exact[t], inputs[t]->f32.data, inputs[t]->f32.bytes);
    }
    const float *x32 = unwanted & 2 ? NULL : exact[0], *w32 = unwanted & 1 ? NULL : exact[1];
    CHECK_STATUS(attn_linear_backward_f64(rows, in_dim, out_dim, x.f64.data, x_stride, w.f64.data,
                                          y.f64.data, y_stride, to64[0], to_stride, to64[1],
                                          to64[2], accumulate),
                 ATTN_OK);
    /* With threads first, for the bits, where there are any. */
    guarded with_threads[3];
    for (int pass = pool ? 0 : 1; pass < 2; pass++) {
        attn_exec exec = {.threads = pass ? NULL : pool};
        CHECK_STATUS(attn_linear_backward_f32_workspace(rows, in_dim, out_dim, exec.threads,
                                                        &exec.workspace_bytes),
                     ATTN_OK);
        guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
        exec.workspace = workspace.data;
        for (int g = 0; g < 3; g++)
            memcpy(grads[g].f32.data, before[g].f32.data, before[g].f32.bytes);
        CHECK_STATUS(attn_linear_backward_f32(rows, in_dim, out_dim, x32, x_stride, w32, exact[2],
                                              y_stride, to32[0], to_stride, to32[1], to32[2],
                                              accumulate, &exec),
                     ATTN_OK);
        CHECK(guarded_intact(&workspace));
        guarded_free(&workspace);
        for (int g = 0; g < 3; g++) {
            CHECK(guarded_intact(&grads[g].f32));
            if (pass == 0) {
                with_threads[g] = guarded_alloc(grads[g].f32.bytes, 0);
                memcpy(with_threads[g].data, grads[g].f32.data, grads[g].f32.bytes);
            } else if (pool) {
                CHECK(memcmp(with_threads[g].data, grads[g].f32.data, grads[g].f32.bytes) == 0);
                guarded_free(&with_threads[g]);
            }
        }
    }
    for (int g = 0; g < 3; g++) {
        CHECK(guarded_intact(&grads[g].f64));
        if (unwanted & 1 << g)
            CHECK(memcmp(grads[g].f32.data, before[g].f32.data, before[g].f32.bytes) == 0);
    }

    const float *x_data = x.f32.data, *w_data = w.f32.data, *y_data = y.f32.data;
    errors worst = {0, 0};
    for (int32_t i = 0; i < rows && !(unwanted & 1); i++)
        for (ptrdiff_t k = 0; k < to_stride && i * to_stride + k < (ptrdiff_t)counts[0]; k++) {
            const size_t e = (size_t)(i * to_stride + k);
            const float old = ((const float *)before[0].f32.data)[e];
            if (k >= in_dim) {
                CHECK(((const float *)grads[0].f32.data)[e] == old);
                continue;
            }
            float naive = accumulate ? old : 0.0f;
            double products = fabs((double)naive);
            for (int32_t o = 0; o < out_dim; o++) {
                const float a = y_data[i * y_stride + o], b = w_data[(ptrdiff_t)o * in_dim + k];
                naive += a * b;
                products += fabs((double)a * (double)b);
            }
            compare(&worst, "grad_x", e, &grads[0], naive, products, out_dim);
        }
    judge("grad_x", &worst, out_dim);
    worst = (errors){0, 0};
    for (int32_t o = 0; o < out_dim && !(unwanted & 2); o++)
        for (int32_t k = 0; k < in_dim; k++) {
            const size_t e = (size_t)o * (size_t)in_dim + (size_t)k;
            float naive = accumulate ? ((const float *)before[1].f32.data)[e] : 0.0f;
            double products = fabs((double)naive);
            for (int32_t i = 0; i < rows; i++) {
                const float a = y_data[i * y_stride + o], b = x_data[i * x_stride + k];
                naive += a * b;
                products += fabs((double)a * (double)b);
            }
            compare(&worst, "grad_w", e, &grads[1], naive, products, rows);
        }
    judge("grad_w", &worst, rows);
    worst = (errors){0, 0};
    for (int32_t o = 0; o < out_dim && !(unwanted & 4); o++) {
        float naive = accumulate ? ((const float *)before[2].f32.data)[o] : 0.0f;
        double products = fabs((double)naive);
        for (int32_t i = 0; i < rows; i++) {
            naive += y_data[i * y_stride + o];
            products += fabs((double)y_data[i * y_stride + o]);
        }
        compare(&worst, "grad_bias", (size_t)o, &grads[2], naive, products, rows);
    }
    judge("grad_bias", &worst, rows);

    for (int t = 0; t < 3; t++) {
        CHECK(memcmp(exact[t], inputs[t]->f32.data, inputs[t]->f32.bytes) == 0);
        free(exact[t]);
    }
    numbers_free(&x), numbers_free(&w), numbers_free(&y);
    for (int g = 0; g < 3; g++)
        numbers_free(&grads[g]), numbers_free(&before[g]);
}

TEST(agrees_with_float64_around_every_edge_of_the_tiles) {
    static const int32_t sizes[] = {1,  2,  3,  4,  5,  6,  7,  8,  9, 11,
                                    12, 13, 31, 47, 48, 49, 63, 64, 65};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    for (uint32_t n = 0; n < COUNT * COUNT; n++)
        run_case(sizes[n % COUNT], sizes[(n * 7 + n / COUNT) % COUNT], sizes[n / COUNT],
                 n % 4 == 0 ? (int32_t)(n / 4 % 8) : 0, n % 3 == 0, n % 5 == 0, n + 1);
}

TEST(agrees_with_float64_over_several_blocks_of_rows) {
    static const int32_t rows[] = {383, 384, 385, 390, 1000};
    for (uint32_t n = 0; n < 10; n++)
        run_case(rows[n % 5], n < 5 ? 20 : 70, n < 5 ? 55 : 30, 0, n >= 5, false, 100 + n);
}

TEST(threads_change_no_bit) {
    run_case(390, 170, 150, 0, true, false, 200);
    run_case(200, 300, 150, 0, false, false, 201);
    run_case(4, 2100, 2000, 0, false, false, 202);
}

TEST(both_refuse_with_the_right_status_and_write_nothing) {
    static const float in32[64] = {0};
    static const double in64[64] = {0};
    guarded grads = guarded_alloc(64 * sizeof(double), FILL);
    guarded workspace = guarded_alloc(1 << 16, FILL);
    float *g32 = grads.data;
    double *g64 = grads.data;
    attn_exec exec = {.workspace = workspace.data, .workspace_bytes = workspace.bytes};
    const struct {
        const char *what;
        int32_t rows, in_dim, out_dim;
        ptrdiff_t x_stride, y_stride, to_stride;
        int32_t missing; /* bits of x, w, grad_y */
        attn_status expected;
    } refusals[] = {
        {"rows < 0", -1, 2, 2, 2, 2, 2, 0, ATTN_ERR_SHAPE},
        {"in_dim 0", 5, 0, 2, 2, 2, 2, 0, ATTN_ERR_SHAPE},
        {"out_dim 0", 5, 2, 0, 2, 2, 2, 0, ATTN_ERR_SHAPE},
        {"x NULL", 5, 2, 2, 2, 2, 2, 1, ATTN_ERR_NULL},
        {"w NULL", 5, 2, 2, 2, 2, 2, 2, ATTN_ERR_NULL},
        {"grad_y NULL", 5, 2, 2, 2, 2, 2, 4, ATTN_ERR_NULL},
        {"x stride too large", 5, 2, 2, PTRDIFF_MAX / 2, 2, 2, 0, ATTN_ERR_SIZE},
        {"grad_y stride too small", 5, 2, 2, 2, PTRDIFF_MIN, 2, 0, ATTN_ERR_SIZE},
        {"grad_x stride too large", 5, 2, 2, 2, 2, PTRDIFF_MAX / 2, 0, ATTN_ERR_SIZE},
        {"w beyond the address space", 5, INT32_MAX, INT32_MAX, 0, 0, INT32_MAX, 0, ATTN_ERR_SIZE},
        {"rows of grad_x overlap", 5, 2, 2, 2, 2, 1, 0, ATTN_ERR_OPTION},
    };
    for (size_t n = 0; n < sizeof refusals / sizeof *refusals; n++) {
        check_case("%s", refusals[n].what);
        const int32_t missing = refusals[n].missing;
        CHECK_STATUS(attn_linear_backward_f32(refusals[n].rows, refusals[n].in_dim,
                                              refusals[n].out_dim, missing & 1 ? NULL : in32,
                                              refusals[n].x_stride, missing & 2 ? NULL : in32,
                                              missing & 4 ? NULL : in32, refusals[n].y_stride, g32,
                                              refusals[n].to_stride, g32 + 20, g32 + 40, 0, &exec),
                     refusals[n].expected);
        CHECK_STATUS(attn_linear_backward_f64(refusals[n].rows, refusals[n].in_dim,
                                              refusals[n].out_dim, missing & 1 ? NULL : in64,
                                              refusals[n].x_stride, missing & 2 ? NULL : in64,
                                              missing & 4 ? NULL : in64, refusals[n].y_stride, g64,
                                              refusals[n].to_stride, g64 + 20, g64 + 40, 0),
                     refusals[n].expected);
        CHECK(guarded_untouched(&grads, FILL) && guarded_untouched(&workspace, FILL));
    }
    check_case("workspace");
    size_t bytes;
    CHECK_STATUS(attn_linear_backward_f32_workspace(5, 2, 2, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_linear_backward_f32_workspace(5, 2, 0, NULL, &bytes), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_linear_backward_f32_workspace(5, 2, 2, NULL, &bytes), ATTN_OK);
    const attn_exec bad[3] = {{0},
                              {.workspace = workspace.data, .workspace_bytes = bytes - 1},
                              {.workspace = (char *)workspace.data + 8, .workspace_bytes = bytes}};
    for (int n = 0; n < 3; n++)
        CHECK_STATUS(attn_linear_backward_f32(5, 2, 2, in32, 2, in32, in32, 2, g32, 2, g32 + 20,
                                              g32 + 40, 0, &bad[n]),
                     ATTN_ERR_WORKSPACE);
    CHECK(guarded_untouched(&grads, FILL) && guarded_untouched(&workspace, FILL));
    guarded_free(&grads), guarded_free(&workspace);
}

int main(void) {
    if (attn_threads_create(3, &pool) != ATTN_OK)
        pool = NULL;
    RUN(small_gradients_are_exact);
    RUN(no_rows_give_gradients_of_zero);
    RUN(agrees_with_float64_around_every_edge_of_the_tiles);
    RUN(agrees_with_float64_over_several_blocks_of_rows);
    RUN(threads_change_no_bit);
    RUN(both_refuse_with_the_right_status_and_write_nothing);
    attn_threads_destroy(pool);
    return check_summary();
}
