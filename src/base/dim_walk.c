/* Walks over sizes: evaluation, substitution, printing. See dim.h.
 *
 * Atoms refer only to older ones: a walk is a loop in order of creation, so neither depth nor
 * sharing of a hostile expression costs more than one visit per atom. */
#include "base/dim_inner.h"

uint32_t tn__dim_atoms_below(const tn_dims *t, tn_dim d) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    uint32_t end = 0;
    for (uint32_t i = 0; i < e.count; i++)
        if (e.term[i].count) end = TN_MAX(end, e.term[i].atom[e.term[i].count - 1] + 1u);
    return end;
}

/* Wraps instead of overflowing. */
static int64_t eval_terms(const tn_dims *t, tn_dim d, const int64_t *atom_value) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < e.count; i++) {
        uint64_t product = (uint64_t)e.term[i].coefficient;
        for (int k = 0; k < e.term[i].count; k++)
            product *= (uint64_t)atom_value[e.term[i].atom[k]];
        sum += product;
    }
    return (int64_t)sum;
}

int64_t tn_dim_eval(const tn_dims *t, tn_dim d, const int64_t *bindings) {
    if (d >= 0) return d;
    int64_t value[TN__DIM_ATOMS];
    uint32_t end = tn__dim_atoms_below(t, d);
    for (uint32_t i = 0; i < end; i++) {
        const tn_dim_atom *atom = &t->atoms.data[i];
        if (atom->fn == TN_DIM_SYMBOL) {
            value[i] = bindings[atom->symbol];
            continue;
        }
        int64_t a = eval_terms(t, atom->a, value), b = eval_terms(t, atom->b, value);
        switch (atom->fn) {
        case TN_DIM_FLOORDIV:
            value[i] = tn__floor_div(a, b);
            break;
        case TN_DIM_MOD:
            value[i] = tn__floor_mod(a, b);
            break;
        case TN_DIM_MIN:
            value[i] = TN_MIN(a, b);
            break;
        default:
            value[i] = TN_MAX(a, b);
            break;
        }
    }
    return eval_terms(t, d, value);
}

static tn_dim substitute_terms(tn_dims *to, const tn_dims *from, tn_dim d, const tn_dim *fresh) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(from, d, &slot);
    tn_dim sum = 0;
    for (uint32_t i = 0; i < e.count; i++) {
        tn_dim product = tn_dim_const(to, e.term[i].coefficient);
        for (int k = 0; k < e.term[i].count; k++)
            product = tn_dim_mul(to, product, fresh[e.term[i].atom[k]]);
        sum = tn_dim_add(to, sum, product);
    }
    return sum;
}

static void mark_used(const tn_dims *t, tn_dim d, bool *used) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    for (uint32_t i = 0; i < e.count; i++)
        for (int k = 0; k < e.term[i].count; k++) used[e.term[i].atom[k]] = true;
}

/* Marks every atom that `d` is made of; returns one more than the newest. */
static uint32_t mark_reachable(const tn_dims *t, tn_dim d, bool used[TN__DIM_ATOMS]) {
    uint32_t end = tn__dim_atoms_below(t, d);
    memset(used, 0, end);
    mark_used(t, d, used);
    for (uint32_t i = end; i-- > 0;) {
        const tn_dim_atom *atom = &t->atoms.data[i];
        if (!used[i] || atom->fn == TN_DIM_SYMBOL) continue;
        mark_used(t, atom->a, used);
        mark_used(t, atom->b, used);
    }
    return end;
}

