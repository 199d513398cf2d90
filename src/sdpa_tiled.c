/* Attention in float32: blocks of keys against panels of 8 queries across the lanes.
 *
 * Fused (no weights or scores asked for), for each task of up to BLOCK_Q query rows:
 *
 *     for each block of BLOCK_KV keys that some row sees          pack the keys in tiles of 6
 *         for each panel of 8 rows that sees some of it
 *             S[j][0..8)    <- scale log2(e) key[j] . query[0..8)       6 x 8 tiles
 *                              softcap, ALiBi, masks, limits
 *             max, sum      <- online softmax, S <- 2^(S - max)
 *             out[d][0..8)  <- out[d][0..8) + sum_j value[j][d] S[j][0..8)
 *     out[row][d] <- out[d][row] / sum
 *
 * Scores lie transposed, so maximum, exponential and sum of 8 rows need no horizontal step, and
 * both products read one operand as it lies and the other by a broadcast load. With weights or
 * scores asked for, S spans all keys and the three steps become three passes. (Dao 2023,
 * FlashAttention-2, section 3.1, with rows across the lanes.) */
#include <math.h>

#include "kernels/additive_f32.h"
#include "kernels/softmax_f32.h"
#include "kernels/tiny_f32.h"
#include "sdpa_f32.h"
#include "simd/f32x4.h"

#define BLOCK_Q 128
#define BLOCK_KV 60
#define MAX_PANELS (BLOCK_Q / PANEL)
/* Scores of one task where they are kept for all keys: at most this many floats (1 MiB, half of a
 * usual L2), as long as that leaves one panel. */
#define SCORES_FLOATS (1 << 18)

/* 8 rows of the stack; rows past the end repeat the last one and are never stored. */
typedef struct panel {
    int32_t count;                    /* rows that are real */
    int32_t head[PANEL];              /* query head */
    int32_t query[PANEL];             /* index in seq_len_q */
    int32_t first[PANEL], end[PANEL]; /* visible keys of each row */
    int32_t any_first, any_end;       /* keys that some row sees lie in here */
    int32_t all_first, all_end;       /* keys that every row sees */
    /* outs has values; before, anything. (Not clearing and rescaling them first, with packed tails and
     * limits found once for all rows: 1.04 to 1.06 times as fast at 16 tokens.) */
    bool has_begun;
} panel;

static bool keeps_scores(const attn_sdpa_f32_data *data) {
    return data->weights || data->scores;
}

/* Early stages of the scores show every key of the batch element, visible or not. */
static bool shows_every_key(const sdpa_call *c) {
    return c->data->scores && c->desc->scores_stage != ATTN_SCORES_MASKED;
}

static void fill_panel(const sdpa_call *c, int32_t batch, int32_t kv_head, int64_t first_row,
                       panel *p) {
    const attn_sdpa_desc *desc = c->desc;
    const int32_t group = desc->num_heads / desc->num_kv_heads;
    const int64_t left = c->plan.stacked_rows - first_row;
    const bool by_row = desc->is_causal || desc->window_left >= 0 || desc->window_right >= 0;
    p->count = left < PANEL ? (int32_t)left : PANEL;
    p->any_first = p->all_end = desc->seq_len_kv;
    p->any_end = p->all_first = 0;
    p->has_begun = false;
    /* Divided once: 64-bit divisions for every row took a twentieth of the time at 16 tokens. */
    int32_t head = kv_head * group + (int32_t)(first_row / desc->seq_len_q);
    int32_t query = (int32_t)(first_row % desc->seq_len_q);
    for (int32_t r = 0; r < PANEL; r++) {
        p->head[r] = head;
        p->query[r] = query;
        if (r + 1 < p->count && ++query == desc->seq_len_q) {
            query = 0;
            head++;
        }
        if (r == 0 || by_row) {
            sdpa_visible(desc, batch, p->query[r], &p->first[r], &p->end[r]);
        } else {
            p->first[r] = p->first[0];
            p->end[r] = p->end[0];
        }
        p->all_first = max32(p->all_first, p->first[r]);
        p->all_end = min32(p->all_end, p->end[r]);
        if (p->first[r] < p->end[r]) {
            p->any_first = min32(p->any_first, p->first[r]);
            p->any_end = max32(p->any_end, p->end[r]);
        }
    }
    if (p->any_first > p->any_end)
        p->any_first = p->any_end = 0;
    if (p->all_end < p->all_first)
        p->all_end = p->all_first = p->any_end;
}

