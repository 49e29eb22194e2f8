/* The first difference of two structures, in the words of their files. See structure.h. */
#include "ir/text.h"
#include "ops/ops_common.h"
#include "wide/structure.h"

enum { NONE = UINT32_MAX };

typedef struct side {
    const tn__structure *s;
    const tn_graph *g;
    const tn_node_info *n; /* the node that differs; NULL: there is none */
    tn_node id;
} side;

/* ---- nodes of the file ---------------------------------------------------------------------- */

/* The file's operator of the node that the graph's nodes are named after; NULL: not known. */
static const char *operator_of(const tn_import *i, const char *name) {
    for (uint32_t k = 0; name && k < i->nodes.len; k++)
        if (strcmp(i->nodes.data[k].name, name) == 0) return i->nodes.data[k].op;
    return NULL;
}

/* The name of the file's node that this one belongs to; of weights and constants that of the reader. */
static const char *name_of(const side *x) {
    const tn_node_info *n = x->n;
    tn_node id = x->id;
    while (n && !n->name && x->s->user[id] != NONE) {
        id = x->s->user[id];
        n = tn_graph_node(x->g, id);
    }
    return n ? n->name : NULL;
}

static const char *op_of(const side *x) {
    const char *op = operator_of(x->s->import, name_of(x));
    return op ? op : x->n ? tn_op_info_of(x->n->op)->name : "nothing";
}

/* "node 'conv1' (Conv)" */
static void append_place(const side *x, tn_str *out) {
    const char *name = name_of(x);
    tn_str_appendf(out, "node '%s' (%s)", name ? name : "", op_of(x));
}

/* ---- attributes ----------------------------------------------------------------------------- */

static void append_ints(const int64_t *at, int count, tn_str *out) {
    tn_str_append_char(out, '[');
    for (int i = 0; i < count; i++) tn_str_appendf(out, "%s%lld", i ? "," : "", (long long)at[i]);
    tn_str_append_char(out, ']');
}

static void append_dims(const side *x, const tn_dim *at, int count, tn_str *out) {
    tn_str_append_char(out, '[');
    for (int i = 0; i < count; i++) {
        if (i) tn_str_append_char(out, ',');
        tn_dim_print(x->g->dims, at[i], out);
    }
    tn_str_append_char(out, ']');
}

static void append_field(const side *x, const tn_field *f, tn_str *out) {
    const void *at = (const char *)x->n->attrs + f->offset;
    const tn_ints *ints = at;
    const tn_dim_list *dims = at;
    const tn_shape *shape = at;
    switch (f->kind) {
    case TN_FIELD_I64:
        tn_str_appendf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case TN_FIELD_BOOL:
        tn_str_append(out, *(const bool *)at ? "true" : "false");
        break;
    case TN_FIELD_DTYPE:
        tn_str_append(out, tn_dtype_name(*(const tn_dtype *)at));
        break;
    case TN_FIELD_ENUM:
        tn_str_append(out, f->enum_names[*(const int *)at]);
        break;
    case TN_FIELD_INTS:
        append_ints(ints->at, ints->count, out);
        break;
    case TN_FIELD_DIM:
        tn_dim_print(x->g->dims, *(const tn_dim *)at, out);
        break;
    case TN_FIELD_DIMS:
        append_dims(x, dims->at, dims->count, out);
        break;
    case TN_FIELD_SHAPE:
        append_dims(x, shape->dim, shape->rank, out);
        break;
    case TN_FIELD_GRAPH:
    case TN_FIELD_DATA:
    case TN_FIELD_END:
        tn_str_append(out, "another one");
        break;
    }
}

/* Whether a field prints differently; says how. */
static bool field_differs(const side *a, const side *b, const tn_field *f, tn_str *out) {
    tn_str x, y;
    tn_str_init_with(&x, tn_arena_allocator(a->g->arena));
    tn_str_init_with(&y, tn_arena_allocator(a->g->arena));
    append_field(a, f, &x);
    append_field(b, f, &y);
    if (strcmp(tn_str_text(&x), tn_str_text(&y)) == 0) return false;
    tn_str_appendf(out, "%s %s instead of %s", f->name, tn_str_text(&y), tn_str_text(&x));
    return true;
}

static void explain_attributes(const side *a, const side *b, tn_str *out) {
    const tn_field *f = tn_op_info_of(a->n->op)->fields;
    append_place(b, out);
    tn_str_append(out, ": ");
    if (a->n->in_count != b->n->in_count) {
        tn_str_appendf(out, "%u operands instead of %u", b->n->in_count, a->n->in_count);
        return;
    }
    for (; f->kind != TN_FIELD_END; f++)
        if (field_differs(a, b, f, out)) return;
    for (f = tn_op_info_of(a->n->op)->fields; f->kind != TN_FIELD_END; f++)
        if (f->kind == TN_FIELD_GRAPH) {
            tn_str_appendf(out, "another sub-graph (%s)", f->name);
            return;
        }
    tn_str_append(out, "operands that other nodes compute");
}

/* ---- inputs and constants ------------------------------------------------------------------- */

static bool is_weight(const side *x) {
    for (uint32_t i = 0; i < x->s->import->inputs.len; i++)
        if (x->g->inputs.data[i] == x->n->out) return false;
    return true;
}

