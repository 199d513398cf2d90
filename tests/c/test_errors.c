/* Every function refuses what attn.h does not allow, with the status that it names, and a refused
 * call writes nothing: not to an output, not to the workspace. */
#include "check.h"

/* A call of every kind is built from the same pieces: sizes below, one buffer per tensor. The
 * element type is an argument, so that float32 and float64 are held to the same list. */
enum { BATCH = 2, HEADS = 4, KV_HEADS = 2, LEN_Q = 3, LEN_KV = 5, DIM = 4, EMBED = HEADS * DIM };
enum { FILL = 0x5A, INPUT_BYTES = 4096, OUTPUT_BYTES = 4096 };

typedef struct sdpa_call {
    attn_sdpa_desc desc;
    const void *query, *key, *value, *alibi_slopes;
    void *out, *weights, *scores, *logsumexp;
    attn_exec exec;
    int32_t kv_lengths[BATCH];
} sdpa_call;

typedef struct sdpa_refusal {
    const char *what;
    void (*spoil)(sdpa_call *call);
    attn_status expected;
} sdpa_refusal;

/* "num_heads 0" becomes a function that does just that. */
#define SPOIL(name, statement)                                                                     \
    static void name(sdpa_call *call) {                                                            \
        statement;                                                                                 \
    }

SPOIL(no_query, call->query = NULL)
SPOIL(no_key, call->key = NULL)
SPOIL(no_value, call->value = NULL)
SPOIL(no_mask_data, call->desc.masks[1].kind = ATTN_MASK_ADD)
SPOIL(negative_batch, call->desc.batch = -1)
SPOIL(negative_seq_len_q, call->desc.seq_len_q = -1)
SPOIL(negative_seq_len_kv, call->desc.seq_len_kv = INT32_MIN)
SPOIL(zero_num_heads, call->desc.num_heads = 0)
SPOIL(zero_num_kv_heads, call->desc.num_kv_heads = 0)
SPOIL(negative_num_kv_heads, call->desc.num_kv_heads = -2)
SPOIL(zero_head_dim, call->desc.head_dim = 0)
SPOIL(zero_head_dim_v, call->desc.head_dim_v = 0)
SPOIL(heads_not_divisible, call->desc.num_kv_heads = 3)
SPOIL(more_kv_heads_than_heads, call->desc.num_kv_heads = 8)
SPOIL(nan_scale, call->desc.scale = NAN)
SPOIL(nan_softcap, call->desc.softcap = NAN)
SPOIL(negative_softcap, call->desc.softcap = -1.0)
SPOIL(infinite_softcap, call->desc.softcap = INFINITY)
SPOIL(undefined_align, call->desc.align = 2)
SPOIL(negative_align, call->desc.align = -1)
SPOIL(undefined_stage, call->desc.scores_stage = 3)
SPOIL(undefined_mask_kind, call->desc.masks[0].kind = 3)
SPOIL(mask_longer_than_keys,
      call->desc.masks[0] = ((attn_mask){
          .data = call->key, .kind = ATTN_MASK_BOOL, .seq_len_kv = LEN_KV + 1}))
SPOIL(mask_of_negative_length, call->desc.masks[0] = ((attn_mask){
                                   .data = call->key, .kind = ATTN_MASK_BOOL, .seq_len_kv = -1}))
SPOIL(out_rows_on_one_place, call->desc.out.row = 0)
SPOIL(out_heads_overlap, call->desc.out.head = DIM - 1)
SPOIL(out_batches_overlap_backwards, call->desc.out.batch = 1 - DIM)
SPOIL(negative_length, call->kv_lengths[1] = -1)
SPOIL(length_beyond_keys, call->kv_lengths[0] = LEN_KV + 1)
SPOIL(huge_key_stride, call->desc.key.row = PTRDIFF_MAX / 2)
SPOIL(smallest_query_stride, call->desc.query.batch = PTRDIFF_MIN)
SPOIL(huge_out_stride, call->desc.out.head = PTRDIFF_MAX / 8)
SPOIL(huge_mask_stride, call->desc.masks[0] = ((attn_mask){
                            .data = call->key, .kind = ATTN_MASK_BOOL, .key = PTRDIFF_MAX / 2}))
SPOIL(huge_slopes,
      (call->alibi_slopes = call->key, call->desc.alibi_batch_stride = PTRDIFF_MAX / 2))
SPOIL(first_task_negative, call->exec.first_task = -1)
SPOIL(num_tasks_negative, call->exec.num_tasks = -1)
SPOIL(first_task_beyond_the_last, call->exec.first_task = INT32_MAX)
SPOIL(more_tasks_than_there_are, call->exec.num_tasks = INT32_MAX)
SPOIL(keys_in_parts, call->exec.num_keys = 1)
SPOIL(no_workspace, call->exec.workspace = NULL)
SPOIL(workspace_misaligned, call->exec.workspace = (char *)call->exec.workspace + 8)
SPOIL(workspace_one_byte_short, call->exec.workspace_bytes--)

/* Far too large for any address space, but by desc_init itself: its strides must not wrap into
 * small ones. */
static void sizes_that_overflow(sdpa_call *call) {
    attn_sdpa_desc_init(&call->desc, 1 << 16, HEADS, KV_HEADS, INT32_MAX, LEN_KV, 1 << 16, DIM);
}

