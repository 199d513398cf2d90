/* The decoder for one element type. The including file has defined real, DECODER, decoder, sdpa_data and
 * sdpa_backward_data, NAME(name) for the public functions, the core's functions without attn_ and type,
 * exponential and root, and SMALLEST, a probability so small that its logarithm stands for less. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-5
#define THETA 10000.0

/* What backward needs of one layer, [tokens, dim] unless a size is given. */
typedef struct layer_trace {
    real *x;                 /* what came in */
    real *normed, *q, *v;    /* q turned */
    real *k;                 /* [tokens, kv_dim], turned; v, too */
    real *heads, *logsumexp; /* logsumexp [rows, num_heads, length] */
    real *middle, *middle_normed;
    real *gate, *up, *gated; /* [tokens, hidden_dim] */
} layer_trace;

struct DECODER {
    decoder_config config;
    decoder_tensor tensors[NUM_TENSORS];
    int32_t max_rows, head_dim, kv_dim;
    layer_trace *layers;
    real *x, *final_normed, *logits;
    real *grad_x, *grad_normed, *grad_q, *grad_k, *grad_v, *grad_heads;
    real *grad_gate, *grad_up, *grad_gated;
    real *cos, *sin, *sin_back; /* [seq_len, head_dim / 2]; sin_back turns back */
    real *memory, *weights;
    bool *silenced; /* [num_layers * num_heads] */
    attn_exec exec;
    void *workspace;
    /* the call that backward belongs to */
    const uint16_t *tokens;
    int32_t rows, length;
    ptrdiff_t row_stride;
};

/* The sizes were checked, so that a refusal is a fault of this program. */
static void must(attn_status status) {
    if (status == ATTN_OK)
        return;
    fprintf(stderr, "train: the core refuses a call: %s\n", attn_status_name(status));
    exit(1);
}

static attn_sdpa_desc attention_of(const decoder *d, int32_t rows, int32_t length) {
    const decoder_config *c = &d->config;
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, rows, c->num_heads, c->num_kv_heads, length, length, d->head_dim,
                        d->head_dim);
    desc.is_causal = 1;
    desc.query = (attn_strides){(ptrdiff_t)length * c->dim, d->head_dim, c->dim};
    desc.key = (attn_strides){(ptrdiff_t)length * d->kv_dim, d->head_dim, d->kv_dim};
    desc.value = desc.key;
    desc.out = desc.query;
    return desc;
}

static void turn(const decoder *d, int32_t num_heads, int32_t rows, int32_t length, const real *sin,
                 real *x) {
    const ptrdiff_t columns = (ptrdiff_t)num_heads * d->head_dim;
    const attn_rotary_desc desc = {
        .batch = rows,
        .num_heads = num_heads,
        .seq_len = length,
        .head_dim = d->head_dim,
        .rotary_dim = d->head_dim,
        .interleaved = 1,
        .num_positions = d->config.seq_len,
        .x = {length * columns, d->head_dim, columns},
        .out = {length * columns, d->head_dim, columns},
    };
    must(rotary(&desc, x, d->cos, sin, x));
}

/* The largest workspace that any call of this decoder asks for. */
static size_t workspace_bytes(const decoder *d) {
    const decoder_config *c = &d->config;
    const int32_t tokens = d->max_rows * c->seq_len;
    const int32_t sizes[][2] = {
        {c->dim, c->dim},        {c->dim, d->kv_dim},     {c->dim, c->hidden_dim},
        {c->hidden_dim, c->dim}, {c->dim, c->vocab_size},
    };
    size_t most = 0, bytes;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        must(linear_workspace(tokens, sizes[s][0], sizes[s][1], &bytes));
        most = bytes > most ? bytes : most;
        must(linear_backward_workspace(tokens, sizes[s][0], sizes[s][1], &bytes));
        most = bytes > most ? bytes : most;
    }
    const attn_sdpa_desc desc = attention_of(d, d->max_rows, c->seq_len);
    const sdpa_data data = {.query = d->x,
                            .key = d->x,
                            .value = d->x,
                            .out = d->logits,
                            .weights = d->logits,
                            .logsumexp = d->logits};
    must(sdpa_workspace(&desc, &data, &bytes));
    most = bytes > most ? bytes : most;
    attn_sdpa_backward_desc back;
    attn_sdpa_backward_desc_init(&back, &desc);
    const sdpa_backward_data back_data = {.query = d->x,
                                          .key = d->x,
                                          .value = d->x,
                                          .out = d->x,
                                          .logsumexp = d->x,
                                          .grad_out = d->x,
                                          .grad_query = d->grad_q,
                                          .grad_key = d->grad_k,
                                          .grad_value = d->grad_v};
    must(sdpa_backward_workspace(&back, &back_data, &bytes));
    return bytes > most ? bytes : most;
}

