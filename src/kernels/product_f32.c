#include "kernels/product_f32.h"

#include <stdint.h>
#include <string.h>

#include "simd/f32x4.h"

SIMD_INLINE void tile_step(const int rows, const float *a, const float *b, f32x4 acc[][2]) {
    const f32x4 b0 = f32x4_load(b), b1 = f32x4_load(b + 4);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        const f32x4 x = f32x4_load_splat(a + r);
        acc[r][0] = f32x4_madd(x, b0, acc[r][0]);
        acc[r][1] = f32x4_madd(x, b1, acc[r][1]);
    }
}

/* One tile. rows and add are constants at every call, so that each becomes straight code; the
 * functions below are not inlined, because V8 replaces its first, slow code of a function only when
 * it is called again.
 *
 * Of a whole tile's step 22.5 instructions are left of 30 (attention of 128 and 512 tokens 1.07 to
 * 1.15 times as fast where another thread uses the same core). For a broadcast load at a
 * constant offset V8 makes the address in an instruction of its own, unless that was done before the
 * loop: hence the first step apart, and a_step hidden from the compiler, which would add it to the
 * offsets. Four steps a turn share the loop's own instructions, with a way out after each, or else
 * the compiler mixes them, and registers run out. b is what is counted: a_step may be 0. Of the
 * tails only that of 4 rows is worth the code: 16 keys end with it (1.02 to 1.04 times as fast). */
SIMD_INLINE void tile(const int rows, const int add, int depth, const float *a, ptrdiff_t a_step,
                      const float *b, float *c, ptrdiff_t c_stride) {
    f32x4 acc[TILE_ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        acc[r][0] = add ? f32x4_load(c + r * c_stride) : f32x4_zero();
        acc[r][1] = add ? f32x4_load(c + r * c_stride + 4) : f32x4_zero();
    }
    if (rows != TILE_ROWS && (rows != 4 || add)) {
        for (int k = 0; k < depth; k++, a += a_step, b += PANEL)
            tile_step(rows, a, b, acc);
    } else if (depth > 0) {
        tile_step(rows, a, b, acc);
        __asm__("" : "+r"(a_step));
        a += a_step;
        b += PANEL;
        const uintptr_t step = PANEL * sizeof *b;
        const uintptr_t end = (uintptr_t)b + (uintptr_t)(depth - 1) * step;
        const uintptr_t before[3] = {end - step, end - 2 * step, end - 3 * step};
        while ((uintptr_t)b != end) {
            tile_step(rows, a, b, acc);
            a += a_step;
#pragma GCC unroll 3
            for (int n = 0; n < 3; n++) {
                if ((uintptr_t)b == before[n])
                    goto store;
                tile_step(rows, a, b + (n + 1) * PANEL, acc);
                a += a_step;
            }
            b += 4 * PANEL;
        }
    }
store:
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        f32x4_store(c + r * c_stride, acc[r][0]);
        f32x4_store(c + r * c_stride + 4, acc[r][1]);
    }
}

#define TILE_ARGS                                                                                  \
    int depth, const float *a, ptrdiff_t a_step, const float *b, float *c, ptrdiff_t c_stride

#define DEFINE_TILE(suffix, rows, name, add)                                                       \
    static __attribute__((noinline)) void name##suffix(TILE_ARGS) {                                \
        if (rows <= ROWS_AT_ONCE)                                                                  \
            tile(rows, add, depth, a, a_step, b, c, c_stride);                                     \
        else                                                                                       \
            for (int r = 0; r < rows; r++)                                                         \
                name##1(depth, a + r, a_step, b, c + r * c_stride, c_stride);                      \
    }
DEFINE_TILE(1, 1, tile_set_, 0)
DEFINE_TILE(1, 1, tile_add_, 1)
DEFINE_TILE(2, 2, tile_set_, 0)
DEFINE_TILE(2, 2, tile_add_, 1)
DEFINE_TILE(4, 4, tile_set_, 0)
DEFINE_TILE(4, 4, tile_add_, 1)
DEFINE_TILE(whole, TILE_ROWS, tile_set_, 0)
DEFINE_TILE(whole, TILE_ROWS, tile_add_, 1)

