/* Members: groups of equal structure, files of weights, seeds, taking out and changing. */
#include "import/safetensors.h"
#include "session/session.h"
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"
#include "wide/source.h"

static void run_and_compare(tn_wide *w, const char *const *paths) {
    uint64_t seed = 3;
    tn_buffer x = floats_of(&seed, DIMS(tn_wide_count(w), 2, 6));
    expect_as_alone(w, paths, &x, 1, NULL, 1);
    free(x.data);
}

static void expect_same_file(const char *a, const char *b) {
    tn_file_map x, y;
    tn_error err = TN_ERROR_INIT;
    check(tn_file_map_open(&x, a, &err), &err);
    check(tn_file_map_open(&y, b, &err), &err);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    tn_file_map_close(&x);
    tn_file_map_close(&y);
}

/* ---- groups ------------------------------------------------------------------------------------- */

static void test_groups__of_equal_structure(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    tn_wide_group_info info;
    const char *paths[5];
    tn_wide_member members[5] = {{0}};
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "ragged%d.onnx", i);
        paths[i] = write_mlp(name, i == 1 || i == 3 ? "Tanh" : "Relu", (uint64_t)i, false);
        members[i].model = paths[i];
    }
    for (int packed = 0; packed < 2; packed++) {
        o.layout = packed ? TN_WIDE_PACKED : TN_WIDE_STACKED;
        tn_wide *w = open_wide(members, 5, &o);
        assert_int_equal(tn_wide_group_count(w), 2);
        assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
        assert_null(info.difference);
        assert_int_equal(info.count, 3);
        assert_int_equal(info.members[1], 2);
        assert_int_equal(tn_wide_group(w, 1, &info), TN_OK);
        assert_string_equal(info.difference, "node 'act1': Tanh instead of Relu");
        assert_int_equal(info.members[1], 3);
        assert_int_equal(tn_wide_group(w, 2, &info), TN_NOT_FOUND);
        if (!packed) run_and_compare(w, paths);
        tn_wide_release(w);
    }
    o.one_group = true;
    tn_wide *w;
    expect_error(tn_wide_open(members, 5, &o, &w, &err), &err,
                 "ragged1.onnx): node 'act1': Tanh instead of Relu in member 0");
}

static void test_groups__packed_runs(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    tn_wide_member members[3] = {{0}};
    uint64_t seed = 4;
    members[0].model = write_mlp("p0.onnx", "Relu", 1, false);
    members[1].model = write_mlp("p1.onnx", "Sigmoid", 2, false);
    members[2].model = write_mlp("p2.onnx", "Relu", 3, false);
    tn_wide *stacked = open_wide(members, 3, &o);
    o.layout = TN_WIDE_PACKED;
    tn_wide *packed = open_wide(members, 3, &o);
    tn_buffer x = floats_of(&seed, DIMS(3, 2, 6)), y = {0}, z = {0}, part[3];
    float side[2 * 18], want[2 * 9];
    tn_buffer p = {.data = side, .size = sizeof side}, q = {.data = want, .size = sizeof want};
    check(tn_wide_run(stacked, &x, 1, &y, 1, &err), &err);
    for (int i = 0; i < 3; i++) part[i] = part_of(&x, i);
    check(tn_wide_pack(part, 3, &p, &err), &err);
    check(tn_wide_run(packed, &p, 1, &z, 1, &err), &err);
    for (int i = 0; i < 3; i++) part[i] = part_of(&y, i);
    check(tn_wide_pack(part, 3, &q, &err), &err);
    expect_close(&z, &q, 1e-6);
    p.dim[1] = 17;
    expect_error(tn_wide_run(packed, &p, 1, &z, 1, &err), &err,
                 "input 'x' is f32[2,17]: axis 1 is not the width of 3 members");
    x.dim[0] = 2;
    expect_error(tn_wide_run(stacked, &x, 1, &y, 1, &err), &err,
                 "input 'x' is f32[2,2,6]: axis 0 is not the number of 3 members");
    free(x.data);
    tn_wide_release(stacked);
    tn_wide_release(packed);
}

