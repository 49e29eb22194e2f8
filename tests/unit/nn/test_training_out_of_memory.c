/* The n-th allocation fails: optimizers and checkpoints end in an error or have done their
 * work. What would be lost on the way out, LeakSanitizer finds. The linker leads the allocations of
 * the library here (--wrap, tests/CMakeLists.txt). */

#include "tenon/checkpoint.h"
#include "tenon/optim.h"
#include "unit/failing_allocations.h"
#include "unit/nn/lazy_test.h"
#include "unit/test_folder.h"

enum { STEP = 7 }; /* of next_allocation */

/* ---- checkpoints ---------------------------------------------------------------------------- */

static tn_context *c;
static char run[512];

static tn_status save_and_load(const tn_named_tensor *x, tn_error *err) {
    tn_checkpoint_part part = {"model", x, 3};
    tn_checkpoint_content content = {&part, 1, &(tn_named_blob){"blob", "text", 4}, 1};
    tn_checkpoint_options options = TN_CHECKPOINT_OPTIONS_INIT;
    tn_checkpoint *k;
    tn_tensor_file *f;
    char path[600];
    options.keep = 1;
    options.shard_bytes = 1;
    TN_CHECK(tn_checkpoint_save(run, 2, &content, &options, err));
    TN_CHECK(tn_checkpoint_open(run, 2, &k, err));
    tn_status status = tn_checkpoint_load(k, &part, 1, 0, err);
    tn_checkpoint_release(k);
    snprintf(path, sizeof path, "%s/step-2", run);
    if (status == TN_OK) status = tn_tensor_file_open(path, &f, err);
    if (status == TN_OK) tn_tensor_file_release(f);
    return status;
}

static void test_checkpoint__ends_cleanly_without_memory(void **state) {
    tn_error err = TN_ERROR_INIT;
    tn_named_tensor x[3];
    static const char *const names[] = {"a", "b", "c"};
    (void)state;
    c = lazy_context(TN_COMPILE_INTERPRET, 1);
    snprintf(run, sizeof run, "%s/run", folder);
    for (int i = 0; i < 3; i++) x[i] = (tn_named_tensor){names[i], vector(c, 2, (float[]){1, 2})};
    bool failed = true;
    long n = 0;
    for (; failed; n = next_allocation(n, STEP)) {
        atomic_store(&failing_after, n);
        tn_status status = save_and_load(x, &err);
        failed = atomic_exchange(&failing_after, -1) < 0;
        if (status != TN_OK && status != TN_OUT_OF_MEMORY)
            fail_msg("allocation %ld fails: %s", n, err.message);
        for (int i = 0; i < 3; i++) expect_f32(x[i].tensor, (float[]){1, 2}, 2, 0);
    }
    print_message("about %ld allocations\n", n);
    must(save_and_load(x, &err), &err);
    for (int i = 0; i < 3; i++) tn_release(x[i].tensor);
    assert_int_equal(statistics(c).tensors, 0);
    tn_context_release(c);
}

/* ---- optimizers ----------------------------------------------------------------------------- */

/* Everything of optim.h, once. */
static tn_status train(tn_tensor *w, tn_tensor *rate, tn_tensor *g, tn_error *err) {
    tn_optimizer_options options = TN_ADAMW_INIT;
    tn_named_tensor p = {"w", w};
    tn_optimizer *o = NULL;
    tn_accumulator *a = NULL;
    tn_loss_scale *s = NULL;
    tn_ema *e = NULL;
    tn_status status = tn_optimizer_create(&options, &p, 1, &o, err);
    if (status == TN_OK) status = tn_accumulator_create(&p, 1, &a, err);
    if (status == TN_OK) status = tn_loss_scale_create(c, NULL, &s, err);
    if (status == TN_OK) status = tn_ema_create(&p, 1, 0.9, &e, err);
    if (status == TN_OK) {
        tn_accumulator_add(a, &g, 1);
        tn_accumulator_take(a, &g);
        tn_tensor *finite = tn_loss_scale_unscale(s, &g, 1, &g);
        (void)tn_clip_gradients_norm(&g, 1, 1, &g);
        tn_clip_gradients_value(&g, 1, 1, &g);
        tn_optimizer_step(o, rate, &g, finite);
        tn_loss_scale_update(s, finite);
        tn_ema_update(e);
        status = tn_context_error(c, err);
    }
    tn_ema_release(e);
    tn_loss_scale_release(s);
    tn_accumulator_release(a);
    tn_optimizer_release(o);
    return status;
}

static void test_optimizer__ends_cleanly_without_memory(void **state) {
    tn_error err = TN_ERROR_INIT;
    bool failed = true;
    long n = 0;
    (void)state;
    for (; failed; n = next_allocation(n, STEP)) {
        c = lazy_context(TN_COMPILE_INTERPRET, 1);
        tn_scope *scope = tn_scope_open(c);
        tn_tensor *w = vector(c, 2, (float[]){1, 2}), *g = vector(c, 2, (float[]){1, 1});
        tn_tensor *rate = tn_tensor_scalar(c, TN_f32, 0.1);
        atomic_store(&failing_after, n);
        tn_status status = train(w, rate, g, &err);
        failed = atomic_exchange(&failing_after, -1) < 0;
        if (status != TN_OK && status != TN_OUT_OF_MEMORY)
            fail_msg("allocation %ld fails: %s", n, err.message);
        tn_scope_close(scope);
        assert_int_equal(statistics(c).tensors, 0);
        tn_context_release(c);
    }
    print_message("about %ld allocations\n", n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint__ends_cleanly_without_memory),
        cmocka_unit_test(test_optimizer__ends_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
