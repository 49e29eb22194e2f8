/* How many kernels the planner makes of the field's usual patterns around contractions, and how many
 * whole tensors they move; results against the reference.
 *
 * `wanted` is what the pattern can be done in; `now` is what the planner reaches. A case with more
 * than wanted is a known gap; getting better or worse than `now` fails, so that this table is true.
 */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"

/* All matrices are N×N: a "transfer" is one of them, loaded or stored by a kernel. Results are checked
 * with small ones; kernels are counted with ones that no cache holds. */
enum { SMALL = 24, LARGE = 4096 };
static int64_t N;

static tn_value matrix(tn_builder *b) {
    tn_shape s = {.rank = 2, .dim = {N, N}};
    return tn_b_input(b, tn_arena_printf(b->graph->arena, "x%u", b->graph->inputs.len), TN_f32, &s);
}

static tn_value vector(tn_builder *b) {
    tn_shape s = {.rank = 1, .dim = {N}};
    return tn_b_input(b, tn_arena_printf(b->graph->arena, "x%u", b->graph->inputs.len), TN_f32, &s);
}

static tn_value transposed(tn_builder *b, tn_value x) {
    return tn_b_swap(b, x, 0, 1);
}
static tn_value relu(tn_builder *b, tn_value x) {
    return tn_b_max(b, x, tn_b_scalar(b, TN_f32, 0));
}
/* g where x is positive: the gradient of relu. */
static tn_value relu_gradient(tn_builder *b, tn_value x, tn_value g) {
    tn_value zero = tn_b_scalar(b, TN_f32, 0);
    return tn_b_mul(b, g, tn_b_cast(b, tn_b_gt(b, x, zero), TN_f32));
}
static tn_value sum_over(tn_builder *b, tn_value x, int axis) {
    return tn_b_sum(b, x, &axis, 1, false);
}
static tn_value sum_all(tn_builder *b, tn_value x) {
    return tn_b_sum(b, x, (int[]){0, 1}, 2, false);
}

/* ---- whole steps of training ---------------------------------------------------------------- */

typedef tn_value activation(tn_builder *b, tn_value x);
typedef tn_value activation_gradient(tn_builder *b, tn_value x, tn_value g);

static void mlp(tn_builder *b, activation *f, activation_gradient *df, bool from_result) {
    tn_value x = matrix(b), w1 = matrix(b), w2 = matrix(b), target = matrix(b);
    tn_value b1 = vector(b), b2 = vector(b);
    tn_value pre = tn_b_add(b, dot(b, x, w1), b1), hidden = f(b, pre);
    tn_value d = tn_b_sub(b, tn_b_add(b, dot(b, hidden, w2), b2), target);
    out(b, tn_b_mul_scalar(b, sum_all(b, tn_b_mul(b, d, d)), 1.0 / (double)N));
    tn_value dy = tn_b_mul_scalar(b, d, 2.0 / (double)N);
    tn_value dpre = df(b, from_result ? hidden : pre, dot(b, dy, transposed(b, w2)));
    out(b, dot(b, transposed(b, x), dpre));
    out(b, sum_over(b, dpre, 0));
    out(b, dot(b, transposed(b, hidden), dy));
    out(b, sum_over(b, dy, 0));
}

static tn_value tanh_gradient(tn_builder *b, tn_value y, tn_value g) {
    return tn_b_mul(b, g, tn_b_sub(b, tn_b_scalar(b, TN_f32, 1), tn_b_mul(b, y, y)));
}

static void mlp_relu(tn_builder *b) {
    mlp(b, relu, relu_gradient, false);
}
static void mlp_tanh(tn_builder *b) {
    mlp(b, tn_b_tanh, tanh_gradient, true);
}

static void mlp_forward(tn_builder *b) {
    tn_value x = matrix(b), w1 = matrix(b), w2 = matrix(b), b1 = vector(b), b2 = vector(b);
    tn_value hidden = relu(b, tn_b_add(b, dot(b, x, w1), b1));
    out(b, tn_b_add(b, dot(b, hidden, w2), b2));
}

/* x·w + y·u + bias; one call a line, so that every compiler builds the same graph. */
static tn_value gate_input(tn_builder *b, tn_value x, tn_value w, tn_value y, tn_value u,
                           tn_value bias) {
    tn_value xw = dot(b, x, w);
    tn_value yu = dot(b, y, u);
    return tn_b_add(b, tn_b_add(b, xw, yu), bias);
}

