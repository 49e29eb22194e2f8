#include "unit/ops/op_test.h"

#include "ops/compose.h"

static void expect_close(const tn_array *have, const double *want, int64_t count,
                         double tolerance) {
    assert_int_equal(tn_array_count(have), count);
    for (int64_t i = 0; i < count; i++) {
        double x = op_number(have, i);
        if (!(fabs(x - want[i]) <= tolerance * fmax(1, fabs(want[i]))))
            fail_msg("element %lld is %.12g, expected %.12g", (long long)i, x, want[i]);
    }
}
#define EXPECT_CLOSE(array, ...)                                                                   \
    expect_close((array), (double[]){__VA_ARGS__},                                                 \
                 sizeof((double[]){__VA_ARGS__}) / sizeof(double), 1e-12)

/* ---- pointwise ------------------------------------------------------------------------------ */

static void test_activations__follow_their_formulas(void **state) {
    op_test *t = *state;
    tn_builder *b = &t->b;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(3));
    double v[] = {-2, 0.5, 3};
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), v);
    tn_value layer[] = {tn_b_relu(b, x),
                        tn_b_leaky_relu(b, x, 0.1),
                        tn_b_elu(b, x, 2),
                        tn_b_celu(b, x, 2),
                        tn_b_sigmoid(b, x),
                        tn_b_hard_swish(b, x),
                        tn_b_silu(b, x),
                        tn_b_mish(b, x),
                        tn_b_softplus(b, x),
                        tn_b_softsign(b, x),
                        tn_b_gelu(b, x),
                        tn_b_gelu_tanh(b, x),
                        tn_b_shrink(b, x, 0.25, 1),
                        tn_b_thresholded_relu(b, x, 1)};
    op_test_ok(t, b->status);
    for (int i = 0; i < 3; i++) {
        double a = v[i], s = 1 / (1 + exp(-a)), sp = log1p(exp(a));
        double want[] = {fmax(a, 0),
                         a < 0 ? 0.1 * a : a,
                         a < 0 ? 2 * expm1(a) : a,
                         fmax(0, a) + fmin(0, 2 * expm1(a / 2)),
                         s,
                         a * fmax(0, fmin(1, a / 6 + 0.5)),
                         a * s,
                         a * tanh(sp),
                         sp,
                         a / (1 + fabs(a)),
                         0.5 * a * (1 + erf(a / sqrt(2))),
                         0.5 * a * (1 + tanh(sqrt(2 / M_PI) * (a + 0.044715 * a * a * a))),
                         a < -1  ? a + 0.25
                         : a > 1 ? a - 0.25
                                 : 0,
                         a > 1 ? a : 0};
        for (size_t k = 0; k < TN_COUNT(layer); k++) {
            tn_array out = op_eval(t, layer[k], &in);
            if (fabs(op_number(&out, i) - want[k]) > 1e-14)
                fail_msg("layer %zu at %g is %.17g, expected %.17g", k, a, op_number(&out, i),
                         want[k]);
        }
    }
}

static void test_activations__survive_large_inputs(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){-1000, 1000});
    tn_array out = op_eval(t, tn_b_sigmoid(&t->b, x), &in);
    EXPECT_NUMBERS(&out, 0, 1);
    out = op_eval(t, tn_b_softplus(&t->b, x), &in);
    EXPECT_NUMBERS(&out, 0, 1000);
}

static void test_floor_mod__has_the_divisors_sign(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i32, SHAPE_OF(4)), y = op_input(t, TN_i32, SHAPE_OF(4));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){7, -7, 7, -6}),
                     op_numbers(t, tn_graph_type(t->g, y), (double[]){3, 3, -3, 3})};
    tn_array out = op_eval(t, tn_b_floor_mod(&t->b, x, y), in);
    EXPECT_NUMBERS(&out, 1, 2, -2, 0);
}

