/* Models: sizes, values against plain PyTorch (tools/golden_models.py), configurations, errors. */
#include <math.h>
#include <tenon/models.h>
#include <tenon/train.h>

#include "unit/nn/golden_npz.h"
#include "lazy_test.h"

enum { MAX_NAMED = 64 };

static int load(void **state) {
    (void)state;
    return golden_load("tests/golden/models.npz");
}

static tn_module *module_new(tn_context *c, bool abstract) {
    tn_module_options o = TN_MODULE_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_module *m;
    o.abstract = abstract;
    must(tn_module_create(c, &o, &m, &err), &err);
    return m;
}

static tn_model_config config_of(const char *name) {
    tn_model_config config;
    tn_error err = TN_ERROR_INIT;
    must(tn_model_config_find(name, &config, &err), &err);
    return config;
}

static void set(tn_model_config *config, const char *field, const char *text) {
    tn_error err = TN_ERROR_INIT;
    must(tn_model_config_set(config, field, text, &err), &err);
}

static int trainable(const tn_module *m) {
    tn_module_item item;
    int count = 0;
    for (int i = 0; tn_module_entry(m, i, &item); i++) count += item.trainable;
    return count;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

/* Of torchvision, transformers and torchtitan. */
static const struct {
    const char *name;
    int64_t parameters;
    int tensors;
} sizes[] = {
    {"mlp", 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10, 6},
    {"resnet18", 11689512, 62},
    {"resnet34", 21797672, 110},
    {"resnet50", 25557032, 161},
    {"resnet20_v2", 272282, 61},
    {"gpt2_debugmodel", 2048 * 128 + 256 * 128 + 4 * (12 * 128 * 128 + 13 * 128) + 256, 52},
    {"gpt2", 124439808, 148},
    {"gpt2_medium", 354823168, 292},
    {"gpt2_large", 774030080, 436},
    {"gpt2_xl", 1557611200, 580},
    {"llama3_debugmodel", 6163712, 57},
    {"llama3_8b", 8030261248, 291},
    {"llama3_70b", 70553706496, 723},
    {"deepseek_v3_debugmodel", 33014016, 83},
    {"deepseek_v3_16b", 15706484224, 377},
};

static void test_models__have_the_published_sizes(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(sizes); i++) {
        tn_error err = TN_ERROR_INIT;
        tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
        tn_module *m = module_new(c, true);
        tn_model_config config = config_of(sizes[i].name);
        must(tn_model_declare(m, &config, &err), &err);
        if (tn_module_parameter_elements(m) != sizes[i].parameters ||
            trainable(m) != sizes[i].tensors)
            fail_msg("%s: %lld parameters in %d tensors", sizes[i].name,
                     (long long)tn_module_parameter_elements(m), trainable(m));
        assert_int_equal(statistics(c).peak_bytes, 0);
        assert_string_equal(tn_model_name((int)i), sizes[i].name);
        assert_true(tn_module_training(m));
        tn_module_release(m);
        tn_context_release(c);
    }
    assert_null(tn_model_name(TN_COUNT(sizes)));
    assert_null(tn_model_name(-1));
}

/* The largest sizes that the fields allow are recorded without an overflow. */
static void test_models__may_be_huge(void **state) {
    (void)state;
    for (int i = 0; tn_model_name(i); i++) {
        tn_error err = TN_ERROR_INIT;
        tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
        tn_module *m = module_new(c, true);
        tn_model_config config = config_of(tn_model_name(i));
        const tn_model_field *f;
        for (int k = 0; (f = tn_model_config_field(&config, k)); k++) {
            char text[32];
            snprintf(text, sizeof text, "%.0f", f->most);
            if (strcmp(f->name, "layers") == 0) snprintf(text, sizeof text, "2");
            if (f->kind == TN_MODEL_FIELD_INT) set(&config, f->name, text);
        }
        must(tn_model_declare(m, &config, &err), &err);
        if (tn_module_parameter_elements(m) < 1 << 26 ||
            tn_module_parameter_elements(m) > INT64_C(1) << 60)
            fail_msg("%s: %lld", tn_model_name(i), (long long)tn_module_parameter_elements(m));
        tn_module_release(m);
        tn_context_release(c);
    }
}

/* ---- values --------------------------------------------------------------------------------- */

