/* Products side by side in one kernel: results against eval, and how many kernels they are. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

static tn_value silu(tn_builder *b, tn_value x) {
    return tn_b_mul(b, x, tn_b_sigmoid(b, x));
}

/* silu(x·W1)∘(x·W2) */
static tn_value gated(tn_builder *b, tn_value x, int64_t k, int64_t n) {
    tn_value gate = dot(b, x, WEIGHTS(b, k, n));
    tn_value up = dot(b, x, WEIGHTS(b, k, n));
    return tn_b_mul(b, silu(b, gate), up);
}

/* ---- results that meet ---------------------------------------------------------------------- */

static void swiglu(tn_builder *b) { /* ragged: lanes, tiles, panels */
    out(b, gated(b, INPUT(b, 50, 33), 33, 70));
}
static void several_blocks(tn_builder *b) {
    out(b, gated(b, INPUT(b, 410, 20), 20, 130));
}
static void one_row(tn_builder *b) {
    out(b, gated(b, INPUT(b, 1, 300), 300, 90));
}
static void right_operands_are_inputs(tn_builder *b) {
    tn_value x = INPUT(b, 40, 21), gate = dot(b, x, INPUT(b, 21, 35));
    out(b, tn_b_mul(b, silu(b, gate), dot(b, x, INPUT(b, 21, 35))));
}
static void packed_and_direct(tn_builder *b) { /* one is contiguous along k */
    tn_value x = INPUT(b, 70, 48), gate = dot(b, x, tn_b_swap(b, INPUT(b, 50, 48), 0, 1));
    out(b, tn_b_mul(b, silu(b, gate), dot(b, x, INPUT(b, 48, 50))));
}
static void four_products(tn_builder *b) {
    tn_value x = INPUT(b, 19, 24), sum = dot(b, x, WEIGHTS(b, 24, 40));
    for (int i = 0; i < 3; i++) sum = tn_b_sub(b, sum, dot(b, x, WEIGHTS(b, 24, 40)));
    out(b, tn_b_tanh(b, sum));
}
static void six_products(tn_builder *b) { /* two more than one kernel takes */
    tn_value x = INPUT(b, 19, 24), sum = dot(b, x, WEIGHTS(b, 24, 40));
    for (int i = 0; i < 5; i++) sum = tn_b_sub(b, sum, dot(b, x, WEIGHTS(b, 24, 40)));
    out(b, sum);
}
static void sum_of_products(tn_builder *b) { /* a·b + c·d of different depth */
    tn_value y = dot(b, INPUT(b, 31, 40), INPUT(b, 40, 50));
    tn_value z = dot(b, INPUT(b, 31, 7), INPUT(b, 7, 50));
    out(b, tn_b_max(b, tn_b_add(b, y, z), tn_b_scalar(b, TN_f32, 0)));
}
static void bits_of_the_sum(tn_builder *b) { /* large parts that cancel */
    tn_value x = INPUT(b, 9, 64), w = WEIGHTS(b, 64, 33), y = dot(b, x, w);
    tn_value z = dot(b, tn_b_neg(b, x), w);
    out(b, tn_b_add(b, y, z));
}
static void one_is_an_output(tn_builder *b) {
    tn_value x = INPUT(b, 23, 24), gate = dot(b, x, WEIGHTS(b, 24, 40));
    out(b, gate);
    out(b, tn_b_mul(b, silu(b, gate), dot(b, x, WEIGHTS(b, 24, 40))));
}
static void both_are_outputs(tn_builder *b) {
    tn_value x = INPUT(b, 23, 24), gate = tn_b_tanh(b, dot(b, x, WEIGHTS(b, 24, 40)));
    tn_value up = dot(b, x, WEIGHTS(b, 24, 40));
    out(b, gate);
    out(b, up);
    out(b, tn_b_mul(b, gate, up));
}
static void normed_rows(tn_builder *b) { /* a prologue whose rows are made once */
    tn_value x = tn_b_rms_norm(b, INPUT(b, 45, 40), 1, WEIGHTS(b, 40), 1e-5);
    out(b, gated(b, x, 40, 70));
}
static void computed_rows(tn_builder *b) { /* pointwise work on the way in, of one and of both */
    tn_value x = tn_b_tanh(b, INPUT(b, 45, 40)), w = WEIGHTS(b, 40, 36);
    out(b, tn_b_mul(b, dot(b, tn_b_neg(b, INPUT(b, 45, 40)), w), dot(b, x, WEIGHTS(b, 40, 36))));
}
static void batches(tn_builder *b) {
    tn_value x = INPUT(b, 3, 14, 20), y = dot(b, x, INPUT(b, 3, 20, 18));
    out(b, tn_b_mul(b, y, dot(b, x, INPUT(b, 3, 20, 18))));
}
static void heads(tn_builder *b) { /* the same views behind both, which sink behind the product */
    tn_value x = INPUT(b, 6, 20), y[2];
    for (int i = 0; i < 2; i++) {
        y[i] = tn_b_reshape_to(b, dot(b, x, WEIGHTS(b, 20, 24)), 3, (tn_dim[]){6, 3, 8});
        y[i] = tn_b_permute(b, y[i], (int[]){1, 0, 2});
    }
    out(b, tn_b_mul(b, tn_b_exp(b, y[0]), y[1]));
}
static void other_views(tn_builder *b) { /* an element of one meets another element */
    tn_value x = INPUT(b, 24, 20), y = tn_b_swap(b, dot(b, x, WEIGHTS(b, 20, 24)), 0, 1);
    out(b, tn_b_mul(b, y, dot(b, x, WEIGHTS(b, 20, 24))));
}
static void folds(tn_builder *b) { /* over columns, rows and all, of what both make */
    tn_value x = INPUT(b, 30, 20), y = gated(b, x, 20, 50);
    out(b, y);
    out(b, tn_b_sum(b, y, (int[]){1}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_max, y, (int[]){0}, 1, false));
    out(b, tn_b_sum(b, tn_b_mul(b, y, y), (int[]){0, 1}, 2, false));
}
static void depend(tn_builder *b) { /* the second product waits for the whole of the first */
    tn_value x = INPUT(b, 20, 24), y = dot(b, x, WEIGHTS(b, 24, 24));
    out(b, tn_b_add(b, y, dot(b, y, WEIGHTS(b, 24, 24))));
}
static void depend_from_afar(tn_builder *b) {
    tn_value x = INPUT(b, 20, 24), y = dot(b, x, WEIGHTS(b, 24, 24));
    tn_value z = tn_b_softmax(b, y, 0);
    out(b, tn_b_add(b, y, dot(b, z, WEIGHTS(b, 24, 24))));
}
static void branches(tn_builder *b) { /* of a residual block with another number of channels */
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {0, 0}};
    tn_value deep[] = {INPUT(b, 2, 5, 7, 12), WEIGHTS(b, 1, 1, 12, 20)};
    tn_value wide[] = {INPUT(b, 2, 9, 13, 6), WEIGHTS(b, 1, 1, 6, 20)};
    tn_value y = tn_b_node(b, TN_OP_conv, deep, 2, &a);
    a.stride = (tn_ints){2, {2, 2}};
    y = tn_b_add(b, y, tn_b_node(b, TN_OP_conv, wide, 2, &a));
    out(b, tn_b_max(b, y, tn_b_scalar(b, TN_f32, 0)));
}
static void doubles(tn_builder *b) {
    tn_value x = input_of(b, TN_f64, 2, (tn_dim[]){9, 33}), y[2];
    for (int i = 0; i < 2; i++) y[i] = dot(b, x, input_of(b, TN_f64, 2, (tn_dim[]){33, 21}));
    out(b, tn_b_mul(b, y[0], y[1]));
}
static void halves(tn_builder *b) {
    tn_value x = input_of(b, TN_f16, 2, (tn_dim[]){9, 33}), y[2];
    for (int i = 0; i < 2; i++)
        y[i] = tn_b_matmul(b, x, input_of(b, TN_f16, 2, (tn_dim[]){33, 21}), TN_f32);
    out(b, tn_b_cast(b, tn_b_mul(b, y[0], y[1]), TN_f16));
}
static void bytes(tn_builder *b) { /* words of four, in kernels of their own */
    tn_value x = input_of(b, TN_u8, 2, (tn_dim[]){9, 33}), y[2];
    for (int i = 0; i < 2; i++)
        y[i] = tn_b_matmul(b, x, input_of(b, TN_i8, 2, (tn_dim[]){33, 21}), TN_i32);
    out(b, tn_b_add(b, y[0], y[1]));
}
static void small_and_deep(tn_builder *b) { /* alone, the first would have no loop over k */
    tn_value y = dot(b, INPUT(b, 5, 3), WEIGHTS(b, 3, 21));
    out(b, tn_b_mul(b, y, dot(b, INPUT(b, 5, 700), WEIGHTS(b, 700, 21))));
}
static void both_small(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 6, 3), WEIGHTS(b, 3, 9));
    out(b, tn_b_mul(b, y, dot(b, INPUT(b, 6, 2), WEIGHTS(b, 2, 9))));
}
static void no_rows(tn_builder *b) {
    out(b, gated(b, INPUT(b, 0, 33), 33, 9));
}
static void no_columns(tn_builder *b) {
    out(b, gated(b, INPUT(b, 5, 33), 33, 0));
}
static void no_depth(tn_builder *b) { /* a sum of nothing beside one of something */
    tn_value y = dot(b, INPUT(b, 5, 0), INPUT(b, 0, 9));
    out(b, tn_b_add(b, y, dot(b, INPUT(b, 5, 7), INPUT(b, 7, 9))));
}
static void specials(tn_builder *b) { /* in what both read, which is stored */
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 2, (int64_t[]){11, 37});
    for (int64_t i = 0; i < 11 * 37; i++) tn_array_set(&a, i, tn_cell_of(TN_f32, 0));
    tn_array_set(&a, 2 * 37 + 3, tn_cell_of(TN_f32, NAN));
    tn_array_set(&a, 5 * 37 + 36, tn_cell_of(TN_f32, INFINITY));
    out(b, gated(b, tn_b_add(b, INPUT(b, 11, 37), tn_b_constant(b, &a)), 37, 20));
}
static void open_rows(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    out(b, gated(b, INPUT(b, n, s, 40), 40, 100));
}
static void added_rows(tn_builder *b) { /* are fetched before the products */
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value y = gated(b, INPUT(b, n, s, 130), 130, 100);
    out(b, tn_b_add(b, tn_b_tanh(b, y), INPUT(b, n, s, 100)));
}
static void open_depth(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value y = dot(b, INPUT(b, 7, n), INPUT(b, n, 20));
    out(b, tn_b_mul(b, y, dot(b, INPUT(b, 7, s), INPUT(b, s, 20))));
}

