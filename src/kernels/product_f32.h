/* The one matrix product that attention and the projections are made of, with 8 columns across two
 * vectors:
 *
 *     c[r][0..8) (+)= sum_k a(r, k) * b[k][0..8)         r = 0 .. rows - 1
 *
 * in tiles of 6 rows x 8 columns: 12 accumulators, 2 vectors of b and 1 of a are all the registers
 * that V8 leaves of x86-64's 16. Where multiplying and adding are two instructions, of 5 rows.
 *
 *            b[k]  |....|....|
 *     a(0, k)  .   |acc0|acc0|
 *     ...          |    |    |
 *     a(5, k)  .   |acc5|acc5|
 */
#ifndef KERNELS_PRODUCT_F32_H
#define KERNELS_PRODUCT_F32_H

#include <stdbool.h>
#include <stddef.h>

#include "simd/f32x4.h"

/* A sixth row does not fit beside a product that waits to be added: one sum would live on the stack,
 * and at some depths of it take 1.2 to 3.4 times as long (presumably across two cache lines or
 * pages). With five it is otherwise as fast: 0.94 to 1.03. */
#ifndef MADD_NEEDS_REGISTER
#define TILE_ROWS 6
#else
#define TILE_ROWS 5
#endif
#define PANEL 8 /* columns */

/* a  packed by pack_rows_f32: a(r, k) of tile t at a[t * TILE_ROWS * depth + k * rows_of_tile + r]
 * b  [depth, PANEL];  c  [rows, PANEL] with c_stride elements from row to row; overwritten */
void product_packed_f32(int rows, int depth, const float *a, const float *b, float *c,
                        ptrdiff_t c_stride);

/* a(r, k) at a[k * a_stride + r]: a matrix whose rows are summed over, in its natural layout.
 * c  [rows, PANEL] contiguous; added to */
void product_add_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *b,
                     float *c);
/* The same; overwritten. */
void product_set_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *b,
                     float *c);

/* Rows of a natural matrix into tiles of TILE_ROWS for product_packed_f32 (the last tile has what
 * is left). a [rows, depth], a_stride from row to row;  packed [rows * depth] */
void pack_rows_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, float *packed);

/* Up to PANEL rows across the lanes: panel[k][r] = factor * rows[r][k]. rows has PANEL pointers,
 * all valid. */
void pack_panel_f32(int depth, const float *const rows[PANEL], float factor, float *panel);

/* The same, and whether the panel then holds numbers with 0 < |x| < limit. */
bool pack_watched_panel_f32(int depth, const float *const rows[PANEL], float factor, float limit,
                            float *panel);

/* The way back: rows[r][j] = factor[r] * panel[j][r] for r < count. Rows from count on are not
 * touched. */
void unpack_panel_f32(int depth, int count, const float *panel, const float factor[PANEL],
                      float *const rows[PANEL]);

/* dot[r] = sum_k a[r * a_stride + k] * x[k], for rows of a natural matrix: one query against many
 * keys. */
void dot_rows_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *x,
                  float *dot);

/* sum[k] += sum_r x[r] * a[r * a_stride + k]: the weighted sum of many rows. */
void sum_rows_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *x,
                  float *sum);

#endif
