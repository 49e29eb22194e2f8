/* Adding nodes, constants, use counts, copies, hashes; and the verifier's marks. */
#include "../test.h"

#include "../graph_test.h"

static int setup(void **state) {
    graph_test *t = calloc(1, sizeof *t);
    graph_test_init(t);
    *state = t;
    return 0;
}

static int teardown(void **state) {
    graph_test_deinit(*state);
    free(*state);
    return 0;
}

static const char *const example = "graph (N in [1,8]) {\n"
                                   "  %0 \"x\" = input : f32[N,3]\n"
                                   "  %1 = constant {data=[1,2,3]} : f32[3]\n"
                                   "  %2 = broadcast %1 {axes=[1]} : f32[N,3]\n"
                                   "  %3 = add \"sum\" %0 %2 : f32[N,3]\n"
                                   "  %4 = mul %3 %3 : f32[N,3]\n"
                                   "  output %4 \"y\"\n"
                                   "}\n";

/* ---- ops.def -------------------------------------------------------------------------------- */

static void test_ops__describe_their_fields(void **state) {
    (void)state;
    for (tn_op op = 0; op < TN_OP_COUNT; op++) {
        const tn_op_info *info = tn_op_info_of(op);
        tn_op parsed;
        assert_true(tn_op_parse(info->name, &parsed));
        assert_int_equal(parsed, op);
        assert_true(info->in_max == -1 || info->in_max >= info->in_min);
        for (const tn_field *f = info->fields; f->kind != TN_FIELD_END; f++)
            assert_true(f->offset < info->attrs_size);
    }
    assert_int_equal(tn_op_info_of(TN_OP_conv)->fields[6].offset, offsetof(tn_attrs_conv, acc));
    assert_string_equal(tn_op_info_of(TN_OP_reduce)->fields[0].enum_names[TN_REDUCE_argmin],
                        "argmin");
}

/* ---- graph ---------------------------------------------------------------------------------- */

static void test_graph_add__names_the_node_and_its_operands(void **state) {
    graph_test *t = *state;
    char text[2048];
    tn_graph *g = graph_of(t, "graph { %0 = input : f32[2,3]\n %1 = input : i64[2,3]\n}");
    tn_value in[] = {0, 1}, out;
    assert_int_equal(tn_graph_add(g, TN_OP_add, in, 2, NULL, "plus", &out, &t->err), TN_INVALID);
    assert_int_equal(out, TN_NO_VALUE);
    tn_error_format(&t->err, text, sizeof text);
    assert_non_null(strstr(text, "add 'plus' (f32[2,3], i64[2,3]): "));
    in[1] = 77;
    assert_int_equal(tn_graph_add(g, TN_OP_add, in, 2, NULL, NULL, &out, &t->err), TN_INVALID);
    tn_error_format(&t->err, text, sizeof text);
    assert_string_equal(text,
                        "add (f32[2,3], ?): operand 1 does not exist (the graph has 2 values)");
    assert_int_equal(g->nodes.len, 2);
}

static void test_graph__counts_uses(void **state) {
    graph_test *t = *state;
    const uint32_t *uses = tn_graph_use_counts(graph_of(t, example), &t->arena);
    const uint32_t expected[] = {1, 1, 1, 2, 1};
    assert_memory_equal(uses, expected, sizeof expected);
}

static void test_graph__knows_constants(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, example);
    tn_array a;
    assert_false(tn_graph_constant(g, 0, &a));
    assert_true(tn_graph_constant(g, 1, &a));
    assert_int_equal(a.rank, 1);
    assert_true(tn_array_get(&a, 2).f == 3);
}

static tn_graph *copy_to(graph_test *t, tn_arena *arena, const tn_graph *g) {
    tn_dims *dims = TN_NEW(arena, tn_dims);
    tn_dims_init(dims, arena);
    tn_graph *copy = tn_graph_new(arena, dims);
    must(t, tn_graph_copy(copy, g, NULL, &t->err));
    return copy;
}

