/* Whole models as members, disturbed by seeds: convolutional, with attention, recurrent, with several inputs
 * and outputs. Each against the ordinary model that the member is extracted to. */
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

enum { MEMBERS = 3 };

/* ---- comparing ---------------------------------------------------------------------------------- */

static void compare(const char *path, const tn_buffer *inputs, int count, const bool *shared,
                    int outputs) {
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    tn_wide_member members[MEMBERS];
    const char *paths[MEMBERS], *names[MOST_PORTS];
    char name[64];
    for (int i = 0; i < MEMBERS; i++)
        members[i] = (tn_wide_member){.model = path, .perturbed = true, .seed = (uint64_t)i};
    for (int k = 0; k < count; k++) {
        snprintf(name, sizeof name, "x%d", k);
        if (shared && shared[k]) names[o.shared_count++] = strdup(name);
    }
    o.shared = names;
    tn_wide *w = open_wide(members, MEMBERS, &o);
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof name, "member%d.onnx", i);
        paths[i] = in_folder(name);
        check(tn_wide_extract(w, i, paths[i], &err), &err);
    }
    expect_as_alone(w, paths, inputs, count, shared, outputs);
    tn_wide_release(w);
    for (int i = 0; i < o.shared_count; i++) free((void *)(uintptr_t)names[i]);
}

static tn_buffer ids_of(uint64_t *state, int rank, const int64_t *dim, uint64_t below) {
    tn_buffer b = {.dtype = TN_i64, .rank = rank};
    for (int i = 0; i < rank; i++) b.dim[i] = dim[i];
    int64_t n = buffer_count(&b), *at = malloc((size_t)n * sizeof *at);
    for (int64_t i = 0; i < n; i++) at[i] = (int64_t)(test_random(state) % below);
    b.data = at;
    return b;
}

/* ---- attributes --------------------------------------------------------------------------------- */

static void attr_ints(wire *node, const char *name, int count, const int64_t *values) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    for (int i = 0; i < count; i++) wire_int(&attr, 8, values[i]);
    wire_int(&attr, 20, 7);
    wire_put(node, 5, &attr);
}

static void add(wire *g, const char *text) {
    wire_add_node(g, text);
}

static void add_axis(wire *g, const char *text, const char *name, int64_t value) {
    wire n = wire_node(text);
    wire_attr_int(&n, name, value);
    wire_put(g, 1, &n);
}

static void add_perm(wire *g, const char *text, int count, const int64_t *perm) {
    wire n = wire_node(text);
    attr_ints(&n, "perm", count, perm);
    wire_put(g, 1, &n);
}

/* ---- models ------------------------------------------------------------------------------------- */

static void add_conv(wire *g, const char *text, int64_t kernel, int64_t stride, int64_t group) {
    wire n = wire_node(text);
    attr_ints(&n, "kernel_shape", 2, (int64_t[]){kernel, kernel});
    attr_ints(&n, "strides", 2, (int64_t[]){stride, stride});
    attr_ints(&n, "pads", 4, (int64_t[]){kernel / 2, kernel / 2, kernel / 2, kernel / 2});
    wire_attr_int(&n, "group", group);
    wire_put(g, 1, &n);
}

static void add_norm(wire *g, const char *text, int64_t channels, uint64_t *seed) {
    char name[32];
    float ones[8] = {1, 1.5f, 1, 0.5f, 1, 2, 1, 1};
    static const char *const parts[] = {"s", "b", "m"};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%c%s", text[19], parts[i]);
        wire_weight(g, name, DIMS(channels), 0.5f, seed);
    }
    snprintf(name, sizeof name, "%cv", text[19]);
    wire t = wire_tensor(name, W_FLOAT, 1, &channels, ones, (size_t)channels * sizeof(float));
    wire_put(g, 5, &t);
    add(g, text);
}

static void test_models__resnet(void **state) {
    (void)state;
    uint64_t seed = 1;
    wire g = {.len = 0};
    wire_input(&g, "x0", W_FLOAT, "B,3,16,16");
    wire_weight(&g, "w0", DIMS(4, 3, 7, 7), 0.1f, &seed);
    wire_weight(&g, "w1", DIMS(4, 4, 3, 3), 0.2f, &seed);
    wire_weight(&g, "w2", DIMS(4, 1, 3, 3), 0.2f, &seed);
    wire_weight(&g, "w3", DIMS(4, 5), 0.5f, &seed);
    wire_weight(&g, "b3", DIMS(5), 0.5f, &seed);
    add_conv(&g, "Conv x0 w0 > c0", 7, 2, 1);
    add_norm(&g, "BatchNormalization c0 cs cb cm cv > n0", 4, &seed);
    add(&g, "Relu n0 > r0");
    wire pool = wire_node("MaxPool r0 > p0");
    attr_ints(&pool, "kernel_shape", 2, (int64_t[]){3, 3});
    attr_ints(&pool, "strides", 2, (int64_t[]){2, 2});
    attr_ints(&pool, "pads", 4, (int64_t[]){1, 1, 1, 1});
    wire_put(&g, 1, &pool);
    add_conv(&g, "Conv p0 w1 > c1", 3, 1, 1);
    add(&g, "Relu c1 > d1");
    add_norm(&g, "BatchNormalization d1 ds db dm dv > n1", 4, &seed);
    add_conv(&g, "Conv n1 w2 > c2", 3, 1, 4); /* depthwise */
    add(&g, "Add c2 p0 > s2");
    add(&g, "Relu s2 > r2");
    add(&g, "GlobalAveragePool r2 > a2");
    add_axis(&g, "Flatten a2 > f2", "axis", 1);
    add(&g, "Gemm f2 w3 b3 > y");
    wire_output(&g, "y", W_FLOAT, "B,5");
    const char *path = in_folder("resnet.onnx");
    write_model(&g, 20, path);
    tn_buffer x = floats_of(&seed, DIMS(MEMBERS, 2, 3, 16, 16));
    compare(path, &x, 1, NULL, 1);
    free(x.data);
}

