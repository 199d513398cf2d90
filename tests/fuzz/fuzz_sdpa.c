/* attn_sdpa_f32, attn_additive_f32 and attn_explain_f64 on descriptors of every kind, against the
 * float64 reference.
 *
 * The error that is allowed is one that no order of the sums exceeds, u = 2^-24:
 *
 *     e_j           u (n terms_j + |score_j|), where terms_j adds up the magnitudes of all that the
 *                   score is made of and n counts the roundings of one
 *     share         sum_j weights[j] (exp(e_j) - 1): of the sum of exponentials so much may be off
 *     weights[j]    weights[j] (exp(e_j) (1 + m u) / (1 - share) - 1), m roundings of exp, sum, quotient
 *     out           sum_j |value[j]| times that, and m u more of sum_j weights[j] |value[j]|
 *     logsumexp     -log(1 - share), and m u of itself and of 1
 *
 * Rows whose terms leave the range that attn.h names, or whose share is above 1/2, only have to be there. */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */

#include "fuzz.h"
#include "sdpa_common.h"

static const double U = 0x1p-24;
static const double MOST = 0x1p100; /* what attn.h promises its error for */

typedef struct call {
    attn_sdpa_desc desc; /* the masks' data: float32 */
    tensor query, key, value, slopes, v, out, weights, scores, logsumexp, masks[2];
    uint8_t *bool_masks[2];
    int32_t *lengths;
    bool is_additive;
    faults must, may;
    bool is_large;
    int32_t values;
    double largest_query, largest_key, largest_value;
    bool has_tiny; /* so that web/docs/precision.md, "What is cut off", applies */
} call;

static void take_mask(call *c, input *in, int m) {
    attn_sdpa_desc *d = &c->desc;
    attn_mask *mask = &d->masks[m];
    tensor *t = &c->masks[m];
    const uint8_t byte = take(in);
    if (byte < 128)
        return;
    mask->kind = byte < 250 ? byte % 3 : (int8_t)take(in);
    if (mask->kind == ATTN_MASK_NONE)
        return;
    mask->seq_len_kv = byte & 32 ? take_size(in, 16) : 0;
    const bool is_kind = mask->kind == ATTN_MASK_BOOL || mask->kind == ATTN_MASK_ADD;
    const bool fits = mask->seq_len_kv >= 0 && mask->seq_len_kv <= d->seq_len_kv;
    c->must |= fault(ATTN_ERR_OPTION, !is_kind) | fault(ATTN_ERR_SHAPE, !fits);
    *t = take_tensor(in, d->batch, d->num_heads, d->seq_len_q,
                     mask->seq_len_kv > 0 && fits ? mask->seq_len_kv : d->seq_len_kv);
    if (byte & 64)
        t->steps[3] = take_below(in, 2) ? 0 : (int8_t)take(in);
    const size_t element_bytes = mask->kind == ATTN_MASK_BOOL ? 1 : sizeof(float);
    tensor_measure(t, element_bytes);
    mask->batch = t->steps[0], mask->head = t->steps[1], mask->query = t->steps[2];
    mask->key = t->steps[3];
    if (is_kind)
        c->must |= tensor_faults(t);
    c->is_large |= t->is_large;
}

static void make_mask(call *c, rng *r, int m) {
    attn_mask *mask = &c->desc.masks[m];
    tensor *t = &c->masks[m];
    tensor_alloc(t);
    c->bool_masks[m] = malloc(t->count + 1);
    for (size_t e = 0; e < t->count; e++) {
        c->bool_masks[m][e] = rng_once_in(r, 3) ? 0 : (uint8_t)rng_int(r, 1, 255);
        tensor_set(t, e, rng_once_in(r, 4) ? -INFINITY : make_number(r, c->values));
    }
    /* The sanitizer's fence stands right behind the last byte, too. */
    c->bool_masks[m] = realloc(c->bool_masks[m], t->count + (t->count == 0));
    if (t->is_given && mask->kind == ATTN_MASK_BOOL)
        mask->data = c->bool_masks[m] + t->first;
    else if (t->is_given)
        mask->data = tensor_f32(t);
}