static void weights_that_overflow(sdpa_call *call) {
    /* Broadcast inputs: everything is small but the weights, 2^31 * 2^31 * 4 of them. */
    attn_sdpa_desc_init(&call->desc, 1, HEADS, KV_HEADS, INT32_MAX, INT32_MAX, 1, 1);
    call->desc.query.head = call->desc.query.row = 0;
    call->desc.key.head = call->desc.key.row = call->desc.value.head = call->desc.value.row = 0;
    call->out = NULL;
}

static const sdpa_refusal sdpa_refusals[] = {
    {"query NULL", no_query, ATTN_ERR_NULL},
    {"key NULL", no_key, ATTN_ERR_NULL},
    {"value NULL", no_value, ATTN_ERR_NULL},
    {"mask without data", no_mask_data, ATTN_ERR_NULL},
    {"batch < 0", negative_batch, ATTN_ERR_SHAPE},
    {"seq_len_q < 0", negative_seq_len_q, ATTN_ERR_SHAPE},
    {"seq_len_kv < 0", negative_seq_len_kv, ATTN_ERR_SHAPE},
    {"num_heads 0", zero_num_heads, ATTN_ERR_SHAPE},
    {"num_kv_heads 0", zero_num_kv_heads, ATTN_ERR_SHAPE},
    {"num_kv_heads < 0", negative_num_kv_heads, ATTN_ERR_SHAPE},
    {"head_dim 0", zero_head_dim, ATTN_ERR_SHAPE},
    {"head_dim_v 0", zero_head_dim_v, ATTN_ERR_SHAPE},
    {"num_heads 4, num_kv_heads 3", heads_not_divisible, ATTN_ERR_HEADS},
    {"num_heads 4, num_kv_heads 8", more_kv_heads_than_heads, ATTN_ERR_HEADS},
    {"scale NaN", nan_scale, ATTN_ERR_OPTION},
    {"softcap NaN", nan_softcap, ATTN_ERR_OPTION},
    {"softcap < 0", negative_softcap, ATTN_ERR_OPTION},
    {"softcap inf", infinite_softcap, ATTN_ERR_OPTION},
    {"align 2", undefined_align, ATTN_ERR_OPTION},
    {"align -1", negative_align, ATTN_ERR_OPTION},
    {"scores_stage 3", undefined_stage, ATTN_ERR_OPTION},
    {"mask kind 3", undefined_mask_kind, ATTN_ERR_OPTION},
    {"mask longer than the keys", mask_longer_than_keys, ATTN_ERR_SHAPE},
    {"mask of negative length", mask_of_negative_length, ATTN_ERR_SHAPE},
    {"out with row stride 0", out_rows_on_one_place, ATTN_ERR_OPTION},
    {"out with overlapping heads", out_heads_overlap, ATTN_ERR_OPTION},
    {"out overlapping backwards", out_batches_overlap_backwards, ATTN_ERR_OPTION},
    {"kv_lengths < 0", negative_length, ATTN_ERR_LENGTH},
    {"kv_lengths > seq_len_kv", length_beyond_keys, ATTN_ERR_LENGTH},
    {"sizes beyond the address space", sizes_that_overflow, ATTN_ERR_SIZE},
    {"weights beyond the address space", weights_that_overflow, ATTN_ERR_SIZE},
    {"key stride too large", huge_key_stride, ATTN_ERR_SIZE},
    {"query stride too small", smallest_query_stride, ATTN_ERR_SIZE},
    {"out stride too large", huge_out_stride, ATTN_ERR_SIZE},
    {"mask stride too large", huge_mask_stride, ATTN_ERR_SIZE},
    {"slopes stride too large", huge_slopes, ATTN_ERR_SIZE},
    {"first_task < 0", first_task_negative, ATTN_ERR_OPTION},
    {"num_tasks < 0", num_tasks_negative, ATTN_ERR_OPTION},
    {"first_task beyond the last", first_task_beyond_the_last, ATTN_ERR_OPTION},
    {"more tasks than there are", more_tasks_than_there_are, ATTN_ERR_OPTION},
    {"keys in parts, of a call with many rows", keys_in_parts, ATTN_ERR_UNSUPPORTED},
    {"workspace NULL", no_workspace, ATTN_ERR_WORKSPACE},
    {"workspace misaligned", workspace_misaligned, ATTN_ERR_WORKSPACE},
    {"workspace one byte short", workspace_one_byte_short, ATTN_ERR_WORKSPACE},
};

static attn_status sdpa_workspace(const sdpa_call *c, size_t element_bytes, size_t *bytes) {
    if (element_bytes == sizeof(float)) {
        const attn_sdpa_f32_data data = {c->query, c->key,     c->value,  c->alibi_slopes,
                                         c->out,   c->weights, c->scores, c->logsumexp};
        return attn_sdpa_f32_workspace(&c->desc, &data, NULL, bytes, NULL);
    }
    const attn_sdpa_f64_data data = {c->query, c->key,     c->value,  c->alibi_slopes,
                                     c->out,   c->weights, c->scores, c->logsumexp};
    return attn_sdpa_f64_workspace(&c->desc, &data, bytes, NULL);
}

