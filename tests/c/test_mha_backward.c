/* Gradients of the multi-head layer. Float64 is checked against differences of the float64 layer
 * and against a textbook loop; float32 against float64. The textbook loop in float32 makes an
 * error, too: the fast path may make twice that, plus the floor: what one rounding of every term
 * costs, in each of the steps on the way. Errors are compared in units of the floor, by their
 * maximum over a tensor. */
#include "check.h"
#include "sdpa_common.h"

#define real double
#define FN(x) naive_##x##_f64
#include "naive_mha_backward.h"
#undef real
#undef FN
#define real float
#define FN(x) naive_##x##_f32
#include "naive_mha_backward.h"
#undef real
#undef FN

static const char *const NAMES[NUM_TENSORS] = {
    "query",  "key",    "value",    "q_weight", "k_weight", "v_weight", "out_weight", "q_bias",
    "k_bias", "v_bias", "out_bias", "bias_k",   "bias_v",   "masks[0]", "masks[1]"};

enum { FILL = 0x5A };

enum layout {
    BATCH_FIRST,
    SEQ_FIRST,
    PADDED,
    ONE_BATCH, /* stride 0 over the batch: not grad_out */
    NUM_LAYOUTS,
};

enum { MASK_ONE_BATCH = 4, MASK_ONE_HEAD = 8, MASK_ONE_QUERY = 16, MASK_ONE_KEY = 32 };

typedef struct mha_case {
    uint64_t seed;
    int32_t batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim, kdim, vdim;
    int32_t layouts[4]; /* query, key, value, grad_out */
    int32_t self;       /* 1: query, key and value are one tensor; 2: key and value are */
    int32_t is_causal, align, window_left, window_right;
    int32_t masks[2]; /* kind, and over what it is broadcast */
    int32_t bias, bias_kv, zero_attn, rotary_dim, interleaved;
} mha_case;

static void describe(const mha_case *c) {
    check_case(
        "{.seed = %" PRIu64
        ", .batch = %d, .num_heads = %d, .num_kv_heads = %d, .seq_len_q = %d, .seq_len_kv = %d, "
        ".head_dim = %d, .kdim = %d, .vdim = %d, .layouts = {%d, %d, %d, %d}, .self = %d, "
        ".is_causal = %d, .align = %d, .window_left = %d, .window_right = %d, .masks = {%d, "
        "%d}, .bias = %d, .bias_kv = %d, .zero_attn = %d, .rotary_dim = %d, .interleaved = %d},",
        c->seed, (int)c->batch, (int)c->num_heads, (int)c->num_kv_heads, (int)c->seq_len_q,
        (int)c->seq_len_kv, (int)c->head_dim, (int)c->kdim, (int)c->vdim, (int)c->layouts[0],
        (int)c->layouts[1], (int)c->layouts[2], (int)c->layouts[3], (int)c->self, (int)c->is_causal,
        (int)c->align, (int)c->window_left, (int)c->window_right, (int)c->masks[0],
        (int)c->masks[1], (int)c->bias, (int)c->bias_kv, (int)c->zero_attn, (int)c->rotary_dim,
        (int)c->interleaved);
}

/* The same numbers twice over four axes, and a gradient of each, laid out alike. */
typedef struct tensor {
    guarded f32, f64, grad32, grad64;
    size_t count; /* elements of the buffers; 0: not there */
    int32_t sizes[4];
    ptrdiff_t strides[4];
} tensor;

static size_t num_elements(const tensor *t) {
    return (size_t)t->sizes[0] * (size_t)t->sizes[1] * (size_t)t->sizes[2] * (size_t)t->sizes[3];
}

/* Where element e in the order of the axes lies. */
static size_t place(const tensor *t, size_t e) {
    ptrdiff_t at = 0;
    for (int axis = 3; axis >= 0; axis--) {
        at += (ptrdiff_t)(e % (size_t)t->sizes[axis]) * t->strides[axis];
        e /= (size_t)t->sizes[axis];
    }
    return (size_t)at;
}

static void set(tensor *t, size_t at, double value) {
    ((float *)t->f32.data)[at] = (float)value;
    ((double *)t->f64.data)[at] = (double)((float *)t->f32.data)[at];
}

static tensor tensor_alloc(size_t count, const int32_t sizes[4], const ptrdiff_t strides[4],
                           double factor, rng *r) {
    tensor t = {.count = count};
    memcpy(t.sizes, sizes, sizeof t.sizes);
    memcpy(t.strides, strides, sizeof t.strides);
    t.f32 = guarded_alloc(count * sizeof(float), 0),
    t.f64 = guarded_alloc(count * sizeof(double), 0);
    t.grad32 = guarded_alloc(count * sizeof(float), FILL);
    t.grad64 = guarded_alloc(count * sizeof(double), FILL);
    for (size_t e = 0; e < count; e++)
        set(&t, e, factor * rng_unit(r));
    return t;
}

