/* Whole compiles of small graphs: results against eval, and the number of kernels fusion leaves. */
#include "unit/plan/check_plan.h"

static tn_value input(tn_builder *b, int rank, const tn_dim *dim) {
    tn_shape s = {.rank = rank};
    for (int i = 0; i < rank; i++) s.dim[i] = dim[i];
    return tn_b_input(b, tn_arena_printf(b->graph->arena, "x%u", b->graph->inputs.len), TN_f32, &s);
}

#define INPUT(b, ...) input((b), (int)TN_COUNT(((tn_dim[]){__VA_ARGS__})), (tn_dim[]){__VA_ARGS__})

static tn_value weights(tn_builder *b, int rank, const int64_t *dim, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, rank, dim);
    fill_random(&a, seed);
    return tn_b_constant(b, &a);
}

#define WEIGHTS(b, seed, ...)                                                                      \
    weights((b), (int)TN_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__}, seed)

static void out(tn_builder *b, tn_value v) {
    if (v != TN_NO_VALUE)
        tn_graph_add_output(b->graph, v,
                            tn_arena_printf(b->graph->arena, "y%u", b->graph->outputs.len));
}

static void pointwise_chain(tn_builder *b) {
    tn_value x = INPUT(b, 3, 5, 37), y = INPUT(b, 3, 5, 37), z = INPUT(b, 37);
    out(b, tn_b_tanh(b, tn_b_add(b, tn_b_mul(b, tn_b_add(b, x, y), z), x)));
}

static void scalar_only(tn_builder *b) {
    tn_value x = input(b, 0, NULL);
    out(b, tn_b_exp(b, tn_b_neg(b, x)));
}

static tn_value softmax(tn_builder *b, tn_value x, int axis) {
    tn_value m = tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, x, m));
    return tn_b_div(b, e, tn_b_sum(b, e, &axis, 1, true));
}

static void softmax_last(tn_builder *b) {
    out(b, softmax(b, INPUT(b, 7, 50), -1));
}
static void softmax_middle(tn_builder *b) {
    out(b, softmax(b, INPUT(b, 3, 9, 40), 1));
}

static void layer_norm(tn_builder *b) {
    tn_value x = INPUT(b, 4, 6, 70), r = INPUT(b, 4, 6, 70);
    x = tn_b_add(b, x, r);
    int axis = -1;
    tn_value d = tn_b_sub(b, x, tn_b_mean(b, x, &axis, 1, true));
    tn_value v = tn_b_mean(b, tn_b_mul(b, d, d), &axis, 1, true);
    tn_value y = tn_b_mul(b, d, tn_b_rsqrt(b, tn_b_add_scalar(b, v, 1e-5)));
    y = tn_b_add(b, tn_b_mul(b, y, WEIGHTS(b, 7, 70)), WEIGHTS(b, 8, 70));
    out(b, y);
    out(b, x);
}

static void reductions(tn_builder *b) {
    tn_value x = INPUT(b, 6, 20, 33);
    int axes[] = {0, 2};
    out(b, tn_b_sum(b, x, axes, 2, false));
    out(b, tn_b_reduce(b, TN_REDUCE_argmax, x, &axes[1], 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_argmin, x, &axes[0], 1, true));
    out(b, tn_b_reduce(b, TN_REDUCE_prod, x, (int[]){0, 1, 2}, 3, false));
}

static void column_sum(tn_builder *b) {
    tn_value x = INPUT(b, 29, 100);
    int axis = 0;
    tn_value m = tn_b_mean(b, x, &axis, 1, true);
    out(b, tn_b_tanh(b, tn_b_sub(b, x, m)));
}

static void dot_bias_relu(tn_builder *b) {
    tn_value x = INPUT(b, 13, 40);
    tn_value y = tn_b_matmul(b, x, WEIGHTS(b, 3, 40, 50), TN_f32);
    y = tn_b_add(b, y, WEIGHTS(b, 4, 50));
    out(b, tn_b_max(b, y, tn_b_scalar(b, TN_f32, 0)));
}

