/* Pointwise work and folds over one space: copies, pointwise chains, reductions, softmax, norms,
 * pooling, depthwise convolution.
 *
 * A task takes a block of rows. Vectors run along the last axis that is not 1. If that axis is
 * folded (softmax over the last axis), a row is one point of the row axes and fold results are
 * scalars; if it is a row axis (a sum over columns, pooling with channels last), a row is a strip
 * of vectors and fold results are vectors. Folds run level by level: those that wait for nothing
 * first, then those that need their results. Element values that several levels need and that are
 * costly, or are stored anyway, are kept in scratch (or in the result itself) and read back. */
#include "codegen/lower.h"
#include "codegen/merge.h"

enum { MAX_LEVELS = 16, KEEP_COST = 6, MOST_TAPS = 32 };

typedef struct fold_state {
    const tn_node_info *node;
    const tn_fold_rules *rules;
    tn_fold fold;
    uint32_t level;
    uint32_t reg[TN_FOLD_REGISTERS];
    bool anchored; /* its fold space is its own, not axes of the group's space */
    const tn_member *member;
} fold_state;

typedef struct kept {
    tn_value value;
    uint32_t first; /* the level that computes it */
    bool stored;    /* kept in the result's own memory */
    uint32_t scratch;
} kept;

typedef struct rows {
    tn_kernel_maker m; /* first */
    tn_schedule s;
    tn_lx at[TN_MAX_RANK];     /* the current point of the space */
    tn_lx extent[TN_MAX_RANK]; /* after merging axes */
    bool merged[TN_MAX_RANK];  /* this axis runs inside the next one; its index stays 0 */
    int vector_axis;           /* -1: every axis is 1 */
    TN_VEC(fold_state) folds;
    TN_VEC(kept) keeps;
    uint32_t levels; /* levels with folds; stage `levels` is the last, which only stores */
    uint32_t stage;
    tn_lx lane;        /* inside a VECTOR loop */
    tn_lx strip;       /* position within the strip scratch: fold position * strip width + lane */
    tn_lx outer_strip; /* folded rows: start of the strip scratch at the outer fold point */
    tn_merge_probe *probe; /* looking for axes to merge, on a throw-away kernel; else NULL */
} rows;

static const tn_type *type_of(const rows *r, tn_value v) {
    return tn_graph_type(r->m.graph, v);
}

static void member_point(const rows *r, const int8_t *axis, int rank, tn_lx *index) {
    for (int i = 0; i < rank; i++) index[i] = axis[i] >= 0 ? r->at[axis[i]] : tn_l_int(r->m.k, 0);
}

static void value_point(const rows *r, const tn_member *m, tn_lx *index) {
    const tn_node_info *n = tn_graph_node(r->m.graph, m->node);
    member_point(r, m->axis, type_of(r, n->out)->shape.rank, index);
}

static const tn_member *member_of(const rows *r, tn_node n) {
    for (uint32_t i = 0; i < r->m.group->members.len; i++)
        if (r->m.group->members.data[i].node == n) return &r->m.group->members.data[i];
    return NULL;
}

static fold_state *fold_of(rows *r, tn_node n) {
    for (uint32_t i = 0; i < r->folds.len; i++)
        if (r->folds.data[i].member->node == n) return &r->folds.data[i];
    return NULL;
}

static kept *kept_of(rows *r, tn_value v) {
    for (uint32_t i = 0; i < r->keeps.len; i++)
        if (r->keeps.data[i].value == v) return &r->keeps.data[i];
    return NULL;
}

/* ---- values of members ---------------------------------------------------------------------- */

static tn_lx fold_lane_result(rows *r, fold_state *f, const tn_lx *index) {
    tn_lx acc[TN_FOLD_REGISTERS];
    for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(r->m.k, f->reg[i], r->lane);
    return f->rules->finish(&r->m.access.emit, f->node, index, acc);
}

