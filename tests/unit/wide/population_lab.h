/* A population beside modules of the same seeds, which run alone. */
#ifndef TENON_POPULATION_LAB_H
#define TENON_POPULATION_LAB_H

#include <tenon/population.h>

#include "unit/nn/lazy_test.h"

enum { LAB_MEMBERS = 3, LAB_RESULTS = 24, LAB_INPUTS = 4, LAB_SEED = 100 };

static const char *lab_case = ""; /* in messages */

typedef struct lab {
    tn_context *c;
    tn_population *p;
    tn_module *alone[LAB_MEMBERS];
} lab;

static inline tn_module *lab_module(tn_context *c, uint64_t seed) {
    tn_module_options o = TN_MODULE_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_module *m;
    o.seed = seed;
    must(tn_module_create(c, &o, &m, &err), &err);
    return m;
}

static inline lab lab_open(tn_compile_mode mode) {
    lab l = {.c = lazy_context(mode, 1)};
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    o.members = LAB_MEMBERS;
    o.seed = LAB_SEED;
    must(tn_population_create(l.c, &o, &l.p, &err), &err);
    for (int i = 0; i < LAB_MEMBERS; i++) l.alone[i] = lab_module(l.c, LAB_SEED + (uint64_t)i);
    return l;
}

static inline void lab_close(lab *l) {
    for (int i = 0; i < LAB_MEMBERS; i++) tn_module_release(l->alone[i]);
    tn_population_release(l->p);
    tn_context_release(l->c);
}

static inline void lab_set_training(lab *l, bool training) {
    tn_module_set_training(tn_population_module(l->p), training);
    for (int i = 0; i < LAB_MEMBERS; i++) tn_module_set_training(l->alone[i], training);
}

/* Member's row of an array, which keeps the memory. */
static inline tn_buffer lab_part(const tn_buffer *all, int member) {
    tn_buffer x = {.dtype = all->dtype, .rank = all->rank - 1};
    size_t bytes = tn_dtype_size(x.dtype);
    for (int a = 0; a < x.rank; a++) bytes *= (size_t)(x.dim[a] = all->dim[a + 1]);
    x.data = (char *)all->data + (size_t)member * bytes;
    return x;
}

/* Member's row of `all` as a tensor of its own. */
static inline tn_tensor *lab_row(tn_tensor *all, int member) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer x;
    must(tn_view(all, &x, &err), &err);
    x = lab_part(&x, member);
    return tn_tensor_from(tn_tensor_context(all), x.dtype, x.rank, x.dim, x.data);
}

/* Each element within `tolerance` of want's largest magnitude, or of 0.1, for what would be 0 but for
 * rounding; tolerance 0: bit for bit. */
static inline void lab_same_arrays(const char *what, int member, const tn_buffer *a,
                                   const tn_buffer *b, double tolerance) {
    int64_t count = 1;
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->rank, b->rank);
    for (int i = 0; i < a->rank; count *= a->dim[i++]) assert_int_equal(a->dim[i], b->dim[i]);
    if (memcmp(a->data, b->data, (size_t)count * tn_dtype_size(a->dtype)) == 0) return;
    if (tolerance == 0 || a->dtype != TN_f32)
        fail_msg("%s: %s of member %d differs from what it is alone", lab_case, what, member);
    const float *x = a->data, *y = b->data;
    double top = 0.1;
    for (int64_t i = 0; i < count; i++) top = fmax(top, fabs((double)y[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)x[i] - (double)y[i]) <= tolerance * top))
            fail_msg("%s: %s of member %d: element %lld is %.9g, alone %.9g (largest %g)", lab_case,
                     what, member, (long long)i, (double)x[i], (double)y[i], top);
}

static inline void lab_same(const char *what, int member, tn_tensor *have, tn_tensor *want,
                            double tolerance) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer a, b;
    must(tn_view(have, &a, &err), &err);
    must(tn_view(want, &b, &err), &err);
    lab_same_arrays(what, member, &a, &b, tolerance);
}

/* Parameters and buffers of all members against the modules'. */
static inline void lab_compare_items(lab *l, double tolerance) {
    tn_module_item item;
    tn_scope *scope = tn_scope_open(l->c);
    assert_int_equal(tn_module_count(tn_population_module(l->p)), tn_module_count(l->alone[0]));
    for (int i = 0; tn_module_entry(l->alone[0], i, &item); i++)
        for (int k = 0; k < LAB_MEMBERS; k++)
            lab_same(item.name, k, lab_row(tn_population_tensor(l->p, item.name), k),
                     tn_module_find(l->alone[k], item.name), tolerance);
    tn_scope_close(scope);
}

/* Calls fn for the population and for each module; x are [N, …], or shared. */
static inline void lab_compare(lab *l, tn_population_call call, double tolerance) {
    tn_tensor *y[LAB_RESULTS], *one[LAB_INPUTS], *alone[LAB_RESULTS];
    tn_scope *scope = tn_scope_open(l->c);
    tn_population_apply(l->p, &call, y);
    tn_error err = TN_ERROR_INIT;
    must(tn_context_error(l->c, &err), &err);
    if (call.y_count) must(tn_eval(y, call.y_count, &err), &err);
    for (int k = 0; k < LAB_MEMBERS; k++) {
        for (int i = 0; i < call.x_count; i++)
            one[i] = call.shared && call.shared[i] ? call.x[i] : lab_row(call.x[i], k);
        call.fn(call.context, l->alone[k], one, alone);
        must(tn_context_error(l->c, &err), &err);
        if (call.y_count) must(tn_eval(alone, call.y_count, &err), &err);
        for (int i = 0; i < call.y_count; i++)
            lab_same("a result", k, lab_row(y[i], k), alone[i], tolerance);
    }
    tn_scope_close(scope);
    lab_compare_items(l, fmin(tolerance, 1e-6));
}

#endif
