/* Operations with loops of their own (scans, scatters, sorts, the k best), through every way of running a plan. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

/* ---- running sums and extremes -------------------------------------------------------------- */

static void sum_along(tn_builder *b, tn_value x, int axis) {
    out(b, tn_b_cumulative(b, TN_REDUCE_sum, x, axis, false, false));
    out(b, tn_b_cumulative(b, TN_REDUCE_sum, x, axis, true, true));
}

static void sums_along(tn_builder *b) {
    sum_along(b, INPUT(b, 3, 512), 1);
    sum_along(b, INPUT(b, 3, 300), 1);
    sum_along(b, INPUT(b, 5, 17), 1);
}
static void sums_of_one_row(tn_builder *b) {
    sum_along(b, INPUT(b, 70001), 0);
    sum_along(b, INPUT(b, 1000, 1), 0);
}
static void extremes_along(tn_builder *b) {
    tn_value x = INPUT(b, 4, 259);
    out(b, tn_b_cumulative(b, TN_REDUCE_max, x, 1, false, false));
    out(b, tn_b_cumulative(b, TN_REDUCE_min, x, 1, true, false));
    out(b, tn_b_cumulative(b, TN_REDUCE_max, TYPED(b, TN_i32, 2, 300), 1, false, true));
}
static void types_along(tn_builder *b) {
    sum_along(b, TYPED(b, TN_f64, 2, 150), 1);
    sum_along(b, TYPED(b, TN_f16, 2, 40), 1);
    sum_along(b, TYPED(b, TN_i8, 2, 290), 1);
    sum_along(b, TYPED(b, TN_i64, 3, 77), 1);
}
static void sums_across(tn_builder *b) {
    sum_along(b, INPUT(b, 40, 300), 0);
    sum_along(b, INPUT(b, 3, 20, 7), 1);
    sum_along(b, INPUT(b, 6, 30, 3, 50), 1);
}
static void sums_across_ranges(tn_builder *b) {
    sum_along(b, INPUT(b, 9, 3000), 0);
    sum_along(b, TYPED(b, TN_f16, 20, 3, 2100), 0);
    out(b, tn_b_cumulative(b, TN_REDUCE_prod, TYPED(b, TN_i64, 5, 2, 3, 41), 1, false, false));
}
/* Equal elements, so that the errors of sums in f32 would all have one sign for long. */
static tn_value tenths(tn_builder *b, tn_value x) {
    return tn_b_add(b, tn_b_mul(b, x, tn_b_scalar(b, TN_f32, 0)), tn_b_scalar(b, TN_f32, 0.1));
}
static void sums_of_many(tn_builder *b) {
    sum_along(b, tenths(b, INPUT(b, 90001)), 0);
    sum_along(b, tenths(b, INPUT(b, 4000, 5)), 0);
    sum_along(b, tenths(b, INPUT(b, 1100, 130)), 0);
}
static void sums_symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), m = tn_dim_of_symbol(b->graph->dims, "M");
    sum_along(b, INPUT(b, n, m), 0);
    sum_along(b, INPUT(b, m, n, 2), 1);
    sum_along(b, INPUT(b, n, m), 1);
}
static void sums_of_nothing(tn_builder *b) {
    sum_along(b, INPUT(b, 3, 0), 1);
    sum_along(b, INPUT(b, 0, 3), 0);
}

/* ---- sorts ---------------------------------------------------------------------------------- */

static void sort_with_places(tn_builder *b, tn_value x, int axis, bool descending) {
    tn_shape s = tn_b_type(b, x).shape;
    tn_attrs_sort a = {.axis = axis, .descending = descending};
    tn_value y = tn_b_node(b, TN_OP_sort, (tn_value[]){x, tn_b_iota(b, TN_i32, &s, axis)}, 2, &a);
    out(b, y);
    out(b, y + 1);
}

