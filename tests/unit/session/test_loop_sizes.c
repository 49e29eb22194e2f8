/* Loops whose number of turns data decide, with stacked results, and positions in sequences from data: reference
 * and compiled kernels against values by hand; what is refused. */
#include "unit/test.h"

#include "unit/session/size_lab.h"

/* acc = 2 acc + i; y = acc stacked, and i. While `less` it goes on as long as acc < limit. */
static wire doubling(bool less) {
    wire b = {.len = 0};
    wire two = wire_tensor("two", W_INT64, 0, NULL, &(int64_t){2}, 8);
    wire_put(&b, 5, &two);
    wire_input(&b, "i", W_INT64, "");
    wire_input(&b, "c", W_BOOL, "");
    wire_input(&b, "acc", W_INT64, "");
    wire_add_node(&b, "Mul acc two > double");
    wire_add_node(&b, "Add double i > next");
    wire_add_node(&b, less ? "Less next limit > go" : "Identity c > go");
    wire_add_node(&b, "Identity next > y");
    wire_add_node(&b, "Identity i > turn");
    wire_output(&b, "go", W_BOOL, "");
    wire_output(&b, "next", W_INT64, "");
    wire_output(&b, "y", W_INT64, "");
    wire_output(&b, "turn", W_INT64, "");
    return b;
}

/* `trips` is what the trip count is made from; `given` the loop's first two inputs. */
static wire looping(const char *const *trips, int count, const char *given, bool less) {
    wire g = {.len = 0}, body = doubling(less);
    char text[80];
    static const int64_t values[] = {0, 1, 100, INT64_MAX};
    static const char *const names[] = {"zero", "one", "hundred", "forever"};
    for (size_t i = 0; i < TN_COUNT(values); i++) {
        wire t = wire_tensor(names[i], W_INT64, 0, NULL, &values[i], 8);
        wire_put(&g, 5, &t);
    }
    wire yes = wire_tensor("yes", W_BOOL, 0, NULL, &(uint8_t){1}, 1);
    wire_put(&g, 5, &yes);
    wire_input(&g, "x", W_INT64, "N");
    wire_input(&g, "limit", W_INT64, "");
    for (int i = 0; i < count; i++) wire_add_node(&g, trips[i]);
    snprintf(text, sizeof text, "Loop %s one > last y turns", given);
    wire node = wire_node(text);
    wire_attr_graph(&node, "body", &body);
    wire_put(&g, 1, &node);
    wire_output(&g, "last", W_INT64, "");
    wire_output(&g, "y", W_INT64, "K");
    wire_output(&g, "turns", W_INT64, "K");
    return g;
}

static void run_loop(lab *l, int64_t *x, int64_t count, int64_t limit, int64_t turns) {
    tn_buffer out[MOST_OUTPUTS],
        in[] = {vector(TN_i64, count, x), {.dtype = TN_i64, .data = &limit}};
    int64_t acc = 1;
    lab_run(l, in, out);
    assert_int_equal(out[1].dim[0], turns);
    assert_int_equal(out[2].dim[0], turns);
    for (int64_t i = 0; i < turns; i++) {
        acc = 2 * acc + i;
        assert_int_equal(((int64_t *)out[1].data)[i], acc);
        assert_int_equal(((int64_t *)out[2].data)[i], i);
    }
    assert_int_equal(*(int64_t *)out[0].data, acc);
}

/* Once for each element, or for each that is positive: a scan of that length. */
static void test_loop__of_a_size_or_a_count(void **state) {
    (void)state;
    static const char *const size[] = {"Size x > m"};
    static const char *const count[] = {"Greater x zero > p", "Where p one zero > q",
                                        "ReduceSum q > r", "Squeeze r > m"};
    int64_t x[30] = {3, -1, 2, 0, 7};
    lab l;
    wire g = looping(size, 1, "m yes", false);
    lab_open(&l, &g);
    for (int64_t n = 0; n < 30; n += 7) run_loop(&l, x, n, 0, n);
    lab_close(&l);
    g = looping(count, 4, "m yes", false);
    lab_open(&l, &g);
    for (int64_t n = 0; n < 30; n += 7) run_loop(&l, x, n, 0, n ? 3 : 0);
    lab_close(&l);
}

