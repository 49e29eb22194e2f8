/* Checks every invariant of a graph; see graph.h. Findings are collected, and the report is the
 * graph's text with a mark below each node that has one. */
#include "ir/graph.h"

#include "ir/text.h"

typedef struct finding {
    tn_node node; /* nodes.len: the graph as a whole */
    const char *text;
} finding;

typedef struct checker {
    const tn_graph *g;
    tn_node node;
    TN_VEC(finding) found;
} checker;

enum { MAX_FINDINGS = 100 };

static void add_finding(checker *c, const char *text) {
    if (c->found.len < MAX_FINDINGS) tn_vec_push(c->g->arena, &c->found, (finding){c->node, text});
}

#define FIND(c, ...) add_finding((c), tn_arena_printf((c)->g->arena, __VA_ARGS__))

/* ---- sizes ---------------------------------------------------------------------------------- */

static void check_dim(checker *c, const char *what, tn_dim d, bool is_size) {
    const tn_dims *t = c->g->dims;
    int64_t value;
    if (d < 0 && (uint64_t)(-1 - d) >= t->exprs.len)
        FIND(c, "%s is not a size of this graph", what);
    else if (is_size && tn_dim_const_value(t, d, &value) && value < 0)
        FIND(c, "%s is negative", what);
}

static void check_shape(checker *c, const char *what, const tn_shape *s) {
    if (s->rank < 0 || s->rank > TN_MAX_RANK) {
        FIND(c, "%s has rank %d", what, s->rank);
        return;
    }
    for (int i = 0; i < s->rank; i++) check_dim(c, what, s->dim[i], true);
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static void check_sub_graph(checker *c, const char *what, const tn_graph *sub) {
    tn_error err = TN_ERROR_INIT;
    char text[TN_ERROR_TEXT];
    if (!sub || sub->parent != c->g || sub->dims != c->g->dims) {
        FIND(c, "sub-graph '%s' is missing or belongs to another graph", what);
        return;
    }
    if (tn_graph_verify(sub, NULL, &err) == TN_OK) return;
    tn_error_format(&err, text, sizeof(text));
    FIND(c, "in sub-graph '%s': %s", what, text);
}

/* False when the attributes cannot be given to the rules. */
static bool check_field(checker *c, const tn_field *f, const void *at) {
    uint32_t before = c->found.len;
    switch (f->kind) {
    case TN_FIELD_BOOL:
        break;
    case TN_FIELD_DTYPE:
        if (*(const unsigned *)at >= TN_DTYPE_COUNT) FIND(c, "'%s' is not a type", f->name);
        break;
    case TN_FIELD_ENUM: {
        int count = 0;
        while (f->enum_names[count]) count++;
        if (*(const unsigned *)at >= (unsigned)count) FIND(c, "'%s' is not in its range", f->name);
        break;
    }
    case TN_FIELD_INTS:
        if ((unsigned)((const tn_ints *)at)->count > TN_MAX_RANK)
            FIND(c, "'%s' has %d entries", f->name, ((const tn_ints *)at)->count);
        break;
    case TN_FIELD_DIM:
        check_dim(c, f->name, *(const tn_dim *)at, false);
        break;
    case TN_FIELD_DIMS: {
        const tn_dim_list *list = at;
        if ((unsigned)list->count > TN_MAX_RANK)
            FIND(c, "'%s' has %d entries", f->name, list->count);
        else
            for (int i = 0; i < list->count; i++) check_dim(c, f->name, list->at[i], false);
        break;
    }
    case TN_FIELD_SHAPE:
        check_shape(c, f->name, at);
        break;
    case TN_FIELD_GRAPH:
        check_sub_graph(c, f->name, *(tn_graph *const *)at);
        break;
    case TN_FIELD_DATA:
        if (((const tn_data *)at)->source > tn_graph_root(c->g)->sources.len)
            FIND(c, "'%s' is in a file that the graph does not know", f->name);
        break;
    case TN_FIELD_I64:
    case TN_FIELD_END:
        break;
    }
    return c->found.len == before;
}

static bool check_attrs(checker *c, const tn_node_info *n) {
    bool good = n->attrs != NULL;
    if (!good) FIND(c, "has no attributes");
    for (const tn_field *f = tn_op_info_of(n->op)->fields; good && f->kind != TN_FIELD_END; f++)
        good = check_field(c, f, (const char *)n->attrs + f->offset);
    return good;
}

static bool check_links(checker *c, const tn_node_info *n) {
    uint32_t before = c->found.len;
    for (uint32_t i = 0; i < n->in_count; i++) {
        if (n->in[i] >= c->g->values.len)
            FIND(c, "operand %u, %%%u, does not exist", i, n->in[i]);
        else if (n->in[i] >= n->out)
            FIND(c, "operand %u, %%%u, is not made before this node", i, n->in[i]);
    }
    if ((uint64_t)n->out + n->out_count > c->g->values.len) {
        FIND(c, "results beyond the graph's values");
        return false;
    }
    for (uint32_t i = 0; i < n->out_count; i++) {
        const tn_value_info *v = tn_graph_value(c->g, n->out + i);
        if (v->node != c->node || v->result != i)
            FIND(c, "%%%u says that node %u, result %u makes it", n->out + i, v->node, v->result);
        if ((unsigned)v->type.dtype >= TN_DTYPE_COUNT) FIND(c, "%%%u has no type", n->out + i);
        check_shape(c, "the result's shape", &v->type.shape);
    }
    return c->found.len == before;
}

static void find_type(checker *c, tn_value v, const tn_type *inferred) {
    tn_str text;
    tn__str_init_in(&text, c->g->arena);
    tn__print_type(c->g->dims, inferred, &text);
    FIND(c, "%%%u should be %s", v, tn_str_text(&text));
}

static void check_types(checker *c, const tn_node_info *n) {
    tn_error err = TN_ERROR_INIT;
    tn_type *types;
    uint32_t count;
    if (tn__graph_infer(c->g, n->op, n->in, n->in_count, n->attrs, &types, &count, &err) != TN_OK) {
        FIND(c, "%s", err.message);
        return;
    }
    if (count != n->out_count) FIND(c, "has %u results, should have %u", n->out_count, count);
    for (uint32_t i = 0; i < count && i < n->out_count; i++) {
        const tn_type *type = tn_graph_type(c->g, n->out + i);
        if (type->dtype != types[i].dtype || !tn_shape_equal(&type->shape, &types[i].shape))
            find_type(c, n->out + i, &types[i]);
    }
}

/* Values are numbered in the order of the nodes, without gaps. */
static void check_nodes(checker *c) {
    tn_value next = 0;
    for (c->node = 0; c->node < c->g->nodes.len; c->node++) {
        const tn_node_info *n = tn_graph_node(c->g, c->node);
        if ((unsigned)n->op >= TN_OP_COUNT) {
            FIND(c, "operation %u does not exist", (unsigned)n->op);
            continue;
        }
        if (n->out != next) FIND(c, "the first result is %%%u, expected %%%u", n->out, next);
        next = n->out + n->out_count;
        bool linked = check_links(c, n);
        if (check_attrs(c, n) && linked) check_types(c, n);
    }
    if (next != c->g->values.len) FIND(c, "%u values, the nodes make %u", c->g->values.len, next);
}

/* ---- sizes that nodes bind ------------------------------------------------------------------ */

static void check_size_uses(checker *c, const uint32_t *bound, bool *used) {
    const tn_dims *t = c->g->dims;
    const tn_node_info *n = tn_graph_node(c->g, c->node);
    memset(used, 0, t->symbols.len);
    tn_graph_mark_symbols(c->g, n, used);
    for (uint32_t s = 0; s < t->symbols.len; s++) {
        if (!used[s] || !bound[s]) continue;
        if (bound[s] - 1 > c->node)
            FIND(c, "size %s is used before it is bound", t->symbols.data[s].name);
        if (bound[s] - 1 != c->node && n->op == TN_OP_bind_size) {
            const tn_attrs_bind_size *a = n->attrs;
            if (tn_dim_uses_symbol(t, a->size, s))
                FIND(c, "size %s is bound twice", t->symbols.data[s].name);
        }
    }
}

/* Only where all nodes are in order. */
static void check_bound_sizes(checker *c) {
    const tn_graph *g = c->g;
    const uint32_t *bound = tn_graph_bound_sizes(g, g->arena);
    if (!bound) return;
    bool *used = TN_NEW_N(g->arena, bool, g->dims->symbols.len);
    for (c->node = 0; c->node < g->nodes.len; c->node++) {
        if (g->parent && tn_graph_node(g, c->node)->op == TN_OP_bind_size)
            FIND(c, "binds a size inside of a sub-graph");
        check_size_uses(c, bound, used);
    }
}

/* ---- inputs and outputs --------------------------------------------------------------------- */

static void check_name(checker *c, tn_map *seen, const char *what, const char *name) {
    uint32_t known;
    if (!name || c->g->parent) return;
    if (tn_map_get_str(seen, name, &known)) FIND(c, "two %ss have the name '%s'", what, name);
    tn_map_put_str(seen, name, 0);
}

static void check_in_place(checker *c, uint32_t output, bool *taken) {
    const tn_graph *g = c->g;
    const tn_graph_output *o = &g->outputs.data[output];
    uint32_t input = o->in_place - 1;
    if (o->in_place == 0 || c->found.len > 0) return; /* types may be broken then */
    if (g->parent || input >= g->inputs.len || g->inputs.data[input] >= g->values.len) {
        FIND(c, "output %u is in place of no input of the outermost graph", output);
        return;
    }
    if (taken[input]) FIND(c, "two outputs are in place of input %u", input);
    taken[input] = true;
    const tn_type *x = tn_graph_type(g, g->inputs.data[input]), *y = tn_graph_type(g, o->value);
    if (x->dtype != y->dtype ||
        tn_shape_count(g->dims, &x->shape) != tn_shape_count(g->dims, &y->shape))
        FIND(c, "output %u is in place of input %u, which is of another type or size", output,
             input);
}

static void check_signature(checker *c) {
    tn_map seen;
    uint32_t inputs = 0;
    const tn_graph *g = c->g;
    c->node = g->nodes.len;
    tn_map_init(&seen, g->arena);
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        if (node->op != TN_OP_input) continue;
        if (inputs >= g->inputs.len || g->inputs.data[inputs] != node->out)
            FIND(c, "input node %%%u is not input %u", node->out, inputs);
        else if (node->out < g->values.len)
            check_name(c, &seen, "input", tn_graph_value(g, node->out)->name);
        inputs++;
    }
    if (inputs != g->inputs.len) FIND(c, "%u inputs, %u input nodes", g->inputs.len, inputs);
    tn_map_init(&seen, g->arena);
    bool *taken = TN_NEW_N(g->arena, bool, g->inputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        if (g->outputs.data[i].value >= g->values.len) FIND(c, "output %u does not exist", i);
        check_name(c, &seen, "output", g->outputs.data[i].name);
        check_in_place(c, i, taken);
    }
}

