/* Norms and softmax on the way into products: results against eval, and how many kernels they are. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

/* Over the last axis, of constant size k. */
static tn_value normed(tn_builder *b, tn_value x, int64_t k) {
    return tn_b_layer_norm(b, x, -1, WEIGHTS(b, k), WEIGHTS(b, k), 1e-5, NULL);
}

/* ---- one kernel ----------------------------------------------------------------------------- */

static void layer_norm(tn_builder *b) { /* ragged: lanes, tiles, panels */
    out(b, dot(b, normed(b, INPUT(b, 50, 33), 33), WEIGHTS(b, 33, 70)));
}
static void rms_norm(tn_builder *b) { /* several blocks of rows */
    tn_value x = tn_b_rms_norm(b, INPUT(b, 130, 16), 1, WEIGHTS(b, 16), 1e-5);
    out(b, dot(b, x, WEIGHTS(b, 16, 24)));
}
static void softmax(tn_builder *b) { /* exp is kept in scratch between its sum and the quotient */
    out(b, dot(b, tn_b_softmax(b, INPUT(b, 21, 150), 1), WEIGHTS(b, 150, 40)));
}
static void levels(tn_builder *b) { /* folds that wait for folds that wait for folds */
    tn_value x = tn_b_softmax(b, INPUT(b, 9, 70), 1);
    out(b, dot(b, normed(b, tn_b_tanh(b, x), 70), WEIGHTS(b, 70, 33)));
}
static void
ranges(tn_builder *b) { /* of columns, which repeat the rows; read by the epilogue, too */
    tn_value x = INPUT(b, 7, 600), y = dot(b, normed(b, x, 600), WEIGHTS(b, 600, 600));
    int last = -1;
    y = tn_b_add(b, tn_b_gelu(b, y), x);
    out(b, y);
    out(b, tn_b_sum(b, tn_b_mul(b, y, y), &last, 1, false));
}
static void batched(tn_builder *b) {
    out(b, dot(b, tn_b_softmax(b, INPUT(b, 3, 40, 19), 2), INPUT(b, 3, 19, 33)));
}
static void shared_by_batch(tn_builder *b) { /* the batch is columns */
    tn_value x = normed(b, INPUT(b, 1, 9, 40), 40);
    out(b, dot(b, x, INPUT(b, 3, 40, 20)));
}
static void flattened(tn_builder *b) { /* rows and depth seen through views */
    tn_value x = tn_b_permute(b, normed(b, INPUT(b, 3, 14, 20), 20), (int[]){1, 0, 2});
    out(b, dot(b, tn_b_reshape_to(b, x, 2, (tn_dim[]){42, 20}), WEIGHTS(b, 20, 33)));
}
static void two_axes(tn_builder *b) {
    tn_attrs_dot a = {.acc = TN_f32};
    a.lhs_contract = (tn_ints){2, {1, 2}};
    a.rhs_contract = (tn_ints){2, {0, 1}};
    tn_value x =
        tn_b_layer_norm(b, INPUT(b, 9, 5, 18), 1, WEIGHTS(b, 5, 18), TN_NO_VALUE, 1e-5, NULL);
    tn_value in[] = {x, WEIGHTS(b, 5, 18, 21)};
    out(b, tn_b_node(b, TN_OP_dot, in, 2, &a));
}
static void doubles(tn_builder *b) {
    tn_value x = tn_b_softmax(b, input_of(b, TN_f64, 2, (tn_dim[]){5, 33}), 1);
    out(b, dot(b, x, input_of(b, TN_f64, 2, (tn_dim[]){33, 9})));
}
static void halves(tn_builder *b) { /* the rows are rounded to f16, the sums are f32 */
    tn_value x = tn_b_softmax(b, input_of(b, TN_f16, 2, (tn_dim[]){6, 40}), 1);
    tn_value y = tn_b_matmul(b, x, input_of(b, TN_f16, 2, (tn_dim[]){40, 9}), TN_f32);
    out(b, tn_b_cast(b, y, TN_f16));
}
static void one_by_one(tn_builder *b) { /* a convolution that is a product */
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {0, 0}};
    tn_value in[] = {normed(b, INPUT(b, 2, 5, 6, 40), 40), WEIGHTS(b, 1, 1, 40, 20)};
    out(b, tn_b_node(b, TN_OP_conv, in, 2, &a));
}
static void no_rows(tn_builder *b) {
    out(b, dot(b, normed(b, INPUT(b, 0, 33), 33), WEIGHTS(b, 33, 9)));
}
static void no_columns(tn_builder *b) {
    out(b, dot(b, normed(b, INPUT(b, 5, 33), 33), WEIGHTS(b, 33, 0)));
}
static void no_depth(tn_builder *b) { /* sums of nothing */
    out(b, dot(b, tn_b_softmax(b, INPUT(b, 5, 0), 1), INPUT(b, 0, 9)));
}

