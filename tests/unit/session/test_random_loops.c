/* Random operators in bodies: each turn of a loop, each element of a sequence and each call of a function draws
 * numbers of its own, the same whether a loop is unrolled, a scan or a while; reference and compiled kernels. */
#include "unit/test.h"

#include "unit/session/size_lab.h"

enum { DRAWN = 64, TURNS = 5 };

/* 64 numbers from 0 to 1: "RandomUniform > name". */
static wire draw_node(const char *text) {
    wire node = wire_node(text), shape = {.len = 0};
    wire_text(&shape, 1, "shape");
    wire_int(&shape, 8, DRAWN);
    wire_int(&shape, 20, 7);
    wire_put(&node, 5, &shape);
    return node;
}

static void add_draw(wire *g) {
    wire node = draw_node("RandomUniform > draw");
    wire_put(g, 1, &node);
}

/* last = sum + draw, y = draw; while `less` as long as the turn is below `limit`. */
static wire drawing(bool less) {
    wire b = {.len = 0};
    wire one = wire_tensor("one", W_INT64, 0, NULL, &(int64_t){1}, 8);
    wire_put(&b, 5, &one);
    wire_input(&b, "i", W_INT64, "");
    wire_input(&b, "c", W_BOOL, "");
    wire_input(&b, "sum", W_FLOAT, "64");
    add_draw(&b);
    wire_add_node(&b, "Add sum draw > next");
    wire_add_node(&b, "Identity draw > y");
    wire_add_node(&b, "Add i one > done");
    wire_add_node(&b, less ? "Less done limit > go" : "Identity c > go");
    wire_output(&b, "go", W_BOOL, "");
    wire_output(&b, "next", W_FLOAT, "64");
    wire_output(&b, "y", W_FLOAT, "64");
    return b;
}

/* Zeros "zero", flag "yes", number "five"; inputs x[N], whose size is "m", and "limit". */
static wire surroundings(void) {
    wire g = {.len = 0};
    static const float zeros[DRAWN];
    wire zero = wire_tensor("zero", W_FLOAT, 1, (int64_t[]){DRAWN}, zeros, sizeof zeros);
    wire yes = wire_tensor("yes", W_BOOL, 0, NULL, &(uint8_t){1}, 1);
    wire five = wire_tensor("five", W_INT64, 0, NULL, &(int64_t){TURNS}, 8);
    wire_put(&g, 5, &zero);
    wire_put(&g, 5, &yes);
    wire_put(&g, 5, &five);
    wire_input(&g, "x", W_FLOAT, "N");
    wire_input(&g, "limit", W_INT64, "");
    wire_add_node(&g, "Size x > m");
    return g;
}

static void add_body(wire *g, const char *node_text, const wire *body, int64_t scan_inputs) {
    wire node = wire_node(node_text);
    wire_attr_graph(&node, "body", body);
    if (scan_inputs) wire_attr_int(&node, "num_scan_inputs", scan_inputs);
    wire_put(g, 1, &node);
}

/* The function f of the domain "own": "r" of 64 numbers. */
static wire drawing_function(void) {
    wire f = {.len = 0}, node = draw_node("RandomUniform > r");
    wire_put(&f, 7, &node);
    wire_text(&f, 1, "f"), wire_text(&f, 5, "r"), wire_text(&f, 10, "own");
    return f;
}

static void run(const wire *g, float *rows, int64_t row_count) {
    static float x[TURNS];
    int64_t limit = TURNS, count = 1;
    tn_buffer out[MOST_OUTPUTS],
        in[] = {vector(TN_f32, TURNS, x), {.dtype = TN_i64, .data = &limit}};
    wire model = wire_model(g, OPSET), f = drawing_function();
    lab l;
    wire_put(&model, 25, &f);
    import_bytes(&l.i, model.at, model.len, NULL);
    lab_compile(&l);
    lab_run(&l, in, out);
    for (int a = 0; a < out[0].rank; a++) count *= out[0].dim[a];
    assert_int_equal(count, row_count * DRAWN);
    memcpy(rows, out[0].data, sizeof(float) * (size_t)count);
    lab_close(&l);
}

static void expect_different(const float *rows, int count) {
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            int equal = 0;
            for (int k = 0; k < DRAWN; k++)
                equal += rows[i * DRAWN + k] == rows[j * DRAWN + k] ? 1 : 0;
            if (equal > 1) fail_msg("rows %d and %d have %d numbers in common", j, i, equal);
        }
}

