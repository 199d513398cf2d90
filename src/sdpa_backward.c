/* Gradients in float32: blocks of query rows against blocks of keys, on the panels of
 * sdpa_tiled.c, 8 query rows across the lanes.
 *
 *     for each block of BLOCK_Q rows                       pack query, grad_out; delta
 *         for each block of BLOCK_KV keys that some row sees          pack key, value
 *             for each panel of 8 rows that sees some of it
 *                 W[j][0..8) <- 2^(scale log2(e) key[j] . query[0..8) - log2(e) logsumexp[0..8))
 *                 G[j][0..8) <- W[j] (value[j] . grad_out[0..8) - delta[0..8))
 *                 grad_mask += G;  G <- G (1 - tanh^2)             where there are masks, softcap
 *                 grad_query[d][0..8) += sum_j key[j][d] G[j][0..8)
 *             grad_value[j][d] += sum_i W[j][i] grad_out[i][d]         over the block's rows
 *             grad_key[j][d]   += sum_i G[j][i] scale query[i][d]
 *         grad_query[i] <- scale grad_query
 *
 * (Dao 2023, FlashAttention-2, algorithm 2, with the loops the other way round: so grad_query is
 * what stays in the cache, and the workspace does not grow with the sequence.) Every element is
 * summed in the same order however the work is divided. */
#include <math.h>
#include <string.h>

#include "kernels/exp_f32.h"
#include "kernels/grad_f32.h"
#include "sdpa_backward_common.h"
#include "sdpa_f32.h"
#include "simd/f32x4.h"

/* With 64 x 60 everything that one block works on takes 150 KB at head_dim 64. Measured in V8: no
 * other of {32, 64, 128, 192} x {60, 96} is more than 3 % faster anywhere. */
#define BLOCK_Q 64
#define BLOCK_KV 60
#define MAX_PANELS (BLOCK_Q / PANEL)

/* Tasks of one kind: they write the gradients `which` (bits 1 << GRAD_...). Each is a part of the
 * call, or of such a part a run of query blocks or of key blocks. */
typedef struct side {
    unsigned which;
    int32_t parts, query_ranges, key_ranges; /* one of the ranges is 1 */
    int32_t query_blocks, key_blocks;        /* of a range */
    int64_t num_tasks;
} side;

/* The whole call is either one side, or keys and queries apart: dividing a part by keys leaves
 * grad_query to others, who then compute the scores again. */
typedef struct backward_call {
    const attn_sdpa_backward_desc *desc;
    const attn_sdpa_backward_f32_data *data;
    sdpa_call scores; /* for the steps between query . key and softmax */
    attn_sdpa_f32_data inputs;
    gradient gradients[NUM_GRADIENTS];
    unsigned wanted; /* bits 1 << GRAD_... */
    side sides[2];
    int64_t stacked_rows; /* (num_heads / num_kv_heads) * seq_len_q */
    int32_t block_rows;   /* at most BLOCK_Q, a multiple of PANEL */
    int32_t num_tasks;
    size_t thread_floats;
    float *workspace; /* [threads][thread_floats] */
} backward_call;

/* 8 rows of the stack. Those past its end and those that saw nothing are packed as zeros and see
 * nothing here. */
typedef struct panel {
    int32_t count; /* rows that are real */
    int32_t head[PANEL], query[PANEL];
    int32_t first[PANEL], end[PANEL]; /* visible keys of each row */
    int32_t any_first, any_end;       /* keys that some row sees lie in here */
    int32_t all_first, all_end;       /* keys that every live row sees */
    float live[PANEL];                /* 1, or 0 for a row that sees nothing */
    bool all_live;
    bool finite;           /* query and grad_out */
    float log2_sum[PANEL]; /* logsumexp in units of log 2 */
    float delta[PANEL];
} panel;

/* The workspace of one thread. Columns are of PANEL elements, the last padded with 0. */
typedef struct scratch {
    float *zeros;         /* [max(head_dim, head_dim_v)] */
    float *queries;       /* [panel][head_dim][PANEL], times scale (and log2 e) */
    float *grad_outs;     /* [panel][head_dim_v][PANEL] */
    float *grad_queries;  /* [panel][head_dim][PANEL] */
    float *outs;          /* [head_dim_v][PANEL]: of one panel */
    float *query_columns; /* [head_dim / PANEL][block_rows][PANEL], times scale */
    float *out_columns;   /* [head_dim_v / PANEL][block_rows][PANEL]: of grad_out */
    float *keys, *values; /* [BLOCK_KV * head_dim], [BLOCK_KV * head_dim_v], packed */
    float *weights;       /* [panel][BLOCK_KV][PANEL] */
    float *grads;         /* the same: gradients of the scores */
    float *slopes;        /* [BLOCK_KV][PANEL]: derivative of softcap */
} scratch;

