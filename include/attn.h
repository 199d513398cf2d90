/* attn.h: attention in C11. This header is the manual.
 *
 * Everything is row-major and counted in elements (never bytes, unless a name ends in _bytes). No function
 * prints, aborts, keeps a pointer after it returns or allocates memory, except attn_threads_create(). Every
 * function validates its arguments before it writes: unless it returns ATTN_OK, its outputs are untouched.
 * Functions may run at the same time on different outputs and workspaces.
 *
 *     scores[i][j]  = scale * sum_d query[i][d] * key[j][d]          then, each only where asked for:
 *                     softcap * tanh(scores / softcap)
 *                     - slope * |i + offset - j|                     ALiBi
 *                     + attn_mask[i][j]                              or -inf where a boolean mask is false
 *     weights[i][j] = exp(scores[i][j] - max_j) / sum_j exp(...)     over the visible keys j of row i
 *     out[i]        = sum_j weights[i][j] * value[j]
 *
 * Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1; names and defaults as in PyTorch's
 * torch.nn.functional.scaled_dot_product_attention. The fused path keeps a running maximum and sum per row
 * (Milakov & Gimelshein 2018; Rabe & Staats 2021; Dao 2023, FlashAttention-2).
 *
 * Where the field disagrees, this library says:
 *   a row with no visible key       out 0, weights 0, logsumexp -inf; the same where every score is -inf
 *   keys outside the causal, window or length limits are never read: NaN there cannot leak, and their weight is 0
 *                                   whatever the rest of the row holds
 *   keys removed by a mask tensor   ordinary arithmetic: the score is -inf, the weight exactly 0, and 0 * NaN is NaN
 *   NaN or infinity that is read    propagates as IEEE 754 says
 *   boolean mask                    nonzero means "attend"
 *   grouped heads                   query head h reads key/value head h / (num_heads / num_kv_heads)
 */
#ifndef ATTN_H
#define ATTN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Values are pinned: they are part of the binary interface. */
typedef enum attn_status {
    ATTN_OK = 0,        /* done: the outputs are written */
    ATTN_ERR_NULL = 1,  /* a pointer that must be given is NULL */
    ATTN_ERR_SHAPE = 2, /* a size is negative, or zero where it must be positive */
    ATTN_ERR_HEADS =
        3, /* num_heads is no multiple of num_kv_heads, or embed_dim none of num_heads */
    ATTN_ERR_OPTION = 4, /* an option has a value that is not defined, or is NaN */
    ATTN_ERR_SIZE = 5,   /* the product of the sizes does not fit the address space */
    ATTN_ERR_WORKSPACE =
        6,               /* workspace missing, misaligned or smaller than its size function says */
    ATTN_ERR_LENGTH = 7, /* an entry of kv_lengths is negative or above seq_len_kv */
    ATTN_ERR_MEMORY = 8, /* memory or threads could not be had (attn_threads_create only) */
    ATTN_ERR_UNSUPPORTED =
        9, /* cannot be done so (threads in a build without them, keys in parts) */
} attn_status;

/* A constant English phrase for a status; "unknown status" for any other number. Never NULL. */
const char *attn_status_name(attn_status status);

/* The build's variant: "scalar", "simd" or "relaxed". */
const char *attn_variant(void);

/* Threads */

/* A pool of num_threads - 1 sleeping threads that works together with the caller. One call at a time may use
 * a pool. In builds without threads, and for num_threads < 2, *threads becomes NULL and the status is
 * ATTN_ERR_UNSUPPORTED, respectively ATTN_OK: NULL is a valid pool everywhere and means "one thread". More than 1,024 are ATTN_ERR_OPTION.
 * The caller owns the pool and gives it back with attn_threads_destroy() (NULL allowed). */
typedef struct attn_threads attn_threads;
attn_status attn_threads_create(int32_t num_threads, attn_threads **threads);
void attn_threads_destroy(attn_threads *threads);
/* How many threads compute, the caller's included: 1 for NULL. */
int32_t attn_threads_count(const attn_threads *threads);
/* How large a call must be to be shared: below `grain` multiply-adds it stays on the caller's thread. Default 2^24, about
 * half a millisecond: waking a thread for less costs more than it saves. Those of attn_linear_f32 with up to four
 * rows, and of attn_sdpa_f32 with up to four query rows to a key/value head and without weights and scores, wait for memory, and count
 * eight times. With 0 every call is shared however small, and
 * its tasks are dealt out in turn, each thread the same number, so that a test of small calls runs on all threads.
 * NULL: no effect. ATTN_ERR_OPTION for a grain that is negative or NaN. Not while a call uses the pool. */
attn_status attn_threads_set_grain(attn_threads *threads, double grain);
/* How many tasks the other threads have taken off the caller since the pool was made, modulo 2^32; 0 for NULL. */
uint32_t attn_threads_shared_tasks(const attn_threads *threads);

