/* Questions and constructions shared by rewrites. See match.h. */
#include "transform/match.h"

#include "ir/rules.h"

enum { SPLAT_ELEMENTS = 64 << 10 };

const tn_node_info *tn__made_by(const tn_graph *g, tn_value v, tn_op op) {
    const tn_node_info *n = tn_graph_producer(g, v);
    return n->op == op ? n : NULL;
}

tn_value tn__behind_views(const tn_graph *g, tn_value v) {
    for (;;) {
        const tn_node_info *n = tn_graph_producer(g, v);
        if (n->in_count != 1 || n->out_count != 1 || !tn_op_rules_of(n->op)->lower.view) return v;
        if (n->op == TN_OP_barrier) return v;
        if (tn_node_type(g, n, 0)->dtype != tn_graph_type(g, v)->dtype) return v;
        v = n->in[0];
    }
}

bool tn__is_constant(const tn_graph *g, tn_value v) {
    return tn_graph_producer(g, tn__behind_views(g, v))->op == TN_OP_constant;
}

bool tn__splat(const tn_graph *g, tn_value v, tn_cell *cell) {
    tn_array a;
    if (!tn_graph_constant(g, tn__behind_views(g, v), &a)) return false;
    int64_t count = tn_array_count(&a);
    if (count < 1 || count > SPLAT_ELEMENTS) return false;
    size_t element = tn_dtype_size(a.dtype), bytes = tn_array_bytes(&a);
    if (memcmp(a.data, (const char *)a.data + element, bytes - element) != 0) return false;
    *cell = tn_array_get(&a, 0);
    return true;
}

bool tn__splat_is(const tn_graph *g, tn_value v, double value) {
    tn_cell cell;
    if (!tn__splat(g, v, &cell)) return false;
    tn_dtype dtype = tn_graph_type(g, v)->dtype;
    uint64_t have = 0, want = 0;
    tn_cell_store(dtype, &have, cell);
    tn_cell_store(dtype, &want, tn_cell_of(dtype, value));
    return have == want && (!tn_dtype_is_float(dtype) || cell.f == value);
}

tn_value tn__full(tn_builder *b, const tn_type *type, tn_cell cell) {
    uint64_t room = 0;
    tn_array scalar = {.dtype = type->dtype, .data = &room};
    tn_cell_store(type->dtype, &room, cell);
    return tn_b_expand(b, tn_b_constant(b, &scalar), &type->shape);
}

bool tn__is_elementwise(tn_op op) {
    const char *family = tn_op_info_of(op)->family;
    return strcmp(family, "unary") == 0 || strcmp(family, "binary") == 0 ||
           strcmp(family, "convert") == 0;
}

static bool is_layout_free(const tn_graph *g, tn_value v, int depth) {
    const tn_node_info *n = tn_graph_producer(g, v);
    if (n->op == TN_OP_broadcast || n->op == TN_OP_iota || n->op == TN_OP_constant) return true;
    bool is_free = depth > 0 && tn__is_elementwise(n->op);
    for (uint32_t i = 0; i < n->in_count && is_free; i++)
        is_free = is_layout_free(g, n->in[i], depth - 1);
    return is_free;
}

bool tn__is_layout_free(const tn_graph *g, tn_value v) {
    enum { MOST_DEPTH = 8 };
    return is_layout_free(g, v, MOST_DEPTH);
}

/* ---- permutations --------------------------------------------------------------------------- */

tn_ints tn__inverse(const tn_ints *perm) {
    tn_ints inverse = {.count = perm->count};
    for (int i = 0; i < perm->count; i++) inverse.at[perm->at[i]] = i;
    return inverse;
}

bool tn__is_identity(const tn_ints *perm) {
    for (int i = 0; i < perm->count; i++)
        if (perm->at[i] != i) return false;
    return true;
}

tn_ints tn__permute_ints(const tn_ints *list, const tn_ints *perm) {
    tn_ints out = {.count = perm->count};
    for (int i = 0; i < perm->count; i++) out.at[i] = list->at[perm->at[i]];
    return out;
}

static tn_shape permute_shape(const tn_shape *s, const tn_ints *perm) {
    tn_shape out = {.rank = s->rank};
    for (int i = 0; i < s->rank; i++) out.dim[i] = s->dim[perm->at[i]];
    return out;
}

