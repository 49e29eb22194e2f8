/* What optimizers, accumulators and averages share. See optim_inner.h. */
#include <stdio.h>
#include <stdlib.h>

#include "nn/optim_inner.h"

tn_dtype tn__wide_float(tn_dtype dtype) {
    return dtype == TN_f64 ? TN_f64 : TN_f32;
}

char *tn__name_with(const char *name, const char *suffix) {
    size_t a = strlen(name), b = strlen(suffix);
    char *out = malloc(a + b + 1);
    if (!out) return NULL;
    memcpy(out, name, a);
    memcpy(out + a, suffix, b + 1);
    return out;
}

/* ---- parameters ----------------------------------------------------------------------------- */

static tn_status check_parameter(const char *who, const tn_named_tensor *p, const tn_context *c,
                                 tn_error *err) {
    if (!p->name || !p->name[0])
        return tn_error_set(err, TN_INVALID, "%s: a parameter has no name", who);
    if (!tn_tensor_ok(p->tensor))
        return tn_error_set(err, TN_INVALID,
                            "%s: parameter '%s' failed when it was made; see tn_context_error", who,
                            p->name);
    if (p->tensor->context != c)
        return tn_error_set(err, TN_INVALID, "%s: parameter '%s' is of another context", who,
                            p->name);
    if (!tn_dtype_is_float(p->tensor->dtype))
        return tn_error_set(err, TN_INVALID, "%s: parameter '%s' is %s; expected a float type", who,
                            p->name, tn_dtype_name(p->tensor->dtype));
    return TN_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tn_status check_names(const char *who, const tn_named_tensor *parameters, int count,
                             tn_error *err) {
    const char **name = calloc((size_t)count + 1, sizeof *name);
    if (!name) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < count; i++) name[i] = parameters[i].name;
    qsort(name, (size_t)count, sizeof *name, by_name);
    const char *twice = NULL;
    for (int i = 1; i < count && !twice; i++)
        if (strcmp(name[i - 1], name[i]) == 0) twice = name[i];
    free(name);
    if (!twice) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s: two parameters are named '%s'", who, twice);
}

tn_status tn__check_parameters(const char *who, const tn_named_tensor *parameters, int count,
                               tn_error *err) {
    if (count < 1 || !parameters)
        return tn_error_set(err, TN_INVALID, "%s: there are no parameters", who);
    const tn_context *c = tn_tensor_context(parameters[0].tensor);
    for (int i = 0; i < count; i++) TN_CHECK(check_parameter(who, &parameters[i], c, err));
    return check_names(who, parameters, count, err);
}

tn_tensor *tn__zeros_like(const tn_tensor *x) {
    return tn_keep(
        tn_tensor_from_at("zeros", x->context, tn__wide_float(x->dtype), x->rank, x->dim, NULL));
}

bool tn__is_abstract(const tn_tensor *x) {
    tn_context *c = x->context;
    pthread_mutex_lock(&c->lock);
    bool abstract = x->storage && x->storage->abstract;
    pthread_mutex_unlock(&c->lock);
    return abstract;
}

tn_tensor *tn__again(const tn_tensor *x) {
    tn_context *c = x->context;
    pthread_mutex_lock(&c->lock);
    tn_tensor *same;
    if (x->failed)
        same = tn__tensor_failed(c);
    else if (x->storage)
        same = tn__tensor_of_storage(c, tn__storage_retain(x->storage));
    else
        same = tn__tensor_of_value(c, x->value);
    pthread_mutex_unlock(&c->lock);
    return same;
}

/* ---- slots ---------------------------------------------------------------------------------- */

tn_status tn__slots_init(tn__slots *s, const char *who, const tn_named_tensor *parameters,
                         int count, const char *suffix, tn_error *err) {
    TN_CHECK(tn__check_parameters(who, parameters, count, err));
    s->context = parameters[0].tensor->context;
    s->parameter = calloc((size_t)count, sizeof *s->parameter);
    s->state = calloc((size_t)count, sizeof *s->state);
    bool ok = s->parameter && s->state;
    for (int i = 0; i < count && ok; i++, s->count++) {
        s->parameter[i].name = tn__name_with(parameters[i].name, "");
        s->parameter[i].tensor = tn_retain(parameters[i].tensor);
        s->state[i].name = tn__name_with(parameters[i].name, suffix);
        ok = s->parameter[i].name && s->state[i].name;
    }
    return ok ? TN_OK : tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", who);
}

tn_status tn__slots_check(const tn__slots *s, const char *who, tn_error *err) {
    for (int i = 0; i < s->count; i++)
        if (!tn_tensor_ok(s->state[i].tensor))
            return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: no memory for '%s'", who,
                                s->state[i].name);
    return TN_OK;
}

static void named_deinit(tn_named_tensor *p) {
    free((char *)(uintptr_t)p->name);
    tn_release(p->tensor);
}

void tn__slots_deinit(tn__slots *s) {
    for (int i = 0; i < s->count; i++) {
        named_deinit(&s->parameter[i]);
        named_deinit(&s->state[i]);
    }
    free(s->parameter);
    free(s->state);
}

int tn__slots_list(const tn__slots *s, tn_named_tensor *out, int room) {
    for (int i = 0; i < s->count && i < room; i++) out[i] = s->state[i];
    return s->count;
}

/* ---- lists of gradients --------------------------------------------------------------------- */

void tn__assign_all(const char *place, tn_tensor *const *to, tn_tensor **from, int count) {
    for (int i = 0; i < count; i++) {
        tn_assign_at(place, to[i], from[i]);
        tn_release(from[i]);
    }
}

bool tn__given_init(tn__given *g, const tn_tensor *extra, tn_tensor *const *list, int count) {
    *g = (tn__given){.tensor = calloc((size_t)count + 1, sizeof *g->tensor),
                     .index = calloc((size_t)count + 1, sizeof *g->index)};
    if (!g->tensor || !g->index) return false;
    if (extra) g->tensor[g->count++] = extra;
    for (int i = 0; i < count; i++) {
        if (!list[i]) continue;
        g->index[g->count] = i;
        g->tensor[g->count++] = list[i];
    }
    return true;
}

void tn__given_deinit(tn__given *g) {
    free(g->tensor);
    free(g->index);
}

tn_value tn__all_finite(tn_builder *b, const tn_value *x, int count) {
    tn_value all = TN_NO_VALUE;
    for (int i = 0; i < count; i++) {
        int axes[TN_MAX_RANK], rank = tn_b_rank(b, x[i]);
        for (int a = 0; a < rank; a++) axes[a] = a;
        tn_value bad = tn_b_or(b, tn_b_is_nan(b, x[i]), tn_b_is_inf(b, x[i]));
        tn_value good = tn_b_reduce(b, TN_REDUCE_and, tn_b_not(b, bad), axes, rank, false);
        all = all == TN_NO_VALUE ? good : tn_b_and(b, all, good);
    }
    return all;
}
