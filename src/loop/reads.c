/* Which elements of its inputs some tasks of a kernel may read: bounds of the builder (index.c), for these
 * tasks and these values of the scalars. An expression's operands come before it, so one pass suffices. */
#include "loop/reads.h"

#include "loop/index.h"

/* Of a remainder whose quotient is one number in all of the range. */
static bool narrow_remainder(const tn_loop *k, const tn_lexpr *e, tn_lfacts *out) {
    if (e->kind != TN_LX_OP || e->op != TN_S_rem || e->dtype != TN_i64) return false;
    const tn_lfacts *a = &k->facts.data[e->a], *b = &k->facts.data[e->b];
    if (b->lo != b->hi || b->lo < 1 || a->lo < 0 || a->hi == INT64_MAX) return false;
    if (a->lo / b->lo != a->hi / b->lo) return false;
    out->lo = a->lo % b->lo;
    out->hi = a->hi % b->lo;
    return true;
}

static void note_read(const tn_loop *k, const tn_lexpr *e, tn_loop_extent *reads) {
    const tn_lfacts *at = &k->facts.data[e->a];
    bool known = tn_l_type(k, e->a) == TN_i64;
    tn_loop_extent *r = &reads[e->index];
    r->begin = TN_MIN(r->begin, known ? at->lo : 0);
    r->end = TN_MAX(r->end, known && at->hi != INT64_MAX ? at->hi + 1 : INT64_MAX);
}

void tn_loop_reads(const tn_loop *k, const int64_t *scalars, int64_t begin, int64_t end,
                   tn_arena *arena, tn_loop_extent *reads) {
    tn_loop with = *k;
    with.facts.data = tn_arena_dup(arena, k->facts.data, k->facts.len * sizeof *k->facts.data);
    for (uint32_t b = 0; b < k->buffers.len; b++) reads[b] = (tn_loop_extent){INT64_MAX, 0};
    for (tn_lx i = 1; i < k->exprs.len; i++) {
        const tn_lexpr *e = &k->exprs.data[i];
        tn_lfacts *f = &with.facts.data[i];
        if (e->kind == TN_LX_VAR && e->index == 0)
            f->lo = begin, f->hi = end - 1;
        else if (e->kind == TN_LX_SCALAR)
            f->lo = f->hi = scalars[e->index];
        else if (e->dtype == TN_i64 && !narrow_remainder(&with, e, f))
            tn__l_range(&with, e, &f->lo, &f->hi);
        if (e->kind == TN_LX_LOAD) note_read(&with, e, reads);
    }
    for (uint32_t b = 0; b < k->buffers.len; b++)
        if (reads[b].begin < 0 || k->buffers.data[b].kind != TN_LBUF_INPUT) reads[b].begin = 0;
}
