#include "linear.h"
#include "mha_backward.h"

typedef float real;
typedef attn_mha_f32_data mha_data;
typedef attn_sdpa_f32_data sdpa_data;

static attn_status linear_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                    const attn_threads *threads, size_t *bytes) {
    return attn_linear_f32_workspace(rows, in_dim, out_dim, threads, bytes);
}

static attn_status linear(int32_t rows, int32_t in_dim, int32_t out_dim, const real *x,
                          ptrdiff_t x_stride, bool is_packed, const real *w, const real *panels,
                          const real *bias, real *y, ptrdiff_t y_stride, const attn_exec *exec) {
    return linear_f32(rows, in_dim, out_dim, x, x_stride, is_packed, w, panels, bias, y, y_stride,
                      exec);
}

static attn_status sdpa_workspace(const attn_sdpa_desc *desc, const sdpa_data *data,
                                  const attn_threads *threads, size_t *bytes) {
    return attn_sdpa_f32_workspace(desc, data, threads, bytes, NULL);
}

static attn_status sdpa(const attn_sdpa_desc *desc, const sdpa_data *data, const attn_exec *exec) {
    return attn_sdpa_f32(desc, data, exec);
}

static attn_status rotary(const attn_rotary_desc *desc, const real *x, const real *cos,
                          const real *sin, real *out) {
    return attn_rotary_f32(desc, x, cos, sin, out);
}

#include "mha_body.h"

attn_status attn_mha_f32_workspace(const attn_mha_desc *desc, const attn_mha_f32_data *data,
                                   const attn_threads *threads, size_t *bytes) {
    mha_plan plan;
    size_t needed;
    const attn_status status = plan_call(desc, data, threads, &plan, &needed);
    if (status == ATTN_OK && bytes)
        *bytes = needed;
    return status;
}

attn_status attn_mha_f32(const attn_mha_desc *desc, const attn_mha_f32_data *data,
                         const attn_exec *exec) {
    return mha(desc, data, exec);
}

attn_status attn_mha_pack_f32(const attn_mha_desc *desc, const attn_mha_f32_data *data,
                              float *packed, size_t *bytes) {
    mha_plan plan;
    size_t workspace;
    const attn_status status = plan_call(desc, data, NULL, &plan, &workspace);
    if (status != ATTN_OK)
        return status;
    if (!bytes)
        return ATTN_ERR_NULL;
    const bool too_large = plan.panels_end > PTRDIFF_MAX / sizeof(float);
    bool is_read = false;
    for (int p = 0; p < MHA_TENSORS; p++)
        is_read = is_read || plan.projections[p].rows.rows > DOT_ROWS;
    *bytes = is_read && !too_large ? (size_t)plan.panels_end * sizeof(float) : 0;
    const float *const weights[MHA_TENSORS] = {data->q_weight, data->k_weight, data->v_weight,
                                               data->out_weight};
    for (int p = 0; p < MHA_TENSORS && packed && *bytes > 0; p++) {
        const mha_projection *part = &plan.projections[p];
        linear_pack_panels(part->in_dim, part->out_dim, weights[p], packed + part->panels);
    }
    return ATTN_OK;
}

typedef attn_mha_backward_f32_data mha_backward_data;
typedef attn_sdpa_backward_f32_data sdpa_backward_data;

static attn_status linear_backward_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                             const attn_threads *threads, size_t *bytes) {
    return attn_linear_backward_f32_workspace(rows, in_dim, out_dim, threads, bytes);
}

static attn_status linear_backward(int32_t rows, int32_t in_dim, int32_t out_dim, const real *x,
                                   ptrdiff_t x_stride, const real *w, const real *grad_y,
                                   ptrdiff_t grad_y_stride, real *grad_x, ptrdiff_t grad_x_stride,
                                   real *grad_w, real *grad_bias, const attn_exec *exec) {
    return attn_linear_backward_f32(rows, in_dim, out_dim, x, x_stride, w, grad_y, grad_y_stride,
                                    grad_x, grad_x_stride, grad_w, grad_bias, 1, exec);
}

static attn_status sdpa_backward_workspace(const attn_sdpa_backward_desc *desc,
                                           const sdpa_backward_data *data,
                                           const attn_threads *threads, size_t *bytes) {
    return attn_sdpa_backward_f32_workspace(desc, data, threads, bytes, NULL);
}

static attn_status sdpa_backward(const attn_sdpa_backward_desc *desc,
                                 const sdpa_backward_data *data, const attn_exec *exec) {
    return attn_sdpa_backward_f32(desc, data, exec);
}

#include "mha_backward_body.h"

attn_status attn_mha_backward_f32_workspace(const attn_mha_desc *desc,
                                            const attn_mha_backward_f32_data *data,
                                            const attn_threads *threads, size_t *bytes) {
    mha_backward_plan plan;
    size_t needed;
    const attn_status status = plan_backward(desc, data, threads, &plan, &needed);
    if (status == ATTN_OK && bytes)
        *bytes = needed;
    return status;
}

attn_status attn_mha_backward_f32(const attn_mha_desc *desc, const attn_mha_backward_f32_data *data,
                                  const attn_exec *exec) {
    return mha_backward(desc, data, exec);
}
