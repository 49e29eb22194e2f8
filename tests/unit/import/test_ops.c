/* Operators: what they refuse, and sizes that stay open. */
#include "unit/test.h"

#include <stdlib.h>

#include "unit/import/onnx_wire.h"

enum { NEWEST = 27 };

static wire one_input(const char *sizes) {
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, sizes);
    return g;
}

static wire with_output(wire g) {
    wire_output(&g, "y", W_FLOAT, "?");
    return g;
}

static void test_refusals__name_the_reason(void **state) {
    static const struct {
        const char *node, *reason;
    } cases[] = {
        {"NonMaxSuppression x x > y", "expected [N, boxes, 4]"},
        {"StringConcat x x > y", "works on texts"},
        {"Det x > y", "square matrices"},
        {"SequenceAt x x > y", "input 0 ('x') has type f32; expected a sequence"},
        {"SequenceConstruct x x > y", "declared as a tensor but computed as a sequence"},
        {"Attention x x x > y", "attention: q, k, v have 2, 2, 2 axes"},
        {"RotaryEmbedding x x x > y", "expected 3 or 4"},
        {"GridSample x x > y", "grid_sample: x has 2 axes"},
        {"TfIdfVectorizer x > y", "max_gram_length"},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        wire g = one_input("2,3");
        wire_add_node(&g, cases[i].node);
        g = with_output(g);
        refused_at(&g, NEWEST, cases[i].reason);
    }
}

static void expect_shape(wire g, const char *shape) {
    imported i;
    g = with_output(g);
    import_model_at(&i, &g, NEWEST);
    assert_string_equal(shape_text(&i, 0), shape);
    import_done(&i);
}

static void test_sizes__stay_open(void **state) {
    (void)state;
    wire g = one_input("N,C,H,W");
    wire_ints(&g, "pads", 8, (int64_t[]){0, 0, 1, 2, 0, 0, 1, 2});
    wire_add_node(&g, "Pad x pads > y");
    expect_shape(g, "f32[N,C,H+2,W+4]");
    g = one_input("N,C,H,W");
    wire_input(&g, "g", W_FLOAT, "N,P,Q,2");
    wire_add_node(&g, "GridSample x g > y");
    expect_shape(g, "f32[N,C,P,Q]");
    g = one_input("N,H,S,8");
    wire_input(&g, "k", W_FLOAT, "N,H,T,8");
    wire_add_node(&g, "Attention x k k > y");
    expect_shape(g, "f32[N,H,S,8]");
}

static void test_sequences__are_known_while_importing(void **state) {
    (void)state;
    wire g = one_input("2,3");
    wire_ints(&g, "at", 1, (int64_t[]){-1});
    wire_add_node(&g, "Neg x > a");
    wire_add_node(&g, "SequenceConstruct x a > s");
    wire_add_node(&g, "SequenceInsert s x > t");
    wire_add_node(&g, "SequenceErase t at > u");
    wire node = wire_node("ConcatFromSequence u > y");
    wire_attr_int(&node, "axis", 0);
    wire_put(&g, 1, &node);
    expect_shape(g, "f32[4,3]");
    g = one_input("2,3");
    wire_ints(&g, "at", 1, (int64_t[]){5});
    wire_add_node(&g, "SequenceConstruct x > s");
    wire_add_node(&g, "SequenceAt s at > y");
    g = with_output(g);
    refused(&g, "position 5 of a sequence of 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals__name_the_reason),
        cmocka_unit_test(test_sizes__stay_open),
        cmocka_unit_test(test_sequences__are_known_while_importing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