/* ---- weights ------------------------------------------------------------------------------------ */

static tn_status to_file(void *context, const void *data, size_t size, tn_error *err) {
    (void)err;
    fwrite(data, 1, size, context);
    return TN_OK;
}

static void write_weights(const char *path, const tn_import_entry *entries, uint32_t count) {
    tn_error err = TN_ERROR_INIT;
    FILE *f = fopen(path, "wb");
    check(tn_safetensors_write(entries, count, NULL, 0, to_file, f, &err), &err);
    fclose(f);
}

static void test_weights__from_files(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    const char *model = write_mlp("base.onnx", "Relu", 1, false);
    const char *other = write_mlp("other.onnx", "Relu", 2, false);
    const char *path = in_folder("w.safetensors");
    tn_arena arena;
    tn_import i;
    tn_arena_init(&arena, tn_allocator_system());
    check(tn_import_onnx(other, &(tn_import_options){.weights = true}, &arena, &i, &err), &err);
    tn_import_entry entries[4];
    for (int k = 0; k < 3; k++)
        entries[k] = (tn_import_entry){i.weights.data[k].name, i.weights.data[k].array};
    write_weights(path, entries, 3);
    tn_wide_member members[2] = {{.model = model}, {.model = model, .weights = path}};
    tn_wide *w = open_wide(members, 2, &o);
    run_and_compare(w, (const char *const[]){model, other});
    const char *out = in_folder("out.onnx");
    check(tn_wide_extract(w, 1, out, &err), &err);
    expect_same_file(out, other);
    tn_wide_release(w);
    o.compile.cache = in_folder("cache");
    for (int again = 0; again < 2; again++) {
        tn_wide_group_info info;
        w = open_wide(members, 2, &o);
        assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
        assert_int_equal(tn_model_artifact(info.model)->stats.program_cached, again);
        tn_wide_release(w);
    }
    write_weights(path, entries, 2);
    expect_error(tn_wide_open(members, 2, &o, &w, &err), &err,
                 "weight 'w2' (f32[10,3]) of the model is missing");
    entries[3] = (tn_import_entry){"w3", entries[0].array};
    write_weights(path, entries, 4);
    expect_error(tn_wide_open(members, 2, &o, &w, &err), &err, "the model has no weight 'w3'");
    entries[0].array.dim[0] = 5;
    write_weights(path, entries, 3);
    expect_error(tn_wide_open(members, 2, &o, &w, &err), &err,
                 "weight 'w1' is f32[5,10]; the model's is f32[6,10]");
    expect_error(tn_wide_open(members, 2, &o, &w, &err), &err, "member 1 (");
    tn_import_close(&i);
    tn_arena_deinit(&arena);
}

/* What seeds mean is in files of users: it may not change. */
static void test_weights__of_seeds(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    const char *model = write_mlp("seeds.onnx", "Relu", 1, false), *paths[3];
    tn_wide_member members[3] = {{.model = model, .perturbed = true, .seed = 7},
                                 {.model = model, .perturbed = true, .seed = 8},
                                 {.model = model}};
    tn_wide *w = open_wide(members, 3, &o);
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "seed%d.onnx", i);
        paths[i] = in_folder(name);
        check(tn_wide_extract(w, i, paths[i], &err), &err);
    }
    expect_same_file(paths[2], model);
    run_and_compare(w, paths);
    tn_wide_release(w);
    enum { COUNT = 5000 };
    double sum = 0, squares = 0;
    float x[COUNT];
    for (int i = 0; i < COUNT; i++) x[i] = 2;
    tn_array a = {.dtype = TN_f32, .rank = 1, .dim = {COUNT}, .data = x};
    tn__wide_perturb("w", 7, 0, &a);
    int tails = 0;
    for (int i = 0; i < COUNT; i++) {
        double z = ((double)x[i] / 2 - 1) / 0.01;
        sum += z;
        squares += z * z;
        tails += fabs(z) > 1.959964; /* 5 % of them */
    }
    assert_true(fabs(tails - 0.05 * COUNT) < 3 * sqrt(0.05 * 0.95 * COUNT));
    static const float begin[] = {2.04181027f, 2.00856256f, 1.97675657f, 2.01790285f};
    for (int i = 0; i < 4; i++) assert_float_equal(x[i], begin[i], 1e-7f);
    assert_true(fabs(sum / COUNT) < 3 / sqrt(COUNT));
    assert_true(fabs(squares / COUNT - 1) < 3 * sqrt(2.0 / COUNT));
}

