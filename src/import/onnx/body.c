/* Sub-graphs of the model: bodies of loops, branches. See body.h. */
#include "import/onnx/body.h"

enum { MAX_NESTING = 48 };

bool tn_onnx_body_enter(tn_o *o, tn_onnx_body *b, const tn_onnx_graph *source, bool inlined) {
    tn_onnx_importer *im = o->scope->im;
    *b = (tn_onnx_body){.source = source};
    if (!tn_o_ok(o)) return false;
    if (im->depth == MAX_NESTING) {
        tn_o_refuse(o, TN_INVALID, "sub-graphs are nested more than %d deep", MAX_NESTING);
        return false;
    }
    tn_onnx_level *level = o->scope->level;
    if (!inlined) {
        b->graph = tn_graph_new_sub(o->b->graph);
        level = tn_onnx_level_new(im, b->graph, level, o->b->err);
        level->builder.name = o->b->name;
    }
    tn_onnx_scope_init(&b->scope, im, o->scope, level);
    return true;
}

void tn_onnx_body_define(tn_o *o, tn_onnx_body *b, uint32_t i, tn_onnx_item *item) {
    if (!tn_o_ok(o)) return;
    if (i < b->source->inputs.len) tn_onnx_define(&b->scope, b->source->inputs.data[i].name, item);
}

void tn_onnx_body_repeat(tn_onnx_body *b, tn_onnx_item *turn) {
    b->scope.repeated = true;
    b->scope.turn = turn;
}

tn_onnx_item *tn_onnx_body_add_input(tn_onnx_body *b, uint32_t i, const tn_type *type) {
    const char *name = i < b->source->inputs.len ? b->source->inputs.data[i].name : "";
    tn_value v = tn_b_input(&b->scope.level->builder, name, type->dtype, &type->shape);
    return tn_onnx_item_new(&b->scope, v, name);
}

bool tn_onnx_body_import(tn_o *o, tn_onnx_body *b) {
    o->scope->im->depth++;
    tn_onnx_import_initializers(&b->scope, b->source);
    tn_onnx_import_nodes(&b->scope, b->source->nodes.data, b->source->nodes.len);
    o->scope->im->depth--;
    if (tn_o_ok(o)) o->b->status = b->scope.level->builder.status;
    return tn_o_ok(o);
}

tn_onnx_item *tn_onnx_body_output(tn_o *o, tn_onnx_body *b, uint32_t i) {
    const char *name = i < b->source->outputs.len ? b->source->outputs.data[i].name : "";
    tn_onnx_item *item = tn_o_ok(o) ? tn_onnx_lookup(&b->scope, name) : NULL;
    if (!item && tn_o_ok(o))
        tn_o_refuse(o, TN_INVALID, "output %u ('%s') of its sub-graph is not computed", i, name);
    return item;
}

void tn_onnx_body_give_item(tn_o *o, tn_onnx_body *b, tn_onnx_item *item) {
    tn_value v = tn_onnx_item_build(&b->scope, item);
    o->b->status = b->scope.level->builder.status;
    if (tn_o_ok(o)) tn_graph_add_output(b->graph, v, NULL);
}

void tn_onnx_body_give(tn_o *o, tn_onnx_body *b, uint32_t i) {
    tn_onnx_item *item = tn_onnx_body_output(o, b, i);
    if (item) tn_onnx_body_give_item(o, b, item);
}

bool tn_onnx_known_number(tn_o *o, tn_onnx_item *item, int64_t *out) {
    tn_known k;
    return tn_onnx_item_get_known(o->scope, item, &k) && k.count == 1 &&
           tn_dim_const_value(o->dims, k.at[0], out);
}

tn_onnx_item *tn_onnx_number_item(tn_o *o, tn_onnx_scope *s, tn_dtype dtype, int64_t value) {
    tn_known k = {.dtype = dtype, .count = 1, .at = TN_NEW_N(o->scratch, tn_dim, 1)};
    k.at[0] = tn_dim_const(o->dims, value);
    return tn_onnx_item_known(s, &k, "");
}

tn_value tn_onnx_scalar(tn_o *o, tn_value v) {
    return tn_b_reshape_to(o->b, v, 0, NULL);
}

tn_value *tn_onnx_body_operands(tn_o *o, const tn_onnx_body *b, const tn_value *first,
                                uint32_t count, uint32_t *total) {
    *total = count + b->scope.captures.len;
    tn_value *in = TN_NEW_N(o->scratch, tn_value, *total + 1);
    memcpy(in, first, sizeof *in * count);
    for (uint32_t i = 0; i < b->scope.captures.len; i++)
        in[count + i] = b->scope.captures.data[i].outer->value;
    return in;
}

void tn_onnx_give_results(tn_o *o, tn_value first, uint32_t skip, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) tn_o_out(o, (int)i, first + skip + i);
}
