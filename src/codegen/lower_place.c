/* concat and pad as copies: a row of the result is a line of segments, each a copy of an operand
 * or a run of the fill value, so no element is tested for where it comes from.
 *
 * The segments lie along one axis: concat's, or the last one that is padded; behind it the result
 * is whole. A row is one point of the axes before it. A row in the padding of an outer axis is fill
 * throughout. Segments are written in order, so the result is written as one stream. An operand's
 * inlined producers are evaluated in its own index space; axes that all its addresses treat as one
 * are merged (merge.h), which makes most segments a single run. Few and long rows are shared by
 * several tasks, each taking its part of every segment. */
#include "codegen/lower.h"
#include "codegen/merge.h"
#include "loop/strips.h"

typedef struct place {
    tn_kernel_maker m; /* first */
    const tn_graph *graph;
    const tn_node_info *node;
    tn_loop *k;
    tn_schedule s;
    const tn_shape *shape;         /* of the result */
    int axis;                      /* where the segments lie */
    uint32_t operands;             /* that are copied */
    tn_lx row[TN_MAX_RANK], piece; /* index of the row in the result; the part of each segment */
    bool (*merged)[TN_MAX_RANK];   /* per operand: axis i runs inside i + 1 */
    bool merged_rows[TN_MAX_RANK];
    tn_merge_probe *probe;
} place;

/* ---- what is copied where ------------------------------------------------------------------- */

static const tn_attrs_pad *pad_of(const place *p) {
    return p->node->op == TN_OP_pad ? p->node->attrs : NULL;
}

static const tn_shape *operand_shape(const place *p, uint32_t which) {
    return &tn_node_type(p->graph, p->node, which)->shape;
}

static tn_lx place_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    place *p = a->context;
    if (p->probe) {
        tn_vec_push(a->arena, &p->probe->offsets, tn_maker_offset(&p->m, v, index));
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &p->probe->values, a->emit.guard);
    }
    return tn_maker_load(&p->m, v, index);
}

static tn_lx operand_at(place *p, uint32_t which, const tn_lx *index) {
    tn_emit *e = &p->m.access.emit;
    return e->operand(e, p->node, which, index);
}

/* Where the operand's axis `i` begins in the result; `start` along the axis of the segments. */
static tn_lx shift_of(place *p, int i, tn_lx start) {
    if (i == p->axis) return start;
    return pad_of(p) ? tn_l_dim(p->k, pad_of(p)->lo.at[i]) : tn_l_int(p->k, 0);
}

static bool is_padded(const place *p, int i) {
    return pad_of(p) && (pad_of(p)->lo.at[i] != 0 || pad_of(p)->hi.at[i] != 0);
}

/* Leaves `axis` at -1 for a pad that crops or spreads, or may. */
static void find_axis(place *p) {
    const tn_attrs_pad *pad = pad_of(p);
    const tn_dims *dims = p->graph->dims;
    p->operands = pad ? 1 : p->node->in_count;
    if (!pad) {
        const tn_attrs_concat *a = p->node->attrs;
        p->axis = (int)a->axis;
        return;
    }
    for (int i = 0; i < pad->lo.count; i++) {
        if (pad->interior.at[i] || tn_dim_lo(dims, pad->lo.at[i]) < 0 ||
            tn_dim_lo(dims, pad->hi.at[i]) < 0) {
            p->axis = -1;
            return;
        }
        if (is_padded(p, i)) p->axis = i;
    }
}

/* ---- segments ------------------------------------------------------------------------------- */

/* The part of [0, extent) that belongs to this task. */
static void part_of(place *p, tn_lx extent, tn_lx *lo, tn_lx *hi) {
    tn_loop *k = p->k;
    *lo = tn_l_int(k, 0);
    *hi = extent;
    if (p->s.pieces == 1) return;
    int64_t unit = (int64_t)p->s.lanes * p->s.pieces;
    tn_lx size = tn_l_div(k, tn_l_add(k, extent, tn_l_int(k, unit - 1)), tn_l_int(k, unit));
    size = tn_l_mul(k, size, tn_l_int(k, p->s.lanes));
    *lo = tn_l_min(k, tn_l_mul(k, p->piece, size), extent);
    *hi = tn_l_min(k, tn_l_add(k, *lo, size), extent);
}

