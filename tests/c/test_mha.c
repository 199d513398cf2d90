/* The multi-head layer against a composition of its own: every projection, mask and appended key
 * written out as plain loops, without strides, workspaces or shared code.
 *
 * The same loops also run with every result rounded to float32: a naive float32 layer. attn_mha_f32
 * may make twice its error, plus a floor: what one rounding of each quantity costs, u = 2^-24 of it,
 * carried to the result to first order. Roundings are taken as independent, so that their squares
 * add: with E(x) the squared floor of x,
 *
 *     q, k, v      E = u^2 (sum (x w)^2 + q^2)
 *     score        E_j = scale^2 sum (k^2 E(q) + q^2 E(k) + u^2 (q k)^2) + u^2 score^2
 *     weight       E = w_j^2 (E_j + sum_k w_k^2 E_k + 3 u^2)
 *     concat       E = sum_j w_j^2 (E(v_j) + (v_j - concat)^2 (E_j + 3 u^2) + u^2 v_j^2) + u^2 concat^2
 *     out          E = sum (w^2 E(concat) + u^2 (concat w)^2) + u^2 out^2
 *
 * Errors are compared in units of the floor of their own element, by their maximum over some
 * hundreds of elements: a case is repeated with other numbers until it has them.
 */
#include "check.h"

enum { FILL = 0x5A };

enum layout { BATCH_FIRST, SEQ_FIRST, PADDED, NUM_LAYOUTS };

enum mask_bits { ONE_BATCH = 4, ONE_HEAD = 8, ONE_QUERY = 16, SHORT = 32 };

typedef struct mha_case {
    uint64_t seed;
    int32_t batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim, kdim, vdim;
    int32_t layouts[4]; /* query, key, value, out */
    int32_t biases, bias_kv, zero_attn, wants_weights, average;
    int32_t is_causal, align, window_left, window_right;
    int32_t masks[2];
    double scale;
} mha_case;

static void describe(const mha_case *k) {
    check_case(
        "{.seed = %" PRIu64 ", .batch = %d, .num_heads = %d, .num_kv_heads = %d, .seq_len_q = %d, "
        ".seq_len_kv = %d, .head_dim = %d, .kdim = %d, .vdim = %d, .layouts = {%d, %d, %d, %d}, "
        ".biases = %d, "
        ".bias_kv = %d, .zero_attn = %d, .wants_weights = %d, .average = %d, .is_causal = %d, "
        ".align = %d, "
        ".window_left = %d, .window_right = %d, .masks = {%d, %d}, .scale = %.17g},",
        k->seed, (int)k->batch, (int)k->num_heads, (int)k->num_kv_heads, (int)k->seq_len_q,
        (int)k->seq_len_kv, (int)k->head_dim, (int)k->kdim, (int)k->vdim, (int)k->layouts[0],
        (int)k->layouts[1], (int)k->layouts[2], (int)k->layouts[3], (int)k->biases, (int)k->bias_kv,
        (int)k->zero_attn, (int)k->wants_weights, (int)k->average, (int)k->is_causal, (int)k->align,
        (int)k->window_left, (int)k->window_right, (int)k->masks[0], (int)k->masks[1], k->scale);
}

/* Numbers that are exact in float32, in both types. */
typedef struct numbers {
    size_t count;
    float *f32;
    double *f64;
} numbers;

enum tensors {
    QUERY,
    KEY,
    VALUE,
    Q_WEIGHT,
    K_WEIGHT,
    V_WEIGHT,
    OUT_WEIGHT,
    Q_BIAS,
    K_BIAS,
    V_BIAS,
    OUT_BIAS,
    BIAS_K,
    BIAS_V,
    MASK_0,
    MASK_1,
    NUM_TENSORS
};

typedef struct layer {
    mha_case k;
    int32_t embed_dim, kv_dim, num_keys; /* num_keys: with the appended ones */
    numbers tensors[NUM_TENSORS];
    uint8_t *bool_masks[2];
    size_t out_count, weights_count;
    attn_mha_desc desc32, desc64;
} layer;

static numbers numbers_alloc(size_t count, rng *r, double factor) {
    numbers n = {count, malloc(count * sizeof(float) + 1), malloc(count * sizeof(double) + 1)};
    for (size_t e = 0; e < count; e++) {
        n.f32[e] = (float)(factor * rng_unit(r));
        n.f64[e] = (double)n.f32[e];
    }
    return n;
}

static attn_strides strides_of(int32_t batch, int32_t seq_len, int32_t dim, int32_t layout) {
    if (layout == SEQ_FIRST)
        return (attn_strides){.batch = dim, .row = (ptrdiff_t)batch * dim};
    const ptrdiff_t row = layout == PADDED ? dim + 3 : dim;
    return (attn_strides){.batch = seq_len * row + (layout == PADDED ? 5 : 0), .row = row};
}

static size_t extent(int32_t batch, int32_t seq_len, int32_t dim, const attn_strides *s) {
    if (batch == 0 || seq_len == 0)
        return 0;
    return (size_t)((batch - 1) * s->batch + (seq_len - 1) * s->row + dim);
}

