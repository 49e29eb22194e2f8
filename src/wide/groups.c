/* Members of equal structure as groups, each an ordinary model. See wide.h. */
#include <stdlib.h>

#include "wide/budget.h"
#include "wide/report.h"

typedef struct grouping {
    const tn_wide *w;
    const tn__wide_entry *entries;
    int count;
    tn_wide_member *members; /* of the entries; texts are theirs */
    tn__wide_files files;
    tn__wide_groups *out;
    tn_arena arena;
} grouping;

/* ---- comparing ------------------------------------------------------------------------------ */

/* Models that need values before they have a graph are compared as far as they are known; the rest is
 * checked when the values are there. */
static bool differ(const tn__wide_file *a, const tn__wide_file *b, tn_str *out) {
    const tn_import *p = &a->import, *q = &b->import;
    if (a == b) return false;
    if (p->graph && q->graph) return tn__structure_difference(&a->structure, &b->structure, out);
    if (p->graph || q->graph)
        return tn_str_appendf(out, "needs values before it is compiled: %s",
                              p->need_reason ? p->need_reason : q->need_reason),
               true;
    for (uint32_t i = 0; i < TN_MIN(p->nodes.len, q->nodes.len); i++)
        if (strcmp(p->nodes.data[i].op, q->nodes.data[i].op) != 0)
            return tn_str_appendf(out, "node '%s': %s instead of %s", q->nodes.data[i].name,
                                  q->nodes.data[i].op, p->nodes.data[i].op),
                   true;
    if (p->nodes.len != q->nodes.len || p->inputs.len != q->inputs.len ||
        p->outputs.len != q->outputs.len)
        return tn_str_appendf(out, "%u nodes, %u inputs and %u outputs instead of %u, %u and %u",
                              q->nodes.len, q->inputs.len, q->outputs.len, p->nodes.len,
                              p->inputs.len, p->outputs.len),
               true;
    return false;
}

static bool is_weight(const tn_import *i, const char *name) {
    for (uint32_t k = 0; k < i->weights.len; k++)
        if (strcmp(i->weights.data[k].name, name) == 0) return true;
    return false;
}

/* What follows from weights or data is another one for each member, sizes too: no array holds them all. */
static tn_status check_sizes(const tn__wide_file *f, int members, tn_error *err) {
    const tn_import *i = &f->import;
    for (tn_node n = 0; i->graph && members > 1 && n < i->graph->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(i->graph, n);
        if (node->op != TN_OP_bind_size) continue;
        return tn_error_set(err, TN_UNSUPPORTED,
                            "node '%s': how many elements its result has is counted while the "
                            "model runs; members differ in that and have no common array; extract "
                            "the members and run each alone",
                            node->name ? node->name : "");
    }
    for (uint32_t k = 0; k < i->need_values.len; k++) {
        if (!is_weight(i, i->need_values.data[k])) continue;
        const char *behind = strstr(i->need_reason, ": "); /* the node */
        return tn_error_set(
            err, TN_UNSUPPORTED,
            "%.*s: sizes of its result follow from values that depend on the weight "
            "'%s'; they differ between members and have no common array; extract "
            "the members and run each alone",
            behind ? (int)(behind - i->need_reason) : 0, i->need_reason, i->need_values.data[k]);
    }
    return TN_OK;
}

/* ---- forming -------------------------------------------------------------------------------- */

static tn_status group_add(tn__wide_group *g, int member, uint64_t id, tn_error *err) {
    int *members = realloc(g->members, sizeof *members * (size_t)(g->count + 1));
    if (members) g->members = members;
    uint64_t *ids = realloc(g->ids, sizeof *ids * (size_t)(g->count + 1));
    if (ids) g->ids = ids;
    if (!members || !ids) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    members[g->count] = member;
    ids[g->count++] = id;
    return TN_OK;
}

static tn_status group_new(tn__wide_groups *out, const char *difference, tn_error *err) {
    tn__wide_group *at = realloc(out->at, sizeof *at * (size_t)(out->count + 1));
    if (!at) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    out->at = at;
    at[out->count] = (tn__wide_group){0};
    if (difference) at[out->count].difference = strdup(difference);
    if (difference && !at[out->count].difference)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    out->count++;
    return TN_OK;
}

static tn_status file_of(grouping *x, int member, tn__wide_file **out, tn_error *err) {
    const tn_wide_member *m = &x->members[member];
    return tn__wide_in_member(tn__wide_files_get(&x->files, m->model, out, err), member, m, err);
}