static void test_graph_copy__stands_alone_in_another_arena(void **state) {
    graph_test *t = *state, other;
    graph_test_init(&other);
    tn_graph *g = graph_of(&other, "graph (S div 2, N in [1,8]) {\n"
                                   "  %0 \"flag\" = input : bool[]\n"
                                   "  %1 \"x\" = input : f32[N,2*S]\n"
                                   "  %2 = if \"c\" %0 %1 {then_graph=graph {\n"
                                   "    %0 = input : f32[N,2*S]\n"
                                   "    output %0\n"
                                   "  } else_graph=graph {\n"
                                   "    %0 = input : f32[N,2*S]\n"
                                   "    %1 = constant {data=all 2} : f32[4,5]\n"
                                   "    %2 = neg %0 : f32[N,2*S]\n"
                                   "    output %2 \"n\"\n"
                                   "  }} : f32[N,2*S]\n"
                                   "  output %2 \"y\"\n"
                                   "}\n");
    tn_graph *copy = copy_to(t, &t->arena, g);
    const char *before = tn_arena_strdup(&t->arena, text_of(&other, g, true));
    graph_test_deinit(&other);
    must(t, tn_graph_verify(copy, NULL, &t->err));
    assert_string_equal(text_of(t, copy, true), before);
}

static void test_graph_copy__substitutes_sizes(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, example), *bound = tn_graph_new_like(g);
    const tn_dim with[] = {5};
    must(t, tn_graph_copy(bound, g, with, &t->err));
    must(t, tn_graph_verify(bound, NULL, &t->err));
    assert_int_equal(tn_graph_type(bound, 4)->shape.dim[0], 5);
}

static void hash_text(graph_test *t, const char *text, char out[65]) {
    tn_graph_hash(graph_of(t, text), out);
}

static void test_graph_hash__sees_structure_not_node_names(void **state) {
    graph_test *t = *state;
    char a[65], b[65], c[65], d[65];
    hash_text(t, "graph { %0 \"x\" = input : f32[2]\n %1 = neg %0\n output %1 \"y\" }", a);
    hash_text(t, "graph { %0 \"x\" = input : f32[2]\n %1 \"v\" = neg \"n\" %0\n output %1 \"y\" }",
              b);
    hash_text(t, "graph { %0 \"z\" = input : f32[2]\n %1 = neg %0\n output %1 \"y\" }", c);
    hash_text(t, "graph { %0 \"x\" = input : f32[3]\n %1 = neg %0\n output %1 \"y\" }", d);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_string_not_equal(a, d);
    hash_text(
        t, "graph { %0 \"x\" = input : f32[2]\n %1 = neg %0\n output %1 \"y\" in place of %0 }", c);
    assert_string_not_equal(a, c);
    hash_text(t, "graph { %0 = constant {data=[1]} : f32[1]\n output %0 }", a);
    hash_text(t, "graph { %0 = constant {data=[2]} : f32[1]\n output %0 }", b);
    assert_string_not_equal(a, b);
}

/* ---- verify --------------------------------------------------------------------------------- */

static void assert_marked(graph_test *t, const tn_graph *g, const char *mark) {
    tn_str report;
    tn_str_init(&report);
    t->err = (tn_error)TN_ERROR_INIT;
    assert_int_equal(tn_graph_verify(g, &report, &t->err), TN_INVALID);
    if (!strstr(tn_str_text(&report), mark))
        fail_msg("expected \"%s\" in:\n%s", mark, tn_str_text(&report));
    tn_str_deinit(&report);
}

static void test_verify__accepts_what_was_built(void **state) {
    graph_test *t = *state;
    must(t, tn_graph_verify(graph_of(t, example), NULL, &t->err));
}

static void test_verify__marks_a_wrong_type(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, example);
    g->values.data[3].type.dtype = TN_f16;
    assert_marked(t, g, "%3 = add \"sum\" %0 %2 : f16[N,3]\n  ^ error: %3 should be f32[N,3]\n");
}

