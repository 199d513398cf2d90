/* Additive attention: the formula written once more, float32 against float64 on both of its paths,
 * and its gradients against differences. */
#include "check.h"

enum { FILL = 0x5A };

/* One call over contiguous tensors, float32 and float64, with every output. */
typedef struct additive_case {
    int32_t batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim, head_dim_v;
    double scale, softcap, magnitude, key_magnitude;
    int32_t is_causal, align, window_left, window_right, mask_kind, scores_stage;
    bool lengths, alibi, weights;
    uint64_t seed;
} additive_case;

typedef struct tensors {
    double *query, *key, *value, *v, *slopes, *mask;
    uint8_t *bool_mask;
    int32_t *lengths;
    size_t q, k, val, area, rows, out;
} tensors;

static double *random_doubles(rng *r, size_t count, double magnitude) {
    double *x = malloc(count * sizeof *x + 1);
    for (size_t e = 0; e < count; e++)
        x[e] = (double)(float)(magnitude * rng_unit(r));
    return x;
}

static float *as_floats(const double *x, size_t count) {
    float *y = malloc(count * sizeof *y + 1);
    for (size_t e = 0; e < count; e++)
        y[e] = (float)x[e];
    return y;
}

static void make_tensors(const additive_case *c, tensors *t) {
    rng r = {c->seed};
    const size_t heads = (size_t)c->batch * (size_t)c->num_heads,
                 kv_heads = (size_t)c->batch * (size_t)c->num_kv_heads;
    t->rows = heads * (size_t)c->seq_len_q;
    t->q = t->rows * (size_t)c->head_dim;
    t->out = t->rows * (size_t)c->head_dim_v;
    t->area = t->rows * (size_t)c->seq_len_kv;
    t->k = kv_heads * (size_t)(c->seq_len_kv * c->head_dim);
    t->val = kv_heads * (size_t)(c->seq_len_kv * c->head_dim_v);
    t->query = random_doubles(&r, t->q, c->magnitude);
    t->key = random_doubles(&r, t->k, c->key_magnitude);
    t->value = random_doubles(&r, t->val, 1.0);
    t->v = random_doubles(&r, (size_t)c->head_dim, 2.0);
    t->slopes = random_doubles(&r, (size_t)c->num_heads, 0.5);
    t->mask = random_doubles(&r, t->area, 3.0);
    t->bool_mask = malloc(t->area + 1);
    for (size_t e = 0; e < t->area; e++)
        t->bool_mask[e] = !rng_once_in(&r, 3);
    t->lengths = malloc((size_t)c->batch * sizeof *t->lengths + 1);
    for (int32_t b = 0; b < c->batch; b++)
        t->lengths[b] = rng_int(&r, 0, c->seq_len_kv);
}

static void free_tensors(tensors *t) {
    free(t->query), free(t->key), free(t->value), free(t->v), free(t->slopes), free(t->mask);
    free(t->bool_mask), free(t->lengths);
}

static attn_sdpa_desc desc_of(const additive_case *c, const tensors *t, const void *mask) {
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, c->batch, c->num_heads, c->num_kv_heads, c->seq_len_q, c->seq_len_kv,
                        c->head_dim, c->head_dim_v);
    desc.scale = c->scale;
    desc.softcap = c->softcap;
    desc.is_causal = c->is_causal;
    desc.align = c->align;
    desc.window_left = c->window_left;
    desc.window_right = c->window_right;
    desc.scores_stage = c->scores_stage;
    if (c->lengths)
        desc.kv_lengths = t->lengths;
    const ptrdiff_t row = c->seq_len_kv, head = row * c->seq_len_q;
    if (c->mask_kind != ATTN_MASK_NONE)
        desc.masks[0] = (attn_mask){.data = mask,
                                    .kind = c->mask_kind,
                                    .batch = head * c->num_heads,
                                    .head = head,
                                    .query = row,
                                    .key = 1};
    return desc;
}

