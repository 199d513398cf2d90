/* The reference against results that were not computed by it: the textbook's digits, cases small
 * enough for paper, and golden_reference.py's sixty decimal digits. */
#include "check.h"

enum { LARGEST = 512 };

/* One call on contiguous tensors with room for any of these tests. */
typedef struct problem {
    attn_sdpa_desc desc;
    attn_sdpa_f64_data data;
    double query[LARGEST], key[LARGEST], value[LARGEST];
    double out[LARGEST], weights[LARGEST], scores[LARGEST], logsumexp[LARGEST];
} problem;

/* Small multiples of 1/16: exact, and the same in golden_reference.py. */
static void fill(double *numbers, int count, int step, int modulus) {
    for (int i = 0; i < count; i++)
        numbers[i] = ((5 + step * i) % modulus - modulus / 2) / 16.0;
}

static void setup(problem *p, int32_t batch, int32_t num_heads, int32_t num_kv_heads,
                  int32_t seq_len_q, int32_t seq_len_kv, int32_t head_dim, int32_t head_dim_v) {
    memset(p, 0, sizeof *p);
    attn_sdpa_desc_init(&p->desc, batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim,
                        head_dim_v);
    p->desc.scores_stage = ATTN_SCORES_MASKED;
    fill(p->query, batch * num_heads * seq_len_q * head_dim, 7, 31);
    fill(p->key, batch * num_kv_heads * seq_len_kv * head_dim, 11, 37);
    fill(p->value, batch * num_kv_heads * seq_len_kv * head_dim_v, 13, 41);
    p->data = (attn_sdpa_f64_data){p->query, p->key,     p->value,  NULL,
                                   p->out,   p->weights, p->scores, p->logsumexp};
}

static attn_status run(problem *p) {
    size_t bytes = 0;
    int32_t num_tasks = 0;
    const attn_status status = attn_sdpa_f64_workspace(&p->desc, &p->data, &bytes, &num_tasks);
    if (status != ATTN_OK)
        return status;
    guarded workspace = guarded_alloc(bytes, 0xFF);
    const attn_exec exec = {.workspace = workspace.data, .workspace_bytes = bytes};
    const attn_status result = attn_sdpa_f64(&p->desc, &p->data, &exec);
    CHECK(guarded_intact(&workspace));
    guarded_free(&workspace);
    return result;
}

/* The limits as a drawing: row i, key j is '1' where the weight is positive. All keys have the same
 * score, so each weight of a row is 1 / (number of ones). */
static void expect_drawing(problem *p, int32_t b, const char *const *rows) {
    const attn_sdpa_desc *d = &p->desc;
    memset(p->query, 0, sizeof p->query);
    CHECK_STATUS(run(p), ATTN_OK);
    for (int32_t i = 0; i < d->seq_len_q; i++) {
        char drawn[64] = {0};
        int ones = 0;
        for (int32_t j = 0; j < d->seq_len_kv; j++)
            ones += rows[i][j] == '1';
        for (int32_t j = 0; j < d->seq_len_kv; j++) {
            const double weight = p->weights[(b * d->seq_len_q + i) * d->seq_len_kv + j];
            drawn[j] = weight > 0 ? '1' : '0';
            CHECK_NEAR(weight, rows[i][j] == '1' ? 1.0 / ones : 0.0, 0x1p-53);
        }
        check_that(strcmp(drawn, rows[i]) == 0, __FILE__, __LINE__, "row %d is %s, not %s", (int)i,
                   drawn, rows[i]);
    }
}

TEST(the_textbook_example_comes_out_to_the_last_digit) {
    const double query[] = {0.5, 0.5}, keys[] = {0.1, 0.2, 0.2, 0.3},
                 values[] = {0.6, 0.8, 0.7, 0.9};
    double scores[2], weights[2], out[2];
    CHECK_STATUS(attn_attention_f64(2, 2, 2, 1.0, query, keys, values, scores, weights, out),
                 ATTN_OK);
    CHECK_NEAR(scores[0], 0.15, 0x1p-53);
    CHECK_NEAR(scores[1], 0.25, 0x1p-53);
    CHECK_NEAR(weights[0], 0.4750, 0.00005);
    CHECK_NEAR(weights[1], 0.5250, 0.00005);
    CHECK_EXACT(out[0], 0.6524979187478941);
    CHECK_EXACT(out[1], 0.852497918747894);

    problem p;
    setup(&p, 1, 1, 1, 1, 2, 2, 2);
    p.desc.scale = 1.0;
    memcpy(p.query, query, sizeof query);
    memcpy(p.key, keys, sizeof keys);
    memcpy(p.value, values, sizeof values);
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_EXACT(p.out[0], 0.6524979187478941);
    CHECK_EXACT(p.out[1], 0.852497918747894);
}

