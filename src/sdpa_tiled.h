/* The float32 paths behind attn_sdpa_f32. Nothing here validates. */
#ifndef SDPA_TILED_H
#define SDPA_TILED_H

#include "attn.h"

/* How a call is cut into tasks: each batch element and key/value head by blocks of query rows. The
 * query heads that share a key/value head are stacked: row r of the stack is query r % seq_len_q of
 * head r / seq_len_q. */
typedef struct sdpa_plan {
    int64_t stacked_rows; /* (num_heads / num_kv_heads) * seq_len_q */
    int32_t block_rows;   /* rows of a task */
    int32_t blocks;       /* per batch element and key/value head */
    int64_t num_tasks;
    uint64_t thread_floats; /* workspace of one thread, in floats, a multiple of 4 */
    int decode;             /* few rows: keys and values are read once, in their natural layout */
} sdpa_plan;

/* The plan of a checked call with at least one row and one key. */
sdpa_plan sdpa_plan_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                        int32_t num_threads);

/* Runs tasks first .. end - 1. workspace: num_threads * thread_floats. */
void sdpa_run_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data, const sdpa_plan *plan,
                  attn_threads *threads, float *workspace, int32_t first, int32_t end);

#endif
