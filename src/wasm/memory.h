#ifndef WASM_MEMORY_H
#define WASM_MEMORY_H

#include <stddef.h>

/* 64-byte aligned memory, or NULL. */
void *wasm_alloc(size_t bytes);

/* Gives memory of wasm_alloc() back. NULL: nothing. */
void wasm_free(void *pointer);

#endif
