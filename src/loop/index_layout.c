/* Layouts of indices. See index_layout.h. */
#include "loop/index_layout.h"

#include "loop/poly.h"

typedef struct walk {
    tn_loop *k;
    tn_arena *arena;
    uint32_t var;
    int64_t extent;
} walk;

static bool layout_of(const walk *w, tn_lx e, tn_layout *out, tn_lx *rest);

/* x → x / by and x → x % by, up to the size of `l`'s image. */
static tn_layout digit(const walk *w, tn_scalar_op op, int64_t by, const tn_layout *l) {
    int64_t above = (tn_layout_cosize(l) + by - 1) / by;
    bool div = op == TN_S_div;
    const tn_layout modes[] = {tn_layout_mode(by, !div), tn_layout_mode(above, div)};
    return tn_layout_tuple(w->arena, modes, 2);
}

/* A factor that is the variable or a digit of something that follows it. */
static bool factor_layout(const walk *w, tn_lx e, tn_layout *out) {
    const tn_lexpr x = *tn_l_expr(w->k, e);
    if (x.kind == TN_LX_VAR) {
        *out = tn_layout_mode(w->extent, 1);
        return x.index == w->var;
    }
    int64_t by, zero;
    bool splits = x.kind == TN_LX_OP && x.index == 1 && (x.op == TN_S_div || x.op == TN_S_rem);
    tn_lx rest;
    if (!splits || !tn_l_is_const_int(w->k, x.b, &by) || by <= 0) return false;
    if (!layout_of(w, x.a, out, &rest)) return false;
    if (!tn_l_is_const_int(w->k, rest, &zero) || zero != 0) return false;
    tn_layout split = digit(w, x.op, by, out);
    return tn_layout_compose(w->arena, &split, out, out);
}

/* The sum of two functions of one coordinate: both cut into the modes of either. */
static bool add_layouts(const walk *w, const tn_layout *a, const tn_layout *b, tn_layout *out) {
    tn_layout modes[64], x = tn_layout_mode(1, 0), y = x;
    int count = 0, i = 0, j = 0;
    for (;;) {
        if (x.shape == 1 && i < tn_layout_rank(a)) x = tn_layout_at(a, i++);
        if (y.shape == 1 && j < tn_layout_rank(b)) y = tn_layout_at(b, j++);
        int64_t taken = TN_MIN(x.shape, y.shape);
        if (TN_MAX(x.shape, y.shape) % taken != 0 || count == (int)TN_COUNT(modes)) return false;
        if (taken == 1) break;
        modes[count++] = tn_layout_mode(taken, x.stride + y.stride);
        x = tn_layout_mode(x.shape / taken, x.stride * taken);
        y = tn_layout_mode(y.shape / taken, y.stride * taken);
    }
    tn_layout sum = tn_layout_tuple(w->arena, modes, count);
    *out = tn_layout_coalesce(w->arena, &sum);
    return x.shape == 1 && y.shape == 1;
}

/* The factor of the term that depends on the variable; NONE: none does. False when two do, or when
 * the others are no numbers. */
static bool following_factor(const walk *w, const poly_term *t, tn_lx *factor) {
    *factor = TN_LX_NONE;
    for (uint32_t i = 0; i < t->count; i++)
        if (tn_l_uses_var(w->k, t->factor[i], w->var)) *factor = t->factor[i];
    return *factor == TN_LX_NONE || t->count == 1;
}

/* by · l */
static bool scaled(const walk *w, const tn_layout *l, int64_t by, tn_layout *out) {
    tn_layout times = tn_layout_mode(tn_layout_cosize(l), by);
    return tn_layout_compose(w->arena, &times, l, out);
}

static bool layout_of(const walk *w, tn_lx e, tn_layout *out, tn_lx *rest) {
    poly p, other = {0};
    if (!tn__poly_of(w->k, e, &p)) return false;
    *out = tn_layout_mode(w->extent, 0);
    for (uint32_t i = 0; i < p.count; i++) {
        tn_lx factor;
        tn_layout term;
        if (!following_factor(w, &p.term[i], &factor)) return false;
        if (!factor) {
            const poly alone = {.count = 1, .term = {p.term[i]}};
            if (!tn__poly_add(w->k, &other, 1, &alone, &other)) return false;
            continue;
        }
        if (!factor_layout(w, factor, &term)) return false;
        if (!scaled(w, &term, p.term[i].coefficient, &term)) return false;
        term = tn_layout_coalesce(w->arena, &term);
        if (!add_layouts(w, out, &term, out)) return false;
    }
    *rest = tn__poly_build(w->k, &other);
    return true;
}

bool tn_l_layout(tn_loop *k, tn_lx e, uint32_t var, int64_t extent, tn_arena *arena, tn_layout *out,
                 tn_lx *rest) {
    const walk w = {k, arena, var, extent};
    return extent > 0 && layout_of(&w, e, out, rest);
}
