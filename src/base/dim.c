/* The algebra of sizes: normal form, bounds, evaluation. See dim.h.
 *
 * Terms are ordered by degree, then lexicographically (a monomial order, so long division ends);
 * equal polynomials have equal term lists and get one id. Atoms refer only to older atoms, so every
 * walk over them is a loop in creation order, never a recursion. Coefficients and bounds saturate.
 * A product of too many atoms, or a sum of too many terms, continues with an opaque atom
 * floordiv(x, 1). A quotient means something only where its divisor is not zero. */
#include "base/dim_inner.h"

void tn_dims_init(tn_dims *t, tn_arena *arena) {
    *t = (tn_dims){.arena = arena};
    tn_map_init(&t->expr_ids, arena);
    tn_map_init(&t->atom_ids, arena);
}

/* ---- polynomials ---------------------------------------------------------------------------- */

/* A sum under construction: ordered, no zero coefficients. */
typedef TN_VEC(tn_dim_term) poly;

static const tn_dim_term one = {.coefficient = 1};

/* < 0 when `a` comes first: higher degree, then more of the older atoms. */
static int monomial_compare(const tn_dim_term *a, const tn_dim_term *b) {
    if (a->count != b->count) return b->count - a->count;
    for (int i = 0; i < a->count; i++)
        if (a->atom[i] != b->atom[i]) return a->atom[i] - b->atom[i];
    return 0;
}

static tn_dim_term monomial_mul(const tn_dim_term *a, const tn_dim_term *b) {
    tn_dim_term r = {.coefficient = tn__sat_mul(a->coefficient, b->coefficient)};
    TN_ASSERT(a->count + b->count <= TN_DIM_MAX_ATOMS);
    for (int i = 0, j = 0; i < a->count || j < b->count;) {
        bool first = j == b->count || (i < a->count && a->atom[i] <= b->atom[j]);
        r.atom[r.count++] = first ? a->atom[i++] : b->atom[j++];
    }
    return r;
}

bool tn__monomial_div(const tn_dim_term *a, const tn_dim_term *b, tn_dim_term *quotient) {
    int j = 0;
    tn_dim_term r = {.coefficient = a->coefficient};
    for (int i = 0; i < a->count; i++) {
        if (j < b->count && a->atom[i] == b->atom[j])
            j++;
        else
            r.atom[r.count++] = a->atom[i];
    }
    *quotient = r;
    return j == b->count;
}

tn_dim_term tn__monomial_common(const tn_dim_term *a, const tn_dim_term *b) {
    tn_dim_term r = {.coefficient = 1};
    for (int i = 0, j = 0; i < a->count && j < b->count;) {
        if (a->atom[i] == b->atom[j])
            r.atom[r.count++] = a->atom[i++], j++;
        else if (a->atom[i] < b->atom[j])
            i++;
        else
            j++;
    }
    return r;
}

/* False when the coefficient saturates. */
static bool poly_add_term(tn_dims *t, poly *p, tn_dim_term term) {
    uint32_t at = 0;
    if (term.coefficient == 0) return true;
    while (at < p->len && monomial_compare(&p->data[at], &term) < 0) at++;
    if (at < p->len && monomial_compare(&p->data[at], &term) == 0) {
        int64_t sum = tn__sat_add(p->data[at].coefficient, term.coefficient);
        p->data[at].coefficient = sum;
        if (sum == 0) {
            p->len--;
            memmove(&p->data[at], &p->data[at + 1], (p->len - at) * sizeof term);
        }
        return sum != INT64_MAX && sum != INT64_MIN;
    }
    tn_vec_push(t->arena, p, term);
    memmove(&p->data[at + 1], &p->data[at], (p->len - 1 - at) * sizeof term);
    p->data[at] = term;
    return term.coefficient != INT64_MAX && term.coefficient != INT64_MIN;
}

static bool poly_add_product(tn_dims *t, poly *p, tn_dim_expr e, tn_dim_term factor) {
    bool exact = true;
    for (uint32_t i = 0; i < e.count; i++)
        exact &= poly_add_term(t, p, monomial_mul(&e.term[i], &factor));
    return exact;
}

