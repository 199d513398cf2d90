/* Few queries against many keys, as in decoding with a cache: memory-bound. Keys and values are
 * read once, as they lie, in blocks that stay in the first-level cache for all query rows of the
 * key/value head:
 *
 *     for each block of DECODE_KEYS keys
 *         for each row, over the keys of the block that it may read
 *             s[j]   <- scale log2(e) key[j] . query          softcap, ALiBi, masks
 *             max, sum <- online softmax, s <- 2^(s - max)
 *             out[d] <- out[d] + sum_j s[j] value[j][d]
 *
 * Where keys or values hold tiny numbers, a scaled copy of the block is read instead. Where keys and
 * values come in parts, what is kept from part to part stays in the workspace. */
#include <math.h>
#include <string.h>

#include "kernels/additive_f32.h"
#include "kernels/softmax_f32.h"
#include "kernels/tiny_f32.h"
#include "sdpa_f32.h"
#include "simd/f32x4.h"

/* Of one task, from part to part. */
typedef struct progress {
    softmax_row rows[DECODE_ROWS];
    int32_t next_key; /* where the next part begins */
    int32_t gave_up;  /* a part held tiny numbers */
} progress;

#define PROGRESS_FLOATS ((sizeof(progress) + 15) / 16 * 4)

/* The first thing in a thread's workspace. */
static progress *progress_of(float *workspace) {
    return (progress *)workspace;
}

/* A block of keys or of values of one key/value head, and where it is read. */
typedef struct source {
    const float *rows; /* of the head, from key first on: [.., depth] */
    int32_t first;
    ptrdiff_t stride;
    int32_t depth;
    float *copy;  /* [DECODE_KEYS, depth] */
    float limit;  /* a number below it is tiny */
    int target;   /* exponent of a copy's largest number */
    bool tiny;    /* tiny numbers were found, or are not looked for */
    int exponent; /* of the copies, where largest > 0 */
    float largest, cut;
} source;

static const float *row_of(const source *s, int32_t key) {
    return s->rows + (key - s->first) * s->stride;
}

/* Whether there are tiny numbers, not known of yet, in one vector of every fifth key. (Of each key, and before
 * every block is read: one query took 1.1 to 1.15 times as long, 1.04 where the keys are copied in.) */
static bool finds_tiny(const source *s, int32_t block, int32_t keys) {
    const int32_t every = 5, skipped = block / DECODE_KEYS % every; /* others in each block */
    return !s->tiny && keys > skipped &&
           has_tiny_f32((keys - skipped + every - 1) / every, s->depth, row_of(s, block + skipped),
                        every * s->stride, s->limit);
}

/* From now on copies are read; this says how the keys first .. end - 1 are to be scaled. */
static void use_copies(source *s, int32_t first, int32_t end) {
    s->tiny = true;
    s->largest = largest_f32(end - first, s->depth, row_of(s, first), s->stride);
    if (s->largest == INFINITY)
        s->largest = 0.0f;
    s->exponent = rescale_exponent(s->largest, s->target);
}

static const float *take_block(const source *s, int32_t block, int32_t keys, ptrdiff_t *stride) {
    const float *from = row_of(s, block);
    *stride = s->stride;
    if (s->largest == 0.0f)
        return from;
    for (int32_t j = 0; j < keys; j++)
        rescale_f32(s->depth, from + j * s->stride, s->exponent, s->cut, s->copy + j * s->depth);
    *stride = s->depth;
    return s->copy;
}

/* to <- factor * from; four at a time: one by one it was a fifth of the time of 4 queries and keys. */
static void scale_row(int32_t count, const float *from, float factor, float *to) {
    const f32x4 scale = f32x4_splat(factor);
    int32_t d = 0;
    for (; d + 4 <= count; d += 4)
        f32x4_store(to + d, f32x4_mul(f32x4_load(from + d), scale));
    f32x4_store_n(to + d, f32x4_mul(f32x4_load_n(from + d, count - d), scale), count - d);
}

