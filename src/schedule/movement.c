/* Schedule records of the lowerings that move data or split folds. See record.h. */
#include "schedule/record.h"

enum { TASK_ELEMENTS = 16384, LEAST_NARROW = 4, MOST_TESTED = 32 };

static int64_t product(const tn_grouping *p, const tn_dim *d, int count) {
    int64_t all = 1;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(all, tn_dim_guess(p->graph->dims, d[i]), &all))
            return INT64_MAX / 4;
    return all;
}

static int64_t times(int64_t a, int64_t b) {
    return __builtin_mul_overflow(a, b, &a) ? INT64_MAX / 4 : a;
}

bool tn_schedule_streams(const tn_grouping *p, tn_value v, int64_t least) {
    const tn_type *t = tn_graph_type(p->graph, v);
    return product(p, t->shape.dim, t->shape.rank) >= least / (int64_t)tn_dtype_size(t->dtype);
}

/* Segments shorter than a vector are as well tested for lane by lane, where such loads have masks, unless
 * each element would be tested for many: measured for planes of 14×14 bytes, tests take five times as long as
 * copies. */
tn_schedule tn_schedule_choose_place(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                     int axis) {
    tn_schedule s = {.lanes = TN_MAX(4, vector_bytes / 4), .unroll = 4, .rows_per_task = 1};
    const tn_shape *shape = &g->space.shape;
    const tn_node_info *n = tn_graph_node(p->graph, g->members.data[0].node);
    int64_t segments = n->op == TN_OP_concat ? n->in_count : 2;
    int64_t row = product(p, shape->dim + axis, shape->rank - axis);
    bool narrow = tn_dtype_size(tn_graph_type(p->graph, n->out)->dtype) < 4;
    bool few = segments <= MOST_TESTED;
    if (few && row / segments < (narrow ? LEAST_NARROW : s.lanes)) return s;
    s.shape = TN_SHAPE_PLACE;
    s.pieces = TN_MAX(1, row / TASK_ELEMENTS);
    s.rows_per_task = TN_MAX(1, TASK_ELEMENTS / row);
    return s;
}

/* A few rows in turn, or every second to fourth element: a vector of the result is made of that many
 * vectors of the operand, where tiles would be mostly empty. */
static bool is_interleave(const tn_group *g, const tn_turn_facts *t, int64_t cross, int64_t last) {
    enum { FEW = 4 };
    int before = t->last - 1;
    while (before > t->cross && (t->merged[before] || g->space.shape.dim[before] == 1)) before--;
    if (tn_dim_is_const(g->space.shape.dim[t->last]) && (last == 2 || last == FEW))
        return before == t->cross;
    return cross <= FEW && t->step > 1 && t->step <= FEW;
}

/* Tiles that follow each other along the last axis, where results are stored past the caches and a tile
 * is a line. Lines arrive faster in pairs; the rows of the operand that two tiles take, and those prefetched
 * for the next two, must find place in a cache of the second level. */
static uint32_t lines_together(const tn_turn_facts *t, uint32_t lanes, int64_t last) {
    enum { KEPT_BYTES = 1 << 20, MOST_PAIRED = 32, MANY = 8 };
    int64_t n = lanes, row = times(t->step, t->element_bytes);
    uint32_t many = MANY;
    if (last % (2 * n) == 0 && n <= MOST_PAIRED)
        return t->step > 0 && times(row, 4 * n) <= KEPT_BYTES ? 2 : 1;
    while (many > 1 && (last % n == 0 || last < 2 * n * many)) many /= 2;
    return many;
}

/* About `most` of `size`, in parts of like size that are multiples of `unit`. */
static int64_t like_part(int64_t size, int64_t most, int64_t unit) {
    int64_t parts = TN_MAX(1, (size + most / 2) / most);
    return ((size + parts - 1) / parts + unit - 1) / unit * unit;
}

/* Rows of the result that begin within lines, and hold many lines: blocks of eight lines. The 512 bytes that a
 * block takes of each row, and those prefetched for the next, find place in a cache of the second level. */
