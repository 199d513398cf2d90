#include "parallel/parallel.h"

attn_status attn_threads_create(int32_t num_threads, attn_threads **threads) {
    if (!threads)
        return ATTN_ERR_NULL;
    *threads = NULL;
    return num_threads < 2 ? ATTN_OK : ATTN_ERR_UNSUPPORTED;
}

void attn_threads_destroy(attn_threads *threads) {
    (void)threads;
}

attn_status attn_threads_set_grain(attn_threads *threads, double grain) {
    (void)threads;
    return grain >= 0 ? ATTN_OK : ATTN_ERR_OPTION;
}

uint32_t attn_threads_shared_tasks(const attn_threads *threads) {
    (void)threads;
    return 0;
}

attn_threads *parallel_pool(attn_threads *threads, double work) {
    (void)work;
    return threads;
}

int32_t attn_threads_count(const attn_threads *threads) {
    (void)threads;
    return 1;
}

void parallel_for(attn_threads *threads, int32_t first, int32_t end, parallel_fn *fn,
                  void *context) {
    (void)threads;
    for (int32_t task = first; task < end; task++)
        fn(context, task, 0);
}