TEST(the_textbook_form_is_sdpa_with_one_query) {
    problem p;
    setup(&p, 1, 1, 1, 1, 9, 4, 3);
    double scores[9], weights[9], out[3];
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_STATUS(
        attn_attention_f64(9, 4, 3, p.desc.scale, p.query, p.key, p.value, scores, weights, out),
        ATTN_OK);
    CHECK(memcmp(scores, p.scores, sizeof scores) == 0);
    CHECK(memcmp(weights, p.weights, sizeof weights) == 0);
    CHECK(memcmp(out, p.out, sizeof out) == 0);
}

TEST(one_key_gets_the_whole_weight) {
    problem p;
    setup(&p, 1, 1, 1, 3, 1, 2, 2);
    CHECK_STATUS(run(&p), ATTN_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_EXACT(p.weights[i], 1.0);
        CHECK_EXACT(p.out[2 * i], p.value[0]);
        CHECK_EXACT(p.out[2 * i + 1], p.value[1]);
        CHECK_NEAR(p.logsumexp[i], p.scores[i], 4 * 0x1p-53);
    }
}

TEST(weights_follow_the_ratio_of_exponentials) {
    /* Scores log 1, log 2, log 5 by one-dimensional keys: weights 1/8, 2/8, 5/8. */
    problem p;
    setup(&p, 1, 1, 1, 1, 3, 1, 1);
    p.query[0] = 1.0;
    p.key[0] = 0.0, p.key[1] = log(2.0), p.key[2] = log(5.0);
    p.value[0] = 8.0, p.value[1] = 16.0, p.value[2] = -8.0;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_NEAR(p.weights[0], 0.125, 0x1p-53);
    CHECK_NEAR(p.weights[1], 0.25, 0x1p-52);
    CHECK_NEAR(p.weights[2], 0.625, 0x1p-52);
    CHECK_NEAR(p.out[0], 0.0, 0x1p-49);
    CHECK_NEAR(p.logsumexp[0], log(8.0), 0x1p-51);
}

TEST(the_default_scale_is_one_over_the_root_of_head_dim_and_zero_is_zero) {
    problem p;
    setup(&p, 1, 1, 1, 1, 2, 16, 1);
    CHECK_EXACT(p.desc.scale, 0.25);
    p.desc.scale = 0.0;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_EXACT(p.weights[0], 0.5);
    CHECK_EXACT(p.weights[1], 0.5);
}

TEST(causal_is_drawn_as_in_the_header) {
    problem p;
    setup(&p, 1, 1, 1, 2, 4, 1, 1);
    p.desc.is_causal = 1;
    expect_drawing(&p, 0, (const char *const[]){"1000", "1100"});
    p.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    expect_drawing(&p, 0, (const char *const[]){"1110", "1111"});
}

TEST(causal_with_more_queries_than_keys_leaves_rows_without_keys_at_the_top) {
    problem p;
    setup(&p, 1, 1, 1, 4, 2, 1, 1);
    p.desc.is_causal = 1;
    expect_drawing(&p, 0, (const char *const[]){"10", "11", "11", "11"});
    p.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    expect_drawing(&p, 0, (const char *const[]){"00", "00", "10", "11"});
    for (int i = 0; i < 2; i++) {
        CHECK_EXACT(p.out[i], 0.0);
        CHECK_EXACT(p.logsumexp[i], -INFINITY);
        CHECK_EXACT(p.scores[2 * i], -INFINITY);
    }
}

