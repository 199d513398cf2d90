/* Trains a decoder on rows of tokens. See web/docs/training.md; tools/train/train.mjs makes the rows
 * and calls this program.
 *
 * AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization") with a linear warm-up and a
 * cosine to a tenth of the learning rate, gradients clipped to norm 1. Each batch is computed in SHARDS
 * parts whose gradients are added in a fixed order: the result does not depend on the number of threads.
 * A run that was stopped goes on from its checkpoint to the same bits as one that was not. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "decoder.h"

#define SHARDS 2
#define BETA1 0.9
#define BETA2 0.98
#define TINY 1e-8
#define CLIP 1.0
#define LAST_RATE 0.1 /* of the learning rate, at the end of the cosine */
#define CHECKPOINT_SECONDS 20

/* All that a run's result depends on, besides the rows. */
typedef struct settings {
    decoder_config config;
    int32_t steps, batch, warmup, every;
    double seed, rate, decay, emphasis; /* seed 0 .. 2^32 - 1 */
} settings;

typedef struct run {
    settings settings;
    size_t num_parameters;
    decoder_tensor tensors[NUM_TENSORS];
    int32_t step;
    float *parameters, *mean, *square; /* AdamW's running means */
    double sum;                        /* of the losses since the last entry of history */
    double (*history)[2]; /* for each `every` steps: mean loss, held-out loss (NaN: none) */
    const uint16_t *rows, *held_out;
    const bool *marked; /* of rows: whether this token's loss counts `emphasis` times */
    int32_t num_rows, num_held_out;
    struct shard {
        decoder_f32 *decoder;
        float *gradients;
        double loss;
        const uint16_t *rows;
        const bool *marked;
        float *factors; /* [rows, length] */
        struct run *run;
    } shards[SHARDS];
    int32_t threads, end; /* where this run stops, at most settings.steps */
} run;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

static _Noreturn void fail(const char *sentence, const char *name) {
    fprintf(stderr, "train: %s%s%s\n", sentence, name ? ": " : "", name ? name : "");
    exit(2);
}

static void *room(size_t count, size_t bytes) {
    void *memory = calloc(count ? count : 1, bytes);
    if (!memory)
        fail("out of memory", NULL);
    return memory;
}

/* Rows */

#define MARK 0x8000u

/* The file's tokens, 16-bit little-endian, length of them per row, without the marks in their highest
 * bits; marked, where it is not NULL, says where they were. */
static uint16_t *read_rows(const char *name, int32_t length, int32_t vocabulary, int32_t *count,
                           const bool **marked) {
    FILE *file = fopen(name, "rb");
    if (!file)
        fail(strerror(errno), name);
    if (fseek(file, 0, SEEK_END) != 0)
        fail(strerror(errno), name);
    const long bytes = ftell(file);
    rewind(file);
    const long row_bytes = (long)sizeof(uint16_t) * length;
    if (bytes <= 0 || bytes % row_bytes != 0 || bytes / row_bytes > INT32_MAX)
        fail("no whole number of rows of seq_len + 1 tokens", name);
    *count = (int32_t)(bytes / row_bytes);
    const size_t tokens = (size_t)bytes / sizeof(uint16_t);
    uint16_t *rows = room(tokens, sizeof *rows);
    if (fread(rows, sizeof *rows, tokens, file) != tokens)
        fail("cannot be read to its end", name);
    fclose(file);
    bool *marks = room(tokens, sizeof *marks);
    for (size_t i = 0; i < tokens; i++) {
        marks[i] = rows[i] & MARK;
        rows[i] &= (uint16_t)~MARK;
        if (rows[i] >= vocabulary)
            fail("a token is outside the vocabulary", name);
    }
    if (marked)
        *marked = marks;
    else
        free(marks);
    return rows;
}

/* One step */

static double rate_of(const settings *s, int32_t step) {
    if (step < s->warmup)
        return s->rate * (step + 1) / s->warmup;
    const double done = (double)(step - s->warmup) / (s->steps - s->warmup);
    return s->rate * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + cos(acos(-1.0) * done)));
}

