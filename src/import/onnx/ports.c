/* The inputs and outputs of a model as those of its graph. See scope.h.
 *
 * A sequence or an optional (a compound) is a run of ports, one for each of its tensors: NAME[0],
 * NAME[1], …, or NAME for an optional tensor. How many there are is bound for inputs, and found by the
 * import for outputs. */
#include "import/onnx/scope.h"

/* ---- what is bound -------------------------------------------------------------------------- */

static const tn_import_value *bound_value(const tn_onnx_importer *im, const char *name) {
    for (uint32_t i = 0; i < im->options->value_count; i++)
        if (!strcmp(im->options->values[i].name, name)) return &im->options->values[i];
    return NULL;
}

static bool bound_dim(const tn_onnx_importer *im, const char *name, int64_t *value) {
    for (uint32_t i = 0; i < im->options->dim_count; i++)
        if (!strcmp(im->options->dims[i].name, name)) {
            *value = im->options->dims[i].value;
            return true;
        }
    return false;
}

static const tn_compound_binding *bound_compound(const tn_onnx_importer *im, const char *name) {
    for (uint32_t i = 0; i < im->options->compound_count; i++)
        if (!strcmp(im->options->compounds[i].name, name)) return &im->options->compounds[i];
    return NULL;
}

/* The symbol of a size as the model spells it, or a name for one it does not name. */
static const char *symbol_name(const tn_onnx_importer *im, const tn_onnx_port *p, uint32_t axis) {
    const tn_onnx_dim *d = &p->dims.data[axis];
    return d->symbol[0] ? d->symbol : tn_arena_printf(im->scratch, "%s.%u", p->name, axis);
}

void tn_onnx_imply_dims(tn_onnx_importer *im) {
    const tn_onnx_graph *g = im->model->graph;
    tn_map_init(&im->implied, im->scratch);
    if (!im->options->value_count) return;
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        const tn_onnx_port *p = &g->inputs.data[i];
        const tn_import_value *v = p->is_compound ? NULL : bound_value(im, p->name);
        if (!v || !p->has_shape || (uint32_t)v->array.rank != p->dims.len) continue;
        for (uint32_t d = 0; d < p->dims.len; d++)
            if (v->array.dim[d] <= UINT32_MAX)
                tn_map_put_str(&im->implied, p->dims.data[d].symbol, (uint32_t)v->array.dim[d]);
    }
}

/* ---- tensors of compounds ------------------------------------------------------------------- */

static const char *element_name(tn_arena *arena, const char *name, tn_compound_kind kind, int k) {
    bool alone = kind == TN_COMPOUND_OPTIONAL;
    return alone ? tn_arena_strdup(arena, name) : tn_arena_printf(arena, "%s[%d]", name, k);
}

/* Tensors of a sequence share their rank but no sizes: a symbol says nothing about the others. */
static tn_onnx_port element_port(const tn_onnx_importer *im, const tn_onnx_port *p, int k,
                                 const tn_compound_binding *bound) {
    tn_onnx_port e = *p;
    e.is_compound = false;
    e.name = element_name(im->scratch, p->name, p->kind, k);
    uint32_t rank = p->has_shape || !bound->ranks ? p->dims.len : (uint32_t)bound->ranks[k];
    if (p->has_shape && p->kind == TN_COMPOUND_OPTIONAL) return e;
    e.has_shape = p->has_shape || bound->ranks;
    e.dims.data = TN_NEW_N(im->scratch, tn_onnx_dim, rank);
    e.dims.len = e.dims.cap = rank;
    for (uint32_t i = 0; i < rank; i++) {
        if (p->has_shape) e.dims.data[i] = p->dims.data[i];
        e.dims.data[i].symbol = "";
    }
    return e;
}