/* Takes n * size floats of a workspace that has *used so far. base may be NULL, to count only. */
static float *take(float *base, uint64_t *used, uint64_t n, uint64_t size, bool *fits) {
    float *piece = base ? base + *used : NULL;
    *fits = *fits && add_product(used, n, size, PTRDIFF_MAX / sizeof(float) - 3);
    *used = (*used + 3) & ~(uint64_t)3;
    return piece;
}

static bool lay_out(const backward_call *c, float *base, scratch *s, uint64_t *floats) {
    const attn_sdpa_desc *forward = &c->desc->forward;
    const uint64_t rows = (uint64_t)c->block_rows, dim = (uint64_t)forward->head_dim,
                   dim_v = (uint64_t)forward->head_dim_v;
    const uint64_t columns = (dim + PANEL - 1) / PANEL, columns_v = (dim_v + PANEL - 1) / PANEL;
    bool fits = true;
    *floats = 0;
    s->zeros = take(base, floats, 1, dim > dim_v ? dim : dim_v, &fits);
    s->queries = take(base, floats, rows, dim, &fits);
    s->grad_outs = take(base, floats, rows, dim_v, &fits);
    s->grad_queries = take(base, floats, rows, dim, &fits);
    s->outs = take(base, floats, PANEL, dim_v, &fits);
    s->query_columns = take(base, floats, rows, columns * PANEL, &fits);
    s->out_columns = take(base, floats, rows, columns_v * PANEL, &fits);
    s->keys = take(base, floats, BLOCK_KV, dim, &fits);
    s->values = take(base, floats, BLOCK_KV, dim_v, &fits);
    s->weights = take(base, floats, rows, BLOCK_KV, &fits);
    s->grads = take(base, floats, rows, BLOCK_KV, &fits);
    s->slopes = take(base, floats, BLOCK_KV, PANEL, &fits);
    return fits;
}

static bool wants(const backward_call *c, unsigned which, int g) {
    return (which & c->wanted & (1u << g)) != 0;
}

static bool all_finite(const float *x, int count) {
    f32x4 acc = f32x4_zero();
    int k = 0;
    for (; k + 4 <= count; k += 4)
        acc = f32x4_madd(f32x4_load(x + k), f32x4_zero(), acc);
    acc = f32x4_madd(f32x4_load_n(x + k, count - k), f32x4_zero(), acc);
    return f32x4_sum(acc) == 0.0f;
}

/* Rows first_row ... of the stack, packed as panel number n of the block. */
static __attribute__((noinline)) void load_panel(const backward_call *c, const scratch *s,
                                                 int32_t batch, int32_t kv_head, int64_t first_row,
                                                 int32_t n, panel *p) {
    const attn_sdpa_desc *forward = &c->desc->forward;
    const int32_t head_dim = forward->head_dim, head_dim_v = forward->head_dim_v;
    const int32_t group = forward->num_heads / forward->num_kv_heads;
    const int64_t left = c->stacked_rows - first_row;
    const float *queries[PANEL], *outs[PANEL], *grad_outs[PANEL];
    p->count = left < PANEL ? (int32_t)left : PANEL;
    p->any_first = p->all_end = forward->seq_len_kv;
    p->any_end = p->all_first = 0;
    p->all_live = p->finite = true;
    for (int32_t r = 0; r < PANEL; r++) {
        const int64_t row = first_row + min32(r, p->count - 1);
        p->head[r] = kv_head * group + (int32_t)(row / forward->seq_len_q);
        p->query[r] = (int32_t)(row % forward->seq_len_q);
        sdpa_visible(forward, batch, p->query[r], &p->first[r], &p->end[r]);
        const float logsumexp =
            c->data->logsumexp[((ptrdiff_t)batch * forward->num_heads + p->head[r]) *
                                   forward->seq_len_q +
                               p->query[r]];
        if (r >= p->count || p->first[r] == p->end[r] || logsumexp == -INFINITY) {
            p->first[r] = p->end[r] = 0;
            p->all_live = false;
            p->live[r] = p->log2_sum[r] = 0.0f;
            queries[r] = outs[r] = grad_outs[r] = s->zeros;
        } else {
            p->any_first = min32(p->any_first, p->first[r]);
            p->any_end = max32(p->any_end, p->end[r]);
            p->all_first = max32(p->all_first, p->first[r]);
            p->all_end = min32(p->all_end, p->end[r]);
            p->live[r] = 1.0f;
            p->log2_sum[r] = (float)log2_from_score(logsumexp);
            queries[r] = c->data->query + batch * forward->query.batch +
                         p->head[r] * forward->query.head + p->query[r] * forward->query.row;
            grad_outs[r] = c->data->grad_out + batch * c->desc->grad_out.batch +
                           p->head[r] * c->desc->grad_out.head +
                           p->query[r] * c->desc->grad_out.row;
            outs[r] = c->data->out + batch * forward->out.batch + p->head[r] * forward->out.head +
                      p->query[r] * forward->out.row;
            p->finite = p->finite && all_finite(queries[r], head_dim) &&
                        all_finite(grad_outs[r], head_dim_v);
        }
        const ptrdiff_t at = ((ptrdiff_t)n * PANEL + r) * PANEL;
        pack_columns_f32(head_dim, queries[r], (float)forward->scale, s->query_columns + at,
                         (ptrdiff_t)c->block_rows * PANEL);
        pack_columns_f32(head_dim_v, grad_outs[r], 1.0f, s->out_columns + at,
                         (ptrdiff_t)c->block_rows * PANEL);
    }
    if (p->any_first >= p->any_end)
        p->any_first = p->any_end = 0;
    if (p->all_end < p->all_first)
        p->all_end = p->all_first = p->any_end;
    pack_panel_f32(head_dim, queries, c->scores.query_scale,
                   s->queries + (ptrdiff_t)n * PANEL * head_dim);
    float *grad_out = s->grad_outs + (ptrdiff_t)n * PANEL * head_dim_v;
    pack_panel_f32(head_dim_v, grad_outs, 1.0f, grad_out);
    /* In the order in which value . grad_out is summed: where one key has all the weight, their
     * difference is exactly 0. */
    pack_panel_f32(head_dim_v, outs, 1.0f, s->outs);
    dot_panels_f32(head_dim_v, s->outs, grad_out, p->delta);
    memset(s->grad_queries + (ptrdiff_t)n * PANEL * head_dim, 0,
           sizeof(float) * PANEL * (size_t)head_dim);
}

