/* Members of a population: made of modules and files, taken out, put back, added, removed; what they are in
 * files of their own. */
#include <tenon/checkpoint.h>
#include <tenon/onnx.h>

#include "unit/test_folder.h"
#include "unit/wide/population_lab.h"

static void net(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *h = tn_relu(tn_batch_norm(m, "bn", tn_linear(m, "fc1", x[0], 4)));
    y[0] = tn_linear(tn_module_child(m, "head"), "out", tn_dropout(m, "drop", h, 0.4), 2);
}

static tn_tensor *inputs(tn_context *c) {
    return some_numbers(c, TN_f32, TN_SHAPE(LAB_MEMBERS, 5, 3), 1);
}

static tn_population_call call_of(tn_tensor *const *x) {
    return (tn_population_call){
        .size = sizeof(tn_population_call), .fn = net, .x = x, .x_count = 1, .y_count = 1};
}

/* A population that equals its modules, after a few calls. */
static lab used_lab(void) {
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = inputs(l.c);
    for (int i = 0; i < 2; i++) lab_compare(&l, call_of(&x), 1e-6);
    tn_scope_close(scope);
    return l;
}

static void expect_member(tn_population *p, int member, const tn_module *m) {
    tn_module_item item;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    assert_true(tn_module_count(m) > 0);
    assert_int_equal(tn_module_count(tn_population_module(p)), tn_module_count(m));
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        lab_same(item.name, member, lab_row(tn_population_tensor(p, item.name), member),
                 item.tensor, 0);
    tn_scope_close(scope);
}

static void expect_equal_modules(const tn_module *a, const tn_module *b) {
    tn_module_item x;
    assert_int_equal(tn_module_count(a), tn_module_count(b));
    for (int i = 0; tn_module_entry(a, i, &x); i++)
        lab_same(x.name, 0, tn_module_find(b, x.name), x.tensor, 0);
}

/* ---- in and out ----------------------------------------------------------------------------- */

static void test_get_and_set__copy_bit_for_bit(void **state) {
    (void)state;
    lab l = used_lab();
    tn_error err = TN_ERROR_INIT;
    tn_module *m = lab_module(l.c, 77), *again = lab_module(l.c, 78);
    must(tn_population_get(l.p, 2, m, &err), &err); /* into an empty one */
    expect_member(l.p, 2, m);
    must(tn_population_set(l.p, 0, m, &err), &err);
    expect_member(l.p, 0, m);
    expect_member(l.p, 2, m);
    must(tn_population_get(l.p, 1, m, &err), &err); /* into one that has the names */
    expect_member(l.p, 1, m);
    must(tn_population_get(l.p, 2, again, &err), &err);
    expect_member(l.p, 0, again);
    /* The module goes on by itself, and members that the population assigns lazily are seen. */
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = inputs(l.c), *y, *one, *in;
    tn_population_call call = call_of(&x);
    tn_population_apply(l.p, &call, &y);
    in = lab_row(x, 1);
    net(NULL, m, &in, &one);
    must(tn_eval(&one, 1, &err), &err);
    must(tn_population_get(l.p, 1, again, &err), &err);
    lab_same("bn.running_mean", 1, tn_module_find(again, "bn.running_mean"),
             tn_module_find(m, "bn.running_mean"), 1e-6);
    lab_same("drop.random", 1, tn_module_find(again, "drop.random"),
             tn_module_find(m, "drop.random"), 0);
    tn_scope_close(scope);
    tn_module_release(m);
    tn_module_release(again);
    lab_close(&l);
}

