/* One member of a population: taken out, put back, added, removed. See tenon/population.h. */
#include <stdlib.h>

#include "wide/population.h"

/* ---- checks --------------------------------------------------------------------------------- */

static tn_status check_free(const tn_population *p, tn_error *err) {
    if (!p) return tn_error_set(err, TN_INVALID, "there is no population");
    if (!p->recording) return TN_OK;
    return tn_error_set(err, TN_INVALID, "a function of a member can change no members");
}

static tn_status check_member(const tn_population *p, int member, tn_error *err) {
    TN_CHECK(check_free(p, err));
    if (member >= 0 && member < p->count) return TN_OK;
    return tn_error_set(err, TN_NOT_FOUND, "there is no member %d; the population has %d: 0 … %d",
                        member, p->count, p->count - 1);
}

static tn_status check_root(const tn_population *p, const tn_module *m, tn_error *err) {
    if (!m || *tn__module_name(m))
        return tn_error_set(err, TN_INVALID, "%s; expected the root of a module",
                            m ? "a module below a root" : "the module is NULL");
    if (m == p->module) return tn_error_set(err, TN_INVALID, "this is the population's own module");
    return TN_OK;
}

static tn_status check_alike(const tn_population *p, const tn_module *m, tn_error *err) {
    TN_CHECK(check_root(p, m, err));
    return tn__module_check_alike(m, p->module, "the population", err);
}

/* ---- get ------------------------------------------------------------------------------------ */

static tn_status check_room(const tn_population *p, const tn_module *m, tn_error *err) {
    TN_CHECK(check_root(p, m, err));
    return tn_module_count(m) ? check_alike(p, m, err) : TN_OK;
}

static tn_status get_item(tn_population *p, int i, int member, tn_module *out, tn_error *err) {
    tn_module_item item;
    void *row;
    size_t bytes;
    tn_module_entry(p->module, i, &item);
    TN_CHECK(tn__stack_row(&p->items[i], member, &row, &bytes, err));
    const tn_tensor *t = item.tensor;
    tn_tensor *x = tn_module_find(out, item.name);
    tn_tensor *value = tn_keep(tn_tensor_from_at("tn_population_get", tn_module_context(out),
                                                 t->dtype, t->rank, t->dim, row));
    if (!tn_tensor_ok(value)) {
        tn_release(value);
        return tn_context_error(tn_module_context(out), err);
    }
    tn_assign_at("tn_population_get", x, value);
    tn_release(value);
    return TN_OK;
}

tn_status tn_population_get(tn_population *p, int member, tn_module *out, tn_error *err) {
    TN_CHECK(check_member(p, member, err));
    TN_TRY(err, check_room(p, out, err), "the module for member %d", member);
    if (tn_module_count(out) == 0) TN_CHECK(tn__module_make_like(out, p->module, err));
    for (int i = 0; i < tn_module_count(p->module); i++) TN_CHECK(get_item(p, i, member, out, err));
    return TN_OK;
}

/* ---- set ------------------------------------------------------------------------------------ */

static tn_status refuse_shared(const tn_population *p, tn_error *err) {
    if (!p->options.shared_parameters) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "the members share one module's parameters, so none of them can be "
                        "another; tn_population_tensor gives what they share");
}

static tn_status copy_rows(tn_population *p, int member, const tn_module *from, tn_error *err) {
    tn_module_item item;
    for (int i = 0; tn_module_entry(p->module, i, &item); i++) {
        void *row;
        size_t bytes;
        tn_buffer value;
        if (p->items[i].shared) continue;
        TN_TRY(err, tn_view(tn_module_find(from, item.name), &value, err), "'%s'", item.name);
        TN_CHECK(tn__stack_row(&p->items[i], member, &row, &bytes, err));
        if (bytes) memcpy(row, value.data, bytes);
    }
    return TN_OK;
}

/* So that copying cannot fail in the middle. */
static tn_status evaluate(const tn_module *m, tn_error *err) {
    tn_module_item item;
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        TN_TRY(err, tn_eval(&item.tensor, 1, err), "'%s'", item.name);
    return TN_OK;
}

