/* Runs a model over rows of tokens and writes what was asked for, for tools/train/measure.mjs:
 *
 *     probe MODEL ROWS LENGTH QUERIES OUT [LAYER HEAD ...]
 *
 *   MODEL    llama2.c's first file version, output matrix shared
 *   ROWS     rows of LENGTH tokens, 16-bit
 *   QUERIES  pairs of int32: row, position
 *   OUT      for each query, float32: the logits of that position [vocab_size], and its attention weights
 *            [num_layers, num_heads, LENGTH]
 *   LAYER HEAD  heads that are silenced, counted from 0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decoder.h"

#define BATCH 16

static _Noreturn void fail(const char *sentence, const char *name) {
    fprintf(stderr, "probe: %s%s%s\n", sentence, name ? ": " : "", name ? name : "");
    exit(2);
}

static void *read_file(const char *name, size_t element_bytes, size_t *count) {
    FILE *file = fopen(name, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        fail("cannot be read", name);
    const long bytes = ftell(file);
    rewind(file);
    if (bytes <= 0 || (size_t)bytes % element_bytes != 0)
        fail("has no right length", name);
    *count = (size_t)bytes / element_bytes;
    void *data = malloc((size_t)bytes);
    if (!data)
        fail("out of memory", NULL);
    if (fread(data, 1, (size_t)bytes, file) != (size_t)bytes)
        fail("cannot be read to its end", name);
    fclose(file);
    return data;
}

typedef struct query {
    int32_t row, position;
} query;

static int by_row(const void *a, const void *b) {
    const int32_t first = ((const query *)a)->row, second = ((const query *)b)->row;
    return (first > second) - (first < second);
}

int main(int argc, char **argv) {
    if (argc < 6 || argc % 2 != 0)
        fail("usage: probe MODEL ROWS LENGTH QUERIES OUT [LAYER HEAD ...]", NULL);
    size_t model_bytes, num_tokens, num_queries;
    char *model = read_file(argv[1], 1, &model_bytes);
    uint16_t *tokens = read_file(argv[2], sizeof *tokens, &num_tokens);
    query *queries = read_file(argv[4], sizeof *queries, &num_queries);
    decoder_config config;
    if (model_bytes < sizeof config)
        fail("is no model", argv[1]);
    memcpy(&config, model, sizeof config);
    const char *fault = decoder_config_fault(&config);
    if (fault)
        fail(fault, argv[1]);
    decoder_tensor tensors[NUM_TENSORS];
    const size_t num_parameters = decoder_layout(&config, tensors);
    if ((model_bytes - sizeof config) / sizeof(float) < num_parameters)
        fail("is cut off", argv[1]);
    float *parameters = malloc(num_parameters * sizeof *parameters);
    const int length = atoi(argv[3]);
    if (length < 1 || length > config.seq_len)
        fail("LENGTH must be 1 .. the model's seq_len", argv[3]);
    if (num_tokens % (size_t)length != 0)
        fail("no whole number of rows", argv[2]);
    for (size_t i = 0; i < num_tokens; i++)
        if (tokens[i] >= config.vocab_size)
            fail("a token is outside the vocabulary", argv[2]);
    const int32_t rows = (int32_t)(num_tokens / (size_t)length);
    for (size_t q = 0; q < num_queries; q++)
        if (queries[q].row < 0 || queries[q].row >= rows || queries[q].position < 0 ||
            queries[q].position >= length)
            fail("a query is outside the rows", argv[4]);
        else if (q > 0 && by_row(queries + q - 1, queries + q) > 0)
            fail("the queries must be in the order of the rows", argv[4]);

    const size_t heads = (size_t)config.num_layers * (size_t)config.num_heads;
    const size_t matrix = (size_t)length * (size_t)length;
    bool *silenced = calloc(heads, sizeof *silenced);
    float *weights = malloc(heads * BATCH * matrix * sizeof *weights);
    decoder_f32 *decoder = decoder_f32_create(&config, BATCH);
    FILE *out = fopen(argv[5], "wb");
    if (!parameters || !silenced || !weights || !decoder)
        fail("out of memory", NULL);
    if (!out)
        fail("cannot be written", argv[5]);
    memcpy(parameters, model + sizeof config, num_parameters * sizeof *parameters);
    for (int a = 6; a < argc; a += 2) {
        const int layer = atoi(argv[a]), head = atoi(argv[a + 1]);
        if (layer < 0 || layer >= config.num_layers || head < 0 || head >= config.num_heads)
            fail("there is no such head", argv[a]);
        silenced[layer * config.num_heads + head] = true;
    }
    decoder_f32_silence(decoder, silenced);
    decoder_f32_watch(decoder, weights);

    size_t q = 0;
    while (q < num_queries) {
        const int32_t first = queries[q].row;
        const int32_t now = rows - first < BATCH ? rows - first : BATCH;
        const float *logits = decoder_f32_forward(decoder, parameters, now, length,
                                                  tokens + (ptrdiff_t)first * length, length);
        for (; q < num_queries && queries[q].row < first + now; q++) {
            const size_t row = (size_t)(queries[q].row - first), at = (size_t)queries[q].position;
            bool written =
                fwrite(logits + (row * (size_t)length + at) * (size_t)config.vocab_size,
                       sizeof(float), (size_t)config.vocab_size, out) == (size_t)config.vocab_size;
            for (int32_t l = 0; l < config.num_layers && written; l++)
                for (int32_t h = 0; h < config.num_heads && written; h++) {
                    const size_t head =
                        ((size_t)l * (size_t)now + row) * (size_t)config.num_heads + (size_t)h;
                    written = fwrite(weights + head * matrix + at * (size_t)length, sizeof(float),
                                     (size_t)length, out) == (size_t)length;
                }
            if (!written)
                fail("cannot be written", argv[5]);
        }
    }
    if (fclose(out) != 0)
        fail("cannot be written", argv[5]);
    decoder_f32_destroy(decoder);
    free(weights);
    free(silenced);
    free(parameters);
    free(queries);
    free(tokens);
    free(model);
    return 0;
}
