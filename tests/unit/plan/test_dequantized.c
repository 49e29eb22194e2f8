/* Products of dequantised numbers, which run on the bytes they are made of; against eval of the floats. */
#include "ops/compose.h"
#include "unit/plan/plan_list.h"

static tn_value constant(tn_builder *b, tn_dtype dtype, const tn_shape *s, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, dtype, s->rank, s->dim);
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        int64_t value = (int64_t)(test_random(&seed) % 256) + (dtype == TN_u8 ? 0 : -128);
        tn_array_set(&a, i,
                     tn_dtype_is_float(dtype) ? tn_cell_of(dtype, 0.0013 * (double)(value + 200))
                                              : tn_cell_of_int(dtype, value));
    }
    return tn_b_constant(b, &a);
}

static tn_quant quant(tn_builder *b, double scale, tn_dtype dtype, double zero) {
    return (tn_quant){tn_b_scalar(b, TN_f32, scale), tn_b_scalar(b, dtype, zero), 0, 0};
}

static tn_value quantized(tn_builder *b, tn_value x, double scale, tn_dtype dtype, double zero) {
    tn_quant q = quant(b, scale, dtype, zero);
    return tn_b_dequantize(b, tn_b_quantize(b, x, &q, dtype, TN_f32, true), &q, TN_f32);
}

/* Numbers with a scale for each place along `axis`, and one zero. */
static tn_value weights(tn_builder *b, tn_dtype dtype, const tn_shape *s, int axis, uint64_t seed) {
    tn_shape one = {1, {s->dim[axis]}};
    tn_quant q = {constant(b, TN_f32, &one, seed + 1), TN_NO_VALUE, axis, 0};
    if (dtype == TN_u8) q.zero = tn_b_scalar(b, TN_u8, 128);
    return tn_b_dequantize(b, constant(b, dtype, s, seed), &q, TN_f32);
}

static void output(tn_builder *b, tn_value v, const char *name) {
    if (tn_b_ok(b)) tn_graph_add_output(b->graph, v, name);
}

/* ---- matrices ------------------------------------------------------------------------------- */

static tn_value matrix(tn_builder *b, int64_t m, int64_t k) {
    tn_dim rows = m ? m : tn_dim_of_symbol(b->graph->dims, "M");
    return tn_b_input(b, "x", TN_f32, &(tn_shape){2, {rows, k}});
}

static void columns(tn_builder *b) {
    tn_value x = quantized(b, matrix(b, 9, 67), 0.013, TN_u8, 121);
    tn_value w = weights(b, TN_i8, &(tn_shape){2, {67, 40}}, 1, 3);
    tn_value y = tn_b_matmul(b, x, w, TN_f32);
    output(b, tn_b_relu(b, tn_b_add(b, y, constant(b, TN_f32, &(tn_shape){1, {40}}, 9))), "y");
}

static void turned(tn_builder *b) {
    tn_value x = quantized(b, matrix(b, 0, 48), 0.0171, TN_i8, 3);
    tn_value w = weights(b, TN_u8, &(tn_shape){2, {33, 48}}, 0, 5);
    output(b, tn_b_matmul(b, x, tn_b_swap(b, w, 0, 1), TN_f32), "y");
}

static void restored(tn_builder *b) {
    tn_value x = quantized(b, matrix(b, 5, 64), 0.0093, TN_u8, 0);
    tn_value y = tn_b_matmul(b, x, weights(b, TN_i8, &(tn_shape){2, {64, 64}}, 1, 7), TN_f32);
    y = quantized(b, y, 1.37, TN_u8, 99);
    output(b, tn_b_matmul(b, y, weights(b, TN_i8, &(tn_shape){2, {64, 20}}, 1, 8), TN_f32), "y");
}

