/* A member as an ordinary model: the bits of its file's, from each kind of member. */
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

#include "session/session.h"
#include "wide/wide.h"

static void expect_same_bits(tn_wide *w, int member, const tn_buffer *x) {
    tn_error err = TN_ERROR_INIT;
    tn_model *model;
    tn_session *s, *t;
    tn_buffer alone = {0}, file = {0};
    const char *path = in_folder("extracted.onnx");
    check(tn__wide_alone(w, member, &model, &err), &err);
    check(tn_session_create(model, &s, &err), &err);
    check(tn_session_run(s, x, 1, &alone, 1, &err), &err);
    check(tn_wide_extract(w, member, path, &err), &err);
    run_alone(path, x, 1, &file, 1, &t);
    expect_close(&alone, &file, 0);
    tn_session_release(s);
    tn_session_release(t);
    tn_model_release(model);
}

static void test_alone__is_the_member_extracted(void **state) {
    (void)state;
    uint64_t seed = 3;
    const char *a = write_mlp("a.onnx", "Relu", 1, false);
    const tn_wide_member members[] = {{.model = a},
                                      {.model = a, .perturbed = true, .seed = 7},
                                      {.model = write_mlp("b.onnx", "Tanh", 2, false)}};
    tn_wide_options o = lab_options();
    o.layout = TN_WIDE_PACKED;
    tn_wide *w = open_wide(members, 3, &o);
    assert_int_equal(tn_wide_group_count(w), 2);
    tn_buffer x = floats_of(&seed, DIMS(4, 6));
    for (int i = 0; i < 3; i++) expect_same_bits(w, i, &x);
    free(x.data);
    tn_wide_release(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone__is_the_member_extracted),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
