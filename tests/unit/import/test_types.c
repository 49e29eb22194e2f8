/* Operators whose operands may be of several types, or of ones they are rarely used with. */
#include "unit/test.h"

#include <math.h>
#include <stdlib.h>

#include "ops/eval.h"
#include "unit/import/onnx_wire.h"

/* TensorProto.DataType */
enum { W_INT8 = 3, W_UINT16 = 4, W_DOUBLE = 11, W_NONE = 0, MOST = 5 };

typedef struct operand {
    const char *name, *sizes;
    int type;
    double at[6];
} operand;

typedef struct sample {
    int64_t opset;
    const char *node, *text, *text_value; /* an attribute that is a text */
    operand in[MOST];
    tn_dtype type;
    double want[6];
} sample;

static wire graph_of(const sample *s) {
    wire g = {.len = 0}, node = wire_node(s->node);
    if (s->text) {
        wire attr = {.len = 0};
        wire_text(&attr, 1, s->text);
        wire_text(&attr, 4, s->text_value);
        wire_int(&attr, 20, 3);
        wire_put(&node, 5, &attr);
    }
    if (strstr(s->node, "Shrink")) {
        wire_attr_float(&node, "bias", 1.5f);
        wire_attr_float(&node, "lambd", 1.5f);
    }
    for (int i = 0; i < MOST && s->in[i].name; i++)
        wire_input(&g, s->in[i].name, s->in[i].type, s->in[i].sizes);
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_NONE, "?");
    return g;
}

static void check(const sample *s) {
    imported i;
    wire g = graph_of(s);
    tn_array in[MOST], y;
    import_model_at(&i, &g, s->opset);
    if (i.status != TN_OK) fail_msg("%s: %s", s->node, i.text);
    if (!i.import.graph) fail_msg("%s needs %s", s->node, i.import.need_reason);
    for (uint32_t n = 0; n < i.import.inputs.len; n++) {
        const tn_type *type = &i.import.inputs.data[n].type;
        in[n] = tn_array_new(&i.arena, type->dtype, type->shape.rank, type->shape.dim);
        for (int64_t e = 0; e < tn_array_count(&in[n]); e++)
            tn_array_set(&in[n], e,
                         tn_cell_cast(TN_f64, type->dtype, (tn_cell){.f = s->in[n].at[e]}));
    }
    if (tn_eval_graph(i.import.graph, in, NULL, &y, &i.arena, &i.err) != TN_OK) fail();
    if (y.dtype != s->type)
        fail_msg("%s is %s, not %s", s->node, tn_dtype_name(y.dtype), tn_dtype_name(s->type));
    for (int64_t e = 0; e < tn_array_count(&y); e++) {
        double got = tn_cell_cast(y.dtype, TN_f64, tn_array_get(&y, e)).f;
        if (!(fabs(got - s->want[e]) <= 1e-5))
            fail_msg("%s: element %d is %g, not %g", s->node, (int)e, got, s->want[e]);
    }
    import_done(&i);
}

static void test_norms__take_vectors_of_other_types(void **state) {
    static const sample samples[] = {
        {15,
         "BatchNormalization x s b m v > y",
         NULL,
         NULL,
         {{"x", "1,1,2", W_FLOAT, {3, 5}},
          {"s", "1", W_FLOAT, {2}},
          {"b", "1", W_FLOAT, {1}},
          {"m", "1", W_DOUBLE, {3}},
          {"v", "1", W_DOUBLE, {0.25}}},
         TN_f32,
         {1, 8.99984}},
        {23,
         "RMSNormalization x s > y",
         NULL,
         NULL,
         {{"x", "1,2", W_DOUBLE, {100, 700}}, {"s", "2", W_FLOAT, {5, 10}}},
         TN_f32,
         {1, 14}},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(samples); i++) check(&samples[i]);
}

static void test_whole_numbers__go_by_floats_and_come_back(void **state) {
    static const sample samples[] = {
        /* log(e^5 + e^5) = 5.69, cut off */
        {18, "ReduceLogSumExp x > y", NULL, NULL, {{"x", "1,2", W_INT32, {5, 5}}}, TN_i32, {5}},
        {18, "ReduceLogSum x > y", NULL, NULL, {{"x", "1,2", W_INT32, {10, 11}}}, TN_i32, {3}},
        {9, "Shrink x > y", NULL, NULL, {{"x", "4", W_INT8, {-2, 0, 1, 3}}}, TN_i8, {0, 0, 0, 1}},
        {12,
         "Einsum x w > y",
         "equation",
         "ij,jk->ik",
         {{"x", "1,2", W_UINT16, {300, 2}}, {"w", "2,1", W_UINT16, {300, 7}}},
         TN_u16,
         {24478}},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(samples); i++) check(&samples[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms__take_vectors_of_other_types),
        cmocka_unit_test(test_whole_numbers__go_by_floats_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