static void layer_build(layer *l, const mha_case *k) {
    rng r = {k->seed};
    memset(l, 0, sizeof *l);
    l->k = *k;
    l->embed_dim = k->num_heads * k->head_dim;
    l->kv_dim = k->num_kv_heads * k->head_dim;
    l->num_keys = k->seq_len_kv + k->bias_kv + k->zero_attn;

    attn_mha_desc *d = &l->desc32;
    attn_mha_desc_init(d, k->batch, k->num_heads, k->seq_len_q, k->seq_len_kv, l->embed_dim);
    d->num_kv_heads = k->num_kv_heads;
    d->kdim = k->kdim, d->vdim = k->vdim;
    d->is_causal = k->is_causal, d->align = k->align;
    d->window_left = k->window_left, d->window_right = k->window_right;
    d->add_zero_attn = k->zero_attn, d->average_weights = k->average;
    d->scale = k->scale;
    d->query = strides_of(k->batch, k->seq_len_q, l->embed_dim, k->layouts[0]);
    d->key = strides_of(k->batch, k->seq_len_kv, k->kdim, k->layouts[1]);
    d->value = strides_of(k->batch, k->seq_len_kv, k->vdim, k->layouts[2]);
    d->out = strides_of(k->batch, k->seq_len_q, l->embed_dim, k->layouts[3]);
    l->out_count = extent(k->batch, k->seq_len_q, l->embed_dim, &d->out);
    l->weights_count = (size_t)k->batch * (size_t)(k->average ? 1 : k->num_heads) *
                       (size_t)k->seq_len_q * (size_t)l->num_keys;

    const size_t embed = (size_t)l->embed_dim, kv = (size_t)l->kv_dim;
    const size_t counts[NUM_TENSORS] = {
        extent(k->batch, k->seq_len_q, l->embed_dim, &d->query),
        extent(k->batch, k->seq_len_kv, k->kdim, &d->key),
        extent(k->batch, k->seq_len_kv, k->vdim, &d->value),
        embed * embed,
        kv * (size_t)k->kdim,
        kv * (size_t)k->vdim,
        embed * embed,
        k->biases ? embed : 0,
        k->biases ? kv : 0,
        k->biases ? kv : 0,
        k->biases ? embed : 0,
        k->bias_kv ? kv : 0,
        k->bias_kv ? kv : 0,
    };
    for (int t = 0; t < MASK_0; t++)
        l->tensors[t] = numbers_alloc(counts[t], &r, 1.0);

    l->desc64 = *d;
    const ptrdiff_t queries = k->seq_len_q, keys = k->seq_len_kv;
    const size_t mask_count = (size_t)(k->batch * k->num_heads * queries * keys);
    for (int m = 0; m < 2; m++) {
        const int32_t bits = k->masks[m];
        attn_mask mask = {.kind = bits & 3,
                          .seq_len_kv = bits & SHORT ? rng_int(&r, 0, k->seq_len_kv) : 0,
                          .batch = bits & ONE_BATCH ? 0 : k->num_heads * queries * keys,
                          .head = bits & ONE_HEAD ? 0 : queries * keys,
                          .query = bits & ONE_QUERY ? 0 : keys,
                          .key = 1};
        l->tensors[MASK_0 + m] =
            numbers_alloc(mask.kind == ATTN_MASK_ADD ? mask_count : 0, &r, 2.0);
        numbers *add = &l->tensors[MASK_0 + m];
        l->bool_masks[m] = malloc(mask_count + 1);
        bool removed = false; /* now and then a whole row */
        for (size_t e = 0; e < mask_count; e++) {
            if (e % (size_t)keys == 0)
                removed = rng_once_in(&r, 6);
            const bool keep = !removed && !rng_once_in(&r, 4);
            l->bool_masks[m][e] = keep;
            if (add->count && !keep)
                add->f32[e] = -INFINITY, add->f64[e] = -INFINITY;
        }
        mask.data = mask.kind == ATTN_MASK_ADD ? (const void *)add->f32 : l->bool_masks[m];
        l->desc32.masks[m] = mask;
        mask.data = mask.kind == ATTN_MASK_ADD ? (const void *)add->f64 : l->bool_masks[m];
        l->desc64.masks[m] = mask;
    }
}

static void layer_free(layer *l) {
    for (int t = 0; t < NUM_TENSORS; t++)
        free(l->tensors[t].f32), free(l->tensors[t].f64);
    free(l->bool_masks[0]), free(l->bool_masks[1]);
}

/* The layer as plain loops */

static const double U = 0x1p-24;

/* An operation on two floats in double, rounded to float, is that operation in float. */
static double rounded(double x, bool to_single) {
    return to_single ? (double)(float)x : x;
}

/* What the loops produce, contiguous: out [batch, seq_len_q, embed_dim], weights as the layer's,
 * and the floors. */
typedef struct composition {
    double *out, *out_floor, *weights, *weights_floor;
} composition;

/* sum_k x[k] w[k] (+ bias), and in *E, where wanted, its squared floor from that of x (NULL: exact). */
static double product(const double *x, const double *w, const double *bias, int32_t count,
                      bool single, const double *E_x, double *E) {
    double sum = 0.0, squares = 0.0;
    for (int32_t e = 0; e < count; e++) {
        const double term = rounded(x[e] * w[e], single);
        sum = rounded(sum + term, single);
        squares += U * U * term * term + (E_x ? E_x[e] * w[e] * w[e] : 0.0);
    }
    sum = bias ? rounded(sum + *bias, single) : sum;
    if (E)
        *E = squares + U * U * sum * sum;
    return sum;
}

