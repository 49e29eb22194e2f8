/* Members through call, if, scan, while and custom.
 *
 * What a loop hands on carries the axis only where it may differ between members, found as the least
 * fixed point over the body; so a counter stays a scalar, and a loop that it ends stays one that is
 * counted. A while whose condition differs runs while any member goes on, and those that are done keep
 * their states. A flag that differs computes both branches, of which each member takes its own. In both
 * cases some members compute what nobody wants: `live` is what tells them apart inside, where a loop
 * must end and an index must be no error. */
#include "ops/batch.h"
#include "ops/control.h"

/* ---- bodies --------------------------------------------------------------------------------- */

/* Adds the body for all members; out[p] carries the axis where carried[p]. */
static void batch_in_place(tn_builder *b, const tn_graph *body, const tn_batching *how,
                           const tn_value *in, const bool *flags, tn_value *out, bool *carried) {
    tn_value *map = tn__body_map(b, body, in);
    bool *carries = TN_NEW_N(b->graph->arena, bool, body->values.len);
    for (uint32_t p = 0; p < body->inputs.len; p++) carries[body->inputs.data[p]] = flags[p];
    tn_b_batch_nodes(b, body, how, map, carries);
    for (uint32_t p = 0; p < body->outputs.len && tn_b_ok(b); p++) {
        out[p] = map[body->outputs.data[p].value];
        carried[p] = carries[body->outputs.data[p].value];
    }
}

static tn_value wide_input(tn_builder *b, const tn_type *type, bool carries, tn_dim size) {
    tn_type wide = *type;
    if (carries && wide.shape.rank == TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "an input of the body has %d axes already",
                         TN_MAX_RANK);
    if (carries) wide.shape = tn_shape_with_front(&wide.shape, size);
    return tn_b_input(b, NULL, wide.dtype, &wide.shape);
}

static tn_value flags_input(tn_builder *b, tn_dim size) {
    tn_shape shape = {.rank = 1, .dim = {size}};
    return tn_b_input(b, NULL, TN_bool, &shape);
}

static uint32_t has_live(const tn_batching *how) {
    return how->live != TN_NO_VALUE;
}

/* A sub-graph being made for all members of a body. */
typedef struct wide_body {
    tn_builder b;
    tn_batching how; /* in the sub-graph */
    tn_value *in;    /* for each input of the body */
    tn_value turn;   /* its number, in a loop that counts; else TN_NO_VALUE */
} wide_body;

/* What a body has beside its own inputs. */
typedef enum more_inputs {
    LIVE_IF_ANY, /* the flags of live members, where there are any */
    LIVE,
    LIVE_AND_TURN,
} more_inputs;

/* Its inputs: those of the body, and before number `live_at` those in `more`. */
static wide_body body_begin(tn_builder *b, const tn_graph *body, const tn_batching *how,
                            const bool *flags, uint32_t live_at, more_inputs more) {
    tn_graph *sub = tn_graph_new_sub(b->graph);
    wide_body w = {tn_builder_of(sub, b->err), *how,
                   TN_NEW_N(sub->arena, tn_value, body->inputs.len), TN_NO_VALUE};
    bool live = more != LIVE_IF_ANY || has_live(how);
    const tn_shape scalar = {0};
    w.b.name = b->name;
    for (uint32_t p = 0; p <= body->inputs.len && tn_b_ok(&w.b); p++) {
        if (p == live_at && live) w.how.live = flags_input(&w.b, how->size);
        if (p == live_at && more == LIVE_AND_TURN) w.turn = tn_b_input(&w.b, NULL, TN_i32, &scalar);
        if (p == body->inputs.len) break;
        const tn_type *type = tn_graph_type(body, body->inputs.data[p]);
        w.in[p] = wide_input(&w.b, type, flags[p], how->size);
    }
    return w;
}

static tn_graph *body_end(tn_builder *b, wide_body *w, const tn_value *out, uint32_t count) {
    for (uint32_t p = 0; p < count && tn_b_ok(&w->b); p++)
        tn_graph_add_output(w->b.graph, out[p], NULL);
    if (tn_b_ok(b)) b->status = w->b.status;
    return w->b.graph;
}

/* The body for all members as a sub-graph. Results with carried[p] shall carry the axis; it tells which
 * do. */
