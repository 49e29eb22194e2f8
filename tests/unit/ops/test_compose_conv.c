#include "unit/ops/op_test.h"

#include "ops/compose.h"

static void expect_close(const tn_array *have, const double *want, int64_t count) {
    assert_int_equal(tn_array_count(have), count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(op_number(have, i) - want[i]) <= 1e-9 * fmax(1, fabs(want[i]))))
            fail_msg("element %lld is %.12g, expected %.12g", (long long)i, op_number(have, i),
                     want[i]);
}

enum { N = 2, C = 4, H = 5, W = 6, O = 6, K = 3 };

static double at4(const tn_array *a, int64_t i, int64_t j, int64_t k, int64_t l) {
    return op_number(a, ((i * a->dim[1] + j) * a->dim[2] + k) * a->dim[3] + l);
}

/* Channels first, straight from the definition. */
static double conv_at(const tn_array *x, const tn_array *w, const tn_conv_options *o,
                      const int64_t *to) {
    int64_t groups = o->groups ? o->groups : 1, per_group = x->dim[1] / groups;
    int64_t group = to[1] / (w->dim[0] / groups);
    double sum = 0;
    for (int64_t c = 0; c < per_group; c++)
        for (int64_t p = 0; p < w->dim[2]; p++)
            for (int64_t q = 0; q < w->dim[3]; q++) {
                int64_t i = to[2] * o->stride[0] + p * o->dilation[0] - o->pad_lo[0];
                int64_t j = to[3] * o->stride[1] + q * o->dilation[1] - o->pad_lo[1];
                if (i < 0 || j < 0 || i >= x->dim[2] || j >= x->dim[3]) continue;
                sum += at4(x, to[0], group * per_group + c, i, j) * at4(w, to[1], c, p, q);
            }
    return sum;
}

static void test_conv__follows_the_definition_with_groups(void **state) {
    (void)state;
    for (int64_t groups = 1; groups <= 2; groups++) {
        op_test t;
        op_test_init(&t);
        tn_conv_options o = {.stride = {2, 1},
                             .dilation = {1, 2},
                             .pad_lo = {1, 2},
                             .pad_hi = {0, 1},
                             .groups = groups};
        tn_value x = op_input(&t, TN_f64, SHAPE_OF(N, C, H, W));
        tn_value w = op_input(&t, TN_f64, SHAPE_OF(O, C / groups, K, K));
        tn_value bias = op_input(&t, TN_f64, SHAPE_OF(O));
        tn_value y = tn_b_conv(&t.b, x, w, bias, &o);
        op_test_ok(&t, t.b.status);
        tn_array in[3];
        for (uint32_t i = 0; i < 3; i++)
            in[i] = op_small(&t, tn_graph_type(t.g, t.g->inputs.data[i]));
        tn_array out = op_eval(&t, y, in);
        double want[1000];
        int64_t to[4] = {0}, count = 0;
        do want[count++] = conv_at(&in[0], &in[1], &o, to) + op_number(&in[2], to[1]);
        while (tn_index_next(to, 4, out.dim));
        expect_close(&out, want, count);
        op_test_deinit(&t);
    }
}

/* Every element of x adds its kernel to the result. */
static void scatter_kernel(const tn_array *x, const tn_array *w, const tn_conv_options *o,
                           const tn_array *y, double *want) {
    int64_t groups = o->groups ? o->groups : 1, in_group = x->dim[1] / groups;
    int64_t from[4] = {0};
    do
        for (int64_t c = 0; c < w->dim[1]; c++)
            for (int64_t p = 0; p < w->dim[2]; p++)
                for (int64_t q = 0; q < w->dim[3]; q++) {
                    int64_t i = from[2] * o->stride[0] + p * o->dilation[0] - o->pad_lo[0];
                    int64_t j = from[3] * o->stride[1] + q * o->dilation[1] - o->pad_lo[1];
                    int64_t to[4] = {from[0], from[1] / in_group * w->dim[1] + c, i, j};
                    if (i < 0 || j < 0 || i >= y->dim[2] || j >= y->dim[3]) continue;
                    want[tn_index_offset(to, 4, y->dim)] +=
                        at4(x, from[0], from[1], from[2], from[3]) * at4(w, from[1], c, p, q);
                }
    while (tn_index_next(from, 4, x->dim));
}

