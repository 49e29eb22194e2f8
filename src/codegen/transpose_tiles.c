/* Tiles of a transpose: read, turned in a register, stored. See transpose.h. */
#include "codegen/transpose.h"

void tn__turn_stored_index(const tn__turn *t, tn_value v, tn_lx *index) {
    tn_node node = tn_graph_value(t->m.graph, v)->node;
    const tn_member *m = t->m.group->members.data;
    while (m->node != node) m++;
    for (int i = 0; i < tn_graph_type(t->m.graph, v)->shape.rank; i++)
        index[i] = m->axis[i] >= 0 ? t->at[m->axis[i]] : tn_l_int(t->m.k, 0);
}

/* The value of a stored member at the current point, by its rule even where it is inlined. */
tn_lx tn__turn_stored_value(tn__turn *t, tn_value v, const tn_lx *index) {
    const tn_node_info *n = tn_graph_producer(t->m.graph, v);
    if (t->m.grouping->inlined[tn_graph_value(t->m.graph, v)->node])
        return tn_op_rules_of(n->op)->lower.expression(&t->m.access.emit, n, 0, index);
    return tn_access_value(&t->m.access, v, index);
}

void tn__turn_store(tn__turn *t) {
    uint32_t mark = tn_access_mark(&t->m.access);
    for (uint32_t s = 0; s < t->m.group->stores.len; s++) {
        tn_lx index[TN_MAX_RANK];
        tn__turn_stored_index(t, t->m.group->stores.data[s], index);
        tn_maker_store(&t->m, t->m.group->stores.data[s], index,
                       tn__turn_stored_value(t, t->m.group->stores.data[s], index));
    }
    tn_access_release(&t->m.access, mark);
}

/* ---- tiles ---------------------------------------------------------------------------------- */

/* The operand alone at the current point; what else the expression reads only matters where the
 * operand's place depends on it. */
static tn_lx capture(tn__turn *t) {
    t->element = t->captured = TN_LX_NONE;
    uint32_t mark = tn_access_mark(&t->m.access);
    for (uint32_t s = 0; s < t->m.group->stores.len && t->captured == TN_LX_NONE; s++) {
        tn_lx index[TN_MAX_RANK];
        tn__turn_stored_index(t, t->m.group->stores.data[s], index);
        tn__turn_stored_value(t, t->m.group->stores.data[s], index);
    }
    tn_access_release(&t->m.access, mark);
    TN_ASSERT(t->captured != TN_LX_NONE);
    return t->captured;
}

/* Where a tile's rows are whole cache lines, another line of tiles follows along `last`, and a cache of the
 * second level has place for what is asked for: rows far apart meet in few of its sets. Tiles of many
 * rows keep the processor's misses busy by themselves. */
static bool prefetches(tn__turn *t) {
    enum { LINE_BYTES = 64, KEPT_BYTES = 1 << 20, MOST_ROWS = 32 };
    int64_t extent, size = (int64_t)tn_dtype_size(t->dtype), n = t->s.lanes, tile;
    bool single =
        tn_l_is_const_int(t->m.k, t->extent[t->c.last], &extent) && extent <= n * t->s.unroll;
    bool fits =
        t->c.step > 0 && !__builtin_mul_overflow(t->c.step, n * size, &tile) && tile <= KEPT_BYTES;
    return t->s.stream && !single && fits && n <= MOST_ROWS && n * size >= LINE_BYTES;
}

/* The operand's line that starts at the current point, for the tile that follows along `last`. */
static void prefetch_row(tn__turn *t, tn_lx cross, tn_lx last) {
    tn_loop *k = t->m.k;
    t->at[t->c.cross] = cross;
    t->at[t->c.last] = tn_l_add(k, last, tn_l_int(k, (int64_t)t->s.lanes * t->s.unroll));
    capture(t);
    tn_l_prefetch(k, tn_maker_buffer(&t->m, t->c.value, TN_LBUF_INPUT), t->offset);
}

void tn__turn_load_tile(tn__turn *t, tn_lx x, tn_lx y, bool whole) {
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

static void store_tile(tn__turn *t, tn_lx x, tn_lx y, bool whole) {
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
    tn__turn_store(t);
    if (!whole) tn_l_end(k);
    tn_l_end(k);
    if (!whole) tn_l_end(k);
    tn_l_end(k);
}

static void run_tile(tn__turn *t, tn_lx x, tn_lx y, bool whole) {
    tn__turn_load_tile(t, x, y, whole);
    tn_l_transpose(t->m.k, t->reg);
    store_tile(t, x, y, whole);
}

/* The tiles of one line of the result's rows, which is whole or may be cut off at an edge. */
static void run_line(tn__turn *t, tn_lx x, tn_lx y, bool whole) {
    tn_loop *k = t->m.k;
    tn_lx part = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, t->s.unroll), "part");
    run_tile(t, x, tn_l_add(k, y, tn_l_mul(k, part, tn_l_int(k, t->s.lanes))), whole);
    tn_l_end(k);
}

static bool divides(tn__turn *t, int axis, int64_t size) {
    int64_t extent;
    return tn_l_is_const_int(t->m.k, t->extent[axis], &extent) && extent % size == 0;
}

void tn__turn_tiles(tn__turn *t, const tn__turn_part *part) {
    tn_loop *k = t->m.k;
    int64_t side = t->s.lanes, wide = side * t->s.unroll;
    tn_lx zero = tn_l_int(k, 0), n = tn_l_int(k, side), line = tn_l_int(k, wide);
    tn_lx across = tn_l_add(k, tn_l_sub(k, part->x_hi, part->x_lo), tn_l_int(k, side - 1));
    tn_lx along = tn_l_add(k, tn_l_sub(k, part->y_hi, part->y_lo), tn_l_int(k, wide - 1));
    across = tn_l_div(k, across, n);
    along = tn_l_div(k, along, line);
    tn_lx outer = tn_l_for(k, TN_LOOP_SERIAL, zero, t->s.follow_source ? along : across, "tile");
    tn_lx inner = tn_l_for(k, TN_LOOP_SERIAL, zero, t->s.follow_source ? across : along, "tile");
    tn_lx x = t->s.follow_source ? inner : outer, y = t->s.follow_source ? outer : inner;
    x = tn_l_add(k, part->x_lo, tn_l_mul(k, x, n));
    y = tn_l_add(k, part->y_lo, tn_l_mul(k, y, line));
    bool exact = divides(t, t->c.cross, side) && divides(t, t->c.last, wide);
    if (!exact) {
        tn_lx fits = tn_l_le(k, tn_l_add(k, x, n), part->x_hi);
        tn_l_if(k, tn_l_and(k, fits, tn_l_le(k, tn_l_add(k, y, line), part->y_hi)));
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