tn_value tn__broadcast(tn_builder *b, tn_value x, const tn_shape *shape, const tn_ints *axes) {
    tn_type t = tn_b_type(b, x);
    if (!tn_b_ok(b) || (tn__is_identity(axes) && tn_shape_equal(&t.shape, shape))) return x;
    tn_attrs_broadcast attrs = {.shape = *shape, .axes = *axes};
    return tn_b_node(b, TN_OP_broadcast, &x, 1, &attrs);
}

/* permute(broadcast(x)): x's axes in the order in which they appear in the result. */
static tn_value permuted_broadcast(tn_builder *b, const tn_node_info *n, const tn_ints *perm) {
    const tn_attrs_broadcast *a = n->attrs;
    tn_value x = n->in[0];
    tn_shape shape = permute_shape(&a->shape, perm);
    tn_ints inner = {0}, axes = {0};
    for (int i = 0; i < perm->count; i++)
        for (int k = 0; k < a->axes.count; k++)
            if (a->axes.at[k] == perm->at[i]) {
                inner.at[inner.count++] = k;
                axes.at[axes.count++] = i;
            }
    return tn__broadcast(b, tn__permuted(b, x, &inner), &shape, &axes);
}

static tn_value permuted_iota(tn_builder *b, const tn_node_info *n, const tn_ints *perm) {
    const tn_attrs_iota *a = n->attrs;
    tn_shape shape = permute_shape(&a->shape, perm);
    tn_ints inverse = tn__inverse(perm);
    return tn_b_iota(b, a->dtype, &shape, (int)inverse.at[a->axis]);
}

tn_value tn__only_operand(const tn_graph *g, const tn_node_info *n) {
    tn_value found = TN_NO_VALUE;
    if (!tn__is_elementwise(n->op) || n->out_count != 1) return TN_NO_VALUE;
    for (uint32_t i = 0; i < n->in_count; i++) {
        if (tn__is_layout_free(g, n->in[i]) || n->in[i] == found) continue;
        if (found != TN_NO_VALUE) return TN_NO_VALUE;
        found = n->in[i];
    }
    return found;
}

tn_value tn__permuted(tn_builder *b, tn_value v, const tn_ints *perm) {
    if (!tn_b_ok(b) || tn__is_identity(perm)) return v;
    tn_node_info n = *tn_graph_producer(b->graph, v);
    if (n.op == TN_OP_broadcast) return permuted_broadcast(b, &n, perm);
    if (n.op == TN_OP_iota) return permuted_iota(b, &n, perm);
    tn_attrs_permute attrs = {.perm = *perm};
    if (n.op == TN_OP_permute) {
        attrs.perm = tn__permute_ints(&((const tn_attrs_permute *)n.attrs)->perm, perm);
        v = n.in[0];
        if (tn__is_identity(&attrs.perm)) return v;
    }
    return tn_b_node(b, TN_OP_permute, &v, 1, &attrs);
}

bool tn__permute_merge(tn_rewriter *r, const tn_node_info *n, tn_value *out) {
    const tn_attrs_permute *a = n->attrs;
    tn_op op = tn_graph_producer(r->g, n->in[0])->op;
    bool merges = op == TN_OP_permute || op == TN_OP_broadcast || op == TN_OP_iota;
    if (!merges && !tn__is_identity(&a->perm)) return false;
    return tn__becomes(tn__permuted(&r->b, n->in[0], &a->perm), out);
}

bool tn__is_grouped_conv(const tn_graph *g, tn_value v) {
    const tn_node_info *n = tn__made_by(g, v, TN_OP_conv);
    return n && ((const tn_attrs_conv *)n->attrs)->batch > 0;
}

bool tn__merges_groups(const tn_graph *g, const tn_node_info *permute) {
    const tn_node_info *n = tn__made_by(g, permute->in[0], TN_OP_conv);
    const tn_ints *perm = &((const tn_attrs_permute *)permute->attrs)->perm;
    for (int i = 0; n && i < ((const tn_attrs_conv *)n->attrs)->batch; i++)
        if (perm->at[i] != i) return true;
    return false;
}

