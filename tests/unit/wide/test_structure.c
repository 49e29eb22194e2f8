/* The first difference of members, named by node. */
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

/* What a member of these tests may have otherwise. */
typedef struct variant {
    const char *activation, *pool;
    int64_t stride, channels, columns;
    float epsilon, slope, clip;
    const char *input; /* sizes */
    bool more;         /* one more node at the end */
    bool swapped;      /* nodes of the two branches in another order */
    const char *prefix;
} variant;

static const variant usual = {.activation = "Relu",
                              .pool = "AveragePool",
                              .stride = 1,
                              .channels = 4,
                              .columns = 3,
                              .epsilon = 1e-5f,
                              .slope = 0.25f,
                              .clip = 6,
                              .input = "B,2,8,8",
                              .prefix = ""};

static wire named(const char *text, const char *name) {
    wire n = wire_node(text);
    wire_text(&n, 3, name);
    return n;
}

static void attr_float(wire *node, const char *name, float value) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    wire_varint(&attr, 2 << 3 | 5);
    wire_raw(&attr, &value, 4);
    wire_int(&attr, 20, 1);
    wire_put(node, 5, &attr);
}

static void attr_ints(wire *node, const char *name, int64_t a, int64_t b) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    wire_int(&attr, 8, a);
    wire_int(&attr, 8, b);
    wire_int(&attr, 20, 7);
    wire_put(node, 5, &attr);
}

static void scalar(wire *g, const char *name, float value) {
    wire t = wire_tensor(name, W_FLOAT, 0, NULL, &value, sizeof value);
    wire_put(g, 5, &t);
}

/* conv → batch norm → activation → pool → flatten → two products, one through PRelu and Clip, added. */
static const char *write_variant(const char *file, const variant *v, uint64_t seed) {
    wire g = {.len = 0};
    char text[64];
    static const int64_t shape[] = {0, -1};
    wire_input(&g, "x", W_FLOAT, v->input);
    wire_weight(&g, "cw", DIMS(v->channels, 2, 3, 3), 0.3f, &seed);
    wire_weight(&g, "scale", DIMS(v->channels), 1, &seed);
    wire_weight(&g, "bias", DIMS(v->channels), 1, &seed);
    wire_weight(&g, "mean", DIMS(v->channels), 0.1f, &seed);
    float variance[8] = {1, 2, 1, 2, 1, 2, 1, 2};
    wire t =
        wire_tensor("var", W_FLOAT, 1, &v->channels, variance, (size_t)v->channels * sizeof(float));
    wire_put(&g, 5, &t);
    wire_ints(&g, "shape", 2, shape);
    int64_t flat = v->channels * (v->stride == 1 ? 9 : 1);
    wire_weight(&g, "fa", DIMS(flat, v->columns), 0.3f, &seed);
    wire_weight(&g, "fb", DIMS(flat, v->columns), 0.3f, &seed);
    scalar(&g, "slope", v->slope);
    scalar(&g, "low", 0);
    scalar(&g, "high", v->clip);
    wire conv = named("Conv x cw > c", "conv1"),
         bn = named("BatchNormalization c scale bias mean var > n", "bn1");
    attr_ints(&conv, "strides", v->stride, v->stride);
    attr_float(&bn, "epsilon", v->epsilon);
    wire_put(&g, 1, &conv);
    wire_put(&g, 1, &bn);
    snprintf(text, sizeof text, "%s n > a", v->activation);
    wire act = named(text, "act1");
    wire_put(&g, 1, &act);
    snprintf(text, sizeof text, "%s a > p", v->pool);
    wire pool = named(text, "pool1");
    attr_ints(&pool, "kernel_shape", 2, 2);
    attr_ints(&pool, "strides", 2, 2);
    wire_put(&g, 1, &pool);
    wire flatten = named("Reshape p shape > f", "flatten1");
    wire_put(&g, 1, &flatten);
    snprintf(text, sizeof text, "%sleft", v->prefix);
    wire left = named("MatMul f fa > l", text);
    snprintf(text, sizeof text, "%sright", v->prefix);
    wire right = named("MatMul f fb > r", text);
    wire_put(&g, 1, v->swapped ? &right : &left);
    wire_put(&g, 1, v->swapped ? &left : &right);
    wire_add_node(&g, "PRelu r slope > s");
    wire_add_node(&g, "Clip s low high > t");
    wire_add_node(&g, v->more ? "Add l t > u" : "Add l t > y");
    wire last = named("Neg u > y", "last");
    if (v->more) wire_put(&g, 1, &last);
    snprintf(text, sizeof text, "B,%lld", (long long)v->columns);
    wire_output(&g, "y", W_FLOAT, text);
    const char *path = in_folder(file);
    write_model(&g, 20, path);
    return path;
}

