/* Attention in its many forms: results against eval, and that each is one kernel. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"

typedef struct sizes {
    tn_dim batch, heads, rows, columns, depth, width;
} sizes;

static tn_value softmax(tn_builder *b, tn_value x) {
    int axis = -1;
    tn_value m = tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, x, m));
    return tn_b_div(b, e, tn_b_sum(b, e, &axis, 1, true));
}

/* As exports write it: by the reciprocal, and NaN is zero. */
static tn_value safe_softmax(tn_builder *b, tn_value x) {
    int axis = -1;
    tn_value m = tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, x, m));
    tn_value inverse = tn_b_div(b, tn_b_scalar(b, TN_f32, 1), tn_b_sum(b, e, &axis, 1, true));
    tn_value p = tn_b_mul(b, e, inverse);
    return tn_b_select(b, tn_b_is_nan(b, p), tn_b_scalar(b, TN_f32, 0), p);
}

static tn_value scores(tn_builder *b, const sizes *s) {
    tn_value q = INPUT(b, s->batch, s->heads, s->rows, s->depth);
    tn_value k = INPUT(b, s->batch, s->heads, s->columns, s->depth);
    return tn_b_mul_scalar(b, tn_b_matmul(b, q, tn_b_swap(b, k, 2, 3), TN_f32), 0.25);
}

static tn_value weighted(tn_builder *b, const sizes *s, tn_value p) {
    return tn_b_matmul(b, p, INPUT(b, s->batch, s->heads, s->columns, s->width), TN_f32);
}

/* Row and column numbers of the scores, as [rows, 1] and [1, columns]. */
static tn_value rows_of(tn_builder *b, const sizes *s) {
    return tn_b_iota(b, TN_i64, &(tn_shape){2, {s->rows, 1}}, 0);
}
static tn_value columns_of(tn_builder *b, const sizes *s) {
    return tn_b_iota(b, TN_i64, &(tn_shape){2, {1, s->columns}}, 1);
}

