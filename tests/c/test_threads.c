/* The thread pool: same bits as one thread, whatever the number of tasks; created, used and given
 * back many times. */
#include "check.h"
#include "parallel/parallel.h"

#define MOST_TASKS 1000

typedef struct tally {
    int32_t runs[MOST_TASKS];
    int32_t threads;
    int32_t bad_threads;
} tally;

static void count_task(void *context, int32_t task, int32_t thread) {
    tally *t = context;
    t->runs[task]++;
    if (thread < 0 || thread >= t->threads)
        t->bad_threads++;
}

static void every_task_runs_once(attn_threads *threads) {
    static tally t;
    for (int32_t tasks = 0; tasks < MOST_TASKS; tasks = tasks * 5 / 4 + 1)
        for (int32_t first = 0; first <= tasks; first += tasks / 3 + 1) {
            check_case("{.threads = %d, .first = %d, .end = %d}", attn_threads_count(threads),
                       first, tasks);
            memset(&t, 0, sizeof t);
            t.threads = attn_threads_count(threads);
            parallel_for(threads, first, tasks, count_task, &t);
            for (int32_t i = 0; i < MOST_TASKS; i++)
                CHECK(t.runs[i] == (i >= first && i < tasks));
            CHECK(t.bad_threads == 0);
        }
}

TEST(one_thread_is_a_null_pool) {
    attn_threads *threads = NULL;
    CHECK_STATUS(attn_threads_create(2, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_threads_create(0, &threads), ATTN_OK);
    CHECK(!threads);
    CHECK_STATUS(attn_threads_create(1, &threads), ATTN_OK);
    CHECK(!threads);
    CHECK(attn_threads_count(NULL) == 1);
    CHECK_STATUS(attn_threads_set_grain(NULL, 0), ATTN_OK);
    CHECK_STATUS(attn_threads_set_grain(NULL, -1), ATTN_ERR_OPTION);
    CHECK(attn_threads_shared_tasks(NULL) == 0);
    attn_threads_destroy(NULL);
    every_task_runs_once(NULL);
}

#ifdef ATTN_THREADS
static void fill(float *x, size_t count) {
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / (1 << 23) - 1.0f;
    }
}

static void sdpa_gives_the_same_bits(attn_threads *threads, int32_t heads, int32_t seq_len,
                                     int32_t causal) {
    const size_t count = (size_t)heads * (size_t)seq_len * 64;
    float *x = malloc(count * 3 * sizeof(float)), *one = malloc(count * sizeof(float)),
          *many = malloc(count * sizeof(float));
    fill(x, count * 3);
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, heads, heads, seq_len, seq_len, 64, 64);
    desc.is_causal = causal;
    for (int pass = 0; pass < 2; pass++) {
        attn_sdpa_f32_data data = {
            .query = x, .key = x + count, .value = x + 2 * count, .out = pass ? many : one};
        attn_exec exec = {.threads = pass ? threads : NULL};
        CHECK_STATUS(
            attn_sdpa_f32_workspace(&desc, &data, exec.threads, &exec.workspace_bytes, NULL),
            ATTN_OK);
        exec.workspace = aligned_alloc(16, (exec.workspace_bytes + 15) / 16 * 16);
        CHECK_STATUS(attn_sdpa_f32(&desc, &data, &exec), ATTN_OK);
        free(exec.workspace);
    }
    check_case("{.heads = %d, .seq_len = %d, .causal = %d}", heads, seq_len, causal);
    CHECK(memcmp(one, many, count * sizeof(float)) == 0);
    free(x);
    free(one);
    free(many);
}

TEST(a_pool_gives_the_bits_of_one_thread) {
    for (int32_t count = 2; count <= 4; count++) {
        attn_threads *threads;
        CHECK_STATUS(attn_threads_create(count, &threads), ATTN_OK);
        CHECK(attn_threads_count(threads) == count);
        every_task_runs_once(threads);
        sdpa_gives_the_same_bits(threads, 3, 300, 1);
        sdpa_gives_the_same_bits(threads, 1, 600, 0);
        sdpa_gives_the_same_bits(threads, 1, 5, 1);
        attn_threads_destroy(threads);
    }
}

/* Everything that shares its tasks besides attention itself: a layer, with weights and without, and its
 * gradients. */
