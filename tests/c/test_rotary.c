/* Rotary position embedding: what the paper promises, each layout of the pairs, and the layer that
 * uses it. */
#include "check.h"

enum { FILL = 0x5A };

/* cos and sin of p * theta^(-2 k / dim), [positions, dim / 2] */
static void fill_tables(int32_t positions, int32_t dim, double *cosines, double *sines) {
    for (int32_t p = 0; p < positions; p++)
        for (int32_t k = 0; k < dim / 2; k++) {
            const double angle = p * pow(10000.0, -2.0 * k / dim);
            cosines[p * (dim / 2) + k] = cos(angle);
            sines[p * (dim / 2) + k] = sin(angle);
        }
}

/* Contiguous [batch, num_heads, seq_len, head_dim], every column turned. */
static attn_rotary_desc contiguous(int32_t batch, int32_t num_heads, int32_t seq_len,
                                   int32_t head_dim) {
    const ptrdiff_t head = (ptrdiff_t)seq_len * head_dim;
    const attn_strides strides = {num_heads * head, head, head_dim};
    return (attn_rotary_desc){.batch = batch,
                              .num_heads = num_heads,
                              .seq_len = seq_len,
                              .head_dim = head_dim,
                              .rotary_dim = head_dim,
                              .num_positions = seq_len,
                              .x = strides,
                              .out = strides};
}

TEST(row_p_of_one_pair_is_turned_by_p_radians) {
    double x[5][2], out[5][2], cosines[5], sines[5];
    for (int p = 0; p < 5; p++) {
        x[p][0] = 3.0;
        x[p][1] = 4.0;
        cosines[p] = cos(p);
        sines[p] = sin(p);
    }
    const attn_rotary_desc desc = contiguous(1, 1, 5, 2);
    CHECK_STATUS(attn_rotary_f64(&desc, *x, cosines, sines, *out), ATTN_OK);
    for (int p = 0; p < 5; p++) {
        CHECK_NEAR(out[p][0], 5.0 * cos(atan2(4.0, 3.0) + p), 1e-14);
        CHECK_NEAR(out[p][1], 5.0 * sin(atan2(4.0, 3.0) + p), 1e-14);
    }
}

TEST(products_depend_on_the_difference_of_positions_only) {
    enum { DIM = 16, LENGTH = 40 };
    double cosines[LENGTH * DIM / 2], sines[LENGTH * DIM / 2];
    fill_tables(LENGTH, DIM, cosines, sines);
    double query[LENGTH][DIM], key[LENGTH][DIM];
    rng r = {1};
    for (int d = 0; d < DIM; d++) {
        query[0][d] = rng_unit(&r);
        key[0][d] = rng_unit(&r);
    }
    for (int s = 1; s < LENGTH; s++) {
        memcpy(query[s], query[0], sizeof *query);
        memcpy(key[s], key[0], sizeof *key);
    }
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        attn_rotary_desc desc = contiguous(1, 1, LENGTH, DIM);
        desc.interleaved = interleaved;
        double q[LENGTH][DIM], k[LENGTH][DIM];
        CHECK_STATUS(attn_rotary_f64(&desc, *query, cosines, sines, *q), ATTN_OK);
        CHECK_STATUS(attn_rotary_f64(&desc, *key, cosines, sines, *k), ATTN_OK);
        for (int i = 0; i < LENGTH; i++)
            for (int j = 0; j < LENGTH; j++) {
                double dot = 0.0, first = 0.0;
                for (int d = 0; d < DIM; d++) {
                    dot += q[i][d] * k[j][d];
                    first += q[i > j ? i - j : 0][d] * k[i > j ? 0 : j - i][d];
                }
                CHECK_NEAR(dot, first, 1e-13);
            }
    }
}

