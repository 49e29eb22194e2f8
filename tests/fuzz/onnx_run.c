/* Fuzzes what comes behind the ONNX importer: the graph is transformed, planned and run. */
#include "fuzz/import_onnx.h"
#include "fuzz/mutate_onnx.h"
#include "fuzz/run_graph.h"
#include "transform/pass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    return mutate_onnx(MODEL, data, size, most, seed);
}

typedef struct running {
    tn_arena arena;
    const tn_graph *graph;
} running;

static tn_status run_guarded(void *argument, tn_error *err) {
    running *r = argument;
    return fuzz_run_graph(r->graph, &r->arena, err);
}

static void run(const tn_graph *g) {
    tn_error err = TN_ERROR_INIT;
    running r = {.graph = g};
    tn_arena_init(&r.arena, tn_allocator_system());
    r.arena.limit = (size_t)256 << 20;
    (void)!tn_guard(run_guarded, &r, &err);
    tn_arena_deinit(&r.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tn_arena first, second;
    tn_import import, again;
    round_of r;
    if (import_once(data, size, NULL, &first, &import) == TN_OK) {
        if (import.graph) {
            run(import.graph);
        } else {
            answer(&import, &first, &r);
            if (import_once(data, size, &r.options, &second, &again) == TN_OK && again.graph)
                run(again.graph);
            tn_arena_deinit(&second);
        }
    }
    tn_arena_deinit(&first);
    return 0;
}
