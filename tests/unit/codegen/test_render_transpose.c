/* Square registers that are transposed: by shuffles where rows are vectors, else in an array. */
#include "unit/codegen/kernel_lab.h"

static tn_lx num(lab_case *c, int64_t value) {
    return tn_l_int(&c->k, value);
}

/* y[task] = the transposed square of x[task], n rows of n. */
static void add_square(lab *l, tn_dtype dtype, int n, tn_loop_kind kind) {
    lab_case *c = lab_new(l, "square");
    tn_loop *k = &c->k;
    size_t count = (size_t)(n * n);
    uint32_t x = lab_buffer(c, TN_LBUF_INPUT, dtype, 3 * count, "x");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, dtype, 3 * count, "y");
    uint32_t tile = tn_l_register(k, dtype, (uint32_t)count, "tile");
    k->tasks = num(c, 3);
    for (int pass = 0; pass < 2; pass++) {
        tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, num(c, 0), num(c, n), "i");
        tn_lx j = tn_l_for(k, kind, num(c, 0), num(c, n), "j");
        tn_lx at = tn_l_add(k, tn_l_mul(k, i, num(c, n)), j);
        tn_lx from = tn_l_add(k, tn_l_mul(k, tn_l_task(k), num(c, n * n)), at);
        if (pass == 0)
            tn_l_set(k, tile, at, tn_l_load(k, x, from, 0, 0));
        else
            tn_l_store(k, y, from, tn_l_get(k, tile, at));
        tn_l_end(k);
        tn_l_end(k);
        if (pass == 0) tn_l_transpose(k, tile);
    }
}

static void test_transpose__agrees_with_the_interpreter(void **state) {
    (void)state;
    static const tn_dtype types[] = {TN_f64, TN_u64, TN_i16, TN_u8, TN_f16, TN_bool};
    lab l;
    lab_init(&l, 21);
    for (int n = 1; n <= 32; n *= 2) add_square(&l, TN_f32, n, TN_LOOP_VECTOR);
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        int n = 64 / TN_MAX(4, (int)tn_dtype_size(types[i])); /* whole vectors on AVX-512 */
        add_square(&l, types[i], n, TN_LOOP_VECTOR);
        add_square(&l, types[i], 4, i % 2 ? TN_LOOP_UNROLL : TN_LOOP_SERIAL);
    }
    lab_check(&l);
    lab_deinit(&l);
}

static void test_transpose__is_of_a_square_outside_vector_loops(void **state) {
    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        lab l;
        tn_error err = TN_ERROR_INIT;
        lab_init(&l, 1);
        lab_case *c = lab_new(&l, "wrong");
        tn_loop *k = &c->k;
        uint32_t reg = tn_l_register(k, TN_f32, 16, "reg");
        if (wrong == 1) tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, 4), "l");
        tn_l_transpose(k, reg);
        if (wrong == 1) tn_l_end(k);
        if (wrong == 2) k->registers.data[reg].count = 8;
        assert_int_equal(tn_loop_verify(k, &err), wrong ? TN_INVALID : TN_OK);
        lab_deinit(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transpose__agrees_with_the_interpreter),
        cmocka_unit_test(test_transpose__is_of_a_square_outside_vector_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