static void dot_batched(tn_builder *b) {
    tn_value x = INPUT(b, 2, 3, 21, 16), y = INPUT(b, 2, 3, 19, 16);
    tn_value s = tn_b_matmul(b, x, tn_b_swap(b, y, 2, 3), TN_f32);
    s = softmax(b, tn_b_mul_scalar(b, s, 0.25), -1);
    tn_value v = tn_b_matmul(b, s, INPUT(b, 2, 3, 19, 16), TN_f32);
    v = tn_b_permute(b, v, (int[]){0, 2, 1, 3});
    out(b, tn_b_reshape_to(b, v, 3, (tn_dim[]){2, 21, 48}));
}

static void dot_gelu(tn_builder *b) {
    tn_value x = INPUT(b, 2, 9, 24);
    tn_value y = tn_b_add(b, tn_b_matmul(b, x, WEIGHTS(b, 3, 24, 70), TN_f32), WEIGHTS(b, 4, 70));
    tn_value e = tn_b_erf(b, tn_b_mul_scalar(b, y, 0.70710678));
    y = tn_b_mul(b, tn_b_mul_scalar(b, y, 0.5), tn_b_add_scalar(b, e, 1));
    out(b, tn_b_matmul(b, y, WEIGHTS(b, 5, 70, 24), TN_f32));
}

static void dot_symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value x = INPUT(b, n, s, 32);
    tn_value q = tn_b_matmul(b, x, WEIGHTS(b, 3, 32, 32), TN_f32);
    tn_value k = tn_b_matmul(b, x, WEIGHTS(b, 4, 32, 32), TN_f32);
    tn_value v = tn_b_matmul(b, x, WEIGHTS(b, 5, 32, 32), TN_f32);
    tn_dim split[] = {n, s, 4, 8};
    int heads[] = {0, 2, 1, 3};
    q = tn_b_permute(b, tn_b_reshape_to(b, q, 4, split), heads);
    k = tn_b_permute(b, tn_b_reshape_to(b, k, 4, split), heads);
    v = tn_b_permute(b, tn_b_reshape_to(b, v, 4, split), heads);
    tn_value p = softmax(b, tn_b_matmul(b, q, tn_b_swap(b, k, 2, 3), TN_f32), -1);
    tn_value y = tn_b_permute(b, tn_b_matmul(b, p, v, TN_f32), heads);
    y = tn_b_reshape_to(b, y, 3, (tn_dim[]){n, s, 32});
    out(b, tn_b_add(b, tn_b_matmul(b, y, WEIGHTS(b, 6, 32, 32), TN_f32), x));
}

static tn_value conv_last(tn_builder *b, tn_value x, tn_value w, int64_t stride, int64_t pad) {
    tn_attrs_conv a = {.batch = 0, .acc = TN_f32};
    a.stride = (tn_ints){2, {stride, stride}};
    a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {pad, pad}};
    return tn_b_node(b, TN_OP_conv, (tn_value[]){x, w}, 2, &a);
}

static tn_value conv(tn_builder *b, tn_value x, tn_value w, int64_t stride, int64_t pad) {
    tn_value y = conv_last(b, tn_b_permute(b, x, (int[]){0, 2, 3, 1}), w, stride, pad);
    return tn_b_permute(b, y, (int[]){0, 3, 1, 2});
}

static void conv_folds(tn_builder *b) { /* tasks of the same rows follow each other */
    tn_value y = conv_last(b, INPUT(b, 2, 11, 21, 8), WEIGHTS(b, 3, 1, 1, 8, 150), 1, 0);
    out(b, tn_b_tanh(b, y));
    out(b, tn_b_reduce(b, TN_REDUCE_max, y, (int[]){3}, 1, false));
    out(b, tn_b_sum(b, y, (int[]){0, 1, 2}, 3, false));
    out(b, tn_b_sum(b, tn_b_mul(b, y, y), (int[]){0, 1, 2, 3}, 4, false));
}

