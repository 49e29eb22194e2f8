/* Pointwise work and folds over one space: copies, pointwise chains, reductions, softmax, norms,
 * pooling, depthwise convolution.
 *
 * A task takes a block of rows. Vectors run along the last axis that is not 1. If that axis is
 * folded (softmax over the last axis), a row is one point of the row axes and fold results are
 * scalars; if it is a row axis (a sum over columns, pooling with channels last), a row is a strip
 * of vectors and fold results are vectors. rows.h says what happens along a row. */
#include "codegen/row_order.h"
#include "codegen/rows.h"

enum { MOST_TAPS = 32 };

/* ---- a strip of rows whose fold results are vectors (vectors along a row axis) -------------- */

/* The loops over the elements of a window. */
static void open_taps(tn__rows *r, tn_lx *own) {
    tn_loop *k = r->m.k;
    const tn_fold *f = &r->folds.data[0].fold;
    for (int i = 0; i < f->axes; i++)
        own[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_dim(k, f->extent[i]), "w");
}

static void close_taps(tn__rows *r) {
    for (int i = 0; i < r->folds.data[0].fold.axes; i++) tn_l_end(r->m.k);
}

static void row_strip(tn__rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    tn_loop *k = r->m.k;
    bool folds = r->folds.len > 0;
    for (r->stage = 0; r->stage <= r->levels; r->stage++) {
        if (!tn__rows_has_element_work(r)) continue;
        if (folds) tn__rows_folds_init(r, r->stage, width);
        tn_fold_loops loops;
        tn_lx own[TN_MAX_RANK], linear = tn_l_int(k, 0);
        bool anchored = r->m.group->anchor != TN_NO_NODE;
        if (anchored)
            open_taps(r, own);
        else
            linear = tn__rows_open_folds(r, &loops);
        tn__rows_lanes_open(r, base, width, limit);
        uint32_t wide = r->s.lanes * r->s.unroll;
        r->strip = tn_l_add(k, tn_l_mul(k, linear, tn_l_int(k, wide)), r->lane);
        tn__rows_element_work(r, own);
        tn__rows_lanes_close(r, limit);
        if (anchored)
            close_taps(r);
        else
            tn__rows_close_folds(r, &loops, width);
    }
    r->stage = r->levels;
    if (folds && tn__rows_has_row_stores(r)) {
        tn__rows_lanes_open(r, base, width, limit);
        uint32_t mark = tn_access_mark(&r->m.access);
        tn__rows_store_rows(r);
        tn_access_release(&r->m.access, mark);
        tn__rows_lanes_close(r, limit);
    }
}

/* ---- window folds in blocks: neighbouring points of the block axis, every tap in the text --- */

/* The window axes from this one on are small enough together to stand in the text. */
static int unrolled_from(const tn__rows_fold *f) {
    int64_t taps = 1, extent;
    int i = f->fold.axes;
    while (i > 0 && tn_dim_is_const(f->fold.extent[i - 1])) {
        extent = f->fold.extent[i - 1];
        if (taps * extent > MOST_TAPS) break;
        taps *= extent;
        i--;
    }
    return i;
}

static void block_points(tn__rows *r, tn_lx base, tn_lx limit, tn_lx first, int64_t count) {
    tn_loop *k = r->m.k;
    tn__rows_fold *f = &r->folds.data[0];
    tn_lx zero = tn_l_int(k, 0), lanes = tn_l_int(k, r->s.lanes), points = tn_l_int(k, count);
    tn_lx own[TN_MAX_RANK], p = tn_l_for(k, TN_LOOP_UNROLL, zero, points, "p");
    tn_lx l = tn_l_for(k, TN_LOOP_VECTOR, zero, lanes, "l");
    tn_l_set(k, f->reg[0], tn_l_add(k, tn_l_mul(k, p, lanes), l),
             tn_l_const(k, f->fold.dtype[0], f->fold.init[0]));
    tn_l_end(k);
    tn_l_end(k);
    for (int i = 0; i < f->fold.axes; i++)
        own[i] = tn_l_for(k, i < unrolled_from(f) ? TN_LOOP_SERIAL : TN_LOOP_UNROLL, zero,
                          tn_l_dim(k, f->fold.extent[i]), "w");
    for (int work = 1; work >= 0; work--) { /* the fold, then the stores */
        p = tn_l_for(k, TN_LOOP_UNROLL, zero, points, "p");
        r->at[r->s.block_axis] = tn_l_add(k, first, p);
        tn__rows_lanes_open(r, base, r->s.lanes, limit);
        r->lane = tn_l_add(k, tn_l_mul(k, p, lanes), r->lane);
        uint32_t mark = tn_access_mark(&r->m.access);
        if (work)
            tn__rows_fold_step(r, f, own);
        else
            tn__rows_store_rows(r);
        tn_access_release(&r->m.access, mark);
        tn__rows_lanes_close(r, limit);
        tn_l_end(k);
        if (work) close_taps(r);
    }
}

