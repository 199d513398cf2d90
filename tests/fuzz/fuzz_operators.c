/* Every function of attn.h that is not attention itself: linear and its gradients, softmax, rotary,
 * norm, gate, half precision, statistics, rollout and the textbook form, in float32 against float64
 * or a loop written here. */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */

#include "fuzz.h"

static const double U = 0x1p-24;

enum { MOST_TENSORS = 8 };

/* The tensors of the call at hand, so that they can be given back together. */
typedef struct bench {
    tensor *tensors[MOST_TENSORS];
    int count;
    bool is_large;
    faults must;
} bench;

/* An input of the call. */
static void put(bench *w, tensor *t, rng *r, int32_t values) {
    w->must |= tensor_faults(t);
    w->is_large |= t->is_large;
    tensor_make(t, r, values);
    w->tensors[w->count++] = t;
}

/* An output, or with values in it one that is added to. */
static void put_output(bench *w, tensor *t) {
    w->is_large |= t->is_large;
    tensor_alloc(t);
    w->tensors[w->count++] = t;
}

static void clear(bench *w) {
    for (int t = 0; t < w->count; t++)
        tensor_free(w->tensors[t]);
}

static faults hold_all(const bench *w, attn_status status, const char *call) {
    hold(status, w->must, fault(ATTN_ERR_SIZE, w->is_large), call);
    if (status != ATTN_OK)
        for (int t = 0; t < w->count; t++)
            check_that(tensor_untouched(w->tensors[t]), __FILE__, __LINE__, "%s: written", call);
    return w->must;
}

/* Every element of t. An infinite tolerance: nothing is promised. */
static void compare(const tensor *t, double tolerance, const char *name) {
    if (t->is_given && t->count && isfinite(tolerance) && tensor_gaps_untouched(t, name)) {
        uint8_t *uses = tensor_uses(t);
        for (size_t e = 0; e < t->count; e++)
            if (uses[e])
                check_near((double)t->f32[e], t->f64[e], tolerance, __FILE__, __LINE__, name);
        free(uses);
    }
}

/* The sum of `terms` products of numbers up to a and b: what its roundings may be off by. */
static double product_tolerance(double a, double b, double terms) {
    const double largest = a * b * terms;
    return a < 0x1p100 && b < 0x1p100 && largest < 0x1p100
               ? U * (terms + 4) * largest + (terms + 4) * 0x1p-149
               : INFINITY;
}

/* Rows of a matrix, `step` apart. */
static tensor take_matrix(input *in, int32_t rows, int32_t columns) {
    tensor t = {.sizes = {1, 1, rows, columns}, .steps = {0, 0, columns, 1}};
    const uint8_t byte = take(in);
    if (byte >= 128)
        t.steps[2] = byte < 240 ? (ptrdiff_t)columns + byte % 8 - 2
                                : (ptrdiff_t)take_word(in, byte < 248 ? 2 : 8);
    if (byte >= 128 && byte & 1)
        t.steps[2] = -t.steps[2];
    t.is_given = take_given(in);
    tensor_measure(&t, sizeof(float));
    return t;
}