/* What a call runs with: threads, a pool or NULL, and memory. All zero, or NULL instead of it, is valid where the function's workspace size is zero.
 *   workspace        16-byte aligned scratch, contents undefined before and after (but for keys in parts)
 *   workspace_bytes  at least what the function's *_workspace() says for the same arguments
 *   first_task, num_tasks
 *                    run only this part of the call's tasks (0 and 0: all of them), so that a caller can report
 *                    progress or stop in between. The tasks are independent; running each once gives the whole.
 *                    Those of attn_sdpa_f32 go by batch element, then key/value head, equally many for each.
 *                    A range that reaches past the last task is ATTN_ERR_OPTION. attn_linear_* and attn_mha_* are
 *                    one task.
 *   first_key, num_keys
 *                    attn_sdpa_f32 only, one task of at most 4 query rows for each key/value head ((num_heads /
 *                    num_kv_heads) * seq_len_q <= 4), without weights and scores: read these keys and values alone
 *                    (0 and 0: all of them), so that they can come in parts, through memory that is used again.
 *                    data->key and data->value then begin with key first_key. The parts follow one another from key 0
 *                    on, without gaps, each but the last a multiple of 64 keys, with one workspace that nobody else
 *                    touches; the last writes the outputs, bit by bit those of one call. ATTN_ERR_OPTION: other
 *                    numbers, or several tasks. ATTN_ERR_UNSUPPORTED: another kind of call; or a query, key or value
 *                    so tiny (2^-63, a value 2^-26) that all must be seen before any is scaled: make it one call. */
typedef struct attn_exec {
    attn_threads *threads;
    void *workspace;
    size_t workspace_bytes;
    int32_t first_task;
    int32_t num_tasks;
    int32_t first_key;
    int32_t num_keys;
} attn_exec;

/* Scaled dot-product attention */

/* Distance in elements between neighbours of each axis (batch, head, row); the last axis is always contiguous. A stride of 0
 * repeats the same data (broadcast; inputs only: an output whose rows overlap is ATTN_ERR_OPTION). A negative one
 * goes backwards. */
typedef struct attn_strides {
    ptrdiff_t batch, head, row;
} attn_strides;

/* What an attn_mask is. */
typedef enum attn_mask_kind {
    ATTN_MASK_NONE = 0, /* no mask */
    ATTN_MASK_BOOL = 1, /* uint8_t; nonzero: attend, zero: the score becomes -inf */
    ATTN_MASK_ADD = 2,  /* the call's element type; added to the score */
} attn_mask_kind;

/* A mask over [batch, num_heads, seq_len_q, seq_len_kv]: data of a kind, with strides batch, head, query and key; stride 0 on an
 * axis broadcasts it.
 * Keys j >= seq_len_kv of the mask are left as they are (0 here means: the mask covers every key). */
typedef struct attn_mask {
    const void *data;
    int32_t kind; /* attn_mask_kind */
    int32_t seq_len_kv;
    ptrdiff_t batch, head, query, key;
} attn_mask;

/* How query row i lies against the keys where seq_len_q != seq_len_kv: row i stands at key i + offset.
 *   ATTN_ALIGN_TOP_LEFT      offset 0                             PyTorch
 *   ATTN_ALIGN_BOTTOM_RIGHT  offset kv_length - seq_len_q         FlashAttention; the only meaning with a KV cache
 * (kv_length is the batch element's own, where kv_lengths is given). Causal, seq_len_q 2, seq_len_kv 4:
 *
 *       top-left      bottom-right
 *       1 0 0 0       1 1 1 0
 *       1 1 0 0       1 1 1 1
 */
typedef enum attn_align {
    ATTN_ALIGN_TOP_LEFT = 0,
    ATTN_ALIGN_BOTTOM_RIGHT = 1,
} attn_align;

/* Which scores attn_sdpa_*_data.scores receives. Keys that are never read (causal, window, length) are -inf in
 * ATTN_SCORES_MASKED and computed like any other in the earlier stages, except keys at or past kv_lengths: -inf. */
typedef enum attn_scores_stage {
    ATTN_SCORES_RAW = 0,        /* scale * query . key */
    ATTN_SCORES_SOFTCAPPED = 1, /* after softcap */
    ATTN_SCORES_MASKED = 2,     /* after ALiBi and every mask: what softmax sees */
} attn_scores_stage;

/* Sizes, layout and options of one call. Fill it with attn_sdpa_desc_init() and change what differs.
 *   sizes        batch, num_heads, num_kv_heads, seq_len_q, seq_len_kv, head_dim, head_dim_v; seq_len_kv may be 0
 *                (every output row is then 0), batch and seq_len_q too (nothing is written); the others are >= 1
 *   scale        multiplies query . key; 0 is really 0. Default 1 / sqrt(head_dim)
 *   softcap      0: off (default); > 0: scores become softcap * tanh(scores / softcap), as ONNX Attention-23
 *                float32 calls take a scale and a softcap of 0 or 2^-100 .. 2^100 in magnitude: what float32 arithmetic
 *                can multiply by. Others are ATTN_ERR_OPTION there
 *   is_causal    nonzero: row i sees keys j <= i + offset
 *   align        attn_align, what offset is for is_causal, window and ALiBi
 *   window_left, window_right
 *                row i sees keys i + offset - left <= j <= i + offset + right; negative: no limit (default)
 *   scores_stage attn_scores_stage, for the scores output
 *   query, key, value, out
 *                strides of [batch, num_heads or num_kv_heads, seq_len, head_dim or head_dim_v]
 *   masks        up to two masks, both applied (for example attn_mask and a key padding mask)
 *   kv_lengths   [batch], or NULL: batch element b has only its first kv_lengths[b] keys
 *   alibi_batch_stride
 *                alibi_slopes is [num_heads] for 0 (default), [batch, num_heads] for num_heads */