static tn_lx member_value(rows *r, tn_value v, tn_node node, const tn_lx *index) {
    fold_state *f = fold_of(r, node);
    if (f && r->probe) { /* the value does not matter, what it reads is looked at elsewhere */
        uint32_t b = tn_l_buffer(r->m.k, TN_LBUF_INPUT, type_of(r, v)->dtype, "fold");
        return tn_l_load(r->m.k, b, tn_l_int(r->m.k, 0), TN_LX_NONE, TN_LX_NONE);
    }
    if (f) return fold_lane_result(r, f, index);
    kept *keep = r->probe ? NULL : kept_of(r, v);
    if (keep && r->stage > keep->first) {
        if (!keep->stored)
            return tn_l_load(r->m.k, keep->scratch, r->strip, TN_LX_NONE, TN_LX_NONE);
        uint32_t buffer = tn_maker_buffer(&r->m, v, TN_LBUF_OUTPUT);
        return tn_l_load(r->m.k, buffer, tn_maker_offset(&r->m, v, index), TN_LX_NONE, TN_LX_NONE);
    }
    const tn_node_info *n = tn_graph_node(r->m.graph, node);
    return tn_op_rules_of(n->op)->lower.expression(&r->m.access.emit, n, 0, index);
}

static tn_lx rows_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    rows *r = a->context;
    tn_node node = tn_graph_value(r->m.graph, v)->node;
    if (r->m.grouping->group_of[node] == r->m.group_id || member_of(r, node))
        return member_value(r, v, node, index);
    tn_lx value = tn_maker_load(&r->m, v, index);
    if (r->probe) {
        tn_vec_push(a->arena, &r->probe->offsets, tn_maker_offset(&r->m, v, index));
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &r->probe->values, a->emit.guard);
    }
    return value;
}

/* The value of a member at the current point, computed by its rule even if a view of it is inlined
 * elsewhere. */
static tn_lx emit_member(rows *r, const tn_member *m) {
    tn_lx index[TN_MAX_RANK];
    value_point(r, m, index);
    tn_value v = tn_graph_node(r->m.graph, m->node)->out;
    if (r->m.grouping->inlined[m->node]) return member_value(r, v, m->node, index);
    return tn_access_value(&r->m.access, v, index);
}

/* ---- folds ---------------------------------------------------------------------------------- */

/* Where the group's own window fold is evaluated: found by following the views after it. */
typedef struct capture {
    rows *r;
    tn_lx index[TN_MAX_RANK];
} capture;

static tn_lx capture_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    capture *c = a->context;
    const tn_node_info *n = tn_graph_producer(c->r->m.graph, v);
    if (v != tn_graph_node(c->r->m.graph, c->r->m.group->anchor)->out) /* a view after it */
        return tn_op_rules_of(n->op)->lower.expression(&a->emit, n, 0, index);
    int rank = type_of(c->r, v)->shape.rank;
    memcpy(c->index, index, (size_t)rank * sizeof *index);
    return tn_l_number(a->emit.k, type_of(c->r, v)->dtype, 0);
}

static void anchor_point(rows *r, tn_lx *index) {
    capture c = {.r = r};
    tn_access a;
    tn_access_init(&a, r->m.k, r->m.grouping, r->m.context->arena);
    a.leaf = capture_leaf;
    a.context = &c;
    tn_access_value(&a, r->m.group->domain_value, r->at);
    tn_value v = tn_graph_node(r->m.graph, r->m.group->anchor)->out;
    memcpy(index, c.index, (size_t)type_of(r, v)->shape.rank * sizeof *index);
}

static void fold_points(rows *r, const fold_state *f, const tn_lx *own, tn_lx *index, tn_lx *at) {
    if (f->anchored) {
        anchor_point(r, index);
        for (int i = 0; i < f->fold.axes; i++) at[i] = own[i];
        return;
    }
    const tn_attrs_reduce *a = f->node->attrs;
    value_point(r, f->member, index);
    for (int i = 0; i < a->axes.count; i++) {
        int8_t axis = f->member->operand[a->axes.at[i]];
        at[i] = axis >= 0 ? r->at[axis] : tn_l_int(r->m.k, 0);
    }
}