static void test_one_hot__puts_the_axis_anywhere(void **state) {
    op_test *t = *state;
    tn_value index = op_input(t, TN_i64, SHAPE_OF(3));
    tn_array in = op_numbers(t, tn_graph_type(t->g, index), (double[]){1, -1, 5});
    tn_value on = tn_b_scalar(&t->b, TN_f32, 5), off = tn_b_scalar(&t->b, TN_f32, 2);
    tn_array out = op_eval(t, tn_b_one_hot(&t->b, index, 2, -1, on, off), &in);
    EXPECT_NUMBERS(&out, 2, 5, 2, 5, 2, 2);
    out = op_eval(t, tn_b_one_hot(&t->b, index, 2, 0, on, off), &in);
    EXPECT_NUMBERS(&out, 2, 2, 2, 5, 5, 2);
}

/* ---- norms ---------------------------------------------------------------------------------- */

static void test_softmax__sums_to_one(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(2, 2));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1000, 1001, 0, 0});
    double p = 1 / (1 + exp(1));
    tn_array out = op_eval(t, tn_b_softmax(&t->b, x, -1), &in);
    EXPECT_CLOSE(&out, p, 1 - p, 0.5, 0.5);
    out = op_eval(t, tn_b_log_softmax(&t->b, x, 1), &in);
    EXPECT_CLOSE(&out, log(p), log(1 - p), -log(2), -log(2));
    out = op_eval(t, tn_b_log_sum_exp(&t->b, x, (int[]){1}, 1, false), &in);
    EXPECT_CLOSE(&out, 1000 + log(1 + exp(1)), log(2));
}

static void test_norms__give_mean_zero_and_variance_one(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 2, 2)), s = op_input(t, TN_f64, SHAPE_OF(2));
    tn_value o = op_input(t, TN_f64, SHAPE_OF(2)), stats[2];
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 3, 2, 10}),
                     op_numbers(t, tn_graph_type(t->g, s), (double[]){2, 3}),
                     op_numbers(t, tn_graph_type(t->g, o), (double[]){100, 200})};
    tn_array out = op_eval(t, tn_b_layer_norm(&t->b, x, -1, s, o, 0, stats), in);
    EXPECT_CLOSE(&out, 98, 203, 98, 203);
    out = op_eval(t, stats[0], in);
    EXPECT_CLOSE(&out, 2, 6);
    out = op_eval(t, stats[1], in);
    EXPECT_CLOSE(&out, 1, 0.25);
    out = op_eval(t, tn_b_instance_norm(&t->b, x, s, o, 0), in);
    EXPECT_CLOSE(&out, 98, 102, 197, 203);
    out = op_eval(t, tn_b_group_norm(&t->b, x, 2, s, o, 0), in);
    EXPECT_CLOSE(&out, 98, 102, 197, 203);
    out = op_eval(t, tn_b_rms_norm(&t->b, x, -1, s, 0), in);
    EXPECT_CLOSE(&out, 2 / sqrt(5), 9 / sqrt(5), 4 / sqrt(52), 30 / sqrt(52));
    out = op_eval(t, tn_b_lp_norm(&t->b, x, 2, 1), in);
    EXPECT_CLOSE(&out, 0.25, 0.75, 2.0 / 12, 10.0 / 12);
}

static void test_batch_norm__uses_and_updates_statistics(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(2, 1, 2)), v[4], running[2];
    tn_array in[5] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 3, 5, 7})};
    for (int i = 0; i < 4; i++) {
        v[i] = op_input(t, TN_f64, SHAPE_OF(1));
        in[i + 1] =
            op_numbers(t, tn_graph_type(t->g, v[i]), (double[]){(double[]){2, 10, 1, 4}[i]});
    }
    tn_batch_norm o = {v[0], v[1], v[2], v[3], 0, 0.9, false};
    tn_array out = op_eval(t, tn_b_batch_norm(&t->b, x, &o), in);
    EXPECT_CLOSE(&out, 10, 12, 14, 16);
    out = op_eval(t, tn_b_batch_norm_training(&t->b, x, &o, running), in);
    double unit = 2 / sqrt(5);
    EXPECT_CLOSE(&out, 10 - 3 * unit, 10 - unit, 10 + unit, 10 + 3 * unit);
    out = op_eval(t, running[0], in);
    EXPECT_CLOSE(&out, 0.9 * 1 + 0.1 * 4);
    out = op_eval(t, running[1], in);
    EXPECT_CLOSE(&out, 0.9 * 4 + 0.1 * 5);
}

