/* The fast path against the float64 reference, on sizes around every edge of its tiles, with the
 * options combined at random, in every layout.
 *
 * The tolerance is made, not chosen. On the same numbers a naive float32 loop (below) makes an
 * error, too; the fast path may make twice that, plus the floor: what one rounding of each quantity
 * that the formula names costs, to first order, with u = 2^-24.
 *
 *     e_j, the score   each product query[d] * key[d] and the score itself are rounded, as are the
 *                      terms of softcap (quotient, tanh twice, product), ALiBi and masks:
 *                      e_j = u (scale sum_d |query[d] key[d]| + |terms| + |score|)
 *     weights[j]       moves by (e_j + sum_k w_k e_k) of itself; exp, sum and quotient round: 3 u
 *     out[d]           sum_j w_j |value[j][d]| (e_j + sum_k w_k e_k); product and result round,
 *                      too: 5 u
 *     logsumexp        sum_k w_k e_k, and 3 u (log, sum, result) of the larger of itself and 1
 *
 * The naive loop rounds its sums once per term instead: its error is at most head_dim + seq_len_kv
 * and a few floors, and is held to that. Otherwise a mistake that it shared with the fast path
 * would excuse itself.
 *
 * Two further terms: weights below 2^-100 of a row's largest may be lost (kernels/exp_f32.h), and a
 * product in the range of subnormals is rounded to a multiple of 2^-149, which is an absolute
 * error. Errors are compared in units of the floor of their own element, and by their maximum over
 * a case; a case has enough elements (or is repeated with other numbers until it has) that neither
 * maximum is a matter of luck. */
#include "check.h"
#include "sdpa_common.h"

static const int32_t DIMS[] = {1,  2,  3,  4,  5,  7,  8,   16,  31, 32,
                               33, 63, 64, 65, 80, 96, 128, 129, 256};
static const int32_t LENGTHS[] = {0,  1,  2,  5,  6,  7,   8,   9,   11,  12,  13,  16,  17, 59,
                                  60, 61, 63, 64, 65, 119, 120, 121, 127, 128, 129, 197, 300};
enum { NUM_DIMS = sizeof DIMS / sizeof *DIMS, NUM_LENGTHS = sizeof LENGTHS / sizeof *LENGTHS };

enum layout {
    CONTIGUOUS,  /* [batch, heads, rows, dim] */
    INTERLEAVED, /* [batch, rows, heads, dim] */
    PADDED,      /* elements between rows, heads and batches that belong to nobody */
    BACKWARDS,   /* the first row last in memory: a negative stride */
    ONE_BATCH,   /* stride 0 over batch: inputs only, like those below */
    ONE_HEAD,
    ONE_ROW,
    NUM_LAYOUTS,
    NUM_OUT_LAYOUTS = ONE_BATCH,
};

enum values {
    ORDINARY,   /* scores of a few units */
    HUGE,       /* scores up to some +-1e4, mostly one key to each row */
    HUGE_CLOSE, /* scores of the same size, but only a few units apart */
    SUBNORMAL,  /* values around 2^-140, products query * key, too */
    SPECIAL,    /* ordinary, with infinities and NaN among them */
    UNREAD_NAN, /* NaN in every key and value row that no query row may read */
    NUM_VALUES,
    TINY_LATER =
        NUM_VALUES, /* ordinary, but the second half of keys and values is tiny: chosen cases only */
};

enum outputs { OUT = 1, WEIGHTS = 2, SCORES = 4, LOGSUMEXP = 8 };

/* A mask: its kind, plus the axes over which it is broadcast, plus whether it covers only some
 * keys. */
enum mask_bits {
    MASK_ONE_BATCH = 4,
    MASK_ONE_HEAD = 8,
    MASK_ONE_QUERY = 16,
    MASK_ONE_KEY = 32,
    MASK_SHORT = 64
};

typedef struct sdpa_case {
    uint64_t seed;
    int32_t batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim, head_dim_v;
    int32_t layouts[4]; /* query, key, value, out */
    int32_t values;
    double scale, softcap;
    int32_t is_causal, align, window_left, window_right;
    int32_t masks[2];
    int32_t has_lengths, alibi; /* alibi: 1 per head, 2 per batch and head */
    int32_t outputs, stage;
} sdpa_case;

static void describe(const sdpa_case *c) {
    check_case("{.seed = %" PRIu64
               ", .batch = %d, .num_heads = %d, .num_kv_heads = %d, .seq_len_q = %d, "
               ".seq_len_kv = %d, .head_dim = %d, .head_dim_v = %d, .layouts = {%d, %d, %d, %d}, "
               ".values = %d, "
               ".scale = %.17g, .softcap = %.17g, .is_causal = %d, .align = %d, .window_left = %d, "
               ".window_right = %d, .masks = {%d, %d}, .has_lengths = %d, .alibi = %d, .outputs = "
               "%d, .stage = %d},",
               c->seed, (int)c->batch, (int)c->num_heads, (int)c->num_kv_heads, (int)c->seq_len_q,
               (int)c->seq_len_kv, (int)c->head_dim, (int)c->head_dim_v, (int)c->layouts[0],
               (int)c->layouts[1], (int)c->layouts[2], (int)c->layouts[3], (int)c->values, c->scale,
               c->softcap, (int)c->is_causal, (int)c->align, (int)c->window_left,
               (int)c->window_right, (int)c->masks[0], (int)c->masks[1], (int)c->has_lengths,
               (int)c->alibi, (int)c->outputs, (int)c->stage);
}

/* The same numbers twice, in the same layout. */
typedef struct tensor {
    guarded f32, f64;
    size_t count;    /* elements of the buffers */
    ptrdiff_t first; /* where element [0, 0, 0, 0] lies */
    attn_strides strides;
} tensor;

