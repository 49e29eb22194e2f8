/* Transformers recognised from graphs without names, before and after the standard passes. */
#include "../test.h"

#include "../graph_test.h"
#include "ops/compose.h"
#include "transform/pass.h"
#include "transform/structure.h"

enum { VOCAB = 97, WIDTH = 24, FFN = 60 };

/* What the graph to be recognised looks like. */
typedef struct net {
    int heads, kv_heads, head_dim, layers;
    bool fused;  /* queries, keys and values from one projection */
    bool gated;  /* a feed-forward part of two projections in, one out */
    bool tokens; /* from a table; else a float input */
    bool logits; /* a projection to the vocabulary at the end */
} net;

static tn_value weight(tn_builder *b, int rows, int columns) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 2, (int64_t[]){rows, columns});
    float *x = a.data;
    static float next = 0.01f;
    for (int i = 0; i < rows * columns; i++) x[i] = next += 0.001f;
    return tn_b_constant(b, &a);
}

static tn_value project(tn_builder *b, tn_value x, int rows, int columns) {
    return tn_b_matmul(b, x, weight(b, rows, columns), TN_f32);
}

/* [B, S, heads · d] → [B, heads, S, d], repeated to `to` heads. */
static tn_value split_heads(tn_builder *b, tn_value x, int heads, int d, int to) {
    tn_dim batch = tn_b_dim(b, x, 0), length = tn_b_dim(b, x, 1);
    x = tn_b_reshape_to(b, x, 4, (tn_dim[]){batch, length, heads, d});
    x = tn_b_permute(b, x, (int[]){0, 2, 1, 3});
    if (to == heads) return x;
    x = tn_b_unsqueeze(b, x, 2);
    tn_shape wide = {.rank = 5, .dim = {batch, heads, to / heads, length, d}};
    x = tn_b_expand(b, x, &wide);
    return tn_b_reshape_to(b, x, 4, (tn_dim[]){batch, to, length, d});
}

static tn_value attend(tn_builder *b, const net *n, tn_value x) {
    int d = n->head_dim, wide = n->heads * d, narrow = n->kv_heads * d;
    tn_value q, k, v;
    if (n->fused) {
        tn_value all = project(b, x, WIDTH, wide + 2 * narrow);
        q = tn_b_slice_axis(b, all, 2, 0, wide, 1);
        k = tn_b_slice_axis(b, all, 2, wide, narrow, 1);
        v = tn_b_slice_axis(b, all, 2, wide + narrow, narrow, 1);
    } else {
        q = project(b, x, WIDTH, wide);
        k = project(b, x, WIDTH, narrow);
        v = project(b, x, WIDTH, narrow);
    }
    q = split_heads(b, q, n->heads, d, n->heads);
    k = split_heads(b, k, n->kv_heads, d, n->heads);
    v = split_heads(b, v, n->kv_heads, d, n->heads);
    tn_value scores = tn_b_matmul(b, q, tn_b_permute(b, k, (int[]){0, 1, 3, 2}), TN_f32);
    tn_value p = tn_b_softmax(b, tn_b_mul_scalar(b, scores, 0.3), 3);
    tn_value out = tn_b_permute(b, tn_b_matmul(b, p, v, TN_f32), (int[]){0, 2, 1, 3});
    out = tn_b_reshape_to(b, out, 3, (tn_dim[]){tn_b_dim(b, x, 0), tn_b_dim(b, x, 1), wide});
    return tn_b_add(b, x, project(b, out, wide, WIDTH));
}

static tn_value feed_forward(tn_builder *b, const net *n, tn_value x) {
    tn_value inner = tn_b_tanh(b, project(b, x, WIDTH, FFN));
    if (n->gated) inner = tn_b_mul(b, inner, project(b, x, WIDTH, FFN));
    return tn_b_add(b, x, project(b, inner, FFN, WIDTH));
}