static const tn_array *find(const char *model, const char *kind, const char *name) {
    char key[256];
    snprintf(key, sizeof key, "%s/%s%s", model, kind, name);
    for (uint32_t i = 0; i < golden.len; i++)
        if (strcmp(golden.data[i].name, key) == 0) return &golden.data[i].array;
    return NULL;
}

static tn_tensor *tensor_of(tn_context *c, const tn_array *a) {
    return tn_tensor_from(c, a->dtype, a->rank, a->dim, a->data);
}

/* Within 1e-5 of the largest magnitude; 1e-6 for what would be 0 but for rounding. */
static void check(const char *model, const char *name, tn_tensor *x, const tn_array *want) {
    int64_t n = want ? tn_array_count(want) : 0;
    float top = 0.1f, *got = malloc((size_t)n * sizeof *got + 1);
    const float *expected = want ? want->data : NULL;
    if (!want) fail_msg("%s: there are no figures of %s", model, name);
    assert_int_equal(tn_tensor_rank(x), want->rank);
    for (int a = 0; a < want->rank; a++) assert_int_equal(tn_tensor_dim(x, a), want->dim[a]);
    read_into(x, got, (size_t)n * sizeof *got);
    for (int64_t i = 0; i < n; i++) top = fmaxf(top, fabsf(expected[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - expected[i]) <= 1e-5f * top))
            fail_msg("%s: %s[%lld] is %.9g, PyTorch's %.9g (largest %g)", model, name, (long long)i,
                     (double)got[i], (double)expected[i], (double)top);
    free(got);
}

/* Gives the parameters and buffers PyTorch's values: by the same names, none more and none less. */
static void set_parameters(const char *model, tn_module *m) {
    tn_module_item item;
    char prefix[64];
    int given = 0, count = 0;
    for (; tn_module_entry(m, count, &item); count++) {
        const tn_array *a = find(model, "p.", item.name);
        if (!a && item.buffer) given++; /* running statistics */
        if (!a && item.buffer) continue;
        if (!a) fail_msg("%s: PyTorch has no parameter %s", model, item.name);
        tn_tensor *value = tensor_of(tn_module_context(m), a);
        tn_assign(item.tensor, value);
        tn_release(value);
    }
    snprintf(prefix, sizeof prefix, "%s/p.", model);
    for (uint32_t i = 0; i < golden.len; i++)
        given += strncmp(golden.data[i].name, prefix, strlen(prefix)) == 0;
    if (given != count) fail_msg("%s: %d tensors, PyTorch has %d", model, count, given);
}

typedef struct lab {
    tn_context *c;
    tn_module *m;
    tn_scope *scope;
    tn_tensor *batch[2];
} lab;

static void lab_init(lab *t, const char *model, const tn_model_config *config) {
    tn_error err = TN_ERROR_INIT;
    t->c = lazy_context(TN_COMPILE_INTERPRET, 1);
    t->m = module_new(t->c, false);
    must(tn_model_declare(t->m, config, &err), &err);
    set_parameters(model, t->m);
    t->scope = tn_scope_open(t->c);
    t->batch[0] = tensor_of(t->c, find(model, "x", ""));
    t->batch[1] = tensor_of(t->c, find(model, "target", ""));
}

static void lab_deinit(lab *t) {
    tn_scope_close(t->scope);
    tn_module_release(t->m);
    assert_int_equal(statistics(t->c).tensors, 0);
    tn_context_release(t->c);
}

static void check_model(const char *model, tn_model_config *config) {
    lab t;
    tn_tensor *x[MAX_NAMED], *grad[MAX_NAMED];
    const char *name[MAX_NAMED];
    tn_module_item item;
    int n = 0;
    lab_init(&t, model, config);
    for (int i = 0; tn_module_entry(t.m, i, &item); i++) {
        if (!item.trainable) continue;
        assert_true(n < MAX_NAMED);
        name[n] = item.name;
        x[n++] = item.tensor;
    }
    tn_tensor *loss = tn_model_loss(config, t.m, t.batch);
    tn_grad(loss, NULL, x, n, grad);
    check(model, "loss", loss, find(model, "loss", ""));
    for (int i = 0; i < n; i++) check(model, name[i], grad[i], find(model, "d.", name[i]));
    for (int i = 0; tn_module_entry(t.m, i, &item); i++)
        if (item.buffer && find(model, "after.", item.name))
            check(model, item.name, item.tensor, find(model, "after.", item.name));
    lab_deinit(&t);
}

