/* Rows: reads at indices that are data, asked for ahead of their turn. See rows.h. */
#include "codegen/rows.h"

enum {
    LINE_BYTES = 64,
    AHEAD_BYTES = 4 << 10, /* of rows that are asked for and not used yet; of a row at most */
};

/* Whether an address depends on what a load gives. */
static bool is_data(const tn_loop *k, tn_lx e, uint8_t *seen) {
    if (e == TN_LX_NONE || seen[e]) return false;
    seen[e] = 1;
    const tn_lexpr *x = tn_l_expr(k, e);
    if (x->kind == TN_LX_LOAD) return true;
    bool inner = x->kind == TN_LX_OP || x->kind == TN_LX_SELECT || x->kind == TN_LX_CAST ||
                 x->kind == TN_LX_BITCAST;
    return inner && (is_data(k, x->a, seen) || is_data(k, x->b, seen) || is_data(k, x->c, seen));
}

/* Whether this load reads whole rows, one after another along the vector axis, of something large. */
static bool reads_rows(const tn__rows *r, tn_lx load) {
    tn_loop *k = r->m.k;
    const tn_lexpr x = *tn_l_expr(k, load);
    tn_lx step, rest, along = r->at[r->vector_axis];
    int64_t one;
    if (x.kind != TN_LX_LOAD || tn_l_expr(k, along)->kind != TN_LX_VAR ||
        !is_data(k, x.a, TN_NEW_N(r->m.context->arena, uint8_t, k->exprs.len)))
        return false;
    return tn_l_affine(k, x.a, tn_l_expr(k, along)->index, &step, &rest) &&
           tn_l_is_const_int(k, step, &one) && one == 1 &&
           tn_schedule_streams(r->m.grouping, k->buffers.data[x.index].binding,
                               r->m.context->target->ahead_bytes);
}

static int64_t element_bytes(const tn_loop *k, tn_lx load) {
    return (int64_t)tn_dtype_size(k->buffers.data[tn_l_expr(k, load)->index].dtype);
}

static bool may_ask(const tn__rows *r) {
    return !r->folds.len && r->m.group->anchor == TN_NO_NODE && r->vector_axis >= 0 &&
           r->digit_axis < 0 && !r->s.chunk;
}

tn__rows_ahead tn__rows_find_ahead(const tn__rows *r, tn_lx count) {
    tn__rows_ahead ahead = {0};
    tn__rows probing;
    tn_merge_probe probe;
    int64_t width, rows;
    if (!may_ask(r) || !tn_l_is_const_int(r->m.k, r->extent[r->vector_axis], &width)) return ahead;
    tn__rows_init(&probing, r->m.context, r->m.group_id, NULL, r->merged);
    tn__rows_probe(&probing, &probe);
    ahead.loads = probe.loads.len;
    for (uint32_t i = 0; i < probe.loads.len && !ahead.rows; i++) {
        if (!reads_rows(&probing, probe.loads.data[i])) continue;
        int64_t bytes = width * element_bytes(probe.k, probe.loads.data[i]);
        if (bytes < LINE_BYTES || bytes > AHEAD_BYTES) continue;
        ahead.load = i;
        ahead.lines = (bytes + LINE_BYTES - 1) / LINE_BYTES;
        ahead.rows = AHEAD_BYTES / bytes;
    }
    if (tn_l_is_const_int(r->m.k, count, &rows) && rows <= ahead.rows) ahead.rows = 0;
    return ahead;
}

void tn__rows_ask(tn__rows *r, const tn__rows_ahead *ahead) {
    tn_loop *k = r->m.k;
    tn_merge_probe probe = {.k = k, .arena = r->m.context->arena};
    uint32_t mark = tn_access_mark(&r->m.access);
    r->at[r->vector_axis] = tn_l_int(k, 0);
    r->probe = &probe;
    for (uint32_t i = 0; i < r->m.group->stores.len; i++) {
        tn_node made = tn_graph_value(r->m.graph, r->m.group->stores.data[i])->node;
        tn__rows_emit_member(r, tn__rows_member(r, made));
    }
    r->probe = NULL;
    tn_access_release(&r->m.access, mark);
    if (probe.loads.len != ahead->loads) return;
    tn_lx load = probe.loads.data[ahead->load];
    if (tn_l_expr(k, load)->kind != TN_LX_LOAD) return;
    uint32_t buffer = tn_l_expr(k, load)->index;
    tn_lx at = tn_l_expr(k, load)->a, part = tn_l_int(k, LINE_BYTES / element_bytes(k, load));
    tn_lx line = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, ahead->lines), "line");
    tn_l_prefetch(k, buffer, tn_l_add(k, at, tn_l_mul(k, line, part)));
    tn_l_end(k);
}
