/* Pointwise work and copies that read one operand along another axis than they write: square tiles
 * are read with vectors along the operand's unit-stride axis, turned in registers, and written with
 * vectors along the result's last axis.
 *
 *   for each tile:  r[i][lane] = operand at (cross = x + lane, last = y + i)   for all i
 *                   transpose r
 *                   store the expression at (cross = x + i, last = y + lane), the operand from r
 *
 * Both sides move whole vectors; with 64-byte vectors each tile reads and writes whole cache lines,
 * so that no further blocking is needed. Tiles at the edges are masked. Applies when exactly one load
 * of the group runs crosswise: its address steps by one along some other axis than the last, and
 * along the last by anything but zero or one. */
#include <stdlib.h>

#include "codegen/lower.h"
#include "codegen/merge.h"
#include "codegen/row_order.h"

typedef struct crosswise {
    tn_value value; /* what is read crosswise */
    int cross, last;
    int64_t step;     /* of the operand along `last`; -1: not known */
    bool wide_source; /* the operand's rows lie further apart than the result's */
    bool only_moved;  /* the results hold its elements as they are */
    bool merged[TN_MAX_RANK];
    int outer[TN_MAX_RANK], outers; /* the other axes, in the order of the operand */
    int farther;                    /* of these, how many lie around `last` there */
} crosswise;

/* A load that the group makes at one point. */
typedef struct seen_load {
    tn_value value;
    tn_lx offset, loaded;
} seen_load;

typedef struct turn {
    tn_kernel_maker m; /* first */
    tn_schedule s;
    crosswise c;
    tn_dtype dtype; /* of the register */
    tn_lx at[TN_MAX_RANK], extent[TN_MAX_RANK];
    uint32_t reg;
    tn_lx element, captured; /* of the register: what stands for the operand; NONE: look for it */
    tn_lx offset;            /* of what was captured */
    TN_VEC(seen_load) loads; /* while probing */
    tn_merge_probe *probe;
} turn;

/* ---- values --------------------------------------------------------------------------------- */

/* Narrow floats move as bits. */
static tn_dtype moved_as(tn_dtype dtype) {
    if (!tn_dtype_is_float(dtype) || tn_dtype_size(dtype) >= 4) return dtype;
    return tn_dtype_size(dtype) == 2 ? TN_u16 : TN_u8;
}

static tn_lx read_operand(turn *t, tn_value v, const tn_lx *index) {
    tn_loop *k = t->m.k;
    tn_dtype dtype = tn_maker_dtype(&t->m, v);
    if (t->element != TN_LX_NONE) return tn_l_bitcast(k, t->element, dtype);
    t->offset = tn_maker_offset(&t->m, v, index);
    t->captured = tn_l_bitcast(k, tn_maker_load(&t->m, v, index), t->dtype);
    return tn_l_number(k, dtype, 0);
}

static tn_lx turn_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    turn *t = a->context;
    const tn_node_info *n = tn_graph_producer(t->m.graph, v);
    if (t->m.grouping->group_of[tn_graph_value(t->m.graph, v)->node] == t->m.group_id)
        return tn_op_rules_of(n->op)->lower.expression(&a->emit, n, 0, index);
    if (t->probe) {
        tn_lx offset = tn_maker_offset(&t->m, v, index), loaded = tn_maker_load(&t->m, v, index);
        tn_vec_push(a->arena, &t->loads, ((seen_load){v, offset, loaded}));
        tn_vec_push(a->arena, &t->probe->offsets, offset);
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &t->probe->values, a->emit.guard);
    } else if (v == t->c.value) {
        return read_operand(t, v, index);
    }
    return tn_maker_load(&t->m, v, index);
}

static void stored_index(const turn *t, tn_value v, tn_lx *index) {
    tn_node node = tn_graph_value(t->m.graph, v)->node;
    const tn_member *m = t->m.group->members.data;
    while (m->node != node) m++;
    for (int i = 0; i < tn_graph_type(t->m.graph, v)->shape.rank; i++)
        index[i] = m->axis[i] >= 0 ? t->at[m->axis[i]] : tn_l_int(t->m.k, 0);
}

/* The value of a stored member at the current point, by its rule even where it is inlined. */
static tn_lx stored_value(turn *t, tn_value v, const tn_lx *index) {
    const tn_node_info *n = tn_graph_producer(t->m.graph, v);
    if (t->m.grouping->inlined[tn_graph_value(t->m.graph, v)->node])
        return tn_op_rules_of(n->op)->lower.expression(&t->m.access.emit, n, 0, index);
    return tn_access_value(&t->m.access, v, index);
}

