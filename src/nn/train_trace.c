/* Steps of training that are done again without recording them. See train_record.h. */
#include <stdlib.h>

#include "nn/module.h"
#include "nn/train_record.h"

typedef struct tn__trace {
    tn__train_results r;
    tn_buffer *types;
    tn_tensor **given; /* on memory of others; references */
    int count;
    bool updates;
    uint64_t version; /* of the module, once it was recorded */
    tn__replay *replay;
} trace;

static void trace_release(trace *t) {
    if (!t) return;
    for (int i = 0; t->given && i < t->count; i++) tn_release(t->given[i]);
    tn__train_results_release(&t->r);
    tn__replay_release(t->replay);
    free(t->given);
    free(t->types);
    free(t);
}

static tn_status trace_new(const tn__traces_call *call, trace **out, tn_error *err) {
    trace *t = *out = calloc(1, sizeof *t);
    size_t n = (size_t)call->count;
    if (t) t->types = calloc(n, sizeof *t->types);
    if (t) t->given = calloc(n, sizeof(tn_tensor *));
    if (t) t->replay = tn__replay_begin(tn_module_context(call->module));
    if (!t || !t->types || !t->given || !t->replay)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    t->updates = call->updates;
    memcpy(t->types, call->given, n * sizeof *t->types);
    for (; t->count < call->count; t->count++) {
        TN_CHECK(tn__tensor_borrow(tn_module_context(call->module), &call->given[t->count],
                                   &t->given[t->count], err));
        tn_keep(t->given[t->count]);
    }
    return TN_OK;
}

static bool same_types(const tn_buffer *x, const tn_buffer *y, int count) {
    bool same = true;
    for (int i = 0; i < count && same; i++) {
        same = x[i].dtype == y[i].dtype && x[i].rank == y[i].rank;
        for (int a = 0; same && a < x[i].rank; a++) same = x[i].dim[a] == y[i].dim[a];
    }
    return same;
}

/* Where there is a trace for such arrays, or where the next one goes. */
static trace **find(tn__traces *t, const tn__traces_call *call, bool *found) {
    *found = true;
    for (int i = 0; i < TN__TRACES; i++) {
        const trace *have = t->at[i];
        if (have && have->updates == call->updates &&
            same_types(have->types, call->given, call->count))
            return &t->at[i];
    }
    *found = false;
    return &t->at[t->next];
}

static void keep(tn__traces *t, trace **at, trace *made) {
    t->last = (int)(at - t->at);
    if (at == &t->at[t->next]) t->next = (t->next + 1) % TN__TRACES;
    trace_release(*at);
    *at = made;
}

void tn__traces_reset(tn__traces *t) {
    for (int i = 0; i < TN__TRACES; i++) {
        trace_release(t->at[i]);
        t->at[i] = NULL;
    }
}

const tn_program *tn__traces_program(const tn__traces *t) {
    const trace *last = t->at[t->last];
    return last ? tn__replay_program(last->replay) : NULL;
}

/* What was recorded, with these arrays. */
static tn_status run_again(const trace *t, const tn__traces_call *call, bool *ran, tn_error *err) {
    if (t->version != tn__module_version(call->module) || !tn__replay_ready(t->replay))
        return TN_OK;
    for (int i = 0; i < call->count; i++)
        if (!call->given[i].data || !tn__tensor_point(t->given[i], call->given[i].data))
            return TN_OK;
    return tn__replay_run(t->replay, ran, err);
}

static tn_status run_anew(trace *t, const tn__traces_call *call, tn_error *err) {
    tn_scope *scope = tn_scope_open(tn_module_context(call->module));
    if (!scope) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = call->record(call->owner, t->given, t->updates, &t->r, err);
    tn_scope_close(scope);
    t->version = tn__module_version(call->module);
    return status == TN_OK ? call->evaluate(call->owner, &t->r, t->replay, err) : status;
}

tn_status tn__traces_run(tn__traces *t, const tn__traces_call *call, const tn__train_results **out,
                         tn_error *err) {
    bool found, ran = false;
    trace **at = find(t, call, &found), *made;
    *out = NULL;
    if (found) TN_CHECK(run_again(*at, call, &ran, err));
    if (!ran) {
        tn_status status = trace_new(call, &made, err);
        if (status == TN_OK) status = run_anew(made, call, err);
        if (status != TN_OK) {
            trace_release(made);
            return status;
        }
        keep(t, at, made);
    }
    *out = &(*at)->r;
    return TN_OK;
}
