/* Numbers so small that arithmetic with them is slow. A subnormal operand or result costs a
 * processor more than a hundred cycles, and WebAssembly cannot flush them to zero: inputs of 1e-20
 * made attention 80 times slower. Both products of attention therefore look at their inputs, and
 * where they find tiny numbers they work on copies that are scaled by a power of two, with what is
 * then still tiny set to 0. What that loses is stated at each use. */
#ifndef KERNELS_TINY_F32_H
#define KERNELS_TINY_F32_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/product_f32.h"

/* Whether a [rows, depth] holds numbers with 0 < |x| < limit. Looks at one vector of each row, at
 * other columns in the next, so it can miss a few, and cannot miss many; only speed depends on the
 * answer. (At two, one query against 1,024 keys took 1.2 times as long.) */
bool has_tiny_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, float limit);

/* The largest |x|, or infinity if any x is infinite or NaN; 0 for no element. */
float largest_f32(int rows, int depth, const float *a, ptrdiff_t a_stride);

/* to[i] = from[i] * 2^exponent, and 0 where the result's magnitude is below cut (>= 2^-126).
 * |exponent| <= 126. In place is allowed. No operation has a subnormal operand or result. */
void rescale_f32(int count, const float *from, int exponent, float cut, float *to);

/* The exponent for rescale_f32 that brings largest to [2^target, 2^(target + 1)), as far as 126
 * allows. */
int rescale_exponent(float largest, int target);

/* For queries whose keys' largest magnitude is largest_key: a query whose products can only sum to
 * less than 2^-30 becomes 0 (2^-30 does not move a weight of softmax by half a unit in the last
 * place); in others what is below 2^-44 of the query's largest does. Its products with keys cut at
 * TINY_CUT * largest_key are then 0 or at least 2^-126. For a panel of them, and for one. */
#define TINY_CUT 0x1p-44f
void settle_panel_f32(int depth, float *panel, float largest_key);
void settle_row_f32(int depth, float *row, float largest_key);

#endif
