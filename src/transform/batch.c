/* N members of one graph as one graph. See batch.h. */
#include "transform/batch.h"

#include "ops/batch.h"
#include "ops/ops_common.h"
#include "ops/parts.h"
#include "transform/pass.h"

typedef struct batching {
    const tn_graph *g;
    const tn_batch_spec *spec;
    tn_batching how;
    tn_builder b;
    tn_value *map;
    bool *carries;
    TN_VEC(tn_node) origin;
} batching;

/* What was added since the last call belongs to node `p`. */
static void note_origin(batching *w, tn_node p) {
    tn_graph *made = w->b.graph;
    while (w->origin.len < made->nodes.len) tn_vec_push(made->arena, &w->origin, p);
}

static tn_batch_port port_of(const tn_batch_port *ports, uint32_t at) {
    return ports ? ports[at] : (tn_batch_port){0};
}

static const char *name_of(const char *name) {
    return name ? name : "";
}

/* ---- inputs --------------------------------------------------------------------------------- */

/* A member's tensor has room for the port's axis; it is none when the members share the tensor. */
static bool check_port(batching *w, tn_batch_port port, const tn_type *type, const char *what,
                       uint32_t at, const char *name) {
    int last = type->shape.rank - port.joined;
    if (port.axis < -1 || port.axis > last)
        tn_b_fail(&w->b, TN_INVALID,
                  "%s %u '%s' is %s: members cannot lie along axis %d%s; expected -1 … %d", what,
                  at, name_of(name), tn_type_text(w->g->dims, type).at, port.axis,
                  port.joined ? " of it" : "", last);
    else if (port.axis >= 0 && type->shape.rank == TN_MAX_RANK)
        tn_b_fail(&w->b, TN_UNSUPPORTED, "%s %u '%s' is %s: it has no room for one more axis", what,
                  at, name_of(name), tn_type_text(w->g->dims, type).at);
    return tn_b_ok(&w->b);
}

/* The members' axis goes where the port says. */
static tn_shape port_shape(batching *w, tn_batch_port port, const tn_shape *shape) {
    tn_shape out = *shape;
    if (port.axis < 0) return out;
    if (port.joined) {
        tn_dim *size = &out.dim[port.axis];
        *size = tn_dim_mul(w->b.graph->dims, w->how.size, *size);
        return out;
    }
    out.rank++;
    memmove(out.dim + port.axis + 1, shape->dim + port.axis,
            sizeof(tn_dim) * (size_t)(shape->rank - port.axis));
    out.dim[port.axis] = w->how.size;
    return out;
}

static void add_input(batching *w, uint32_t at) {
    tn_value old = w->g->inputs.data[at];
    const tn_type *type = tn_graph_type(w->g, old);
    const char *name = tn_graph_value(w->g, old)->name;
    tn_batch_port port = port_of(w->spec->inputs, at);
    if (!check_port(w, port, type, "input", at, name)) return;
    tn_shape shape = port_shape(w, port, &type->shape);
    tn_value v = tn_b_input(&w->b, name, type->dtype, &shape);
    w->map[old] = v;
    w->carries[old] = port.axis >= 0;
}

/* Behind all inputs, so that these come first: members in front. */
static void open_input(batching *w, uint32_t at) {
    tn_value old = w->g->inputs.data[at], v = w->map[old];
    tn_batch_port port = port_of(w->spec->inputs, at);
    if (port.axis < 0) return;
    if (port.joined) {
        tn_dim parts[] = {w->how.size, tn_graph_type(w->g, old)->shape.dim[port.axis]};
        v = tn_b_regroup(&w->b, v, port.axis, 1, 2, parts);
    }
    w->map[old] = tn_b_move(&w->b, v, port.axis, 0);
    note_origin(w, w->g->values.data[old].node);
}

/* Where the planner finds the members (tn_graph.members). */
static void note_members(batching *w) {
    tn_graph *made = w->b.graph;
    if (!tn_dim_is_const(w->spec->members)) return;
    bool *fronts = TN_NEW_N(made->arena, bool, w->g->inputs.len);
    for (uint32_t i = 0; i < w->g->inputs.len; i++) {
        tn_batch_port port = port_of(w->spec->inputs, i);
        fronts[i] = port.axis == 0 && !port.joined;
    }
    made->members = w->spec->members;
    made->member_inputs = fronts;
}