static void *run_shard(void *context) {
    struct shard *shard = context;
    const run *r = shard->run;
    const int32_t rows = r->settings.batch / SHARDS, length = r->settings.config.seq_len;
    memset(shard->gradients, 0, r->num_parameters * sizeof(float));
    shard->loss = decoder_f32_loss(shard->decoder, r->parameters, rows, length, shard->rows);
    decoder_f32_backward(shard->decoder, r->parameters, shard->factors, shard->gradients);
    return NULL;
}

/* Each target's part of the batch's weighted mean. */
static void set_factors(run *r) {
    const int32_t rows = r->settings.batch / SHARDS, length = r->settings.config.seq_len;
    double sum = 0;
    for (int32_t i = 0; i < SHARDS; i++)
        for (int32_t n = 0; n < rows * length; n++) {
            const bool marked = r->shards[i].marked[n / length * (length + 1) + n % length + 1];
            r->shards[i].factors[n] = marked ? (float)r->settings.emphasis : 1.0f;
            sum += r->shards[i].factors[n];
        }
    for (int32_t i = 0; i < SHARDS; i++)
        for (int32_t n = 0; n < rows * length; n++)
            r->shards[i].factors[n] /= (float)sum;
}

/* Returns the mean loss, all targets alike. */
static double compute_gradients(run *r) {
    const settings *s = &r->settings;
    const ptrdiff_t row = s->config.seq_len + 1, per_shard = s->batch / SHARDS;
    const int64_t batches = r->num_rows / s->batch;
    const int64_t first = (r->step % batches) * s->batch * row;
    pthread_t threads[SHARDS];
    int32_t started = 1;
    for (int32_t i = 0; i < SHARDS; i++) {
        r->shards[i].rows = r->rows + first + i * per_shard * row;
        r->shards[i].marked = r->marked + first + i * per_shard * row;
    }
    set_factors(r);
    for (; started < r->threads; started++)
        if (pthread_create(threads + started, NULL, run_shard, r->shards + started) != 0)
            break;
    run_shard(r->shards);
    for (int32_t i = started; i < SHARDS; i++)
        run_shard(r->shards + i);
    for (int32_t i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
    double loss = 0;
    for (int32_t i = 0; i < SHARDS; i++)
        loss += r->shards[i].loss;
    float *total = r->shards[0].gradients;
    for (int32_t i = 1; i < SHARDS; i++)
        for (size_t p = 0; p < r->num_parameters; p++)
            total[p] += r->shards[i].gradients[p];
    return loss / ((double)s->batch * s->config.seq_len);
}

static void update(run *r) {
    const settings *s = &r->settings;
    float *gradients = r->shards[0].gradients;
    double squares = 0;
    for (size_t p = 0; p < r->num_parameters; p++)
        squares += (double)gradients[p] * gradients[p];
    const double norm = sqrt(squares);
    const float clip = (float)(norm > CLIP ? CLIP / norm : 1.0);
    const double rate = rate_of(s, r->step);
    const float step = (float)(rate / (1 - pow(BETA1, r->step + 1)));
    const float square_scale = (float)(1 / (1 - pow(BETA2, r->step + 1)));
    for (int t = 0; t < NUM_TENSORS; t++) {
        const decoder_tensor *tensor = r->tensors + t;
        const float keep = tensor->is_norm ? 1.0f : (float)(1 - rate * s->decay);
        for (size_t p = tensor->offset; p < tensor->offset + tensor->count; p++) {
            const float g = gradients[p] * clip;
            r->mean[p] = (float)BETA1 * r->mean[p] + (float)(1 - BETA1) * g;
            r->square[p] = (float)BETA2 * r->square[p] + (float)(1 - BETA2) * g * g;
            r->parameters[p] =
                keep * r->parameters[p] -
                step * r->mean[p] / (sqrtf(r->square[p] * square_scale) + (float)TINY);
        }
    }
}

static double held_out_loss(run *r) {
    if (!r->held_out)
        return NAN;
    const int32_t length = r->settings.config.seq_len, rows = r->settings.batch / SHARDS;
    double loss = 0;
    for (int32_t first = 0; first < r->num_held_out; first += rows) {
        const int32_t now = r->num_held_out - first < rows ? r->num_held_out - first : rows;
        loss += decoder_f32_loss(r->shards[0].decoder, r->parameters, now, length,
                                 r->held_out + (ptrdiff_t)first * (length + 1));
    }
    return loss / ((double)r->num_held_out * length);
}

/* Files */

typedef struct checkpoint_head {
    char magic[8];
    settings settings;
    int32_t step;
    double sum;
} checkpoint_head;

static const char MAGIC[8] = "spottrn2";

static size_t num_entries(const run *r) {
    return (size_t)(r->step / r->settings.every);
}

/* Written beside and then renamed: a file of this name is always whole. */
static FILE *open_beside(const char *name, char *beside, size_t size) {
    if (snprintf(beside, size, "%s.new", name) >= (int)size)
        fail("the name is too long", name);
    FILE *file = fopen(beside, "wb");
    if (!file)
        fail(strerror(errno), beside);
    return file;
}

static void close_beside(FILE *file, bool written, const char *beside, const char *name) {
    if (fclose(file) != 0 || !written || rename(beside, name) != 0)
        fail(strerror(errno), name);
}

static void save_checkpoint(const run *r, const char *name) {
    char beside[4096];
    FILE *file = open_beside(name, beside, sizeof beside);
    checkpoint_head head;
    memset(&head, 0, sizeof head);
    memcpy(head.magic, MAGIC, sizeof head.magic);
    head.settings = r->settings;
    head.step = r->step;
    head.sum = r->sum;
    const size_t n = r->num_parameters;
    const bool written =
        fwrite(&head, sizeof head, 1, file) == 1 &&
        fwrite(r->parameters, sizeof(float), n, file) == n &&
        fwrite(r->mean, sizeof(float), n, file) == n &&
        fwrite(r->square, sizeof(float), n, file) == n &&
        fwrite(r->history, sizeof *r->history, num_entries(r), file) == num_entries(r);
    close_beside(file, written, beside, name);
}

static bool same_settings(const settings *a, const settings *b) {
    return memcmp(&a->config, &b->config, sizeof a->config) == 0 && a->seed == b->seed &&
           a->steps == b->steps && a->batch == b->batch && a->warmup == b->warmup &&
           a->every == b->every && a->rate == b->rate && a->decay == b->decay &&
           a->emphasis == b->emphasis;
}

/* False where there is no such file. */
static bool load_checkpoint(run *r, const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) {
        if (errno == ENOENT)
            return false;
        fail(strerror(errno), name);
    }
    checkpoint_head head;
    if (fread(&head, sizeof head, 1, file) != 1 ||
        memcmp(head.magic, MAGIC, sizeof head.magic) != 0)
        fail("not a checkpoint of this program", name);
    if (!same_settings(&head.settings, &r->settings) || head.step < 0 ||
        head.step > r->settings.steps)
        fail("the checkpoint is of a run with other settings; give the same, or another "
             "--checkpoint",
             name);
    r->step = head.step;
    r->sum = head.sum;
    const size_t n = r->num_parameters;
    if (fread(r->parameters, sizeof(float), n, file) != n ||
        fread(r->mean, sizeof(float), n, file) != n ||
        fread(r->square, sizeof(float), n, file) != n ||
        fread(r->history, sizeof *r->history, num_entries(r), file) != num_entries(r))
        fail("the checkpoint is cut off", name);
    fclose(file);
    return true;
}

