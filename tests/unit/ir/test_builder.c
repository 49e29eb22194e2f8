/* The builder: broadcasting, movement, reductions, products; and its way with errors. */
#include "../test.h"

#include "../graph_test.h"

typedef struct fixture {
    graph_test t;
    tn_graph *g;
    tn_builder b;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    graph_test_init(&f->t);
    tn_dims *dims = TN_NEW(&f->t.arena, tn_dims);
    tn_dims_init(dims, &f->t.arena);
    f->g = tn_graph_new(&f->t.arena, dims);
    f->b = tn_builder_of(f->g, &f->t.err);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    graph_test_deinit(&f->t);
    free(f);
    return 0;
}

/* input(f, 3, 2, N, 5): sizes of an f32 input; -1 stands for the symbol N, -2 for M */
static tn_value input(fixture *f, int rank, ...) {
    va_list args;
    tn_shape shape = {.rank = rank};
    va_start(args, rank);
    for (int i = 0; i < rank; i++) {
        int size = va_arg(args, int);
        shape.dim[i] = size == -1   ? tn_dim_of_symbol(f->g->dims, "N")
                       : size == -2 ? tn_dim_of_symbol(f->g->dims, "M")
                                    : size;
    }
    va_end(args);
    return tn_b_input(&f->b, NULL, TN_f32, &shape);
}

static void assert_type(fixture *f, tn_value v, const char *expected) {
    tn_str text;
    must(&f->t, tn_b_finish(&f->b));
    tn_str_init(&text);
    tn_type type = tn_b_type(&f->b, v);
    tn_type_print(f->g->dims, &type, &text);
    assert_string_equal(tn_str_text(&text), expected);
    tn_str_deinit(&text);
}

static void assert_failed(fixture *f, const char *message) {
    char text[2048];
    assert_false(tn_b_ok(&f->b));
    tn_error_format(&f->t.err, text, sizeof text);
    if (!strstr(text, message)) fail_msg("expected \"%s\" in \"%s\"", message, text);
}

static void test_binary__broadcasts_as_numpy(void **state) {
    fixture *f = *state;
    tn_value x = input(f, 3, 2, 1, 5), y = input(f, 2, 4, 1), s = tn_b_scalar(&f->b, TN_f32, 2);
    assert_type(f, tn_b_add(&f->b, x, y), "f32[2,4,5]");
    assert_type(f, tn_b_mul(&f->b, s, y), "f32[4,1]");
    assert_type(f, tn_b_lt(&f->b, x, s), "bool[2,1,5]");
    assert_type(f, tn_b_add(&f->b, input(f, 2, -1, 1), input(f, 1, -2)), "f32[N,M]");
    assert_type(f, tn_b_select(&f->b, tn_b_gt(&f->b, y, s), x, s), "f32[2,4,5]");
}

static void test_binary__refuses_two_different_open_sizes(void **state) {
    fixture *f = *state;
    tn_b_add(&f->b, input(f, 2, 2, -1), input(f, 2, 2, -2));
    assert_failed(f, "add: shapes 2xN and 2xM do not broadcast: axis -1");
}

static void test_builder__keeps_the_first_error(void **state) {
    fixture *f = *state;
    f->b.name = "first";
    tn_value bad = tn_b_add(&f->b, input(f, 1, 2), input(f, 1, 3));
    assert_int_equal(bad, TN_NO_VALUE);
    f->b.name = "second";
    uint32_t nodes = f->g->nodes.len;
    assert_int_equal(tn_b_permute(&f->b, bad, (int[]){0}), TN_NO_VALUE);
    assert_int_equal(tn_b_matmul(&f->b, bad, bad, TN_f32), TN_NO_VALUE);
    assert_int_equal(tn_b_mean(&f->b, bad, (int[]){0}, 1, true), TN_NO_VALUE);
    assert_int_equal(tn_b_sub(&f->b, bad, 0), TN_NO_VALUE);
    assert_int_equal(tn_b_rank(&f->b, bad), 0);
    assert_int_equal(f->g->nodes.len, nodes);
    assert_failed(f, "node 'first'");
    assert_null(strstr(f->t.err.message, "second"));
}