/* ---- running -------------------------------------------------------------------------------- */

static const int64_t open[][2] = {{1, 1}, {2, 7}, {3, 33}, {2, 140}};

#define CASE(build, kernels)                                                                       \
    { build, #build, kernels, NULL }
#define OPEN(build, sizes)                                                                         \
    { build, #build " " #sizes, 1, open[sizes] }
static counted_graph cases[] = {
    CASE(swiglu, 1),
    CASE(several_blocks, 1),
    CASE(one_row, 1),
    CASE(right_operands_are_inputs, 1),
    CASE(packed_and_direct, 1),
    CASE(four_products, 1),
    CASE(six_products, 3),
    CASE(sum_of_products, 1),
    CASE(bits_of_the_sum, 1),
    CASE(one_is_an_output, 1),
    CASE(both_are_outputs, 1),
    CASE(normed_rows, 1),
    CASE(computed_rows, 1),
    CASE(batches, 1),
    CASE(heads, 2),
    CASE(other_views, 2),
    CASE(folds, 1),
    CASE(depend, 2),
    CASE(depend_from_afar, 3),
    CASE(branches, 1),
    CASE(doubles, 1),
    CASE(halves, 1),
    CASE(bytes, 2),
    CASE(small_and_deep, 1),
    CASE(both_small, 1),
    CASE(no_rows, 1),
    CASE(no_columns, 1),
    CASE(no_depth, 1),
    CASE(specials, 2),
    OPEN(open_rows, 0),
    OPEN(open_rows, 1),
    OPEN(open_rows, 2),
    OPEN(open_rows, 3),
    OPEN(added_rows, 1),
    OPEN(added_rows, 2),
    OPEN(open_depth, 0),
    OPEN(open_depth, 1),
    OPEN(open_depth, 2),
    OPEN(open_depth, 3),
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].name);
}

static void test_siblings__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

int main(void) {
    const struct CMUnitTest compiled = cmocka_unit_test(test_siblings__compiled);
    return counted_graphs_run(cases, TN_COUNT(cases), &compiled, 1);
}