static void add_inputs(batching *w) {
    for (uint32_t i = 0; i < w->g->inputs.len && tn_b_ok(&w->b); i++) {
        add_input(w, i);
        note_origin(w, w->g->values.data[w->g->inputs.data[i]].node);
    }
    for (uint32_t i = 0; i < w->g->inputs.len && tn_b_ok(&w->b); i++) open_input(w, i);
}

/* ---- outputs -------------------------------------------------------------------------------- */

static tn_value close_output(batching *w, uint32_t at) {
    const tn_graph_output *o = &w->g->outputs.data[at];
    const tn_type *type = tn_graph_type(w->g, o->value);
    tn_batch_port port = port_of(w->spec->outputs, at);
    bool carries = w->carries[o->value];
    tn_value v = w->map[o->value];
    if (!carries && (w->spec->keep_common || port.axis == -1)) return v;
    if (port.axis == -1)
        return tn_b_fail(&w->b, TN_INVALID,
                         "output %u '%s' differs between the members; expected an axis for them",
                         at, name_of(o->name));
    if (!check_port(w, port, type, "output", at, o->name)) return TN_NO_VALUE;
    v = tn_b_move(&w->b, tn_batch_operand(&w->b, v, carries, w->how.size), 0, port.axis);
    if (!port.joined) return v;
    tn_dim whole = port_shape(w, port, &type->shape).dim[port.axis];
    return tn_b_regroup(&w->b, v, port.axis, 2, 1, &whole);
}

/* The request of an output stays when the input still has as many elements. */
static void keep_in_place(batching *w, const tn_graph_output *o, tn_value v) {
    tn_graph *made = w->b.graph;
    if (!o->in_place) return;
    const tn_type *from = tn_graph_type(made, made->inputs.data[o->in_place - 1]);
    const tn_type *to = tn_graph_type(made, v);
    if (tn_shape_count(made->dims, &from->shape) == tn_shape_count(made->dims, &to->shape))
        tn_graph_output_in_place(made, o->in_place - 1);
}

static void add_outputs(batching *w) {
    for (uint32_t i = 0; i < w->g->outputs.len && tn_b_ok(&w->b); i++) {
        const tn_graph_output *o = &w->g->outputs.data[i];
        tn_value v = close_output(w, i);
        note_origin(w, w->g->values.data[o->value].node);
        if (!tn_b_ok(&w->b)) return;
        tn_graph_add_output(w->b.graph, v, o->name);
        keep_in_place(w, o, v);
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

static const bool *needed(const tn_graph *g) {
    tn_value *y = TN_NEW_N(g->arena, tn_value, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) y[i] = g->outputs.data[i].value;
    return tn_batch_nodes_behind(g, y, (int)g->outputs.len);
}

static void add_nodes(batching *w) {
    const tn_graph *g = w->g;
    const bool *behind = needed(g);
    for (tn_node p = 0; p < g->nodes.len && tn_b_ok(&w->b); p++) {
        const tn_node_info *n = tn_graph_node(g, p);
        if (!behind[p] || n->op == TN_OP_input) continue;
        tn_b_batch_node(&w->b, g, p, &w->how, w->map, w->carries);
        note_origin(w, p);
        for (uint32_t o = 0; o < n->out_count && tn_b_ok(&w->b); o++)
            tn__pass_keep_name(g, n->out + o, w->b.graph, w->map[n->out + o]);
    }
}

tn_status tn_batch(const tn_graph *g, const tn_batch_spec *spec, tn_batched *out, tn_error *err) {
    *out = (tn_batched){0};
    TN_ASSERT(!g->parent);
    if (tn_dim_lo(g->dims, spec->members) < 1)
        return tn_error_set(err, TN_INVALID, "%s members; expected 1 or more",
                            tn_dim_text(g->dims, spec->members).at);
    batching w = {.g = g,
                  .spec = spec,
                  .how = tn_batching_of(spec->members, !spec->same_randoms),
                  .b = tn_builder_of(tn_graph_new_like(g), err),
                  .map = TN_NEW_N(g->arena, tn_value, g->values.len),
                  .carries = TN_NEW_N(g->arena, bool, g->values.len)};
    note_members(&w);
    add_inputs(&w);
    add_nodes(&w);
    add_outputs(&w);
    TN_CHECK(tn_b_finish(&w.b));
    *out = (tn_batched){w.b.graph, w.origin.data, w.carries};
    return TN_OK;
}