/* The weights of one row by the formula; -inf marks what is hidden. */
static void plain_row(const additive_case *c, const tensors *t, int32_t b, int32_t h, int32_t i,
                      double *scores, double *weights) {
    const int32_t keys = c->lengths ? t->lengths[b] : c->seq_len_kv;
    const int32_t at = i + (c->align == ATTN_ALIGN_BOTTOM_RIGHT ? keys - c->seq_len_q : 0);
    const size_t row =
        ((size_t)b * (size_t)c->num_heads + (size_t)h) * (size_t)c->seq_len_q + (size_t)i;
    const int32_t kv_head = b * c->num_kv_heads + h / (c->num_heads / c->num_kv_heads);
    double max = -INFINITY, sum = 0.0;
    for (int32_t j = 0; j < c->seq_len_kv; j++) {
        double s = 0.0;
        for (int32_t d = 0; d < c->head_dim; d++)
            s += t->v[d] * tanh(t->query[row * (size_t)c->head_dim + (size_t)d] +
                                t->key[((ptrdiff_t)kv_head * c->seq_len_kv + j) * c->head_dim + d]);
        s *= c->scale;
        if (c->softcap > 0)
            s = c->softcap * tanh(s / c->softcap);
        if (c->alibi)
            s -= t->slopes[h] * abs(at - j);
        const size_t element = row * (size_t)c->seq_len_kv + (size_t)j;
        if (c->mask_kind == ATTN_MASK_ADD)
            s += t->mask[element];
        if ((c->mask_kind == ATTN_MASK_BOOL && !t->bool_mask[element]) || j >= keys ||
            (c->is_causal && j > at) || (c->window_left >= 0 && j < at - c->window_left) ||
            (c->window_right >= 0 && j > at + c->window_right))
            s = -INFINITY;
        scores[j] = s;
        max = fmax(max, s);
    }
    for (int32_t j = 0; j < c->seq_len_kv; j++)
        sum += weights[j] = scores[j] == -INFINITY ? 0.0 : exp(scores[j] - max);
    for (int32_t j = 0; j < c->seq_len_kv && sum > 0.0; j++)
        weights[j] /= sum;
}

/* float64 is the formula; float32 is within what its roundings explain: each tanh is off by a few u, so a score by
 * (head_dim + 8) u sum |v|, and a weight by twice that and the roundings of softmax. */
