/* attn_linear_f32 with weights whose panels are there already. */
#ifndef LINEAR_H
#define LINEAR_H

#include <stdbool.h>

#include "attn.h"

/* Up to here w is read as it lies: packing it would cost more than it gives. */
#define DOT_ROWS 4

/* The rows of w across the lanes of panels, one panel behind the other, in so many floats (fewer
 * than 8 rows more than w has). */
uint64_t linear_panels_size(int32_t in_dim, int32_t out_dim);
void linear_pack_panels(int32_t in_dim, int32_t out_dim, const float *w, float *panels);

/* is_packed  the last call with this workspace had the same x, rows and in_dim: its packed rows are
 *            still there
 * panels     of w, or NULL; not looked at with up to DOT_ROWS rows */
attn_status linear_f32(int32_t rows, int32_t in_dim, int32_t out_dim, const float *x,
                       ptrdiff_t x_stride, bool is_packed, const float *w, const float *panels,
                       const float *bias, float *y, ptrdiff_t y_stride, const attn_exec *exec);

#endif