static void conv_net(tn_builder *b) {
    tn_value x = INPUT(b, 2, 3, 12, 12);
    tn_value zero = tn_b_scalar(b, TN_f32, 0);
    x = tn_b_max(b, conv(b, x, WEIGHTS(b, 3, 3, 3, 3, 20), 1, 1), zero);
    tn_value y = conv(b, x, WEIGHTS(b, 4, 3, 3, 20, 20), 1, 1);
    y = tn_b_mul(b, y, WEIGHTS(b, 5, 1, 20, 1, 1));
    x = tn_b_max(b, tn_b_add(b, y, x), zero);
    x = conv(b, x, WEIGHTS(b, 6, 1, 1, 20, 8), 2, 0);
    out(b, tn_b_mean(b, x, (int[]){2, 3}, 2, false));
}

static void views(tn_builder *b) {
    tn_value x = INPUT(b, 4, 6, 10);
    tn_value y = tn_b_permute(b, x, (int[]){2, 0, 1});
    out(b, y);
    y = tn_b_reshape_to(b, y, 2, (tn_dim[]){20, 12});
    out(b, tn_b_concat(b, (tn_value[]){y, tn_b_neg(b, y)}, 2, 1));
    out(b, tn_b_slice_axis(b, x, 2, 1, 4, 2));
    out(b, tn_b_pad_axis(b, x, 1, 2, 3, tn_b_scalar(b, TN_f32, 7)));
    out(b, x);
    out(b, WEIGHTS(b, 4, 3));
}

/* Rows, columns and all of a product, and what follows: several blocks of rows, ragged panels. */
static void folds_of(tn_builder *b, tn_value y, const int *rows, int count) {
    int last = -1, all[] = {0, 1, 2};
    tn_value over_rows = tn_b_sum(b, y, rows, count, false);
    out(b, tn_b_mul_scalar(b, tn_b_exp(b, tn_b_mul_scalar(b, over_rows, 0.01)), 3));
    out(b, tn_b_reduce(b, TN_REDUCE_argmax, y, &last, 1, false));
    out(b, tn_b_mean(b, tn_b_mul(b, y, y), &last, 1, true));
    out(b, tn_b_reduce(b, TN_REDUCE_max, y, all, count + 1, false));
}
static void dot_folds(tn_builder *b) {
    tn_value y = tn_b_matmul(b, INPUT(b, 410, 9), WEIGHTS(b, 3, 9, 70), TN_f32);
    y = tn_b_add(b, y, INPUT(b, 70));
    folds_of(b, y, (int[]){0}, 1);
    out(b, y);
}
static void dot_folds_batched(tn_builder *b) {
    tn_value y = tn_b_matmul(b, INPUT(b, 3, 40, 9), INPUT(b, 3, 9, 33), TN_f32);
    folds_of(b, tn_b_tanh(b, y), (int[]){0, 1}, 2);
}
static void dot_folds_symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value y = tn_b_matmul(b, INPUT(b, n, s, 9), WEIGHTS(b, 3, 9, 70), TN_f32);
    folds_of(b, y, (int[]){0, 1}, 2);
}

/* Pointwise work on the way into a product: rows along k, rows across, and the right operand. */
static void dot_mainloops(tn_builder *b) {
    tn_value x = INPUT(b, 50, 33), y = INPUT(b, 33, 50), w = WEIGHTS(b, 3, 33, 70);
    out(b, tn_b_matmul(b, tn_b_mul(b, tn_b_tanh(b, x), INPUT(b, 33)), w, TN_f32));
    out(b, tn_b_matmul(b, tn_b_swap(b, tn_b_exp(b, y), 0, 1), w, TN_f32));
    out(b, tn_b_matmul(b, INPUT(b, 20, 33), tn_b_abs(b, INPUT(b, 33, 41)), TN_f32));
    out(b, tn_b_matmul(b, INPUT(b, 2, 210, 7), tn_b_exp(b, INPUT(b, 2, 7, 5)), TN_f32));
}

