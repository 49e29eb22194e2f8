/* Products of bytes: four elements of k in a word; against eval, exactly. */
#include "ops/compose.h"
#include "unit/plan/plan_list.h"

typedef struct product {
    const char *label;
    const char *record; /* text of the schedule that must be there */
    tn_dtype left, right;
    int64_t m, k, n, batch;     /* m = 0: open; batch = 0: no such axis */
    bool left_zero, right_zero; /* operands have zero points */
    bool constant;              /* the right one is */
    bool turned;                /* the right one is stored [n][k] */
    bool scaled; /* the left one is quantised on the way in, the result is restored */
} product;

static tn_value constant(tn_builder *b, tn_dtype dtype, const tn_shape *s, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, dtype, s->rank, s->dim);
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        double value = (double)(test_random(&seed) % 256) + (dtype == TN_u8 ? 0 : -128);
        tn_array_set(&a, i, tn_cell_of(dtype, dtype == TN_f32 ? value / 64 : value));
    }
    return tn_b_constant(b, &a);
}

static void build(tn_builder *b, const product *p) {
    tn_dim m = p->m ? p->m : tn_dim_of_symbol(b->graph->dims, "M");
    tn_shape x_shape = {p->batch ? 3 : 2, {p->batch, m, p->k}}, none = {0};
    tn_shape y_shape = {p->batch ? 3 : 2, {p->batch, p->k, p->n}};
    if (!p->batch) x_shape = (tn_shape){2, {m, p->k}}, y_shape = (tn_shape){2, {p->k, p->n}};
    if (p->turned) {
        tn_dim last = y_shape.dim[y_shape.rank - 1];
        y_shape.dim[y_shape.rank - 1] = y_shape.dim[y_shape.rank - 2];
        y_shape.dim[y_shape.rank - 2] = last;
    }
    tn_quant qx = {constant(b, TN_f32, &none, 3), TN_NO_VALUE, 0, 0};
    tn_quant qy = {constant(b, TN_f32, &(tn_shape){1, {p->n}}, 4), TN_NO_VALUE, 0, 0};
    if (p->left_zero) qx.zero = constant(b, p->left, &none, 5);
    if (p->right_zero) qy.zero = constant(b, p->right, &(tn_shape){1, {p->n}}, 6);
    tn_value x = tn_b_input(b, "x", p->scaled ? TN_f32 : p->left, &x_shape), y;
    if (p->scaled) x = tn_b_quantize(b, x, &qx, p->left, TN_f32, true);
    y = p->constant ? constant(b, p->right, &y_shape, 7) : tn_b_input(b, "y", p->right, &y_shape);
    if (p->turned) y = tn_b_swap(b, y, y_shape.rank - 2, y_shape.rank - 1);
    tn_value z;
    if (p->scaled) {
        tn_quant qz = {tn_b_scalar(b, TN_f32, 300), constant(b, TN_u8, &none, 8), 0, 0};
        z = tn_b_quantized_matmul(b, x, &qx, y, &qy, &qz, TN_u8);
    } else {
        z = tn_b_integer_matmul(b, x, y, qx.zero, qy.zero);
    }
    if (tn_b_ok(b)) tn_graph_add_output(b->graph, z, "z");
}

#define PRODUCT(text, wanted, l, r, rows, depth, columns, ...)                                     \
    {                                                                                              \
        .label = text, .record = wanted, .left = l, .right = r, .m = rows, .k = depth,             \
        .n = columns, __VA_ARGS__                                                                  \
    }

static const product products[] = {
    PRODUCT("u8 i8", " words", TN_u8, TN_i8, 16, 64, 48, .constant = true),
    PRODUCT("u8 i8, ragged", " words", TN_u8, TN_i8, 7, 67, 33, .constant = true,
            .left_zero = true),
    PRODUCT("i8 i8", " words", TN_i8, TN_i8, 9, 130, 70, .constant = true),
    PRODUCT("u8 u8", " words", TN_u8, TN_u8, 5, 32, 20, .constant = true, .right_zero = true),
    PRODUCT("i8 u8, zeros", " words", TN_i8, TN_u8, 33, 63, 31, .constant = true, .left_zero = true,
            .right_zero = true),
    PRODUCT("one row", " words", TN_u8, TN_i8, 1, 200, 130, .constant = true, .left_zero = true),
    PRODUCT("short k", " words", TN_u8, TN_i8, 3, 9, 5, .constant = true, .right_zero = true),
    PRODUCT("k of one", "", TN_u8, TN_i8, 3, 1, 5, .constant = true, .left_zero = true),
    PRODUCT("no k", "", TN_u8, TN_i8, 3, 0, 5, .constant = true, .left_zero = true),
    PRODUCT("no columns", "", TN_i8, TN_i8, 3, 16, 0, .constant = true, .left_zero = true),
    PRODUCT("both are inputs", " words", TN_u8, TN_u8, 20, 48, 50, .left_zero = true,
            .right_zero = true),
    PRODUCT("both are inputs, turned", " words", TN_i8, TN_i8, 18, 80, 40, .turned = true),
    PRODUCT("turned", " words", TN_u8, TN_i8, 8, 96, 24, .constant = true, .turned = true),
    PRODUCT("batch", " words", TN_i8, TN_i8, 6, 40, 20, .batch = 3, .left_zero = true,
            .right_zero = true),
    PRODUCT("many rows", " words", TN_u8, TN_i8, 200, 72, 96, .constant = true, .left_zero = true),
    PRODUCT("quantised on the way in", " words", TN_u8, TN_i8, 24, 100, 48, .constant = true,
            .left_zero = true, .scaled = true),
    PRODUCT("quantised, signed", " words", TN_i8, TN_u8, 11, 65, 17, .constant = true,
            .left_zero = true, .right_zero = true, .scaled = true),
    PRODUCT("open rows", " words", TN_u8, TN_i8, 0, 70, 40, .constant = true, .left_zero = true),
};
static const int64_t open_rows[] = {13};

