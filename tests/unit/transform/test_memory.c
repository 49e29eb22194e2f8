/* Running out of memory: every allocation in turn fails, and each run ends in a clean status. */
#include "../test.h"

#include "../graph_test.h"
#include "transform/batch.h"
#include "transform/pass.h"
#include "transform/shapes.h"

typedef struct failing {
    long left; /* allocations until one fails */
    long live; /* blocks that are not freed */
} failing;

static void *failing_resize(void *context, void *ptr, size_t size) {
    failing *f = context;
    if (size == 0) {
        if (ptr) f->live--;
        free(ptr);
        return NULL;
    }
    if (f->left-- <= 0) return NULL;
    if (!ptr) f->live++;
    return realloc(ptr, size);
}

typedef struct work {
    tn_arena arena;
    const char *text;
    bool batch;
} work;

static tn_status do_work(void *argument, tn_error *err) {
    work *w = argument;
    tn_graph *g, *bound;
    const tn_graph *out;
    const tn_binding binding = {"N", 3};
    const tn_transform_options options = {.verify = true};
    tn_arena_alloc(&w->arena, (size_t)1 << 16); /* the next allocation needs a new chunk */
    TN_CHECK(tn_graph_parse(&w->arena, w->text, strlen(w->text), &g, err));
    if (w->batch) {
        const tn_batch_spec spec = {.members = 3};
        tn_batched made;
        tn_arena_alloc(&w->arena, (size_t)1 << 16);
        return tn_batch(g, &spec, &made, err);
    }
    TN_CHECK(tn_transform_bind(g, &binding, 1, &bound, err));
    return tn_transform_standard(bound, &options, &out, err);
}

static void fail_each(const char *text, bool batch, tn_status at_last) {
    for (long n = 0; n < 10000; n++) {
        failing f = {.left = n};
        tn_error err = TN_ERROR_INIT;
        work w = {.text = text, .batch = batch};
        tn_arena_init(&w.arena, (tn_allocator){&f, failing_resize});
        tn_status status = tn_guard(do_work, &w, &err);
        tn_arena_deinit(&w.arena);
        assert_int_equal(f.live, 0);
        if (status == at_last) return;
        assert_int_equal(status, TN_OUT_OF_MEMORY);
    }
    fail_msg("no run got through");
}

static void test_passes__survive_any_failing_allocation(void **state) {
    (void)state;
    tn_str text;
    tn_str_init(&text);
    tn_str_append(&text,
                  "graph (N) {\n %0 = input : f32[N,64]\n %1 = constant {data=all 1} : f32[]\n"
                  " %2 = broadcast %1 : f32[N,64]\n");
    for (int i = 3; i < 300; i++)
        tn_str_appendf(&text, " %%%d = mul %%%d %%2\n", i, i % 3 ? i - 1 : 0);
    tn_str_append(&text, " output %299\n}\n");
    fail_each(tn_str_text(&text), false, TN_OK);
    fail_each(tn_str_text(&text), true, TN_OK);
    tn_str_deinit(&text);
}

static void test_messages__survive_any_failing_allocation(void **state) {
    (void)state;
    fail_each("graph (N) {\n %0 = input : f32[N,64]\n %1 = input : i64[N,64]\n %2 = add %0 %1\n}",
              false, TN_INVALID);
    fail_each("graph {\n %0 = input : f32[2]\n %1 = reshape %0 : f32[1,1,1,1,1,1,1,1,1,1,1,2]\n"
              " output %1\n}",
              true, TN_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes__survive_any_failing_allocation),
        cmocka_unit_test(test_messages__survive_any_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
