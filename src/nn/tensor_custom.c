/* tn_custom_vjp. See tenon/tensor.h.
 *
 * Both functions are called on places, and what they record is lifted out into the two sub-graphs of
 * a `custom` node: its operands are the x and what the functions use besides, its results the y
 * and what was saved. */
#include <stdlib.h>

#include "nn/tensor_trace.h"
#include "ops/lift.h"
#include "ops/ops_common.h"

typedef struct custom {
    const char *place;
    tn_context *c;
    const tn_custom_rule *rule;
    int x_count, y_count, results; /* y and what was saved */
    uint64_t cuts;
    tn_tensor **x, **in; /* x, what forward gets */
    tn_tensor **made;    /* what it gives */
    tn_tensor **at_x, **at_y, **at_dy, **dx;
    bool *zero; /* of each x: backward left dx empty, and x is in its place */
    bool ok;
} custom;

/* The parts of the operand list, in the order of `custom`. */
typedef struct parts {
    const tn_value *x, *in, *made, *at_x, *at_y, *at_dy, *dx;
} parts;

static parts parts_of(const custom *k, const tn_value *v) {
    parts p = {.x = v};
    p.in = p.x + k->x_count;
    p.made = p.in + k->x_count;
    p.at_x = p.made + k->results;
    p.at_y = p.at_x + k->x_count;
    p.at_dy = p.at_y + k->results;
    p.dx = p.at_dy + k->results;
    return p;
}

/* ---- building ------------------------------------------------------------------------------- */

/* A variable behind what the functions use besides x would silently get no gradient. */
static void check_captured(tn_builder *b, const tn_context *c, const tn_value_list *captured) {
    const tn_graph *g = b->graph;
    bool *varies = TN_NEW_N(g->arena, bool, g->values.len);
    for (uint32_t i = 0; i < c->recording->leaves.len; i++) {
        const tn__leaf *leaf = &c->recording->leaves.data[i];
        varies[leaf->value] = leaf->storage && leaf->storage->varies;
    }
    for (const tn_tensor *x = c->first; x; x = x->next)
        if (x->variable && x->storage && x->storage->generation == c->recording->generation)
            varies[x->storage->leaf] = true;
    for (tn_node p = 0; p < g->nodes.len; p++) {
        const tn_node_info *n = tn_graph_node(g, p);
        bool any = false;
        const tn_attrs_barrier *barrier = n->attrs;
        if (n->op == TN_OP_barrier && barrier->stop) continue;
        for (uint32_t i = 0; i < n->in_count; i++) any = any || varies[n->in[i]];
        for (uint32_t o = 0; any && o < n->out_count; o++) varies[n->out + o] = true;
    }
    for (uint32_t i = 0; i < captured->len; i++)
        if (varies[captured->data[i]])
            tn_b_fail(b, TN_INVALID,
                      "tn_custom_vjp: its functions use a tensor that depends on a variable and is "
                      "not among x, so its gradient would be lost; hand it over in x, or use "
                      "tn_stop_gradient on it");
}

static void push_all(tn_builder *b, tn_value_list *list, const tn_value *v, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) tn_vec_push(b->graph->arena, list, v[i]);
}

/* The inputs of the two sub-graphs: body (x, captured), vjp (x, captured, results, cotangents). */
static void list_inputs(tn_builder *b, const custom *k, const parts *p,
                        const tn_value_list *captured, tn_value_list *body, tn_value_list *vjp) {
    push_all(b, body, p->in, (uint32_t)k->x_count);
    push_all(b, body, captured->data, captured->len);
    push_all(b, vjp, p->at_x, (uint32_t)k->x_count);
    push_all(b, vjp, captured->data, captured->len);
    push_all(b, vjp, p->at_y, (uint32_t)k->results);
    for (int i = 0; i < k->y_count; i++)
        if (tn_dtype_is_float(tn_b_type(b, p->at_dy[i]).dtype)) push_all(b, vjp, p->at_dy + i, 1);
}