static void fold_step(rows *r, fold_state *f, const tn_lx *own) {
    tn_lx index[TN_MAX_RANK], at[TN_MAX_RANK], acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    fold_points(r, f, own, index, at);
    for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(r->m.k, f->reg[i], r->lane);
    f->rules->step(&r->m.access.emit, f->node, index, at, acc, next);
    for (int i = 0; i < f->fold.registers; i++) tn_l_set(r->m.k, f->reg[i], r->lane, next[i]);
}

static void folds_init(rows *r, uint32_t level, uint32_t width) {
    for (uint32_t j = 0; j < r->folds.len; j++) {
        fold_state *f = &r->folds.data[j];
        if (f->level != level) continue;
        tn_lx lane =
            tn_l_for(r->m.k, TN_LOOP_VECTOR, tn_l_int(r->m.k, 0), tn_l_int(r->m.k, width), "l");
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_set(r->m.k, f->reg[i], lane,
                     tn_l_const(r->m.k, f->fold.dtype[i], f->fold.init[i]));
        tn_l_end(r->m.k);
    }
}

/* Combines the lanes of a fold into scalars and makes the result known for the rest of the row. */
static void fold_close(rows *r, fold_state *f, uint32_t width) {
    tn_loop *k = r->m.k;
    tn_lx acc[TN_FOLD_REGISTERS];
    if (f->fold.simple) {
        acc[0] = tn_l_fold(k, f->fold.op, f->reg[0]);
    } else {
        tn_lx lane = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, width), "lane");
        tn_lx a[TN_FOLD_REGISTERS], b[TN_FOLD_REGISTERS], c[TN_FOLD_REGISTERS];
        for (int i = 0; i < f->fold.registers; i++) {
            a[i] = tn_l_get(k, f->reg[i], tn_l_int(k, 0));
            b[i] = tn_l_get(k, f->reg[i], lane);
        }
        f->rules->combine(k, r->m.graph, f->node, a, b, c);
        for (int i = 0; i < f->fold.registers; i++) tn_l_set(k, f->reg[i], tn_l_int(k, 0), c[i]);
        tn_l_end(k);
        for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(k, f->reg[i], tn_l_int(k, 0));
    }
    tn_lx index[TN_MAX_RANK];
    value_point(r, f->member, index);
    tn_access_define(&r->m.access, f->node->out, index,
                     f->rules->finish(&r->m.access.emit, f->node, index, acc));
}

/* ---- what happens at one point of the element space ----------------------------------------- */

static void keep_values(rows *r) {
    for (uint32_t i = 0; i < r->keeps.len; i++) {
        kept *keep = &r->keeps.data[i];
        if (keep->first != r->stage) continue;
        const tn_member *m = member_of(r, tn_graph_value(r->m.graph, keep->value)->node);
        tn_lx index[TN_MAX_RANK], value = emit_member(r, m);
        value_point(r, m, index);
        if (keep->stored)
            tn_maker_store(&r->m, keep->value, index, value);
        else
            tn_l_store(r->m.k, keep->scratch, r->strip, value);
        tn_access_define(&r->m.access, keep->value, index, value);
    }
}

static void element_work(rows *r, const tn_lx *own) {
    uint32_t mark = tn_access_mark(&r->m.access);
    keep_values(r);
    for (uint32_t j = 0; j < r->folds.len; j++)
        if (r->folds.data[j].level == r->stage) fold_step(r, &r->folds.data[j], own);
    if (r->stage == r->levels) {
        for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
            tn_value v = r->m.group->stores.data[i];
            const tn_member *m = member_of(r, tn_graph_value(r->m.graph, v)->node);
            if (!m || !m->element || fold_of(r, m->node) || kept_of(r, v)) continue;
            tn_lx index[TN_MAX_RANK], value = emit_member(r, m);
            value_point(r, m, index);
            tn_maker_store(&r->m, v, index, value);
        }
    }
    tn_access_release(&r->m.access, mark);
}