TEST(a_window_reaches_left_and_right_of_where_the_row_stands) {
    problem p;
    setup(&p, 1, 1, 1, 4, 6, 1, 1);
    p.desc.window_left = 1;
    expect_drawing(&p, 0, (const char *const[]){"111111", "111111", "011111", "001111"});
    p.desc.window_right = 0;
    expect_drawing(&p, 0, (const char *const[]){"100000", "110000", "011000", "001100"});
    p.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    expect_drawing(&p, 0, (const char *const[]){"011000", "001100", "000110", "000011"});
    p.desc.window_left = 0, p.desc.window_right = 2;
    expect_drawing(&p, 0, (const char *const[]){"001110", "000111", "000011", "000001"});
    p.desc.is_causal = 1;
    expect_drawing(&p, 0, (const char *const[]){"001000", "000100", "000010", "000001"});
    p.desc.window_left = p.desc.window_right = INT32_MAX;
    p.desc.is_causal = 0;
    expect_drawing(&p, 0, (const char *const[]){"111111", "111111", "111111", "111111"});
}

TEST(a_window_beyond_the_keys_sees_none) {
    problem p;
    setup(&p, 1, 1, 1, 5, 2, 1, 1);
    p.desc.window_left = 1;
    expect_drawing(&p, 0, (const char *const[]){"11", "11", "01", "00", "00"});
    p.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    p.desc.window_right = 1;
    expect_drawing(&p, 0, (const char *const[]){"00", "00", "10", "11", "11"});
}

TEST(key_lengths_shorten_each_batch_element_and_move_its_bottom_right) {
    const int32_t lengths[3] = {3, 0, 4};
    problem p;
    setup(&p, 3, 1, 1, 2, 4, 1, 1);
    p.desc.kv_lengths = lengths;
    expect_drawing(&p, 0, (const char *const[]){"1110", "1110"});
    expect_drawing(&p, 1, (const char *const[]){"0000", "0000"});
    expect_drawing(&p, 2, (const char *const[]){"1111", "1111"});
    p.desc.is_causal = 1;
    expect_drawing(&p, 0, (const char *const[]){"1000", "1100"});
    p.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    expect_drawing(&p, 0, (const char *const[]){"1100", "1110"});
    expect_drawing(&p, 1, (const char *const[]){"0000", "0000"});
    expect_drawing(&p, 2, (const char *const[]){"1110", "1111"});
}

TEST(a_boolean_mask_keeps_what_is_not_zero) {
    const uint8_t mask[8] = {1, 0, 255, 0, 0, 0, 0, 128};
    problem p;
    setup(&p, 1, 1, 1, 2, 4, 1, 1);
    p.desc.masks[0] = (attn_mask){.data = mask, .kind = ATTN_MASK_BOOL, .query = 4, .key = 1};
    expect_drawing(&p, 0, (const char *const[]){"1010", "0001"});
    p.desc.masks[0].seq_len_kv = 3;
    expect_drawing(&p, 0, (const char *const[]){"1011", "0001"});
    p.desc.masks[0].query = 0;
    expect_drawing(&p, 0, (const char *const[]){"1011", "1011"});
}

TEST(two_masks_and_the_limits_all_apply) {
    const uint8_t keep[4] = {0, 1, 1, 1};
    const double add[8] = {0, 0, -INFINITY, 0, 0, 0, 0, -INFINITY};
    problem p;
    setup(&p, 1, 1, 1, 2, 4, 1, 1);
    p.desc.masks[0] = (attn_mask){.data = add, .kind = ATTN_MASK_ADD, .query = 4, .key = 1};
    p.desc.masks[1] = (attn_mask){.data = keep, .kind = ATTN_MASK_BOOL, .key = 1};
    expect_drawing(&p, 0, (const char *const[]){"0101", "0110"});
    p.desc.is_causal = 1;
    p.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    expect_drawing(&p, 0, (const char *const[]){"0100", "0110"});
}

TEST(an_additive_mask_is_added_to_the_score) {
    const double add[2] = {log(3.0), 0.0};
    problem p;
    setup(&p, 1, 1, 1, 1, 2, 1, 1);
    p.query[0] = 0.0;
    p.desc.masks[1] = (attn_mask){.data = add, .kind = ATTN_MASK_ADD, .key = 1};
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_NEAR(p.weights[0], 0.75, 0x1p-52);
    CHECK_EXACT(p.scores[0], log(3.0));
}

