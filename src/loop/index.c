/* i64 index arithmetic: sums in normal form (poly.c), division and remainder by splitting the sum,
 * comparisons and minima decided by bounds. */
#include "loop/index.h"
#include "loop/poly.h"

/* ---- bounds --------------------------------------------------------------------------------- */

static const range unbounded = {INT64_MIN, INT64_MAX};

static range range_of(const tn_loop *k, tn_lx e) {
    if (tn_l_type(k, e) != TN_i64) return unbounded;
    return (range){k->facts.data[e].lo, k->facts.data[e].hi};
}

static range op_range(const tn_loop *k, const tn_lexpr *e) {
    if (tn_l_type(k, e->a) != TN_i64) return unbounded;
    range a = range_of(k, e->a), b = e->b ? range_of(k, e->b) : unbounded;
    bool natural = e->index == 1 || (a.lo >= 0 && b.lo >= 1);
    switch (e->op) {
    case TN_S_add:
        return tn__range_add(a, b);
    case TN_S_sub:
        return tn__range_add(a, tn__range_mul(b, (range){-1, -1}));
    case TN_S_mul:
        return tn__range_mul(a, b);
    case TN_S_min:
        return (range){TN_MIN(a.lo, b.lo), TN_MIN(a.hi, b.hi)};
    case TN_S_max:
        return (range){TN_MAX(a.lo, b.lo), TN_MAX(a.hi, b.hi)};
    case TN_S_popcount:
        return (range){0, 64};
    case TN_S_sign:
        return (range){-1, 1};
    case TN_S_div:
        if (!natural) return unbounded;
        return (range){TN_MAX(a.lo, 0) / TN_MAX(b.hi, 1), a.hi / TN_MAX(b.lo, 1)};
    case TN_S_rem:
        if (!natural) return unbounded;
        return (range){0, TN_MIN(a.hi, b.hi == INT64_MAX ? b.hi : b.hi - 1)};
    default:
        return unbounded;
    }
}

static range cast_range(tn_dtype from) {
    if (tn_dtype_is_float(from) || tn_dtype_bits(from) >= 63) return unbounded;
    if (from == TN_bool) return (range){0, 1};
    return (range){tn_cell_lowest(from).i, tn_cell_highest(from).i};
}

static range var_range(const tn_loop *k, uint32_t var) {
    const tn_lvar *v = &k->vars.data[var];
    tn_lx end = var ? v->hi : k->tasks;
    range r = {var ? range_of(k, v->lo).lo : 0, end ? range_of(k, end).hi : INT64_MAX};
    if (r.hi != INT64_MAX) r.hi = TN_MAX(r.hi - (r.hi != INT64_MIN), r.lo);
    return r;
}

static range let_range(const tn_loop *k, uint32_t let) {
    const tn_lstmt *s = &k->stmts.data[let];
    if (s->let == TN_LET_VALUE) return range_of(k, s->a);
    if (s->let == TN_LET_TICKET) return (range){0, INT64_MAX};
    return unbounded;
}

void tn__l_range(const tn_loop *k, const tn_lexpr *e, int64_t *lo, int64_t *hi) {
    range r = unbounded;
    switch (e->kind) {
    case TN_LX_CONST:
        r = (range){e->value.i, e->value.i};
        break;
    case TN_LX_VAR:
        r = var_range(k, e->index);
        break;
    case TN_LX_SCALAR:
        r = (range){k->scalars.data[e->index].lo, k->scalars.data[e->index].hi};
        break;
    case TN_LX_OP:
        r = op_range(k, e);
        break;
    case TN_LX_CAST:
        r = cast_range(tn_l_type(k, e->a));
        break;
    case TN_LX_LET:
        r = let_range(k, e->index);
        break;
    case TN_LX_SELECT: {
        range b = range_of(k, e->b), c = range_of(k, e->c);
        r = (range){TN_MIN(b.lo, c.lo), TN_MAX(b.hi, c.hi)};
        break;
    }
    default:
        break;
    }
    *lo = r.lo;
    *hi = r.hi;
}

void tn_l_bounds(const tn_loop *k, tn_lx e, int64_t *lo, int64_t *hi) {
    range r = range_of(k, e);
    *lo = r.lo;
    *hi = r.hi;
}