/* Stores of values that do not run along the folded axes. */
static void row_stores(rows *r) {
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        if (v == r->m.group->domain_value) {
            tn_maker_store(&r->m, v, r->at, tn_access_value(&r->m.access, v, r->at));
            continue;
        }
        const tn_member *m = member_of(r, tn_graph_value(r->m.graph, v)->node);
        TN_ASSERT(m != NULL);
        if (m->element && (r->m.group->space.has_fold || r->m.group->anchor == TN_NO_NODE))
            continue;
        tn_lx index[TN_MAX_RANK], value = emit_member(r, m);
        value_point(r, m, index);
        tn_maker_store(&r->m, v, index, value);
    }
}

static bool has_row_stores(const rows *r) {
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        const tn_member *m = member_of(r, tn_graph_value(r->m.graph, v)->node);
        if (v == r->m.group->domain_value || (m && !m->element)) return true;
    }
    return r->m.group->anchor != TN_NO_NODE;
}

static bool has_element_stores(rows *r) {
    if (r->m.group->anchor != TN_NO_NODE) return false;
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        const tn_member *m = member_of(r, tn_graph_value(r->m.graph, v)->node);
        if (m && m->element && !kept_of(r, v)) return true;
    }
    return false;
}

static bool stage_has_element_work(rows *r) {
    for (uint32_t j = 0; j < r->folds.len; j++)
        if (r->folds.data[j].level == r->stage) return true;
    for (uint32_t i = 0; i < r->keeps.len; i++)
        if (r->keeps.data[i].first == r->stage) return true;
    return r->stage == r->levels && has_element_stores(r);
}

/* ---- loops ---------------------------------------------------------------------------------- */

/* Runs `body` for [lo, hi) in vectors: full steps of `width` lanes, then masked single vectors. */
typedef void strip_body(rows *r, tn_lx base, uint32_t width, tn_lx limit);

static void strips(rows *r, tn_lx lo, tn_lx hi, strip_body *body) {
    tn_loop *k = r->m.k;
    uint32_t wide = r->s.lanes * r->s.unroll;
    tn_lx total = tn_l_sub(k, hi, lo), zero = tn_l_int(k, 0);
    tn_lx full = tn_l_div(k, total, tn_l_int(k, wide));
    int64_t known;
    bool fixed = tn_l_is_const_int(k, total, &known);
    if (!fixed || known >= wide) {
        tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, full, "strip");
        body(r, tn_l_add(k, lo, tn_l_mul(k, i, tn_l_int(k, wide))), wide, TN_LX_NONE);
        tn_l_end(k);
    }
    if (fixed && known % wide == 0) return;
    tn_lx start = tn_l_add(k, lo, tn_l_mul(k, full, tn_l_int(k, wide)));
    tn_lx rest = tn_l_sub(k, hi, start);
    tn_lx steps =
        tn_l_div(k, tn_l_add(k, rest, tn_l_int(k, r->s.lanes - 1)), tn_l_int(k, r->s.lanes));
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, zero, steps, "tail");
    bool exact = fixed && known % r->s.lanes == 0;
    body(r, tn_l_add(k, start, tn_l_mul(k, i, tn_l_int(k, r->s.lanes))), r->s.lanes,
         exact ? TN_LX_NONE : hi);
    tn_l_end(k);
}

/* Opens the lanes of a strip; the vector axis is at base + lane. */
static void lanes_open(rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    tn_loop *k = r->m.k;
    r->lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, width), "l");
    tn_lx x = tn_l_add(k, base, r->lane);
    if (r->vector_axis >= 0) r->at[r->vector_axis] = x;
    if (limit != TN_LX_NONE) tn_l_if(k, tn_l_lt(k, x, limit));
}

static void lanes_close(rows *r, tn_lx limit) {
    if (limit != TN_LX_NONE) tn_l_end(r->m.k);
    tn_l_end(r->m.k);
    r->lane = TN_LX_NONE;
}

/* The axes that serial fold loops run over, outermost first: all folded axes but the vector one. */
static int fold_axes(const rows *r, int *axis) {
    int n = 0;
    for (int i = 0; i < r->m.group->space.shape.rank; i++)
        if (r->m.group->space.folded[i] && i != r->vector_axis && !r->merged[i] &&
            r->m.group->space.shape.dim[i] != 1)
            axis[n++] = i;
    return n;
}

