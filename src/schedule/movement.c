/* Schedule records of the lowerings that move data or split folds. See record.h. */
#include "schedule/record.h"

enum { TASK_ELEMENTS = 16384 };

static int64_t product(const tn_grouping *p, const tn_dim *d, int count) {
    int64_t all = 1;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(all, tn_dim_guess(p->graph->dims, d[i]), &all))
            return INT64_MAX / 4;
    return all;
}

/* Segments shorter than a vector are as well tested for lane by lane. */
tn_schedule tn_schedule_choose_place(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                     int axis) {
    tn_schedule s = {.lanes = TN_MAX(4, vector_bytes / 4), .unroll = 4, .rows_per_task = 1};
    const tn_shape *shape = &g->space.shape;
    const tn_node_info *n = tn_graph_node(p->graph, g->members.data[0].node);
    int64_t segments = n->op == TN_OP_concat ? n->in_count : 2;
    int64_t row = product(p, shape->dim + axis, shape->rank - axis);
    if (row / segments < s.lanes) return s;
    s.shape = TN_SHAPE_PLACE;
    s.pieces = TN_MAX(1, row / TASK_ELEMENTS);
    s.rows_per_task = TN_MAX(1, TASK_ELEMENTS / row);
    return s;
}

/* Tiles are as wide as a vector. A task has some 64 KiB, in rows as long as possible. */
tn_schedule tn_schedule_choose_transpose(const tn_grouping *p, const tn_group *g,
                                         uint32_t vector_bytes, uint32_t element_bytes,
                                         const bool *merged, int cross, int last,
                                         bool wide_source) {
    enum { MOST_LANES = 64 };
    tn_schedule s = {.unroll = 1, .rows_per_task = 1};
    s.lanes = TN_MIN(MOST_LANES, TN_MAX(2, vector_bytes / TN_MAX(4, element_bytes)));
    int64_t size[TN_MAX_RANK], n = s.lanes;
    for (int i = 0; i < g->space.shape.rank; i++) {
        size[i] = product(p, &g->space.shape.dim[i], 1);
        if (i > 0 && merged[i - 1] && __builtin_mul_overflow(size[i], size[i - 1], &size[i]))
            size[i] = INT64_MAX / 4;
    }
    if (size[cross] < n / 2 || size[last] < 2) return s;
    s.shape = TN_SHAPE_TRANSPOSE;
    s.follow_source = wide_source;
    s.chunk = TN_MIN(size[last], (int64_t)1024);
    s.chunk = (s.chunk + n - 1) / n * n;
    s.rows_per_task = TN_MAX(n, TASK_ELEMENTS / s.chunk / n * n);
    return s;
}

/* Worth it when whole rows (or strips of rows) make too few tasks for what there is to do. The cut is
 * along the longest folded axis; slots are at most 1/16 of what is read. */
tn_schedule tn_schedule_choose_split(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                     const bool *merged, int *cut_axis) {
    enum { FEW_TASKS = 16, MOST_PIECES = 64 };
    tn_schedule s = {.lanes = TN_MAX(4, vector_bytes / 4), .unroll = 4};
    const tn_space *space = &g->space;
    int64_t size[TN_MAX_RANK], rows = 1, folded = 1, work, longest = 0, strip = 1;
    for (int i = 0; i < space->shape.rank; i++) {
        int from = i;
        while (from > 0 && merged[from - 1]) from--;
        size[i] = merged[i] ? 1 : product(p, space->shape.dim + from, i - from + 1);
        if (space->shape.dim[i] != 1) s.fold_lanes = space->folded[i];
        if (size[i] > 1) strip = space->folded[i] ? 1 : size[i];
        int64_t *of = space->folded[i] ? &folded : &rows;
        if (__builtin_mul_overflow(*of, size[i], of)) return s;
        if (!space->folded[i] || size[i] <= longest) continue;
        longest = size[i];
        *cut_axis = i;
    }
    if (__builtin_mul_overflow(rows, folded, &work) || work < 8 * TASK_ELEMENTS) return s;
    int64_t width = (int64_t)s.lanes * s.unroll, tasks = rows;
    if (!s.fold_lanes) tasks = rows / strip * ((strip + width - 1) / width);
    if (tasks >= FEW_TASKS) return s;
    s.rows_per_task = s.fold_lanes && longest / width >= MOST_PIECES ? width : 1;
    s.pieces = TN_MIN(TN_MIN(work / TASK_ELEMENTS, folded / 16), (int64_t)MOST_PIECES);
    s.pieces = TN_MIN(s.pieces, longest);
    if (s.pieces > 1) s.shape = TN_SHAPE_SPLIT;
    return s;
}
