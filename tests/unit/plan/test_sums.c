/* Sums of many elements stay within a few roundings of f64, whichever axes they run along. Short rows side by
 * side. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

static const double closeness = 1e-6; /* of the largest magnitude of a result */

/* Equal elements, so that all roundings of a chain in f32 may have one sign. */
static tn_value tenths(tn_builder *b, tn_value x) {
    return tn_b_add(b, tn_b_mul(b, x, tn_b_scalar(b, TN_f32, 0)), tn_b_scalar(b, TN_f32, 0.1));
}

static void sum_over(tn_builder *b, tn_value x, int count, const int *axes) {
    out(b, tn_b_sum(b, tenths(b, x), axes, count, false));
    out(b, tn_b_sum(b, tn_b_abs(b, x), axes, count, false));
}
#define SUM_OVER(b, x, ...)                                                                        \
    sum_over((b), (x), (int)TN_COUNT(((int[]){__VA_ARGS__})), (int[]){__VA_ARGS__})

static void whole(tn_builder *b) {
    SUM_OVER(b, INPUT(b, 131101), 0);
}
static void along_rows(tn_builder *b) {
    SUM_OVER(b, INPUT(b, 2, 9001), 1);
    SUM_OVER(b, INPUT(b, 3, 7, 611), 1, 2);
    SUM_OVER(b, INPUT(b, 3, 211, 217), 0, 1, 2);
}
static void along_columns(tn_builder *b) {
    SUM_OVER(b, INPUT(b, 33001, 4), 0);
    SUM_OVER(b, INPUT(b, 600, 39), 0);
}
static void along_the_middle(tn_builder *b) {
    SUM_OVER(b, INPUT(b, 2, 901, 19), 1);
    SUM_OVER(b, INPUT(b, 70, 13, 20), 0, 2);
}
/* Swept in the order of memory: in pieces, and whole. */
static void swept(tn_builder *b) {
    SUM_OVER(b, INPUT(b, 1030, 256), 0);
    SUM_OVER(b, INPUT(b, 16, 129, 130), 1);
}
static void symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), m = tn_dim_of_symbol(b->graph->dims, "M");
    SUM_OVER(b, INPUT(b, n, m), 1);
    SUM_OVER(b, INPUT(b, m, n), 0);
    SUM_OVER(b, INPUT(b, n, m, 2), 1, 2);
}
static void statistics(tn_builder *b) {
    tn_value x = INPUT(b, 2, 5001), y = tn_b_exp(b, x);
    out(b, tn_b_mean(b, tn_b_abs(b, x), (int[]){1}, 1, false));
    out(b, tn_b_div(b, y, tn_b_sum(b, y, (int[]){1}, 1, true)));
    out(b, tn_b_softmax(b, x, 1));
    tn_value z = tn_b_add(b, INPUT(b, 701, 20), tn_b_scalar(b, TN_f32, 3));
    tn_value off = tn_b_sub(b, z, tn_b_mean(b, z, (int[]){0}, 1, true));
    out(b, tn_b_mean(b, tn_b_mul(b, off, off), (int[]){0}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_max, z, (int[]){0}, 1, false));
}
static void windows(tn_builder *b) {
    tn_value x = tenths(b, INPUT(b, 2, 60, 70)), y = tenths(b, INPUT(b, 70, 7));
    tn_attrs_window_reduce wide = {.kind = TN_REDUCE_sum, .acc = TN_f32}, behind = wide;
    wide.window = (tn_ints){3, {1, 50, 60}};
    behind.window = (tn_ints){2, {60, 3}};
    wide.stride = wide.dilation = (tn_ints){3, {1, 1, 1}};
    behind.stride = behind.dilation = (tn_ints){2, {1, 1}};
    wide.pad_lo.count = wide.pad_hi.count = 3;
    behind.pad_lo.count = behind.pad_hi.count = 2;
    out(b, tn_b_node(b, TN_OP_window_reduce, &x, 1, &wide));
    out(b, tn_b_node(b, TN_OP_window_reduce, &y, 1, &behind));
}
/* Sums beside extremes, which have no blocks. */
static void beside_extremes(tn_builder *b) {
    tn_value x = INPUT(b, 2, 4200), y = INPUT(b, 901, 9);
    SUM_OVER(b, x, 1);
    out(b, tn_b_reduce(b, TN_REDUCE_max, x, (int[]){1}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_argmin, x, (int[]){1}, 1, false));
    SUM_OVER(b, y, 0);
    out(b, tn_b_reduce(b, TN_REDUCE_argmax, y, (int[]){0}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_min, y, (int[]){0}, 1, false));
}
/* One element is infinite or no number: what it is added to becomes that, and nothing else. */
static tn_value with_one(tn_builder *b, tn_value x, int axis, int64_t at, double odd) {
    tn_shape shape = tn_b_type(b, x).shape;
    tn_value here = tn_b_eq(b, tn_b_iota(b, TN_i32, &shape, axis), tn_b_scalar_int(b, TN_i32, at));
    return tn_b_select(b, here, tn_b_scalar(b, TN_f32, odd), x);
}
static void not_finite(tn_builder *b) {
    tn_value x = INPUT(b, 3, 5001), y = INPUT(b, 901, 9);
    SUM_OVER(b, with_one(b, x, 0, 1, INFINITY), 1);
    SUM_OVER(b, with_one(b, x, 0, 2, NAN), 1);
    tn_value low = with_one(b, with_one(b, x, 1, 700, INFINITY), 1, 4999, -INFINITY);
    out(b, tn_b_sum(b, low, (int[]){1}, 1, false));
    SUM_OVER(b, with_one(b, y, 1, 8, -INFINITY), 0);
    SUM_OVER(b, with_one(b, y, 1, 3, NAN), 0);
    out(b, tn_b_sum(b, with_one(b, y, 0, 899, INFINITY), (int[]){0, 1}, 2, false));
}
static void other_types(tn_builder *b) {
    out(b, tn_b_sum(b, TYPED(b, TN_f64, 2, 5001), (int[]){1}, 1, false));
    out(b, tn_b_sum(b, TYPED(b, TN_i32, 901, 3), (int[]){0}, 1, false));
    out(b, tn_b_sum(b, TYPED(b, TN_bf16, 700, 40), (int[]){0, 1}, 2, false));
}
static void nothing(tn_builder *b) {
    SUM_OVER(b, INPUT(b, 0, 9000), 1);
    SUM_OVER(b, INPUT(b, 3, 0), 1);
    SUM_OVER(b, INPUT(b, 9000, 0, 3), 0, 1);
}