/* The same as the loop of a known number of turns. */
static void expect_rows(const wire *g) {
    float want[TURNS * DRAWN], have[TURNS * DRAWN];
    wire unrolled = surroundings(), body = drawing(false);
    add_body(&unrolled, "Loop five yes zero > last y", &body, 0);
    wire_output(&unrolled, "y", W_FLOAT, "*");
    run(&unrolled, want, TURNS);
    expect_different(want, TURNS);
    run(g, have, TURNS);
    assert_memory_equal(have, want, sizeof want);
}

/* As a scan, and as one that data may end. */
static void test_loop__draws_in_each_turn(void **state) {
    (void)state;
    for (int less = 0; less < 2; less++) {
        wire g = surroundings(), body = drawing(less);
        add_body(&g, "Loop m yes zero > last y", &body, 0);
        wire_output(&g, "y", W_FLOAT, "*");
        expect_rows(&g);
    }
}

/* As a while: there is no trip count, and nothing is stacked. */
static void test_while__draws_in_each_turn(void **state) {
    (void)state;
    float want[DRAWN], have[DRAWN];
    for (int open = 0; open < 2; open++) {
        wire g = surroundings(), body = {.len = 0};
        wire one = wire_tensor("one", W_INT64, 0, NULL, &(int64_t){1}, 8);
        wire_put(&body, 5, &one);
        wire_input(&body, "i", W_INT64, "");
        wire_input(&body, "c", W_BOOL, "");
        wire_input(&body, "sum", W_FLOAT, "64");
        add_draw(&body);
        wire_add_node(&body, "Add sum draw > next");
        wire_add_node(&body, "Add i one > done");
        wire_add_node(&body, open ? "Less done limit > go" : "Identity c > go");
        wire_output(&body, "go", W_BOOL, "");
        wire_output(&body, "next", W_FLOAT, "64");
        add_body(&g, open ? "Loop - yes zero > last" : "Loop five yes zero > last", &body, 0);
        wire_output(&g, "last", W_FLOAT, "64");
        run(&g, open ? have : want, 1);
    }
    assert_memory_equal(have, want, sizeof want);
}

static void test_scan__draws_in_each_turn(void **state) {
    (void)state;
    wire g = surroundings(), body = {.len = 0};
    wire_input(&body, "sum", W_FLOAT, "64");
    wire_input(&body, "element", W_FLOAT, "");
    add_draw(&body);
    wire_add_node(&body, "Add sum element > next");
    wire_add_node(&body, "Identity draw > y");
    wire_output(&body, "next", W_FLOAT, "64");
    wire_output(&body, "y", W_FLOAT, "64");
    add_body(&g, "Scan zero x > last y", &body, 1);
    wire_output(&g, "y", W_FLOAT, "*");
    expect_rows(&g);
}

/* `trips`: of the outer and of the inner loop. */
static wire nested(const char *outer, const char *inner) {
    wire g = surroundings(), body = {.len = 0}, turn = drawing(false);
    char text[64];
    wire_input(&body, "j", W_INT64, "");
    wire_input(&body, "d", W_BOOL, "");
    snprintf(text, sizeof text, "Loop %s yes zero > last rows", inner);
    add_body(&body, text, &turn, 0);
    wire_add_node(&body, "Identity d > on");
    wire_output(&body, "on", W_BOOL, "");
    wire_output(&body, "rows", W_FLOAT, "*");
    snprintf(text, sizeof text, "Loop %s yes > y", outer);
    add_body(&g, text, &body, 0);
    wire_output(&g, "y", W_FLOAT, "*");
    return g;
}

static void test_nested_loops__draw_in_each_turn(void **state) {
    (void)state;
    static const char *const trips[][2] = {{"five", "five"}, {"five", "m"}, {"m", "m"}};
    float want[TURNS * TURNS * DRAWN], have[TURNS * TURNS * DRAWN];
    for (size_t i = 0; i < TN_COUNT(trips); i++) {
        wire g = nested(trips[i][0], trips[i][1]);
        float *rows = i ? have : want;
        run(&g, rows, TURNS * TURNS);
        expect_different(rows, TURNS * TURNS);
        assert_memory_equal(rows, want, sizeof want);
    }
}

static void test_sequence_map__draws_for_each_element(void **state) {
    (void)state;
    wire g = surroundings(), body = {.len = 0}, joined = wire_node("ConcatFromSequence s > y");
    wire_input(&body, "element", W_FLOAT, "64");
    add_draw(&body);
    wire_add_node(&body, "Identity draw > part");
    wire_output(&body, "part", W_FLOAT, "64");
    wire_add_node(&g, "SequenceConstruct zero zero zero zero zero > zeros");
    add_body(&g, "SequenceMap zeros > s", &body, 0);
    wire_attr_int(&joined, "axis", 0);
    wire_attr_int(&joined, "new_axis", 1);
    wire_put(&g, 1, &joined);
    wire_output(&g, "y", W_FLOAT, "*");
    expect_rows(&g);
}