typedef struct attn_sdpa_desc {
    double scale;
    double softcap;
    int32_t batch, num_heads, num_kv_heads;
    int32_t seq_len_q, seq_len_kv;
    int32_t head_dim, head_dim_v;
    int32_t is_causal;
    int32_t align;
    int32_t window_left, window_right;
    int32_t scores_stage;
    attn_strides query, key, value, out;
    attn_mask masks[2];
    const int32_t *kv_lengths;
    ptrdiff_t alibi_batch_stride;
} attn_sdpa_desc;

/* Contiguous [batch, heads, seq_len, dim] tensors and every option at its default. Never fails; bad sizes are
 * answered by the call that uses them. */
void attn_sdpa_desc_init(attn_sdpa_desc *desc, int32_t batch, int32_t num_heads,
                         int32_t num_kv_heads, int32_t seq_len_q, int32_t seq_len_kv,
                         int32_t head_dim, int32_t head_dim_v);

/* The tensors of one call. Outputs must not overlap each other or an input. NULL is allowed for alibi_slopes
 * (off) and for each output (not wanted), and for an input that has no element.
 *   query         [batch, num_heads, seq_len_q, head_dim]
 *   key           [batch, num_kv_heads, seq_len_kv, head_dim]
 *   value         [batch, num_kv_heads, seq_len_kv, head_dim_v]
 *   alibi_slopes  [num_heads] or [batch, num_heads]
 *   out           [batch, num_heads, seq_len_q, head_dim_v], laid out by desc->out
 *   weights       [batch, num_heads, seq_len_q, seq_len_kv], contiguous
 *   scores        the same shape
 *   logsumexp     [batch, num_heads, seq_len_q]: log sum_j exp(scores[i][j]), natural logarithm */
typedef struct attn_sdpa_f32_data {
    const float *query, *key, *value, *alibi_slopes;
    float *out, *weights, *scores, *logsumexp;
} attn_sdpa_f32_data;

/* As attn_sdpa_f32_data. */
typedef struct attn_sdpa_f64_data {
    const double *query, *key, *value, *alibi_slopes;
    double *out, *weights, *scores, *logsumexp;
} attn_sdpa_f64_data;

/* Bytes of workspace and number of tasks that the call with these arguments needs; either pointer may be NULL.
 * The f32 workspace grows with the number of threads and, where weights or scores are asked for, with
 * seq_len_kv; never with seq_len_q * seq_len_kv. Returns what the call itself would. */
attn_status attn_sdpa_f32_workspace(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                                    const attn_threads *threads, size_t *bytes, int32_t *num_tasks);
attn_status attn_sdpa_f64_workspace(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                                    size_t *bytes, int32_t *num_tasks);

/* float32, the fast path. Error against attn_sdpa_f64: at most about that of a plain float32 loop.
 * That holds where scale * query, the sums of |query * key| with and without scale, every score and every value are
 * below 2^100 in magnitude. Closer to the end of float32's range, 2^128, infinity or NaN may come out. */
attn_status attn_sdpa_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                          const attn_exec *exec);

/* float64, the reference: one row at a time, in the order of the formula above, on one thread. */
attn_status attn_sdpa_f64(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                          const attn_exec *exec);

/* Additive attention */

/* attn_sdpa_* with the score of Bahdanau, Cho & Bengio 2015, "Neural Machine Translation by Jointly
 * Learning to Align and Translate", section 3.1 and appendix A.1.2, in place of the dot product:
 *
 *     scores[i][j] = scale * sum_d v[d] * tanh(query[i][d] + key[j][d])
 *
 * The paper's W_a and U_a are projections of query and key before the call (attn_linear_*), v its v_a;
 * "concat" of Luong, Pham & Manning 2015, v . tanh(W [query; key]), is the same with the columns of
 * W divided. The papers' scale is 1: attn_sdpa_desc_init() sets another. Everything else is as in
 * attn_sdpa_*: sizes (head_dim is query's, key's and v's), masks, limits, softcap, outputs, workspace
 * and tasks, for which attn_sdpa_*_workspace() is asked. No memory of seq_len_q * seq_len_kv *
 * head_dim elements is needed.
 *   v  [head_dim], contiguous; ATTN_ERR_NULL without */
attn_status attn_additive_f32(const attn_sdpa_desc *desc, const attn_sdpa_f32_data *data,
                              const float *v, const attn_exec *exec);
attn_status attn_additive_f64(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                              const double *v, const attn_exec *exec);

/* The textbook form */

/* One query against seq_len_kv keys, in float64: every step of the formula, each in its own array. The maximum is
 * subtracted only from scores above +-300, so that the digits are those of exp(score) / sum exp(score).
 *   query [head_dim], key [seq_len_kv, head_dim], value [seq_len_kv, head_dim_v]
 *   scores, weights [seq_len_kv] (before and after softmax) and out [head_dim_v]: all required
 * scale 1 is the plain dot product. Needs seq_len_kv >= 1. */