/* Keys first .. first + keys - 1 of one batch element and key/value head, against the panels of a
 * block of rows. */
typedef struct key_block {
    unsigned which;
    bool needs_grads; /* more than grad_value is wanted */
    int32_t batch, kv_head;
    int32_t first, keys;
    const float *key, *value; /* row 0 of this head */
} key_block;

static bool sees_all(const panel *p, int32_t from, int32_t to) {
    return from >= p->all_first && to <= p->all_end;
}

/* 0 for the pairs outside a row's own limits, whatever was computed there. w, g: of key `from`. */
static void apply_limits(const panel *p, int32_t from, int32_t to, float *w, float *g) {
    for (int32_t key = from; key < to; key++) {
        if (key >= p->all_first && key < p->all_end) {
            key = min32(p->all_end, to) - 1;
            continue;
        }
        for (int r = 0; r < PANEL; r++)
            if (key < p->first[r] || key >= p->end[r])
                w[(key - from) * PANEL + r] = g[(key - from) * PANEL + r] = 0.0f;
    }
}

/* g of keys from .. to - 1 into the gradients of the masks. */
static void add_to_masks(const backward_call *c, const key_block *k, const panel *p, int32_t from,
                         int32_t to, const float *g) {
    for (int m = 0; m < 2; m++) {
        if (!wants(c, k->which, GRAD_MASKS + m))
            continue;
        const attn_mask_strides *strides = &c->desc->grad_masks[m];
        const int32_t keys =
            min32(to, sdpa_mask_keys(&c->desc->forward, &c->desc->forward.masks[m])) - from;
        if (keys <= 0)
            continue;
        float *rows[PANEL];
        for (int r = 0; r < PANEL; r++)
            rows[r] = c->data->grad_masks[m] + k->batch * strides->batch +
                      p->head[r] * strides->head + p->query[r] * strides->query +
                      from * strides->key;
        if (strides->key == 1)
            add_panel_f32(keys, p->count, g, 1.0f, rows);
        else
            for (int r = 0; r < p->count; r++)
                for (int32_t j = 0; j < keys; j++)
                    rows[r][j * strides->key] += g[j * PANEL + r];
    }
}

/* s <- 1 - (s / softcap)^2, of scores after softcap */
static void softcap_slopes(float softcap, int count, const float *s, float *slopes) {
    const f32x4 inverse = f32x4_splat(1.0f / softcap), one = f32x4_splat(1.0f);
    for (int i = 0; i < count; i += 4) {
        const f32x4 t = f32x4_mul(f32x4_load(s + i), inverse);
        f32x4_store(slopes + i, f32x4_mul(f32x4_sub(one, t), f32x4_add(one, t)));
    }
}

static void multiply(int count, const float *by, float *x) {
    for (int i = 0; i < count; i += 4)
        f32x4_store(x + i, f32x4_mul(f32x4_load(x + i), f32x4_load(by + i)));
}

