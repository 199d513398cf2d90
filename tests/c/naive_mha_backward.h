/* Multi-head attention and its gradients as in a textbook: whole matrices, the extra keys beside
 * the others, the softmax of each row as it is written. Included once for each element type; the
 * including file has defined `real`, the type, and FN(x), a name for the type. */
#ifndef NAIVE_PROBLEM
#define NAIVE_PROBLEM

enum {
    N_QUERY,
    N_KEY,
    N_VALUE,
    N_Q_WEIGHT,
    N_K_WEIGHT,
    N_V_WEIGHT,
    N_OUT_WEIGHT,
    N_Q_BIAS,
    N_K_BIAS,
    N_V_BIAS,
    N_OUT_BIAS,
    N_BIAS_K,
    N_BIAS_V,
    N_MASK0,
    N_MASK1,
    NUM_TENSORS
};

/* All tensors are contiguous and not broadcast, query, key, value and grad_out [batch, seq_len,
 * dim]. */
typedef struct naive_problem {
    int32_t batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, embed_dim, kdim, vdim;
    double scale;
    bool add_zero_attn;
    int32_t rotary_dim, rotary_interleaved;
    const double *in[NUM_TENSORS]; /* NULL: not there. Everything that hides a key is a mask */
    const double *rotary_cos, *rotary_sin;
    const double *grad_out;
    double *grad[NUM_TENSORS]; /* zeros at first */
    /* Only the weights are what they are; all else is summed without signs. What comes out says how
     * much there was to be rounded on the way to each element. */
    bool absolute;
} naive_problem;
#endif

/* The heads' matrices. */
typedef struct FN(heads) {
    int32_t dim, kv_dim, q_rows, kv_rows, keys;
    real *q, *k, *v, *concat, *grad_q, *grad_k, *grad_v, *grad_concat;
    real *weights; /* [batch, num_heads, seq_len_q, keys] */
} FN(heads);

static real FN(term)(const naive_problem *p, real x) {
    return p->absolute && x < 0 ? -x : x;
}

/* y [rows, out] = x [rows, in] w^T + bias */
static void FN(forward)(const naive_problem *p, int32_t rows, int32_t in, int32_t out, int x, int w,
                        int bias, real *y) {
    for (int32_t r = 0; r < rows; r++)
        for (int32_t o = 0; o < out; o++) {
            real sum = p->in[bias] ? FN(term)(p, (real)p->in[bias][o]) : 0;
            for (int32_t k = 0; k < in; k++)
                sum += FN(term)(p, (real)p->in[x][r * in + k] * (real)p->in[w][o * in + k]);
            y[r * out + o] = sum;
        }
}

/* grad_x[r][k] of y = x w^T */
static real FN(grad_x)(const naive_problem *p, int32_t in, int32_t out, int w, const real *grad_y,
                       int32_t r, int32_t k) {
    real sum = 0;
    for (int32_t o = 0; o < out; o++)
        sum += FN(term)(p, grad_y[r * out + o] * (real)p->in[w][o * in + k]);
    return sum;
}

/* The gradients of w and bias. */
static void FN(grad_w)(const naive_problem *p, int32_t rows, int32_t in, int32_t out, const real *x,
                       const real *grad_y, int w, int bias) {
    for (int32_t o = 0; o < out; o++) {
        real bias_sum = 0;
        for (int32_t r = 0; r < rows; r++)
            bias_sum += FN(term)(p, grad_y[r * out + o]);
        if (p->grad[bias])
            p->grad[bias][o] = (double)bias_sum;
        for (int32_t k = 0; k < in; k++) {
            real sum = 0;
            for (int32_t r = 0; r < rows; r++)
                sum += FN(term)(p, grad_y[r * out + o] * x[r * in + k]);
            p->grad[w][o * in + k] = (double)sum;
        }
    }
}

/* Both, for a projection of an input. */
static void FN(backward)(const naive_problem *p, int32_t rows, int32_t in, int32_t out, int x,
                         int w, int bias, const real *grad_y) {
    real *copy = malloc(sizeof *copy * (size_t)(rows * in + 1));
    for (int32_t e = 0; e < rows * in; e++) {
        copy[e] = (real)p->in[x][e];
        p->grad[x][e] = (double)FN(grad_x)(p, in, out, w, grad_y, e / in, e % in);
    }
    FN(grad_w)(p, rows, in, out, copy, grad_y, w, bias);
    free(copy);
}

