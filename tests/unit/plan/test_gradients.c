/* Gradients of loops, branches and ragged products, through every way of running a plan. */
#include "ops/compose.h"
#include "ops/gradient.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

/* Outputs: y, and the gradients of Σ y² with respect to the inputs that are floats. */
static void out_with_gradients(tn_builder *b, tn_value y) {
    tn_value x[16], grads[16];
    int axes[TN_MAX_RANK], n = 0;
    for (int i = 0; i < TN_MAX_RANK; i++) axes[i] = i;
    for (uint32_t i = 0; i < b->graph->inputs.len; i++)
        if (tn_dtype_is_float(tn_b_type(b, b->graph->inputs.data[i]).dtype))
            x[n++] = b->graph->inputs.data[i];
    tn_value loss = tn_b_sum(b, tn_b_mul(b, y, y), axes, tn_b_rank(b, y), false);
    tn_b_gradient(b, loss, TN_NO_VALUE, x, n, grads);
    out(b, y);
    for (int i = 0; i < n; i++) out(b, grads[i]);
}

static void recurrent(tn_builder *b, tn_rnn_kind kind, tn_dim steps, tn_dim batch) {
    int64_t gates = kind == TN_RNN_LSTM ? 4 : 3, hidden = 8;
    tn_rnn o = {.kind = kind, .x = INPUT(b, steps, batch, 5)};
    o.w = INPUT(b, 1, gates * hidden, 5);
    o.r = INPUT(b, 1, gates * hidden, hidden);
    o.bias = INPUT(b, 1, 2 * gates * hidden);
    o.h0 = INPUT(b, 1, batch, hidden);
    o.c0 = kind == TN_RNN_LSTM ? INPUT(b, 1, batch, hidden) : TN_NO_VALUE;
    o.lengths = o.peephole = TN_NO_VALUE;
    out_with_gradients(b, tn_b_rnn(b, &o).y);
}
static void lstm(tn_builder *b) {
    recurrent(b, TN_RNN_LSTM, 3, 2);
}
static void gru(tn_builder *b) {
    recurrent(b, TN_RNN_GRU, 4, 3);
}
static void lstm_symbolic(tn_builder *b) {
    tn_dim steps = tn_dim_of_symbol(b->graph->dims, "T");
    recurrent(b, TN_RNN_LSTM, steps, tn_dim_of_symbol(b->graph->dims, "N"));
}

/* f(x, w) = sin(x · w) */
static tn_graph *step_body(tn_builder *b, const tn_shape *x, const tn_shape *w, bool counter) {
    tn_builder inner = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    tn_value i = TN_NO_VALUE;
    if (counter) i = tn_b_input(&inner, NULL, TN_i64, &(tn_shape){0});
    tn_value v = tn_b_input(&inner, NULL, TN_f32, x), m = tn_b_input(&inner, NULL, TN_f32, w);
    if (counter) tn_graph_add_output(inner.graph, tn_b_add_scalar(&inner, i, 1), NULL);
    tn_graph_add_output(inner.graph, tn_b_sin(&inner, dot(&inner, v, m)), NULL);
    if (b->status == TN_OK) b->status = inner.status;
    return inner.graph;
}

static void counted_while(tn_builder *b) {
    tn_value x = INPUT(b, 3, 4), w = INPUT(b, 4, 4);
    tn_shape xs = tn_b_type(b, x).shape, ws = tn_b_type(b, w).shape;
    tn_builder cond = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    tn_value i = tn_b_input(&cond, NULL, TN_i64, &(tn_shape){0});
    tn_b_input(&cond, NULL, TN_f32, &xs);
    tn_b_input(&cond, NULL, TN_f32, &ws);
    tn_graph_add_output(cond.graph, tn_b_lt(&cond, i, tn_b_scalar_int(&cond, TN_i64, 3)), NULL);
    tn_attrs_while a = {.states = 2, .cond = cond.graph, .body = step_body(b, &xs, &ws, true)};
    tn_value in[] = {tn_b_scalar_int(b, TN_i64, 0), x, w};
    out_with_gradients(b, tn_b_node(b, TN_OP_while, in, 3, &a) + 1);
}

static void empty_scan(tn_builder *b) {
    tn_value x = INPUT(b, 3, 4), w = INPUT(b, 4, 4);
    tn_shape xs = tn_b_type(b, x).shape, ws = tn_b_type(b, w).shape;
    tn_attrs_scan a = {.carries = 1, .length = 0, .body = step_body(b, &xs, &ws, false)};
    out_with_gradients(b, tn_b_node(b, TN_OP_scan, (tn_value[]){x, w}, 2, &a));
}

static void branches(tn_builder *b) {
    tn_value x = INPUT(b, 3, 4), w = INPUT(b, 4, 4);
    tn_shape xs = tn_b_type(b, x).shape, ws = tn_b_type(b, w).shape;
    tn_value flag = tn_b_gt(b, tn_b_sum(b, x, (int[]){0, 1}, 2, false), tn_b_scalar(b, TN_f32, 0));
    tn_builder other = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    tn_value v = tn_b_input(&other, NULL, TN_f32, &xs);
    tn_b_input(&other, NULL, TN_f32, &ws);
    tn_graph_add_output(other.graph, tn_b_tanh(&other, v), NULL);
    tn_attrs_if a = {.then_graph = step_body(b, &xs, &ws, false), .else_graph = other.graph};
    for (int turn = 0; turn < 2; turn++) {
        tn_value which = turn ? tn_b_not(b, flag) : flag;
        out_with_gradients(b, tn_b_node(b, TN_OP_if, (tn_value[]){which, x, w}, 3, &a));
    }
}

