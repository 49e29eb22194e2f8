/* What is kept and what is computed again, on small graphs; the values stay. */
#include "../test.h"

#include "../graph_test.h"
#include "transform/recompute.h"

/* loss = Σ tanh(exp(x·w))², with a gradient written out: behind the loss, %t and %e are read. */
static const char *const chain = "graph {\n"
                                 "  %x = input : f32[4,6]\n"
                                 "  %w = input : f32[6,8]\n"
                                 "  %d = dot %x %w {lhs_contract=[1] rhs_contract=[0] acc=f32}\n"
                                 "  %e = exp %d\n"
                                 "  %b = barrier %e {block=true}\n"
                                 "  %t = tanh %b\n"
                                 "  %s = mul %t %t\n"
                                 "  %c = barrier %s {block=true}\n"
                                 "  %loss = reduce %c {kind=sum axes=[0,1] acc=f32}\n"
                                 "  %g = mul %t %s\n"
                                 "  %h = mul %g %e\n"
                                 "  output %loss\n"
                                 "  output %h\n"
                                 "}\n";

typedef struct lab {
    graph_test t;
    const tn_graph *in;
    tn_graph *out;
    tn_recompute how;
    tn_recompute_result result;
} lab;

static void lab_init(lab *l) {
    graph_test_init(&l->t);
    l->in = graph_of(&l->t, chain);
    assert_int_equal(l->in->outputs.len, 2);
    l->how = (tn_recompute){.loss = l->in->outputs.data[0].value};
}

static tn_status run(lab *l) {
    l->out = tn_graph_new_like(l->in);
    tn_status status = tn_recompute_run(l->in, &l->how, l->out, &l->result, &l->t.err);
    if (status == TN_OK) {
        must(&l->t, tn_graph_verify(l->out, NULL, &l->t.err));
        assert_same_results(&l->t, l->in, l->out, 0);
    }
    return status;
}

static int count_of(const tn_graph *g, tn_op op) {
    int count = 0;
    for (tn_node n = 0; n < g->nodes.len; n++) count += tn_graph_node(g, n)->op == op;
    return count;
}

static void test_recompute__by_block_keeps_ends_of_blocks(void **state) {
    (void)state;
    lab l;
    lab_init(&l);
    l.how.rule = TN_RECOMPUTE_BY_BLOCK;
    must(&l.t, run(&l));
    assert_int_equal(count_of(l.out, TN_OP_tanh), 2); /* again, from %e and not from %x */
    assert_int_equal(count_of(l.out, TN_OP_exp), 1);
    assert_int_equal(l.result.copies, 1);
    assert_int_equal(l.result.kept_bytes, 2 * 4 * 8 * 4); /* %e and %s */
    graph_test_deinit(&l.t);
}

static void test_recompute__by_operation_keeps_results(void **state) {
    (void)state;
    lab l;
    lab_init(&l);
    l.how.rule = TN_RECOMPUTE_BY_OPERATION;
    l.how.keep[TN_OP_dot] = true;
    must(&l.t, run(&l));
    assert_int_equal(count_of(l.out, TN_OP_dot), 1);
    assert_int_equal(count_of(l.out, TN_OP_exp), 2);
    assert_int_equal(count_of(l.out, TN_OP_tanh), 2);
    graph_test_deinit(&l.t);
}

/* A copy waits for what came before it. */
static void test_recompute__copies_read_through_barriers(void **state) {
    (void)state;
    lab l;
    lab_init(&l);
    l.how.rule = TN_RECOMPUTE_BY_BLOCK;
    must(&l.t, run(&l));
    int waiting = 0;
    for (tn_node n = 0; n < l.out->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(l.out, n);
        if (node->op != TN_OP_barrier || node->in_count != 2) continue;
        waiting++;
        assert_int_equal(node->in[1], l.out->outputs.data[0].value);
    }
    assert_int_equal(waiting, 1);
    graph_test_deinit(&l.t);
}

static void test_recompute__budget_is_obeyed(void **state) {
    (void)state;
    const int64_t tensor = 4 * 8 * 4;
    for (int tensors = 1; tensors <= 4; tensors++) {
        lab l;
        lab_init(&l);
        l.how.rule = TN_RECOMPUTE_BY_BUDGET;
        l.how.budget = tensors * tensor;
        must(&l.t, run(&l));
        assert_true(l.result.kept_bytes <= l.how.budget);
        assert_int_equal(count_of(l.out, TN_OP_dot), 1); /* the last to be computed again */
        if (tensors >= 3) assert_int_equal(l.result.copies, 0);
        graph_test_deinit(&l.t);
    }
}

static void test_recompute__without_a_budget_all_is_computed_again(void **state) {
    (void)state;
    lab l;
    lab_init(&l);
    l.how.rule = TN_RECOMPUTE_BY_BUDGET;
    must(&l.t, run(&l));
    assert_int_equal(l.result.kept_bytes, 0);
    assert_int_equal(count_of(l.out, TN_OP_dot), 2);
    graph_test_deinit(&l.t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recompute__by_block_keeps_ends_of_blocks),
        cmocka_unit_test(test_recompute__by_operation_keeps_results),
        cmocka_unit_test(test_recompute__copies_read_through_barriers),
        cmocka_unit_test(test_recompute__budget_is_obeyed),
        cmocka_unit_test(test_recompute__without_a_budget_all_is_computed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
