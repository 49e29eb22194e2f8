/* Wide models beside their members alone: inputs, outputs, layouts, shared and own weights. */
#include "session/session.h"
#include "session/tunings.h"
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

enum { MEMBERS = 7 };

static const char *paths[MEMBERS];
static tn_wide_member members[MEMBERS];

static void write_mlps(bool shared) {
    char name[32];
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof name, "mlp%d%d.onnx", i, shared);
        paths[i] = write_mlp(name, "Relu", (uint64_t)i, shared);
        members[i] = (tn_wide_member){.model = paths[i]};
    }
}

/* ---- values ------------------------------------------------------------------------------------- */

static void test_wide__equals_members_alone(void **state) {
    (void)state;
    static const int counts[] = {1, 2, MEMBERS};
    write_mlps(false);
    for (size_t c = 0; c < TN_COUNT(counts); c++) {
        tn_wide_options o = lab_options();
        uint64_t seed = 77;
        tn_wide *w = open_wide(members, counts[c], &o);
        for (int rows = 1; rows < 5; rows += 3) {
            tn_buffer x = floats_of(&seed, DIMS(counts[c], rows, 6));
            expect_as_alone(w, paths, &x, 1, NULL, 1);
            free(x.data);
        }
        tn_wide_release(w);
    }
}

static void test_wide__equal_weights_and_inputs_are_shared(void **state) {
    (void)state;
    tn_wide_options o = lab_options();
    uint64_t seed = 5;
    tn_wide_group_info info;
    tn_port_info port;
    write_mlps(true);
    o.share_all = true;
    tn_wide *w = open_wide(members, 3, &o);
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    assert_int_equal(info.own_weights, 70);
    assert_int_equal(info.shared_weights, 30);
    assert_int_equal(tn_wide_input(w, 0, &port), TN_OK);
    assert_int_equal(port.rank, 2);
    assert_int_equal(tn_wide_output(w, 0, &port), TN_OK);
    assert_int_equal(port.rank, 3);
    assert_int_equal(port.dim[0], 3);
    assert_string_equal(port.symbol[1], "B");
    tn_buffer x = floats_of(&seed, DIMS(4, 6));
    expect_as_alone(w, paths, &x, 1, &(bool){true}, 1);
    free(x.data);
    tn_wide_release(w);
}

/* A member with weights that are no numbers. */
static const char *write_broken(const char *name, const char *activation, uint64_t seed) {
    tn_error err = TN_ERROR_INIT;
    const char *path = write_mlp(name, activation, seed, false);
    float weight[60];
    tn_file_map map;
    random_floats(weight, 60, &seed);
    for (int i = 0; i < 60; i++) weight[i] *= 0.5f;
    check(tn_file_map_open(&map, path, &err), &err);
    uint8_t *copy = malloc(map.size), *at;
    size_t size = map.size;
    memcpy(copy, map.data, size);
    tn_file_map_close(&map);
    at = memmem(copy, size, weight, sizeof weight);
    assert_non_null(at);
    for (int i = 0; i < 60; i++) memcpy(at + 4 * i, &(float){(float)NAN}, 4);
    check(tn_file_write(path, copy, size, false, &err), &err);
    free(copy);
    return path;
}

/* The outputs' bits where inputs or weights of another member are disturbed. */
static void test_wide__members_are_isolated(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    uint64_t seed = 6;
    write_mlps(false);
    tn_wide *w = open_wide(members, 3, &o);
    tn_buffer x = floats_of(&seed, DIMS(3, 4, 6)), y = {0};
    check(tn_wide_run(w, &x, 1, &y, 1, &err), &err);
    float before[3 * 4 * 3];
    memcpy(before, y.data, sizeof before);
    for (int i = 0; i < 24; i++) ((float *)x.data)[24 + i] = (float)NAN;
    check(tn_wide_run(w, &x, 1, &y, 1, &err), &err);
    assert_memory_equal(y.data, before, 12 * sizeof(float));
    assert_memory_equal((float *)y.data + 24, before + 24, 12 * sizeof(float));
    tn_wide_release(w);
    members[1].model = write_broken("broken.onnx", "Relu", 1);
    w = open_wide(members, 3, &o);
    for (int i = 0; i < 24; i++) ((float *)x.data)[24 + i] = 1;
    check(tn_wide_run(w, &x, 1, &y, 1, &err), &err);
    assert_true(isnan(((float *)y.data)[12]));
    assert_memory_equal(y.data, before, 12 * sizeof(float));
    assert_memory_equal((float *)y.data + 24, before + 24, 12 * sizeof(float));
    tn_wide_release(w);
    free(x.data);
}

