/* Taking the columns of products apart. See column_parts.h. */
#include "transform/column_parts.h"

#include "ops/control.h"
#include "transform/match.h"

enum {
    MOST_PARTS = 4,  /* as many products as share a kernel */
    MOST_STEPS = 64, /* pointwise, between a product and the slices */
};

/* What is known about a product and what follows from it. */
typedef struct parts {
    int axis, rhs_axis; /* of the columns: of the result and of the right operand */
    int count, steps;
    tn_dim start[MOST_PARTS], width;
} parts;

/* Whether a product's right operand is packed once: a constant, or an invariant of the loop. */
static bool is_packed_once(const tn_graph *g, uint32_t invariants, tn_value v) {
    v = tn__behind_views(g, v);
    for (uint32_t i = invariants; i < g->inputs.len; i++)
        if (g->inputs.data[i] == v) return true;
    return tn_graph_producer(g, v)->op == TN_OP_constant;
}

/* Such a right operand whose last free axis makes the last axis of the result. Weights in a narrow type have
 * kernels that read them so, one product each. */
static bool has_columns(const tn_graph *g, uint32_t invariants, const tn_node_info *n, parts *p) {
    if (n->op != TN_OP_dot || !is_packed_once(g, invariants, n->in[1])) return false;
    const tn_attrs_dot *a = n->attrs;
    const tn_type *rhs = tn_node_type(g, n, 1);
    if (!tn_dtype_is_float(a->acc) || rhs->dtype != a->acc ||
        tn_node_type(g, n, 0)->dtype != a->acc)
        return false;
    *p = (parts){.axis = tn__shape_of(g, n->out)->rank - 1, .rhs_axis = rhs->shape.rank - 1};
    while (p->rhs_axis >= 0 && (tn__ints_have(&a->rhs_batch, p->rhs_axis) ||
                                tn__ints_have(&a->rhs_contract, p->rhs_axis)))
        p->rhs_axis--;
    return p->rhs_axis >= 0;
}

/* ---- what follows from a product ------------------------------------------------------------ */

/* Of each value: 0, WHOLE (the product, or made of it element by element), or which parts it is made of
 * element by element, as bits. */
enum { WHOLE = 1 << MOST_PARTS };

static int part_of(const parts *p, tn_dim start) {
    int i = 0;
    while (i < p->count && p->start[i] != start) i++;
    return i;
}

/* A slice of columns, all of the same width; its number in *which. */
static bool take_part(const tn_graph *g, const tn_node_info *slice, parts *p, int *which) {
    const tn_attrs_slice *a = slice->attrs;
    const tn_shape *x = tn__shape_of(g, slice->in[0]);
    for (int i = 0; i < x->rank; i++)
        if (a->step.at[i] != 1 ||
            (i != p->axis && (a->start.at[i] != 0 || a->shape.dim[i] != x->dim[i])))
            return false;
    if (p->count && a->shape.dim[p->axis] != p->width) return false;
    p->width = a->shape.dim[p->axis];
    *which = part_of(p, a->start.at[p->axis]);
    if (*which == MOST_PARTS) return false;
    p->start[*which] = a->start.at[p->axis];
    p->count = TN_MAX(p->count, *which + 1);
    return true;
}

static bool mark(const tn_graph *g, const tn_node_info *n, parts *p, uint8_t *made_of) {
    uint8_t reads = 0;
    int which;
    for (uint32_t i = 0; i < n->in_count; i++) reads |= made_of[n->in[i]];
    if (reads & WHOLE) {
        if (tn__is_elementwise(n->op)) {
            made_of[n->out] = WHOLE;
            return reads == WHOLE && ++p->steps <= MOST_STEPS;
        }
        if (n->op != TN_OP_slice || !take_part(g, n, p, &which)) return false;
        made_of[n->out] = (uint8_t)(1 << which);
    } else if (reads && tn__is_elementwise(n->op)) {
        made_of[n->out] = reads;
    }
    return true;
}

/* Whether only slices of columns read what follows from the product, and something is made of all of them
 * element by element. */
static bool find_parts(const tn_graph *g, uint32_t invariants, tn_node node, parts *p,
                       uint8_t *made_of) {
    const tn_node_info *product = tn_graph_node(g, node);
    uint8_t most = 0;
    if (!has_columns(g, invariants, product, p)) return false;
    memset(made_of, 0, g->values.len);
    made_of[product->out] = WHOLE;
    for (tn_node k = node + 1; k < g->nodes.len; k++) {
        const tn_node_info *n = tn_graph_node(g, k);
        if (!mark(g, n, p, made_of)) return false;
        for (uint32_t i = 0; i < n->out_count; i++)
            if (!(made_of[n->out + i] & WHOLE)) most = TN_MAX(most, made_of[n->out + i]);
    }
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (made_of[g->outputs.data[i].value] & WHOLE) return false;
    tn_dim all = tn_dim_mul(g->dims, tn_dim_const(g->dims, p->count), p->width);
    return p->count > 1 && most == (1 << p->count) - 1 &&
           tn_dim_proves_le(g->dims, all, tn__shape_of(g, product->out)->dim[p->axis]);
}

