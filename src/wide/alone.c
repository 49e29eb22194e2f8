/* Members as ordinary models. See wide.h. */
#include "wide/wide.h"

tn_status tn__wide_alone(const tn_wide *w, int member, tn_model **out, tn_error *err) {
    const tn_wide_member *m = &w->entries[member].member;
    const tn_wide_options none = TN_WIDE_OPTIONS_INIT;
    tn_model_options options = w->options.compile;
    options.threads_of = w->groups.at[0].model;
    options.dump = NULL;
    *out = NULL;
    tn__wide_recipe *r = tn__wide_recipe_new(m, &(int){0}, 1, &none);
    if (!r) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    r->alone = true;
    tn_model_maker maker = tn__wide_maker(r);
    maker.identify = NULL;
    return tn__wide_in_member(tn_model_from_maker(&maker, &options, out, err), member, m, err);
}
