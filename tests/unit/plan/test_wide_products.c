/* A product for each member of a batch, and what joins its kernel: results against eval, and how many
 * kernels they are. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

static tn_value sum(tn_builder *b, tn_value x, int first, int count) {
    return tn_b_sum(b, x, (int[]){first, first + 1}, count, false);
}

/* ---- folds over each product ---------------------------------------------------------------- */

static void over_rows(tn_builder *b) { /* gradients of biases */
    tn_value y = dot(b, INPUT(b, 5, 9, 20), WEIGHTS(b, 5, 20, 33));
    out(b, y);
    out(b, sum(b, y, 1, 1));
}
static void over_all(tn_builder *b) { /* losses */
    tn_value y = dot(b, INPUT(b, 5, 9, 20), INPUT(b, 5, 20, 33));
    y = tn_b_sub(b, y, INPUT(b, 5, 9, 33));
    out(b, tn_b_mul_scalar(b, sum(b, tn_b_mul(b, y, y), 1, 2), 0.5));
}
static void over_everything(tn_builder *b) { /* every kind of fold in one kernel */
    tn_value y = dot(b, INPUT(b, 4, 9, 20), INPUT(b, 4, 20, 37));
    out(b, sum(b, y, 1, 1));
    out(b, tn_b_reduce(b, TN_REDUCE_max, y, (int[]){1, 2}, 2, false));
    out(b, sum(b, y, 2, 1));
    out(b, sum(b, y, 0, 2));
    out(b, tn_b_sum(b, y, (int[]){0, 1, 2}, 3, false));
}
static void blocks_of_rows(tn_builder *b) { /* several tasks to a product */
    tn_value y = dot(b, INPUT(b, 3, 410, 7), WEIGHTS(b, 3, 7, 150));
    out(b, sum(b, y, 1, 1));
    out(b, sum(b, y, 1, 2));
}
static void one_row(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 7, 1, 20), WEIGHTS(b, 7, 20, 33));
    out(b, y);
    out(b, sum(b, y, 1, 2));
}
static void one_column(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 7, 12, 20), WEIGHTS(b, 7, 20, 1));
    out(b, sum(b, tn_b_tanh(b, y), 1, 1));
}
static void two_batch_axes(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 2, 3, 9, 20), INPUT(b, 2, 3, 20, 18));
    out(b, sum(b, y, 2, 1));
    out(b, tn_b_exp(b, tn_b_mul_scalar(b, sum(b, y, 2, 2), 0.01)));
}
static void some_batch_axes(tn_builder *b) { /* neither each product nor all of them */
    tn_value y = dot(b, INPUT(b, 2, 3, 9, 20), INPUT(b, 2, 3, 20, 18));
    out(b, sum(b, y, 1, 2));
}
static void best_of_each(tn_builder *b) { /* two registers to a fold */
    tn_value y = dot(b, INPUT(b, 3, 30, 20), INPUT(b, 3, 20, 40));
    out(b, tn_b_reduce(b, TN_REDUCE_argmax, y, (int[]){1}, 1, false));
}
static void what_follows(tn_builder *b) { /* the step of each member's bias, with its own rate */
    tn_value y = dot(b, INPUT(b, 6, 9, 20), INPUT(b, 6, 20, 33));
    tn_value bias = INPUT(b, 6, 33), rate = tn_b_unsqueeze(b, INPUT(b, 6), 1);
    out(b, tn_b_sub(b, bias, tn_b_mul(b, rate, sum(b, y, 1, 1))));
    tn_graph_output_in_place(b->graph, 2);
}
static void
one_tile(tn_builder *b) { /* 8×32 with 32 registers, so that each panel is passed once */
    out(b, dot(b, INPUT(b, 2, 8, 300), WEIGHTS(b, 2, 300, 128)));
}
static void streamed(tn_builder *b) {
    out(b, dot(b, INPUT(b, 16, 8, 300), WEIGHTS(b, 16, 300, 448)));
}
static void deep(tn_builder *b) { /* sums over k in pieces */
    tn_value y = dot(b, INPUT(b, 2, 5, 5000), INPUT(b, 2, 5000, 24));
    out(b, sum(b, y, 1, 1));
}
static void normed(tn_builder *b) { /* rows of a prologue */
    tn_value x = tn_b_rms_norm(b, INPUT(b, 2, 45, 40), 2, WEIGHTS(b, 40), 1e-5);
    tn_value y = dot(b, x, WEIGHTS(b, 2, 40, 70));
    out(b, sum(b, y, 1, 1));
    out(b, sum(b, y, 1, 2));
}
static void siblings(tn_builder *b) {
    tn_value x = INPUT(b, 3, 9, 20), y = dot(b, x, WEIGHTS(b, 3, 20, 33));
    y = tn_b_mul(b, tn_b_tanh(b, y), dot(b, x, WEIGHTS(b, 3, 20, 33)));
    out(b, y);
    out(b, sum(b, y, 1, 1));
}
static void doubles(tn_builder *b) {
    tn_value x = TYPED(b, TN_f64, 3, 9, 20), y = dot(b, x, TYPED(b, TN_f64, 3, 20, 19));
    out(b, sum(b, y, 1, 1));
    out(b, sum(b, y, 1, 2));
}
static void specials(tn_builder *b) { /* of one member, which no other one sees */
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 3, (int64_t[]){4, 9, 20});
    for (int64_t i = 0; i < 4 * 9 * 20; i++) tn_array_set(&a, i, tn_cell_of(TN_f32, 0));
    tn_array_set(&a, 2 * 9 * 20 + 3, tn_cell_of(TN_f32, NAN));
    tn_array_set(&a, 1 * 9 * 20 + 5, tn_cell_of(TN_f32, INFINITY));
    tn_value x = tn_b_add(b, INPUT(b, 4, 9, 20), tn_b_constant(b, &a));
    tn_value y = dot(b, x, INPUT(b, 4, 20, 33));
    out(b, sum(b, y, 1, 1));
    out(b, sum(b, y, 1, 2));
}
static void open_members(tn_builder *b) { /* no tickets for each */
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value y = dot(b, INPUT(b, n, s, 20), INPUT(b, n, 20, 33));
    out(b, y);
    out(b, sum(b, y, 1, 1));
}
static void open_rows(tn_builder *b) {
    tn_dim s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_dims_set_bounds(b->graph->dims, tn_dims_symbol(b->graph->dims, "S"), 1, 4096, 1);
    tn_value y = dot(b, INPUT(b, 3, s, 20), INPUT(b, 3, 20, 33));
    out(b, sum(b, y, 1, 1));
    out(b, sum(b, y, 1, 2));
}