/* Rows with NaN and infinities, and one that is masked whole. */
static tn_value with_specials(tn_builder *b, tn_value x, int64_t rows, int64_t k) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 2, (int64_t[]){rows, k});
    for (int64_t i = 0; i < rows * k; i++) tn_array_set(&a, i, tn_cell_of(TN_f32, 0));
    tn_array_set(&a, 2 * k + 3, tn_cell_of(TN_f32, NAN));
    tn_array_set(&a, 5 * k + k - 1, tn_cell_of(TN_f32, INFINITY));
    for (int64_t i = 0; i < k; i++) tn_array_set(&a, 7 * k + i, tn_cell_of(TN_f32, -INFINITY));
    for (int64_t i = 1; i < k; i++) tn_array_set(&a, 9 * k + i, tn_cell_of(TN_f32, -INFINITY));
    return tn_b_add(b, x, tn_b_constant(b, &a));
}
static void special_softmax(tn_builder *b) {
    tn_value x = with_specials(b, INPUT(b, 11, 37), 11, 37);
    out(b, dot(b, tn_b_softmax(b, x, 1), WEIGHTS(b, 37, 20)));
}
static void special_norm(tn_builder *b) {
    tn_value x = with_specials(b, INPUT(b, 11, 37), 11, 37);
    out(b, dot(b, normed(b, x, 37), WEIGHTS(b, 37, 20)));
}

/* ---- more ----------------------------------------------------------------------------------- */

static void two_products(tn_builder *b) { /* small: each makes the rows for itself */
    tn_value x = normed(b, INPUT(b, 6, 40), 40);
    out(b, dot(b, x, WEIGHTS(b, 40, 20)));
    out(b, dot(b, x, WEIGHTS(b, 40, 33)));
}
static void is_output(tn_builder *b) {
    tn_value x = normed(b, INPUT(b, 6, 40), 40);
    out(b, x);
    out(b, dot(b, x, WEIGHTS(b, 40, 20)));
}
static void is_residual(tn_builder *b) {
    tn_value x = normed(b, INPUT(b, 6, 40), 40);
    out(b, tn_b_add(b, dot(b, x, WEIGHTS(b, 40, 40)), x));
}
static void fold_is_output(tn_builder *b) {
    tn_value x = INPUT(b, 6, 40), stats[2];
    tn_value y = tn_b_layer_norm(b, x, 1, TN_NO_VALUE, TN_NO_VALUE, 1e-5, stats);
    out(b, stats[0]);
    out(b, dot(b, y, WEIGHTS(b, 40, 20)));
}
static void right_operand(tn_builder *b) {
    out(b, dot(b, INPUT(b, 9, 40), normed(b, INPUT(b, 40, 20), 20)));
}
static void both_operands(tn_builder *b) {
    tn_value x = normed(b, INPUT(b, 9, 40), 40);
    out(b, dot(b, x, tn_b_swap(b, x, 0, 1)));
}
static void other_axis(tn_builder *b) { /* folds over rows of the operand */
    out(b, dot(b, tn_b_softmax(b, INPUT(b, 9, 40), 0), WEIGHTS(b, 40, 20)));
}
static void three_by_three(tn_builder *b) {
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {1, 1}};
    tn_value in[] = {normed(b, INPUT(b, 1, 6, 6, 33), 33), WEIGHTS(b, 3, 3, 33, 20)};
    out(b, tn_b_node(b, TN_OP_conv, in, 2, &a));
}

static void open_rows(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value y = dot(b, normed(b, INPUT(b, n, s, 40), 40), WEIGHTS(b, 40, 1100));
    int last = -1, all[] = {0, 1, 2};
    out(b, tn_b_tanh(b, y));
    out(b, tn_b_mean(b, y, &last, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_max, y, all, 3, false));
}
static void open_depth(tn_builder *b) { /* weights of a cache that grows */
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    out(b, dot(b, tn_b_softmax(b, INPUT(b, n, 5, s), 2), INPUT(b, n, s, 16)));
}

/* ---- running -------------------------------------------------------------------------------- */

static const int64_t open[][2] = {{1, 1}, {2, 7}, {3, 33}, {2, 140}};

#define CASE(build, kernels)                                                                       \
    { build, #build, kernels, NULL }
#define OPEN(build, sizes)                                                                         \
    { build, #build " " #sizes, 1, open[sizes] }
static counted_graph cases[] = {
    CASE(layer_norm, 1),      CASE(rms_norm, 1),      CASE(softmax, 1),
    CASE(levels, 1),          CASE(ranges, 1),        CASE(batched, 1),
    CASE(shared_by_batch, 1), CASE(flattened, 1),     CASE(two_axes, 1),
    CASE(doubles, 1),         CASE(halves, 1),        CASE(one_by_one, 1),
    CASE(no_rows, 3),         CASE(no_columns, 1),    CASE(no_depth, 1),
    CASE(special_softmax, 1), CASE(special_norm, 1),  CASE(two_products, 2),
    CASE(is_output, 2),       CASE(is_residual, 2),   CASE(fold_is_output, 2),
    CASE(right_operand, 2),   CASE(both_operands, 2), CASE(other_axis, 2),
    CASE(three_by_three, 2),  OPEN(open_rows, 0),     OPEN(open_rows, 1),
    OPEN(open_rows, 2),       OPEN(open_rows, 3),     OPEN(open_depth, 0),
    OPEN(open_depth, 1),      OPEN(open_depth, 2),    OPEN(open_depth, 3),
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].name);
}

static void test_prologue__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

int main(void) {
    const struct CMUnitTest compiled = cmocka_unit_test(test_prologue__compiled);
    return counted_graphs_run(cases, TN_COUNT(cases), &compiled, 1);
}