/* The loss with other options, or with a parameter at 0, less PyTorch's. */
static double loss_change(const char *model, tn_model_config *config, const char *without) {
    lab t;
    lab_init(&t, model, config);
    for (int l = 0; without && l < 2; l++) {
        char name[64];
        snprintf(name, sizeof name, "layers.%d.%s", l, without);
        tn_tensor *x = tn_module_find(t.m, name);
        tn_assign(x, tn_mul_scalar(x, 0));
    }
    tn_tensor *loss = config->family ? tn_model_loss(config, t.m, t.batch) : NULL;
    double change = item(loss) - (double)*(const float *)find(model, "loss", "")->data;
    lab_deinit(&t);
    return fabs(change);
}

static tn_model_config small_llama3(void) {
    tn_model_config c = config_of("llama3_debugmodel");
    set(&c, "dim", "32");
    set(&c, "layers", "2");
    set(&c, "heads", "4");
    set(&c, "kv_heads", "2");
    set(&c, "ffn", "48");
    set(&c, "vocab", "64");
    set(&c, "rope_length", "32");
    return c;
}

static tn_model_config small_deepseek_v3(void) {
    tn_model_config c = config_of("deepseek_v3_debugmodel");
    static const char *const fields[][2] = {
        {"dim", "32"},     {"layers", "2"},   {"ffn", "40"},       {"heads", "2"},
        {"kv_rank", "12"}, {"nope_dim", "8"}, {"rope_dim", "4"},   {"v_dim", "6"},
        {"experts", "4"},  {"top_k", "2"},    {"expert_ffn", "8"}, {"shared_ffn", "16"},
        {"vocab", "64"}};
    for (size_t i = 0; i < TN_COUNT(fields); i++) set(&c, fields[i][0], fields[i][1]);
    return c;
}

static void test_llama3__equals_pytorch(void **state) {
    (void)state;
    tn_model_config c = small_llama3();
    check_model("llama3", &c);
}

static void test_llama3__differs_without_attention_or_rope(void **state) {
    (void)state;
    tn_model_config c = small_llama3();
    assert_true(loss_change("llama3", &c, NULL) < 1e-5);
    assert_true(loss_change("llama3", &c, "attention.wo.weight") > 1e-3);
    assert_true(loss_change("llama3", &c, "attention.wq.weight") > 1e-3);
    set(&c, "rope_factor", "1"); /* not scaled */
    assert_true(loss_change("llama3", &c, NULL) > 1e-4);
    set(&c, "rope_theta", "1"); /* all pairs turn alike */
    assert_true(loss_change("llama3", &c, NULL) > 1e-3);
}

static void test_deepseek_v3__equals_pytorch(void **state) {
    (void)state;
    tn_model_config c = small_deepseek_v3();
    check_model("deepseek_v3", &c);
}

static void test_deepseek_v3__differs_without_its_parts(void **state) {
    (void)state;
    tn_model_config c = small_deepseek_v3();
    assert_true(loss_change("deepseek_v3", &c, NULL) < 1e-5);
    assert_true(loss_change("deepseek_v3", &c, "attention.wo.weight") > 1e-3);
    set(&c, "rope_theta", "1");
    assert_true(loss_change("deepseek_v3", &c, NULL) > 1e-3);
    set(&c, "rope_theta", "10000");
    set(&c, "normalized", "true");
    assert_true(loss_change("deepseek_v3", &c, NULL) > 1e-3);
}

static void test_gpt2__equals_pytorch(void **state) {
    (void)state;
    tn_model_config c = config_of("gpt2_debugmodel");
    set(&c, "dim", "32");
    set(&c, "layers", "2");
    set(&c, "context", "20");
    set(&c, "vocab", "64");
    check_model("gpt2", &c);
}

static void test_resnet__equals_pytorch(void **state) {
    (void)state;
    tn_model_config c = config_of("resnet18");
    set(&c, "width", "4");
    set(&c, "image", "16");
    set(&c, "classes", "5");
    set(&c, "blocks", "2,1");
    check_model("resnet", &c);
    set(&c, "bottleneck", "true");
    check_model("resnet_bottleneck", &c);
    set(&c, "bottleneck", "false");
    set(&c, "preactivation", "true");
    set(&c, "small_images", "true");
    check_model("resnet_v2", &c);
}

