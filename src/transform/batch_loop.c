/* Rebuilding a graph around loops over the batch. See batch_loop.h. */
#include "transform/batch_loop.h"

#include "transform/pass.h"

typedef struct looper {
    const tn_graph *in;
    tn_graph *out;
    const tn_batch_axes *batch;
    tn_batch_loops *loops;
    uint32_t *places; /* per node: a bit for each place that holds it */
    uint32_t *needed; /* per value: a bit for each place that reads it */
    uint32_t *stage;  /* per node: loops that must have run before it is made outside */
    tn_value *map;    /* per value: outside, in the new graph */
    tn_error *err;
} looper;

static bool reads(uint32_t places, uint32_t place) {
    return places >> place & 1;
}

/* ---- who needs what, where ------------------------------------------------------------------ */

static void find_places(looper *l) {
    const tn_graph *g = l->in;
    memset(l->needed, 0, g->values.len * sizeof *l->needed);
    for (uint32_t i = 0; i < g->outputs.len; i++)
        l->needed[g->outputs.data[i].value] |= 1u << TN_BATCH_OUTSIDE;
    for (tn_node i = g->nodes.len; i-- > 0;) {
        const tn_node_info *n = tn_graph_node(g, i);
        uint32_t wanted = 0;
        for (uint32_t o = 0; o < n->out_count; o++) wanted |= l->needed[n->out + o];
        if (n->op == TN_OP_input)
            l->places[i] = 1u << TN_BATCH_OUTSIDE;
        else if (l->loops->where[i] == TN_BATCH_ANYWHERE || wanted == 0)
            l->places[i] = wanted;
        else
            l->places[i] = 1u << l->loops->where[i];
        for (uint32_t o = 0; o < n->in_count; o++) l->needed[n->in[o]] |= l->places[i];
    }
}

/* The loop in which a node is made that is not made outside. */
static uint32_t loop_of(const looper *l, tn_node n) {
    return (uint32_t)__builtin_ctz(l->places[n]);
}

static void find_stages(looper *l) {
    for (tn_node i = 0; i < l->in->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(l->in, i);
        uint32_t stage = 0;
        for (uint32_t o = 0; reads(l->places[i], TN_BATCH_OUTSIDE) && o < n->in_count; o++) {
            tn_node from = tn_graph_value(l->in, n->in[o])->node;
            bool outside = reads(l->places[from], TN_BATCH_OUTSIDE);
            stage = TN_MAX(stage, outside ? l->stage[from] : loop_of(l, from) + 1);
        }
        l->stage[i] = stage;
    }
}

/* A value that leaves the loop that makes it. */
static bool is_result(const looper *l, tn_value v, uint32_t loop) {
    tn_node n = tn_graph_value(l->in, v)->node;
    return reads(l->places[n], loop) && !reads(l->places[n], TN_BATCH_OUTSIDE) &&
           (l->needed[v] & ~l->places[n]) != 0;
}

/* A value that a loop reads and does not make. */
static bool is_operand(const looper *l, tn_value v, uint32_t loop) {
    return reads(l->needed[v], loop) && !reads(l->places[tn_graph_value(l->in, v)->node], loop);
}

static bool may_be_sliced(const looper *l, tn_value v) {
    return l->batch->axis[v] == 0 && tn_graph_type(l->in, v)->shape.rank < TN_MAX_RANK;
}

/* What is made in several loops is not handed on by any of them. */
static bool is_ready(const looper *l, tn_value v, uint32_t loop) {
    tn_node n = tn_graph_value(l->in, v)->node;
    if (reads(l->places[n], TN_BATCH_OUTSIDE)) return l->stage[n] <= loop;
    return loop_of(l, n) < loop && l->places[n] == 1u << loop_of(l, n);
}

static bool is_possible(const looper *l, uint32_t loop) {
    for (tn_value v = 0; v < l->in->values.len; v++) {
        tn_node n = tn_graph_value(l->in, v)->node;
        int axis = l->batch->axis[v];
        if (reads(l->places[n], loop) && axis == TN_BATCH_WHOLE) return false;
        if (is_result(l, v, loop) && !may_be_sliced(l, v)) return false;
        if (!is_operand(l, v, loop)) continue;
        if ((axis != TN_BATCH_FREE && !may_be_sliced(l, v)) || !is_ready(l, v, loop)) return false;
    }
    return true;
}

