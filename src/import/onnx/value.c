/* Values that can be computed while importing, and asking for what is missing. See scope.h.
 *
 * A value is static when it follows from constants and bound inputs; its elements are then computed
 * by the rules' eval, each node once, within a budget of work. */
#include "import/onnx/scope.h"
#include "ir/rules.h"
#include "ops/eval.h"

#include <math.h>
#include <stdio.h>

enum { MAX_ELEMENTS = 1 << 22 };

/* ---- evaluation ----------------------------------------------------------------------------- */

static bool is_static(const tn_onnx_level *level, const tn_node_info *n) {
    const tn_graph *g = level->builder.graph;
    if (n->op == TN_OP_input || n->op == TN_OP_while || n->op == TN_OP_axis_index ||
        n->op == TN_OP_bind_size)
        return false;
    for (uint32_t i = 0; i < n->in_count; i++)
        if (level->fold.data[n->in[i]] == TN_FOLD_OPEN) return false;
    for (uint32_t i = 0; i < n->out_count; i++) {
        const tn_shape *shape = &tn_graph_type(g, n->out + i)->shape;
        if (!tn_shape_is_const(shape)) return false;
        double count = 1;
        for (int d = 0; d < shape->rank; d++) count *= (double)shape->dim[d];
        if (count > MAX_ELEMENTS) return false;
    }
    return true;
}

/* Classifies values that were added since the last look. */
static void look(tn_onnx_scope *s, tn_onnx_level *level) {
    const tn_graph *g = level->builder.graph;
    while (level->fold.len < g->values.len) {
        const tn_node_info *n = tn_graph_producer(g, level->fold.len);
        uint8_t state = is_static(level, n) ? TN_FOLD_STATIC : TN_FOLD_OPEN;
        for (uint32_t i = 0; i < n->out_count; i++) {
            tn_vec_push(s->im->scratch, &level->fold, state);
            tn_vec_push(s->im->scratch, &level->arrays, (tn_array){0});
        }
    }
}

static bool evaluate(tn_onnx_scope *s, tn_onnx_level *level, tn_node node) {
    const tn_graph *g = level->builder.graph;
    const tn_node_info *n = tn_graph_node(g, node);
    tn_cost cost = {0};
    tn_op_rules_of(n->op)->cost(g, n, NULL, &cost);
    s->im->work -= 8 + cost.flops;
    for (uint32_t i = 0; i < n->out_count; i++)
        s->im->work -= (double)tn_shape_const_count(&tn_graph_type(g, n->out + i)->shape);
    if (!(s->im->work >= 0)) return false;
    tn_error ignored = TN_ERROR_INIT;
    tn_array *in = TN_NEW_N(s->im->scratch, tn_array, n->in_count);
    tn_array *out = &level->arrays.data[n->out];
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = level->arrays.data[n->in[i]];
    if (tn_eval_node(g, node, in, out, NULL, s->im->scratch, &ignored) != TN_OK) return false;
    memset(&level->fold.data[n->out], TN_FOLD_DONE, n->out_count);
    return true;
}

bool tn_onnx_value_array(tn_onnx_scope *s, tn_onnx_level *level, tn_value v, tn_array *out) {
    const tn_graph *g = level->builder.graph;
    TN_VEC(tn_value) todo = {0};
    if (v >= g->values.len) return false;
    look(s, level);
    if (level->fold.data[v] == TN_FOLD_STATIC) tn_vec_push(s->im->scratch, &todo, v);
    while (todo.len) {
        tn_node node = tn_graph_value(g, todo.data[todo.len - 1])->node;
        const tn_node_info *n = tn_graph_node(g, node);
        uint32_t before = todo.len;
        if (level->fold.data[n->out] == TN_FOLD_DONE) {
            todo.len--;
            continue;
        }
        for (uint32_t i = 0; i < n->in_count; i++) {
            uint8_t state = level->fold.data[n->in[i]];
            if (state == TN_FOLD_OPEN) return false;
            if (state == TN_FOLD_STATIC) tn_vec_push(s->im->scratch, &todo, n->in[i]);
        }
        if (todo.len > before) continue;
        if (!evaluate(s, level, node)) {
            memset(&level->fold.data[n->out], TN_FOLD_OPEN, n->out_count);
            return false;
        }
        todo.len--;
    }
    if (level->fold.data[v] != TN_FOLD_DONE) return false;
    *out = level->arrays.data[v];
    return true;
}