static bool is_factor(double number) {
    return number == 0 || isinf(number) || (fabs(number) >= 0x1p-100 && fabs(number) <= 0x1p100);
}

static void call_take(call *c, input *in) {
    *c = (call){0};
    attn_sdpa_desc *d = &c->desc;
    const uint8_t flags = take(in);
    rng r = {take(in)};
    c->values = flags & 1 ? ORDINARY : take_below(in, NUM_VALUES);
    c->is_additive = (flags & 6) == 6;
    const int32_t batch = take_size(in, 3), kv_heads = take_size(in, 3);
    const int32_t groups = take_size(in, 3);
    const int32_t heads =
        groups == 0 ? take_size(in, 6)
                    : (int32_t)(uint32_t)((uint64_t)(int64_t)kv_heads * (uint64_t)(int64_t)groups);
    const int32_t seq_len_q = take_size(in, 16), seq_len_kv = take_size(in, 16);
    const int32_t head_dim = take_size(in, 20);
    const int32_t head_dim_v = flags & 8 ? take_size(in, 20) : head_dim;
    attn_sdpa_desc_init(d, batch, heads, kv_heads, seq_len_q, seq_len_kv, head_dim, head_dim_v);
    d->scale = take_number(in, d->scale);
    d->softcap = take_number(in, flags & 16 ? 3.0 : 0.0);
    d->is_causal = take_option(in, 1);
    d->align = take_option(in, 1);
    d->scores_stage = take_option(in, 2);
    if (flags & 32) {
        d->window_left = take(in) < 40 ? -1 : take_size(in, 16);
        d->window_right = take(in) < 40 ? -1 : take_size(in, 16);
    }

    c->must |= fault(ATTN_ERR_SHAPE, batch < 0 || heads < 1 || kv_heads < 1 || seq_len_q < 0 ||
                                         seq_len_kv < 0 || head_dim < 1 || head_dim_v < 1);
    c->must |= fault(ATTN_ERR_HEADS, kv_heads >= 1 && heads % kv_heads != 0);
    c->must |= fault(ATTN_ERR_OPTION, isnan(d->scale) || !isfinite(d->softcap) || d->softcap < 0 ||
                                          d->align < 0 || d->align > 1 || d->scores_stage < 0 ||
                                          d->scores_stage > 2);

    c->must |= fault(ATTN_ERR_OPTION, !is_factor(d->scale) || !is_factor(d->softcap));

    c->query = take_tensor(in, batch, heads, seq_len_q, head_dim);
    c->key = take_tensor(in, batch, kv_heads, seq_len_kv, head_dim);
    c->value = take_tensor(in, batch, kv_heads, seq_len_kv, head_dim_v);
    c->out = take_tensor(in, batch, heads, seq_len_q, head_dim_v);
    d->query = tensor_strides(&c->query), d->key = tensor_strides(&c->key);
    d->value = tensor_strides(&c->value), d->out = tensor_strides(&c->out);
    c->must |= tensor_faults(&c->query) | tensor_faults(&c->key) | tensor_faults(&c->value);
    if (c->out.is_given)
        c->must |= fault(ATTN_ERR_SIZE, c->out.is_impossible) |
                   fault(ATTN_ERR_OPTION, tensor_rows_overlap(&c->out));
    take_mask(c, in, 0);
    take_mask(c, in, 1);

    const uint8_t wanted = take(in);
    c->weights = contiguous_tensor(wanted & 1, batch, heads, seq_len_q, seq_len_kv);
    c->scores = contiguous_tensor(wanted & 2, batch, heads, seq_len_q, seq_len_kv);
    c->logsumexp = contiguous_tensor(wanted & 4, batch, heads, seq_len_q, 1);
    c->v = contiguous_tensor(take_given(in), 1, 1, 1, head_dim);
    c->must |= fault(ATTN_ERR_SIZE, (c->weights.is_given && c->weights.is_impossible) ||
                                        (c->scores.is_given && c->scores.is_impossible) ||
                                        (c->logsumexp.is_given && c->logsumexp.is_impossible));
    d->alibi_batch_stride = wanted & 16 ? heads : (wanted & 32 ? (int8_t)take(in) : 0);
    c->slopes = contiguous_tensor(wanted & 8, 1, 1, batch, heads);
    c->slopes.steps[2] = d->alibi_batch_stride;
    tensor_measure(&c->slopes, sizeof(float));
    c->must |= fault(ATTN_ERR_SIZE, c->slopes.is_given && c->slopes.is_impossible);

    const tensor *all[] = {&c->query,  &c->key,       &c->value, &c->out,   &c->weights,
                           &c->scores, &c->logsumexp, &c->v,     &c->slopes};
    for (size_t t = 0; t < sizeof all / sizeof *all; t++)
        c->is_large |= all[t]->is_large;
    /* Sizes whose product counts tasks or workspace may be too large by themselves. */
    c->may |= fault(ATTN_ERR_SIZE, c->is_large);
    if (batch > 0 && batch < 1000 && wanted & 64) {
        c->lengths = malloc(sizeof *c->lengths * (size_t)batch);
        for (int32_t b = 0; b < batch; b++) {
            c->lengths[b] = take_size(in, 16);
            c->must |= fault(ATTN_ERR_LENGTH, c->lengths[b] < 0 || c->lengths[b] > seq_len_kv);
        }
        d->kv_lengths = c->lengths;
    }

    tensor_make(&c->query, &r, c->values);
    tensor_make(&c->key, &r, c->values);
    tensor_make(&c->value, &r, c->values);
    tensor_make(&c->slopes, &r, c->values);
    tensor_make(&c->v, &r, c->values);
    tensor_alloc(&c->out);
    tensor_alloc(&c->weights);
    tensor_alloc(&c->scores);
    tensor_alloc(&c->logsumexp);
    make_mask(c, &r, 0);
    make_mask(c, &r, 1);
    check_case("{.sizes = {%d, %d / %d, %d, %d, %d, %d}, .scale = %.17g, .softcap = %.17g, .causal "
               "= %d, .align = %d, .window = {%d, %d}, .stage = %d, .values = %d, .additive = %d, "
               ".wanted = 0x%x, .masks = {%d, %d}}",
               (int)batch, (int)heads, (int)kv_heads, (int)seq_len_q, (int)seq_len_kv,
               (int)head_dim, (int)head_dim_v, d->scale, d->softcap, (int)d->is_causal,
               (int)d->align, (int)d->window_left, (int)d->window_right, (int)d->scores_stage,
               (int)c->values, c->is_additive, wanted, (int)d->masks[0].kind,
               (int)d->masks[1].kind);
}