static float *f32_of(const tensor *t) {
    return (float *)t->f32.data + t->first;
}
static double *f64_of(const tensor *t) {
    return (double *)t->f64.data + t->first;
}

static void set(tensor *t, ptrdiff_t index, double value) {
    ((float *)t->f32.data)[index] = (float)value;
    ((double *)t->f64.data)[index] = (double)((float *)t->f32.data)[index];
}

enum { FILL = 0x5A };

static tensor tensor_alloc(int32_t batch, int32_t heads, int32_t rows, int32_t dim,
                           int32_t layout) {
    tensor t = {.first = 0};
    const ptrdiff_t pad = layout == PADDED ? 3 : 0;
    ptrdiff_t row = dim + pad, head = rows * row + pad, batches = heads * head + pad;
    if (layout == INTERLEAVED) {
        head = dim;
        row = (ptrdiff_t)heads * dim;
        batches = rows * row;
    }
    t.count = (size_t)(batch * batches);
    if (layout == BACKWARDS && rows > 0) {
        t.first = (rows - 1) * row;
        row = -row;
    }
    t.strides = (attn_strides){layout == ONE_BATCH ? 0 : batches, layout == ONE_HEAD ? 0 : head,
                               layout == ONE_ROW ? 0 : row};
    t.f32 = guarded_alloc(t.count * sizeof(float), FILL);
    t.f64 = guarded_alloc(t.count * sizeof(double), FILL);
    return t;
}

static void tensor_free(tensor *t) {
    guarded_free(&t->f32);
    guarded_free(&t->f64);
}

static void tensor_fill(tensor *t, rng *r, double factor) {
    for (size_t e = 0; e < t->count; e++)
        set(t, (ptrdiff_t)e, factor * rng_unit(r));
}

static void tensor_shrink_later(tensor *t, double factor) {
    for (size_t e = t->count / 2; e < t->count; e++)
        set(t, (ptrdiff_t)e, factor * ((double *)t->f64.data)[e]);
}

static void tensor_sprinkle(tensor *t, rng *r, int32_t once_in) {
    static const double specials[] = {INFINITY, -INFINITY, NAN, NAN};
    for (size_t e = 0; e < t->count; e++)
        if (rng_once_in(r, once_in))
            set(t, (ptrdiff_t)e, specials[rng_int(r, 0, 3)]);
}

static uint64_t hash(const void *data, size_t bytes) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return h;
}

typedef struct call {
    tensor query, key, value, out, slopes, add_masks[2];
    guarded bool_masks[2];
    int32_t *lengths;
    attn_sdpa_desc desc32, desc64; /* they differ in the pointers of the masks */
} call;

static void mask_build(call *c, const sdpa_case *k, int m, rng *r) {
    attn_sdpa_desc *d = &c->desc32;
    const int32_t bits = k->masks[m];
    attn_mask *mask = &d->masks[m];
    mask->kind = bits & 3;
    if (mask->kind == ATTN_MASK_NONE)
        return;
    const ptrdiff_t keys = d->seq_len_kv, queries = d->seq_len_q;
    if (bits & MASK_SHORT)
        mask->seq_len_kv = rng_int(r, 0, d->seq_len_kv);
    mask->key = bits & MASK_ONE_KEY ? 0 : 1;
    mask->query = bits & MASK_ONE_QUERY ? 0 : keys;
    mask->head = bits & MASK_ONE_HEAD ? 0 : queries * keys;
    mask->batch = bits & MASK_ONE_BATCH ? 0 : d->num_heads * queries * keys;
    const size_t count = (size_t)(d->batch * d->num_heads * queries * keys);
    /* Now and then a whole row is removed. */
    bool removed = false;
    if (mask->kind == ATTN_MASK_BOOL) {
        c->bool_masks[m] = guarded_alloc(count, 0);
        uint8_t *data = c->bool_masks[m].data;
        for (size_t e = 0; e < count; e++) {
            if (e % (size_t)keys == 0)
                removed = rng_once_in(r, 8);
            data[e] = removed || rng_once_in(r, 4) ? 0 : (uint8_t)rng_int(r, 1, 255);
        }
        mask->data = data;
        return;
    }
    c->add_masks[m] = tensor_alloc(1, 1, 1, (int32_t)count, CONTIGUOUS);
    for (size_t e = 0; e < count; e++) {
        if (e % (size_t)keys == 0)
            removed = rng_once_in(r, 8);
        set(&c->add_masks[m], (ptrdiff_t)e,
            removed || rng_once_in(r, 6) ? -INFINITY : 2 * rng_unit(r));
    }
    mask->data = c->add_masks[m].f32.data;
}

/* NaN in the rows of key and value that no query row reads. Only where no row stands for several.
 */
static void hide_nan(call *c) {
    const attn_sdpa_desc *d = &c->desc32;
    tensor *tensors[2] = {&c->key, &c->value};
    for (int32_t b = 0; b < d->batch; b++) {
        bool *read = calloc((size_t)d->seq_len_kv + 1, sizeof *read);
        for (int32_t i = 0; i < d->seq_len_q; i++) {
            int32_t lo, hi;
            sdpa_visible(d, b, i, &lo, &hi);
            for (int32_t j = lo; j < hi; j++)
                read[j] = true;
        }
        for (int t = 0; t < 2; t++)
            for (int32_t h = 0; h < d->num_kv_heads; h++)
                for (int32_t j = 0; j < d->seq_len_kv; j++)
                    for (int32_t e = 0; e < (t ? d->head_dim_v : d->head_dim) && !read[j]; e++) {
                        const attn_strides *s = &tensors[t]->strides;
                        set(tensors[t],
                            tensors[t]->first + b * s->batch + h * s->head + j * s->row + e, NAN);
                    }
        free(read);
    }
}