static bool array_of_known(tn_onnx_scope *s, const tn_dims *dims, const tn_known *k,
                           tn_array *out) {
    *out = tn_array_new(s->im->scratch, k->dtype, k->rank, k->dim);
    for (int64_t i = 0; i < k->count; i++) {
        int64_t value;
        if (!tn_dim_const_value(dims, k->at[i], &value)) return false;
        tn_array_set(out, i, tn_cell_of_int(k->dtype, value));
    }
    return true;
}

bool tn_onnx_item_array(tn_onnx_scope *s, tn_onnx_item *item, tn_array *out) {
    tn_error ignored = TN_ERROR_INIT;
    if (item->kind != TN_ITEM_TENSOR) return false;
    if (item->known && array_of_known(s, s->level->builder.graph->dims, item->known, out))
        return true;
    if (item->initializer)
        return tn_onnx_tensor_decode(item->initializer, s->im->scratch, out, &ignored) == TN_OK;
    return item->value != TN_NO_VALUE && tn_onnx_value_array(s, item->level, item->value, out);
}

/* ---- known values --------------------------------------------------------------------------- */

enum { WHOLE_FLOATS = 64, WHOLE_LIMIT = 1 << 24 };

static bool may_be_known(const tn_type *type) {
    if (!tn_shape_is_const(&type->shape)) return false;
    int64_t count = 1;
    for (int i = 0; i < type->shape.rank; i++) {
        count = type->shape.dim[i] > TN_KNOWN_MAX ? TN_KNOWN_MAX + 1 : count * type->shape.dim[i];
        if (count > TN_KNOWN_MAX) return false;
    }
    if (type->dtype == TN_f32 || type->dtype == TN_f64) return count <= WHOLE_FLOATS;
    return type->dtype == TN_bool || tn_dtype_is_integer(type->dtype);
}

static bool whole(tn_dtype dtype, tn_cell cell, int64_t *out) {
    if (tn_dtype_is_float(dtype)) {
        if (!(fabs(cell.f) <= WHOLE_LIMIT) || cell.f != floor(cell.f)) return false;
        *out = (int64_t)cell.f;
        return cell.f != 0 || !signbit(cell.f);
    }
    *out = cell.i;
    return !tn_dtype_is_unsigned(dtype) || cell.u <= INT64_MAX;
}

bool tn_onnx_item_get_known(tn_onnx_scope *s, tn_onnx_item *item, tn_known *out) {
    if (item->kind != TN_ITEM_TENSOR || item->weight) return false;
    if (!item->known) {
        tn_type type = tn_onnx_item_type(item);
        tn_array array;
        if (!may_be_known(&type) || !tn_onnx_item_array(s, item, &array)) return false;
        tn_known k = {.dtype = array.dtype, .rank = array.rank, .count = tn_array_count(&array)};
        memcpy(k.dim, array.dim, sizeof k.dim);
        k.at = TN_NEW_N(s->im->scratch, tn_dim, k.count);
        for (int64_t i = 0; i < k.count; i++) {
            int64_t value;
            if (!whole(k.dtype, tn_array_get(&array, i), &value)) return false;
            k.at[i] = tn_dim_const(s->level->builder.graph->dims, value);
        }
        item->known = tn_arena_dup(s->im->scratch, &k, sizeof k);
    }
    *out = *item->known;
    return true;
}

/* ---- asking --------------------------------------------------------------------------------- */