static void test_lrn__sums_over_channels(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 4));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4});
    tn_array out = op_eval(t, tn_b_lrn(&t->b, x, 3, 0.3, 2, 1), &in);
    EXPECT_CLOSE(&out, 1 / pow(1.5, 2), 2 / pow(2.4, 2), 3 / pow(3.9, 2), 4 / pow(3.5, 2));
}

/* ---- attention ------------------------------------------------------------------------------ */

enum { N = 2, HQ = 4, HK = 2, S = 3, L = 5, D = 4 };

static double at4(const tn_array *a, int64_t i, int64_t j, int64_t k, int64_t l) {
    return op_number(a, ((i * a->dim[1] + j) * a->dim[2] + k) * a->dim[3] + l);
}

static void check_attention(const tn_array *in, const tn_array *out, bool causal) {
    for (int n = 0; n < N; n++)
        for (int h = 0; h < HQ; h++)
            for (int i = 0; i < S; i++) {
                double p[L], sum = 0;
                int g = h / (HQ / HK);
                for (int j = 0; j < L; j++) {
                    double score = 0;
                    for (int d = 0; d < D; d++)
                        score += at4(&in[0], n, h, i, d) * at4(&in[1], n, g, j, d);
                    score = 3 * tanh(score / sqrt(D) / 3) + op_number(&in[3], i * L + j);
                    sum += p[j] = causal && j > i + 2 ? 0 : exp(score);
                }
                for (int d = 0; d < D; d++) {
                    double want = 0;
                    for (int j = 0; j < L; j++) want += p[j] / sum * at4(&in[2], n, g, j, d);
                    if (fabs(at4(out, n, h, i, d) - want) > 1e-12)
                        fail_msg("attention gives %.15g, expected %.15g", at4(out, n, h, i, d),
                                 want);
                }
            }
}

static void test_attention__shares_key_heads(void **state) {
    op_test *t = *state;
    tn_value in[] = {
        op_input(t, TN_f64, SHAPE_OF(N, HQ, S, D)), op_input(t, TN_f64, SHAPE_OF(N, HK, L, D)),
        op_input(t, TN_f64, SHAPE_OF(N, HK, L, D)), op_input(t, TN_f64, SHAPE_OF(S, L))};
    tn_array values[4];
    for (int i = 0; i < 4; i++) values[i] = op_uniform(t, tn_graph_type(t->g, in[i]), -1, 1);
    for (int causal = 0; causal < 2; causal++) {
        tn_attention o = {.q = in[0],
                          .k = in[1],
                          .v = in[2],
                          .mask = in[3],
                          .causal = causal,
                          .causal_offset = 2,
                          .softcap = 3};
        tn_array out = op_eval(t, tn_b_attention(&t->b, &o), values);
        check_attention(values, &out, causal);
    }
    tn_attention wrong = {.q = in[1], .k = in[0], .v = in[0], .mask = TN_NO_VALUE};
    tn_b_attention(&t->b, &wrong);
    op_test_refused(t, TN_INVALID, "4 key heads do not divide 2 query heads");
}

static void test_rotary__turns_pairs(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(5)), c = op_input(t, TN_f64, SHAPE_OF(2));
    tn_value s = op_input(t, TN_f64, SHAPE_OF(2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4, 5}),
                     op_numbers(t, tn_graph_type(t->g, c), (double[]){0, 10}),
                     op_numbers(t, tn_graph_type(t->g, s), (double[]){1, 100})};
    tn_array out = op_eval(t, tn_b_rotary(&t->b, x, c, s, false), in);
    EXPECT_NUMBERS(&out, -3, 20 - 400, 1, 200 + 40, 5);
    out = op_eval(t, tn_b_rotary(&t->b, x, c, s, true), in);
    EXPECT_NUMBERS(&out, -2, 1, 30 - 400, 300 + 40, 5);
}

/* ---- loss, index ---------------------------------------------------------------------------- */