static void block_strip(tn__rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    tn_loop *k = r->m.k;
    (void)width; /* one vector */
    int64_t extent = r->m.group->space.shape.dim[r->s.block_axis], size = r->s.block;
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, extent / size), "block");
    block_points(r, base, limit, tn_l_mul(k, i, tn_l_int(k, size)), size);
    tn_l_end(k);
    if (extent % size)
        block_points(r, base, limit, tn_l_int(k, extent / size * size), extent % size);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* The rows of a kernel: `axis` from the one that is walked slowest on. A block of `block` points of the
 * one numbered `blocked` is walked last of all; 1: none is. */
typedef struct row_walk {
    int axis[TN_MAX_RANK], count, blocked;
    int64_t block;
    tn__rows_ahead ahead;
} row_walk;

/* Rows that are shorter than a cache line fill lines of the result only together with those that follow
 * them there: these are taken in blocks. */
static void block_short_rows(const tn__rows *r, row_walk *w, int follows) {
    enum { LINE_BYTES = 64, BLOCK_BYTES = 256 };
    int64_t width, extent, size = 1;
    int at = 0;
    while (w->axis[at] != follows) at++;
    if (at == w->count - 1 || r->vector_axis < 0 || r->s.chunk) return;
    if (!tn_l_is_const_int(r->m.k, r->extent[r->vector_axis], &width)) return;
    if (!tn_l_is_const_int(r->m.k, r->extent[follows], &extent)) return;
    tn_value stored = r->m.group->stores.data[0];
    int64_t bytes = (int64_t)tn_dtype_size(tn_graph_type(r->m.graph, stored)->dtype);
    if (width < 1 || width >= LINE_BYTES / bytes) return;
    while (2 * size * width * bytes <= BLOCK_BYTES && extent % (2 * size) == 0) size *= 2;
    w->blocked = at;
    w->block = size;
}

/* Where the result is stored past the caches, whole lines can go anywhere, and the only operand is better
 * read in its own order. */
static void order_rows(const tn_lower_context *c, const tn__rows *r, row_walk *w) {
    tn__rows probing;
    tn_merge_probe probe;
    if (w->count < 2 || r->folds.len || r->m.group->anchor != TN_NO_NODE ||
        r->m.group->stores.len != 1 ||
        !tn_schedule_streams(c->grouping, r->m.group->stores.data[0], c->target->stream_bytes))
        return;
    tn__rows_init(&probing, c, r->m.group_id, NULL, r->merged);
    tn__rows_probe(&probing, &probe);
    if (probe.offsets.len != 2) return; /* the load's, the store's */
    int follows = w->axis[w->count - 1];
    tn_row_order(probe.k, probe.offsets.data[0], probing.at, w->axis, w->count);
    block_short_rows(r, w, follows);
}

/* The point of row, or of block of rows, number `at`: its first row. */
static void open_row(tn__rows *r, const row_walk *w, tn_lx at) {
    tn_loop *k = r->m.k;
    tn_lx extent[TN_MAX_RANK], index[TN_MAX_RANK], size = tn_l_int(k, w->block);
    for (int i = 0; i < w->count; i++) extent[i] = r->extent[w->axis[i]];
    if (w->block > 1) extent[w->blocked] = tn_l_div(k, extent[w->blocked], size);
    tn_maker_split(k, at, extent, w->count, index);
    for (int i = 0; i < w->count; i++) r->at[w->axis[i]] = index[i];
    if (w->block > 1) r->at[w->axis[w->blocked]] = tn_l_mul(k, index[w->blocked], size);
}

/* Lines that the block of rows after this one reads, each point of the walk its share of them: so they
 * arrive in the order of the operand's rows. */
