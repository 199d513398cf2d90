/* Gradients of y = x w^T + bias. Both are products that sum over what lies side by side in neither
 * operand, so both operands are packed, for BLOCK_ROWS rows of x and grad_y at a time:
 *
 *     grad_x [rows, in_dim]     (+)= grad_y w      tiles of 6 rows of grad_y, columns of 8 of w
 *     grad_w [out_dim, in_dim]  (+)= grad_y^T x    tiles of 6 columns of grad_y, columns of 8 of x
 */
#include <string.h>

#include "kernels/grad_f32.h"
#include "kernels/product_f32.h"
#include "parallel/parallel.h"
#include "sdpa_common.h"

/* 64 tiles: what is packed of a thousand columns takes 1.5 MB. */
#define BLOCK_ROWS 384
/* Columns of grad_x per task: 8 panels of w. */
#define TASK_COLUMNS (8 * PANEL)
/* Rows of grad_w per task: 8 tiles. */
#define TASK_ROWS (8 * TILE_ROWS)
/* Up to here packing would cost more than it gives. */
#define FEW_ROWS 4

typedef struct linear_call {
    int32_t rows, in_dim, out_dim;
    const float *x;
    ptrdiff_t x_stride;
    const float *w, *grad_y;
    ptrdiff_t grad_y_stride;
    float *grad_x;
    ptrdiff_t grad_x_stride;
    float *grad_w, *grad_bias;
    bool accumulate;
    /* the block of rows at hand */
    int32_t first_row, block_rows;
    bool adds;        /* to grad_w and grad_bias */
    float *y_tiles;   /* [block_rows * out_dim]: tiles of TILE_ROWS rows of grad_y */
    float *x_columns; /* [in_dim / PANEL][block_rows][PANEL] */
    float *scratch;   /* [threads][thread_floats] */
    size_t thread_floats;
} linear_call;

static attn_status check_call(const linear_call *c, const void *x, const void *w,
                              const void *grad_y, const void *grad_x, const void *grad_w,
                              const void *grad_bias, size_t element_bytes) {
    if (c->rows < 0 || c->in_dim < 1 || c->out_dim < 1)
        return ATTN_ERR_SHAPE;
    const uint64_t limit = PTRDIFF_MAX / element_bytes;
    const int32_t x_size[2] = {c->rows, c->in_dim}, y_size[2] = {c->rows, c->out_dim},
                  w_size[2] = {c->out_dim, c->in_dim};
    const ptrdiff_t x_step[2] = {c->x_stride, 1}, y_step[2] = {c->grad_y_stride, 1},
                    to_step[2] = {c->grad_x_stride, 1}, w_step[2] = {c->in_dim, 1};
    if ((grad_w && tensor_extent(2, x_size, x_step, limit) == UINT64_MAX) ||
        (grad_x && tensor_extent(2, x_size, to_step, limit) == UINT64_MAX) ||
        tensor_extent(2, y_size, y_step, limit) == UINT64_MAX ||
        tensor_extent(2, w_size, w_step, limit) == UINT64_MAX)
        return ATTN_ERR_SIZE;
    if (grad_x && rows_overlap(c->rows, c->grad_x_stride, c->in_dim))
        return ATTN_ERR_OPTION;
    if (c->rows == 0)
        return ATTN_OK;
    const bool missing =
        (!grad_y && (grad_x || grad_w || grad_bias)) || (!w && grad_x) || (!x && grad_w);
    return missing ? ATTN_ERR_NULL : ATTN_OK;
}

static int32_t block_rows_of(int32_t rows) {
    return rows < BLOCK_ROWS ? rows : BLOCK_ROWS;
}

/* Floats of one thread: a panel of w and one of grad_x, or tiles of grad_y and one panel of grad_w.
 */
static uint64_t thread_floats_of(int32_t rows, int32_t out_dim) {
    const uint64_t block_rows = (uint64_t)block_rows_of(rows);
    const uint64_t for_x = ((uint64_t)out_dim + block_rows) * PANEL;
    const uint64_t for_w = (block_rows + PANEL) * TASK_ROWS;
    return ((for_x > for_w ? for_x : for_w) + 3) & ~(uint64_t)3;
}