/* Turns rows [rows, heads, dim] by their positions, or back with sign -1. */
static void FN(turn)(const naive_problem *p, int32_t rows, int32_t seq_len, int32_t heads,
                     real sign, real *x) {
    const int32_t dim = p->embed_dim / p->num_heads, half = p->rotary_dim / 2;
    for (int32_t row = 0; row < rows * heads; row++)
        for (int32_t k = 0; k < half; k++) {
            real *a = x + row * dim + (p->rotary_interleaved ? 2 * k : k);
            real *b = p->rotary_interleaved ? a + 1 : a + half;
            const int32_t angle = row / heads % seq_len * half + k;
            const real c = (real)p->rotary_cos[angle], s = sign * (real)p->rotary_sin[angle];
            const real old = *a;
            *a = FN(term)(p, c * old) + FN(term)(p, -s * *b);
            *b = FN(term)(p, s * old) + FN(term)(p, c * *b);
        }
}

static void FN(project)(const naive_problem *p, const FN(heads) * m) {
    FN(forward)(p, m->q_rows, p->embed_dim, p->embed_dim, N_QUERY, N_Q_WEIGHT, N_Q_BIAS, m->q);
    FN(forward)(p, m->kv_rows, p->kdim, m->kv_dim, N_KEY, N_K_WEIGHT, N_K_BIAS, m->k);
    FN(forward)(p, m->kv_rows, p->vdim, m->kv_dim, N_VALUE, N_V_WEIGHT, N_V_BIAS, m->v);
    FN(turn)(p, m->q_rows, p->seq_len_q, p->num_heads, 1, m->q);
    FN(turn)(p, m->kv_rows, p->seq_len_kv, p->num_kv_heads, 1, m->k);
}

typedef struct FN(row) {
    int32_t row; /* of [batch, num_heads, seq_len_q] */
    int32_t q;   /* where it begins in q and concat */
    int32_t k;   /* where key 0 begins in k and v; its head's part of bias_k begins at head */
    int32_t head;
} FN(row);

static FN(row) FN(row_at)(const naive_problem *p, const FN(heads) * m, int32_t row) {
    const int32_t i = row % p->seq_len_q, h = row / p->seq_len_q % p->num_heads;
    const int32_t b = row / p->seq_len_q / p->num_heads;
    const int32_t head = h / (p->num_heads / p->num_kv_heads) * m->dim;
    return (FN(row)){row, (b * p->seq_len_q + i) * p->embed_dim + h * m->dim,
                     b * p->seq_len_kv * m->kv_dim + head, head};
}

/* Element d of key j: of `rows` (k or v), then of bias_k or bias_v, then 0. */
static real FN(key_at)(const naive_problem *p, const FN(heads) * m, const FN(row) * at,
                       const real *rows, int bias, int32_t j, int32_t d) {
    if (j < p->seq_len_kv)
        return rows[at->k + j * m->kv_dim + d];
    return j == p->seq_len_kv && p->in[bias] ? FN(term)(p, (real)p->in[bias][at->head + d]) : 0;
}

static void FN(row_weights)(const naive_problem *p, const FN(heads) * m, const FN(row) * at) {
    real *w = m->weights + at->row * m->keys, row_max = -INFINITY, row_sum = 0;
    for (int32_t j = 0; j < m->keys; j++) {
        w[j] = 0;
        for (int32_t d = 0; d < m->dim; d++)
            w[j] += m->q[at->q + d] * FN(key_at)(p, m, at, m->k, N_BIAS_K, j, d);
        w[j] *= (real)p->scale;
        for (int mask = N_MASK0; mask <= N_MASK1 && j < p->seq_len_kv; mask++)
            w[j] += p->in[mask] ? (real)p->in[mask][at->row * p->seq_len_kv + j] : 0;
        row_max = w[j] > row_max ? w[j] : row_max;
    }
    for (int32_t j = 0; j < m->keys; j++) {
        w[j] = row_max == -INFINITY ? 0 : (real)exp((double)(w[j] - row_max));
        row_sum += w[j];
    }
    for (int32_t j = 0; j < m->keys && row_sum > 0; j++)
        w[j] /= row_sum;
}

static void FN(row_out)(const naive_problem *p, const FN(heads) * m, const FN(row) * at) {
    const real *w = m->weights + at->row * m->keys;
    for (int32_t d = 0; d < m->dim; d++)
        for (int32_t j = 0; j < m->keys; j++)
            m->concat[at->q + d] += w[j] * FN(key_at)(p, m, at, m->v, N_BIAS_V, j, d);
}

