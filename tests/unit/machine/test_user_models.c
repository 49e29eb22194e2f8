/* Cost models of users: programs and libraries that answer, lie, crash, hang. */
#include "unit/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/machine.h>
#include <unistd.h>

#include "machine/cost_child.h"
#include "unit/test_folder.h"

static const tn_machine machine = {
    .name = "m",
    .processor = {.macs = 1e12, .utilization = 1},
    .memory = {.channels = 2, .banks = 1, .bank_bytes = 1e9, .bandwidth = 1e9},
};

static tn_status ask(const char *spec, tn_cost *out, tn_error *err) {
    tn_cost_model *model;
    tn_cost_query q = {
        .machine = &machine, .product = {1, 2, 3, 4, 2.0}, .normal_channels = 2, .sequences = 1};
    *out = (tn_cost){0};
    TN_CHECK(tn_cost_model_open(spec, &model, err));
    tn_status status = tn_cost_of(model, &q, out, err);
    if (!status) status = tn_cost_of(model, &q, out, err); /* as before: remembered */
    tn_cost_model_release(model);
    return status;
}

static void refused(const char *spec, const char *what) {
    tn_error err = TN_ERROR_INIT;
    tn_cost cost;
    assert_true(ask(spec, &cost, &err) != TN_OK);
    char text[2048];
    tn_error_format(&err, text, sizeof text);
    if (!strstr(text, what)) fail_msg("'%s' instead of '%s'", text, what);
}

/* Answers the introduction with {}, then every question with ANSWER. */
#define PROGRAM(answer) "process:read l; echo '{}'; while read l; do " answer "; done"

static void test_process__answers(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_cost cost;
    check(ask(PROGRAM("echo \"{\\\"latency\\\": 0.5, \\\"energy\\\": 2, \\\"bytes\\\": 7}\""),
              &cost, &err),
          &err);
    assert_true(cost.latency == 0.5 && cost.energy == 2 && cost.bytes == 7);
}

/* A program that reads the question: latency = m · n · k. */
static void test_process__is_told_the_product(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_cost cost;
    check(ask(PROGRAM("m=${l##*\\\"m\\\":}; n=${l##*\\\"n\\\":}; k=${l##*\\\"k\\\":}; "
                      "echo \"{\\\"latency\\\": $((${m%%,*} * ${n%%,*} * ${k%%,*}))}\""),
              &cost, &err),
          &err);
    assert_true(cost.latency == 24);
}

static void test_process__failures_are_errors(void **state) {
    (void)state;
    refused("process:exit 3", "the model ended with status 3");
    refused("process:read l; echo '{}'; read l; kill -SEGV $$",
            "the model crashed: Segmentation fault");
    refused(PROGRAM("echo nan"), "the model answers 'nan', which is no JSON object");
    refused(PROGRAM("echo '{\"latency\": NaN}'"), "which is no JSON object");
    refused(PROGRAM("echo '{\"latency\": 1e999}'"), "which is no JSON object");
    refused(PROGRAM("echo '{\"latency\": -1}'"), "'latency' is not a number of at least 0");
    refused(PROGRAM("echo '{\"energy\": 1}'"), "'latency' is not a number of at least 0");
    refused(PROGRAM("echo '{\"error\": \"too large\"}'"), "the model answers: too large");
    refused("process:head -c 100000 /dev/zero | tr '\\0' x", "longer than 16383 bytes");
}

static void test_process__that_hangs_is_ended(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_child child;
    char line[16];
    check(tn_child_run(&child, "sleep 100", &err), &err);
    child.seconds = 0.1;
    assert_int_equal(tn_child_read_line(&child, line, sizeof line, &err), TN_RUNTIME);
    assert_string_equal(err.message, "the model does not answer within 0.1 s");
    assert_int_equal(child.pid, 0);
    assert_int_equal(tn_child_write(&child, "x", 1, &err), TN_RUNTIME);
    assert_string_equal(err.message, "the model ended earlier");
}

static void build_library(const char *name, const char *body) {
    char path[300], command[1024];
    snprintf(path, sizeof path, "%s/%s.c", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "#include <math.h>\n#include <tenon/machine.h>\n"
            "static int cost(const tn_cost_query *q, tn_cost *out) { %s }\n"
            "__attribute__((visibility(\"default\"))) const tn_cost_plugin tenon_cost_plugin = "
            "{TN_COST_PLUGIN_VERSION, \"%s\", true, cost};\n",
            body, name);
    fclose(file);
    snprintf(command, sizeof command, "cc -shared -fPIC -Iinclude -o %s/%s.so %s", folder, name,
             path);
    assert_int_equal(system(command), 0);
}

static void spec_of(const char *name, char *out, size_t size) {
    snprintf(out, size, "library:%s/%s.so", folder, name);
}

static void test_library__answers_from_another_process(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_cost cost;
    char spec[300];
    build_library("good", "out->latency = q->product.m * q->machine->memory.bandwidth; return 0;");
    spec_of("good", spec, sizeof spec);
    check(ask(spec, &cost, &err), &err);
    assert_true(cost.latency == 2e9);
}

static void test_library__failures_are_errors(void **state) {
    (void)state;
    char spec[300];
    build_library("crash", "(void)q; out->latency = *(volatile int *)0; return 0;");
    build_library("nan", "(void)q; out->latency = NAN; return 0;");
    build_library("fails", "(void)q; (void)out; return 7;");
    spec_of("crash", spec, sizeof spec);
    refused(spec, "the model crashed: Segmentation fault");
    spec_of("nan", spec, sizeof spec);
    refused(spec, "answers latency nan s");
    spec_of("fails", spec, sizeof spec);
    refused(spec, "the model answers error 7");
    spec_of("missing", spec, sizeof spec);
    refused(spec, "is no cost model");
    refused("library:", "is no cost model");
}

static void test_spec__unknown(void **state) {
    (void)state;
    refused("roofline", "'roofline' is no cost model");
    refused("roofline:none.json", "'none.json' is no profile of a machine");
    refused("", "'' is no cost model");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process__answers),
        cmocka_unit_test(test_process__is_told_the_product),
        cmocka_unit_test(test_process__failures_are_errors),
        cmocka_unit_test(test_process__that_hangs_is_ended),
        cmocka_unit_test(test_library__answers_from_another_process),
        cmocka_unit_test(test_library__failures_are_errors),
        cmocka_unit_test(test_spec__unknown),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
