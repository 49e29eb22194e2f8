/* layout.c: the vectors of CUTLASS's documentation and unit tests, recomputed with NVIDIA's pycute,
 * and the laws on random layouts. */
#include "base/layout.h"

#include <stdio.h>
#include <stdlib.h>

#include "unit/test.h"

/* ---- layouts from text ---------------------------------------------------------------------- */

static tn_arena arena;

static tn_layout parse_shape(const char **at) {
    if (**at != '(') return tn_layout_mode(strtoll(*at, (char **)(uintptr_t)at, 10), 0);
    tn_layout modes[8];
    int count = 0;
    do {
        ++*at;
        modes[count++] = parse_shape(at);
    } while (**at == ',');
    ++*at;
    return tn_layout_tuple(&arena, modes, count);
}

static tn_layout parse_strides(const char **at, tn_layout shape) {
    if (!shape.mode) return tn_layout_mode(shape.shape, strtoll(*at, (char **)(uintptr_t)at, 10));
    tn_layout modes[8];
    for (int i = 0; i < shape.rank; i++) {
        ++*at;
        modes[i] = parse_strides(at, shape.mode[i]);
    }
    ++*at;
    return tn_layout_tuple(&arena, modes, shape.rank);
}

static tn_layout parse(const char *text) {
    tn_layout shape = parse_shape(&text);
    assert_int_equal(*text, ':');
    text++;
    tn_layout l = parse_strides(&text, shape);
    assert_int_equal(*text, 0);
    return l;
}

static void expect(const char *what, const tn_layout *got, const char *want) {
    tn_str text;
    tn_str_init(&text);
    tn_layout_print(got, &text);
    if (strcmp(tn_str_text(&text), want) != 0)
        fail_msg("%s: %s, expected %s", what, tn_str_text(&text), want);
    tn_str_deinit(&text);
}

typedef bool binary(tn_arena *arena, const tn_layout *a, const tn_layout *b, tn_layout *out);

static void expect_of(binary *f, const char *a, const char *b, const char *want) {
    tn_layout x = parse(a), y = parse(b), out;
    char what[160];
    snprintf(what, sizeof what, "%s and %s", a, b);
    if (!f(&arena, &x, &y, &out)) fail_msg("%s: refused, expected %s", what, want);
    expect(what, &out, want);
}

static int setup(void **state) {
    (void)state;
    tn_arena_init(&arena, tn_allocator_system());
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tn_arena_deinit(&arena);
    return 0;
}

/* ---- vectors -------------------------------------------------------------------------------- */

static void test_coalesce__vectors(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"(2,(1,6)):(1,(6,2))", "12:1"}, {"(2,4,6):(1,6,2)", "(2,4,6):(1,6,2)"},
        {"(2,1,6):(1,7,2)", "12:1"},     {"(2,1,6):(4,7,8)", "12:4"},
        {"(2,4):(4,1)", "(2,4):(4,1)"},  {"(2,4,6):(24,6,1)", "(2,4,6):(24,6,1)"},
        {"(2,1,3):(2,4,4)", "6:2"},      {"((2,2),(2,2)):((1,4),(8,32))", "(2,4,2):(1,4,32)"},
        {"(2,4,6):(1,2,8)", "48:1"},     {"1:0", "1:0"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_layout l = parse(cases[i][0]), out = tn_layout_coalesce(&arena, &l);
        expect(cases[i][0], &out, cases[i][1]);
    }
    tn_layout l = parse("(2,(1,6)):(1,(6,2))"), out = tn_layout_coalesce_modes(&arena, &l);
    expect("by mode", &out, "(2,6):(1,2)");
}