static void remove_loop(looper *l, uint32_t loop) {
    tn_batch_loops *loops = l->loops;
    for (tn_node n = 0; n < l->in->nodes.len; n++) {
        if (loops->where[n] == loop) loops->where[n] = TN_BATCH_OUTSIDE;
        if (loops->where[n] < TN_BATCH_OUTSIDE && loops->where[n] > loop) loops->where[n]--;
    }
    loops->count--;
    memmove(loops->piece + loop, loops->piece + loop + 1,
            (loops->count - loop) * sizeof *loops->piece);
}

/* Leaves out loops until all that are left are possible. */
static void settle(looper *l) {
    for (uint32_t loop = 0; loop < l->loops->count; loop++) {
        find_places(l);
        find_stages(l);
        if (is_possible(l, loop)) continue;
        remove_loop(l, loop);
        loop = UINT32_MAX; /* what it made is read in another way now */
    }
}

/* ---- the new graph -------------------------------------------------------------------------- */

/* What is copied for a piece, from a graph or a body. */
typedef struct copier {
    const tn_graph *in;
    const tn_batch_axes *batch;
    tn_graph *out;
    tn_dim piece;
    tn_value *map;
    tn_error *err;
} copier;

static tn_status copy_piece(const copier *c, tn_node node);

/* The body of a scan that computes a piece. */
static tn_status copy_body(const copier *c, tn_node node, tn_graph **out) {
    const tn_graph *body = *out;
    copier inner = {body,
                    c->batch->body[node],
                    *out = tn_graph_new_sub(c->out),
                    c->piece,
                    TN_NEW_N(c->out->arena, tn_value, body->values.len),
                    c->err};
    for (uint32_t i = 0; i < body->inputs.len; i++) {
        tn_value v = body->inputs.data[i];
        const tn_type *type = tn_graph_type(body, v);
        tn_attrs_input a = {.dtype = type->dtype, .shape = type->shape};
        int axis = inner.batch->axis[v];
        if (axis >= 0) a.shape.dim[axis] = c->piece;
        TN_CHECK(tn_graph_add(*out, TN_OP_input, NULL, 0, &a, NULL, &inner.map[v], c->err));
    }
    for (tn_node n = 0; n < body->nodes.len; n++)
        if (tn_graph_node(body, n)->op != TN_OP_input) TN_CHECK(copy_piece(&inner, n));
    tn__pass_copy_outputs(body, *out, inner.map);
    return TN_OK;
}

/* Copies a node that computes a piece: where its shape is an attribute, it is the piece's. */
static tn_status copy_piece(const copier *c, tn_node node) {
    const tn_node_info *n = tn_graph_node(c->in, node);
    const tn_op_info *info = tn_op_info_of(n->op);
    int axis = c->batch->axis[n->out];
    if (axis < 0) return tn_graph_copy_node(c->out, c->in, node, c->map, NULL, c->err);
    void *attrs = tn_arena_dup(c->out->arena, n->attrs, info->attrs_size);
    for (const tn_field *f = info->fields; f->kind != TN_FIELD_END; f++) {
        void *field = (char *)attrs + f->offset;
        if (f->kind == TN_FIELD_SHAPE) ((tn_shape *)field)->dim[axis] = c->piece;
        if (f->kind == TN_FIELD_GRAPH) TN_CHECK(copy_body(c, node, field));
    }
    tn_value *in = TN_NEW_N(c->out->arena, tn_value, n->in_count), out;
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = c->map[n->in[i]];
    TN_CHECK(tn_graph_add(c->out, n->op, in, n->in_count, attrs, n->name, &out, c->err));
    for (uint32_t i = 0; i < n->out_count; i++) {
        c->map[n->out + i] = out + i;
        tn__pass_keep_name(c->in, n->out + i, c->out, out + i);
    }
    return TN_OK;
}

/* [N, …] as [N / piece, piece, …] */
static tn_status add_pieces(looper *l, tn_value v, tn_dim length, tn_dim piece, tn_value *out) {
    const tn_shape *shape = &tn_graph_type(l->in, v)->shape;
    tn_attrs_reshape a = {.shape = {.rank = shape->rank + 1, .dim = {length, piece}}};
    for (int i = 1; i < shape->rank; i++) a.shape.dim[i + 1] = shape->dim[i];
    return tn_graph_add(l->out, TN_OP_reshape, &l->map[v], 1, &a, NULL, out, l->err);
}

