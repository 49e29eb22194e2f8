/* Names, order, versions, functions, control flow: what nodes mean together. */
#include "unit/test.h"

#include <stdlib.h>

#include "ops/eval.h"
#include "unit/import/onnx_wire.h"

static void test_nodes__cycles_and_order(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "2");
    wire_add_node(&g, "Add x b > a");
    wire_add_node(&g, "Add x a > b");
    wire_output(&g, "b", W_FLOAT, "2");
    refused(&g, "topological order");
}

static void test_nodes__names_once(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "2");
    wire_add_node(&g, "Neg x > a");
    wire_add_node(&g, "Abs x > a");
    wire_output(&g, "a", W_FLOAT, "2");
    refused(&g, "'a' is defined twice");
    wire h = {.len = 0};
    wire_input(&h, "x", W_FLOAT, "2");
    wire_input(&h, "x", W_FLOAT, "2");
    refused(&h, "'x' is defined twice");
}

static void test_nodes__inputs_have_names(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "2");
    wire_input(&g, "", W_FLOAT, "2");
    wire_add_node(&g, "Neg x > y");
    wire_output(&g, "y", W_FLOAT, "2");
    refused(&g, "input 2 of 2 has no name");
}

static void test_nodes__missing_output(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "2");
    wire_output(&g, "y", W_FLOAT, "2");
    refused(&g, "output 'y' is not computed");
}

static void test_nodes__types_are_checked(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "2");
    wire_input(&g, "n", W_INT64, "2");
    wire_add_node(&g, "Add x n > y");
    wire_output(&g, "y", W_FLOAT, "2");
    refused(&g, "(Add)");
    wire h = {.len = 0};
    wire_input(&h, "x", W_FLOAT, "2");
    wire_add_node(&h, "Neg x > y");
    wire_output(&h, "y", W_INT64, "2");
    refused(&h, "declared as i64 but computed as f32");
}

static void test_nodes__attribute_types(void **state) {
    (void)state;
    wire g = {.len = 0}, node = wire_node("LeakyRelu x > y");
    wire_input(&g, "x", W_FLOAT, "2");
    wire_attr_int(&node, "alpha", 1);
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_FLOAT, "2");
    refused(&g, "attribute 'alpha' is an integer; expected a float");
}

static void test_nodes__unknown_operator(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "2");
    wire_add_node(&g, "Frobnicate x > y");
    wire_output(&g, "y", W_FLOAT, "2");
    refused(&g, "node 'y' (Frobnicate): operator Frobnicate of operator set 'ai.onnx'");
}

/* ---- functions --------------------------------------------------------------------------------------
 */

/* twice(a) = f(a) + a, where f is `callee` of the same domain */
static wire function_calling(const char *name, const char *callee) {
    wire f = {.len = 0};
    char call[64];
    wire_text(&f, 1, name);
    wire_text(&f, 4, "a");
    wire_text(&f, 5, "c");
    wire_text(&f, 10, "own");
    snprintf(call, sizeof call, "%s a > b", callee);
    wire node = wire_node(call);
    if (!strcmp(callee, "f") || !strcmp(callee, "g")) wire_text(&node, 7, "own");
    wire_put(&f, 7, &node);
    wire add = wire_node("Add b a > c");
    wire_put(&f, 7, &add);
    return f;
}

static void import_functions(imported *i, const char *callee_of_f) {
    wire g = {.len = 0}, node = wire_node("g x > y");
    wire_input(&g, "x", W_FLOAT, "N");
    wire_text(&node, 7, "own");
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_FLOAT, "N");
    wire model = wire_model(&g, 21), outer = function_calling("g", "f");
    wire inner = function_calling("f", callee_of_f);
    wire_put(&model, 25, &outer);
    wire_put(&model, 25, &inner);
    import_bytes(i, model.at, model.len, NULL);
}

static void test_functions__are_inlined(void **state) {
    (void)state;
    imported i;
    import_functions(&i, "Neg");
    assert_string_equal(shape_text(&i, 0), "f32[N]");
    assert_int_equal(i.import.graph->nodes.len, 4); /* input, neg, add, add */
    import_done(&i);
}

static void test_functions__must_not_call_themselves(void **state) {
    (void)state;
    imported i;
    import_functions(&i, "g");
    assert_int_equal(i.status, TN_INVALID);
    assert_non_null(strstr(i.text, "call themselves"));
    import_done(&i);
}

/* ---- control flow ------------------------------------------------------------------------------------
 */