static void linear(input *in, rng *r, int32_t values) {
    const int32_t rows = take_size(in, 12), in_dim = take_size(in, 40), out_dim = take_size(in, 40);
    tensor x = take_matrix(in, rows, in_dim), y = take_matrix(in, rows, out_dim);
    tensor w = contiguous_tensor(take_given(in), 1, 1, out_dim, in_dim);
    tensor bias = contiguous_tensor(take(in) & 1, 1, 1, 1, out_dim);
    check_case("linear {.rows = %d, .in_dim = %d, .out_dim = %d, .steps = {%td, %td}}", (int)rows,
               (int)in_dim, (int)out_dim, x.steps[2], y.steps[2]);
    bench b = {.must = fault(ATTN_ERR_SHAPE, rows < 0 || in_dim < 1 || out_dim < 1)};
    put(&b, &x, r, values), put(&b, &w, r, values), put(&b, &bias, r, values);
    b.must &= ~fault(ATTN_ERR_NULL, !bias.is_given);
    b.must |= tensor_faults(&x) | tensor_faults(&y) | tensor_faults(&w);
    b.must |= fault(ATTN_ERR_OPTION, rows > 1 && out_dim > 0 && tensor_rows_overlap(&y));
    put_output(&b, &y);

    attn_exec exec = {0};
    attn_status status =
        attn_linear_f32_workspace(rows, in_dim, out_dim, NULL, &exec.workspace_bytes);
    hold(status, b.must & fault(ATTN_ERR_SHAPE, true), fault(ATTN_ERR_SIZE, b.is_large),
         "attn_linear_f32_workspace");
    if (status == ATTN_OK && !b.is_large) {
        exec.workspace = workspace_alloc(exec.workspace_bytes);
        attn_exec spoiled = exec;
        const attn_status expected = spoil_exec(in, &spoiled, 1);
        if (expected != ATTN_OK && b.must == 0) {
            CHECK_STATUS(attn_linear_f32(rows, in_dim, out_dim, tensor_f32(&x), x.steps[2],
                                         tensor_f32(&w), tensor_f32(&bias), tensor_f32(&y),
                                         y.steps[2], &spoiled),
                         expected);
            CHECK(tensor_untouched(&y));
        }
    }
    if (!b.is_large || b.must) {
        status = attn_linear_f32(rows, in_dim, out_dim, tensor_f32(&x), x.steps[2], tensor_f32(&w),
                                 tensor_f32(&bias), tensor_f32(&y), y.steps[2], &exec);
        if (status != ATTN_ERR_WORKSPACE || b.must == 0)
            hold_all(&b, status, "attn_linear_f32");
        if (status == ATTN_OK) {
            CHECK_STATUS(attn_linear_f64(rows, in_dim, out_dim, tensor_f64(&x), x.steps[2],
                                         tensor_f64(&w), tensor_f64(&bias), tensor_f64(&y),
                                         y.steps[2]),
                         ATTN_OK);
            const double most = fmax(tensor_largest(&bias), tensor_largest(&w));
            compare(&y, product_tolerance(tensor_largest(&x) + 1, most, in_dim + 1), "y");
        }
    }
    free(exec.workspace);
    clear(&b);
}