/* A mixture of three experts over rows that are sorted by expert; the last rows have none. */
static void experts(tn_builder *b) {
    tn_array sizes = tn_array_new(b->graph->arena, TN_i64, 1, (int64_t[]){3});
    memcpy(sizes.data, (int64_t[]){5, 0, 6}, sizeof(int64_t) * 3);
    tn_value x = INPUT(b, 13, 6), up = INPUT(b, 3, 6, 9), down = INPUT(b, 3, 9, 6);
    tn_value rows = tn_b_constant(b, &sizes);
    tn_attrs_ragged_dot a = {.acc = TN_f32};
    tn_value h = tn_b_node(b, TN_OP_ragged_dot, (tn_value[]){x, up, rows}, 3, &a);
    tn_value in[] = {tn_b_silu(b, h), down, rows};
    out_with_gradients(b, tn_b_node(b, TN_OP_ragged_dot, in, 3, &a));
}

static void products(tn_builder *b) {
    tn_value x = INPUT(b, 4, 6);
    tn_value y = tn_b_cumulative(b, TN_REDUCE_prod, x, 1, false, true);
    tn_attrs_window_reduce a = {.kind = TN_REDUCE_prod,
                                .window = {2, {1, 3}},
                                .stride = {2, {1, 1}},
                                .dilation = {2, {1, 1}},
                                .pad_lo = {2, {0, 1}},
                                .pad_hi = {2, {0, 1}},
                                .acc = TN_f32};
    out_with_gradients(b, tn_b_add(b, y, tn_b_node(b, TN_OP_window_reduce, &x, 1, &a)));
}

/* exp, whose gradient is said to be twice its own. */
static void own_gradient(tn_builder *b) {
    tn_value x = INPUT(b, 3, 4);
    tn_shape shape = tn_b_type(b, x).shape;
    tn_builder body = tn_builder_of(tn_graph_new_sub(b->graph), b->err), vjp = body;
    tn_graph_add_output(body.graph, tn_b_exp(&body, tn_b_input(&body, NULL, TN_f32, &shape)), NULL);
    vjp.graph = tn_graph_new_sub(b->graph);
    tn_b_input(&vjp, NULL, TN_f32, &shape);
    tn_value y = tn_b_input(&vjp, NULL, TN_f32, &shape), d = tn_b_input(&vjp, NULL, TN_f32, &shape);
    tn_graph_add_output(vjp.graph, tn_b_mul_scalar(&vjp, tn_b_mul(&vjp, d, y), 2), NULL);
    tn_attrs_custom a = {.differentiable = 1, .body = body.graph, .vjp = vjp.graph};
    out_with_gradients(b, tn_b_node(b, TN_OP_custom, &x, 1, &a));
}

/* ---- running -------------------------------------------------------------------------------- */

enum { COMPILED = 3 };

static const struct {
    build_graph *build;
    const char *label;
    int64_t symbols[2];
} cases[] = {
    {lstm, "lstm", {0, 0}},
    {experts, "experts", {0, 0}},
    {branches, "branches", {0, 0}},
    {gru, "gru", {0, 0}}, /* from here on interpreted only */
    {lstm_symbolic, "lstm_symbolic 5 2", {5, 2}},
    {lstm_symbolic, "lstm_symbolic 1 1", {1, 1}},
    {counted_while, "counted_while", {0, 0}},
    {empty_scan, "empty_scan", {0, 0}},
    {products, "products", {0, 0}},
    {own_gradient, "own_gradient", {0, 0}},
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].label);
}

static void test_gradients__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, TN_COUNT(cases));
}

static void test_gradients__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, COMPILED);
}

/* The forward scan and the one that keeps more for the gradient are one loop. */
static void test_gradients__run_a_loop_once(void **state) {
    (void)state;
    tn_arena arena;
    const char *note = NULL;
    tn_program p;
    uint32_t loops = 0;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *c = make_case(&arena, 0, &note);
    if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &p)) fail_msg("%s", c->why);
    for (uint32_t i = 0; i < p.blocks.data[0].steps.len; i++)
        loops += p.blocks.data[0].steps.data[i].kind == TN_STEP_SCAN;
    assert_int_equal(loops, 2);
    tn_arena_deinit(&arena);
}

/* The cotangents of recurrent weights are no carries of the loop, which are those of the states alone. */
static void test_gradients__sum_over_steps_behind_the_loop(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        uint32_t states = cases[i].build == lstm ? 2 : cases[i].build == gru ? 1 : 0;
        tn_arena arena;
        const char *note = NULL;
        tn_program p;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = make_case(&arena, i, &note);
        if (states && !plan_program_of(c, PLAN_FUSED, tn_target_native(), &p))
            fail_msg("%s", c->why);
        for (uint32_t k = 0; states && k < p.blocks.data[0].steps.len; k++) {
            const tn_prog_step *s = &p.blocks.data[0].steps.data[k];
            if (s->kind == TN_STEP_SCAN && s->loop->states != states)
                fail_msg("%s: a loop of %u states", c->label, s->loop->states);
        }
        tn_arena_deinit(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients__interpreted),
        cmocka_unit_test(test_gradients__compiled),
        cmocka_unit_test(test_gradients__run_a_loop_once),
        cmocka_unit_test(test_gradients__sum_over_steps_behind_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
