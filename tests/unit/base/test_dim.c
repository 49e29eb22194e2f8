#include "unit/test.h"

#include "base/dim.h"

typedef struct fixture {
    tn_arena arena;
    tn_dims t;
    tn_dim n, s, h;
} fixture;

static int setup(void **state) {
    static fixture f;
    tn_arena_init(&f.arena, tn_allocator_system());
    tn_dims_init(&f.t, &f.arena);
    f.n = tn_dim_of_symbol(&f.t, "N");
    f.s = tn_dim_of_symbol(&f.t, "S");
    f.h = tn_dim_of_symbol(&f.t, "H");
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    tn_arena_deinit(&f->arena);
    return 0;
}

static void expect_text(const tn_dims *t, tn_dim d, const char *text) {
    tn_str s;
    tn_str_init(&s);
    tn_dim_print(t, d, &s);
    assert_string_equal(tn_str_text(&s), text);
    tn_str_deinit(&s);
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static void test_dim__equal_polynomials_are_the_same_number(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim sum = tn_dim_add(t, f->n, f->s);
    tn_dim square = tn_dim_mul(t, sum, sum);
    tn_dim expanded = tn_dim_add(
        t, tn_dim_mul(t, f->n, f->n),
        tn_dim_add(t, tn_dim_mul(t, 2, tn_dim_mul(t, f->s, f->n)), tn_dim_mul(t, f->s, f->s)));
    assert_int_equal(square, expanded);
    assert_int_equal(tn_dim_sub(t, square, expanded), 0);
    assert_int_equal(tn_dim_sub(t, tn_dim_add(t, f->n, 5), f->n), 5);
    assert_int_equal(tn_dim_of_symbol(t, "N"), f->n);
}

static void test_dim__prints_in_normal_form(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim d = tn_dim_add(t, 3, tn_dim_mul(t, tn_dim_mul(t, f->s, f->n), 2));
    expect_text(t, d, "2*N*S+3");
    expect_text(t, tn_dim_floordiv(t, tn_dim_add(t, f->s, 1), 2), "floordiv(S+1,2)");
    expect_text(t, tn_dim_sub(t, tn_dim_sub(t, 4, f->s), f->n), "-N-S+4");
    expect_text(t, tn_dim_const(t, -7), "-7");
    expect_text(t, 0, "0");
    expect_text(t, tn_dim_min(t, f->n, f->s), "min(S,N)");
}

static void test_dim__negative_constants_are_expressions(void **state) {
    fixture *f = *state;
    int64_t value = 0;
    tn_dim minus = tn_dim_const(&f->t, -4);
    assert_true(minus < 0 && tn_dim_const_value(&f->t, minus, &value));
    assert_int_equal(value, -4);
    assert_int_equal(tn_dim_add(&f->t, minus, 9), 5);
    assert_int_equal(tn_dim_mul(&f->t, minus, minus), 16);
    assert_int_equal(tn_dim_floordiv(&f->t, minus, 3), tn_dim_const(&f->t, -2));
    assert_int_equal(tn_dim_mod(&f->t, minus, 3), 2);
    assert_false(tn_dim_const_value(&f->t, f->n, &value));
}

static void test_dim__divides_exactly_by_several_terms(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim a = tn_dim_add(t, f->n, tn_dim_mul(t, 2, f->s));
    tn_dim b = tn_dim_sub(t, tn_dim_mul(t, 3, f->h), f->n);
    tn_dim c = tn_dim_add(t, f->s, 7);
    tn_dim abc = tn_dim_mul(t, tn_dim_mul(t, a, b), c), q;
    assert_true(tn_dim_divides(t, abc, b, &q));
    assert_int_equal(q, tn_dim_mul(t, a, c));
    assert_true(tn_dim_divides(t, abc, tn_dim_mul(t, b, c), &q));
    assert_int_equal(q, a);
    assert_false(tn_dim_divides(t, tn_dim_add(t, abc, 1), b, &q));
    assert_false(tn_dim_divides(t, f->n, 0, &q));
    assert_int_equal(tn_dim_floordiv(t, abc, a), tn_dim_mul(t, b, c));
    assert_int_equal(tn_dim_mod(t, abc, c), 0);
}

static void test_dim__divisors_of_symbols_count(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim q;
    assert_false(tn_dim_divides(t, f->n, 4, &q));
    tn_dims_set_bounds(t, tn_dims_symbol(t, "N"), 8, 1024, 8);
    assert_true(tn_dim_divides(t, f->n, 4, &q));
    assert_int_equal(tn_dim_mod(t, f->n, 8), 0);
    assert_int_equal(tn_dim_mul(t, q, 4), f->n);
    assert_int_equal(tn_dim_mul(t, tn_dim_mul(t, q, f->s), 4), tn_dim_mul(t, f->s, f->n));
    assert_int_equal(tn_dim_lo(t, q), 2);
    assert_int_equal(tn_dim_hi(t, q), 256);
}

static void test_dim__quotients_have_one_spelling(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim up = tn_dim_ceildiv(t, f->s, 2);
    tn_dim below = tn_dim_sub(t, f->s, 1);
    assert_int_equal(up, tn_dim_add(t, tn_dim_floordiv(t, below, 2), 1));
    assert_int_equal(tn_dim_floordiv(t, below, f->s), 0);
    assert_int_equal(tn_dim_floordiv(t, tn_dim_add(t, tn_dim_mul(t, f->n, f->s), below), f->s),
                     f->n);
    assert_int_equal(tn_dim_floordiv(t, tn_dim_floordiv(t, f->s, 2), 3),
                     tn_dim_floordiv(t, f->s, 6));
    tn_dim even = tn_dim_mul(t, tn_dim_mul(t, 2, f->n), f->s);
    assert_int_equal(tn_dim_floordiv(t, even, tn_dim_mul(t, 4, f->n)), tn_dim_floordiv(t, f->s, 2));
    assert_int_equal(tn_dim_mod(t, below, f->s), below);
}

static void test_dim__bounds_decide_min_and_max(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim more = tn_dim_add(t, f->n, f->s);
    assert_int_equal(tn_dim_max(t, f->n, more), more);
    assert_int_equal(tn_dim_min(t, f->n, more), f->n);
    assert_int_equal(tn_dim_max(t, f->n, 1), f->n);
    assert_int_equal(tn_dim_min(t, f->n, f->s), tn_dim_min(t, f->s, f->n));
    assert_int_equal(tn_dim_lo(t, tn_dim_sub(t, tn_dim_mul(t, f->n, f->s), f->n)), 0);
    tn_dims_set_bounds(t, tn_dims_symbol(t, "S"), 1, 512, 1);
    assert_int_equal(tn_dim_hi(t, tn_dim_mul(t, f->s, 3)), 1536);
    assert_int_equal(tn_dim_hi(t, tn_dim_min(t, f->n, f->s)), 512);
    assert_int_equal(tn_dim_hi(t, more), TN_DIM_UNBOUNDED);
    assert_int_equal(tn_dim_hi(t, tn_dim_mod(t, f->n, f->s)), 511);
}

/* N in [0, 10]: what is left of ten is ten at most, whatever N. */
static void test_dim__greatest_value_in_an_interval(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    uint32_t n = 0;
    assert_true(tn_dim_is_symbol(t, f->n, &n));
    int64_t lo[8] = {0}, hi[8] = {0};
    hi[n] = 10;
    tn_dim rest = tn_dim_sub(t, tn_dim_const(t, 10), f->n);
    assert_int_equal(tn_dim_eval_most(t, rest, lo, hi), 10);
    assert_int_equal(tn_dim_eval_most(t, tn_dim_mul(t, f->n, 3), lo, hi), 30);
    assert_int_equal(tn_dim_eval_most(t, tn_dim_add(t, rest, f->n), lo, hi), 10);
    assert_int_equal(tn_dim_eval_most(t, tn_dim_min(t, f->n, 7), lo, hi), 7);
    assert_int_equal(tn_dim_eval_most(t, tn_dim_ceildiv(t, f->n, 4), lo, hi), 3);
}

static void test_dim__large_numbers_saturate(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim big = INT64_MAX - 5;
    assert_int_equal(tn_dim_mul(t, big, big), INT64_MAX);
    assert_int_equal(tn_dim_add(t, big, big), INT64_MAX);
    tn_dim d = tn_dim_mul(t, big, f->n);
    for (int i = 0; i < 20; i++) d = tn_dim_mul(t, d, d);
    assert_true(tn_dim_hi(t, d) == TN_DIM_UNBOUNDED);
    int64_t values[] = {3, 5, 7};
    (void)tn_dim_eval(t, d, values);
    (void)tn_dim_floordiv(t, d, tn_dim_add(t, d, 1));
}

/* Sharing makes the text of this exponentially long, and a naive walk as slow. */
static void test_dim__shared_atoms_cost_one_visit(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim d = f->n, q = f->s;
    for (int i = 0; i < 200; i++) {
        tn_dim next =
            tn_dim_min(t, tn_dim_sub(t, d, q), tn_dim_floordiv(t, tn_dim_add(t, d, q), 3));
        q = d;
        d = next;
    }
    int64_t values[] = {100, 50, 7};
    tn_str text;
    tn_str_init(&text);
    tn_dim_print(t, d, &text);
    assert_true(text.len < 1 << 20);
    tn_str_deinit(&text);
    const tn_dim with[] = {f->n, f->s, f->h};
    int64_t before = tn_dim_eval(t, d, values);
    assert_int_equal(tn_dim_eval(t, tn_dim_substitute(t, t, d, with), values), before);
    assert_true(tn_dim_lo(t, d) <= before && before <= tn_dim_hi(t, d));
    assert_true(tn_dim_uses_symbol(t, d, tn_dims_symbol(t, "S")));
    assert_false(tn_dim_uses_symbol(t, d, tn_dims_symbol(t, "H")));
}

static void test_dim__many_factors_stay_correct(void **state) {
    fixture *f = *state;
    tn_dims *t = &f->t;
    tn_dim d = 1;
    int64_t values[] = {3, 2, 5}, expected = 1;
    for (int i = 0; i < 12; i++) {
        tn_dim factor = tn_dim_add(t, tn_dim_add(t, f->n, f->s), i);
        d = tn_dim_mul(t, d, factor);
        expected *= 5 + i;
        assert_int_equal(tn_dim_eval(t, d, values), expected);
    }
}

/* ---- algebra against evaluation ------------------------------------------------------------- */

enum { POOL = 40 };

/* An operation on two sizes and the same on their values; false where the divisor is zero. */
static bool combine(tn_dims *t, unsigned op, tn_dim a, tn_dim b, tn_dim *d, const int64_t v[2],
                    int64_t *expected) {
    if (op >= 3 && op <= 5 && v[1] == 0) return false;
    switch (op) {
    case 0:
        *d = tn_dim_add(t, a, b), *expected = v[0] + v[1];
        return true;
    case 1:
        *d = tn_dim_sub(t, a, b), *expected = v[0] - v[1];
        return true;
    case 2:
        *d = tn_dim_mul(t, a, b), *expected = v[0] * v[1];
        return true;
    case 3:
        *d = tn_dim_floordiv(t, a, b), *expected = floor_div(v[0], v[1]);
        return true;
    case 4:
        *d = tn_dim_mod(t, a, b), *expected = v[0] - v[1] * floor_div(v[0], v[1]);
        return true;
    case 5:
        *d = tn_dim_ceildiv(t, a, b), *expected = -floor_div(-v[0], v[1]);
        return v[1] > 0;
    case 6:
        *d = tn_dim_min(t, a, b), *expected = TN_MIN(v[0], v[1]);
        return true;
    default:
        *d = tn_dim_max(t, a, b), *expected = TN_MAX(v[0], v[1]);
        return true;
    }
}

/* No value of the symbols in between exceeds what the interval allows. */
static void check_most(const tn_dims *t, tn_dim d, const int64_t *values, int64_t expected) {
    int64_t lo[3], hi[3];
    for (int i = 0; i < 3; i++) {
        lo[i] = TN_MAX(values[i] - i, t->symbols.data[i].lo);
        hi[i] = values[i] + 2;
    }
    assert_true(tn_dim_eval_most(t, d, values, values) >= expected);
    assert_true(tn_dim_eval_most(t, d, lo, hi) >= expected);
    assert_true(tn_dim_eval_most(t, d, lo, hi) >= tn_dim_eval(t, d, hi));
    assert_true(tn_dim_eval_most(t, d, lo, hi) >= tn_dim_eval(t, d, lo));
}

/* Builds random sizes; each must evaluate to what plain arithmetic gives, lie within its bounds and
 * survive a substitution. A quotient whose inner divisor may be zero has no value: such are left
 * out by keeping only divisors that are positive whatever the symbols. */
static void random_round(fixture *f, uint64_t *seed) {
    tn_dims *t = &f->t;
    const char *const names[] = {"N", "S", "H"};
    int64_t values[3], pool_value[POOL];
    tn_dim pool[POOL], with[3];
    for (uint32_t i = 0; i < 3; i++) {
        int64_t divisor = 1 + (int64_t)(test_random(seed) % 4);
        int64_t lo = divisor * (1 + (int64_t)(test_random(seed) % 3));
        values[i] = lo + divisor * (int64_t)(test_random(seed) % 9);
        int64_t hi = test_random(seed) % 2 ? TN_DIM_UNBOUNDED : values[i] + 5;
        tn_dims_set_bounds(t, i, lo, hi, divisor);
        pool[i] = tn_dim_of_symbol(t, names[i]);
        pool_value[i] = values[i];
        with[i] = tn_dim_const(t, values[i]);
    }
    for (int i = 3; i < POOL;) {
        unsigned a = (unsigned)(test_random(seed) % (unsigned)i), op = test_random(seed) % 8;
        unsigned b = (unsigned)(test_random(seed) % (unsigned)i);
        int64_t v[2] = {pool_value[a], pool_value[b]}, expected = 0, known;
        tn_dim right = pool[b], d;
        if (test_random(seed) % 3 == 0) {
            v[1] = (int64_t)(test_random(seed) % 9) - 2;
            right = tn_dim_const(t, v[1]);
        }
        if (v[0] > 1000000 || v[0] < -1000000 || v[1] > 1000000 || v[1] < -1000000) {
            pool[a] = 2, pool_value[a] = 2, pool[b] = 3, pool_value[b] = 3;
            continue;
        }
        bool sure = tn_dim_const_value(t, right, &known) || tn_dim_lo(t, right) > 0;
        if ((op >= 3 && op <= 5 && !sure) || !combine(t, op, pool[a], right, &d, v, &expected))
            continue;
        assert_int_equal(tn_dim_eval(t, d, values), expected);
        assert_true(tn_dim_lo(t, d) <= expected && expected <= tn_dim_hi(t, d));
        check_most(t, d, values, expected);
        assert_true(tn_dim_const_value(t, tn_dim_substitute(t, t, d, with), &known));
        assert_int_equal(known, expected);
        pool[i] = d;
        pool_value[i++] = expected;
    }
}

static void test_dim__agrees_with_plain_arithmetic(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 300; round++) {
        void *fresh;
        setup(&fresh);
        random_round(fresh, &seed);
        teardown(&fresh);
    }
}

