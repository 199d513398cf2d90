#include "check.h"

/* The numbers are part of the binary interface: JavaScript compares them. */
_Static_assert(ATTN_OK == 0 && ATTN_ERR_NULL == 1 && ATTN_ERR_SHAPE == 2 && ATTN_ERR_HEADS == 3,
               "pinned");
_Static_assert(ATTN_ERR_OPTION == 4 && ATTN_ERR_SIZE == 5 && ATTN_ERR_WORKSPACE == 6, "pinned");
_Static_assert(ATTN_ERR_LENGTH == 7 && ATTN_ERR_MEMORY == 8 && ATTN_ERR_UNSUPPORTED == 9, "pinned");
_Static_assert(ATTN_MASK_NONE == 0 && ATTN_MASK_BOOL == 1 && ATTN_MASK_ADD == 2, "pinned");
_Static_assert(ATTN_ALIGN_TOP_LEFT == 0 && ATTN_ALIGN_BOTTOM_RIGHT == 1, "pinned");
_Static_assert(ATTN_SCORES_RAW == 0 && ATTN_SCORES_SOFTCAPPED == 1 && ATTN_SCORES_MASKED == 2,
               "pinned");

TEST(every_status_has_a_phrase_of_its_own) {
    for (int a = ATTN_OK; a <= ATTN_ERR_UNSUPPORTED; a++) {
        const char *phrase = attn_status_name((attn_status)a);
        check_case("status %d: \"%s\"", a, phrase);
        CHECK(strlen(phrase) > 0);
        CHECK(strcmp(phrase, "unknown status") != 0);
        for (int b = ATTN_OK; b < a; b++)
            CHECK(strcmp(phrase, attn_status_name((attn_status)b)) != 0);
    }
}

TEST(any_other_number_is_an_unknown_status) {
    const int32_t numbers[] = {-1, 10, 255, INT32_MAX, INT32_MIN};
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        /* Through memory, as it would come from another language: the enum has no such value. */
        attn_status status;
        memcpy(&status, &numbers[n], sizeof status);
        CHECK(strcmp(attn_status_name(status), "unknown status") == 0);
    }
}

TEST(the_variant_is_one_of_three) {
    const char *variant = attn_variant();
    CHECK(strcmp(variant, "scalar") == 0 || strcmp(variant, "simd") == 0 ||
          strcmp(variant, "relaxed") == 0);
}

TEST(no_pool_is_one_thread) {
    CHECK(attn_threads_count(NULL) == 1);
    attn_threads_destroy(NULL);
    for (int32_t num_threads = -1; num_threads < 2; num_threads++) {
        attn_threads *threads = (attn_threads *)&check_state;
        check_case("num_threads %d", (int)num_threads);
        CHECK_STATUS(attn_threads_create(num_threads, &threads), ATTN_OK);
        CHECK(threads == NULL);
    }
}

int main(void) {
    RUN(every_status_has_a_phrase_of_its_own);
    RUN(any_other_number_is_an_unknown_status);
    RUN(the_variant_is_one_of_three);
    RUN(no_pool_is_one_thread);
    return check_summary();
}
