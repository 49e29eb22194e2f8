/* Shapes computed by nodes: sizes stay open; what has to be bound is asked for. */
#include "unit/test.h"

#include <stdlib.h>

#include "ops/eval.h"
#include "unit/import/onnx_wire.h"

static const int64_t zero = 0, one = 1, two = 2, minus = -1;

/* x[N, S, 6] → reshape to (N·S, 2, -1) as exporters write it */
static void test_known__batch_and_sequence_stay_open(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0};
    wire node = wire_node("Concat rows two minus > to");
    wire_attr_int(&node, "axis", 0);
    wire_input(&g, "x", W_FLOAT, "N,S,6");
    wire_ints(&g, "zero", 1, &zero);
    wire_ints(&g, "one", 1, &one);
    wire_ints(&g, "two", 1, &two);
    wire_ints(&g, "minus", 1, &minus);
    wire_add_node(&g, "Shape x > shape");
    wire_add_node(&g, "Gather shape zero > n");
    wire_add_node(&g, "Slice shape one two > s");
    wire_add_node(&g, "Mul n s > rows");
    wire_put(&g, 1, &node);
    wire_add_node(&g, "Reshape x to > y");
    wire_output(&g, "y", W_FLOAT, "?,?,?");
    import_model(&i, &g);
    assert_string_equal(shape_text(&i, 0), "f32[N*S,2,3]");
    import_done(&i);
}

/* Expand's idiom: where(shape == -1, size, shape) */
static void test_known__comparisons_are_decided_by_bounds(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "N");
    wire_input(&g, "v", W_FLOAT, "1");
    wire_ints(&g, "minus", 1, &minus);
    wire_ints(&g, "two", 1, &two);
    wire_add_node(&g, "Shape x > n");
    wire_add_node(&g, "Equal n minus > open");
    wire_add_node(&g, "Where open two n > to");
    wire_add_node(&g, "Expand v to > y");
    wire_output(&g, "y", W_FLOAT, "?");
    import_model(&i, &g);
    assert_string_equal(shape_text(&i, 0), "f32[N]");
    import_done(&i);
}

static void test_known__input_that_decides_a_shape(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0}, model;
    wire_input(&g, "x", W_FLOAT, "N,6");
    wire_input(&g, "to", W_INT64, "3");
    wire_add_node(&g, "Reshape x to > y");
    wire_output(&g, "y", W_FLOAT, "?,?,?");
    model = wire_model(&g, 21);
    import_bytes(&i, model.at, model.len, NULL);
    assert_int_equal(i.status, TN_OK);
    assert_null(i.import.graph);
    assert_int_equal(i.import.need_values.len, 1);
    assert_string_equal(i.import.need_values.data[0], "to");
    assert_non_null(
        strstr(i.import.need_reason, "(Reshape): its shape is computed from input 'to'"));
    import_done(&i);
    int64_t to[] = {0, 2, -1};
    tn_import_value value = {"to", {.dtype = TN_i64, .rank = 1, .dim = {3}, .data = to}};
    tn_import_options options = {.values = &value, .value_count = 1};
    import_bytes(&i, model.at, model.len, &options);
    assert_string_equal(shape_text(&i, 0), "f32[N,2,3]");
    assert_int_equal(i.import.graph->inputs.len, 2);
    import_done(&i);
}

static void test_known__size_that_must_be_bound(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0}, model;
    wire_input(&g, "x", W_FLOAT, "N");
    wire_input(&g, "z", W_FLOAT, "M");
    wire_add_node(&g, "Add x z > y");
    wire_output(&g, "y", W_FLOAT, "?");
    model = wire_model(&g, 21);
    import_bytes(&i, model.at, model.len, NULL);
    assert_int_equal(i.status, TN_OK);
    assert_null(i.import.graph);
    assert_int_equal(i.import.need_dims.len, 2);
    import_done(&i);
    tn_import_dim dims[] = {{"N", 4}, {"M", 4}};
    tn_import_options options = {.dims = dims, .dim_count = 2};
    import_bytes(&i, model.at, model.len, &options);
    assert_string_equal(shape_text(&i, 0), "f32[4]");
    import_done(&i);
    dims[0].value = 3;
    import_bytes(&i, model.at, model.len, &options);
    assert_int_equal(i.status, TN_INVALID);
    assert_non_null(strstr(i.text, "do not broadcast"));
    import_done(&i);
    dims[0].name = "K";
    import_bytes(&i, model.at, model.len, &options);
    assert_int_equal(i.status, TN_NOT_FOUND);
    import_done(&i);
}

/* A table cut to the length of x and added to it bounds the length. */
static void test_known__table_bounds_a_size(void **state) {
    (void)state;
    imported i;
    float table[8] = {0};
    wire g = {.len = 0}, t = wire_tensor("table", W_FLOAT, 1, (int64_t[]){8}, table, sizeof table);
    wire_input(&g, "x", W_FLOAT, "S");
    wire_ints(&g, "zero", 1, &zero);
    wire_put(&g, 5, &t);
    wire_add_node(&g, "Shape x > s");
    wire_add_node(&g, "Slice table zero s > cut");
    wire_add_node(&g, "Add x cut > y");
    wire_output(&g, "y", W_FLOAT, "?");
    import_model(&i, &g);
    assert_string_equal(shape_text(&i, 0), "f32[S]");
    assert_int_equal(i.import.dims->symbols.data[0].hi, 8);
    import_done(&i);
}

/* A size that the run binds stays open; a value that has to be known is asked for as ever. */
static void test_known__sizes_that_come_from_data(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "4");
    wire_add_node(&g, "NonZero x > y");
    wire_output(&g, "y", W_INT64, "?,?");
    import_model(&i, &g);
    assert_string_equal(shape_text(&i, 0), "i64[1,selected]");
    assert_int_equal(i.import.dims->symbols.data[0].hi, 4);
    import_done(&i);
    wire_add_node(&g, "ReduceMax y > k");
    wire_add_node(&g, "TopK x k > z p");
    wire_output(&g, "z", W_FLOAT, "?");
    import_model(&i, &g);
    assert_int_equal(i.status, TN_OK);
    assert_null(i.import.graph);
    assert_string_equal(i.import.need_values.data[0], "x");
    import_done(&i);
}

/* An index that is a size, which only a run binds. */
static void test_known__open_index(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0};
    float x[] = {1, 2, 3, 4, 5}, t[] = {0, 0};
    const tn_array in[] = {{TN_f32, 1, {5}, x}, {TN_f32, 1, {2}, t}};
    const int64_t size = 2;
    tn_array y;
    wire_input(&g, "x", W_FLOAT, "5");
    wire_input(&g, "t", W_FLOAT, "N");
    wire_add_node(&g, "Shape t > n");
    wire_add_node(&g, "Gather x n > y");
    wire_output(&g, "y", W_FLOAT, "1");
    import_model(&i, &g);
    assert_string_equal(shape_text(&i, 0), "f32[1]");
    assert_int_equal(tn_eval_graph(i.import.graph, in, &size, &y, &i.arena, &i.err), TN_OK);
    assert_float_equal(tn_array_get(&y, 0).f, 3, 0);
    import_done(&i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known__batch_and_sequence_stay_open),
        cmocka_unit_test(test_known__comparisons_are_decided_by_bounds),
        cmocka_unit_test(test_known__input_that_decides_a_shape),
        cmocka_unit_test(test_known__size_that_must_be_bound),
        cmocka_unit_test(test_known__table_bounds_a_size),
        cmocka_unit_test(test_known__sizes_that_come_from_data),
        cmocka_unit_test(test_known__open_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
