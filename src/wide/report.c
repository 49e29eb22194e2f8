/* Strategies of nodes: from what carries the members, and from where the program runs it. See report.h. */
#include "wide/report.h"

#include "wide/merge_inner.h"
#include "wide/strategy.h"

enum { MOST_ROUNDS = 8 };

typedef struct reporting {
    const tn_wide *w;
    tn__wide_group *g;
    tn__wide_report *out;
    tn__merging m;
    tn_import_options options;
    const tn_graph *graph; /* of one member; weights and settings that differ are inputs */
    const bool *carries;   /* per value of it: members differ */
    const tn_program *program;
    const tn_buffer *inputs; /* of the group; NULL: not known */
} reporting;

static tn_wide_strategy strategy_of(const reporting *x, const tn_node_info *n) {
    return x->g->count == 1 ? TN_WIDE_ALONE : tn__wide_strategy_of(n, x->carries);
}

/* ---- the list ------------------------------------------------------------------------------- */

static const char *operator_of(const tn_import *i, const char *name, tn_op op) {
    for (uint32_t k = 0; k < i->nodes.len; k++)
        if (strcmp(i->nodes.data[k].name, name) == 0) return i->nodes.data[k].op;
    return tn_op_info_of(op)->name;
}

/* Whether the most telling operation of a name is this one: the first of its kind. */
static bool is_shown(const reporting *x, tn_node id) {
    const tn_node_info *n = tn_graph_node(x->graph, id);
    int weight = tn__wide_weight(n->op);
    if (!weight) return false;
    for (tn_node p = 0; n->name && p < x->graph->nodes.len; p++) {
        const tn_node_info *o = tn_graph_node(x->graph, p);
        if (p == id || !o->name || strcmp(o->name, n->name) != 0) continue;
        int other = tn__wide_weight(o->op);
        if (other > weight || (other == weight && p < id)) return false;
    }
    return true;
}