attn_status attn_attention_f64(int32_t seq_len_kv, int32_t head_dim, int32_t head_dim_v,
                               double scale, const double *query, const double *key,
                               const double *value, double *scores, double *weights, double *out);

/* Softmax */

/* Softmax along one axis of a contiguous tensor [outer, length, inner]; for the last axis inner is 1:
 *
 *     y[o][l][i] = exp(x[o][l][i] - max_l x[o][l][i]) / sum_l exp(...)
 *
 * All 0 where every x along the axis is -inf; all NaN where one is NaN or +inf. y may be x. Sizes may be 0. In
 * float32 what is below 2^-100 of the largest becomes 0. */
attn_status attn_softmax_f32(int32_t outer, int32_t length, int32_t inner, const float *x,
                             float *y);
attn_status attn_softmax_f64(int32_t outer, int32_t length, int32_t inner, const double *x,
                             double *y);

/* Rotary position embedding */

/* Su et al. 2021, "RoFormer", section 3.4.2: row s, which stands at position p, has its columns turned in pairs,
 *
 *     out[a] = cos[p][k] * x[a] - sin[p][k] * x[b]
 *     out[b] = sin[p][k] * x[a] + cos[p][k] * x[b]        k = 0 .. rotary_dim / 2 - 1
 *
 * so that query . key of turned rows depends on the difference of their positions. cos[p][k] and sin[p][k] are of the angle
 * p * theta^(-2 k / rotary_dim), with theta 10000 in the paper. Columns from rotary_dim on are copied.
 *
 *     interleaved 0   a = k, b = k + rotary_dim / 2     half split: GPT-NeoX, Llama in transformers
 *     interleaved 1   a = 2 k, b = 2 k + 1              the paper, GPT-J, Llama's own code
 *
 * As ONNX RotaryEmbedding-23.
 *   sizes         [batch, num_heads, seq_len, head_dim]; batch and seq_len may be 0; rotary_dim even, 2 .. head_dim
 *   num_positions rows of the tables. Without position_ids at least seq_len
 *   table_batch   elements from one batch element's tables to the next's: 0 where all share one
 *   x, out        strides of the tensors; out may be x, with the same strides, and no other input
 *   position_ids  [batch, seq_len]: the position of each row, else ATTN_ERR_LENGTH 0 .. num_positions - 1; or NULL:
 *                 row s stands at position s */
typedef struct attn_rotary_desc {
    int32_t batch, num_heads, seq_len, head_dim;
    int32_t rotary_dim;
    int32_t interleaved;
    int32_t num_positions;
    ptrdiff_t table_batch;
    attn_strides x, out;
    const int32_t *position_ids;
} attn_rotary_desc;

/* cos, sin [batch or 1, num_positions, rotary_dim / 2] */
attn_status attn_rotary_f32(const attn_rotary_desc *desc, const float *x, const float *cos,
                            const float *sin, float *out);
attn_status attn_rotary_f64(const attn_rotary_desc *desc, const double *x, const double *cos,
                            const double *sin, double *out);

/* Norm and gate */

/* RMSNorm (Zhang & Sennrich 2019, "Root Mean Square Layer Normalization"; ONNX RMSNormalization-23), row by row:
 *
 *     out[i][d] = x[i][d] / sqrt(mean_d x[i][d]^2 + epsilon) * weight[d]
 *
 *   x, out   [rows, dim], contiguous; rows may be 0; out may be x
 *   weight   [dim]
 *   epsilon  >= 0 (ATTN_ERR_OPTION); Llama's is 1e-5. With 0 a row of zeros stays one
 * In float32 no row overflows that is finite: sums that float32 cannot hold are made in float64. */
attn_status attn_rms_norm_f32(int32_t rows, int32_t dim, const float *x, const float *weight,
                              double epsilon, float *out);
attn_status attn_rms_norm_f64(int32_t rows, int32_t dim, const double *x, const double *weight,
                              double epsilon, double *out);

/* SwiGLU (Shazeer 2020, "GLU Variants Improve Transformer", section 2), without its matrices:
 *
 *     out[i] = gate[i] * sigmoid(gate[i]) * up[i]          sigmoid(x) = 1 / (1 + e^-x)
 *
 * count elements each; out may be gate or up. In float32 a sigmoid below 2^-100 is 0. */
attn_status attn_swiglu_f32(ptrdiff_t count, const float *gate, const float *up, float *out);
attn_status attn_swiglu_f64(ptrdiff_t count, const double *gate, const double *up, double *out);

/* Layers */

/* y = x w^T + bias: torch.nn.functional.linear.
 *   x [rows, in_dim], row i at x + i * x_stride;  w [out_dim, in_dim] contiguous;  bias [out_dim] or NULL
 *   y [rows, out_dim], row i at y + i * y_stride; must not overlap the inputs */
attn_status attn_linear_f32_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                      const attn_threads *threads, size_t *bytes);
attn_status attn_linear_f32(int32_t rows, int32_t in_dim, int32_t out_dim, const float *x,
                            ptrdiff_t x_stride, const float *w, const float *bias, float *y,
                            ptrdiff_t y_stride, const attn_exec *exec);