/* llama2.c's first file version; the tables after the parameters, which no program reads any more, are
 * zeros. */
static void write_model(const run *r, const char *name) {
    char beside[4096];
    FILE *file = open_beside(name, beside, sizeof beside);
    const decoder_config *c = &r->settings.config;
    const size_t angles = (size_t)c->seq_len * (size_t)(c->dim / c->num_heads);
    float *zeros = room(angles, sizeof *zeros);
    const bool written =
        fwrite(c, sizeof *c, 1, file) == 1 &&
        fwrite(r->parameters, sizeof(float), r->num_parameters, file) == r->num_parameters &&
        fwrite(zeros, sizeof *zeros, angles, file) == angles;
    free(zeros);
    close_beside(file, written, beside, name);
}

static void write_log(const run *r, const char *name) {
    char beside[4096];
    FILE *file = open_beside(name, beside, sizeof beside);
    bool written = fprintf(file, "step\tloss\theld_out_loss\tlearning_rate\n") > 0;
    for (size_t e = 0; e < num_entries(r) && written; e++) {
        const int32_t step = (int32_t)(e + 1) * r->settings.every;
        written = fprintf(file, "%d\t%.5f\t%.5f\t%.6f\n", step, r->history[e][0], r->history[e][1],
                          rate_of(&r->settings, step - 1)) > 0;
    }
    close_beside(file, written, beside, name);
}