/* ---- layouts ------------------------------------------------------------------------------------ */

static void test_wide__packed_is_stacked_side_by_side(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    uint64_t seed = 9;
    tn_port_info port;
    write_mlps(false);
    tn_wide *stacked = open_wide(members, 3, &o);
    o.layout = TN_WIDE_PACKED;
    tn_wide *packed = open_wide(members, 3, &o);
    assert_int_equal(tn_wide_input(packed, 0, &port), TN_OK);
    assert_int_equal(port.dim[1], 18);
    tn_buffer x = floats_of(&seed, DIMS(3, 4, 6)), y = {0}, part[3], z = {0};
    check(tn_wide_run(stacked, &x, 1, &y, 1, &err), &err);
    float side[4 * 18], alone[3][12];
    tn_buffer p = {.data = side, .size = sizeof side};
    for (int i = 0; i < 3; i++) part[i] = part_of(&x, i);
    check(tn_wide_pack(part, 3, &p, &err), &err);
    check(tn_wide_run(packed, &p, 1, &z, 1, &err), &err);
    for (int i = 0; i < 3; i++) part[i] = (tn_buffer){.data = alone[i], .size = sizeof alone[i]};
    check(tn_wide_unpack(&z, part, 3, &err), &err);
    for (int i = 0; i < 3; i++) {
        tn_buffer want = part_of(&y, i);
        expect_close(&part[i], &want, 1e-6);
    }
    free(x.data);
    tn_wide_release(packed);
    tn_wide_release(stacked);
}

/* ---- what it became ----------------------------------------------------------------------------- */

static void expect_nodes(const tn_wide_options *o, bool shared, tn_wide_strategy first,
                         tn_wide_strategy second) {
    tn_wide_node_info info;
    write_mlps(shared);
    tn_wide *w = open_wide(members, 3, o);
    assert_int_equal(tn_wide_node_count(w, 0), 2);
    assert_int_equal(tn_wide_node(w, 0, 0, &info), TN_OK);
    assert_string_equal(info.node, "fc1");
    assert_string_equal(info.op, "Gemm");
    assert_int_equal(info.strategy, first);
    assert_int_equal(info.piece, 3);
    assert_int_equal(tn_wide_node(w, 0, 1, &info), TN_OK);
    assert_string_equal(info.node, "fc2");
    assert_int_equal(info.strategy, second);
    assert_int_equal(tn_wide_node(w, 0, 2, &info), TN_NOT_FOUND);
    assert_int_equal(tn_wide_node_count(w, 1), 0);
    tn_wide_release(w);
}

static void test_wide__tells_how_nodes_are_done(void **state) {
    (void)state;
    tn_wide_options o = lab_options();
    expect_nodes(&o, false, TN_WIDE_BATCHED, TN_WIDE_BATCHED);
    expect_nodes(&o, true, TN_WIDE_BATCHED, TN_WIDE_ROWS);
    o.share_all = true;
    expect_nodes(&o, false, TN_WIDE_COLUMNS, TN_WIDE_BATCHED);
    for (int i = 0; i < 3; i++) members[i] = members[0];
    tn_wide *w = open_wide(members, 3, &o);
    tn_wide_node_info info;
    assert_int_equal(tn_wide_node(w, 0, 1, &info), TN_OK);
    assert_int_equal(info.strategy, TN_WIDE_ONCE);
    tn_wide_release(w);
}

/* As if tuning had found that members one by one are fastest. */
static void remember_one_by_one(const tn_wide *w, const tn_buffer *x) {
    tn_error err = TN_ERROR_INIT;
    tn_wide_group_info info;
    const tn_graph *g;
    char key[TN_TUNING_GRAPH];
    tn_tuned_piece one = {.piece = 1, .before = 2, .after = 1};
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    check(tn_model_graph(info.model, x, 1, &g, &err), &err);
    tn_tunings_graph(g, key);
    assert_true(tn_tunings_put_piece(tn_model_compiler(info.model), key, &one));
}

