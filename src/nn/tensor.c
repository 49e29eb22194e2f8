/* Handles of lazy tensors, and scopes. See tenon/tensor.h, lazy.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/lazy.h"

static _Thread_local tn_scope *innermost; /* of this thread, of any context */

/* ---- scopes --------------------------------------------------------------------------------- */

tn_scope *tn_scope_open(tn_context *c) {
    tn_scope *s = calloc(1, sizeof *s);
    if (!s) return NULL; /* tensors then belong to the scope around it, or to the caller */
    *s = (tn_scope){.context = c, .outer = innermost};
    return innermost = s;
}

static void scope_remove(tn_tensor *x) {
    if (!x->scope) return;
    if (x->scope_previous)
        x->scope_previous->scope_next = x->scope_next;
    else
        x->scope->first = x->scope_next;
    if (x->scope_next) x->scope_next->scope_previous = x->scope_previous;
    x->scope = NULL;
    x->scope_next = x->scope_previous = NULL;
}

/* To the first scope of its context from s on outwards. */
static void scope_add_from(tn_tensor *x, tn_scope *s) {
    while (s && s->context != x->context) s = s->outer;
    if (!s) return;
    x->scope = s;
    x->scope_next = s->first;
    if (s->first) s->first->scope_previous = x;
    s->first = x;
}

/* ---- life ----------------------------------------------------------------------------------- */

tn_tensor *tn__tensor_new(tn_context *c) {
    tn_tensor *x = malloc(sizeof *x);
    if (!x) return NULL;
    *x = (tn_tensor){
        .context = c, .refs = 1, .next = c->first, .dtype = TN_f32, .value = TN_NO_VALUE};
    if (c->first) c->first->previous = x;
    c->first = x;
    c->stats.tensors++;
    scope_add_from(x, innermost);
    return x;
}

static void set_type(tn_tensor *x, tn_dtype dtype, int rank, const int64_t *dim) {
    x->dtype = dtype;
    x->rank = rank;
    for (int a = 0; a < rank; a++) x->dim[a] = dim[a];
}

static void drop_donor(tn_tensor *x) {
    tn__storage_release(x->context, x->donor);
    x->donor = NULL;
}

void tn__tensor_set_storage(tn_tensor *x, tn__storage *s) {
    tn__storage *old = x->storage;
    x->storage = tn__storage_retain(s);
    x->value = TN_NO_VALUE;
    set_type(x, s->dtype, s->rank, s->dim);
    tn__storage_release(x->context, old);
    drop_donor(x);
}

void tn__tensor_set_value(tn_tensor *x, tn_value v) {
    const tn__recording *r = x->context->recording;
    tn__storage *old = x->storage;
    bool leaf = old && r && old->generation == r->generation;
    bool donates = old && !x->donor && (leaf || x->context->rehearsing);
    if (donates)
        x->donor = old;
    else
        tn__storage_release(x->context, old);
    x->storage = NULL;
    x->value = v;
}

tn_tensor *tn__tensor_of_storage(tn_context *c, tn__storage *s) {
    tn_tensor *x = tn__tensor_new(c);
    if (x) tn__tensor_set_storage(x, s);
    tn__storage_release(c, s);
    return x;
}

tn_tensor *tn__tensor_of_value(tn_context *c, tn_value v) {
    tn__storage *leaf = tn__leaf_storage(c, v);
    if (leaf) return tn__tensor_of_storage(c, tn__storage_retain(leaf));
    tn_tensor *x = tn__tensor_new(c);
    if (!x) return NULL;
    const tn_type *t = tn_graph_type(c->recording->graph, v);
    set_type(x, t->dtype, t->shape.rank, t->shape.dim);
    x->value = v;
    return x;
}

tn_tensor *tn__tensor_failed(tn_context *c) {
    tn_tensor *x = tn__tensor_new(c);
    if (x) x->failed = true;
    return x;
}

/* Takes the lock, and gives it back. */
static void release_locked(tn_tensor *x) {
    tn_context *c = x->context;
    if (--x->refs > 0) return;
    scope_remove(x);
    if (x->previous)
        x->previous->next = x->next;
    else
        c->first = x->next;
    if (x->next) x->next->previous = x->previous;
    tn__storage_release(c, x->storage);
    drop_donor(x);
    c->stats.tensors--;
    free(x);
}

void tn_release(tn_tensor *x) {
    if (!x) return;
    tn_context *c = x->context;
    pthread_mutex_lock(&c->lock);
    release_locked(x);
    tn__context_unlock(c);
}

void tn_scope_close(tn_scope *s) {
    if (!s) return;
    for (tn_scope **at = &innermost; *at; at = &(*at)->outer)
        if (*at == s) {
            *at = s->outer;
            break;
        }
    tn_context *c = s->context;
    pthread_mutex_lock(&c->lock);
    while (s->first) {
        tn_tensor *x = s->first;
        scope_remove(x);
        release_locked(x);
    }
    tn__context_unlock(c);
    free(s);
}

tn_tensor *tn__scope_pass(tn_scope *s, tn_tensor *x) {
    if (!s || !x || x->scope != s) return x;
    pthread_mutex_lock(&x->context->lock);
    scope_remove(x);
    scope_add_from(x, s->outer);
    pthread_mutex_unlock(&x->context->lock);
    return x;
}

tn_tensor *tn_scope_return(tn_scope *s, tn_tensor *x) {
    tn__scope_pass(s, x);
    tn_scope_close(s);
    return x;
}

