/* The part of the multi-head layer's gradients that does not depend on the element type.
 * mha_backward_body.h does the work. */
#ifndef MHA_BACKWARD_H
#define MHA_BACKWARD_H

#include "mha.h"
#include "sdpa_backward_common.h"

/* As mha_plan, whose workspace comes first. The gradients of q, k, v and concat lie as these do. */
typedef struct mha_backward_plan {
    mha_plan forward;
    mha_rows query, key, value; /* of their gradients; forward's, unless one row serves a batch */
    attn_sdpa_backward_desc sdpa;
    size_t logsumexp; /* [batch, num_heads, seq_len_q]: of all keys */
    size_t grad_q, grad_k, grad_v;
    size_t grad_concat;
    size_t negated_sin; /* [positions, rotary_dim / 2], where desc.rotary_dim > 0 */
    size_t bias_sums;   /* double [2, kv_dim]: the gradients of bias_k and bias_v */
    size_t scratch;
} mha_backward_plan;

/* Completes a plan of which forward is there; ATTN_ERR_SIZE where the workspace is too large. */
attn_status mha_backward_plan_init(mha_backward_plan *plan, const attn_mha_desc *desc,
                                   bool has_bias_kv, size_t element_bytes);

/* The rows of the gradient of a tensor of the caller, from those of the tensor. false where rows
 * overlap, so that they cannot be added to in one run; those of different runs may. */
bool mha_gradient_rows(mha_rows *rows, const attn_strides *strides, int32_t batch, int32_t seq_len,
                       int32_t dim);

/* Sets the gradient of a tensor of the caller, [batch, seq_len, dim], to 0. */
void mha_gradient_clear(void *data, const attn_strides *strides, int32_t batch, int32_t seq_len,
                        int32_t dim, size_t element_bytes);

#endif
