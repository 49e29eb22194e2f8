/* Slice, Range, Expand, TopK … with numbers that data decide: reference and compiled kernels against values by
 * hand, many lengths in one session; numbers out of range; where a size has no bound. */
#include "unit/test.h"

#include "unit/session/size_lab.h"

static float ramp[64]; /* 0, 1, 2 … */

static tn_buffer matrix(int64_t rows, int64_t columns) {
    for (int i = 0; i < 64; i++) ramp[i] = (float)i;
    return (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {rows, columns}, .data = ramp};
}

static int64_t clamp(int64_t at, int64_t size, int64_t lo, int64_t hi) {
    int64_t v = at < 0 ? at + size : at;
    return v < lo ? lo : v > hi ? hi : v;
}

/* Columns [from, to) in steps of a matrix of ramp, as ONNX says. */
static void expect_columns(const tn_buffer *y, int64_t rows, int64_t columns, int64_t from,
                           int64_t to, int64_t step) {
    int64_t hi = step > 0 ? columns : columns - 1;
    from = clamp(from, columns, 0, hi);
    to = clamp(to, columns, step > 0 ? 0 : -1, hi);
    int64_t count = 0;
    for (int64_t at = from; step > 0 ? at < to : at > to; at += step) count++;
    assert_int_equal(y->rank, 2);
    assert_int_equal(y->dim[0], rows);
    assert_int_equal(y->dim[1], count);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < count; c++)
            assert_true(((float *)y->data)[r * count + c] ==
                        (float)(r * columns + from + c * step));
}

static const int64_t positions[] = {0, 1, 3, 6, 9, -1, -4, -6, -7, INT64_MAX, INT64_MIN};

/* Ends that are inputs: a known start and an end from data, or both from data. */
static void slice_columns(bool start, int64_t from, int64_t step) {
    wire g = {.len = 0};
    lab l;
    int64_t first = from, last = 0;
    tn_buffer out[MOST_OUTPUTS], in[3] = {matrix(3, 6), vector(TN_i64, 1, &last)};
    wire_input(&g, "x", W_FLOAT, "B,S");
    wire_input(&g, "end", W_INT64, "1");
    wire_ints(&g, "axis", 1, (int64_t[]){1});
    wire_ints(&g, "step", 1, &step);
    in[2] = vector(TN_i64, 1, &first);
    if (start)
        wire_input(&g, "start", W_INT64, "1");
    else
        wire_ints(&g, "start", 1, &from);
    wire_add_node(&g, "Slice x start end axis step > y");
    wire_output(&g, "y", W_FLOAT, "B,L");
    lab_open(&l, &g);
    for (size_t i = 0; i < TN_COUNT(positions); i++)
        for (size_t k = 0; k < (start ? TN_COUNT(positions) : 1); k++) {
            last = positions[i];
            if (start) first = positions[k];
            lab_run(&l, in, out);
            expect_columns(&out[0], 3, 6, first, last, step);
        }
    lab_close(&l);
}

static void test_slice__clamps_what_data_say(void **state) {
    (void)state;
    slice_columns(false, 0, 1);
    slice_columns(false, -4, 1);
    slice_columns(false, 1, 2);
    slice_columns(false, -1, -1);
    slice_columns(false, -9, -1);
    slice_columns(true, 0, 1);
    slice_columns(true, 0, 3);
    slice_columns(true, 0, -2);
}

/* Slices of equal axes to one length have one size, and a product takes them. */
static void test_slice__of_one_length_agree(void **state) {
    (void)state;
    wire g = {.len = 0};
    lab l;
    int64_t n = 0;
    tn_buffer out[MOST_OUTPUTS], in[] = {matrix(4, 6), vector(TN_i64, 1, &n)};
    wire_input(&g, "x", W_FLOAT, "4,S");
    wire_input(&g, "n", W_INT64, "1");
    wire_ints(&g, "zero", 1, (int64_t[]){0});
    wire_ints(&g, "axis", 1, (int64_t[]){1});
    wire_add_node(&g, "Slice x zero n axis > p");
    wire_add_node(&g, "Neg x > m");
    wire_add_node(&g, "Slice m zero n axis > q");
    wire_add_node(&g, "Add p q > s");
    wire_add_node(&g, "Transpose q > t");
    wire_add_node(&g, "MatMul p t > y");
    wire_output(&g, "s", W_FLOAT, "4,L");
    wire_output(&g, "y", W_FLOAT, "4,4");
    lab_open(&l, &g);
    for (n = -7; n < 8; n++) {
        int64_t count = clamp(n, 6, 0, 6);
        double sum = 0;
        lab_run(&l, in, out);
        assert_int_equal(out[0].dim[1], count);
        for (int64_t i = 0; i < count; i++) sum -= (double)(ramp[6 + i] * ramp[12 + i]);
        assert_true(((float *)out[1].data)[1 * 4 + 2] == (float)sum);
    }
    lab_close(&l);
}