static void test_mlp__equals_pytorch(void **state) {
    (void)state;
    tn_model_config c = config_of("mlp");
    set(&c, "features", "12");
    set(&c, "hidden", "9,7");
    set(&c, "classes", "5");
    check_model("mlp", &c);
}

/* ---- initial values ------------------------------------------------------------------------- */

static void expect_deviation(const tn_module *m, const char *name, double want, double most) {
    tn_tensor *x = tn_module_find(m, name);
    assert_non_null(x);
    int64_t n = tn_tensor_count(x);
    float *value = malloc((size_t)n * sizeof *value);
    double sum = 0, squares = 0, top = 0;
    read_into(x, value, (size_t)n * sizeof *value);
    for (int64_t i = 0; i < n; i++) {
        sum += (double)value[i];
        squares += (double)value[i] * (double)value[i];
        top = fmax(top, fabs((double)value[i]));
    }
    free(value);
    expect_near(sum / (double)n / want, 0, 0.08);
    expect_near(sqrt(squares / (double)n) / want, 1, 0.08);
    if (most > 0) assert_true(top <= most);
}

static void check_initial_values(tn_model_config *config, const char *const late[], int count) {
    tn_error err = TN_ERROR_INIT;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_new(c, false);
    set(config, "dim", "64");
    set(config, "layers", "2");
    set(config, "vocab", "128");
    must(tn_model_declare(m, config, &err), &err);
    expect_deviation(m, "tok_embeddings.weight", 1, 0);
    expect_deviation(m, "layers.1.attention.wq.weight", 0.02, 0);
    /* truncated at 3 σ it is 0.9866 σ */
    expect_deviation(m, "output.weight", 0.9866 / 8, 3.0 / 8 + 1e-6);
    for (int l = 0; l < 2; l++) {
        for (int i = 0; i < count; i++) {
            char name[96];
            snprintf(name, sizeof name, "layers.%d.%s", l, late[i]);
            if (tn_module_find(m, name)) expect_deviation(m, name, 0.02 / sqrt(2 * (l + 1)), 0);
        }
    }
    tn_module_release(m);
    tn_context_release(c);
}

static void test_models__begin_with_torchtitans_values(void **state) {
    static const char *const late[] = {"attention.wo.weight",
                                       "feed_forward.w2.weight",
                                       "feed_forward.w3.weight",
                                       "moe.experts.w2",
                                       "moe.experts.w3",
                                       "moe.shared_experts.w2.weight",
                                       "moe.shared_experts.w3.weight",
                                       "moe.router.gate.weight"};
    (void)state;
    tn_model_config llama3 = config_of("llama3_debugmodel");
    tn_model_config deepseek_v3 = config_of("deepseek_v3_debugmodel");
    set(&llama3, "ffn", "64");
    set(&deepseek_v3, "expert_ffn", "32");
    set(&deepseek_v3, "ffn", "64");
    set(&deepseek_v3, "kv_rank", "32");
    set(&deepseek_v3, "heads", "2");
    check_initial_values(&llama3, late, 3);
    check_initial_values(&deepseek_v3, late, 8);
}

/* ---- training ------------------------------------------------------------------------------- */

static double train(tn_model_config *config, int steps, double *first) {
    enum { ROWS = 2, LENGTH = 8 };
    int32_t x[ROWS * LENGTH], y[ROWS * LENGTH];
    tn_error err = TN_ERROR_INIT;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_train_metrics metrics = {.loss = NAN};
    tn_train_step *step;
    tn_buffer batch[2];
    for (int i = 0; i < ROWS * LENGTH; i++) x[i] = i * 7 % 32, y[i] = (x[i] + 7) % 32;
    tn_model_batch(config, ROWS, LENGTH, batch);
    o.module = module_new(c, false);
    o.loss = tn_model_loss;
    o.context = config;
    o.batch = batch;
    o.batch_count = 2;
    o.clip_norm = 1;
    must(tn_train_step_compile(&o, &step, &err), &err);
    batch[0].data = x;
    batch[1].data = y;
    batch[0].size = batch[1].size = sizeof x;
    for (int i = 0; i < steps; i++) {
        must(tn_train_step_run(step, batch, 0.01, &metrics, &err), &err);
        if (i == 0) *first = metrics.loss;
    }
    tn_train_step_release(step);
    tn_module_release(o.module);
    tn_context_release(c);
    return metrics.loss;
}