/* Position in the fold space (without the vector axis), for scratch addresses. */
static tn_lx open_fold_loops(rows *r, int *opened) {
    tn_loop *k = r->m.k;
    int axis[TN_MAX_RANK], n = fold_axes(r, axis);
    tn_lx linear = tn_l_int(k, 0);
    for (int i = 0; i < n; i++) {
        r->at[axis[i]] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), r->extent[axis[i]], "f");
        linear = tn_l_add(k, tn_l_mul(k, linear, r->extent[axis[i]]), r->at[axis[i]]);
    }
    *opened = n;
    return linear;
}

static void close_loops(rows *r, int n) {
    for (int i = 0; i < n; i++) tn_l_end(r->m.k);
}

/* ---- a row whose fold results are scalars (vectors along a folded axis) --------------------- */

static void folded_strip(rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    lanes_open(r, base, width, limit);
    r->strip = tn_l_add(r->m.k, r->outer_strip, r->at[r->vector_axis]);
    element_work(r, NULL);
    lanes_close(r, limit);
}

static void folded_row(rows *r) {
    tn_loop *k = r->m.k;
    uint32_t wide = r->s.lanes * r->s.unroll;
    for (r->stage = 0; r->stage <= r->levels; r->stage++) {
        if (!stage_has_element_work(r)) continue;
        folds_init(r, r->stage, wide);
        int opened;
        tn_lx outer = open_fold_loops(r, &opened);
        r->outer_strip = tn_l_mul(k, outer, r->extent[r->vector_axis]);
        strips(r, tn_l_int(k, 0), r->extent[r->vector_axis], folded_strip);
        close_loops(r, opened);
        for (uint32_t j = 0; j < r->folds.len; j++)
            if (r->folds.data[j].level == r->stage) fold_close(r, &r->folds.data[j], wide);
    }
    r->stage = r->levels;
    if (has_row_stores(r)) row_stores(r);
}

/* ---- a strip of rows whose fold results are vectors (vectors along a row axis) -------------- */

static void row_strip(rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    tn_loop *k = r->m.k;
    bool folds = r->folds.len > 0;
    for (r->stage = 0; r->stage <= r->levels; r->stage++) {
        if (!stage_has_element_work(r)) continue;
        if (folds) folds_init(r, r->stage, width);
        int opened = 0;
        tn_lx own[TN_MAX_RANK], linear = tn_l_int(k, 0);
        if (r->m.group->anchor != TN_NO_NODE) {
            const tn_fold *f = &r->folds.data[0].fold;
            for (opened = 0; opened < f->axes; opened++)
                own[opened] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0),
                                       tn_l_dim(k, f->extent[opened]), "w");
        } else {
            linear = open_fold_loops(r, &opened);
        }
        lanes_open(r, base, width, limit);
        uint32_t wide = r->s.lanes * r->s.unroll;
        r->strip = tn_l_add(k, tn_l_mul(k, linear, tn_l_int(k, wide)), r->lane);
        element_work(r, own);
        lanes_close(r, limit);
        close_loops(r, opened);
    }
    r->stage = r->levels;
    if (folds && has_row_stores(r)) {
        lanes_open(r, base, width, limit);
        uint32_t mark = tn_access_mark(&r->m.access);
        row_stores(r);
        tn_access_release(&r->m.access, mark);
        lanes_close(r, limit);
    }
}

/* ---- window folds in blocks: neighbouring points of the block axis, every tap in the text --- */

/* The window axes from this one on are small enough together to stand in the text. */
static int unrolled_from(const fold_state *f) {
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

static void block_points(rows *r, tn_lx base, tn_lx limit, tn_lx first, int64_t count) {
    tn_loop *k = r->m.k;
    fold_state *f = &r->folds.data[0];
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
        lanes_open(r, base, r->s.lanes, limit);
        r->lane = tn_l_add(k, tn_l_mul(k, p, lanes), r->lane);
        uint32_t mark = tn_access_mark(&r->m.access);
        if (work)
            fold_step(r, f, own);
        else
            row_stores(r);
        tn_access_release(&r->m.access, mark);
        lanes_close(r, limit);
        tn_l_end(k);
        if (work) close_loops(r, f->fold.axes);
    }
}

