/* The lowerings for data movement and large folds, through every way of running a plan; each case
 * names the schedule shape that some kernel of the fused program must have. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

static tn_value pad(tn_builder *b, tn_value x, int rank, const int64_t *lo, const int64_t *hi,
                    tn_value fill) {
    tn_attrs_pad a = {.lo.count = rank, .hi.count = rank, .interior.count = rank};
    for (int i = 0; i < rank; i++) {
        a.lo.at[i] = lo[i];
        a.hi.at[i] = hi[i];
    }
    tn_value in[] = {x, fill};
    return tn_b_node(b, TN_OP_pad, in, 2, &a);
}

#define AT(...) ((const int64_t[]){__VA_ARGS__})

/* ---- concat and pad ------------------------------------------------------------------------- */

static void pad_channels_last(tn_builder *b) {
    tn_value zero = tn_b_scalar(b, TN_f32, 0);
    out(b, pad(b, INPUT(b, 2, 7, 9, 20), 4, AT(0, 1, 2, 0), AT(0, 2, 1, 0), zero));
}
static void pad_three_channels(tn_builder *b) {
    tn_value one = tn_b_scalar(b, TN_f32, 1);
    out(b, pad(b, INPUT(b, 2, 11, 23, 3), 4, AT(0, 3, 3, 0), AT(0, 3, 3, 0), one));
}
static void pad_permuted(tn_builder *b) {
    tn_value x = tn_b_permute(b, INPUT(b, 2, 3, 11, 23), (int[]){0, 2, 3, 1});
    out(b, pad(b, x, 4, AT(0, 3, 3, 0), AT(0, 3, 3, 0), tn_b_scalar(b, TN_f32, 0)));
}
static void pad_channels_first(tn_builder *b) {
    out(b, pad(b, INPUT(b, 3, 5, 6, 50), 4, AT(1, 0, 1, 2), AT(0, 0, 1, 3), INPUT(b)));
}
static void pad_outer(tn_builder *b) { /* a single row, longer than a task */
    out(b, pad(b, INPUT(b, 700, 70), 2, AT(2, 0), AT(5, 0), tn_b_scalar(b, TN_f32, -2)));
}
static void pad_pointwise(tn_builder *b) {
    tn_value x = tn_b_tanh(b, tn_b_add(b, INPUT(b, 4, 6, 40), INPUT(b, 40)));
    out(b, pad(b, x, 3, AT(0, 1, 0), AT(0, 1, 0), tn_b_scalar(b, TN_f32, 0)));
}
static void concat_last(tn_builder *b) {
    out(b,
        tn_b_concat(b, (tn_value[]){INPUT(b, 40, 37), INPUT(b, 40, 64), INPUT(b, 40, 91)}, 3, 1));
}
static void concat_middle(tn_builder *b) {
    tn_value x = INPUT(b, 5, 8, 3, 10), y = INPUT(b, 5, 10, 4, 8);
    y = tn_b_exp(b, tn_b_permute(b, y, (int[]){0, 3, 2, 1}));
    out(b, tn_b_concat(b, (tn_value[]){x, y}, 2, 2));
}
static void concat_first(tn_builder *b) {
    tn_value x = INPUT(b, 300, 100), y = INPUT(b, 77, 100), z = INPUT(b, 0, 100);
    out(b, tn_b_concat(b, (tn_value[]){x, z, y}, 3, 0));
}
static void concat_bytes(tn_builder *b) {
    out(b, tn_b_concat(b, (tn_value[]){TYPED(b, TN_u8, 9, 70), TYPED(b, TN_u8, 9, 50)}, 2, 1));
}
static void concat_halves(tn_builder *b) {
    out(b, tn_b_concat(b, (tn_value[]){TYPED(b, TN_f16, 9, 70), TYPED(b, TN_f16, 9, 50)}, 2, 1));
}
static void concat_flags(tn_builder *b) {
    out(b, tn_b_concat(b, (tn_value[]){TYPED(b, TN_bool, 9, 70), TYPED(b, TN_bool, 9, 50)}, 2, 1));
}
static void place_symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value x = INPUT(b, n, s, 12), y = INPUT(b, n, 40, 12);
    out(b, tn_b_concat(b, (tn_value[]){x, y}, 2, 1));
    out(b, pad(b, x, 3, AT(0, 2, 0), AT(1, 1, 0), tn_b_scalar(b, TN_f32, 3)));
}

/* ---- reads along one axis, writes along another --------------------------------------------- */