/* to, E [seq_len, out_dim] <- rows of batch element b, projected */
static void project(const layer *l, int tensor, int32_t b, int32_t seq_len, int32_t in_dim,
                    int32_t out_dim, const attn_strides *s, bool single, double *to, double *E) {
    const double *w = l->tensors[tensor + Q_WEIGHT].f64, *bias = l->tensors[tensor + Q_BIAS].f64;
    for (int32_t i = 0; i < seq_len; i++)
        for (int32_t o = 0; o < out_dim; o++)
            to[i * out_dim + o] = product(l->tensors[tensor].f64 + b * s->batch + i * s->row,
                                          w + (ptrdiff_t)o * in_dim, l->k.biases ? bias + o : NULL,
                                          in_dim, single, NULL, &E[i * out_dim + o]);
}

/* Row i sees key j. The appended keys are beyond every limit. */
static bool sees(const layer *l, int32_t i, int32_t j) {
    const mha_case *k = &l->k;
    const int32_t position =
        k->align == ATTN_ALIGN_BOTTOM_RIGHT ? i + k->seq_len_kv - k->seq_len_q : i;
    if (j >= k->seq_len_kv)
        return true;
    return !(k->is_causal && j > position) &&
           !(k->window_left >= 0 && j < position - k->window_left) &&
           !(k->window_right >= 0 && j > position + k->window_right);
}

static double masked(const layer *l, int32_t b, int32_t h, int32_t i, int32_t j, double s,
                     bool single) {
    for (int m = 0; m < 2; m++) {
        const attn_mask *mask = &l->desc64.masks[m];
        const int32_t covered = mask->seq_len_kv ? mask->seq_len_kv : l->k.seq_len_kv;
        const ptrdiff_t e = b * mask->batch + h * mask->head + i * mask->query + j;
        if (mask->kind == ATTN_MASK_NONE || j >= covered)
            continue;
        if (mask->kind == ATTN_MASK_ADD)
            s = rounded(s + ((const double *)mask->data)[e], single);
        else if (!((const uint8_t *)mask->data)[e])
            s = -INFINITY;
    }
    return s;
}

/* One row of one head: its weights [num_keys] and out [head_dim], with their squared floors. E_score
 * is scratch. The keys and values are rows of kv_dim columns, of which this head reads from `column` on. */
typedef struct head_row {
    const double *q, *E_q;                 /* [head_dim] */
    const double *k, *E_k, *v, *E_v;       /* [num_keys, kv_dim] */
    double *weights, *E_weights, *E_score; /* [num_keys] */
    double *out, *E_out;                   /* [head_dim] */
} head_row;

static void attend(const layer *l, int32_t b, int32_t h, int32_t i, bool single,
                   const head_row *r) {
    const int32_t dim = l->k.head_dim, keys = l->num_keys;
    const double scale = rounded(l->k.scale, single);
    double *w = r->weights;
    double row_max = -INFINITY, row_sum = 0.0, mean_E = 0.0;
    for (int32_t j = 0; j < keys; j++) {
        const ptrdiff_t key = (ptrdiff_t)j * l->kv_dim;
        double E;
        const double s =
            rounded(scale * product(r->q, r->k + key, NULL, dim, single, r->E_q, &E), single);
        for (int32_t c = 0; c < dim; c++)
            E += r->q[c] * r->q[c] * r->E_k[key + c];
        r->E_score[j] = scale * scale * E + U * U * s * s;
        w[j] = sees(l, i, j) ? masked(l, b, h, i, j, s, single) : -INFINITY;
        row_max = w[j] > row_max ? w[j] : row_max;
    }
    for (int32_t j = 0; j < keys; j++) {
        w[j] = row_max == -INFINITY ? 0.0 : rounded(exp(rounded(w[j] - row_max, single)), single);
        row_sum = rounded(row_sum + w[j], single);
    }
    for (int32_t j = 0; j < keys; j++) {
        w[j] = row_sum > 0 ? rounded(w[j] / row_sum, single) : 0.0;
        mean_E += w[j] * w[j] * r->E_score[j];
    }
    for (int32_t j = 0; j < keys; j++)
        r->E_weights[j] = w[j] * w[j] * (r->E_score[j] + mean_E + 3 * U * U);
    for (int32_t c = 0; c < dim; c++) {
        double sum = 0.0, E = 0.0;
        for (int32_t j = 0; j < keys; j++)
            sum = rounded(sum + rounded(w[j] * r->v[(ptrdiff_t)j * l->kv_dim + c], single), single);
        for (int32_t j = 0; j < keys; j++) {
            const ptrdiff_t key = (ptrdiff_t)j * l->kv_dim;
            const double v = r->v[key + c];
            E += w[j] * w[j] *
                 (r->E_v[key + c] + (v - sum) * (v - sum) * (r->E_score[j] + 3 * U * U) +
                  U * U * v * v);
        }
        r->out[c] = sum;
        r->E_out[c] = E + U * U * sum * sum;
    }
}