/* A GRU cell with relu gates: forward, squared error, gradients of weights and biases. */
static void gru_step(tn_builder *b) {
    tn_value h = matrix(b), x = matrix(b), target = matrix(b), w[3], u[3], bias[3];
    for (int i = 0; i < 3; i++) {
        w[i] = matrix(b);
        u[i] = matrix(b);
        bias[i] = vector(b);
    }
    tn_value pre[3], gate[2], one = tn_b_scalar(b, TN_f32, 1);
    for (int i = 0; i < 2; i++) {
        pre[i] = gate_input(b, x, w[i], h, u[i], bias[i]);
        gate[i] = relu(b, pre[i]);
    }
    tn_value z = gate[0], r = gate[1], rh = tn_b_mul(b, r, h);
    tn_value c = tn_b_tanh(b, gate_input(b, x, w[2], rh, u[2], bias[2]));
    tn_value next = tn_b_add(b, tn_b_mul(b, tn_b_sub(b, one, z), h), tn_b_mul(b, z, c));
    tn_value d = tn_b_sub(b, next, target);
    out(b, tn_b_mul_scalar(b, sum_all(b, tn_b_mul(b, d, d)), 1.0 / (double)N));
    tn_value dnext = tn_b_mul_scalar(b, d, 2.0 / (double)N);
    tn_value dpre[3];
    dpre[2] = tanh_gradient(b, c, tn_b_mul(b, dnext, z));
    dpre[0] = relu_gradient(b, pre[0], tn_b_mul(b, dnext, tn_b_sub(b, c, h)));
    tn_value drh = dot(b, dpre[2], transposed(b, u[2]));
    dpre[1] = relu_gradient(b, pre[1], tn_b_mul(b, drh, h));
    for (int i = 0; i < 3; i++) {
        out(b, dot(b, transposed(b, x), dpre[i]));
        out(b, dot(b, transposed(b, i == 2 ? rh : h), dpre[i]));
        out(b, sum_over(b, dpre[i], 0));
    }
}

/* ---- around one or two contractions --------------------------------------------------------- */

static void relu_dot_relu(tn_builder *b) {
    out(b, relu(b, dot(b, relu(b, matrix(b)), matrix(b))));
}
static void dot_relu_two_dots(tn_builder *b) {
    tn_value y = relu(b, dot(b, matrix(b), matrix(b)));
    out(b, dot(b, y, matrix(b)));
    out(b, dot(b, y, matrix(b)));
}
static void dot_relu_two_dots_first_is_output(tn_builder *b) {
    tn_value first = dot(b, matrix(b), matrix(b)), y = relu(b, first);
    out(b, first);
    out(b, dot(b, y, matrix(b)));
    out(b, dot(b, y, matrix(b)));
}
static void dot_row_sum_exp(tn_builder *b) {
    out(b, tn_b_exp(b, sum_over(b, dot(b, matrix(b), matrix(b)), 1)));
}
static void dot_relu_permute_exp(tn_builder *b) {
    out(b, tn_b_exp(b, transposed(b, relu(b, dot(b, matrix(b), matrix(b))))));
}
static void relu_of_two_dots(tn_builder *b) {
    tn_value x = dot(b, matrix(b), matrix(b));
    out(b, relu(b, tn_b_add(b, x, dot(b, matrix(b), matrix(b)))));
}
static void gated_mlp(tn_builder *b) {
    tn_value x = matrix(b), gate = relu(b, dot(b, x, matrix(b))), up = dot(b, x, matrix(b));
    out(b, dot(b, tn_b_mul(b, gate, up), matrix(b)));
}
static void exp_attention(tn_builder *b) {
    int axis = 1;
    tn_value e = tn_b_exp(b, dot(b, matrix(b), transposed(b, matrix(b))));
    out(b, dot(b, tn_b_div(b, e, tn_b_sum(b, e, &axis, 1, true)), matrix(b)));
}
static void linear_bias_relu(tn_builder *b) {
    out(b, relu(b, tn_b_add(b, dot(b, matrix(b), matrix(b)), vector(b))));
}

/* ---- folds of rows on the way into products ------------------------------------------------- */

