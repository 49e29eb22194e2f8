/* Sizes: constants or expressions over symbols (batch, sequence, …).
 *
 * A tn_dim >= 0 is a constant; a negative one names an expression in a tn_dims table. Expressions are
 * kept in a normal form (a sum of integer multiples of products of atoms; an atom is a symbol or a
 * quotient, remainder, minimum or maximum) and hash-consed, so two sizes of one table that are equal
 * as polynomials are the same number. A table belongs to a graph and lives in its arena. */
#ifndef TENON_BASE_DIM_H
#define TENON_BASE_DIM_H

#include "base/base.h"
#include "base/str.h"

typedef int64_t tn_dim;
enum { TN_DIM_MAX_ATOMS = 6 };
#define TN_DIM_UNBOUNDED INT64_MAX

typedef struct tn_dim_symbol {
    const char *name;
    int64_t lo, hi; /* inclusive; hi may be TN_DIM_UNBOUNDED */
    int64_t divisor;
} tn_dim_symbol;

typedef enum tn_dim_fn {
    TN_DIM_SYMBOL,
    TN_DIM_FLOORDIV,
    TN_DIM_MOD,
    TN_DIM_MIN,
    TN_DIM_MAX
} tn_dim_fn;

typedef struct tn_dim_atom {
    tn_dim_fn fn;
    uint32_t symbol; /* TN_DIM_SYMBOL */
    tn_dim a, b;     /* the others */
    int64_t lo, hi;  /* bounds of its value */
} tn_dim_atom;

typedef struct tn_dim_term {
    int64_t coefficient;
    uint16_t count;                  /* 0: the constant term */
    uint16_t atom[TN_DIM_MAX_ATOMS]; /* ascending */
} tn_dim_term;

typedef struct tn_dim_expr {
    uint32_t count;
    const tn_dim_term *term;
} tn_dim_expr;

typedef struct tn_dims {
    tn_arena *arena;
    TN_VEC(tn_dim_symbol) symbols;
    TN_VEC(tn_dim_atom) atoms;
    TN_VEC(tn_dim_expr) exprs;
    tn_map expr_ids, atom_ids;
} tn_dims;

void tn_dims_init(tn_dims *t, tn_arena *arena);

static inline bool tn_dim_is_const(tn_dim d) {
    return d >= 0;
}

/* A symbol by name: the existing one or a new one with bounds [1, unbounded] and divisor 1. */
tn_dim tn_dim_of_symbol(tn_dims *t, const char *name);
uint32_t tn_dims_symbol(tn_dims *t, const char *name); /* its index */
bool tn_dims_find_symbol(const tn_dims *t, const char *name, uint32_t *index);
void tn_dims_set_bounds(tn_dims *t, uint32_t symbol, int64_t lo, int64_t hi, int64_t divisor);
/* Whether `d` is exactly one symbol. */
bool tn_dim_is_symbol(const tn_dims *t, tn_dim d, uint32_t *symbol);

/* Values may be negative in between (a slice's arithmetic): such a constant is an expression too. */
tn_dim tn_dim_const(tn_dims *t, int64_t value);
/* The value when `d` is a constant, negative ones included. */
bool tn_dim_const_value(const tn_dims *t, tn_dim d, int64_t *value);
tn_dim tn_dim_add(tn_dims *t, tn_dim a, tn_dim b);
tn_dim tn_dim_sub(tn_dims *t, tn_dim a, tn_dim b);
tn_dim tn_dim_mul(tn_dims *t, tn_dim a, tn_dim b);
tn_dim tn_dim_floordiv(tn_dims *t, tn_dim a, tn_dim b); /* exact where b divides a as polynomials */
tn_dim tn_dim_ceildiv(tn_dims *t, tn_dim a, tn_dim b);
tn_dim tn_dim_mod(tn_dims *t, tn_dim a, tn_dim b);
tn_dim tn_dim_min(tn_dims *t, tn_dim a, tn_dim b);
tn_dim tn_dim_max(tn_dims *t, tn_dim a, tn_dim b);
/* True with *q = a / b when b divides a for every value of the symbols. */
bool tn_dim_divides(tn_dims *t, tn_dim a, tn_dim b, tn_dim *q);

/* Bounds that hold for all legal symbol values (conservative). */
int64_t tn_dim_lo(const tn_dims *t, tn_dim d);
int64_t tn_dim_hi(const tn_dims *t, tn_dim d);
/* Whether a <= b for all legal symbol values; false: it is not so, or no proof was found. */
bool tn_dim_proves_le(tn_dims *t, tn_dim a, tn_dim b);
/* The value under `bindings[symbol]`. Wraps are errors of the caller: bind checks bounds first. */
int64_t tn_dim_eval(const tn_dims *t, tn_dim d, const int64_t *bindings);
/* Replaces symbols: with[s] is the new size of symbol s (in table `to`). */
tn_dim tn_dim_substitute(tn_dims *to, const tn_dims *from, tn_dim d, const tn_dim *with);
/* Whether every symbol of `d` satisfies the bits in `symbols` (NULL: whether it has none). */
bool tn_dim_uses_symbol(const tn_dims *t, tn_dim d, uint32_t symbol);

/* Sets used[s] for every symbol s that `d` is made of. */
void tn_dim_mark_symbols(const tn_dims *t, tn_dim d, bool *used);
/* A value that `d` does not exceed while each symbol s is in [lo[s], hi[s]]; INT64_MAX: none is known. */
int64_t tn_dim_eval_most(const tn_dims *t, tn_dim d, const int64_t *lo, const int64_t *hi);

void tn_dim_print(const tn_dims *t, tn_dim d, tn_str *out);

/* ---- shapes --------------------------------------------------------------------------------- */

typedef struct tn_shape {
    int rank;
    tn_dim dim[TN_MAX_RANK];
} tn_shape;

typedef struct tn_type {
    tn_dtype dtype;
    tn_shape shape;
} tn_type;

bool tn_shape_equal(const tn_shape *a, const tn_shape *b);
tn_dim tn_shape_count(tn_dims *t, const tn_shape *s); /* number of elements */
bool tn_shape_is_const(const tn_shape *s);
int64_t tn_shape_const_count(const tn_shape *s);                        /* for constant shapes */
void tn_shape_print(const tn_dims *t, const tn_shape *s, tn_str *out);  /* 2x3xN; "scalar" */
void tn_type_print(const tn_dims *t, const tn_type *type, tn_str *out); /* f32[2,3,N] */

#endif
