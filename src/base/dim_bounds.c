/* Bounds of sizes: tn__interval arithmetic over terms and atoms. See dim.h, dim_inner.h.
 *
 * Every atom carries its bounds, computed when it is made and again when a symbol's change, so a
 * size's bounds need no recursion. */
#include "base/dim_inner.h"

static const tn__interval everything = {INT64_MIN, INT64_MAX};

static tn__interval interval_add(tn__interval a, tn__interval b) {
    tn__interval r = {tn__sat_add(a.lo, b.lo), tn__sat_add(a.hi, b.hi)};
    if (a.lo == INT64_MIN || b.lo == INT64_MIN) r.lo = INT64_MIN;
    if (a.hi == INT64_MAX || b.hi == INT64_MAX) r.hi = INT64_MAX;
    return r;
}

static tn__interval interval_of_corners(const int64_t corner[4]) {
    tn__interval r = {corner[0], corner[0]};
    for (int i = 1; i < 4; i++) {
        r.lo = TN_MIN(r.lo, corner[i]);
        r.hi = TN_MAX(r.hi, corner[i]);
    }
    return r;
}

static tn__interval interval_mul(tn__interval a, tn__interval b) {
    return interval_of_corners((int64_t[]){tn__sat_mul(a.lo, b.lo), tn__sat_mul(a.lo, b.hi),
                                           tn__sat_mul(a.hi, b.lo), tn__sat_mul(a.hi, b.hi)});
}

/* a / b at a corner, b > 0. */
static int64_t corner_div(int64_t a, int64_t b) {
    if (b == INT64_MAX) return a < 0 ? -1 : 0;
    return a == INT64_MAX || a == INT64_MIN ? a : tn__floor_div(a, b);
}

static tn__interval interval_floordiv(tn__interval a, tn__interval b) {
    if (b.hi < 0) {
        a = (tn__interval){tn__sat_neg(a.hi), tn__sat_neg(a.lo)};
        b = (tn__interval){tn__sat_neg(b.hi), tn__sat_neg(b.lo)};
    }
    if (b.lo <= 0) return everything;
    return interval_of_corners((int64_t[]){corner_div(a.lo, b.lo), corner_div(a.lo, b.hi),
                                           corner_div(a.hi, b.lo), corner_div(a.hi, b.hi)});
}

static tn__interval interval_mod(tn__interval a, tn__interval b) {
    if (b.lo <= 0) return everything;
    if (a.lo >= 0 && a.hi < b.lo) return a;
    int64_t hi = b.hi == INT64_MAX ? INT64_MAX : b.hi - 1;
    return (tn__interval){0, a.lo >= 0 ? TN_MIN(hi, a.hi) : hi};
}

static tn__interval function_bounds(tn_dim_fn fn, tn__interval a, tn__interval b) {
    switch (fn) {
    case TN_DIM_FLOORDIV:
        return interval_floordiv(a, b);
    case TN_DIM_MOD:
        return interval_mod(a, b);
    case TN_DIM_MIN:
        return (tn__interval){TN_MIN(a.lo, b.lo), TN_MIN(a.hi, b.hi)};
    default:
        return (tn__interval){TN_MAX(a.lo, b.lo), TN_MAX(a.hi, b.hi)};
    }
}

/* `atoms`: of each atom; NULL: those that it carries. */
static tn__interval monomial_bounds(const tn_dims *t, const tn_dim_term *m,
                                    const tn__interval *atoms) {
    tn__interval r = {m->coefficient, m->coefficient};
    for (int i = 0; i < m->count; i++) {
        const tn_dim_atom *atom = &t->atoms.data[m->atom[i]];
        r = interval_mul(r, atoms ? atoms[m->atom[i]] : (tn__interval){atom->lo, atom->hi});
    }
    return r;
}

/* Bounds the sum after taking out what all terms share: N*S - N as N * (S - 1). */
static tn__interval bounds_by(const tn_dims *t, tn_dim d, const tn__interval *atoms) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    if (e.count == 0) return (tn__interval){0, 0};
    tn_dim_term common = e.term[0];
    for (uint32_t i = 0; i < e.count; i++) common = tn__monomial_common(&common, &e.term[i]);
    tn__interval sum = {0, 0};
    for (uint32_t i = 0; i < e.count; i++) {
        tn_dim_term rest;
        tn__monomial_div(&e.term[i], &common, &rest);
        sum = interval_add(sum, monomial_bounds(t, &rest, atoms));
    }
    return interval_mul(sum, monomial_bounds(t, &common, atoms));
}

tn__interval tn__dim_bounds(const tn_dims *t, tn_dim d) {
    return bounds_by(t, d, NULL);
}

tn__interval tn__dim_atom_bounds(const tn_dims *t, const tn_dim_atom *atom) {
    if (atom->fn == TN_DIM_SYMBOL) {
        const tn_dim_symbol *s = &t->symbols.data[atom->symbol];
        return (tn__interval){s->lo, s->hi};
    }
    return function_bounds(atom->fn, tn__dim_bounds(t, atom->a), tn__dim_bounds(t, atom->b));
}

int64_t tn_dim_eval_most(const tn_dims *t, tn_dim d, const int64_t *lo, const int64_t *hi) {
    if (d >= 0) return d;
    tn__interval value[TN__DIM_ATOMS];
    uint32_t end = tn__dim_atoms_below(t, d);
    for (uint32_t i = 0; i < end; i++) {
        const tn_dim_atom *atom = &t->atoms.data[i];
        if (atom->fn == TN_DIM_SYMBOL)
            value[i] = (tn__interval){lo[atom->symbol], hi[atom->symbol]};
        else
            value[i] = function_bounds(atom->fn, bounds_by(t, atom->a, value),
                                       bounds_by(t, atom->b, value));
    }
    return bounds_by(t, d, value).hi;
}

int64_t tn_dim_lo(const tn_dims *t, tn_dim d) {
    return d >= 0 ? d : tn__dim_bounds(t, d).lo;
}
int64_t tn_dim_hi(const tn_dims *t, tn_dim d) {
    return d >= 0 ? d : tn__dim_bounds(t, d).hi;
}

bool tn__dim_quotient_is_const(const tn_dims *t, tn_dim a, tn_dim b, int64_t *value) {
    tn__interval q = interval_floordiv(tn__dim_bounds(t, a), tn__dim_bounds(t, b));
    *value = q.lo;
    return q.lo == q.hi;
}
