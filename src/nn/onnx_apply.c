/* Recording an ONNX model's graph. See nn/onnx.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "nn/onnx.h"

enum {
    GRAPHS = 16,           /* kept for other sizes */
    LARGE_CONSTANT = 4096, /* bytes; from here on a constant is a tensor, not part of the graph */
};

/* ---- the graph for some sizes --------------------------------------------------------------- */

static void graph_release(tn__onnx_graph *g) {
    for (uint32_t i = 0; i < g->constants.len; i++) tn_release(g->constants.data[i]);
    tn_import_close(&g->import);
    tn_arena_deinit(&g->arena);
    free(g);
}

void tn__onnx_graphs_release(tn_onnx *x) {
    while (x->graphs) {
        tn__onnx_graph *g = x->graphs;
        x->graphs = g->next;
        graph_release(g);
    }
}

typedef struct making {
    tn_onnx *x;
    const tn_tensor *const *in;
    tn__onnx_graph *g;
} making;

/* The open sizes as the inputs say. */
static const tn_import_dim *bound_sizes(const making *k, uint32_t *count) {
    const tn_onnx *x = k->x;
    TN_VEC(tn_import_dim) dims = {0};
    for (uint32_t i = 0; i < x->opened.inputs.len; i++) {
        const tn_import_port *port = &x->opened.inputs.data[i];
        for (int a = 0; port->typed && a < port->type.shape.rank; a++) {
            uint32_t symbol;
            tn_dim d = port->type.shape.dim[a];
            if (tn_dim_is_const(d) || !tn_dim_is_symbol(x->opened.dims, d, &symbol)) continue;
            const char *name = x->opened.dims->symbols.data[symbol].name;
            tn_vec_push(&k->g->arena, &dims, (tn_import_dim){name, k->in[i]->dim[a]});
        }
    }
    *count = dims.len;
    return dims.data;
}

static tn_status check_import(const making *k, tn_error *err) {
    const tn_import *i = &k->g->import, *o = &k->x->opened;
    if (!i->graph) {
        const char *what = i->need_values.len ? i->need_values.data[0] : NULL;
        return tn_error_set(err, TN_INVALID, "%s%s%s%s",
                            i->need_reason ? i->need_reason : "its shapes are not known",
                            what ? "; give the value of '" : "", what ? what : "",
                            what ? "' to tn_onnx_open" : "");
    }
    bool same = i->weights.len == o->weights.len && i->outputs.len == o->outputs.len;
    for (uint32_t w = 0; same && w < i->weights.len; w++)
        same = strcmp(i->weights.data[w].name, o->weights.data[w].name) == 0;
    if (same) return TN_OK;
    return tn_error_set(err, TN_INVALID, "the file is not the one that was opened any more");
}

static tn_status check_sizes(const tn_graph *g, tn_error *err) {
    for (uint32_t v = 0; v < g->values.len; v++) {
        const tn_node_info *n = tn_graph_producer(g, v);
        if (tn_shape_is_const(&tn_graph_type(g, v)->shape)) continue;
        return tn_error_set(
            err, TN_UNSUPPORTED,
            "node '%s' (%s): a size of its result is known only when it runs, which "
            "lazy tensors cannot have",
            n->name ? n->name : "", tn_op_info_of(n->op)->name);
    }
    return TN_OK;
}

/* A file's masks are the same in every run: no step of training would see another one. */
static tn_status check_dropout(const tn_import *i, tn_error *err) {
    const tn_graph *g = i->graph;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        if (node->op != TN_OP_random_bits || !node->name) continue;
        for (uint32_t k = 0; k < i->nodes.len; k++)
            if (!strcmp(i->nodes.data[k].op, "Dropout") &&
                !strcmp(i->nodes.data[k].name, node->name))
                return tn_error_set(
                    err, TN_UNSUPPORTED,
                    "node '%s' (Dropout) is in training mode, with the same mask in "
                    "every step; export the model in evaluation mode",
                    node->name);
    }
    return TN_OK;
}

static void mark_needed(tn__onnx_graph *k) {
    const tn_graph *g = k->import.graph;
    k->needed = TN_NEW_N(&k->arena, bool, g->nodes.len);
    for (uint32_t i = 0; i < g->outputs.len; i++)
        k->needed[g->values.data[g->outputs.data[i].value].node] = true;
    for (tn_node n = g->nodes.len; n-- > 0;) {
        const tn_node_info *node = tn_graph_node(g, n);
        for (uint32_t i = 0; k->needed[n] && i < node->in_count; i++)
            k->needed[g->values.data[node->in[i]].node] = true;
    }
}

