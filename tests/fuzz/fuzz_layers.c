/* Multi-head attention and the gradients of attention and of the layer: float32 against float64.
 *
 * What is allowed is coarse, as if every rounding had hit the largest number that the sizes and inputs
 * admit: the exact comparison is that of tests/c. Here it is calls that nobody thought of. */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */

#include "fuzz.h"

static const double U = 0x1p-24;

/* What both kinds of call are made of */

typedef struct options {
    double scale;
    int32_t is_causal, align, window_left, window_right;
    faults must;
} options;

static options take_options(input *in, double scale) {
    options o = {.scale = take_number(in, scale),
                 .is_causal = take_option(in, 1),
                 .align = take_option(in, 1),
                 .window_left = -1,
                 .window_right = -1};
    if (take(in) >= 192) {
        o.window_left = take_size(in, 9) - 2;
        o.window_right = take_size(in, 9) - 2;
    }
    const bool is_factor =
        o.scale == 0 || isinf(o.scale) || (fabs(o.scale) >= 0x1p-100 && fabs(o.scale) <= 0x1p100);
    o.must = fault(ATTN_ERR_OPTION, !is_factor || o.align < 0 || o.align > 1);
    return o;
}

typedef struct mask {
    tensor t, grad;
    uint8_t *flags;
} mask;

/* Steps of a mask: contiguous or broadcast. */
static void take_mask(input *in, rng *r, const int32_t sizes[4], mask *m, attn_mask *of_call,
                      bool *is_large, faults *must) {
    const uint8_t byte = take(in);
    of_call->kind = byte < 128 ? ATTN_MASK_NONE : byte < 250 ? byte % 3 : (int8_t)byte;
    m->t =
        contiguous_tensor(of_call->kind != ATTN_MASK_NONE, sizes[0], sizes[1], sizes[2], sizes[3]);
    for (int axis = 0; axis < 4; axis++)
        if (byte >> 3 >> axis & 1)
            m->t.steps[axis] = 0;
    tensor_measure(&m->t, sizeof(float));
    *is_large |= m->t.is_given && m->t.is_large;
    *must |= fault(ATTN_ERR_OPTION, of_call->kind < 0 || of_call->kind > 2);
    if (m->t.is_given)
        *must |= tensor_faults(&m->t);
    of_call->batch = m->t.steps[0], of_call->head = m->t.steps[1];
    of_call->query = m->t.steps[2], of_call->key = m->t.steps[3];
    tensor_make(&m->t, r, ORDINARY);
    m->flags = malloc(m->t.count + (m->t.count == 0));
    for (size_t e = 0; e < m->t.count; e++)
        m->flags[e] = !rng_once_in(r, 4);
    of_call->data = of_call->kind == ATTN_MASK_BOOL ? (const void *)m->flags : m->t.f32;
    const bool has_gradient = of_call->kind == ATTN_MASK_ADD && take(in) & 1;
    m->grad = m->t;
    m->grad.is_given = has_gradient;
    tensor_alloc(&m->grad);
}

static void free_mask(mask *m) {
    tensor_free(&m->t), tensor_free(&m->grad), free(m->flags);
}

/* As float64 sees it. */
static void mask_f64(attn_mask *of_call, const mask *m) {
    if (of_call->kind == ATTN_MASK_ADD)
        of_call->data = m->t.f64;
}

static void compare(const tensor *t, double tolerance, const char *name) {
    for (size_t e = 0; e < t->count && t->is_given && isfinite(tolerance); e++) {
        float fill;
        memset(&fill, FILL, sizeof fill);
        if (memcmp(&t->f32[e], &fill, sizeof fill) == 0 &&
            memcmp((const char *)&t->f64[e], &fill, 4) == 0)
            continue; /* between the rows, in both */
        check_near((double)t->f32[e], t->f64[e], tolerance, __FILE__, __LINE__, name);
    }
}

static bool is_moderate(double work) {
    return work < 2e5;
}

/* Gradients of attention */

