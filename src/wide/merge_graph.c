/* One member's graph as that of all. See merge_inner.h.
 *
 *   settings that differ become inputs → the batch engine → weights and settings become constants   */
#include "ops/batch.h"
#include "ops/ops_common.h"
#include "transform/batch.h"
#include "wide/merge_inner.h"

/* ---- ports ---------------------------------------------------------------------------------- */

bool tn__wide_is_shared(const tn_wide_options *o, const tn_import *i, const char *input) {
    if (o->share_all) return true;
    for (int k = 0; k < o->shared_count; k++)
        if (strcmp(o->shared[k], input) == 0) return true;
    for (uint32_t k = 0; k < i->need_values.len; k++)
        if (strcmp(i->need_values.data[k], input) == 0) return true;
    return false;
}

tn_status tn__wide_widen(tn_wide_layout layout, int count, tn_dims *dims,
                         const tn_import_port *port, tn_shape *out, tn_error *err) {
    const tn_shape shape = port->type.shape, *one = &shape; /* which *out may be */
    *out = shape;
    if (one->rank >= TN_MAX_RANK)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "'%s' has %d axes already; there is none left for the members",
                            port->name, one->rank);
    if (layout == TN_WIDE_STACKED) {
        *out = tn_shape_with_front(one, count);
        return TN_OK;
    }
    if (one->rank < 2)
        return tn_error_set(err, TN_INVALID,
                            "'%s' is %s; members lie side by side along axis 1, which it lacks; "
                            "use the stacked layout, or share it",
                            port->name, tn_shape_text(dims, one).at);
    out->dim[1] = tn_dim_mul(dims, one->dim[1], tn_dim_const(dims, count));
    return TN_OK;
}

static tn_status widen(const tn__merging *m, tn_import_port *port, tn_error *err) {
    if (m->r->alone) return TN_OK;
    return tn__wide_widen(m->r->options.layout, m->r->count, m->a->import.dims, port,
                          &port->type.shape, err);
}

static bool is_bound(const tn__merging *m, const char *input) {
    for (uint32_t i = 0; i < m->options->value_count; i++)
        if (strcmp(m->options->values[i].name, input) == 0) return true;
    return false;
}

static bool is_shared(const tn__merging *m, const char *input) {
    return is_bound(m, input) || tn__wide_is_shared(&m->r->options, &m->a->import, input);
}

tn_status tn__merge_ports(tn__merging *m, tn_error *err) {
    tn_import *i = &m->a->import;
    for (uint32_t k = 0; k < i->inputs.len; k++) {
        tn_import_port *p = &i->inputs.data[k];
        if (p->typed && !is_shared(m, p->name)) TN_CHECK(widen(m, p, err));
    }
    for (uint32_t k = 0; k < i->outputs.len; k++) {
        tn_import_port *p = &i->outputs.data[k];
        if (p->typed) TN_CHECK(widen(m, p, err));
    }
    return TN_OK;
}

/* ---- before batching ------------------------------------------------------------------------ */

typedef struct rebuild {
    const tn_graph *from;
    tn_builder b;
    tn_value *map;
} rebuild;

static rebuild rebuild_new(const tn_graph *from, tn_error *err) {
    rebuild r = {.from = from, .b = tn_builder_of(tn_graph_new_like(from), err)};
    r.map = TN_NEW_N(from->arena, tn_value, from->values.len);
    for (tn_value v = 0; v < from->values.len; v++) r.map[v] = TN_NO_VALUE;
    return r;
}

/* What outputs need and is not mapped yet, and the outputs. */
static void copy_rest(rebuild *r) {
    const tn_graph *g = r->from;
    tn_value *y = TN_NEW_N(g->arena, tn_value, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) y[i] = g->outputs.data[i].value;
    const bool *behind = tn_batch_nodes_behind(g, y, (int)g->outputs.len);
    for (tn_node n = 0; n < g->nodes.len && tn_b_ok(&r->b); n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        if (behind[n] && node->op != TN_OP_input && r->map[node->out] == TN_NO_VALUE)
            r->b.status = tn_graph_copy_node(r->b.graph, g, n, r->map, NULL, r->b.err);
    }
    for (uint32_t i = 0; i < g->outputs.len && tn_b_ok(&r->b); i++)
        tn_graph_add_output(r->b.graph, r->map[g->outputs.data[i].value], g->outputs.data[i].name);
}