static void call_build(call *c, const sdpa_case *k, uint64_t seed) {
    rng r = {seed};
    memset(c, 0, sizeof *c);
    attn_sdpa_desc *d = &c->desc32;
    attn_sdpa_desc_init(d, k->batch, k->num_heads, k->num_kv_heads, k->seq_len_q, k->seq_len_kv,
                        k->head_dim, k->head_dim_v);
    c->query = tensor_alloc(k->batch, k->num_heads, k->seq_len_q, k->head_dim, k->layouts[0]);
    c->key = tensor_alloc(k->batch, k->num_kv_heads, k->seq_len_kv, k->head_dim, k->layouts[1]);
    c->value = tensor_alloc(k->batch, k->num_kv_heads, k->seq_len_kv, k->head_dim_v, k->layouts[2]);
    c->out = tensor_alloc(k->batch, k->num_heads, k->seq_len_q, k->head_dim_v, k->layouts[3]);
    d->query = c->query.strides, d->key = c->key.strides, d->value = c->value.strides,
    d->out = c->out.strides;
    d->scale = k->scale, d->softcap = k->softcap;
    d->is_causal = k->is_causal, d->align = k->align;
    d->window_left = k->window_left, d->window_right = k->window_right;
    d->scores_stage = k->stage;

    const bool huge = k->values == HUGE || k->values == HUGE_CLOSE;
    const double query_factor = huge ? 3e4 : k->values == SUBNORMAL ? 0x1p-70 : 4.0;
    tensor_fill(&c->query, &r, query_factor);
    tensor_fill(&c->key, &r, k->values == SUBNORMAL ? 0x1p-70 : 1.0);
    if (k->values == HUGE_CLOSE)
        for (size_t e = 0; e < c->key.count; e++)
            set(&c->key, (ptrdiff_t)e, 1.0 + 0x1p-13 * rng_unit(&r));
    tensor_fill(&c->value, &r, k->values == SUBNORMAL ? 0x1p-140 : 1.0);
    if (k->values == TINY_LATER) {
        tensor_shrink_later(&c->key, 0x1p-70);
        tensor_shrink_later(&c->value, 0x1p-30);
    }
    if (k->values == SPECIAL) {
        tensor_sprinkle(&c->query, &r, 400);
        tensor_sprinkle(&c->key, &r, 1500);
        tensor_sprinkle(&c->value, &r, 1500);
    }
    for (int m = 0; m < 2; m++)
        mask_build(c, k, m, &r);
    if (k->alibi) {
        /* At most 300 * 0.1: the farthest weight is still far above 2^-100 of the nearest. */
        c->slopes = tensor_alloc(1, 1, k->batch, k->num_heads, CONTIGUOUS);
        for (size_t e = 0; e < c->slopes.count; e++)
            set(&c->slopes, (ptrdiff_t)e, 0.1 * fabs(rng_unit(&r)));
        d->alibi_batch_stride = k->alibi == 2 ? k->num_heads : 0;
    }
    if (k->has_lengths) {
        c->lengths = malloc(sizeof *c->lengths * (size_t)(k->batch + 1));
        for (int32_t b = 0; b < k->batch; b++)
            c->lengths[b] = rng_once_in(&r, 6) ? 0 : rng_int(&r, 0, k->seq_len_kv);
        d->kv_lengths = c->lengths;
    }
    if (k->values == UNREAD_NAN)
        hide_nan(c);
    c->desc64 = *d;
    for (int m = 0; m < 2; m++)
        if (d->masks[m].kind == ATTN_MASK_ADD)
            c->desc64.masks[m].data = c->add_masks[m].f64.data;
}

static uint64_t call_hash(const call *c) {
    uint64_t h = hash(c->query.f32.data, c->query.f32.bytes) ^
                 hash(c->key.f32.data, c->key.f32.bytes) * 3 ^
                 hash(c->value.f32.data, c->value.f32.bytes) * 5;
    for (int m = 0; m < 2; m++) {
        if (c->add_masks[m].count)
            h ^= hash(c->add_masks[m].f32.data, c->add_masks[m].f32.bytes) * 7;
        if (c->bool_masks[m].data)
            h ^= hash(c->bool_masks[m].data, c->bool_masks[m].bytes) * 11;
    }
    return h;
}

static void call_free(call *c) {
    tensor_free(&c->query), tensor_free(&c->key), tensor_free(&c->value), tensor_free(&c->out);
    tensor_free(&c->slopes);
    for (int m = 0; m < 2; m++) {
        tensor_free(&c->add_masks[m]);
        guarded_free(&c->bool_masks[m]);
    }
    free(c->lengths);
}

/* The naive float32 loop, and the floor */

typedef struct row {
    int32_t b, h, i;
    int32_t lo, hi;
    ptrdiff_t index; /* in [batch, num_heads, seq_len_q] */
} row;

static double mask_value(const call *c, const attn_mask *mask, const row *at, int32_t j) {
    const ptrdiff_t element = sdpa_mask_row(mask, at->b, at->h, at->i) + j * mask->key;
    if (j >= sdpa_mask_keys(&c->desc32, mask))
        return 0.0;
    if (mask->kind == ATTN_MASK_BOOL)
        return ((const uint8_t *)mask->data)[element] ? 0.0 : -INFINITY;
    return (double)((const float *)mask->data)[element];
}

static const float *key_row(const call *c, const row *at, int32_t j) {
    const attn_sdpa_desc *d = &c->desc32;
    const int32_t kv_head = at->h / (d->num_heads / d->num_kv_heads);
    return f32_of(&c->key) + at->b * d->key.batch + kv_head * d->key.head + j * d->key.row;
}

