/* What is read off a head, against heads whose numbers are known, and rollout against sums on
 * paper. */
#include "check.h"

enum { N = 8, FILL = 0x5A };

static attn_head_statistics statistics_of(const double *weights, int32_t rows, int32_t columns,
                                          int32_t offset) {
    attn_head_statistics s = {.rows = -1};
    CHECK_STATUS(attn_head_statistics_f64(rows, columns, offset, weights, &s), ATTN_OK);
    return s;
}

TEST(a_head_that_looks_at_itself) {
    double w[N][N] = {{0}};
    for (int i = 0; i < N; i++)
        w[i][i] = 1.0;
    const attn_head_statistics s = statistics_of(*w, N, N, 0);
    CHECK_EXACT(s.entropy, 0.0);
    CHECK_EXACT(s.distance, 0.0);
    CHECK_EXACT(s.diagonal, 1.0);
    CHECK_EXACT(s.previous, 0.0);
    CHECK_EXACT(s.first, 1.0 / N);
    CHECK_EXACT(s.max, 1.0);
    CHECK(s.rows == N);
}

TEST(a_head_that_looks_at_the_previous_token) {
    double w[N][N] = {{1.0}};
    for (int i = 1; i < N; i++)
        w[i][i - 1] = 1.0;
    const attn_head_statistics s = statistics_of(*w, N, N, 0);
    CHECK_EXACT(s.distance, (N - 1.0) / N);
    CHECK_EXACT(s.diagonal, 1.0 / N);
    CHECK_EXACT(s.previous, (N - 1.0) / N);
    CHECK_EXACT(s.first, 2.0 / N);
}

TEST(a_head_that_looks_everywhere) {
    double w[4][N];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < N; j++)
            w[i][j] = 1.0 / N;
    const attn_head_statistics s = statistics_of(*w, 4, N, 0);
    CHECK_EXACT(s.entropy, 3.0);
    CHECK_EXACT(s.diagonal, 1.0 / N);
    CHECK_EXACT(s.first, 1.0 / N);
    CHECK_EXACT(s.max, 1.0 / N);
    CHECK_EXACT(s.previous, 3.0 / 4 / N); /* row 0 has no previous key */
    /* sum_j |i - j|: 28, 22, 18, 16 */
    CHECK_EXACT(s.distance, (28 + 22 + 18 + 16) / 4.0 / N);
}

TEST(the_offset_says_where_the_rows_stand) {
    double w[2][5] = {{0, 0, 0, 1, 0}, {0, 0, 0, 0.5, 0.5}};
    const attn_head_statistics s = statistics_of(*w, 2, 5, 3);
    CHECK_EXACT(s.diagonal, 0.75);
    CHECK_EXACT(s.previous, 0.25);
    CHECK_EXACT(s.distance, 0.25);
    CHECK_EXACT(s.entropy, 0.5);
    /* Right behind the last key there is still a previous one. */
    const attn_head_statistics behind = statistics_of(*w, 1, 5, 5);
    CHECK_EXACT(behind.diagonal, 0.0);
    CHECK_EXACT(behind.previous, 0.0);
    const attn_head_statistics last = statistics_of(*w, 1, 4, 4);
    CHECK_EXACT(last.diagonal, 0.0);
    CHECK_EXACT(last.previous, 1.0);
    /* Rows that stand before the first or behind the last key have no diagonal. */
    const int32_t far[2] = {-100, INT32_MAX};
    for (int f = 0; f < 2; f++) {
        const attn_head_statistics away = statistics_of(*w, 2, 5, far[f]);
        CHECK_EXACT(away.diagonal, 0.0);
        CHECK_EXACT(away.previous, 0.0);
        CHECK_EXACT(away.max, 0.75);
    }
}