/* ---- running -------------------------------------------------------------------------------- */

static const int64_t open[][2] = {{1, 1}, {2, 7}, {3, 200}};

#define CASE(build, kernels)                                                                       \
    { build, #build, kernels, NULL }
#define OPEN(build, sizes, kernels)                                                                \
    { build, #build " " #sizes, kernels, open[sizes] }
static counted_graph cases[] = {
    CASE(over_rows, 1),      CASE(over_all, 1),        CASE(over_everything, 1),
    CASE(blocks_of_rows, 1), CASE(one_row, 1),         CASE(one_column, 1),
    CASE(two_batch_axes, 1), CASE(some_batch_axes, 2), CASE(best_of_each, 1),
    CASE(what_follows, 1),   CASE(one_tile, 1),        CASE(deep, 1),
    CASE(normed, 1),         CASE(siblings, 1),        CASE(doubles, 1),
    CASE(specials, 1),       OPEN(open_members, 0, 2), OPEN(open_members, 1, 2),
    OPEN(open_rows, 1, 1),   OPEN(open_rows, 2, 1),
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].name);
}

static void test_wide_products__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

/* ---- weights that memory brings ------------------------------------------------------------- */

/* The record and the text of the product, beside which there is what packs. */
static void check_text(void (*build)(tn_builder *), const char *tile, bool ahead) {
    tn_arena arena;
    tn_program p;
    tn_str text;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *c = plan_case_of(&arena, build, NULL, "products");
    if (!plan_program_of(c, PLAN_FUSED, tn_target_of(TN_ISA_AVX512), &p)) fail_msg("%s", c->why);
    const tn_loop *k = NULL;
    for (uint32_t i = 0; i < p.kernels.len; i++)
        if (strstr(p.kernels.data[i]->note, tile)) k = p.kernels.data[i];
    assert_non_null(k);
    tn_str_init(&text);
    tn_loop_print(k, false, &text);
    assert_int_equal(strstr(tn_str_text(&text), "prefetch packed") != NULL, ahead);
    tn_str_deinit(&text);
    tn_arena_deinit(&arena);
}

static void test_wide_products__of_few_rows_pass_weights_once(void **state) {
    (void)state;
    check_text(one_tile, "tile=8x32", false);
    check_text(streamed, "tile=8x32", true);
    check_text(one_row, "tile=", false);
}

int main(void) {
    const struct CMUnitTest more[] = {
        cmocka_unit_test(test_wide_products__of_few_rows_pass_weights_once),
        cmocka_unit_test(test_wide_products__compiled),
    };
    return counted_graphs_run(cases, TN_COUNT(cases), more, TN_COUNT(more));
}