static tn_value normed(tn_builder *b, tn_value x) {
    return tn_b_layer_norm(b, x, 1, vector(b), vector(b), 1e-5, NULL);
}
static void layer_norm_dot(tn_builder *b) {
    out(b, dot(b, normed(b, matrix(b)), matrix(b)));
}
static void rms_norm_linear_gelu(tn_builder *b) {
    tn_value x = tn_b_rms_norm(b, matrix(b), 1, vector(b), 1e-5);
    out(b, tn_b_gelu(b, tn_b_add(b, dot(b, x, matrix(b)), vector(b))));
}
static void softmax_dot(tn_builder *b) {
    out(b, dot(b, tn_b_softmax(b, matrix(b), 1), matrix(b)));
}
/* What a transformer does between its attentions. */
static void norm_mlp_residual(tn_builder *b) {
    tn_value x = matrix(b), hidden = relu(b, dot(b, normed(b, x), matrix(b)));
    out(b, tn_b_add(b, dot(b, hidden, matrix(b)), x));
}
static void residual_norm_dot(tn_builder *b) { /* the sum is stored: its norm needs whole rows */
    tn_value x = tn_b_add(b, dot(b, matrix(b), matrix(b)), matrix(b));
    out(b, x);
    out(b, dot(b, normed(b, x), matrix(b)));
}
static void
norm_three_dots(tn_builder *b) { /* each makes the rows anew, which beats storing them */
    tn_value x = normed(b, matrix(b));
    for (int i = 0; i < 3; i++) out(b, dot(b, x, matrix(b)));
}

/* ---- without contractions ------------------------------------------------------------------- */

static void pointwise_chain(tn_builder *b) {
    out(b, tn_b_exp(b, tn_b_neg(b, tn_b_tanh(b, tn_b_abs(b, matrix(b))))));
}
static void pointwise_tree(tn_builder *b) {
    tn_value x = matrix(b), s = tn_b_add(b, x, matrix(b)), d = tn_b_sub(b, matrix(b), matrix(b));
    tn_value q = tn_b_div(b, s, tn_b_add_scalar(b, tn_b_mul(b, d, d), 1));
    out(b, tn_b_add(b, tn_b_mul_scalar(b, q, 0.5), x));
}
static void softmax(tn_builder *b) {
    out(b, tn_b_softmax(b, matrix(b), 1));
}
static void log_softmax(tn_builder *b) {
    out(b, tn_b_log_softmax(b, matrix(b), 1));
}
static void layer_norm(tn_builder *b) {
    out(b, tn_b_layer_norm(b, matrix(b), 1, vector(b), vector(b), 1e-5, NULL));
}
static void rms_norm(tn_builder *b) {
    out(b, tn_b_rms_norm(b, matrix(b), 1, vector(b), 1e-5));
}
static void cross_entropy(tn_builder *b) {
    tn_shape s = {.rank = 1, .dim = {N}};
    tn_value x = matrix(b), label = tn_b_input(b, "label", TN_i64, &s);
    tn_class_loss o = {.target = label, .weight = TN_NO_VALUE};
    out(b, tn_b_cross_entropy(b, x, &o, NULL));
}
static void batch_norm_training(tn_builder *b) {
    tn_value x = matrix(b), scale = vector(b), bias = vector(b);
    int axis = 0;
    tn_value d = tn_b_sub(b, x, tn_b_mean(b, x, &axis, 1, true));
    tn_value var = tn_b_mean(b, tn_b_mul(b, d, d), &axis, 1, true);
    tn_value y = tn_b_mul(b, d, tn_b_rsqrt(b, tn_b_add_scalar(b, var, 1e-5)));
    out(b, tn_b_add(b, tn_b_mul(b, y, scale), bias));
}
static void exp_then_sum_and_max(tn_builder *b) {
    int axis = 1;
    tn_value e = tn_b_exp(b, matrix(b));
    out(b, sum_over(b, e, 1));
    out(b, tn_b_reduce(b, TN_REDUCE_max, e, &axis, 1, false));
}
static void sibling_reductions(tn_builder *b) {
    int axis = 1;
    tn_value x = matrix(b);
    out(b, sum_over(b, x, 1));
    out(b, tn_b_reduce(b, TN_REDUCE_max, x, &axis, 1, false));
}
static void adam_step(tn_builder *b) {
    tn_value w = matrix(b), g = matrix(b), m = matrix(b), v = matrix(b);
    m = tn_b_add(b, tn_b_mul_scalar(b, m, 0.9), tn_b_mul_scalar(b, g, 0.1));
    v = tn_b_add(b, tn_b_mul_scalar(b, tn_b_abs(b, v), 0.999),
                 tn_b_mul_scalar(b, tn_b_mul(b, g, g), 0.001));
    tn_value step = tn_b_div(b, m, tn_b_add_scalar(b, tn_b_sqrt(b, v), 1e-8));
    out(b, m);
    out(b, v);
    out(b, tn_b_sub(b, w, tn_b_mul_scalar(b, step, 1e-3)));
}
static void two_permutes(tn_builder *b) {
    tn_shape s = {.rank = 4, .dim = {N / 3, 16, 4, 4}};
    tn_value x = tn_b_input(b, "x", TN_f32, &s);
    out(b, tn_b_swap(b, tn_b_swap(b, x, 3, 2), 2, 1));
}

