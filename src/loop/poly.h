/* Inside src/loop: i64 expressions as sums of integer multiples of products.
 *
 * Sums are kept sorted: by the innermost loop variable of the term, then by factors, the constant
 * last; so what does not change in a loop stands in front and can leave it. All functions give
 * false when a sum grows too long or a coefficient overflows; the caller then keeps the plain
 * operation. */
#ifndef TENON_LOOP_POLY_H
#define TENON_LOOP_POLY_H

#include "loop/index.h"

enum { POLY_TERMS = 24, POLY_FACTORS = 6 };

typedef struct poly_term {
    int64_t coefficient;
    uint32_t count;             /* of factors; 0: the constant term */
    tn_lx factor[POLY_FACTORS]; /* ascending; neither sums nor constants */
} poly_term;

typedef struct poly {
    uint32_t count;
    poly_term term[POLY_TERMS];
} poly;

void tn__poly_const(poly *p, int64_t value);
bool tn__poly_is_const(const poly *p, int64_t *value);
bool tn__poly_of(const tn_loop *k, tn_lx e, poly *out);
tn_lx tn__poly_build(tn_loop *k, const poly *p);
/* out = a + scale * b; out may be a. */
bool tn__poly_add(const tn_loop *k, const poly *a, int64_t scale, const poly *b, poly *out);
bool tn__poly_mul(const tn_loop *k, const poly *a, const poly *b, poly *out);
/* a = q * b + r; r keeps every term that the leading term of b does not divide. */
bool tn__poly_divide(const tn_loop *k, const poly *a, const poly *b, poly *q, poly *r);
/* Whether p <= limit for all values of variables and scalars (conservative). */
bool tn__poly_at_most(const tn_loop *k, const poly *p, int64_t limit);
bool tn__poly_at_least(const tn_loop *k, const poly *p, int64_t limit);

/* Interval arithmetic; INT64_MIN and INT64_MAX stand for unbounded. */
typedef struct range {
    int64_t lo, hi;
} range;
range tn__range_add(range a, range b);
range tn__range_mul(range a, range b);

#endif
