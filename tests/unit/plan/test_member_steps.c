/* Recurrent layers of members, each with weights of its own: all at once and in loops over members around
 * the loop over steps, against eval. */
#include "unit/plan/graph_words.h"

enum { MEMBERS = 4, ROWS = 3, STEPS = 5, WIDTH = 7, HIDDEN = 20 };

/* ---- graphs --------------------------------------------------------------------------------- */

/* h' = f(h, x) for each step of x, [STEPS, MEMBERS, ROWS, WIDTH]. */
typedef tn_value cell(tn_builder *b, tn_value h, tn_value x);

static tn_value scan_over(tn_builder *b, tn_value x, cell *f, bool reverse) {
    const tn_shape state = {3, {MEMBERS, ROWS, HIDDEN}};
    tn_graph *body = tn_graph_new_sub(b->graph);
    tn_builder s = tn_builder_of(body, b->err);
    tn_value h = tn_b_input(&s, "h", TN_f32, &state);
    tn_value next = f(&s, h, INPUT(&s, MEMBERS, ROWS, WIDTH));
    tn_graph_add_output(body, next, "h");
    tn_graph_add_output(body, next, "y");
    tn_attrs_scan a = {
        .carries = 1, .slices = 1, .length = STEPS, .reverse = reverse, .body = body};
    tn_value in[] = {tn_b_expand(b, tn_b_scalar(b, TN_f32, 0.5), &state), x};
    tn_value first = tn_b_node(b, TN_OP_scan, in, 2, &a);
    return first == TN_NO_VALUE ? first : first + 1;
}

static tn_value steps_of(tn_builder *b, tn_value x) { /* [MEMBERS, ROWS, STEPS, …] and back */
    return tn_b_permute(b, x, (int[]){2, 0, 1, 3});
}
static tn_value rows_of(tn_builder *b, tn_value y) {
    return tn_b_permute(b, y, (int[]){1, 2, 0, 3});
}

static tn_value plain_cell(tn_builder *b, tn_value h, tn_value x) {
    tn_value y = dot(b, h, WEIGHTS(b, MEMBERS, HIDDEN, HIDDEN));
    y = tn_b_add(b, y, dot(b, x, WEIGHTS(b, MEMBERS, WIDTH, HIDDEN)));
    return tn_b_tanh(b, tn_b_add(b, y, WEIGHTS(b, MEMBERS, 1, HIDDEN)));
}
/* Gates are columns of one product; of weights that are a part of what is stored, turned. */
static tn_value gated_cell(tn_builder *b, tn_value h, tn_value x) {
    tn_value w = tn_b_slice_axis(b, WEIGHTS(b, MEMBERS, 2, 2 * HIDDEN, HIDDEN), 1, 1, 1, 1);
    w = tn_b_reshape_to(b, w, 3, (tn_dim[]){MEMBERS, 2 * HIDDEN, HIDDEN});
    tn_value y = dot(b, h, tn_b_swap(b, w, 1, 2));
    tn_value gate = tn_b_slice_axis(b, y, 2, 0, HIDDEN, 1);
    tn_value rest = tn_b_slice_axis(b, y, 2, HIDDEN, HIDDEN, 1);
    rest = tn_b_add(b, rest, dot(b, x, WEIGHTS(b, MEMBERS, WIDTH, HIDDEN)));
    return tn_b_mul(b, tn_b_exp(b, tn_b_neg(b, tn_b_abs(b, gate))), tn_b_tanh(b, rest));
}
/* What a member does depends on the others. */
static tn_value mixed_cell(tn_builder *b, tn_value h, tn_value x) {
    tn_value sum = tn_b_sum(b, h, (int[]){0}, 1, true);
    return tn_b_add(b, plain_cell(b, h, x), tn_b_tanh(b, sum));
}

static tn_value layer_input(tn_builder *b) {
    tn_value x = dot(b, INPUT(b, MEMBERS, ROWS, STEPS, 6), WEIGHTS(b, MEMBERS, 1, 6, WIDTH));
    return steps_of(b, tn_b_add(b, x, WEIGHTS(b, MEMBERS, 1, 1, WIDTH)));
}

static void plain(tn_builder *b) {
    out(b, rows_of(b, scan_over(b, layer_input(b), plain_cell, false)));
}
static void gated(tn_builder *b) {
    out(b, rows_of(b, scan_over(b, layer_input(b), gated_cell, false)));
}
static void both_ways(tn_builder *b) {
    tn_value x = layer_input(b), there = scan_over(b, x, plain_cell, false);
    out(b, rows_of(b, tn_b_add(b, there, scan_over(b, x, gated_cell, true))));
}
static void mixed(tn_builder *b) {
    out(b, rows_of(b, scan_over(b, layer_input(b), mixed_cell, false)));
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct steps_test {
    build_graph *build;
    const char *name;
    bool nests; /* the loop over steps is in one over members */
} steps_test;

static const steps_test cases[] = {
    {plain, "plain", true},
    {gated, "gated", true},
    {both_ways, "both ways", true},
    {mixed, "mixed", false},
};

static uint32_t loops_of(const tn_program *p, uint32_t block) {
    uint32_t loops = 0;
    for (uint32_t i = 0; i < p->blocks.data[block].steps.len; i++) {
        const tn_prog_step *s = &p->blocks.data[block].steps.data[i];
        if (s->kind == TN_STEP_SCAN) loops += loops_of(p, s->blocks[0]) > 0 ? 11 : 1;
    }
    return loops;
}

static void test_member_steps__in_loops_have_the_same_bits(void **state) {
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
            bool nested = loops_of(&p, 0) > 10;
            if (nested != (piece > 0 && cases[i].nests))
                fail_msg("%s by %d: %s", c->label, (int)piece, nested ? "nested" : "not nested");
            plan_expect_packed(&p, c->label);
            plan_run run = {.c = c, .program = &p, .way = plan_ways[variant]};
            if (!plan_run_program(&run)) fail_msg("%s", c->why);
        }
        tn_arena_deinit(&arena);
    }
}

static void test_member_steps__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[TN_COUNT(cases)];
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(all); i++)
        all[i] = plan_case_of(&arena, cases[i].build, NULL, cases[i].name);
    if (!plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member_steps__in_loops_have_the_same_bits),
        cmocka_unit_test(test_member_steps__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
