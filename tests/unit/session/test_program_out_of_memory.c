/* The n-th allocation fails: program files are saved whole or not at all, loaded and run, or
 * the failure is told. See test_out_of_memory.c for models. */
#include "unit/each_allocation.h"
#include "unit/test_folder.h"

#include "session/session.h"

#define MODEL "examples/digits/digits.onnx"
enum { PIXELS = 64, CLASSES = 10 };

static char file[300], program[300];

static tn_model_options options_of(tn_compile_mode mode) {
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    o.mode = mode;
    o.threads = 1;
    o.no_cache = true;
    return o;
}

static tn_status save(void *context, tn_error *err) {
    tn_model *m;
    TN_CHECK(tn_model_open(MODEL, context, &m, err));
    tn_status status = tn_model_save(m, file, err);
    tn_model_release(m);
    return status;
}

static tn_status run_file(void *context, tn_error *err) {
    static float image[PIXELS];
    tn_model_options o = options_of(TN_COMPILE_INTERPRET);
    tn_buffer in = {.dtype = TN_f32, .rank = 4, .dim = {1, 1, 8, 8}, .data = image}, out = {0};
    tn_model *m;
    tn_session *s;
    TN_CHECK(tn_model_open(context, &o, &m, err));
    tn_status status = tn_session_create(m, &s, err);
    if (status == TN_OK) {
        status = tn_session_run(s, &in, 1, &out, 1, err);
        if (status == TN_OK) status = tn_session_run(s, &in, 1, &out, 1, err);
        if (status == TN_OK) assert_int_equal(out.dim[1], CLASSES);
        tn_session_release(s);
    }
    tn_model_release(m);
    return status;
}

/* What is there is whole: it loads. */
static void after_save(void *context, tn_status status) {
    (void)context;
    tn_program_file f;
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    struct stat st;
    bool there = stat(file, &st) == 0;
    if (status == TN_OK) assert_true(there);
    tn_arena_init(&arena, tn_allocator_system());
    if (there) {
        check(tn_program_load(&f, &arena, file, false, &err), &err);
        tn_program_close(&f);
        assert_int_equal(remove(file), 0);
    }
    tn_arena_deinit(&arena);
}

static void test_program__is_saved_whole_or_not_at_all(void **state) {
    tn_model_options o = options_of(TN_COMPILE_INTERPRET);
    (void)state;
    snprintf(file, sizeof file, "%s/saved.tn", folder);
    fail_each_allocation(&(each_allocation){
        .what = "saving a program", .run = save, .after = after_save, .context = &o, .step = 101});
}

static void test_program__loads_and_runs_or_says_why_not(void **state) {
    tn_model_options o = options_of(TN_COMPILE_INTERPRET);
    tn_error err = TN_ERROR_INIT;
    (void)state;
    snprintf(program, sizeof program, "%s/digits.tn", folder);
    snprintf(file, sizeof file, "%s", program);
    check(save(&o, &err), &err);
    fail_each_allocation(&(each_allocation){
        .what = "running a program file", .run = run_file, .context = program, .step = 3});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program__is_saved_whole_or_not_at_all),
        cmocka_unit_test(test_program__loads_and_runs_or_says_why_not),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
