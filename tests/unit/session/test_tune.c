/* Tuned models: what is remembered, what uses it, and what a damaged memory does. The times here are
 * made up, or do not matter. */
#include "unit/test_folder.h"

#include "plan/plan.h"
#include "schedule/batch_pieces.h"
#include "session/session.h"
#include "session/tune.h"
#include "session/tunings.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL "examples/digits/digits.onnx"
enum { IMAGES = 3, VALUES = IMAGES * 10 };

static float image[IMAGES * 64];

static int make_images(void **state) {
    for (size_t i = 0; i < TN_COUNT(image); i++) image[i] = (float)(i * 7 % 17);
    return make_folder(state);
}

static tn_buffer images(void) {
    return (tn_buffer){.dtype = TN_f32, .rank = 4, .dim = {IMAGES, 1, 8, 8}, .data = image};
}

typedef struct result {
    float value[VALUES];
    tn_artifact_stats stats;
    int tuned; /* groups that are lowered by a record of tuning */
    int loops;
    int64_t piece;
} result;

static bool interpret = true; /* nothing is compiled but where times are measured */

static tn_model *open_model(bool no_tuned) {
    tn_error err = TN_ERROR_INIT;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    tn_model *m;
    o.cache = folder;
    o.threads = 2;
    o.no_tuned = no_tuned;
    o.mode = interpret ? TN_COMPILE_INTERPRET : TN_COMPILE_AUTO;
    check(tn_model_open(MODEL, &o, &m, &err), &err);
    return m;
}

static result run(bool no_tuned) {
    result r = {0};
    tn_error err = TN_ERROR_INIT;
    tn_session *s;
    tn_model *m = open_model(no_tuned);
    tn_buffer in = images(), out = {.data = r.value, .size = sizeof r.value};
    check(tn_session_create(m, &s, &err), &err);
    check(tn_session_run(s, &in, 1, &out, 1, &err), &err);
    const tn_artifact *a = tn_session_artifact(s);
    r.stats = a->stats;
    for (uint32_t i = 0; i < a->program->groups.len; i++)
        r.tuned += strstr(a->program->groups.data[i].schedule, " tuned") != NULL;
    for (uint32_t i = 0; i < a->program->blocks.data[0].steps.len; i++)
        r.loops += a->program->blocks.data[0].steps.data[i].kind == TN_STEP_SCAN;
    r.piece = a->program->plan.tuned_piece;
    tn_session_release(s);
    tn_model_release(m);
    return r;
}

static void same(const result *a, const result *b) {
    assert_memory_equal(a->value, b->value, sizeof a->value);
}

static void close_to(const result *a, const result *b) {
    float largest = 0;
    for (int i = 0; i < VALUES; i++) largest = fmaxf(largest, fabsf(a->value[i]));
    for (int i = 0; i < VALUES; i++) assert_float_equal(a->value[i], b->value[i], 1e-5f * largest);
}

/* Remembers the first neighbour of every kernel's record, as if it had won. */
static int remember(void) {
    tn_error err = TN_ERROR_INIT;
    const tn_graph *g;
    tn_tuner tuner;
    tn_program p;
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    tn_model *m = open_model(false);
    const tn_compiler *c = tn_model_compiler(m);
    tn_buffer in = images();
    check(tn_model_graph(m, &in, 1, &g, &err), &err);
    tn_tuner_init(&tuner, NULL, &arena);
    tn_record_source source = tn_tuner_source(&tuner);
    tn_plan_options o = {.target = c->target, .records = &source};
    check(tn_plan(g, &o, &arena, &p, &err), &err);
    for (uint32_t i = 0; i < tuner.sites.len; i++) {
        tn_tune_site *s = &tuner.sites.data[i];
        tn_schedule_list list = {0};
        tn_schedule_neighbours(s->context.grouping, &s->context.grouping->groups.data[s->group],
                               &s->chosen, &s->start, (uint32_t)c->target->vector_registers, &arena,
                               &list);
        if (list.len > 0) s->best = list.data[0];
        s->won = list.len > 0;
    }
    int kept = tn_tunings_put(c, &tuner);
    tn_model_release(m);
    tn_arena_deinit(&arena);
    return kept;
}