static void FN(row_back)(const naive_problem *p, const FN(heads) * m, const FN(row) * at) {
    const real *w = m->weights + at->row * m->keys, *grad_out = m->grad_concat + at->q;
    real delta = 0;
    for (int32_t d = 0; d < m->dim; d++)
        delta += FN(term)(p, grad_out[d] * m->concat[at->q + d]);
    for (int32_t j = 0; j < m->keys; j++) {
        real grad_weight = 0;
        for (int32_t d = 0; d < m->dim; d++)
            grad_weight += FN(term)(p, grad_out[d] * FN(key_at)(p, m, at, m->v, N_BIAS_V, j, d));
        const real grad_score = w[j] * (p->absolute ? grad_weight + delta : grad_weight - delta);
        for (int mask = N_MASK0; mask <= N_MASK1 && j < p->seq_len_kv; mask++)
            if (p->grad[mask])
                p->grad[mask][at->row * p->seq_len_kv + j] = (double)grad_score;
        const real grad_product = FN(term)(p, grad_score * (real)p->scale);
        for (int32_t d = 0; d < m->dim; d++) {
            const real grad_key = FN(term)(p, grad_product * m->q[at->q + d]);
            const real grad_value = FN(term)(p, w[j] * grad_out[d]);
            m->grad_q[at->q + d] +=
                FN(term)(p, grad_product * FN(key_at)(p, m, at, m->k, N_BIAS_K, j, d));
            if (j < p->seq_len_kv) {
                m->grad_k[at->k + j * m->kv_dim + d] += grad_key;
                m->grad_v[at->k + j * m->kv_dim + d] += grad_value;
            } else if (j == p->seq_len_kv && p->in[N_BIAS_K]) {
                double *key = p->grad[N_BIAS_K] + at->head + d;
                double *value = p->grad[N_BIAS_V] + at->head + d;
                *key = (double)((real)*key + grad_key);
                *value = (double)((real)*value + grad_value);
            }
        }
    }
}

static real *FN(zeros)(int32_t rows, int32_t columns) {
    return calloc((size_t)(rows * columns + 1), sizeof(real));
}

static void FN(mha_backward)(const naive_problem *p) {
    FN(heads) m = {.dim = p->embed_dim / p->num_heads};
    const int32_t E = p->embed_dim, kv_dim = m.kv_dim = m.dim * p->num_kv_heads;
    m.q_rows = p->batch * p->seq_len_q, m.kv_rows = p->batch * p->seq_len_kv;
    m.keys = p->seq_len_kv + (p->in[N_BIAS_K] ? 1 : 0) + (p->add_zero_attn ? 1 : 0);
    m.q = FN(zeros)(m.q_rows, E), m.k = FN(zeros)(m.kv_rows, kv_dim);
    m.v = FN(zeros)(m.kv_rows, kv_dim), m.concat = FN(zeros)(m.q_rows, E);
    m.grad_q = FN(zeros)(m.q_rows, E), m.grad_k = FN(zeros)(m.kv_rows, kv_dim);
    m.grad_v = FN(zeros)(m.kv_rows, kv_dim), m.grad_concat = FN(zeros)(m.q_rows, E);
    m.weights = FN(zeros)(m.q_rows * p->num_heads, m.keys);
    real *grad_out = FN(zeros)(m.q_rows, E);
    for (int32_t e = 0; e < m.q_rows * E; e++)
        grad_out[e] = (real)p->grad_out[e];

    naive_problem with_signs = *p;
    with_signs.absolute = false;
    FN(project)(&with_signs, &m);
    const int32_t rows = m.q_rows * p->num_heads;
    for (int32_t row = 0; row < rows; row++) {
        const FN(row) at = FN(row_at)(p, &m, row);
        FN(row_weights)(&with_signs, &m, &at);
    }
    FN(project)(p, &m);
    for (int32_t row = 0; row < rows; row++) {
        const FN(row) at = FN(row_at)(p, &m, row);
        FN(row_out)(p, &m, &at);
    }
    for (int32_t e = 0; e < m.q_rows * E; e++)
        m.grad_concat[e] = FN(grad_x)(p, E, E, N_OUT_WEIGHT, grad_out, e / E, e % E);
    FN(grad_w)(p, m.q_rows, E, E, m.concat, grad_out, N_OUT_WEIGHT, N_OUT_BIAS);
    for (int32_t row = 0; row < rows; row++) {
        const FN(row) at = FN(row_at)(p, &m, row);
        FN(row_back)(p, &m, &at);
    }
    FN(turn)(p, m.q_rows, p->seq_len_q, p->num_heads, -1, m.grad_q);
    FN(turn)(p, m.kv_rows, p->seq_len_kv, p->num_kv_heads, -1, m.grad_k);
    FN(backward)(p, m.q_rows, E, E, N_QUERY, N_Q_WEIGHT, N_Q_BIAS, m.grad_q);
    FN(backward)(p, m.kv_rows, p->kdim, kv_dim, N_KEY, N_K_WEIGHT, N_K_BIAS, m.grad_k);
    FN(backward)(p, m.kv_rows, p->vdim, kv_dim, N_VALUE, N_V_WEIGHT, N_V_BIAS, m.grad_v);
    free(m.q), free(m.k), free(m.v), free(m.concat), free(m.weights), free(grad_out);
    free(m.grad_q), free(m.grad_k), free(m.grad_v), free(m.grad_concat);
}