static void test_nll_loss__weighs_and_ignores(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(3, 2)), target = op_input(t, TN_i64, SHAPE_OF(3));
    tn_value weight = op_input(t, TN_f64, SHAPE_OF(2));
    tn_array in[] = {
        op_numbers(t, tn_graph_type(t->g, x), (double[]){-1, -2, -3, -4, -5, -INFINITY}),
        op_numbers(t, tn_graph_type(t->g, target), (double[]){1, 0, -100}),
        op_numbers(t, tn_graph_type(t->g, weight), (double[]){1, 3})};
    tn_class_loss o = {.target = target, .weight = weight, .has_ignore = true, .ignore = -100};
    tn_array out = op_eval(t, tn_b_nll_loss(&t->b, x, &o), in);
    EXPECT_CLOSE(&out, (3 * 2 + 1 * 3) / 4.0);
    o.reduction = TN_REDUCTION_NONE;
    out = op_eval(t, tn_b_nll_loss(&t->b, x, &o), in);
    EXPECT_CLOSE(&out, 6, 3, 0);
    o = (tn_class_loss){.target = target, .weight = TN_NO_VALUE, .reduction = TN_REDUCTION_SUM};
    tn_array plain[] = {in[0], op_numbers(t, tn_graph_type(t->g, target), (double[]){0, 0, 0}),
                        in[2]};
    out = op_eval(t, tn_b_nll_loss(&t->b, x, &o), plain);
    EXPECT_CLOSE(&out, 9);
}

static void test_elements__are_gathered_and_scattered(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(2, 3)), index = op_input(t, TN_i64, SHAPE_OF(1, 2));
    tn_value updates = op_input(t, TN_f32, SHAPE_OF(1, 2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){0, 1, 2, 3, 4, 5}),
                     op_numbers(t, tn_graph_type(t->g, index), (double[]){1, 0}),
                     op_numbers(t, tn_graph_type(t->g, updates), (double[]){10, 20})};
    tn_array out = op_eval(t, tn_b_gather_elements(&t->b, x, index, 0, TN_INDEX_error), in);
    EXPECT_NUMBERS(&out, 3, 1);
    out = op_eval(t, tn_b_gather_elements(&t->b, x, index, 1, TN_INDEX_error), in);
    EXPECT_NUMBERS(&out, 1, 0);
    tn_value y = tn_b_scatter_elements(&t->b, x, index, updates, 0, TN_INDEX_error, TN_COMBINE_add);
    out = op_eval(t, y, in);
    EXPECT_NUMBERS(&out, 0, 21, 2, 13, 4, 5);
    y = tn_b_scatter_nd(
        &t->b, x, index,
        tn_b_reshape_to(&t->b, tn_b_slice_axis(&t->b, updates, 1, 0, 1, 1), 1, (tn_dim[]){1}),
        TN_INDEX_error, TN_COMBINE_set);
    out = op_eval(t, y, in);
    EXPECT_NUMBERS(&out, 0, 1, 2, 10, 4, 5);
    out = op_eval(t, tn_b_gather_nd(&t->b, x, index, 0, TN_INDEX_error), in);
    EXPECT_NUMBERS(&out, 3);
}

static void test_blocks__go_to_space_and_back(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_i32, SHAPE_OF(2, 8, 2, 3));
    tn_array in = op_any(t, tn_graph_type(t->g, x));
    tn_array out =
        op_eval(t, tn_b_space_to_depth(&t->b, tn_b_depth_to_space(&t->b, x, 2, false), 2), &in);
    op_expect_equal(&out, &in, "depth_to_space and back");
    tn_shape eight = SHAPE_OF(8);
    tn_value small =
        tn_b_reshape_to(&t->b, tn_b_iota(&t->b, TN_i32, &eight, 0), 4, (tn_dim[]){1, 8, 1, 1});
    out = op_eval(t, tn_b_depth_to_space(&t->b, small, 2, true), &in);
    EXPECT_NUMBERS(&out, 0, 1, 2, 3, 4, 5, 6, 7);
    out = op_eval(t, tn_b_depth_to_space(&t->b, small, 2, false), &in);
    EXPECT_NUMBERS(&out, 0, 2, 4, 6, 1, 3, 5, 7);
}

