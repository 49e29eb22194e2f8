/* What a user reads when a model cannot be imported: file, node, operator, what, why. */
#include "unit/test_folder.h"

#include "unit/import/onnx_wire.h"

static void weights(wire *g, const char *name, int rank, const int64_t *dim) {
    static const float zeros[512];
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)dim[i];
    wire t = wire_tensor(name, W_FLOAT, rank, dim, zeros, count * sizeof *zeros);
    wire_put(g, 5, &t);
}

/* One node named `name` on x of the given sizes and a weight w; y is the output. */
static wire graph_with(const char *sizes, int rank, const int64_t *dim, const char *name,
                       wire *node) {
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, sizes);
    if (rank) weights(&g, "w", rank, dim);
    wire_text(node, 3, name);
    wire_put(&g, 1, node);
    wire_output(&g, "y", W_FLOAT, "?");
    return g;
}

static void reads(const wire *graph, const char *expected) {
    char path[600], rest[2048];
    snprintf(path, sizeof path, "%s/m.onnx", folder);
    wire model = wire_model(graph, 21);
    imported i = {.status = TN_OK};
    assert_int_equal(tn_file_write(path, model.at, model.len, false, NULL), TN_OK);
    tn_arena_init(&i.arena, tn_allocator_system());
    i.status = tn_import_onnx(path, NULL, &i.arena, &i.import, &i.err);
    if (i.status == TN_OK) {
        assert_string_equal(i.import.need_reason ? i.import.need_reason : "imported", expected);
    } else {
        tn_error_format(&i.err, i.text, sizeof i.text);
        snprintf(rest, sizeof rest, "%s: %s", path, expected);
        assert_string_equal(i.text, rest);
    }
    import_done(&i);
}

static void test_message__convolution_channels(void **state) {
    (void)state;
    wire node = wire_node("Conv x w > y");
    wire g = graph_with("1,4,32,32", 4, (int64_t[]){8, 3, 3, 3}, "conv1", &node);
    reads(&g,
          "node 'conv1' (Conv): conv: weight has 3 input channels, input has 4 (f32[1,4,32,32]); "
          "expected groups (1) × those of the weight; its inputs: f32[1,4,32,32], f32[8,3,3,3]");
}

static void test_message__broadcast(void **state) {
    (void)state;
    wire node = wire_node("Add x w > y");
    wire g = graph_with("2,3", 1, (int64_t[]){4}, "bias", &node);
    reads(&g, "node 'bias' (Add): add: shapes 2x3 and 4 do not broadcast: axis -1 has sizes that "
              "are neither equal nor 1; its inputs: f32[2,3], f32[4]");
}

static void test_message__missing_input(void **state) {
    (void)state;
    wire node = wire_node("Add x > y"), g = graph_with("2", 0, NULL, "sum", &node);
    reads(&g, "node 'sum' (Add): input 1 is missing; its inputs: f32[2]");
}

static void test_message__missing_attribute(void **state) {
    (void)state;
    wire node = wire_node("Concat x x > y"), g = graph_with("2", 0, NULL, "cat", &node);
    reads(&g, "node 'cat' (Concat): attribute 'axis' is missing; its inputs: f32[2], f32[2]");
}

static void test_message__axis(void **state) {
    (void)state;
    wire node = wire_node("Softmax x > y");
    wire_attr_int(&node, "axis", 3);
    wire g = graph_with("2", 0, NULL, "probabilities", &node);
    reads(&g,
          "node 'probabilities' (Softmax): axis 3 is out of range for rank 1; its inputs: f32[2]");
}

static void test_message__unknown_operator(void **state) {
    (void)state;
    wire node = wire_node("Fancy x > y"), g = graph_with("2", 0, NULL, "n", &node);
    reads(&g, "node 'n' (Fancy): operator Fancy of operator set 'ai.onnx' is not supported; "
              "docs/onnx.md lists what is; its inputs: f32[2]");
}

