/* Small models at N = 1, 2, 3, 7, 20 and 100, eight rows each, compiled: inputs and weights of each member
 * differ, and each one is its module alone. */
#include "base/base.h"
#include "unit/wide/compiled_lab.h"

enum { ROWS = 8, MOST = 100, SEED = 3 };

static const int counts[] = {1, 2, 3, 7, 20, MOST};

/* ---- models --------------------------------------------------------------------------------- */

static tn_tensor *mlp(tn_module *m, tn_tensor *x) {
    return tn_linear(m, "fc2", tn_relu(tn_linear(m, "fc1", x, 128)), 64);
}

static tn_tensor *deep_mlp(tn_module *m, tn_tensor *x) {
    for (int i = 0; i < 4; i++) x = tn_gelu(tn_linear(tn_module_child(m, "%d", i), "fc", x, 64));
    return x;
}

static tn_tensor *conv_bn(tn_module *m, tn_tensor *x, int64_t channels) {
    x = tn_conv2d(m, "conv", x, channels, .kernel = 3, .padding = 1);
    return tn_batch_norm(m, "bn", x);
}

static tn_tensor *resblock(tn_module *m, tn_tensor *x) {
    tn_tensor *h = tn_relu(conv_bn(tn_module_child(m, "first"), x, 8));
    return tn_relu(tn_add(conv_bn(tn_module_child(m, "second"), h, 8), x));
}

static tn_tensor *convnet(tn_module *m, tn_tensor *x) {
    for (int i = 0; i < 3; i++) x = tn_relu(conv_bn(tn_module_child(m, "%d", i), x, 8));
    return tn_mean(x, TN_AXES(2, 3), false);
}

typedef tn_tensor *model_function(tn_module *m, tn_tensor *x);
typedef struct model {
    const char *name;
    model_function *call;
    int rank;
    int64_t dim[TN_MAX_RANK]; /* [MOST, ROWS, …] */
} model;

static const model models[] = {
    {"mlp", mlp, 3, {MOST, ROWS, 64}},
    {"deep_mlp", deep_mlp, 3, {MOST, ROWS, 64}},
    {"resblock", resblock, 5, {MOST, ROWS, 8, 6, 6}},
    {"convnet", convnet, 5, {MOST, ROWS, 3, 6, 6}},
};

/* ---- running -------------------------------------------------------------------------------- */

static void call_model(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    y[0] = ((const model *)context)->call(m, x[0]);
}

/* What the members are, each a module of its own. */
static void run_alone(tn_context *c, const model *k, tn_tensor *x, lab_numbers *out) {
    for (int i = 0; i < MOST; i++) {
        tn_scope *scope = tn_scope_open(c);
        tn_module *m = lab_module(c, SEED + (uint64_t)i);
        lab_note(out, k->name, k->call(m, lab_row(x, i)));
        tn_scope_close(scope);
        tn_module_release(m);
    }
}

/* One member is the program of one module, bit for bit. */
static void check_count(tn_context *c, const model *k, tn_tensor *all, int members,
                        const lab_numbers *alone) {
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    tn_population_call call = TN_POPULATION_CALL_INIT;
    tn_population *p;
    tn_error err = TN_ERROR_INIT;
    tn_buffer x, y;
    tn_tensor *in, *out;
    o.members = members, o.seed = SEED;
    must(tn_population_create(c, &o, &p, &err), &err);
    tn_scope *scope = tn_scope_open(c);
    must(tn_view(all, &x, &err), &err);
    x.dim[0] = members;
    in = tn_tensor_from(c, x.dtype, x.rank, x.dim, x.data);
    call.fn = call_model, call.context = (void *)(uintptr_t)k;
    call.x = &in, call.x_count = call.y_count = 1;
    tn_population_apply(p, &call, &out);
    must(tn_view(out, &y, &err), &err);
    assert_int_equal(y.dim[0], members);
    for (int i = 0; i < members; i++) {
        tn_buffer row = lab_part(&y, i);
        lab_same_arrays("the result", i, &row, &alone->at[i], members == 1 ? 0 : 1e-5);
    }
    tn_scope_close(scope);
    tn_population_release(p);
}

static void check_model(const model *k) {
    tn_context *c = lazy_context(lab_quick_compiler() ? TN_COMPILE_CC : TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, k->rank, k->dim, 1);
    lab_numbers *alone = calloc(1, sizeof *alone);
    lab_case = k->name;
    run_alone(c, k, x, alone);
    for (size_t i = 0; i < TN_COUNT(counts); i++) check_count(c, k, x, counts[i], alone);
    lab_numbers_free(alone);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_counts__equal_modules_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(models); i++) check_model(&models[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts__equal_modules_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