static void compose(const layer *l, bool single, composition *result) {
    const mha_case *k = &l->k;
    const int32_t dim = k->head_dim, embed = l->embed_dim, keys = l->num_keys, kv_dim = l->kv_dim;
    /* Values and, behind them, squared floors. Zeros: also the key and value of add_zero_attn. */
    const size_t q_count = (size_t)(k->seq_len_q * embed), kv_count = (size_t)(keys * kv_dim);
    double *q = calloc(2 * q_count + 1, sizeof *q),
           *concat = calloc(2 * q_count + 1, sizeof *concat);
    double *kk = calloc(2 * kv_count + 1, sizeof *kk), *v = calloc(2 * kv_count + 1, sizeof *v);
    double *w = calloc(3 * (size_t)keys + 1, sizeof *w);
    for (int32_t b = 0; b < k->batch; b++) {
        project(l, QUERY, b, k->seq_len_q, embed, embed, &l->desc64.query, single, q, q + q_count);
        project(l, KEY, b, k->seq_len_kv, k->kdim, kv_dim, &l->desc64.key, single, kk,
                kk + kv_count);
        project(l, VALUE, b, k->seq_len_kv, k->vdim, kv_dim, &l->desc64.value, single, v,
                v + kv_count);
        for (int32_t c = 0; c < kv_dim && k->bias_kv; c++) {
            kk[k->seq_len_kv * kv_dim + c] = l->tensors[BIAS_K].f64[c];
            v[k->seq_len_kv * kv_dim + c] = l->tensors[BIAS_V].f64[c];
        }
        for (int32_t h = 0; h < k->num_heads; h++) {
            const int32_t column = h / (k->num_heads / k->num_kv_heads) * dim;
            for (int32_t i = 0; i < k->seq_len_q; i++) {
                const ptrdiff_t at = (ptrdiff_t)i * embed + h * dim;
                const head_row row = {q + at,
                                      q + q_count + at,
                                      kk + column,
                                      kk + kv_count + column,
                                      v + column,
                                      v + kv_count + column,
                                      w,
                                      w + keys,
                                      w + 2 * keys,
                                      concat + at,
                                      concat + q_count + at};
                attend(l, b, h, i, single, &row);

                /* The floors of a mean add like those of a sum. */
                const int32_t heads = k->average ? k->num_heads : 1;
                const ptrdiff_t head = k->average ? b : (ptrdiff_t)b * k->num_heads + h;
                for (int32_t j = 0; j < keys && k->wants_weights; j++) {
                    const ptrdiff_t to = (head * k->seq_len_q + i) * keys + j;
                    const double sum = rounded(result->weights[to] + w[j], single);
                    const bool last = !k->average || h == heads - 1;
                    result->weights[to] = last ? rounded(sum / heads, single) : sum;
                    result->weights_floor[to] += (sqrt(w[keys + j]) + 0x1p-100) / heads;
                }
            }
        }
        for (int32_t i = 0; i < k->seq_len_q; i++)
            for (int32_t o = 0; o < embed; o++) {
                const ptrdiff_t to = ((ptrdiff_t)b * k->seq_len_q + i) * embed + o;
                double E;
                result->out[to] = product(concat + (ptrdiff_t)i * embed,
                                          l->tensors[OUT_WEIGHT].f64 + (ptrdiff_t)o * embed,
                                          k->biases ? l->tensors[OUT_BIAS].f64 + o : NULL, embed,
                                          single, concat + q_count + (ptrdiff_t)i * embed, &E);
                result->out_floor[to] = sqrt(E) + 0x1p-149;
            }
    }
    free(q), free(kk), free(v), free(concat), free(w);
}

static composition composition_alloc(const layer *l) {
    const size_t out = (size_t)(l->k.batch * l->k.seq_len_q * l->embed_dim) + 1;
    return (composition){calloc(out, sizeof(double)), calloc(out, sizeof(double)),
                         calloc(l->weights_count + 1, sizeof(double)),
                         calloc(l->weights_count + 1, sizeof(double))};
}

static void composition_free(composition *c) {
    free(c->out), free(c->out_floor), free(c->weights), free(c->weights_floor);
}

/* One case */

#define DATA(l, type, suffix, out_, weights_)                                                      \
    (type) {                                                                                       \
        .query = (l)->tensors[QUERY].suffix, .key = (l)->tensors[KEY].suffix,                      \
        .value = (l)->tensors[VALUE].suffix, .q_weight = (l)->tensors[Q_WEIGHT].suffix,            \
        .k_weight = (l)->tensors[K_WEIGHT].suffix, .v_weight = (l)->tensors[V_WEIGHT].suffix,      \
        .out_weight = (l)->tensors[OUT_WEIGHT].suffix,                                             \
        .q_bias = (l)->k.biases ? (l)->tensors[Q_BIAS].suffix : NULL,                              \
        .k_bias = (l)->k.biases ? (l)->tensors[K_BIAS].suffix : NULL,                              \
        .v_bias = (l)->k.biases ? (l)->tensors[V_BIAS].suffix : NULL,                              \
        .out_bias = (l)->k.biases ? (l)->tensors[OUT_BIAS].suffix : NULL,                          \
        .bias_k = (l)->k.bias_kv ? (l)->tensors[BIAS_K].suffix : NULL,                             \
        .bias_v = (l)->k.bias_kv ? (l)->tensors[BIAS_V].suffix : NULL, .out = (out_),              \
        .weights = (weights_),                                                                     \
    }