static void call_free(call *c) {
    tensor *all[] = {&c->query,  &c->key,       &c->value, &c->out,      &c->weights, &c->scores,
                     &c->slopes, &c->logsumexp, &c->v,     &c->masks[0], &c->masks[1]};
    for (size_t t = 0; t < sizeof all / sizeof *all; t++)
        tensor_free(all[t]);
    free(c->bool_masks[0]), free(c->bool_masks[1]), free(c->lengths);
}

static attn_sdpa_f32_data data_f32(const call *c) {
    return (attn_sdpa_f32_data){
        .query = tensor_f32(&c->query),
        .key = tensor_f32(&c->key),
        .value = tensor_f32(&c->value),
        .alibi_slopes = tensor_f32(&c->slopes),
        .out = tensor_f32(&c->out),
        .weights = tensor_f32(&c->weights),
        .scores = tensor_f32(&c->scores),
        .logsumexp = tensor_f32(&c->logsumexp),
    };
}

static attn_status run_f32(const call *c, const attn_sdpa_f32_data *data, const attn_exec *exec) {
    return c->is_additive ? attn_additive_f32(&c->desc, data, tensor_f32(&c->v), exec)
                          : attn_sdpa_f32(&c->desc, data, exec);
}

static void outputs_untouched(const call *c) {
    check_that(tensor_untouched(&c->out) && tensor_untouched(&c->weights) &&
                   tensor_untouched(&c->scores) && tensor_untouched(&c->logsumexp),
               __FILE__, __LINE__, "a call that was refused has written");
}

