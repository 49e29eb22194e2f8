/* Right operands that stay the same in all iterations of a loop: results against eval, and how often they
 * are packed before the loop. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

enum { K = 20 };

/* A step of a carry; w: the invariants. */
typedef tn_value make_step(tn_builder *b, tn_value x, const tn_value *w);

/* Small enough that rounding errors do not grow from step to step. */
static tn_value small(tn_builder *b, tn_value y) {
    return tn_b_tanh(b, tn_b_mul(b, y, tn_b_scalar(b, TN_f32, 0.2)));
}

static tn_value times(tn_builder *b, tn_value x, const tn_value *w) {
    return small(b, dot(b, x, w[0]));
}

/* Inputs of a body for values outside. */
static void pass_in(tn_builder *outer, tn_builder *inner, const tn_value *in, int count,
                    tn_value *at) {
    for (int i = 0; i < count; i++) {
        tn_type type = tn_b_type(outer, in[i]);
        at[i] = tn_b_input(inner, NULL, type.dtype, &type.shape);
    }
}

/* x after `steps` steps; in: x and the invariants. */
static tn_value scan(tn_builder *b, tn_dim steps, make_step *step, const tn_value *in, int count) {
    tn_builder inner = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    tn_value at[4];
    pass_in(b, &inner, in, count, at);
    tn_graph_add_output(inner.graph, step(&inner, at[0], at + 1), NULL);
    tn_attrs_scan a = {.carries = 1, .length = steps, .body = inner.graph};
    if (b->status == TN_OK) b->status = inner.status;
    return tn_b_node(b, TN_OP_scan, in, (uint32_t)count, &a);
}

static void run(tn_builder *b, tn_dim steps, make_step *step, tn_value x, tn_value w) {
    out(b, scan(b, steps, step, (tn_value[]){x, w}, 2));
}

/* ---- packed before the loop ----------------------------------------------------------------- */

static void rows_in_place(tn_builder *b) {
    run(b, 5, times, INPUT(b, 7, K), INPUT(b, K, K));
}
static void open_sizes(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), t = tn_dim_of_symbol(b->graph->dims, "T");
    run(b, t, times, INPUT(b, n, K), INPUT(b, K, K));
}
static tn_value turned_step(tn_builder *b, tn_value x, const tn_value *w) {
    return small(b, tn_b_linear(b, x, w[0], TN_NO_VALUE));
}
static tn_value filled_step(tn_builder *b, tn_value x, const tn_value *w) { /* of an open size */
    tn_shape square = {2, {tn_b_dim(b, x, 1), tn_b_dim(b, x, 1)}};
    tn_value fill = tn_b_full(b, TN_f32, &square, 0.05);
    return times(b, times(b, x, w), &fill);
}
static void open_constant(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N");
    run(b, 5, filled_step, INPUT(b, 7, n), INPUT(b, n, n));
}
static void turned(tn_builder *b) {
    run(b, 4, turned_step, INPUT(b, 9, 37), INPUT(b, 37, 37));
}
static tn_value viewed_step(tn_builder *b, tn_value x, const tn_value *w) {
    return small(b, dot(b, x, tn_b_slice_axis(b, tn_b_swap(b, w[0], 0, 1), 0, 2, K, 1)));
}
static void through_views(tn_builder *b) {
    run(b, 6, viewed_step, INPUT(b, 3, K), INPUT(b, K, K + 5));
}
static void gates(tn_builder *b) { /* siblings, whose panels one pack makes */
    tn_rnn o = {.kind = TN_RNN_LSTM, .x = INPUT(b, 5, 3, 6)};
    o.w = INPUT(b, 1, 4 * K, 6), o.r = INPUT(b, 1, 4 * K, K), o.bias = INPUT(b, 1, 8 * K);
    o.h0 = o.c0 = o.peephole = o.lengths = TN_NO_VALUE;
    out(b, tn_b_rnn(b, &o).y);
}
static void two_loops(tn_builder *b) { /* share what is packed */
    tn_value w = INPUT(b, K, K), x = scan(b, 5, times, (tn_value[]){INPUT(b, 7, K), w}, 2);
    run(b, 6, times, tn_b_add(b, x, INPUT(b, 7, K)), w);
}
static tn_value inner_scan(tn_builder *b, tn_value x, const tn_value *w) {
    return scan(b, 4, times, (tn_value[]){x, w[0]}, 2);
}
static void nested(tn_builder *b) { /* before the inner loop, in the body of the outer one */
    run(b, 4, inner_scan, INPUT(b, 7, K), INPUT(b, K, K));
}
static void batches(tn_builder *b) {
    run(b, 5, times, INPUT(b, 2, 7, K), INPUT(b, 2, K, K));
}
static void until(tn_builder *b) {
    tn_value in[] = {tn_b_scalar_int(b, TN_i64, 0), INPUT(b, 7, K), INPUT(b, K, K)}, at[3];
    tn_builder cond = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    tn_builder body = tn_builder_of(tn_graph_new_sub(b->graph), b->err);
    pass_in(b, &cond, in, 3, at); /* a product here, too */
    tn_value sum = tn_b_sum(&cond, dot(&cond, at[1], at[2]), (int[]){0, 1}, 2, false);
    tn_value on = tn_b_lt(&cond, at[0], tn_b_scalar_int(&cond, TN_i64, 5));
    tn_value finite = tn_b_lt(&cond, sum, tn_b_scalar(&cond, TN_f32, 1e30));
    tn_graph_add_output(cond.graph, tn_b_and(&cond, on, finite), NULL);
    pass_in(b, &body, in, 3, at);
    tn_graph_add_output(body.graph, tn_b_add_scalar(&body, at[0], 1), NULL);
    tn_graph_add_output(body.graph, times(&body, at[1], at + 2), NULL);
    if (b->status == TN_OK) b->status = cond.status ? cond.status : body.status;
    tn_attrs_while a = {.states = 2, .cond = cond.graph, .body = body.graph};
    out(b, tn_b_node(b, TN_OP_while, in, 3, &a) + 1);
}