bool tn_l_is_const_int(const tn_loop *k, tn_lx e, int64_t *value) {
    const tn_lexpr *x = tn_l_expr(k, e);
    *value = x->value.i;
    return x->kind == TN_LX_CONST && x->dtype == TN_i64;
}

/* ---- sums and products ---------------------------------------------------------------------- */

static tn_lx index_op(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b) {
    int64_t x, y;
    if (tn_l_is_const_int(k, a, &x) && tn_l_is_const_int(k, b, &y))
        return tn__l_op(k, op, a, b, TN_LX_NONE);
    return tn__l_intern(
        k, (tn_lexpr){.kind = TN_LX_OP, .dtype = TN_i64, .op = op, .index = 1, .a = a, .b = b});
}

static bool is_remainder_op(const tn_lexpr *e) {
    return e->kind == TN_LX_OP && e->op == TN_S_rem && e->index == 1;
}

/* p has f·(x % d), which is factor `at` of term `which`. If it has f·d·(x / d), too: f·x for both. */
static bool join_term(tn_loop *k, poly *p, uint32_t which, uint32_t at) {
    poly f = {.count = 1, .term = {p->term[which]}}, remainder = f, quotient, d, x, joined;
    poly_term *t = &f.term[0];
    tn_lexpr e = *tn_l_expr(k, t->factor[at]);
    for (uint32_t i = at; i + 1 < t->count; i++) t->factor[i] = t->factor[i + 1];
    t->count--;
    bool fits = tn__poly_of(k, index_op(k, TN_S_div, e.a, e.b), &quotient) &&
                tn__poly_of(k, e.b, &d) && tn__poly_mul(k, &quotient, &d, &quotient) &&
                tn__poly_mul(k, &quotient, &f, &quotient) && quotient.count == 1 &&
                tn__poly_add(k, p, -1, &quotient, &joined) && joined.count + 1 == p->count;
    return fits && tn__poly_of(k, e.a, &x) && tn__poly_mul(k, &x, &f, &x) &&
           tn__poly_add(k, &joined, -1, &remainder, &joined) && tn__poly_add(k, &joined, 1, &x, p);
}

/* d·(x / d) + x % d = x, as in the address of a value that is read through a reshape. */
static bool join_remainder(tn_loop *k, poly *p) {
    for (uint32_t i = 0; i < p->count; i++)
        for (uint32_t j = 0; j < p->term[i].count; j++)
            if (is_remainder_op(tn_l_expr(k, p->term[i].factor[j])) && join_term(k, p, i, j))
                return true;
    return false;
}

static tn_lx combine(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b) {
    poly pa, pb, out;
    bool fits = tn__poly_of(k, a, &pa) && tn__poly_of(k, b, &pb);
    if (fits && op == TN_S_mul)
        fits = tn__poly_mul(k, &pa, &pb, &out);
    else if (fits)
        fits = tn__poly_add(k, &pa, op == TN_S_add ? 1 : -1, &pb, &out);
    if (!fits) return tn__l_op(k, op, a, b, TN_LX_NONE);
    while (join_remainder(k, &out)) continue;
    return tn__poly_build(k, &out);
}

tn_lx tn_l_add(tn_loop *k, tn_lx a, tn_lx b) {
    return combine(k, TN_S_add, a, b);
}
tn_lx tn_l_sub(tn_loop *k, tn_lx a, tn_lx b) {
    return combine(k, TN_S_sub, a, b);
}
tn_lx tn_l_mul(tn_loop *k, tn_lx a, tn_lx b) {
    return combine(k, TN_S_mul, a, b);
}

/* ---- division and remainder ----------------------------------------------------------------- */

typedef struct quotient {
    tn_lx div, mod;
} quotient;

/* Whether 0 <= r < b. */
static bool is_remainder(const tn_loop *k, const poly *r, const poly *b) {
    poly over;
    return tn__poly_at_least(k, r, 0) && tn__poly_add(k, r, -1, b, &over) &&
           tn__poly_at_most(k, &over, -1);
}

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a < 0 ? -a : a;
}