TEST(the_layouts_differ_by_the_order_of_columns) {
    enum { DIM = 10, HALF = DIM / 2, LENGTH = 7 };
    double cosines[LENGTH * HALF], sines[LENGTH * HALF];
    fill_tables(LENGTH, DIM, cosines, sines);
    double x[LENGTH][DIM], shuffled[LENGTH][DIM], split[LENGTH][DIM], pairs[LENGTH][DIM];
    rng r = {2};
    for (int s = 0; s < LENGTH; s++)
        for (int k = 0; k < HALF; k++) {
            shuffled[s][2 * k] = x[s][k] = rng_unit(&r);
            shuffled[s][2 * k + 1] = x[s][k + HALF] = rng_unit(&r);
        }
    attn_rotary_desc desc = contiguous(1, 1, LENGTH, DIM);
    CHECK_STATUS(attn_rotary_f64(&desc, *x, cosines, sines, *split), ATTN_OK);
    desc.interleaved = 1;
    CHECK_STATUS(attn_rotary_f64(&desc, *shuffled, cosines, sines, *pairs), ATTN_OK);
    for (int s = 0; s < LENGTH; s++)
        for (int k = 0; k < HALF; k++) {
            CHECK_EXACT(pairs[s][2 * k], split[s][k]);
            CHECK_EXACT(pairs[s][2 * k + 1], split[s][k + HALF]);
        }
}

/* Every option at once, in strided memory, against the formula written once more. float32 makes
 * four roundings of numbers up to |a| + |b|. */
static void run_case(int32_t batch, int32_t num_heads, int32_t seq_len, int32_t head_dim,
                     int32_t rotary_dim, bool interleaved, bool ids, bool own_tables, bool in_place,
                     uint64_t seed) {
    check_case("run_case(%d, %d, %d, %d, %d, %d, %d, %d, %d, %" PRIu64 ");", (int)batch,
               (int)num_heads, (int)seq_len, (int)head_dim, (int)rotary_dim, interleaved, ids,
               own_tables, in_place, seed);
    rng r = {seed};
    const int32_t half = rotary_dim / 2, positions = seq_len + rng_int(&r, 0, 5);
    /* [batch, seq_len, heads * dim] with gaps */
    const ptrdiff_t row = (ptrdiff_t)num_heads * head_dim + rng_int(&r, 0, 3),
                    per_batch = seq_len * row + rng_int(&r, 0, 3);
    const size_t count = (size_t)(batch * per_batch + 1),
                 angles = (size_t)(batch * positions * half + 1);
    double *x = malloc(count * sizeof *x), *cosines = malloc(angles * sizeof *cosines),
           *sines = malloc(angles * sizeof *sines);
    float *x32 = malloc(count * sizeof *x32), *cos32 = malloc(angles * sizeof *cos32),
          *sin32 = malloc(angles * sizeof *sin32);
    guarded out = guarded_alloc(count * sizeof(double), FILL),
            out32 = guarded_alloc(count * sizeof(float), FILL);
    int32_t *position_ids = malloc((size_t)(batch * seq_len + 1) * sizeof *position_ids);
    for (size_t e = 0; e < count; e++)
        x[e] = (double)(x32[e] = (float)rng_unit(&r));
    for (size_t e = 0; e < angles; e++) {
        cosines[e] = (double)(cos32[e] = (float)rng_unit(&r));
        sines[e] = (double)(sin32[e] = (float)rng_unit(&r));
    }
    for (int32_t e = 0; e < batch * seq_len; e++)
        position_ids[e] = rng_int(&r, 0, positions - 1);

    const attn_strides strides = {per_batch, head_dim, row};
    const attn_rotary_desc desc = {.batch = batch,
                                   .num_heads = num_heads,
                                   .seq_len = seq_len,
                                   .head_dim = head_dim,
                                   .rotary_dim = rotary_dim,
                                   .interleaved = interleaved,
                                   .num_positions = positions,
                                   .table_batch = own_tables ? (ptrdiff_t)positions * half : 0,
                                   .x = strides,
                                   .out = strides,
                                   .position_ids = ids ? position_ids : NULL};
    if (in_place) {
        memcpy(out.data, x, count * sizeof *x);
        memcpy(out32.data, x32, count * sizeof *x32);
    }
    CHECK_STATUS(attn_rotary_f64(&desc, in_place ? out.data : x, cosines, sines, out.data),
                 ATTN_OK);
    CHECK_STATUS(attn_rotary_f32(&desc, in_place ? out32.data : x32, cos32, sin32, out32.data),
                 ATTN_OK);
    CHECK(guarded_intact(&out) && guarded_intact(&out32));

    for (int32_t b = 0; b < batch; b++)
        for (int32_t h = 0; h < num_heads; h++)
            for (int32_t s = 0; s < seq_len; s++)
                for (int32_t d = 0; d < head_dim; d++) {
                    const ptrdiff_t at = b * per_batch + s * row + h * head_dim;
                    const int32_t p = ids ? position_ids[b * seq_len + s] : s;
                    const int32_t k = interleaved ? d / 2 : d % half;
                    const bool second = interleaved ? d % 2 == 1 : d >= half;
                    const int32_t other =
                        interleaved ? (second ? d - 1 : d + 1) : (second ? d - half : d + half);
                    const ptrdiff_t angle = b * desc.table_batch + (ptrdiff_t)p * half + k;
                    double want = x[at + d];
                    if (d < rotary_dim)
                        want = cosines[angle] * x[at + d] +
                               (second ? 1.0 : -1.0) * sines[angle] * x[at + other];
                    CHECK_NEAR(((double *)out.data)[at + d], want, 1e-15);
                    CHECK_NEAR((double)((float *)out32.data)[at + d], want, 4 * 0x1p-24 * 2);
                }
    guarded_free(&out), guarded_free(&out32);
    free(x), free(cosines), free(sines), free(x32), free(cos32), free(sin32), free(position_ids);
}