static void add_name(tn_onnx_importer *im, bool value, const char *name) {
    tn_import *r = im->result;
    uint32_t count = value ? r->need_values.len : r->need_dims.len;
    const char **names = value ? r->need_values.data : r->need_dims.data;
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(names[i], name)) return;
    name = tn_arena_strdup(im->arena, name);
    if (value)
        tn_vec_push(im->arena, &r->need_values, name);
    else
        tn_vec_push(im->arena, &r->need_dims, name);
}

/* What a size is counted in that the run binds; NULL: it is known before. */
static const tn_onnx_data_size *data_size(const tn_onnx_importer *im, uint32_t symbol) {
    for (uint32_t i = 0; i < im->data_sizes.len; i++)
        if (im->data_sizes.data[i].symbol == symbol) return &im->data_sizes.data[i];
    return NULL;
}

static bool depends_on_data(const tn_onnx_importer *im, const tn_dims *dims, tn_dim d) {
    for (uint32_t i = 0; i < im->data_sizes.len; i++)
        if (tn_dim_uses_symbol(dims, d, im->data_sizes.data[i].symbol)) return true;
    return false;
}

/* Adds the symbols of a size that can be bound before a run; whether there are any. */
static bool add_symbols(tn_onnx_importer *im, const tn_dims *dims, tn_dim d) {
    bool any = false;
    if (tn_dim_is_const(d)) return false;
    for (uint32_t i = 0; i < dims->symbols.len; i++) {
        if (!tn_dim_uses_symbol(dims, d, i) || data_size(im, i)) continue;
        add_name(im, false, dims->symbols.data[i].name);
        any = true;
    }
    return any;
}

static bool add_shape_symbols(tn_onnx_importer *im, const tn_dims *dims, const tn_shape *shape) {
    bool any = false;
    for (int i = 0; i < shape->rank; i++) any |= add_symbols(im, dims, shape->dim[i]);
    return any;
}

static const char *node_label(const tn_o *o) {
    const char *name = o->b->name ? o->b->name : "";
    return tn_arena_printf(o->scope->im->arena, "node '%s' (%s)", name, o->node->op);
}

static void stop(tn_o *o, const char *reason) {
    o->scope->im->needs = true;
    o->scope->im->result->need_reason = reason;
    tn_b_fail(o->b, TN_INVALID, "%s", reason);
}

/* marks[w]: `v` is computed from value w. They hold until the next call. */
static const bool *mark_sources(tn_onnx_scope *s, tn_onnx_level *level, tn_value v) {
    const tn_graph *g = level->builder.graph;
    tn_onnx_importer *im = s->im;
    look(s, level);
    while (im->marks.len < g->values.len) tn_vec_push(im->scratch, &im->marks, false);
    bool *marks = im->marks.data;
    memset(marks, 0, g->values.len);
    marks[v] = true;
    for (tn_value at = v + 1; at-- > 0;) {
        if (!marks[at]) continue;
        const tn_node_info *n = tn_graph_producer(g, at);
        for (uint32_t i = 0; i < n->in_count; i++) marks[n->in[i]] = true;
    }
    return marks;
}

/* An input of the model that is not bound by value. */
static bool is_open_input(const tn_onnx_level *level, tn_value v) {
    return tn_graph_producer(level->builder.graph, v)->op == TN_OP_input &&
           level->fold.data[v] != TN_FOLD_DONE && !level->parent;
}

/* Adds the model's inputs that are marked, up to value `v`; whether there are any. */
static bool add_inputs(tn_onnx_scope *s, tn_onnx_level *level, const bool *marks, tn_value v) {
    bool any = false;
    for (tn_value at = v + 1; at-- > 0;) {
        if (!marks[at] || !is_open_input(level, at)) continue;
        add_name(s->im, true, tn_graph_value(level->builder.graph, at)->name);
        any = true;
    }
    return any;
}

/* An input that is bound by value rather than computed with: a few integers or flags. */
static bool is_small(const tn_type *type) {
    return !tn_dtype_is_float(type->dtype) && may_be_known(type);
}

