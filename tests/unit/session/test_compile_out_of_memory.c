/* The n-th allocation fails: a model whose kernels are compiled, written to an empty cache and loaded ends
 * in the right result, or in TN_OUT_OF_MEMORY; then it works with the cache that this has left. */
#include "unit/each_allocation.h"
#include "unit/test_folder.h"

#include "ir/builder.h"
#include "session/session.h"

enum { SIZE = 8 };

static tn_arena arena;
static tn_graph *graph;
static tn_dims dims;

/* y = 2x + 1 */
static void make_graph(void) {
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&arena, tn_allocator_system());
    tn_dims_init(&dims, &arena);
    graph = tn_graph_new(&arena, &dims);
    tn_builder b = tn_builder_of(graph, &err);
    tn_shape shape = {.rank = 1, .dim = {SIZE}};
    tn_value x = tn_b_input(&b, "x", TN_f32, &shape);
    tn_value y = tn_b_add(&b, tn_b_mul_scalar(&b, x, 2), tn_b_scalar(&b, TN_f32, 1));
    tn_graph_add_output(graph, y, "y");
    check(tn_b_finish(&b), &err);
}

static tn_status compile_and_run(void *context, tn_error *err) {
    float x[SIZE] = {0, 1, 2, 3, 4, 5, 6, 7};
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    tn_buffer in = {.dtype = TN_f32, .rank = 1, .dim = {SIZE}, .data = x}, out = {0};
    tn_model *m;
    tn_session *s;
    (void)context;
    o.mode = TN_COMPILE_CC;
    o.threads = 1;
    o.cache = folder;
    TN_CHECK(tn_model_from_graph(graph, &o, &m, err));
    tn_status status = tn_session_create(m, &s, err);
    if (status == TN_OK) {
        status = tn_session_run(s, &in, 1, &out, 1, err);
        for (int i = 0; status == TN_OK && i < SIZE; i++)
            assert_float_equal(((const float *)out.data)[i], 2 * x[i] + 1, 0);
        tn_session_release(s);
    }
    tn_model_release(m);
    return status;
}

/* What a failure left in the cache is of no harm. */
static void run_again(void *context, tn_status status) {
    tn_error err = TN_ERROR_INIT;
    if (status != TN_OK && getenv("TENON_EVERY_ALLOCATION"))
        check(compile_and_run(context, &err), &err);
    empty_folder();
}

static void test_compile__ends_cleanly_without_memory(void **state) {
    (void)state;
    make_graph();
    fail_each_allocation(&(each_allocation){
        .what = "compiling", .run = compile_and_run, .after = run_again, .step = 397});
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compile__ends_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