static real *take(real **memory, size_t count) {
    real *piece = *memory;
    if (piece)
        *memory += count;
    return piece;
}

/* Cuts the decoder's memory into its pieces; with memory NULL it only counts the elements. */
static size_t cut(decoder *d, real *memory) {
    const decoder_config *c = &d->config;
    const size_t tokens = (size_t)d->max_rows * (size_t)c->seq_len;
    const size_t dim = tokens * (size_t)c->dim, kv = tokens * (size_t)d->kv_dim;
    const size_t hidden = tokens * (size_t)c->hidden_dim;
    const size_t angles = (size_t)c->seq_len * (size_t)d->head_dim / 2;
    size_t count = 0;
    real *rest = memory;
#define PIECE(name, size) (count += (size), name = take(&rest, (size)))
    for (int32_t l = 0; l < c->num_layers; l++) {
        layer_trace *t = d->layers + l;
        PIECE(t->x, dim), PIECE(t->normed, dim), PIECE(t->q, dim);
        PIECE(t->k, kv), PIECE(t->v, kv), PIECE(t->heads, dim);
        PIECE(t->logsumexp, tokens * (size_t)c->num_heads);
        PIECE(t->middle, dim), PIECE(t->middle_normed, dim);
        PIECE(t->gate, hidden), PIECE(t->up, hidden), PIECE(t->gated, hidden);
    }
    PIECE(d->x, dim), PIECE(d->final_normed, dim);
    PIECE(d->logits, tokens * (size_t)c->vocab_size);
    PIECE(d->grad_x, dim), PIECE(d->grad_normed, dim), PIECE(d->grad_heads, dim);
    PIECE(d->grad_q, dim), PIECE(d->grad_k, kv), PIECE(d->grad_v, kv);
    PIECE(d->grad_gate, hidden), PIECE(d->grad_up, hidden), PIECE(d->grad_gated, hidden);
    PIECE(d->cos, angles), PIECE(d->sin, angles), PIECE(d->sin_back, angles);
#undef PIECE
    return count;
}

decoder *NAME(create)(const decoder_config *config, int32_t max_rows) {
    decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->config = *config;
    d->max_rows = max_rows;
    d->head_dim = config->dim / config->num_heads;
    d->kv_dim = d->head_dim * config->num_kv_heads;
    decoder_layout(config, d->tensors);
    d->layers = calloc((size_t)config->num_layers, sizeof *d->layers);
    d->silenced = calloc((size_t)config->num_layers * (size_t)config->num_heads, sizeof(bool));
    if (d->layers) {
        d->memory = malloc(cut(d, NULL) * sizeof(real));
        if (d->memory) {
            cut(d, d->memory);
            d->exec.workspace_bytes = workspace_bytes(d);
            d->workspace = malloc(d->exec.workspace_bytes + 16);
        }
    }
    if (!d->silenced || !d->workspace) {
        NAME(destroy)(d);
        return NULL;
    }
    d->exec.workspace = (char *)d->workspace + (16 - (uintptr_t)d->workspace % 16) % 16;
    const int32_t pairs = d->head_dim / 2;
    for (int32_t p = 0; p < config->seq_len; p++)
        for (int32_t k = 0; k < pairs; k++) {
            const double angle = p * pow(THETA, -(double)k / pairs);
            d->cos[p * pairs + k] = (real)cos(angle);
            d->sin[p * pairs + k] = (real)sin(angle);
            d->sin_back[p * pairs + k] = (real)-sin(angle);
        }
    return d;
}

void NAME(destroy)(decoder *d) {
    if (!d)
        return;
    free(d->layers);
    free(d->silenced);
    free(d->memory);
    free(d->workspace);
    free(d);
}

void NAME(silence)(decoder *d, const bool *silenced) {
    const size_t heads = (size_t)d->config.num_layers * (size_t)d->config.num_heads;
    if (silenced)
        memcpy(d->silenced, silenced, heads * sizeof(bool));
    else
        memset(d->silenced, 0, heads * sizeof(bool));
}