/* Whether all of the model's open inputs that a value is computed from are small, and some are. */
static bool from_small_inputs(tn_onnx_scope *s, tn_onnx_level *level, tn_value v) {
    bool any = false;
    if (level->parent) return false;
    const bool *marks = mark_sources(s, level, v);
    for (tn_value at = 0; at <= v; at++) {
        if (!marks[at] || !is_open_input(level, at)) continue;
        if (!is_small(tn_graph_type(level->builder.graph, at))) return false;
        any = true;
    }
    return any;
}

bool tn_onnx_depends_on_data(tn_o *o, tn_dim d) {
    return depends_on_data(o->scope->im, o->dims, d);
}

bool tn_onnx_is_choice(tn_o *o, tn_value v) {
    return tn_o_ok(o) && from_small_inputs(o->scope, o->scope->level, v);
}

/* Adds the inputs that decide sizes of `d` which the run binds; whether there are any. */
static bool add_deciders(tn_o *o, tn_dim d) {
    tn_onnx_scope *s = o->scope;
    bool any = false;
    if (tn_dim_is_const(d)) return false;
    for (uint32_t i = 0; i < s->im->data_sizes.len; i++) {
        tn_onnx_data_size one = s->im->data_sizes.data[i];
        if (!tn_dim_uses_symbol(o->dims, d, one.symbol)) continue;
        any |= add_inputs(s, one.level, mark_sources(s, one.level, one.value), one.value);
    }
    return any;
}

void tn_onnx_ask_value(tn_o *o, const tn_onnx_item *item, const char *what) {
    tn_onnx_scope *s = o->scope;
    bool asked = false, dims_asked = false;
    if (!tn_o_ok(o)) return;
    for (int64_t i = 0; item->known && i < item->known->count; i++) {
        dims_asked |= add_symbols(s->im, o->dims, item->known->at[i]);
        asked |= add_deciders(o, item->known->at[i]);
    }
    if (item->value != TN_NO_VALUE && !dims_asked && !asked) {
        const tn_graph *g = item->level->builder.graph;
        const bool *marks = mark_sources(s, item->level, item->value);
        asked = add_inputs(s, item->level, marks, item->value);
        for (tn_value v = 0; v <= item->value && !asked; v++)
            if (marks[v])
                dims_asked |= add_shape_symbols(s->im, g->dims, &tn_graph_type(g, v)->shape);
    }
    if (!asked && !dims_asked) {
        tn_o_fail(
            o, TN_UNSUPPORTED,
            "its %s ('%s') must be known when the model is compiled; here it depends on values "
            "that only exist while it runs",
            what, item->name ? item->name : "");
        return;
    }
    const tn_import *r = s->im->result;
    const char *kind = asked ? "input" : "size",
               *name = asked ? r->need_values.data[0] : r->need_dims.data[0];
    stop(o,
         tn_arena_printf(s->im->arena, "%s: its %s is computed from %s '%s', which has to be bound",
                         node_label(o), what, kind, name));
}

void tn_onnx_ask_dim(tn_o *o, tn_dim d, const char *what) {
    tn_str text;
    if (!tn_o_ok(o)) return;
    bool sizes = add_symbols(o->scope->im, o->dims, d), values = add_deciders(o, d);
    tn_str_init_with(&text, tn_arena_allocator(o->scratch));
    tn_dim_print(o->dims, d, &text);
    if (!sizes && !values) {
        tn_o_refuse(o, TN_UNSUPPORTED,
                    "%s is %s, which depends on values that only exist while the model runs; it "
                    "must be known when the model is compiled",
                    what, tn_str_text(&text));
        return;
    }
    const char *reason =
        tn_arena_printf(o->scope->im->arena, "%s: %s is %s; it has to be bound (--dim NAME=N)",
                        node_label(o), what, tn_str_text(&text));
    stop(o, reason);
}