/* Heads by reshapes and transpositions, a mask that all share, softmax, layer norm, gelu, x[:, 0]. */
static void test_models__transformer(void **state) {
    (void)state;
    uint64_t seed = 2;
    wire g = {.len = 0};
    wire_input(&g, "x0", W_FLOAT, "B,5,8");
    wire_input(&g, "x1", W_FLOAT, "5,5");
    static const char *const names[] = {"wq", "wk", "wv", "wo"};
    for (int i = 0; i < 4; i++) wire_weight(&g, names[i], DIMS(8, 8), 0.4f, &seed);
    wire_weight(&g, "ns", DIMS(8), 1, &seed);
    wire_weight(&g, "nb", DIMS(8), 1, &seed);
    wire_ints(&g, "heads", 4, (int64_t[]){0, 5, 2, 4});
    wire_ints(&g, "flat", 3, (int64_t[]){0, 5, 8});
    int64_t first = 0;
    wire index = wire_tensor("first", W_INT64, 0, NULL, &first, sizeof first);
    wire_put(&g, 5, &index);
    static const char qkv[] = "qkv";
    for (int i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof text, "MatMul x0 w%c > %c0", qkv[i], qkv[i]);
        add(&g, text);
        snprintf(text, sizeof text, "Reshape %c0 heads > %c1", qkv[i], qkv[i]);
        add(&g, text);
        snprintf(text, sizeof text, "Transpose %c1 > %c2", qkv[i], qkv[i]);
        add_perm(&g, text, 4, qkv[i] == 'k' ? (int64_t[]){0, 2, 3, 1} : (int64_t[]){0, 2, 1, 3});
    }
    add(&g, "MatMul q2 k2 > scores");
    add(&g, "Add scores x1 > masked");
    add_axis(&g, "Softmax masked > p", "axis", -1);
    add(&g, "MatMul p v2 > o0");
    add_perm(&g, "Transpose o0 > o1", 4, (int64_t[]){0, 2, 1, 3});
    add(&g, "Reshape o1 flat > o2");
    add(&g, "MatMul o2 wo > o3");
    add(&g, "Add o3 x0 > o4");
    add_axis(&g, "LayerNormalization o4 ns nb > o5", "axis", -1);
    add(&g, "Gelu o5 > y0");
    add_axis(&g, "Gather y0 first > y1", "axis", 1);
    wire_output(&g, "y0", W_FLOAT, "B,5,8");
    wire_output(&g, "y1", W_FLOAT, "B,8");
    const char *path = in_folder("transformer.onnx");
    write_model(&g, 20, path);
    tn_buffer x[] = {floats_of(&seed, DIMS(MEMBERS, 2, 5, 8)), floats_of(&seed, DIMS(5, 5))};
    for (int i = 0; i < 5; i++)
        for (int k = i + 1; k < 5; k++) ((float *)x[1].data)[5 * i + k] = -INFINITY;
    compare(path, x, 2, (bool[]){false, true}, 2);
    free(x[0].data);
    free(x[1].data);
}

static void add_lstm(wire *g, const char *text, int64_t hidden) {
    wire n = wire_node(text);
    wire_attr_text(&n, "direction", "bidirectional");
    wire_attr_int(&n, "hidden_size", hidden);
    wire_put(g, 1, &n);
}

/* Two layers, both directions; the last state is a second output. */
static void test_models__lstm(void **state) {
    (void)state;
    uint64_t seed = 3;
    wire g = {.len = 0};
    wire_input(&g, "x0", W_FLOAT, "6,B,3");
    wire_weight(&g, "wa", DIMS(2, 16, 3), 0.4f, &seed);
    wire_weight(&g, "ra", DIMS(2, 16, 4), 0.4f, &seed);
    wire_weight(&g, "ba", DIMS(2, 32), 0.4f, &seed);
    wire_weight(&g, "wb", DIMS(2, 16, 8), 0.4f, &seed);
    wire_weight(&g, "rb", DIMS(2, 16, 4), 0.4f, &seed);
    wire_weight(&g, "bb", DIMS(2, 32), 0.4f, &seed);
    wire_ints(&g, "flat", 3, (int64_t[]){6, -1, 8});
    add_lstm(&g, "LSTM x0 wa ra ba > a0", 4);
    add_perm(&g, "Transpose a0 > a1", 4, (int64_t[]){0, 2, 1, 3});
    add(&g, "Reshape a1 flat > a2");
    add_lstm(&g, "LSTM a2 wb rb bb > y0 y1", 4);
    wire_output(&g, "y0", W_FLOAT, "6,2,B,4");
    wire_output(&g, "y1", W_FLOAT, "2,B,4");
    const char *path = in_folder("lstm.onnx");
    write_model(&g, 20, path);
    tn_buffer x = floats_of(&seed, DIMS(MEMBERS, 6, 2, 3));
    compare(path, &x, 1, NULL, 2);
    free(x.data);
}

