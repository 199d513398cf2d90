/* The memory that JavaScript takes for tensors and workspaces: few blocks, some of gigabytes.
 *
 * Why not malloc: Emscripten's small one (emmalloc, 3.1.69) adds sizes to pointers without a look
 * at the overflow and traps when a block does not fit below 4 GiB; its other one (dlmalloc) makes
 * every module 3 KB larger, gzipped. This is Kernighan & Ritchie 1988, section 8.7: free blocks in
 * a list by address, first fit, neighbours joined. All memory behind the linker's data is its own.
 *
 * For the one thread that runs JavaScript. */
#include "wasm/memory.h"

#include <stdint.h>

#define ALIGNMENT ((size_t)64) /* a cache line */
#define PAGE ((size_t)65536)
#define MOST_SPARE_PAGES ((size_t)1536) /* 96 MiB */

extern char __heap_base[]; /* the linker's */

/* Lies in the ALIGNMENT bytes before the memory that was given out. */
typedef struct block {
    size_t bytes;       /* a multiple of ALIGNMENT, the header's own included */
    struct block *next; /* of the free list */
} block;

static block *first_free;
static char *end_of_memory; /* NULL before the first call */

static char *end_of(block *b) {
    return (char *)b + b->bytes;
}

static void join_with_next(block *b) {
    if (b->next && end_of(b) == (char *)b->next) {
        b->bytes += b->next->bytes;
        b->next = b->next->next;
    }
}

static void insert(block *b) {
    block *before = NULL;
    block **link = &first_free;
    while (*link && *link < b) {
        before = *link;
        link = &before->next;
    }
    b->next = *link;
    *link = b;
    join_with_next(b);
    if (before)
        join_with_next(before);
}

/* Makes what memory has beyond end_of_memory a free block. */
static void take_over(void) {
    if (!end_of_memory)
        end_of_memory = (char *)(((uintptr_t)__heap_base + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    block *added = (block *)end_of_memory;
    end_of_memory = (char *)(__builtin_wasm_memory_size(0) * PAGE);
    added->bytes = (size_t)(end_of_memory - (char *)added);
    insert(added);
}

/* Makes the free block at the end of memory `bytes` long, as far as there is memory; and a fifth of
 * all longer where that can be had, because in some engines growing copies everything. */
static void grow(size_t bytes) {
    block *last = first_free;
    while (last && last->next)
        last = last->next;
    if (last && end_of(last) == end_of_memory)
        bytes -= last->bytes;
    const size_t pages = bytes / PAGE + (bytes % PAGE != 0);
    size_t spare = __builtin_wasm_memory_size(0) / 5;
    if (spare > MOST_SPARE_PAGES)
        spare = MOST_SPARE_PAGES;
    if (__builtin_wasm_memory_grow(0, pages + spare) != SIZE_MAX ||
        __builtin_wasm_memory_grow(0, pages) != SIZE_MAX)
        take_over();
}

/* The link to the first free block of `bytes` or more; to NULL if there is none. */
static block **find(size_t bytes) {
    block **link = &first_free;
    while (*link && (*link)->bytes < bytes)
        link = &(*link)->next;
    return link;
}

void *wasm_alloc(size_t bytes) {
    if (!end_of_memory)
        take_over();
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return NULL;
    const size_t need = (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    block **link = find(need);
    if (!*link) {
        grow(need);
        link = find(need);
    }
    block *b = *link;
    if (!b)
        return NULL;
    *link = b->next;
    if (b->bytes > need) {
        block *rest = (block *)((char *)b + need);
        rest->bytes = b->bytes - need;
        rest->next = b->next;
        *link = rest;
        b->bytes = need;
    }
    return (char *)b + ALIGNMENT;
}

void wasm_free(void *pointer) {
    if (pointer)
        insert((block *)((char *)pointer - ALIGNMENT));
}
