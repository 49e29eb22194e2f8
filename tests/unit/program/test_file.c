#include "unit/program_lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/tenon-test-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static const char *in_folder(const char *name) {
    static char path[2][128];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* y = (x + w) * v over N = 8 with w prepared as v + u, and a scan beside it; one symbolic input. */
typedef struct sample {
    lab l;
    float v[8], u[8];
    float prepared[16];
} sample;

static void make_sample(sample *s) {
    lab *l = &s->l;
    lab_init(l);
    for (int i = 0; i < 8; i++) {
        s->v[i] = (float)i;
        s->u[i] = (float)(10 * i);
        s->prepared[i] = s->v[i] + s->u[i];
    }
    uint32_t v = lab_weight(l, s->v, 8), u = lab_weight(l, s->u, 8), w = lab_prepared(l, 8);
    uint32_t x = lab_input(l, "x", TN_f32, 8), many = lab_input(l, "many", TN_f32, l->n);
    uint32_t y = lab_output(l, "y", 8), half = lab_output(l, "half", l->n);
    uint32_t add = lab_kernel(l, "add", TN_S_add), mul = lab_kernel(l, "mul", TN_S_mul);
    lab_step(l, 1, add, v, u, w, 8);
    uint32_t at = l->position, t = lab_temp(l, TN_f32, 8, at, at + 1);
    lab_step(l, 0, add, x, w, t, 8);
    lab_step(l, 0, mul, t, v, y, 8);
    tn_dim padded =
        tn_dim_mul(&l->dims, tn_dim_ceildiv(&l->dims, l->n, 16), 16); /* an atom with a quotient */
    lab_temp(l, TN_f32, tn_dim_max(&l->dims, padded, 100), l->position, l->position);
    lab_step(l, 0, add, many, many, half, l->n);
    tn_prog_group g = {.step_position = at, .anchors = "add", .schedule = "tile 64", .bytes = l->n};
    tn_vec_push(&l->arena, &l->p.groups, g);
    tn_vec_push(&l->arena, &l->p.errors, "node 'a': index out of range");
    tn_error err = TN_ERROR_INIT;
    lab_assert_ok(tn_program_verify(&l->p, &err), &err);
}

static void save_sample(const char *path) {
    sample s;
    tn_error err = TN_ERROR_INIT;
    make_sample(&s);
    lab_assert_ok(tn_program_save(&s.l.p, s.prepared, false, path, NULL, &err), &err);
    lab_deinit(&s.l);
}

static void check_result(const tn_program_file *f) {
    lab_run r;
    tn_error err = TN_ERROR_INIT;
    float x[8], many[30];
    int64_t symbols[] = {30};
    for (int i = 0; i < 8; i++) x[i] = (float)(i + 1);
    for (int i = 0; i < 30; i++) many[i] = (float)i;
    lab_start(&r, &f->program, (uint8_t *)(uintptr_t)f->prepared, NULL);
    lab_assert_ok(tn_instance_bind(r.i, symbols, &err), &err);
    tn_instance_set_input(r.i, 0, x);
    tn_instance_set_input(r.i, 1, many);
    lab_assert_ok(tn_instance_run(r.i, 0, &err), &err);
    const float *y = tn_instance_output(r.i, 0), *half = tn_instance_output(r.i, 1);
    for (int i = 0; i < 8; i++) assert_float_equal(y[i], (x[i] + (float)(11 * i)) * (float)i, 0);
    for (int i = 0; i < 30; i++) assert_float_equal(half[i], 2 * many[i], 0);
    lab_stop(&r);
}

static void test_file__round_trip(void **state) {
    (void)state;
    const char *path = in_folder("a.tn");
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    tn_program_file f;
    save_sample(path);
    assert_true(tn_program_is_file(path));
    tn_arena_init(&arena, tn_allocator_system());
    lab_assert_ok(tn_program_load(&f, &arena, path, false, &err), &err);
    assert_string_equal(f.program.name, "lab");
    assert_string_equal(f.program.errors.data[0], "node 'a': index out of range");
    assert_string_equal(f.program.groups.data[0].schedule, "tile 64");
    assert_null(f.program.groups.data[0].epilogue);
    assert_int_equal(f.program.blocks.data[1].steps.len, 0);
    assert_int_equal((uintptr_t)f.prepared % 4096, 0);
    check_result(&f);
    tn_program_close(&f);
    tn_arena_deinit(&arena);
    unlink(path);
}

