/* Sums of products: normal form, arithmetic, division and bounds. See poly.h. */
#include "loop/poly.h"

/* ---- intervals ------------------------------------------------------------------------------ */

static int64_t clamp(__int128 x) {
    return x < INT64_MIN ? INT64_MIN : x > INT64_MAX ? INT64_MAX : (int64_t)x;
}

range tn__range_add(range a, range b) {
    bool low = a.lo == INT64_MIN || b.lo == INT64_MIN,
         high = a.hi == INT64_MAX || b.hi == INT64_MAX;
    return (range){low ? INT64_MIN : clamp((__int128)a.lo + b.lo),
                   high ? INT64_MAX : clamp((__int128)a.hi + b.hi)};
}

range tn__range_mul(range a, range b) {
    /* Products of clamped ends are beyond the clamp again, unless the other end is zero, which is
     * right too: 0 * anything = 0. */
    __int128 p[] = {(__int128)a.lo * b.lo, (__int128)a.lo * b.hi, (__int128)a.hi * b.lo,
                    (__int128)a.hi * b.hi};
    __int128 lo = p[0], hi = p[0];
    for (int i = 1; i < 4; i++) {
        lo = TN_MIN(lo, p[i]);
        hi = TN_MAX(hi, p[i]);
    }
    return (range){clamp(lo), clamp(hi)};
}

static range factor_range(const tn_loop *k, tn_lx e) {
    return (range){k->facts.data[e].lo, k->facts.data[e].hi};
}

static range product_range(const tn_loop *k, const poly_term *t, tn_lx except) {
    range r = {t->coefficient, t->coefficient};
    for (uint32_t i = 0; i < t->count; i++)
        if (t->factor[i] != except) r = tn__range_mul(r, factor_range(k, t->factor[i]));
    return r;
}

static range poly_range(const tn_loop *k, const poly *p) {
    range r = {0, 0};
    for (uint32_t i = 0; i < p->count; i++)
        r = tn__range_add(r, product_range(k, &p->term[i], TN_LX_NONE));
    return r;
}

/* ---- normal form ---------------------------------------------------------------------------- */

void tn__poly_const(poly *p, int64_t value) {
    p->count = value != 0;
    p->term[0] = (poly_term){.coefficient = value};
}

bool tn__poly_is_const(const poly *p, int64_t *value) {
    *value = p->count ? p->term[0].coefficient : 0;
    return p->count == 0 || (p->count == 1 && p->term[0].count == 0);
}

static uint32_t term_inner(const tn_loop *k, const poly_term *t) {
    if (!t->count) return UINT32_MAX;
    uint32_t inner = 0;
    for (uint32_t i = 0; i < t->count; i++)
        inner = TN_MAX(inner, k->facts.data[t->factor[i]].inner);
    return inner;
}

static int term_order(const tn_loop *k, const poly_term *a, const poly_term *b) {
    uint32_t ia = term_inner(k, a), ib = term_inner(k, b);
    if (ia != ib) return ia < ib ? -1 : 1;
    for (uint32_t i = 0; i < TN_MIN(a->count, b->count); i++)
        if (a->factor[i] != b->factor[i]) return a->factor[i] < b->factor[i] ? -1 : 1;
    return (a->count > b->count) - (a->count < b->count);
}

static bool include_term(const tn_loop *k, poly *p, const poly_term *t) {
    uint32_t at = 0;
    int order = 1;
    while (at < p->count && (order = term_order(k, &p->term[at], t)) < 0) at++;
    if (at < p->count && order == 0) {
        int64_t *c = &p->term[at].coefficient;
        if (__builtin_add_overflow(*c, t->coefficient, c)) return false;
        if (*c) return true;
        p->count--;
        memmove(&p->term[at], &p->term[at + 1], (p->count - at) * sizeof *t);
        return true;
    }
    if (!t->coefficient) return true;
    if (p->count == POLY_TERMS) return false;
    memmove(&p->term[at + 1], &p->term[at], (p->count - at) * sizeof *t);
    p->term[at] = *t;
    p->count++;
    return true;
}

bool tn__poly_add(const tn_loop *k, const poly *a, int64_t scale, const poly *b, poly *out) {
    poly sum = *a;
    for (uint32_t i = 0; i < b->count; i++) {
        poly_term t = b->term[i];
        if (__builtin_mul_overflow(t.coefficient, scale, &t.coefficient)) return false;
        if (!include_term(k, &sum, &t)) return false;
    }
    *out = sum;
    return true;
}

static bool term_mul(const poly_term *a, const poly_term *b, poly_term *out) {
    *out = (poly_term){.count = a->count + b->count};
    if (out->count > POLY_FACTORS) return false;
    if (__builtin_mul_overflow(a->coefficient, b->coefficient, &out->coefficient)) return false;
    for (uint32_t i = 0, x = 0, y = 0; i < out->count; i++) {
        bool first = y == b->count || (x < a->count && a->factor[x] <= b->factor[y]);
        out->factor[i] = first ? a->factor[x++] : b->factor[y++];
    }
    return true;
}

