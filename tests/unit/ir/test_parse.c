/* The text form: every kind of field, errors with places, and reading back what was printed. */
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

static void assert_round_trip(graph_test *t, const char *text) {
    const tn_graph *g = graph_of(t, text);
    assert_string_equal(text_of(t, g, false), text);
}

static void assert_refused(graph_test *t, const char *text, const char *message) {
    tn_graph *g;
    char found[2048];
    t->err = (tn_error)TN_ERROR_INIT;
    assert_int_equal(tn_graph_parse(&t->arena, text, strlen(text), &g, &t->err), TN_INVALID);
    tn_error_format(&t->err, found, sizeof found);
    if (!strstr(found, message)) fail_msg("expected \"%s\" in \"%s\"", message, found);
}

static void test_parse__reads_back_a_small_graph(void **state) {
    assert_round_trip(*state,
                      "graph (N in [1,64], S) {\n"
                      "  %0 \"x\" = input : f32[N,3,S]\n"
                      "  %1 \"sum\" = reduce \"r0\" %0 {kind=sum axes=[1] acc=f32} : f32[N,S]\n"
                      "  output %1 \"y\"\n"
                      "}\n");
}

static void test_parse__reads_back_outputs_in_place(void **state) {
    assert_round_trip(*state, "graph {\n"
                              "  %0 \"x\" = input : f32[6]\n"
                              "  %1 = input : f32[6]\n"
                              "  %2 = neg %0 : f32[6]\n"
                              "  output %2 \"y\" in place of %1\n"
                              "  output %1 in place of %0\n"
                              "}\n");
    const char *head = "graph { %0 = input : f32[2]\n %1 = neg %0\n";
    static const struct {
        const char *text, *message;
    } rows[] = {{"output %1 in place %0 }", "expected 'in place of' an input"},
                {"output %1 in place of %1 }", "can only be in place of an input"},
                {"output %1 in place of %7 }", "%7"}};
    for (size_t i = 0; i < TN_COUNT(rows); i++) {
        char text[256];
        snprintf(text, sizeof text, "%s%s", head, rows[i].text);
        assert_refused(*state, text, rows[i].message);
    }
}

static void test_parse__reads_back_symbols(void **state) {
    assert_round_trip(*state, "graph (N in [1,64], S in [16,*] div 16, \"batch size\" in [0,8]) {\n"
                              "  %0 = input : i64[N,S,\"batch size\"]\n"
                              "  output %0\n"
                              "}\n");
}

static void test_parse__reads_back_sizes(void **state) {
    graph_test *t = *state;
    tn_graph *g =
        graph_of(t, "graph (N, M) {\n"
                    "  %a = input : f32[2*N+3, floordiv(N,2)+1, N*M + 2*M - 2, (N+1)*(M+1)]\n"
                    "  %b = input : f32[mod(N,M), max(min(N,M),7)]\n"
                    "  output %a output %b\n"
                    "}\n");
    const char *text = text_of(t, g, false);
    assert_string_equal(text_of(t, graph_of(t, text), false), text);
    const int64_t bindings[] = {5, 3};
    const int64_t expected[] = {13, 3, 19, 24};
    for (int i = 0; i < 4; i++)
        assert_int_equal(tn_dim_eval(g->dims, tn_graph_type(g, 0)->shape.dim[i], bindings),
                         expected[i]);
}

static void test_parse__reads_back_every_field_kind(void **state) {
    assert_round_trip(*state,
                      "graph (N) {\n"
                      "  %0 \"x\" = input : f32[4,N,8]\n"
                      "  %1 = cumulative %0 {kind=sum axis=1 exclusive=true} : f32[4,N,8]\n"
                      "  %2 = slice %1 {start=[3,0,1] step=[-1,1,2]} : f32[2,N,3]\n"
                      "  %3 = constant {data=[-inf]} : f32[]\n"
                      "  %4 = pad %2 %3 {lo=[1,0,-1] hi=[0,0,0] interior=[0,0,1]} : f32[3,N,4]\n"
                      "  %5, %6 = top_k %4 {axis=2 k=2} : f32[3,N,2], i64[3,N,2]\n"
                      "  %7 = cast %6 {saturate=true} : u8[3,N,2]\n"
                      "  %8 = dot %5 %5 {lhs_batch=[0] rhs_batch=[0] lhs_contract=[2] "
                      "rhs_contract=[2] acc=f32} : "
                      "f32[3,N,N]\n"
                      "  %9 = broadcast %3 : f32[3,N]\n"
                      "  output %7 \"a\"\n"
                      "  output %8\n"
                      "  output %9\n"
                      "}\n");
}

