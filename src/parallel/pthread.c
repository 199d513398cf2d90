/* A pool of sleeping threads. The caller works, too, and never waits for a thread that has not
 * woken up yet: a job is open while it has tasks left, threads join an open job, and the caller
 * closes it and waits for those that joined. */
#include "parallel/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* How often an idle thread looks for the next job before it sleeps, and the caller for the end of
 * one: some tens of microseconds, about what waking a thread costs. The steps of a layer then find
 * the threads awake. */
#define SPINS 20000

#define MOST_THREADS 1024

typedef struct job {
    parallel_fn *fn;
    void *context;
    int32_t first, end;
    int is_dealt; /* thread t runs tasks first + t, first + t + count, ... */
} job;

typedef struct worker {
    attn_threads *pool;
    int32_t index;
    pthread_t id;
} worker;

struct attn_threads {
    int32_t count; /* with the caller */
    pthread_mutex_t mutex;
    pthread_cond_t opened, left;
    atomic_uint generation; /* of jobs; written under the mutex */
    atomic_int next_task;
    atomic_int joined; /* threads inside the job; written under the mutex */
    int32_t came;      /* threads that joined the job so far */
    int is_open, stops;
    double grain;
    uint32_t shared_tasks; /* written under the mutex */
    job job;
    worker workers[];
};

/* Returns how many it ran. */
static uint32_t run_tasks(attn_threads *threads, const job *job, int32_t thread) {
    uint32_t run = 0;
    /* Both stop within count of end, which is below INT32_MAX - count: see parallel_for. */
    if (job->is_dealt) {
        for (int32_t task = job->first + thread; task < job->end; task += threads->count, run++)
            job->fn(job->context, task, thread);
        return run;
    }
    for (;; run++) {
        const int32_t task =
            atomic_fetch_add_explicit(&threads->next_task, 1, memory_order_relaxed);
        if (task >= job->end)
            return run;
        job->fn(job->context, task, thread);
    }
}

static void *run_worker(void *argument) {
    worker *self = argument;
    attn_threads *threads = self->pool;
    unsigned seen = 0;
    pthread_mutex_lock(&threads->mutex);
    while (!threads->stops) {
        if (!threads->is_open ||
            atomic_load_explicit(&threads->generation, memory_order_relaxed) == seen) {
            pthread_mutex_unlock(&threads->mutex);
            int spins = SPINS;
            while (spins > 0 &&
                   atomic_load_explicit(&threads->generation, memory_order_relaxed) == seen)
                spins--;
            pthread_mutex_lock(&threads->mutex);
            if (atomic_load_explicit(&threads->generation, memory_order_relaxed) == seen &&
                !threads->stops)
                pthread_cond_wait(&threads->opened, &threads->mutex);
            else if (!threads->is_open)
                seen = atomic_load_explicit(&threads->generation, memory_order_relaxed);
            continue;
        }
        seen = atomic_load_explicit(&threads->generation, memory_order_relaxed);
        const job job = threads->job;
        atomic_fetch_add_explicit(&threads->joined, 1, memory_order_relaxed);
        threads->came++;
        pthread_mutex_unlock(&threads->mutex);
        const uint32_t run = run_tasks(threads, &job, self->index);
        pthread_mutex_lock(&threads->mutex);
        threads->shared_tasks += run;
        /* release: what the tasks wrote is seen by the caller, who may read joined without the
         * mutex */
        if (atomic_fetch_sub_explicit(&threads->joined, 1, memory_order_release) == 1)
            pthread_cond_signal(&threads->left);
    }
    pthread_mutex_unlock(&threads->mutex);
    return NULL;
}

attn_status attn_threads_create(int32_t num_threads, attn_threads **threads) {
    if (!threads)
        return ATTN_ERR_NULL;
    *threads = NULL;
    if (num_threads < 2)
        return ATTN_OK;
    if (num_threads > MOST_THREADS)
        return ATTN_ERR_OPTION;
    attn_threads *pool = calloc(1, sizeof *pool + (size_t)(num_threads - 1) * sizeof(worker));
    if (!pool)
        return ATTN_ERR_MEMORY;
    pool->count = 1;
    pool->grain = DEFAULT_GRAIN;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->opened, NULL);
    pthread_cond_init(&pool->left, NULL);
    for (int32_t i = 0; i < num_threads - 1; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        w->index = i + 1;
        if (pthread_create(&w->id, NULL, run_worker, w) != 0) {
            attn_threads_destroy(pool);
            return ATTN_ERR_MEMORY;
        }
        pool->count++;
    }
    *threads = pool;
    return ATTN_OK;
}

void attn_threads_destroy(attn_threads *threads) {
    if (!threads)
        return;
    pthread_mutex_lock(&threads->mutex);
    threads->stops = 1;
    atomic_fetch_add(&threads->generation, 1);
    pthread_cond_broadcast(&threads->opened);
    pthread_mutex_unlock(&threads->mutex);
    for (int32_t i = 0; i < threads->count - 1; i++)
        pthread_join(threads->workers[i].id, NULL);
    pthread_cond_destroy(&threads->left);
    pthread_cond_destroy(&threads->opened);
    pthread_mutex_destroy(&threads->mutex);
    free(threads);
}

int32_t attn_threads_count(const attn_threads *threads) {
    return threads ? threads->count : 1;
}

attn_status attn_threads_set_grain(attn_threads *threads, double grain) {
    if (!(grain >= 0))
        return ATTN_ERR_OPTION;
    if (threads)
        threads->grain = grain;
    return ATTN_OK;
}

uint32_t attn_threads_shared_tasks(const attn_threads *threads) {
    return threads ? threads->shared_tasks : 0;
}

attn_threads *parallel_pool(attn_threads *threads, double work) {
    return threads && work < threads->grain ? NULL : threads;
}

void parallel_for(attn_threads *threads, int32_t first, int32_t end, parallel_fn *fn,
                  void *context) {
    /* One task, or so many that the counter could overflow as the threads run past the end. */
    if (!threads || end - first < 2 || end > INT32_MAX - threads->count) {
        for (int32_t task = first; task < end; task++)
            fn(context, task, 0);
        return;
    }
    const job job = {fn, context, first, end, threads->grain == 0};
    pthread_mutex_lock(&threads->mutex);
    threads->job = job;
    threads->came = 0;
    atomic_store_explicit(&threads->next_task, first, memory_order_relaxed);
    threads->is_open = 1;
    atomic_fetch_add_explicit(&threads->generation, 1, memory_order_relaxed);
    pthread_cond_broadcast(&threads->opened);
    pthread_mutex_unlock(&threads->mutex);

    run_tasks(threads, &job, 0);

    pthread_mutex_lock(&threads->mutex);
    while (job.is_dealt && threads->came < threads->count - 1)
        pthread_cond_wait(&threads->left, &threads->mutex);
    threads->is_open = 0;
    pthread_mutex_unlock(&threads->mutex);
    for (int spins = SPINS; spins > 0; spins--)
        if (atomic_load_explicit(&threads->joined, memory_order_acquire) == 0)
            return;
    pthread_mutex_lock(&threads->mutex);
    while (atomic_load_explicit(&threads->joined, memory_order_acquire) > 0)
        pthread_cond_wait(&threads->left, &threads->mutex);
    pthread_mutex_unlock(&threads->mutex);
}