/* From the greatest element on, and up to it; the positions behind it. */
static void test_slice__from_a_computed_place(void **state) {
    (void)state;
    wire g = {.len = 0}, top = wire_node("ArgMax x > p");
    lab l;
    int64_t x[] = {3, 8, 5, 7, 2};
    tn_buffer out[MOST_OUTPUTS], in = vector(TN_i64, 5, x);
    wire_attr_int(&top, "axis", 0);
    wire_input(&g, "x", W_INT64, "N");
    wire_ints(&g, "zero", 1, (int64_t[]){0});
    wire_ints(&g, "far", 1, (int64_t[]){INT64_MAX});
    wire ones = wire_tensor("one", W_INT64, 0, NULL, &(int64_t){1}, 8);
    wire_put(&g, 5, &ones);
    wire_put(&g, 1, &top);
    wire_add_node(&g, "Slice x p far > y");
    wire_add_node(&g, "Slice x zero p > z");
    wire_add_node(&g, "Squeeze p > at");
    wire_add_node(&g, "Size x > n");
    wire_add_node(&g, "Range at n one > r");
    wire_output(&g, "y", W_INT64, "K");
    wire_output(&g, "z", W_INT64, "M");
    wire_output(&g, "r", W_INT64, "K");
    lab_open(&l, &g);
    lab_run(&l, &in, out);
    EXPECT(out[0], 8, 5, 7, 2);
    EXPECT(out[1], 3);
    EXPECT(out[2], 1, 2, 3, 4);
    x[0] = 9;
    lab_run(&l, &in, out);
    EXPECT(out[0], 9, 8, 5, 7, 2);
    assert_int_equal(out[1].dim[0], 0);
    lab_close(&l);
}

/* n marked elements; Range, TopK, ConstantOfShape, Expand and Tile of n, and n + 1 of a Range, fit together. */
static void test_counts__shape_what_is_made(void **state) {
    static const int64_t one = 1, zero = 0;
    (void)state;
    wire g = {.len = 0}, cast = wire_node("Cast x > flags"), count = wire_node("Cast flags > ones");
    lab l;
    int64_t x[] = {5, 0, 7, 9, 0, 6};
    tn_buffer out[MOST_OUTPUTS], in = vector(TN_i64, 6, x);
    wire scalar = wire_tensor("one", W_INT64, 0, NULL, &one, 8);
    wire nought = wire_tensor("zero", W_INT64, 0, NULL, &zero, 8);
    wire sum = wire_node("ReduceSum ones > n");
    wire_attr_int(&cast, "to", W_BOOL);
    wire_attr_int(&count, "to", W_INT64);
    wire_attr_int(&sum, "keepdims", 0);
    wire_input(&g, "x", W_INT64, "N");
    wire_put(&g, 5, &scalar);
    wire_put(&g, 5, &nought);
    wire_ints(&g, "axis", 1, &zero);
    wire_ints(&g, "two", 1, (int64_t[]){2});
    wire_put(&g, 1, &cast);
    wire_put(&g, 1, &count);
    wire_put(&g, 1, &sum);
    wire_add_node(&g, "Range zero n one > r");
    wire_add_node(&g, "Unsqueeze n axis > k");
    wire_add_node(&g, "Shape x > s");
    wire_add_node(&g, "Min k s > least");
    wire_add_node(&g, "TopK x least > v p");
    wire_add_node(&g, "Expand two k > e");
    wire_add_node(&g, "Mul v e > w");
    wire_add_node(&g, "Add w r > a");
    wire_add_node(&g, "Tile two k > t");
    wire_add_node(&g, "Mul t a > y");
    wire_add_node(&g, "Add n one > more");
    wire_add_node(&g, "Range zero more one > longer");
    wire_add_node(&g, "Slice longer two k > cut");
    wire_output(&g, "y", W_INT64, "K");
    wire_output(&g, "longer", W_INT64, "M");
    wire_output(&g, "cut", W_INT64, "M");
    lab_open(&l, &g);
    lab_run(&l, &in, out);
    EXPECT(out[0], 36, 30, 28, 26);
    EXPECT(out[1], 0, 1, 2, 3, 4);
    EXPECT(out[2], 2, 3);
    memset(x, 0, sizeof x);
    lab_run(&l, &in, out);
    assert_int_equal(out[0].dim[0], 0);
    EXPECT(out[1], 0);
    lab_close(&l);
}