static void test_parse__reads_back_constants(void **state) {
    assert_round_trip(*state, "graph {\n"
                              "  %0 = constant {data=[1,-0,0.1,nan,inf,1e+38,1e-45]} : f32[7]\n"
                              "  %1 = constant {data=[#0100c07f]} : f32[1]\n"
                              "  %2 = constant {data=[0.1,3]} : f64[2]\n"
                              "  %3 = constant {data=[-128,127]} : i8[2]\n"
                              "  %4 = constant {data=[18446744073709551615]} : u64[]\n"
                              "  %5 = constant {data=[true,false]} : bool[2]\n"
                              "  %6 = constant {data=[-8,7]} : i4[2]\n"
                              "  %7 = constant {data=all 0.5} : bf16[8,8]\n"
                              "  %8 = constant {data=[]} : f32[0,4]\n"
                              "  output %0\n"
                              "}\n");
}

static void test_parse__reads_back_large_constants_only_in_full(void **state) {
    graph_test *t = *state;
    tn_dims dims;
    tn_dims_init(&dims, &t->arena);
    tn_graph *g = tn_graph_new(&t->arena, &dims);
    tn_builder b = tn_builder_of(g, &t->err);
    tn_array a = tn_array_new(&t->arena, TN_f32, 1, (int64_t[]){100});
    for (int i = 0; i < 100; i++) tn_array_set(&a, i, tn_cell_of(TN_f32, i * 0.1));
    tn_graph_add_output(g, tn_b_constant(&b, &a), "c");
    must(t, tn_b_finish(&b));
    assert_refused(t, text_of(t, g, false), "print it in full");
    const char *full = text_of(t, g, true);
    tn_graph *again = graph_of(t, full);
    assert_string_equal(text_of(t, again, true), full);
    tn_array read;
    assert_true(tn_graph_constant(again, 0, &read));
    assert_memory_equal(read.data, a.data, 400);
}

static void test_parse__reads_back_sub_graphs(void **state) {
    assert_round_trip(*state, "graph (N) {\n"
                              "  %0 \"flag\" = input : bool[]\n"
                              "  %1 \"x\" = input : f32[N]\n"
                              "  %2 = if \"choose\" %0 %1 {then_graph=graph {\n"
                              "    %0 = input : f32[N]\n"
                              "    %1 = neg %0 : f32[N]\n"
                              "    output %1\n"
                              "  } else_graph=graph {\n"
                              "    %0 = input : f32[N]\n"
                              "    output %0 \"same\"\n"
                              "  }} : f32[N]\n"
                              "  output %2 \"y\"\n"
                              "}\n");
}

static void test_parse__takes_comments_words_and_missing_types(void **state) {
    graph_test *t = *state;
    const tn_graph *g = graph_of(t, "# a comment\n"
                                    "graph { %x \"in\\\"put\" = input : f32[2] # another\n"
                                    "%half = constant {data=all 0.5} : f32[2]\n"
                                    "%y = mul %x %half\n"
                                    "output %y \"y\\u0001\" }");
    assert_string_equal(tn_graph_value(g, 0)->name, "in\"put");
    assert_string_equal(g->outputs.data[0].name, "y\001");
    assert_int_equal(tn_graph_type(g, 2)->shape.dim[0], 2);
}

