/* Sizes that fit the types of all values and still leave a node without the elements it takes: refused before
 * anything is read. */
#include "unit/test_folder.h"

#include "ir/builder.h"
#include "ops/compose.h"
#include "ops/eval.h"
#include "session/session.h"

enum { ROOM = 8 };

/* x[N], cut to its first n elements when `bound`: the two greatest. */
static tn_graph *make_graph(tn_arena *arena, tn_dims *dims, bool bound, tn_error *err) {
    tn_dims_init(dims, arena);
    tn_graph *g = tn_graph_new(arena, dims);
    tn_builder b = tn_builder_of(g, err);
    tn_shape shape = {.rank = 1, .dim = {tn_dim_of_symbol(dims, "N")}}, scalar = {0};
    tn_value x = tn_b_input(&b, "x", TN_f32, &shape), best[2];
    tn_value n = tn_b_input(&b, "n", TN_i64, &scalar);
    if (bound) x = tn_b_prefix(&b, x, 0, tn_b_bind_size(&b, n, "rows", shape.dim[0]));
    tn_b_top_k(&b, x, 0, 2, false, best);
    tn_value count = tn_b_add_scalar(&b, n, 1);
    check(b.status, err);
    tn_graph_add_output(g, best[0], "best");
    tn_graph_add_output(g, count, "count");
    check(tn_b_finish(&b), err);
    return g;
}

/* NULL: the run succeeds. */
static void run(tn_session *s, int64_t size, int64_t n, const char *message) {
    tn_error err = TN_ERROR_INIT;
    float x[ROOM] = {5, 1, 2, 9, 3, 4, 7, 6};
    tn_buffer in[] = {{.dtype = TN_f32, .rank = 1, .dim = {size}, .data = x},
                      {.dtype = TN_i64, .data = &n}};
    tn_buffer out[2] = {0};
    tn_status status = tn_session_run(s, in, 2, out, 2, &err);
    if (message) {
        assert_int_equal(status, TN_INVALID);
        assert_string_equal(err.message, message);
        return;
    }
    check(status, &err);
    assert_true(((float *)out[0].data)[0] == (n > 3 ? 9.0f : 5.0f));
}

static void run_all(tn_model *m, bool bound) {
    tn_error err = TN_ERROR_INIT;
    tn_session *s;
    check(tn_session_create(m, &s, &err), &err);
    for (int64_t n = 3; n <= 4; n++) {
        run(s, bound ? ROOM : n, n, NULL);
        run(s, bound ? ROOM : 1, 1,
            "top_k '': for these sizes it takes 1 elements more than its input has");
        run(s, bound ? ROOM : 2, 2, NULL);
    }
    tn_session_release(s);
}

/* The reference reads nothing either. */
static void test_demands__of_the_reference(void **state) {
    (void)state;
    tn_arena arena;
    tn_dims dims;
    tn_error err = TN_ERROR_INIT;
    float x[ROOM] = {5, 1, 2, 9};
    int64_t n = 1, symbols[2] = {ROOM, 0};
    tn_array out[2], in[] = {{.dtype = TN_f32, .rank = 1, .dim = {ROOM}, .data = x},
                             {.dtype = TN_i64, .data = &n}};
    tn_arena_init(&arena, tn_allocator_system());
    const tn_graph *g = make_graph(&arena, &dims, true, &err);
    assert_int_equal(tn_eval_graph(g, in, symbols, out, &arena, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "it takes 1 elements more than its input has"));
    n = 2;
    check(tn_eval_graph(g, in, symbols, out, &arena, &err), &err);
    tn_arena_deinit(&arena);
}

