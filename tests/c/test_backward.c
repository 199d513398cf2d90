/* Gradients of attention. The float64 reference is checked against differences of the float64
 * forward call; the float32 path against the reference, on sizes around every edge of its tiles,
 * with the options combined at random, in every layout.
 *
 * The tolerance of float32 is made as in test_sdpa_f32.c: a naive float32 loop makes an error, too;
 * the fast path may make twice that, plus the floor: what one rounding of each quantity that the
 * formulas in attn.h name costs, to first order, with u = 2^-24.
 *
 *     e_j, of the score       u (scale sum_d |query[d] key[d]| + |terms| + |score|)
 *     weights[j]              w_j (e_j + sum_k w_k e_k + u |logsumexp| + 3 u)
 *     out[d]                  sum_j |value[j][d]| w_j (e_j + sum_k w_k e_k + 5 u)
 *     p_j                     u (sum_d |grad_out[d] value[j][d]| + |p_j|), the dot product
 *     delta                   u (sum_d |grad_out[d] out[d]| + |delta|)
 *                             + sum_d |grad_out[d]| (that of out[d])
 *     g_j = w_j (p_j - delta) |p_j - delta| (that of w_j) + w_j (those of p_j and delta) + 2 u |g_j|
 *     softcap's slope         2 |t| (1 - t^2) e_j / softcap + 8 u, with t the tanh
 *     each gradient           those of its terms, u for each term, and u for the sum
 *
 * and weights below 2^-64 may be lost (kernels/grad_f32.h). Where an element is a sum over many
 * rows, so are the floor and the naive loop's result. */
#include "check.h"
#include "sdpa_common.h"

static const int32_t DIMS[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33, 48, 64, 65, 80};
static const int32_t LENGTHS[] = {0,  1,  2,  5,  6,  7,  8,  9,  11,  13,  16,  17,  55, 59,
                                  60, 61, 63, 64, 65, 71, 72, 73, 119, 121, 128, 129, 197};
enum { NUM_DIMS = sizeof DIMS / sizeof *DIMS, NUM_LENGTHS = sizeof LENGTHS / sizeof *LENGTHS };

enum layout {
    CONTIGUOUS,  /* [batch, heads, rows, dim] */
    INTERLEAVED, /* [batch, rows, heads, dim] */
    PADDED,      /* elements between rows, heads and batches that belong to nobody */
    BACKWARDS,   /* the first row last in memory: a negative stride */
    ONE_BATCH,   /* stride 0 over batch */
    ONE_HEAD,
    ONE_ROW,
    OVERLAPPING, /* row i + 1 begins in the middle of row i */
    SHIFTED,     /* row i + 1 begins one element behind row i */
    NUM_LAYOUTS,
    NUM_OUT_LAYOUTS = ONE_BATCH,
};

enum values {
    ORDINARY,   /* scores of a few units */
    HUGE,       /* scores up to some +-1e4, mostly one key to each row */
    HUGE_CLOSE, /* scores of the same size, but only a few units apart */
    SPECIAL,    /* ordinary, with infinities and NaN among them */
    UNREAD_NAN, /* NaN in every row that takes no part */
    NUM_VALUES,
};

/* A mask: its kind, plus the axes over which it is broadcast, plus whether it covers only some
 * keys. */
enum mask_bits {
    MASK_ONE_BATCH = 4,
    MASK_ONE_HEAD = 8,
    MASK_ONE_QUERY = 16,
    MASK_ONE_KEY = 32,
    MASK_SHORT = 64,
    MASK_TURNED = 128, /* [batch, num_heads, keys, queries] */
};

enum gradient { QUERY, KEY, VALUE, MASK0, MASK1, NUM_GRADIENTS };
static const char *const NAMES[NUM_GRADIENTS] = {"grad_query", "grad_key", "grad_value",
                                                 "grad_masks[0]", "grad_masks[1]"};

typedef struct backward_case {
    uint64_t seed;
    int32_t batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim, head_dim_v;
    int32_t layouts[5]; /* query, key, value, out, grad_out */
    int32_t own[3];     /* layouts of grad_query, grad_key, grad_value; -1: as the input */
    int32_t values;
    double scale, softcap;
    int32_t is_causal, align, window_left, window_right;
    int32_t masks[2];
    int32_t has_lengths, alibi; /* alibi: 1 per head, 2 per batch and head */
    int32_t unwanted;           /* bits 1 << QUERY ... */
} backward_case;

static void describe(const backward_case *c) {
    check_case(
        "{.seed = %" PRIu64 ", .batch = %d, .num_heads = %d, .num_kv_heads = %d, .seq_len_q = %d, "
        ".seq_len_kv = %d, .head_dim = %d, .head_dim_v = %d, .layouts = {%d, %d, %d, %d, "
        "%d}, .own = {%d, %d, %d}, .values = %d, .scale = %.17g, .softcap = %.17g, "
        ".is_causal = %d, .align = %d, .window_left = %d, .window_right = %d, .masks = {%d, "
        "%d}, .has_lengths = %d, .alibi = %d, .unwanted = %d},",
        c->seed, (int)c->batch, (int)c->num_heads, (int)c->num_kv_heads, (int)c->seq_len_q,
        (int)c->seq_len_kv, (int)c->head_dim, (int)c->head_dim_v, (int)c->layouts[0],
        (int)c->layouts[1], (int)c->layouts[2], (int)c->layouts[3], (int)c->layouts[4],
        (int)c->own[0], (int)c->own[1], (int)c->own[2], (int)c->values, c->scale, c->softcap,
        (int)c->is_causal, (int)c->align, (int)c->window_left, (int)c->window_right,
        (int)c->masks[0], (int)c->masks[1], (int)c->has_lengths, (int)c->alibi, (int)c->unwanted);
}

/* Tensors */

enum { FILL = 0x5A };

/* The same numbers twice, in the same layout, over four axes. */
typedef struct tensor {
    guarded f32, f64;
    size_t count;    /* elements of the buffers */
    ptrdiff_t first; /* where element [0, 0, 0, 0] lies */
    int32_t sizes[4];
    ptrdiff_t strides[4];
} tensor;

static float *f32_of(const tensor *t) {
    return t->f32.data ? (float *)t->f32.data + t->first : NULL;
}
static double *f64_of(const tensor *t) {
    return t->f64.data ? (double *)t->f64.data + t->first : NULL;
}

static void set(tensor *t, ptrdiff_t index, double value) {
    ((float *)t->f32.data)[index] = (float)value;
    ((double *)t->f64.data)[index] = (double)((float *)t->f32.data)[index];
}

static attn_strides strides_of(const tensor *t) {
    return (attn_strides){t->strides[0], t->strides[1], t->strides[2]};
}

static ptrdiff_t offset_of(const tensor *t, int32_t b, int32_t h, int32_t r) {
    return b * t->strides[0] + h * t->strides[1] + r * t->strides[2];
}

static void tensor_fill_memory(tensor *t) {
    t->f32 = guarded_alloc(t->count * sizeof(float), FILL);
    t->f64 = guarded_alloc(t->count * sizeof(double), FILL);
}

static tensor tensor_alloc(int32_t batch, int32_t heads, int32_t rows, int32_t dim,
                           int32_t layout) {
    tensor t = {.sizes = {batch, heads, rows, dim}};
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
    t.strides[0] = layout == ONE_BATCH ? 0 : batches;
    t.strides[1] = layout == ONE_HEAD ? 0 : head;
    t.strides[2] = layout == ONE_ROW       ? 0
                   : layout == OVERLAPPING ? (dim + 1) / 2
                   : layout == SHIFTED     ? 1
                                           : row;
    t.strides[3] = 1;
    tensor_fill_memory(&t);
    return t;
}

/* The same sizes, strides and place of the first element, filled anew. */
static tensor tensor_like(const tensor *t) {
    tensor copy = *t;
    tensor_fill_memory(&copy);
    return copy;
}