static const float *value_row(const call *c, const row *at, int32_t j) {
    const attn_sdpa_desc *d = &c->desc32;
    const int32_t kv_head = at->h / (d->num_heads / d->num_kv_heads);
    return f32_of(&c->value) + at->b * d->value.batch + kv_head * d->value.head + j * d->value.row;
}

static const float *query_row(const call *c, const row *at) {
    const attn_sdpa_desc *d = &c->desc32;
    return f32_of(&c->query) + at->b * d->query.batch + at->h * d->query.head +
           at->i * d->query.row;
}

static float alibi_slope(const call *c, const row *at) {
    if (!c->slopes.count)
        return 0.0f;
    return f32_of(&c->slopes)[at->b * c->desc32.alibi_batch_stride + at->h];
}

/* Which of the two masks a naive loop adds first does not matter; a boolean one replaces the score.
 */
static float naive_score(const call *c, const row *at, int32_t j, int32_t stage) {
    const attn_sdpa_desc *d = &c->desc32;
    const float *q = query_row(c, at), *k = key_row(c, at, j);
    float s = 0.0f;
    for (int32_t e = 0; e < d->head_dim; e++)
        s += q[e] * k[e];
    s *= (float)d->scale;
    if (stage == ATTN_SCORES_RAW)
        return s;
    if (d->softcap > 0)
        s = (float)d->softcap * tanhf(s / (float)d->softcap);
    if (stage == ATTN_SCORES_SOFTCAPPED)
        return s;
    if (c->slopes.count)
        s -= alibi_slope(c, at) * fabsf((float)(at->i + sdpa_offset(d, at->b) - j));
    for (int m = 0; m < 2; m++) {
        const float value = (float)mask_value(c, &d->masks[m], at, j);
        if (d->masks[m].kind == ATTN_MASK_ADD)
            s += value;
        else if (value < 0)
            s = -INFINITY;
    }
    return s;
}

/* w [seq_len_kv] receives the weights; out [head_dim_v]. */
static void naive_row(const call *c, const row *at, float *w, float *out, float *logsumexp) {
    const attn_sdpa_desc *d = &c->desc32;
    float row_max = -INFINITY, row_sum = 0.0f;
    for (int32_t j = 0; j < d->seq_len_kv; j++) {
        w[j] = j >= at->lo && j < at->hi ? naive_score(c, at, j, ATTN_SCORES_MASKED) : -INFINITY;
        if (w[j] > row_max || isnan(w[j]))
            row_max = w[j];
    }
    for (int32_t j = at->lo; j < at->hi; j++) {
        w[j] = row_max == -INFINITY ? 0.0f : expf(w[j] - row_max);
        row_sum += w[j];
    }
    for (int32_t j = 0; j < d->seq_len_kv; j++)
        w[j] = row_max == -INFINITY || j < at->lo || j >= at->hi ? 0.0f : w[j] / row_sum;
    for (int32_t e = 0; e < d->head_dim_v; e++) {
        out[e] = 0.0f;
        for (int32_t j = at->lo; j < at->hi && row_max != -INFINITY; j++)
            out[e] += w[j] * value_row(c, at, j)[e];
    }
    *logsumexp = row_max == -INFINITY ? -INFINITY : row_max + logf(row_sum);
}

static const double U = 0x1p-24;

/* e_j of the comment at the top, for the stage that is asked for. */
static double score_floor(const call *c, const row *at, int32_t j, int32_t stage, double score) {
    const attn_sdpa_desc *d = &c->desc32;
    const float *q = query_row(c, at), *k = key_row(c, at, j);
    double products = 0.0, sum = 0.0;
    for (int32_t e = 0; e < d->head_dim; e++) {
        sum += (double)q[e] * (double)k[e];
        products += fabs((double)q[e] * (double)k[e]);
    }
    double terms = fabs(d->scale) * products;
    if (stage >= ATTN_SCORES_SOFTCAPPED && d->softcap > 0)
        terms += 4 * fabs(d->softcap * tanh(d->scale * sum / d->softcap));
    if (stage == ATTN_SCORES_MASKED) {
        if (c->slopes.count)
            terms += fabs((double)alibi_slope(c, at) * (double)(at->i + sdpa_offset(d, at->b) - j));
        for (int m = 0; m < 2; m++)
            if (isfinite(mask_value(c, &d->masks[m], at, j)))
                terms += fabs(mask_value(c, &d->masks[m], at, j));
    }
    return U * (terms + (isfinite(score) ? fabs(score) : 0.0)) + d->head_dim * 0x1p-150;
}

/* One case */

/* Errors in units of the floor: the largest of each implementation, for each output. */
typedef struct errors {
    double fast[4], naive[4];
    size_t elements;
} errors;

static const char *const OUTPUT_NAMES[4] = {"out", "weights", "scores", "logsumexp"};

static void compare(errors *worst, int output, ptrdiff_t element, float fast, float naive,
                    double exact, double floor) {
    worst->elements++;
    if (!isfinite(exact)) {
        check_that(isnan(exact) ? isnan(fast) : (double)fast == exact, __FILE__, __LINE__,
                   "%s[%td] is %.9g, not %.9g", OUTPUT_NAMES[output], element, (double)fast, exact);
        return;
    }
    if (!check_that(isfinite(fast), __FILE__, __LINE__, "%s[%td] is %.9g, not %.9g",
                    OUTPUT_NAMES[output], element, (double)fast, exact))
        return;
    worst->fast[output] = fmax(worst->fast[output], fabs((double)fast - exact) / floor);
    worst->naive[output] = fmax(worst->naive[output], fabs((double)naive - exact) / floor);
}

typedef struct results {
    guarded out, weights, scores, logsumexp;
} results;