/* ---- tiles ---------------------------------------------------------------------------------- */

/* The operand alone at the current point; what else the expression reads only matters where the
 * operand's place depends on it. */
static tn_lx capture(turn *t) {
    t->element = t->captured = TN_LX_NONE;
    uint32_t mark = tn_access_mark(&t->m.access);
    for (uint32_t s = 0; s < t->m.group->stores.len && t->captured == TN_LX_NONE; s++) {
        tn_lx index[TN_MAX_RANK];
        stored_index(t, t->m.group->stores.data[s], index);
        stored_value(t, t->m.group->stores.data[s], index);
    }
    tn_access_release(&t->m.access, mark);
    TN_ASSERT(t->captured != TN_LX_NONE);
    return t->captured;
}

/* Where a tile's rows are whole cache lines, another line of tiles follows along `last`, and a cache of the
 * second level has place for what is asked for: rows far apart meet in few of its sets. Tiles of many
 * rows keep the processor's misses busy by themselves. */
static bool prefetches(turn *t) {
    enum { LINE_BYTES = 64, KEPT_BYTES = 1 << 20, MOST_ROWS = 32 };
    int64_t extent, size = (int64_t)tn_dtype_size(t->dtype), n = t->s.lanes, tile;
    bool single =
        tn_l_is_const_int(t->m.k, t->extent[t->c.last], &extent) && extent <= n * t->s.unroll;
    bool fits =
        t->c.step > 0 && !__builtin_mul_overflow(t->c.step, n * size, &tile) && tile <= KEPT_BYTES;
    return t->s.stream && !single && fits && n <= MOST_ROWS && n * size >= LINE_BYTES;
}

/* The operand's line that starts at the current point, for the tile that follows along `last`. */
static void prefetch_row(turn *t, tn_lx cross, tn_lx last) {
    tn_loop *k = t->m.k;
    t->at[t->c.cross] = cross;
    t->at[t->c.last] = tn_l_add(k, last, tn_l_int(k, (int64_t)t->s.lanes * t->s.unroll));
    capture(t);
    tn_l_prefetch(k, tn_maker_buffer(&t->m, t->c.value, TN_LBUF_INPUT), t->offset);
}

static void load_tile(turn *t, tn_lx x, tn_lx y, bool whole) {
    tn_loop *k = t->m.k;
    tn_lx n = tn_l_int(k, t->s.lanes), zero = tn_l_int(k, 0);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, n, "i"), last = tn_l_add(k, y, i);
    if (whole && prefetches(t)) prefetch_row(t, x, last);
    if (!whole) tn_l_if(k, tn_l_lt(k, last, t->extent[t->c.last]));
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, n, "l");
    tn_lx cross = tn_l_add(k, x, lane), to = tn_l_add(k, tn_l_mul(k, i, n), lane);
    t->at[t->c.cross] = cross;
    t->at[t->c.last] = last;
    if (!whole) tn_l_if(k, tn_l_lt(k, cross, t->extent[t->c.cross]));
    tn_l_set(k, t->reg, to, capture(t));
    if (!whole) tn_l_end(k);
    tn_l_end(k);
    if (!whole) { /* rows beyond the edge are not stored */
        tn_l_else(k);
        lane = tn_l_for(k, TN_LOOP_VECTOR, zero, n, "l");
        tn_l_set(k, t->reg, tn_l_add(k, tn_l_mul(k, i, n), lane), tn_l_number(k, t->dtype, 0));
        tn_l_end(k);
        tn_l_end(k);
    }
    tn_l_end(k);
}

static void store_tile(turn *t, tn_lx x, tn_lx y, bool whole) {
    tn_loop *k = t->m.k;
    tn_lx n = tn_l_int(k, t->s.lanes), zero = tn_l_int(k, 0);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, n, "i");
    tn_lx cross = tn_l_add(k, x, i);
    if (!whole) tn_l_if(k, tn_l_lt(k, cross, t->extent[t->c.cross]));
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, n, "l"), last = tn_l_add(k, y, lane);
    if (!whole) tn_l_if(k, tn_l_lt(k, last, t->extent[t->c.last]));
    t->at[t->c.cross] = cross;
    t->at[t->c.last] = last;
    t->element = tn_l_get(k, t->reg, tn_l_add(k, tn_l_mul(k, i, n), lane));
    uint32_t mark = tn_access_mark(&t->m.access);
    for (uint32_t s = 0; s < t->m.group->stores.len; s++) {
        tn_lx index[TN_MAX_RANK];
        stored_index(t, t->m.group->stores.data[s], index);
        tn_maker_store(&t->m, t->m.group->stores.data[s], index,
                       stored_value(t, t->m.group->stores.data[s], index));
    }
    tn_access_release(&t->m.access, mark);
    if (!whole) tn_l_end(k);
    tn_l_end(k);
    if (!whole) tn_l_end(k);
    tn_l_end(k);
}