/* name(rows, ...): any number of rows below TILE_ROWS, as 4, 2 and 1 of them. */
#define DEFINE_TAIL(name)                                                                          \
    static void name##tail(int rows, TILE_ARGS) {                                                  \
        if (rows & 4) {                                                                            \
            name##4(depth, a, a_step, b, c, c_stride);                                             \
            a += 4;                                                                                \
            c += 4 * c_stride;                                                                     \
        }                                                                                          \
        if (rows & 2) {                                                                            \
            name##2(depth, a, a_step, b, c, c_stride);                                             \
            a += 2;                                                                                \
            c += 2 * c_stride;                                                                     \
        }                                                                                          \
        if (rows & 1)                                                                              \
            name##1(depth, a, a_step, b, c, c_stride);                                             \
    }
DEFINE_TAIL(tile_set_)
DEFINE_TAIL(tile_add_)

void product_packed_f32(int rows, int depth, const float *a, const float *b, float *c,
                        ptrdiff_t c_stride) {
    int r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS) {
        tile_set_whole(depth, a, TILE_ROWS, b, c, c_stride);
        a += TILE_ROWS * depth;
        c += TILE_ROWS * c_stride;
    }
    tile_set_tail(rows - r, depth, a, rows - r, b, c, c_stride);
}

void product_add_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *b,
                     float *c) {
    int r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        tile_add_whole(depth, a + r, a_stride, b, c + r * PANEL, PANEL);
    tile_add_tail(rows - r, depth, a + r, a_stride, b, c + r * PANEL, PANEL);
}

void product_set_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *b,
                     float *c) {
    int r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        tile_set_whole(depth, a + r, a_stride, b, c + r * PANEL, PANEL);
    tile_set_tail(rows - r, depth, a + r, a_stride, b, c + r * PANEL, PANEL);
}

/* One tile of `rows` rows, 4 columns at a time: rows 0-3 as a 4 x 4 block, 4-5 with the first two of
 * it again. Every store is a whole vector, and what is too much of it the next column's overwrites:
 * so the last columns go one by one. 2 <= rows. */
SIMD_INLINE float *pack_tile(int rows, int depth, const float *a, ptrdiff_t a_stride,
                             float *packed) {
    const float *row[6];
    for (int t = 0; t < 6; t++)
        row[t] = a + (t < rows ? t : 0) * a_stride;
    int k = 0;
    for (; k + 4 < depth; k += 4) {
        f32x4 upper[4] = {f32x4_load(row[0] + k), f32x4_load(row[1] + k), f32x4_load(row[2] + k),
                          f32x4_load(row[3] + k)};
        f32x4 lower[4] = {f32x4_load(row[4] + k), f32x4_load(row[5] + k), f32x4_zero(),
                          f32x4_zero()};
        f32x4_transpose4(upper);
        f32x4_transpose4(lower);
        for (int t = 0; t < 4; t++) {
            f32x4_store(packed + t * rows, upper[t]);
            if (rows > 4)
                f32x4_store(packed + t * rows + 4, lower[t]);
        }
        packed += 4 * rows;
    }
    for (; k < depth; k++)
        for (int t = 0; t < rows; t++)
            *packed++ = row[t][k];
    return packed;
}

void pack_rows_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, float *packed) {
    int r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        packed = pack_tile(TILE_ROWS, depth, a + r * a_stride, a_stride, packed);
    if (rows - r == 1)
        memcpy(packed, a + r * a_stride, sizeof(float) * (size_t)depth);
    else if (r < rows)
        pack_tile(rows - r, depth, a + r * a_stride, a_stride, packed);
}

SIMD_INLINE mask4 pack_panel(const int watched, int depth, const float *const rows[PANEL],
                             float factor, float *panel) {
    const f32x4 scale = f32x4_splat(factor);
    mask4 least = least_size_none();
    /* Unrolled it was twice the code, and no faster. */
#pragma GCC unroll 1
    for (int half = 0; half < PANEL; half += 4) {
        const float *const *row = rows + half;
        int k = 0;
        for (; k + 4 <= depth; k += 4) {
            f32x4 block[4];
            for (int t = 0; t < 4; t++) {
                block[t] = f32x4_mul(f32x4_load(row[t] + k), scale);
                if (watched)
                    least = f32x4_least_size(least, block[t]);
            }
            f32x4_transpose4(block);
            for (int t = 0; t < 4; t++)
                f32x4_store(panel + (k + t) * PANEL + half, block[t]);
        }
        for (; k < depth; k++) {
            float *to = panel + k * PANEL + half;
            for (int t = 0; t < 4; t++)
                to[t] = row[t][k] * factor;
            if (watched)
                least = f32x4_least_size(least, f32x4_load(to));
        }
    }
    return least;
}

void pack_panel_f32(int depth, const float *const rows[PANEL], float factor, float *panel) {
    pack_panel(0, depth, rows, factor, panel);
}