/* A trip count bounds the turns; the condition ends them, before the first one too. */
static void test_loop__until_data_say_so(void **state) {
    (void)state;
    static const char *const enter[] = {"Greater limit zero > go"};
    static const char *const size[] = {"Greater limit zero > go", "Size x > m"};
    static const char *const count[] = {"Greater limit zero > go", "Greater x zero > p",
                                        "Where p one zero > q", "ReduceSum q > r", "Squeeze r > m"};
    int64_t x[9] = {0};
    lab l;
    wire g = looping(enter, 1, "hundred go", true);
    lab_open(&l, &g);
    run_loop(&l, x, 1, -5, 0);
    run_loop(&l, x, 1, 1, 1);
    run_loop(&l, x, 1, 100, 6);
    run_loop(&l, x, 1, (int64_t)1 << 40, 40);
    lab_close(&l);
    g = looping(size, 2, "m go", true);
    lab_open(&l, &g);
    run_loop(&l, x, 4, 100, 4);
    run_loop(&l, x, 9, 100, 6);
    run_loop(&l, x, 0, 100, 0);
    lab_close(&l);
    g = looping(count, 5, "m go", true);
    lab_open(&l, &g);
    for (int i = 0; i < 9; i++) x[i] = i - 2;
    run_loop(&l, x, 9, 100, 6);
    run_loop(&l, x, 7, 100, 4);
    run_loop(&l, x, 3, 100, 0);
    lab_close(&l);
}

static void test_loop__without_a_bound_is_refused(void **state) {
    (void)state;
    wire g = looping(NULL, 0, "- yes", true);
    refused_at(&g, OPSET, "it has no trip count to plan memory by");
    g = looping(NULL, 0, "forever yes", true);
    refused_at(&g, OPSET, "its trip count allows for too many to plan memory");
}

/* The body cuts at the number of its iteration: that wants to be unrolled, so what decides is asked for. */
static void test_loop__that_has_to_be_unrolled(void **state) {
    (void)state;
    static const char *const loops[] = {"Loop m yes > y", "Loop eight go > y"};
    for (size_t i = 0; i < TN_COUNT(loops); i++) {
        imported one;
        wire g = {.len = 0}, b = {.len = 0}, node = wire_node(loops[i]);
        wire yes = wire_tensor("yes", W_BOOL, 0, NULL, &(uint8_t){1}, 1);
        wire eight = wire_tensor("eight", W_INT64, 0, NULL, &(int64_t){8}, 8);
        wire_put(&g, 5, &yes);
        wire_put(&g, 5, &eight);
        wire_ints(&g, "zero", 1, (int64_t[]){0});
        wire_input(&g, "x", W_INT64, "9");
        wire_input(&g, "m", W_INT64, "");
        wire_input(&g, "go", W_BOOL, "");
        wire_input(&b, "i", W_INT64, "");
        wire_input(&b, "c", W_BOOL, "");
        wire_add_node(&b, "Unsqueeze i zero > end");
        wire_add_node(&b, "Slice x zero end > cut");
        wire_add_node(&b, "ReduceSum cut zero > sum");
        wire_output(&b, "c", W_BOOL, "");
        wire_output(&b, "sum", W_INT64, "1");
        wire_attr_graph(&node, "body", &b);
        wire_put(&g, 1, &node);
        wire_output(&g, "y", W_INT64, "K,1");
        import_model_at(&one, &g, OPSET);
        if (one.status != TN_OK) fail_msg("%s", one.text);
        assert_null(one.import.graph);
        assert_string_equal(one.import.need_values.data[0], i ? "go" : "m");
        import_done(&one);
    }
}

/* ---- sequences -------------------------------------------------------------------------------- */

