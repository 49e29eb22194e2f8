/* Indices as layouts of a variable. */
#include "loop_test.h"

#include "loop/index_layout.h"

typedef struct lane {
    fixture f;
    tn_lx x, n; /* the variable; a size that is not known */
    uint32_t var;
} lane;

enum { EXTENT = 16 };

static void lane_init(lane *l) {
    fixture_init(&l->f);
    l->n = size(&l->f, 1, 1000);
    l->x = loop_to(&l->f, num(&l->f, EXTENT), "x");
    l->var = tn_l_expr(&l->f.k, l->x)->index;
}

static tn_lx times(lane *l, tn_lx a, int64_t by) {
    return tn_l_mul(&l->f.k, a, num(&l->f, by));
}
static tn_lx over(lane *l, tn_lx a, int64_t by) {
    return tn_l_div(&l->f.k, a, num(&l->f, by));
}
static tn_lx rem(lane *l, tn_lx a, int64_t by) {
    return tn_l_mod(&l->f.k, a, num(&l->f, by));
}
static tn_lx sum(lane *l, tn_lx a, tn_lx b) {
    return tn_l_add(&l->f.k, a, b);
}

static void assert_layout(lane *l, tn_lx e, const char *text) {
    tn_layout out;
    tn_lx rest;
    tn_str printed;
    tn_str_init(&printed);
    assert_true(tn_l_layout(&l->f.k, e, l->var, EXTENT, &l->f.arena, &out, &rest));
    tn_layout_print(&out, &printed);
    assert_string_equal(tn_str_text(&printed), text);
    assert_false(tn_l_uses_var(&l->f.k, rest, l->var));
    tn_str_deinit(&printed);
}

static void assert_none(lane *l, tn_lx e) {
    tn_layout out;
    tn_lx rest;
    assert_false(tn_l_layout(&l->f.k, e, l->var, EXTENT, &l->f.arena, &out, &rest));
}

static void test_layout__of_sums_and_digits(void **state) {
    (void)state;
    lane l;
    lane_init(&l);
    tn_lx far = tn_l_mul(&l.f.k, l.n, num(&l.f, 48));
    assert_layout(&l, l.x, "16:1");
    assert_layout(&l, far, "16:0");
    assert_layout(&l, sum(&l, times(&l, l.x, -3), far), "16:-3");
    assert_layout(&l, over(&l, l.x, 2), "(2,8):(0,1)");
    assert_layout(&l, rem(&l, l.x, 4), "(4,4):(1,0)");
    assert_layout(&l, sum(&l, times(&l, rem(&l, l.x, 2), 96), over(&l, l.x, 2)), "(2,8):(96,1)");
    assert_layout(&l, sum(&l, times(&l, over(&l, l.x, 4), 9), rem(&l, over(&l, l.x, 2), 2)),
                  "(2,2,4):(0,1,9)");
    assert_layout(&l, sum(&l, times(&l, over(&l, l.x, 4), 4), rem(&l, l.x, 4)), "16:1");
    assert_layout(&l, over(&l, times(&l, l.x, 3), 6), "(2,8):(0,1)");
    /* a digit of a sum: the vector starts at a multiple of its width */
    tn_lx at = sum(&l, times(&l, l.n, EXTENT), l.x);
    assert_layout(&l, sum(&l, times(&l, rem(&l, at, 8), 5), over(&l, at, 8)), "(8,2):(5,1)");
    fixture_deinit(&l.f);
}

static void test_layout__there_is_none(void **state) {
    (void)state;
    lane l;
    lane_init(&l);
    assert_none(&l, tn_l_mul(&l.f.k, l.x, l.n)); /* a stride that is no number */
    assert_none(&l, tn_l_mul(&l.f.k, l.x, l.x));
    assert_none(&l, over(&l, l.x, 3)); /* 16 values are no threes */
    assert_none(&l, over(&l, sum(&l, l.x, num(&l.f, 1)), 2));
    assert_none(&l, over(&l, sum(&l, l.x, l.n), 2)); /* where a pair begins is not known */
    assert_none(&l, tn_l_div(&l.f.k, l.x, l.n));
    fixture_deinit(&l.f);
}

/* Random sums of digits of digits: the layout is the function. */
static void test_layout__is_the_function(void **state) {
    (void)state;
    uint64_t seed = 5;
    int found = 0;
    for (int round = 0; round < 500; round++) {
        lane l;
        lane_init(&l);
        tn_lx e = num(&l.f, 0), rest;
        for (uint64_t terms = 1 + test_random(&seed) % 3; terms > 0; terms--) {
            tn_lx digit = l.x;
            for (uint64_t depth = test_random(&seed) % 3; depth > 0; depth--) {
                int64_t by = (int64_t)1 << (test_random(&seed) % 4);
                digit = test_random(&seed) % 2 ? over(&l, digit, by) : rem(&l, digit, by);
            }
            e = sum(&l, e, times(&l, digit, (int64_t)(test_random(&seed) % 9) - 2));
        }
        tn_layout out;
        int64_t zero = -1;
        if (tn_l_layout(&l.f.k, e, l.var, EXTENT, &l.f.arena, &out, &rest)) {
            found++;
            assert_true(tn_l_is_const_int(&l.f.k, rest, &zero));
            for (int64_t x = 0; x < EXTENT; x++)
                assert_int_equal(value(&l.f.k, e, (int64_t[]){0, x}, 1) - zero,
                                 tn_layout_index(&out, x));
        }
        fixture_deinit(&l.f);
    }
    assert_true(found > 400);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout__of_sums_and_digits),
        cmocka_unit_test(test_layout__there_is_none),
        cmocka_unit_test(test_layout__is_the_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
