/* Rotary position embedding: pairs of columns turned by angles that belong to a row's position.
 * Both columns of a pair are read before one is written, so that x may be out. */
#include "sdpa_common.h"

static attn_status check_rotary(const attn_rotary_desc *desc, const void *x, const void *cos,
                                const void *sin, const void *out, size_t element_bytes) {
    if (!desc)
        return ATTN_ERR_NULL;
    if (desc->batch < 0 || desc->seq_len < 0 || desc->num_positions < 0 || desc->num_heads < 1 ||
        desc->head_dim < 1)
        return ATTN_ERR_SHAPE;
    if (desc->rotary_dim < 2 || desc->rotary_dim % 2 != 0 || desc->rotary_dim > desc->head_dim)
        return ATTN_ERR_SHAPE;
    if (desc->batch == 0 || desc->seq_len == 0)
        return ATTN_OK;
    if (!desc->position_ids && desc->num_positions < desc->seq_len)
        return ATTN_ERR_SHAPE;
    if (rows_overlap(desc->batch, desc->out.batch, desc->head_dim) ||
        rows_overlap(desc->num_heads, desc->out.head, desc->head_dim) ||
        rows_overlap(desc->seq_len, desc->out.row, desc->head_dim))
        return ATTN_ERR_OPTION;

    const uint64_t limit = PTRDIFF_MAX / element_bytes;
    attn_status status = check_tensor(x, desc->batch, desc->num_heads, desc->seq_len,
                                      desc->head_dim, &desc->x, limit);
    if (status == ATTN_OK)
        status = check_tensor(out, desc->batch, desc->num_heads, desc->seq_len, desc->head_dim,
                              &desc->out, limit);
    const attn_strides tables = {desc->table_batch, 0, desc->rotary_dim / 2};
    const void *const table[2] = {cos, sin};
    for (int t = 0; t < 2 && status == ATTN_OK; t++)
        status = check_tensor(table[t], desc->batch, 1, desc->num_positions, desc->rotary_dim / 2,
                              &tables, limit);
    if (status != ATTN_OK || !desc->position_ids)
        return status;
    for (int64_t r = 0; r < (int64_t)desc->batch * desc->seq_len; r++)
        if (desc->position_ids[r] < 0 || desc->position_ids[r] >= desc->num_positions)
            return ATTN_ERR_LENGTH;
    return ATTN_OK;
}

/* Where row r of [batch, num_heads, seq_len] begins in x, in the tables and in out. */
typedef struct row_place {
    ptrdiff_t x, table, out;
} row_place;

static row_place place_of(const attn_rotary_desc *desc, int64_t row) {
    const int32_t s = (int32_t)(row % desc->seq_len);
    const int32_t h = (int32_t)(row / desc->seq_len % desc->num_heads);
    const int32_t b = (int32_t)(row / desc->seq_len / desc->num_heads);
    const ptrdiff_t position =
        desc->position_ids ? desc->position_ids[(ptrdiff_t)b * desc->seq_len + s] : s;
    return (row_place){
        .x = b * desc->x.batch + h * desc->x.head + s * desc->x.row,
        .table = b * desc->table_batch + position * (desc->rotary_dim / 2),
        .out = b * desc->out.batch + h * desc->out.head + s * desc->out.row,
    };
}

static int64_t row_count(const attn_rotary_desc *desc) {
    return (int64_t)desc->batch * desc->num_heads * desc->seq_len;
}

/* Column a of pair k; its partner lies `partner` behind it. */
static int32_t pair_step(const attn_rotary_desc *desc) {
    return desc->interleaved ? 2 : 1;
}

static int32_t pair_partner(const attn_rotary_desc *desc) {
    return desc->interleaved ? 1 : desc->rotary_dim / 2;
}

attn_status attn_rotary_f32(const attn_rotary_desc *desc, const float *x, const float *cos,
                            const float *sin, float *out) {
    const attn_status status = check_rotary(desc, x, cos, sin, out, sizeof(float));
    if (status != ATTN_OK)
        return status;
    const int32_t step = pair_step(desc), partner = pair_partner(desc);
    for (int64_t row = 0; row < row_count(desc); row++) {
        const row_place at = place_of(desc, row);
        const float *from = x + at.x, *c = cos + at.table, *s = sin + at.table;
        float *to = out + at.out;
        for (int32_t k = 0; k < desc->rotary_dim / 2; k++) {
            const float a = from[k * step], b = from[k * step + partner];
            to[k * step] = c[k] * a - s[k] * b;
            to[k * step + partner] = s[k] * a + c[k] * b;
        }
        for (int32_t d = desc->rotary_dim; d < desc->head_dim; d++)
            to[d] = from[d];
    }
    return ATTN_OK;
}

attn_status attn_rotary_f64(const attn_rotary_desc *desc, const double *x, const double *cos,
                            const double *sin, double *out) {
    const attn_status status = check_rotary(desc, x, cos, sin, out, sizeof(double));
    if (status != ATTN_OK)
        return status;
    const int32_t step = pair_step(desc), partner = pair_partner(desc);
    for (int64_t row = 0; row < row_count(desc); row++) {
        const row_place at = place_of(desc, row);
        const double *from = x + at.x, *c = cos + at.table, *s = sin + at.table;
        double *to = out + at.out;
        for (int32_t k = 0; k < desc->rotary_dim / 2; k++) {
            const double a = from[k * step], b = from[k * step + partner];
            to[k * step] = c[k] * a - s[k] * b;
            to[k * step + partner] = s[k] * a + c[k] * b;
        }
        for (int32_t d = desc->rotary_dim; d < desc->head_dim; d++)
            to[d] = from[d];
    }
    return ATTN_OK;
}
