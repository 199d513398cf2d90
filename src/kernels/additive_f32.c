#include "kernels/additive_f32.h"

#include "kernels/exp_f32.h"

void additive_panel_f32(int keys, int depth, const float *key, ptrdiff_t key_stride,
                        const float *queries, const float *v, float scale, float *s) {
    const f32x4 factor = f32x4_splat(scale);
    for (int j = 0; j < keys; j++, key += key_stride, s += PANEL) {
        f32x4 sum[2] = {f32x4_zero(), f32x4_zero()};
        for (int d = 0; d < depth; d++) {
            const f32x4 k = f32x4_load_splat(key + d), weight = f32x4_load_splat(v + d);
            for (int half = 0; half < 2; half++) {
                const f32x4 q = f32x4_load(queries + d * PANEL + 4 * half);
                sum[half] = f32x4_madd(weight, tanh_f32(f32x4_add(k, q)), sum[half]);
            }
        }
        f32x4_store(s, f32x4_mul(sum[0], factor));
        f32x4_store(s + 4, f32x4_mul(sum[1], factor));
    }
}

void additive_row_f32(int keys, int depth, const float *key, ptrdiff_t key_stride,
                      const float *query, const float *v, float scale, float *s) {
    for (int j = 0; j < keys; j++, key += key_stride) {
        f32x4 sum = f32x4_zero();
        int d = 0;
        for (; d + 4 <= depth; d += 4) {
            const f32x4 x = f32x4_add(f32x4_load(key + d), f32x4_load(query + d));
            sum = f32x4_madd(f32x4_load(v + d), tanh_f32(x), sum);
        }
        if (d < depth) {
            const f32x4 x =
                f32x4_add(f32x4_load_n(key + d, depth - d), f32x4_load_n(query + d, depth - d));
            sum = f32x4_madd(f32x4_load_n(v + d, depth - d), tanh_f32(x), sum);
        }
        s[j] = scale * f32x4_sum(sum);
    }
}