static void linear_backward(input *in, rng *r, int32_t values) {
    const int32_t rows = take_size(in, 12), in_dim = take_size(in, 40), out_dim = take_size(in, 40);
    tensor x = take_matrix(in, rows, in_dim), grad_y = take_matrix(in, rows, out_dim);
    tensor grad_x = take_matrix(in, rows, in_dim);
    tensor w = contiguous_tensor(take_given(in), 1, 1, out_dim, in_dim);
    const uint8_t wanted = take(in);
    tensor grad_w = contiguous_tensor(wanted & 1, 1, 1, out_dim, in_dim);
    tensor grad_bias = contiguous_tensor(wanted & 2, 1, 1, 1, out_dim);
    const int32_t accumulate = wanted & 4;
    check_case("linear_backward {.rows = %d, .in_dim = %d, .out_dim = %d, .steps = {%td, %td, "
               "%td}, .wanted = %d}",
               (int)rows, (int)in_dim, (int)out_dim, x.steps[2], grad_y.steps[2], grad_x.steps[2],
               wanted);
    bench b = {0};
    put(&b, &x, r, values), put(&b, &grad_y, r, values), put(&b, &w, r, values);
    const bool is_wanted = grad_x.is_given || grad_w.is_given || grad_bias.is_given;
    b.must = fault(ATTN_ERR_SHAPE, rows < 0 || in_dim < 1 || out_dim < 1) |
             fault(ATTN_ERR_OPTION, grad_x.is_given && tensor_rows_overlap(&grad_x)) |
             fault(ATTN_ERR_SIZE, grad_y.is_impossible || w.is_impossible ||
                                      (grad_x.is_given && grad_x.is_impossible) ||
                                      (grad_w.is_given && x.is_impossible)) |
             fault(ATTN_ERR_NULL, rows > 0 && ((is_wanted && !grad_y.is_given) ||
                                               (grad_x.is_given && !w.is_given) ||
                                               (grad_w.is_given && !x.is_given)));
    put_output(&b, &grad_x), put_output(&b, &grad_w), put_output(&b, &grad_bias);
    const faults may = fault(ATTN_ERR_SIZE, b.is_large);
    if (accumulate) {
        tensor *sums[3] = {&grad_x, &grad_w, &grad_bias};
        for (int t = 0; t < 3; t++)
            for (size_t e = 0; e < sums[t]->count; e++)
                tensor_set(sums[t], e, make_number(r, ORDINARY));
    }

    attn_exec exec = {0};
    const attn_status sized =
        attn_linear_backward_f32_workspace(rows, in_dim, out_dim, NULL, &exec.workspace_bytes);
    if (!b.is_large || (b.must & ~fault(ATTN_ERR_SIZE, true))) {
        if (sized == ATTN_OK && !b.is_large)
            exec.workspace = workspace_alloc(exec.workspace_bytes);
        const attn_status status = attn_linear_backward_f32(
            rows, in_dim, out_dim, tensor_f32(&x), x.steps[2], tensor_f32(&w), tensor_f32(&grad_y),
            grad_y.steps[2], tensor_f32(&grad_x), grad_x.steps[2], tensor_f32(&grad_w),
            tensor_f32(&grad_bias), accumulate, &exec);
        if (status != ATTN_ERR_WORKSPACE || b.must == 0)
            hold(status, b.must, may, "attn_linear_backward_f32");
        for (int t = 0; t < b.count && status != ATTN_OK; t++)
            CHECK(tensor_untouched(b.tensors[t]));
        if (status == ATTN_OK) {
            CHECK_STATUS(attn_linear_backward_f64(rows, in_dim, out_dim, tensor_f64(&x), x.steps[2],
                                                  tensor_f64(&w), tensor_f64(&grad_y),
                                                  grad_y.steps[2], tensor_f64(&grad_x),
                                                  grad_x.steps[2], tensor_f64(&grad_w),
                                                  tensor_f64(&grad_bias), accumulate),
                         ATTN_OK);
            const double most = fmax(1.0, fmax(tensor_largest(&x), tensor_largest(&w)));
            const double tolerance =
                product_tolerance(tensor_largest(&grad_y) + 1, most, fmax(rows, out_dim) + 1.0);
            compare(&grad_x, tolerance, "grad_x");
            compare(&grad_w, tolerance, "grad_w");
            compare(&grad_bias, tolerance, "grad_bias");
        }
    }
    free(exec.workspace);
    clear(&b);
}

static void softmax(input *in, rng *r, int32_t values) {
    const int32_t outer = take_size(in, 6), length = take_size(in, 20), inner = take_size(in, 6);
    const bool in_place = take(in) & 1;
    tensor x = contiguous_tensor(take_given(in), 1, outer, length, inner);
    tensor y = contiguous_tensor(take_given(in), 1, outer, length, inner);
    check_case("softmax {.outer = %d, .length = %d, .inner = %d, .in_place = %d}", (int)outer,
               (int)length, (int)inner, in_place);
    bench b = {.must = fault(ATTN_ERR_SHAPE, outer < 0 || length < 0 || inner < 0)};
    put(&b, &x, r, values);
    b.must |= tensor_faults(&y);
    put_output(&b, &y);
    if (!b.is_large || b.must) {
        /* attn_softmax_f64 may refuse a size that float32 has room for, so it comes last. */
        if (in_place && b.must == 0 && y.count)
            memcpy(y.f32, x.f32, y.count * sizeof *y.f32);
        const attn_status status = attn_softmax_f32(
            outer, length, inner, in_place && b.must == 0 ? tensor_f32(&y) : tensor_f32(&x),
            tensor_f32(&y));
        hold_all(&b, status, "attn_softmax_f32");
        if (status == ATTN_OK) {
            CHECK_STATUS(attn_softmax_f64(outer, length, inner, tensor_f64(&x), tensor_f64(&y)),
                         ATTN_OK);
            /* x log2(e) is rounded, at most 2^-24 of the largest difference that counts, 70. */
            compare(&y, U * (160 + length), "y");
        }
    }
    clear(&b);
}