static tn_status place_member(grouping *x, int member, tn_error *err) {
    tn__wide_file *file, *first;
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(&x->arena));
    TN_CHECK(file_of(x, member, &file, err));
    TN_CHECK(
        tn__wide_in_member(check_sizes(file, x->count, err), member, &x->members[member], err));
    for (int g = 0; g < x->out->count; g++) {
        tn__wide_group *group = &x->out->at[g];
        tn_str_clear(&text);
        TN_CHECK(file_of(x, group->members[0], &first, err));
        if (!differ(first, file, &text))
            return group_add(group, member, x->entries[member].id, err);
        if (x->w->options.one_group) {
            tn_error_set(err, TN_INVALID, "%s in member 0 (%s)", tn_str_text(&text),
                         x->members[0].model);
            return tn__wide_in_member(TN_INVALID, member, &x->members[member], err);
        }
    }
    if (x->out->count > 1) {
        tn_str_clear(&text);
        TN_CHECK(file_of(x, x->out->at[0].members[0], &first, err));
        differ(first, file, &text);
    }
    TN_CHECK(group_new(x->out, x->out->count ? tn_str_text(&text) : NULL, err));
    return group_add(&x->out->at[x->out->count - 1], member, x->entries[member].id, err);
}

/* ---- ports ---------------------------------------------------------------------------------- */

static const char *size_text(tn__wide_ports *p, const tn_dims *dims, tn_dim d) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(&p->arena));
    tn_dim_print(dims, d, &text);
    return tn_str_text(&text);
}

static tn_status describe_port(grouping *x, const tn_import *i, const tn_import_port *port,
                               bool shared, tn_port_info *out, tn_error *err) {
    tn__wide_ports *p = &x->out->ports;
    tn_shape shape = port->type.shape;
    if (port->typed && !shared)
        TN_CHECK(tn__wide_widen(x->w->options.layout, x->count, i->dims, port, &shape, err));
    *out = (tn_port_info){.name = tn_arena_strdup(&p->arena, port->name),
                          .dtype = port->type.dtype,
                          .rank = port->typed ? shape.rank : -1};
    for (int a = 0; a < out->rank; a++) {
        bool known = tn_dim_is_const(shape.dim[a]);
        out->dim[a] = known ? shape.dim[a] : -1;
        if (!known) out->symbol[a] = size_text(p, i->dims, shape.dim[a]);
    }
    return TN_OK;
}

static tn_status unknown_shared(grouping *x, const tn_import *i, const char *name, tn_error *err) {
    tn_str names;
    tn_str_init_with(&names, tn_arena_allocator(&x->arena));
    for (uint32_t k = 0; k < i->inputs.len; k++)
        tn_str_appendf(&names, "%s%s", k ? ", " : "", i->inputs.data[k].name);
    return tn_error_set(err, TN_NOT_FOUND,
                        "the model has no input '%s' that could be shared; its inputs are: %s",
                        name, tn_str_text(&names));
}

static tn_status check_shared(grouping *x, const tn_import *i, tn_error *err) {
    const tn_wide_options *o = &x->w->options;
    for (int s = 0; s < o->shared_count; s++) {
        uint32_t k = 0;
        while (k < i->inputs.len && strcmp(i->inputs.data[k].name, o->shared[s])) k++;
        if (k < i->inputs.len) continue;
        return unknown_shared(x, i, o->shared[s], err);
    }
    return TN_OK;
}

/* As the first member's model says. */
static tn_status describe_ports(grouping *x, tn_error *err) {
    tn__wide_ports *p = &x->out->ports;
    tn__wide_file *file;
    TN_CHECK(file_of(x, 0, &file, err));
    const tn_import *i = &file->import;
    TN_CHECK(check_shared(x, i, err));
    p->in_count = (int)i->inputs.len;
    p->out_count = (int)i->outputs.len;
    p->in = TN_NEW_N(&p->arena, tn_port_info, p->in_count);
    p->out = TN_NEW_N(&p->arena, tn_port_info, p->out_count);
    p->shared = TN_NEW_N(&p->arena, bool, p->in_count);
    for (int k = 0; k < p->in_count; k++) {
        p->shared[k] = tn__wide_is_shared(&x->w->options, i, i->inputs.data[k].name);
        TN_TRY(err, describe_port(x, i, &i->inputs.data[k], p->shared[k], &p->in[k], err), "input");
    }
    for (int k = 0; k < p->out_count; k++)
        TN_TRY(err, describe_port(x, i, &i->outputs.data[k], false, &p->out[k], err), "output");
    return TN_OK;
}

/* ---- models --------------------------------------------------------------------------------- */

static tn__wide_group *same_group(const tn__wide_groups *old, const tn__wide_group *g) {
    for (int i = 0; i < old->count; i++) {
        tn__wide_group *o = &old->at[i];
        if (o->model && o->count == g->count &&
            memcmp(o->ids, g->ids, sizeof *g->ids * (size_t)g->count) == 0)
            return o;
    }
    return NULL;
}