bool tn__poly_mul(const tn_loop *k, const poly *a, const poly *b, poly *out) {
    poly product = {0};
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t j = 0; j < b->count; j++) {
            poly_term t;
            if (!term_mul(&a->term[i], &b->term[j], &t)) return false;
            if (!include_term(k, &product, &t)) return false;
        }
    *out = product;
    return true;
}

static void poly_atom(poly *p, tn_lx e) {
    p->count = 1;
    p->term[0] = (poly_term){.coefficient = 1, .count = 1, .factor = {e}};
}

bool tn__poly_of(const tn_loop *k, tn_lx e, poly *out) {
    const tn_lexpr *x = tn_l_expr(k, e);
    if (x->kind == TN_LX_CONST) {
        tn__poly_const(out, x->value.i);
        return true;
    }
    bool sum = x->kind == TN_LX_OP && (x->op == TN_S_add || x->op == TN_S_sub);
    bool product = x->kind == TN_LX_OP && x->op == TN_S_mul;
    if (sum || product) {
        poly a, b;
        if (tn__poly_of(k, x->a, &a) && tn__poly_of(k, x->b, &b) &&
            (product ? tn__poly_mul(k, &a, &b, out)
                     : tn__poly_add(k, &a, x->op == TN_S_add ? 1 : -1, &b, out)))
            return true;
    }
    poly_atom(out, e);
    return true;
}

static tn_lx build_product(tn_loop *k, const poly_term *t, int64_t coefficient) {
    if (!t->count) return tn_l_int(k, coefficient);
    tn_lx e = t->factor[0];
    for (uint32_t i = 1; i < t->count; i++) e = tn__l_op(k, TN_S_mul, e, t->factor[i], TN_LX_NONE);
    return coefficient == 1 ? e : tn__l_op(k, TN_S_mul, e, tn_l_int(k, coefficient), TN_LX_NONE);
}

tn_lx tn__poly_build(tn_loop *k, const poly *p) {
    if (!p->count) return tn_l_int(k, 0);
    uint32_t first = 0; /* a positive term to begin with, if there is one */
    while (first < p->count && p->term[first].coefficient < 0) first++;
    if (first == p->count) first = 0;
    tn_lx e = build_product(k, &p->term[first], p->term[first].coefficient);
    for (uint32_t i = 0; i < p->count; i++) {
        int64_t c = p->term[i].coefficient;
        if (i == first) continue;
        bool minus = c < 0 && c != INT64_MIN;
        tn_lx term = build_product(k, &p->term[i], minus ? -c : c);
        e = tn__l_op(k, minus ? TN_S_sub : TN_S_add, e, term, TN_LX_NONE);
    }
    return e;
}

/* ---- division ------------------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* q = t / lead when lead's factors are among t's and its coefficient divides. */
static bool term_divide(const poly_term *t, const poly_term *lead, poly_term *q) {
    *q = (poly_term){0};
    if (lead->coefficient == 0 || lead->coefficient == -1) return false;
    if (!lead->count && !t->count)
        q->coefficient = floor_div(t->coefficient, lead->coefficient);
    else if (t->coefficient % lead->coefficient == 0)
        q->coefficient = t->coefficient / lead->coefficient;
    uint32_t used = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        if (used < lead->count && t->factor[i] == lead->factor[used])
            used++;
        else
            q->factor[q->count++] = t->factor[i];
    }
    return used == lead->count && q->coefficient != 0;
}

bool tn__poly_divide(const tn_loop *k, const poly *a, const poly *b, poly *q, poly *r) {
    enum { STEPS = 2 * POLY_TERMS };
    q->count = 0;
    *r = *a;
    if (!b->count || b->term[0].coefficient < 0) return false;
    for (int step = 0; step < STEPS; step++) {
        poly_term t;
        uint32_t i = 0;
        while (i < r->count && !term_divide(&r->term[i], &b->term[0], &t)) i++;
        if (i == r->count) return true;
        poly one = {.count = 1, .term = {t}}, product;
        if (!include_term(k, q, &t)) return false;
        if (!tn__poly_mul(k, &one, b, &product)) return false;
        if (!tn__poly_add(k, r, -1, &product, r)) return false;
    }
    return false;
}

/* ---- bounds --------------------------------------------------------------------------------- */

/* The greatest value of an atom as a sum, where one is known; `which` counts alternatives. */
static bool atom_most(const tn_loop *k, tn_lx e, int which, poly *out) {
    const tn_lexpr *x = tn_l_expr(k, e);
    poly one;
    tn__poly_const(&one, 1);
    if (x->kind == TN_LX_VAR) {
        tn_lx end = x->index ? k->vars.data[x->index].hi : k->tasks;
        return which == 0 && end && tn__poly_of(k, end, out) && tn__poly_add(k, out, -1, &one, out);
    }
    if (x->kind != TN_LX_OP) return false;
    if (x->op == TN_S_min) return which < 2 && tn__poly_of(k, which ? x->b : x->a, out);
    bool index = x->index == 1 && which == 0;
    if (index && x->op == TN_S_rem)
        return tn__poly_of(k, x->b, out) && tn__poly_add(k, out, -1, &one, out);
    if (index && x->op == TN_S_div && tn_l_expr(k, x->a)->kind == TN_LX_VAR) {
        poly most, by, rest;
        if (!atom_most(k, x->a, 0, &most) || !tn__poly_of(k, x->b, &by)) return false;
        if (!tn__poly_divide(k, &most, &by, out, &rest)) return false;
        int64_t left;
        if (!tn__poly_is_const(&rest, &left)) return false;
        return left >= 0 ? left == 0 : tn__poly_add(k, out, -1, &one, out);
    }
    return false;
}