/* ---- changing ----------------------------------------------------------------------------------- */

static void test_members__extract_insert_replace_remove(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    const char *p[5];
    tn_wide_group_info info;
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "m%d.onnx", i);
        p[i] = write_mlp(name, i == 4 ? "Tanh" : "Relu", (uint64_t)i, false);
    }
    tn_wide_member members[] = {{.model = p[0]}, {.model = p[1]}, {.model = p[2]}};
    tn_wide *w = open_wide(members, 3, &o);
    const char *out = in_folder("taken.onnx");
    check(tn_wide_extract(w, 1, out, &err), &err);
    expect_same_file(out, p[1]);
    check(tn_wide_insert(w, 1, &(tn_wide_member){.model = p[3]}, &err), &err);
    run_and_compare(w, (const char *const[]){p[0], p[3], p[1], p[2]});
    check(tn_wide_insert(w, 4, &(tn_wide_member){.model = p[4]}, &err), &err);
    assert_int_equal(tn_wide_group_count(w), 2);
    run_and_compare(w, (const char *const[]){p[0], p[3], p[1], p[2], p[4]});
    assert_int_equal(tn_wide_group(w, 1, &info), TN_OK);
    const tn_model *kept = info.model;
    check(tn_wide_replace(w, 0, &(tn_wide_member){.model = out}, &err), &err);
    assert_int_equal(tn_wide_group(w, 1, &info), TN_OK);
    assert_ptr_equal(info.model, kept); /* the other group is not compiled again */
    run_and_compare(w, (const char *const[]){out, p[3], p[1], p[2], p[4]});
    check(tn_wide_remove(w, 2, &err), &err);
    run_and_compare(w, (const char *const[]){out, p[3], p[2], p[4]});
    tn_wide_release(w);
}

static void test_members__failures_change_nothing(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    o.one_group = true;
    const char *a = write_mlp("a.onnx", "Relu", 1, false),
               *b = write_mlp("b.onnx", "Tanh", 2, false);
    tn_wide *w = open_wide(&(tn_wide_member){.model = a}, 1, &o);
    expect_error(tn_wide_insert(w, 1, &(tn_wide_member){.model = b}, &err), &err,
                 "Tanh instead of Relu");
    expect_error(tn_wide_insert(w, 2, &(tn_wide_member){.model = a}, &err), &err, "no member 2");
    expect_error(tn_wide_replace(w, 1, &(tn_wide_member){.model = a}, &err), &err,
                 "there is no member 1; the wide model has 0 … 0");
    expect_error(tn_wide_extract(w, -1, "x.onnx", &err), &err, "there is no member -1");
    expect_error(tn_wide_remove(w, 0, &err), &err, "member 0 is the last one");
    expect_error(tn_wide_replace(w, 0, &(tn_wide_member){.model = "none"}, &err), &err,
                 "member 0: none: No such file");
    assert_int_equal(tn_wide_count(w), 1);
    run_and_compare(w, (const char *const[]){a});
    tn_wide_release(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups__of_equal_structure),
        cmocka_unit_test(test_groups__packed_runs),
        cmocka_unit_test(test_weights__from_files),
        cmocka_unit_test(test_weights__of_seeds),
        cmocka_unit_test(test_members__extract_insert_replace_remove),
        cmocka_unit_test(test_members__failures_change_nothing),
    };
    lab_mode = TN_COMPILE_INTERPRET;
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
