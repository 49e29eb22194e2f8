/* safetensors files: what is read, what is written, what is refused. */
#include "import/safetensors.h"

#include "unit/test_folder.h"

typedef struct lab {
    tn_arena arena;
    tn_safetensors file;
    char path[512];
    tn_error err;
} lab;

static void lab_open(lab *l) {
    *l = (lab){.err = TN_ERROR_INIT};
    tn_arena_init(&l->arena, tn_allocator_system());
    snprintf(l->path, sizeof l->path, "%s/x.safetensors", folder);
}

static void lab_close(lab *l) {
    tn_safetensors_close(&l->file);
    tn_arena_deinit(&l->arena);
}

/* A file of this header, filled up with spaces, and data. */
static void make_file(lab *l, const char *header, const void *data, size_t size) {
    uint8_t bytes[8192];
    size_t n = strlen(header), padded = (n + 7) / 8 * 8;
    assert_true(8 + padded + size <= sizeof bytes);
    memset(bytes, ' ', sizeof bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    memcpy(bytes + 8, header, n);
    if (size) memcpy(bytes + 8 + padded, data, size);
    check(tn_file_write(l->path, bytes, 8 + padded + size, false, &l->err), &l->err);
}

static tn_status open_file(lab *l) {
    return tn_safetensors_open(l->path, &l->arena, &l->file, &l->err);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Written by the reference (Python's safetensors 0.8). */
static void test_safetensors__reads_the_references_files(void **state) {
    (void)state;
    lab l;
    lab_open(&l);
    snprintf(l.path, sizeof l.path, "tests/fuzz/corpus/safetensors/several.safetensors");
    check(open_file(&l), &l.err);
    assert_int_equal(l.file.tensors.len, 3);
    const tn_safetensor *t = l.file.tensors.data;
    assert_string_equal(t[0].name, "b");
    assert_string_equal(t[1].name, "w");
    assert_string_equal(t[2].name, "flag");
    assert_int_equal(t[0].dtype, TN_i64);
    assert_true(t[1].rank == 2 && t[1].dim[0] == 2 && t[1].dim[1] == 3);
    float w[6];
    bool flag[2];
    tn_safetensor_copy(&t[1], w);
    tn_safetensor_copy(&t[2], flag);
    for (int i = 0; i < 6; i++) assert_true(w[i] == (float)i);
    assert_true(flag[0] && !flag[1]);
    assert_int_equal(l.file.metadata.len, 2);
    lab_close(&l);
}

static void test_safetensors__reads_scalars_and_empty_tensors(void **state) {
    (void)state;
    lab l;
    lab_open(&l);
    make_file(&l,
              "{\"none\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[4,4]},"
              "\"one\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
              &(float){2.5f}, 4);
    check(open_file(&l), &l.err);
    float one = 0;
    for (uint32_t i = 0; i < 2; i++) {
        const tn_safetensor *t = &l.file.tensors.data[i];
        if (strcmp(t->name, "one") == 0) tn_safetensor_copy(t, &one);
    }
    assert_true(one == 2.5f);
    lab_close(&l);
    lab_open(&l);
    make_file(&l, "{}", NULL, 0);
    check(open_file(&l), &l.err);
    assert_int_equal(l.file.tensors.len, 0);
    lab_close(&l);
}

/* ---- refusing ------------------------------------------------------------------------------- */

#define T(dtype, shape, begin, end)                                                                \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void test_safetensors__refuses_what_is_wrong(void **state) {
    static const struct {
        const char *header, *words;
    } rows[] = {
        /* with 8 bytes of data */
        {"[]", "not a JSON object"},
        {"{\"x\":", "not a JSON object"},
        {"{\"x\":3}", "'x' is not described by an object"},
        {"{\"x\":{\"shape\":[8],\"data_offsets\":[0,8]}}", "'x' has no dtype"},
        {"{\"x\":" T("C64", "[1]", 0, 8) "}", "'x' is of type 'C64'"},
        {"{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,8]}}", "'x' has no shape"},
        {"{\"x\":" T("U8", "[8,-1]", 0, 8) "}", "a shape that is not of sizes"},
        {"{\"x\":" T("U8", "[8.0]", 0, 8) "}", "a shape that is not of sizes"},
        {"{\"x\":" T("U8", "[1,1,1,1,1,1,1,1,1,1,1,1,8]", 0, 8) "}", "has 13 axes"},
        {"{\"x\":" T("U8", "[4294967296,4294967296]", 0, 8) "}", "more elements than"},
        {"{\"x\":" T("U8", "[0,4294967296,4294967296]", 0, 0) "}", "more elements than"},
        {"{\"x\":" T("F64", "[4611686018427387904]", 0, 8) "}", "more elements than"},
        {"{\"x\":{\"dtype\":\"U8\",\"shape\":[8]}}", "no data_offsets"},
        {"{\"x\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0]}}", "no data_offsets"},
        {"{\"x\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8.5]}}", "no data_offsets"},
        {"{\"x\":" T("U8", "[8]", -1, 8) "}", "'x' has its data at [-1, 8)"},
        {"{\"x\":" T("U8", "[9]", 0, 9) "}", "is it cut off?"},
        {"{\"x\":" T("U8", "[8]", 8, 0) "}", "'x' has its data at [8, 0)"},
        {"{\"x\":" T("F32", "[3]", 0, 8) "}", "'x' has 8 bytes of data"},
        {"{\"x\":" T("F4", "[3]", 0, 2) "}", "'x' has 2 bytes of data"},
        {"{\"x\":" T("U8", "[5]", 0, 5) ",\"y\":" T("U8", "[4]", 4, 8) "}",
         "'y' shares bytes with 'x'"},
        {"{\"x\":" T("U8", "[4]", 0, 4) ",\"y\":" T("U8", "[3]", 5, 8) "}",
         "'y' comes after 1 bytes"},
        {"{\"x\":" T("U8", "[7]", 0, 7) "}", "1 bytes at the end belong to no tensor"},
        {"{\"x\":" T("U8", "[4]", 0, 4) ",\"x\":" T("U8", "[4]", 4, 8) "}", "duplicate"},
        {"{\"a\\u0000b\":" T("U8", "[8]", 0, 8) "}", "not a JSON object"},
        {"{\"\xff\":" T("U8", "[8]", 0, 8) "}", "not a JSON object"},
        {"{\"__metadata__\":7,\"x\":" T("U8", "[8]", 0, 8) "}", "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"k\":1},\"x\":" T("U8", "[8]", 0, 8) "}", "'k' of __metadata__"},
    };
    (void)state;
    for (size_t r = 0; r < TN_COUNT(rows); r++) {
        lab l;
        lab_open(&l);
        make_file(&l, rows[r].header, "01234567", 8);
        assert_int_equal(open_file(&l), TN_INVALID);
        if (!strstr(l.err.message, rows[r].words) || !strstr(l.err.message, "x.safetensors"))
            fail_msg("%s gives: %s", rows[r].header, l.err.message);
        assert_null(l.file.map.data);
        lab_close(&l);
    }
}

static void expect_bytes_refused(const void *bytes, size_t size, const char *words) {
    lab l;
    lab_open(&l);
    check(tn_file_write(l.path, bytes, size, false, &l.err), &l.err);
    assert_int_equal(open_file(&l), TN_INVALID);
    if (!strstr(l.err.message, words)) fail_msg("%zu bytes give: %s", size, l.err.message);
    lab_close(&l);
}

static void test_safetensors__refuses_files_that_are_cut_off(void **state) {
    (void)state;
    uint8_t bytes[65536];
    expect_bytes_refused("", 0, "too few");
    expect_bytes_refused("1234567", 7, "too few");
    expect_bytes_refused("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "does not fit");
    expect_bytes_refused("\3\0\0\0\0\0\0\0{}", 10, "does not fit");
    memset(bytes, '[', sizeof bytes); /* deep */
    memcpy(bytes, "\xf8\xff\0\0\0\0\0\0", 8);
    expect_bytes_refused(bytes, sizeof bytes, "not a JSON object");
    /* every length of a right file */
    tn_file_map m;
    tn_error err = TN_ERROR_INIT;
    check(tn_file_map_open(&m, "tests/fuzz/corpus/safetensors/several.safetensors", &err), &err);
    for (size_t n = 0; n < m.size; n++) expect_bytes_refused(m.data, n, "x.safetensors");
    tn_file_map_close(&m);
    lab l;
    lab_open(&l);
    snprintf(l.path, sizeof l.path, "%s/none", folder);
    assert_int_equal(open_file(&l), TN_NOT_FOUND);
    lab_close(&l);
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct text {
    size_t size;
    uint8_t data[8192];
} text;

static tn_status collect(void *context, const void *data, size_t size, tn_error *err) {
    text *t = context;
    (void)err;
    assert_true(t->size + size <= sizeof t->data);
    memcpy(t->data + t->size, data, size);
    t->size += size;
    return TN_OK;
}

/* Byte for byte what the reference writes. */
static void test_safetensors__writes_the_references_bytes(void **state) {
    (void)state;
    lab l;
    text out = {0};
    tn_import_entry e[3];
    lab_open(&l);
    snprintf(l.path, sizeof l.path, "tests/fuzz/corpus/safetensors/several.safetensors");
    check(open_file(&l), &l.err);
    for (uint32_t i = 0; i < 3; i++) { /* in another order */
        const tn_safetensor *t = &l.file.tensors.data[(i + 2) % 3];
        e[i] = (tn_import_entry){
            t->name, {t->dtype, t->rank, {t->dim[0], t->dim[1]}, (void *)(uintptr_t)t->data}};
    }
    check(tn_safetensors_write(e, 3, l.file.metadata.data, 2, collect, &out, &l.err), &l.err);
    assert_int_equal(out.size, l.file.map.size);
    assert_memory_equal(out.data, l.file.map.data, out.size);
    lab_close(&l);
}

static void test_safetensors__keeps_every_type(void **state) {
    (void)state;
    for (int d = 0; d < TN_DTYPE_COUNT; d++) {
        lab l;
        text out = {0};
        uint8_t bytes[48], back[48] = {0};
        tn_dtype dtype = (tn_dtype)d;
        size_t size = 6 * tn_dtype_size(dtype);
        lab_open(&l);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)(dtype == TN_bool ? i % 2 : dtype == TN_f4e2m1 ? i : 7 * i);
        tn_import_entry e = {"a \"name\"", {dtype, 2, {2, 3}, bytes}};
        tn_status status = tn_safetensors_write(&e, 1, NULL, 0, collect, &out, &l.err);
        if (!tn_safetensors_dtype(dtype)) {
            assert_int_equal(status, TN_UNSUPPORTED);
            assert_non_null(strstr(l.err.message, tn_dtype_name(dtype)));
            lab_close(&l);
            continue;
        }
        check(status, &l.err);
        check(tn_file_write(l.path, out.data, out.size, false, &l.err), &l.err);
        check(open_file(&l), &l.err);
        const tn_safetensor *t = l.file.tensors.data;
        assert_int_equal(t->dtype, dtype);
        assert_string_equal(t->name, e.name);
        assert_int_equal(t->size, dtype == TN_f4e2m1 ? 3 : size);
        tn_safetensor_copy(t, back);
        assert_memory_equal(back, bytes, size);
        lab_close(&l);
    }
}

static void test_safetensors__refuses_to_write_what_cannot_be_read(void **state) {
    static const struct {
        const char *first, *second, *words;
    } rows[] = {{"x", "x", "two tensors are named 'x'"},
                {"x", "__metadata__", "'__metadata__' cannot name"},
                {"x", "\xff", "cannot name"}};
    uint8_t byte[3] = {0};
    tn_error err = TN_ERROR_INIT;
    text out = {0};
    (void)state;
    for (size_t r = 0; r < TN_COUNT(rows); r++) {
        tn_import_entry e[2] = {{rows[r].first, {TN_u8, 1, {1}, byte}},
                                {rows[r].second, {TN_u8, 1, {1}, byte}}};
        assert_int_equal(tn_safetensors_write(e, 2, NULL, 0, collect, &out, &err), TN_INVALID);
        if (!strstr(err.message, rows[r].words)) fail_msg("%s", err.message);
    }
    tn_import_entry odd = {"odd", {TN_f4e2m1, 1, {3}, byte}};
    assert_int_equal(tn_safetensors_write(&odd, 1, NULL, 0, collect, &out, &err), TN_UNSUPPORTED);
    assert_int_equal(out.size, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors__reads_the_references_files),
        cmocka_unit_test(test_safetensors__reads_scalars_and_empty_tensors),
        cmocka_unit_test(test_safetensors__refuses_what_is_wrong),
        cmocka_unit_test(test_safetensors__refuses_files_that_are_cut_off),
        cmocka_unit_test(test_safetensors__writes_the_references_bytes),
        cmocka_unit_test(test_safetensors__keeps_every_type),
        cmocka_unit_test(test_safetensors__refuses_to_write_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
