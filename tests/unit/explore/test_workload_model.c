/* Workloads from models. The ONNX files are what tools/export_layers.py wrote: without weights, every name a
 * number, so structure is all there is to see. */
#include "unit/explore/rows.h"

#include <unistd.h>

#include "unit/test_folder.h"

#include "explore/workload.h"

static char home[4096];

static tn_status from_model(const char *path, tn_workload out[4], int *count, tn_error *err) {
    assert_int_equal(chdir(home), 0);
    return tn_workload_from_model(path, out, 4, count, err);
}

/* What the hand-written tables have. */
typedef struct expected {
    const char *file, *type;
    int64_t hidden, intermediate, query_heads, key_heads;
} expected;

static void test_model__graphs_have_the_operators_of_the_tables(void **state) {
    (void)state;
    static const expected models[] = {
        {"opt-dynamo", "opt", 48, 192, 12, 12},     {"opt-legacy", "opt", 48, 192, 12, 12},
        {"gpt2-dynamo", "opt", 48, 192, 12, 12},    {"llama-dynamo", "llama", 256, 896, 32, 8},
        {"llama-legacy", "llama", 256, 896, 32, 8}, {"qwen2-dynamo", "llama", 224, 1184, 28, 4},
        {"palm-dynamo", "palm", 256, 1024, 16, 1},  {"palm_fused-legacy", "palm", 256, 1024, 16, 1},
    };
    for (size_t i = 0; i < TN_COUNT(models); i++) {
        const expected *e = &models[i];
        tn_error err = TN_ERROR_INIT;
        char path[128];
        int count;
        tn_workload found[4], table = {.hidden = e->hidden,
                                       .intermediate = e->intermediate,
                                       .query_heads = e->query_heads,
                                       .key_heads = e->key_heads,
                                       .head_dim = e->hidden / e->query_heads};
        snprintf(path, sizeof path, "tests/golden/explore/layers/%s.onnx", e->file);
        assert_ok(from_model(path, found, &count, &err), &err);
        assert_ok(tn__workload_layer(e->type, &table, &err), &err);
        assert_int_equal(count, 1);
        assert_int_equal(found[0].layers, 2);
        assert_string_equal(found[0].name, e->file);
        if (!tn__workload_same(&found[0], &table)) fail_msg("%s: other operators", e->file);
        assert_int_equal(found[0].hidden, e->hidden);
        assert_int_equal(found[0].intermediate, e->intermediate);
        assert_int_equal(found[0].query_heads, e->query_heads);
        assert_int_equal(found[0].key_heads, e->key_heads);
        assert_int_equal(found[0].head_dim, table.head_dim);
        assert_true(found[0].other_count > 3);
    }
}

static void has(const tn_workload *w, const char *name, int64_t n, int64_t k, int experts,
                int active, const char *reads) {
    int i = tn__workload_find(w, name);
    if (i < 0) fail_msg("no operator '%s'", name);
    const tn_operator *o = &w->operators[i];
    assert_int_equal(o->n, n);
    assert_int_equal(o->k, k);
    assert_int_equal(o->experts, experts);
    assert_int_equal(o->active, active);
    uint32_t before = 0;
    char source[TN_OPERATOR_NAME];
    for (int length; sscanf(reads, " %23s%n", source, &length) == 1; reads += length)
        before |= 1u << tn__workload_find(w, source);
    if (w->before[i] != before) fail_msg("'%s' reads others than it should", name);
}

