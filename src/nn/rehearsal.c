/* Recording once what is run often, without its elements or on memory of others. See lazy.h. */
#include <inttypes.h>

#include "nn/lazy.h"

static tn_status check_type(const tn_buffer *x, const char *what, tn_error *err) {
    if (x->rank < 0 || x->rank > TN_MAX_RANK || x->dtype >= TN_DTYPE_COUNT)
        return tn_error_set(err, TN_INVALID, "%s: type %d with %d axes", what, (int)x->dtype,
                            x->rank);
    for (int a = 0; a < x->rank; a++)
        if (x->dim[a] < 0)
            return tn_error_set(err, TN_INVALID, "%s: axis %d has size %" PRId64, what, a,
                                x->dim[a]);
    return tn__storage_check(what, x->dtype, x->rank, x->dim, err);
}

static tn_status tensor_of(tn_context *c, tn__storage *s, tn_tensor **out, tn_error *err) {
    pthread_mutex_lock(&c->lock);
    *out = s ? tn__tensor_of_storage(c, s) : NULL;
    pthread_mutex_unlock(&c->lock);
    return *out ? TN_OK : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
}

tn_status tn__tensor_borrow(tn_context *c, const tn_buffer *x, tn_tensor **out, tn_error *err) {
    TN_CHECK(check_type(x, "a tensor of the batch", err));
    bool empty = false;
    for (int a = 0; a < x->rank; a++) empty |= x->dim[a] == 0;
    if (!x->data && !empty)
        return tn_error_set(err, TN_INVALID, "a tensor of the batch has no elements: data is NULL");
    return tensor_of(c, tn__storage_borrowed(x->dtype, x->rank, x->dim, x->data), out, err);
}

tn_status tn__tensor_abstract(tn_context *c, const tn_buffer *type, const char *what,
                              tn_tensor **out, tn_error *err) {
    TN_CHECK(check_type(type, what, err));
    return tensor_of(c, tn__storage_abstract(type->dtype, type->rank, type->dim, what), out, err);
}

bool tn__tensor_point(tn_tensor *x, void *data) {
    pthread_mutex_lock(&x->context->lock);
    bool own = x->storage && x->storage->borrowed && x->storage->refs == 1;
    if (own) x->storage->data = data;
    pthread_mutex_unlock(&x->context->lock);
    return own;
}

bool tn__tensor_is_pending(const tn_tensor *x) {
    pthread_mutex_lock(&x->context->lock);
    bool pending = !x->storage && !x->failed;
    pthread_mutex_unlock(&x->context->lock);
    return pending;
}

void tn__rehearsal_begin(tn_context *c) {
    pthread_mutex_lock(&c->lock);
    c->rehearsing = true;
    pthread_mutex_unlock(&c->lock);
}

void tn__rehearsal_end(tn_context *c) {
    pthread_mutex_lock(&c->lock);
    c->rehearsing = false;
    if (c->recording) tn__recording_shrink(c); /* what is recorded next begins as after a run */
    pthread_mutex_unlock(&c->lock);
}

void tn__tensor_restore(tn_tensor *x) {
    tn_context *c = x->context;
    pthread_mutex_lock(&c->lock);
    if (!x->storage && x->donor) tn__tensor_set_storage(x, x->donor);
    pthread_mutex_unlock(&c->lock);
}
