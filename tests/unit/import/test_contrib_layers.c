/* Fused layers of com.microsoft: a few values by hand; ONNX Runtime is the judge in the conformance suite. */
#include "unit/test.h"

#include <math.h>
#include <stdlib.h>

#include "ops/eval.h"
#include "unit/import/onnx_wire.h"

enum { MOST = 8, W_NONE = 0 };

typedef struct operand {
    const char *name, *sizes; /* i…: i32, u…: u8, others f32 */
    float at[24];
} operand;

typedef struct attribute {
    const char *name;
    int64_t value;
} attribute;

typedef struct layer {
    const char *node, *domain;
    attribute attr[3];
    operand in[MOST];
    float want[16];
} layer;

static wire graph_of(const layer *l) {
    wire g = {.len = 0}, node = wire_node(l->node);
    wire_text(&node, 7, l->domain ? l->domain : "com.microsoft");
    for (int i = 0; i < 3 && l->attr[i].name; i++)
        wire_attr_int(&node, l->attr[i].name, l->attr[i].value);
    for (int i = 0; i < MOST && l->in[i].name; i++) {
        char kind = l->in[i].name[0];
        int type = kind == 'i' ? W_INT32 : kind == 'l' ? W_INT64 : kind == 'u' ? W_UINT8 : W_FLOAT;
        wire_input(&g, l->in[i].name, type, l->in[i].sizes);
    }
    int32_t total = 3;
    wire t = wire_tensor("total", W_INT32, 0, NULL, &total, sizeof total);
    if (strstr(l->node, " total")) wire_put(&g, 5, &t);
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_NONE, "?");
    return g;
}

static void check(const layer *l) {
    imported i;
    wire g = graph_of(l);
    tn_array in[MOST], y;
    import_model(&i, &g);
    if (i.status != TN_OK) fail_msg("%s: %s", l->node, i.text);
    if (!i.import.graph) fail_msg("%s needs %s", l->node, i.import.need_reason);
    for (uint32_t n = 0; n < i.import.inputs.len; n++) {
        const tn_type *type = &i.import.inputs.data[n].type;
        int64_t dim[TN_MAX_RANK];
        for (int d = 0; d < type->shape.rank; d++) dim[d] = type->shape.dim[d];
        in[n] = tn_array_new(&i.arena, type->dtype, type->shape.rank, dim);
        for (int64_t e = 0; e < tn_array_count(&in[n]); e++) {
            float v = l->in[n].at[e];
            tn_cell cell = {.f = (double)v};
            if (type->dtype == TN_i32 || type->dtype == TN_i64) cell = (tn_cell){.i = (int64_t)v};
            if (type->dtype == TN_u8) cell = (tn_cell){.u = (uint64_t)v};
            tn_array_set(&in[n], e, cell);
        }
    }
    if (tn_eval_graph(i.import.graph, in, NULL, &y, &i.arena, &i.err) != TN_OK) fail();
    for (int64_t e = 0; e < tn_array_count(&y); e++) {
        double got = tn_cell_cast(y.dtype, TN_f64, tn_array_get(&y, e)).f,
               want = (double)l->want[e];
        if (!(fabs(got - want) <= 1e-5))
            fail_msg("%s: element %d is %g, not %g", l->node, (int)e, got, want);
    }
    import_done(&i);
}

static void test_activation__means_its_formula(void **state) {
    static const layer layers[] = {
        {"Gelu x > y", NULL, {{0}}, {{"x", "2", {1, -1}}}, {0.841344746f, -0.158655254f}},
        {"BiasGelu x b > y",
         NULL,
         {{0}},
         {{"x", "2", {2, -3}}, {"b", "2", {-1, 2}}},
         {0.841344746f, -0.158655254f}},
        {"FastGelu x > y", NULL, {{0}}, {{"x", "2", {1, -1}}}, {0.841191991f, -0.158808009f}},
        {"QuickGelu x > y", NULL, {{0}}, {{"x", "2", {1, 0}}}, {0.845795765f, 0}},
        {"BiasSplitGelu x b > y",
         NULL,
         {{0}},
         {{"x", "4", {2, 3, 0, 1}}, {"b", "4", {1, 1, 1, -2}}},
         {3 * 0.841344746f, 4 * -0.158655254f}},
        {"BiasSoftmax x b > y",
         NULL,
         {{"axis", 1}, {"is_inner_broadcast", 0}},
         {{"x", "1,2", {0, 1.0986123f}}, {"b", "1,2", {1.0986123f, 0}}},
         {0.5f, 0.5f}},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) check(&layers[i]);
}

