/* Sequences and optionals as inputs and outputs, and carried by control flow. */
#include "unit/test_folder.h"

#include <stdlib.h>

#include "unit/import/onnx_wire.h"

static wire sequence_type(int type, const char *sizes) {
    wire tensor = wire_tensor_type(type, sizes);
    return wire_type_of(W_SEQUENCE_OF, &tensor);
}
static wire optional_type(int type, const char *sizes) {
    wire tensor = wire_tensor_type(type, sizes);
    return wire_type_of(W_OPTIONAL_OF, &tensor);
}

static void import_bound(imported *i, const wire *graph, const tn_compound_binding *bound,
                         uint32_t count) {
    wire *model = malloc(sizeof *model);
    tn_import_options options = {.compounds = bound, .compound_count = count};
    *model = wire_model(graph, 21);
    import_bytes(i, model->at, model->len, &options);
    free(model);
}
static void import_one(imported *i, const wire *graph, const char *name, int count,
                       const int *ranks) {
    tn_compound_binding bound = {name, count, ranks};
    import_bound(i, graph, &bound, 1);
}

static void refused_bound(const wire *graph, const char *name, int count, const int *ranks,
                          const char *part) {
    imported i;
    import_one(&i, graph, name, count, ranks);
    if (i.status == TN_OK) fail_msg("imported; expected: %s", part);
    if (!strstr(i.text, part)) fail_msg("'%s'; expected: %s", i.text, part);
    import_done(&i);
}

/* y = Identity(x), both sequences of f32[N,4] */
static wire identity(const char *sizes) {
    wire g = {.len = 0}, type = sequence_type(W_FLOAT, sizes);
    wire_typed_port(&g, 11, "x", &type);
    wire_add_node(&g, "Identity x > y");
    wire_typed_port(&g, 12, "y", &type);
    return g;
}

static void test_ports__unbound_sequence_is_a_need(void **state) {
    (void)state;
    imported i;
    wire g = identity("N,4");
    import_model(&i, &g);
    assert_int_equal(i.status, TN_OK);
    assert_null(i.import.graph);
    assert_int_equal(i.import.inputs.len, 0);
    assert_int_equal(i.import.input_compounds.len, 1);
    assert_string_equal(i.import.input_compounds.data[0].name, "x");
    assert_int_equal(i.import.input_compounds.data[0].kind, TN_COMPOUND_SEQUENCE);
    assert_int_equal(i.import.input_compounds.data[0].count, TN_COMPOUND_UNKNOWN);
    assert_int_equal(i.import.output_compounds.data[0].count, TN_COMPOUND_UNKNOWN);
    assert_non_null(strstr(i.import.need_reason, "input 'x' is a sequence"));
    import_done(&i);
}

static void test_ports__elements_are_inputs_with_sizes_of_their_own(void **state) {
    (void)state;
    imported i;
    wire g = identity("N,4");
    import_one(&i, &g, "x", 2, NULL);
    assert_string_equal(shape_text(&i, 0), "f32[x[0].0,4]");
    assert_string_equal(shape_text(&i, 1), "f32[x[1].0,4]");
    assert_int_equal(i.import.inputs.len, 2);
    assert_string_equal(i.import.inputs.data[0].name, "x[0]");
    assert_string_equal(i.import.inputs.data[1].name, "x[1]");
    assert_string_equal(i.import.outputs.data[1].name, "y[1]");
    tn_compound *in = &i.import.input_compounds.data[0], *out = &i.import.output_compounds.data[0];
    assert_int_equal(in->first, 0);
    assert_int_equal(in->count, 2);
    assert_string_equal(out->name, "y");
    assert_int_equal(out->count, 2);
    import_done(&i);
    import_one(&i, &g, "x", 0, NULL);
    assert_int_equal(i.status, TN_OK);
    assert_non_null(i.import.graph);
    assert_int_equal(i.import.inputs.len + i.import.outputs.len, 0);
    assert_int_equal(i.import.output_compounds.data[0].count, 0);
    import_done(&i);
}

static void test_ports__ranks_are_bound_where_the_file_tells_none(void **state) {
    (void)state;
    imported i;
    wire g = identity("*");
    import_one(&i, &g, "x", 2, (int[]){0, 3});
    assert_string_equal(shape_text(&i, 0), "f32[]");
    assert_string_equal(shape_text(&i, 1), "f32[x[1].0,x[1].1,x[1].2]");
    import_done(&i);
    refused_bound(&g, "x", 2, NULL, "the file does not tell the number of axes");
    refused_bound(&g, "x", 1, (int[]){TN_MAX_RANK + 1}, "cannot have 13 axes");
    g = identity("N,4");
    refused_bound(&g, "x", 1, (int[]){3}, "has 3 axes; the model says 2");
}

