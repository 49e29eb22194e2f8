/* Making populations. See tenon/population.h, population.h. */
#include "wide/population.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- items ---------------------------------------------------------------------------------- */

static bool is_shared(const tn_population *p, const tn__wanted *w) {
    return w->random ? p->options.same_randoms : p->options.shared_parameters;
}

/* Elements of the module that member i is made of. */
static tn_status copy_source(const tn_population *p, int i, const char *name, void *out,
                             tn_error *err) {
    tn_buffer from;
    tn_tensor *x = tn_module_find(p->sources[i], name);
    TN_CHECK(tn_view(x, &from, err));
    if (x->storage->bytes) memcpy(out, from.data, x->storage->bytes);
    return TN_OK;
}

/* What every member has at first. Random streams of one module's members are those of the seeds. */
static tn_status fill(const tn_population *p, const tn__wanted *w, const char *name, tn__stack *s,
                      tn_error *err) {
    bool seeded = !p->sources || (w->random && p->options.shared_parameters && !s->shared);
    for (int i = 0; i < (s->shared ? 1 : p->count); i++) {
        void *row;
        size_t bytes;
        TN_CHECK(tn__stack_row(s, i, &row, &bytes, err));
        if (seeded)
            tn__wanted_fill(w, p->seeds[i], name, row);
        else
            TN_CHECK(copy_source(p, i, name, row, err));
    }
    return TN_OK;
}

static bool make_room(tn_population *p, int count) {
    if (count <= p->item_room) return true;
    int room = TN_MAX(count, 2 * p->item_room + 8);
    tn__stack *more = realloc(p->items, (size_t)room * sizeof *more);
    if (!more) return false;
    memset(more + p->item_room, 0, (size_t)(room - p->item_room) * sizeof *more);
    p->items = more;
    p->item_room = room;
    return true;
}

static tn_tensor *make_item(void *user, const tn__wanted *w, const char *name, tn_error *err) {
    tn_population *p = user;
    int at = tn_module_count(p->module);
    if (!make_room(p, at + 1)) {
        tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for '%s'", name);
        return NULL;
    }
    tn__stack *s = &p->items[at];
    tn_buffer type = {.dtype = w->dtype, .rank = w->rank};
    for (int a = 0; a < w->rank; a++) type.dim[a] = w->dim[a];
    tn__stack_deinit(s); /* of one that could not be added */
    tn_status status = tn__stack_init(s, p, &type, is_shared(p, w), name, err);
    if (status == TN_OK) status = fill(p, w, name, s, err);
    if (status != TN_OK) return NULL;
    pthread_mutex_lock(&p->context->lock);
    s->one->variable = s->all->variable = !w->buffer;
    if (s->shared && p->recording) tn__tensor_become(s->one, s->all);
    pthread_mutex_unlock(&p->context->lock);
    return tn_retain(s->one);
}

/* ---- options -------------------------------------------------------------------------------- */

tn_status tn__population_options(const tn_population_options *from, tn_population_options *to,
                                 tn_error *err) {
    *to = (tn_population_options)TN_POPULATION_OPTIONS_INIT;
    if (!from) return TN_OK;
    if (from->size < sizeof(size_t) || from->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "tn_population_options.size is not set; start from "
                            "TN_POPULATION_OPTIONS_INIT");
    memcpy(to, from, TN_MIN(from->size, sizeof *to));
    return TN_OK;
}

static tn_status check_members(int count, tn_error *err) {
    if (count >= 1) return TN_OK;
    return tn_error_set(err, TN_INVALID, "a population of %d members; expected at least one",
                        count);
}

/* Without a module. */
static tn_status population_new(tn_context *c, const tn_population_options *o, int count,
                                tn_population **out, tn_error *err) {
    TN_CHECK(check_members(count, err));
    tn_population *p = calloc(1, sizeof *p);
    uint64_t *seeds = calloc((size_t)count, sizeof *seeds);
    if (!p || !seeds) {
        free(p);
        free(seeds);
        return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a population of %d members",
                            count);
    }
    *p = (tn_population){.context = c, .options = *o, .count = count, .seeds = seeds};
    for (int i = 0; i < count; i++) seeds[i] = o->seeds ? o->seeds[i] : o->seed + (uint64_t)i;
    p->options.seeds = NULL;
    *out = p;
    return TN_OK;
}

static tn_status make_module(tn_population *p, tn_error *err) {
    tn_module_options o = TN_MODULE_OPTIONS_INIT;
    o.dtype = p->options.dtype;
    o.abstract = true;
    TN_CHECK(tn_module_create(p->context, &o, &p->module, err));
    tn__module_set_maker(p->module, (tn__item_maker){make_item, p});
    return TN_OK;
}

/* ---- making --------------------------------------------------------------------------------- */

tn_status tn_population_create(tn_context *c, const tn_population_options *options,
                               tn_population **out, tn_error *err) {
    tn_population_options o;
    tn_population *p = NULL;
    *out = NULL;
    TN_CHECK(tn__population_options(options, &o, err));
    TN_CHECK(population_new(c, &o, o.members, &p, err));
    tn_status status = make_module(p, err);
    if (status == TN_OK)
        *out = p;
    else
        tn_population_release(p);
    return status;
}

void tn_population_release(tn_population *p) {
    if (!p) return;
    if (p->best_release) p->best_release(p->best);
    for (int i = 0; i < p->item_room; i++) tn__stack_deinit(&p->items[i]);
    tn_module_release(p->module);
    tn__population_report_free(&p->report);
    free(p->items);
    free(p->seeds);
    free(p);
}

int tn_population_count(const tn_population *p) {
    return p ? p->count : 0;
}

tn_module *tn_population_module(tn_population *p) {
    return p ? p->module : NULL;
}

tn_tensor *tn_population_tensor(const tn_population *p, const char *full_name) {
    int i = p ? tn__module_index(p->module, full_name) : -1;
    return i >= 0 ? p->items[i].all : NULL;
}