static void test_verify__marks_all_findings(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, example);
    ((tn_value *)(uintptr_t)g->nodes.data[3].in)[0] = 4;
    ((tn_attrs_broadcast *)(uintptr_t)g->nodes.data[2].attrs)->axes.at[0] = 7;
    assert_marked(t, g, "^ error: operand 0, %4, is not made before this node");
    assert_marked(t, g, "%2 = broadcast %1 {axes=[7]} : f32[N,3]\n  ^ error: ");
}

static void test_verify__marks_broken_links(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, example);
    g->values.data[3].node = 1;
    assert_marked(t, g, "%3 = add …\n  ^ error: %3 says that node 1, result 0 makes it");
    g = graph_of(t, example);
    g->outputs.data[0].value = 99;
    assert_marked(t, g, "^ error: output 0 does not exist");
    g = graph_of(t, example);
    g->inputs.len = 0;
    assert_marked(t, g, "^ error: input node %0 is not input 0");
    g = graph_of(t, example);
    g->nodes.data[2].op = 1000;
    assert_marked(t, g, "^ error: operation 1000 does not exist");
    g = graph_of(t, example);
    g->values.data[0].type.shape.dim[0] = -1000;
    assert_marked(t, g, "is not a size of this graph");
}

static void test_verify__looks_into_sub_graphs(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, "graph { %0 = input : f32[2]\n"
                              " %1 = call %0 {body=graph { %0 = input : f32[2]\n output %0 }}\n"
                              " output %1 }");
    tn_graph *body = ((const tn_attrs_call *)g->nodes.data[1].attrs)->body;
    body->values.data[0].type.dtype = TN_i8;
    assert_marked(t, g, "in sub-graph 'body': input %0: %0 should be f32[2]");
    body->parent = NULL;
    assert_marked(t, g, "sub-graph 'body' is missing or belongs to another graph");
}

static void test_verify__marks_outputs_in_place_of_what_does_not_fit(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, "graph { %0 = input : f32[6]\n %1 = input : f16[6]\n"
                              " %2 = neg %0\n %3 = reshape %2 {shape=[2,3]}\n"
                              " output %3 in place of %0\n output %2 }");
    must(t, tn_graph_verify(g, NULL, &t->err));
    tn_graph *copy = tn_graph_new_like(g);
    must(t, tn_graph_copy(copy, g, NULL, &t->err));
    assert_int_equal(copy->outputs.data[0].in_place, 1);
    g->outputs.data[1].in_place = 1;
    assert_marked(t, g, "two outputs are in place of input 0");
    g->outputs.data[1].in_place = 2;
    assert_marked(t, g, "output 1 is in place of input 1, which is of another type or size");
    g->outputs.data[1].in_place = 3;
    assert_marked(t, g, "output 1 is in place of no input of the outermost graph");
}

static void test_verify__wants_distinct_names(void **state) {
    graph_test *t = *state;
    tn_graph *g = graph_of(t, "graph { %0 \"x\" = input : f32[2]\n %1 \"z\" = input : f32[2] }");
    g->values.data[1].name = "x";
    assert_marked(t, g, "two inputs have the name 'x'");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_ops__describe_their_fields),
        TEST(test_graph_add__names_the_node_and_its_operands),
        TEST(test_graph__counts_uses),
        TEST(test_graph__knows_constants),
        TEST(test_graph_copy__stands_alone_in_another_arena),
        TEST(test_graph_copy__substitutes_sizes),
        TEST(test_graph_hash__sees_structure_not_node_names),
        TEST(test_verify__accepts_what_was_built),
        TEST(test_verify__marks_a_wrong_type),
        TEST(test_verify__marks_all_findings),
        TEST(test_verify__marks_broken_links),
        TEST(test_verify__looks_into_sub_graphs),
        TEST(test_verify__marks_outputs_in_place_of_what_does_not_fit),
        TEST(test_verify__wants_distinct_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
