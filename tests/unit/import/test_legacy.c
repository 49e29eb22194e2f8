/* Operators with the meaning they had in operator set 6 and before, gradients, and empty inputs. */
#include "unit/test.h"

#include <stdlib.h>

#include "ops/eval.h"
#include "unit/import/onnx_wire.h"

static void floats(wire *g, const char *name, int rank, const int64_t *dim, const float *at) {
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)dim[i];
    wire t = wire_tensor(name, W_FLOAT, rank, dim, at, count * sizeof *at);
    wire_put(g, 5, &t);
}

static void text_attr(wire *node, const char *name, int field, int type, const char *text) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    wire_text(&attr, field, text);
    wire_int(&attr, 20, type);
    wire_put(node, 5, &attr);
}

/* x is [2,2] with 1 2 3 4. */
static wire graph_of(const wire *node) {
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "2,2");
    wire_put(&g, 1, node);
    wire_output(&g, "y", W_FLOAT, "?");
    return g;
}

static void run(imported *i, const wire *g, int64_t opset, tn_array *out) {
    static float x[] = {1, 2, 3, 4};
    tn_array in = {.dtype = TN_f32, .rank = 2, .dim = {2, 2}, .data = x};
    import_model_at(i, g, opset);
    shape_text(i, 0); /* fails with the reason when there is no graph */
    tn_status status = tn_eval_graph(i->import.graph, &in, NULL, out, &i->arena, &i->err);
    assert_int_equal(status, TN_OK);
}

static void gives(const wire *g, int64_t opset, const float *want, int count) {
    imported i;
    tn_array out = {0};
    run(&i, g, opset, &out);
    assert_int_equal(tn_array_count(&out), count);
    for (int k = 0; k < count; k++) assert_float_equal(((float *)out.data)[k], want[k], 1e-4f);
    import_done(&i);
}

static void test_add__places_the_smaller_operand_at_its_axis(void **state) {
    (void)state;
    wire node = wire_node("Add x w > y");
    wire_attr_int(&node, "broadcast", 1);
    wire last = node;
    wire_attr_int(&node, "axis", 0);
    wire g = graph_of(&node);
    floats(&g, "w", 1, (int64_t[]){2}, (float[]){10, 20});
    gives(&g, 6, (float[]){11, 12, 23, 24}, 4);
    g = graph_of(&last);
    floats(&g, "w", 1, (int64_t[]){2}, (float[]){10, 20});
    gives(&g, 1, (float[]){11, 22, 13, 24}, 4);
    g = graph_of(&last);
    floats(&g, "w", 3, (int64_t[]){1, 1, 1}, (float[]){10});
    gives(&g, 6, (float[]){11, 12, 13, 14}, 4);
}

/* Whole numbers known while importing are not added by newer rules. */
static void test_add__of_known_values_keeps_the_axis(void **state) {
    (void)state;
    wire node = wire_node("Add a w > c");
    wire_attr_int(&node, "broadcast", 1);
    wire_attr_int(&node, "axis", 0);
    wire g = graph_of(&node);
    floats(&g, "a", 2, (int64_t[]){2, 2}, (float[]){0, 0, 0, 0});
    floats(&g, "w", 1, (int64_t[]){2}, (float[]){10, 20});
    wire_add_node(&g, "Add c x > y");
    gives(&g, 6, (float[]){11, 12, 23, 24}, 4);
}

static void test_prelu__has_a_slope_per_channel(void **state) {
    (void)state;
    wire node = wire_node("Neg x > n"), g = graph_of(&node);
    floats(&g, "w", 1, (int64_t[]){2}, (float[]){1, 10});
    wire_add_node(&g, "PRelu n w > y");
    gives(&g, 6, (float[]){-1, -20, -3, -40}, 4);
}

/* Of 1 3 and 2 4 the mean is 2 and 3, the variance 1; running: mean 0, variance 1. */
static void test_batch_norm__trains_without_is_test(void **state) {
    (void)state;
    static const char *const names[] = {"s", "b", "m", "v"};
    static const float one[] = {1, 1}, zero[] = {0, 0};
    for (int test = 0; test < 2; test++) {
        wire node = wire_node("BatchNormalization x s b m v > y");
        wire_attr_int(&node, "is_test", test);
        wire g = graph_of(&node);
        for (int i = 0; i < 4; i++)
            floats(&g, names[i], 1, (int64_t[]){2}, i == 0 || i == 3 ? one : zero);
        gives(&g, 6, test ? (float[]){1, 2, 3, 4} : (float[]){-1, -1, 1, 1}, 4);
    }
}

static void test_attributes__stood_where_inputs_are_now(void **state) {
    (void)state;
    imported i;
    wire node = wire_node("Reshape x > y"), attr = {.len = 0};
    wire_text(&attr, 1, "shape");
    wire_int(&attr, 8, -1);
    wire_int(&attr, 20, 7);
    wire_put(&node, 5, &attr);
    wire g = graph_of(&node);
    import_model_at(&i, &g, 1);
    assert_string_equal(shape_text(&i, 0), "f32[4]");
    import_done(&i);
    node = wire_node("Cast x > c");
    text_attr(&node, "to", 4, 3, "INT64");
    g = graph_of(&node);
    node = wire_node("Cast c > y");
    text_attr(&node, "to", 4, 3, "FLOAT");
    wire_put(&g, 1, &node);
    gives(&g, 5, (float[]){1, 2, 3, 4}, 4);
    node = wire_node("Tile x times axis > y");
    g = graph_of(&node);
    floats(&g, "times", 0, NULL, (float[]){2});
    floats(&g, "axis", 0, NULL, (float[]){1});
    gives(&g, 1, (float[]){1, 2, 1, 2, 3, 4, 3, 4}, 8);
}