static void best_of(tn_builder *b, tn_value x, int axis, int64_t k, bool smallest) {
    tn_attrs_top_k a = {.axis = axis, .k = k, .smallest = smallest};
    tn_value y = tn_b_node(b, TN_OP_top_k, &x, 1, &a);
    out(b, y);
    out(b, y + 1);
}

static void sorted_rows(tn_builder *b) {
    sort_with_places(b, INPUT(b, 3, 5), 1, false);
    sort_with_places(b, INPUT(b, 3, 128), 1, true);
    sort_with_places(b, INPUT(b, 3, 129), 1, false);
    sort_with_places(b, INPUT(b, 1, 3000), 1, true);
}
static void sorted_types(tn_builder *b) {
    sort_with_places(b, TYPED(b, TN_f64, 2, 200), 1, true);
    sort_with_places(b, TYPED(b, TN_i64, 2, 90), 1, false);
    sort_with_places(b, TYPED(b, TN_f16, 2, 200), 1, false);
    sort_with_places(b, TYPED(b, TN_i8, 2, 200), 1, true);
    sort_with_places(b, TYPED(b, TN_bool, 40), 0, true);
}
static void sorted_columns(tn_builder *b) {
    sort_with_places(b, INPUT(b, 33, 4), 0, false);
    best_of(b, INPUT(b, 210, 3), 0, 7, false);
}
static void best_few(tn_builder *b) {
    best_of(b, INPUT(b, 4, 1000), 1, 1, false);
    best_of(b, INPUT(b, 4, 999), 1, 10, true);
    best_of(b, TYPED(b, TN_u8, 2, 500), 1, 20, false);
    best_of(b, TYPED(b, TN_i64, 2, 300), 1, 5, false);
}
/* Bounds from 32 to 256 columns, some of which hold no number, only infinities, or all that is wanted. */
static void best_by_columns(tn_builder *b) {
    tn_value x = INPUT(b, 3, 33, 32);
    tn_shape shape = {.rank = 3, .dim = {3, 33, 32}};
    tn_value column = tn_b_iota(b, TN_i32, &shape, 2);
    tn_value one = tn_b_eq(b, column, tn_b_scalar_int(b, TN_i32, 5));
    tn_value low = tn_b_select(b, one, tn_b_scalar(b, TN_f32, -9), tn_b_scalar(b, TN_f32, 0));
    best_of(b, tn_b_reshape_to(b, tn_b_add(b, x, low), 2, (tn_dim[]){3, 33 * 32}), 1, 10, true);
    best_of(b, tn_b_log(b, INPUT(b, 2, 300)), 1, 12, false);
    best_of(b, tn_b_log(b, tn_b_sub(b, INPUT(b, 70), tn_b_scalar(b, TN_f32, 0.95))), 0, 5, true);
    tn_value y = INPUT(b, 2, 130);
    best_of(b, tn_b_div(b, y, tn_b_floor(b, y)), 1, 7, false);
    best_of(b, INPUT(b, 2, 600), 1, 25, true);
    best_of(b, TYPED(b, TN_bf16, 600, 2), 0, 51, false);
    best_of(b, TYPED(b, TN_i32, 2, 1000), 1, 102, true);
}
static void best_of_a_long_row(tn_builder *b) {
    best_of(b, INPUT(b, 33333), 0, 3, false);
}
static void best_many(tn_builder *b) {
    best_of(b, INPUT(b, 2, 2100), 1, 300, false);
    best_of(b, TYPED(b, TN_f16, 1, 800), 1, 100, true);
    best_of(b, INPUT(b, 2, 40), 1, 33, false);
}
static void best_symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), m = tn_dim_of_symbol(b->graph->dims, "M");
    sort_with_places(b, INPUT(b, n, m), 1, false);
    best_of(b, INPUT(b, m, tn_dim_add(b->graph->dims, n, 3)), 1, 3, false);
}

/* ---- running -------------------------------------------------------------------------------- */

/* ---- scatter --------------------------------------------------------------------------------- */

