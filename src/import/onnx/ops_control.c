/* If. A condition that is known while importing is decided here and its branch inlined; else both branches become
 * sub-graphs that get outer values as operands. Loop is in ops_loop.c, Scan in ops_scan.c. */
#include "import/onnx/body.h"
#include "import/onnx/ops.h"

tn_value tn_o_inline(tn_o *o, const tn_onnx_graph *g, tn_value x) {
    tn_onnx_body b;
    if (!tn_onnx_body_enter(o, &b, g, true)) return TN_NO_VALUE;
    tn_onnx_body_define(o, &b, 0, tn_o_item_of(o, x));
    if (!tn_onnx_body_import(o, &b)) return TN_NO_VALUE;
    tn_onnx_item *item = tn_onnx_body_output(o, &b, 0);
    return item ? tn_o_item_value(o, item) : TN_NO_VALUE;
}

static void inline_branch(tn_o *o, const tn_onnx_graph *g) {
    tn_onnx_body b;
    if (!tn_onnx_body_enter(o, &b, g, true) || !tn_onnx_body_import(o, &b)) return;
    for (uint32_t i = 0; i < o->node->outputs.len; i++) {
        tn_onnx_item *item = tn_onnx_body_output(o, &b, i);
        if (item) tn_o_out_item(o, (int)i, item);
    }
}

/* Tensors of equal types, or as many of these in sequences. */
static bool same_structure(const tn_onnx_item *x, const tn_onnx_item *y) {
    if (x->kind != y->kind || (x->kind == TN_ITEM_SEQUENCE && x->count != y->count)) return false;
    for (int i = 0; x->kind == TN_ITEM_SEQUENCE && i < x->count; i++)
        if (!same_structure(x->items[i], y->items[i])) return false;
    if (x->kind != TN_ITEM_TENSOR) return true;
    tn_type p = tn_onnx_item_type(x), q = tn_onnx_item_type(y);
    return p.dtype == q.dtype && tn_shape_equal(&p.shape, &q.shape);
}

/* Whether both branches give the same structure: what an if with sub-graphs needs. */
static bool same_results(tn_o *o, tn_onnx_body *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const tn_onnx_item *x = tn_onnx_body_output(o, &b[0], i),
                           *y = tn_onnx_body_output(o, &b[1], i);
        if (!x || !y || !same_structure(x, y)) return false;
    }
    return true;
}

/* Each tensor in the structure becomes an output of the body's graph. */
static void give_tensors(tn_o *o, tn_onnx_body *b, tn_onnx_item *item) {
    if (item->kind == TN_ITEM_TENSOR) tn_onnx_body_give_item(o, b, item);
    for (int i = 0; item->kind == TN_ITEM_SEQUENCE && i < item->count; i++)
        give_tensors(o, b, item->items[i]);
}

/* The structure of `like` over the values from *next on. */
static tn_onnx_item *rebuild(tn_o *o, const tn_onnx_item *like, tn_value *next) {
    tn_onnx_item *item = tn_o_item_of(o, TN_NO_VALUE);
    item->kind = like->kind;
    item->count = like->kind == TN_ITEM_SEQUENCE ? like->count : 0;
    tn_onnx_item **items = TN_NEW_N(o->scratch, tn_onnx_item *, item->count);
    for (int i = 0; i < item->count; i++) items[i] = rebuild(o, like->items[i], next);
    item->items = items;
    if (like->kind == TN_ITEM_TENSOR) item->value = (*next)++;
    return item;
}

static void import_if(tn_o *o) {
    const tn_onnx_graph *yes = tn_o_graph(o, "then_branch"), *no = tn_o_graph(o, "else_branch");
    int64_t flag;
    if (!tn_o_ok(o)) return;
    if (tn_onnx_known_number(o, tn_o_item(o, 0), &flag)) {
        inline_branch(o, flag ? yes : no);
        return;
    }
    tn_onnx_body b[2];
    uint32_t total, count = o->node->outputs.len;
    tn_value condition = tn_onnx_scalar(o, tn_o_in(o, 0));
    if (!tn_onnx_body_enter(o, &b[0], yes, false) || !tn_onnx_body_import(o, &b[0]) ||
        !tn_onnx_body_enter(o, &b[1], no, false))
        return;
    for (uint32_t i = 0; i < b[0].scope.captures.len; i++)
        tn_onnx_capture_item(&b[1].scope, b[0].scope.captures.data[i].outer);
    if (!tn_onnx_body_import(o, &b[1])) return;
    for (uint32_t i = b[0].scope.captures.len; i < b[1].scope.captures.len; i++)
        tn_onnx_capture_item(&b[0].scope, b[1].scope.captures.data[i].outer);
    if (!same_results(o, b, count)) {
        tn_onnx_ask_value(o, tn_o_item(o, 0), "condition");
        return;
    }
    for (uint32_t k = 0; k < 2; k++)
        for (uint32_t i = 0; i < count && tn_o_ok(o); i++)
            give_tensors(o, &b[k], tn_onnx_body_output(o, &b[k], i));
    tn_attrs_if attrs = {.then_graph = b[0].graph, .else_graph = b[1].graph};
    tn_value *in = tn_onnx_body_operands(o, &b[1], &condition, 1, &total), next = TN_NO_VALUE;
    if (b[0].graph->outputs.len) next = tn_b_node(o->b, TN_OP_if, in, total, &attrs);
    for (uint32_t i = 0; i < count && tn_o_ok(o); i++)
        tn_o_out_item(o, (int)i, rebuild(o, tn_onnx_body_output(o, &b[0], i), &next));
}

static const tn_onnx_op rows[] = {
    {"If", 1, TN_ONNX_LATEST, import_if},
};
TN_ONNX_TABLE(control, "")