static void tensor_free(tensor *t) {
    guarded_free(&t->f32);
    guarded_free(&t->f64);
}

static void tensor_random(tensor *t, rng *r, double factor) {
    for (size_t e = 0; e < t->count; e++)
        set(t, (ptrdiff_t)e, factor * rng_unit(r));
}

static void tensor_sprinkle(tensor *t, rng *r, int32_t once_in) {
    static const double specials[] = {INFINITY, -INFINITY, NAN, NAN};
    for (size_t e = 0; e < t->count; e++)
        if (rng_once_in(r, once_in))
            set(t, (ptrdiff_t)e, specials[rng_int(r, 0, 3)]);
}

static void set_row(tensor *t, int32_t b, int32_t h, int32_t r, double value) {
    for (int32_t e = 0; e < t->sizes[3]; e++)
        set(t, t->first + offset_of(t, b, h, r) + e, value);
}

/* Which elements of the buffers belong to the tensor. */
static bool *covered_by(const tensor *t) {
    bool *covered = calloc(t->count + 1, sizeof *covered);
    for (int32_t b = 0; b < t->sizes[0]; b++)
        for (int32_t h = 0; h < t->sizes[1]; h++)
            for (int32_t r = 0; r < t->sizes[2]; r++)
                for (int32_t e = 0; e < t->sizes[3]; e++)
                    covered[t->first + offset_of(t, b, h, r) + e * t->strides[3]] = true;
    return covered;
}

static uint64_t hash(const guarded *g) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < g->bytes; i++)
        h = (h ^ ((const unsigned char *)g->data)[i]) * 0x100000001b3u;
    return h;
}

/* A call */

typedef struct call {
    tensor inputs[5]; /* query, key, value, the masks where they are additive */
    tensor out, grad_out, slopes, logsumexp;
    tensor grads[NUM_GRADIENTS]; /* f64: the reference's, f32: the fast path's */
    guarded bool_masks[2];
    int32_t *lengths;
    attn_sdpa_backward_desc desc32, desc64; /* they differ in the pointers of the masks */
} call;

static void mask_build(call *c, const backward_case *k, int m, rng *r) {
    attn_sdpa_desc *d = &c->desc32.forward;
    const int32_t bits = k->masks[m];
    attn_mask *mask = &d->masks[m];
    mask->kind = bits & 3;
    if (mask->kind == ATTN_MASK_NONE)
        return;
    const ptrdiff_t keys = d->seq_len_kv, queries = d->seq_len_q;
    if (bits & MASK_SHORT)
        mask->seq_len_kv = rng_int(r, 0, d->seq_len_kv);
    const bool turned = (bits & MASK_TURNED) != 0;
    mask->key = bits & MASK_ONE_KEY ? 0 : turned ? queries : 1;
    mask->query = bits & MASK_ONE_QUERY ? 0 : turned ? 1 : keys;
    mask->head = bits & MASK_ONE_HEAD ? 0 : queries * keys;
    mask->batch = bits & MASK_ONE_BATCH ? 0 : d->num_heads * queries * keys;
    const size_t count = (size_t)(d->batch * d->num_heads * queries * keys);
    bool removed = false; /* now and then a whole row is */
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
    tensor *t = &c->inputs[MASK0 + m];
    *t = (tensor){.count = count,
                  .sizes = {d->batch, d->num_heads, d->seq_len_q, sdpa_mask_keys(d, mask)},
                  .strides = {mask->batch, mask->head, mask->query, mask->key}};
    tensor_fill_memory(t);
    for (size_t e = 0; e < count; e++) {
        if (e % (size_t)keys == 0)
            removed = rng_once_in(r, 8);
        set(t, (ptrdiff_t)e, removed || rng_once_in(r, 6) ? -INFINITY : 2 * rng_unit(r));
    }
    mask->data = t->f32.data;
}

/* NaN in the rows of key and value that no query row reads, and in the query rows that see no key.
 * Only where no row stands for several. */
static void hide_nan(call *c) {
    const attn_sdpa_desc *d = &c->desc32.forward;
    for (int32_t b = 0; b < d->batch; b++) {
        bool *read = calloc((size_t)d->seq_len_kv + 1, sizeof *read);
        for (int32_t i = 0; i < d->seq_len_q; i++) {
            int32_t lo, hi;
            sdpa_visible(d, b, i, &lo, &hi);
            for (int32_t j = lo; j < hi; j++)
                read[j] = true;
            for (int32_t h = 0; h < d->num_heads && lo == hi; h++) {
                set_row(&c->inputs[QUERY], b, h, i, NAN);
                set_row(&c->grad_out, b, h, i, NAN);
            }
        }
        for (int32_t h = 0; h < d->num_kv_heads; h++)
            for (int32_t j = 0; j < d->seq_len_kv; j++)
                if (!read[j]) {
                    set_row(&c->inputs[KEY], b, h, j, NAN);
                    set_row(&c->inputs[VALUE], b, h, j, NAN);
                }
        free(read);
    }
}

