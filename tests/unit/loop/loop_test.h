/* Shared by the tests of src/loop: a kernel under construction. */
#ifndef TENON_TEST_LOOP_H
#define TENON_TEST_LOOP_H

#include "unit/test.h"

#include "loop/loop.h"

typedef struct fixture {
    tn_arena arena;
    tn_loop k;
} fixture;

static inline void fixture_init(fixture *f) {
    *f = (fixture){0};
    tn_arena_init(&f->arena, tn_allocator_system());
    tn_loop_init(&f->k, &f->arena, NULL, "test");
}

static inline void fixture_deinit(fixture *f) {
    tn_arena_deinit(&f->arena);
}

static inline tn_lx num(fixture *f, int64_t value) {
    return tn_l_int(&f->k, value);
}

/* A parameter with bounds. */
static inline tn_lx size(fixture *f, int64_t lo, int64_t hi) {
    tn_lscalar s = {f->k.scalars.len, lo, hi};
    tn_vec_push(f->k.arena, &f->k.scalars, s);
    return tn_l_scalar(&f->k, f->k.scalars.len - 1);
}

static inline tn_lx loop_to(fixture *f, tn_lx end, const char *name) {
    return tn_l_for(&f->k, TN_LOOP_SERIAL, num(f, 0), end, name);
}

static inline bool is_true(const fixture *f, tn_lx e) {
    const tn_lexpr *x = tn_l_expr(&f->k, e);
    return x->kind == TN_LX_CONST && x->dtype == TN_bool && x->value.u == 1;
}

static inline bool is_false(const fixture *f, tn_lx e) {
    const tn_lexpr *x = tn_l_expr(&f->k, e);
    return x->kind == TN_LX_CONST && x->dtype == TN_bool && x->value.u == 0;
}

/* The value of an expression over variables 1, 2 (`at`) and parameter 0, straight from the tree. */
static inline int64_t value(const tn_loop *k, tn_lx e, const int64_t *at, int64_t n) {
    const tn_lexpr *x = tn_l_expr(k, e);
    if (x->kind == TN_LX_CONST) return x->dtype == TN_bool ? (int64_t)x->value.u : x->value.i;
    if (x->kind == TN_LX_VAR) return at[x->index];
    if (x->kind == TN_LX_SCALAR) return n;
    tn_cell a = {.i = value(k, x->a, at, n)}, b = {.i = x->b ? value(k, x->b, at, n) : 0};
    return tn_scalar_apply(x->op, TN_i64, a, b, b).i;
}

#endif
