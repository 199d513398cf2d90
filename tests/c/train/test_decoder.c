/* The decoder that is trained: its gradients against finite differences, float32 against float64. */
#include "check.h"
#include "decoder.h"

enum { ROWS = 2, LENGTH = 5 };

static const decoder_config CONFIGS[] = {
    {12, 10, 2, 3, 3, 7, 6},
    {16, 9, 1, 4, 2, 5, LENGTH},
    {8, 20, 3, 2, 1, 9, LENGTH},
};
enum { NUM_CONFIGS = sizeof CONFIGS / sizeof *CONFIGS };

typedef struct problem {
    decoder_config config;
    decoder_tensor tensors[NUM_TENSORS];
    size_t count;
    float *initial;
    double *parameters, *gradients;
    uint16_t tokens[ROWS * (LENGTH + 1)];
    decoder_f64 *decoder;
} problem;

static void *room(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    if (!memory)
        exit(1);
    return memory;
}

static problem problem_make(const decoder_config *config, uint32_t seed) {
    problem p = {.config = *config};
    p.count = decoder_layout(config, p.tensors);
    p.initial = room(p.count, sizeof(float));
    p.parameters = room(p.count, sizeof(double));
    p.gradients = room(p.count, sizeof(double));
    decoder_initialize(config, seed, p.initial);
    rng r = {seed};
    /* Norms other than 1, or their gradients would not be told from those of the input. */
    for (int t = 0; t < NUM_TENSORS; t++)
        for (size_t i = p.tensors[t].offset;
             p.tensors[t].is_norm && i < p.tensors[t].offset + p.tensors[t].count; i++)
            p.initial[i] = (float)(1 + 0.5 * rng_unit(&r));
    for (size_t i = 0; i < p.count; i++)
        p.parameters[i] = p.initial[i];
    for (int i = 0; i < ROWS * (LENGTH + 1); i++)
        p.tokens[i] = (uint16_t)rng_int(&r, 0, config->vocab_size - 1);
    p.decoder = decoder_f64_create(config, ROWS);
    if (!p.decoder)
        exit(1);
    return p;
}

static void problem_free(problem *p) {
    decoder_f64_destroy(p->decoder);
    free(p->initial);
    free(p->parameters);
    free(p->gradients);
}

static double loss_of(problem *p) {
    return decoder_f64_loss(p->decoder, p->parameters, ROWS, LENGTH, p->tokens);
}

/* Gradients of the loss, all of whose terms count alike. */
static void gradients_of(problem *p) {
    double ones[ROWS * LENGTH];
    for (int i = 0; i < ROWS * LENGTH; i++)
        ones[i] = 1;
    loss_of(p);
    decoder_f64_backward(p->decoder, p->parameters, ones, p->gradients);
}

/* Central differences of step h are wrong by h^2 / 6 times the third derivative, here below 1e3, and by
 * the rounding of two losses of about 20, over h. */
static void check_gradients(problem *p) {
    const double h = 1e-5, tolerance = h * h * 1e3 / 6 + 100 * 20 * 2.2e-16 / h;
    for (size_t i = 0; i < p->count; i++) {
        const double parameter = p->parameters[i];
        p->parameters[i] = parameter + h;
        const double above = loss_of(p);
        p->parameters[i] = parameter - h;
        const double below = loss_of(p);
        p->parameters[i] = parameter;
        check_case("parameter %zu of dim %d, layers %d, heads %d/%d", i, p->config.dim,
                   p->config.num_layers, p->config.num_heads, p->config.num_kv_heads);
        CHECK_NEAR(p->gradients[i], (above - below) / (2 * h), tolerance);
    }
}

TEST(gradients_are_those_of_finite_differences) {
    for (int c = 0; c < NUM_CONFIGS; c++) {
        problem p = problem_make(CONFIGS + c, 7 + (uint32_t)c);
        gradients_of(&p);
        check_gradients(&p);
        problem_free(&p);
    }
}

TEST(gradients_with_a_silenced_head_are_those_of_finite_differences) {
    problem p = problem_make(CONFIGS, 3);
    bool silenced[6] = {[1] = true, [5] = true};
    decoder_f64_silence(p.decoder, silenced);
    const double loss = loss_of(&p);
    gradients_of(&p);
    check_gradients(&p);
    decoder_f64_silence(p.decoder, NULL);
    CHECK(loss_of(&p) != loss);
    problem_free(&p);
}

/* A head whose columns of wo are zero says nothing. */
TEST(silencing_a_head_is_zeroing_its_columns_of_wo) {
    problem p = problem_make(CONFIGS, 4);
    bool silenced[6] = {[4] = true};
    decoder_f64_silence(p.decoder, silenced);
    const double loss = loss_of(&p);
    decoder_f64_silence(p.decoder, NULL);
    const int32_t dim = p.config.dim, head_dim = dim / p.config.num_heads;
    double *wo = p.parameters + p.tensors[WO].offset + dim * dim; /* of layer 1 */
    for (int32_t o = 0; o < dim; o++)
        for (int32_t i = 0; i < head_dim; i++)
            wo[o * dim + head_dim + i] = 0;
    CHECK_NEAR(loss_of(&p), loss, 1e-12);
    problem_free(&p);
}