static void test_conv_transpose__scatters_the_kernel(void **state) {
    (void)state;
    for (int64_t groups = 1; groups <= 2; groups++) {
        op_test t;
        op_test_init(&t);
        tn_conv_options o = {.stride = {2, 3},
                             .dilation = {2, 1},
                             .pad_lo = {1, 0},
                             .pad_hi = {2, 1},
                             .output_pad = {1, 0},
                             .groups = groups};
        tn_value x = op_input(&t, TN_f64, SHAPE_OF(N, C, 3, 2));
        tn_value w = op_input(&t, TN_f64, SHAPE_OF(C, O / groups, K, K));
        tn_value y = tn_b_conv_transpose(&t.b, x, w, TN_NO_VALUE, &o);
        op_test_ok(&t, t.b.status);
        tn_array in[] = {op_small(&t, tn_graph_type(t.g, x)), op_small(&t, tn_graph_type(t.g, w))};
        tn_array out = op_eval(&t, y, in);
        assert_int_equal(out.dim[2], 2 * 2 + 2 * 2 + 1 - 3 + 1);
        assert_int_equal(out.dim[3], 3 * 1 + 3 - 1);
        double want[1000] = {0};
        scatter_kernel(&in[0], &in[1], &o, &out, want);
        expect_close(&out, want, tn_array_count(&out));
        op_test_deinit(&t);
    }
}

static void test_conv__names_channels_that_do_not_fit(void **state) {
    op_test *t = *state;
    tn_conv_options o = {.groups = 1};
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 4, 8, 8)),
             w = op_input(t, TN_f32, SHAPE_OF(2, 3, 3, 3));
    tn_b_conv(&t->b, x, w, TN_NO_VALUE, &o);
    op_test_refused(t, TN_INVALID, "weight has 3 input channels, input has 4");
}

static void test_average_pool__counts_what_it_should(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 1, 4));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 2, 3, 4});
    tn_pool_options o = {.window = {3}, .stride = {2}, .pad_lo = {1}, .pad_hi = {0}};
    tn_array out = op_eval(t, tn_b_average_pool(&t->b, x, &o), &in);
    EXPECT_NUMBERS(&out, 1.5, 3);
    o.count_include_pad = true;
    out = op_eval(t, tn_b_average_pool(&t->b, x, &o), &in);
    EXPECT_NUMBERS(&out, 1, 3);
    o = (tn_pool_options){.window = {3}, .stride = {2}, .ceil_mode = true};
    out = op_eval(t, tn_b_average_pool(&t->b, x, &o), &in);
    EXPECT_NUMBERS(&out, 2, 3.5);
    o.pad_lo[0] = o.pad_hi[0] = 1;
    o.count_include_pad = true; /* windows of -1..1, 1..3, and 3..5, of which 5 is outside */
    out = op_eval(t, tn_b_average_pool(&t->b, x, &o), &in);
    EXPECT_NUMBERS(&out, 1, 3, 2);
}

static void test_max_pool__gives_values_and_positions(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 2, 2, 3)), positions;
    tn_array in =
        op_numbers(t, tn_graph_type(t->g, x), (double[]){1, 5, 2, 4, 3, 6, -1, -2, -3, -4, -5, -6});
    tn_pool_options o = {.window = {2, 2}, .pad_lo = {0, 1}};
    tn_value y = tn_b_max_pool(&t->b, x, &o, &positions);
    tn_array out = op_eval(t, y, &in), where = op_eval(t, positions, &in);
    EXPECT_NUMBERS(&out, 4, 5, 6, -1, -1, -2);
    EXPECT_NUMBERS(&where, 3, 1, 5, 6, 6, 7);
}