static attn_status sdpa(const sdpa_call *c, size_t element_bytes) {
    if (element_bytes == sizeof(float)) {
        const attn_sdpa_f32_data data = {c->query, c->key,     c->value,  c->alibi_slopes,
                                         c->out,   c->weights, c->scores, c->logsumexp};
        return attn_sdpa_f32(&c->desc, &data, &c->exec);
    }
    const attn_sdpa_f64_data data = {c->query, c->key,     c->value,  c->alibi_slopes,
                                     c->out,   c->weights, c->scores, c->logsumexp};
    return attn_sdpa_f64(&c->desc, &data, &c->exec);
}

static void sdpa_refuses(size_t element_bytes) {
    guarded input = guarded_alloc(INPUT_BYTES, 0);
    guarded outputs[4], workspace;
    for (int o = 0; o < 4; o++)
        outputs[o] = guarded_alloc(OUTPUT_BYTES, FILL);

    sdpa_call good = {.query = input.data,
                      .key = input.data,
                      .value = input.data,
                      .out = outputs[0].data,
                      .weights = outputs[1].data,
                      .scores = outputs[2].data,
                      .logsumexp = outputs[3].data,
                      .kv_lengths = {LEN_KV, 0}};
    attn_sdpa_desc_init(&good.desc, BATCH, HEADS, KV_HEADS, LEN_Q, LEN_KV, DIM, DIM);
    CHECK_STATUS(sdpa_workspace(&good, element_bytes, &good.exec.workspace_bytes), ATTN_OK);
    workspace = guarded_alloc(good.exec.workspace_bytes, FILL);
    good.exec.workspace = workspace.data;

    for (size_t r = 0; r < sizeof sdpa_refusals / sizeof *sdpa_refusals; r++) {
        sdpa_call bad = good;
        bad.desc.kv_lengths = bad.kv_lengths;
        sdpa_refusals[r].spoil(&bad);
        check_case("%s, %d-byte elements", sdpa_refusals[r].what, (int)element_bytes);
        CHECK_STATUS(sdpa(&bad, element_bytes), sdpa_refusals[r].expected);
        for (int o = 0; o < 4; o++)
            CHECK(guarded_untouched(&outputs[o], FILL));
        CHECK(guarded_untouched(&workspace, FILL));

        /* What the size function can see, it answers as the call does, and leaves its answer alone.
         */
        const bool about_exec = memcmp(&bad.exec, &good.exec, sizeof good.exec) != 0;
        size_t bytes = 12345;
        CHECK_STATUS(sdpa_workspace(&bad, element_bytes, &bytes),
                     about_exec ? ATTN_OK : sdpa_refusals[r].expected);
        CHECK(about_exec ? bytes == good.exec.workspace_bytes : bytes == 12345);
    }

    check_case("the unspoilt call, %d-byte elements", (int)element_bytes);
    good.desc.kv_lengths = good.kv_lengths;
    CHECK_STATUS(sdpa(&good, element_bytes), ATTN_OK);
    CHECK(!guarded_untouched(&outputs[0], FILL) && guarded_intact(&outputs[0]));
    for (int o = 0; o < 4; o++)
        guarded_free(&outputs[o]);
    guarded_free(&workspace);
    guarded_free(&input);
}

TEST(sdpa_f32_refuses_with_the_right_status_and_writes_nothing) {
    sdpa_refuses(sizeof(float));
}

TEST(sdpa_f64_refuses_with_the_right_status_and_writes_nothing) {
    sdpa_refuses(sizeof(double));
}