static tn_dim expr_intern(tn_dims *t, const tn_dim_term *term, uint32_t count) {
    enum { KEY = sizeof(int64_t) + (1 + TN_DIM_MAX_ATOMS) * sizeof(uint16_t) }; /* no padding */
    char *key = tn_arena_alloc_n(t->arena, KEY, count);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(key + i * KEY, &term[i].coefficient, sizeof(int64_t));
        memcpy(key + i * KEY + sizeof(int64_t), &term[i].count, KEY - sizeof(int64_t));
    }
    uint32_t id;
    if (!tn_map_get(&t->expr_ids, key, (size_t)KEY * count, &id)) {
        id = t->exprs.len;
        tn_dim_expr e = {count, tn_arena_dup(t->arena, term, count * sizeof *term)};
        tn_vec_push(t->arena, &t->exprs, e);
        tn_map_put(&t->expr_ids, key, (size_t)KEY * count, id);
    }
    return -1 - (tn_dim)id;
}

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = b == -1 ? 0 : a % b;
        a = b;
        b = rest;
    }
    return a == INT64_MIN ? INT64_MAX : a < 0 ? -a : a;
}

/* A number that divides every value of `d` (0 for d = 0). */
static int64_t multiple_of(const tn_dims *t, tn_dim d) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    int64_t divisor = 0;
    for (uint32_t i = 0; i < e.count; i++) {
        int64_t m = e.term[i].coefficient;
        for (int k = 0; k < e.term[i].count; k++) {
            const tn_dim_atom *atom = &t->atoms.data[e.term[i].atom[k]];
            int64_t product;
            if (atom->fn == TN_DIM_SYMBOL &&
                !__builtin_mul_overflow(m, t->symbols.data[atom->symbol].divisor, &product))
                m = product;
        }
        divisor = gcd(divisor, m);
    }
    return divisor;
}

/* c * floordiv(x, b) * rest, where b always divides x: the whole part of c / b becomes x. */
static bool expand_exact_quotient(tn_dims *t, const poly *p, tn_dim *out) {
    for (uint32_t i = 0; i < p->len; i++) {
        const tn_dim_term *term = &p->data[i];
        for (int k = 0; k < term->count; k++) {
            tn_dim_atom atom = t->atoms.data[term->atom[k]];
            if (atom.fn != TN_DIM_FLOORDIV || atom.b < 2) continue;
            int64_t whole = term->coefficient / atom.b;
            if (whole == 0 || multiple_of(t, atom.a) % atom.b != 0) continue;
            tn_dim_term rest, quotient = {.count = 1, .atom = {term->atom[k]}};
            tn__monomial_div(term, &quotient, &rest);
            rest.coefficient = whole;
            poly others = {0};
            for (uint32_t j = 0; j < p->len; j++) {
                tn_dim_term kept = p->data[j];
                if (j == i) kept.coefficient %= atom.b;
                poly_add_term(t, &others, kept);
            }
            tn_dim factor = rest.count ? expr_intern(t, &rest, 1) : tn_dim_const(t, whole);
            tn_dim sum = others.len ? expr_intern(t, others.data, others.len) : 0;
            *out = tn_dim_add(t, sum, tn_dim_mul(t, factor, atom.a));
            return true;
        }
    }
    return false;
}

static tn_dim dim_of_poly(tn_dims *t, const poly *p) {
    tn_dim expanded;
    if (p->len == 0) return 0;
    if (p->len == 1 && p->data[0].count == 0 && p->data[0].coefficient >= 0)
        return p->data[0].coefficient;
    if (expand_exact_quotient(t, p, &expanded)) return expanded;
    return expr_intern(t, p->data, p->len);
}

/* ---- atoms ---------------------------------------------------------------------------------- */

static uint16_t atom_intern(tn_dims *t, tn_dim_fn fn, uint32_t symbol, tn_dim a, tn_dim b) {
    const int64_t key[] = {(int64_t)fn, (int64_t)symbol, a, b};
    uint32_t id;
    if (tn_map_get(&t->atom_ids, key, sizeof key, &id)) return (uint16_t)id;
    if (t->atoms.len == TN__DIM_ATOMS) tn_out_of_memory();
    id = t->atoms.len;
    tn_dim_atom atom = {.fn = fn, .symbol = symbol, .a = a, .b = b};
    tn__interval bounds = tn__dim_atom_bounds(t, &atom);
    atom.lo = bounds.lo;
    atom.hi = bounds.hi;
    tn_vec_push(t->arena, &t->atoms, atom);
    tn_map_put(&t->atom_ids, key, sizeof key, id);
    return (uint16_t)id;
}

