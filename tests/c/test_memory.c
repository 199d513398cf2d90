/* The allocator of the WebAssembly modules (src/wasm/memory.c) on a heap that ends: what it gives out is aligned,
 * overlaps nothing and keeps its bytes; where there is no room left, wherever that happens, it says so and goes on. */
#include "check.h"

/* In place of the module's memory a piece of the test's own, which grows by pages up to a limit. */
enum { TEST_PAGE = 65536, MOST_PAGES = 32 };
extern char test_heap[]; /* as memory.c declares it */
_Alignas(TEST_PAGE) char test_heap[MOST_PAGES * TEST_PAGE];
static size_t heap_pages, limit_pages;

static size_t test_memory_size(void) {
    return (uintptr_t)test_heap / TEST_PAGE + heap_pages;
}

static size_t test_memory_grow(size_t pages) {
    if (pages > limit_pages - heap_pages)
        return SIZE_MAX;
    heap_pages += pages;
    return test_memory_size() - pages;
}

#define __heap_base test_heap
#define __builtin_wasm_memory_size(memory) test_memory_size()
#define __builtin_wasm_memory_grow(memory, pages) test_memory_grow(pages)
#include "wasm/memory.c"

enum { MOST_PIECES = 64 };

typedef struct piece {
    unsigned char *data;
    size_t bytes;
    unsigned char fill;
} piece;

static void start(size_t pages, size_t limit) {
    first_free = NULL;
    end_of_memory = NULL;
    heap_pages = pages;
    limit_pages = limit;
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
        CHECK((char *)p.data >= test_heap &&
              (char *)p.data + bytes <= test_heap + heap_pages * TEST_PAGE);
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
        const size_t pages = (size_t)rng_int(&r, 1, 4);
        start(pages, (size_t)rng_int(&r, (int32_t)pages, MOST_PAGES));
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
    start(1, MOST_PAGES);
    const piece kept = piece_alloc(1000, 7);
    static const size_t sizes[] = {
        SIZE_MAX,       SIZE_MAX - 63, SIZE_MAX - 64,    SIZE_MAX - 127,   SIZE_MAX - 128,
        SIZE_MAX - 129, SIZE_MAX / 2,  SIZE_MAX / 2 + 1, sizeof test_heap, sizeof test_heap - 63};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        check_case("{%zu}", sizes[s]);
        CHECK(wasm_alloc(sizes[s]) == NULL);
        CHECK(keeps_its_bytes(&kept));
    }
    CHECK(wasm_alloc(0) != NULL);
    wasm_free(NULL);
}

/* A sequence of allocations on every heap that is too small for it, page by page. */
TEST(after_a_refusal_at_any_point_the_rest_can_be_used) {
    static const size_t sizes[] = {100, 150000, 0, 64, 600000, 65472, 210000};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    int refused = 0, granted = 0;
    for (size_t limit = 1; limit <= MOST_PAGES; limit++) {
        start(1, limit);
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
    CHECK(refused > 20 && granted > 50);
}

int main(void) {
    RUN(random_rounds_on_heaps_of_every_size);
    RUN(sizes_that_no_memory_has_are_refused);
    RUN(after_a_refusal_at_any_point_the_rest_can_be_used);
    return check_summary();
}
