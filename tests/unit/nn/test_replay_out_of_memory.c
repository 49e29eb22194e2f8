/* The n-th allocation fails: a step of training that is done again ends in an error or has
 * done its work. See test_training_out_of_memory.c. */
#include <tenon/train.h>

#include "unit/failing_allocations.h"
#include "unit/nn/lazy_test.h"

enum { STEP = 7 }; /* of next_allocation */

enum { ROWS = 4, WIDTH = 3 };

static tn_tensor *loss_of(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_tensor *h = tn_dropout(m, "drop", tn_linear(m, "out", batch[0], 2), 0.25);
    return tn_cross_entropy(h, batch[1]);
}

typedef struct lab {
    tn_context *c;
    tn_module *m;
    tn_train_step *step;
    tn_buffer batch[2];
    float x[ROWS * WIDTH];
    int32_t y[ROWS];
} lab;

static void open_lab(lab *t) {
    tn_error err = TN_ERROR_INIT;
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    *t = (lab){.c = lazy_context(TN_COMPILE_INTERPRET, 1), .y = {0, 1, 1, 0}};
    for (int i = 0; i < ROWS * WIDTH; i++) t->x[i] = (float)i;
    t->batch[0] = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {ROWS, WIDTH}, .data = t->x};
    t->batch[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {ROWS}, .data = t->y};
    must(tn_module_create(t->c, NULL, &t->m, &err), &err);
    o.module = t->m, o.loss = loss_of, o.batch = t->batch, o.batch_count = 2;
    must(tn_train_step_compile(&o, &t->step, &err), &err);
    must(tn_train_step_run(t->step, t->batch, 0.1, NULL, &err), &err);
}

static void test_replay__ends_cleanly_without_memory(void **state) {
    bool failed = true;
    long n = 0;
    (void)state;
    for (; failed; n = next_allocation(n, STEP)) {
        tn_error err = TN_ERROR_INIT;
        tn_train_metrics metrics;
        lab t;
        open_lab(&t);
        atomic_store(&failing_after, n);
        tn_status status = tn_train_step_run(t.step, t.batch, 0.1, &metrics, &err);
        failed = atomic_exchange(&failing_after, -1) < 0;
        if (failed ? status != TN_OUT_OF_MEMORY && status != TN_OK : status != TN_OK)
            fail_msg("allocation %ld fails: %s", n, err.message);
        if (status != TN_OK && tn_context_error(t.c, &err) == TN_OK) /* nothing was changed */
            must(tn_train_step_run(t.step, t.batch, 0.1, &metrics, &err), &err);
        tn_train_step_release(t.step);
        tn_module_release(t.m);
        assert_int_equal(statistics(t.c).tensors, 0);
        tn_context_release(t.c);
    }
    assert_true(n > 4);
    print_message("about %ld allocations\n", n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay__ends_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
