/* Rows at indices, which kernels ask for ahead of their turn, and rows that stay in registers: results against
 * eval, and which kernels ask. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"
#include "unit/plan/plan_list.h"

/* ---- rows at indices ------------------------------------------------------------------------ */

/* Numbers below `below`, in no order. */
static tn_value indices(tn_builder *b, int rank, const int64_t *dim, int64_t below) {
    tn_array a = tn_array_new(b->graph->arena, TN_i64, rank, dim);
    int64_t *at = a.data, count = 1;
    for (int i = 0; i < rank; i++) count *= dim[i];
    for (int64_t i = 0; i < count; i++) at[i] = (i * 7919 + 13) % below;
    return tn_b_constant(b, &a);
}

#define INDICES(b, below, ...)                                                                     \
    indices((b), (int)TN_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__}, (below))

static tn_value taken(tn_builder *b, tn_value x, tn_value index, int batch, tn_index_mode mode) {
    tn_attrs_gather a = {.batch = batch, .axes = {1, {(int8_t)batch}}, .mode = mode};
    index = tn_b_unsqueeze(b, index, tn_b_rank(b, index)); /* one position of each */
    return tn_b_node(b, TN_OP_gather, (tn_value[]){x, index}, 2, &a);
}

static void words(tn_builder *b) {
    out(b, taken(b, INPUT(b, 50, 64), INDICES(b, 50, 6, 31), 0, TN_INDEX_error));
}
static void words_of_members(tn_builder *b) { /* several tasks */
    out(b, taken(b, INPUT(b, 5, 50, 64), INDICES(b, 50, 5, 6, 31), 1, TN_INDEX_error));
}
static void outside(tn_builder *b) {
    out(b, taken(b, INPUT(b, 5, 20, 32), INDICES(b, 50, 5, 70), 1, TN_INDEX_fill));
    out(b, taken(b, INPUT(b, 5, 20, 32), INDICES(b, 50, 5, 70), 1, TN_INDEX_clamp));
}
static void with_work(tn_builder *b) { /* the other operand is read in order */
    tn_value x = taken(b, INPUT(b, 50, 48), INDICES(b, 50, 70), 0, TN_INDEX_error);
    out(b, tn_b_tanh(b, tn_b_add(b, x, INPUT(b, 70, 48))));
}
static void narrow(tn_builder *b) { /* a line holds more elements */
    out(b, taken(b, TYPED(b, TN_f16, 50, 64), INDICES(b, 50, 80), 0, TN_INDEX_error));
}
static void open_rows(tn_builder *b) {
    tn_dim n = tn_dim_of_symbol(b->graph->dims, "N");
    tn_dims_set_bounds(b->graph->dims, tn_dims_symbol(b->graph->dims, "N"), 1, 4096, 1);
    out(b, taken(b, INPUT(b, 50, 64), tn_b_cast(b, TYPED(b, TN_u8, n), TN_i64), 0, TN_INDEX_clamp));
}
static void columns(tn_builder *b) { /* along the axis of vectors: no rows */
    out(b, taken(b, INPUT(b, 40, 50), INDICES(b, 50, 40, 33), 1, TN_INDEX_fill));
}
static void few(tn_builder *b) { /* all of them would be asked for at once */
    out(b, taken(b, INPUT(b, 50, 64), INDICES(b, 50, 9), 0, TN_INDEX_error));
}

/* ---- rows that folds pass, in registers where they are short ------------------------------------------------------------------- */

static tn_value normed(tn_builder *b, tn_value x) {
    int last = tn_b_rank(b, x) - 1;
    tn_value mean = tn_b_mean(b, x, (int[]){last}, 1, true), d = tn_b_sub(b, x, mean);
    tn_value spread = tn_b_mean(b, tn_b_mul(b, d, d), (int[]){last}, 1, true);
    return tn_b_mul(b, d, tn_b_rsqrt(b, tn_b_add_scalar(b, spread, 1e-5)));
}

