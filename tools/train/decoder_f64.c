#include <math.h>

#include "attn.h"
#include "decoder.h"

typedef double real;
#define DECODER decoder_f64
typedef struct DECODER decoder;
typedef attn_sdpa_f64_data sdpa_data;
typedef attn_sdpa_backward_f64_data sdpa_backward_data;

#define NAME(name) decoder_f64_##name
#define rms_norm attn_rms_norm_f64
#define swiglu attn_swiglu_f64
#define softmax attn_softmax_f64
#define rotary attn_rotary_f64
#define sdpa attn_sdpa_f64
#define sdpa_backward attn_sdpa_backward_f64
#define exponential exp
#define root sqrt
#define SMALLEST 1e-300

static attn_status linear(int32_t rows, int32_t in_dim, int32_t out_dim, const real *x,
                          ptrdiff_t x_stride, const real *w, const real *bias, real *y,
                          ptrdiff_t y_stride, const attn_exec *exec) {
    (void)exec;
    return attn_linear_f64(rows, in_dim, out_dim, x, x_stride, w, bias, y, y_stride);
}

static attn_status linear_backward(int32_t rows, int32_t in_dim, int32_t out_dim, const real *x,
                                   ptrdiff_t x_stride, const real *w, const real *grad_y,
                                   ptrdiff_t grad_y_stride, real *grad_x, ptrdiff_t grad_x_stride,
                                   real *grad_w, real *grad_bias, int32_t accumulate,
                                   const attn_exec *exec) {
    (void)exec;
    return attn_linear_backward_f64(rows, in_dim, out_dim, x, x_stride, w, grad_y, grad_y_stride,
                                    grad_x, grad_x_stride, grad_w, grad_bias, accumulate);
}

static attn_status linear_workspace(int32_t rows, int32_t in_dim, int32_t out_dim, size_t *bytes) {
    (void)rows, (void)in_dim, (void)out_dim;
    *bytes = 0;
    return ATTN_OK;
}

static attn_status linear_backward_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                             size_t *bytes) {
    return linear_workspace(rows, in_dim, out_dim, bytes);
}

static attn_status sdpa_workspace(const attn_sdpa_desc *desc, const sdpa_data *data,
                                  size_t *bytes) {
    return attn_sdpa_f64_workspace(desc, data, bytes, NULL);
}

static attn_status sdpa_backward_workspace(const attn_sdpa_backward_desc *desc,
                                           const sdpa_backward_data *data, size_t *bytes) {
    return attn_sdpa_backward_f64_workspace(desc, data, bytes, NULL);
}

#include "decoder_body.h"
