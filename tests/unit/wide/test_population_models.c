/* The models of tenon/models.h as members, at small sizes: loss, gradients and buffers of three members are
 * those of three modules alone, and a member that is NaN is alone with that. */
#include <tenon/models.h>

#include "base/base.h"
#include "unit/wide/population_lab.h"

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

/* The loss, and gradients of parameters that are spread over the model. */
static void gradients(void *config, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    tn_tensor *all[256], *some[PARAMETERS];
    tn_module_item part;
    int n = 0;
    y[0] = tn_model_loss(config, m, x);
    for (int i = 0; tn_module_entry(m, i, &part); i++)
        if (part.trainable && n < 256) all[n++] = part.tensor;
    assert_true(n >= 6);
    int count = TN_MIN(n, PARAMETERS - 1);
    for (int i = 0; i < count; i++) some[i] = all[i * n / count];
    tn_grad(y[0], NULL, some, count, y + 1);
}

static int results_of(tn_context *c, tn_model_config *config) {
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

/* Member 1's parameters become NaN: the others' results are the same bits. */
static void check_isolation(lab *l, tn_population_call call) {
    tn_tensor *before[PARAMETERS], *after[PARAMETERS];
    tn_error err = TN_ERROR_INIT;
    tn_module_item part;
    tn_population_apply(l->p, &call, before);
    must(tn_eval(before, call.y_count, &err), &err);
    for (int i = 0; tn_module_entry(l->alone[1], i, &part); i++)
        if (part.trainable) tn_assign(part.tensor, tn_mul_scalar(part.tensor, (double)NAN));
    for (int k = 0; k < LAB_MEMBERS; k++) must(tn_population_set(l->p, k, l->alone[k], &err), &err);
    tn_population_apply(l->p, &call, after);
    must(tn_eval(after, call.y_count, &err), &err);
    assert_true(isnan(item(lab_row(after[0], 1))));
    for (int i = 0; i < call.y_count; i++)
        for (int k = 0; k < LAB_MEMBERS; k += 2)
            lab_same("a result", k, lab_row(after[i], k), lab_row(before[i], k), 0);
}

static void check_model(size_t i) {
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_model_config config = config_of(i);
    tn_tensor *x[2];
    tn_scope *scope = tn_scope_open(l.c);
    lab_case = models[i].model;
    tn_error err = TN_ERROR_INIT;
    if (i % 2) must(tn_model_declare(tn_population_module(l.p), &config, &err), &err);
    make_batch(l.c, &config, x);
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = gradients, call.context = &config, call.x = x, call.x_count = 2;
    call.y_count = results_of(l.c, &config);
    lab_compare(&l, call, 1e-5);
    check_isolation(&l, call);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_models__equal_modules_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(models); i++) check_model(i);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models__equal_modules_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