static void list_nodes(reporting *x) {
    const tn_graph *g = x->graph;
    tn_arena *arena = &x->out->arena;
    TN_VEC(tn_wide_node_info) nodes = {0};
    for (tn_node id = 0; id < g->nodes.len; id++) {
        const tn_node_info *n = tn_graph_node(g, id);
        if (!is_shown(x, id)) continue;
        const char *name = n->name ? n->name : "";
        tn_wide_node_info info = {.node = tn_arena_strdup(arena, name)};
        info.op = tn_arena_strdup(arena, operator_of(&x->m.a->import, name, n->op));
        info.strategy = strategy_of(x, n);
        int64_t piece = 0;
        if (*name && x->program)
            piece = tn__wide_piece(x->program, name, x->g->count, tn__wide_loops(g, name));
        if (piece && info.strategy != TN_WIDE_ONCE && info.strategy != TN_WIDE_ALONE)
            info.strategy = TN_WIDE_LOOP;
        info.piece = piece ? piece : x->g->count;
        tn_vec_push(arena, &nodes, info);
    }
    x->out->nodes = nodes.data;
    x->out->node_count = (int)nodes.len;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static const tn_import_dim *dims_of(const tn_model_options *o, tn_arena *arena) {
    tn_import_dim *dims = TN_NEW_N(arena, tn_import_dim, o->dim_count);
    for (int i = 0; i < o->dim_count; i++)
        dims[i] = (tn_import_dim){o->dims[i].name, o->dims[i].value};
    return dims;
}

/* The port of this name; -1: there is none. */
static int port_named(const tn__wide_ports *p, const char *name) {
    for (int i = 0; i < p->in_count; i++)
        if (strcmp(p->in[i].name, name) == 0) return i;
    return -1;
}

/* A size of the model by its symbol, as an input tells it; where members are side by side their number is a
 * factor of it. -1: none does. */
static int64_t size_named(const reporting *x, const char *name) {
    const tn__wide_ports *p = &x->w->groups.ports;
    for (int i = 0; i < p->in_count; i++)
        for (int a = 0; a < p->in[i].rank; a++) {
            const char *symbol = p->in[i].symbol[a];
            bool joined = a == 1 && !p->shared[i] && x->w->options.layout == TN_WIDE_PACKED;
            if (symbol && joined && strchr(symbol, '*')) symbol = strchr(symbol, '*') + 1;
            if (symbol && strcmp(symbol, name) == 0)
                return joined ? x->inputs[i].dim[a] / x->g->count : x->inputs[i].dim[a];
        }
    return -1;
}

/* Adds what the import asked for; false: the inputs do not tell it. */
static bool add_needs(reporting *x) {
    const tn_import *i = &x->m.a->import;
    tn_arena *arena = &x->out->arena;
    uint32_t values = x->options.value_count, dims = x->options.dim_count;
    tn_import_value *value = TN_NEW_N(arena, tn_import_value, values + i->need_values.len);
    tn_import_dim *dim = TN_NEW_N(arena, tn_import_dim, dims + i->need_dims.len);
    if (values) memcpy(value, x->options.values, values * sizeof *value);
    if (dims) memcpy(dim, x->options.dims, dims * sizeof *dim);
    for (uint32_t n = 0; n < i->need_values.len; n++) {
        int port = port_named(&x->w->groups.ports, i->need_values.data[n]);
        if (port < 0) return false;
        const tn_buffer *b = &x->inputs[port];
        tn_array a = {.dtype = b->dtype, .rank = b->rank, .data = b->data};
        memcpy(a.dim, b->dim, sizeof a.dim);
        value[values++] = (tn_import_value){x->w->groups.ports.in[port].name, a};
    }
    for (uint32_t n = 0; n < i->need_dims.len; n++) {
        int64_t size = size_named(x, i->need_dims.data[n]);
        if (size < 0) return false;
        dim[dims++] = (tn_import_dim){tn_arena_strdup(arena, i->need_dims.data[n]), size};
    }
    bool grown = values > x->options.value_count || dims > x->options.dim_count;
    x->options.values = value, x->options.value_count = values;
    x->options.dims = dim, x->options.dim_count = dims;
    return grown;
}

static void forget_import(reporting *x) {
    tn__wide_read_done(&x->m.reader.first);
    tn__wide_read_done(&x->m.reader.other);
    tn__wide_files_deinit(x->m.reader.files);
}

/* The import of a member, bound to values as often as it asks for more. */
static tn_status import_bound(reporting *x, tn_error *err) {
    TN_CHECK(tn__merge_compare(&x->m, err));
    for (int round = 0; !x->m.a->import.graph; round++) {
        if (!x->inputs || round == MOST_ROUNDS || !add_needs(x))
            return tn_error_set(err, TN_UNSUPPORTED, "%s needs values first: %s",
                                x->m.r->members[0].model, x->m.a->import.need_reason);
        forget_import(x);
        tn_import_close(&x->m.a->import);
        TN_CHECK(tn__merge_compare(&x->m, err));
    }
    return TN_OK;
}

static tn_status report_guarded(void *argument, tn_error *err) {
    reporting *x = argument;
    const tn_model_options *o = &x->w->options.compile;
    x->options = (tn_import_options){.dims = dims_of(o, &x->m.a->arena),
                                     .dim_count = (uint32_t)o->dim_count,
                                     .weights = true,
                                     .specialize = true};
    TN_CHECK(import_bound(x, err));
    TN_CHECK(tn__merge_carries(&x->m, &x->graph, &x->carries, err));
    x->out->own = x->m.shares.own;
    x->out->shared = x->m.shares.shared;
    list_nodes(x);
    return TN_OK;
}

static tn_status make(const tn_wide *w, tn__wide_group *g, const tn_artifact *planned,
                      const tn_buffer *inputs, tn_error *err) {
    tn__wide_files files = {0};
    reporting x = {.w = w, .g = g, .out = &g->report, .inputs = inputs};
    x.program = planned ? planned->program : NULL;
    x.m = (tn__merging){.r = g->recipe, .options = &x.options, .a = tn_artifact_new()};
    if (!x.m.a) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    files.options = &x.options;
    x.m.reader = (tn__wide_reader){
        .files = &files, .members = g->recipe->members, .count = g->recipe->count};
    tn_arena_init(&g->report.arena, tn_allocator_system());
    tn_status status = tn_guard(report_guarded, &x, err);
    forget_import(&x);
    tn_artifact_release(x.m.a);
    if (status != TN_OK) tn__wide_report_free(&g->report);
    g->report.made = status == TN_OK;
    return status;
}

tn_status tn__wide_report_make(const tn_wide *w, tn__wide_group *g, tn_error *err) {
    if (g->report.made) return TN_OK;
    const tn_artifact *planned = tn_session_artifact(g->session);
    return make(w, g, planned ? planned : tn_model_artifact(g->model), NULL, err);
}

tn_status tn__wide_report_bound(const tn_wide *w, int group, const tn_session *session,
                                const tn_buffer *inputs, tn_error *err) {
    tn__wide_group *g = &w->groups.at[group];
    if (g->report.made) tn__wide_report_free(&g->report);
    return make(w, g, tn_session_artifact(session), inputs, err);
}

void tn__wide_report_free(tn__wide_report *r) {
    tn_arena_deinit(&r->arena);
    *r = (tn__wide_report){0};
}

/* ---- for users ------------------------------------------------------------------------------ */

/* Made when it is first asked for. */
static const tn__wide_report *report_of(const tn_wide *w, int group) {
    if (group < 0 || group >= w->groups.count) return NULL;
    tn__wide_group *g = &w->groups.at[group];
    return tn__wide_report_make(w, g, NULL) == TN_OK ? &g->report : NULL;
}

int tn_wide_node_count(const tn_wide *w, int group) {
    const tn__wide_report *r = report_of(w, group);
    return r ? r->node_count : 0;
}

tn_status tn_wide_node(const tn_wide *w, int group, int i, tn_wide_node_info *out) {
    const tn__wide_report *r = report_of(w, group);
    *out = (tn_wide_node_info){0};
    if (!r || i < 0 || i >= r->node_count) return TN_NOT_FOUND;
    *out = r->nodes[i];
    return TN_OK;
}