/* r = g * x + s with a divisor g of c and 0 <= s < g, for the greatest such g > 1. */
static bool split_common(const tn_loop *k, const poly *r, int64_t c, int64_t *g, poly *x, poly *s) {
    int64_t below = INT64_MAX;
    for (;;) {
        *g = 1;
        for (uint32_t i = 0; i < r->count; i++) {
            int64_t common = gcd(r->term[i].coefficient, c);
            if (r->term[i].count && common < below && common > *g) *g = common;
        }
        if (*g == 1) return false;
        poly divisor;
        tn__poly_const(&divisor, *g);
        if (tn__poly_divide(k, r, &divisor, x, s) && is_remainder(k, s, &divisor)) return true;
        below = *g;
    }
}

static quotient divide(tn_loop *k, tn_lx a, tn_lx b);

/* r / c and r % c for r >= 0 of which no term is a multiple of c. */
static quotient divide_rest(tn_loop *k, const poly *r, tn_lx b) {
    int64_t c, inner_c, g;
    poly x, s;
    tn_lx e = tn__poly_build(k, r);
    const tn_lexpr *inner = tn_l_expr(k, e);
    if (!tn_l_is_const_int(k, b, &c))
        return (quotient){index_op(k, TN_S_div, e, b), index_op(k, TN_S_rem, e, b)};
    if (split_common(k, r, c, &g, &x, &s)) {
        quotient part = divide(k, tn__poly_build(k, &x), tn_l_int(k, c / g));
        tn_lx mod = tn_l_mul(k, part.mod, tn_l_int(k, g));
        return (quotient){part.div, tn_l_add(k, mod, tn__poly_build(k, &s))};
    }
    quotient out = {TN_LX_NONE, TN_LX_NONE};
    bool nested =
        inner->kind == TN_LX_OP && inner->index == 1 && tn_l_is_const_int(k, inner->b, &inner_c);
    tn_lx inner_a = inner->a;
    tn_scalar_op inner_op = inner->op;
    if (nested && inner_op == TN_S_div && inner_c <= INT64_MAX / c)
        out.div = divide(k, inner_a, tn_l_int(k, inner_c * c)).div;
    if (nested && inner_op == TN_S_rem && inner_c % c == 0) out.mod = divide(k, inner_a, b).mod;
    if (!out.div) out.div = index_op(k, TN_S_div, e, b);
    if (!out.mod) out.mod = index_op(k, TN_S_rem, e, b);
    return out;
}

static quotient divide(tn_loop *k, tn_lx a, tn_lx b) {
    poly pa, pb, q, r;
    quotient plain = {TN_LX_NONE, TN_LX_NONE};
    if (tn__poly_of(k, a, &pa) && tn__poly_of(k, b, &pb) && tn__poly_divide(k, &pa, &pb, &q, &r)) {
        if (is_remainder(k, &r, &pb))
            return (quotient){tn__poly_build(k, &q), tn__poly_build(k, &r)};
        if (tn__poly_at_least(k, &r, 0)) {
            quotient rest = divide_rest(k, &r, b);
            return (quotient){tn_l_add(k, tn__poly_build(k, &q), rest.div), rest.mod};
        }
    }
    plain.div = index_op(k, TN_S_div, a, b);
    plain.mod = index_op(k, TN_S_rem, a, b);
    return plain;
}

static bool is_int(const tn_loop *k, tn_lx e, int64_t wanted) {
    int64_t value;
    return tn_l_is_const_int(k, e, &value) && value == wanted;
}

static bool divides_plainly(const tn_loop *k, tn_lx a, tn_lx b) {
    int64_t value;
    if (tn_l_is_const_int(k, b, &value) && value <= 0) return false;
    return !(tn_l_is_const_int(k, a, &value) && value < 0);
}

tn_lx tn_l_div(tn_loop *k, tn_lx a, tn_lx b) {
    if (is_int(k, b, 1)) return a;
    if (!divides_plainly(k, a, b)) return tn__l_op(k, TN_S_div, a, b, TN_LX_NONE);
    return divide(k, a, b).div;
}

tn_lx tn_l_mod(tn_loop *k, tn_lx a, tn_lx b) {
    if (is_int(k, b, 1)) return tn_l_int(k, 0);
    if (!divides_plainly(k, a, b)) return tn__l_op(k, TN_S_rem, a, b, TN_LX_NONE);
    return divide(k, a, b).mod;
}

/* ---- comparisons ---------------------------------------------------------------------------- */