TEST(masks_broadcast_by_stride_zero) {
    /* [2, 3, 1, 2] over [batch 2, heads 3, rows 2, keys 2], its own layout [heads, batch, keys] */
    const uint8_t mask[12] = {1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1};
    problem p;
    setup(&p, 2, 3, 3, 2, 2, 1, 1);
    memset(p.query, 0, sizeof p.query);
    p.desc.masks[0] =
        (attn_mask){.data = mask, .kind = ATTN_MASK_BOOL, .batch = 2, .head = 4, .key = 1};
    CHECK_STATUS(run(&p), ATTN_OK);
    for (int b = 0; b < 2; b++)
        for (int h = 0; h < 3; h++)
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 2; j++)
                    CHECK((p.weights[((b * 3 + h) * 2 + i) * 2 + j] > 0) ==
                          mask[h * 4 + b * 2 + j]);
}

TEST(softcap_bounds_the_scores_and_the_stages_tell_them_apart) {
    problem p;
    setup(&p, 1, 1, 1, 1, 2, 1, 1);
    p.query[0] = 1.0;
    p.key[0] = 2.0, p.key[1] = -400.0;
    p.desc.softcap = 4.0;
    const double add[2] = {-1.0, 0.5};
    p.desc.masks[0] = (attn_mask){.data = add, .kind = ATTN_MASK_ADD, .key = 1};
    p.desc.scores_stage = ATTN_SCORES_RAW;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_EXACT(p.scores[0], 2.0);
    CHECK_EXACT(p.scores[1], -400.0);
    p.desc.scores_stage = ATTN_SCORES_SOFTCAPPED;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_NEAR(p.scores[0], 1.8484686290400391, 0x1p-51); /* 4 tanh(1/2) */
    CHECK_EXACT(p.scores[1], -4.0);
    p.desc.scores_stage = ATTN_SCORES_MASKED;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_NEAR(p.scores[0], 0.8484686290400391, 0x1p-51);
    CHECK_EXACT(p.scores[1], -3.5);
}

TEST(scores_before_masking_are_those_of_every_key_there_is) {
    const int32_t lengths[1] = {3};
    problem p;
    setup(&p, 1, 1, 1, 2, 4, 1, 1);
    p.query[0] = 1.0, p.query[1] = -2.0;
    for (int j = 0; j < 4; j++)
        p.key[j] = j + 1;
    p.desc.is_causal = 1;
    p.desc.kv_lengths = lengths;
    const double raw[8] = {1, 2, 3, -INFINITY, -2, -4, -6, -INFINITY};
    const double masked[8] = {1, -INFINITY, -INFINITY, -INFINITY, -2, -4, -INFINITY, -INFINITY};
    for (int stage = ATTN_SCORES_RAW; stage <= ATTN_SCORES_MASKED; stage++) {
        p.desc.scores_stage = stage;
        CHECK_STATUS(run(&p), ATTN_OK);
        for (int e = 0; e < 8; e++)
            CHECK_EXACT(p.scores[e], stage == ATTN_SCORES_MASKED ? masked[e] : raw[e]);
    }
}

TEST(alibi_falls_with_the_distance_on_both_sides) {
    const double slopes[4] = {0.5, 2.0, 1.0, 0.25};
    problem p;
    setup(&p, 2, 2, 1, 2, 4, 1, 1);
    memset(p.query, 0, sizeof p.query);
    p.data.alibi_slopes = slopes;
    for (int align = 0; align < 2; align++)
        for (int stride = 0; stride <= 2; stride += 2) {
            p.desc.align = align;
            p.desc.alibi_batch_stride = stride;
            CHECK_STATUS(run(&p), ATTN_OK);
            for (int b = 0; b < 2; b++)
                for (int h = 0; h < 2; h++)
                    for (int i = 0; i < 2; i++)
                        for (int j = 0; j < 4; j++)
                            CHECK_EXACT(p.scores[((b * 2 + h) * 2 + i) * 4 + j],
                                        -slopes[b * stride + h] * abs(i + (align ? 2 : 0) - j));
        }
}

