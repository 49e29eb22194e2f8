/* What is kept, by rule, and the graph with copies of what is not. See recompute.h. */
#include "transform/recompute.h"

#include "ir/rules.h"
#include "transform/pass.h"

typedef struct recompute {
    const tn_graph *in;
    tn_graph *out;
    const tn_recompute *how;
    tn_arena *arena;
    tn_node forward;    /* nodes of the forward pass: the first ones */
    tn__forward *value; /* per value of it */
    tn_value *map;      /* in `out`, as it is */
    tn_value *copy;     /* recomputed, or behind a barrier; NO_VALUE: not yet */
    tn_value *waits;    /* what the barrier waits for */
    tn_value latest;    /* the last product so far, else the loss */
    TN_VEC(tn_node) todo;
    uint32_t copies;
} recompute;

static const tn_node_info *node_at(const recompute *r, tn_node n) {
    return tn_graph_node(r->in, n);
}

static tn_node maker(const recompute *r, tn_value v) {
    return tn_graph_value(r->in, v)->node;
}

static bool is_view(const tn_node_info *n) {
    return n->op == TN_OP_barrier || tn_op_rules_of(n->op)->lower.view;
}

/* ---- what there is -------------------------------------------------------------------------- */

static bool is_expensive(const tn_node_info *n) {
    const tn_lower *l = &tn_op_rules_of(n->op)->lower;
    return l->kind == TN_LOWER_CONTRACTION || l->kind == TN_LOWER_NEST ||
           l->kind == TN_LOWER_CONTROL || (l->kind == TN_LOWER_FOLD && n->op != TN_OP_reduce);
}

/* Operations at the rate of points (products do several at once, but read their operands often), results at
 * that of memory. */
static double seconds_of(const recompute *r, const tn_costs *costs, const tn_node_info *n) {
    if (is_view(n) || n->in_count == 0) return 0;
    tn_cost cost;
    int64_t *bindings = TN_NEW_N(r->arena, int64_t, r->in->dims->symbols.len + 1);
    for (uint32_t i = 0; i < r->in->dims->symbols.len; i++)
        bindings[i] = r->in->dims->symbols.data[i].lo;
    tn_op_rules_of(n->op)->cost(r->in, n, bindings, &cost);
    return cost.flops / costs->points + cost.bytes_written / costs->memory;
}

static double bytes_of(const tn_type *t) {
    double count = 1;
    for (int i = 0; i < t->shape.rank; i++)
        count *= tn_dim_is_const(t->shape.dim[i]) ? (double)t->shape.dim[i] : 1;
    return count * tn_dtype_bits(t->dtype) / 8;
}

/* What node `n` says about its results. */
static tn__forward forward_of(const recompute *r, const tn_costs *costs, const tn_node_info *n) {
    tn__forward f = {.view = is_view(n),
                     .constant = n->op != TN_OP_input,
                     .free = is_view(n),
                     .seconds = seconds_of(r, costs, n),
                     .expensive = is_expensive(n)};
    for (uint32_t i = 0; i < n->in_count; i++) {
        f.constant &= r->value[n->in[i]].constant;
        f.free &= r->value[n->in[i]].free;
    }
    f.free |= f.constant || n->op == TN_OP_input;
    return f;
}

static void describe(recompute *r) {
    tn_costs common = tn_costs_default();
    const tn_costs *costs = r->how->costs ? r->how->costs : &common;
    const tn_graph *g = r->in;
    r->forward = maker(r, r->how->loss) + 1;
    r->value = TN_NEW_N(r->arena, tn__forward, g->values.len);
    for (tn_node n = 0; n < r->forward; n++) {
        const tn_node_info *node = node_at(r, n);
        tn__forward f = forward_of(r, costs, node);
        for (uint32_t i = 0; i < node->out_count; i++) {
            r->value[node->out + i] = f;
            r->value[node->out + i].bytes = bytes_of(tn_graph_type(g, node->out + i));
        }
    }
    r->value[r->how->loss].ancestor = r->value[r->how->loss].free = true;
    for (tn_node n = r->forward; n-- > 0;) {
        const tn_node_info *node = node_at(r, n);
        bool needed = false;
        for (uint32_t i = 0; i < node->out_count; i++) needed |= r->value[node->out + i].ancestor;
        for (uint32_t i = 0; needed && i < node->in_count; i++)
            r->value[node->in[i]].ancestor = true;
    }
    for (tn_node n = r->forward; n < g->nodes.len; n++)
        for (uint32_t i = 0; i < node_at(r, n)->in_count; i++)
            r->value[node_at(r, n)->in[i]].read = true;
    for (uint32_t i = 0; i < g->outputs.len; i++)
        if (maker(r, g->outputs.data[i].value) < r->forward)
            r->value[g->outputs.data[i].value].free = true;
}