/* The largest difference of the losses of so many steps from PyTorch's (tools/golden_models.py: course). */
static double course_change(tn_loss_function *loss, tn_model_config *config, int steps) {
    enum { STEPS = 10, ROWS = 2, LENGTH = 16 };
    int32_t x[ROWS][LENGTH], y[ROWS][LENGTH];
    tn_error err = TN_ERROR_INIT;
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_rate_schedule rate = TN_RATE_SCHEDULE_INIT;
    tn_train_step *step;
    tn_train_metrics metrics;
    tn_buffer batch[2];
    lab t;
    double most = 0;
    const int32_t *tokens = find("llama3", "course.tokens", "")->data;
    const float *want = find("llama3", "course.loss", "")->data;
    lab_init(&t, "llama3", config);
    tn_model_batch(config, ROWS, LENGTH, batch);
    rate.kind = TN_RATE_STABLE_DECAY;
    rate.rate = 8e-4, rate.warmup = 2, rate.total = STEPS, rate.decay_ratio = 0.8;
    o.module = t.m, o.loss = loss, o.context = config;
    o.batch = batch, o.batch_count = 2, o.clip_norm = 1;
    o.optimizer.beta2 = 0.95, o.optimizer.weight_decay = 0.1;
    must(tn_train_step_compile(&o, &step, &err), &err);
    batch[0].data = x, batch[1].data = y;
    batch[0].size = batch[1].size = sizeof x;
    for (int i = 0; i < steps; i++, tokens += ROWS * (LENGTH + 1)) {
        for (int r = 0; r < ROWS; r++) {
            memcpy(x[r], tokens + r * (LENGTH + 1), sizeof x[r]);
            memcpy(y[r], tokens + r * (LENGTH + 1) + 1, sizeof y[r]);
        }
        must(tn_train_step_run(step, batch, tn_rate_at(&rate, i), &metrics, &err), &err);
        most = fmax(most, fabs(metrics.loss - (double)want[i]));
    }
    tn_train_step_release(step);
    lab_deinit(&t);
    return most;
}

static tn_tensor *loss_without_rope(void *context, tn_module *m, tn_tensor *const *batch) {
    tn_llama3_options o = ((tn_model_config *)context)->options.llama3;
    o.rope_theta = 0; /* which the configuration would refuse */
    tn_tensor *logits = tn_reshape(tn_llama3(m, &o, batch[0]), TN_SHAPE(-1, o.vocab));
    return tn_cross_entropy(logits, tn_reshape(batch[1], TN_SHAPE(-1)));
}

static void test_llama3__trains_as_pytorch_does(void **state) {
    (void)state;
    tn_model_config c = small_llama3();
    double same = course_change(tn_model_loss, &c, 10);
    if (!(same < 1e-4)) fail_msg("the losses differ by %g", same);
    double without = course_change(loss_without_rope, &c, 3);
    if (!(without > 3e-3)) fail_msg("without RoPE the losses differ by %g alone", without);
}

static void test_models__learn(void **state) {
    static const char *const names[] = {"llama3_debugmodel", "deepseek_v3_debugmodel",
                                        "gpt2_debugmodel"};
    (void)state;
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        tn_model_config c = i == 0 ? small_llama3() : small_deepseek_v3();
        if (i == 2) c = config_of(names[i]);
        if (i == 2) set(&c, "dropout", "0.1");
        if (i == 1) set(&c, "dense_layers", "0");
        set(&c, "dim", "16");
        set(&c, "layers", "1");
        set(&c, "vocab", "32");
        double first = 0, last = train(&c, 4, &first);
        if (!(first > 3 && first < 5 && last < first - 0.2))
            fail_msg("%s: from %g to %g", names[i], first, last);
    }
}

/* ---- configurations ------------------------------------------------------------------------- */

static void test_config__is_found_by_its_name(void **state) {
    tn_error err = TN_ERROR_INIT;
    tn_model_config c;
    (void)state;
    must_fail(tn_model_config_find("lama3_8b", &c, &err), TN_NOT_FOUND, &err,
              "there is no model 'lama3_8b'; did you mean 'llama3_8b'?; there is mlp, resnet18");
    assert_null(c.family);
    must_fail(tn_model_config_find("", &c, &err), TN_NOT_FOUND, &err, "deepseek_v3_16b");
    must_fail(tn_model_config_check(&c, &err), TN_INVALID, &err, "begin with tn_model_config_find");
    assert_string_equal(
        tn_model_family_name(&(tn_model_config){config_of("llama3_8b").family, {0}}), "llama3");
}