static void run_case(additive_case c) {
    check_case(
        "run_case((additive_case){%d, %d, %d, %d, %d, %d, %d, %g, %g, %g, %g, %d, %d, %d, %d, %d, "
        "%d, %d, %d, %d, %" PRIu64 "});",
        (int)c.batch, (int)c.num_heads, (int)c.num_kv_heads, (int)c.seq_len_q, (int)c.seq_len_kv,
        (int)c.head_dim, (int)c.head_dim_v, c.scale, c.softcap, c.magnitude, c.key_magnitude,
        (int)c.is_causal, (int)c.align, (int)c.window_left, (int)c.window_right, (int)c.mask_kind,
        (int)c.scores_stage, c.lengths, c.alibi, c.weights, c.seed);
    tensors t;
    make_tensors(&c, &t);
    float *query = as_floats(t.query, t.q), *key = as_floats(t.key, t.k),
          *value = as_floats(t.value, t.val), *v = as_floats(t.v, (size_t)c.head_dim),
          *slopes = as_floats(t.slopes, (size_t)c.num_heads), *mask = as_floats(t.mask, t.area);
    guarded out = guarded_alloc(t.out * sizeof(double), FILL),
            weights = guarded_alloc(t.area * sizeof(double), FILL),
            scores = guarded_alloc(t.area * sizeof(double), FILL),
            lse = guarded_alloc(t.rows * sizeof(double), FILL);
    guarded out32 = guarded_alloc(t.out * sizeof(float), FILL),
            weights32 = guarded_alloc(t.area * sizeof(float), FILL),
            scores32 = guarded_alloc(t.area * sizeof(float), FILL),
            lse32 = guarded_alloc(t.rows * sizeof(float), FILL);

    const attn_sdpa_desc desc = desc_of(
        &c, &t, c.mask_kind == ATTN_MASK_BOOL ? (const void *)t.bool_mask : (const void *)t.mask);
    attn_sdpa_desc desc32 = desc;
    if (c.mask_kind == ATTN_MASK_ADD)
        desc32.masks[0].data = mask;
    const attn_sdpa_f64_data data = {t.query,  t.key,        t.value,     c.alibi ? t.slopes : NULL,
                                     out.data, weights.data, scores.data, lse.data};
    const attn_sdpa_f32_data data32 = {query,
                                       key,
                                       value,
                                       c.alibi ? slopes : NULL,
                                       out32.data,
                                       c.weights ? weights32.data : NULL,
                                       c.weights ? scores32.data : NULL,
                                       lse32.data};
    attn_exec exec = {0}, exec32 = {0};
    CHECK_STATUS(attn_sdpa_f64_workspace(&desc, &data, &exec.workspace_bytes, NULL), ATTN_OK);
    CHECK_STATUS(attn_sdpa_f32_workspace(&desc32, &data32, NULL, &exec32.workspace_bytes, NULL),
                 ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF),
            workspace32 = guarded_alloc(exec32.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    exec32.workspace = workspace32.data;
    CHECK_STATUS(attn_additive_f64(&desc, &data, t.v, &exec), ATTN_OK);
    CHECK_STATUS(attn_additive_f32(&desc32, &data32, v, &exec32), ATTN_OK);
    CHECK(guarded_intact(&out) && guarded_intact(&weights) && guarded_intact(&scores) &&
          guarded_intact(&lse) && guarded_intact(&workspace));
    CHECK(guarded_intact(&out32) && guarded_intact(&weights32) && guarded_intact(&scores32) &&
          guarded_intact(&lse32) && guarded_intact(&workspace32));

    double reach = 0.0;
    for (int32_t d = 0; d < c.head_dim; d++)
        reach += fabs(t.v[d]);
    const double u = 0x1p-24;
    const double score_error =
        fabs(c.scale) * (c.head_dim + 10) * u * reach + 8 * u * (c.softcap + 6 + c.seq_len_kv);
    const double relative = 2 * score_error + (2 * c.seq_len_kv + 40) * u;
    double *want_scores = malloc((size_t)c.seq_len_kv * sizeof(double) + 1),
           *want = malloc((size_t)c.seq_len_kv * sizeof(double) + 1);
    size_t row = 0;
    for (int32_t b = 0; b < c.batch; b++)
        for (int32_t h = 0; h < c.num_heads; h++)
            for (int32_t i = 0; i < c.seq_len_q; i++, row++) {
                plain_row(&c, &t, b, h, i, want_scores, want);
                const int32_t kv_head = b * c.num_kv_heads + h / (c.num_heads / c.num_kv_heads);
                for (int32_t j = 0; j < c.seq_len_kv; j++) {
                    const size_t e = row * (size_t)c.seq_len_kv + (size_t)j;
                    CHECK_NEAR(((double *)weights.data)[e], want[j], 1e-13);
                    if (c.scores_stage == ATTN_SCORES_MASKED)
                        CHECK_NEAR(((double *)scores.data)[e], want_scores[j], 1e-12);
                    if (!c.weights)
                        continue;
                    CHECK_NEAR((double)((float *)weights32.data)[e], want[j],
                               want[j] * relative + 1e-30);
                    CHECK_NEAR((double)((float *)scores32.data)[e], ((double *)scores.data)[e],
                               score_error);
                }
                for (int32_t d = 0; d < c.head_dim_v; d++) {
                    double sum = 0.0;
                    for (int32_t j = 0; j < c.seq_len_kv; j++)
                        sum += want[j] *
                               t.value[((ptrdiff_t)kv_head * c.seq_len_kv + j) * c.head_dim_v + d];
                    const size_t e = row * (size_t)c.head_dim_v + (size_t)d;
                    CHECK_NEAR(((double *)out.data)[e], sum, 1e-13);
                    CHECK_NEAR((double)((float *)out32.data)[e], sum, relative + 1e-28);
                }
                const double exact = ((double *)lse.data)[row];
                CHECK_NEAR((double)((float *)lse32.data)[row], exact,
                           score_error + (c.seq_len_kv + 40 + 4 * fabs(exact)) * u);
            }
    free(want_scores), free(want);
    guarded_free(&out), guarded_free(&weights), guarded_free(&scores), guarded_free(&lse);
    guarded_free(&out32), guarded_free(&weights32), guarded_free(&scores32), guarded_free(&lse32);
    guarded_free(&workspace), guarded_free(&workspace32);
    free(query), free(key), free(value), free(v), free(slopes), free(mask);
    free_tensors(&t);
}

TEST(every_option_follows_the_formula_on_every_path) {
    rng r = {5};
    for (uint64_t n = 1; n <= 400; n++) {
        const int32_t kv_heads = rng_int(&r, 1, 2);
        additive_case c = {
            .batch = rng_int(&r, 1, 2),
            .num_kv_heads = kv_heads,
            .num_heads = kv_heads * rng_int(&r, 1, 3),
            .seq_len_q = rng_once_in(&r, 3) ? 1 : rng_int(&r, 1, 21),
            .seq_len_kv = rng_once_in(&r, 4) ? rng_int(&r, 60, 130) : rng_int(&r, 0, 20),
            .head_dim = rng_int(&r, 1, 19),
            .head_dim_v = rng_int(&r, 1, 9),
            .scale = rng_once_in(&r, 3) ? rng_unit(&r) : 1.0,
            .softcap = rng_once_in(&r, 3) ? 2.5 : 0.0,
            .magnitude = rng_once_in(&r, 4) ? 30.0 : 1.0,
            .key_magnitude = rng_once_in(&r, 4)   ? 1e-20
                             : rng_once_in(&r, 4) ? 30.0
                                                  : 1.0,
            .is_causal = rng_once_in(&r, 3),
            .align = rng_int(&r, 0, 1),
            .window_left = rng_once_in(&r, 4) ? rng_int(&r, 0, 9) : -1,
            .window_right = rng_once_in(&r, 4) ? rng_int(&r, 0, 9) : -1,
            .mask_kind = rng_int(&r, 0, 2),
            .scores_stage = rng_int(&r, 0, 2),
            .lengths = rng_once_in(&r, 3),
            .alibi = rng_once_in(&r, 4),
            .weights = n % 2,
            .seed = n,
        };
        run_case(c);
    }
}

/* sum_e grad_out[e] * out[e] */
static double loss(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data, const double *v,
                   const double *grad_out, size_t count, const attn_exec *exec) {
    CHECK_STATUS(attn_additive_f64(desc, data, v, exec), ATTN_OK);
    double sum = 0.0;
    for (size_t e = 0; e < count; e++)
        sum += grad_out[e] * data->out[e];
    return sum;
}

TEST(gradients_are_the_slopes_of_the_loss) {
    const double h = 1e-5;
    for (uint64_t n = 1; n <= 12; n++) {
        const additive_case c = {.batch = 2,
                                 .num_heads = 4,
                                 .num_kv_heads = 2,
                                 .seq_len_q = 3,
                                 .seq_len_kv = 5,
                                 .head_dim = 4,
                                 .head_dim_v = 3,
                                 .scale = 0.75,
                                 .softcap = n % 2 ? 1.5 : 0.0,
                                 .magnitude = 1.0,
                                 .key_magnitude = 1.0,
                                 .is_causal = n / 2 % 2,
                                 .align = ATTN_ALIGN_BOTTOM_RIGHT,
                                 .window_left = -1,
                                 .window_right = -1,
                                 .mask_kind = (int32_t)(n % 3),
                                 .lengths = n / 4 % 2,
                                 .seed = n};
        check_case("case %" PRIu64, n);
        tensors t;
        make_tensors(&c, &t);
        const attn_sdpa_desc desc = desc_of(
            &c, &t,
            c.mask_kind == ATTN_MASK_BOOL ? (const void *)t.bool_mask : (const void *)t.mask);
        rng r = {n + 100};
        double *grad_out = random_doubles(&r, t.out, 1.0), *out = malloc(t.out * sizeof *out),
               *lse = malloc(t.rows * sizeof *lse);
        const attn_sdpa_f64_data data = {
            .query = t.query, .key = t.key, .value = t.value, .out = out, .logsumexp = lse};
        attn_exec exec = {0};
        CHECK_STATUS(attn_sdpa_f64_workspace(&desc, &data, &exec.workspace_bytes, NULL), ATTN_OK);
        guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
        exec.workspace = workspace.data;

        struct {
            double *input, *gradient;
            size_t count;
        } pairs[5] = {
            {t.query, NULL, t.q},
            {t.key, NULL, t.k},
            {t.value, NULL, t.val},
            {t.v, NULL, (size_t)c.head_dim},
            {t.mask, NULL, c.mask_kind == ATTN_MASK_ADD ? t.area : 0},
        };
        for (int p = 0; p < 5; p++)
            pairs[p].gradient = calloc(pairs[p].count + 1, sizeof(double));
        attn_sdpa_backward_desc backward;
        attn_sdpa_backward_desc_init(&backward, &desc);
        loss(&desc, &data, t.v, grad_out, t.out, &exec);
        const attn_sdpa_backward_f64_data gradients = {
            .query = t.query,
            .key = t.key,
            .value = t.value,
            .out = out,
            .logsumexp = lse,
            .grad_out = grad_out,
            .grad_query = pairs[0].gradient,
            .grad_key = pairs[1].gradient,
            .grad_value = pairs[2].gradient,
            .grad_masks = {c.mask_kind == ATTN_MASK_ADD ? pairs[4].gradient : NULL, NULL}};
        CHECK_STATUS(attn_additive_backward_f64(&backward, &gradients, NULL, NULL, NULL),
                     ATTN_ERR_NULL);
        CHECK_STATUS(
            attn_additive_backward_f64(&backward, &gradients, t.v, pairs[3].gradient, NULL),
            ATTN_OK);
        for (int p = 0; p < 5; p++)
            for (size_t e = 0; e < pairs[p].count; e++) {
                const double was = pairs[p].input[e];
                pairs[p].input[e] = was + h;
                const double above = loss(&desc, &data, t.v, grad_out, t.out, &exec);
                pairs[p].input[e] = was - h;
                const double below = loss(&desc, &data, t.v, grad_out, t.out, &exec);
                pairs[p].input[e] = was;
                check_that(fabs(pairs[p].gradient[e] - (above - below) / (2 * h)) < 1e-8, __FILE__,
                           __LINE__, "gradient %d[%zu] is %.9g, the slope %.9g", p, e,
                           pairs[p].gradient[e], (above - below) / (2 * h));
            }
        for (int p = 0; p < 5; p++)
            free(pairs[p].gradient);
        guarded_free(&workspace);
        free(grad_out), free(out), free(lse);
        free_tensors(&t);
    }
}

TEST(far_from_zero_tanh_is_one_and_near_it_the_identity) {
    /* v . tanh(+-big) = +-sum v; tiny inputs give scores of their own size. */
    const double v[3] = {1.0, 2.0, 4.0}, query[3] = {1e4, -1e4, INFINITY}, key[3] = {0},
                 value = 1.0;
    const float v32[3] = {1, 2, 4}, query32[3] = {1e4f, -1e4f, INFINITY}, key32[3] = {0},
                value32 = 1;
    double score;
    float score32;
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 1, 1, 1, 1, 3, 1);
    desc.scale = 1.0;
    double row[2];
    float scratch[4096];
    attn_exec exec = {.workspace = row, .workspace_bytes = sizeof row};
    attn_exec exec32 = {.workspace = scratch, .workspace_bytes = sizeof scratch};
    exec.workspace = (void *)(((uintptr_t)scratch + 15) / 16 * 16);
    exec32.workspace = exec.workspace;
    exec32.workspace_bytes = sizeof scratch - 16;
    const attn_sdpa_f64_data data = {.query = query, .key = key, .value = &value, .scores = &score};
    const attn_sdpa_f32_data data32 = {
        .query = query32, .key = key32, .value = &value32, .scores = &score32};
    CHECK_STATUS(attn_additive_f64(&desc, &data, v, &exec), ATTN_OK);
    CHECK_EXACT(score, 3.0);
    CHECK_STATUS(attn_additive_f32(&desc, &data32, v32, &exec32), ATTN_OK);
    CHECK_EXACT((double)score32, 3.0);
    const double sizes[4] = {0x1p-30, 0x1p-70, 0x1p-126, 0x1p-140};
    for (int s = 0; s < 4; s++) {
        const float tiny[3] = {(float)sizes[s], 0, 0};
        const attn_sdpa_f32_data tiny_data = {
            .query = tiny, .key = key32, .value = &value32, .scores = &score32};
        CHECK_STATUS(attn_additive_f32(&desc, &tiny_data, v32, &exec32), ATTN_OK);
        CHECK_EXACT((double)score32, sizes[s]);
    }
}