/* ---- taking apart --------------------------------------------------------------------------- */

typedef struct piece {
    tn_dim start;
    tn_value value;
} piece;

typedef TN_VEC(piece) piece_list;

typedef struct splitter {
    const tn_graph *in;
    tn_graph *out;
    uint32_t invariants; /* inputs of `in` from this one on */
    tn_value *map;
    /* Per value of `in`: */
    int *rhs_axis;      /* of the columns, where it is a product to take apart; else -1 */
    bool *whole;        /* it is such a product, or made of it element by element */
    piece_list *pieces; /* of that, as far as they have been made */
} splitter;

static tn_value columns_of(splitter *s, tn_builder *b, tn_value v, tn_dim start, tn_dim width);

static tn_value make_columns(splitter *s, tn_builder *b, tn_value v, tn_dim start, tn_dim width) {
    const tn_node_info *n = tn_graph_producer(s->in, v);
    tn_value *in = TN_NEW_N(s->out->arena, tn_value, n->in_count);
    if (s->rhs_axis[v] >= 0) {
        in[0] = s->map[n->in[0]];
        in[1] = tn_b_slice_axis(b, s->map[n->in[1]], s->rhs_axis[v], start, width, 1);
    } else {
        for (uint32_t i = 0; i < n->in_count; i++) in[i] = columns_of(s, b, n->in[i], start, width);
    }
    b->name = n->name;
    return tn_b_node(b, n->op, in, n->in_count, n->attrs);
}

/* Columns of a value of the graph that is read, along its last axis. */
static tn_value columns_of(splitter *s, tn_builder *b, tn_value v, tn_dim start, tn_dim width) {
    b->name = tn_graph_producer(s->in, v)->name;
    if (!s->whole[v]) return tn_b_slice_axis(b, s->map[v], -1, start, width, 1);
    for (uint32_t i = 0; i < s->pieces[v].len; i++)
        if (s->pieces[v].data[i].start == start) return s->pieces[v].data[i].value;
    piece made = {start, make_columns(s, b, v, start, width)};
    tn_vec_push(s->out->arena, &s->pieces[v], made);
    return made.value;
}

/* Whether nothing but slices needs the node: they make of it what they need. */
static bool is_left_out(splitter *s, tn_node node, uint8_t *made_of) {
    const tn_node_info *n = tn_graph_node(s->in, node);
    parts p;
    if (n->out_count == 1 && s->whole[n->out]) return true;
    if (!find_parts(s->in, s->invariants, node, &p, made_of)) return false;
    for (uint32_t v = 0; v < s->in->values.len; v++) s->whole[v] |= (made_of[v] & WHOLE) != 0;
    s->rhs_axis[n->out] = p.rhs_axis;
    return true;
}

static tn_sub_graph_fn split_body;

static tn_status split_node(splitter *s, tn_node node, tn_error *err) {
    const tn_node_info *n = tn_graph_node(s->in, node);
    if (n->op != TN_OP_slice || !s->whole[n->in[0]]) {
        uint32_t invariants = tn__steady_inputs(s->in, n);
        return tn_graph_copy_node_subs(s->out, s->in, node, s->map, split_body, &invariants, err);
    }
    const tn_attrs_slice *a = n->attrs;
    int last = a->start.count - 1;
    tn_builder b = tn_builder_of(s->out, err);
    s->map[n->out] = columns_of(s, &b, n->in[0], a->start.at[last], a->shape.dim[last]);
    TN_CHECK(tn_b_finish(&b));
    tn__pass_keep_name(s->in, n->out, s->out, s->map[n->out]);
    return TN_OK;
}

/* context: the first invariant. */
static tn_status split_body(void *context, tn_graph *out, const tn_graph *in, tn_error *err) {
    uint32_t values = in->values.len;
    uint8_t *made_of = TN_NEW_N(out->arena, uint8_t, values);
    splitter s = {.in = in, .out = out, .invariants = *(const uint32_t *)context};
    s.map = TN_NEW_N(out->arena, tn_value, values);
    s.rhs_axis = TN_NEW_N(out->arena, int, values);
    s.whole = TN_NEW_N(out->arena, bool, values);
    s.pieces = TN_NEW_N(out->arena, piece_list, values);
    memset(s.rhs_axis, 0xff, values * sizeof *s.rhs_axis);
    for (tn_node node = 0; node < in->nodes.len; node++)
        if (!is_left_out(&s, node, made_of)) TN_CHECK(split_node(&s, node, err));
    tn__pass_copy_outputs(in, out, s.map);
    return TN_OK;
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    uint32_t none = TN_NO_INVARIANTS;
    (void)options;
    return split_body(&none, out, in, err);
}

const tn_pass tn_pass_column_parts = {"column_parts", run};