static tn_status check_compound(const tn_onnx_port *p, const tn_compound_binding *bound,
                                tn_error *err) {
    bool optional = p->kind != TN_COMPOUND_SEQUENCE;
    int least = optional ? TN_COMPOUND_ABSENT : 0;
    int most = p->kind == TN_COMPOUND_OPTIONAL ? 1 : TN_COMPOUND_MOST;
    bool between = p->kind == TN_COMPOUND_OPTIONAL && bound->count == 0;
    if (bound->count < least || bound->count > most || between)
        return tn_error_set(err, TN_INVALID, "%s '%s' cannot have %d tensors",
                            tn_compound_kind_name(p->kind), p->name, bound->count);
    for (int k = 0; k < bound->count && bound->ranks; k++) {
        int rank = bound->ranks[k];
        if (rank < 0 || rank > TN_MAX_RANK)
            return tn_error_set(err, TN_INVALID, "tensor %d of '%s' cannot have %d axes", k,
                                p->name, rank);
        if (p->has_shape && (uint32_t)rank != p->dims.len)
            return tn_error_set(err, TN_INVALID, "tensor %d of '%s' has %d axes; the model says %u",
                                k, p->name, rank, p->dims.len);
    }
    if (bound->count > 0 && !p->has_shape && !bound->ranks)
        return tn_error_set(err, TN_INVALID,
                            "the file does not tell the number of axes of the tensors of '%s'; it "
                            "has to be bound, too",
                            p->name);
    return TN_OK;
}

/* ---- types ---------------------------------------------------------------------------------- */

static tn_dim import_dim(const tn_onnx_importer *im, tn_dims *dims, const tn_onnx_port *p,
                         uint32_t axis) {
    const tn_onnx_dim *d = &p->dims.data[axis];
    int64_t value;
    uint32_t implied;
    if (d->has_value && d->value >= 0) return d->value;
    const char *name = symbol_name(im, p, axis);
    if (bound_dim(im, name, &value) && value >= 0) return value;
    if (d->symbol[0] && tn_map_get_str(&im->implied, name, &implied)) return implied;
    tn_dim open = tn_dim_of_symbol(dims, tn_arena_strdup(im->arena, name));
    int64_t hi = TN_DIM_UNBOUNDED; /* a size may be 0 */
    for (uint32_t i = 0; i < im->bounds->len; i++)
        if (!strcmp(im->bounds->data[i].symbol, name)) hi = im->bounds->data[i].hi;
    tn_dims_set_bounds(dims, tn_dims_symbol(dims, name), 0, hi, 1);
    return open;
}

/* Of a tensor, or of the tensors of a compound. */
static tn_status port_type(const tn_onnx_importer *im, const tn_onnx_port *p, tn_import_port *out,
                           tn_error *err) {
    *out = (tn_import_port){.name = tn_arena_strdup(im->arena, p->name), .typed = p->has_shape};
    if (p->other)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "'%s' is %s; only tensors, sequences of tensors and optionals of "
                            "these can go in and out",
                            p->name, p->other);
    tn_status status = tn_onnx_dtype(p->type, &out->type.dtype, err);
    if (status != TN_OK) {
        tn_error_push(err, "'%s'", p->name);
        return status;
    }
    if (p->dims.len > TN_MAX_RANK)
        return tn_error_set(err, TN_UNSUPPORTED, "'%s' has %u axes; at most %d", p->name,
                            p->dims.len, TN_MAX_RANK);
    out->type.shape.rank = (int)p->dims.len;
    if (p->is_compound) return TN_OK;
    for (uint32_t i = 0; i < p->dims.len; i++)
        out->type.shape.dim[i] = import_dim(im, im->result->dims, p, i);
    return TN_OK;
}

/* A bound value settles the input's type. */
static tn_status settle_type(const tn_import_value *v, tn_import_port *port, tn_error *err) {
    bool fits = v->array.dtype == port->type.dtype &&
                (!port->typed || v->array.rank == port->type.shape.rank);
    for (int i = 0; fits && port->typed && i < v->array.rank; i++) {
        tn_dim d = port->type.shape.dim[i];
        fits = !tn_dim_is_const(d) || d == v->array.dim[i];
    }
    if (!fits)
        return tn_error_set(err, TN_INVALID,
                            "the value given for input '%s' does not have the input's type",
                            port->name);
    port->typed = true;
    port->type.shape.rank = v->array.rank;
    for (int i = 0; i < v->array.rank; i++) port->type.shape.dim[i] = v->array.dim[i];
    return TN_OK;
}

/* ---- inputs --------------------------------------------------------------------------------- */

static void need(tn_onnx_importer *im, const char *reason) {
    im->needs = true;
    im->result->need_reason = reason;
}

