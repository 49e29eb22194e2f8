/* Populations of modules that are there already. See tenon/population.h. */
#include <inttypes.h>

#include "wide/population.h"

/* ---- structure ------------------------------------------------------------------------------ */

static const char *kind_of(const tn_module_item *x) {
    return x->buffer ? "buffer" : "parameter";
}

typedef struct difference {
    const tn_module_item *have, *want;
    const char *whose;
    tn_str types[2]; /* of both; owned outside the guard */
} difference;

static void append_type(tn_str *s, const tn_module_item *x) {
    const tn_tensor *t = x->tensor;
    tn_str_appendf(s, "%s[", tn_dtype_name(t->dtype));
    for (int a = 0; a < t->rank; a++) tn_str_appendf(s, "%s%" PRId64, a ? ", " : "", t->dim[a]);
    tn_str_append(s, "]");
}

static tn_status describe(void *argument, tn_error *err) {
    difference *d = argument;
    append_type(&d->types[0], d->have);
    append_type(&d->types[1], d->want);
    return tn_error_set(err, TN_INVALID, "%s '%s' is %s; %s has the %s %s there", kind_of(d->have),
                        d->have->name, tn_str_text(&d->types[0]), d->whose, kind_of(d->want),
                        tn_str_text(&d->types[1]));
}

static tn_status refuse(const tn_module_item *have, const tn_module_item *want, const char *whose,
                        tn_error *err) {
    difference d = {.have = have, .want = want, .whose = whose};
    for (int i = 0; i < 2; i++) tn_str_init(&d.types[i]);
    tn_status status = tn_guard(describe, &d, err);
    for (int i = 0; i < 2; i++) tn_str_deinit(&d.types[i]);
    return status;
}

static bool same_item(const tn_module_item *a, const tn_module_item *b) {
    const tn_tensor *x = a->tensor, *y = b->tensor;
    bool same = a->buffer == b->buffer && x->dtype == y->dtype && x->rank == y->rank;
    for (int i = 0; same && i < x->rank; i++) same = x->dim[i] == y->dim[i];
    return same;
}

tn_status tn__module_check_alike(const tn_module *m, const tn_module *like, const char *whose,
                                 tn_error *err) {
    tn_module_item have, want;
    for (int i = 0; tn_module_entry(like, i, &want); i++) {
        if (!tn_module_entry(m, tn__module_index(m, want.name), &have))
            return tn_error_set(err, TN_INVALID, "it has no %s '%s', which %s has", kind_of(&want),
                                want.name, whose);
        if (!same_item(&have, &want)) return refuse(&have, &want, whose, err);
    }
    for (int i = 0; tn_module_entry(m, i, &have); i++)
        if (tn__module_index(like, have.name) < 0)
            return tn_error_set(err, TN_INVALID, "it has a %s '%s', which %s has not",
                                kind_of(&have), have.name, whose);
    return TN_OK;
}

/* ---- making --------------------------------------------------------------------------------- */

static tn_status check_module(const tn_module *m, const tn_module *first, tn_error *err) {
    if (!m) return tn_error_set(err, TN_INVALID, "the module is NULL");
    if (*tn__module_name(m))
        return tn_error_set(err, TN_INVALID, "'%s' is a module below a root; expected a root",
                            tn__module_name(m));
    if (tn_module_context(m) != tn_module_context(first))
        return tn_error_set(err, TN_INVALID, "it is a module of another context than member 0");
    return tn__module_check_alike(m, first, "member 0", err);
}

static tn_status check_modules(tn_module *const *modules, int count, const tn_population_options *o,
                               tn_error *err) {
    if (count < 1)
        return tn_error_set(err, TN_INVALID, "a population of %d modules; expected at least one",
                            count);
    if (o->shared_parameters && count != 1)
        return tn_error_set(err, TN_INVALID,
                            "%d modules whose parameters all members share; expected one, and the "
                            "number of its members in options.members",
                            count);
    for (int i = 0; i < count; i++)
        TN_TRY(err, check_module(modules[i], modules[0], err), "member %d", i);
    return TN_OK;
}

tn_status tn_population_from(tn_module *const *modules, int count,
                             const tn_population_options *options, tn_population **out,
                             tn_error *err) {
    tn_population_options o;
    *out = NULL;
    TN_CHECK(tn__population_options(options, &o, err));
    TN_CHECK(check_modules(modules, count, &o, err));
    o.dtype = tn_module_dtype(modules[0]);
    if (!o.shared_parameters) o.members = count;
    tn_population *p = NULL;
    TN_CHECK(tn_population_create(tn_module_context(modules[0]), &o, &p, err));
    p->sources = modules;
    tn_status status = tn__module_make_like(p->module, modules[0], err);
    p->sources = NULL;
    if (status == TN_OK)
        *out = p;
    else
        tn_population_release(p);
    return status;
}