TEST(consecutive_query_heads_share_a_kv_head) {
    problem p;
    setup(&p, 1, 6, 2, 1, 1, 1, 1);
    p.value[0] = 10.0, p.value[1] = 20.0;
    CHECK_STATUS(run(&p), ATTN_OK);
    for (int h = 0; h < 6; h++)
        CHECK_EXACT(p.out[h], h < 3 ? 10.0 : 20.0);
}

TEST(strides_read_and_write_any_layout) {
    /* [batch, seq, heads, dim] in and out against [batch, heads, seq, dim]: the same bits. */
    enum { B = 2, H = 3, S = 4, D = 2 };
    problem p, q;
    setup(&p, B, H, H, S, S, D, D);
    setup(&q, B, H, H, S, S, D, D);
    const attn_strides interleaved = {S * H * D, D, H * D};
    q.desc.query = q.desc.key = q.desc.value = q.desc.out = interleaved;
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++)
            for (int i = 0; i < S; i++)
                for (int d = 0; d < D; d++) {
                    const int to = ((b * S + i) * H + h) * D + d,
                              from = ((b * H + h) * S + i) * D + d;
                    q.query[to] = p.query[from], q.key[to] = p.key[from],
                    q.value[to] = p.value[from];
                }
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_STATUS(run(&q), ATTN_OK);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++)
            for (int i = 0; i < S; i++)
                for (int d = 0; d < D; d++)
                    CHECK_EXACT(q.out[((b * S + i) * H + h) * D + d],
                                p.out[((b * H + h) * S + i) * D + d]);
    CHECK(memcmp(p.weights, q.weights, sizeof p.weights) == 0);
}

TEST(keys_outside_the_limits_are_never_read) {
    /* NaN in every key and value that no row may read; then in one that only the last row may. */
    const int32_t lengths[1] = {5};
    problem clean, p;
    setup(&clean, 1, 1, 1, 3, 6, 2, 2);
    clean.desc.is_causal = 1;
    clean.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    clean.desc.window_left = 1;
    clean.desc.kv_lengths = lengths; /* rows see 1-2, 2-3, 3-4 */
    p = clean;
    p.data = (attn_sdpa_f64_data){p.query, p.key,     p.value,  NULL,
                                  p.out,   p.weights, p.scores, p.logsumexp};
    for (int d = 0; d < 2; d++)
        p.key[d] = p.value[d] = p.key[10 + d] = p.value[10 + d] = NAN;
    CHECK_STATUS(run(&clean), ATTN_OK);
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK(memcmp(p.out, clean.out, sizeof p.out) == 0);
    CHECK(memcmp(p.weights, clean.weights, sizeof p.weights) == 0);
    CHECK(memcmp(p.scores, clean.scores, sizeof p.scores) == 0);
    CHECK(memcmp(p.logsumexp, clean.logsumexp, sizeof p.logsumexp) == 0);

    p.key[8] = NAN;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK(memcmp(p.out, clean.out, 4 * sizeof(double)) == 0);
    CHECK(isnan(p.out[4]) && isnan(p.logsumexp[2]));
    CHECK_EXACT(p.weights[2 * 6 + 0], 0.0);
    CHECK(isnan(p.weights[2 * 6 + 3]) && isnan(p.weights[2 * 6 + 4]));
}

TEST(keys_removed_by_a_mask_are_ordinary_arithmetic) {
    const uint8_t mask[2] = {1, 0};
    problem p;
    setup(&p, 1, 1, 1, 1, 2, 1, 1);
    p.desc.masks[0] = (attn_mask){.data = mask, .kind = ATTN_MASK_BOOL, .key = 1};
    p.key[1] = NAN;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_EXACT(p.out[0], p.value[0]);
    CHECK_EXACT(p.weights[1], 0.0);
    p.value[1] = NAN;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_EXACT(p.weights[1], 0.0);
    CHECK(isnan(p.out[0]));
}