/* What somebody holds is not written to. */
static void test_set__leaves_values_that_are_held(void **state) {
    (void)state;
    lab l = used_lab();
    tn_error err = TN_ERROR_INIT;
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *w = tn_population_tensor(l.p, "fc1.bias"), *twice = tn_add(w, w), *held;
    double *before = numbers_of(w);
    held = tn_full(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 4), 0);
    tn_assign(held, w);
    must(tn_population_set(l.p, 0, l.alone[1], &err), &err);
    double *after = numbers_of(held), *sum = numbers_of(twice);
    for (int i = 0; i < LAB_MEMBERS * 4; i++) {
        assert_true(after[i] == before[i]);
        assert_true(sum[i] == 2 * before[i]);
    }
    expect_member(l.p, 0, l.alone[1]);
    free(before), free(after), free(sum);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_insert_and_remove__move_members(void **state) {
    (void)state;
    lab l = used_lab();
    tn_error err = TN_ERROR_INIT;
    tn_module *m = lab_module(l.c, 77);
    must(tn_population_get(l.p, 1, m, &err), &err);
    must(tn_population_insert(l.p, 0, l.alone[2], &err), &err); /* 2 0 1 2 */
    must(tn_population_insert(l.p, 4, l.alone[1], &err), &err); /* 2 0 1 2 1 */
    must(tn_population_remove(l.p, 1, &err), &err);             /* 2 1 2 1 */
    assert_int_equal(tn_population_count(l.p), 4);
    for (int i = 0; i < 4; i++) expect_member(l.p, i, i % 2 ? m : l.alone[2]);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(4, 5, 3), 1), *y;
    tn_population_call call = call_of(&x);
    tn_population_apply(l.p, &call, &y);
    assert_int_equal(tn_tensor_dim(y, 0), 4);
    must(tn_eval(&y, 1, &err), &err);
    tn_scope_close(scope);
    for (int i = 3; i > 0; i--) must(tn_population_remove(l.p, 0, &err), &err);
    must_fail(tn_population_remove(l.p, 0, &err), TN_INVALID, &err, "the only member");
    tn_module_release(m);
    lab_close(&l);
}

static void test_members__that_are_not_there(void **state) {
    (void)state;
    lab l = used_lab();
    tn_error err = TN_ERROR_INIT;
    tn_module *m = l.alone[0], *other = lab_module(l.c, 1);
    tn_scope *scope = tn_scope_open(l.c);
    must_fail(tn_population_get(l.p, 3, m, &err), TN_NOT_FOUND, &err,
              "there is no member 3; the population has 3: 0 … 2");
    must_fail(tn_population_set(l.p, -1, m, &err), TN_NOT_FOUND, &err, "no member -1");
    must_fail(tn_population_remove(l.p, 3, &err), TN_NOT_FOUND, &err, "no member 3");
    must_fail(tn_population_insert(l.p, 4, m, &err), TN_NOT_FOUND, &err,
              "cannot be inserted at 4; the population has 3: 0 … 3");
    must_fail(tn_population_set(l.p, 0, NULL, &err), TN_INVALID, &err, "the module is NULL");
    must_fail(tn_population_get(l.p, 0, tn_module_child(m, "head"), &err), TN_INVALID, &err,
              "expected the root");
    must_fail(tn_population_set(l.p, 0, tn_population_module(l.p), &err), TN_INVALID, &err,
              "the population's own module");
    must_fail(tn_population_set(l.p, 1, other, &err), TN_INVALID, &err,
              "it has no parameter 'fc1.weight', which the population has");
    tn_linear(other, "fc1", some_numbers(l.c, TN_f32, TN_SHAPE(1, 7), 1), 4);
    must_fail(tn_population_insert(l.p, 1, other, &err), TN_INVALID, &err,
              "parameter 'fc1.weight' is f32[4, 7]; the population has the parameter f32[4, 3]");
    must_fail(tn_population_get(l.p, 1, other, &err), TN_INVALID, &err, "the module for member 1");
    for (int i = 0; i < LAB_MEMBERS; i++) expect_member(l.p, i, l.alone[i]);
    tn_scope_close(scope);
    tn_module_release(other);
    lab_close(&l);
}

/* ---- of modules ----------------------------------------------------------------------------- */

