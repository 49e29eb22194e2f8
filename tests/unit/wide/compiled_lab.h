/* What members compute as arrays: interpreted beside compiled, and beside a population with a member
 * whose numbers are all NaN. */
#ifndef TENON_COMPILED_LAB_H
#define TENON_COMPILED_LAB_H

#include "toolchain/cc.h"
#include "unit/wide/population_lab.h"

enum { LAB_NUMBERS = 1024, LAB_POISONED = 1 /* the member */ };

/* Arrays [N, …]; their memory is their own, their names are those of items, or of who made them. */
typedef struct lab_numbers {
    int count;
    tn_buffer at[LAB_NUMBERS];
    const char *name[LAB_NUMBERS];
} lab_numbers;

static inline void lab_numbers_free(lab_numbers *n) {
    for (int i = 0; i < n->count; i++) free(n->at[i].data);
    free(n);
}

static inline size_t lab_bytes(const tn_buffer *b) {
    size_t bytes = tn_dtype_size(b->dtype);
    for (int a = 0; a < b->rank; a++) bytes *= (size_t)b->dim[a];
    return bytes;
}

static inline void lab_note(lab_numbers *n, const char *name, tn_tensor *x) {
    tn_error err = TN_ERROR_INIT;
    assert_true(n->count < LAB_NUMBERS);
    tn_buffer *b = &n->at[n->count];
    must(tn_view(x, b, &err), &err);
    void *copy = malloc(lab_bytes(b) + 1);
    memcpy(copy, b->data, lab_bytes(b));
    b->data = copy;
    n->name[n->count++] = name;
}

/* Parameters and buffers of all members. */
static inline lab_numbers *lab_items(const lab *l) {
    lab_numbers *n = calloc(1, sizeof *n);
    tn_module_item item;
    for (int i = 0; tn_module_entry(tn_population_module(l->p), i, &item); i++)
        lab_note(n, item.name, tn_population_tensor(l->p, item.name));
    return n;
}

/* names: per result. */
static inline lab_numbers *lab_results(lab *l, const tn_population_call *call,
                                       const char *const *names) {
    lab_numbers *n = calloc(1, sizeof *n);
    tn_tensor *y[LAB_NUMBERS];
    tn_error err = TN_ERROR_INIT;
    tn_scope *scope = tn_scope_open(l->c);
    tn_population_apply(l->p, call, y);
    must(tn_context_error(l->c, &err), &err);
    must(tn_eval(y, call->y_count, &err), &err);
    for (int i = 0; i < call->y_count; i++) lab_note(n, names[i], y[i]);
    tn_scope_close(scope);
    return n;
}

/* All members but `without` (-1: none is left out). */
static inline void lab_compare_numbers(const lab_numbers *have, const lab_numbers *want,
                                       int without, double tolerance) {
    assert_int_equal(have->count, want->count);
    for (int i = 0; i < have->count; i++)
        for (int m = 0; m < LAB_MEMBERS; m++) {
            tn_buffer a = lab_part(&have->at[i], m), b = lab_part(&want->at[i], m);
            if (m != without) lab_same_arrays(want->name[i], m, &a, &b, tolerance);
        }
}

static inline tn_tensor *lab_poisoned(tn_context *c, const tn_buffer *from) {
    size_t bytes = lab_bytes(from), each = bytes / LAB_MEMBERS / sizeof(float);
    float *data = malloc(bytes + 1);
    memcpy(data, from->data, bytes);
    for (size_t i = 0; from->dtype == TN_f32 && i < each; i++) data[LAB_POISONED * each + i] = NAN;
    tn_tensor *x = tn_tensor_from(c, from->dtype, from->rank, from->dim, data);
    free(data);
    return x;
}

/* Items become what was kept of them, and inputs what they are, but NaN for one member. */
static inline void lab_poison(lab *l, const lab_numbers *kept, tn_tensor *const *x, int count,
                              tn_tensor **out) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer from;
    for (int i = 0; i < kept->count; i++)
        tn_assign(tn_population_tensor(l->p, kept->name[i]), lab_poisoned(l->c, &kept->at[i]));
    for (int i = 0; i < count; i++) {
        must(tn_view(x[i], &from, &err), &err);
        out[i] = lab_poisoned(l->c, &from);
    }
}

static inline bool lab_has_nan(const tn_buffer *all) {
    tn_buffer one = lab_part(all, LAB_POISONED);
    const float *x = one.data;
    for (size_t i = 0; i < lab_bytes(&one) / sizeof *x; i++)
        if (isnan(x[i])) return true;
    return false;
}

/* When all numbers of a member become NaN, the others' results, and what is assigned to their items, stay the
 * same bits. */
static inline void lab_check_isolation(lab *l, tn_population_call call, const char *const *names) {
    tn_tensor *x[LAB_NUMBERS];
    lab_numbers *kept = lab_items(l), *before = lab_results(l, &call, names);
    lab_numbers *items = lab_items(l);
    lab_poison(l, kept, call.x, call.x_count, x);
    call.x = x;
    lab_numbers *after = lab_results(l, &call, names), *items_after = lab_items(l);
    lab_compare_numbers(after, before, LAB_POISONED, 0);
    lab_compare_numbers(items_after, items, LAB_POISONED, 0);
    if (!lab_has_nan(&after->at[0])) fail_msg("%s: member 1 is not NaN", lab_case);
    lab_numbers *all[] = {kept, before, items, after, items_after};
    for (size_t i = 0; i < TN_COUNT(all); i++) lab_numbers_free(all[i]);
}

/* A compiler that does not take long over kernels: what is checked is what is written for it. False: there is
 * none, and the test is skipped. */
static inline bool lab_quick_compiler(void) {
    tn_cc cc;
    const char *wanted = getenv("CC");
    if (tn_cc_find(&cc, NULL, NULL) != TN_OK) return false;
    if (!wanted || !strstr(wanted, "quick_cc.sh")) {
        setenv("TENON_QUICK_CC", cc.word[0], 1);
        setenv("CC", "tests/unit/wide/quick_cc.sh", 1);
    }
    return true;
}

/* The same call of a lab that interprets and of one that compiles: their results, what they assign, and that
 * members stay apart. */
static inline void lab_check_compiled(lab l[2], const tn_population_call call[2],
                                      const char *const *names) {
    lab_numbers *y[2], *items[2];
    for (int i = 0; i < 2; i++) {
        y[i] = lab_results(&l[i], &call[i], names);
        items[i] = lab_items(&l[i]);
    }
    lab_compare_numbers(y[1], y[0], -1, 1e-5);
    lab_compare_numbers(items[1], items[0], -1, 1e-6);
    for (int i = 0; i < 2; i++) {
        lab_numbers_free(y[i]);
        lab_numbers_free(items[i]);
    }
    lab_check_isolation(&l[1], call[1], names);
}

#endif