TEST(a_row_whose_keys_are_all_masked_is_zero) {
    const uint8_t keep[4] = {0, 0, 1, 1};
    const double add[4] = {-INFINITY, -INFINITY, 0, 0};
    for (int kind = ATTN_MASK_BOOL; kind <= ATTN_MASK_ADD; kind++) {
        problem p;
        setup(&p, 1, 1, 1, 2, 2, 1, 1);
        p.desc.masks[0] =
            (attn_mask){.data = kind == ATTN_MASK_BOOL ? (const void *)keep : (const void *)add,
                        .kind = kind,
                        .query = 2,
                        .key = 1};
        p.value[1] = NAN;
        CHECK_STATUS(run(&p), ATTN_OK);
        CHECK_EXACT(p.out[0], 0.0);
        CHECK_EXACT(p.weights[0], 0.0);
        CHECK_EXACT(p.weights[1], 0.0);
        CHECK_EXACT(p.logsumexp[0], -INFINITY);
        CHECK_EXACT(p.scores[0], -INFINITY);
        CHECK(isnan(p.out[1]));
    }
}

TEST(no_keys_give_zeros) {
    problem p;
    setup(&p, 1, 2, 1, 2, 0, 2, 3);
    memset(p.out, 0xFF, sizeof p.out);
    p.data.key = p.data.value = NULL;
    CHECK_STATUS(run(&p), ATTN_OK);
    for (int e = 0; e < 12; e++)
        CHECK_EXACT(p.out[e], 0.0);
    for (int row = 0; row < 4; row++)
        CHECK_EXACT(p.logsumexp[row], -INFINITY);
    CHECK(isnan(p.out[12]));
}

TEST(no_batch_and_no_queries_write_nothing) {
    for (int which = 0; which < 2; which++) {
        problem p;
        setup(&p, which, 1, 1, 1 - which, 2, 1, 1);
        memset(p.out, 0xFF, sizeof p.out);
        p.data.query = NULL;
        if (!which)
            p.data.key = p.data.value = NULL;
        CHECK_STATUS(run(&p), ATTN_OK);
        CHECK(isnan(p.out[0]));
    }
}

TEST(huge_scores_are_no_problem) {
    /* exp(1e4) overflows, exp(1e4 - 1e4) does not; exp(-1e4) is 0, and the quotient is not 0 / 0.
     */
    for (int sign = -1; sign <= 1; sign += 2) {
        problem p;
        setup(&p, 1, 1, 1, 1, 3, 1, 1);
        p.query[0] = sign;
        p.key[0] = 1e4, p.key[1] = 1e4, p.key[2] = 1e4 + sign * log(2.0);
        p.value[0] = p.value[1] = 1.0, p.value[2] = 3.0;
        CHECK_STATUS(run(&p), ATTN_OK);
        /* The scores are multiples of 2^-39: so is the error of the difference of two. */
        CHECK_NEAR(p.weights[0], 0.25, 0x1p-39);
        CHECK_NEAR(p.weights[2], 0.5, 0x1p-39);
        CHECK_NEAR(p.out[0], 2.0, 0x1p-37);
        CHECK_NEAR(p.logsumexp[0], sign * 1e4 + log(4.0), 0x1p-38);
    }
}

TEST(infinities_and_nan_propagate_as_in_the_formula) {
    problem p;
    setup(&p, 1, 1, 1, 1, 2, 1, 1);
    p.query[0] = 1.0;
    p.key[0] = INFINITY, p.key[1] = 0.0;
    CHECK_STATUS(run(&p), ATTN_OK); /* inf - inf */
    CHECK(isnan(p.out[0]) && isnan(p.weights[0]) && isnan(p.weights[1]) && isnan(p.logsumexp[0]));
    CHECK_EXACT(p.scores[0], INFINITY);

    p.key[0] = -INFINITY;
    CHECK_STATUS(run(&p), ATTN_OK); /* weight 0 */
    CHECK_EXACT(p.weights[0], 0.0);
    CHECK_EXACT(p.out[0], p.value[1]);

    p.key[0] = 0.0;
    p.value[0] = INFINITY;
    CHECK_STATUS(run(&p), ATTN_OK);
    CHECK_EXACT(p.out[0], INFINITY);

    /* Whichever key the NaN is in, and in both: the maximum must not lose it. */
    for (int j = 0; j < 3; j++) {
        p.key[0] = p.key[1] = 0.0;
        p.value[0] = 1.0;
        for (int nan = 0; nan < 2; nan++)
            if (j == nan || j == 2)
                p.key[nan] = NAN;
        CHECK_STATUS(run(&p), ATTN_OK);
        CHECK(isnan(p.out[0]) && isnan(p.weights[0]) && isnan(p.weights[1]) &&
              isnan(p.logsumexp[0]));
    }
}

