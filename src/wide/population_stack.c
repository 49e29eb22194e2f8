/* Tensors of all members, and what stands in for one member's. See population.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/detect.h"
#include "wide/population.h"

/* ---- making --------------------------------------------------------------------------------- */

static tn_status check_type(const tn_population *p, const tn_buffer *type, const char *what,
                            int64_t dim[TN_MAX_RANK], tn_error *err) {
    if (type->rank >= TN_MAX_RANK)
        return tn_error_set(err, TN_INVALID,
                            "%s has %d axes; of a member's tensor there are at most %d, since "
                            "the members are one more",
                            what, type->rank, TN_MAX_RANK - 1);
    dim[0] = p->count;
    for (int a = 0; a < type->rank; a++) dim[a + 1] = type->dim[a];
    return tn__storage_check(what, type->dtype, type->rank + 1, dim, err);
}

/* Of what the members have for themselves so far. */
static double member_bytes(const tn_population *p) {
    double sum = 0;
    for (int i = 0; i < tn_module_count(p->module); i++) {
        const tn_tensor *x = p->items[i].one;
        if (!p->items[i].shared)
            sum += (double)tn_tensor_count(x) * (double)tn_dtype_size(x->dtype);
    }
    return sum;
}

/* Before anything is taken: a system that promises more memory than it has would end the process. */
static tn_status check_memory(const tn_population *p, const tn_buffer *type,
                              const int64_t dim[TN_MAX_RANK], const char *what, tn_error *err) {
    double row = (double)tn_dtype_size(type->dtype), have = (double)tn_memory_available();
    for (int a = 1; a <= type->rank; a++) row *= (double)dim[a];
    if (row * p->count <= have) return TN_OK;
    double others = member_bytes(p);
    return tn_error_set(err, TN_OUT_OF_MEMORY,
                        "'%s' of %d members takes %.3g GB, and %.3g GB are free: with all that it "
                        "has a member takes %.3g GB so far, so at most %.0f fit",
                        what, p->count, row * p->count * 1e-9, have * 1e-9, (others + row) * 1e-9,
                        floor((have + others * p->count) / (others + row)));
}

static tn_status make_place(tn__stack *s, const tn_population *p, const tn_buffer *type,
                            const char *what, tn_error *err) {
    char text[640];
    snprintf(text, sizeof text, "'%s' of a member", what);
    TN_CHECK(tn__tensor_abstract(p->context, type, text, &s->place, err));
    tn_keep(s->place);
    s->place->stands_in = true;
    return TN_OK;
}

static tn_status make_all(tn__stack *s, const tn_population *p, const tn_buffer *type,
                          const int64_t dim[TN_MAX_RANK], const char *what, tn_error *err) {
    int skip = s->shared;
    pthread_mutex_lock(&p->context->lock);
    tn__storage *data = tn__storage_new(p->context, type->dtype, type->rank + 1 - skip, dim + skip);
    if (data) data->ready = true;
    if (data && data->bytes) memset(data->data, 0, data->bytes);
    s->all = data ? tn__tensor_of_storage(p->context, data) : NULL;
    pthread_mutex_unlock(&p->context->lock);
    if (!s->all)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for '%s' of %d members", what,
                            p->count);
    tn_keep(s->all);
    return TN_OK;
}

static tn_status init(tn__stack *s, const tn_population *p, const tn_buffer *type, const char *what,
                      tn_error *err) {
    int64_t dim[TN_MAX_RANK];
    TN_CHECK(check_type(p, type, what, dim, err));
    if (!s->shared) TN_CHECK(check_memory(p, type, dim, what, err));
    TN_CHECK(make_all(s, p, type, dim, what, err));
    return make_place(s, p, type, what, err);
}

tn_status tn__stack_init(tn__stack *s, const tn_population *p, const tn_buffer *type, bool shared,
                         const char *what, tn_error *err) {
    *s = (tn__stack){.shared = shared};
    TN_CHECK(init(s, p, type, what, err));
    s->one = tn_keep(tn__again(s->place));
    if (!s->one) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for '%s'", what);
    s->one->stands_in = true;
    return TN_OK;
}

void tn__stack_stand_in(tn__stack *s, tn_tensor *one) {
    tn_release(s->one);
    s->one = tn_retain(one);
    pthread_mutex_lock(&one->context->lock);
    tn__tensor_become(one, s->place);
    one->stands_in = true;
    pthread_mutex_unlock(&one->context->lock);
}

tn_status tn__stack_init_from(tn__stack *s, const tn_population *p, tn_tensor *one,
                              const char *what, tn_error *err) {
    tn_buffer was;
    *s = (tn__stack){0};
    TN_CHECK(tn_view(one, &was, err));
    TN_CHECK(init(s, p, &was, what, err));
    size_t bytes = one->storage->bytes;
    for (int i = 0; i < p->count && bytes; i++)
        memcpy((char *)s->all->storage->data + (size_t)i * bytes, was.data, bytes);
    tn__stack_stand_in(s, one);
    return TN_OK;
}

void tn__stack_deinit(tn__stack *s) {
    tn_release(s->one);
    tn_release(s->place);
    tn_release(s->all);
    *s = (tn__stack){0};
}

/* ---- elements ------------------------------------------------------------------------------- */

/* x gets memory of its own where something else refers to its elements. */
static tn_status own_elements(tn_tensor *x, tn_error *err) {
    tn_context *c = x->context;
    tn_status status = TN_OK;
    pthread_mutex_lock(&c->lock);
    const tn__storage *old = x->storage;
    bool recorded = c->recording && old->generation == c->recording->generation;
    if (old->refs > 1 || recorded || old->borrowed) {
        tn__storage *own = tn__storage_new(c, old->dtype, old->rank, old->dim);
        if (own) {
            own->ready = true;
            if (own->bytes) memcpy(own->data, old->data, own->bytes);
            tn__tensor_set_storage(x, own);
            tn__storage_release(c, own);
        } else {
            status = tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
        }
    }
    pthread_mutex_unlock(&c->lock);
    return status;
}

tn_status tn__stack_row(tn__stack *s, int i, void **data, size_t *bytes, tn_error *err) {
    tn_buffer all;
    TN_CHECK(tn_view(s->all, &all, err));
    TN_CHECK(own_elements(s->all, err));
    const tn__storage *x = s->all->storage;
    int64_t rows = s->shared ? 1 : x->dim[0];
    *bytes = rows ? x->bytes / (size_t)rows : 0;
    *data = (char *)x->data + (s->shared ? 0 : (size_t)i * *bytes);
    return TN_OK;
}