/* The program */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One line, written over on a terminal, else a line every ten seconds. */
static void show_progress(const run *r, int32_t first, double started, double loss) {
    static double shown;
    const bool terminal = isatty(STDOUT_FILENO);
    const double now = seconds();
    const bool last = r->step == r->end;
    if (!last && now - shown < (terminal ? 0.2 : 10))
        return;
    shown = now;
    const double passed = now - started, done = r->step - first;
    const double left = passed / done * (r->end - r->step);
    printf("%strain: step %d of %d, loss %.4f, %.1f thousand tokens/s, %d min %02d s left%s",
           terminal ? "\r\033[K" : "", r->step, r->settings.steps, loss,
           done * r->settings.batch * r->settings.config.seq_len / passed / 1000, (int)left / 60,
           (int)left % 60, terminal && !last ? "" : "\n");
    fflush(stdout);
}

static void train(run *r, const char *checkpoint) {
    const double started = seconds();
    const int32_t first = r->step;
    double saved = started;
    while (r->step < r->end && !interrupted) {
        const double loss = compute_gradients(r);
        if (!isfinite(loss))
            fail("the loss is no number any more: take a smaller --rate", NULL);
        update(r);
        r->sum += loss;
        r->step++;
        if (r->step % r->settings.every == 0) {
            double *entry = r->history[num_entries(r) - 1];
            entry[0] = r->sum / r->settings.every;
            entry[1] = held_out_loss(r);
            r->sum = 0;
        }
        show_progress(r, first, started, loss);
        if (checkpoint && seconds() - saved > CHECKPOINT_SECONDS) {
            save_checkpoint(r, checkpoint);
            saved = seconds();
        }
    }
    if (checkpoint)
        save_checkpoint(r, checkpoint);
    if (interrupted) {
        printf("\ntrain: stopped at step %d%s\n", r->step,
               checkpoint ? "; the same command goes on from there" : "");
        exit(130);
    }
}

static double number(const char *option, const char *text, double low, double high, bool whole) {
    char *end;
    const double value = strtod(text, &end);
    if (*text == 0 || *end != 0 || !(value >= low && value <= high) ||
        (whole && value != floor(value))) {
        fprintf(stderr, "train: %s must be a%s number %g .. %g, not \"%s\"\n", option,
                whole ? " whole" : "", low, high, text);
        exit(2);
    }
    return value;
}

typedef struct files {
    const char *rows, *held_out, *checkpoint, *model, *log;
} files;