TEST(every_option_follows_the_formula) {
    rng r = {3};
    for (uint64_t n = 0; n < 300; n++) {
        const int32_t half = rng_int(&r, 1, 9);
        run_case(rng_int(&r, 1, 3), rng_int(&r, 1, 4), rng_int(&r, 0, 9),
                 2 * half + rng_int(&r, 0, 5), 2 * half, n % 2, n / 2 % 2, n / 4 % 2, n / 8 % 2,
                 n + 1);
    }
}

TEST(a_refused_call_writes_nothing) {
    guarded out = guarded_alloc(24 * sizeof(double), FILL);
    double x[24] = {0}, cosines[12] = {0}, sines[12] = {0};
    int32_t ids[4] = {0, 1, 2, 3};
    const attn_rotary_desc good = contiguous(1, 1, 4, 6);
    attn_rotary_desc bad;
#define REFUSED(change, expected)                                                                  \
    bad = good;                                                                                    \
    change;                                                                                        \
    CHECK_STATUS(attn_rotary_f64(&bad, x, cosines, sines, out.data), expected)
    REFUSED(bad.batch = -1, ATTN_ERR_SHAPE);
    REFUSED(bad.num_heads = 0, ATTN_ERR_SHAPE);
    REFUSED(bad.seq_len = -1, ATTN_ERR_SHAPE);
    REFUSED(bad.head_dim = 0, ATTN_ERR_SHAPE);
    REFUSED(bad.num_positions = -1, ATTN_ERR_SHAPE);
    REFUSED(bad.num_positions = 3, ATTN_ERR_SHAPE);
    REFUSED(bad.rotary_dim = 0, ATTN_ERR_SHAPE);
    REFUSED(bad.rotary_dim = 3, ATTN_ERR_SHAPE);
    REFUSED(bad.rotary_dim = 8, ATTN_ERR_SHAPE);
    REFUSED(bad.out.row = 5, ATTN_ERR_OPTION);
    REFUSED(bad.x.row = PTRDIFF_MAX / 2, ATTN_ERR_SIZE);
    REFUSED(bad.out.row = PTRDIFF_MAX / 2, ATTN_ERR_SIZE);
    REFUSED((bad.batch = 2, bad.table_batch = PTRDIFF_MAX / 2, bad.out.batch = 24), ATTN_ERR_SIZE);
    bad = good;
    bad.position_ids = ids;
    ids[2] = 4;
    CHECK_STATUS(attn_rotary_f64(&bad, x, cosines, sines, out.data), ATTN_ERR_LENGTH);
    ids[2] = -1;
    CHECK_STATUS(attn_rotary_f64(&bad, x, cosines, sines, out.data), ATTN_ERR_LENGTH);
    CHECK_STATUS(attn_rotary_f64(NULL, x, cosines, sines, out.data), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rotary_f64(&good, NULL, cosines, sines, out.data), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rotary_f64(&good, x, NULL, sines, out.data), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rotary_f64(&good, x, cosines, NULL, out.data), ATTN_ERR_NULL);
    CHECK_STATUS(attn_rotary_f64(&good, x, cosines, sines, NULL), ATTN_ERR_NULL);
    CHECK(guarded_untouched(&out, FILL));
    guarded_free(&out);
}