static void test_from__copies_modules(void **state) {
    (void)state;
    lab l = used_lab();
    tn_error err = TN_ERROR_INIT;
    tn_population_release(l.p);
    for (int i = 0; i < LAB_MEMBERS; i++) {
        tn_module_match_trainable(l.alone[i], "head.*", false);
        tn_module_set_training(tn_module_child(l.alone[i], "bn"), false);
    }
    must(tn_population_from(l.alone, LAB_MEMBERS, NULL, &l.p, &err), &err);
    for (int i = 0; i < LAB_MEMBERS; i++) expect_member(l.p, i, l.alone[i]);
    tn_module *m = tn_population_module(l.p);
    assert_false(tn_module_training(tn_module_child(m, "bn")));
    assert_true(tn_module_training(tn_module_child(m, "drop")));
    tn_module_item a, b;
    for (int i = 0; tn_module_entry(m, i, &a); i++) {
        assert_true(tn_module_entry(l.alone[0], i, &b));
        assert_int_equal(a.trainable, b.trainable);
        assert_int_equal(a.buffer, b.buffer);
    }
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = inputs(l.c);
    for (int i = 0; i < 2; i++) lab_compare(&l, call_of(&x), 1e-6);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_from__names_the_first_difference(void **state) {
    (void)state;
    lab l = used_lab();
    tn_error err = TN_ERROR_INIT;
    tn_population *p = NULL;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *elsewhere = lab_module(c, 1), *list[] = {l.alone[0], l.alone[1], NULL};
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    must_fail(tn_population_from(list, 0, NULL, &p, &err), TN_INVALID, &err,
              "a population of 0 modules");
    must_fail(tn_population_from(list, 3, NULL, &p, &err), TN_INVALID, &err, "member 2");
    list[2] = tn_module_child(l.alone[2], "head");
    must_fail(tn_population_from(list, 3, NULL, &p, &err), TN_INVALID, &err,
              "'head' is a module below a root");
    list[2] = elsewhere;
    must_fail(tn_population_from(list, 3, NULL, &p, &err), TN_INVALID, &err,
              "another context than member 0");
    tn_module_buffer(l.alone[2], "extra", TN_f32, TN_SHAPE(2), tn_init_zeros());
    list[2] = l.alone[2];
    must_fail(tn_population_from(list, 3, NULL, &p, &err), TN_INVALID, &err,
              "it has a buffer 'extra', which member 0 has not");
    o.shared_parameters = true, o.members = 2;
    must_fail(tn_population_from(list, 2, &o, &p, &err), TN_INVALID, &err,
              "2 modules whose parameters all members share");
    assert_null(p);
    tn_module_release(elsewhere);
    tn_context_release(c);
    lab_close(&l);
}

/* ---- files ---------------------------------------------------------------------------------- */

static void test_member__becomes_a_file_of_tensors(void **state) {
    (void)state;
    lab l = used_lab();
    tn_error err = TN_ERROR_INIT;
    char path[300];
    tn_module *m = lab_module(l.c, 77), *back = lab_module(l.c, 78);
    tn_named_tensor list[16];
    tn_module_item item;
    int n = 0;
    snprintf(path, sizeof path, "%s/member.safetensors", folder);
    must(tn_population_get(l.p, 1, m, &err), &err);
    for (; tn_module_entry(m, n, &item); n++) list[n] = (tn_named_tensor){item.name, item.tensor};
    must(tn_tensors_save(path, list, n, &err), &err);
    must(tn_population_get(l.p, 0, back, &err), &err);
    for (n = 0; tn_module_entry(back, n, &item); n++)
        list[n] = (tn_named_tensor){item.name, item.tensor};
    tn_tensor_file *file;
    must(tn_tensor_file_open(path, &file, &err), &err);
    must(tn_tensor_file_load(file, list, n, 0, &err), &err);
    tn_tensor_file_release(file);
    expect_equal_modules(back, l.alone[1]);
    must(tn_population_set(l.p, 0, back, &err), &err);
    expect_member(l.p, 0, l.alone[1]);
    tn_module_release(m);
    tn_module_release(back);
    lab_close(&l);
}

/* ---- ONNX ----------------------------------------------------------------------------------- */

static void onnx(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)m;
    tn_onnx_apply(context, x, 1, y, 1);
}

static tn_onnx *open_onnx(tn_module *m, const char *path) {
    tn_error err = TN_ERROR_INIT;
    tn_onnx *x;
    must(tn_onnx_open(path, m, NULL, &x, &err), &err);
    return x;
}