static void near(const char *name, ptrdiff_t element, float fast, double exact, double allowed) {
    const bool right = isfinite(exact) ? fabs((double)fast - exact) <= allowed
                                       : (double)fast == exact || (isnan(exact) && isnan(fast));
    check_that(right, __FILE__, __LINE__, "%s[%td] is %.9g, not %.17g (+- %.3g)", name, element,
               (double)fast, exact, allowed);
}

/* What score j of row i is made of, by magnitude, in the stage. */
static double score_terms(const call *c, int32_t b, int32_t h, int32_t i, int32_t j,
                          int32_t stage) {
    const attn_sdpa_desc *d = &c->desc;
    const int32_t kv_head = h / (d->num_heads / d->num_kv_heads);
    double sum = 0.0;
    for (int32_t e = 0; e < d->head_dim; e++) {
        const double q = c->query.f64[tensor_at(&c->query, b, h, i, e)];
        const double k = c->key.f64[tensor_at(&c->key, b, kv_head, j, e)];
        /* A tanh is off by a few u of itself and by the rounding of q + k. */
        const double largest = fmax(fabs(q), c->is_additive ? fabs(k) : fabs(d->scale * q));
        sum += largest > MOST ? INFINITY : c->is_additive ? 4.0 * fabs(c->v.f64[e]) : fabs(q * k);
    }
    double terms = fmax(sum, sum * fabs(d->scale));
    if (stage >= ATTN_SCORES_SOFTCAPPED && d->softcap > 0)
        terms += 4 * fmin(d->softcap, terms);
    if (stage == ATTN_SCORES_MASKED) {
        if (c->slopes.is_given)
            terms += fabs(c->slopes.f64[tensor_at(&c->slopes, 0, 0, b, h)] *
                          (double)(i + sdpa_offset(d, b) - j));
        for (int m = 0; m < 2; m++)
            if (d->masks[m].kind == ATTN_MASK_ADD && j < sdpa_mask_keys(d, &d->masks[m])) {
                const double number = c->masks[m].f64[tensor_at(&c->masks[m], b, h, i, j)];
                terms += isinf(number) && number < 0 ? 0.0 : fabs(number);
            }
    }
    return terms;
}

/* How far the score may be off. */
static double score_error(const call *c, double terms) {
    const double n = c->desc.head_dim + 16;
    double e = U * n * terms + n * 0x1p-149;
    if (c->has_tiny && !c->is_additive)
        e += fmax(1.0, fabs(c->desc.scale)) *
             (0x1p-29 + n * 0x1p-43 * c->largest_query * c->largest_key);
    return e;
}

static bool is_tiny(const tensor *t, double factor, double limit) {
    for (size_t e = 0; e < t->count; e++)
        if (t->f64[e] != 0 && fabs(t->f64[e] * factor) < limit)
            return true;
    return false;
}

typedef struct exact {
    double *out, *weights, *scores, *logsumexp;
} exact;

static double *doubles(size_t count) {
    double *made = malloc(count * sizeof *made + (count == 0));
    if (!made)
        exit(1);
    return made;
}

/* How far a weight may be off whose score is off by e, where the row's sum is off by a share of it and
 * `roundings` follow. What is exactly 0 stays so. */