static void block_strip(rows *r, tn_lx base, uint32_t width, tn_lx limit) {
    tn_loop *k = r->m.k;
    (void)width; /* one vector */
    int64_t extent = r->m.group->space.shape.dim[r->s.block_axis], size = r->s.block;
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, extent / size), "block");
    block_points(r, base, limit, tn_l_mul(k, i, tn_l_int(k, size)), size);
    tn_l_end(k);
    if (extent % size)
        block_points(r, base, limit, tn_l_int(k, extent / size * size), extent % size);
}

/* ---- preparation ---------------------------------------------------------------------------- */

static void add_fold(rows *r, const tn_member *m) {
    const tn_node_info *n = tn_graph_node(r->m.graph, m->node);
    const tn_lower *l = &tn_op_rules_of(n->op)->lower;
    if (l->kind != TN_LOWER_FOLD && l->kind != TN_LOWER_CONTRACTION) return;
    fold_state f = {.node = n,
                    .rules = l->fold,
                    .level = m->level,
                    .anchored = m->node == r->m.group->anchor,
                    .member = m};
    f.rules->describe(r->m.graph, n, &f.fold);
    tn_vec_push(r->m.context->arena, &r->folds, f);
    r->levels = TN_MAX(r->levels, m->level + 1);
}

/* Cost of computing a member again, and the stages that would. */
static int expression_cost(const rows *r, tn_node n, int depth) {
    const tn_node_info *info = tn_graph_node(r->m.graph, n);
    const char *family = tn_op_info_of(info->op)->family;
    int cost = !strcmp(family, "unary") ? 4 : !strcmp(family, "binary") ? 1 : 0;
    for (uint32_t i = 0; depth < 24 && i < info->in_count; i++) {
        tn_node from = tn_graph_value(r->m.graph, info->in[i])->node;
        if (r->m.grouping->inlined[from])
            cost += expression_cost(r, from, depth + 1);
        else if (r->m.grouping->group_of[from] == r->m.group_id) {
            const tn_member *m = member_of(r, from);
            if (m && m->element) cost += expression_cost(r, from, depth + 1);
        } else
            cost += 1; /* a load */
        if (cost >= KEEP_COST) return cost;
    }
    return cost;
}

static void mark_stage(const rows *r, tn_node n, uint32_t stage, uint32_t *stages, uint32_t *seen) {
    const tn_node_info *info = tn_graph_node(r->m.graph, n);
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_node from = tn_graph_value(r->m.graph, info->in[i])->node;
        if (seen[from] == stage + 1) continue;
        seen[from] = stage + 1;
        if (r->m.grouping->group_of[from] == r->m.group_id) {
            const tn_member *m = member_of(r, from);
            tn_lower_kind kind = tn_op_rules_of(tn_graph_node(r->m.graph, from)->op)->lower.kind;
            if (kind == TN_LOWER_FOLD || kind == TN_LOWER_CONTRACTION) continue;
            if (m && m->element) stages[m - r->m.group->members.data] |= 1u << stage;
            mark_stage(r, from, stage, stages, seen);
        } else if (r->m.grouping->inlined[from]) {
            mark_stage(r, from, stage, stages, seen);
        }
    }
}

static bool is_stored(const rows *r, tn_value v) {
    for (uint32_t i = 0; i < r->m.group->stores.len; i++)
        if (r->m.group->stores.data[i] == v) return true;
    return false;
}