tn_dim tn_dim_substitute(tn_dims *to, const tn_dims *from, tn_dim d, const tn_dim *with) {
    if (d >= 0) return d;
    bool used[TN__DIM_ATOMS];
    uint32_t end = mark_reachable(from, d, used);
    tn_dim *fresh = TN_NEW_N(to->arena, tn_dim, end);
    for (uint32_t i = 0; i < end; i++) {
        if (!used[i]) continue;
        tn_dim_atom atom = from->atoms.data[i];
        if (atom.fn == TN_DIM_SYMBOL) {
            fresh[i] = with[atom.symbol];
            continue;
        }
        tn_dim a = substitute_terms(to, from, atom.a, fresh);
        tn_dim b = substitute_terms(to, from, atom.b, fresh);
        switch (atom.fn) {
        case TN_DIM_FLOORDIV:
            fresh[i] = tn_dim_floordiv(to, a, b);
            break;
        case TN_DIM_MOD:
            fresh[i] = tn_dim_mod(to, a, b);
            break;
        case TN_DIM_MIN:
            fresh[i] = tn_dim_min(to, a, b);
            break;
        default:
            fresh[i] = tn_dim_max(to, a, b);
            break;
        }
    }
    return substitute_terms(to, from, d, fresh);
}

void tn_dim_mark_symbols(const tn_dims *t, tn_dim d, bool *used) {
    if (d >= 0) return;
    bool reached[TN__DIM_ATOMS];
    uint32_t end = mark_reachable(t, d, reached);
    for (uint32_t i = 0; i < end; i++) {
        const tn_dim_atom *atom = &t->atoms.data[i];
        if (reached[i] && atom->fn == TN_DIM_SYMBOL) used[atom->symbol] = true;
    }
}

bool tn_dim_uses_symbol(const tn_dims *t, tn_dim d, uint32_t symbol) {
    if (d >= 0) return false;
    bool used[TN__DIM_ATOMS];
    uint32_t end = mark_reachable(t, d, used);
    for (uint32_t i = 0; i < end; i++) {
        const tn_dim_atom *atom = &t->atoms.data[i];
        if (used[i] && atom->fn == TN_DIM_SYMBOL && atom->symbol == symbol) return true;
    }
    return false;
}

/* ---- printing ------------------------------------------------------------------------------- */

/* Stops with "..." at `end` characters: sharing can make the text exponentially long. */
static void print_to(const tn_dims *t, tn_dim d, tn_str *out, size_t end);

static void print_atom(const tn_dims *t, const tn_dim_atom *atom, tn_str *out, size_t end) {
    static const char *const name[] = {"", "floordiv", "mod", "min", "max"};
    if (atom->fn == TN_DIM_SYMBOL) {
        tn_str_append(out, t->symbols.data[atom->symbol].name);
        return;
    }
    tn_str_appendf(out, "%s(", name[atom->fn]);
    print_to(t, atom->a, out, end);
    tn_str_append(out, ",");
    print_to(t, atom->b, out, end);
    tn_str_append(out, ")");
}

static void print_term(const tn_dims *t, const tn_dim_term *term, tn_str *out, size_t end) {
    bool bare = term->count && (term->coefficient == 1 || term->coefficient == -1);
    if (bare && term->coefficient < 0) tn_str_append(out, "-");
    if (!bare) tn_str_appendf(out, "%lld", (long long)term->coefficient);
    for (int k = 0; k < term->count; k++) {
        if (k > 0 || !bare) tn_str_append(out, "*");
        print_atom(t, &t->atoms.data[term->atom[k]], out, end);
    }
}

static void print_to(const tn_dims *t, tn_dim d, tn_str *out, size_t end) {
    tn_dim_term slot;
    tn_dim_expr e = tn__dim_terms(t, d, &slot);
    if (e.count == 0) tn_str_append(out, "0");
    for (uint32_t i = 0; i < e.count; i++) {
        if (out->len > end) {
            tn_str_append(out, "...");
            return;
        }
        if (i > 0 && e.term[i].coefficient > 0) tn_str_append(out, "+");
        print_term(t, &e.term[i], out, end);
    }
}

void tn_dim_print(const tn_dims *t, tn_dim d, tn_str *out) {
    print_to(t, d, out, out->len + TN__DIM_PRINT);
}
