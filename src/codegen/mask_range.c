/* Tiles that a mask hides. See mask_range.h. */
#include "codegen/mask_range.h"

#include <math.h>

typedef struct list {
    tn_lx *out;
    int count;
} list;

static bool is_hidden(const tn_lexpr *e) {
    return e->kind == TN_LX_CONST && tn_dtype_is_float(e->dtype) && e->value.f == -INFINITY;
}

static void add_conjuncts(const tn_loop *k, tn_lx flag, list *l) {
    const tn_lexpr *e = tn_l_expr(k, flag);
    if (e->kind != TN_LX_OP) return;
    if (e->op == TN_S_and) {
        add_conjuncts(k, e->a, l);
        add_conjuncts(k, e->b, l);
        return;
    }
    bool compares = e->op == TN_S_lt || e->op == TN_S_le || e->op == TN_S_gt || e->op == TN_S_ge;
    if (compares && tn_l_type(k, e->a) == TN_i64 && l->count < TN_MOST_CONDITIONS)
        l->out[l->count++] = flag;
}

static void add_terms(const tn_loop *k, tn_lx score, list *l) {
    const tn_lexpr *e = tn_l_expr(k, score);
    if (e->kind == TN_LX_SELECT && is_hidden(tn_l_expr(k, e->c))) add_conjuncts(k, e->a, l);
    if (e->kind != TN_LX_OP || e->op != TN_S_add) return;
    add_terms(k, e->a, l);
    add_terms(k, e->b, l);
}

int tn_mask_conditions(const tn_loop *k, tn_lx e, tn_lx *out) {
    list l = {.out = out};
    add_terms(k, e, &l);
    return l.count;
}

/* The constant coefficient of `var` in *e, which loses the term. */
static bool take_coefficient(tn_loop *k, tn_lx *e, tn_lx var, int64_t *out) {
    tn_lx coefficient, rest;
    if (!tn_l_affine(k, *e, tn_l_expr(k, var)->index, &coefficient, &rest) ||
        !tn_l_is_const_int(k, coefficient, out))
        return false;
    *e = rest;
    return true;
}

static bool grows(const tn_lexpr *c) { /* the greater a - b, the truer */
    return c->op == TN_S_gt || c->op == TN_S_ge;
}

bool tn_mask_find_corner(tn_loop *k, tn_lx condition, tn_lx row, tn_lx column,
                         tn_mask_corner *out) {
    tn_lexpr c = *tn_l_expr(k, condition);
    tn_lx difference = grows(&c) ? tn_l_sub(k, c.a, c.b) : tn_l_sub(k, c.b, c.a);
    int64_t by_row, by_column;
    if (!take_coefficient(k, &difference, row, &by_row) ||
        !take_coefficient(k, &difference, column, &by_column))
        return false;
    *out = (tn_mask_corner){by_row > 0, by_column > 0, by_column == -1};
    return true;
}

tn_lx tn_mask_room(tn_loop *k, tn_lx condition) {
    tn_lexpr c = *tn_l_expr(k, condition);
    tn_lx difference = grows(&c) ? tn_l_sub(k, c.a, c.b) : tn_l_sub(k, c.b, c.a);
    bool equal = c.op == TN_S_ge || c.op == TN_S_le;
    return equal ? tn_l_add(k, difference, tn_l_int(k, 1)) : difference;
}