static void rotary(input *in, rng *r, int32_t values) {
    const int32_t batch = take_size(in, 3), heads = take_size(in, 3), seq_len = take_size(in, 9);
    const int32_t head_dim = take_size(in, 20);
    attn_rotary_desc d = {.batch = batch,
                          .num_heads = heads,
                          .seq_len = seq_len,
                          .head_dim = head_dim,
                          .rotary_dim = take(in) < 128 ? head_dim & ~1 : take_size(in, 20),
                          .interleaved = take_option(in, 1),
                          .num_positions = take(in) < 128 ? seq_len : take_size(in, 9)};
    const bool in_place = take(in) & 1;
    tensor x = take_tensor(in, batch, heads, seq_len, head_dim);
    tensor out = take_tensor(in, batch, heads, seq_len, head_dim);
    if (in_place)
        memcpy(out.steps, x.steps, sizeof out.steps), tensor_measure(&out, sizeof(float));
    tensor cosine = take_tensor(in, batch, 1, d.num_positions, d.rotary_dim / 2);
    cosine.steps[2] = d.rotary_dim / 2, cosine.steps[1] = 0;
    tensor_measure(&cosine, sizeof(float));
    d.table_batch = cosine.steps[0];
    d.x = tensor_strides(&x), d.out = tensor_strides(&out);
    tensor sine = cosine;
    sine.is_given = take_given(in);
    check_case("rotary {.batch = %d, .num_heads = %d, .seq_len = %d, .head_dim = %d, .rotary_dim = "
               "%d, .num_positions = %d, .in_place = %d}",
               (int)batch, (int)heads, (int)seq_len, (int)head_dim, (int)d.rotary_dim,
               (int)d.num_positions, in_place);
    bench b = {0};
    put(&b, &x, r, values);
    put(&b, &cosine, r, ORDINARY), put(&b, &sine, r, ORDINARY);
    b.must |= tensor_faults(&out);
    put_output(&b, &out);
    const bool is_empty = batch == 0 || seq_len == 0;
    int32_t *positions = NULL;
    if (take(in) & 1 && batch > 0 && seq_len > 0 && batch < 100 && seq_len < 1000) {
        positions = malloc(sizeof *positions * (size_t)batch * (size_t)seq_len);
        const int32_t wrong = take(in) < 224 ? -1 : take_below(in, batch * seq_len);
        for (int32_t p = 0; p < batch * seq_len; p++) {
            positions[p] = d.num_positions > 0 ? rng_int(r, 0, d.num_positions - 1) : 0;
            if (p == wrong)
                positions[p] = d.num_positions;
            b.must |= fault(ATTN_ERR_LENGTH, positions[p] < 0 || positions[p] >= d.num_positions);
        }
        d.position_ids = positions;
    }
    b.must |= fault(ATTN_ERR_SHAPE, !positions && d.num_positions < seq_len);
    b.must |= fault(ATTN_ERR_OPTION, tensor_rows_overlap(&out));
    if (is_empty)
        b.must = 0; /* nothing is looked at but the sizes */
    b.must |= fault(ATTN_ERR_SHAPE, batch < 0 || heads < 1 || seq_len < 0 || head_dim < 1 ||
                                        d.num_positions < 0 || d.rotary_dim < 2 ||
                                        d.rotary_dim % 2 != 0 || d.rotary_dim > head_dim);
    if (!b.is_large || b.must) {
        if (in_place && b.must == 0 && x.count) {
            memcpy(out.f32, x.f32, x.count * sizeof *x.f32);
            memcpy(out.before, x.f32, x.count * sizeof *x.f32);
        }
        const attn_status status =
            attn_rotary_f32(&d, in_place && b.must == 0 ? tensor_f32(&out) : tensor_f32(&x),
                            tensor_f32(&cosine), tensor_f32(&sine), tensor_f32(&out));
        hold_all(&b, status, "attn_rotary_f32");
        if (status == ATTN_OK) {
            CHECK_STATUS(attn_rotary_f64(&d, tensor_f64(&x), tensor_f64(&cosine), tensor_f64(&sine),
                                         tensor_f64(&out)),
                         ATTN_OK);
            compare(&out, product_tolerance(tensor_largest(&x), 1.0, 2), "out");
        }
    }
    free(positions);
    clear(&b);
}

