#include "unit/test.h"

#include "base/str.h"

static void test_str__is_empty_text_before_the_first_append(void **state) {
    (void)state;
    tn_str s;
    tn_str_init(&s);
    assert_string_equal(tn_str_text(&s), "");
    tn_str_clear(&s);
    tn_str_append(&s, "");
    assert_string_equal(tn_str_text(&s), "");
    tn_str_deinit(&s);
}

static void test_str__grows_and_stays_terminated(void **state) {
    (void)state;
    tn_str s;
    tn_str_init(&s);
    for (int i = 0; i < 5000; i++) {
        tn_str_appendf(&s, "%d,", i % 10);
        assert_int_equal(s.len, 2 * (i + 1));
        assert_int_equal(s.data[s.len], 0);
    }
    tn_str_clear(&s);
    tn_str_append_char(&s, 'a');
    tn_str_append_n(&s, "bcdef", 2);
    assert_string_equal(tn_str_text(&s), "abc");
    tn_str_deinit(&s);
    assert_null(s.data);
}

static void test_str__formats_longer_than_its_room(void **state) {
    (void)state;
    tn_str s;
    tn_str_init(&s);
    tn_str_appendf(&s, "%*d|%s", 1000, 7, "end");
    assert_int_equal(s.len, 1004);
    assert_string_equal(s.data + 999, "7|end");
    tn_str_deinit(&s);
}

static void test_str__quotes_for_json(void **state) {
    (void)state;
    tn_str s;
    tn_str_init(&s);
    tn_str_append_json(&s, "a\"b\\c\nd\x01 \xc3\xa9");
    assert_string_equal(tn_str_text(&s), "\"a\\\"b\\\\c\\u000ad\\u0001 \xc3\xa9\"");
    tn_str_deinit(&s);
}

static void *refuse(void *context, void *ptr, size_t size) {
    (void)context;
    (void)ptr;
    (void)size;
    return NULL;
}

static tn_status append(void *argument, tn_error *err) {
    (void)err;
    tn_str_append(argument, "text");
    return TN_OK;
}

static void test_str__unwinds_when_memory_is_out(void **state) {
    (void)state;
    tn_str s;
    tn_str_init_with(&s, (tn_allocator){NULL, refuse});
    assert_int_equal(tn_guard(append, &s, NULL), TN_OUT_OF_MEMORY);
    assert_string_equal(tn_str_text(&s), "");
    tn_str_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_str__is_empty_text_before_the_first_append),
        cmocka_unit_test(test_str__grows_and_stays_terminated),
        cmocka_unit_test(test_str__formats_longer_than_its_room),
        cmocka_unit_test(test_str__quotes_for_json),
        cmocka_unit_test(test_str__unwinds_when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
