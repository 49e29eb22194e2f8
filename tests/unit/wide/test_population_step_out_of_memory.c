/* The n-th allocation fails: compiling and running a step of a population, and what is done
 * between steps, end in an error or have done their work, and nothing is left behind. */
#include <tenon/population.h>

#include "unit/failing_allocations.h"
#include "unit/nn/lazy_test.h"

enum { STEP = 61 }; /* of next_allocation */

enum { MEMBERS = 2, ROWS = 2, WIDTH = 2 };

static tn_tensor *loss_of(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_tensor *h = tn_dropout(m, "drop", tn_linear(m, "out", batch[0], 2), 0.25);
    return tn_cross_entropy(h, batch[1]);
}

typedef struct lab {
    tn_context *c;
    tn_population *p;
    tn_population_step *step;
    tn_buffer batch[2];
    float x[MEMBERS * ROWS * WIDTH];
    int32_t y[ROWS];
} lab;

static void open_lab(lab *t) {
    tn_error err = TN_ERROR_INIT;
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    *t = (lab){.c = lazy_context(TN_COMPILE_INTERPRET, 1), .y = {0, 1}};
    for (int i = 0; i < MEMBERS * ROWS * WIDTH; i++) t->x[i] = (float)i;
    t->batch[0] =
        (tn_buffer){.dtype = TN_f32, .rank = 3, .dim = {MEMBERS, ROWS, WIDTH}, .data = t->x};
    t->batch[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {ROWS}, .data = t->y};
    o.members = MEMBERS;
    must(tn_population_create(t->c, &o, &t->p, &err), &err);
}

static tn_status compile(lab *t, tn_error *err) {
    tn_population_train_options o = TN_POPULATION_TRAIN_OPTIONS_INIT;
    o.population = t->p, o.train.loss = loss_of, o.train.batch = t->batch;
    o.train.batch_count = 2, o.train.average = 0.5, o.train.clip_norm = 1;
    o.shared = (const bool[]){false, true};
    return tn_population_step_compile(&o, &t->step, err);
}

static void close_lab(lab *t, long n) {
    tn_population_step_release(t->step);
    tn_population_release(t->p);
    if (statistics(t->c).tensors)
        fail_msg("allocation %ld: %d left", n, (int)statistics(t->c).tensors);
    tn_context_release(t->c);
}

static tn_status run(lab *t, tn_error *err) {
    return tn_population_step_run(t->step, t->batch, 0.1, NULL, err);
}

static tn_status between(lab *t, tn_error *err) {
    TN_CHECK(tn_population_step_set(t->step, TN_SETTING_RATE, 1, 0.5, err));
    TN_CHECK(tn_population_step_set_active(t->step, 0, false, err));
    TN_CHECK(tn_population_step_copy(t->step, (int[]){1, 1}, err));
    TN_CHECK(tn_population_keep_best(t->p, (double[]){1, 2}, NULL, err));
    return tn_population_restore_best(t->p, NULL, err);
}

/* `deeds` before the one whose allocations fail. */
static void fail_each(tn_status (*const *deeds)(lab *t, tn_error *err), int count) {
    bool failed = true;
    long n = 0;
    for (; failed; n = next_allocation(n, STEP)) {
        tn_error err = TN_ERROR_INIT;
        lab t;
        open_lab(&t);
        for (int i = 0; i + 1 < count; i++) must(deeds[i](&t, &err), &err);
        atomic_store(&failing_after, n);
        tn_status status = deeds[count - 1](&t, &err);
        failed = atomic_exchange(&failing_after, -1) < 0;
        /* Functions that got no tensors give none. */
        bool told = status == TN_OUT_OF_MEMORY || status == TN_POISONED ||
                    strstr(err.message, "gave no tensor") || strstr(err.message, "left result");
        if (status != TN_OK && !(failed && told))
            fail_msg("allocation %ld fails: %s: %s", n, tn_status_name(status), err.message);
        close_lab(&t, n);
    }
    assert_true(n > 4);
    print_message("about %ld allocations\n", n);
}

static void test_compile__ends_cleanly_without_memory(void **state) {
    (void)state;
    fail_each((tn_status(*const[])(lab *, tn_error *)){compile}, 1);
}

static void test_run__ends_cleanly_without_memory(void **state) {
    (void)state;
    fail_each((tn_status(*const[])(lab *, tn_error *)){compile, run}, 2);
    fail_each((tn_status(*const[])(lab *, tn_error *)){compile, run, run}, 3);
}

static void test_members__end_cleanly_without_memory(void **state) {
    (void)state;
    fail_each((tn_status(*const[])(lab *, tn_error *)){compile, run, between}, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compile__ends_cleanly_without_memory),
        cmocka_unit_test(test_run__ends_cleanly_without_memory),
        cmocka_unit_test(test_members__end_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