/* ---- what is kept by rule ------------------------------------------------------------------- */

static tn_value base_of(const recompute *r, tn_value v) {
    while (r->value[v].view && !r->value[v].free) v = tn_graph_producer(r->in, v)->in[0];
    return v;
}

static bool ends_block(const tn_node_info *n) {
    const tn_attrs_barrier *a = n->attrs;
    return n->op == TN_OP_barrier && a->block;
}

static tn_status keep_by_block(recompute *r, tn_error *err) {
    int blocks = 0, block = 0, every = TN_MAX(1, r->how->every);
    for (tn_node n = 0; n < r->forward; n++) blocks += ends_block(node_at(r, n));
    if (blocks == 0)
        return tn_error_set(err, TN_INVALID,
                            "recomputing by block: the loss has no blocks; models end each with "
                            "tn_block_end(x)");
    for (tn_node n = 0; n < r->forward; n++) {
        const tn_node_info *node = node_at(r, n);
        if (ends_block(node)) {
            r->value[base_of(r, node->in[0])].kept = true;
            block++;
        }
        for (uint32_t i = 0; i < node->out_count; i++)
            r->value[node->out + i].kept |= block == blocks || block % every != 0;
    }
    return TN_OK;
}

static void keep_by_operation(recompute *r) {
    for (tn_node n = 0; n < r->forward; n++)
        for (uint32_t i = 0; i < node_at(r, n)->out_count; i++)
            r->value[node_at(r, n)->out + i].kept = r->how->keep[node_at(r, n)->op];
}

static tn_status decide(recompute *r, tn_error *err) {
    if (r->how->rule == TN_RECOMPUTE_BY_BLOCK) TN_CHECK(keep_by_block(r, err));
    if (r->how->rule == TN_RECOMPUTE_BY_OPERATION) keep_by_operation(r);
    if (r->how->rule == TN_RECOMPUTE_BY_BUDGET)
        TN_CHECK(tn__recompute_cut(r->in, r->value, r->forward, r->how->budget, err));
    for (tn_node n = 0; n < r->forward; n++) {
        const tn_node_info *node = node_at(r, n);
        for (uint32_t i = 0; i < node->out_count; i++) {
            tn__forward *v = &r->value[node->out + i];
            v->kept = v->free || !v->ancestor || (v->kept && !v->view);
            if (v->view) v->kept |= r->value[node->in[0]].kept;
        }
    }
    return TN_OK;
}

/* ---- copies --------------------------------------------------------------------------------- */

/* Copies of kept values, and views of these, wait for the last product: late readers get new ones. */
static bool has_copy(const recompute *r, tn_value v) {
    return r->copy[v] != TN_NO_VALUE && (!r->value[v].kept || r->waits[v] == r->latest);
}

/* Whether there is a copy of `v`, or one without copying its node. */
static tn_status is_ready(recompute *r, tn_value v, bool *ready, tn_error *err) {
    const tn__forward *f = &r->value[v];
    *ready = true;
    if (f->constant) {
        r->copy[v] = r->map[v];
    } else if (!has_copy(r, v)) {
        *ready = f->kept && !f->view;
        if (!*ready) return TN_OK;
        const tn_value in[] = {r->map[v], r->latest};
        TN_CHECK(tn_graph_add(r->out, TN_OP_barrier, in, 2, NULL, NULL, &r->copy[v], err));
        r->waits[v] = r->latest;
    }
    return TN_OK;
}