attn_status attn_linear_f64(int32_t rows, int32_t in_dim, int32_t out_dim, const double *x,
                            ptrdiff_t x_stride, const double *w, const double *bias, double *y,
                            ptrdiff_t y_stride);

/* Multi-head attention, the function of torch.nn.MultiheadAttention:
 *
 *     q = query q_weight^T + q_bias;  k = key k_weight^T + k_bias;  v = value v_weight^T + v_bias
 *     head h attends with columns [h * head_dim, (h + 1) * head_dim) of q, and those of its kv head in k and v
 *     out = concat(heads) out_weight^T + out_bias
 *
 *   sizes          embed_dim = num_heads * head_dim; key rows have kdim and value rows vdim columns;
 *                  num_kv_heads divides num_heads (PyTorch: equal)
 *   query, key, value, out
 *                  strides (batch and row; head is not used) of [batch, seq_len, dim]: batch-first or not is a
 *                  matter of strides
 *   scale          default 1 / sqrt(head_dim)
 *   is_causal, align, window_left, window_right, masks
 *                  as in attn_sdpa_desc. Boolean masks mean nonzero = attend here, too: PyTorch's layer has it
 *                  the other way round, and a caller that follows PyTorch must invert them
 *   add_zero_attn  nonzero: one more key and value, all zeros
 *                  Neither it nor bias_k below is covered by a mask, is_causal or a window: every row sees both
 *   average_weights nonzero: weights are the mean over the heads, [batch, seq_len_q, seq_len_kv + extra];
 *                  zero: [batch, num_heads, seq_len_q, seq_len_kv + extra]. extra counts bias_k and the zero key,
 *                  the last columns in this order
 *   rotary_dim     0: off (default); else the columns of each head that are turned by their row's position before q meets
 *                  k, as attn_rotary_* does: row s of query and of key stands at position s. The keys of bias_k and
 *                  add_zero_attn have no position and are not turned
 *   rotary_interleaved
 *                  as attn_rotary_desc.interleaved
 * The workspace holds q, k, v and the heads; where weights are averaged, those of one head of each batch element, too. */
typedef struct attn_mha_desc {
    double scale;
    int32_t batch, num_heads, num_kv_heads;
    int32_t seq_len_q, seq_len_kv;
    int32_t embed_dim, kdim, vdim;
    int32_t is_causal;
    int32_t align;
    int32_t window_left, window_right;
    int32_t add_zero_attn;
    int32_t average_weights;
    attn_strides query, key, value, out;
    attn_mask masks[2];
    int32_t rotary_dim, rotary_interleaved;
} attn_mha_desc;

/* Contiguous batch-first tensors, kdim = vdim = embed_dim, num_kv_heads = num_heads, every option off. */
void attn_mha_desc_init(attn_mha_desc *desc, int32_t batch, int32_t num_heads, int32_t seq_len_q,
                        int32_t seq_len_kv, int32_t embed_dim);

/*   query, key, value, out as attn_mha_desc lays them out
 *   q_weight [embed_dim, embed_dim], k_weight [kv_dim, kdim], v_weight [kv_dim, vdim] with
 *   kv_dim = num_kv_heads * head_dim; out_weight [embed_dim, embed_dim]: PyTorch's [out, in]
 *   q_bias, out_bias [embed_dim], k_bias, v_bias [kv_dim], each may be NULL
 *   bias_k, bias_v [kv_dim]: one more key and value row, both or neither NULL
 *   rotary_cos, rotary_sin [the larger of seq_len_q and seq_len_kv, rotary_dim / 2]; not read for rotary_dim 0
 *   out [batch, seq_len_q, embed_dim]; weights as above, or NULL
 *   packed_weights NULL, or what attn_mha_pack_f32 made of these weights. float32 only (ATTN_ERR_OPTION) */
typedef struct attn_mha_f32_data {
    const float *query, *key, *value;
    const float *q_weight, *k_weight, *v_weight, *out_weight;
    const float *q_bias, *k_bias, *v_bias, *out_bias;
    const float *bias_k, *bias_v;
    const float *rotary_cos, *rotary_sin;
    float *out, *weights;
    const float *packed_weights;
} attn_mha_f32_data;

/* As attn_mha_f32_data. */
typedef struct attn_mha_f64_data {
    const double *query, *key, *value;
    const double *q_weight, *k_weight, *v_weight, *out_weight;
    const double *q_bias, *k_bias, *v_bias, *out_bias;
    const double *bias_k, *bias_v;
    const double *rotary_cos, *rotary_sin;
    double *out, *weights;
    const double *packed_weights;
} attn_mha_f64_data;

/* The layer in float32 and in float64, and the bytes of workspace that each needs. */
attn_status attn_mha_f32_workspace(const attn_mha_desc *desc, const attn_mha_f32_data *data,
                                   const attn_threads *threads, size_t *bytes);
attn_status attn_mha_f32(const attn_mha_desc *desc, const attn_mha_f32_data *data,
                         const attn_exec *exec);
attn_status attn_mha_f64_workspace(const attn_mha_desc *desc, const attn_mha_f64_data *data,
                                   size_t *bytes);