/* The layer with identity projections is rotary and sdpa. */
static void layer_case(int32_t batch, int32_t seq_len_q, int32_t seq_len_kv, bool batch_first,
                       int32_t rotary_dim, bool interleaved) {
    enum { HEADS = 4, KV_HEADS = 2, DIM = 6, EMBED = HEADS * DIM, KV = KV_HEADS * DIM, MAX = 400 };
    check_case("layer_case(%d, %d, %d, %d, %d, %d);", (int)batch, (int)seq_len_q, (int)seq_len_kv,
               batch_first, (int)rotary_dim, interleaved);
    static double query[MAX], key[MAX], value[MAX], out[MAX], q[MAX], k[MAX], want[MAX];
    static double eye[EMBED * EMBED], kv_eye[KV * KV];
    double cosines[9 * DIM / 2], sines[9 * DIM / 2];
    fill_tables(9, rotary_dim, cosines, sines);
    rng r = {17};
    for (int e = 0; e < MAX; e++) {
        query[e] = rng_unit(&r);
        key[e] = rng_unit(&r);
        value[e] = rng_unit(&r);
    }
    for (int e = 0; e < EMBED * EMBED; e++)
        eye[e] = e % (EMBED + 1) == 0;
    for (int e = 0; e < KV * KV; e++)
        kv_eye[e] = e % (KV + 1) == 0;

    attn_mha_desc desc;
    attn_mha_desc_init(&desc, batch, HEADS, seq_len_q, seq_len_kv, EMBED);
    desc.num_kv_heads = KV_HEADS;
    desc.kdim = desc.vdim = KV;
    desc.rotary_dim = rotary_dim;
    desc.rotary_interleaved = interleaved;
    desc.query = desc.out = batch_first ? (attn_strides){(ptrdiff_t)seq_len_q * EMBED, 0, EMBED}
                                        : (attn_strides){EMBED, 0, (ptrdiff_t)batch * EMBED};
    desc.key = desc.value = batch_first ? (attn_strides){(ptrdiff_t)seq_len_kv * KV, 0, KV}
                                        : (attn_strides){KV, 0, (ptrdiff_t)batch * KV};
    const attn_mha_f64_data data = {.query = query,
                                    .key = key,
                                    .value = value,
                                    .q_weight = eye,
                                    .k_weight = kv_eye,
                                    .v_weight = kv_eye,
                                    .out_weight = eye,
                                    .rotary_cos = cosines,
                                    .rotary_sin = sines,
                                    .out = out};
    attn_exec exec = {0};
    CHECK_STATUS(attn_mha_f64_workspace(&desc, &data, &exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, 0xFF);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_mha_f64(&desc, &data, &exec), ATTN_OK);
    CHECK(guarded_intact(&workspace));
    guarded_free(&workspace);

    attn_rotary_desc rotary = {.batch = batch,
                               .num_heads = HEADS,
                               .seq_len = seq_len_q,
                               .head_dim = DIM,
                               .rotary_dim = rotary_dim,
                               .interleaved = interleaved,
                               .num_positions = 9,
                               .x = desc.query,
                               .out = desc.query};
    rotary.x.head = rotary.out.head = DIM;
    CHECK_STATUS(attn_rotary_f64(&rotary, query, cosines, sines, q), ATTN_OK);
    rotary.num_heads = KV_HEADS;
    rotary.seq_len = seq_len_kv;
    rotary.x = rotary.out = desc.key;
    rotary.x.head = rotary.out.head = DIM;
    CHECK_STATUS(attn_rotary_f64(&rotary, key, cosines, sines, k), ATTN_OK);
    attn_sdpa_desc sdpa;
    attn_sdpa_desc_init(&sdpa, batch, HEADS, KV_HEADS, seq_len_q, seq_len_kv, DIM, DIM);
    sdpa.query = sdpa.out = desc.query;
    sdpa.key = sdpa.value = desc.key;
    sdpa.query.head = sdpa.key.head = sdpa.value.head = sdpa.out.head = DIM;
    const attn_sdpa_f64_data attention = {.query = q, .key = k, .value = value, .out = want};
    double row[9] = {0};
    exec = (attn_exec){.workspace = row, .workspace_bytes = sizeof row};
    size_t bytes;
    CHECK_STATUS(attn_sdpa_f64_workspace(&sdpa, &attention, &bytes, NULL), ATTN_OK);
    double aligned[10];
    exec.workspace = aligned + ((uintptr_t)aligned % 16 != 0);
    CHECK_STATUS(attn_sdpa_f64(&sdpa, &attention, &exec), ATTN_OK);
    for (int e = 0; e < batch * seq_len_q * EMBED; e++)
        CHECK_NEAR(out[e], want[e], 1e-15);
}

