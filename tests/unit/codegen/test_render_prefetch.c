/* Prefetches: of any element, there or not, without an effect on what a kernel computes. */
#include "unit/codegen/kernel_lab.h"

static tn_lx num(lab_case *c, int64_t value) {
    return tn_l_int(&c->k, value);
}

/* y = 2 · x, with x and y asked for `ahead` elements ahead. */
static void add_case(lab *l, int64_t ahead) {
    enum { LANES = 16, BLOCKS = 6 };
    lab_case *c = lab_new(l, "prefetch");
    tn_loop *k = &c->k;
    uint32_t x = lab_buffer(c, TN_LBUF_INPUT, TN_f32, LANES * BLOCKS, "x");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, TN_f32, LANES * BLOCKS, "y");
    tn_lx block = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), num(c, BLOCKS), "block");
    tn_lx first = tn_l_mul(k, block, num(c, LANES));
    tn_l_prefetch(k, x, tn_l_add(k, first, num(c, ahead)));
    tn_l_prefetch(k, y, tn_l_add(k, first, num(c, ahead)));
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, LANES), "lane");
    tn_lx i = tn_l_add(k, first, lane), value = tn_l_load(k, x, i, TN_LX_NONE, TN_LX_NONE);
    tn_l_store(k, y, i, tn_l_op2(k, TN_S_add, value, value));
    tn_l_end(k);
    tn_l_end(k);
}

static void test_prefetch__may_lie_outside(void **state) {
    (void)state;
    static const int64_t ahead[] = {0, 16, 1 << 20, -(1 << 20)};
    lab l;
    lab_init(&l, 5);
    for (size_t i = 0; i < TN_COUNT(ahead); i++) add_case(&l, ahead[i]);
    lab_check(&l);
    lab_deinit(&l);
}

static void test_prefetch__is_in_the_text(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 5);
    add_case(&l, 512);
    tn_prelude prelude;
    tn_str text;
    tn_error err = TN_ERROR_INIT;
    const tn_target *target = tn_target_of(TN_ISA_GENERIC);
    tn_str_init(&text);
    tn_loop_print(&l.cases.data[0]->k, false, &text);
    assert_non_null(strstr(tn_str_text(&text), "prefetch x.0["));
    tn_str_clear(&text);
    tn_prelude_init(&prelude);
    assert_int_equal(
        tn_render_c_function(&l.cases.data[0]->k, target, "kernel", &prelude, &text, &err), TN_OK);
    assert_non_null(strstr(tn_str_text(&text), "__builtin_prefetch(x + "));
    tn_prelude_deinit(&prelude);
    tn_str_deinit(&text);
    lab_deinit(&l);
}

static void test_prefetch__is_of_a_buffer_outside_vector_loops(void **state) {
    (void)state;
    for (int wrong = 0; wrong < 4; wrong++) {
        lab l;
        tn_error err = TN_ERROR_INIT;
        lab_init(&l, 1);
        lab_case *c = lab_new(&l, "wrong");
        tn_loop *k = &c->k;
        uint32_t x = lab_buffer(c, TN_LBUF_INPUT, TN_f32, 4, "x");
        tn_lx at = wrong == 3 ? tn_l_number(k, TN_f32, 1) : num(c, 1);
        if (wrong == 1) tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, 4), "l");
        tn_l_prefetch(k, wrong == 2 ? x + 1 : x, at);
        if (wrong == 1) tn_l_end(k);
        assert_int_equal(tn_loop_verify(k, &err), wrong ? TN_INVALID : TN_OK);
        lab_deinit(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefetch__may_lie_outside),
        cmocka_unit_test(test_prefetch__is_in_the_text),
        cmocka_unit_test(test_prefetch__is_of_a_buffer_outside_vector_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
