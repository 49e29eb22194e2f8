/* Fuzzes the ONNX importer: whatever is imported verifies; what has to be bound is bound once, with
 * small numbers, and imported again. */
#include "fuzz/import_onnx.h"
#include "fuzz/mutate_onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    return mutate_onnx(MODEL, data, size, most, seed);
}

/* The same with its weights as inputs. */
static void import_weights(const uint8_t *data, size_t size) {
    static const tn_import_options weights = {.weights = true};
    tn_arena arena;
    tn_import import;
    if (import_once(data, size, &weights, &arena, &import) == TN_OK) check_import(&import);
    tn_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tn_arena first, second;
    tn_import import, again;
    round_of r;
    if (import_once(data, size, NULL, &first, &import) == TN_OK) {
        check_import(&import);
        if (!import.graph) {
            answer(&import, &first, &r);
            if (import_once(data, size, &r.options, &second, &again) == TN_OK) check_import(&again);
            tn_arena_deinit(&second);
        }
    }
    tn_arena_deinit(&first);
    import_weights(data, size);
    return 0;
}