bool pack_watched_panel_f32(int depth, const float *const rows[PANEL], float factor, float limit,
                            float *panel) {
    return least_size_below(pack_panel(1, depth, rows, factor, panel), limit);
}

void unpack_panel_f32(int depth, int count, const float *panel, const float factor[PANEL],
                      float *const rows[PANEL]) {
    for (int half = 0; half < count; half += 4) {
        const int lanes = count - half < 4 ? count - half : 4;
        const f32x4 scale = f32x4_load(factor + half);
        float *const *row = rows + half;
        int k = 0;
        for (; k + 4 <= depth; k += 4) {
            f32x4 block[4];
            for (int t = 0; t < 4; t++)
                block[t] = f32x4_mul(f32x4_load(panel + (k + t) * PANEL + half), scale);
            f32x4_transpose4(block);
            for (int t = 0; t < lanes; t++)
                f32x4_store(row[t] + k, block[t]);
        }
        for (; k < depth; k++)
            for (int t = 0; t < lanes; t++)
                row[t][k] = panel[k * PANEL + half + t] * factor[half + t];
    }
}

void dot_rows_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *x,
                  float *dot) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *row = a + r * a_stride;
        f32x4 acc[4] = {f32x4_zero(), f32x4_zero(), f32x4_zero(), f32x4_zero()};
        int k = 0;
        /* Two vectors at a time: with one, half of the instructions made addresses. */
        for (; k + 8 <= depth; k += 8) {
            const f32x4 v0 = f32x4_load(x + k), v1 = f32x4_load(x + k + 4);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++) {
                const float *at = row + t * a_stride + k;
                acc[t] = f32x4_madd(f32x4_load(at), v0, acc[t]);
                acc[t] = f32x4_madd(f32x4_load(at + 4), v1, acc[t]);
            }
        }
        if (k + 4 <= depth) {
            const f32x4 v = f32x4_load(x + k);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++)
                acc[t] = f32x4_madd(f32x4_load(row + t * a_stride + k), v, acc[t]);
            k += 4;
        }
        if (k < depth) {
            const f32x4 v = f32x4_load_n(x + k, depth - k);
            for (int t = 0; t < 4; t++)
                acc[t] = f32x4_madd(f32x4_load_n(row + t * a_stride + k, depth - k), v, acc[t]);
        }
        f32x4_transpose4(acc);
        f32x4_store(dot + r, f32x4_add(f32x4_add(acc[0], acc[2]), f32x4_add(acc[1], acc[3])));
    }
    for (; r < rows; r++) {
        const float *row = a + r * a_stride;
        f32x4 acc = f32x4_zero();
        int k = 0;
        for (; k + 4 <= depth; k += 4)
            acc = f32x4_madd(f32x4_load(row + k), f32x4_load(x + k), acc);
        if (k < depth)
            acc = f32x4_madd(f32x4_load_n(row + k, depth - k), f32x4_load_n(x + k, depth - k), acc);
        dot[r] = f32x4_sum(acc);
    }
}

void sum_rows_f32(int rows, int depth, const float *a, ptrdiff_t a_stride, const float *x,
                  float *sum) {
    int k = 0;
    for (; k + 32 <= depth; k += 32) {
        f32x4 acc[8];
        const float *row = a + k;
#pragma GCC unroll 8
        for (int t = 0; t < 8; t++)
            acc[t] = f32x4_load(sum + k + 4 * t);
        for (int r = 0; r < rows; r++) {
            const f32x4 w = f32x4_load_splat(x + r);
#pragma GCC unroll 8
            for (int t = 0; t < 8; t++)
                acc[t] = f32x4_madd(f32x4_load(row + 4 * t), w, acc[t]);
            row += a_stride;
        }
#pragma GCC unroll 8
        for (int t = 0; t < 8; t++)
            f32x4_store(sum + k + 4 * t, acc[t]);
    }
    for (; k < depth; k += 4) {
        const int lanes = depth - k < 4 ? depth - k : 4;
        f32x4 acc = lanes == 4 ? f32x4_load(sum + k) : f32x4_load_n(sum + k, lanes);
        for (int r = 0; r < rows; r++) {
            const float *row = a + r * a_stride + k;
            acc = f32x4_madd(lanes == 4 ? f32x4_load(row) : f32x4_load_n(row, lanes),
                             f32x4_load_splat(x + r), acc);
        }
        if (lanes == 4)
            f32x4_store(sum + k, acc);
        else
            f32x4_store_n(sum + k, acc, lanes);
    }
}
