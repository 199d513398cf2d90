/* Independent tasks on the threads of a pool. CMake links serial.c or pthread.c. */
#ifndef PARALLEL_H
#define PARALLEL_H

#include "attn.h"

/* The grain of a new pool, in multiply-adds. (One query against 1,024 keys of 8 heads, 2^20, took
 * twice as long on two threads.) */
#define DEFAULT_GRAIN (1 << 24)

/* The pool that a call of `work` multiply-adds runs on: NULL where that is less than the grain. */
attn_threads *parallel_pool(attn_threads *threads, double work);

/* Runs fn(context, task, thread) once for each first <= task < end, in no certain order; 0 <=
 * thread < attn_threads_count(threads), and no two tasks of one thread at the same time. Returns
 * when all are done. */
typedef void parallel_fn(void *context, int32_t task, int32_t thread);
void parallel_for(attn_threads *threads, int32_t first, int32_t end, parallel_fn *fn,
                  void *context);

#endif