static void sdpa_backward(input *in) {
    const uint8_t flags = take(in);
    rng r = {take(in)};
    const int32_t values = flags & 3 ? ORDINARY : take_below(in, NUM_VALUES);
    const int32_t batch = take_size(in, 3), kv_heads = take_size(in, 3), groups = take_size(in, 3);
    const int32_t heads =
        (int32_t)(uint32_t)((uint64_t)(int64_t)kv_heads * (uint64_t)(int64_t)groups);
    const int32_t seq_len_q = take_size(in, 16), seq_len_kv = take_size(in, 16);
    const int32_t head_dim = take_size(in, 12), head_dim_v = take_size(in, 12);
    attn_sdpa_desc forward;
    attn_sdpa_desc_init(&forward, batch, heads, kv_heads, seq_len_q, seq_len_kv, head_dim,
                        head_dim_v);
    const options o = take_options(in, forward.scale);
    forward.scale = o.scale, forward.is_causal = o.is_causal, forward.align = o.align;
    forward.window_left = o.window_left, forward.window_right = o.window_right;
    forward.softcap = flags & 4 ? 2.0 : 0.0;
    faults must = o.must |
                  fault(ATTN_ERR_SHAPE, batch < 0 || heads < 1 || kv_heads < 1 || seq_len_q < 0 ||
                                            seq_len_kv < 0 || head_dim < 1 || head_dim_v < 1) |
                  fault(ATTN_ERR_HEADS, kv_heads > 0 && heads % kv_heads != 0);

    tensor query = take_tensor(in, batch, heads, seq_len_q, head_dim);
    tensor key = take_tensor(in, batch, kv_heads, seq_len_kv, head_dim);
    tensor value = take_tensor(in, batch, kv_heads, seq_len_kv, head_dim_v);
    tensor out = contiguous_tensor(true, batch, heads, seq_len_q, head_dim_v);
    tensor logsumexp = contiguous_tensor(true, batch, heads, seq_len_q, 1);
    tensor grad_out = take_tensor(in, batch, heads, seq_len_q, head_dim_v);
    tensor grad_query = query, grad_key = key, grad_value = value;
    const uint8_t wanted = take(in);
    grad_query.is_given = wanted & 1, grad_key.is_given = wanted & 2,
    grad_value.is_given = wanted & 4;
    if (wanted & 8)
        take_steps(in, &grad_key), tensor_measure(&grad_key, sizeof(float));
    if (wanted & 16)
        take_steps(in, &grad_query), tensor_measure(&grad_query, sizeof(float));
    forward.query = tensor_strides(&query), forward.key = tensor_strides(&key);
    forward.value = tensor_strides(&value);
    must |= tensor_faults(&query) | tensor_faults(&key) | tensor_faults(&value) |
            tensor_faults(&grad_out) | tensor_faults(&out);
    tensor *all[] = {&query,     &key,        &value,    &grad_out,  &out,
                     &logsumexp, &grad_query, &grad_key, &grad_value};
    enum { NUM_INPUTS = 4, NUM_TENSORS = sizeof all / sizeof *all };
    bool is_large = false;
    for (int t = 0; t < NUM_TENSORS; t++) {
        is_large |= all[t]->is_large;
        if (t > NUM_INPUTS && all[t]->is_given)
            must |= fault(ATTN_ERR_SIZE, all[t]->is_impossible);
        if (t < NUM_INPUTS)
            tensor_make(all[t], &r, values);
        else
            tensor_alloc(all[t]);
    }
    const int32_t sizes[4] = {batch, heads, seq_len_q, seq_len_kv};
    mask masks[2] = {{.flags = NULL}, {.flags = NULL}};
    for (int m = 0; m < 2; m++)
        take_mask(in, &r, sizes, &masks[m], &forward.masks[m], &is_large, &must);
    int32_t *lengths = NULL;
    if (wanted & 32 && batch > 0 && batch < 100) {
        lengths = malloc(sizeof *lengths * (size_t)batch);
        for (int32_t b = 0; b < batch; b++) {
            lengths[b] = take_size(in, 16);
            must |= fault(ATTN_ERR_LENGTH, lengths[b] < 0 || lengths[b] > seq_len_kv);
        }
        forward.kv_lengths = lengths;
    }
    check_case(
        "sdpa_backward {.sizes = {%d, %d / %d, %d, %d, %d, %d}, .scale = %.17g, .softcap = "
        "%.17g, .causal = %d, .align = %d, .window = {%d, %d}, .values = %d, .wanted = 0x%x, "
        ".masks = {%d, %d}}",
        (int)batch, (int)heads, (int)kv_heads, (int)seq_len_q, (int)seq_len_kv, (int)head_dim,
        (int)head_dim_v, forward.scale, forward.softcap, (int)forward.is_causal, (int)forward.align,
        (int)forward.window_left, (int)forward.window_right, (int)values, wanted,
        (int)forward.masks[0].kind, (int)forward.masks[1].kind);

    attn_sdpa_backward_desc desc;
    attn_sdpa_backward_desc_init(&desc, &forward);
    desc.grad_out = tensor_strides(&grad_out), desc.grad_query = tensor_strides(&grad_query);
    desc.grad_key = tensor_strides(&grad_key), desc.grad_value = tensor_strides(&grad_value);
    const attn_sdpa_backward_f32_data data = {
        .query = tensor_f32(&query),
        .key = tensor_f32(&key),
        .value = tensor_f32(&value),
        .out = out.f32,
        .logsumexp = logsumexp.f32,
        .grad_out = tensor_f32(&grad_out),
        .grad_query = tensor_f32(&grad_query),
        .grad_key = tensor_f32(&grad_key),
        .grad_value = tensor_f32(&grad_value),
        .grad_masks = {tensor_f32(&masks[0].grad), tensor_f32(&masks[1].grad)},
    };
    attn_exec exec = {0};
    int32_t num_tasks = 0;
    const attn_status status =
        attn_sdpa_backward_f32_workspace(&desc, &data, NULL, &exec.workspace_bytes, &num_tasks);
    hold(status, must, fault(ATTN_ERR_SIZE, is_large), "attn_sdpa_backward_f32_workspace");
    if (status != ATTN_OK) {
        CHECK_STATUS(attn_sdpa_backward_f32(&desc, &data, &exec), status);
        for (int t = NUM_INPUTS; t < NUM_TENSORS; t++)
            CHECK(tensor_untouched(all[t]));
    } else if (!is_large && is_moderate((double)batch * heads * seq_len_q * (seq_len_kv + 1.0) *
                                        (head_dim + head_dim_v))) {
        attn_sdpa_desc forward64 = forward;
        for (int m = 0; m < 2; m++)
            mask_f64(&forward64.masks[m], &masks[m]);
        const attn_sdpa_f32_data f32 = {.query = data.query,
                                        .key = data.key,
                                        .value = data.value,
                                        .out = out.f32,
                                        .logsumexp = logsumexp.f32};
        const attn_sdpa_f64_data f64 = {.query = tensor_f64(&query),
                                        .key = tensor_f64(&key),
                                        .value = tensor_f64(&value),
                                        .out = out.f64,
                                        .logsumexp = logsumexp.f64};
        attn_exec run = {0};
        CHECK_STATUS(attn_sdpa_f32_workspace(&forward, &f32, NULL, &run.workspace_bytes, NULL),
                     ATTN_OK);
        run.workspace = workspace_alloc(run.workspace_bytes);
        CHECK_STATUS(attn_sdpa_f32(&forward, &f32, &run), ATTN_OK);
        free(run.workspace);
        CHECK_STATUS(attn_sdpa_f64_workspace(&forward64, &f64, &run.workspace_bytes, NULL),
                     ATTN_OK);
        run.workspace = workspace_alloc(run.workspace_bytes);
        CHECK_STATUS(attn_sdpa_f64(&forward64, &f64, &run), ATTN_OK);
        free(run.workspace);

        exec.workspace = workspace_alloc(exec.workspace_bytes);
        attn_exec spoiled = exec;
        const attn_status expected = spoil_exec(in, &spoiled, num_tasks);
        if (expected != ATTN_OK) {
            CHECK_STATUS(attn_sdpa_backward_f32(&desc, &data, &spoiled), expected);
            CHECK(tensor_untouched(&grad_query) && tensor_untouched(&grad_key) &&
                  tensor_untouched(&grad_value));
        }
        CHECK_STATUS(attn_sdpa_backward_f32(&desc, &data, &exec), ATTN_OK);
        CHECK(tensor_untouched(&query) && tensor_untouched(&key) && tensor_untouched(&value) &&
              tensor_untouched(&grad_out));
        free(exec.workspace);
        attn_sdpa_backward_desc desc64 = desc;
        desc64.forward = forward64;
        const attn_sdpa_backward_f64_data data64 = {
            .query = f64.query,
            .key = f64.key,
            .value = f64.value,
            .out = out.f64,
            .logsumexp = logsumexp.f64,
            .grad_out = tensor_f64(&grad_out),
            .grad_query = tensor_f64(&grad_query),
            .grad_key = tensor_f64(&grad_key),
            .grad_value = tensor_f64(&grad_value),
            .grad_masks = {tensor_f64(&masks[0].grad), tensor_f64(&masks[1].grad)},
        };
        CHECK_STATUS(attn_sdpa_backward_f64(&desc64, &data64, NULL), ATTN_OK);

        const double q = tensor_largest(&query), k = tensor_largest(&key),
                     v = tensor_largest(&value);
        const double g = tensor_largest(&grad_out), scale = fmax(fabs(forward.scale), 1.0);
        const double dims = head_dim + head_dim_v + 16.0;
        const double score = scale * q * k * head_dim + 4;
        const double off = expm1(4 * U * (dims + seq_len_kv) * score);
        const double grad_score = 2 * g * v * head_dim_v;
        /* All that may be added up in one place. */
        const double sums = (double)batch * heads * (seq_len_q + seq_len_kv);
        const double largest =
            sums * fmax(fmax(g, grad_score), grad_score * scale * fmax(1.0, fmax(q, k)));
        const double tolerance = off < 0.01 && largest < 0x1p90
                                     ? (4 * off + U * (sums + dims)) * largest + 0x1p-60
                                     : INFINITY;
        compare(&grad_query, tolerance, "grad_query");
        compare(&grad_key, tolerance, "grad_key");
        compare(&grad_value, tolerance, "grad_value");
        compare(&masks[0].grad, tolerance, "grad_masks[0]");
        compare(&masks[1].grad, tolerance, "grad_masks[1]");
    }
    for (int t = 0; t < NUM_TENSORS; t++)
        tensor_free(all[t]);
    free_mask(&masks[0]), free_mask(&masks[1]), free(lengths);
}

