#include "loop_test.h"

#include <stdlib.h>

static void test_sums__are_in_normal_form(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_lx n = size(&f, 1, 1000), i = loop_to(&f, n, "i"), j = loop_to(&f, num(&f, 8), "j");
    assert_int_equal(tn_l_add(k, i, num(&f, 0)), i);
    assert_int_equal(tn_l_mul(k, i, num(&f, 1)), i);
    assert_int_equal(tn_l_mul(k, i, num(&f, 0)), num(&f, 0));
    assert_int_equal(tn_l_add(k, i, j), tn_l_add(k, j, i));
    assert_int_equal(tn_l_sub(k, tn_l_add(k, i, j), i), j);
    tn_lx both = tn_l_mul(k, tn_l_add(k, i, num(&f, 2)), n);
    assert_int_equal(both, tn_l_add(k, tn_l_mul(k, n, num(&f, 2)), tn_l_mul(k, n, i)));
    assert_int_equal(tn_l_add(k, i, i), tn_l_mul(k, num(&f, 2), i));
    assert_int_equal(tn_l_add(k, num(&f, 3), num(&f, 4)), num(&f, 7));
    fixture_deinit(&f);
}

static void test_division__splits_the_sum(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_lx i = loop_to(&f, num(&f, 10), "i"), j = loop_to(&f, num(&f, 32), "j");
    tn_lx at = tn_l_add(k, tn_l_mul(k, i, num(&f, 32)), j);
    assert_int_equal(tn_l_div(k, at, num(&f, 32)), i);
    assert_int_equal(tn_l_mod(k, at, num(&f, 32)), j);
    assert_int_equal(tn_l_div(k, at, num(&f, 64)), tn_l_div(k, i, num(&f, 2)));
    tn_lx half = tn_l_mod(k, i, num(&f, 2));
    assert_int_equal(tn_l_mod(k, at, num(&f, 64)), tn_l_add(k, tn_l_mul(k, half, num(&f, 32)), j));
    assert_int_equal(tn_l_div(k, j, num(&f, 32)), num(&f, 0));
    assert_int_equal(tn_l_mod(k, j, num(&f, 40)), j);
    assert_int_equal(tn_l_div(k, tn_l_div(k, i, num(&f, 3)), num(&f, 2)),
                     tn_l_div(k, i, num(&f, 6)));
    assert_int_equal(tn_l_mod(k, tn_l_mod(k, i, num(&f, 6)), num(&f, 3)),
                     tn_l_mod(k, i, num(&f, 3)));
    assert_int_equal(tn_l_div(k, num(&f, 17), num(&f, 5)), num(&f, 3));
    fixture_deinit(&f);
}

static void test_sums__join_quotient_and_remainder(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_lx n = size(&f, 1, 1000), i = loop_to(&f, n, "i"), j = loop_to(&f, num(&f, 64), "j");
    tn_lx at = tn_l_add(k, tn_l_mul(k, i, num(&f, 64)), j), w = num(&f, 56);
    tn_lx row = tn_l_div(k, at, w), column = tn_l_mod(k, at, w), c = tn_l_mul(k, j, n);
    tn_lx whole = tn_l_add(k, tn_l_mul(k, row, w), column);
    assert_int_equal(whole, at);
    assert_int_equal(tn_l_add(k, tn_l_add(k, c, column), tn_l_mul(k, row, w)), tn_l_add(k, c, at));
    assert_int_equal(tn_l_add(k, tn_l_mul(k, column, n), tn_l_mul(k, tn_l_mul(k, row, n), w)),
                     tn_l_mul(k, at, n));
    tn_lx by = tn_l_add(k, tn_l_mul(k, tn_l_div(k, i, n), n), tn_l_mod(k, i, n));
    assert_int_equal(by, i);
    assert_int_not_equal(tn_l_add(k, tn_l_mul(k, row, num(&f, 57)), column), at);
    fixture_deinit(&f);
}

