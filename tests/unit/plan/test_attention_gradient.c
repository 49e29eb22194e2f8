/* The gradient of attention: results against eval, and where it is one kernel. */
#include "ops/compose.h"
#include "ops/gradient.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

typedef struct sizes {
    tn_dim batch, heads, rows, columns, depth, width;
} sizes;

/* ---- parts of graphs ------------------------------------------------------------------------ */

/* Outputs: the gradients of Σ y (y + w) by x, where w is one more input. */
static void out_gradients(tn_builder *b, tn_value y, const tn_value *x, int n) {
    tn_type type = tn_b_type(b, y);
    tn_value grads[8], w = tn_b_input(b, "w", type.dtype, &type.shape);
    int axes[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) axes[i] = i;
    tn_value loss = tn_b_sum(b, tn_b_mul(b, y, tn_b_add(b, y, w)), axes, tn_b_rank(b, y), false);
    tn_b_gradient(b, loss, TN_NO_VALUE, x, n, grads);
    for (int i = 0; i < n; i++) out(b, grads[i]);
}

/* q, k, v [batch, heads, rows or columns, depth or width] */
static void inputs(tn_builder *b, const sizes *s, tn_value *x) {
    x[0] = INPUT(b, s->batch, s->heads, s->rows, s->depth);
    x[1] = INPUT(b, s->batch, s->heads, s->columns, s->depth);
    x[2] = INPUT(b, s->batch, s->heads, s->columns, s->width);
}

static tn_value scores(tn_builder *b, const tn_value *x) {
    return tn_b_mul_scalar(b, tn_b_matmul(b, x[0], tn_b_swap(b, x[1], 2, 3), TN_f32), 0.25);
}

static void finish(tn_builder *b, const tn_value *x, tn_value p) {
    out_gradients(b, tn_b_matmul(b, p, x[2], TN_f32), x, 3);
}

