/* The n-th allocation fails: wide models end in TN_OUT_OF_MEMORY or in the right result, and
 * what changes members changes nothing then. What would be lost on the way out, LeakSanitizer finds. */
#include "unit/failing_allocations.h"
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

enum { STEP = 41 }; /* of next_allocation */

enum { MEMBERS = 3, ROWS = 2, RESULTS = MEMBERS * ROWS * 3 };

static tn_wide_member members[MEMBERS + 1];
static tn_wide_options options;
static float data[(MEMBERS + 1) * ROWS * 6];

static void write_members(void) {
    char name[32];
    uint64_t seed = 1;
    options = lab_options();
    options.compile.no_cache = true;
    options.compile.threads = 1;
    for (int i = 0; i <= MEMBERS; i++) {
        snprintf(name, sizeof name, "m%d.onnx", i);
        members[i].model = write_mlp(name, i == 1 ? "Tanh" : "Relu", (uint64_t)i, false);
    }
    members[2].perturbed = true;
    random_floats(data, (MEMBERS + 1) * ROWS * 6, &seed);
}

static tn_status run(tn_wide *w, float *result, tn_error *err) {
    tn_buffer x = {.dtype = TN_f32, .rank = 3, .dim = {MEMBERS, ROWS, 6}, .data = data}, y = {0};
    TN_CHECK(tn_wide_run(w, &x, 1, &y, 1, err));
    memcpy(result, y.data, RESULTS * sizeof *result);
    return TN_OK;
}

static void expect_out_of_memory(tn_status status, const tn_error *err, long n) {
    if (status != TN_OK && status != TN_OUT_OF_MEMORY)
        fail_msg("allocation %ld fails: %s", n, err->message);
}

/* ---- opening and running ------------------------------------------------------------------------ */

static tn_status open_and_run(float *result, tn_error *err) {
    tn_wide *w;
    tn_wide_group_info info;
    TN_CHECK(tn_wide_open(members, MEMBERS, &options, &w, err));
    tn_status status = run(w, result, err);
    (void)tn_wide_group(w, 1, &info);
    tn_wide_release(w);
    return status;
}

static void test_open__survives_each_failure(void **state) {
    (void)state;
    float want[RESULTS], got[RESULTS];
    tn_error err = TN_ERROR_INIT;
    bool failed = true;
    long n = 0;
    write_members();
    check(open_and_run(want, &err), &err);
    for (; failed; n = next_allocation(n, STEP)) {
        atomic_store(&failing_after, n);
        tn_status status = open_and_run(got, &err);
        failed = atomic_exchange(&failing_after, -1) < 0;
        expect_out_of_memory(status, &err, n);
        if (status == TN_OK) assert_memory_equal(got, want, sizeof want);
        assert_true(failed || n > 100);
    }
    print_message("about %ld allocations\n", n);
}

/* ---- changing ----------------------------------------------------------------------------------- */

static void test_members__survive_each_failure(void **state) {
    (void)state;
    float want[RESULTS], got[RESULTS];
    tn_error err = TN_ERROR_INIT;
    bool failed = true;
    long n = 0;
    write_members();
    const char *out = in_folder("out.onnx");
    tn_wide *w = open_wide(members, MEMBERS, &options);
    check(run(w, want, &err), &err);
    for (; failed; n = next_allocation(n, STEP)) {
        atomic_store(&failing_after, n);
        tn_status status = tn_wide_extract(w, 2, out, &err);
        if (status == TN_OK) status = tn_wide_insert(w, 1, &members[MEMBERS], &err);
        failed = atomic_exchange(&failing_after, -1) < 0;
        expect_out_of_memory(status, &err, n);
        if (status == TN_OK) check(tn_wide_remove(w, 1, &err), &err);
        assert_int_equal(tn_wide_count(w), MEMBERS);
        if (n % 16) continue;
        check(run(w, got, &err), &err);
        assert_memory_equal(got, want, sizeof want);
    }
    print_message("about %ld allocations\n", n);
    tn_wide_release(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open__survives_each_failure),
        cmocka_unit_test(test_members__survive_each_failure),
    };
    lab_mode = TN_COMPILE_INTERPRET;
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