/* A loop over a sequence of nothing gives stacks of nothing, of the type that its body declares. */
static void test_loop__over_an_empty_sequence(void **state) {
    (void)state;
    wire g = {.len = 0}, b = {.len = 0}, node = wire_node("Loop n yes > y");
    lab l;
    int64_t x[] = {1, 2};
    tn_buffer out[MOST_OUTPUTS], in = vector(TN_i64, 2, x);
    wire yes = wire_tensor("yes", W_BOOL, 0, NULL, &(uint8_t){1}, 1);
    wire_put(&g, 5, &yes);
    wire_input(&g, "x", W_INT64, "2");
    wire_add_node(&g, "SequenceEmpty > s");
    wire_add_node(&g, "SequenceLength s > n");
    wire_input(&b, "i", W_INT64, "");
    wire_input(&b, "c", W_BOOL, "");
    wire_add_node(&b, "SequenceAt s i > e");
    wire_add_node(&b, "Add e x > y");
    wire_output(&b, "c", W_BOOL, "");
    wire_output(&b, "y", W_INT64, "2");
    wire_attr_graph(&node, "body", &b);
    wire_put(&g, 1, &node);
    wire_add_node(&g, "ReduceSum y > z");
    wire_output(&g, "y", W_INT64, "K,2");
    wire_output(&g, "z", W_INT64, "1,1");
    lab_open(&l, &g);
    lab_run(&l, &in, out);
    assert_int_equal(out[0].dim[0], 0);
    assert_int_equal(out[0].dim[1], 2);
    EXPECT(out[1], 0);
    lab_close(&l);
}

static void open_positions(lab *l) {
    wire g = {.len = 0};
    wire_input(&g, "a", W_INT64, "2");
    wire_input(&g, "b", W_INT64, "2");
    wire_input(&g, "c", W_INT64, "2");
    wire_input(&g, "p", W_INT64, "");
    wire_ints(&g, "nine", 2, (int64_t[]){9, 9});
    wire_add_node(&g, "SequenceConstruct a b c > s");
    wire_add_node(&g, "SequenceAt s p > y");
    wire_add_node(&g, "SequenceErase s p > t");
    wire_add_node(&g, "SequenceInsert s nine p > u");
    static const char *const joined[] = {"ConcatFromSequence t > v", "ConcatFromSequence u > w"};
    for (int i = 0; i < 2; i++) {
        wire node = wire_node(joined[i]);
        wire_attr_int(&node, "axis", 0);
        wire_put(&g, 1, &node);
    }
    wire_output(&g, "y", W_INT64, "2");
    wire_output(&g, "v", W_INT64, "4");
    wire_output(&g, "w", W_INT64, "8");
    lab_open(l, &g);
}

static void test_sequences__positions_from_data(void **state) {
    (void)state;
    lab l;
    int64_t x[3][2] = {{1, 2}, {3, 4}, {5, 6}}, p = 0;
    tn_error err = TN_ERROR_INIT;
    tn_buffer out[MOST_OUTPUTS], in[4];
    for (int i = 0; i < 3; i++) in[i] = vector(TN_i64, 2, x[i]);
    in[3] = (tn_buffer){.dtype = TN_i64, .data = &p};
    open_positions(&l);
    lab_run(&l, in, out);
    EXPECT(out[0], 1, 2);
    EXPECT(out[1], 3, 4, 5, 6);
    EXPECT(out[2], 9, 9, 1, 2, 3, 4, 5, 6);
    p = -2;
    lab_run(&l, in, out);
    EXPECT(out[0], 3, 4);
    EXPECT(out[1], 1, 2, 5, 6);
    EXPECT(out[2], 1, 2, 9, 9, 3, 4, 5, 6);
    p = 2;
    lab_run(&l, in, out);
    EXPECT(out[1], 1, 2, 3, 4);
    EXPECT(out[2], 1, 2, 3, 4, 9, 9, 5, 6);
    static const int64_t outside[] = {3, -4, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < TN_COUNT(outside); i++) {
        p = outside[i];
        memset(out, 0, sizeof out);
        assert_int_equal(tn_session_run(l.session, in, 4, out, 3, &err), TN_RUNTIME);
        assert_non_null(strstr(err.message, "out of range"));
        err = (tn_error)TN_ERROR_INIT;
    }
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop__of_a_size_or_a_count),
        cmocka_unit_test(test_loop__until_data_say_so),
        cmocka_unit_test(test_loop__without_a_bound_is_refused),
        cmocka_unit_test(test_loop__that_has_to_be_unrolled),
        cmocka_unit_test(test_loop__over_an_empty_sequence),
        cmocka_unit_test(test_sequences__positions_from_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
