/* Split folds: putting the pieces together. See split.h. */
#include "codegen/split.h"

static void store_results(tn__split *s) {
    uint32_t mark = tn_access_mark(&s->m.access);
    for (uint32_t i = 0; i < s->m.group->stores.len; i++) {
        tn_value v = s->m.group->stores.data[i];
        tn_lx index[TN_MAX_RANK];
        tn__split_result_point(s, tn__split_member(s, v), index);
        tn_maker_store(&s->m, v, index, tn__split_leaf(&s->m.access, v, index));
    }
    tn_access_release(&s->m.access, mark);
}

/* The accumulators at `at` (a lane or 0) begin with the first piece's slot x. */
static void fetch(tn__split *s, tn__split_fold *f, tn_lx piece, tn_lx x, tn_lx *out) {
    for (int i = 0; i < f->fold.registers; i++)
        out[i] = tn_l_load(s->m.k, f->work[i], tn__split_slot(s, piece, x), TN_LX_NONE, TN_LX_NONE);
}

static void combine_slots(tn__split *s, tn_lx piece, tn_lx x, tn_lx at, bool first) {
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        tn_lx a[TN_FOLD_REGISTERS], b[TN_FOLD_REGISTERS], c[TN_FOLD_REGISTERS];
        fetch(s, f, piece, x, b);
        for (int i = 0; i < f->fold.registers && !first; i++)
            a[i] = tn_l_get(s->m.k, f->combined[i], at);
        if (!first) f->rules->combine(s->m.k, s->m.graph, f->node, a, b, c);
        for (int i = 0; i < f->fold.registers; i++)
            tn_l_set(s->m.k, f->combined[i], at, first ? b[i] : c[i]);
    }
}

static void finish_folds(tn__split *s, tn_lx at) {
    for (uint32_t j = 0; j < s->folds.len; j++) {
        tn__split_fold *f = &s->folds.data[j];
        tn_lx acc[TN_FOLD_REGISTERS], index[TN_MAX_RANK];
        for (int i = 0; i < f->fold.registers; i++) acc[i] = tn_l_get(s->m.k, f->combined[i], at);
        tn__split_result_point(s, f->member, index);
        f->result = f->rules->finish(&s->m.access.emit, f->node, index, acc);
    }
}

static void combined_row(tn__split *s) {
    tn_loop *k = s->m.k;
    tn_lx zero = tn_l_int(k, 0);
    combine_slots(s, zero, TN_LX_NONE, zero, true);
    tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, s->s.pieces), "piece");
    combine_slots(s, p, TN_LX_NONE, zero, false);
    tn_l_end(k);
    finish_folds(s, zero);
    store_results(s);
}

static void combined_strip(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    tn__split *s = context;
    tn_loop *k = s->m.k;
    tn_lx lane, x = tn_strip_open(k, base, width, limit, &lane);
    combine_slots(s, tn_l_int(k, 0), x, lane, true);
    tn_strip_close(k, limit);
    tn_lx p = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 1), tn_l_int(k, s->s.pieces), "piece");
    x = tn_strip_open(k, base, width, limit, &lane);
    combine_slots(s, p, x, lane, false);
    tn_strip_close(k, limit);
    tn_l_end(k);
    s->at[s->vector_axis] = tn_strip_open(k, base, width, limit, &lane);
    finish_folds(s, lane);
    store_results(s);
    tn_strip_close(k, limit);
}

void tn__split_combine(tn__split *s) {
    if (s->s.fold_lanes)
        tn__split_over_points(s, combined_row);
    else
        tn__split_over_strips(s, tn__split_slot_lanes(s), combined_strip);
}