static void transposed(tn_builder *b) {
    out(b, tn_b_permute(b, INPUT(b, 64, 96), (int[]){1, 0}));
}
static void transposed_uneven(tn_builder *b) {
    out(b, tn_b_permute(b, INPUT(b, 3, 53, 83), (int[]){0, 2, 1}));
}
static void transposed_long(tn_builder *b) { /* several tasks each way, and an edge */
    out(b, tn_b_permute(b, INPUT(b, 1100, 70), (int[]){1, 0}));
}
static void split_heads(tn_builder *b) {
    out(b, tn_b_permute(b, INPUT(b, 2, 40, 6, 16), (int[]){0, 2, 3, 1}));
}
static void three_channels_last(tn_builder *b) {
    out(b, tn_b_permute(b, INPUT(b, 1, 3, 15, 21), (int[]){0, 2, 3, 1}));
}
static void transposed_chain(tn_builder *b) {
    tn_value x = tn_b_permute(b, tn_b_tanh(b, INPUT(b, 50, 40)), (int[]){1, 0});
    tn_value y = tn_b_add(b, tn_b_mul(b, x, INPUT(b, 40, 1)), INPUT(b, 50));
    out(b, y);
    out(b, tn_b_mul(b, y, INPUT(b, 40, 50)));
}
static void transposed_slice(tn_builder *b) {
    tn_value x = tn_b_slice_axis(b, INPUT(b, 60, 70), 1, 5, 60, 1);
    out(b, tn_b_permute(b, x, (int[]){1, 0}));
}
static tn_value whole_numbers(tn_builder *b, tn_value x) {
    return tn_b_cast(b, tn_b_cast(b, tn_b_mul(b, x, tn_b_scalar(b, TN_f32, 5)), TN_i8), TN_f32);
}
/* What a product makes is stored as bytes, which the permute widens. */
static void transposed_quantised(tn_builder *b) {
    tn_value w = whole_numbers(b, INPUT(b, 20, 45));
    tn_value x = tn_b_matmul(b, whole_numbers(b, INPUT(b, 37, 20)), w, TN_f32);
    x = tn_b_max(b, tn_b_min(b, x, tn_b_scalar(b, TN_f32, 60)), tn_b_scalar(b, TN_f32, -60));
    x = tn_b_cast(b, tn_b_cast(b, x, TN_i8), TN_f32);
    x = tn_b_mul(b, tn_b_sub(b, x, tn_b_scalar(b, TN_f32, 3)), INPUT(b, 1, 45));
    out(b, tn_b_permute(b, x, (int[]){1, 0}));
}
static void transposed_doubles(tn_builder *b) {
    out(b, tn_b_permute(b, TYPED(b, TN_f64, 30, 45), (int[]){1, 0}));
}
static void transposed_halves(tn_builder *b) {
    out(b, tn_b_permute(b, TYPED(b, TN_bf16, 30, 45), (int[]){1, 0}));
}
static void transposed_bytes(tn_builder *b) {
    out(b, tn_b_permute(b, TYPED(b, TN_i8, 64, 45), (int[]){1, 0}));
}
static void transposed_words(tn_builder *b) {
    out(b, tn_b_permute(b, TYPED(b, TN_i64, 3, 35, 70), (int[]){0, 2, 1}));
}
static void transposed_flags(tn_builder *b) {
    out(b, tn_b_permute(b, TYPED(b, TN_bool, 67, 130), (int[]){1, 0}));
}
static void transposed_many_bytes(tn_builder *b) { /* whole tiles, edges, several blocks */
    out(b, tn_b_permute(b, TYPED(b, TN_u8, 129, 300), (int[]){1, 0}));
}
static void transposed_few(tn_builder *b) { /* an axis shorter than a vector, on either side */
    out(b, tn_b_permute(b, INPUT(b, 200, 7), (int[]){1, 0}));
    out(b, tn_b_permute(b, INPUT(b, 3, 200), (int[]){1, 0}));
    out(b, tn_b_permute(b, TYPED(b, TN_u8, 2, 90, 3), (int[]){0, 2, 1}));
    out(b, tn_b_permute(b, TYPED(b, TN_f16, 2, 90), (int[]){1, 0}));
}
static void reversed_axes(tn_builder *b) {
    out(b, tn_b_permute(b, INPUT(b, 3, 4, 5, 6, 17), (int[]){4, 3, 2, 1, 0}));
    out(b, tn_b_permute(b, INPUT(b, 4, 3, 1, 18, 20), (int[]){1, 4, 0, 2, 3}));
}
static void halves_at_work(tn_builder *b) { /* not only moved */
    tn_value x = tn_b_permute(b, TYPED(b, TN_f16, 37, 50), (int[]){1, 0});
    out(b, tn_b_add(b, x, TYPED(b, TN_f16, 50, 37)));
}
static void rows_elsewhere(tn_builder *b) {
    out(b, tn_b_permute(b, INPUT(b, 3, 7, 5, 64), (int[]){0, 2, 1, 3}));
    out(b, tn_b_permute(b, TYPED(b, TN_bool, 4, 7, 5, 30), (int[]){2, 0, 1, 3}));
    out(b, tn_b_permute(b, TYPED(b, TN_bf16, 4, 6, 33), (int[]){1, 0, 2}));
}
static void short_rows_elsewhere(tn_builder *b) { /* in blocks that share lines of the result */
    out(b, tn_b_permute(b, TYPED(b, TN_u8, 3, 32, 5, 16), (int[]){0, 2, 1, 3}));
    out(b, tn_b_permute(b, TYPED(b, TN_u8, 2, 32, 3, 8, 16), (int[]){0, 3, 1, 2, 4}));
    out(b, tn_b_permute(b, INPUT(b, 24, 5, 4), (int[]){1, 0, 2}));
    out(b, tn_b_permute(b, TYPED(b, TN_bf16, 64, 3, 8), (int[]){1, 0, 2}));
}
static void transposed_apart(tn_builder *b) { /* rows of the result begin within lines */
    out(b, tn_b_permute(b, INPUT(b, 331, 67), (int[]){1, 0}));
    out(b, tn_b_permute(b, TYPED(b, TN_u8, 1031, 70), (int[]){1, 0}));
    out(b, tn_b_permute(b, TYPED(b, TN_f64, 2, 141, 9, 5), (int[]){0, 2, 3, 1}));
}
static void
transposed_lines(tn_builder *b) { /* the same, of many lines: several tasks and blocks */
    out(b, tn_b_permute(b, INPUT(b, 4303, 21), (int[]){1, 0}));
    out(b, tn_b_permute(b, INPUT(b, 519, 3, 67), (int[]){2, 1, 0}));
    out(b, tn_b_permute(b, TYPED(b, TN_u8, 2119, 70), (int[]){1, 0}));
    out(b, tn_b_permute(b, TYPED(b, TN_f16, 1031, 33), (int[]){1, 0}));
    out(b, tn_b_permute(b, TYPED(b, TN_f64, 2, 301, 9, 5), (int[]){0, 2, 3, 1}));
    tn_value x = tn_b_permute(b, INPUT(b, 1043, 37), (int[]){1, 0});
    out(b, tn_b_add(b, tn_b_relu(b, x), INPUT(b, 37, 1043)));
}
static void flags_of_a_number(tn_builder *b) { /* moved, but not from memory */
    tn_shape s = {.rank = 2, .dim = {9, 20}};
    tn_value all = tn_b_full(b, TN_bool, &s, 1), half = tn_b_full(b, TN_f16, &s, 0.5);
    out(b, all);
    out(b, tn_b_concat(b, (tn_value[]){TYPED(b, TN_f16, 9, 33), half}, 2, 1));
    out(b, tn_b_permute(b, tn_b_concat(b, (tn_value[]){TYPED(b, TN_bool, 9, 33), all}, 2, 1),
                        (int[]){1, 0}));
}
static void rows_of_none(tn_builder *b) {
    out(b, tn_b_permute(b, INPUT(b, 3, 0, 5, 16), (int[]){0, 2, 3, 1}));
    out(b, tn_b_permute(b, TYPED(b, TN_u8, 70, 0), (int[]){1, 0}));
}
static void short_rows(tn_builder *b) { /* several of them share a line of the result */
    out(b, tn_b_permute(b, TYPED(b, TN_i8, 2, 40, 6, 16), (int[]){0, 2, 1, 3}));
    out(b, tn_b_permute(b, TYPED(b, TN_f16, 3, 21, 6, 5), (int[]){0, 2, 1, 3}));
    out(b, tn_b_permute(b, TYPED(b, TN_f64, 3, 4, 7, 6, 2), (int[]){3, 0, 2, 1, 4}));
    out(b, tn_b_exp(b, tn_b_permute(b, INPUT(b, 12, 16, 8), (int[]){1, 0, 2})));
}
static void turned_across_axes(tn_builder *b) { /* the operand's rows go on over the middle axis */
    out(b, tn_b_permute(b, INPUT(b, 35, 3, 50), (int[]){2, 1, 0}));
    out(b, tn_b_permute(b, TYPED(b, TN_f64, 2, 17, 5, 3, 24), (int[]){4, 0, 3, 2, 1}));
}
static void whole_lines(tn_builder *b) { /* pointwise work and folds beside it */
    tn_value x = tn_b_tanh(b, tn_b_add(b, INPUT(b, 40, 192), INPUT(b, 192)));
    int axis = 1;
    out(b, x);
    out(b, tn_b_sub(b, x, tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, true)));
}
static void transposed_symbolic(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    out(b, tn_b_permute(b, INPUT(b, n, s, 24), (int[]){0, 2, 1}));
    out(b, tn_b_permute(b, INPUT(b, n, s), (int[]){1, 0}));
}