/* The scores of keys first .. first + keys - 1, [key][8], into the rows of a [batch, num_heads,
 * seq_len_q, seq_len_kv] tensor, times factor. */
static void store_rows(const sdpa_call *c, int32_t batch, const panel *p, int32_t first, int keys,
                       const float *s, const float factor[PANEL], float *tensor) {
    float *rows[PANEL];
    for (int r = 0; r < PANEL; r++) {
        const ptrdiff_t head = (ptrdiff_t)batch * c->desc->num_heads + p->head[r];
        rows[r] = tensor + (head * c->desc->seq_len_q + p->query[r]) * c->desc->seq_len_kv + first;
    }
    unpack_panel_f32(keys, p->count, s, factor, rows);
}

/* Keys outside a row's own limits. Their scores may be NaN; what they are is forgotten here. */
static void apply_limits(const panel *p, int32_t first, int keys, float *s) {
    for (int32_t j = 0; j < keys; j++) {
        const int32_t key = first + j;
        if (key >= p->all_first && key < p->all_end) {
            j = min32(p->all_end - first, keys) - 1;
            continue;
        }
        for (int r = 0; r < PANEL; r++)
            if (key < p->first[r] || key >= p->end[r])
                s[j * PANEL + r] = -INFINITY;
    }
}

static const float ones[PANEL] = {1, 1, 1, 1, 1, 1, 1, 1};

/* From scale * query . key to what softmax sees, for keys first .. first + keys - 1. */
static void adjust_scores(const sdpa_call *c, int32_t batch, const panel *p, int32_t first,
                          int keys, float *s) {
    const int32_t stage = c->data->scores ? c->desc->scores_stage : -1;
    const score_block block = {s, batch, PANEL, p->head, p->query, first, keys};
    if (c->adjusts) {
        if (stage == ATTN_SCORES_RAW)
            store_rows(c, batch, p, first, keys, s, ones, c->data->scores);
        scores_softcap(c, &block);
        if (stage == ATTN_SCORES_SOFTCAPPED)
            store_rows(c, batch, p, first, keys, s, ones, c->data->scores);
        scores_bias(c, &block);
    }
    if (first < p->all_first || first + keys > p->all_end)
        apply_limits(p, first, keys, s);
    if (c->adjusts) {
        if (stage == ATTN_SCORES_MASKED)
            store_rows(c, batch, p, first, keys, s, ones, c->data->scores);
        scores_to_log2(&block);
    }
}

/* Two sums side by side, or else each addition would wait for the last. */
static bool all_finite(const float *x, int count) {
    const f32x4 zero = f32x4_zero();
    f32x4 even = zero, odd = zero;
    int k = 0;
    for (; k + 8 <= count; k += 8) {
        even = f32x4_madd(f32x4_load(x + k), zero, even);
        odd = f32x4_madd(f32x4_load(x + k + 4), zero, odd);
    }
    for (; k < count; k += 4)
        even = f32x4_madd(count - k < 4 ? f32x4_load_n(x + k, count - k) : f32x4_load(x + k), zero,
                          even);
    return f32x4_sum(f32x4_add(even, odd)) == 0.0f;
}

/* out[d][0..8) = sum_j value[j][d] w[j][0..8) over keys first .. first + keys - 1, or += where the
 * panel has begun; value is that of key first. A key that only some of the rows may read has weight
 * 0 for the others; where its value is NaN or infinite, 0 times it would leak into them, so it is
 * then added row by row. */
static void add_values(const sdpa_call *c, panel *p, const float *value, ptrdiff_t stride,
                       int32_t first, int keys, const float *w, float *out) {
    const int depth = c->desc->head_dim_v;
    const int32_t end = first + keys;
    bool leaks = false;
    for (int32_t key = first; key < end && !leaks; key++) {
        if (key >= p->all_first && key < p->all_end)
            key = min32(p->all_end, end) - 1;
        else
            leaks = !all_finite(value + (key - first) * stride, depth);
    }
    void (*const product)(int, int, const float *, ptrdiff_t, const float *, float *) =
        p->has_begun ? product_add_f32 : product_set_f32;
    p->has_begun = true;
    if (!leaks) {
        product(depth, keys, value, stride, w, out);
        return;
    }
    const int32_t inner_first = min32(max32(first, p->all_first), end);
    const int32_t inner_end = max32(min32(end, p->all_end), inner_first);
    product(depth, inner_end - inner_first, value + (inner_first - first) * stride, stride,
            w + (inner_first - first) * PANEL, out);
    for (int32_t key = first; key < end; key++) {
        if (key >= inner_first && key < inner_end)
            continue;
        for (int r = 0; r < PANEL; r++)
            if (key >= p->first[r] && key < p->end[r])
                for (int d = 0; d < depth; d++)
                    out[d * PANEL + r] +=
                        w[(key - first) * PANEL + r] * value[(key - first) * stride + d];
    }
}

