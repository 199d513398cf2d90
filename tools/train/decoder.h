/* A decoder of the kind that llama2.c runs (Touvron et al. 2023, "Llama 2"), and its gradients, on the
 * core's own kernels. For each layer, with rms(x, w) = x / sqrt(mean(x^2) + 1e-5) * w:
 *
 *     n = rms(x, attention_norm)    q, k, v = n wq^T, n wk^T, n wv^T    q, k turned by their positions
 *     x = x + concat(heads of causal attention) wo^T
 *     n = rms(x, ffn_norm)
 *     x = x + swiglu(n w1^T, n w3^T) w2^T
 *
 * and at the end logits = rms(x, final_norm) embedding^T: the output shares the embedding's matrix.
 * decoder_f32 trains and measures; decoder_f64 is there so that finite differences can check both. */
#ifndef DECODER_H
#define DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The seven numbers of a llama2.c header, in its order. */
typedef struct decoder_config {
    int32_t dim, hidden_dim, num_layers, num_heads, num_kv_heads, vocab_size, seq_len;
} decoder_config;

/* What is wrong with these sizes, or NULL. */
const char *decoder_config_fault(const decoder_config *config);

/* One tensor of the parameters, all of which lie in one array in the order of llama2.c's first file
 * version; tensors of all layers lie together: [num_layers, out_dim, in_dim]. */
typedef struct decoder_tensor {
    size_t offset, count;
    int32_t in_dim; /* columns of each matrix; 1 for the gains of a norm */
    bool is_norm;
} decoder_tensor;

enum {
    EMBEDDING,
    ATTENTION_NORM,
    WQ,
    WK,
    WV,
    WO,
    FFN_NORM,
    W1,
    W2,
    W3,
    FINAL_NORM,
    NUM_TENSORS,
};

/* Returns the number of parameters. */
size_t decoder_layout(const decoder_config *config, decoder_tensor tensors[NUM_TENSORS]);

/* Norms 1; every other parameter uniform in +-1 / sqrt(in_dim), drawn one after the other with
 * mulberry32 as web/lib/random.js has it, so that JavaScript makes the same bits. The matrices that
 * write into the residual stream, wo and w2, are smaller by sqrt(2 num_layers) (Radford et al. 2019,
 * GPT-2). */
void decoder_initialize(const decoder_config *config, uint32_t seed, float *parameters);

/* decoder_f32 and decoder_f64 are alike but for the element type.
 *
 *     create    room for up to max_rows rows of seq_len tokens; NULL where memory is missing
 *     forward   tokens [rows, length], each below vocab_size; logits [rows, length, vocab_size]
 *               stay in the decoder until the next call
 *     loss      forward of rows [rows, length + 1], where each token is followed by its target.
 *               Returns the sum over all targets of -log softmax(logits)[target]
 *     backward  after loss: adds to gradients, laid out as the parameters, those of that sum with
 *               each target's term times its own of factors [rows, length] */
#define DECODER_DECLARE(type, real)                                                                     \
    typedef struct type type;                                                                           \
    type *type##_create(const decoder_config *config, int32_t max_rows);                                \
    void type##_destroy(type *decoder);                                                                 \
    const real *type##_forward(type *decoder, const real *parameters, int32_t rows,                     \
                               int32_t length, const uint16_t *tokens, ptrdiff_t row_stride);           \
    double type##_loss(type *decoder, const real *parameters, int32_t rows, int32_t length,             \
                       const uint16_t *tokens);                                                         \
    void type##_backward(type *decoder, const real *parameters, const real *factors,                    \
                         real *gradients);                                                              \
    /* Whose heads' outputs are zero before wo: [num_layers * num_heads], or NULL. */                   \
    void type##_silence(type *decoder, const bool *silenced);                                           \
    /* Where forward puts attention weights: [num_layers, rows, num_heads, length, length], or NULL. */ \
    void type##_watch(type *decoder, real *weights);

DECODER_DECLARE(decoder_f32, float)
DECODER_DECLARE(decoder_f64, double)

#endif
