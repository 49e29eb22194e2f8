/* ONNX models as functions of lazy tensors: gradients against PyTorch's, training, saving. The golden models
 * are tools/golden_onnx.py's. */
#include <sys/stat.h>
#include <tenon/onnx.h>
#include <tenon/train.h>
#include <unistd.h>

#include "unit/nn/golden_npz.h"
#include "unit/nn/lazy_test.h"
#include "unit/test_folder.h"

#define GOLDEN "tests/golden/onnx"
#define DIGITS "examples/digits"

typedef struct lab {
    tn_context *c;
    tn_module *m;
    tn_onnx *x;
    tn_scope *scope;
} lab;

static lab lab_open(const char *path, const tn_onnx_options *options, tn_compile_mode mode) {
    lab l = {.c = lazy_context(mode, 2)};
    tn_error err = TN_ERROR_INIT;
    must(tn_module_create(l.c, NULL, &l.m, &err), &err);
    must(tn_onnx_open(path, l.m, options, &l.x, &err), &err);
    l.scope = tn_scope_open(l.c);
    return l;
}

static void lab_close(lab *l) {
    tn_scope_close(l->scope);
    tn_onnx_release(l->x);
    tn_module_release(l->m);
    tn_context_release(l->c);
}

static const tn_array *wanted(const char *model, const char *key) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", model, key);
    for (uint32_t i = 0; i < golden.len; i++)
        if (strcmp(golden.data[i].name, name) == 0) return &golden.data[i].array;
    return NULL;
}

static tn_tensor *tensor_of(tn_context *c, const tn_array *a) {
    return tn_tensor_from(c, a->dtype, a->rank, a->dim, a->data);
}

static tn_tensor *logits_of(const lab *l, tn_tensor *x) {
    tn_tensor *logits;
    tn_onnx_apply(l->x, &x, 1, &logits, 1);
    return logits;
}

static tn_tensor *loss_of(const lab *l, tn_tensor *x, tn_tensor *target) {
    tn_tensor *logits = logits_of(l, x);
    int64_t classes = tn_tensor_dim(logits, -1);
    return tn_cross_entropy(tn_reshape(logits, TN_SHAPE(-1, classes)),
                            tn_reshape(target, TN_SHAPE(-1)));
}

/* Of all of the tensor's elements, against the largest one. */
static void expect_gradient(const char *name, tn_tensor *x, const tn_array *want) {
    int64_t n = tn_array_count(want);
    double largest = 1e-3, *got = numbers_of(x);
    const float *w = want->data;
    assert_int_equal(tn_tensor_count(x), n);
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)w[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - (double)w[i]) <= 1e-5 * largest))
            fail_msg("%s[%lld]: %.9g, expected %.9g (largest %.3g)", name, (long long)i, got[i],
                     (double)w[i], largest);
    free(got);
}

static void check_gradients(const char *model, int parameters) {
    char path[128], key[128];
    snprintf(path, sizeof path, GOLDEN "/%s.onnx", model);
    lab l = lab_open(path, NULL, TN_COMPILE_AUTO);
    tn_tensor *p[64], *grads[64];
    const tn_array *want[64];
    const char *name[64];
    int count = 0;
    tn_module_item part;
    for (int i = 0; tn_module_entry(l.m, i, &part); i++) {
        snprintf(key, sizeof key, "d.%s", part.name);
        const tn_array *w = wanted(model, key);
        assert_int_equal(w != NULL, part.trainable);
        if (!w) continue;
        p[count] = part.tensor;
        name[count] = part.name;
        want[count++] = w;
    }
    assert_int_equal(count, parameters);
    tn_tensor *x = tensor_of(l.c, wanted(model, "in0"));
    tn_tensor *loss = loss_of(&l, x, tensor_of(l.c, wanted(model, "in1")));
    tn_grad(loss, NULL, p, count, grads);
    expect_near(item(loss), *(const double *)wanted(model, "loss")->data, 1e-5);
    for (int i = 0; i < count; i++) expect_gradient(name[i], grads[i], want[i]);
    lab_close(&l);
}

static void test_gradients__are_pytorchs(void **state) {
    (void)state;
    check_gradients("cnn", 12);
    check_gradients("transformer", 29);
}

/* A scan, a loop with a constant number of rounds, a branch, an LSTM. */
static void test_gradients__go_through_control_flow(void **state) {
    (void)state;
    check_gradients("control", 7);
}

/* ---- values --------------------------------------------------------------------------------- */