static void run_f64(const layer *l, guarded *out, guarded *weights) {
    const attn_mha_f64_data data =
        DATA(l, attn_mha_f64_data, f64, out->data, l->k.wants_weights ? weights->data : NULL);
    attn_exec exec = {0};
    CHECK_STATUS(attn_mha_f64_workspace(&l->desc64, &data, &exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_f64(&l->desc64, &data, &exec), ATTN_OK);
    CHECK(guarded_intact(&workspace) && guarded_intact(out) && guarded_intact(weights));
    guarded_free(&workspace);
}

/* Also with the weights packed beforehand: to the same bits. */
static void run_f32(const layer *l, bool is_packed, guarded *out, guarded *weights) {
    attn_mha_f32_data data =
        DATA(l, attn_mha_f32_data, f32, out->data, l->k.wants_weights ? weights->data : NULL);
    attn_exec exec = {0};
    size_t bytes = 0;
    if (is_packed)
        CHECK_STATUS(attn_mha_pack_f32(&l->desc32, &data, NULL, &bytes), ATTN_OK);
    guarded packed = guarded_alloc(bytes, 0xFF);
    if (bytes > 0) {
        CHECK_STATUS(attn_mha_pack_f32(&l->desc32, &data, packed.data, &bytes), ATTN_OK);
        data.packed_weights = packed.data;
    }
    CHECK_STATUS(attn_mha_f32_workspace(&l->desc32, &data, NULL, &exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_f32(&l->desc32, &data, &exec), ATTN_OK);
    CHECK(guarded_intact(&workspace) && guarded_intact(out) && guarded_intact(weights));
    CHECK(guarded_intact(&packed));
    guarded_free(&workspace), guarded_free(&packed);
}

/* Elements of out between its rows still hold the fill. */
static void check_gaps(const layer *l, const guarded *out, size_t element_bytes) {
    unsigned char fill[sizeof(double)];
    memset(fill, FILL, sizeof fill);
    bool *covered = calloc(l->out_count + 1, sizeof *covered);
    const attn_strides *s = &l->desc32.out;
    for (int32_t b = 0; b < l->k.batch; b++)
        for (int32_t i = 0; i < l->k.seq_len_q; i++)
            for (int32_t c = 0; c < l->embed_dim; c++)
                covered[b * s->batch + i * s->row + c] = true;
    for (size_t e = 0; e < l->out_count; e++)
        if (!covered[e])
            check_that(memcmp((const char *)out->data + e * element_bytes, fill, element_bytes) ==
                           0,
                       __FILE__, __LINE__, "out[%zu] belongs to nobody and was written", e);
    free(covered);
}

/* In units of the floor: the largest of attn_mha_f32 and of the naive layer, of out and of weights. */
typedef struct errors {
    double fast[2], naive[2];
} errors;

static void run_numbers(const mha_case *k, errors *worst) {
    layer l;
    layer_build(&l, k);
    composition exact = composition_alloc(&l), naive = composition_alloc(&l);
    compose(&l, false, &exact);
    compose(&l, true, &naive);
    guarded out64 = guarded_alloc(l.out_count * sizeof(double), FILL);
    guarded weights64 = guarded_alloc(l.weights_count * sizeof(double), FILL);
    guarded out32 = guarded_alloc(l.out_count * sizeof(float), FILL);
    guarded weights32 = guarded_alloc(l.weights_count * sizeof(float), FILL);
    run_f64(&l, &out64, &weights64);
    run_f32(&l, false, &out32, &weights32);
    guarded out_packed = guarded_alloc(l.out_count * sizeof(float), FILL);
    guarded weights_packed = guarded_alloc(l.weights_count * sizeof(float), FILL);
    run_f32(&l, true, &out_packed, &weights_packed);
    CHECK(memcmp(out_packed.data, out32.data, l.out_count * sizeof(float)) == 0);
    CHECK(memcmp(weights_packed.data, weights32.data, l.weights_count * sizeof(float)) == 0);
    guarded_free(&out_packed), guarded_free(&weights_packed);
    check_gaps(&l, &out64, sizeof(double));
    check_gaps(&l, &out32, sizeof(float));

    /* The order of a float64 sum of n terms moves it by n 2^-53 of their size; through four sums of
     * at most some hundred terms, that is far below the 2^-24 of one float32 rounding: 2^-12 of a
     * floor. */
    const double order = 0x1p-12;
    for (int32_t b = 0; b < k->batch; b++)
        for (int32_t i = 0; i < k->seq_len_q; i++)
            for (int32_t c = 0; c < l.embed_dim; c++) {
                const ptrdiff_t from = b * l.desc32.out.batch + i * l.desc32.out.row + c;
                const ptrdiff_t to = ((ptrdiff_t)b * k->seq_len_q + i) * l.embed_dim + c;
                const double floor = exact.out_floor[to], expected = exact.out[to];
                CHECK_NEAR(((const double *)out64.data)[from], expected, order * floor);
                const double fast = (double)((const float *)out32.data)[from];
                if (!check_that(isfinite(fast), __FILE__, __LINE__, "out[%td] is %.9g, not %.9g",
                                from, fast, expected))
                    continue;
                worst->fast[0] = fmax(worst->fast[0], fabs(fast - expected) / floor);
                worst->naive[0] = fmax(worst->naive[0], fabs(naive.out[to] - expected) / floor);
            }

    for (size_t e = 0; e < l.weights_count && k->wants_weights; e++) {
        CHECK_NEAR(((const double *)weights64.data)[e], exact.weights[e],
                   order * exact.weights_floor[e]);
        const double fast = (double)((const float *)weights32.data)[e];
        if (exact.weights[e] == 0.0)
            CHECK_EXACT(fast, 0.0);
        worst->fast[1] =
            fmax(worst->fast[1], fabs(fast - exact.weights[e]) / exact.weights_floor[e]);
        worst->naive[1] = fmax(worst->naive[1],
                               fabs(naive.weights[e] - exact.weights[e]) / exact.weights_floor[e]);
    }
    if (!k->wants_weights)
        CHECK(guarded_untouched(&weights32, FILL) && guarded_untouched(&weights64, FILL));

    guarded_free(&out64), guarded_free(&weights64), guarded_free(&out32), guarded_free(&weights32);
    composition_free(&exact), composition_free(&naive);
    layer_free(&l);
}

static void run_case(const mha_case *k) {
    enum { ENOUGH_ELEMENTS = 500, MOST_REPEATS = 60 };
    const int64_t elements = (int64_t)k->batch * k->seq_len_q * k->num_heads * k->head_dim;
    errors worst = {{0}, {0}};
    describe(k);
    mha_case repeated = *k;
    for (int32_t done = 0; done == 0 || (done * elements < ENOUGH_ELEMENTS && done < MOST_REPEATS);
         done++) {
        run_numbers(&repeated, &worst);
        repeated.seed += UINT64_C(1) << 32;
    }
    for (int output = 0; output < 2; output++)
        check_that(worst.fast[output] <= 2 * worst.naive[output] + 1, __FILE__, __LINE__,
                   "%s: error %.3g, naive layer %.3g (in units of the floor)",
                   output ? "weights" : "out", worst.fast[output], worst.naive[output]);
}

static mha_case random_case(uint32_t n) {
    static const int32_t dims[] = {1, 2, 3, 4, 5, 8, 16, 20},
                         lengths[] = {0, 1, 2, 3, 7, 8, 9, 16, 17, 33};
    static const int32_t bits[] = {ONE_BATCH, ONE_HEAD, ONE_QUERY, SHORT};
    rng r = {n * UINT64_C(0x7654321) + 1};
    mha_case k = {.seed = rng_next(&r)};
    k.head_dim = dims[n % 8];
    k.seq_len_q = rng_once_in(&r, 12) ? 0 : lengths[1 + n % 9];
    k.seq_len_kv = rng_once_in(&r, 2) ? k.seq_len_q : lengths[rng_int(&r, 0, 9)];
    k.batch = rng_once_in(&r, 20) ? 0 : rng_int(&r, 1, 3);
    k.num_kv_heads = rng_int(&r, 1, 3);
    k.num_heads = k.num_kv_heads * (rng_once_in(&r, 2) ? 1 : rng_int(&r, 1, 3));
    k.kdim = rng_once_in(&r, 2) ? k.num_heads * k.head_dim : rng_int(&r, 1, 40);
    k.vdim = rng_once_in(&r, 2) ? k.num_heads * k.head_dim : rng_int(&r, 1, 40);
    for (int t = 0; t < 4; t++)
        k.layouts[t] = rng_int(&r, 0, NUM_LAYOUTS - 1);
    k.biases = rng_once_in(&r, 2);
    k.bias_kv = rng_once_in(&r, 3);
    k.zero_attn = rng_once_in(&r, 3);
    k.wants_weights = rng_once_in(&r, 2);
    k.average = rng_once_in(&r, 2);
    k.is_causal = rng_once_in(&r, 3);
    k.align = rng_int(&r, 0, 1);
    k.window_left = rng_once_in(&r, 4) ? rng_int(&r, 0, 5) : -1;
    k.window_right = rng_once_in(&r, 4) ? rng_int(&r, 0, 5) : -1;
    for (int m = 0; m < 2; m++)
        if (rng_once_in(&r, 3)) {
            k.masks[m] = rng_int(&r, ATTN_MASK_BOOL, ATTN_MASK_ADD);
            for (int b = 0; b < 4; b++)
                k.masks[m] |= rng_once_in(&r, 2) ? bits[b] : 0;
        }
    k.scale = rng_once_in(&r, 4) ? 2 * rng_unit(&r) : 1.0 / sqrt(k.head_dim);
    return k;
}

TEST(agrees_with_the_plain_loops_on_random_cases) {
    enum { NUM_CASES = 400 };
    for (uint32_t n = 0; n < NUM_CASES; n++) {
        const mha_case k = random_case(n);
        run_case(&k);
    }
}

/* Failures are pasted here. */
static const mha_case CASES[] = {
    /* self-attention as in PyTorch, and what PyTorch's causal mask does to appended keys: nothing
     */
    {.seed = 1,
     .batch = 2,
     .num_heads = 4,
     .num_kv_heads = 4,
     .seq_len_q = 10,
     .seq_len_kv = 10,
     .head_dim = 16,
     .kdim = 64,
     .vdim = 64,
     .biases = 1,
     .wants_weights = 1,
     .average = 1,
     .window_left = -1,
     .window_right = -1,
     .scale = 0.25},
    {.seed = 2,
     .batch = 1,
     .num_heads = 2,
     .num_kv_heads = 2,
     .seq_len_q = 9,
     .seq_len_kv = 7,
     .head_dim = 8,
     .kdim = 5,
     .vdim = 6,
     .biases = 1,
     .bias_kv = 1,
     .zero_attn = 1,
     .wants_weights = 1,
     .is_causal = 1,
     .window_left = 2,
     .window_right = -1,
     .masks = {ATTN_MASK_BOOL, ATTN_MASK_ADD},
     .scale = 0.5},
    /* scores of some hundreds, where an appended key may outweigh all others or none */
    {.seed = 3,
     .batch = 2,
     .num_heads = 3,
     .num_kv_heads = 1,
     .seq_len_q = 8,
     .seq_len_kv = 5,
     .head_dim = 20,
     .kdim = 60,
     .vdim = 60,
     .bias_kv = 1,
     .zero_attn = 1,
     .wants_weights = 1,
     .average = 1,
     .window_left = -1,
     .window_right = -1,
     .scale = 30},
};

TEST(agrees_with_the_plain_loops_on_chosen_cases) {
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++)
        run_case(&CASES[n]);
}

TEST(the_defaults_are_those_of_pytorch) {
    attn_mha_desc d;
    attn_mha_desc_init(&d, 2, 4, 10, 12, 64);
    CHECK_EXACT(d.scale, 0.25);
    CHECK(d.num_kv_heads == 4 && d.kdim == 64 && d.vdim == 64 && d.window_left < 0 &&
          d.window_right < 0);
    CHECK(d.query.batch == 640 && d.query.row == 64 && d.out.batch == 640 && d.out.row == 64);
    CHECK(d.key.batch == 768 && d.key.row == 64 && d.value.batch == 768 && d.value.row == 64);
    CHECK(!d.is_causal && !d.add_zero_attn && !d.average_weights && d.masks[0].kind == 0 &&
          d.masks[1].kind == 0);
}

TEST(one_head_of_identities_is_sdpa) {
    const double identity[4] = {1, 0, 0, 1};
    const double x[6] = {0.5, -1, 2, 0.25, -0.75, 1.5};
    double out[6], expected[6], scratch[64];
    attn_mha_desc layer;
    attn_mha_desc_init(&layer, 1, 1, 3, 3, 2);
    layer.is_causal = 1;
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 1, 1, 3, 3, 2, 2);
    desc.is_causal = 1;
    const attn_mha_f64_data layer_data = {.query = x,
                                          .key = x,
                                          .value = x,
                                          .q_weight = identity,
                                          .k_weight = identity,
                                          .v_weight = identity,
                                          .out_weight = identity,
                                          .out = out};
    const attn_sdpa_f64_data data = {.query = x, .key = x, .value = x, .out = expected};
    guarded workspace = guarded_alloc(sizeof scratch, 0xFF);
    const attn_exec exec = {.workspace = workspace.data, .workspace_bytes = sizeof scratch};
    CHECK_STATUS(attn_mha_f64(&layer, &layer_data, &exec), ATTN_OK);
    CHECK_STATUS(attn_sdpa_f64(&desc, &data, &exec), ATTN_OK);
    CHECK(memcmp(out, expected, sizeof out) == 0);
    guarded_free(&workspace);
}