/* The scale of x differs between rows; of w along what is summed; w is no constant. */
static void stay_floats(tn_builder *b) {
    tn_value x = matrix(b, 4, 64), u = tn_b_input(b, "u", TN_f32, &(tn_shape){2, {64, 32}});
    tn_value q = quantized(b, x, 0.011, TN_u8, 17);
    tn_quant rows = {constant(b, TN_f32, &(tn_shape){1, {4}}, 3), TN_NO_VALUE, 0, 0};
    tn_value bytes = tn_b_quantize(b, x, &rows, TN_i8, TN_f32, true);
    tn_value w = weights(b, TN_i8, &(tn_shape){2, {64, 32}}, 1, 11);
    output(b, tn_b_matmul(b, tn_b_dequantize(b, bytes, &rows, TN_f32), w, TN_f32), "rows");
    w = weights(b, TN_i8, &(tn_shape){2, {64, 32}}, 0, 13);
    output(b, tn_b_matmul(b, q, w, TN_f32), "k");
    output(b, tn_b_matmul(b, q, quantized(b, u, 0.017, TN_i8, 0), TN_f32), "input");
}

/* ---- convolutions --------------------------------------------------------------------------- */

static tn_value conv(tn_builder *b, tn_value x, tn_dtype dtype, int64_t out, int64_t window,
                     int64_t groups, int64_t stride, uint64_t seed) {
    tn_conv_options o = {.groups = groups, .stride = {stride, stride}};
    for (int s = 0; s < 2; s++) o.pad_lo[s] = o.pad_hi[s] = window / 2;
    tn_dim in = tn_b_ok(b) ? tn_b_dim(b, x, 1) / groups : 1;
    tn_value w = weights(b, dtype, &(tn_shape){4, {out, in, window, window}}, 0, seed);
    return tn_b_conv(b, x, w, constant(b, TN_f32, &(tn_shape){1, {out}}, seed + 2), &o);
}

static tn_value image(tn_builder *b, int64_t channels, tn_dtype dtype, double zero) {
    tn_value x = tn_b_input(b, "x", TN_f32, &(tn_shape){4, {2, channels, 7, 6}});
    return quantized(b, x, 0.0127, dtype, zero);
}

/* As a residual block of a quantised network. */
static void block(tn_builder *b) {
    tn_value x = image(b, 16, TN_u8, 128);
    tn_value y = tn_b_relu(b, conv(b, x, TN_i8, 16, 3, 1, 1, 21));
    y = conv(b, quantized(b, y, 0.71, TN_u8, 0), TN_i8, 16, 1, 1, 1, 25);
    y = tn_b_relu(b, tn_b_add(b, quantized(b, y, 3.3, TN_u8, 117), x));
    output(b, quantized(b, y, 2.9, TN_u8, 0), "y");
}

static void signed_conv(tn_builder *b) {
    output(b, conv(b, image(b, 9, TN_i8, -5), TN_i8, 20, 3, 1, 2, 31), "y");
}

static void unsigned_conv(tn_builder *b) {
    output(b, conv(b, image(b, 8, TN_u8, 0), TN_u8, 12, 3, 1, 1, 35), "y");
}

static void grouped_conv(tn_builder *b) {
    output(b, conv(b, image(b, 16, TN_u8, 77), TN_i8, 8, 3, 2, 1, 41), "y");
}

static void depthwise_conv(tn_builder *b) {
    tn_value y = conv(b, image(b, 16, TN_u8, 131), TN_i8, 16, 3, 16, 1, 45);
    output(b, conv(b, quantized(b, y, 0.21, TN_u8, 4), TN_i8, 24, 1, 1, 1, 49), "y");
}

static const struct {
    build_graph *build;
    const char *label, *record;
    int64_t rows;
} graphs[] = {
    {columns, "columns", " words", 0},
    {turned, "turned", " words", 11},
    {restored, "restored", " words", 0},
    {stay_floats, "stay floats", "rhs=raw", 0},
    {block, "block", " words", 0},
    {signed_conv, "signed convolution", " words", 0},
    {unsigned_conv, "unsigned convolution", " words", 0},
    {grouped_conv, "groups", " words", 0},
    {depthwise_conv, "depthwise", " words", 0},
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    *note = graphs[i].record;
    return plan_case_of(arena, graphs[i].build, graphs[i].rows ? &graphs[i].rows : NULL,
                        graphs[i].label);
}

static void test_dequantized__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, TN_COUNT(graphs));
}

static void test_dequantized__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(graphs));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequantized__interpreted),
        cmocka_unit_test(test_dequantized__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