static tn_value where(tn_builder *b, tn_value flag, tn_value x, double other) {
    return tn_b_select(b, flag, x, tn_b_scalar(b, TN_f32, other));
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static void plain(tn_builder *b, const sizes *s) {
    out(b, weighted(b, s, softmax(b, scores(b, s))));
}

static void ragged(tn_builder *b) {
    plain(b, &(sizes){2, 3, 21, 19, 5, 7});
}
static void several_blocks(tn_builder *b) {
    plain(b, &(sizes){1, 1, 19, 270, 4, 8});
}
static void head_64(tn_builder *b) {
    plain(b, &(sizes){1, 1, 17, 96, 64, 64});
}
static void wide_values(tn_builder *b) {
    plain(b, &(sizes){1, 1, 9, 40, 8, 130});
}
static void one_row(tn_builder *b) {
    plain(b, &(sizes){1, 2, 1, 300, 64, 64});
}
static void one_column(tn_builder *b) {
    plain(b, &(sizes){2, 3, 5, 1, 16, 16});
}
static void depth_one(tn_builder *b) {
    plain(b, &(sizes){1, 2, 6, 20, 1, 16});
}

/* ---- masks and other work on the scores ----------------------------------------------------- */

static const sizes middle = {1, 3, 13, 75, 6, 10}, square = {2, 1, 70, 70, 4, 8};

static void causal(tn_builder *b) {
    tn_value flag = tn_b_ge(b, rows_of(b, &square), columns_of(b, &square));
    out(b, weighted(b, &square, softmax(b, where(b, flag, scores(b, &square), -INFINITY))));
}

/* The first row sees column `first` and those before it. */
static void window(tn_builder *b, const sizes *s, int64_t first, double hidden) {
    tn_value row = tn_b_add(b, rows_of(b, s), tn_b_scalar_int(b, TN_i64, first));
    tn_value far = tn_b_sub(b, row, columns_of(b, s));
    tn_value flag = tn_b_and(b, tn_b_ge(b, far, tn_b_scalar_int(b, TN_i64, 0)),
                             tn_b_lt(b, far, tn_b_scalar_int(b, TN_i64, 20)));
    out(b, weighted(b, s, softmax(b, where(b, flag, scores(b, s), hidden))));
}
static void window_finite(tn_builder *b) {
    window(b, &square, 0, -1e9);
}
static void window_infinite(tn_builder *b) { /* tiles on both sides of the window are left out */
    window(b, &(sizes){1, 1, 40, 290, 4, 8}, 250, -INFINITY);
}

static void documents(tn_builder *b) {
    tn_value of = input_of(b, TN_i64, 3, (tn_dim[]){2, 1, square.rows});
    tn_value flag =
        tn_b_eq(b, tn_b_unsqueeze(b, of, 3), tn_b_unsqueeze(b, of, 2)); /* [2,1,70,70] */
    out(b, weighted(b, &square, softmax(b, where(b, flag, scores(b, &square), -INFINITY))));
}

static void added(tn_builder *b, double hidden) {
    tn_value flag = input_of(b, TN_bool, 4, (tn_dim[]){1, 1, 1, middle.columns});
    tn_value bias = where(b, flag, tn_b_scalar(b, TN_f32, 0), hidden);
    out(b, weighted(b, &middle, softmax(b, tn_b_add(b, scores(b, &middle), bias))));
}
static void added_infinite(tn_builder *b) {
    added(b, -INFINITY);
}
static void added_finite(tn_builder *b) {
    added(b, -1e9);
}
static void added_input(tn_builder *b) {
    tn_value bias = INPUT(b, 3, middle.rows, middle.columns);
    out(b, weighted(b, &middle, softmax(b, tn_b_add(b, scores(b, &middle), bias))));
}

/* Rows 0 to 4 see nothing; the others one column in three. */
static tn_value sparse(tn_builder *b, const sizes *s, double hidden) {
    tn_value row = tn_b_ge(b, rows_of(b, s), tn_b_scalar_int(b, TN_i64, 5));
    tn_value third = tn_b_eq(b, tn_b_rem(b, columns_of(b, s), tn_b_scalar_int(b, TN_i64, 3)),
                             tn_b_scalar_int(b, TN_i64, 2));
    return where(b, tn_b_and(b, row, third), scores(b, s), hidden);
}
static void hidden_rows(tn_builder *b) {
    out(b, weighted(b, &middle, softmax(b, sparse(b, &middle, -INFINITY))));
}
static void hidden_rows_finite(tn_builder *b) {
    out(b, weighted(b, &middle, softmax(b, sparse(b, &middle, -3.4028235e38))));
}
static void hidden_rows_safe(tn_builder *b) {
    out(b, weighted(b, &middle, safe_softmax(b, sparse(b, &middle, -INFINITY))));
}

/* What softmax makes of infinite and undefined scores, with and without the test for NaN. */
static void extremes(tn_builder *b, bool safe) {
    tn_value row = rows_of(b, &middle), column = columns_of(b, &middle);
    tn_value first = tn_b_eq(b, row, tn_b_scalar_int(b, TN_i64, 0));
    tn_value second = tn_b_eq(b, row, tn_b_scalar_int(b, TN_i64, 1));
    tn_value late = tn_b_ge(b, column, tn_b_scalar_int(b, TN_i64, 70));
    tn_value x = scores(b, &middle);
    x = tn_b_select(b, tn_b_and(b, first, late), tn_b_scalar(b, TN_f32, INFINITY), x);
    x = tn_b_select(b, tn_b_and(b, second, late), tn_b_scalar(b, TN_f32, NAN), x);
    out(b, weighted(b, &middle, safe ? safe_softmax(b, x) : softmax(b, x)));
}
static void infinite_scores(tn_builder *b) {
    extremes(b, false);
}
static void infinite_scores_safe(tn_builder *b) {
    extremes(b, true);
}

static void slopes(tn_builder *b) { /* ALiBi */
    tn_value far = tn_b_sub(b, columns_of(b, &middle), rows_of(b, &middle));
    tn_value slope = INPUT(b, 3, 1, 1);
    tn_value bias = tn_b_mul(b, tn_b_cast(b, far, TN_f32), slope);
    out(b, weighted(b, &middle, softmax(b, tn_b_add(b, scores(b, &middle), bias))));
}

static void soft_cap(tn_builder *b) {
    tn_value x = tn_b_tanh(b, tn_b_mul_scalar(b, scores(b, &middle), 0.5));
    out(b, weighted(b, &middle, softmax(b, tn_b_mul_scalar(b, x, 2))));
}

/* ---- operands seen through views ------------------------------------------------------------ */

static void projected(tn_builder *b, tn_dim n, tn_dim rows) {
    tn_dim split[] = {n, rows, 4, 8};
    int heads[] = {0, 2, 1, 3};
    tn_value in[3];
    for (int i = 0; i < 3; i++)
        in[i] = tn_b_permute(b, tn_b_reshape_to(b, INPUT(b, n, rows, 32), 4, split), heads);
    tn_value x = tn_b_matmul(b, in[0], tn_b_swap(b, in[1], 2, 3), TN_f32);
    tn_value y = tn_b_permute(b, tn_b_matmul(b, safe_softmax(b, x), in[2], TN_f32), heads);
    y = tn_b_reshape_to(b, y, 3, (tn_dim[]){n, rows, 32});
    out(b, tn_b_tanh(b, tn_b_add(b, y, INPUT(b, 32))));
}
static void merged_heads(tn_builder *b) {
    projected(b, 2, 26);
}
static void open_sizes(tn_builder *b) {
    projected(b, tn_dim_of_symbol(b->graph->dims, "N"), tn_dim_of_symbol(b->graph->dims, "S"));
}
/* A size that may be zero. */
static tn_dim open_length(tn_builder *b, const char *name) {
    tn_dims_set_bounds(b->graph->dims, tn_dims_symbol(b->graph->dims, name), 0, 1 << 20, 1);
    return tn_dim_of_symbol(b->graph->dims, name);
}

static void open_columns(tn_builder *b) {
    tn_dim n = open_length(b, "N"), s = open_length(b, "S");
    sizes z = {1, 2, n, s, 8, 8};
    tn_value first = input_of(b, TN_i64, 0, NULL);
    tn_value flag = tn_b_ge(b, tn_b_add(b, rows_of(b, &z), first), columns_of(b, &z));
    out(b, weighted(b, &z, safe_softmax(b, where(b, flag, scores(b, &z), -INFINITY))));
}

static void shared_heads(tn_builder *b) { /* keys and values repeated over groups of heads */
    tn_shape wide = {5, {1, 2, 3, 40, 16}};
    tn_value kv[2];
    tn_value q = INPUT(b, 1, 6, 13, 16);
    for (int i = 0; i < 2; i++) {
        kv[i] = tn_b_expand(b, tn_b_unsqueeze(b, INPUT(b, 1, 2, 40, 16), 2), &wide);
        kv[i] = tn_b_reshape_to(b, kv[i], 4, (tn_dim[]){1, 6, 40, 16});
    }
    tn_value p = softmax(b, tn_b_matmul(b, q, tn_b_swap(b, kv[0], 2, 3), TN_f32));
    out(b, tn_b_matmul(b, p, kv[1], TN_f32));
}

static void grouped_rows(tn_builder *b) { /* heads of a group as rows of one product */
    tn_value q = INPUT(b, 1, 2, 3, 13, 16), k = INPUT(b, 1, 2, 40, 16), v = INPUT(b, 1, 2, 40, 16);
    tn_attrs_dot first = {.acc = TN_f32}, second = {.acc = TN_f32};
    first.lhs_batch = first.rhs_batch = (tn_ints){2, {0, 1}};
    first.lhs_contract = (tn_ints){1, {4}};
    first.rhs_contract = (tn_ints){1, {3}};
    second.lhs_batch = second.rhs_batch = (tn_ints){2, {0, 1}};
    second.lhs_contract = (tn_ints){1, {4}};
    second.rhs_contract = (tn_ints){1, {2}};
    tn_value x = tn_b_node(b, TN_OP_dot, (tn_value[]){q, k}, 2, &first);
    x = tn_b_add(b, tn_b_reshape_to(b, x, 4, (tn_dim[]){1, 6, 13, 40}), INPUT(b, 6, 13, 40));
    tn_value p = tn_b_reshape_to(b, softmax(b, x), 5, (tn_dim[]){1, 2, 3, 13, 40});
    out(b, tn_b_node(b, TN_OP_dot, (tn_value[]){p, v}, 2, &second));
}

static void flattened(tn_builder *b) { /* bmm: batch and heads are one axis of the softmax */
    const sizes *s = &(sizes){2, 3, 13, 75, 6, 10};
    tn_value x = tn_b_add(b, scores(b, s), INPUT(b, s->rows, s->columns));
    tn_value p = softmax(b, tn_b_reshape_to(b, x, 3, (tn_dim[]){6, s->rows, s->columns}));
    out(b, tn_b_matmul(b, p, INPUT(b, 6, s->columns, s->width), TN_f32));
}

static void turned_operands(tn_builder *b) { /* k as [depth, columns], v as [width, columns] */
    tn_value q = INPUT(b, 2, 13, 6), k = INPUT(b, 2, 6, 75), v = INPUT(b, 2, 10, 75);
    tn_value p = softmax(b, tn_b_matmul(b, q, k, TN_f32));
    out(b, tn_b_matmul(b, p, tn_b_swap(b, v, 1, 2), TN_f32));
}

static void doubles(tn_builder *b) {
    tn_value in[3];
    for (int i = 0; i < 3; i++) in[i] = input_of(b, TN_f64, 3, (tn_dim[]){2, 37, 12});
    tn_value p = softmax(b, tn_b_matmul(b, in[0], tn_b_swap(b, in[1], 1, 2), TN_f64));
    out(b, tn_b_matmul(b, p, in[2], TN_f64));
}

/* As torch exports it: the root of the scale on both sides of the product, here with a divisor. */
static void scaled_operands(tn_builder *b, tn_dim rows, tn_dim columns, double scale) {
    tn_value q = INPUT(b, 2, rows, 6), k = INPUT(b, 2, columns, 6);
    q = tn_b_mul_scalar(b, q, scale);
    k = tn_b_div(b, tn_b_swap(b, k, 1, 2), tn_b_scalar(b, TN_f32, 3));
    tn_value x = tn_b_mul_scalar(b, tn_b_matmul(b, q, k, TN_f32), 2);
    out(b, tn_b_matmul(b, softmax(b, x), INPUT(b, 2, columns, 10), TN_f32));
}
static void scaled(tn_builder *b) {
    scaled_operands(b, 13, 75, 0.7);
}
static void scaled_negative(tn_builder *b) { /* the largest product is the smallest score */
    scaled_operands(b, 13, 75, -3);
}
static void scaled_to_nothing(tn_builder *b) { /* constants that no row takes */
    scaled_operands(b, 5, 40, 0);
}
static void scaled_decode(tn_builder *b) {
    scaled_operands(b, 1, 600, -0.7);
}
static void large_scores(tn_builder *b) { /* to ±1000: weights of most columns are 0 */
    scaled_operands(b, 13, 75, 900);
}

/* ---- few rows and many columns, as in decoding ----------------------------------------------- */

static const sizes decode = {1, 3, 1, 1100, 8, 12};

static void decode_head_64(tn_builder *b) {
    plain(b, &(sizes){1, 1, 1, 1024, 64, 64});
}
static void decode_ragged(tn_builder *b) { /* the last piece holds 5 columns */
    plain(b, &(sizes){1, 1, 3, 1029, 21, 7});
}
static void decode_wide(tn_builder *b) {
    plain(b, &(sizes){1, 1, 2, 600, 8, 130});
}
static void decode_depth_one(tn_builder *b) {
    plain(b, &(sizes){1, 1, 1, 700, 1, 3});
}
static void decode_group(tn_builder *b) { /* keys are packed, columns shared */
    plain(b, &(sizes){1, 1, 6, 1029, 12, 8});
}
static void decode_one_block(tn_builder *b) { /* of 528 columns, so no pieces */
    plain(b, &(sizes){1, 2, 1, 520, 16, 48});
}
static void decode_many_heads(tn_builder *b) { /* tasks enough: the columns are not cut */
    plain(b, &(sizes){8, 8, 1, 520, 2, 2});
}

/* Rows see their columns up to 600 and less, so that the last piece is hidden. */
static void decode_causal(tn_builder *b) {
    tn_value last = tn_b_add(b, rows_of(b, &decode), tn_b_scalar_int(b, TN_i64, 600));
    tn_value flag = tn_b_ge(b, last, columns_of(b, &decode));
    out(b, weighted(b, &decode, softmax(b, where(b, flag, scores(b, &decode), -INFINITY))));
}

static tn_value before(tn_builder *b, const sizes *s, int64_t column) {
    return tn_b_lt(b, columns_of(b, s), tn_b_scalar_int(b, TN_i64, column));
}

/* What is hidden may be anything. */
static void decode_hidden_nan(tn_builder *b) {
    tn_value x = where(b, before(b, &decode, 900), scores(b, &decode), NAN);
    out(b, weighted(b, &decode, softmax(b, where(b, before(b, &decode, 800), x, -INFINITY))));
}
static void decode_hidden_rows(tn_builder *b, bool safe) {
    tn_value x = where(b, before(b, &decode, 0), scores(b, &decode), -INFINITY);
    out(b, weighted(b, &decode, safe ? safe_softmax(b, x) : softmax(b, x)));
}
static void decode_hidden(tn_builder *b) {
    decode_hidden_rows(b, false);
}
static void decode_hidden_safe(tn_builder *b) {
    decode_hidden_rows(b, true);
}

static void decode_extremes(tn_builder *b, double value, bool safe) {
    tn_value late = tn_b_ge(b, columns_of(b, &decode), tn_b_scalar_int(b, TN_i64, 1050));
    tn_value x = tn_b_select(b, late, tn_b_scalar(b, TN_f32, value), scores(b, &decode));
    out(b, weighted(b, &decode, safe ? safe_softmax(b, x) : softmax(b, x)));
}
static void decode_nan(tn_builder *b) {
    decode_extremes(b, NAN, false);
}
static void decode_nan_safe(tn_builder *b) {
    decode_extremes(b, NAN, true);
}
static void decode_infinite(tn_builder *b) {
    decode_extremes(b, INFINITY, false);
}
static void decode_infinite_safe(tn_builder *b) {
    decode_extremes(b, INFINITY, true);
}

/* Soft cap, slopes, a bias, documents and a window at once, and an epilogue. */
static void decode_modified(tn_builder *b) {
    const sizes *s = &decode;
    tn_value far = tn_b_sub(b, columns_of(b, s), tn_b_scalar_int(b, TN_i64, 1099));
    tn_value x = tn_b_mul_scalar(b, tn_b_tanh(b, tn_b_mul_scalar(b, scores(b, s), 0.1)), 10);
    x = tn_b_add(b, x, tn_b_mul(b, tn_b_cast(b, far, TN_f32), INPUT(b, 3, 1, 1)));
    x = tn_b_add(b, x, INPUT(b, 1, 1, 1, 1100));
    tn_value of = input_of(b, TN_i64, 4, (tn_dim[]){1, 1, 1, 1100});
    tn_value flag = tn_b_ge(b, far, tn_b_scalar_int(b, TN_i64, -700));
    flag = tn_b_and(b, flag, tn_b_lt(b, of, tn_b_scalar_int(b, TN_i64, 3)));
    x = weighted(b, s, softmax(b, where(b, flag, x, -INFINITY)));
    out(b, tn_b_tanh(b, tn_b_add(b, x, INPUT(b, 12))));
}

static void decode_turned(tn_builder *b) { /* k as [depth, columns], v as [width, columns] */
    tn_value q = INPUT(b, 1, 1, 8), k = INPUT(b, 1, 8, 1100), v = INPUT(b, 1, 12, 1100);
    tn_value p = softmax(b, tn_b_matmul(b, q, k, TN_f32));
    out(b, tn_b_matmul(b, p, tn_b_swap(b, v, 1, 2), TN_f32));
}

static void decode_doubles(tn_builder *b) {
    tn_value q = input_of(b, TN_f64, 3, (tn_dim[]){2, 1, 12}), kv[2];
    for (int i = 0; i < 2; i++) kv[i] = input_of(b, TN_f64, 3, (tn_dim[]){2, 601, 12});
    tn_value p = softmax(b, tn_b_matmul(b, q, tn_b_swap(b, kv[0], 1, 2), TN_f64));
    out(b, tn_b_matmul(b, p, kv[1], TN_f64));
}

/* A key-value cache of open length that grows by the new rows, heads in groups. */
static void open_cache(tn_builder *b) {
    tn_dim rows = open_length(b, "N"), past = open_length(b, "S");
    tn_value kv[2], q = INPUT(b, 1, 4, rows, 12);
    for (int i = 0; i < 2; i++) {
        tn_value parts[] = {INPUT(b, 1, 2, past, 12), INPUT(b, 1, 2, rows, 12)};
        kv[i] = tn_b_concat(b, parts, 2, 2);
        out(b, kv[i]);
    }
    tn_attention o = {
        .q = q, .k = kv[0], .v = kv[1], .mask = TN_NO_VALUE, .causal = true, .causal_offset = past};
    out(b, tn_b_attention(b, &o));
}

/* ---- what is no attention ------------------------------------------------------------------- */

static void weights_are_read(tn_builder *b) {
    tn_value p = softmax(b, scores(b, &middle));
    out(b, weighted(b, &middle, p));
    out(b, p);
}
static void scores_are_read(tn_builder *b) {
    tn_value x = scores(b, &middle);
    out(b, weighted(b, &middle, softmax(b, x)));
    out(b, tn_b_tanh(b, x));
}
static void other_axis(tn_builder *b) {
    int axis = -2;
    tn_value x = scores(b, &square), m = tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, x, m));
    out(b, weighted(b, &square, tn_b_div(b, e, tn_b_sum(b, e, &axis, 1, true))));
}
static void turned_weights(tn_builder *b) {
    out(b, weighted(b, &square, tn_b_swap(b, softmax(b, scores(b, &square)), 2, 3)));
}
static void twice(tn_builder *b) { /* the scores of the second are what the first makes */
    tn_value x = weighted(b, &square, softmax(b, scores(b, &square)));
    x = tn_b_matmul(b, softmax(b, x), INPUT(b, 2, 1, 8, 10), TN_f32);
    out(b, x);
}