static tn_graph *batch_body(tn_builder *b, const tn_graph *body, const tn_batching *how,
                            const bool *flags, uint32_t live_at, bool *carried) {
    uint32_t count = body->outputs.len;
    tn_value *out = TN_NEW_N(b->graph->arena, tn_value, count);
    bool *found = TN_NEW_N(b->graph->arena, bool, count);
    wide_body w = body_begin(b, body, how, flags, live_at, LIVE_IF_ANY);
    if (tn_b_ok(&w.b)) batch_in_place(&w.b, body, &w.how, w.in, flags, out, found);
    for (uint32_t p = 0; p < count && tn_b_ok(&w.b); p++) {
        if (carried[p]) out[p] = tn_batch_operand(&w.b, out[p], found[p], how->size);
        carried[p] = carried[p] || found[p];
    }
    return body_end(b, &w, out, count);
}

/* The operands with the flags of live members behind number `at`. */
static tn_value *with_live(tn_builder *b, const tn_batching *how, const tn_value *in, uint32_t n,
                           uint32_t at) {
    tn_value *all = TN_NEW_N(b->graph->arena, tn_value, n + 1);
    memcpy(all, in, sizeof *all * at);
    if (has_live(how)) all[at] = how->live;
    memcpy(all + at + has_live(how), in + at, sizeof *all * (n - at));
    return all;
}

/* Adds a control node of as many results as `n`. */
static void control_node(tn_builder *b, const tn_node_info *n, const tn_value *in, uint32_t count,
                         const void *attrs, tn_value *out) {
    tn_value first = tn_b_node(b, n->op, in, count, attrs);
    for (uint32_t p = 0; p < n->out_count; p++)
        out[p] = first == TN_NO_VALUE ? TN_NO_VALUE : first + p;
}

void tn__call_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_batching *how,
                    const tn_value *in, const bool *batched, tn_value *out) {
    (void)g;
    bool *carried = TN_NEW_N(b->graph->arena, bool, n->out_count);
    batch_in_place(b, ((const tn_attrs_call *)n->attrs)->body, how, in, batched, out, carried);
}

/* ---- gates ---------------------------------------------------------------------------------- */

/* x, whose cotangents are those of the members in `flag` only: what another one computes may have a
 * derivative that is infinite, and a cotangent of 0 would make that NaN. */
static tn_value gate(tn_builder *b, tn_value flag, tn_value x) {
    tn_type type = tn_b_type(b, x), flags = tn_b_type(b, flag);
    tn_attrs_custom a = {
        .differentiable = 1, .body = tn_graph_new_sub(b->graph), .vjp = tn_graph_new_sub(b->graph)};
    tn_builder body = tn_builder_of(a.body, b->err), back = tn_builder_of(a.vjp, b->err);
    tn_value y = tn_b_input(&body, NULL, type.dtype, &type.shape);
    tn_b_input(&body, NULL, TN_bool, &flags.shape);
    if (tn_b_ok(&body)) tn_graph_add_output(a.body, y, NULL);
    tn_b_input(&back, NULL, type.dtype, &type.shape);
    tn_value wanted = tn_b_input(&back, NULL, TN_bool, &flags.shape);
    tn_b_input(&back, NULL, type.dtype, &type.shape);
    tn_value d = tn_b_input(&back, NULL, type.dtype, &type.shape);
    d = tn_batch_select(&back, wanted, d, tn_b_full(&back, type.dtype, &type.shape, 0));
    if (tn_b_ok(&back)) tn_graph_add_output(a.vjp, d, NULL);
    if (tn_b_ok(b)) b->status = tn_b_ok(&body) ? back.status : body.status;
    return tn_b_node(b, TN_OP_custom, (tn_value[]){x, flag}, 2, &a);
}

/* Floats get gates for the members that are live, and with these the axis. */
static void gate_operands(tn_builder *b, const tn_batching *how, tn_value *in, bool *flags,
                          uint32_t count) {
    for (uint32_t p = 0; p < count; p++) {
        if (!tn_dtype_is_float(tn_b_type(b, in[p]).dtype)) continue;
        in[p] = gate(b, how->live, tn_batch_operand(b, in[p], flags[p], how->size));
        flags[p] = true;
    }
}

/* ---- loops ---------------------------------------------------------------------------------- */

/* Adds to `flags` the states that differ between members because what the body makes of them does. */
static void states_that_differ(tn_builder *b, const tn_graph *body, const tn_batching *how,
                               uint32_t states, bool *flags) {
    for (bool more = true; more;) {
        const bool *carries = tn_batch_carries(b, body, how, flags);
        more = false;
        for (uint32_t p = 0; p < states; p++) {
            if (flags[p] || !carries[body->outputs.data[p].value]) continue;
            flags[p] = more = true;
        }
    }
}