static void test_parse__refuses_with_a_place(void **state) {
    graph_test *t = *state;
    assert_refused(t, "", "text:1:1: expected 'graph'");
    assert_refused(t, "graph {", "the text ends");
    assert_refused(t, "graph {\n  %0 = inptu : f32[2]\n}",
                   "text:2:13: 'inptu' is not an operation");
    assert_refused(t, "graph {\n  %0 = input : f32[N]\n}", "text:2:21: unknown size 'N'");
    assert_refused(t, "graph {\n  %0 = input : f33[2]\n}", "'f33' is not a data type");
    assert_refused(t, "graph {\n  %1 = neg %0\n}", "%0 is not defined before its use");
    assert_refused(t, "graph { %0 = input : f32[2]\n %0 = neg %0\n}", "%0 is defined twice");
    assert_refused(t, "graph { %0 = input : f32[2]\n output %0 \"y\"\n output %0 \"y\"\n}",
                   "two outputs have the name 'y'");
    assert_refused(t, "graph { %0 = input {x=1} : f32[2] }", "input has no field 'x'");
    assert_refused(t, "graph { %0 = input }", "input needs its dtype");
    assert_refused(t, "graph { %0 = input : f32[-2] }", "axis 0 has a negative size");
    assert_refused(t, "graph { %0 = input : f32[99999999999999999999] }", "does not fit 64 bits");
    assert_refused(t, "graph { %0 = input : f32[1,1,1,1,1,1,1,1,1,1,1,1,1] }", "more than 12");
    assert_refused(t, "graph (N in [5,2]) { }", "0 <= low <= high");
    assert_refused(t, "graph (N div 0) { }", "at least 1");
    assert_refused(t, "graph (N, N) { }", "declared twice");
    assert_refused(t, "graph { } x", "something follows");
    assert_refused(t, "graph { %0 = input : f32[2]\n %1 = neg %0 : f32[3] }",
                   "text:2:23: the result is f32[2], not f32[3]");
    assert_refused(t, "graph { %0 = input : f32[2]\n %1 = add %0 : f32[2] }",
                   "text:2:2: add (f32[2]): takes 2 operands, got 1");
    assert_refused(t, "graph { %0 = input : f32[2]\n output %1 }", "%1 is not defined");
}

static void test_parse__refuses_wrong_constants(void **state) {
    graph_test *t = *state;
    assert_refused(t, "graph { %0 = constant : f32[2] }", "no field 'data'");
    assert_refused(t, "graph { %0 = constant {data=[1]} : f32[2] }", "expected ','");
    assert_refused(t, "graph { %0 = constant {data=[1,2,3]} : f32[2] }",
                   "more than the 2 elements");
    assert_refused(t, "graph { %0 = constant {data=[300]} : i8[1] }",
                   "'300' is not a value of type i8");
    assert_refused(t, "graph { %0 = constant {data=[-1]} : u8[1] }", "not a value of type u8");
    assert_refused(t, "graph { %0 = constant {data=[x]} : f32[1] }", "'x' is not a value");
    assert_refused(t, "graph { %0 = constant {data=all 1} : f32[1000000000] }", "`all` is for");
    assert_refused(t,
                   "graph { %0 = constant {data=all 1} : f32[4000000000,4000000000,4000000000] }",
                   "larger than memory");
    assert_refused(t, "graph { %0 = constant {data=hex\"00\"} : f32[1] }", "hex digits");
    assert_refused(t, "graph (N) { %0 = constant {data=all 1} : f32[N] }", "constant sizes");
}

static void test_parse__bounds_nesting(void **state) {
    graph_test *t = *state;
    tn_str text;
    tn_str_init(&text);
    tn_str_append(&text, "graph (N) { %0 = input : f32[");
    for (int i = 0; i < 100000; i++) tn_str_append(&text, "(");
    assert_refused(t, tn_str_text(&text), "nested too deeply");
    tn_str_clear(&text);
    for (int i = 0; i < 10000; i++) tn_str_append(&text, i ? "call {body=graph {" : "graph {");
    assert_refused(t, tn_str_text(&text), "sub-graphs nest deeper than");
    tn_str_deinit(&text);
}

/* ---- property: random graphs read back ------------------------------------------------------ */

static tn_value pick(tn_builder *b, uint64_t *seed) {
    return (tn_value)(test_random(seed) % b->graph->values.len);
}

