/* Fuzzes the readers of NumPy's files: .npy, and .npz where the bytes begin like an archive. */
#include "base/base.h"
#include "fuzz/file.h"
#include "import/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    tn_arena arena;
    const char *path;
    bool archive;
} input;

static tn_status read_all(void *argument, tn_error *err) {
    input *in = argument;
    tn_import_entries entries = {0};
    tn_array array;
    if (in->archive) return tn_import_npz(in->path, &in->arena, &entries, err);
    TN_CHECK(tn_import_npy(in->path, &in->arena, &array, err));
    for (int64_t i = 0; i < tn_array_count(&array); i++) (void)tn_array_get(&array, i);
    return TN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_file file = fuzz_file_open(data, size);
    input in = {.path = file.path, .archive = size > 1 && data[0] == 'P' && data[1] == 'K'};
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&in.arena, tn_allocator_system());
    in.arena.limit = (size_t)64 << 20;
    (void)!tn_guard(read_all, &in, &err);
    tn_arena_deinit(&in.arena);
    fuzz_file_close(&file);
    return 0;
}