/* ---- right operands that are contiguous along k ----------------------------------------------- */

static tn_value transposed_weights(tn_builder *b, int64_t n, int64_t k) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 2, (int64_t[]){n, k});
    fill_random(&a, 9);
    return tn_b_swap(b, tn_b_constant(b, &a), 0, 1);
}
static void dot_rows_by_rows(tn_builder *b) {
    tn_value y = INPUT(b, 2, 37, 70);
    out(b, tn_b_matmul(b, INPUT(b, 2, 13, 70), tn_b_swap(b, y, 1, 2), TN_f32));
    out(b, tn_b_matmul(b, INPUT(b, 9, 32), tn_b_swap(b, INPUT(b, 64, 32), 0, 1), TN_f32));
}
static void dot_prepared_rows(tn_builder *b) {
    out(b, tn_b_matmul(b, INPUT(b, 5, 50), transposed_weights(b, 71, 50), TN_f32));
}
static void dot_halves_by_rows(tn_builder *b) {
    tn_value y = tn_b_swap(b, TYPED(b, TN_f16, 20, 40), 0, 1);
    out(b, tn_b_matmul(b, TYPED(b, TN_f16, 6, 40), y, TN_f32));
}
static void dot_symbolic_rows(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), s = tn_dim_of_symbol(b->graph->dims, "S");
    tn_value y = tn_b_swap(b, INPUT(b, n, s), 0, 1);
    out(b, tn_b_matmul(b, INPUT(b, 7, s), y, TN_f32));
}

