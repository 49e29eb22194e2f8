/* Sizes in program files: symbols, atoms and expressions as tables, rebuilt through the algebra.
 *
 * Atoms refer to expressions, and these to older atoms only; so the atoms in their order, each
 * after the expressions it needs, can be built without recursion. */
#include "program/format.h"

/* ---- writing -------------------------------------------------------------------------------- */

void tn__dims_writer_init(tn__dims_writer *w, tn_arena *arena, const tn_dims *dims) {
    *w = (tn__dims_writer){.arena = arena, .dims = dims};
    w->number_of = TN_NEW_N(arena, uint32_t, dims->exprs.len);
    w->atom_used = tn_arena_alloc(arena, dims->atoms.len);
}

static int64_t number(tn__dims_writer *w, tn_dim d) {
    if (d >= 0) return d;
    uint32_t expr = (uint32_t)(-1 - d);
    if (!w->number_of[expr]) {
        tn_vec_push(w->arena, &w->exprs, expr);
        w->number_of[expr] = w->exprs.len;
    }
    return -(int64_t)w->number_of[expr];
}

void tn__put_dim(tn__dims_writer *w, tn_str *out, tn_dim d) {
    tn__put64(out, (uint64_t)number(w, d));
}

/* Marks the atoms of all expressions, and the expressions in these atoms, until none is new. */
static void close_over(tn__dims_writer *w) {
    for (uint32_t i = 0; i < w->exprs.len; i++) {
        tn_dim_expr e = w->dims->exprs.data[w->exprs.data[i]];
        for (uint32_t t = 0; t < e.count; t++)
            for (int k = 0; k < e.term[t].count; k++) {
                uint16_t id = e.term[t].atom[k];
                const tn_dim_atom *a = &w->dims->atoms.data[id];
                if (w->atom_used[id]) continue;
                w->atom_used[id] = 1;
                if (a->fn == TN_DIM_SYMBOL) continue;
                number(w, a->a);
                number(w, a->b);
            }
    }
}

static void put_symbols(const tn_dims *dims, tn_str *out) {
    tn__put32(out, dims->symbols.len);
    for (uint32_t i = 0; i < dims->symbols.len; i++) {
        const tn_dim_symbol *s = &dims->symbols.data[i];
        tn__put_text(out, s->name);
        tn__put64(out, (uint64_t)s->lo);
        tn__put64(out, (uint64_t)s->hi);
        tn__put64(out, (uint64_t)s->divisor);
    }
}

static void put_atoms(tn__dims_writer *w, uint32_t *atom_number, tn_str *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->dims->atoms.len; i++)
        if (w->atom_used[i]) atom_number[i] = count++;
    tn__put32(out, count);
    for (uint32_t i = 0; i < w->dims->atoms.len; i++) {
        const tn_dim_atom *a = &w->dims->atoms.data[i];
        if (!w->atom_used[i]) continue;
        tn__put(out, a->fn, 1);
        tn__put32(out, a->symbol);
        tn__put64(out, a->fn == TN_DIM_SYMBOL ? 0 : (uint64_t)number(w, a->a));
        tn__put64(out, a->fn == TN_DIM_SYMBOL ? 0 : (uint64_t)number(w, a->b));
    }
}

