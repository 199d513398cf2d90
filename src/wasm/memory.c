/* The memory that JavaScript takes for tensors and workspaces: few blocks, some of gigabytes.
 *
 * Why not malloc: Emscripten's small one (emmalloc, 3.1.69) adds sizes to pointers without a look
 * at the overflow and traps when a block does not fit below 4 GiB; its other one (dlmalloc) makes
 * every module 3 KB larger, gzipped. This is Kernighan & Ritchie 1988, section 8.7: free blocks in
 * a list by address, first fit, neighbours joined.
 *
 * For the one thread that runs JavaScript; malloc, which the threads' runtime uses, may be used
 * beside it. */
#define _DEFAULT_SOURCE /* sbrk */

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#define ALIGNMENT ((size_t)64) /* a cache line */

/* Lies in the ALIGNMENT bytes before the memory that was given out. */
typedef struct block {
    size_t bytes;       /* a multiple of ALIGNMENT, the header's own included */
    struct block *next; /* of the free list */
} block;

static block *first_free;

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

/* Makes the free block at the end of memory `bytes` long, as far as there is memory. */
static void grow(size_t bytes) {
    block *last = first_free;
    while (last && last->next)
        last = last->next;
    char *const end = sbrk(0);
    size_t missing = last && end_of(last) == end ? bytes - last->bytes : bytes;
    const size_t padding = -(uintptr_t)end % ALIGNMENT;
    if (missing > SIZE_MAX - padding)
        return;
    missing += padding;
    if (sbrk((intptr_t)missing) != end)
        return;
    block *added = (block *)(end + padding);
    added->bytes = missing - padding;
    insert(added);
}

/* The link to the first free block of `bytes` or more; to NULL if there is none. */
static block **find(size_t bytes) {
    block **link = &first_free;
    while (*link && (*link)->bytes < bytes)
        link = &(*link)->next;
    return link;
}

/* 64-byte aligned memory, or NULL. */
void *wasm_alloc(size_t bytes);
void *wasm_alloc(size_t bytes) {
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

/* Gives memory of wasm_alloc() back. NULL: nothing. */
void wasm_free(void *pointer);
void wasm_free(void *pointer) {
    if (pointer)
        insert((block *)((char *)pointer - ALIGNMENT));
}
