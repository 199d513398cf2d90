#include "kernels/grad_f32.h"

#include "kernels/exp_f32.h"
#include "simd/f32x4.h"

/* One tile; compare product_f32.c. rows and columns_at_once are constants at every call: the tile of
 * all rows is unrolled, the others, of which a product has one, stay small. */
SIMD_INLINE void tile(const int rows, const int columns_at_once, int panels, const float *a,
                      ptrdiff_t a_stride, const float *b, float *c, ptrdiff_t c_stride) {
    f32x4 acc[TILE_ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        acc[r][0] = f32x4_load(c + r * c_stride);
        acc[r][1] = f32x4_load(c + r * c_stride + 4);
    }
    for (int p = 0; p < panels; p++) {
        for (int first = 0; first < PANEL; first += columns_at_once) {
#pragma GCC unroll 8
            for (int l = first; l < first + columns_at_once; l++) {
                const f32x4 b0 = f32x4_load(b + l * PANEL), b1 = f32x4_load(b + l * PANEL + 4);
#pragma GCC unroll 6
                for (int r = 0; r < rows; r++) {
                    const f32x4 x = f32x4_load_splat(a + r * PANEL + l);
                    acc[r][0] = f32x4_madd(x, b0, acc[r][0]);
                    acc[r][1] = f32x4_madd(x, b1, acc[r][1]);
                }
            }
        }
        a += a_stride;
        b += PANEL * PANEL;
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        f32x4_store(c + r * c_stride, acc[r][0]);
        f32x4_store(c + r * c_stride + 4, acc[r][1]);
    }
}

#define TILE_ARGS                                                                                  \
    int panels, const float *a, ptrdiff_t a_stride, const float *b, float *c, ptrdiff_t c_stride
typedef void tile_fn(TILE_ARGS);

#define DEFINE_TILE(suffix, rows)                                                                  \
    static __attribute__((noinline)) void tile_##suffix(TILE_ARGS) {                               \
        const int columns_at_once = rows == TILE_ROWS ? PANEL : 1;                                 \
        if (rows <= ROWS_AT_ONCE)                                                                  \
            tile(rows, columns_at_once, panels, a, a_stride, b, c, c_stride);                      \
        else                                                                                       \
            for (int r = 0; r < rows; r++)                                                         \
                tile_1(panels, a + r * PANEL, a_stride, b, c + r * c_stride, c_stride);            \
    }
DEFINE_TILE(1, 1)
DEFINE_TILE(2, 2)
DEFINE_TILE(3, 3)
DEFINE_TILE(4, 4)
#if TILE_ROWS > 5
DEFINE_TILE(5, 5)
#endif
DEFINE_TILE(whole, TILE_ROWS)

static tile_fn *const tile_tail[TILE_ROWS] = {0,     tile_1, tile_2, tile_3, tile_4,
#if TILE_ROWS > 5
                                              tile_5
#endif
};

void product_panels_f32(int rows, int panels, const float *a, ptrdiff_t a_stride, const float *b,
                        float *c, ptrdiff_t c_stride) {
    int r = 0;
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        tile_whole(panels, a + r * PANEL, a_stride, b, c + r * c_stride, c_stride);
    if (r < rows)
        tile_tail[rows - r](panels, a + r * PANEL, a_stride, b, c + r * c_stride, c_stride);
}

void pack_columns_f32(int depth, const float *row, float factor, float *to, ptrdiff_t stride) {
    const f32x4 scale = f32x4_splat(factor);
    int k = 0;
    for (; k + PANEL <= depth; k += PANEL) {
        f32x4_store(to, f32x4_mul(f32x4_load(row + k), scale));
        f32x4_store(to + 4, f32x4_mul(f32x4_load(row + k + 4), scale));
        to += stride;
    }
    if (k < depth)
        for (int l = 0; l < PANEL; l++)
            to[l] = k + l < depth ? factor * row[k + l] : 0.0f;
}

void add_panel_f32(int depth, int count, const float *panel, float factor,
                   float *const rows[PANEL]) {
    const f32x4 scale = f32x4_splat(factor);
    for (int half = 0; half < count; half += 4) {
        const int lanes = count - half < 4 ? count - half : 4;
        float *const *row = rows + half;
        int k = 0;
        for (; k + 4 <= depth; k += 4) {
            f32x4 block[4];
            for (int t = 0; t < 4; t++)
                block[t] = f32x4_load(panel + (k + t) * PANEL + half);
            f32x4_transpose4(block);
            for (int t = 0; t < lanes; t++)
                f32x4_store(row[t] + k, f32x4_madd(block[t], scale, f32x4_load(row[t] + k)));
        }
        for (; k < depth; k++)
            for (int t = 0; t < lanes; t++)
                row[t][k] += panel[k * PANEL + half + t] * factor;
    }
}

void dot_panels_f32(int depth, const float *a, const float *b, float dot[PANEL]) {
    f32x4 sum0 = f32x4_zero(), sum1 = f32x4_zero();
    for (int k = 0; k < depth * PANEL; k += PANEL) {
        sum0 = f32x4_madd(f32x4_load(a + k), f32x4_load(b + k), sum0);
        sum1 = f32x4_madd(f32x4_load(a + k + 4), f32x4_load(b + k + 4), sum1);
    }
    f32x4_store(dot, sum0);
    f32x4_store(dot + 4, sum1);
}

void weights_panel_f32(int keys, float *s, const float log2_sum[PANEL]) {
    const f32x4 sum0 = f32x4_load(log2_sum), sum1 = f32x4_load(log2_sum + 4);
    const f32x4 least0 = f32x4_add(sum0, f32x4_splat(WEIGHT_CUT));
    const f32x4 least1 = f32x4_add(sum1, f32x4_splat(WEIGHT_CUT));
    for (int j = 0; j < keys; j++) {
        float *row = s + j * PANEL;
        const f32x4 s0 = f32x4_load(row), s1 = f32x4_load(row + 4);
        f32x4_store(row, f32x4_drop(exp2_f32(f32x4_sub(s0, sum0)), f32x4_less(s0, least0)));
        f32x4_store(row + 4, f32x4_drop(exp2_f32(f32x4_sub(s1, sum1)), f32x4_less(s1, least1)));
    }
}

void grad_scores_f32(int keys, const float *w, const float delta[PANEL], float *g) {
    const f32x4 delta0 = f32x4_load(delta), delta1 = f32x4_load(delta + 4);
    for (int j = 0; j < keys; j++) {
        float *row = g + j * PANEL;
        const float *weights = w + j * PANEL;
        f32x4_store(row, f32x4_mul(f32x4_load(weights), f32x4_sub(f32x4_load(row), delta0)));
        f32x4_store(row + 4,
                    f32x4_mul(f32x4_load(weights + 4), f32x4_sub(f32x4_load(row + 4), delta1)));
    }
}

void drop_lanes_f32(int rows, const float live[PANEL], float *x) {
    const mask4 dead0 = f32x4_equal(f32x4_load(live), f32x4_zero());
    const mask4 dead1 = f32x4_equal(f32x4_load(live + 4), f32x4_zero());
    for (int j = 0; j < rows; j++) {
        float *row = x + j * PANEL;
        f32x4_store(row, f32x4_drop(f32x4_load(row), dead0));
        f32x4_store(row + 4, f32x4_drop(f32x4_load(row + 4), dead1));
    }
}
