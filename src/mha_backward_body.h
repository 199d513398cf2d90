/* Gradients of multi-head attention for one element type, included behind mha_body.h. The including
 * file has defined besides:
 *
 *     mha_backward_data, sdpa_backward_data             the public data structs
 *     linear_backward_workspace, linear_backward        attn_linear_backward, which adds
 *     sdpa_backward_workspace, sdpa_backward            attn_sdpa_backward
 *
 * q, k, v, the heads and logsumexp are computed once more. With the keys that bias_k and
 * add_zero_attn add, out and logsumexp are those of all keys, and what attn_sdpa_backward computes
 * from them is right for the caller's keys; bias_k's and bias_v's own terms are added here. The
 * zero key has none: neither its score nor its value depends on anything. */
#include <string.h>

static attn_status plan_backward(const attn_mha_desc *desc, const mha_backward_data *data,
                                 const attn_threads *threads, mha_backward_plan *plan,
                                 size_t *bytes) {
    if (!desc || !data)
        return ATTN_ERR_NULL;
    /* grad_out lies as out does, and has to be there. */
    mha_data forward = data->forward;
    forward.out = (real *)data->grad_out;
    forward.weights = NULL;
    size_t forward_bytes;
    attn_status status = plan_call(desc, &forward, threads, &plan->forward, &forward_bytes);
    if (status != ATTN_OK)
        return status;
    const mha_plan *f = &plan->forward;
    if ((data->grad_q_bias && !forward.q_bias) || (data->grad_k_bias && !forward.k_bias) ||
        (data->grad_v_bias && !forward.v_bias) || (data->grad_out_bias && !forward.out_bias) ||
        ((data->grad_bias_k || data->grad_bias_v) && !forward.bias_k))
        return ATTN_ERR_OPTION;
    const void *const gradients[MHA_OUT] = {data->grad_query, data->grad_key, data->grad_value};
    status = mha_backward_plan_init(plan, desc, gradients, forward.bias_k != NULL, sizeof(real));
    if (status != ATTN_OK)
        return status;

    /* The forward call's scratch serves what it serves there; logsumexp costs nothing more. */
    size_t scratch, largest = forward_bytes - f->scratch;
    const sdpa_backward_data attention = {
        .query = &present,
        .key = &present,
        .value = &present,
        .out = &present,
        .logsumexp = &present,
        .grad_out = &present,
        .grad_query = (real *)&present,
        .grad_key = (real *)&present,
        .grad_value = (real *)&present,
        .grad_masks = {data->grad_masks[0], data->grad_masks[1]},
    };
    status = sdpa_backward_workspace(&plan->sdpa, &attention, threads, &scratch);
    if (status == ATTN_OK && largest < scratch)
        largest = scratch;
    for (int p = 0; p < MHA_TENSORS && status == ATTN_OK; p++) {
        const mha_projection *part = &f->projections[p];
        status = linear_backward_workspace(p < MHA_OUT ? plan->rows[p].rows : part->rows.rows,
                                           part->in_dim, part->out_dim, threads, &scratch);
        if (status == ATTN_OK && largest < scratch)
            largest = scratch;
    }
    if (status == ATTN_OK && largest > PTRDIFF_MAX - plan->scratch)
        status = ATTN_ERR_SIZE;
    *bytes = plan->scratch + largest;
    return status;
}

/* What the key of bias_k and the value of bias_v add to grad_q and to their own gradients, which
 * are double [2, kv_dim]. */
