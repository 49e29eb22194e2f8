/* Products with weights in a stored type: packed as they are, converted in the kernel; against eval. */
#include "ops/compose.h"
#include "unit/plan/plan_list.h"

/* How the numbers stand for weights. */
typedef enum scaling {
    CAST_ONLY,
    PER_TENSOR,
    PER_COLUMN,
    PER_GROUP, /* of `group` along k */
    PER_ROW,   /* of k */
} scaling;

typedef struct product {
    const char *label, *record; /* record: text of the schedule that must be there */
    tn_dtype stored;
    scaling scaling;
    int64_t m, k, n, group; /* m = 0: open */
    int64_t batch;          /* 0: no such axis */
    bool zero;              /* the weights have zero points */
    bool turned;            /* they are stored [n][k] */
    bool relu;              /* on the way in */
    tn_dtype scale;         /* TN_f32 if 0 */
} product;

static tn_value constant(tn_builder *b, tn_dtype dtype, const tn_shape *s, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, dtype, s->rank, s->dim);
    double lo = tn_dtype_is_float(dtype) ? -1 : (double)tn_cell_lowest(dtype).i;
    double hi = tn_dtype_is_float(dtype) ? 1 : (double)tn_cell_highest(dtype).i;
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        double u = (double)(test_random(&seed) % 4096) / 4095;
        double value = lo + u * (hi - lo);
        tn_array_set(&a, i,
                     tn_dtype_is_float(dtype) ? tn_cell_of(dtype, value)
                                              : tn_cell_of_int(dtype, (int64_t)floor(value)));
    }
    return tn_b_constant(b, &a);
}

/* The shape of scales and zeros. */
static tn_shape parameter_shape(const product *p, int k_axis) {
    tn_dim blocks = p->group ? (p->k + p->group - 1) / p->group : 1;
    tn_shape s = {0};
    if (p->scaling == PER_COLUMN || p->scaling == PER_ROW)
        return (tn_shape){1, {p->scaling == PER_ROW ? p->k : p->n}};
    if (p->scaling != PER_GROUP) return s;
    if (p->batch) s.dim[s.rank++] = p->batch;
    s.dim[s.rank + k_axis] = blocks;
    s.dim[s.rank + 1 - k_axis] = p->n;
    s.rank += 2;
    return s;
}

static tn_value weights_of(tn_builder *b, const product *p) {
    int first = p->batch ? 1 : 0, k_axis = p->turned ? 1 : 0;
    tn_shape s = {first + 2, {p->batch}};
    s.dim[first + k_axis] = p->k;
    s.dim[first + 1 - k_axis] = p->n;
    tn_value w = constant(b, p->stored, &s, 11);
    if (p->scaling == CAST_ONLY) return tn_b_cast(b, w, TN_f32);
    tn_shape ps = parameter_shape(p, k_axis);
    tn_value scale = constant(b, p->scale ? p->scale : TN_f32, &ps, 12);
    tn_quant q = {scale, TN_NO_VALUE, first + (p->scaling == PER_COLUMN ? 1 - k_axis : k_axis),
                  p->scaling == PER_GROUP ? p->group : 0};
    if (p->zero) q.zero = constant(b, p->stored, &ps, 13);
    return tn_b_dequantize(b, w, &q, TN_f32);
}

static void build(tn_builder *b, const product *p) {
    tn_dim m = p->m ? p->m : tn_dim_of_symbol(b->graph->dims, "M");
    tn_shape s = {p->batch ? 3 : 2, {p->batch, m, p->k}}, plain = {2, {m, p->k}};
    tn_value x = tn_b_input(b, "x", TN_f32, p->batch ? &s : &plain), w = weights_of(b, p);
    if (p->relu) x = tn_b_max(b, x, tn_b_scalar(b, TN_f32, 0));
    if (p->turned) w = tn_b_permute(b, w, p->batch ? (int[]){0, 2, 1} : (int[]){1, 0});
    tn_value y = tn_b_matmul(b, x, w, TN_f32);
    y = tn_b_add(b, y, constant(b, TN_f32, &(tn_shape){1, {p->n}}, 14));
    if (tn_b_ok(b)) tn_graph_add_output(b->graph, y, "y");
}

#define PRODUCT(text, wanted, type, how, rows, depth, columns, ...)                                \
    {                                                                                              \
        .label = text, .record = wanted, .stored = type, .scaling = how, .m = rows, .k = depth,    \
        .n = columns, __VA_ARGS__                                                                  \
    }

