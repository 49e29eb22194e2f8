/* The models of tenon/models.h as members, at small sizes: loss, gradients and buffers of three members are
 * those of three modules alone, and a member that is NaN is alone with that. */
#include <tenon/models.h>

#include "base/base.h"
#include "unit/wide/compiled_lab.h"

enum { ROWS = 2, LENGTH = 6, PARAMETERS = 24 };

static const struct {
    const char *model;
    const char *fields[16][2];
} models[] = {
    {"mlp", {{"features", "12"}, {"hidden", "8,6"}, {"classes", "5"}}},
    {"resnet20_v2",
     {{"blocks", "1,1"}, {"width", "3"}, {"image", "8"}, {"channels", "2"}, {"classes", "4"}}},
    {"resnet18",
     {{"blocks", "1,1"}, {"width", "3"}, {"image", "16"}, {"channels", "2"}, {"classes", "4"}}},
    {"gpt2_debugmodel",
     {{"dim", "8"},
      {"layers", "2"},
      {"heads", "2"},
      {"vocab", "11"},
      {"context", "8"},
      {"dropout", "0.1"}}},
    {"llama3_debugmodel",
     {{"dim", "8"},
      {"layers", "2"},
      {"heads", "4"},
      {"kv_heads", "2"},
      {"ffn", "12"},
      {"vocab", "11"},
      {"rope_length", "8"}}},
    {"deepseek_v3_debugmodel",
     {{"dim", "8"},
      {"layers", "2"},
      {"ffn", "10"},
      {"heads", "2"},
      {"kv_rank", "6"},
      {"nope_dim", "4"},
      {"rope_dim", "2"},
      {"v_dim", "3"},
      {"experts", "4"},
      {"top_k", "2"},
      {"expert_ffn", "4"},
      {"shared_ffn", "6"},
      {"vocab", "11"}}},
};

static tn_model_config config_of(size_t i) {
    tn_model_config config;
    tn_error err = TN_ERROR_INIT;
    must(tn_model_config_find(models[i].model, &config, &err), &err);
    for (int f = 0; models[i].fields[f][0]; f++)
        must(tn_model_config_set(&config, models[i].fields[f][0], models[i].fields[f][1], &err),
             &err);
    return config;
}

/* The loss, and gradients of parameters that are spread over the model, which has a name that its parameters
 * begin with; how many both are. */
static int results_of(tn_model_config *config, const char *name, tn_module *m, tn_tensor *const *x,
                      tn_tensor **y) {
    tn_tensor *all[256], *some[PARAMETERS];
    tn_module_item part;
    size_t length = strlen(name);
    int n = 0;
    y[0] = tn_model_loss(config, tn_module_child(m, "%s", name), x);
    for (int i = 0; tn_module_entry(m, i, &part); i++)
        if (part.trainable && strncmp(part.name, name, length) == 0 && part.name[length] == '.')
            all[n++] = part.tensor;
    assert_in_range(n, 6, TN_COUNT(all));
    int count = TN_MIN(n, PARAMETERS - 1);
    for (int i = 0; i < count; i++) some[i] = all[i * n / count];
    tn_grad(y[0], NULL, some, count, y + 1);
    return 1 + count;
}

static int result_count(tn_context *c, const tn_model_config *config) {
    tn_module *m;
    tn_module_options o = TN_MODULE_OPTIONS_INIT;
    tn_module_item part;
    tn_error err = TN_ERROR_INIT;
    int n = 0;
    o.abstract = true;
    must(tn_module_create(c, &o, &m, &err), &err);
    must(tn_model_declare(m, config, &err), &err);
    for (int i = 0; tn_module_entry(m, i, &part); i++) n += part.trainable;
    tn_module_release(m);
    return 1 + TN_MIN(n, PARAMETERS - 1);
}