static void run_modes(bool bound) {
    static const tn_compile_mode modes[] = {TN_COMPILE_CC, TN_COMPILE_INTERPRET};
    for (size_t k = 0; k < TN_COUNT(modes); k++) {
        tn_arena arena;
        tn_dims dims;
        tn_model *m, *again;
        tn_error err = TN_ERROR_INIT;
        tn_model_options o = TN_MODEL_OPTIONS_INIT;
        char path[300];
        tn_arena_init(&arena, tn_allocator_system());
        o.mode = modes[k];
        check(tn_model_from_graph(make_graph(&arena, &dims, bound, &err), &o, &m, &err), &err);
        run_all(m, bound);
        snprintf(path, sizeof path, "%s/p.tn", folder);
        check(tn_model_save(m, path, &err), &err);
        check(tn_model_open(path, &o, &again, &err), &err);
        run_all(again, bound);
        tn_model_release(again);
        tn_model_release(m);
        tn_arena_deinit(&arena);
    }
}

static void test_demands__of_sizes_that_inputs_bring(void **state) {
    (void)state;
    run_modes(false);
}

static void test_demands__of_sizes_that_a_run_binds(void **state) {
    (void)state;
    run_modes(true);
}

/* if N counts as enough: the sum of the two greatest, else that of all. */
static tn_graph *make_branches(tn_arena *arena, tn_dims *dims, tn_error *err) {
    tn_dims_init(dims, arena);
    tn_graph *g = tn_graph_new(arena, dims), *sub[2];
    tn_builder b = tn_builder_of(g, err);
    tn_shape shape = {.rank = 1, .dim = {tn_dim_of_symbol(dims, "N")}}, scalar = {0};
    tn_value in[] = {tn_b_input(&b, "enough", TN_bool, &scalar),
                     tn_b_input(&b, "x", TN_f32, &shape)};
    for (int k = 0; k < 2; k++) {
        sub[k] = tn_graph_new_sub(g);
        tn_builder inner = tn_builder_of(sub[k], err);
        tn_value x = tn_b_input(&inner, "x", TN_f32, &shape), best[2] = {x};
        if (k == 0) tn_b_top_k(&inner, x, 0, 2, false, best);
        tn_value sum = tn_b_sum(&inner, best[0], (int[]){0}, 1, false);
        check(tn_b_finish(&inner), err);
        tn_graph_add_output(sub[k], sum, NULL);
    }
    tn_attrs_if attrs = {.then_graph = sub[0], .else_graph = sub[1]};
    tn_value y = tn_b_node(&b, TN_OP_if, in, 2, &attrs);
    check(b.status, err);
    tn_graph_add_output(g, y, "y");
    check(tn_b_finish(&b), err);
    return g;
}

/* A branch that is not taken demands nothing. */
static void test_demands__of_branches(void **state) {
    (void)state;
    tn_arena arena;
    tn_dims dims;
    tn_model *m;
    tn_session *s;
    tn_error err = TN_ERROR_INIT;
    tn_model_options o = TN_MODEL_OPTIONS_INIT;
    float x[] = {5, 1, 9};
    tn_arena_init(&arena, tn_allocator_system());
    o.mode = TN_COMPILE_INTERPRET;
    check(tn_model_from_graph(make_branches(&arena, &dims, &err), &o, &m, &err), &err);
    check(tn_session_create(m, &s, &err), &err);
    for (int64_t size = 1; size <= 3; size++)
        for (int flag = 0; flag < 2; flag++) {
            bool enough = flag;
            tn_buffer in[] = {{.dtype = TN_bool, .data = &enough},
                              {.dtype = TN_f32, .rank = 1, .dim = {size}, .data = x}};
            tn_buffer out = {0};
            tn_status status = tn_session_run(s, in, 2, &out, 1, &err);
            assert_int_equal(status, size == 1 && flag ? TN_INVALID : TN_OK);
            if (status == TN_OK)
                assert_true(*(float *)out.data == (size == 3   ? flag ? 14.0f : 15.0f
                                                   : size == 2 ? 6.0f
                                                               : 5.0f));
        }
    tn_session_release(s);
    tn_model_release(m);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demands__of_the_reference),
        cmocka_unit_test(test_demands__of_sizes_that_inputs_bring),
        cmocka_unit_test(test_demands__of_sizes_that_a_run_binds),
        cmocka_unit_test(test_demands__of_branches),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
