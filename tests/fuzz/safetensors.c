/* Fuzzes the reader of safetensors files; what it accepts can be written again. */
#include "import/safetensors.h"

#include "base/base.h"
#include "fuzz/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    tn_arena arena;
    tn_safetensors file;
} input;

static tn_status count_bytes(void *context, const void *data, size_t size, tn_error *err) {
    (void)data;
    (void)err;
    *(size_t *)context += size;
    return TN_OK;
}

static tn_status copy_all(void *argument, tn_error *err) {
    input *in = argument;
    uint32_t n = in->file.tensors.len;
    tn_import_entry *entries = TN_NEW_N(&in->arena, tn_import_entry, n);
    for (uint32_t i = 0; i < n; i++) {
        const tn_safetensor *t = &in->file.tensors.data[i];
        tn_array a = tn_array_new(&in->arena, t->dtype, t->rank, t->dim);
        tn_safetensor_copy(t, a.data);
        entries[i] = (tn_import_entry){t->name, a};
    }
    size_t written = 0;
    tn_status status = tn_safetensors_write(entries, n, in->file.metadata.data,
                                            in->file.metadata.len, count_bytes, &written, err);
    if (status != TN_OK && status != TN_OUT_OF_MEMORY) abort();
    return TN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_file file = fuzz_file_open(data, size);
    tn_error err = TN_ERROR_INIT;
    input in = {0};
    tn_arena_init(&in.arena, tn_allocator_system());
    in.arena.limit = (size_t)64 << 20;
    if (tn_safetensors_open(file.path, &in.arena, &in.file, &err) == TN_OK) {
        (void)!tn_guard(copy_all, &in, &err);
        tn_safetensors_close(&in.file);
    }
    tn_arena_deinit(&in.arena);
    fuzz_file_close(&file);
    return 0;
}