static void norm(input *in, rng *r, int32_t values) {
    const int32_t rows = take_size(in, 9), dim = take_size(in, 40);
    const double epsilon = take_number(in, 1e-5);
    tensor x = contiguous_tensor(take_given(in), 1, 1, rows, dim);
    tensor weight = contiguous_tensor(take_given(in), 1, 1, 1, dim);
    tensor out = contiguous_tensor(take_given(in), 1, 1, rows, dim);
    check_case("rms_norm {.rows = %d, .dim = %d, .epsilon = %.17g}", (int)rows, (int)dim, epsilon);
    bench b = {0};
    put(&b, &x, r, values), put(&b, &weight, r, ORDINARY);
    b.must |= tensor_faults(&out);
    put_output(&b, &out);
    if (rows == 0)
        b.must = 0;
    b.must |= fault(ATTN_ERR_SHAPE, rows < 0 || dim < 1) |
              fault(ATTN_ERR_OPTION, !(epsilon >= 0) || isinf(epsilon));
    if (!b.is_large || b.must) {
        const attn_status status = attn_rms_norm_f32(rows, dim, tensor_f32(&x), tensor_f32(&weight),
                                                     epsilon, tensor_f32(&out));
        hold_all(&b, status, "attn_rms_norm_f32");
        if (status == ATTN_OK) {
            CHECK_STATUS(attn_rms_norm_f64(rows, dim, tensor_f64(&x), tensor_f64(&weight), epsilon,
                                           tensor_f64(&out)),
                         ATTN_OK);
            /* No element is above sqrt(dim). */
            compare(&out, U * (dim + 8) * sqrt(dim), "out");
        }
    }
    clear(&b);
}

static void gate(input *in, rng *r, int32_t values) {
    const int32_t count = take_size(in, 40);
    tensor x = contiguous_tensor(take_given(in), 1, 1, 1, count);
    tensor up = contiguous_tensor(take_given(in), 1, 1, 1, count);
    tensor out = contiguous_tensor(take_given(in), 1, 1, 1, count);
    check_case("swiglu {.count = %d}", (int)count);
    bench b = {.must = fault(ATTN_ERR_SHAPE, count < 0)};
    put(&b, &x, r, values), put(&b, &up, r, ORDINARY);
    b.must |= tensor_faults(&out);
    put_output(&b, &out);
    if (!b.is_large || b.must) {
        const attn_status status =
            attn_swiglu_f32(count, tensor_f32(&x), tensor_f32(&up), tensor_f32(&out));
        hold_all(&b, status, "attn_swiglu_f32");
        if (status == ATTN_OK) {
            CHECK_STATUS(attn_swiglu_f64(count, tensor_f64(&x), tensor_f64(&up), tensor_f64(&out)),
                         ATTN_OK);
            const double largest = tensor_largest(&x);
            compare(&out, largest < 0x1p126 ? 16 * U * fmax(1.0, largest) : INFINITY, "out");
        }
    }
    clear(&b);
}