/* ---- draws further in ------------------------------------------------------------------------- */

/* A body of a loop that gives "y" by way of a branch that data choose, of a function, or of a scan of one step. */
typedef enum way { BY_BRANCH, BY_CALL, BY_SCAN, WAYS } way;

static void add_branch(wire *b) {
    static const float zeros[DRAWN];
    wire then = {.len = 0}, other = {.len = 0}, node = wire_node("If go > y");
    wire none = wire_tensor("none", W_FLOAT, 1, (int64_t[]){DRAWN}, zeros, sizeof zeros);
    wire limit = wire_tensor("hundred", W_INT64, 0, NULL, &(int64_t){100}, 8);
    wire_put(b, 5, &limit);
    wire_add_node(b, "Less i hundred > go");
    add_draw(&then);
    wire_output(&then, "draw", W_FLOAT, "64");
    wire_put(&other, 5, &none);
    wire_add_node(&other, "Identity none > nothing");
    wire_output(&other, "nothing", W_FLOAT, "64");
    wire_attr_graph(&node, "then_branch", &then);
    wire_attr_graph(&node, "else_branch", &other);
    wire_put(b, 1, &node);
}

static void add_scan(wire *b) {
    wire step = {.len = 0};
    wire one = wire_tensor("slices", W_FLOAT, 1, (int64_t[]){1}, &(float){1}, 4);
    wire_put(b, 5, &one);
    wire_input(&step, "element", W_FLOAT, "");
    add_draw(&step);
    wire_output(&step, "draw", W_FLOAT, "64");
    add_body(b, "Scan slices > y", &step, 1);
}

static wire drawing_by(way w) {
    wire b = {.len = 0}, call = wire_node("f > y");
    wire_input(&b, "i", W_INT64, "");
    wire_input(&b, "c", W_BOOL, "");
    wire_text(&call, 7, "own");
    if (w == BY_BRANCH) add_branch(&b);
    if (w == BY_CALL) wire_put(&b, 1, &call);
    if (w == BY_SCAN) add_scan(&b);
    wire_add_node(&b, "Identity c > on");
    wire_output(&b, "on", W_BOOL, "");
    wire_output(&b, "y", W_FLOAT, "*");
    return b;
}

static void test_bodies__draw_in_each_turn(void **state) {
    (void)state;
    for (way w = BY_BRANCH; w < WAYS; w++) {
        float want[TURNS * DRAWN], have[TURNS * DRAWN];
        for (int open = 0; open < 2; open++) {
            wire g = surroundings(), body = drawing_by(w);
            add_body(&g, open ? "Loop m yes > y" : "Loop five yes > y", &body, 0);
            wire_output(&g, "y", W_FLOAT, "*");
            run(&g, open ? have : want, TURNS);
        }
        expect_different(want, TURNS);
        assert_memory_equal(have, want, sizeof want);
    }
}

/* Each call draws, also from a function called twice. */
static void test_function__draws_in_each_call(void **state) {
    (void)state;
    static const char *const calls[] = {"f > a", "f > b", "g > c", "g > d"};
    wire g = {.len = 0}, outer = {.len = 0}, f = drawing_function();
    wire joined = wire_node("Concat a b c d > y"), inner = wire_node("f > r");
    tn_buffer out[MOST_OUTPUTS];
    lab l;
    for (size_t i = 0; i < TN_COUNT(calls); i++) {
        wire call = wire_node(calls[i]);
        wire_text(&call, 7, "own");
        wire_put(&g, 1, &call);
    }
    wire_attr_int(&joined, "axis", 0);
    wire_put(&g, 1, &joined);
    wire_output(&g, "y", W_FLOAT, "*");
    wire_text(&inner, 7, "own");
    wire_text(&outer, 1, "g"), wire_text(&outer, 5, "r"), wire_text(&outer, 10, "own");
    wire_put(&outer, 7, &inner);
    wire model = wire_model(&g, OPSET);
    wire_put(&model, 25, &f);
    wire_put(&model, 25, &outer);
    import_bytes(&l.i, model.at, model.len, NULL);
    lab_compile(&l);
    lab_run(&l, NULL, out);
    expect_different(out[0].data, 4);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop__draws_in_each_turn),
        cmocka_unit_test(test_while__draws_in_each_turn),
        cmocka_unit_test(test_scan__draws_in_each_turn),
        cmocka_unit_test(test_nested_loops__draw_in_each_turn),
        cmocka_unit_test(test_sequence_map__draws_for_each_element),
        cmocka_unit_test(test_bodies__draw_in_each_turn),
        cmocka_unit_test(test_function__draws_in_each_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