static void test_division__by_sizes(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_lx s = size(&f, 1, 1000), t = size(&f, 1, 1000), u = size(&f, 1, 1000);
    tn_lx i = loop_to(&f, s, "i"), j = loop_to(&f, t, "j"), l = loop_to(&f, u, "l");
    assert_int_equal(tn_l_div(k, tn_l_mul(k, i, s), s), i);
    assert_int_equal(tn_l_mod(k, tn_l_mul(k, i, s), s), num(&f, 0));
    assert_int_equal(tn_l_div(k, i, s), num(&f, 0));
    assert_int_equal(tn_l_mod(k, i, s), i);
    tn_lx tu = tn_l_mul(k, t, u);
    tn_lx at = tn_l_add(k, tn_l_mul(k, i, tu), tn_l_add(k, tn_l_mul(k, j, u), l));
    assert_int_equal(tn_l_div(k, at, tu), i);
    assert_int_equal(tn_l_mod(k, at, tu), tn_l_add(k, tn_l_mul(k, j, u), l));
    assert_int_equal(tn_l_mod(k, at, u), l);
    tn_lx next = tn_l_add(k, t, num(&f, 1));
    assert_int_equal(tn_l_div(k, tn_l_add(k, tn_l_mul(k, i, next), j), next), i);
    fixture_deinit(&f);
}

static void test_task__is_split_by_the_grid(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_lx s = size(&f, 1, 1000), t = size(&f, 1, 1000);
    k->tasks = tn_l_mul(k, s, t);
    tn_lx task = tn_l_task(k), row = tn_l_div(k, task, t);
    assert_true(is_true(&f, tn_l_lt(k, task, k->tasks)));
    assert_true(is_true(&f, tn_l_lt(k, row, s)));
    assert_true(is_true(&f, tn_l_lt(k, tn_l_mod(k, task, t), t)));
    assert_int_equal(tn_l_div(k, row, s), num(&f, 0));
    fixture_deinit(&f);
}

static void test_comparison__is_decided_by_bounds(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_lx n = size(&f, 0, TN_DIM_UNBOUNDED);
    tn_lx blocks = tn_l_div(k, tn_l_add(k, n, num(&f, 15)), num(&f, 16));
    tn_lx b = loop_to(&f, blocks, "b"), j = loop_to(&f, num(&f, 16), "j");
    tn_lx base = tn_l_mul(k, b, num(&f, 16));
    assert_true(is_true(&f, tn_l_lt(k, base, n)));
    assert_false(is_true(&f, tn_l_lt(k, tn_l_add(k, base, j), n)));
    assert_false(is_true(&f, tn_l_lt(k, tn_l_add(k, base, num(&f, 1)), n)));
    assert_true(is_true(&f, tn_l_lt(k, j, num(&f, 16))));
    assert_true(is_false(&f, tn_l_lt(k, num(&f, 15), j)));
    assert_true(is_true(&f, tn_l_le(k, num(&f, 0), tn_l_add(k, base, j))));
    assert_int_equal(tn_l_min(k, j, num(&f, 20)), j);
    assert_int_equal(tn_l_max(k, j, num(&f, 20)), num(&f, 20));
    tn_lx end = tn_l_min(k, num(&f, 16), tn_l_sub(k, n, base));
    tn_lx q = loop_to(&f, end, "q");
    assert_true(is_true(&f, tn_l_lt(k, tn_l_add(k, base, q), n)));
    assert_true(is_true(&f, tn_l_lt(k, q, num(&f, 16))));
    assert_true(is_false(&f, tn_l_op2(k, TN_S_eq, tn_l_add(k, j, num(&f, 1)), j)));
    fixture_deinit(&f);
}

