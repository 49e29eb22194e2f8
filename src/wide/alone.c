/* Members as ordinary models. See wide.h. */
#include "ops/batch.h"
#include "wide/wide.h"

/* A group's members have random numbers of their own by their place in it. */
static uint64_t stream_of(const tn_wide *w, int member) {
    for (int g = 0; g < w->groups.count && !w->options.same_randoms; g++)
        for (int i = 0; i < w->groups.at[g].count; i++)
            if (w->groups.at[g].members[i] == member) return tn_batch_stream((uint64_t)i);
    return 0;
}

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
    r->stream = stream_of(w, member);
    tn_model_maker maker = tn__wide_maker(r);
    maker.identify = NULL;
    return tn__wide_in_member(tn_model_from_maker(&maker, &options, out, err), member, m, err);
}