/* A constant as a tensor, so that recording it costs nothing. */
static void add_constant(const making *k, tn_value v) {
    tn_array a;
    const tn_graph *g = k->g->import.graph;
    if (!tn_graph_constant(g, v, &a) || tn_array_bytes(&a) < LARGE_CONSTANT) return;
    tn_vec_grow(&k->g->arena, &k->g->constants, k->g->constants.len + 1);
    tn_tensor *t = tn_keep(tn_tensor_from(k->x->context, a.dtype, a.rank, a.dim, a.data));
    k->g->constants.data[k->g->constants.len++] = t;
    tn_vec_push(&k->g->arena, &k->g->operands, v);
}

/* What the recording gets from elsewhere; all else that is needed is copied. */
static void find_operands(const making *k) {
    tn__onnx_graph *out = k->g;
    const tn_graph *g = out->import.graph;
    uint32_t inputs = out->import.inputs.len;
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        tn_value v = g->inputs.data[i];
        if (i >= inputs && !out->needed[g->values.data[v].node]) continue;
        tn_vec_push(&out->arena, &out->operands, v);
        if (i >= inputs) tn_vec_push(&out->arena, &out->weights, i - inputs);
    }
    for (tn_node n = 0; n < g->nodes.len; n++)
        if (out->needed[n] && tn_graph_node(g, n)->op == TN_OP_constant)
            add_constant(k, tn_graph_node(g, n)->out);
    for (uint32_t i = 0; i < out->operands.len; i++)
        out->needed[g->values.data[out->operands.data[i]].node] = false;
}

static tn_status make_guarded(void *argument, tn_error *err) {
    const making *k = argument;
    const tn_onnx *x = k->x;
    tn_import_options options = {
        .values = x->values, .value_count = x->value_count, .weights = true};
    options.dims = bound_sizes(k, &options.dim_count);
    TN_CHECK(tn_import_onnx(x->path, &options, &k->g->arena, &k->g->import, err));
    TN_CHECK(check_import(k, err));
    TN_CHECK(check_sizes(k->g->import.graph, err));
    TN_CHECK(check_dropout(&k->g->import, err));
    mark_needed(k->g);
    find_operands(k);
    k->g->sizes = TN_NEW_N(&k->g->arena, int64_t, x->sizes);
    int n = 0;
    for (uint32_t i = 0; i < x->opened.inputs.len; i++)
        for (int a = 0; a < x->inputs[i].rank; a++) k->g->sizes[n++] = k->in[i]->dim[a];
    for (uint32_t i = 0; i < k->g->import.maps.len; i++)
        tn_file_map_drop(&k->g->import.maps.data[i]);
    return TN_OK;
}

static bool fits(const tn_onnx *x, const tn__onnx_graph *g, const tn_tensor *const *in) {
    int n = 0;
    for (uint32_t i = 0; i < x->opened.inputs.len; i++)
        for (int a = 0; a < x->inputs[i].rank; a++)
            if (g->sizes[n++] != in[i]->dim[a]) return false;
    return true;
}

static void drop_old(tn_onnx *x) {
    tn__onnx_graph *g = x->graphs;
    for (int i = 1; g && i < GRAPHS; i++) g = g->next;
    if (!g || !g->next) return;
    graph_release(g->next);
    g->next = NULL;
}

tn_status tn__onnx_graph_for(tn_onnx *x, const tn_tensor *const *in, tn__onnx_graph **out,
                             tn_error *err) {
    for (tn__onnx_graph **at = &x->graphs; *at; at = &(*at)->next)
        if (fits(x, *at, in)) {
            tn__onnx_graph *g = *at;
            *at = g->next;
            g->next = x->graphs;
            *out = x->graphs = g;
            return TN_OK;
        }
    tn__onnx_graph *g = calloc(1, sizeof *g);
    if (!g) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_arena_init(&g->arena, tn_allocator_system());
    tn_status status = tn_guard(make_guarded, &(making){x, in, g}, err);
    if (status != TN_OK) {
        graph_release(g);
        return status;
    }
    g->next = x->graphs;
    *out = x->graphs = g;
    drop_old(x);
    return TN_OK;
}

/* ---- recording it --------------------------------------------------------------------------- */

static void build(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const tn__onnx_graph *k = args;
    const tn_graph *g = k->import.graph;
    tn_value *map = TN_NEW_N(b->graph->arena, tn_value, g->values.len);
    for (uint32_t i = 0; i < k->operands.len; i++) map[k->operands.data[i]] = in[i];
    for (tn_node n = 0; n < g->nodes.len && tn_b_ok(b); n++)
        if (k->needed[n]) b->status = tn_graph_copy_node(b->graph, g, n, map, NULL, b->err);
    for (uint32_t i = 0; i < g->outputs.len; i++) out[i] = map[g->outputs.data[i].value];
}