#define NORMED(width)                                                                              \
    static void normed_##width(tn_builder *b) {                                                    \
        out(b, normed(b, INPUT(b, 3, 41, width)));                                                 \
    }
NORMED(128)
NORMED(200)
NORMED(256) /* as much as stays in registers */
NORMED(272)
NORMED(1000)

static void scaled(tn_builder *b) { /* the scale of each member's */
    tn_value x = normed(b, INPUT(b, 3, 41, 192)), s = tn_b_unsqueeze(b, INPUT(b, 3, 192), 1);
    out(b, tn_b_add(b, tn_b_mul(b, x, s), s));
}
static void soft(tn_builder *b) {
    out(b, tn_b_softmax(b, INPUT(b, 3, 41, 256), 2));
}
/* ---- running -------------------------------------------------------------------------------- */

static const int64_t open[][1] = {{1}, {70}};

typedef struct asking_graph {
    build_graph *build;
    const char *name;
    bool asks;
    const int64_t *symbols;
} asking_graph;

#define CASE(build, asks)                                                                          \
    { build, #build, asks, NULL }
#define OPEN(build, sizes)                                                                         \
    { build, #build " " #sizes, true, open[sizes] }
static const asking_graph cases[] = {
    CASE(words, true),       CASE(words_of_members, true), CASE(outside, true),
    CASE(with_work, true),   CASE(narrow, true),           OPEN(open_rows, 0),
    OPEN(open_rows, 1),      CASE(columns, false),         CASE(few, false),
    CASE(normed_128, false), CASE(normed_200, false),      CASE(normed_256, false),
    CASE(normed_272, false), CASE(normed_1000, false),     CASE(scaled, false),
    CASE(soft, false),
};

static plan_case *make_case(tn_arena *arena, size_t i, const char **note) {
    (void)note;
    return plan_case_of(arena, cases[i].build, cases[i].symbols, cases[i].name);
}

static bool asks(plan_case *c, const tn_target *target) {
    tn_program p;
    bool found = false;
    if (!plan_program_of(c, PLAN_FUSED, target, &p)) fail_msg("%s", c->why);
    for (uint32_t i = 0; i < p.kernels.len; i++) {
        tn_str text;
        tn_str_init(&text);
        tn_loop_print(p.kernels.data[i], false, &text);
        found = found || strstr(tn_str_text(&text), "prefetch in");
        tn_str_deinit(&text);
    }
    return found;
}

/* As if nothing were small enough for the caches; all is, in truth. */
static void test_rows_ahead__are_asked_for(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_target target = *tn_target_of(TN_ISA_AVX512);
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = make_case(&arena, i, NULL);
        if (asks(c, &target)) fail_msg("%s asks for what a cache holds", cases[i].name);
        target.ahead_bytes = 1;
        if (asks(c, &target) != cases[i].asks)
            fail_msg("%s: %s ask", cases[i].name, cases[i].asks ? "does not" : "does");
        tn_arena_deinit(&arena);
    }
}

static void test_rows_ahead__compute_the_same(void **state) {
    (void)state;
    tn_arena arena;
    tn_target target = *tn_target_native();
    if (!plan_has_compiler()) skip();
    target.ahead_bytes = 1;
    tn_arena_init(&arena, tn_allocator_system());
    plan_batch b = {.count = TN_COUNT(cases), .target = &target, .arena = &arena};
    b.cases = plan_list_make(&arena, make_case, b.count);
    if (!plan_batch_check(&b)) fail_msg("%s", b.why);
    tn_arena_deinit(&arena);
}

static void test_rows_ahead__compute_the_same_for_every_target(void **state) {
    (void)state;
    plan_list_compile(make_case, TN_COUNT(cases));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_ahead__are_asked_for),
        cmocka_unit_test(test_rows_ahead__compute_the_same),
        cmocka_unit_test(test_rows_ahead__compute_the_same_for_every_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