attn_status attn_mha_f64(const attn_mha_desc *desc, const attn_mha_f64_data *data,
                         const attn_exec *exec);

/* A copy of the four weights in the order in which attn_mha_f32 reads them, which else it makes in
 * every call (128 tokens: 1/20 of the time). It serves every call with these weights and their sizes, of any
 * batch and sequence, and the same numbers come out.
 *   desc, data  of a call that is to use it; tensors are only looked at for being there
 *   packed      16-byte aligned, *bytes; or NULL: only *bytes is wanted
 *   bytes       0 where such a call would not read it, with up to 4 rows of every tensor, and where the
 *               copy would be larger than PTRDIFF_MAX: nothing is written then */
attn_status attn_mha_pack_f32(const attn_mha_desc *desc, const attn_mha_f32_data *data,
                              float *packed, size_t *bytes);

/* Explaining one row */

/* Every term of one query row of attn_sdpa_f64, each number the one that it computes, to the last bit.
 * Per key j, arrays of seq_len_kv elements:
 *
 *     products[j][d]  = query[d] * key[j][d]               [seq_len_kv, head_dim], or NULL
 *     dots[j]         = sum_d products[j][d]
 *     scaled[j]       = scale * dots[j]
 *     softcapped[j]   = softcap * tanh(scaled[j] / softcap), without softcap scaled[j]
 *     scores[j]       = softcapped[j] with ALiBi and masks; -inf outside the limits
 *     visible[j]      = 1 where scores[j] is not -inf, else 0
 *     shifted[j]      = scores[j] - shift
 *     exponentials[j] = exp(shifted[j])
 *     weights[j]      = exponentials[j] / sum
 *     weighted[j][d]  = weights[j] * value[j][d]           [seq_len_kv, head_dim_v]
 *     out[d]          = sum_j weighted[j][d]               [head_dim_v]
 *
 * max is the largest score and sum that of the exponentials; shift is max, or 0 where max is within
 * +-300 and exp needs no help: then the digits are those of exp(score) / sum exp(score).
 * Keys outside the limits (causal, window, length) have the score -inf, exponential, weight and
 * weighted value 0. As in attn_sdpa_*, the terms before the masks are computed for them, too, but not at or past
 * kv_lengths: there products are 0 and what follows -inf. A row that sees nothing has max and logsumexp -inf and
 * sum 0. */
typedef struct attn_explain_f64_terms {
    double *products, *dots, *scaled, *softcapped, *scores;
    double *shifted, *exponentials, *weights, *weighted, *out;
    uint8_t *visible;
} attn_explain_f64_terms;

/* The row's max, shift and sum, as above, and logsumexp = log(sum) + shift. */
typedef struct attn_explain_f64_totals {
    double max, shift, sum, logsumexp;
} attn_explain_f64_totals;

/* Row `row` of query head `head` of batch element `batch`: ATTN_ERR_SHAPE where there is none. Of data only the inputs are looked
 * at. */
attn_status attn_explain_f64(const attn_sdpa_desc *desc, const attn_sdpa_f64_data *data,
                             int32_t batch, int32_t head, int32_t row,
                             const attn_explain_f64_terms *terms, attn_explain_f64_totals *totals);

/* Looking at weights */

/* What a person reads off one head's weights: means over its rows. Rows whose weights are all 0 (nothing was visible)
 * are left out; without any other row everything is 0. Row i stands at key i + offset; a key that does not exist
 * counts 0.
 *   entropy    -sum_j w[j] log2 w[j] over the weights above 0, in bits: 0 for one key, log2 n for n equal ones
 *   distance   sum_j w[j] |i + offset - j|
 *   diagonal   w[i + offset]           previous  w[i + offset - 1]           first  w[0]
 *   max        max_j w[j]              rows      how many rows the means are of */
typedef struct attn_head_statistics {
    double entropy, distance, diagonal, previous, first, max;
    int32_t rows;
} attn_head_statistics;

/* weights [seq_len_q, seq_len_kv], contiguous. */
attn_status attn_head_statistics_f64(int32_t seq_len_q, int32_t seq_len_kv, int32_t offset,
                                     const double *weights, attn_head_statistics *statistics);

/* How the heads of a layer become one matrix, element by element. */
typedef enum attn_fusion {
    ATTN_FUSE_MEAN = 0, /* their mean */
    ATTN_FUSE_MAX = 1,  /* the largest of them */
    ATTN_FUSE_MIN = 2,  /* the smallest */
} attn_fusion;

/* Attention rollout (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3), one layer's step:
 *
 *     a       = residual * I + (1 - residual) * fusion over the heads of weights,      its rows divided by their sums
 *     rollout = a previous
 *
 *   weights  [num_heads, seq_len, seq_len], contiguous
 *   residual 0 .. 1, the share of what the layer passes on unchanged; the paper's is 0.5
 *   previous [seq_len, seq_len]: the rollout of the layers below, NULL for the first layer
 *   rollout  [seq_len, seq_len]: row i says how much of output i comes from each input; must not overlap the inputs */
attn_status attn_rollout_f64(int32_t num_heads, int32_t seq_len, const double *weights,
                             double residual, int32_t fusion, const double *previous,
                             double *rollout);

