/* For functions that call a function of the user's to see what it records. */
#ifndef TENON_NN_TENSOR_TRACE_H
#define TENON_NN_TENSOR_TRACE_H

#include "nn/tensor_inner.h"

/* Between these, what this thread records stands for something else: nothing that is pending can be
 * read or assigned by it, and handles are those of a scope. */
typedef struct tn__trace {
    struct tn__trace *outer; /* of this thread */
    tn_context *context;
    const char *what; /* "tn_vmap" */
    bool assigns;     /* what stands in for a member's tensors may be assigned */
    tn_scope *scope;  /* NULL when there was no memory for it */
    uint64_t cuts;    /* of the context when it began */
} tn__trace;
void tn__trace_begin(tn__trace *t, tn_context *c, const char *what);
void tn__trace_end(tn__trace *t);

/* A tensor of x's type that is like no other, in x's place. */
tn_tensor *tn__trace_place(const char *place, const tn_tensor *x);
/* Fails when something in x[0 … count) was not given. */
bool tn__trace_check(const tn__trace *t, const char *place, tn_tensor *const *x, int count);
/* Fails when a value was computed, by another thread, from what was recorded since. */
void tn__trace_check_values(tn_builder *b, const tn_context *c, uint64_t cuts, const tn_value *v,
                            int count);

#endif