static void test_movement__makes_no_needless_node(void **state) {
    fixture *f = *state;
    tn_value x = input(f, 3, 2, -1, 5);
    tn_shape shape = tn_b_type(&f->b, x).shape;
    assert_int_equal(tn_b_reshape(&f->b, x, &shape), x);
    assert_int_equal(tn_b_expand(&f->b, x, &shape), x);
    assert_int_equal(tn_b_permute(&f->b, x, (int[]){0, 1, 2}), x);
    assert_int_equal(tn_b_slice_axis(&f->b, x, 1, 0, shape.dim[1], 1), x);
    assert_int_equal(tn_b_pad_axis(&f->b, x, 0, 0, 0, TN_NO_VALUE), x);
    assert_int_equal(tn_b_concat(&f->b, &x, 1, 0), x);
    assert_int_equal(tn_b_cast(&f->b, x, TN_f32), x);
    assert_int_equal(f->g->nodes.len, 1);
}

static void test_movement__gives_shapes(void **state) {
    fixture *f = *state;
    tn_builder *b = &f->b;
    tn_value x = input(f, 3, 2, -1, 5), zero = tn_b_scalar(b, TN_f32, 0);
    assert_type(f, tn_b_swap(b, x, 0, -1), "f32[5,N,2]");
    assert_type(f, tn_b_unsqueeze(b, x, -1), "f32[2,N,5,1]");
    assert_type(f, tn_b_squeeze(b, tn_b_unsqueeze(b, x, 1), 1), "f32[2,N,5]");
    assert_type(f, tn_b_slice_axis(b, x, -1, 4, 3, -2), "f32[2,N,3]");
    assert_type(f, tn_b_pad_axis(b, x, 1, 1, 2, zero), "f32[2,N+3,5]");
    assert_type(f, tn_b_concat(b, (tn_value[]){x, x}, 2, 1), "f32[2,2*N,5]");
    tn_shape index_shape = {2, {3, 4}};
    tn_value index = tn_b_iota(b, TN_i64, &index_shape, 0);
    assert_type(f, tn_b_gather_axis(b, x, index, 2, TN_INDEX_clamp), "f32[2,N,3,4]");
}

static void test_movement__refuses_wrong_axes(void **state) {
    fixture *f = *state;
    tn_b_swap(&f->b, input(f, 2, 2, 3), 0, 2);
    assert_failed(f, "swap: axis 2 is out of range for rank 2");
}

static void test_squeeze__refuses_other_sizes(void **state) {
    fixture *f = *state;
    tn_b_squeeze(&f->b, input(f, 2, 2, 3), 1);
    assert_failed(f, "squeeze: axis 1 of 2x3 is not of size 1");
}

static void test_gather_axis__takes_as_numpy(void **state) {
    fixture *f = *state;
    tn_shape shape = {2, {3, 4}}, index_shape = {1, {2}};
    tn_value x = tn_b_add(&f->b, tn_b_mul_scalar(&f->b, tn_b_iota(&f->b, TN_f32, &shape, 0), 10),
                          tn_b_iota(&f->b, TN_f32, &shape, 1));
    tn_value index = tn_b_add_scalar(&f->b, tn_b_iota(&f->b, TN_i64, &index_shape, 0), 1);
    tn_graph_add_output(f->g, tn_b_gather_axis(&f->b, x, index, 1, TN_INDEX_error), "y");
    must(&f->t, tn_b_finish(&f->b));
    const tn_array *y = run_graph(&f->t, f->g, 1);
    const double expected[] = {1, 2, 11, 12, 21, 22};
    for (int i = 0; i < 6; i++) assert_true(tn_array_get(y, i).f == expected[i]);
}

static void test_reduce__keeps_or_drops_axes(void **state) {
    fixture *f = *state;
    tn_value x = input(f, 3, 2, -1, 5);
    assert_type(f, tn_b_sum(&f->b, x, (int[]){-1, 0}, 2, false), "f32[N]");
    assert_type(f, tn_b_sum(&f->b, x, (int[]){1}, 1, true), "f32[2,1,5]");
    assert_type(f, tn_b_reduce(&f->b, TN_REDUCE_argmax, x, (int[]){1}, 1, true), "i64[2,1,5]");
    tn_b_sum(&f->b, x, (int[]){0, -3}, 2, false);
    assert_failed(f, "reduce: axis 0 is named twice");
}

