/* attn_sdpa_f32: validate, plan, run. */
#include "attn.h"
#include "kernels/exp_f32.h"
#include "sdpa_f32.h"

const char *attn_variant(void) {
    return ATTN_VARIANT;
}

static bool is_decode(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data) {
    const int64_t rows = (int64_t)(desc->num_heads / desc->num_kv_heads) * desc->seq_len_q;
    return rows <= DECODE_ROWS && !data->weights && !data->scores;
}

/* A call ready to run, but for its workspace, and how many bytes that takes. A call without a row
 * has no task. *threads becomes NULL where the work is too small to share. */
static attn_status plan_call(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                             attn_threads **threads, sdpa_call *call, size_t *bytes) {
    if (!desc || !data)
        return ATTN_ERR_NULL;
    const sdpa_tensors tensors = sdpa_tensors_f32(data);
    const attn_status status = sdpa_check(desc, &tensors, sizeof(float));
    if (status != ATTN_OK)
        return status;
    bool adjusts = desc->softcap > 0 || data->alibi_slopes || data->scores;
    for (int m = 0; m < 2; m++)
        adjusts = adjusts || desc->masks[m].kind != ATTN_MASK_NONE;
    *call = (sdpa_call){
        .desc = desc,
        .data = data,
        .query_scale = (float)(adjusts ? desc->scale : desc->scale * LOG2_E),
        .adjusts = adjusts,
        .part_end = desc->seq_len_kv,
    };
    *bytes = 0;
    if (desc->batch == 0 || desc->seq_len_q == 0)
        return ATTN_OK;

    const double work = (double)desc->batch * desc->num_heads * desc->seq_len_q * desc->seq_len_kv *
                        ((double)desc->head_dim + desc->head_dim_v);
    const bool decodes = is_decode(desc, data);
    *threads = parallel_pool(*threads, decodes ? READING * work : work);
    if (decodes)
        sdpa_plan_decode(call, &call->plan);
    else
        sdpa_plan_tiled(call, attn_threads_count(*threads), &call->plan);
    if (call->plan.num_tasks > INT32_MAX)
        return ATTN_ERR_SIZE;
    uint64_t floats = 0;
    if (!add_product(&floats, (uint64_t)attn_threads_count(*threads), call->plan.thread_floats,
                     PTRDIFF_MAX / sizeof(float)))
        return ATTN_ERR_SIZE;
    *bytes = (size_t)floats * sizeof(float);
    return ATTN_OK;
}

attn_status attn_sdpa_f32_workspace(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                                    const attn_threads *threads, size_t *bytes,
                                    int32_t *num_tasks) {
    sdpa_call call;
    size_t needed;
    attn_threads *pool = (attn_threads *)threads;
    const attn_status status = plan_call(desc, data, &pool, &call, &needed);
    if (status != ATTN_OK)
        return status;
    if (bytes)
        *bytes = needed;
    if (num_tasks)
        *num_tasks = (int32_t)call.plan.num_tasks;
    return ATTN_OK;
}

/* attn_exec's first_key and num_keys. */
static attn_status run_part(sdpa_call *call, const attn_exec *exec, int32_t first, int32_t end) {
    if (!is_decode(call->desc, call->data) || call->additive)
        return ATTN_ERR_UNSUPPORTED;
    const int32_t seq_len_kv = call->desc->seq_len_kv;
    if (exec->first_key < 0 || exec->num_keys < 0 || exec->first_key > seq_len_kv ||
        exec->num_keys > seq_len_kv - exec->first_key || end - first != 1)
        return ATTN_ERR_OPTION;
    call->part_first = exec->first_key;
    call->part_end = exec->first_key + exec->num_keys;
    if (call->part_end < seq_len_kv && exec->num_keys % DECODE_KEYS != 0)
        return ATTN_ERR_OPTION;
    return sdpa_decode_part(call, first);
}

attn_status sdpa_run_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data, const float *v,
                         const attn_exec *exec) {
    sdpa_call call;
    size_t needed;
    attn_threads *threads = exec ? exec->threads : NULL;
    attn_status status = plan_call(desc, data, &threads, &call, &needed);
    if (status != ATTN_OK)
        return status;
    attn_exec whole = exec ? *exec : (attn_exec){0};
    const bool in_parts = whole.first_key != 0 || whole.num_keys != 0;
    whole.first_key = whole.num_keys = 0;
    int32_t first, end;
    status = exec_check(&whole, needed, (int32_t)call.plan.num_tasks, &first, &end);
    if (status != ATTN_OK || first == end)
        return status;
    call.workspace = whole.workspace;
    if (v) {
        call.additive = v;
        call.additive_scale = call.query_scale;
        call.query_scale = 1.0f;
    }
    if (in_parts)
        return run_part(&call, exec, first, end);
    parallel_for(threads, first, end, call.plan.run_task, &call);
    return ATTN_OK;
}

attn_status attn_sdpa_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                          const attn_exec *exec) {
    return sdpa_run_f32(desc, data, NULL, exec);
}
