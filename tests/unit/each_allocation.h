/* Something run again and again, each time with another allocation that fails, until none is left to fail. */
#ifndef TENON_EACH_ALLOCATION_H
#define TENON_EACH_ALLOCATION_H

#include "base/base.h"
#include "unit/failing_allocations.h"
#include "unit/test.h"

typedef struct each_allocation {
    const char *what; /* for messages */
    tn_status (*run)(void *context, tn_error *err);
    void (*after)(void *context, tn_status status); /* looks at what is left; may be NULL */
    void *context;
    long step; /* of next_allocation */
} each_allocation;

static inline tn_status one_allocation_fails(const each_allocation *e, long n, bool *failed) {
    tn_error err = TN_ERROR_INIT;
    atomic_store(&failing_after, n);
    tn_status status = e->run(e->context, &err);
    *failed = atomic_exchange(&failing_after, -1) < 0;
    if (status != TN_OK && (status != TN_OUT_OF_MEMORY || !*failed))
        fail_msg("%s, allocation %ld of it fails: %s: %s", e->what, n, tn_status_name(status),
                 err.message);
    if (e->after) e->after(e->context, status);
    return status;
}

/* Ends in TN_OUT_OF_MEMORY or in success each time, and in success when nothing fails. */
static inline void fail_each_allocation(const each_allocation *e) {
    long n = 0, tried = 0;
    for (bool failed = true; failed; n = next_allocation(n, e->step), tried++)
        (void)!one_allocation_fails(e, n, &failed);
    assert_true(tried > 1);
    print_message("%s: %ld of about %ld allocations\n", e->what, tried - 1, n);
}

#endif