static void prefetch_block(tn__rows *r, const row_walk *w) {
    enum { LINE_BYTES = 64 };
    tn_loop *k = r->m.k;
    tn_merge_probe ahead = {.k = k, .arena = r->m.context->arena};
    int follows = w->axis[w->blocked], fastest = w->axis[w->count - 1];
    int64_t width = 1,
            bytes = (int64_t)tn_dtype_size(tn__rows_type(r, r->m.group->stores.data[0])->dtype);
    (void)tn_l_is_const_int(k, r->extent[r->vector_axis], &width);
    int64_t points = LINE_BYTES / (width * bytes); /* that a line holds */
    if (points < 2 || w->block % points || r->digit_axis >= 0) return;
    tn_lx base = r->at[follows], at = r->at[fastest], n = tn_l_int(k, points);
    tn_lx share = tn_l_int(k, w->block / points), digit = tn_l_mod(k, at, n);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), share, "ahead");
    tn_lx from = tn_l_add(k, base, tn_l_int(k, w->block));
    r->at[follows] = tn_l_add(k, from, tn_l_add(k, tn_l_mul(k, digit, share), i));
    r->at[fastest] = tn_l_sub(k, at, digit);
    r->at[r->vector_axis] = tn_l_int(k, 0);
    uint32_t mark = tn_access_mark(&r->m.access), operand = 0;
    r->probe = &ahead;
    tn__rows_emit_member(
        r, tn__rows_member(r, tn_graph_value(r->m.graph, r->m.group->stores.data[0])->node));
    r->probe = NULL;
    tn_access_release(&r->m.access, mark);
    while (k->buffers.data[operand].kind != TN_LBUF_INPUT) operand++;
    tn_l_prefetch(k, operand, ahead.offsets.data[0]);
    tn_l_end(k);
    r->at[follows] = base;
    r->at[fastest] = at;
}

static void run_row(tn__rows *r, tn_lx lo, tn_lx hi) {
    uint32_t mark = tn_access_mark(&r->m.access);
    if (r->s.block)
        tn__rows_strips(r, lo, hi, block_strip);
    else if (r->s.fold_lanes)
        tn__rows_run_folded(r, 1);
    else
        tn__rows_strips(r, lo, hi, row_strip);
    tn_access_release(&r->m.access, mark);
}

/* The row that comes some rows after number `at`, of those before `end`. */
static void ask_ahead(tn__rows *r, const row_walk *w, tn_lx at, tn_lx end) {
    tn_loop *k = r->m.k;
    if (!w->ahead.rows) return;
    tn_lx then = tn_l_add(k, at, tn_l_int(k, w->ahead.rows)),
          last = tn_l_sub(k, end, tn_l_int(k, 1));
    open_row(r, w, tn_l_min(k, then, last));
    tn__rows_ask(r, &w->ahead);
}

/* The row, or block of rows, number `at` of the walk; [lo, hi) along the vector axis. */
static void run_rows(tn__rows *r, const row_walk *w, tn_lx at, tn_lx lo, tn_lx hi) {
    enum { MOST_UNROLLED = 16 };
    tn_loop *k = r->m.k;
    open_row(r, w, at);
    if (w->block == 1) {
        run_row(r, lo, hi);
        return;
    }
    prefetch_block(r, w);
    int axis = w->axis[w->blocked];
    tn_loop_kind kind = w->block <= MOST_UNROLLED ? TN_LOOP_UNROLL : TN_LOOP_SERIAL;
    tn_lx p = tn_l_for(k, kind, tn_l_int(k, 0), tn_l_int(k, w->block), "p");
    r->at[axis] = tn_l_add(k, r->at[axis], p);
    run_row(r, lo, hi);
    tn_l_end(k);
}

/* The rows of the kernel, or blocks of them; their number. */
static tn_lx find_walk(tn__rows *r, row_walk *w) {
    tn_loop *k = r->m.k;
    tn_lx count = tn_l_int(k, 1);
    const tn_space *s = &r->m.group->space;
    *w = (row_walk){.block = 1};
    for (int i = 0; i < s->shape.rank; i++) {
        if (s->folded[i] || i == r->vector_axis || r->merged[i] || s->shape.dim[i] == 1) continue;
        if (r->s.block && i == r->s.block_axis) continue;
        w->axis[w->count++] = i;
        count = tn_l_mul(k, count, r->extent[i]);
    }
    order_rows(r->m.context, r, w);
    if (w->block == 1) w->ahead = tn__rows_find_ahead(r, count);
    return tn_l_div(k, count, tn_l_int(k, w->block));
}