static void add_bias_kv(const mha_plan *plan, const mha_data *data, const real *q,
                        const real *concat, const real *logsumexp, const real *grad_concat,
                        real *grad_q, double *sums) {
    const attn_sdpa_desc *sdpa = &plan->sdpa;
    const int32_t head_dim = plan->head_dim;
    memset(sums, 0, sizeof(double) * 2 * (size_t)plan->kv_dim);
    ptrdiff_t row = 0;
    for (int32_t b = 0; b < sdpa->batch; b++)
        for (int32_t h = 0; h < sdpa->num_heads; h++) {
            const ptrdiff_t column =
                (ptrdiff_t)(h / (sdpa->num_heads / sdpa->num_kv_heads)) * head_dim;
            const real *key = data->bias_k + column, *value = data->bias_v + column;
            double *key_sum = sums + column, *value_sum = sums + plan->kv_dim + column;
            for (int32_t i = 0; i < sdpa->seq_len_q; i++, row++) {
                if (logsumexp[row] == -INFINITY)
                    continue;
                const ptrdiff_t at =
                    b * sdpa->query.batch + h * sdpa->query.head + i * sdpa->query.row;
                const ptrdiff_t out_at =
                    b * sdpa->out.batch + h * sdpa->out.head + i * sdpa->out.row;
                double product = 0.0, grad_weight = 0.0, delta = 0.0;
                for (int32_t d = 0; d < head_dim; d++) {
                    product += (double)q[at + d] * (double)key[d];
                    grad_weight += (double)grad_concat[out_at + d] * (double)value[d];
                    delta += (double)grad_concat[out_at + d] * (double)concat[out_at + d];
                }
                const double weight = exp(sdpa->scale * product - (double)logsumexp[row]);
                const double grad_product = sdpa->scale * weight * (grad_weight - delta);
                for (int32_t d = 0; d < head_dim; d++) {
                    key_sum[d] += grad_product * (double)q[at + d];
                    value_sum[d] += weight * (double)grad_concat[out_at + d];
                    grad_q[at + d] = (real)((double)grad_q[at + d] + grad_product * (double)key[d]);
                }
            }
        }
}

/* The gradients of one projection into the heads: packed is that of its result. */
static attn_status project_back(const mha_backward_plan *plan, int which, const real *x,
                                const real *w, const real *packed, real *grad_x, real *grad_w,
                                real *grad_bias, const attn_exec *exec) {
    const mha_rows *rows = &plan->rows[which];
    const int32_t in_dim = plan->forward.projections[which].in_dim,
                  out_dim = plan->forward.projections[which].out_dim;
    attn_status status = ATTN_OK;
    if (!grad_x && !grad_w && !grad_bias)
        return status;
    for (int32_t c = 0; c < rows->calls && status == ATTN_OK; c++)
        status = linear_backward(rows->rows, in_dim, out_dim, x + c * rows->call_stride,
                                 rows->row_stride, w, packed + (ptrdiff_t)c * rows->rows * out_dim,
                                 out_dim, grad_x ? grad_x + c * rows->call_stride : NULL,
                                 rows->row_stride, grad_w, grad_bias, exec);
    return status;
}