static void print_loaded(const char *path, tn_str *text) {
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    tn_program_file f;
    tn_arena_init(&arena, tn_allocator_system());
    lab_assert_ok(tn_program_load(&f, &arena, path, false, &err), &err);
    tn_program_print(&f.program, text);
    tn_program_close(&f);
    tn_arena_deinit(&arena);
}

static void test_file__a_second_trip_changes_nothing(void **state) {
    (void)state;
    const char *first = in_folder("a.tn"), *second = in_folder("b.tn");
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    tn_program_file f;
    tn_str a, b;
    tn_str_init(&a);
    tn_str_init(&b);
    save_sample(first);
    tn_arena_init(&arena, tn_allocator_system());
    lab_assert_ok(tn_program_load(&f, &arena, first, false, &err), &err);
    lab_assert_ok(tn_program_save(&f.program, f.prepared, false, second, NULL, &err), &err);
    tn_program_close(&f);
    tn_arena_deinit(&arena);
    print_loaded(first, &a);
    print_loaded(second, &b);
    assert_string_equal(tn_str_text(&a), tn_str_text(&b));
    tn_str_deinit(&a);
    tn_str_deinit(&b);
    unlink(first);
    unlink(second);
}

/* Kernels keep their identity through a file, whatever becomes of the table of sizes. */
static void test_file__kernels_keep_their_canonical_text(void **state) {
    (void)state;
    const char *path = in_folder("a.tn");
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    tn_program_file f;
    sample s;
    make_sample(&s);
    lab_assert_ok(tn_program_save(&s.l.p, s.prepared, false, path, NULL, &err), &err);
    tn_arena_init(&arena, tn_allocator_system());
    lab_assert_ok(tn_program_load(&f, &arena, path, false, &err), &err);
    assert_int_equal(f.program.kernels.len, s.l.p.kernels.len);
    for (uint32_t i = 0; i < s.l.p.kernels.len; i++) {
        tn_str a, b;
        tn_str_init(&a);
        tn_str_init(&b);
        tn_loop_print(s.l.p.kernels.data[i], true, &a);
        tn_loop_print(f.program.kernels.data[i], true, &b);
        assert_string_equal(tn_str_text(&a), tn_str_text(&b));
        tn_str_deinit(&a);
        tn_str_deinit(&b);
    }
    tn_program_close(&f);
    tn_arena_deinit(&arena);
    lab_deinit(&s.l);
    unlink(path);
}

static void write_bytes(const char *path, const uint8_t *data, size_t size) {
    tn_error err = TN_ERROR_INIT;
    lab_assert_ok(tn_file_write(path, data, size, false, &err), &err);
}

static tn_status load_as(const char *path, bool own, tn_error *err) {
    tn_arena arena;
    tn_program_file f;
    tn_arena_init(&arena, tn_allocator_system());
    tn_status status = tn_program_load(&f, &arena, path, own, err);
    tn_program_close(&f);
    tn_arena_deinit(&arena);
    return status;
}

static tn_status load_once(const char *path, tn_error *err) {
    return load_as(path, false, err);
}

static size_t read_bytes(const char *path, uint8_t **out) {
    tn_error err = TN_ERROR_INIT;
    tn_file_map map;
    lab_assert_ok(tn_file_map_open(&map, path, &err), &err);
    size_t size = map.size;
    *out = malloc(size);
    memcpy(*out, map.data, size);
    tn_file_map_close(&map);
    return size;
}

static void test_load__refuses_truncated_files(void **state) {
    (void)state;
    const char *path = in_folder("a.tn");
    uint8_t *bytes;
    tn_error err;
    save_sample(path);
    size_t size = read_bytes(path, &bytes);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 9) {
        write_bytes(path, bytes, cut);
        assert_int_not_equal(load_once(path, &err), TN_OK);
    }
    free(bytes);
    unlink(path);
}