/* Half precision */

/* y = x, exactly: IEEE 754 binary16 to binary32, subnormals, infinities and NaN with it. x may be the last half of y's memory. */
attn_status attn_f16_to_f32(size_t count, const uint16_t *x, float *y);

/* Gradients */

/* Gradients of attn_sdpa: how a loss changes with query, key, value and the additive masks, given
 * how it changes with out. For each row i and key j that it sees:
 *
 *     weights[i][j]   = exp(scores[i][j] - logsumexp[i])                     computed once more
 *     delta[i]        = sum_d grad_out[i][d] * out[i][d]
 *     grad_scores     = weights[i][j] * (sum_d grad_out[i][d] * value[j][d] - delta[i])
 *     grad_products   = grad_scores * scale * (1 - tanh(scale * query . key / softcap)^2)
 *                                                                            without softcap: * 1
 *     grad_query[i]   = sum_j grad_products[i][j] * key[j]
 *     grad_key[j]     = sum_i grad_products[i][j] * query[i]
 *     grad_value[j]   = sum_i weights[i][j] * grad_out[i]
 *     grad_mask[i][j] = grad_scores[i][j]
 *
 * Dao 2023, FlashAttention-2, algorithm 2: no memory of seq_len_q * seq_len_kv elements but a
 * mask's own gradient. A row with no visible key (logsumexp -inf) has gradient 0 and adds nothing
 * to others. Keys outside the causal, window and length limits are not read and have gradient 0.
 *
 * An element of a gradient is the sum over all indices that its strides send there: with stride 0
 * on the axes along which an input was broadcast, it is the gradient of that input. */

/* Strides (batch, head, query, key) over [batch, num_heads, seq_len_q, seq_len_kv]. */
typedef struct attn_mask_strides {
    ptrdiff_t batch, head, query, key;
} attn_mask_strides;

/*   forward     the call whose gradients are wanted; scores_stage is not looked at
 *   grad_out    default forward.out; stride 0 repeats
 *   grad_query, grad_key, grad_value, grad_masks
 *               default forward.query, .key, .value and .masks: each gradient lies as its input.
 *               A mask that covers only some keys has gradients for those */
typedef struct attn_sdpa_backward_desc {
    attn_sdpa_desc forward;
    attn_strides grad_out, grad_query, grad_key, grad_value;
    attn_mask_strides grad_masks[2];
} attn_sdpa_backward_desc;

/* Copies *forward. Never fails. */
void attn_sdpa_backward_desc_init(attn_sdpa_backward_desc *desc, const attn_sdpa_desc *forward);

/* The tensors of one call. Gradients must not overlap each other or an input. NULL is allowed for
 * alibi_slopes (off), for each gradient (not wanted), and for an input that has no element.
 *   query, key, value, alibi_slopes
 *               as in the forward call
 *   out         what it gave, laid out by forward.out
 *   logsumexp   what it gave, [batch, num_heads, seq_len_q]
 *   grad_out    [batch, num_heads, seq_len_q, head_dim_v]
 *   grad_query, grad_key, grad_value
 *               shaped as query, key and value
 *   grad_masks  of the masks of kind ATTN_MASK_ADD; the others have none (ATTN_ERR_OPTION) */
typedef struct attn_sdpa_backward_f32_data {
    const float *query, *key, *value, *alibi_slopes;
    const float *out, *logsumexp, *grad_out;
    float *grad_query, *grad_key, *grad_value;
    float *grad_masks[2];
} attn_sdpa_backward_f32_data;

/* As attn_sdpa_backward_f32_data. */
typedef struct attn_sdpa_backward_f64_data {
    const double *query, *key, *value, *alibi_slopes;
    const double *out, *logsumexp, *grad_out;
    double *grad_query, *grad_key, *grad_value;
    double *grad_masks[2];
} attn_sdpa_backward_f64_data;

/* Bytes of workspace and number of tasks that the call with these arguments needs; either pointer
 * may be NULL. The f32 workspace grows with the number of threads, never with a sequence length;
 * the f64 one is 0. */
attn_status attn_sdpa_backward_f32_workspace(const attn_sdpa_backward_desc *desc,
                                             const attn_sdpa_backward_f32_data *data,
                                             const attn_threads *threads, size_t *bytes,
                                             int32_t *num_tasks);
attn_status attn_sdpa_backward_f64_workspace(const attn_sdpa_backward_desc *desc,
                                             const attn_sdpa_backward_f64_data *data, size_t *bytes,
                                             int32_t *num_tasks);

/* float32, the fast path. The result does not depend on the number of threads. Error against
 * attn_sdpa_backward_f64: at most about that of a plain float32 loop; weights below 2^-64 count as
 * 0. */
attn_status attn_sdpa_backward_f32(const attn_sdpa_backward_desc *desc,
                                   const attn_sdpa_backward_f32_data *data, const attn_exec *exec);

/* float64, the reference: one row at a time, in the order of the formula above, on one thread. */
attn_status attn_sdpa_backward_f64(const attn_sdpa_backward_desc *desc,
                                   const attn_sdpa_backward_f64_data *data, const attn_exec *exec);