typedef struct attention_test {
    build_graph *build;
    const char *name;
    uint32_t least, most; /* steps with fusion */
} attention_test;

#define CASE(name, least, most)                                                                    \
    { name, "test_attention__" #name, least, most }
static attention_test cases[] = {
    CASE(ragged, 1, 1),
    CASE(several_blocks, 1, 1),
    CASE(head_64, 1, 1),
    CASE(wide_values, 1, 1),
    CASE(one_row, 1, 1),
    CASE(one_column, 1, 4),
    CASE(depth_one, 1, 1),
    CASE(causal, 1, 1),
    CASE(window_finite, 1, 1),
    CASE(window_infinite, 1, 1),
    CASE(documents, 1, 1),
    CASE(added_infinite, 1, 1),
    CASE(added_finite, 1, 1),
    CASE(added_input, 1, 1),
    CASE(hidden_rows, 1, 1),
    CASE(hidden_rows_finite, 1, 1),
    CASE(hidden_rows_safe, 1, 1),
    CASE(infinite_scores, 1, 3),
    CASE(infinite_scores_safe, 1, 3),
    CASE(slopes, 1, 1),
    CASE(soft_cap, 1, 1),
    CASE(merged_heads, 1, 1),
    CASE(shared_heads, 1, 1),
    CASE(grouped_rows, 1, 1),
    CASE(flattened, 1, 1),
    CASE(turned_operands, 1, 1),
    CASE(doubles, 1, 1),
    CASE(scaled, 1, 1),
    CASE(scaled_negative, 1, 1),
    CASE(scaled_to_nothing, 1, 1),
    CASE(scaled_decode, 1, 1),
    CASE(large_scores, 1, 1),
    CASE(decode_head_64, 1, 1),
    CASE(decode_ragged, 1, 1),
    CASE(decode_wide, 1, 1),
    CASE(decode_depth_one, 1, 1),
    CASE(decode_group, 1, 1),
    CASE(decode_one_block, 1, 1),
    CASE(decode_many_heads, 1, 1),
    CASE(decode_causal, 1, 1),
    CASE(decode_hidden_nan, 1, 1),
    CASE(decode_hidden, 1, 1),
    CASE(decode_hidden_safe, 1, 1),
    CASE(decode_nan, 1, 1),
    CASE(decode_nan_safe, 1, 1),
    CASE(decode_infinite, 1, 1),
    CASE(decode_infinite_safe, 1, 1),
    CASE(decode_modified, 1, 1),
    CASE(decode_turned, 1, 1),
    CASE(decode_doubles, 1, 1),
    CASE(weights_are_read, 2, 3),
    CASE(scores_are_read, 2, 4),
    CASE(other_axis, 2, 4),
    CASE(turned_weights, 2, 4),
    CASE(twice, 2, 3),
};

static const int64_t open[][2] = {{1, 1}, {2, 7}, {3, 33}, {1, 90}};
static const int64_t open_kv[][2] = {{1, 0},    {0, 5},   {1, 150},  {40, 100},
                                     {270, 40}, {2, 512}, {3, 1537}, {9, 530}};
static const int64_t open_past[][2] = {{1, 0}, {1, 1100}, {9, 530}};

static void run_case(void **state) {
    const attention_test *t = *state;
    uint32_t kernels = check_graph(t->build, NULL, t->name);
    if (kernels < t->least || kernels > t->most)
        fail_msg("%s: %u kernels, expected %u to %u", t->name, kernels, t->least, t->most);
}

static void test_attention__open_sizes(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(open); i++) check_graph(open_sizes, open[i], "open_sizes");
    for (size_t i = 0; i < TN_COUNT(open_kv); i++)
        check_graph(open_columns, open_kv[i], "open_columns");
    for (size_t i = 0; i < TN_COUNT(open_past); i++)
        check_graph(open_cache, open_past[i], "open_cache");
}