static void check_like_session(const lab *l, tn_model *model, int64_t rows, int64_t length) {
    tn_error err = TN_ERROR_INIT;
    tn_session *s;
    int64_t ids[64];
    for (int64_t i = 0; i < rows * length; i++) ids[i] = (i * 7 + rows) % 40;
    tn_buffer in = {.dtype = TN_i64, .rank = 2, .dim = {rows, length}, .data = ids}, out = {0};
    must(tn_session_create(model, &s, &err), &err);
    must(tn_session_run(s, &in, 1, &out, 1, &err), &err);
    tn_tensor *logits = logits_of(l, tn_tensor_from(l->c, TN_i64, TN_SHAPE(rows, length), ids));
    double *got = numbers_of(logits);
    assert_int_equal(tn_tensor_count(logits), rows * length * 40);
    for (int64_t i = 0; i < rows * length * 40; i++)
        expect_near(got[i], (double)((const float *)out.data)[i], 1e-5);
    free(got);
    tn_session_release(s);
}

static void test_apply__follows_the_sizes_of_its_inputs(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_model *model;
    lab l = lab_open(GOLDEN "/transformer.onnx", NULL, TN_COMPILE_AUTO);
    must(tn_model_open(GOLDEN "/transformer.onnx", NULL, &model, &err), &err);
    check_like_session(&l, model, 2, 5);
    check_like_session(&l, model, 3, 12);
    check_like_session(&l, model, 2, 5);
    tn_model_release(model);
    lab_close(&l);
}

static void test_ports__are_those_of_the_file(void **state) {
    (void)state;
    lab l = lab_open(GOLDEN "/transformer.onnx", NULL, TN_COMPILE_INTERPRET);
    tn_port_info port;
    assert_int_equal(tn_onnx_input_count(l.x), 1);
    assert_int_equal(tn_onnx_input(l.x, 0, &port), TN_OK);
    assert_string_equal(port.name, "x");
    assert_string_equal(port.symbol[1], "sequence");
    assert_int_equal(port.dim[0], -1);
    assert_int_equal(tn_onnx_output(l.x, 0, &port), TN_OK);
    assert_int_equal(port.dim[2], 40);
    assert_int_equal(tn_onnx_output(l.x, 1, &port), TN_NOT_FOUND);
    lab_close(&l);
}

/* ---- what is trained ------------------------------------------------------------------------ */

static bool trainable(const lab *l, const char *name) {
    tn_module_item part;
    for (int i = 0; tn_module_entry(l->m, i, &part); i++)
        if (strcmp(part.name, name) == 0) return part.trainable;
    fail_msg("there is no '%s'", name);
    return false;
}

static void test_open__freezes_by_pattern(void **state) {
    (void)state;
    tn_onnx_options o = TN_ONNX_OPTIONS_INIT;
    o.frozen = (const char *const[]){"c?.*", "*.bias"};
    o.frozen_count = 2;
    lab l = lab_open(GOLDEN "/cnn.onnx", &o, TN_COMPILE_INTERPRET);
    assert_false(trainable(&l, "c1.weight"));
    assert_false(trainable(&l, "out.bias"));
    assert_false(trainable(&l, "n1.running_mean"));
    assert_true(trainable(&l, "n1.weight"));
    assert_true(trainable(&l, "out.weight"));
    assert_int_equal(tn_module_match_trainable(l.m, "*", false), 12);
    assert_int_equal(tn_module_match_trainable(l.m, "out.*", true), 2);
    assert_true(trainable(&l, "out.bias"));
    assert_false(trainable(&l, "n1.running_mean"));
    lab_close(&l);
}

static void test_open__takes_what_the_module_has(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    lab l = lab_open(GOLDEN "/cnn.onnx", NULL, TN_COMPILE_INTERPRET);
    tn_tensor *bias = tn_module_find(l.m, "out.bias");
    tn_assign(bias, tn_full(l.c, TN_f32, TN_SHAPE(5), 3));
    tn_onnx *again;
    must(tn_onnx_open(GOLDEN "/cnn.onnx", l.m, NULL, &again, &err), &err);
    expect_f32(bias, (const float[]){3, 3, 3, 3, 3}, 5, 0);
    tn_onnx_release(again);
    lab_close(&l);
}

/* ---- saving --------------------------------------------------------------------------------- */

static void fill_with(const lab *l, const char *name, double value) {
    tn_tensor *x = tn_module_find(l->m, name);
    assert_non_null(x);
    int64_t dim[TN_MAX_RANK];
    for (int a = 0; a < tn_tensor_rank(x); a++) dim[a] = tn_tensor_dim(x, a);
    tn_assign(x, tn_full(l->c, tn_tensor_dtype(x), tn_tensor_rank(x), dim, value));
}