static tensor rows_alloc(int32_t batch, int32_t seq_len, int32_t dim, int32_t layout, rng *r) {
    const ptrdiff_t pad = layout == PADDED ? 3 : 0, row = dim + pad;
    const int32_t sizes[4] = {batch, 1, seq_len, dim};
    const ptrdiff_t batch_first[4] = {layout == ONE_BATCH ? 0 : seq_len * row + pad, 0, row, 1};
    const ptrdiff_t seq_first[4] = {dim, 0, (ptrdiff_t)batch * dim, 1};
    return tensor_alloc((size_t)(batch * (seq_len * row + pad)), sizes,
                        layout == SEQ_FIRST ? seq_first : batch_first, 1.0, r);
}

static tensor parameter_alloc(int32_t rows, int32_t columns, rng *r) {
    const int32_t sizes[4] = {1, 1, rows, columns};
    const ptrdiff_t strides[4] = {0, 0, columns, 1};
    return tensor_alloc((size_t)rows * (size_t)columns, sizes, strides, 1.5 / sqrt(columns), r);
}

typedef struct call {
    tensor in[NUM_TENSORS], grad_out, rotary[2];
    int owner[NUM_TENSORS]; /* the tensor that this one is, too */
    guarded bool_masks[2];
    attn_mha_desc desc;
} call;

static void mask_build(call *c, const mha_case *k, int m, rng *r) {
    const int32_t bits = k->masks[m];
    attn_mask *mask = &c->desc.masks[m];
    mask->kind = bits & 3;
    if (mask->kind == ATTN_MASK_NONE)
        return;
    const int32_t sizes[4] = {k->batch, k->num_heads, k->seq_len_q, k->seq_len_kv};
    const ptrdiff_t keys = k->seq_len_kv, area = k->seq_len_q * keys;
    const ptrdiff_t strides[4] = {bits & MASK_ONE_BATCH ? 0 : k->num_heads * area,
                                  bits & MASK_ONE_HEAD ? 0 : area, bits & MASK_ONE_QUERY ? 0 : keys,
                                  bits & MASK_ONE_KEY ? 0 : 1};
    mask->batch = strides[0], mask->head = strides[1];
    mask->query = strides[2], mask->key = strides[3];
    const size_t count = (size_t)(k->batch * k->num_heads * area);
    tensor t = tensor_alloc(count, sizes, strides, 2.0, r);
    c->bool_masks[m] = guarded_alloc(count, 0);
    bool removed = false;
    for (size_t e = 0; e < count; e++) {
        if (e % (size_t)keys == 0)
            removed = rng_once_in(r, 8);
        const bool hidden = removed || rng_once_in(r, 5);
        ((uint8_t *)c->bool_masks[m].data)[e] = !hidden;
        if (mask->kind == ATTN_MASK_BOOL)
            set(&t, e, hidden ? -INFINITY : 0.0);
        else if (hidden)
            set(&t, e, -INFINITY);
    }
    c->in[N_MASK0 + m] = t;
}

static void call_build(call *c, const mha_case *k, uint64_t seed) {
    rng r = {seed};
    memset(c, 0, sizeof *c);
    const int32_t E = k->head_dim * k->num_heads, kv_dim = k->head_dim * k->num_kv_heads;
    attn_mha_desc_init(&c->desc, k->batch, k->num_heads, k->seq_len_q, k->seq_len_kv, E);
    c->desc.num_kv_heads = k->num_kv_heads, c->desc.kdim = k->kdim, c->desc.vdim = k->vdim;
    c->desc.is_causal = k->is_causal, c->desc.align = k->align;
    c->desc.window_left = k->window_left, c->desc.window_right = k->window_right;
    c->desc.add_zero_attn = k->zero_attn;
    c->desc.rotary_dim = k->rotary_dim, c->desc.rotary_interleaved = k->interleaved;

    for (int t = 0; t < NUM_TENSORS; t++)
        c->owner[t] = t;
    const int32_t dims[3] = {E, k->kdim, k->vdim};
    for (int t = N_QUERY; t <= N_VALUE; t++) {
        c->owner[t] = k->self == 1 ? N_QUERY : k->self == 2 && t == N_VALUE ? N_KEY : t;
        if (c->owner[t] == t)
            c->in[t] = rows_alloc(k->batch, t == N_QUERY ? k->seq_len_q : k->seq_len_kv, dims[t],
                                  k->layouts[t], &r);
    }
    c->grad_out = rows_alloc(k->batch, k->seq_len_q, E, k->layouts[3], &r);
    attn_strides *strides[4] = {&c->desc.query, &c->desc.key, &c->desc.value, &c->desc.out};
    for (int t = 0; t < 4; t++) {
        const tensor *of = t < 3 ? &c->in[c->owner[t]] : &c->grad_out;
        *strides[t] = (attn_strides){of->strides[0], 0, of->strides[2]};
    }
    c->in[N_Q_WEIGHT] = parameter_alloc(E, E, &r);
    c->in[N_K_WEIGHT] = parameter_alloc(kv_dim, k->kdim, &r);
    c->in[N_V_WEIGHT] = parameter_alloc(kv_dim, k->vdim, &r);
    c->in[N_OUT_WEIGHT] = parameter_alloc(E, E, &r);
    if (k->bias) {
        c->in[N_Q_BIAS] = parameter_alloc(1, E, &r),
        c->in[N_K_BIAS] = parameter_alloc(1, kv_dim, &r);
        c->in[N_V_BIAS] = parameter_alloc(1, kv_dim, &r),
        c->in[N_OUT_BIAS] = parameter_alloc(1, E, &r);
    }
    if (k->bias_kv)
        c->in[N_BIAS_K] = parameter_alloc(1, kv_dim, &r),
        c->in[N_BIAS_V] = parameter_alloc(1, kv_dim, &r);
    const int32_t longest = k->seq_len_q > k->seq_len_kv ? k->seq_len_q : k->seq_len_kv;
    for (int t = 0; t < 2 && k->rotary_dim; t++)
        c->rotary[t] = parameter_alloc(longest, k->rotary_dim / 2, &r);
    for (int m = 0; m < 2; m++)
        mask_build(c, k, m, &r);
}