static double weight_error(double weight, double e, double share, double roundings) {
    return weight == 0 ? 0x1p-99
                       : weight * (exp(e) * (1 + roundings * U) / (1 - share) - 1) + 0x1p-99;
}

/* Row `row` of all batches, heads and queries. */
static void compare_row(const call *c, const exact *x, int32_t b, int32_t h, int32_t i,
                        ptrdiff_t row, bool compares_out) {
    const attn_sdpa_desc *d = &c->desc;
    const int32_t kv_head = h / (d->num_heads / d->num_kv_heads);
    const ptrdiff_t first = row * d->seq_len_kv;
    const double m = d->seq_len_kv + 16;
    int32_t lo, hi;
    sdpa_visible(d, b, i, &lo, &hi);

    for (int32_t j = 0; j < d->seq_len_kv && c->scores.is_given; j++) {
        const bool shown =
            d->scores_stage == ATTN_SCORES_MASKED ? j >= lo && j < hi : j < sdpa_kv_length(d, b);
        const double terms = shown ? score_terms(c, b, h, i, j, d->scores_stage) : 0.0;
        if (terms < MOST)
            near("scores", first + j, c->scores.f32[first + j], x->scores[first + j],
                 score_error(c, terms));
    }

    double *e = doubles((size_t)d->seq_len_kv), share = 0.0;
    bool tame = true;
    for (int32_t j = lo; j < hi; j++) {
        const double terms = score_terms(c, b, h, i, j, ATTN_SCORES_MASKED);
        const double weight = x->weights[first + j];
        e[j] = score_error(c, terms);
        /* Far below 2^-1000 of the row's largest, a weight stays nothing. */
        tame &= terms < MOST && (weight > 0 || e[j] < 100);
        share += weight == 0 ? 0.0 : weight * expm1(e[j]);
    }
    if (!tame || !(share < 0.5)) {
        free(e);
        return;
    }
    if (c->logsumexp.is_given)
        near("logsumexp", row, c->logsumexp.f32[row], x->logsumexp[row],
             -log1p(-share) + m * U * fmax(1.0, fabs(x->logsumexp[row])));
    for (int32_t j = 0; j < d->seq_len_kv && c->weights.is_given; j++)
        near("weights", first + j, c->weights.f32[first + j], x->weights[first + j],
             j >= lo && j < hi ? weight_error(x->weights[first + j], e[j], share, m) : 0.0);
    for (int32_t k = 0; k < d->head_dim_v && compares_out; k++) {
        double allowed = m * 0x1p-149 + (c->has_tiny ? 0x1p-86 * c->largest_value : 0.0);
        double largest = 0.0;
        for (int32_t j = lo; j < hi; j++) {
            const double size = fabs(c->value.f64[tensor_at(&c->value, b, kv_head, j, k)]);
            largest = isnan(size) ? INFINITY : fmax(largest, size);
            allowed += size * weight_error(x->weights[first + j], e[j], share, 2 * m);
        }
        if (largest < MOST)
            near("out", row * d->head_dim_v + k, c->out.f32[tensor_at(&c->out, b, h, i, k)],
                 x->out[row * d->head_dim_v + k], allowed);
    }
    free(e);
}

static void *pointer_or_null(void *pointer, bool is_given) {
    return is_given ? pointer : NULL;
}