/* Row r of a [batch, num_heads, seq_len_q, seq_len_kv] tensor, outside keys first .. end - 1. */
static void fill_row(const sdpa_call *c, int32_t batch, const panel *p, int r, int32_t first,
                     int32_t end, float with, float *tensor) {
    const ptrdiff_t head = (ptrdiff_t)batch * c->desc->num_heads + p->head[r];
    float *row = tensor + (head * c->desc->seq_len_q + p->query[r]) * c->desc->seq_len_kv;
    for (int32_t j = 0; j < first; j++)
        row[j] = with;
    for (int32_t j = end; j < c->desc->seq_len_kv; j++)
        row[j] = with;
}

/* A run of packed tiles starts at a tile: the keys that a panel computes, from a block's. */
static int32_t tile_floor(int32_t key, int32_t block_first) {
    return block_first + (key - block_first) / TILE_ROWS * TILE_ROWS;
}

typedef struct task {
    const sdpa_call *call;
    int32_t batch, kv_head;
    const float *key, *value; /* of the key/value head: [seq_len_kv, head_dim], [.., head_dim_v] */
    int32_t num_panels;
    int32_t first, end; /* keys that some row sees lie in here */
    panel panels[MAX_PANELS];
    softmax_state states[MAX_PANELS];
    float *queries; /* [num_panels][head_dim][PANEL] */
    float *outs;    /* [num_panels][head_dim_v][PANEL] */
    float *packed;  /* [BLOCK_KV * head_dim] */
    float *values;  /* [BLOCK_KV, head_dim_v], for scaled ones */
    float *scores;  /* [BLOCK_KV, PANEL], or [num_panels][seq_len_kv, PANEL] where they are kept */
    /* Whether queries, queries or keys, or values were found to hold tiny numbers, and what was done
     * then. */
    bool tiny_queries, tiny_factors, tiny_values;
    float key_cut;
    int key_exponent, value_exponent;
} task;

static void open_task(task *t, const sdpa_call *c, int32_t index, int32_t thread) {
    const attn_sdpa_desc *desc = c->desc;
    const int32_t head_dim = desc->head_dim, head_dim_v = desc->head_dim_v;
    const int32_t stack = index / c->plan.blocks;
    /* The last rows first: under a causal mask they are the longest, and the short ones then fill
     * the gaps. */
    const int32_t block = c->plan.blocks - 1 - index % c->plan.blocks;
    t->call = c;
    t->batch = stack / desc->num_kv_heads;
    t->kv_head = stack % desc->num_kv_heads;
    t->key = c->data->key + t->batch * desc->key.batch + t->kv_head * desc->key.head;
    t->value = c->data->value + t->batch * desc->value.batch + t->kv_head * desc->value.head;

    t->queries = c->workspace + (size_t)thread * c->plan.thread_floats;
    t->outs = t->queries + (size_t)c->plan.block_rows * head_dim;
    t->packed = t->outs + (size_t)c->plan.block_rows * head_dim_v;
    t->values = t->packed + (size_t)BLOCK_KV * head_dim;
    t->scores = t->values + (size_t)BLOCK_KV * head_dim_v;
    t->tiny_queries = t->tiny_factors = t->tiny_values = false;
    t->key_exponent = t->value_exponent = 0;

    const int64_t first_row = (int64_t)block * c->plan.block_rows;
    const int64_t left = c->plan.stacked_rows - first_row;
    const int32_t rows = left < c->plan.block_rows ? (int32_t)left : c->plan.block_rows;
    t->num_panels = (rows + PANEL - 1) / PANEL;
    t->first = desc->seq_len_kv;
    t->end = 0;
    for (int32_t n = 0; n < t->num_panels; n++) {
        panel *p = &t->panels[n];
        fill_panel(c, t->batch, t->kv_head, first_row + n * PANEL, p);
        if (shows_every_key(c)) {
            p->any_first = 0;
            p->any_end = sdpa_kv_length(desc, t->batch);
        }
        if (p->any_first < p->any_end) {
            t->first = min32(t->first, p->any_first);
            t->end = max32(t->end, p->any_end);
        }
        const float *from[PANEL];
        for (int r = 0; r < PANEL; r++)
            from[r] = c->data->query + t->batch * desc->query.batch +
                      p->head[r] * desc->query.head + p->query[r] * desc->query.row;
        if (pack_watched_panel_f32(head_dim, from, c->query_scale, TINY_FACTOR,
                                   t->queries + n * PANEL * head_dim))
            t->tiny_queries = true;
        softmax_init(&t->states[n]);
    }
}

