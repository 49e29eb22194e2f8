/* Showing that one size is never greater than another. See dim.h.
 *
 * b - a is bounded term by term first. Where that does not decide, one atom is replaced by what
 * bounds it from the harmful side, and the proof goes on with the simpler polynomial:
 *   min(p, q) <= p, min(p, q) <= q        max(p, q) >= p, max(p, q) >= q
 *   k * floor(p / k) is in [p - k + 1, p] for k >= 1 */
#include "base/dim_inner.h"

/* Replacements tried for one question; hostile sizes would branch without end. */
enum { PROOF_STEPS = 64 };

static bool never_negative(tn_dims *t, tn_dim d, int *steps);

static tn_dim atom_dim(tn_dims *t, const tn_dim_atom *atom) {
    switch (atom->fn) {
    case TN_DIM_SYMBOL:
        return tn_dim_of_symbol(t, t->symbols.data[atom->symbol].name);
    case TN_DIM_FLOORDIV:
        return tn_dim_floordiv(t, atom->a, atom->b);
    case TN_DIM_MOD:
        return tn_dim_mod(t, atom->a, atom->b);
    case TN_DIM_MIN:
        return tn_dim_min(t, atom->a, atom->b);
    default:
        return tn_dim_max(t, atom->a, atom->b);
    }
}

/* The term without one occurrence of its atom `skip`. */
static tn_dim cofactor(tn_dims *t, const tn_dim_term *term, int skip) {
    tn_dim product = tn_dim_const(t, term->coefficient);
    for (int i = 0; i < term->count; i++) {
        if (i == skip) continue;
        tn_dim_atom atom = t->atoms.data[term->atom[i]];
        product = tn_dim_mul(t, product, atom_dim(t, &atom));
    }
    return product;
}

/* rest + factor * with >= 0 */
static bool replaced(tn_dims *t, tn_dim rest, tn_dim factor, tn_dim with, int *steps) {
    return never_negative(t, tn_dim_add(t, rest, tn_dim_mul(t, factor, with)), steps);
}

/* Replaces one atom of the term; `d` = rest + factor * atom. */
static bool without_atom(tn_dims *t, tn_dim d, tn_dim factor, tn_dim_atom atom, int *steps) {
    bool adds = tn_dim_lo(t, factor) >= 0;
    if (!adds && tn_dim_hi(t, factor) > 0) return false;
    tn_dim rest = tn_dim_sub(t, d, tn_dim_mul(t, factor, atom_dim(t, &atom)));
    if (atom.fn == TN_DIM_FLOORDIV) {
        if (tn_dim_lo(t, atom.b) < 1) return false;
        tn_dim least = tn_dim_add(t, tn_dim_sub(t, atom.a, atom.b), 1);
        return replaced(t, tn_dim_mul(t, rest, atom.b), factor, adds ? least : atom.a, steps);
    }
    bool either = adds == (atom.fn == TN_DIM_MAX);
    bool first = replaced(t, rest, factor, atom.a, steps);
    if (first == either) return first;
    return replaced(t, rest, factor, atom.b, steps);
}

static bool never_negative(tn_dims *t, tn_dim d, int *steps) {
    if (tn_dim_lo(t, d) >= 0) return true;
    if (tn_dim_hi(t, d) < 0 || --*steps < 0) return false;
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot); /* terms are immutable and stay where they are */
    for (uint32_t i = 0; i < e.count; i++) {
        for (int j = 0; j < e.term[i].count; j++) {
            tn_dim_atom atom = t->atoms.data[e.term[i].atom[j]];
            if (atom.fn == TN_DIM_SYMBOL || atom.fn == TN_DIM_MOD) continue;
            if (without_atom(t, d, cofactor(t, &e.term[i], j), atom, steps)) return true;
        }
    }
    return false;
}

bool tn_dim_proves_le(tn_dims *t, tn_dim a, tn_dim b) {
    int steps = PROOF_STEPS;
    return never_negative(t, tn_dim_sub(t, b, a), &steps);
}