static void half(input *in, rng *r) {
    const size_t count = take(in) < 250 ? (size_t)take(in) : (size_t)take_word(in, 8);
    const bool in_place = take(in) & 1, is_large = count > MOST_ELEMENTS;
    const bool has_x = take_given(in), has_y = take_given(in);
    const size_t held = is_large ? 0 : count;
    check_case("f16_to_f32 {.count = %zu, .in_place = %d}", count, in_place);
    uint16_t *bits = malloc(held * sizeof *bits + 1);
    float *y = malloc(held * sizeof *y + 1);
    for (size_t i = 0; i < held; i++)
        bits[i] = (uint16_t)rng_next(r);
    uint16_t *x = in_place ? (uint16_t *)y + held : bits;
    memmove(x, bits, held * sizeof *bits);
    const faults must = fault(ATTN_ERR_SIZE, count > PTRDIFF_MAX / sizeof(float)) |
                        fault(ATTN_ERR_NULL, count > 0 && (!has_x || !has_y));
    if (!is_large || must) {
        const attn_status status = attn_f16_to_f32(count, has_x ? x : NULL, has_y ? y : NULL);
        hold(status, must, 0, "attn_f16_to_f32");
        for (size_t i = 0; i < held && status == ATTN_OK; i++) {
            const int exponent = bits[i] >> 10 & 31, fraction = bits[i] & 1023;
            const double size = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                                : exponent == 0 ? ldexp(fraction, -24)
                                                : ldexp(1024 + fraction, exponent - 25);
            CHECK_EXACT((double)y[i], bits[i] & 0x8000 ? -size : size);
        }
    }
    free(bits), free(y);
}

static void statistics(input *in, rng *r) {
    const int32_t rows = take_size(in, 9), keys = take_size(in, 9);
    const int32_t offset = (int8_t)take(in) < 100 ? (int32_t)take_below(in, 9) - 4
                                                  : (int32_t)(uint32_t)take_word(in, 4);
    tensor w = contiguous_tensor(take_given(in), 1, 1, rows, keys);
    const bool has_statistics = take_given(in);
    check_case("head_statistics {.rows = %d, .keys = %d, .offset = %d}", (int)rows, (int)keys,
               (int)offset);
    w.is_large |= w.count > MOST_ELEMENTS / 2;
    bench b = {0};
    put(&b, &w, r, take_below(in, 2) ? ANY : SPECIAL);
    for (size_t e = 0; e < w.count; e++)
        w.f64[e] = fabs(w.f64[e]);
    attn_head_statistics s;
    b.must |= fault(ATTN_ERR_SHAPE, rows < 0 || keys < 0) | fault(ATTN_ERR_NULL, !has_statistics);
    if (!b.is_large || b.must) {
        const attn_status status = attn_head_statistics_f64(rows, keys, offset, tensor_f64(&w),
                                                            has_statistics ? &s : NULL);
        hold(status, b.must, fault(ATTN_ERR_SIZE, b.is_large), "attn_head_statistics_f64");
        if (status == ATTN_OK)
            CHECK(s.rows >= 0 && s.rows <= rows && !(s.max < 0));
    }
    clear(&b);
}

static void rollout(input *in, rng *r) {
    const int32_t heads = take_size(in, 4), seq_len = take_size(in, 9);
    const double residual = take_number(in, 0.5);
    const int32_t fusion = take_option(in, 2);
    tensor w = contiguous_tensor(take_given(in), 1, heads, seq_len, seq_len);
    tensor previous = contiguous_tensor(take(in) & 1, 1, 1, seq_len, seq_len);
    tensor out = contiguous_tensor(take_given(in), 1, 1, seq_len, seq_len);
    check_case("rollout {.num_heads = %d, .seq_len = %d, .residual = %.17g, .fusion = %d}",
               (int)heads, (int)seq_len, residual, (int)fusion);
    bench b = {0};
    put(&b, &w, r, ORDINARY);
    put(&b, &previous, r, ORDINARY);
    b.must = tensor_faults(&w) | tensor_faults(&out);
    b.must |= fault(ATTN_ERR_SHAPE, heads < 1 || seq_len < 0) |
              fault(ATTN_ERR_OPTION, !(residual >= 0 && residual <= 1) || fusion < 0 || fusion > 2);
    for (size_t e = 0; e < w.count; e++)
        w.f64[e] = fabs(w.f64[e]);
    for (size_t e = 0; e < previous.count; e++)
        previous.f64[e] = fabs(previous.f64[e]);
    put_output(&b, &out);
    if (!b.is_large || b.must) {
        const attn_status status =
            attn_rollout_f64(heads, seq_len, tensor_f64(&w), residual, fusion,
                             tensor_f64(&previous), tensor_f64(&out));
        hold(status, b.must, fault(ATTN_ERR_SIZE, b.is_large), "attn_rollout_f64");
        for (size_t e = 0; e < out.count && status == ATTN_OK; e++)
            CHECK(isfinite(out.f64[e]) && out.f64[e] >= 0);
    }
    clear(&b);
}

