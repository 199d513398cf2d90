/* The explanation of a row is the reference's own arithmetic, to the last bit, and its steps follow from each other. */
#include "check.h"

enum { FILL = 0x5A, MAX_KEYS = 12, MAX_DIM = 7 };

static bool same_bits(double a, double b) {
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

#define CHECK_SAME(actual, expected)                                                               \
    check_that(same_bits(actual, expected), __FILE__, __LINE__, "%s is %.17g, not %.17g", #actual, \
               actual, expected)

typedef struct row_terms {
    double products[MAX_KEYS * MAX_DIM], dots[MAX_KEYS], scaled[MAX_KEYS], softcapped[MAX_KEYS],
        scores[MAX_KEYS], shifted[MAX_KEYS], exponentials[MAX_KEYS], weights[MAX_KEYS],
        weighted[MAX_KEYS * MAX_DIM], out[MAX_DIM];
    uint8_t visible[MAX_KEYS];
} row_terms;

static attn_explain_f64_terms terms_in(row_terms *t) {
    return (attn_explain_f64_terms){t->products, t->dots,    t->scaled,       t->softcapped,
                                    t->scores,   t->shifted, t->exponentials, t->weights,
                                    t->weighted, t->out,     t->visible};
}

static void run_case(uint64_t seed) {
    check_case("run_case(%" PRIu64 ");", seed);
    rng r = {seed};
    const int32_t batch = rng_int(&r, 1, 2), kv_heads = rng_int(&r, 1, 2),
                  heads = kv_heads * rng_int(&r, 1, 2), len_q = rng_int(&r, 1, 5),
                  len_kv = rng_int(&r, 0, MAX_KEYS), dim = rng_int(&r, 1, MAX_DIM),
                  dim_v = rng_int(&r, 1, MAX_DIM);
    const double magnitude = rng_once_in(&r, 4) ? 1e3 : 1.0;
    static double query[2 * 4 * 5 * MAX_DIM], key[2 * 2 * MAX_KEYS * MAX_DIM],
        value[2 * 2 * MAX_KEYS * MAX_DIM], mask[2 * 4 * 5 * MAX_KEYS], slopes[4];
    static uint8_t bool_mask[2 * 4 * 5 * MAX_KEYS];
    for (size_t e = 0; e < sizeof query / sizeof *query; e++)
        query[e] = magnitude * rng_unit(&r);
    for (size_t e = 0; e < sizeof key / sizeof *key; e++) {
        key[e] = rng_once_in(&r, 100) ? NAN : magnitude * rng_unit(&r);
        value[e] = rng_once_in(&r, 50) ? INFINITY : rng_unit(&r);
    }
    for (size_t e = 0; e < sizeof mask / sizeof *mask; e++) {
        mask[e] = rng_once_in(&r, 4) ? -INFINITY : rng_unit(&r);
        bool_mask[e] = !rng_once_in(&r, 3);
    }
    for (int h = 0; h < 4; h++)
        slopes[h] = rng_unit(&r);
    int32_t lengths[2] = {rng_int(&r, 0, len_kv), rng_int(&r, 0, len_kv)};

    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, batch, heads, kv_heads, len_q, len_kv, dim, dim_v);
    desc.softcap = rng_once_in(&r, 3) ? 3.0 : 0.0;
    desc.is_causal = rng_once_in(&r, 3);
    desc.align = rng_int(&r, 0, 1);
    desc.window_left = rng_once_in(&r, 4) ? rng_int(&r, 0, 4) : -1;
    if (rng_once_in(&r, 3))
        desc.kv_lengths = lengths;
    const int32_t kind = rng_int(&r, 0, 2);
    if (kind != ATTN_MASK_NONE)
        desc.masks[1] =
            (attn_mask){.data = kind == ATTN_MASK_BOOL ? (void *)bool_mask : (void *)mask,
                        .kind = kind,
                        .batch = heads * len_q * len_kv,
                        .head = len_q * len_kv,
                        .query = len_kv,
                        .key = 1};

    static double out[2 * 4 * 5 * MAX_DIM], weights[2 * 4 * 5 * MAX_KEYS],
        scores[3][2 * 4 * 5 * MAX_KEYS], logsumexp[2 * 4 * 5];
    attn_sdpa_f64_data data = {.query = query, .key = key, .value = value};
    if (rng_once_in(&r, 3))
        data.alibi_slopes = slopes;
    const attn_sdpa_f64_data inputs = data;
    data.out = out;
    data.weights = weights;
    data.logsumexp = logsumexp;
    double scratch[MAX_KEYS + 4];
    const attn_exec exec = {.workspace = (void *)(((uintptr_t)scratch + 15) / 16 * 16),
                            .workspace_bytes = sizeof scratch - 16};
    for (int stage = 0; stage < 3; stage++) {
        desc.scores_stage = stage;
        data.scores = scores[stage];
        CHECK_STATUS(attn_sdpa_f64(&desc, &data, &exec), ATTN_OK);
    }

    for (int32_t row = 0; row < batch * heads * len_q; row++) {
        const int32_t b = row / len_q / heads, h = row / len_q % heads, i = row % len_q;
        row_terms t;
        memset(&t, FILL, sizeof t);
        attn_explain_f64_terms terms = terms_in(&t);
        if (row % 2)
            terms.products = NULL;
        attn_explain_f64_totals totals;
        CHECK_STATUS(attn_explain_f64(&desc, &inputs, b, h, i, &terms, &totals), ATTN_OK);
        CHECK_SAME(totals.logsumexp, logsumexp[row]);
        double max = -INFINITY, sum = 0.0;
        for (int32_t j = 0; j < len_kv; j++) {
            const int32_t at = row * len_kv + j;
            CHECK_SAME(t.scaled[j], scores[ATTN_SCORES_RAW][at]);
            CHECK_SAME(t.softcapped[j], scores[ATTN_SCORES_SOFTCAPPED][at]);
            CHECK_SAME(t.scores[j], scores[ATTN_SCORES_MASKED][at]);
            CHECK_SAME(t.weights[j], weights[at]);
            CHECK(t.visible[j] == (t.scores[j] != -INFINITY));
            const bool exists = !desc.kv_lengths || j < lengths[b];
            double dot = 0.0;
            for (int32_t d = 0; d < dim && exists && terms.products; d++)
                dot += t.products[j * dim + d];
            for (int32_t d = 0; d < dim && !exists && terms.products; d++)
                CHECK_SAME(t.products[j * dim + d], 0.0);
            if (terms.products)
                CHECK_SAME(t.dots[j], exists ? dot : -INFINITY);
            if (exists)
                CHECK_SAME(t.scaled[j], desc.scale * t.dots[j]);
            if (t.visible[j]) {
                CHECK_SAME(t.shifted[j], t.scores[j] - totals.shift);
                CHECK_SAME(t.exponentials[j], exp(t.shifted[j]));
            } else if (!isnan(totals.max)) {
                CHECK_SAME(t.exponentials[j], 0.0);
                CHECK_SAME(t.shifted[j], -INFINITY);
            }
            if (t.exponentials[j] > 0.0)
                CHECK_SAME(t.weights[j], t.exponentials[j] / totals.sum);
            max = isnan(max) || isnan(t.scores[j]) ? NAN : fmax(max, t.scores[j]);
            sum += t.exponentials[j];
        }
        CHECK_SAME(totals.sum, sum);
        CHECK(isnan(max) == isnan(totals.max));
        if (!isnan(max))
            CHECK_SAME(totals.max, max);
        CHECK(totals.shift == 0.0 || same_bits(totals.shift, totals.max));
        for (int32_t d = 0; d < dim_v; d++) {
            double total = 0.0;
            for (int32_t j = 0; j < len_kv; j++)
                total += t.weighted[j * dim_v + d];
            CHECK_SAME(t.out[d], out[row * dim_v + d]);
            check_that(total == t.out[d] || isnan(total) == isnan(t.out[d]), __FILE__, __LINE__,
                       "the weighted values add up to %.17g, not %.17g", total, t.out[d]);
        }
    }
}

