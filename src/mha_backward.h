/* The part of the multi-head layer's gradients that does not depend on the element type.
 * mha_backward_body.h does the work. */
#ifndef MHA_BACKWARD_H
#define MHA_BACKWARD_H

#include "mha.h"
#include "sdpa_backward_common.h"

/* As mha_plan, whose workspace comes first. The gradients of q, k, v and concat lie as these do. */
typedef struct mha_backward_plan {
    mha_plan forward;
    mha_rows rows[MHA_OUT]; /* of their gradients; forward's, unless one row serves a batch */
    attn_sdpa_backward_desc sdpa;
    size_t logsumexp; /* [batch, num_heads, seq_len_q]: of all keys */
    size_t grad_q, grad_k, grad_v;
    size_t grad_concat;
    size_t negated_sin; /* [positions, rotary_dim / 2], where desc.rotary_dim > 0 */
    size_t bias_sums;   /* double [2, kv_dim]: the gradients of bias_k and bias_v */
    size_t scratch;
} mha_backward_plan;

/* Completes a plan of which forward is there. gradients of query, key and value may be NULL.
 * ATTN_ERR_OPTION where rows of one overlap, ATTN_ERR_SIZE where the workspace is too large. */
attn_status mha_backward_plan_init(mha_backward_plan *plan, const attn_mha_desc *desc,
                                   const void *const gradients[MHA_OUT], bool has_bias_kv,
                                   size_t element_bytes);

/* Sets to 0 what is wanted of the gradients of query, key and value, of the weights and biases and
 * of bias_k and bias_v. */
void mha_gradients_clear(const mha_plan *plan, int32_t batch, void *const tensors[MHA_OUT],
                         void *const weights[MHA_TENSORS], void *const biases[MHA_TENSORS],
                         void *const bias_kv[2], size_t element_bytes);

#endif
