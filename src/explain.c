/* One row of attn_sdpa_f64 with every step kept: the reference's own functions, in its order, so that every number is its own
 * to the last bit. */
#include <math.h>

#include "sdpa_reference.h"

attn_status attn_explain_f64(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                             int32_t batch, int32_t head, int32_t row,
                             const attn_explain_f64_terms *terms, attn_explain_f64_totals *totals) {
    if (!desc || !data || !terms || !totals)
        return ATTN_ERR_NULL;
    const attn_sdpa_f64_data inputs = {.query = data->query,
                                       .key = data->key,
                                       .value = data->value,
                                       .alibi_slopes = data->alibi_slopes};
    const sdpa_tensors tensors = sdpa_tensors_f64(&inputs);
    const attn_status status = sdpa_check(desc, &tensors, sizeof(double));
    if (status != ATTN_OK)
        return status;
    if (batch < 0 || batch >= desc->batch || head < 0 || head >= desc->num_heads || row < 0 ||
        row >= desc->seq_len_q)
        return ATTN_ERR_SHAPE;
    if (!terms->out ||
        (desc->seq_len_kv > 0 && (!terms->dots || !terms->scaled || !terms->softcapped ||
                                  !terms->scores || !terms->shifted || !terms->exponentials ||
                                  !terms->weights || !terms->weighted || !terms->visible)))
        return ATTN_ERR_NULL;

    const row_position at = {batch, head, row};
    const int32_t seq_len_kv = desc->seq_len_kv, head_dim = desc->head_dim,
                  head_dim_v = desc->head_dim_v;
    const int32_t kv_length = sdpa_kv_length(desc, batch);
    const double *query = data->query + row_offset(&desc->query, at);
    int32_t lo, hi;
    sdpa_visible(desc, batch, row, &lo, &hi);

    for (int32_t j = 0; j < seq_len_kv; j++) {
        const bool exists = j < kv_length;
        const double *key = data->key + (exists ? kv_row_offset(&desc->key, desc, at, j) : 0);
        if (terms->products)
            for (int32_t d = 0; d < head_dim; d++)
                terms->products[(ptrdiff_t)j * head_dim + d] = exists ? query[d] * key[d] : 0.0;
        terms->dots[j] = terms->scaled[j] = terms->softcapped[j] = terms->scores[j] = -INFINITY;
        if (exists) {
            terms->dots[j] = dot(query, key, head_dim);
            terms->scaled[j] = reference_score(desc, data, NULL, at, j, ATTN_SCORES_RAW);
            terms->softcapped[j] = reference_score(desc, data, NULL, at, j, ATTN_SCORES_SOFTCAPPED);
        }
        if (j >= lo && j < hi)
            terms->scores[j] = reference_score(desc, data, NULL, at, j, ATTN_SCORES_MASKED);
        terms->visible[j] = terms->scores[j] != -INFINITY;
    }

    const double max = reference_max(terms->scores + lo, hi - lo);
    const double shift = reference_shift(max);
    double sum = 0.0;
    for (int32_t j = 0; j < seq_len_kv; j++) {
        const bool counts = j >= lo && j < hi && max != -INFINITY;
        terms->shifted[j] = counts ? terms->scores[j] - shift : -INFINITY;
        terms->exponentials[j] = counts ? exp(terms->shifted[j]) : 0.0;
        if (counts)
            sum += terms->exponentials[j];
    }
    for (int32_t d = 0; d < head_dim_v; d++)
        terms->out[d] = 0.0;
    for (int32_t j = 0; j < seq_len_kv; j++) {
        const bool counts = j >= lo && j < hi && max != -INFINITY;
        terms->weights[j] = counts ? terms->exponentials[j] / sum : 0.0;
        double *weighted = terms->weighted + (ptrdiff_t)j * head_dim_v;
        const double *value = data->value + (counts ? kv_row_offset(&desc->value, desc, at, j) : 0);
        for (int32_t d = 0; d < head_dim_v; d++) {
            weighted[d] = counts ? terms->weights[j] * value[d] : 0.0;
            if (counts)
                terms->out[d] += weighted[d];
        }
    }
    *totals = (attn_explain_f64_totals){
        .max = max,
        .shift = max == -INFINITY ? 0.0 : shift,
        .sum = sum,
        .logsumexp = max == -INFINITY ? -INFINITY : shift + log(sum),
    };
    return ATTN_OK;
}