/* ---- what is remembered --------------------------------------------------------------------- */

static void test_tuned__is_used_by_later_compiles(void **state) {
    (void)state;
    empty_folder();
    result before = run(false);
    assert_int_equal(before.tuned, 0);
    assert_true(remember() > 0);
    result tuned = run(false), again = run(false), without = run(true);
    assert_true(tuned.tuned > 0);
    assert_false(tuned.stats.program_cached);
    assert_true(again.stats.program_cached);
    assert_int_equal(again.tuned, tuned.tuned);
    assert_int_equal(without.tuned, 0);
    close_to(&before, &tuned);
    same(&tuned, &again);
    same(&before, &without);
}

static void test_tuned__again_compiles_again(void **state) {
    (void)state;
    empty_folder();
    assert_true(remember() > 0);
    result first = run(false);
    assert_true(remember() > 0);
    result second = run(false);
    assert_false(second.stats.program_cached);
    same(&first, &second);
}

/* Cuts, or replaces by what is no record, the entries whose names end so; their number. */
static int spoil(const char *ending, const char *by) {
    char path[600];
    int count = 0;
    tn_cache cache;
    tn_cache_open(&cache, folder);
    DIR *dir = opendir(folder);
    for (struct dirent *d; (d = readdir(dir));) {
        size_t len = strlen(d->d_name);
        if (len < strlen(ending) || strcmp(d->d_name + len - strlen(ending), ending) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, d->d_name);
        if (by)
            assert_true(tn_cache_put(&cache, d->d_name, by, strlen(by)));
        else
            assert_int_equal(truncate(path, 10), 0);
        count++;
    }
    closedir(dir);
    return count;
}

static void test_tuned__survives_damaged_records(void **state) {
    (void)state;
    const char *const spoils[] = {NULL,
                                  "",
                                  "{",
                                  "[1]",
                                  "{\"schema\": \"tenon.tuned/1\"}",
                                  "{\"schema\": \"tenon.tuned/1\", \"record\": {\"mr\": 0}}"};
    for (size_t i = 0; i < TN_COUNT(spoils); i++) {
        empty_folder();
        result before = run(false);
        int kept = remember();
        assert_int_equal(spoil(".tuned", spoils[i]), kept);
        result after = run(false);
        assert_int_equal(after.tuned, 0);
        same(&before, &after);
    }
}

/* Without the id nobody asks for records; the program of before is still there. */
static void test_tuned__survives_a_damaged_id(void **state) {
    (void)state;
    const char *const spoils[] = {NULL, "", "short"};
    for (size_t i = 0; i < TN_COUNT(spoils); i++) {
        empty_folder();
        result before = run(false);
        assert_true(remember() > 0);
        assert_int_equal(spoil(".tunings", spoils[i]), 1);
        result after = run(false);
        assert_int_equal(after.tuned, 0);
        assert_true(after.stats.program_cached);
        same(&before, &after);
    }
}

/* ---- pieces of the batch -------------------------------------------------------------------- */

/* As if cutting the batch so had won. */
static void remember_piece(int64_t piece) {
    tn_error err = TN_ERROR_INIT;
    const tn_graph *g;
    char key[TN_TUNING_GRAPH];
    tn_model *m = open_model(false);
    tn_buffer in = images();
    check(tn_model_graph(m, &in, 1, &g, &err), &err);
    tn_tunings_graph(g, key);
    tn_tuned_piece p = {.piece = piece, .before = 2e-3, .after = 1e-3};
    assert_true(tn_tunings_put_piece(tn_model_compiler(m), key, &p));
    tn_model_release(m);
}