static void layer_gives_the_same_bits(attn_threads *threads, int32_t average) {
    enum {
        BATCH = 2,
        HEADS = 3,
        SEQ_LEN = 21,
        EMBED_DIM = 24,
        COUNT = BATCH * SEQ_LEN * EMBED_DIM
    };
    enum { PARAMETERS = 4 * EMBED_DIM * EMBED_DIM, WEIGHTS = BATCH * HEADS * SEQ_LEN * SEQ_LEN };
    enum { INPUTS = COUNT + PARAMETERS, OUTPUTS = 3 * COUNT + WEIGHTS + PARAMETERS };
    float *x = malloc(INPUTS * sizeof(float)), *results[2], *packed = NULL;
    fill(x, INPUTS);
    const float *w = x + COUNT;
    const size_t matrix = EMBED_DIM * EMBED_DIM;
    attn_mha_desc desc;
    attn_mha_desc_init(&desc, BATCH, HEADS, SEQ_LEN, SEQ_LEN, EMBED_DIM);
    desc.average_weights = average;
    for (int pass = 0; pass < 2; pass++) {
        float *out = results[pass] = calloc(OUTPUTS, sizeof(float));
        attn_mha_f32_data data = {.query = x,
                                  .key = x,
                                  .value = x,
                                  .q_weight = w,
                                  .k_weight = w + matrix,
                                  .v_weight = w + 2 * matrix,
                                  .out_weight = w + 3 * matrix,
                                  .out = out,
                                  .weights = out + 3 * COUNT};
        attn_exec exec = {.threads = pass ? threads : NULL};
        CHECK_STATUS(attn_mha_f32_workspace(&desc, &data, exec.threads, &exec.workspace_bytes),
                     ATTN_OK);
        exec.workspace = aligned_alloc(16, exec.workspace_bytes);
        if (pass && average) {
            size_t bytes;
            CHECK_STATUS(attn_mha_pack_f32(&desc, &data, NULL, &bytes), ATTN_OK);
            packed = aligned_alloc(16, (bytes + 15) / 16 * 16);
            CHECK_STATUS(attn_mha_pack_f32(&desc, &data, packed, &bytes), ATTN_OK);
            data.packed_weights = packed;
        }
        CHECK_STATUS(attn_mha_f32(&desc, &data, &exec), ATTN_OK);
        free(exec.workspace);
        float *grad_w = out + 3 * COUNT + WEIGHTS;
        const attn_mha_backward_f32_data back = {.forward = data,
                                                 .grad_out = x,
                                                 .grad_query = out + COUNT,
                                                 .grad_key = out + 2 * COUNT,
                                                 .grad_q_weight = grad_w,
                                                 .grad_k_weight = grad_w + matrix,
                                                 .grad_v_weight = grad_w + 2 * matrix,
                                                 .grad_out_weight = grad_w + 3 * matrix};
        CHECK_STATUS(
            attn_mha_backward_f32_workspace(&desc, &back, exec.threads, &exec.workspace_bytes),
            ATTN_OK);
        exec.workspace = aligned_alloc(16, exec.workspace_bytes);
        CHECK_STATUS(attn_mha_backward_f32(&desc, &back, &exec), ATTN_OK);
        free(exec.workspace);
    }
    check_case("{.average = %d}", (int)average);
    CHECK(memcmp(results[0], results[1], OUTPUTS * sizeof(float)) == 0);
    free(x), free(results[0]), free(results[1]), free(packed);
}

TEST(a_layer_and_its_gradients_have_the_bits_of_one_thread) {
    for (int32_t count = 2; count <= 4; count++) {
        attn_threads *threads;
        CHECK_STATUS(attn_threads_create(count, &threads), ATTN_OK);
        for (int grain = 0; grain < 2; grain++) {
            /* Dealt out in turn, and taken by whoever comes first. */
            CHECK_STATUS(attn_threads_set_grain(threads, grain), ATTN_OK);
            layer_gives_the_same_bits(threads, 0);
            layer_gives_the_same_bits(threads, 1);
        }
        CHECK(attn_threads_shared_tasks(threads) > 0);
        attn_threads_destroy(threads);
    }
}