/* The greatest of x, at most four and at least nothing, as `few`. */
static void add_few(wire *g, bool none) {
    wire_input(g, "x", W_INT64, "N");
    wire_ints(g, "zero", 1, (int64_t[]){0});
    wire_ints(g, "four", 1, (int64_t[]){4});
    wire_add_node(g, "ReduceMax x > top");
    wire_add_node(g, none ? "Min top four > less" : "Min top four > few");
    if (none) wire_add_node(g, "Max less zero > few");
}

static void test_pad__to_a_length(void **state) {
    (void)state;
    wire g = {.len = 0};
    lab l;
    int64_t x[] = {4, 3, 2};
    tn_buffer out[MOST_OUTPUTS], in = vector(TN_i64, 3, x);
    add_few(&g, true);
    wire pads = wire_node("Concat zero few > pads");
    wire_attr_int(&pads, "axis", 0);
    wire_put(&g, 1, &pads);
    wire_add_node(&g, "Pad x pads > y");
    wire_output(&g, "y", W_INT64, "K");
    lab_open(&l, &g);
    lab_run(&l, &in, out);
    EXPECT(out[0], 4, 3, 2, 0, 0, 0, 0);
    x[0] = x[1] = 1;
    lab_run(&l, &in, out);
    EXPECT(out[0], 1, 1, 2, 0, 0);
    x[0] = x[1] = x[2] = -1;
    lab_run(&l, &in, out);
    EXPECT(out[0], -1, -1, -1);
    lab_close(&l);
}

/* A number beyond what its limits allow is an error of the run, and the next run is none the worse. */
static void test_sizes__out_of_range_end_the_run(void **state) {
    (void)state;
    wire g = {.len = 0};
    lab l;
    tn_error err = TN_ERROR_INIT;
    int64_t x[] = {-1, -3, -2};
    tn_buffer out[MOST_OUTPUTS] = {0}, in = vector(TN_i64, 3, x);
    add_few(&g, false);
    wire_add_node(&g, "ConstantOfShape few > y");
    wire_output(&g, "y", W_FLOAT, "K");
    lab_open(&l, &g);
    assert_int_equal(tn_session_run(l.session, &in, 1, out, 1, &err), TN_RUNTIME);
    assert_non_null(strstr(err.message, "is -1, but must be in [0, 4]"));
    x[2] = 3;
    lab_run(&l, &in, out);
    assert_int_equal(out[0].dim[0], 3);
    lab_close(&l);
}

/* 300 as a byte is 44. */
static void test_sizes__wrap_where_their_type_does(void **state) {
    (void)state;
    wire g = {.len = 0}, byte = wire_node("Cast few > byte"), back = wire_node("Cast byte > n");
    lab l;
    int64_t x[] = {3, 300};
    tn_buffer out[MOST_OUTPUTS] = {0}, in = vector(TN_i64, 2, x);
    wire_attr_int(&byte, "to", W_UINT8);
    wire_attr_int(&back, "to", W_INT64);
    wire_input(&g, "x", W_INT64, "N");
    wire_ints(&g, "zero", 1, (int64_t[]){0});
    wire_ints(&g, "most", 1, (int64_t[]){1000});
    wire_add_node(&g, "ReduceMax x > top");
    wire_add_node(&g, "Min top most > less");
    wire_add_node(&g, "Max less zero > few");
    wire_put(&g, 1, &byte);
    wire_put(&g, 1, &back);
    wire_add_node(&g, "ConstantOfShape n > y");
    wire_output(&g, "y", W_FLOAT, "K");
    lab_open(&l, &g);
    lab_run(&l, &in, out);
    assert_int_equal(out[0].dim[0], 44);
    lab_close(&l);
}

