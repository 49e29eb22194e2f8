/* Evaluation of lazy tensors, at once and in the background. See tenon/tensor.h, lazy.h. */
#include <stdlib.h>

#include "nn/lazy.h"

struct tn_future {
    tn_context *context;
    int refs; /* the caller, the run */
    bool done;
    tn_error error;
};

/* ---- what may be evaluated ------------------------------------------------------------------ */

/* Under the lock. */
static tn_context *check(tn_tensor *const *x, int count, tn_error *err) {
    tn_context *c = NULL;
    for (int i = 0; i < count && !c; i++)
        if (x[i]) c = x[i]->context;
    if (!c) tn_error_set(err, TN_INVALID, "the tensors are NULL: an earlier call failed");
    return c;
}

static tn_status failed(const tn_context *c, tn_error *err) {
    if (c->error.status == TN_OK)
        return tn_error_set(err, TN_POISONED, "the tensor failed; its error was cleared");
    if (err) *err = c->error;
    return c->error.status;
}

static tn_status check_each(tn_context *c, tn_tensor *const *x, int count, tn_error *err) {
    for (int i = 0; i < count; i++) {
        if (!tn__tensor_is_ok(x[i])) return failed(c, err);
        if (x[i]->context != c)
            return tn_error_set(err, TN_INVALID, "tensor %d is of another context", i);
        if (x[i]->storage && x[i]->storage->abstract)
            return tn__refuse_abstract(x[i]->storage, err);
    }
    return TN_OK;
}

/* ---- the background ------------------------------------------------------------------------- */

static void future_release(tn_future *f) { /* under the lock */
    if (--f->refs == 0) free(f);
}

static void finish(tn_context *c, tn_future *f, const tn_error *err) {
    pthread_mutex_lock(&c->lock);
    f->done = true;
    f->error = *err;
    if (err->status != TN_OK) tn__context_fail(c, NULL, err);
    c->waiting--;
    future_release(f);
    pthread_cond_broadcast(&c->done);
    pthread_mutex_unlock(&c->lock);
}

static void *work(void *argument) {
    tn_context *c = argument;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->queue && !c->stopping) pthread_cond_wait(&c->work, &c->lock);
        tn__run *run = c->queue;
        if (!run) break;
        c->queue = run->next;
        if (!c->queue) c->queue_end = NULL;
        pthread_mutex_unlock(&c->lock);
        tn_error err = TN_ERROR_INIT;
        tn_future *f = run->future;
        (void)tn__run_now(c, run, &err);
        finish(c, f, &err);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Under the lock. */
static tn_status start_worker(tn_context *c, tn_error *err) {
    if (c->worker_started) return TN_OK;
    if (pthread_create(&c->worker, NULL, work, c) != 0)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "no thread for work in the background");
    c->worker_started = true;
    return TN_OK;
}

static void enqueue(tn_context *c, tn__run *run) {
    if (c->queue)
        *c->queue_end = run;
    else
        c->queue = run;
    c->queue_end = &run->next;
    c->waiting++;
    pthread_cond_signal(&c->work);
}

void tn__worker_stop(tn_context *c) {
    pthread_mutex_lock(&c->lock);
    bool started = c->worker_started;
    c->stopping = true;
    c->worker_started = false;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    if (started) pthread_join(c->worker, NULL);
}

/* ---- at once -------------------------------------------------------------------------------- */

/* Waits for what is computed in the background. Under the lock. */
static tn_status wait_ready(tn_context *c, tn_tensor *const *x, int count, tn_error *err) {
    for (int i = 0; i < count; i++)
        while (x[i]->storage && !x[i]->storage->ready) pthread_cond_wait(&c->done, &c->lock);
    for (int i = 0; i < count; i++)
        if (!tn__tensor_is_ok(x[i])) return failed(c, err);
    return TN_OK;
}

/* Under the lock, which it gives back meanwhile. */
static tn_status evaluate(tn_context *c, tn_tensor *const *x, int count, const tn__eval_options *o,
                          tn_error *err) {
    tn__run *run = NULL;
    tn_status status = check_each(c, x, count, err);
    if (status == TN_OK) status = tn__cut(c, x, count, o, &run, err);
    if (status == TN_OK && run) {
        pthread_mutex_unlock(&c->lock);
        tn_error why = TN_ERROR_INIT;
        status = tn__run_now(c, run, &why);
        pthread_mutex_lock(&c->lock);
        if (status != TN_OK) tn__context_fail(c, NULL, &why);
        if (status != TN_OK && err) *err = why;
    }
    return status == TN_OK ? wait_ready(c, x, count, err) : status;
}