static void test_mean__divides_by_open_sizes(void **state) {
    fixture *f = *state;
    tn_value x = input(f, 2, -1, 4);
    tn_graph_add_output(f->g, tn_b_mean(&f->b, x, (int[]){0, 1}, 2, false), "mean");
    tn_dim nodes = tn_b_dim(&f->b, x, 0);
    tn_graph_add_output(f->g, tn_b_dim_value(&f->b, tn_dim_mul(f->g->dims, nodes, nodes), TN_i32),
                        "square");
    must(&f->t, tn_b_finish(&f->b));
    uint64_t seed = 1;
    const int64_t bindings[] = {3};
    tn_array in = random_array(&f->t, f->g, x, bindings, &seed), out[2];
    must(&f->t, tn_eval_graph(f->g, &in, bindings, out, &f->t.arena, &f->t.err));
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += tn_array_get(&in, i).f;
    assert_true(fabs(tn_array_get(&out[0], 0).f - sum / 12) < 1e-6);
    assert_int_equal(tn_array_get(&out[1], 0).i, 9);
}

static void test_matmul__has_numpys_shapes(void **state) {
    fixture *f = *state;
    tn_builder *b = &f->b;
    tn_value v = input(f, 1, 4), m = input(f, 2, 3, 4), w = input(f, 2, 4, 5);
    tn_value x = input(f, 4, -1, 1, 3, 4), y = input(f, 3, 7, 4, 5);
    assert_type(f, tn_b_matmul(b, v, v, TN_f32), "f32[]");
    assert_type(f, tn_b_matmul(b, m, v, TN_f32), "f32[3]");
    assert_type(f, tn_b_matmul(b, v, w, TN_f32), "f32[5]");
    assert_type(f, tn_b_matmul(b, m, w, TN_f32), "f32[3,5]");
    assert_type(f, tn_b_matmul(b, x, w, TN_f32), "f32[N,1,3,5]");
    assert_type(f, tn_b_matmul(b, m, y, TN_f32), "f32[7,3,5]");
    assert_type(f, tn_b_matmul(b, v, y, TN_f32), "f32[7,5]");
    assert_type(f, tn_b_matmul(b, x, v, TN_f32), "f32[N,1,3]");
    assert_type(f, tn_b_matmul(b, x, y, TN_f32), "f32[N,7,3,5]");
    tn_b_matmul(b, tn_b_scalar(b, TN_f32, 1), v, TN_f32);
    assert_failed(f, "matmul: a scalar operand");
}

/* Every form against sums of products. */
static void test_matmul__multiplies(void **state) {
    fixture *f = *state;
    tn_value x = input(f, 2, 2, 3), y = input(f, 3, 4, 3, 2);
    tn_graph_add_output(f->g, tn_b_matmul(&f->b, x, y, TN_f32), "xy");
    must(&f->t, tn_b_finish(&f->b));
    uint64_t seed = 1;
    tn_array in[2] = {random_array(&f->t, f->g, x, NULL, &seed),
                      random_array(&f->t, f->g, y, NULL, &seed)};
    tn_array out;
    must(&f->t, tn_eval_graph(f->g, in, NULL, &out, &f->t.arena, &f->t.err));
    for (int i = 0; i < 16; i++) {
        int batch = i / 4, row = i / 2 % 2, column = i % 2;
        double sum = 0;
        for (int k = 0; k < 3; k++)
            sum += tn_array_get(&in[0], row * 3 + k).f *
                   tn_array_get(&in[1], batch * 6 + k * 2 + column).f;
        assert_true(tn_array_get(&out, i).f == sum);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_binary__broadcasts_as_numpy),
        TEST(test_binary__refuses_two_different_open_sizes),
        TEST(test_builder__keeps_the_first_error),
        TEST(test_movement__makes_no_needless_node),
        TEST(test_movement__gives_shapes),
        TEST(test_movement__refuses_wrong_axes),
        TEST(test_squeeze__refuses_other_sizes),
        TEST(test_gather_axis__takes_as_numpy),
        TEST(test_reduce__keeps_or_drops_axes),
        TEST(test_mean__divides_by_open_sizes),
        TEST(test_matmul__has_numpys_shapes),
        TEST(test_matmul__multiplies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
