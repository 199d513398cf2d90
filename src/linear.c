/* y = x w^T + bias. The rows of x are packed once for all, each task packs the rows of w that it
 * needs once, where it was not given them packed. */
#include "linear.h"

#include <string.h>

#include "kernels/product_f32.h"
#include "parallel/parallel.h"
#include "sdpa_common.h"
#include "simd/f32x4.h"

/* Columns of y per task: 8 panels of w. */
#define TASK_COLUMNS (8 * PANEL)

static attn_status check_linear(int32_t rows, int32_t in_dim, int32_t out_dim, const void *x,
                                ptrdiff_t x_stride, const void *w, const void *y,
                                ptrdiff_t y_stride, size_t element_bytes) {
    if (rows < 0 || in_dim < 1 || out_dim < 1)
        return ATTN_ERR_SHAPE;
    const uint64_t limit = PTRDIFF_MAX / element_bytes;
    const int32_t x_size[2] = {rows, in_dim}, y_size[2] = {rows, out_dim},
                  w_size[2] = {out_dim, in_dim};
    const ptrdiff_t x_step[2] = {x_stride, 1}, y_step[2] = {y_stride, 1}, w_step[2] = {in_dim, 1};
    if (tensor_extent(2, x_size, x_step, limit) == UINT64_MAX ||
        tensor_extent(2, y_size, y_step, limit) == UINT64_MAX ||
        tensor_extent(2, w_size, w_step, limit) == UINT64_MAX)
        return ATTN_ERR_SIZE;
    if (rows_overlap(rows, y_stride, out_dim))
        return ATTN_ERR_OPTION;
    return (!x || !y) && rows > 0 ? ATTN_ERR_NULL : w ? ATTN_OK : ATTN_ERR_NULL;
}

attn_status attn_linear_f32_workspace(int32_t rows, int32_t in_dim, int32_t out_dim,
                                      const attn_threads *threads, size_t *bytes) {
    if (!bytes)
        return ATTN_ERR_NULL;
    if (rows < 0 || in_dim < 1 || out_dim < 1)
        return ATTN_ERR_SHAPE;
    *bytes = 0;
    if (rows <= DOT_ROWS)
        return ATTN_OK;
    const uint64_t limit = PTRDIFF_MAX / sizeof(float);
    uint64_t floats = 0;
    /* packed x, then for each thread one panel of w and one tile of y */
    if (!add_product(&floats, (uint64_t)rows, (uint64_t)in_dim, limit) ||
        !add_product(&floats, (uint64_t)attn_threads_count(threads),
                     ((uint64_t)in_dim + (uint64_t)rows) * PANEL, limit))
        return ATTN_ERR_SIZE;
    *bytes = workspace_piece((size_t)floats * sizeof(float));
    return ATTN_OK;
}

typedef struct linear_call {
    int32_t rows, in_dim, out_dim;
    const float *x;
    ptrdiff_t x_stride;
    const float *w, *panels, *bias;
    float *y;
    ptrdiff_t y_stride;
    float *packed;  /* [rows * in_dim], tiles of TILE_ROWS rows */
    float *scratch; /* per thread: [in_dim, PANEL] of w and [rows, PANEL] of y */
} linear_call;

static void pack_task(void *context, int32_t task, int32_t thread) {
    (void)thread;
    const linear_call *c = context;
    const int32_t first = task * TILE_ROWS;
    const int32_t rows = c->rows - first < TILE_ROWS ? c->rows - first : TILE_ROWS;
    pack_rows_f32(rows, c->in_dim, c->x + first * c->x_stride, c->x_stride,
                  c->packed + (ptrdiff_t)first * c->in_dim);
}

/* Up to PANEL rows of w from row `column` on; where w ends, its last row again. */
static void pack_panel_of(int32_t in_dim, int32_t out_dim, const float *w, int32_t column,
                          float *panel) {
    const float *rows[PANEL];
    for (int32_t r = 0; r < PANEL; r++)
        rows[r] = w + (ptrdiff_t)(column + r < out_dim ? column + r : out_dim - 1) * in_dim;
    pack_panel_f32(in_dim, rows, 1.0f, panel);
}

uint64_t linear_panels_size(int32_t in_dim, int32_t out_dim) {
    return ((uint64_t)out_dim + PANEL - 1) / PANEL * PANEL * (uint64_t)in_dim;
}

void linear_pack_panels(int32_t in_dim, int32_t out_dim, const float *w, float *panels) {
    for (int32_t column = 0; column < out_dim; column += PANEL)
        pack_panel_of(in_dim, out_dim, w, column, panels + (ptrdiff_t)column * in_dim);
}

/* to <- to + x */
static void add_row(int32_t count, const float *x, float *to) {
    int32_t k = 0;
    for (; k + 4 <= count; k += 4)
        f32x4_store(to + k, f32x4_add(f32x4_load(to + k), f32x4_load(x + k)));
    for (; k < count; k++)
        to[k] += x[k];
}

