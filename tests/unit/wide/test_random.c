/* Random nodes of ONNX files: dropout in training mode, and the numbers that each member draws. */
#include <tenon/onnx.h>

#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

#include "session/session.h"
#include "wide/wide.h"

enum { ROWS = 40, COLUMNS = 250, COUNT = ROWS * COLUMNS, NEWEST = 22 };

/* ---- files -------------------------------------------------------------------------------------- */

static void add_scalar(wire *g, const char *name, int type, const void *data, size_t size) {
    wire t = wire_tensor(name, type, 0, NULL, data, size);
    wire_put(g, 5, &t);
}

/* "Dropout x p train > y keep" with the ratio, in training mode or not; seed 0: none is given. */
static void add_dropout(wire *g, const char *node, float ratio, bool training, int64_t seed) {
    uint8_t flag = training;
    add_scalar(g, "p", W_FLOAT, &ratio, sizeof ratio);
    add_scalar(g, "train", W_BOOL, &flag, sizeof flag);
    wire drop = wire_node(node);
    if (seed) wire_attr_int(&drop, "seed", seed);
    wire_put(g, 1, &drop);
}

static const char *write_dropout(const char *name, const char *node, float ratio, bool training,
                                 int64_t seed) {
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "B,N");
    add_dropout(&g, node, ratio, training, seed);
    wire_output(&g, "y", W_FLOAT, "B,N");
    wire_output(&g, "keep", W_BOOL, "B,N");
    const char *path = in_folder(name);
    write_model(&g, NEWEST, path);
    return path;
}

/* x → Dropout → MatMul → y: one set of weights. */
static const char *write_network(const char *name, int64_t seed) {
    wire g = {.len = 0};
    uint64_t state = 5;
    wire_input(&g, "x", W_FLOAT, "B,6");
    wire_weight(&g, "w", DIMS(6, 3), 0.5f, &state);
    add_dropout(&g, "Dropout x p train > d", 0.5f, true, seed);
    wire product = wire_node("MatMul d w > y");
    wire_put(&g, 1, &product);
    wire_output(&g, "y", W_FLOAT, "B,3");
    const char *path = in_folder(name);
    write_model(&g, NEWEST, path);
    return path;
}

/* x → 100 times Dropout → y, a loop that is not unrolled. */
static const char *write_loop(const char *name) {
    wire g = {.len = 0}, body = {.len = 0};
    add_scalar(&g, "turns", W_INT64, &(int64_t){100}, 8);
    add_scalar(&g, "yes", W_BOOL, &(uint8_t){1}, 1);
    wire_input(&g, "x", W_FLOAT, "B,6");
    wire_input(&body, "i", W_INT64, "");
    wire_input(&body, "go", W_BOOL, "");
    wire_input(&body, "h", W_FLOAT, "B,6");
    add_dropout(&body, "Dropout h p train > d", 0.01f, true, 0);
    wire_add_node(&body, "Identity go > on");
    wire_output(&body, "on", W_BOOL, "");
    wire_output(&body, "d", W_FLOAT, "B,6");
    wire loop = wire_node("Loop turns yes x > y");
    wire_attr_graph(&loop, "body", &body);
    wire_put(&g, 1, &loop);
    wire_output(&g, "y", W_FLOAT, "B,6");
    const char *path = in_folder(name);
    write_model(&g, NEWEST, path);
    return path;
}

/* ---- dropout ------------------------------------------------------------------------------------ */

/* y and keep of x: ROWS × COLUMNS numbers from 1 to 2. */
typedef struct dropped {
    float x[COUNT];
    tn_buffer out[2];
    tn_session *session;
    int kept;
} dropped;

static void drop(dropped *d, const char *path) {
    uint64_t seed = 8;
    random_floats(d->x, COUNT, &seed);
    for (int i = 0; i < COUNT; i++) d->x[i] = 1.5f + d->x[i] / 2;
    tn_buffer x = {.dtype = TN_f32, .rank = 2, .dim = {ROWS, COLUMNS}, .data = d->x};
    memset(d->out, 0, sizeof d->out);
    run_alone(path, &x, 1, d->out, 2, &d->session);
    assert_int_equal(d->out[1].dtype, TN_bool);
    assert_int_equal(d->out[1].dim[1], COLUMNS);
    const uint8_t *keep = d->out[1].data;
    d->kept = 0;
    for (int i = 0; i < COUNT; i++) d->kept += keep[i];
}

/* Bits of x times `scale` where the mask is set, 0 elsewhere. */
static void expect_scaled(const dropped *d, double scale) {
    const float *y = d->out[0].data;
    const uint8_t *keep = d->out[1].data;
    for (int i = 0; i < COUNT; i++)
        assert_true(keep[i] ? fabs((double)y[i] - (double)d->x[i] * scale) < 1e-6 : y[i] == 0);
}

