/* Additive attention: attn_sdpa with another score, along the same paths. */
#include "sdpa_f32.h"
#include "sdpa_reference.h"

attn_status attn_additive_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                              const float *v, const attn_exec *exec) {
    return v ? sdpa_run_f32(desc, data, v, exec) : ATTN_ERR_NULL;
}

attn_status attn_additive_f64(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                              const double *v, const attn_exec *exec) {
    return v ? reference_run(desc, data, v, exec) : ATTN_ERR_NULL;
}
