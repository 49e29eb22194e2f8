/* Products whose columns are taken apart and meet again: results against eval, and how many kernels. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

static tn_value columns(tn_builder *b, tn_value x, tn_dim start, tn_dim width) {
    return tn_b_slice_axis(b, x, -1, start, width, 1);
}

/* gelu(left half) ∘ right half */
static tn_value gated(tn_builder *b, tn_value y, tn_dim half) {
    return tn_b_mul(b, tn_b_gelu(b, columns(b, y, 0, half)), columns(b, y, half, half));
}

/* ---- taken apart ---------------------------------------------------------------------------- */

static void halves(tn_builder *b) { /* ragged: lanes, tiles, panels */
    out(b, gated(b, dot(b, INPUT(b, 50, 33), WEIGHTS(b, 33, 140)), 70));
}
static void with_bias(tn_builder *b) {
    tn_value w = WEIGHTS(b, 140, 33); /* as layers have it */
    out(b, gated(b, tn_b_linear(b, INPUT(b, 2, 25, 33), w, WEIGHTS(b, 140)), 70));
}
static void one_row(tn_builder *b) {
    out(b, gated(b, dot(b, INPUT(b, 1, 300), WEIGHTS(b, 300, 180)), 90));
}
static void
work_before_the_slices(tn_builder *b) { /* an operand per row, one per element, a diamond */
    tn_shape whole = {2, {19, 60}};
    tn_value y = dot(b, INPUT(b, 19, 24), WEIGHTS(b, 24, 60));
    y = tn_b_mul(b, y, tn_b_expand(b, INPUT(b, 19, 1), &whole));
    y = tn_b_add(b, tn_b_tanh(b, y), tn_b_mul(b, y, INPUT(b, 19, 60)));
    out(b, gated(b, y, 30));
}
static void gates(tn_builder *b) { /* of an LSTM's step */
    tn_value z = tn_b_add(b, INPUT(b, 3, 80), dot(b, INPUT(b, 3, 20), WEIGHTS(b, 20, 80)));
    tn_value i = tn_b_sigmoid(b, columns(b, z, 0, 20)), o = tn_b_sigmoid(b, columns(b, z, 20, 20));
    tn_value f = tn_b_sigmoid(b, columns(b, z, 40, 20)), g = tn_b_tanh(b, columns(b, z, 60, 20));
    tn_value c = tn_b_add(b, tn_b_mul(b, f, INPUT(b, 3, 20)), tn_b_mul(b, i, g));
    out(b, tn_b_mul(b, o, tn_b_tanh(b, c)));
    out(b, c);
}
static void some_columns(tn_builder *b) { /* in another order, with a gap */
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 70));
    out(b, tn_b_sub(b, columns(b, y, 45, 20), columns(b, y, 3, 20)));
}
static void parts_are_outputs(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 40));
    out(b, columns(b, y, 0, 20));
    out(b, columns(b, y, 20, 20));
    out(b, gated(b, y, 20));
}
static void normed_rows(tn_builder *b) { /* a prologue whose rows are made once */
    tn_value x = tn_b_rms_norm(b, INPUT(b, 45, 40), 1, WEIGHTS(b, 40), 1e-5);
    out(b, gated(b, dot(b, x, WEIGHTS(b, 40, 100)), 50));
}
static void batches(tn_builder *b) {
    out(b, gated(b, dot(b, INPUT(b, 3, 14, 20), WEIGHTS(b, 3, 20, 36)), 18));
}
static void two_products(tn_builder *b) { /* whose sum is taken apart */
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 40));
    out(b, gated(b, tn_b_add(b, y, dot(b, INPUT(b, 9, 7), WEIGHTS(b, 7, 40))), 20));
}
static void one_of_two(tn_builder *b) { /* the other is read in another way, too */
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 40));
    tn_value z = dot(b, INPUT(b, 9, 7), WEIGHTS(b, 7, 40));
    out(b, columns(b, z, 5, 9));
    out(b, gated(b, tn_b_add(b, y, z), 20));
}
static void no_rows(tn_builder *b) {
    out(b, gated(b, dot(b, INPUT(b, 0, 33), WEIGHTS(b, 33, 18)), 9));
}
static void no_columns(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 5, 33), WEIGHTS(b, 33, 18));
    out(b, tn_b_mul(b, columns(b, y, 0, 0), columns(b, y, 9, 0)));
}
static void specials(tn_builder *b) { /* stay in their part */
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 2, (int64_t[]){24, 40});
    fill_random(&a, 1);
    tn_array_set(&a, 3 * 40 + 2, tn_cell_of(TN_f32, NAN));
    tn_array_set(&a, 9 * 40 + 25, tn_cell_of(TN_f32, INFINITY));
    out(b, gated(b, dot(b, INPUT(b, 11, 24), tn_b_constant(b, &a)), 20));
}
static void open_rows(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    out(b, gated(b, dot(b, INPUT(b, n, s, 40), WEIGHTS(b, 40, 100)), 50));
}
static void recurrent(tn_builder *b) { /* in the body of a scan */
    tn_rnn o = {.kind = TN_RNN_LSTM, .direction = TN_RNN_BIDIRECTIONAL, .x = INPUT(b, 5, 2, 6)};
    o.w = WEIGHTS(b, 2, 36, 6), o.r = WEIGHTS(b, 2, 36, 9), o.bias = WEIGHTS(b, 2, 72);
    o.h0 = o.c0 = o.peephole = o.lengths = TN_NO_VALUE;
    out(b, tn_b_rnn(b, &o).y);
}
static void recurrent_gru(tn_builder *b) {
    tn_rnn o = {.kind = TN_RNN_GRU, .linear_before_reset = true, .x = INPUT(b, 5, 2, 6)};
    o.w = WEIGHTS(b, 1, 27, 6), o.r = WEIGHTS(b, 1, 27, 9), o.bias = WEIGHTS(b, 1, 54);
    o.h0 = o.c0 = o.peephole = o.lengths = TN_NO_VALUE;
    out(b, tn_b_rnn(b, &o).y);
}