/* Every field of every configuration is written and read back; each configuration is right. */
static void test_config__fields_read_back_what_they_write(void **state) {
    (void)state;
    for (int i = 0; tn_model_name(i); i++) {
        tn_error err = TN_ERROR_INIT;
        tn_model_config c = config_of(tn_model_name(i)), before = c;
        const tn_model_field *f;
        must(tn_model_config_check(&c, &err), &err);
        for (int k = 0; (f = tn_model_config_field(&c, k)); k++) {
            char text[256], again[256];
            assert_true(tn_model_config_get(&c, f->name, text, sizeof text));
            set(&c, f->name, text);
            assert_true(tn_model_config_get(&c, f->name, again, sizeof again));
            assert_string_equal(text, again);
        }
        assert_memory_equal(&c, &before, sizeof c);
    }
}

static void test_config__sets_one_field(void **state) {
    (void)state;
    char text[64], narrow[3];
    tn_model_config c = config_of("resnet18");
    set(&c, "blocks", "3,8,36,3");
    set(&c, "bottleneck", "true");
    assert_int_equal(c.options.resnet.blocks[2], 36);
    assert_int_equal(c.options.resnet.blocks[4], 0);
    assert_true(c.options.resnet.bottleneck);
    assert_true(tn_model_config_get(&c, "blocks", text, sizeof text));
    assert_string_equal(text, "3,8,36,3");
    assert_true(tn_model_config_get(&c, "blocks", narrow, sizeof narrow));
    assert_string_equal(narrow, "3,");
    assert_false(tn_model_config_get(&c, "block", text, sizeof text));
    assert_string_equal(text, "");
    c = config_of("llama3_8b");
    set(&c, "norm_epsilon", "1e-6");
    assert_true(c.options.llama3.norm_epsilon == 1e-6);
    assert_true(tn_model_config_get(&c, "norm_epsilon", text, sizeof text));
    assert_string_equal(text, "1e-06");
}

static void test_config__refuses_what_is_wrong(void **state) {
    static const struct {
        const char *model, *field, *text, *words;
    } cases[] = {
        {"llama3_8b", "layer", "3", "llama3 has no field 'layer'; did you mean 'layers'?"},
        {"llama3_8b", "size", "3", "there is dim, layers, heads, kv_heads"},
        {"llama3_8b", "layers", "0", "layers = '0'; expected a whole number from 1 to 4096"},
        {"llama3_8b", "layers", "-4", "expected a whole number"},
        {"llama3_8b", "layers", "3.5", "expected a whole number"},
        {"llama3_8b", "layers", "", "expected a whole number"},
        {"llama3_8b", "layers", "99999999999999999999", "expected a whole number"},
        {"llama3_8b", "layers", "3,4", "expected a whole number"},
        {"llama3_8b", "rope_theta", "nan", "expected a number from 1 to"},
        {"llama3_8b", "rope_theta", "inf", "expected a number from 1 to"},
        {"llama3_8b", "rope_theta", "1e4x", "expected a number from 1 to"},
        {"resnet18", "bottleneck", "yes", "bottleneck = 'yes'; expected true or false"},
        {"resnet18", "blocks", "1,2,3,4,5,6,7,8,9", "up to 8 whole numbers with commas"},
        {"resnet18", "blocks", "1,,2", "up to 8 whole numbers"},
        {"resnet18", "blocks", "1,0,2", "up to 8 whole numbers"},
        {"resnet18", "blocks", "1,", "up to 8 whole numbers"},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_error err = TN_ERROR_INIT;
        tn_model_config c = config_of(cases[i].model), before = c;
        tn_status status = tn_model_config_set(&c, cases[i].field, cases[i].text, &err);
        must_fail(status, status == TN_NOT_FOUND ? TN_NOT_FOUND : TN_INVALID, &err, cases[i].words);
        assert_memory_equal(&c, &before, sizeof c);
    }
}

