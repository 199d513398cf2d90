/* Both products of a block of attention, again and again on the same numbers, which stay in the first-level
 * cache: the most that the tile loop of product_f32.c can do, for `bench --profile`. */
#include <stdint.h>

#include "kernels/product_f32.h"

enum { KEYS = 60, DEPTH = 64 };

static float keys[KEYS * DEPTH], values[KEYS * DEPTH];
static float queries[DEPTH * PANEL], scores[KEYS * PANEL], out[DEPTH * PANEL];

static void fill(int32_t count, float *x) {
    for (int32_t i = 0; i < count; i++)
        x[i] = 0x1p-6f;
}

/* Before the first tile_loop(): memory that was never written is one page of zeros, many times. */
void tile_fill(void) {
    fill(KEYS * DEPTH, keys);
    fill(KEYS * DEPTH, values);
    fill(DEPTH * PANEL, queries);
}

/* The floating-point operations of one block. */
int32_t tile_flops(void) {
    return 2 * 2 * KEYS * DEPTH * PANEL;
}

void tile_loop(int32_t blocks) {
    fill(DEPTH * PANEL, out);
    for (int32_t n = 0; n < blocks; n++) {
        product_packed_f32(KEYS, DEPTH, keys, queries, scores, PANEL);
        product_add_f32(DEPTH, KEYS, values, DEPTH, scores, out);
    }
}
