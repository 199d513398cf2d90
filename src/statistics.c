/* Numbers that a person reads off attention weights. Plain loops in float64: a page asks for them
 * once per picture. */
#include <math.h>

#include "sdpa_common.h"

static attn_status check_matrix(int64_t matrices, int32_t rows, int32_t columns) {
    uint64_t all_rows = 0, elements = 0;
    const uint64_t limit = PTRDIFF_MAX / sizeof(double);
    return add_product(&all_rows, (uint64_t)matrices, (uint64_t)rows, limit) &&
                   add_product(&elements, all_rows, (uint64_t)columns, limit)
               ? ATTN_OK
               : ATTN_ERR_SIZE;
}

attn_status attn_head_statistics_f64(int32_t seq_len_q, int32_t seq_len_kv, int32_t offset,
                                     const double *weights, attn_head_statistics *statistics) {
    if (seq_len_q < 0 || seq_len_kv < 0)
        return ATTN_ERR_SHAPE;
    const attn_status status = check_matrix(1, seq_len_q, seq_len_kv);
    if (status != ATTN_OK)
        return status;
    if (!statistics || (!weights && seq_len_q > 0 && seq_len_kv > 0))
        return ATTN_ERR_NULL;

    attn_head_statistics sum = {0};
    for (int32_t i = 0; i < seq_len_q; i++) {
        const double *row = weights + (ptrdiff_t)i * seq_len_kv;
        const int64_t at = (int64_t)i + offset;
        double total = 0.0, max = 0.0;
        attn_head_statistics of_row = {0};
        for (int32_t j = 0; j < seq_len_kv; j++) {
            const double weight = row[j];
            total += weight;
            if (weight > max || isnan(weight))
                max = weight;
            /* x log x goes to 0 with x; below 0 it has no value. NaN stays. */
            if (!(weight <= 0.0))
                of_row.entropy -= weight * log2(weight);
            of_row.distance += weight * fabs((double)(at - j));
        }
        if (total == 0.0)
            continue; /* nothing was visible */
        if (at >= 0 && at < seq_len_kv)
            of_row.diagonal = row[at];
        if (at >= 1 && at - 1 < seq_len_kv)
            of_row.previous = row[at - 1];
        sum.entropy += of_row.entropy;
        sum.distance += of_row.distance;
        sum.diagonal += of_row.diagonal;
        sum.previous += of_row.previous;
        sum.first += row[0];
        sum.max += max;
        sum.rows++;
    }
    if (sum.rows > 0) {
        sum.entropy /= sum.rows;
        sum.distance /= sum.rows;
        sum.diagonal /= sum.rows;
        sum.previous /= sum.rows;
        sum.first /= sum.rows;
        sum.max /= sum.rows;
    }
    *statistics = sum;
    return ATTN_OK;
}

/* One element of the heads' fusion. */
static double fuse(int32_t num_heads, ptrdiff_t head_stride, const double *weight, int32_t fusion) {
    double fused = weight[0];
    for (int32_t h = 1; h < num_heads; h++) {
        const double w = weight[h * head_stride];
        if (fusion == ATTN_FUSE_MEAN)
            fused += w;
        else if (isnan(w) || (fusion == ATTN_FUSE_MAX ? w > fused : w < fused))
            fused = w;
    }
    return fusion == ATTN_FUSE_MEAN ? fused / num_heads : fused;
}

attn_status attn_rollout_f64(int32_t num_heads, int32_t seq_len, const double *weights,
                             double residual, int32_t fusion, const double *previous,
                             double *rollout) {
    if (num_heads < 1 || seq_len < 0)
        return ATTN_ERR_SHAPE;
    if (!(residual >= 0.0 && residual <= 1.0) || fusion < ATTN_FUSE_MEAN || fusion > ATTN_FUSE_MIN)
        return ATTN_ERR_OPTION;
    const attn_status status = check_matrix(num_heads, seq_len, seq_len);
    if (status != ATTN_OK || seq_len == 0)
        return status;
    if (!weights || !rollout)
        return ATTN_ERR_NULL;

    const ptrdiff_t length = seq_len;
    for (ptrdiff_t i = 0; i < length; i++) {
        double *row = rollout + i * length;
        double total = 0.0;
        for (ptrdiff_t d = 0; d < length; d++)
            row[d] = 0.0;
        for (ptrdiff_t j = 0; j < length; j++) {
            double share = (1.0 - residual) *
                           fuse(num_heads, length * length, weights + i * length + j, fusion);
            if (i == j)
                share += residual;
            total += share;
            if (!previous)
                row[j] = share;
            else if (share != 0.0)
                for (ptrdiff_t d = 0; d < length; d++)
                    row[d] += share * previous[j * length + d];
        }
        for (ptrdiff_t d = 0; d < length; d++)
            row[d] = total == 0.0 ? 0.0 : row[d] / total;
    }
    return ATTN_OK;
}
