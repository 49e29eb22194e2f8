/* Abstract modules: models of any size are recorded and looked at without their weights. */
#include <tenon/nn.h>

#include "nn/lazy.h"
#include "unit/nn/lazy_test.h"

static tn_module *abstract_module(tn_context *c) {
    tn_module_options o = TN_MODULE_OPTIONS_INIT;
    tn_module *m;
    tn_error err = TN_ERROR_INIT;
    o.abstract = true;
    must(tn_module_create(c, &o, &m, &err), &err);
    return m;
}

/* ---- Llama 3 8B ----------------------------------------------------------------------------- */

enum { DIM = 4096, LAYERS = 32, HEADS = 32, KV_HEADS = 8, FFN = 14336, VOCABULARY = 128256 };

static tn_tensor *feed_forward(tn_module *m, tn_tensor *x) {
    tn_tensor *gate = tn_silu(tn_linear(m, "w1", x, FFN, .no_bias = true));
    tn_tensor *up = tn_linear(m, "w3", x, FFN, .no_bias = true);
    return tn_linear(m, "w2", tn_mul(gate, up), DIM, .no_bias = true);
}

static tn_tensor *block(tn_module *m, tn_tensor *x) {
    tn_tensor *h = tn_rms_norm(m, "attention_norm", x);
    h = tn_multi_head_attention(
        m, "attention", h, HEADS, .kv_heads = KV_HEADS, .no_bias = true, .causal = true,
        .rotary = {.theta = 500000, .factor = 8, .low = 1, .high = 4, .length = 8192});
    x = tn_add(x, h);
    return tn_add(x,
                  feed_forward(tn_module_child(m, "feed_forward"), tn_rms_norm(m, "ffn_norm", x)));
}

static tn_tensor *llama(tn_module *m, tn_tensor *index) {
    tn_tensor *x = tn_embedding(m, "tok_embeddings", index, VOCABULARY, DIM);
    for (int i = 0; i < LAYERS; i++) x = block(tn_module_child(m, "layers.%d", i), x);
    return tn_linear(m, "output", tn_rms_norm(m, "norm", x), VOCABULARY, .no_bias = true);
}

static void test_abstract__eight_billion_parameters(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = abstract_module(c);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *index = tn_tensor_from(c, TN_i32, TN_SHAPE(1, 16), NULL);
    tn_tensor *y = llama(m, index);
    assert_true(tn_tensor_ok(y));
    assert_int_equal(tn_module_count(m), 291);
    assert_int_equal(tn_module_parameter_elements(m), 8030261248);
    tn_context_stats stats;
    tn_context_statistics(c, &stats);
    assert_int_equal(stats.bytes, 16 * 4);
    tn_arena arena;
    tn_graph *g;
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&arena, tn_allocator_system());
    must(tn__graph_of(&y, 1, &arena, &g, &err), &err);
    must(tn_graph_verify(g, NULL, &err), &err);
    assert_int_equal(g->inputs.len, 292);
    bool found = false;
    for (uint32_t i = 0; i < g->inputs.len; i++)
        found = found || strcmp(tn_graph_value(g, g->inputs.data[i])->name,
                                "layers.31.attention.wk.weight") == 0;
    assert_true(found);
    tn_arena_deinit(&arena);
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

/* ---- what cannot be done with them ---------------------------------------------------------- */

static void expect(tn_tensor *x, const char *part) {
    char text[4096];
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_eval(&x, 1, &err), TN_INVALID);
    tn_error_format(&err, text, sizeof text);
    if (!strstr(text, part)) fail_msg("'%s' is not in: %s", part, text);
}

static void test_abstract__cannot_be_evaluated(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = abstract_module(c);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *y = tn_linear(m, "l", some_numbers(c, TN_f32, TN_SHAPE(2, 3), 1), 4);
    y = tn_dropout(m, "d", tn_batch_norm(m, "b", y), 0.5);
    tn_tensor *w = tn_module_find(m, "l.weight"), *grad;
    tn_grad(y, NULL, &w, 1, &grad);
    assert_int_equal(tn_tensor_dim(grad, 0), 4);
    expect(y, "has a type and no elements");
    expect(grad, "has a type and no elements");
    expect(w, "l.weight");
    EXPECT_NUMBERS(tn_add_scalar(tn_tensor_scalar(c, TN_f32, 1), 1),
                   2); /* does not depend on them */
    tn_tensor *value = some_numbers(c, TN_f32, TN_SHAPE(4, 3), 2);
    double *numbers = numbers_of(value);
    tn_assign(w, value); /* elements from elsewhere, as from a checkpoint */
    expect_numbers(w, numbers, 12, 0);
    free(numbers);
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

static void refuses(tn_context *c, const tn_tensor *x, const char *words) {
    tn_error err = TN_ERROR_INIT;
    assert_false(tn_tensor_ok(x));
    tn_status status = tn_context_error(c, &err);
    must_fail(status, status, &err, words);
    tn_context_clear_error(c);
}

static void test_abstract__sizes_have_a_product(void **state) {
    (void)state;
    const int64_t huge = (int64_t)1 << 31, vast = (int64_t)1 << 40;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = abstract_module(c);
    tn_scope *scope = tn_scope_open(c);
    tn_init zeros = tn_init_zeros();
    refuses(c, tn_module_parameter(m, "p", TN_f32, TN_SHAPE(huge, huge, huge), zeros),
            "the parameter would have 2147483648 × 2147483648 × 2147483648 elements of f32");
    refuses(c, tn_module_buffer(m, "b", TN_f64, TN_SHAPE(vast, vast), zeros), "the buffer would");
    tn_tensor *x = tn_full(c, TN_f32, TN_SHAPE(2, 3, 8), 1);
    refuses(c, tn_multi_head_attention(m, "a", x, vast, .head_features = vast), "heads of");
    tn_error err = TN_ERROR_INIT;
    tn_buffer type = {.dtype = TN_f32, .rank = 3, .dim = {huge, huge, huge}};
    must_fail(tn__tensor_abstract(c, &type, "the batch", &x, &err), TN_INVALID, &err,
              "the batch would have");
    type = (tn_buffer){.dtype = TN_f32, .rank = 2, .dim = {4, (int64_t)1 << 30}};
    err = (tn_error)TN_ERROR_INIT;
    must(tn__tensor_abstract(c, &type, "heads", &x, &err), &err);
    refuses(c, tn_rotary(x, NULL, .theta = 10000), "at most 1048576 are");
    assert_int_equal(tn_module_count(m), 0);
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_release(c);
}

static void test_abstract__graph_of_wrong_tensors(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(2, 3), 1), *none = NULL;
    tn_tensor *wrong = tn_matmul(x, x);
    tn_arena arena;
    tn_graph *g;
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&arena, tn_allocator_system());
    assert_int_equal(tn__graph_of(&none, 1, &arena, &g, &err), TN_INVALID);
    assert_int_equal(tn__graph_of(&wrong, 1, &arena, &g, &err), TN_INVALID);
    tn_context_clear_error(c);
    assert_int_equal(tn__graph_of(&wrong, 1, &arena, &g, &err), TN_INVALID);
    must(tn__graph_of(&x, 1, &arena, &g, &err), &err); /* an input that is the result */
    assert_int_equal(g->outputs.len, 1);
    tn_arena_deinit(&arena);
    tn_scope_close(scope);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_abstract__eight_billion_parameters),
        cmocka_unit_test(test_abstract__cannot_be_evaluated),
        cmocka_unit_test(test_abstract__graph_of_wrong_tensors),
        cmocka_unit_test(test_abstract__sizes_have_a_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
