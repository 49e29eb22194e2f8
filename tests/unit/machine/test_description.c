/* Machines from files: the published ones, units, and what is refused. */
#include "unit/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/machine.h>
#include <unistd.h>

#include "machine/quantities.h"

static void load(const char *path, tn_machine_space *out) {
    tn_error err = TN_ERROR_INIT;
    if (tn_machine_space_load(path, out, &err)) fail_msg("%s", err.message);
}

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void test_machines__published_design(void **state) {
    (void)state;
    tn_machine_space s;
    tn_machine m;
    load("machines/h2_llm.json", &s);
    assert_int_equal(tn_machine_space_count(&s), 1);
    tn_machine_space_at(&s, 0, &m);
    assert_true(near(m.processor.macs, 128e12) && near(m.memory.bandwidth, 12.8e9));
    assert_true(near(m.memory.bank_bytes, 268435456.0) && near(m.near_memory.clock, 600e6));
    assert_int_equal(m.near_memory.channels, 6);
    assert_true(near(m.near_memory.mac_energy, 1.075e-12));
    /* 8 FPUs, 32 + 4 + 2 KiB of buffers, pins */
    assert_true(near(m.near_memory.area, 8 * 0.44 + 38 * 1024 * 2.72e-6 + 0.197 * 6.76));
}

static void test_machines__published_space(void **state) {
    (void)state;
    tn_machine_space s;
    tn_machine m;
    load("machines/h2_llm_space.json", &s);
    assert_int_equal(tn_machine_space_count(&s), 4 * 16 * 216);
    tn_machine_space_at(&s, 216 * 16 + 216 * 9 + 5, &m);
    assert_int_equal(m.near_memory.channels, 4);
    assert_true(near(m.near_memory.clock, 600e6) && near(m.near_memory.bandwidth, 25.6e9));
    assert_true(near(m.near_memory.output_buffer, 8192) && near(m.near_memory.input_buffer, 4096));
}

static void test_machines__utilization_belongs_to_its_element(void **state) {
    (void)state;
    tn_machine_space s;
    tn_machine m, other;
    load("machines/in_die_nmp_plus.json", &s);
    tn_machine_space_at(&s, 0, &m);
    tn_machine_for_batch(&s, 4, &m);
    assert_true(m.near_memory.utilization == 0.45);
    tn_machine_space_at(&s, 0, &other);
    other.near_memory.clock = 600e6;
    tn_machine_for_batch(&s, 4, &other);
    assert_true(other.near_memory.utilization == 1.0);
}

/* ---- refusals ------------------------------------------------------------------------------- */

#define MEMORY "'memory':{'channels':8,'banks':16,'bank_bytes':'256 MiB','bandwidth':'12.8 GB/s'}"
#define HEAD   "{'schema':'tenon.machines/1','name':'m',"
#define GOOD   HEAD "'processor':{'macs':'1 TMAC/s','utilization':0.5}," MEMORY

static const struct {
    const char *text, *message;
} refusals[] = {
    {"{'schema':", "line 1, column 10: unexpected token near end of file"},
    {"[]", "the file holds no object"},
    {"{'name':'m'}", "'schema' is missing; expected \"tenon.machines/1\""},
    {HEAD "'memory':{}}", "'processor' is missing"},
    {HEAD "'processor':{'utilization':1}}", "processor.macs is missing"},
    {HEAD "'processor':{'macs':'1 TMAC','utilization':1}}",
     "processor.macs has unit 'TMAC'; MAC/s, GMAC/s, TMAC/s are known"},
    {HEAD "'processor':{'macs':-1,'utilization':1}}",
     "processor.macs is -1; it must be finite and above 0"},
    {HEAD "'processor':{'macs':1e308,'utilization':1}}",
     "processor.macs is 1e+308; no machine has that: 10⁻³⁰ to 10³⁰"},
    {HEAD "'processor':{'macs':'fast','utilization':1}}",
     "processor.macs is 'fast'; a number comes first"},
    {HEAD "'processor':{'macs':1e12,'utilization':1.5}}",
     "processor.utilization is 1.5; a share is at most 1"},
    {HEAD "'processor':{'macs':1e12,'utilization':1,'mac_energie':1}}",
     "processor has no member 'mac_energie'; 'mac_energy' is one"},
    {GOOD ",'near_memory':{'channels':9,'fpus':1,'macs':16,'clock':1e9,'bandwidth':1e9}}",
     "machine 'm': 9 channels near memory; the memory has 8"},
    {GOOD ",'near_memory':{'channels':2}}",
     "machine 'm': near_memory.fpus is 0; it must be finite and above 0"},
    {GOOD ",'space':{'channels':[]}}", "space.channels is no list of 1 to 64 values"},
    {GOOD ",'space':{'channels':[1.5]}}",
     "space.channels[0] is 1.5; it counts something (at most 10⁶)"},
    {GOOD ",'space':{'elements':[{'fpus':1}]}}", "space.elements[0].clock is missing"},
    {GOOD
     ",'technology':{'clocks':[{'clock':2,'fpu_area':1,'mac_energy':1},{'clock':1,'fpu_area':1,"
     "'mac_energy':1}]}}",
     "technology.clocks[1].clock is not above the row before"},
    {GOOD ",'machine':1}", "the file has no member 'machine'"},
};

static void test_machines__refusals_name_the_member(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char path[] = "/tmp/tenon-machines-XXXXXX";
        tn_machine_space s;
        tn_error err = TN_ERROR_INIT;
        FILE *file = fdopen(mkstemp(path), "w");
        assert_non_null(file);
        for (const char *c = refusals[i].text; *c; c++) fputc(*c == '\'' ? '"' : *c, file);
        fclose(file);
        assert_int_equal(tn_machine_space_load(path, &s, &err), TN_INVALID);
        assert_string_equal(err.message, refusals[i].message);
        assert_int_equal(s.base.memory.channels, 0);
        unlink(path);
    }
}

static void test_machines__documentation_names_every_quantity(void **state) {
    (void)state;
    static char text[65536];
    FILE *file = fopen("docs/machines.md", "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    for (int i = 0; i < TN_QUANTITY_COUNT; i++) {
        char cell[64];
        snprintf(cell, sizeof cell, "| `%s` |", tn__quantities[i].member);
        if (!strstr(text, cell)) fail_msg("docs/machines.md does not name %s", cell);
        assert_non_null(strstr(text, tn__quantities[i].meaning));
    }
}

static void test_machines__missing_file(void **state) {
    (void)state;
    tn_machine_space s;
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_machine_space_load("machines/none.json", &s, &err), TN_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machines__published_design),
        cmocka_unit_test(test_machines__published_space),
        cmocka_unit_test(test_machines__utilization_belongs_to_its_element),
        cmocka_unit_test(test_machines__refusals_name_the_member),
        cmocka_unit_test(test_machines__documentation_names_every_quantity),
        cmocka_unit_test(test_machines__missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
