/* The steps of attention's gradients that its forward pass does not have, on the same panels: 8
 * query rows across the lanes. */
#ifndef KERNELS_GRAD_F32_H
#define KERNELS_GRAD_F32_H

#include "kernels/product_f32.h"

/* The product that sums over query rows, which lie across the lanes of a: with n = PANEL * p + l,
 *
 *     c[r][0..8) += sum_n a[p][r][l] * b[n][0..8)        r = 0 .. rows - 1, p = 0 .. panels - 1
 *
 * in the same tiles of 6 rows x 8 columns as product_f32.h.
 * a  [panels][...][PANEL], a_stride elements from panel to panel
 * b  [panels * PANEL, PANEL], packed by pack_columns_f32
 * c  [rows, PANEL] with c_stride elements from row to row; added to */
void product_panels_f32(int rows, int panels, const float *a, ptrdiff_t a_stride, const float *b,
                        float *c, ptrdiff_t c_stride);

/* One row of a natural matrix, cut into columns of PANEL: to[c * stride + k] = factor * row[c *
 * PANEL + k], and 0 past its end. row [depth] */
void pack_columns_f32(int depth, const float *row, float factor, float *to, ptrdiff_t stride);

/* rows[r][k] += factor * panel[k][r] for r < count. Rows may overlap. panel [depth, PANEL] */
void add_panel_f32(int depth, int count, const float *panel, float factor,
                   float *const rows[PANEL]);

/* dot[r] = sum_k a[k][r] * b[k][r], in the order of the products with a panel. a, b [depth, PANEL]
 */
void dot_panels_f32(int depth, const float *a, const float *b, float dot[PANEL]);

/* Softmax once more: s[j][r] <- 2^(s[j][r] - log2_sum[r]), and 0 where that is below 2^WEIGHT_CUT:
 * gradients are often as small as 2^-30, and times a weight of 2^-100, which the forward pass
 * keeps, they would be subnormal (measured: a call that took seven times as long). s [keys, PANEL]
 */
#define WEIGHT_CUT (-64.0f)
void weights_panel_f32(int keys, float *s, const float log2_sum[PANEL]);

/* And its gradient: g[j][r] <- w[j][r] * (g[j][r] - delta[r]). w, g [keys, PANEL] */
void grad_scores_f32(int keys, const float *w, const float delta[PANEL], float *g);

/* x[j][r] <- 0 for each r of which live[r] is 0, whatever it was. x [rows, PANEL] */
void drop_lanes_f32(int rows, const float live[PANEL], float *x);

#endif
