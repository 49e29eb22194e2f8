/* What the files of the size algebra share; see dim.c for the representation. */
#ifndef TENON_BASE_DIM_INNER_H
#define TENON_BASE_DIM_INNER_H

#include "base/dim.h"

/* Limits that keep hostile input from blowing up: beyond the first a table is "out of memory". */
enum { TN__DIM_ATOMS = 8192, TN__DIM_TERMS = 512, TN__DIM_PRINT = 1 << 16 };

typedef struct tn__interval {
    int64_t lo, hi; /* inclusive; INT64_MIN and INT64_MAX are infinite */
} tn__interval;

tn__interval tn__dim_bounds(const tn_dims *t, tn_dim d);
tn__interval tn__dim_atom_bounds(const tn_dims *t, const tn_dim_atom *atom);
/* One more than the newest atom of `d`. */
uint32_t tn__dim_atoms_below(const tn_dims *t, tn_dim d);
/* Whether floor(a / b) has one value whatever the symbols. */
bool tn__dim_quotient_is_const(const tn_dims *t, tn_dim a, tn_dim b, int64_t *value);

/* The terms of any size; a constant's single term is put in *slot. */
static inline tn_dim_expr tn__dim_terms(const tn_dims *t, tn_dim d, tn_dim_term *slot) {
    if (d < 0) return t->exprs.data[-1 - d];
    *slot = (tn_dim_term){.coefficient = d};
    return (tn_dim_expr){d != 0, slot};
}

/* a without the atoms of b; false when b has one that a lacks. Leaves the coefficient of a. */
bool tn__monomial_div(const tn_dim_term *a, const tn_dim_term *b, tn_dim_term *quotient);
/* The atoms that a and b share, coefficient 1. */
tn_dim_term tn__monomial_common(const tn_dim_term *a, const tn_dim_term *b);

/* ---- saturating arithmetic; the extremes stand for infinity --------------------------------- */

static inline int64_t tn__sat_add(int64_t a, int64_t b) {
    int64_t sum;
    if (a == INT64_MAX || a == INT64_MIN) return a;
    if (b == INT64_MAX || b == INT64_MIN) return b;
    if (!__builtin_add_overflow(a, b, &sum)) return sum;
    return a > 0 ? INT64_MAX : INT64_MIN;
}

static inline int64_t tn__sat_mul(int64_t a, int64_t b) {
    int64_t product;
    bool infinite = a == INT64_MAX || a == INT64_MIN || b == INT64_MAX || b == INT64_MIN;
    if (a == 0 || b == 0) return 0;
    if (!infinite && !__builtin_mul_overflow(a, b, &product)) return product;
    return (a > 0) == (b > 0) ? INT64_MAX : INT64_MIN;
}

static inline int64_t tn__sat_neg(int64_t a) {
    return tn__sat_mul(a, -1);
}

static inline int64_t tn__floor_div(int64_t a, int64_t b) {
    if (b == 0) return 0;
    if (b == -1) return a == INT64_MIN ? INT64_MAX : -a;
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static inline int64_t tn__floor_mod(int64_t a, int64_t b) {
    if (b == 0 || b == -1) return 0;
    int64_t rem = a % b;
    return rem && (rem < 0) != (b < 0) ? rem + b : rem;
}

#endif
