/* What is found and measured on a machine, and the profile's file. */
#include "../test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cores.h"
#include "machine/costs.h"
#include "machine/profile.h"

static void test_detect__finds_what_every_machine_has(void **state) {
    (void)state;
    tn_host m;
    tn_host_detect(&m);
    assert_true(*m.cpu && *m.arch);
    assert_int_equal(m.usable, tn_cores());
    assert_true(m.threads >= 1 && m.cores >= 1 && m.numa_nodes >= 1 && m.packages >= 1);
    assert_true(m.memory > 0 && m.memory_free <= m.memory);
    for (int i = 0; i < m.cache_count; i++) assert_true(m.caches[i].count >= 1);
}

static void test_parts__are_found_or_say_why_not(void **state) {
    (void)state;
    tn_host_part parts[TN_HOST_PARTS];
    int count = tn_host_parts(parts);
    assert_true(count > 0 && count <= TN_HOST_PARTS);
    for (int i = 0; i < count; i++) assert_true(*parts[i].name && *parts[i].detail);
}

/* ---- measuring, with kernels of our own ------------------------------------------------------ */

static void fma_kernel(int64_t rounds, float *sink) {
    float a[8] = {0};
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 8; i++) a[i] = a[i] * 0.5f + 1;
    *sink = a[0] + a[7];
}

static void read_kernel(const float *x, int64_t count, float *sink) {
    float sum = 0;
    for (int64_t i = 0; i < count; i++) sum += x[i];
    *sink = sum;
}

static void copy_kernel(float *to, const float *from, int64_t count) {
    memcpy(to, from, (size_t)count * sizeof *to);
}

static void test_measure__gives_positive_figures(void **state) {
    (void)state;
    tn_measure_kernels k = {fma_kernel, 16, read_kernel, copy_kernel};
    tn_roofs r;
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_measure(&k, 3, 1 << 20, 1 << 16, &r, &err), TN_OK);
    assert_int_equal(r.threads, 3);
    assert_int_equal(r.scale_count, 3); /* 1, 2, 3 */
    assert_true(r.gflops > 0 && r.gflops_1 > 0 && r.read_gbs > 0 && r.read_gbs_1 > 0);
    assert_true(r.copy_gbs > 0 && r.copy_gbs_1 > 0 && r.cache_gbs > 0 && r.handoff_ns > 0);
}

static void test_profile__reads_back(void **state) {
    (void)state;
    char folder[] = "/tmp/tn_profile_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/machine.json", folder);
    tn_profile p = {.cpu = "a processor", .target = "generic"}, back;
    p.roofs = (tn_roofs){.threads = 2,
                         .gflops = 10,
                         .gflops_1 = 5,
                         .read_gbs = 3,
                         .handoff_ns = 30,
                         .scale_count = 1};
    p.roofs.scale[0].threads = 1;
    p.roofs.scale[0].gflops = 5;
    assert_false(tn_profile_read(&back, path, "a processor"));
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_profile_write(&p, path, &err), TN_OK);
    assert_true(tn_profile_read(&back, path, "a processor"));
    assert_string_equal(back.id, p.id);
    assert_int_equal(strlen(back.id), 16);
    assert_true(back.roofs.gflops == 10 && back.roofs.scale[0].gflops == 5);
    assert_true(back.roofs.handoff_ns == 30);
    assert_int_equal(back.roofs.scale_count, 1);
    assert_false(tn_profile_read(&back, path, "another one"));

    FILE *f = fopen(path, "w");
    fputs("{\"schema\": 3, \"roofs\": []", f);
    fclose(f);
    assert_false(tn_profile_read(&back, path, "a processor"));
    unlink(path);
    rmdir(folder);
}

/* What was not measured counts as usual; a hand-off that a busy machine measured does not make launches
 * dear. */
static void test_costs__are_sane(void **state) {
    (void)state;
    tn_costs usual = tn_costs_default();
    tn_costs none = tn_costs_measured(&(tn_roofs){0});
    assert_true(none.memory == usual.memory && none.cache == usual.cache);
    assert_true(none.points == usual.points && none.cached_bytes == usual.cached_bytes);
    tn_roofs busy = {.copy_gbs = 50, .cache_gbs = 200, .gflops = 400, .handoff_ns = 7000};
    tn_costs costs = tn_costs_measured(&busy);
    assert_true(costs.memory == 50e9 && costs.cache == 200e9 && costs.points == 100e9);
    assert_true(costs.launch > none.launch && costs.launch < 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detect__finds_what_every_machine_has),
        cmocka_unit_test(test_parts__are_found_or_say_why_not),
        cmocka_unit_test(test_measure__gives_positive_figures),
        cmocka_unit_test(test_profile__reads_back),
        cmocka_unit_test(test_costs__are_sane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
