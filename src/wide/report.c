/* Strategies of nodes: from what carries the members, and from where the program runs it. See report.h. */
#include "wide/report.h"

#include "wide/merge_inner.h"

typedef struct reporting {
    const tn_wide *w;
    tn__wide_group *g;
    tn__wide_report *out;
    tn__merging m;
    tn_import_options options;
    const tn_graph *graph; /* of one member; weights and settings that differ are inputs */
    const bool *carries;   /* per value of it: members differ */
    const tn_program *program;
} reporting;

/* ---- which nodes ---------------------------------------------------------------------------- */

/* Of several operations that a node of the file became, the most telling one is reported. */
static int weight_of(tn_op op) {
    switch (op) {
    case TN_OP_dot:
    case TN_OP_ragged_dot:
    case TN_OP_conv:
        return 3;
    case TN_OP_scan:
    case TN_OP_while:
        return 2;
    case TN_OP_reduce:
    case TN_OP_window_reduce:
    case TN_OP_cumulative:
        return 1;
    default:
        return 0;
    }
}

static bool is_product(tn_op op) {
    return weight_of(op) == 3;
}

static tn_wide_strategy strategy_of(const reporting *x, const tn_node_info *n) {
    bool any = x->carries[n->out];
    if (!any) return TN_WIDE_ONCE;
    if (!is_product(n->op)) return TN_WIDE_ELEMENTS;
    bool left = x->carries[n->in[0]], right = x->carries[n->in[1]];
    return left && right ? TN_WIDE_BATCHED : left ? TN_WIDE_ROWS : TN_WIDE_COLUMNS;
}

/* ---- loops over members --------------------------------------------------------------------- */

/* The step that owns a block; NULL: none does. */
static const tn_prog_step *owner_of(const tn_program *p, uint32_t block, uint32_t *in) {
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t i = 0; i < p->blocks.data[b].steps.len; i++) {
            const tn_prog_step *s = &p->blocks.data[b].steps.data[i];
            bool owns = s->kind >= TN_STEP_IF && s->kind <= TN_STEP_SCAN;
            if (!owns || (s->blocks[0] != block && s->blocks[1] != block)) continue;
            *in = b;
            return s;
        }
    return NULL;
}

static bool block_of(const tn_program *p, uint32_t position, uint32_t *block) {
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t i = 0; i < p->blocks.data[b].steps.len; i++)
            if (p->blocks.data[b].steps.data[i].position == position) {
                *block = b;
                return true;
            }
    return false;
}

/* Members of a turn of the scan that the group at `position` is in, below the loops of the model itself; 0:
 * it is in none. */
static int64_t piece_at(const reporting *x, uint32_t position, int own_loops) {
    const tn_program *p = x->program;
    uint32_t block;
    const tn_prog_step *outermost = NULL;
    int depth = 0;
    if (!block_of(p, position, &block) || block == 1) return 0;
    for (const tn_prog_step *s; block > 1 && (s = owner_of(p, block, &block)) != NULL; depth++)
        outermost = s;
    if (depth <= own_loops || outermost->kind != TN_STEP_SCAN) return 0;
    int64_t turns = outermost->loop->length;
    bool fits = tn_dim_is_const(turns) && turns > 1 && x->g->count % turns == 0;
    return fits ? x->g->count / turns : 0;
}

static bool mentions(const char *text, const char *name) {
    size_t len = strlen(name);
    for (const char *at = text; at && (at = strstr(at, name)) != NULL; at += len)
        if (at > text && at[-1] == '(' && at[len] == ')') return true;
    return false;
}

static int64_t piece_of(const reporting *x, const char *name, int own_loops) {
    for (uint32_t i = 0; x->program && i < x->program->groups.len; i++) {
        const tn_prog_group *g = &x->program->groups.data[i];
        if (!mentions(g->anchors, name) && !mentions(g->epilogue, name)) continue;
        int64_t piece = piece_at(x, g->step_position, own_loops);
        if (piece) return piece;
    }
    return 0;
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
    int weight = weight_of(n->op);
    if (!weight) return false;
    for (tn_node p = 0; n->name && p < x->graph->nodes.len; p++) {
        const tn_node_info *o = tn_graph_node(x->graph, p);
        if (p == id || !o->name || strcmp(o->name, n->name) != 0) continue;
        int other = weight_of(o->op);
        if (other > weight || (other == weight && p < id)) return false;
    }
    return true;
}

static int loops_of(const reporting *x, const char *name) {
    for (tn_node p = 0; p < x->graph->nodes.len; p++) {
        const tn_node_info *n = tn_graph_node(x->graph, p);
        bool loop = n->op == TN_OP_scan || n->op == TN_OP_while;
        if (loop && n->name && strcmp(n->name, name) == 0) return 1;
    }
    return 0;
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
        int64_t piece = *name ? piece_of(x, name, loops_of(x, name)) : 0;
        if (piece && info.strategy != TN_WIDE_ONCE) info.strategy = TN_WIDE_LOOP;
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

static tn_status report_guarded(void *argument, tn_error *err) {
    reporting *x = argument;
    const tn_model_options *o = &x->w->options.compile;
    x->options = (tn_import_options){
        .dims = dims_of(o, &x->m.a->arena), .dim_count = (uint32_t)o->dim_count, .weights = true};
    TN_CHECK(tn__merge_compare(&x->m, err));
    if (!x->m.a->import.graph)
        return tn_error_set(err, TN_UNSUPPORTED, "%s needs values first: %s",
                            x->m.r->members[0].model, x->m.a->import.need_reason);
    TN_CHECK(tn__merge_carries(&x->m, &x->graph, &x->carries, err));
    x->out->own = x->m.shares.own;
    x->out->shared = x->m.shares.shared;
    list_nodes(x);
    return TN_OK;
}

tn_status tn__wide_report_make(const tn_wide *w, tn__wide_group *g, tn_error *err) {
    if (g->report.made) return TN_OK;
    const tn_artifact *planned = tn_session_artifact(g->session);
    if (!planned) planned = tn_model_artifact(g->model);
    tn__wide_files files = {0};
    reporting x = {.w = w, .g = g, .out = &g->report, .program = planned ? planned->program : NULL};
    x.m = (tn__merging){.r = g->recipe, .options = &x.options, .a = tn_artifact_new()};
    if (!x.m.a) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    files.options = &x.options;
    x.m.reader = (tn__wide_reader){
        .files = &files, .members = g->recipe->members, .count = g->recipe->count};
    tn_arena_init(&g->report.arena, tn_allocator_system());
    tn_status status = tn_guard(report_guarded, &x, err);
    tn__wide_read_done(&x.m.reader.first);
    tn__wide_read_done(&x.m.reader.other);
    tn__wide_files_deinit(&files);
    tn_artifact_release(x.m.a);
    if (status != TN_OK) tn__wide_report_free(&g->report);
    g->report.made = status == TN_OK;
    return status;
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