static void test_norm__is_that_of_the_sum(void **state) {
    static const layer layers[] = {
        {"SkipLayerNormalization x s g b > y",
         NULL,
         {{0}},
         {{"x", "1,2", {1, 2}}, {"s", "1,2", {0, 1}}, {"g", "2", {1, 2}}, {"b", "2", {10, 20}}},
         {9, 22}},
        {"SkipLayerNormalization x s g b c > - - - y",
         NULL,
         {{0}},
         {{"x", "1,2", {1, 2}},
          {"s", "1,2", {0, 1}},
          {"g", "2", {1, 2}},
          {"b", "2", {10, 20}},
          {"c", "2", {5, 6}}},
         {6, 9}},
        {"SkipSimplifiedLayerNormalization x s g > y",
         NULL,
         {{0}},
         {{"x", "1,2", {1, 3}}, {"s", "1,2", {0, 4}}, {"g", "2", {5, 10}}},
         {1, 14}},
        {"SimplifiedLayerNormalization x g > y",
         "",
         {{0}},
         {{"x", "1,2", {100, 700}}, {"g", "2", {5, 10}}},
         {1, 14}},
        {"EmbedLayerNormalization i - w p - g b > y",
         NULL,
         {{0}},
         {{"i", "1,1", {1}},
          {"w", "2,2", {7, 7, 1, 2}},
          {"p", "3,2", {0, 1, 9, 9, 9, 9}},
          {"g", "2", {1, 2}},
          {"b", "2", {10, 20}}},
         {9, 22}},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) check(&layers[i]);
}

static void test_product__is_transposed_as_it_says(void **state) {
    static const layer layers[] = {
        {"FusedMatMul x w > y",
         NULL,
         {{"transA", 1}, {"transB", 1}},
         {{"x", "2,2", {1, 2, 3, 4}}, {"w", "2,2", {5, 6, 7, 8}}},
         {23, 31, 34, 46}},
        /* the rows of both matrices of the batch lie in the first axis */
        {"FusedMatMul x w > y",
         NULL,
         {{"transBatchA", 1}},
         {{"x", "2,2,1", {1, 2, 3, 4}}, {"w", "2,1,1", {1, 10}}},
         {1, 3, 20, 40}},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) check(&layers[i]);
}

/* Queries of zeros see all visible keys alike: the result is the mean of their values. */
static void test_attention__sees_what_the_mask_shows(void **state) {
    static const layer layers[] = {
        {"MultiHeadAttention q k v > y",
         NULL,
         {{"num_heads", 1}, {"unidirectional", 1}},
         {{"q", "1,2,1", {0, 0}}, {"k", "1,2,1", {1, 2}}, {"v", "1,2,1", {4, 8}}},
         {4, 6}},
        {"MultiHeadAttention q k v - i > y",
         NULL,
         {{"num_heads", 1}},
         {{"q", "1,1,1", {0}},
          {"k", "1,3,1", {1, 2, 3}},
          {"v", "1,3,1", {4, 8, 90}},
          {"i", "1", {2}}},
         {6}},
        {"Attention x w - i > y",
         NULL,
         {{"num_heads", 1}},
         {{"x", "1,3,1", {4, 8, 90}}, {"w", "1,3", {0, 1, 1}}, {"i", "2", {2, 1}}},
         {8, 8, 8}},
        {"GroupQueryAttention q k v pk pv i total > y",
         NULL,
         {{"num_heads", 2}, {"kv_num_heads", 1}},
         {{"q", "1,1,2", {0, 0}},
          {"k", "1,1,1", {1}},
          {"v", "1,1,1", {6}},
          {"pk", "1,1,4,1", {1, 1, 1, 1}},
          {"pv", "1,1,4,1", {2, 4, 90, 90}},
          {"i", "1", {2}}},
         {4, 4}},
        {"RotaryEmbedding x l c s > y",
         NULL,
         {{0}},
         {{"x", "1,1,2", {3, 4}}, {"l", "1,1", {1}}, {"c", "2,1", {1, 0}}, {"s", "2,1", {0, 1}}},
         {-4, 3}},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) check(&layers[i]);
}