static void call_build(call *c, const backward_case *k, uint64_t seed) {
    rng r = {seed};
    memset(c, 0, sizeof *c);
    attn_sdpa_desc forward, *d = &forward;
    attn_sdpa_desc_init(d, k->batch, k->num_heads, k->num_kv_heads, k->seq_len_q, k->seq_len_kv,
                        k->head_dim, k->head_dim_v);
    const int32_t sizes[3][3] = {{k->num_heads, k->seq_len_q, k->head_dim},
                                 {k->num_kv_heads, k->seq_len_kv, k->head_dim},
                                 {k->num_kv_heads, k->seq_len_kv, k->head_dim_v}};
    for (int t = 0; t < 3; t++)
        c->inputs[t] = tensor_alloc(k->batch, sizes[t][0], sizes[t][1], sizes[t][2], k->layouts[t]);
    c->out = tensor_alloc(k->batch, k->num_heads, k->seq_len_q, k->head_dim_v, k->layouts[3]);
    c->grad_out = tensor_alloc(k->batch, k->num_heads, k->seq_len_q, k->head_dim_v, k->layouts[4]);
    c->logsumexp = tensor_alloc(k->batch, k->num_heads, k->seq_len_q, 1, CONTIGUOUS);
    d->query = strides_of(&c->inputs[QUERY]), d->key = strides_of(&c->inputs[KEY]);
    d->value = strides_of(&c->inputs[VALUE]), d->out = strides_of(&c->out);
    d->scale = k->scale, d->softcap = k->softcap;
    d->is_causal = k->is_causal, d->align = k->align;
    d->window_left = k->window_left, d->window_right = k->window_right;
    c->desc32.forward = forward;

    const bool huge = k->values == HUGE || k->values == HUGE_CLOSE;
    tensor_random(&c->inputs[QUERY], &r, huge ? 3e4 : 4.0);
    tensor_random(&c->inputs[KEY], &r, 1.0);
    if (k->values == HUGE_CLOSE)
        for (size_t e = 0; e < c->inputs[KEY].count; e++)
            set(&c->inputs[KEY], (ptrdiff_t)e, 1.0 + 0x1p-13 * rng_unit(&r));
    tensor_random(&c->inputs[VALUE], &r, 1.0);
    tensor_random(&c->grad_out, &r, 1.0);
    if (k->values == SPECIAL) {
        tensor_sprinkle(&c->inputs[QUERY], &r, 400);
        tensor_sprinkle(&c->inputs[KEY], &r, 1500);
        tensor_sprinkle(&c->inputs[VALUE], &r, 1500);
        tensor_sprinkle(&c->grad_out, &r, 400);
    }
    for (int m = 0; m < 2; m++)
        mask_build(c, k, m, &r);
    d = &c->desc32.forward;
    if (k->alibi) {
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

    forward = *d;
    attn_sdpa_backward_desc_init(&c->desc32, &forward);
    c->desc32.grad_out = strides_of(&c->grad_out);
    for (int g = 0; g < NUM_GRADIENTS; g++) {
        if (g < MASK0 && k->own[g] >= 0)
            c->grads[g] = tensor_alloc(k->batch, sizes[g][0], sizes[g][1], sizes[g][2], k->own[g]);
        else if (c->inputs[g].f32.data)
            c->grads[g] = tensor_like(&c->inputs[g]);
    }
    c->desc32.grad_query = strides_of(&c->grads[QUERY]);
    c->desc32.grad_key = strides_of(&c->grads[KEY]);
    c->desc32.grad_value = strides_of(&c->grads[VALUE]);
    c->desc64 = c->desc32;
    for (int m = 0; m < 2; m++)
        if (d->masks[m].kind == ATTN_MASK_ADD)
            c->desc64.forward.masks[m].data = c->inputs[MASK0 + m].f64.data;
}

static uint64_t call_hash(const call *c) {
    uint64_t h = hash(&c->grad_out.f32) + hash(&c->out.f32) + hash(&c->logsumexp.f32);
    for (int t = 0; t < 5; t++)
        if (c->inputs[t].f32.data)
            h = h * 3 + hash(&c->inputs[t].f32) + hash(&c->inputs[t].f64);
    return h;
}

static void call_free(call *c) {
    for (int t = 0; t < 5; t++)
        tensor_free(&c->inputs[t]), tensor_free(&c->grads[t]);
    tensor_free(&c->out), tensor_free(&c->grad_out), tensor_free(&c->slopes);
    tensor_free(&c->logsumexp);
    guarded_free(&c->bool_masks[0]), guarded_free(&c->bool_masks[1]);
    free(c->lengths);
}

static attn_exec exec_for(guarded *workspace, size_t bytes) {
    /* Filled with NaN: what a workspace holds must not matter. */
    *workspace = guarded_alloc(bytes, 0xFF);
    return (attn_exec){.workspace = workspace->data, .workspace_bytes = bytes};
}

static void forward_f64(call *c) {
    const attn_sdpa_f64_data data = {
        .query = f64_of(&c->inputs[QUERY]),
        .key = f64_of(&c->inputs[KEY]),
        .value = f64_of(&c->inputs[VALUE]),
        .alibi_slopes = f64_of(&c->slopes),
        .out = f64_of(&c->out),
        .logsumexp = f64_of(&c->logsumexp),
    };
    size_t bytes;
    guarded workspace;
    CHECK_STATUS(attn_sdpa_f64_workspace(&c->desc64.forward, &data, &bytes, NULL), ATTN_OK);
    const attn_exec exec = exec_for(&workspace, bytes);
    CHECK_STATUS(attn_sdpa_f64(&c->desc64.forward, &data, &exec), ATTN_OK);
    guarded_free(&workspace);
}

static void forward_f32(call *c) {
    const attn_sdpa_f32_data data = {
        .query = f32_of(&c->inputs[QUERY]),
        .key = f32_of(&c->inputs[KEY]),
        .value = f32_of(&c->inputs[VALUE]),
        .alibi_slopes = f32_of(&c->slopes),
        .out = f32_of(&c->out),
        .logsumexp = f32_of(&c->logsumexp),
    };
    size_t bytes;
    guarded workspace;
    CHECK_STATUS(attn_sdpa_f32_workspace(&c->desc32.forward, &data, NULL, &bytes, NULL), ATTN_OK);
    const attn_exec exec = exec_for(&workspace, bytes);
    CHECK_STATUS(attn_sdpa_f32(&c->desc32.forward, &data, &exec), ATTN_OK);
    guarded_free(&workspace);
}

static attn_sdpa_backward_f64_data data_f64(const call *c, const tensor grads[NUM_GRADIENTS],
                                            int32_t unwanted) {
    double *to[NUM_GRADIENTS];
    for (int g = 0; g < NUM_GRADIENTS; g++)
        to[g] = unwanted & 1 << g ? NULL : f64_of(&grads[g]);
    return (attn_sdpa_backward_f64_data){
        .query = f64_of(&c->inputs[QUERY]),
        .key = f64_of(&c->inputs[KEY]),
        .value = f64_of(&c->inputs[VALUE]),
        .alibi_slopes = f64_of(&c->slopes),
        .out = f64_of(&c->out),
        .logsumexp = f64_of(&c->logsumexp),
        .grad_out = f64_of(&c->grad_out),
        .grad_query = to[QUERY],
        .grad_key = to[KEY],
        .grad_value = to[VALUE],
        .grad_masks = {to[MASK0], to[MASK1]},
    };
}

static attn_sdpa_backward_f32_data data_f32(const call *c, const tensor grads[NUM_GRADIENTS],
                                            int32_t unwanted) {
    float *to[NUM_GRADIENTS];
    for (int g = 0; g < NUM_GRADIENTS; g++)
        to[g] = unwanted & 1 << g ? NULL : f32_of(&grads[g]);
    return (attn_sdpa_backward_f32_data){
        .query = f32_of(&c->inputs[QUERY]),
        .key = f32_of(&c->inputs[KEY]),
        .value = f32_of(&c->inputs[VALUE]),
        .alibi_slopes = f32_of(&c->slopes),
        .out = f32_of(&c->out),
        .logsumexp = f32_of(&c->logsumexp),
        .grad_out = f32_of(&c->grad_out),
        .grad_query = to[QUERY],
        .grad_key = to[KEY],
        .grad_value = to[VALUE],
        .grad_masks = {to[MASK0], to[MASK1]},
    };
}

static void backward_f64(call *c, const tensor grads[NUM_GRADIENTS], int32_t unwanted) {
    const attn_sdpa_backward_f64_data data = data_f64(c, grads, unwanted);
    CHECK_STATUS(attn_sdpa_backward_f64(&c->desc64, &data, NULL), ATTN_OK);
}

/* The whole call, or its tasks one by one from the last to the first. */
static void backward_f32(call *c, const tensor grads[NUM_GRADIENTS], int32_t unwanted,
                         attn_threads *threads, bool one_by_one) {
    const attn_sdpa_backward_f32_data data = data_f32(c, grads, unwanted);
    size_t bytes;
    int32_t num_tasks;
    guarded workspace;
    CHECK_STATUS(attn_sdpa_backward_f32_workspace(&c->desc32, &data, threads, &bytes, &num_tasks),
                 ATTN_OK);
    attn_exec exec = exec_for(&workspace, bytes);
    exec.threads = threads;
    if (!one_by_one)
        CHECK_STATUS(attn_sdpa_backward_f32(&c->desc32, &data, &exec), ATTN_OK);
    for (int32_t task = num_tasks - 1; one_by_one && task >= 0; task--) {
        memset(workspace.data, 0xFF, workspace.bytes);
        exec.first_task = task, exec.num_tasks = 1;
        CHECK_STATUS(attn_sdpa_backward_f32(&c->desc32, &data, &exec), ATTN_OK);
    }
    CHECK(guarded_intact(&workspace));
    guarded_free(&workspace);
}

/* Elements of a buffer that belong to no index still hold the fill. */
static bool gaps_untouched(const tensor *t, const guarded *buffer, size_t element_bytes) {
    bool *covered = covered_by(t);
    bool untouched = guarded_intact(buffer);
    unsigned char fill[sizeof(double)];
    memset(fill, FILL, sizeof fill);
    for (size_t e = 0; e < t->count; e++)
        if (!covered[e])
            untouched = untouched && memcmp((const char *)buffer->data + e * element_bytes, fill,
                                            element_bytes) == 0;
    free(covered);
    return untouched;
}

/* The reference against differences */

static double loss(call *c) {
    forward_f64(c);
    const attn_sdpa_desc *d = &c->desc64.forward;
    double sum = 0.0;
    for (int32_t b = 0; b < d->batch; b++)
        for (int32_t h = 0; h < d->num_heads; h++)
            for (int32_t i = 0; i < d->seq_len_q; i++)
                for (int32_t e = 0; e < d->head_dim_v; e++)
                    sum += f64_of(&c->grad_out)[offset_of(&c->grad_out, b, h, i) + e] *
                           f64_of(&c->out)[offset_of(&c->out, b, h, i) + e];
    return sum;
}

/* Five points: the error is h^4 / 30 times the fifth derivative, and some 1e-13 of rounding. */
static double slope(call *c, double *element) {
    const double h = 0x1p-9, at = *element;
    double f[5];
    for (int p = -2; p <= 2; p++) {
        *element = at + p * h;
        f[p + 2] = p == 0 ? 0.0 : loss(c);
    }
    *element = at;
    return (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * h);
}

static int32_t random_mask(rng *r) {
    int32_t mask = rng_int(r, ATTN_MASK_NONE, ATTN_MASK_ADD);
    for (int32_t bit = MASK_ONE_BATCH; bit <= MASK_TURNED; bit *= 2)
        if (rng_once_in(r, bit <= MASK_ONE_HEAD ? 2 : 4))
            mask |= bit;
    return mask;
}

static int32_t random_limit(rng *r, int32_t len) {
    if (rng_once_in(r, 12))
        return INT32_MAX;
    return rng_once_in(r, 3) ? rng_int(r, 0, len) : -1;
}

/* The options; sizes and layouts are the caller's. */
static void random_options(backward_case *k, rng *r) {
    k->scale = rng_once_in(r, 5) ? rng_unit(r) : 1.0 / sqrt(k->head_dim);
    if (rng_once_in(r, 20))
        k->scale = 0.0;
    k->softcap = rng_once_in(r, 4) ? 0.5 + 10 * fabs(rng_unit(r)) : 0.0;
    k->is_causal = rng_once_in(r, 3);
    k->align = rng_int(r, ATTN_ALIGN_TOP_LEFT, ATTN_ALIGN_BOTTOM_RIGHT);
    k->window_left = random_limit(r, k->seq_len_kv);
    k->window_right = random_limit(r, k->seq_len_kv);
    for (int m = 0; m < 2; m++)
        k->masks[m] = rng_once_in(r, 3) ? random_mask(r) : ATTN_MASK_NONE;
    k->has_lengths = rng_once_in(r, 4);
    k->alibi = rng_once_in(r, 4) ? rng_int(r, 1, 2) : 0;
}

TEST(the_reference_is_the_slope_of_the_forward_call) {
    enum { CASES = 250 };
    int32_t compared = 0;
    for (uint64_t n = 0; n < CASES; n++) {
        rng r = {n * UINT64_C(0x9876543)};
        backward_case k = {.seed = rng_next(&r), .own = {-1, -1, -1}};
        k.batch = rng_int(&r, 1, 2);
        k.num_kv_heads = rng_int(&r, 1, 2);
        k.num_heads = k.num_kv_heads * rng_int(&r, 1, 2);
        k.seq_len_q = rng_int(&r, 1, 4);
        k.seq_len_kv = rng_int(&r, 1, 5);
        k.head_dim = rng_int(&r, 1, 3);
        k.head_dim_v = rng_int(&r, 1, 3);
        for (int t = 0; t < 5; t++)
            k.layouts[t] = rng_int(&r, 0, (t == 3 ? NUM_OUT_LAYOUTS : (int32_t)NUM_LAYOUTS) - 1);
        random_options(&k, &r);
        describe(&k);

        call c;
        call_build(&c, &k, k.seed);
        forward_f64(&c);
        backward_f64(&c, c.grads, 0);
        for (int g = 0; g < NUM_GRADIENTS; g++) {
            if (!c.grads[g].f64.data)
                continue;
            CHECK(gaps_untouched(&c.grads[g], &c.grads[g].f64, sizeof(double)));
            bool *covered = covered_by(&c.inputs[g]);
            for (size_t e = 0; e < c.inputs[g].count; e++) {
                double *element = (double *)c.inputs[g].f64.data + e;
                const double gradient = ((const double *)c.grads[g].f64.data)[e];
                if (!covered[e])
                    continue;
                const double expected = *element == -INFINITY ? 0.0 : slope(&c, element);
                check_that(fabs(gradient - expected) <= 1e-8 * (1 + fabs(expected)), __FILE__,
                           __LINE__, "%s[%zu] is %.17g, not %.17g", NAMES[g], e, gradient,
                           expected);
                compared += expected != 0.0;
            }
            free(covered);
        }
        call_free(&c);
    }
    CHECK(compared > 5000);
}

/* The naive float32 loop, and the floor */

static const double U = 0x1p-24;

typedef struct row {
    int32_t b, h, i;
    int32_t lo, hi;
} row;

/* Per gradient, laid out like it. */
typedef struct expectation {
    float *naive[NUM_GRADIENTS];
    double *floor[NUM_GRADIENTS];
} expectation;

static double mask_value(const call *c, int m, const row *at, int32_t j) {
    const attn_mask *mask = &c->desc32.forward.masks[m];
    const ptrdiff_t element = sdpa_mask_row(mask, at->b, at->h, at->i) + j * mask->key;
    if (j >= sdpa_mask_keys(&c->desc32.forward, mask))
        return 0.0;
    if (mask->kind == ATTN_MASK_BOOL)
        return ((const uint8_t *)mask->data)[element] ? 0.0 : -INFINITY;
    return (double)((const float *)mask->data)[element];
}

static double alibi_slope(const call *c, const row *at) {
    if (!c->slopes.count)
        return 0.0;
    return f64_of(&c->slopes)[at->b * c->desc32.forward.alibi_batch_stride + at->h];
}

/* What one row adds; see the comment at the top. pair [3][seq_len_kv]: score, weight, e_j. */
static void expect_row(const call *c, const row *at, expectation *x, float *naive_w, double *pair) {
    const attn_sdpa_desc *d = &c->desc32.forward;
    const int32_t keys = d->seq_len_kv, kv_head = at->h / (d->num_heads / d->num_kv_heads);
    const tensor *qt = &c->inputs[QUERY], *kt = &c->inputs[KEY], *vt = &c->inputs[VALUE];
    const float *q = f32_of(qt) + offset_of(qt, at->b, at->h, at->i);
    const float *go = f32_of(&c->grad_out) + offset_of(&c->grad_out, at->b, at->h, at->i);
    const double *out = f64_of(&c->out) + offset_of(&c->out, at->b, at->h, at->i);
    const double logsumexp = f64_of(&c->logsumexp)[offset_of(&c->logsumexp, at->b, at->h, at->i)];
    if (logsumexp == -INFINITY)
        return;
    double *score = pair, *weight = pair + keys, *error = pair + 2 * keys;

    /* Scores and weights, naive and exact. */
    float row_max = -INFINITY, row_sum = 0.0f;
    double mean_error = 0.0;
    for (int32_t j = at->lo; j < at->hi; j++) {
        const float *key = f32_of(kt) + offset_of(kt, at->b, kv_head, j);
        float s = 0.0f;
        double sum = 0.0, terms = 0.0;
        for (int32_t e = 0; e < d->head_dim; e++) {
            s += q[e] * key[e];
            sum += (double)q[e] * (double)key[e];
            terms += fabs(d->scale * (double)q[e] * (double)key[e]);
        }
        s *= (float)d->scale;
        sum *= d->scale;
        if (d->softcap > 0) {
            s = (float)d->softcap * tanhf(s / (float)d->softcap);
            sum = d->softcap * tanh(sum / d->softcap);
            terms += 4 * fabs(sum);
        }
        const double bias = -alibi_slope(c, at) * fabs((double)(at->i + sdpa_offset(d, at->b) - j));
        s += (float)bias, sum += bias, terms += fabs(bias);
        for (int m = 0; m < 2; m++)
            if (d->masks[m].kind != ATTN_MASK_NONE) {
                const double mask = mask_value(c, m, at, j);
                s += (float)mask, sum += mask;
                if (isfinite(mask))
                    terms += fabs(mask);
            }
        naive_w[j] = s, score[j] = sum;
        if (s > row_max || isnan(s))
            row_max = s;
        weight[j] = exp(sum - logsumexp);
        error[j] = U * (terms + (isfinite(sum) ? fabs(sum) : 0.0));
        if (weight[j] > 0)
            mean_error += weight[j] * error[j];
    }
    for (int32_t j = at->lo; j < at->hi; j++) {
        naive_w[j] = expf(naive_w[j] - row_max);
        row_sum += naive_w[j];
    }
    for (int32_t j = at->lo; j < at->hi; j++)
        naive_w[j] /= row_sum;

    /* out and delta */
    float naive_delta = 0.0f;
    double delta = 0.0, delta_error = 0.0;
    for (int32_t e = 0; e < d->head_dim_v; e++) {
        float naive_out = 0.0f;
        double out_error = 0.0;
        for (int32_t j = at->lo; j < at->hi; j++) {
            const float value = f32_of(vt)[offset_of(vt, at->b, kv_head, j) + e];
            naive_out += naive_w[j] * value;
            out_error += fabs((double)value) * weight[j] * (error[j] + mean_error + 5 * U);
        }
        naive_delta += go[e] * naive_out;
        delta += (double)go[e] * out[e];
        delta_error += fabs((double)go[e]) * (out_error + U * fabs(out[e]));
    }
    delta_error += U * fabs(delta);

    for (int32_t j = at->lo; j < at->hi; j++) {
        const ptrdiff_t value_at = offset_of(vt, at->b, kv_head, j);
        const ptrdiff_t key_at = offset_of(kt, at->b, kv_head, j);
        const double w = weight[j];
        const double w_error = w * (error[j] + mean_error + U * fabs(logsumexp) + 3 * U) + 0x1p-63;
        float naive_p = 0.0f;
        double p = 0.0, p_error = 0.0;
        for (int32_t e = 0; e < d->head_dim_v; e++) {
            const float value = f32_of(vt)[value_at + e];
            naive_p += go[e] * value;
            p += (double)go[e] * (double)value;
            p_error += U * fabs((double)go[e] * (double)value);
        }
        p_error += U * fabs(p);
        const float naive_g = naive_w[j] * (naive_p - naive_delta);
        const double g = w * (p - delta);
        const double g_error =
            fabs(p - delta) * w_error + w * (p_error + delta_error) + 2 * U * fabs(g);

        float naive_product = naive_g * (float)d->scale;
        double product = g * d->scale, product_error = g_error * fabs(d->scale);
        if (d->softcap > 0) {
            /* t once more, naive and exact, without what came after it */
            const float *key = f32_of(kt) + key_at;
            float s = 0.0f;
            double sum = 0.0;
            for (int32_t e = 0; e < d->head_dim; e++) {
                s += q[e] * key[e];
                sum += (double)q[e] * (double)key[e];
            }
            const float naive_t = tanhf(s * (float)d->scale / (float)d->softcap);
            const double t = tanh(sum * d->scale / d->softcap), t2 = 1.0 - t * t;
            naive_product *= 1.0f - naive_t * naive_t;
            /* The slope's own rounding counts where the slope is 0, too. */
            product_error = product_error * (t2 + 8 * U) +
                            fabs(product) * (2 * fabs(t) * t2 * error[j] / d->softcap + 8 * U);
            product *= t2;
        }
        product_error += 2 * U * fabs(product);

        const struct {
            int g;
            ptrdiff_t at;
            int32_t dim;
            float naive;
            double exact, error;
            const float *by;
        } terms[3] = {
            {QUERY, offset_of(&c->grads[QUERY], at->b, at->h, at->i), d->head_dim, naive_product,
             product, product_error, f32_of(kt) + key_at},
            {KEY, offset_of(&c->grads[KEY], at->b, kv_head, j), d->head_dim, naive_product, product,
             product_error, q},
            {VALUE, offset_of(&c->grads[VALUE], at->b, kv_head, j), d->head_dim_v, naive_w[j], w,
             w_error, go},
        };
        for (int t = 0; t < 3; t++)
            for (int32_t e = 0; e < terms[t].dim; e++) {
                const ptrdiff_t to = c->grads[terms[t].g].first + terms[t].at + e;
                const double by = (double)terms[t].by[e];
                x->naive[terms[t].g][to] += terms[t].naive * terms[t].by[e];
                x->floor[terms[t].g][to] +=
                    fabs(by) * terms[t].error + U * fabs(by * terms[t].exact);
            }
        for (int m = 0; m < 2; m++)
            if (c->grads[MASK0 + m].f32.data && j < c->grads[MASK0 + m].sizes[3]) {
                const tensor *mask = &c->grads[MASK0 + m];
                const ptrdiff_t to = offset_of(mask, at->b, at->h, at->i) + j * mask->strides[3];
                x->naive[MASK0 + m][to] += naive_g;
                x->floor[MASK0 + m][to] += g_error + U * fabs(g);
            }
    }
}

static void expect(const call *c, expectation *x) {
    const attn_sdpa_desc *d = &c->desc32.forward;
    for (int g = 0; g < NUM_GRADIENTS; g++) {
        x->naive[g] = calloc(c->grads[g].count + 1, sizeof *x->naive[g]);
        x->floor[g] = calloc(c->grads[g].count + 1, sizeof *x->floor[g]);
    }
    float *naive_w = malloc(sizeof *naive_w * (size_t)(d->seq_len_kv + 1));
    double *pair = malloc(sizeof *pair * 3 * (size_t)(d->seq_len_kv + 1));
    row at;
    for (at.b = 0; at.b < d->batch; at.b++)
        for (at.h = 0; at.h < d->num_heads; at.h++)
            for (at.i = 0; at.i < d->seq_len_q; at.i++) {
                sdpa_visible(d, at.b, at.i, &at.lo, &at.hi);
                expect_row(c, &at, x, naive_w, pair);
            }
    free(naive_w), free(pair);
}

/* float32 against float64 */

/* Errors in units of the floor: the largest of each implementation, for each gradient. */
typedef struct errors {
    double fast[NUM_GRADIENTS], naive[NUM_GRADIENTS];
    size_t elements;
} errors;

static void compare(const call *c, int g, const expectation *x, errors *worst) {
    const tensor *t = &c->grads[g];
    bool *covered = covered_by(t);
    for (size_t e = 0; e < t->count; e++) {
        if (!covered[e])
            continue;
        const float fast = ((const float *)t->f32.data)[e];
        const double exact = ((const double *)t->f64.data)[e];
        const double floor = x->floor[g][e] + U * fabs(exact) + 0x1p-130;
        worst->elements++;
        if (!isfinite(exact)) {
            check_that(isnan(exact) ? isnan(fast) : (double)fast == exact, __FILE__, __LINE__,
                       "%s[%zu] is %.9g, not %.9g", NAMES[g], e, (double)fast, exact);
            continue;
        }
        if (!check_that(isfinite(fast), __FILE__, __LINE__, "%s[%zu] is %.9g, not %.9g", NAMES[g],
                        e, (double)fast, exact))
            continue;
        worst->fast[g] = fmax(worst->fast[g], fabs((double)fast - exact) / floor);
        worst->naive[g] = fmax(worst->naive[g], fabs((double)x->naive[g][e] - exact) / floor);
    }
    free(covered);
}

static void same_bits(const call *c, const tensor others[NUM_GRADIENTS], int32_t unwanted,
                      const char *where) {
    for (int g = 0; g < NUM_GRADIENTS; g++)
        if (c->grads[g].count && !(unwanted & 1 << g))
            check_that(memcmp(c->grads[g].f32.data, others[g].f32.data, others[g].f32.bytes) == 0,
                       __FILE__, __LINE__, "%s differs %s", NAMES[g], where);
}

static void run_numbers(const backward_case *k, uint64_t seed, errors *worst) {
    call c;
    call_build(&c, k, seed);
    forward_f32(&c);
    forward_f64(&c);
    const uint64_t before = call_hash(&c);
    tensor others[NUM_GRADIENTS] = {{.count = 0}};
    for (int g = 0; g < NUM_GRADIENTS; g++)
        if (c.grads[g].f32.data)
            others[g] = tensor_like(&c.grads[g]);
    backward_f32(&c, c.grads, 0, NULL, false);
    backward_f64(&c, c.grads, 0);

    backward_f32(&c, others, k->unwanted, NULL, true);
    same_bits(&c, others, k->unwanted, "where the tasks are run one by one");
    for (int g = 0; g < NUM_GRADIENTS; g++) {
        if (!c.grads[g].f32.data)
            continue;
        CHECK(gaps_untouched(&c.grads[g], &c.grads[g].f32, sizeof(float)));
        CHECK(gaps_untouched(&c.grads[g], &c.grads[g].f64, sizeof(double)));
        if (k->unwanted & 1 << g)
            CHECK(guarded_untouched(&others[g].f32, FILL));
    }
    CHECK(call_hash(&c) == before);

    expectation x;
    expect(&c, &x);
    for (int g = 0; g < NUM_GRADIENTS; g++) {
        if (c.grads[g].f32.data)
            compare(&c, g, &x, worst);
        free(x.naive[g]), free(x.floor[g]);
        tensor_free(&others[g]);
    }
    call_free(&c);
}

static double worst_of_all[NUM_GRADIENTS];

static void run_case(const backward_case *k) {
    enum { ENOUGH_ELEMENTS = 1000, MOST_REPEATS = 40 };
    errors worst = {.elements = 0};
    describe(k);
    for (uint64_t repeat = 0; repeat < MOST_REPEATS && worst.elements < ENOUGH_ELEMENTS; repeat++)
        run_numbers(k, k->seed + (repeat << 32), &worst);
    for (int g = 0; g < NUM_GRADIENTS; g++) {
        worst_of_all[g] = fmax(worst_of_all[g], worst.fast[g] / (2 * worst.naive[g] + 1));
        check_that(worst.fast[g] <= 2 * worst.naive[g] + 1, __FILE__, __LINE__,
                   "%s: error %.3g, naive loop %.3g (in units of the floor)", NAMES[g],
                   worst.fast[g], worst.naive[g]);
    }
}

/* Case n: its sizes walk through every pair of head_dim and seq_len_q, the rest is random. */
static backward_case random_case(uint32_t n) {
    rng r = {n * UINT64_C(0x1234567)};
    backward_case k = {.seed = rng_next(&r)};
    k.head_dim = DIMS[n % NUM_DIMS];
    k.head_dim_v = rng_once_in(&r, 2) ? k.head_dim : DIMS[rng_int(&r, 0, NUM_DIMS - 1)];
    k.seq_len_q = LENGTHS[n % NUM_LENGTHS];
    k.seq_len_kv =
        rng_once_in(&r, 3) ? k.seq_len_q : LENGTHS[(n * 5 + n / NUM_LENGTHS) % NUM_LENGTHS];

    /* As many batches and heads as a budget of multiply-adds allows. */
    const int64_t cost = (int64_t)k.seq_len_q * k.seq_len_kv * (k.head_dim + k.head_dim_v);
    int64_t room = cost ? 600000 / cost : 24;
    k.batch = rng_int(&r, 1, room >= 3 ? 3 : room >= 2 ? 2 : 1);
    room /= k.batch;
    k.num_kv_heads = rng_int(&r, 1, room >= 3 ? 3 : room >= 2 ? 2 : 1);
    room /= k.num_kv_heads;
    k.num_heads = k.num_kv_heads * rng_int(&r, 1, room >= 5 ? 5 : room >= 2 ? 2 : 1);

    k.values = rng_once_in(&r, 2) ? ORDINARY : rng_int(&r, 0, NUM_VALUES - 1);
    for (int t = 0; t < 5; t++)
        k.layouts[t] = rng_once_in(&r, 3)
                           ? CONTIGUOUS
                           : rng_int(&r, 0, (t == 3 ? NUM_OUT_LAYOUTS : (int32_t)NUM_LAYOUTS) - 1);
    for (int g = 0; g < 3; g++)
        k.own[g] = rng_once_in(&r, 2) ? -1 : rng_int(&r, 0, NUM_LAYOUTS - 1);
    random_options(&k, &r);
    k.unwanted = rng_once_in(&r, 2) ? 0 : rng_int(&r, 0, (1 << NUM_GRADIENTS) - 1);
    if (k.values == UNREAD_NAN)
        /* Rows that are unread by one head must not stand for those of another. */
        for (int t = 0; t < 5; t++)
            k.layouts[t] %= ONE_BATCH;
    return k;
}

/* All pairs of head_dim and seq_len_q, more than once each: 15 and 27 have the factor 3 in common.
 */
enum { NUM_CASES = NUM_DIMS * NUM_LENGTHS };

TEST(agrees_with_the_reference_on_random_cases) {
    for (uint32_t n = 0; n < NUM_CASES; n++) {
        const backward_case k = random_case(n);
        run_case(&k);
    }
}

/* Failures are pasted here. */
static const backward_case CASES[] = {
    /* many blocks, and a causal edge through them */
    {.seed = 1,
     .batch = 1,
     .num_heads = 1,
     .num_kv_heads = 1,
     .seq_len_q = 300,
     .seq_len_kv = 250,
     .head_dim = 16,
     .head_dim_v = 16,
     .own = {-1, -1, -1},
     .scale = 0.25,
     .is_causal = 1,
     .window_left = -1,
     .window_right = -1,
     .masks = {ATTN_MASK_ADD, 0}},
    /* a mask for all heads and batches, and grouped heads in one stack */
    {.seed = 2,
     .batch = 2,
     .num_heads = 6,
     .num_kv_heads = 2,
     .seq_len_q = 61,
     .seq_len_kv = 121,
     .head_dim = 33,
     .head_dim_v = 24,
     .own = {-1, -1, -1},
     .scale = 0.2,
     .window_left = 40,
     .window_right = 3,
     .align = ATTN_ALIGN_BOTTOM_RIGHT,
     .masks = {ATTN_MASK_ADD | MASK_ONE_BATCH | MASK_ONE_HEAD, 0}},
    /* huge scores, plainly and through everything that may be done to them */
    {.seed = 3,
     .batch = 1,
     .num_heads = 2,
     .num_kv_heads = 2,
     .seq_len_q = 129,
     .seq_len_kv = 129,
     .head_dim = 64,
     .head_dim_v = 64,
     .own = {-1, -1, -1},
     .values = HUGE,
     .scale = 0.125,
     .window_left = -1,
     .window_right = -1},
    {.seed = 4,
     .batch = 1,
     .num_heads = 2,
     .num_kv_heads = 1,
     .seq_len_q = 61,
     .seq_len_kv = 129,
     .head_dim = 33,
     .head_dim_v = 5,
     .own = {-1, -1, -1},
     .values = HUGE_CLOSE,
     .scale = 0.125,
     .softcap = 30,
     .is_causal = 1,
     .window_left = -1,
     .window_right = -1,
     .masks = {ATTN_MASK_ADD, ATTN_MASK_BOOL},
     .alibi = 1},
    /* no query, no key: the gradients of what there is are 0 */
    {.seed = 5,
     .batch = 2,
     .num_heads = 2,
     .num_kv_heads = 1,
     .seq_len_q = 0,
     .seq_len_kv = 7,
     .head_dim = 3,
     .head_dim_v = 2,
     .own = {-1, -1, -1},
     .scale = 1,
     .window_left = -1,
     .window_right = -1},
};

TEST(agrees_with_the_reference_on_chosen_cases) {
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++)
        run_case(&CASES[n]);
}

