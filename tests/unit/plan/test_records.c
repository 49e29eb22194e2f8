/* Schedule records other than the chosen ones: the search space, its form in files, what is refused.
 * That programs by random records give the same bits is checked for every graph (check_plan.h). */
#include "plan/tune.h"

#include "unit/plan/check_plan.h"
#include "unit/plan/random_graph.h"

enum { SEEDS = 40, ROUNDING_SEEDS = 3 };

static const int64_t symbols[RANDOM_SYMBOLS] = {9, 21};

static plan_case *random_case(tn_arena *arena, uint64_t seed) {
    random_maker *m = random_graph(arena, seed);
    double *bounds = TN_NEW_N(arena, double, m->g->outputs.len);
    for (uint32_t i = 0; i < m->g->outputs.len; i++)
        bounds[i] = m->bound[m->g->outputs.data[i].value];
    plan_case *c = TN_NEW(arena, plan_case);
    *c = (plan_case){.arena = arena,
                     .graph = m->g,
                     .label = tn_arena_printf(arena, "seed %llu", (unsigned long long)seed),
                     .symbols = symbols,
                     .bound = bounds};
    return plan_case_init(c, true) ? c : NULL;
}

/* ---- files ---------------------------------------------------------------------------------- */

static const tn_schedule example = {.lanes = 16,
                                    .mr = 6,
                                    .nr = 64,
                                    .m_block = 192,
                                    .n_panels = 2,
                                    .rhs = TN_RHS_PACKED,
                                    .rows_per_task = 1,
                                    .unroll = 4,
                                    .follow_source = true};

static void test_record__survives_a_file(void **state) {
    (void)state;
    json_t *json = tn_schedule_json(&example);
    char *text = json_dumps(json, JSON_COMPACT);
    json_t *again = json_loads(text, 0, NULL);
    tn_schedule read = {.lanes = 16};
    assert_true(tn_schedule_read(&read, again));
    assert_true(tn_schedule_same(&read, &example));
    assert_int_equal(read.m_block, 192);
    assert_int_equal(read.rhs, TN_RHS_PACKED);
    assert_true(read.follow_source);
    free(text);
    json_decref(json);
    json_decref(again);
}

static void test_record__that_is_damaged_is_not_read(void **state) {
    (void)state;
    json_t *const wrong[] = {
        NULL,         json_integer(-1), json_integer((json_int_t)1 << 40), json_string(""),
        json_real(2), json_null()};
    tn_schedule s = example;
    s.mr = 5;
    assert_false(tn_schedule_read(&s, NULL));
    for (size_t i = 0; i < TN_COUNT(wrong); i++) {
        json_t *json = tn_schedule_json(&example);
        if (wrong[i])
            json_object_set_new(json, "n_panels", wrong[i]);
        else
            json_object_del(json, "n_panels");
        assert_false(tn_schedule_read(&s, json));
        assert_int_equal(s.mr, 5);
        json_decref(json);
    }
}

/* Whatever is asked for, a program comes out and computes the same. */
static void test_record__that_is_nonsense_does_no_harm(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = random_case(&arena, seed);
        random_records *r = random_records_of(&arena, seed, false);
        r->source.find = random_records_nonsense;
        if (c) c->records = &r->source;
        tn_program program;
        if (c) {
            plan_run run = {.c = c, .program = &program, .way = "nonsense"};
            if (!plan_program_of(c, PLAN_RECORDS, tn_target_native(), &program) ||
                !plan_run_program(&run))
                fail_msg("%s", c->why);
        }
        tn_arena_deinit(&arena);
    }
}

/* ---- the space ------------------------------------------------------------------------------ */

/* x[96,64] * W[64,80], x * V with V an input, softmax, a transposition, an open batch of filters. */
static void several(tn_builder *b) {
    tn_shape xs = {2, {96, 64}}, vs = {2, {64, 80}};
    tn_array w = tn_array_new(b->graph->arena, TN_f32, 2, (int64_t[]){64, 80});
    fill_random(&w, 7);
    tn_value x = tn_b_input(b, "x", TN_f32, &xs), v = tn_b_input(b, "v", TN_f32, &vs);
    tn_value y = tn_b_matmul(b, x, tn_b_constant(b, &w), TN_f32);
    tn_graph_add_output(b->graph, tn_b_tanh(b, y), "y");
    tn_graph_add_output(b->graph, tn_b_matmul(b, x, v, TN_f32), "z");
    tn_graph_add_output(b->graph, tn_b_permute(b, x, (int[]){1, 0}), "t");
}