static void test_message__old_operator_set(void **state) {
    (void)state;
    imported i;
    wire node = wire_node("Erf x > y"), g = graph_with("2", 0, NULL, "n", &node);
    wire model = wire_model(&g, 6);
    import_bytes(&i, model.at, model.len, NULL);
    assert_string_equal(i.text, "node 'n' (Erf): operator Erf is not supported in version 6 of "
                                "operator set 'ai.onnx'; its inputs: f32[2]");
    import_done(&i);
}

static void test_message__size_to_bind(void **state) {
    (void)state;
    wire node = wire_node("Conv x w > y"), attr = {.len = 0}, strides = {.len = 0};
    wire_text(&attr, 1, "auto_pad");
    wire_text(&attr, 4, "SAME_UPPER");
    wire_int(&attr, 20, 3);
    wire_put(&node, 5, &attr);
    wire_text(&strides, 1, "strides");
    wire_int(&strides, 8, 2);
    wire_int(&strides, 20, 7);
    wire_put(&node, 5, &strides);
    wire g = graph_with("1,3,L", 3, (int64_t[]){8, 3, 3}, "same", &node);
    reads(&g,
          "node 'same' (Conv): a size under SAME padding is L; it has to be bound (--dim NAME=N)");
}

static void test_message__not_a_model(void **state) {
    (void)state;
    imported i;
    import_bytes(&i, "#!/bin/sh\necho", 14, NULL);
    assert_int_equal(i.status, TN_INVALID);
    assert_memory_equal(i.text, "not an ONNX model, or a damaged one: at byte ", 45);
    import_done(&i);
}

static void test_message__rank(void **state) {
    (void)state;
    wire node = wire_node("Gemm x w > y");
    wire g = graph_with("2,3,4", 2, (int64_t[]){4, 5}, "fc", &node);
    reads(&g, "node 'fc' (Gemm): its factors have 3 and 2 axes; expected matrices; its inputs: "
              "f32[2,3,4], f32[4,5]");
}

static void test_message__element_type(void **state) {
    (void)state;
    wire node = wire_node("Add x k > y"), g = graph_with("2", 0, NULL, "sum", &node);
    wire_ints(&g, "k", 2, (int64_t[]){1, 2});
    reads(&g, "node 'sum' (Add): input 1 ('k') has type i64; expected f32 as of those before it; "
              "its inputs: f32[2], i64[2]");
    node = wire_node("Equal x x > y"), g = graph_with("2", 0, NULL, "same", &node);
    reads(&g, "output 'y' is declared as f32 but computed as bool");
}

static void test_message__inner_sizes(void **state) {
    (void)state;
    wire node = wire_node("MatMul x w > y");
    wire g = graph_with("2,3", 2, (int64_t[]){4, 5}, "product", &node);
    reads(&g, "node 'product' (MatMul): dot 'product' (f32[2,3], f32[4,5]): operand 1 is f32[4,5]: "
              "expected size 3 on contracting axis 0, as axis 1 of lhs f32[2,3]");
}

static void test_message__reshape(void **state) {
    (void)state;
    wire node = wire_node("Reshape x s > y"), g = graph_with("2,3", 0, NULL, "flat", &node);
    wire_ints(&g, "s", 1, (int64_t[]){7});
    reads(&g, "node 'flat' (Reshape): reshape 'flat' (f32[2,3]): operand 0 is f32[2,3]: its 6 "
              "elements do not fill the shape [7] of 7; its inputs: f32[2,3], i64[1]");
}

static void test_message__attribute_of_another_type(void **state) {
    (void)state;
    wire node = wire_node("Softmax x > y");
    wire_attr_text(&node, "axis", "last");
    wire g = graph_with("2", 0, NULL, "n", &node);
    reads(&g, "node 'n' (Softmax): attribute 'axis' is a string; expected an integer; its inputs: "
              "f32[2]");
}