/* ---- shapes --------------------------------------------------------------------------------- */

static void test_shape__prints_and_counts(void **state) {
    fixture *f = *state;
    tn_type type = {TN_f32, {3, {2, 3, f->n}}};
    tn_type scalar = {TN_bool, {0}};
    tn_str s;
    tn_str_init(&s);
    tn_shape_print(&f->t, &type.shape, &s);
    tn_str_append(&s, " ");
    tn_type_print(&f->t, &type, &s);
    tn_str_append(&s, " ");
    tn_shape_print(&f->t, &scalar.shape, &s);
    tn_str_append(&s, " ");
    tn_type_print(&f->t, &scalar, &s);
    assert_string_equal(tn_str_text(&s), "2x3xN f32[2,3,N] scalar bool[]");
    tn_str_deinit(&s);
    assert_int_equal(tn_shape_count(&f->t, &type.shape), tn_dim_mul(&f->t, 6, f->n));
    assert_false(tn_shape_is_const(&type.shape));
    tn_shape fixed = {3, {4, 5, 6}}, huge = {3, {1ll << 40, 1ll << 40, 0}};
    assert_int_equal(tn_shape_const_count(&fixed), 120);
    assert_int_equal(tn_shape_const_count(&huge), 0);
    huge.dim[2] = 1;
    assert_int_equal(tn_shape_const_count(&huge), INT64_MAX);
    assert_true(tn_shape_equal(&fixed, &fixed) && !tn_shape_equal(&fixed, &huge));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_dim__equal_polynomials_are_the_same_number),
        TEST(test_dim__prints_in_normal_form),
        TEST(test_dim__negative_constants_are_expressions),
        TEST(test_dim__divides_exactly_by_several_terms),
        TEST(test_dim__divisors_of_symbols_count),
        TEST(test_dim__quotients_have_one_spelling),
        TEST(test_dim__bounds_decide_min_and_max),
        TEST(test_dim__greatest_value_in_an_interval),
        TEST(test_dim__large_numbers_saturate),
        TEST(test_dim__shared_atoms_cost_one_visit),
        TEST(test_dim__many_factors_stay_correct),
        cmocka_unit_test(test_dim__agrees_with_plain_arithmetic),
        TEST(test_shape__prints_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