/* The item of an input of the graph; NULL when it needs its value, or after an error. */
static tn_onnx_item *add_tensor(tn_onnx_scope *s, const tn_onnx_port *p) {
    tn_onnx_importer *im = s->im;
    tn_builder *b = &s->level->builder;
    tn_import_port port;
    const tn_import_value *v = bound_value(im, p->name);
    b->status = port_type(im, p, &port, b->err);
    if (tn_b_ok(b) && v) b->status = settle_type(v, &port, b->err);
    if (!tn_b_ok(b)) return NULL;
    tn_vec_push(im->arena, &im->result->inputs, port);
    if (!port.typed) {
        tn_vec_push(im->arena, &im->result->need_values, port.name);
        need(im, tn_arena_printf(im->arena, "input '%s': the file does not tell its number of axes",
                                 p->name));
        return NULL;
    }
    tn_value value = tn_b_input(b, port.name, port.type.dtype, &port.type.shape);
    tn_onnx_item *item = tn_onnx_item_new(s, value, port.name);
    if (!v || !tn_b_ok(b)) return item;
    while (s->level->fold.len < value) { /* inputs come first */
        tn_vec_push(im->scratch, &s->level->fold, TN_FOLD_OPEN);
        tn_vec_push(im->scratch, &s->level->arrays, (tn_array){0});
    }
    tn_vec_push(im->scratch, &s->level->fold, TN_FOLD_DONE);
    tn_vec_push(im->scratch, &s->level->arrays, v->array);
    return item;
}

static tn_onnx_item *add_elements(tn_onnx_scope *s, const tn_onnx_port *p,
                                  const tn_compound_binding *bound) {
    tn_onnx_item *whole = tn_onnx_item_new(s, TN_NO_VALUE, tn_arena_strdup(s->im->arena, p->name));
    tn_onnx_item **items = TN_NEW_N(s->im->scratch, tn_onnx_item *, TN_MAX(bound->count, 0));
    for (int k = 0; k < bound->count; k++) {
        tn_onnx_port e = element_port(s->im, p, k, bound);
        items[k] = add_tensor(s, &e);
        if (!items[k]) return NULL;
    }
    if (p->kind == TN_COMPOUND_OPTIONAL && bound->count == 1) return items[0];
    whole->kind = bound->count == TN_COMPOUND_ABSENT ? TN_ITEM_NONE : TN_ITEM_SEQUENCE;
    whole->count = TN_MAX(bound->count, 0);
    whole->items = items;
    return whole;
}

static tn_onnx_item *add_compound(tn_onnx_scope *s, const tn_onnx_port *p) {
    tn_onnx_importer *im = s->im;
    tn_builder *b = &s->level->builder;
    tn_import_port type; /* that of an empty sequence is checked, too */
    const tn_compound_binding *bound = bound_compound(im, p->name);
    b->status = port_type(im, p, &type, b->err);
    if (tn_b_ok(b) && bound) b->status = check_compound(p, bound, b->err);
    if (!tn_b_ok(b)) return NULL;
    tn_compound c = {type.name, p->kind, (int)im->result->inputs.len,
                     bound ? bound->count : TN_COMPOUND_UNKNOWN};
    tn_vec_push(im->arena, &im->result->input_compounds, c);
    if (bound) return add_elements(s, p, bound);
    need(im, tn_arena_printf(im->arena, "input '%s' is %s; its number of tensors has to be bound",
                             p->name, tn_compound_kind_name(p->kind)));
    return NULL;
}

static bool is_initializer(const tn_onnx_scope *s, const char *name) {
    uint32_t index;
    return tn_map_get_str(&s->names, name, &index) && s->items.data[index]->initializer;
}

/* Two with one name could not be told apart: x[0] of a sequence x, and a tensor called so. */
static void check_names(tn_onnx_scope *s) {
    const tn_import *r = s->im->result;
    tn_map seen;
    uint32_t unused;
    tn_map_init(&seen, s->im->scratch);
    for (uint32_t i = 0; i < r->inputs.len && r->input_compounds.len; i++) {
        const char *name = r->inputs.data[i].name;
        if (tn_map_get_str(&seen, name, &unused))
            tn_b_fail(&s->level->builder, TN_INVALID, "there are two inputs '%s'", name);
        tn_map_put_str(&seen, name, i);
    }
}