TEST(every_number_is_the_reference_s_own) {
    for (uint64_t seed = 1; seed <= 2000; seed++)
        run_case(seed);
}

TEST(the_textbook_example_step_by_step) {
    const double query[2] = {0.5, 0.5}, key[4] = {0.1, 0.2, 0.2, 0.3},
                 value[4] = {0.6, 0.8, 0.7, 0.9};
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 1, 1, 1, 2, 2, 2);
    desc.scale = 1.0;
    const attn_sdpa_f64_data data = {.query = query, .key = key, .value = value};
    row_terms t;
    const attn_explain_f64_terms terms = terms_in(&t);
    attn_explain_f64_totals totals;
    CHECK_STATUS(attn_explain_f64(&desc, &data, 0, 0, 0, &terms, &totals), ATTN_OK);
    CHECK_EXACT(t.products[0], 0.05);
    CHECK_EXACT(t.products[1], 0.1);
    CHECK_NEAR(t.dots[0], 0.15, 1e-16);
    CHECK_NEAR(t.dots[1], 0.25, 1e-16);
    CHECK_EXACT(t.out[0], 0.6524979187478941);
    CHECK_EXACT(t.out[1], 0.852497918747894);
    CHECK_EXACT(totals.max, t.scores[1]);
    CHECK_EXACT(totals.shift, 0.0);
    CHECK_NEAR(totals.sum, exp(0.15) + exp(0.25), 1e-15);
}