TEST(what_is_not_seen_is_not_read) {
    enum { KEYS = 70, DIM = 5 };
    static float query[2 * DIM], key[KEYS * DIM], value[KEYS];
    const float v[DIM] = {1, -1, 1, -1, 1};
    for (int e = 0; e < KEYS * DIM; e++)
        key[e] = e % DIM * 0.25f;
    for (int j = 0; j < KEYS; j++)
        value[j] = (float)j;
    int32_t length = 66;
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 1, 1, 2, KEYS, DIM, 1);
    desc.kv_lengths = &length;
    float out[2];
    for (int j = length; j < KEYS; j++) {
        value[j] = NAN;
        for (int d = 0; d < DIM; d++)
            key[j * DIM + d] = NAN;
    }
    const attn_sdpa_f32_data data = {.query = query, .key = key, .value = value, .out = out};
    attn_exec exec = {0};
    CHECK_STATUS(attn_sdpa_f32_workspace(&desc, &data, NULL, &exec.workspace_bytes, NULL), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_additive_f32(&desc, &data, v, &exec), ATTN_OK);
    /* All keys are alike: the mean of 0 .. 65. */
    CHECK_NEAR((double)out[0], 32.5, 1e-4);
    CHECK_NEAR((double)out[1], 32.5, 1e-4);
    guarded_free(&workspace);
}

