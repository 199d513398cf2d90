/* The part of multi-head attention that does not depend on the element type: sizes, layout and
 * workspace of one call. mha_body.h does the work. */
#ifndef MHA_H
#define MHA_H

#include "sdpa_common.h"

enum { MHA_QUERY, MHA_KEY, MHA_VALUE, MHA_OUT, MHA_TENSORS };

/* The [batch, seq_len] rows of one of the caller's tensors, as attn_linear takes them: `calls` runs
 * of `rows` rows, each run at one distance. Contiguous tensors are one run, batch-first or not;
 * anything else is one run per batch element. Inside the layer the same rows, beyond their
 * projection, lie one behind the other, at `packed`. */
typedef struct mha_rows {
    int32_t calls, rows;
    ptrdiff_t call_stride, row_stride;
    attn_strides packed;
} mha_rows;

typedef struct mha_projection {
    const attn_strides *strides; /* of the caller's tensor */
    int32_t seq_len, in_dim, out_dim;
    mha_rows rows;
    uint64_t panels; /* where those of its weights begin in packed_weights, in elements */
} mha_projection;

/* The pieces of the workspace are named by their distance from its start in bytes. */
typedef struct mha_plan {
    int32_t head_dim, kv_dim;
    int32_t extra;          /* keys behind the caller's: bias_k, the zero key */
    int32_t heads_per_call; /* of sdpa: all of them, or one where weights are averaged */
    mha_projection projections[MHA_TENSORS];
    uint64_t panels_end;
    attn_rotary_desc rotary_q, rotary_k; /* of q and k in place, where desc.rotary_dim > 0 */
    attn_sdpa_desc sdpa;                 /* of one such call */
    size_t q;         /* [batch * seq_len_q, embed_dim], as query's rows.packed */
    size_t k, v;      /* [batch * seq_len_kv, kv_dim] */
    size_t concat;    /* [batch * seq_len_q, embed_dim]: the heads' outputs side by side */
    size_t logsumexp; /* [batch, heads_per_call, seq_len_q], where extra > 0 */
    size_t weights;   /* [batch, seq_len_q, seq_len_kv + extra] of one head, where weights are
                         averaged */
    size_t scratch;   /* what attn_linear and attn_sdpa want, one at a time */
} mha_plan;

/* The call's sizes, layout, tensors and weights, checked. */
attn_status mha_plan_init(mha_plan *plan, const attn_mha_desc *desc,
                          const void *const tensors[MHA_TENSORS],
                          const void *const weights[MHA_TENSORS], bool has_bias_kv,
                          bool wants_weights, size_t element_bytes);

/* Appends rows * columns elements to a workspace of *bytes, at *piece; false where that is too
 * much. */
bool mha_reserve(uint64_t *bytes, size_t *piece, uint64_t rows, uint64_t columns,
                 size_t element_bytes);

#endif
