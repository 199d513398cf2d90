/* The allocator of the WebAssembly modules (src/wasm/memory.c) on a heap that ends: what it gives out is aligned,
 * overlaps nothing and keeps its bytes; where there is no room left, wherever that happens, it says so and goes on. */
#include "check.h"

/* An sbrk over a piece of memory that belongs to the test. */
enum { HEAP_BYTES = 1 << 20 };
static _Alignas(64) char heap[HEAP_BYTES];
static size_t heap_used, heap_limit;

static void *test_sbrk(intptr_t increment) {
    const size_t bytes = (size_t)increment; /* as Emscripten: up to 4 GiB, never less memory */
    if (bytes > heap_limit - heap_used)
        return (void *)-1;
    heap_used += bytes;
    return heap + heap_used - bytes;
}

#include <unistd.h>
#define sbrk test_sbrk
#include "../../src/wasm/memory.c"
#undef sbrk

enum { MOST_PIECES = 64 };

typedef struct piece {
    unsigned char *data;
    size_t bytes;
    unsigned char fill;
} piece;

static void start(size_t limit, size_t first_byte) {
    first_free = NULL;
    heap_used = first_byte;
    heap_limit = limit;
}

static bool keeps_its_bytes(const piece *p) {
    for (size_t i = 0; i < p->bytes; i++)
        if (p->data[i] != p->fill)
            return false;
    return true;
}

static piece piece_alloc(size_t bytes, unsigned char fill) {
    const piece p = {wasm_alloc(bytes), bytes, fill};
    if (p.data) {
        CHECK((uintptr_t)p.data % 64 == 0);
        CHECK((char *)p.data >= heap && (char *)p.data + bytes <= heap + heap_used);
        memset(p.data, fill, bytes);
    }
    return p;
}

/* Bytes in the free list; its blocks ascend, do not touch and are whole. */
static size_t free_bytes(void) {
    size_t sum = 0;
    for (const block *b = first_free; b; b = b->next) {
        CHECK(b->bytes >= 64 && b->bytes % 64 == 0);
        CHECK(!b->next || (const char *)b + b->bytes < (const char *)b->next);
        sum += b->bytes;
    }
    return sum;
}

TEST(random_rounds_on_heaps_of_every_size) {
    for (uint64_t seed = 0; seed < 200; seed++) {
        rng r = {seed};
        const size_t first_byte = (size_t)rng_int(&r, 0, 100);
        start((size_t)rng_int(&r, 200, HEAP_BYTES), first_byte);
        check_case("{.seed = %" PRIu64 "}", seed);
        piece pieces[MOST_PIECES] = {{NULL, 0, 0}};
        for (int round = 0; round < 400; round++) {
            piece *p = &pieces[rng_int(&r, 0, MOST_PIECES - 1)];
            if (p->data) {
                CHECK(keeps_its_bytes(p));
                wasm_free(p->data);
                p->data = NULL;
            } else {
                *p = piece_alloc((size_t)rng_int(&r, 0, rng_once_in(&r, 5) ? 100000 : 3000),
                                 (unsigned char)round);
            }
            free_bytes();
        }
        for (int i = 0; i < MOST_PIECES; i++) {
            CHECK(!pieces[i].data || keeps_its_bytes(&pieces[i]));
            wasm_free(pieces[i].data);
        }
        /* All of it is one block again, and can be had as one. */
        CHECK(!first_free || !first_free->next);
        const size_t all = free_bytes();
        CHECK(all < 128 || wasm_alloc(all - 64) != NULL);
    }
}

TEST(sizes_that_no_memory_has_are_refused) {
    start(HEAP_BYTES, 0);
    const piece kept = piece_alloc(1000, 7);
    static const size_t sizes[] = {SIZE_MAX,       SIZE_MAX - 63,  SIZE_MAX - 64, SIZE_MAX - 127,
                                   SIZE_MAX - 128, SIZE_MAX - 129, SIZE_MAX / 2,  SIZE_MAX / 2 + 1,
                                   HEAP_BYTES,     HEAP_BYTES - 64};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        check_case("{%zu}", sizes[s]);
        CHECK(wasm_alloc(sizes[s]) == NULL);
        CHECK(keeps_its_bytes(&kept));
    }
    CHECK(wasm_alloc(0) != NULL);
    wasm_free(NULL);
}

/* A sequence of allocations on every heap that is too small for it, by steps of a line. */
TEST(after_a_refusal_at_any_point_the_rest_can_be_used) {
    static const size_t sizes[] = {100, 5000, 0, 64, 20000, 1, 7000};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    int refused = 0, granted = 0;
    for (size_t limit = 0; limit < 34000; limit += 64) {
        start(limit, 8);
        check_case("{.limit = %zu}", limit);
        piece pieces[COUNT];
        for (int i = 0; i < COUNT; i++) {
            pieces[i] = piece_alloc(sizes[i], (unsigned char)(i + 1));
            *(pieces[i].data ? &granted : &refused) += 1;
        }
        for (int i = 0; i < COUNT; i++)
            CHECK(!pieces[i].data || keeps_its_bytes(&pieces[i]));
        for (int i = 0; i < COUNT; i++)
            wasm_free(pieces[i].data);
        /* What could be had at first can be had again. */
        if (pieces[0].data)
            CHECK(wasm_alloc(sizes[0]) != NULL);
        free_bytes();
    }
    CHECK(refused > 100 && granted > 100);
}

int main(void) {
    RUN(random_rounds_on_heaps_of_every_size);
    RUN(sizes_that_no_memory_has_are_refused);
    RUN(after_a_refusal_at_any_point_the_rest_can_be_used);
    return check_summary();
}