/* Weights that differ from the file's. */
static void disturb(tn_module *m, double by) {
    tn_module_item item;
    tn_error err = TN_ERROR_INIT;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    for (int i = 0; tn_module_entry(m, i, &item); i++) {
        tn_assign(item.tensor, tn_mul_scalar(item.tensor, 1 + by));
        must(tn_eval(&item.tensor, 1, &err), &err);
    }
    tn_scope_close(scope);
}

static void test_onnx__models_are_members_and_files(void **state) {
    (void)state;
    static const char *const model = "tests/golden/onnx/cnn.onnx";
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_error err = TN_ERROR_INIT;
    tn_module *m[LAB_MEMBERS], *back = lab_module(c, 9);
    tn_onnx *alone[LAB_MEMBERS];
    tn_population *p;
    char path[300];
    for (int i = 0; i < LAB_MEMBERS; i++) {
        m[i] = lab_module(c, 1);
        alone[i] = open_onnx(m[i], model);
        disturb(m[i], 0.1 * i);
    }
    must(tn_population_from(m, LAB_MEMBERS, NULL, &p, &err), &err);
    tn_onnx *all = open_onnx(tn_population_module(p), model);
    tn_scope *scope = tn_scope_open(c);
    tn_port_info port;
    must(tn_onnx_input(all, 0, &port), &err);
    int64_t dim[TN_MAX_RANK] = {LAB_MEMBERS};
    for (int a = 0; a < port.rank; a++) dim[a + 1] = port.dim[a] > 0 ? port.dim[a] : 2;
    tn_tensor *x = some_numbers(c, TN_f32, port.rank + 1, dim, 3), *y;
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = onnx, call.context = all, call.x = &x, call.x_count = 1, call.y_count = 1;
    tn_population_apply(p, &call, &y);
    for (int i = 0; i < LAB_MEMBERS; i++) {
        tn_tensor *in = lab_row(x, i), *one;
        onnx(alone[i], m[i], &in, &one);
        must(tn_eval(&y, 1, &err), &err);
        lab_same("logits", i, lab_row(y, i), one, 1e-5);
    }
    /* Member 2 as an ordinary file, opened again. */
    snprintf(path, sizeof path, "%s/member.onnx", folder);
    tn_onnx *out = open_onnx(back, model);
    must(tn_population_get(p, 2, back, &err), &err);
    must(tn_onnx_save(out, path, &err), &err);
    tn_module *again = lab_module(c, 10);
    tn_onnx *file = open_onnx(again, path);
    expect_equal_modules(again, m[2]);
    tn_scope_close(scope);
    tn_onnx_release(file), tn_onnx_release(out), tn_onnx_release(all);
    for (int i = 0; i < LAB_MEMBERS; i++) tn_onnx_release(alone[i]);
    tn_population_release(p);
    for (int i = 0; i < LAB_MEMBERS; i++) tn_module_release(m[i]);
    tn_module_release(back), tn_module_release(again);
    tn_context_release(c);
}

/* Opened on the module of an empty population, a file is what all members begin with. */
static void test_onnx__is_what_members_begin_with(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_onnx *all = open_onnx(tn_population_module(l.p), "tests/golden/onnx/cnn.onnx");
    tn_onnx *one = open_onnx(l.alone[0], "tests/golden/onnx/cnn.onnx");
    tn_module_item a, b;
    for (int i = 0; i < LAB_MEMBERS; i++) expect_member(l.p, i, l.alone[0]);
    for (int i = 0; tn_module_entry(l.alone[0], i, &a); i++) {
        tn_module_entry(tn_population_module(l.p), i, &b);
        assert_int_equal(a.trainable, b.trainable);
    }
    tn_onnx_release(all);
    tn_onnx_release(one);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_and_set__copy_bit_for_bit),
        cmocka_unit_test(test_set__leaves_values_that_are_held),
        cmocka_unit_test(test_insert_and_remove__move_members),
        cmocka_unit_test(test_members__that_are_not_there),
        cmocka_unit_test(test_from__copies_modules),
        cmocka_unit_test(test_from__names_the_first_difference),
        cmocka_unit_test(test_member__becomes_a_file_of_tensors),
        cmocka_unit_test(test_onnx__models_are_members_and_files),
        cmocka_unit_test(test_onnx__is_what_members_begin_with),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