/* Threads */

/* Large enough to be divided. The float64 call would take long; that one thread is right is shown
 * above. */
static void same_on_threads(attn_threads *pool, const backward_case *k, int32_t least_tasks) {
    describe(k);
    call c;
    call_build(&c, k, k->seed);
    forward_f32(&c);
    tensor others[NUM_GRADIENTS] = {{.count = 0}};
    for (int g = 0; g < NUM_GRADIENTS; g++)
        if (c.grads[g].f32.data)
            others[g] = tensor_like(&c.grads[g]);
    backward_f32(&c, c.grads, k->unwanted, NULL, false);
    backward_f32(&c, others, k->unwanted, pool, false);
    same_bits(&c, others, k->unwanted, "with threads");
    backward_f32(&c, others, k->unwanted, pool, true);
    same_bits(&c, others, k->unwanted, "where the tasks of threads are run one by one");
    int32_t num_tasks = 0;
    const attn_sdpa_backward_f32_data data = data_f32(&c, c.grads, k->unwanted);
    CHECK_STATUS(attn_sdpa_backward_f32_workspace(&c.desc32, &data, pool, NULL, &num_tasks),
                 ATTN_OK);
    if (pool)
        check_that(num_tasks >= least_tasks, __FILE__, __LINE__, "only %d tasks", (int)num_tasks);
    for (int g = 0; g < NUM_GRADIENTS; g++)
        tensor_free(&others[g]);
    call_free(&c);
}