static void explain_row(const call *c, const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                        input *in, const exact *x) {
    const int32_t b = take_option(in, desc->batch), h = take_option(in, desc->num_heads),
                  i = take_option(in, desc->seq_len_q);
    const size_t keys = (size_t)desc->seq_len_kv;
    double *all[10];
    for (int t = 0; t < 10; t++)
        all[t] = doubles(t == 0   ? keys * (size_t)desc->head_dim
                         : t == 8 ? keys * (size_t)desc->head_dim_v
                         : t == 9 ? (size_t)desc->head_dim_v
                                  : keys);
    uint8_t *visible = malloc(keys + (keys == 0));
    const int32_t missing = take(in) < 240 ? -1 : take_below(in, 11);
    const attn_explain_f64_terms terms = {
        pointer_or_null(all[0], missing != 0),  pointer_or_null(all[1], missing != 1),
        pointer_or_null(all[2], missing != 2),  pointer_or_null(all[3], missing != 3),
        pointer_or_null(all[4], missing != 4),  pointer_or_null(all[5], missing != 5),
        pointer_or_null(all[6], missing != 6),  pointer_or_null(all[7], missing != 7),
        pointer_or_null(all[8], missing != 8),  pointer_or_null(all[9], missing != 9),
        pointer_or_null(visible, missing != 10)};
    attn_explain_f64_totals totals;
    const bool is_row =
        b >= 0 && b < desc->batch && h >= 0 && h < desc->num_heads && i >= 0 && i < desc->seq_len_q;
    const faults must = fault(ATTN_ERR_SHAPE, !is_row) |
                        fault(ATTN_ERR_NULL, missing == 9 || (missing > 0 && keys > 0));
    const attn_status status = attn_explain_f64(desc, data, b, h, i, &terms, &totals);
    hold(status, must, 0, "attn_explain_f64");
    if (status == ATTN_OK && !c->is_additive) {
        const ptrdiff_t row = ((ptrdiff_t)b * desc->num_heads + h) * desc->seq_len_q + i;
        for (int32_t e = 0; e < desc->head_dim_v; e++)
            check_near(all[9][e], x->out[row * desc->head_dim_v + e], 0.0, __FILE__, __LINE__,
                       "explain: out");
        check_near(totals.logsumexp, x->logsumexp[row], 0.0, __FILE__, __LINE__,
                   "explain: logsumexp");
    }
    for (int t = 0; t < 10; t++)
        free(all[t]);
    free(visible);
}

static void compare(call *c, input *in) {
    attn_sdpa_desc desc = c->desc;
    const size_t rows = (size_t)desc.batch * (size_t)desc.num_heads * (size_t)desc.seq_len_q;
    const size_t keys = (size_t)desc.seq_len_kv, dim = (size_t)desc.head_dim_v;
    const tensor out =
        contiguous_tensor(true, desc.batch, desc.num_heads, desc.seq_len_q, desc.head_dim_v);
    desc.out = tensor_strides(&out);
    for (int m = 0; m < 2; m++)
        if (desc.masks[m].kind == ATTN_MASK_ADD)
            desc.masks[m].data = tensor_f64(&c->masks[m]);
    const exact x = {doubles(rows * dim), doubles(rows * keys), doubles(rows * keys),
                     doubles(rows)};
    const attn_sdpa_f64_data data = {.query = tensor_f64(&c->query),
                                     .key = tensor_f64(&c->key),
                                     .value = tensor_f64(&c->value),
                                     .alibi_slopes = tensor_f64(&c->slopes),
                                     .out = x.out,
                                     .weights = x.weights,
                                     .scores = x.scores,
                                     .logsumexp = x.logsumexp};
    attn_exec exec = {0};
    CHECK_STATUS(attn_sdpa_f64_workspace(&desc, &data, &exec.workspace_bytes, NULL), ATTN_OK);
    exec.workspace = workspace_alloc(exec.workspace_bytes);
    CHECK_STATUS(c->is_additive ? attn_additive_f64(&desc, &data, c->v.f64, &exec)
                                : attn_sdpa_f64(&desc, &data, &exec),
                 ATTN_OK);
    free(exec.workspace);

    c->largest_query = tensor_largest(&c->query), c->largest_key = tensor_largest(&c->key);
    c->largest_value = tensor_largest(&c->value);
    c->has_tiny = is_tiny(&c->query, fmin(1.0, fabs(desc.scale)), 0x1p-62) ||
                  is_tiny(&c->key, 1.0, 0x1p-62) || is_tiny(&c->value, 1.0, 0x1p-25);
    const bool compares_out =
        c->out.is_given && tensor_gaps_untouched(&c->out, "out") && isfinite(desc.scale);
    ptrdiff_t row = 0;
    for (int32_t b = 0; b < desc.batch && isfinite(desc.scale); b++)
        for (int32_t h = 0; h < desc.num_heads; h++)
            for (int32_t i = 0; i < desc.seq_len_q; i++, row++)
                compare_row(c, &x, b, h, i, row, compares_out);
    if (keys * ((size_t)desc.head_dim + dim) < 1 << 20)
        explain_row(c, &desc, &data, in, &x);
    free(x.out), free(x.weights), free(x.scores), free(x.logsumexp);
}