static void run_tile(turn *t, tn_lx x, tn_lx y, bool whole) {
    load_tile(t, x, y, whole);
    tn_l_transpose(t->m.k, t->reg);
    store_tile(t, x, y, whole);
}

/* The tiles of one line of the result's rows, which is whole or may be cut off at an edge. */
static void run_line(turn *t, tn_lx x, tn_lx y, bool whole) {
    tn_loop *k = t->m.k;
    tn_lx part = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, t->s.unroll), "part");
    run_tile(t, x, tn_l_add(k, y, tn_l_mul(k, part, tn_l_int(k, t->s.lanes))), whole);
    tn_l_end(k);
}

static bool divides(turn *t, int axis, int64_t size) {
    int64_t extent;
    return tn_l_is_const_int(t->m.k, t->extent[axis], &extent) && extent % size == 0;
}

/* All tiles of a task: [x_lo, x_hi) along the crosswise axis, [y_lo, y_hi) along the last. */
static void run_tiles(turn *t, tn_lx x_lo, tn_lx x_hi, tn_lx y_lo, tn_lx y_hi) {
    tn_loop *k = t->m.k;
    int64_t side = t->s.lanes, wide = side * t->s.unroll;
    tn_lx zero = tn_l_int(k, 0), n = tn_l_int(k, side), line = tn_l_int(k, wide);
    tn_lx across = tn_l_add(k, tn_l_sub(k, x_hi, x_lo), tn_l_int(k, side - 1));
    tn_lx along = tn_l_add(k, tn_l_sub(k, y_hi, y_lo), tn_l_int(k, wide - 1));
    across = tn_l_div(k, across, n);
    along = tn_l_div(k, along, line);
    tn_lx outer = tn_l_for(k, TN_LOOP_SERIAL, zero, t->s.follow_source ? along : across, "tile");
    tn_lx inner = tn_l_for(k, TN_LOOP_SERIAL, zero, t->s.follow_source ? across : along, "tile");
    tn_lx x = t->s.follow_source ? inner : outer, y = t->s.follow_source ? outer : inner;
    x = tn_l_add(k, x_lo, tn_l_mul(k, x, n));
    y = tn_l_add(k, y_lo, tn_l_mul(k, y, line));
    bool exact = divides(t, t->c.cross, side) && divides(t, t->c.last, wide);
    if (!exact) {
        tn_lx fits = tn_l_le(k, tn_l_add(k, x, n), x_hi);
        tn_l_if(k, tn_l_and(k, fits, tn_l_le(k, tn_l_add(k, y, line), y_hi)));
    }
    run_line(t, x, y, true);
    if (!exact) {
        tn_l_else(k);
        run_line(t, x, y, false);
        tn_l_end(k);
    }
    tn_l_end(k);
    tn_l_end(k);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void turn_init(turn *t, const tn_lower_context *c, uint32_t group, const bool *merged) {
    memset(t, 0, sizeof *t);
    tn_maker_init(&t->m, c, group, "transpose");
    t->m.access.leaf = turn_leaf;
    t->m.access.context = t;
    const tn_shape *s = &t->m.group->space.shape;
    for (int i = 0; i < s->rank; i++) {
        t->at[i] = tn_l_int(t->m.k, 0);
        t->extent[i] = tn_l_dim(t->m.k, s->dim[i]);
        if (merged && i > 0 && merged[i - 1])
            t->extent[i] = tn_l_mul(t->m.k, t->extent[i - 1], t->extent[i]);
    }
}

/* The number of blocks of `size` along an axis, and the one numbered `at` as [lo, hi). */
static tn_lx block_count(turn *t, int axis, int64_t size) {
    tn_lx last = tn_l_add(t->m.k, t->extent[axis], tn_l_int(t->m.k, size - 1));
    return tn_l_div(t->m.k, last, tn_l_int(t->m.k, size));
}

static void block_bounds(turn *t, int axis, int64_t size, tn_lx at, tn_lx *lo, tn_lx *hi) {
    *lo = tn_l_mul(t->m.k, at, tn_l_int(t->m.k, size));
    *hi = tn_l_min(t->m.k, t->extent[axis], tn_l_add(t->m.k, *lo, tn_l_int(t->m.k, size)));
}

static int by_number(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

/* Tasks over points of the other axes and blocks of tiles. Only results that are stored past the caches
 * may be written in any order: then tasks, too, follow each other along the operand's rows. */
static void emit_kernel(turn *t) {
    tn_loop *k = t->m.k;
    int n = t->c.outers, along = t->s.stream ? t->c.farther : n + 1;
    int across = t->s.stream ? n + 1 : n;
    if (!t->s.stream) qsort(t->c.outer, (size_t)n, sizeof *t->c.outer, by_number);
    tn_lx extent[TN_MAX_RANK + 2], index[TN_MAX_RANK + 2], count = tn_l_int(k, 1);
    for (int i = 0; i < n; i++) extent[i + (i >= along)] = t->extent[t->c.outer[i]];
    extent[across] = block_count(t, t->c.cross, t->s.rows_per_task);
    extent[along] = block_count(t, t->c.last, t->s.chunk);
    for (int i = 0; i < n + 2; i++) count = tn_l_mul(k, count, extent[i]);
    k->tasks = count;
    tn_maker_split(k, tn_l_task(k), extent, n + 2, index);
    for (int i = 0; i < n; i++) t->at[t->c.outer[i]] = index[i + (i >= along)];
    t->dtype = moved_as(tn_maker_dtype(&t->m, t->c.value));
    t->reg = tn_l_register(k, t->dtype, t->s.lanes * t->s.lanes, "tile");
    tn_lx x_lo, x_hi, y_lo, y_hi;
    block_bounds(t, t->c.cross, t->s.rows_per_task, index[across], &x_lo, &x_hi);
    block_bounds(t, t->c.last, t->s.chunk, index[along], &y_lo, &y_hi);
    run_tiles(t, x_lo, x_hi, y_lo, y_hi);
}

/* ---- does it apply? ------------------------------------------------------------------------- */

static bool steps_by(turn *t, tn_lx offset, tn_lx var, int64_t *step) {
    tn_lx coefficient, rest;
    *step = -1; /* unknown at this time */
    if (!tn_l_affine(t->m.k, offset, tn_l_expr(t->m.k, var)->index, &coefficient, &rest))
        return false;
    (void)tn_l_is_const_int(t->m.k, coefficient, step);
    return true;
}

/* The axis along which the load steps by one. */
static int unit_axis(turn *t, const tn_lx *var, tn_lx offset, const bool *merged) {
    const tn_shape *s = &t->m.group->space.shape;
    int64_t step;
    for (int i = s->rank - 1; i >= 0; i--)
        if (!merged[i] && s->dim[i] != 1 && steps_by(t, offset, var[i], &step) && step == 1)
            return i;
    return -1;
}

static void find_outer(turn *t, const tn_lx *var, crosswise *out) {
    const tn_shape *s = &t->m.group->space.shape;
    int axis[TN_MAX_RANK], count = 0;
    for (int i = 0; i < s->rank; i++)
        if (!out->merged[i] && s->dim[i] != 1 && i != out->cross) axis[count++] = i;
    for (uint32_t i = 0; i < t->loads.len; i++)
        if (t->loads.data[i].value == out->value)
            tn_row_order(t->m.k, t->loads.data[i].offset, var, axis, count);
    for (int i = 0; i < count; i++) {
        if (axis[i] == out->last)
            out->farther = out->outers;
        else
            out->outer[out->outers++] = axis[i];
    }
}

/* probe->values holds what is stored, and conditions. */
static void find_moves(turn *t, crosswise *out) {
    tn_lx loaded = TN_LX_NONE;
    for (uint32_t i = 0; i < t->loads.len; i++)
        if (t->loads.data[i].value == out->value) loaded = t->loads.data[i].loaded;
    out->only_moved = true;
    for (uint32_t i = 0; i < t->probe->values.len; i++)
        out->only_moved &= t->probe->values.data[i] == loaded;
}

static bool find_crosswise(turn *t, const tn_lx *var, crosswise *out) {
    const tn_shape *s = &t->m.group->space.shape;
    int found = 0;
    out->last = s->rank - 1;
    while (out->last >= 0 && s->dim[out->last] == 1) out->last--;
    if (out->last < 0) return false;
    for (uint32_t i = 0; i < t->loads.len; i++) {
        int64_t step;
        const seen_load *l = &t->loads.data[i];
        if (!steps_by(t, l->offset, var[out->last], &step)) return false;
        if (step == 0 || step == 1) continue;
        out->value = l->value;
        out->step = step;
        out->cross = unit_axis(t, var, l->offset, out->merged);
        if (found++ || out->cross < 0) return false;
        tn_lx stored = t->probe->offsets.data[t->probe->offsets.len - 1];
        out->wide_source = steps_by(t, stored, var[out->cross], &step) && out->step > step;
    }
    for (uint32_t i = 0, times = 0; i < t->loads.len && found; i++) {
        times += t->loads.data[i].value == out->value;
        if (times > 1) return false;
    }
    if (found != 1) return false;
    find_moves(t, out);
    find_outer(t, var, out);
    return true;
}

/* The group's work on a throw-away kernel with a variable per axis (merged ones aside). */
static void emit_probe(turn *t, const bool *merged, tn_merge_probe *probe) {
    tn_arena *arena = t->m.context->arena;
    *probe = (tn_merge_probe){.k = t->m.k, .arena = arena};
    t->probe = probe;
    for (int i = 0; i < t->m.group->space.shape.rank; i++)
        if (!merged[i])
            t->at[i] = tn_l_for(t->m.k, TN_LOOP_SERIAL, tn_l_int(t->m.k, 0), t->extent[i], "p");
    for (uint32_t i = 0; i < t->m.group->stores.len; i++) {
        tn_lx index[TN_MAX_RANK];
        stored_index(t, t->m.group->stores.data[i], index);
        tn_vec_push(arena, &probe->values, stored_value(t, t->m.group->stores.data[i], index));
        tn_vec_push(arena, &probe->offsets,
                    tn_maker_offset(&t->m, t->m.group->stores.data[i], index));
    }
}

static bool analyse(const tn_lower_context *c, uint32_t group, crosswise *out) {
    turn t;
    tn_merge_probe probe;
    bool allowed[TN_MAX_RANK], none[TN_MAX_RANK] = {false};
    memset(out, 0, sizeof *out);
    turn_init(&t, c, group, NULL);
    int rank = t.m.group->space.shape.rank;
    if (t.m.group->anchor != TN_NO_NODE || t.m.group->space.has_fold || rank < 2) return false;
    for (int i = 0; i < rank; i++) allowed[i] = i + 1 < rank;
    emit_probe(&t, none, &probe);
    tn_merge_find(&probe, t.at, t.extent, rank, allowed, out->merged);
    turn_init(&t, c, group, out->merged);
    emit_probe(&t, out->merged, &probe);
    if (!tn_merge_holds(&probe, t.at, rank, out->merged)) {
        memset(out->merged, 0, sizeof out->merged);
        turn_init(&t, c, group, NULL);
        emit_probe(&t, none, &probe);
    }
    if (!find_crosswise(&t, t.at, out)) return false;
    tn_dtype dtype = tn_maker_dtype(&t.m, out->value);
    return dtype != TN_bool && tn_dtype_bits(dtype) >= 8;
}

bool tn_lower_transpose(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    crosswise found;
    const tn_group *g = &c->grouping->groups.data[group];
    if (!analyse(c, group, &found)) return false;
    tn_turn_facts facts = {.merged = found.merged,
                           .cross = found.cross,
                           .last = found.last,
                           .step = found.step,
                           .vector_bytes = (uint32_t)c->target->vector_bytes,
                           .wide_source = found.wide_source,
                           .long_rows = found.farther < found.outers};
    tn_dtype dtype = tn_graph_type(c->grouping->graph, found.value)->dtype;
    facts.element_bytes = (uint32_t)tn_dtype_size(dtype);
    if (!found.only_moved) facts.element_bytes = TN_MAX(facts.element_bytes, 4);
    for (uint32_t i = 0; i < g->stores.len; i++)
        facts.streams |=
            tn_schedule_streams(c->grouping, g->stores.data[i], c->target->stream_bytes);
    tn_schedule s = tn_schedule_choose_transpose(c->grouping, g, &facts);
    if (s.shape != TN_SHAPE_TRANSPOSE) return false;
    s = tn_lower_record(c, group, s);
    turn t;
    turn_init(&t, c, group, found.merged);
    t.c = found;
    t.s = s;
    emit_kernel(&t);
    out->kernel = t.m.k;
    out->schedule = s;
    return true;
}