TEST(threads_change_no_bit) {
    enum { ALL = (1 << NUM_GRADIENTS) - 1 };
    attn_threads *pool = NULL; /* as it stays in builds without threads */
    if (attn_threads_create(3, &pool) != ATTN_OK)
        pool = NULL;
    const backward_case one_head = {.seed = 11,
                                    .batch = 1,
                                    .num_heads = 1,
                                    .num_kv_heads = 1,
                                    .seq_len_q = 330,
                                    .seq_len_kv = 290,
                                    .head_dim = 40,
                                    .head_dim_v = 41,
                                    .own = {-1, -1, -1},
                                    .scale = 0.15,
                                    .is_causal = 1,
                                    .align = ATTN_ALIGN_BOTTOM_RIGHT,
                                    .window_left = -1,
                                    .window_right = -1,
                                    .masks = {ATTN_MASK_ADD, 0}};
    /* Keys and queries apart. */
    same_on_threads(pool, &one_head, 10);
    for (int g = QUERY; g <= MASK0; g++) {
        backward_case k = one_head;
        k.unwanted = ALL & ~(1 << g);
        same_on_threads(pool, &k, 4);
        k = one_head;
        k.unwanted = 1 << g;
        same_on_threads(pool, &k, 4);
    }
    /* Gradients whose rows are one, or overlap, cannot be divided; what else there is can. */
    for (int g = QUERY; g <= VALUE; g++) {
        backward_case k = one_head;
        k.own[g] = ONE_ROW;
        same_on_threads(pool, &k, 2);
        k.own[g] = OVERLAPPING;
        same_on_threads(pool, &k, 2);
        k.own[g] = SHIFTED;
        same_on_threads(pool, &k, 2);
    }
    /* Parts enough for all threads; then fewer and fewer. */
    backward_case k = one_head;
    k.batch = 2, k.num_heads = 6, k.num_kv_heads = 3;
    k.seq_len_q = 130, k.seq_len_kv = 119;
    same_on_threads(pool, &k, 6);
    k.masks[0] |= MASK_ONE_HEAD;
    same_on_threads(pool, &k, 2);
    k.masks[0] |= MASK_ONE_BATCH;
    same_on_threads(pool, &k, 2);
    k.masks[0] |= MASK_ONE_KEY;
    k.layouts[QUERY] = ONE_HEAD, k.layouts[KEY] = ONE_BATCH;
    same_on_threads(pool, &k, 1);
    k.layouts[VALUE] = ONE_ROW, k.layouts[QUERY] = ONE_ROW;
    same_on_threads(pool, &k, 1);
    attn_threads_destroy(pool);
}