static tn_value rows_of(tn_builder *b, const sizes *s) {
    return tn_b_iota(b, TN_i64, &(tn_shape){2, {s->rows, 1}}, 0);
}
static tn_value columns_of(tn_builder *b, const sizes *s) {
    return tn_b_iota(b, TN_i64, &(tn_shape){2, {1, s->columns}}, 1);
}
static tn_value integer(tn_builder *b, int64_t n) {
    return tn_b_scalar_int(b, TN_i64, n);
}
static tn_value where(tn_builder *b, tn_value flag, tn_value x, double other) {
    return tn_b_select(b, flag, x, tn_b_scalar(b, TN_f32, other));
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static void plain(tn_builder *b, const sizes *s) {
    tn_value x[3];
    inputs(b, s, x);
    finish(b, x, tn_b_softmax(b, scores(b, x), -1));
}
static void ragged(tn_builder *b) {
    plain(b, &(sizes){2, 3, 21, 19, 5, 7});
}
static void several_blocks(tn_builder *b) {
    plain(b, &(sizes){1, 1, 135, 40, 4, 8});
}
static void long_rows(tn_builder *b) {
    plain(b, &(sizes){1, 1, 9, 600, 3, 2});
}
static void head_64(tn_builder *b) {
    plain(b, &(sizes){1, 1, 18, 40, 64, 64});
}
static void wide_values(tn_builder *b) {
    plain(b, &(sizes){1, 1, 9, 40, 8, 130});
}
static void one_row(tn_builder *b) {
    plain(b, &(sizes){1, 2, 1, 60, 16, 16});
}
static void depth_one(tn_builder *b) {
    plain(b, &(sizes){1, 2, 6, 20, 1, 1});
}
static void few_columns(tn_builder *b) {
    plain(b, &(sizes){2, 2, 12, 9, 4, 4});
}

static void doubles(tn_builder *b) {
    tn_value x[3];
    for (int i = 0; i < 3; i++) x[i] = input_of(b, TN_f64, 3, (tn_dim[]){2, 21, 12});
    tn_value p = tn_b_softmax(b, tn_b_matmul(b, x[0], tn_b_swap(b, x[1], 1, 2), TN_f64), -1);
    out_gradients(b, tn_b_matmul(b, p, x[2], TN_f64), x, 3);
}

/* ---- masks and other work on the scores ----------------------------------------------------- */

static const sizes square = {1, 1, 70, 70, 4, 6}, middle = {1, 3, 13, 75, 6, 10};

static void shown(tn_builder *b, const sizes *s, tn_value flag, double hidden) {
    tn_value x[3];
    inputs(b, s, x);
    finish(b, x, tn_b_softmax(b, where(b, flag, scores(b, x), hidden), -1));
}
static void causal(tn_builder *b) {
    shown(b, &square, tn_b_ge(b, rows_of(b, &square), columns_of(b, &square)), -INFINITY);
}
/* Rows 0 to 9 see nothing. */
static void causal_late(tn_builder *b) {
    tn_value row = tn_b_sub(b, rows_of(b, &square), integer(b, 10));
    shown(b, &square, tn_b_ge(b, row, columns_of(b, &square)), -INFINITY);
}
static void window(tn_builder *b) {
    tn_value far = tn_b_sub(b, rows_of(b, &square), columns_of(b, &square));
    tn_value flag = tn_b_and(b, tn_b_ge(b, far, integer(b, 0)), tn_b_lt(b, far, integer(b, 20)));
    shown(b, &square, flag, -INFINITY);
}
static void padding(tn_builder *b) {
    shown(b, &middle, input_of(b, TN_bool, 4, (tn_dim[]){1, 1, 1, middle.columns}), -INFINITY);
}
static void padding_finite(tn_builder *b) {
    shown(b, &middle, input_of(b, TN_bool, 4, (tn_dim[]){1, 1, 1, middle.columns}), -1e9);
}
static void bias(tn_builder *b) {
    tn_value x[3], add = INPUT(b, 3, middle.rows, middle.columns);
    inputs(b, &middle, x);
    finish(b, x, tn_b_softmax(b, tn_b_add(b, scores(b, x), add), -1));
}
static void soft_cap(tn_builder *b) {
    tn_value x[3];
    inputs(b, &middle, x);
    tn_value s = tn_b_mul_scalar(b, tn_b_tanh(b, tn_b_mul_scalar(b, scores(b, x), 0.5)), 2);
    finish(b, x, tn_b_softmax(b, s, -1));
}

/* ---- other ways to write it ----------------------------------------------------------------- */

/* With a gradient through the maximum, which comes to nothing. */
static void own_softmax(tn_builder *b) {
    tn_value x[3];
    int axis = -1;
    inputs(b, &middle, x);
    tn_value s = scores(b, x), m = tn_b_reduce(b, TN_REDUCE_max, s, &axis, 1, true);
    tn_value e = tn_b_exp(b, tn_b_sub(b, s, m));
    finish(b, x, tn_b_div(b, e, tn_b_sum(b, e, &axis, 1, true)));
}

static void safe_softmax(tn_builder *b) {
    tn_value x[3], flag = tn_b_ge(b, rows_of(b, &middle), integer(b, 5));
    inputs(b, &middle, x);
    tn_value p = tn_b_softmax(b, where(b, flag, scores(b, x), -INFINITY), -1);
    p = tn_b_select(b, tn_b_is_nan(b, p), tn_b_scalar(b, TN_f32, 0), p);
    out_gradients(b, tn_b_matmul(b, p, x[2], TN_f32), x + 2, 1);
}

static void layer(tn_builder *b, tn_dim q_heads, tn_dim k_heads, bool is_causal) {
    tn_value x[3] = {INPUT(b, 1, q_heads, 24, 8), INPUT(b, 1, k_heads, 24, 8),
                     INPUT(b, 1, k_heads, 24, 6)};
    tn_attention o = {.q = x[0], .k = x[1], .v = x[2], .mask = TN_NO_VALUE, .causal = is_causal};
    o.causal_offset = tn_dim_const(b->graph->dims, 0);
    out_gradients(b, tn_b_attention(b, &o), x, 3);
}
static void layer_causal(tn_builder *b) {
    layer(b, 4, 4, true);
}
static void grouped(tn_builder *b) {
    layer(b, 6, 2, false);
}
static void grouped_causal(tn_builder *b) {
    layer(b, 4, 2, true);
}

/* Heads side by side in x·w, as models have them, and a product behind. */
static void merged_heads(tn_builder *b) {
    enum { N = 2, S = 19, HEADS = 3, SIZE = 8, ALL = HEADS * SIZE };
    tn_value x = INPUT(b, N, S, ALL), w[4], part[3];
    for (int i = 0; i < 4; i++) w[i] = INPUT(b, ALL, ALL);
    for (int i = 0; i < 3; i++) {
        part[i] =
            tn_b_reshape_to(b, tn_b_matmul(b, x, w[i], TN_f32), 4, (tn_dim[]){N, S, HEADS, SIZE});
        part[i] = tn_b_permute(b, part[i], (int[]){0, 2, 1, 3});
    }
    tn_attention o = {.q = part[0], .k = part[1], .v = part[2], .mask = TN_NO_VALUE};
    o.causal = true;
    o.causal_offset = tn_dim_const(b->graph->dims, 0);
    tn_value y = tn_b_permute(b, tn_b_attention(b, &o), (int[]){0, 2, 1, 3});
    y = tn_b_reshape_to(b, y, 3, (tn_dim[]){N, S, ALL});
    tn_value all[] = {x, w[0], w[1], w[2], w[3]};
    out_gradients(b, tn_b_matmul(b, y, w[3], TN_f32), all, 5);
}

static void some(tn_builder *b, int first, int count) {
    tn_value x[3];
    inputs(b, &middle, x);
    tn_value p = tn_b_softmax(b, scores(b, x), -1);
    out_gradients(b, tn_b_matmul(b, p, x[2], TN_f32), x + first, count);
}
static void of_queries(tn_builder *b) {
    some(b, 0, 1);
}
static void of_keys(tn_builder *b) {
    some(b, 1, 1);
}
static void of_values(tn_builder *b) {
    some(b, 2, 1);
}

/* k as [depth, columns], v as [width, columns] */
static void turned_operands(tn_builder *b) {
    tn_value x[] = {INPUT(b, 2, 21, 8), INPUT(b, 2, 8, 30), INPUT(b, 2, 12, 30)};
    tn_value p = tn_b_softmax(b, tn_b_matmul(b, x[0], x[1], TN_f32), -1);
    out_gradients(b, tn_b_matmul(b, p, tn_b_swap(b, x[2], 1, 2), TN_f32), x, 3);
}

/* Two layers, the second on what the first gives. */
static void two_layers(tn_builder *b) {
    tn_value x = INPUT(b, 2, 2, 24, 8), y = x;
    for (int i = 0; i < 2; i++) {
        tn_value s = tn_b_matmul(b, y, tn_b_swap(b, y, 2, 3), TN_f32);
        y = tn_b_matmul(b, tn_b_softmax(b, s, -1), y, TN_f32);
    }
    out_gradients(b, y, &x, 1);
}

/* ---- what is left to other kernels ---------------------------------------------------------- */

static void of_bias(tn_builder *b) {
    tn_value x[4];
    inputs(b, &middle, x);
    x[3] = INPUT(b, 3, middle.rows, middle.columns);
    tn_value p = tn_b_softmax(b, tn_b_add(b, scores(b, x), x[3]), -1);
    out_gradients(b, tn_b_matmul(b, p, x[2], TN_f32), x, 4);
}
static void weights_are_read(tn_builder *b) {
    tn_value x[3];
    inputs(b, &middle, x);
    tn_value p = tn_b_softmax(b, scores(b, x), -1);
    out(b, p);
    finish(b, x, p);
}
static void second_order(tn_builder *b) {
    tn_value x[3], first[3], second[3];
    inputs(b, &(sizes){1, 2, 18, 20, 4, 4}, x);
    tn_value y = tn_b_matmul(b, tn_b_softmax(b, scores(b, x), -1), x[2], TN_f32);
    tn_shape shape = tn_b_type(b, y).shape;
    tn_value w = tn_b_input(b, "w", TN_f32, &shape);
    tn_b_gradient(b, y, w, x, 3, first);
    tn_value s = tn_b_mul(b, first[0], first[0]);
    tn_b_gradient(b, s, TN_NO_VALUE, x, 3, second);
    for (int i = 0; i < 3; i++) out(b, second[i]);
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct gradient_case {
    build_graph *build;
    const char *label;
    uint32_t kernels; /* attention gradients */
} gradient_case;

#define CASE(name, kernels)                                                                        \
    { name, #name, kernels }
static const gradient_case cases[] = {
    CASE(ragged, 1),
    CASE(several_blocks, 1),
    CASE(long_rows, 1),
    CASE(head_64, 1),
    CASE(wide_values, 1),
    CASE(doubles, 1),
    CASE(causal, 1),
    CASE(causal_late, 1),
    CASE(padding, 1),
    CASE(own_softmax, 1),
    CASE(grouped_causal, 1),
    CASE(merged_heads, 1),
    CASE(turned_operands, 1),
    CASE(one_row, 1),
    CASE(depth_one, 1),
    CASE(few_columns, 0),
    CASE(window, 1),
    CASE(padding_finite, 1),
    CASE(bias, 1),
    CASE(soft_cap, 1),
    CASE(safe_softmax, 1),
    CASE(layer_causal, 1),
    CASE(grouped, 1),
    CASE(of_queries, 1),
    CASE(of_keys, 1),
    CASE(of_values, 1),
    CASE(two_layers, 2),
    CASE(of_bias, 0),
    CASE(weights_are_read, 0),
    CASE(second_order, 0),
};
enum { COMPILED = 13 }; /* the first of them */

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, NULL, cases[i].label);
}

static void test_attention_gradient__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_case, TN_COUNT(cases));
}

static void test_attention_gradient__compiled(void **state) {
    (void)state;
    plan_list_compile(make_case, COMPILED);
}

static void test_attention_gradient__is_one_kernel(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_arena arena;
        tn_program p;
        uint32_t found = 0;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = make_case(&arena, i, NULL);
        if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &p)) fail_msg("%s", c->why);
        for (uint32_t k = 0; k < p.blocks.data[0].steps.len; k++) {
            const char *name = p.blocks.data[0].steps.data[k].name;
            found += name && !strcmp(name, "attention gradient");
        }
        if (found != cases[i].kernels)
            fail_msg("%s: %u gradients, expected %u", cases[i].label, found, cases[i].kernels);
        tn_arena_deinit(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_gradient__interpreted),
        cmocka_unit_test(test_attention_gradient__is_one_kernel),
        cmocka_unit_test(test_attention_gradient__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