static tn_status make_model(grouping *x, tn__wide_group *g, tn_error *err) {
    tn__wide_recipe *r = tn__wide_recipe_new(x->members, g->members, g->count, &x->w->options);
    if (!r) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_model_maker maker = tn__wide_maker(r);
    r->files = &x->files;
    tn_model_options options = x->w->options.compile;
    const tn_wide *w = x->w; /* groups run in turn */
    if (w->groups.count)
        options.threads_of = w->groups.at[0].model;
    else if (g != x->out->at)
        options.threads_of = x->out->at[0].model;
    TN_CHECK(tn_model_from_maker(&maker, &options, &g->model, err));
    r->files = NULL;
    g->recipe = r;
    return tn_session_create(g->model, &g->session, err);
}

static bool is_new(const grouping *x, const tn__wide_group *g) {
    return same_group(&x->w->groups, g) == NULL;
}

/* Before anything large is allocated. What other groups hold is not free any more. */
static tn_status check_memory(grouping *x, tn_error *err) {
    tn__wide_budget budget = {.w = x->w,
                              .members = x->members,
                              .count = x->count,
                              .files = &x->files,
                              .arena = &x->arena};
    budget.groups = TN_NEW_N(&x->arena, const tn__wide_group *, x->out->count);
    for (int i = 0; i < x->out->count; i++)
        if (is_new(x, &x->out->at[i])) budget.groups[budget.group_count++] = &x->out->at[i];
    return tn__wide_budget_check(&budget, err);
}

static tn_status make_guarded(void *argument, tn_error *err) {
    grouping *x = argument;
    const tn_model_options *o = &x->w->options.compile;
    tn_import_dim *dims = TN_NEW_N(&x->arena, tn_import_dim, o->dim_count);
    for (int i = 0; i < o->dim_count; i++)
        dims[i] = (tn_import_dim){o->dims[i].name, o->dims[i].value};
    tn_import_options options = {
        .dims = dims, .dim_count = (uint32_t)o->dim_count, .weights = true, .specialize = true};
    x->files.options = &options;
    x->members = TN_NEW_N(&x->arena, tn_wide_member, x->count);
    for (int i = 0; i < x->count; i++) x->members[i] = x->entries[i].member;
    for (int i = 0; i < x->count; i++) TN_CHECK(place_member(x, i, err));
    TN_CHECK(describe_ports(x, err));
    TN_CHECK(check_memory(x, err));
    x->out->ports.results =
        calloc((size_t)x->out->ports.out_count + 1, sizeof *x->out->ports.results);
    if (!x->out->ports.results) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < x->out->count; i++) {
        tn__wide_group *g = &x->out->at[i];
        g->gathered = calloc((size_t)x->out->ports.in_count + 1, sizeof *g->gathered);
        if (!g->gathered) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
        if (is_new(x, g)) TN_CHECK(make_model(x, g, err));
    }
    return TN_OK;
}

/* Nothing can fail any more. */
static void take_old(tn__wide_groups *old, tn__wide_groups *out) {
    for (int i = 0; i < out->count; i++) {
        tn__wide_group *g = &out->at[i], *o = g->model ? NULL : same_group(old, g);
        if (!o) continue;
        g->model = o->model;
        g->session = o->session;
        g->recipe = o->recipe;
        o->model = NULL;
        o->session = NULL;
    }
}

tn_status tn__wide_groups_make(tn_wide *w, const tn__wide_entry *entries, int count,
                               tn__wide_groups *out, tn_error *err) {
    grouping x = {.w = w, .entries = entries, .count = count, .out = out};
    *out = (tn__wide_groups){0};
    tn_arena_init(&out->ports.arena, tn_allocator_system());
    tn_arena_init(&x.arena, tn_allocator_system());
    tn_status status = tn_guard(make_guarded, &x, err);
    tn__wide_files_deinit(&x.files);
    tn_arena_deinit(&x.arena);
    if (status == TN_OK)
        take_old(&w->groups, out);
    else
        tn__wide_groups_free(out);
    return status;
}

void tn__wide_groups_free(tn__wide_groups *g) {
    for (int i = 0; i < g->count; i++) {
        tn__wide_group *x = &g->at[i];
        tn_session_release(x->session);
        tn_model_release(x->model);
        for (int k = 0; x->gathered && k < g->ports.in_count; k++) free(x->gathered[k].data);
        free(x->gathered);
        if (x->report.made) tn__wide_report_free(&x->report);
        free(x->members);
        free(x->ids);
        free(x->difference);
    }
    for (int k = 0; g->ports.results && k < g->ports.out_count; k++) free(g->ports.results[k].data);
    free(g->ports.results);
    free(g->at);
    tn_arena_deinit(&g->ports.arena);
    *g = (tn__wide_groups){0};
}