static tn_array evaluate(imported *i, const tn_array *inputs) {
    tn_array out[4];
    if (i->status != TN_OK) fail_msg("%s", i->text);
    if (!i->import.graph) fail_msg("needs: %s", i->import.need_reason);
    assert_int_equal(tn_graph_verify(i->import.graph, NULL, &i->err), TN_OK);
    assert_int_equal(tn_eval_graph(i->import.graph, inputs, NULL, out, &i->arena, &i->err), TN_OK);
    return out[0];
}

/* y = flag ? x + x : -x, with x from outside the branches */
static void test_if__captures_outer_values(void **state) {
    (void)state;
    wire yes = {.len = 0}, no = {.len = 0}, g = {.len = 0}, node = wire_node("If flag > y");
    wire_add_node(&yes, "Add x x > p");
    wire_output(&yes, "p", W_FLOAT, "1");
    wire_add_node(&no, "Neg x > q");
    wire_output(&no, "q", W_FLOAT, "1");
    wire_attr_graph(&node, "then_branch", &yes);
    wire_attr_graph(&node, "else_branch", &no);
    wire_input(&g, "flag", W_BOOL, "");
    wire_input(&g, "x", W_FLOAT, "1");
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_FLOAT, "1");
    for (int flag = 0; flag < 2; flag++) {
        imported i;
        uint8_t byte = (uint8_t)flag;
        float x = 3;
        tn_array in[] = {{.dtype = TN_bool, .data = &byte},
                         {.dtype = TN_f32, .rank = 1, .dim = {1}, .data = &x}};
        import_model(&i, &g);
        tn_array y = evaluate(&i, in);
        assert_true(tn_array_get(&y, 0).f == (flag ? 6.0 : -3.0));
        import_done(&i);
    }
}

/* v doubles n times; n is data, a constant of 3 or of 1000 (doubling zero) */
static wire loop_graph(int64_t count) {
    wire body = {.len = 0}, g = {.len = 0}, node = wire_node("Loop n - v > y");
    wire_input(&body, "i", W_INT64, "");
    wire_input(&body, "go", W_BOOL, "");
    wire_input(&body, "a", W_FLOAT, "1");
    wire_add_node(&body, "Identity go > go_on");
    wire_add_node(&body, "Add a a > b");
    wire_output(&body, "go_on", W_BOOL, "");
    wire_output(&body, "b", W_FLOAT, "1");
    wire_attr_graph(&node, "body", &body);
    wire_input(&g, "v", W_FLOAT, "1");
    if (count < 0)
        wire_input(&g, "n", W_INT64, "");
    else {
        wire t = wire_tensor("n", W_INT64, 0, NULL, &count, sizeof count);
        wire_put(&g, 5, &t);
    }
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_FLOAT, "1");
    return g;
}

static bool has_op(const tn_graph *g, tn_op op) {
    for (uint32_t i = 0; i < g->nodes.len; i++)
        if (g->nodes.data[i].op == op) return true;
    return false;
}

static void test_loop__unrolled_scanned_or_run(void **state) {
    (void)state;
    static const struct {
        int64_t count;
        tn_op op;
    } cases[] = {{3, TN_OP_add}, {70, TN_OP_scan}, {-1, TN_OP_while}};
    for (size_t k = 0; k < TN_COUNT(cases); k++) {
        imported i;
        wire g = loop_graph(cases[k].count);
        float v = 1;
        int64_t n = 5, times = cases[k].count < 0 ? n : cases[k].count;
        tn_array in[] = {{.dtype = TN_f32, .rank = 1, .dim = {1}, .data = &v},
                         {.dtype = TN_i64, .data = &n}};
        import_model(&i, &g);
        tn_array y = evaluate(&i, in);
        assert_true(has_op(i.import.graph, cases[k].op));
        double expected = 1;
        for (int64_t t = 0; t < times; t++) expected *= 2;
        assert_true(tn_array_get(&y, 0).f == expected);
        import_done(&i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes__cycles_and_order),
        cmocka_unit_test(test_nodes__names_once),
        cmocka_unit_test(test_nodes__inputs_have_names),
        cmocka_unit_test(test_nodes__missing_output),
        cmocka_unit_test(test_nodes__types_are_checked),
        cmocka_unit_test(test_nodes__attribute_types),
        cmocka_unit_test(test_nodes__unknown_operator),
        cmocka_unit_test(test_functions__are_inlined),
        cmocka_unit_test(test_functions__must_not_call_themselves),
        cmocka_unit_test(test_if__captures_outer_values),
        cmocka_unit_test(test_loop__unrolled_scanned_or_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