void NAME(watch)(decoder *d, real *weights) {
    d->weights = weights;
}

/* The matrix or norm of layer l. */
static const real *of_layer(const decoder *d, const real *parameters, int tensor, int32_t l) {
    const decoder_tensor *t = d->tensors + tensor;
    return parameters + t->offset + t->count / (size_t)d->config.num_layers * (size_t)l;
}

static void project(const decoder *d, int32_t tokens, int32_t in_dim, int32_t out_dim,
                    const real *x, const real *w, real *y) {
    must(linear(tokens, in_dim, out_dim, x, in_dim, w, NULL, y, out_dim, &d->exec));
}

static void add(size_t count, const real *x, const real *y, real *sum) {
    for (size_t i = 0; i < count; i++)
        sum[i] = x[i] + y[i];
}

static void attend(const decoder *d, int32_t l, int32_t rows, int32_t length) {
    const decoder_config *c = &d->config;
    const layer_trace *t = d->layers + l;
    turn(d, c->num_heads, rows, length, d->sin, t->q);
    turn(d, c->num_kv_heads, rows, length, d->sin, t->k);
    const size_t matrices = (size_t)rows * (size_t)c->num_heads * (size_t)length * (size_t)length;
    const attn_sdpa_desc desc = attention_of(d, rows, length);
    const sdpa_data data = {
        .query = t->q,
        .key = t->k,
        .value = t->v,
        .out = t->heads,
        .logsumexp = t->logsumexp,
        .weights = d->weights ? d->weights + (size_t)l * matrices : NULL,
    };
    must(sdpa(&desc, &data, &d->exec));
    for (int32_t h = 0; h < c->num_heads; h++)
        if (d->silenced[l * c->num_heads + h])
            for (int32_t n = 0; n < rows * length; n++)
                memset(t->heads + (ptrdiff_t)n * c->dim + h * d->head_dim, 0,
                       sizeof(real) * (size_t)d->head_dim);
}

const real *NAME(forward)(decoder *d, const real *parameters, int32_t rows, int32_t length,
                          const uint16_t *tokens, ptrdiff_t row_stride) {
    const decoder_config *c = &d->config;
    const int32_t count = rows * length, dim = c->dim, hidden = c->hidden_dim;
    const size_t elements = (size_t)count * (size_t)dim;
    d->tokens = tokens;
    d->rows = rows;
    d->length = length;
    d->row_stride = row_stride;
    const real *embedding = parameters + d->tensors[EMBEDDING].offset;
    for (int32_t r = 0; r < rows; r++)
        for (int32_t p = 0; p < length; p++)
            memcpy(d->layers[0].x + ((ptrdiff_t)r * length + p) * dim,
                   embedding + (ptrdiff_t)tokens[r * row_stride + p] * dim,
                   sizeof(real) * (size_t)dim);
    for (int32_t l = 0; l < c->num_layers; l++) {
        const layer_trace *t = d->layers + l;
        must(rms_norm(count, dim, t->x, of_layer(d, parameters, ATTENTION_NORM, l), EPSILON,
                      t->normed));
        project(d, count, dim, dim, t->normed, of_layer(d, parameters, WQ, l), t->q);
        project(d, count, dim, d->kv_dim, t->normed, of_layer(d, parameters, WK, l), t->k);
        project(d, count, dim, d->kv_dim, t->normed, of_layer(d, parameters, WV, l), t->v);
        attend(d, l, rows, length);
        project(d, count, dim, dim, t->heads, of_layer(d, parameters, WO, l), t->middle);
        add(elements, t->x, t->middle, t->middle);
        must(rms_norm(count, dim, t->middle, of_layer(d, parameters, FFN_NORM, l), EPSILON,
                      t->middle_normed));
        project(d, count, dim, hidden, t->middle_normed, of_layer(d, parameters, W1, l), t->gate);
        project(d, count, dim, hidden, t->middle_normed, of_layer(d, parameters, W3, l), t->up);
        must(swiglu((ptrdiff_t)count * hidden, t->gate, t->up, t->gated));
        real *next = l + 1 < c->num_layers ? d->layers[l + 1].x : d->x;
        project(d, count, hidden, dim, t->gated, of_layer(d, parameters, W2, l), next);
        add(elements, t->middle, next, next);
    }
    must(rms_norm(count, dim, d->x, parameters + d->tensors[FINAL_NORM].offset, EPSILON,
                  d->final_normed));
    project(d, count, dim, c->vocab_size, d->final_normed, embedding, d->logits);
    return d->logits;
}

