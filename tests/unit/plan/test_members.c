/* Models of equal structure as one graph: convolutions whose weights are stacked, at once and in loops over
 * members, against eval. */
#include "ops/batch.h"
#include "unit/plan/check_plan.h"

enum { MEMBERS = 4, MOST = 16 };

/* What differs between members, for one of them and stacked. */
typedef struct net {
    tn_builder *b;
    tn_value member[MOST], all[MOST];
    int count;
} net;

static tn_value random_constant(tn_builder *b, int rank, const int64_t *dim, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, rank, dim);
    fill_random(&a, seed);
    return tn_b_constant(b, &a);
}

/* Notes `all`, [MEMBERS, …], as something that each member has a part of, and gives the first one's. */
static tn_value part_of(net *n, tn_value all) {
    tn_value one = tn_b_slice_axis(n->b, all, 0, 0, 1, 1);
    one = tn_b_node(n->b, TN_OP_barrier, (tn_value[]){tn_b_squeeze(n->b, one, 0)}, 1, NULL);
    n->member[n->count] = one;
    n->all[n->count++] = all;
    return one;
}

static tn_value parameter(net *n, int rank, const int64_t *dim) {
    int64_t stacked[TN_MAX_RANK] = {MEMBERS};
    memcpy(stacked + 1, dim, sizeof *dim * (size_t)rank);
    return part_of(n, random_constant(n->b, rank + 1, stacked, (uint64_t)n->count + 3));
}

static tn_value image(net *n, int64_t size, int64_t channels) {
    tn_shape s = {5, {MEMBERS, 2, channels, size, size}};
    return part_of(n, tn_b_input(n->b, "x", TN_f32, &s));
}

static void batch(net *n, tn_value y) {
    tn_batch_inputs x = {.member = n->member, .all = n->all, .count = n->count, .size = MEMBERS};
    tn_value out = TN_NO_VALUE;
    tn_b_batch(n->b, &x, &y, 1, &out);
    if (out != TN_NO_VALUE) tn_graph_add_output(n->b->graph, out, "y");
}

typedef struct layer {
    int64_t from, to, window, stride, groups;
} layer;

/* Channels-first, as models have it: groups, C, bias, relu. */
static tn_value conv(net *n, tn_value x, layer l) {
    tn_builder *b = n->b;
    tn_attrs_conv a = {.batch = l.groups > 1, .acc = TN_f32};
    a.stride = (tn_ints){2, {l.stride, l.stride}};
    a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {l.window / 2, l.window / 2}};
    int64_t each = l.from / l.groups, dim[] = {l.to, each, l.window, l.window};
    tn_value w = parameter(n, 4, dim), y;
    if (l.groups == 1) {
        tn_value in[] = {tn_b_permute(b, x, (int[]){0, 2, 3, 1}),
                         tn_b_permute(b, w, (int[]){2, 3, 1, 0})};
        y = tn_b_permute(b, tn_b_node(b, TN_OP_conv, in, 2, &a), (int[]){0, 3, 1, 2});
    } else {
        tn_type t = tn_b_type(b, x);
        tn_dim *d = t.shape.dim;
        x = tn_b_reshape_to(b, x, 5, (tn_dim[]){d[0], l.groups, each, d[2], d[3]});
        w = tn_b_reshape_to(b, w, 5,
                            (tn_dim[]){l.groups, l.to / l.groups, each, l.window, l.window});
        tn_value in[] = {tn_b_permute(b, x, (int[]){1, 0, 3, 4, 2}),
                         tn_b_permute(b, w, (int[]){0, 3, 4, 2, 1})};
        y = tn_b_permute(b, tn_b_node(b, TN_OP_conv, in, 2, &a), (int[]){1, 0, 4, 2, 3});
        d = (t = tn_b_type(b, y)).shape.dim;
        y = tn_b_reshape_to(b, y, 4, (tn_dim[]){d[0], l.to, d[3], d[4]});
    }
    tn_value bias = parameter(n, 1, &l.to);
    y = tn_b_add(b, y, tn_b_reshape_to(b, bias, 4, (tn_dim[]){1, l.to, 1, 1}));
    return tn_b_max(b, y, tn_b_scalar(b, TN_f32, 0));
}