/* What is sliced carries the axis behind the steps, and so do the stacked results. */
void tn__scan_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_batching *how,
                    const tn_value *in, const bool *batched, tn_value *out) {
    (void)g;
    tn_attrs_scan a = *(const tn_attrs_scan *)n->attrs;
    uint32_t carries = (uint32_t)a.carries, count = n->in_count;
    bool *flags = tn_arena_dup(b->graph->arena, batched, sizeof *flags * count);
    bool *carried = TN_NEW_N(b->graph->arena, bool, n->out_count);
    tn_value *all = with_live(b, how, in, count, count);
    states_that_differ(b, a.body, how, carries, flags);
    for (uint32_t p = 0; p < carries; p++) {
        carried[p] = flags[p];
        if (flags[p]) all[p] = tn_batch_operand(b, in[p], batched[p], how->size);
    }
    for (uint32_t p = carries; p < carries + (uint32_t)a.slices; p++)
        if (batched[p]) all[p] = tn_b_move(b, in[p], 0, 1);
    a.body = batch_body(b, a.body, how, flags, count, carried);
    control_node(b, n, all, count + has_live(how), &a, out);
    for (uint32_t p = carries; p < n->out_count && tn_b_ok(b); p++)
        if (carried[p]) out[p] = tn_b_move(b, out[p], 1, 0);
}

static tn_value any_member(tn_builder *b, tn_value flag) {
    return tn_b_reduce(b, TN_REDUCE_max, flag, (int[]){0}, 1, false);
}

/* The condition for all members, false for those that are not live. */
static tn_value going_on(tn_builder *b, const tn_graph *cond, const tn_batching *how,
                         const tn_value *in, const bool *flags) {
    tn_value flag = TN_NO_VALUE;
    bool carried = false;
    batch_in_place(b, cond, how, in, flags, &flag, &carried);
    flag = tn_batch_operand(b, flag, carried, how->size);
    return has_live(how) ? tn_b_and(b, flag, how->live) : flag;
}

/* A loop of which some members take fewer turns than others. */
typedef struct apart_loop {
    const tn_attrs_while *a;
    const tn_batching *how;
    const bool *flags; /* operands that carry the axis */
    int64_t most;      /* turns, where constants bound them: then it counts, and has a gradient */
    bool counts;
} apart_loop;

static wide_body apart_begin(tn_builder *b, const apart_loop *l) {
    return body_begin(b, l->a->body, l->how, l->flags, (uint32_t)l->a->states,
                      l->counts ? LIVE_AND_TURN : LIVE);
}

/* state…, which members go on, its number, invariant… → whether any does. */
static tn_graph *any_goes_on(tn_builder *b, const apart_loop *l) {
    wide_body w = apart_begin(b, l);
    tn_value any = any_member(&w.b, w.how.live);
    if (l->counts)
        any = tn_b_and(&w.b, any, tn_b_lt(&w.b, w.turn, tn_b_scalar_int(&w.b, TN_i32, l->most)));
    return body_end(b, &w, &any, 1);
}

/* The same → the states of the members that go on, which of them still do, and the next number. */
static tn_graph *while_step(tn_builder *b, const apart_loop *l) {
    const tn_attrs_while *a = l->a;
    uint32_t states = (uint32_t)a->states, count = a->body->inputs.len;
    wide_body w = apart_begin(b, l);
    tn_value *out = TN_NEW_N(b->graph->arena, tn_value, states + 2);
    tn_value *in = tn_arena_dup(b->graph->arena, w.in, sizeof *in * count);
    bool *flags = tn_arena_dup(b->graph->arena, l->flags, sizeof *flags * count);
    bool *found = TN_NEW_N(b->graph->arena, bool, states);
    if (tn_b_ok(&w.b) && l->counts) gate_operands(&w.b, &w.how, in, flags, count);
    if (tn_b_ok(&w.b)) batch_in_place(&w.b, a->body, &w.how, in, flags, out, found);
    for (uint32_t p = 0; p < states && tn_b_ok(&w.b); p++) {
        if (!l->flags[p]) {
            out[p] = w.in[p]; /* it never changes */
            continue;
        }
        out[p] = tn_batch_operand(&w.b, out[p], found[p], l->how->size);
        out[p] = w.in[p] = tn_batch_select(&w.b, w.how.live, out[p], w.in[p]);
    }
    if (tn_b_ok(&w.b)) out[states] = going_on(&w.b, a->cond, &w.how, w.in, l->flags);
    if (l->counts) out[states + 1] = tn_b_add(&w.b, w.turn, tn_b_scalar_int(&w.b, TN_i32, 1));
    return body_end(b, &w, out, states + 1 + l->counts);
}