static tn_dim dim_of_atom(tn_dims *t, uint16_t atom) {
    tn_dim_term term = {.coefficient = 1, .count = 1, .atom = {atom}};
    return expr_intern(t, &term, 1);
}

static tn_dim dim_of_fn(tn_dims *t, tn_dim_fn fn, tn_dim a, tn_dim b) {
    return dim_of_atom(t, atom_intern(t, fn, 0, a, b));
}

static tn_dim opaque(tn_dims *t, tn_dim d) {
    return dim_of_fn(t, TN_DIM_FLOORDIV, d, 1);
}

/* The single atom that `d` is, or NULL. */
static const tn_dim_atom *atom_of(const tn_dims *t, tn_dim d) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    if (e.count != 1 || e.term[0].coefficient != 1 || e.term[0].count != 1) return NULL;
    return &t->atoms.data[e.term[0].atom[0]];
}

/* ---- symbols -------------------------------------------------------------------------------- */

/* Names share atom_ids with atoms: a name has no inner NUL, so no name equals an atom's key. */
bool tn_dims_find_symbol(const tn_dims *t, const char *name, uint32_t *index) {
    return tn_map_get(&t->atom_ids, name, strlen(name) + 1, index);
}

uint32_t tn_dims_symbol(tn_dims *t, const char *name) {
    uint32_t index;
    if (tn_dims_find_symbol(t, name, &index)) return index;
    index = t->symbols.len;
    tn_dim_symbol s = {tn_arena_strdup(t->arena, name), 1, TN_DIM_UNBOUNDED, 1};
    tn_vec_push(t->arena, &t->symbols, s);
    tn_map_put(&t->atom_ids, name, strlen(name) + 1, index);
    atom_intern(t, TN_DIM_SYMBOL, index, 0, 0);
    return index;
}

tn_dim tn_dim_of_symbol(tn_dims *t, const char *name) {
    return dim_of_atom(t, atom_intern(t, TN_DIM_SYMBOL, tn_dims_symbol(t, name), 0, 0));
}

void tn_dims_set_bounds(tn_dims *t, uint32_t symbol, int64_t lo, int64_t hi, int64_t divisor) {
    tn_dim_symbol *s = &t->symbols.data[symbol];
    TN_ASSERT(lo <= hi && divisor >= 1);
    s->lo = lo;
    s->hi = hi;
    s->divisor = divisor;
    for (uint32_t i = 0; i < t->atoms.len; i++) {
        tn__interval bounds = tn__dim_atom_bounds(t, &t->atoms.data[i]);
        t->atoms.data[i].lo = bounds.lo;
        t->atoms.data[i].hi = bounds.hi;
    }
}

bool tn_dim_is_symbol(const tn_dims *t, tn_dim d, uint32_t *symbol) {
    const tn_dim_atom *atom = atom_of(t, d);
    if (!atom || atom->fn != TN_DIM_SYMBOL) return false;
    *symbol = atom->symbol;
    return true;
}

/* ---- arithmetic ----------------------------------------------------------------------------- */

tn_dim tn_dim_const(tn_dims *t, int64_t value) {
    if (value >= 0) return value;
    tn_dim_term term = {.coefficient = value};
    return expr_intern(t, &term, 1);
}

bool tn_dim_const_value(const tn_dims *t, tn_dim d, int64_t *value) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    if (e.count > 1 || (e.count == 1 && e.term[0].count > 0)) return false;
    *value = e.count ? e.term[0].coefficient : 0;
    return true;
}

static tn_dim add_scaled(tn_dims *t, tn_dim a, tn_dim b, int64_t scale) {
    tn_dim_term sa, sb, factor = {.coefficient = scale};
    if (tn__dim_terms(t, a, &sa).count + tn__dim_terms(t, b, &sb).count > TN__DIM_TERMS) {
        a = opaque(t, a);
        b = opaque(t, b);
    }
    poly sum = {0};
    poly_add_product(t, &sum, tn__dim_terms(t, a, &sa), one);
    poly_add_product(t, &sum, tn__dim_terms(t, b, &sb), factor);
    return dim_of_poly(t, &sum);
}

