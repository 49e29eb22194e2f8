#include "unit/test.h"

#include <stdlib.h>

#include "base/base.h"

/* Fails when `left` allocations have been made; counts what is still held. */
typedef struct counting {
    int left, held;
} counting;

static void *counting_resize(void *context, void *ptr, size_t size) {
    counting *c = context;
    if (size == 0) {
        c->held -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (c->left-- <= 0) return NULL;
    c->held += ptr == NULL;
    return realloc(ptr, size);
}

static void test_allocator__gives_zeroed_memory(void **state) {
    (void)state;
    tn_allocator a = tn_allocator_system();
    char *p = tn_alloc(a, 100);
    for (int i = 0; i < 100; i++) assert_int_equal(p[i], 0);
    p[99] = 7;
    p = tn_realloc(a, p, 100000);
    assert_int_equal(p[99], 7);
    tn_free(a, p);
    tn_free(a, NULL);
}

static void test_size__arithmetic_finds_overflow(void **state) {
    (void)state;
    size_t out = 0;
    assert_true(tn_size_mul(6, 7, &out));
    assert_int_equal(out, 42);
    assert_false(tn_size_mul(SIZE_MAX / 2, 3, &out));
    assert_true(tn_size_add(SIZE_MAX - 1, 1, &out));
    assert_false(tn_size_add(SIZE_MAX, 1, &out));
}

static void test_arena__gives_the_same_memory_again_once_cleared(void **state) {
    (void)state;
    counting c = {.left = 100};
    tn_arena a;
    tn_arena_init(&a, (tn_allocator){&c, counting_resize});
    tn_arena_clear(&a);
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < 40; i++) {
            char *p = tn_arena_alloc(&a, i == 20 ? 1 << 20 : 4000);
            assert_int_equal(p[3999], 0);
            memset(p, 7, 4000);
        }
        assert_true(c.held > 2);
        tn_arena_clear(&a);
        assert_int_equal(a.used, 0);
        assert_int_equal(c.held, 1);
    }
    tn_arena_deinit(&a);
    assert_int_equal(c.held, 0);
}

static void test_arena__blocks_are_aligned_zeroed_and_distinct(void **state) {
    (void)state;
    tn_arena a;
    tn_arena_init(&a, tn_allocator_system());
    unsigned char *block[300];
    size_t size[300];
    uint64_t seed = 5;
    for (int i = 0; i < 300; i++) {
        size[i] = test_random(&seed) % (i % 50 == 0 ? 200000 : 300);
        block[i] = tn_arena_alloc(&a, size[i]);
        assert_int_equal((uintptr_t)block[i] % (size[i] > 1 << 16 ? 64 : 16), 0);
        for (size_t k = 0; k < size[i]; k++) assert_int_equal(block[i][k], 0);
        memset(block[i], i & 0xff, size[i]);
    }
    for (int i = 0; i < 300; i++)
        for (size_t k = 0; k < size[i]; k++) assert_int_equal(block[i][k], i & 0xff);
    assert_ptr_not_equal(tn_arena_alloc(&a, 0), tn_arena_alloc(&a, 0));
    assert_string_equal(tn_arena_printf(&a, "%d-%s", 12, "x"), "12-x");
    assert_string_equal(tn_arena_strdup(&a, "text"), "text");
    tn_arena_deinit(&a);
    assert_int_equal(a.used, 0);
}

/* ---- unwinding ------------------------------------------------------------------------------ */

static tn_status fill(void *argument, tn_error *err) {
    tn_arena *arena = argument;
    tn_map map;
    TN_VEC(int) numbers = {0};
    tn_map_init(&map, arena);
    for (int i = 0; i < 20000; i++) {
        tn_vec_push(arena, &numbers, i);
        tn_map_put(&map, &i, sizeof i, (uint32_t)i);
    }
    (void)err;
    return TN_OK;
}

/* Fails the 1st, 2nd, … allocation until all succeed; each failure must end in a clean status. */
static void test_guard__every_failed_allocation_is_a_status(void **state) {
    (void)state;
    tn_status status = TN_OUT_OF_MEMORY;
    int n = 0;
    for (; status != TN_OK && n < 1000; n++) {
        counting c = {.left = n};
        tn_error err = TN_ERROR_INIT;
        tn_arena arena;
        tn_arena_init(&arena, (tn_allocator){&c, counting_resize});
        status = tn_guard(fill, &arena, &err);
        if (status != TN_OK) {
            assert_int_equal(status, TN_OUT_OF_MEMORY);
            assert_string_equal(err.message, "out of memory");
        }
        tn_arena_deinit(&arena);
        assert_int_equal(c.held, 0);
    }
    assert_int_equal(status, TN_OK);
    assert_true(n > 2);
}

static tn_status outer(void *argument, tn_error *err) {
    tn_arena *small = argument;
    tn_status inner = tn_guard(fill, small, err);
    assert_int_equal(inner, TN_OUT_OF_MEMORY);
    return tn_error_set(err, TN_INVALID, "reached");
}

static void test_guard__nests_and_obeys_the_limit(void **state) {
    (void)state;
    tn_arena a;
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&a, tn_allocator_system());
    a.limit = 4096;
    assert_int_equal(tn_guard(outer, &a, &err), TN_INVALID);
    assert_string_equal(err.message, "reached");
    assert_true(a.used <= a.limit);
    tn_arena_deinit(&a);
}