/* Where query, key and value are one tensor, its rows are packed once, but only where they are read
 * alike: to the bits of three copies. */
TEST(one_tensor_for_all_three_is_as_three_copies) {
    enum { EMBED = 8, ROWS = 24, COUNT = 2 * ROWS * 2 * EMBED };
    float x[3][COUNT], w[4][EMBED * EMBED], out[2][2 * ROWS * EMBED];
    for (int e = 0; e < COUNT; e++)
        x[0][e] = x[1][e] = x[2][e] = (float)((e * 37) % 101) / 50.0f - 1.0f;
    for (int t = 0; t < 4; t++)
        for (int e = 0; e < EMBED * EMBED; e++)
            w[t][e] = (float)((e * 29 + t * 13) % 67) / 33.0f - 1.0f;
    for (int32_t rows = 1; rows <= ROWS; rows++) {
        for (int how = 0; how < 5; how++) {
            attn_mha_desc desc;
            attn_mha_desc_init(&desc, how == 4 ? 2 : 1, 2, rows,
                               how == 1 && rows > 1 ? rows - 1 : rows, EMBED);
            if (how == 2)
                desc.key.row = 2 * EMBED;
            if (how == 3)
                desc.kdim = EMBED / 2;
            if (how == 4)
                desc.query.batch = desc.key.batch = desc.value.batch = 2 * ROWS * EMBED;
            for (int copies = 0; copies < 2; copies++) {
                const attn_mha_f32_data data = {.query = x[0],
                                                .key = x[copies],
                                                .value = x[2 * copies],
                                                .q_weight = w[0],
                                                .k_weight = w[1],
                                                .v_weight = w[2],
                                                .out_weight = w[3],
                                                .out = out[copies]};
                attn_exec exec = {0};
                CHECK_STATUS(attn_mha_f32_workspace(&desc, &data, NULL, &exec.workspace_bytes),
                             ATTN_OK);
                guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
                exec.workspace = workspace.data;
                CHECK_STATUS(attn_mha_f32(&desc, &data, &exec), ATTN_OK);
                CHECK(guarded_intact(&workspace));
                guarded_free(&workspace);
            }
            check_that(
                memcmp(out[0], out[1], sizeof(float) * (size_t)(desc.batch * rows * EMBED)) == 0,
                __FILE__, __LINE__, "%d rows, how %d", (int)rows, how);
        }
    }
}