static void expect_all(const lab *l, const char *name, double value) {
    tn_tensor *x = tn_module_find(l->m, name);
    double *have = numbers_of(tn_cast(x, TN_f64));
    for (int64_t i = 0; i < tn_tensor_count(x); i++) expect_near(have[i], value, 0);
    free(have);
}

/* However the elements lie in the file. */
static void test_save__replaces_all_kinds_of_data(void **state) {
    (void)state;
    static const char *const names[] = {"raw", "floats", "doubles", "halves", "outside"};
    char path[600];
    tn_error err = TN_ERROR_INIT;
    snprintf(path, sizeof path, "%s/new.onnx", folder);
    lab l = lab_open(GOLDEN "/storage.onnx", NULL, TN_COMPILE_INTERPRET);
    assert_int_equal(tn_module_count(l.m), 6);
    assert_false(trainable(&l, "mask"));
    for (int i = 0; i < 5; i++) fill_with(&l, names[i], 0.5 + i);
    must(tn_onnx_save(l.x, path, &err), &err);
    lab again = lab_open(path, NULL, TN_COMPILE_INTERPRET);
    for (int i = 0; i < 5; i++) expect_all(&again, names[i], 0.5 + i);
    /* Σ x (0.5 + 4.5) · 1.5 + 2.5 + 3.5, at most the mask */
    float x[18], want[24];
    for (int i = 0; i < 18; i++) x[i] = (float)(i / 3);
    for (int i = 0; i < 24; i++) want[i] = i % 4 == 1 ? (float)(i / 4) * 22.5F + 6 : 1;
    expect_f32(logits_of(&again, tn_tensor_from(again.c, TN_f32, TN_SHAPE(6, 3), x)), want, 24, 0);
    fill_with(&again, "outside", 9); /* into the file that is open */
    must(tn_onnx_save(again.x, path, &err), &err);
    lab third = lab_open(path, NULL, TN_COMPILE_INTERPRET);
    expect_all(&third, "outside", 9);
    expect_all(&third, "raw", 0.5);
    lab_close(&third);
    lab_close(&again);
    lab_close(&l);
}

static void copy_file(const char *from, const char *name) {
    char path[600], bytes[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");
    assert_true(in && out);
    size_t size = fread(bytes, 1, sizeof bytes, in);
    assert_true(size < sizeof bytes && fwrite(bytes, 1, size, out) == size);
    fclose(in);
    fclose(out);
}

static void test_save__leaves_the_opened_models_data_alone(void **state) {
    (void)state;
    char model[600], beside[600], parts[600];
    tn_error err = TN_ERROR_INIT;
    snprintf(model, sizeof model, "%s/model.onnx", folder);
    snprintf(beside, sizeof beside, "%s/beside.onnx", folder);
    snprintf(parts, sizeof parts, "%s/parts", folder);
    mkdir(parts, 0755); /* maybe there */
    copy_file(GOLDEN "/storage.onnx", "model.onnx");
    copy_file(GOLDEN "/parts/storage.bin", "parts/storage.bin");
    lab l = lab_open(model, NULL, TN_COMPILE_INTERPRET);
    fill_with(&l, "outside", 7);
    must_fail(tn_onnx_save(l.x, beside, &err), TN_INVALID, &err, "'parts/storage.bin'");
    assert_int_equal(access(beside, F_OK), -1);
    snprintf(beside, sizeof beside, "%s/none/beside.onnx", folder);
    must_fail(tn_onnx_save(l.x, beside, &err), TN_IO, &err, "none/beside.onnx: cannot create");
    for (int i = 0; i < 2; i++) must(tn_onnx_save(l.x, model, &err), &err);
    lab again = lab_open(model, NULL, TN_COMPILE_INTERPRET);
    expect_all(&again, "outside", 7);
    lab_close(&again);
    lab_close(&l);
}

/* The file chooses that name. */
static void test_save__leaves_other_files_alone(void **state) {
    (void)state;
    char target[600], sub[600], parts[600];
    tn_error err = TN_ERROR_INIT;
    snprintf(sub, sizeof sub, "%s/sub", folder);
    snprintf(parts, sizeof parts, "%s/sub/parts", folder);
    snprintf(target, sizeof target, "%s/sub/tuned.onnx", folder);
    assert_int_equal(mkdir(sub, 0755) | mkdir(parts, 0755), 0);
    copy_file(GOLDEN "/storage.onnx", "sub/parts/storage.bin");
    lab l = lab_open(GOLDEN "/storage.onnx", NULL, TN_COMPILE_INTERPRET);
    must_fail(tn_onnx_save(l.x, target, &err), TN_INVALID, &err,
              "names 'parts/storage.bin' as its external data");
    assert_int_equal(access(target, F_OK), -1);
    copy_file(GOLDEN "/parts/storage.bin", "sub/parts/storage.bin"); /* as of an earlier save */
    must(tn_onnx_save(l.x, target, &err), &err);
    lab_close(&l);
}

/* ---- training ------------------------------------------------------------------------------- */

enum { SIDE = 8, DIGITS_COUNT = 1797, TRAIN = 1400 };

/* The digits lying on their side, in 0 … 1. */
static void read_digits(float *x, int64_t *labels) {
    tn_arena arena;
    tn_array images, classes;
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&arena, tn_allocator_system());
    must(tn_import_npy(DIGITS "/all_images.npy", &arena, &images, &err), &err);
    must(tn_import_npy(DIGITS "/all_labels.npy", &arena, &classes, &err), &err);
    const uint8_t *from = images.data;
    for (int i = 0; i < DIGITS_COUNT; i++) {
        labels[i] = ((const uint8_t *)classes.data)[i];
        for (int p = 0; p < SIDE * SIDE; p++)
            x[i * SIDE * SIDE + p] =
                (float)from[i * SIDE * SIDE + p % SIDE * SIDE + SIDE - 1 - p / SIDE] / 16;
    }
    tn_arena_deinit(&arena);
}

