/* Models in other processes. See cost_asker.h. */
#include "machine/cost_asker.h"

#include <stdlib.h>

static tn_status asker_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    tn_cost_asker *a = state;
    tn_hash128 key = tn_cost_query_hash(q);
    tn_status status = TN_OK;
    pthread_mutex_lock(&a->lock);
    if (!a->separable || !tn_cost_memo_find(&a->memo, key, out)) {
        status = a->ask(a, q, out, err);
        if (!status && a->separable) tn_cost_memo_add(&a->memo, key, out);
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

static void release_asker(void *state) {
    tn_cost_asker *a = state;
    tn_child_end(&a->child);
    tn_cost_memo_deinit(&a->memo);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

tn_status tn_cost_asker_new(tn_cost_asker **out, size_t size, tn_cost_model *m, tn_error *err) {
    tn_cost_asker *a = *out = calloc(1, size);
    if (!a) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a cost model");
    pthread_mutex_init(&a->lock, NULL);
    m->state = a;
    m->release = release_asker;
    m->cost = asker_cost;
    return TN_OK;
}
