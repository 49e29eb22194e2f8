/* Opening wide models and describing them. See tenon/wide.h, wide.h. */

#include <stdlib.h>

#include "wide/budget.h"
#include "wide/report.h"

/* ---- options -------------------------------------------------------------------------------- */

typedef struct opening {
    tn_wide *w;
    const tn_wide_options *options;
} opening;

static const char *copy_text(tn_wide *w, const char *text) {
    return text ? tn_arena_strdup(&w->arena, text) : NULL;
}

/* Texts are copied: members may change later. */
static tn_status copy_options(void *argument, tn_error *err) {
    opening *x = argument;
    tn_wide *w = x->w;
    tn_wide_options *o = &w->options;
    *o = (tn_wide_options)TN_WIDE_OPTIONS_INIT;
    if (!x->options) return TN_OK;
    if (x->options->size < sizeof(size_t) || x->options->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "tn_wide_options.size is not set; start from TN_WIDE_OPTIONS_INIT");
    memcpy(o, x->options, TN_MIN(x->options->size, sizeof *o));
    o->size = sizeof *o;
    if (o->layout != TN_WIDE_STACKED && o->layout != TN_WIDE_PACKED)
        return tn_error_set(err, TN_INVALID, "there is no layout %d", (int)o->layout);
    const char **shared = TN_NEW_N(&w->arena, const char *, TN_MAX(o->shared_count, 0));
    for (int i = 0; i < o->shared_count; i++) shared[i] = copy_text(w, o->shared[i]);
    o->shared = shared;
    tn_model_options *c = &o->compile;
    c->cache = copy_text(w, c->cache);
    c->dump_after = copy_text(w, c->dump_after);
    tn_dim_binding *dims = TN_NEW_N(&w->arena, tn_dim_binding, TN_MAX(c->dim_count, 0));
    for (int i = 0; i < c->dim_count; i++)
        dims[i] = (tn_dim_binding){copy_text(w, c->dims[i].name), c->dims[i].value};
    c->dims = dims;
    return TN_OK;
}

/* ---- members -------------------------------------------------------------------------------- */

static tn_status resolve(const tn_wide_member *m, tn__wide_entry *out, tn_error *err) {
    char *model = NULL, *weights = NULL;
    *out = (tn__wide_entry){.member = *m};
    out->member.model = out->member.weights = NULL;
    if (!m->model) return tn_error_set(err, TN_INVALID, "it has no model");
    tn_status status = tn_file_absolute(m->model, &model, err);
    if (status == TN_OK && m->weights) status = tn_file_absolute(m->weights, &weights, err);
    out->member.model = model;
    out->member.weights = weights;
    if (status == TN_OK && tn_program_is_file(out->member.model))
        status = tn_error_set(err, TN_UNSUPPORTED,
                              "%s: a program file, which holds kernels and no graph; give the ONNX "
                              "file that it was made of",
                              m->model);
    if (status != TN_OK) tn__wide_member_free(&out->member);
    return status;
}

tn_status tn__wide_entry_make(tn_wide *w, int number, const tn_wide_member *m, tn__wide_entry *out,
                              tn_error *err) {
    tn_status status = resolve(m, out, err);
    out->id = w->next_id++;
    if (status != TN_OK) tn_error_push(err, "member %d", number);
    return status;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Members of one model are many: its path is looked up once. */
static tn_status add_next(tn_wide *w, const tn_wide_member *members, tn_error *err) {
    const tn_wide_member *m = &members[w->count];
    tn__wide_entry *e = &w->entries[w->count];
    if (w->count == 0 || !same_text(m[-1].model, m->model) || !same_text(m[-1].weights, m->weights))
        return tn__wide_entry_make(w, w->count, m, e, err);
    if (!tn__wide_member_copy(&e[-1].member, &e->member))
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    e->member.perturbed = m->perturbed;
    e->member.seed = m->seed;
    e->id = w->next_id++;
    return TN_OK;
}

static tn_status add_members(tn_wide *w, const tn_wide_member *members, int count, tn_error *err) {
    w->entries = calloc((size_t)count, sizeof *w->entries);
    if (!w->entries) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (; w->count < count; w->count++) TN_CHECK(add_next(w, members, err));
    return TN_OK;
}

/* ---- opening -------------------------------------------------------------------------------- */

tn_status tn_wide_open(const tn_wide_member *members, int count, const tn_wide_options *options,
                       tn_wide **out, tn_error *err) {
    *out = NULL;
    if (count < 1 || !members)
        return tn_error_set(err, TN_INVALID, "a wide model of %d members; it needs at least one",
                            members ? count : 0);
    tn_wide *w = calloc(1, sizeof *w);
    if (!w) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_arena_init(&w->arena, tn_allocator_system());
    tn_status status = tn_guard(copy_options, &(opening){w, options}, err);
    if (status == TN_OK) status = add_members(w, members, count, err);
    tn__wide_groups groups;
    if (status == TN_OK) status = tn__wide_groups_make(w, w->entries, w->count, &groups, err);
    if (status == TN_OK) {
        w->groups = groups;
        *out = w;
    } else {
        tn_wide_release(w);
    }
    return status;
}

void tn_wide_release(tn_wide *w) {
    if (!w) return;
    tn__wide_groups_free(&w->groups);
    for (int i = 0; i < w->count; i++) tn__wide_member_free(&w->entries[i].member);
    free(w->entries);
    tn_arena_deinit(&w->arena);
    free(w);
}

int tn_wide_count(const tn_wide *w) {
    return w->count;
}

/* ---- groups --------------------------------------------------------------------------------- */

int tn_wide_group_count(const tn_wide *w) {
    return w->groups.count;
}

tn_status tn_wide_group(const tn_wide *w, int group, tn_wide_group_info *out) {
    *out = (tn_wide_group_info){0};
    if (group < 0 || group >= w->groups.count) return TN_NOT_FOUND;
    const tn__wide_group *g = &w->groups.at[group];
    *out = (tn_wide_group_info){
        .members = g->members, .count = g->count, .difference = g->difference, .model = g->model};
    out->shared_weights = out->own_weights = -1;
    if (tn__wide_report_make(w, &w->groups.at[group], NULL) == TN_OK) {
        out->shared_weights = g->report.shared;
        out->own_weights = g->report.own;
    }
    out->bytes = tn__wide_group_bytes(g);
    return TN_OK;
}
