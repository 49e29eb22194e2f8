/* The n-th allocation fails: reading models and arrays, and writing them, ends in
 * TN_OUT_OF_MEMORY or is done. What would be lost on the way out, LeakSanitizer finds. */
#include "unit/each_allocation.h"
#include "unit/test_folder.h"

#include "import/safetensors.h"

static char target[300];

/* ---- ONNX ----------------------------------------------------------------------------------- */

static tn_status import_model(void *context, tn_error *err) {
    const char *path = context;
    for (int weights = 0; weights < 2; weights++) {
        tn_import_options options = {.weights = weights != 0};
        tn_arena arena;
        tn_import import;
        tn_arena_init(&arena, tn_allocator_system());
        tn_status status = tn_import_onnx(path, &options, &arena, &import, err);
        if (status == TN_OK) tn_import_close(&import);
        tn_arena_deinit(&arena);
        TN_CHECK(status);
    }
    return TN_OK;
}

/* External data, functions, control flow, sequences, and inputs whose values are asked for. */
static void test_onnx__ends_cleanly_without_memory(void **state) {
    static const char *const models[] = {
        "tests/golden/onnx/storage.onnx",       "tests/golden/onnx/control.onnx",
        "tests/fuzz/corpus/onnx/function.onnx", "tests/fuzz/corpus/onnx/if.onnx",
        "tests/fuzz/corpus/onnx/loop.onnx",     "tests/fuzz/corpus/onnx/scan.onnx",
        "tests/fuzz/corpus/onnx/sequence.onnx", "tests/fuzz/corpus/onnx/values.onnx",
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(models); i++)
        fail_each_allocation(&(each_allocation){.what = models[i],
                                                .run = import_model,
                                                .context = (void *)(uintptr_t)models[i],
                                                .step = 7});
}

static bool is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

static void must_import(const char *path) {
    tn_error err = TN_ERROR_INIT;
    char copy[300];
    snprintf(copy, sizeof copy, "%s", path);
    check(import_model(copy, &err), &err);
}

static tn_status save_model(void *context, tn_error *err) {
    static const tn_import_options weights = {.weights = true};
    tn_arena arena;
    tn_import import;
    tn_arena_init(&arena, tn_allocator_system());
    tn_status status = tn_import_onnx(context, &weights, &arena, &import, err);
    if (status == TN_OK) {
        const void *value[64] = {NULL};
        for (uint32_t i = 0; i < import.weights.len && i < TN_COUNT(value); i++)
            value[i] = import.weights.data[i].array.data;
        status = tn_import_save_onnx(&import, value, target, err);
        tn_import_close(&import);
    }
    tn_arena_deinit(&arena);
    return status;
}

/* The file is whole or not there. */
static void after_save(void *context, tn_status status) {
    (void)context;
    if (status == TN_OK) assert_true(is_there(target));
    if (is_there(target)) must_import(target);
    empty_folder();
}

static void test_onnx__saves_whole_files_or_none(void **state) {
    static char path[] = "tests/golden/onnx/storage.onnx";
    (void)state;
    snprintf(target, sizeof target, "%s/saved.onnx", folder);
    fail_each_allocation(&(each_allocation){
        .what = "saving a model", .run = save_model, .after = after_save, .context = path});
}

/* ---- arrays --------------------------------------------------------------------------------- */

static tn_status read_array(void *context, tn_error *err) {
    const char *path = context, *name;
    tn_import_entries entries = {0};
    tn_array array;
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    tn_status status = strstr(path, ".npz") ? tn_import_npz(path, &arena, &entries, err)
                       : strstr(path, ".npy")
                           ? tn_import_npy(path, &arena, &array, err)
                           : tn_import_tensor_pb(path, &arena, &array, &name, err);
    tn_arena_deinit(&arena);
    return status;
}

static tn_status count_bytes(void *context, const void *data, size_t size, tn_error *err) {
    (void)data;
    (void)err;
    *(size_t *)context += size;
    return TN_OK;
}

static tn_status copy_safetensors(void *context, tn_error *err) {
    tn_arena arena;
    tn_safetensors file;
    size_t written = 0;
    tn_arena_init(&arena, tn_allocator_system());
    tn_status status = tn_safetensors_open(context, &arena, &file, err);
    if (status == TN_OK) {
        tn_import_entry entry[16];
        uint32_t n = TN_MIN(file.tensors.len, TN_COUNT(entry));
        for (uint32_t i = 0; i < n; i++) {
            const tn_safetensor *t = &file.tensors.data[i];
            entry[i] = (tn_import_entry){t->name, {.dtype = t->dtype, .rank = t->rank}};
            memcpy(entry[i].array.dim, t->dim, sizeof t->dim);
            entry[i].array.data = (void *)(uintptr_t)t->data;
        }
        status = tn_safetensors_write(entry, n, file.metadata.data, file.metadata.len, count_bytes,
                                      &written, err);
        tn_safetensors_close(&file);
    }
    tn_arena_deinit(&arena);
    return status;
}

static void test_arrays__end_cleanly_without_memory(void **state) {
    static const char *const files[] = {
        "tests/fuzz/corpus/npy/0.npy",
        "tests/fuzz/corpus/npy/a.npz",
        "tests/fuzz/corpus/npy/b.npz",
        "tests/fuzz/corpus/tensor/not_2d.pb",
        "tests/fuzz/corpus/tensor/quantizelinear_int4.pb",
    };
    static char tensors[] = "tests/fuzz/corpus/safetensors/several.safetensors";
    (void)state;
    for (size_t i = 0; i < TN_COUNT(files); i++)
        fail_each_allocation(&(each_allocation){
            .what = files[i], .run = read_array, .context = (void *)(uintptr_t)files[i]});
    fail_each_allocation(
        &(each_allocation){.what = tensors, .run = copy_safetensors, .context = tensors});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_onnx__ends_cleanly_without_memory),
        cmocka_unit_test(test_onnx__saves_whole_files_or_none),
        cmocka_unit_test(test_arrays__end_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
