#include <math.h>

#include "decoder.h"

const char *decoder_config_fault(const decoder_config *c) {
    enum { LARGEST = 1 << 16 };
    const int32_t sizes[] = {c->dim,          c->hidden_dim, c->num_layers, c->num_heads,
                             c->num_kv_heads, c->vocab_size, c->seq_len};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < 1 || sizes[i] > LARGEST)
            return "every size must be 1 .. 65536";
    if (c->dim % c->num_heads != 0 || c->dim / c->num_heads % 2 != 0)
        return "dim must be an even multiple of the number of heads";
    if (c->num_heads % c->num_kv_heads != 0)
        return "the number of heads must be a multiple of the number of kv heads";
    return NULL;
}

size_t decoder_layout(const decoder_config *c, decoder_tensor tensors[NUM_TENSORS]) {
    const int32_t dim = c->dim, hidden = c->hidden_dim, layers = c->num_layers;
    const int32_t kv_dim = dim / c->num_heads * c->num_kv_heads;
    const struct {
        int32_t matrices, out_dim, in_dim;
    } sizes[NUM_TENSORS] = {
        [EMBEDDING] = {1, c->vocab_size, dim},
        [ATTENTION_NORM] = {layers, dim, 1},
        [WQ] = {layers, dim, dim},
        [WK] = {layers, kv_dim, dim},
        [WV] = {layers, kv_dim, dim},
        [WO] = {layers, dim, dim},
        [FFN_NORM] = {layers, dim, 1},
        [W1] = {layers, hidden, dim},
        [W2] = {layers, dim, hidden},
        [W3] = {layers, hidden, dim},
        [FINAL_NORM] = {1, dim, 1},
    };
    size_t offset = 0;
    for (int t = 0; t < NUM_TENSORS; t++) {
        tensors[t].offset = offset;
        tensors[t].count =
            (size_t)sizes[t].matrices * (size_t)sizes[t].out_dim * (size_t)sizes[t].in_dim;
        tensors[t].in_dim = sizes[t].in_dim;
        tensors[t].is_norm = t == ATTENTION_NORM || t == FFN_NORM || t == FINAL_NORM;
        offset += tensors[t].count;
    }
    return offset;
}

static double mulberry32(uint32_t *state) {
    *state += 0x6d2b79f5u;
    uint32_t mixed = (*state ^ (*state >> 15)) * (*state | 1u);
    mixed = (mixed + (mixed ^ (mixed >> 7)) * (mixed | 61u)) ^ mixed;
    return (double)(mixed ^ (mixed >> 14)) / 4294967296.0;
}

void decoder_initialize(const decoder_config *c, uint32_t seed, float *parameters) {
    decoder_tensor tensors[NUM_TENSORS];
    decoder_layout(c, tensors);
    uint32_t state = seed;
    for (int t = 0; t < NUM_TENSORS; t++) {
        float *to = parameters + tensors[t].offset;
        double bound = 1.0 / sqrt(tensors[t].in_dim);
        if (t == WO || t == W2)
            bound /= sqrt(2.0 * c->num_layers);
        for (size_t i = 0; i < tensors[t].count; i++)
            to[i] = tensors[t].is_norm ? 1.0f : (float)((2.0 * mulberry32(&state) - 1.0) * bound);
    }
}