static void run_task(void *context, int32_t task, int32_t thread) {
    const sdpa_call *call = context;
    const attn_sdpa_desc *desc = call->desc;
    const int32_t head_dim = desc->head_dim, head_dim_v = desc->head_dim_v;
    const int32_t rows = (int32_t)call->plan.stacked_rows;
    const int32_t group = desc->num_heads / desc->num_kv_heads;
    const int32_t batch = task / desc->num_kv_heads, kv_head = task % desc->num_kv_heads;

    float *workspace = call->workspace + (size_t)thread * call->plan.thread_floats;
    progress *kept = progress_of(workspace);
    softmax_row *state = kept->rows;
    float *queries = workspace + PROGRESS_FLOATS;
    float *outs = queries + (ptrdiff_t)rows * head_dim;
    source key = {
        .rows = call->data->key + batch * desc->key.batch + kv_head * desc->key.head,
        .first = call->part_first,
        .stride = desc->key.row,
        .depth = head_dim,
        .copy = outs + (ptrdiff_t)rows * head_dim_v,
        .tiny = call->additive != NULL, /* a sum is not to be scaled: do not look */
    };
    source value = {
        .rows = call->data->value + batch * desc->value.batch + kv_head * desc->value.head,
        .first = call->part_first,
        .stride = desc->value.row,
        .depth = head_dim_v,
        .copy = key.copy + (ptrdiff_t)DECODE_KEYS * head_dim,
        .limit = TINY_VALUE,
        .target = VALUE_EXPONENT,
        .cut = TINY_VALUE,
    };
    float scores[DECODE_KEYS];
    int32_t head[DECODE_ROWS], query[DECODE_ROWS], row_first[DECODE_ROWS], row_end[DECODE_ROWS];
    const bool begins = call->part_first == 0, ends = call->part_end == desc->seq_len_kv;

    int32_t first = desc->seq_len_kv, end = 0;
    for (int32_t r = 0; r < rows; r++) {
        head[r] = kv_head * group + r / desc->seq_len_q;
        query[r] = r % desc->seq_len_q;
        sdpa_visible(desc, batch, query[r], &row_first[r], &row_end[r]);
        if (row_first[r] < row_end[r]) {
            first = min32(first, row_first[r]);
            end = max32(end, row_end[r]);
        }
        if (!begins)
            continue;
        const float *from = call->data->query + batch * desc->query.batch +
                            head[r] * desc->query.head + query[r] * desc->query.row;
        scale_row(head_dim, from, call->query_scale, queries + (ptrdiff_t)r * head_dim);
        state[r] = (softmax_row){-INFINITY, 0.0f};
    }
    if (begins) {
        kept->gave_up = false;
        memset(outs, 0, sizeof(float) * (size_t)rows * (size_t)head_dim_v);
    } else if (kept->gave_up) {
        return;
    }
    first = max32(first, call->part_first);
    end = min32(end, call->part_end);
    /* In pieces of one vector, so that every element is looked at. Tiny queries make the keys count
     * as tiny, too: only their products matter. */
    key.limit =
        has_tiny_f32(rows * head_dim / 4, 4, queries, 4, TINY_FACTOR) ? INFINITY : TINY_FACTOR;

    /* Tiny numbers are looked for in the first block before it is read, in the others, as long as more
     * follow, just after: then a look costs least. */
    bool found = false, found_value = false;
    for (int32_t b = first / DECODE_KEYS * DECODE_KEYS; b < end; b += DECODE_KEYS) {
        const int32_t block = max32(b, first), block_keys = min32(b + DECODE_KEYS, end) - block;
        if (block == first) {
            found = finds_tiny(&key, block, block_keys);
            found_value = finds_tiny(&value, block, block_keys);
        }
        /* How they are to be scaled, only all keys and values can tell. */
        if ((found || found_value) && !(begins && ends)) {
            kept->gave_up = true;
            return;
        }
        if (found)
            use_copies(&key, first, end);
        if (found_value)
            use_copies(&value, first, end);
        /* Infinity times a tiny number is infinity, times one that was cut to 0 it would be NaN. */
        if (found && largest_f32(rows, head_dim, queries, head_dim) == INFINITY)
            key.largest = 0.0f;
        if (found && key.largest > 0.0f) {
            rescale_f32(1, &key.largest, key.exponent, 0x1p-126f, &key.largest);
            key.cut = key.largest * TINY_CUT;
            rescale_f32(rows * head_dim, queries, -key.exponent, 0x1p-126f, queries);
            for (int32_t r = 0; r < rows; r++)
                settle_row_f32(head_dim, queries + r * head_dim, key.largest);
        }
        if (found_value) {
            if (value.exponent <= 0)
                value.largest = 0.0f;
            else
                rescale_f32(rows * head_dim_v, outs, value.exponent, 0x1p-126f, outs);
        }
        ptrdiff_t key_stride, value_stride;
        const float *keys = take_block(&key, block, block_keys, &key_stride);
        const float *values = take_block(&value, block, block_keys, &value_stride);
        for (int32_t r = 0; r < rows; r++) {
            const int32_t from = max32(block, row_first[r]);
            const int32_t count = min32(block + block_keys, row_end[r]) - from;
            if (count <= 0)
                continue;
            const float *key_rows = keys + (from - block) * key_stride;
            const float *q = queries + (ptrdiff_t)r * head_dim;
            if (call->additive)
                additive_row_f32(count, head_dim, key_rows, key_stride, q, call->additive,
                                 call->additive_scale, scores);
            else
                dot_rows_f32(count, head_dim, key_rows, key_stride, q, scores);
            if (call->adjusts) {
                for (int32_t j = count; j % 4 != 0; j++)
                    scores[j] = 0.0f;
                const score_block s = {scores, batch, 1, &head[r], &query[r], from, count};
                scores_softcap(call, &s);
                scores_bias(call, &s);
                scores_to_log2(&s);
            }
            for (int32_t j = count; j % 4 != 0; j++)
                scores[j] = -INFINITY;
            float *out = outs + (ptrdiff_t)r * head_dim_v;
            softmax_row_f32(&state[r], count, scores, head_dim_v, out);
            if (call->data->out)
                sum_rows_f32(count, head_dim_v, values + (from - block) * value_stride,
                             value_stride, scores, out);
        }
        const bool looks = block > first && block_keys < end - block;
        found = looks && finds_tiny(&key, block, block_keys);
        found_value = looks && finds_tiny(&value, block, block_keys);
    }
    if (!ends)
        return;

    for (int32_t r = 0; r < rows; r++) {
        const float factor = softmax_row_factor(&state[r]);
        if (call->data->out) {
            float *to = call->data->out + batch * desc->out.batch + head[r] * desc->out.head +
                        query[r] * desc->out.row;
            const float *out = outs + (ptrdiff_t)r * head_dim_v;
            scale_row(head_dim_v, out, factor, to);
            if (value.largest > 0.0f)
                scale_row(head_dim_v, to, ldexpf(1.0f, -value.exponent), to);
            /* A row that saw nothing is 0 even where 0 times a removed key's value was NaN. */
            if (factor == 0.0f)
                memset(to, 0, sizeof(float) * (size_t)head_dim_v);
        }
        if (call->data->logsumexp) {
            const ptrdiff_t at = (ptrdiff_t)batch * desc->num_heads + head[r];
            call->data->logsumexp[at * desc->seq_len_q + query[r]] =
                softmax_logsumexp(state[r].max, state[r].sum);
        }
    }
}