/* The queries of a task that has tiny factors, and how its keys are to be packed from now on: keys
 * are brought to the size of 1 and queries the other way, so that the scores stay what they are. */
static void settle_factors(task *t) {
    const attn_sdpa_desc *desc = t->call->desc;
    const int32_t head_dim = desc->head_dim;
    t->tiny_factors = true;
    t->key_cut = 0.0f;
    float largest =
        largest_f32(t->end - t->first, head_dim, t->key + t->first * desc->key.row, desc->key.row);
    if (largest == 0.0f || largest == INFINITY)
        return;
    /* Infinity times a tiny number is infinity, times one that was cut to 0 it would be NaN. */
    for (int32_t n = 0; n < t->num_panels; n++)
        if (largest_f32(head_dim, PANEL, t->queries + n * PANEL * head_dim, PANEL) == INFINITY)
            return;
    t->key_exponent = rescale_exponent(largest, 0);
    rescale_f32(1, &largest, t->key_exponent, 0x1p-126f, &largest);
    t->key_cut = largest * TINY_CUT;
    for (int32_t n = 0; n < t->num_panels; n++) {
        float *queries = t->queries + n * PANEL * head_dim;
        rescale_f32(PANEL * head_dim, queries, -t->key_exponent, 0x1p-126f, queries);
        settle_panel_f32(head_dim, queries, largest);
    }
}

/* Packs the keys of a block, in which it looks for tiny numbers. Scores that somebody asked for are left as they are, however slow. */
static void pack_keys(task *t, int32_t first, int32_t keys) {
    const attn_sdpa_desc *desc = t->call->desc;
    const int32_t head_dim = desc->head_dim;
    const float *key = t->key + first * desc->key.row;
    if (t->call->additive)
        return;
    if (!t->tiny_factors && !t->call->data->scores) {
        if (t->tiny_queries || has_tiny_f32(keys, head_dim, key, desc->key.row, TINY_FACTOR))
            settle_factors(t);
    }
    pack_rows_f32(keys, head_dim, key, desc->key.row, t->packed);
    if (t->tiny_factors && t->key_cut > 0.0f)
        rescale_f32(keys * head_dim, t->packed, t->key_exponent, t->key_cut, t->packed);
}

/* The values of keys first .. first + keys - 1 and their stride: as they lie, or a scaled copy. */
static const float *take_values(task *t, int32_t first, int32_t keys, ptrdiff_t *stride) {
    const attn_sdpa_desc *desc = t->call->desc;
    const int32_t depth = desc->head_dim_v;
    const float *value = t->value + first * desc->value.row;
    *stride = desc->value.row;
    if (!t->tiny_values && has_tiny_f32(keys, depth, value, desc->value.row, TINY_VALUE)) {
        t->tiny_values = true;
        const float largest = largest_f32(t->end - t->first, depth,
                                          t->value + t->first * desc->value.row, desc->value.row);
        const int exponent = rescale_exponent(largest, VALUE_EXPONENT);
        if (isfinite(largest) && exponent > 0) {
            t->value_exponent = exponent;
            rescale_f32(t->num_panels * PANEL * depth, t->outs, exponent, 0x1p-126f, t->outs);
        }
    }
    if (t->value_exponent == 0)
        return value;
    for (int32_t j = 0; j < keys; j++)
        rescale_f32(depth, value + j * desc->value.row, t->value_exponent, TINY_VALUE,
                    t->values + j * depth);
    *stride = depth;
    return t->values;
}