static attn_status mha_backward(const attn_mha_desc *desc, const mha_backward_data *data,
                                const attn_exec *exec) {
    mha_backward_plan plan;
    size_t bytes;
    int32_t first, end;
    attn_status status = plan_backward(desc, data, exec ? exec->threads : NULL, &plan, &bytes);
    if (status == ATTN_OK)
        status = exec_check(exec, bytes, 1, &first, &end);
    if (status != ATTN_OK || first == end)
        return status;
    const mha_plan *f = &plan.forward;
    const mha_data *inputs = &data->forward;
    /* Everything that is added to begins with 0. */
    void *const tensors[MHA_OUT] = {data->grad_query, data->grad_key, data->grad_value};
    void *const weights[MHA_TENSORS] = {data->grad_q_weight, data->grad_k_weight,
                                        data->grad_v_weight, data->grad_out_weight};
    void *const biases[MHA_TENSORS] = {data->grad_q_bias, data->grad_k_bias, data->grad_v_bias,
                                       data->grad_out_bias};
    void *const bias_kv[2] = {data->grad_bias_k, data->grad_bias_v};
    mha_gradients_clear(f, desc->batch, tensors, weights, biases, bias_kv, sizeof(real));
    if (desc->batch == 0 || desc->seq_len_q == 0)
        return ATTN_OK;

    char *workspace = exec->workspace;
    const attn_exec scratch = {.threads = exec->threads,
                               .workspace = workspace + plan.scratch,
                               .workspace_bytes = bytes - plan.scratch};
    real *q = (real *)(workspace + f->q), *k = (real *)(workspace + f->k),
         *v = (real *)(workspace + f->v), *concat = (real *)(workspace + f->concat);
    real *logsumexp = (real *)(workspace + plan.logsumexp);
    real *grad_q = (real *)(workspace + plan.grad_q), *grad_k = (real *)(workspace + plan.grad_k),
         *grad_v = (real *)(workspace + plan.grad_v),
         *grad_concat = (real *)(workspace + plan.grad_concat);

    /* Forward, as far as the heads. */
    status = project_inputs(desc, inputs, f, workspace, &scratch);
    const sdpa_data attention = {
        .query = q, .key = k, .value = v, .out = concat, .logsumexp = logsumexp};
    if (status == ATTN_OK)
        status = sdpa(&f->sdpa, &attention, &scratch);
    if (status == ATTN_OK && f->extra > 0)
        add_extra_keys(f, q, inputs->bias_k, inputs->bias_v, logsumexp, concat, NULL);

    /* And back: out = concat out_weight^T + out_bias, ... */
    memset(grad_concat, 0,
           sizeof(real) * (size_t)desc->batch * (size_t)desc->seq_len_q * (size_t)desc->embed_dim);
    const mha_rows *out = &f->projections[MHA_OUT].rows;
    for (int32_t c = 0; c < out->calls && status == ATTN_OK; c++) {
        const ptrdiff_t row = (ptrdiff_t)c * out->rows * desc->embed_dim;
        status = linear_backward(out->rows, desc->embed_dim, desc->embed_dim, concat + row,
                                 desc->embed_dim, inputs->out_weight,
                                 data->grad_out + c * out->call_stride, out->row_stride,
                                 grad_concat + row, desc->embed_dim, data->grad_out_weight,
                                 data->grad_out_bias, &scratch);
    }

    /* ... the heads, ... */
    const sdpa_backward_data attention_back = {
        .query = q,
        .key = k,
        .value = v,
        .out = concat,
        .logsumexp = logsumexp,
        .grad_out = grad_concat,
        .grad_query = grad_q,
        .grad_key = grad_k,
        .grad_value = grad_v,
        .grad_masks = {data->grad_masks[0], data->grad_masks[1]},
    };
    if (status == ATTN_OK)
        status = sdpa_backward(&plan.sdpa, &attention_back, &scratch);
    if (status == ATTN_OK && inputs->bias_k) {
        double *sums = (double *)(workspace + plan.bias_sums);
        add_bias_kv(f, inputs, q, concat, logsumexp, grad_concat, grad_q, sums);
        for (int32_t d = 0; d < f->kv_dim; d++) {
            if (data->grad_bias_k)
                data->grad_bias_k[d] = (real)sums[d];
            if (data->grad_bias_v)
                data->grad_bias_v[d] = (real)sums[f->kv_dim + d];
        }
    }
    /* ... the positions, which are turned back, ... */
    if (desc->rotary_dim > 0) {
        real *sin = (real *)(workspace + plan.negated_sin);
        const ptrdiff_t count = (ptrdiff_t)f->rotary_q.num_positions * (desc->rotary_dim / 2);
        for (ptrdiff_t e = 0; e < count; e++)
            sin[e] = -inputs->rotary_sin[e];
        if (status == ATTN_OK)
            status = rotary(&f->rotary_q, grad_q, inputs->rotary_cos, sin, grad_q);
        if (status == ATTN_OK)
            status = rotary(&f->rotary_k, grad_k, inputs->rotary_cos, sin, grad_k);
    }

    /* ... and q = query q_weight^T + q_bias, k and v likewise. */
    if (status == ATTN_OK)
        status = project_back(&plan, MHA_QUERY, inputs->query, inputs->q_weight, grad_q,
                              data->grad_query, data->grad_q_weight, data->grad_q_bias, &scratch);
    if (status == ATTN_OK)
        status = project_back(&plan, MHA_KEY, inputs->key, inputs->k_weight, grad_k, data->grad_key,
                              data->grad_k_weight, data->grad_k_bias, &scratch);
    if (status == ATTN_OK)
        status = project_back(&plan, MHA_VALUE, inputs->value, inputs->v_weight, grad_v,
                              data->grad_value, data->grad_v_weight, data->grad_v_bias, &scratch);
    return status;
}