static void test_compose__vectors(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"(6,2):(8,2)", "(4,3):(3,1)", "((2,2),3):((24,2),8)"},
        {"20:2", "(5,4):(4,1)", "(5,4):(8,2)"},
        {"(10,2):(16,4)", "(5,4):(1,5)", "(5,(2,2)):(16,(80,4))"},
        {"4:2", "2:2", "2:4"},
        {"4:1", "4:0", "4:0"},
        {"12:2", "(4,3):(3,1)", "(4,3):(6,2)"},
        {"(4,3):(3,1)", "6:2", "(2,3):(6,1)"},
        {"(4,3):(3,1)", "(6,2):(2,1)", "((2,3),2):((6,1),3)"},
        {"(4,3):(3,1)", "12:1", "(4,3):(3,1)"},
        {"(4,2):(1,16)", "(4,2):(2,1)", "((2,2),2):((2,16),1)"},
        {"(2,2):(2,1)", "(2,2):(2,1)", "(2,2):(1,2)"},
        {"(4,8,2):(2,8,1)", "(2,2,2):(1,8,2)", "(2,2,2):(2,16,4)"},
        {"(4,8,2):(2,8,1)", "(4,2,2):(2,8,1)", "(4,2,2):(4,16,2)"},
        {"(8,8):(8,1)", "((2,2,2),(2,2,2)):((1,16,4),(8,2,32))",
         "((2,2,2),(2,2,2)):((8,2,32),(1,16,4))"},
        {"((2,2,2),(2,2,2)):((1,16,4),(8,2,32))", "8:4", "(4,2):(4,2)"},
        {"(4,6,8):(1,4,7)", "6:1", "6:1"},
        {"(4,6,8,10):(2,3,5,7)", "6:12", "(2,3):(9,5)"},
        {"(3,6,2,8):(5,7,11,13)", "16:9", "(2,2,4):(21,11,13)"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        expect_of(tn_layout_compose, cases[i][0], cases[i][1], cases[i][2]);
    tn_layout a = parse("(12,(4,8)):(59,(13,1))"), out;
    tn_layout tile[] = {parse("3:4"), parse("8:2")};
    assert_true(tn_layout_compose_modes(&arena, &a, tile, 2, &out));
    expect("by mode", &out, "(3,(2,4)):(236,(26,1))");
}

static void test_compose__refuses_what_does_not_divide(void **state) {
    (void)state;
    tn_layout a = parse("(4,6):(1,10)"), b = parse("4:3"), out;
    assert_false(tn_layout_compose(&arena, &a, &b, &out));
    b = parse("2:-1");
    assert_false(tn_layout_compose(&arena, &a, &b, &out));
}