typedef struct strip_work {
    place *p;
    void (*at)(struct strip_work *w, tn_lx x); /* what happens at one point */
    uint32_t which;
    tn_lx start, base, fill;
    tn_lx index[TN_MAX_RANK];
    int vector_axis;
} strip_work;

static void strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    strip_work *w = context;
    tn_loop *k = w->p->k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    uint32_t mark = tn_access_mark(&w->p->m.access);
    w->at(w, x);
    tn_access_release(&w->p->m.access, mark);
    tn_strip_close(k, limit);
}

static void strips(strip_work *w, tn_lx lo, tn_lx hi) {
    tn_strips(w->p->k, w->p->s.lanes, w->p->s.unroll, lo, hi, strip, w);
}

static void store_copy(strip_work *w, tn_lx x) {
    place *p = w->p;
    tn_lx to[TN_MAX_RANK];
    if (w->vector_axis >= 0) w->index[w->vector_axis] = x;
    for (int i = 0; i < p->shape->rank; i++)
        to[i] = tn_l_add(p->k, w->index[i], shift_of(p, i, w->start));
    tn_maker_store(&p->m, p->node->out, to, operand_at(p, w->which, w->index));
}

/* The loops over an operand's axes from the segments' on: the outermost is divided among the tasks
 * of a row, the innermost runs in vectors. */
static void copy_segment(place *p, uint32_t which, tn_lx start) {
    tn_loop *k = p->k;
    const tn_shape *shape = operand_shape(p, which);
    strip_work w = {.p = p, .at = store_copy, .which = which, .start = start, .vector_axis = -1};
    tn_lx extent[TN_MAX_RANK], run = tn_l_int(k, 1), lo, hi;
    int axis[TN_MAX_RANK], n = 0;
    for (int i = 0; i < p->axis; i++) w.index[i] = tn_l_sub(k, p->row[i], shift_of(p, i, start));
    for (int i = p->axis; i < shape->rank; i++) {
        run = tn_l_mul(k, run, tn_l_dim(k, shape->dim[i]));
        w.index[i] = tn_l_int(k, 0);
        if (p->merged[which][i]) continue;
        extent[n] = run;
        run = tn_l_int(k, 1);
        int64_t one;
        if (!tn_l_is_const_int(k, extent[n], &one) || one != 1) axis[n++] = i;
    }
    if (n == 0) {
        axis[0] = shape->rank - 1;
        extent[n++] = tn_l_int(k, 1);
    }
    part_of(p, extent[0], &lo, &hi);
    for (int i = 0; i + 1 < n; i++) {
        w.index[axis[i]] = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "i");
        lo = tn_l_int(k, 0);
        hi = extent[i + 1];
    }
    w.vector_axis = axis[n - 1];
    strips(&w, lo, hi);
    for (int i = 0; i + 1 < n; i++) tn_l_end(k);
}

static void store_fill(strip_work *w, tn_lx x) {
    uint32_t buffer = tn_maker_buffer(&w->p->m, w->p->node->out, TN_LBUF_OUTPUT);
    tn_l_store(w->p->k, buffer, tn_l_add(w->p->k, w->base, x), w->fill);
}

