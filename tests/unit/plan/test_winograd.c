/* 3×3 convolutions by minimal filtering: results against eval, and their error against f64. */
#include "unit/plan/check_plan.h"

typedef struct layer {
    int64_t n, h, w, c, o, pad;
} layer;

static tn_value weights(tn_builder *b, int rank, const int64_t *dim, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, rank, dim);
    fill_random(&a, seed);
    return tn_b_constant(b, &a);
}

static tn_value layer_input(tn_builder *b, const layer *l) {
    tn_shape s = {4, {l->n, l->h, l->w, l->c}};
    return tn_b_input(b, "x", TN_f32, &s);
}

static tn_value filter_by(tn_builder *b, tn_value x, const layer *l, tn_value w) {
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {l->pad, l->pad}};
    return tn_b_node(b, TN_OP_conv, (tn_value[]){x, w}, 2, &a);
}

static tn_value filter(tn_builder *b, tn_value x, const layer *l, uint64_t seed) {
    return filter_by(b, x, l, weights(b, 4, (int64_t[]){3, 3, l->c, l->o}, seed));
}

static void out(tn_builder *b, tn_value v) {
    if (v != TN_NO_VALUE) tn_graph_add_output(b->graph, v, "y");
}

/* ---- shapes --------------------------------------------------------------------------------- */

static const layer layers[] = {
    {1, 16, 16, 32, 32, 1},  /* tiles divide the result */
    {1, 15, 18, 37, 45, 1},  /* they do not, nor lanes the channels */
    {3, 9, 7, 32, 64, 1},    /* several images in a block */
    {2, 13, 10, 48, 20, 0},  /* no padding */
    {1, 11, 21, 20, 130, 2}, /* more padding; several ranges of panels */
};

static tn_value bias_residual_relu(tn_builder *b, tn_value y, const layer *l) {
    const tn_type type = tn_b_type(b, y);
    y = tn_b_add(b, y, weights(b, 1, &l->o, 5));
    y = tn_b_add(b, y, tn_b_input(b, "r", TN_f32, &type.shape));
    return tn_b_max(b, y, tn_b_scalar(b, TN_f32, 0));
}

#define LAYER(i)                                                                                   \
    static void layer_##i(tn_builder *b) {                                                         \
        const layer *l = &layers[i];                                                               \
        out(b, bias_residual_relu(b, filter(b, layer_input(b, l), l, 3), l));                      \
    }
LAYER(0)
LAYER(1)
LAYER(2)
LAYER(3)
LAYER(4)

/* A long epilogue behind views; a second filter that reads what the first has stored. */
static void chain(tn_builder *b) {
    layer first = {2, 10, 9, 24, 40, 1}, second = {2, 10, 9, 40, 24, 1};
    tn_value y = tn_b_tanh(b, filter(b, layer_input(b, &first), &first, 3));
    y = filter(b, tn_b_mul_scalar(b, y, 0.5), &second, 4);
    out(b, tn_b_permute(b, tn_b_add(b, y, weights(b, 1, &second.o, 6)), (int[]){0, 3, 1, 2}));
}

static void open_batch(tn_builder *b) {
    layer l = {tn_dim_of_symbol(b->graph->dims, "N"), 14, 14, 32, 32, 1};
    out(b, tn_b_max(b, filter(b, layer_input(b, &l), &l, 3), tn_b_scalar(b, TN_f32, 0)));
}

/* Weights that are no constants, as in training: forward by them as they lie, [O, C, 3, 3], then by the same
 * turned round, as the gradient of x is. */
static void there_and_back(tn_builder *b) {
    layer to = {1, 20, 20, 16, 20, 1}, from = {1, 20, 20, 20, 16, 1};
    tn_shape s = {4, {to.o, to.c, 3, 3}};
    tn_value w = tn_b_input(b, "w", TN_f32, &s);
    tn_attrs_slice turn = {.start = {4, {0, 0, 2, 2}}, .shape = s, .step = {4, {1, 1, -1, -1}}};
    tn_value turned = tn_b_node(b, TN_OP_slice, &w, 1, &turn);
    tn_value y = filter_by(b, layer_input(b, &to), &to, tn_b_permute(b, w, (int[]){2, 3, 1, 0}));
    y = tn_b_max(b, y, tn_b_scalar(b, TN_f32, 0));
    out(b, filter_by(b, y, &from, tn_b_permute(b, turned, (int[]){2, 3, 0, 1})));
}

static const int64_t one[] = {1}, three[] = {3};

typedef struct filter_test {
    build_graph *build;
    const char *name;
    const int64_t *symbols;
} filter_test;

static filter_test cases[] = {
    {layer_0, "whole tiles", NULL},        {layer_1, "ragged edges", NULL},
    {layer_2, "several images", NULL},     {layer_3, "no padding", NULL},
    {layer_4, "wide padding", NULL},       {chain, "chain", NULL},
    {open_batch, "open batch of 1", one},  {open_batch, "open batch of 3", three},
    {there_and_back, "fed weights", NULL},
};

static bool has_kernel(plan_case *c, plan_variant variant, const char *word) {
    tn_program p;
    if (!plan_program_of(c, variant, tn_target_native(), &p)) fail_msg("%s", c->why);
    for (uint32_t i = 0; i < p.kernels.len; i++)
        if (p.kernels.data[i]->note && strstr(p.kernels.data[i]->note, word)) return true;
    return false;
}

/* The fused program runs it by minimal filtering, the one without fusion does not. */
static void check_chosen(plan_case *c, const char *word) {
    if (!has_kernel(c, PLAN_FUSED, word)) fail_msg("%s: has no kernel with %s", c->label, word);
    if (has_kernel(c, PLAN_PLAIN, word)) fail_msg("%s: not fused, but %s", c->label, word);
}