static void product_task(void *context, int32_t task, int32_t thread) {
    const linear_call *c = context;
    float *w_panel = c->scratch + (ptrdiff_t)thread * (c->in_dim + c->rows) * PANEL;
    float *tail = w_panel + (ptrdiff_t)c->in_dim * PANEL;
    const int32_t end =
        c->out_dim - task * TASK_COLUMNS < TASK_COLUMNS ? c->out_dim : (task + 1) * TASK_COLUMNS;
    for (int32_t column = task * TASK_COLUMNS; column < end; column += PANEL) {
        const int32_t columns = end - column < PANEL ? end - column : PANEL;
        const float *panel = w_panel;
        if (c->panels)
            panel = c->panels + (ptrdiff_t)column * c->in_dim;
        else
            pack_panel_of(c->in_dim, c->out_dim, c->w, column, w_panel);
        const bool whole = columns == PANEL;
        float *y = whole ? c->y + column : tail;
        const ptrdiff_t stride = whole ? c->y_stride : PANEL;
        product_packed_f32(c->rows, c->in_dim, c->packed, panel, y, stride);
        for (int32_t row = 0; row < c->rows && !whole; row++)
            memcpy(c->y + row * c->y_stride + column, y + row * stride,
                   sizeof(float) * (size_t)columns);
    }
    /* Along the rows at the end: panel by panel, every line of the cache would come back once more. */
    const int32_t first = task * TASK_COLUMNS;
    for (int32_t row = 0; row < c->rows && c->bias; row++)
        add_row(end - first, c->bias + first, c->y + row * c->y_stride + first);
}

static void dot_task(void *context, int32_t task, int32_t thread) {
    (void)thread;
    const linear_call *c = context;
    const int32_t first = task * TASK_COLUMNS;
    const int32_t columns = c->out_dim - first < TASK_COLUMNS ? c->out_dim - first : TASK_COLUMNS;
    for (int32_t row = 0; row < c->rows; row++) {
        float *y = c->y + row * c->y_stride + first;
        dot_rows_f32(columns, c->in_dim, c->w + (ptrdiff_t)first * c->in_dim, c->in_dim,
                     c->x + row * c->x_stride, y);
        if (c->bias)
            add_row(columns, c->bias + first, y);
    }
}

attn_status linear_f32(int32_t rows, int32_t in_dim, int32_t out_dim, const float *x,
                       ptrdiff_t x_stride, bool is_packed, const float *w, const float *panels,
                       const float *bias, float *y, ptrdiff_t y_stride, const attn_exec *exec) {
    attn_status status =
        check_linear(rows, in_dim, out_dim, x, x_stride, w, y, y_stride, sizeof(float));
    if (status != ATTN_OK)
        return status;
    attn_threads *threads = exec ? exec->threads : NULL;
    size_t bytes;
    status = attn_linear_f32_workspace(rows, in_dim, out_dim, threads, &bytes);
    int32_t first, end;
    if (status == ATTN_OK)
        status = exec_check(exec, bytes, 1, &first, &end);
    if (status != ATTN_OK || rows == 0 || first == end)
        return status;

    const double work = (double)rows * in_dim * out_dim;
    threads = parallel_pool(threads, rows <= DOT_ROWS ? READING * work : work);
    linear_call c = {rows, in_dim, out_dim, x, x_stride, w, panels, bias, y, y_stride, NULL, NULL};
    const int32_t tasks = (out_dim - 1) / TASK_COLUMNS + 1;
    if (rows <= DOT_ROWS) {
        parallel_for(threads, 0, tasks, dot_task, &c);
        return ATTN_OK;
    }
    c.packed = exec->workspace;
    c.scratch = c.packed + (ptrdiff_t)rows * in_dim;
    if (!is_packed)
        parallel_for(threads, 0, (rows - 1) / TILE_ROWS + 1, pack_task, &c);
    parallel_for(threads, 0, tasks, product_task, &c);
    return ATTN_OK;
}

attn_status attn_linear_f32(int32_t rows, int32_t in_dim, int32_t out_dim, const float *x,
                            ptrdiff_t x_stride, const float *w, const float *bias, float *y,
                            ptrdiff_t y_stride, const attn_exec *exec) {
    return linear_f32(rows, in_dim, out_dim, x, x_stride, false, w, NULL, bias, y, y_stride, exec);
}

attn_status attn_linear_f64(int32_t rows, int32_t in_dim, int32_t out_dim, const double *x,
                            ptrdiff_t x_stride, const double *w, const double *bias, double *y,
                            ptrdiff_t y_stride) {
    const attn_status status =
        check_linear(rows, in_dim, out_dim, x, x_stride, w, y, y_stride, sizeof(double));
    if (status != ATTN_OK)
        return status;
    for (int32_t i = 0; i < rows; i++)
        for (int32_t o = 0; o < out_dim; o++) {
            double sum = bias ? bias[o] : 0.0;
            for (int32_t k = 0; k < in_dim; k++)
                sum += x[i * x_stride + k] * w[(ptrdiff_t)o * in_dim + k];
            y[i * y_stride + o] = sum;
        }
    return ATTN_OK;
}
