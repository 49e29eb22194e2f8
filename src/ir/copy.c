/* Copying nodes between graphs: the ground of every pass. See graph.h, "rebuilding". */
#include "ir/graph.h"

typedef struct copying {
    tn_graph *to;
    const tn_graph *from;
    const tn_dim *with;  /* NULL: sizes stay as they are */
    tn_sub_graph_fn *fn; /* NULL: sub-graphs are copied */
    void *context;
} copying;

static const char *copy_name(const copying *c, const char *name) {
    if (!name || c->to->arena == c->from->arena) return name;
    return tn_arena_strdup(c->to->arena, name);
}

static tn_dim copy_dim(const copying *c, tn_dim d) {
    if (!c->with || tn_dim_is_const(d)) return d;
    return tn_dim_substitute(c->to->dims, c->from->dims, d, c->with);
}

/* The substitution that carries sizes over to another table: every symbol by its name. */
static const tn_dim *carried_symbols(const copying *c) {
    const tn_dims *from = c->from->dims;
    tn_dim *with = TN_NEW_N(c->to->arena, tn_dim, from->symbols.len);
    for (uint32_t i = 0; i < from->symbols.len; i++) {
        const tn_dim_symbol *s = &from->symbols.data[i];
        uint32_t known;
        bool is_new = !tn_dims_find_symbol(c->to->dims, s->name, &known);
        with[i] = tn_dim_of_symbol(c->to->dims, s->name);
        if (is_new)
            tn_dims_set_bounds(c->to->dims, tn_dims_symbol(c->to->dims, s->name), s->lo, s->hi,
                               s->divisor);
    }
    return with;
}

static bool source_equal(const tn_graph_source *a, const tn_graph_source *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && strcmp(a->path, b->path) == 0;
}

/* The number of `from`'s source in `to`, added when it is new there. */
static uint32_t copy_source(const copying *c, uint32_t source) {
    tn_graph *to = c->to;
    while (to->parent) to = to->parent;
    const tn_graph *from = tn_graph_root(c->from);
    TN_ASSERT(source <= from->sources.len);
    tn_graph_source wanted = from->sources.data[source - 1];
    for (uint32_t i = 0; i < to->sources.len; i++)
        if (source_equal(&to->sources.data[i], &wanted)) return i + 1;
    wanted.path = copy_name(c, wanted.path);
    tn_vec_push(to->arena, &to->sources, wanted);
    return to->sources.len;
}

static void copy_data(const copying *c, tn_data *data) {
    if (data->source)
        data->source = copy_source(c, data->source);
    else if (c->to->arena != c->from->arena)
        data->bytes = tn_arena_dup(c->to->arena, data->bytes, data->size);
}

static tn_status copy_sub(const copying *c, tn_graph **sub, tn_error *err) {
    tn_graph *made = tn_graph_new_sub(c->to);
    const tn_graph *old = *sub;
    *sub = made;
    return c->fn ? c->fn(c->context, made, old, err) : tn_graph_copy(made, old, c->with, err);
}

static tn_status copy_field(const copying *c, const tn_field *f, void *at, tn_error *err) {
    switch (f->kind) {
    case TN_FIELD_DIM:
        *(tn_dim *)at = copy_dim(c, *(tn_dim *)at);
        break;
    case TN_FIELD_DIMS: {
        tn_dim_list *list = at;
        for (int i = 0; i < list->count; i++) list->at[i] = copy_dim(c, list->at[i]);
        break;
    }
    case TN_FIELD_SHAPE: {
        tn_shape *shape = at;
        for (int i = 0; i < shape->rank; i++) shape->dim[i] = copy_dim(c, shape->dim[i]);
        break;
    }
    case TN_FIELD_DATA:
        copy_data(c, at);
        break;
    case TN_FIELD_GRAPH:
        return copy_sub(c, at, err);
    default:
        break; /* the other kinds are plain values */
    }
    return TN_OK;
}

static tn_status copy_node(copying *c, tn_node n, tn_value *map, tn_error *err) {
    const tn_node_info *node = tn_graph_node(c->from, n);
    const tn_op_info *info = tn_op_info_of(node->op);
    if (!c->with && c->to->dims != c->from->dims) c->with = carried_symbols(c);
    void *attrs = tn_arena_dup(c->to->arena, node->attrs, info->attrs_size);
    for (const tn_field *f = info->fields; f->kind != TN_FIELD_END; f++)
        TN_CHECK(copy_field(c, f, (char *)attrs + f->offset, err));
    tn_value *in = TN_NEW_N(c->to->arena, tn_value, node->in_count);
    for (uint32_t i = 0; i < node->in_count; i++) in[i] = map[node->in[i]];
    tn_value out;
    TN_CHECK(tn_graph_add(c->to, node->op, in, node->in_count, attrs, node->name, &out, err));
    TN_ASSERT(c->to->nodes.data[c->to->nodes.len - 1].out_count == node->out_count);
    for (uint32_t i = 0; i < node->out_count; i++) {
        map[node->out + i] = out + i;
        c->to->values.data[out + i].name =
            copy_name(c, tn_graph_value(c->from, node->out + i)->name);
    }
    return TN_OK;
}

tn_status tn_graph_copy_node(tn_graph *to, const tn_graph *from, tn_node n, tn_value *map,
                             const tn_dim *with, tn_error *err) {
    copying c = {.to = to, .from = from, .with = with};
    return copy_node(&c, n, map, err);
}

tn_status tn_graph_copy_node_subs(tn_graph *to, const tn_graph *from, tn_node n, tn_value *map,
                                  tn_sub_graph_fn *fn, void *context, tn_error *err) {
    copying c = {.to = to, .from = from, .fn = fn, .context = context};
    return copy_node(&c, n, map, err);
}

tn_status tn_graph_copy(tn_graph *to, const tn_graph *from, const tn_dim *with, tn_error *err) {
    copying c = {.to = to, .from = from, .with = with};
    tn_value *map = TN_NEW_N(to->arena, tn_value, from->values.len);
    for (tn_node n = 0; n < from->nodes.len; n++) TN_CHECK(copy_node(&c, n, map, err));
    for (uint32_t i = 0; i < from->outputs.len; i++) {
        const tn_graph_output *o = &from->outputs.data[i];
        tn_graph_add_output(to, map[o->value], copy_name(&c, o->name));
        if (o->in_place) tn_graph_output_in_place(to, o->in_place - 1);
    }
    return TN_OK;
}