/* A condition that differs: every state that changes may stop changing at another time. */
static void while_apart(tn_builder *b, const tn_node_info *n, const tn_batching *how,
                        const tn_value *in, const bool *batched, bool *flags, tn_value *out) {
    const tn_attrs_while *a = n->attrs;
    apart_loop l = {.a = a, .how = how, .flags = flags};
    uint32_t states = (uint32_t)a->states, count = n->in_count;
    l.counts = tn__while_bound(b->graph, a, in, &l.most);
    tn_value *all = TN_NEW_N(b->graph->arena, tn_value, count + 2);
    for (uint32_t p = 0; p < states; p++)
        flags[p] = flags[p] || a->body->outputs.data[p].value != a->body->inputs.data[p];
    for (uint32_t p = 0; p < count; p++)
        all[p] = flags[p] ? tn_batch_operand(b, in[p], batched[p], how->size) : in[p];
    tn_value going = going_on(b, a->cond, how, all, flags);
    uint32_t more = 1 + l.counts;
    memmove(all + states + more, all + states, sizeof *all * (count - states));
    all[states] = going;
    if (l.counts) all[states + 1] = tn_b_scalar_int(b, TN_i32, 0);
    tn_attrs_while wide = {.states = a->states + more};
    wide.cond = any_goes_on(b, &l);
    if (tn_b_ok(b)) wide.body = while_step(b, &l);
    if (tn_b_ok(b)) control_node(b, n, all, count + more, &wide, out);
}

static void while_together(tn_builder *b, const tn_node_info *n, const tn_batching *how,
                           const tn_value *in, const bool *batched, bool *flags, tn_value *out) {
    tn_attrs_while a = *(const tn_attrs_while *)n->attrs;
    uint32_t count = n->in_count;
    bool *carried = tn_arena_dup(b->graph->arena, flags, sizeof *flags * (uint32_t)a.states);
    bool none = false;
    tn_value *all = with_live(b, how, in, count, count);
    for (uint32_t p = 0; p < (uint32_t)a.states; p++)
        if (flags[p]) all[p] = tn_batch_operand(b, in[p], batched[p], how->size);
    a.cond = batch_body(b, a.cond, how, flags, count, &none);
    if (tn_b_ok(b)) a.body = batch_body(b, a.body, how, flags, count, carried);
    if (tn_b_ok(b)) control_node(b, n, all, count + has_live(how), &a, out);
}

/* A loop that is not counted may be endless for members that should not run it. */
void tn__while_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                     const tn_batching *how, const tn_value *in, const bool *batched,
                     tn_value *out) {
    const tn_attrs_while *a = n->attrs;
    bool *flags = tn_arena_dup(b->graph->arena, batched, sizeof *flags * n->in_count);
    int64_t trips;
    states_that_differ(b, a->body, how, (uint32_t)a->states, flags);
    const bool *carries = tn_batch_carries(b, a->cond, how, flags);
    bool apart = carries[a->cond->outputs.data[0].value] ||
                 (has_live(how) && !tn__while_trips(g, a, n->in, &trips));
    (apart ? while_apart : while_together)(b, n, how, in, batched, flags, out);
}

/* ---- if ------------------------------------------------------------------------------------- */

/* The branch for all members, of which those in `flag` take it. */
static void batch_branch(tn_builder *b, const tn_graph *branch, const tn_batching *how,
                         tn_value flag, const tn_value *in, const bool *batched, tn_value *out) {
    uint32_t count = branch->inputs.len;
    tn_value *all = tn_arena_dup(b->graph->arena, in, sizeof *all * count);
    bool *flags = tn_arena_dup(b->graph->arena, batched, sizeof *flags * count);
    bool *carried = TN_NEW_N(b->graph->arena, bool, branch->outputs.len);
    tn_batching inside = *how;
    inside.live = has_live(how) ? tn_b_and(b, how->live, flag) : flag;
    gate_operands(b, &inside, all, flags, count);
    if (tn_b_ok(b)) batch_in_place(b, branch, &inside, all, flags, out, carried);
    for (uint32_t p = 0; p < branch->outputs.len && tn_b_ok(b); p++)
        out[p] = tn_batch_operand(b, out[p], carried[p], how->size);
}