/* ---- packed in `prepare` -------------------------------------------------------------------- */

static void constants(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N");
    tn_value w = WEIGHTS(b, K, K);
    run(b, 5, times, times(b, INPUT(b, n, K), &w), w);
}
static void filtered_images(tn_builder *b) { /* whose number is open */
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N");
    tn_attrs_conv a = {.acc = TN_f32, .stride = {2, {1, 1}}};
    a.window_dilation = a.base_dilation = a.pad_lo = a.pad_hi = a.stride;
    tn_value in[] = {INPUT(b, n, 16, 16, 32), WEIGHTS(b, 3, 3, 32, 32)};
    out(b, tn_b_node(b, TN_OP_conv, in, 2, &a));
}

/* ---- left to the step ----------------------------------------------------------------------- */

static void few_iterations(tn_builder *b) {
    run(b, 3, times, INPUT(b, 7, K), INPUT(b, K, K));
}
static void many_rows(tn_builder *b) {
    run(b, 4, times, INPUT(b, 600, K), INPUT(b, K, K));
}
static tn_value growing_step(tn_builder *b, tn_value x, const tn_value *w) {
    return small(b, dot(b, x, tn_b_add(b, w[0], x)));
}
static void a_carry(tn_builder *b) {
    run(b, 5, growing_step, INPUT(b, K, K), INPUT(b, K, K));
}
static tn_value stored_step(tn_builder *b, tn_value x, const tn_value *w) { /* in each step */
    return small(b, dot(b, x, tn_b_softmax(b, w[0], 1)));
}
static void made_in_the_body(tn_builder *b) {
    run(b, 5, stored_step, INPUT(b, 7, K), INPUT(b, K, K));
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct invariant_case {
    build_graph *build;
    const char *name;
    uint32_t outside, inside; /* packs in the outermost block; in others */
    const int64_t *symbols;
} invariant_case;

#define CASE(build, outside, inside)                                                               \
    { build, #build, outside, inside, NULL }

static const invariant_case cases[] = {
    CASE(rows_in_place, 1, 0),
    {open_sizes, "open_sizes", 1, 0, (const int64_t[]){3, 5}},
    {open_constant, "open_constant", 2, 0, (const int64_t[]){18}},
    CASE(turned, 1, 0),
    CASE(through_views, 1, 0),
    CASE(gates, 1, 0),
    CASE(two_loops, 1, 0),
    CASE(nested, 0, 1),
    CASE(batches, 1, 0),
    CASE(until, 2, 0), /* the condition folds its product, in other tiles */
    {constants, "constants", 0, 0, (const int64_t[]){6}},
    {filtered_images, "filtered_images", 0, 0, (const int64_t[]){1}},
    CASE(few_iterations, 0, 0),
    CASE(many_rows, 0, 0),
    CASE(a_carry, 0, 0),
    CASE(made_in_the_body, 0, 0),
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].name);
}

static void test_invariants__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, TN_COUNT(cases));
}

static void test_invariants__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

static uint32_t count_packs(const tn_program *p, uint32_t block) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->blocks.data[block].steps.len; i++) {
        const tn_prog_step *s = &p->blocks.data[block].steps.data[i];
        count += s->kind == TN_STEP_KERNEL && !strcmp(s->name, "pack");
    }
    return count;
}

static void test_invariants__are_packed_before_the_loop(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_arena arena;
        const char *note;
        tn_program p;
        uint32_t inside = 0;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = make_case(&arena, i, &note);
        if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &p)) fail_msg("%s", c->why);
        for (uint32_t k = 0; k < p.blocks.len; k++)
            if (k != TN_BLOCK_MAIN && k != TN_BLOCK_PREPARE) inside += count_packs(&p, k);
        uint32_t outside = count_packs(&p, TN_BLOCK_MAIN);
        if (outside != cases[i].outside || inside != cases[i].inside)
            fail_msg("%s: %u packs outside and %u inside of loops, expected %u and %u",
                     cases[i].name, outside, inside, cases[i].outside, cases[i].inside);
        tn_arena_deinit(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invariants__interpreted),
        cmocka_unit_test(test_invariants__compiled),
        cmocka_unit_test(test_invariants__are_packed_before_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
