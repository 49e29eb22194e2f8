/* Workloads: the artifact's files, the order of operators, products and memory of the phases, refusals. */
#include "unit/explore/rows.h"
#include <unistd.h>

#include "unit/test_folder.h"

#include "explore/workload.h"

#define SHAPE                                                                                      \
    "{'type':'llama','layer_num':32,'hidden_dim':4096,'intermediate_dim':14336,'q_head_num':32,"   \
    "'kv_head_num':8}"
#define GRAPH                                                                                      \
    "{'node':{'q':6,'k':7,'v':8,'qk':5,'sv':4,'o':3,'f1':2,'f2':1,'f3':9},"                        \
    "'edge':[[6,5],[7,5],[5,4],[8,4],[4,3],[3,2],[2,1],[3,9],[9,1]]}"

/* Writes `text` with " for '. */
static void write_file(const char *name, const char *text) {
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    for (; *text; text++) fputc(*text == '\'' ? '"' : *text, file);
    fclose(file);
}

static tn_status from_files(const char *shape, const char *graph, tn_workload *w, tn_error *err) {
    assert_int_equal(chdir(folder), 0);
    write_file("shape.json", shape);
    if (graph) write_file("graph.json", graph);
    return tn_workload_from_shape("shape.json", graph ? "graph.json" : NULL, w, err);
}

static void same_layer(const tn_workload *a, const tn_workload *b) {
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++) {
        int j = tn__workload_find(b, a->operators[i].name);
        assert_true(j >= 0);
        assert_memory_equal(&a->operators[i], &b->operators[j], sizeof a->operators[i]);
        for (int x = 0; x < a->count; x++)
            if (a->before[i] >> x & 1)
                assert_true(b->before[j] >> tn__workload_find(b, a->operators[x].name) & 1);
    }
}

static void test_workload__files_are_the_named_model(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload file, typed, named;
    assert_ok(from_files(SHAPE, GRAPH, &file, &err), &err);
    assert_ok(from_files(SHAPE, NULL, &typed, &err), &err);
    assert_ok(tn_workload_named("llama3-8b", &named, &err), &err);
    same_layer(&file, &named);
    same_layer(&typed, &named);
    for (int i = 0; i < file.count; i++) assert_true(file.before[i] < 1u << i);
}

static void test_workload__written_graph_is_read_back(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload moe, back;
    assert_ok(tn_workload_named("llama3-8b", &moe, &err), &err);
    for (int i = 0; i < moe.count; i++) {
        tn_operator *o = &moe.operators[i];
        if (o->name[0] == 'f') {
            o->kind = TN_OPERATOR_EXPERTS;
            o->experts = 8;
            o->active = 2;
        }
        if (o->heads) o->window = 512;
    }
    json_t *graph = tn__workload_graph_json(&moe);
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(json_dump_file(graph, "graph.json", 0), 0);
    json_decref(graph);
    write_file("shape.json", SHAPE);
    assert_ok(tn_workload_from_shape("shape.json", "graph.json", &back, &err), &err);
    same_layer(&moe, &back);
}

static void test_workload__products_of_phases(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_workload w;
    tn_scenario s = {
        .batch = 4, .prompt = 100, .generate = 28, .context_limit = 2048, .element_bytes = 2};
    assert_ok(tn_workload_named("llama3-8b", &w, &err), &err);
    tn_product p = tn_workload_product(&w, tn__workload_find(&w, "qk"), &s, tn_phase_decode(&s));
    assert_true(p.batch == 32 && p.m == 4 && p.n == 128 && p.k == 128);
    p = tn_workload_product(&w, tn__workload_find(&w, "sv"), &s, tn_phase_prefill(&s));
    assert_true(p.batch == 32 && p.m == 400 && p.n == 128 && p.k == 100);
    p = tn_workload_product(&w, tn__workload_find(&w, "k"), &s, tn_phase_prefill(&s));
    assert_true(p.batch == 1 && p.m == 400 && p.n == 1024 && p.k == 4096);
    double bytes = 0;
    for (int i = 0; i < w.count; i++) bytes += tn_workload_bytes(&w, i, &s);
    assert_true(bytes == 14336.0 * 1048576); /* the artifact's total of LLaMA at batch 4 */
}

