/* What the fuzz targets share: sizes, strides and numbers made of the fuzzer's bytes, and an account
 * of what is wrong with them that knows nothing of the library's own checks.
 *
 * Every target builds one call, finds its faults from the header's words alone, and holds the library
 * to them: a call without fault is accepted, one with faults refused with the status of one of them
 * and its outputs left as they were. Tensors are allocated to the last element, so that the address
 * sanitizer sees one read or written too many. A failed check ends the program, which is how a fuzzer
 * learns of it. */
#ifndef FUZZ_H
#define FUZZ_H

#include <float.h>

#include "check.h"

/* libFuzzer's and AFL++'s own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes */

/* Past the end there are zeros: the plainest choice everywhere. */
typedef struct input {
    const uint8_t *data;
    size_t left;
} input;

static inline uint8_t take(input *in) {
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->data++;
}

static inline int32_t take_below(input *in, int32_t n) {
    return take(in) % n;
}

static inline uint64_t take_word(input *in, int bytes) {
    uint64_t word = 0;
    for (int i = 0; i < bytes; i++)
        word |= (uint64_t)take(in) << (8 * i);
    return word;
}

/* Mostly 1 .. most; now and then around the tiles' edges, or anything. */
static inline int32_t take_size(input *in, int32_t most) {
    static const int32_t edges[] = {0, 12, 13, 15, 16, 17, 31, 33, 59, 60, 61, 64, 65, 121, 129};
    const uint8_t byte = take(in);
    if (byte < 224)
        return 1 + byte % most;
    if (byte < 252)
        return edges[byte % (sizeof edges / sizeof *edges)];
    return (int32_t)(uint32_t)take_word(in, 4);
}