static void test_triangle__keeps_one_side(void **state) {
    op_test *t = *state;
    tn_shape shape = SHAPE_OF(2, 3);
    tn_value x = tn_b_full(&t->b, TN_f32, &shape, 1);
    tn_value k = tn_b_scalar_int(&t->b, TN_i64, 0);
    tn_array out = op_eval(t, tn_b_triangle(&t->b, x, true, k), NULL);
    EXPECT_NUMBERS(&out, 1, 0, 0, 1, 1, 0);
    out = op_eval(t, tn_b_triangle(&t->b, x, false, k), NULL);
    EXPECT_NUMBERS(&out, 1, 1, 1, 0, 1, 1);
    out = op_eval(t, tn_b_eye(&t->b, TN_i32, 2, 3, 1), NULL);
    EXPECT_NUMBERS(&out, 0, 1, 0, 0, 0, 1);
}

static void test_einsum__sums_named_axes(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(2, 2)), y = op_input(t, TN_f64, SHAPE_OF(2, 2));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4}),
                     op_numbers(t, tn_graph_type(t->g, y), (double[]){5, 6, 7, 8})};
    tn_value xy[] = {x, y};
    const struct {
        const char *equation;
        int n;
        int64_t count;
        double want[8];
    } cases[] = {
        {"ij,jk->ik", 2, 4, {19, 22, 43, 50}},
        {"ij,jk", 2, 4, {19, 22, 43, 50}},
        {"ij,ij->", 2, 1, {70}},
        {"ij,ij->ji", 2, 4, {5, 21, 12, 32}},
        {"ii", 1, 1, {5}},
        {"ii->i", 1, 2, {1, 4}},
        {"ij->ji", 1, 4, {1, 3, 2, 4}},
        {"i...->...", 1, 2, {4, 6}},
        {"...i, ...i -> ...", 2, 2, {17, 53}},
        {"ij,kl->jl", 2, 4, {48, 56, 72, 84}},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_array out = op_eval(t, tn_b_einsum(&t->b, cases[i].equation, xy, cases[i].n), in);
        expect_close(&out, cases[i].want, cases[i].count, 0);
    }
    tn_b_einsum(&t->b, "ijk,jk->i", xy, 2);
    op_test_refused(t, TN_INVALID, "operand 0 has 2 axes; the equation names 3");
    tn_b_einsum(&t->b, "ij->k", xy, 1);
    op_test_refused(t, TN_INVALID, "'k' of the result is in no operand");
    tn_b_einsum(&t->b, "ij,jk->ik", xy, 1);
    op_test_refused(t, TN_INVALID, "more operands");
}

/* ---- resize, signals ------------------------------------------------------------------------ */

static void test_resize__interpolates(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 4));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4});
    tn_resize_options o = {.mode = TN_RESIZE_LINEAR, .grid = TN_GRID_HALF_PIXEL};
    tn_array out = op_eval(t, tn_b_resize_axis(&t->b, x, 1, 8, 2, NULL, &o), &in);
    EXPECT_CLOSE(&out, 1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4);
    o.grid = TN_GRID_ALIGN_CORNERS;
    out = op_eval(t, tn_b_resize_axis(&t->b, x, 1, 7, 0, NULL, &o), &in);
    EXPECT_CLOSE(&out, 1, 1.5, 2, 2.5, 3, 3.5, 4);
    o = (tn_resize_options){
        .mode = TN_RESIZE_NEAREST, .grid = TN_GRID_ASYMMETRIC, .round = TN_ROUND_FLOOR};
    out = op_eval(t, tn_b_resize_axis(&t->b, x, 1, 8, 2, NULL, &o), &in);
    EXPECT_CLOSE(&out, 1, 1, 2, 2, 3, 3, 4, 4);
    /* the row and column factor of ONNX's node test resize_downsample_scales_cubic */
    o = (tn_resize_options){.mode = TN_RESIZE_CUBIC, .grid = TN_GRID_HALF_PIXEL};
    out = op_eval(t, tn_b_resize_axis(&t->b, x, 1, 3, 0.8, NULL, &o), &in);
    expect_close(&out, (double[]){1.094238281, 2.404296875, 3.705566406}, 3, 1e-8);
    /* with antialiasing, halving averages over the stretched triangle */
    o = (tn_resize_options){
        .mode = TN_RESIZE_LINEAR, .grid = TN_GRID_HALF_PIXEL, .antialias = true};
    out = op_eval(t, tn_b_resize_axis(&t->b, x, 1, 2, 0.5, NULL, &o), &in);
    EXPECT_CLOSE(&out, (1 * 0.25 + 1 * 0.75 + 2 * 0.75 + 3 * 0.25) / 2,
                 (2 * 0.25 + 3 * 0.75 + 4 * 0.75 + 4 * 0.25) / 2);
}