static void add_input(rebuild *r, tn_value v) {
    const tn_value_info *info = tn_graph_value(r->from, v);
    r->map[v] = tn_b_input(&r->b, info->name, info->type.dtype, &info->type.shape);
}

/* What else than the model's inputs may carry the members, in the order of `stacked`: weights, then
 * settings, of which those that are equal stay what they are. */
static uint32_t operands(const tn__merging *m) {
    return m->structure.weights.len + m->structure.settings.len;
}

static tn_value operand_at(const tn__merging *m, uint32_t k, bool *own) {
    const tn__structure *s = &m->structure;
    bool weight = k < s->weights.len;
    *own = weight ? m->shares.weight[k] : m->shares.setting[k - s->weights.len];
    if (!weight) return s->settings.data[k - s->weights.len];
    return m->a->import.graph->inputs.data[m->a->import.inputs.len + s->weights.data[k]];
}

/* Inputs: the model's, weights that are read, settings that differ. */
static tn_status lift(const tn__merging *m, tn_graph **out, tn_error *err) {
    const tn_import *i = &m->a->import;
    rebuild r = rebuild_new(i->graph, err);
    for (uint32_t k = 0; k < i->inputs.len; k++) add_input(&r, i->graph->inputs.data[k]);
    for (uint32_t k = 0; k < operands(m); k++) {
        bool own;
        tn_value v = operand_at(m, k, &own);
        if (own || k < m->structure.weights.len) add_input(&r, v);
    }
    copy_rest(&r);
    *out = r.b.graph;
    return tn_b_finish(&r.b);
}

/* ---- batching ------------------------------------------------------------------------------- */

static tn_batch_port port_of(const tn__merging *m) {
    bool packed = m->r->options.layout == TN_WIDE_PACKED;
    return (tn_batch_port){.axis = packed, .joined = packed};
}

static tn_batch_port *input_ports(const tn__merging *m, const tn_graph *g) {
    const tn_import *i = &m->a->import;
    tn_batch_port *in = TN_NEW_N(g->arena, tn_batch_port, g->inputs.len);
    const tn_batch_port apart = port_of(m), common = {.axis = -1};
    uint32_t next = 0;
    for (; next < i->inputs.len; next++)
        in[next] = is_shared(m, i->inputs.data[next].name) ? common : apart;
    for (uint32_t k = 0; k < operands(m); k++) {
        bool own;
        operand_at(m, k, &own);
        if (own || k < m->structure.weights.len) in[next++] = own ? (tn_batch_port){0} : common;
    }
    return in;
}

tn_status tn__merge_carries(tn__merging *m, const tn_graph **one, const bool **carries,
                            tn_error *err) {
    tn_graph *g;
    TN_CHECK(lift(m, &g, err));
    const tn_batch_port *ports = input_ports(m, g);
    bool *flags = TN_NEW_N(g->arena, bool, g->inputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) flags[i] = ports[i].axis >= 0;
    tn_builder b = tn_builder_of(g, err);
    const tn_batching how = tn_batching_of(m->r->count, !m->r->options.same_randoms);
    *one = g;
    *carries = tn_batch_carries(&b, g, &how, flags);
    return tn_b_finish(&b);
}

static tn_status batch(const tn__merging *m, const tn_graph *g, tn_batched *out, tn_error *err) {
    tn_batch_port *outputs = TN_NEW_N(g->arena, tn_batch_port, g->outputs.len);
    for (uint32_t k = 0; k < g->outputs.len; k++) outputs[k] = port_of(m);
    const tn_batch_spec spec = {.members = tn_dim_const(g->dims, m->r->count),
                                .inputs = input_ports(m, g),
                                .outputs = outputs,
                                .same_randoms = m->r->options.same_randoms};
    return tn_batch(g, &spec, out, err);
}