/* Which element values are kept between stages. */
static void find_keeps(rows *r) {
    if (!r->m.group->space.has_fold || r->levels > MAX_LEVELS) return;
    tn_arena *arena = r->m.context->arena;
    uint32_t *stages = TN_NEW_N(arena, uint32_t, r->m.group->members.len);
    uint32_t *seen = TN_NEW_N(arena, uint32_t, r->m.graph->nodes.len);
    for (uint32_t stage = 0; stage <= r->levels; stage++)
        for (uint32_t i = 0; i < r->m.group->members.len; i++) {
            const tn_member *m = &r->m.group->members.data[i];
            const tn_node_info *n = tn_graph_node(r->m.graph, m->node);
            const fold_state *f = fold_of(r, m->node);
            if (f ? m->level == stage : stage == r->levels && is_stored(r, n->out)) {
                if (!f && m->element) stages[i] |= 1u << stage;
                mark_stage(r, m->node, stage, stages, seen);
            }
        }
    tn_lx size =
        r->s.fold_lanes ? tn_l_int(r->m.k, 1) : tn_l_int(r->m.k, (int64_t)r->s.lanes * r->s.unroll);
    for (int i = 0; i < r->m.group->space.shape.rank; i++)
        if (r->m.group->space.folded[i] && !r->merged[i])
            size = tn_l_mul(r->m.k, size, r->extent[i]);
    for (uint32_t i = 0; i < r->m.group->members.len; i++) {
        const tn_member *m = &r->m.group->members.data[i];
        tn_value v = tn_graph_node(r->m.graph, m->node)->out;
        if (!m->element || !(stages[i] & (stages[i] - 1))) continue; /* one stage only */
        if (!is_stored(r, v) && expression_cost(r, m->node, 0) < KEEP_COST) continue;
        kept keep = {.value = v, .first = m->level, .stored = is_stored(r, v)};
        if (!keep.stored) keep.scratch = tn_l_scratch(r->m.k, type_of(r, v)->dtype, size, "row");
        tn_vec_push(arena, &r->keeps, keep);
    }
}

static void set_extents(rows *r) {
    const tn_space *s = &r->m.group->space;
    r->vector_axis = -1;
    for (int i = 0; i < s->shape.rank; i++) {
        r->extent[i] = tn_l_dim(r->m.k, s->shape.dim[i]);
        r->at[i] = tn_l_int(r->m.k, 0);
        if (i > 0 && r->merged[i - 1])
            r->extent[i] = tn_l_mul(r->m.k, r->extent[i - 1], r->extent[i]);
        if (s->shape.dim[i] != 1 && (r->s.fold_lanes || !s->folded[i])) r->vector_axis = i;
    }
}

static void rows_init(rows *r, const tn_lower_context *c, uint32_t group, const bool *merged) {
    memset(r, 0, sizeof *r);
    tn_maker_init(&r->m, c, group, "rows");
    r->m.access.leaf = rows_leaf;
    r->m.access.context = r;
    if (merged) memcpy(r->merged, merged, sizeof r->merged);
    r->s = tn_schedule_choose_rows(r->m.grouping, r->m.group, (uint32_t)c->target->vector_bytes,
                                   r->merged);
    set_extents(r);
    for (uint32_t i = 0; i < r->m.group->members.len; i++)
        add_fold(r, &r->m.group->members.data[i]);
}

/* ---- merging axes --------------------------------------------------------------------------- */

static void probe_values(rows *r, tn_merge_probe *probe) {
    for (uint32_t j = 0; j < r->folds.len; j++) {
        fold_state *f = &r->folds.data[j];
        tn_lx index[TN_MAX_RANK], at[TN_MAX_RANK], acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
        fold_points(r, f, NULL, index, at);
        for (int i = 0; i < f->fold.registers; i++)
            acc[i] = tn_l_const(r->m.k, f->fold.dtype[i], f->fold.init[i]);
        f->rules->step(&r->m.access.emit, f->node, index, at, acc, next);
        for (int i = 0; i < f->fold.registers; i++)
            tn_vec_push(probe->arena, &probe->values, next[i]);
    }
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_value v = r->m.group->stores.data[i];
        const tn_member *m = member_of(r, tn_graph_value(r->m.graph, v)->node);
        tn_lx index[TN_MAX_RANK], value = emit_member(r, m);
        value_point(r, m, index);
        tn_vec_push(probe->arena, &probe->values, value);
        tn_vec_push(probe->arena, &probe->offsets, tn_maker_offset(&r->m, v, index));
    }
}