/* ---- large folds ---------------------------------------------------------------------------- */

static void sum_of_all(tn_builder *b) {
    out(b, tn_b_sum(b, INPUT(b, 401, 400), (int[]){0, 1}, 2, false));
}
static void
means_of_rows(tn_builder *b) { /* sums and largest elements in one kernel, and what follows */
    tn_value x = INPUT(b, 3, 50021);
    int axis = 1;
    tn_value m = tn_b_mean(b, x, &axis, 1, false);
    tn_value l = tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, false);
    out(b, tn_b_tanh(b, tn_b_sub(b, m, l)));
}
static void sum_of_columns(tn_builder *b) {
    tn_value x = tn_b_mul(b, INPUT(b, 2600, 70), INPUT(b, 70));
    out(b, tn_b_sum(b, x, (int[]){0}, 1, true));
}
static void sum_of_middle(tn_builder *b) {
    out(b, tn_b_sum(b, INPUT(b, 2, 9000, 10), (int[]){1}, 1, false));
}
static void channel_squares(tn_builder *b) {
    tn_value x = INPUT(b, 5, 3, 10007);
    out(b, tn_b_sum(b, tn_b_mul(b, x, x), (int[]){0, 2}, 2, false));
}
static void largest_of_all(tn_builder *b) {
    tn_value x = INPUT(b, 2, 80021);
    out(b, tn_b_reduce(b, TN_REDUCE_argmax, x, (int[]){1}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_argmin, INPUT(b, 2700, 50), (int[]){0}, 1, false));
}
static void swept_columns(tn_builder *b) {
    tn_value x = INPUT(b, 701, 403);
    out(b, tn_b_sum(b, x, (int[]){0}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_max, x, (int[]){0}, 1, false));
}
static void swept_middle(tn_builder *b) {
    out(b, tn_b_mean(b, INPUT(b, 17, 45, 2, 300), (int[]){1}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_argmax, INPUT(b, 17, 60, 300), (int[]){1}, 1, false));
}
static void integer_sums(tn_builder *b) {
    out(b, tn_b_sum(b, TYPED(b, TN_i32, 140000), (int[]){0}, 1, false));
    out(b, tn_b_reduce(b, TN_REDUCE_min, TYPED(b, TN_f16, 3000, 48), (int[]){0}, 1, false));
}

