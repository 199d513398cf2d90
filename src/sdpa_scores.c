#include <math.h>

#include "kernels/exp_f32.h"
#include "sdpa_f32.h"

void scores_softcap(const sdpa_call *call, const score_block *block) {
    const float softcap = (float)call->desc->softcap;
    if (softcap == 0.0f)
        return;
    const f32x4 cap = f32x4_splat(softcap), inverse = f32x4_splat(1.0f / softcap);
    for (int32_t i = 0; i < block->keys * block->rows; i += 4) {
        const f32x4 s = f32x4_load(block->s + i);
        f32x4_store(block->s + i, f32x4_mul(cap, tanh_f32(f32x4_mul(s, inverse))));
    }
}

static void add_alibi(const sdpa_call *call, const score_block *block) {
    const int64_t offset = sdpa_offset(call->desc, block->batch);
    const float *slopes = call->data->alibi_slopes + block->batch * call->desc->alibi_batch_stride;
    for (int32_t r = 0; r < block->rows; r++) {
        const float slope = slopes[block->head[r]];
        const int64_t position = block->query[r] + offset - block->first;
        for (int32_t j = 0; j < block->keys; j++)
            block->s[j * block->rows + r] -= slope * fabsf((float)(position - j));
    }
}

static void apply_mask(const sdpa_call *call, const attn_mask *mask, const score_block *block) {
    const int32_t covered = min32(block->keys, sdpa_mask_keys(call->desc, mask) - block->first);
    for (int32_t r = 0; r < block->rows; r++) {
        float *s = block->s + r;
        const ptrdiff_t at = sdpa_mask_row(mask, block->batch, block->head[r], block->query[r]) +
                             block->first * mask->key;
        if (mask->kind == ATTN_MASK_BOOL) {
            const uint8_t *m = (const uint8_t *)mask->data + at;
            for (int32_t j = 0; j < covered; j++)
                s[j * block->rows] = m[j * mask->key] ? s[j * block->rows] : -INFINITY;
        } else {
            const float *m = (const float *)mask->data + at;
            for (int32_t j = 0; j < covered; j++)
                s[j * block->rows] += m[j * mask->key];
        }
    }
}

void scores_bias(const sdpa_call *call, const score_block *block) {
    if (call->data->alibi_slopes)
        add_alibi(call, block);
    for (int m = 0; m < 2; m++)
        if (call->desc->masks[m].kind != ATTN_MASK_NONE)
            apply_mask(call, &call->desc->masks[m], block);
}

void scores_to_log2(const score_block *block) {
    const f32x4 minus_log2_e = f32x4_splat((float)-LOG2_E), slope = f32x4_splat(LOG2_SLOPE);
    const f32x4 least = f32x4_splat(-LOG2_BEND);
    for (int32_t i = 0; i < block->keys * block->rows; i += 4) {
        const f32x4 s = f32x4_load(block->s + i);
        /* -s within the bend's bounds; NaN stays */
        const f32x4 minus = f32x4_pmax(f32x4_sub(f32x4_zero(), f32x4_pmax(s, least)), least);
        const f32x4 beyond = f32x4_mul(f32x4_add(s, minus), slope);
        f32x4_store(block->s + i, f32x4_add(f32x4_mul(minus, minus_log2_e), beyond));
    }
}
