/* Contexts of lazy tensors. See tenon/tensor.h, lazy.h. */
#include <stdlib.h>

#include "nn/lazy.h"

enum { PROGRAMS = 64 };

/* ---- errors --------------------------------------------------------------------------------- */

void tn__context_fail(tn_context *c, const char *place, const tn_error *err) {
    if (c->error.status != TN_OK) return;
    c->error = *err;
    if (place) tn_error_push(&c->error, "%s", place);
}

tn_status tn_context_error(tn_context *c, tn_error *err) {
    pthread_mutex_lock(&c->lock);
    tn_status status = c->error.status;
    if (status != TN_OK && err) *err = c->error;
    pthread_mutex_unlock(&c->lock);
    return status;
}

void tn_context_clear_error(tn_context *c) {
    pthread_mutex_lock(&c->lock);
    c->error = (tn_error)TN_ERROR_INIT;
    pthread_mutex_unlock(&c->lock);
}

/* ---- making and releasing ------------------------------------------------------------------- */

static void context_free(tn_context *c) {
    tn__storage_trim(c);
    tn_workshop_deinit(&c->workshop);
    pthread_cond_destroy(&c->work);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->running);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void tn__context_unlock(tn_context *c) {
    bool last = c->closed && !c->first && c->waiting == 0;
    pthread_mutex_unlock(&c->lock);
    if (last) context_free(c);
}

static tn_status copy_options(const tn_context_options *from, tn_context_options *to,
                              tn_error *err) {
    *to = (tn_context_options)TN_CONTEXT_OPTIONS_INIT;
    if (!from) return TN_OK;
    if (from->size < sizeof(size_t) || from->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "tn_context_options.size is not set; start from "
                            "TN_CONTEXT_OPTIONS_INIT");
    memcpy(to, from, TN_MIN(from->size, sizeof *to));
    if (to->programs < 0)
        return tn_error_set(err, TN_INVALID, "%d programs cannot be kept", to->programs);
    return TN_OK;
}

tn_status tn_context_create(const tn_context_options *options, tn_context **out, tn_error *err) {
    tn_context_options o;
    *out = NULL;
    TN_CHECK(copy_options(options, &o, err));
    tn_context *c = calloc(1, sizeof *c);
    if (!c) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->running, NULL);
    pthread_cond_init(&c->done, NULL);
    pthread_cond_init(&c->work, NULL);
    c->seed = o.seed;
    c->program_limit = o.programs ? o.programs : PROGRAMS;
    tn_status status = tn_workshop_init(&c->workshop, &o.compile, err);
    if (status == TN_OK) status = tn__recording_begin(c, err);
    if (status == TN_OK)
        *out = c;
    else
        context_free(c);
    return status;
}

/* What was recorded and not evaluated is lost. */
static void fail_pending(tn_context *c) {
    for (tn_tensor *x = c->first; x; x = x->next)
        if (!x->storage) x->failed = true;
}

void tn_context_release(tn_context *c) {
    if (!c) return;
    tn__worker_stop(c);
    pthread_mutex_lock(&c->lock);
    fail_pending(c);
    tn__recording_end(c);
    tn__programs_release(c);
    tn_error closed = TN_ERROR_INIT;
    tn_error_set(&closed, TN_INVALID, "the context of these tensors was released");
    tn__context_fail(c, NULL, &closed);
    c->closed = true;
    tn__context_unlock(c);
}

void tn_context_statistics(tn_context *c, tn_context_stats *out) {
    pthread_mutex_lock(&c->lock);
    *out = c->stats;
    out->pending = c->closed ? 0 : c->recording->graph->nodes.len - c->recording->graph->inputs.len;
    pthread_mutex_unlock(&c->lock);
}