static void test_model__experts_of_a_graph(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload w[4];
    int count;
    assert_ok(from_model("tests/golden/explore/layers/mixtral-dynamo.onnx", w, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(w[0].count, 10);
    has(w, "router", 8, 256, 0, 0, "o");
    has(w, "f1", 896, 256, 8, 2, "o router");
    has(w, "f3", 896, 256, 8, 2, "o router");
    has(w, "f2", 256, 896, 8, 2, "router f1 f3");
    /* Traced: a loop over experts, unrolled, each on the rows that NonZero finds. */
    assert_ok(from_model("tests/golden/explore/layers/mixtral-legacy.onnx", w, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(w[0].count, 10);
    has(w, "f1", 896, 256, 8, 2, "o router");
    has(w, "f2", 256, 896, 8, 2, "router f1 f3");
    assert_ok(from_model("tests/golden/explore/layers/qwen2_moe-dynamo.onnx", w, &count, &err),
              &err);
    assert_int_equal(count, 1);
    assert_int_equal(w[0].count, 14);
    has(w, "f1", 88, 128, 12, 4, "o router");
    has(w, "s1", 352, 128, 0, 0, "o");
    has(w, "s2", 128, 352, 0, 0, "s1 s3");
    has(w, "gate1", 1, 128, 0, 0, "o");
}

static void test_model__fused_and_parallel(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload w[4];
    int count;
    assert_ok(from_model("tests/golden/explore/layers/falcon-dynamo.onnx", w, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(w[0].count, 8);
    has(w, "q", 284, 284, 0, 0, "");
    has(w, "k", 4, 284, 0, 0, "");
    has(w, "v", 4, 284, 0, 0, "");
    has(w, "qk", 0, 4, 0, 0, "q k");
    has(w, "f1", 1136, 284, 0, 0, "");
    assert_int_equal(w[0].operators[tn__workload_find(w, "sv")].group, 71);
}

/* ---- config.json ---------------------------------------------------------------------------- */

static tn_status from_config(const char *text, tn_workload w[4], int *count, tn_error *err) {
    char path[4096 + 16];
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (; *text; text++) fputc(*text == '\'' ? '"' : *text, file);
    fclose(file);
    return from_model(folder, w, count, err);
}

#define LLAMA                                                                                      \
    "'hidden_size':4096,'num_hidden_layers':32,'num_attention_heads':32,"                          \
    "'num_key_value_heads':8,'intermediate_size':14336"

static void test_config__is_the_named_workload(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload w[4], named;
    int count;
    assert_ok(from_config("{'model_type':'llama'," LLAMA "}", w, &count, &err), &err);
    assert_ok(tn_workload_named("llama3-8b", &named, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(w[0].layers, 32);
    assert_true(tn__workload_same(&w[0], &named));
    assert_ok(from_config("{'model_type':'opt','hidden_size':4096,'num_hidden_layers':32,"
                          "'num_attention_heads':32,'ffn_dim':16384}",
                          w, &count, &err),
              &err);
    assert_ok(tn_workload_named("opt-6.7b", &named, &err), &err);
    assert_true(tn__workload_same(&w[0], &named));
}

static void test_config__is_what_the_graph_says(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload config[4], graph[4];
    int count;
    assert_ok(from_config("{'model_type':'falcon','hidden_size':284,'num_hidden_layers':2,"
                          "'num_attention_heads':71}",
                          config, &count, &err),
              &err);
    assert_ok(from_model("tests/golden/explore/layers/falcon-dynamo.onnx", graph, &count, &err),
              &err);
    assert_true(tn__workload_same(config, graph));
}

static void test_config__dense_layers_then_experts(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload w[4];
    int count;
    assert_ok(
        from_config("{'model_type':'deepseek_v3','hidden_size':7168,'num_hidden_layers':61,"
                    "'num_attention_heads':128,'intermediate_size':18432,'n_routed_experts':256,"
                    "'num_experts_per_tok':8,'moe_intermediate_size':2048,'n_shared_experts':1,"
                    "'first_k_dense_replace':3,'q_lora_rank':1536,'kv_lora_rank':512,"
                    "'qk_nope_head_dim':128,'qk_rope_head_dim':64,'v_head_dim':128}",
                    w, &count, &err),
        &err);
    assert_int_equal(count, 2);
    assert_int_equal(w[0].layers, 3);
    assert_int_equal(w[1].layers, 58);
    has(&w[0], "q_b", 24576, 1536, 0, 0, "q_a");
    has(&w[0], "kv_b", 32768, 512, 0, 0, "kv_a");
    has(&w[0], "qk", 0, 192, 0, 0, "q_b kv_a kv_b");
    has(&w[0], "sv", 128, 0, 0, 0, "kv_b qk");
    has(&w[0], "o", 7168, 16384, 0, 0, "sv");
    has(&w[0], "f2", 7168, 18432, 0, 0, "f1 f3");
    has(&w[1], "f1", 2048, 7168, 256, 8, "o router");
    has(&w[1], "s2", 7168, 2048, 0, 0, "s1 s3");
}

static void test_config__sliding_windows(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload w[4];
    int count;
    assert_ok(
        from_config("{'model_type':'mistral','sliding_window':4096," LLAMA "}", w, &count, &err),
        &err);
    assert_int_equal(w[0].operators[tn__workload_find(w, "qk")].window, 4096);
    assert_ok(from_config("{'model_type':'gemma2','sliding_window':512,'head_dim':256," LLAMA "}",
                          w, &count, &err),
              &err);
    assert_int_equal(count, 2);
    assert_int_equal(w[0].layers, 16);
    assert_int_equal(w[0].operators[tn__workload_find(w, "sv")].window, 512);
    assert_int_equal(w[1].operators[tn__workload_find(&w[1], "sv")].window, 0);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void refuses(const char *config, const char *words) {
    tn_error err = TN_ERROR_INIT;
    tn_workload w[4];
    int count = 7;
    assert_int_not_equal(from_config(config, w, &count, &err), TN_OK);
    assert_int_equal(count, 0);
    if (!strstr(err.message, words)) fail_msg("'%s' does not say '%s'", err.message, words);
}

static void test_config__refusals(void **state) {
    (void)state;
    refuses("{'model_type':'mamba'}", "'mamba' is not known; these are: llama, ");
    refuses("{}", "'model_type' is missing");
    refuses("[]", "holds no object");
    refuses("{'model_type':", "line 1");
    refuses("{'model_type':'llama','hidden_size':4096}", "'num_hidden_layers' is missing");
    refuses("{'model_type':'llama','hidden_size':-1}", "no integer from 0");
    refuses("{'model_type':'llama','hidden_size':0}", "is 0");
    refuses("{'model_type':'llama','hidden_size':4096,'num_hidden_layers':1,"
            "'num_attention_heads':12,'num_key_value_heads':5,'intermediate_size':8}",
            "12 query heads do not divide among 5 key heads");
    refuses("{'model_type':'opt','hidden_size':4096,'num_hidden_layers':1,"
            "'num_attention_heads':12,'ffn_dim':8}",
            "4096 does not divide among 12 heads");
    refuses("{'model_type':'mixtral','num_local_experts':2,'num_experts_per_tok':3," LLAMA "}",
            "3 of 2 experts");
}

static void test_model__refusals(void **state) {
    (void)state;
    static const struct {
        const char *path, *words;
    } cases[] = {
        {"tests/golden/explore/none.onnx", "No such file"},
        {"examples/digits/digits.onnx", "no attention"},
        {"tests/golden/explore/layers", "config.json"},
        {"tests/golden/models.npz", "models.npz"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_error err = TN_ERROR_INIT;
        tn_workload w[4];
        int count = 7;
        char text[TN_ERROR_TEXT + TN_ERROR_FRAMES * TN_ERROR_FRAME_TEXT];
        assert_int_not_equal(from_model(cases[i].path, w, &count, &err), TN_OK);
        assert_int_equal(count, 0);
        tn_error_format(&err, text, sizeof text);
        if (!strstr(text, cases[i].words)) fail_msg("'%s' does not say '%s'", text, cases[i].words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__graphs_have_the_operators_of_the_tables),
        cmocka_unit_test(test_model__experts_of_a_graph),
        cmocka_unit_test(test_model__fused_and_parallel),
        cmocka_unit_test(test_config__is_the_named_workload),
        cmocka_unit_test(test_config__is_what_the_graph_says),
        cmocka_unit_test(test_config__dense_layers_then_experts),
        cmocka_unit_test(test_config__sliding_windows),
        cmocka_unit_test(test_config__refusals),
        cmocka_unit_test(test_model__refusals),
    };
    if (!getcwd(home, sizeof home)) return 1;
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