static void read_options(int argc, char **argv, run *r, files *f) {
    settings *s = &r->settings;
    decoder_config *c = &s->config;
    int32_t stop_at = 0;
    /* One of whole, real and text says where the value goes. */
    const struct {
        const char *name;
        int32_t *whole;
        double *real;
        const char **text;
        double low, high;
    } options[] = {
        {"--dim", &c->dim, NULL, NULL, 1, 65536},
        {"--hidden-dim", &c->hidden_dim, NULL, NULL, 1, 65536},
        {"--layers", &c->num_layers, NULL, NULL, 1, 65536},
        {"--heads", &c->num_heads, NULL, NULL, 1, 65536},
        {"--kv-heads", &c->num_kv_heads, NULL, NULL, 1, 65536},
        {"--vocabulary", &c->vocab_size, NULL, NULL, 1, 65536},
        {"--seq-len", &c->seq_len, NULL, NULL, 1, 65536},
        {"--steps", &s->steps, NULL, NULL, 0, 1e9},
        {"--stop-at", &stop_at, NULL, NULL, 0, 1e9},
        {"--batch", &s->batch, NULL, NULL, SHARDS, 65536},
        {"--warmup", &s->warmup, NULL, NULL, 0, 1e9},
        {"--every", &s->every, NULL, NULL, 1, 1e9},
        {"--threads", &r->threads, NULL, NULL, 1, SHARDS},
        {"--seed", NULL, &s->seed, NULL, 0, 4294967295.0},
        {"--rate", NULL, &s->rate, NULL, 0, 1e3},
        {"--decay", NULL, &s->decay, NULL, 0, 1e3},
        {"--emphasis", NULL, &s->emphasis, NULL, 0, 1e3},
        {"--rows", NULL, NULL, &f->rows, 0, 0},
        {"--held-out", NULL, NULL, &f->held_out, 0, 0},
        {"--checkpoint", NULL, NULL, &f->checkpoint, 0, 0},
        {"--model", NULL, NULL, &f->model, 0, 0},
        {"--log", NULL, NULL, &f->log, 0, 0},
    };
    const size_t num_options = sizeof options / sizeof *options;
    for (int a = 1; a < argc; a += 2) {
        size_t o = 0;
        while (o < num_options && strcmp(options[o].name, argv[a]) != 0)
            o++;
        if (o == num_options)
            fail("there is no such option", argv[a]);
        if (a + 1 == argc)
            fail("a value is missing after", argv[a]);
        if (options[o].text) {
            *options[o].text = argv[a + 1];
            continue;
        }
        const bool whole = options[o].whole || options[o].real == &s->seed;
        const double value = number(argv[a], argv[a + 1], options[o].low, options[o].high, whole);
        if (options[o].whole)
            *options[o].whole = (int32_t)value;
        else
            *options[o].real = value;
    }
    r->end = stop_at > 0 && stop_at < s->steps ? stop_at : s->steps;
    const char *fault = decoder_config_fault(c);
    if (fault)
        fail(fault, NULL);
    if (s->batch % SHARDS != 0)
        fail("--batch must be even: two threads share it", NULL);
    if (s->steps > 0 && !f->rows)
        fail("--rows FILE is missing", NULL);
}

static void prepare(run *r, const files *f) {
    const settings *s = &r->settings;
    const decoder_config *c = &s->config;
    r->num_parameters = decoder_layout(c, r->tensors);
    r->parameters = room(r->num_parameters, sizeof(float));
    r->mean = room(r->num_parameters, sizeof(float));
    r->square = room(r->num_parameters, sizeof(float));
    r->history = room((size_t)(s->steps / s->every), sizeof *r->history);
    if (f->rows) {
        r->rows = read_rows(f->rows, c->seq_len + 1, c->vocab_size, &r->num_rows, &r->marked);
        if (r->num_rows < s->batch)
            fail("fewer rows than a batch has", f->rows);
    }
    if (f->held_out)
        r->held_out = read_rows(f->held_out, c->seq_len + 1, c->vocab_size, &r->num_held_out, NULL);
    for (int32_t i = 0; i < SHARDS; i++) {
        r->shards[i].run = r;
        r->shards[i].gradients = room(r->num_parameters, sizeof(float));
        r->shards[i].factors =
            room((size_t)(s->batch / SHARDS) * (size_t)c->seq_len, sizeof(float));
        r->shards[i].decoder = decoder_f32_create(c, s->batch / SHARDS);
        if (!r->shards[i].decoder)
            fail("out of memory", NULL);
    }
    decoder_initialize(c, (uint32_t)s->seed, r->parameters);
    if (f->checkpoint && load_checkpoint(r, f->checkpoint) && r->step > 0 && r->step < r->end)
        printf("train: going on from step %d\n", r->step);
}

int main(int argc, char **argv) {
    static run r = {
        .settings = {.config = {.dim = 64,
                                .hidden_dim = 128,
                                .num_layers = 2,
                                .num_heads = 4,
                                .num_kv_heads = 4,
                                .seq_len = 64},
                     .seed = 1,
                     .steps = 1000,
                     .batch = 16,
                     .warmup = 200,
                     .every = 50,
                     .rate = 3e-3,
                     .decay = 0.1,
                     .emphasis = 5},
        .threads = 1,
    };
    files f = {NULL, NULL, NULL, NULL, NULL};
    read_options(argc, argv, &r, &f);
    prepare(&r, &f);
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    train(&r, f.checkpoint);
    if (f.model)
        write_model(&r, f.model);
    if (f.log)
        write_log(&r, f.log);
    return 0;
}
