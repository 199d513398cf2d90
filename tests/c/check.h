/* What the C tests share: checks, seeded numbers, guarded memory. One executable per file, each
 * ending in
 *
 *     RUN(a_promise_in_words);
 *     return check_summary();
 *
 * Exit status: the number of failed checks, capped. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn.h"

#define TEST(name) static void name(void)
#define RUN(name) check_run(#name, name)

#define CHECK(condition) check_that((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECK_STATUS(call, expected) check_status((call), (expected), __FILE__, __LINE__, #call)
/* |actual - expected| <= tolerance; NaN only where NaN is expected, infinities only where equal. */
#define CHECK_NEAR(actual, expected, tolerance)                                                    \
    check_near((actual), (expected), (tolerance), __FILE__, __LINE__, #actual)
#define CHECK_EXACT(actual, expected) CHECK_NEAR(actual, expected, 0.0)

static struct {
    const char *test;
    char parameters[1024];
    int tests, checks, failures;
    int case_failures; /* since check_case() or the start of the test */
} check_state;

/* The parameters of the case at hand, printed with each failure: one line, best as a C initializer
 * that can be pasted into the test's table. */
static inline void check_case(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(check_state.parameters, sizeof check_state.parameters, format, arguments);
    va_end(arguments);
    check_state.case_failures = 0;
}

static inline bool check_that(bool holds, const char *file, int line, const char *format, ...) {
    enum { PRINTED_PER_CASE = 4, PRINTED = 40 };
    check_state.checks++;
    if (holds)
        return true;
    check_state.case_failures++;
    if (check_state.failures++ >= PRINTED || check_state.case_failures > PRINTED_PER_CASE)
        return false;
    va_list arguments;
    va_start(arguments, format);
    printf("%s:%d: %s: ", file, line, check_state.test);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    if (check_state.parameters[0] && check_state.case_failures == 1)
        printf("    %s\n", check_state.parameters);
    if (check_state.failures == PRINTED)
        printf("further failures are only counted\n");
    return false;
}

static inline bool check_status(attn_status actual, attn_status expected, const char *file,
                                int line, const char *call) {
    return check_that(actual == expected, file, line, "%s is \"%s\", not \"%s\"", call,
                      attn_status_name(actual), attn_status_name(expected));
}

static inline bool check_near(double actual, double expected, double tolerance, const char *file,
                              int line, const char *what) {
    bool near = actual == expected || (isnan(actual) && isnan(expected));
    if (isfinite(actual) && isfinite(expected))
        near = fabs(actual - expected) <= tolerance;
    return check_that(near, file, line, "%s is %.17g, not %.17g (+- %.3g)", what, actual, expected,
                      tolerance);
}

static inline void check_run(const char *name, void (*test)(void)) {
    check_state.test = name;
    check_state.parameters[0] = 0;
    check_state.case_failures = 0;
    check_state.tests++;
    test();
}

static inline int check_summary(void) {
    enum { LARGEST_STATUS = 70 }; /* 77 means skipped */
    printf("%d tests, %d checks, %d failures (%s)\n", check_state.tests, check_state.checks,
           check_state.failures, attn_variant());
    return check_state.failures < LARGEST_STATUS ? check_state.failures : LARGEST_STATUS;
}

/* SplitMix64 (Steele, Lea & Flood 2014): the same numbers on every machine. */
typedef struct rng {
    uint64_t state;
} rng;

static inline uint64_t rng_next(rng *r) {
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* low <= result <= high */
static inline int32_t rng_int(rng *r, int32_t low, int32_t high) {
    return low + (int32_t)(rng_next(r) % ((uint64_t)(high - low) + 1));
}

/* True once in n. */
static inline bool rng_once_in(rng *r, int32_t n) {
    return rng_int(r, 1, n) == 1;
}

/* -1 <= result < 1, a multiple of 2^-20: exact in float. */
static inline double rng_unit(rng *r) {
    return (double)(int64_t)(rng_next(r) >> 43) / 1048576.0 - 1.0;
}

/* Memory with a fence of known bytes on both sides; 16-byte aligned. Nothing asks for more than a
 * few MB, so that running out of it is the machine's trouble and ends the program. */
enum { FENCE_BYTES = 64, FENCE_BYTE = 0xA5 };

typedef struct guarded {
    unsigned char *allocation;
    void *data;
    size_t bytes;
} guarded;

static inline guarded guarded_alloc(size_t bytes, int fill) {
    guarded g = {malloc(bytes + 2 * FENCE_BYTES + 16), NULL, bytes};
    if (!g.allocation) {
        fprintf(stderr, "out of memory: %zu bytes\n", bytes);
        exit(1);
    }
    const size_t misalignment = (uintptr_t)g.allocation % 16;
    memset(g.allocation, FENCE_BYTE, bytes + 2 * FENCE_BYTES + 16);
    g.data = g.allocation + FENCE_BYTES + (16 - misalignment) % 16;
    memset(g.data, fill, bytes);
    return g;
}

/* Whether nothing was written outside data. */
static inline bool guarded_intact(const guarded *g) {
    const unsigned char *first = g->data;
    const unsigned char *end = g->allocation + g->bytes + 2 * FENCE_BYTES + 16;
    for (const unsigned char *p = g->allocation; p < first; p++)
        if (*p != FENCE_BYTE)
            return false;
    for (const unsigned char *p = first + g->bytes; p < end; p++)
        if (*p != FENCE_BYTE)
            return false;
    return true;
}

/* Whether every byte of data still is what guarded_alloc() filled it with. */
static inline bool guarded_untouched(const guarded *g, int fill) {
    const unsigned char *data = g->data;
    for (size_t i = 0; i < g->bytes; i++)
        if (data[i] != (unsigned char)fill)
            return false;
    return guarded_intact(g);
}

static inline void guarded_free(guarded *g) {
    free(g->allocation);
    g->allocation = NULL;
}

#endif