static void tensor_free(tensor *t) {
    guarded_free(&t->f32), guarded_free(&t->f64), guarded_free(&t->grad32),
        guarded_free(&t->grad64);
}

static void call_free(call *c) {
    for (int t = 0; t < NUM_TENSORS; t++)
        tensor_free(&c->in[t]);
    tensor_free(&c->grad_out), tensor_free(&c->rotary[0]), tensor_free(&c->rotary[1]);
    guarded_free(&c->bool_masks[0]), guarded_free(&c->bool_masks[1]);
}

/* DATA(f32) defines forward_data_f32 and backward_data_f32. Gradients of the tensors in `unwanted`
 * are NULL. */
#define DATA(type, element)                                                                        \
    static attn_mha_##type##_data forward_data_##type(const call *c) {                             \
        const element *at[NUM_TENSORS];                                                            \
        for (int t = 0; t < NUM_TENSORS; t++)                                                      \
            at[t] = c->in[c->owner[t]].type.data;                                                  \
        return (attn_mha_##type##_data){at[N_QUERY],                                               \
                                        at[N_KEY],                                                 \
                                        at[N_VALUE],                                               \
                                        at[N_Q_WEIGHT],                                            \
                                        at[N_K_WEIGHT],                                            \
                                        at[N_V_WEIGHT],                                            \
                                        at[N_OUT_WEIGHT],                                          \
                                        at[N_Q_BIAS],                                              \
                                        at[N_K_BIAS],                                              \
                                        at[N_V_BIAS],                                              \
                                        at[N_OUT_BIAS],                                            \
                                        at[N_BIAS_K],                                              \
                                        at[N_BIAS_V],                                              \
                                        c->rotary[0].type.data,                                    \
                                        c->rotary[1].type.data,                                    \
                                        NULL,                                                      \
                                        NULL,                                                      \
                                        NULL};                                                     \
    }                                                                                              \
    static attn_mha_backward_##type##_data backward_data_##type(const call *c, int32_t unwanted) { \
        element *to[NUM_TENSORS];                                                                  \
        for (int t = 0; t < NUM_TENSORS; t++) {                                                    \
            const tensor *of = &c->in[c->owner[t]];                                                \
            to[t] = unwanted & 1 << t      ? NULL                                                  \
                    : sizeof(element) == 4 ? of->grad32.data                                       \
                                           : of->grad64.data;                                      \
        }                                                                                          \
        for (int m = 0; m < 2; m++)                                                                \
            if (c->desc.masks[m].kind == ATTN_MASK_BOOL)                                           \
                to[N_MASK0 + m] = NULL;                                                            \
        return (attn_mha_backward_##type##_data){forward_data_##type(c),                           \
                                                 c->grad_out.type.data,                            \
                                                 to[N_QUERY],                                      \
                                                 to[N_KEY],                                        \
                                                 to[N_VALUE],                                      \
                                                 to[N_Q_WEIGHT],                                   \
                                                 to[N_K_WEIGHT],                                   \
                                                 to[N_V_WEIGHT],                                   \
                                                 to[N_OUT_WEIGHT],                                 \
                                                 to[N_Q_BIAS],                                     \
                                                 to[N_K_BIAS],                                     \
                                                 to[N_V_BIAS],                                     \
                                                 to[N_OUT_BIAS],                                   \
                                                 to[N_BIAS_K],                                     \
                                                 to[N_BIAS_V],                                     \
                                                 {to[N_MASK0], to[N_MASK1]}};                      \
    }
DATA(f32, float)
DATA(f64, double)

static attn_mha_desc desc_of(const call *c, bool is_f32) {
    attn_mha_desc desc = c->desc;
    for (int m = 0; m < 2; m++) {
        const tensor *t = &c->in[N_MASK0 + m];
        desc.masks[m].data = desc.masks[m].kind == ATTN_MASK_BOOL ? c->bool_masks[m].data
                             : is_f32                             ? t->f32.data
                                                                  : t->f64.data;
    }
    return desc;
}