void tn__put_dims(tn__dims_writer *w, tn_str *out) {
    uint32_t *atom_number = TN_NEW_N(w->arena, uint32_t, w->dims->atoms.len);
    close_over(w);
    put_symbols(w->dims, out);
    put_atoms(w, atom_number, out);
    tn__put32(out, w->exprs.len);
    for (uint32_t i = 0; i < w->exprs.len; i++) {
        tn_dim_expr e = w->dims->exprs.data[w->exprs.data[i]];
        tn__put32(out, e.count);
        for (uint32_t t = 0; t < e.count; t++) {
            tn__put64(out, (uint64_t)e.term[t].coefficient);
            tn__put32(out, e.term[t].count);
            for (int k = 0; k < e.term[t].count; k++)
                tn__put32(out, atom_number[e.term[t].atom[k]]);
        }
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct file_atom {
    uint8_t fn;
    uint32_t symbol;
    int64_t a, b;
    tn_dim value;
} file_atom;

typedef struct file_term {
    int64_t coefficient;
    uint32_t count, atom[TN_DIM_MAX_ATOMS];
} file_term;

typedef struct file_expr {
    uint32_t first, count; /* terms */
    bool built;
} file_expr;

typedef struct builder {
    tn__dims_reader *out;
    tn_dims *dims;
    file_atom *atoms;
    uint32_t atom_count;
    file_expr *exprs;
    TN_VEC(file_term) terms;
} builder;

static bool take_symbols(tn_dims *dims, tn__reader *r) {
    uint32_t count = tn__take_count(r, 28);
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        const char *name = tn__take_text(r);
        int64_t lo = (int64_t)tn__take64(r), hi = (int64_t)tn__take64(r);
        int64_t divisor = (int64_t)tn__take64(r);
        if (r->failed || !name || lo > hi || divisor < 1 || tn_dims_symbol(dims, name) != i)
            return false;
        tn_dims_set_bounds(dims, i, lo, hi, divisor);
    }
    return !r->failed;
}

static void take_atoms(builder *b, tn__reader *r) {
    b->atom_count = tn__take_count(r, 21);
    b->atoms = TN_NEW_N(r->arena, file_atom, b->atom_count);
    for (uint32_t i = 0; i < b->atom_count; i++) {
        file_atom *a = &b->atoms[i];
        a->fn = tn__take8(r);
        a->symbol = tn__take32(r);
        a->a = (int64_t)tn__take64(r);
        a->b = (int64_t)tn__take64(r);
    }
}

static void take_exprs(builder *b, tn__reader *r) {
    b->out->count = tn__take_count(r, 4);
    b->out->exprs = TN_NEW_N(r->arena, tn_dim, b->out->count);
    b->exprs = TN_NEW_N(r->arena, file_expr, b->out->count);
    for (uint32_t i = 0; i < b->out->count; i++) {
        b->exprs[i] = (file_expr){b->terms.len, tn__take_count(r, 12), false};
        for (uint32_t t = 0; t < b->exprs[i].count; t++) {
            file_term term = {.coefficient = (int64_t)tn__take64(r)};
            term.count = tn__take32(r);
            if (term.count > TN_DIM_MAX_ATOMS) r->failed = true;
            for (uint32_t k = 0; k < term.count && !r->failed; k++) {
                term.atom[k] = tn__take32(r);
                if (term.atom[k] >= b->atom_count) r->failed = true;
            }
            if (r->failed) return;
            tn_vec_push(r->arena, &b->terms, term);
        }
    }
}

/* Builds an expression from the atoms below `limit`. */
static bool build_expr(builder *b, uint32_t id, uint32_t limit) {
    file_expr *e = &b->exprs[id];
    tn_dim sum = 0;
    if (e->built) return true;
    for (uint32_t t = 0; t < e->count; t++) {
        const file_term *term = &b->terms.data[e->first + t];
        tn_dim product = tn_dim_const(b->dims, term->coefficient);
        for (uint32_t k = 0; k < term->count; k++) {
            if (term->atom[k] >= limit) return false;
            product = tn_dim_mul(b->dims, product, b->atoms[term->atom[k]].value);
        }
        sum = tn_dim_add(b->dims, sum, product);
    }
    b->out->exprs[id] = sum;
    e->built = true;
    return true;
}

static bool resolve(builder *b, int64_t ref, uint32_t limit, tn_dim *out) {
    *out = ref;
    if (ref >= 0) return true;
    if (ref < -(int64_t)b->out->count) return false;
    uint32_t id = (uint32_t)(-1 - ref);
    if (!build_expr(b, id, limit)) return false;
    *out = b->out->exprs[id];
    return true;
}

static bool build_atom(builder *b, uint32_t i) {
    file_atom *atom = &b->atoms[i];
    tn_dim x, y;
    if (atom->fn == TN_DIM_SYMBOL) {
        if (atom->symbol >= b->dims->symbols.len) return false;
        atom->value = tn_dim_of_symbol(b->dims, b->dims->symbols.data[atom->symbol].name);
        return true;
    }
    if (!resolve(b, atom->a, i, &x) || !resolve(b, atom->b, i, &y)) return false;
    switch (atom->fn) {
    case TN_DIM_FLOORDIV:
    case TN_DIM_MOD:
        if (y == 0) return false;
        atom->value =
            atom->fn == TN_DIM_MOD ? tn_dim_mod(b->dims, x, y) : tn_dim_floordiv(b->dims, x, y);
        return true;
    case TN_DIM_MIN:
        atom->value = tn_dim_min(b->dims, x, y);
        return true;
    case TN_DIM_MAX:
        atom->value = tn_dim_max(b->dims, x, y);
        return true;
    default:
        return false;
    }
}

bool tn__take_dims(tn__dims_reader *d, tn__reader *r, tn_dims *dims) {
    builder b = {.out = d, .dims = dims};
    *d = (tn__dims_reader){.dims = dims};
    if (!take_symbols(dims, r)) return false;
    take_atoms(&b, r);
    take_exprs(&b, r);
    if (r->failed) return false;
    for (uint32_t i = 0; i < b.atom_count; i++)
        if (!build_atom(&b, i)) return false;
    for (uint32_t i = 0; i < d->count; i++)
        if (!build_expr(&b, i, b.atom_count)) return false;
    return true;
}

tn_dim tn__take_dim(const tn__dims_reader *d, tn__reader *r) {
    int64_t ref = (int64_t)tn__take64(r);
    if (r->failed || ref >= 0) return r->failed ? 0 : ref;
    if (ref >= -(int64_t)d->count) return d->exprs[-1 - ref];
    r->failed = true;
    return 0;
}
