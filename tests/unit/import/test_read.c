/* The wire format: what is read, and that nothing broken is believed. */
#include "unit/test.h"

#include <stdlib.h>

#include "unit/import/onnx_wire.h"

/* y = reshape(x, [0, -1]) + w */
static wire small_graph(void) {
    wire g = {.len = 0};
    static const int64_t shape[] = {0, -1}, one = 1;
    static const float w = 2;
    wire t = wire_tensor("w", W_FLOAT, 1, &one, &w, sizeof w);
    wire_input(&g, "x", W_FLOAT, "N,2,3");
    wire_ints(&g, "shape", 2, shape);
    wire_put(&g, 5, &t);
    wire_add_node(&g, "Reshape x shape > flat");
    wire_add_node(&g, "Add flat w > y");
    wire_output(&g, "y", W_FLOAT, "?,?");
    return g;
}

static void test_read__small_model(void **state) {
    (void)state;
    imported i;
    wire g = small_graph();
    import_model(&i, &g);
    assert_string_equal(shape_text(&i, 0), "f32[N,6]");
    assert_int_equal(i.import.inputs.len, 1);
    assert_string_equal(i.import.inputs.data[0].name, "x");
    import_done(&i);
}

/* A prefix is refused, or is a smaller model that is whole. */
static void test_read__every_prefix(void **state) {
    (void)state;
    wire g = small_graph(), model = wire_model(&g, 21);
    int refusals = 0;
    for (size_t len = 0; len < model.len; len++) {
        imported i;
        uint8_t *copy = malloc(len ? len : 1); /* so that reading beyond it is found */
        memcpy(copy, model.at, len);
        import_bytes(&i, copy, len, NULL);
        refusals += i.status == TN_INVALID;
        assert_true(i.status == TN_INVALID || i.import.graph || i.import.need_reason);
        import_done(&i);
        free(copy);
    }
    assert_true(refusals > (int)model.len / 2);
}

static void test_read__every_flipped_byte(void **state) {
    (void)state;
    wire g = small_graph(), model = wire_model(&g, 21);
    for (size_t at = 0; at < model.len; at++)
        for (int bit = 0; bit < 8; bit++) {
            imported i;
            model.at[at] ^= (uint8_t)(1 << bit);
            import_bytes(&i, model.at, model.len, NULL);
            assert_true(i.status == TN_OK || i.text[0]);
            import_done(&i);
            model.at[at] ^= (uint8_t)(1 << bit);
        }
}

static void test_read__unpacked_and_packed_numbers(void **state) {
    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        imported i;
        wire g = {.len = 0}, t = {.len = 0}, run = {.len = 0};
        wire_int(&t, 1, 2);
        wire_int(&t, 2, W_INT64);
        wire_text(&t, 8, "shape");
        if (packed) {
            wire_varint(&run, 3);
            wire_varint(&run, (uint64_t)-1);
            wire_put(&t, 7, &run);
        } else {
            wire_int(&t, 7, 3);
            wire_int(&t, 7, -1);
        }
        wire_put(&g, 5, &t);
        wire_input(&g, "x", W_FLOAT, "N,6");
        wire_add_node(&g, "Reshape x shape > y");
        wire_output(&g, "y", W_FLOAT, "?,?");
        import_model(&i, &g);
        assert_string_equal(shape_text(&i, 0), "f32[3,2*N]");
        import_done(&i);
    }
}

static void test_read__empty_file(void **state) {
    (void)state;
    imported i;
    import_bytes(&i, "", 0, NULL);
    assert_int_equal(i.status, TN_INVALID);
    assert_non_null(strstr(i.text, "no graph"));
    import_done(&i);
}

static void test_read__length_beyond_the_file(void **state) {
    (void)state;
    static const uint8_t huge[] = {0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00};
    imported i;
    import_bytes(&i, huge, sizeof huge, NULL);
    assert_int_equal(i.status, TN_INVALID);
    assert_non_null(strstr(i.text, "at byte"));
    import_done(&i);
}

