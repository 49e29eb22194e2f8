/* Operators whose results have as many elements as data say: reference and compiled kernels against values
 * by hand, many lengths in one session; what is refused. */
#include "unit/test.h"

#include "unit/session/size_lab.h"

/* ---- NonZero, Compress ------------------------------------------------------------------------ */

/* Rows of x that a mask marks, times a matrix, summed; and the number of each marked row. */
static void test_nonzero__feeds_products(void **state) {
    (void)state;
    wire g = {.len = 0};
    const float w[] = {1, 2, 3, 4};
    lab l;
    wire weights = wire_tensor("w", W_FLOAT, 2, (int64_t[]){2, 2}, w, sizeof w);
    wire_put(&g, 5, &weights);
    wire_ints(&g, "zero", 1, (int64_t[]){0});
    wire_input(&g, "mask", W_INT32, "N");
    wire_input(&g, "x", W_FLOAT, "N,2");
    wire_add_node(&g, "NonZero mask > places");
    wire_add_node(&g, "Squeeze places zero > rows");
    wire_add_node(&g, "Gather x rows > kept");
    wire_add_node(&g, "MatMul kept w > y");
    wire_add_node(&g, "ReduceSum y zero > s");
    wire_output(&g, "s", W_FLOAT, "1,2");
    wire_output(&g, "rows", W_INT64, "K");
    lab_open(&l, &g);
    for (int n = 1; n < 90; n += 11)
        for (int every = 1; every < 5; every++) {
            int32_t mask[90] = {0};
            float x[180];
            tn_buffer out[MOST_OUTPUTS];
            double sum[2] = {0, 0};
            int64_t kept = 0;
            for (int i = 0; i < n; i++) {
                mask[i] = every < 4 && i % every == 0 ? 1 + i : 0;
                x[2 * i] = (float)(i % 7);
                x[2 * i + 1] = (float)(i % 5) - 2;
                kept += mask[i] != 0;
                for (int c = 0; c < 2 && mask[i]; c++)
                    sum[c] += (double)(x[2 * i] * w[c] + x[2 * i + 1] * w[2 + c]);
            }
            tn_buffer in[] = {vector(TN_i32, n, mask), {.dtype = TN_f32, .rank = 2, .data = x}};
            in[1].dim[0] = n;
            in[1].dim[1] = 2;
            lab_run(&l, in, out);
            assert_int_equal(out[1].dim[0], kept);
            for (int c = 0; c < 2; c++) assert_true(((float *)out[0].data)[c] == (float)sum[c]);
        }
    lab_close(&l);
}

/* The same mask gives the same size, however often it is looked at. */
static void test_masks__that_are_equal_agree(void **state) {
    (void)state;
    wire g = {.len = 0};
    lab l;
    int32_t x[] = {0, 3, 0, 5, 7};
    tn_buffer out[MOST_OUTPUTS], in = vector(TN_i32, 5, x);
    wire_input(&g, "x", W_INT32, "N");
    wire_add_node(&g, "Abs x > b");
    wire_add_node(&g, "Abs x > c");
    wire_add_node(&g, "NonZero b > q");
    wire_add_node(&g, "NonZero c > r");
    wire_add_node(&g, "Add q r > y");
    wire_output(&g, "y", W_INT64, "1,K");
    lab_open(&l, &g);
    lab_run(&l, &in, out);
    EXPECT(out[0], 2, 6, 8);
    lab_close(&l);
}

static void test_compress__keeps_slices(void **state) {
    (void)state;
    wire g = {.len = 0}, node = wire_node("Compress x flags > y");
    lab l;
    uint8_t flags[] = {0, 1, 1};
    int64_t x[] = {1, 2, 3, 4, 5, 6, 7, 8};
    tn_buffer out[MOST_OUTPUTS], in[2] = {{.dtype = TN_i64, .rank = 2, .dim = {2, 4}, .data = x}};
    in[1] = vector(TN_bool, 3, flags);
    wire_input(&g, "x", W_INT64, "N,4");
    wire_input(&g, "flags", W_BOOL, "M");
    wire_attr_int(&node, "axis", 1);
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_INT64, "N,K");
    lab_open(&l, &g);
    lab_run(&l, in, out);
    EXPECT(out[0], 2, 3, 6, 7);
    flags[1] = flags[2] = 0;
    lab_run(&l, in, out);
    assert_int_equal(out[0].dim[0], 2);
    assert_int_equal(out[0].dim[1], 0);
    lab_close(&l);
}