/* Gradients with factors 0.25 and 0.75 on the two halves of the targets, added up. */
TEST(backward_adds_each_target_times_its_factor) {
    problem p = problem_make(CONFIGS + 1, 5);
    double *sum = room(p.count, sizeof(double));
    gradients_of(&p);
    for (int half = 0; half < 2; half++) {
        double factors[ROWS * LENGTH];
        for (int i = 0; i < ROWS * LENGTH; i++)
            factors[i] = i % 2 == half ? 0.25 : 0.75;
        loss_of(&p);
        decoder_f64_backward(p.decoder, p.parameters, factors, sum);
    }
    for (size_t i = 0; i < p.count; i++)
        CHECK_NEAR(sum[i], p.gradients[i], 1e-13);

    /* One target alone is that row cut after it. */
    double *alone = room(p.count, sizeof(double)), only[ROWS * LENGTH] = {[1] = 1},
           *cut = p.gradients;
    loss_of(&p);
    decoder_f64_backward(p.decoder, p.parameters, only, alone);
    memset(cut, 0, p.count * sizeof(double));
    decoder_f64_loss(p.decoder, p.parameters, 1, 2, p.tokens);
    decoder_f64_backward(p.decoder, p.parameters, only, cut);
    for (size_t i = 0; i < p.count; i++)
        CHECK_NEAR(alone[i], cut[i], 1e-13);
    free(sum);
    free(alone);
    problem_free(&p);
}

/* A float32 gradient is a sum of some hundred products, each wrong by about 1e-7 of the largest. */
TEST(float32_agrees_with_float64) {
    for (int c = 0; c < NUM_CONFIGS; c++) {
        problem p = problem_make(CONFIGS + c, 11 + (uint32_t)c);
        decoder_f32 *single = decoder_f32_create(&p.config, ROWS);
        float *gradients = room(p.count, sizeof(float));
        const double loss = loss_of(&p);
        gradients_of(&p);
        float ones[ROWS * LENGTH];
        for (int i = 0; i < ROWS * LENGTH; i++)
            ones[i] = 1;
        CHECK_NEAR(decoder_f32_loss(single, p.initial, ROWS, LENGTH, p.tokens), loss, 2e-5);
        decoder_f32_backward(single, p.initial, ones, gradients);
        for (size_t i = 0; i < p.count; i++) {
            check_case("parameter %zu of problem %d", i, c);
            CHECK_NEAR(gradients[i], p.gradients[i], 2e-5);
        }
        free(gradients);
        decoder_f32_destroy(single);
        problem_free(&p);
    }
}

TEST(watched_weights_are_causal_and_sum_to_one) {
    problem p = problem_make(CONFIGS, 6);
    enum { LAYERS = 2, HEADS = 3 };
    static float weights[LAYERS][ROWS][HEADS][LENGTH][LENGTH];
    decoder_f32 *single = decoder_f32_create(&p.config, ROWS);
    decoder_f32_watch(single, &weights[0][0][0][0][0]);
    decoder_f32_forward(single, p.initial, ROWS, LENGTH, p.tokens, LENGTH + 1);
    for (int m = 0; m < LAYERS * ROWS * HEADS; m++)
        for (int i = 0; i < LENGTH; i++) {
            const float *row = &weights[0][0][0][0][0] + ((ptrdiff_t)m * LENGTH + i) * LENGTH;
            double sum = 0;
            for (int j = 0; j <= i; j++)
                sum += row[j];
            CHECK_NEAR(sum, 1, 1e-6);
            for (int j = i + 1; j < LENGTH; j++)
                CHECK_EXACT(row[j], 0);
        }
    decoder_f32_destroy(single);
    problem_free(&p);
}

/* What was seen later changes nothing earlier: rows may be cut and filled up at the end. */
TEST(logits_do_not_know_what_follows) {
    problem p = problem_make(CONFIGS, 8);
    double first[LENGTH - 1];
    const double *logits =
        decoder_f64_forward(p.decoder, p.parameters, 1, LENGTH, p.tokens, LENGTH);
    for (int i = 0; i < LENGTH - 1; i++)
        first[i] = logits[i * p.config.vocab_size];
    p.tokens[LENGTH - 1] = (uint16_t)((p.tokens[LENGTH - 1] + 1) % p.config.vocab_size);
    logits = decoder_f64_forward(p.decoder, p.parameters, 1, LENGTH, p.tokens, LENGTH);
    for (int i = 0; i < LENGTH - 1; i++)
        CHECK_EXACT(logits[i * p.config.vocab_size], first[i]);
    problem_free(&p);
}

TEST(impossible_sizes_are_told) {
    const decoder_config wrong[] = {
        {0, 1, 1, 1, 1, 1, 1},  {8, -1, 1, 1, 1, 1, 1}, {9, 8, 1, 3, 3, 5, 5},
        {10, 8, 1, 4, 4, 5, 5}, {8, 8, 1, 2, 3, 5, 5},  {8, 8, 1, 2, 2, 1 << 17, 5},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(decoder_config_fault(wrong + i) != NULL);
    for (int i = 0; i < NUM_CONFIGS; i++)
        CHECK(decoder_config_fault(CONFIGS + i) == NULL);
}

int main(void) {
    RUN(gradients_are_those_of_finite_differences);
    RUN(gradients_with_a_silenced_head_are_those_of_finite_differences);
    RUN(silencing_a_head_is_zeroing_its_columns_of_wo);
    RUN(backward_adds_each_target_times_its_factor);
    RUN(float32_agrees_with_float64);
    RUN(watched_weights_are_causal_and_sum_to_one);
    RUN(logits_do_not_know_what_follows);
    RUN(impossible_sizes_are_told);
    return check_summary();
}