static void test_dropout__in_training_draws_a_mask(void **state) {
    (void)state;
    dropped d;
    drop(&d, write_dropout("drop.onnx", "Dropout x p train > y keep", 0.2f, true, 0));
    expect_scaled(&d, 1 / (1 - (double)0.2f));
    double sigma = sqrt(COUNT * 0.2 * 0.8);
    assert_true(fabs(d.kept - 0.8 * COUNT) < 3 * sigma);
    tn_session_release(d.session);
    drop(&d, write_dropout("half.onnx", "Dropout x - train > y keep", 0.2f, true, 0));
    expect_scaled(&d, 2);
    assert_true(fabs(d.kept - 0.5 * COUNT) < 3 * sqrt(COUNT * 0.25));
    tn_session_release(d.session);
}

static void test_dropout__is_the_input_else(void **state) {
    (void)state;
    dropped d;
    drop(&d, write_dropout("eval.onnx", "Dropout x p train > y keep", 0.2f, false, 0));
    assert_int_equal(d.kept, COUNT);
    expect_scaled(&d, 1);
    tn_session_release(d.session);
    drop(&d, write_dropout("none.onnx", "Dropout x p train > y keep", 0, true, 0));
    assert_int_equal(d.kept, COUNT);
    expect_scaled(&d, 1);
    tn_session_release(d.session);
    drop(&d, write_dropout("all.onnx", "Dropout x p train > y keep", 1, true, 0));
    assert_int_equal(d.kept, 0);
    expect_scaled(&d, 0);
    tn_session_release(d.session);
}

static void test_dropout__of_equal_seeds_is_equal(void **state) {
    (void)state;
    static dropped d[3];
    drop(&d[0], write_dropout("s1.onnx", "Dropout x p train > y keep", 0.5f, true, 1));
    drop(&d[1], write_dropout("s1b.onnx", "Dropout x p train > y keep", 0.5f, true, 1));
    drop(&d[2], write_dropout("s2.onnx", "Dropout x p train > y keep", 0.5f, true, 2));
    assert_memory_equal(d[0].out[1].data, d[1].out[1].data, COUNT);
    assert_memory_not_equal(d[0].out[1].data, d[2].out[1].data, COUNT);
    for (int i = 0; i < 3; i++) tn_session_release(d[i].session);
}

static void test_dropout__with_a_wrong_ratio_is_refused(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "x", W_FLOAT, "B,N");
    add_dropout(&g, "Dropout x p train > y", 1.5f, true, 0);
    wire_output(&g, "y", W_FLOAT, "B,N");
    refused_at(&g, NEWEST, "ratio is 1.5; expected one number from 0 to 1");
}

/* ---- members ------------------------------------------------------------------------------------ */

/* Member i of a wide model of one shared input, bit for bit. */
static void expect_as_member(tn_wide *w, int member, const tn_buffer *x, const tn_buffer *all) {
    tn_error err = TN_ERROR_INIT;
    tn_model *model;
    tn_session *s;
    tn_buffer alone = {0}, part = part_of(all, member);
    check(tn__wide_alone(w, member, &model, &err), &err);
    check(tn_session_create(model, &s, &err), &err);
    check(tn_session_run(s, x, 1, &alone, 1, &err), &err);
    expect_close(&part, &alone, 1e-6);
    tn_session_release(s);
    tn_model_release(model);
}

static bool differ(const tn_buffer *all, int i, int k) {
    tn_buffer a = part_of(all, i), b = part_of(all, k);
    return memcmp(a.data, b.data, (size_t)buffer_count(&a) * sizeof(float)) != 0;
}

/* Two files are two groups: the seed is structure. */
static void test_members__draw_their_own_numbers(void **state) {
    (void)state;
    uint64_t seed = 3;
    tn_error err = TN_ERROR_INIT;
    const char *a = write_network("net.onnx", 0), *b = write_network("other.onnx", 9);
    const tn_wide_member members[] = {{.model = a}, {.model = b}, {.model = a}, {.model = a}};
    tn_wide_options o = lab_options();
    o.share_all = true;
    tn_buffer x = floats_of(&seed, DIMS(4, 6)), all = {0};
    for (int same = 0; same < 2; same++) {
        o.same_randoms = same;
        tn_wide *w = open_wide(members, 4, &o);
        assert_int_equal(tn_wide_group_count(w), 2);
        all = (tn_buffer){0};
        check(tn_wide_run(w, &x, 1, &all, 1, &err), &err);
        for (int i = 0; i < 4; i++) expect_as_member(w, i, &x, &all);
        assert_int_equal(differ(&all, 0, 2), !same);
        assert_int_equal(differ(&all, 2, 3), !same);
        assert_true(differ(&all, 0, 1));
        tn_wide_release(w);
    }
    free(x.data);
}