static const double golden_out[48] = {
    0x1.6000000000000p-1,  -0x1.1000000000000p+0, -0x1.a3e6b80ca8dcbp-5, 0x1.be7d94057c5fap-3,
    0x1.d6c0cada8b313p-3,  -0x1.13b82745f0199p-2, 0x1.a2d1025654371p-6,  -0x1.5c794e80f0e72p-1,
    0x1.64935c85c391fp-6,  -0x1.5b5a0a9755ae0p-1, -0x1.aa70f9f243972p-7, -0x1.9c7d7c6f4758ap-1,
    -0x1.0000000000000p-1, 0x1.4000000000000p-2,  -0x1.97b666355e1f5p-5, 0x1.8684999caa1e1p-1,
    -0x1.408bdcdb77688p-4, 0x1.77ee84649112fp-1,  0x1.2000000000000p+0,  -0x1.4000000000000p-1,
    0x1.24116ec903a46p-1,  0x1.584c198b6ad72p-2,  0x1.989c6d4abe18ap-1,  -0x1.ddbf0a3afe664p-5,
    -0x1.9fbf46897d9b0p-2, 0x1.a040b97682650p-2,  -0x1.3fcec38732750p-1, 0x1.80c4f1e3362c2p-3,
    -0x1.0a44ec2fb12bep+0, -0x1.d227617d895efp-3, 0x1.17ea8c042c9e2p-2,  -0x1.53e812ff7f017p-3,
    0x1.61d8708ac7d2bp-6,  -0x1.43ffec8067a82p-4, 0x1.a4893290f8b2bp-2,  -0x1.81cc3ce40abd0p-1,
    0x1.81162a072ce93p-1,  -0x1.0451b5c910106p-1, 0x1.1422c835248fcp-1,  -0x1.8aed0e64b4086p-2,
    0x1.b340208083b74p-2,  -0x1.d0a89473637efp-2, -0x1.c4397b6a24ddcp-3, 0x1.2ef1a12576c89p-1,
    0x1.1e28b5f965489p-5,  0x1.b1e28b5f96549p-1,  -0x1.e0a01d1a605afp-2, 0x1.5f5fe2e59fa51p-2};
static const double golden_logsumexp[24] = {
    0x1.07e5e8f866d2ap-1, 0x1.6758c69411150p+0,  0x1.42f2b168c668ap+0,  0x1.fc7340a1826fap-1,
    0x1.25f33ab5e071dp-3, 0x1.8bc37cd4760dcp-3,  -0x1.c6ccec18ee684p-1, 0x1.e7488c7a08c73p-3,
    0x1.a6bc88b4ef45ep-4, -0x1.76a834e334fd5p-2, 0x1.92da4df21848ap-2,  0x1.6151b57526f03p-1,
    0x1.b52bf25f48ed2p-1, 0x1.0aa28ee56092bp+1,  0x1.9d072cc79eb47p-1,  0x1.4db67c123c343p-1,
    0x1.260d241af89aep+0, 0x1.1e042ec8e36fep-1,  0x1.fd1f71ae6f7b5p-1,  0x1.8f482032e985ap-1,
    0x1.0e8774d3ef6f9p-3, -0x1.b89a67e7062efp-2, 0x1.44162b12b5a0dp+0,  -0x1.0a0ec2bdde92cp-1};