static void test_nonzero__of_a_scalar(void **state) {
    (void)state;
    wire g = {.len = 0};
    lab l;
    float x = 0;
    tn_buffer out[MOST_OUTPUTS], in = {.dtype = TN_f32, .data = &x};
    wire_input(&g, "x", W_FLOAT, "");
    wire_add_node(&g, "NonZero x > y");
    wire_output(&g, "y", W_INT64, "0,K");
    lab_open(&l, &g);
    for (int64_t n = 0; n < 2; n++) {
        x = n ? NAN : 0;
        lab_run(&l, &in, out);
        assert_int_equal(out[0].dim[0], 0);
        assert_int_equal(out[0].dim[1], n);
    }
    lab_close(&l);
}

/* ---- Unique ----------------------------------------------------------------------------------- */

static void open_unique(lab *l, int type, const char *sizes, int sorted, int axis) {
    static const char *const names[] = {"y", "first", "inverse", "counts"};
    wire g = {.len = 0}, node = wire_node("Unique x > y first inverse counts");
    wire_attr_int(&node, "sorted", sorted);
    if (axis >= 0) wire_attr_int(&node, "axis", axis);
    wire_input(&g, "x", type, sizes);
    wire_put(&g, 1, &node);
    for (int i = 0; i < 4; i++) wire_output(&g, names[i], i ? W_INT64 : type, "?");
    lab_open(l, &g);
}

static void test_unique__sorts_or_keeps_the_order(void **state) {
    (void)state;
    lab l;
    tn_buffer out[MOST_OUTPUTS];
    int64_t x[] = {2, 1, 1, 3, 4, 3};
    tn_buffer in = vector(TN_i64, 6, x);
    open_unique(&l, W_INT64, "N", 1, -1);
    lab_run(&l, &in, out);
    EXPECT(out[0], 1, 2, 3, 4);
    EXPECT(out[1], 1, 0, 3, 4);
    EXPECT(out[2], 1, 0, 0, 2, 3, 2);
    EXPECT(out[3], 2, 1, 2, 1);
    in.dim[0] = 3;
    lab_run(&l, &in, out);
    EXPECT(out[0], 1, 2);
    lab_close(&l);
    in.dim[0] = 6;
    open_unique(&l, W_INT64, "N", 0, -1);
    lab_run(&l, &in, out);
    EXPECT(out[0], 2, 1, 3, 4);
    EXPECT(out[1], 0, 1, 3, 4);
    EXPECT(out[2], 0, 1, 1, 2, 3, 2);
    EXPECT(out[3], 1, 2, 2, 1);
    lab_close(&l);
}

/* NaN is one value and the greatest; zeros of both signs are one. */
static void test_unique__of_floats(void **state) {
    (void)state;
    lab l;
    tn_buffer out[MOST_OUTPUTS];
    float x[] = {NAN, 1, -0.0f, NAN, 0, 1};
    tn_buffer in = vector(TN_f32, 6, x);
    open_unique(&l, W_FLOAT, "N", 1, -1);
    lab_run(&l, &in, out);
    EXPECT(out[1], 2, 1, 0);
    EXPECT(out[2], 2, 1, 0, 2, 0, 1);
    EXPECT(out[3], 2, 2, 2);
    assert_true(isnan(((float *)out[0].data)[2]));
    lab_close(&l);
}

static void test_unique__along_an_axis(void **state) {
    (void)state;
    lab l;
    tn_buffer out[MOST_OUTPUTS];
    int64_t x[] = {1, 0, 0, 2, 3, 4, 1, 0, 0, 1, 0, -1};
    tn_buffer in = {.dtype = TN_i64, .rank = 2, .dim = {4, 3}, .data = x};
    open_unique(&l, W_INT64, "N,M", 1, 0);
    lab_run(&l, &in, out);
    EXPECT(out[0], 1, 0, -1, 1, 0, 0, 2, 3, 4);
    EXPECT(out[1], 3, 0, 1);
    EXPECT(out[2], 1, 2, 1, 0);
    EXPECT(out[3], 1, 2, 1);
    lab_close(&l);
    open_unique(&l, W_INT64, "N,M", 0, 1);
    lab_run(&l, &in, out);
    assert_int_equal(out[0].dim[1], 3);
    EXPECT(out[1], 0, 1, 2);
    lab_close(&l);
}

/* ---- NonMaxSuppression ------------------------------------------------------------------------ */

typedef struct detection {
    float boxes[16], scores[8];
    int64_t most;
    tn_buffer in[3];
} detection;