static void test_pools__reduce_all_of_a_channel(void **state) {
    op_test *t = *state;
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 2, 2, 1));
    tn_array in = op_numbers(t, tn_graph_type(t->g, x), (double[]){3, -4, 1, 1});
    tn_array out = op_eval(t, tn_b_global_lp_pool(&t->b, x, 2), &in);
    expect_close(&out, (double[]){5, sqrt(2)}, 2);
    out = op_eval(t, tn_b_global_average_pool(&t->b, x), &in);
    EXPECT_NUMBERS(&out, -0.5, 1);
    out = op_eval(t, tn_b_global_max_pool(&t->b, x), &in);
    EXPECT_NUMBERS(&out, 3, 1);
    tn_pool_options o = {.window = {2, 1}};
    out = op_eval(t, tn_b_lp_pool(&t->b, x, &o, 3), &in);
    expect_close(&out, (double[]){cbrt(27 + 64), cbrt(2)}, 2);
}

static void test_layers__keep_sizes_open(void **state) {
    op_test *t = *state;
    tn_dim n = op_test_symbol(t, "N", 2), h = op_test_symbol(t, "H", 7);
    tn_conv_options o = {.stride = {1, 2}, .pad_lo = {1, 1}, .pad_hi = {1, 1}, .groups = 2};
    tn_pool_options p = {.window = {3, 3}, .stride = {2, 2}, .pad_lo = {1, 1}, .pad_hi = {1, 1}};
    tn_value x = op_input(t, TN_f32, SHAPE_OF(n, 4, h, 6));
    tn_value w = op_input(t, TN_f32, SHAPE_OF(4, 2, 3, 3));
    tn_value y = tn_b_conv(&t->b, x, w, TN_NO_VALUE, &o);
    tn_value pooled = tn_b_average_pool(&t->b, y, &p),
             mean = tn_b_global_average_pool(&t->b, pooled);
    op_test_ok(t, t->b.status);
    assert_int_equal(tn_b_dim(&t->b, y, 2), h);
    tn_array in[] = {op_small(t, tn_graph_type(t->g, x)), op_small(t, tn_graph_type(t->g, w))};
    tn_array out = op_eval(t, mean, in);
    assert_int_equal(out.dim[0], 2);
    p.ceil_mode = true;
    tn_b_max_pool(&t->b, y, &p, NULL);
    op_test_refused(t, TN_UNSUPPORTED, "needs a constant size of axis 2");
}

static void test_linear__uses_the_transposed_weight(void **state) {
    op_test *t = *state;
    tn_value in[] = {op_input(t, TN_f32, SHAPE_OF(1, 2)), op_input(t, TN_f32, SHAPE_OF(3, 2)),
                     op_input(t, TN_f32, SHAPE_OF(3))};
    tn_array values[] = {op_numbers(t, tn_graph_type(t->g, in[0]), (double[]){1, 10}),
                         op_numbers(t, tn_graph_type(t->g, in[1]), (double[]){1, 2, 3, 4, 5, 6}),
                         op_numbers(t, tn_graph_type(t->g, in[2]), (double[]){100, 200, 300})};
    tn_array out = op_eval(t, tn_b_linear(&t->b, in[0], in[1], in[2]), values);
    EXPECT_NUMBERS(&out, 121, 243, 365);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_conv__follows_the_definition_with_groups),
        OP_TEST(test_conv_transpose__scatters_the_kernel),
        OP_TEST(test_conv__names_channels_that_do_not_fit),
        OP_TEST(test_average_pool__counts_what_it_should),
        OP_TEST(test_max_pool__gives_values_and_positions),
        OP_TEST(test_pools__reduce_all_of_a_channel),
        OP_TEST(test_layers__keep_sizes_open),
        OP_TEST(test_linear__uses_the_transposed_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