/* ---- what is asked for ------------------------------------------------------------------------ */

static void expect_asked(const wire *g, const char *name) {
    imported i;
    import_model_at(&i, g, OPSET);
    if (i.status != TN_OK) fail_msg("%s", i.text);
    assert_null(i.import.graph);
    assert_int_equal(i.import.need_values.len, 1);
    assert_string_equal(i.import.need_values.data[0], name);
    import_done(&i);
}

/* Negative padding cuts, and -1 in a shape is what is left: such numbers are no sizes. */
static void
test_sizes__that_may_be_negative_are_asked_for_where_that_means_something(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        wire g = {.len = 0}, pads = wire_node("Concat zero few > pads");
        add_few(&g, false);
        wire_attr_int(&pads, "axis", 0);
        wire_put(&g, 1, &pads);
        wire_add_node(&g, i ? "Reshape x few > y" : "Pad x pads > y");
        wire_output(&g, "y", W_INT64, "K");
        expect_asked(&g, "x");
    }
}

/* No bound is known, or one for which no memory is kept: the model is compiled for each value, as it is where
 * sizes have to agree. */
static void test_sizes__without_a_bound_are_bound_by_value(void **state) {
    (void)state;
    static const char *const nodes[] = {"Range zero n one > y", "ConstantOfShape k > y",
                                        "Expand x k > y", "Slice x nought k > c",
                                        "ConstantOfShape m > y"};
    for (size_t i = 0; i < TN_COUNT(nodes); i++) {
        wire g = {.len = 0};
        wire scalar = wire_tensor("one", W_INT64, 0, NULL, &(int64_t){1}, 8);
        wire zero = wire_tensor("zero", W_INT64, 0, NULL, &(int64_t){0}, 8);
        wire_put(&g, 5, &scalar);
        wire_put(&g, 5, &zero);
        wire_ints(&g, "nought", 1, (int64_t[]){0});
        wire_ints(&g, "fixed", 3, (int64_t[]){1, 2, 3});
        wire_ints(&g, "most", 1, (int64_t[]){1000000000});
        wire_input(&g, "x", W_INT64, "S");
        wire_input(&g, "n", W_INT64, "");
        wire_add_node(&g, "Unsqueeze n nought > k");
        wire_add_node(&g, "Min k most > m");
        wire_add_node(&g, nodes[i]);
        if (i == 3) wire_add_node(&g, "Add c fixed > y");
        wire_output(&g, "y", W_INT64, "?");
        expect_asked(&g, "n");
    }
}

/* Members of a wide model have one size: what an input decides is asked for. */
static void test_sizes__are_bound_by_value_on_demand(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0}, model;
    const tn_import_options options = {.specialize = true};
    wire_input(&g, "x", W_FLOAT, "S");
    wire_input(&g, "n", W_INT64, "1");
    wire_ints(&g, "zero", 1, (int64_t[]){0});
    wire_add_node(&g, "Slice x zero n > y");
    wire_output(&g, "y", W_FLOAT, "?");
    model = wire_model(&g, OPSET);
    import_bytes(&i, model.at, model.len, &options);
    assert_int_equal(i.status, TN_OK);
    assert_null(i.import.graph);
    assert_string_equal(i.import.need_values.data[0], "n");
    import_done(&i);
    import_bytes(&i, model.at, model.len, NULL);
    assert_string_equal(shape_text(&i, 0), "f32[min(length,S)]");
    import_done(&i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slice__clamps_what_data_say),
        cmocka_unit_test(test_slice__of_one_length_agree),
        cmocka_unit_test(test_slice__from_a_computed_place),
        cmocka_unit_test(test_counts__shape_what_is_made),
        cmocka_unit_test(test_pad__to_a_length),
        cmocka_unit_test(test_sizes__that_may_be_negative_are_asked_for_where_that_means_something),
        cmocka_unit_test(test_sizes__out_of_range_end_the_run),
        cmocka_unit_test(test_sizes__wrap_where_their_type_does),
        cmocka_unit_test(test_sizes__are_bound_by_value_on_demand),
        cmocka_unit_test(test_sizes__without_a_bound_are_bound_by_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
