/* Numbers that decide shapes, one by one: known as sizes, or computed from data. See dynamic.h. */
#include "import/onnx/dynamic.h"

/* Elements for which memory is kept rather than a program made for each number. */
enum { MOST_ROOM = 1 << 24 };
enum { MOST_STEPS = 64, MOST_DEPTH = 6 };

/* An element of a vector, or a scalar. */
typedef struct place {
    tn_value v;
    int64_t at;
} place;

static bool is_line(const tn_graph *g, tn_value v) {
    const tn_type *type = tn_graph_type(g, v);
    return type->shape.rank <= 1 && tn_shape_is_const(&type->shape) &&
           (tn_dtype_is_integer(type->dtype) || type->dtype == TN_bool);
}

static int64_t line_count(const tn_graph *g, tn_value v) {
    return tn_shape_const_count(&tn_graph_type(g, v)->shape);
}

/* Numbers of these sizes do not wrap around: what does not fit is out of any bound. */
static bool is_wide(tn_dtype dtype) {
    return tn_dtype_bits(dtype) >= 32;
}

/* Whether an integer stays what it is. */
static bool keeps_number(tn_dtype from, tn_dtype to) {
    bool sign = !tn_dtype_is_unsigned(from) && tn_dtype_is_unsigned(to);
    bool room = tn_dtype_bits(to) > tn_dtype_bits(from) ||
                (tn_dtype_bits(to) == tn_dtype_bits(from) &&
                 tn_dtype_is_unsigned(to) == tn_dtype_is_unsigned(from));
    return is_wide(to) || (room && !sign);
}

/* The operand's element that `p` is, where the node moves elements only. */
static bool step_back(const tn_graph *g, place *p) {
    const tn_node_info *n = tn_graph_producer(g, p->v);
    switch (n->op) {
    case TN_OP_cast: {
        tn_dtype from = tn_graph_type(g, n->in[0])->dtype, to = tn_graph_type(g, p->v)->dtype;
        if (!tn_dtype_is_integer(from) || !keeps_number(from, to)) return false;
        break;
    }
    case TN_OP_reshape:
        break;
    case TN_OP_broadcast:
        if (!is_line(g, n->in[0])) return false;
        if (line_count(g, n->in[0]) == 1) p->at = 0;
        break;
    case TN_OP_slice: {
        const tn_attrs_slice *a = n->attrs;
        int64_t start;
        if (!is_line(g, n->in[0]) || a->start.count > 1) return false;
        if (a->start.count == 1 && !tn_dim_const_value(g->dims, a->start.at[0], &start))
            return false;
        if (a->start.count == 1) p->at = start + p->at * a->step.at[0];
        break;
    }
    case TN_OP_concat:
        for (uint32_t i = 0; i < n->in_count; i++) {
            if (!is_line(g, n->in[i])) return false;
            int64_t count = line_count(g, n->in[i]);
            if (p->at < count) {
                p->v = n->in[i];
                return true;
            }
            p->at -= count;
        }
        return false;
    default:
        return false;
    }
    if (!is_line(g, n->in[0])) return false;
    p->v = n->in[0];
    return true;
}

/* A size as a value: an element of 0, 1, …, or what a size is bound to. */
static bool is_size(const tn_graph *g, place p, tn_dim *size) {
    const tn_node_info *n = tn_graph_producer(g, p.v);
    if (n->op == TN_OP_bind_size) {
        *size = ((const tn_attrs_bind_size *)n->attrs)->size;
        return true;
    }
    if (n->op != TN_OP_slice || tn_graph_type(g, p.v)->shape.rank != 1) return false;
    const tn_attrs_slice *a = n->attrs;
    if (tn_graph_producer(g, n->in[0])->op != TN_OP_iota) return false;
    *size = tn_dim_add(g->dims, a->start.at[0], tn_dim_const(g->dims, p.at * a->step.at[0]));
    return true;
}

