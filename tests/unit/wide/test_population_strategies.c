/* What populations tell of how their operations are done for all members. */
#include "unit/wide/step_lab.h"

static int count_of(const tn_wide_node_info *n, int count, const char *op, tn_wide_strategy s) {
    int found = 0;
    for (int i = 0; i < count; i++) found += n[i].strategy == s && strcmp(n[i].op, op) == 0;
    return found;
}

enum { MOST = 200 };

static int list_nodes(const tn_population *p, tn_wide_node_info *out) {
    int count = tn_population_node_count(p);
    assert_in_range(count, 0, MOST);
    for (int i = 0; i < count; i++) {
        assert_int_equal(tn_population_node(p, i, &out[i]), TN_OK);
        assert_int_equal(out[i].piece, tn_population_count(p));
        assert_non_null(strchr(out[i].node, ':'));
    }
    tn_wide_node_info none;
    assert_int_equal(tn_population_node(p, count, &none), TN_NOT_FOUND);
    assert_int_equal(tn_population_node(p, -1, &none), TN_NOT_FOUND);
    return count;
}

/* ---- functions ------------------------------------------------------------------------------ */

static void net(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *h = tn_tanh(tn_linear(m, "fc1", x[0], 12));
    h = tn_dropout(m, "drop", h, 0.4);
    y[0] = tn_softmax(tn_linear(m, "fc2", h, 5), -1);
}

static int apply(tn_context *c, tn_population *p, bool shared, tn_wide_node_info *out) {
    tn_scope *scope = tn_scope_open(c);
    int64_t n = tn_population_count(p);
    tn_tensor *y, *x = shared ? some_numbers(c, TN_f32, TN_SHAPE(4, 7), 1)
                              : some_numbers(c, TN_f32, TN_SHAPE(n, 4, 7), 1);
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = net, call.x = &x, call.shared = &shared, call.x_count = call.y_count = 1;
    tn_population_apply(p, &call, &y);
    assert_true(tn_tensor_ok(y));
    int count = list_nodes(p, out);
    tn_scope_close(scope);
    return count;
}

static void test_strategies__tell_which_operands_members_have(void **state) {
    (void)state;
    tn_wide_node_info n[MOST];
    lab l = lab_open(TN_COMPILE_INTERPRET);
    assert_int_equal(list_nodes(l.p, n), 0);
    int count = apply(l.c, l.p, false, n);
    assert_int_equal(count_of(n, count, "dot", TN_WIDE_BATCHED), 2);
    assert_int_equal(count_of(n, count, "reduce", TN_WIDE_ELEMENTS), 2); /* of softmax */
    count = apply(l.c, l.p, true, n);
    assert_int_equal(count_of(n, count, "dot", TN_WIDE_COLUMNS), 1);
    assert_int_equal(count_of(n, count, "dot", TN_WIDE_BATCHED), 1);
    lab_close(&l);
}

/* One model, N masks. */
static void test_strategies__tell_what_is_done_once(void **state) {
    (void)state;
    tn_wide_node_info n[MOST];
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_population *p;
    o.members = 5, o.shared_parameters = true;
    must(tn_population_create(c, &o, &p, &err), &err);
    int count = apply(c, p, true, n);
    assert_int_equal(count_of(n, count, "dot", TN_WIDE_ONCE), 1);
    assert_int_equal(count_of(n, count, "dot", TN_WIDE_ROWS), 1);
    count = apply(c, p, false, n);
    assert_int_equal(count_of(n, count, "dot", TN_WIDE_ROWS), 2);
    tn_population_release(p);
    tn_context_release(c);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static int list_step(const step_lab *t, tn_wide_node_info *out) {
    int count = tn_population_step_node_count(t->step);
    assert_in_range(count, 0, MOST);
    for (int i = 0; i < count; i++) {
        assert_int_equal(tn_population_step_node(t->step, i, &out[i]), TN_OK);
        assert_int_equal(out[i].piece, LAB_MEMBERS);
    }
    return count;
}

static void check_step(bool own_batches) {
    tn_error err = TN_ERROR_INIT;
    tn_wide_node_info n[MOST], again[MOST];
    step_lab t;
    step_lab_open(&t, TN_COMPILE_INTERPRET, own_batches);
    must(tn_population_step_compile(&t.options, &t.step, &err), &err);
    assert_int_equal(list_step(&t, n), 0); /* nothing is recorded yet */
    step_lab_run(&t, 0.1);
    int count = list_step(&t, n);
    int batched = count_of(n, count, "dot", TN_WIDE_BATCHED);
    int other =
        count_of(n, count, "dot", TN_WIDE_COLUMNS) + count_of(n, count, "dot", TN_WIDE_ROWS);
    assert_int_equal(batched + other, 5); /* forward, both weights, what the first layer made */
    assert_int_equal(other, own_batches ? 0 : 2); /* of the first layer, and of its weights */
    assert_true(count_of(n, count, "reduce", TN_WIDE_ELEMENTS) > 4);
    for (int i = 0; i < 2; i++) step_lab_run(&t, 0.1); /* the second is done again, not recorded */
    assert_int_equal(list_step(&t, again), count);
    for (int i = 0; i < count; i++) assert_string_equal(again[i].node, n[i].node);
    step_lab_close(&t);
}

static void test_strategies__of_a_step_with_batches_of_each(void **state) {
    (void)state;
    check_step(true);
}

static void test_strategies__of_a_step_on_one_batch(void **state) {
    (void)state;
    check_step(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strategies__tell_which_operands_members_have),
        cmocka_unit_test(test_strategies__tell_what_is_done_once),
        cmocka_unit_test(test_strategies__of_a_step_with_batches_of_each),
        cmocka_unit_test(test_strategies__of_a_step_on_one_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
