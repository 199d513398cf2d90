/* Independent tasks on the threads of a pool. CMake links serial.c or pthread.c. */
#ifndef PARALLEL_H
#define PARALLEL_H

#include "attn.h"

/* Runs fn(context, task, thread) once for each first <= task < end, in no certain order; 0 <=
 * thread < attn_threads_count(threads), and no two tasks of one thread at the same time. Returns
 * when all are done. */
typedef void parallel_fn(void *context, int32_t task, int32_t thread);
void parallel_for(attn_threads *threads, int32_t first, int32_t end, parallel_fn *fn,
                  void *context);

#endif