static void test_quantised__means_its_numbers(void **state) {
    static const layer layers[] = {
        /* (3, 5) · 0.5 + (4, 8) · 0.25 = (2.5, 4.5) */
        {"QLinearAdd ua s uz ub t - r - > y",
         NULL,
         {{0}},
         {{"ua", "2", {5, 7}},
          {"s", "", {0.5f}},
          {"uz", "", {2}},
          {"ub", "2", {4, 8}},
          {"t", "", {0.25f}},
          {"r", "", {0.5f}}},
         {5, 9}},
        /* without a scale of the result it is a float */
        {"QGemm ua s uz ub t uy i > y",
         NULL,
         {{"transB", 1}},
         {{"ua", "1,2", {3, 4}},
          {"s", "", {0.5f}},
          {"uz", "", {1}},
          {"ub", "2,2", {1, 2, 3, 4}},
          {"t", "", {0.25f}},
          {"uy", "", {0}},
          {"i", "2", {10, 20}}},
         {2.25f, 4.75f}},
        {"MatMulIntegerToFloat ua ub s t uz > y",
         NULL,
         {{0}},
         {{"ua", "1,2", {3, 4}},
          {"ub", "2,1", {5, 6}},
          {"s", "", {0.5f}},
          {"t", "1", {2}},
          {"uz", "", {1}}},
         {28}},
        /* 51 and 255 of steps of 0.02 are exact */
        {"DynamicQuantizeMatMul x ub t > y",
         NULL,
         {{0}},
         {{"x", "1,2", {1.02f, 5.1f}}, {"ub", "2,1", {1, 2}}, {"t", "1", {0.5f}}},
         {5.61f}},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) check(&layers[i]);
}

static void test_inverse__exchanges_rows(void **state) {
    static const layer l = {"Inverse x > y",
                            NULL,
                            {{0}},
                            {{"x", "2,2,2", {0, 2, 4, 0, 1, 2, 3, 4}}},
                            {0, 0.25f, 0.5f, 0, -2, 1, 1.5f, -0.5f}};
    (void)state;
    check(&l);
}

static void test_contrib__names_what_is_wrong(void **state) {
    static const struct {
        layer layer;
        const char *message;
    } wrong[] = {
        {{"MultiHeadAttention q k v > y",
          NULL,
          {{"num_heads", 3}},
          {{"q", "1,2,4", {0}}, {"k", "1,2,4", {0}}, {"v", "1,2,4", {0}}},
          {0}},
         "does not split into 3 heads"},
        {{"Attention x w - i > y",
          NULL,
          {{"num_heads", 1}},
          {{"x", "1,3,1", {0}}, {"w", "1,3", {0}}, {"i", "3", {0}}},
          {0}},
         "its mask has 3 elements; expected N, 2N or 3N + 2 for a batch of 1"},
        {{"Attention x w > y",
          NULL,
          {{"num_heads", 1}, {"do_rotary", 1}},
          {{"x", "1,3,1", {0}}, {"w", "1,3", {0}}},
          {0}},
         "attribute do_rotary"},
        {{"Attention x w > y",
          NULL,
          {{"num_heads", 1}},
          {{"x", "1,3,1", {0}}, {"w", "1,4", {0}}},
          {0}},
         "its weights have 4 columns, which are not three parts"},
        {{"GroupQueryAttention q k v - - i total > y",
          NULL,
          {{"num_heads", 3}, {"kv_num_heads", 2}},
          {{"q", "1,1,2", {0}}, {"k", "1,1,1", {0}}, {"v", "1,1,1", {0}}, {"i", "1", {0}}},
          {0}},
         "num_heads is 3 and kv_num_heads 2"},
        {{"BiasSplitGelu x b > y", NULL, {{0}}, {{"x", "3", {0}}, {"b", "3", {0}}}, {0}},
         "the last axis of its input has no two halves"},
        {{"NhwcMaxPool x > y", NULL, {{0}}, {{"x", "3", {0}}}, {0}},
         "attribute 'kernel_shape' is missing"},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(wrong); i++) {
        wire g = graph_of(&wrong[i].layer);
        refused(&g, wrong[i].message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activation__means_its_formula),
        cmocka_unit_test(test_norm__is_that_of_the_sum),
        cmocka_unit_test(test_product__is_transposed_as_it_says),
        cmocka_unit_test(test_attention__sees_what_the_mask_shows),
        cmocka_unit_test(test_quantised__means_its_numbers),
        cmocka_unit_test(test_inverse__exchanges_rows),
        cmocka_unit_test(test_contrib__names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
