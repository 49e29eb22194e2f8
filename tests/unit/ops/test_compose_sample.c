/* compose_sample.c and compose_region.c */
#include "unit/ops/op_test.h"

#include "ops/compose.h"

/* A line of four samples at places 0 … 3 as an image [1, 1, 4], sampled at `at` (absolute). */
static void expect_sample(op_test *t, const tn_grid_sample *o, double at, double want) {
    static const double line[] = {1, 2, 4, 8};
    t->g = tn_graph_new(&t->arena, &t->dims);
    t->b = tn_builder_of(t->g, &t->err);
    tn_value x = op_input(t, TN_f64, SHAPE_OF(1, 1, 4)),
             grid = op_input(t, TN_f64, SHAPE_OF(1, 1, 1));
    double place = o->align_corners ? at / 1.5 - 1 : (2 * at + 1) / 4 - 1;
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), line),
                     op_numbers(t, tn_graph_type(t->g, grid), &place)};
    tn_array y = op_eval(t, tn_b_grid_sample(&t->b, x, grid, o), in);
    assert_int_equal(y.rank, 3);
    if (fabs(op_number(&y, 0) - want) > 1e-12)
        fail_msg("at %g: %.17g, expected %g", at, op_number(&y, 0), want);
}

static void test_grid_sample__interpolates_and_pads(void **state) {
    op_test *t = *state;
    tn_grid_sample o = {.mode = TN_RESIZE_LINEAR};
    expect_sample(t, &o, 1.25, 2.5);
    expect_sample(t, &o, -0.5, 0.5);
    expect_sample(t, &o, 9, 0);
    o.padding = TN_PADDING_BORDER;
    expect_sample(t, &o, -3, 1);
    expect_sample(t, &o, 3.25, 8);
    o.padding = TN_PADDING_REFLECTION;
    expect_sample(t, &o, -1.75, 1.75);      /* mirrored at −0.5: 0.75 */
    expect_sample(t, &o, 4.5, 4 + 0.5 * 4); /* at 3.5: 2.5 */
    o.align_corners = true;
    expect_sample(t, &o, -0.5, 1.5); /* at 0: 0.5 */
    expect_sample(t, &o, 4, 4);
    o = (tn_grid_sample){.mode = TN_RESIZE_NEAREST};
    expect_sample(t, &o, 1.5, 4); /* half to even */
    expect_sample(t, &o, 0.5, 1);
}

static void test_grid_sample__cubic_keeps_samples(void **state) {
    op_test *t = *state;
    tn_grid_sample o = {.mode = TN_RESIZE_CUBIC, .padding = TN_PADDING_BORDER};
    for (int i = 0; i < 4; i++) expect_sample(t, &o, i, 1 << i);
    /* Keys' kernel at 1/2: −3/32, 19/32, 19/32, −3/32 */
    expect_sample(t, &o, 1.5, (-3 * 1 + 19 * 2 + 19 * 4 - 3 * 8) / 32.0);
}

static void test_affine_grid__identity_samples_the_image(void **state) {
    op_test *t = *state;
    tn_value theta = op_input(t, TN_f32, SHAPE_OF(1, 2, 3));
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 2, 3, 4));
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, theta), (double[]){1, 0, 0, 0, 1, 0}),
                     op_small(t, tn_graph_type(t->g, x))};
    for (int corners = 0; corners < 2; corners++) {
        tn_value grid = tn_b_affine_grid(&t->b, theta, 2, (tn_dim[]){3, 4}, corners);
        tn_grid_sample o = {.mode = TN_RESIZE_NEAREST, .align_corners = corners};
        tn_array y = op_eval(t, tn_b_grid_sample(&t->b, x, grid, &o), in);
        op_expect_equal(&y, &in[1], "the identity");
    }
}

static void test_deform_conv__without_offsets_is_conv(void **state) {
    op_test *t = *state;
    tn_deform_conv d = {.x = op_input(t, TN_f32, SHAPE_OF(2, 4, 5, 5)),
                        .w = op_input(t, TN_f32, SHAPE_OF(4, 2, 3, 3)),
                        .offset = op_input(t, TN_f32, SHAPE_OF(2, 36, 3, 3)),
                        .mask = op_input(t, TN_f32, SHAPE_OF(2, 18, 3, 3)),
                        .bias = TN_NO_VALUE,
                        .offset_groups = 2};
    d.conv = (tn_conv_options){.stride = {2, 2}, .pad_lo = {1, 1}, .pad_hi = {1, 1}, .groups = 2};
    tn_array in[] = {op_small(t, tn_graph_type(t->g, d.x)), op_small(t, tn_graph_type(t->g, d.w)),
                     op_array(t, tn_graph_type(t->g, d.offset)),
                     op_uniform(t, tn_graph_type(t->g, d.mask), 1, 1)};
    tn_array have = op_eval(t, tn_b_deform_conv(&t->b, &d), in);
    tn_array want = op_eval(t, tn_b_conv(&t->b, d.x, d.w, TN_NO_VALUE, &d.conv), in);
    op_expect_equal(&have, &want, "deform_conv");
}

/* One region over a 4 × 4 image that counts up. */
static tn_array region(op_test *t, const double *corner, const tn_roi *o, bool align) {
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 1, 4, 4));
    tn_value r = op_input(t, TN_f32, SHAPE_OF(1, align ? 4 : 5));
    tn_value batch = op_input(t, TN_i64, SHAPE_OF(1));
    double image[16], none = 0;
    for (int i = 0; i < 16; i++) image[i] = i;
    tn_array in[] = {op_numbers(t, tn_graph_type(t->g, x), image),
                     op_numbers(t, tn_graph_type(t->g, r), corner),
                     op_numbers(t, tn_graph_type(t->g, batch), &none)};
    tn_value y = align ? tn_b_roi_align(&t->b, x, r, batch, o) : tn_b_roi_max_pool(&t->b, x, r, o);
    return op_eval(t, y, in);
}

static void test_roi_align__averages_samples(void **state) {
    op_test *t = *state;
    tn_roi o = {.height = 1, .width = 2, .scale = 0.5, .samples = 2, .half_pixel = true};
    /* In the image from 1 to 3: samples half a pixel apart, bins of 1 × 2 pixels */
    tn_array y = region(t, (double[]){2, 2, 6, 6}, &o, true);
    EXPECT_NUMBERS(&y, 1 + 4 * 1.5, 2 + 4 * 1.5);
    o.samples = 0;
    tn_value x = op_input(t, TN_f32, SHAPE_OF(1, 1, 4, 4)), r = op_input(t, TN_f32, SHAPE_OF(1, 4));
    tn_b_roi_align(&t->b, x, r, op_input(t, TN_i64, SHAPE_OF(1)), &o);
    op_test_refused(t, TN_UNSUPPORTED, "number of samples");
}

static void test_roi_max_pool__takes_the_largest(void **state) {
    op_test *t = *state;
    tn_roi o = {.height = 2, .width = 2, .scale = 1};
    tn_array y = region(t, (double[]){0, 0, 0, 2, 2}, &o, false); /* bins of 1.5, shared middle */
    EXPECT_NUMBERS(&y, 5, 6, 9, 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_grid_sample__interpolates_and_pads),
        OP_TEST(test_grid_sample__cubic_keeps_samples),
        OP_TEST(test_affine_grid__identity_samples_the_image),
        OP_TEST(test_deform_conv__without_offsets_is_conv),
        OP_TEST(test_roi_align__averages_samples),
        OP_TEST(test_roi_max_pool__takes_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
