/* The POSIX threads that src/parallel/pthread.c asks for, on WebAssembly's atomics. Emscripten's
 * own, which can do far more, make a module 8 KB and its loader 5 KB larger, gzipped.
 *
 * A thread is a worker of JavaScript (web/lib/thread.js) with its own instance of this module on
 * the shared memory. JavaScript starts the workers first: each gets a stack of wasm_thread_stack()
 * and sleeps in wasm_thread_run() until pthread_create() gives it something to do, once. */
#ifdef __wasm_atomics__

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wasm/memory.h"

#define MOST_THREADS 127 /* beside the engine's own; web/lib/variants.js starts no more */

enum { WAITING, RUNNING };

static struct thread {
    void *(*start)(void *);
    void *argument;
    atomic_int state;
} threads[MOST_THREADS];

static int num_stacks, num_created; /* the engine's thread alone counts */

/* Whether the calling thread may sleep: a browser's main thread may not. */
__attribute__((import_module("env"), import_name("may_sleep"))) int wasm_may_sleep(void);

/* Sleeps while *word is value, or returns at once: callers ask again. */
static void wait_while(atomic_int *word, int value) {
    if (wasm_may_sleep())
        __builtin_wasm_memory_atomic_wait32((int *)word, value, -1);
}

static void wake(atomic_int *word, unsigned most) {
    __builtin_wasm_memory_atomic_notify((int *)word, most);
}

/* The end of a new stack, aligned, or NULL. */
void *wasm_thread_stack(void);
void *wasm_thread_stack(void) {
    char *stack = num_stacks < MOST_THREADS ? wasm_alloc(WASM_STACK_BYTES) : NULL;
    if (!stack)
        return NULL;
    num_stacks++;
    return stack + WASM_STACK_BYTES;
}

void wasm_thread_run(int index);
void wasm_thread_run(int index) {
    struct thread *thread = &threads[index];
    while (atomic_load(&thread->state) == WAITING)
        wait_while(&thread->state, WAITING);
    thread->start(thread->argument);
}

int pthread_create(pthread_t *restrict id, const pthread_attr_t *restrict attributes,
                   void *(*start)(void *), void *restrict argument) {
    (void)attributes;
    if (num_created == num_stacks)
        return EAGAIN;
    struct thread *thread = &threads[num_created++];
    thread->start = start;
    thread->argument = argument;
    atomic_store(&thread->state, RUNNING);
    wake(&thread->state, UINT32_MAX);
    *id = (pthread_t)thread;
    return 0;
}

/* Nobody waits: JavaScript ends the workers, and one that died would never come. */
int pthread_join(pthread_t id, void **result) {
    (void)id;
    (void)result;
    return 0;
}

/* A mutex is 0 when free, 1 when locked, 2 when locked and others may sleep: "mutex2" of Drepper,
 * "Futexes Are Tricky", 2011. A condition counts its signals. */

int pthread_mutex_init(pthread_mutex_t *restrict mutex,
                       const pthread_mutexattr_t *restrict attributes) {
    (void)attributes;
    memset(mutex, 0, sizeof *mutex);
    return 0;
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
    atomic_int *word = (atomic_int *)mutex;
    int is_free = 0;
    if (!atomic_compare_exchange_strong(word, &is_free, 1))
        while (atomic_exchange(word, 2) != 0)
            wait_while(word, 2);
    return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    atomic_int *word = (atomic_int *)mutex;
    if (atomic_exchange(word, 0) == 2)
        wake(word, 1);
    return 0;
}

int pthread_mutex_destroy(pthread_mutex_t *mutex) {
    (void)mutex;
    return 0;
}

int pthread_cond_init(pthread_cond_t *restrict condition,
                      const pthread_condattr_t *restrict attributes) {
    (void)attributes;
    memset(condition, 0, sizeof *condition);
    return 0;
}

int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex) {
    atomic_int *word = (atomic_int *)condition;
    const int seen = atomic_load(word);
    pthread_mutex_unlock(mutex);
    wait_while(word, seen);
    return pthread_mutex_lock(mutex);
}

static int raise_signal(pthread_cond_t *condition, unsigned most) {
    atomic_int *word = (atomic_int *)condition;
    atomic_fetch_add(word, 1);
    wake(word, most);
    return 0;
}

int pthread_cond_signal(pthread_cond_t *condition) {
    return raise_signal(condition, 1);
}

int pthread_cond_broadcast(pthread_cond_t *condition) {
    return raise_signal(condition, UINT32_MAX);
}

int pthread_cond_destroy(pthread_cond_t *condition) {
    (void)condition;
    return 0;
}

/* The pool's own memory. It goes with all the engine's: threads that are about to end still look at it. */

void *calloc(size_t count, size_t bytes) {
    void *block = wasm_alloc(count * bytes);
    return block ? memset(block, 0, count * bytes) : NULL;
}

void free(void *block) {
    (void)block;
}

#endif