/* Tiles and blocks beside the chosen ones, also those that change rounding: blocks that do not divide the
 * columns, tiles that do not divide the rows. */
static void test_attention__other_records(void **state) {
    enum { SEEDS = 6 };
    static build_graph *const graphs[] = {
        ragged,      hidden_rows, hidden_rows_safe, infinite_scores_safe,
        added_input, causal,      grouped_rows,     turned_operands,
        doubles,     scaled,      decode_ragged,    decode_hidden_nan};
    (void)state;
    for (size_t i = 0; i < TN_COUNT(graphs) * SEEDS; i++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = plan_case_of(&arena, graphs[i / SEEDS], NULL, "other records");
        c->records = &random_records_of(&arena, i, false)->source;
        tn_program program;
        plan_run run = {.c = c, .program = &program, .way = "by other records"};
        if (!plan_program_of(c, PLAN_RECORDS, tn_target_native(), &program) ||
            !plan_run_program(&run))
            fail_msg("graph %zu, seed %zu: %s", i / SEEDS, i, c->why);
        tn_arena_deinit(&arena);
    }
}

/* All of them as compiled kernels, for every target. */
static void test_attention__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[TN_COUNT(cases) + TN_COUNT(open) + TN_COUNT(open_kv) + TN_COUNT(open_past)];
    uint32_t count = 0;
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        all[count++] = plan_case_of(&arena, cases[i].build, NULL, cases[i].name);
    for (size_t i = 0; i < TN_COUNT(open); i++)
        all[count++] = plan_case_of(&arena, open_sizes, open[i], "open_sizes");
    for (size_t i = 0; i < TN_COUNT(open_kv); i++)
        all[count++] = plan_case_of(&arena, open_columns, open_kv[i], "open_columns");
    for (size_t i = 0; i < TN_COUNT(open_past); i++)
        all[count++] = plan_case_of(&arena, open_cache, open_past[i], "open_cache");
    if (!plan_compile(all, count, &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    struct CMUnitTest tests[TN_COUNT(cases) + 3] = {
        cmocka_unit_test(test_attention__open_sizes),
        cmocka_unit_test(test_attention__other_records),
        cmocka_unit_test(test_attention__compiled),
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        tests[i + 3] = (struct CMUnitTest){cases[i].name, run_case, NULL, NULL, &cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
