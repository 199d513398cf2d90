#include "mha_backward.h"

typedef double real;
typedef attn_mha_f64_data mha_data;
typedef attn_sdpa_f64_data sdpa_data;

static attn_status linear_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                    const attn_threads *threads, size_t *bytes) {
    (void)rows, (void)in_dim, (void)out_dim, (void)threads;
    *bytes = 0;
    return ATTN_OK;
}

static attn_status linear(int32_t rows, int32_t in_dim, int32_t out_dim, const real *x,
                          ptrdiff_t x_stride, bool is_packed, const real *w, const real *panels,
                          const real *bias, real *y, ptrdiff_t y_stride, const attn_exec *exec) {
    (void)is_packed, (void)panels, (void)exec;
    return attn_linear_f64(rows, in_dim, out_dim, x, x_stride, w, bias, y, y_stride);
}

static attn_status sdpa_workspace(const attn_sdpa_desc *desc, const sdpa_data *data,
                                  const attn_threads *threads, size_t *bytes) {
    (void)threads;
    return attn_sdpa_f64_workspace(desc, data, bytes, NULL);
}

static attn_status sdpa(const attn_sdpa_desc *desc, const sdpa_data *data, const attn_exec *exec) {
    return attn_sdpa_f64(desc, data, exec);
}

static attn_status rotary(const attn_rotary_desc *desc, const real *x, const real *cos,
                          const real *sin, real *out) {
    return attn_rotary_f64(desc, x, cos, sin, out);
}

#include "mha_body.h"

attn_status attn_mha_f64_workspace(const attn_mha_desc *desc, const attn_mha_f64_data *data,
                                   size_t *bytes) {
    mha_plan plan;
    size_t needed;
    const attn_status status = plan_call(desc, data, NULL, &plan, &needed);
    if (status == ATTN_OK && bytes)
        *bytes = needed;
    return status;
}

attn_status attn_mha_f64(const attn_mha_desc *desc, const attn_mha_f64_data *data,
                         const attn_exec *exec) {
    return mha(desc, data, exec);
}

typedef attn_mha_backward_f64_data mha_backward_data;
typedef attn_sdpa_backward_f64_data sdpa_backward_data;

static attn_status linear_backward_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                             const attn_threads *threads, size_t *bytes) {
    (void)rows, (void)in_dim, (void)out_dim, (void)threads;
    *bytes = 0;
    return ATTN_OK;
}

static attn_status linear_backward(int32_t rows, int32_t in_dim, int32_t out_dim, const real *x,
                                   ptrdiff_t x_stride, const real *w, const real *grad_y,
                                   ptrdiff_t grad_y_stride, real *grad_x, ptrdiff_t grad_x_stride,
                                   real *grad_w, real *grad_bias, const attn_exec *exec) {
    (void)exec;
    return attn_linear_backward_f64(rows, in_dim, out_dim, x, x_stride, w, grad_y, grad_y_stride,
                                    grad_x, grad_x_stride, grad_w, grad_bias, 1);
}

static attn_status sdpa_backward_workspace(const attn_sdpa_backward_desc *desc,
                                           const sdpa_backward_data *data,
                                           const attn_threads *threads, size_t *bytes) {
    (void)threads;
    return attn_sdpa_backward_f64_workspace(desc, data, bytes, NULL);
}

static attn_status sdpa_backward(const attn_sdpa_backward_desc *desc,
                                 const sdpa_backward_data *data, const attn_exec *exec) {
    return attn_sdpa_backward_f64(desc, data, exec);
}

#include "mha_backward_body.h"

attn_status attn_mha_backward_f64_workspace(const attn_mha_desc *desc,
                                            const attn_mha_backward_f64_data *data, size_t *bytes) {
    mha_backward_plan plan;
    size_t needed;
    const attn_status status = plan_backward(desc, data, NULL, &plan, &needed);
    if (status == ATTN_OK && bytes)
        *bytes = needed;
    return status;
}

attn_status attn_mha_backward_f64(const attn_mha_desc *desc, const attn_mha_backward_f64_data *data,
                                  const attn_exec *exec) {
    return mha_backward(desc, data, exec);
}