/* NaN in a key row that the causal limit hides: out and the other weights do not change, with and
 * without appended keys, in both types. */
TEST(keys_outside_the_limits_do_not_leak_through_the_layer) {
    for (int32_t extra = 0; extra < 4; extra++) {
        const mha_case k = {.seed = 11,
                            .batch = 1,
                            .num_heads = 2,
                            .num_kv_heads = 2,
                            .seq_len_q = 3,
                            .seq_len_kv = 5,
                            .head_dim = 4,
                            .kdim = 8,
                            .vdim = 8,
                            .bias_kv = extra & 1,
                            .zero_attn = extra >> 1,
                            .wants_weights = 1,
                            .is_causal = 1,
                            .window_left = -1,
                            .window_right = -1,
                            .scale = 0.5};
        describe(&k);
        layer l;
        layer_build(&l, &k);
        guarded out[4], weights[4];
        for (int run = 0; run < 4; run++) {
            const size_t element_bytes = run % 2 ? sizeof(double) : sizeof(float);
            if (run == 2)
                for (int t = KEY; t <= VALUE; t++)
                    for (int e = 3 * 8; e < 5 * 8; e++)
                        l.tensors[t].f32[e] = NAN, l.tensors[t].f64[e] = NAN;
            out[run] = guarded_alloc(l.out_count * element_bytes, FILL);
            weights[run] = guarded_alloc(l.weights_count * element_bytes, FILL);
            if (run % 2)
                run_f64(&l, &out[run], &weights[run]);
            else
                run_f32(&l, false, &out[run], &weights[run]);
        }
        for (int run = 0; run < 2; run++) {
            CHECK(memcmp(out[run].data, out[run + 2].data, out[run].bytes) == 0);
            CHECK(memcmp(weights[run].data, weights[run + 2].data, weights[run].bytes) == 0);
        }
        for (int run = 0; run < 4; run++)
            guarded_free(&out[run]), guarded_free(&weights[run]);
        layer_free(&l);
    }
}