/* Each task's keys and values in parts, where that can be. */
static attn_status run_in_parts(const call *c, const attn_sdpa_f32_data *data, attn_exec exec,
                                int32_t num_tasks) {
    enum { PART = 64 };
    const int32_t keys = c->desc.seq_len_kv;
    for (exec.num_tasks = 1; exec.first_task < num_tasks; exec.first_task++)
        for (exec.first_key = 0; exec.first_key < keys; exec.first_key += PART) {
            attn_sdpa_f32_data part = *data;
            part.key += exec.first_key * c->desc.key.row;
            part.value += exec.first_key * c->desc.value.row;
            exec.num_keys = keys - exec.first_key < PART ? keys - exec.first_key : PART;
            const attn_status status = attn_sdpa_f32(&c->desc, &part, &exec);
            if (status != ATTN_OK)
                return status;
        }
    return keys > 0 ? ATTN_OK : ATTN_ERR_UNSUPPORTED;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    call c;
    call_take(&c, &in);
    const attn_sdpa_f32_data data = data_f32(&c);
    attn_exec exec = {0};
    int32_t num_tasks = 0;
    attn_status status =
        attn_sdpa_f32_workspace(&c.desc, &data, NULL, &exec.workspace_bytes, &num_tasks);
    hold(status, c.must, c.may, "attn_sdpa_f32_workspace");
    if (status != ATTN_OK) {
        const attn_status again = run_f32(&c, &data, &exec);
        CHECK(again == status || (c.is_additive && !c.v.is_given && again == ATTN_ERR_NULL));
        outputs_untouched(&c);
    } else if (!c.is_large && (double)c.desc.batch * c.desc.num_heads * c.desc.seq_len_q *
                                      (c.desc.seq_len_kv + 1.0) *
                                      (c.desc.head_dim + c.desc.head_dim_v) <
                                  1e5) {
        exec.workspace = workspace_alloc(exec.workspace_bytes);
        attn_exec spoiled = exec;
        const attn_status expected = spoil_exec(&in, &spoiled, num_tasks);
        const bool has_v = !c.is_additive || c.v.is_given;
        if (expected != ATTN_OK) {
            CHECK_STATUS(run_f32(&c, &data, &spoiled), has_v ? expected : ATTN_ERR_NULL);
            outputs_untouched(&c);
        }
        attn_status ran = ATTN_ERR_UNSUPPORTED;
        if (!c.is_additive && take_below(&in, 2))
            ran = run_in_parts(&c, &data, exec, num_tasks);
        if (ran == ATTN_ERR_UNSUPPORTED)
            ran = run_f32(&c, &data, &exec);
        CHECK_STATUS(ran, has_v ? ATTN_OK : ATTN_ERR_NULL);
        CHECK(tensor_untouched(&c.query) && tensor_untouched(&c.key) && tensor_untouched(&c.value));
        if (has_v)
            compare(&c, &in);
        else
            outputs_untouched(&c);
        free(exec.workspace);
    }
    call_free(&c);
    return fuzz_end();
}