static void test_complement__vectors(void **state) {
    (void)state;
    static const struct {
        const char *l;
        int64_t size;
        const char *want;
    } cases[] = {
        {"4:1", 24, "6:4"},
        {"6:4", 24, "4:1"},
        {"(4,6):(1,4)", 24, "1:0"},
        {"4:2", 24, "(2,3):(1,8)"},
        {"(2,4):(1,6)", 24, "3:2"},
        {"(2,2):(1,6)", 24, "(3,2):(2,12)"},
        {"(2,2):(4,1)", 24, "(2,3):(2,8)"},
        {"4:1", 16, "4:4"},
        {"(2,4):(1,4)", 1, "2:2"},
        {"(2,4,8):(8,1,64)", 1, "(2,4):(4,16)"},
        {"((2,2),(2,2)):((1,4),(8,32))", 1, "(2,2):(2,16)"},
        {"(2,(3,4)):(3,(1,6))", 1, "1:0"},
        {"(4,6):(1,6)", 1, "1:0"},
        {"(4,10):(1,10)", 1, "2:4"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_layout l = parse(cases[i].l), out;
        assert_true(tn_layout_complement(&arena, &l, cases[i].size, &out));
        expect(cases[i].l, &out, cases[i].want);
    }
    tn_layout overlapping = parse("(2,2):(1,1)"), out;
    assert_false(tn_layout_complement(&arena, &overlapping, 4, &out));
}

static void test_divide__vectors(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"(4,2,3):(2,1,8)", "4:2", "((2,2),(2,3)):((4,1),(2,8))"},
        {"6:1", "2:1", "(2,3):(1,2)"},
        {"6:1", "2:3", "(2,3):(3,1)"},
        {"6:2", "2:3", "(2,3):(6,2)"},
        {"6:1", "(2,3):(3,1)", "((2,3),1):((3,1),0)"},
        {"32:1", "2:8", "(2,(8,2)):(8,(1,16))"},
        {"(8,8):(1,8)", "32:2", "(32,2):(2,1)"},
        {"(8,8):(8,1)", "32:2", "((4,8),2):((16,1),8)"},
        {"(6,6):(1,12)", "(6,3):(3,1)", "(((2,3),3),2):(((3,12),1),36)"},
        {"(4,1):(1,1)", "2:2", "(2,2):(2,1)"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        expect_of(tn_layout_divide, cases[i][0], cases[i][1], cases[i][2]);
}

static void test_divide__groups_modes(void **state) {
    (void)state;
    tn_layout l = parse("(9,(4,8)):(59,(13,1))"), out;
    tn_layout tile[] = {parse("3:3"), parse("(2,4):(1,8)")};
    static const char *const want[] = {
        [TN_LAYOUT_LOGICAL] = "((3,3),((2,4),(2,2))):((177,59),((13,2),(26,1)))",
        [TN_LAYOUT_ZIPPED] = "((3,(2,4)),(3,(2,2))):((177,(13,2)),(59,(26,1)))",
        [TN_LAYOUT_TILED] = "((3,(2,4)),3,(2,2)):((177,(13,2)),59,(26,1))",
        [TN_LAYOUT_FLAT] = "(3,(2,4),3,(2,2)):(177,(13,2),59,(26,1))",
    };
    for (int g = 0; g < (int)TN_COUNT(want); g++) {
        assert_true(tn_layout_divide_modes(&arena, &l, tile, 2, (tn_layout_grouping)g, &out));
        expect("divide", &out, want[g]);
    }
    assert_true(tn_layout_divide_modes(&arena, &l, tile, 2, TN_LAYOUT_ZIPPED, &out));
    assert_int_equal(tn_layout_index_of(&out, (int64_t[]){0, 3}), 26);
    assert_int_equal(tn_layout_index_of(&out, (int64_t[]){0, 7}), 60);
}

static void test_product__vectors(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"(2,2):(4,1)", "6:1", "((2,2),(2,3)):((4,1),(2,8))"},
        {"(2,2):(4,1)", "(4,2):(2,1)", "((2,2),(4,2)):((4,1),(8,2))"},
        {"3:1", "4:0", "(3,4):(1,0)"},
        {"3:0", "4:1", "(3,4):(0,1)"},
        {"3:2", "4:1", "(3,(2,2)):(2,(1,6))"},
        {"3:1", "(2,4):(1,2)", "(3,(2,4)):(1,(3,6))"},
        {"(2,4):(1,2)", "3:1", "((2,4),3):((1,2),8)"},
        {"(2,2):(1,2)", "(3,3):(3,1)", "((2,2),(3,3)):((1,2),(12,4))"},
        {"3:32", "32:1", "(3,32):(32,1)"},
        {"3:32", "128:1", "(3,(32,4)):(32,(1,96))"},
        {"3:32", "(8,8):(8,1)", "(3,((4,2),8)):(32,((8,96),1))"},
        {"(4,2):(1,16)", "(4,4):(1,4)", "((4,2),(4,4)):((1,16),(4,32))"},
        {"(4,6):(1,6)", "3:1", "((4,6),3):((1,6),36)"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        expect_of(tn_layout_product, cases[i][0], cases[i][1], cases[i][2]);
    /* A block of 2×5, three times down and four across: per axis block then tiles, or reversed. */
    expect_of(tn_layout_blocked_product, "(2,5):(5,1)", "(3,4):(1,3)",
              "((2,3),(5,4)):((5,10),(1,30))");
    expect_of(tn_layout_raked_product, "(2,5):(5,1)", "(3,4):(1,3)",
              "((3,2),(4,5)):((10,5),(30,1))");
}

static void test_inverse__vectors(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"4:2", "1:0", "(2,4):(4,1)"},
        {"(8,4):(4,1)", "(4,8):(8,1)", "(4,8):(8,1)"},
        {"(2,4,6):(4,1,8)", "(4,2,6):(2,1,8)", "(4,2,6):(2,1,8)"},
        {"(4,2):(1,16)", "4:1", "(4,4,2):(1,8,4)"},
        {"(8,4):(1,8)", "32:1", "32:1"},
        {"4:0", "1:0", NULL},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_layout l = parse(cases[i][0]), out = tn_layout_right_inverse(&arena, &l);
        expect(cases[i][0], &out, cases[i][1]);
        if (!cases[i][2]) continue;
        assert_true(tn_layout_left_inverse(&arena, &l, &out));
        expect(cases[i][0], &out, cases[i][2]);
    }
}

static void test_swizzle__vectors(void **state) {
    (void)state;
    static const int64_t cases[][2] = {{0, 0}, {8, 8}, {64, 72}, {72, 64}, {127, 119}, {512, 512}};
    tn_swizzle s = {3, 3, 3};
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        assert_int_equal(tn_swizzle_index(s, cases[i][0]), cases[i][1]);
    for (int64_t x = 0; x < 4096; x++)
        assert_int_equal(tn_swizzle_index(s, tn_swizzle_index(s, x)), x);
}

static void test_layout__sizes_and_indices(void **state) {
    (void)state;
    tn_layout l = tn_layout_columns(&arena, (int64_t[]){256, 256}, 2);
    assert_int_equal(tn_layout_cosize(&l), 65536);
    l = tn_layout_rows(&arena, (int64_t[]){32, 128}, 2);
    expect("rows", &l, "(32,128):(128,1)");
    assert_int_equal(tn_layout_cosize(&l), 4096);
    l = parse("(10,5):(12,1)");
    assert_int_equal(tn_layout_cosize(&l), 113);
    l = parse("(10,0):(12,1)");
    assert_int_equal(tn_layout_cosize(&l), 0);
    static const int64_t want[] = {0, 24, 2, 26, 8, 32, 10, 34, 16, 40, 18, 42};
    l = parse("((2,2),3):((24,2),8)");
    for (int i = 0; i < 12; i++) assert_int_equal(tn_layout_index(&l, i), want[i]);
    tn_layout same = parse("((2,2),3):((24,2),8)"), flat = parse("(2,2,3):(24,2,8)");
    assert_true(tn_layout_equal(&l, &same));
    assert_false(tn_layout_equal(&l, &flat));
}

