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

#include "codegen/row_order.h"
#include "codegen/transpose.h"

/* ---- values --------------------------------------------------------------------------------- */

/* Narrow floats move as bits. */
static tn_dtype moved_as(tn_dtype dtype) {
    if (!tn_dtype_is_float(dtype) || tn_dtype_size(dtype) >= 4) return dtype;
    return tn_dtype_size(dtype) == 2 ? TN_u16 : TN_u8;
}

static tn_lx read_operand(tn__turn *t, tn_value v, const tn_lx *index) {
    tn_loop *k = t->m.k;
    tn_dtype dtype = tn_maker_dtype(&t->m, v);
    if (t->element != TN_LX_NONE) return tn_l_bitcast(k, t->element, dtype);
    t->offset = tn_maker_offset(&t->m, v, index);
    t->captured = tn_l_bitcast(k, tn_maker_load(&t->m, v, index), t->dtype);
    return tn_l_number(k, dtype, 0);
}

static tn_lx turn_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tn__turn *t = a->context;
    const tn_node_info *n = tn_graph_producer(t->m.graph, v);
    if (t->m.grouping->group_of[tn_graph_value(t->m.graph, v)->node] == t->m.group_id)
        return tn_op_rules_of(n->op)->lower.expression(&a->emit, n, 0, index);
    if (t->probe) {
        tn_lx offset = tn_maker_offset(&t->m, v, index), loaded = tn_maker_load(&t->m, v, index);
        tn_vec_push(a->arena, &t->loads, ((tn__seen_load){v, offset, loaded}));
        tn_vec_push(a->arena, &t->probe->offsets, offset);
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &t->probe->values, a->emit.guard);
    } else if (v == t->c.value) {
        return read_operand(t, v, index);
    }
    return tn_maker_load(&t->m, v, index);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void turn_init(tn__turn *t, const tn_lower_context *c, uint32_t group, const bool *merged) {
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
static tn_lx block_count(tn__turn *t, int axis, int64_t size) {
    tn_lx last = tn_l_add(t->m.k, t->extent[axis], tn_l_int(t->m.k, size - 1));
    return tn_l_div(t->m.k, last, tn_l_int(t->m.k, size));
}

static void block_bounds(tn__turn *t, int axis, int64_t size, tn_lx at, tn_lx *lo, tn_lx *hi) {
    *lo = tn_l_mul(t->m.k, at, tn_l_int(t->m.k, size));
    *hi = tn_l_min(t->m.k, t->extent[axis], tn_l_add(t->m.k, *lo, tn_l_int(t->m.k, size)));
}

static int by_number(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

/* Tasks over points of the other axes and blocks of tiles. Only results that are stored past the caches
 * may be written in any order: then tasks, too, follow each other along the operand's rows. */
static void emit_kernel(tn__turn *t) {
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
    tn__turn_part part;
    block_bounds(t, t->c.cross, t->s.rows_per_task, index[across], &part.x_lo, &part.x_hi);
    block_bounds(t, t->c.last, t->s.chunk, index[along], &part.y_lo, &part.y_hi);
    if (t->s.whole_lines)
        tn__turn_lines(t, &part);
    else
        tn__turn_tiles(t, &part);
}

/* ---- does it apply? ------------------------------------------------------------------------- */

static bool steps_by(tn__turn *t, tn_lx offset, tn_lx var, int64_t *step) {
    tn_lx coefficient, rest;
    *step = -1; /* unknown at this time */
    if (!tn_l_affine(t->m.k, offset, tn_l_expr(t->m.k, var)->index, &coefficient, &rest))
        return false;
    (void)tn_l_is_const_int(t->m.k, coefficient, step);
    return true;
}

/* The axis along which the load steps by one. */
static int unit_axis(tn__turn *t, const tn_lx *var, tn_lx offset, const bool *merged) {
    const tn_shape *s = &t->m.group->space.shape;
    int64_t step;
    for (int i = s->rank - 1; i >= 0; i--)
        if (!merged[i] && s->dim[i] != 1 && steps_by(t, offset, var[i], &step) && step == 1)
            return i;
    return -1;
}

static void find_outer(tn__turn *t, const tn_lx *var, tn__crosswise *out) {
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
static void find_moves(tn__turn *t, tn__crosswise *out) {
    tn_lx loaded = TN_LX_NONE;
    for (uint32_t i = 0; i < t->loads.len; i++)
        if (t->loads.data[i].value == out->value) loaded = t->loads.data[i].loaded;
    out->only_moved = true;
    for (uint32_t i = 0; i < t->probe->values.len; i++)
        out->only_moved &= t->probe->values.data[i] == loaded;
}

static bool find_crosswise(tn__turn *t, const tn_lx *var, tn__crosswise *out) {
    const tn_shape *s = &t->m.group->space.shape;
    int found = 0;
    out->last = s->rank - 1;
    while (out->last >= 0 && s->dim[out->last] == 1) out->last--;
    if (out->last < 0) return false;
    for (uint32_t i = 0; i < t->loads.len; i++) {
        int64_t step;
        const tn__seen_load *l = &t->loads.data[i];
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
static void emit_probe(tn__turn *t, const bool *merged, tn_merge_probe *probe) {
    tn_arena *arena = t->m.context->arena;
    *probe = (tn_merge_probe){.k = t->m.k, .arena = arena};
    t->probe = probe;
    for (int i = 0; i < t->m.group->space.shape.rank; i++)
        if (!merged[i])
            t->at[i] = tn_l_for(t->m.k, TN_LOOP_SERIAL, tn_l_int(t->m.k, 0), t->extent[i], "p");
    for (uint32_t i = 0; i < t->m.group->stores.len; i++) {
        tn_lx index[TN_MAX_RANK];
        tn__turn_stored_index(t, t->m.group->stores.data[i], index);
        tn_vec_push(arena, &probe->values,
                    tn__turn_stored_value(t, t->m.group->stores.data[i], index));
        tn_vec_push(arena, &probe->offsets,
                    tn_maker_offset(&t->m, t->m.group->stores.data[i], index));
    }
}

static bool analyse(const tn_lower_context *c, uint32_t group, tn__crosswise *out) {
    tn__turn t;
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
    tn__crosswise found;
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
    tn__turn t;
    turn_init(&t, c, group, found.merged);
    t.c = found;
    t.s = s;
    emit_kernel(&t);
    out->kernel = t.m.k;
    out->schedule = s;
    return true;
}
