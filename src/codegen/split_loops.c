/* Split folds: loops over pieces and rows, slots. See split.h. */
#include "codegen/split.h"

/* ---- pieces --------------------------------------------------------------------------------- */

bool tn__split_is_one(const tn__split *s, int axis) {
    return s->merged[axis] || s->m.group->space.shape.dim[axis] == 1;
}

/* The axes of the loops over a piece, with vectors along a folded axis that one last. */
static int folded_axes(const tn__split *s, int *axis) {
    int n = 0;
    for (int i = 0; i < s->m.group->space.shape.rank; i++)
        if (s->m.group->space.folded[i] && i != s->vector_axis && !tn__split_is_one(s, i))
            axis[n++] = i;
    if (s->s.fold_lanes) axis[n++] = s->vector_axis;
    return n;
}

void tn__split_find_loops(tn__split *s) {
    tn_loop *k = s->m.k;
    tn_fold_loops *f = &s->loops;
    int axis[TN_MAX_RANK];
    f->count = folded_axes(s, axis);
    if (s->s.fold_lanes) f->strip = (int64_t)s->s.lanes * s->s.unroll;
    for (int i = 0; i < f->count; i++) {
        int64_t least;
        bool cut = axis[i] == s->cut_axis;
        f->lo[i] = cut ? s->lo : tn_l_int(k, 0);
        f->hi[i] = cut ? s->hi : s->extent[axis[i]];
        tn_l_bounds(k, cut ? s->size : f->hi[i], &least, &f->most[i]);
    }
    tn_fold_cut(f);
}

bool tn__split_any_wide(const tn__split *s) {
    for (uint32_t j = 0; j < s->folds.len; j++)
        if (s->folds.data[j].wide) return true;
    return false;
}

tn_fold_loops tn__split_open_folded(tn__split *s) {
    int axis[TN_MAX_RANK], n = folded_axes(s, axis);
    tn_lx at[TN_MAX_RANK];
    tn_fold_loops f = s->loops;
    tn_fold_open(s->m.k, &f, tn__split_any_wide(s), at);
    for (int i = 0; i < n; i++)
        if (axis[i] != s->vector_axis) s->at[axis[i]] = at[i];
    return f;
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* Opens loops over the row axes; numbers the rows. */
static int open_rows(tn__split *s) {
    int opened = 0;
    s->row = tn_l_int(s->m.k, 0);
    for (int i = 0; i < s->m.group->space.shape.rank; i++) {
        if (s->m.group->space.folded[i] || i == s->vector_axis || tn__split_is_one(s, i)) continue;
        if (i < s->first) continue;
        s->at[i] = tn_l_for(s->m.k, TN_LOOP_SERIAL, tn_l_int(s->m.k, 0), s->extent[i], "row");
        s->row = tn_l_add(s->m.k, tn_l_mul(s->m.k, s->row, s->extent[i]), s->at[i]);
        opened++;
    }
    return opened;
}

static void close_loops(tn__split *s, int n) {
    while (n-- > 0) tn_l_end(s->m.k);
}

tn_lx tn__split_slot(tn__split *s, tn_lx piece, tn_lx x) {
    tn_lx row = s->row;
    if (x != TN_LX_NONE)
        row = tn_l_add(s->m.k, tn_l_mul(s->m.k, row, s->extent[s->vector_axis]), x);
    return tn_l_add(s->m.k, tn_l_mul(s->m.k, piece, s->rows), row);
}

void tn__split_over_points(tn__split *s, void (*row)(tn__split *s)) {
    int opened = open_rows(s);
    row(s);
    close_loops(s, opened);
}

void tn__split_over_strips(tn__split *s, uint32_t lanes, tn_strip_work *strip) {
    int opened = open_rows(s);
    uint32_t unroll = s->s.lanes * s->s.unroll / lanes;
    tn_strips(s->m.k, lanes, unroll, tn_l_int(s->m.k, 0), s->extent[s->vector_axis], strip, s);
    close_loops(s, opened);
}

uint32_t tn__split_slot_lanes(const tn__split *s) {
    return tn__split_any_wide(s) ? s->s.lanes / 2 : s->s.lanes;
}