/* With the default grain; a shared call has a workspace for each thread. */
TEST(calls_are_shared_from_the_grain_on_and_those_of_few_rows_from_an_eighth_of_it) {
    attn_threads *threads;
    CHECK_STATUS(attn_threads_create(2, &threads), ATTN_OK);
    static const struct {
        int32_t seq_len_q, seq_len_kv;
        bool shared;
    } cases[] = {{1, 2047, false}, {1, 2048, true},   {4, 511, false},
                 {4, 512, true},   {128, 127, false}, {128, 128, true}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        attn_sdpa_desc desc;
        attn_sdpa_desc_init(&desc, 1, 8, 8, cases[n].seq_len_q, cases[n].seq_len_kv, 64, 64);
        float element;
        const attn_sdpa_f32_data data = {
            .query = &element, .key = &element, .value = &element, .out = &element};
        size_t alone, shared;
        CHECK_STATUS(attn_sdpa_f32_workspace(&desc, &data, NULL, &alone, NULL), ATTN_OK);
        CHECK_STATUS(attn_sdpa_f32_workspace(&desc, &data, threads, &shared, NULL), ATTN_OK);
        check_case("{.seq_len_q = %d, .seq_len_kv = %d}", (int)cases[n].seq_len_q,
                   (int)cases[n].seq_len_kv);
        CHECK(cases[n].shared ? shared > alone : shared == alone);
    }

    /* A row times a matrix, half as large as it must be. (That larger ones are shared cannot be
     * asserted: the other thread may come too late every time, as it does under valgrind.) */
    enum { IN_DIM = 512, OUT_DIM = 2048 };
    float *w = calloc((size_t)IN_DIM * OUT_DIM, sizeof *w), *y = calloc(OUT_DIM, sizeof *y);
    const attn_exec exec = {.threads = threads};
    for (int call = 0; call < 100; call++)
        CHECK_STATUS(attn_linear_f32(1, IN_DIM, OUT_DIM, w, IN_DIM, w, NULL, y, OUT_DIM, &exec),
                     ATTN_OK);
    CHECK(attn_threads_shared_tasks(threads) == 0);
    free(w), free(y);
    attn_threads_destroy(threads);
}

static void note_thread(void *context, int32_t task, int32_t thread) {
    ((int32_t *)context)[task] = thread;
}

TEST(with_grain_0_every_thread_has_its_share_of_the_smallest_call) {
    for (int32_t count = 2; count <= 4; count++) {
        attn_threads *threads;
        CHECK_STATUS(attn_threads_create(count, &threads), ATTN_OK);
        sdpa_gives_the_same_bits(threads, 4, 30, 1);
        CHECK(attn_threads_shared_tasks(threads) == 0);
        CHECK_STATUS(attn_threads_set_grain(threads, -1), ATTN_ERR_OPTION);
        CHECK_STATUS(attn_threads_set_grain(threads, (double)NAN), ATTN_ERR_OPTION);
        CHECK_STATUS(attn_threads_set_grain(threads, 0), ATTN_OK);
        uint32_t shared = 0;
        for (int32_t round = 0; round < 300; round++) {
            const int32_t first = round % 7, tasks = 2 + round % 11;
            int32_t ran_on[20];
            parallel_for(threads, first, first + tasks, note_thread, ran_on);
            check_case("{.threads = %d, .first = %d, .tasks = %d}", count, first, tasks);
            for (int32_t i = 0; i < tasks; i++) {
                CHECK(ran_on[first + i] == i % count);
                shared += i % count != 0;
            }
            CHECK(attn_threads_shared_tasks(threads) == shared);
        }
        every_task_runs_once(threads);
        sdpa_gives_the_same_bits(threads, 4, 30, 1);
        CHECK(attn_threads_shared_tasks(threads) > shared);
        CHECK_STATUS(attn_threads_set_grain(threads, 1e9), ATTN_OK);
        shared = attn_threads_shared_tasks(threads);
        sdpa_gives_the_same_bits(threads, 3, 300, 0);
        CHECK(attn_threads_shared_tasks(threads) == shared);
        attn_threads_destroy(threads);
    }
}

TEST(pools_come_and_go) {
    for (int round = 0; round < 50; round++) {
        attn_threads *threads;
        CHECK_STATUS(attn_threads_create(2 + round % 3, &threads), ATTN_OK);
        attn_threads_destroy(threads);
    }
}
#else
TEST(a_build_without_threads_says_so) {
    attn_threads *threads = NULL;
    CHECK_STATUS(attn_threads_create(2, &threads), ATTN_ERR_UNSUPPORTED);
    CHECK(!threads);
}
#endif

int main(void) {
    RUN(one_thread_is_a_null_pool);
#ifdef ATTN_THREADS
    RUN(a_pool_gives_the_bits_of_one_thread);
    RUN(with_grain_0_every_thread_has_its_share_of_the_smallest_call);
    RUN(calls_are_shared_from_the_grain_on_and_those_of_few_rows_from_an_eighth_of_it);
    RUN(a_layer_and_its_gradients_have_the_bits_of_one_thread);
    RUN(pools_come_and_go);
#else
    RUN(a_build_without_threads_says_so);
#endif
    return check_summary();
}