/* The sizes and known elements of a node's operands, in `out`. */
static void operand_sizes(tn_o *o, tn_dim **out, uint32_t *count) {
    TN_VEC(tn_dim) all = {0};
    for (uint32_t i = 0; i < o->node->inputs.len; i++) {
        const tn_onnx_item *item = tn_onnx_lookup(o->scope, o->node->inputs.data[i]);
        if (!item || item->kind != TN_ITEM_TENSOR) continue;
        tn_type type = tn_onnx_item_type(item);
        for (int d = 0; d < type.shape.rank; d++) tn_vec_push(o->scratch, &all, type.shape.dim[d]);
        for (int64_t k = 0; item->known && k < item->known->count; k++)
            tn_vec_push(o->scratch, &all, item->known->at[k]);
    }
    *out = all.data;
    *count = all.len;
}

static bool among(tn_dim d, const tn_dim *all, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (all[i] == d) return true;
    return false;
}

/* A node that wants min(s, c) and s to be equal is valid only for s <= c: a table of c rows is cut to
 * the length s. Then the import is repeated with that bound on s. */
static bool find_bounds(tn_o *o, const tn_dim *all, uint32_t count) {
    tn_onnx_importer *im = o->scope->im;
    bool any = false;
    for (uint32_t i = 0, n = o->dims->atoms.len; i < n; i++) {
        tn_dim_atom atom = o->dims->atoms.data[i];
        uint32_t symbol;
        if (atom.fn != TN_DIM_MIN) continue;
        tn_dim s = tn_dim_is_const(atom.a) ? atom.b : atom.a;
        tn_dim c = tn_dim_is_const(atom.a) ? atom.a : atom.b;
        if (!tn_dim_is_const(c) || c < 1 || !tn_dim_is_symbol(o->dims, s, &symbol)) continue;
        if (!among(s, all, count) || !among(tn_dim_min(o->dims, s, c), all, count)) continue;
        tn_onnx_bound bound = {tn_arena_strdup(o->scratch, o->dims->symbols.data[symbol].name), c};
        tn_vec_push(o->scratch, im->bounds, bound);
        any = true;
    }
    return any;
}

static void explain_data_sizes(tn_o *o, const tn_dim *all, uint32_t count) {
    const tn_onnx_importer *im = o->scope->im;
    for (uint32_t i = 0; i < im->data_sizes.len && o->b->err; i++)
        for (uint32_t k = 0; k < count; k++) {
            if (!tn_dim_uses_symbol(o->dims, all[k], im->data_sizes.data[i].symbol)) continue;
            tn_error_push(
                o->b->err,
                "size %s depends on data and is known only while the model runs; it equals "
                "another such size only if both come from the same mask or number",
                o->dims->symbols.data[im->data_sizes.data[i].symbol].name);
            return;
        }
}

/* Whether the sizes in `d` that a run binds follow from small inputs: with these bound it is a number. */
static bool is_choice(tn_o *o, tn_dim d) {
    const tn_onnx_importer *im = o->scope->im;
    for (uint32_t i = 0; i < im->data_sizes.len; i++) {
        const tn_onnx_data_size *one = &im->data_sizes.data[i];
        if (tn_dim_uses_symbol(o->dims, d, one->symbol) &&
            !from_small_inputs(o->scope, one->level, one->value))
            return false;
    }
    return true;
}

void tn_onnx_ask_after_error(tn_o *o) {
    tn_onnx_importer *im = o->scope->im;
    tn_dim *all;
    uint32_t count;
    bool any = false;
    operand_sizes(o, &all, &count);
    if (find_bounds(o, all, count)) {
        im->again = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!depends_on_data(im, o->dims, all[i]))
            any |= add_symbols(im, o->dims, all[i]);
        else if (is_choice(o, all[i]))
            any |= add_deciders(o, all[i]);
    }
    if (!any) {
        explain_data_sizes(o, all, count);
        return;
    }
    char text[TN_ERROR_TEXT] = "";
    if (o->b->err) tn_error_format(o->b->err, text, sizeof text);
    im->needs = true;
    im->result->need_reason = tn_arena_printf(im->arena, "with open sizes: %s", text);
}