/* usual, or another: near zero, or any double at all. */
static inline double take_number(input *in, double usual) {
    const uint8_t byte = take(in);
    if (byte < 128)
        return usual;
    if (byte < 240)
        return (byte - 176) / 16.0;
    const uint64_t bits = take_word(in, 8);
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* An option whose values are 0 .. last; rarely another. */
static inline int32_t take_option(input *in, int32_t last) {
    const uint8_t byte = take(in);
    return byte < 250 && last < 250 ? byte % (last + 1) : (int32_t)(uint32_t)take_word(in, 4);
}

/* Faults */

typedef unsigned faults; /* a bit for each attn_status */

static inline faults fault(attn_status status, bool is_one) {
    return is_one ? 1u << status : 0;
}

/* must: faults that the call has. may: statuses that are right besides, where the header leaves it
 * open. */
static inline void hold(attn_status status, faults must, faults may, const char *call) {
    const bool right = status == ATTN_OK ? must == 0 : ((must | may) >> status & 1) != 0;
    check_that(right, __FILE__, __LINE__, "%s says \"%s\"; its faults are 0x%x, may be 0x%x", call,
               attn_status_name(status), must, may);
}

/* Tensors */

enum { AXES = 4, MOST_ELEMENTS = 1 << 16, FILL = 0x5A };

typedef struct tensor {
    int32_t sizes[AXES];
    ptrdiff_t steps[AXES];
    bool is_given; /* not NULL */
    bool is_empty;
    bool is_large; /* too large to be allocated here */
    bool is_impossible;
    size_t count;    /* elements from the lowest to the highest */
    ptrdiff_t first; /* where element 0 lies */
    float *f32, *before;
    double *f64;
} tensor;

/* Sizes and steps are set. Negative sizes are the caller's to refuse: here they count as none. */
static inline void tensor_measure(tensor *t, size_t element_bytes) {
    __extension__ typedef __int128 wide;
    wide low = 0, high = 0;
    t->is_empty = false;
    for (int axis = 0; axis < AXES; axis++) {
        t->is_empty |= t->sizes[axis] <= 0;
        const wide reach = t->sizes[axis] > 0 ? ((wide)t->sizes[axis] - 1) * t->steps[axis] : 0;
        *(reach < 0 ? &low : &high) += reach;
    }
    const wide span = high - low + 1, count = t->is_empty ? 0 : span;
    t->is_impossible = span > (wide)(PTRDIFF_MAX / element_bytes);
    t->is_large = count > MOST_ELEMENTS;
    t->count = t->is_large ? 0 : (size_t)count;
    t->first = t->is_large || t->is_empty ? 0 : (ptrdiff_t)-low;
}

static inline faults tensor_faults(const tensor *t) {
    return fault(ATTN_ERR_SIZE, t->is_impossible) |
           fault(ATTN_ERR_NULL, !t->is_given && !t->is_empty);
}

static inline float *tensor_f32(const tensor *t) {
    return t->is_given ? t->f32 + t->first : NULL;
}

static inline double *tensor_f64(const tensor *t) {
    return t->is_given ? t->f64 + t->first : NULL;
}

/* Where element [i0, i1, i2, i3] lies in f32 and f64. */
static inline ptrdiff_t tensor_at(const tensor *t, int32_t i0, int32_t i1, int32_t i2, int32_t i3) {
    return t->first + i0 * t->steps[0] + i1 * t->steps[1] + i2 * t->steps[2] + i3 * t->steps[3];
}

enum values {
    ORDINARY,  /* -1 .. 1 */
    HUGE,      /* up to 3e4 */
    SUBNORMAL, /* around 2^-140 */
    ANY,       /* any finite float */
    SPECIAL,   /* ordinary, and now and then NaN or an infinity */
    NUM_VALUES,
};

static inline float make_number(rng *r, int32_t values) {
    static const float specials[] = {INFINITY, -INFINITY, NAN, FLT_MAX};
    if (values == SPECIAL && rng_once_in(r, 40))
        return specials[rng_int(r, 0, 3)];
    if (values == ANY) {
        uint32_t bits = (uint32_t)rng_next(r);
        if ((bits & 0x7f800000u) == 0x7f800000u)
            bits &= 0xbfffffffu;
        float number;
        memcpy(&number, &bits, sizeof number);
        return number;
    }
    return (float)((values == HUGE ? 3e4 : values == SUBNORMAL ? 0x1p-140 : 1.0) * rng_unit(r));
}

/* One byte more than the tensor has where it has none: malloc(0) may be NULL, which has a meaning. */
static inline void tensor_alloc(tensor *t) {
    const size_t extra = t->count == 0;
    t->f32 = malloc(t->count * sizeof *t->f32 + extra);
    t->before = malloc(t->count * sizeof *t->before + extra);
    t->f64 = malloc(t->count * sizeof *t->f64 + extra);
    if (!t->f32 || !t->before || !t->f64)
        exit(1);
    memset(t->f32, FILL, t->count * sizeof *t->f32);
    memset(t->before, FILL, t->count * sizeof *t->before);
    memset(t->f64, FILL, t->count * sizeof *t->f64);
}

static inline void tensor_set(tensor *t, size_t element, float number) {
    t->f32[element] = t->before[element] = number;
    t->f64[element] = (double)number;
}

static inline void tensor_make(tensor *t, rng *r, int32_t values) {
    tensor_alloc(t);
    for (size_t e = 0; e < t->count; e++)
        tensor_set(t, e, make_number(r, values));
}

static inline void tensor_free(tensor *t) {
    free(t->f32), free(t->before), free(t->f64);
}

/* As it was made. */
static inline bool tensor_untouched(const tensor *t) {
    return t->count == 0 || memcmp(t->f32, t->before, t->count * sizeof *t->f32) == 0;
}

static inline double tensor_largest(const tensor *t) {
    double largest = 0.0;
    for (size_t e = 0; e < t->count; e++)
        largest = fmax(largest, isnan(t->f64[e]) ? INFINITY : fabs(t->f64[e]));
    return largest;
}

/* How often each element of t's memory is one of the tensor, at most 2. */
static inline uint8_t *tensor_uses(const tensor *t) {
    uint8_t *uses = calloc(t->count + 1, 1);
    if (!uses)
        exit(1);
    for (int32_t a = 0; a < t->sizes[0] && t->count; a++)
        for (int32_t b = 0; b < t->sizes[1]; b++)
            for (int32_t c = 0; c < t->sizes[2]; c++)
                for (int32_t d = 0; d < t->sizes[3]; d++) {
                    uint8_t *use = &uses[tensor_at(t, a, b, c, d)];
                    *use = *use < 2 ? *use + 1 : 2;
                }
    return uses;
}

/* Elements of an output that are none of the tensor's are as they were; true where no two elements
 * share a place. */
static inline bool tensor_gaps_untouched(const tensor *t, const char *name) {
    uint8_t *uses = tensor_uses(t);
    bool shared = false, untouched = true;
    for (size_t e = 0; e < t->count; e++) {
        shared |= uses[e] > 1;
        untouched &= uses[e] > 0 || memcmp(&t->f32[e], &t->before[e], sizeof *t->f32) == 0;
    }
    check_that(untouched, __FILE__, __LINE__, "%s: written between the rows", name);
    free(uses);
    return !shared;
}

static inline ptrdiff_t saturated(ptrdiff_t a, int32_t b) {
    if (a <= 0 || b <= 0)
        return 0;
    return a > PTRDIFF_MAX / b ? PTRDIFF_MAX : a * b;
}

/* Steps for the sizes: contiguous, or otherwise. */
static inline void take_steps(input *in, tensor *t) {
    const int32_t *s = t->sizes;
    ptrdiff_t *steps = t->steps;
    steps[3] = 1;
    steps[2] = s[3];
    steps[1] = saturated(steps[2], s[2]);
    steps[0] = saturated(steps[1], s[1]);
    const uint8_t byte = take(in);
    switch (byte % 16) {
    case 7: /* [batch, rows, heads, dim] */
        steps[1] = s[3];
        steps[2] = saturated(s[3], s[1]);
        steps[0] = saturated(steps[2], s[2]);
        break;
    case 8: /* gaps */
        steps[2] = (ptrdiff_t)s[3] + byte / 64 + 1;
        steps[1] = saturated(steps[2], s[2]);
        steps[1] += steps[1] < PTRDIFF_MAX - 5 ? 5 : 0;
        steps[0] = saturated(steps[1], s[1]);
        break;
    case 9:
    case 10:
    case 11:
        steps[byte % 16 - 9] = 0;
        break;
    case 12:
        steps[2] = -steps[2];
        break;
    case 13:
        for (int axis = 0; axis < 3; axis++)
            steps[axis] = (int8_t)take(in);
        break;
    case 14:
        steps[byte / 16 % 3] = (ptrdiff_t)take_word(in, 8);
        break;
    case 15:
        for (int axis = 0; axis < 3; axis++)
            steps[axis] = -steps[axis];
        break;
    default:
        break;
    }
}

static inline attn_strides tensor_strides(const tensor *t) {
    return (attn_strides){t->steps[0], t->steps[1], t->steps[2]};
}

/* An output axis on which two rows lie closer than a row is long. */
static inline bool tensor_rows_overlap(const tensor *t) {
    for (int axis = 0; axis < 3; axis++)
        if (t->sizes[axis] > 1 && t->steps[axis] < t->sizes[3] && t->steps[axis] > -t->sizes[3])
            return !t->is_empty;
    return false;
}

/* Given, but for once in a while. */
static inline bool take_given(input *in) {
    return take(in) < 250;
}

static inline tensor take_tensor(input *in, int32_t s0, int32_t s1, int32_t s2, int32_t s3) {
    tensor t = {.sizes = {s0, s1, s2, s3}};
    take_steps(in, &t);
    t.is_given = take_given(in);
    tensor_measure(&t, sizeof(float));
    return t;
}

/* One that the caller does not lay out. */
static inline tensor contiguous_tensor(bool is_given, int32_t s0, int32_t s1, int32_t s2,
                                       int32_t s3) {
    tensor t = {.sizes = {s0, s1, s2, s3}, .is_given = is_given};
    take_steps(&(input){0}, &t);
    tensor_measure(&t, sizeof(float));
    return t;
}

/* Workspace */

/* One that cannot be used: how is chosen by the fuzzer. Returns the status it must be answered with,
 * ATTN_OK where the change does no harm. */
static inline attn_status spoil_exec(input *in, attn_exec *exec, int32_t num_tasks) {
    const size_t needed = exec->workspace_bytes;
    switch (take_below(in, 7)) {
    case 0:
        exec->workspace = NULL;
        break;
    case 1:
        if (needed == 0)
            return ATTN_OK;
        exec->workspace_bytes--;
        break;
    case 2:
        exec->workspace = (char *)exec->workspace + 4;
        break;
    case 3:
        exec->first_task = -1 - take_below(in, 3);
        return ATTN_ERR_OPTION;
    case 4:
        exec->num_tasks = -1 - take_below(in, 3);
        return ATTN_ERR_OPTION;
    case 5:
        exec->first_task = num_tasks;
        exec->num_tasks = 1;
        return ATTN_ERR_OPTION;
    default:
        exec->first_task = INT32_MAX;
        exec->num_tasks = INT32_MAX;
        return ATTN_ERR_OPTION;
    }
    return needed > 0 ? ATTN_ERR_WORKSPACE : ATTN_OK;
}

/* Filled with NaN; exactly as large as asked for. */
static inline void *workspace_alloc(size_t bytes) {
    void *workspace = NULL;
    if (bytes > (size_t)1 << 28 || posix_memalign(&workspace, 16, bytes + (bytes == 0)) != 0) {
        printf("a workspace of %zu bytes for tensors this small\n", bytes);
        abort();
    }
    memset(workspace, 0xFF, bytes);
    return workspace;
}

/* The end of a case */

static inline int fuzz_end(void) {
    if (check_state.failures) {
        fflush(stdout);
        abort();
    }
    return 0;
}

#endif
