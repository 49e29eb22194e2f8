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

#endif