/* ---- graphs --------------------------------------------------------------------------------- */

static void filters(tn_builder *b) {
    net n = {.b = b};
    tn_value x = image(&n, 6, 16);
    tn_value y = conv(&n, conv(&n, x, (layer){16, 20, 3, 1, 1}), (layer){20, 16, 3, 1, 1});
    batch(&n, tn_b_add(b, x, y));
}

/* A wide window, a pool, a head; weights that are computed of others. */
static void classifier(tn_builder *b) {
    net n = {.b = b};
    tn_value y = conv(&n, image(&n, 8, 3), (layer){3, 8, 5, 2, 1});
    tn_attrs_window_reduce a = {.kind = TN_REDUCE_max, .acc = TN_f32};
    a.window = a.stride = (tn_ints){4, {1, 1, 2, 2}};
    a.dilation = (tn_ints){4, {1, 1, 1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){4, {0}};
    y = tn_b_node(b, TN_OP_window_reduce, &y, 1, &a);
    y = tn_b_reshape_to(b, y, 2, (tn_dim[]){2, 8 * 4});
    tn_value w = tn_b_exp(b, parameter(&n, 2, (int64_t[]){8 * 4, 10}));
    batch(&n, tn_b_add(b, tn_b_matmul(b, y, w, TN_f32), parameter(&n, 1, (int64_t[]){10})));
}

static void depthwise(tn_builder *b) {
    net n = {.b = b};
    tn_value y = conv(&n, image(&n, 8, 6), (layer){6, 24, 1, 1, 1});
    y = conv(&n, y, (layer){24, 24, 3, 2, 24});
    batch(&n, conv(&n, y, (layer){24, 12, 1, 1, 1}));
}

static void grouped(tn_builder *b) {
    net n = {.b = b};
    batch(&n, conv(&n, image(&n, 6, 36), (layer){36, 32, 3, 1, 2}));
}

typedef struct members_test {
    build_graph *build;
    const char *name;
    const char *word; /* in a kernel's note, by members and at once; NULL: whatever */
} members_test;

static const members_test cases[] = {
    {filters, "filters", "winograd="},
    {classifier, "classifier", NULL},
    {depthwise, "depthwise", "shape=depthwise"},
    {grouped, "grouped", "winograd="},
};

static void check_kernels(const tn_program *p, const members_test *t, bool loop) {
    uint32_t found = 0, loops = 0;
    for (uint32_t i = 0; i < p->kernels.len; i++)
        found += t->word && p->kernels.data[i]->note && strstr(p->kernels.data[i]->note, t->word);
    for (uint32_t i = 0; i < p->blocks.data[0].steps.len; i++)
        loops += p->blocks.data[0].steps.data[i].kind == TN_STEP_SCAN;
    if (t->word && !found) fail_msg("%s: has no kernel with %s", t->name, t->word);
    if (loop != (loops > 0)) fail_msg("%s: %u loops", t->name, loops);
}

/* A member's result has the same bits at once, one by one and by twos. */
static void test_members__in_loops_have_the_same_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = plan_case_of(&arena, cases[i].build, NULL, cases[i].name);
        for (int64_t piece = 0; piece < 3; piece++) {
            tn_program p;
            c->piece = piece;
            plan_variant variant = piece ? PLAN_PIECES : PLAN_FUSED;
            if (!plan_program_of(c, variant, tn_target_native(), &p)) fail_msg("%s", c->why);
            check_kernels(&p, &cases[i], piece > 0);
            plan_expect_packed(&p, c->label);
            plan_run run = {.c = c, .program = &p, .way = plan_ways[variant]};
            if (!plan_run_program(&run)) fail_msg("%s", c->why);
        }
        tn_arena_deinit(&arena);
    }
}

static void test_members__compiled(void **state) {
    (void)state;
    enum { WAYS = 5 }; /* of plan_compile; the first is at once, the last in a loop */
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[2 * WAYS];
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(all); i++) {
        const members_test *t = &cases[i < WAYS ? 0 : 1];
        all[i] = plan_case_of(&arena, t->build, NULL, t->name);
    }
    if (!plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members__in_loops_have_the_same_bits),
        cmocka_unit_test(test_members__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