static const tn_graph *build(graph_test *t, const net *n) {
    tn_dims *dims = tn_arena_alloc(&t->arena, sizeof *dims);
    tn_dims_init(dims, &t->arena);
    tn_graph *g = tn_graph_new(&t->arena, dims);
    tn_builder b = tn_builder_of(g, &t->err);
    tn_dim batch = tn_dim_of_symbol(dims, "B"), length = tn_dim_of_symbol(dims, "S");
    tn_value x;
    if (n->tokens) {
        tn_shape shape = {.rank = 2, .dim = {batch, length}};
        tn_value ids = tn_b_input(&b, "ids", TN_i64, &shape);
        x = tn_b_gather_axis(&b, weight(&b, VOCAB, WIDTH), ids, 0, TN_INDEX_clamp);
    } else {
        tn_shape shape = {.rank = 3, .dim = {batch, length, WIDTH}};
        x = tn_b_input(&b, "x", TN_f32, &shape);
    }
    for (int i = 0; i < n->layers; i++) x = feed_forward(&b, n, attend(&b, n, x));
    if (n->logits) x = project(&b, x, WIDTH, VOCAB);
    must(t, tn_b_finish(&b));
    tn_graph_add_output(g, x, "y");
    return g;
}

static void check(const net *n) {
    graph_test t;
    graph_test_init(&t);
    const tn_graph *raw = build(&t, n), *simple;
    tn_transform_options options = tn_transform_defaults();
    must(&t, tn_transform_standard(raw, &options, &simple, &t.err));
    for (int i = 0; i < 2; i++) {
        tn_structure s;
        assert_true(tn_structure_find(i ? simple : raw, NULL, &s));
        assert_int_equal(s.layers, n->layers);
        assert_int_equal(s.d_model, WIDTH);
        assert_int_equal(s.heads, n->heads);
        assert_int_equal(s.kv_heads, n->kv_heads);
        assert_int_equal(s.head_dim, n->head_dim);
        assert_int_equal(s.ffn, FFN);
        assert_int_equal(s.vocab, n->tokens || n->logits ? VOCAB : 0);
    }
    graph_test_deinit(&t);
}

static void test_structure__of_an_encoder(void **state) {
    (void)state;
    check(&(net){.heads = 4, .kv_heads = 4, .head_dim = 6, .layers = 3, .tokens = true});
}

static void test_structure__of_a_decoder_with_grouped_keys(void **state) {
    (void)state;
    check(&(net){.heads = 6,
                 .kv_heads = 2,
                 .head_dim = 4,
                 .layers = 2,
                 .gated = true,
                 .tokens = true,
                 .logits = true});
    check(&(net){.heads = 6, .kv_heads = 1, .head_dim = 8, .layers = 1, .tokens = true});
}

static void test_structure__of_fused_projections(void **state) {
    (void)state;
    check(&(net){
        .heads = 4, .kv_heads = 4, .head_dim = 6, .layers = 2, .fused = true, .tokens = true});
    check(&(net){
        .heads = 6, .kv_heads = 2, .head_dim = 4, .layers = 2, .fused = true, .logits = true});
}

static void test_structure__without_a_table(void **state) {
    (void)state;
    check(&(net){.heads = 3, .kv_heads = 3, .head_dim = 8, .layers = 1});
    check(&(net){.heads = 3, .kv_heads = 3, .head_dim = 8, .layers = 1, .logits = true});
}

/* A classifier's softmax, and products of computed values without one, are no attention. */
static void test_structure__is_none_without_attention(void **state) {
    (void)state;
    graph_test t;
    graph_test_init(&t);
    tn_dims *dims = tn_arena_alloc(&t.arena, sizeof *dims);
    tn_dims_init(dims, &t.arena);
    tn_graph *g = tn_graph_new(&t.arena, dims);
    tn_builder b = tn_builder_of(g, &t.err);
    tn_shape shape = {.rank = 2, .dim = {8, WIDTH}};
    tn_value x = tn_b_input(&b, "x", TN_f32, &shape);
    tn_value y = tn_b_matmul(&b, x, tn_b_permute(&b, x, (int[]){1, 0}), TN_f32);
    y = tn_b_matmul(&b, y, x, TN_f32);
    y = tn_b_softmax(&b, project(&b, y, WIDTH, 10), 1);
    must(&t, tn_b_finish(&b));
    tn_graph_add_output(g, y, "y");
    tn_structure s;
    assert_false(tn_structure_find(g, NULL, &s));
    assert_int_equal(s.layers, 0);
    graph_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure__of_an_encoder),
        cmocka_unit_test(test_structure__of_a_decoder_with_grouped_keys),
        cmocka_unit_test(test_structure__of_fused_projections),
        cmocka_unit_test(test_structure__without_a_table),
        cmocka_unit_test(test_structure__is_none_without_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