static tn_status check_input(const tn_port_info *port, const tn_tensor *x, tn_error *err) {
    if (x->dtype != port->dtype)
        return tn_error_set(err, TN_INVALID, "input '%s' is %s; the model takes %s", port->name,
                            tn_dtype_name(x->dtype), tn_dtype_name(port->dtype));
    if (port->rank < 0)
        return tn_error_set(err, TN_INVALID,
                            "the file does not tell the number of axes of input '%s'; give its "
                            "value to tn_onnx_open",
                            port->name);
    if (x->rank != port->rank)
        return tn_error_set(err, TN_INVALID, "input '%s' has %d axes; the model takes %d",
                            port->name, x->rank, port->rank);
    for (int a = 0; a < x->rank; a++)
        if (port->dim[a] >= 0 && port->dim[a] != x->dim[a])
            return tn_error_set(err, TN_INVALID,
                                "input '%s': axis %d has size %" PRId64
                                "; the model takes %" PRId64,
                                port->name, a, x->dim[a], port->dim[a]);
    return TN_OK;
}

/* Sizes of one name are equal. */
static tn_status check_symbols(const tn_onnx *x, const tn_tensor *const *in, tn_error *err) {
    for (int i = 0; i < tn_onnx_input_count(x); i++)
        for (int a = 0; a < in[i]->rank; a++)
            for (int k = 0; k <= i; k++)
                for (int c = 0; c < in[k]->rank; c++) {
                    const char *p = x->inputs[i].symbol[a], *q = x->inputs[k].symbol[c];
                    if (!p || !q || strcmp(p, q) != 0 || in[i]->dim[a] == in[k]->dim[c]) continue;
                    return tn_error_set(
                        err, TN_INVALID,
                        "size '%s' is %" PRId64 " in input '%s' and %" PRId64 " in input '%s'", p,
                        in[k]->dim[c], x->inputs[k].name, in[i]->dim[a], x->inputs[i].name);
                }
    return TN_OK;
}

typedef struct applying {
    const char *place;
    tn_onnx *x;
    tn_tensor *const *in;
    int in_count, out_count;
    tn_tensor **out;
} applying;

static void record_graph(const applying *a, const tn__onnx_graph *g, const tn_tensor **operand) {
    uint32_t n = g->import.inputs.len;
    for (uint32_t i = 0; i < g->weights.len; i++) operand[n++] = a->x->weights[g->weights.data[i]];
    for (uint32_t i = 0; i < g->constants.len; i++) operand[n++] = g->constants.data[i];
    tn__call call = {.place = a->place,
                     .context = a->x->context,
                     .in = operand,
                     .in_count = (int)n,
                     .results = a->out_count,
                     .build = build,
                     .args = g};
    tn__record(&call, a->out);
}

/* *ok stays false where an operand failed already. */
static tn_status apply(const applying *a, bool *ok, tn_error *err) {
    tn_onnx *x = a->x;
    int inputs = tn_onnx_input_count(x), outputs = tn_onnx_output_count(x);
    if (a->in_count != inputs || a->out_count != outputs)
        return tn_error_set(err, TN_INVALID, "%d inputs and %d outputs; the model has %d and %d",
                            a->in_count, a->out_count, inputs, outputs);
    size_t room = (size_t)inputs + x->opened.weights.len + 1;
    const tn_tensor **in = calloc(room, sizeof *in);
    if (!in) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = TN_OK;
    bool sound = true;
    for (int i = 0; i < inputs && status == TN_OK && sound; i++) {
        in[i] = a->in[i] ? a->in[i] : x->given[i];
        sound = tn_tensor_ok(in[i]);
        if (sound) status = check_input(&x->inputs[i], in[i], err);
    }
    if (status == TN_OK && sound) status = check_symbols(x, in, err);
    tn__onnx_graph *g = NULL;
    if (status == TN_OK && sound) status = tn__onnx_graph_for(x, in, &g, err);
    if (g) {
        const tn_tensor **more = realloc(in, (room + g->constants.len) * sizeof *in);
        if (more) record_graph(a, g, in = more);
        *ok = more != NULL;
    }
    free(in);
    return status;
}

void tn_onnx_apply_at(const char *place, tn_onnx *x, tn_tensor *const *in, int in_count,
                      tn_tensor **out, int out_count) {
    tn_error err = TN_ERROR_INIT;
    bool ok = false;
    for (int i = 0; i < out_count; i++) out[i] = NULL;
    if (!x) return;
    applying a = {place, x, in, in_count, out_count, out};
    if (apply(&a, &ok, &err) != TN_OK) {
        pthread_mutex_lock(&x->context->lock);
        tn__context_fail(x->context, place, &err);
        pthread_mutex_unlock(&x->context->lock);
    }
    for (int i = 0; i < out_count && !ok; i++) out[i] = tn__failed(x->context);
}
