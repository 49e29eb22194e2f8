/* .npy and .npz files: what NumPy writes is read, what is broken is refused. */
#include "unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "base/str.h"
#include "import/import.h"

static char path[512];
static tn_arena arena;
static tn_error err;

static int setup(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/tenon-test-XXXXXX", base ? base : "/tmp");
    int fd = mkstemp(path);
    tn_arena_init(&arena, tn_allocator_system());
    err = (tn_error)TN_ERROR_INIT;
    return fd < 0 ? -1 : close(fd);
}
static int teardown(void **state) {
    (void)state;
    tn_arena_deinit(&arena);
    return unlink(path);
}

static tn_str npy(const char *header, const void *data, size_t size) {
    tn_str s;
    size_t len = strlen(header);
    const char head[] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)len, (char)(len >> 8)};
    tn_str_init(&s);
    tn_str_append_n(&s, head, sizeof head);
    tn_str_append_n(&s, header, len);
    tn_str_append_n(&s, data, size);
    return s;
}

static tn_status read_back(tn_str *s, tn_array *out) {
    assert_int_equal(tn_file_write(path, s->data, s->len, false, NULL), TN_OK);
    return tn_import_npy(path, &arena, out, &err);
}

static const float six[] = {0, 1, 2, 3, 4, 5};

static void test_npy__orders_and_bytes(void **state) {
    (void)state;
    tn_array a;
    tn_str s = npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", six, sizeof six);
    assert_int_equal(read_back(&s, &a), TN_OK);
    assert_int_equal(a.rank, 2);
    assert_true(tn_array_get(&a, 1).f == 2); /* [0, 1] of column-major data */
    tn_str_deinit(&s);
    static const uint8_t big[] = {1, 2, 0, 3};
    s = npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }\n", big, sizeof big);
    assert_int_equal(read_back(&s, &a), TN_OK);
    assert_int_equal(tn_array_get(&a, 0).i, 258);
    assert_int_equal(tn_array_get(&a, 1).i, 3);
    tn_str_deinit(&s);
    s = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", &(double){7}, 8);
    assert_int_equal(read_back(&s, &a), TN_OK);
    assert_int_equal(a.rank, 0);
    assert_true(tn_array_get(&a, 0).f == 7);
    tn_str_deinit(&s);
}

static void test_npy__refusals(void **state) {
    (void)state;
    static const struct {
        const char *header, *part;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }", "cut off"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "damaged"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "elements of type"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "elements of type"},
        {"{'descr': '<f4', 'shape': (1,), }", "damaged"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8, 0), }",
         "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "damaged"},
        {"", "elements of type"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_array a;
        char text[1024];
        tn_str s = npy(cases[i].header, six, sizeof six);
        assert_int_not_equal(read_back(&s, &a), TN_OK);
        tn_error_format(&err, text, sizeof text);
        if (!strstr(text, cases[i].part)) fail_msg("'%s'; expected: %s", text, cases[i].part);
        tn_str_deinit(&s);
    }
}

static void test_npy__every_prefix(void **state) {
    (void)state;
    tn_str s = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n", six, sizeof six);
    size_t whole = s.len;
    for (s.len = 0; s.len < whole; s.len++) {
        tn_array a;
        assert_int_not_equal(read_back(&s, &a), TN_OK);
    }
    tn_str_deinit(&s);
}

/* ---- archives ------------------------------------------------------------------------------------ */

static void put(tn_str *s, uint64_t value, int size) {
    for (int i = 0; i < size; i++, value >>= 8) tn_str_append_char(s, (char)value);
}

/* An archive of one array, stored or deflated, with the given claims about it. */
static tn_str npz(bool deflated, uint64_t claimed, uint32_t crc_change) {
    tn_str content =
               npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n", six, sizeof six),
           s;
    uint8_t packed[1024];
    z_stream z = {.next_in = (uint8_t *)content.data, .avail_in = (uInt)content.len};
    z.next_out = packed;
    z.avail_out = sizeof packed;
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t size = deflated ? z.total_out : content.len;
    deflateEnd(&z);
    uint32_t crc =
        (uint32_t)crc32(0, (const uint8_t *)content.data, (uInt)content.len) ^ crc_change;
    uint64_t whole = claimed ? claimed : content.len;
    tn_str_init(&s);
    for (int central = 0; central < 2; central++) {
        size_t begin = s.len;
        tn_str_append_n(&s, central ? "PK\1\2\24\0" : "PK\3\4", central ? 6 : 4);
        put(&s, 20, 2), put(&s, 0, 2), put(&s, deflated ? 8 : 0, 2), put(&s, 0, 4);
        put(&s, crc, 4), put(&s, size, 4), put(&s, whole, 4), put(&s, 7, 2), put(&s, 0, 2);
        if (central) put(&s, 0, 14);
        tn_str_append(&s, "one.npy");
        if (!central) tn_str_append_n(&s, deflated ? (char *)packed : content.data, size);
        if (!central) continue;
        size_t list = s.len - begin;
        tn_str_append_n(&s, "PK\5\6", 4);
        put(&s, 0, 4), put(&s, 1, 2), put(&s, 1, 2), put(&s, list, 4), put(&s, begin, 4),
            put(&s, 0, 2);
    }
    tn_str_deinit(&content);
    return s;
}

static tn_status read_archive(tn_str *s, tn_import_entries *out) {
    assert_int_equal(tn_file_write(path, s->data, s->len, false, NULL), TN_OK);
    return tn_import_npz(path, &arena, out, &err);
}

static void test_npz__stored_and_deflated(void **state) {
    (void)state;
    for (int deflated = 0; deflated < 2; deflated++) {
        tn_import_entries entries;
        tn_str s = npz(deflated, 0, 0);
        assert_int_equal(read_archive(&s, &entries), TN_OK);
        assert_int_equal(entries.len, 1);
        assert_string_equal(entries.data[0].name, "one");
        assert_true(tn_array_get(&entries.data[0].array, 5).f == 5);
        tn_str_deinit(&s);
    }
}

static void test_npz__damage_is_found(void **state) {
    (void)state;
    tn_import_entries entries;
    tn_str s = npz(true, 0xfffffff0u, 0); /* a bomb by its claim */
    assert_int_equal(read_archive(&s, &entries), TN_INVALID);
    tn_str_deinit(&s);
    s = npz(true, 50, 0);
    assert_int_equal(read_archive(&s, &entries), TN_INVALID);
    tn_str_deinit(&s);
    s = npz(true, 0, 1);
    assert_int_equal(read_archive(&s, &entries), TN_INVALID);
    tn_str_deinit(&s);
    s = npz(true, 0, 0);
    size_t whole = s.len;
    for (s.len = 0; s.len < whole; s.len++) assert_int_not_equal(read_archive(&s, &entries), TN_OK);
    for (size_t at = 0; at < whole; at++) { /* whatever is flipped, nothing worse than a refusal */
        s.len = whole;
        s.data[at] = (char)(s.data[at] ^ 0xff);
        (void)!read_archive(&s, &entries);
        s.data[at] = (char)(s.data[at] ^ 0xff);
    }
    tn_str_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_npy__orders_and_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_npy__refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_npy__every_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_npz__stored_and_deflated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_npz__damage_is_found, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