static void test_record__changes_the_program_and_is_printed(void **state) {
    (void)state;
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *c = plan_case_of(&arena, several, NULL, "several");
    tn_program usual, other;
    random_records *r = random_records_of(&arena, 3, true);
    c->records = &r->source;
    assert_true(plan_program_of(c, PLAN_FUSED, tn_target_native(), &usual));
    assert_true(plan_program_of(c, PLAN_RECORDS, tn_target_native(), &other));
    assert_int_equal(r->used, usual.groups.len);
    assert_int_equal(other.groups.len, usual.groups.len);
    for (uint32_t i = 0; i < usual.groups.len; i++) {
        assert_null(strstr(usual.groups.data[i].schedule, " tuned"));
        assert_non_null(strstr(other.groups.data[i].schedule, " tuned"));
        assert_string_not_equal(other.groups.data[i].schedule, usual.groups.data[i].schedule);
    }
    tn_arena_deinit(&arena);
}

/* ---- records that change rounding ----------------------------------------------------------- */

static void filter(tn_builder *b) {
    tn_attrs_conv a = {.acc = TN_f32};
    a.stride = a.window_dilation = a.base_dilation = (tn_ints){2, {1, 1}};
    a.pad_lo = a.pad_hi = (tn_ints){2, {1, 1}};
    tn_shape s = {4, {2, 15, 18, 32}};
    tn_array w = tn_array_new(b->graph->arena, TN_f32, 4, (int64_t[]){3, 3, 32, 48});
    fill_random(&w, 5);
    tn_value in[] = {tn_b_input(b, "x", TN_f32, &s), tn_b_constant(b, &w)};
    tn_graph_add_output(b->graph, tn_b_node(b, TN_OP_conv, in, 2, &a), "y");
}

static void test_record__that_rounds_otherwise_stays_near(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < ROUNDING_SEEDS; seed++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = plan_case_of(&arena, filter, NULL, "filter");
        c->records = &random_records_of(&arena, seed, false)->source;
        tn_program program;
        plan_run run = {.c = c, .program = &program, .way = "by other records"};
        if (!plan_program_of(c, PLAN_RECORDS, tn_target_native(), &program) ||
            !plan_run_program(&run))
            fail_msg("seed %llu: %s", (unsigned long long)seed, c->why);
        tn_arena_deinit(&arena);
    }
}

/* ---- the search ----------------------------------------------------------------------------- */

/* A machine on which a kernel takes as long as its tile has columns, and rows past the third. */
typedef struct machine {
    plan_case *c;
    tn_tuner tuner;
    uint32_t calls;
} machine;

static double time_of(const tn_schedule *s) {
    return s->mr == 0 ? 1 : s->nr + (s->mr > 3 ? s->mr - 3 : 3 - s->mr) * 4.0;
}

static tn_status measure(void *context, const tn_record_source *source, double *first,
                         double *trial, tn_error *err) {
    machine *m = context;
    tn_program p;
    (void)err;
    if (++m->calls == 3) return TN_RUNTIME; /* a round that fails */
    if (source) {
        tn_plan_options o = {.target = tn_target_native(), .records = source};
        assert_int_equal(tn_plan(m->c->graph, &o, m->c->arena, &p, NULL), TN_OK);
    }
    for (uint32_t i = 0; i < m->tuner.sites.len; i++) {
        const tn_tune_site *s = &m->tuner.sites.data[i];
        first[i] = time_of(&s->start);
        trial[i] = time_of(s->trying ? &s->trial : &s->start);
    }
    return TN_OK;
}

static void test_tune__finds_what_is_fastest(void **state) {
    (void)state;
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    machine m = {.c = plan_case_of(&arena, several, NULL, "several")};
    tn_tuner_init(&m.tuner, NULL, &arena);
    tn_record_source source = tn_tuner_source(&m.tuner);
    tn_plan_options o = {.target = tn_target_of(TN_ISA_AVX2), .records = &source};
    tn_program p;
    assert_int_equal(tn_plan(m.c->graph, &o, &arena, &p, NULL), TN_OK);
    assert_int_equal(m.tuner.sites.len, 3);
    assert_int_equal(tn_tune(&m.tuner, 1e9, measure, &m, NULL), TN_OK);
    uint32_t won = 0;
    for (uint32_t i = 0; i < m.tuner.sites.len; i++) {
        const tn_tune_site *s = &m.tuner.sites.data[i];
        if (s->kind == TN_GROUP_ROWS) assert_false(s->won);
        if (!s->won) continue;
        won++;
        assert_int_equal(s->best.nr, s->best.lanes);
        assert_true(s->after < s->before);
    }
    assert_int_equal(won, 2);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record__survives_a_file),
        cmocka_unit_test(test_record__that_is_damaged_is_not_read),
        cmocka_unit_test(test_record__that_is_nonsense_does_no_harm),
        cmocka_unit_test(test_record__changes_the_program_and_is_printed),
        cmocka_unit_test(test_record__that_rounds_otherwise_stays_near),
        cmocka_unit_test(test_tune__finds_what_is_fastest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
