/* What does not fit is refused before it is taken; what was made once is not made again. */
#include "session/session.h"
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

enum { MEMBERS = 6 };

static tn_wide_member members[MEMBERS];

static void write_members(bool shared) {
    char name[32];
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof name, "m%d%d.onnx", i, shared);
        members[i].model = write_mlp(name, "Relu", (uint64_t)i, shared);
    }
}

/* How many fit, as the refusal of all says. */
static int most_that_fit(const tn_wide_options *o) {
    tn_error err = TN_ERROR_INIT;
    char text[1024];
    tn_wide *w;
    tn_status status = tn_wide_open(members, MEMBERS, o, &w, &err);
    assert_int_equal(status, TN_OUT_OF_MEMORY);
    tn_error_format(&err, text, sizeof text);
    const char *most = strstr(text, "at most ");
    assert_non_null(most);
    expect_error(status, &err, "6 members take ");
    return atoi(most + strlen("at most "));
}

/* 100 weights of 4 bytes, and what kernels make of them, which depends on the machine. */
static void test_memory__too_many_members_are_refused(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    tn_wide *w;
    write_members(false);
    o.memory = 4300;
    int most = most_that_fit(&o);
    assert_in_range(most, 1, MEMBERS - 1);
    w = open_wide(members, most, &o);
    tn_status status = tn_wide_insert(w, most, &members[most], &err);
    assert_int_equal(status, TN_OUT_OF_MEMORY);
    expect_error(status, &err, " members take ");
    assert_int_equal(tn_wide_count(w), most);
    tn_wide_release(w);
    o.memory = 10;
    expect_error(tn_wide_open(members, 1, &o, &w, &err), &err, "1 member takes ");
    expect_error(tn_wide_open(members, 2, &o, &w, &err), &err, "not even one fits");
}

/* Weights that are equal count once: 70 of 100 are own. */
static void test_memory__counts_shared_weights_once(void **state) {
    (void)state;
    tn_wide_options o = lab_options();
    o.memory = 3500;
    write_members(false);
    int most = most_that_fit(&o);
    write_members(true);
    assert_true(most_that_fit(&o) > most);
    tn_wide_member same[MEMBERS];
    for (int i = 0; i < MEMBERS; i++) same[i] = members[0];
    tn_wide_release(open_wide(same, MEMBERS, &o));
}

static void test_memory__large_inputs_are_refused(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    uint64_t seed = 1;
    write_members(false);
    o.memory = 1 << 20;
    tn_wide *w = open_wide(members, 4, &o);
    tn_buffer x = floats_of(&seed, DIMS(4, 20000, 6)), y = {0};
    tn_status status = tn_wide_run(w, &x, 1, &y, 1, &err);
    assert_int_equal(status, TN_OUT_OF_MEMORY);
    expect_error(status, &err, "for inputs of these sizes");
    expect_error(status, &err, "fit");
    x.dim[1] = 10;
    check(tn_wide_run(w, &x, 1, &y, 1, &err), &err);
    tn_wide_group_info info;
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    assert_true(info.bytes >= 4 * 100 * 4 && info.bytes < o.memory);
    tn_wide_release(w);
    free(x.data);
}

static void test_memory__programs_come_from_the_cache(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    tn_wide_group_info info;
    char cache[512];
    snprintf(cache, sizeof cache, "%s/cache", folder);
    o.compile.cache = cache;
    write_members(true);
    for (int again = 0; again < 2; again++) {
        tn_wide *w = open_wide(members, 3, &o);
        assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
        assert_int_equal(info.own_weights, 70);
        assert_int_equal(tn_model_artifact(info.model)->stats.program_cached, again);
        tn_wide_release(w);
    }
    write_mlp("m11.onnx", "Relu", 99, true); /* another file of that name */
    tn_wide *w = open_wide(members, 3, &o);
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    assert_false(tn_model_artifact(info.model)->stats.program_cached);
    tn_wide_release(w);
    members[1].perturbed = true;
    for (uint64_t seed = 0; seed < 4; seed++) {
        members[1].seed = seed / 2;
        w = open_wide(members, 3, &o);
        assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
        assert_int_equal(tn_model_artifact(info.model)->stats.program_cached, seed % 2);
        tn_wide_release(w);
    }
    members[1].perturbed = false;
    (void)err;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory__too_many_members_are_refused),
        cmocka_unit_test(test_memory__counts_shared_weights_once),
        cmocka_unit_test(test_memory__large_inputs_are_refused),
        cmocka_unit_test(test_memory__programs_come_from_the_cache),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