/* Gradients of attn_additive: as attn_sdpa_backward_f64, its workspace and tasks with it, but
 *
 *     grad_sums[i][j][d] = grad_products[i][j] * v[d] * (1 - tanh(query[i][d] + key[j][d])^2)
 *     grad_query[i]   = sum_j grad_sums[i][j]           grad_key[j] = sum_i grad_sums[i][j]
 *     grad_v[d]       = sum_ij grad_products[i][j] * tanh(query[i][d] + key[j][d])
 *
 *   v       [head_dim]
 *   grad_v  [head_dim], added to what is there, by every task; or NULL
 * There is no float32 form: the loops are the reference's. */
attn_status attn_additive_backward_f64(const attn_sdpa_backward_desc *desc,
                                       const attn_sdpa_backward_f64_data *data, const double *v,
                                       double *grad_v, const attn_exec *exec);

/* Gradients of attn_linear:
 *
 *     grad_x = grad_y w      grad_w = grad_y^T x      grad_bias[o] = sum_i grad_y[i][o]
 *
 *   grad_y     [rows, out_dim], row i at grad_y + i * grad_y_stride
 *   grad_x     [rows, in_dim], row i at grad_x + i * grad_x_stride
 *   grad_w     [out_dim, in_dim];  grad_bias [out_dim]
 *   accumulate nonzero: the gradients are added to what is there, otherwise they replace it
 * Each gradient may be NULL (not wanted), as may w without grad_x and x without grad_w. Gradients
 * must not overlap each other or an input. */
attn_status attn_linear_backward_f32_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                               const attn_threads *threads, size_t *bytes);
attn_status attn_linear_backward_f32(int32_t rows, int32_t in_dim, int32_t out_dim, const float *x,
                                     ptrdiff_t x_stride, const float *w, const float *grad_y,
                                     ptrdiff_t grad_y_stride, float *grad_x,
                                     ptrdiff_t grad_x_stride, float *grad_w, float *grad_bias,
                                     int32_t accumulate, const attn_exec *exec);
attn_status attn_linear_backward_f64(int32_t rows, int32_t in_dim, int32_t out_dim, const double *x,
                                     ptrdiff_t x_stride, const double *w, const double *grad_y,
                                     ptrdiff_t grad_y_stride, double *grad_x,
                                     ptrdiff_t grad_x_stride, double *grad_w, double *grad_bias,
                                     int32_t accumulate);

/* Gradients of attn_mha and its parameters. What the forward call computed on its way is computed
 * once more, in the workspace; desc->average_weights is not looked at.
 *   forward     the tensors of the forward call; its out and weights are not looked at
 *   grad_out    [batch, seq_len_q, embed_dim], laid out as out
 *   grad_query, grad_key, grad_value
 *               laid out as query, key and value: with batch stride 0 the sum over the batch; rows
 *               must not overlap (ATTN_ERR_OPTION). Two of them, or all, may be one memory with
 *               one layout, as in self-attention: it receives their sum
 *   grad_*_weight, grad_*_bias, grad_bias_k, grad_bias_v
 *               shaped as the parameters; NULL where there is no parameter (ATTN_ERR_OPTION)
 *   grad_masks  laid out as the masks, summed where these are broadcast; of kind ATTN_MASK_ADD only
 *               (ATTN_ERR_OPTION)
 * Each gradient may be NULL (not wanted). But for the above they must not overlap each other or an
 * input. */
typedef struct attn_mha_backward_f32_data {
    attn_mha_f32_data forward;
    const float *grad_out;
    float *grad_query, *grad_key, *grad_value;
    float *grad_q_weight, *grad_k_weight, *grad_v_weight, *grad_out_weight;
    float *grad_q_bias, *grad_k_bias, *grad_v_bias, *grad_out_bias;
    float *grad_bias_k, *grad_bias_v;
    float *grad_masks[2];
} attn_mha_backward_f32_data;

/* As attn_mha_backward_f32_data. */
typedef struct attn_mha_backward_f64_data {
    attn_mha_f64_data forward;
    const double *grad_out;
    double *grad_query, *grad_key, *grad_value;
    double *grad_q_weight, *grad_k_weight, *grad_v_weight, *grad_out_weight;
    double *grad_q_bias, *grad_k_bias, *grad_v_bias, *grad_out_bias;
    double *grad_bias_k, *grad_bias_v;
    double *grad_masks[2];
} attn_mha_backward_f64_data;

/* The gradients in float32 and in float64, and the bytes of workspace that each needs. */
attn_status attn_mha_backward_f32_workspace(const attn_mha_desc *desc,
                                            const attn_mha_backward_f32_data *data,
                                            const attn_threads *threads, size_t *bytes);
attn_status attn_mha_backward_f32(const attn_mha_desc *desc, const attn_mha_backward_f32_data *data,
                                  const attn_exec *exec);
attn_status attn_mha_backward_f64_workspace(const attn_mha_desc *desc,
                                            const attn_mha_backward_f64_data *data, size_t *bytes);
attn_status attn_mha_backward_f64(const attn_mha_desc *desc, const attn_mha_backward_f64_data *data,
                                  const attn_exec *exec);

#ifdef __cplusplus
}
#endif

#endif
