/* Multi-head attention for one element type. The including file has defined, for that type:
 *
 *     real, mha_data, sdpa_data      the element and the public data structs
 *     linear_workspace, linear       attn_linear, which may be given panels of its weights, and told
 *                                    that its x is that of the call before
 *     sdpa_workspace, sdpa           attn_sdpa
 *     rotary                         attn_rotary
 *
 * The keys that bias_k and add_zero_attn add are not covered by any mask or limit, and there are at
 * most two. They are not appended to k: sdpa runs over the caller's keys, and its softmax is then
 * extended by theirs, which its logsumexp allows (the same step that joins the parts of a split
 * softmax in Rabe & Staats 2021):
 *
 *     total = log(exp(logsumexp) + sum_e exp(s_e))
 *     out   <- exp(logsumexp - total) * out + sum_e exp(s_e - total) * v_e
 */
#include <math.h>
#include <string.h>

/* Stands for a tensor of the workspace where only its being there is looked at. */
static const real present = 0;

static attn_status plan_call(const attn_mha_desc *desc, const mha_data *data,
                             const attn_threads *threads, mha_plan *plan, size_t *bytes) {
    if (!desc || !data || !data->bias_k != !data->bias_v)
        return ATTN_ERR_NULL;
    if (data->packed_weights && sizeof(real) != sizeof(float))
        return ATTN_ERR_OPTION;
    const void *const tensors[MHA_TENSORS] = {data->query, data->key, data->value, data->out};
    const void *const weights[MHA_TENSORS] = {data->q_weight, data->k_weight, data->v_weight,
                                              data->out_weight};
    attn_status status = mha_plan_init(plan, desc, tensors, weights, data->bias_k != NULL,
                                       data->weights != NULL, sizeof(real));
    if (status != ATTN_OK)
        return status;
    if (desc->rotary_dim > 0 && desc->batch > 0 && plan->rotary_q.num_positions > 0 &&
        (!data->rotary_cos || !data->rotary_sin))
        return ATTN_ERR_NULL;

    const sdpa_data attention = {
        .query = &present,
        .key = &present,
        .value = &present,
        .out = (real *)&present,
        .weights = data->weights,
        .logsumexp = plan->extra > 0 ? (real *)&present : NULL,
    };
    size_t scratch, largest = 0;
    status = sdpa_workspace(&plan->sdpa, &attention, threads, &largest);

    for (int p = 0; p < MHA_TENSORS && status == ATTN_OK; p++) {
        const mha_projection *part = &plan->projections[p];
        status = linear_workspace(part->rows.rows, part->in_dim, part->out_dim, threads, &scratch);
        if (status == ATTN_OK && largest < scratch)
            largest = scratch;
    }
    if (status == ATTN_OK && largest > PTRDIFF_MAX - plan->scratch)
        status = ATTN_ERR_SIZE;
    *bytes = plan->scratch + largest;
    return status;
}

/* Whether two projections read the rows of one tensor alike, all in one call. */
static bool same_rows(const mha_plan *plan, int one, int other) {
    const mha_projection *a = &plan->projections[one], *b = &plan->projections[other];
    return a->rows.calls == 1 && b->rows.calls == 1 && a->rows.rows == b->rows.rows &&
           a->rows.row_stride == b->rows.row_stride && a->in_dim == b->in_dim;
}

/* y <- x w^T + bias. x is a tensor of the caller and y one of the workspace, of MHA_OUT the other
 * way round. Where `before`, the last call's x, is this one, too, it is not packed again (a layer of
 * 128 tokens: 1.01 times as fast). */
static attn_status project(const mha_data *data, const mha_plan *plan, int which, const real *x,
                           const real *before, const real *w, const real *bias, real *y,
                           const attn_exec *exec) {
    const mha_projection *p = &plan->projections[which];
    const mha_rows *rows = &p->rows;
    const bool is_out = which == MHA_OUT;
    const bool is_packed = before && x == before && same_rows(plan, which - 1, which);
    const real *panels = data->packed_weights ? data->packed_weights + (ptrdiff_t)p->panels : NULL;
    attn_status status = ATTN_OK;
    for (int32_t c = 0; c < rows->calls && status == ATTN_OK; c++) {
        const ptrdiff_t there = c * rows->call_stride, here = (ptrdiff_t)c * rows->rows;
        status = linear(rows->rows, p->in_dim, p->out_dim, x + (is_out ? here * p->in_dim : there),
                        is_out ? p->in_dim : rows->row_stride, is_packed, w, panels, bias,
                        y + (is_out ? there : here * p->out_dim),
                        is_out ? rows->row_stride : p->out_dim, exec);
    }
    return status;
}