TEST(rows_that_see_nothing_do_not_count) {
    double w[3][2] = {{0, 0}, {0.25, 0.75}, {0, 0}};
    const attn_head_statistics s = statistics_of(*w, 3, 2, 0);
    CHECK(s.rows == 1);
    CHECK_EXACT(s.max, 0.75);
    CHECK_EXACT(s.first, 0.25);
    CHECK_NEAR(s.entropy, 0.25 * 2 + 0.75 * log2(4.0 / 3), 1e-15);
    memset(w, 0, sizeof w);
    const attn_head_statistics none = statistics_of(*w, 3, 2, 0);
    CHECK(none.rows == 0);
    CHECK_EXACT(none.entropy, 0.0);
    CHECK_EXACT(none.max, 0.0);
    CHECK(statistics_of(NULL, 0, 5, 0).rows == 0);
    CHECK(statistics_of(NULL, 5, 0, 0).rows == 0);
}

TEST(nan_is_not_hidden) {
    double w[2][2] = {{NAN, 0.5}, {1, 0}};
    const attn_head_statistics s = statistics_of(*w, 2, 2, 0);
    CHECK(isnan(s.entropy) && isnan(s.distance) && isnan(s.max));
}

/* Both 2 x 2 */
static const double layer1[2][4] = {{1.0, 0.0, 0.5, 0.5}, {0.5, 0.5, 0.25, 0.75}};
static const double layer2[2][4] = {{1.0, 0.0, 0.0, 1.0}, {0.0, 1.0, 1.0, 0.0}};

TEST(rollout_multiplies_the_layers) {
    double first[4], second[4];
    CHECK_STATUS(attn_rollout_f64(2, 2, *layer1, 0.5, ATTN_FUSE_MEAN, NULL, first), ATTN_OK);
    /* mean [[3/4, 1/4], [3/8, 5/8]], half of it and half of I */
    const double want1[4] = {7.0 / 8, 1.0 / 8, 3.0 / 16, 13.0 / 16};
    for (int e = 0; e < 4; e++)
        CHECK_EXACT(first[e], want1[e]);
    CHECK_STATUS(attn_rollout_f64(2, 2, *layer2, 0.5, ATTN_FUSE_MEAN, first, second), ATTN_OK);
    /* mean [[1/2, 1/2], [1/2, 1/2]] -> [[3/4, 1/4], [1/4, 3/4]] times want1 */
    const double want2[4] = {(3 * 14 + 3) / 64.0, (3 * 2 + 13) / 64.0, (14 + 3 * 3) / 64.0,
                             (2 + 3 * 13) / 64.0};
    for (int e = 0; e < 4; e++)
        CHECK_EXACT(second[e], want2[e]);
}

TEST(heads_are_fused_as_asked_and_rows_sum_to_one) {
    double out[4];
    CHECK_STATUS(attn_rollout_f64(2, 2, *layer1, 0.0, ATTN_FUSE_MAX, NULL, out), ATTN_OK);
    /* max [[1, 1/2], [1/2, 3/4]] */
    CHECK_NEAR(out[0], 2.0 / 3, 1e-16);
    CHECK_NEAR(out[1], 1.0 / 3, 1e-16);
    CHECK_NEAR(out[2], 0.4, 1e-16);
    CHECK_NEAR(out[3], 0.6, 1e-16);
    CHECK_STATUS(attn_rollout_f64(2, 2, *layer1, 0.0, ATTN_FUSE_MIN, NULL, out), ATTN_OK);
    /* min [[1/2, 0], [1/4, 1/2]] */
    CHECK_EXACT(out[0], 1.0);
    CHECK_EXACT(out[1], 0.0);
    CHECK_NEAR(out[2], 1.0 / 3, 1e-16);
    CHECK_NEAR(out[3], 2.0 / 3, 1e-16);
    CHECK_STATUS(attn_rollout_f64(2, 2, *layer1, 1.0, ATTN_FUSE_MEAN, NULL, out), ATTN_OK);
    for (int e = 0; e < 4; e++)
        CHECK_EXACT(out[e], (double)(e % 3 == 0));
}