void tn_onnx_add_inputs(tn_onnx_scope *s) {
    const tn_onnx_graph *g = s->im->model->graph;
    tn_builder *b = &s->level->builder;
    for (uint32_t i = 0; i < g->inputs.len && tn_b_ok(b); i++) {
        const tn_onnx_port *p = &g->inputs.data[i];
        if (is_initializer(s, p->name)) continue;
        if (!p->name[0]) {
            tn_b_fail(b, TN_INVALID, "input %u of %u has no name", i + 1, g->inputs.len);
            return;
        }
        tn_onnx_item *item = p->is_compound ? add_compound(s, p) : add_tensor(s, p);
        if (item) tn_onnx_define(s, tn_arena_strdup(s->im->arena, p->name), item);
        if (!tn_b_ok(b) && b->err) tn_error_push(b->err, "input");
    }
    if (tn_b_ok(b)) check_names(s);
}

/* ---- options -------------------------------------------------------------------------------- */

static bool port_has_symbol(const tn_onnx_importer *im, const tn_onnx_port *p, const char *name) {
    for (uint32_t d = 0; d < p->dims.len; d++)
        if (!strcmp(symbol_name(im, p, d), name)) return true;
    return false;
}

static bool has_symbol(const tn_onnx_importer *im, const tn_onnx_port *p, const char *name) {
    if (!p->is_compound) return port_has_symbol(im, p, name);
    const tn_compound_binding *bound = bound_compound(im, p->name);
    for (int k = 0; bound && k < bound->count; k++) {
        tn_onnx_port e = element_port(im, p, k, bound);
        if (port_has_symbol(im, &e, name)) return true;
    }
    return false;
}

static tn_status check_dim(const tn_onnx_importer *im, const tn_import_dim *dim, tn_error *err) {
    const tn_onnx_graph *g = im->model->graph;
    bool found = false;
    for (uint32_t i = 0; i < g->inputs.len && !found; i++)
        found = has_symbol(im, &g->inputs.data[i], dim->name);
    if (!found)
        return tn_error_set(err, TN_NOT_FOUND, "the model has no size named '%s'", dim->name);
    if (dim->value < 0)
        return tn_error_set(err, TN_INVALID, "size '%s' cannot be %lld", dim->name,
                            (long long)dim->value);
    return TN_OK;
}

tn_status tn_onnx_check_options(const tn_onnx_importer *im, tn_error *err) {
    const tn_import_options *o = im->options;
    const tn_onnx_graph *g = im->model->graph;
    for (uint32_t k = 0; k < o->compound_count; k++) {
        const char *name = o->compounds[k].name;
        const tn_onnx_port *found = NULL;
        for (uint32_t i = 0; i < g->inputs.len; i++)
            if (!strcmp(g->inputs.data[i].name, name)) found = &g->inputs.data[i];
        if (!found || !found->is_compound)
            return tn_error_set(err, TN_NOT_FOUND,
                                "the model has no input '%s' that is a sequence or an optional",
                                name);
        TN_TRY(err, check_compound(found, &o->compounds[k], err), "input");
    }
    for (uint32_t k = 0; k < o->dim_count; k++) TN_CHECK(check_dim(im, &o->dims[k], err));
    return TN_OK;
}

/* ---- outputs -------------------------------------------------------------------------------- */

static const char *item_text(const tn_onnx_item *item) {
    return item->kind == TN_ITEM_SEQUENCE ? "a sequence"
           : item->kind == TN_ITEM_NONE   ? "an optional without a value"
                                          : "a tensor";
}

/* `listed`: the names of the outputs so far. */
static void give_tensor(tn_onnx_scope *s, const tn_onnx_port *p, const char *name,
                        tn_onnx_item *item, tn_map *listed) {
    tn_builder *b = &s->level->builder;
    tn_dtype declared;
    uint32_t taken;
    if (tn_map_get_str(listed, name, &taken))
        tn_b_fail(b, TN_INVALID, "output '%s' is listed twice", name);
    tn_map_put_str(listed, name, 1);
    tn_value v = tn_onnx_item_build(s, item);
    if (!tn_b_ok(b)) return;
    tn_type type = tn_b_type(b, v);
    tn_error ignored = TN_ERROR_INIT;
    if (!p->other && p->type && tn_onnx_dtype(p->type, &declared, &ignored) == TN_OK &&
        declared != type.dtype) {
        tn_b_fail(b, TN_INVALID, "output '%s' is declared as %s but computed as %s", name,
                  tn_dtype_name(declared), tn_dtype_name(type.dtype));
        return;
    }
    tn_graph_add_output(b->graph, v, name);
    tn_import_port port = {.name = name, .type = type, .typed = true};
    tn_vec_push(s->im->arena, &s->im->result->outputs, port);
}

