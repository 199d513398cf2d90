/* The additive score in place of the dot product:
 *
 *     s[j] = scale * sum_d v[d] * tanh(key[j][d] + query[d])
 *
 * A hyperbolic tangent takes some 25 operations where a product takes one, so nothing is packed or
 * tiled: keys are read as they lie. v [depth]. */
#ifndef KERNELS_ADDITIVE_F32_H
#define KERNELS_ADDITIVE_F32_H

#include "kernels/product_f32.h"

/* For a panel of 8 queries across the lanes: queries [depth, PANEL], s [keys, PANEL]. */
void additive_panel_f32(int keys, int depth, const float *key, ptrdiff_t key_stride,
                        const float *queries, const float *v, float scale, float *s);

/* For one query, depth across the lanes: query [depth], s [keys]. */
void additive_row_f32(int keys, int depth, const float *key, ptrdiff_t key_stride,
                      const float *query, const float *v, float scale, float *s);

#endif
