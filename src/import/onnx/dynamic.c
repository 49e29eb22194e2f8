/* Selecting elements by data. See dynamic.h. */
#include "import/onnx/dynamic.h"

enum { SAME_NODES = 64 }; /* compared for one question */

/* In the outermost graph. */
static bool may_bind(const tn_o *o) {
    return !o->b->graph->parent;
}

/* Whether two values are made alike of the same: a mask that is written twice. */
static bool is_same(const tn_graph *g, tn_value a, tn_value b, int *nodes) {
    if (a == b) return true;
    const tn_node_info *x = tn_graph_producer(g, a), *y = tn_graph_producer(g, b);
    if (--*nodes < 0 || x->op != y->op || x->op == TN_OP_input || x->in_count != y->in_count ||
        tn_graph_value(g, a)->result != tn_graph_value(g, b)->result)
        return false;
    for (uint32_t i = 0; i < x->in_count; i++)
        if (!is_same(g, x->in[i], y->in[i], nodes)) return false;
    size_t size_x, size_y;
    const void *key_x = tn_graph_node_key(g, x, x->in, &size_x);
    const void *key_y = tn_graph_node_key(g, y, x->in, &size_y);
    return size_x == size_y && memcmp(key_x, key_y, size_x) == 0;
}

tn_dim tn_o_bind_size(tn_o *o, tn_value length, tn_value from, const char *name, tn_dim bound) {
    tn_onnx_importer *im = o->scope->im;
    uint32_t symbols = o->dims->symbols.len;
    if (!tn_o_ok(o)) return 0;
    for (uint32_t i = 0; i < im->data_sizes.len; i++) {
        const tn_onnx_data_size *one = &im->data_sizes.data[i];
        int nodes = SAME_NODES;
        if (tn_dim_proves_le(o->dims, one->size, bound) &&
            is_same(o->b->graph, one->length, length, &nodes))
            return one->size;
    }
    tn_dim size = tn_b_bind_size(o->b, length, name, bound);
    if (o->dims->symbols.len > symbols) {
        tn_onnx_data_size one = {symbols, o->scope->level, from, length, size};
        tn_vec_push(im->scratch, &im->data_sizes, one);
    }
    return size;
}

/* places[c] = i for the element i that is the c-th to be kept: scattered to where their count leads. */
static tn_onnx_selection select_flags(tn_o *o, tn_value flags, tn_value from, tn_dim most) {
    tn_builder *b = o->b;
    tn_shape row = {.rank = 1, .dim = {tn_b_dim(b, flags, 0)}}, kept = {.rank = 1, .dim = {most}};
    tn_value ones = tn_b_cast(b, flags, TN_i64);
    tn_attrs_cumulative sum = {.kind = TN_REDUCE_sum, .exclusive = true};
    tn_value before = tn_b_node(b, TN_OP_cumulative, &ones, 1, &sum);
    tn_value outside = tn_b_dim_value(b, most, TN_i64);
    tn_value index = tn_b_unsqueeze(b, tn_b_select(b, flags, before, outside), 1);
    tn_value places = tn_b_scatter_nd(b, tn_b_full(b, TN_i64, &kept, 0), index,
                                      tn_b_iota(b, TN_i64, &row, 0), TN_INDEX_fill, TN_COMBINE_set);
    tn_onnx_selection s = {0, TN_NO_VALUE};
    s.count = tn_o_bind_size(o, tn_b_sum(b, ones, (int[]){0}, 1, false), from, "selected", most);
    s.places = tn_b_prefix(b, places, 0, s.count);
    return s;
}

static tn_onnx_selection select_known(tn_o *o, const tn_array *mask) {
    int64_t kept = 0, at = 0, count = tn_array_count(mask);
    for (int64_t i = 0; i < count; i++)
        kept += tn_cell_cast(mask->dtype, TN_bool, tn_array_get(mask, i)).u != 0;
    tn_array places = tn_array_new(o->scratch, TN_i64, 1, &kept);
    for (int64_t i = 0; i < count; i++)
        if (tn_cell_cast(mask->dtype, TN_bool, tn_array_get(mask, i)).u)
            tn_array_set(&places, at++, (tn_cell){.i = i});
    return (tn_onnx_selection){kept, tn_b_constant(o->b, &places)};
}

tn_onnx_selection tn_o_select(tn_o *o, tn_value mask, const tn_dim *most, int decider) {
    const tn_onnx_selection none = {0, TN_NO_VALUE};
    tn_onnx_importer *im = o->scope->im;
    tn_array array;
    if (!tn_o_ok(o)) return none;
    if (tn_onnx_value_array(o->scope, o->scope->level, mask, &array) ||
        (tn_o_in(o, decider) == mask && tn_o_array(o, decider, &array)))
        return select_known(o, &array);
    if (!may_bind(o)) {
        tn_onnx_ask_value(o, tn_o_item(o, decider),
                          "value, which decides a size inside of a sub-graph,");
        return none;
    }
    for (uint32_t i = 0; i < im->selections.len; i++) {
        const tn_onnx_selected *known = &im->selections.data[i];
        int nodes = SAME_NODES;
        if (is_same(o->b->graph, known->mask, mask, &nodes))
            return (tn_onnx_selection){known->count, known->places};
    }
    tn_shape s = tn_b_type(o->b, mask).shape;
    tn_dim all = tn_shape_count(o->dims, &s);
    tn_value flags = tn_b_cast(o->b, tn_b_reshape_to(o->b, mask, 1, &all), TN_bool);
    tn_onnx_selection made = select_flags(o, flags, mask, most ? *most : all);
    tn_onnx_selected one = {mask, made.count, made.places};
    if (tn_o_ok(o)) tn_vec_push(im->scratch, &im->selections, one);
    return made;
}