tn_status tn_population_set(tn_population *p, int member, const tn_module *from, tn_error *err) {
    TN_CHECK(check_member(p, member, err));
    TN_CHECK(refuse_shared(p, err));
    TN_TRY(err, check_alike(p, from, err), "the module for member %d", member);
    TN_TRY(err, evaluate(from, err), "the module for member %d", member);
    return copy_rows(p, member, from, err);
}

/* ---- insert and remove ---------------------------------------------------------------------- */

/* The stack with `count` rows: those before `at` stay, those from `at` on are of `from` on. */
static tn__storage *moved(tn_context *c, const tn__storage *x, int count, int at, int from) {
    int64_t dim[TN_MAX_RANK];
    memcpy(dim, x->dim, sizeof dim);
    dim[0] = count;
    pthread_mutex_lock(&c->lock);
    tn__storage *y = tn__storage_new(c, x->dtype, x->rank, dim);
    pthread_mutex_unlock(&c->lock);
    if (!y) return NULL;
    size_t row = x->bytes / (size_t)x->dim[0];
    int to = at + (count > x->dim[0]);
    memset(y->data, 0, y->bytes);
    memcpy(y->data, x->data, (size_t)at * row);
    memcpy((char *)y->data + (size_t)to * row, (const char *)x->data + (size_t)from * row,
           (size_t)(count - to) * row);
    y->ready = true;
    return y;
}

static void release_all(tn_context *c, tn__storage **x, int count) {
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < count; i++) tn__storage_release(c, x[i]);
    pthread_mutex_unlock(&c->lock);
    free(x);
}

/* New stacks; nothing changes when one cannot be made. */
static tn_status make_moved(const tn_population *p, int count, int at, int from, tn__storage **out,
                            tn_error *err) {
    tn_buffer all;
    for (int i = 0; i < tn_module_count(p->module); i++) {
        tn__stack *s = &p->items[i];
        if (s->shared) continue;
        TN_CHECK(tn_view(s->all, &all, err));
        out[i] = moved(p->context, s->all->storage, count, at, from);
        if (!out[i]) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for %d members", count);
    }
    return TN_OK;
}

static tn_status resize(tn_population *p, int count, int at, int from, tn_error *err) {
    int items = tn_module_count(p->module);
    uint64_t *seeds = calloc((size_t)TN_MAX(count, p->count), sizeof *seeds);
    tn__storage **x = calloc((size_t)items + 1, sizeof *x);
    tn_status status = seeds && x ? make_moved(p, count, at, from, x, err)
                                  : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    if (status != TN_OK) {
        free(seeds);
        if (x) release_all(p->context, x, items);
        return status;
    }
    pthread_mutex_lock(&p->context->lock);
    for (int i = 0; i < items; i++)
        if (x[i]) tn__tensor_set_storage(p->items[i].all, x[i]);
    pthread_mutex_unlock(&p->context->lock);
    release_all(p->context, x, items);
    int to = at + (count > p->count);
    for (int i = 0; i < count; i++)
        seeds[i] = i < to ? p->seeds[TN_MIN(i, p->count - 1)] : p->seeds[i - to + from];
    free(p->seeds);
    p->seeds = seeds;
    p->count = count;
    p->version++;
    return TN_OK;
}

tn_status tn_population_insert(tn_population *p, int at, const tn_module *from, tn_error *err) {
    TN_CHECK(check_free(p, err));
    if (at < 0 || at > p->count)
        return tn_error_set(err, TN_NOT_FOUND,
                            "a member cannot be inserted at %d; the population has %d: 0 … %d", at,
                            p->count, p->count);
    TN_CHECK(refuse_shared(p, err));
    TN_TRY(err, check_alike(p, from, err), "the module for member %d", at);
    TN_TRY(err, evaluate(from, err), "the module for member %d", at);
    TN_CHECK(resize(p, p->count + 1, at, at, err));
    return copy_rows(p, at, from, err);
}

tn_status tn_population_remove(tn_population *p, int member, tn_error *err) {
    TN_CHECK(check_member(p, member, err));
    if (p->count == 1)
        return tn_error_set(err, TN_INVALID, "the only member of a population cannot be removed");
    return resize(p, p->count - 1, member, member + 1, err);
}