bool tn__is_depthwise(const tn_graph *g, const tn_node_info *n) {
    enum { LEAST_GROUPS = 8 };
    if (n->op != TN_OP_conv) return false;
    const tn_attrs_conv *a = n->attrs;
    const tn_shape *x = &tn_node_type(g, n, 0)->shape, *w = &tn_node_type(g, n, 1)->shape;
    int64_t groups, window;
    if (a->batch < 1 || a->stride.count == 0 || x->dim[x->rank - 1] != 1 ||
        w->dim[w->rank - 1] != 1 || !tn_dim_const_value(g->dims, x->dim[a->batch - 1], &groups))
        return false;
    for (int i = 0; i < a->stride.count; i++)
        if (a->base_dilation.at[i] != 1 ||
            !tn_dim_const_value(g->dims, w->dim[a->batch + i], &window) || window < 1)
            return false;
    return groups >= LEAST_GROUPS;
}

/* The axis of a reshape's operand that is axis `axis` of its result; -1: none is. */
static int axis_before_reshape(const tn_graph *g, const tn_node_info *n, int axis) {
    const tn_shape *to = tn__shape_of(g, n->out), *from = tn__shape_of(g, n->in[0]);
    tn_dim behind = 1, here = 1;
    for (int i = axis + 1; i < to->rank; i++) behind = tn_dim_mul(g->dims, behind, to->dim[i]);
    for (int i = from->rank - 1; i >= 0; i--) {
        if (here == behind && from->dim[i] == to->dim[axis]) return i;
        here = tn_dim_mul(g->dims, here, from->dim[i]);
    }
    return -1;
}

bool tn__is_innermost(const tn_graph *g, tn_value v, int axis) {
    for (;;) {
        const tn_node_info *n = tn_graph_producer(g, v);
        if (n->op == TN_OP_permute)
            axis = (int)((const tn_attrs_permute *)n->attrs)->perm.at[axis];
        else if (n->op == TN_OP_reshape)
            axis = axis_before_reshape(g, n, axis);
        else
            break;
        if (axis < 0) return false;
        v = n->in[0];
    }
    const tn_shape *s = tn__shape_of(g, v);
    for (int i = axis + 1; i < s->rank; i++)
        if (s->dim[i] != 1) return false;
    return s->dim[axis] != 1;
}

enum { LEAST_COLUMNS = 12 }; /* of planes: less would leave most of a vector empty */

/* Positions that windows cover along an axis, for one result. */
static int64_t window_reach(const tn_graph *g, const tn_node_info *conv, int axis) {
    const tn_attrs_conv *a = conv->attrs;
    int64_t window = 1, reach;
    tn_dim_const_value(g->dims, tn__shape_of(g, conv->in[1])->dim[a->batch + axis], &window);
    return __builtin_mul_overflow(window - 1, a->window_dilation.at[axis], &reach) ? INT64_MAX / 2
                                                                                   : reach + 1;
}

/* Whether few enough elements of x lie under a row of the result, of few columns. */
static bool is_narrow(const tn_graph *g, const tn_node_info *conv, tn_dim columns) {
    enum { MOST_POINTS = 4096 };
    int axes = ((const tn_attrs_conv *)conv->attrs)->stride.count;
    int64_t width, lines = axes > 1 ? window_reach(g, conv, axes - 2) : 1;
    const tn_shape *x = tn__shape_of(g, conv->in[0]);
    return axes <= 2 && tn_dim_is_const(columns) && columns < LEAST_COLUMNS &&
           tn_dim_const_value(g->dims, x->dim[x->rank - 2], &width) &&
           width <= MOST_POINTS / TN_MIN(lines, (int64_t)MOST_POINTS);
}

tn__planes tn__planes_of(const tn_graph *g, const tn_node_info *conv) {
    if (!tn__is_depthwise(g, conv)) return TN__PLANES_NONE;
    int axis = tn__shape_of(g, conv->in[0])->rank - 2;
    tn_dim columns = tn__shape_of(g, conv->out)->dim[axis];
    if (!tn__is_innermost(g, conv->in[0], axis)) return TN__PLANES_NONE;
    if (is_narrow(g, conv, columns)) return TN__PLANES_NARROW;
    return tn_dim_is_const(columns) && columns < LEAST_COLUMNS ? TN__PLANES_NONE : TN__PLANES_WIDE;
}