/* A file need not declare what its outputs are. */
static bool compound_kind(const tn_onnx_port *p, const tn_onnx_item *item, tn_compound_kind *kind) {
    bool sequence = item->kind == TN_ITEM_SEQUENCE;
    *kind = p->is_compound ? p->kind : sequence ? TN_COMPOUND_SEQUENCE : TN_COMPOUND_OPTIONAL;
    if (!p->is_compound) return p->type == 0;
    if (item->kind == TN_ITEM_NONE) return *kind != TN_COMPOUND_SEQUENCE;
    return sequence == (*kind != TN_COMPOUND_OPTIONAL);
}

static void give_compound(tn_onnx_scope *s, const tn_onnx_port *p, tn_onnx_item *item,
                          tn_map *listed) {
    tn_builder *b = &s->level->builder;
    tn_import *r = s->im->result;
    tn_compound c = {.name = tn_arena_strdup(s->im->arena, p->name), .first = (int)r->outputs.len};
    if (!compound_kind(p, item, &c.kind)) {
        tn_b_fail(b, TN_INVALID, "output '%s' is declared as %s but computed as %s", p->name,
                  p->is_compound ? tn_compound_kind_name(p->kind) : "a tensor", item_text(item));
        return;
    }
    bool tensor = item->kind == TN_ITEM_TENSOR;
    c.count = tensor ? 1 : item->kind == TN_ITEM_NONE ? TN_COMPOUND_ABSENT : item->count;
    tn_vec_push(s->im->arena, &r->output_compounds, c);
    for (int k = 0; k < c.count && tn_b_ok(b); k++) {
        tn_onnx_item *element = tensor ? item : item->items[k];
        if (element->kind == TN_ITEM_TENSOR)
            give_tensor(s, p, element_name(s->im->arena, p->name, c.kind, k), element, listed);
        else
            tn_b_fail(b, TN_UNSUPPORTED, "output '%s': its element %d is %s; expected a tensor",
                      p->name, k, item_text(element));
    }
}

void tn_onnx_add_outputs(tn_onnx_scope *s) {
    const tn_onnx_graph *g = s->im->model->graph;
    tn_builder *b = &s->level->builder;
    tn_map listed;
    tn_map_init(&listed, s->im->scratch);
    for (uint32_t i = 0; i < g->outputs.len && tn_b_ok(b); i++) {
        const tn_onnx_port *p = &g->outputs.data[i];
        tn_onnx_item *item = tn_onnx_lookup(s, p->name);
        if (!item)
            tn_b_fail(b, TN_INVALID, "output '%s' is not computed by any node", p->name);
        else if (p->is_compound || item->kind != TN_ITEM_TENSOR)
            give_compound(s, p, item, &listed);
        else
            give_tensor(s, p, tn_arena_strdup(s->im->arena, p->name), item, &listed);
    }
}

tn_status tn_onnx_declare_outputs(tn_onnx_importer *im, tn_error *err) {
    const tn_onnx_graph *g = im->model->graph;
    tn_import *r = im->result;
    r->outputs.len = r->output_compounds.len = 0;
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        const tn_onnx_port *p = &g->outputs.data[i];
        tn_import_port port = {.name = tn_arena_strdup(im->arena, p->name)};
        bool typeless = !p->type && !p->other && !p->is_compound;
        if (!typeless) TN_TRY(err, port_type(im, p, &port, err), "output");
        tn_compound c = {port.name, p->kind, (int)r->outputs.len, TN_COMPOUND_UNKNOWN};
        if (p->is_compound)
            tn_vec_push(im->arena, &r->output_compounds, c);
        else
            tn_vec_push(im->arena, &r->outputs, port);
    }
    return TN_OK;
}