static tn_tensor *train_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)m;
    return loss_of(context, batch[0], batch[1]);
}

static double held_out_loss(const lab *l, const float *x, const int64_t *labels) {
    enum { REST = DIGITS_COUNT - TRAIN };
    tn_scope *scope = tn_scope_open(l->c);
    double loss = item(loss_of(
        l, tn_tensor_from(l->c, TN_f32, TN_SHAPE(REST, 1, SIDE, SIDE), x + TRAIN * SIDE * SIDE),
        tn_tensor_from(l->c, TN_i64, TN_SHAPE(REST), labels + TRAIN)));
    tn_scope_close(scope);
    return loss;
}

static void train(lab *l, float *x, int64_t *labels, int steps) {
    enum { BATCH = 64 };
    tn_error err = TN_ERROR_INIT;
    tn_train_step *step;
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_buffer batch[2] = {{.dtype = TN_f32, .rank = 4, .dim = {BATCH, 1, SIDE, SIDE}},
                          {.dtype = TN_i64, .rank = 1, .dim = {BATCH}}};
    o.module = l->m, o.loss = train_loss, o.context = l, o.batch = batch, o.batch_count = 2;
    must(tn_train_step_compile(&o, &step, &err), &err);
    for (int i = 0; i < steps; i++) {
        tn_train_metrics metrics;
        int first = i * BATCH % (TRAIN - BATCH);
        batch[0].data = x + first * SIDE * SIDE;
        batch[1].data = labels + first;
        must(tn_train_step_run(step, batch, 2e-3, &metrics, &err), &err);
    }
    tn_train_step_release(step);
}