static bool is_quotient(const tn_loop *k, tn_lx e, int64_t *d) {
    const tn_lexpr *x = tn_l_expr(k, e);
    return x->kind == TN_LX_OP && x->op == TN_S_div && x->index == 1 &&
           tn_l_is_const_int(k, x->b, d) && *d > 0;
}

/* Replaces `e` in p by its greatest value where that makes the term greater, by its least number
 * where that does. */
static bool substitute_most(const tn_loop *k, const poly *p, tn_lx e, const poly *most, poly *out) {
    poly sum = {0}, least;
    tn__poly_const(&least, k->facts.data[e].lo);
    for (uint32_t i = 0; i < p->count; i++) {
        poly rest = {.count = 1, .term = {{.coefficient = p->term[i].coefficient}}}, product;
        uint32_t uses = 0;
        for (uint32_t f = 0; f < p->term[i].count; f++) {
            if (p->term[i].factor[f] == e && uses++ == 0) continue;
            rest.term[0].factor[rest.term[0].count++] = p->term[i].factor[f];
        }
        if (!uses) {
            if (!include_term(k, &sum, &p->term[i])) return false;
            continue;
        }
        range sign = product_range(k, &rest.term[0], TN_LX_NONE);
        if (uses > 1 || (sign.lo < 0 && sign.hi > 0)) return false;
        if (sign.lo < 0 && k->facts.data[e].lo == INT64_MIN) return false;
        if (!tn__poly_mul(k, &rest, sign.lo < 0 ? &least : most, &product)) return false;
        if (!tn__poly_add(k, &sum, 1, &product, &sum)) return false;
    }
    *out = sum;
    return true;
}

/* c * (x / d) for a constant d that divides c lies in (c/d) * [x - d + 1, x]. */
static bool substitute_quotient(const tn_loop *k, const poly *p, tn_lx e, poly *out) {
    const tn_lexpr *x = tn_l_expr(k, e);
    int64_t d, scale;
    poly sum = {0}, top, bottom, slack;
    if (!is_quotient(k, e, &d)) return false;
    tn__poly_const(&slack, d - 1);
    if (!tn__poly_of(k, x->a, &top) || !tn__poly_add(k, &top, -1, &slack, &bottom)) return false;
    for (uint32_t i = 0; i < p->count; i++) {
        poly part = {.count = 1, .term = {p->term[i]}};
        poly_term *t = &part.term[0];
        bool alone = t->count == 1 && t->factor[0] == e;
        if (alone && t->coefficient % d != 0) return false;
        if (alone) {
            scale = t->coefficient / d;
            if (!tn__poly_add(k, &sum, scale, scale > 0 ? &top : &bottom, &sum)) return false;
        } else if (!include_term(k, &sum, t)) {
            return false;
        }
    }
    *out = sum;
    return true;
}

/* The innermost atom that can be replaced. */
static tn_lx innermost_atom(const tn_loop *k, const poly *p) {
    tn_lx best = TN_LX_NONE;
    poly unused;
    int64_t d;
    for (uint32_t i = 0; i < p->count; i++)
        for (uint32_t f = 0; f < p->term[i].count; f++) {
            tn_lx e = p->term[i].factor[f];
            if (e == best || (!atom_most(k, e, 0, &unused) && !is_quotient(k, e, &d))) continue;
            uint32_t inner = k->facts.data[e].inner;
            uint32_t best_inner = best ? k->facts.data[best].inner : 0;
            if (!best || inner > best_inner || (inner == best_inner && e > best)) best = e;
        }
    return best;
}

static bool at_most(const tn_loop *k, const poly *p, int64_t limit, int budget) {
    if (poly_range(k, p).hi <= limit) return true;
    tn_lx e = budget ? innermost_atom(k, p) : TN_LX_NONE;
    if (!e) return false;
    poly most, next;
    for (int which = 0; atom_most(k, e, which, &most); which++)
        if (substitute_most(k, p, e, &most, &next) && at_most(k, &next, limit, budget - 1))
            return true;
    return substitute_quotient(k, p, e, &next) && at_most(k, &next, limit, budget - 1);
}

bool tn__poly_at_most(const tn_loop *k, const poly *p, int64_t limit) {
    enum { BUDGET = 8 };
    return at_most(k, p, limit, BUDGET);
}

bool tn__poly_at_least(const tn_loop *k, const poly *p, int64_t limit) {
    poly zero = {0}, negative;
    if (limit == INT64_MIN) return true;
    return tn__poly_add(k, &zero, -1, p, &negative) && tn__poly_at_most(k, &negative, -limit);
}
