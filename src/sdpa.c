/* attn_sdpa_f32: validate, plan, run. */
#include "attn.h"
#include "parallel/parallel.h"
#include "sdpa_common.h"
#include "sdpa_tiled.h"
#include "simd/f32x4.h"

const char *attn_variant(void) {
    return ATTN_VARIANT;
}

/* The plan of a call and the bytes of its workspace. A call without a row has no task. */
static attn_status plan_call(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                             const attn_threads *threads, sdpa_plan *plan, size_t *bytes) {
    if (!desc || !data)
        return ATTN_ERR_NULL;
    const sdpa_tensors tensors = sdpa_tensors_f32(data);
    const attn_status status = sdpa_check(desc, &tensors, sizeof(float));
    if (status != ATTN_OK)
        return status;
    *plan = (sdpa_plan){0};
    *bytes = 0;
    if (desc->batch == 0 || desc->seq_len_q == 0)
        return ATTN_OK;
    const int32_t num_threads = attn_threads_count(threads);
    *plan = sdpa_plan_f32(desc, data, num_threads);
    if (plan->num_tasks > INT32_MAX)
        return ATTN_ERR_SIZE;
    uint64_t total = 0;
    if (!add_product(&total, plan->thread_floats, (uint64_t)num_threads,
                     PTRDIFF_MAX / sizeof(float)))
        return ATTN_ERR_SIZE;
    *bytes = (size_t)total * sizeof(float);
    return ATTN_OK;
}

attn_status attn_sdpa_f32_workspace(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                                    const attn_threads *threads, size_t *bytes,
                                    int32_t *num_tasks) {
    sdpa_plan plan;
    size_t needed;
    const attn_status status = plan_call(desc, data, threads, &plan, &needed);
    if (status != ATTN_OK)
        return status;
    if (bytes)
        *bytes = needed;
    if (num_tasks)
        *num_tasks = (int32_t)plan.num_tasks;
    return ATTN_OK;
}

attn_status attn_sdpa_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                          const attn_exec *exec) {
    sdpa_plan plan;
    size_t needed;
    attn_threads *threads = exec ? exec->threads : NULL;
    attn_status status = plan_call(desc, data, threads, &plan, &needed);
    if (status != ATTN_OK)
        return status;
    int32_t first, end;
    status = exec_check(exec, needed, (int32_t)plan.num_tasks, &first, &end);
    if (status == ATTN_OK && first < end)
        sdpa_run_f32(desc, data, &plan, threads, exec->workspace, first, end);
    return status;
}