void sdpa_plan_decode(const sdpa_call *call, sdpa_plan *plan) {
    const attn_sdpa_desc *desc = call->desc;
    const uint64_t rows =
        (uint64_t)(desc->num_heads / desc->num_kv_heads) * (uint64_t)desc->seq_len_q;
    const uint64_t depth = (uint64_t)desc->head_dim + (uint64_t)desc->head_dim_v;
    *plan = (sdpa_plan){
        .run_task = run_task,
        .stacked_rows = (int64_t)rows,
        .block_rows = (int32_t)rows,
        .blocks = 1,
        .num_tasks = (int64_t)desc->batch * desc->num_kv_heads,
        /* progress; queries and outputs; copies of a block of keys and of values */
        .thread_floats = (PROGRESS_FLOATS + (rows + DECODE_KEYS) * depth + 3) & ~(uint64_t)3,
    };
}

attn_status sdpa_decode_part(sdpa_call *call, int32_t task) {
    progress *kept = progress_of(call->workspace);
    if (call->part_first != 0 && kept->next_key != call->part_first)
        return ATTN_ERR_OPTION;
    run_task(call, task, 0);
    kept->next_key = call->part_end;
    return kept->gave_up ? ATTN_ERR_UNSUPPORTED : ATTN_OK;
}
