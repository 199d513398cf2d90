/* The arithmetic that both sdpa paths rely on, against its definition key by key. */
#include "check.h"
#include "sdpa_common.h"

/* The definition in attn.h, for one row and one key, without any clamping. */
static bool sees(const attn_sdpa_desc *d, int64_t kv_length, int64_t i, int64_t j) {
    const int64_t offset = d->align == ATTN_ALIGN_BOTTOM_RIGHT ? kv_length - d->seq_len_q : 0;
    return j < kv_length && !(d->is_causal && j > i + offset) &&
           !(d->window_left >= 0 && j < i + offset - d->window_left) &&
           !(d->window_right >= 0 && j > i + offset + d->window_right);
}

TEST(the_visible_range_is_exactly_the_keys_that_the_limits_allow) {
    static const int32_t limits[] = {INT32_MIN, -1, 0, 1, 3, 9, INT32_MAX - 1, INT32_MAX};
    enum { MOST = 5, LIMITS = sizeof limits / sizeof *limits };
    for (int32_t seq_len_q = 1; seq_len_q <= MOST; seq_len_q++)
        for (int32_t seq_len_kv = 0; seq_len_kv <= MOST; seq_len_kv++)
            for (int32_t length = 0; length <= seq_len_kv; length++)
                for (int option = 0; option < 4 * LIMITS * LIMITS; option++) {
                    attn_sdpa_desc d;
                    attn_sdpa_desc_init(&d, 1, 1, 1, seq_len_q, seq_len_kv, 1, 1);
                    d.kv_lengths = length < seq_len_kv ? &length : NULL;
                    d.align = option % 2;
                    d.is_causal = option / 2 % 2;
                    d.window_left = limits[option / 4 % LIMITS];
                    d.window_right = limits[option / 4 / LIMITS];
                    check_case("seq_len_q %d, seq_len_kv %d, length %d, align %d, is_causal %d, "
                               "window %d %d",
                               (int)seq_len_q, (int)seq_len_kv, (int)length, (int)d.align,
                               (int)d.is_causal, (int)d.window_left, (int)d.window_right);
                    int32_t last_lo = 0, last_hi = 0;
                    for (int32_t i = 0; i < seq_len_q; i++) {
                        int32_t lo = -1, hi = -1;
                        sdpa_visible(&d, 0, i, &lo, &hi);
                        bool same = 0 <= lo && lo <= hi && hi <= seq_len_kv;
                        for (int32_t j = 0; j < seq_len_kv; j++)
                            same = same && sees(&d, length, i, j) == (j >= lo && j < hi);
                        check_that(same, __FILE__, __LINE__, "row %d sees [%d, %d)", (int)i,
                                   (int)lo, (int)hi);
                        CHECK(lo >= last_lo && hi >= last_hi);
                        last_lo = lo, last_hi = hi;
                    }
                }
}

TEST(the_visible_range_of_the_longest_sequences_does_not_overflow) {
    attn_sdpa_desc d;
    attn_sdpa_desc_init(&d, 1, 1, 1, INT32_MAX, INT32_MAX, 1, 1);
    d.is_causal = 1;
    int32_t lo, hi;
    sdpa_visible(&d, 0, INT32_MAX - 1, &lo, &hi);
    CHECK(lo == 0 && hi == INT32_MAX);
    d.is_causal = 0;
    d.window_left = d.window_right = INT32_MAX;
    sdpa_visible(&d, 0, INT32_MAX - 1, &lo, &hi);
    CHECK(lo == 0 && hi == INT32_MAX);
    d.window_left = 0;
    sdpa_visible(&d, 0, INT32_MAX - 1, &lo, &hi);
    CHECK(lo == INT32_MAX - 1 && hi == INT32_MAX);
    d.seq_len_kv = 0;
    d.align = ATTN_ALIGN_BOTTOM_RIGHT;
    sdpa_visible(&d, 0, 0, &lo, &hi);
    CHECK(lo == 0 && hi == 0);
}

TEST(the_extent_counts_the_elements_between_the_lowest_and_the_highest) {
    const int32_t sizes[3] = {2, 3, 4};
    CHECK(tensor_extent(3, sizes, (const ptrdiff_t[]){12, 4, 1}, 24) == 24);
    CHECK(tensor_extent(3, sizes, (const ptrdiff_t[]){12, 4, 1}, 23) == UINT64_MAX);
    CHECK(tensor_extent(3, sizes, (const ptrdiff_t[]){0, 0, 1}, 24) == 4);
    CHECK(tensor_extent(3, sizes, (const ptrdiff_t[]){-12, 4, -1}, 24) == 24);
    CHECK(tensor_extent(3, sizes, (const ptrdiff_t[]){PTRDIFF_MIN, 4, 1}, PTRDIFF_MAX) ==
          UINT64_MAX);
    const int32_t empty[3] = {2, 0, 4};
    CHECK(tensor_extent(3, empty, (const ptrdiff_t[]){12, 4, 1}, 24) == 0);
    CHECK(tensor_extent(3, empty, (const ptrdiff_t[]){12, PTRDIFF_MIN, 1}, 24) == 0);
    CHECK(tensor_extent(3, empty, (const ptrdiff_t[]){PTRDIFF_MIN, 4, 1}, 24) == UINT64_MAX);
    CHECK(tensor_extent(2, (const int32_t[]){INT32_MAX, INT32_MAX},
                        (const ptrdiff_t[]){PTRDIFF_MAX, PTRDIFF_MAX}, PTRDIFF_MAX) == UINT64_MAX);
}

TEST(a_range_of_tasks_is_all_some_or_none_of_them) {
    attn_exec exec = {0};
    int32_t first, end;
    CHECK_STATUS(exec_check(NULL, 0, 7, &first, &end), ATTN_OK);
    CHECK(first == 0 && end == 7);
    CHECK_STATUS(exec_check(&exec, 0, 7, &first, &end), ATTN_OK);
    CHECK(first == 0 && end == 7);
    exec.first_task = 3, exec.num_tasks = 4;
    CHECK_STATUS(exec_check(&exec, 0, 7, &first, &end), ATTN_OK);
    CHECK(first == 3 && end == 7);
    CHECK_STATUS(exec_check(&exec, 0, 6, &first, &end), ATTN_ERR_OPTION);
    exec.num_tasks = 0;
    CHECK_STATUS(exec_check(&exec, 0, 7, &first, &end), ATTN_OK);
    CHECK(first == end);
    CHECK_STATUS(exec_check(NULL, 1, 7, &first, &end), ATTN_ERR_WORKSPACE);
}

int main(void) {
    RUN(the_visible_range_is_exactly_the_keys_that_the_limits_allow);
    RUN(the_visible_range_of_the_longest_sequences_does_not_overflow);
    RUN(the_extent_counts_the_elements_between_the_lowest_and_the_highest);
    RUN(a_range_of_tasks_is_all_some_or_none_of_them);
    return check_summary();
}