/* ---- the table ------------------------------------------------------------------------------ */

typedef struct fusion_case {
    const char *name;
    build_graph *build;
    uint32_t wanted, now;             /* kernels */
    uint32_t wanted_moves, moves_now; /* transfers; 0: not counted */
} fusion_case;

#define CASE(build, ...)                                                                           \
    { #build, build, __VA_ARGS__ }
static fusion_case cases[] = {
    CASE(mlp_relu, 5, 5, 17, 17),
    CASE(mlp_tanh, 5, 5, 0, 0),
    CASE(mlp_forward, 2, 2, 0, 0),
    CASE(relu_dot_relu, 1, 1, 0, 0),
    CASE(pointwise_chain, 1, 1, 0, 0),
    CASE(dot_relu_two_dots, 3, 3, 0, 0),
    CASE(dot_relu_two_dots_first_is_output, 3, 3, 0, 0),
    CASE(dot_row_sum_exp, 2, 1, 0, 0),
    CASE(dot_relu_permute_exp, 2, 2, 0, 0),
    CASE(relu_of_two_dots, 2, 1, 5, 5),
    CASE(gated_mlp, 2, 2, 7, 7),
    CASE(exp_attention, 2, 2, 0, 0),
    CASE(layer_norm_dot, 1, 1, 3, 3),
    CASE(rms_norm_linear_gelu, 1, 1, 3, 3),
    CASE(softmax_dot, 1, 1, 3, 3),
    CASE(norm_mlp_residual, 2, 2, 7, 7),
    CASE(residual_norm_dot, 2, 2, 7, 7),
    CASE(norm_three_dots, 1, 3, 9, 9),
    CASE(pointwise_tree, 1, 1, 0, 0),
    CASE(linear_bias_relu, 1, 1, 0, 0),
    CASE(softmax, 1, 1, 0, 0),
    CASE(log_softmax, 1, 1, 0, 0),
    CASE(layer_norm, 1, 1, 0, 0),
    CASE(rms_norm, 1, 1, 0, 0),
    CASE(cross_entropy, 2, 2, 0, 0),
    CASE(batch_norm_training, 2, 1, 0, 0),
    CASE(exp_then_sum_and_max, 1, 1, 0, 0),
    CASE(sibling_reductions, 1, 1, 0, 0),
    CASE(adam_step, 1, 1, 0, 0),
    CASE(two_permutes, 1, 1, 0, 0),
    CASE(gru_step, 13, 9, 49, 39),
};

/* Buffers of N² elements that the kernels read or write, each once per kernel. */
static uint32_t transfers(const tn_program *p) {
    uint32_t count = 0;
    for (uint32_t s = 0; s < p->blocks.data[0].steps.len; s++) {
        const tn_prog_step *step = &p->blocks.data[0].steps.data[s];
        for (uint32_t i = 0; i < step->buffer_count; i++) {
            bool again = false;
            for (uint32_t j = 0; j < i; j++) again |= step->buffers[j] == step->buffers[i];
            count += !again && p->buffers.data[step->buffers[i]].elements == N * N;
        }
    }
    return count;
}

static void test_fusion__makes_the_listed_kernels(void **state) {
    const fusion_case *f = *state;
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    N = SMALL;
    plan_case *small = plan_case_of(&arena, f->build, NULL, f->name);
    if (!plan_interpret(small)) fail_msg("%s", small->why);

    N = LARGE;
    tn_error err = TN_ERROR_INIT;
    tn_dims dims;
    tn_dims_init(&dims, &arena);
    tn_graph *g = tn_graph_new(&arena, &dims);
    tn_builder b = tn_builder_of(g, &err);
    f->build(&b);
    tn_program program;
    tn_plan_options options = {.target = tn_target_native()};
    assert_int_equal(tn_b_finish(&b), TN_OK);
    assert_int_equal(tn_plan(g, &options, &arena, &program, &err), TN_OK);
    uint32_t kernels = program.blocks.data[0].steps.len, moves = transfers(&program);
    if (kernels != f->now || (f->wanted_moves && moves != f->moves_now))
        fail_msg("%s: %u kernels with %u transfers; listed are %u with %u", f->name, kernels, moves,
                 f->now, f->moves_now);
    tn_arena_deinit(&arena);
}

int main(void) {
    struct CMUnitTest tests[TN_COUNT(cases)];
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        tests[i] = (struct CMUnitTest){cases[i].name, test_fusion__makes_the_listed_kernels, NULL,
                                       NULL, &cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
