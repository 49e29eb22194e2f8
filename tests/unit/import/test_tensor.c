/* Tensors in model files: types, sizes against data, files beside the model. */
#include "unit/test.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "unit/import/onnx_wire.h"

/* ---- data against shapes ------------------------------------------------------------------------- */

/* A graph that gives the tensor out. */
static wire graph_of_tensor(const wire *tensor, int type) {
    wire g = {.len = 0};
    wire_put(&g, 5, tensor);
    wire_output(&g, "t", type, "?");
    return g;
}

static void refused_tensor(int type, int rank, const int64_t *dim, size_t size, const char *part) {
    static const uint8_t zeros[64];
    wire t = wire_tensor("t", type, rank, dim, zeros, size), g = graph_of_tensor(&t, type);
    refused(&g, part);
}

static void test_tensor__data_that_do_not_fit(void **state) {
    (void)state;
    refused_tensor(W_FLOAT, 1, (int64_t[]){3}, 8, "8 bytes of data");
    refused_tensor(W_FLOAT, 1, (int64_t[]){-1}, 0, "axis 0 has size -1");
    refused_tensor(W_FLOAT, 2, (int64_t[]){INT64_MAX, INT64_MAX}, 0, "overflows");
    refused_tensor(W_FLOAT, 3, (int64_t[]){0, INT64_MAX, INT64_MAX}, 0, "overflows");
    refused_tensor(W_FLOAT, 1, (int64_t[]){(int64_t)1 << 40}, 4, "need");
    refused_tensor(W_STRING, 1, (int64_t[]){1}, 4, "STRING");
    refused_tensor(99, 1, (int64_t[]){1}, 4, "not an element type");
    int64_t many[20];
    for (int i = 0; i < 20; i++) many[i] = 1;
    refused_tensor(W_FLOAT, 20, many, 4, "axes");
}

static tn_array constant_of(imported *i, const wire *tensor, int type) {
    tn_array a;
    wire g = graph_of_tensor(tensor, type);
    import_model(i, &g);
    if (i->status != TN_OK) fail_msg("%s", i->text);
    assert_true(tn_graph_constant(i->import.graph, i->import.graph->outputs.data[0].value, &a));
    return a;
}

static void test_tensor__nibbles_are_spread(void **state) {
    (void)state;
    imported i;
    static const uint8_t raw[] = {0x1f, 0x0a}; /* -1, 1, -6 */
    wire t = wire_tensor("t", 22, 1, (int64_t[]){3}, raw, sizeof raw);
    tn_array a = constant_of(&i, &t, 22);
    assert_int_equal(a.dtype, TN_i4);
    assert_int_equal(tn_array_get(&a, 0).i, -1);
    assert_int_equal(tn_array_get(&a, 1).i, 1);
    assert_int_equal(tn_array_get(&a, 2).i, -6);
    import_done(&i);
}

static void test_tensor__flags_are_zero_or_one(void **state) {
    (void)state;
    imported i;
    static const uint8_t raw[] = {0, 7};
    wire t = wire_tensor("t", W_BOOL, 1, (int64_t[]){2}, raw, sizeof raw);
    tn_array a = constant_of(&i, &t, W_BOOL);
    assert_int_equal(((const uint8_t *)a.data)[0], 0);
    assert_int_equal(((const uint8_t *)a.data)[1], 1);
    import_done(&i);
}

static void test_tensor__half_as_numbers(void **state) {
    (void)state;
    imported i;
    wire t = wire_tensor("t", 10, 1, (int64_t[]){2}, NULL, 0);
    wire_int(&t, 5, 0x3c00);
    wire_int(&t, 5, 0xc000);
    tn_array a = constant_of(&i, &t, 10);
    assert_true(tn_array_get(&a, 0).f == 1.0);
    assert_true(tn_array_get(&a, 1).f == -2.0);
    import_done(&i);
}

/* ---- files beside the model ----------------------------------------------------------------------- */

static char folder[256];