/* S of one panel against a packed block, ready for softmax; returns its first key's scores. */
static float *score_panel(const task *t, int32_t n, int32_t block, int32_t block_end, int32_t from,
                          int32_t to) {
    const int32_t head_dim = t->call->desc->head_dim;
    float *s = t->scores;
    if (keeps_scores(t->call->data))
        s += ((ptrdiff_t)n * t->call->desc->seq_len_kv + from) * PANEL;
    const float *queries = t->queries + n * PANEL * head_dim;
    if (t->call->additive) {
        const ptrdiff_t stride = t->call->desc->key.row;
        additive_panel_f32(to - from, head_dim, t->key + from * stride, stride, queries,
                           t->call->additive, t->call->additive_scale, s);
    } else {
        /* Whole tiles, but for the block's last: a tile's packing tells how many rows it has. */
        const int32_t tiles_end = min32(tile_floor(to + TILE_ROWS - 1, block), block_end);
        product_packed_f32(tiles_end - from, head_dim, t->packed + (from - block) * head_dim,
                           queries, s, PANEL);
    }
    adjust_scores(t->call, t->batch, &t->panels[n], from, to - from, s);
    return s;
}

static void attend_fused(task *t) {
    const int32_t depth = t->call->desc->head_dim_v;
    /* Blocks lie at multiples of BLOCK_KV, so that a row's result does not depend on the rows
     * around it. */
    for (int32_t b = t->first / BLOCK_KV * BLOCK_KV; b < t->end; b += BLOCK_KV) {
        const int32_t block_end = min32(b + BLOCK_KV, t->end);
        ptrdiff_t stride = 0;
        pack_keys(t, b, block_end - b);
        const float *values = t->call->data->out ? take_values(t, b, block_end - b, &stride) : NULL;
        for (int32_t n = 0; n < t->num_panels; n++) {
            panel *p = &t->panels[n];
            const int32_t from = tile_floor(max32(p->any_first, b), b);
            const int32_t to = min32(p->any_end, block_end);
            if (from >= to)
                continue;
            float *s = score_panel(t, n, b, block_end, from, to);
            float *out = t->outs + n * PANEL * depth;
            softmax_block_f32(&t->states[n], to - from, s, p->has_begun ? depth : 0, out);
            if (values)
                add_values(t->call, p, values + (from - b) * stride, stride, from, to - from, s,
                           out);
        }
    }
}

static void attend_keeping_scores(task *t) {
    const sdpa_call *c = t->call;
    const int32_t depth = c->desc->head_dim_v;
    const ptrdiff_t panel_scores = (ptrdiff_t)c->desc->seq_len_kv * PANEL;
    const int32_t first_block = t->first / BLOCK_KV * BLOCK_KV;
    for (int32_t b = first_block; b < t->end; b += BLOCK_KV) {
        const int32_t block_end = min32(b + BLOCK_KV, t->end);
        pack_keys(t, b, block_end - b);
        for (int32_t n = 0; n < t->num_panels; n++) {
            const int32_t from = tile_floor(max32(t->panels[n].any_first, b), b);
            const int32_t to = min32(t->panels[n].any_end, block_end);
            if (from < to)
                score_panel(t, n, b, block_end, from, to);
        }
    }
    for (int32_t n = 0; n < t->num_panels; n++) {
        const panel *p = &t->panels[n];
        float *s = t->scores + n * panel_scores + p->any_first * PANEL;
        const int32_t keys = p->any_end - p->any_first;
        softmax_block_f32(&t->states[n], keys, s, 0, NULL);
        if (c->data->weights) {
            float factor[PANEL];
            softmax_factors(&t->states[n], factor);
            store_rows(c, t->batch, p, p->any_first, keys, s, factor, c->data->weights);
            /* 0 wherever the row did not look, also where its sum is NaN. */
            for (int r = 0; r < p->count; r++)
                fill_row(c, t->batch, p, r, p->first[r], p->end[r], 0.0f, c->data->weights);
        }
        if (c->data->scores)
            for (int r = 0; r < p->count; r++)
                fill_row(c, t->batch, p, r, p->any_first, p->any_end, -INFINITY, c->data->scores);
    }
    for (int32_t b = first_block; b < t->end && c->data->out; b += BLOCK_KV) {
        ptrdiff_t stride;
        const float *values = take_values(t, b, min32(b + BLOCK_KV, t->end) - b, &stride);
        for (int32_t n = 0; n < t->num_panels; n++) {
            const int32_t from = max32(t->panels[n].any_first, b);
            const int32_t to = min32(t->panels[n].any_end, b + BLOCK_KV);
            if (from < to)
                add_values(c, &t->panels[n], values + (from - b) * stride, stride, from, to - from,
                           t->scores + n * panel_scores + from * PANEL,
                           t->outs + n * PANEL * depth);
        }
    }
}