/* Rows of a few vectors, several side by side and the rest one by one. */
static void short_rows(tn_builder *b) {
    out(b, tn_b_softmax(b, INPUT(b, 131, 64), 1));
    out(b, tn_b_softmax(b, INPUT(b, 3, 25, 33), 2));
    out(b, tn_b_softmax(b, INPUT(b, 70, 3), 1));
    tn_value x = INPUT(b, 5, 16, 16), y = tn_b_mean(b, x, (int[]){2}, 1, true);
    tn_value off = tn_b_sub(b, x, y), square = tn_b_mul(b, off, off);
    tn_value root = tn_b_sqrt(b, tn_b_mean(b, square, (int[]){2}, 1, true));
    out(b, tn_b_div(b, off, tn_b_add(b, root, tn_b_scalar(b, TN_f32, 1e-5))));
    out(b, y);
}
static void short_extremes(tn_builder *b) {
    tn_value x = INPUT(b, 131, 64), odd = with_one(b, x, 0, 5, -INFINITY);
    odd = with_one(b, with_one(b, odd, 1, 17, NAN), 0, 7, 3);
    out(b, tn_b_reduce(b, TN_REDUCE_max, odd, (int[]){1}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_argmax, x, (int[]){1}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_min, with_one(b, x, 0, 9, INFINITY), (int[]){1}, 1, false));
    out(b, tn_b_softmax(b, with_one(b, with_one(b, x, 1, 3, -INFINITY), 0, 8, NAN), 1));
    out(b, tn_b_reduce(b, TN_REDUCE_max, TYPED(b, TN_i32, 99, 17), (int[]){1}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_min, TYPED(b, TN_f64, 80, 32), (int[]){1}, 1, false));
    out(b, tn_b_softmax(b, TYPED(b, TN_bf16, 77, 64), 1));
}
static void short_symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), m = tn_dim_of_symbol(b->graph->dims, "M");
    out(b, tn_b_softmax(b, INPUT(b, m, n, 64), 2));
    out(b, tn_b_softmax(b, INPUT(b, n, 30), 1));
}

typedef struct sum_case {
    build_graph *build;
    const char *label;
    int64_t symbols[2];
} sum_case;

static const sum_case cases[] = {
    {whole, "whole", {0, 0}},
    {along_rows, "along_rows", {0, 0}},
    {along_columns, "along_columns", {0, 0}},
    {along_the_middle, "along_the_middle", {0, 0}},
    {swept, "swept", {0, 0}},
    {symbolic, "symbolic 1 1", {1, 1}},
    {symbolic, "symbolic 2 4500", {2, 4500}},
    {symbolic, "symbolic 40 77", {40, 77}},
    {statistics, "statistics", {0, 0}},
    {windows, "windows", {0, 0}},
    {beside_extremes, "beside_extremes", {0, 0}},
    {not_finite, "not_finite", {0, 0}},
    {other_types, "other_types", {0, 0}},
    {nothing, "nothing", {0, 0}},
    {short_rows, "short_rows", {0, 0}},
    {short_extremes, "short_extremes", {0, 0}},
    {short_symbolic, "short_symbolic 7 19", {7, 19}},
    {short_symbolic, "short_symbolic 2 1", {2, 1}},
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    plan_case *c = plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].label);
    uint32_t outputs = c->graph->outputs.len;
    double *bound = TN_NEW_N(arena, double, outputs);
    for (uint32_t n = 0; n < outputs; n++)
        bound[n] = plan_bound(&c->want[n]) * (c->want[n].dtype == TN_f32 ? closeness / 1e-5 : 1);
    c->bound = bound;
    return c;
}

static void test_sums__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, TN_COUNT(cases));
}

static void test_sums__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums__interpreted),
        cmocka_unit_test(test_sums__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