/* ---- results in the memory of an operand ---------------------------------------------------- */

/* Softmax and product are groups of their own; `y` dies in the last one, at the stored element. */
static void in_place_chain(tn_builder *b) {
    tn_value x = tn_b_cumulative(b, TN_REDUCE_sum, INPUT(b, 12, 50), 1, false, false);
    tn_value y = tn_b_cumulative(b, TN_REDUCE_sum, tn_b_tanh(b, x), 1, false, false);
    tn_value z = tn_b_cumulative(b, TN_REDUCE_sum, tn_b_add(b, tn_b_exp(b, y), INPUT(b, 50)), 0,
                                 false, false);
    out(b, z);
}
/* `x` is read at another element too, and `y` again later. */
static void not_in_place(tn_builder *b) {
    tn_value x = tn_b_cumulative(b, TN_REDUCE_sum, INPUT(b, 30, 30), 1, false, false);
    tn_value y = tn_b_add(b, x, tn_b_permute(b, x, (int[]){1, 0}));
    tn_value z = tn_b_cumulative(b, TN_REDUCE_sum, y, 1, false, false);
    tn_value w = tn_b_cumulative(b, TN_REDUCE_sum, tn_b_exp(b, z), 1, false, false);
    out(b, tn_b_add(b, w, z));
}
/* The copy of `x` is written before the updates are read: they may not share memory. */
static void scatter_updates_stay(tn_builder *b) {
    tn_value x = INPUT(b, 2, 1, 24);
    tn_shape where = {.rank = 2, .dim = {2, 1}};
    tn_value updates = tn_b_cumulative(b, TN_REDUCE_sum, INPUT(b, 2, 24), 1, false, false);
    tn_attrs_scatter a = {.batch = 1, .mode = TN_INDEX_clamp, .combine = TN_COMBINE_set};
    a.axes.count = 1;
    a.axes.at[0] = 1;
    tn_value in[] = {x, tn_b_full(b, TN_i32, &where, 0), updates};
    out(b, tn_b_exp(b, tn_b_node(b, TN_OP_scatter, in, 3, &a)));
}

/* ---- resizing --------------------------------------------------------------------------------- */

static tn_value resized(tn_builder *b, tn_value x, tn_resize_mode mode, int64_t rows,
                        int64_t columns) {
    tn_resize_options o = {.mode = mode, .round = TN_ROUND_FLOOR};
    if (mode == TN_RESIZE_NEAREST) o.grid = TN_GRID_ASYMMETRIC;
    x = tn_b_resize_axis(b, x, 3, columns, 0, NULL, &o);
    return tn_b_resize_axis(b, x, 2, rows, 0, NULL, &o);
}

static void resized_nearest(tn_builder *b) { /* views where each element is repeated as often */
    out(b, resized(b, TYPED(b, TN_u8, 2, 3, 5, 11), TN_RESIZE_NEAREST, 10, 33));
    out(b, resized(b, INPUT(b, 1, 2, 7, 21), TN_RESIZE_NEAREST, 10, 42));
}
static void resized_linear(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N"), c = tn_dim_of_symbol(b->graph->dims, "C");
    out(b, resized(b, input_of(b, TN_f32, 4, (tn_dim[]){n, c, 9, 13}), TN_RESIZE_LINEAR, 5, 37));
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct movement_case {
    build_graph *build;
    const char *label, *shape; /* in the note of some kernel; NULL: any */
    int64_t symbols[2];
} movement_case;

#define CASE(name, shape, n, s)                                                                    \
    {                                                                                              \
        name, #name, shape, {                                                                      \
            n, s                                                                                   \
        }                                                                                          \
    }

