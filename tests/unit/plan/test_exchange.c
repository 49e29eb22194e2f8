/* Products whose sides are exchanged: 1×1 convolutions of channels-first values, and dots like them. */
#include "ops/compose.h"
#include "unit/plan/check_plan.h"

static tn_value weights(tn_builder *b, int rank, const int64_t *dim) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, rank, dim);
    fill_random(&a, (uint64_t)dim[0] + 7);
    return tn_b_constant(b, &a);
}

static void out(tn_builder *b, tn_value v) {
    if (v != TN_NO_VALUE) tn_graph_add_output(b->graph, v, "y");
}

static tn_value planes(tn_builder *b, const char *name, int64_t n, int64_t c, int64_t h,
                       int64_t w) {
    tn_shape s = {4, {n, c, h, w}};
    return tn_b_input(b, name, TN_f32, &s);
}

static tn_value pointwise(tn_builder *b, tn_value x, int64_t c, int64_t o, int64_t stride) {
    tn_conv_options options = {.stride = {stride, stride}};
    return tn_b_conv(b, x, weights(b, 4, (int64_t[]){o, c, 1, 1}), weights(b, 1, &o), &options);
}

static tn_value relu(tn_builder *b, tn_value x) {
    return tn_b_max(b, x, tn_b_scalar(b, TN_f32, 0));
}

/* ---- one kernel, nothing permuted ----------------------------------------------------------- */

static void whole_panels(tn_builder *b) {
    out(b, relu(b, pointwise(b, planes(b, "x", 2, 16, 16, 64), 16, 24, 1)));
}

static void ragged(tn_builder *b) {
    out(b, pointwise(b, planes(b, "x", 3, 5, 23, 29), 5, 7, 1));
}

static void residual(tn_builder *b) {
    tn_value x = planes(b, "x", 2, 6, 27, 20), r = planes(b, "r", 2, 11, 27, 20);
    out(b, relu(b, tn_b_add(b, pointwise(b, x, 6, 11, 1), r)));
}

/* The result is read twice behind the product; its operand is made on the way in. */
static void silu(tn_builder *b) {
    tn_value x = planes(b, "x", 1, 8, 30, 18);
    tn_value y = pointwise(b, relu(b, x), 8, 3, 1);
    out(b, tn_b_mul(b, y, tn_b_sigmoid(b, y)));
}

static void many_channels(tn_builder *b) {
    out(b, pointwise(b, planes(b, "x", 1, 131, 33, 32), 131, 37, 1));
}

static void line(tn_builder *b) {
    tn_shape s = {3, {2, 9, 600}};
    tn_value x = tn_b_input(b, "x", TN_f32, &s);
    tn_conv_options options = {0};
    int64_t o = 10;
    out(b, tn_b_conv(b, x, weights(b, 3, (int64_t[]){o, 9, 1}), weights(b, 1, &o), &options));
}

/* A dot over the first of two axes, both orders of the weights' axes. */
static void matrix(tn_builder *b) {
    tn_shape s = {2, {12, 520}};
    tn_value x = tn_b_permute(b, tn_b_input(b, "x", TN_f32, &s), (int[]){1, 0});
    tn_attrs_dot a = {.lhs_contract = {1, {1}}, .rhs_contract = {1, {0}}, .acc = TN_f32};
    tn_value in[] = {x, weights(b, 2, (int64_t[]){12, 9})};
    out(b, tn_b_permute(b, tn_b_node(b, TN_OP_dot, in, 2, &a), (int[]){1, 0}));
}

static void open_batch(tn_builder *b) {
    tn_shape s = {4, {tn_dim_of_symbol(b->graph->dims, "N"), 7, 25, 21}};
    out(b, relu(b, pointwise(b, tn_b_input(b, "x", TN_f32, &s), 7, 9, 1)));
}