static void test_wide__tells_the_loop_that_tuning_chose(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    uint64_t seed = 3;
    tn_wide_node_info info;
    o.compile.cache = folder;
    o.compile.dims = &(tn_dim_binding){"B", 2}; /* open sizes are not cut */
    o.compile.dim_count = 1;
    write_mlps(false);
    tn_buffer x = floats_of(&seed, DIMS(4, 2, 6)), y = {0}, z = {0};
    tn_wide *before = open_wide(members, 4, &o);
    check(tn_wide_run(before, &x, 1, &y, 1, &err), &err);
    remember_one_by_one(before, &x);
    tn_wide *after = open_wide(members, 4, &o);
    check(tn_wide_run(after, &x, 1, &z, 1, &err), &err);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tn_wide_node(before, 0, i, &info), TN_OK);
        assert_int_equal(info.strategy, TN_WIDE_BATCHED);
        assert_int_equal(info.piece, 4);
        assert_int_equal(tn_wide_node(after, 0, i, &info), TN_OK);
        assert_int_equal(info.strategy, TN_WIDE_LOOP);
        assert_int_equal(info.piece, 1);
    }
    expect_close(&z, &y, 1e-6);
    tn_wide_release(after);
    tn_wide_release(before);
    free(x.data);
}

/* ---- errors ------------------------------------------------------------------------------------- */

static void test_wide__refuses_what_is_no_wide_model(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide *w;
    tn_wide_options o = lab_options();
    write_mlps(false);
    expect_error(tn_wide_open(members, 0, &o, &w, &err), &err, "0 members; it needs at least one");
    expect_error(tn_wide_open(members, -2, &o, &w, &err), &err, "-2 members");
    tn_wide_member broken[3] = {members[0], {.model = "none.onnx"}, members[2]};
    expect_error(tn_wide_open(broken, 3, &o, &w, &err), &err, "member 1: none.onnx: No such file");
    broken[1] = (tn_wide_member){.model = paths[1], .weights = "none.npz"};
    expect_error(tn_wide_open(broken, 3, &o, &w, &err), &err, "member 1: none.npz: No such file");
    broken[1].model = NULL;
    expect_error(tn_wide_open(broken, 3, &o, &w, &err), &err, "member 1: it has no model");
    const char *const shared[] = {"x", "mask"};
    o.shared = shared;
    o.shared_count = 2;
    expect_error(tn_wide_open(members, 3, &o, &w, &err), &err,
                 "the model has no input 'mask' that could be shared");
    assert_null(w);
}

static void test_wide__refuses_other_inputs(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    uint64_t seed = 1;
    write_mlps(false);
    tn_wide *w = open_wide(members, 3, &o);
    tn_buffer x = floats_of(&seed, DIMS(3, 4, 6)), y = {0};
    x.dim[0] = 2;
    expect_error(tn_wide_run(w, &x, 1, &y, 1, &err), &err,
                 "3 members, stacked [N, …]: input 'x': axis 0 has size 2, expected 3 (got "
                 "f32[2,4,6], expected f32[3,B,6])");
    x.dim[0] = 3;
    x.dtype = TN_i32;
    expect_error(tn_wide_run(w, &x, 1, &y, 1, &err), &err, "wrong data type (got i32[3,4,6]");
    free(x.data);
    tn_wide_release(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide__equals_members_alone),
        cmocka_unit_test(test_wide__equal_weights_and_inputs_are_shared),
        cmocka_unit_test(test_wide__members_are_isolated),
        cmocka_unit_test(test_wide__packed_is_stacked_side_by_side),
        cmocka_unit_test(test_wide__tells_how_nodes_are_done),
        cmocka_unit_test(test_wide__tells_the_loop_that_tuning_chose),
        cmocka_unit_test(test_wide__refuses_what_is_no_wide_model),
        cmocka_unit_test(test_wide__refuses_other_inputs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