/* Several rows of [lo, hi) at a time, as long as there are so many; where the rest begins. */
static tn_lx rows_together(tn__rows *r, const row_walk *w, tn_lx count, tn_lx lo, tn_lx hi) {
    tn_loop *k = r->m.k;
    uint32_t n = r->s.together;
    int64_t known, wide = (int64_t)r->s.lanes * r->s.unroll;
    tn__rows *rows = TN_NEW_N(r->m.context->arena, tn__rows, n);
    tn_lx size = tn_l_int(k, n), full = tn_l_div(k, tn_l_sub(k, hi, lo), size);
    tn_lx group = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), full, "group");
    tn_lx first = tn_l_add(k, lo, tn_l_mul(k, group, size));
    for (uint32_t i = 0; i < n; i++) {
        tn__rows_init(&rows[i], r->m.context, r->m.group_id, &r->m, r->merged);
        rows[i].s = r->s;
        rows[i].single = tn_l_is_const_int(k, r->extent[r->vector_axis], &known) && known == wide;
        tn__rows_find_keeps(&rows[i]);
        tn__rows_make_registers(&rows[i], r->s.lanes * r->s.unroll);
        open_row(&rows[i], w, tn_l_add(k, first, tn_l_int(k, i)));
    }
    tn__rows_run_folded(rows, n);
    tn_l_end(k);
    bool whole = tn_l_is_const_int(k, count, &known) && known % n == 0;
    return whole && r->s.rows_per_task % n == 0 ? hi : tn_l_add(k, lo, tn_l_mul(k, full, size));
}

/* Tasks over blocks of rows, or over chunks of the vector axis when rows are few and long. */
static void emit_kernel(tn__rows *r) {
    tn_loop *k = r->m.k;
    row_walk w;
    tn_lx count = find_walk(r, &w), one = tn_l_int(k, 1);
    tn__rows_find_keeps(r);
    tn_lx width = r->vector_axis >= 0 ? r->extent[r->vector_axis] : one;
    tn_lx task = tn_l_task(k), chunk_lo = tn_l_int(k, 0), chunk_hi = width, block = task;
    if (r->s.chunk > 0) {
        tn_lx size = tn_l_int(k, r->s.chunk);
        tn_lx chunks = tn_l_div(k, tn_l_add(k, width, tn_l_int(k, r->s.chunk - 1)), size);
        block = tn_l_div(k, task, chunks);
        chunk_lo = tn_l_mul(k, tn_l_mod(k, task, chunks), size);
        chunk_hi = tn_l_min(k, width, tn_l_add(k, chunk_lo, size));
        k->tasks = tn_l_mul(k, count, chunks);
        r->s.rows_per_task = 1;
    } else {
        r->s.rows_per_task = TN_MAX(1, r->s.rows_per_task / w.block);
        tn_lx per = tn_l_int(k, r->s.rows_per_task - 1);
        k->tasks = tn_l_div(k, tn_l_add(k, count, per), tn_l_int(k, r->s.rows_per_task));
    }
    tn_lx lo = tn_l_mul(k, block, tn_l_int(k, r->s.rows_per_task));
    tn_lx hi = tn_l_min(k, count, tn_l_add(k, lo, tn_l_int(k, r->s.rows_per_task)));
    if (r->s.together) lo = rows_together(r, &w, count, lo, hi);
    if (lo == hi) return;
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row");
    tn__rows_make_registers(r, r->s.lanes * r->s.unroll * (uint32_t)TN_MAX(1, r->s.block));
    ask_ahead(r, &w, row, hi);
    run_rows(r, &w, row, chunk_lo, chunk_hi);
    tn_l_end(k);
}

void tn_lower_rows(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    bool merged[TN_MAX_RANK];
    tn__rows_find_merges(c, group, false, merged);
    int digit_axis = tn__rows_digit_axis(c, group, merged);
    tn__rows r;
    tn__rows_init(&r, c, group, NULL, merged);
    r.digit_axis = digit_axis;
    emit_kernel(&r);
    out->kernel = r.m.k;
    out->schedule = r.s;
}