/* grad_query of a panel += sum_j key[j] g[j] over keys from .. to - 1. A key that only some rows
 * may read has g 0 for the others; where it is NaN or infinite, 0 times it would leak into them. */
static void add_keys(const backward_call *c, const key_block *k, const panel *p, int32_t from,
                     int32_t to, const float *g, float *grad_query) {
    const int32_t depth = c->desc->forward.head_dim;
    const ptrdiff_t stride = c->desc->forward.key.row;
    bool leaks = false;
    for (int32_t key = from; key < to && !leaks; key++) {
        if (key >= p->all_first && key < p->all_end)
            key = min32(p->all_end, to) - 1;
        else
            leaks = !all_finite(k->key + key * stride, depth);
    }
    if (!leaks) {
        product_add_f32(depth, to - from, k->key + from * stride, stride, g, grad_query);
        return;
    }
    for (int32_t key = from; key < to; key++)
        for (int r = 0; r < PANEL; r++)
            if (key >= p->first[r] && key < p->end[r])
                for (int32_t d = 0; d < depth; d++)
                    grad_query[d * PANEL + r] +=
                        g[(key - from) * PANEL + r] * k->key[key * stride + d];
}

/* weights and grads of panel n for every key of the block, and what they add to grad_query and the
 * masks. Outside from .. to - 1 the panel sees none of them. */