/* What is refused */

enum { BATCH = 2, HEADS = 4, KV_HEADS = 2, LEN_Q = 3, LEN_KV = 5, DIM = 4, BYTES = 4096 };

typedef struct refused_call {
    attn_sdpa_backward_desc desc;
    const void *query, *key, *value, *alibi_slopes, *out, *logsumexp, *grad_out;
    void *grads[NUM_GRADIENTS];
    attn_exec exec;
    int32_t kv_lengths[BATCH];
} refused_call;

#define SPOIL(name, statement)                                                                     \
    static void name(refused_call *c) {                                                            \
        statement;                                                                                 \
    }
SPOIL(no_query, c->query = NULL)
SPOIL(no_key, c->key = NULL)
SPOIL(no_value, c->value = NULL)
SPOIL(no_out, c->out = NULL)
SPOIL(no_logsumexp, c->logsumexp = NULL)
SPOIL(no_grad_out, c->grad_out = NULL)
SPOIL(no_mask_data, c->desc.forward.masks[0].data = NULL)
SPOIL(negative_batch, c->desc.forward.batch = -1)
SPOIL(negative_seq_len_q, c->desc.forward.seq_len_q = -1)
SPOIL(zero_head_dim_v, c->desc.forward.head_dim_v = 0)
SPOIL(heads_not_divisible, c->desc.forward.num_kv_heads = 3)
SPOIL(nan_scale, c->desc.forward.scale = NAN)
SPOIL(negative_softcap, c->desc.forward.softcap = -1.0)
SPOIL(undefined_align, c->desc.forward.align = 2)
SPOIL(undefined_mask_kind, c->desc.forward.masks[1].kind = 3)
SPOIL(mask_longer_than_keys, c->desc.forward.masks[0].seq_len_kv = LEN_KV + 1)
SPOIL(gradient_of_no_mask, c->grads[MASK1] = c->grads[MASK0])
SPOIL(gradient_of_a_boolean_mask, c->desc.forward.masks[0].kind = ATTN_MASK_BOOL)
SPOIL(length_beyond_keys, c->kv_lengths[0] = LEN_KV + 1)
SPOIL(huge_key_stride, c->desc.forward.key.row = PTRDIFF_MAX / 2)
SPOIL(huge_out_stride, c->desc.forward.out.row = PTRDIFF_MAX / 2)
SPOIL(huge_grad_out_stride, c->desc.grad_out.batch = PTRDIFF_MIN)
SPOIL(huge_grad_query_stride, c->desc.grad_query.row = PTRDIFF_MAX / 2)
SPOIL(huge_grad_key_stride, c->desc.grad_key.head = PTRDIFF_MAX)
SPOIL(huge_grad_value_stride, c->desc.grad_value.batch = PTRDIFF_MIN)
SPOIL(huge_grad_mask_stride, c->desc.grad_masks[0].key = PTRDIFF_MAX / 2)
SPOIL(first_task_negative, c->exec.first_task = -1)
SPOIL(more_tasks_than_there_are, c->exec.num_tasks = INT32_MAX)
SPOIL(no_workspace, c->exec.workspace = NULL)
SPOIL(workspace_misaligned, c->exec.workspace = (char *)c->exec.workspace + 8)
SPOIL(workspace_one_byte_short, c->exec.workspace_bytes--)

