/* Fuzzes models with external data. Two bytes with a length, so many bytes of data files, the model: in a folder of its own there are weights.bin, part/more.bin, an empty file, a folder, a
 * second name of a file, symbolic links, and a file outside. Nothing of the latter may be read. */
#include "base/base.h"
#include "fuzz/folder.h"
#include "fuzz/mutate_onnx.h"
#include "import/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that no input holds by chance, outside the folder. */
static const char secret[] = "0f7c5d2a outside the model's folder e91b";

static char model[128];

static void make_folder(void) {
    if (!fuzz_folder_make()) return;
    fuzz_write("secret", secret, sizeof secret);
    if (mkdir(fuzz_path("in"), 0700) || mkdir(fuzz_path("in/part"), 0700)) abort();
    fuzz_write("in/empty", "", 0);
    fuzz_write("in/first", secret, sizeof secret);
    char first[128];
    snprintf(first, sizeof first, "%s", fuzz_path("in/first"));
    if (link(first, fuzz_path("in/second"))) abort();
    if (symlink("../secret", fuzz_path("in/link")) || symlink("..", fuzz_path("in/way"))) abort();
    snprintf(model, sizeof model, "%s", fuzz_path("in/model.onnx"));
}

typedef struct input {
    tn_arena *arena;
    const tn_import *import;
} input;

static bool is_secret(const tn_array *a) {
    size_t size = tn_array_bytes(a);
    for (size_t i = 0; i + sizeof secret <= size; i++)
        if (!memcmp((const char *)a->data + i, secret, sizeof secret)) return true;
    return false;
}

/* Every byte of the weights can be read, and is of the folder. */
static tn_status look(void *argument, tn_error *err) {
    const tn_import *import = ((const input *)argument)->import;
    (void)err;
    for (uint32_t i = 0; i < import->weights.len; i++)
        if (is_secret(&import->weights.data[i].array)) abort();
    for (uint32_t i = 0; import->graph && i < import->graph->nodes.len; i++) {
        tn_array a;
        const tn_node_info *n = tn_graph_node(import->graph, i);
        if (n->op == TN_OP_constant && tn_graph_constant(import->graph, n->out, &a) &&
            is_secret(&a))
            abort();
    }
    return TN_OK;
}

static void import_once(bool weights, bool absent) {
    tn_import_options options = {.weights = weights, .absent_data = absent};
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    tn_import import;
    tn_arena_init(&arena, tn_allocator_system());
    arena.limit = (size_t)256 << 20;
    if (tn_import_onnx(model, &options, &arena, &import, &err) == TN_OK) {
        if (import.graph && tn_graph_verify(import.graph, NULL, &err) != TN_OK)
            TN_BUG("an imported graph is wrong: %s", err.message);
        /* What is absent is 64 GiB of zeros. */
        if (!absent) (void)!tn_guard(look, &(input){&arena, &import}, &err);
        tn_import_close(&import);
    }
    tn_arena_deinit(&arena);
}

/* Where the model begins. */
static size_t head(const uint8_t *data, size_t size) {
    size_t length = size < 2 ? 0 : 2 + ((size_t)data[0] | (size_t)data[1] << 8);
    return TN_MIN(length, size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    size_t at = head(data, size);
    if (seed % 8 == 0 || at == most) return LLVMFuzzerMutate(data, size, most);
    return at + mutate_onnx(MODEL, data + at, size - at, most - at, seed / 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t at = head(data, size);
    if (at < 2) return 0;
    make_folder();
    fuzz_write("in/model.onnx", data + at, size - at);
    fuzz_write("in/weights.bin", data + 2, at - 2);
    fuzz_write("in/part/more.bin", data + 2, (at - 2) / 2);
    import_once(false, false);
    import_once(true, false);
    import_once(true, true);
    return 0;
}
