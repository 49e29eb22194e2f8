/* The schedule record of a fold over windows (window_reduce): see codegen/lower_windows.c. */
#include "schedule/record.h"

enum {
    TASK_TAPS = 16384,
    LINE_ELEMENTS = 8192, /* of the scratch, which stays in the L1 cache */
    MOST_REACH = 1 << 15, /* of a window along the columns */
    MOST_STRIDE = 2,      /* in windows: what lies between them is read, too */
    MOST_VECTORS = 8,     /* side by side: sums, and operands straight from memory */
    LINES = 4,            /* made before the first is read, which was then stored long ago */
};

bool tn__window_folds(const tn_attrs_window_reduce *a, int axis) {
    return a->window.at[axis] > 1 || a->pad_lo.at[axis] > 0 || a->pad_hi.at[axis] > 0;
}

tn__window_axes tn__find_window_axes(const tn_graph *g, const tn_node_info *n) {
    const tn_attrs_window_reduce *a = n->attrs;
    const tn_shape *y = &tn_graph_type(g, n->out)->shape;
    tn__window_axes axes = {-1, -1};
    for (int i = 0; i < y->rank; i++)
        if (tn__window_folds(a, i) || a->stride.at[i] > 1 || a->pad_lo.at[i] || a->pad_hi.at[i])
            axes.column = axes.vector = i;
    for (int i = axes.column + 1; axes.column >= 0 && i < y->rank; i++)
        if (y->dim[i] != 1) axes.vector = i;
    return axes;
}

/* Vectors side by side, so that few are left over. */
static uint32_t vectors(int64_t extent, uint32_t lanes, int64_t most) {
    int64_t all = TN_MAX(1, extent / lanes), parts = (all + most - 1) / most;
    return (uint32_t)(all / parts);
}

/* Whether folding the columns last, from scratch, takes fewer loads and stores for a result than its
 * window has elements. */
static bool is_separable(const tn_attrs_window_reduce *a, int column) {
    int64_t others = 1, columns = a->window.at[column], stride = a->stride.at[column];
    for (int i = 0; i < column; i++) others = TN_MIN(others * a->window.at[i], 1 << 20);
    return stride * (others + 1) + columns < others * columns;
}

/* Columns of the result whose line of scratch holds `width` elements per column of x. */
static int64_t line_columns(const tn_attrs_window_reduce *a, int column, int64_t width,
                            int64_t extent) {
    int64_t columns = LINE_ELEMENTS / width / a->stride.at[column];
    return TN_MAX(width == 1 ? 64 : 1, TN_MIN(columns, extent));
}

bool tn_schedule_choose_windows(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                tn_schedule *s) {
    const tn_node_info *n = tn_graph_node(p->graph, g->anchor);
    const tn_attrs_window_reduce *a = n->attrs;
    const tn_shape *y = &tn_graph_type(p->graph, n->out)->shape;
    tn__window_axes axes = tn__find_window_axes(p->graph, n);
    int column = axes.column, vector = axes.vector;
    if (column < 0) return false;
    bool finds = a->kind == TN_REDUCE_argmax || a->kind == TN_REDUCE_argmin;
    int64_t reach = (a->window.at[column] - 1) * a->dilation.at[column] + 1, work = 1;
    *s = (tn_schedule){.lanes = TN_MAX(4, vector_bytes / 4), .shape = TN_SHAPE_WINDOWS};
    bool dense = reach <= MOST_REACH && a->stride.at[column] <= MOST_STRIDE * reach;
    if (column == vector && !dense) return false;
    s->separable = dense && (column == vector || is_separable(a, column));
    int64_t columns = tn_dim_guess(p->graph->dims, y->dim[column]);
    int64_t extent = tn_dim_guess(p->graph->dims, y->dim[vector]);
    if (column == vector && tn_dim_is_const(y->dim[column]) && columns < s->lanes / 4) return false;
    int64_t most = finds ? 2 : MOST_VECTORS;
    s->nr = vectors(extent, s->lanes, TN_MIN(most, MOST_VECTORS / 2)) * s->lanes;
    s->unroll = column == vector ? vectors(extent * a->stride.at[column], s->lanes, most)
                                 : s->nr / s->lanes;
    if (s->separable) s->block = line_columns(a, column, column == vector ? 1 : s->nr, columns);
    for (int i = 0; i <= column; i++) work = TN_MIN(work * a->window.at[i], TASK_TAPS);
    work = TN_MIN(work * (s->separable ? s->block : TN_MIN(columns, TASK_TAPS)), TASK_TAPS);
    if (column != vector) work *= TN_MIN(extent, TASK_TAPS);
    s->rows_per_task = TN_MAX(1, TASK_TAPS / TN_MAX(1, work));
    if (s->separable && column == vector) {
        int64_t room = LINE_ELEMENTS / TN_MAX(1, s->block * a->stride.at[column]);
        s->mr = (uint32_t)TN_MAX(1, TN_MIN(TN_MIN(room, LINES), s->rows_per_task));
    }
    return true;
}