/* Emits the group's work on a throw-away kernel with a variable per axis (merged ones aside). */
static void probe_axes(rows *r, tn_merge_probe *probe) {
    *probe = (tn_merge_probe){.k = r->m.k, .arena = r->m.context->arena};
    r->probe = probe;
    for (int i = 0; i < r->m.group->space.shape.rank; i++)
        if (!r->merged[i])
            r->at[i] = tn_l_for(r->m.k, TN_LOOP_SERIAL, tn_l_int(r->m.k, 0), r->extent[i], "p");
    probe_values(r, probe);
}

static void find_merges(const tn_lower_context *c, uint32_t group, bool *merged) {
    rows r;
    rows_init(&r, c, group, NULL);
    memset(merged, 0, TN_MAX_RANK * sizeof *merged);
    if (r.m.group->anchor != TN_NO_NODE) return;
    const tn_space *s = &r.m.group->space;
    bool allowed[TN_MAX_RANK], any = false;
    for (int i = 0; i < s->shape.rank; i++)
        allowed[i] = i + 1 < s->shape.rank && s->folded[i] == s->folded[i + 1];
    tn_merge_probe probe;
    probe_axes(&r, &probe);
    tn_merge_find(&probe, r.at, r.extent, s->shape.rank, allowed, merged);
    for (int i = 0; i < s->shape.rank; i++) any |= merged[i];
    if (!any) return;
    rows_init(&r, c, group, merged);
    probe_axes(&r, &probe);
    if (!tn_merge_holds(&probe, r.at, s->shape.rank, merged))
        memset(merged, 0, TN_MAX_RANK * sizeof *merged);
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* Tasks over blocks of rows, or over chunks of the vector axis when rows are few and long. */
static void emit_kernel(rows *r) {
    tn_loop *k = r->m.k;
    int axis[TN_MAX_RANK], n = 0;
    tn_lx extent[TN_MAX_RANK], count = tn_l_int(k, 1), one = tn_l_int(k, 1);
    const tn_space *s = &r->m.group->space;
    for (int i = 0; i < s->shape.rank; i++) {
        if (s->folded[i] || i == r->vector_axis || r->merged[i] || s->shape.dim[i] == 1) continue;
        if (r->s.block && i == r->s.block_axis) continue;
        axis[n] = i;
        extent[n++] = r->extent[i];
        count = tn_l_mul(k, count, r->extent[i]);
    }
    find_keeps(r);
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
        tn_lx per = tn_l_int(k, r->s.rows_per_task - 1);
        k->tasks = tn_l_div(k, tn_l_add(k, count, per), tn_l_int(k, r->s.rows_per_task));
    }
    tn_lx lo = tn_l_mul(k, block, tn_l_int(k, r->s.rows_per_task));
    tn_lx hi = tn_l_min(k, count, tn_l_add(k, lo, tn_l_int(k, r->s.rows_per_task)));
    tn_lx row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row");
    tn_lx index[TN_MAX_RANK];
    tn_maker_split(k, row, extent, n, index);
    for (int i = 0; i < n; i++) r->at[axis[i]] = index[i];
    uint32_t wide = r->s.lanes * r->s.unroll * (uint32_t)TN_MAX(1, r->s.block);
    for (uint32_t j = 0; j < r->folds.len; j++) {
        fold_state *f = &r->folds.data[j];
        for (int i = 0; i < f->fold.registers; i++)
            f->reg[i] = tn_l_register(k, f->fold.dtype[i], wide, "acc");
    }
    uint32_t mark = tn_access_mark(&r->m.access);
    if (r->s.block)
        strips(r, chunk_lo, chunk_hi, block_strip);
    else if (r->s.fold_lanes)
        folded_row(r);
    else
        strips(r, chunk_lo, chunk_hi, row_strip);
    tn_access_release(&r->m.access, mark);
    tn_l_end(k);
}

void tn_lower_rows(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    bool merged[TN_MAX_RANK];
    find_merges(c, group, merged);
    rows r;
    rows_init(&r, c, group, merged);
    emit_kernel(&r);
    out->kernel = r.m.k;
    out->schedule = r.s;
}