static void test_ports__bindings_are_checked(void **state) {
    (void)state;
    wire g = identity("N");
    refused_bound(&g, "x", TN_COMPOUND_ABSENT, NULL, "a sequence 'x' cannot have -1 tensors");
    refused_bound(&g, "x", TN_COMPOUND_MOST + 1, NULL, "cannot have 2049 tensors");
    refused_bound(&g, "z", 1, NULL, "no input 'z' that is a sequence or an optional");
}

/* has = OptionalHasElement(x) */
static wire has_element(void) {
    wire g = {.len = 0}, type = optional_type(W_FLOAT, "N");
    wire_typed_port(&g, 11, "x", &type);
    wire_add_node(&g, "OptionalHasElement x > has");
    wire_output(&g, "has", W_BOOL, "");
    wire_add_node(&g, "Identity x > y");
    wire_typed_port(&g, 12, "y", &type);
    return g;
}

static void test_ports__optional_with_and_without_a_value(void **state) {
    (void)state;
    imported i;
    wire g = has_element();
    import_one(&i, &g, "x", 1, NULL);
    assert_string_equal(shape_text(&i, 1), "f32[N]"); /* alone, so its size is the model's */
    assert_string_equal(i.import.inputs.data[0].name, "x");
    assert_string_equal(i.import.outputs.data[1].name, "y");
    assert_int_equal(i.import.output_compounds.data[0].first, 1);
    assert_int_equal(i.import.output_compounds.data[0].count, 1);
    import_done(&i);
    import_one(&i, &g, "x", TN_COMPOUND_ABSENT, NULL);
    assert_string_equal(shape_text(&i, 0), "bool[]");
    assert_int_equal(i.import.inputs.len, 0);
    assert_int_equal(i.import.outputs.len, 1);
    assert_int_equal(i.import.output_compounds.data[0].count, TN_COMPOUND_ABSENT);
    import_done(&i);
    refused_bound(&g, "x", 0, NULL, "an optional 'x' cannot have 0 tensors");
    refused_bound(&g, "x", 2, NULL, "cannot have 2 tensors");
}

static void test_ports__nested_types_are_refused_by_name(void **state) {
    (void)state;
    wire tensor = wire_tensor_type(W_FLOAT, "N"), sequence = sequence_type(W_FLOAT, "N");
    wire of[] = {wire_type_of(W_SEQUENCE_OF, &sequence), optional_type(W_FLOAT, "N"),
                 optional_type(W_STRING, "N")};
    of[1] = wire_type_of(W_SEQUENCE_OF, &of[1]);
    const char *part[] = {"'x' is a sequence of sequences", "'x' is a sequence of optionals",
                          "elements of type STRING"};
    for (int k = 0; k < 3; k++) {
        wire g = {.len = 0};
        wire_typed_port(&g, 11, "x", &of[k]);
        wire_add_node(&g, "Identity x > y");
        wire_typed_port(&g, 12, "y", &tensor);
        refused(&g, part[k]);
    }
    for (int depth = 0; depth < 200; depth++) { /* the reader's limit comes first */
        wire deeper = wire_type_of(W_SEQUENCE_OF, &tensor);
        tensor = deeper;
    }
    wire g = {.len = 0};
    wire_typed_port(&g, 11, "x", &tensor);
    refused(&g, "nested too deeply");
}

static void test_ports__outputs_are_what_they_are_declared(void **state) {
    (void)state;
    wire g = {.len = 0}, type = sequence_type(W_FLOAT, "N");
    wire_input(&g, "x", W_FLOAT, "N");
    wire_add_node(&g, "Identity x > y");
    wire_typed_port(&g, 12, "y", &type);
    refused(&g, "output 'y' is declared as a sequence but computed as a tensor");
    g = (wire){.len = 0};
    wire_input(&g, "x", W_FLOAT, "N");
    wire_add_node(&g, "SequenceConstruct x x > y");
    wire_output(&g, "y", W_FLOAT, "N");
    refused(&g, "output 'y' is declared as a tensor but computed as a sequence");
    g = (wire){.len = 0};
    type = sequence_type(W_INT64, "N");
    wire_input(&g, "x", W_FLOAT, "N");
    wire_add_node(&g, "SequenceConstruct x x > y");
    wire_typed_port(&g, 12, "y", &type);
    refused(&g, "output 'y[0]' is declared as i64 but computed as f32");
}