static results results_alloc(const call *c, size_t rows) {
    const size_t keys = (size_t)c->desc32.seq_len_kv;
    return (results){guarded_alloc(c->out.count * sizeof(float), FILL),
                     guarded_alloc(rows * keys * sizeof(float), FILL),
                     guarded_alloc(rows * keys * sizeof(float), FILL),
                     guarded_alloc(rows * sizeof(float), FILL)};
}

static void results_free(results *r) {
    guarded_free(&r->out), guarded_free(&r->weights), guarded_free(&r->scores),
        guarded_free(&r->logsumexp);
}

static attn_sdpa_f32_data data_f32(const call *c, const sdpa_case *k, results *r) {
    return (attn_sdpa_f32_data){
        .query = f32_of(&c->query),
        .key = f32_of(&c->key),
        .value = f32_of(&c->value),
        .alibi_slopes = k->alibi ? f32_of(&c->slopes) : NULL,
        .out = k->outputs & OUT ? (float *)r->out.data + c->out.first : NULL,
        .weights = k->outputs & WEIGHTS ? r->weights.data : NULL,
        .scores = k->outputs & SCORES ? r->scores.data : NULL,
        .logsumexp = k->outputs & LOGSUMEXP ? r->logsumexp.data : NULL,
    };
}

/* The elements of out that are not [batch, num_heads, seq_len_q, head_dim_v] still hold the fill.
 */
static bool gaps_untouched(const call *c, const results *r) {
    const attn_sdpa_desc *d = &c->desc32;
    bool *covered = calloc(c->out.count + 1, sizeof *covered);
    for (int32_t b = 0; b < d->batch; b++)
        for (int32_t h = 0; h < d->num_heads; h++)
            for (int32_t i = 0; i < d->seq_len_q; i++)
                for (int32_t e = 0; e < d->head_dim_v; e++)
                    covered[c->out.first + b * d->out.batch + h * d->out.head + i * d->out.row +
                            e] = true;
    float fill;
    memset(&fill, FILL, sizeof fill);
    bool untouched = true;
    for (size_t e = 0; e < c->out.count; e++)
        if (!covered[e] && memcmp((const float *)r->out.data + e, &fill, sizeof fill) != 0)
            untouched = false;
    free(covered);
    return untouched;
}

/* Runs of run_by_keys that went through, and that met tiny numbers. */
static int keys_in_parts, keys_given_up;

/* The rows first .. first + count - 1 of a key/value head, in memory of just their size. */
static float *copy_rows(const float *head, ptrdiff_t stride, int32_t first, int32_t count,
                        int32_t dim) {
    float *rows = malloc(sizeof(float) * (size_t)count * (size_t)dim);
    for (int32_t j = 0; j < count; j++)
        memcpy(rows + j * dim, head + (first + j) * stride, sizeof(float) * (size_t)dim);
    return rows;
}

/* One task, its keys and values in parts of at most `keys`. False: they hold tiny numbers. */
static bool run_by_keys(const call *c, const attn_sdpa_f32_data *whole, attn_exec *exec,
                        int32_t keys) {
    attn_sdpa_desc d = c->desc32;
    const int32_t b = exec->first_task / d.num_kv_heads, h = exec->first_task % d.num_kv_heads;
    const float *key = whole->key + b * d.key.batch + h * d.key.head,
                *value = whole->value + b * d.value.batch + h * d.value.head;
    const ptrdiff_t key_row = d.key.row, value_row = d.value.row;
    d.key = (attn_strides){0, 0, d.head_dim}, d.value = (attn_strides){0, 0, d.head_dim_v};
    bool refused = false;
    memset(exec->workspace, 0xFF, exec->workspace_bytes);
    for (int32_t first = 0; first < d.seq_len_kv; first += keys) {
        exec->first_key = first;
        exec->num_keys = d.seq_len_kv - first < keys ? d.seq_len_kv - first : keys;
        float *keys_of_part = copy_rows(key, key_row, first, exec->num_keys, d.head_dim),
              *values_of_part = copy_rows(value, value_row, first, exec->num_keys, d.head_dim_v);
        attn_sdpa_f32_data data = *whole;
        data.key = keys_of_part, data.value = values_of_part;
        const attn_status status = attn_sdpa_f32(&d, &data, exec);
        CHECK(status == ATTN_ERR_UNSUPPORTED || (status == ATTN_OK && !refused));
        refused = status != ATTN_OK;
        free(keys_of_part), free(values_of_part);
    }
    exec->first_key = exec->num_keys = 0;
    return !refused;
}

static void run_fast(const call *c, const sdpa_case *k, results *whole, results *parts) {
    attn_sdpa_f32_data data = data_f32(c, k, whole);
    attn_exec exec = {0};
    int32_t num_tasks = -1;
    CHECK_STATUS(
        attn_sdpa_f32_workspace(&c->desc32, &data, NULL, &exec.workspace_bytes, &num_tasks),
        ATTN_OK);
    /* Filled with NaN: what a workspace holds must not matter. */
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_sdpa_f32(&c->desc32, &data, &exec), ATTN_OK);

    data = data_f32(c, k, parts);
    const bool by_keys = k->num_heads / k->num_kv_heads * k->seq_len_q <= 4 && k->seq_len_kv > 64 &&
                         !(k->outputs & (WEIGHTS | SCORES));
    for (int32_t task = num_tasks - 1; task >= 0; task--) {
        exec.first_task = task, exec.num_tasks = 1;
        if (by_keys) {
            if (run_by_keys(c, &data, &exec, task % 2 ? 64 : 128)) {
                keys_in_parts++;
                continue;
            }
            keys_given_up++;
        }
        memset(workspace.data, 0xFF, workspace.bytes);
        CHECK_STATUS(attn_sdpa_f32(&c->desc32, &data, &exec), ATTN_OK);
    }
    const guarded *a[4] = {&whole->out, &whole->weights, &whole->scores, &whole->logsumexp};
    const guarded *b[4] = {&parts->out, &parts->weights, &parts->scores, &parts->logsumexp};
    for (int o = 0; o < 4; o++) {
        CHECK(guarded_intact(a[o]) && guarded_intact(b[o]));
        check_that(a[o]->bytes == 0 || memcmp(a[o]->data, b[o]->data, a[o]->bytes) == 0, __FILE__,
                   __LINE__, "%s differs where tasks are run one by one, or keys come in parts",
                   OUTPUT_NAMES[o]);
        if (!(k->outputs & (1 << o)))
            CHECK(guarded_untouched(a[o], FILL));
    }
    CHECK(gaps_untouched(c, whole));
    CHECK(guarded_intact(&workspace));
    guarded_free(&workspace);
}

