/* The specification. Everything here is written to be read aloud, in double precision, one row at a
 * time; every other path of the library is compared with it. First the textbook form of one query,
 * then the same four passes with every option of attn_sdpa_desc. */
#include "sdpa_reference.h"

#include <math.h>

double reference_max(const double *row, int32_t length) {
    double row_max = -INFINITY;
    for (int32_t j = 0; j < length; j++)
        if (row[j] > row_max || isnan(row[j]))
            row_max = row[j];
    return row_max;
}

/* Scores up to this size need no shift: exp lies within e^+-300, about 1e+-130, so that the sum of
 * any number of them is far from overflow, and what underflows is below 1e-170 of the largest. */
static const double SAFE_SCORE = 300.0;

/* The shift changes nothing in the quotient, but it rounds. It is 0 where it can be, so that the
 * textbook's exp(x) / sum exp(x) comes out to the last digit, and otherwise the largest score, so
 * that no exponential is above 1. */
double reference_shift(double max) {
    return fabs(max) <= SAFE_SCORE ? 0.0 : max;
}

/* row[j] <- exp(row[j] - shift) / sum_j exp(row[j] - shift). Returns log sum_j exp(row[j]).
 *
 * Where every score is -inf (or there is none), no key can be attended to. -inf - -inf would be
 * NaN: the weights are 0 by decree, and the logarithm is -inf. */
static double softmax(double *row, int32_t length) {
    const double row_max = reference_max(row, length);
    if (row_max == -INFINITY) {
        for (int32_t j = 0; j < length; j++)
            row[j] = 0.0;
        return -INFINITY;
    }

    const double shift = reference_shift(row_max);
    double row_sum = 0.0;
    for (int32_t j = 0; j < length; j++) {
        row[j] = exp(row[j] - shift);
        row_sum += row[j];
    }
    for (int32_t j = 0; j < length; j++)
        row[j] /= row_sum;
    return shift + log(row_sum);
}

attn_status attn_attention_f64(int32_t seq_len_kv, int32_t head_dim, int32_t head_dim_v,
                               double scale, const double *query, const double *key,
                               const double *value, double *scores, double *weights, double *out) {
    if (seq_len_kv < 1 || head_dim < 1 || head_dim_v < 1)
        return ATTN_ERR_SHAPE;
    if (isnan(scale))
        return ATTN_ERR_OPTION;
    const uint64_t limit = PTRDIFF_MAX / sizeof(double);
    const int32_t widest = head_dim > head_dim_v ? head_dim : head_dim_v;
    uint64_t elements = 0;
    if (!add_product(&elements, (uint64_t)seq_len_kv, (uint64_t)widest, limit))
        return ATTN_ERR_SIZE;
    if (!query || !key || !value || !scores || !weights || !out)
        return ATTN_ERR_NULL;

    /* scores[j] = scale * query . key[j] */
    for (int32_t j = 0; j < seq_len_kv; j++)
        scores[j] = scale * dot(query, key + (ptrdiff_t)j * head_dim, head_dim);

    /* weights = softmax(scores) */
    for (int32_t j = 0; j < seq_len_kv; j++)
        weights[j] = scores[j];
    softmax(weights, seq_len_kv);

    /* out[d] = sum_j weights[j] * value[j][d] */
    for (int32_t d = 0; d < head_dim_v; d++) {
        double sum = 0.0;
        for (int32_t j = 0; j < seq_len_kv; j++)
            sum += weights[j] * value[(ptrdiff_t)j * head_dim_v + d];
        out[d] = sum;
    }
    return ATTN_OK;
}

double reference_score(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data, const double *v,
                       row_position at, int32_t j, int32_t stage) {
    const double *query = data->query + row_offset(&desc->query, at);
    const double *key = data->key + kv_row_offset(&desc->key, desc, at, j);
    double s = desc->scale * (v ? additive_score(v, query, key, desc->head_dim)
                                : dot(query, key, desc->head_dim));
    if (stage == ATTN_SCORES_RAW)
        return s;

    if (desc->softcap > 0.0)
        s = desc->softcap * tanh(s / desc->softcap);
    if (stage == ATTN_SCORES_SOFTCAPPED)
        return s;

    if (data->alibi_slopes) {
        const double slope = data->alibi_slopes[at.b * desc->alibi_batch_stride + at.h];
        s -= slope * fabs((double)(at.i + sdpa_offset(desc, at.b) - j));
    }
    for (int m = 0; m < 2; m++) {
        const attn_mask *mask = &desc->masks[m];
        if (j >= sdpa_mask_keys(desc, mask))
            continue;
        const ptrdiff_t element = sdpa_mask_row(mask, at.b, at.h, at.i) + j * mask->key;
        if (mask->kind == ATTN_MASK_ADD)
            s += ((const double *)mask->data)[element];
        else if (!((const uint8_t *)mask->data)[element])
            s = -INFINITY;
    }
    return s;
}