TEST(agrees_with_sixty_digits_with_every_option_on) {
    const int32_t lengths[2] = {4, 5};
    double slopes[4], add[15];
    uint8_t keep[2 * 4 * 5];
    fill(slopes, 4, 3, 17);
    fill(add, 15, 5, 23);
    for (int b = 0; b < 2; b++)
        for (int h = 0; h < 4; h++)
            for (int j = 0; j < 5; j++)
                keep[(b * 4 + h) * 5 + j] = (b + h + j) % 3 != 0;
    problem p;
    setup(&p, 2, 4, 2, 3, 5, 3, 2);
    p.desc.scale = 0.75;
    p.desc.softcap = 1.5;
    p.desc.is_causal = 1;
    p.desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    p.desc.window_left = 2;
    p.desc.kv_lengths = lengths;
    p.desc.masks[0] = (attn_mask){.data = add, .kind = ATTN_MASK_ADD, .query = 5, .key = 1};
    p.desc.masks[1] =
        (attn_mask){.data = keep, .kind = ATTN_MASK_BOOL, .batch = 20, .head = 5, .key = 1};
    p.data.alibi_slopes = slopes;
    CHECK_STATUS(run(&p), ATTN_OK);
    /* Scores and values are below 4. Ten roundings of a score move it by less than 40 u (u =
     * 2^-53), a weight by twice that share of itself, and an output by 4 times that; the rest is a
     * few u more. */
    for (int e = 0; e < 48; e++)
        CHECK_NEAR(p.out[e], golden_out[e], 400 * 0x1p-53);
    for (int row = 0; row < 24; row++)
        CHECK_NEAR(p.logsumexp[row], golden_logsumexp[row], 100 * 0x1p-53);
}

TEST(tasks_one_by_one_give_the_whole) {
    problem whole, parts;
    setup(&whole, 2, 2, 1, 3, 7, 2, 2);
    setup(&parts, 2, 2, 1, 3, 7, 2, 2);
    CHECK_STATUS(run(&whole), ATTN_OK);
    size_t bytes;
    int32_t num_tasks;
    CHECK_STATUS(attn_sdpa_f64_workspace(&parts.desc, &parts.data, &bytes, &num_tasks), ATTN_OK);
    CHECK(num_tasks > 1);
    guarded workspace = guarded_alloc(bytes, 0xFF);
    for (int32_t task = num_tasks - 1; task >= 0; task--) {
        const attn_exec exec = {.workspace = workspace.data,
                                .workspace_bytes = bytes,
                                .first_task = task,
                                .num_tasks = 1};
        CHECK_STATUS(attn_sdpa_f64(&parts.desc, &parts.data, &exec), ATTN_OK);
    }
    CHECK(memcmp(whole.out, parts.out, sizeof whole.out) == 0);
    CHECK(memcmp(whole.weights, parts.weights, sizeof whole.weights) == 0);
    CHECK(memcmp(whole.logsumexp, parts.logsumexp, sizeof whole.logsumexp) == 0);
    guarded_free(&workspace);
}

int main(void) {
    RUN(the_textbook_example_comes_out_to_the_last_digit);
    RUN(the_textbook_form_is_sdpa_with_one_query);
    RUN(one_key_gets_the_whole_weight);
    RUN(weights_follow_the_ratio_of_exponentials);
    RUN(the_default_scale_is_one_over_the_root_of_head_dim_and_zero_is_zero);
    RUN(causal_is_drawn_as_in_the_header);
    RUN(causal_with_more_queries_than_keys_leaves_rows_without_keys_at_the_top);
    RUN(a_window_reaches_left_and_right_of_where_the_row_stands);
    RUN(a_window_beyond_the_keys_sees_none);
    RUN(key_lengths_shorten_each_batch_element_and_move_its_bottom_right);
    RUN(a_boolean_mask_keeps_what_is_not_zero);
    RUN(two_masks_and_the_limits_all_apply);
    RUN(an_additive_mask_is_added_to_the_score);
    RUN(masks_broadcast_by_stride_zero);
    RUN(softcap_bounds_the_scores_and_the_stages_tell_them_apart);
    RUN(scores_before_masking_are_those_of_every_key_there_is);
    RUN(alibi_falls_with_the_distance_on_both_sides);
    RUN(consecutive_query_heads_share_a_kv_head);
    RUN(strides_read_and_write_any_layout);
    RUN(keys_outside_the_limits_are_never_read);
    RUN(keys_removed_by_a_mask_are_ordinary_arithmetic);
    RUN(a_row_whose_keys_are_all_masked_is_zero);
    RUN(no_keys_give_zeros);
    RUN(no_batch_and_no_queries_write_nothing);
    RUN(huge_scores_are_no_problem);
    RUN(infinities_and_nan_propagate_as_in_the_formula);
    RUN(agrees_with_sixty_digits_with_every_option_on);
    RUN(tasks_one_by_one_give_the_whole);
    return check_summary();
}