/* Ids of an embedding for each member, a shared input, concatenation, softmax and means over other axes,
 * integers as a result. */
static void test_models__several_inputs_and_outputs(void **state) {
    (void)state;
    uint64_t seed = 4;
    wire g = {.len = 0};
    wire_input(&g, "x0", W_INT64, "B,4");
    wire_input(&g, "x1", W_FLOAT, "B,4,3");
    wire_weight(&g, "table", DIMS(7, 5), 1, &seed);
    wire_weight(&g, "slope", DIMS(4, 1), 1, &seed);
    wire_ints(&g, "one", 1, (int64_t[]){1});
    add_axis(&g, "Gather table x0 > e", "axis", 0);
    add_axis(&g, "Concat e x1 > c", "axis", 2);
    add(&g, "PRelu c slope > r");
    add_axis(&g, "Softmax r > y0", "axis", 1);
    add(&g, "ReduceMean c one > y1");
    add_axis(&g, "ArgMax c > y2", "axis", 1);
    add_perm(&g, "Transpose x1 > y3", 3, (int64_t[]){0, 2, 1});
    wire_output(&g, "y0", W_FLOAT, "B,4,8");
    wire_output(&g, "y1", W_FLOAT, "B,1,8");
    wire_output(&g, "y2", W_INT64, "B,1,8");
    wire_output(&g, "y3", W_FLOAT, "B,3,4");
    const char *path = in_folder("several.onnx");
    write_model(&g, 20, path);
    tn_buffer x[] = {ids_of(&seed, DIMS(MEMBERS, 2, 4), 7), floats_of(&seed, DIMS(2, 4, 3))};
    compare(path, x, 2, (bool[]){false, true}, 4);
    free(x[1].data);
    x[1] = floats_of(&seed, DIMS(MEMBERS, 2, 4, 3));
    compare(path, x, 2, NULL, 4);
    free(x[0].data);
    free(x[1].data);
}

/* An input whose value decides a shape belongs to all members, and comes once. */
static void test_models__values_that_decide_shapes(void **state) {
    (void)state;
    uint64_t seed = 5;
    tn_error err = TN_ERROR_INIT;
    wire g = {.len = 0};
    wire_input(&g, "x0", W_FLOAT, "B,6");
    wire_input(&g, "x1", W_INT64, "3");
    wire_weight(&g, "w", DIMS(3, 4), 1, &seed);
    add(&g, "Reshape x0 x1 > r");
    add(&g, "MatMul r w > y");
    wire_output(&g, "y", W_FLOAT, "?,?,4");
    const char *path = in_folder("reshape.onnx");
    write_model(&g, 20, path);
    int64_t shape[] = {2, 2, 3};
    tn_buffer x[] = {floats_of(&seed, DIMS(MEMBERS, 2, 6)),
                     {.dtype = TN_i64, .rank = 1, .dim = {3}, .data = shape}};
    tn_wide_options o = lab_options();
    tn_wide_member members[MEMBERS];
    const char *paths[MEMBERS];
    tn_port_info port;
    for (int i = 0; i < MEMBERS; i++)
        members[i] = (tn_wide_member){.model = path, .perturbed = true, .seed = (uint64_t)i};
    tn_wide *w = open_wide(members, MEMBERS, &o);
    assert_int_equal(tn_wide_input(w, 0, &port), TN_OK);
    assert_int_equal(port.rank, 3);
    assert_int_equal(tn_wide_input(w, 1, &port), TN_OK);
    assert_int_equal(port.rank, 1);
    for (int i = 0; i < MEMBERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "shape%d.onnx", i);
        paths[i] = in_folder(name);
        check(tn_wide_extract(w, i, paths[i], &err), &err);
    }
    expect_as_alone(w, paths, x, 2, (bool[]){false, true}, 1);
    shape[0] = 1;
    shape[1] = 4;
    expect_as_alone(w, paths, x, 2, (bool[]){false, true}, 1);
    tn_wide_release(w);
    free(x[0].data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models__resnet),
        cmocka_unit_test(test_models__transformer),
        cmocka_unit_test(test_models__lstm),
        cmocka_unit_test(test_models__several_inputs_and_outputs),
        cmocka_unit_test(test_models__values_that_decide_shapes),
    };
    lab_mode = TN_COMPILE_INTERPRET;
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
