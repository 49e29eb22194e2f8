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

/* ---- one member --------------------------------------------------------------------------------- */

/* Two outputs of other numbers of axes. */
static const char *write_split(void) {
    wire g = {.len = 0};
    uint64_t seed = 11;
    wire_input(&g, "x", W_FLOAT, "B,4,6");
    wire_weight(&g, "w", DIMS(6, 12), 0.5f, &seed);
    wire dim = wire_tensor("to", W_INT64, 1, (int64_t[]){1}, (int64_t[]){-1}, sizeof(int64_t));
    wire_put(&g, 5, &dim);
    wire mul = wire_node("MatMul x w > h"), soft = wire_node("Softmax h > s");
    wire flat = wire_node("Reshape s to > y");
    wire_put(&g, 1, &mul);
    wire_put(&g, 1, &soft);
    wire_put(&g, 1, &flat);
    wire_output(&g, "s", W_FLOAT, "B,4,12");
    wire_output(&g, "y", W_FLOAT, "M");
    const char *path = in_folder("split.onnx");
    write_model(&g, 20, path);
    return path;
}

static void expect_same_kernels(const tn_program *a, const tn_program *b) {
    tn_str x, y;
    tn_str_init(&x);
    tn_str_init(&y);
    assert_int_equal(a->kernels.len, b->kernels.len);
    for (uint32_t i = 0; i < a->kernels.len; i++) {
        tn_loop_print(a->kernels.data[i], true, &x);
        tn_loop_print(b->kernels.data[i], true, &y);
    }
    assert_string_equal(tn_str_text(&x), tn_str_text(&y));
    tn_str_deinit(&x);
    tn_str_deinit(&y);
}

static void test_alone__one_member_has_the_kernels_of_its_model(void **state) {
    (void)state;
    uint64_t seed = 4;
    const char *path = write_split();
    tn_wide_options o = lab_options();
    tn_wide *w = open_wide(&(tn_wide_member){.model = path}, 1, &o);
    tn_wide_group_info info;
    tn_buffer x = floats_of(&seed, DIMS(1, 3, 4, 6)), one = part_of(&x, 0), y[2] = {0};
    tn_session *s;
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    run_alone(path, &one, 1, y, 2, &s);
    expect_same_kernels(tn_model_artifact(info.model)->program, tn_session_artifact(s)->program);
    expect_as_alone(w, &path, &x, 1, NULL, 2);
    tn_session_release(s);
    free(x.data);
    tn_wide_release(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone__is_the_member_extracted),
        cmocka_unit_test(test_alone__one_member_has_the_kernels_of_its_model),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