/* Fields that are right alone and do not fit each other: told by the check and by the model. */
static void test_config__refuses_what_does_not_fit(void **state) {
    static const struct {
        const char *model, *field, *text, *words;
    } cases[] = {
        {"llama3_debugmodel", "heads", "7", "llama3: heads = 7 does not divide dim = 256"},
        {"llama3_debugmodel", "kv_heads", "3", "llama3: kv_heads = 3 does not divide heads = 16"},
        {"llama3_debugmodel", "head_dim", "15", "head_dim = 15 is odd"},
        {"llama3_debugmodel", "rope_low", "4", "rope_high = 4 is not above rope_low = 4"},
        {"gpt2_debugmodel", "heads", "5", "gpt2: heads = 5 does not divide dim = 128"},
        {"deepseek_v3_debugmodel", "top_k", "9", "deepseek_v3: top_k = 9 of experts = 8"},
        {"deepseek_v3_debugmodel", "rope_dim", "3", "rope_dim = 3 is odd"},
        {"resnet18", "blocks", "", "blocks is empty; say 2,2,2,2"},
    };
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m = module_new(c, true);
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_error err = TN_ERROR_INIT;
        tn_model_config config = config_of(cases[i].model);
        set(&config, cases[i].field, cases[i].text);
        must_fail(tn_model_config_check(&config, &err), TN_INVALID, &err, cases[i].words);
        tn_scope *scope = tn_scope_open(c);
        tn_tensor *x = tn_tensor_from(c, TN_i32, TN_SHAPE(1, 4), NULL);
        assert_false(tn_tensor_ok(tn_model_loss(&config, m, (tn_tensor *[]){x, x})));
        must_fail(tn_context_error(c, &err), TN_INVALID, &err, cases[i].words);
        tn_context_clear_error(c);
        tn_scope_close(scope);
    }
    assert_int_equal(tn_module_count(m), 0);
    tn_module_release(m);
    tn_context_release(c);
}

static void expect_refused(tn_model_config *config, tn_tensor *x, const char *words) {
    tn_error err = TN_ERROR_INIT;
    tn_context *c = tn_tensor_context(x);
    tn_module *m = module_new(c, true);
    assert_false(tn_tensor_ok(tn_model_logits(m, config, x)));
    must_fail(tn_context_error(c, &err), TN_INVALID, &err, words);
    tn_context_clear_error(c);
    tn_module_release(m);
}

static void test_models__refuse_wrong_inputs(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_model_config gpt2 = config_of("gpt2_debugmodel"), llama3 = config_of("llama3_debugmodel");
    tn_model_config mlp = config_of("mlp"), resnet = config_of("resnet18");
    expect_refused(&gpt2, tn_tensor_from(c, TN_i32, TN_SHAPE(1, 257), NULL),
                   "257 tokens in a row; this model has 256 positions");
    expect_refused(&llama3, tn_tensor_from(c, TN_i32, TN_SHAPE(5), NULL),
                   "llama3: the input has 1 axes; expected 2: rows, length");
    expect_refused(&llama3, tn_tensor_from(c, TN_f32, TN_SHAPE(1, 5), NULL), "f32");
    expect_refused(&mlp, tn_tensor_from(c, TN_f32, TN_SHAPE(3, 783), NULL), "783");
    expect_refused(&mlp, tn_tensor_from(c, TN_f32, TN_SCALAR_SHAPE, NULL), "the rows first");
    expect_refused(&resnet, tn_tensor_from(c, TN_f32, TN_SHAPE(3, 5), NULL), "conv1");
    tn_scope_close(scope);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models__have_the_published_sizes),
        cmocka_unit_test(test_models__may_be_huge),
        cmocka_unit_test(test_llama3__equals_pytorch),
        cmocka_unit_test(test_llama3__differs_without_attention_or_rope),
        cmocka_unit_test(test_deepseek_v3__equals_pytorch),
        cmocka_unit_test(test_deepseek_v3__differs_without_its_parts),
        cmocka_unit_test(test_gpt2__equals_pytorch),
        cmocka_unit_test(test_resnet__equals_pytorch),
        cmocka_unit_test(test_mlp__equals_pytorch),
        cmocka_unit_test(test_models__begin_with_torchtitans_values),
        cmocka_unit_test(test_llama3__trains_as_pytorch_does),
        cmocka_unit_test(test_models__learn),
        cmocka_unit_test(test_config__is_found_by_its_name),
        cmocka_unit_test(test_config__fields_read_back_what_they_write),
        cmocka_unit_test(test_config__sets_one_field),
        cmocka_unit_test(test_config__refuses_what_is_wrong),
        cmocka_unit_test(test_config__refuses_what_does_not_fit),
        cmocka_unit_test(test_models__refuse_wrong_inputs),
    };
    return cmocka_run_group_tests(tests, load, golden_unload);
}