static bool choose_lines(const tn_turn_facts *t, int64_t cross, int64_t last, int64_t total,
                         tn_schedule *s) {
    enum { LINE_BYTES = 64, LINES = 8, ROWS = 512, CHUNK_BYTES = 8192, MANY_TASKS = 16 };
    int64_t n = s->lanes, line = TN_MAX(n, LINE_BYTES / t->element_bytes), rows = ROWS;
    int64_t chunk = CHUNK_BYTES / t->element_bytes;
    if (!t->streams || last % line == 0 || last < 4 * line * LINES) return false;
    while (rows > LINE_BYTES && total / (rows * chunk) < MANY_TASKS) rows /= 2;
    s->stream = s->follow_source = s->whole_lines = true;
    s->unroll = (uint32_t)(line * LINES / n);
    s->rows_per_task = like_part(cross, rows, n);
    s->chunk = like_part(last, chunk, n * s->unroll);
    return true;
}

/* The sides of a task's block; see above tn_schedule_choose_transpose. */
static void choose_blocks(const tn_turn_facts *t, int64_t cross, int64_t last, int64_t total,
                          bool apart, tn_schedule *s) {
    enum { LONG_SIDE = 1024, LONG_BYTES = 16384, LINES = 4, MANY_TASKS = 32 };
    int64_t n = s->lanes, line = n * s->unroll;
    int64_t side = apart || (s->stream && t->long_rows) ? line : line * LINES;
    int64_t far = s->stream && !apart ? LONG_BYTES / t->element_bytes : LONG_SIDE;
    while (far > side && total / (far * side) < MANY_TASKS) far /= 2;
    s->rows_per_task = s->follow_source ? far : side;
    s->chunk = s->follow_source ? side : far;
    s->rows_per_task = (TN_MIN(s->rows_per_task, cross) + n - 1) / n * n;
    s->chunk = (TN_MIN(s->chunk, last) + line - 1) / line * line;
}

/* Tiles are as wide as a vector, narrower where an axis is short. Blocks are long along the side whose
 * rows tiles follow and a few cache lines wide along the other, so that few pages are open at a time.
 * Results that are streamed follow the operand: whole lines are written wherever they lie; where its rows
 * go on over other axes, tiles are taken along these before the next line of tiles. Processors hold few
 * lines that are written in parts. */
tn_schedule tn_schedule_choose_transpose(const tn_grouping *p, const tn_group *g,
                                         const tn_turn_facts *t) {
    enum { MOST_LANES = 64, LINE_BYTES = 64, OPEN_LINES = 8 };
    tn_schedule s = {.unroll = 1, .rows_per_task = 1};
    int64_t size[TN_MAX_RANK], total = 1;
    for (int i = 0; i < g->space.shape.rank; i++) {
        size[i] = product(p, &g->space.shape.dim[i], 1);
        if (i > 0 && t->merged[i - 1]) size[i] = times(size[i], size[i - 1]);
    }
    for (int i = 0; i < g->space.shape.rank; i++)
        if (!t->merged[i]) total = times(total, size[i]);
    int64_t cross = size[t->cross], last = size[t->last];
    if (cross < 2 || last < 2 || cross * last < 8 || is_interleave(g, t, cross, last)) return s;
    uint32_t narrow = TN_MAX(2, t->vector_bytes / TN_MAX(4, t->element_bytes));
    s.lanes = TN_MIN(MOST_LANES, TN_MAX(2, t->vector_bytes / t->element_bytes));
    while (s.lanes > narrow && TN_MIN(cross, last) <= s.lanes / 2) s.lanes /= 2;
    while (s.lanes > 4 && TN_MAX(cross, last) <= s.lanes / 2) s.lanes /= 2;
    s.shape = TN_SHAPE_TRANSPOSE;
    if (choose_lines(t, cross, last, total, &s)) return s;
    s.unroll = TN_MAX(1, LINE_BYTES / (s.lanes * t->element_bytes));
    int64_t n = s.lanes, line = n * s.unroll;
    s.stream = t->streams && last >= line && (s.unroll == 1 || n <= OPEN_LINES);
    s.follow_source = t->wide_source || s.stream;
    bool apart = s.stream && last % n != 0;
    if (s.stream && s.unroll == 1) s.unroll = lines_together(t, s.lanes, last);
    choose_blocks(t, cross, last, total, apart, &s);
    return s;
}

