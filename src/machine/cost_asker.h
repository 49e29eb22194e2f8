/* A cost model that answers from another process: one question at a time, answers of separable ones remembered. */
#ifndef TENON_MACHINE_COST_ASKER_H
#define TENON_MACHINE_COST_ASKER_H

#include <pthread.h>

#include "machine/cost_child.h"
#include "machine/cost_memo.h"
#include "machine/cost_model.h"

typedef struct tn_cost_asker tn_cost_asker;
struct tn_cost_asker {
    /* With the lock held. */
    tn_status (*ask)(tn_cost_asker *a, const tn_cost_query *q, tn_cost *out, tn_error *err);
    tn_child child;
    bool separable;
    pthread_mutex_t lock;
    tn_cost_memo memo;
};

/* The first member of a state of `size` bytes, which becomes that of `m`. */
tn_status tn_cost_asker_new(tn_cost_asker **out, size_t size, tn_cost_model *m, tn_error *err);

#endif
