#include "unit/test.h"

#include "base/dim.h"

typedef struct fixture {
    tn_arena arena;
    tn_dims t;
    tn_dim n, s;
} fixture;

static int setup(void **state) {
    static fixture f;
    tn_arena_init(&f.arena, tn_allocator_system());
    tn_dims_init(&f.t, &f.arena);
    f.n = tn_dim_of_symbol(&f.t, "N");
    f.s = tn_dim_of_symbol(&f.t, "S");
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    tn_arena_deinit(&f->arena);
    return 0;
}

static void test_dim_proof__bounds_decide_plain_sizes(void **state) {
    fixture *f = *state;
    assert_true(tn_dim_proves_le(&f->t, 3, 3));
    assert_false(tn_dim_proves_le(&f->t, 4, 3));
    assert_true(tn_dim_proves_le(&f->t, 1, f->n));
    assert_false(tn_dim_proves_le(&f->t, 2, f->n));
    assert_true(tn_dim_proves_le(&f->t, f->n, tn_dim_mul(&f->t, f->n, f->s)));
    assert_false(tn_dim_proves_le(&f->t, f->n, f->s));
}

static void test_dim_proof__sees_through_min_and_max(void **state) {
    fixture *f = *state;
    tn_dim least = tn_dim_min(&f->t, f->n, 5), most = tn_dim_max(&f->t, f->n, f->s);
    assert_true(tn_dim_proves_le(&f->t, least, f->n));
    assert_true(tn_dim_proves_le(&f->t, least, 5));
    assert_false(tn_dim_proves_le(&f->t, f->n, least));
    assert_true(tn_dim_proves_le(&f->t, f->s, most));
    assert_true(tn_dim_proves_le(&f->t, most, tn_dim_add(&f->t, f->n, f->s)));
    assert_false(tn_dim_proves_le(&f->t, most, f->n));
    tn_dim rest = tn_dim_sub(&f->t, f->n, least);
    assert_true(tn_dim_proves_le(&f->t, 0, rest));
    assert_true(
        tn_dim_proves_le(&f->t, tn_dim_mul(&f->t, least, f->s), tn_dim_mul(&f->t, f->n, f->s)));
}

static void test_dim_proof__sees_through_quotients(void **state) {
    fixture *f = *state;
    tn_dim half = tn_dim_floordiv(&f->t, f->n, 2), up = tn_dim_ceildiv(&f->t, f->n, 2);
    assert_true(tn_dim_proves_le(&f->t, tn_dim_mul(&f->t, half, 2), f->n));
    assert_true(tn_dim_proves_le(&f->t, f->n, tn_dim_mul(&f->t, up, 2)));
    assert_false(tn_dim_proves_le(&f->t, tn_dim_mul(&f->t, up, 2), f->n));
    assert_true(tn_dim_proves_le(&f->t, half, f->n));
}

/* Whatever is claimed must hold for all values tried. */
static void test_dim_proof__claims_nothing_false(void **state) {
    fixture *f = *state;
    uint64_t seed = 7;
    tn_dim known[40] = {f->n, f->s, 1, 2, 3};
    int count = 5;
    while (count < 40) {
        tn_dim a = known[test_random(&seed) % (unsigned)count];
        tn_dim b = known[test_random(&seed) % (unsigned)count];
        switch (test_random(&seed) % 6) {
        case 0:
            known[count++] = tn_dim_add(&f->t, a, b);
            break;
        case 1:
            known[count++] = tn_dim_sub(&f->t, a, b);
            break;
        case 2:
            known[count++] = tn_dim_min(&f->t, a, b);
            break;
        case 3:
            known[count++] = tn_dim_max(&f->t, a, b);
            break;
        case 4:
            known[count++] = tn_dim_floordiv(&f->t, a, 3);
            break;
        default:
            known[count++] = tn_dim_mul(&f->t, a, 2);
            break;
        }
    }
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < count; j++) {
            if (!tn_dim_proves_le(&f->t, known[i], known[j])) continue;
            for (int64_t n = 1; n < 9; n++)
                for (int64_t s = 1; s < 9; s++) {
                    int64_t bindings[] = {n, s};
                    assert_true(tn_dim_eval(&f->t, known[i], bindings) <=
                                tn_dim_eval(&f->t, known[j], bindings));
                }
        }
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_dim_proof__bounds_decide_plain_sizes),
        TEST(test_dim_proof__sees_through_min_and_max),
        TEST(test_dim_proof__sees_through_quotients),
        TEST(test_dim_proof__claims_nothing_false),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
