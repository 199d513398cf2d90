/* What the float32 paths share: a call cut into tasks, and the steps between query . key and
 * softmax. Nothing here validates. */
#ifndef SDPA_F32_H
#define SDPA_F32_H

#include "kernels/product_f32.h"
#include "parallel/parallel.h"
#include "sdpa_common.h"

/* Tasks are blocks of query rows of one batch element and key/value head. The query heads that
 * share a key/value head are stacked: row r of the stack is query r % seq_len_q of head r /
 * seq_len_q. */
typedef struct sdpa_plan {
    parallel_fn *run_task; /* its context is an sdpa_call */
    int64_t stacked_rows;  /* (num_heads / num_kv_heads) * seq_len_q */
    int32_t block_rows;    /* rows of a task */
    int32_t blocks;        /* per batch element and key/value head */
    int64_t num_tasks;
    uint64_t thread_floats; /* workspace of one thread, in floats, a multiple of 4 */
} sdpa_plan;

typedef struct sdpa_call {
    const attn_sdpa_desc *desc;
    const attn_sdpa_f32_data *data;
    sdpa_plan plan;
    float *workspace; /* [threads][thread_floats] */
    /* Queries are multiplied by query_scale before the product with the keys. Softmax wants scores
     * in units of log 2: the factor log2(e) is part of query_scale, or, where scores pass through
     * the steps below in natural units (adjusts), their last step. */
    float query_scale;
    bool adjusts;
    /* v [head_dim] of the additive score, NULL for the dot product. Then additive_scale is what
     * query_scale would be, and that is 1. */
    const float *additive;
    float additive_scale;
    /* Keys part_first .. part_end - 1 are there, data->key and data->value begin with them. Other parts
     * came before or will follow unless these are all, 0 and seq_len_kv. (Decode plans only.) */
    int32_t part_first, part_end;
} sdpa_call;

/* attn_sdpa_f32, or with v attn_additive_f32. */
attn_status sdpa_run_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data, const float *v,
                         const attn_exec *exec);

/* A key, a query or (with the smallest weight, 2^-100) a value below these can make a product
 * subnormal. */
#define TINY_FACTOR 0x1p-63f
#define TINY_VALUE 0x1p-26f
/* Values that hold tiny ones are scaled up to this exponent: sums stay finite. */
#define VALUE_EXPONENT 60

/* The plans of a checked call with at least one row. tiled: any call; decode: at most DECODE_ROWS
 * stacked rows and neither weights nor scores. */
#define DECODE_ROWS 4
#define DECODE_KEYS 64 /* of a block */
void sdpa_plan_tiled(const sdpa_call *call, int32_t num_threads, sdpa_plan *plan);
void sdpa_plan_decode(const sdpa_call *call, sdpa_plan *plan);
/* One task of a decode plan, on this thread, for the keys of the call's part. ATTN_ERR_OPTION: the part
 * does not follow the last one. ATTN_ERR_UNSUPPORTED: it, or one before it, holds tiny numbers. */
attn_status sdpa_decode_part(sdpa_call *call, int32_t task);

/* Scores of some rows of one batch element against keys first .. first + keys - 1, in memory
 * without gaps: row r and key first + j at s[j * rows + r]. Where rows is 1, s is padded to a
 * multiple of 4. */
typedef struct score_block {
    float *s;
    int32_t batch;
    int32_t rows;
    const int32_t *head, *query; /* [rows] */
    int32_t first, keys;
} score_block;

/* s <- softcap * tanh(s / softcap) */
void scores_softcap(const sdpa_call *call, const score_block *block);
/* s <- s - slope * |i + offset - j|, then both masks */
void scores_bias(const sdpa_call *call, const score_block *block);
/* s <- s * log2(e) */
void scores_to_log2(const score_block *block);

static inline int32_t min32(int32_t a, int32_t b) {
    return a < b ? a : b;
}

static inline int32_t max32(int32_t a, int32_t b) {
    return a > b ? a : b;
}

#endif