static void test_winograd__interpreted(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = plan_case_of(&arena, cases[i].build, cases[i].symbols, cases[i].name);
        check_chosen(c, "winograd=");
        if (!plan_interpret(c)) fail_msg("%s", c->why);
        tn_arena_deinit(&arena);
    }
}

static void test_winograd__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[TN_COUNT(cases)];
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        all[i] = plan_case_of(&arena, cases[i].build, cases[i].symbols, cases[i].name);
    if (!plan_compile(all, TN_COUNT(cases), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

/* ---- accuracy ------------------------------------------------------------------------------- */

/* Many channels: the reference sums in f64, and check_plan.h allows 1e-5 of the largest result. */
static void deep_small(tn_builder *b) {
    layer l = {1, 6, 6, 512, 48, 1};
    out(b, filter(b, layer_input(b, &l), &l, 9));
}

static void deep_large(tn_builder *b) {
    layer l = {1, 16, 16, 512, 48, 1};
    out(b, filter(b, layer_input(b, &l), &l, 9));
}

static void test_winograd__keeps_the_error_bound(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *all[] = {plan_case_of(&arena, deep_small, NULL, "512 channels, 6×6"),
                        plan_case_of(&arena, deep_large, NULL, "512 channels, 16×16")};
    check_chosen(all[0], "winograd=2x2");
    check_chosen(all[1], "winograd=4x4");
    if (!plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

/* ---- what is not finite --------------------------------------------------------------------- */

enum { SIDE = 16, NAN_ROW = 5, NAN_COLUMN = 9 };

static void one_nan(tn_builder *b) {
    layer l = {1, SIDE, SIDE, 32, 32, 1};
    tn_shape s = {4, {1, SIDE, SIDE, 32}};
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 4, s.dim);
    for (int64_t i = 0; i < tn_array_count(&a); i++) tn_array_set(&a, i, tn_cell_of(TN_f32, 0));
    tn_array_set(&a, (NAN_ROW * SIDE + NAN_COLUMN) * 32 + 7, tn_cell_of(TN_f32, NAN));
    tn_value x = tn_b_add(b, tn_b_input(b, "x", TN_f32, &s), tn_b_constant(b, &a));
    out(b, filter(b, x, &l, 3));
}

/* Whether the tile of `side` results that holds position `at` reads position `from` of x. */
static bool tile_reads(int64_t side, int64_t at, int64_t from) {
    int64_t first = at / side * side - 1; /* padding of 1 */
    return from >= first && from < first + side + 2;
}

/* A NaN makes the tiles that read it NaN as a whole, and no other result. */
static void test_winograd__nan_stays_in_its_tiles(void **state) {
    (void)state;
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *c = plan_case_of(&arena, one_nan, NULL, "one NaN");
    int64_t side = has_kernel(c, PLAN_FUSED, "winograd=4x4") ? 4 : 2;
    check_chosen(c, "winograd=");
    for (int64_t y = 0; y < SIDE; y++)
        for (int64_t x = 0; x < SIDE; x++)
            for (int64_t o = 0; o < 32; o++)
                if (tile_reads(side, y, NAN_ROW) && tile_reads(side, x, NAN_COLUMN))
                    tn_array_set(&c->want[0], (y * SIDE + x) * 32 + o, tn_cell_of(TN_f32, NAN));
    tn_program program;
    if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &program)) fail_msg("%s", c->why);
    plan_run run = {.c = c, .program = &program, .way = "fused"};
    if (!plan_run_program(&run)) fail_msg("%s", c->why);
    tn_arena_deinit(&arena);
}

/* The same filter from channels-first memory: the input is stored channels-last first. */
static void channels_first(tn_builder *b) {
    layer l = {2, 14, 13, 32, 48, 1};
    tn_shape s = {4, {l.n, l.c, l.h, l.w}};
    tn_value x = tn_b_permute(b, tn_b_input(b, "x", TN_f32, &s), (int[]){0, 2, 3, 1});
    tn_value y = tn_b_add(b, filter(b, x, &l, 3), weights(b, 1, &l.o, 5));
    out(b, tn_b_permute(b, y, (int[]){0, 3, 1, 2}));
}

/* Large enough that a strided filter reads a copy, too. */
static void channels_first_stride_2(tn_builder *b) {
    tn_shape s = {4, {1, 64, 130, 129}};
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = (tn_ints){2, {2, 2}};
    a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {0, 0}};
    tn_value x = tn_b_permute(b, tn_b_input(b, "x", TN_f32, &s), (int[]){0, 2, 3, 1});
    tn_value in[] = {x, weights(b, 4, (int64_t[]){1, 1, 64, 128}, 3)};
    out(b, tn_b_permute(b, tn_b_node(b, TN_OP_conv, in, 2, &a), (int[]){0, 3, 1, 2}));
}

static void test_winograd__from_channels_first(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *all[] = {plan_case_of(&arena, channels_first, NULL, "channels first"),
                        plan_case_of(&arena, channels_first_stride_2, NULL, "stride 2")};
    check_chosen(all[0], "winograd=");
    if (!plan_interpret(all[0])) fail_msg("%s", all[0]->why);
    if (!plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_winograd__interpreted),
        cmocka_unit_test(test_winograd__compiled),
        cmocka_unit_test(test_winograd__keeps_the_error_bound),
        cmocka_unit_test(test_winograd__nan_stays_in_its_tiles),
        cmocka_unit_test(test_winograd__from_channels_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
