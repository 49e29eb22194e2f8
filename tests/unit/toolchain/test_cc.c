#include "unit/test.h"

#include "base/io.h"
#include "toolchain/cc.h"
#include "toolchain/object.h"
#include "toolchain/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void find(tn_cc *cc) {
    tn_error err = TN_ERROR_INIT;
    tn_status status = tn_cc_find(cc, NULL, &err);
    if (status != TN_OK) print_error("%s\n", err.message);
    assert_int_equal(status, TN_OK);
}

static tn_cc_unit unit_of(const char *text) {
    return (tn_cc_unit){text, strlen(text)};
}

/* CC of the environment, which names the cross compiler where there is one; each test has it. */
static char *given_cc;

static int restore_cc(void **state) {
    (void)state;
    return given_cc ? setenv("CC", given_cc, 1) : unsetenv("CC");
}

static void test_find__knows_the_compiler(void **state) {
    (void)state;
    tn_cc cc;
    unsetenv("CC");
    find(&cc);
    assert_int_equal(cc.word[0][0], '/');
    assert_true(strlen(cc.version) > 5);
    assert_int_equal(strlen(cc.identity), 64);
}

static void test_find__respects_arguments_in_cc(void **state) {
    (void)state;
    tn_cc plain, wordy;
    setenv("CC", "gcc", 1);
    find(&plain);
    setenv("CC", "  gcc  -m64 -O1 ", 1);
    find(&wordy);
    assert_int_equal(wordy.words, 3);
    assert_string_equal(wordy.word[1], "-m64");
    assert_string_equal(wordy.word[2], "-O1");
    assert_string_not_equal(plain.identity, wordy.identity);
    unsetenv("CC");
}

static void test_find__says_what_to_install(void **state) {
    (void)state;
    tn_cc cc;
    tn_error err = TN_ERROR_INIT;
    char text[2048], *path = strdup(getenv("PATH"));
    setenv("CC", "no-such-compiler", 1);
    assert_int_equal(tn_cc_find(&cc, NULL, &err), TN_NOT_FOUND);
    tn_error_format(&err, text, sizeof text);
    assert_non_null(strstr(text, "no program 'no-such-compiler'"));
    assert_non_null(strstr(text, "environment variable CC"));
    unsetenv("CC");
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(tn_cc_find(&cc, NULL, &err), TN_NOT_FOUND);
    assert_non_null(strstr(err.message, "apt-get install gcc"));
    setenv("PATH", path, 1);
    free(path);
}

static void test_build__links_units_compiled_side_by_side(void **state) {
    (void)state;
    tn_cc cc;
    tn_object object;
    tn_error err = TN_ERROR_INIT;
    find(&cc);
    tn_cc_unit units[] = {unit_of("int one(void) { return 1; }\n"),
                          unit_of("double root(double x) { return __builtin_cbrt(x); }\n"),
                          unit_of("extern int one(void); int two(void) { return one() + 1; }\n")};
    for (uint32_t count = 1; count <= 3; count += 2) {
        tn_cc_job job = {.units = units, .count = count};
        uint8_t *bytes;
        size_t size;
        tn_status status = tn_cc_build(&cc, &job, &bytes, &size, &err);
        if (status != TN_OK) print_error("%s\n", err.message);
        assert_int_equal(status, TN_OK);
        status = tn_object_from_bytes(&object, bytes, size, &err);
        if (status != TN_OK) print_error("%s\n", err.message);
        assert_int_equal(status, TN_OK);
        void *address = tn_object_symbol(&object, count == 1 ? "one" : "two");
        int (*function)(void);
        memcpy(&function, &address, sizeof address);
        assert_int_equal(function(), count == 1 ? 1 : 2);
        assert_null(tn_object_symbol(&object, "three"));
        tn_object_close(&object);
        free(bytes);
    }
}

static void test_build__shows_what_the_compiler_said(void **state) {
    (void)state;
    tn_cc cc;
    tn_error err = TN_ERROR_INIT;
    uint8_t *bytes;
    size_t size;
    char path[512];
    find(&cc);
    tn_cc_unit units[] = {unit_of("int fine;\n"), unit_of("int broken = ;\n")};
    tn_cc_job job = {.units = units, .count = 2};
    assert_int_equal(tn_cc_build(&cc, &job, &bytes, &size, &err), TN_TOOLCHAIN);
    assert_null(bytes);
    assert_non_null(strstr(err.message, "error:"));
    const char *kept = strstr(err.message, "kept in ");
    assert_non_null(kept);
    assert_int_equal(sscanf(kept, "kept in %511[^:\n]", path), 1);
    assert_int_equal(access(path, R_OK), 0);
    *strrchr(path, '/') = 0;
    tn_temp_folder_remove(path);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_accepts__probes_flags_once(void **state) {
    (void)state;
    tn_cc cc;
    find(&cc);
    assert_true(tn_cc_accepts(&cc, "-O1 -fno-inline", "int x;\n", NULL));
    assert_false(tn_cc_accepts(&cc, "-mno-such-machine", "int x;\n", NULL));
    assert_false(tn_cc_accepts(&cc, "", "this is no C\n", NULL));
}

static void test_processes__end_at_their_time_limit(void **state) {
    (void)state;
    char folder[256], output[300];
    tn_error err = TN_ERROR_INIT;
    const char *const sleep_argv[] = {"/bin/sleep", "30", NULL};
    const char *const true_argv[] = {"/bin/true", NULL};
    assert_int_equal(tn_temp_folder(folder, sizeof folder, NULL, &err), TN_OK);
    snprintf(output, sizeof output, "%s/said", folder);
    tn_process p[2] = {{.argv = sleep_argv, .output = output},
                       {.argv = true_argv, .output = output}};
    double start = tn_seconds();
    assert_int_equal(tn_processes_run(p, 2, 2, 0.2, &err), TN_OK);
    assert_true(tn_seconds() - start < 10);
    assert_true(p[0].timed_out);
    assert_false(p[1].timed_out);
    assert_int_equal(p[1].exit_code, 0);
    tn_temp_folder_remove(folder);
}

static void test_processes__a_missing_program_is_an_error(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    const char *const argv[] = {"/nowhere/cc", NULL};
    tn_process p = {.argv = argv, .output = "/dev/null"};
    /* Where posix_spawn cannot tell (qemu-user), the child says it by its status. */
    if (tn_processes_run(&p, 1, 1, 5, &err) == TN_OK)
        assert_int_equal(p.exit_code, 127);
    else
        assert_non_null(strstr(err.message, "/nowhere/cc"));
}

int main(void) {
    given_cc = getenv("CC") ? strdup(getenv("CC")) : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_find__knows_the_compiler, restore_cc),
        cmocka_unit_test_setup(test_find__respects_arguments_in_cc, restore_cc),
        cmocka_unit_test_setup(test_find__says_what_to_install, restore_cc),
        cmocka_unit_test_setup(test_build__links_units_compiled_side_by_side, restore_cc),
        cmocka_unit_test_setup(test_build__shows_what_the_compiler_said, restore_cc),
        cmocka_unit_test_setup(test_accepts__probes_flags_once, restore_cc),
        cmocka_unit_test_setup(test_processes__end_at_their_time_limit, restore_cc),
        cmocka_unit_test_setup(test_processes__a_missing_program_is_an_error, restore_cc),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(given_cc);
    return failed;
}