static void test_training__improves_an_exported_classifier(void **state) {
    (void)state;
    static float x[DIGITS_COUNT * SIDE * SIDE];
    static int64_t labels[DIGITS_COUNT];
    char path[600];
    tn_error err = TN_ERROR_INIT;
    read_digits(x, labels);
    snprintf(path, sizeof path, "%s/tuned.onnx", folder);
    lab l = lab_open(DIGITS "/digits.onnx", NULL, TN_COMPILE_AUTO);
    double before = held_out_loss(&l, x, labels);
    train(&l, x, labels, 60);
    uint64_t compiles = statistics(l.c).compiles;
    train(&l, x, labels, 5);
    assert_int_equal(statistics(l.c).compiles, compiles);
    double after = held_out_loss(&l, x, labels);
    if (!(before > 1 && after < 0.2 * before)) fail_msg("loss %g, then %g", before, after);
    must(tn_onnx_save(l.x, path, &err), &err);
    lab tuned = lab_open(path, NULL, TN_COMPILE_AUTO);
    expect_near(held_out_loss(&tuned, x, labels), after, 0);
    lab_close(&tuned);
    lab_close(&l);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void test_apply__says_what_is_wrong(void **state) {
    (void)state;
    tn_tensor *out, *two[2];
    lab l = lab_open(GOLDEN "/cnn.onnx", NULL, TN_COMPILE_INTERPRET);
    tn_onnx_apply(l.x, NULL, 0, &out, 1);
    refused(l.c, "0 inputs and 1 outputs; the model has 1 and 1");
    logits_of(&l, tn_tensor_from(l.c, TN_i64, TN_SHAPE(1, 1, 10, 10), NULL));
    refused(l.c, "input 'x' is i64; the model takes f32");
    logits_of(&l, tn_tensor_from(l.c, TN_f32, TN_SHAPE(1, 10, 10), NULL));
    refused(l.c, "input 'x' has 3 axes; the model takes 4");
    logits_of(&l, tn_tensor_from(l.c, TN_f32, TN_SHAPE(1, 3, 10, 10), NULL));
    refused(l.c, "input 'x': axis 1 has size 3; the model takes 1");
    two[0] = logits_of(&l, NULL);
    assert_false(tn_tensor_ok(two[0]));
    lab_close(&l);
}

static void test_open__says_what_is_wrong(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_onnx *x;
    lab l = lab_open(GOLDEN "/cnn.onnx", NULL, TN_COMPILE_INTERPRET);
    must_fail(tn_onnx_open("none.onnx", l.m, NULL, &x, &err), TN_NOT_FOUND, &err, "none.onnx");
    must_fail(tn_onnx_open("README.md", l.m, NULL, &x, &err), TN_INVALID, &err, "README.md");
    tn_onnx_value value = {.name = "y", .value = {.dtype = TN_i64}};
    int64_t number = 0;
    value.value.data = &number;
    tn_onnx_options o = {.size = sizeof o, .values = &value, .value_count = 1};
    must_fail(tn_onnx_open(GOLDEN "/cnn.onnx", l.m, &o, &x, &err), TN_NOT_FOUND, &err,
              "no input named 'y'");
    o.size = 0;
    must_fail(tn_onnx_open(GOLDEN "/cnn.onnx", l.m, &o, &x, &err), TN_INVALID, &err,
              "TN_ONNX_OPTIONS_INIT");
    lab_close(&l);
}

/* A shape that is an input, and a loop that has no gradient. */
static void test_gradients__name_the_node_that_has_none(void **state) {
    (void)state;
    int64_t shape[2] = {2, 1};
    float numbers[2] = {1, 2};
    lab l = lab_open(GOLDEN "/refused.onnx", NULL, TN_COMPILE_INTERPRET);
    tn_tensor *in[2] = {tn_tensor_from(l.c, TN_f32, TN_SHAPE(2), numbers),
                        tn_tensor_from(l.c, TN_i64, TN_SHAPE(2), shape)};
    tn_tensor *out, *grad;
    tn_onnx_apply(l.x, in, 2, &out, 1);
    refused(l.c, "give the value of 'shape' to tn_onnx_open");
    lab_close(&l);
    tn_onnx_value value = {"shape", {.dtype = TN_i64, .rank = 1, .dim = {2}, .data = shape}};
    tn_onnx_options o = {.size = sizeof o, .values = &value, .value_count = 1};
    l = lab_open(GOLDEN "/refused.onnx", &o, TN_COMPILE_INTERPRET);
    in[0] = tn_tensor_from(l.c, TN_f32, TN_SHAPE(2), numbers);
    in[1] = NULL;
    tn_onnx_apply(l.x, in, 2, &out, 1);
    expect_f32(out, (const float[]){64, 128}, 2, 0);
    tn_onnx_apply(l.x, in, 2, &out, 1);
    tn_tensor *w = tn_module_find(l.m, "w");
    tn_grad(tn_sum(out, TN_ALL_AXES, false), NULL, &w, 1, &grad);
    refused(l.c, "gradient of 'grow' (while)");
    lab_close(&l);
}

static int load(void **state) {
    return make_folder(state) == 0 ? golden_load(GOLDEN "/gradients.npz") : -1;
}

static int unload(void **state) {
    return remove_folder(state) | golden_unload(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients__are_pytorchs),
        cmocka_unit_test(test_gradients__go_through_control_flow),
        cmocka_unit_test(test_apply__follows_the_sizes_of_its_inputs),
        cmocka_unit_test(test_ports__are_those_of_the_file),
        cmocka_unit_test(test_open__freezes_by_pattern),
        cmocka_unit_test(test_open__takes_what_the_module_has),
        cmocka_unit_test(test_save__replaces_all_kinds_of_data),
        cmocka_unit_test(test_save__leaves_the_opened_models_data_alone),
        cmocka_unit_test(test_save__leaves_other_files_alone),
        cmocka_unit_test(test_training__improves_an_exported_classifier),
        cmocka_unit_test(test_apply__says_what_is_wrong),
        cmocka_unit_test(test_open__says_what_is_wrong),
        cmocka_unit_test(test_gradients__name_the_node_that_has_none),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