tn_tensor *tn_retain(tn_tensor *x) {
    if (!x) return NULL;
    pthread_mutex_lock(&x->context->lock);
    x->refs++;
    pthread_mutex_unlock(&x->context->lock);
    return x;
}

tn_tensor *tn_keep(tn_tensor *x) {
    if (!x) return NULL;
    pthread_mutex_lock(&x->context->lock);
    scope_remove(x);
    pthread_mutex_unlock(&x->context->lock);
    return x;
}

tn_tensor *tn_variable(tn_tensor *x) {
    if (!x) return NULL;
    pthread_mutex_lock(&x->context->lock);
    x->variable = true;
    pthread_mutex_unlock(&x->context->lock);
    return x;
}

/* ---- type ----------------------------------------------------------------------------------- */

tn_context *tn_tensor_context(const tn_tensor *x) {
    return x ? x->context : NULL;
}
bool tn__tensor_is_ok(const tn_tensor *x) {
    return x && !x->failed && !(x->storage && x->storage->failed);
}
bool tn_tensor_ok(const tn_tensor *x) {
    if (!x) return false;
    pthread_mutex_lock(&x->context->lock);
    bool ok = tn__tensor_is_ok(x);
    pthread_mutex_unlock(&x->context->lock);
    return ok;
}
tn_dtype tn_tensor_dtype(const tn_tensor *x) {
    return x ? x->dtype : TN_f32;
}
int tn_tensor_rank(const tn_tensor *x) {
    return x ? x->rank : 0;
}
int64_t tn_tensor_dim(const tn_tensor *x, int axis) {
    if (!x) return 1;
    if (axis < 0) axis += x->rank;
    return axis >= 0 && axis < x->rank ? x->dim[axis] : 1;
}
int64_t tn_tensor_count(const tn_tensor *x) {
    int64_t n = 1;
    for (int a = 0; x && a < x->rank; a++) n *= x->dim[a];
    return n;
}

/* ---- data ----------------------------------------------------------------------------------- */

static tn_status check_shape(int rank, const int64_t *dim, tn_error *err) {
    if (rank < 0 || rank > TN_MAX_RANK)
        return tn_error_set(err, TN_INVALID, "a tensor has 0 to %d axes, not %d", TN_MAX_RANK,
                            rank);
    for (int a = 0; a < rank; a++)
        if (dim[a] < 0)
            return tn_error_set(err, TN_INVALID, "axis %d has size %" PRId64, a, dim[a]);
    return TN_OK;
}

static tn_tensor *concrete(tn_context *c, tn_dtype dtype, int rank, const int64_t *dim,
                           const void *data, tn_error *err) {
    if (check_shape(rank, dim, err) != TN_OK) return tn__tensor_failed(c);
    tn__storage *s = tn__storage_new(c, dtype, rank, dim);
    tn_tensor *x = s ? tn__tensor_of_storage(c, s) : NULL;
    if (!x) {
        tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory: a tensor of %d axes", rank);
        return tn__tensor_failed(c);
    }
    x->storage->ready = true;
    if (data && x->storage->bytes) memcpy(x->storage->data, data, x->storage->bytes);
    if (!data) memset(x->storage->data, 0, x->storage->bytes);
    return x;
}

tn_tensor *tn_tensor_from_at(const char *place, tn_context *c, tn_dtype dtype, int rank,
                             const int64_t *dim, const void *data) {
    tn_error err = TN_ERROR_INIT;
    pthread_mutex_lock(&c->lock);
    tn_tensor *x = concrete(c, dtype, rank, dim, data, &err);
    if (err.status != TN_OK) tn__context_fail(c, place, &err);
    pthread_mutex_unlock(&c->lock);
    return x;
}

tn_tensor *tn_tensor_scalar_at(const char *place, tn_context *c, tn_dtype dtype, double value) {
    char data[16] = {0};
    tn_array one = {.dtype = dtype, .data = data};
    tn_array_set(&one, 0, tn_cell_of(dtype, value));
    return tn_tensor_from_at(place, c, dtype, 0, NULL, data);
}

/* ---- assignment ----------------------------------------------------------------------------- */

static tn_status check_assign(const tn_tensor *x, const tn_tensor *value, tn_error *err) {
    TN_CHECK(tn__trace_check_assign(x, err));
    if (x->context != value->context)
        return tn_error_set(err, TN_INVALID, "assign: the tensors are of two contexts");
    bool same = x->dtype == value->dtype && x->rank == value->rank;
    for (int a = 0; same && a < x->rank; a++) same = x->dim[a] == value->dim[a];
    if (!same && !x->failed && !value->failed)
        return tn_error_set(err, TN_INVALID, "assign: the new value is not of the tensor's type");
    return TN_OK;
}

void tn__tensor_become(tn_tensor *x, const tn_tensor *from) {
    if (from->storage)
        tn__tensor_set_storage(x, from->storage);
    else
        tn__tensor_set_value(x, from->value);
    x->failed = from->failed;
}

void tn_assign_at(const char *place, tn_tensor *x, const tn_tensor *value) {
    if (!x || x == value) return;
    tn_context *c = x->context;
    tn_error err;
    tn__error_init(&err);
    pthread_mutex_lock(&c->lock);
    if (!value || check_assign(x, value, &err) != TN_OK) {
        if (err.status != TN_OK) tn__context_fail(c, place, &err);
        x->failed = true;
    } else {
        tn__tensor_become(x, value);
    }
    pthread_mutex_unlock(&c->lock);
}