static void test_tuned__cuts_the_batch_of_later_compiles(void **state) {
    (void)state;
    empty_folder();
    result before = run(false);
    assert_int_equal(before.loops, 0);
    assert_int_equal(before.piece, TN_PIECE_BY_COST);
    remember_piece(1);
    result tuned = run(false), again = run(false), without = run(true);
    assert_true(tuned.loops > 0);
    assert_int_equal(tuned.piece, 1);
    assert_false(tuned.stats.program_cached);
    assert_true(again.stats.program_cached);
    assert_int_equal(again.piece, 1); /* a program file says it */
    assert_int_equal(without.loops, 0);
    assert_int_equal(without.piece, TN_PIECE_BY_COST);
    same(&before, &tuned);
    same(&before, &again);
    remember_piece(TN_PIECE_NEVER);
    result whole = run(false);
    assert_int_equal(whole.loops, 0);
    assert_int_equal(whole.piece, TN_PIECE_NEVER);
    same(&before, &whole);
}

static void test_tuned__survives_damaged_pieces(void **state) {
    (void)state;
    const char *const spoils[] = {NULL, "{\"schema\": \"tenon.tuned/1\"}",
                                  "{\"schema\": \"tenon.tuned/1\", \"piece\": \"1\"}",
                                  "{\"schema\": \"tenon.tuned/1\", \"piece\": -2}"};
    for (size_t i = 0; i < TN_COUNT(spoils); i++) {
        empty_folder();
        remember_piece(1);
        assert_int_equal(spoil(".tuned", spoils[i]), 1);
        result after = run(false);
        assert_int_equal(after.loops, 0);
        assert_int_equal(after.piece, TN_PIECE_BY_COST);
    }
}

/* ---- tuning --------------------------------------------------------------------------------- */

static void test_tune__keeps_what_it_says(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    empty_folder();
    interpret = false;
    result before = run(false);
    if (before.stats.interpreted) skip();
    tn_buffer in = images();
    tn_model *m = open_model(false);
    tn_tune_options options = {.seconds = 0};
    tn_tune_result r;
    check(tn_model_tune(m, &in, 1, &options, &r, &err), &err);
    tn_model_release(m);
    assert_true(r.kernels > 0 && r.rounds == 1 && r.tried > 0);
    assert_true(r.kept >= 0 && r.after <= r.before);
    result after = run(false);
    assert_int_equal(r.cuts, 1);
    assert_int_equal(after.piece, r.cut.piece);
    assert_true(after.tuned >= r.kept); /* one kernel may be several groups' */
    close_to(&before, &after);
}

static void test_tune__refuses_what_cannot_be_tuned(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    tn_tune_options options = {.seconds = 0};
    tn_tune_result r;
    tn_model *m;
    tn_buffer in = images();
    o.no_cache = true;
    check(tn_model_open(MODEL, &o, &m, &err), &err);
    assert_int_equal(tn_model_tune(m, &in, 1, &options, &r, &err), TN_UNSUPPORTED);
    tn_model_release(m);
    o = (tn_model_options)TN_MODEL_OPTIONS_INIT;
    o.cache = folder;
    o.mode = TN_COMPILE_INTERPRET;
    check(tn_model_open(MODEL, &o, &m, &err), &err);
    assert_int_equal(tn_model_tune(m, &in, 1, &options, &r, &err), TN_UNSUPPORTED);
    tn_model_release(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tuned__is_used_by_later_compiles),
        cmocka_unit_test(test_tuned__again_compiles_again),
        cmocka_unit_test(test_tuned__survives_damaged_records),
        cmocka_unit_test(test_tuned__survives_a_damaged_id),
        cmocka_unit_test(test_tuned__cuts_the_batch_of_later_compiles),
        cmocka_unit_test(test_tuned__survives_damaged_pieces),
        cmocka_unit_test(test_tune__keeps_what_it_says),
        cmocka_unit_test(test_tune__refuses_what_cannot_be_tuned),
    };
    return cmocka_run_group_tests(tests, make_images, remove_folder);
}