/* ---- report --------------------------------------------------------------------------------- */

static void report_node(const checker *c, tn_node n, tn_str *out) {
    for (uint32_t i = 0; i < c->found.len; i++)
        if (c->found.data[i].node == n)
            tn_str_appendf(out, "  ^ error: %s\n", c->found.data[i].text);
}

/* A node whose links or attributes are broken may not be printable: only its operation is shown. */
static void print_safely(const checker *c, tn_node n, tn_str *out) {
    checker probe = {.g = c->g, .node = n};
    const tn_node_info *node = tn_graph_node(c->g, n);
    tn_str_append(out, "  ");
    if ((unsigned)node->op >= TN_OP_COUNT)
        tn_str_append(out, "?");
    else if (check_links(&probe, node) && check_attrs(&probe, node))
        tn__print_node(c->g, n, false, 1, out);
    else
        tn_str_appendf(out, "%%%u = %s …", node->out, tn_op_info_of(node->op)->name);
    tn_str_append(out, "\n");
}

static void print_report(const checker *c, tn_str *out) {
    tn__print_header(c->g, out);
    tn_str_append(out, "\n");
    for (tn_node n = 0; n < c->g->nodes.len; n++) {
        print_safely(c, n, out);
        report_node(c, n, out);
    }
    for (uint32_t i = 0; i < c->g->outputs.len; i++) {
        tn_str_append(out, "  ");
        tn__print_output(c->g, i, out);
        tn_str_append(out, "\n");
    }
    tn_str_append(out, "}\n");
    report_node(c, c->g->nodes.len, out);
}

tn_status tn_graph_verify(const tn_graph *g, tn_str *report, tn_error *err) {
    checker c = {.g = g};
    check_nodes(&c);
    if (c.found.len == 0) check_bound_sizes(&c);
    check_signature(&c);
    if (c.found.len == 0) return TN_OK;
    if (report) print_report(&c, report);
    const finding *first = &c.found.data[0];
    const char *more = c.found.len > 1 ? " (and more)" : "";
    if (first->node >= g->nodes.len)
        return tn_error_set(err, TN_INVALID, "graph: %s%s", first->text, more);
    const tn_node_info *n = tn_graph_node(g, first->node);
    const char *op = (unsigned)n->op < TN_OP_COUNT ? tn_op_info_of(n->op)->name : "node";
    return tn_error_set(err, TN_INVALID, "%s %%%u: %s%s", op, n->out, first->text, more);
}
