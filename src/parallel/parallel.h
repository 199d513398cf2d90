/* Independent tasks on the threads of a pool. CMake links serial.c or pthread.c. */
#ifndef PARALLEL_H
#define PARALLEL_H

#include "attn.h"

/* The grain of a new pool, in multiply-adds of products in tiles. */
#define DEFAULT_GRAIN (1 << 24)
/* Where a number is read for one multiply-add or a few (one query and its keys, a row and a matrix),
 * memory is waited for, and one counts as so many. (One query on two threads: 1.4 times as fast with
 * 2^21 multiply-adds, 1.8 with 2^23.) */
#define READING 8

/* The pool that a call of `work` such multiply-adds runs on: NULL where that is less than the grain. */
attn_threads *parallel_pool(attn_threads *threads, double work);

/* Runs fn(context, task, thread) once for each first <= task < end, in no certain order; 0 <=
 * thread < attn_threads_count(threads), and no two tasks of one thread at the same time. Returns
 * when all are done. */
typedef void parallel_fn(void *context, int32_t task, int32_t thread);
void parallel_for(attn_threads *threads, int32_t first, int32_t end, parallel_fn *fn,
                  void *context);

#endif