/* ---- after batching ------------------------------------------------------------------------- */

/* Where the bytes lie in a file, so that a program in the cache refers to it. */
static tn_data find_source(const tn_import *i, const void *bytes, size_t size) {
    tn_data data = {.bytes = bytes, .size = size};
    for (uint32_t k = 0; k < i->maps.len; k++) {
        const tn_file_map *f = &i->maps.data[k];
        const uint8_t *at = bytes;
        if (!f->data || at < f->data || at >= f->data + f->size) continue;
        data.source = k + 1;
        data.offset = (uint64_t)(at - f->data);
    }
    return data;
}

static void add_constant(rebuild *r, tn_value v, const tn_data *data) {
    const tn_type *t = tn_graph_type(r->from, v);
    tn_attrs_constant attrs = {.dtype = t->dtype, .shape = t->shape, .data = *data};
    tn_value made = tn_b_node(&r->b, TN_OP_constant, NULL, 0, &attrs);
    if (!tn_b_ok(&r->b)) return;
    r->b.graph->values.data[made].name = tn_graph_value(r->from, v)->name;
    r->map[v] = made;
}

static tn_status fill(const tn__merging *m, const tn_graph *g, tn_graph **out, tn_error *err) {
    const tn_import *i = &m->a->import;
    const tn__structure *s = &m->structure;
    rebuild r = rebuild_new(g, err);
    uint32_t next = 0;
    for (; next < i->inputs.len; next++) add_input(&r, g->inputs.data[next]);
    for (uint32_t k = 0; k < operands(m); k++) {
        if (!m->stacked[k] && k >= s->weights.len) continue; /* a setting that stayed as it is */
        tn_value v = g->inputs.data[next++];
        const tn_type *t = tn_graph_type(g, v);
        size_t size = (size_t)tn_shape_count(g->dims, &t->shape) * tn_dtype_size(t->dtype);
        tn_data data = {.bytes = m->stacked[k], .size = size};
        if (!m->stacked[k])
            data = find_source(i, i->weights.data[s->weights.data[k]].array.data, size);
        add_constant(&r, v, &data);
    }
    copy_rest(&r);
    *out = r.b.graph;
    return tn_b_finish(&r.b);
}

/* The ports as the graph has them now. */
static void take_ports(const tn__merging *m, const tn_graph *g) {
    tn_import *i = &m->a->import;
    for (uint32_t k = 0; k < i->inputs.len; k++)
        i->inputs.data[k].type = *tn_graph_type(g, g->inputs.data[k]);
    for (uint32_t k = 0; k < i->outputs.len; k++)
        i->outputs.data[k].type = *tn_graph_type(g, g->outputs.data[k].value);
}

/* One member computes as the model does; that there is an axis is for callers to see. */
static tn_status front_ports(tn__merging *m, tn_graph *g, tn_error *err) {
    const tn_import *i = &m->a->import;
    uint32_t inputs = g->inputs.len;
    bool stacked = !m->r->alone && m->r->options.layout == TN_WIDE_STACKED;
    bool *fronts = TN_NEW_N(g->arena, bool, inputs + g->outputs.len);
    for (uint32_t k = 0; k < inputs; k++)
        fronts[k] = stacked && !is_shared(m, i->inputs.data[k].name);
    for (uint32_t k = 0; k < g->outputs.len; k++) fronts[inputs + k] = stacked;
    g->unit_fronts = fronts;
    return tn__merge_ports(m, err);
}

tn_status tn__merge_graph(tn__merging *m, tn_error *err) {
    tn_graph *one, *filled;
    tn_batched all;
    TN_CHECK(lift(m, &one, err));
    all.graph = one;
    if (m->r->count > 1) TN_CHECK(batch(m, one, &all, err));
    TN_CHECK(fill(m, all.graph, &filled, err));
    take_ports(m, filled);
    filled->members = m->r->count;
    filled->member_inputs = m->r->count > 1 ? all.graph->member_inputs : NULL;
    if (m->r->count == 1) TN_CHECK(front_ports(m, filled, err));
    m->a->import.graph = filled;
    return TN_OK;
}