static const product products[] = {
    PRODUCT("bf16", "rhs=raw", TN_bf16, CAST_ONLY, 1, 64, 48, ),
    PRODUCT("bf16, ragged", "rhs=raw", TN_bf16, CAST_ONLY, 3, 67, 33, ),
    PRODUCT("f16, turned", "rhs=raw", TN_f16, CAST_ONLY, 2, 40, 130, .turned = true),
    PRODUCT("f8", "rhs=raw", TN_f8e4m3fn, CAST_ONLY, 1, 65, 40, ),
    PRODUCT("bf16, many rows", "rhs=unpacked", TN_bf16, CAST_ONLY, 70, 33, 70, ),
    PRODUCT("i16", "rhs=raw", TN_i16, CAST_ONLY, 5, 48, 64, ),
    PRODUCT("i8, one scale", "rhs=raw", TN_i8, PER_TENSOR, 1, 64, 96, .zero = true),
    PRODUCT("i8, columns", "rhs=raw", TN_i8, PER_COLUMN, 1, 130, 50, ),
    PRODUCT("u8, columns, zeros", "rhs=raw", TN_u8, PER_COLUMN, 7, 96, 33, .zero = true),
    PRODUCT("u8, rows", "rhs=raw", TN_u8, PER_ROW, 2, 33, 64, .zero = true),
    PRODUCT("u8, groups", "rhs=raw", TN_u8, PER_GROUP, 1, 96, 40, .group = 16, .zero = true),
    PRODUCT("i8, groups, batch", "rhs=raw", TN_i8, PER_GROUP, 4, 64, 33, .group = 32, .batch = 3),
    PRODUCT("i8, many rows", "rhs=unpacked", TN_i8, PER_COLUMN, 65, 40, 48, .zero = true),
    PRODUCT("i4", "rhs=raw", TN_i4, CAST_ONLY, 1, 64, 64, ),
    PRODUCT("i4, odd k", "rhs=raw", TN_i4, CAST_ONLY, 2, 63, 64, ),
    PRODUCT("u4, groups", "rhs=raw", TN_u4, PER_GROUP, 1, 128, 70, .group = 32, .zero = true),
    PRODUCT("u4, groups, rows", "rhs=raw", TN_u4, PER_GROUP, 5, 96, 64, .group = 16, .zero = true),
    PRODUCT("i4, groups, turned", "rhs=raw", TN_i4, PER_GROUP, 2, 128, 48, .group = 32,
            .turned = true),
    PRODUCT("u4, groups, turned", "rhs=raw", TN_u4, PER_GROUP, 1, 64, 80, .group = 16, .zero = true,
            .turned = true),
    PRODUCT("u4, many rows", "rhs=unpacked", TN_u4, PER_GROUP, 40, 64, 48, .group = 32,
            .zero = true),
    PRODUCT("i4, batch", "rhs=raw", TN_i4, PER_GROUP, 1, 64, 40, .group = 16, .batch = 2,
            .zero = true),
    PRODUCT("u2", "rhs=raw", TN_u2, PER_COLUMN, 1, 64, 64, .zero = true),
    PRODUCT("f16 scales", "rhs=raw", TN_i8, PER_GROUP, 2, 64, 64, .group = 16, .scale = TN_f16),
    PRODUCT("relu", "rhs=raw", TN_i8, PER_GROUP, 3, 64, 64, .group = 16, .relu = true),
    PRODUCT("groups do not divide k", "rhs=prepared", TN_i8, PER_GROUP, 2, 70, 48, .group = 32,
            .zero = true),
    PRODUCT("f16, few columns", "rhs=raw", TN_f16, CAST_ONLY, 2, 64, 24, ),
    PRODUCT("i4, a word", "zero_sums", TN_i4, PER_GROUP, 1, 64, 48, .group = 8),
    PRODUCT("i4, a byte", "rhs=raw", TN_i4, PER_GROUP, 1, 60, 48, .group = 4, .zero = true),
    PRODUCT("i4, long columns", "zero_sums", TN_i4, PER_COLUMN, 1, 1024, 40, ),
    PRODUCT("u4, long columns, zeros", "zero_sums", TN_u4, PER_COLUMN, 2, 512, 64, .zero = true),
    PRODUCT("u4, one scale", "zero_sums", TN_u4, PER_TENSOR, 2, 72, 70, .zero = true),
    PRODUCT("u4, rows", "rhs=raw", TN_u4, PER_ROW, 1, 64, 64, .zero = true),
    PRODUCT("i4, relu", "zero_sums", TN_i4, PER_GROUP, 2, 64, 64, .group = 16, .relu = true),
    PRODUCT("u4, f16 scales", "zero_sums", TN_u4, PER_GROUP, 1, 64, 64, .group = 32,
            .scale = TN_f16, .zero = true),
    PRODUCT("i2, words", "rhs=raw", TN_i2, PER_GROUP, 1, 96, 40, .group = 16),
    PRODUCT("u2, bytes", "rhs=raw", TN_u2, PER_GROUP, 3, 72, 40, .group = 8, .zero = true),
    PRODUCT("i4, 3 rows", "rhs=raw", TN_i4, PER_GROUP, 3, 192, 48, .group = 96),
    PRODUCT("u4, 4 rows", "rhs=raw", TN_u4, PER_GROUP, 4, 128, 33, .group = 64, .zero = true),
    PRODUCT("i4, 7 rows", "rhs=raw", TN_i4, PER_COLUMN, 7, 512, 70, .zero = true),
    PRODUCT("u4, 8 rows, relu", "rhs=raw", TN_u4, PER_GROUP, 8, 80, 20, .group = 40, .zero = true,
            .relu = true),
    PRODUCT("i4, 2 rows, turned", "zero_sums", TN_i4, PER_GROUP, 2, 144, 100, .group = 48,
            .turned = true),
    PRODUCT("i4, 5 rows, batch", "rhs=raw", TN_i4, PER_GROUP, 5, 128, 40, .group = 64, .batch = 2),
    PRODUCT("i4, one row, wide", "zero_sums", TN_i4, PER_GROUP, 1, 128, 700, .group = 128),
    PRODUCT("u4, 9 rows", "rhs=raw", TN_u4, PER_GROUP, 9, 64, 40, .group = 32, .zero = true),
    PRODUCT("i4, one k of a group", "zero_sums", TN_i4, PER_GROUP, 1, 32, 64, .group = 32),
    PRODUCT("u4, 6 rows", "rhs=raw", TN_u4, PER_GROUP, 6, 64, 64, .group = 32, .scale = TN_bf16),
    PRODUCT("open rows: 1", "rhs=raw", TN_u4, PER_GROUP, 0, 64, 48, .group = 32, .zero = true),
    PRODUCT("open rows: 7", "rhs=raw", TN_i8, PER_COLUMN, 0, 65, 33, .zero = true),
    PRODUCT("open rows: 45", "rhs=raw", TN_u4, PER_GROUP, 0, 64, 48, .group = 32, .zero = true),
    PRODUCT("open rows: 33", "rhs=raw", TN_bf16, CAST_ONLY, 0, 64, 48, ),
};