static tn_lx flag(tn_loop *k, bool value) {
    return tn_l_const(k, TN_bool, (tn_cell){.u = value});
}

/* 1: a - b <= limit always; 0: never; -1: not known. */
static int difference_at_most(tn_loop *k, tn_lx a, tn_lx b, int64_t limit) {
    poly pa, pb, d;
    if (!tn__poly_of(k, a, &pa) || !tn__poly_of(k, b, &pb)) return -1;
    if (!tn__poly_add(k, &pa, -1, &pb, &d)) return -1;
    if (tn__poly_at_most(k, &d, limit)) return 1;
    return tn__poly_at_least(k, &d, limit + 1) ? 0 : -1;
}

tn_lx tn_l_lt(tn_loop *k, tn_lx a, tn_lx b) {
    int known = difference_at_most(k, a, b, -1);
    return known >= 0 ? flag(k, known) : tn__l_op(k, TN_S_lt, a, b, TN_LX_NONE);
}

tn_lx tn_l_le(tn_loop *k, tn_lx a, tn_lx b) {
    int known = difference_at_most(k, a, b, 0);
    return known >= 0 ? flag(k, known) : tn__l_op(k, TN_S_le, a, b, TN_LX_NONE);
}

bool tn__l_fold_equal(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx *out) {
    poly pa, pb, d;
    int64_t value;
    if (!tn__poly_of(k, a, &pa) || !tn__poly_of(k, b, &pb)) return false;
    if (!tn__poly_add(k, &pa, -1, &pb, &d)) return false;
    bool equal = tn__poly_is_const(&d, &value) && value == 0;
    if (!equal && !tn__poly_at_most(k, &d, -1) && !tn__poly_at_least(k, &d, 1)) return false;
    *out = flag(k, equal == (op == TN_S_eq));
    return true;
}

tn_lx tn_l_min(tn_loop *k, tn_lx a, tn_lx b) {
    int known = difference_at_most(k, a, b, 0);
    if (known >= 0) return known ? a : b;
    return tn__l_op(k, TN_S_min, TN_MIN(a, b), TN_MAX(a, b), TN_LX_NONE);
}

tn_lx tn_l_max(tn_loop *k, tn_lx a, tn_lx b) {
    int known = difference_at_most(k, a, b, 0);
    if (known >= 0) return known ? b : a;
    return tn__l_op(k, TN_S_max, TN_MIN(a, b), TN_MAX(a, b), TN_LX_NONE);
}

/* ---- dependence on a variable --------------------------------------------------------------- */

uint32_t tn__l_var_bit(const tn_loop *k, uint32_t var) {
    return k->vars.data[var].lane ? 63 : TN_MIN(var, 62u);
}

bool tn_l_uses_var(const tn_loop *k, tn_lx e, uint32_t var) {
    return k->facts.data[e].vars >> tn__l_var_bit(k, var) & 1;
}

static bool is_var(const tn_loop *k, tn_lx e, uint32_t var) {
    return tn_l_expr(k, e)->kind == TN_LX_VAR && tn_l_expr(k, e)->index == var;
}

bool tn_l_affine(tn_loop *k, tn_lx e, uint32_t var, tn_lx *coefficient, tn_lx *rest) {
    if (!tn_l_uses_var(k, e, var)) {
        *coefficient = tn_l_int(k, 0);
        *rest = e;
        return true;
    }
    poly p, scale = {0}, other = {0};
    if (!tn__poly_of(k, e, &p)) return false;
    for (uint32_t i = 0; i < p.count; i++) {
        poly t = {.count = 1, .term = {{.coefficient = p.term[i].coefficient}}};
        uint32_t uses = 0, hidden = 0;
        for (uint32_t f = 0; f < p.term[i].count; f++) {
            tn_lx factor = p.term[i].factor[f];
            if (is_var(k, factor, var) && uses++ == 0) continue;
            hidden += tn_l_uses_var(k, factor, var);
            t.term[0].factor[t.term[0].count++] = factor;
        }
        if (hidden) return false;
        if (!tn__poly_add(k, uses ? &scale : &other, 1, &t, uses ? &scale : &other)) return false;
    }
    *coefficient = tn__poly_build(k, &scale);
    *rest = tn__poly_build(k, &other);
    return true;
}