TEST(a_refused_call_writes_nothing) {
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 2, 2, 1, 3, 2, 2, 2);
    const double x[32] = {0};
    const attn_sdpa_f64_data data = {.query = x, .key = x, .value = x};
    guarded memory = guarded_alloc(sizeof(row_terms), FILL), total = guarded_alloc(32, FILL);
    const attn_explain_f64_terms terms = terms_in(memory.data);
    attn_explain_f64_totals *totals = total.data;
    CHECK_STATUS(attn_explain_f64(NULL, &data, 0, 0, 0, &terms, totals), ATTN_ERR_NULL);
    CHECK_STATUS(attn_explain_f64(&desc, NULL, 0, 0, 0, &terms, totals), ATTN_ERR_NULL);
    CHECK_STATUS(attn_explain_f64(&desc, &data, 0, 0, 0, NULL, totals), ATTN_ERR_NULL);
    CHECK_STATUS(attn_explain_f64(&desc, &data, 0, 0, 0, &terms, NULL), ATTN_ERR_NULL);
    const int32_t outside[6][3] = {{2, 0, 0},  {0, 2, 0},  {0, 0, 3},
                                   {-1, 0, 0}, {0, -1, 0}, {0, 0, -1}};
    for (int n = 0; n < 6; n++)
        CHECK_STATUS(attn_explain_f64(&desc, &data, outside[n][0], outside[n][1], outside[n][2],
                                      &terms, totals),
                     ATTN_ERR_SHAPE);
    for (int n = 1; n < 11; n++) {
        attn_explain_f64_terms lacks = terms;
        memset((char *)&lacks + (size_t)n * sizeof(double *), 0, sizeof(double *));
        CHECK_STATUS(attn_explain_f64(&desc, &data, 0, 0, 0, &lacks, totals), ATTN_ERR_NULL);
    }
    desc.scale = NAN;
    CHECK_STATUS(attn_explain_f64(&desc, &data, 0, 0, 0, &terms, totals), ATTN_ERR_OPTION);
    CHECK(guarded_untouched(&memory, FILL) && guarded_untouched(&total, FILL));
    guarded_free(&memory), guarded_free(&total);
}

int main(void) {
    RUN(every_number_is_the_reference_s_own);
    RUN(the_textbook_example_step_by_step);
    RUN(a_refused_call_writes_nothing);
    return check_summary();
}