/* The packed copy is what is read: without numbers in the weights themselves, they come out as before. */
TEST(packed_weights_are_read_and_not_the_weights) {
    const mha_case k = {.seed = 13,
                        .batch = 1,
                        .num_heads = 4,
                        .num_kv_heads = 2,
                        .seq_len_q = 7,
                        .seq_len_kv = 9,
                        .head_dim = 5,
                        .kdim = 3,
                        .vdim = 11,
                        .window_left = -1,
                        .window_right = -1,
                        .scale = 0.5};
    layer l;
    layer_build(&l, &k);
    guarded out = guarded_alloc(l.out_count * sizeof(float), FILL);
    guarded again = guarded_alloc(l.out_count * sizeof(float), FILL);
    guarded weights = guarded_alloc(0, FILL);
    run_f32(&l, false, &out, &weights);

    attn_mha_f32_data data = DATA(&l, attn_mha_f32_data, f32, again.data, NULL);
    attn_exec exec = {0};
    size_t bytes;
    CHECK_STATUS(attn_mha_pack_f32(&l.desc32, &data, NULL, &bytes), ATTN_OK);
    guarded packed = guarded_alloc(bytes, 0xFF);
    CHECK_STATUS(attn_mha_pack_f32(&l.desc32, &data, packed.data, &bytes), ATTN_OK);
    data.packed_weights = packed.data;
    for (int t = Q_WEIGHT; t <= OUT_WEIGHT; t++)
        memset(l.tensors[t].f32, 0, l.tensors[t].count * sizeof(float));
    CHECK_STATUS(attn_mha_f32_workspace(&l.desc32, &data, NULL, &exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_f32(&l.desc32, &data, &exec), ATTN_OK);
    CHECK(memcmp(out.data, again.data, out.bytes) == 0);
    guarded_free(&out), guarded_free(&again), guarded_free(&weights);
    guarded_free(&packed), guarded_free(&workspace);
    layer_free(&l);
}

/* A row that a NaN in bias_k has spoilt: the keys that it never read still have the weight 0. */
TEST(unread_keys_have_no_weight_even_in_a_row_of_nan) {
    const mha_case k = {.seed = 12,
                        .batch = 1,
                        .num_heads = 1,
                        .num_kv_heads = 1,
                        .seq_len_q = 3,
                        .seq_len_kv = 5,
                        .head_dim = 4,
                        .kdim = 4,
                        .vdim = 4,
                        .bias_kv = 1,
                        .wants_weights = 1,
                        .is_causal = 1,
                        .window_left = -1,
                        .window_right = -1,
                        .scale = 0.5};
    layer l;
    layer_build(&l, &k);
    l.tensors[BIAS_K].f64[0] = NAN, l.tensors[BIAS_K].f32[0] = NAN;
    guarded out = guarded_alloc(l.out_count * sizeof(double), FILL);
    guarded weights = guarded_alloc(l.weights_count * sizeof(double), FILL);
    run_f64(&l, &out, &weights);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 6; j++) {
            const double weight = ((const double *)weights.data)[i * 6 + j];
            CHECK(j > i && j < 5 ? weight == 0.0 : isnan(weight));
        }
    run_f32(&l, false, &out, &weights);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 6; j++) {
            const float weight = ((const float *)weights.data)[i * 6 + j];
            CHECK(j > i && j < 5 ? weight == 0.0f : isnan(weight));
        }
    guarded_free(&out), guarded_free(&weights);
    layer_free(&l);
}

int main(void) {
    RUN(the_defaults_are_those_of_pytorch);
    RUN(one_head_of_identities_is_sdpa);
    RUN(one_tensor_for_all_three_is_as_three_copies);
    RUN(agrees_with_the_plain_loops_on_chosen_cases);
    RUN(agrees_with_the_plain_loops_on_random_cases);
    RUN(keys_outside_the_limits_do_not_leak_through_the_layer);
    RUN(packed_weights_are_read_and_not_the_weights);
    RUN(unread_keys_have_no_weight_even_in_a_row_of_nan);
    return check_summary();
}