static const int64_t open_rows[] = {1, 7, 45, 33};

#define BUILD(i)                                                                                   \
    static void product_##i(tn_builder *b) {                                                       \
        build(b, &products[i]);                                                                    \
    }
#define TEN(X, tens)                                                                               \
    X(tens##0)                                                                                     \
    X(tens##1)                                                                                     \
    X(tens##2)                                                                                     \
    X(tens##3)                                                                                     \
    X(tens##4)                                                                                     \
    X(tens##5)                                                                                     \
    X(tens##6)                                                                                     \
    X(tens##7)                                                                                     \
    X(tens##8)                                                                                     \
    X(tens##9)
#define EACH(X) TEN(X, ) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4)
EACH(BUILD)
#define BUILDER(i) product_##i,
static build_graph *const builders[] = {EACH(BUILDER)};
_Static_assert(TN_COUNT(builders) == TN_COUNT(products), "every product has a builder");

/* ---- graphs of their own -------------------------------------------------------------------- */

/* Converted weights that two products and an output share: the products read the stored type. */
static void shared(tn_builder *b) {
    product p = {.stored = TN_i8, .scaling = PER_COLUMN, .k = 64, .n = 48, .zero = true};
    tn_value w = weights_of(b, &p), x = tn_b_input(b, "x", TN_f32, &(tn_shape){2, {2, 64}});
    tn_graph_add_output(b->graph, tn_b_matmul(b, x, w, TN_f32), "y");
    tn_graph_add_output(b->graph, tn_b_matmul(b, tn_b_neg(b, x), w, TN_f32), "z");
}

static void shared_output(tn_builder *b) {
    shared(b);
    product p = {.stored = TN_bf16, .k = 48, .n = 32};
    tn_value w = weights_of(b, &p), x = tn_b_input(b, "v", TN_f32, &(tn_shape){2, {1, 48}});
    tn_graph_add_output(b->graph, tn_b_matmul(b, x, w, TN_f32), "u");
    tn_graph_add_output(b->graph, w, "w");
}

/* Several axes of k, of columns. */
static void many_axes(tn_builder *b) {
    tn_value x = tn_b_input(b, "x", TN_f32, &(tn_shape){3, {5, 3, 20}});
    tn_value w = constant(b, TN_i8, &(tn_shape){4, {3, 20, 2, 35}}, 3);
    w = tn_b_mul(b, tn_b_cast(b, w, TN_f32), constant(b, TN_f32, &(tn_shape){2, {2, 35}}, 4));
    tn_attrs_dot a = {.acc = TN_f32};
    a.lhs_contract = (tn_ints){2, {1, 2}};
    a.rhs_contract = (tn_ints){2, {0, 1}};
    tn_value in[] = {x, w};
    tn_graph_add_output(b->graph, tn_b_node(b, TN_OP_dot, in, 2, &a), "y");
}

static void convolution(tn_builder *b) {
    tn_value x = tn_b_input(b, "x", TN_f32, &(tn_shape){4, {1, 9, 8, 6}});
    tn_value w = constant(b, TN_bf16, &(tn_shape){4, {2, 3, 6, 40}}, 3);
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = (tn_ints){2, {1, 1}};
    a.pad_hi = (tn_ints){2, {0, 1}};
    tn_value in[] = {x, tn_b_cast(b, w, TN_f32)};
    tn_graph_add_output(b->graph, tn_b_node(b, TN_OP_conv, in, 2, &a), "y");
}

/* Sums of rows and columns in the epilogue. */
static void folds(tn_builder *b) {
    product p = {
        .stored = TN_u4, .scaling = PER_GROUP, .k = 64, .n = 72, .group = 16, .zero = true};
    tn_value x = tn_b_input(b, "x", TN_f32, &(tn_shape){2, {9, 64}});
    tn_value y = tn_b_matmul(b, x, weights_of(b, &p), TN_f32);
    tn_graph_add_output(b->graph, tn_b_reduce(b, TN_REDUCE_sum, y, (int[]){0}, 1, false),
                        "columns");
    tn_graph_add_output(b->graph, tn_b_reduce(b, TN_REDUCE_max, y, (int[]){1}, 1, false), "rows");
    tn_graph_add_output(b->graph, y, "y");
}

/* A softmax on the way in, which the product's tasks make. */
static void prologue(tn_builder *b) {
    product p = {
        .stored = TN_u4, .scaling = PER_GROUP, .k = 64, .n = 72, .group = 16, .zero = true};
    tn_value x = tn_b_input(b, "x", TN_f32, &(tn_shape){2, {3, 64}});
    x = tn_b_exp(b, tn_b_sub(b, x, tn_b_reduce(b, TN_REDUCE_max, x, (int[]){1}, 1, true)));
    x = tn_b_div(b, x, tn_b_reduce(b, TN_REDUCE_sum, x, (int[]){1}, 1, true));
    tn_graph_add_output(b->graph, tn_b_matmul(b, x, weights_of(b, &p), TN_f32), "y");
}

/* NaN, infinities and the smallest numbers among the weights. */
static void strange_halves(tn_builder *b) {
    static const uint16_t bits[] = {0x7f80, 0xff80, 0x7fc0, 0x0001, 0x8000};
    tn_dim dim[] = {64, 64};
    tn_array a = tn_array_new(b->graph->arena, TN_bf16, 2, dim);
    fill_random(&a, 5);
    for (size_t i = 0; i < TN_COUNT(bits); i++)
        memcpy((char *)a.data + 2 * (700 * i + 3), &bits[i], 2);
    tn_value w = tn_b_cast(b, tn_b_constant(b, &a), TN_f32);
    tn_value x = tn_b_input(b, "x", TN_f32, &(tn_shape){2, {3, 64}});
    tn_graph_add_output(b->graph, tn_b_matmul(b, x, w, TN_f32), "y");
}

/* Two products whose packs have the scales in common, and nothing else. */
static void common_scales(tn_builder *b) {
    tn_value scale = constant(b, TN_f32, &(tn_shape){1, {48}}, 4);
    tn_value x = tn_b_input(b, "x", TN_f32, &(tn_shape){2, {2, 70}});
    for (uint64_t i = 0; i < 2; i++) {
        tn_value w = constant(b, TN_i8, &(tn_shape){2, {70, 48}}, 20 + i);
        tn_quant q = {scale, TN_NO_VALUE, 1, 0};
        w = tn_b_dequantize(b, w, &q, TN_f32);
        tn_graph_add_output(b->graph, tn_b_matmul(b, x, w, TN_f32), i ? "z" : "y");
    }
}

/* A of very different sizes, and zeros, NaN and infinities in it. */
static void strange_rows(tn_builder *b) {
    static const float values[] = {0, 1e30f, -1e-30f, 1e-42f, INFINITY, NAN, -3, 1e-10f};
    product p = {.stored = TN_i4, .scaling = PER_GROUP, .k = 64, .n = 40, .group = 32};
    for (size_t i = 0; i < TN_COUNT(values); i++) {
        tn_array a = tn_array_new(b->graph->arena, TN_f32, 2, (tn_dim[]){1, 64});
        for (int64_t j = 0; j < 64; j++) tn_array_set(&a, j, tn_cell_of(TN_f32, values[i]));
        const char *from = tn_arena_printf(b->graph->arena, "x%zu", i);
        const char *to = tn_arena_printf(b->graph->arena, "y%zu", i);
        tn_value scale = tn_b_input(b, from, TN_f32, &(tn_shape){2, {1, 64}});
        if (i == 0) scale = tn_b_mul(b, scale, tn_b_scalar(b, TN_f32, 0));
        tn_value x = tn_b_mul(b, scale, tn_b_constant(b, &a));
        tn_graph_add_output(b->graph, tn_b_matmul(b, x, weights_of(b, &p), TN_f32), to);
    }
}

static const struct {
    build_graph *build;
    const char *label, *record;
} graphs[] = {
    {shared, "shared", "rhs=raw"},
    {shared_output, "shared with an output", "rhs=raw"},
    {many_axes, "several axes", "rhs=raw"},
    {convolution, "convolution", "rhs=unpacked"},
    {folds, "folds", "rhs=raw"},
    {prologue, "prologue", "rhs=raw"},
    {strange_halves, "NaN and infinities", "rhs=raw"},
    {common_scales, "common scales", "rhs=raw"},
    {strange_rows, "rows of all sizes", "zero_sums"},
};

/* ---- running -------------------------------------------------------------------------------- */

enum { CASES = TN_COUNT(products) + TN_COUNT(graphs) };

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    if (i >= TN_COUNT(products)) {
        i -= TN_COUNT(products);
        *note = graphs[i].record;
        return plan_case_of(arena, graphs[i].build, NULL, graphs[i].label);
    }
    size_t first_open = TN_COUNT(products) - TN_COUNT(open_rows);
    const int64_t *rows = i < first_open ? NULL : &open_rows[i - first_open];
    *note = products[i].record;
    return plan_case_of(arena, builders[i], rows, products[i].label);
}

static void test_weights__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, CASES);
}

static void test_weights__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, CASES);
}

/* The program holds the weights as narrow as they were. */
static void test_weights__stay_small(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(products); i++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        const product *p = &products[i];
        const char *record;
        tn_program program;
        plan_case *c = make_case(&arena, i, &record);
        if (strcmp(record, "rhs=prepared") != 0) {
            if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &program))
                fail_msg("%s", c->why);
            int64_t lanes = (p->n + 63) / 64 * 64 * TN_MAX(p->batch, 1);
            int64_t bits = tn_dtype_bits(p->stored) == 4 && p->k % 2 == 0 ? 4 : 8;
            bits = TN_MAX(bits, tn_dtype_bits(p->stored));
            int64_t most = lanes * p->k * bits / 8 +
                           8 * lanes * (p->group ? p->k / p->group : (p->k + 255) / 256);
            if ((int64_t)program.prepared_bytes > most + 256)
                fail_msg("%s: %lld bytes are prepared, not %lld", c->label,
                         (long long)program.prepared_bytes, (long long)most);
        }
        tn_arena_deinit(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights__interpreted),
        cmocka_unit_test(test_weights__compiled),
        cmocka_unit_test(test_weights__stay_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