static const struct {
    const char *what;
    void (*spoil)(refused_call *call);
    attn_status expected;
    bool f32_only; /* the float64 call needs no workspace */
} refusals[] = {
    {"query NULL", no_query, ATTN_ERR_NULL, false},
    {"key NULL", no_key, ATTN_ERR_NULL, false},
    {"value NULL", no_value, ATTN_ERR_NULL, false},
    {"out NULL", no_out, ATTN_ERR_NULL, false},
    {"logsumexp NULL", no_logsumexp, ATTN_ERR_NULL, false},
    {"grad_out NULL", no_grad_out, ATTN_ERR_NULL, false},
    {"mask without data", no_mask_data, ATTN_ERR_NULL, false},
    {"batch < 0", negative_batch, ATTN_ERR_SHAPE, false},
    {"seq_len_q < 0", negative_seq_len_q, ATTN_ERR_SHAPE, false},
    {"head_dim_v 0", zero_head_dim_v, ATTN_ERR_SHAPE, false},
    {"num_heads 4, num_kv_heads 3", heads_not_divisible, ATTN_ERR_HEADS, false},
    {"scale NaN", nan_scale, ATTN_ERR_OPTION, false},
    {"softcap < 0", negative_softcap, ATTN_ERR_OPTION, false},
    {"align 2", undefined_align, ATTN_ERR_OPTION, false},
    {"mask kind 3", undefined_mask_kind, ATTN_ERR_OPTION, false},
    {"mask longer than the keys", mask_longer_than_keys, ATTN_ERR_SHAPE, false},
    {"the gradient of a mask that is not there", gradient_of_no_mask, ATTN_ERR_OPTION, false},
    {"the gradient of a boolean mask", gradient_of_a_boolean_mask, ATTN_ERR_OPTION, false},
    {"kv_lengths > seq_len_kv", length_beyond_keys, ATTN_ERR_LENGTH, false},
    {"key stride too large", huge_key_stride, ATTN_ERR_SIZE, false},
    {"out stride too large", huge_out_stride, ATTN_ERR_SIZE, false},
    {"grad_out stride too small", huge_grad_out_stride, ATTN_ERR_SIZE, false},
    {"grad_query stride too large", huge_grad_query_stride, ATTN_ERR_SIZE, false},
    {"grad_key stride too large", huge_grad_key_stride, ATTN_ERR_SIZE, false},
    {"grad_value stride too small", huge_grad_value_stride, ATTN_ERR_SIZE, false},
    {"grad_masks stride too large", huge_grad_mask_stride, ATTN_ERR_SIZE, false},
    {"first_task < 0", first_task_negative, ATTN_ERR_OPTION, false},
    {"more tasks than there are", more_tasks_than_there_are, ATTN_ERR_OPTION, false},
    {"workspace NULL", no_workspace, ATTN_ERR_WORKSPACE, true},
    {"workspace misaligned", workspace_misaligned, ATTN_ERR_WORKSPACE, true},
    {"workspace one byte short", workspace_one_byte_short, ATTN_ERR_WORKSPACE, true},
};