static tn_status add_body_input(const looper *l, tn_graph *body, tn_value v, tn_dim piece,
                                tn_value *map) {
    const tn_type *type = tn_graph_type(l->in, v);
    tn_attrs_input a = {.dtype = type->dtype, .shape = type->shape};
    if (l->batch->axis[v] == 0) a.shape.dim[0] = piece;
    return tn_graph_add(body, TN_OP_input, NULL, 0, &a, NULL, &map[v], l->err);
}

typedef struct part {
    uint32_t loop;
    tn_dim piece, length;
    tn_graph *body;
    tn_value *map;             /* per value: in the body */
    TN_VEC(tn_value) operands; /* of the scan */
    TN_VEC(tn_value) results;  /* of the old graph */
    uint32_t slices;
} part;

static tn_status add_operands(looper *l, part *p, bool sliced) {
    for (tn_value v = 0; v < l->in->values.len; v++) {
        if (!is_operand(l, v, p->loop) || (l->batch->axis[v] == 0) != sliced) continue;
        tn_value operand = l->map[v];
        if (sliced) TN_CHECK(add_pieces(l, v, p->length, p->piece, &operand));
        TN_CHECK(add_body_input(l, p->body, v, p->piece, p->map));
        tn_vec_push(l->out->arena, &p->operands, operand);
        p->slices += sliced;
    }
    return TN_OK;
}

static tn_status fill_body(const looper *l, part *p) {
    const copier c = {l->in, l->batch, p->body, p->piece, p->map, l->err};
    for (tn_node n = 0; n < l->in->nodes.len; n++)
        if (reads(l->places[n], p->loop)) TN_CHECK(copy_piece(&c, n));
    for (tn_value v = 0; v < l->in->values.len; v++) {
        if (!is_result(l, v, p->loop)) continue;
        tn_graph_add_output(p->body, p->map[v], tn_graph_value(l->in, v)->name);
        tn_vec_push(l->out->arena, &p->results, v);
    }
    return TN_OK;
}

static tn_status add_loop(looper *l, uint32_t loop) {
    tn_dims *dims = l->out->dims;
    part p = {.loop = loop, .piece = tn_dim_const(dims, l->loops->piece[loop])};
    p.length = tn_dim_floordiv(dims, l->batch->size, p.piece);
    p.body = tn_graph_new_sub(l->out);
    p.map = TN_NEW_N(l->out->arena, tn_value, l->in->values.len);
    TN_CHECK(add_operands(l, &p, true));
    TN_CHECK(add_operands(l, &p, false));
    TN_CHECK(fill_body(l, &p));
    tn_attrs_scan a = {.slices = p.slices, .length = p.length, .body = p.body};
    tn_value first;
    TN_CHECK(tn_graph_add(l->out, TN_OP_scan, p.operands.data, p.operands.len, &a, "batch", &first,
                          l->err));
    for (uint32_t i = 0; i < p.results.len; i++) {
        tn_value v = p.results.data[i];
        tn_attrs_reshape whole = {.shape = tn_graph_type(l->in, v)->shape};
        tn_value piece = first + i;
        TN_CHECK(tn_graph_add(l->out, TN_OP_reshape, &piece, 1, &whole, NULL, &l->map[v], l->err));
    }
    return TN_OK;
}

static tn_status rebuild(looper *l) {
    for (uint32_t stage = 0; stage <= l->loops->count; stage++) {
        for (tn_node n = 0; n < l->in->nodes.len; n++)
            if (reads(l->places[n], TN_BATCH_OUTSIDE) && l->stage[n] == stage)
                TN_CHECK(tn_graph_copy_node(l->out, l->in, n, l->map, NULL, l->err));
        if (stage < l->loops->count) TN_CHECK(add_loop(l, stage));
    }
    tn__pass_copy_outputs(l->in, l->out, l->map);
    return TN_OK;
}

tn_status tn_batch_loop(const tn_graph *g, const tn_batch_axes *batch, tn_batch_loops *loops,
                        const tn_graph **out, tn_error *err) {
    looper l = {.in = g, .batch = batch, .loops = loops, .err = err};
    l.places = TN_NEW_N(g->arena, uint32_t, g->nodes.len);
    l.needed = TN_NEW_N(g->arena, uint32_t, g->values.len);
    l.stage = TN_NEW_N(g->arena, uint32_t, g->nodes.len);
    l.map = TN_NEW_N(g->arena, tn_value, g->values.len);
    settle(&l);
    *out = g;
    if (loops->count == 0) return TN_OK;
    l.out = tn_graph_new_like(g);
    TN_CHECK(rebuild(&l));
    *out = l.out;
    return TN_OK;
}