static void test_load__refuses_flipped_bits(void **state) {
    (void)state;
    const char *path = in_folder("a.tn");
    uint8_t *bytes;
    uint64_t seed = 3;
    tn_error err;
    save_sample(path);
    size_t size = read_bytes(path, &bytes), refused = 0;
    for (int round = 0; round < 400; round++) {
        size_t at = test_random(&seed) % size;
        uint8_t bit = (uint8_t)(1u << (test_random(&seed) % 8));
        bytes[at] ^= bit;
        write_bytes(path, bytes, size);
        refused += load_once(path, &err) != TN_OK; /* padding may change unseen */
        bytes[at] ^= bit;
    }
    assert_true(refused > 60);
    free(bytes);
    unlink(path);
}

/* A hostile file has right hashes: only what the numbers mean can be checked. */
static void fix_hashes(uint8_t *bytes) {
    uint32_t sections;
    memcpy(&sections, bytes + 12, 4);
    for (uint32_t i = 0; i < sections; i++) {
        uint8_t *entry = bytes + 64 + 40 * i;
        uint64_t offset, size;
        memcpy(&offset, entry + 8, 8);
        memcpy(&size, entry + 16, 8);
        tn_hash128 hash = tn_hash128_of(bytes + offset, size);
        memcpy(entry + 24, &hash, 16);
    }
    tn_hash128 hash = tn_hash128_of(bytes + 64, 40 * (size_t)sections);
    memcpy(bytes + 24, &hash, 16);
}

static void test_load__survives_hostile_structures(void **state) {
    (void)state;
    const char *path = in_folder("a.tn");
    uint8_t *bytes, saved[8];
    uint64_t seed = 11, offset, size;
    tn_error err;
    save_sample(path);
    size_t total = read_bytes(path, &bytes);
    memcpy(&offset, bytes + 64 + 8, 8); /* the structure's section */
    memcpy(&size, bytes + 64 + 16, 8);
    for (int round = 0; round < 3000; round++) {
        size_t at = offset + test_random(&seed) % (size - 8);
        memcpy(saved, bytes + at, 8);
        uint64_t value = test_random(&seed);
        size_t width = (size_t)1 << (test_random(&seed) % 4);
        if (round % 3 == 0) value = ~(uint64_t)0 >> (test_random(&seed) % 64);
        if (round % 3 == 1) value = test_random(&seed) % 4;
        memcpy(bytes + at, &value, width);
        fix_hashes(bytes);
        write_bytes(path, bytes, total);
        (void)load_once(path, &err);
        memcpy(bytes + at, saved, 8);
    }
    free(bytes);
    unlink(path);
}

/* Sections: structure, kernels, prepared, a source; entries of 40 bytes behind the head. */
static void refuse_sections(const char *path, const uint8_t *bytes, size_t size,
                            const char *words) {
    tn_error err = TN_ERROR_INIT;
    write_bytes(path, bytes, size);
    assert_int_equal(load_once(path, &err), TN_INVALID);
    if (!strstr(err.message, words)) fail_msg("%s; expected: %s", err.message, words);
}

static void test_load__refuses_holes_and_overlaps(void **state) {
    (void)state;
    enum { TABLE = 64, ENTRY = 40, OFFSET = 8, SIZE = 16 };
    const char *path = in_folder("a.tn");
    save_sample(path);
    uint8_t *bytes, entry[ENTRY];
    size_t size = read_bytes(path, &bytes);
    bytes = realloc(bytes, size + 64);
    memset(bytes + size, 0, 64);
    uint64_t at, wider = size + 64, prepared;
    uint8_t *kernels = bytes + TABLE + ENTRY, *third = kernels + ENTRY, *source = third + ENTRY;
    memcpy(&at, kernels + OFFSET, 8);
    memcpy(&prepared, third + OFFSET, 8);

    bytes[prepared - 1] ^= 1; /* between two sections */
    refuse_sections(path, bytes, size, "belong to no section");
    bytes[prepared - 1] ^= 1;

    memcpy(bytes + 16, &wider, 8);
    refuse_sections(path, bytes, size + 64, "behind the last section");
    memcpy(bytes + 16, &size, 8);

    memcpy(entry, kernels, ENTRY);
    memcpy(kernels + OFFSET, (uint64_t[]){at - 64}, 8);
    fix_hashes(bytes);
    refuse_sections(path, bytes, size, "sections overlap");
    memcpy(kernels + OFFSET, (uint64_t[]){at + 64}, 8);
    fix_hashes(bytes);
    refuse_sections(path, bytes, size, "belong to no section");
    memcpy(kernels, entry, ENTRY);

    kernels[0] = 9;
    fix_hashes(bytes);
    refuse_sections(path, bytes, size, "unknown kind");
    kernels[0] = 1;
    fix_hashes(bytes);
    refuse_sections(path, bytes, size, "there twice");
    memcpy(kernels, entry, ENTRY);

    assert_int_equal(source[0], 4);
    source[4] = 7; /* of a source that does not exist */
    fix_hashes(bytes);
    refuse_sections(path, bytes, size, "weights are missing");
    free(bytes);
    unlink(path);
}

