/* Loops over pieces of the batch: the same bits as without, where they begin and end, and when they are
 * worth it. */
#include "runtime/memory.h"
#include "schedule/batch_pieces.h"
#include "unit/plan/check_plan.h"

static tn_value weights(tn_builder *b, int rank, const int64_t *dim, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, rank, dim);
    fill_random(&a, seed);
    return tn_b_constant(b, &a);
}

static tn_value input(tn_builder *b, const char *name, tn_dim n, int64_t size, int64_t channels) {
    return tn_b_input(b, name, TN_f32, &(tn_shape){4, {n, size, size, channels}});
}

static tn_value conv(tn_builder *b, tn_value x, int64_t side, int64_t from, int64_t to) {
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {side / 2, side / 2}};
    tn_value in[] = {x, weights(b, 4, (int64_t[]){side, side, from, to}, (uint64_t)(from + side))};
    tn_value y = tn_b_add(b, tn_b_node(b, TN_OP_conv, in, 2, &a), weights(b, 1, &to, 7));
    return tn_b_max(b, y, tn_b_scalar(b, TN_f32, 0));
}

static tn_value pool(tn_builder *b, tn_value x) {
    tn_attrs_window_reduce a = {.kind = TN_REDUCE_max, .acc = TN_f32};
    a.window = a.stride = (tn_ints){4, {1, 2, 2, 1}};
    a.dilation = (tn_ints){4, {1, 1, 1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){4, {0}};
    return tn_b_node(b, TN_OP_window_reduce, &x, 1, &a);
}

static void out(tn_builder *b, tn_value v, const char *name) {
    if (v != TN_NO_VALUE) tn_graph_add_output(b->graph, v, name);
}

/* ---- graphs --------------------------------------------------------------------------------- */

/* Convolutions (one by minimal filtering), a pool, a residual, a head; two results. */
static void net(tn_builder *b, tn_dim n) {
    tn_value x = pool(b, conv(b, input(b, "x", n, 8, 16), 3, 16, 32));
    tn_value y = tn_b_add(b, conv(b, x, 1, 32, 24), input(b, "r", n, 4, 24));
    tn_value mean = tn_b_mean(b, y, (int[]){1, 2}, 2, false);
    out(b, tn_b_matmul(b, mean, weights(b, 2, (int64_t[]){24, 10}, 3), TN_f32), "logits");
    out(b, y, "features");
}

static void net_of_6(tn_builder *b) {
    net(b, 6);
}

static void net_open(tn_builder *b) {
    net(b, tn_dim_of_symbol(b->graph->dims, "N"));
}

/* The batch is not the first axis of what is between, nor of a result; all images share a mask. */
static void turned(tn_builder *b) {
    tn_value x = conv(b, input(b, "x", 4, 5, 8), 1, 8, 12);
    tn_value mask = tn_b_input(b, "m", TN_f32, &(tn_shape){2, {5, 5}});
    tn_value t = tn_b_permute(b, x, (int[]){1, 0, 3, 2}); /* rows, images, channels, columns */
    t = tn_b_add(b, tn_b_matmul(b, t, mask, TN_f32),
                 tn_b_exp(b, tn_b_input(b, "s", TN_f32, &(tn_shape){2, {12, 5}})));
    tn_value y = tn_b_permute(b, t, (int[]){1, 0, 2, 3});
    out(b, tn_b_sum(b, y, (int[]){3}, 1, false), "y");
    out(b, tn_b_permute(b, tn_b_tanh(b, t), (int[]){2, 1, 0, 3}), "t");
}

/* The mean over the batch needs all images: what is behind it stays whole, what is before does not. */
static void normalized(tn_builder *b) {
    tn_value x = conv(b, input(b, "x", 4, 6, 8), 1, 8, 8);
    tn_value mean = tn_b_mean(b, x, (int[]){0, 1, 2}, 3, true);
    out(b, conv(b, tn_b_sub(b, x, mean), 1, 8, 5), "y");
}

/* Nothing but a fold over the batch. */
static void summed(tn_builder *b) {
    out(b, tn_b_sum(b, input(b, "x", 4, 6, 8), (int[]){0}, 1, false), "y");
}

/* A loop's result is a part of the next one's operands, and a view of it is a result of the graph. */
static void flat(tn_builder *b) {
    tn_value x = conv(b, input(b, "x", 4, 3, 4), 1, 4, 8);
    tn_value f = tn_b_reshape_to(b, x, 2, (tn_dim[]){4, 72});
    out(b, f, "f");
    out(b, tn_b_matmul(b, f, weights(b, 2, (int64_t[]){72, 9}, 3), TN_f32), "y");
}

/* Products side by side, and views behind them, are in the loop together. */
static void siblings(tn_builder *b) {
    tn_value x = conv(b, input(b, "x", 4, 5, 8), 3, 8, 12), y[2];
    for (int i = 0; i < 2; i++) {
        y[i] = tn_b_matmul(b, x, weights(b, 2, (int64_t[]){12, 10}, (uint64_t)i), TN_f32);
        y[i] = tn_b_reshape_to(b, y[i], 4, (tn_dim[]){4, 25, 2, 5});
        y[i] = tn_b_permute(b, y[i], (int[]){0, 2, 1, 3});
    }
    out(b, tn_b_mul(b, tn_b_tanh(b, y[0]), y[1]), "y");
}

typedef struct batch_test {
    build_graph *build;
    const char *name;
    int64_t piece;
    const int64_t *symbols;
    uint32_t loops;
} batch_test;

static const int64_t one[] = {1}, five[] = {5};

static const batch_test cases[] = {
    {net_of_6, "image by image", 1, NULL, 1},
    {net_of_6, "by twos", 2, NULL, 1},
    {net_of_6, "by threes", 3, NULL, 1},
    {net_of_6, "not by fours", 4, NULL, 0},
    {net_open, "open batch of 1", 1, one, 1},
    {net_open, "open batch of 5", 1, five, 1},
    {net_open, "not by twos", 2, five, 0},
    {turned, "turned", 1, NULL, 1},
    {normalized, "normalized", 1, NULL, 1},
    {summed, "summed", 1, NULL, 0},
    {flat, "flat", 1, NULL, 1},
    {siblings, "siblings", 1, NULL, 1},
};

/* ---- results -------------------------------------------------------------------------------- */

static plan_case *case_of(tn_arena *arena, const batch_test *t) {
    plan_case *c = plan_case_of(arena, t->build, t->symbols, t->name);
    c->piece = t->piece;
    return c;
}

static uint32_t loops_of(const tn_program *p) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->blocks.data[0].steps.len; i++)
        count += p->blocks.data[0].steps.data[i].kind == TN_STEP_SCAN;
    return count;
}