static void test_workload__experts_are_those_that_tokens_meet(void **state) {
    (void)state;
    tn_workload w = {.layers = 1, .count = 1};
    tn_scenario s = {
        .batch = 1, .prompt = 1000, .generate = 1, .context_limit = 2048, .element_bytes = 2};
    w.operators[0] =
        (tn_operator){.kind = TN_OPERATOR_EXPERTS, .n = 10, .k = 20, .experts = 8, .active = 2};
    tn_product one = tn_workload_product(&w, 0, &s, tn_phase_decode(&s));
    assert_true(one.batch == 2 && one.m == 1);
    tn_product many = tn_workload_product(&w, 0, &s, tn_phase_prefill(&s));
    assert_true(many.batch == 8 && many.m == 250);
    assert_true(tn_workload_bytes(&w, 0, &s) == 8 * 10 * 20 * 2);
}

static const struct {
    const char *shape, *graph, *message;
} refusals[] = {
    {"{", NULL, "shape.json: line 1, column 1: string or '}' expected near end of file"},
    {"[]", NULL, "shape.json: the file holds no object"},
    {"{'type':'llama'}", NULL, "shape.json: 'layer_num' is missing"},
    {"{'type':'gru','layer_num':1,'hidden_dim':8,'intermediate_dim':8,'q_head_num':2,'kv_head_num':"
     "1}",
     NULL, "'gru' is no type of layer: opt, llama and palm are"},
    {"{'type':'opt','layer_num':-1}", NULL, "shape.json: 'layer_num' is no integer from 1 to 2^24"},
    {"{'type':'opt','layer_num':1,'hidden_dim':8,'intermediate_dim':8,'q_head_num':4,'kv_head_num':"
     "3}",
     NULL, "shape.json: 4 query heads do not divide among 3 key heads"},
    {"{'type':'opt','layer_num':1,'hidden_dim':9,'intermediate_dim':8,'q_head_num':4,'kv_head_num':"
     "4}",
     NULL,
     "shape.json: hidden_dim 9 does not divide among 4 query heads; 'head_dim' may say their "
     "width"},
    {SHAPE, "{'node':{'q':1},'edge':[]}",
     "graph.json: operator 'qk' is missing; qk, sv, k and v are required"},
    {SHAPE, "{'node':{'q':1,'w':2},'edge':[]}",
     "graph.json: operator 'w' is not one of q k v qk sv o f1 f2 f3, and 'operator' does not say "
     "its "
     "size"},
    {SHAPE, "{'node':{'q':1,'k':1},'edge':[]}", "graph.json: 'q' and 'k' have the same id 1"},
    {SHAPE, "{'node':{'k':1,'v':2,'qk':3,'sv':4},'edge':[[1,3],[3,4],[4,3]]}",
     "the operators qk sv wait for each other in a cycle"},
    {SHAPE, "{'node':{'k':1,'v':2,'qk':3,'sv':4},'edge':[[1,9]]}",
     "graph.json: edge 0: no node has id 9"},
    {SHAPE, "{'node':{'k':1,'v':2,'qk':3,'sv':4},'edge':[[1,1]]}",
     "graph.json: edge 0: 'k' reads itself"},
    {SHAPE, "{'node':{'k':1},'edge':{}}",
     "graph.json: operator 'qk' is missing; qk, sv, k and v are "
     "required"},
    {SHAPE,
     "{'node':{'x':1},'operator':{'x':{'kind':'experts','n':1,'k':1,'experts':2,'active':3}}}",
     "graph.json: operator 'x': 3 of 2 experts"},
};

static void test_workload__refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        tn_error err = TN_ERROR_INIT;
        tn_workload w;
        assert_int_equal(from_files(refusals[i].shape, refusals[i].graph, &w, &err), TN_INVALID);
        assert_string_equal(err.message, refusals[i].message);
        assert_int_equal(w.count, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workload__files_are_the_named_model),
        cmocka_unit_test(test_workload__written_graph_is_read_back),
        cmocka_unit_test(test_workload__products_of_phases),
        cmocka_unit_test(test_workload__experts_are_those_that_tokens_meet),
        cmocka_unit_test(test_workload__refusals),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