/* ---- containers ----------------------------------------------------------------------------- */

static void test_vector__keeps_what_was_pushed(void **state) {
    (void)state;
    tn_arena a;
    TN_VEC(int64_t) v = {0};
    tn_arena_init(&a, tn_allocator_system());
    for (int i = 0; i < 1000; i++) tn_vec_push(&a, &v, (int64_t)i * i);
    assert_int_equal(v.len, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(v.data[i], i * i);
    tn_arena_deinit(&a);
}

static void test_map__finds_bytes_and_text(void **state) {
    (void)state;
    tn_arena a;
    tn_map m;
    uint32_t value = 0;
    tn_arena_init(&a, tn_allocator_system());
    tn_map_init(&m, &a);
    assert_false(tn_map_get_str(&m, "nothing", &value));
    for (int i = 0; i < 5000; i++) tn_map_put_str(&m, tn_arena_printf(&a, "k%d", i), (uint32_t)i);
    tn_map_put_str(&m, "k17", 99);
    assert_int_equal(m.len, 5000);
    assert_true(tn_map_get_str(&m, "k17", &value));
    assert_int_equal(value, 99);
    assert_true(tn_map_get_str(&m, "k4999", &value));
    assert_int_equal(value, 4999);
    assert_false(tn_map_get_str(&m, "k5000", &value));
    tn_map_put(&m, "a\0b", 3, 1);
    assert_true(tn_map_get(&m, "a\0b", 3, &value) && !tn_map_get(&m, "a\0c", 3, &value));
    tn_map_put(&m, "", 0, 5);
    assert_true(tn_map_get(&m, "", 0, &value));
    assert_int_equal(value, 5);
    tn_arena_deinit(&a);
}

/* ---- hashes, errors, types ------------------------------------------------------------------ */

static void test_hash__known_values(void **state) {
    (void)state;
    char hex[65];
    tn_sha256_hex("abc", 3, hex); /* FIPS 180-2, appendix B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(tn_hash64("abc", 3), tn_hash64("abc", 3));
    assert_int_not_equal(tn_hash64("abc", 3), tn_hash64("abd", 3));
    tn_hash128 x = tn_hash128_of("abc", 3), y = tn_hash128_of("abc", 2);
    assert_true(x.lo != y.lo && x.hi != y.hi);
}

static tn_status fail_inside(tn_error *err) {
    TN_TRY(err, tn_error_set(err, TN_INVALID, "3 channels, expected %d", 4), "node '%s'", "conv1");
    return TN_OK;
}

static tn_status fail_outside(tn_error *err) {
    TN_TRY(err, fail_inside(err), "model.onnx");
    return TN_OK;
}

static void test_error__frames_read_from_the_outside_in(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    char text[256], tiny[8];
    assert_int_equal(fail_outside(&err), TN_INVALID);
    tn_error_format(&err, text, sizeof text);
    assert_string_equal(text, "model.onnx: node 'conv1': 3 channels, expected 4");
    tn_error_format(&err, tiny, sizeof tiny);
    assert_string_equal(tiny, "model.o");
    assert_int_equal(fail_outside(NULL), TN_INVALID);
    for (int i = 0; i < 20; i++) tn_error_push(&err, "frame %d", i);
    assert_int_equal(err.frame_count, TN_ERROR_FRAMES);
    for (int i = 0; i <= TN_POISONED; i++)
        assert_string_not_equal(tn_status_name((tn_status)i), "unknown");
    assert_string_equal(tn_status_name((tn_status)99), "unknown");
}

static void test_dtype__names_and_kinds(void **state) {
    (void)state;
    for (int i = 0; i < TN_DTYPE_COUNT; i++) {
        tn_dtype dtype = (tn_dtype)i, found = TN_DTYPE_COUNT;
        assert_true(tn_dtype_parse(tn_dtype_name(dtype), &found));
        assert_int_equal(found, dtype);
        assert_int_equal(tn_dtype_size(dtype), TN_MAX(tn_dtype_bits(dtype) / 8, 1));
        int kinds = tn_dtype_is_float(dtype) + tn_dtype_is_signed(dtype) +
                    tn_dtype_is_unsigned(dtype) + (dtype == TN_bool);
        assert_int_equal(kinds, 1);
    }
    tn_dtype none;
    assert_false(tn_dtype_parse("f33", &none));
    assert_true(tn_dtype_is_integer(TN_u2) && !tn_dtype_is_integer(TN_bool));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocator__gives_zeroed_memory),
        cmocka_unit_test(test_size__arithmetic_finds_overflow),
        cmocka_unit_test(test_arena__gives_the_same_memory_again_once_cleared),
        cmocka_unit_test(test_arena__blocks_are_aligned_zeroed_and_distinct),
        cmocka_unit_test(test_guard__every_failed_allocation_is_a_status),
        cmocka_unit_test(test_guard__nests_and_obeys_the_limit),
        cmocka_unit_test(test_vector__keeps_what_was_pushed),
        cmocka_unit_test(test_map__finds_bytes_and_text),
        cmocka_unit_test(test_hash__known_values),
        cmocka_unit_test(test_error__frames_read_from_the_outside_in),
        cmocka_unit_test(test_dtype__names_and_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