TEST(a_refused_call_writes_nothing) {
    guarded out = guarded_alloc(8, FILL);
    const float x[4] = {0};
    const double x64[4] = {0};
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 1, 1, 1, 1, 1, 1);
    const attn_sdpa_f32_data data = {.query = x, .key = x, .value = x, .out = out.data};
    const attn_sdpa_f64_data data64 = {.query = x64, .key = x64, .value = x64, .out = out.data};
    double scratch[2];
    const attn_exec exec = {0};
    CHECK_STATUS(attn_additive_f32(&desc, &data, NULL, &exec), ATTN_ERR_NULL);
    CHECK_STATUS(attn_additive_f64(&desc, &data64, NULL, &exec), ATTN_ERR_NULL);
    CHECK_STATUS(attn_additive_f32(NULL, &data, x, &exec), ATTN_ERR_NULL);
    CHECK_STATUS(attn_additive_f32(&desc, &data, x, &exec), ATTN_ERR_WORKSPACE);
    CHECK_STATUS(attn_additive_f64(&desc, &data64, x64, &exec), ATTN_ERR_WORKSPACE);
    desc.head_dim = 0;
    CHECK_STATUS(attn_additive_f32(&desc, &data, x, &exec), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_additive_f64(&desc, &data64, scratch, &exec), ATTN_ERR_SHAPE);
    CHECK(guarded_untouched(&out, FILL));
    guarded_free(&out);
}

int main(void) {
    RUN(every_option_follows_the_formula_on_every_path);
    RUN(gradients_are_the_slopes_of_the_loss);
    RUN(far_from_zero_tanh_is_one_and_near_it_the_identity);
    RUN(what_is_not_seen_is_not_read);
    RUN(a_refused_call_writes_nothing);
    return check_summary();
}