/* x [2,2] on the scales (1, 0.6) or (1, 1.5) behind the input that is none. */
static wire resized(const char *text, const char *grid, float scale) {
    wire node = wire_node(text);
    if (grid) text_attr(&node, "coordinate_transformation_mode", 4, 3, grid);
    wire g = graph_of(&node);
    floats(&g, "s", 1, (int64_t[]){2}, (float[]){1, scale});
    return g;
}

/* Positions i / scale; the element before, where the axis shrinks the one behind: 0/0.6 and 1/0.6 of
 * three are 0 and 2. */
static void test_resize__of_set_10_cuts_positions_off(void **state) {
    (void)state;
    wire g = resized("Resize x s > y", NULL, 1.5f);
    gives(&g, 10, (float[]){1, 1, 2, 3, 3, 4}, 6);
    wire wide = {.len = 0}, cat = wire_node("Concat x x > w"), node = wire_node("Resize w s > y");
    wire_attr_int(&cat, "axis", 1);
    wire_input(&wide, "x", W_FLOAT, "2,2");
    wire_put(&wide, 1, &cat);
    wire_put(&wide, 1, &node);
    wire_output(&wide, "y", W_FLOAT, "?");
    floats(&wide, "s", 1, (int64_t[]){2}, (float[]){1, 0.6f});
    gives(&wide, 10, (float[]){1, 1, 3, 3}, 4);
}

static void test_resize__of_set_11_has_a_grid_more(void **state) {
    (void)state;
    wire g = resized("Resize x r s > y", "tf_half_pixel_for_nn", 2);
    floats(&g, "r", 1, (int64_t[]){0}, NULL);
    gives(&g, 11, (float[]){1, 2, 2, 2, 3, 4, 4, 4}, 8);
    refused_at(&g, 13, "tf_half_pixel_for_nn, which opset 13 withdrew");
}

static void test_dropout__in_training_is_refused(void **state) {
    (void)state;
    wire node = wire_node("Dropout x > y"), g = graph_of(&node);
    refused_at(&g, 6, "dropout in training mode; export with is_test = 1");
    wire_attr_int(&node, "is_test", 1);
    g = graph_of(&node);
    gives(&g, 6, (float[]){1, 2, 3, 4}, 4);
}

/* ---- Gradient ----------------------------------------------------------------------------------- */

static wire gradient_of(const char *xs, const char *y, const char *nodes) {
    wire node = wire_node(nodes);
    wire_text(&node, 7, "ai.onnx.preview.training");
    text_attr(&node, "xs", 9, 8, xs);
    text_attr(&node, "y", 4, 3, y);
    return node;
}

static void test_gradient__of_two_operators(void **state) {
    (void)state;
    wire node = wire_node("Mul x x > s"), g = graph_of(&node);
    wire_add_node(&g, "Mul s x > z");
    node = gradient_of("x", "z", "Gradient x > y");
    wire_put(&g, 1, &node);
    gives(&g, 12, (float[]){3, 12, 27, 48}, 4);
}

static void test_gradient__says_what_it_needs(void **state) {
    (void)state;
    wire node = wire_node("Mul x x > z"), first = graph_of(&node), g = first;
    node = gradient_of("x", "z", "Gradient z > y");
    wire_put(&g, 1, &node);
    refused_at(&g, 12, "input 0 is not 'x' of attribute 'xs'");
    g = first;
    node = gradient_of("x", "later", "Gradient x > y");
    wire_put(&g, 1, &node);
    refused_at(&g, 12, "attribute 'y' names 'later', which is not computed before it");
}

/* ---- empty inputs --------------------------------------------------------------------------------- */

static void test_sizes__may_be_0(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "N,3");
    wire_add_node(&g, "Softmax x > y");
    wire_output(&g, "y", W_FLOAT, "?");
    import_model_at(&i, &g, 21);
    uint32_t n;
    assert_true(tn_dims_find_symbol(i.import.dims, "N", &n));
    assert_int_equal(i.import.dims->symbols.data[n].lo, 0);
    import_done(&i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add__places_the_smaller_operand_at_its_axis),
        cmocka_unit_test(test_add__of_known_values_keeps_the_axis),
        cmocka_unit_test(test_prelu__has_a_slope_per_channel),
        cmocka_unit_test(test_batch_norm__trains_without_is_test),
        cmocka_unit_test(test_attributes__stood_where_inputs_are_now),
        cmocka_unit_test(test_resize__of_set_10_cuts_positions_off),
        cmocka_unit_test(test_resize__of_set_11_has_a_grid_more),
        cmocka_unit_test(test_dropout__in_training_is_refused),
        cmocka_unit_test(test_gradient__of_two_operators),
        cmocka_unit_test(test_gradient__says_what_it_needs),
        cmocka_unit_test(test_sizes__may_be_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
