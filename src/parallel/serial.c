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