#define BUILD(i)                                                                                   \
    static void product_##i(tn_builder *b) {                                                       \
        build(b, &products[i]);                                                                    \
    }
#define EACH(X)                                                                                    \
    X(0)                                                                                           \
    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17)
EACH(BUILD)
#define BUILDER(i) product_##i,
static build_graph *const builders[] = {EACH(BUILDER)};
_Static_assert(TN_COUNT(builders) == TN_COUNT(products), "every product has a builder");

/* ---- convolutions --------------------------------------------------------------------------- */

typedef struct convolution {
    tn_dtype left, right;
    int64_t channels, size, out, window, groups;
    bool padded, zero;
    int64_t stride;
} convolution;

static void build_conv(tn_builder *b, const convolution *c) {
    tn_conv_options o = {.groups = c->groups, .stride = {c->stride, c->stride}};
    tn_shape x_shape = {4, {2, c->channels, c->size, c->size + 1}}, none = {0};
    tn_shape w_shape = {4, {c->out, c->channels / c->groups, c->window, c->window}};
    for (int s = 0; s < 2 && c->padded; s++) o.pad_lo[s] = 1, o.pad_hi[s] = s;
    tn_quant qx = {tn_b_scalar(b, TN_f32, 0.5), TN_NO_VALUE, 0, 0};
    if (c->zero) qx.zero = constant(b, c->left, &none, 5);
    tn_value w = constant(b, c->right, &w_shape, 6);
    tn_value bias = tn_b_cast(b, constant(b, TN_i8, &(tn_shape){1, {c->out}}, 7), TN_i32);
    tn_quant qw = {constant(b, TN_f32, &(tn_shape){1, {c->out}}, 8), TN_NO_VALUE, 0, 0};
    tn_quant qy = {tn_b_scalar(b, TN_f32, 100), constant(b, TN_i8, &none, 9), 0, 0};
    tn_value x = tn_b_input(b, "x", c->left, &x_shape);
    tn_value y = tn_b_integer_conv(b, x, w, qx.zero, TN_NO_VALUE, bias, &o);
    tn_graph_add_output(b->graph, y, "y");
    tn_value z = tn_b_quantized_conv(b, tn_b_relu(b, x), &qx, w, &qw, bias, &qy, TN_i8, &o);
    if (tn_b_ok(b)) tn_graph_add_output(b->graph, z, "z");
}

#define CONVOLUTION(name, ...)                                                                     \
    static void name(tn_builder *b) {                                                              \
        static const convolution c = {__VA_ARGS__};                                                \
        build_conv(b, &c);                                                                         \
    }
CONVOLUTION(conv_3x3, TN_u8, TN_i8, 16, 9, 24, 3, 1, .padded = true, .zero = true, .stride = 1)
CONVOLUTION(conv_1x1, TN_u8, TN_i8, 33, 5, 17, 1, 1, .zero = true, .stride = 1)
CONVOLUTION(conv_signed, TN_i8, TN_i8, 8, 7, 10, 3, 1, .padded = true, .stride = 2)
CONVOLUTION(conv_image, TN_u8, TN_i8, 3, 12, 16, 5, 1, .padded = true, .zero = true, .stride = 2)
CONVOLUTION(conv_groups, TN_u8, TN_i8, 16, 6, 16, 3, 2, .padded = true, .zero = true, .stride = 1)
CONVOLUTION(conv_depthwise, TN_u8, TN_i8, 8, 6, 8, 3, 8, .padded = true, .zero = true, .stride = 1)
CONVOLUTION(conv_unsigned, TN_u8, TN_u8, 16, 6, 8, 3, 1, .padded = true, .zero = true, .stride = 1)

static const struct {
    build_graph *build;
    const char *label, *record;
} graphs[] = {
    {conv_3x3, "3×3", " words"},       {conv_1x1, "1×1", " words"},
    {conv_signed, "signed", " words"}, {conv_image, "image", " words"},
    {conv_groups, "groups", " words"}, {conv_depthwise, "depthwise", ""},
    {conv_unsigned, "unsigned", ""},
};

/* ---- running -------------------------------------------------------------------------------- */

enum { CASES = TN_COUNT(products) + TN_COUNT(graphs) };

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    if (i >= TN_COUNT(products)) {
        i -= TN_COUNT(products);
        *note = graphs[i].record;
        return plan_case_of(arena, graphs[i].build, NULL, graphs[i].label);
    }
    const int64_t *rows = products[i].m ? NULL : open_rows;
    *note = products[i].record;
    return plan_case_of(arena, builders[i], rows, products[i].label);
}

static void test_words__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, CASES);
}

static void test_words__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, CASES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words__interpreted),
        cmocka_unit_test(test_words__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
