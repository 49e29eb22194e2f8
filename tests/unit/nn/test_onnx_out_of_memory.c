/* The n-th allocation fails: opening, applying and saving an ONNX model end in an error or
 * have done their work. See test_training_out_of_memory.c. */
#include <tenon/onnx.h>

#include "unit/failing_allocations.h"
#include "unit/nn/lazy_test.h"
#include "unit/test_folder.h"

enum { STEP = 7 }; /* of next_allocation */

static tn_status use(tn_context *c, tn_module *m, tn_tensor *x, tn_error *err) {
    char path[600];
    tn_onnx *model;
    tn_tensor *z;
    snprintf(path, sizeof path, "%s/new.onnx", folder);
    TN_CHECK(tn_onnx_open("tests/golden/onnx/storage.onnx", m, NULL, &model, err));
    tn_onnx_apply(model, &x, 1, &z, 1);
    tn_status status = tn_context_error(c, err);
    if (status == TN_OK && !tn_tensor_ok(z)) status = TN_OUT_OF_MEMORY;
    if (status == TN_OK) status = tn_onnx_save(model, path, err);
    tn_onnx_release(model);
    return status;
}

static void test_model__ends_cleanly_without_memory(void **state) {
    bool failed = true;
    long n = 0;
    (void)state;
    for (; failed; n = next_allocation(n, STEP)) {
        tn_error err = TN_ERROR_INIT;
        tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
        tn_scope *scope = tn_scope_open(c);
        tn_module *m;
        tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(6, 3), NULL);
        must(tn_module_create(c, NULL, &m, &err), &err);
        atomic_store(&failing_after, n);
        tn_status status = use(c, m, x, &err);
        failed = atomic_exchange(&failing_after, -1) < 0;
        if (status != TN_OK && status != TN_OUT_OF_MEMORY)
            fail_msg("allocation %ld fails: %s", n, err.message);
        tn_module_release(m);
        tn_scope_close(scope);
        assert_int_equal(statistics(c).tensors, 0);
        tn_context_release(c);
    }
    print_message("about %ld allocations\n", n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__ends_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