/* The layer, and its gradients */

enum {
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
    NUM_PARAMETERS
};

static void mha(input *in) {
    const uint8_t flags = take(in);
    rng r = {take(in)};
    const int32_t values = flags & 3 ? ORDINARY : take_below(in, NUM_VALUES);
    const int32_t batch = take_size(in, 3), kv_heads = take_size(in, 3), groups = take_size(in, 2);
    const int32_t heads =
        (int32_t)(uint32_t)((uint64_t)(int64_t)kv_heads * (uint64_t)(int64_t)groups);
    const int32_t head_dim = take_size(in, 6);
    int32_t embed_dim = (int32_t)(uint32_t)((uint64_t)(int64_t)heads * (uint64_t)(int64_t)head_dim);
    if (take(in) >= 250)
        embed_dim = take_size(in, 20);
    const int32_t seq_len_q = take_size(in, 9), seq_len_kv = take_size(in, 9);
    attn_mha_desc desc;
    attn_mha_desc_init(&desc, batch, heads, seq_len_q, seq_len_kv, embed_dim);
    desc.num_kv_heads = kv_heads;
    if (flags & 4)
        desc.kdim = take_size(in, 20), desc.vdim = take_size(in, 20);
    const options o = take_options(in, desc.scale);
    desc.scale = o.scale, desc.is_causal = o.is_causal, desc.align = o.align;
    desc.window_left = o.window_left, desc.window_right = o.window_right;
    desc.add_zero_attn = flags >> 3 & 1;
    desc.average_weights = flags >> 4 & 1;
    const int32_t real_head_dim = heads > 0 ? embed_dim / heads : 0;
    if (flags & 32)
        desc.rotary_dim = take(in) < 200 ? real_head_dim & ~1 : take_size(in, 6);
    desc.rotary_interleaved = flags >> 6 & 1;
    const bool has_bias_kv = flags & 128;
    faults must = o.must;
    must |= fault(ATTN_ERR_SHAPE, batch < 0 || heads < 1 || kv_heads < 1 || seq_len_q < 0 ||
                                      seq_len_kv < 0 || embed_dim < 1 || desc.kdim < 1 ||
                                      desc.vdim < 1 || desc.rotary_dim < 0 ||
                                      desc.rotary_dim % 2 != 0 || desc.rotary_dim > real_head_dim);
    must |= fault(ATTN_ERR_HEADS,
                  heads > 0 && kv_heads > 0 && (embed_dim % heads != 0 || heads % kv_heads != 0));
    const int32_t kv_dim =
        (int32_t)(uint32_t)((uint64_t)(int64_t)kv_heads * (uint64_t)(int64_t)real_head_dim);

    tensor query = take_tensor(in, batch, 1, seq_len_q, embed_dim);
    tensor key = take_tensor(in, batch, 1, seq_len_kv, desc.kdim);
    tensor value = take_tensor(in, batch, 1, seq_len_kv, desc.vdim);
    tensor out = take_tensor(in, batch, 1, seq_len_q, embed_dim);
    desc.query = tensor_strides(&query), desc.key = tensor_strides(&key);
    desc.value = tensor_strides(&value), desc.out = tensor_strides(&out);
    must |=
        tensor_faults(&query) | tensor_faults(&key) | tensor_faults(&value) | tensor_faults(&out);
    must |= fault(ATTN_ERR_OPTION, tensor_rows_overlap(&out));
    const uint8_t given = take(in);
    tensor parameters[NUM_PARAMETERS] = {
        contiguous_tensor(take_given(in), 1, 1, embed_dim, embed_dim),
        contiguous_tensor(take_given(in), 1, 1, kv_dim, desc.kdim),
        contiguous_tensor(take_given(in), 1, 1, kv_dim, desc.vdim),
        contiguous_tensor(take_given(in), 1, 1, embed_dim, embed_dim),
        contiguous_tensor(given & 1, 1, 1, 1, embed_dim),
        contiguous_tensor(given & 2, 1, 1, 1, kv_dim),
        contiguous_tensor(given & 4, 1, 1, 1, kv_dim),
        contiguous_tensor(given & 8, 1, 1, 1, embed_dim),
        contiguous_tensor(has_bias_kv, 1, 1, 1, kv_dim),
        contiguous_tensor(has_bias_kv != (take(in) > 250), 1, 1, 1, kv_dim),
    };
    must |= fault(ATTN_ERR_NULL, parameters[BIAS_K].is_given != parameters[BIAS_V].is_given);
    for (int p = 0; p < Q_BIAS; p++)
        must |= fault(ATTN_ERR_NULL, !parameters[p].is_given);
    const int32_t positions = seq_len_q > seq_len_kv ? seq_len_q : seq_len_kv;
    tensor cosine = contiguous_tensor(take_given(in), 1, 1, positions, desc.rotary_dim / 2);
    tensor sine = contiguous_tensor(take_given(in), 1, 1, positions, desc.rotary_dim / 2);
    if (desc.rotary_dim > 0 && batch > 0)
        must |= tensor_faults(&cosine) | tensor_faults(&sine);
    const int32_t keys =
        (int32_t)((uint32_t)seq_len_kv + (desc.add_zero_attn != 0) + parameters[BIAS_K].is_given);
    tensor weights =
        contiguous_tensor(given & 16, batch, desc.average_weights ? 1 : heads, seq_len_q, keys);

    tensor *inputs[] = {&query, &key, &value, &cosine, &sine};
    enum { NUM_INPUTS = sizeof inputs / sizeof *inputs };
    bool is_large = out.is_large || weights.is_large || weights.is_impossible;
    for (int t = 0; t < NUM_INPUTS; t++) {
        is_large |= inputs[t]->is_large;
        tensor_make(inputs[t], &r, t < 3 ? values : ORDINARY);
    }
    for (int p = 0; p < NUM_PARAMETERS; p++) {
        is_large |= parameters[p].is_large;
        tensor_make(&parameters[p], &r, ORDINARY);
    }
    tensor_alloc(&out), tensor_alloc(&weights);
    const int32_t sizes[4] = {batch, heads, seq_len_q, seq_len_kv};
    mask masks[2] = {{.flags = NULL}, {.flags = NULL}};
    for (int m = 0; m < 2; m++)
        take_mask(in, &r, sizes, &masks[m], &desc.masks[m], &is_large, &must);
    is_large |=
        (double)batch * (heads + 1.0) * ((double)seq_len_q + seq_len_kv) * (embed_dim + 1.0) > 1e9;
    check_case("mha {.batch = %d, .heads = %d / %d, .seq_len = {%d, %d}, .dims = {%d, %d, %d}, "
               ".scale = %.17g, .causal = %d, .align = %d, .window = {%d, %d}, .rotary_dim = %d, "
               ".flags = 0x%x, .given = 0x%x, .values = %d, .masks = {%d, %d}}",
               (int)batch, (int)heads, (int)kv_heads, (int)seq_len_q, (int)seq_len_kv,
               (int)embed_dim, (int)desc.kdim, (int)desc.vdim, desc.scale, (int)desc.is_causal,
               (int)desc.align, (int)desc.window_left, (int)desc.window_right, (int)desc.rotary_dim,
               flags, given, (int)values, (int)desc.masks[0].kind, (int)desc.masks[1].kind);

    const tensor *p = parameters;
    attn_mha_f32_data data = {tensor_f32(&query), tensor_f32(&key),     tensor_f32(&value),
                              tensor_f32(&p[0]),  tensor_f32(&p[1]),    tensor_f32(&p[2]),
                              tensor_f32(&p[3]),  tensor_f32(&p[4]),    tensor_f32(&p[5]),
                              tensor_f32(&p[6]),  tensor_f32(&p[7]),    tensor_f32(&p[8]),
                              tensor_f32(&p[9]),  tensor_f32(&cosine),  tensor_f32(&sine),
                              tensor_f32(&out),   tensor_f32(&weights), NULL};
    attn_exec exec = {0};
    attn_status status = attn_mha_f32_workspace(&desc, &data, NULL, &exec.workspace_bytes);
    hold(status, must, fault(ATTN_ERR_SIZE, is_large), "attn_mha_f32_workspace");
    const bool runs = status == ATTN_OK && !is_large &&
                      is_moderate((double)batch * ((double)seq_len_q + seq_len_kv) *
                                      (embed_dim + desc.kdim + desc.vdim) * (embed_dim + 1.0) / 4 +
                                  (double)batch * seq_len_q * keys * (embed_dim + 8.0));
    if (status != ATTN_OK) {
        CHECK_STATUS(attn_mha_f32(&desc, &data, &exec), status);
        CHECK(tensor_untouched(&out) && tensor_untouched(&weights));
    }
    attn_mha_desc desc64 = desc;
    for (int m = 0; m < 2; m++)
        mask_f64(&desc64.masks[m], &masks[m]);
    const attn_mha_f64_data data64 = {tensor_f64(&query), tensor_f64(&key),     tensor_f64(&value),
                                      tensor_f64(&p[0]),  tensor_f64(&p[1]),    tensor_f64(&p[2]),
                                      tensor_f64(&p[3]),  tensor_f64(&p[4]),    tensor_f64(&p[5]),
                                      tensor_f64(&p[6]),  tensor_f64(&p[7]),    tensor_f64(&p[8]),
                                      tensor_f64(&p[9]),  tensor_f64(&cosine),  tensor_f64(&sine),
                                      tensor_f64(&out),   tensor_f64(&weights), NULL};

    /* The largest that each step can make of these sizes and inputs. */
    const double x =
        fmax(tensor_largest(&query), fmax(tensor_largest(&key), tensor_largest(&value)));
    const double dims = fmax(embed_dim, fmax(desc.kdim, desc.vdim)) + 1.0;
    const double projected = (x + 1) * dims * 1.5, scale = fmax(fabs(desc.scale), 1.0);
    const double score = scale * projected * projected * (real_head_dim + 1.0) + 4;
    const double off = expm1(8 * U * (dims + keys + 16) * score);
    const double out_largest = projected * dims;

    if (runs) {
        exec.workspace = workspace_alloc(exec.workspace_bytes);
        size_t bytes = 0;
        if (given & 16)
            CHECK_STATUS(attn_mha_pack_f32(&desc, &data, NULL, &bytes), ATTN_OK);
        float *packed = workspace_alloc(bytes);
        if (bytes > 0) {
            CHECK_STATUS(attn_mha_pack_f32(&desc, &data, packed, &bytes), ATTN_OK);
            data.packed_weights = packed;
        }
        attn_exec spoiled = exec;
        const attn_status expected = spoil_exec(in, &spoiled, 1);
        if (expected != ATTN_OK) {
            CHECK_STATUS(attn_mha_f32(&desc, &data, &spoiled), expected);
            CHECK(tensor_untouched(&out) && tensor_untouched(&weights));
        }
        CHECK_STATUS(attn_mha_f32(&desc, &data, &exec), ATTN_OK);
        data.packed_weights = NULL;
        free(packed);
        free(exec.workspace);
        attn_exec exec64 = {0};
        CHECK_STATUS(attn_mha_f64_workspace(&desc64, &data64, &exec64.workspace_bytes), ATTN_OK);
        exec64.workspace = workspace_alloc(exec64.workspace_bytes);
        CHECK_STATUS(attn_mha_f64(&desc64, &data64, &exec64), ATTN_OK);
        free(exec64.workspace);
        tensor_gaps_untouched(&out, "out");
        if (off < 0.01 && out_largest < 0x1p90) {
            compare(&weights, 4 * off + 0x1p-90, "weights");
            compare(&out, (4 * off + U * 8 * (dims + keys)) * out_largest, "out");
        }
    }

    /* Gradients. */
    const uint8_t wanted = take(in), wanted_too = take(in);
    tensor grad_out = out;
    tensor_make(&grad_out, &r, values);
    tensor grads[3] = {query, key, value}, grad_parameters[NUM_PARAMETERS];
    faults must_back = must, may_back = fault(ATTN_ERR_SIZE, is_large);
    for (int t = 0; t < 3; t++) {
        grads[t].is_given = wanted >> t & 1;
        tensor_alloc(&grads[t]);
        /* Summed over the batch where its step is 0. */
        tensor rows = grads[t];
        rows.sizes[0] = rows.steps[0] == 0 && rows.sizes[0] > 1 ? 1 : rows.sizes[0];
        if (grads[t].is_given)
            must_back |= fault(ATTN_ERR_OPTION, tensor_rows_overlap(&rows));
    }
    for (int g = 0; g < NUM_PARAMETERS; g++) {
        grad_parameters[g] = parameters[g];
        grad_parameters[g].is_given =
            (wanted_too >> (g & 7) & 1) && (parameters[g].is_given || (wanted & 248) == 248);
        if (g >= Q_BIAS)
            must_back |=
                fault(ATTN_ERR_OPTION, grad_parameters[g].is_given && !parameters[g].is_given);
        tensor_alloc(&grad_parameters[g]);
    }
    const tensor *gp = grad_parameters;
    attn_mha_backward_f32_data back = {
        .forward = data,
        .grad_out = tensor_f32(&grad_out),
        .grad_query = tensor_f32(&grads[0]),
        .grad_key = tensor_f32(&grads[1]),
        .grad_value = tensor_f32(&grads[2]),
        .grad_q_weight = tensor_f32(&gp[0]),
        .grad_k_weight = tensor_f32(&gp[1]),
        .grad_v_weight = tensor_f32(&gp[2]),
        .grad_out_weight = tensor_f32(&gp[3]),
        .grad_q_bias = tensor_f32(&gp[4]),
        .grad_k_bias = tensor_f32(&gp[5]),
        .grad_v_bias = tensor_f32(&gp[6]),
        .grad_out_bias = tensor_f32(&gp[7]),
        .grad_bias_k = tensor_f32(&gp[8]),
        .grad_bias_v = tensor_f32(&gp[9]),
        .grad_masks = {tensor_f32(&masks[0].grad), tensor_f32(&masks[1].grad)},
    };
    exec = (attn_exec){0};
    status = attn_mha_backward_f32_workspace(&desc, &back, NULL, &exec.workspace_bytes);
    hold(status, must_back, may_back, "attn_mha_backward_f32_workspace");
    if (status != ATTN_OK) {
        CHECK_STATUS(attn_mha_backward_f32(&desc, &back, &exec), status);
        for (int t = 0; t < 3; t++)
            CHECK(tensor_untouched(&grads[t]));
        for (int g = 0; g < NUM_PARAMETERS; g++)
            CHECK(tensor_untouched(&grad_parameters[g]));
    } else if (runs) {
        exec.workspace = workspace_alloc(exec.workspace_bytes);
        CHECK_STATUS(attn_mha_backward_f32(&desc, &back, &exec), ATTN_OK);
        free(exec.workspace);
        attn_mha_backward_f64_data back64 = {
            .forward = data64,
            .grad_out = tensor_f64(&grad_out),
            .grad_query = tensor_f64(&grads[0]),
            .grad_key = tensor_f64(&grads[1]),
            .grad_value = tensor_f64(&grads[2]),
            .grad_q_weight = tensor_f64(&gp[0]),
            .grad_k_weight = tensor_f64(&gp[1]),
            .grad_v_weight = tensor_f64(&gp[2]),
            .grad_out_weight = tensor_f64(&gp[3]),
            .grad_q_bias = tensor_f64(&gp[4]),
            .grad_k_bias = tensor_f64(&gp[5]),
            .grad_v_bias = tensor_f64(&gp[6]),
            .grad_out_bias = tensor_f64(&gp[7]),
            .grad_bias_k = tensor_f64(&gp[8]),
            .grad_bias_v = tensor_f64(&gp[9]),
            .grad_masks = {tensor_f64(&masks[0].grad), tensor_f64(&masks[1].grad)},
        };
        attn_exec exec64 = {0};
        CHECK_STATUS(attn_mha_backward_f64_workspace(&desc64, &back64, &exec64.workspace_bytes),
                     ATTN_OK);
        exec64.workspace = workspace_alloc(exec64.workspace_bytes);
        CHECK_STATUS(attn_mha_backward_f64(&desc64, &back64, &exec64), ATTN_OK);
        free(exec64.workspace);
        const double g = (tensor_largest(&grad_out) + 1) * dims;
        const double grad_score = 2 * g * projected * (real_head_dim + 1.0);
        const double sums = (double)batch * (heads + 1.0) * ((double)seq_len_q + keys) + 1;
        const double largest = sums * grad_score * scale * projected * dims * (x + 1);
        const double tolerance =
            off < 0.01 && largest < 0x1p90 ? (4 * off + 8 * U * (sums + dims)) * largest : INFINITY;
        for (int t = 0; t < 3; t++)
            compare(&grads[t], tolerance, "gradient of an input");
        for (int t = 0; t < NUM_PARAMETERS; t++)
            compare(&grad_parameters[t], tolerance, "gradient of a parameter");
    }
    for (int t = 0; t < NUM_INPUTS; t++)
        tensor_free(inputs[t]);
    for (int t = 0; t < NUM_PARAMETERS; t++)
        tensor_free(&parameters[t]), tensor_free(&grad_parameters[t]);
    for (int t = 0; t < 3; t++)
        tensor_free(&grads[t]);
    tensor_free(&out), tensor_free(&weights), tensor_free(&grad_out);
    free_mask(&masks[0]), free_mask(&masks[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    if (take(&in) & 1)
        sdpa_backward(&in);
    else
        mha(&in);
    return fuzz_end();
}