/* Attributes that hold graphs whose nodes hold attributes … */
static void test_read__deep_nesting(void **state) {
    (void)state;
    tn_str bytes;
    tn_str_init(&bytes);
    for (int depth = 0; depth < 3000; depth++) {
        wire lengths = {.len = 0};
        static const int fields[] = {6, 5, 1}; /* graph, attribute, node */
        for (int k = 0; k < 3; k++) {
            wire head = {.len = 0};
            wire_varint(&head, (uint64_t)fields[k] << 3 | 2);
            wire_varint(&head, bytes.len + lengths.len);
            wire_raw(&head, lengths.at, lengths.len);
            lengths = head;
        }
        tn_str all;
        tn_str_init(&all);
        tn_str_append_n(&all, (const char *)lengths.at, lengths.len);
        tn_str_append_n(&all, tn_str_text(&bytes), bytes.len);
        tn_str_deinit(&bytes);
        bytes = all;
    }
    wire head = {.len = 0};
    wire_varint(&head, 7 << 3 | 2);
    wire_varint(&head, bytes.len);
    tn_str model;
    tn_str_init(&model);
    tn_str_append_n(&model, (const char *)head.at, head.len);
    tn_str_append_n(&model, bytes.data, bytes.len);
    imported i;
    import_bytes(&i, model.data, model.len, NULL);
    assert_int_equal(i.status, TN_INVALID);
    assert_non_null(strstr(i.text, "nested too deeply"));
    import_done(&i);
    tn_str_deinit(&model);
    tn_str_deinit(&bytes);
}

/* Two bytes a node in the file must not become a hundred in memory. */
static void test_read__memory_is_bounded_by_the_file(void **state) {
    (void)state;
    size_t nodes = (size_t)4 << 20, size = 2 * nodes;
    uint8_t *data = malloc(size + 16);
    wire head = {.len = 0};
    wire_varint(&head, 7 << 3 | 2);
    wire_varint(&head, size);
    memcpy(data, head.at, head.len);
    for (size_t n = 0; n < nodes; n++) {
        data[head.len + 2 * n] = 1 << 3 | 2;
        data[head.len + 2 * n + 1] = 0;
    }
    imported i;
    import_bytes(&i, data, head.len + size, NULL);
    assert_int_equal(i.status, TN_INVALID);
    assert_non_null(strstr(i.text, "memory"));
    import_done(&i);
    free(data);
}

static void test_read__wrong_wire_types(void **state) {
    (void)state;
    imported i;
    wire g = {.len = 0}, model = {.len = 0};
    wire_int(&g, 1, 5); /* a node that is a number */
    wire_put(&model, 7, &g);
    import_bytes(&i, model.at, model.len, NULL);
    assert_int_equal(i.status, TN_INVALID);
    assert_non_null(strstr(i.text, "wrong wire type"));
    import_done(&i);
    model.len = 0;
    wire_text(&model, 1, "nine"); /* a version that is a text */
    import_bytes(&i, model.at, model.len, NULL);
    assert_int_equal(i.status, TN_INVALID);
    import_done(&i);
}

static void test_read__name_with_a_zero(void **state) {
    (void)state;
    wire g = {.len = 0}, node = {.len = 0};
    wire_bytes(&node, 4, "Ad\0d", 4);
    wire_put(&g, 1, &node);
    refused(&g, "zero byte");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__small_model),
        cmocka_unit_test(test_read__every_prefix),
        cmocka_unit_test(test_read__every_flipped_byte),
        cmocka_unit_test(test_read__unpacked_and_packed_numbers),
        cmocka_unit_test(test_read__empty_file),
        cmocka_unit_test(test_read__length_beyond_the_file),
        cmocka_unit_test(test_read__deep_nesting),
        cmocka_unit_test(test_read__memory_is_bounded_by_the_file),
        cmocka_unit_test(test_read__wrong_wire_types),
        cmocka_unit_test(test_read__name_with_a_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