/* A large right operand that is computed passes few rows once. */
static void dot_few_rows(tn_builder *b) {
    tn_value x = INPUT(b, 3, 131), bias = INPUT(b, 1029);
    out(b, tn_b_tanh(b, tn_b_add(b, tn_b_matmul(b, x, INPUT(b, 131, 1029), TN_f32), bias)));
    tn_value scaled = tn_b_mul(b, INPUT(b, 2, 1, 128), tn_b_scalar(b, TN_f32, 1.5));
    out(b, tn_b_matmul(b, scaled, INPUT(b, 2, 128, 1040), TN_f32));
}

static void diamond(tn_builder *b) { /* a dot's result both read through another group and added */
    tn_value x = INPUT(b, 16, 16), w = WEIGHTS(b, 3, 16, 16);
    tn_value y = tn_b_matmul(b, x, w, TN_f32);
    tn_value z = tn_b_matmul(b, tn_b_tanh(b, y), w, TN_f32);
    out(b, tn_b_add(b, y, z));
}

static void mixed_types(tn_builder *b) {
    tn_shape s = {2, {9, 21}};
    tn_value x = tn_b_input(b, "h", TN_f16, &s), i = tn_b_input(b, "i", TN_i32, &s);
    tn_value f = tn_b_cast(b, i, TN_f16);
    tn_value lt = tn_b_lt(b, x, f);
    out(b, tn_b_select(b, lt, tn_b_exp(b, x), f));
    out(b, tn_b_cast(b, lt, TN_u8));
    out(b, tn_b_cast(b, tn_b_mul(b, x, f), TN_bf16));
    out(b, tn_b_div(b, i, tn_b_scalar_int(b, TN_i32, 3)));
}

static const int64_t sizes[][2] = {{1, 1}, {2, 7}, {3, 33}};

typedef struct plan_test {
    build_graph *build;
    const char *name;
    uint32_t most; /* steps with fusion; 0: any number */
} plan_test;

#define CASE(name, most)                                                                           \
    { name, "test_plan__" #name, most }
static plan_test cases[] = {
    CASE(pointwise_chain, 1),   CASE(scalar_only, 1),   CASE(softmax_last, 1),
    CASE(softmax_middle, 1),    CASE(layer_norm, 1),    CASE(reductions, 4),
    CASE(column_sum, 1),        CASE(dot_bias_relu, 1), CASE(dot_batched, 3),
    CASE(dot_gelu, 2),          CASE(conv_net, 7),      CASE(views, 0),
    CASE(diamond, 2),           CASE(mixed_types, 0),   CASE(dot_folds, 1),
    CASE(dot_folds_batched, 1), CASE(dot_mainloops, 4), CASE(dot_few_rows, 2),
    CASE(conv_folds, 1),
};

static void run_case(void **state) {
    const plan_test *t = *state;
    uint32_t kernels = check_graph(t->build, NULL, t->name);
    if (t->most && kernels > t->most)
        fail_msg("%s: %u kernels, at most %u", t->name, kernels, t->most);
}

static void test_plan__symbolic_sizes(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(sizes); i++) {
        check_graph(dot_symbolic, sizes[i], "dot_symbolic");
        assert_int_equal(check_graph(dot_folds_symbolic, sizes[i], "dot_folds_symbolic"), 1);
    }
}

/* All of them as compiled kernels, for every target. */
static void test_plan__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[TN_COUNT(cases) + 2 * TN_COUNT(sizes)];
    uint32_t count = 0;
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        all[count++] = plan_case_of(&arena, cases[i].build, NULL, cases[i].name);
    for (size_t i = 0; i < TN_COUNT(sizes); i++) {
        all[count++] = plan_case_of(&arena, dot_symbolic, sizes[i], "dot_symbolic");
        all[count++] = plan_case_of(&arena, dot_folds_symbolic, sizes[i], "dot_folds_symbolic");
    }
    if (!plan_compile(all, count, &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    struct CMUnitTest tests[TN_COUNT(cases) + 2] = {
        cmocka_unit_test(test_plan__symbolic_sizes),
        cmocka_unit_test(test_plan__compiled),
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        tests[i + 2] = (struct CMUnitTest){cases[i].name, run_case, NULL, NULL, &cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