/* q, k and v of the workspace, with their positions where there are any. */
static attn_status project_inputs(const attn_mha_desc *desc, const mha_data *data,
                                  const mha_plan *plan, char *workspace, const attn_exec *scratch) {
    real *q = (real *)(workspace + plan->q), *k = (real *)(workspace + plan->k),
         *v = (real *)(workspace + plan->v);
    attn_status status =
        project(data, plan, MHA_QUERY, data->query, NULL, data->q_weight, data->q_bias, q, scratch);
    if (status == ATTN_OK)
        status = project(data, plan, MHA_KEY, data->key, data->query, data->k_weight, data->k_bias,
                         k, scratch);
    if (status == ATTN_OK)
        status = project(data, plan, MHA_VALUE, data->value, data->key, data->v_weight,
                         data->v_bias, v, scratch);

    if (desc->rotary_dim > 0) {
        if (status == ATTN_OK)
            status = rotary(&plan->rotary_q, q, data->rotary_cos, data->rotary_sin, q);
        if (status == ATTN_OK)
            status = rotary(&plan->rotary_k, k, data->rotary_cos, data->rotary_sin, k);
    }
    return status;
}

/* Extends the softmax of one row by the extra keys.
 *   q            [head_dim]
 *   extra_k, _v  [extra] pointers to [head_dim], NULL for zeros
 *   out          [head_dim], in and out
 *   weights      [seq_len_kv + extra], the first seq_len_kv in and out, or NULL
 * Returns the logarithm of the whole sum. */
static double extend_softmax(const mha_plan *plan, const real *q, const real *const *extra_k,
                             const real *const *extra_v, double logsumexp, real *out,
                             real *weights) {
    const int32_t seq_len_kv = plan->sdpa.seq_len_kv;
    double extra_weight[2] = {0.0, 0.0};

    double row_max = logsumexp;
    for (int32_t e = 0; e < plan->extra; e++) {
        double dot = 0.0;
        for (int32_t d = 0; d < plan->head_dim; d++)
            dot += (double)q[d] * (extra_k[e] ? (double)extra_k[e][d] : 0.0);
        extra_weight[e] = plan->sdpa.scale * dot;
        if (extra_weight[e] > row_max || isnan(extra_weight[e]))
            row_max = extra_weight[e];
    }

    /* As in the reference, a row whose scores are all -inf has the weights 0, not NaN. */
    double others = 0.0, total = -INFINITY;
    if (row_max == -INFINITY) {
        extra_weight[0] = extra_weight[1] = 0.0;
    } else {
        double row_sum = others = exp(logsumexp - row_max);
        for (int32_t e = 0; e < plan->extra; e++)
            row_sum += extra_weight[e] = exp(extra_weight[e] - row_max);
        total = row_max + log(row_sum);
        others /= row_sum;
        for (int32_t e = 0; e < plan->extra; e++)
            extra_weight[e] /= row_sum;
    }

    for (int32_t d = 0; d < plan->head_dim; d++) {
        double sum = others * (double)out[d];
        for (int32_t e = 0; e < plan->extra; e++)
            sum += extra_weight[e] * (extra_v[e] ? (double)extra_v[e][d] : 0.0);
        out[d] = (real)sum;
    }
    if (!weights)
        return total;
    /* A weight of exactly 0 stays 0 in a row of NaN: its key was never read. */
    for (int32_t j = 0; j < seq_len_kv; j++)
        if (weights[j] != 0)
            weights[j] = (real)(others * (double)weights[j]);
    for (int32_t e = 0; e < plan->extra; e++)
        weights[seq_len_kv + e] = (real)extra_weight[e];
    return total;
}

/* extend_softmax for every row of one sdpa call. q and concat are its query and out, bias_k and
 * bias_v begin with its first key/value head. weights holds its rows without the extra columns, at
 * the end of the space of those with: each row moves forward, never over one that is still to come.
 * logsumexp becomes that of all keys. */
static void add_extra_keys(const mha_plan *plan, const real *q, const real *bias_k,
                           const real *bias_v, real *logsumexp, real *concat, real *weights) {
    const attn_sdpa_desc *sdpa = &plan->sdpa;
    const ptrdiff_t rows = (ptrdiff_t)sdpa->batch * sdpa->num_heads * sdpa->seq_len_q;
    const ptrdiff_t columns = (ptrdiff_t)sdpa->seq_len_kv + plan->extra;
    ptrdiff_t row = 0;
    for (int32_t b = 0; b < sdpa->batch; b++) {
        for (int32_t h = 0; h < sdpa->num_heads; h++) {
            const ptrdiff_t kv_head = h / (sdpa->num_heads / sdpa->num_kv_heads);
            const real *extra_k[2] = {NULL, NULL}, *extra_v[2] = {NULL, NULL};
            if (bias_k) {
                extra_k[0] = bias_k + kv_head * plan->head_dim;
                extra_v[0] = bias_v + kv_head * plan->head_dim;
            }
            for (int32_t i = 0; i < sdpa->seq_len_q; i++, row++) {
                real *row_weights = NULL;
                if (weights) {
                    row_weights = weights + row * columns;
                    memmove(row_weights, weights + rows * plan->extra + row * sdpa->seq_len_kv,
                            (size_t)sdpa->seq_len_kv * sizeof(real));
                }
                logsumexp[row] = (real)extend_softmax(
                    plan, q + b * sdpa->query.batch + h * sdpa->query.head + i * sdpa->query.row,
                    extra_k, extra_v, (double)logsumexp[row],
                    concat + b * sdpa->out.batch + h * sdpa->out.head + i * sdpa->out.row,
                    row_weights);
            }
        }
    }
}