static double loss(const call *c, double *out) {
    attn_mha_f64_data data = forward_data_f64(c);
    data.out = out;
    const attn_mha_desc desc = desc_of(c, false);
    attn_exec exec = {0};
    CHECK_STATUS(attn_mha_f64_workspace(&desc, &data, &exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_f64(&desc, &data, &exec), ATTN_OK);
    guarded_free(&workspace);
    double sum = 0.0;
    for (size_t e = 0; e < num_elements(&c->grad_out); e++)
        sum += ((const double *)c->grad_out.f64.data)[place(&c->grad_out, e)] *
               out[place(&c->grad_out, e)];
    return sum;
}

static void backward_f64(const call *c) {
    const attn_mha_backward_f64_data data = backward_data_f64(c, 0);
    const attn_mha_desc desc = desc_of(c, false);
    attn_exec exec = {0};
    CHECK_STATUS(attn_mha_backward_f64_workspace(&desc, &data, &exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_backward_f64(&desc, &data, &exec), ATTN_OK);
    CHECK(guarded_intact(&workspace));
    guarded_free(&workspace);
}

/* The weights of some calls are packed beforehand. */
static void backward_f32(const call *c, int32_t unwanted, attn_threads *threads) {
    attn_mha_backward_f32_data data = backward_data_f32(c, unwanted);
    const attn_mha_desc desc = desc_of(c, true);
    attn_mha_f32_data forward = data.forward;
    forward.out = (float *)data.grad_out;
    size_t bytes = 0;
    if (desc.seq_len_kv % 2 != 0)
        CHECK_STATUS(attn_mha_pack_f32(&desc, &forward, NULL, &bytes), ATTN_OK);
    guarded packed = guarded_alloc(bytes, 0xFF);
    if (bytes > 0) {
        CHECK_STATUS(attn_mha_pack_f32(&desc, &forward, packed.data, &bytes), ATTN_OK);
        data.forward.packed_weights = packed.data;
    }
    attn_exec exec = {.threads = threads};
    CHECK_STATUS(attn_mha_backward_f32_workspace(&desc, &data, threads, &exec.workspace_bytes),
                 ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_backward_f32(&desc, &data, &exec), ATTN_OK);
    CHECK(guarded_intact(&workspace) && guarded_intact(&packed));
    guarded_free(&workspace), guarded_free(&packed);
}

/* The naive gradients, summed where tensors are broadcast or one: expected[t] is laid out like
 * tensor t. */
static void expect(const call *c, const mha_case *k, bool is_f32, bool absolute,
                   double *expected[NUM_TENSORS]) {
    naive_problem p = {
        .batch = k->batch,
        .num_heads = k->num_heads,
        .num_kv_heads = k->num_kv_heads,
        .seq_len_q = k->seq_len_q,
        .seq_len_kv = k->seq_len_kv,
        .embed_dim = k->head_dim * k->num_heads,
        .kdim = k->kdim,
        .vdim = k->vdim,
        .scale = c->desc.scale,
        .add_zero_attn = k->zero_attn != 0,
        .absolute = absolute,
        .rotary_dim = k->rotary_dim,
        .rotary_interleaved = k->interleaved,
        .rotary_cos = c->rotary[0].f64.data,
        .rotary_sin = c->rotary[1].f64.data,
    };
    double *in[NUM_TENSORS] = {0}, *limits = NULL;
    for (int t = 0; t < NUM_TENSORS; t++) {
        const tensor *of = &c->in[c->owner[t]];
        expected[t] = calloc(of->count + 1, sizeof(double));
        if (!of->count)
            continue;
        const size_t count = num_elements(of);
        in[t] = malloc((count + 1) * sizeof(double));
        p.grad[t] = calloc(count + 1, sizeof(double));
        for (size_t e = 0; e < count; e++)
            in[t][e] = ((const double *)of->f64.data)[place(of, e)];
        p.in[t] = in[t];
    }
    double *grad_out = malloc((num_elements(&c->grad_out) + 1) * sizeof(double));
    for (size_t e = 0; e < num_elements(&c->grad_out); e++)
        grad_out[e] = ((const double *)c->grad_out.f64.data)[place(&c->grad_out, e)];
    p.grad_out = grad_out;

    /* The limits as part of the first mask. */
    const size_t pairs = (size_t)k->seq_len_q * (size_t)k->seq_len_kv;
    const size_t heads = (size_t)k->batch * (size_t)k->num_heads;
    limits = calloc(heads * pairs + 1, sizeof(double));
    attn_sdpa_desc visible;
    attn_sdpa_desc_init(&visible, 1, 1, 1, k->seq_len_q, k->seq_len_kv, 1, 1);
    visible.is_causal = k->is_causal, visible.align = k->align;
    visible.window_left = k->window_left, visible.window_right = k->window_right;
    for (size_t e = 0; e < heads * pairs; e++) {
        int32_t lo, hi;
        sdpa_visible(&visible, 0, (int32_t)(e % pairs) / k->seq_len_kv, &lo, &hi);
        const int32_t j = (int32_t)(e % (size_t)k->seq_len_kv);
        limits[e] =
            (p.in[N_MASK0] ? p.in[N_MASK0][e] : 0.0) + (j >= lo && j < hi ? 0.0 : -INFINITY);
    }
    p.in[N_MASK0] = limits;
    if (is_f32)
        naive_mha_backward_f32(&p);
    else
        naive_mha_backward_f64(&p);
    for (int t = 0; t < NUM_TENSORS; t++) {
        const tensor *of = &c->in[c->owner[t]];
        for (size_t e = 0; e < (of->count ? num_elements(of) : 0); e++)
            expected[c->owner[t]][place(of, e)] += p.grad[t][e];
        free(in[t]), free(p.grad[t]);
    }
    free(limits), free(grad_out);
}

static bool *covered_by(const tensor *t) {
    bool *covered = calloc(t->count + 1, sizeof *covered);
    for (size_t e = 0; e < (t->count ? num_elements(t) : 0); e++)
        covered[place(t, e)] = true;
    return covered;
}

static bool has_gradient(const call *c, int t) {
    return c->owner[t] == t && c->in[t].count &&
           !(t >= N_MASK0 && c->desc.masks[t - N_MASK0].kind == ATTN_MASK_BOOL);
}

static int32_t random_mask(rng *r) {
    int32_t mask = rng_int(r, ATTN_MASK_NONE, ATTN_MASK_ADD);
    for (int32_t bit = MASK_ONE_BATCH; bit <= MASK_ONE_KEY; bit *= 2)
        if (rng_once_in(r, bit <= MASK_ONE_HEAD ? 2 : 4))
            mask |= bit;
    return mask;
}

static void random_options(mha_case *k, rng *r) {
    for (int t = 0; t < 4; t++)
        k->layouts[t] = rng_int(r, 0, t == 3 ? PADDED : ONE_BATCH);
    k->kdim = k->vdim = k->head_dim * k->num_heads;
    if (rng_once_in(r, 4)) {
        k->self = 1;
        k->seq_len_kv = k->seq_len_q;
    } else if (rng_once_in(r, 2)) {
        k->kdim = rng_int(r, 1, 2 * k->kdim), k->vdim = rng_int(r, 1, 2 * k->vdim);
    } else if (rng_once_in(r, 2)) {
        k->self = 2;
    }
    k->is_causal = rng_once_in(r, 3);
    k->align = rng_int(r, ATTN_ALIGN_TOP_LEFT, ATTN_ALIGN_BOTTOM_RIGHT);
    k->window_left = rng_once_in(r, 3) ? rng_int(r, 0, k->seq_len_kv) : -1;
    k->window_right = rng_once_in(r, 3) ? rng_int(r, 0, k->seq_len_kv) : -1;
    for (int m = 0; m < 2; m++)
        k->masks[m] = rng_once_in(r, 3) ? random_mask(r) : ATTN_MASK_NONE;
    k->bias = !rng_once_in(r, 4), k->bias_kv = rng_once_in(r, 3), k->zero_attn = rng_once_in(r, 3);
    if (k->head_dim >= 2 && rng_once_in(r, 3))
        k->rotary_dim = 2 * rng_int(r, 1, k->head_dim / 2);
    k->interleaved = rng_int(r, 0, 1);
}

TEST(float64_is_the_slope_of_the_forward_call) {
    enum { CASES = 80 };
    int32_t compared = 0;
    for (uint64_t n = 0; n < CASES; n++) {
        rng r = {n * UINT64_C(0x7654321)};
        mha_case k = {.seed = rng_next(&r)};
        k.batch = rng_int(&r, 1, 2);
        k.num_kv_heads = rng_int(&r, 1, 2);
        k.num_heads = k.num_kv_heads * rng_int(&r, 1, 2);
        k.seq_len_q = rng_int(&r, 1, 3), k.seq_len_kv = rng_int(&r, 1, 4);
        k.head_dim = rng_int(&r, 1, 3);
        random_options(&k, &r);
        describe(&k);
        call c;
        call_build(&c, &k, k.seed);
        backward_f64(&c);
        double *expected[NUM_TENSORS];
        expect(&c, &k, false, false, expected);
        double *out = malloc(c.grad_out.count * sizeof *out);
        for (int t = 0; t < NUM_TENSORS; t++) {
            bool *covered = covered_by(&c.in[t]);
            for (size_t e = 0; e < c.in[t].count && has_gradient(&c, t); e++) {
                const double gradient = ((const double *)c.in[t].grad64.data)[e];
                if (!covered[e]) {
                    unsigned char fill[sizeof gradient];
                    memset(fill, FILL, sizeof fill);
                    CHECK(memcmp(&gradient, fill, sizeof fill) == 0);
                    continue;
                }
                double *element = (double *)c.in[t].f64.data + e;
                const double h = 0x1p-9, at = *element;
                double f[5] = {0}, slope = 0.0;
                if (at != -INFINITY) {
                    for (int p = -2; p <= 2; p++) {
                        *element = at + p * h;
                        f[p + 2] = p == 0 ? 0.0 : loss(&c, out);
                    }
                    *element = at;
                    slope = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * h);
                }
                check_that(fabs(gradient - slope) <= 1e-8 * (1 + fabs(slope)), __FILE__, __LINE__,
                           "the gradient of %s[%zu] is %.17g, not %.17g", NAMES[t], e, gradient,
                           slope);
                check_that(fabs(gradient - expected[t][e]) <= 1e-12 * (1 + fabs(gradient)),
                           __FILE__, __LINE__,
                           "the gradient of %s[%zu] is %.17g, by the loop %.17g", NAMES[t], e,
                           gradient, expected[t][e]);
                compared += slope != 0.0;
            }
            CHECK(!c.in[t].count || guarded_intact(&c.in[t].grad64));
            free(covered), free(expected[t]);
        }
        free(out);
        call_free(&c);
    }
    CHECK(compared > 5000);
}

static double worst; /* share of what is allowed */

/* From input to gradient: projection, score, weight, head, gradient of the weight, of the score, of
 * the projection, of the input or parameter. */
enum { STEPS = 8 };

static void run_case(const mha_case *k) {
    describe(k);
    call c;
    call_build(&c, k, k->seed);
    backward_f64(&c);
    backward_f32(&c, 0, NULL);
    double *naive[NUM_TENSORS], *terms[NUM_TENSORS];
    expect(&c, k, true, false, naive);
    expect(&c, k, false, true, terms);
    for (int t = 0; t < NUM_TENSORS; t++) {
        if (has_gradient(&c, t)) {
            bool *covered = covered_by(&c.in[t]);
            double fast_error = 0.0, naive_error = 0.0;
            for (size_t e = 0; e < c.in[t].count; e++) {
                if (!covered[e])
                    continue;
                const double exact = ((const double *)c.in[t].grad64.data)[e];
                const double fast = (double)((const float *)c.in[t].grad32.data)[e];
                check_that(isfinite(exact) && isfinite(fast), __FILE__, __LINE__,
                           "the gradient of %s[%zu] is %.9g, not %.9g", NAMES[t], e, fast, exact);
                const double floor = STEPS * 0x1p-24 * terms[t][e] + 0x1p-126;
                fast_error = fmax(fast_error, fabs(fast - exact) / floor);
                naive_error = fmax(naive_error, fabs(naive[t][e] - exact) / floor);
            }
            worst = fmax(worst, fast_error / (2 * naive_error + 1));
            check_that(fast_error <= 2 * naive_error + 1, __FILE__, __LINE__,
                       "the gradient of %s: error %.3g, naive loop %.3g (in units of the floor)",
                       NAMES[t], fast_error, naive_error);
            CHECK(guarded_intact(&c.in[t].grad32));
            free(covered);
        }
        free(naive[t]), free(terms[t]);
    }
    call_free(&c);
}

TEST(float32_agrees_with_float64) {
    enum { CASES = 150 };
    static const int32_t lengths[] = {1, 2, 5, 7, 8, 9, 16, 17, 59, 60, 61, 65, 70};
    enum { LENGTHS = sizeof lengths / sizeof *lengths };
    for (uint32_t n = 0; n < CASES; n++) {
        rng r = {n * UINT64_C(0x1357911)};
        mha_case k = {.seed = rng_next(&r)};
        k.batch = rng_int(&r, 1, 3);
        k.num_kv_heads = rng_int(&r, 1, 3);
        k.num_heads = k.num_kv_heads * rng_int(&r, 1, 2);
        k.seq_len_q = lengths[n % LENGTHS], k.seq_len_kv = lengths[rng_int(&r, 0, LENGTHS - 1)];
        k.head_dim = rng_int(&r, 1, 20);
        random_options(&k, &r);
        run_case(&k);
    }
}

TEST(threads_and_what_else_is_wanted_change_no_bit) {
    attn_threads *pool = NULL; /* as it stays in builds without threads */
    if (attn_threads_create(3, &pool) != ATTN_OK)
        pool = NULL;
    mha_case k = {.seed = 5,
                  .batch = 2,
                  .num_heads = 4,
                  .num_kv_heads = 2,
                  .seq_len_q = 240,
                  .seq_len_kv = 230,
                  .head_dim = 36,
                  .kdim = 150,
                  .vdim = 140,
                  .is_causal = 1,
                  .window_left = -1,
                  .window_right = -1,
                  .masks = {ATTN_MASK_ADD | MASK_ONE_BATCH, 0},
                  .bias = 1,
                  .bias_kv = 1,
                  .zero_attn = 1,
                  .rotary_dim = 8};
    describe(&k);
    call c;
    call_build(&c, &k, k.seed);
    backward_f32(&c, 0, NULL);
    guarded before[NUM_TENSORS];
    for (int t = 0; t < NUM_TENSORS; t++) {
        before[t] = guarded_alloc(c.in[t].count * sizeof(float), 0);
        if (c.in[t].count)
            memcpy(before[t].data, c.in[t].grad32.data, before[t].bytes);
    }
    for (int t = -1; t < NUM_TENSORS; t++) {
        /* All of them, and then only some: the others keep what they had. */
        backward_f32(&c, t < 0 ? 0 : 1 << t | 0x2aaa, pool);
        for (int g = 0; g < NUM_TENSORS; g++)
            if (c.in[g].count)
                check_that(memcmp(before[g].data, c.in[g].grad32.data, before[g].bytes) == 0,
                           __FILE__, __LINE__, "the gradient of %s differs", NAMES[g]);
    }
    for (int t = 0; t < NUM_TENSORS; t++)
        guarded_free(&before[t]);
    call_free(&c);
    attn_threads_destroy(pool);
}

TEST(no_query_and_no_key_give_gradients_of_zero) {
    for (int32_t empty = 0; empty < 3; empty++) {
        const mha_case k = {.seed = 1,
                            .batch = empty == 2 ? 0 : 2,
                            .num_heads = 2,
                            .num_kv_heads = 2,
                            .seq_len_q = empty == 0 ? 0 : 3,
                            .seq_len_kv = empty == 1 ? 0 : 4,
                            .head_dim = 2,
                            .kdim = 4,
                            .vdim = 4,
                            .window_left = -1,
                            .window_right = -1,
                            .bias = 1};
        describe(&k);
        call c;
        call_build(&c, &k, k.seed);
        backward_f32(&c, 0, NULL);
        backward_f64(&c);
        for (int t = 0; t < NUM_TENSORS; t++) {
            /* Without a key, out is its bias, whatever else there is. */
            if (!c.in[t].count || (empty == 1 && t == N_OUT_BIAS))
                continue;
            for (size_t e = 0; e < c.in[t].count; e++)
                check_that(((const float *)c.in[t].grad32.data)[e] == 0 &&
                               ((const double *)c.in[t].grad64.data)[e] == 0,
                           __FILE__, __LINE__, "the gradient of %s[%zu] is not 0", NAMES[t], e);
        }
        call_free(&c);
    }
}

TEST(a_row_whose_last_key_is_infinitely_far_adds_nothing) {
    /* The one key is masked; bias_k gives the score -inf. Nothing is left for the softmax. */
    const double one = 1, far = -INFINITY;
    const uint8_t hidden = 0;
    double grads[11];
    for (int g = 0; g < 11; g++)
        grads[g] = 7;
    const attn_mha_backward_f64_data data = {
        .forward = {.query = &one,
                    .key = &one,
                    .value = &one,
                    .q_weight = &one,
                    .k_weight = &one,
                    .v_weight = &one,
                    .out_weight = &one,
                    .bias_k = &far,
                    .bias_v = &one},
        .grad_out = &one,
        .grad_query = grads,
        .grad_key = grads + 1,
        .grad_value = grads + 2,
        .grad_q_weight = grads + 3,
        .grad_k_weight = grads + 4,
        .grad_v_weight = grads + 5,
        .grad_out_weight = grads + 6,
        .grad_bias_k = grads + 7,
        .grad_bias_v = grads + 8,
    };
    attn_mha_desc desc;
    attn_mha_desc_init(&desc, 1, 1, 1, 1, 1);
    desc.masks[0] = (attn_mask){.data = &hidden, .kind = ATTN_MASK_BOOL};
    attn_exec exec = {0};
    CHECK_STATUS(attn_mha_backward_f64_workspace(&desc, &data, &exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_backward_f64(&desc, &data, &exec), ATTN_OK);
    guarded_free(&workspace);
    for (int g = 0; g < 11; g++)
        CHECK_EXACT(grads[g], g < 9 ? 0.0 : 7.0);
}

/* What is refused */

typedef struct refused_call {
    attn_mha_desc desc;
    attn_mha_backward_f32_data data;
    attn_exec exec;
} refused_call;

#define SPOIL(name, statement)                                                                     \
    static void name(refused_call *c) {                                                            \
        statement;                                                                                 \
    }
SPOIL(no_query, c->data.forward.query = NULL)
SPOIL(no_out_weight, c->data.forward.out_weight = NULL)
SPOIL(bias_k_alone, c->data.forward.bias_v = NULL)
SPOIL(no_grad_out, c->data.grad_out = NULL)
SPOIL(no_heads, c->desc.num_heads = 0)
SPOIL(not_divisible, c->desc.embed_dim = 9)
SPOIL(undefined_align, c->desc.align = 5)
SPOIL(nan_scale, c->desc.scale = NAN)
SPOIL(out_overlaps, c->desc.out.row = 1)
SPOIL(no_q_bias, c->data.forward.q_bias = NULL)
SPOIL(no_k_bias, c->data.forward.k_bias = NULL)
SPOIL(no_v_bias, c->data.forward.v_bias = NULL)
SPOIL(no_out_bias, c->data.forward.out_bias = NULL)
SPOIL(no_bias_kv, c->data.forward.bias_k = c->data.forward.bias_v = NULL)
SPOIL(no_mask, c->desc.masks[0].kind = ATTN_MASK_NONE)
SPOIL(boolean_mask, c->desc.masks[0].kind = ATTN_MASK_BOOL)
SPOIL(one_row_for_all, c->desc.query.row = 0)
SPOIL(rows_overlap_in_time, (c->desc.key.row = 8, c->desc.key.batch = 4))
SPOIL(value_rows_overlap, c->desc.value.row = -7)
SPOIL(batches_overlap, c->desc.value.batch = 1)
SPOIL(huge_stride, c->desc.key.batch = PTRDIFF_MAX)
SPOIL(two_tasks, c->exec.num_tasks = 2)
SPOIL(no_workspace, c->exec.workspace = NULL)
SPOIL(misaligned, c->exec.workspace = (char *)c->exec.workspace + 4)
SPOIL(one_byte_short, c->exec.workspace_bytes--)

TEST(float32_refuses_with_the_right_status_and_writes_nothing) {
    static const struct {
        const char *what;
        void (*spoil)(refused_call *call);
        attn_status expected;
    } refusals[] = {
        {"query NULL", no_query, ATTN_ERR_NULL},
        {"out_weight NULL", no_out_weight, ATTN_ERR_NULL},
        {"bias_k without bias_v", bias_k_alone, ATTN_ERR_NULL},
        {"grad_out NULL", no_grad_out, ATTN_ERR_NULL},
        {"num_heads 0", no_heads, ATTN_ERR_SHAPE},
        {"embed_dim 9 of 2 heads", not_divisible, ATTN_ERR_HEADS},
        {"align 5", undefined_align, ATTN_ERR_OPTION},
        {"scale NaN", nan_scale, ATTN_ERR_OPTION},
        {"out overlaps", out_overlaps, ATTN_ERR_OPTION},
        {"grad_q_bias without q_bias", no_q_bias, ATTN_ERR_OPTION},
        {"grad_k_bias without k_bias", no_k_bias, ATTN_ERR_OPTION},
        {"grad_v_bias without v_bias", no_v_bias, ATTN_ERR_OPTION},
        {"grad_out_bias without out_bias", no_out_bias, ATTN_ERR_OPTION},
        {"grad_bias_k without bias_k", no_bias_kv, ATTN_ERR_OPTION},
        {"the gradient of no mask", no_mask, ATTN_ERR_OPTION},
        {"the gradient of a boolean mask", boolean_mask, ATTN_ERR_OPTION},
        {"one row for all queries", one_row_for_all, ATTN_ERR_OPTION},
        {"rows of different batch elements overlap in one run", rows_overlap_in_time,
         ATTN_ERR_OPTION},
        {"rows of value overlap", value_rows_overlap, ATTN_ERR_OPTION},
        {"batch elements of value overlap", batches_overlap, ATTN_ERR_OPTION},
        {"key stride too large", huge_stride, ATTN_ERR_SIZE},
        {"two tasks", two_tasks, ATTN_ERR_OPTION},
        {"workspace NULL", no_workspace, ATTN_ERR_WORKSPACE},
        {"workspace misaligned", misaligned, ATTN_ERR_WORKSPACE},
        {"workspace one byte short", one_byte_short, ATTN_ERR_WORKSPACE},
    };
    static const float in[256] = {0};
    static const uint8_t hidden[256] = {0};
    guarded grads = guarded_alloc(16 * 256 * sizeof(float), FILL);
    float *to = grads.data;
    refused_call good = {.data = {.forward = {in, in, in, in, in, in, in, in, in, in, in, in, in,
                                              NULL, NULL, NULL, NULL, NULL},
                                  .grad_out = in}};
    attn_mha_desc_init(&good.desc, 2, 2, 3, 3, 8);
    good.desc.masks[0] = (attn_mask){.data = hidden, .kind = ATTN_MASK_ADD, .query = 3, .key = 1};
    good.data.grad_query = to, good.data.grad_key = to + 256, good.data.grad_value = to + 512;
    good.data.grad_q_weight = to + 768, good.data.grad_k_weight = to + 1024;
    good.data.grad_v_weight = to + 1280, good.data.grad_out_weight = to + 1536;
    good.data.grad_q_bias = to + 1792, good.data.grad_k_bias = to + 2048;
    good.data.grad_v_bias = to + 2304, good.data.grad_out_bias = to + 2560;
    good.data.grad_bias_k = to + 2816, good.data.grad_bias_v = to + 3072;
    good.data.grad_masks[0] = to + 3328;
    CHECK_STATUS(
        attn_mha_backward_f32_workspace(&good.desc, &good.data, NULL, &good.exec.workspace_bytes),
        ATTN_OK);
    guarded workspace = guarded_alloc(good.exec.workspace_bytes, FILL);
    good.exec.workspace = workspace.data;
    for (size_t r = 0; r < sizeof refusals / sizeof *refusals; r++) {
        refused_call bad = good;
        refusals[r].spoil(&bad);
        check_case("%s", refusals[r].what);
        CHECK_STATUS(attn_mha_backward_f32(&bad.desc, &bad.data, &bad.exec), refusals[r].expected);
        CHECK(guarded_untouched(&grads, FILL) && guarded_untouched(&workspace, FILL));
        const bool about_exec = memcmp(&bad.exec, &good.exec, sizeof good.exec) != 0;
        size_t bytes = 12345;
        CHECK_STATUS(attn_mha_backward_f32_workspace(&bad.desc, &bad.data, NULL, &bytes),
                     about_exec ? ATTN_OK : refusals[r].expected);
        CHECK(about_exec ? bytes == good.exec.workspace_bytes : bytes == 12345);
    }
    check_case("the unspoilt call, and NULL structs");
    CHECK_STATUS(attn_mha_backward_f32(&good.desc, &good.data, &good.exec), ATTN_OK);
    CHECK(!guarded_untouched(&grads, FILL) && guarded_intact(&grads));
    CHECK_STATUS(attn_mha_backward_f32(NULL, &good.data, &good.exec), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_backward_f32(&good.desc, NULL, &good.exec), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_backward_f64(&good.desc, NULL, &good.exec), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_backward_f64_workspace(NULL, NULL, NULL), ATTN_ERR_NULL);
    guarded_free(&grads), guarded_free(&workspace);
}

int main(void) {
    RUN(float64_is_the_slope_of_the_forward_call);
    RUN(float32_agrees_with_float64);
    RUN(threads_and_what_else_is_wanted_change_no_bit);
    RUN(no_query_and_no_key_give_gradients_of_zero);
    RUN(a_row_whose_last_key_is_infinitely_far_adds_nothing);
    RUN(float32_refuses_with_the_right_status_and_writes_nothing);
    printf("at most %.2f of what is allowed\n", worst);
    return check_summary();
}