/* The difference of one that is as `v` says to the usual one. */
static void expect_difference(const variant *v, const char *message) {
    tn_wide_options o = lab_options();
    tn_error err = TN_ERROR_INIT;
    tn_wide_group_info info;
    o.compile.no_cache = true;
    const char *a = write_variant("usual.onnx", &usual, 1), *b = write_variant("other.onnx", v, 2);
    tn_wide_member members[3] = {{.model = a}, {.model = b}, {.model = a}};
    tn_wide *w = open_wide(members, 3, &o);
    assert_int_equal(tn_wide_group_count(w), 2);
    assert_int_equal(tn_wide_group(w, 1, &info), TN_OK);
    if (strcmp(info.difference, message) != 0)
        fail_msg("'%s'; expected '%s'", info.difference, message);
    tn_wide_release(w);
    o.one_group = true;
    tn_status status = tn_wide_open(members, 3, &o, &w, &err);
    assert_int_equal(status, TN_INVALID);
    expect_error(status, &err, "member 1 (");
    expect_error(status, &err, "other.onnx): ");
    expect_error(status, &err, message);
}

static void test_structure__names_the_first_difference(void **state) {
    (void)state;
    variant v = usual;
    v.activation = "Tanh";
    expect_difference(&v, "node 'act1': Tanh instead of Relu");
    v.activation = "Sigmoid"; /* of several operations, some of them before the product */
    expect_difference(&v, "node 'act1': Sigmoid instead of Relu");
    v = usual;
    v.pool = "MaxPool";
    expect_difference(&v, "node 'pool1': MaxPool instead of AveragePool");
    v = usual;
    v.stride = 2;
    expect_difference(&v, "node 'conv1' (Conv): stride [2,2] instead of [1,1]");
    v = usual;
    v.epsilon = 1e-3f;
    expect_difference(&v, "node 'bn1' (BatchNormalization): 0.001 instead of 1e-05");
    v = usual;
    v.channels = 8;
    expect_difference(&v, "node 'conv1' (Conv): its weight 'cw' is f32[8,2,3,3] instead of "
                          "f32[4,2,3,3]");
    v = usual;
    v.columns = 5;
    expect_difference(&v,
                      "node 'left' (MatMul): its weight 'fa' is f32[36,5] instead of f32[36,3]");
    v = usual;
    v.more = true;
    expect_difference(&v, "node 'last' (Neg) is one more");
    v = usual;
    v.input = "B,2,8,9";
    expect_difference(&v, "input 'x' is f32[B,2,8,9] instead of f32[B,2,8,8]");
}

/* Names, the order of nodes in the file and numbers that are data do not matter. */
static void test_structure__is_what_is_computed(void **state) {
    (void)state;
    tn_wide_options o = lab_options();
    uint64_t seed = 1;
    variant v[4] = {usual, usual, usual, usual};
    v[1].swapped = true;
    v[2].prefix = "other_";
    v[3].slope = 0.5f;
    v[3].clip = 0.1f;
    const char *paths[4];
    tn_wide_member members[4] = {{0}};
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "same%d.onnx", i);
        members[i].model = paths[i] = write_variant(name, &v[i], (uint64_t)i);
    }
    o.one_group = true;
    tn_wide *w = open_wide(members, 4, &o);
    tn_buffer x = floats_of(&seed, DIMS(4, 2, 2, 8, 8));
    expect_as_alone(w, paths, &x, 1, NULL, 1);
    free(x.data);
    tn_wide_release(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure__names_the_first_difference),
        cmocka_unit_test(test_structure__is_what_is_computed),
    };
    lab_mode = TN_COMPILE_INTERPRET;
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