/* weights [seq_len_kv]: scratch, and the row's weights afterwards. */
static void attend(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data, const double *v,
                   row_position at, double *weights) {
    const int32_t seq_len_kv = desc->seq_len_kv;
    const ptrdiff_t row =
        ((ptrdiff_t)at.b * desc->num_heads + at.h) * desc->seq_len_q + at.i; /* of B * H * Sq */

    /* Only the keys lo <= j < hi may be read for the result. */
    int32_t lo, hi;
    sdpa_visible(desc, at.b, at.i, &lo, &hi);

    /* Pass 1: scores. Those of keys that are not visible are -inf. */
    for (int32_t j = 0; j < seq_len_kv; j++)
        weights[j] = j >= lo && j < hi ? reference_score(desc, data, v, at, j, ATTN_SCORES_MASKED)
                                       : -INFINITY;

    /* The scores of the stage that was asked for. Before masking, the row has one for each key of
     * the batch element. */
    if (data->scores) {
        const int32_t kv_length = sdpa_kv_length(desc, at.b);
        for (int32_t j = 0; j < seq_len_kv; j++) {
            double s = weights[j];
            if (desc->scores_stage != ATTN_SCORES_MASKED)
                s = j < kv_length ? reference_score(desc, data, v, at, j, desc->scores_stage)
                                  : -INFINITY;
            data->scores[row * seq_len_kv + j] = s;
        }
    }

    /* Passes 2 and 3: weights = softmax(scores). A key that is not visible gets the weight 0 even
     * where the row holds a NaN. */
    const double logsumexp = softmax(weights + lo, hi - lo);
    for (int32_t j = 0; j < seq_len_kv; j++)
        if (j < lo || j >= hi)
            weights[j] = 0.0;
    if (data->weights)
        for (int32_t j = 0; j < seq_len_kv; j++)
            data->weights[row * seq_len_kv + j] = weights[j];
    if (data->logsumexp)
        data->logsumexp[row] = logsumexp;

    /* Pass 4: out[d] = sum_j weights[j] * value[j][d]. A row without any weight is 0. */
    if (data->out) {
        double *out = data->out + row_offset(&desc->out, at);
        for (int32_t d = 0; d < desc->head_dim_v; d++) {
            double sum = 0.0;
            if (logsumexp != -INFINITY)
                for (int32_t j = lo; j < hi; j++)
                    sum += weights[j] * data->value[kv_row_offset(&desc->value, desc, at, j) + d];
            out[d] = sum;
        }
    }
}

/* One task is one row of the output. The workspace is one row of scores: of one at least, so that
 * it is never NULL where a row is computed. */
attn_status attn_sdpa_f64_workspace(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                                    size_t *bytes, int32_t *num_tasks) {
    if (!desc || !data)
        return ATTN_ERR_NULL;
    const sdpa_tensors tensors = sdpa_tensors_f64(data);
    const attn_status status = sdpa_check(desc, &tensors, sizeof(double));
    if (status != ATTN_OK)
        return status;

    uint64_t heads = 0, rows = 0;
    if (!add_product(&heads, (uint64_t)desc->batch, (uint64_t)desc->num_heads, INT32_MAX) ||
        !add_product(&rows, heads, (uint64_t)desc->seq_len_q, INT32_MAX))
        return ATTN_ERR_SIZE;
    const size_t row_length = desc->seq_len_kv > 0 ? (size_t)desc->seq_len_kv : 1;
    if (bytes)
        *bytes = rows > 0 ? workspace_piece(row_length * sizeof(double)) : 0;
    if (num_tasks)
        *num_tasks = (int32_t)rows;
    return ATTN_OK;
}

attn_status reference_run(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                          const double *v, const attn_exec *exec) {
    size_t bytes;
    int32_t rows, first, end;
    attn_status status = attn_sdpa_f64_workspace(desc, data, &bytes, &rows);
    if (status == ATTN_OK)
        status = exec_check(exec, bytes, rows, &first, &end);
    if (status != ATTN_OK)
        return status;

    for (int32_t row = first; row < end; row++) {
        const int32_t head = row / desc->seq_len_q; /* of B * H */
        const row_position at = {head / desc->num_heads, head % desc->num_heads,
                                 row % desc->seq_len_q};
        attend(desc, data, v, at, exec->workspace);
    }
    return ATTN_OK;
}

attn_status attn_sdpa_f64(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                          const attn_exec *exec) {
    return reference_run(desc, data, NULL, exec);
}