tn_dim tn_dim_add(tn_dims *t, tn_dim a, tn_dim b) {
    if (a >= 0 && b >= 0) return tn__sat_add(a, b);
    return add_scaled(t, a, b, 1);
}

tn_dim tn_dim_sub(tn_dims *t, tn_dim a, tn_dim b) {
    if (a >= 0 && b >= 0 && a >= b) return a - b;
    return add_scaled(t, a, b, -1);
}

static int degree(const tn_dims *t, tn_dim d) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    return e.count ? e.term[0].count : 0;
}

tn_dim tn_dim_mul(tn_dims *t, tn_dim a, tn_dim b) {
    if (a >= 0 && b >= 0) return tn__sat_mul(a, b);
    tn_dim_term sa, sb;
    bool many = tn__dim_terms(t, a, &sa).count * tn__dim_terms(t, b, &sb).count > TN__DIM_TERMS;
    if (many || degree(t, a) + degree(t, b) > TN_DIM_MAX_ATOMS) {
        if (a < 0) a = opaque(t, a);
        if (b < 0) b = opaque(t, b);
    }
    tn_dim_expr ea = tn__dim_terms(t, a, &sa), eb = tn__dim_terms(t, b, &sb);
    poly product = {0};
    for (uint32_t i = 0; i < ea.count; i++) poly_add_product(t, &product, eb, ea.term[i]);
    return dim_of_poly(t, &product);
}

/* Polynomial long division; true when nothing remains. */
static bool divide_exactly(tn_dims *t, tn_dim a, tn_dim b, tn_dim *q) {
    tn_dim_term sa, sb;
    tn_dim_expr divisor = tn__dim_terms(t, b, &sb);
    poly rest = {0}, quotient = {0};
    if (divisor.count == 0) return false;
    if (!poly_add_product(t, &rest, tn__dim_terms(t, a, &sa), one)) return false;
    for (int step = 0; rest.len; step++) {
        tn_dim_term next;
        int64_t lead = divisor.term[0].coefficient;
        if (step == TN__DIM_TERMS || !tn__monomial_div(&rest.data[0], &divisor.term[0], &next) ||
            tn__floor_mod(next.coefficient, lead) != 0)
            return false;
        next.coefficient = tn__floor_div(next.coefficient, lead);
        poly_add_term(t, &quotient, next);
        next.coefficient = tn__sat_neg(next.coefficient);
        if (!poly_add_product(t, &rest, divisor, next)) return false;
    }
    *q = dim_of_poly(t, &quotient);
    return true;
}

/* Splits a = quotient * b + rest term by term; b is one term. Coefficients of the rest that has b's
 * atoms lie in [0, |b|), so that a size has one spelling: floordiv(S-1, 2) + 1 = floordiv(S+1, 2).
 */
static void split(tn_dims *t, tn_dim a, const tn_dim_term *b, tn_dim *quotient, tn_dim *rest) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, a, &slot);
    poly q = {0}, r = {0};
    for (uint32_t i = 0; i < e.count; i++) {
        tn_dim_term whole, part = e.term[i];
        if (tn__monomial_div(&part, b, &whole)) {
            whole.coefficient = tn__floor_div(part.coefficient, b->coefficient);
            part.coefficient = tn__floor_mod(part.coefficient, b->coefficient);
            poly_add_term(t, &q, whole);
        }
        poly_add_term(t, &r, part);
    }
    *quotient = dim_of_poly(t, &q);
    *rest = dim_of_poly(t, &r);
}

/* Divides a and b by what all their terms share: floordiv(2*N*S, 4*N) = floordiv(S, 2). */
static void cancel_common_factor(tn_dims *t, tn_dim *a, tn_dim *b) {
    tn_dim_term slot, common = tn__dim_terms(t, *b, &slot).term[0];
    int64_t factor = 0;
    tn_dim *side[2] = {a, b};
    for (int s = 0; s < 2; s++) {
        tn_dim_expr e = tn__dim_terms(t, *side[s], &slot);
        for (uint32_t i = 0; i < e.count; i++) {
            common = tn__monomial_common(&common, &e.term[i]);
            factor = gcd(factor, e.term[i].coefficient);
        }
    }
    if (factor == INT64_MAX || (factor == 1 && common.count == 0)) return;
    common.coefficient = factor;
    poly p = {0};
    poly_add_term(t, &p, common);
    tn_dim divisor = dim_of_poly(t, &p), x, y;
    if (!divide_exactly(t, *a, divisor, &x) || !divide_exactly(t, *b, divisor, &y)) return;
    *a = x;
    *b = y;
}

