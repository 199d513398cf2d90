/* The specification of the gradients, in double precision, one row at a time; compare the formula
 * in attn.h. */
#include <math.h>

#include "sdpa_backward_common.h"
#include "sdpa_reference.h"

/* sum[d] += factor * x[d] */
static void add_multiple(double *sum, double factor, const double *x, int32_t length) {
    for (int32_t d = 0; d < length; d++)
        sum[d] += factor * x[d];
}

/* Through sum_d v[d] * tanh(query[d] + key[d]). Each gradient may be NULL. */
static void add_additive(double grad_product, const double *v, const double *query,
                         const double *key, int32_t length, double *grad_query, double *grad_key,
                         double *grad_v) {
    for (int32_t d = 0; d < length; d++) {
        const double t = tanh(query[d] + key[d]);
        const double grad_sum = grad_product * v[d] * (1.0 - t * t);
        if (grad_query)
            grad_query[d] += grad_sum;
        if (grad_key)
            grad_key[d] += grad_sum;
        if (grad_v)
            grad_v[d] += grad_product * t;
    }
}

/* What one query row adds to every gradient. v and grad_v are those of the additive score, v is NULL
 * for the dot product. */
static void add_row(const attn_sdpa_backward_desc *desc, const attn_sdpa_backward_f64_data *data,
                    const double *v, double *grad_v, row_position at) {
    const attn_sdpa_desc *forward = &desc->forward;
    const attn_sdpa_f64_data inputs = {
        .query = data->query, .key = data->key, .alibi_slopes = data->alibi_slopes};
    const int32_t head_dim = forward->head_dim, head_dim_v = forward->head_dim_v;
    const double logsumexp =
        data->logsumexp[((ptrdiff_t)at.b * forward->num_heads + at.h) * forward->seq_len_q + at.i];
    /* A row that saw nothing: exp(-inf - -inf) would be NaN. */
    if (logsumexp == -INFINITY)
        return;

    const double *query = data->query + row_offset(&forward->query, at);
    const double *grad_out = data->grad_out + row_offset(&desc->grad_out, at);
    const double delta = dot(grad_out, data->out + row_offset(&forward->out, at), head_dim_v);
    int32_t lo, hi;
    sdpa_visible(forward, at.b, at.i, &lo, &hi);
    for (int32_t j = lo; j < hi; j++) {
        const double *key = data->key + kv_row_offset(&forward->key, forward, at, j);
        const double *value = data->value + kv_row_offset(&forward->value, forward, at, j);

        const double score = reference_score(forward, &inputs, v, at, j, ATTN_SCORES_MASKED);
        const double weight = exp(score - logsumexp);
        const double grad_score = weight * (dot(grad_out, value, head_dim_v) - delta);
        double grad_product = grad_score * forward->scale;
        if (forward->softcap > 0.0) {
            const double t = reference_score(forward, &inputs, v, at, j, ATTN_SCORES_SOFTCAPPED) /
                             forward->softcap;
            grad_product *= 1.0 - t * t;
        }

        double *grad_query =
            data->grad_query ? data->grad_query + row_offset(&desc->grad_query, at) : NULL;
        double *grad_key =
            data->grad_key ? data->grad_key + kv_row_offset(&desc->grad_key, forward, at, j) : NULL;
        if (v)
            add_additive(grad_product, v, query, key, head_dim, grad_query, grad_key, grad_v);
        if (!v && grad_query)
            add_multiple(grad_query, grad_product, key, head_dim);
        if (!v && grad_key)
            add_multiple(grad_key, grad_product, query, head_dim);
        if (data->grad_value)
            add_multiple(data->grad_value + kv_row_offset(&desc->grad_value, forward, at, j),
                         weight, grad_out, head_dim_v);
        for (int m = 0; m < 2; m++) {
            const attn_mask_strides *s = &desc->grad_masks[m];
            if (data->grad_masks[m] && j < sdpa_mask_keys(forward, &forward->masks[m]))
                data->grad_masks[m][at.b * s->batch + at.h * s->head + at.i * s->query +
                                    j * s->key] += grad_score;
        }
    }
}

static attn_status plan_call(const attn_sdpa_backward_desc *desc,
                             const attn_sdpa_backward_f64_data *data,
                             gradient gradients[NUM_GRADIENTS], int32_t *num_tasks) {
    if (!desc || !data)
        return ATTN_ERR_NULL;
    const backward_tensors tensors = {data->query,
                                      data->key,
                                      data->value,
                                      data->alibi_slopes,
                                      data->out,
                                      data->logsumexp,
                                      data->grad_out,
                                      data->grad_query,
                                      data->grad_key,
                                      data->grad_value,
                                      {data->grad_masks[0], data->grad_masks[1]}};
    const attn_status status = backward_check(desc, &tensors, sizeof(double), gradients);
    if (status != ATTN_OK)
        return status;
    const int64_t parts = backward_num_parts(&desc->forward, gradients, ~0u);
    if (parts > INT32_MAX)
        return ATTN_ERR_SIZE;
    *num_tasks = desc->forward.batch > 0 ? (int32_t)parts : 0;
    return ATTN_OK;
}

attn_status attn_sdpa_backward_f64_workspace(const attn_sdpa_backward_desc *desc,
                                             const attn_sdpa_backward_f64_data *data, size_t *bytes,
                                             int32_t *num_tasks) {
    gradient gradients[NUM_GRADIENTS];
    int32_t tasks;
    const attn_status status = plan_call(desc, data, gradients, &tasks);
    if (status != ATTN_OK)
        return status;
    if (bytes)
        *bytes = 0;
    if (num_tasks)
        *num_tasks = tasks;
    return ATTN_OK;
}

static attn_status run(const attn_sdpa_backward_desc *desc, const attn_sdpa_backward_f64_data *data,
                       const double *v, double *grad_v, const attn_exec *exec) {
    gradient gradients[NUM_GRADIENTS];
    int32_t tasks, first, end;
    attn_status status = plan_call(desc, data, gradients, &tasks);
    if (status == ATTN_OK)
        status = exec_check(exec, 0, tasks, &first, &end);
    if (status != ATTN_OK)
        return status;

    const attn_sdpa_desc *forward = &desc->forward;
    const int32_t group = forward->num_heads / forward->num_kv_heads;
    for (int32_t task = first; task < end; task++) {
        const backward_part part = backward_part_at(forward, gradients, ~0u, task);
        for (int g = 0; g < NUM_GRADIENTS; g++) {
            const backward_box box = backward_box_of(forward, gradients, g, &part);
            if (gradients[g].data)
                gradient_clear(&gradients[g], &box, sizeof(double));
        }
        row_position at;
        for (at.b = part.first_batch; at.b < part.first_batch + part.batches; at.b++)
            for (at.h = part.first_kv_head * group;
                 at.h < (part.first_kv_head + part.kv_heads) * group; at.h++)
                for (at.i = 0; at.i < forward->seq_len_q; at.i++)
                    add_row(desc, data, v, grad_v, at);
    }
    return ATTN_OK;
}

attn_status attn_sdpa_backward_f64(const attn_sdpa_backward_desc *desc,
                                   const attn_sdpa_backward_f64_data *data, const attn_exec *exec) {
    return run(desc, data, NULL, NULL, exec);
}

attn_status attn_additive_backward_f64(const attn_sdpa_backward_desc *desc,
                                       const attn_sdpa_backward_f64_data *data, const double *v,
                                       double *grad_v, const attn_exec *exec) {
    return v ? run(desc, data, v, grad_v, exec) : ATTN_ERR_NULL;
}