static void explain_input(const side *a, const side *b, tn_str *out) {
    const char *name = tn_graph_value(b->g, b->n->out)->name;
    append_place(b, out);
    tn_str_appendf(out, ": its %s '%s' is %s", is_weight(b) ? "weight" : "input", name ? name : "",
                   tn_type_text(b->g->dims, tn_graph_type(b->g, b->n->out)).at);
    if (is_weight(a) != is_weight(b))
        tn_str_appendf(out, ", where there is %s", is_weight(a) ? "a weight" : "an input");
    else
        tn_str_appendf(out, " instead of %s",
                       tn_type_text(a->g->dims, tn_graph_type(a->g, a->n->out)).at);
}

static int64_t first_unequal(const tn_array *x, const tn_array *y) {
    size_t size = tn_dtype_size(x->dtype);
    int64_t count = tn_array_count(x);
    for (int64_t i = 0; i < count; i++)
        if (memcmp((char *)x->data + (size_t)i * size, (char *)y->data + (size_t)i * size, size))
            return i;
    return 0;
}

static void append_element(const tn_array *x, int64_t i, tn_str *out) {
    tn__print_element(x->dtype, (char *)x->data + (size_t)i * tn_dtype_size(x->dtype), out);
}

static void explain_constant(const side *a, const side *b, tn_str *out) {
    tn_array x, y;
    const tn_type *p = tn_graph_type(a->g, a->n->out), *q = tn_graph_type(b->g, b->n->out);
    tn_graph_constant(a->g, a->n->out, &x);
    tn_graph_constant(b->g, b->n->out, &y);
    append_place(b, out);
    tn_text before = tn_type_text(a->g->dims, p), after = tn_type_text(b->g->dims, q);
    bool same = strcmp(before.at, after.at) == 0 && tn_array_count(&x) > 0;
    if (!same) {
        tn_str_appendf(out, ": a constant %s instead of %s", after.at, before.at);
        return;
    }
    int64_t i = first_unequal(&x, &y);
    tn_str_append(out, ": ");
    if (x.rank) tn_str_appendf(out, "element %lld of a constant is ", (long long)i);
    append_element(&y, i, out);
    tn_str_append(out, " instead of ");
    append_element(&x, i, out);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static bool ports_differ(const side *a, const side *b, tn_str *out) {
    const tn_import *p = a->s->import, *q = b->s->import;
    if (p->inputs.len != q->inputs.len)
        return tn_str_appendf(out, "%u inputs instead of %u", q->inputs.len, p->inputs.len), true;
    for (uint32_t i = 0; i < p->inputs.len; i++) {
        tn_text x = tn_type_text(a->g->dims, tn_graph_type(a->g, a->g->inputs.data[i]));
        tn_text y = tn_type_text(b->g->dims, tn_graph_type(b->g, b->g->inputs.data[i]));
        if (strcmp(x.at, y.at) == 0) continue;
        tn_str_appendf(out, "input '%s' is %s instead of %s", q->inputs.data[i].name, y.at, x.at);
        return true;
    }
    if (a->g->outputs.len != b->g->outputs.len)
        return tn_str_appendf(out, "%u outputs instead of %u", b->g->outputs.len,
                              a->g->outputs.len),
               true;
    return false;
}

/* Operators take different numbers of nodes, so what stands at the first different place may belong to
 * other nodes of the files than the two that differ: those have one name. */
static bool operators_differ(const side *a, const side *b, tn_str *out) {
    const side *both[] = {b, a};
    for (int i = 0; i < 2; i++) {
        const char *name = name_of(both[i]);
        const char *p = operator_of(a->s->import, name), *q = operator_of(b->s->import, name);
        if (!p || !q || strcmp(p, q) == 0) continue;
        tn_str_appendf(out, "node '%s': %s instead of %s", name, q, p);
        return true;
    }
    return false;
}

static void explain(const side *a, const side *b, tn_str *out) {
    if (operators_differ(a, b, out)) return;
    if (!b->n || !a->n) {
        append_place(b->n ? b : a, out);
        tn_str_append(out, b->n ? " is one more" : " is missing");
        return;
    }
    const char *p = op_of(a), *q = op_of(b), *name = name_of(b);
    if (strcmp(p, q) != 0)
        tn_str_appendf(out, "node '%s': %s instead of %s", name ? name : "", q, p);
    else if (a->n->op == TN_OP_input && b->n->op == TN_OP_input)
        explain_input(a, b, out);
    else if (a->n->op == TN_OP_constant && b->n->op == TN_OP_constant)
        explain_constant(a, b, out);
    else if (a->n->op == b->n->op)
        explain_attributes(a, b, out);
    else {
        append_place(b, out);
        tn_str_appendf(out, ": computed by %s instead of %s", tn_op_info_of(b->n->op)->name,
                       tn_op_info_of(a->n->op)->name);
    }
}

static void take(side *x, uint32_t place) {
    if (place >= x->s->order.len) return;
    x->id = x->s->order.data[place];
    x->n = tn_graph_node(x->g, x->id);
}

bool tn__structure_difference(const tn__structure *a, const tn__structure *b, tn_str *out) {
    side x = {.s = a, .g = a->import->graph}, y = {.s = b, .g = b->import->graph};
    if (a->hash.lo == b->hash.lo && a->hash.hi == b->hash.hi) return false;
    if (ports_differ(&x, &y, out)) return true;
    uint32_t place = 0, both = TN_MIN(a->order.len, b->order.len);
    while (place < both && a->key[place].lo == b->key[place].lo &&
           a->key[place].hi == b->key[place].hi)
        place++;
    take(&x, place);
    take(&y, place);
    if (x.n || y.n)
        explain(&x, &y, out);
    else
        tn_str_append(out, "outputs are other values");
    return true;
}
