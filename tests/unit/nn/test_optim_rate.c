/* Learning rates against PyTorch's (tests/golden/optimizers.txt, tools/golden_optimizers.py). */
#include "unit/nn/lazy_test.h"

#include <math.h>

#include <tenon/optim.h>

enum { RATES = 30 };

static void read_rates(const char *name, double *out) {
    char line[2048], want[128];
    FILE *f = fopen("tests/golden/optimizers.txt", "r");
    if (!f) fail_msg("tests/golden/optimizers.txt cannot be read");
    snprintf(want, sizeof want, "schedule %s\n", name);
    while (fgets(line, sizeof line, f) && strcmp(line, want) != 0) continue;
    for (int i = 0; i < RATES; i++)
        if (fscanf(f, "%lf", &out[i]) != 1) fail_msg("schedule %s is not there", name);
    fclose(f);
}

static void test_rate__is_pytorchs(void **state) {
    static const int64_t milestones[] = {3, 3, 11};
    const struct {
        const char *name;
        tn_rate_schedule schedule;
    } rows[] = {
#define ROW(name, ...)                                                                             \
    {                                                                                              \
        name, {                                                                                    \
            .size = sizeof(tn_rate_schedule), .rate = 0.5, __VA_ARGS__                             \
        }                                                                                          \
    }
        ROW("constant", .kind = TN_RATE_CONSTANT),
        ROW("step", .kind = TN_RATE_STEP, .period = 6, .gamma = 0.5),
        ROW("multi_step", .kind = TN_RATE_MULTI_STEP, .milestones = milestones,
            .milestone_count = 3, .gamma = 0.3),
        ROW("exponential", .kind = TN_RATE_EXPONENTIAL, .gamma = 0.93),
        ROW("cosine", .kind = TN_RATE_COSINE, .period = 30, .minimum = 0.01),
        ROW("restarts", .kind = TN_RATE_COSINE_RESTARTS, .period = 4, .period_factor = 2,
            .minimum = 0.01),
        ROW("restarts_same", .kind = TN_RATE_COSINE_RESTARTS, .period = 7, .period_factor = 1),
        ROW("warm_exponential", .kind = TN_RATE_EXPONENTIAL, .gamma = 0.9, .warmup = 5),
        ROW("linear_decay", .kind = TN_RATE_STABLE_DECAY, .warmup = 2, .total = 30,
            .decay_ratio = 0.8),
        ROW("cosine_decay", .kind = TN_RATE_STABLE_DECAY, .warmup = 3, .total = 30,
            .decay_ratio = 0.5, .minimum = 0.05, .curve = TN_DECAY_COSINE),
        ROW("sqrt_decay", .kind = TN_RATE_STABLE_DECAY, .total = 30, .decay_ratio = 1,
            .minimum = 0.1, .curve = TN_DECAY_SQRT),
#undef ROW
    };
    (void)state;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        double want[RATES];
        tn_error err = TN_ERROR_INIT;
        must(tn_rate_check(&rows[r].schedule, &err), &err);
        read_rates(rows[r].name, want);
        for (int i = 0; i < RATES; i++) {
            double got = tn_rate_at(&rows[r].schedule, i);
            if (!(fabs(got - want[i]) <= 1e-12))
                fail_msg("%s, step %d: %.17g, expected %.17g", rows[r].name, i, got, want[i]);
        }
    }
}

static void test_rate__ends_at_the_minimum(void **state) {
    (void)state;
    tn_rate_schedule r = TN_RATE_SCHEDULE_INIT;
    r.kind = TN_RATE_COSINE;
    r.rate = 1;
    r.minimum = 0.25;
    r.period = 10;
    expect_near(tn_rate_at(&r, 10), 0.25, 1e-15);
    expect_near(tn_rate_at(&r, INT64_MAX), 0.25, 1e-15);
    r.kind = TN_RATE_STABLE_DECAY;
    r.total = 10;
    expect_near(tn_rate_at(&r, 10), 0.25, 1e-15); /* the virtual step */
    expect_near(tn_rate_at(&r, INT64_MAX - 1), 0.25, 1e-15);
    assert_true(tn_rate_at(&r, 9) > 0.25);
    r.kind = TN_RATE_COSINE_RESTARTS;
    r.period_factor = INT64_MAX;
    assert_true(tn_rate_at(&r, INT64_MAX) >= 0.25);
    assert_true(tn_rate_at(&r, -5) == 1);
}

static void test_rate__tells_what_is_wrong(void **state) {
    (void)state;
    const struct {
        const char *words;
        tn_rate_schedule schedule;
    } rows[] = {
#define ROW(words, ...)                                                                            \
    {                                                                                              \
        words, {                                                                                   \
            .size = sizeof(tn_rate_schedule), .rate = 0.5, __VA_ARGS__                             \
        }                                                                                          \
    }
        ROW("period is 0", .kind = TN_RATE_STEP),
        ROW("period_factor is 0", .kind = TN_RATE_COSINE_RESTARTS, .period = 3),
        ROW("minimum 0.6", .minimum = 0.6),
        ROW("gamma nan", .gamma = NAN),
        ROW("no kind 99", .kind = (tn_rate_kind)99),
        ROW("milestone 1, 2,", .kind = TN_RATE_MULTI_STEP, .milestones = (const int64_t[]){3, 2},
            .milestone_count = 2),
        ROW("2 milestones", .kind = TN_RATE_MULTI_STEP, .milestone_count = 2),
        ROW("3 steps, 5 of warm-up", .kind = TN_RATE_STABLE_DECAY, .warmup = 5, .total = 3),
        ROW("decay_ratio 1.5", .kind = TN_RATE_STABLE_DECAY, .total = 3, .decay_ratio = 1.5),
        {"size is not set", {.rate = 1}},
#undef ROW
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        tn_error err = TN_ERROR_INIT;
        must_fail(tn_rate_check(&rows[r].schedule, &err), TN_INVALID, &err, rows[r].words);
        (void)tn_rate_at(&rows[r].schedule, 7); /* any number, but no crash */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate__is_pytorchs),
        cmocka_unit_test(test_rate__ends_at_the_minimum),
        cmocka_unit_test(test_rate__tells_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