static void recurrent_inputs(tn_builder *b) { /* weights that are invariants of the loop */
    tn_rnn o = {.kind = TN_RNN_LSTM, .x = INPUT(b, 5, 2, 6)};
    o.w = INPUT(b, 1, 36, 6), o.r = INPUT(b, 1, 36, 9), o.bias = INPUT(b, 1, 72);
    o.h0 = o.c0 = o.peephole = o.lengths = TN_NO_VALUE;
    out(b, tn_b_rnn(b, &o).y);
}

/* ---- left as they are ----------------------------------------------------------------------- */

static void other_widths(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 41)), z = columns(b, y, 40, 1);
    tn_shape half = {2, {9, 20}};
    out(b, tn_b_mul(b, gated(b, y, 20), tn_b_expand(b, z, &half)));
}
static void apart_for_good(tn_builder *b) { /* as q, k and v: nothing is made of all */
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 60));
    out(b, gated(b, y, 20));
    out(b, tn_b_tanh(b, columns(b, y, 40, 20)));
}
static void whole_is_an_output(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 40));
    out(b, y);
    out(b, gated(b, y, 20));
}
static void whole_is_folded(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 40));
    out(b, tn_b_sum(b, y, (int[]){1}, 1, false));
    out(b, gated(b, y, 20));
}
static void overlapping(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 30));
    out(b, tn_b_mul(b, columns(b, y, 0, 20), columns(b, y, 10, 20)));
}
static void every_other(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 40));
    out(b, tn_b_mul(b, tn_b_slice_axis(b, y, -1, 0, 20, 2), tn_b_slice_axis(b, y, -1, 1, 20, 2)));
}
static void some_rows(tn_builder *b) {
    tn_value y = dot(b, INPUT(b, 10, 24), WEIGHTS(b, 24, 40));
    out(b, tn_b_mul(b, tn_b_slice_axis(b, y, 0, 0, 5, 1), tn_b_slice_axis(b, y, 0, 5, 5, 1)));
}
static void five_parts(tn_builder *b) { /* one more than a kernel takes */
    tn_value y = dot(b, INPUT(b, 9, 24), WEIGHTS(b, 24, 50)), sum = columns(b, y, 0, 10);
    for (int i = 1; i < 5; i++) sum = tn_b_sub(b, sum, columns(b, y, 10 * i, 10));
    out(b, sum);
}
static void narrow_weights(tn_builder *b) { /* one product reads them as they are stored */
    tn_value w = tn_b_cast(b, weights_of(b, TN_bf16, 2, (int64_t[]){24, 40}), TN_f32);
    out(b, gated(b, dot(b, INPUT(b, 9, 24), w), 20));
}
static void weights_are_inputs(tn_builder *b) {
    out(b, gated(b, dot(b, INPUT(b, 9, 24), INPUT(b, 24, 40)), 20));
}

/* ---- running -------------------------------------------------------------------------------- */

static const int64_t open[][2] = {{1, 1}, {3, 33}};

#define CASE(build, kernels)                                                                       \
    { build, #build, kernels, NULL }
#define OPEN(build, sizes)                                                                         \
    { build, #build " " #sizes, 1, open[sizes] }
static counted_graph cases[] = {
    CASE(halves, 1),
    CASE(with_bias, 1),
    CASE(one_row, 1),
    CASE(work_before_the_slices, 1),
    CASE(gates, 1),
    CASE(some_columns, 1),
    CASE(parts_are_outputs, 1),
    CASE(normed_rows, 1),
    CASE(batches, 1),
    CASE(two_products, 1),
    CASE(one_of_two, 3),
    CASE(no_rows, 1),
    CASE(no_columns, 1),
    CASE(specials, 1),
    OPEN(open_rows, 0),
    OPEN(open_rows, 1),
    CASE(recurrent, 5),
    CASE(recurrent_gru, 2),
    CASE(recurrent_inputs, 4), /* one of them packs, one adds biases */
    CASE(other_widths, 2),
    CASE(apart_for_good, 3),
    CASE(whole_is_an_output, 2),
    CASE(whole_is_folded, 2),
    CASE(overlapping, 2),
    CASE(every_other, 2),
    CASE(some_rows, 2),
    CASE(five_parts, 2),
    CASE(narrow_weights, 2),
    CASE(weights_are_inputs, 2),
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].name);
}

static void test_column_parts__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

int main(void) {
    const struct CMUnitTest compiled = cmocka_unit_test(test_column_parts__compiled);
    return counted_graphs_run(cases, TN_COUNT(cases), &compiled, 1);
}