/* Vectors along a strip of rows of this extent. */
uint32_t tn__strip_vectors(const tn_grouping *p, const tn_group *g, uint32_t lanes,
                           int64_t extent) {
    uint32_t registers = 0, vectors = 8;
    for (uint32_t i = 0; i < g->members.len; i++) {
        const tn_node_info *n = tn_graph_node(p->graph, g->members.data[i].node);
        tn_fold fold;
        if (tn_op_rules_of(n->op)->lower.kind != TN_LOWER_FOLD) continue;
        tn_op_rules_of(n->op)->lower.fold->describe(p->graph, n, &fold);
        for (int r = 0; r < fold.registers; r++) /* 64-bit lanes take two */
            registers += tn_dtype_size(fold.dtype[r]) > 4 ? 2 : 1;
    }
    while (vectors > 4 && (vectors * registers > 16 || extent < (int64_t)vectors * lanes))
        vectors /= 2;
    return vectors;
}

/* Sizes of the axes, merged ones in the last of them; `inner`: the rows behind the first folded axis. */
typedef struct fold_space {
    int64_t rows, folded, work, inner, strip, longest;
    int cut_axis;
    bool fold_lanes;
} fold_space;

static fold_space measure_space(const tn_grouping *p, const tn_space *space, const bool *merged) {
    fold_space f = {.rows = 1, .folded = 1, .inner = 1, .strip = 1};
    for (int i = 0; i < space->shape.rank; i++) {
        int from = i;
        while (from > 0 && merged[from - 1]) from--;
        int64_t size = merged[i] ? 1 : product(p, space->shape.dim + from, i - from + 1);
        if (space->shape.dim[i] != 1) f.fold_lanes = space->folded[i];
        if (size > 1) f.strip = space->folded[i] ? 1 : size;
        if (space->folded[i]) {
            f.folded = times(f.folded, size);
        } else {
            f.rows = times(f.rows, size);
            if (f.longest) f.inner = times(f.inner, size);
        }
        if (!space->folded[i] || size <= f.longest) continue;
        f.longest = size;
        f.cut_axis = i;
    }
    f.work = times(f.rows, f.folded);
    return f;
}

/* Worth it when whole rows (or strips of rows) make too few tasks for what there is to do. The cut is
 * along the longest folded axis; slots are at most 1/16 of what is read. A sweep over whole rows takes the
 * strip to lie behind a folded axis, so one of these has more than one element. */
tn_schedule tn_schedule_choose_split(const tn_grouping *p, const tn_group *g, uint32_t vector_bytes,
                                     const bool *merged, int *cut_axis) {
    enum { FEW_TASKS = 16, MOST_PIECES = 64, SWEEP_ELEMENTS = 1 << 18, SWEEP_SLOTS = 4096 };
    tn_schedule s = {.lanes = TN_MAX(4, vector_bytes / 4), .unroll = 4};
    fold_space f = measure_space(p, &g->space, merged);
    *cut_axis = f.cut_axis;
    s.fold_lanes = f.fold_lanes;
    if (f.folded == 1 || f.work < 8 * TASK_ELEMENTS || f.work == INT64_MAX / 4) return s;
    if (!s.fold_lanes) s.unroll = tn__strip_vectors(p, g, s.lanes, f.strip);
    int64_t width = (int64_t)s.lanes * s.unroll, tasks = f.rows, outer = f.rows / f.inner;
    if (!s.fold_lanes) tasks = f.rows / f.strip * ((f.strip + width - 1) / width);
    bool far = !s.fold_lanes && f.work >= SWEEP_ELEMENTS && f.strip >= 2 * width;
    bool whole = far && outer >= FEW_TASKS && f.inner <= SWEEP_SLOTS;
    s.sweep = whole || (far && outer < FEW_TASKS && f.rows <= SWEEP_SLOTS);
    if (tasks >= FEW_TASKS && !s.sweep) return s;
    s.rows_per_task = s.fold_lanes && f.longest / width >= MOST_PIECES ? width : 1;
    s.pieces = TN_MIN(TN_MIN(f.work / TASK_ELEMENTS, f.folded / 16), (int64_t)MOST_PIECES);
    s.pieces = whole ? 1 : TN_MIN(s.pieces, f.longest);
    if (s.pieces > 1 || whole) s.shape = TN_SHAPE_SPLIT;
    return s;
}