/* A barrier of the model's is its operand. */
static tn_status copy_node(recompute *r, tn_node n, tn_error *err) {
    const tn_node_info *node = node_at(r, n);
    for (uint32_t i = 0; i < node->out_count; i++) r->waits[node->out + i] = r->latest;
    if (node->op == TN_OP_barrier) {
        r->copy[node->out] = r->copy[node->in[0]];
        return TN_OK;
    }
    r->copies += !is_view(node);
    return tn_graph_copy_node(r->out, r->in, n, r->copy, NULL, err);
}

/* The copy of `v`, after those of what it is made from. */
static tn_status compute_again(recompute *r, tn_value v, tn_error *err) {
    bool ready;
    r->todo.len = 0;
    tn_vec_push(r->arena, &r->todo, maker(r, v));
    while (r->todo.len) {
        tn_node n = r->todo.data[r->todo.len - 1];
        const tn_node_info *node = node_at(r, n);
        uint32_t before = r->todo.len;
        for (uint32_t i = 0; i < node->in_count; i++) {
            TN_CHECK(is_ready(r, node->in[i], &ready, err));
            if (!ready) tn_vec_push(r->arena, &r->todo, maker(r, node->in[i]));
        }
        if (r->todo.len > before) continue;
        r->todo.len--;
        if (!has_copy(r, node->out)) TN_CHECK(copy_node(r, n, err));
    }
    return TN_OK;
}

static tn_status copy_behind(recompute *r, tn_node n, tn_error *err) {
    const tn_node_info *node = node_at(r, n);
    tn_value *kept = TN_NEW_N(r->arena, tn_value, node->in_count);
    for (uint32_t i = 0; i < node->in_count; i++) {
        tn_value v = node->in[i];
        kept[i] = r->map[v];
        if (maker(r, v) >= r->forward || r->value[v].kept) continue;
        if (r->copy[v] == TN_NO_VALUE) TN_CHECK(compute_again(r, v, err));
        r->map[v] = r->copy[v];
    }
    TN_CHECK(tn_graph_copy_node(r->out, r->in, n, r->map, NULL, err));
    for (uint32_t i = node->in_count; i-- > 0;) r->map[node->in[i]] = kept[i];
    if (tn_op_rules_of(node->op)->lower.kind == TN_LOWER_CONTRACTION) r->latest = r->map[node->out];
    return TN_OK;
}

static void report(const recompute *r, tn_recompute_result *result) {
    *result = (tn_recompute_result){.copies = r->copies};
    bool *counted = TN_NEW_N(r->arena, bool, r->in->values.len);
    for (tn_node n = 0; n < r->forward; n++)
        for (uint32_t i = 0; i < node_at(r, n)->out_count; i++) {
            tn_value v = node_at(r, n)->out + i, base = base_of(r, v);
            if (!r->value[v].read || !r->value[v].kept || r->value[base].free || counted[base])
                continue;
            counted[base] = true;
            result->kept_bytes += (int64_t)r->value[base].bytes;
        }
}

tn_status tn_recompute_run(const tn_graph *in, const tn_recompute *how, tn_graph *out,
                           tn_recompute_result *result, tn_error *err) {
    recompute r = {.in = in, .out = out, .how = how, .arena = out->arena};
    r.map = TN_NEW_N(r.arena, tn_value, in->values.len);
    r.copy = TN_NEW_N(r.arena, tn_value, in->values.len);
    r.waits = TN_NEW_N(r.arena, tn_value, in->values.len);
    memset(r.copy, 0xff, in->values.len * sizeof *r.copy);
    describe(&r);
    TN_CHECK(decide(&r, err));
    for (tn_node n = 0; n < r.forward; n++)
        TN_CHECK(tn_graph_copy_node(out, in, n, r.map, NULL, err));
    r.latest = r.map[how->loss];
    for (tn_node n = r.forward; n < in->nodes.len; n++) TN_CHECK(copy_behind(&r, n, err));
    tn__pass_copy_outputs(in, out, r.map);
    report(&r, result);
    return TN_OK;
}