double NAME(loss)(decoder *d, const real *parameters, int32_t rows, int32_t length,
                  const uint16_t *tokens) {
    const int32_t vocabulary = d->config.vocab_size;
    NAME(forward)(d, parameters, rows, length, tokens, length + 1);
    must(softmax(rows * length, vocabulary, 1, d->logits, d->logits));
    double loss = 0;
    for (int32_t r = 0; r < rows; r++)
        for (int32_t p = 0; p < length; p++) {
            const uint16_t target = tokens[(ptrdiff_t)r * (length + 1) + p + 1];
            const real probability = d->logits[((ptrdiff_t)r * length + p) * vocabulary + target];
            loss -= log(probability > SMALLEST ? probability : SMALLEST);
        }
    return loss;
}

/* Gradients of out = x r w with r = 1 / sqrt(mean(x^2) + epsilon), row by row:
 *
 *     grad_w[i] += grad_out[i] x[i] r
 *     grad_x[i] += r grad_out[i] w[i] - x[i] r^3 / dim * sum_j grad_out[j] w[j] x[j] */
static void rms_norm_backward(int32_t rows, int32_t dim, const real *x, const real *w,
                              const real *grad_out, real *grad_x, real *grad_w) {
    for (int32_t n = 0; n < rows; n++, x += dim, grad_out += dim, grad_x += dim) {
        real squares = 0, dot = 0;
        for (int32_t i = 0; i < dim; i++) {
            squares += x[i] * x[i];
            dot += grad_out[i] * w[i] * x[i];
        }
        const real r = 1 / root(squares / (real)dim + (real)EPSILON);
        const real along = dot * r * r * r / (real)dim;
        for (int32_t i = 0; i < dim; i++) {
            grad_w[i] += grad_out[i] * x[i] * r;
            grad_x[i] += r * grad_out[i] * w[i] - along * x[i];
        }
    }
}

/* Gradients of gated = gate s up with s = sigmoid(gate). */
static void swiglu_backward(size_t count, const real *gate, const real *up, const real *grad_gated,
                            real *grad_gate, real *grad_up) {
    for (size_t i = 0; i < count; i++) {
        const real s = 1 / (1 + exponential(-gate[i]));
        grad_up[i] = grad_gated[i] * gate[i] * s;
        grad_gate[i] = grad_gated[i] * up[i] * s * (1 + gate[i] * (1 - s));
    }
}

/* Adds to grad_x and grad_w. */
static void project_backward(const decoder *d, int32_t tokens, int32_t in_dim, int32_t out_dim,
                             const real *x, const real *w, const real *grad_y, real *grad_x,
                             real *grad_w) {
    must(linear_backward(tokens, in_dim, out_dim, x, in_dim, w, grad_y, out_dim, grad_x, in_dim,
                         grad_w, NULL, 1, &d->exec));
}

static void attend_backward(const decoder *d, int32_t l) {
    const decoder_config *c = &d->config;
    const layer_trace *t = d->layers + l;
    for (int32_t h = 0; h < c->num_heads; h++)
        if (d->silenced[l * c->num_heads + h])
            for (int32_t n = 0; n < d->rows * d->length; n++)
                memset(d->grad_heads + (ptrdiff_t)n * c->dim + h * d->head_dim, 0,
                       sizeof(real) * (size_t)d->head_dim);
    const attn_sdpa_desc forward = attention_of(d, d->rows, d->length);
    attn_sdpa_backward_desc desc;
    attn_sdpa_backward_desc_init(&desc, &forward);
    const sdpa_backward_data data = {
        .query = t->q,
        .key = t->k,
        .value = t->v,
        .out = t->heads,
        .logsumexp = t->logsumexp,
        .grad_out = d->grad_heads,
        .grad_query = d->grad_q,
        .grad_key = d->grad_k,
        .grad_value = d->grad_v,
    };
    must(sdpa_backward(&desc, &data, &d->exec));
    /* The transpose of a rotation is the rotation back. */
    turn(d, c->num_heads, d->rows, d->length, d->sin_back, d->grad_q);
    turn(d, c->num_kv_heads, d->rows, d->length, d->sin_back, d->grad_k);
}