/* `count` updates of x at constant positions of one axis, some of them twice and some outside. */
static void scattered(tn_builder *b, tn_value x, int axis, int64_t count, tn_combine combine) {
    const tn_type type = tn_b_type(b, x);
    int64_t rows = type.shape.dim[axis], size[] = {count, 1};
    tn_array at = tn_array_new(b->graph->arena, TN_i64, 2, size);
    for (int64_t i = 0; i < count; i++)
        tn_array_set(&at, i, tn_cell_of_int(TN_i64, i * 977 % (rows + rows / 4 + 2) - 1));
    tn_shape updates = {.rank = type.shape.rank, .dim = {count}};
    for (int i = 0, n = 1; i < type.shape.rank; i++)
        if (i != axis) updates.dim[n++] = type.shape.dim[i];
    tn_attrs_scatter a = {
        .axes = {1, {axis}}, .mode = rows % 2 ? TN_INDEX_clamp : TN_INDEX_fill, .combine = combine};
    tn_value in[] = {x, tn_b_constant(b, &at), tn_b_input(b, "u", type.dtype, &updates)};
    out(b, tn_b_node(b, TN_OP_scatter, in, 3, &a));
}

static void scattered_in_blocks(tn_builder *b) {
    scattered(b, INPUT(b, 1200, 120), 0, 40, TN_COMBINE_add);
}
static void scattered_ragged(tn_builder *b) {
    scattered(b, TYPED(b, TN_f16, 7, 3, 15), 0, 9, TN_COMBINE_max);
}
static void scattered_behind(tn_builder *b) {
    scattered(b, TYPED(b, TN_i32, 6, 9, 33), 1, 12, TN_COMBINE_mul);
}
static void scattered_pairs(tn_builder *b) {
    scattered(b, INPUT(b, 40, 2), 0, 30, TN_COMBINE_set);
}
static void scattered_nothing(tn_builder *b) {
    scattered(b, INPUT(b, 5, 0), 0, 3, TN_COMBINE_add);
}

typedef struct nest_case {
    build_graph *build;
    const char *label;
    int64_t symbols[2];
} nest_case;

static const nest_case cases[] = {
    {sums_along, "sums_along", {0, 0}},
    {sums_of_one_row, "sums_of_one_row", {0, 0}},
    {extremes_along, "extremes_along", {0, 0}},
    {types_along, "types_along", {0, 0}},
    {sums_across, "sums_across", {0, 0}},
    {sums_across_ranges, "sums_across_ranges", {0, 0}},
    {sums_of_many, "sums_of_many", {0, 0}},
    {sums_symbolic, "sums_symbolic 1 1", {1, 1}},
    {sums_symbolic, "sums_symbolic 9 70", {9, 70}},
    {sums_of_nothing, "sums_of_nothing", {0, 0}},
    {scattered_in_blocks, "scattered_in_blocks", {0, 0}},
    {scattered_ragged, "scattered_ragged", {0, 0}},
    {scattered_behind, "scattered_behind", {0, 0}},
    {scattered_pairs, "scattered_pairs", {0, 0}},
    {scattered_nothing, "scattered_nothing", {0, 0}},
    {sorted_rows, "sorted_rows", {0, 0}},
    {sorted_types, "sorted_types", {0, 0}},
    {sorted_columns, "sorted_columns", {0, 0}},
    {best_few, "best_few", {0, 0}},
    {best_by_columns, "best_by_columns", {0, 0}},
    {best_of_a_long_row, "best_of_a_long_row", {0, 0}},
    {best_many, "best_many", {0, 0}},
    {best_symbolic, "best_symbolic 1 1", {1, 1}},
    {best_symbolic, "best_symbolic 200 150", {200, 150}},
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].label);
}

static void test_nests__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, TN_COUNT(cases));
}

static void test_nests__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

static void test_nests__past_the_caches(void **state) {
    (void)state;
    assert_true(plan_list_stream(make_case, TN_COUNT(cases)) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nests__interpreted),
        cmocka_unit_test(test_nests__compiled),
        cmocka_unit_test(test_nests__past_the_caches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