static tn_value element(tn_o *o, place p) {
    tn_value v = p.v;
    if (tn_b_rank(o->b, v) == 1) v = tn_b_squeeze(o->b, tn_b_slice_axis(o->b, v, 0, p.at, 1, 1), 0);
    return tn_b_cast(o->b, v, TN_i64);
}

static tn_onnx_number number_at(tn_o *o, tn_value v, int64_t at, int depth);

/* A value whose limits allow it becomes a size. */
static bool make_size(tn_o *o, tn_onnx_number *n) {
    if (n->value == TN_NO_VALUE) return true;
    tn_onnx_limits l = tn_onnx_value_limits(o->b->graph, n->value);
    if (l.lo < 0 || !l.has_hi || tn_onnx_is_better_known(o, n->value, l.hi)) return false;
    n->size = tn_o_bind_size(o, n->value, n->value, "size", tn_onnx_larger(o->dims, l.hi, 0));
    n->value = TN_NO_VALUE;
    return tn_o_ok(o);
}

static tn_dim apply(tn_dims *t, tn_op op, tn_dim a, tn_dim b) {
    switch (op) {
    case TN_OP_add:
        return tn_dim_add(t, a, b);
    case TN_OP_sub:
        return tn_dim_sub(t, a, b);
    case TN_OP_mul:
        return tn_dim_mul(t, a, b);
    case TN_OP_min:
        return tn_onnx_smaller(t, a, b);
    default:
        return tn_onnx_larger(t, a, b);
    }
}

/* n + 1 of a size n that the run binds is the size n + 1, not another one. */
static bool combine(tn_o *o, place p, int depth, tn_onnx_number *out) {
    const tn_graph *g = o->b->graph;
    const tn_node_info *n = tn_graph_producer(g, p.v);
    bool known = n->op == TN_OP_add || n->op == TN_OP_sub || n->op == TN_OP_mul ||
                 n->op == TN_OP_min || n->op == TN_OP_max;
    if (!known || depth == MOST_DEPTH || !is_line(g, n->in[0])) return false;
    if (!is_wide(tn_graph_type(g, p.v)->dtype)) return false;
    tn_onnx_number in[2];
    tn_value operand[2] = {n->in[0], n->in[1]};
    tn_op op = n->op;
    for (int i = 0; i < 2; i++) {
        in[i] = number_at(o, operand[i], p.at, depth + 1);
        if (!tn_o_ok(o) || !make_size(o, &in[i])) return false;
    }
    out->size = apply(o->dims, op, in[0].size, in[1].size);
    out->value = TN_NO_VALUE;
    return tn_dim_lo(o->dims, out->size) >= 0;
}

static tn_onnx_number number_at(tn_o *o, tn_value v, int64_t at, int depth) {
    const tn_graph *g = o->b->graph;
    place p = {v, at};
    tn_array a;
    tn_onnx_number n;
    for (int i = 0; i < MOST_STEPS; i++) {
        if (tn_onnx_value_array(o->scope, o->scope->level, p.v, &a)) {
            tn_cell c = tn_array_get(&a, p.at);
            return (tn_onnx_number){tn_dim_const(o->dims, c.i), TN_NO_VALUE};
        }
        if (is_size(g, p, &n.size)) return (tn_onnx_number){n.size, TN_NO_VALUE};
        if (!step_back(g, &p)) break;
    }
    if (combine(o, p, depth, &n)) return n;
    return (tn_onnx_number){0, tn_o_ok(o) ? element(o, p) : TN_NO_VALUE};
}