static void store_outputs(const task *t, int32_t n) {
    const sdpa_call *c = t->call;
    const attn_sdpa_desc *desc = c->desc;
    const panel *p = &t->panels[n];
    const softmax_state *state = &t->states[n];
    if (c->data->out) {
        float *out = t->outs + n * PANEL * desc->head_dim_v;
        float factor[PANEL];
        softmax_factors(state, factor);
        float *rows[PANEL];
        for (int r = 0; r < PANEL; r++)
            rows[r] = c->data->out + t->batch * desc->out.batch + p->head[r] * desc->out.head +
                      p->query[r] * desc->out.row;
        /* A row that saw nothing is 0 even where 0 times a removed key's value was NaN. */
        for (int r = 0; r < p->count; r++)
            if (state->row_sum[r] == 0.0f)
                for (int d = 0; d < desc->head_dim_v; d++)
                    out[d * PANEL + r] = 0.0f;
        if (t->value_exponent != 0) {
            for (int i = 0; i < desc->head_dim_v * PANEL; i++)
                out[i] *= factor[i % PANEL];
            for (int r = 0; r < PANEL; r++)
                factor[r] = ldexpf(1.0f, -t->value_exponent);
        }
        unpack_panel_f32(desc->head_dim_v, p->count, out, factor, rows);
    }
    if (c->data->logsumexp)
        for (int r = 0; r < p->count; r++) {
            const ptrdiff_t head = (ptrdiff_t)t->batch * desc->num_heads + p->head[r];
            c->data->logsumexp[head * desc->seq_len_q + p->query[r]] =
                softmax_logsumexp(state->row_max[r], state->row_sum[r]);
        }
}

static void run_task(void *context, int32_t index, int32_t thread) {
    task t;
    open_task(&t, context, index, thread);
    if (keeps_scores(t.call->data))
        attend_keeping_scores(&t);
    else
        attend_fused(&t);
    for (int32_t n = 0; n < t.num_panels; n++)
        store_outputs(&t, n);
}

void sdpa_plan_tiled(const sdpa_call *call, int32_t num_threads, sdpa_plan *plan) {
    const attn_sdpa_desc *desc = call->desc;
    const bool keeps = keeps_scores(call->data);
    const int64_t rows = (int64_t)(desc->num_heads / desc->num_kv_heads) * desc->seq_len_q;
    const int64_t stacks = (int64_t)desc->batch * desc->num_kv_heads;

    int64_t block_rows = BLOCK_Q;
    while (keeps && block_rows > PANEL && block_rows * desc->seq_len_kv > SCORES_FLOATS)
        block_rows /= 2;
    /* Enough tasks that the last ones to finish do not keep the other threads waiting for long. */
    while (num_threads > 1 && block_rows > 4 * PANEL &&
           stacks * ((rows - 1) / block_rows + 1) < 8 * num_threads)
        block_rows /= 2;
    if (rows < block_rows)
        block_rows = (rows + PANEL - 1) / PANEL * PANEL;
    const int64_t blocks = (rows - 1) / block_rows + 1;

    const uint64_t task_rows = (uint64_t)block_rows, head_dim = (uint64_t)desc->head_dim;
    const uint64_t thread_floats =
        task_rows * head_dim                     /* queries, [panel][head_dim][8] */
        + task_rows * (uint64_t)desc->head_dim_v /* outputs, [panel][head_dim_v][8] */
        + BLOCK_KV * head_dim                    /* packed keys */
        + BLOCK_KV * (uint64_t)desc->head_dim_v  /* scaled values */
        /* scores, [key][8], for each panel where they are kept */
        + (keeps ? task_rows * (uint64_t)desc->seq_len_kv : BLOCK_KV * PANEL);
    *plan = (sdpa_plan){
        .run_task = run_task,
        .stacked_rows = rows,
        .block_rows = (int32_t)block_rows,
        .blocks = (int32_t)blocks,
        .num_tasks = stacks * blocks,
        .thread_floats = (thread_floats + 3) & ~(uint64_t)3,
    };
}