static const movement_case cases[] = {
    CASE(pad_channels_last, "shape=place", 0, 0),
    CASE(pad_three_channels, "shape=place", 0, 0),
    CASE(pad_permuted, "shape=transpose", 0, 0),
    CASE(pad_channels_first, "shape=place", 0, 0),
    CASE(pad_outer, "shape=place", 0, 0),
    CASE(pad_pointwise, "shape=place", 0, 0),
    CASE(concat_last, "shape=place", 0, 0),
    CASE(concat_middle, "shape=place", 0, 0),
    CASE(concat_first, "shape=place", 0, 0),
    CASE(concat_bytes, "shape=place", 0, 0),
    CASE(concat_halves, "shape=place", 0, 0),
    CASE(concat_flags, "shape=place", 0, 0),
    CASE(place_symbolic, "shape=place", 1, 1),
    CASE(place_symbolic, "shape=place", 3, 50),
    CASE(scatter_updates_stay, NULL, 0, 0),
    CASE(transposed, "shape=transpose", 0, 0),
    CASE(transposed_uneven, "shape=transpose", 0, 0),
    CASE(transposed_long, "shape=transpose", 0, 0),
    CASE(split_heads, "shape=transpose", 0, 0),
    CASE(three_channels_last, "shape=transpose", 0, 0),
    CASE(transposed_chain, "shape=transpose", 0, 0),
    CASE(transposed_quantised, "shape=transpose", 0, 0),
    CASE(transposed_slice, "shape=transpose", 0, 0),
    CASE(transposed_doubles, "shape=transpose", 0, 0),
    CASE(transposed_halves, "shape=transpose", 0, 0),
    CASE(transposed_bytes, "shape=transpose", 0, 0),
    CASE(transposed_words, "shape=transpose", 0, 0),
    CASE(transposed_flags, "shape=transpose", 0, 0),
    CASE(transposed_many_bytes, "shape=transpose", 0, 0),
    CASE(transposed_few, "shape=transpose", 0, 0),
    CASE(reversed_axes, "shape=transpose", 0, 0),
    CASE(halves_at_work, "shape=transpose", 0, 0),
    CASE(rows_elsewhere, NULL, 0, 0),
    CASE(short_rows_elsewhere, NULL, 0, 0),
    CASE(transposed_apart, NULL, 0, 0),
    CASE(transposed_lines, "shape=transpose", 0, 0),
    CASE(resized_nearest, "broadcast", 0, 0),
    CASE(resized_linear, "add", 2, 3),
    CASE(flags_of_a_number, NULL, 0, 0),
    CASE(rows_of_none, NULL, 0, 0),
    CASE(short_rows, NULL, 0, 0),
    CASE(turned_across_axes, "shape=transpose", 0, 0),
    CASE(whole_lines, NULL, 0, 0),
    CASE(transposed_symbolic, "shape=transpose", 1, 1),
    CASE(transposed_symbolic, "shape=transpose", 5, 37),
    CASE(dot_rows_by_rows, "rhs=packed", 0, 0),
    CASE(dot_prepared_rows, "rhs=prepared", 0, 0),
    CASE(dot_halves_by_rows, "rhs=packed", 0, 0),
    CASE(dot_symbolic_rows, "rhs=packed", 1, 1),
    CASE(dot_symbolic_rows, "rhs=packed", 70, 37),
    CASE(sum_of_all, "shape=split", 0, 0),
    CASE(means_of_rows, "shape=split", 0, 0),
    CASE(sum_of_columns, "shape=split", 0, 0),
    CASE(sum_of_middle, "shape=split", 0, 0),
    CASE(channel_squares, "shape=split", 0, 0),
    CASE(largest_of_all, "shape=split", 0, 0),
    CASE(swept_columns, " sweep", 0, 0),
    CASE(swept_middle, "pieces=1 sweep", 0, 0),
    CASE(integer_sums, "shape=split", 0, 0),
    CASE(in_place_chain, NULL, 0, 0),
    CASE(not_in_place, NULL, 0, 0),
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    *note = cases[i].shape;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].label);
}

static void test_movement__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, TN_COUNT(cases));
}

static void test_movement__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

static void test_movement__past_the_caches(void **state) {
    (void)state;
    assert_true(plan_list_stream(make_case, TN_COUNT(cases)) > TN_COUNT(cases) / 2);
}

static uint32_t reused(build_graph *build) {
    tn_arena arena;
    tn_program p;
    uint32_t count = 0;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *c = plan_case_of(&arena, build, NULL, "reuse");
    if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &p)) fail_msg("%s", c->why);
    for (uint32_t i = 0; i < p.buffers.len; i++)
        count += p.buffers.data[i].in_place_of != UINT32_MAX;
    tn_arena_deinit(&arena);
    return count;
}

static void test_movement__takes_the_memory_of_a_dying_operand(void **state) {
    (void)state;
    assert_int_equal(reused(in_place_chain), 2);
    assert_int_equal(reused(not_in_place), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_movement__interpreted),
        cmocka_unit_test(test_movement__compiled),
        cmocka_unit_test(test_movement__past_the_caches),
        cmocka_unit_test(test_movement__takes_the_memory_of_a_dying_operand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