static void compare_row(const call *c, const sdpa_case *k, errors *worst, const row *at,
                        const results *fast, const attn_sdpa_f64_data *exact, float *w, float *out,
                        double *e) {
    const attn_sdpa_desc *d = &c->desc32;
    const ptrdiff_t keys = d->seq_len_kv, first = at->index * keys;
    float logsumexp;
    naive_row(c, at, w, out, &logsumexp);

    double mean_e = 0.0; /* sum_k w_k e_k */
    for (int32_t j = at->lo; j < at->hi; j++) {
        const double weight = exact->weights[first + j];
        e[j] = score_floor(c, at, j, ATTN_SCORES_MASKED,
                           weight > 0 ? exact->logsumexp[at->index] + log(weight) : 0);
        if (weight > 0)
            mean_e += weight * e[j];
    }
    if (k->outputs & LOGSUMEXP)
        compare(worst, 3, at->index, ((const float *)fast->logsumexp.data)[at->index], logsumexp,
                exact->logsumexp[at->index],
                mean_e + 3 * U * fmax(1.0, fabs(exact->logsumexp[at->index])));
    for (int32_t j = 0; j < keys; j++) {
        const bool visible = j >= at->lo && j < at->hi;
        if (k->outputs & WEIGHTS) {
            const double weight = exact->weights[first + j];
            const double floor = visible ? weight * (e[j] + mean_e + 3 * U) + 0x1p-100 : 0x1p-149;
            compare(worst, 1, first + j, ((const float *)fast->weights.data)[first + j], w[j],
                    weight, floor);
        }
        if (k->outputs & SCORES) {
            const double score = exact->scores[first + j];
            const bool shown =
                k->stage == ATTN_SCORES_MASKED ? visible : j < sdpa_kv_length(d, at->b);
            compare(worst, 2, first + j, ((const float *)fast->scores.data)[first + j],
                    shown ? naive_score(c, at, j, k->stage) : -INFINITY, score,
                    shown ? score_floor(c, at, j, k->stage, score) : 0x1p-149);
        }
    }
    if (!(k->outputs & OUT))
        return;
    const ptrdiff_t to = at->b * d->out.batch + at->h * d->out.head + at->i * d->out.row;
    for (int32_t dim = 0; dim < d->head_dim_v; dim++) {
        double floor = 0.0;
        for (int32_t j = at->lo; j < at->hi; j++) {
            const double size = fabs((double)value_row(c, at, j)[dim]);
            const double weight = exact->weights[first + j];
            if (isfinite(size))
                floor += size * (weight * (e[j] + mean_e + 5 * U) + 0x1p-100) + 0x1p-150;
        }
        compare(worst, 0, to + dim, ((const float *)fast->out.data)[c->out.first + to + dim],
                out[dim], exact->out[to + dim], floor + 0x1p-149);
    }
}

static void run_numbers(const sdpa_case *k, uint64_t seed, errors *worst) {
    call c;
    call_build(&c, k, seed);
    const attn_sdpa_desc *d = &c.desc32;
    const size_t rows = (size_t)d->batch * (size_t)d->num_heads * (size_t)d->seq_len_q;
    const size_t keys = (size_t)d->seq_len_kv;
    results fast = results_alloc(&c, rows), parts = results_alloc(&c, rows);
    const uint64_t before = call_hash(&c);
    run_fast(&c, k, &fast, &parts);
    CHECK(call_hash(&c) == before);

    double *exact_rows = malloc((2 * rows * keys + rows + 1) * sizeof *exact_rows);
    const attn_sdpa_f64_data exact = {
        .query = f64_of(&c.query),
        .key = f64_of(&c.key),
        .value = f64_of(&c.value),
        .alibi_slopes = k->alibi ? f64_of(&c.slopes) : NULL,
        .out = f64_of(&c.out),
        .weights = exact_rows,
        .scores = exact_rows + rows * keys,
        .logsumexp = exact_rows + 2 * rows * keys,
    };
    attn_exec exec = {0};
    CHECK_STATUS(attn_sdpa_f64_workspace(&c.desc64, &exact, &exec.workspace_bytes, NULL), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_sdpa_f64(&c.desc64, &exact, &exec), ATTN_OK);

    float *w = malloc((keys + 1) * sizeof *w), *out = malloc((size_t)d->head_dim_v * sizeof *out);
    double *e = malloc((keys + 1) * sizeof *e);
    row at = {.index = 0};
    for (at.b = 0; at.b < d->batch; at.b++)
        for (at.h = 0; at.h < d->num_heads; at.h++)
            for (at.i = 0; at.i < d->seq_len_q; at.i++, at.index++) {
                sdpa_visible(d, at.b, at.i, &at.lo, &at.hi);
                compare_row(&c, k, worst, &at, &fast, &exact, w, out, e);
            }
    free(w), free(out), free(e), free(exact_rows);
    guarded_free(&workspace);
    results_free(&fast), results_free(&parts);
    call_free(&c);
}