/* `count` (along the segments' axis) times all that lies behind it. */
static void fill_segment(place *p, tn_lx start, tn_dim count, tn_lx fill) {
    tn_loop *k = p->k;
    strip_work w = {.p = p, .at = store_fill, .fill = fill};
    tn_lx index[TN_MAX_RANK], size = tn_l_dim(k, count), lo, hi;
    if (count == 0) return;
    memcpy(index, p->row, sizeof index);
    index[p->axis] = start;
    for (int i = p->axis + 1; i < p->shape->rank; i++) {
        index[i] = tn_l_int(k, 0);
        size = tn_l_mul(k, size, tn_l_dim(k, p->shape->dim[i]));
    }
    w.base = tn_maker_offset(&p->m, p->node->out, index);
    part_of(p, size, &lo, &hi);
    strips(&w, lo, hi);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void concat_row(place *p) {
    tn_lx start = tn_l_int(p->k, 0);
    for (uint32_t i = 0; i < p->operands; i++) {
        tn_dim size = operand_shape(p, i)->dim[p->axis];
        if (size != 0) copy_segment(p, i, start);
        start = tn_l_add(p->k, start, tn_l_dim(p->k, size));
    }
}

static void pad_row(place *p) {
    const tn_attrs_pad *a = pad_of(p);
    tn_loop *k = p->k;
    const tn_shape *from = operand_shape(p, 0);
    tn_lx inside = TN_LX_NONE, fill = operand_at(p, 1, NULL), zero = tn_l_int(k, 0);
    tn_lx lo = tn_l_dim(k, a->lo.at[p->axis]);
    for (int i = 0; i < p->axis; i++) {
        if (!is_padded(p, i)) continue;
        tn_lx at = tn_l_sub(k, p->row[i], tn_l_dim(k, a->lo.at[i]));
        inside = tn_l_and(k, inside, tn_l_le(k, zero, at));
        inside = tn_l_and(k, inside, tn_l_lt(k, at, tn_l_dim(k, from->dim[i])));
    }
    if (inside != TN_LX_NONE) tn_l_if(k, inside);
    fill_segment(p, zero, a->lo.at[p->axis], fill);
    copy_segment(p, 0, lo);
    fill_segment(p, tn_l_add(k, lo, tn_l_dim(k, from->dim[p->axis])), a->hi.at[p->axis], fill);
    if (inside == TN_LX_NONE) return;
    tn_l_else(k);
    fill_segment(p, zero, p->shape->dim[p->axis], fill);
    tn_l_end(k);
}

/* ---- merging axes --------------------------------------------------------------------------- */

/* Row axes of a pad run together only where neither is padded: a row is inside or not. */
static bool may_merge(const place *p, int i) {
    if (i + 1 >= p->shape->rank || i + 1 == p->axis) return false;
    return i >= p->axis || (!is_padded(p, i) && !is_padded(p, i + 1));
}

/* One element of an operand on a throw-away kernel, with a variable per axis (merged ones aside). */
static void emit_probe(place *p, uint32_t which, const bool *merged, tn_merge_probe *probe,
                       tn_lx *var, tn_lx *extent) {
    tn_loop *k = p->k;
    const tn_shape *shape = operand_shape(p, which);
    tn_lx to[TN_MAX_RANK];
    *probe = (tn_merge_probe){.k = k, .arena = p->m.context->arena};
    p->probe = probe;
    for (int i = 0; i < shape->rank; i++) {
        extent[i] = tn_l_dim(k, shape->dim[i]);
        if (i > 0 && merged[i - 1]) extent[i] = tn_l_mul(k, extent[i - 1], extent[i]);
        var[i] = tn_l_int(k, 0);
        if (!merged[i]) var[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent[i], "p");
        to[i] = tn_l_add(k, var[i], shift_of(p, i, tn_l_int(k, 0)));
    }
    tn_vec_push(probe->arena, &probe->values, operand_at(p, which, var));
    tn_vec_push(probe->arena, &probe->offsets, tn_maker_offset(&p->m, p->node->out, to));
}

static void place_init(place *p, const tn_lower_context *c, uint32_t group);

static void find_merges(const tn_lower_context *c, uint32_t group, uint32_t which, bool *merged) {
    place p;
    tn_merge_probe probe;
    tn_lx var[TN_MAX_RANK], extent[TN_MAX_RANK];
    bool allowed[TN_MAX_RANK];
    memset(merged, 0, TN_MAX_RANK * sizeof *merged);
    place_init(&p, c, group);
    emit_probe(&p, which, merged, &probe, var, extent);
    int rank = operand_shape(&p, which)->rank;
    for (int i = 0; i < rank; i++) allowed[i] = may_merge(&p, i);
    tn_merge_find(&probe, var, extent, rank, allowed, merged);
    place_init(&p, c, group);
    emit_probe(&p, which, merged, &probe, var, extent);
    if (!tn_merge_holds(&probe, var, rank, merged)) memset(merged, 0, TN_MAX_RANK * sizeof *merged);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static void place_init(place *p, const tn_lower_context *c, uint32_t group) {
    memset(p, 0, sizeof *p);
    tn_maker_init(&p->m, c, group, "place");
    p->m.access.leaf = place_leaf;
    p->m.access.context = p;
    p->graph = c->grouping->graph;
    p->node = tn_graph_node(p->graph, p->m.group->members.data[0].node);
    p->shape = &tn_graph_type(p->graph, p->node->out)->shape;
    p->k = p->m.k;
    p->axis = -1;
    find_axis(p);
}

static void emit_kernel(place *p) {
    tn_loop *k = p->k;
    tn_lx extent[TN_MAX_RANK], index[TN_MAX_RANK], run = tn_l_int(k, 1), count = run;
    int axis[TN_MAX_RANK], n = 0;
    for (int i = 0; i < p->axis; i++) {
        run = tn_l_mul(k, run, tn_l_dim(k, p->shape->dim[i]));
        p->row[i] = tn_l_int(k, 0);
        if (p->merged_rows[i] || p->shape->dim[i] == 1) continue;
        axis[n] = i;
        extent[n++] = run;
        count = tn_l_mul(k, count, run);
        run = tn_l_int(k, 1);
    }
    tn_lx per = tn_l_int(k, p->s.rows_per_task), pieces = tn_l_int(k, p->s.pieces);
    tn_lx blocks = tn_l_div(k, tn_l_add(k, count, tn_l_int(k, p->s.rows_per_task - 1)), per);
    k->tasks = tn_l_mul(k, blocks, pieces);
    tn_lx task = tn_l_task(k), lo = tn_l_mul(k, tn_l_div(k, task, pieces), per);
    p->piece = tn_l_mod(k, task, pieces);
    tn_lx hi = tn_l_min(k, count, tn_l_add(k, lo, per));
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row");
    tn_maker_split(k, row, extent, n, index);
    for (int i = 0; i < n; i++) p->row[axis[i]] = index[i];
    uint32_t mark = tn_access_mark(&p->m.access);
    if (pad_of(p))
        pad_row(p);
    else
        concat_row(p);
    tn_access_release(&p->m.access, mark);
    tn_l_end(k);
}

/* A group of one concat or pad that is stored. */
static bool is_place(const tn_grouping *grouping, const tn_group *g) {
    if (g->members.len != 1 || g->stores.len != 1 || g->anchor != TN_NO_NODE) return false;
    const tn_node_info *n = tn_graph_node(grouping->graph, g->members.data[0].node);
    return (n->op == TN_OP_concat || n->op == TN_OP_pad) && g->stores.data[0] == n->out;
}

bool tn_lower_place(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    const tn_group *g = &c->grouping->groups.data[group];
    if (!is_place(c->grouping, g)) return false;
    place p;
    place_init(&p, c, group);
    if (p.axis < 0) return false;
    p.s = tn_schedule_choose_place(c->grouping, g, (uint32_t)c->target->vector_bytes, p.axis);
    if (p.s.shape != TN_SHAPE_PLACE) return false;
    p.s = tn_lower_record(c, group, p.s);
    p.merged = tn_arena_alloc(c->arena, p.operands * sizeof *p.merged);
    memset(p.merged_rows, true, sizeof p.merged_rows);
    for (uint32_t i = 0; i < p.operands; i++) {
        find_merges(c, group, i, p.merged[i]);
        for (int j = 0; j < p.axis; j++) p.merged_rows[j] &= p.merged[i][j];
    }
    emit_kernel(&p);
    out->kernel = p.k;
    out->schedule = p.s;
    return true;
}
