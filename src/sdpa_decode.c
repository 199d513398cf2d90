/* Few queries against many keys, as in decoding with a cache: memory-bound. Keys and values are
 * read once, as they lie, in blocks that stay in the first-level cache for all query rows of the
 * key/value head:
 *
 *     for each block of DECODE_KEYS keys
 *         for each row, over the keys of the block that it may read
 *             s[j]   <- scale log2(e) key[j] . query          softcap, ALiBi, masks
 *             max, sum <- online softmax, s <- 2^(s - max)
 *             out[d] <- out[d] + sum_j s[j] value[j][d] */
#include <math.h>
#include <string.h>

#include "kernels/softmax_f32.h"
#include "sdpa_f32.h"
#include "simd/f32x4.h"

#define DECODE_KEYS 64

static void run_task(void *context, int32_t task, int32_t thread) {
    const sdpa_call *call = context;
    const attn_sdpa_desc *desc = call->desc;
    const int32_t head_dim = desc->head_dim, head_dim_v = desc->head_dim_v;
    const int32_t rows = (int32_t)call->plan.stacked_rows;
    const int32_t group = desc->num_heads / desc->num_kv_heads;
    const int32_t batch = task / desc->num_kv_heads, kv_head = task % desc->num_kv_heads;
    const float *key = call->data->key + batch * desc->key.batch + kv_head * desc->key.head;
    const float *value = call->data->value + batch * desc->value.batch + kv_head * desc->value.head;

    float *queries = call->workspace + (size_t)thread * call->plan.thread_floats;
    float *outs = queries + (ptrdiff_t)rows * head_dim;
    float scores[DECODE_KEYS];
    int32_t head[DECODE_ROWS], query[DECODE_ROWS], row_first[DECODE_ROWS], row_end[DECODE_ROWS];
    softmax_row state[DECODE_ROWS];

    int32_t first = desc->seq_len_kv, end = 0;
    for (int32_t r = 0; r < rows; r++) {
        head[r] = kv_head * group + r / desc->seq_len_q;
        query[r] = r % desc->seq_len_q;
        sdpa_visible(desc, batch, query[r], &row_first[r], &row_end[r]);
        if (row_first[r] < row_end[r]) {
            first = min32(first, row_first[r]);
            end = max32(end, row_end[r]);
        }
        const float *from = call->data->query + batch * desc->query.batch +
                            head[r] * desc->query.head + query[r] * desc->query.row;
        for (int32_t d = 0; d < head_dim; d++)
            queries[r * head_dim + d] = from[d] * call->query_scale;
        state[r] = (softmax_row){-INFINITY, 0.0f};
    }
    memset(outs, 0, sizeof(float) * (size_t)rows * (size_t)head_dim_v);

    for (int32_t b = first / DECODE_KEYS * DECODE_KEYS; b < end; b += DECODE_KEYS)
        for (int32_t r = 0; r < rows; r++) {
            const int32_t from = max32(b, row_first[r]);
            const int32_t keys = min32(b + DECODE_KEYS, row_end[r]) - from;
            if (keys <= 0)
                continue;
            dot_rows_f32(keys, head_dim, key + from * desc->key.row, desc->key.row,
                         queries + (ptrdiff_t)r * head_dim, scores);
            for (int32_t j = keys; j % 4 != 0; j++)
                scores[j] = -INFINITY;
            if (call->adjusts) {
                const score_block block = {scores, batch, 1, &head[r], &query[r], from, keys};
                scores_softcap(call, &block);
                scores_bias(call, &block);
                scores_to_log2(&block);
                for (int32_t j = keys; j % 4 != 0; j++)
                    scores[j] = -INFINITY;
            }
            float *out = outs + (ptrdiff_t)r * head_dim_v;
            softmax_row_f32(&state[r], keys, scores, head_dim_v, out);
            if (call->data->out)
                sum_rows_f32(keys, head_dim_v, value + from * desc->value.row, desc->value.row,
                             scores, out);
        }

    for (int32_t r = 0; r < rows; r++) {
        const float factor = softmax_row_factor(&state[r]);
        if (call->data->out) {
            float *to = call->data->out + batch * desc->out.batch + head[r] * desc->out.head +
                        query[r] * desc->out.row;
            const float *out = outs + (ptrdiff_t)r * head_dim_v;
            /* A row that saw nothing is 0 even where 0 times a removed key's value was NaN. */
            for (int32_t d = 0; d < head_dim_v; d++)
                to[d] = factor == 0.0f ? 0.0f : out[d] * factor;
        }
        if (call->data->logsumexp)
            call->data->logsumexp[((ptrdiff_t)batch * desc->num_heads + head[r]) * desc->seq_len_q +
                                  query[r]] = softmax_logsumexp(state[r].max, state[r].sum);
    }
}

void sdpa_plan_decode(const sdpa_call *call, sdpa_plan *plan) {
    const attn_sdpa_desc *desc = call->desc;
    const uint64_t rows =
        (uint64_t)(desc->num_heads / desc->num_kv_heads) * (uint64_t)desc->seq_len_q;
    *plan = (sdpa_plan){
        .run_task = run_task,
        .stacked_rows = (int64_t)rows,
        .block_rows = (int32_t)rows,
        .blocks = 1,
        .num_tasks = (int64_t)desc->batch * desc->num_kv_heads,
        .thread_floats =
            (rows * ((uint64_t)desc->head_dim + (uint64_t)desc->head_dim_v) + 3) & ~(uint64_t)3,
    };
}