TEST(what_is_below_0_has_no_entropy) {
    const double w[3] = {-0.5, 0.5, 1.0}, with_nan[3] = {NAN, 0.5, 0.5};
    attn_head_statistics s;
    CHECK_STATUS(attn_head_statistics_f64(1, 3, 0, w, &s), ATTN_OK);
    CHECK_EXACT(s.entropy, 0.5);
    CHECK_EXACT(s.max, 1.0);
    CHECK_STATUS(attn_head_statistics_f64(1, 3, 0, with_nan, &s), ATTN_OK);
    CHECK(isnan(s.entropy));
}

TEST(a_row_without_weights_passes_itself_on) {
    const double w[4] = {0, 0, 0.5, 0.5};
    double out[4];
    CHECK_STATUS(attn_rollout_f64(1, 2, w, 0.5, ATTN_FUSE_MEAN, NULL, out), ATTN_OK);
    CHECK_EXACT(out[0], 1.0);
    CHECK_EXACT(out[1], 0.0);
    CHECK_STATUS(attn_rollout_f64(1, 2, w, 0.0, ATTN_FUSE_MEAN, NULL, out), ATTN_OK);
    CHECK_EXACT(out[0], 0.0);
    CHECK_EXACT(out[1], 0.0);
}

TEST(a_refused_call_writes_nothing) {
    guarded out = guarded_alloc(sizeof(attn_head_statistics), FILL);
    const double w[4] = {0};
    CHECK_STATUS(attn_head_statistics_f64(-1, 2, 0, w, out.data), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_head_statistics_f64(2, -1, 0, w, out.data), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_head_statistics_f64(2, 2, 0, NULL, out.data), ATTN_ERR_NULL);
    CHECK_STATUS(attn_head_statistics_f64(2, 2, 0, w, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rollout_f64(0, 2, w, 0.5, 0, NULL, out.data), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_rollout_f64(1, -2, w, 0.5, 0, NULL, out.data), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_rollout_f64(1, 2, w, 1.5, 0, NULL, out.data), ATTN_ERR_OPTION);
    CHECK_STATUS(attn_rollout_f64(1, 2, w, -0.5, 0, NULL, out.data), ATTN_ERR_OPTION);
    CHECK_STATUS(attn_rollout_f64(1, 2, w, NAN, 0, NULL, out.data), ATTN_ERR_OPTION);
    CHECK_STATUS(attn_rollout_f64(1, 2, w, 0.5, 3, NULL, out.data), ATTN_ERR_OPTION);
    CHECK_STATUS(attn_rollout_f64(1, 2, w, 0.5, -1, NULL, out.data), ATTN_ERR_OPTION);
    CHECK_STATUS(attn_rollout_f64(1, 2, NULL, 0.5, 0, NULL, out.data), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rollout_f64(1, 2, w, 0.5, 0, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rollout_f64(INT32_MAX, INT32_MAX, w, 0.5, 0, NULL, out.data), ATTN_ERR_SIZE);
    CHECK_STATUS(attn_rollout_f64(1, 0, NULL, 0.5, 0, NULL, NULL), ATTN_OK);
    CHECK(guarded_untouched(&out, FILL));
    guarded_free(&out);
}

int main(void) {
    RUN(a_head_that_looks_at_itself);
    RUN(a_head_that_looks_at_the_previous_token);
    RUN(a_head_that_looks_everywhere);
    RUN(the_offset_says_where_the_rows_stand);
    RUN(rows_that_see_nothing_do_not_count);
    RUN(nan_is_not_hidden);
    RUN(rollout_multiplies_the_layers);
    RUN(heads_are_fused_as_asked_and_rows_sum_to_one);
    RUN(what_is_below_0_has_no_entropy);
    RUN(a_row_without_weights_passes_itself_on);
    RUN(a_refused_call_writes_nothing);
    return check_summary();
}