bool tn_o_numbers(tn_o *o, int i, const char *what, int64_t *count, tn_onnx_number **at) {
    tn_known known;
    *count = 0;
    *at = NULL;
    bool given = tn_o_known(o, i, &known);
    if (!tn_o_ok(o)) return false;
    if (!given && o->b->graph->parent) return tn_o_need_known(o, i, what, &known);
    tn_value v = given ? TN_NO_VALUE : tn_o_in(o, i);
    if (!tn_o_ok(o)) return false;
    if (!given && (!is_line(o->b->graph, v) || line_count(o->b->graph, v) > TN_MAX_RANK * 2))
        return tn_o_need_known(o, i, what, &known);
    *count = given ? known.count : line_count(o->b->graph, v);
    *at = TN_NEW_N(o->scratch, tn_onnx_number, *count);
    if (!given && o->scope->im->options->specialize && tn_onnx_is_choice(o, v))
        return tn_o_need_known(o, i, what, &known);
    for (int64_t k = 0; k < *count && tn_o_ok(o); k++)
        (*at)[k] = given ? (tn_onnx_number){known.at[k], TN_NO_VALUE} : number_at(o, v, k, 0);
    return tn_o_ok(o);
}

tn_dim tn_o_number_size(tn_o *o, int i, const char *what, tn_onnx_number number,
                        const tn_dim *most) {
    if (number.value == TN_NO_VALUE || !tn_o_ok(o)) return number.size;
    tn_onnx_limits l = tn_onnx_value_limits(o->b->graph, number.value);
    tn_dim bound = l.has_hi ? tn_onnx_larger(o->dims, l.hi, 0) : most ? *most : 0;
    if (l.has_hi && most) bound = tn_onnx_smaller(o->dims, bound, *most);
    if ((!l.has_hi && !most) || tn_onnx_is_better_known(o, number.value, bound)) {
        tn_onnx_ask_value(o, tn_o_item(o, i), what);
        return 0;
    }
    return tn_o_bind_size(o, number.value, number.value, "size", bound);
}

bool tn_onnx_is_better_known(tn_o *o, tn_value v, tn_dim bound) {
    return tn_dim_is_const(bound) && tn_dim_hi(o->dims, bound) > MOST_ROOM &&
           tn_onnx_is_choice(o, v);
}

/* A number that may be negative although the operator gives that a meaning of its own. */
static bool has_meaning(tn_o *o, tn_onnx_number n) {
    return n.value != TN_NO_VALUE && tn_onnx_value_limits(o->b->graph, n.value).lo < 0;
}

bool tn_o_need_sizes(tn_o *o, int i, const char *what, bool negative, tn_known *out) {
    int64_t count;
    tn_onnx_number *at;
    if (tn_o_known(o, i, out)) return true;
    if (!tn_o_numbers(o, i, what, &count, &at)) return false;
    tn_type type = tn_o_type(o, i);
    *out = (tn_known){.dtype = type.dtype, .rank = type.shape.rank, .dim = {count}, .count = count};
    out->at = TN_NEW_N(o->scratch, tn_dim, count);
    for (int64_t k = 0; k < count && tn_o_ok(o); k++) {
        if (negative && has_meaning(o, at[k]))
            tn_onnx_ask_value(o, tn_o_item(o, i), what);
        else
            out->at[k] = tn_o_number_size(o, i, what, at[k], NULL);
    }
    return tn_o_ok(o);
}

/* A size as a value cannot be negative; a difference of two can. */
tn_value tn_o_number_value(tn_o *o, tn_onnx_number number) {
    tn_dim d = number.size;
    int64_t unused;
    if (number.value != TN_NO_VALUE || !tn_o_ok(o)) return number.value;
    if (tn_dim_const_value(o->dims, d, &unused) || tn_dim_lo(o->dims, d) >= 0)
        return tn_b_dim_value(o->b, d, TN_i64);
    tn_dim above = tn_dim_max(o->dims, d, 0);
    tn_dim below = tn_dim_max(o->dims, tn_dim_sub(o->dims, 0, d), 0);
    return tn_b_sub(o->b, tn_b_dim_value(o->b, above, TN_i64), tn_b_dim_value(o->b, below, TN_i64));
}