attn_status attn_linear_backward_f32_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                               const attn_threads *threads, size_t *bytes) {
    if (!bytes)
        return ATTN_ERR_NULL;
    if (rows < 0 || in_dim < 1 || out_dim < 1)
        return ATTN_ERR_SHAPE;
    *bytes = 0;
    if (rows <= FEW_ROWS)
        return ATTN_OK;
    const uint64_t limit = PTRDIFF_MAX / sizeof(float) - 3;
    const uint64_t block_rows = (uint64_t)block_rows_of(rows);
    uint64_t floats = 0;
    if (!add_product(&floats, block_rows, ((uint64_t)out_dim + 3) & ~(uint64_t)3, limit) ||
        !add_product(&floats, block_rows, ((uint64_t)in_dim + PANEL - 1) / PANEL * PANEL, limit) ||
        !add_product(&floats, (uint64_t)attn_threads_count(threads),
                     thread_floats_of(rows, out_dim), limit))
        return ATTN_ERR_SIZE;
    *bytes = workspace_piece((size_t)floats * sizeof(float));
    return ATTN_OK;
}

static int32_t min32(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* Rows TILE_ROWS * task ... of the block into both packings. */
static void pack_task(void *context, int32_t task, int32_t thread) {
    (void)thread;
    const linear_call *c = context;
    const int32_t first = task * TILE_ROWS;
    const int32_t rows = min32(TILE_ROWS, c->block_rows - first);
    const ptrdiff_t row = (ptrdiff_t)c->first_row + first;
    if (c->grad_x)
        pack_rows_f32(rows, c->out_dim, c->grad_y + row * c->grad_y_stride, c->grad_y_stride,
                      c->y_tiles + (ptrdiff_t)first * c->out_dim);
    for (int32_t r = 0; r < rows && c->grad_w; r++)
        pack_columns_f32(c->in_dim, c->x + (row + r) * c->x_stride, 1.0f,
                         c->x_columns + (first + r) * PANEL, (ptrdiff_t)c->block_rows * PANEL);
}

/* to [rows, columns] (+)= from [rows, PANEL] */
static void move_columns(int32_t rows, int32_t columns, const float *from, bool adds, float *to,
                         ptrdiff_t stride) {
    for (int32_t r = 0; r < rows; r++)
        for (int32_t k = 0; k < columns; k++)
            to[r * stride + k] = (adds ? to[r * stride + k] : 0.0f) + from[r * PANEL + k];
}

/* Columns TASK_COLUMNS * task ... of the block's rows of grad_x. */
static void run_x_task(const linear_call *c, int32_t task, float *scratch) {
    float *w_columns = scratch, *sums = scratch + (ptrdiff_t)c->out_dim * PANEL;
    const int32_t end =
        c->in_dim - task * TASK_COLUMNS < TASK_COLUMNS ? c->in_dim : (task + 1) * TASK_COLUMNS;
    for (int32_t column = task * TASK_COLUMNS; column < end; column += PANEL) {
        const int32_t columns = min32(PANEL, end - column);
        for (int32_t o = 0; o < c->out_dim; o++)
            pack_columns_f32(columns, c->w + (ptrdiff_t)o * c->in_dim + column, 1.0f,
                             w_columns + (ptrdiff_t)o * PANEL, 0);
        float *to = c->grad_x + c->first_row * c->grad_x_stride + column;
        if (columns == PANEL && !c->accumulate) {
            product_packed_f32(c->block_rows, c->out_dim, c->y_tiles, w_columns, to,
                               c->grad_x_stride);
        } else {
            product_packed_f32(c->block_rows, c->out_dim, c->y_tiles, w_columns, sums, PANEL);
            move_columns(c->block_rows, columns, sums, c->accumulate, to, c->grad_x_stride);
        }
    }
}

/* Tiles of TILE_ROWS columns of grad_y, as pack_rows_f32 makes them of rows. */
static void pack_transposed(int32_t columns, int32_t rows, const float *a, ptrdiff_t stride,
                            float *packed) {
    for (int32_t first = 0; first < columns; first += TILE_ROWS) {
        const int32_t width = min32(TILE_ROWS, columns - first);
        for (int32_t r = 0; r < rows; r++)
            for (int32_t k = 0; k < width; k++)
                *packed++ = a[r * stride + first + k];
    }
}

/* Rows TASK_ROWS * task ... of grad_w and of grad_bias. */
static void run_w_task(const linear_call *c, int32_t task, float *scratch) {
    float *tiles = scratch, *sums = scratch + (ptrdiff_t)c->block_rows * TASK_ROWS;
    const int32_t first = task * TASK_ROWS;
    const int32_t count = min32(TASK_ROWS, c->out_dim - first);
    const float *y = c->grad_y + c->first_row * c->grad_y_stride + first;
    if (c->grad_bias) {
        float bias[TASK_ROWS] = {0};
        for (int32_t r = 0; r < c->block_rows; r++)
            for (int32_t k = 0; k < count; k++)
                bias[k] += y[r * c->grad_y_stride + k];
        for (int32_t k = 0; k < count; k++)
            c->grad_bias[first + k] = (c->adds ? c->grad_bias[first + k] : 0.0f) + bias[k];
    }
    if (!c->grad_w)
        return;
    pack_transposed(count, c->block_rows, y, c->grad_y_stride, tiles);
    for (int32_t column = 0; column < c->in_dim; column += PANEL) {
        float *to = c->grad_w + (ptrdiff_t)first * c->in_dim + column;
        const float *x = c->x_columns + (ptrdiff_t)column * c->block_rows;
        if (c->in_dim - column >= PANEL && !c->adds) {
            product_packed_f32(count, c->block_rows, tiles, x, to, c->in_dim);
        } else {
            product_packed_f32(count, c->block_rows, tiles, x, sums, PANEL);
            move_columns(count, min32(PANEL, c->in_dim - column), sums, c->adds, to, c->in_dim);
        }
    }
}

static int32_t num_x_tasks(const linear_call *c) {
    return c->grad_x ? (c->in_dim - 1) / TASK_COLUMNS + 1 : 0;
}

static int32_t num_w_tasks(const linear_call *c) {
    return c->grad_w || c->grad_bias ? (c->out_dim - 1) / TASK_ROWS + 1 : 0;
}

static void product_task(void *context, int32_t task, int32_t thread) {
    const linear_call *c = context;
    float *scratch = c->scratch + (size_t)thread * c->thread_floats;
    if (task < num_x_tasks(c))
        run_x_task(c, task, scratch);
    else
        run_w_task(c, task - num_x_tasks(c), scratch);
}

/* At most FEW_ROWS rows, memory-bound: sums of rows of w, and of x, as they lie. */
static void few_rows_task(void *context, int32_t task, int32_t thread) {
    (void)thread;
    const linear_call *c = context;
    if (task < num_x_tasks(c)) {
        const int32_t first = task * TASK_COLUMNS;
        const int32_t columns = min32(TASK_COLUMNS, c->in_dim - first);
        for (int32_t r = 0; r < c->rows; r++) {
            float *to = c->grad_x + r * c->grad_x_stride + first;
            if (!c->accumulate)
                memset(to, 0, sizeof(float) * (size_t)columns);
            sum_rows_f32(c->out_dim, columns, c->w + first, c->in_dim,
                         c->grad_y + r * c->grad_y_stride, to);
        }
        return;
    }
    const int32_t first = (task - num_x_tasks(c)) * TASK_ROWS;
    const int32_t end = first + min32(TASK_ROWS, c->out_dim - first);
    for (int32_t o = first; o < end; o++) {
        float y[FEW_ROWS] = {0}, sum = c->accumulate && c->grad_bias ? c->grad_bias[o] : 0.0f;
        for (int32_t r = 0; r < c->rows; r++)
            sum += y[r] = c->grad_y[r * c->grad_y_stride + o];
        if (c->grad_bias)
            c->grad_bias[o] = sum;
        if (!c->grad_w)
            continue;
        float *to = c->grad_w + (ptrdiff_t)o * c->in_dim;
        if (!c->accumulate)
            memset(to, 0, sizeof(float) * (size_t)c->in_dim);
        sum_rows_f32(c->rows, c->in_dim, c->x, c->x_stride, y, to);
    }
}

attn_status attn_linear_backward_f32(int32_t rows, int32_t in_dim, int32_t out_dim, const float *x,
                                     ptrdiff_t x_stride, const float *w, const float *grad_y,
                                     ptrdiff_t grad_y_stride, float *grad_x,
                                     ptrdiff_t grad_x_stride, float *grad_w, float *grad_bias,
                                     int32_t accumulate, const attn_exec *exec) {
    linear_call c = {
        .rows = rows,
        .in_dim = in_dim,
        .out_dim = out_dim,
        .x = x,
        .x_stride = x_stride,
        .w = w,
        .grad_y = grad_y,
        .grad_y_stride = grad_y_stride,
        .grad_x = grad_x,
        .grad_x_stride = grad_x_stride,
        .grad_w = grad_w,
        .grad_bias = grad_bias,
        .accumulate = accumulate != 0,
    };
    attn_status status = check_call(&c, x, w, grad_y, grad_x, grad_w, grad_bias, sizeof(float));
    attn_threads *threads = exec ? exec->threads : NULL;
    size_t bytes;
    int32_t first, end;
    if (status == ATTN_OK)
        status = attn_linear_backward_f32_workspace(rows, in_dim, out_dim, threads, &bytes);
    if (status == ATTN_OK)
        status = exec_check(exec, bytes, 1, &first, &end);
    if (status != ATTN_OK || first == end)
        return status;

    threads = parallel_pool(threads, 2.0 * rows * in_dim * out_dim);
    const int32_t tasks = num_x_tasks(&c) + num_w_tasks(&c);
    if (rows <= FEW_ROWS) {
        parallel_for(threads, 0, tasks, few_rows_task, &c);
        return ATTN_OK;
    }
    const ptrdiff_t block_rows = block_rows_of(rows);
    c.y_tiles = exec->workspace;
    c.x_columns = c.y_tiles + block_rows * (((ptrdiff_t)out_dim + 3) & ~(ptrdiff_t)3);
    c.scratch = c.x_columns + block_rows * (((ptrdiff_t)in_dim + PANEL - 1) / PANEL * PANEL);
    c.thread_floats = (size_t)thread_floats_of(rows, out_dim);
    for (int32_t row = 0; row < rows; row += c.block_rows) {
        c.first_row = row;
        c.block_rows = block_rows_of(rows - row);
        c.adds = c.accumulate || row > 0;
        parallel_for(threads, 0, (c.block_rows - 1) / TILE_ROWS + 1, pack_task, &c);
        parallel_for(threads, 0, tasks, product_task, &c);
    }
    return ATTN_OK;
}

attn_status attn_linear_backward_f64(int32_t rows, int32_t in_dim, int32_t out_dim, const double *x,
                                     ptrdiff_t x_stride, const double *w, const double *grad_y,
                                     ptrdiff_t grad_y_stride, double *grad_x,
                                     ptrdiff_t grad_x_stride, double *grad_w, double *grad_bias,
                                     int32_t accumulate) {
    const linear_call c = {
        .rows = rows,
        .in_dim = in_dim,
        .out_dim = out_dim,
        .x_stride = x_stride,
        .grad_y_stride = grad_y_stride,
        .grad_x_stride = grad_x_stride,
    };
    const attn_status status =
        check_call(&c, x, w, grad_y, grad_x, grad_w, grad_bias, sizeof(double));
    if (status != ATTN_OK)
        return status;
    for (int32_t i = 0; i < rows && grad_x; i++)
        for (int32_t k = 0; k < in_dim; k++) {
            double sum = accumulate ? grad_x[i * grad_x_stride + k] : 0.0;
            for (int32_t o = 0; o < out_dim; o++)
                sum += grad_y[i * grad_y_stride + o] * w[(ptrdiff_t)o * in_dim + k];
            grad_x[i * grad_x_stride + k] = sum;
        }
    for (int32_t o = 0; o < out_dim && grad_w; o++)
        for (int32_t k = 0; k < in_dim; k++) {
            double *to = grad_w + (ptrdiff_t)o * in_dim + k;
            double sum = accumulate ? *to : 0.0;
            for (int32_t i = 0; i < rows; i++)
                sum += grad_y[i * grad_y_stride + o] * x[i * x_stride + k];
            *to = sum;
        }
    for (int32_t o = 0; o < out_dim && grad_bias; o++) {
        double sum = accumulate ? grad_bias[o] : 0.0;
        for (int32_t i = 0; i < rows; i++)
            sum += grad_y[i * grad_y_stride + o];
        grad_bias[o] = sum;
    }
    return ATTN_OK;
}