static void run_case(const sdpa_case *k) {
    enum { ENOUGH_ELEMENTS = 500, MOST_REPEATS = 40 };
    errors worst = {.elements = 0};
    describe(k);
    for (uint64_t repeat = 0; repeat < MOST_REPEATS && worst.elements < ENOUGH_ELEMENTS; repeat++)
        run_numbers(k, k->seed + (repeat << 32), &worst);
    for (int o = 0; o < 4; o++) {
        check_that(worst.fast[o] <= 2 * worst.naive[o] + 1, __FILE__, __LINE__,
                   "%s: error %.3g, naive loop %.3g (in units of the floor)", OUTPUT_NAMES[o],
                   worst.fast[o], worst.naive[o]);
        check_that(worst.naive[o] <= k->head_dim + k->seq_len_kv + 10, __FILE__, __LINE__,
                   "%s: the naive loop's own error is %.3g", OUTPUT_NAMES[o], worst.naive[o]);
    }
}

/* The cases */

static int32_t random_limit(rng *r, int32_t len) {
    if (rng_once_in(r, 12))
        return INT32_MAX;
    return rng_once_in(r, 3) ? rng_int(r, 0, len) : -1;
}

static int32_t random_mask(rng *r) {
    static const int32_t bits[] = {MASK_ONE_BATCH, MASK_ONE_HEAD, MASK_ONE_QUERY, MASK_ONE_KEY,
                                   MASK_SHORT};
    int32_t mask = rng_int(r, ATTN_MASK_NONE, ATTN_MASK_ADD);
    for (int b = 0; b < 5; b++)
        if (rng_once_in(r, b < 2 ? 2 : 4))
            mask |= bits[b];
    return mask;
}

/* Case n: its sizes walk through every pair of head_dim and seq_len_q, the rest is random. */
static sdpa_case random_case(uint32_t n) {
    rng r = {n * UINT64_C(0x1234567)};
    sdpa_case k = {.seed = rng_next(&r)};
    k.head_dim = DIMS[n % NUM_DIMS];
    k.head_dim_v = rng_once_in(&r, 2) ? k.head_dim : DIMS[rng_int(&r, 0, NUM_DIMS - 1)];
    k.seq_len_q = LENGTHS[n % NUM_LENGTHS];
    k.seq_len_kv =
        rng_once_in(&r, 3) ? k.seq_len_q : LENGTHS[(n * 5 + n / NUM_LENGTHS) % NUM_LENGTHS];

    /* As many batches and heads as a budget of multiply-adds allows. */
    const int64_t cost = (int64_t)k.seq_len_q * k.seq_len_kv * (k.head_dim + k.head_dim_v);
    int64_t room = cost ? 1500000 / cost : 24;
    k.batch = rng_int(&r, 1, room >= 3 ? 3 : room >= 2 ? 2 : 1);
    room /= k.batch;
    k.num_kv_heads = rng_int(&r, 1, room >= 3 ? 3 : room >= 2 ? 2 : 1);
    room /= k.num_kv_heads;
    k.num_heads = k.num_kv_heads * rng_int(&r, 1, room >= 5 ? 5 : room >= 2 ? 2 : 1);

    k.values = rng_once_in(&r, 2) ? ORDINARY : rng_int(&r, 0, NUM_VALUES - 1);
    for (int t = 0; t < 4; t++)
        k.layouts[t] = rng_once_in(&r, 3)
                           ? CONTIGUOUS
                           : rng_int(&r, 0, (t < 3 ? NUM_LAYOUTS : NUM_OUT_LAYOUTS) - 1);
    k.scale = rng_once_in(&r, 5) ? rng_unit(&r) : 1.0 / sqrt(k.head_dim);
    if (rng_once_in(&r, 20))
        k.scale = 0.0;
    k.softcap = rng_once_in(&r, 4) ? 0.5 + 10 * fabs(rng_unit(&r)) : 0.0;
    k.is_causal = rng_once_in(&r, 3);
    k.align = rng_int(&r, ATTN_ALIGN_TOP_LEFT, ATTN_ALIGN_BOTTOM_RIGHT);
    k.window_left = random_limit(&r, k.seq_len_kv);
    k.window_right = random_limit(&r, k.seq_len_kv);
    for (int m = 0; m < 2; m++)
        k.masks[m] = rng_once_in(&r, 3) ? random_mask(&r) : ATTN_MASK_NONE;
    k.has_lengths = rng_once_in(&r, 4);
    k.alibi = rng_once_in(&r, 4) ? rng_int(&r, 1, 2) : 0;
    k.outputs = OUT | (rng_once_in(&r, 2) ? 0 : rng_int(&r, 0, 15));
    if (rng_once_in(&r, 10))
        k.outputs = rng_int(&r, 1, 15);
    k.stage = rng_int(&r, ATTN_SCORES_RAW, ATTN_SCORES_MASKED);
    if (k.values == UNREAD_NAN) {
        /* Rows that are unread by one head must not stand for those of another, nor be shown. */
        k.layouts[1] %= ONE_BATCH;
        k.layouts[2] %= ONE_BATCH;
        k.stage = ATTN_SCORES_MASKED;
    }
    return k;
}

/* All pairs of head_dim and seq_len_q: their numbers have no common factor. */
enum { NUM_CASES = NUM_DIMS * NUM_LENGTHS };

TEST(agrees_with_the_reference_on_random_cases) {
    for (uint32_t n = 0; n < NUM_CASES; n++) {
        const sdpa_case k = random_case(n);
        run_case(&k);
    }
}

