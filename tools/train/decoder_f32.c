#include <math.h>

#include "attn.h"
#include "decoder.h"

typedef float real;
#define DECODER decoder_f32
typedef struct DECODER decoder;
typedef attn_sdpa_f32_data sdpa_data;
typedef attn_sdpa_backward_f32_data sdpa_backward_data;

#define NAME(name) decoder_f32_##name
#define rms_norm attn_rms_norm_f32
#define swiglu attn_swiglu_f32
#define softmax attn_softmax_f32
#define rotary attn_rotary_f32
#define sdpa attn_sdpa_f32
#define sdpa_backward attn_sdpa_backward_f32
#define linear attn_linear_f32
#define linear_backward attn_linear_backward_f32
#define exponential expf
#define root sqrtf
#define SMALLEST 1e-37f

static attn_status linear_workspace(int32_t rows, int32_t in_dim, int32_t out_dim, size_t *bytes) {
    return attn_linear_f32_workspace(rows, in_dim, out_dim, NULL, bytes);
}

static attn_status linear_backward_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                             size_t *bytes) {
    return attn_linear_backward_f32_workspace(rows, in_dim, out_dim, NULL, bytes);
}

static attn_status sdpa_workspace(const attn_sdpa_desc *desc, const sdpa_data *data,
                                  size_t *bytes) {
    return attn_sdpa_f32_workspace(desc, data, NULL, bytes, NULL);
}

static attn_status sdpa_backward_workspace(const attn_sdpa_backward_desc *desc,
                                           const sdpa_backward_data *data, size_t *bytes) {
    return attn_sdpa_backward_f32_workspace(desc, data, NULL, bytes, NULL);
}

#include "decoder_body.h"