TEST(sdpa_refuses_to_do_without_its_structs) {
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 1, 1, 1, 1, 1, 1);
    const attn_sdpa_f32_data f32 = {0};
    const attn_sdpa_f64_data f64 = {0};
    CHECK_STATUS(attn_sdpa_f32(NULL, &f32, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_f32(&desc, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_f64(NULL, &f64, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_f64(&desc, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_f32_workspace(NULL, &f32, NULL, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_sdpa_f64_workspace(&desc, NULL, NULL, NULL), ATTN_ERR_NULL);
}

TEST(sdpa_without_outputs_has_nothing_to_do) {
    const float f32 = 1;
    const double f64 = 1;
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 1, 1, 1, 1, 1, 1);
    const attn_sdpa_f32_data data32 = {.query = &f32, .key = &f32, .value = &f32};
    const attn_sdpa_f64_data data64 = {.query = &f64, .key = &f64, .value = &f64};
    attn_exec exec = {0};
    CHECK_STATUS(attn_sdpa_f32_workspace(&desc, &data32, NULL, &exec.workspace_bytes, NULL),
                 ATTN_OK);
    guarded workspace = guarded_alloc(exec.workspace_bytes, FILL);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_sdpa_f32(&desc, &data32, &exec), ATTN_OK);
    CHECK(guarded_intact(&workspace));
    guarded_free(&workspace);
    CHECK_STATUS(attn_sdpa_f64_workspace(&desc, &data64, &exec.workspace_bytes, NULL), ATTN_OK);
    workspace = guarded_alloc(exec.workspace_bytes, FILL);
    exec.workspace = workspace.data;
    CHECK_STATUS(attn_sdpa_f64(&desc, &data64, &exec), ATTN_OK);
    CHECK(guarded_intact(&workspace));
    guarded_free(&workspace);
}

TEST(the_textbook_form_refuses_with_the_right_status_and_writes_nothing) {
    const double in[4] = {0};
    double outputs[3][4];
    memset(outputs, FILL, sizeof outputs);
    double *scores = outputs[0], *weights = outputs[1], *out = outputs[2];
    CHECK_STATUS(attn_attention_f64(0, 2, 2, 1, in, in, in, scores, weights, out), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_attention_f64(2, 0, 2, 1, in, in, in, scores, weights, out), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_attention_f64(2, 2, -1, 1, in, in, in, scores, weights, out), ATTN_ERR_SHAPE);
    CHECK_STATUS(attn_attention_f64(2, 2, 2, NAN, in, in, in, scores, weights, out),
                 ATTN_ERR_OPTION);
    CHECK_STATUS(attn_attention_f64(INT32_MAX, INT32_MAX, 2, 1, in, in, in, scores, weights, out),
                 ATTN_ERR_SIZE);
    CHECK_STATUS(attn_attention_f64(2, 2, 2, 1, NULL, in, in, scores, weights, out), ATTN_ERR_NULL);
    CHECK_STATUS(attn_attention_f64(2, 2, 2, 1, in, NULL, in, scores, weights, out), ATTN_ERR_NULL);
    CHECK_STATUS(attn_attention_f64(2, 2, 2, 1, in, in, NULL, scores, weights, out), ATTN_ERR_NULL);
    CHECK_STATUS(attn_attention_f64(2, 2, 2, 1, in, in, in, NULL, weights, out), ATTN_ERR_NULL);
    CHECK_STATUS(attn_attention_f64(2, 2, 2, 1, in, in, in, scores, NULL, out), ATTN_ERR_NULL);
    CHECK_STATUS(attn_attention_f64(2, 2, 2, 1, in, in, in, scores, weights, NULL), ATTN_ERR_NULL);
    unsigned char untouched[sizeof outputs];
    memset(untouched, FILL, sizeof untouched);
    CHECK(memcmp(outputs, untouched, sizeof outputs) == 0);
}

typedef struct mha_call {
    attn_mha_desc desc;
    const void *query, *key, *value, *q_weight, *k_weight, *v_weight, *out_weight, *bias_k, *bias_v;
    void *out, *weights;
    attn_exec exec;
} mha_call;

typedef struct mha_refusal {
    const char *what;
    void (*spoil)(mha_call *call);
    attn_status expected;
} mha_refusal;

#define SPOIL_MHA(name, statement)                                                                 \
    static void name(mha_call *call) {                                                             \
        statement;                                                                                 \
    }

SPOIL_MHA(mha_no_query, call->query = NULL)
SPOIL_MHA(mha_no_key, call->key = NULL)
SPOIL_MHA(mha_no_value, call->value = NULL)
SPOIL_MHA(mha_no_out, call->out = NULL)
SPOIL_MHA(mha_no_q_weight, call->q_weight = NULL)
SPOIL_MHA(mha_no_k_weight, call->k_weight = NULL)
SPOIL_MHA(mha_no_v_weight, call->v_weight = NULL)
SPOIL_MHA(mha_no_out_weight, call->out_weight = NULL)
SPOIL_MHA(mha_bias_k_alone, call->bias_k = call->key)
SPOIL_MHA(mha_bias_v_alone, call->bias_v = call->key)
SPOIL_MHA(mha_no_mask_data, call->desc.masks[0].kind = ATTN_MASK_BOOL)
SPOIL_MHA(mha_negative_batch, call->desc.batch = -1)
SPOIL_MHA(mha_negative_seq_len_q, call->desc.seq_len_q = -1)
SPOIL_MHA(mha_negative_seq_len_kv, call->desc.seq_len_kv = -1)
SPOIL_MHA(mha_zero_num_heads, call->desc.num_heads = 0)
SPOIL_MHA(mha_zero_num_kv_heads, call->desc.num_kv_heads = 0)
SPOIL_MHA(mha_zero_embed_dim, call->desc.embed_dim = 0)
SPOIL_MHA(mha_zero_kdim, call->desc.kdim = 0)
SPOIL_MHA(mha_zero_vdim, call->desc.vdim = 0)
SPOIL_MHA(mha_embed_not_divisible, call->desc.embed_dim = EMBED + 1)
SPOIL_MHA(mha_heads_not_divisible, call->desc.num_kv_heads = 3)
SPOIL_MHA(mha_nan_scale, call->desc.scale = NAN)
SPOIL_MHA(mha_undefined_align, call->desc.align = 7)
SPOIL_MHA(mha_undefined_mask, call->desc.masks[1].kind = -1)
SPOIL_MHA(mha_out_overlaps, call->desc.out.row = EMBED - 1)
SPOIL_MHA(mha_huge_embed_dim,
          attn_mha_desc_init(&call->desc, BATCH, HEADS, LEN_Q, LEN_KV, INT32_MAX / 4 * 4))
SPOIL_MHA(mha_huge_batch, (call->desc.batch = INT32_MAX, call->desc.seq_len_q = INT32_MAX))
SPOIL_MHA(mha_huge_value_stride, call->desc.value.batch = PTRDIFF_MAX)
SPOIL_MHA(mha_smallest_key_stride, call->desc.key.row = PTRDIFF_MIN)
SPOIL_MHA(mha_two_tasks, call->exec.num_tasks = 2)
SPOIL_MHA(mha_keys_in_parts, call->exec.num_keys = 1)
SPOIL_MHA(mha_no_workspace, call->exec.workspace = NULL)
SPOIL_MHA(mha_workspace_misaligned, call->exec.workspace = (char *)call->exec.workspace + 4)
SPOIL_MHA(mha_workspace_one_byte_short, call->exec.workspace_bytes--)

static const mha_refusal mha_refusals[] = {
    {"query NULL", mha_no_query, ATTN_ERR_NULL},
    {"key NULL", mha_no_key, ATTN_ERR_NULL},
    {"value NULL", mha_no_value, ATTN_ERR_NULL},
    {"out NULL", mha_no_out, ATTN_ERR_NULL},
    {"q_weight NULL", mha_no_q_weight, ATTN_ERR_NULL},
    {"k_weight NULL", mha_no_k_weight, ATTN_ERR_NULL},
    {"v_weight NULL", mha_no_v_weight, ATTN_ERR_NULL},
    {"out_weight NULL", mha_no_out_weight, ATTN_ERR_NULL},
    {"bias_k without bias_v", mha_bias_k_alone, ATTN_ERR_NULL},
    {"bias_v without bias_k", mha_bias_v_alone, ATTN_ERR_NULL},
    {"mask without data", mha_no_mask_data, ATTN_ERR_NULL},
    {"batch < 0", mha_negative_batch, ATTN_ERR_SHAPE},
    {"seq_len_q < 0", mha_negative_seq_len_q, ATTN_ERR_SHAPE},
    {"seq_len_kv < 0", mha_negative_seq_len_kv, ATTN_ERR_SHAPE},
    {"num_heads 0", mha_zero_num_heads, ATTN_ERR_SHAPE},
    {"num_kv_heads 0", mha_zero_num_kv_heads, ATTN_ERR_SHAPE},
    {"embed_dim 0", mha_zero_embed_dim, ATTN_ERR_SHAPE},
    {"kdim 0", mha_zero_kdim, ATTN_ERR_SHAPE},
    {"vdim 0", mha_zero_vdim, ATTN_ERR_SHAPE},
    {"embed_dim 17, num_heads 4", mha_embed_not_divisible, ATTN_ERR_HEADS},
    {"num_heads 4, num_kv_heads 3", mha_heads_not_divisible, ATTN_ERR_HEADS},
    {"scale NaN", mha_nan_scale, ATTN_ERR_OPTION},
    {"align 7", mha_undefined_align, ATTN_ERR_OPTION},
    {"mask kind -1", mha_undefined_mask, ATTN_ERR_OPTION},
    {"out rows overlap", mha_out_overlaps, ATTN_ERR_OPTION},
    {"embed_dim beyond the address space", mha_huge_embed_dim, ATTN_ERR_SIZE},
    {"batch beyond the address space", mha_huge_batch, ATTN_ERR_SIZE},
    {"value stride too large", mha_huge_value_stride, ATTN_ERR_SIZE},
    {"key stride too small", mha_smallest_key_stride, ATTN_ERR_SIZE},
    {"two tasks", mha_two_tasks, ATTN_ERR_OPTION},
    {"keys in parts", mha_keys_in_parts, ATTN_ERR_UNSUPPORTED},
    {"workspace NULL", mha_no_workspace, ATTN_ERR_WORKSPACE},
    {"workspace misaligned", mha_workspace_misaligned, ATTN_ERR_WORKSPACE},
    {"workspace one byte short", mha_workspace_one_byte_short, ATTN_ERR_WORKSPACE},
};

static attn_status mha(const mha_call *c, size_t element_bytes, size_t *bytes) {
    if (element_bytes == sizeof(float)) {
        const attn_mha_f32_data data = {.query = c->query,
                                        .key = c->key,
                                        .value = c->value,
                                        .q_weight = c->q_weight,
                                        .k_weight = c->k_weight,
                                        .v_weight = c->v_weight,
                                        .out_weight = c->out_weight,
                                        .bias_k = c->bias_k,
                                        .bias_v = c->bias_v,
                                        .out = c->out,
                                        .weights = c->weights};
        return bytes ? attn_mha_f32_workspace(&c->desc, &data, NULL, bytes)
                     : attn_mha_f32(&c->desc, &data, &c->exec);
    }
    const attn_mha_f64_data data = {.query = c->query,
                                    .key = c->key,
                                    .value = c->value,
                                    .q_weight = c->q_weight,
                                    .k_weight = c->k_weight,
                                    .v_weight = c->v_weight,
                                    .out_weight = c->out_weight,
                                    .bias_k = c->bias_k,
                                    .bias_v = c->bias_v,
                                    .out = c->out,
                                    .weights = c->weights};
    return bytes ? attn_mha_f64_workspace(&c->desc, &data, bytes)
                 : attn_mha_f64(&c->desc, &data, &c->exec);
}

static void mha_refuses(size_t element_bytes) {
    guarded input = guarded_alloc(INPUT_BYTES, 0);
    guarded out = guarded_alloc(OUTPUT_BYTES, FILL), weights = guarded_alloc(OUTPUT_BYTES, FILL);
    mha_call good = {.query = input.data,
                     .key = input.data,
                     .value = input.data,
                     .q_weight = input.data,
                     .k_weight = input.data,
                     .v_weight = input.data,
                     .out_weight = input.data,
                     .out = out.data,
                     .weights = weights.data};
    attn_mha_desc_init(&good.desc, BATCH, HEADS, LEN_Q, LEN_KV, EMBED);
    CHECK_STATUS(mha(&good, element_bytes, &good.exec.workspace_bytes), ATTN_OK);
    guarded workspace = guarded_alloc(good.exec.workspace_bytes, FILL);
    good.exec.workspace = workspace.data;

    for (size_t r = 0; r < sizeof mha_refusals / sizeof *mha_refusals; r++) {
        mha_call bad = good;
        mha_refusals[r].spoil(&bad);
        check_case("%s, %d-byte elements", mha_refusals[r].what, (int)element_bytes);
        CHECK_STATUS(mha(&bad, element_bytes, NULL), mha_refusals[r].expected);
        CHECK(guarded_untouched(&out, FILL) && guarded_untouched(&weights, FILL));
        CHECK(guarded_untouched(&workspace, FILL));

        const bool about_exec = memcmp(&bad.exec, &good.exec, sizeof good.exec) != 0;
        size_t bytes = 12345;
        CHECK_STATUS(mha(&bad, element_bytes, &bytes),
                     about_exec ? ATTN_OK : mha_refusals[r].expected);
        CHECK(about_exec ? bytes == good.exec.workspace_bytes : bytes == 12345);
    }

    check_case("the unspoilt call, %d-byte elements", (int)element_bytes);
    CHECK_STATUS(mha(&good, element_bytes, NULL), ATTN_OK);
    CHECK(!guarded_untouched(&out, FILL) && guarded_intact(&out) && guarded_intact(&weights));
    guarded_free(&workspace);
    guarded_free(&weights);
    guarded_free(&out);
    guarded_free(&input);
}

TEST(mha_f32_refuses_with_the_right_status_and_writes_nothing) {
    mha_refuses(sizeof(float));
}

TEST(mha_f64_refuses_with_the_right_status_and_writes_nothing) {
    mha_refuses(sizeof(double));
}

TEST(packing_the_weights_of_a_layer_refuses_with_the_right_status_and_writes_nothing) {
    guarded input = guarded_alloc(INPUT_BYTES, 0);
    guarded out = guarded_alloc(OUTPUT_BYTES, FILL);
    attn_mha_desc desc;
    attn_mha_desc_init(&desc, BATCH, HEADS, LEN_Q, LEN_KV, EMBED);
    attn_mha_f32_data data = {.query = input.data,
                              .key = input.data,
                              .value = input.data,
                              .q_weight = input.data,
                              .k_weight = input.data,
                              .v_weight = input.data,
                              .out_weight = input.data,
                              .out = out.data};
    size_t bytes;
    CHECK_STATUS(attn_mha_pack_f32(&desc, &data, NULL, &bytes), ATTN_OK);
    CHECK(bytes >= sizeof(float) * 4 * EMBED * EMBED);
    guarded packed = guarded_alloc(bytes, FILL);
    CHECK_STATUS(attn_mha_pack_f32(NULL, &data, packed.data, &bytes), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_pack_f32(&desc, NULL, packed.data, &bytes), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_pack_f32(&desc, &data, packed.data, NULL), ATTN_ERR_NULL);
    attn_mha_f32_data without_weight = data;
    without_weight.v_weight = NULL;
    CHECK_STATUS(attn_mha_pack_f32(&desc, &without_weight, packed.data, &bytes), ATTN_ERR_NULL);
    attn_mha_desc odd = desc;
    odd.num_heads = 0;
    CHECK_STATUS(attn_mha_pack_f32(&odd, &data, packed.data, &bytes), ATTN_ERR_SHAPE);

    check_case("few rows do not read them");
    attn_mha_desc few;
    attn_mha_desc_init(&few, 1, HEADS, 1, 4, EMBED);
    CHECK_STATUS(attn_mha_pack_f32(&few, &data, packed.data, &bytes), ATTN_OK);
    CHECK(bytes == 0 && guarded_untouched(&packed, FILL));

    check_case("few rows of query and key at a time, but not of out");
    attn_mha_desc_init(&few, 2, HEADS, 3, 3, EMBED);
    few.query.batch += 8;
    few.key.batch += 8;
    CHECK_STATUS(attn_mha_pack_f32(&few, &data, NULL, &bytes), ATTN_OK);
    CHECK(bytes > 0);

    check_case("together beyond the address space, each one within");
    if (sizeof(ptrdiff_t) == 4) {
        attn_mha_desc large;
        attn_mha_desc_init(&large, 1, 1, 1, 5, 20000);
        bytes = 12345;
        CHECK_STATUS(attn_mha_pack_f32(&large, &data, packed.data, &bytes), ATTN_OK);
        CHECK(bytes == 0 && guarded_untouched(&packed, FILL));
    }

    check_case("float64");
    attn_mha_f64_data exact = {.query = input.data,
                               .key = input.data,
                               .value = input.data,
                               .q_weight = input.data,
                               .k_weight = input.data,
                               .v_weight = input.data,
                               .out_weight = input.data,
                               .out = out.data};
    size_t workspace = 0;
    CHECK_STATUS(attn_mha_f64_workspace(&desc, &exact, &workspace), ATTN_OK);
    exact.packed_weights = input.data;
    CHECK_STATUS(attn_mha_f64_workspace(&desc, &exact, &workspace), ATTN_ERR_OPTION);
    CHECK(guarded_untouched(&out, FILL));
    guarded_free(&packed), guarded_free(&out), guarded_free(&input);
}

TEST(mha_refuses_to_do_without_its_structs) {
    attn_mha_desc desc;
    attn_mha_desc_init(&desc, 1, 1, 1, 1, 1);
    const attn_mha_f32_data f32 = {0};
    const attn_mha_f64_data f64 = {0};
    CHECK_STATUS(attn_mha_f32(NULL, &f32, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_f32(&desc, NULL, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_f64(NULL, &f64, NULL), ATTN_ERR_NULL);
    CHECK_STATUS(attn_mha_f64(&desc, NULL, NULL), ATTN_ERR_NULL);
}

TEST(linear_refuses_with_the_right_status_and_writes_nothing) {
    const float in32[6] = {0};
    const double in64[6] = {0};
    float out32[9];
    double out64[9];
    memset(out32, FILL, sizeof out32);
    memset(out64, FILL, sizeof out64);
    static const struct {
        const char *what;
        int32_t rows, in_dim, out_dim;
        ptrdiff_t x_stride, y_stride;
        char missing;
        attn_status expected;
    } cases[] = {
        {"rows < 0", -1, 2, 3, 2, 3, 0, ATTN_ERR_SHAPE},
        {"in_dim 0", 3, 0, 3, 2, 3, 0, ATTN_ERR_SHAPE},
        {"out_dim 0", 3, 2, 0, 2, 3, 0, ATTN_ERR_SHAPE},
        {"x NULL", 3, 2, 3, 2, 3, 'x', ATTN_ERR_NULL},
        {"w NULL", 3, 2, 3, 2, 3, 'w', ATTN_ERR_NULL},
        {"y NULL", 3, 2, 3, 2, 3, 'y', ATTN_ERR_NULL},
        {"w beyond the address space", 3, INT32_MAX, INT32_MAX, 2, INT32_MAX, 0, ATTN_ERR_SIZE},
        {"x stride too large", 3, 2, 3, PTRDIFF_MAX / 2, 3, 0, ATTN_ERR_SIZE},
        {"y stride too small", 3, 2, 3, 2, PTRDIFF_MIN, 0, ATTN_ERR_SIZE},
        {"y rows overlap", 3, 2, 3, 2, 2, 0, ATTN_ERR_OPTION},
    };
    const attn_exec exec = {0};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const char no = cases[c].missing;
        check_case("%s", cases[c].what);
        CHECK_STATUS(attn_linear_f32(cases[c].rows, cases[c].in_dim, cases[c].out_dim,
                                     no == 'x' ? NULL : in32, cases[c].x_stride,
                                     no == 'w' ? NULL : in32, NULL, no == 'y' ? NULL : out32,
                                     cases[c].y_stride, &exec),
                     cases[c].expected);
        CHECK_STATUS(attn_linear_f64(cases[c].rows, cases[c].in_dim, cases[c].out_dim,
                                     no == 'x' ? NULL : in64, cases[c].x_stride,
                                     no == 'w' ? NULL : in64, NULL, no == 'y' ? NULL : out64,
                                     cases[c].y_stride),
                     cases[c].expected);
    }
    unsigned char untouched[sizeof out64];
    memset(untouched, FILL, sizeof untouched);
    CHECK(memcmp(out32, untouched, sizeof out32) == 0);
    CHECK(memcmp(out64, untouched, sizeof out64) == 0);
}

/* Threads: with them, a pool; without them, UNSUPPORTED. Never something else. */
TEST(threads_are_either_there_or_unsupported) {
    attn_threads *threads = NULL;
    const attn_status status = attn_threads_create(2, &threads);
    CHECK(status == ATTN_OK || status == ATTN_ERR_UNSUPPORTED);
    CHECK((status == ATTN_OK) == (threads != NULL));
    CHECK(attn_threads_count(threads) == (threads ? 2 : 1));
    attn_threads_destroy(threads);
    CHECK_STATUS(attn_threads_create(2, NULL), ATTN_ERR_NULL);
}

/* What float32 arithmetic cannot multiply or divide by gave NaN for finite input. */
TEST(float32_refuses_factors_outside_its_range) {
    static const struct {
        double scale, softcap;
        bool fits;
    } calls[] = {{1e300, 0, false},     {-1e39, 0, false},      {1e-40, 0, false},
                 {-1e-300, 0, false},   {1, 1e300, false},      {1, 1e-300, false},
                 {0, 0, true},          {0x1p100, 0, true},     {-0x1p-100, 0, true},
                 {1, 0x1p100, true},    {1, 0x1p-100, true},    {0x1.1p100, 0, false},
                 {1, 0x1.1p100, false}, {0x0.fp-100, 0, false}, {1, 0x0.fp-100, false}};
    const float one[2] = {1.0f, 1.0f};
    const double one64[2] = {1.0, 1.0};
    _Alignas(16) char workspace[1 << 16];
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        check_case("{.scale = %g, .softcap = %g}", calls[c].scale, calls[c].softcap);
        attn_sdpa_desc desc;
        attn_sdpa_desc_init(&desc, 1, 1, 1, 1, 2, 1, 1);
        desc.scale = calls[c].scale, desc.softcap = calls[c].softcap;
        const attn_exec exec = {.workspace = workspace, .workspace_bytes = sizeof workspace};
        float out = 7.0f;
        const attn_sdpa_f32_data data = {.query = one, .key = one, .value = one, .out = &out};
        CHECK_STATUS(attn_sdpa_f32(&desc, &data, &exec), calls[c].fits ? ATTN_OK : ATTN_ERR_OPTION);
        CHECK_EXACT((double)out, calls[c].fits ? 1.0 : 7.0);
        double out64 = 7.0;
        const attn_sdpa_f64_data data64 = {
            .query = one64, .key = one64, .value = one64, .out = &out64};
        CHECK_STATUS(attn_sdpa_f64(&desc, &data64, &exec), ATTN_OK);
        CHECK_EXACT(out64, 1.0);
    }
}

/* Offsets to rows that have no element overflowed, though nothing was read there. */
TEST(rows_without_elements_must_be_countable_too) {
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 3, 1, 1, 1, 0, 1, 1);
    const float one[3] = {1.0f, 1.0f, 1.0f};
    float out[3] = {7.0f, 7.0f, 7.0f};
    _Alignas(16) char workspace[1 << 16];
    const attn_exec exec = {.workspace = workspace, .workspace_bytes = sizeof workspace};
    const attn_sdpa_f32_data data = {.query = one, .out = out};
    desc.key.batch = PTRDIFF_MIN / 8 * 5;
    CHECK_STATUS(attn_sdpa_f32(&desc, &data, &exec), ATTN_ERR_SIZE);
    CHECK_EXACT((double)out[0], 7.0);
    desc.key.batch = 1000;
    CHECK_STATUS(attn_sdpa_f32(&desc, &data, &exec), ATTN_OK);
    CHECK_EXACT((double)out[2], 0.0);
}

TEST(refuses_parts_of_the_keys_that_are_none) {
    enum { KEYS = 200, WIDTH = 4 };
    static float key[KEYS * WIDTH], out[2 * WIDTH], workspace[1 << 12] __attribute__((aligned(16)));
    attn_sdpa_desc desc;
    attn_sdpa_desc_init(&desc, 1, 2, 2, 1, KEYS, WIDTH, WIDTH);
    const attn_sdpa_f32_data data = {.query = key, .key = key, .value = key, .out = out};
    static const struct {
        int32_t first_key, num_keys, num_tasks;
    } wrong[] = {{-64, 64, 1},       {0, -1, 1},   {64, KEYS, 1}, {256, 0, 1}, {64, INT32_MAX, 1},
                 {INT32_MIN, 64, 1}, {0, KEYS, 2}, {0, KEYS, 0},  {0, 100, 1}, {128, 72, 1}};
    /* The one part that is right, so that the last of the wrong ones is a gap. */
    const attn_exec right = {.workspace = workspace,
                             .workspace_bytes = sizeof workspace,
                             .num_tasks = 1,
                             .num_keys = 64};
    CHECK_STATUS(attn_sdpa_f32(&desc, &data, &right), ATTN_OK);
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        const attn_exec exec = {.workspace = workspace,
                                .workspace_bytes = sizeof workspace,
                                .first_key = wrong[n].first_key,
                                .num_keys = wrong[n].num_keys,
                                .num_tasks = wrong[n].num_tasks};
        CHECK_STATUS(attn_sdpa_f32(&desc, &data, &exec), ATTN_ERR_OPTION);
    }
}

int main(void) {
    RUN(rows_without_elements_must_be_countable_too);
    RUN(float32_refuses_factors_outside_its_range);
    RUN(sdpa_f32_refuses_with_the_right_status_and_writes_nothing);
    RUN(sdpa_f64_refuses_with_the_right_status_and_writes_nothing);
    RUN(refuses_parts_of_the_keys_that_are_none);
    RUN(sdpa_refuses_to_do_without_its_structs);
    RUN(sdpa_without_outputs_has_nothing_to_do);
    RUN(the_textbook_form_refuses_with_the_right_status_and_writes_nothing);
    RUN(mha_f32_refuses_with_the_right_status_and_writes_nothing);
    RUN(mha_f64_refuses_with_the_right_status_and_writes_nothing);
    RUN(packing_the_weights_of_a_layer_refuses_with_the_right_status_and_writes_nothing);
    RUN(mha_refuses_to_do_without_its_structs);
    RUN(linear_refuses_with_the_right_status_and_writes_nothing);
    RUN(threads_are_either_there_or_unsupported);
    return check_summary();
}