static attn_status run_refused(const refused_call *c, size_t element_bytes, bool size_only,
                               size_t *bytes) {
    if (element_bytes == sizeof(float)) {
        const attn_sdpa_backward_f32_data data = {c->query,
                                                  c->key,
                                                  c->value,
                                                  c->alibi_slopes,
                                                  c->out,
                                                  c->logsumexp,
                                                  c->grad_out,
                                                  c->grads[QUERY],
                                                  c->grads[KEY],
                                                  c->grads[VALUE],
                                                  {c->grads[MASK0], c->grads[MASK1]}};
        return size_only ? attn_sdpa_backward_f32_workspace(&c->desc, &data, NULL, bytes, NULL)
                         : attn_sdpa_backward_f32(&c->desc, &data, &c->exec);
    }
    const attn_sdpa_backward_f64_data data = {c->query,
                                              c->key,
                                              c->value,
                                              c->alibi_slopes,
                                              c->out,
                                              c->logsumexp,
                                              c->grad_out,
                                              c->grads[QUERY],
                                              c->grads[KEY],
                                              c->grads[VALUE],
                                              {c->grads[MASK0], c->grads[MASK1]}};
    return size_only ? attn_sdpa_backward_f64_workspace(&c->desc, &data, bytes, NULL)
                     : attn_sdpa_backward_f64(&c->desc, &data, &c->exec);
}

static void refuses(size_t element_bytes) {
    guarded input = guarded_alloc(BYTES, 0), grads[4];
    attn_sdpa_desc forward;
    attn_sdpa_desc_init(&forward, BATCH, HEADS, KV_HEADS, LEN_Q, LEN_KV, DIM, DIM);
    forward.masks[0] =
        (attn_mask){.data = input.data, .kind = ATTN_MASK_ADD, .query = LEN_KV, .key = 1};
    refused_call good = {.query = input.data,
                         .key = input.data,
                         .value = input.data,
                         .out = input.data,
                         .logsumexp = input.data,
                         .grad_out = input.data,
                         .kv_lengths = {LEN_KV, 0}};
    attn_sdpa_backward_desc_init(&good.desc, &forward);
    for (int g = QUERY; g <= MASK0; g++) {
        grads[g] = guarded_alloc(BYTES, FILL);
        good.grads[g] = grads[g].data;
    }
    CHECK_STATUS(run_refused(&good, element_bytes, true, &good.exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(good.exec.workspace_bytes, FILL);
    good.exec.workspace = workspace.data;

    for (size_t r = 0; r < sizeof refusals / sizeof *refusals; r++) {
        if (refusals[r].f32_only && element_bytes != sizeof(float))
            continue;
        refused_call bad = good;
        bad.desc.forward.kv_lengths = bad.kv_lengths;
        refusals[r].spoil(&bad);
        check_case("%s, %d-byte elements", refusals[r].what, (int)element_bytes);
        CHECK_STATUS(run_refused(&bad, element_bytes, false, NULL), refusals[r].expected);
        for (int g = QUERY; g <= MASK0; g++)
            CHECK(guarded_untouched(&grads[g], FILL));
        CHECK(guarded_untouched(&workspace, FILL));

        const bool about_exec = memcmp(&bad.exec, &good.exec, sizeof good.exec) != 0;
        size_t bytes = 12345;
        CHECK_STATUS(run_refused(&bad, element_bytes, true, &bytes),
                     about_exec ? ATTN_OK : refusals[r].expected);
        CHECK(about_exec ? bytes == good.exec.workspace_bytes : bytes == 12345);
    }

    check_case("the unspoilt call, %d-byte elements", (int)element_bytes);
    good.desc.forward.kv_lengths = good.kv_lengths;
    /* scores_stage is not looked at. */
    good.desc.forward.scores_stage = -1;
    CHECK_STATUS(run_refused(&good, element_bytes, false, NULL), ATTN_OK);
    for (int g = QUERY; g <= MASK0; g++) {
        CHECK(!guarded_untouched(&grads[g], FILL) && guarded_intact(&grads[g]));
        guarded_free(&grads[g]);
    }
    guarded_free(&workspace), guarded_free(&input);
}

TEST(both_refuse_with_the_right_status_and_write_nothing) {
    refuses(sizeof(float));
    refuses(sizeof(double));
    attn_sdpa_desc forward;
    attn_sdpa_desc_init(&forward, 1, 1, 1, 1, 1, 1, 1);
    attn_sdpa_backward_desc desc;
    attn_sdpa_backward_desc_init(&desc, &forward);
    const attn_sdpa_backward_f32_data f32 = {0};
    const attn_sdpa_backward_f64_data f64 = {0};
    check_case("NULL structs");
    CHECK_STATUS(attn_sdpa_backward_f32(NULL, &f32, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_backward_f32(&desc, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_backward_f64(NULL, &f64, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_backward_f64(&desc, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_backward_f32_workspace(NULL, &f32, NULL, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_backward_f64_workspace(&desc, NULL, NULL, NULL), ATTN_ERR_NULL);
}

int main(void) {
    RUN(the_reference_is_the_slope_of_the_forward_call);
    RUN(agrees_with_the_reference_on_chosen_cases);
    RUN(agrees_with_the_reference_on_random_cases);
    RUN(threads_change_no_bit);
    RUN(both_refuse_with_the_right_status_and_write_nothing);
    for (int g = 0; g < NUM_GRADIENTS; g++)
        printf("%s: at most %.2f of what is allowed\n", NAMES[g], worst_of_all[g]);
    return check_summary();
}