tn_status tn_eval(tn_tensor *const *x, int count, tn_error *err) {
    return tn__eval(x, count, NULL, err);
}

tn_status tn__eval(tn_tensor *const *x, int count, const tn__eval_options *o, tn_error *err) {
    if (count == 0) return TN_OK;
    tn_context *c = check(x, count, err);
    if (!c) return TN_INVALID;
    pthread_mutex_lock(&c->lock);
    tn_status status = evaluate(c, x, count, o, err);
    pthread_mutex_unlock(&c->lock);
    return status;
}

tn_status tn_eval_async(tn_tensor *const *x, int count, tn_future **out, tn_error *err) {
    *out = NULL;
    tn_context *c = check(x, count, err);
    if (!c) return TN_INVALID;
    tn_future *f = calloc(1, sizeof *f);
    if (!f) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    *f = (tn_future){.context = c, .refs = 1, .done = true};
    tn__run *run = NULL;
    pthread_mutex_lock(&c->lock);
    tn_status status = check_each(c, x, count, err);
    if (status == TN_OK && !c->closed) status = start_worker(c, err); /* else all are concrete */
    if (status == TN_OK) status = tn__cut(c, x, count, NULL, &run, err);
    if (run) {
        f->refs++;
        f->done = false;
        run->future = f;
        enqueue(c, run);
    }
    pthread_mutex_unlock(&c->lock);
    if (status == TN_OK)
        *out = f;
    else
        free(f);
    return status;
}

tn_status tn_future_wait(tn_future *f, tn_error *err) {
    pthread_mutex_lock(&f->context->lock);
    while (!f->done) pthread_cond_wait(&f->context->done, &f->context->lock);
    tn_status status = f->error.status;
    if (status != TN_OK && err) *err = f->error;
    pthread_mutex_unlock(&f->context->lock);
    return status;
}

bool tn_future_done(tn_future *f) {
    pthread_mutex_lock(&f->context->lock);
    bool done = f->done;
    pthread_mutex_unlock(&f->context->lock);
    return done;
}

void tn_future_release(tn_future *f) {
    if (!f) return;
    tn_context *c = f->context;
    pthread_mutex_lock(&c->lock);
    future_release(f);
    pthread_mutex_unlock(&c->lock);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The value of x, with a reference: nobody overwrites it meanwhile. Another thread may assign x again as
 * soon as it is evaluated. */
static tn_status hold(tn_tensor *x, tn__storage **out, tn_error *err) {
    *out = NULL;
    tn_context *c = check(&x, 1, err);
    if (!c) return TN_INVALID;
    tn_status status;
    pthread_mutex_lock(&c->lock);
    do status = evaluate(c, &x, 1, NULL, err);
    while (status == TN_OK && !x->storage);
    if (status == TN_OK) *out = tn__storage_retain(x->storage);
    pthread_mutex_unlock(&c->lock);
    return status;
}

static void let_go(const tn_tensor *x, tn__storage *s) {
    pthread_mutex_lock(&x->context->lock);
    tn__storage_release(x->context, s);
    pthread_mutex_unlock(&x->context->lock);
}

tn_status tn_view(tn_tensor *x, tn_buffer *out, tn_error *err) {
    tn__storage *s;
    *out = (tn_buffer){0};
    TN_CHECK(hold(x, &s, err));
    *out = (tn_buffer){.dtype = s->dtype, .rank = s->rank, .data = s->data, .size = s->bytes};
    for (int a = 0; a < s->rank; a++) out->dim[a] = s->dim[a];
    let_go(x, s);
    return TN_OK;
}

tn_status tn_read(tn_tensor *x, void *out, size_t size, tn_error *err) {
    tn__storage *s;
    TN_CHECK(hold(x, &s, err));
    size_t bytes = s->bytes;
    if (bytes == size && size) memcpy(out, s->data, size);
    let_go(x, s);
    if (bytes == size) return TN_OK;
    return tn_error_set(err, TN_INVALID, "the tensor has %zu bytes, the memory given %zu", bytes,
                        size);
}

tn_status tn_item(tn_tensor *x, double *out, tn_error *err) {
    tn__storage *s;
    *out = 0;
    TN_CHECK(hold(x, &s, err));
    bool single = tn_tensor_count(x) == 1;
    tn_array one = {.dtype = s->dtype, .data = s->data};
    if (single) *out = tn_cell_cast(s->dtype, TN_f64, tn_array_get(&one, 0)).f;
    let_go(x, s);
    if (single) return TN_OK;
    return tn_error_set(err, TN_INVALID, "the tensor has %lld elements, expected one",
                        (long long)tn_tensor_count(x));
}
