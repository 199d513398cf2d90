/* Inputs so small that products would be subnormal take other ways through the kernels. The results
 * are those of the reference all the same; that they are also fast is the benchmark's to show. */
#include "check.h"

enum { HEADS = 2, SEQ_KV = 130, DIM = 20, DIM_V = 24, COUNT = HEADS * SEQ_KV * DIM_V };

static double next_value(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (1 << 23) - 1.0;
}

/* Element i of a tensor; every `sparse`-th one times `scale`, all of them for 1. */
static void fill(float *x, double *exact, size_t count, double scale, size_t sparse,
                 uint32_t seed) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(next_value(&seed) * (i % sparse == 0 ? scale : 1.0));
        exact[i] = x[i];
    }
}

typedef struct tiny_case {
    int32_t seq_len_q;
    double q_scale, k_scale, v_scale;
    size_t sparse;
    bool weights, causal;
} tiny_case;

static void agrees_with_the_reference(const tiny_case *c) {
    static float q[COUNT], k[COUNT], v[COUNT], out[COUNT], weights[HEADS * SEQ_KV * SEQ_KV];
    static double q64[COUNT], k64[COUNT], v64[COUNT], out64[COUNT];
    check_case("{%d, %g, %g, %g, %zu, %d, %d}", c->seq_len_q, c->q_scale, c->k_scale, c->v_scale,
               c->sparse, c->weights, c->causal);
    fill(q, q64, (size_t)HEADS * (size_t)c->seq_len_q * DIM, c->q_scale, c->sparse, 1);
    fill(k, k64, HEADS * SEQ_KV * DIM, c->k_scale, c->sparse, 2);
    fill(v, v64, HEADS * SEQ_KV * DIM_V, c->v_scale, c->sparse, 3);
    /* The second head is of ordinary size: one head's tiny numbers are no other's business. */
    if (c->sparse == 1)
        for (size_t i = SEQ_KV * DIM_V; i < HEADS * SEQ_KV * DIM_V; i++)
            v64[i] = v[i] = (float)((double)v[i] / c->v_scale);

    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, HEADS, HEADS, c->seq_len_q, SEQ_KV, DIM, DIM_V);
    desc.is_causal = c->causal;
    desc.align = ATTN_ALIGN_BOTTOM_RIGHT;
    const attn_sdpa_f32_data data = {
        .query = q, .key = k, .value = v, .out = out, .weights = c->weights ? weights : NULL};
    const attn_sdpa_f64_data exact = {.query = q64, .key = k64, .value = v64, .out = out64};
    attn_exec exec = {0}, exec64 = {0};
    CHECK_STATUS(attn_sdpa_f32_workspace(&desc, &data, NULL, &exec.workspace_bytes, NULL), ATTN_OK);
    CHECK_STATUS(attn_sdpa_f64_workspace(&desc, &exact, &exec64.workspace_bytes, NULL), ATTN_OK);
    exec.workspace = aligned_alloc(16, (exec.workspace_bytes + 31) / 16 * 16);
    exec64.workspace = aligned_alloc(16, (exec64.workspace_bytes + 31) / 16 * 16);
    CHECK_STATUS(attn_sdpa_f32(&desc, &data, &exec), ATTN_OK);
    CHECK_STATUS(attn_sdpa_f64(&desc, &exact, &exec64), ATTN_OK);
    free(exec.workspace);
    free(exec64.workspace);

    /* A score of up to 2^5 rounds DIM + 4 times, weights that much more, and SEQ_KV terms are
     * summed, each rounding a part u of the head's largest value; and the result itself, which may
     * be subnormal, to 2^-149. */
    for (int h = 0; h < HEADS; h++) {
        double largest = 0.0;
        for (int i = 0; i < SEQ_KV * DIM_V; i++)
            largest = fmax(largest, fabs(v64[h * SEQ_KV * DIM_V + i]));
        const double u = 0x1p-24,
                     tolerance = 2 * (32 * (DIM + 4) + SEQ_KV) * u * largest + 0x1p-149;
        for (int i = 0; i < c->seq_len_q * DIM_V; i++) {
            const int at = h * c->seq_len_q * DIM_V + i;
            CHECK_NEAR((double)out[at], out64[at], tolerance);
        }
    }
}

TEST(tiny_inputs_agree_with_the_reference) {
    static const double scales[][3] = {
        {1e-20, 1e-20, 1}, {1e-38, 1, 1},         {1e-41, 1, 1},        {1, 1e-40, 1},
        {1e30, 1e-30, 1},  {1e-30, 1e30, 1},      {1, 1, 1e-20},        {1, 1, 1e-38},
        {1, 1, 1e-42},     {1e-25, 1e-10, 1e-30}, {1e-38, 1e38, 1e-38}, {1, 1, 0x1p-149},
    };
    for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++)
        for (int32_t seq_len_q = 1; seq_len_q <= SEQ_KV; seq_len_q = seq_len_q * 3 + 1)
            for (int variant = 0; variant < 8; variant++)
                agrees_with_the_reference(
                    &(tiny_case){seq_len_q, scales[s][0], scales[s][1], scales[s][2],
                                 /* Large and tiny numbers side by side only where the large ones'
                                    scores stay small. */
                                 variant & 4 && fmax(scales[s][0], scales[s][1]) <= 1 ? 7 : 1,
                                 variant & 1, variant & 2});
}

int main(void) {
    RUN(tiny_inputs_agree_with_the_reference);
    return check_summary();
}