static void test_members__draw_their_own_numbers_in_each_turn(void **state) {
    (void)state;
    uint64_t seed = 3;
    tn_error err = TN_ERROR_INIT;
    const char *a = write_loop("loop.onnx");
    const tn_wide_member members[] = {{.model = a}, {.model = a}, {.model = a}};
    tn_wide_options o = lab_options();
    tn_buffer x = floats_of(&seed, DIMS(4, 6)), all = {0};
    o.share_all = true;
    tn_wide *w = open_wide(members, 3, &o);
    check(tn_wide_run(w, &x, 1, &all, 1, &err), &err);
    for (int i = 0; i < 3; i++) expect_as_member(w, i, &x, &all);
    assert_true(differ(&all, 0, 1) && differ(&all, 1, 2));
    const float *y = all.data;
    int kept = 0;
    for (int i = 0; i < 3 * 24; i++) kept += y[i] != 0;
    assert_in_range(kept, 10, 45); /* 0.99^100 of 72, within 4 sigma; were the turns the same, 71 */
    tn_wide_release(w);
    free(x.data);
}

/* Weights that are the same file's stay one; the mean over many masks is the network without any. */
static void test_members__of_one_model_are_samples(void **state) {
    enum { N = 500 };
    (void)state;
    static tn_wide_member members[N];
    uint64_t seed = 4;
    tn_error err = TN_ERROR_INIT;
    tn_wide_group_info info;
    const char *a = write_network("net.onnx", 0);
    for (int i = 0; i < N; i++) members[i].model = a;
    tn_wide_options o = lab_options();
    o.share_all = true;
    tn_wide *w = open_wide(members, N, &o);
    tn_buffer x = floats_of(&seed, DIMS(2, 6)), all = {0};
    check(tn_wide_run(w, &x, 1, &all, 1, &err), &err);
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    assert_int_equal(info.own_weights, 0);
    assert_int_equal(info.shared_weights, 18);
    float weight[18];
    uint64_t of_weights = 5;
    random_floats(weight, 18, &of_weights);
    const float *y = all.data, *in = x.data;
    for (int k = 0; k < 6; k++) {
        double sum = 0, expected = 0, variance = 0;
        for (int i = 0; i < N; i++) sum += (double)y[i * 6 + k];
        for (int j = 0; j < 6; j++) {
            double term = (double)in[k / 3 * 6 + j] * (double)weight[j * 3 + k % 3] * 0.5;
            expected += term;
            variance += term * term;
        }
        assert_true(fabs(sum / N - expected) < 4 * sqrt(variance / N));
    }
    free(x.data);
    tn_wide_release(w);
}

/* ---- training ----------------------------------------------------------------------------------- */

/* A function of lazy tensors would drop the same elements in every step. */
static void test_dropout__that_never_changes_is_not_trained(void **state) {
    (void)state;
    uint64_t seed = 6;
    tn_error err = TN_ERROR_INIT;
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    tn_context *c;
    tn_module *m;
    tn_onnx *x;
    tn_tensor *y;
    o.compile.mode = lab_mode;
    tn_buffer numbers = floats_of(&seed, DIMS(4, 6));
    check(tn_context_create(&o, &c, &err), &err);
    check(tn_module_create(c, NULL, &m, &err), &err);
    check(tn_onnx_open(write_network("net.onnx", 0), m, NULL, &x, &err), &err);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *in = tn_tensor_from(c, TN_f32, 2, numbers.dim, numbers.data);
    tn_onnx_apply(x, &in, 1, &y, 1);
    expect_error(tn_context_error(c, &err), &err, "(Dropout) is in training mode");
    tn_scope_close(scope);
    tn_onnx_release(x);
    tn_module_release(m);
    tn_context_release(c);
    free(numbers.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dropout__in_training_draws_a_mask),
        cmocka_unit_test(test_dropout__is_the_input_else),
        cmocka_unit_test(test_dropout__of_equal_seeds_is_equal),
        cmocka_unit_test(test_dropout__with_a_wrong_ratio_is_refused),
        cmocka_unit_test(test_dropout__that_never_changes_is_not_trained),
        cmocka_unit_test(test_members__draw_their_own_numbers),
        cmocka_unit_test(test_members__draw_their_own_numbers_in_each_turn),
        cmocka_unit_test(test_members__of_one_model_are_samples),
    };
    lab_mode = TN_COMPILE_INTERPRET;
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
