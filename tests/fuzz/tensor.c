/* Fuzzes the reader of TensorProto files. */
#include "base/base.h"
#include "fuzz/file.h"
#include "fuzz/mutate_onnx.h"
#include "import/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    return mutate_onnx(TENSOR, data, size, most, seed);
}

typedef struct input {
    tn_arena arena;
    const char *path;
} input;

static tn_status read_tensor(void *argument, tn_error *err) {
    input *in = argument;
    const char *name;
    tn_array array;
    TN_CHECK(tn_import_tensor_pb(in->path, &in->arena, &array, &name, err));
    for (int64_t i = 0; i < tn_array_count(&array); i++) (void)tn_array_get(&array, i);
    return TN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_file file = fuzz_file_open(data, size);
    input in = {.path = file.path};
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&in.arena, tn_allocator_system());
    in.arena.limit = (size_t)64 << 20;
    (void)!tn_guard(read_tensor, &in, &err);
    tn_arena_deinit(&in.arena);
    fuzz_file_close(&file);
    return 0;
}
