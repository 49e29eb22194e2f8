#include "unit/test_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"

/* What is allocated now, and the most that ever was: by jansson, counted with malloc's overhead. */
static size_t held, most;

static size_t chunk(size_t size) {
    return (size + 8 + 15) / 16 * 16 < 32 ? 32 : (size + 8 + 15) / 16 * 16;
}

static void *counted_new(size_t size) {
    size_t *p = malloc(size + 16);
    if (!p) return NULL;
    *p = chunk(size);
    held += *p;
    if (held > most) most = held;
    return p + 2;
}

static void counted_free(void *data) {
    size_t *p = data;
    if (!p) return;
    held -= p[-2];
    free(p - 2);
}

/* `count` times `part` between `begin` and `end`; "#" in part is a number. */
static char *text_of(const char *begin, const char *part, const char *end, int count) {
    char *text = malloc(strlen(begin) + strlen(end) + (size_t)count * (strlen(part) + 8) + 1);
    char *to = text + sprintf(text, "%s", begin);
    for (int i = 0; i < count; i++)
        for (const char *p = part; *p; p++)
            if (*p == '#')
                to += sprintf(to, "%d", i);
            else
                *to++ = *p;
    strcpy(to, end);
    return text;
}

static void test_memory__is_never_more_than_told(void **state) {
    (void)state;
    static const char *const rows[][3] = {
        {"[", "1,", "1]"},
        {"[", "[],", "1]"},
        {"[", "{},", "1]"},
        {"[", "\"\",", "1]"},
        {"[", "\"abcdefg\",", "1]"},
        {"{", "\"#\":1,", "\"\":1}"},
        {"{", "\"#\":{},", "\"\":1}"},
        {"[", "{\"a\":[1]},", "1]"},
        {"[", "null,", "1]"},
        {"\"", "abcdefgh", "\""},
        {"[", "1.5e3 ,", "1]"},
        {"{", "\"k#\":\"v\",", "\"\":1}"},
        {"{", "\"t#\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},", "\"\":{}}"},
    };
    json_set_alloc_funcs(counted_new, counted_free);
    for (size_t i = 0; i < TN_COUNT(rows); i++)
        for (int count = 1; count < 70000; count = count * 5 / 2 + 1) {
            char *text = text_of(rows[i][0], rows[i][1], rows[i][2], count);
            size_t size = strlen(text), told = tn_json_memory(text, size);
            held = most = 0;
            json_t *root = tn_json_parse(text, size, SIZE_MAX, JSON_DECODE_ANY, NULL);
            assert_non_null(root);
            json_decref(root);
            assert_int_equal(held, 0);
            if (most > told)
                fail_msg("%d times %s: %zu bytes, told were %zu", count, rows[i][1], most, told);
            assert_true(told < 6 * most + 8192); /* and not far less */
            free(text);
        }
    json_set_alloc_funcs(malloc, free);
}

static void test_parse__refuses_what_would_take_too_much(void **state) {
    (void)state;
    json_error_t why;
    char *text = text_of("[", "{},", "1]", 200000);
    assert_null(tn_json_parse(text, strlen(text), 0, 0, &why));
    assert_non_null(strstr(why.text, "more memory than twice its size"));
    free(text);
    text = text_of("", "[", "", 100000);
    assert_null(tn_json_parse(text, strlen(text), SIZE_MAX, 0, &why)); /* nesting is bounded */
    free(text);
    static const char broken[] = "{\"a\\";
    assert_null(tn_json_parse(broken, sizeof broken - 1, 0, 0, &why));
    assert_null(tn_json_parse("", 0, 0, 0, &why));
}

static void test_read__waits_for_nothing(void **state) {
    (void)state;
    char path[300];
    json_error_t why;
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(tn_json_read(path, 0, &why));
    assert_int_equal(why.line, -1);
    assert_non_null(strstr(why.text, "not a regular file"));
    assert_int_equal(unlink(path), 0);
    assert_null(tn_json_read(path, 0, &why));
    assert_non_null(strstr(why.text, "No such file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory__is_never_more_than_told),
        cmocka_unit_test(test_parse__refuses_what_would_take_too_much),
        cmocka_unit_test(test_read__waits_for_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
