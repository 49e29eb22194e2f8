/* Merging neighbouring axes. See merge.h. */
#include "codegen/merge.h"

static void pin(const tn_merge_probe *p, tn_lx e, const tn_lx *var, int count, bool *pinned,
                uint8_t *seen) {
    if (e == TN_LX_NONE || seen[e]) return;
    seen[e] = 1;
    const tn_lexpr *x = tn_l_expr(p->k, e);
    if (x->kind == TN_LX_VAR)
        for (int i = 0; i < count; i++) pinned[i] |= var[i] == e;
    if (x->kind != TN_LX_LOAD) pin(p, x->a, var, count, pinned, seen);
    pin(p, x->b, var, count, pinned, seen);
    pin(p, x->c, var, count, pinned, seen);
}

/* Whether a variable enters `e` otherwise than by the addresses of loads, which are offsets of their own. */
static bool enters(const tn_loop *k, tn_lx e, uint32_t var, uint8_t *seen) {
    if (e == TN_LX_NONE || seen[e]) return false;
    seen[e] = 1;
    const tn_lexpr *x = tn_l_expr(k, e);
    if (x->kind == TN_LX_VAR) return x->index == var;
    return (x->kind != TN_LX_LOAD && enters(k, x->a, var, seen)) || enters(k, x->b, var, seen) ||
           enters(k, x->c, var, seen);
}

/* The coefficient of a variable in an address. */
static bool coefficient_of(const tn_merge_probe *p, tn_lx offset, uint32_t var, tn_lx *out) {
    tn_lx rest;
    if (tn_l_affine(p->k, offset, var, out, &rest)) return true;
    *out = tn_l_int(p->k, 0);
    return !enters(p->k, offset, var, TN_NEW_N(p->arena, uint8_t, p->k->exprs.len));
}

static bool linear_together(const tn_merge_probe *p, tn_lx outer, tn_lx inner, tn_lx extent) {
    uint32_t vo = tn_l_expr(p->k, outer)->index, vi = tn_l_expr(p->k, inner)->index;
    for (uint32_t o = 0; o < p->offsets.len; o++) {
        tn_lx co, ci;
        if (!coefficient_of(p, p->offsets.data[o], vo, &co) ||
            !coefficient_of(p, p->offsets.data[o], vi, &ci) || co != tn_l_mul(p->k, ci, extent))
            return false;
    }
    return true;
}

void tn_merge_find(const tn_merge_probe *p, const tn_lx *var, const tn_lx *extent, int count,
                   const bool *allowed, bool *merged) {
    bool pinned[TN_MAX_RANK] = {false};
    uint8_t *seen = TN_NEW_N(p->arena, uint8_t, p->k->exprs.len);
    for (uint32_t i = 0; i < p->values.len; i++)
        pin(p, p->values.data[i], var, count, pinned, seen);
    for (int i = 0; i + 1 < count; i++)
        merged[i] = allowed[i] && !pinned[i] && !pinned[i + 1] &&
                    linear_together(p, var[i], var[i + 1], extent[i + 1]);
    if (count > 0) merged[count - 1] = false;
}

bool tn_merge_holds(const tn_merge_probe *p, const tn_lx *var, int count, const bool *merged) {
    bool pinned[TN_MAX_RANK] = {false};
    uint8_t *seen = TN_NEW_N(p->arena, uint8_t, p->k->exprs.len);
    for (uint32_t i = 0; i < p->values.len; i++)
        pin(p, p->values.data[i], var, count, pinned, seen);
    for (int i = 1; i < count; i++) {
        if (!merged[i - 1] || merged[i]) continue;
        if (pinned[i]) return false;
        for (uint32_t o = 0; o < p->offsets.len; o++) {
            tn_lx coefficient;
            if (!coefficient_of(p, p->offsets.data[o], tn_l_expr(p->k, var[i])->index,
                                &coefficient))
                return false;
        }
    }
    return true;
}