/* A size that a hostile file can ask for with a few bytes must not make large tables. */
static void test_resize__refuses_huge_tables(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 4));
    tn_resize_options o = {.mode = TN_RESIZE_CUBIC};
    assert_int_equal(tn_b_resize_axis(&t->b, x, 1, 1 << 21, 0, NULL, &o), TN_NO_VALUE);
    assert_int_equal(t->err.status, TN_UNSUPPORTED);
    assert_non_null(strstr(t->err.message, "axis 1 to size 2097152 with 4 weights each"));
}

static void test_window__is_symmetric_or_periodic(void **state) {
    op_test *t = *state;
    tn_array out = op_eval(t, tn_b_window(&t->b, TN_WINDOW_HANN, 4, true, TN_f64), NULL);
    EXPECT_CLOSE(&out, 0, 0.5, 1, 0.5);
    out = op_eval(t, tn_b_window(&t->b, TN_WINDOW_HANN, 3, false, TN_f64), NULL);
    EXPECT_CLOSE(&out, 0, 1, 0);
}

static void test_dft__inverts_itself(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(2, 5, 3, 2));
    tn_array in = op_uniform(t, tn_graph_type(t->g, x), -1, 1);
    tn_dft o = {.axis = 1};
    tn_value y = tn_b_dft(&t->b, x, &o);
    o.inverse = true;
    tn_array out = op_eval(t, tn_b_dft(&t->b, y, &o), &in);
    expect_close(&out, in.data, tn_array_count(&in), 1e-12);
    tn_value real = tn_b_slice_axis(&t->b, x, 3, 0, 1, 1);
    o = (tn_dft){.axis = 1, .onesided = true, .length = 2};
    out = op_eval(t, tn_b_dft(&t->b, real, &o), &in);
    assert_int_equal(out.dim[1], 2);
    double first = at4(&in, 0, 0, 0, 0), second = at4(&in, 0, 1, 0, 0);
    assert_true(fabs(at4(&out, 0, 0, 0, 0) - (first + second)) < 1e-12);
    assert_true(fabs(at4(&out, 0, 1, 0, 0) - (first - second)) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_activations__follow_their_formulas),
        OP_TEST(test_activations__survive_large_inputs),
        OP_TEST(test_floor_mod__has_the_divisors_sign),
        OP_TEST(test_one_hot__puts_the_axis_anywhere),
        OP_TEST(test_softmax__sums_to_one),
        OP_TEST(test_norms__give_mean_zero_and_variance_one),
        OP_TEST(test_batch_norm__uses_and_updates_statistics),
        OP_TEST(test_lrn__sums_over_channels),
        OP_TEST(test_attention__shares_key_heads),
        OP_TEST(test_rotary__turns_pairs),
        OP_TEST(test_nll_loss__weighs_and_ignores),
        OP_TEST(test_elements__are_gathered_and_scattered),
        OP_TEST(test_blocks__go_to_space_and_back),
        OP_TEST(test_triangle__keeps_one_side),
        OP_TEST(test_einsum__sums_named_axes),
        OP_TEST(test_resize__interpolates),
        OP_TEST(test_resize__refuses_huge_tables),
        OP_TEST(test_window__is_symmetric_or_periodic),
        OP_TEST(test_dft__inverts_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