void NAME(backward)(decoder *d, const real *parameters, const real *factors, real *gradients) {
    const decoder_config *c = &d->config;
    const int32_t count = d->rows * d->length, dim = c->dim, hidden = c->hidden_dim;
    const size_t elements = (size_t)count * (size_t)dim, bytes = elements * sizeof(real);
    const real *embedding = parameters + d->tensors[EMBEDDING].offset;
    real *grad_embedding = gradients + d->tensors[EMBEDDING].offset;
#define GRADIENT(tensor, l) (gradients + (of_layer(d, parameters, tensor, l) - parameters))

    /* The gradient of -log softmax(logits)[target] is softmax(logits) - onehot(target). */
    for (int32_t r = 0; r < d->rows; r++)
        for (int32_t p = 0; p < d->length; p++) {
            const ptrdiff_t n = (ptrdiff_t)r * d->length + p;
            real *grad = d->logits + n * c->vocab_size;
            grad[d->tokens[r * d->row_stride + p + 1]] -= 1;
            for (int32_t v = 0; v < c->vocab_size; v++)
                grad[v] *= factors[n];
        }
    memset(d->grad_normed, 0, bytes);
    project_backward(d, count, dim, c->vocab_size, d->final_normed, embedding, d->logits,
                     d->grad_normed, grad_embedding);
    memset(d->grad_x, 0, bytes);
    rms_norm_backward(count, dim, d->x, parameters + d->tensors[FINAL_NORM].offset, d->grad_normed,
                      d->grad_x, gradients + d->tensors[FINAL_NORM].offset);

    for (int32_t l = c->num_layers - 1; l >= 0; l--) {
        const layer_trace *t = d->layers + l;
        memset(d->grad_gated, 0, (size_t)count * (size_t)hidden * sizeof(real));
        project_backward(d, count, hidden, dim, t->gated, of_layer(d, parameters, W2, l), d->grad_x,
                         d->grad_gated, GRADIENT(W2, l));
        swiglu_backward((size_t)count * (size_t)hidden, t->gate, t->up, d->grad_gated, d->grad_gate,
                        d->grad_up);
        memset(d->grad_normed, 0, bytes);
        project_backward(d, count, dim, hidden, t->middle_normed, of_layer(d, parameters, W1, l),
                         d->grad_gate, d->grad_normed, GRADIENT(W1, l));
        project_backward(d, count, dim, hidden, t->middle_normed, of_layer(d, parameters, W3, l),
                         d->grad_up, d->grad_normed, GRADIENT(W3, l));
        rms_norm_backward(count, dim, t->middle, of_layer(d, parameters, FFN_NORM, l),
                          d->grad_normed, d->grad_x, GRADIENT(FFN_NORM, l));

        memset(d->grad_heads, 0, bytes);
        project_backward(d, count, dim, dim, t->heads, of_layer(d, parameters, WO, l), d->grad_x,
                         d->grad_heads, GRADIENT(WO, l));
        attend_backward(d, l);
        memset(d->grad_normed, 0, bytes);
        project_backward(d, count, dim, dim, t->normed, of_layer(d, parameters, WQ, l), d->grad_q,
                         d->grad_normed, GRADIENT(WQ, l));
        project_backward(d, count, dim, d->kv_dim, t->normed, of_layer(d, parameters, WK, l),
                         d->grad_k, d->grad_normed, GRADIENT(WK, l));
        project_backward(d, count, dim, d->kv_dim, t->normed, of_layer(d, parameters, WV, l),
                         d->grad_v, d->grad_normed, GRADIENT(WV, l));
        rms_norm_backward(count, dim, t->x, of_layer(d, parameters, ATTENTION_NORM, l),
                          d->grad_normed, d->grad_x, GRADIENT(ATTENTION_NORM, l));
    }
#undef GRADIENT
    for (int32_t r = 0; r < d->rows; r++)
        for (int32_t p = 0; p < d->length; p++) {
            const real *from = d->grad_x + ((ptrdiff_t)r * d->length + p) * dim;
            real *to = grad_embedding + (ptrdiff_t)d->tokens[r * d->row_stride + p] * dim;
            for (int32_t i = 0; i < dim; i++)
                to[i] += from[i];
        }
}
