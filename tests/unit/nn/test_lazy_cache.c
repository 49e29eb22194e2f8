/* Programs of lazy tensors in the cache on disk. */
#include <dirent.h>
#include <tenon/train.h>

#include "lazy_test.h"
#include "unit/test_folder.h"

enum { ROWS = 4, WIDTH = 6, HIDDEN = 8 };

static tn_tensor *loss_of(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_tensor *h = batch[0];
    for (int i = 0; i < 3; i++) {
        tn_module *block = tn_module_child(m, "%d", i);
        h = tn_block_end(tn_relu(tn_layer_norm(block, "n", tn_linear(block, "l", h, HIDDEN))));
    }
    return tn_cross_entropy(tn_linear(m, "out", h, 3), batch[1]);
}

typedef struct result {
    double loss;
    float weight[HIDDEN * WIDTH];
    uint64_t compiles, cached;
} result;

/* Three steps in a context of its own, as another process would make them. */
static result train(const char *cache, tn_recompute_mode mode) {
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    tn_train_options t = TN_TRAIN_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_context *c;
    tn_train_step *step;
    tn_train_metrics metrics = {0};
    float x[ROWS * WIDTH];
    int32_t y[ROWS] = {0, 1, 2, 1};
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)sin(i * 1.3);
    tn_buffer batch[2] = {{.dtype = TN_f32, .rank = 2, .dim = {ROWS, WIDTH}, .data = x},
                          {.dtype = TN_i32, .rank = 1, .dim = {ROWS}, .data = y}};
    o.compile.threads = 1, o.compile.cache = cache, o.compile.mode = TN_COMPILE_INTERPRET;
    must(tn_context_create(&o, &c, &err), &err);
    must(tn_module_create(c, NULL, &t.module, &err), &err);
    t.loss = loss_of, t.batch = batch, t.batch_count = 2;
    t.recompute.mode = mode;
    must(tn_train_step_compile(&t, &step, &err), &err);
    for (int i = 0; i < 3; i++) must(tn_train_step_run(step, batch, 0.01, &metrics, &err), &err);
    result r = {
        .loss = metrics.loss, .compiles = statistics(c).compiles, .cached = statistics(c).cached};
    read_into(tn_module_find(t.module, "0.l.weight"), r.weight, sizeof r.weight);
    tn_train_step_release(step);
    tn_module_release(t.module);
    tn_context_release(c);
    return r;
}

static void assert_same(const result *a, const result *b) {
    assert_true(a->loss == b->loss);
    assert_memory_equal(a->weight, b->weight, sizeof a->weight);
}

/* The programs in the folder; the last one's path. */
static int programs(char path[600]) {
    DIR *dir = opendir(folder);
    int count = 0;
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        size_t n = strlen(d->d_name);
        if (n < 3 || strcmp(d->d_name + n - 3, ".tn") != 0) continue;
        snprintf(path, 600, "%s/%s", folder, d->d_name);
        count++;
    }
    closedir(dir);
    return count;
}

static void test_lazy_cache__serves_another_context(void **state) {
    (void)state;
    char path[600];
    empty_folder();
    result first = train(folder, TN_RECOMPUTE_NONE), second = train(folder, TN_RECOMPUTE_NONE);
    assert_int_equal(first.cached, 0);
    assert_int_equal(second.compiles, first.compiles);
    assert_int_equal(second.cached, 1);
    assert_int_equal(programs(path), 1);
    assert_same(&first, &second);
    result without = train("/proc/nowhere", TN_RECOMPUTE_NONE);
    assert_int_equal(without.cached, 0);
    assert_same(&first, &without);
}

static void test_lazy_cache__knows_what_is_recomputed(void **state) {
    (void)state;
    char path[600];
    empty_folder();
    result none = train(folder, TN_RECOMPUTE_NONE), full = train(folder, TN_RECOMPUTE_FULL);
    assert_int_equal(full.cached, 0);
    assert_int_equal(programs(path), 2);
    result again = train(folder, TN_RECOMPUTE_FULL);
    assert_int_equal(again.cached, 1);
    assert_same(&none, &full);
    assert_same(&full, &again);
}

static void test_lazy_cache__makes_damaged_programs_again(void **state) {
    (void)state;
    char path[600];
    empty_folder();
    result first = train(folder, TN_RECOMPUTE_NONE);
    assert_int_equal(programs(path), 1);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 200, SEEK_SET), 0);
    for (int i = 0; i < 64; i++) fputc(0x5a, f);
    fclose(f);
    result again = train(folder, TN_RECOMPUTE_NONE), third = train(folder, TN_RECOMPUTE_NONE);
    assert_int_equal(again.cached, 0);
    assert_int_equal(third.cached, 1);
    assert_same(&first, &again);
    assert_same(&first, &third);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lazy_cache__serves_another_context),
        cmocka_unit_test(test_lazy_cache__knows_what_is_recomputed),
        cmocka_unit_test(test_lazy_cache__makes_damaged_programs_again),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