static tn_dim floordiv_atom(tn_dims *t, tn_dim a, tn_dim b) {
    int64_t value;
    if (tn__dim_quotient_is_const(t, a, b, &value)) return tn_dim_const(t, value);
    cancel_common_factor(t, &a, &b);
    if (b == 1) return a;
    const tn_dim_atom *inner = atom_of(t, a);
    if (b > 0 && inner && inner->fn == TN_DIM_FLOORDIV && inner->b > 1 &&
        tn__sat_mul(inner->b, b) != INT64_MAX)
        return tn_dim_floordiv(t, inner->a, inner->b * b); /* floor(floor(x/m)/n) = floor(x/(mn)) */
    return dim_of_fn(t, TN_DIM_FLOORDIV, a, b);
}

tn_dim tn_dim_floordiv(tn_dims *t, tn_dim a, tn_dim b) {
    if (a >= 0 && b > 0) return a / b;
    if (b == 0) return 0;
    tn_dim q, rest;
    if (divide_exactly(t, a, b, &q)) return q;
    tn_dim_term slot;
    tn_dim_expr divisor = tn__dim_terms(t, b, &slot);
    if (divisor.term[0].coefficient < 0)
        return tn_dim_floordiv(t, tn_dim_sub(t, 0, a), tn_dim_sub(t, 0, b));
    if (divisor.count > 1) return floordiv_atom(t, a, b);
    split(t, a, divisor.term, &q, &rest);
    return tn_dim_add(t, q, floordiv_atom(t, rest, b));
}

tn_dim tn_dim_ceildiv(tn_dims *t, tn_dim a, tn_dim b) {
    tn_dim q;
    if (a >= 0 && b > 0) return a / b + (a % b != 0);
    if (divide_exactly(t, a, b, &q)) return q;
    return tn_dim_floordiv(t, tn_dim_add(t, a, tn_dim_sub(t, b, 1)), b);
}

tn_dim tn_dim_mod(tn_dims *t, tn_dim a, tn_dim b) {
    if (a >= 0 && b > 0) return a % b;
    tn_dim q, rest = a;
    if (b == 0 || tn_dim_divides(t, a, b, &q)) return 0;
    tn_dim_term slot;
    tn_dim_expr divisor = tn__dim_terms(t, b, &slot);
    if (divisor.count == 1 && divisor.term[0].coefficient > 0) split(t, a, divisor.term, &q, &rest);
    int64_t value;
    if (tn__dim_quotient_is_const(t, rest, b, &value)) /* rest - value * b lies in [0, b) */
        return tn_dim_sub(t, rest, tn_dim_mul(t, tn_dim_const(t, value), b));
    return dim_of_fn(t, TN_DIM_MOD, rest, b);
}

static tn_dim pick(tn_dims *t, tn_dim_fn fn, tn_dim a, tn_dim b) {
    tn__interval difference = tn__dim_bounds(t, tn_dim_sub(t, a, b));
    tn_dim smaller = a, greater = b;
    if (difference.lo >= 0) {
        smaller = b;
        greater = a;
    } else if (difference.hi > 0) {
        return dim_of_fn(t, fn, TN_MIN(a, b), TN_MAX(a, b));
    }
    return fn == TN_DIM_MIN ? smaller : greater;
}

tn_dim tn_dim_min(tn_dims *t, tn_dim a, tn_dim b) {
    if (a >= 0 && b >= 0) return TN_MIN(a, b);
    return pick(t, TN_DIM_MIN, a, b);
}

tn_dim tn_dim_max(tn_dims *t, tn_dim a, tn_dim b) {
    if (a >= 0 && b >= 0) return TN_MAX(a, b);
    return pick(t, TN_DIM_MAX, a, b);
}

bool tn_dim_divides(tn_dims *t, tn_dim a, tn_dim b, tn_dim *q) {
    if (a >= 0 && b > 0) {
        *q = a / b;
        return a % b == 0;
    }
    if (divide_exactly(t, a, b, q)) return true;
    if (b < 1 || multiple_of(t, a) % b != 0) return false;
    *q = tn_dim_floordiv(t, a, b);
    return true;
}