static void test_ports__two_inputs_of_one_name(void **state) {
    (void)state;
    wire g = {.len = 0}, type = sequence_type(W_FLOAT, "N");
    wire_typed_port(&g, 11, "x", &type);
    wire_input(&g, "x[1]", W_FLOAT, "N");
    wire_add_node(&g, "SequenceInsert x x[1] > y");
    wire_typed_port(&g, 12, "y", &type);
    refused_bound(&g, "x", 2, NULL, "there are two inputs 'x[1]'");
}

/* ---- control flow --------------------------------------------------------------------------- */

/* s = Loop(trip, _, s0): inserts x + 1 each time; scanned: the length before */
static wire growing_loop(void) {
    wire g = {.len = 0}, body = {.len = 0}, node = wire_node("Loop trip - s > grown lengths");
    wire type = sequence_type(W_FLOAT, "N");
    float one = 1;
    wire t = wire_tensor("one", W_FLOAT, 0, NULL, &one, sizeof one);
    wire_input(&body, "i", W_INT64, "");
    wire_input(&body, "go", W_BOOL, "");
    wire_typed_port(&body, 11, "now", &type);
    wire_add_node(&body, "Identity go > on");
    wire_add_node(&body, "SequenceLength now > length");
    wire_add_node(&body, "Add x one > y");
    wire_add_node(&body, "SequenceInsert now y > next");
    wire_output(&body, "on", W_BOOL, "");
    wire_typed_port(&body, 12, "next", &type);
    wire_output(&body, "length", W_INT64, "");
    wire_typed_port(&g, 11, "s", &type);
    wire_input(&g, "x", W_FLOAT, "N");
    wire_put(&g, 5, &t);
    wire_attr_graph(&node, "body", &body);
    wire_put(&g, 1, &node);
    wire_typed_port(&g, 12, "grown", &type);
    wire_output(&g, "lengths", W_INT64, "?");
    return g;
}

static void test_ports__loop_carries_a_sequence(void **state) {
    (void)state;
    imported i;
    for (int64_t trip = 0; trip < 4; trip++) {
        wire g = growing_loop();
        wire t = wire_tensor("trip", W_INT64, 0, NULL, &trip, sizeof trip);
        char text[32];
        wire_put(&g, 5, &t);
        import_one(&i, &g, "s", 1, NULL);
        snprintf(text, sizeof text, "i64[%d]", (int)trip);
        assert_string_equal(shape_text(&i, (uint32_t)trip + 1), text); /* empty stacks, too */
        assert_int_equal(i.import.output_compounds.data[0].count, 1 + trip);
        import_done(&i);
    }
    wire g = growing_loop();
    wire_input(&g, "trip", W_INT64, "");
    import_one(&i, &g, "s", 0, NULL);
    assert_null(i.import.graph);
    assert_int_equal(i.import.need_values.len, 1);
    assert_string_equal(i.import.need_values.data[0], "trip");
    import_done(&i);
}

/* y = If(flag, [x, x], [-x, x]) or [x] */
static wire branches(const char *other) {
    wire g = {.len = 0}, yes = {.len = 0}, no = {.len = 0}, node = wire_node("If flag > y");
    wire type = sequence_type(W_FLOAT, "N");
    wire_add_node(&yes, "SequenceConstruct x x > t");
    wire_typed_port(&yes, 12, "t", &type);
    wire_add_node(&no, "Neg x > n");
    wire_add_node(&no, other);
    wire_typed_port(&no, 12, "t", &type);
    wire_input(&g, "flag", W_BOOL, "");
    wire_input(&g, "x", W_FLOAT, "N");
    wire_attr_graph(&node, "then_branch", &yes);
    wire_attr_graph(&node, "else_branch", &no);
    wire_put(&g, 1, &node);
    wire_typed_port(&g, 12, "y", &type);
    return g;
}

