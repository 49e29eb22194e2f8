/* Random graphs against the reference, in every way there is: a few of each kind. tests/differential has
 * the program that runs as many as one likes. */
#include "unit/plan/random_check.h"

enum { SMOOTH = 180, SMOOTH_COMPILED = 24, WILD = 120, WILD_COMPILED = 16, COMPILED_FIRST = 5000 };

static void check_interpreted(bool wild, uint64_t count) {
    random_check k = {.wild = wild, .one = wild};
    for (uint64_t seed = 0; seed < count; seed++)
        if (!random_check_seed(&k, seed)) fail_msg("seed %llu", (unsigned long long)seed);
}

static void check_compiled(const random_check *k, uint32_t count) {
    tn_arena arena;
    const char *why = NULL;
    if (!plan_has_compiler()) skip();
    tn_arena_init(&arena, tn_allocator_system());
    if (!random_check_batch(k, COMPILED_FIRST, count, false, &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

static void test_random_plans__interpreted(void **state) {
    (void)state;
    check_interpreted(false, SMOOTH);
}

static void test_random_plans__compiled(void **state) {
    (void)state;
    check_compiled(&(random_check){.compile = true}, SMOOTH_COMPILED);
}

static void test_wild_plans__interpreted(void **state) {
    (void)state;
    check_interpreted(true, WILD);
}

static void test_wild_plans__compiled(void **state) {
    (void)state;
    check_compiled(&(random_check){.wild = true, .compile = true, .best = true, .quick = true},
                   WILD_COMPILED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_plans__interpreted),
        cmocka_unit_test(test_random_plans__compiled),
        cmocka_unit_test(test_wild_plans__interpreted),
        cmocka_unit_test(test_wild_plans__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
