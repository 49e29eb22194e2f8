#include "unit/ops/op_test.h"

static void test_eval__runs_a_graph_with_open_sizes(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 2);
    tn_value x = op_input(t, TN_f32, SHAPE_OF(n, 2));
    tn_value y = tn_b_sum(&t->b, tn_b_mul(&t->b, x, x), (int[]){0}, 1, false);
    tn_graph_add_output(t->g, y, "y");
    tn_graph_add_output(t->g, x, "x");
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4}), out[2];
    op_test_ok(t, tn_eval_graph(t->g, &in, t->bindings, out, &t->arena, &t->err));
    EXPECT_NUMBERS(&out[0], 10, 20);
    assert_ptr_equal(out[1].data, in.data);
}

static tn_status eval_with(op_test *t, tn_array in) {
    tn_array out;
    return tn_eval_graph(t->g, &in, t->bindings, &out, &t->arena, &t->err);
}

static void expect_message(const op_test *t, tn_status status, const char *part) {
    char text[2048];
    tn_error_format(&t->err, text, sizeof text);
    assert_int_equal(status, TN_INVALID);
    if (!strstr(text, part)) fail_msg("no '%s' in: %s", part, text);
}

static void test_eval__refuses_inputs_of_another_type(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 3);
    tn_shape shape = SHAPE_OF(n);
    tn_value x = tn_b_input(&t->b, "image", TN_f32, &shape);
    tn_graph_add_output(t->g, x, NULL);
    tn_status s = eval_with(t, op_array(t, &(tn_type){TN_f64, shape}));
    expect_message(t, s, "input 0 ('image') has type f64; expected f32");
    s = eval_with(t, op_array(t, &(tn_type){TN_f32, SHAPE_OF(2)}));
    expect_message(t, s, "axis 0 of input 0 ('image') has size 2; expected 3");
    s = eval_with(t, op_array(t, &(tn_type){TN_f32, SCALAR_SHAPE}));
    expect_message(t, s, "input 0 ('image') has 0 axes; expected 1");
}

static tn_status count_nodes(void *context, const tn_graph *g, tn_node n, const tn_array *out,
                             tn_error *err) {
    int *count = context;
    if (tn_graph_node(g, n)->op == TN_OP_neg) {
        assert_int_equal(tn_array_get(out, 0).i, -5);
        return tn_error_set(err, TN_RUNTIME, "seen enough");
    }
    ++*count;
    return TN_OK;
}

static void test_eval__shows_each_node_to_its_watcher(void **state) {
    op_test *t = *state;
    tn_value x = tn_b_scalar_int(&t->b, TN_i32, 5), y = tn_b_neg(&t->b, x);
    tn_b_abs(&t->b, y);
    int count = 0;
    tn_eval_watch watch = {count_nodes, &count};
    tn_status s = tn_eval_graph_watched(t->g, NULL, t->bindings, NULL, &t->arena, &watch, &t->err);
    assert_int_equal(s, TN_RUNTIME);
    assert_int_equal(count, 1);
}

static void test_eval__borrows_constants(void **state) {
    op_test *t = *state;
    tn_value x = tn_b_scalar(&t->b, TN_f32, 5);
    tn_array borrowed, out;
    assert_true(tn_graph_constant(t->g, x, &borrowed));
    op_eval_node(t, x, NULL, &out);
    assert_ptr_equal(out.data, borrowed.data);
}

/* A slot is a rule or a reason, never both and never neither. */
static void test_rules__every_slot_is_a_rule_or_a_reason(void **state) {
    (void)state;
    for (int op = 0; op < TN_OP_COUNT; op++) {
        const tn_op_rules *r = tn_op_rules_of((tn_op)op);
        const tn_lower *l = &r->lower;
        bool good = r->infer && r->eval && r->cost && !r->vjp.rule == !!r->vjp.refusal &&
                    !r->batch.rule == !!r->batch.refusal && !r->shard.rule == !!r->shard.refusal &&
                    (l->kind == TN_LOWER_REFUSED) == !!l->refusal &&
                    (l->kind == TN_LOWER_EXPRESSION) == !!l->expression &&
                    (l->kind == TN_LOWER_FOLD || l->kind == TN_LOWER_CONTRACTION) == !!l->fold &&
                    (l->kind == TN_LOWER_CONTRACTION) == !!l->contraction &&
                    (l->kind == TN_LOWER_NEST) == !!l->nest;
        if (!good) fail_msg("a slot of %s", tn_op_info_of((tn_op)op)->name);
    }
}

static void test_cost__counts_elements_and_bytes(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 10);
    tn_value x = op_input(t, TN_f16, SHAPE_OF(n, 4));
    tn_value sum = tn_b_add(&t->b, x, x), all = tn_b_sum(&t->b, x, (int[]){0, 1}, 2, false);
    tn_cost cost = {0};
    tn_op_rules_of(TN_OP_add)->cost(t->g, tn_graph_producer(t->g, sum), t->bindings, &cost);
    assert_true(cost.flops == 40 && cost.bytes_read == 160 && cost.bytes_written == 80);
    tn_op_rules_of(TN_OP_reduce)->cost(t->g, tn_graph_producer(t->g, all), t->bindings, &cost);
    assert_true(cost.flops == 40 && cost.bytes_read == 80 && cost.bytes_written == 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_eval__runs_a_graph_with_open_sizes),
        OP_TEST(test_eval__refuses_inputs_of_another_type),
        OP_TEST(test_eval__shows_each_node_to_its_watcher),
        OP_TEST(test_eval__borrows_constants),
        cmocka_unit_test(test_rules__every_slot_is_a_rule_or_a_reason),
        OP_TEST(test_cost__counts_elements_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