static void test_ports__branches_of_equal_structure_may_depend_on_data(void **state) {
    (void)state;
    imported i;
    wire g = branches("SequenceConstruct n x > t");
    import_model(&i, &g);
    assert_string_equal(shape_text(&i, 1), "f32[N]");
    assert_int_equal(i.import.output_compounds.data[0].count, 2);
    import_done(&i);
    g = branches("SequenceConstruct n > t");
    import_model(&i, &g);
    assert_null(i.import.graph);
    assert_string_equal(i.import.need_values.data[0], "flag");
    import_done(&i);
}

/* ---- test data ------------------------------------------------------------------------------ */

static const char *write_pb(const wire *w) {
    static char path[300];
    snprintf(path, sizeof path, "%s/t.pb", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(w->at, 1, w->len, f), w->len);
    fclose(f);
    return path;
}

static tn_status read_pb(const wire *w, tn_compound_kind kind, tn_arena *arena,
                         tn_import_compound *out, tn_error *err) {
    *err = (tn_error)TN_ERROR_INIT;
    return tn_import_compound_pb(write_pb(w), kind, arena, out, err);
}

static wire sequence_of(int64_t count) {
    wire s = {.len = 0};
    float data[] = {1, 2, 3};
    wire_text(&s, 1, "list");
    for (int64_t i = 0; i < count; i++) {
        int64_t n = i % 4;
        wire t = wire_tensor("", W_FLOAT, 1, &n, data, (size_t)n * sizeof *data);
        wire_put(&s, 3, &t);
    }
    return s;
}

static void test_ports__test_data_are_read(void **state) {
    (void)state;
    tn_arena arena;
    tn_error err;
    tn_import_compound c;
    tn_arena_init(&arena, tn_allocator_system());
    wire s = sequence_of(4), o = {.len = 0};
    assert_int_equal(read_pb(&s, TN_COMPOUND_SEQUENCE, &arena, &c, &err), TN_OK);
    assert_string_equal(c.name, "list");
    assert_int_equal(c.count, 4);
    assert_int_equal(c.tensors[3].dim[0], 3);
    assert_true(tn_array_get(&c.tensors[3], 2).f == 3);
    assert_int_equal(read_pb(&o, TN_COMPOUND_OPTIONAL, &arena, &c, &err), TN_OK);
    assert_int_equal(c.count, TN_COMPOUND_ABSENT);
    wire_put(&o, 5, &s);
    assert_int_equal(read_pb(&o, TN_COMPOUND_OPTIONAL_SEQUENCE, &arena, &c, &err), TN_OK);
    assert_int_equal(c.count, 4);
    assert_int_equal(read_pb(&o, TN_COMPOUND_OPTIONAL, &arena, &c, &err), TN_INVALID);
    wire nested = {.len = 0};
    wire_put(&nested, 5, &s);
    assert_int_equal(read_pb(&nested, TN_COMPOUND_SEQUENCE, &arena, &c, &err), TN_UNSUPPORTED);
    wire cut = sequence_of(3);
    for (cut.len--; cut.len > 0; cut.len--)
        if (read_pb(&cut, TN_COMPOUND_SEQUENCE, &arena, &c, &err) == TN_OK)
            assert_in_range(c.count, 0, 2);
    wire lie = {.len = 0}, t = wire_tensor("", W_FLOAT, 1, &(int64_t){1 << 20}, "1234", 4);
    wire_put(&lie, 3, &t);
    assert_int_equal(read_pb(&lie, TN_COMPOUND_SEQUENCE, &arena, &c, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "4 bytes of data"));
    wire many = {.len = 0};
    for (int i = 0; i <= TN_COMPOUND_MOST; i++) wire_text(&many, 3, "");
    assert_int_equal(read_pb(&many, TN_COMPOUND_SEQUENCE, &arena, &c, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "too many tensors"));
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports__unbound_sequence_is_a_need),
        cmocka_unit_test(test_ports__elements_are_inputs_with_sizes_of_their_own),
        cmocka_unit_test(test_ports__ranks_are_bound_where_the_file_tells_none),
        cmocka_unit_test(test_ports__bindings_are_checked),
        cmocka_unit_test(test_ports__optional_with_and_without_a_value),
        cmocka_unit_test(test_ports__nested_types_are_refused_by_name),
        cmocka_unit_test(test_ports__outputs_are_what_they_are_declared),
        cmocka_unit_test(test_ports__two_inputs_of_one_name),
        cmocka_unit_test(test_ports__loop_carries_a_sequence),
        cmocka_unit_test(test_ports__branches_of_equal_structure_may_depend_on_data),
        cmocka_unit_test(test_ports__test_data_are_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
