/* What a group is made of. See merge.h. */
#include <stdlib.h>

#include "session/identity.h"
#include "wide/merge.h"

bool tn__wide_member_copy(const tn_wide_member *from, tn_wide_member *to) {
    *to = *from;
    to->model = strdup(from->model);
    to->weights = from->weights ? strdup(from->weights) : NULL;
    if (to->model && (to->weights || !from->weights)) return true;
    tn__wide_member_free(to);
    return false;
}

void tn__wide_member_free(tn_wide_member *m) {
    free((void *)(uintptr_t)m->model);
    free((void *)(uintptr_t)m->weights);
    *m = (tn_wide_member){0};
}

static bool copy_names(tn_wide_options *to, const tn_wide_options *from) {
    char **names = calloc((size_t)TN_MAX(from->shared_count, 0) + 1, sizeof *names);
    to->shared = (const char *const *)names;
    for (int i = 0; names && i < from->shared_count; i++) {
        names[i] = strdup(from->shared[i]);
        if (!names[i]) return false;
        to->shared_count++;
    }
    return names != NULL;
}

tn__wide_recipe *tn__wide_recipe_new(const tn_wide_member *members, const int *numbers, int count,
                                     const tn_wide_options *options) {
    tn__wide_recipe *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->options = (tn_wide_options)TN_WIDE_OPTIONS_INIT;
    r->options.layout = options->layout;
    r->options.share_all = options->share_all;
    r->options.same_randoms = options->same_randoms;
    r->members = calloc((size_t)count, sizeof *r->members);
    bool sound = r->members && copy_names(&r->options, options);
    for (int i = 0; sound && i < count; i++) {
        sound = tn__wide_member_copy(&members[numbers[i]], &r->members[i]);
        r->count += sound;
    }
    if (sound) return r;
    tn__wide_recipe_free(r);
    return NULL;
}

void tn__wide_recipe_free(tn__wide_recipe *r) {
    if (!r) return;
    for (int i = 0; i < r->count; i++) tn__wide_member_free(&r->members[i]);
    for (int i = 0; i < r->options.shared_count; i++) free((void *)(uintptr_t)r->options.shared[i]);
    free((void *)(uintptr_t)r->options.shared);
    free(r->members);
    free(r);
}

/* Weights enter by the identity of their files; other files that a model names are sources of the program,
 * which are compared when it is loaded. */
void tn__wide_recipe_identify(const void *context, tn_str *out) {
    const tn__wide_recipe *r = context;
    const tn_wide_options *o = &r->options;
    tn_str_appendf(out, "wide %d layout %d randoms %d shared %d\n", r->count, (int)o->layout,
                   o->same_randoms, o->share_all);
    for (int i = 0; i < o->shared_count; i++) tn_str_appendf(out, "shared %s\n", o->shared[i]);
    for (int i = 0; i < r->count; i++) {
        const tn_wide_member *m = &r->members[i];
        tn_identify_file(m->model, out);
        if (m->weights) tn_str_append(out, "weights "), tn_identify_file(m->weights, out);
        if (m->perturbed) tn_str_appendf(out, "seed %llu\n", (unsigned long long)m->seed);
    }
}