static void run_panel(const backward_call *c, const key_block *k, const scratch *s, int32_t n,
                      const panel *p, int32_t from, int32_t to) {
    const attn_sdpa_desc *forward = &c->desc->forward;
    const int32_t head_dim = forward->head_dim, head_dim_v = forward->head_dim_v;
    float *w = s->weights + (ptrdiff_t)n * BLOCK_KV * PANEL;
    float *g = s->grads + (ptrdiff_t)n * BLOCK_KV * PANEL;
    /* A run of packed tiles starts at a tile and, but for the block's last, ends at one. */
    const int32_t start = (from - k->first) / TILE_ROWS * TILE_ROWS;
    const int32_t stop = min32((to - k->first + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, k->keys);
    from = k->first + start;
    float *const w0 = w + start * PANEL, *const g0 = g + start * PANEL;
    const int keys = to - from;

    product_packed_f32(stop - start, head_dim, s->keys + (ptrdiff_t)start * head_dim,
                       s->queries + (ptrdiff_t)n * PANEL * head_dim, w0, PANEL);
    if (c->scores.adjusts) {
        const score_block block = {w0, k->batch, PANEL, p->head, p->query, from, keys};
        scores_softcap(&c->scores, &block);
        if (forward->softcap > 0)
            softcap_slopes((float)forward->softcap, keys * PANEL, w0, s->slopes);
        scores_bias(&c->scores, &block);
        scores_to_log2(&block);
    }
    weights_panel_f32(keys, w0, p->log2_sum);
    if (k->needs_grads) {
        product_packed_f32(stop - start, head_dim_v, s->values + (ptrdiff_t)start * head_dim_v,
                           s->grad_outs + (ptrdiff_t)n * PANEL * head_dim_v, g0, PANEL);
        grad_scores_f32(keys, w0, p->delta, g0);
    } else {
        memset(g0, 0, sizeof(float) * PANEL * (size_t)keys);
    }
    if (!p->all_live) {
        drop_lanes_f32(keys, p->live, w0);
        drop_lanes_f32(keys, p->live, g0);
    }
    if (!sees_all(p, from, to))
        apply_limits(p, from, to, w0, g0);

    add_to_masks(c, k, p, from, to, g0);
    if (forward->softcap > 0)
        multiply(keys * PANEL, s->slopes, g0);
    if (wants(c, k->which, GRAD_QUERY))
        add_keys(c, k, p, from, to, g0, s->grad_queries + (ptrdiff_t)n * PANEL * head_dim);

    memset(w, 0, sizeof(float) * PANEL * (size_t)start);
    memset(g, 0, sizeof(float) * PANEL * (size_t)start);
    memset(w + (start + keys) * PANEL, 0, sizeof(float) * PANEL * (size_t)(k->keys - start - keys));
    memset(g + (start + keys) * PANEL, 0, sizeof(float) * PANEL * (size_t)(k->keys - start - keys));
}

/* What panels n .. n + count - 1 add to one of grad_key and grad_value, for the block's keys start
 * .. stop - 1: tile by tile, each from the first to the last of the panels that see some of it.
 *   a        grads or weights;  columns  query_columns or out_columns */
static void add_rows(const backward_call *c, const key_block *k, const panel *panels, int32_t n,
                     int32_t count, int32_t start, int32_t stop, const float *a,
                     const float *columns, int g) {
    const gradient *to = &c->gradients[g];
    const int32_t depth = to->sizes[3];
    const ptrdiff_t stride = to->strides[2];
    const bool overlap = rows_overlap(2, stride, depth);
    for (int32_t j = start; j < stop; j += TILE_ROWS) {
        const int32_t rows = min32(TILE_ROWS, stop - j), key = k->first + j;
        int32_t first = n, end = n + count;
        while (first < end &&
               (panels[first].any_end <= key || panels[first].any_first >= key + rows))
            first++;
        while (first < end &&
               (panels[end - 1].any_end <= key || panels[end - 1].any_first >= key + rows))
            end--;
        const float *from = a + ((ptrdiff_t)first * BLOCK_KV + j) * PANEL;
        const float *column = columns + (ptrdiff_t)first * PANEL * PANEL;
        float *row = (float *)to->data + k->batch * to->strides[0] + k->kv_head * to->strides[1] +
                     key * stride;
        for (int32_t d = 0; d < depth && first < end; d += PANEL) {
            const int32_t width = min32(PANEL, depth - d);
            if (width == PANEL && !overlap) {
                product_panels_f32(rows, end - first, from, BLOCK_KV * PANEL, column, row + d,
                                   stride);
            } else {
                float sums[TILE_ROWS * PANEL] = {0};
                product_panels_f32(rows, end - first, from, BLOCK_KV * PANEL, column, sums, PANEL);
                for (int32_t r = 0; r < rows; r++)
                    for (int32_t l = 0; l < width; l++)
                        row[r * stride + d + l] += sums[r * PANEL + l];
            }
            column += (ptrdiff_t)c->block_rows * PANEL;
        }
    }
}

/* The same for one panel of which some row is NaN or infinite, pair by pair: only the keys that a
 * row sees may have it. */
static void add_visible_rows(const backward_call *c, const key_block *k, int32_t n, const panel *p,
                             const float *a, const float *columns, int g) {
    const gradient *to = &c->gradients[g];
    for (int32_t j = 0; j < k->keys; j++) {
        const int32_t key = k->first + j;
        float *row = (float *)to->data + k->batch * to->strides[0] + k->kv_head * to->strides[1] +
                     key * to->strides[2];
        for (int32_t r = 0; r < PANEL; r++) {
            if (key < p->first[r] || key >= p->end[r])
                continue;
            const float factor = a[((ptrdiff_t)n * BLOCK_KV + j) * PANEL + r];
            for (int32_t d = 0; d < to->sizes[3]; d++)
                row[d] += factor *
                          columns[((ptrdiff_t)d / PANEL * c->block_rows + n * PANEL + r) * PANEL +
                                  d % PANEL];
        }
    }
}

static __attribute__((noinline)) void run_block(const backward_call *c, const key_block *k,
                                                const scratch *s, int32_t num_panels,
                                                const panel *panels) {
    const attn_sdpa_desc *forward = &c->desc->forward;
    pack_rows_f32(k->keys, forward->head_dim, k->key + k->first * forward->key.row,
                  forward->key.row, s->keys);
    pack_rows_f32(k->keys, forward->head_dim_v, k->value + k->first * forward->value.row,
                  forward->value.row, s->values);

    const struct {
        int gradient;
        const float *a, *columns;
    } products[2] = {{GRAD_VALUE, s->weights, s->out_columns},
                     {GRAD_KEY, s->grads, s->query_columns}};
    /* Neighbouring panels that see something are summed over in one go. */
    int32_t run = 0, start = k->keys, stop = 0;
    for (int32_t n = 0; n <= num_panels; n++) {
        bool joins = false;
        if (n < num_panels) {
            const panel *p = &panels[n];
            const int32_t from = max32(p->any_first, k->first);
            const int32_t to = min32(p->any_end, k->first + k->keys);
            if (from < to) {
                run_panel(c, k, s, n, p, from, to);
                joins = p->finite || sees_all(p, k->first, k->first + k->keys);
                for (int i = 0; i < 2 && !joins; i++)
                    if (wants(c, k->which, products[i].gradient))
                        add_visible_rows(c, k, n, p, products[i].a, products[i].columns,
                                         products[i].gradient);
            }
            if (joins) {
                run++;
                start = min32(start, from - k->first);
                stop = max32(stop, to - k->first);
            }
        }
        if (!joins && run > 0) {
            for (int i = 0; i < 2; i++)
                if (wants(c, k->which, products[i].gradient))
                    add_rows(c, k, panels, n - run, run, start, stop, products[i].a,
                             products[i].columns, products[i].gradient);
            run = 0, start = k->keys, stop = 0;
        }
    }
}

static void store_queries(const backward_call *c, const scratch *s, int32_t batch, int32_t n,
                          const panel *p) {
    const attn_strides *strides = &c->desc->grad_query;
    const int32_t head_dim = c->desc->forward.head_dim;
    float *panel = s->grad_queries + (ptrdiff_t)n * PANEL * head_dim;
    float *rows[PANEL];
    for (int r = 0; r < PANEL; r++)
        rows[r] = c->data->grad_query + batch * strides->batch + p->head[r] * strides->head +
                  p->query[r] * strides->row;
    /* A row that saw nothing is 0 even where 0 times a key was NaN. */
    if (!p->all_live)
        drop_lanes_f32(head_dim, p->live, panel);
    add_panel_f32(head_dim, p->count, panel, (float)c->desc->forward.scale, rows);
}

/* One block of rows against keys first_key .. end_key - 1. */
static void run_rows(const backward_call *c, const scratch *s, unsigned which, int32_t batch,
                     int32_t kv_head, int64_t first_row, int32_t first_key, int32_t end_key) {
    const attn_sdpa_desc *forward = &c->desc->forward;
    panel panels[MAX_PANELS];
    const int64_t left = c->stacked_rows - first_row;
    const int32_t num_panels =
        ((left < c->block_rows ? (int32_t)left : c->block_rows) + PANEL - 1) / PANEL;
    int32_t first = end_key, end = first_key;
    for (int32_t n = 0; n < num_panels; n++) {
        load_panel(c, s, batch, kv_head, first_row + n * PANEL, n, &panels[n]);
        if (panels[n].any_first < panels[n].any_end) {
            first = min32(first, max32(panels[n].any_first, first_key));
            end = max32(end, min32(panels[n].any_end, end_key));
        }
    }
    key_block k = {
        .which = which,
        .needs_grads = (which & c->wanted & ~(1u << GRAD_VALUE)) != 0,
        .batch = batch,
        .kv_head = kv_head,
        .key = c->data->key + batch * forward->key.batch + kv_head * forward->key.head,
        .value = c->data->value + batch * forward->value.batch + kv_head * forward->value.head,
    };
    /* Blocks lie at multiples of BLOCK_KV, wherever a range begins. */
    for (int64_t b = first / BLOCK_KV * BLOCK_KV; b < end; b += BLOCK_KV) {
        k.first = (int32_t)b;
        k.keys = min32(BLOCK_KV, end - k.first);
        run_block(c, &k, s, num_panels, panels);
    }
    for (int32_t n = 0; n < num_panels && wants(c, which, GRAD_QUERY); n++)
        store_queries(c, s, batch, n, &panels[n]);
}

static void run_task(void *context, int32_t task, int32_t thread) {
    const backward_call *c = context;
    const attn_sdpa_desc *forward = &c->desc->forward;
    const side *own = &c->sides[0];
    if (task >= own->num_tasks) {
        task -= (int32_t)own->num_tasks;
        own++;
    }
    scratch s;
    uint64_t floats;
    lay_out(c, c->workspace + (size_t)thread * c->thread_floats, &s, &floats);
    memset(s.zeros, 0, sizeof(float) * (size_t)max32(forward->head_dim, forward->head_dim_v));

    const int32_t ranges = own->query_ranges * own->key_ranges;
    const backward_part part = backward_part_at(forward, c->gradients, own->which, task / ranges);
    /* Under a causal mask the first keys and the last rows have most to do: they begin. */
    const int32_t key_range = own->key_ranges > 1 ? task % ranges : 0;
    const int32_t query_range = own->query_ranges > 1 ? ranges - 1 - task % ranges : 0;
    const int64_t keys = (int64_t)own->key_blocks * BLOCK_KV;
    const int32_t first_key = (int32_t)(key_range * keys);
    const int32_t end_key =
        forward->seq_len_kv - first_key > keys ? (int32_t)(first_key + keys) : forward->seq_len_kv;
    const int64_t rows = (int64_t)own->query_blocks * c->block_rows;
    const int64_t first_row = query_range * rows;
    const int64_t end_row = c->stacked_rows - first_row > rows ? first_row + rows : c->stacked_rows;

    for (int g = 0; g < NUM_GRADIENTS; g++) {
        if (!wants(c, own->which, g))
            continue;
        backward_box box = backward_box_of(forward, c->gradients, g, &part);
        const int axis = g < GRAD_MASKS ? 2 : 3; /* of keys */
        if (g != GRAD_QUERY) {
            box.first[axis] = first_key;
            box.count[axis] = max32(min32(end_key, box.count[axis]) - first_key, 0);
            gradient_clear(&c->gradients[g], &box, sizeof(float));
            continue;
        }
        if (own->query_ranges == 1) {
            gradient_clear(&c->gradients[g], &box, sizeof(float));
            continue;
        }
        /* The part is one batch element and key/value head, or would not be divided. */
        const int32_t first_head = box.first[1];
        for (int64_t row = first_row; row < end_row;) {
            const int64_t head = row / forward->seq_len_q;
            const int64_t head_end = (head + 1) * forward->seq_len_q;
            const int64_t next = head_end < end_row ? head_end : end_row;
            box.first[1] = first_head + (int32_t)head, box.count[1] = 1;
            box.first[2] = (int32_t)(row % forward->seq_len_q);
            box.count[2] = (int32_t)(next - row);
            gradient_clear(&c->gradients[g], &box, sizeof(float));
            row = next;
        }
    }
    for (int32_t b = part.first_batch; b < part.first_batch + part.batches; b++)
        for (int32_t h = part.first_kv_head; h < part.first_kv_head + part.kv_heads; h++)
            for (int64_t row = first_row; row < end_row; row += c->block_rows)
                run_rows(c, &s, own->which, b, h, row, first_key, end_key);
}

/* The plan */

static int32_t ceil_div(int64_t a, int64_t b) {
    return (int32_t)((a + b - 1) / b);
}

/* Products of a pair of blocks that the tasks of a side compute: the scores, the gradients of the
 * weights, and one for each gradient. */
static int side_cost(unsigned which) {
    int cost = 1 + (which & ~(1u << GRAD_VALUE) ? 1 : 0);
    for (int g = 0; g < GRAD_MASKS; g++)
        cost += which >> g & 1;
    return cost;
}

static bool all_divide(const backward_call *c, unsigned which, int g, int axis) {
    return !wants(c, which, g) || gradient_divides(&c->gradients[g], axis);
}

/* A side whose parts are divided further until there are enough tasks for the threads, or until
 * they can be divided no more. */
static side plan_side(const backward_call *c, unsigned which, int64_t parts, int32_t num_threads) {
    const int32_t query_blocks = ceil_div(c->stacked_rows, c->block_rows);
    const int32_t key_blocks = ceil_div(c->desc->forward.seq_len_kv, BLOCK_KV);
    side s = {which, (int32_t)parts, 1, 1, query_blocks, key_blocks, parts};
    /* Some more tasks than threads, so that the last one to finish is not waited for too long. */
    const int64_t ranges = num_threads > 1 ? (4 * (int64_t)num_threads - 1) / parts + 1 : 1;
    if (ranges == 1)
        return s;
    if (which == 1u << GRAD_QUERY) {
        if (all_divide(c, which, GRAD_QUERY, 1) && all_divide(c, which, GRAD_QUERY, 2)) {
            s.query_blocks = ceil_div(query_blocks, ranges);
            s.query_ranges = ceil_div(query_blocks, s.query_blocks);
        }
    } else if (!wants(c, which, GRAD_QUERY) && key_blocks > 0 &&
               all_divide(c, which, GRAD_KEY, 2) && all_divide(c, which, GRAD_VALUE, 2) &&
               all_divide(c, which, GRAD_MASKS, 3) && all_divide(c, which, GRAD_MASKS + 1, 3)) {
        s.key_blocks = ceil_div(key_blocks, ranges);
        s.key_ranges = ceil_div(key_blocks, s.key_blocks);
    }
    s.num_tasks *= (int64_t)s.query_ranges * s.key_ranges;
    return s;
}

/* How long the tasks of one side take on these threads, in products of a whole call; and how long
 * those of two do, which are many and shared evenly but where a side could not be divided. */
static double time_of_one(const side *s, int32_t num_threads) {
    const double tasks = (double)s->num_tasks;
    return side_cost(s->which) * ceil(tasks / num_threads) / tasks;
}

static double time_of_two(const side s[2], int32_t num_threads) {
    const double cost[2] = {side_cost(s[0].which), side_cost(s[1].which)};
    const double longest = fmax(cost[0] / (double)s[0].num_tasks, cost[1] / (double)s[1].num_tasks);
    return fmax((cost[0] + cost[1]) / num_threads, longest);
}

static attn_status plan_sides(backward_call *c, int32_t num_threads) {
    const attn_sdpa_desc *forward = &c->desc->forward;
    const unsigned query = c->wanted & 1u << GRAD_QUERY, keys = c->wanted & ~query;
    const unsigned which[3] = {c->wanted, keys, query};
    side sides[3];
    for (int i = 0; i < 3; i++) {
        const int64_t parts = backward_num_parts(forward, c->gradients, which[i]);
        /* Not too many tasks in sum, either. */
        if (parts > INT32_MAX / 2)
            return ATTN_ERR_SIZE;
        sides[i] = plan_side(c, which[i], parts, num_threads);
        if (sides[i].num_tasks > INT32_MAX / 2)
            return ATTN_ERR_SIZE;
    }
    /* Two products more for the same result should be worth it. */
    const bool apart =
        query && keys &&
        1.1 * time_of_two(&sides[1], num_threads) < time_of_one(&sides[0], num_threads);
    c->sides[0] = apart ? sides[1] : sides[0];
    if (apart)
        c->sides[1] = sides[2];
    c->num_tasks = (int32_t)(c->sides[0].num_tasks + (apart ? c->sides[1].num_tasks : 0));
    return ATTN_OK;
}

/* A call ready to run, but for its workspace, and how many bytes that takes. *threads becomes NULL
 * where the work is too small to share. */
static attn_status plan_call(const attn_sdpa_backward_desc *desc,
                             const attn_sdpa_backward_f32_data *data, attn_threads **threads,
                             backward_call *c, size_t *bytes) {
    if (!desc || !data)
        return ATTN_ERR_NULL;
    const attn_sdpa_desc *forward = &desc->forward;
    const backward_tensors tensors = {
        .query = data->query,
        .key = data->key,
        .value = data->value,
        .alibi_slopes = data->alibi_slopes,
        .out = data->out,
        .logsumexp = data->logsumexp,
        .grad_out = data->grad_out,
        .grad_query = data->grad_query,
        .grad_key = data->grad_key,
        .grad_value = data->grad_value,
        .grad_masks = {data->grad_masks[0], data->grad_masks[1]},
    };
    *c = (backward_call){.desc = desc, .data = data};
    *bytes = 0;
    attn_status status = backward_check(desc, &tensors, sizeof(float), c->gradients);
    if (status != ATTN_OK)
        return status;
    for (int g = 0; g < NUM_GRADIENTS; g++)
        if (c->gradients[g].data)
            c->wanted |= 1u << g;
    if (forward->batch == 0 || c->wanted == 0)
        return ATTN_OK;

    c->inputs.alibi_slopes = data->alibi_slopes;
    c->scores.desc = forward;
    c->scores.adjusts = forward->softcap > 0 || data->alibi_slopes ||
                        forward->masks[0].kind != ATTN_MASK_NONE ||
                        forward->masks[1].kind != ATTN_MASK_NONE;
    c->scores.query_scale = (float)(c->scores.adjusts ? forward->scale : forward->scale * LOG2_E);
    c->stacked_rows = (int64_t)(forward->num_heads / forward->num_kv_heads) * forward->seq_len_q;
    c->block_rows = BLOCK_Q;
    if (c->stacked_rows < BLOCK_Q)
        c->block_rows = ((int32_t)c->stacked_rows + PANEL - 1) / PANEL * PANEL;
    if (c->block_rows == 0)
        c->block_rows = PANEL;

    /* Five products of this size, or fewer. */
    const double work = 2.5 * forward->batch * forward->num_heads * forward->seq_len_q *
                        forward->seq_len_kv * ((double)forward->head_dim + forward->head_dim_v);
    *threads = parallel_pool(*threads, work);
    status = plan_sides(c, attn_threads_count(*threads));
    if (status != ATTN_OK)
        return status;
    scratch s;
    uint64_t floats, all = 0;
    if (!lay_out(c, NULL, &s, &floats) || !add_product(&all, (uint64_t)attn_threads_count(*threads),
                                                       floats, PTRDIFF_MAX / sizeof(float)))
        return ATTN_ERR_SIZE;
    c->thread_floats = (size_t)floats;
    *bytes = (size_t)all * sizeof(float);
    return ATTN_OK;
}

attn_status attn_sdpa_backward_f32_workspace(const attn_sdpa_backward_desc *desc,
                                             const attn_sdpa_backward_f32_data *data,
                                             const attn_threads *threads, size_t *bytes,
                                             int32_t *num_tasks) {
    backward_call call;
    size_t needed;
    attn_threads *pool = (attn_threads *)threads;
    const attn_status status = plan_call(desc, data, &pool, &call, &needed);
    if (status != ATTN_OK)
        return status;
    if (bytes)
        *bytes = needed;
    if (num_tasks)
        *num_tasks = call.num_tasks;
    return ATTN_OK;
}

attn_status attn_sdpa_backward_f32(const attn_sdpa_backward_desc *desc,
                                   const attn_sdpa_backward_f32_data *data, const attn_exec *exec) {
    backward_call call;
    size_t needed;
    int32_t first, end;
    attn_threads *threads = exec ? exec->threads : NULL;
    attn_status status = plan_call(desc, data, &threads, &call, &needed);
    if (status == ATTN_OK)
        status = exec_check(exec, needed, call.num_tasks, &first, &end);
    if (status != ATTN_OK || first == end)
        return status;
    call.scores.data = &call.inputs;
    call.workspace = exec->workspace;
    parallel_for(threads, first, end, run_task, &call);
    return ATTN_OK;
}