static void build_custom(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const custom *k = args;
    parts p = parts_of(k, in);
    tn_value_list captured = {0}, body = {0}, vjp = {0}, none = {0}, grads = {0}, all = {0};
    for (int i = 0; i < k->x_count; i++)
        if (tn_dtype_is_float(tn_b_type(b, in[i]).dtype)) {
            tn_value d = k->zero[i] ? tn_b_full_like(b, in[i], 0) : p.dx[i];
            push_all(b, &grads, &d, 1);
        }
    list_inputs(b, k, &p, &none, &body, &vjp);
    tn__trace_check_values(b, k->c, k->cuts, p.made, k->results);
    if (grads.len) tn__trace_check_values(b, k->c, k->cuts, grads.data, (int)grads.len);
    if (!tn_b_ok(b)) return;
    tn_b_captured(b, body.data, body.len, p.made, (uint32_t)k->results, &captured);
    tn_b_captured(b, vjp.data, vjp.len, grads.data, grads.len, &captured);
    check_captured(b, k->c, &captured);
    body.len = vjp.len = 0;
    list_inputs(b, k, &p, &captured, &body, &vjp);
    tn_attrs_custom a = {.differentiable = k->x_count, .saved = k->rule->saved_count};
    a.body = tn_b_lift(b, body.data, body.len, p.made, (uint32_t)k->results);
    a.vjp = tn_b_lift(b, vjp.data, vjp.len, grads.data, grads.len);
    push_all(b, &all, p.x, (uint32_t)k->x_count);
    push_all(b, &all, captured.data, captured.len);
    tn_value first = tn_b_node(b, TN_OP_custom, all.data, all.len, &a);
    for (int i = 0; i < k->results && tn_b_ok(b); i++) out[i] = first + (tn_value)i;
}

/* ---- recording ------------------------------------------------------------------------------ */

static void places(custom *k, tn_tensor *const *like, int count, tn_tensor **out) {
    for (int i = 0; i < count; i++) {
        out[i] = tn__trace_place(k->place, like[i]);
        k->ok = k->ok && tn__tensor_is_ok(out[i]);
    }
}

/* Calls both functions; what they made is retained. */
static void trace(custom *k) {
    tn__trace t;
    tn__trace_begin(&t, k->c, "tn_custom_vjp");
    k->cuts = t.cuts;
    places(k, k->x, k->x_count, k->in);
    if (k->ok) k->rule->forward(k->in, k->made, k->rule->user);
    k->ok = k->ok && tn__trace_check(&t, k->place, k->made, k->results);
    if (k->ok) {
        places(k, k->x, k->x_count, k->at_x);
        places(k, k->made, k->results, k->at_y);
        places(k, k->made, k->results, k->at_dy);
    }
    if (k->ok) k->rule->backward(k->at_x, k->at_y, k->at_dy, k->dx, k->rule->user);
    for (int i = 0; i < k->x_count; i++)
        if ((k->zero[i] = !k->dx[i])) k->dx[i] = k->x[i];
    for (int i = 0; i < 3 * k->x_count + 3 * k->results; i++) tn_retain(k->in[i]);
    tn__trace_end(&t);
}

static void record(custom *k, tn_tensor **y) {
    int total = 4 * k->x_count + 3 * k->results;
    tn_tensor **results = calloc((size_t)k->results + 1, sizeof *results);
    if (!results) return;
    tn__call call = {k->place,     k->c, (const tn_tensor *const *)k->x, total, k->results,
                     build_custom, k};
    tn__record(&call, results);
    for (int i = 0; i < k->results; i++)
        if (i < k->y_count)
            y[i] = results[i];
        else
            tn_release(results[i]);
    free(results);
}

void tn_custom_vjp_at(const char *place, const tn_custom_rule *rule, tn_tensor *const *x,
                      int x_count, tn_tensor **y, int y_count) {
    for (int i = 0; i < y_count; i++) y[i] = NULL;
    custom k = {.place = place, .rule = rule, .x_count = x_count, .y_count = y_count, .ok = true};
    k.c = x_count > 0 && x[0] ? x[0]->context : NULL;
    k.results = y_count + rule->saved_count;
    size_t total = 4 * (size_t)x_count + 3 * (size_t)k.results;
    if (!k.c || !(k.x = calloc(total, sizeof *k.x))) return;
    k.zero = calloc((size_t)x_count, sizeof *k.zero);
    if (!k.zero) {
        free(k.x);
        return;
    }
    memcpy(k.x, x, sizeof *x * (size_t)x_count);
    k.in = k.x + x_count;
    k.made = k.in + x_count;
    k.at_x = k.made + k.results;
    k.at_y = k.at_x + x_count;
    k.at_dy = k.at_y + k.results;
    k.dx = k.at_dy + k.results;
    trace(&k);
    record(&k, y);
    for (size_t i = (size_t)x_count; i < total; i++) tn_release(k.x[i]);
    free(k.x);
    free(k.zero);
}