TEST(agrees_where_the_keys_come_in_parts) {
    keys_in_parts = keys_given_up = 0;
    for (uint32_t n = 0; n < 200; n++) {
        static const int32_t KEYS[] = {65, 128, 129, 197, 300};
        sdpa_case k = random_case(n);
        k.seq_len_q = 1 + (int32_t)(n % 2);
        k.seq_len_kv = KEYS[n % 5];
        k.num_heads = k.num_kv_heads * (1 + (int32_t)(n % 3 == 0));
        k.outputs = OUT | LOGSUMEXP;
        run_case(&k);
    }
    CHECK(keys_in_parts > 100 && keys_given_up > 10);
}

/* Failures are pasted here. */
static const sdpa_case CASES[] = {
    /* one query against a cache, alone and in groups: the decode path */
    {.seed = 1,
     .batch = 2,
     .num_heads = 4,
     .num_kv_heads = 4,
     .seq_len_q = 1,
     .seq_len_kv = 300,
     .head_dim = 64,
     .head_dim_v = 64,
     .scale = 0.125,
     .window_left = -1,
     .window_right = -1,
     .outputs = OUT},
    {.seed = 2,
     .batch = 1,
     .num_heads = 16,
     .num_kv_heads = 2,
     .seq_len_q = 1,
     .seq_len_kv = 197,
     .head_dim = 80,
     .head_dim_v = 80,
     .scale = 0.1,
     .is_causal = 1,
     .align = ATTN_ALIGN_BOTTOM_RIGHT,
     .window_left = 64,
     .window_right = -1,
     .has_lengths = 1,
     .outputs = OUT | LOGSUMEXP},
    /* huge scores, plainly and through everything that may be done to them */
    {.seed = 3,
     .batch = 1,
     .num_heads = 2,
     .num_kv_heads = 2,
     .seq_len_q = 129,
     .seq_len_kv = 129,
     .head_dim = 64,
     .head_dim_v = 64,
     .values = HUGE,
     .scale = 0.125,
     .window_left = -1,
     .window_right = -1,
     .outputs = 15,
     .stage = ATTN_SCORES_MASKED},
    {.seed = 4,
     .batch = 1,
     .num_heads = 2,
     .num_kv_heads = 1,
     .seq_len_q = 61,
     .seq_len_kv = 129,
     .head_dim = 33,
     .head_dim_v = 5,
     .values = HUGE,
     .scale = 0.125,
     .softcap = 30,
     .is_causal = 1,
     .window_left = -1,
     .window_right = -1,
     .masks = {ATTN_MASK_ADD, ATTN_MASK_BOOL},
     .alibi = 1,
     .outputs = OUT | LOGSUMEXP},
    /* subnormal all the way */
    {.seed = 5,
     .batch = 1,
     .num_heads = 1,
     .num_kv_heads = 1,
     .seq_len_q = 64,
     .seq_len_kv = 64,
     .head_dim = 16,
     .head_dim_v = 16,
     .values = SUBNORMAL,
     .scale = 1,
     .window_left = -1,
     .window_right = -1,
     .outputs = 15},
    /* decoding comes upon tiny numbers after it has begun */
    {.seed = 6,
     .batch = 1,
     .num_heads = 2,
     .num_kv_heads = 1,
     .seq_len_q = 1,
     .seq_len_kv = 400,
     .head_dim = 64,
     .head_dim_v = 64,
     .values = TINY_LATER,
     .scale = 0.125,
     .window_left = -1,
     .window_right = -1,
     .outputs = OUT | LOGSUMEXP},
};

TEST(agrees_with_the_reference_on_chosen_cases) {
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++)
        run_case(&CASES[n]);
}

/* The list above is only as good as its reach. */
TEST(the_random_cases_use_every_option) {
    int lengths_kv[NUM_LENGTHS] = {0}, dims_v[NUM_DIMS] = {0}, layouts[4][NUM_LAYOUTS] = {{0}};
    int values[NUM_VALUES] = {0}, stages[3] = {0}, masks[128] = {0}, outputs[16] = {0},
        alibi[3] = {0};
    for (uint32_t n = 0; n < NUM_CASES; n++) {
        const sdpa_case k = random_case(n);
        for (int l = 0; l < NUM_LENGTHS; l++)
            lengths_kv[l] += k.seq_len_kv == LENGTHS[l];
        for (int d = 0; d < NUM_DIMS; d++)
            dims_v[d] += k.head_dim_v == DIMS[d];
        for (int t = 0; t < 4; t++)
            layouts[t][k.layouts[t]]++;
        values[k.values]++, stages[k.stage]++, outputs[k.outputs]++, alibi[k.alibi]++;
        masks[k.masks[0]]++, masks[k.masks[1]]++;
    }
    for (int l = 0; l < NUM_LENGTHS; l++)
        CHECK(lengths_kv[l] > 0);
    for (int d = 0; d < NUM_DIMS; d++)
        CHECK(dims_v[d] > 0);
    for (int t = 0; t < 4; t++)
        for (int l = 0; l < (t < 3 ? NUM_LAYOUTS : NUM_OUT_LAYOUTS); l++)
            CHECK(layouts[t][l] > 0);
    for (int v = 0; v < NUM_VALUES; v++)
        CHECK(values[v] > 0);
    for (int s = 0; s < 3; s++)
        CHECK(stages[s] > 0 && alibi[s] > 0);
    for (int o = 1; o < 16; o++)
        CHECK(outputs[o] > 0);
    CHECK(masks[ATTN_MASK_BOOL] > 0 && masks[ATTN_MASK_ADD] > 0);
}

int main(void) {
    RUN(the_random_cases_use_every_option);
    RUN(agrees_with_the_reference_on_chosen_cases);
    RUN(agrees_with_the_reference_on_random_cases);
    RUN(agrees_where_the_keys_come_in_parts);
    return check_summary();
}