TEST(the_layer_turns_queries_and_keys) {
    for (int n = 0; n < 4; n++) {
        layer_case(2, 5, 5, n % 2, 6, n / 2);
        layer_case(1, 7, 4, n % 2, 4, n / 2);
        layer_case(3, 2, 8, n % 2, 2, n / 2);
    }
}

TEST(the_layer_refuses_a_rotary_dim_that_is_odd_or_wider_than_a_head_and_missing_tables) {
    attn_mha_desc desc;
    attn_mha_desc_init(&desc, 1, 2, 1, 1, 8);
    const double x[64] = {0};
    double out[8];
    attn_mha_f64_data data = {.query = x,
                              .key = x,
                              .value = x,
                              .q_weight = x,
                              .k_weight = x,
                              .v_weight = x,
                              .out_weight = x,
                              .rotary_cos = x,
                              .rotary_sin = x,
                              .out = out};
    size_t bytes;
    const int32_t dims[4] = {-2, 1, 3, 6};
    for (int n = 0; n < 4; n++) {
        desc.rotary_dim = dims[n];
        CHECK_STATUS(attn_mha_f64_workspace(&desc, &data, &bytes), ATTN_ERR_SHAPE);
    }
    desc.rotary_dim = 4;
    CHECK_STATUS(attn_mha_f64_workspace(&desc, &data, &bytes), ATTN_OK);
    data.rotary_sin = NULL;
    CHECK_STATUS(attn_mha_f64_workspace(&desc, &data, &bytes), ATTN_ERR_NULL);
}

int main(void) {
    RUN(row_p_of_one_pair_is_turned_by_p_radians);
    RUN(products_depend_on_the_difference_of_positions_only);
    RUN(the_layouts_differ_by_the_order_of_columns);
    RUN(every_option_follows_the_formula);
    RUN(a_refused_call_writes_nothing);
    RUN(the_layer_turns_queries_and_keys);
    RUN(the_layer_refuses_a_rotary_dim_that_is_odd_or_wider_than_a_head_and_missing_tables);
    return check_summary();
}