static int setup(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/tenon-test-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}
static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}
static int teardown(void **state) {
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name) {
    static char path[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static void write_file(const char *name, const void *data, size_t size) {
    assert_int_equal(tn_file_write(path_of(name), data, size, false, NULL), TN_OK);
}

/* model/model.onnx with a tensor of 2000 floats at `location`. */
static void import_external(imported *i, const char *location, const char *offset,
                            const char *length) {
    const char *entries[][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    wire t = wire_tensor("t", W_FLOAT, 1, (int64_t[]){2000}, NULL, 0);
    for (int k = 0; k < 3; k++) {
        wire e = {.len = 0};
        if (!entries[k][1]) continue;
        wire_text(&e, 1, entries[k][0]);
        wire_text(&e, 2, entries[k][1]);
        wire_put(&t, 13, &e);
    }
    wire_int(&t, 14, 1);
    wire g = graph_of_tensor(&t, W_FLOAT), model = wire_model(&g, 21);
    mkdir(path_of("model"), 0700);
    write_file("model/model.onnx", model.at, model.len);
    memset(i, 0, sizeof *i);
    tn_arena_init(&i->arena, tn_allocator_system());
    i->status = tn_import_onnx(path_of("model/model.onnx"), NULL, &i->arena, &i->import, &i->err);
    if (i->status != TN_OK) tn_error_format(&i->err, i->text, sizeof i->text);
}

static void refused_external(const char *location, const char *offset, const char *length,
                             const char *part) {
    imported i;
    import_external(&i, location, offset, length);
    if (i.status == TN_OK || !strstr(i.text, part)) fail_msg("'%s'; expected: %s", i.text, part);
    import_done(&i);
}

static void test_external__points_into_the_file(void **state) {
    (void)state;
    imported i;
    float data[2001];
    tn_array a;
    for (int k = 0; k < 2001; k++) data[k] = (float)k;
    mkdir(path_of("model"), 0700);
    mkdir(path_of("model/deep"), 0700);
    write_file("model/deep/w.bin", data, sizeof data);
    import_external(&i, "deep/w.bin", "4", "8000");
    if (i.status != TN_OK) fail_msg("%s", i.text);
    tn_value v = i.import.graph->outputs.data[0].value;
    assert_true(tn_graph_constant(i.import.graph, v, &a));
    assert_true(tn_array_get(&a, 1999).f == 2000.0);
    const tn_attrs_constant *attrs = tn_graph_producer(i.import.graph, v)->attrs;
    assert_int_equal(attrs->data.source, 2);
    assert_int_equal(attrs->data.offset, 4);
    assert_ptr_equal(attrs->data.bytes, i.import.maps.data[1].data + 4);
    assert_int_equal(i.import.graph->sources.len, 2);
    import_done(&i);
}

static void test_external__stays_in_the_folder(void **state) {
    (void)state;
    static const uint8_t data[8000];
    mkdir(path_of("model"), 0700);
    write_file("outside.bin", data, sizeof data);
    write_file("model/w.bin", data, sizeof data);
    assert_int_equal(symlink("../outside.bin", path_of("model/link.bin")), 0);
    assert_int_equal(symlink("..", path_of("model/up")), 0);
    assert_int_equal(link(path_of("outside.bin"), path_of("model/hard.bin")), 0);
    assert_int_equal(mkfifo(path_of("model/pipe"), 0600), 0);
    refused_external("../outside.bin", NULL, NULL, "only files beneath");
    refused_external("x/../../outside.bin", NULL, NULL, "only files beneath");
    refused_external(path_of("outside.bin"), NULL, NULL, "only files beneath");
    refused_external("link.bin", NULL, NULL, "symbolic link");
    refused_external("up/outside.bin", NULL, NULL, "symbolic link");
    refused_external("hard.bin", NULL, NULL, "names");
    refused_external("pipe", NULL, NULL, "regular file");
    refused_external("absent.bin", NULL, NULL, "No such file");
    refused_external("", NULL, NULL, "beneath");
}

static void test_external__lies_in_the_file(void **state) {
    (void)state;
    static const uint8_t data[8000];
    mkdir(path_of("model"), 0700);
    write_file("model/w.bin", data, sizeof data);
    refused_external("w.bin", "8000", "8000", "do not lie in");
    refused_external("w.bin", "18446744073709551615", "8000", "do not lie in");
    refused_external("w.bin", "0", "18446744073709551615", "do not lie in");
    refused_external("w.bin", "-4", "8000", "not a number");
    refused_external("w.bin", "4", NULL, "bytes of data");
    refused_external(NULL, NULL, NULL, "without a location");
}

/* A constant from a file of its own. */
static void test_tensor_pb__reads_and_refuses(void **state) {
    (void)state;
    tn_arena arena;
    tn_array a;
    tn_error err = TN_ERROR_INIT;
    const char *name;
    static const float raw[] = {1.5f, -2};
    wire t = wire_tensor("v", W_FLOAT, 1, (int64_t[]){2}, raw, sizeof raw);
    tn_arena_init(&arena, tn_allocator_system());
    write_file("t.pb", t.at, t.len);
    assert_int_equal(tn_import_tensor_pb(path_of("t.pb"), &arena, &a, &name, &err), TN_OK);
    assert_string_equal(name, "v");
    assert_true(tn_array_get(&a, 1).f == -2);
    write_file("t.pb", t.at, t.len - 1);
    assert_int_equal(tn_import_tensor_pb(path_of("t.pb"), &arena, &a, &name, &err), TN_INVALID);
    assert_int_equal(tn_import_tensor_pb(path_of("none.pb"), &arena, &a, &name, &err),
                     TN_NOT_FOUND);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor__data_that_do_not_fit),
        cmocka_unit_test(test_tensor__nibbles_are_spread),
        cmocka_unit_test(test_tensor__flags_are_zero_or_one),
        cmocka_unit_test(test_tensor__half_as_numbers),
        cmocka_unit_test_setup_teardown(test_external__points_into_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_external__stays_in_the_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_external__lies_in_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tensor_pb__reads_and_refuses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