/* Member-wise different batches. */
static void make_batch(tn_context *c, const tn_model_config *config, tn_tensor **x) {
    tn_buffer type[2];
    tn_model_batch(config, ROWS, LENGTH, type);
    for (int i = 0; i < 2; i++) {
        int64_t dim[TN_MAX_RANK] = {LAB_MEMBERS}, count = LAB_MEMBERS;
        for (int a = 0; a < type[i].rank; a++) count *= dim[a + 1] = type[i].dim[a];
        if (type[i].dtype == TN_f32) {
            x[i] = some_numbers(c, TN_f32, type[i].rank + 1, dim, 3);
            continue;
        }
        uint64_t seed = 7 + (uint64_t)i;
        int32_t *data = malloc((size_t)count * sizeof *data);
        for (int64_t k = 0; k < count; k++) data[k] = (int32_t)(test_random(&seed) % 4);
        x[i] = tn_tensor_from(c, TN_i32, type[i].rank + 1, dim, data);
        free(data);
    }
}

typedef struct one_model {
    tn_model_config config;
    const char *name;
} one_model;

static void gradients(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    one_model *k = context;
    results_of(&k->config, k->name, m, x, y);
}

static void check_model(size_t i) {
    lab l = lab_open(TN_COMPILE_INTERPRET);
    one_model k = {config_of(i), models[i].model};
    tn_tensor *x[2];
    const char *names[PARAMETERS];
    tn_scope *scope = tn_scope_open(l.c);
    lab_case = k.name;
    for (int n = 0; n < PARAMETERS; n++) names[n] = n ? "a gradient" : "the loss";
    tn_error err = TN_ERROR_INIT;
    tn_module *declared = tn_module_child(tn_population_module(l.p), "%s", k.name);
    if (i % 2) must(tn_model_declare(declared, &k.config, &err), &err);
    make_batch(l.c, &k.config, x);
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = gradients, call.context = &k, call.x = x, call.x_count = 2;
    call.y_count = result_count(l.c, &k.config);
    lab_compare(&l, call, 1e-5);
    lab_check_isolation(&l, call, names);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_models__equal_modules_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(models); i++) check_model(i);
}

/* ---- compiled, all of them in one program --------------------------------------------------- */

static void all_models(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    tn_model_config *configs = context;
    for (size_t i = 0; i < TN_COUNT(models); i++)
        y += results_of(&configs[i], models[i].model, m, x + 2 * i, y);
}

static tn_population_call call_of_all(tn_context *c, tn_model_config *configs, tn_tensor **x,
                                      const char **names) {
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = all_models, call.context = configs;
    call.x = x, call.x_count = 2 * (int)TN_COUNT(models);
    for (size_t i = 0; i < TN_COUNT(models); i++) {
        int results = result_count(c, &configs[i]);
        make_batch(c, &configs[i], x + 2 * i);
        for (int n = 0; n < results; n++) names[call.y_count++] = models[i].model;
    }
    return call;
}

static void test_models__compiled(void **state) {
    static const tn_compile_mode modes[] = {TN_COMPILE_INTERPRET, TN_COMPILE_CC};
    (void)state;
    if (!lab_quick_compiler()) skip();
    lab l[2];
    tn_scope *scope[2];
    tn_population_call call[2];
    tn_tensor *x[2][2 * TN_COUNT(models)];
    tn_model_config configs[TN_COUNT(models)];
    const char *names[PARAMETERS * TN_COUNT(models)];
    lab_case = "compiled";
    for (size_t i = 0; i < TN_COUNT(models); i++) configs[i] = config_of(i);
    for (int i = 0; i < 2; i++) {
        l[i] = lab_open(modes[i]);
        scope[i] = tn_scope_open(l[i].c);
        call[i] = call_of_all(l[i].c, configs, x[i], names);
    }
    lab_check_compiled(l, call, names);
    for (int i = 0; i < 2; i++) {
        tn_scope_close(scope[i]);
        lab_close(&l[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models__equal_modules_alone),
        cmocka_unit_test(test_models__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