static void test_affine__separates_a_variable(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    tn_lx n = size(&f, 1, 1000), i = loop_to(&f, n, "i"), j = loop_to(&f, num(&f, 8), "j"), a, b;
    uint32_t var = tn_l_expr(k, j)->index;
    tn_lx at = tn_l_add(k, tn_l_mul(k, i, n), tn_l_mul(k, j, tn_l_add(k, n, num(&f, 2))));
    assert_true(tn_l_affine(k, at, var, &a, &b));
    assert_int_equal(a, tn_l_add(k, n, num(&f, 2)));
    assert_int_equal(b, tn_l_mul(k, i, n));
    assert_true(tn_l_affine(k, i, var, &a, &b));
    assert_int_equal(a, num(&f, 0));
    assert_false(tn_l_affine(k, tn_l_mul(k, j, j), var, &a, &b));
    assert_false(tn_l_affine(k, tn_l_mod(k, j, num(&f, 3)), var, &a, &b));
    fixture_deinit(&f);
}

/* Random index arithmetic keeps its value and its bounds. */
static void test_simplification__keeps_values(void **state) {
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 3000; round++) {
        fixture f;
        fixture_init(&f);
        tn_loop *k = &f.k;
        int64_t n = 1 + (int64_t)(test_random(&seed) % 12), ends[3] = {0, n, 6}, want[24][3];
        tn_lx s = size(&f, 1, 12), i = loop_to(&f, s, "i"), j = loop_to(&f, num(&f, 6), "j");
        tn_lx e[24] = {s, i, j, num(&f, (int64_t)(test_random(&seed) % 9) + 1)};
        int64_t points[3][3];
        for (int p = 0; p < 3; p++) {
            for (int v = 1; v < 3; v++)
                points[p][v] = (int64_t)(test_random(&seed) % (uint64_t)ends[v]);
            for (int t = 0; t < 4; t++) want[t][p] = value(k, e[t], points[p], n);
        }
        for (int t = 4; t < 24; t++) {
            uint64_t r = test_random(&seed);
            int x = (int)(r % (uint64_t)t), y = (int)(r / 64 % (uint64_t)t),
                op = (int)(r / 4096 % 8);
            bool divide = op == 3 || op == 4;
            if (divide) y = r >> 40 & 1 ? 0 : 3; /* positive */
            switch (op) {
            case 0:
            case 1:
                e[t] = tn_l_add(k, e[x], e[y]);
                break;
            case 2:
                e[t] = tn_l_mul(k, e[x], e[y]);
                break;
            case 3:
                e[t] = tn_l_div(k, e[x], e[y]);
                break;
            case 4:
                e[t] = tn_l_mod(k, e[x], e[y]);
                break;
            case 5:
                e[t] = tn_l_min(k, e[x], e[y]);
                break;
            case 6:
                e[t] = tn_l_max(k, e[x], e[y]);
                break;
            default:
                e[t] = tn_l_lt(k, e[x], e[y]);
                break;
            }
            for (int p = 0; p < 3; p++) {
                int64_t a = want[x][p], b = want[y][p], is = value(k, e[t], points[p], n), lo, hi;
                int64_t was[] = {
                    a + b,         a + b,         a * b, divide ? a / b : 0, divide ? a % b : 0,
                    a < b ? a : b, a > b ? a : b, a < b};
                assert_int_equal(is, was[op]);
                want[t][p] = is;
                if (op == 7) continue;
                tn_l_bounds(k, e[t], &lo, &hi);
                assert_true(lo <= is && is <= hi);
            }
            if (op == 7) { /* a flag is no operand of the others */
                e[t] = e[1];
                for (int p = 0; p < 3; p++) want[t][p] = want[1][p];
            }
            if (llabs(want[t][0]) > 1 << 20) { /* stay far from overflow */
                e[t] = e[2];
                for (int p = 0; p < 3; p++) want[t][p] = want[2][p];
            }
        }
        fixture_deinit(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums__are_in_normal_form),
        cmocka_unit_test(test_division__splits_the_sum),
        cmocka_unit_test(test_sums__join_quotient_and_remainder),
        cmocka_unit_test(test_division__by_sizes),
        cmocka_unit_test(test_task__is_split_by_the_grid),
        cmocka_unit_test(test_comparison__is_decided_by_bounds),
        cmocka_unit_test(test_affine__separates_a_variable),
        cmocka_unit_test(test_simplification__keeps_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