static wire suppression(detection *d, bool known) {
    wire g = {.len = 0};
    wire_input(&g, "boxes", W_FLOAT, "N,B,4");
    wire_input(&g, "scores", W_FLOAT, "N,C,B");
    if (known)
        wire_ints(&g, "most", 1, &d->most);
    else
        wire_input(&g, "most", W_INT64, "1");
    wire_add_node(&g, "NonMaxSuppression boxes scores most overlap score > y");
    wire overlap = wire_tensor("overlap", W_FLOAT, 0, NULL, &(float){0.5f}, 4);
    wire score = wire_tensor("score", W_FLOAT, 0, NULL, &(float){0.1f}, 4);
    wire_put(&g, 5, &overlap);
    wire_put(&g, 5, &score);
    wire_output(&g, "y", W_INT64, "K,3");
    return g;
}

static void open_suppression(lab *l, detection *d) {
    wire g = suppression(d, false);
    lab_open(l, &g);
    d->in[0] = (tn_buffer){.dtype = TN_f32, .rank = 3, .dim = {1, 4, 4}, .data = d->boxes};
    d->in[1] = (tn_buffer){.dtype = TN_f32, .rank = 3, .dim = {1, 2, 4}, .data = d->scores};
    d->in[2] = vector(TN_i64, 1, &d->most);
}

/* Boxes 0 and 1 overlap by more than half, 2 touches them, 3 has no area and overlaps nothing. Equal
 * scores: the first box first; NaN exceeds no score. */
static void test_suppression__is_greedy_in_each_class(void **state) {
    (void)state;
    lab l;
    detection d = {.boxes = {0, 0, 2, 2, 2, 2, 0, 0.25f, 2, 0, 3, 2, 1, 1, 1, 1},
                   .scores = {0.5f, 0.5f, 0.9f, 0.2f, 0.3f, 0.8f, NAN, 0.05f},
                   .most = 10};
    tn_buffer out[MOST_OUTPUTS];
    open_suppression(&l, &d);
    lab_run(&l, d.in, out);
    EXPECT(out[0], 0, 0, 2, 0, 0, 0, 0, 0, 3, 0, 1, 1);
    d.most = 2;
    lab_run(&l, d.in, out);
    EXPECT(out[0], 0, 0, 2, 0, 0, 0, 0, 1, 1);
    d.most = 0;
    lab_run(&l, d.in, out);
    assert_int_equal(out[0].dim[0], 0);
    assert_int_equal(out[0].dim[1], 3);
    lab_close(&l);
}

/* No more than are asked for of each class, however many boxes there are; a negative number asks for none. */
static void test_suppression__bounds_its_result(void **state) {
    (void)state;
    static const struct {
        int64_t most;
        const char *shape;
    } cases[] = {{1, "i64[min(selected,N*C*min(B,1)),3]"}, {-3, "i64[selected,3]"}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        imported one;
        detection d = {.most = cases[i].most};
        wire g = suppression(&d, true);
        import_model_at(&one, &g, OPSET);
        assert_string_equal(shape_text(&one, 0), cases[i].shape);
        import_done(&one);
    }
}

/* ---- refusals --------------------------------------------------------------------------------- */

static void test_masks__that_differ_do_not_meet(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_INT32, "N");
    wire_input(&g, "z", W_INT32, "N");
    wire_add_node(&g, "NonZero x > p");
    wire_add_node(&g, "NonZero z > q");
    wire_add_node(&g, "Add p q > y");
    wire_output(&g, "y", W_INT64, "?");
    refused_at(&g, OPSET, "only if both come from the same mask");
}

static void test_branches__bind_no_sizes(void **state) {
    (void)state;
    wire g = {.len = 0}, yes = {.len = 0}, node = wire_node("If flag > y");
    wire_input(&g, "flag", W_BOOL, "");
    wire_input(&g, "x", W_INT32, "4");
    wire_add_node(&yes, "NonZero x > p");
    wire_add_node(&yes, "ReduceMax p > m");
    wire_output(&yes, "m", W_INT64, "?");
    wire_attr_graph(&node, "then_branch", &yes);
    wire_attr_graph(&node, "else_branch", &yes);
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_INT64, "?");
    refused_at(&g, OPSET, "inside of a sub-graph");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nonzero__feeds_products),
        cmocka_unit_test(test_masks__that_are_equal_agree),
        cmocka_unit_test(test_compress__keeps_slices),
        cmocka_unit_test(test_nonzero__of_a_scalar),
        cmocka_unit_test(test_unique__sorts_or_keeps_the_order),
        cmocka_unit_test(test_unique__of_floats),
        cmocka_unit_test(test_unique__along_an_axis),
        cmocka_unit_test(test_suppression__is_greedy_in_each_class),
        cmocka_unit_test(test_suppression__bounds_its_result),
        cmocka_unit_test(test_masks__that_differ_do_not_meet),
        cmocka_unit_test(test_branches__bind_no_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