/* ---- laws ----------------------------------------------------------------------------------- */

static uint64_t random_state = 1;

static int64_t random_below(int64_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((random_state >> 33) % (uint64_t)n);
}

/* Modes of sizes 1 … 6 in any order of strides, dense or with gaps. */
static tn_layout random_layout(int64_t gap) {
    int order[4], rank = 1 + (int)random_below(4);
    int64_t shape[4], stride[4], next = 1 + random_below(gap);
    for (int i = 0; i < rank; i++) {
        shape[i] = 1 + random_below(6);
        order[i] = i;
    }
    for (int i = rank - 1; i > 0; i--) {
        int j = (int)random_below(i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < rank; i++) {
        stride[order[i]] = next;
        next *= shape[order[i]] * (1 + random_below(gap));
    }
    tn_layout modes[4];
    for (int i = 0; i < rank; i++) modes[i] = tn_layout_mode(shape[i], stride[i]);
    if (rank == 1) return modes[0];
    if (rank < 4) return tn_layout_tuple(&arena, modes, rank);
    tn_layout halves[] = {tn_layout_tuple(&arena, modes, 2), tn_layout_tuple(&arena, modes + 2, 2)};
    return tn_layout_tuple(&arena, halves, 2);
}

static void same_function(const tn_layout *a, const tn_layout *b) {
    assert_int_equal(tn_layout_size(a), tn_layout_size(b));
    for (int64_t i = 0; i < tn_layout_size(a); i++)
        assert_int_equal(tn_layout_index(a, i), tn_layout_index(b, i));
}

static void test_layout__laws_hold_on_random_layouts(void **state) {
    (void)state;
    int composed = 0, divided = 0;
    for (int round = 0; round < 3000; round++) {
        tn_layout a = random_layout(3), b = random_layout(2), out;
        out = tn_layout_coalesce(&arena, &a);
        same_function(&a, &out);
        for (int i = 1; i < out.rank && out.mode; i++)
            assert_true(out.mode[i - 1].shape * out.mode[i - 1].stride != out.mode[i].stride);
        if (tn_layout_cosize(&b) <= tn_layout_size(&a) && tn_layout_compose(&arena, &a, &b, &out)) {
            composed++;
            assert_int_equal(tn_layout_size(&out), tn_layout_size(&b));
            for (int64_t i = 0; i < tn_layout_size(&b); i++)
                assert_int_equal(tn_layout_index(&out, i),
                                 tn_layout_index(&a, tn_layout_index(&b, i)));
        }
        tn_layout inverse = tn_layout_right_inverse(&arena, &a);
        for (int64_t i = 0; i < tn_layout_size(&inverse); i++)
            assert_int_equal(tn_layout_index(&a, tn_layout_index(&inverse, i)), i);
        if (tn_layout_left_inverse(&arena, &a, &inverse))
            for (int64_t i = 0; i < tn_layout_size(&a); i++)
                assert_int_equal(tn_layout_index(&inverse, tn_layout_index(&a, i)), i);
        tn_layout whole = tn_layout_columns(&arena, (int64_t[]){tn_layout_cosize(&a) * 2}, 1);
        if (tn_layout_divide(&arena, &whole, &a, &out)) { /* every index once */
            divided++;
            uint8_t *seen = TN_NEW_N(&arena, uint8_t, tn_layout_cosize(&out));
            for (int64_t i = 0; i < tn_layout_size(&out); i++)
                assert_false(seen[tn_layout_index(&out, i)]++);
        }
    }
    assert_true(composed > 300 && divided > 1000); /* the laws were really tried */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coalesce__vectors),
        cmocka_unit_test(test_compose__vectors),
        cmocka_unit_test(test_compose__refuses_what_does_not_divide),
        cmocka_unit_test(test_complement__vectors),
        cmocka_unit_test(test_divide__vectors),
        cmocka_unit_test(test_divide__groups_modes),
        cmocka_unit_test(test_product__vectors),
        cmocka_unit_test(test_inverse__vectors),
        cmocka_unit_test(test_swizzle__vectors),
        cmocka_unit_test(test_layout__sizes_and_indices),
        cmocka_unit_test(test_layout__laws_hold_on_random_layouts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