static void hostile(tn_builder *b) {
    static const double values[] = {1, NAN, -INFINITY, 0.5, INFINITY, -2};
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 4, (int64_t[]){2, 4, 24, 22});
    for (int64_t i = 0; i < tn_array_count(&a); i++)
        tn_array_set(&a, i, tn_cell_of(TN_f32, i % 37 < 6 ? values[i % 37] : 0.25));
    tn_value zero = tn_b_input(b, "zero", TN_f32, &(tn_shape){0});
    tn_value x = tn_b_add(b, tn_b_constant(b, &a), tn_b_mul_scalar(b, zero, 0));
    out(b, pointwise(b, x, 4, 5, 1));
}

static void no_images(tn_builder *b) {
    out(b, pointwise(b, planes(b, "x", 0, 4, 24, 24), 4, 5, 1));
}

static void no_channels(tn_builder *b) {
    out(b, pointwise(b, planes(b, "x", 2, 0, 24, 24), 0, 5, 1));
}

/* ---- left as they are ----------------------------------------------------------------------- */

static void stride(tn_builder *b) {
    out(b, pointwise(b, planes(b, "x", 1, 4, 50, 52), 4, 6, 2));
}

/* A channels-last result is wanted, too. */
static void both_layouts(tn_builder *b) {
    tn_value y = pointwise(b, planes(b, "x", 1, 5, 24, 24), 5, 6, 1);
    out(b, y);
    tn_graph_add_output(b->graph, tn_b_permute(b, y, (int[]){0, 2, 3, 1}), "last");
}

static void two_in_a_row(tn_builder *b) {
    tn_value y = relu(b, pointwise(b, planes(b, "x", 1, 5, 24, 24), 5, 6, 1));
    out(b, pointwise(b, y, 6, 7, 1));
}

static const struct {
    build_graph *build;
    const char *name;
    bool exchanged;
    int64_t symbols[1];
} graphs[] = {
    {whole_panels, "whole panels", true, {0}},
    {ragged, "ragged", true, {0}},
    {residual, "residual", true, {0}},
    {silu, "silu", true, {0}},
    {many_channels, "many channels", true, {0}},
    {line, "along a line", true, {0}},
    {matrix, "matrix", true, {0}},
    {open_batch, "open batch", true, {3}},
    {hostile, "NaN and infinities", true, {0}},
    {no_images, "no images", true, {0}},
    {no_channels, "no channels", true, {0}},
    {stride, "stride", false, {0}},
    {both_layouts, "both layouts", false, {0}},
    {two_in_a_row, "two in a row", false, {0}},
};

static plan_case *case_of(tn_arena *arena, size_t i) {
    return plan_case_of(arena, graphs[i].build, graphs[i].symbols, graphs[i].name);
}

static void keep_groups(void *context, const char *stage, const char *text) {
    if (!strcmp(stage, "groups")) tn_str_append(context, text);
}

static void test_exchange__leaves_no_permute(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(graphs); i++) {
        tn_arena arena;
        tn_error err = TN_ERROR_INIT;
        tn_program program;
        tn_str groups;
        tn_arena_init(&arena, tn_allocator_system());
        tn_str_init(&groups);
        tn_plan_options options = {
            .target = tn_target_native(), .dump = keep_groups, .dump_context = &groups};
        plan_case *c = case_of(&arena, i);
        if (tn_plan(c->graph, &options, &arena, &program, &err) != TN_OK)
            fail_msg("%s: %s", graphs[i].name, err.message);
        bool permutes = strstr(tn_str_text(&groups), "permute") != NULL;
        if (permutes == graphs[i].exchanged)
            fail_msg("%s: %s", graphs[i].name, tn_str_text(&groups));
        tn_str_deinit(&groups);
        tn_arena_deinit(&arena);
    }
}

static void test_exchange__interpreted(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(graphs); i++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = case_of(&arena, i);
        if (!plan_interpret(c)) fail_msg("%s", c->why);
        tn_arena_deinit(&arena);
    }
}

static void test_exchange__compiled(void **state) {
    (void)state;
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[TN_COUNT(graphs)];
    if (!plan_has_compiler()) return;
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(graphs); i++) all[i] = case_of(&arena, i);
    if (!plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange__leaves_no_permute),
        cmocka_unit_test(test_exchange__interpreted),
        cmocka_unit_test(test_exchange__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