static void test_load__external_weights_must_not_have_changed(void **state) {
    (void)state;
    const char *path = in_folder("a.tn"), *weights = in_folder("w.bin");
    tn_error err = TN_ERROR_INIT;
    const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    tn_file_map map;
    lab l;
    write_bytes(weights, (const uint8_t *)values, sizeof values);
    lab_assert_ok(tn_file_map_open(&map, weights, &err), &err);
    lab_init(&l);
    uint32_t w = lab_weight(&l, (const float *)(const void *)map.data, 8);
    tn_prog_source *s = &l.p.sources.data[0];
    *s = (tn_prog_source){weights, map.device, map.inode, map.size, map.mtime_ns, map.data};
    uint32_t x = lab_input(&l, "x", TN_f32, 8), y = lab_output(&l, "y", 8);
    lab_step(&l, 0, lab_kernel(&l, "add", TN_S_add), x, w, y, 8);
    lab_assert_ok(tn_program_save(&l.p, NULL, true, path, NULL, &err), &err);
    lab_assert_ok(load_as(path, true, &err), &err);
    assert_int_equal(load_as(path, false, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "only entries of the cache"));
    write_bytes(weights, (const uint8_t *)values, sizeof values);
    assert_int_equal(load_as(path, true, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "has changed since"));
    unlink(weights);
    assert_int_equal(load_as(path, true, &err), TN_NOT_FOUND);
    tn_file_map_close(&map);
    lab_deinit(&l);
    unlink(path);
}

static void test_save__into_a_missing_folder_is_an_error(void **state) {
    (void)state;
    sample s;
    tn_error err = TN_ERROR_INIT;
    make_sample(&s);
    assert_int_equal(tn_program_save(&s.l.p, s.prepared, false, "/nowhere/a.tn", NULL, &err),
                     TN_IO);
    assert_int_equal(tn_program_save(&s.l.p, NULL, false, in_folder("a.tn"), NULL, &err),
                     TN_INVALID);
    lab_deinit(&s.l);
}

/* ---- seeds of the fuzz target ------------------------------------------------------------------- */

static void test_load__seeds_are_of_this_version(void **state) {
    (void)state;
    static const char *const seeds[] = {"if",   "loop",     "lstm",  "quant",
                                        "scan", "function", "einsum"};
    for (size_t i = 0; i < TN_COUNT(seeds); i++) {
        char path[128];
        tn_error err = TN_ERROR_INIT;
        tn_program_file f;
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        snprintf(path, sizeof path, "tests/fuzz/corpus/program/%s.tn", seeds[i]);
        if (tn_program_load(&f, &arena, path, false, &err) != TN_OK)
            fail_msg("%s; scripts/fuzz_seeds.sh writes them anew", err.message);
        tn_program_close(&f);
        tn_arena_deinit(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file__round_trip),
        cmocka_unit_test(test_file__a_second_trip_changes_nothing),
        cmocka_unit_test(test_file__kernels_keep_their_canonical_text),
        cmocka_unit_test(test_load__refuses_truncated_files),
        cmocka_unit_test(test_load__refuses_flipped_bits),
        cmocka_unit_test(test_load__survives_hostile_structures),
        cmocka_unit_test(test_load__refuses_holes_and_overlaps),
        cmocka_unit_test(test_load__external_weights_must_not_have_changed),
        cmocka_unit_test(test_load__seeds_are_of_this_version),
        cmocka_unit_test(test_save__into_a_missing_folder_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