/* Flags that differ need both results: the operations are total, so the other one does no harm. */
static void if_apart(tn_builder *b, const tn_node_info *n, const tn_batching *how,
                     const tn_value *in, const bool *batched, tn_value *out) {
    const tn_attrs_if *a = n->attrs;
    tn_value *no = TN_NEW_N(b->graph->arena, tn_value, n->out_count);
    batch_branch(b, a->then_graph, how, in[0], in + 1, batched + 1, out);
    if (tn_b_ok(b))
        batch_branch(b, a->else_graph, how, tn_b_not(b, in[0]), in + 1, batched + 1, no);
    for (uint32_t p = 0; p < n->out_count && tn_b_ok(b); p++)
        out[p] = tn_batch_select(b, in[0], out[p], no[p]);
}

/* A flag for all members chooses between batched branches. */
void tn__if_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_batching *how,
                  const tn_value *in, const bool *batched, tn_value *out) {
    (void)g;
    if (batched[0]) {
        if_apart(b, n, how, in, batched, out);
        return;
    }
    tn_attrs_if a = *(const tn_attrs_if *)n->attrs;
    uint32_t count = n->in_count - 1;
    bool *carried = TN_NEW_N(b->graph->arena, bool, n->out_count);
    for (uint32_t p = 0; p < n->out_count; p++) carried[p] = true;
    a.then_graph = batch_body(b, a.then_graph, how, batched + 1, count, carried);
    if (tn_b_ok(b)) a.else_graph = batch_body(b, a.else_graph, how, batched + 1, count, carried);
    if (tn_b_ok(b))
        control_node(b, n, with_live(b, how, in, n->in_count, n->in_count),
                     n->in_count + has_live(how), &a, out);
}

/* ---- custom --------------------------------------------------------------------------------- */

/* Cotangents of operands that all members share are summed over them. */
static tn_graph *batch_vjp(tn_builder *b, const tn_attrs_custom *a, const tn_batching *how,
                           const bool *flags, uint32_t operands) {
    uint32_t count = a->vjp->outputs.len, at = 0;
    tn_value *out = TN_NEW_N(b->graph->arena, tn_value, count);
    bool *found = TN_NEW_N(b->graph->arena, bool, count);
    wide_body w = body_begin(b, a->vjp, how, flags, operands, LIVE_IF_ANY);
    if (tn_b_ok(&w.b)) batch_in_place(&w.b, a->vjp, &w.how, w.in, flags, out, found);
    for (uint32_t p = 0; p < (uint32_t)a->differentiable && tn_b_ok(&w.b); p++) {
        if (!tn_dtype_is_float(tn_graph_type(a->vjp, a->vjp->inputs.data[p])->dtype)) continue;
        out[at] = tn_batch_operand(&w.b, out[at], found[at], how->size);
        if (!flags[p]) out[at] = tn_b_sum(&w.b, out[at], (int[]){0}, 1, false);
        at++;
    }
    return body_end(b, &w, out, count);
}

/* All results carry the axis, so that each has a cotangent for each member. */
void tn__custom_batch(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                      const tn_batching *how, const tn_value *in, const bool *batched,
                      tn_value *out) {
    (void)g;
    tn_attrs_custom a = *(const tn_attrs_custom *)n->attrs;
    uint32_t count = n->in_count;
    bool *flags = TN_NEW_N(b->graph->arena, bool, count + 2 * n->out_count);
    bool *carried = TN_NEW_N(b->graph->arena, bool, n->out_count);
    memcpy(flags, batched, sizeof *flags * count);
    for (uint32_t p = 0; p < 2 * n->out_count; p++) flags[count + p] = true;
    for (uint32_t p = 0; p < n->out_count; p++) carried[p] = true;
    tn_attrs_custom wide = a;
    wide.body = batch_body(b, a.body, how, flags, count, carried);
    if (tn_b_ok(b)) wide.vjp = batch_vjp(b, &a, how, flags, count);
    if (tn_b_ok(b))
        control_node(b, n, with_live(b, how, in, count, count), count + has_live(how), &wide, out);
}
