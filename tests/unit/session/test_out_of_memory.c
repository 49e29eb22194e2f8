/* The n-th allocation fails: opening, planning and running a model end in
 * TN_OUT_OF_MEMORY or in the right result. What would be lost on the way out, LeakSanitizer finds.
 * The linker leads the allocations of the library here (--wrap, tests/CMakeLists.txt). */
#include "unit/failing_allocations.h"
#include "unit/test_folder.h"

#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEP = 61 }; /* of next_allocation */

#define MODEL "examples/digits/digits.onnx"
enum { PIXELS = 64, CLASSES = 10 };

/* ---- a run ---------------------------------------------------------------------------------- */

static tn_status run_session(tn_session *s, float *result, tn_error *err) {
    static float image[PIXELS];
    for (int i = 0; i < PIXELS; i++) image[i] = (float)(i * 7 % 17);
    tn_buffer in = {.dtype = TN_f32, .rank = 4, .dim = {1, 1, 8, 8}, .data = image}, out = {0};
    TN_CHECK(tn_session_run(s, &in, 1, &out, 1, err));
    memcpy(result, out.data, CLASSES * sizeof *result);
    return TN_OK;
}

static tn_status run_model(const tn_model_options *options, float *result, tn_error *err) {
    tn_model *m;
    tn_session *s;
    tn_port_info info;
    TN_CHECK(tn_model_open(MODEL, options, &m, err));
    tn_status status = tn_model_input(m, 0, &info);
    if (status == TN_OK) status = tn_session_create(m, &s, err);
    if (status == TN_OK) {
        status = run_session(s, result, err);
        tn_session_release(s);
    }
    tn_model_release(m);
    return status;
}

/* With allocation n failing; false once there is no such allocation. */
static bool run_failing(const tn_model_options *options, long n, const float *expected) {
    float result[CLASSES] = {0};
    tn_error err = TN_ERROR_INIT;
    atomic_store(&failing_after, n);
    tn_status status = run_model(options, result, &err);
    bool failed = atomic_exchange(&failing_after, -1) < 0;
    /* Short of memory, a run may go on without compiled kernels, whose rounding differs. */
    for (int i = 0; status == TN_OK && i < CLASSES; i++)
        assert_float_equal(result[i], expected[i], 1e-4f);
    if (status != TN_OK && status != TN_OUT_OF_MEMORY)
        fail_msg("allocation %ld fails: %s", n, err.message);
    return failed;
}

static void fail_each(const tn_model_options *options) {
    float expected[CLASSES];
    tn_error err = TN_ERROR_INIT;
    if (run_model(options, expected, &err) != TN_OK) fail_msg("%s", err.message);
    long n = 0;
    while (run_failing(options, n, expected)) n = next_allocation(n, STEP);
    assert_true(n > 20);
    print_message("about %ld allocations\n", n);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_interpreted__survives_each_failure(void **state) {
    (void)state;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = TN_COMPILE_INTERPRET;
    o.no_cache = true;
    o.threads = 1;
    fail_each(&o);
}

/* Program and kernels come from the cache. */
static void test_cached__survives_each_failure(void **state) {
    (void)state;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.cache = folder;
    o.threads = 2;
    fail_each(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interpreted__survives_each_failure),
        cmocka_unit_test(test_cached__survives_each_failure),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