static void test_pieces__give_the_bits_of_the_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = case_of(&arena, &cases[i]);
        for (int pieces = 0; pieces < 2; pieces++) {
            tn_program p;
            plan_variant variant = pieces ? PLAN_PIECES : PLAN_FUSED;
            if (!plan_program_of(c, variant, tn_target_native(), &p)) fail_msg("%s", c->why);
            plan_run run = {.c = c, .program = &p, .way = plan_ways[variant]};
            if (!plan_run_program(&run)) fail_msg("%s", c->why);
            if (loops_of(&p) != (pieces ? cases[i].loops : 0))
                fail_msg("%s: %u loops", c->label, loops_of(&p));
        }
        tn_arena_deinit(&arena);
    }
}

/* Each graph once: other pieces of it have run above. */
static void test_pieces__in_every_way(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_arena arena;
        if (i && cases[i].build == cases[i - 1].build && cases[i].symbols == cases[i - 1].symbols)
            continue;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = case_of(&arena, &cases[i]);
        if (!plan_interpret(c)) fail_msg("%s", c->why);
        tn_arena_deinit(&arena);
    }
}

static void test_pieces__compiled(void **state) {
    (void)state;
    enum { WAYS = 5 }; /* of plan_compile; the last is by pieces */
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[2 * WAYS];
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(all); i++) all[i] = case_of(&arena, &cases[i < WAYS ? 2 : 5]);
    if (!plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

/* ---- the choice ----------------------------------------------------------------------------- */

/* Narrow convolutions over wide images: the caches hold an image, but not eight. */
static void wide_net(tn_builder *b) {
    tn_value x = input(b, "x", 8, 112, 16);
    for (int i = 0; i < 3; i++) x = conv(b, conv(b, x, 1, 16, 24), 1, 24, 16);
    out(b, x, "y");
}

/* Convolutions whose products would hide what they move, were it not for minimal filtering. */
static void filtered_net(tn_builder *b) {
    tn_value x = input(b, "x", 8, 64, 48);
    for (int i = 0; i < 3; i++) x = conv(b, x, 3, 48, 48);
    out(b, x, "y");
}

/* Many channels over small images: the weights are more than the images. */
static void deep_net(tn_builder *b) {
    tn_value x = input(b, "x", 8, 4, 512);
    for (int i = 0; i < 3; i++) x = conv(b, x, 3, 512, 512);
    out(b, x, "y");
}

static uint64_t temporary_bytes(const tn_program *p, tn_arena *arena) {
    uint64_t *bytes = TN_NEW_N(arena, uint64_t, p->buffers.len);
    for (uint32_t i = 0; i < p->buffers.len; i++)
        bytes[i] = (uint64_t)p->buffers.data[i].elements * tn_dtype_size(p->buffers.data[i].dtype);
    tn_memory_plan plan;
    tn_memory_place(p, bytes, arena, &plan);
    return plan.total;
}

static void plan_net(build_graph *build, tn_arena *arena, int64_t piece, tn_program *out_program) {
    tn_error err = TN_ERROR_INIT;
    tn_dims *dims = TN_NEW(arena, tn_dims);
    tn_dims_init(dims, arena);
    tn_graph *g = tn_graph_new(arena, dims);
    tn_builder b = tn_builder_of(g, &err);
    build(&b);
    tn_plan_options options = {.target = tn_target_of(TN_ISA_AVX2), .batch_piece = piece};
    if (tn_plan(g, &options, arena, out_program, &err) != TN_OK) fail_msg("%s", err.message);
}

static void test_pieces__are_chosen_by_cost(void **state) {
    (void)state;
    tn_arena arena;
    tn_program p;
    tn_arena_init(&arena, tn_allocator_system());
    plan_net(wide_net, &arena, -1, &p);
    assert_int_equal(loops_of(&p), 0);
    uint64_t before = temporary_bytes(&p, &arena);
    plan_net(wide_net, &arena, 0, &p);
    assert_int_equal(loops_of(&p), 1);
    uint64_t after = temporary_bytes(&p, &arena);
    if (after > before / 2)
        fail_msg("%llu bytes, without loop %llu", (unsigned long long)after,
                 (unsigned long long)before);
    plan_net(filtered_net, &arena, 0, &p);
    assert_int_equal(loops_of(&p), 1);
    plan_net(deep_net, &arena, 0, &p);
    assert_int_equal(loops_of(&p), 0);
    tn_arena_deinit(&arena);
}

static uint32_t trials_of(int64_t images, int64_t *found) {
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    tn_dims dims;
    tn_arena_init(&arena, tn_allocator_system());
    tn_dims_init(&dims, &arena);
    tn_builder b = tn_builder_of(tn_graph_new(&arena, &dims), &err);
    (void)input(&b, "x", images, 2, 3);
    uint32_t count = tn_batch_piece_trials(b.graph, found);
    tn_arena_deinit(&arena);
    return count;
}

static void test_pieces__to_try_divide_the_batch(void **state) {
    (void)state;
    static const int64_t twelve[] = {TN_PIECE_NEVER, 1, 2, 4}, two[] = {TN_PIECE_NEVER, 1},
                         hundred[] = {TN_PIECE_NEVER, 1, 2, 4, 10, 20, 50};
    int64_t found[TN_PIECE_TRIALS];
    assert_int_equal(trials_of(1, found), 0);
    assert_int_equal(trials_of(2, found), 2);
    assert_memory_equal(found, two, sizeof two);
    assert_int_equal(trials_of(12, found), 4);
    assert_memory_equal(found, twelve, sizeof twelve);
    assert_int_equal(trials_of(100, found), 7);
    assert_memory_equal(found, hundred, sizeof hundred);
    assert_int_equal(trials_of((int64_t)1 << 50, found), 22); /* at once: up to a million */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces__to_try_divide_the_batch),
        cmocka_unit_test(test_pieces__give_the_bits_of_the_whole),
        cmocka_unit_test(test_pieces__in_every_way),
        cmocka_unit_test(test_pieces__compiled),
        cmocka_unit_test(test_pieces__are_chosen_by_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