static void test_message__attribute_out_of_its_choices(void **state) {
    (void)state;
    wire node = wire_node("Gelu x > y");
    wire_attr_text(&node, "approximate", "sigmoid");
    wire g = graph_with("2", 0, NULL, "n", &node);
    reads(&g, "node 'n' (Gelu): attribute 'approximate' is 'sigmoid'; expected one of 'none', "
              "'tanh'; its inputs: f32[2]");
}

static void test_message__attribute_of_the_wrong_length(void **state) {
    (void)state;
    wire node = wire_node("AveragePool x > y"), attr = {.len = 0};
    wire_text(&attr, 1, "kernel_shape");
    wire_int(&attr, 8, 2);
    wire_int(&attr, 20, 7);
    wire_put(&node, 5, &attr);
    wire g = graph_with("1,3,8,8", 0, NULL, "pool", &node);
    reads(&g, "node 'pool' (AveragePool): attribute 'kernel_shape' has 1 entries; expected 2; its "
              "inputs: f32[1,3,8,8]");
}

static void test_message__undefined_input(void **state) {
    (void)state;
    wire node = wire_node("Neg z > y"), g = graph_with("2", 0, NULL, "n", &node);
    reads(&g, "node 'n' (Neg): input 'z' is not computed before it: nodes must be in topological "
              "order, without cycles; its inputs: none");
}

static void test_message__name_defined_twice(void **state) {
    (void)state;
    wire node = wire_node("Neg x > x"), g = graph_with("2", 0, NULL, "n", &node);
    reads(&g, "node 'n' (Neg): 'x' is defined twice; its inputs: f32[2]");
}

static void test_message__output_that_is_not_given(void **state) {
    (void)state;
    wire node = wire_node("Neg x > y z"), g = graph_with("2", 0, NULL, "n", &node);
    reads(&g, "node 'n' (Neg): its output 1 ('z') is not supported; its inputs: f32[2]");
}

static void test_message__output_that_is_not_computed(void **state) {
    (void)state;
    wire node = wire_node("Neg x > z"), g = graph_with("2", 0, NULL, "n", &node);
    reads(&g, "output 'y' is not computed by any node");
}

static void test_message__texts(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_STRING, "2");
    wire_add_node(&g, "Identity x > y");
    wire_output(&g, "y", W_STRING, "2");
    reads(&g, "input: 'x': elements of type STRING; Tenon has no such type: turn texts into "
              "numbers before the model");
}

static void test_message__old_broadcasting(void **state) {
    (void)state;
    imported i;
    wire node = wire_node("Add x w > y");
    wire g = graph_with("2,3", 1, (int64_t[]){3}, "bias", &node);
    wire model = wire_model(&g, 6);
    import_bytes(&i, model.at, model.len, NULL);
    assert_string_equal(i.text, "node 'bias' (Add): its operands differ in shape; before operator "
                                "set 7 that needs broadcast = 1; its inputs: f32[2,3], f32[3]");
    import_done(&i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message__convolution_channels),
        cmocka_unit_test(test_message__broadcast),
        cmocka_unit_test(test_message__missing_input),
        cmocka_unit_test(test_message__missing_attribute),
        cmocka_unit_test(test_message__axis),
        cmocka_unit_test(test_message__unknown_operator),
        cmocka_unit_test(test_message__old_operator_set),
        cmocka_unit_test(test_message__size_to_bind),
        cmocka_unit_test(test_message__not_a_model),
        cmocka_unit_test(test_message__rank),
        cmocka_unit_test(test_message__element_type),
        cmocka_unit_test(test_message__inner_sizes),
        cmocka_unit_test(test_message__reshape),
        cmocka_unit_test(test_message__attribute_of_another_type),
        cmocka_unit_test(test_message__attribute_out_of_its_choices),
        cmocka_unit_test(test_message__attribute_of_the_wrong_length),
        cmocka_unit_test(test_message__undefined_input),
        cmocka_unit_test(test_message__name_defined_twice),
        cmocka_unit_test(test_message__output_that_is_not_given),
        cmocka_unit_test(test_message__output_that_is_not_computed),
        cmocka_unit_test(test_message__texts),
        cmocka_unit_test(test_message__old_broadcasting),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