/* concat <- heads [first_head, first_head + heads_per_call), weights (if wanted) likewise */
static attn_status attend(const attn_mha_desc *desc, const mha_data *data, const mha_plan *plan,
                          int32_t first_head, real *weights, const attn_exec *exec) {
    char *workspace = exec->workspace;
    const attn_exec scratch = {.threads = exec->threads,
                               .workspace = workspace + plan->scratch,
                               .workspace_bytes = exec->workspace_bytes - plan->scratch};
    const ptrdiff_t column = (ptrdiff_t)first_head * plan->head_dim;
    const ptrdiff_t kv_column =
        (ptrdiff_t)(first_head / (desc->num_heads / desc->num_kv_heads)) * plan->head_dim;
    const real *q = (const real *)(workspace + plan->q) + column;
    real *concat = (real *)(workspace + plan->concat) + column;
    real *logsumexp = plan->extra > 0 ? (real *)(workspace + plan->logsumexp) : NULL;

    attn_sdpa_desc part = plan->sdpa;
    for (int m = 0; m < 2; m++) {
        attn_mask *mask = &part.masks[m];
        const ptrdiff_t element_bytes = mask->kind == ATTN_MASK_BOOL ? 1 : (ptrdiff_t)sizeof(real);
        if (mask->kind != ATTN_MASK_NONE && mask->data)
            mask->data = (const char *)mask->data + first_head * mask->head * element_bytes;
    }
    const ptrdiff_t rows = (ptrdiff_t)part.batch * part.num_heads * part.seq_len_q;
    const sdpa_data attention = {
        .query = q,
        .key = (const real *)(workspace + plan->k) + kv_column,
        .value = (const real *)(workspace + plan->v) + kv_column,
        .out = concat,
        .weights = weights ? weights + rows * plan->extra : NULL,
        .logsumexp = logsumexp,
    };
    const attn_status status = sdpa(&part, &attention, &scratch);
    if (status == ATTN_OK && plan->extra > 0)
        add_extra_keys(plan, q, data->bias_k ? data->bias_k + kv_column : NULL,
                       data->bias_v ? data->bias_v + kv_column : NULL, logsumexp, concat, weights);
    return status;
}

static attn_status mha(const attn_mha_desc *desc, const mha_data *data, const attn_exec *exec) {
    mha_plan plan;
    size_t bytes;
    int32_t first, end;
    attn_status status = plan_call(desc, data, exec ? exec->threads : NULL, &plan, &bytes);
    if (status == ATTN_OK)
        status = exec_check(exec, bytes, 1, &first, &end);
    if (status != ATTN_OK || first == end || plan.projections[MHA_QUERY].rows.calls == 0)
        return status;

    char *workspace = exec->workspace;
    const attn_exec scratch = {.threads = exec->threads,
                               .workspace = workspace + plan.scratch,
                               .workspace_bytes = bytes - plan.scratch};
    status = project_inputs(desc, data, &plan, workspace, &scratch);
    if (plan.heads_per_call == desc->num_heads) {
        if (status == ATTN_OK)
            status = attend(desc, data, &plan, 0, data->weights, exec);
    } else {
        /* One head at a time, so that the weights of only one have to be kept: their mean over
         * heads. */
        const real *head_weights = (const real *)(workspace + plan.weights);
        const ptrdiff_t count =
            (ptrdiff_t)desc->batch * desc->seq_len_q * (desc->seq_len_kv + plan.extra);
        for (int32_t h = 0; h < desc->num_heads && status == ATTN_OK; h++) {
            status = attend(desc, data, &plan, h, (real *)(workspace + plan.weights), exec);
            for (ptrdiff_t e = 0; e < count && status == ATTN_OK; e++)
                data->weights[e] = (h > 0 ? data->weights[e] : 0) + head_weights[e];
        }
        for (ptrdiff_t e = 0; e < count; e++)
            data->weights[e] /= (real)desc->num_heads;
    }

    if (status == ATTN_OK)
        status = project(data, &plan, MHA_OUT, (const real *)(workspace + plan.concat), NULL,
                         data->out_weight, data->out_bias, data->out, &scratch);
    return status;
}