static void add_random_node(tn_builder *b, uint64_t *seed) {
    tn_value x = pick(b, seed);
    tn_type type = tn_b_type(b, x);
    int rank = type.shape.rank, axis = rank ? (int)(test_random(seed) % (uint64_t)rank) : 0;
    bool is_float = tn_dtype_is_float(type.dtype);
    switch (test_random(seed) % 9) {
    case 0:
        tn_b_eq(b, x, tn_b_scalar(b, type.dtype, 0.1));
        break;
    case 1:
        tn_b_cast(b, x, is_float ? TN_i32 : TN_f32);
        break;
    case 2:
        tn_b_reduce(b, TN_REDUCE_max, x, &axis, rank ? 1 : 0, true);
        break;
    case 3:
        tn_b_max(b, x, x);
        break;
    case 4:
        if (rank > 1) tn_b_swap(b, x, 0, axis);
        break;
    case 5:
        if (rank < 6) tn_b_unsqueeze(b, x, axis);
        break;
    case 6:
        if (rank) tn_b_concat(b, (tn_value[]){x, x}, 2, axis);
        break;
    case 7:
        tn_b_select(b, tn_b_lt(b, x, tn_b_scalar(b, type.dtype, 1)), x, x);
        break;
    default:
        if (rank) tn_b_slice_axis(b, x, axis, 0, 1, 1);
        break;
    }
}

static void test_parse__reads_back_random_graphs(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 60; round++) {
        graph_test t;
        graph_test_init(&t);
        uint64_t seed = round;
        tn_dims dims;
        tn_dims_init(&dims, &t.arena);
        tn_graph *g = tn_graph_new(&t.arena, &dims);
        tn_builder b = tn_builder_of(g, &t.err);
        tn_shape shape = {3, {2, tn_dim_of_symbol(&dims, "N"), 5}};
        tn_b_input(&b, "x", TN_f32, &shape);
        tn_b_input(&b, "y", TN_i64, &shape);
        for (int i = 0; i < 25; i++) add_random_node(&b, &seed);
        must(&t, tn_b_finish(&b));
        tn_graph_add_output(g, pick(&b, &seed), "out");
        const char *text = text_of(&t, g, true);
        tn_graph *again = graph_of(&t, text);
        assert_string_equal(text_of(&t, again, true), text);
        char before[65], after[65];
        tn_graph_hash(g, before);
        tn_graph_hash(again, after);
        assert_string_equal(before, after);
        graph_test_deinit(&t);
    }
}

/* Every prefix and every changed byte of a text ends in a status, not in a crash. */
static void test_parse__survives_damaged_text(void **state) {
    (void)state;
    const char *text =
        "graph (N in [1,64], \"a b\") {\n"
        "  %0 \"x\" = input : f32[N,3,2*N]\n"
        "  %1 = constant {data=[1,-inf,#0000c07f]} : f32[3]\n"
        "  %2 = reduce %0 {kind=sum axes=[1] acc=f32} : f32[N,2*N]\n"
        "  %3 = call %2 {body=graph {\n    %0 = input : f32[N,2*N]\n    output %0\n  }}\n"
        "  output %3 \"y\"\n}\n";
    size_t len = strlen(text);
    uint64_t seed = 7;
    for (size_t i = 0; i + 1 < len; i++) {
        graph_test t;
        graph_test_init(&t);
        tn_graph *g;
        assert_int_not_equal(tn_graph_parse(&t.arena, text, i, &g, &t.err), TN_OK);
        char *changed = tn_arena_strdup(&t.arena, text);
        changed[i] = (char)test_random(&seed);
        if (tn_graph_parse(&t.arena, changed, len, &g, &t.err) == TN_OK)
            must(&t, tn_graph_verify(g, NULL, &t.err));
        graph_test_deinit(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parse__reads_back_a_small_graph, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__reads_back_outputs_in_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__reads_back_symbols, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__reads_back_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__reads_back_every_field_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__reads_back_constants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__reads_back_large_constants_only_in_full, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_parse__reads_back_sub_graphs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__takes_comments_words_and_missing_types, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_parse__refuses_with_a_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__refuses_wrong_constants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parse__bounds_nesting, setup, teardown),
        cmocka_unit_test(test_parse__reads_back_random_graphs),
        cmocka_unit_test(test_parse__survives_damaged_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