static void textbook(input *in, rng *r, int32_t values) {
    const int32_t keys = take_size(in, 9), dim = take_size(in, 9), dim_v = take_size(in, 9);
    const double scale = take_number(in, 1.0);
    tensor query = contiguous_tensor(take_given(in), 1, 1, 1, dim);
    tensor key = contiguous_tensor(take_given(in), 1, 1, keys, dim);
    tensor value = contiguous_tensor(take_given(in), 1, 1, keys, dim_v);
    tensor scores = contiguous_tensor(take_given(in), 1, 1, 1, keys);
    tensor weights = contiguous_tensor(take_given(in), 1, 1, 1, keys);
    tensor out = contiguous_tensor(take_given(in), 1, 1, 1, dim_v);
    check_case("attention {.keys = %d, .dim = %d, .dim_v = %d, .scale = %.17g}", (int)keys,
               (int)dim, (int)dim_v, scale);
    bench b = {.must = fault(ATTN_ERR_SHAPE, keys < 1 || dim < 1 || dim_v < 1) |
                       fault(ATTN_ERR_OPTION, isnan(scale))};
    put(&b, &query, r, values), put(&b, &key, r, values), put(&b, &value, r, values);
    b.must |= tensor_faults(&scores) | tensor_faults(&weights) | tensor_faults(&out);
    put_output(&b, &scores), put_output(&b, &weights), put_output(&b, &out);
    if (!b.is_large || b.must) {
        const attn_status status = attn_attention_f64(
            keys, dim, dim_v, scale, tensor_f64(&query), tensor_f64(&key), tensor_f64(&value),
            tensor_f64(&scores), tensor_f64(&weights), tensor_f64(&out));
        hold(status, b.must, fault(ATTN_ERR_SIZE, b.is_large), "attn_attention_f64");
        if (status == ATTN_OK && values != SPECIAL && fabs(scale) < 0x1p100) {
            double sum = 0.0;
            for (int32_t j = 0; j < keys; j++)
                sum += weights.f64[j];
            /* Two sums of as many terms, softmax's and this one, and a division. */
            const double rounding = (keys + 1) * 0x1p-52;
            CHECK_NEAR(sum, 1.0, rounding);
            const double largest = tensor_largest(&value) * (1 + 2 * rounding);
            for (int32_t e = 0; e < dim_v; e++)
                CHECK(fabs(out.f64[e]) <= largest);
        }
    }
    clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    const int32_t which = take_below(&in, 10);
    rng r = {take(&in)};
    const int32_t values = take_below(&in, NUM_VALUES);
    switch (which) {
    case 0:
        linear(&in, &r, values);
        break;
    case 1:
        linear_backward(&in, &r, values);
        break;
    case 2:
        softmax(&in, &r, values);
        break;
    case 3:
        rotary(&in, &r, values);
        break;
    case 4:
        norm(&in, &r, values);
        break;
    case 5:
        gate(&in, &r, values);
        break;
    case 6:
        half(&in, &r);
        break;
    case 7:
        statistics(&in, &r);
        break;
    case 8:
        rollout(&in, &r);
        break;
    default:
        textbook(&in, &r, values);
        break;
    }
    return fuzz_end();
}
